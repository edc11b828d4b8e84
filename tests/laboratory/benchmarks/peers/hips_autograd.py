"""HIPS autograd: ``value_and_grad`` of the loss written in its NumPy, rules by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import make_vjp, value_and_grad
from autograd.tracer import getval

from benchmarks.measure import Run, calls
from benchmarks.peers.by_hand import Rule
from benchmarks.workloads import BN_EPS, BN_MOMENTUM, FUNCTIONS, Array, Network, chained, operands


class Autograd:
    def __init__(self, network: Network, rule: str) -> None:
        self.network, self.layers = network, network.weights()
        self.arrays = [p for layer in self.layers for p in layer]
        self.running = [(np.zeros(c, "f4"), np.ones(c, "f4")) for _, c in network.layers]
        self.loss_and_gradients = value_and_grad(self.loss)
        self.rule = Rule(self.arrays, rule, network.hyper(rule))

    def loss(self, params: Any, x: Array, y: Array) -> Any:
        parameters = iter(params)
        n = len(x)
        for i, layer in enumerate(self.layers):
            x = anp.dot(x, next(parameters).T) + next(parameters)
            if len(layer) == 4:
                mean = anp.mean(x, 0)
                x = x - mean
                var = anp.mean(x * x, 0)
                x = x * (1 / anp.sqrt(var + BN_EPS) * next(parameters)) + next(parameters)
                for old, new in zip(self.running[i], (mean, var * (n / (n - 1))), strict=True):
                    old += BN_MOMENTUM * (getval(new) - old)
            if i < len(self.layers) - 1:
                x = anp.maximum(x, 0)
        x = x - anp.max(x, axis=1, keepdims=True)
        logp = x - anp.log(anp.sum(anp.exp(x), axis=1, keepdims=True))
        return -anp.mean(logp[np.arange(n), y])

    def step(self, x: Array, y: Array) -> Any:
        loss, gradients = self.loss_and_gradients(self.arrays, x, y)
        self.rule.step(gradients)
        return loss


def training(network: Network, rule: str) -> dict[str, Callable[[], Autograd]]:
    return {"": lambda: Autograd(network, rule)}


def operation(name: str) -> dict[str, Run]:
    a, b, g = operands(name)
    function = FUNCTIONS[name]

    def there_and_back() -> None:
        vjp, _ = make_vjp(lambda pair: function(pair[0], pair[1]))((a, b))
        vjp(g)

    return {"": calls(there_and_back)}


def chain(length: int) -> dict[str, Run]:
    x = np.ones(8, np.float32)
    loss_and_gradient = value_and_grad(lambda x: anp.sum(chained(x, length)))
    return {"": calls(lambda: loss_and_gradient(x))}
