"""Why a loss or a weight is not finite, as far as can be seen after the fact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.nn import Module
from minidl.optim import Optimizer
from minidl.protocols import plain

_REMEDIES = (
    "To try: a lower learning rate; features scaled by data.Standardize; clip_norm=1.0 in fit "
    "(optim.clip_grad_norm in a loop of your own); `with minidl.debug():`, which names the first "
    "operation that goes wrong"
)


def loss_not_finite(
    value: str,
    place: str,
    model: Module,
    optimizer: Optimizer,
    predictions: Any,
    batch: Mapping[str, Any],
) -> FloatingPointError:
    """The error for a loss that is ``value`` in the step ``place``, with the likely cause."""
    data = spoiled({name: a for name, a in batch.items() if isinstance(a, np.ndarray)})
    weights = spoiled({name: p.data for name, p in model.named_parameters()})
    if data:
        cause = f"The cause is in the batch: {data}; repair the data."
    elif weights:
        cause = f"The weights were spoiled before this step: {weights}."
    elif not spoiled(outputs_of(predictions)):
        cause = (
            "The batch, the weights and the predictions are finite, so that it is the loss "
            "function: those that take logits stand any predictions."
        )
    else:
        cause = "The batch and the weights are finite, but the predictions overflow: " + (
            "the weights have grown too large, as they do when the learning rate is too high."
            if optimizer.steps
            else "before the first step, so that it is the features or the initial weights."
        )
    return FloatingPointError(
        f"the loss is {value} in {place}, with {_rule(optimizer)}. The model is as it was before "
        f"this step. {cause} {_REMEDIES}"
    )


def check_model_finite(place: str, model: Module, optimizer: Optimizer) -> None:
    """Raise if the step before has spoiled the model."""
    found = spoiled(model.state_dict())
    if found:
        raise FloatingPointError(
            f"after {place}, with {_rule(optimizer)}, the model is spoiled: {found}. {_REMEDIES}"
        )


def outputs_of(predictions: Any) -> dict[str, Array]:
    """The arrays among what a model returned."""
    outputs = plain(predictions)
    outputs = outputs if isinstance(outputs, tuple | list) else [outputs]
    return {str(i): z for i, z in enumerate(outputs) if isinstance(z, np.ndarray)}


def spoiled(arrays: Mapping[str, Array]) -> str:
    """Which of the arrays hold NaN or infinity, how much of it, and where."""
    found = []
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            places = np.argwhere(~np.isfinite(array))
            where = ", ".join(map(str, places[0]))
            found.append(f"{name}[{where}] is {array[tuple(places[0])]} (one of {len(places)})")
    return "; ".join(found)


def _rule(optimizer: Optimizer) -> str:
    rates = [group["lr"] for group in optimizer.groups]
    rates = [rate(optimizer.steps) if callable(rate) else rate for rate in rates]
    return f"{type(optimizer).__name__}, lr={', '.join(dict.fromkeys(f'{r:g}' for r in rates))}"
