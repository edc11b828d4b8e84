"""scikit-learn's MLPClassifier, several steps in each call of ``partial_fit``.

It has no batch normalisation, and takes two classes with one logistic output, which is another
network; both are left out. A call checks and encodes its data, which costs more than a small step:
to compare the steps themselves, a call takes all the batches at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.measure import RESET, Run
from benchmarks.workloads import Array, Network, NotComparable


class Sklearn:
    def __init__(self, network: Network, rule: str) -> None:
        hyper = network.hyper(rule)
        self.model = MLPClassifier(
            network.sizes[1:-1],
            solver="adam" if rule == "adam" else "sgd",
            alpha=0.0,
            batch_size=network.batch,
            learning_rate_init=hyper["lr"],
            momentum=hyper.get("mu", 0.0),
            nesterovs_momentum=False,
            shuffle=False,
        )
        self.classes = np.arange(network.sizes[-1])
        nothing = np.zeros((network.batch, network.sizes[0]), np.float32)
        labels = np.resize(self.classes, network.batch)
        self.model.partial_fit(nothing, labels, classes=self.classes)  # it makes its weights
        for i, (weight, bias) in enumerate(network.weights()):
            self.model.coefs_[i] = np.ascontiguousarray(weight.T)
            self.model.intercepts_[i] = bias
        del self.model._optimizer  # it is made anew for these weights

    def step(self, x: Array, y: Array) -> Any:
        self.model.partial_fit(x, y)
        return np.float64(self.model.loss_)


def training(network: Network, rule: str) -> dict[str, Callable[[], Sklearn]]:
    if network.batch_norm:
        raise NotComparable("no batch normalisation")
    if network.sizes[-1] == 2:
        raise NotComparable("one output for two classes")
    return {"": lambda: Sklearn(network, rule)}


def timed(network: Network, rule: str) -> dict[str, Run]:
    batches = network.batches()
    x, y = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    state: dict[str, Any] = {"made": None, "taken": RESET}

    def run(n: int) -> float:
        if state["taken"] >= RESET:
            state.update(made=Sklearn(network, rule), taken=0)
            state["made"].step(*batches[0])
        calls = -(-n // len(batches))
        start = time.perf_counter()
        for _ in range(calls):
            state["made"].step(x, y)
        end = time.perf_counter()
        state["taken"] += calls * len(batches)
        return (end - start) * n / (calls * len(batches))

    return {"": run}
