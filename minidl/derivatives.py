"""The derivative table of NumPy's own functions, one line of mathematics each.

A line ``vjp(np.multiply, "a b", a=lambda g, b: g * b, b=lambda g, a: g * a)`` reads: where the
gradient of ``a * b`` is ``g``, the gradient of ``a`` is ``g * b`` and the gradient of ``b`` is
``g * a``. Broadcasting is undone by the walk, so that no line mentions it. In all lines ``g`` is the
gradient of the result, ``y`` the result, ``shape`` the shape of the input that the rule is for.

Functions that are made of others follow below the table, written in those others. The same lines
serve for gradients of gradients: they use only functions that stand in the table themselves.

Where a function has no derivative a line takes a valid subgradient, which is never NaN where a
finite one exists: abs'(0) = 0, norm'(0) = 0, std'(constant) = 0; in a tie, maximum, minimum, max and
min share the gradient equally; clip passes it on at the border itself.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.autograd import vjp
from minidl.tensor import COMPOSED, PLAIN, Tensor, apply, astype, differentiable, plain

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
    a=lambda g, a, b: g * b * a ** _where(b == 0, 1, b - 1),  # b = 0: derivative 0, not 0 * a**-1
    b=lambda g, y, a: g * y * np.log(_where(a == 0, 1, a)),  # a = 0: derivative 0, not 0 * log(0)
)
vjp(np.square, "x", x=lambda g, x: g * (2 * x))
vjp(np.sqrt, "x", x=lambda g, y: g / (2 * y))
vjp(astype, "x dtype", x=lambda g: g)  # the walk gives a gradient the dtype of its input
vjp(np.copy, "a order='K' subok=False", a=lambda g: g)

# --- Exponentials and logarithms ------------------------------------------------------------------

vjp(np.exp, "x", x=lambda g, y: g * y)
vjp(np.exp2, "x", x=lambda g, y: g * y * math.log(2))
vjp(np.expm1, "x", x=lambda g, y: g * (y + 1))
vjp(np.log, "x", x=lambda g, x: g / x)
vjp(np.log2, "x", x=lambda g, x: g / (x * math.log(2)))
vjp(np.log10, "x", x=lambda g, x: g / (x * math.log(10)))
vjp(np.log1p, "x", x=lambda g, x: g / (1 + x))
vjp(np.logaddexp, "a b", a=lambda g, a, b: g * _share(a - b), b=lambda g, a, b: g * _share(b - a))

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

vjp(np.abs, "x", x=lambda g, x: g * np.sign(x))
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


def _share(difference: Any) -> Any:
    """exp(a) / (exp(a) + exp(b)) for a - b, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * difference))


# --- Products of vectors and matrices -------------------------------------------------------------

vjp(
    np.matmul,
    "a b",
    a=lambda g, b, shape: _matmul_a(g, b, len(shape)),  # g @ b.mT
    b=lambda g, a, shape: _matmul_b(g, a, len(shape)),  # a.mT @ g
)


def _matmul_a(g: Any, b: Any, a_ndim: int) -> Any:
    g = _as_matrix(g, a_ndim, b.ndim)
    d = g @ (b[:, None] if b.ndim == 1 else b).mT
    return d[..., 0, :] if a_ndim == 1 else d


def _matmul_b(g: Any, a: Any, b_ndim: int) -> Any:
    g = _as_matrix(g, a.ndim, b_ndim)
    d = (a[None, :] if a.ndim == 1 else a).mT @ g
    return d[..., 0] if b_ndim == 1 else d


def _as_matrix(g: Any, a_ndim: int, b_ndim: int) -> Any:
    """In ``a @ b`` a vector takes part as a row (a) or a column (b); put back the lost axes."""
    if b_ndim == 1:
        g = g[..., None]
    return g[..., None, :] if a_ndim == 1 else g


@differentiable
def _einsum(subscripts: str, a: Any, b: Any) -> Any:
    """einsum of two arrays; each letter stands once in a term and in two terms at least."""
    return np.einsum(subscripts, a, b)


vjp(
    _einsum,
    "subscripts a b",
    a=lambda g, subscripts, b: _einsum(_exchanged(subscripts, 2, 1, 0), g, b),
    b=lambda g, subscripts, a: _einsum(_exchanged(subscripts, 2, 0, 1), g, a),
)


def _exchanged(subscripts: str, *order: int) -> str:
    """The three terms of "a,b->y" in another order."""
    terms = subscripts.replace("->", ",").split(",")
    return "{},{}->{}".format(*(terms[i] for i in order))


# --- Reductions -----------------------------------------------------------------------------------

