"""The losses as modules: the functions of ``functional`` with their settings kept.

Two methods tell ``fit`` and ``evaluate`` what they cannot see from outside: ``divisor``, what the
mean over a batch was divided by (None for a sum), and ``check_targets``, which raises for targets
that the loss would not take. A loss of one's own may have them too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minidl import functional as F
from minidl.functional import Reduction
from minidl.nn.module import Module
from minidl.tensor import Array, Tensor, as_real, plain


class CrossEntropyLoss(Module):
    """Softmax cross entropy of logits (N, C) and class numbers (N,).

    Args and errors: see :func:`minidl.functional.cross_entropy`.

    Example:
        >>> CrossEntropyLoss()(Tensor([[2.0, 2.0]]), np.array([0]))
        Tensor(0.6931472)
    """

    def __init__(
        self,
        weight: ArrayLike | None = None,
        ignore_index: int = -100,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        F._check_reduction("CrossEntropyLoss", reduction)
        if not 0 <= label_smoothing <= 1:
            raise ValueError(
                f"CrossEntropyLoss: label_smoothing is from 0 to 1, not {label_smoothing!r}"
            )
        self.weight = None if weight is None else as_real(weight, "weight")
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor | Array, target: Array) -> Tensor:
        return F.cross_entropy(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )

    def divisor(self, input: Tensor | Array, target: Array) -> float | None:
        if self.reduction != "mean":
            return None
        target = np.asarray(plain(target))
        counts = target != self.ignore_index
        if self.weight is None or target.dtype.kind not in "iu":  # which the loss refuses
            return int(np.count_nonzero(counts))
        weights = self.weight.take(target[counts], mode="clip")
        return float(weights.sum(dtype=np.float64))

    def check_targets(self, shape: tuple[int, ...], target: Array) -> None:
        F._check_classes(shape, target, self.ignore_index)


class BCEWithLogitsLoss(Module):
    """Binary cross entropy of logits and targets from 0 to 1, of one shape.

    Args and errors: see :func:`minidl.functional.binary_cross_entropy_with_logits`.
    """

    def __init__(self, pos_weight: ArrayLike | None = None, reduction: Reduction = "mean") -> None:
        F._check_reduction("BCEWithLogitsLoss", reduction)
        self.pos_weight = None if pos_weight is None else as_real(pos_weight, "pos_weight")
        self.reduction: Reduction = reduction

    def forward(self, input: Tensor | Array, target: Array | Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(input, target, self.pos_weight, self.reduction)

    def divisor(self, input: Tensor | Array, target: Array | Tensor) -> float | None:
        return target.size if self.reduction == "mean" else None

    def check_targets(self, shape: tuple[int, ...], target: Array) -> None:
        F._check_shares(target)


class _Elementwise(Module):
    """A loss of predictions and targets of one shape, with a reduction."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        F._check_reduction(type(self).__name__, reduction)
        self.reduction: Reduction = reduction

    def divisor(self, input: Tensor | Array, target: Array | Tensor) -> float | None:
        return target.size if self.reduction == "mean" else None


class MSELoss(_Elementwise):
    """``(input - target)**2``; see :func:`minidl.functional.mse_loss`."""

    def forward(self, input: Tensor | Array, target: Array | Tensor) -> Tensor:
        return F.mse_loss(input, target, self.reduction)


class L1Loss(_Elementwise):
    """``|input - target|``; see :func:`minidl.functional.l1_loss`."""

    def forward(self, input: Tensor | Array, target: Array | Tensor) -> Tensor:
        return F.l1_loss(input, target, self.reduction)


class HuberLoss(_Elementwise):
    """Squared near zero, linear beyond ``delta``; see :func:`minidl.functional.huber_loss`."""

    def __init__(self, reduction: Reduction = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        if not delta > 0:
            raise ValueError(f"HuberLoss: delta is above 0, not {delta!r}")
        self.delta = delta

    def forward(self, input: Tensor | Array, target: Array | Tensor) -> Tensor:
        return F.huber_loss(input, target, self.reduction, self.delta)
