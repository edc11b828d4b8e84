"""Embedding: a table of learned rows, one for each word, letter or class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl import functional as F
from minidl.arrays import Array
from minidl.checks import number, whole_number
from minidl.nn.init import normal
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter
from minidl.rng import RNG


class Embedding(Module):
    """The rows of a table that numbers name; see :func:`minidl.functional.embedding`.

    Args:
        num_embeddings: V, how many rows there are.
        embedding_dim: D, how long each is.
        std: the standard deviation of the initial values, which are normal. 1 as in PyTorch; where
            rows are added to others, as in a transformer, 0.02 is common.
        rng: a seed, a generator, or None for minidl's own.
        dtype: of the table.

    Attributes:
        weight: shape (V, D).

    Raises:
        TypeError: if an argument is not of its kind of number.
        ValueError: if one is out of range.

    Example:
        >>> Embedding(27, 8)(np.array([[0, 3, 1], [5, 5, 0]])).shape
        (2, 3, 8)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        std: float = 1.0,
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        v = whole_number(num_embeddings, "Embedding: num_embeddings", at_least=1)
        d = whole_number(embedding_dim, "Embedding: embedding_dim", at_least=1)
        std = number(std, "Embedding: std", at_least=0)
        self.weight = Parameter(normal((v, d), std, rng, dtype))

    def forward(self, input: Array) -> Any:
        return F.embedding(input, self.weight)

    def extra_repr(self) -> str:
        return "{}, {}".format(*self.weight.shape)
