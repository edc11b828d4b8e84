"""Sample inputs for every operation of the library: registering an operation registers its test.

:data:`SAMPLES` maps each differentiable function to calls that show it in all its forms. The tests
and ``python -m minidl.gradcheck`` run the gradient check over all of them, to second order; an
operation of the table without a sample fails.
"""

from __future__ import annotations

import operator
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl import arranging, compositions, derivatives, linalg, nn, reductions
from minidl import functional as F
from minidl.arrays import Array
from minidl.autograd import TABLE
from minidl.functional import losses
from minidl.functional.convolution import conv, conv_w, conv_x
from minidl.functional.gelu import normal_cdf
from minidl.functional.likelihood import nll
from minidl.functional.pooling import avg_pool, avg_pool_x, max_pool, max_pool_d, max_pool_x
from minidl.functional.windows import windows
from minidl.methods import astype
from minidl.parallel import Alone, Ranks
from minidl.parallel.norm import sum_over_ranks
from minidl.protocols import COMPOSED
from minidl.table import Parameters, name_of
from minidl.tensor import Tensor


@dataclass
class Sample:
    """One call of an operation.

    Attributes:
        name: the operation and, behind it, what is special about the call.
        call: the call as a function of the inputs.
        inputs: the inputs, float64 arrays.
        order: the highest order of derivatives to check.
        kinks: whether elements at a kink are part of the sample.
        empty: whether it may be called with empty axes.
    """

    name: str
    call: Callable[..., Any]
    inputs: list[Any]
    order: int = 2
    kinks: bool = False
    empty: bool = True


SAMPLES: dict[Any, list[Sample]] = {}


def sample(
    function: Any,
    *inputs: Any,
    call: Callable[..., Any] | None = None,
    note: str = "",
    low: float | None = None,
    high: float = 2.0,
    kinks: bool = False,
    order: int = 2,
    empty: bool = True,
) -> None:
    """Enter a sample. A tuple among the inputs is a shape: normal numbers, or uniform from ``low``
    to ``high``; an array is taken as it is."""
    name = f"{name_of(function)} {note}".strip()
    entries = SAMPLES.setdefault(function, [])
    rng = np.random.default_rng(zlib.crc32(f"{name} {len(entries)}".encode()))
    arrays = [
        x if not isinstance(x, tuple)
        else rng.normal(size=x) if low is None
        else rng.uniform(low, high, x)
        for x in inputs
    ]  # fmt: skip
    entries.append(Sample(name, call or function, arrays, order, kinks, empty))


def missing() -> list[str]:
    """The operations of the library that have no sample. Functions of other packages, and the
    variants that a function makes for itself as it is called, are not counted."""
    ours = [
        f
        for f in (*TABLE, *COMPOSED)
        if (getattr(f, "__module__", "") or "numpy").split(".")[0]
        in ("numpy", "minidl", "_operator")
        and "<locals>" not in getattr(f, "__qualname__", "")
    ]
    return sorted({name_of(f) for f in ours if f not in SAMPLES})


def smaller(sample: Sample, length: int) -> Iterator[tuple[str, list[Any]]]:
    """The same call with axes of length one, or zero, wherever it is defined on them.

    All axes of one length shrink together, so that what belongs together stays so; then all axes
    there are. Yields what is special, and the inputs.
    """
    lengths = sorted({n for x in sample.inputs for n in np.shape(x)} - {0, 1})
    for shrinking in [{n} for n in lengths] + [set(lengths)] * (len(lengths) > 1):
        arrays = [
            x[tuple(slice(length if n in shrinking else n) for n in x.shape)]
            for x in map(np.asarray, sample.inputs)
        ]
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                y = sample.call(*arrays)
        except Exception:  # an index out of range, a maximum of nothing
            continue
        parts = y if isinstance(y, tuple | list) else [y]
        if all(np.all(np.isfinite(p.data if isinstance(p, Tensor) else p)) for p in parts):
            yield f"axes of length {sorted(shrinking)} shrunk to {length}", arrays


# --- Elementwise ----------------------------------------------------------------------------------

f: Any
for f in (np.add, np.subtract, np.multiply, np.logaddexp, np.maximum, np.minimum):
    sample(f, (2, 3), (2, 3))
    sample(f, (2, 1), (3, 1, 2), note="broadcast")
    sample(f, (2, 3), (), note="with a scalar")
sample(np.divide, (2, 3), (2, 3), low=0.5)
sample(np.divide, (2, 1), (3, 1, 2), note="broadcast", low=0.5)
sample(np.power, (2, 3), (3,), low=0.5)
sample(np.power, (4,), call=lambda x: x**3, note="cube")
sample(np.power, (4,), call=lambda x: 2.0**x, note="of two")
sample(np.power, np.array([0.0, 0.0, 1.0, -2.0]), call=lambda x: x**4, note="at zero")
sample(np.power, np.array([0.0, -1.0, 2.0]), call=lambda x: x**0, note="to the zero")
for f in (
    np.negative, np.positive, np.square, np.exp, np.exp2, np.expm1, np.sin, np.cos, np.tan,
    np.arctan, np.sinh, np.cosh, np.tanh, np.abs,
):  # fmt: skip
    sample(f, (2, 3))
for f in (np.sqrt, np.log, np.log2, np.log10, np.log1p, np.reciprocal):
    sample(f, (2, 3), low=0.5)
