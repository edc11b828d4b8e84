"""The rows of the table of ONNX for whole arrays: along axes, layers, products, shapes, places."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from minidl import functional as F
from minidl import nn
from minidl.derivatives import einsum, norm
from minidl.export.graph import Dim, Node
from minidl.export.onnx_elements import TABLE as TABLE
from minidl.export.onnx_elements import refuse, row, two
from minidl.functional.convolution import conv, conv_x
from minidl.functional.pooling import avg_pool, max_pool

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
    if axis == ():
        raise refuse(n, "a reduction along no axis")
    return _reduced(w, _REDUCE[n.function], w.array(a, n.dtype), axis, n.ndim == a.ndim)


def _reduced(w: Any, what: str, a: str, axis: Any, keeps: bool) -> str:
    axes = () if axis is None else (w.integers(axis if isinstance(axis, tuple) else (axis,)),)
    return w.put(what, a, *axes, keepdims=int(keeps))


@row(np.var, np.std)
def var(
    w: Any, n: Node, a: Node, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
    keepdims: bool = False,
) -> str:  # fmt: skip
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
    return w.put("Sqrt", y) if n.function is np.std else y


@row(norm)
def root_of_squares(w: Any, n: Node, x: Node, ord: float, axis: Any, keepdims: bool) -> str:
    if ord != 2:
        raise refuse(n, f"np.linalg.norm with ord={ord}: write it as np.sum of powers")
    a = w.array(x, n.dtype)
    return w.put("Sqrt", _reduced(w, "ReduceSum", w.put("Mul", a, a), axis, keepdims))


@row(np.argmax, np.argmin)
def argmax(w: Any, n: Node, a: Node, axis: Any = None, **options: Any) -> str:
    x = w.array(a)
    if axis is None:
        x, axis = w.put("Reshape", x, w.integers((-1,))), 0
    what = "ArgMax" if n.function is np.argmax else "ArgMin"
    return w.put(what, x, axis=axis, keepdims=int(options.get("keepdims", False)))


@row(np.cumsum)
def cumsum(w: Any, n: Node, a: Node, axis: Any = None, *rest: Any, **options: Any) -> str:
    x = w.array(a, n.dtype)
    if axis is None:
        x, axis = w.put("Reshape", x, w.integers((-1,))), 0
    return w.put("CumSum", x, w.array(axis, np.dtype(np.int64)))


@row(F.softmax, F.log_softmax)
def softmax(w: Any, n: Node, x: Node, axis: int) -> str:
    what = "Softmax" if n.function is F.softmax else "LogSoftmax"
    return w.put(what, w.array(x, n.dtype), axis=axis)


@row(F.logsumexp)
def logsumexp(w: Any, n: Node, x: Node, axis: Any, keepdims: bool) -> str:
    a = w.array(x, n.dtype)
    top = _reduced(w, "ReduceMax", a, axis, True)
    total = _reduced(w, "ReduceSum", w.put("Exp", w.put("Sub", a, top)), axis, True)
    y = w.put("Add", top, w.put("Log", total))
    return y if keepdims else w.reshape(y, n.shape)


# --- Layers ---------------------------------------------------------------------------------------


@row(F.linear)
def linear(w: Any, n: Node, x: Node, weight: Node, bias: Node | None) -> str:
    a, m = w.array(x, n.dtype), w.array(weight, n.dtype)
    b = () if bias is None else (w.array(bias, n.dtype),)
    if x.ndim == 2:
        return w.put("Gemm", a, m, *b, transB=1)
    y = w.put("MatMul", a, w.put("Transpose", m))
    return w.put("Add", y, *b) if b else y


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
    return w.put(what, w.array(x, n.dtype), w.array(weight, n.dtype), *bias, **settings)


@row(conv, conv_x)
def convolution(w: Any, n: Node, x: Node, weight: Node, at: Any) -> str:
    return _convolution(w, n, n)


@row(np.add)
def added(w: Any, n: Node, a: Any, b: Any) -> str:
    """A sum; of a convolution and its bias one operator."""
    is_bias = isinstance(b, Node) and b.function is np.reshape and b.args[0].ndim == 1
    is_convolution = isinstance(a, Node) and a.function in (conv, conv_x)
    if is_bias and is_convolution and b.shape == (a.shape[1], 1, 1):
        return _convolution(w, n, a, w.array(b.args[0], n.dtype))
    return two(w, n, a, b)


@row(max_pool)
def pool_max(w: Any, n: Node, x: Node, at: Any) -> str:
    return w.put("MaxPool", w.array(x, n.dtype), **_settings(at))


@row(avg_pool)
def pool_mean(w: Any, n: Node, x: Node, at: Any) -> str:
    a = w.array(x, n.dtype)
    return w.put("AveragePool", a, count_include_pad=1, **_settings(at))


@row(F.layer_norm)
def layer_norm(w: Any, n: Node, x: Node, shape: Any, weight: Any, bias: Any, eps: float) -> str:
    scale = w.array(np.ones(shape, n.dtype) if weight is None else weight, n.dtype)
    shift = () if bias is None else (w.array(bias, n.dtype),)
    a = w.array(x, n.dtype)
    return w.put("LayerNormalization", a, scale, *shift, axis=-len(shape), epsilon=eps)


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
    return w.put("BatchNormalization", w.array(x, n.dtype), *four, epsilon=layer.eps)


# --- Products and shapes --------------------------------------------------------------------------


@row(einsum)
def products(w: Any, n: Node, subscripts: str, a: Node, b: Node) -> str:
    return w.put("Einsum", w.array(a, n.dtype), w.array(b, n.dtype), equation=subscripts)


@row(np.reshape, np.expand_dims, np.squeeze, np.ravel)
def reshaped(w: Any, n: Node, a: Node, *settings: Any, **options: Any) -> str:
    order = options.get("order", settings[1] if len(settings) > 1 else "C")
    if order != "C":  # "A" and "K" go by the place in memory, which no other library has
        raise refuse(n, f"reshape with order={order!r}: transpose before and after it")
    return w.reshape(w.array(a), n.shape)


@row(np.transpose)
def transposed(w: Any, n: Node, a: Node, axes: Any = None) -> str:
    order = reversed(range(a.ndim)) if axes is None else (i % a.ndim for i in axes)
    return w.put("Transpose", w.array(a), perm=list(order))


@row(np.swapaxes)
def swapped(w: Any, n: Node, a: Node, axis1: int, axis2: int) -> str:
    order = list(range(a.ndim))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return w.put("Transpose", w.array(a), perm=order)


@row(np.broadcast_to)
def spread(w: Any, n: Node, a: Node, *shape: Any, **options: Any) -> str:
    return w.put("Expand", w.array(a), w.shape(n.shape, exact=True))


@row(np.full)
def full(w: Any, n: Node, shape: Any, value: Any) -> str:
    return w.put("Expand", w.array(value, n.dtype), w.shape(n.shape, exact=True))


@row(np.zeros_like, np.ones_like, np.full_like)
def like(w: Any, n: Node, a: Node, *value: Any, **options: Any) -> str:
    x = value[0] if n.function is np.full_like else int(n.function is np.ones_like)
    return full(w, n, n.shape, x)


@row(np.concatenate)
def joined(w: Any, n: Node, arrays: Any, axis: int = 0, **options: Any) -> str:
    return w.put("Concat", *(w.array(a, n.dtype) for a in arrays), axis=axis)


@row(np.stack)
def stacked(w: Any, n: Node, arrays: Any, axis: int = 0, **options: Any) -> str:
    at = w.integers((axis,))
    rows = [w.put("Unsqueeze", w.array(a, n.dtype), at) for a in arrays]
    return w.put("Concat", *rows, axis=axis)


@row(np.tril, np.triu)
def triangle(w: Any, n: Node, m: Node, k: int = 0) -> str:
    upper = int(n.function is np.triu)
    return w.put("Trilu", w.array(m), w.array(k, np.dtype(np.int64)), upper=upper)


@row(np.flip)
def flipped(w: Any, n: Node, m: Node, axis: Any = None) -> str:
    axes = range(m.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    parts = [(int(i), slice(None, None, -1)) for i in axes]
    return sliced(w, w.array(m), m, parts)


# --- Places ---------------------------------------------------------------------------------------


@row(operator.getitem)
def getitem(w: Any, n: Node, a: Node, index: Any) -> str:
    """Slices first, then the places that one array of integers names; axes come and go last."""
    given = list(index) if isinstance(index, tuple) else [index]
    parts = [np.asarray(p) if isinstance(p, list) else p for p in given]
    if any(p is Ellipsis for p in parts):
        i = next(i for i, p in enumerate(parts) if p is Ellipsis)
        used = sum(p is not None and p is not Ellipsis for p in parts)
        parts[i : i + 1] = [slice(None)] * (a.ndim - used)
    taken = [p for p in parts if p is not None]
    arrays = [(i, p) for i, p in enumerate(taken) if _is_array(p)]
    mixed = any(p is None or isinstance(p, int) for p in parts)
    if len(arrays) > 1 or (arrays and mixed):
        raise refuse(n, "an index of several arrays, or of an array and numbers: take one axis at "
                        "a time, x[i][:, j]")  # fmt: skip
    y = sliced(w, w.array(a), a, [(i, p) for i, p in enumerate(taken) if isinstance(p, slice)])
    for i, p in reversed(list(enumerate(taken))):
        if isinstance(p, int | np.integer):
            y = w.put("Gather", y, w.array(int(p), np.dtype(np.int64)), axis=i)
    for i, places in arrays:
        if places.dtype.kind not in "iu":
            raise refuse(n, f"an index of {places.dtype}: use np.where in place of a mask")
        y = w.put("Gather", y, w.array(places, np.dtype(np.int64)), axis=i)
    if any(p is None for p in parts):
        y = w.reshape(y, n.shape)
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
