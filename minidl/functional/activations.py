"""Activations: functions of single elements, which make a network more than one linear map.

A function is written for ndarrays; the line below it is its derivative rule. What it returns is a
Tensor if a Tensor goes in. In the rules ``g`` is the gradient of the result, ``y`` the result.
Those made of straight lines stand here, the others in smooth.py.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from minidl.arrays import Array
from minidl.table import vjp
from minidl.tensor import Tensor, differentiable

T = TypeVar("T", Tensor, Array)


@differentiable
def relu(x: T) -> T:
    """``max(x, 0)``, elementwise, with relu'(0) = 0.

    Example:
        >>> relu(Tensor([-1.0, 0.0, 2.0]))
        Tensor([0., 0., 2.])
    """
    # NumPy compares two arrays with vector instructions, an array and a number without.
    zeros = np.zeros_like(getattr(x, "array", x))  # a constant, its axes in memory as those of x
    zeros.flags.writeable = False
    y: Any = np.maximum(x, zeros)
    return y


vjp(relu, "x", x=lambda g, y: g * (y > 0))


@differentiable
@np.errstate(under="ignore")
def leaky_relu(x: T, negative_slope: float = 0.01) -> T:
    """``x`` where x > 0, ``negative_slope * x`` elsewhere (also at 0), elementwise.

    Example:
        >>> leaky_relu(Tensor([-1.0, 2.0]), 0.1)
        Tensor([-0.1,  2. ])
    """
    y: Any = np.where(x > 0, x, float(negative_slope) * x)
    return y


vjp(
    leaky_relu,
    "x negative_slope=0.01",
    x=lambda g, x, negative_slope: np.where(x > 0, g, negative_slope * g),
)