sample(np.arcsin, (4,), low=-0.7, high=0.7)
sample(np.arccos, (4,), low=-0.7, high=0.7)
sample(np.abs, np.array([-1.0, 0.0, 2.0]), note="at zero", kinks=True, order=1)
sample(derivatives.sign, (2, 3))
sample(derivatives.over, (2, 3), (3,))
for p in (2.5, 1.0, 0.5):
    sample(derivatives.abs_power, (2, 3), call=lambda x, p=p: derivatives.abs_power(x, p))
    sample(derivatives.signed_power, (2, 3), call=lambda x, p=p: derivatives.signed_power(x, p))
sample(np.maximum, np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]), note="tie", kinks=True)
sample(np.minimum, np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]), note="tie", kinks=True)
sample(np.where, (2, 3), (3,), call=lambda a, b: np.where([True, False, True], a, b))
sample(np.clip, (3, 4), call=lambda x: np.clip(x, -0.5, 0.5))
sample(np.clip, (3, 4), (4,), call=lambda x, high: np.clip(x, None, high), note="by a Tensor")
sample(np.clip, np.array([-1.0, 0.0, 1.0]), call=lambda x: np.clip(x, -1, 1), note="at the border",
       kinks=True)  # fmt: skip
sample(np.copy, (2, 3), call=lambda x: x.copy())
sample(astype, (2, 3), call=lambda x: x.astype(np.float64))

# --- Products -------------------------------------------------------------------------------------

for a, b in [
    ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((2, 2, 3), (3, 2)),
    ((2, 2, 3), (2, 3, 2)), ((1, 2, 3), (2, 3, 2)), ((3,), (2, 3, 2)), ((2, 2, 3), (3,)),
    ((2, 1, 2, 3), (2, 3, 1)),
]:  # fmt: skip
    sample(np.matmul, a, b, note=f"{a} {b}")
for a, b in [((3,), (3,)), ((2, 3), (3,)), ((3,), (2, 3, 2)), ((2, 3), (2, 3, 2)), ((), (2, 3))]:
    sample(np.dot, a, b, note=f"{a} {b}")
sample(np.outer, (3,), (2,))
sample(np.outer, (2, 2), (3,), note="of a matrix")
sample(np.tensordot, (2, 3), (2, 3))
sample(np.tensordot, (2, 3), (3, 2), call=lambda a, b: np.tensordot(a, b, 1), note="one axis")
sample(np.tensordot, (2, 3, 2), (3, 2), note="pairs of axes",
       call=lambda a, b: np.tensordot(a, b, ([0, 1], [1, 0])))  # fmt: skip
subscripts: Any
for subscripts, *shapes in [
    ("ij,jk", (2, 3), (3, 2)), ("ij,jk->ki", (2, 3), (3, 2)), ("ij->ji", (2, 3)), ("ij->", (2, 3)),
    ("ii", (3, 3)), ("ii->i", (3, 3)), ("iij,j->i", (2, 2, 3), (3,)), ("i,j", (2,), (3,)),
    ("ij,ij->", (2, 3), (2, 3)), ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)),
    ("ij,kj->i", (2, 3), (2, 3)), ("...ij,jk->...ik", (2, 2, 3), (3, 2)),
    ("...i,...i", (2, 1, 3), (2, 3)),
    ("ij,jk,kl->il", (2, 2), (2, 2), (2, 2)), ("i,i,i->i", (3,), (3,), (3,)),
    ("ij,jk", (2, 1), (3, 2)), ("ij,jk", (2, 3), (1, 2)), ("ij,j->ij", (1, 1), (3,)),
    ("ii,i->i", (1, 1), (3,)), ("i,i,i", (1,), (3,), (1,)), ("...i,i...", (2, 1), (3, 1)),
    ("...ij,...jk", (2, 1, 2, 3), (3, 1, 2)), ("...,...->...", (2, 1), (3,)),
    ("ij,kj->ik", (2, 0), (3, 0)),
]:  # fmt: skip
    sample(np.einsum, *shapes, note=subscripts,
           call=lambda *xs, subscripts=subscripts: np.einsum(subscripts, *xs))  # fmt: skip
sample(np.tensordot, (2, 3, 4), (4, 2), note="axes in descending order",
       call=lambda a, b: np.tensordot(a, b, ([2, 0], [0, 1])))  # fmt: skip
sample(np.tensordot, (2, 0), (0, 3), call=lambda a, b: np.tensordot(a, b, 1), note="empty axis")
sample(np.tensordot, (2,), (3,), call=lambda a, b: np.tensordot(a, b, 0), note="no axis")
sample(np.einsum, (2, 3), note="ba", call=lambda x: np.einsum("ba", x))
sample(derivatives.einsum, (2, 3), (3, 2), call=lambda a, b: np.einsum("ij,jk->ik", a, b))

# --- Reductions -----------------------------------------------------------------------------------

for reduction in (np.sum, np.mean, np.var, np.std, np.max, np.min, np.prod):
    for axis in (None, 0, -1, (0, 2), (-1, 0)):
        sample(reduction, (2, 3, 2), note=f"axis={axis}",
               call=lambda x, f=reduction, axis=axis: f(x, axis=axis))  # fmt: skip
    sample(reduction, (2, 3), call=lambda x, f=reduction: f(x, 1, keepdims=True), note="keepdims")
