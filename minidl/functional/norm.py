"""Batch normalisation, with its derivative by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.functional.linear import in_dtype_of, sum_of_rows
from minidl.functional.targets import misfit_of_norm
from minidl.table import vjp
from minidl.tensor import Tensor, apply


@np.errstate(under="ignore")
def batch_norm(
    x: Tensor | Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel: ``y = (x - mean) / sqrt(var + eps) * weight + bias``.

    In training, mean and (biased) variance are those of the batch, and the running statistics move
    towards them in place: ``running = (1 - momentum) * running + momentum * batch``, with the
    unbiased variance. Otherwise the running statistics are used.

    Args:
        x: shape (N, C) or (N, C, ...); statistics are taken over all axes but the second.
        running_mean, running_var: ndarrays of shape (C,), or None.
        weight, bias: shape (C,), or None for 1 and 0.
        training: whether to use the statistics of the batch.
        momentum: the weight of the new batch in the running statistics.
        eps: added to the variance, inside the root.

    Raises:
        ValueError: if ``x`` has fewer than two axes or another number of channels than the rest;
            in training, if there are not two values per channel; otherwise, if the running
            statistics are missing; if only one of them is given.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015, algorithms 1 and 2.

    Example:
        >>> batch_norm(Tensor([[1.0], [3.0]]), None, None, training=True)
        Tensor([[-0.999995],
                [ 0.999995]])
    """
    given = [p for p in (weight, bias, running_mean, running_var) if p is not None]
    x, eps = in_dtype_of(given[0], x) if given else x, float(eps)
    if training:
        return apply(batch_norm, x, running_mean, running_var, weight, bias, True, momentum, eps)
    x = x if isinstance(x, Tensor) else Tensor(x)
    if {p.shape for p in given} != {x.shape[1:2]} or running_mean is None or running_var is None:
        raise misfit_of_norm(x.shape, running_mean, running_var, given)
    scale = (1 / np.sqrt(running_var + eps)).astype(x.dtype, copy=False)
    y = (x - beside(running_mean.astype(x.dtype, copy=False), x.ndim)) * beside(scale, x.ndim)
    y = y if weight is None else y * beside(weight, x.ndim)
    return y if bias is None else y + beside(bias, x.ndim)


def _of_batch(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None,
    bias: Array | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Array, Array, Array]:
    """The result, and what the rules need: x centered, and 1 / deviation.

    A constant added to x changes nothing, so that all derivatives at x are those at x centered.
    """
    given = [p for p in (weight, bias, running_mean, running_var) if p is not None]
    n = x.size // x.shape[1] if x.ndim > 1 and x.size else 0
    incomplete = (running_mean is None) != (running_var is None)
    if n < 2 or incomplete or {p.shape for p in given} - {x.shape[1:2]}:
        raise misfit_of_norm(x.shape, running_mean, running_var, given, n)
    half = x.dtype.char == "e"
    if half:  # its sums of squares would overflow
        x = x.astype(np.float32)
    mean = channel_sums(x) / n
    centered = x - beside(mean, x.ndim)
    # The mean was rounded; what is left of it matters where it is large beside the deviation.
    rest = channel_sums(centered) / n
    centered -= beside(rest, x.ndim)
    y = centered * centered
    var = channel_sums(y) / n
    scale = 1 / np.sqrt(var + eps)
    if running_mean is not None and running_var is not None:
        running_mean += momentum * (mean + rest - running_mean)
        running_var += momentum * (var * (n / (n - 1)) - running_var)
    factor = scale if weight is None else scale * weight
    np.multiply(centered, beside(factor, x.ndim), out=y)
    if bias is not None:
        y += beside(bias, x.ndim)
    return y.astype(np.float16) if half else y, centered, scale


def _definition(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    axes = (0, *range(2, x.ndim))
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    y = y if weight is None else y * beside(weight, x.ndim)
    return y if bias is None else y + beside(bias, x.ndim)


def _rule(g: Array, x: Array, weight: Any, scale: Array, common: Any) -> Array:
    """The gradient of x, which reaches y directly, through the mean, and through the variance.

    With x centered, s = scale, h = x * s and w = weight:  w s (g - mean(g) - h mean(g h)).
    """
    n = x.size // x.shape[1]
    sum_g, sum_gx = common
    d = x * beside(-sum_gx * scale * scale / n, g.ndim)
    d += g
    d -= beside(sum_g / n, g.ndim)
    d *= beside(scale if weight is None else weight * scale, g.ndim)
    return d


vjp(
    batch_norm,
    "x running_mean running_var weight=None bias=None training=False momentum=0.1 eps=1e-5"
    " -> x scale",
    x=_rule,
    weight=lambda scale, common: common[1] * scale,
    bias=lambda common: common[0],
    common=lambda g, x: (channel_sums(g), channel_sums(g * x)),
    forward=_of_batch,
    definition=_definition,
)


def beside(v: Any, ndim: int) -> Any:
    """A vector over the channels, shaped to broadcast against (N, C, ...)."""
    return v if ndim == 2 else v.reshape(-1, *(1,) * (ndim - 2))


def channel_sums(x: Array) -> Array:
    """The sum over all axes but the second: shape (C,)."""
    return sum_of_rows(x) if x.ndim == 2 else x.reshape(*x.shape[:2], -1).sum(axis=2).sum(axis=0)
