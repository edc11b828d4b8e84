"""The rules for libraries that have none of their own, written in place for each tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.workloads import Array


class Rule:
    """Moves arrays by their gradients, without allocating."""

    def __init__(self, arrays: Sequence[Array], rule: str, hyper: dict[str, float]) -> None:
        self.rule, self.hyper, self.t = rule, hyper, 0
        self.arrays = arrays
        self.state = [[np.zeros_like(a), np.zeros_like(a), np.empty_like(a)] for a in arrays]

    def step(self, gradients: Sequence[Array]) -> None:
        self.t += 1
        lr = self.hyper["lr"]
        if self.rule == "sgd":
            for p, g, (_, _, s) in zip(self.arrays, gradients, self.state, strict=True):
                np.multiply(g, lr, out=s)
                p -= s
        elif self.rule == "momentum":
            for p, g, (v, _, s) in zip(self.arrays, gradients, self.state, strict=True):
                v *= self.hyper["mu"]
                v -= g
                np.multiply(v, lr, out=s)
                p += s
        else:
            beta1, beta2 = self.hyper["beta1"], self.hyper["beta2"]
            root = math.sqrt(1 - beta2**self.t)
            rate, eps = lr * root / (1 - beta1**self.t), self.hyper["eps"] * root
            for p, g, (m, v, s) in zip(self.arrays, gradients, self.state, strict=True):
                m *= beta1
                np.multiply(g, 1 - beta1, out=s)
                m += s
                v *= beta2
                np.multiply(g, g, out=s)
                s *= 1 - beta2
                v += s
                np.sqrt(v, out=s)
                s += eps
                np.divide(m, s, out=s)
                s *= rate
                p -= s
