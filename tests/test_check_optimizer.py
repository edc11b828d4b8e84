"""The conformance suite for optimizers catches every fault that it is for."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from rules import Array, Returns, Signs, WritesGradient, first_step_by, leaf, path_of

from minidl.optim import SGD, Adam, Momentum, Optimizer, schedules
from minidl.testing import check_optimizer, optimizer_checks


class WrongSign(Optimizer):
    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x += lr * dx


class NotInPlace(Optimizer):
    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x = x - lr * dx


class ForgetsLr(Optimizer):
    def update(self, x: Array, dx: Array) -> None:
        x -= 0.01 * dx


class KeepsFirstLr(Optimizer):
    def __init__(self, params: Any, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay)
        self.rate = lr(0) if callable(lr) else lr

    def update(self, x: Array, dx: Array) -> None:
        x -= self.rate * dx


class FirstLrOfAll(Optimizer):
    """Reads the first group's learning rate in every group."""

    def update(self, x: Array, dx: Array) -> None:
        x -= self.current_rate(self.groups[0]) * dx


class SharedState(Optimizer):
    """One number of state for all parameters."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        self.cache = self.__dict__.get("cache", 0.0) + float((dx * dx).sum())
        x -= lr * dx / (math.sqrt(self.cache) + 1e-8)


class StateOfTheClass(Optimizer):
    cache: dict[int, float] = {}

    def update(self, x: Array, dx: Array, *, t: int, lr: float) -> None:
        self.cache[t] = self.cache.get(t, 0.0) + 1.0
        x -= lr * dx / self.cache[t]


class OutsideState(Optimizer):
    """Keeps its velocity beside the declared state, by the size of what it gets."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        velocities = self.__dict__.setdefault("velocities", {})
        v = velocities.setdefault(x.ctypes.data, np.zeros_like(x))
        v *= 0.9
        v -= dx
        x += lr * v


class CountsBlocks(Optimizer):
    """Counts its own steps, and so counts blocks, groups and parameters instead."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        self.n = 0

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        self.n += 1
        x -= lr / math.sqrt(self.n) * dx


class CountsSteps(Optimizer):
    """Counts the steps of all, not of each parameter, for its correction."""

    state = ("m",)

    def update(self, x: Array, dx: Array, m: Array, *, lr: float) -> None:
        m *= 0.9
        m += 0.1 * dx
        x -= lr * m / (1 - 0.9 ** (self.steps + 1))


class WholeTensors(Optimizer):
    """Looks at its neighbours, but says that it is elementwise."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx / (abs(dx).max(initial=0.0) + 1e-8)


class DependsOnTheShape(Optimizer):
    """One update for vectors, as flat storage has them, and another for matrices."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx * (1 if x.ndim == 1 else 0.5)


class OrderMatters(Optimizer):
    elementwise = False

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        first = self.groups[0].storage.params[0].data
        x -= lr * (1.0 if np.shares_memory(x, first) else 0.9) * dx


class OneStateForAll(Optimizer):
    """Tensor by tensor, with the state of the last one at hand for the next."""

    elementwise = False

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        last = self.__dict__.get("last", 0.0)
        self.last = float(dx.sum())
        x -= lr * (dx + 0.01 * last)


class ChangesDtype(SGD):
    def step(self) -> None:
        super().step()
        for p in self.groups[0]["params"]:
            p.data = p.data.astype(np.float32)


class MovesFrozen(Optimizer):
    """Goes on along its last direction where there is no gradient."""

    state = ("v",)

    def update(self, x: Array, dx: Array, v: Array, *, lr: float) -> None:
        v[...] = dx
        x -= lr * v

    def step(self) -> None:
        super().step()
        storage = self.groups[0].storage
        for p, views in zip(storage.params, storage.views, strict=True):
            if p.grad is None:
                p.data -= self.lr * views[2]


class DecaysFrozenState(Optimizer):
    state = ("v",)

    def update(self, x: Array, dx: Array, v: Array, *, lr: float) -> None:
        v -= dx
        x += lr * v

    def step(self) -> None:
        for buffers in self.groups[0].storage.buffers.values():
            buffers[2] *= 0.9
        super().step()


class NoWeightDecay(Optimizer):
    def step(self) -> None:
        decay = [group["weight_decay"] for group in self.groups]
        self.weight_decay = 0.0
        try:
            super().step()
        finally:
            for group, value in zip(self.groups, decay, strict=True):
                group["weight_decay"] = value

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx


class Accepts(Optimizer):
    """Checks nothing."""

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        return value

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx


class AliasesState(Momentum):
    def state_dict(self) -> dict[str, Any]:
        saved = super().state_dict()
        storage = self.groups[0].storage
        for name, views in zip(storage.names, storage.views, strict=True):
            saved["groups"][0]["params"][name]["v"] = views[2]
        return saved


class ForgetsHyper(Momentum):
    def load_state_dict(self, state: Any) -> None:
        kept = dict(self.groups[0].hyper)
        super().load_state_dict(state)
        self.groups[0].hyper.update(kept)


class NaNAtRest(Optimizer):
    state = ("cache",)

    def update(self, x: Array, dx: Array, cache: Array, *, lr: float) -> None:
        cache += dx * dx
        with np.errstate(invalid="ignore"):
            x -= lr * dx / np.sqrt(cache)


class Silent(Optimizer):
    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx

    def step(self) -> None:
        if any(p.grad is not None for p in self.groups[0]["params"]):
            super().step()


class SharesWithCopies(Optimizer):
    """Its copies refer to the parameters of the original."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx

    def __deepcopy__(self, memo: Any) -> Any:
        return copy.copy(self)


