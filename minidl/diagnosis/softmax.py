"""A softmax taken twice: before cross entropy, and in it."""

from __future__ import annotations

from typing import Any

import numpy as np

SOFTMAX_TWICE = (
    "cross entropy was given numbers that sum to 1 over the classes, as after a softmax, and takes "
    "the softmax itself: leave it out of the model and give the logits (a second softmax trains "
    "slowly and never comes to a loss of 0)"
)


def are_probabilities(x: Any) -> bool:
    """Whether an array (N, C, ...) looks like what a softmax over the classes returned."""
    if not isinstance(x, np.ndarray) or x.ndim < 2 or x.size == 0 or x.shape[1] < 2:
        return False
    return bool(x.min() >= 0 and np.allclose(x.sum(axis=1, dtype=np.float64), 1, atol=1e-2))
