"""NumPy's functions that need no rule of their own, because they are made of others.

Each is entered in the table of compositions by :func:`composed`; a call of NumPy's function on a
Tensor runs the version here, which uses differentiable functions only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.autograd import vjp
from minidl.derivatives import _axes, _einsum, _norm, _place
from minidl.tensor import COMPOSED, apply, plain


def composed(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a function as the way to compute NumPy's ``function`` on Tensors."""

    def enter(made_of_others: Callable[..., Any]) -> Callable[..., Any]:
        COMPOSED[function] = made_of_others
        return made_of_others

    return enter


# --- Shapes and places ----------------------------------------------------------------------------


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
def vstack(tup: Sequence[Any]) -> Any:
    return np.concatenate([np.reshape(a, (1, -1)) if a.ndim < 2 else a for a in tup], 0)


@composed(np.hstack)
def hstack(tup: Sequence[Any]) -> Any:
    arrays = [np.reshape(a, -1) if a.ndim == 0 else a for a in tup]
    return np.concatenate(arrays, 0 if arrays[0].ndim == 1 else 1)


@composed(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    n = ary.shape[axis]
    if np.ndim(indices_or_sections) == 0:
        if n % indices_or_sections:
            raise ValueError(f"np.split: {n} elements do not divide into {indices_or_sections}")
        length = n // indices_or_sections
        indices_or_sections = [i * length for i in range(1, indices_or_sections)]
    edges = [0, *indices_or_sections, n]
    before = (slice(None),) * (axis % ary.ndim)
    return [ary[(*before, slice(i, j))] for i, j in zip(edges, [*edges[1:-1], None], strict=False)]


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
def take(
    a: Any, indices: Any, axis: int | None = None, out: None = None, mode: str = "raise"
) -> Any:
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
def prod(
    a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False
) -> Any:
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
        return _norm(x, 2, axis, keepdims)
    if is_vector and ord == 1:
        return np.sum(np.abs(x), axis, keepdims=keepdims)
    if is_vector and ord in (math.inf, -math.inf):
        return (np.max if ord > 0 else np.min)(np.abs(x), axis, keepdims=keepdims)
    if is_vector and isinstance(ord, int | float) and ord > 0:
        return _norm(x, float(ord), axis, keepdims)
    raise TypeError(
        f"np.linalg.norm with ord={ord!r} is not differentiable in minidl: None and 'fro' are "
        f"(the root of the sum of squares), and for vectors also inf and numbers above 0"
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
        kept = "".join(letter for letter in dict.fromkeys(term + other) if letter in needed)
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
    free = [
        c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" if c not in subscripts
    ]
    if not arrow:
        letters = given.replace(",", "").replace(".", "")
        result = "..." if "..." in given else ""
        result += "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    spans = [n - len(t) + 3 if "..." in t else 0 for t, n in zip(terms, ndims, strict=True)]
    widest = "".join(free[: max(spans)])
    terms = [t.replace("...", widest[len(widest) - k :]) for t, k in zip(terms, spans, strict=True)]
    for term, n in zip(terms, ndims, strict=True):
        if len(term) != n:
            raise ValueError(f"np.einsum: {subscripts!r} does not fit an array of {n} axes")
    return terms, result.replace("...", widest)
