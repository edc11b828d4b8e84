"""Evaluate and predict: a model as it is, over data in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike

from minidl.arrays import Array
from minidl.data import DataLoader, MultiInputLoader
from minidl.data.inputs import Inputs
from minidl.modes import no_grad
from minidl.nn import Module
from minidl.parts import check_parts
from minidl.protocols import plain
from minidl.training.batches import (
    Data,
    as_loader,
    by_name,
    called,
    check_inputs,
    columns,
    dtype_of,
    inputs_loader,
)
from minidl.training.measures import Function, Means, single_number
from minidl.training.metrics import Metrics, metrics_by_name
from minidl.training.weighting import Weighted


def evaluate(
    model: Module, loss: Function, data: Data, metrics: Metrics = None
) -> dict[str, float]:
    """Return the loss and the metrics of ``model`` over ``data``, in eval mode, without a graph.

    Args:
        model: any Module; its mode is restored.
        loss: a function of predictions and targets that returns one number.
        data: a DataLoader of pairs (x, y), or a tuple (x, y) of arrays, for batches of 1024; with
            weights and several inputs as for :func:`fit`.
        metrics: as for :func:`fit`.

    Returns:
        ``"loss"`` and each metric by its name, as one batch of all the data would give them. For
        that, each batch counts by its samples; with the losses of ``nn`` (or their functions) by
        what they divided by, such as the weights of the classes, and their sums add up. A loss or
        metric of your own that is not the mean over the samples says so by a method
        ``divisor(predictions, targets)``: what it divided by, None if it is a sum. F1 and the like
        are computed once, of all predictions (see :func:`minidl.training.whole_set`).

    Raises:
        TypeError, ValueError: for arguments that do not fit together, and for empty data.

    Example:
        >>> from minidl import nn
        >>> model = nn.Linear(1, 2)
        >>> model.weight.data[:] = [[1.0], [-1.0]]
        >>> data = (np.array([[3.0], [-3.0], [2.0], [1.0]]), np.array([0, 1, 0, 1]))
        >>> evaluate(model, nn.CrossEntropyLoss(), data)["accuracy"]
        0.75
    """
    check_parts("evaluate", model, loss)
    loader = as_loader("evaluate: data", data, model)
    if columns(loader)[2] is not None:
        Weighted(loss).check("evaluate")
    with modes_restored(model):
        return measured(model, loader, Means(loss, metrics_by_name(metrics, loss)))


def predict(model: Module, x: ArrayLike | Inputs, batch_size: int = 1024) -> Array:
    """Return the outputs of ``model`` for all of ``x``, in eval mode, without a graph.

    Args:
        model: a Module that gives one output per sample; its mode is restored.
        x: shape (N, ...); or several inputs, a tuple or a dict of arrays, as for :func:`fit`.
        batch_size: how many samples to compute at once, which bounds the memory.

    Returns:
        An ndarray of N outputs of any shape, in the order of ``x``.

    Raises:
        TypeError: if ``model`` is no Module, or ``x`` is not an array of numbers.
        ValueError: if ``x`` is empty or has NaN or infinity, or if the outputs are not N.

    Example:
        >>> from minidl import nn
        >>> predict(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), np.zeros((5, 8, 8))).shape
        (5, 10)
    """
    check_parts("predict", model)
    loader = inputs_loader((x,), batch_size=batch_size, dtype=dtype_of(model))
    if isinstance(loader, MultiInputLoader):
        check_inputs("predict", model, loader.together(loader.arrays)[0])
    outputs = []
    with modes_restored(model), no_grad():
        model.eval()
        for (batch,) in loader:
            outputs.append(plain(called(model, batch)))
            n = len(next(iter(by_name(batch).values())))
            if np.shape(outputs[-1])[:1] != (n,):
                raise ValueError(
                    f"predict: for {n} samples the model returned something of shape "
                    f"{np.shape(outputs[-1])}, expected ({n}, ...): one output per sample"
                )
    return np.concatenate(outputs)


@contextmanager
def modes_restored(model: Module) -> Iterator[Callable[[], None]]:
    """Restore the modes afterwards; what is yielded switches to training, but for frozen modules.

    Frozen are those in eval mode within a model in train mode.
    """
    modes = [(module, module.training) for _, module in model.modules()]
    frozen = [module for module, mode in modes if model.training and not mode]

    def to_train_mode() -> None:
        model.train()
        for module in frozen:
            module.training = False

    try:
        yield to_train_mode
    finally:
        for module, mode in modes:
            module.training = mode


def measured(model: Module, loader: DataLoader, means: Means) -> dict[str, float]:
    """The means over all batches, in eval mode, without a graph."""
    model.eval()
    loss_of = Weighted(means.loss)
    with no_grad():
        for x, y, *weights in loader:
            predictions = called(model, x)
            share = loss_of.share(plain(predictions), y, *weights)
            loss = math.nan
            if share != 0:
                loss = single_number(loss_of(predictions, y, *weights), "the loss")
            means.add(predictions, y, share, loss)
    return means.final()
