"""LayerNorm: each sample normalised over its own features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from minidl import functional as F
from minidl.arrays import Array
from minidl.checks import number
from minidl.functional.layer_norm import axes_to_normalise
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter
from minidl.tensor import Tensor


class LayerNorm(Module):
    """Layer normalisation over the last axes, the same in training and prediction.

    See :func:`minidl.functional.layer_norm`.

    Args:
        normalized_shape: the lengths of the axes to normalise over; a number for the last one.
        eps: added to the variance, inside the root.
        elementwise_affine: whether there are a weight (at first 1) and a bias (at first 0) for
            each feature.
        bias: whether there is a bias beside the weight.
        dtype: of the parameters.

    Attributes:
        weight, bias: of the shape ``normalized_shape``, or None.

    Raises:
        TypeError: if an argument is not of its kind of number.
        ValueError: if one is out of range.

    Example:
        >>> LayerNorm(2)(np.array([[1.0, 3.0]], np.float32))
        Tensor([[-0.999995,  0.999995]], from=layer_norm)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        shape = axes_to_normalise(normalized_shape, "LayerNorm")
        self.normalized_shape = shape
        self.eps = number(eps, "LayerNorm: eps", above=0)
        self.weight = Parameter(np.ones(shape, dtype)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(shape, dtype)) if elementwise_affine and bias else None

    def forward(self, x: Tensor | Array) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        shape = self.normalized_shape
        affine = "" if self.weight is not None else ", elementwise_affine=False"
        bias = ", bias=False" if self.weight is not None and self.bias is None else ""
        return f"{shape[0] if len(shape) == 1 else shape}, eps={self.eps}{affine}{bias}"
