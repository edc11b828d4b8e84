"""Averages, running products, and all that needs an order: NumPy's functions made of others.

What is sorted is a choice of places, and the gradient goes back to the places that were chosen. Of
equal elements the earlier one counts as the smaller, so that in a tie one of them has the gradient;
a median between two equal ones gives each a half. Second derivatives of a choice are 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from minidl.compositions import as_tuple, composed, operand, refuse_out
from minidl.derivatives import axes_of
from minidl.protocols import plain
from minidl.table import name_of, vjp
from minidl.tensor import differentiable

# --- Sums, means, products ------------------------------------------------------------------------


@composed(np.amax)
def amax(
    a: Any,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    return np.max(a, axis, out, keepdims, initial=initial, where=where)  # type: ignore[call-overload]


@composed(np.amin)
def amin(
    a: Any,
    axis: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    return np.min(a, axis, out, keepdims, initial=initial, where=where)  # type: ignore[call-overload]


@composed(np.ptp)
def ptp(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    refuse_out(np.ptp, out)
    return np.max(a, axis, keepdims=keepdims) - np.min(a, axis, keepdims=keepdims)


@composed(np.average)
def average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    a = operand(a)
    if weights is None:
        y = np.mean(a, axis, keepdims=keepdims)
        total = np.asarray(a.size // max(y.size, 1), y.dtype)
    else:
        weights = operand(weights)
        if weights.shape != a.shape:
            weights = _beside(weights, a.shape, axis)
        total = np.sum(np.broadcast_to(weights, a.shape), axis, keepdims=keepdims)
        if np.any(plain(total) == 0):
            raise ZeroDivisionError("np.average: the weights add up to 0, and have no average")
        y = np.sum(a * weights, axis, keepdims=keepdims) / total
    return (y, np.broadcast_to(total, y.shape)) if returned else y


def _beside(weights: Any, shape: tuple[int, ...], axis: Any) -> Any:
    """Weights of some axes only, in the shape of all."""
    if axis is None:
        raise TypeError(
            f"np.average: weights of shape {weights.shape} for an array of shape {shape} need "
            f"axis=, which says what they weigh"
        )
    axes = axes_of(axis, len(shape))
    if weights.shape != tuple(shape[i] for i in axes):
        raise ValueError(
            f"np.average: weights of shape {weights.shape} do not fit axis {axis} of {shape}"
        )
    weights = np.transpose(weights, np.argsort(axes).tolist())
    return np.reshape(weights, [n if i in axes else 1 for i, n in enumerate(shape)])


@composed(np.nansum)
def nansum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    refuse_out(np.nansum, out)
    return np.sum(_without_nan(a, 0), axis, dtype, None, keepdims, initial, where)  # type: ignore[call-overload]


@composed(np.nanprod)
def nanprod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = 1,
    where: Any = True,
) -> Any:
    refuse_out(np.nanprod, out)
    return np.prod(_without_nan(a, 1), axis, dtype, None, keepdims, initial, where)  # type: ignore[call-overload]


@composed(np.nanmean)
def nanmean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    refuse_out(np.nanmean, out)
    there = np.logical_and(~np.isnan(plain(a)), plain(where))
    return np.mean(a, axis, dtype, keepdims=keepdims, where=there)


@composed(np.nanmax)
def nanmax(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    return _nan_extremum(np.nanmax, np.max, -math.inf, a, axis, out, keepdims)


@composed(np.nanmin)
def nanmin(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    return _nan_extremum(np.nanmin, np.min, math.inf, a, axis, out, keepdims)


def _without_nan(a: Any, instead: Any) -> Any:
    return np.where(np.isnan(plain(a)), instead, a) if a.dtype.kind == "f" else a


def _nan_extremum(
    function: Any, extremum: Callable[..., Any], far: float, a: Any, axis: Any, out: Any, keep: bool
) -> Any:
    refuse_out(function, out)
    if np.any(np.all(np.isnan(plain(a)), axis=axis)):
        raise ValueError(f"{name_of(function)}: there are only NaN along axis {axis}")
    return extremum(_without_nan(a, far), axis, keepdims=keep)


@composed(np.cumprod)
def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Products of one, two, four and more neighbours: right also where elements are zero."""
    if dtype is not None or out is not None:
        raise TypeError("np.cumprod on a Tensor takes (a, axis), not dtype= or out=")
    if axis is None or a.ndim == 0:
        a, axis = np.reshape(a, -1), axis or 0
    axis = normalize_axis_index(axis, a.ndim)
    before, n, reach = (slice(None),) * axis, a.shape[axis], 1
    while reach < n:
        product = a[(*before, slice(reach, None))] * a[(*before, slice(n - reach))]
        a = np.concatenate([a[(*before, slice(reach))], product], axis)
        reach *= 2
    return a


