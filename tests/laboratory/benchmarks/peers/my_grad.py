"""MyGrad: its own layers and loss, rules by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mygrad as mg
from mygrad.nnet.activations import relu
from mygrad.nnet.layers import batchnorm
from mygrad.nnet.losses import softmax_crossentropy

from benchmarks.measure import Run, calls
from benchmarks.peers.by_hand import Rule
from benchmarks.workloads import BN_EPS, BN_MOMENTUM, FUNCTIONS, Array, Network, chained, operands


class MyGrad:
    def __init__(self, network: Network, rule: str) -> None:
        self.layers = [[mg.tensor(p) for p in layer] for layer in network.weights()]
        self.tensors = [p for layer in self.layers for p in layer]
        self.running = [p for c in network.sizes[1:] for p in (mg.zeros(c).data, mg.ones(c).data)]
        self.rule = Rule([p.data for p in self.tensors], rule, network.hyper(rule))

    def step(self, x: Array, y: Array) -> Any:
        n = len(x)
        a: Any = x
        for i, (weight, bias, *affine) in enumerate(self.layers):
            a = mg.matmul(a, weight.T) + bias
            if affine:
                a = batchnorm(a, gamma=affine[0], beta=affine[1], eps=BN_EPS)
                mean, var = a.creator.mean, a.creator.var * (n / (n - 1))
                for old, new in zip(self.running[2 * i : 2 * i + 2], (mean, var), strict=True):
                    old += BN_MOMENTUM * (new - old)
            if i < len(self.layers) - 1:
                a = relu(a)
        loss = softmax_crossentropy(a, y)
        loss.backward()
        self.rule.step([p.grad for p in self.tensors])
        return loss


def training(network: Network, rule: str) -> dict[str, Callable[[], MyGrad]]:
    return {"": lambda: MyGrad(network, rule)}


def operation(name: str) -> dict[str, Run]:
    a, b, g = operands(name)
    ta, tb = mg.tensor(a), mg.tensor(b)
    function = FUNCTIONS[name]
    return {"": calls(lambda: function(ta, tb).backward(g))}


def chain(length: int) -> dict[str, Run]:
    x = mg.ones(8, dtype="f4")

    def there_and_back() -> None:
        chained(x, length).sum().backward()

    return {"": calls(there_and_back)}
