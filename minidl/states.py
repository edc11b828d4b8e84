"""What is asked of every state dict before it is loaded: does it have the same names, and does
what it holds fit. Models, optimizers, loaders and runs ask alike, and load all or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def same_keys(state: Mapping[str, Any], expected: Iterable[str], owner: str) -> None:
    """Raise one error that lists every missing and every unexpected key of a state."""
    names = set(expected)
    missing, unexpected = sorted(names - set(state)), sorted(map(str, set(state) - names))
    if missing or unexpected:
        raise ValueError(
            f"this is no state of a {owner}: missing {missing}, unexpected {unexpected}; "
            f"nothing was loaded"
        )


def unfit(array: np.ndarray, dtype: np.dtype[Any]) -> str:
    """What in an array a dtype cannot hold: finite and too large, or another integer; else ""."""
    with np.errstate(over="ignore"):
        there = array.astype(dtype)
    lost = np.isfinite(array) & ~np.isfinite(there) if dtype.kind == "f" else there != array
    if not lost.any():
        return ""
    place = tuple(np.argwhere(lost)[0].tolist())
    return f"has {array[place]} at {list(place)}, which {dtype} cannot hold"
