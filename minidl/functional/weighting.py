"""Cross entropy in which samples count differently: class weights, ignored targets, smoothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.arrays import Array, as_real
from minidl.functional.likelihood import nll, places
from minidl.functional.softmax import log_softmax
from minidl.tensor import Tensor, apply


def weighted_cross_entropy(
    logits: Any,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    """The losses of logits (N, C) and targets (N,), reduced; see ``cross_entropy``."""
    valid = share = None  # what each sample counts in the mean, None if all count alike
    is_valid = target != ignore_index
    if not is_valid.all():
        valid = is_valid
        share = valid.astype(np.float64)
        target = np.where(valid, target, 0)
        if label_smoothing:  # what is ignored may be anything, even NaN
            logits = np.where(valid[:, None], logits, 0)
    if weight is not None:
        weight = _checked(weight, logits.shape[1])
        share = weight[target] if share is None else weight[target] * share
    total = len(target) if share is None else share.sum()
    if reduction == "mean" and not total > 0:
        raise ValueError(
            f"cross_entropy: the mean over {len(target)} samples, of which none counts "
            f"(ignore_index, weight), is not defined: use reduction='sum', or skip the batch"
        )
    scale: Any = 1 / total if reduction == "mean" else 1.0
    if label_smoothing:
        scale = scale if share is None else np.multiply(scale, 1, dtype=logits.dtype)
        losses = _smoothed(logits, target, weight, valid, label_smoothing) * scale
        loss: Tensor = losses if reduction == "none" else losses.sum()
        return loss
    if share is not None:
        logits = np.where((share == 0)[:, None], 0, logits)  # not 0 * inf
        scale = (share * scale).astype(logits.dtype)
    return apply(nll, logits, places(target), scale, reduction == "none")


def _checked(weight: Any, classes: int) -> Array:
    weight = as_real(weight, "cross_entropy").astype(np.float64)
    if weight.shape != (classes,):
        raise ValueError(
            f"cross_entropy: weight has shape {weight.shape}, expected {(classes,)}: one weight "
            f"for each class"
        )
    if not ((weight >= 0) & (weight < math.inf)).all():
        bad = int(np.argmin((weight >= 0) & (weight < math.inf)))
        raise ValueError(
            f"cross_entropy: the weight of class {bad} is {weight[bad]}: class weights are finite "
            f"and 0 or more, since a loss of negative weight has no minimum"
        )
    return weight


@np.errstate(under="ignore")
def _smoothed(logits: Any, target: Array, weight: Any, valid: Any, smoothing: float) -> Any:
    """One loss per sample for the target (1 - smoothing) * one_hot + smoothing / C."""
    classes = logits.shape[1]
    is_target = (np.arange(classes) == target[:, None]).astype(logits.dtype)  # (N, C)
    wanted = is_target * (1 - smoothing) + smoothing / classes
    if weight is not None:
        wanted *= weight
    if valid is not None:
        wanted *= valid[:, None]
    logp = np.where(wanted == 0, 0, log_softmax(logits))  # not 0 * -inf
    return -(wanted * logp).sum(axis=1)
