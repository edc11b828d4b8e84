"""The networks, rules, weights and batches on which all contestants are compared.

A file of its own because it is what they have in common: everybody starts from the same weights,
takes the same batches in the same order, and so has the same losses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import matmul, mul
from typing import Any

import numpy as np

from minidl.data import load_digits, make_spirals

Array = np.ndarray
Batch = tuple[Array, Array]

BN_EPS, BN_MOMENTUM = 1e-5, 0.1


@dataclass(frozen=True)
class Network:
    """Linear layers with ReLU between them, cross entropy at the end."""

    name: str
    sizes: tuple[int, ...]
    batch: int
    batch_norm: bool = False
    """Whether batch normalisation stands between each Linear layer but the last and its ReLU."""

    pace: float = 1.0
    """A factor on the learning rates. Where two contestants' roundings put an input of ReLU on
    different sides of 0, their gradients differ by more than a rounding. In the deep network that
    happens in one run of five, and only small steps keep it out of the first digits of the loss."""

    def hyper(self, rule: str) -> dict[str, float]:
        """The hyper-parameters of a rule for this network."""
        return RULES[rule] | {"lr": RULES[rule]["lr"] * self.pace}

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each Linear layer."""
        return list(zip(self.sizes, self.sizes[1:], strict=False))

    def weights(self) -> list[list[Array]]:
        """The parameters at the start: weight (C, K) and bias of each Linear layer, followed by
        weight and bias of its batch normalisation if it has one. New arrays at each call."""
        rng = np.random.default_rng(1)
        result = []
        for i, (k, c) in enumerate(self.layers):
            weight = rng.standard_normal((c, k), np.float32) * np.float32(np.sqrt(2 / k))
            layer = [weight, np.zeros(c, np.float32)]
            if self.batch_norm and i < len(self.layers) - 1:
                layer += [np.ones(c, np.float32), np.zeros(c, np.float32)]
            result.append(layer)
        return result

    def parameters(self) -> list[Array]:
        """All of :meth:`weights` in one list."""
        return [parameter for layer in self.weights() for parameter in layer]

    def batches(self) -> list[Batch]:
        """Batches to go through again and again: (N, K) float32 and (N,) int64."""
        rng = np.random.default_rng(2)
        if self.name == "tiny":
            x, y = make_spirals(16 * self.batch, arms=2, rng=rng)
        elif self.name == "digits":
            x, y = digits()
            order = rng.permutation(len(x))
            x, y = x[order], y[order]
        else:
            n = 16 * self.batch if self.sizes[0] < 1000 else 4 * self.batch
            x = rng.standard_normal((n, self.sizes[0]), np.float32)
            y = rng.integers(0, self.sizes[-1], n)
        starts = range(0, len(x) - self.batch + 1, self.batch)
        return [(x[i : i + self.batch].copy(), y[i : i + self.batch].copy()) for i in starts]


NETWORKS = {
    network.name: network
    for network in (
        Network("tiny", (2, 16, 16, 2), 32),
        Network("digits", (64, 128, 128, 10), 64, batch_norm=True),
        Network("mnist", (784, 256, 128, 10), 128),
        Network("wide", (784, 1024, 1024, 10), 256),
        Network("deep", (64,) * 25 + (10,), 32, pace=0.01),
    )
}

RULES: dict[str, dict[str, float]] = {
    "sgd": {"lr": 0.01},
    "momentum": {"lr": 0.001, "mu": 0.9},
    "adam": {"lr": 0.0001, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
}


def digits() -> Batch:
    """The handwritten digits, pixels from 0 to 1."""
    x, y = load_digits()
    return x / 16, y


def operands(name: str) -> tuple[Array, Array, Array]:
    """Two operands of an operation and the gradient of its result."""
    a, b, y = OPERATIONS[name]
    rng = np.random.default_rng(3)
    return (
        rng.standard_normal(a, np.float32),
        rng.standard_normal(b, np.float32),
        rng.standard_normal(y, np.float32),
    )


OPERATIONS = {
    "multiply": ((16, 16), (16, 16), (16, 16)),
    "matmul": ((32, 64), (64, 64), (32, 64)),
}
FUNCTIONS: Mapping[str, Callable[[Any, Any], Any]] = {"multiply": mul, "matmul": matmul}


def chained(x: Any, length: int) -> Any:
    """``length`` operations, one after the other."""
    for _ in range(length // 2):
        x = x * 0.9999
        x = x + 0.0001
    return x


def first_values(size: int, tensors: int) -> list[Batch]:
    """Values and gradients of ``size`` parameters in so many tensors of nearly the same size."""
    rng = np.random.default_rng(4)
    sizes = [size // tensors + (i < size % tensors) for i in range(tensors)]
    return [(rng.standard_normal(n, np.float32), rng.standard_normal(n, np.float32)) for n in sizes]


class NotComparable(Exception):
    """A contestant cannot do this, or does something else; the message says what."""


def as_number(loss: Any) -> float:
    """The loss that a step returned."""
    return float(loss.item()) if hasattr(loss, "item") else float(loss)


def agree(losses: list[float], others: list[float]) -> float:
    """The largest relative difference between two runs of losses."""
    a, b = np.array(losses), np.array(others)
    return float(np.max(np.abs(a - b) / np.abs(b)))
