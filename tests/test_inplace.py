"""An ``update`` that does not work in place is refused in the first step, and no other."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from rules import Array, Counts, Returns, WritesGradient, backward, leaf, moved

from minidl.optim import SGD, Adagrad, Adam, Momentum, Optimizer, RMSProp


def test_an_update_that_returns_something_is_refused() -> None:
    p = leaf([1.0])
    optimizer = Returns([p], lr=0.1)
    backward(p, [1.0])
    with pytest.raises(TypeError, match=r"Returns.update returned something.*in place"):
        optimizer.step()


class RebindsX(Optimizer):
    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x = x - lr * dx


class RebindsXLoudly(Optimizer):
    """Warns, too, of numbers that it gets only when it is tried."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        if abs(dx).max() > 100:
            warnings.warn("large", stacklevel=1)
        x = x - lr * np.exp(dx)


class RebindsXInAHelper(Optimizer):
    state = ("v",)

    def update(self, x: Array, dx: Array, v: Array, *, lr: float) -> None:
        v *= 0.9
        v -= dx
        self.move(x, v, lr)

    def move(self, x: Array, v: Array, lr: float) -> None:
        x = x + lr * v


class RebindsV(Optimizer):
    state = ("v",)

    def update(self, x: Array, dx: Array, v: Array, *, lr: float) -> None:
        v = 0.9 * v - dx
        x += lr * v


class RebindsSecond(Optimizer):
    """Adam, with the second of its two states rebound."""

    state = ("m", "v")

    def update(self, x: Array, dx: Array, m: Array, v: Array, *, lr: float) -> None:
        m[...] = 0.9 * m + 0.1 * dx
        v = 0.99 * v + 0.01 * dx * dx
        x -= lr * m / (np.sqrt(v) + 1e-8)


class RebindsWholeTensors(RebindsV):
    elementwise = False


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (RebindsX, "x"),
        (RebindsXLoudly, "x"),
        (RebindsXInAHelper, "x"),
        (RebindsV, "v"),
        (RebindsSecond, "v"),
        (RebindsWholeTensors, "v"),
    ],
)
def test_an_update_that_does_not_work_in_place_is_refused_in_the_first_step(
    rule: type[Optimizer], name: str, dtype: Any, weight_decay: float
) -> None:
    p = leaf([[1.0, -2.0], [0.0, 3.0]], dtype)
    optimizer = rule([p], lr=0.1, weight_decay=weight_decay)
    with pytest.raises(
        TypeError, match=rf"{rule.__name__}.update does not change {name}.*`{name}\[\.\.\.\] ="
    ):
        moved(optimizer, p, np.ones((2, 2)))


def test_what_numpy_and_the_rule_warn_of_where_it_is_tried_is_not_heard() -> None:
    filters = warnings.filters[:]
    p = leaf([1.0, -2.0])
    with np.errstate(all="raise"), pytest.raises(TypeError, match="does not change x"):
        moved(RebindsXLoudly([p], lr=0.1), p, [1.0, 1.0])
    assert warnings.filters == filters


def test_a_first_gradient_of_zero_or_rate_of_zero_only_defers_the_refusal() -> None:
    p = leaf([1.0])
    optimizer = RebindsX([p], lr=lambda step: step / 10)
    moved(optimizer, p, [1.0], [0.0])
    with pytest.raises(TypeError, match="does not change x"):
        moved(optimizer, p, [1.0])


class Delayed(Optimizer):
    """Begins after 500 steps, and keeps the sum of all gradients until then."""

    def update(self, x: Array, dx: Array, *, t: int, lr: float) -> None:
        if t > 500:
            x -= lr * dx


class DelayedByItsOwnCount(Optimizer):
    """Begins after 500 steps, which it reads off itself."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        if self.steps >= 500:
            x -= lr * dx


class Every(Optimizer):
    """Moves in every tenth step only, and remembers where it was in every hundredth."""

    state = ("slow",)

    def update(self, x: Array, dx: Array, slow: Array, *, t: int, lr: float) -> None:
        if t % 10 == 0:
            x -= lr * (dx + 0.1 * slow)
        if t % 100 == 0:
            slow[...] = x


class Unused(Optimizer):
    """Has a state that these hyper-parameters make no use of."""

    state = ("v", "largest")
    switches = ("amsgrad",)

    def update(
        self, x: Array, dx: Array, v: Array, largest: Array, *, lr: float, amsgrad: bool
    ) -> None:
        v += dx * dx
        if amsgrad:
            np.maximum(largest, v, out=largest)
        x -= lr * dx / (np.sqrt(largest if amsgrad else v) + 1e-8)


class Threshold(Optimizer):
    """Moves nothing for gradients below 10."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx * (abs(dx) > 10)


