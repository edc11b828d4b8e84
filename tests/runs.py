"""What the tests of training share: data, models, the arguments of fit, and ways to stop it."""

from __future__ import annotations

import functools
import io
import pathlib
import signal
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.data import DataLoader
from minidl.modes import is_recording
from minidl.nn import Module
from minidl.optim import Optimizer
from minidl.tensor import Array, Tensor

ROOT = pathlib.Path(minidl.__file__).parent.parent

X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)  # three classes
cross_entropy = nn.CrossEntropyLoss()

RULES: dict[str, Callable[[Any], Optimizer]] = {
    # with hyper-parameters that are not the defaults, and a schedule
    "sgd": lambda p: optim.SGD(p, lr=optim.schedules.cosine(0.1, steps=40), weight_decay=0.01),
    "momentum": lambda p: optim.Momentum(p, lr=optim.schedules.warmup(0.05, 20), mu=0.8),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.03, eps=1e-6),
    "rmsprop": lambda p: optim.RMSProp(p, lr=0.003, decay_rate=0.9),
    "adam": lambda p: optim.Adam(
        p, lr=optim.schedules.step_decay(0.02, every=7, factor=0.5), betas=(0.8, 0.99)
    ),
}


def classifier(rng: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8, rng=rng), nn.ReLU(), nn.Linear(8, 3, rng=rng + 1))


def everything() -> nn.Sequential:
    """A model with all that has a state: statistics, dropout by two generators."""
    return nn.Sequential(
        nn.Linear(4, 8),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(8, 8),
        nn.Dropout(0.3, rng=5),
        nn.Linear(8, 3),
    )


def setting(rule: str = "adam", model: Module | None = None) -> dict[str, Any]:
    """The arguments of fit, all made anew."""
    model = classifier() if model is None else model
    return {
        "model": model,
        "loss": cross_entropy,
        "optimizer": RULES[rule](model.parameters()),
        "train": DataLoader(X, Y, batch_size=8, shuffle=True, rng=2),
        "progress": False,
    }


def bits(state: Any) -> Any:
    """A state with every array as its dtype and bytes, to be compared with ``==``."""
    if isinstance(state, dict):
        return {key: bits(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [bits(value) for value in state]
    if isinstance(state, np.ndarray):
        return state.dtype.str, state.shape, state.tobytes()
    return state


def at_call(number: int, act: Callable[[], object], function: Any = cross_entropy) -> Any:
    """The function, which also does something when it is called for that time (1: the first)."""
    calls = 0

    def acting(predictions: Any, targets: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            act()
        return function(predictions, targets)

    return functools.update_wrapper(acting, function)


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> None:
        raise error

    return act


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal. (As a fixture this would be undone by pytest before the test.)"""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    return terminal


class Modes(Module):
    """Notes whether it is in train mode, at each call."""

    def __init__(self) -> None:
        self.linear = nn.Linear(4, 3)
        self.sub = nn.Dropout(0.0)
        self.seen: list[tuple[bool, bool, bool]] = []

    def forward(self, x: Array) -> Tensor:
        self.seen.append((self.training, self.sub.training, is_recording()))
        return self.sub(self.linear(x))
