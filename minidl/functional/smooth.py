"""Smooth activations, which take some care to be exact for any input."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeVar

import numpy as np

from minidl.arrays import Array
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
    beta = float(beta)
    if not 0 < beta < math.inf:
        raise ValueError(f"softplus takes a finite beta above 0, not {beta!r}")
    y: Any = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(beta * x))) / beta
    return y


vjp(softplus, "x beta=1.0", x=lambda g, x, beta: g * sigmoid(beta * x))


@vanishing
def gelu(x: T, approximate: Literal["none", "tanh"] = "none") -> T:
    """``x * P(Z <= x)`` for a standard normal Z, elementwise.

    Args:
        x: any shape.
        approximate: ``"none"`` for the exact form, ``"tanh"`` for
            ``0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3)))``.

    Raises:
        ValueError: for any other ``approximate``.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, section 2.

    Example:
        >>> gelu(Tensor([0.0, 1.0]))
        Tensor([0.       , 0.8413448])
    """
    if approximate == "tanh":
        c: Any = np.clip(x, -10, 10)  # there tanh is 1 to the last digit, and x**3 cannot overflow
        low: Any = np.clip(x, -10, None)  # not -inf * 0
        return 0.5 * low * (1 + np.tanh(math.sqrt(2 / math.pi) * (c + 0.044715 * c**3)))
    if approximate != "none":
        raise ValueError(f"gelu: approximate is 'none' or 'tanh', not {approximate!r}")
    low = np.clip(x, -40, None)  # from there on the tail is 0, and -inf * 0 would be NaN
    return low * normal_cdf(np.clip(low, None, 40))


@differentiable
@vanishing
def normal_cdf(x: T) -> T:
    """P(Z <= x) for a standard normal Z: half of erfc(-x / sqrt(2)).

    It is computed in float64, since the relative error of exp(-a * a) grows with a * a. From 40 on
    the tail is 0 in float64.
    """
    a = np.minimum(np.abs(x), 40).astype(np.float64) * math.sqrt(0.5)
    t = 2 / (2 + a)
    tail = 0.5 * t * np.exp(np.polynomial.chebyshev.chebval(2 * t - 1, _LOG_ERFC) - a * a)
    p = np.where(x > 0, 1 - tail, tail)
    return p.astype(x.dtype) if x.dtype.kind == "f" else p


vjp(normal_cdf, "x", x=lambda g, x: g * np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi)))

# log(erfc(a) exp(a**2) / t) with t = 2 / (2 + a), as a Chebyshev series in 2t - 1. The coefficients
# were fitted in 40-digit arithmetic; erfc(a) then agrees with math.erfc to 1.2e-13 relative.
_LOG_ERFC = np.array([
    -0.6513268598908547, 0.6419697923564902, 0.019476473204185836, -0.009561514786808632,
    -0.0009465953444820369, 0.00036683949785276145, 4.252332480690777e-05, -2.0278578112534242e-05,
    -1.6242900046470256e-06, 1.3036558355805232e-06, 1.5626441722066142e-08, -8.523809591492654e-08,
    6.5290544390988515e-09, 5.059343495551469e-09, -9.91364156493033e-10, -2.273651222931836e-10,
    9.646791102015527e-11, 2.3940380830391146e-12, -6.886027526497553e-12, 8.944879273090725e-13,
    3.130921399342958e-13, -1.1270822361367252e-13, 3.810905255189232e-16, 7.106097613609237e-15,
    -1.5230282014571043e-15, -9.457494571291233e-17, 1.210237189224279e-16,
])  # fmt: skip
