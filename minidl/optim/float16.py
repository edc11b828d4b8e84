"""Parameters of float16, whose rule is computed in float32.

A rule cannot be computed in float16: there an eps of 1e-8 is 0, a square soon 0 or infinite, and
most steps are too small to move anything. The buffers of float16 parameters are therefore float32,
and the parameters themselves live in buffers beside them (``narrow`` of a Storage): they are the
rounded ``x``.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which a rule is computed for parameters of this one."""
    return dtype if dtype.itemsize >= 4 else np.dtype(np.float32)


def widen(storage: Any) -> None:
    """Before a step, take over data that have been written to.

    Where the data are still what ``x`` was rounded to, ``x`` knows better.
    """
    for dtype, data in storage.narrow.items():
        x = storage.buffers[dtype][0]
        with np.errstate(over="ignore"):
            np.copyto(x, data, where=x.astype(dtype) != data)


def settle(storage: Any) -> None:
    """After a step, round what the rule has moved."""
    for dtype, data in storage.narrow.items():
        data[...] = storage.buffers[dtype][0]
