"""The questions that all of the data package asks of its input, in one wording.

They stand apart because loader, transforms and data sets ask the same ones: is it an array of
numbers, are the lengths equal, is every value finite, is this option a whole number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def as_array(value: ArrayLike, name: str, remedy: str = "") -> np.ndarray:
    """Return ``value`` as an ndarray of one dimension or more; errors call it ``name``."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost: use .filled(value)")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is no array, its rows differ in length? ({error})") from error
    if array.dtype.hasobject:
        raise TypeError(
            f"{name} holds Python objects ({type(value).__name__} of dtype object), not numbers: "
            f"convert it first, for example with np.array(values, dtype=np.float32)"
        )
    if array.ndim == 0:
        raise ValueError(
            f"{name} is the single value {array}, "
            f"expected an array with one entry per sample{remedy}"
        )
    return array


def as_numbers(value: ArrayLike, name: str) -> np.ndarray:
    """Return ``value`` as an array of booleans, integers or real numbers."""
    array = as_array(value, name)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected numbers: for labels that are strings, "
            f"classes, y = np.unique(labels, return_inverse=True) makes integers of them"
        )
    return array


def equally_long(arrays: Sequence[ArrayLike], owner: str) -> tuple[np.ndarray, ...]:
    """Return ``arrays`` as ndarrays that share one length, of at least one sample."""
    if not arrays:
        raise TypeError(f"{owner} needs at least one array, got none")
    hint = "; options are given by name, as in batch_size=64"
    made = tuple(as_array(value, f"{owner}: array {i}", hint) for i, value in enumerate(arrays))
    lengths = [len(array) for array in made]
    if len(set(lengths)) > 1:
        listed = ", ".join(f"array {i} has {length}" for i, length in enumerate(lengths))
        raise ValueError(f"{owner} needs as many samples in every array, got: {listed}")
    if lengths[0] == 0:
        raise ValueError(f"{owner} got an empty data set: every array has 0 samples")
    return made


def require_finite(array: np.ndarray, name: str, source: np.ndarray | None = None) -> None:
    """Raise unless every value is finite; ``source`` is the array before a change of dtype."""
    # The extremes tell it without the memory that a mask as large as the data would take.
    if array.dtype.kind != "f" or not array.size:
        return
    with np.errstate(invalid="ignore"):
        if np.isfinite(array.min()) and np.isfinite(array.max()):
            return
    bad = np.argwhere(~np.isfinite(array))
    position = tuple(int(i) for i in bad[0])
    place = f"row {position[0]}"
    if len(position) > 1:
        place += ", column " + ", ".join(map(str, position[1:]))
    value = (array if source is None else source)[position]
    what = f"{name}: the value in {place} (counted from 0) is {value}"
    if np.isfinite(value):
        raise ValueError(f"{what}, too large for {array.dtype}: scale the data or pass dtype=None")
    raise ValueError(f"{what}, {len(bad)} such in all: repair or remove those rows first")


def whole_number(value: object, name: str, at_least: int) -> int:
    """Return ``value`` as an int that is large enough."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is a whole number, got {value!r} ({type(value).__name__})")
    if value < at_least:
        raise ValueError(f"{name} is at least {at_least}, got {value}")
    return int(value)


def unfit(array: np.ndarray, dtype: np.dtype[Any]) -> str:
    """What in an array a dtype cannot hold: finite and too large, or another integer; else ""."""
    with np.errstate(over="ignore", invalid="ignore"):
        there = array.astype(dtype)
    lost = np.isfinite(array) & ~np.isfinite(there) if dtype.kind == "f" else there != array
    if not lost.any():
        return ""
    place = tuple(np.argwhere(lost)[0].tolist())
    return f"has {array[place]} at {list(place)}, which {dtype} cannot hold"


def same_keys(state: Mapping[str, Any], expected: Iterable[str], owner: str) -> None:
    """Raise one error that lists every missing and every unexpected key of a state."""
    names = set(expected)
    missing, unexpected = sorted(names - set(state)), sorted(map(str, set(state) - names))
    if missing or unexpected:
        raise ValueError(
            f"this is no state of a {owner}: missing {missing}, unexpected {unexpected}; "
            f"nothing was loaded"
        )
