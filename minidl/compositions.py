"""NumPy's functions that need no rule of their own, because they are made of others.

Each is entered in the table of compositions by :func:`composed`; a call of NumPy's function on a
Tensor runs the version here, which uses differentiable functions only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from minidl import derivatives as table
from minidl.arrays import as_array
from minidl.derivatives import axes_of
from minidl.protocols import COMPOSED, plain
from minidl.table import name_of, vjp
from minidl.tensor import Tensor, apply, differentiable


def composed(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a function as the way to compute NumPy's ``function`` on Tensors."""

    def enter(made_of_others: Callable[..., Any]) -> Callable[..., Any]:
        COMPOSED[function] = made_of_others
        return made_of_others

    return enter


def operand(a: Any) -> Any:
    """An input that may be a list: a Tensor, or an array."""
    return a if isinstance(a, Tensor) else as_array(a)


def refuse_out(function: Callable[..., Any], out: Any) -> None:
    if out is not None:
        raise TypeError(
            f"{name_of(function)} with out= would write past the graph: use its result instead"
        )


# --- Shapes and places ----------------------------------------------------------------------------


@composed(np.reshape)
def reshape(a: Any, shape: Any, order: Any = "C", *, copy: bool | None = None) -> Any:
    if order in ("A", "a"):  # the order of the memory: settled now, a gradient may have another
        order = "F" if np.isfortran(plain(a)) else "C"
    if copy:
        a = np.copy(a)
    elif copy is not None:
        np.reshape(plain(a), shape, order=order, copy=False)  # raises where it had to copy
    return apply(np.reshape, a, plain(shape), order)


