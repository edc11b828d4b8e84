"""How well numbers are predicted, over a whole set: R^2. (Mean errors are losses, as nn.L1Loss.)"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minidl.arrays import Array, as_real
from minidl.protocols import plain
from minidl.training.measures import whole_set


@whole_set
def r2(predictions: ArrayLike, targets: ArrayLike) -> float:
    """The coefficient of determination: 1 - sum((y - p)^2) / sum((y - mean(y))^2).

    1 is perfect, 0 as good as the mean of the targets, below 0 worse than that. Of targets that
    are all the same it is 1 if the predictions are these, else 0. Of several columns it is the mean
    of theirs. NaN among the predictions gives NaN.

    Args:
        predictions: shape (N,) or (N, ...).
        targets: numbers of the same shape.

    Raises:
        TypeError: for what is no array of numbers.
        ValueError: if the shapes differ, or for fewer than two samples.

    Source: the values are scikit-learn's ``r2_score(targets, predictions)``, with its defaults.

    Example:
        >>> r2(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
        0.5
    """
    p, y = (as_real(plain(a), "r2") for a in (predictions, targets))
    _check_shapes(p, y)
    if len(y) < 2:
        raise ValueError(f"r2 compares with the mean of the targets, and there is only {len(y)}")
    y = y.astype(np.float64)  # (N, ...)
    left = ((y - p) ** 2).sum(axis=0)
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    flat = (y == y[0]).all(axis=0)
    constant = np.where(np.isnan(left), np.nan, left == 0)
    return float(np.where(flat, constant, 1 - left / np.where(flat, 1, spread)).mean())


class R2:
    """:func:`r2` as a metric of ``fit`` and ``evaluate``.

    Example:
        >>> from minidl import evaluate, nn
        >>> data = (np.array([[1.0], [2.0], [4.0]]), np.array([[1.0], [2.0], [3.0]]))
        >>> evaluate(nn.Flatten(), nn.MSELoss(), data, "r2")["r2"]
        0.5
    """

    whole_set = True
    name = "r2"

    def __call__(self, predictions: Array, targets: Array) -> float:
        return r2(predictions, targets)

    def check(self, predictions: Array, targets: Array) -> None:
        """Refuse a first batch of other shapes."""
        _check_shapes(predictions, targets)


def _check_shapes(predictions: Array, targets: Array) -> None:
    if predictions.shape != targets.shape or not targets.ndim:
        raise ValueError(
            f"r2 compares predictions and targets of one shape (N, ...), got {predictions.shape} "
            f"and {targets.shape}: give targets (N, 1) to a model that returns (N, 1)"
        )