vjp(
    np.sum,
    "a axis=None dtype=None out=None keepdims=False",
    a=lambda g, shape, axis, keepdims: _spread(g, shape, axis, keepdims),
)
vjp(
    np.mean,
    "a axis=None dtype=None out=None keepdims=False",
    a=lambda g, shape, axis, keepdims: _spread(g / _count(shape, axis), shape, axis, keepdims),
)
vjp(
    np.var,
    "a axis=None dtype=None out=None ddof=0 keepdims=False",
    a=lambda g, a, shape, axis, ddof, keepdims: (
        _spread(g * 2 / (_count(shape, axis) - ddof), shape, axis, keepdims)
        * (a - a.mean(axis=axis, keepdims=True))
    ),
)
vjp(
    np.std,
    "a axis=None dtype=None out=None ddof=0 keepdims=False",
    a=lambda g, a, y, shape, axis, ddof, keepdims: (
        _spread(g / _nonzero(y) / (_count(shape, axis) - ddof), shape, axis, keepdims)
        * (a - a.mean(axis=axis, keepdims=True))
    ),
)
vjp(
    np.max,
    "a axis=None out=None keepdims=False",
    a=lambda g, a, y, shape, axis, keepdims: _to_ties(g, a, y, shape, axis, keepdims),
)
vjp(
    np.min,
    "a axis=None out=None keepdims=False",
    a=lambda g, a, y, shape, axis, keepdims: _to_ties(g, a, y, shape, axis, keepdims),
)


@differentiable
def _norm(x: Any, axis: Any, keepdims: bool) -> Any:
    """The Euclidean norm."""
    return np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims))


vjp(
    _norm,
    "x axis keepdims",
    x=lambda g, x, y, shape, axis, keepdims: _spread(g / _nonzero(y), shape, axis, keepdims) * x,
)
vjp(
    np.cumsum,
    "a axis=None dtype=None out=None",
    a=lambda g, shape, axis: np.flip(np.cumsum(np.flip(g, axis), axis), axis).reshape(shape),
)


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """The axes that ``axis`` means: None is all, negative ones count from the end."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(operator.index(i) % ndim for i in (axis if isinstance(axis, tuple) else (axis,)))


def _spread(g: Any, shape: tuple[int, ...], axis: Any, keepdims: bool) -> Any:
    """Give the gradient of a reduction back to every element that was reduced."""
    if axis is not None and not keepdims:
        axes = _axes(axis, len(shape))
        g = g.reshape(tuple(1 if i in axes else n for i, n in enumerate(shape)))
    elif not keepdims:
        g = g.reshape((1,) * len(shape))
    return np.broadcast_to(g, shape)


def _count(shape: tuple[int, ...], axis: Any) -> int:
    """How many elements a reduction takes together."""
    return math.prod(shape[i] for i in _axes(axis, len(shape)))


def _to_ties(g: Any, a: Any, y: Any, shape: tuple[int, ...], axis: Any, keepdims: bool) -> Any:
    """Give the gradient of an extremum to the elements that attain it, in equal parts."""
    attains = a == _spread(plain(y), shape, axis, keepdims)
    ties = np.sum(attains, axis=None if axis is None else _axes(axis, a.ndim), keepdims=True)
    return np.where(attains, _spread(g, shape, axis, keepdims), 0) / ties.astype(g.dtype)


def _nonzero(y: Any) -> Any:
    """``y`` with 1 in place of 0, where what it divides is zero as well."""
    return np.where(y == 0, 1, y)


# --- Shapes and places ----------------------------------------------------------------------------

vjp(np.reshape, "a shape_ order='C'", a=lambda g, shape, order: np.reshape(g, shape, order))
vjp(np.transpose, "a axes=None", a=lambda g, axes: np.transpose(g, _inverse(axes)))
vjp(np.swapaxes, "a axis1 axis2", a=lambda g, axis1, axis2: np.swapaxes(g, axis1, axis2))
vjp(np.expand_dims, "a axis", a=lambda g, shape: g.reshape(shape))
vjp(np.squeeze, "a axis=None", a=lambda g, shape: g.reshape(shape))
vjp(np.broadcast_to, "array shape_ subok=False", array=lambda g: g)  # the walk sums it back
vjp(np.flip, "m axis=None", m=lambda g, axis: np.flip(g, axis))
vjp(np.roll, "a shift axis=None", a=lambda g, shift, axis: np.roll(g, np.negative(shift), axis))
vjp(np.tril, "m k=0", m=lambda g, k: np.tril(g, k))
vjp(np.triu, "m k=0", m=lambda g, k: np.triu(g, k))
vjp(operator.getitem, "a index", a=lambda g, index, shape: _place(g, index, shape))


@differentiable
def _place(a: Any, index: Any, whole: tuple[int, ...]) -> Any:
    """Zeros of shape ``whole`` with ``a`` added at ``index``: the way back of indexing."""
    y = np.zeros(whole, a.dtype)
    if _takes_once(index):
        y[index] = a
    else:
        np.add.at(y, index, a)  # an element that was taken twice gets both gradients
    return y


vjp(_place, "a index whole", a=lambda g, index: g[index])


def _takes_once(index: Any) -> bool:
    """Whether an index takes no element twice: integer arrays may, all else does not."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None
        or isinstance(part, slice | int | np.integer | type(...))
        or (isinstance(part, np.ndarray) and part.dtype == np.bool_)
        for part in parts
    )


