"""A network for images as it is often written in NumPy: im2col, kept for the backward pass.

This is the textbook's way. Windows become columns (N, C, kh, kw, P, Q) tap by tap; a tensordot
with the filters is the convolution; the columns are kept; backwards they are filled by a second
tensordot and added to the image tap by tap. Pooling makes columns, too, and remembers the place of
the largest. It is here to be measured beside minidl, not to be used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers.by_hand import Rule

Array = np.ndarray


def columns_of(x: Array, k: int, stride: int, padding: int) -> Array:
    n, c, h, w = x.shape
    p, q = (h + 2 * padding - k) // stride + 1, (w + 2 * padding - k) // stride + 1
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    columns = np.empty((n, c, k, k, p, q), x.dtype)
    for i in range(k):
        for j in range(k):
            columns[:, :, i, j] = x[:, :, i : i + stride * p : stride, j : j + stride * q : stride]
    return columns


def image_of(columns: Array, shape: tuple[int, ...], stride: int, padding: int) -> Array:
    n, c, h, w = shape
    k, p, q = columns.shape[2], *columns.shape[4:]
    x = np.zeros((n, c, h + 2 * padding, w + 2 * padding), columns.dtype)
    for i in range(k):
        for j in range(k):
            x[:, :, i : i + stride * p : stride, j : j + stride * q : stride] += columns[:, :, i, j]
    return x[:, :, padding : padding + h, padding : padding + w]


class Conv:
    def __init__(self, c: int, o: int, k: int, padding: int) -> None:
        self.k, self.padding = k, padding

    def forward(self, x: Array, weight: Array, bias: Array) -> Array:
        self.shape, self.weight = x.shape, weight
        self.columns = columns_of(x, self.k, 1, self.padding)
        y = np.tensordot(self.columns, weight, ((1, 2, 3), (1, 2, 3))) + bias
        return np.rollaxis(y, 3, 1)

    def backward(self, g: Array) -> tuple[Array, list[Array]]:
        d_weight = np.tensordot(g, self.columns, ((0, 2, 3), (0, 4, 5)))
        columns = np.rollaxis(np.tensordot(self.weight, g, (0, 1)), 3)
        return image_of(columns, self.shape, 1, self.padding), [d_weight, g.sum(axis=(0, 2, 3))]


class Norm:
    def __init__(self, c: int) -> None:
        pass

    def forward(self, x: Array, weight: Array, bias: Array) -> Array:
        mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
        self.scale, self.weight = 1 / np.sqrt(var + np.float32(1e-5)), weight[:, None, None]
        self.h = (x - mean) * self.scale
        return self.h * self.weight + bias[:, None, None]

    def backward(self, g: Array) -> tuple[Array, list[Array]]:
        axes = (0, 2, 3)
        d_weight, d_bias = (g * self.h).sum(axes), g.sum(axes)
        dh = g * self.weight
        mean, meanh = dh.mean(axes, keepdims=True), (dh * self.h).mean(axes, keepdims=True)
        return self.scale * (dh - mean - self.h * meanh), [d_weight, d_bias]


class Relu:
    def forward(self, x: Array) -> Array:
        self.mask = x > 0
        return np.where(self.mask, x, np.float32(0))

    def backward(self, g: Array) -> tuple[Array, list[Array]]:
        return g * self.mask, []


class Pool:
    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        columns = columns_of(x, 2, 2, 0)
        n, c, k, _, p, q = columns.shape
        columns = columns.reshape(n, c, k * k, p, q)
        self.places = columns.argmax(axis=2)
        return columns.max(axis=2)

    def backward(self, g: Array) -> tuple[Array, list[Array]]:
        n, c, p, q = g.shape
        columns = np.zeros((n, c, 4, p, q), g.dtype)
        np.put_along_axis(columns, self.places[:, :, None], g[:, :, None], axis=2)
        return image_of(columns.reshape(n, c, 2, 2, p, q), self.shape, 2, 0), []


class Flatten:
    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, g: Array) -> tuple[Array, list[Array]]:
        return g.reshape(self.shape), []


class Linear:
    def __init__(self, k: int, c: int) -> None:
        pass

    def forward(self, x: Array, weight: Array, bias: Array) -> Array:
        self.x, self.weight = x, weight
        return x @ weight.T + bias

    def backward(self, g: Array) -> tuple[Array, list[Array]]:
        return g @ self.weight, [g.T @ self.x, g.sum(axis=0)]


KINDS: dict[str, Any] = {"conv": Conv, "norm": Norm, "relu": Relu, "pool": Pool,
                         "flatten": Flatten, "linear": Linear}  # fmt: skip


class Network:
    def __init__(self, layers: list[Any], parameters: list[Array], hyper: dict[str, float]) -> None:
        self.layers = [KINDS[kind](*numbers) for kind, *numbers in layers]
        self.parameters = parameters
        self.rule = Rule(parameters, "adam", hyper)

    def step(self, x: Array, y: Array) -> float:
        left = iter(self.parameters)
        for layer in self.layers:
            learns = isinstance(layer, Conv | Norm | Linear)
            x = layer.forward(x, next(left), next(left)) if learns else layer.forward(x)
        z = x - x.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        rows = np.arange(len(y))
        g = np.exp(log_p)
        g[rows, y] -= 1
        g /= len(y)
        gradients: list[Array] = []
        for layer in reversed(self.layers):
            g, own = layer.backward(g)
            gradients = own + gradients
        self.rule.step(gradients)
        return float(-log_p[rows, y].mean())
