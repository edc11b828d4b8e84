"""The losses of predictions and targets of one shape, as modules that keep their settings."""

from __future__ import annotations

from numpy.typing import ArrayLike

from minidl import functional as F
from minidl.arrays import Array, as_real
from minidl.checks import number, one_of
from minidl.functional import Reduction
from minidl.functional.targets import REDUCTIONS, check_shares
from minidl.nn.module import Module
from minidl.tensor import Tensor


class ElementwiseLoss(Module):
    """One loss for each element, and a reduction: "mean", "sum" or "none"."""

    def __init__(self, reduction: Reduction = "mean") -> None:
        name = f"{type(self).__name__}: reduction"
        self.reduction = one_of(reduction, name, REDUCTIONS)

    def divisor(self, input: Tensor | Array, target: Array | Tensor) -> float | None:
        return target.size if self.reduction == "mean" else None


class BCEWithLogitsLoss(ElementwiseLoss):
    """Binary cross entropy of logits and targets from 0 to 1, of one shape.

    Args and errors: see :func:`minidl.functional.binary_cross_entropy_with_logits`.
    """

    def __init__(self, pos_weight: ArrayLike | None = None, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.pos_weight = None if pos_weight is None else as_real(pos_weight, "pos_weight")

    def forward(self, input: Tensor | Array, target: Array | Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(input, target, self.pos_weight, self.reduction)

    def check_targets(self, shape: tuple[int, ...], target: Array) -> None:
        check_shares(target)


class MSELoss(ElementwiseLoss):
    """``(input - target)**2``; see :func:`minidl.functional.mse_loss`."""

    def forward(self, input: Tensor | Array, target: Array | Tensor) -> Tensor:
        return F.mse_loss(input, target, self.reduction)


class L1Loss(ElementwiseLoss):
    """``|input - target|``; see :func:`minidl.functional.l1_loss`."""

    def forward(self, input: Tensor | Array, target: Array | Tensor) -> Tensor:
        return F.l1_loss(input, target, self.reduction)


class HuberLoss(ElementwiseLoss):
    """Squared near zero, linear beyond ``delta``; see :func:`minidl.functional.huber_loss`."""

    def __init__(self, reduction: Reduction = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = number(delta, "HuberLoss: delta", above=0, or_infinite=True)

    def forward(self, input: Tensor | Array, target: Array | Tensor) -> Tensor:
        return F.huber_loss(input, target, self.reduction, self.delta)