sample(np.var, (4, 2), call=lambda x: np.var(x, 0, ddof=1), note="unbiased")
sample(np.std, (4, 2), call=lambda x: np.std(x, 0, ddof=1), note="unbiased")
sample(np.prod, np.array([[0.0, 2.0, 3.0], [0.0, 0.0, 3.0]]), note="with zeros",
       call=lambda x: np.prod(x, 1))  # fmt: skip
sample(np.max, np.array([[1.0, 1.0, 0.0]]), call=lambda x: np.max(x, 1), note="tie", kinks=True)
sample(np.min, np.array([[1.0, 1.0, 2.0]]), call=lambda x: np.min(x, 1), note="tie", kinks=True)
for axis in (None, 0, -1):
    sample(np.cumsum, (2, 3), call=lambda x, axis=axis: np.cumsum(x, axis), note=f"axis={axis}")
for ord, axis in [
    (None, None), (None, 1), (1, 0), (3, 1), (1.5, 0), (0.5, 1), (np.inf, 1), (2, 0),
    ("fro", (0, 1)),
]:  # fmt: skip
    sample(np.linalg.norm, (2, 3), note=f"ord={ord} axis={axis}",
           call=lambda x, ord=ord, axis=axis: np.linalg.norm(x, ord, axis))  # fmt: skip
sample(derivatives.norm, (2, 3), call=lambda x: np.linalg.norm(x, axis=0, keepdims=True))

# --- Shapes and places ----------------------------------------------------------------------------

sample(np.reshape, (2, 6), call=lambda x: np.reshape(x, (3, -1)))
sample(np.reshape, (2, 6), call=lambda x: np.reshape(x, (3, 4), order="F"), note="order=F")
if "copy" in Parameters(np.reshape).keyword_only:  # since NumPy 2.1
    sample(np.reshape, (2, 6), call=lambda x: np.reshape(x, (3, 4), copy=True), note="copied")
sample(np.ravel, (2, 3))
sample(np.transpose, (2, 3, 4))
sample(np.transpose, (2, 3, 4), call=lambda x: np.transpose(x, (1, -1, 0)), note="axes")
sample(np.swapaxes, (2, 3, 4), call=lambda x: np.swapaxes(x, 0, -1))
sample(np.moveaxis, (2, 3, 4), call=lambda x: np.moveaxis(x, (0, 1), (-1, 0)))
sample(np.matrix_transpose, (2, 3, 4))
sample(np.expand_dims, (2, 3), call=lambda x: np.expand_dims(x, (0, -1)))
sample(np.squeeze, (1, 2, 1, 3), call=lambda x: np.squeeze(x, 0))
sample(np.broadcast_to, (2, 1), call=lambda x: np.broadcast_to(x, (3, 2, 4)))
sample(np.concatenate, (2, 1), (2, 3), call=lambda a, b: np.concatenate([a, b, a], axis=-1))
sample(np.concatenate, (2, 1), (3,), note="axis=None",
       call=lambda a, b: np.concatenate([a, b], axis=None))  # fmt: skip
sample(compositions.concatenated, (2, 3), (2, 1),
       call=lambda a, b: compositions.concatenated(a, b, (..., slice(1, 2))))  # fmt: skip
sample(np.concatenate, (2, 1), (2, 3), note="with an array, of a dtype",
       call=lambda a, b: np.concatenate([a, np.ones((2, 1)), b], 1, dtype=a.dtype))  # fmt: skip
sample(np.stack, (2, 3), (2, 3), call=lambda a, b: np.stack([a, b], -1))
sample(np.vstack, (3,), (2, 3), call=lambda a, b: np.vstack([a, b]))
sample(np.hstack, (2, 1), (2, 3), call=lambda a, b: np.hstack([a, b]))
sample(np.split, (6, 2), call=lambda x: tuple(np.split(x, 3)))
sample(np.split, (2, 5), call=lambda x: tuple(np.split(x, [1, 4], axis=1)), note="at places")
sample(np.flip, (2, 3), call=lambda x: np.flip(x, 1))
sample(np.flip, (2, 3), note="all axes")
sample(np.roll, (2, 3), call=lambda x: np.roll(x, 4))
sample(np.roll, (2, 3), call=lambda x: np.roll(x, (1, -1), (0, 1)), note="two axes")
sample(np.repeat, (2, 3), call=lambda x: np.repeat(x, 2))
sample(np.repeat, (2, 3), call=lambda x: np.repeat(x, [0, 1, 3], axis=1), note="counts")
sample(np.tile, (2, 3), call=lambda x: np.tile(x, 2))
sample(np.tile, (2, 3), call=lambda x: np.tile(x, (2, 1, 3)), note="more axes")
for mode in ("constant", "edge", "reflect", "symmetric", "wrap"):
    sample(np.pad, (3, 4), call=lambda x, mode=mode: np.pad(x, ((1, 2), (0, 1)), mode), note=mode)
sample(np.tril, (3, 4), call=lambda x: np.tril(x, 1))
sample(np.triu, (3, 4), call=lambda x: np.triu(x, -1))
sample(np.diagonal, (3, 4), call=lambda x: np.diagonal(x, 1))
sample(np.diagonal, (2, 3, 4), call=lambda x: np.diagonal(x, -1, 1, 2), note="axes")
sample(np.trace, (3, 3))
sample(np.trace, (2, 3, 3), call=lambda x: np.trace(x, 1, 1, 2), note="axes")
sample(np.take, (3, 4), call=lambda x: np.take(x, [[0, 1], [1, 1]], 1), note="repeated")
sample(np.take, (3, 4), call=lambda x: np.take(x, [0, 11, 11]), note="flat")
sample(np.take, (3, 4), note="wrap", empty=False,  # (NumPy never returns)
       call=lambda x: np.take(x, [-1, 5], 0, mode="wrap"))  # fmt: skip
