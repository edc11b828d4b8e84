"""The derivative table of NumPy's own functions, one line of mathematics each.

A line ``vjp(np.multiply, "a b", a=lambda g, b: g * b, b=lambda g, a: g * a)`` reads: where the
gradient of ``a * b`` is ``g``, the gradient of ``a`` is ``g * b`` and the gradient of ``b`` is
``g * a``. Broadcasting is undone by the walk, so that no line mentions it. In all lines ``g`` is
the gradient of the result, ``y`` the result, ``shape`` the shape of the input the rule is for.

Functions of NumPy that are made of others stand in compositions.py. The same lines serve for
gradients of gradients: they use only functions that are differentiable themselves.

Where a function has no derivative a line takes a valid subgradient, which is never NaN where a
finite one exists: abs'(0) = 0, norm'(0) = 0, std'(constant) = 0; in a tie, maximum, minimum, max
and min share the gradient equally; clip passes it on at the border itself.

Second derivatives are those of the same lines. At the kink of a piecewise linear function they are
those of the pieces, 0. Where the slope is a middle (abs at 0) or no slope is near (norm at 0, std
of a constant), there is no second derivative, and whatever is made of it gives NaN: also what is
smooth, such as the square of a norm, for which sums of squares and var are the way.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from minidl.arrays import as_array
from minidl.methods import astype
from minidl.protocols import PLAIN, plain
from minidl.table import Parameters, vjp
from minidl.tensor import differentiable

# --- Half precision -------------------------------------------------------------------------------


def wide(x: Any) -> Any:
    """``x``, in float32 if it came in float16."""
    return x.astype(np.float32) if x.dtype.char == "e" else x


def in_single(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of an array compute in float32 what it is given in float16.

    With eleven bits, ones add up to 2048 and no further, which is how NumPy adds along all axes but
    the last; and the square of 256 does not fit. Gradients are in float32 anyway (see Node).
    """

    @functools.wraps(function)
    def forward(x: Any, *args: Any, **kwargs: Any) -> Any:
        dtype = getattr(x, "dtype", None)
        if dtype is None or dtype.char != "e":
            return function(x, *args, **kwargs)
        return function(x.astype(np.float32), *args, **kwargs).astype(dtype)

    return forward


# --- Arithmetic -----------------------------------------------------------------------------------

vjp(np.add, "a b", a=lambda g: g, b=lambda g: g)
vjp(np.subtract, "a b", a=lambda g: g, b=lambda g: -g)
vjp(np.multiply, "a b", a=lambda g, b: g * b, b=lambda g, a: g * a)
vjp(np.divide, "a b", a=lambda g, b: g / b, b=lambda g, y, b: -g * y / b)
vjp(np.negative, "x", x=lambda g: -g)
vjp(np.positive, "x", x=lambda g: g)
vjp(np.reciprocal, "x", x=lambda g, y: -g * y * y)
vjp(
    np.power,
    "a b",
    a=lambda g, a, b: g * b * a ** _lowered(b, a),
    b=lambda g, y, a: g * y * np.log(_where(a == 0, 1, a)),  # a = 0: derivative 0, not 0 * log(0)
)
vjp(np.square, "x", x=lambda g, x: 2 * g * x)
vjp(np.sqrt, "x", x=lambda g, y: g / (2 * y))
vjp(
    astype, "x dtype", forward=astype, x=lambda g: g
)  # the walk gives a gradient the dtype of its input
vjp(np.copy, "a order='K' subok=False", a=lambda g: g)

# --- Exponentials and logarithms ------------------------------------------------------------------

vjp(np.exp, "x", x=lambda g, y: g * y)
vjp(np.exp2, "x", x=lambda g, y: g * y * math.log(2))
vjp(np.expm1, "x", x=lambda g, y: g * (y + 1))
vjp(np.log, "x", x=lambda g, x: g / x)
vjp(np.log2, "x", x=lambda g, x: g / (x * math.log(2)))
vjp(np.log10, "x", x=lambda g, x: g / (x * math.log(10)))
vjp(np.log1p, "x", x=lambda g, x: g / (1 + x))
vjp(np.logaddexp, "a b", a=lambda g, a, b: g * _share(a, b), b=lambda g, a, b: g * _share(b, a))

# --- Trigonometric and hyperbolic functions -------------------------------------------------------

