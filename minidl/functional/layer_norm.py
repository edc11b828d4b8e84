"""Layer normalisation, with its derivative by hand.

It is batch normalisation turned by a right angle: each sample is normalised over its own features,
so that nothing depends on the batch, and training and prediction are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.checks import whole_number
from minidl.functional.linear import in_dtype_of, ones, sum_of_rows
from minidl.table import vjp
from minidl.tensor import Tensor, apply


@np.errstate(under="ignore")
def layer_norm(
    x: Tensor | Array,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each sample: ``y = (x - mean) / sqrt(var + eps) * weight + bias``.

    Mean and (biased) variance are taken over the last axes, those of ``normalized_shape``.

    Args:
        x: shape (..., *normalized_shape).
        normalized_shape: the lengths of the axes to normalise over; a number for the last one.
        weight: of the shape ``normalized_shape``, or None for 1.
        bias: likewise, or None for 0.
        eps: added to the variance, inside the root.

    Raises:
        TypeError: if ``normalized_shape`` is no whole number or numbers.
        ValueError: if ``x`` does not end in the axes of ``normalized_shape``, or weight or bias has
            another shape.

    Source: Ba, Kiros and Hinton, "Layer Normalization", 2016, section 3.

    Example:
        >>> layer_norm(Tensor([[1.0, 3.0]]), 2)
        Tensor([[-0.999995,  0.999995]])
    """
    axes = axes_to_normalise(normalized_shape, "layer_norm")
    given = [p for p in (weight, bias) if p is not None]
    x = in_dtype_of(given[0], x) if given else x
    return apply(layer_norm, x, axes, weight, bias, float(eps))


def axes_to_normalise(shape: Any, whose: str) -> tuple[int, ...]:
    """``normalized_shape`` as a tuple of lengths.

    Raises:
        TypeError: if it is none.
        ValueError: if it has no axes or an empty one.
    """
    lengths = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    if not lengths:
        raise ValueError(f"{whose}: normalized_shape has one axis at least, got {shape!r}")
    name = f"{whose}: normalized_shape"
    return tuple(whole_number(n, name, at_least=1) for n in lengths)


def _layer_norm(
    x: Array, normalized_shape: tuple[int, ...], weight: Any, bias: Any, eps: float
) -> tuple[Array, Array, Array]:
    """The result, and what the rules need: the normalised rows, and 1 / deviation of each."""
    if {p.shape for p in (weight, bias) if p is not None} - {normalized_shape} or (
        x.shape[max(x.ndim - len(normalized_shape), 0) :] != normalized_shape
    ):
        raise _misfit(x.shape, normalized_shape, weight, bias)
    dtype = x.dtype
    k = math.prod(normalized_shape)
    rows = x.reshape(x.size // k, k)  # (N, K)
    if dtype.char == "e":  # its sums of squares would overflow
        rows = rows.astype(np.float32)
    h = rows - _means(rows)
    # The mean was rounded; what is left of it matters where it is large beside the deviation.
    h -= _means(h)
    y = h * h
    scale = 1 / np.sqrt(_means(y) + eps)  # (N, 1)
    h *= scale
    if weight is None:
        y[...] = h
    else:
        np.multiply(h, weight.reshape(k), out=y)
    if bias is not None:
        y += bias.reshape(k)
    return y.reshape(x.shape).astype(dtype, copy=False), h, scale


def _definition(x: Any, normalized_shape: tuple[int, ...], weight: Any, bias: Any, eps: Any) -> Any:
    axes = tuple(range(-len(normalized_shape), 0))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _rule(g: Array, shape: Any, weight: Any, h: Array, scale: Array, common: Any) -> Array:
    """The gradient of x, which reaches y directly, through the mean, and through the variance.

    With h normalised, s = scale and w = weight:  s (g w - mean(g w) - h mean(g w h)).
    """
    g, gh = common
    if weight is None:
        d, mean_g, mean_gh = g.copy(), _means(g), _means(gh)
    else:
        w = weight.reshape(-1, 1)  # (K, 1): a mean of products with w is a product of matrices
        d, mean_g, mean_gh = g * w.T, np.dot(g, w) / len(w), np.dot(gh, w) / len(w)
    d -= mean_g
    d -= h * mean_gh
    d *= scale
    return d.reshape(shape)


def _rows(g: Array, h: Array) -> tuple[Array, Array]:
    """The gradient in rows, and its product with what was normalised: (N, K)."""
    g = g.reshape(h.shape)
    return g, g * h


vjp(
    layer_norm,
    "x normalized_shape weight=None bias=None eps=1e-5 -> h scale",
    x=_rule,
    weight=lambda normalized_shape, common: sum_of_rows(common[1]).reshape(normalized_shape),
    bias=lambda normalized_shape, common: sum_of_rows(common[0]).reshape(normalized_shape),
    common=_rows,
    forward=_layer_norm,
    definition=_definition,
)


def _means(x: Array) -> Array:
    """The mean of each row: (N, K) to (N, 1)."""
    y: Array = np.dot(x, ones(x.shape[1], x.dtype)).reshape(len(x), 1)
    y /= x.shape[1]
    return y


def _misfit(
    shape: tuple[int, ...], normalized_shape: tuple[int, ...], weight: Any, bias: Any
) -> ValueError:
    for name, p in (("weight", weight), ("bias", bias)):
        if p is not None and p.shape != normalized_shape:
            return ValueError(
                f"layer_norm: {name} has shape {p.shape}, expected {normalized_shape}, which is "
                f"normalized_shape"
            )
    wanted = ", ".join(map(str, ("...", *normalized_shape)))
    return ValueError(
        f"layer_norm: x has shape {shape}, expected ({wanted}): its last axes are those to "
        f"normalise over"
    )
