"""What the tests of the steps of fit and of its data share: a model in float64, and losses in which
samples count differently."""

from __future__ import annotations

from typing import Any

import numpy as np
from runs import Y, classifier

from minidl import functional as F
from minidl import nn, optim
from minidl.nn import Module
from minidl.tensor import Array

quiet: dict[str, Any] = {"progress": False}


def wide(rng: int = 1) -> nn.Sequential:
    """A classifier in float64, without BatchNorm."""
    model = classifier(rng)
    for p in model.parameters():
        p.data = p.data.astype(np.float64)
    return model


def sgd(model: Module, lr: Any = 0.5) -> optim.Optimizer:
    return optim.SGD(model.parameters(), lr=lr)


def weights_of(model: Module) -> Array:
    return np.concatenate([p.data.ravel() for p in model.parameters()])


CLASS_WEIGHTS = np.array([0.5, 3.0, 1.0])
SOME_IGNORED = np.where(np.arange(50) % 7 < 3, -100, Y)
FEW_LEFT = np.where(np.arange(50) < 40, -100, Y)  # whole batches of which nothing counts
LOSSES: dict[str, tuple[Any, Array]] = {
    "mean": (nn.CrossEntropyLoss(), Y),
    "class weights": (nn.CrossEntropyLoss(CLASS_WEIGHTS), Y),
    "ignored": (nn.CrossEntropyLoss(CLASS_WEIGHTS), SOME_IGNORED),
    "hardly any": (nn.CrossEntropyLoss(), FEW_LEFT),
    "hardly any, the last ignored": (nn.CrossEntropyLoss(), FEW_LEFT[::-1].copy()),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), Y),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), Y),
    "a function": (F.cross_entropy, Y),
}