vjp(np.sin, "x", x=lambda g, x: g * np.cos(x))
vjp(np.cos, "x", x=lambda g, x: -g * np.sin(x))
vjp(np.tan, "x", x=lambda g, y: g * (1 + y * y))
vjp(np.arcsin, "x", x=lambda g, x: g / np.sqrt(1 - x * x))
vjp(np.arccos, "x", x=lambda g, x: -g / np.sqrt(1 - x * x))
vjp(np.arctan, "x", x=lambda g, x: g / (1 + x * x))
vjp(np.sinh, "x", x=lambda g, x: g * np.cosh(x))
vjp(np.cosh, "x", x=lambda g, x: g * np.sinh(x))
vjp(np.tanh, "x", x=lambda g, y: g * (1 - y * y))

# --- Choices --------------------------------------------------------------------------------------

vjp(np.abs, "x", x=lambda g, x: g * sign(x))
vjp(
    np.maximum,
    "a b",
    a=lambda g, a, b: np.where(a > b, g, np.where(a == b, g / 2, 0)),
    b=lambda g, a, b: np.where(b > a, g, np.where(a == b, g / 2, 0)),
)
vjp(
    np.minimum,
    "a b",
    a=lambda g, a, b: np.where(a < b, g, np.where(a == b, g / 2, 0)),
    b=lambda g, a, b: np.where(b < a, g, np.where(a == b, g / 2, 0)),
)
vjp(
    np.where,
    "condition a b",
    a=lambda g, condition: np.where(condition, g, 0),
    b=lambda g, condition: np.where(condition, 0, g),
)


def _where(condition: Any, a: Any, b: Any) -> Any:
    """np.where that leaves Python numbers what they are: an array of them would be float64."""
    return (a if condition else b) if isinstance(condition, bool) else np.where(condition, a, b)


def _lowered(b: Any, a: Any) -> Any:
    """``b - 1``, but 0 where b = 0 and 1 / a overflows: the derivative is 0 there, not 0 * inf."""
    if isinstance(b, int | float):
        return b - 1 if b else 0
    return np.where((b == 0) & np.isinf(np.reciprocal(plain(a))), 0, b - 1)


def _share(a: Any, b: Any) -> Any:
    """exp(a) / (exp(a) + exp(b)), without overflow; of infinite ones as logsumexp has it: equal
    ones share, and -inf has none."""
    p, q = plain(a), plain(b)
    difference = np.where(np.isinf(p) & (p == q), 0, a - b)
    return np.where(p == -math.inf, 0, 0.5 * (1 + np.tanh(0.5 * difference)))


@differentiable
def sign(x: Any) -> Any:
    """-1, 0 or 1: the slope of abs, which jumps at 0 and has no derivative there."""
    return np.sign(x)


vjp(sign, "x", x=lambda g, x: g * np.where(x == 0, math.nan, 0).astype(g.dtype))


@differentiable
def over(a: Any, b: Any) -> Any:
    """``a / b`` with b = 0 taken as 1, for the slopes of norms there; its derivatives are NaN."""
    return a / np.where(b == 0, 1, b)


vjp(over, "a b", a=lambda g, b: g / b, b=lambda g, y, b: -g * y / b)


@differentiable
def abs_power(x: Any, p: float) -> Any:
    """``abs(x) ** p``."""
    return np.abs(x) ** p


@differentiable
def signed_power(x: Any, p: float) -> Any:
    """``sign(x) * abs(x) ** p``, and 0 at 0 for any p: the slope of ``abs(x) ** (p + 1)``."""
    return np.where(x == 0, 0, np.sign(x) * np.abs(x) ** p)


vjp(abs_power, "x p", x=lambda g, x, p: g * p * signed_power(x, p - 1))
vjp(signed_power, "x p", x=lambda g, x, p: g * p * abs_power(x, p - 1))


# --- Products of vectors and matrices -------------------------------------------------------------

vjp(
    np.matmul,
    "a b",
    a=lambda g, b, shape: _matmul_a(g, b, len(shape)),  # g @ b.mT
    b=lambda g, a, shape: _matmul_b(g, a, len(shape)),  # a.mT @ g
)


def _matmul_a(g: Any, b: Any, a_ndim: int) -> Any:
    if a_ndim > b.ndim == 2:
        return (as_rows(g) @ b.T).reshape(*g.shape[:-1], len(b))
    g = _as_matrix(g, a_ndim, b.ndim)
    d = g @ (b[:, None] if b.ndim == 1 else b).mT
    return d[..., 0, :] if a_ndim == 1 else d


