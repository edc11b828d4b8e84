"""The table of PyTorch: the source of each layer, and of each function of arrays.

A row of ``LAYERS`` is a function of the layer that returns how PyTorch makes the same one. A row of
``FUNCTIONS`` is a function of a body ``b``, the node that is written, and the arguments of the
call; it returns the expression that computes it. ``b.of(x)`` is the source of an argument.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import functional as F
from minidl import nn
from minidl.derivatives import einsum, norm
from minidl.export.graph import ExportError, Node
from minidl.functional.convolution import conv, conv_x
from minidl.functional.pooling import avg_pool, max_pool
from minidl.methods import astype

# --- Layers ---------------------------------------------------------------------------------------


def _call(name: str, *args: Any, **settings: tuple[Any, Any]) -> str:
    """``nn.Name(args, setting=value)``, with the settings that are not the default."""
    given = [_short(a) for a in args]
    given += [f"{k}={_short(v)}" for k, (v, default) in settings.items() if v != default]
    return f"nn.{name}({', '.join(given)})"


def _short(x: Any) -> str:
    """A pair of equal numbers as the one number."""
    is_pair = isinstance(x, tuple) and len(x) == 2 and x[0] == x[1]
    return repr(x[0] if is_pair else x)


def _has_bias(layer: Any) -> tuple[bool, bool]:
    return layer.bias is not None, True


def _linear(m: Any, ndim: int | None) -> str:
    return _call("Linear", *m.weight.shape[::-1], bias=_has_bias(m))


def _conv(m: Any, ndim: int | None) -> str:
    o, c, *kernel = m.weight.shape
    return _call(
        "Conv2d", c * m.groups, o, tuple(kernel), stride=(m.stride, (1, 1)),
        padding=(m.padding, (0, 0)), dilation=(m.dilation, (1, 1)), groups=(m.groups, 1),
        bias=_has_bias(m),
    )  # fmt: skip


def _conv_transpose(m: Any, ndim: int | None) -> str:
    c, o, *kernel = m.weight.shape
    return _call(
        "ConvTranspose2d", c, o * m.groups, tuple(kernel), stride=(m.stride, (1, 1)),
        padding=(m.padding, (0, 0)), output_padding=(m.output_padding, (0, 0)),
        groups=(m.groups, 1), bias=_has_bias(m), dilation=(m.dilation, (1, 1)),
    )  # fmt: skip


def _batch_norm(m: Any, ndim: int | None) -> str:
    if ndim is None:
        raise ExportError(
            "to_pytorch: BatchNorm is BatchNorm1d, 2d or 3d in PyTorch, by the axes of its input, "
            "which are not known here: give an example, to_pytorch(model, x[:2])"
        )
    affine = (m.weight is not None, True)
    name = f"BatchNorm{max(ndim - 2, 1)}d"
    return _call(name, len(m.running_mean), eps=(m.eps, 1e-5), momentum=(m.momentum, 0.1),
                 affine=affine)  # fmt: skip


def _layer_norm(m: Any, ndim: int | None) -> str:
    shape = m.normalized_shape[0] if len(m.normalized_shape) == 1 else list(m.normalized_shape)
    affine = m.weight is not None
    return _call("LayerNorm", shape, eps=(m.eps, 1e-5), elementwise_affine=(affine, True),
                 bias=(m.bias is not None or not affine, True))  # fmt: skip


def _max_pool(m: Any, ndim: int | None) -> str:
    return _call("MaxPool2d", m.kernel_size, stride=(m.stride, m.kernel_size),
                 padding=(m.padding, (0, 0)), dilation=(m.dilation, (1, 1)))  # fmt: skip


def _avg_pool(m: Any, ndim: int | None) -> str:
    return _call("AvgPool2d", m.kernel_size, stride=(m.stride, m.kernel_size),
                 padding=(m.padding, (0, 0)))  # fmt: skip


LAYERS: dict[type, Callable[[Any, int | None], str]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.ConvTranspose2d: _conv_transpose,
    nn.BatchNorm: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _avg_pool,
    nn.Embedding: lambda m, ndim: _call("Embedding", *m.weight.shape),
    nn.ReLU: lambda m, ndim: "nn.ReLU()",
    nn.LeakyReLU: lambda m, ndim: _call("LeakyReLU", m.negative_slope),
    nn.Sigmoid: lambda m, ndim: "nn.Sigmoid()",
    nn.Tanh: lambda m, ndim: "nn.Tanh()",
    nn.GELU: lambda m, ndim: _call("GELU", approximate=(m.approximate, "none")),
    nn.Softmax: lambda m, ndim: f"nn.Softmax(dim={m.axis})",
    nn.Dropout: lambda m, ndim: _call("Dropout", m.p),
    nn.Flatten: lambda m, ndim: "nn.Flatten()",
}
"""How PyTorch makes each layer; ``ndim`` is how many axes its input has, if that is known."""

# --- Functions ------------------------------------------------------------------------------------

FUNCTIONS: dict[Any, Callable[..., str]] = {}


def row(*functions: Any) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Enter a row for these functions."""

    def enter(f: Callable[..., str]) -> Callable[..., str]:
        FUNCTIONS.update(dict.fromkeys(functions, f))
        return f

    return enter


