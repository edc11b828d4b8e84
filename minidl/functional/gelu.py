"""GELU, exact and by tanh, with its slope by hand.

Written in NumPy's functions each form is its definition below. The fused ones find the slope beside
the value, from the same exponential or tanh, so that the way back is a single product. They choose
between branches by arithmetic, and bound by ``np.clip``: on mixed signs ``np.where`` takes as long
as forty products, and ``np.maximum`` of an array and a number as long as four.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeVar

import numpy as np

from minidl.arrays import Array, as_real
from minidl.table import vjp
from minidl.tensor import Tensor, apply, differentiable

T = TypeVar("T", Tensor, Array)

vanishing = np.errstate(under="ignore", over="ignore")  # exp(-1000) is 0, and that is meant


@vanishing
def gelu(x: T, approximate: Literal["none", "tanh"] = "none") -> T:
    """``x * P(Z <= x)`` for a standard normal Z, elementwise.

    In float32 the exact form is right to 1e-6 relatively from x = -5 on, and to 5e-6 below, where
    it vanishes; in float64 to 13 digits. float16 is computed in float32.

    Args:
        x: any shape.
        approximate: ``"none"`` for the exact form, ``"tanh"`` for
            ``0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3)))``.

    Raises:
        ValueError: for any other ``approximate``.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016, section 2.

    Example:
        >>> gelu(Tensor([0.0, 1.0])).data.round(6)
        array([0.      , 0.841345], dtype=float32)
    """
    if isinstance(x, Tensor):
        return apply(gelu, x, approximate)
    return _gelu(as_real(x, "gelu"), approximate)[0]


def _gelu(x: Array, approximate: str) -> tuple[Array, Array]:
    """The value, and the slope, which is in float32 at least."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate is 'none' or 'tanh', not {approximate!r}")
    dtype = x.dtype
    if dtype.char != "f":
        x = x.astype(np.float32 if dtype.char == "e" else np.float64)
    form = _by_tanh if approximate == "tanh" else _exact
    if x.ndim == 0:  # NumPy makes a scalar of it, which cannot be written into
        y, slope = (part.reshape(()) for part in form(x.reshape(1)))
    else:
        y, slope = form(x)
    return (y.astype(dtype, copy=False) if dtype.kind == "f" else y), slope


def _by_tanh(x: Array) -> tuple[Array, Array]:
    """With ``u = r (x + k x**3)`` the slope is ``(1 + tanh u + x (1 - tanh(u)**2) du/dx) / 2``."""
    c = np.clip(x, -10, 10)  # there tanh is 1 to the last digit, and x**3 cannot overflow
    square = c * c
    t = square * (_ROOT * _CUBIC)
    t += _ROOT
    t *= c
    np.tanh(t, out=t)
    square *= 3 * _ROOT * _CUBIC
    square += _ROOT
    square *= c  # x du/dx
    slope = t * t
    np.subtract(1, slope, out=slope)
    slope *= square
    t += 1
    slope += t
    slope *= 0.5
    t *= 0.5
    t *= np.clip(x, -10, math.inf)  # not -inf * 0
    return t, slope


def _exact(x: Array) -> tuple[Array, Array]:
    """``max(x, 0) - |x| tail`` with the tail ``P(Z > |x|)``, and the slope ``P(Z <= x) + x pdf``.

    So written nothing is taken from 1 where x is below 0, and the vanishing value keeps its digits.
    """
    a = np.abs(x)
    np.clip(a, 0, 15 if x.dtype.char == "f" else 40, out=a)  # where the tail is 0: not inf * 0
    y = np.clip(x, 0, math.inf)
    step = (x > 0).astype(x.dtype)
    bell = a * a
    bell *= -0.5
    np.exp(bell, out=bell)
    tail = _short_tail(a, bell) if x.dtype.char == "f" else normal_cdf(-a)
    bell *= a
    bell *= 1 / math.sqrt(2 * math.pi)
    np.subtract(tail, bell, out=bell)  # the slope at -|x|; that at |x| is 1 minus it
    tail *= a
    y -= tail
    slope = step * -2
    slope += 1
    slope *= bell
    slope += step
    return y, slope


def _short_tail(a: Array, bell: Array) -> Array:
    """P(Z > a) for a from 0 on in float32: exp(-a * a / 2) times a polynomial in 1 / (1 + 0.3 a).

    The form is that of Abramowitz and Stegun, 26.2.17, with the coefficients fitted anew: they
    minimize the largest relative error, 1.5e-7, from 0 to 14.
    """
    t = a * 0.3
    t += 1
    np.divide(1, t, out=t)
    y = t * _MILLS[0]
    for coefficient in _MILLS[1:]:
        y += coefficient
        y *= t
    y *= bell
    return y


_ROOT, _CUBIC = math.sqrt(2 / math.pi), 0.044715
_MILLS = (
    0.03567426898394856, -0.15720109701374707, 0.20635027290261074, -0.05368082531598862,
    0.12856020993039452, 0.09991390134756728, 0.120753893271586, 0.1196293027645091,
)  # fmt: skip


def _definition(x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        c, low = np.clip(x, -10, 10), np.clip(x, -10, None)
        return 0.5 * low * (1 + np.tanh(_ROOT * (c + _CUBIC * c**3)))
    low = np.clip(x, -40, None)
    return low * normal_cdf(np.clip(low, None, 40))


vjp(
    gelu,
    "x approximate='none' -> slope",
    x=lambda g, slope: g * slope,
    forward=_gelu,
    definition=_definition,
)


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
