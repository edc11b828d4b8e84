"""Products of vectors and linear algebra: inverse, solution, determinant, triangular factor.

In all lines ``g`` is the gradient of the result, ``y`` the result; stacks of matrices stand in the
last two axes. The adjoint equations are those of M. B. Giles, "Collected matrix derivative results
for forward and reverse mode algorithmic differentiation" (2008).

The determinant is a polynomial, and so its derivative is the matrix of cofactors also where there
is no inverse. It is computed from singular values; its second derivative as well. Where a matrix is
singular, slogdet has no derivative, and NaN says so.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.compositions import composed, operand, refuse_out
from minidl.derivatives import wide
from minidl.protocols import plain
from minidl.table import vjp
from minidl.tensor import differentiable

# --- Inverse and solution -------------------------------------------------------------------------


def _in_single(function: Any) -> Any:
    """LAPACK has no float16: it computes in float32."""

    def forward(*arrays: Any) -> Any:
        dtype = np.result_type(*arrays)
        y = function(*map(wide, arrays))
        return y.astype(dtype) if dtype.char == "e" else y

    return forward


vjp(
    np.linalg.inv,
    "a",
    forward=_in_single(np.linalg.inv),
    a=lambda g, y: -(y.mT @ g @ y.mT),
)
vjp(
    np.linalg.solve,
    "a b",
    forward=_in_single(np.linalg.solve),
    common=lambda g, a: _solution(wide(a).mT, g),
    a=lambda g, y, a, common: -(_column(common, a) @ _column(y, a).mT),
    b=lambda g, common: common,
)


def _is_vector(y: Any, a: Any) -> bool:
    """Whether there is one vector for each matrix ``a``: only then are there fewer axes."""
    return y.ndim < a.ndim


def _column(y: Any, a: Any) -> Any:
    """A vector as a matrix of one column."""
    return y[..., None] if _is_vector(y, a) else y


def _solution(a: Any, g: Any) -> Any:
    """np.linalg.solve, to which a stack of vectors would be one matrix."""
    y = np.linalg.solve(a, _column(g, a))
    return y[..., 0] if _is_vector(g, a) else y


@differentiable
def inverse(a: Any) -> Any:
    """The inverse, and NaN where there is none, of which np.linalg.inv raises for a whole stack."""
    a = wide(a)
    regular = (np.linalg.slogdet(a)[0] != 0)[..., None, None]
    identity = np.eye(a.shape[-1], dtype=a.dtype)
    return np.where(regular, np.linalg.inv(np.where(regular, a, identity)), math.nan)


vjp(inverse, "a", a=lambda g, y: -(y.mT @ g @ y.mT))

# --- Determinant ----------------------------------------------------------------------------------

vjp(
    np.linalg.det,
    "a",
    forward=_in_single(np.linalg.det),
    a=lambda g, a: g[..., None, None] * cofactors(wide(a)),
)


@differentiable
def cofactors(a: Any) -> Any:
    """The derivative of the determinant: ``det(a) * inv(a).mT``, and finite without an inverse."""
    u, s, vt, sign = _svd(wide(a))
    return (sign * (u * _others(s)[..., None, :]) @ vt).astype(a.dtype, copy=False)


@differentiable
def mixed(g: Any, a: Any) -> Any:
    """The second derivative of the determinant in the direction ``g``.

    Where a is a diagonal matrix of the s it is, with P_ij the product of all s but s_i and s_j:
    on the diagonal the sum of P_ij g_ii over i, else -P_ij g_ji.
    """
    u, s, vt, sign = _svd(wide(a))
    turned = u.mT @ wide(g) @ vt.mT
    pairs = _others_of_pairs(s)
    diagonal = np.einsum("...ij,...ii->...j", pairs, turned)
    inner = np.eye(s.shape[-1], dtype=s.dtype) * diagonal[..., None, :] - pairs * turned.mT
    return (sign * (u @ inner @ vt)).astype(g.dtype, copy=False)


vjp(cofactors, "a", a=lambda g, a: mixed(g, a))
vjp(mixed, "g_ a", g_=lambda g, a: mixed(g, a), a=lambda g: g * math.nan)


def _svd(a: Any) -> Any:
    """Singular vectors and values, and the determinant of the vectors, 1 or -1."""
    u, s, vt = np.linalg.svd(a)
    sign = np.rint(np.linalg.det(u) * np.linalg.det(vt)).astype(s.dtype)
    return u, s, vt, sign[..., None, None]


def _others(s: Any) -> Any:
    """For each element of the last axis the product of the others, without a division."""
    n = s.shape[-1]
    apart = np.where(np.eye(n, dtype=bool), s.dtype.type(1), s[..., None, :])
    return np.prod(apart, axis=-1)


def _others_of_pairs(s: Any) -> Any:
    """For each two different elements the product of all others; 0 on the diagonal."""
    n = s.shape[-1]
    same = np.eye(n, dtype=bool)
    left_out = same[:, None, :] | same[None, :, :]
    products = np.prod(np.where(left_out, s.dtype.type(1), s[..., None, None, :]), axis=-1)
    return np.where(same, s.dtype.type(0), products)


@differentiable
def log_abs_det(a: Any) -> Any:
    """The logarithm of the absolute value of the determinant."""
    return np.linalg.slogdet(wide(a))[1].astype(a.dtype)


vjp(log_abs_det, "a", a=lambda g, a: g[..., None, None] * inverse(a).mT)


@composed(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    sign, _ = result = np.linalg.slogdet(wide(plain(a)))
    return _like(result, sign.astype(a.dtype), log_abs_det(a))


def _like(result: Any, *parts: Any) -> Any:
    """The parts under the names that NumPy's result has for them."""
    return type(result)(*parts) if hasattr(result, "_fields") else parts


