"""The training step as an expert writes it by hand in NumPy: the bar that minidl is held to.

Parameters, gradients and state lie in one flat array each, of which the layers see views; gradients
are derived on paper and written straight into the flat array; softmax and cross entropy are one,
and so are the steps of batch normalisation; what can be done in place is done in place; everything
is float32. Arrays for activations are allocated as they are needed, as one does. ``floor.py`` shows
what is left when even that is avoided.

Names: N samples, K inputs and C outputs of a layer; ``a`` what goes into a layer, ``z`` what it
computes, ``d`` the gradient of the loss with respect to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.measure import Run, calls
from benchmarks.workloads import (
    BN_EPS,
    BN_MOMENTUM,
    NETWORKS,
    RULES,
    Array,
    Network,
    digits,
    first_values,
    operands,
)

BLOCK = 32768  # elements that a rule takes at a time: they and what it computes fit into the cache


class Expert:
    """The whole step, for the networks and rules of the benchmarks."""

    def __init__(self, network: Network, rule: str) -> None:
        values = network.parameters()
        p = np.concatenate([value.ravel() for value in values])
        g = np.zeros_like(p)
        ends = np.cumsum([value.size for value in values])
        views = [
            [flat[end - v.size : end].reshape(v.shape) for v, end in zip(values, ends, strict=True)]
            for flat in (p, g)
        ]
        n = 4 if network.batch_norm else 2  # parameters of a layer
        self.parameters = [views[0][i : i + n] for i in range(0, len(values), n)]
        self.gradients = [views[1][i : i + n] for i in range(0, len(values), n)]
        self.running = [
            (np.zeros(c, np.float32), np.ones(c, np.float32)) if network.batch_norm else None
            for _, c in network.layers[:-1]
        ]
        self.rule = RULE[rule](p, g, **network.hyper(rule))
        self.right = 0  # how many samples of the last step had the right class

    def step(self, x: Array, y: Array) -> Any:
        """Learn from the batch and return its loss."""
        kept = []  # for each layer its input, and what its backward pass needs
        a = x
        for (w, b, *norm), running in zip(self.parameters, [*self.running, None], strict=True):
            z = a @ w.T  # (N, C)
            z += b
            kept.append([a, None])
            if running is not None:
                z, kept[-1][1] = normalized(z, *norm, *running)
            if len(kept) < len(self.parameters):
                a = np.maximum(z, 0, out=z)

        # Softmax and cross entropy in one: loss = mean(log(sum(exp z)) - z[y]), d = (p - 1_y) / N
        rows = np.arange(len(x))
        z -= z.max(axis=1, keepdims=True)
        picked = z[rows, y]
        self.right = np.count_nonzero(picked == 0)
        d = np.exp(z, out=z)
        total = d.sum(axis=1, keepdims=True)
        loss = (np.log(total[:, 0]) - picked).mean()
        d /= total
        d[rows, y] -= 1
        d /= len(x)

        for i in reversed(range(len(kept))):
            (w, _, *norm), (dw, db, *dnorm) = self.parameters[i], self.gradients[i]
            a, statistics = kept[i]
            if i < len(kept) - 1:
                d *= kept[i + 1][0] > 0  # ReLU
            if statistics is not None:
                d = denormalized(d, norm[0], *dnorm, *statistics)
            np.matmul(d.T, a, out=dw)
            d.sum(axis=0, out=db)
            if i:
                d = d @ w
        self.rule.step()
        return loss

    def correct(self, n: int) -> int:
        """How many samples of the last step, a batch of n, had the right class."""
        return self.right


def normalized(
    z: Array, gamma: Array, beta: Array, running_mean: Array, running_var: Array
) -> tuple[Array, tuple[Array, Array]]:
    """Batch normalisation, y = (z - mean) / sqrt(var + eps) * gamma + beta; z becomes z - mean."""
    n = len(z)
    mean = z.mean(axis=0)
    z -= mean
    var = np.einsum("nc,nc->c", z, z)
    var /= n
    running_mean += BN_MOMENTUM * (mean - running_mean)
    running_var += BN_MOMENTUM * (var * (n / (n - 1)) - running_var)
    scale = 1 / np.sqrt(var + BN_EPS)
    y = z * (scale * gamma)
    y += beta
    return y, (z, scale)


def denormalized(
    d: Array, gamma: Array, dgamma: Array, dbeta: Array, z: Array, scale: Array
) -> Array:
    """The gradient of z before it was normalised: gamma s (d - mean(d) - z s**2 mean(d z))."""
    d.sum(axis=0, out=dbeta)
    np.einsum("nc,nc->c", d, z, out=dgamma)
    dgamma *= scale
    z *= dgamma * scale / len(d)
    d -= z
    d -= dbeta / len(d)
    d *= gamma * scale
    return d


# --- The rules, each on one flat array of parameters and one of gradients -------------------------


class SGD:
    """p -= lr * g."""

    def __init__(self, p: Array, g: Array, lr: float) -> None:
        self.p, self.g, self.lr = p, g, lr

    def step(self) -> None:
        for i in range(0, len(self.p), BLOCK):
            self.p[i : i + BLOCK] -= self.lr * self.g[i : i + BLOCK]


class Momentum:
    """v = mu * v - g; p += lr * v."""

    def __init__(self, p: Array, g: Array, lr: float, mu: float) -> None:
        self.p, self.g, self.v = p, g, np.zeros_like(p)
        self.lr, self.mu = lr, mu

    def step(self) -> None:
        for i in range(0, len(self.p), BLOCK):
            v = self.v[i : i + BLOCK]
            v *= self.mu
            v -= self.g[i : i + BLOCK]
            self.p[i : i + BLOCK] += self.lr * v


class Adam:
    """Adam, its two corrections of the bias taken together into two numbers."""

    def __init__(
        self, p: Array, g: Array, lr: float, beta1: float, beta2: float, eps: float
    ) -> None:
        self.p, self.g, self.m, self.v = p, g, np.zeros_like(p), np.zeros_like(p)
        self.hyper = lr, beta1, beta2, eps
        self.t = 0

    def step(self) -> None:
        self.t += 1
        lr, beta1, beta2, eps = self.hyper
        root = math.sqrt(1 - beta2**self.t)
        rate = lr * root / (1 - beta1**self.t)
        for i in range(0, len(self.p), BLOCK):
            g, m, v = (flat[i : i + BLOCK] for flat in (self.g, self.m, self.v))
            m *= beta1
            m += (1 - beta1) * g
            v *= beta2
            s = g * g
            s *= 1 - beta2
            v += s
            np.sqrt(v, out=s)
            s += eps * root
            np.divide(m, s, out=s)
            s *= rate
            self.p[i : i + BLOCK] -= s


RULE: dict[str, Any] = {"sgd": SGD, "momentum": Momentum, "adam": Adam}


# --- What is measured -----------------------------------------------------------------------------


def training(network: Network, rule: str) -> dict[str, Callable[[], Expert]]:
    return {"": lambda: Expert(network, rule)}


def epoch(rule: str, contestant: Any = Expert) -> dict[str, Run]:
    network = NETWORKS["digits"]
    trained = contestant(network, rule)
    x, y = digits()
    rng = np.random.default_rng(0)

    def one() -> tuple[float, float]:
        total, correct = 0.0, 0
        order = rng.permutation(len(x))
        for start in range(0, len(x), network.batch):
            rows = order[start : start + network.batch]
            total += float(trained.step(x.take(rows, 0), y.take(rows))) * len(rows)
            correct += trained.correct(len(rows))
        return total / len(x), correct / len(x)

    return {"": calls(one)}


def optimizer(rule: str, size: int, tensors: int, rules: Any = RULE) -> dict[str, Run]:
    p, g = map(np.concatenate, zip(*first_values(size, tensors), strict=True))
    return {"": calls(rules[rule](p, g, **RULES[rule]).step)}


def operation(name: str) -> dict[str, Run]:
    a, b, g = operands(name)
    if name == "multiply":
        return {"": calls(lambda: (a * b, g * b, g * a))}
    return {"": calls(lambda: (a @ b, g @ b.T, a.T @ g))}