SIGNS = {
    np.add: "+", np.subtract: "-", np.multiply: "*", np.divide: "/", np.power: "**",
    np.matmul: "@", np.less: "<", np.less_equal: "<=", np.greater: ">", np.greater_equal: ">=",
    np.equal: "==", np.not_equal: "!=",
    np.bitwise_and: "&", np.bitwise_or: "|", np.bitwise_xor: "^",
}  # fmt: skip
_NAMES = {
    np.exp: "exp", np.exp2: "exp2", np.expm1: "expm1", np.log: "log", np.log2: "log2",
    np.log10: "log10", np.log1p: "log1p", np.sqrt: "sqrt", np.square: "square",
    np.absolute: "abs", np.fabs: "abs", np.negative: "neg", np.reciprocal: "reciprocal",
    np.sin: "sin", np.cos: "cos", np.tan: "tan", np.arcsin: "asin", np.arccos: "acos",
    np.arctan: "atan", np.sinh: "sinh", np.cosh: "cosh", np.tanh: "tanh", np.arcsinh: "asinh",
    np.arccosh: "acosh", np.arctanh: "atanh", np.floor: "floor", np.ceil: "ceil",
    np.rint: "round", np.sign: "sign", np.isnan: "isnan", np.isinf: "isinf",
    np.isfinite: "isfinite", np.logical_not: "logical_not", np.invert: "bitwise_not",
    np.degrees: "rad2deg", np.rad2deg: "rad2deg", np.radians: "deg2rad", np.deg2rad: "deg2rad",
    F.relu: "relu", F.sigmoid: "sigmoid",
}  # fmt: skip
_PAIRS = {
    np.maximum: "maximum", np.minimum: "minimum", np.logaddexp: "logaddexp", np.hypot: "hypot",
    np.arctan2: "atan2", np.logical_and: "logical_and", np.logical_or: "logical_or",
    np.logical_xor: "logical_xor",
}  # fmt: skip


@row(*SIGNS)
def signs(b: Any, n: Node, x: Any, y: Any) -> str:
    return f"{b.tight(x)} {SIGNS[n.function]} {b.tight(y)}"


@row(*_NAMES)
def names(b: Any, n: Node, x: Node) -> str:
    return f"torch.{_NAMES[n.function]}({b.of(x)})"


@row(*_PAIRS)
def pairs(b: Any, n: Node, x: Any, y: Any) -> str:
    return f"torch.{_PAIRS[n.function]}({b.tensor(x, n)}, {b.tensor(y, n)})"


@row(np.where)
def where(b: Any, n: Node, condition: Any, x: Any, y: Any) -> str:
    return f"torch.where({b.of(condition)}, {b.tensor(x, n)}, {b.tensor(y, n)})"


_REDUCE = {
    np.sum: ("sum", ("dtype", "out", "keepdims", "initial", "where")),
    np.mean: ("mean", ("dtype", "out", "keepdims")),
    np.max: ("amax", ("out", "keepdims", "initial", "where")),
    np.min: ("amin", ("out", "keepdims", "initial", "where")),
    "np.add.reduce": ("sum", ()), "np.maximum.reduce": ("amax", ()),
    "np.minimum.reduce": ("amin", ()),
}  # fmt: skip