sample(np.take, (3, 4), call=lambda x: np.take(x, [-5, 9], 0, mode="clip"), note="clip")
sample(np.pad, (3, 4), call=lambda x: np.pad(x, 1, constant_values=2.5), note="a constant")
sample(np.linalg.norm, (4,), call=lambda x: np.linalg.norm(x, -np.inf), note="-inf")
sample(np.take_along_axis, (3, 4), note="sorting",
       call=lambda x: np.take_along_axis(x, np.argsort(x, 1), 1))  # fmt: skip
for index in [
    0, -1, slice(1, 3), slice(None, None, -2), ..., None, (0, 1), (..., 1), (None, 0, ...),
    np.array([True, False, True]), [0, 0, 2], (slice(None), [1, 1]), ([0, 0], [1, 1]),
    (0, [1, 1]), np.arange(12).reshape(3, 4) % 2 == 0,
]:  # fmt: skip
    sample(operator.getitem, (3, 4), call=lambda x, index=index: x[index], note=f"{index}")
sample(derivatives.place, (2,), call=lambda x: derivatives.place(x, ([0, 0],), (3,)))

# --- More of NumPy --------------------------------------------------------------------------------

for f in (np.arctan2, np.hypot, np.fmax, np.fmin):
    sample(f, (2, 3), (2, 3))
    sample(f, (2, 1), (3, 1, 2), note="broadcast")
for f in (np.arcsinh, np.cbrt, np.fabs, np.degrees, np.rad2deg, np.radians, np.deg2rad, np.sinc):
    sample(f, (2, 3))
sample(np.arccosh, (4,), low=1.5)
sample(np.arctanh, (4,), low=-0.7, high=0.7)
sample(np.hypot, np.array([0.0, 3.0]), np.array([0.0, 4.0]), note="at the origin", order=1,
       kinks=True)  # fmt: skip
sample(np.fabs, np.array([-1.0, 0.0, 2.0]), note="at zero", kinks=True, order=1)
sample(np.fmax, np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]), note="tie", kinks=True)
sample(np.fmin, np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]), note="tie", kinks=True)
sample(np.sinc, np.array([0.0, 1e-3, -0.4999, 0.5001, 1.0, 3.5]), note="near zero")
sample(np.float_power, (2, 3), (3,), low=0.5)
sample(np.nan_to_num, (2, 3))
_third = np.arange(6).reshape(2, 3) % 3
sample(np.select, (2, 3), (3,), note="with a rest",
       call=lambda a, b: np.select([_third == 0, _third == 1], [a, a * b], 1.5))  # fmt: skip
sample(np.choose, (3,), (2, 3), call=lambda a, b: np.choose(_third, [a, b, a * b]))
sample(np.choose, (3,), (2, 3), note="wrap",
       call=lambda a, b: np.choose(_third - 1, [a, b], mode="wrap"))  # fmt: skip
sample(np.piecewise, (2, 3), call=lambda x: np.piecewise(
    x, [_third[: len(x), : x.shape[1]] == 0, _third[: len(x), : x.shape[1]] == 1],
    [np.exp, lambda x: x * x, 2.0]))  # fmt: skip

_mask = np.array([[True, False, True], [False, True, True]])
for reduction in (np.sum, np.mean, np.prod):
    sample(reduction, (2, 3), note="where",
           call=lambda x, f=reduction: f(x, where=_mask[: len(x), : x.shape[1]]))  # fmt: skip
    sample(reduction, (2, 3), note="where along an axis",
           call=lambda x, f=reduction: f(x, 1, where=_mask, keepdims=True))  # fmt: skip
for reduction in (np.sum, np.prod):
    sample(reduction, (2, 3), call=lambda x, f=reduction: f(x, 1, initial=2.5), note="initial")
for reduction, far in ((np.max, -9.0), (np.min, 9.0)):
    sample(reduction, (2, 3), note="initial and where",
           call=lambda x, f=reduction, far=far: f(x, 1, initial=far, where=_mask))  # fmt: skip
    sample(reduction, np.array([0.0, 1.0, 1.0, 2.0]), note="initial in a tie", kinks=True,
           call=lambda x, f=reduction: f(x[1:3], initial=1.0), order=1)  # fmt: skip
for f in (np.nansum, np.nanmean, np.nanprod, np.nanmax, np.nanmin):
    sample(f, (2, 3), call=lambda x, f=f: f(x, 1))
    sample(f, (2, 3), note="with NaN",
           call=lambda x, f=f: f(np.where(_mask, x, np.nan).astype(x.dtype), 0))  # fmt: skip
for f in (np.ptp, np.amax, np.amin):
    sample(f, (2, 3), call=lambda x, f=f: f(x, 1))
sample(np.average, (2, 3), call=lambda x: np.average(x, 0))
sample(np.average, (2, 3), (3,), low=0.5, call=lambda x, w: np.average(x, 1, w), note="weights")
sample(np.average, (2, 3), (2, 3), low=0.5, note="all weights",
       call=lambda x, w: np.average(x, weights=w, returned=True))  # fmt: skip
