"""Losses of predictions and targets of one shape: squares, absolute values, Huber, binary classes.

Each computes one loss per element, and then their mean or sum, or returns them as they are.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from minidl.arrays import Array, as_real
from minidl.checks import number, one_of
from minidl.functional.classification import predictions_of
from minidl.functional.linear import in_dtype_of
from minidl.functional.smooth import sigmoid, softplus, vanishing
from minidl.functional.targets import REDUCTIONS, Reduction, check_shares, narrowed
from minidl.protocols import plain
from minidl.table import vjp
from minidl.tensor import Tensor, differentiable

T = TypeVar("T", Tensor, Array)


@vanishing
def binary_cross_entropy_with_logits(
    input: Tensor | Array,
    target: Array | Tensor,
    pos_weight: Array | float | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """``-(t log(s) + (1 - t) log(1 - s))`` with ``s = sigmoid(input)``, exact for any
    finite logit.

    Args:
        input: the logits, any real numbers (no sigmoid before), any shape.
        target: 0 or 1, or a probability between, of the same shape.
        pos_weight: what the positive term is multiplied by, broadcast to the shape of ``input``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: if the shapes differ, if ``pos_weight`` does not broadcast, or if a target is
            not from 0 to 1.

    Example:
        >>> binary_cross_entropy_with_logits(Tensor([1e4, 0.0]), np.array([1, 1]))
        Tensor(0.3465736)
    """
    x, t = _pair("binary_cross_entropy_with_logits", input, target)
    check_shares(plain(t))
    losses = bce(x, t)
    if pos_weight is not None:
        extra = (in_dtype_of(x, pos_weight) - 1) * t
        if extra.shape != x.shape:
            raise ValueError(
                f"binary_cross_entropy_with_logits: pos_weight must broadcast to the shape of the "
                f"logits, {x.shape}, and has shape {np.shape(plain(pos_weight))}"
            )
        losses = losses + extra * softplus(-x)
    return _reduced("binary_cross_entropy_with_logits", losses, reduction, input)


@differentiable
@vanishing
def bce(x: T, t: T) -> T:
    """max(x, 0) - x t + log(1 + exp(-|x|)), which cancels exactly for t = 0 and t = 1."""
    y: Any = np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))
    return y


vjp(bce, "x t", x=lambda g, x, t: g * (sigmoid(x) - t), t=lambda g, x: -g * x)


@vanishing
def mse_loss(
    input: Tensor | Array, target: Array | Tensor, reduction: Reduction = "mean"
) -> Tensor:
    """``(input - target)**2``.

    Args:
        input: the predictions, any shape.
        target: of the same shape.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Raises:
        ValueError: if the shapes differ; nothing is broadcast.

    Example:
        >>> mse_loss(Tensor([1.0, 2.0]), np.array([1.0, 4.0]))
        Tensor(2.)
    """
    x, t = _pair("mse_loss", input, target)
    return _reduced("mse_loss", np.square(x - t), reduction, input)


@vanishing
def l1_loss(input: Tensor | Array, target: Array | Tensor, reduction: Reduction = "mean") -> Tensor:
    """``|input - target|``; arguments and errors as for :func:`mse_loss`.

    Example:
        >>> l1_loss(Tensor([1.0, 2.0]), np.array([1.0, 4.0]))
        Tensor(1.)
    """
    x, t = _pair("l1_loss", input, target)
    return _reduced("l1_loss", np.abs(x - t), reduction, input)


@vanishing
def huber_loss(
    input: Tensor | Array,
    target: Array | Tensor,
    reduction: Reduction = "mean",
    delta: float = 1.0,
) -> Tensor:
    """``0.5 d**2`` where ``|d| <= delta`` and ``delta (|d| - 0.5 delta)`` elsewhere.

    ``d`` is ``input - target``.

    Args:
        input: the predictions, any shape.
        target: of the same shape.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        delta: where the parabola goes over into the lines, above 0.

    Raises:
        ValueError: if the shapes differ, or ``delta`` is not above 0.

    Source: Huber, "Robust Estimation of a Location Parameter", 1964.

    Example:
        >>> huber_loss(Tensor([1.0, 2.0]), np.array([1.5, 4.0]), reduction="none")
        Tensor([0.125, 1.5  ])
    """
    delta = number(delta, "huber_loss: delta", above=0, or_infinite=True)
    x, t = _pair("huber_loss", input, target)
    return _reduced("huber_loss", huber(x - t, float(delta)), reduction, input)


@differentiable
def huber(d: T, delta: float) -> T:
    near: Any = np.clip(d, -delta, delta)
    y: Any = near * (d - 0.5 * near)
    return y


vjp(huber, "d delta", d=lambda g, d, delta: g * np.clip(d, -delta, delta))


def _pair(name: str, input: Any, target: Any) -> tuple[Any, Any]:
    """Predictions and targets of one shape and dtype, float32 at least: squares and sums would
    overflow in float16."""
    x = predictions_of(input)
    t = target if isinstance(target, Tensor) else as_real(target, name)
    if x.shape != t.shape:
        raise ValueError(
            f"{name}: predictions have shape {x.shape} and targets {t.shape}: they must be equal, "
            f"since broadcasting would compare every prediction with every target; use "
            f"reshape to bring one to the shape of the other"
        )
    if x.dtype.char == "e":
        x = x.astype(np.float32)
    return x, in_dtype_of(x, t)


def _reduced(name: str, losses: Any, reduction: str, input: Any) -> Any:
    """The losses as asked for, in float16 if the predictions were."""
    one_of(reduction, f"{name}: reduction", REDUCTIONS)
    if reduction == "mean" and losses.size == 0:
        raise ValueError(f"{name}: the mean over no elements is not defined: skip empty batches")
    if reduction != "none":
        losses = losses.mean() if reduction == "mean" else losses.sum()
    dtype = getattr(input, "dtype", losses.dtype)
    return narrowed(losses, dtype) if dtype.char == "e" else losses