@row(*_REDUCE)
def reduced(b: Any, n: Node, a: Node, axis: Any = None, *rest: Any, **options: Any) -> str:
    name, parameters = _REDUCE[n.function]
    options |= dict(zip(parameters, rest, strict=False))
    if options.get("initial") is not None or options.get("where", True) is not True:
        raise b.refuse(n, "a reduction with initial= or where=")
    if axis == ():
        raise b.refuse(n, "a reduction along no axis")
    keeps = ", keepdim=True" if n.ndim == a.ndim else ""
    axis = tuple(range(a.ndim)) if axis is None and (keeps or name.startswith("a")) else axis
    return f"{_as_summed(b, n, a)}.{name}({'' if axis is None else f'dim={axis}{keeps}'})"


def _as_summed(b: Any, n: Node, a: Node) -> str:
    """What is summed, in the dtype of the result, in which NumPy computes."""
    return b.tight(a) + (f".to(torch.{n.dtype.name})" if n.dtype != a.dtype else "")


@row(np.var, np.std)
def var(
    b: Any, n: Node, a: Node, axis: Any = None, dtype: Any = None, out: Any = None, ddof: float = 0,
    keepdims: bool = False,
) -> str:  # fmt: skip
    axis = tuple(range(a.ndim)) if axis is None else axis
    keeps = ", keepdim=True" if keepdims else ""
    return f"{_as_summed(b, n, a)}.{n.function.__name__}(dim={axis}, correction={ddof}{keeps})"


@row(norm)
def root_of_squares(b: Any, n: Node, x: Node, ord: float, axis: Any, keepdims: bool) -> str:
    keeps = ", keepdim=True" if keepdims else ""
    return f"torch.linalg.vector_norm({b.of(x)}, {ord}, dim={axis}{keeps})"


@row(np.argmax, np.argmin)
def argmax(b: Any, n: Node, a: Node, axis: Any = None, **options: Any) -> str:
    keeps = ", keepdim=True" if n.ndim == a.ndim else ""
    if axis is None and keeps:
        raise b.refuse(n, f"np.{n.function.__name__} of all, with keepdims")
    return f"{b.tight(a)}.{n.function.__name__}({'' if axis is None else f'dim={axis}{keeps}'})"


@row(np.cumsum)
def cumsum(b: Any, n: Node, a: Node, axis: Any = None, *rest: Any) -> str:
    return f"{b.tight(a)}.reshape(-1).cumsum(0)" if axis is None else f"{b.tight(a)}.cumsum({axis})"


@row(F.leaky_relu)
def leaky_relu(b: Any, n: Node, x: Node, negative_slope: float) -> str:
    return f"F.leaky_relu({b.of(x)}, {float(negative_slope)})"


@row(F.gelu)
def gelu(b: Any, n: Node, x: Node, approximate: str) -> str:
    return f"F.gelu({b.of(x)}, approximate={approximate!r})"


@row(F.softplus)
def softplus(b: Any, n: Node, x: Node, beta: float) -> str:
    return f"F.softplus({b.of(x)}, beta={beta})"


@row(F.softmax, F.log_softmax, F.logsumexp)
def softmax(b: Any, n: Node, x: Node, axis: Any, keepdims: bool = False) -> str:
    axis = tuple(range(x.ndim)) if axis is None else axis
    keeps = ", keepdim=True" if keepdims else ""
    return f"torch.{n.function.__name__}({b.of(x)}, dim={axis}{keeps})"


@row(F.linear)
def linear(b: Any, n: Node, x: Node, weight: Node, bias: Node | None) -> str:
    last = "" if bias is None else f", {b.of(bias)}"
    return f"F.linear({b.of(x)}, {b.of(weight)}{last})"


@row(F.layer_norm)
def layer_norm(b: Any, n: Node, x: Node, shape: Any, weight: Any, bias: Any, eps: float) -> str:
    return f"F.layer_norm({b.of(x)}, {list(shape)}, {b.of(weight)}, {b.of(bias)}, {eps})"


@row(conv)
def conv2d(b: Any, n: Node, x: Node, weight: Node, at: Any) -> str:
    return (
        f"F.conv2d({b.of(x)}, {b.of(weight)}, None, {at.stride}, {at.padding}, {at.dilation}, "
        f"{at.groups})"
    )


@row(conv_x)
def conv_transpose2d(b: Any, n: Node, d: Node, weight: Node, at: Any) -> str:
    places = zip(at.size, at.out, at.stride, at.reach, at.padding, strict=True)
    more = tuple(size - ((o - 1) * s + r - 2 * p) for size, o, s, r, p in places)
    return (
        f"F.conv_transpose2d({b.of(d)}, {b.of(weight)}, None, {at.stride}, {at.padding}, {more}, "
        f"{at.groups}, {at.dilation})"
    )


