"""What would go wrong only later, looked for before the first step and in it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minidl.arrays import Array
from minidl.data import DataLoader, MultiInputLoader
from minidl.diagnosis.softmax import SOFTMAX_TWICE, are_probabilities
from minidl.nn import CrossEntropyLoss, Module
from minidl.optim import Optimizer
from minidl.training.batches import by_name, called, columns, rows
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


def check_forms(run: Run, compiled: bool) -> None:
    """Raise unless loss and steps are for data of this form."""
    weighted = [name for name, loader in run.loaders.items() if columns(loader)[2] is not None]
    if weighted:
        run.loss_of.check(f"fit: {weighted[0]}")
    if not compiled:
        return
    kinds = {
        f"accumulate={run.accumulate}, since a program makes an update of each batch (a larger "
        f"batch_size does the same)": run.accumulate > 1,
        "weights of samples": "train" in weighted,
        "several inputs": isinstance(run.train, MultiInputLoader),
    }
    for kind, there in kinds.items():
        if there:
            raise ValueError(f"fit: compiled=True is not for {kind}: leave compiled=True out")


def try_odd_batches(run: Run) -> None:
    """Raise now for a batch that would come only later and that the model does not take."""
    (x, y, _), n, batch_size = columns(run.train), run.train.samples, run.train.batch_size
    full, rest = divmod(n, batch_size)
    if run.buffers and full and rest == 1 and not run.train.drop_last:
        note = (
            f"fit: the last batch of each epoch will be one sample, since {n} = {full} * "
            f"{batch_size} + 1, and the model does not take it: make the DataLoader with "
            f"drop_last=True, or another batch_size"
        )
        with _noted(note), run.left_as_it_was() as to_train_mode:
            to_train_mode()
            called(run.model, rows(x, slice(-1, None)))
    if "validation" in run.loaders:
        own_x, own_y, _ = columns(run.loaders["validation"])
        theirs, ours = _shapes(x, y), _shapes(own_x, own_y)
        if [shape[1:] for shape in ours] != [shape[1:] for shape in theirs]:
            note = (
                f"in the validation data of fit, tried before the first step since their shapes "
                f"{' and '.join(map(str, ours))} are not those of the training data, "
                f"{' and '.join(map(str, theirs))}"
            )
            with _noted(note), run.left_as_it_was():
                run.model.eval()
                run.loss(called(run.model, rows(own_x, slice(1))), own_y[:1])


def _shapes(x: Any, y: Array) -> list[tuple[int, ...]]:
    return [array.shape for array in (*by_name(x).values(), y)]


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
        _, targets, _ = columns(loader)
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
