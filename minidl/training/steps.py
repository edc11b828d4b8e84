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
from minidl.training.loop import Hooks
from minidl.training.measures import single_number
from minidl.training.run import Run, put_back
from minidl.training.trials import look_at_first_step


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
        self.looked = False  # at the first step, which is always eager
        self.previous: float | None = None  # the loss in the step before

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        for x, y in loader:
            made = self.attempt(x, y) if self.attempt is not None and self.looked else None
            if made is None:
                yield x, y
            else:
                self.previous, predictions = made
                means = self.run.means
                means.add(predictions, y, means.share(predictions, y), self.previous)
            self.between()

    @contextmanager
    def step(self, x: Array, y: Array) -> Iterator[None]:
        self.x, self.y, self.predictions = x, y, None
        self.buffers: Any = self.run.copied_buffers()
        with ExitStack() as self.quiet:
            # The loss is checked, so that NumPy need not warn of what made it overflow.
            self.quiet.enter_context(np.errstate(over="ignore", invalid="ignore", divide="ignore"))
            try:
                yield
            except BaseException as error:
                if self.buffers is None:  # the weights were being moved
                    raise
                put_back(self.buffers)
                if isinstance(error, ValueError) and spoiled(outputs_of(self.predictions)):
                    raise self.diverged("undefined") from error
                if not isinstance(error, NothingCounts):
                    raise
                self.run.means.add(self.predictions, y, 0, math.nan)
            else:
                self.run.means.add(self.predictions, y, self.share, self.value)
                self.previous = self.value

    def loss(self, predictions: Any, y: Array) -> Tensor:
        """The loss of the run, if one can learn from it."""
        self.predictions, self.share = predictions, self.run.means.share(plain(predictions), y)
        if self.share == 0:
            raise NothingCounts
        loss = self.run.loss(predictions, y)
        self.value = single_number(loss, "the loss")
        if not math.isfinite(self.value):
            raise self.diverged(f"{self.value}")
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            raise ValueError(
                f"the loss is a {type(loss).__name__} that depends on no parameter: compute it "
                f"from what the model returned, by functions of minidl (not from .data or "
                f".numpy()), and outside no_grad()"
            )
        return loss

    def before_update(self) -> None:
        if not self.looked:
            look_at_first_step(self.run, plain(self.predictions), self.y)
            self.looked = True
        self.buffers = None
        self.quiet.close()

    def diverged(self, value: str) -> FloatingPointError:
        run = self.run
        place = f"step {run.means.batches + 1} of {len(run.train)} in epoch {run.epochs + 1}"
        if self.previous is not None:
            place += f", in the step before {self.previous:g}"
        return loss_not_finite(
            value, place, run.model, run.optimizer, self.predictions, self.x, self.y
        )