@row(max_pool)
def max_pool2d(b: Any, n: Node, x: Node, at: Any) -> str:
    return f"F.max_pool2d({b.of(x)}, {at.kernel}, {at.stride}, {at.padding}, {at.dilation})"


@row(avg_pool)
def avg_pool2d(b: Any, n: Node, x: Node, at: Any) -> str:
    return f"F.avg_pool2d({b.of(x)}, {at.kernel}, {at.stride}, {at.padding})"


@row(einsum)
def products(b: Any, n: Node, subscripts: str, x: Node, y: Node) -> str:
    return f"torch.einsum({subscripts!r}, {b.of(x)}, {b.of(y)})"


@row(astype, "astype")
def cast(b: Any, n: Node, x: Node, dtype: Any) -> str:
    return f"{b.tight(x)}.to(torch.{n.dtype.name})"


@row(np.positive, np.copy, "copy")
def same(b: Any, n: Node, x: Node, *order: Any, **options: Any) -> str:
    return b.of(x)


@row(np.reshape, np.expand_dims, np.squeeze, np.ravel)
def reshaped(b: Any, n: Node, a: Node, *settings: Any, **options: Any) -> str:
    order = options.get("order", settings[1] if len(settings) > 1 else "C")
    if order != "C":  # "A" and "K" go by the place in memory, which no other library has
        raise b.refuse(n, f"reshape with order={order!r}")
    return f"{b.tight(a)}.reshape({b.shape(n.shape)})"


@row(np.transpose)
def transposed(b: Any, n: Node, a: Node, axes: Any = None) -> str:
    order = range(a.ndim)[::-1] if axes is None else axes
    return f"{b.tight(a)}.permute({', '.join(map(str, order))})"


@row(np.swapaxes)
def swapped(b: Any, n: Node, a: Node, axis1: int, axis2: int) -> str:
    return f"{b.tight(a)}.transpose({axis1}, {axis2})"


@row(np.broadcast_to)
def spread(b: Any, n: Node, a: Node, *shape: Any, **options: Any) -> str:
    return f"{b.tight(a)}.expand({b.shape(n.shape, exact=True)})"


@row(np.full)
def full(b: Any, n: Node, shape: Any, value: Any) -> str:
    given = f"dtype=torch.{n.dtype.name}, device={b.first}.device"
    return f"torch.full(({b.shape(n.shape, exact=True)},), {b.of(value)}, {given})"


@row(np.zeros_like, np.ones_like, np.full_like)
def like(b: Any, n: Node, a: Node, *value: Any, **options: Any) -> str:
    x = value[0] if n.function is np.full_like else int(n.function is np.ones_like)
    return full(b, n, n.shape, x)


@row(np.concatenate, np.stack)
def joined(b: Any, n: Node, arrays: Any, axis: int = 0, **options: Any) -> str:
    name = "cat" if n.function is np.concatenate else "stack"
    return f"torch.{name}([{', '.join(b.tensor(a, n) for a in arrays)}], dim={axis})"


@row(np.tril, np.triu)
def triangle(b: Any, n: Node, m: Node, k: int = 0) -> str:
    return f"torch.{n.function.__name__}({b.of(m)}, {k})"


@row(np.flip)
def flipped(b: Any, n: Node, m: Node, axis: Any = None) -> str:
    axes = range(m.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return f"torch.flip({b.of(m)}, {tuple(axes)})"


@row(operator.getitem)
def getitem(b: Any, n: Node, a: Node, index: Any) -> str:
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(p, slice) and (p.step or 1) < 0 for p in parts):
        raise b.refuse(n, "an index with a step below 0: write np.flip")
    numbers = [i for i, p in enumerate(parts) if isinstance(p, int | np.integer)]
    arrays = [i for i, p in enumerate(parts) if isinstance(p, Node | np.ndarray | list)]
    places = sorted(numbers + arrays)
    if numbers and arrays and places[-1] - places[0] >= len(places):
        raise b.refuse(n, "an index with numbers and arrays apart, which PyTorch takes otherwise: "
                          "take one axis at a time, x[i][:, j]")  # fmt: skip
    return f"{b.tight(a)}[{', '.join(map(b.index, parts))}]"
