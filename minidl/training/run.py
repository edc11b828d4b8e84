"""A run: all that a step moves, how far it is, and what a checkpoint holds of it."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.checkpoint import load, save
from minidl.checks import number, whole_number
from minidl.data import DataLoader
from minidl.diagnosis.divergence import check_model_finite
from minidl.modes import no_grad
from minidl.nn import Module
from minidl.optim import Optimizer
from minidl.protocols import plain
from minidl.rng import generator
from minidl.states import same_keys
from minidl.training.callbacks import Callbacks
from minidl.training.evaluation import measured, modes_restored
from minidl.training.history import History
from minidl.training.measures import Function, Means
from minidl.training.plans import waiting
from minidl.training.provenance import described, generators, parts
from minidl.training.weighting import Weighted

Buffers = list[tuple[Module, str, Any, Any]]  # module, name, buffer, what it held


@dataclass(eq=False)
class Run:
    """What a run consists of."""

    model: Module
    loss: Function
    optimizer: Optimizer
    loaders: dict[str, DataLoader]
    metrics: dict[str, Function] | None
    path: str | os.PathLike[str] | None  # of the checkpoint, if there is one
    clip_norm: float | None
    accumulate: int  # the batches for one update
    callbacks: Callbacks

    def __post_init__(self) -> None:
        self.accumulate = whole_number(self.accumulate, "fit: accumulate", at_least=1)
        if self.clip_norm is not None:
            self.clip_norm = number(self.clip_norm, "fit: clip_norm", above=0, or_infinite=True)
        self.train = self.loaders["train"]
        self.loss_of = Weighted(self.loss)  # with the weights of the samples, if they have any
        self.parts = parts(self.model, self.loss, self.loaders) if self.path is not None else {}
        if self.clip_norm is not None:
            self.parts["clip_norm"] = repr(self.clip_norm)
        if self.accumulate > 1:
            self.parts["accumulate"] = repr(self.accumulate)
        self.start = self.optimizer.steps  # when the run began
        for i, (_, schedule) in enumerate(waiting(self.optimizer)):  # which count from there
            self.parts[f"schedule {i}"] = described(schedule)
        self.history = History(loss=[])
        self.means = self.new_means("train")  # of the epoch under way
        self.trained = {id(p) for p in self.model.parameters()}
        self.say: Callable[[str], None] = lambda text: None  # beside the progress
        self.buffers = [(m, name) for _, m in self.model.modules() for name in m.buffers]

    @property
    def epochs(self) -> int:
        """How many are complete."""
        return len(self.history["loss"])

    @property
    def updates_per_epoch(self) -> int:
        return -(-len(self.train) // self.accumulate)

    @property
    def updates(self) -> int:
        """How many are complete in the epoch under way."""
        whole_epoch = self.means.batches == len(self.train)
        return self.updates_per_epoch if whole_epoch else self.means.batches // self.accumulate

    @property
    def steps(self) -> int:
        return self.epochs * self.updates_per_epoch + self.updates

    @property
    def place(self) -> str:
        if not self.means.batches:
            return f"epoch {self.epochs}"
        return f"step {self.updates} of {self.updates_per_epoch} in epoch {self.epochs + 1}"

    def end_epoch(self) -> None:
        """Put the means of the epoch, and those of the validation, into the history."""
        check_model_finite(self.place, self.model, self.optimizer)
        results = self.means.final()
        if "validation" in self.loaders:
            values = self.validated()
            results |= {f"validation_{name}": value for name, value in values.items()}
        for name, value in results.items():
            self.history.setdefault(name, []).append(value)
        self.means = self.new_means("train")
        self.callbacks.untold = [*self.callbacks.each]
        self.tell_epoch()

    def new_means(self, data: str) -> Means:
        """What gathers the results over the batches of these data."""
        return Means(self.loss, self.metrics)

    def validated(self) -> dict[str, float]:
        """The results on the validation data; where that fails, the run is saved before it."""
        before = self.places()
        try:
            return measured(self.model, self.loaders["validation"], self.new_means("validation"))
        except Exception as error:
            # The place of the training is after its last batch, not in an epoch to come.
            here = before["train"]
            before["train"] = here | {"epoch": here["begun"] - 1, "batch": len(self.train)}
            self.save(before)
            kept = "" if self.path is None else f", and {os.fsdecode(self.path)} the run"
            error.add_note(f"in the validation after {self.place}; the model holds it{kept}")
            raise

    def tell_epoch(self) -> None:
        """Tell the callbacks of the last epoch, as far as they have not heard of it."""
        self.callbacks.tell_epoch(self)

    def stop(self, reason: str) -> None:
        """Let the epoch that has just ended be the last; of several reasons the first counts."""
        if not isinstance(reason, str) or not reason:
            raise TypeError(f"run.stop takes the reason in words, got {reason!r}")
        self.history.stopped = self.history.stopped or reason

    def is_over(self, epochs: int) -> bool:
        return self.epochs >= epochs or self.history.stopped is not None

    def begin(self, going_on: bool) -> None:
        """Tell the callbacks, and save the run now, while a fault costs nothing yet."""
        self.callbacks.tell("on_fit_begin", self)
        if self.callbacks.untold or not going_on:
            self.tell_epoch()
            self.save()

    @contextmanager
    def left_as_it_was(self) -> Iterator[Callable[[], None]]:
        """A trial, without a graph, that moves neither modes nor buffers nor random numbers."""
        buffers = copied(self.buffers)
        states = [(g, g.bit_generator.state) for g in self.generators().values()]
        try:
            with modes_restored(self.model) as to_train_mode, no_grad():
                yield to_train_mode
        finally:
            put_back(buffers)
            for g, state in states:
                g.bit_generator.state = state

    # What a checkpoint holds ----------------------------------------------------------------------

    def generators(self) -> dict[str, np.random.Generator]:
        """All generators of random numbers, each once, by where they are."""
        owners = {"model": self.model, "loss": self.loss, "optimizer": self.optimizer}
        found = {generator(): "minidl"}
        for name, g in generators(owners | self.loaders):
            found.setdefault(g, name)
        return {name: g for g, name in found.items()}

    def places(self) -> dict[str, Any]:
        """Where loaders and generators are."""
        return {
            **{name: loader.state_dict() for name, loader in self.loaders.items()},
            "generators": {name: g.bit_generator.state for name, g in self.generators().items()},
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **self.places(),
            "metrics": None if self.metrics is None else list(self.metrics),
            "parts": self.parts,
            "start": self.start,
            "history": dict(self.history),
            "stopped": self.history.stopped,
            "callbacks": self.callbacks.state_dict(),
            "epoch": self.means.state_dict(),
        }

    def save(self, other: Mapping[str, Any] | None = None) -> None:
        """Save the run, if it has a checkpoint, with other values for some keys of its state."""
        if self.path is not None:
            save(self.path, self.state_dict() | dict(other or {}))

    def read(self) -> Any:
        """What the checkpoint holds."""
        assert self.path is not None
        return load(self.path)

    def go_on(self) -> None:
        """Become the run that was saved; if that was another one, change nothing and raise."""
        assert self.path is not None
        state, own, buffers = self.read(), self.state_dict(), copied(self.buffers)
        try:
            same_keys(state if isinstance(state, dict) else {}, own, "run of fit with these data")
            for name in ("optimizer", "generators", "parts", "history", "callbacks", "epoch"):
                if not isinstance(state[name], dict):
                    raise ValueError(f"its {name} is a {type(state[name]).__name__}, not a dict")
            same_keys(state["generators"], own["generators"], "run with these generators")
            same_keys(state["callbacks"], own["callbacks"], "list of callbacks")
            if state["metrics"] != own["metrics"]:
                raise ValueError(f"its metrics are {state['metrics']}, not {own['metrics']}")
            same_keys(state["epoch"], own["epoch"], "epoch of fit")
            for name, loader in self.loaders.items():
                # A loader is not put back as it was by its own state, so that a copy tries it.
                copy.copy(loader).load_state_dict(state[name])
            try:
                self.take(state)
                for name in self.parts | state["parts"]:
                    then, now = state["parts"].get(name), self.parts.get(name)
                    if then != now:
                        raise ValueError(f"its {name} is {then}, not {now}")
            except BaseException:
                put_back(buffers)
                self.take(own)
                raise
        except (TypeError, ValueError) as error:
            path = os.fsdecode(self.path)
            raise ValueError(
                f"fit cannot go on from {path}: {error}. Nothing was changed; delete the file to "
                f"begin anew, or name another one"
            ) from error
        for name, loader in self.loaders.items():
            loader.load_state_dict(state[name])
        self.start = int(state["start"])
        self.history = History(state["history"])
        self.history.stopped = state["stopped"]
        self.means.load_state_dict(state["epoch"])

    def take(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.callbacks.load_state_dict(state["callbacks"])
        for name, g in self.generators().items():
            g.bit_generator.state = state["generators"][name]


def copied(buffers: Iterable[tuple[Module, str]]) -> Buffers:
    """Buffers of modules, by their names, each with its content."""
    found = [(module, name, getattr(module, name)) for module, name in buffers]
    return [(m, n, b, None if b is None else plain(b).copy()) for m, n, b in found]


def put_back(buffers: Buffers) -> None:
    """Let buffers be what they were, and hold what they held."""
    for module, name, buffer, content in buffers:
        if buffer is not None:
            plain(buffer)[...] = content
        if getattr(module, name) is not buffer:
            setattr(module, name, buffer)