class HalfInFloat32(Optimizer):
    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * (dx.astype(np.float16) if x.dtype == np.float32 else dx)


class WrongInFloat32Later(Optimizer):
    state = ("v",)

    def update(self, x: Array, dx: Array, v: Array, *, t: int, lr: float) -> None:
        v *= 0.9 if t < 5 or x.dtype == np.float64 else 0.899
        v -= dx
        x += lr * v


class StateWrongInFloat32(Optimizer):
    state = ("cache",)

    def update(self, x: Array, dx: Array, cache: Array, *, lr: float) -> None:
        cache += dx * dx * np.float64(1.0 if x.dtype == np.float64 else 1.001)
        x -= lr * np.sign(dx) * (1 + 1e-6 * cache)


class SwapsGroups(Momentum):
    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict({**state, "groups": state["groups"][::-1]})


class LoadsTheFirstGroupOnly(Momentum):
    def load_state_dict(self, state: Any) -> None:
        own = self.state_dict()
        super().load_state_dict({**state, "groups": [state["groups"][0], *own["groups"][1:]]})


class RefusesWithoutAName(Optimizer):
    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        try:
            return super().checked(name, value)
        except (TypeError, ValueError):
            raise ValueError("it will not do") from None

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx


class IgnoresTheSizeOfLr(Optimizer):
    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= 0.05 * np.sign(lr) * dx


class SavesTheFirstRateForAll(Momentum):
    def state_dict(self) -> dict[str, Any]:
        saved = super().state_dict()
        for group in saved["groups"]:
            group["hyper"]["lr"] = saved["groups"][0]["hyper"]["lr"]
        return saved


class LosesCountsOfTheSecond(Adam):
    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        for group in self.groups[1:]:
            group.storage.counts = list(self.groups[0].storage.counts)


FAULTS: dict[type[Optimizer], str] = {
    HalfInFloat32: "float32 goes the way of float64: parameter",
    WrongInFloat32Later: "float32 goes the way of float64: parameter",
    StateWrongInFloat32: "float32 goes the way of float64: the state 'cache'",
    SwapsGroups: "keeps two groups apart",
    LoadsTheFirstGroupOnly: "keeps two groups apart",
    RefusesWithoutAName: "bad arguments are refused.*the error does not name it",
    IgnoresTheSizeOfLr: "learning rate is obeyed.*half the learning rate the first step",
    SavesTheFirstRateForAll: "keeps two groups apart",
    LosesCountsOfTheSecond: "keeps two groups apart",
    WrongSign: "falls on a convex problem.*should have fallen",
    NotInPlace: "falls on a convex problem.*in place",
    Returns: "falls on a convex problem.*returned something",
    ForgetsLr: "learning rate is obeyed.*lr=0 must not move",
    KeepsFirstLr: "a schedule sets the learning rate|groups|state dict",
    FirstLrOfAll: "groups have their own",
    WritesGradient: "read-only",
    SharedState: "flat storage equals single tensors.*share",
    StateOfTheClass: "another optimizer begins anew.*outlives",
    OutsideState: "state dict carries everything.*outside `state`",
    CountsBlocks: "(size of blocks|whole tensors|flat storage)",
    CountsSteps: "late parameter counts its own steps",
    WholeTensors: "flat storage equals single tensors",
    DependsOnTheShape: "tensor by tensor",
    OrderMatters: "flat storage|order of parameters",
    OneStateForAll: "flat storage equals single tensors",
    ChangesDtype: "dtype",
    MovesFrozen: "without gradient rests.*has moved",
    DecaysFrozenState: "state of a parameter without a gradient has changed",
    NoWeightDecay: "weight decay|groups",
    Accepts: "bad arguments are refused.*was accepted",
    AliasesState: "not a copy",
    ForgetsHyper: "state dict carries everything.*(lr|mu|weight_decay) is",
    NaNAtRest: "became NaN",
    Silent: "no RuntimeWarning",
    SharesWithCopies: "copies go on alike",
}