for axis in (None, 0, -1):
    sample(np.cumprod, (2, 5), call=lambda x, axis=axis: np.cumprod(x, axis), note=f"axis={axis}")
    sample(np.sort, (2, 5), call=lambda x, axis=axis: np.sort(x, axis), note=f"axis={axis}")
    sample(np.median, (2, 5), call=lambda x, axis=axis: np.median(x, axis), note=f"axis={axis}")
sample(np.cumprod, np.array([1.5, 0.0, 2.0, 0.0, 3.0]), note="with zeros")
sample(np.partition, (2, 5), call=lambda x: np.partition(x, 2)[:, 2])
sample(np.median, (2, 4, 3), call=lambda x: np.median(x, (0, 1), keepdims=True), note="two axes")
for method in ("linear", "lower", "higher", "midpoint", "nearest"):
    sample(np.quantile, (4, 3), note=method,
           call=lambda x, m=method: np.quantile(x, 0.3, 0, method=m))  # fmt: skip
sample(np.percentile, (2, 5), call=lambda x: np.percentile(
    x, np.array([0, 30, 100], x.dtype), axis=1, keepdims=True))  # fmt: skip
sample(reductions.arranged, (2, 3),
       call=lambda x: reductions.arranged(x, np.array([[2, 0, 1], [0, 2, 1]]), 1))  # fmt: skip

for a, b in [((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3,)), ((2, 3, 3), (3, 3))]:
    sample(np.linalg.solve, a, b, note=f"{a} {b}", call=lambda a, b: np.linalg.solve(
        a + 4 * np.eye(a.shape[-1], dtype=a.dtype), b))  # fmt: skip
for f in (np.linalg.inv, linalg.inverse, np.linalg.det, linalg.cofactors, linalg.log_abs_det):
    most = 1 if f is linalg.cofactors else 2  # the third derivative of det is not known
    sample(f, (3, 3), call=lambda a, f=f: f(a + 4 * np.eye(len(a), dtype=a.dtype)), order=most)
    sample(f, (2, 3, 3), note="a stack", order=most,
           call=lambda a, f=f: f(a + 4 * np.eye(a.shape[-1], dtype=a.dtype)))  # fmt: skip
sample(np.linalg.det, np.array([[1.0, 2, 3], [2, 4, 6], [0, 1, 1]]), note="of a singular matrix")
sample(np.linalg.det, np.ones((3, 3)), note="of a matrix of rank one")
sample(np.linalg.slogdet, (3, 3), call=lambda a: np.linalg.slogdet(a)[1])
sample(linalg.mixed, (3, 3), call=lambda g: linalg.mixed(
    g, np.array([[1.0, 2, 3], [2, 5, 6], [0, 1, 1]], g.dtype)[: len(g), : len(g)]))  # fmt: skip
sample(linalg.lower_factor, (3, 3), call=lambda a: linalg.lower_factor(
    a @ a.mT + np.eye(len(a), dtype=a.dtype)))  # fmt: skip
for upper in (False, True):
    sample(np.linalg.cholesky, (3, 3), low=0, high=1, note=f"upper={upper}",
           call=lambda a, u=upper: np.linalg.cholesky(
               a + 4 * np.eye(len(a), dtype=a.dtype), upper=u))  # fmt: skip
for n in (-2, 0, 1, 5):
    sample(np.linalg.matrix_power, (3, 3), note=f"{n}", call=lambda a, n=n: (
        np.linalg.matrix_power(a / 4 + np.eye(len(a), dtype=a.dtype), n)))  # fmt: skip
sample(np.linalg.multi_dot, (2, 3), (3, 4), (4, 2), (2,),
       call=lambda *xs: np.linalg.multi_dot(xs))  # fmt: skip
for a, b in [((3,), (3,)), ((2, 3), (3,)), ((2, 3), (4, 3)), ((), (2, 3))]:
    sample(np.inner, a, b, note=f"{a} {b}")
f = np.vecdot
sample(f, (2, 3), (2, 3))
sample(f, (3, 1, 2), (3, 2), call=lambda a, b, f=f: f(a, b, axis=0), note="axis=0")
sample(np.cross, (2, 3), (3,))
sample(np.cross, (3, 2), (3, 2), call=lambda a, b: np.cross(a, b, axis=0), note="axis=0")
sample(np.kron, (2, 3), (3, 2))
sample(np.kron, (2,), (2, 2), note="of a vector")

for f in (np.atleast_1d, np.atleast_2d, np.atleast_3d):
    sample(f, (), (2, 3))
    sample(f, (3,))
sample(np.broadcast_arrays, (2, 1), (3,))
sample(np.meshgrid, (2,), (3,), (2,))
sample(np.meshgrid, (2,), (3,), note="ij, sparse",
       call=lambda a, b: np.meshgrid(a, b, sparse=True, indexing="ij"))  # fmt: skip
