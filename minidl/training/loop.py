"""The training loop: what ``fit`` runs for each epoch, and what one writes by hand.

Five lines learn from a batch: forget the old gradients, predict and compare, go back, step. All
else that a run does hangs on them as :class:`Hooks`, so that the loop is read without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from minidl.arrays import Array
from minidl.optim import Optimizer
from minidl.training.updates import Updates


class Hooks:
    """What may be done around the steps of the loop; here nothing."""

    def batches(self, loader: Iterable[Any]) -> Iterable[Any]:
        """The batches to learn from; what is done between two steps is done here."""
        return loader

    def step(self, x: Array, y: Array) -> AbstractContextManager[None]:
        """What a step is made in: it may undo a step that fails, and say why."""
        return nullcontext()

    def before_update(self) -> None:
        """The gradients are there, and the weights as they were."""


PLAIN = Hooks()


def train_epoch(
    model: Callable[[Any], Any],
    loss_function: Callable[[Any, Any], Any],
    optimizer: Optimizer | Updates,
    loader: Iterable[Any],
    hooks: Hooks = PLAIN,
) -> None:
    """Learn from each batch of the loader once.

    Example:
        >>> import numpy as np
        >>> from minidl import data, nn, optim
        >>> model, x = nn.Linear(1, 1, rng=0), np.ones((8, 1))
        >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
        >>> for _ in range(20):
        ...     train_epoch(model, nn.MSELoss(), optimizer, data.DataLoader(x, 2 * x, batch_size=4))
        >>> bool(abs(model(x).data - 2).max() < 0.01)
        True
    """
    for x, y in hooks.batches(loader):
        with hooks.step(x, y):
            optimizer.zero_grad()
            loss = loss_function(model(x), y)
            loss.backward()
            hooks.before_update()
            optimizer.step()
