"""A run over several ranks: its steps, the ends of its epochs, and what its checkpoint holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from minidl.arrays import Array
from minidl.checkpoint import load, save
from minidl.data import DataLoader
from minidl.diagnosis.divergence import check_model_finite
from minidl.modes import no_grad
from minidl.parallel.ranks import Ranks, part_of, parts_of, stream
from minidl.parallel.shards import Shards
from minidl.protocols import plain
from minidl.tensor import Tensor
from minidl.training.measures import Means, single_number
from minidl.training.provenance import parts
from minidl.training.run import Run
from minidl.training.steps import NothingCounts, Steps


class RankRun(Run):
    """A run of which every rank has a part. At the ends of epochs all ranks are in one state.

    Args:
        ranks: between whom.
        loaders: of the joined batches.
        rest: the further arguments of :class:`~minidl.training.run.Run`.
    """

    def __init__(
        self,
        ranks: Ranks,
        loaders: dict[str, DataLoader],
        model: Any,
        loss: Any,
        optimizer: Any,
        *rest: Any,
    ) -> None:
        self.ranks, self.whole = ranks, loaders
        shards: dict[str, DataLoader] = {n: Shards(loader, ranks) for n, loader in loaders.items()}
        super().__init__(model, loss, optimizer, shards, *rest)
        mine = parts(model, loss, loaders)  # asked without a checkpoint, too
        for rank, theirs in enumerate(ranks.comm.allgather(mine)):
            for name in mine | theirs:
                if mine.get(name) != theirs.get(name):
                    raise ValueError(
                        f"fit: the {name} of rank {ranks.rank} is {mine.get(name)}, and that of "
                        f"rank {rank} {theirs.get(name)}: give all ranks the same; each takes its "
                        f"part of the data by itself"
                    )
        if self.path is not None:
            self.parts = mine

    def try_parts(self) -> None:
        """Raise now if a rank gets so few samples of a batch that the model does not take them."""
        train = self.train
        full, rest = divmod(train.samples, train.batch_size)
        lengths = [train.batch_size] * (full > 0) + [rest] * (rest > 0 and not train.drop_last)
        for n in lengths:
            if min(parts_of(n, self.ranks.size)) > 1 or not self.buffers:
                continue
            mine = part_of(n, self.ranks.rank, self.ranks.size)
            with self.left_as_it_was() as to_train_mode:
                to_train_mode()
                try:
                    self.model(train.arrays[0][mine])
                except (TypeError, ValueError) as error:
                    error.add_note(
                        f"fit: tried before the first step, since of a batch of {n} samples each "
                        f"of {self.ranks.size} ranks gets {parts_of(n, self.ranks.size)}: make the "
                        f"DataLoader with drop_last=True or another batch_size, or use "
                        f"sync_batch_norm"
                    )
                    raise

    def end_epoch(self) -> None:
        check_model_finite(self.place, self.model, self.optimizer)
        self.ranks.join_buffers(self.model)
        self.ranks.check_alike(self.model)
        results = joined(self.means, self.ranks).final()
        if "validation" in self.loaders:
            means = Means(self.loss, self.metrics)
            values = measured(self.model, self.loaders["validation"], means, self.ranks)
            results |= {f"validation_{name}": value for name, value in values.items()}
        for name, value in results.items():
            self.history.setdefault(name, []).append(value)
        self.means = Means(self.loss, self.metrics)
        self.follow()

    def follow(self) -> None:
        """Let the loaders of the joined batches be where their shards are."""
        for name, loader in self.whole.items():
            loader.load_state_dict(self.loaders[name].state_dict())

    # --- The checkpoint ---------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """That of a run, and the generators of the other ranks: all else they have in common."""
        states = {name: g.bit_generator.state for name, g in self.generators().items()}
        first, *others = self.ranks.comm.allgather(states)
        return super().state_dict() | {"generators": first, "others": others}

    def save(self, other: Any = None) -> None:
        if self.path is None:
            return
        state = self.state_dict()  # on all ranks, since it asks them all
        if self.ranks.first:
            save(self.path, state)

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
        return state


class RankSteps(Steps):
    """The steps of a run of which each rank makes a part.

    The gradient goes back from ``share * loss``, so that those of all ranks are of one loss, also
    where they meet within the model (SyncBatchNorm). To keep it in the range of float16, shares are
    counted in a unit: about the share of the first step, and a power of 2, which changes no bit.
    """

    def __init__(self, run: RankRun, between: Callable[[], None]) -> None:
        super().__init__(run, None, between)
        self.ranks = run.ranks
        self.unit: float | None = None

    def loss(self, predictions: Any, y: Array) -> Tensor:
        share = self.run.means.share(plain(predictions), y)
        if self.unit is None:
            mean = float(self.ranks.sum([float(share or 0)])[0]) / self.ranks.size
            self.unit = 2.0 ** math.floor(math.log2(mean)) if mean > 0 else None
        self.weight = None if share is None else share / (self.unit or 1.0)
        if share == 0:  # nothing to learn here; the others may wait for this rank within backward()
            self.predictions, self.share = predictions, 0
            self.value = self.previous or 0.0
            return _nothing(predictions)
        loss = super().loss(predictions, y)
        return loss if self.weight is None else loss * self.weight

    def before_update(self) -> None:
        if self.ranks.average_gradients(self.run.optimizer, self.weight, weighed=True) == 0:
            raise NothingCounts
        super().before_update()


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


# --- Evaluation -----------------------------------------------------------------------------------


def measured(model: Any, shards: Iterable[Any], means: Means, ranks: Ranks) -> dict[str, float]:
    """The means over the parts of all ranks, in eval mode, without a graph."""
    model.eval()
    with no_grad():
        for x, y in shards:
            if not len(x):
                continue
            predictions = model(x)
            share = means.share(plain(predictions), y)
            loss = math.nan if share == 0 else single_number(means.loss(predictions, y), "the loss")
            means.add(predictions, y, share, loss)
    return joined(means, ranks).final()


def joined(means: Means, ranks: Ranks) -> Means:
    """The means of all ranks together: their sums and counts are added, in the order of ranks."""
    whole = Means(means.loss, means.metrics)
    for metrics, state in ranks.comm.allgather((list(means.metrics or ()), means.state_dict())):
        if whole.metrics is None and metrics:
            raise ValueError(
                f"rank {ranks.rank} has no sample to tell whether there is an accuracy: name the "
                f"metrics (metrics='accuracy', or {{}} for none)"
            )
        for name in state["sums"]:
            whole.sums[name] = whole.sums.get(name, 0.0) + state["sums"][name]
        for name in state["counts"]:
            whole.counts[name] = whole.counts.get(name, 0) + state["counts"][name]
        whole.batches += state["batches"]
    return whole
