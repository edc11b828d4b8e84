"""What all of the data package asks of arrays: numbers, of one length, each finite.

What is right passes with a look; what is not goes to ``repairs.py``, which converts it or says what
is wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from minidl.data import repairs


def as_array(value: ArrayLike, name: str, remedy: str = "") -> np.ndarray:
    """Return ``value`` as an ndarray of one dimension or more; errors call it ``name``."""
    array = repairs.converted(value, name)
    if array.dtype.hasobject or array.ndim == 0:
        raise repairs.no_samples(array, value, name, remedy)
    return array


def as_numbers(value: ArrayLike, name: str) -> np.ndarray:
    """Return ``value`` as an array of booleans, integers or real numbers."""
    array = as_array(value, name)
    if array.dtype.kind not in "biuf":
        raise repairs.no_numbers(array, name)
    return array


def equally_long(arrays: Sequence[ArrayLike], owner: str) -> tuple[np.ndarray, ...]:
    """Return ``arrays`` as ndarrays that share one length, of at least one sample."""
    hint = "; options are given by name, as in batch_size=64"
    made = tuple(as_array(value, f"{owner}: array {i}", hint) for i, value in enumerate(arrays))
    if len({len(array) for array in made}) != 1 or len(made[0]) == 0:
        raise repairs.lengths(made, owner)
    return made


def as_samples(
    arrays: Sequence[ArrayLike], owner: str, real: np.dtype | None, finite: bool
) -> tuple[np.ndarray, ...]:
    """Return equally long arrays of numbers, C contiguous, in native byte order.

    Real numbers become ``real`` unless it is None; with ``finite``, they must be finite.
    """
    made = []
    for i, array in enumerate(equally_long(arrays, owner)):
        name = f"{owner}: array {i}"
        kind = as_numbers(array, name).dtype.kind
        dtype = real if real is not None and kind == "f" else array.dtype.newbyteorder("=")
        with np.errstate(over="ignore"):  # what does not fit is reported below, by its place
            made.append(np.require(array, dtype, ["C", "ALIGNED"]))
        if finite:
            require_finite(made[-1], name, source=array)
    return tuple(made)


def require_finite(array: np.ndarray, name: str, source: np.ndarray | None = None) -> None:
    """Raise unless every value is finite; ``source`` is the array before a change of dtype."""
    if array.dtype.kind == "f" and array.size:
        with np.errstate(invalid="ignore"):
            # The extremes tell it without the memory that a mask as large as the data would take.
            if not (np.isfinite(array.min()) and np.isfinite(array.max())):
                raise repairs.not_finite(array, name, array if source is None else source)
