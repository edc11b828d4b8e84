"""The steps of a run: whole or undone, checked, and counted.

A file of its own so that ``loop.py`` is read without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.diagnosis.divergence import loss_not_finite, outputs_of, spoiled
from minidl.protocols import plain
from minidl.tensor import Tensor
from minidl.training.batches import by_name
from minidl.training.loop import Hooks
from minidl.training.measures import single_number
from minidl.training.run import Buffers, Run, copied, put_back
from minidl.training.trials import look_at_first_step
from minidl.training.updates import Updates


class NothingCounts(Exception):
    """All targets of a batch are ignored: there is nothing to learn."""


class Steps(Hooks):
    """The hooks of ``fit``.

    Args:
        run: what the steps belong to.
        attempt: makes a step by a compiled program and returns loss and predictions; None where
            that cannot be.
        between: called after each step.
    """

    def __init__(
        self, run: Run, attempt: Callable[..., Any] | None, between: Callable[[], None]
    ) -> None:
        self.run, self.attempt, self.between = run, attempt, between
        self.updates = Updates(run.optimizer, run.accumulate, run.clip_norm, self.place)
        self.looked = False  # at the first step, which is always eager
        self.previous: float | None = None  # the loss in the batch before
        self.buffers: Buffers = []

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        for x, y, *self.weights in loader:
            made = self.attempt(x, y) if self.attempt is not None and self.looked else None
            if made is None:
                yield x, y
                last = self.run.means.batches == len(self.run.train)
                complete = self.whole_or_undone(self.updates.batch_ended, last)
            else:
                self.previous, predictions = made
                means, complete = self.run.means, True
                means.add(predictions, y, means.share(predictions, y), self.previous)
            if complete:
                self.between()
        self.whole_or_undone(self.updates.finish)  # of a loader that gave fewer than it said

    @contextmanager
    def step(self, x: Any, y: Array) -> Iterator[None]:
        self.x, self.y, self.predictions = x, y, None
        buffers = copied(self.run.buffers)
        if not self.updates.batches:
            self.buffers = buffers
        with ExitStack() as self.quiet:
            # The loss is checked, so that NumPy need not warn of what made it overflow.
            self.quiet.enter_context(np.errstate(over="ignore", invalid="ignore", divide="ignore"))
            try:
                try:
                    yield
                except NothingCounts:
                    put_back(buffers)
                    self.run.means.add(self.predictions, y, 0, math.nan)
                except ValueError as error:
                    if self.updates.moving or not spoiled(outputs_of(self.predictions)):
                        raise
                    raise self.diverged("undefined") from error
                else:
                    self.run.means.add(self.predictions, y, self.share, self.value)
                    self.previous = self.value
            except BaseException:
                self.undo()
                raise

    def whole_or_undone(self, act: Callable[..., Any], *args: Any) -> Any:
        """Do it, as a part of a step."""
        try:
            return act(*args)
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Let all be as it was before the step, unless the weights are being moved already."""
        if not self.updates.moving:
            put_back(self.buffers)

    def loss(self, predictions: Any, y: Array) -> Tensor:
        """The loss of the run, if one can learn from it."""
        self.predictions = predictions
        self.share = self.run.loss_of.share(plain(predictions), y, *self.weights)
        if self.share == 0:
            raise NothingCounts
        loss = self.run.loss_of(predictions, y, *self.weights)
        self.value = single_number(loss, "the loss")
        if not math.isfinite(self.value):
            raise self.diverged(f"{self.value}")
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            raise ValueError(
                f"the loss is a {type(loss).__name__} that depends on no parameter: compute it "
                f"from what the model returned, by functions of minidl (not from .data or "
                f".numpy()), and outside no_grad()"
            )
        return self.updates.weighed(loss, self.share)

    def before_update(self) -> None:
        if not self.looked:
            look_at_first_step(self.run, plain(self.predictions), self.y)
            self.looked = True
        self.quiet.close()

    def place(self) -> str:
        run, k = self.run, self.run.accumulate
        place = f"step {run.updates + 1} of {run.updates_per_epoch} in epoch {run.epochs + 1}"
        return place if k == 1 else f"{place} (batch {self.updates.batches + 1} of {k} for it)"

    def diverged(self, value: str) -> FloatingPointError:
        run, place = self.run, self.place()
        if self.previous is not None:
            place += f", in the {'step' if run.accumulate == 1 else 'batch'} before "
            place += f"{self.previous:g}"
        data = {**by_name(self.x), "y": self.y}
        return loss_not_finite(value, place, run.model, run.optimizer, self.predictions, data)