def _matmul_b(g: Any, a: Any, b_ndim: int) -> Any:
    if a.ndim > b_ndim == 2:  # one product, not a matrix for each of the first axes
        return as_rows(a).T @ as_rows(g)
    g = _as_matrix(g, a.ndim, b_ndim)
    d = (a[None, :] if a.ndim == 1 else a).mT @ g
    return d[..., 0] if b_ndim == 1 else d


def as_rows(x: Any) -> Any:
    """All but the last axis as one: (..., K) to (N, K)."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _as_matrix(g: Any, a_ndim: int, b_ndim: int) -> Any:
    """In ``a @ b`` a vector takes part as a row (a) or a column (b); put back the lost axes."""
    if b_ndim == 1:
        g = g[..., None]
    return g[..., None, :] if a_ndim == 1 else g


@differentiable
def einsum(subscripts: str, a: Any, b: Any) -> Any:
    """einsum of two arrays; each letter stands once in a term and in two terms at least."""
    y = np.einsum(subscripts, wide(a), wide(b), optimize=True)  # a product of matrices if it can
    return y.astype(np.result_type(a, b), copy=False)


vjp(
    einsum,
    "subscripts a b",
    a=lambda g, subscripts, b: einsum(_exchanged(subscripts, 2, 1, 0), g, b),
    b=lambda g, subscripts, a: einsum(_exchanged(subscripts, 2, 0, 1), g, a),
)


def _exchanged(subscripts: str, *order: int) -> str:
    """The three terms of "a,b->y" in another order."""
    terms = subscripts.replace("->", ",").split(",")
    return "{},{}->{}".format(*(terms[i] for i in order))


# --- Reductions -----------------------------------------------------------------------------------


def _careful(function: Callable[..., Any], takes_none: bool = False) -> Callable[..., Any]:
    """A sum that adds float16 in float32, and a mean or variance of too few elements that raises,
    where NumPy warns and returns NaN."""

    def forward(a: Any, axis: Any, dtype: Any, out: Any, *options: Any) -> Any:
        ddof = options[0] if function in (np.var, np.std) else 0
        if not takes_none and (ddof or not a.size) and _count(a.shape, axis) <= ddof:
            raise ValueError(
                f"it takes more than {ddof} elements, and there are {_count(a.shape, axis)} along "
                f"axis {axis}: skip empty batches" + (", or lower ddof" if ddof else "")
            )
        if dtype is None and a.dtype.char == "e":
            return function(a, axis, np.float32, out, *options).astype(a.dtype)
        return function(a, axis, dtype, out, *options)

    return forward


def _sum(a: Any, axis: Any, dtype: Any, out: Any, keepdims: Any, initial: Any, where: Any) -> Any:
    if initial is None and where is True:
        return _added(a, axis, dtype, out, keepdims)
    return _added(a, axis, dtype, out, keepdims, **_given(initial, where))


_added: Any = np.add.reduce


def _given(initial: Any, where: Any) -> dict[str, Any]:
    """The options of a reduction that are not NumPy's defaults."""
    options = {} if initial is None else {"initial": initial}
    return options if where is True else options | {"where": where}


vjp(
    np.sum,
    "a axis=None dtype=None out=None keepdims=False initial=None where=True",
    forward=_careful(_sum, takes_none=True),
    a=lambda g, shape, axis, where: _chosen(spread(g, shape, axis), where),
)
vjp(
    np.mean,
    "a axis=None dtype=None out=None keepdims=False",
    forward=_careful(np.mean),
    a=lambda g, shape, axis: spread(g * _share_of(shape, axis), shape, axis),
)
vjp(
    np.var,
    "a axis=None dtype=None out=None ddof=0 keepdims=False",
    forward=_careful(np.var),
    a=lambda g, a, shape, axis, ddof: (
        spread(g * 2 / (_count(shape, axis) - ddof), shape, axis)
        * (wide(a) - wide(a).mean(axis=axis, keepdims=True))
    ),
)
vjp(
    np.std,
    "a axis=None dtype=None out=None ddof=0 keepdims=False",
    forward=_careful(np.std),
    a=lambda g, a, y, shape, axis, ddof: (
        spread(over(g, y) / (_count(shape, axis) - ddof), shape, axis)
        * (wide(a) - wide(a).mean(axis=axis, keepdims=True))
    ),
)


def _max(a: Any, axis: Any, out: Any, keepdims: Any, initial: Any, where: Any) -> Any:
    if initial is None and where is True:
        return np.max(a, axis, out, keepdims)
    return np.max(a, axis, out, keepdims, **_given(initial, where))


