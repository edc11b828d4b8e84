"""The table of ONNX, and its rows for functions of single elements.

A row is a function of a :class:`~minidl.export.onnx_file.Writer` ``w``, the node ``n`` that is to
be written, and the arguments of the call. It returns the name of the result. ``w.put("Add", a, b)``
adds an operator and returns the name of what it computes; ``w.array(x, dtype)`` is the name of an
argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl import functional as F
from minidl.export.graph import ExportError, Node
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
    wide = x.dtype if x.dtype.kind == "f" else n.dtype
    dtype = np.dtype(np.bool_) if asks else wide
    return w.put(_ONE[n.function], w.array(x, dtype))


@row(*_TWO)
def two(w: Any, n: Node, a: Any, b: Any) -> str:
    if n.dtype == np.bool_:
        raise refuse(n, f"np.{n.function.__name__} of booleans: convert with astype(np.float32)")
    return w.put(_TWO[n.function], w.array(a, n.dtype), w.array(b, n.dtype))


@row(*_ASK, np.not_equal)
def ask(w: Any, n: Node, a: Any, b: Any) -> str:
    dtype = np.result_type(*(x.dtype if isinstance(x, Node) else x for x in (a, b)))
    a, b = w.array(a, dtype), w.array(b, dtype)
    if n.function is np.not_equal:
        return w.put("Not", w.put("Equal", a, b))
    return w.put(_ASK[n.function], a, b)


@row(*_LOGIC)
def logic(w: Any, n: Node, a: Any, b: Any) -> str:
    if n.dtype != np.bool_:
        raise refuse(n, f"{n.function.__name__} of integers")
    return w.put(_LOGIC[n.function], w.array(a, n.dtype), w.array(b, n.dtype))


@row(np.isfinite)
def isfinite(w: Any, n: Node, x: Node) -> str:
    a = w.array(x)
    return w.put("Not", w.put("Or", w.put("IsNaN", a), w.put("IsInf", a)))


@row(np.where)
def where(w: Any, n: Node, condition: Any, a: Any, b: Any) -> str:
    c = w.array(condition, np.dtype(np.bool_))
    return w.put("Where", c, w.array(a, n.dtype), w.array(b, n.dtype))


@row(np.clip)
def clip(w: Any, n: Node, a: Node, a_min: Any = None, a_max: Any = None, **names: Any) -> str:
    low, high = names.get("min", a_min), names.get("max", a_max)
    y = w.array(a, n.dtype)
    y = y if low is None else w.put("Max", y, w.array(low, n.dtype))
    return y if high is None else w.put("Min", y, w.array(high, n.dtype))


@row(np.square)
def square(w: Any, n: Node, x: Node) -> str:
    a = w.array(x, n.dtype)
    return w.put("Mul", a, a)


@row(np.expm1)
def expm1(w: Any, n: Node, x: Node) -> str:
    """``tanh(x / 2) (exp(x) + 1)``, which loses no digits near 0."""
    a = w.array(x, n.dtype)
    half = w.put("Tanh", w.put("Mul", a, w.array(0.5, n.dtype)))
    return w.put("Mul", half, w.put("Add", w.put("Exp", a), w.array(1, n.dtype)))


@row(np.log1p)
def log1p(w: Any, n: Node, x: Node) -> str:
    """``log(u) x / (u - 1)`` with ``u = 1 + x``, which is exact where u was rounded (W. Kahan)."""
    return _log1p(w, w.array(x, n.dtype), n.dtype)


def _log1p(w: Any, a: str, dtype: Any) -> str:
    u = w.put("Add", a, w.array(1, dtype))
    rest = w.put("Sub", u, w.array(1, dtype))
    tiny = w.put("Equal", rest, w.array(0, dtype))
    rest = w.put("Where", tiny, w.array(1, dtype), rest)
    y = w.put("Mul", w.put("Log", u), w.put("Div", a, rest))
    return w.put("Where", tiny, a, y)


@row(np.logaddexp)
def logaddexp(w: Any, n: Node, a: Any, b: Any) -> str:
    a, b = w.array(a, n.dtype), w.array(b, n.dtype)
    less = w.put("Exp", w.put("Neg", w.put("Abs", w.put("Sub", a, b))))
    return w.put("Add", w.put("Max", a, b), _log1p(w, less, n.dtype))


@row(np.log2, np.log10, np.degrees, np.rad2deg, np.radians, np.deg2rad)
def scaled(w: Any, n: Node, x: Node) -> str:
    factors = {
        np.log2: 1 / math.log(2), np.log10: 1 / math.log(10),
        np.degrees: 180 / math.pi, np.rad2deg: 180 / math.pi,
    }  # fmt: skip
    a = w.array(x, n.dtype)
    a = w.put("Log", a) if n.function in (np.log2, np.log10) else a
    return w.put("Mul", a, w.array(factors.get(n.function, math.pi / 180), n.dtype))


@row(np.exp2)
def exp2(w: Any, n: Node, x: Node) -> str:
    return w.put("Pow", w.array(2, n.dtype), w.array(x, n.dtype))


@row(np.hypot)
def hypot(w: Any, n: Node, a: Any, b: Any) -> str:
    a, b = w.array(a, n.dtype), w.array(b, n.dtype)
    return w.put("Sqrt", w.put("Add", w.put("Mul", a, a), w.put("Mul", b, b)))


@row(F.leaky_relu)
def leaky_relu(w: Any, n: Node, x: Node, negative_slope: float) -> str:
    return w.put("LeakyRelu", w.array(x, n.dtype), alpha=float(negative_slope))


@row(F.gelu)
def gelu(w: Any, n: Node, x: Node, approximate: str) -> str:
    return w.put("Gelu", w.array(x, n.dtype), approximate=approximate)


@row(F.softplus)
def softplus(w: Any, n: Node, x: Node, beta: float) -> str:
    a = w.put("Mul", w.array(x, n.dtype), w.array(beta, n.dtype))
    return w.put("Div", w.put("Softplus", a), w.array(beta, n.dtype))


@row(astype, "astype")
def cast(w: Any, n: Node, x: Node, dtype: Any) -> str:
    return w.cast(w.array(x), x.dtype, n.dtype)


@row(np.copy, "copy")
def copied(w: Any, n: Node, x: Node, *order: Any, **options: Any) -> str:
    return w.array(x)
