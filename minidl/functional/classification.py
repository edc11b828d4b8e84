"""Cross entropy: the loss of a classifier. Its arithmetic stands in likelihood.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.arrays import Array, as_array
from minidl.functional import targets
from minidl.functional.likelihood import nll, places
from minidl.functional.targets import Reduction
from minidl.functional.weighting import weighted_cross_entropy
from minidl.protocols import plain
from minidl.tensor import Tensor, apply


def cross_entropy(
    input: Tensor | Array,
    target: Array,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax cross entropy: ``-log(softmax(input)[target])``, from logits and class numbers.

    Args:
        input: the logits, any real numbers (no softmax before), shape (N, C) or (N, C, ...).
        target: the true classes 0 to C - 1, integers of any kind, shape (N,) or (N, ...).
        weight: a weight for each class, 0 or more, shape (C,); the mean is then the weighted one.
        ignore_index: samples with this target count for nothing.
        reduction: ``"mean"``, ``"sum"``, or ``"none"`` for one loss per sample.
        label_smoothing: this share of the target is spread evenly over all classes, from 0 to 1.

    Raises:
        TypeError: if targets are not integers.
        ValueError: if shapes do not fit (one-hot targets, another number of samples), a target is
            out of range, a class weight below 0 or not finite, or a mean would be of no sample.

    Example:
        >>> cross_entropy(Tensor([[1e4, 0.0], [0.0, 0.0]]), np.array([0, 1]))
        Tensor(0.3465736)
    """
    if (reduction, label_smoothing) != ("mean", 0.0):
        targets.check_options(reduction, label_smoothing)
    logits = predictions_of(input)
    if type(target) is not np.ndarray:
        target = as_array(plain(target))
    z, shape = logits.array, target.shape
    need_care = check_classes(z.shape, target, ignore_index)
    if z.dtype.char == "e":
        logits = logits.astype(np.float32)
    if z.ndim > 2:  # (N, C, ...) to (N, ..., C), and all but the last axis as one
        logits = np.moveaxis(logits, 1, -1).reshape(-1, z.shape[1])  # type: ignore
        target = target.reshape(-1)
    if weight is not None or need_care or label_smoothing:
        loss = weighted_cross_entropy(
            logits, target, weight, ignore_index, reduction, float(label_smoothing)
        )
    else:
        scale = 1 / len(target) if reduction == "mean" else 1.0
        loss = apply(nll, logits, places(target), scale, reduction == "none")
    if reduction == "none" and len(shape) > 1:
        loss = loss.reshape(shape)
    return loss if loss.array.dtype == z.dtype else targets.narrowed(loss, z.dtype)


def predictions_of(input: Any) -> Tensor:
    """The first argument of a loss as a Tensor of floating-point numbers."""
    x = input if isinstance(input, Tensor) else Tensor(input)
    return x if x.array.dtype.kind == "f" else x.astype(np.float32)


def check_classes(shape: tuple[int, ...], target: Array, ignore_index: int) -> bool:
    """Raise unless targets fit logits of ``shape``; return whether they need care: some are to be
    ignored, or there are none."""
    if len(shape) < 2 or target.shape != (shape[0], *shape[2:]) or target.dtype.kind not in "iu":
        raise targets.misfit_of_classes(shape, target)
    if not target.size:
        return True
    if not target.dtype.isnative:
        target = target.astype(target.dtype.newbyteorder("="))
    # Taken as unsigned, a negative target is larger than any class: one pass finds both faults.
    largest = np.maximum.reduce(target.view(f"u{target.dtype.itemsize}"), axis=None)
    if largest >= shape[1]:
        is_bad = (target != ignore_index) & ((target < 0) | (target >= shape[1]))
        if is_bad.any():
            raise targets.out_of_range(shape[1], target[is_bad])
    return bool((largest >= shape[1] or ignore_index >= 0) and (target == ignore_index).any())