def _min(a: Any, axis: Any, out: Any, keepdims: Any, initial: Any, where: Any) -> Any:
    if initial is None and where is True:
        return np.min(a, axis, out, keepdims)
    return np.min(a, axis, out, keepdims, **_given(initial, where))


vjp(
    np.max,
    "a axis=None out=None keepdims=False initial=None where=True",
    forward=_max,
    a=lambda g, a, y, axis, initial, where: _to_ties(g, a, y, axis, initial, where),
)
vjp(
    np.min,
    "a axis=None out=None keepdims=False initial=None where=True",
    forward=_min,
    a=lambda g, a, y, axis, initial, where: _to_ties(g, a, y, axis, initial, where),
)


@differentiable
@np.errstate(under="ignore")
@in_single
def norm(x: Any, ord: float, axis: Any, keepdims: bool) -> Any:
    """``sum(abs(x) ** ord) ** (1 / ord)``, computed on the scale of the largest element: its power
    may overflow, or vanish. For squares the scale is a power of two, so that it rounds nothing."""
    largest = np.max(np.abs(x), axis, keepdims=True, initial=0)
    if ord == 2:
        scale = np.frexp(largest)[1]
        squares = np.square(np.ldexp(x, -scale))
        y = np.ldexp(np.sqrt(np.sum(squares, axis, keepdims=True)), scale)
    else:
        scale = np.where((largest > 0) & (largest < math.inf), largest, 1)
        powers = np.abs(x / scale) ** ord
        y = scale * np.sum(powers, axis, keepdims=True) ** (1 / ord)
    return y if keepdims else np.squeeze(y, axis)


vjp(
    norm,
    "x ord axis keepdims",
    x=lambda g, x, y, ord, shape, axis: (
        spread(g, shape, axis) * _slope_of_norm(over(x, _kept(y, shape, axis)), ord)
    ),
)


def _slope_of_norm(part: Any, ord: float) -> Any:
    """The derivative of a norm by an element that is ``part`` of it."""
    return part if ord == 2 else signed_power(part, ord - 1)


vjp(
    np.cumsum,
    "a axis=None dtype=None out=None",
    forward=_careful(np.cumsum, takes_none=True),
    a=lambda g, shape, axis: np.flip(np.cumsum(np.flip(g, axis), axis), axis).reshape(shape),
)


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """The axes that ``axis`` means: None is all, negative ones count from the end."""
    if axis is None or (ndim == 0 and axis in (0, -1)):  # NumPy reduces a number so as well
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(normalize_axis_index(operator.index(i), ndim) for i in given)
    if len(set(axes)) < len(axes):
        raise ValueError(f"axes {axis} name one axis twice")
    return axes


def spread(g: Any, shape: tuple[int, ...], axis: Any) -> Any:
    """Give the gradient of a reduction back to every element that was reduced."""
    return np.broadcast_to(_kept(g, shape, axis), shape)


def _kept(g: Any, shape: tuple[int, ...], axis: Any) -> Any:
    """The result of a reduction with the axes that it lost, if it did, of length one."""
    if axis is None:
        return g.reshape((1,) * len(shape))
    axes = axes_of(axis, len(shape))
    return g.reshape(tuple(1 if i in axes else n for i, n in enumerate(shape)))


def _share_of(shape: tuple[int, ...], axis: Any) -> float:
    """1 / _count, and 1 for nothing."""
    return 1 / max(_count(shape, axis), 1)


def _chosen(d: Any, where: Any) -> Any:
    """The gradient of the elements that a sum took, 0 for the others."""
    return d if where is True else np.where(where, d, 0)


def _count(shape: tuple[int, ...], axis: Any) -> int:
    """How many elements a reduction takes together."""
    return math.prod(shape[i] for i in axes_of(axis, len(shape)))


def _to_ties(g: Any, a: Any, y: Any, axis: Any, initial: Any, where: Any) -> Any:
    """Give the gradient of an extremum to the elements that attain it, in equal parts; where
    ``initial`` attains it too, it takes its part."""
    attains = a == spread(plain(y), a.shape, axis)
    if where is not True:
        attains = np.logical_and(attains, where)
    ties = np.sum(attains, axis=None if axis is None else axes_of(axis, a.ndim), keepdims=True)
    if initial is not None:
        ties = ties + (_kept(plain(y), a.shape, axis) == initial)
    return np.where(attains, spread(g, a.shape, axis), 0) / ties.astype(g.dtype)


# --- Shapes and places ----------------------------------------------------------------------------