# --- Triangular factor ----------------------------------------------------------------------------


@differentiable
def lower_factor(a: Any) -> Any:
    """The triangular matrix with ``y @ y.mT = a`` of a symmetric matrix."""
    return np.linalg.cholesky(wide(a)).astype(a.dtype)


vjp(lower_factor, "a", a=lambda g, y: _back_from_factor(g, wide(y)))


def _back_from_factor(g: Any, y: Any) -> Any:
    n = y.shape[-1]
    halved = np.tril(np.ones((n, n), y.dtype)) - np.eye(n, dtype=y.dtype) / 2
    half = np.linalg.solve(y.mT, halved * (y.mT @ g))
    d = np.linalg.solve(y.mT, half.mT)
    return (d + d.mT) / 2


@composed(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """NumPy reads one triangle, and so does the gradient: it is 0 in the other."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError(f"np.linalg.cholesky takes square matrices, not {a.shape}")
    a = a.mT if upper else a
    y = lower_factor(np.tril(a) + np.tril(a, -1).mT)
    return y.mT if upper else y


# --- Products -------------------------------------------------------------------------------------


@composed(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    if not isinstance(n, int | np.integer):
        raise TypeError(f"np.linalg.matrix_power takes a whole number for n, not {n!r}")
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError(f"np.linalg.matrix_power takes square matrices, not {a.shape}")
    if n < 0:
        a, n = np.linalg.inv(a), -n
    y = None
    while n:
        if n % 2:
            y = a if y is None else y @ a
        n //= 2
        a = a @ a if n else a
    return y if y is not None else np.where(np.eye(a.shape[-1], dtype=bool), 1, 0 * a)


@composed(np.linalg.multi_dot)
def multi_dot(arrays: Sequence[Any], *, out: None = None) -> Any:
    """In the order that needs the fewest multiplications."""
    refuse_out(np.linalg.multi_dot, out)
    xs = [operand(x) for x in arrays]
    if len(xs) < 2:
        raise ValueError("np.linalg.multi_dot takes at least two arrays")
    first, last = xs[0].ndim == 1, xs[-1].ndim == 1
    xs = [x[None] if i == 0 and first else x for i, x in enumerate(xs)]
    xs = [x[:, None] if i == len(xs) - 1 and last else x for i, x in enumerate(xs)]
    if any(x.ndim != 2 for x in xs):
        raise np.linalg.LinAlgError("np.linalg.multi_dot takes matrices, and vectors at the ends")
    n = [x.shape[0] for x in xs] + [xs[-1].shape[1]]

    @functools.cache
    def best(i: int, j: int) -> tuple[int, int]:
        """What the product of the matrices i to j costs at least, and where it is cut."""
        if j - i == 1:
            return 0, i
        return min((best(i, k)[0] + best(k, j)[0] + n[i] * n[k] * n[j], k) for k in range(i + 1, j))

    def product(i: int, j: int) -> Any:
        k = best(i, j)[1]
        return xs[i] if j - i == 1 else product(i, k) @ product(k, j)

    y = product(0, len(xs))
    y = y[0] if first else y
    return y[..., 0] if last else y


@composed(np.inner)
def inner(a: Any, b: Any, /) -> Any:
    if np.ndim(plain(a)) == 0 or np.ndim(plain(b)) == 0:
        return a * b
    return np.tensordot(operand(a), operand(b), axes=(-1, -1))


@composed(np.vecdot)
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    a, b = (np.moveaxis(operand(x), operator.index(axis), -1) for x in (x1, x2))
    return np.matmul(a[..., None, :], b[..., :, None])[..., 0, 0]


@composed(np.cross)
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(operand(a), axisa, -1), np.moveaxis(operand(b), axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(
            f"np.cross on Tensors takes vectors of 3 elements, not {a.shape[-1]} and "
            f"{b.shape[-1]}: in the plane, a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]"
        )
    y = np.roll(a, -1, -1) * np.roll(b, -2, -1) - np.roll(a, -2, -1) * np.roll(b, -1, -1)
    return np.moveaxis(y, -1, axisc)


@composed(np.kron)
def kron(a: Any, b: Any) -> Any:
    a, b = operand(a), operand(b)
    n = max(a.ndim, b.ndim)
    a_shape, b_shape = ((1,) * (n - x.ndim) + x.shape for x in (a, b))
    pairs = list(zip(a_shape, b_shape, strict=True))
    a = np.reshape(a, [k for i, _ in pairs for k in (i, 1)])
    b = np.reshape(b, [k for _, j in pairs for k in (1, j)])
    return np.reshape(a * b, [i * j for i, j in pairs])
