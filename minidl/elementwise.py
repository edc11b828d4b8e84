"""More of NumPy's functions of single elements: angles, roots, inverses, choices among arrays.

The everyday ones stand in derivatives.py, whose conventions hold here: ``g`` is the gradient of the
result, ``y`` the result. At the origin arctan2 jumps and takes the slope 0, and hypot is the bottom
of a cone and takes 0 as a norm does; neither has a second derivative there, which is NaN. In a tie
fmax and fmin share the gradient equally, and one that is NaN has no part in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.compositions import composed, operand, refuse_out
from minidl.derivatives import in_single, over, place, sign
from minidl.protocols import plain
from minidl.table import vjp

# --- Angles and roots -----------------------------------------------------------------------------

vjp(
    np.arctan2,
    "a b",
    a=lambda g, a, b: g * _per_square(b, a, b),
    b=lambda g, a, b: -g * _per_square(a, a, b),
)
vjp(np.hypot, "a b", a=lambda g, y, a: g * over(a, y), b=lambda g, y, b: g * over(b, y))
vjp(np.degrees, "x", x=lambda g: g * (180 / math.pi))
vjp(np.rad2deg, "x", x=lambda g: g * (180 / math.pi))
vjp(np.radians, "x", x=lambda g: g * (math.pi / 180))
vjp(np.deg2rad, "x", x=lambda g: g * (math.pi / 180))
vjp(np.cbrt, "x", x=lambda g, y: g / (3 * y * y))
vjp(np.fabs, "x", x=lambda g, x: g * sign(x))

vjp(np.arcsinh, "x", x=lambda g, x: g / np.hypot(x, 1))
vjp(np.arccosh, "x", x=lambda g, x: g / (np.sqrt(x - 1) * np.sqrt(x + 1)))
vjp(np.arctanh, "x", x=lambda g, x: g / ((1 - x) * (1 + x)))


def _per_square(x: Any, a: Any, b: Any) -> Any:
    """``x / (a**2 + b**2)`` without the squares, which may overflow or vanish."""
    r = np.hypot(a, b)
    return over(over(x, r), r)


# --- Choices --------------------------------------------------------------------------------------

vjp(
    np.fmax,
    "a b",
    a=lambda g, a, b: np.where((a > b) | np.isnan(b), g, np.where(a == b, g / 2, 0)),
    b=lambda g, a, b: np.where((b > a) | np.isnan(a), g, np.where(a == b, g / 2, 0)),
)
vjp(
    np.fmin,
    "a b",
    a=lambda g, a, b: np.where((a < b) | np.isnan(b), g, np.where(a == b, g / 2, 0)),
    b=lambda g, a, b: np.where((b < a) | np.isnan(a), g, np.where(a == b, g / 2, 0)),
)


@composed(np.select)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(
            f"np.select takes a condition for each choice, not {len(condlist)} conditions for "
            f"{len(choicelist)} choices"
        )
    y = default
    for condition, choice in list(zip(condlist, choicelist, strict=True))[::-1]:
        known = np.asarray(condition) if _is_list(condition) else plain(condition)
        if known.dtype != np.bool_:
            raise TypeError("np.select takes conditions that are boolean, such as x > 0")
        y = np.where(known, choice, y)
    return y


def _is_list(x: Any) -> bool:
    return not hasattr(plain(x), "dtype")


@composed(np.choose)
def choose(a: Any, choices: Sequence[Any], out: None = None, mode: str = "raise") -> Any:
    refuse_out(np.choose, out)
    which, n = plain(a), len(choices)
    which = np.asarray(which) if _is_list(which) else which
    if which.dtype.kind not in "iub":
        raise TypeError(f"np.choose takes whole numbers to choose by, not {which.dtype}")
    if mode == "raise":
        if np.any((which < 0) | (which >= n)):
            raise ValueError(f"np.choose: there are {n} choices, and a number is not below that")
    elif mode in ("wrap", "clip"):
        which = which % n if mode == "wrap" else np.clip(which, 0, n - 1)
    else:
        raise ValueError(f"np.choose takes 'raise', 'wrap' or 'clip' for mode, not {mode!r}")
    y = choices[0]
    for k, choice in enumerate(choices[1:], 1):
        y = np.where(which == k, choice, y)
    return np.where(which == 0, choices[0], y)


@composed(np.piecewise)
def piecewise(
    x: Any, condlist: Any, funclist: Sequence[Callable[..., Any] | float], *args: Any, **kw: Any
) -> Any:
    """Each function sees only the elements that are its own, so that none is NaN for others."""
    alone = np.isscalar(plain(condlist)) or (np.ndim(plain(condlist[0])) == 0 and x.ndim > 0)
    conditions = [
        np.asarray(c, bool) if _is_list(c) else plain(c)
        for c in ([condlist] if alone else condlist)
    ]
    if any(c.shape != x.shape for c in conditions):
        raise ValueError(
            f"np.piecewise takes conditions of the shape of x, {x.shape}, not "
            f"{[c.shape for c in conditions]}"
        )
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.any(np.stack(conditions), axis=0))
    if len(funclist) != len(conditions):
        raise ValueError(
            f"np.piecewise takes a function for each of {len(conditions)} conditions, and perhaps "
            f"one more for all else, not {len(funclist)}"
        )
    owner = np.zeros(x.shape, int)  # the last condition that is true, as in NumPy; 0 for none
    for k, condition in enumerate(conditions, 1):
        owner = np.where(condition, k, owner)
    y = operand(np.zeros_like(plain(x)))
    for k, f in enumerate(funclist, 1):
        own = owner == k
        part = f(x[own], *args, **kw) if callable(f) else np.asarray(f, x.dtype)
        y = y + place(part, own, x.shape)
    return y


@composed(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    if not copy:
        raise TypeError("np.nan_to_num with copy=False would change a Tensor in place: leave it")
    known = plain(x)
    return np.where(np.isfinite(known), x, np.nan_to_num(known, True, nan, posinf, neginf))


# --- Made of others -------------------------------------------------------------------------------


@composed(np.float_power)
def float_power(x1: Any, x2: Any) -> Any:
    return np.power(operand(x1), operand(x2).astype(np.float64))  # float64 of either makes both so


_SINC = [(-1) ** k / math.factorial(2 * k + 1) for k in range(12)]  # sin(u) / u in powers of u**2


@composed(np.sinc)
@in_single
def sinc(x: Any) -> Any:
    """Near 0 the first terms of its series, whose derivatives lose no digits there."""
    near = np.abs(plain(x)) < 0.5
    u = math.pi * np.where(near, 1, x)
    square = (math.pi * np.where(near, x, 0)) ** 2
    series = np.zeros_like(square)
    for c in _SINC[::-1]:
        series = series * square + c
    return np.where(near, series, np.sin(u) / u)