@pytest.mark.parametrize(("rule", "message"), FAULTS.items(), ids=[r.__name__ for r in FAULTS])
def test_conformance_catches(rule: type[Optimizer], message: str) -> None:
    with pytest.raises(AssertionError, match=f"(?s)^{rule.__name__}: .*({message})"):
        check_optimizer(rule, lr=0.05)


def test_conformance_catches_a_wrong_first_step() -> None:
    with pytest.raises(AssertionError, match="SGD: the first step is the closed form: parameter 0"):
        check_optimizer(SGD, lr=0.1, first_step=lambda x, dx: x - 0.1000001 * dx)


class DampedLater(Momentum):
    """Right in the first step, and wrong from the second one on."""

    def update(self, x: Array, dx: Array, v: Array, *, t: int, lr: float, mu: float) -> None:
        v *= mu
        v -= dx if t == 1 else (1 - mu) * dx
        x += lr * v


class ForgetsAtTen(Momentum):
    def update(self, x: Array, dx: Array, v: Array, *, t: int, lr: float, mu: float) -> None:
        if t == 10:
            v[...] = 0
        super().update(x, dx, v, lr=lr, mu=mu)


@pytest.mark.parametrize(("rule", "step"), [(DampedLater, 2), (ForgetsAtTen, 10)])
def test_conformance_catches_what_is_wrong_after_the_first_step(
    rule: type[Optimizer], step: int
) -> None:
    first = first_step_by(lambda dx: 0.05 * dx)
    assert check_optimizer(rule, lr=0.05, first_step=first)  # nothing tells that it is wrong
    with pytest.raises(
        AssertionError,
        match=f"{rule.__name__}: the path is that of the formula: after step {step} parameter 0",
    ):
        check_optimizer(rule, lr=0.05, first_step=first, path=path_of(Momentum, lr=0.05))


class NeverTurns(Optimizer):
    """Goes on in the direction of its first gradient, which is right for as long as that is."""

    state = ("direction",)

    def update(self, x: Array, dx: Array, direction: Array, *, lr: float) -> None:
        direction += np.sign(dx) * (direction == 0)
        x -= lr * np.abs(dx) * direction


def test_conformance_catches_what_is_wrong_once_the_gradient_turns_round() -> None:
    with pytest.raises(AssertionError, match="when the gradient turns round, the loss"):
        check_optimizer(NeverTurns, lr=0.05)


ACCEPTED = [
    *[(name, value) for name in ("lr", "weight_decay") for value in (math.nan, "0.1", None)],
    *[(name, value) for name in ("lr", "weight_decay") for value in (-0.1, math.inf)],
    *[("mu", value) for value in (math.nan, "0.1", None, 1.0, -0.1)],
]


@pytest.mark.parametrize("in_a_group", [True, False])
@pytest.mark.parametrize(("name", "value"), ACCEPTED)
def test_conformance_catches_each_value_that_should_be_refused(
    name: str, value: Any, in_a_group: bool
) -> None:
    class AcceptsOne(Momentum):
        if in_a_group:

            @classmethod
            def checked(cls, key: str, given: Any) -> Any:
                if key == name and repr(given) == repr(value):
                    return given
                return super().checked(key, given)

        else:

            def __setattr__(self, key: str, given: Any) -> None:
                if key != name or repr(given) != repr(value):
                    super().__setattr__(key, given)

    where = f"{name}={value!r} of a group" if in_a_group else f"optimizer.{name} = {value!r}"
    with pytest.raises(AssertionError, match=f"bad arguments are refused: {where} was accepted"):
        check_optimizer(AcceptsOne, lr=0.05)


def test_conformance_takes_a_class_of_optimizer() -> None:
    for thing in (SGD([leaf([1.0])], lr=0.1), int, lambda params: SGD(params, lr=0.1)):
        with pytest.raises(TypeError, match=r"class derived from minidl.optim.Optimizer"):
            check_optimizer(thing, lr=0.1)
    with pytest.raises(TypeError, match="takes lr as a number"):
        check_optimizer(SGD, lr=schedules.cosine(0.1, 10))


def test_conformance_leaves_out_pickling_of_a_class_that_pickle_cannot_find() -> None:
    class Local(Signs):
        pass

    assert "pickles go on alike" not in check_optimizer(Local, lr=0.01)


def test_the_checks_are_the_same_one_by_one() -> None:
    checks = optimizer_checks(SGD, lr=0.1)
    assert len({check.name for check in checks}) == 25
    assert check_optimizer(SGD, lr=0.1) == [str(check) for check in checks if check()]
    by_name = {check.name: check for check in optimizer_checks(Silent, lr=0.1)}
    assert by_name["falls on a convex problem"]()
    with pytest.raises(AssertionError, match="Silent: a step without gradients warns: "):
        by_name["a step without gradients warns"]()
