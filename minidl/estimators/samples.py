"""The samples that an estimator learns from: in an order of their own, as often as they count."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.arrays import Array

# Whole-number weights make so many copies of a sample in the mean; more would fill the memory.
COPIES = 8


def in_order(x: Array, y: Array, weights: Array | None) -> tuple[Any, ...]:
    """The samples that count, in an order that does not depend on the one they came in."""
    if weights is not None:
        there = weights > 0
        x, y, weights = x[there], y[there], weights[there]
    order = _order(x, y, weights)
    return x[order], y[order], None if weights is None else weights[order]


def _order(x: Array, y: Array, weights: Array | None) -> Array:
    """An order of the samples by what they are, and not by where they stand.

    It sorts by a number made of each row: equal rows have equal ones, and sums of whole numbers do
    not depend on what is beside them in memory.
    """
    rng, keys = np.random.default_rng(0), np.zeros(len(x), np.uint64)
    for part in (x, y.reshape(len(y), -1)):
        bits = np.ascontiguousarray(part).view(f"u{part.itemsize}")
        factors = 2 * rng.integers(2**62, size=bits.shape[1], dtype=np.uint64) + 1
        keys += np.einsum("ij,j->i", bits, factors, dtype=np.uint64)
    return np.argsort(keys) if weights is None else np.lexsort([weights, keys])


def counted(x: Array, y: Array, weights: Array | None) -> tuple[Array, Array, Array | None]:
    """The samples as often as they count, if weights are whole numbers; without those of none."""
    if weights is None:
        return x, y, None
    if (weights == np.floor(weights)).all() and weights.sum() <= COPIES * len(x):
        rows = np.repeat(np.arange(len(x)), weights.astype(int))
        return x[rows], y[rows], None
    there = weights > 0
    return x[there], y[there], weights[there] / weights.max()
