"""What is measured of minidl, written as its README writes it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import minidl
from benchmarks.measure import Run, calls
from benchmarks.workloads import (
    FUNCTIONS,
    NETWORKS,
    RULES,
    Array,
    Network,
    chained,
    digits,
    first_values,
    operands,
)
from minidl import Tensor, nn, optim
from minidl.data import DataLoader
from minidl.training import fit


def model_of(network: Network) -> nn.Sequential:
    """The network, with its first weights."""
    layers: list[nn.Module] = []
    for i, (k, c) in enumerate(network.layers):
        layers.append(nn.Linear(k, c))
        if network.batch_norm and i < len(network.layers) - 1:
            layers.append(nn.BatchNorm(c))
        layers.append(nn.ReLU())
    model = nn.Sequential(*layers[:-1])
    for parameter, value in zip(model.parameters(), network.parameters(), strict=True):
        parameter.data[...] = value
    return model


def optimizer_of(parameters: Any, rule: str, hyper: dict[str, Any]) -> optim.Optimizer:
    hyper = dict(hyper)
    if rule == "sgd":
        return optim.SGD(parameters, **hyper)
    if rule == "momentum":
        return optim.Momentum(parameters, **hyper)
    betas = hyper.pop("beta1"), hyper.pop("beta2")
    return optim.Adam(parameters, betas=betas, **hyper)


class Minidl:
    def __init__(self, network: Network, rule: str) -> None:
        self.model = model_of(network)
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = optimizer_of(self.model.parameters(), rule, network.hyper(rule))

    def step(self, x: Array, y: Array) -> Tensor:
        self.optimizer.zero_grad()
        loss = self.loss(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return loss


class Compiled(Minidl):
    """The same step, compiled. A new one makes its first steps, which are made both ways, before
    anybody looks at the clock, and starts from the first weights again."""

    def __init__(self, network: Network, rule: str) -> None:
        super().__init__(network, rule)
        self.step = minidl.compile(self.model, self.loss, self.optimizer)  # type: ignore
        batch = network.batches()[0]
        state = self.model.state_dict(), self.optimizer.state_dict()
        for _ in range(3):
            self.step(*batch)
        self.model.load_state_dict(state[0])
        self.optimizer.load_state_dict(state[1])


def training(network: Network, rule: str) -> dict[str, Callable[[], Minidl]]:
    return {"eager": lambda: Minidl(network, rule), "compiled": lambda: Compiled(network, rule)}


def epoch(rule: str) -> dict[str, Run]:
    """Epochs of the digits with ``fit``; a slice is one call of it."""
    network = NETWORKS["digits"]
    x, y = digits()

    def run(n: int, compiled: bool) -> float:
        mine = Minidl(network, rule)
        loader = DataLoader(x, y, batch_size=network.batch, shuffle=True, rng=0)
        with terminal():
            start = time.perf_counter()
            fit(mine.model, mine.loss, mine.optimizer, loader, epochs=n, compiled=compiled)
            return time.perf_counter() - start

    return {"eager": lambda n: run(n, False), "compiled": lambda n: run(n, True)}


@contextmanager
def terminal() -> Iterator[None]:
    """Make standard error a terminal that somebody reads, so that progress bars are drawn."""
    import pty  # not on Windows

    reader, writer = pty.openpty()

    def read() -> None:
        try:
            while os.read(reader, 65536):
                pass
        except OSError:  # the other end was closed
            pass

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    before = sys.stderr
    sys.stderr = os.fdopen(writer, "w", encoding="utf-8")
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = before
        thread.join()
        os.close(reader)


def optimizer(rule: str, size: int, tensors: int) -> dict[str, Run]:
    parameters, loss = [], Tensor(0.0)
    for value, gradient in first_values(size, tensors):
        parameters.append(nn.Parameter(value))
        loss = loss + (parameters[-1] * gradient).sum()
    rule_ = optimizer_of(parameters, rule, RULES[rule])
    loss.backward()  # leaves the gradients where they are in training
    return {"": calls(rule_.step)}


def operation(name: str) -> dict[str, Run]:
    first, second, g = operands(name)
    a, b = Tensor(first, requires_grad=True), Tensor(second, requires_grad=True)
    function = FUNCTIONS[name]

    def there_and_back() -> None:
        function(a, b).backward(g)
        a.grad = b.grad = None

    return {"": calls(there_and_back)}


def chain(length: int) -> dict[str, Run]:
    x = Tensor(np.ones(8, np.float32), requires_grad=True)

    def there_and_back() -> None:
        chained(x, length).sum().backward()
        x.grad = None

    return {"": calls(there_and_back)}
