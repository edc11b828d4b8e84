"""Smooth activations, which take some care to be exact for any input."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from minidl.arrays import Array
from minidl.checks import number
from minidl.table import vjp
from minidl.tensor import Tensor, differentiable

T = TypeVar("T", Tensor, Array)


# exp(-1000) is 0, and that is meant, also by who lets NumPy raise for all floating-point errors.
vanishing = np.errstate(under="ignore")


@differentiable
@vanishing
def sigmoid(x: T) -> T:
    """``1 / (1 + exp(-x))``, elementwise, without overflow for any x.

    Example:
        >>> sigmoid(Tensor([0.0, 1e4]))
        Tensor([0.5, 1. ])
    """
    e: Any = np.exp(-np.abs(x))
    y: Any = np.where(x >= 0, 1, e) / (1 + e)
    return y


vjp(sigmoid, "x", x=lambda g, y: g * (y * (1 - y)))


@vanishing
def tanh(x: T) -> T:
    """The hyperbolic tangent, elementwise: ``numpy.tanh``.

    Example:
        >>> tanh(Tensor([0.0]))
        Tensor([0.])
    """
    y: Any = np.tanh(x)
    return y


@differentiable
@np.errstate(all="ignore")  # beside others, -inf is right
def softplus(x: T, beta: float = 1.0) -> T:
    """``log(1 + exp(beta * x)) / beta``, elementwise: a smooth relu, exact for any x.

    PyTorch switches to ``x`` itself where ``beta * x > 20``; here there is no such step.

    Raises:
        ValueError: if ``beta`` is not above 0.

    Example:
        >>> softplus(Tensor([0.0, 1e4]))
        Tensor([6.931472e-01, 1.000000e+04])
    """
    beta = float(number(beta, "softplus: beta", above=0))
    y: Any = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(beta * x))) / beta
    return y


vjp(softplus, "x beta=1.0", x=lambda g, x, beta: g * sigmoid(beta * x))
