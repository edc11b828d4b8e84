"""What would go wrong only later, looked for before the first step and in it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minidl.arrays import Array
from minidl.data import DataLoader
from minidl.diagnosis.softmax import SOFTMAX_TWICE, are_probabilities
from minidl.nn import CrossEntropyLoss, Module
from minidl.optim import Optimizer
from minidl.training.measures import known
from minidl.training.run import Run


def check_parameters(
    model: Module, optimizer: Optimizer, saving: bool, caller: str = "fit"
) -> None:
    """Raise or warn unless the optimizer moves what the model is made of."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError(f"{caller}: the model has no parameter that requires a gradient")
    rule = type(optimizer).__name__
    held = {id(p) for group in optimizer.groups for p in group["params"]}
    strangers = len(held - {id(p) for p in model.parameters()})
    missing = [name for name, p in trainable.items() if id(p) not in held]
    lacks = f"{caller}: {rule} does not hold {', '.join(missing)}"
    if len(missing) == len(trainable) or (missing and strangers):
        raise ValueError(
            f"{lacks}, but holds {strangers} parameters of other models: was it made before the "
            f"model was rebuilt? Make it anew as {rule}(model.parameters(), ...)"
        )
    if strangers and saving:
        raise ValueError(
            f"fit: {rule} holds {strangers} parameters that are not the model's, and a checkpoint "
            f"would lack them: make what they belong to an attribute of the model"
        )
    if missing:
        warnings.warn(
            f"{lacks}, so that they stay as they are: give it model.parameters(), or set their "
            f"requires_grad to False if that is meant",
            RuntimeWarning,
            stacklevel=3,
        )


def try_odd_batches(run: Run) -> None:
    """Raise now for a batch that would come only later and that the model does not take."""
    (x, y), batch_size = run.train.arrays, run.train.batch_size
    full, rest = divmod(len(x), batch_size)
    if run.buffers and full and rest == 1 and not run.train.drop_last:
        note = (
            f"fit: the last batch of each epoch will be one sample, since {len(x)} = {full} * "
            f"{batch_size} + 1, and the model does not take it: make the DataLoader with "
            f"drop_last=True, or another batch_size"
        )
        with _noted(note), run.left_as_it_was() as to_train_mode:
            to_train_mode()
            run.model(x[-1:])
    if "validation" in run.loaders:
        own_x, own_y = run.loaders["validation"].arrays
        if own_x.shape[1:] != x.shape[1:] or own_y.shape[1:] != y.shape[1:]:
            note = (
                f"in the validation data of fit, tried before the first step since their shapes "
                f"{own_x.shape} and {own_y.shape} are not those of the training data, {x.shape} "
                f"and {y.shape}"
            )
            with _noted(note), run.left_as_it_was():
                run.model.eval()
                run.loss(run.model(own_x[:1]), own_y[:1])


def look_at_first_step(run: Run, outputs: Any, y: Array) -> None:
    """Raise or warn of what would be wrong in every step, or in one to come."""
    if all(p.grad is None for group in run.optimizer.groups for p in group["params"]):
        raise ValueError(
            "the loss depends on no parameter that the optimizer holds, so that none got a "
            "gradient: see that forward() uses them and that they are not frozen"
        )
    new = [name for name, p in run.model.named_parameters() if id(p) not in run.trained]
    if new:
        raise ValueError(
            f"forward() made new parameters, {', '.join(new)}, which the optimizer does not "
            f"hold: make layers in __init__, before the optimizer"
        )
    loss = known(run.loss)
    if isinstance(loss, CrossEntropyLoss) and are_probabilities(outputs):
        warnings.warn(SOFTMAX_TWICE, RuntimeWarning, stacklevel=5)  # where fit was called
    check = getattr(loss, "check_targets", None)
    for name, loader in run.loaders.items():
        targets = loader.arrays[1]
        as_they_come = type(loader).__iter__ is DataLoader.__iter__
        if check is not None and as_they_come and targets.shape[1:] == y.shape[1:]:
            with _noted(f"in the {name} data of fit, looked at before the first step"):
                check((len(targets), *outputs.shape[1:]), targets)


@contextmanager
def _noted(note: str) -> Iterator[None]:
    """Errors of what is wrong with the data or the model say where it was found."""
    try:
        yield
    except (TypeError, ValueError) as error:
        error.add_note(note)
        raise
