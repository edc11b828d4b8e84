"""Attention: every place asks all others, and takes a mean of what they hold.

In comments on shapes: L places that ask (queries), S places that are asked (keys, values), E
features to compare by, D features that are taken. Axes before these are a batch, and heads.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from minidl.arrays import Array, as_real
from minidl.functional.softmax import softmax
from minidl.protocols import plain
from minidl.tensor import Tensor


def scaled_dot_product_attention(
    q: Tensor | Array,
    k: Tensor | Array,
    v: Tensor | Array,
    mask: Tensor | Array | None = None,
    causal: bool = False,
) -> Any:
    """``softmax(q @ k.T / sqrt(E)) @ v``: a mean of the values, weighed by how keys fit queries.

    Args:
        q: the queries, shape (..., L, E).
        k: the keys, shape (..., S, E).
        v: the values, shape (..., S, D).
        mask: broadcasts to (..., L, S). Of booleans, True where a query may see a key; of numbers,
            what is added before the softmax, -inf where it may not. A query that may see nothing
            gets zeros, and no gradient comes from it.
        causal: whether query i sees the keys 0 to i only.

    Returns:
        Shape (..., L, D); a Tensor if one goes in.

    Raises:
        ValueError: if q, k, v or the mask do not fit together.

    Source: Vaswani et al., "Attention Is All You Need", 2017, equation 1. PyTorch's function of
    this name calls the last two ``attn_mask`` and ``is_causal``, and takes only one of them.

    Example:
        >>> q = k = Tensor([[10.0, 0.0], [0.0, 10.0]])
        >>> scaled_dot_product_attention(q, k, Tensor([[1.0], [2.0]]))
        Tensor([[1.],
                [2.]])
    """
    q, k, v = (x if isinstance(x, Tensor) else as_real(x, "attention") for x in (q, k, v))
    scores = _shape_of_scores(q, k, v)
    bias, sees = _seen(mask, causal, scores, q.dtype)
    fit = (q * (1 / math.sqrt(max(q.shape[-1], 1)))) @ k.mT  # (..., L, S)
    shares = softmax(fit if bias is None else fit + bias)
    return (shares if sees is None else shares * sees) @ v  # (..., L, D)


def _seen(mask: Any, causal: bool, shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
    """What is added to scores of this shape; and for each query whether it sees a key.

    Both are None where nothing is masked, and the second where every query sees a key.
    """
    if mask is None:
        return (_past(*shape[-2:], dtype) if causal else None), None
    mask = mask if isinstance(mask, Tensor) else as_real(mask, "attention: mask")
    if not _fits(mask.shape, shape):
        raise ValueError(
            f"attention: a mask of shape {mask.shape} does not fit scores of shape {shape}, "
            f"(..., queries, keys): it broadcasts to that"
        )
    values = plain(mask)
    visible = values if values.dtype == np.bool_ else values != -math.inf
    if causal:
        visible = visible & (_past(*shape[-2:], dtype) == 0)
    sees = visible.any(axis=-1, keepdims=True)
    # A softmax of nothing is not defined: a query that sees no key sees all of them, times zero.
    bias = np.where(visible, mask if values.dtype != np.bool_ else 0, -math.inf).astype(dtype)
    return np.where(sees, bias, 0), sees


@functools.lru_cache(maxsize=16)
def _past(queries: int, keys: int, dtype: np.dtype[Any]) -> Array:
    """0 where key j is not after query i, else -inf: to be read only."""
    bias = np.where(np.tri(queries, keys), 0, -math.inf).astype(dtype)
    bias.flags.writeable = False
    return bias


def _fits(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether an array of ``shape`` broadcasts to ``whole``."""
    lead = len(whole) - len(shape)
    return lead >= 0 and all(n in (1, m) for n, m in zip(shape, whole[lead:], strict=True))


def _shape_of_scores(q: Any, k: Any, v: Any) -> tuple[int, ...]:
    """(..., L, S).

    Raises:
        ValueError: if q, k and v do not fit together.
    """
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.ndim < 2:
            raise ValueError(
                f"attention: {name} has shape {x.shape}, expected (..., places, features)"
            )
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(
            f"attention: q of shape {q.shape} and k of shape {k.shape} are compared by their last "
            f"axes, which have {q.shape[-1]} and {k.shape[-1]} features and must have as many"
        )
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"attention: k of shape {k.shape} has {k.shape[-2]} places and v of shape {v.shape} "
            f"has {v.shape[-2]}: to each key belongs a value"
        )
    try:
        lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2])
        np.broadcast_shapes(lead, v.shape[:-2])
    except ValueError:
        raise ValueError(
            f"attention: the first axes of q {q.shape}, k {k.shape} and v {v.shape} do not "
            f"broadcast"
        ) from None
    return (*lead, q.shape[-2], k.shape[-2])
