"""The table of the rules for all tests, rules of one's own, and small things to train.

The rules are written out once more here, as plainly as the lecture writes them; they share no code
with minidl.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from minidl import Tensor, nn
from minidl.optim import SGD, Adagrad, Adam, AdamW, Momentum, Optimizer, RMSProp

Array = NDArray[Any]


RULES: dict[str, type[Optimizer]] = {
    rule.__name__: rule for rule in (SGD, Momentum, Adagrad, RMSProp, Adam, AdamW)
}


every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def leaf(values: Any, dtype: Any = np.float64) -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def backward(p: Tensor, g: Any) -> None:
    """Leave the gradient ``g`` in ``p.grad``, the way it comes from a loss."""
    (p * np.asarray(g, p.dtype)).sum().backward()


def moved(optimizer: Optimizer, p: Tensor, *gradients: Any) -> Array:
    """The data of ``p`` after a step with each of the gradients."""
    for g in gradients:
        optimizer.zero_grad()
        backward(p, g)
        optimizer.step()
    return p.numpy()


def small_model(seed: int = 0) -> nn.Sequential:
    rng = np.random.default_rng(seed)
    return nn.Sequential(nn.Linear(4, 6, rng=rng), nn.Tanh(), nn.Linear(6, 3, rng=rng))


def weights(model: nn.Module) -> list[Array]:
    return [p.numpy() for p in model.parameters()]


def assert_same(got: list[Array], expected: list[Array]) -> None:
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(got: list[Array], expected: list[Array]) -> None:
    """The same up to rounding: BLAS may round otherwise where memory is aligned otherwise."""
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


X = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)


def train(model: nn.Module, optimizer: Optimizer, steps: int = 5) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        (model(X) ** 2).mean().backward()
        optimizer.step()


def sgd(x: Array, dx: Array, t: int, lr: float) -> None:
    x[...] = x - lr * dx


def momentum(
    x: Array, dx: Array, t: int, v: Array, lr: float, mu: float, nesterov: bool = False
) -> None:
    v[...] = mu * v - dx
    x[...] = x + lr * (mu * v - dx) if nesterov else x + lr * v


def adagrad(x: Array, dx: Array, t: int, cache: Array, lr: float, eps: float) -> None:
    cache[...] = cache + dx**2
    x[...] = x + -lr * dx / (np.sqrt(cache) + eps)


def rmsprop(
    x: Array, dx: Array, t: int, cache: Array, lr: float, decay_rate: float, eps: float
) -> None:
    cache[...] = decay_rate * cache + (1 - decay_rate) * dx**2
    x[...] = x + -lr * dx / (np.sqrt(cache) + eps)


def adam(
    x: Array,
    dx: Array,
    t: int,
    m: Array,
    v: Array,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    bias_correction: bool = True,
) -> None:
    beta1, beta2 = betas
    m[...] = beta1 * m + (1 - beta1) * dx
    v[...] = beta2 * v + (1 - beta2) * (dx**2)
    if bias_correction:
        x[...] = x + -lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    else:
        x[...] = x + -lr * m / (np.sqrt(v) + eps)


def adamw(
    x: Array, dx: Array, t: int, m: Array, v: Array, lr: float, weight_decay: float, **hyper: Any
) -> None:
    x[...] = x - lr * weight_decay * x
    adam(x, dx, t, m, v, lr, **hyper)


FORMULAS: list[tuple[type[Optimizer], Callable[..., None], int, dict[str, Any]]] = [
    (SGD, sgd, 0, {"lr": 0.1}),
    (Momentum, momentum, 1, {"lr": 0.03, "mu": 0.9}),
    (Momentum, momentum, 1, {"lr": 0.1, "mu": 0.3}),
    (Momentum, momentum, 1, {"lr": 0.03, "mu": 0.9, "nesterov": True}),
    (Adagrad, adagrad, 1, {"lr": 0.1, "eps": 1e-10}),
    (Adagrad, adagrad, 1, {"lr": 0.1, "eps": 0.5}),
    (RMSProp, rmsprop, 1, {"lr": 0.01, "decay_rate": 0.9, "eps": 1e-8}),
    (RMSProp, rmsprop, 1, {"lr": 0.01, "decay_rate": 0.99, "eps": 0.5}),
    (Adam, adam, 2, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8}),
    (Adam, adam, 2, {"lr": 0.02, "betas": (0.5, 0.8), "eps": 0.5}),
    (Adam, adam, 2, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "bias_correction": False}),
    (Adam, adam, 2, {"lr": 0.02, "betas": (0.5, 0.8), "eps": 0.5, "bias_correction": False}),
    (AdamW, adamw, 2, {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}),
    (AdamW, adamw, 2, {"lr": 0.02, "betas": (0.5, 0.8), "eps": 0.5, "weight_decay": 0.01}),
]


def path_of(rule: type[Optimizer], **hyper: Any) -> Callable[[Array, list[Array]], Array]:
    """The formula over several steps, with the defaults of the rule."""
    formula, states = {r: (f, n) for r, f, n, _ in FORMULAS}[rule]
    given = dict(rule([leaf([1.0])], **hyper).groups[0])
    given = {key: given[key] for key in given if key not in ("params", "weight_decay")}
    if rule.decays_itself:
        given["weight_decay"] = rule([leaf([1.0])], **hyper).weight_decay

    def path(x: Array, gradients: list[Array]) -> Array:
        state = [np.zeros_like(x) for _ in range(states)]
        for t, dx in enumerate(gradients, start=1):
            formula(x, dx, t, *state, **given)
        return x

    return path


def first_step_by(step: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
    return lambda x, dx: x - step(dx)


class Signs(Optimizer):
    """A rule of one's own."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * np.sign(dx)


class Nesterov(Optimizer):
    """A rule with a state, hyper-parameters and a switch."""

    state = ("v",)
    below_one = ("mu",)
    switches = ("nesterov",)

    def __init__(self, params: Any, lr: float, mu: float = 0.9, nesterov: bool = True) -> None:
        super().__init__(params, lr=lr, mu=mu, nesterov=nesterov)

    def update(
        self, x: Array, dx: Array, v: Array, *, lr: float, mu: float, nesterov: bool
    ) -> None:
        v *= mu
        v -= dx
        x += lr * (mu * v - dx if nesterov else v)


class Normalized(Optimizer):
    """A rule that must see whole tensors."""

    elementwise = False
    state = ("average",)

    def update(self, x: Array, dx: Array, average: Array, *, lr: float) -> None:
        average *= 0.5
        average += 0.5 * dx
        x -= lr * average / (np.linalg.norm(average) + 1e-8)


class Keras(Optimizer):
    """Momentum with the learning rate inside: it goes on rolling when lr becomes 0."""

    state = ("v",)

    def update(self, x: Array, dx: Array, v: Array, *, lr: float) -> None:
        v *= 0.9
        v -= lr * dx
        x += v


class Returns(Optimizer):
    def update(self, x: Array, dx: Array, *, lr: float) -> Any:
        return x - lr * dx


class Counts(Optimizer):
    """A rule that keeps things of its own: in the class, in its methods, in functions in them."""

    tokens = 0

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        self.calls = 0
        for name in ("first", "last"):
            setattr(self, name, None)

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        self.calls += 1
        self.size = x.size
        x -= lr * dx

    def step(self) -> None:
        def note() -> None:
            self.noted = self.steps

        super().step()
        self.done = True
        note()


class WritesGradient(Optimizer):
    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        dx *= lr
        x -= dx
