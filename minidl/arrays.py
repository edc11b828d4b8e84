"""What may come into the engine: arrays of real numbers, and what means the same.

Everything that is not a Tensor comes in through :func:`as_real`, unless it is an ndarray of such
numbers anyway. What would lose something on the way (a mask, an arithmetic of its own, an imaginary
part) is refused, with the remedy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_MASKED = (
    "what is masked would be lost or count as if it were not. Use x.filled(value) for an ndarray, "
    "and np.where(mask, 0, t) for what is to be left out"
)


_NO_RETURN = "does the function that made it, such as the forward() of a layer, lack a return?"


def as_real(x: Any, where: str) -> Array:
    """Something array-like as an ndarray of real numbers or booleans, sharing its memory if it can.

    ``where`` says in an error what it was for.

    Raises:
        TypeError: for what holds no real numbers, or has an arithmetic of its own.
    """
    if type(x) is not np.ndarray:
        check_means_the_same(x, where)
    array: Array = as_array(x)
    if array.dtype.kind not in "fiub":
        raise _not_real(x, where)
    return array


def as_array(x: Any) -> Any:
    """An ndarray of ``x``; what stands for one, by speaking NumPy's protocols, stays what it is."""
    stands_in = hasattr(x, "__array_function__") and not hasattr(x, "__array_struct__")
    return x if stands_in and not hasattr(x, "backward") else np.asarray(x)


def taken_in(dtype: np.dtype[Any], x: Any, where: str = "a layer or a loss") -> Any:
    """An array in the dtype of what it meets."""
    return as_real(x, where).astype(dtype, copy=False)


def check_means_the_same(x: Any, where: str) -> None:
    """Refuse arrays with an arithmetic of their own, as np.matrix and masked arrays are, alone or
    as rows in a list: a Tensor computes with the bare numbers in them."""
    if isinstance(x, list | tuple):
        for row in x:
            if isinstance(row, list | tuple | np.ndarray):
                check_means_the_same(row, where)
    elif isinstance(x, np.ndarray):
        kind: Any = type(x)
        if (kind.__mul__, kind.__array_ufunc__) == (np.ndarray.__mul__, np.ndarray.__array_ufunc__):
            return
        remedy = _MASKED if hasattr(x, "filled") else "use np.asarray(x) for the numbers in it"
        raise TypeError(f"{where} with a {kind.__name__}, whose arithmetic is its own: {remedy}")


def refuse_mask() -> TypeError:
    """The error for a masked array that meets a Tensor."""
    return TypeError(f"a masked array meets a Tensor: {_MASKED}")


def check_differentiable(data: Array) -> None:
    """Raise unless a gradient makes sense."""
    if data.dtype.kind != "f":
        raise TypeError(
            f"only floating-point Tensors can require a gradient, not {data.dtype}: convert with "
            f"astype(np.float32)"
        )


def _not_real(x: Any, where: str) -> TypeError:
    if x is None:
        return TypeError(f"{where} takes real numbers or booleans, not None: {_NO_RETURN}")
    dtype = np.asarray(x).dtype
    remedy = {
        "c": "compute with .real and .imag",
        "m": "divide by a unit, as in x / np.timedelta64(1, 's')",
        "M": "subtract a date and divide by a unit, as in (x - x[0]) / np.timedelta64(1, 's')",
        "V": "take one of its fields, as in x['name']",
    }.get(dtype.kind, "convert with astype(np.float32)")
    shown = f"an array of shape {x.shape}" if isinstance(x, np.ndarray) else repr(x)
    if len(shown) > 60:
        shown = f"a {type(x).__name__}"
    return TypeError(f"{where} takes real numbers or booleans, not {shown} of {dtype}: {remedy}")
