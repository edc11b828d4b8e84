"""Embedding: rows of a table, looked up by their numbers."""

from __future__ import annotations

from typing import Any

from minidl.arrays import Array, as_array
from minidl.protocols import plain
from minidl.tensor import Tensor


def embedding(input: Array, weight: Tensor | Array) -> Any:
    """``y = weight[input]``: for each number the row of the table that it names.

    It is the product of one-hot rows with the table, without the zeros. The gradient of a row is
    the sum of those of all places that it went to.

    Args:
        input: integers from 0 to V - 1, of any shape.
        weight: shape (V, D).

    Returns:
        Shape (*input.shape, D); a Tensor if ``weight`` is one.

    Raises:
        TypeError: if ``input`` does not hold integers.
        ValueError: if ``weight`` is no matrix, or a number names no row of it.

    Example:
        >>> import numpy as np
        >>> embedding(np.array([1, 1, 0]), Tensor([[1.0, 2.0], [3.0, 4.0]]))
        Tensor([[3., 4.],
                [3., 4.],
                [1., 2.]])
    """
    numbers = as_array(plain(input))
    if numbers.dtype.kind not in "iu":
        raise TypeError(
            f"embedding: input holds numbers of rows and must be integers, not {numbers.dtype}: "
            f"convert with astype(np.int64)"
        )
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight has shape {weight.shape}, expected (V, D)")
    if numbers.size and (numbers.min() < 0 or numbers.max() >= weight.shape[0]):
        bad = int(numbers.min() if numbers.min() < 0 else numbers.max())
        raise ValueError(
            f"embedding: {bad} is out of range: a table of {weight.shape[0]} rows takes 0 to "
            f"{weight.shape[0] - 1}"
        )
    return weight[numbers]