_SHAPE = Parameters(np.reshape).names[1]  # "shape", and "newshape" before NumPy 2.1
vjp(
    np.reshape,
    f"a {'shape_' if _SHAPE == 'shape' else _SHAPE} order='C'",
    a=lambda g, shape, order: np.reshape(g, shape, order),
)
vjp(np.transpose, "a axes=None", a=lambda g, axes: np.transpose(g, _inverse(axes)))
vjp(np.swapaxes, "a axis1 axis2", a=lambda g, axis1, axis2: np.swapaxes(g, axis1, axis2))
vjp(np.expand_dims, "a axis", a=lambda g, shape: g.reshape(shape))
vjp(np.squeeze, "a axis=None", a=lambda g, shape: g.reshape(shape))
vjp(np.broadcast_to, "array shape_ subok=False", array=lambda g: g)  # the walk sums it back
vjp(np.flip, "m axis=None", m=lambda g, axis: np.flip(g, axis))
vjp(np.roll, "a shift axis=None", a=lambda g, shift, axis: np.roll(g, _back(shift), axis))
vjp(np.tril, "m k=0", m=lambda g, k: np.tril(g, k))
vjp(np.triu, "m k=0", m=lambda g, k: np.triu(g, k))
vjp(
    operator.getitem,
    "a index",
    forward=operator.getitem,
    a=lambda g, index, shape: place(g, index, shape),
)


@differentiable
def place(a: Any, index: Any, whole: tuple[int, ...]) -> Any:
    """Zeros of shape ``whole`` with ``a`` added at ``index``: the way back of indexing."""
    if _takes_once(index):
        y = np.zeros_like(a, shape=whole)
        y[index] = a
        return y
    y = np.zeros_like(a, shape=math.prod(whole))
    places = _in_one_axis(index, whole)
    if places is None:
        np.add.at(y.reshape(whole), index, a)  # what was taken twice gets both gradients
    else:  # numbers at places of one axis NumPy adds five times faster
        np.add.at(y, places.reshape(-1), a.reshape(-1))
    return y.reshape(whole)


vjp(place, "a index whole", a=lambda g, index: g[index])


def _takes_once(index: Any) -> bool:
    """Whether an index takes no element twice: integer arrays may, all else does not."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None
        or isinstance(part, slice | int | np.integer | type(...))
        or (isinstance(part, np.ndarray) and part.dtype == np.bool_)
        for part in parts
    )


def _in_one_axis(index: Any, whole: tuple[int, ...]) -> Any:
    """Where integers, behind whole axes or not, lead to in an array of shape ``whole`` that is laid
    out as one axis: an array of the shape of what they take. None for any other index."""
    parts = index if isinstance(index, tuple) else (index,)
    first = 0
    while isinstance(parts[first], slice) and parts[first] == slice(None):
        first += 1
    numbers = [as_array(part) for part in parts[first:]]
    if any(part.dtype.kind not in "iu" for part in numbers):
        return None
    row: Any = 0
    for part, n in zip(numbers, whole[first:], strict=False):
        row = row * n + np.where(part < 0, part + n, part)
    before = np.arange(math.prod(whole[:first])).reshape(whole[:first] + (1,) * (row.ndim + 1))
    length, behind = math.prod(whole[first:]), whole[len(parts) :]
    row = (row * math.prod(behind))[..., None] + np.arange(math.prod(behind))
    return before * length + row


def _inverse(axes: Sequence[int] | int | None) -> Any:
    """The order of axes that undoes ``axes``."""
    if axes is None:
        return None
    order = np.atleast_1d(axes)
    return tuple(np.argsort(order % order.size).tolist())


def _back(shift: Any) -> Any:
    """The shifts that undo ``shift``; integers without a sign have no negative."""
    return np.negative(np.asarray(shift).astype(int))


# --- Functions without a useful derivative --------------------------------------------------------

PLAIN.update(
    [
        np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal,
        np.logical_and, np.logical_or, np.logical_not, np.logical_xor,
        np.isnan, np.isinf, np.isfinite, np.sign, np.signbit,
        np.floor, np.ceil, np.rint, np.trunc, np.round, np.floor_divide, np.remainder,
        np.argmax, np.argmin, np.argsort, np.nonzero, np.flatnonzero, np.argwhere,
        np.count_nonzero, np.searchsorted, np.unique, np.bincount,
        np.all, np.any, np.array_equal, np.allclose, np.isclose,
        np.shape, np.ndim, np.size, np.result_type, np.may_share_memory, np.shares_memory,
        np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.array2string,
    ]
)  # fmt: skip
