"""The layers of a plain network: Linear, BatchNorm and ReLU.

Each keeps parameters and settings, and calls its function of ``functional``, where the mathematics
stands. The other layers are in ``activations``, ``regularization`` and ``shapes``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl import functional as F
from minidl.arrays import Array
from minidl.checks import number, whole_number
from minidl.nn.init import Initializer, initial
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter
from minidl.rng import RNG
from minidl.tensor import Tensor


class Linear(Module):
    """``y = x @ weight.T + bias``: every output is a weighted sum of all inputs.

    Args:
        in_features: K, the length of the last axis of the input.
        out_features: C, the length of the last axis of the output.
        bias: whether there is a bias, which starts at zero.
        init: the initial weights, a name or a function of ``nn.init``; He's for layers before ReLU.
        rng: a seed, a generator, or None for minidl's own.
        dtype: of the parameters.

    Attributes:
        weight: shape (C, K).
        bias: shape (C,), or None.

    Raises:
        TypeError: if a number of features is no whole number.
        ValueError: if it is below 1, or if ``init`` is not known or returns another shape.

    Example:
        >>> Linear(3, 2)(np.ones((4, 3), np.float32)).shape
        (4, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        init: str | Initializer = "he_normal",
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        k = whole_number(in_features, "Linear: in_features", at_least=1)
        c = whole_number(out_features, "Linear: out_features", at_least=1)
        self.weight = Parameter(initial("Linear", init, (c, k), rng, dtype))
        self.bias = Parameter(np.zeros(c, dtype)) if bias else None

    def forward(self, x: Tensor | Array) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        c, k = self.weight.shape
        return f"{k}, {c}" + ("" if self.bias is not None else ", bias=False")


class BatchNorm(Module):
    """Batch normalisation over every axis but the second, for (N, C) and (N, C, ...).

    In training each channel is normalised by the mean and variance of the batch, and the running
    statistics follow them; in prediction (``eval()``) the running statistics are used.
    See :func:`minidl.functional.batch_norm`.

    Args:
        num_features: C, the number of channels.
        eps: added to the variance, inside the root.
        momentum: the weight of a new batch in the running statistics.
        affine: whether there are a weight (at first 1) and a bias (at first 0) for each channel.
        dtype: of parameters and running statistics.

    Attributes:
        weight, bias: shape (C,), or None.
        running_mean, running_var: ndarrays of shape (C,), at first 0 and 1.
        num_batches_tracked: how many batches the running statistics have seen.

    Raises:
        TypeError: if an argument is not of its kind of number.
        ValueError: if one is out of range; in training, for a batch of one value per channel.

    Example:
        >>> BatchNorm(1)(np.array([[1.0], [3.0]], np.float32))
        Tensor([[-0.999995],
                [ 0.999995]], from=batch_norm)
    """

    buffers = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        c = whole_number(num_features, "BatchNorm: num_features", at_least=1)
        self.eps = number(eps, "BatchNorm: eps", above=0)
        self.momentum = number(momentum, "BatchNorm: momentum", at_least=0, at_most=1)
        self.weight = Parameter(np.ones(c, dtype)) if affine else None
        self.bias = Parameter(np.zeros(c, dtype)) if affine else None
        self.running_mean = np.zeros(c, dtype)
        self.running_var = np.ones(c, dtype)
        self.num_batches_tracked = np.zeros((), np.int64)

    def forward(self, x: Tensor | Array) -> Tensor:
        mean, var, batches = self.running_mean, self.running_var, self.num_batches_tracked
        y = F.batch_norm(
            x, mean, var, self.weight, self.bias, self.training, self.momentum, self.eps
        )
        if self.training:
            batches += 1  # in place; mean and var have followed the batch
        return y

    def extra_repr(self) -> str:
        affine = "" if self.weight is not None else ", affine=False"
        return f"{len(self.running_mean)}, eps={self.eps}, momentum={self.momentum}{affine}"


class ReLU(Module):
    """``max(x, 0)``; see :func:`minidl.functional.relu`."""

    def forward(self, x: Any) -> Any:
        return F.relu(x)
