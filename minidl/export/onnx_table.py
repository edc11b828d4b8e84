"""The table of ONNX: for each function of arrays the operators that compute it.

A row is a function of a :class:`~minidl.export.onnx_file.Writer` ``w``, the node ``n`` that is to
be written, and the arguments of the call. It returns the name of the result. ``w.put("Add", a, b)``
adds an operator and returns the name of what it computes; ``w.array(x, dtype)`` is the name of an
argument.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import functional as F
from minidl import nn
from minidl.derivatives import einsum
from minidl.export.graph import Dim, ExportError, Node
from minidl.functional.convolution import conv, conv_x
from minidl.functional.pooling import avg_pool, max_pool
from minidl.methods import astype

Row = Callable[..., str]

TABLE: dict[Any, Row] = {}


def row(*functions: Any) -> Callable[[Row], Row]:
    """Enter a row for these functions."""

    def enter(f: Row) -> Row:
        TABLE.update(dict.fromkeys(functions, f))
        return f

    return enter


def refuse(n: Node, why: str) -> ExportError:
    """The error for a call that ONNX does not have."""
    return ExportError(f"to_onnx: {why} (in {n.line or n.place})")


# --- Functions of single elements -----------------------------------------------------------------

_ONE = {
    np.exp: "Exp", np.log: "Log", np.sqrt: "Sqrt", np.absolute: "Abs", np.fabs: "Abs",
    np.negative: "Neg", np.reciprocal: "Reciprocal", np.positive: "Identity",
    np.sin: "Sin", np.cos: "Cos", np.tan: "Tan", np.arcsin: "Asin", np.arccos: "Acos",
    np.arctan: "Atan", np.sinh: "Sinh", np.cosh: "Cosh", np.tanh: "Tanh", np.arcsinh: "Asinh",
    np.arccosh: "Acosh", np.arctanh: "Atanh", np.floor: "Floor", np.ceil: "Ceil",
    np.rint: "Round", np.sign: "Sign", np.isnan: "IsNaN", np.isinf: "IsInf",
    np.logical_not: "Not", np.invert: "Not", F.relu: "Relu", F.sigmoid: "Sigmoid",
}  # fmt: skip
_TWO = {
    np.add: "Add", np.subtract: "Sub", np.multiply: "Mul", np.divide: "Div", np.power: "Pow",
    np.maximum: "Max", np.minimum: "Min", np.matmul: "MatMul",
}  # fmt: skip
_ASK = {
    np.equal: "Equal", np.less: "Less", np.less_equal: "LessOrEqual", np.greater: "Greater",
    np.greater_equal: "GreaterOrEqual",
}  # fmt: skip
_LOGIC = {
    np.logical_and: "And", np.logical_or: "Or", np.logical_xor: "Xor",
    np.bitwise_and: "And", np.bitwise_or: "Or", np.bitwise_xor: "Xor",
}  # fmt: skip


@row(*_ONE)
def one(w: Any, n: Node, x: Node) -> str:
    asks = n.dtype == np.bool_ and n.function not in (np.isnan, np.isinf)
    wide = x.dtype if n.dtype == np.bool_ and x.dtype.kind == "f" else n.dtype
    dtype = np.dtype(np.bool_) if asks else wide
    return w.put(_ONE[n.function], w.array(x, dtype), node=n)


@row(*_TWO)
def two(w: Any, n: Node, a: Any, b: Any) -> str:
    if n.function is np.add and (fused := _with_bias(w, n, a, b)):
        return fused
    if n.dtype == np.bool_:
        raise refuse(n, f"np.{n.function.__name__} of booleans: convert with astype(np.float32)")
    return w.put(_TWO[n.function], w.array(a, n.dtype), w.array(b, n.dtype), node=n)


@row(*_ASK, np.not_equal)
def ask(w: Any, n: Node, a: Any, b: Any) -> str:
    dtype = np.result_type(*(x.dtype if isinstance(x, Node) else x for x in (a, b)))
    a, b = w.array(a, dtype), w.array(b, dtype)
    if n.function is np.not_equal:
        return w.put("Not", w.put("Equal", a, b), node=n)
    return w.put(_ASK[n.function], a, b, node=n)


@row(*_LOGIC)
def logic(w: Any, n: Node, a: Any, b: Any) -> str:
    if n.dtype != np.bool_:
        raise refuse(n, f"{n.function.__name__} of integers")
    return w.put(_LOGIC[n.function], w.array(a, n.dtype), w.array(b, n.dtype), node=n)


@row(np.isfinite)
def isfinite(w: Any, n: Node, x: Node) -> str:
    a = w.array(x)
    return w.put("Not", w.put("Or", w.put("IsNaN", a), w.put("IsInf", a)), node=n)


@row(np.where)
def where(w: Any, n: Node, condition: Any, a: Any, b: Any) -> str:
    c = w.array(condition, np.dtype(np.bool_))
    return w.put("Where", c, w.array(a, n.dtype), w.array(b, n.dtype), node=n)


@row(np.clip)
def clip(w: Any, n: Node, a: Node, a_min: Any = None, a_max: Any = None, **names: Any) -> str:
    low, high = names.get("min", a_min), names.get("max", a_max)
    y = w.array(a, n.dtype)
    y = y if low is None else w.put("Max", y, w.array(low, n.dtype))
    return y if high is None else w.put("Min", y, w.array(high, n.dtype), node=n)


@row(np.square)
def square(w: Any, n: Node, x: Node) -> str:
    a = w.array(x, n.dtype)
    return w.put("Mul", a, a, node=n)


@row(np.expm1)
def expm1(w: Any, n: Node, x: Node) -> str:
    """``tanh(x / 2) (exp(x) + 1)``, which loses no digits near 0."""
    a = w.array(x, n.dtype)
    half = w.put("Tanh", w.put("Mul", a, w.array(0.5, n.dtype)))
    return w.put("Mul", half, w.put("Add", w.put("Exp", a), w.array(1, n.dtype)), node=n)


@row(np.log1p)
def log1p(w: Any, n: Node, x: Node) -> str:
    """``log(u) x / (u - 1)`` with ``u = 1 + x``, which is exact where u was rounded (W. Kahan)."""
    return _log1p(w, w.array(x, n.dtype), n.dtype, n)


def _log1p(w: Any, a: str, dtype: Any, n: Node | None = None) -> str:
    u = w.put("Add", a, w.array(1, dtype))
    rest = w.put("Sub", u, w.array(1, dtype))
    tiny = w.put("Equal", rest, w.array(0, dtype))
    rest = w.put("Where", tiny, w.array(1, dtype), rest)
    y = w.put("Mul", w.put("Log", u), w.put("Div", a, rest))
    return w.put("Where", tiny, a, y, node=n)


@row(np.logaddexp)
def logaddexp(w: Any, n: Node, a: Any, b: Any) -> str:
    a, b = w.array(a, n.dtype), w.array(b, n.dtype)
    less = w.put("Exp", w.put("Neg", w.put("Abs", w.put("Sub", a, b))))
    return w.put("Add", w.put("Max", a, b), _log1p(w, less, n.dtype), node=n)


@row(np.log2, np.log10, np.degrees, np.rad2deg, np.radians, np.deg2rad)
def scaled(w: Any, n: Node, x: Node) -> str:
    factors = {
        np.log2: 1 / math.log(2), np.log10: 1 / math.log(10),
        np.degrees: 180 / math.pi, np.rad2deg: 180 / math.pi,
    }  # fmt: skip
    a = w.array(x, n.dtype)
    a = w.put("Log", a) if n.function in (np.log2, np.log10) else a
    return w.put("Mul", a, w.array(factors.get(n.function, math.pi / 180), n.dtype), node=n)


@row(np.exp2)
def exp2(w: Any, n: Node, x: Node) -> str:
    return w.put("Pow", w.array(2, n.dtype), w.array(x, n.dtype), node=n)


@row(np.hypot)
def hypot(w: Any, n: Node, a: Any, b: Any) -> str:
    a, b = w.array(a, n.dtype), w.array(b, n.dtype)
    return w.put("Sqrt", w.put("Add", w.put("Mul", a, a), w.put("Mul", b, b)), node=n)


@row(F.leaky_relu)
def leaky_relu(w: Any, n: Node, x: Node, negative_slope: float) -> str:
    return w.put("LeakyRelu", w.array(x, n.dtype), node=n, alpha=float(negative_slope))


@row(F.gelu)
def gelu(w: Any, n: Node, x: Node, approximate: str) -> str:
    return w.put("Gelu", w.array(x, n.dtype), node=n, approximate=approximate)


@row(F.softplus)
def softplus(w: Any, n: Node, x: Node, beta: float) -> str:
    a = w.put("Mul", w.array(x, n.dtype), w.array(beta, n.dtype))
    return w.put("Div", w.put("Softplus", a), w.array(beta, n.dtype), node=n)


@row(astype, "astype")
def cast(w: Any, n: Node, x: Node, dtype: Any) -> str:
    return w.cast(w.array(x), x.dtype, n.dtype)


@row(np.copy, "copy")
def copied(w: Any, n: Node, x: Node, *order: Any, **options: Any) -> str:
    return w.array(x)


# --- Along axes -----------------------------------------------------------------------------------

_REDUCE = {
    np.sum: "ReduceSum", np.mean: "ReduceMean", np.max: "ReduceMax", np.min: "ReduceMin",
    np.prod: "ReduceProd", "np.add.reduce": "ReduceSum", "np.maximum.reduce": "ReduceMax",
    "np.minimum.reduce": "ReduceMin", "np.multiply.reduce": "ReduceProd",
}  # fmt: skip
_SIGNS = {  # what a reduction is called with, in the table of derivatives
    np.sum: ("dtype", "out", "keepdims", "initial", "where"),
    np.mean: ("dtype", "out", "keepdims"),
    np.max: ("out", "keepdims", "initial", "where"),
    np.min: ("out", "keepdims", "initial", "where"),
}


@row(*_REDUCE)
def reduced(w: Any, n: Node, a: Node, axis: Any = None, *rest: Any, **options: Any) -> str:
    names = _SIGNS.get(n.function, ("dtype", "out", "keepdims", "initial", "where"))
    options |= dict(zip(names, rest, strict=False))
    if options.get("initial") is not None or options.get("where", True) is not True:
        raise refuse(n, "a reduction with initial= or where=: write np.where(mask, x, 0) before it")
    return _reduced(w, _REDUCE[n.function], w.array(a, n.dtype), axis, _keeps(a, n), n)


def _keeps(a: Node, n: Node) -> bool:
    return n.ndim == a.ndim


def _reduced(w: Any, what: str, a: str, axis: Any, keeps: bool, n: Node | None = None) -> str:
    axes = () if axis is None else (w.integers(axis if isinstance(axis, tuple) else (axis,)),)
    return w.put(what, a, *axes, node=n, keepdims=int(keeps))


@row(np.var, np.std)
def var(
    w: Any, n: Node, a: Node, axis: Any, dtype: Any, out: Any, ddof: float, keepdims: bool
) -> str:
    x = w.array(a, n.dtype)
    centered = w.put("Sub", x, _reduced(w, "ReduceMean", x, axis, True))
    squares = w.put("Mul", centered, centered)
    y = _reduced(w, "ReduceMean", squares, axis, keepdims)
    if ddof:
        axes = range(a.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        lengths = [a.shape[i] for i in axes]
        if any(isinstance(length, Dim) for length in lengths):
            raise refuse(n, "a variance over the batch with ddof")
        count = math.prod(lengths)  # type: ignore[arg-type]
        y = w.put("Mul", y, w.array(count / (count - ddof), n.dtype))
    return w.put("Sqrt", y, node=n) if n.function is np.std else y


@row(np.argmax, np.argmin)
def argmax(w: Any, n: Node, a: Node, axis: Any = None, **options: Any) -> str:
    x = w.array(a)
    if axis is None:
        x, axis = w.put("Reshape", x, w.integers((-1,))), 0
    what = "ArgMax" if n.function is np.argmax else "ArgMin"
    return w.put(what, x, node=n, axis=axis, keepdims=int(options.get("keepdims", False)))


@row(np.cumsum)
def cumsum(w: Any, n: Node, a: Node, axis: Any = None, *rest: Any, **options: Any) -> str:
    x = w.array(a, n.dtype)
    if axis is None:
        x, axis = w.put("Reshape", x, w.integers((-1,))), 0
    return w.put("CumSum", x, w.array(axis, np.dtype(np.int64)), node=n)


@row(F.softmax, F.log_softmax)
def softmax(w: Any, n: Node, x: Node, axis: int) -> str:
    what = "Softmax" if n.function is F.softmax else "LogSoftmax"
    return w.put(what, w.array(x, n.dtype), node=n, axis=axis)


@row(F.logsumexp)
def logsumexp(w: Any, n: Node, x: Node, axis: Any, keepdims: bool) -> str:
    a = w.array(x, n.dtype)
    top = _reduced(w, "ReduceMax", a, axis, True)
    total = _reduced(w, "ReduceSum", w.put("Exp", w.put("Sub", a, top)), axis, True)
    y = w.put("Add", top, w.put("Log", total))
    return y if keepdims else w.put("Reshape", y, w.shape(n.shape), node=n)


# --- Layers ---------------------------------------------------------------------------------------


@row(F.linear)
def linear(w: Any, n: Node, x: Node, weight: Node, bias: Node | None) -> str:
    a, m = w.array(x, n.dtype), w.array(weight, n.dtype)
    b = () if bias is None else (w.array(bias, n.dtype),)
    if x.ndim == 2:
        return w.put("Gemm", a, m, *b, node=n, transB=1)
    y = w.put("MatMul", a, w.put("Transpose", m, perm=[1, 0]))
    return w.put("Add", y, *b, node=n) if b else y


def _settings(at: Any) -> dict[str, Any]:
    return {
        "kernel_shape": list(at.kernel), "strides": list(at.stride),
        "pads": [*at.padding, *at.padding], "dilations": list(at.dilation),
    }  # fmt: skip


def _convolution(w: Any, n: Node, c: Node, *bias: str) -> str:
    x, weight, at = c.args
    settings = _settings(at) | {"group": at.groups}
    if c.function is conv_x:
        settings["output_padding"] = [
            size - ((places - 1) * s + reach - 2 * p)
            for size, places, s, reach, p in zip(
                at.size, at.out, at.stride, at.reach, at.padding, strict=True
            )
        ]
    what = "Conv" if c.function is conv else "ConvTranspose"
    return w.put(what, w.array(x, n.dtype), w.array(weight, n.dtype), *bias, node=n, **settings)


@row(conv, conv_x)
def convolution(w: Any, n: Node, x: Node, weight: Node, at: Any) -> str:
    return _convolution(w, n, n)


def _with_bias(w: Any, n: Node, a: Any, b: Any) -> str | None:
    """A convolution and the bias that is added to it, as one operator."""
    is_bias = isinstance(b, Node) and b.function is np.reshape and b.args[0].ndim == 1
    if not (is_bias and isinstance(a, Node) and a.function in (conv, conv_x)):
        return None
    if b.shape != (a.shape[1], 1, 1):
        return None
    return _convolution(w, n, a, w.array(b.args[0], n.dtype))


@row(max_pool)
def pool_max(w: Any, n: Node, x: Node, at: Any) -> str:
    return w.put("MaxPool", w.array(x, n.dtype), node=n, **_settings(at))


@row(avg_pool)
def pool_mean(w: Any, n: Node, x: Node, at: Any) -> str:
    a = w.array(x, n.dtype)
    return w.put("AveragePool", a, node=n, count_include_pad=1, **_settings(at))


@row(F.layer_norm)
def layer_norm(w: Any, n: Node, x: Node, shape: Any, weight: Any, bias: Any, eps: float) -> str:
    scale = w.array(np.ones(shape, n.dtype) if weight is None else weight, n.dtype)
    shift = () if bias is None else (w.array(bias, n.dtype),)
    a = w.array(x, n.dtype)
    return w.put("LayerNormalization", a, scale, *shift, node=n, axis=-len(shape), epsilon=eps)


@row(nn.BatchNorm)
def batch_norm(w: Any, n: Node, x: Node) -> str:
    layer = n.function.module
    c, path = len(layer.running_mean), n.function.path
    given: dict[str, Any] = {
        "weight": np.ones(c, n.dtype) if layer.weight is None else layer.weight.data,
        "bias": np.zeros(c, n.dtype) if layer.bias is None else layer.bias.data,
        "running_mean": layer.running_mean,
        "running_var": layer.running_var,
    }
    four = [w.given(array, f"{path}.{name}".strip("."), n.dtype) for name, array in given.items()]
    return w.put("BatchNormalization", w.array(x, n.dtype), *four, node=n, epsilon=layer.eps)


# --- Products and shapes --------------------------------------------------------------------------


@row(einsum)
def products(w: Any, n: Node, subscripts: str, a: Node, b: Node) -> str:
    return w.put(
        "Einsum", w.array(a, n.dtype), w.array(b, n.dtype), node=n, equation=subscripts
    )


@row(np.reshape, np.expand_dims, np.squeeze, np.ravel)
def reshaped(w: Any, n: Node, a: Node, *settings: Any, **options: Any) -> str:
    order = options.get("order", settings[1] if len(settings) > 1 else "C")
    if n.function in (np.reshape, np.ravel) and order not in ("C", "K", "A"):
        raise refuse(n, f"reshape with order={order!r}: transpose before and after it")
    return w.put("Reshape", w.array(a), w.shape(n.shape), node=n)


@row(np.transpose)
def transposed(w: Any, n: Node, a: Node, axes: Any = None) -> str:
    order = reversed(range(a.ndim)) if axes is None else (i % a.ndim for i in axes)
    return w.put("Transpose", w.array(a), node=n, perm=list(order))


@row(np.swapaxes)
def swapped(w: Any, n: Node, a: Node, axis1: int, axis2: int) -> str:
    order = list(range(a.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return w.put("Transpose", w.array(a), node=n, perm=order)


@row(np.broadcast_to)
def spread(w: Any, n: Node, a: Node, *shape: Any, **options: Any) -> str:
    return w.put("Expand", w.array(a), w.shape(n.shape, exact=True), node=n)


@row(np.full)
def full(w: Any, n: Node, shape: Any, value: Any) -> str:
    return w.put("Expand", w.array(value, n.dtype), w.shape(n.shape, exact=True), node=n)


@row(np.zeros_like, np.ones_like, np.full_like)
def like(w: Any, n: Node, a: Node, *value: Any, **options: Any) -> str:
    x = options.get("fill_value", value[0] if value and n.function is np.full_like else 0)
    return full(w, n, n.shape, 1 if n.function is np.ones_like else x)


@row(np.concatenate)
def joined(w: Any, n: Node, arrays: Any, axis: int = 0, **options: Any) -> str:
    return w.put("Concat", *(w.array(a, n.dtype) for a in arrays), node=n, axis=axis)


@row(np.stack)
def stacked(w: Any, n: Node, arrays: Any, axis: int = 0, **options: Any) -> str:
    at = w.integers((axis,))
    rows = [w.put("Unsqueeze", w.array(a, n.dtype), at) for a in arrays]
    return w.put("Concat", *rows, node=n, axis=axis)


@row(np.tril, np.triu)
def triangle(w: Any, n: Node, m: Node, k: int = 0) -> str:
    upper = int(n.function is np.triu)
    return w.put("Trilu", w.array(m), w.array(k, np.dtype(np.int64)), node=n, upper=upper)


@row(np.flip)
def flipped(w: Any, n: Node, m: Node, axis: Any = None) -> str:
    axes = range(m.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    parts = [(int(i), slice(None, None, -1)) for i in axes]
    return sliced(w, w.array(m), m, parts)


# --- Places ---------------------------------------------------------------------------------------


@row(operator.getitem)
def getitem(w: Any, n: Node, a: Node, index: Any) -> str:
    """Slices first, then the places that one array of integers names; axes come and go last."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in [p for p in parts if not isinstance(p, Node | np.ndarray)]:
        i = next(i for i, p in enumerate(parts) if p is Ellipsis)
        used = sum(p is not None and p is not Ellipsis for p in parts)
        parts[i : i + 1] = [slice(None)] * (a.ndim - used)
    taken = [p for p in parts if p is not None]
    arrays = [(i, p) for i, p in enumerate(taken) if _is_array(p)]
    if len(arrays) > 1 or (arrays and (None in parts or any(isinstance(p, int) for p in taken))):
        raise refuse(n, "an index of several arrays, or of an array and numbers: take one axis at "
                        "a time, x[i][:, j]")  # fmt: skip
    y = sliced(w, w.array(a), a, [(i, p) for i, p in enumerate(taken) if isinstance(p, slice)])
    numbers = [(i, p) for i, p in enumerate(taken) if isinstance(p, int | np.integer)]
    for i, p in reversed(numbers):
        y = w.put("Gather", y, w.array(int(p), np.dtype(np.int64)), axis=i)
    for i, p in arrays:
        dtype = p.dtype
        if dtype.kind not in "iu":
            raise refuse(n, f"an index of {dtype}: use np.where in place of a mask")
        y = w.put("Gather", y, w.array(p, np.dtype(np.int64)), node=n, axis=i)
    if None in [p for p in parts if not _is_array(p)]:
        y = w.put("Reshape", y, w.shape(n.shape), node=n)
    return y


def _is_array(p: Any) -> bool:
    return isinstance(p, Node | np.ndarray)


def sliced(w: Any, y: str, a: Node, parts: list[tuple[int, slice]]) -> str:
    """The elements that slices take, each along its axis."""
    starts: list[int | Dim] = []
    stops: list[int | Dim] = []
    steps: list[int | Dim] = []
    axes: list[int] = []
    for axis, part in parts:
        if part == slice(None):
            continue
        step = 1 if part.step is None else part.step
        back = step < 0
        start = (-1 if back else 0) if part.start is None else part.start
        stop = (-(2**62) if back else 2**62) if part.stop is None else part.stop
        for into, value in ((starts, start), (stops, stop), (steps, step), (axes, axis)):
            into.append(value)
    if not axes:
        return y
    return w.put("Slice", y, *(w.dims(x) for x in (starts, stops, axes, steps)))