sample(np.append, (2, 3), (2, 3))
sample(np.append, (2, 3), (2, 1), call=lambda a, b: np.append(a, b, 1), note="axis=1")
sample(np.column_stack, (3,), (3, 2), call=lambda a, b: np.column_stack([a, b]))
sample(np.dstack, (2, 3), (2, 3), call=lambda a, b: np.dstack([a, b]))
sample(np.block, (2, 2), (2, 1), (1, 3), call=lambda a, b, c: np.block([[a, b], [c]]))
sample(np.diag, (3,), call=lambda x: np.diag(x, -1))
sample(np.diag, (3, 4), call=lambda x: np.diag(x, 1), note="of a matrix")
sample(np.array_split, (7, 2), call=lambda x: tuple(np.array_split(x, 3)))
sample(np.hsplit, (2, 4), call=lambda x: tuple(np.hsplit(x, [1, 3])))
sample(np.vsplit, (4, 2), call=lambda x: tuple(np.vsplit(x, [1])))
sample(np.dsplit, (2, 1, 4), call=lambda x: tuple(np.dsplit(x, [2])))
sample(np.delete, (3, 4), call=lambda x: np.delete(x, [0, -1], 1))
sample(np.delete, (2, 3), call=lambda x: np.delete(x, 1), note="flat")
sample(np.diff, (2, 5))
sample(np.diff, (5, 2), (1, 2), note="twice, behind a row",
       call=lambda x, p: np.diff(x, 2, 0, prepend=p, append=p))  # fmt: skip
sample(np.fliplr, (2, 3))
sample(np.flipud, (2, 3))
for k in (1, 2, -1):
    sample(np.rot90, (2, 3), call=lambda x, k=k: np.rot90(x, k), note=f"{k}")
_windows: Any = np.lib.stride_tricks.sliding_window_view
sample(_windows, (3, 5), call=lambda x: _windows(x, 2, axis=1))
sample(_windows, (3, 4), call=lambda x: _windows(x, (2, 3)), note="of two axes")
sample(_windows, (5,), call=lambda x: _windows(x, (2, 2), (0, 0)), note="of one axis twice")
sample(arranging.overlapped, (4, 2), call=lambda x: arranging.overlapped(
    x, (len(x) + x.shape[1] - 1,), x.shape[1]))  # fmt: skip
for mode in ("full", "same", "valid"):
    sample(np.convolve, (5,), (3,), call=lambda a, v, m=mode: np.convolve(a, v, m), note=mode)
    sample(np.convolve, (2,), (5,), note=f"{mode}, the shorter one first",
           call=lambda a, v, m=mode: np.convolve(a, v, m))  # fmt: skip

# --- Functions ------------------------------------------------------------------------------------

for activation in (F.relu, F.leaky_relu, F.sigmoid, F.softplus, normal_cdf):
    sample(activation, (2, 3))
sample(F.relu, np.array([-1.0, 0.0, 2.0]), note="at zero", kinks=True)
sample(F.leaky_relu, np.array([-1.0, 0.0, 2.0]), note="at zero", kinks=True)
sample(F.softplus, (2, 3), call=lambda x: F.softplus(x, 3.0), note="beta=3")
sample(F.softplus, np.array([-50.0, 50.0]), note="far out")
sample(F.sigmoid, np.array([-50.0, 50.0]), note="far out")
sample(F.tanh, (2, 3))
sample(F.gelu, (2, 3))
sample(F.gelu, (2, 3), call=lambda x: F.gelu(x, "tanh"), note="tanh")
for normalised in (F.softmax, F.log_softmax, F.logsumexp):
    sample(normalised, (2, 3))
    sample(normalised, (3, 2, 2), call=lambda x, f=normalised: f(x, 0), note="axis=0")
    sample(normalised, np.array([[1e4, 1e4 - 1.0, 0.0]]), note="large")
sample(F.logsumexp, (2, 3), call=lambda x: F.logsumexp(x, None, True), note="all")
sample(F.linear, (4, 3), (2, 3), (2,))
sample(F.linear, (2, 2, 3), (2, 3), (2,), note="three axes")
sample(F.linear, (3,), (2, 3), (2,), note="one sample")
sample(F.linear, (4, 3), (2, 3), note="without bias")
sample(F.batch_norm, (5, 3), (3,), (3,),
       call=lambda x, w, b: F.batch_norm(x, None, None, w, b, True))  # fmt: skip
sample(F.batch_norm, (3, 2, 2, 2), (2,), (2,), note="images",
       call=lambda x, w, b: F.batch_norm(x, None, None, w, b, True))  # fmt: skip
sample(F.batch_norm, (5, 3), note="without weights",
       call=lambda x: F.batch_norm(x, None, None, training=True))  # fmt: skip
sample(F.batch_norm, (5, 3), (3,), (3,), note="prediction",
       call=lambda x, w, b: F.batch_norm(
           x, np.array([0.5, 0, 1]), np.array([0.5, 1, 2]), w, b))  # fmt: skip
sample(F.dropout, (3, 4), call=lambda x: F.dropout(x, 0.4, rng=1))

sample(F.layer_norm, (4, 3), (3,), (3,), call=lambda x, w, b: F.layer_norm(x, x.shape[-1], w, b))
sample(F.layer_norm, (2, 2, 3), (2, 3), (2, 3), note="two axes",
       call=lambda x, w, b: F.layer_norm(x, x.shape[1:], w, b))  # fmt: skip
sample(F.layer_norm, (2, 3), (3,), note="without a bias",
       call=lambda x, w: F.layer_norm(x, x.shape[-1], w))  # fmt: skip
sample(F.layer_norm, (2, 3), note="without weights", call=lambda x: F.layer_norm(x, x.shape[-1]))
sample(F.layer_norm, (3,), (3,), note="only a bias",
       call=lambda x, b: F.layer_norm(x, x.shape[-1], None, b, 0.1))  # fmt: skip
