"""Dropout: what keeps a model from learning its samples by heart."""

from __future__ import annotations

from typing import Any

from minidl import functional as F
from minidl.checks import number
from minidl.nn.module import Module
from minidl.rng import RNG, generator


class Dropout(Module):
    """Random zeros in training, nothing in prediction; see :func:`minidl.functional.dropout`.

    Args:
        p: the probability to drop an element, from 0 to 1.
        rng: a seed, a generator, or None for minidl's own.

    Raises:
        TypeError: if ``p`` is no number, or ``rng`` none of these.
        ValueError: if ``p`` is not from 0 to 1.
    """

    def __init__(self, p: float = 0.5, rng: RNG = None) -> None:
        self.p = number(p, "Dropout: p, a probability,", at_least=0, at_most=1)
        # None stays None, so that a copy of the model, too, draws from minidl's own generator.
        self.rng = None if rng is None else generator(rng)

    def forward(self, x: Any) -> Any:
        return F.dropout(x, self.p, self.training, self.rng)

    def extra_repr(self) -> str:
        return f"p={self.p}"
