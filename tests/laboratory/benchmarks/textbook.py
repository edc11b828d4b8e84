"""The training step as a learner writes it from the formulas: readable, and allocating as it goes.

It shows what the same step costs before anybody looks at its cost.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.workloads import BN_EPS, BN_MOMENTUM, Array, Network


class Textbook:
    """Forward pass, backward pass and update, one formula after the other."""

    def __init__(self, network: Network, rule: str) -> None:
        self.last = len(network.layers)
        self.params: dict[str, Array] = {}
        self.running: dict[str, Array] = {}
        for i, parameters in enumerate(network.weights(), 1):
            names = ("W", "b", "gamma", "beta")
            self.params |= {f"{n}{i}": p for n, p in zip(names, parameters, strict=False)}
            self.running[f"mean{i}"] = np.zeros_like(parameters[1])
            self.running[f"var{i}"] = np.ones_like(parameters[1])
        self.rule, self.hyper, self.t = rule, network.hyper(rule), 0
        self.m = {name: np.zeros_like(p) for name, p in self.params.items()}
        self.v = {name: np.zeros_like(p) for name, p in self.params.items()}

    def step(self, x: Array, y: Array) -> float:
        loss, grads = self.loss_and_gradients(x, y)
        self.update(grads)
        return loss

    def loss_and_gradients(self, x: Array, y: Array) -> tuple[float, dict[str, Array]]:
        params, n = self.params, len(x)
        cache = {"a0": x}

        # Forward
        for i in range(1, self.last + 1):
            z = cache[f"a{i - 1}"] @ params[f"W{i}"].T + params[f"b{i}"]
            if f"gamma{i}" in params:
                mean, var = z.mean(axis=0), z.var(axis=0)
                cache[f"std{i}"] = np.sqrt(var + BN_EPS)
                cache[f"normed{i}"] = (z - mean) / cache[f"std{i}"]
                z = params[f"gamma{i}"] * cache[f"normed{i}"] + params[f"beta{i}"]
                self.follow(f"mean{i}", mean)
                self.follow(f"var{i}", var * n / (n - 1))
            cache[f"z{i}"] = z
            cache[f"a{i}"] = np.maximum(z, 0)
        shifted = z - z.max(axis=1, keepdims=True)
        exps = np.exp(shifted)
        sums = exps.sum(axis=1, keepdims=True)
        probabilities = exps / sums
        log_probabilities = shifted - np.log(sums)
        loss = -log_probabilities[np.arange(n), y].mean()

        # Backward
        grads = {}
        one_hot = np.zeros_like(probabilities)
        one_hot[np.arange(n), y] = 1
        d = (probabilities - one_hot) / np.float32(n)
        for i in range(self.last, 0, -1):
            if i < self.last:
                d = d * (cache[f"z{i}"] > 0)
            if f"gamma{i}" in params:
                normed = cache[f"normed{i}"]
                grads[f"gamma{i}"] = (d * normed).sum(axis=0)
                grads[f"beta{i}"] = d.sum(axis=0)
                dn = d * params[f"gamma{i}"]
                d = dn - dn.mean(axis=0) - normed * (dn * normed).mean(axis=0)
                d = d / cache[f"std{i}"]
            grads[f"W{i}"] = d.T @ cache[f"a{i - 1}"]
            grads[f"b{i}"] = d.sum(axis=0)
            if i > 1:
                d = d @ params[f"W{i}"]
        return loss, grads

    def follow(self, name: str, value: Array) -> None:
        self.running[name] = (1 - BN_MOMENTUM) * self.running[name] + BN_MOMENTUM * value

    def update(self, grads: dict[str, Array]) -> None:
        params, m, v, hyper = self.params, self.m, self.v, self.hyper
        self.t += 1
        for name, grad in grads.items():
            if self.rule == "sgd":
                params[name] -= hyper["lr"] * grad
            elif self.rule == "momentum":
                v[name] = hyper["mu"] * v[name] - grad
                params[name] += hyper["lr"] * v[name]
            else:
                beta1, beta2 = hyper["beta1"], hyper["beta2"]
                m[name] = beta1 * m[name] + (1 - beta1) * grad
                v[name] = beta2 * v[name] + (1 - beta2) * grad**2
                m_hat = m[name] / (1 - beta1**self.t)
                v_hat = v[name] / (1 - beta2**self.t)
                params[name] -= hyper["lr"] * m_hat / (np.sqrt(v_hat) + hyper["eps"])


def training(network: Network, rule: str) -> dict[str, Callable[[], Textbook]]:
    return {"": lambda: Textbook(network, rule)}