sample(F.embedding, (4, 3), call=lambda w: F.embedding(np.array([[3, 0], [0, 0]]), w))
sample(F.scaled_dot_product_attention, (2, 3, 4), (2, 5, 4), (2, 5, 2))
sample(F.scaled_dot_product_attention, (2, 3, 2), (3, 2), (3, 2), note="causal",
       call=lambda q, k, v: F.scaled_dot_product_attention(q, k, v, causal=True))  # fmt: skip
sample(F.scaled_dot_product_attention, (3, 2), (2, 2), (2, 1), note="with a mask",
       call=lambda q, k, v: F.scaled_dot_product_attention(
           q, k, v, np.array([[True, False], [False, False], [True, True]])))  # fmt: skip
sample(F.scaled_dot_product_attention, (3, 2), (2, 2), (2, 1), (3, 2), note="with a bias",
       call=lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, mask))  # fmt: skip
sample(F.gelu, np.array([-9.0, -1.0, 0.0, 1.0, 9.0]), note="far out")
sample(operator.getitem, (3, 4), call=lambda x: x[:, np.array([[0, -1], [3, 0]])],
       note="integers behind an axis")  # fmt: skip
sample(operator.getitem, (3, 2, 2), call=lambda x: x[np.array([0, 0]), :, np.array([1, -1])],
       note="integers around an axis")  # fmt: skip

# --- Losses ---------------------------------------------------------------------------------------

_classes = np.array([0, 3, 2])
_weights = np.array([1.0, 2.0, 0.5, 3.0])
for reduction_ in ("mean", "sum", "none"):
    for note_, options in {
        "": {},
        "weighted": {"weight": _weights},
        "ignoring": {"ignore_index": 3},
        "ignoring class 0": {"ignore_index": 0},
        "smoothed": {"label_smoothing": 0.1},
        "all options": {"weight": _weights, "ignore_index": 3, "label_smoothing": 0.2},
    }.items():
        sample(F.cross_entropy, (3, 4), note=f"{reduction_} {note_}".strip(),
               call=lambda x, o=options, r=reduction_: F.cross_entropy(
                   x, _classes, reduction=r, **o))  # fmt: skip
    sample(F.binary_cross_entropy_with_logits, (4,), note=reduction_,
           call=lambda x, r=reduction_: F.binary_cross_entropy_with_logits(
               x, np.array([0, 1, 0.3, 1]), reduction=r))  # fmt: skip
    for loss in (F.mse_loss, F.l1_loss, F.huber_loss):
        sample(loss, (2, 3), (2, 3), note=reduction_,
               call=lambda x, t, f=loss, r=reduction_: f(x, t, r))  # fmt: skip
sample(F.binary_cross_entropy_with_logits, (4,), note="positive weight",
       call=lambda x: F.binary_cross_entropy_with_logits(
           x, np.array([0, 1, 0.3, 1]), 2.5))  # fmt: skip
sample(losses.huber, (2, 3), call=lambda d: losses.huber(d, 0.7))
sample(
    losses.huber, np.array([0.0, 1.0, -1.0]), call=lambda d: losses.huber(d, 2.0), note="at zero"
)
sample(losses.bce, (4,), np.array([0.0, 1.0, 0.3, 0.6]))
sample(nll, (3, 4), call=lambda x: F.cross_entropy(x, _classes))
sample(F.cross_entropy, (1, 4), note="one sample",
       call=lambda x: F.cross_entropy(x, np.array([2]), _weights))  # fmt: skip
sample(
    F.cross_entropy, (3, 1), note="one class", call=lambda x: F.cross_entropy(x, np.zeros(3, int))
)
sample(F.binary_cross_entropy_with_logits, (1,), note="one sample",
       call=lambda x: F.binary_cross_entropy_with_logits(x, np.array([1.0])))  # fmt: skip
sample(F.batch_norm, (1, 3), (3,), (3,), note="prediction of one sample",
       call=lambda x, w, b: F.batch_norm(
           x, np.array([0.5, 0, 1]), np.array([0.5, 1, 2]), w, b))  # fmt: skip
sample(F.batch_norm, (1, 2, 3), (2,), (2,), note="one image",
       call=lambda x, w, b: F.batch_norm(x, None, None, w, b, True))  # fmt: skip
sample(F.cross_entropy, (2, 3, 2), note="images",
       call=lambda x: F.cross_entropy(x, np.array([[0, 2], [1, 1]])))  # fmt: skip

# --- Images ---------------------------------------------------------------------------------------

