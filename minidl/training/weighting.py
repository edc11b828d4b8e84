"""Losses in which each sample has a weight.

The loss of a batch is then ``sum(w * l) / sum(w * d)``: l is the loss of a sample and d what it
counts in the mean without weights, which is 1, the weight of its class, or 0 if it is ignored.
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np

from minidl import functional as F
from minidl.arrays import Array
from minidl.nn import CrossEntropyLoss
from minidl.nn.elementwise_losses import ElementwiseLoss
from minidl.protocols import plain
from minidl.training.batches import check_weights
from minidl.training.measures import Function, divisor_of, known


class Weighted:
    """A loss that takes weights after predictions and targets; without them it is the loss.

    Weights are for the losses of ``nn``, their functions, and losses with a method
    ``each(predictions, targets)`` that returns the loss of each sample, (N,); a method
    ``divisors(predictions, targets)`` tells what each counts, where that is not 1.
    """

    def __init__(self, loss: Function) -> None:
        self.loss, self.divisor = loss, divisor_of(loss)
        function = loss.func if isinstance(loss, functools.partial) else loss
        # What wraps one of the functions may compute something else.
        is_ours = function is getattr(F, getattr(function, "__name__", ""), None)
        self.known = known(loss) if is_ours else loss

    def __call__(self, predictions: Any, y: Array, weights: Array | None = None) -> Any:
        if weights is None:
            return self.loss(predictions, y)
        with np.errstate(over="ignore"):  # it may be in a sample of weight 0
            losses = self.each(predictions, y)  # (N,) or (N, ...)
        if losses.dtype.itemsize < 4:  # their sum may be too large for float16
            losses = losses.astype(np.float32)
        total = self.share(plain(predictions), y, weights)
        scale = np.divide(weights, 1.0 if total is None else total, dtype=np.float64)
        scale = scale.astype(losses.dtype).reshape(-1, *[1] * (losses.ndim - 1))
        return np.sum(np.where(scale > 0, losses, 0) * scale)  # (not 0 * inf)

    def share(self, predictions: Any, y: Array, weights: Array | None = None) -> float | None:
        """What the loss was divided by, and so what the batch counts; None for a sum."""
        share: float | None = self.divisor(predictions, y)
        if weights is None:
            return share
        self.check("weights")
        check_weights("the batch", weights)
        if len(weights) != len(y):
            raise ValueError(f"the batch has {len(weights)} weights for {len(y)} samples")
        if share is None:
            return None if weights.any() else 0
        return float(np.dot(weights, self.divisors(predictions, y)))

    def check(self, caller: str) -> None:
        """Raise unless the loss of each sample can be known."""
        if getattr(self.known, "reduction", "") == "none":
            raise ValueError(
                f"{caller}: {self.known!r} returns the loss of each sample, and they are weighed "
                f"here: give it reduction='mean' or 'sum'"
            )
        if hasattr(self.known, "each"):
            return
        loss: Any = type(self.known)
        for kind in (CrossEntropyLoss, ElementwiseLoss):
            # A subclass that computes something else is a loss of its own.
            if isinstance(self.known, kind) and loss.forward.__module__ == kind.__module__:
                return
        name = getattr(self.loss, "__name__", loss.__name__)
        raise ValueError(
            f"{caller}: samples with weights need the loss of each sample, and {name} gives that "
            f"of the batch: take a loss of nn, or make it a module with a method each(predictions, "
            f"targets) that returns an array (N,)"
        )

    def each(self, predictions: Any, y: Array) -> Any:
        """The losses of the samples, or of their elements."""
        loss: Any = self.known
        if not hasattr(loss, "each"):
            one = copy.copy(loss)  # now, since settings may have been changed
            one.reduction = "none"
            return one(predictions, y)
        losses = loss.each(predictions, y)
        if np.shape(plain(losses)) != (len(y),):
            raise ValueError(
                f"{type(loss).__name__}.each returned something of shape "
                f"{np.shape(plain(losses))} for {len(y)} samples, expected ({len(y)},)"
            )
        return losses

    def divisors(self, predictions: Any, y: Array) -> Array:
        """What each sample counts, (N,)."""
        loss: Any = self.known
        if hasattr(loss, "divisors"):
            return np.asarray(loss.divisors(predictions, y), np.float64)
        if isinstance(loss, CrossEntropyLoss):
            counts = (y != loss.ignore_index).astype(np.float64)
            if loss.weight is not None and y.dtype.kind in "iu":  # others the loss refuses
                counts *= loss.weight.take(np.where(counts > 0, y, 0), mode="clip")
        elif isinstance(loss, ElementwiseLoss):
            counts = np.ones(y.shape)
        else:
            return np.ones(len(y))
        return counts.reshape(len(y), -1).sum(axis=1)