def _inverse(axes: Sequence[int] | None) -> Any:
    """The order of axes that undoes ``axes``."""
    return None if axes is None else tuple(np.argsort([i % len(axes) for i in axes]))


@functools.cache
def _concatenation(n: int) -> Callable[..., Any]:
    """The function that concatenates n arrays, with a rule for each: its own part of g."""

    def concatenate(*arrays_axis_starts: Any) -> Any:
        return np.concatenate(arrays_axis_starts[:n], arrays_axis_starts[n])

    def part(i: int) -> Callable[..., Any]:
        def rule(g: Any, shape: tuple[int, ...], axis: int, starts: list[int]) -> Any:
            where = slice(starts[i], starts[i] + shape[axis])
            return g[(slice(None),) * (axis % len(shape)) + (where,)]

        return rule

    names = [f"array{i}" for i in range(n)]
    rules: dict[str, Any] = {name: part(i) for i, name in enumerate(names)}
    vjp(concatenate, " ".join([*names, "axis", "starts"]), **rules)
    return concatenate


# --- Functions made of others ---------------------------------------------------------------------


def composed(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a function as the way to compute NumPy's ``function`` on Tensors."""

    def enter(made_of_others: Callable[..., Any]) -> Callable[..., Any]:
        COMPOSED[function] = made_of_others
        return made_of_others

    return enter


@composed(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = a_min if min is None else min, a_max if max is None else max
    if low is None and high is None:
        raise ValueError("np.clip needs a minimum or a maximum")
    y = a
    if low is not None:
        y = np.where(plain(y) < plain(low), low, y)
    if high is not None:
        y = np.where(plain(y) > plain(high), high, y)
    return y


@composed(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    return np.reshape(a, -1, order)  # type: ignore[call-overload]


@composed(np.matrix_transpose)
def matrix_transpose(x: Any) -> Any:
    return np.swapaxes(x, -1, -2)


@composed(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    sources = _axes(_as_tuple(source), a.ndim)
    order = [i for i in range(a.ndim) if i not in sources]
    for place, i in sorted(zip(_axes(_as_tuple(destination), a.ndim), sources, strict=True)):
        order.insert(place, i)
    return np.transpose(a, order)


@composed(np.concatenate)
def concatenate(arrays: Sequence[Any], axis: int | None = 0) -> Any:
    arrays = list(arrays)
    if axis is None:
        arrays, axis = [np.reshape(a, -1) for a in arrays], 0
    sizes = [np.shape(plain(a))[axis] if np.ndim(plain(a)) > axis else 0 for a in arrays]
    starts = [0, *np.cumsum(sizes).tolist()]
    return apply(_concatenation(len(arrays)), *arrays, axis, starts)


@composed(np.stack)
def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    shapes = {np.shape(plain(a)) for a in arrays}
    if len(shapes) != 1:
        raise ValueError(f"np.stack takes arrays of one shape, not of {sorted(shapes)}")
    return np.concatenate([np.expand_dims(a, axis) for a in arrays], axis)


@composed(np.vstack)
def vstack(arrays: Sequence[Any]) -> Any:
    return np.concatenate([np.reshape(a, (1, -1)) if a.ndim < 2 else a for a in arrays], 0)


@composed(np.hstack)
def hstack(arrays: Sequence[Any]) -> Any:
    arrays = [np.reshape(a, -1) if a.ndim == 0 else a for a in arrays]
    return np.concatenate(arrays, 0 if arrays[0].ndim == 1 else 1)


@composed(np.split)
def split(a: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    n = a.shape[axis]
    if np.ndim(indices_or_sections) == 0:
        if n % indices_or_sections:
            raise ValueError(f"np.split: {n} elements do not divide into {indices_or_sections}")
        indices_or_sections = range(0, n, n // indices_or_sections)[1:]
    edges = [0, *indices_or_sections, n]
    before = (slice(None),) * (axis % a.ndim)
    return [
        a[(*before, slice(i, j))] for i, j in zip(edges, [*edges[1:-1], None], strict=False)
    ]


@composed(np.repeat)
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    n = a.size if axis is None else a.shape[axis]
    return np.take(a, np.repeat(np.arange(n), plain(repeats)), axis)


@composed(np.tile)
def tile(A: Any, reps: Any) -> Any:
    reps = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    shape = (1,) * (len(reps) - A.ndim) + A.shape
    reps = (1,) * (len(shape) - len(reps)) + reps
    pairs = [(r, n) for r, n in zip(reps, shape, strict=True)]
    a = np.reshape(A, [m for _, n in pairs for m in (1, n)])
    a = np.broadcast_to(a, [m for pair in pairs for m in pair])
    return np.reshape(a, [r * n for r, n in pairs])


@composed(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", **kwargs: Any) -> Any:
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap") or "reflect_type" in kwargs:
        raise TypeError(f"np.pad with mode={mode!r} is not differentiable in minidl")
    whole = np.pad(array.data, pad_width, mode, **kwargs)  # type: ignore[call-overload]
    widths = np.broadcast_to(np.asarray(pad_width), (array.ndim, 2))
    if mode == "constant":
        inside = tuple(slice(b, b + n) for (b, _), n in zip(widths, array.shape, strict=True))
        whole[inside] = 0
        return _place(array, inside, whole.shape) + whole
    for axis, (width, n) in enumerate(zip(widths, array.shape, strict=True)):
        array = np.take(array, np.pad(np.arange(n), width, mode, **kwargs), axis)  # type: ignore[call-overload]
    return array


@composed(np.diagonal)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    a = np.moveaxis(a, (axis1, axis2), (-2, -1))
    rows, columns = a.shape[-2:]
    i = np.arange(max(0, min(rows + min(offset, 0), columns - max(offset, 0))))
    return a[..., i + max(0, -offset), i + max(0, offset)]


@composed(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return np.diagonal(a, offset, axis1, axis2).sum(axis=-1)


@composed(np.take)
def take(a: Any, indices: Any, axis: int | None = None, out: None = None, mode: str = "raise") -> Any:
    if out is not None:
        raise TypeError("np.take with out= would write past the graph: use its result instead")
    a, axis = (np.reshape(a, -1), 0) if axis is None else (a, axis)
    indices = np.asarray(plain(indices))
    if mode == "wrap":
        indices = indices % a.shape[axis]
    elif mode == "clip":
        indices = np.clip(indices, 0, a.shape[axis] - 1)
    return a[(slice(None),) * (axis % a.ndim) + (indices,)]


@composed(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    arr, axis = (np.reshape(arr, -1), 0) if axis is None else (arr, axis % arr.ndim)
    indices = plain(indices)
    index = list(np.ogrid[tuple(slice(n) for n in arr.shape)])
    index[axis] = indices
    return arr[tuple(index)]


@composed(np.prod)
def prod(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False) -> Any:
    """Halves multiplied with halves: right also where elements are zero, to any order."""
    if dtype is not None or out is not None:
        raise TypeError("np.prod on a Tensor takes (a, axis, keepdims), not dtype= or out=")
    axes = _axes(axis, a.ndim)
    rest = [i for i in range(a.ndim) if i not in axes]
    kept = [1 if i in axes else n for i, n in enumerate(a.shape)]
    y = np.transpose(a, [*axes, *rest])
    y = np.reshape(y, [math.prod(a.shape[i] for i in axes), *(a.shape[i] for i in rest)])
    while len(y) > 1:
        half = len(y) // 2
        product = y[:half] * y[half : 2 * half]
        y = np.concatenate([product, y[2 * half :]]) if len(y) % 2 else product
    y = y[0] if len(y) else np.ones(y.shape[1:], y.dtype) + y.sum(axis=0)
    return np.reshape(y, kept) if keepdims else y


@composed(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    is_vector = (x.ndim == 1) if axis is None else np.ndim(axis) == 0
    if ord is None or (ord == 2 and is_vector) or (ord == "fro" and not is_vector):
        return _norm(x, axis, keepdims)
    if is_vector and ord == 1:
        return np.sum(np.abs(x), axis, keepdims=keepdims)
    if is_vector and ord in (math.inf, -math.inf):
        return (np.max if ord > 0 else np.min)(np.abs(x), axis, keepdims=keepdims)
    if is_vector and isinstance(ord, int | float) and ord > 0:
        return np.sum(np.abs(x) ** ord, axis, keepdims=keepdims) ** (1 / ord)
    raise TypeError(
        f"np.linalg.norm with ord={ord!r} is not differentiable in minidl: there are None and 'fro' "
        f"(the root of the sum of squares) and, for vectors, inf and numbers above 0"
    )


@composed(np.outer)
def outer(a: Any, b: Any) -> Any:
    return np.reshape(a, (-1, 1)) * np.reshape(b, (1, -1))


@composed(np.dot)
def dot(a: Any, b: Any) -> Any:
    a_ndim, b_ndim = np.ndim(plain(a)), np.ndim(plain(b))
    if a_ndim == 0 or b_ndim == 0:
        return a * b
    if b_ndim <= 2:
        return np.matmul(a, b)
    return np.tensordot(a, b, axes=(-1, -2))


@composed(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    a_ndim, b_ndim = np.ndim(plain(a)), np.ndim(plain(b))
    if np.ndim(axes) == 0:
        over_a, over_b = tuple(range(a_ndim - axes, a_ndim)), tuple(range(axes))
    else:
        over_a, over_b = _axes(_as_tuple(axes[0]), a_ndim), _axes(_as_tuple(axes[1]), b_ndim)
    rest_a = [i for i in range(a_ndim) if i not in over_a]
    rest_b = [i for i in range(b_ndim) if i not in over_b]
    a_shape, b_shape = np.shape(plain(a)), np.shape(plain(b))
    if [a_shape[i] for i in over_a] != [b_shape[i] for i in over_b]:
        raise ValueError(f"np.tensordot: shapes {a_shape} and {b_shape} differ along {axes}")
    n = math.prod(a_shape[i] for i in over_a)
    a = np.reshape(np.transpose(a, [*rest_a, *over_a]), (-1, n) if n else (0, 0))
    b = np.reshape(np.transpose(b, [*over_b, *rest_b]), (n, -1))
    return np.reshape(a @ b, [a_shape[i] for i in rest_a] + [b_shape[i] for i in rest_b])


def _as_tuple(axes: Any) -> tuple[int, ...]:
    return (axes,) if np.ndim(axes) == 0 else tuple(axes)


@composed(np.einsum)
def einsum(subscripts: str, *operands: Any, optimize: Any = False) -> Any:
    """Products of two arrays at a time, after each array has lost what only it has."""
    if not isinstance(subscripts, str):
        raise TypeError("np.einsum on Tensors takes its subscripts as a string, such as 'ij,jk'")
    terms, result = _einsum_terms(subscripts, [np.ndim(plain(x)) for x in operands])
    arrays = list(operands)
    while True:
        first = arrays.pop(0)
        term = terms.pop(0)
        first, term = _einsum_alone(first, term, set(result).union(*terms))
        if not arrays:
            order = [term.index(letter) for letter in result]
            return np.transpose(first, order)
        second, other = _einsum_alone(arrays.pop(0), terms.pop(0), set(result + term).union(*terms))
        needed = set(result).union(*terms)
        kept = "".join(
            letter for letter in dict.fromkeys(term + other) if letter in needed
        )
        arrays.insert(0, _einsum(f"{term},{other}->{kept}", first, second))
        terms.insert(0, kept)


def _einsum_alone(a: Any, term: str, needed: set[str]) -> tuple[Any, str]:
    """Take diagonals where a letter repeats, and sum over letters that nobody else has."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            i = term.index(letter)
            j = term.index(letter, i + 1)
            a = np.diagonal(a, 0, i, j)
            term = term[:i] + term[i + 1 : j] + term[j + 1 :] + letter
    axes = tuple(i for i, letter in enumerate(term) if letter not in needed)
    if axes:
        a = np.sum(a, axes)
    return a, "".join(letter for letter in term if letter in needed)


def _einsum_terms(subscripts: str, ndims: list[int]) -> tuple[list[str], str]:
    """The terms of an einsum and its result, with letters in place of ellipses."""
    given, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = given.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"np.einsum: {subscripts!r} is for {len(terms)} arrays, not {len(ndims)}")
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in subscripts]
    if not arrow:
        letters = given.replace(",", "").replace(".", "")
        result = "..." if "..." in given else ""
        result += "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    spans = [n - len(t) + 3 if "..." in t else 0 for t, n in zip(terms, ndims, strict=True)]
    widest = "".join(free[: max(spans)])
    terms = [
        t.replace("...", widest[len(widest) - k :]) for t, k in zip(terms, spans, strict=True)
    ]
    for term, n in zip(terms, ndims, strict=True):
        if len(term) != n:
            raise ValueError(f"np.einsum: {subscripts!r} does not fit an array of {n} axes")
    return terms, result.replace("...", widest)


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