for options in (
    {}, {"stride": 2, "padding": 1}, {"stride": (1, 2), "padding": (2, 0), "dilation": (2, 1)},
    {"groups": 2, "padding": (1, 0)}, {"dilation": 2, "padding": 3, "stride": 3},
):  # fmt: skip
    _in, _groups = (4, 2) if "groups" in options else (3, 1)
    sample(conv, (2, _in, 4, 3), (2, _in // _groups, 3, 2), (2,), note=f"{options or ''}",
           call=lambda x, w, b, o=options: F.conv2d(x, w, b, **o))  # fmt: skip
    sample(conv_x, (2, _in, 2, 3), (_in, 2 // _groups, 3, 2), (2,), note=f"{options or ''}",
           call=lambda x, w, b, o=options: F.conv_transpose2d(x, w, b, **o))  # fmt: skip
_at = windows("conv2d", (3, 2), (2, 2), 1, 1)
sample(conv, (2, 2, 3, 2), (3, 2, 2, 2), call=lambda x, w: conv(x, w, _at), note="itself")
sample(conv_x, (2, 3, 4, 3), (3, 2, 2, 2), call=lambda d, w: conv_x(d, w, _at), note="itself")
sample(conv_w, (2, 3, 4, 3), (2, 2, 3, 2), call=lambda d, x: conv_w(d, x, _at))
sample(conv, (2, 1, 4, 4), (3, 1, 1, 1), call=F.conv2d, note="of single pixels")
sample(conv_x, (2, 2, 3, 3), (2, 3, 2, 2), note="with output_padding",
       call=lambda x, w: F.conv_transpose2d(x, w, stride=2, output_padding=1))  # fmt: skip
for arguments in ((2,), (3, 2, 1), ((2, 3), 1, (1, 0)), (1, 2)):
    sample(max_pool, (2, 1, 5, 4), note=f"{arguments}",
           call=lambda x, a=arguments: F.max_pool2d(x, *a))  # fmt: skip
    sample(avg_pool, (2, 1, 5, 4), note=f"{arguments}",
           call=lambda x, a=arguments: F.avg_pool2d(x, *a))  # fmt: skip
sample(max_pool, (2, 1, 5, 4), call=lambda x: F.max_pool2d(x, 2, 1, 0, 2), note="dilated")
sample(max_pool, np.array([[[[1.0, 1.0, 0.0, 2.0], [1.0, 0.0, 2.0, 2.0]]]]), note="ties",
       call=lambda x: F.max_pool2d(x, 2), kinks=True)  # fmt: skip
_image = np.random.default_rng(0).normal(size=(1, 2, 4, 3))
_pools = windows("max_pool2d", (4, 3), 2, 1)
_top = max_pool(_image, _pools)
sample(max_pool_x, (1, 2, 3, 2), call=lambda d: max_pool_x(d, _image, _top, _pools))
sample(max_pool_d, (1, 2, 4, 3), call=lambda v: max_pool_d(v, _image, _top, _pools))
sample(avg_pool_x, (1, 2, 3, 2), call=lambda d: avg_pool_x(d, _pools))


def needs_a_batch(module: nn.Module) -> bool:
    """Whether a module normalises over the batch, so that in training one sample is refused."""
    return any(isinstance(m, nn.BatchNorm) for _, m in module.modules())


MODULES: list[tuple[str, nn.Module, list[Array]]] = []
"""Layers, losses and a small network with sample inputs."""


def _modules() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(4, 3))
    for layer in (
        nn.Linear(3, 2, rng=0), nn.Linear(3, 2, bias=False, rng=0), nn.BatchNorm(3),
        nn.BatchNorm(3, affine=False), nn.ReLU(), nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Tanh(),
        nn.GELU(), nn.GELU("tanh"), nn.Dropout(0.5, rng=0),
    ):  # fmt: skip
        MODULES.append((repr(layer), layer, [x]))
    MODULES.append(("Flatten()", nn.Flatten(), [rng.normal(size=(2, 2, 2))]))
    more: nn.Module
    for more in (
        nn.LayerNorm(3), nn.LayerNorm(3, elementwise_affine=False), nn.LayerNorm(3, bias=False),
        nn.Softmax(),
    ):  # fmt: skip
        MODULES.append((repr(more), more, [x]))
    MODULES.append(("Embedding(5, 2)", nn.Embedding(5, 2, rng=0), [np.array([[0, 4], [2, 2]])]))
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(4, 5, rng=1), nn.BatchNorm(5), nn.ReLU(), nn.Dropout(0.3, rng=2),
        nn.Linear(5, 3, rng=3),
    )  # fmt: skip
    MODULES.append(("Sequential(...)", network, [rng.normal(size=(4, 2, 2))]))
    MODULES.append(("CrossEntropyLoss()", nn.CrossEntropyLoss(), [x, np.array([0, 2, 1, 1])]))
    MODULES.append(
        ("BCEWithLogitsLoss()", nn.BCEWithLogitsLoss(), [x[:, 0], np.array([0, 1, 1, 0])])
    )
    for loss in (nn.MSELoss(), nn.L1Loss(), nn.HuberLoss()):
        MODULES.append((repr(loss), loss, [x, rng.normal(size=(4, 3))]))


def _image_modules() -> None:
    x = np.random.default_rng(6).normal(size=(3, 2, 5, 3))
    for layer in (
        nn.Conv2d(2, 3, 3, padding=1, rng=0), nn.Conv2d(2, 4, (2, 3), 2, groups=2, rng=0),
        nn.Conv2d(2, 3, 1, bias=False, rng=0), nn.ConvTranspose2d(2, 3, 3, 2, 1, 1, rng=0),
        nn.ConvTranspose2d(2, 4, 2, groups=2, bias=False, rng=0),
        nn.MaxPool2d(2), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.AvgPool2d((2, 1), 1, (1, 0)),
    ):  # fmt: skip
        MODULES.append((repr(layer), layer, [x]))
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, rng=1), nn.BatchNorm(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(6, 3, rng=3),
    )  # fmt: skip
    MODULES.append(("Sequential(Conv2d(...), ...)", network, [x]))


_modules()
_image_modules()

# --- Several processes ----------------------------------------------------------------------------

sample(sum_over_ranks, (3, 2), call=lambda x: sum_over_ranks(x, Ranks(Alone())))