# --- Order ----------------------------------------------------------------------------------------


@differentiable
def arranged(a: Any, order: Any, axis: int) -> Any:
    """The elements along an axis in another order, each of them once."""
    return np.take_along_axis(a, order, axis)


vjp(
    arranged,
    "a order axis",
    a=lambda g, order, axis: arranged(g, np.argsort(order, axis=axis), axis),
)


def _by(argsort: Callable[..., Any], a: Any, axis: int | None, **options: Any) -> Any:
    a, axis = (np.reshape(a, -1), 0) if axis is None else (a, axis)
    axis = normalize_axis_index(axis, a.ndim)
    return arranged(a, argsort(plain(a), axis=axis, **options), axis)


@composed(np.sort)
def sort(
    a: Any, axis: int | None = -1, kind: Any = None, order: None = None, *, stable: Any = None
) -> Any:
    if order is not None:
        raise TypeError("np.sort with order= is for arrays with fields, which a Tensor has not")
    return _by(np.argsort, a, axis, kind="stable")


@composed(np.partition)
def partition(
    a: Any, kth: Any, axis: int | None = -1, kind: Any = "introselect", order: None = None
) -> Any:
    if order is not None:
        raise TypeError("np.partition with order= is for arrays with fields, not for Tensors")
    return _by(lambda x, axis: np.argpartition(x, plain(kth), axis, kind), a, axis)


@composed(np.median)
def median(
    a: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    keepdims: bool = False,
) -> Any:
    refuse_out(np.median, out)
    return _quantile(np.median, a, 0.5, axis, "linear", keepdims)


@composed(np.quantile)
def quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    refuse_out(np.quantile, out)
    return _quantile(np.quantile, a, q, axis, method, keepdims)


@composed(np.percentile)
def percentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: None = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
) -> Any:
    refuse_out(np.percentile, out)
    return _quantile(np.percentile, a, q, axis, method, keepdims)


_PLACES: dict[str, Callable[[Any], Any]] = {
    "linear": lambda p: p,
    "lower": np.floor,
    "higher": np.ceil,
    "midpoint": lambda p: (np.floor(p) + np.ceil(p)) / 2,
    "nearest": np.rint,
}


def _quantile(function: Any, a: Any, q: Any, axis: Any, method: str, keepdims: bool) -> Any:
    """Between the two elements that are nearest to the place ``q * (n - 1)`` in the order."""
    name = name_of(function)
    a = operand(a)
    if getattr(q, "node", None) is not None:
        raise TypeError(f"{name} is not differentiable in its argument 'q': pass q.detach()")
    if method not in _PLACES:
        raise ValueError(f"{name} on a Tensor takes for method {', '.join(_PLACES)}, not {method}")
    parts = np.asarray(plain(q), np.float64) / (100 if function is np.percentile else 1)
    if not ((parts >= 0) & (parts <= 1)).all():
        raise ValueError(f"{name} takes q from 0 to {100 if function is np.percentile else 1}")
    axes = axes_of(axis if axis is None else as_tuple(axis), a.ndim)
    rest = [i for i in range(a.ndim) if i not in axes]
    n = math.prod(a.shape[i] for i in axes)
    if n == 0:
        raise ValueError(f"{name}: there is no element along axis {axis}: skip empty batches")
    dtype = a.dtype if np.isscalar(plain(q)) else np.result_type(a.dtype, np.asarray(plain(q)))
    x = np.reshape(np.transpose(a, [*axes, *rest]), (n, *(a.shape[i] for i in rest)))
    x = np.sort(x.astype(np.result_type(dtype, np.float32)), axis=0)
    x = np.where(np.isnan(plain(x[-1:])), math.nan, x)  # NaN is last in the order
    places = _PLACES[method](parts * (n - 1))
    low = np.floor(places).astype(int)
    high = np.ceil(places).astype(int)
    t = (places - low).astype(x.dtype).reshape(parts.shape + (1,) * len(rest))
    y = x[low] * (1 - t) + x[high] * t if t.any() else x[low]
    if keepdims:
        kept = tuple(1 if i in axes else n for i, n in enumerate(a.shape))
        y = np.reshape(y, parts.shape + kept)
    return y.astype(dtype if dtype.kind == "f" else np.float64)
