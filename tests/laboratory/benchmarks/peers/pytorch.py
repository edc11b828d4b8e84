"""PyTorch, eager: with its default optimizer, ``foreach`` and ``fused``, on one thread and on all.

The loops are what a user of small data writes who cares for speed: whole arrays as tensors, batches
by indexing, no DataLoader (which would cost ten times the step), nothing read out of a tensor
before the end of an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.measure import Run, calls
from benchmarks.workloads import (
    FUNCTIONS,
    NETWORKS,
    RULES,
    Batch,
    Network,
    chained,
    digits,
    first_values,
    operands,
)

PAUSE = 0.03
THREADS = sorted({1, torch.get_num_threads()})
KINDS: dict[str, dict[str, bool]] = {
    "default": {},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}


def variants() -> Iterator[tuple[str, dict[str, bool], int]]:
    for kind, options in KINDS.items():
        for threads in THREADS:
            yield f"{kind}, {threads} thread{'s' * (threads > 1)}", options, threads


def optimizer_of(
    parameters: Any, rule: str, hyper: dict[str, Any], options: dict[str, bool]
) -> torch.optim.Optimizer:
    hyper = dict(hyper)
    if rule == "adam":
        betas = hyper.pop("beta1"), hyper.pop("beta2")
        return torch.optim.Adam(parameters, betas=betas, **hyper, **options)
    return torch.optim.SGD(parameters, lr=hyper["lr"], momentum=hyper.get("mu", 0.0), **options)


class Torch:
    def __init__(self, network: Network, rule: str, options: dict[str, bool], threads: int) -> None:
        layers: list[nn.Module] = []
        for i, (k, c) in enumerate(network.layers):
            layers.append(nn.Linear(k, c))
            if network.batch_norm and i < len(network.layers) - 1:
                layers.append(nn.BatchNorm1d(c))
            layers.append(nn.ReLU())
        self.model = nn.Sequential(*layers[:-1])
        with torch.no_grad():
            for parameter, value in zip(self.model.parameters(), network.parameters(), strict=True):
                parameter.copy_(torch.from_numpy(value))
        self.optimizer = optimizer_of(self.model.parameters(), rule, network.hyper(rule), options)
        self.threads = threads

    def begin(self) -> None:
        torch.set_num_threads(self.threads)

    def step(self, x: Any, y: Any) -> Any:
        self.optimizer.zero_grad()
        self.logits = self.model(x)
        loss = cross_entropy(self.logits, y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def training(network: Network, rule: str) -> dict[str, Callable[[], Torch]]:
    return {
        name: partial(Torch, network, rule, options, threads)
        for name, options, threads in variants()
    }


def batches(batches: list[Batch]) -> list[Any]:
    return [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches]


def epoch(rule: str) -> dict[str, Run]:
    network = NETWORKS["digits"]
    x, y = map(torch.from_numpy, digits())

    def run(contestant: Torch) -> Callable[[], tuple[float, float]]:
        def one() -> tuple[float, float]:
            contestant.begin()
            total, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
            for rows in torch.randperm(len(x)).split(network.batch):
                xb, yb = x[rows], y[rows]
                total += contestant.step(xb, yb) * len(rows)
                correct += (contestant.logits.detach().argmax(1) == yb).sum()
            return total.item() / len(x), correct.item() / len(x)

        return one

    return {
        name: calls(run(Torch(network, rule, options, threads)))
        for name, options, threads in variants()
    }


def optimizer(rule: str, size: int, tensors: int) -> dict[str, Run]:
    runs = {}
    for name, options, threads in variants():
        parameters = []
        for value, gradient in first_values(size, tensors):
            parameter = torch.from_numpy(value).requires_grad_()
            parameter.grad = torch.from_numpy(gradient)
            parameters.append(parameter)
        step = optimizer_of(parameters, rule, RULES[rule], options).step
        runs[name] = calls(step, begin=partial(torch.set_num_threads, threads))
    return runs


def operation(name: str) -> dict[str, Run]:
    a, b, g = (torch.from_numpy(value) for value in operands(name))
    a.requires_grad_()
    b.requires_grad_()
    function = FUNCTIONS[name]

    def there_and_back() -> None:
        function(a, b).backward(g)
        a.grad = b.grad = None

    return {
        f"{t} thread{'s' * (t > 1)}": calls(there_and_back, begin=partial(torch.set_num_threads, t))
        for t in THREADS
    }


def chain(length: int) -> dict[str, Run]:
    x = torch.ones(8, requires_grad=True)

    def there_and_back() -> None:
        chained(x, length).sum().backward()
        x.grad = None

    return {"1 thread": calls(there_and_back, begin=partial(torch.set_num_threads, 1))}