@composed(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    if (a_min is not None and min is not None) or (a_max is not None and max is not None):
        raise ValueError("np.clip takes a_min or min, and a_max or max, not both")
    low, high = a_min if min is None else min, a_max if max is None else max
    if low is None and high is None:
        raise ValueError("np.clip needs a minimum or a maximum")
    y = a
    if low is not None:
        y = np.where((plain(y) < plain(low)) | np.isnan(plain(low)), low, y)
    if high is not None:
        y = np.where((plain(y) > plain(high)) | np.isnan(plain(high)), high, y)
    return y


@composed(np.ravel)
def ravel(a: Any, order: str = "C") -> Any:
    if order in ("K", "k"):
        raise ValueError("np.ravel of a Tensor takes 'C', 'F' or 'A' for order, not 'K'")
    return np.reshape(a, -1, order)  # type: ignore[call-overload]


@composed(np.matrix_transpose)
def matrix_transpose(x: Any) -> Any:
    return x.mT


@composed(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    sources, places = axes_of(as_tuple(source), a.ndim), axes_of(as_tuple(destination), a.ndim)
    if len(sources) != len(places):
        raise ValueError(f"np.moveaxis takes a place for each axis, not {destination} for {source}")
    order = [i for i in range(a.ndim) if i not in sources]
    for place, i in sorted(zip(places, sources, strict=True)):
        order.insert(place, i)
    return np.transpose(a, order)


@differentiable
def concatenated(whole: Any, part: Any, index: Any, result: Any = None) -> Any:
    """``whole`` with ``part`` added at ``index``: of a concatenation, all else and one array. It is
    not computed again where the ``result`` is there."""
    if result is None:
        result = whole.copy()
        result[index] += part
    return result


vjp(
    concatenated,
    "whole part index result=None",
    whole=lambda g: g,
    part=lambda g, index: g[index],
)


def _put_together(y: Any, parts: Sequence[Any], places: Sequence[Any]) -> Any:
    """``y``, which NumPy has put together from ``parts``, as a Tensor that was computed from them.

    A concatenation is the sum of its parts, each with zeros in the places of the others. So the
    graph is told of them one by one, and one rule serves for any number.
    """
    result = y
    for part, place in zip(parts, places, strict=True):
        if isinstance(part, Tensor) and part.requires_grad and y.dtype.kind != "f":
            raise TypeError(f"an array of {y.dtype} has no gradient: leave dtype= out")
        y = apply(concatenated, y, part, place, result)
    return y


@composed(np.concatenate)
def concatenate(
    arrays: Sequence[Any],
    axis: int | None = 0,
    out: None = None,
    *,
    dtype: Any = None,
    casting: Any = "same_kind",
) -> Any:
    refuse_out(np.concatenate, out)
    parts = [operand(a) for a in arrays]
    if axis is None:
        parts, axis = [np.reshape(a, -1) for a in parts], 0
    y = np.concatenate([plain(a) for a in parts], axis, dtype=dtype, casting=casting)
    before = (slice(None),) * normalize_axis_index(axis, y.ndim)
    lengths = [a.shape[axis] for a in parts]
    ends = np.cumsum(lengths).tolist()
    places = [(*before, slice(end - n, end)) for n, end in zip(lengths, ends, strict=True)]
    return _put_together(y, parts, places)


@composed(np.stack)
def stack(
    arrays: Sequence[Any],
    axis: int = 0,
    out: None = None,
    *,
    dtype: Any = None,
    casting: Any = "same_kind",
) -> Any:
    refuse_out(np.stack, out)
    parts = [operand(a) for a in arrays]
    shapes = {a.shape for a in parts}
    if len(shapes) != 1:
        raise ValueError(f"np.stack takes arrays of one shape, not of {sorted(shapes)}")
    y = np.stack([plain(a) for a in parts], axis, dtype=dtype, casting=casting)
    before = (slice(None),) * normalize_axis_index(axis, y.ndim)
    return _put_together(y, parts, [(*before, i) for i in range(len(parts))])


@composed(np.vstack)
def vstack(tup: Sequence[Any], *, dtype: Any = None, casting: Any = "same_kind") -> Any:
    arrays = [operand(a) for a in tup]
    arrays = [np.reshape(a, (1, -1)) if a.ndim < 2 else a for a in arrays]
    return np.concatenate(arrays, 0, dtype=dtype, casting=casting)


@composed(np.hstack)
def hstack(tup: Sequence[Any], *, dtype: Any = None, casting: Any = "same_kind") -> Any:
    arrays = [operand(a) for a in tup]
    arrays = [np.reshape(a, -1) if a.ndim == 0 else a for a in arrays]
    return np.concatenate(arrays, 0 if arrays[0].ndim == 1 else 1, dtype=dtype, casting=casting)


@composed(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    axis = normalize_axis_index(axis, ary.ndim)
    n, parts = ary.shape[axis], plain(indices_or_sections)
    if np.ndim(parts) == 0 and (parts <= 0 or n % parts):
        raise ValueError(f"np.split: {n} elements do not divide into {parts}")
    before = (slice(None),) * axis
    pieces = np.split(np.arange(n), parts)
    return [ary[(*before, slice(i[0], i[-1] + 1) if len(i) else slice(0))] for i in pieces]


@composed(np.repeat)
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    n = a.shape[normalize_axis_index(axis, a.ndim)] if axis is not None and a.ndim else a.size
    return np.take(a, np.repeat(np.arange(n), plain(repeats)), axis)


@composed(np.tile)
def tile(A: Any, reps: Any) -> Any:
    reps = plain(reps)
    reps = (reps,) if np.ndim(reps) == 0 else tuple(reps)
    shape = (1,) * (len(reps) - A.ndim) + A.shape
    reps = (1,) * (len(shape) - len(reps)) + reps
    pairs = [(r, n) for r, n in zip(reps, shape, strict=True)]
    a = np.reshape(A, [m for _, n in pairs for m in (1, n)])
    a = np.broadcast_to(a, [m for pair in pairs for m in pair])
    return np.reshape(a, [r * n for r, n in pairs])


@composed(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", **kwargs: Any) -> Any:
    odd = kwargs.get("reflect_type", "even") != "even"
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap") or odd:
        what = f"mode={mode!r}" + (" and reflect_type='odd'" if odd else "")
        raise TypeError(f"np.pad with {what} is not differentiable in minidl")
    whole = np.pad(array.data, pad_width, mode, **kwargs)  # type: ignore[call-overload]
    widths = np.zeros((array.ndim, 2), int)
    for axis, width in pad_width.items() if isinstance(pad_width, dict) else [(..., pad_width)]:
        widths[axis] = width
    if mode == "constant":
        inside = tuple(slice(b, b + n) for (b, _), n in zip(widths, array.shape, strict=True))
        whole[inside] = 0
        return table.place(array, inside, whole.shape) + whole
    for axis, (width, n) in enumerate(zip(widths.tolist(), array.shape, strict=True)):
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
    refuse_out(np.take, out)
    a = np.reshape(a, -1) if axis is None or np.ndim(plain(a)) == 0 else operand(a)
    axis = normalize_axis_index(axis or 0, a.ndim)
    places = as_array(plain(indices))
    if mode != "raise" or places.dtype.kind not in "iu":
        places = np.take(np.arange(a.shape[axis]), places, mode=mode)  # type: ignore[call-overload]
    return a[(slice(None),) * axis + (places.copy(),)]


@composed(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    arr = np.reshape(arr, -1) if axis is None else operand(arr)
    axis = normalize_axis_index(axis or 0, arr.ndim)
    indices = as_array(plain(indices))
    if indices.dtype.kind not in "iu":
        raise IndexError(f"np.take_along_axis takes integers for indices, not {indices.dtype}")
    if indices.ndim != arr.ndim:
        raise ValueError(
            f"np.take_along_axis takes indices of {arr.ndim} axes, as many as the array has (with "
            f"axis=None, one), not of {indices.ndim}"
        )
    index = list(np.ogrid[tuple(slice(n) for n in arr.shape)])
    index[axis] = indices
    return arr[tuple(index)]


@composed(np.mean)
def mean(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Any:
    if dtype is not None and np.dtype(dtype).kind != "f":
        raise TypeError(f"np.mean with dtype={dtype} on a Tensor: leave it out, or a floating one")
    if where is True:
        return apply(np.mean, a, plain(axis), dtype, out, keepdims)
    n = np.sum(np.broadcast_to(plain(where), a.shape), axis=axis, keepdims=keepdims)
    if np.any(n == 0):
        raise ValueError(
            f"np.mean: where= leaves no element along axis {axis}: for 0 there, divide a sum, "
            f"np.sum(a, axis, where=w) / np.maximum(np.sum(w, axis), 1)"
        )
    total = np.sum(table.wide(a), axis, dtype, keepdims=keepdims, where=where)
    y = total / n.astype(total.dtype if total.dtype.kind == "f" else np.float64)
    return y.astype(a.dtype) if dtype is None and a.dtype.char == "e" else y


@composed(np.prod)
def prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = 1,
    where: Any = True,
) -> Any:
    """Halves multiplied with halves: right also where elements are zero, to any order."""
    if dtype is not None or out is not None:
        raise TypeError(
            "np.prod on a Tensor takes (a, axis, keepdims, initial, where), not dtype= or out="
        )
    if where is not True:
        a = np.where(np.broadcast_to(plain(where), a.shape), a, 1)
    axes = axes_of(axis, a.ndim)
    rest = [i for i in range(a.ndim) if i not in axes]
    kept = [1 if i in axes else n for i, n in enumerate(a.shape)]
    y = np.transpose(a, [*axes, *rest])
    y = np.reshape(y, [math.prod(a.shape[i] for i in axes), *(a.shape[i] for i in rest)])
    while len(y) > 1:
        half = len(y) // 2
        product = y[:half] * y[half : 2 * half]
        y = np.concatenate([product, y[2 * half :]]) if len(y) % 2 else product
    y = y[0] if len(y) else np.ones(y.shape[1:], y.dtype) + y.sum(axis=0)
    y = y * initial if initial != 1 else y
    return np.reshape(y, kept) if keepdims else y


@composed(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    is_vector = (x.ndim == 1) if axis is None else np.ndim(axis) == 0
    if ord is None or (ord == 2 and is_vector) or (ord == "fro" and not is_vector):
        return table.norm(x, 2, axis, keepdims)
    if is_vector and ord == 1:
        return np.sum(np.abs(x), axis, keepdims=keepdims)
    if is_vector and ord in (math.inf, -math.inf):
        return (np.max if ord > 0 else np.min)(np.abs(x), axis, keepdims=keepdims)
    if is_vector and isinstance(ord, int | float) and ord > 0:
        return table.norm(x, float(ord), axis, keepdims)
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
        axes = range(-axes, 0), range(axes)
    over_a, over_b = axes_of(as_tuple(axes[0]), a_ndim), axes_of(as_tuple(axes[1]), b_ndim)
    rest_a = [i for i in range(a_ndim) if i not in over_a]
    rest_b = [i for i in range(b_ndim) if i not in over_b]
    a_shape, b_shape = np.shape(plain(a)), np.shape(plain(b))
    if [a_shape[i] for i in over_a] != [b_shape[i] for i in over_b]:
        over = f"{over_a} and {over_b}"
        raise ValueError(f"np.tensordot: shapes {a_shape} and {b_shape} differ along {over}")
    rows, columns = [a_shape[i] for i in rest_a], [b_shape[i] for i in rest_b]
    n = math.prod(a_shape[i] for i in over_a)
    a = np.reshape(np.transpose(a, [*rest_a, *over_a]), (math.prod(rows), n))
    b = np.reshape(np.transpose(b, [*over_b, *rest_b]), (n, math.prod(columns)))
    return np.reshape(a @ b, rows + columns)


def as_tuple(axes: Any) -> tuple[int, ...]:
    return (axes,) if np.ndim(axes) == 0 else tuple(axes)


@composed(np.einsum)
def einsum(subscripts: str, *operands: Any, optimize: Any = False) -> Any:
    """Products of two arrays at a time, after each array has lost what only it has."""
    if not isinstance(subscripts, str):
        raise TypeError("np.einsum on Tensors takes its subscripts as a string, such as 'ij,jk'")
    arrays = [operand(x) for x in operands]
    terms, result, lengths = _einsum_terms(subscripts, [x.shape for x in arrays])
    for k, (x, term) in enumerate(zip(arrays, terms, strict=True)):
        shape = [n for n, c in zip(x.shape, term, strict=True) if n == lengths[c]]
        if len(shape) < x.ndim:  # an axis of length one beside a longer one: broadcast
            terms[k] = "".join(c for n, c in zip(x.shape, term, strict=True) if n == lengths[c])
            arrays[k] = np.reshape(x, shape)
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
        arrays.insert(0, table.einsum(f"{term},{other}->{kept}", first, second))
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


def _einsum_terms(
    subscripts: str, shapes: list[tuple[int, ...]]
) -> tuple[list[str], str, dict[str, int]]:
    """The terms of an einsum and its result, with letters in place of ellipses, and how long the
    axis of each letter is."""
    given, arrow, result = subscripts.replace(" ", "").partition("->")
    terms, ndims = given.split(","), [len(shape) for shape in shapes]
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
    result = result.replace("...", widest)
    lengths: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        if len(term) != len(shape) or not (term + "x").isalpha():
            n = len(shape)
            raise ValueError(f"np.einsum: {subscripts!r} does not fit an array of {n} axes")
        for c, n in zip(term, shape, strict=True):
            alike = {m for d, m in zip(term, shape, strict=True) if d == c}
            known = lengths.get(c, 1)
            if len(alike) > 1 or (n != known and 1 not in (n, known)):
                raise ValueError(
                    f"np.einsum: {subscripts!r} does not fit arrays of the shapes {shapes}: axes "
                    f"of one letter are equally long (or 1, in different arrays)"
                )
            lengths[c] = known if n == 1 else n
    if len(set(result)) != len(result) or not set(widest) <= set(result) <= set("".join(terms)):
        raise ValueError(
            f"np.einsum: the result of {subscripts!r} must name letters of the terms, each once, "
            f"and '...' if a term has it"
        )
    return terms, result, lengths
