"""What all of minidl asks of a number or a choice that it is given, in one wording.

Each function returns the value in Python's own kind, or raises: a TypeError for another kind of
thing, a ValueError for what is out of range. ``name`` says in the message whose argument it is, as
in ``"Linear: in_features"``.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def is_number(value: object) -> bool:
    """Whether it is a real number, Python's or NumPy's; a bool is none."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def number(
    value: Any,
    name: str,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
    or_infinite: bool = False,
) -> float:
    """A finite number within limits, or infinity if that is allowed, as an int or a float.

    NumPy's own scalars become Python's: float64 ones would widen float32 arrays.

    Raises:
        TypeError: if it is no number.
        ValueError: if it is out of range, NaN, or infinite and must not be.

    Example:
        >>> number(np.float64(0.5), "cosine: lr", at_least=0)
        0.5
    """
    limits = [
        f"{word} {limit}"
        for word, limit in (
            ("at least", at_least), ("above", above), ("at most", at_most), ("below", below),
        )
        if abs(limit) < math.inf
    ]  # fmt: skip
    kind = "a number" if or_infinite else "a finite number"
    wanted = ", ".join([kind, *([" and ".join(limits)] if limits else [])])
    if not is_number(value):
        raise TypeError(f"{name} is {wanted}, got {value!r} ({type(value).__name__})")
    below_all = value < below or (or_infinite and value == math.inf)
    if not (at_least <= value <= at_most and above < value and below_all):
        raise ValueError(f"{name} is {wanted}, got {value!r}")
    return float(value) if isinstance(value, float | np.floating) else int(value)


def whole_number(value: Any, name: str, at_least: int = 0) -> int:
    """An integer that is large enough.

    Raises:
        TypeError: if it is no integer; a bool and 2.0 are none.
        ValueError: if it is too small.

    Example:
        >>> whole_number(np.int64(3), "Linear: in_features", at_least=1)
        3
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is a whole number, got {value!r} ({type(value).__name__})")
    if value < at_least:
        raise ValueError(f"{name} is a whole number of at least {at_least}, got {value}")
    return int(value)


def one_of(value: T, name: str, choices: Collection[T]) -> T:
    """One of some choices.

    Raises:
        ValueError: for anything else; the message lists them.

    Example:
        >>> one_of("sum", "mse_loss: reduction", ("mean", "sum", "none"))
        'sum'
    """
    if value not in choices:
        first, last = [repr(choice) for choice in choices][:-1], repr([*choices][-1])
        raise ValueError(f"{name} is {', '.join(first)} or {last}, not {value!r}")
    return value
