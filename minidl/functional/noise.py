"""Noise in training: dropout."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from minidl.arrays import Array
from minidl.checks import number
from minidl.rng import RNG, generator
from minidl.tensor import Tensor

T = TypeVar("T", Tensor, Array)


def dropout(x: T, p: float = 0.5, training: bool = True, rng: RNG = None) -> T:
    """In training, set each element to 0 with probability ``p`` and scale the rest by 1 / (1 - p).

    The expectation stays what it was, so that nothing needs to change for prediction.

    Args:
        x: any shape.
        p: the probability to drop an element, from 0 to 1.
        training: outside training ``x`` is returned as it is.
        rng: a seed, a generator, or None for minidl's own.

    Raises:
        ValueError: if ``p`` is not from 0 to 1.

    Source: Srivastava et al., "Dropout", JMLR 15, 2014 (there with the scaling in prediction).

    Example:
        >>> dropout(Tensor([1.0, 1.0, 1.0, 1.0]), 0.5, rng=0)
        Tensor([2., 2., 2., 0.])
    """
    p = number(p, "dropout: the probability p", at_least=0, at_most=1)
    if not training or p == 0:
        return x
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    kept = generator(rng).random(x.shape, np.float32) >= p  # the same elements in any dtype
    return x * (kept * dtype.type(0 if p == 1 else 1 / (1 - p)))
