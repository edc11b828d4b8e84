"""What the layers' functions and the losses say of inputs and targets that do not fit.

The functions here build errors and are called only when there is one, so that the texts stand
outside the files in which the arithmetic is read.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from minidl.arrays import Array
from minidl.checks import number, one_of

Reduction = Literal["mean", "sum", "none"]
REDUCTIONS: tuple[Reduction, ...] = ("mean", "sum", "none")


def misfit_of_linear(x: Array, weight: Array, bias: Array | None) -> ValueError:
    """The error of a linear map whose input and parameters do not fit together."""
    if weight.ndim != 2:
        return ValueError(f"linear: weight has shape {weight.shape}, expected (C, K)")
    if x.shape[-1:] != weight.shape[1:]:
        return ValueError(
            f"linear: x of shape {x.shape} does not fit a weight for {weight.shape[1]} input "
            f"features: the last axis of x must be {weight.shape[1]} long (images are flattened to "
            f"(N, K) first, with nn.Flatten() or reshape)"
        )
    shape = None if bias is None else bias.shape
    return ValueError(
        f"linear: bias has shape {shape}, expected {weight.shape[:1]}: one for each row of the "
        f"weight"
    )


def misfit_of_norm(
    shape: tuple[int, ...], mean: Any, var: Any, given: Any, n: int = 2
) -> ValueError:
    """The error of a batch norm whose input, parameters and statistics do not fit together, or
    with ``n`` values per channel, which are too few."""
    shapes = {p.shape for p in given}
    if len(shapes) > 1:
        return ValueError(
            f"batch_norm: weight, bias and running statistics have one shape (C,), not "
            f"{' and '.join(map(str, sorted(shapes)))}"
        )
    if len(shape) < 2 or shapes - {shape[1:2]}:
        channels = math.prod(next(iter(shapes))) if shapes else "C"
        return ValueError(
            f"batch_norm: x has shape {shape}, expected (N, {channels}) or (N, {channels}, ...)"
        )
    if (mean is None) != (var is None):
        return ValueError("batch_norm: running_mean and running_var go together; one is None")
    if n < 2:
        return ValueError(
            f"batch_norm: training takes two values per channel at least, and a batch of shape "
            f"{shape} has {n}: use a larger batch (drop_last=True drops a last one that is too "
            f"small), or eval() for prediction"
        )
    return ValueError("batch_norm: outside training it needs running_mean and running_var")


def misfit_of_classes(shape: tuple[int, ...], target: Array) -> Exception:
    """The error of a cross entropy whose logits and targets do not fit together."""
    if len(shape) < 2:
        return ValueError(f"cross_entropy: logits of shape {shape}, expected (N, C) or (N, C, ...)")
    if target.shape == (shape[0], *shape[2:]):
        return TypeError(
            f"cross_entropy: targets are class numbers and must be integers, not {target.dtype}: "
            f"convert with astype(np.int64)"
        )
    hint = ""
    if target.shape == shape:
        hint = ": these look one-hot, class numbers are target.argmax(axis=1)"
    elif target.size == math.prod(shape) // max(shape[1], 1):
        hint = ": use target.reshape(-1)" if len(shape) == 2 else ""
    return ValueError(
        f"cross_entropy: targets have shape {target.shape}, and logits of shape {shape} take "
        f"{(shape[0], *shape[2:])}{hint}"
    )


def out_of_range(classes: int, bad: Array) -> ValueError:
    """The error of targets that are no classes."""
    hint = " (if they count from 1, subtract 1)" if bad.min() == classes else ""
    return ValueError(
        f"cross_entropy: target {bad[0]} is out of range: with {classes} classes, targets are 0 to "
        f"{classes - 1}{hint}"
    )


def check_options(reduction: Any, label_smoothing: Any) -> None:
    """Raise unless cross entropy has these options."""
    one_of(reduction, "cross_entropy: reduction", REDUCTIONS)
    number(label_smoothing, "cross_entropy: label_smoothing", at_least=0, at_most=1)


def check_shares(target: Array) -> None:
    """Raise unless targets of the binary cross entropy are from 0 to 1."""
    if target.size and not (target.min() >= 0 and target.max() <= 1):
        raise ValueError(
            f"binary_cross_entropy_with_logits: targets are from 0 to 1, got {target.min()} to "
            f"{target.max()}"
        )


@np.errstate(under="ignore")
def narrowed(loss: Any, dtype: Any) -> Any:
    """A loss that was computed in float32, in the float16 of its predictions."""
    return loss.astype(dtype)
