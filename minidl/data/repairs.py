"""Data that are not as they should be: converted where that is plain, else named with the remedy.

The functions that return an error belong to the checks of the same questions in ``checks.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def converted(value: ArrayLike, name: str) -> np.ndarray:
    """``value`` as an ndarray."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost: use .filled(value)")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is no array, its rows differ in length? ({error})") from error


def no_samples(array: np.ndarray, value: Any, name: str, remedy: str) -> Exception:
    """Of objects, or of a single value."""
    if hasattr(value, "iloc"):  # of pandas
        remedy = (
            "classes, y = np.unique(labels, return_inverse=True) makes integers of labels"
            if array.ndim == 1
            else "data.TableEncoder makes an array of it; to split a table, split the numbers of "
            "its rows, np.arange(len(table)), and take table.iloc[rows]"
        )
        return TypeError(
            f"{name} is a {type(value).__name__} that holds words or other objects: {remedy}"
        )
    if array.dtype.hasobject:
        return TypeError(
            f"{name} holds Python objects ({type(value).__name__} of dtype object), not numbers: "
            f"convert it first, for example with np.array(values, dtype=np.float32)"
        )
    return ValueError(
        f"{name} is the single value {array}, expected an array with one entry per sample{remedy}"
    )


def no_numbers(array: np.ndarray, name: str) -> TypeError:
    """Of strings, dates or complex numbers."""
    return TypeError(
        f"{name} has dtype {array.dtype}, expected numbers: for labels that are strings, "
        f"classes, y = np.unique(labels, return_inverse=True) makes integers of them"
    )


def lengths(arrays: tuple[np.ndarray, ...], owner: str) -> Exception:
    """Of no array, of arrays of different lengths, or of empty ones."""
    if not arrays:
        return TypeError(f"{owner} needs at least one array, got none")
    found = [len(array) for array in arrays]
    if len(set(found)) > 1:
        listed = ", ".join(f"array {i} has {length}" for i, length in enumerate(found))
        return ValueError(f"{owner} needs as many samples in every array, got: {listed}")
    return ValueError(f"{owner} got an empty data set: every array has 0 samples")


def not_finite(array: np.ndarray, name: str, source: np.ndarray) -> ValueError:
    """Of NaN or infinity; ``source`` has what was there before a change of dtype."""
    bad = np.argwhere(~np.isfinite(array))
    position = tuple(int(i) for i in bad[0])
    place = f"row {position[0]}"
    if len(position) > 1:
        place += ", column " + ", ".join(map(str, position[1:]))
    what = f"{name}: the value in {place} (counted from 0) is {source[position]}"
    if np.isfinite(source[position]):
        return ValueError(f"{what}, too large for {array.dtype}: scale the data or pass dtype=None")
    return ValueError(f"{what}, {len(bad)} such in all: repair or remove those rows first")


def no_real_dtype(dtype: np.dtype) -> TypeError:
    """Of a dtype that is not of real numbers."""
    return TypeError(f"dtype= is a floating dtype or None (keep each), got {dtype}")


def no_batch(batch_size: int, samples: int) -> ValueError:
    """Of a loader that leaves out what is not full, and has less than one batch."""
    return ValueError(
        f"no batch would ever come: batch_size={batch_size} is more than the {samples} samples, "
        f"and drop_last leaves out what is not full; take a smaller batch_size or drop_last=False"
    )


def epoch_over() -> RuntimeError:
    """Of a second loop over ``iter(loader)``."""
    return RuntimeError(
        "this epoch is over, and iter(loader) is one epoch: loop over the loader itself, "
        "as in `for x, y in loader`, which begins a new epoch each time"
    )
