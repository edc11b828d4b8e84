"""Softmax and its relatives: from any numbers to shares that sum to 1, and their logarithms."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from minidl.arrays import Array, as_array
from minidl.derivatives import in_single, spread, wide
from minidl.protocols import plain
from minidl.table import vjp
from minidl.tensor import Tensor, differentiable

T = TypeVar("T", Tensor, Array)

_far_below = np.errstate(all="ignore")  # beside others, -inf is right and log(0) is -inf


@differentiable
@_far_below
@in_single
def softmax(x: T, axis: int = -1) -> T:
    """``exp(x) / sum(exp(x))`` along ``axis``: numbers from 0 to 1 that sum to 1.

    An x of -inf is a mask: its share is 0.

    Raises:
        ValueError: if every x along ``axis`` is -inf.

    Example:
        >>> softmax(Tensor([0.0, 0.0, 1e4]))
        Tensor([0., 0., 1.])
    """
    logits: Any = as_array(x)
    e = np.exp(below_max(logits, axis))
    total = np.sum(e, axis, keepdims=True)
    refuse_infinite_max(total, logits, axis)
    return e / total


vjp(
    softmax,
    "x axis=-1",
    x=lambda g, y, axis: y * (g - np.sum(g * y, axis, keepdims=True)),
)


def below_max(x: Any, axis: Any) -> Any:
    """``x`` minus its maximum along ``axis``, which changes no softmax and keeps exp at most 1."""
    return x - np.maximum.reduce(x, axis, keepdims=True) if x.size else x


def refuse_infinite_max(result: Any, x: Any, axis: Any) -> None:
    """Raise if a softmax came to NaN because the maximum of x is infinite (a logit may be NaN)."""
    if (result != result).any():
        m = np.maximum.reduce(x, axis)
        if np.isneginf(m).any():
            raise ValueError(
                "softmax of nothing but -inf is not defined: a mask must leave at least one value"
            )
        if np.isposinf(m).any():
            raise ValueError(
                "softmax of infinity is not defined: what gave these logits has overflowed, as it "
                "does when the learning rate is too high or the features are not scaled"
            )


@differentiable
@_far_below
@in_single
def logsumexp(x: T, axis: int | tuple[int, ...] | None = -1, keepdims: bool = False) -> T:
    """``log(sum(exp(x)))`` over ``axis``, without overflow for any x.

    It is -inf if every x is -inf, and if there is none.

    Example:
        >>> logsumexp(Tensor([1e4, 1e4])).item()
        10000.693359375
    """
    m = _finite_max(x, axis)
    y = m + np.log(np.sum(np.exp(x - m), axis, keepdims=True))
    return y if keepdims else np.squeeze(y, axis)


def _finite_max(x: Any, axis: Any) -> Any:
    """The maximum along ``axis``, or 0 where there is none or an infinite one."""
    m = np.max(x, axis, keepdims=True) if np.size(x) else np.sum(x, axis, keepdims=True)
    return np.where(np.isfinite(m), m, 0)


vjp(
    logsumexp,
    "x axis=-1 keepdims=False",
    x=lambda g, x, shape, axis: spread(g, shape, axis) * softmax_over(wide(x), axis),
)


def softmax_over(x: Any, axis: Any) -> Any:
    """softmax over one axis, several, or all; zero where every x is -inf."""
    x = np.minimum(x, np.finfo(x.dtype).max)  # several infinite ones share, as equals do
    e = np.exp(x - _finite_max(plain(x), axis))  # a constant: softmax is the same whatever it is
    total = np.sum(e, axis, keepdims=True)
    return e / np.where(total == 0, 1, total)


@differentiable
@_far_below
@in_single
def log_softmax(x: T, axis: int = -1) -> T:
    """``log(softmax(x))`` along ``axis``, exact where softmax itself would be 0.

    Raises:
        ValueError: if every x along ``axis`` is -inf.

    Example:
        >>> log_softmax(Tensor([0.0, 1e4]))
        Tensor([-10000.,      0.])
    """
    logits: Any = as_array(x)
    below = below_max(logits, axis)
    total = np.sum(np.exp(below), axis, keepdims=True)
    refuse_infinite_max(total, logits, axis)
    return below - np.log(total)


def _log_softmax_definition(x: Any, axis: int) -> Any:
    return x - logsumexp(x, axis, True)


vjp(
    log_softmax,
    "x axis=-1",
    # d/dx_j of sum_i g_i (x_i - log sum_k exp x_k) = g_j - softmax_j sum_i g_i
    x=lambda g, y, axis: g - np.exp(y) * np.sum(g, axis, keepdims=True),
    definition=_log_softmax_definition,
)
