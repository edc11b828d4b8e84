"""A run over several ranks: its steps, the ends of its epochs, and what its checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from minidl.arrays import Array
from minidl.checkpoint import load
from minidl.checks import number
from minidl.data import DataLoader
from minidl.parallel.means import RankMeans, filled
from minidl.parallel.ranks import Ranks, part_of, parts_of, stream
from minidl.parallel.shards import Shards
from minidl.tensor import Tensor
from minidl.training.batches import called, columns, rows
from minidl.training.evaluation import measured
from minidl.training.provenance import parts
from minidl.training.run import Run
from minidl.training.steps import NothingCounts, Steps
from minidl.training.updates import Updates


class RankRun(Run):
    """A run of which every rank has a part. At the ends of epochs all ranks are in one state.

    Args:
        ranks: between whom.
        loaders: of the joined batches.
        rest, options: the further arguments of :class:`~minidl.training.run.Run`; callbacks are
            those of rank 0.
    """

    def __init__(
        self,
        ranks: Ranks,
        loaders: dict[str, DataLoader],
        model: Any,
        loss: Any,
        optimizer: Any,
        *rest: Any,
        **options: Any,
    ) -> None:
        self.ranks, self.whole = ranks, loaders
        self.shards = {name: Shards(loader, ranks) for name, loader in loaders.items()}
        super().__init__(model, loss, optimizer, dict(self.shards), *rest, **options)
        self.others: list[Any] = []  # on rank 0 the states of the generators of the other ranks
        self.calls = ranks.of_first(bool(self.callbacks.each))
        mine = parts(model, loss, loaders) if self.path is None else {}
        metrics = None if self.metrics is None else [*self.metrics]
        check_same("fit", ranks, mine | self.parts | {"metrics": metrics})

    def try_parts(self) -> None:
        """Raise now if a rank gets so few samples of a batch that the model does not take them."""
        x, size = columns(self.train)[0], self.ranks.size
        for n in dict.fromkeys(self.shards["train"].lengths):
            needed = 2 if self.buffers else 1  # statistics may need two samples
            if min(parts_of(n, size)) >= needed:
                continue
            with self.left_as_it_was() as to_train_mode:
                to_train_mode()
                try:
                    called(self.model, rows(x, part_of(n, self.ranks.rank, size)))
                except (TypeError, ValueError) as error:
                    error.add_note(
                        f"fit: tried before the first step, since of a batch of {n} samples each "
                        f"of {size} ranks gets {parts_of(n, size)}: make the DataLoader with "
                        f"drop_last=True or another batch_size, or use sync_batch_norm"
                    )
                    raise

    def new_means(self, data: str) -> RankMeans:
        return RankMeans(self.loss, self.metrics, self.shards[data])

    def end_epoch(self) -> None:
        self.ranks.join_buffers(self.model)
        self.ranks.check_alike(self.model)
        super().end_epoch()
        # The loaders that were given are where their shards are, for a run to come.
        self.follow()

    def validated(self) -> dict[str, float]:
        means = self.new_means("validation")
        return measured(self.model, filled(self.shards["validation"]), means)

    def follow(self) -> None:
        for name, loader in self.whole.items():
            loader.load_state_dict(self.loaders[name].state_dict())

    # --- Callbacks, which rank 0 calls ------------------------------------------------------------

    def begin(self, going_on: bool) -> None:
        self.meet()
        super().begin(going_on and not self.ranks.of_first(bool(self.callbacks.untold)))
        self.take_over()

    def tell_epoch(self) -> None:
        self.meet()  # before rank 0 may save the run
        super().tell_epoch()
        self.take_over()

    def end(self) -> None:
        self.callbacks.tell("on_fit_end", self)
        self.take_over()

    def take_over(self) -> None:
        """Let all ranks have what callbacks have changed on rank 0."""
        if not self.calls:
            return
        own = self.model.state_dict(), self.optimizer.state_dict(), self.history.stopped
        model, optimizer, self.history.stopped = self.ranks.of_first(own)
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)

    # --- The checkpoint, which rank 0 writes ------------------------------------------------------

    def meet(self) -> None:
        """Let rank 0 know the generators of the other ranks: all else they have in common."""
        states = {name: g.bit_generator.state for name, g in self.generators().items()}
        self.others = (self.ranks.comm.gather(states) or [])[1:]

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"others": self.others}

    def save(self, other: Mapping[str, Any] | None = None) -> None:
        if self.ranks.first:
            super().save(other)

    def go_on(self) -> None:
        super().go_on()
        self.follow()

    def read(self) -> Any:
        """What rank 0 has in its file, with the generators of this rank."""
        assert self.path is not None
        state = self.ranks.of_first(load(self.path) if self.ranks.first else None)
        if isinstance(state, dict) and isinstance(state.get("generators"), dict):
            saved = [state["generators"], *state.get("others", [])]
            if len(saved) == self.ranks.size:
                state["generators"] = saved[self.ranks.rank]
            else:  # it goes on with another number of ranks
                state["generators"] = {
                    name: stream(one, self.ranks.rank) for name, one in saved[0].items()
                }
            if not self.ranks.first:
                state["callbacks"] = self.callbacks.state_dict()
        return state


class RankSteps(Steps):
    """The steps of a run of which each rank makes a part."""

    def __init__(self, run: RankRun, between: Callable[[], None]) -> None:
        super().__init__(run, None, between)
        self.updates = RankUpdates(
            run.optimizer, run.accumulate, run.clip_norm, self.place, run.ranks
        )

    def loss(self, predictions: Any, y: Array) -> Tensor:
        if len(y):
            with suppress(NothingCounts):
                return super().loss(predictions, y)
        # Nothing to learn here; other ranks may wait for this one within backward().
        self.predictions, self.share = predictions, 0
        self.value: Any = self.previous  # it counts for nothing, and stays the one before
        return self.updates.weighed(_nothing(predictions), 0)


class RankUpdates(Updates):
    """Updates whose gradients are the sums of those of all ranks.

    ``backward`` goes back from ``share / (sum of shares) * loss``, so that the gradients of all
    ranks are of one loss, that of the joined batch, also where they meet within the model
    (SyncBatchNorm). For that the shares are added up before.
    """

    def __init__(self, *settings: Any) -> None:
        *rest, self.ranks = settings
        super().__init__(*rest)

    def weighed(self, loss: Tensor, share: float | None) -> Tensor:
        """The loss of a part, in proportion to what all parts, and all batches before, count.

        Raises:
            NothingCounts: on all ranks, if there is nothing to learn on any of them.
        """
        if share is not None:
            share = number(share, "fit: the divisor of the loss", at_least=0)
        total, sums = self.ranks.sum([share or 0.0, float(share is None)])
        if total == sums == 0:
            raise NothingCounts
        if total and sums:
            raise ValueError(
                f"fit: the loss is a sum (its divisor is None) on {sums:g} of {self.ranks.size} "
                f"ranks, and a mean on others: it must be the same on all"
            )
        if share is None or sums:
            return super().weighed(loss, None)
        return super().weighed(loss * (share / float(total)), float(total))

    def update(self) -> None:
        self.ranks.average_gradients(self.optimizer, None)
        super().update()


def _nothing(predictions: Any) -> Tensor:
    """A loss of which all gradients are 0."""
    outputs = predictions if isinstance(predictions, tuple | list) else [predictions]
    terms = [(t * 0).sum() for t in outputs if isinstance(t, Tensor) and t.requires_grad]
    if not terms:
        raise ValueError(
            f"fit: the model returned a {type(predictions).__name__} without a Tensor that "
            f"depends on a parameter: return a Tensor, or a tuple or list of them"
        )
    return sum(terms[1:], start=terms[0])


def check_same(caller: str, ranks: Ranks, mine: dict[str, Any]) -> None:
    """Raise unless all ranks were given the same."""
    for rank, theirs in enumerate(ranks.comm.allgather(mine)):
        for name in mine | theirs:
            if mine.get(name) != theirs.get(name):
                raise ValueError(
                    f"{caller}: the {name} of rank {ranks.rank} is {mine.get(name)}, and that of "
                    f"rank {rank} {theirs.get(name)}: give all ranks the same; each takes its part "
                    f"of the data by itself"
                )