class IgnoresOutliers(Optimizer):
    """Moves nothing for gradients above 10."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx * (abs(dx) < 10)


class Slow(Optimizer):
    """Moves so little in a step that it shows in float64 only, even at a rate of 1."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= 1e-12 * lr * dx


class Diverges(Optimizer):
    """Comes to NaN where it is tried in many steps, and has a state without use."""

    state = ("v",)

    def update(self, x: Array, dx: Array, v: Array, *, lr: float) -> None:
        x += lr * dx - 1e7 * x


class CannotBeCopied(Optimizer):
    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        self.draws = iter(range(3))
        self.file = (n for n in range(3))

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        if next(self.draws) == 2:
            x -= lr * dx


@pytest.mark.parametrize(
    ("rule", "hyper", "g"),
    [
        (Delayed, {}, 1.0),
        (DelayedByItsOwnCount, {}, 1.0),
        (Every, {}, 1.0),
        (Unused, {"amsgrad": False}, 1.0),
        (Unused, {"amsgrad": True}, 1.0),
        (Threshold, {}, 1.0),
        (IgnoresOutliers, {}, 100.0),
        (Slow, {}, 1.0),
        (Diverges, {}, 1.0),
        (CannotBeCopied, {}, 1.0),
        (SGD, {}, 1e-20),  # too small to move 1.0 in float32
        (SGD, {"lr": 1e-30}, 1.0),
        (Adagrad, {}, 1e-30),  # whose square is 0 in float32
        (Adam, {}, 1e-30),
        (RMSProp, {}, 1e-30),
        (Momentum, {"mu": 0.0}, 1.0),
        (Adam, {"betas": (0.0, 0.0)}, 1.0),
        (SGD, {}, math.nan),
        (SGD, {}, math.inf),
    ],
)
@pytest.mark.parametrize("elementwise", [True, False])
def test_a_rule_that_rightly_changes_nothing_in_its_first_step_is_not_refused(
    rule: type[Optimizer], hyper: dict[str, Any], g: float, elementwise: bool
) -> None:
    rule = type(rule.__name__, (rule,), {"elementwise": elementwise})
    p = leaf([1.0, -2.0], np.float32)
    optimizer = rule([p], **{"lr": 0.1, **hyper})
    for gradient in ([g, g], [0.0, g]):
        p.grad = np.array(gradient, np.float32)
        with np.errstate(invalid="ignore"):
            optimizer.step()
    assert optimizer.steps == 2


@pytest.mark.parametrize("step", [1, 2, 32, 64, 100, 2**20, 10**6])
def test_a_rule_that_moves_in_one_step_of_many_is_not_refused(step: int) -> None:
    class Once(Optimizer):
        def update(self, x: Array, dx: Array, *, t: int, lr: float) -> None:
            if t == step:
                x -= lr * dx

    p = leaf([1.0, -2.0], np.float32)
    moved(Once([p], lr=0.1), p, [1e-20, 1e-20])  # too small to move 1.0 in float32


def test_looking_for_updates_that_are_not_in_place_leaves_no_trace() -> None:
    seen = []

    class Notes(Counts):
        def update(self, x: Array, dx: Array, *, t: int, lr: float) -> None:
            super().update(x, dx, lr=lr)
            seen.append(t)

    p = leaf([1.0], np.float32)
    optimizer = Notes([p], lr=0.1)
    moved(optimizer, p, [1.0], [1.0])
    assert seen == [1, 2]
    assert optimizer.calls == 2
    assert "lr" not in vars(optimizer)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_an_update_that_writes_into_the_gradient_is_refused(weight_decay: float) -> None:
    p = leaf([1.0])
    optimizer = WritesGradient([p], lr=0.1, weight_decay=weight_decay)
    backward(p, [1.0])
    with pytest.raises(ValueError, match="read-only"):
        optimizer.step()


class WritesGradientAnyway(Optimizer):
    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        dx.flags.writeable = True
        dx *= lr
        x -= dx


def test_a_rule_that_writes_into_the_gradient_by_force_leaves_that_of_the_user_alone() -> None:
    p = leaf([1.0])
    optimizer = WritesGradientAnyway([p], lr=0.5)
    backward(p, [3.0])
    optimizer.step()
    assert (p.item(), p.grad) == (-0.5, [3.0])
