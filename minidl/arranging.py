"""NumPy's ways to put arrays together, take them apart, turn them, and look through a window.

They are made of the functions in compositions.py; only a window has a rule of its own: where the
windows overlap, an element gets the gradients of all that it is in.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index
from numpy.lib.stride_tricks import sliding_window_view

from minidl.compositions import composed, operand
from minidl.derivatives import axes_of
from minidl.protocols import plain
from minidl.table import vjp
from minidl.tensor import differentiable

# --- More axes ------------------------------------------------------------------------------------


def _each(raised: Any, arys: Sequence[Any]) -> Any:
    """One array as such, several as a tuple."""
    results = tuple(raised(operand(a)) for a in arys)
    return results[0] if len(results) == 1 else results


@composed(np.atleast_1d)
def atleast_1d(*arys: Any) -> Any:
    return _each(lambda a: np.reshape(a, 1) if a.ndim == 0 else a, arys)


@composed(np.atleast_2d)
def atleast_2d(*arys: Any) -> Any:
    return _each(lambda a: np.reshape(a, (1, a.size)) if a.ndim < 2 else a, arys)


@composed(np.atleast_3d)
def atleast_3d(*arys: Any) -> Any:
    return _each(_with_three_axes, arys)


def _with_three_axes(a: Any) -> Any:
    if a.ndim < 2:
        return np.reshape(a, (1, a.size, 1))
    return a[:, :, None] if a.ndim == 2 else a


@composed(np.broadcast_arrays)
def broadcast_arrays(*args: Any) -> Any:
    arrays = [operand(a) for a in args]
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    return tuple(np.broadcast_to(a, shape) for a in arrays)


@composed(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> Any:
    if indexing not in ("xy", "ij"):
        raise ValueError(f"np.meshgrid takes 'xy' or 'ij' for indexing, not {indexing!r}")
    n = len(xi)
    axes = list(range(n))
    if indexing == "xy" and n > 1:
        axes[:2] = [1, 0]
    grids = tuple(
        np.reshape(operand(x), [-1 if i == axis else 1 for i in range(n)])
        for x, axis in zip(xi, axes, strict=True)
    )
    return grids if sparse else broadcast_arrays(*grids)


# --- Together -------------------------------------------------------------------------------------


@composed(np.append)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    return np.concatenate([operand(arr), operand(values)], axis)


@composed(np.column_stack)
def column_stack(tup: Sequence[Any]) -> Any:
    arrays = [operand(a) for a in tup]
    return np.concatenate([np.reshape(a, (a.size, 1)) if a.ndim < 2 else a for a in arrays], 1)


@composed(np.dstack)
def dstack(tup: Sequence[Any]) -> Any:
    return np.concatenate([_with_three_axes(operand(a)) for a in tup], 2)


@composed(np.block)
def block(arrays: Any) -> Any:
    depth = _depth(arrays)
    ndim = max(depth, *(a.ndim for a in _leaves(arrays)))

    def joined(part: Any, level: int) -> Any:
        if not isinstance(part, list):
            a = operand(part)
            return np.reshape(a, (1,) * (ndim - a.ndim) + a.shape)
        return np.concatenate([joined(p, level + 1) for p in part], level - depth)

    return joined(arrays, 0)


def _depth(part: Any) -> int:
    """How deep the lists are, which are equally deep everywhere."""
    if not isinstance(part, list):
        return 0
    depths = {_depth(p) for p in part}
    if len(depths) != 1:
        raise ValueError("np.block takes lists that are not empty and everywhere equally deep")
    return depths.pop() + 1


def _leaves(part: Any) -> list[Any]:
    return [a for p in part for a in _leaves(p)] if isinstance(part, list) else [operand(part)]


@composed(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    if v.ndim == 2:
        return np.diagonal(v, k)
    if v.ndim != 1:
        raise ValueError(f"np.diag takes a vector or a matrix, not an array of {v.ndim} axes")
    column = np.pad(v, (max(-k, 0), max(k, 0)))[:, None]
    return np.where(np.eye(len(column), k=k, dtype=bool), column, 0)


# --- Apart ----------------------------------------------------------------------------------------


@composed(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    axis = normalize_axis_index(axis, ary.ndim)
    n, parts = ary.shape[axis], plain(indices_or_sections)
    if np.ndim(parts) == 0:
        if parts <= 0:
            raise ValueError(f"np.array_split takes a number of sections above 0, not {parts}")
        parts = [len(part) for part in np.array_split(np.arange(n), parts)]
        parts = np.cumsum(parts)[:-1].tolist()
    return np.split(ary, parts, axis)


@composed(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return _split_along(np.hsplit, ary, indices_or_sections, 0 if ary.ndim == 1 else 1, 1)


@composed(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return _split_along(np.vsplit, ary, indices_or_sections, 0, 2)


@composed(np.dsplit)
def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    return _split_along(np.dsplit, ary, indices_or_sections, 2, 3)


def _split_along(function: Any, ary: Any, places: Any, axis: int, least: int) -> list[Any]:
    if ary.ndim < least:
        raise ValueError(
            f"np.{function.__name__} takes an array of {least} axes or more, not {ary.ndim}"
        )
    return np.split(ary, places, axis)


@composed(np.delete)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    arr, axis = (np.reshape(arr, -1), 0) if axis is None else (arr, axis)
    axis = normalize_axis_index(axis, arr.ndim)
    return np.take(arr, np.delete(np.arange(arr.shape[axis]), plain(obj)), axis)


@composed(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    a = operand(a)
    if n < 0 or (n and a.ndim == 0):
        raise ValueError(f"np.diff takes an array with an axis, and n of 0 or more, not {n}")
    if n == 0:
        return a
    axis = normalize_axis_index(axis, a.ndim)
    ends = [_end(x, a, axis) for x in (prepend, append)]
    parts = [x for x in (ends[0], a, ends[1]) if x is not None]
    a = np.concatenate(parts, axis) if len(parts) > 1 else a
    before = (slice(None),) * axis
    for _ in range(n):
        a = a[(*before, slice(1, None))] - a[(*before, slice(None, -1))]
    return a


def _end(x: Any, a: Any, axis: int) -> Any:
    """What stands before or behind an array: a number becomes a row."""
    if x is None:
        return None
    x = operand(x)
    row = [1 if i == axis else n for i, n in enumerate(a.shape)]
    return np.broadcast_to(x, row) if x.ndim == 0 else x


# --- Turned ---------------------------------------------------------------------------------------


@composed(np.fliplr)
def fliplr(m: Any) -> Any:
    if m.ndim < 2:
        raise ValueError(f"np.fliplr takes an array of 2 axes or more, not {m.ndim}")
    return np.flip(m, 1)


@composed(np.flipud)
def flipud(m: Any) -> Any:
    if m.ndim < 1:
        raise ValueError("np.flipud takes an array of 1 axis or more, not 0")
    return np.flip(m, 0)


@composed(np.rot90)
def rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    if len(axes) != 2:
        raise ValueError(f"np.rot90 turns in the plane of 2 axes, not of {tuple(axes)}")
    first, second = axes_of(tuple(axes), m.ndim)
    if k % 4 == 0:
        return m
    if k % 4 == 2:
        return np.flip(m, (first, second))
    if k % 4 == 1:
        return np.swapaxes(np.flip(m, second), first, second)
    return np.flip(np.swapaxes(m, first, second), second)


# --- Windows --------------------------------------------------------------------------------------


@differentiable
def overlapped(windows: Any, shape: tuple[int, ...], window_shape: Any, axis: Any = None) -> Any:
    """Windows laid over each other and added: the way back of ``sliding_window_view``."""
    axes, lengths = _window(shape, window_shape, axis)
    y = np.zeros_like(windows, shape=shape)
    for place in itertools.product(*map(range, lengths)):
        part = windows[(..., *place)]
        starts = [0] * len(shape)
        for i, k in zip(axes, place, strict=True):  # an axis may be there twice
            starts[i] += k
        y[tuple(slice(i, i + n) for i, n in zip(starts, part.shape, strict=True))] += part
    return y


vjp(
    overlapped,
    "windows shape_ window_shape axis=None",
    windows=lambda g, window_shape, axis: sliding_window_view(g, window_shape, axis),
)
vjp(
    sliding_window_view,
    "x window_shape axis=None",
    x=lambda g, shape, window_shape, axis: overlapped(g, shape, window_shape, axis),
)


def _window(shape: tuple[int, ...], window_shape: Any, axis: Any) -> tuple[Any, Any]:
    """The axes of a window, and its length along each."""
    lengths = (window_shape,) if np.ndim(window_shape) == 0 else tuple(window_shape)
    axes = range(len(shape)) if axis is None else (axis,) if np.ndim(axis) == 0 else tuple(axis)
    return [normalize_axis_index(i, len(shape)) for i in axes], lengths


@composed(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """The shorter one slides, in reverse, along the longer one."""
    a, v = (np.atleast_1d(operand(x)) for x in (a, v))
    if a.ndim != 1 or v.ndim != 1 or not a.size or not v.size:
        raise ValueError(f"np.convolve takes vectors with elements, not {a.shape} and {v.shape}")
    if mode not in ("full", "same", "valid"):
        raise ValueError(f"np.convolve takes 'full', 'same' or 'valid' for mode, not {mode!r}")
    a, v = (v, a) if len(v) > len(a) else (a, v)
    more = {"full": len(v) - 1, "same": len(v) // 2, "valid": 0}[mode]
    less = {"full": len(v) - 1, "same": (len(v) - 1) // 2, "valid": 0}[mode]
    return sliding_window_view(np.pad(a, (more, less)), len(v)) @ v[::-1]
