"""The least time a training step can take in NumPy: written by hand with every trick that we know.

Beyond what an expert writes (``expert.py``), every array that a step touches is allocated once for
each batch size, weights lie as (K, C), logits as (C, N), numbers are kept as 0-d arrays, ReLU masks
with sign bits, and Adam's state lacks constant factors. It does all that a training step must do
(the gradient of every parameter, running statistics, a softmax that cannot overflow) and nothing
else: no network but these runs in it. It says how much of a step is arithmetic at all. What looks
odd was measured; the times in the comments are of one core of a 2.6 GHz EPYC with NumPy 2.4.

Names: N samples, K inputs and C outputs of a layer; ``z`` what a layer computes, ``d`` the gradient
of the loss with respect to it; a name that ends in ``t`` is the same memory transposed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy import (
    add,
    bitwise_and,
    divide,
    exp,
    log,
    maximum,
    multiply,
    negative,
    right_shift,
    sqrt,
    subtract,
)

from benchmarks import expert
from benchmarks.measure import Run
from benchmarks.workloads import (
    BN_EPS,
    BN_MOMENTUM,
    Array,
    Network,
)

BLOCK = (
    262144  # elements at a time: Adam on 5 million takes 7.3 ms, in one piece 11.2, by 16384 9.4
)


def constant(value: float) -> Array:
    """A number as a 0-d array, with which a ufunc begins 0.3 us earlier than with a float."""
    return np.array(value, np.float32)


ONE, SIGN_BIT = constant(1), np.array(31, np.int32)


class Floor:
    """The whole step, for the networks and rules of the benchmarks."""

    def __init__(self, network: Network, rule: str) -> None:
        size = sum(parameter.size for parameter in network.parameters())
        p, g = np.empty(size, np.float32), np.zeros(size, np.float32)
        self.parameters, self.gradients = [], []  # for each Linear layer, views
        start = 0
        for layer in network.weights():
            views, gradients = [], []
            for parameter in layer:
                # Weights lie as (K, C): x @ w is then a plain product, which at 32x64 @ 64x64
                # takes half the time of x @ w.T. The one product with a transposed second factor
                # that remains, d @ w.T, is not needed in the first layer, often the largest.
                value = np.ascontiguousarray(parameter.T)
                end = start + value.size
                p[start:end] = value.ravel()
                views.append(p[start:end].reshape(value.shape))
                gradients.append(g[start:end].reshape(value.shape))
                start = end
            self.parameters.append(views)
            self.gradients.append(gradients)
        self.running = [
            (np.zeros(c, np.float32), np.ones(c, np.float32)) if network.batch_norm else None
            for _, c in network.layers[:-1]
        ]
        self.buffers: dict[int, Buffers] = {}
        self.rule = RULE[rule](p, g, **network.hyper(rule))

    def step(self, x: Array, y: Array) -> Any:
        """Learn from the batch and return its loss."""
        buffers = self.buffers.get(len(x))
        if buffers is None:
            buffers = self.buffers[len(x)] = Buffers(self, len(x))
        loss = buffers.loss_and_gradients(x, y)
        self.rule.step()
        return loss

    def correct(self, n: int) -> int:
        """How many samples of the last step, a batch of n, had the right class."""
        # The largest logit was subtracted from all.
        return int(np.count_nonzero(self.buffers[n].picked == 0))


class Buffers:
    """What a step on N samples writes to, laid out so that the step itself only computes."""

    def __init__(self, owner: Floor, n: int) -> None:
        widths = [bias.size for _, bias, *_ in owner.parameters]
        scratch = [np.empty(n * max(widths), np.float32) for _ in range(3)]
        zeros = np.zeros(n * max(widths), np.float32)
        self.ones = np.ones(n, np.float32)
        self.forward: list[tuple[Any, ...]] = []
        self.backward: list[tuple[Any, ...]] = []
        before: Any = None  # the layer's input, transposed; the first layer's comes with the batch
        d_before = None
        for i, c in enumerate(widths[:-1]):
            w, b = owner.parameters[i][:2]
            dw, db = owner.gradients[i][:2]
            z = np.empty((n, c), np.float32)
            d, mask = (s[: n * c].reshape(n, c) for s in (scratch[i % 2], scratch[2]))
            norm = None
            if owner.running[i] is not None:
                affine, gradients = owner.parameters[i][2:], owner.gradients[i][2:]
                norm = Norm(affine, gradients, owner.running[i], z, mask)
            a = z if norm is None else norm.y  # (N, C), after ReLU
            zero = zeros[: n * c].reshape(n, c)
            self.forward.append((w, b, z, norm, a, zero))
            bits = [x.view(np.int32) for x in (a, d, mask)]
            self.backward.append((before, w.T, dw, db, norm, d, *bits, d_before))
            before, d_before = a.T, d
        # The logits are (C, N): the largest of 10 along the first axis takes 1.4 us for 128
        # samples, along the second 6.6 us.
        w, b = owner.parameters[-1]
        dw, db = owner.gradients[-1]
        c = widths[-1]
        zt = np.empty((c, n), np.float32)
        self.last = (before, w.T, dw, b[:, None], db, zt, zt.T, d_before)
        self.flat = zt.reshape(-1)
        self.columns, self.at = np.arange(n), np.empty(n, np.int64)
        self.samples = np.array(n)
        self.largest, self.total = np.empty(n, np.float32), np.empty(n, np.float32)
        self.ones_c = np.ones(c, np.float32)
        self.mean = np.full(n, 1 / n, np.float32)
        self.share = constant(1 / n)
        self.picked = self.largest

    def loss_and_gradients(self, x: Array, y: Array) -> Any:
        before, wt, dw, b, db, zt, z, d = self.last
        ones = self.ones

        a = x
        for w_, b_, z_, norm, a_, zero in self.forward:
            a.dot(w_, z_)  # ndarray.dot takes 0.5 us less to start with than @
            add(z_, b_, z_)
            if norm is not None:
                norm.forward()
            a = maximum(a_, zero, out=a_)  # with an array of zeros: 1.0 us, with 0: 3.5 us
        wt.dot(before, zt)
        add(zt, b, zt)

        # Softmax and cross entropy in one: loss = mean(log(sum(exp z)) - z[y]), d = (p - 1_y) / N
        flat, at, largest, total = self.flat, self.at, self.largest, self.total
        multiply(y, self.samples, at)
        add(at, self.columns, at)
        maximum.reduce(zt, axis=0, out=largest)
        subtract(zt, largest, zt)
        self.picked = picked = flat[at]
        exp(zt, zt)
        self.ones_c.dot(zt, total)
        log(total, largest)
        loss = subtract(largest, picked, largest).dot(self.mean)
        divide(self.share, total, total)
        multiply(zt, total, zt)
        flat[at] = subtract(flat[at], self.share)

        before.dot(z, dw)
        zt.dot(ones, db)  # a product with ones sums rows: 0.5 us, sum 2.5 us
        z.dot(wt, d)
        for before, wt, dw, db, norm, d, a_bits, d_bits, mask, d_before in reversed(self.backward):
            # ReLU: the sign bit of -a is set where a > 0. Shifted through, it is a mask. 2.9 us,
            # with d *= a > 0 it takes 3.6 us.
            negative(a_bits, mask)
            right_shift(mask, SIGN_BIT, mask)
            bitwise_and(d_bits, mask, d_bits)
            if norm is not None:
                norm.backward(d)
            ones.dot(d, db)
            if d_before is None:
                x.T.dot(d, dw)
            else:
                before.dot(d, dw)
                d.dot(wt, d_before)
        return loss


class Norm:
    """Batch normalisation, y = (z - mean) / sqrt(var + eps) * gamma + beta."""

    def __init__(
        self, parameters: Any, gradients: Any, running: Any, z: Array, scratch: Array
    ) -> None:
        self.gamma, self.beta = parameters
        self.dgamma, self.dbeta = gradients
        self.running_mean, self.running_var = running
        self.z, self.y, self.scratch = z, np.empty_like(z), scratch
        n, c = z.shape
        self.ones = np.ones(n, np.float32)
        self.mean, self.var, self.inverse, self.scale, self.small = np.empty((5, c), np.float32)
        self.share, self.eps = constant(1 / n), constant(BN_EPS)
        self.momentum, self.keep = constant(BN_MOMENTUM), constant(1 - BN_MOMENTUM)
        self.unbiased = constant(BN_MOMENTUM * n / (n - 1))

    def forward(self) -> None:
        """Center z, and leave the result in y."""
        z, y, mean, var, small = self.z, self.y, self.mean, self.var, self.small
        self.ones.dot(z, mean)
        multiply(mean, self.share, mean)
        subtract(z, mean, z)
        multiply(z, z, y)
        self.ones.dot(y, var)
        multiply(var, self.share, var)

        multiply(self.running_mean, self.keep, self.running_mean)
        multiply(mean, self.momentum, small)
        add(self.running_mean, small, self.running_mean)
        multiply(self.running_var, self.keep, self.running_var)
        multiply(var, self.unbiased, small)
        add(self.running_var, small, self.running_var)

        add(var, self.eps, var)
        sqrt(var, var)
        divide(ONE, var, self.inverse)
        multiply(self.inverse, self.gamma, self.scale)
        multiply(z, self.scale, y)
        add(y, self.beta, y)

    def backward(self, d: Array) -> None:
        """Turn the gradient of y into that of what came in.

        With z centered and s = 1 / sqrt(var + eps):  gamma s (d - mean(d) - z s**2 mean(d z)).
        """
        z, scratch, small = self.z, self.scratch, self.small
        self.ones.dot(d, self.dbeta)
        multiply(d, z, scratch)
        self.ones.dot(scratch, self.dgamma)
        multiply(self.dgamma, self.inverse, self.dgamma)
        multiply(self.dgamma, self.inverse, small)
        multiply(small, self.share, small)
        multiply(z, small, scratch)
        subtract(d, scratch, d)
        multiply(self.dbeta, self.share, small)
        subtract(d, small, d)
        multiply(d, self.scale, d)


# --- The rules, each on one flat array of parameters and one of gradients -------------------------


def blocks(*arrays: Array) -> list[tuple[Array, ...]]:
    """The arrays cut into blocks, with room for one block beside them."""
    starts = range(0, len(arrays[0]), BLOCK)
    scratch = np.empty(min(len(arrays[0]), BLOCK), np.float32)
    cut = [tuple(array[start : start + BLOCK] for array in arrays) for start in starts]
    return [(*views, scratch[: len(views[0])]) for views in cut]


class SGD:
    """p -= lr * g."""

    def __init__(self, p: Array, g: Array, lr: float) -> None:
        self.lr = constant(lr)
        self.blocks = blocks(p, g)

    def step(self) -> None:
        for p, g, s in self.blocks:
            multiply(g, self.lr, s)
            subtract(p, s, p)


class Momentum:
    """v = mu * v - g; p += lr * v."""

    def __init__(self, p: Array, g: Array, lr: float, mu: float) -> None:
        self.lr, self.mu = constant(lr), constant(mu)
        self.blocks = blocks(p, g, np.zeros_like(p))

    def step(self) -> None:
        lr, mu = self.lr, self.mu
        for p, g, v, s in self.blocks:
            multiply(v, mu, v)
            subtract(v, g, v)
            multiply(v, lr, s)
            add(p, s, p)


class Adam:
    """Adam with the constant factors taken out of the arrays.

    ``m`` and ``v`` lack the factors 1 - beta1 and 1 - beta2, which saves two passes of twelve:
    m = beta1 * m + g; v = beta2 * v + g**2; p -= rate * m / (sqrt(v) + eps'), where rate and eps'
    hold those factors and the correction of the bias.
    """

    def __init__(
        self, p: Array, g: Array, lr: float, beta1: float, beta2: float, eps: float
    ) -> None:
        self.hyper = lr, beta1, beta2, eps
        self.beta1, self.beta2 = constant(beta1), constant(beta2)
        self.rate, self.eps = constant(0), constant(0)
        self.t = 0
        self.blocks = blocks(p, g, np.zeros_like(p), np.zeros_like(p))

    def step(self) -> None:
        self.t += 1
        lr, b1, b2, e = self.hyper
        root = math.sqrt((1 - b2) / (1 - b2**self.t))
        self.rate[()] = lr * (1 - b1) / (1 - b1**self.t) / root
        self.eps[()] = e / root
        beta1, beta2, rate, eps = self.beta1, self.beta2, self.rate, self.eps
        for p, g, m, v, s in self.blocks:
            multiply(m, beta1, m)
            add(m, g, m)
            multiply(g, g, s)
            multiply(v, beta2, v)
            add(v, s, v)
            sqrt(v, s)
            add(s, eps, s)
            divide(m, s, s)
            multiply(s, rate, s)
            subtract(p, s, p)


RULE: dict[str, Any] = {"sgd": SGD, "momentum": Momentum, "adam": Adam}


# --- What is measured -----------------------------------------------------------------------------


def training(network: Network, rule: str) -> dict[str, Callable[[], Floor]]:
    return {"": lambda: Floor(network, rule)}


def epoch(rule: str) -> dict[str, Run]:
    return expert.epoch(rule, Floor)


def optimizer(rule: str, size: int, tensors: int) -> dict[str, Run]:
    return expert.optimizer(rule, size, tensors, RULE)
