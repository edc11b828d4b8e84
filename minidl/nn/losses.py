"""CrossEntropyLoss: the loss of a classification, as a module that keeps its settings.

Two methods tell ``fit`` and ``evaluate`` what they cannot see from outside: ``divisor``, what the
mean over a batch was divided by (None for a sum), and ``check_targets``, which raises for targets
that the loss would not take. A loss of one's own may have them too. The losses of predictions and
targets of one shape are in ``elementwise_losses``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minidl import functional as F
from minidl.arrays import Array, as_real
from minidl.checks import number, one_of
from minidl.functional import Reduction
from minidl.functional.classification import check_classes
from minidl.functional.targets import REDUCTIONS
from minidl.nn.module import Module
from minidl.protocols import plain
from minidl.tensor import Tensor


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
        self.weight = None if weight is None else as_real(weight, "weight")
        self.ignore_index = ignore_index
        self.reduction = one_of(reduction, "CrossEntropyLoss: reduction", REDUCTIONS)
        self.label_smoothing = number(
            label_smoothing, "CrossEntropyLoss: label_smoothing", at_least=0, at_most=1
        )

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
        check_classes(shape, target, self.ignore_index)
