"""The conformance suite for optimizers catches every fault that it is for."""

from __future__ import annotations

import copy
import math
import warnings
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


class RunsAway(Optimizer):
    """Goes the wrong way where gradients are large."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * np.where(np.abs(dx) > 8, -dx, dx)


class ShrinksInFloat32(Optimizer):
    """Wrong by so little that it shows only in large numbers."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx
        if x.dtype == np.float32:
            x *= 1 - 1e-6


class StateOfAll(Optimizer):
    """Each parameter moves on its own, and what is kept of it is of all together."""

    state = ("seen",)

    def update(self, x: Array, dx: Array, seen: Array, *, lr: float) -> None:
        seen += np.abs(dx).sum()
        x -= lr * dx


class SlowAfterForty(Optimizer):
    """What comes after the parameter of 40 elements, which is the last, moves less."""

    elementwise = False
    last = (0, 0)

    def update(self, x: Array, dx: Array, *, t: int, lr: float) -> None:
        x -= lr * (0.9 if self.last == (t, 40) else 1.0) * dx
        self.last = t, x.size


class SlowInSevens(Optimizer):
    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * (0.9 if x.size == 7 else 1.0) * dx


class HalvesGradients(Optimizer):
    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx

    def step(self) -> None:
        for p in self.groups[0]["params"]:
            if p.grad is not None:
                p.grad *= 0.5
        super().step()


class DecaysGradients(NoWeightDecay):
    """Weight decay that is added to the user's gradient."""

    def step(self) -> None:
        for group in self.groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad += group["weight_decay"] * p.data
        super().step()


class ZerosGradients(SGD):
    def zero_grad(self) -> None:
        for p in self.groups[0]["params"]:
            if p.grad is not None:
                p.grad[...] = 0


class AliasesLoaded(Momentum):
    """What it has loaded is its own state from then on."""

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        storage = self.groups[0].storage
        for name, views in zip(storage.names, storage.views, strict=True):
            state["groups"][0]["params"][name]["v"] = views[2]


class StateFromOutside(Optimizer):
    """Counts its steps beside the declared state, and into it."""

    state = ("n",)
    made = 0

    def update(self, x: Array, dx: Array, n: Array, *, lr: float) -> None:
        n += self.made
        x -= lr * dx

    def step(self) -> None:
        self.made += 1
        super().step()


class LoadsTheSecondGroupOnly(Momentum):
    def load_state_dict(self, state: Any) -> None:
        own, new = self.state_dict()["groups"], state["groups"]
        groups = [own[0], *new[1:]] if len(new) > 1 else new
        super().load_state_dict({**state, "groups": groups})


class GoesOnAtTheFirstRate(Momentum):
    """After loading, all groups have the learning rate of one."""

    loaded = False
    of = 0

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.loaded = True

    def apply(self, group: Any, blocks: Any, t: int, lr: float) -> None:
        rate = self.groups[self.of].hyper["lr"] if self.loaded else lr
        super().apply(group, blocks, t, rate)


class GoesOnAtTheLastRate(GoesOnAtTheFirstRate):
    of = -1


class SlowAfterPause(Optimizer):
    """Moves everything less once a parameter that has moved has had no gradient."""

    speed = 1.0

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * self.speed * dx

    def pauses(self) -> bool:
        storage = self.groups[0].storage
        both = zip(storage.params, storage.counts, strict=True)
        return any(p.grad is None and count > 0 for p, count in both)

    def step(self) -> None:
        if self.pauses():
            self.speed = 0.9
        super().step()


class SlowAfterFreezing(SlowAfterPause):
    def pauses(self) -> bool:
        return not self.groups[0]["params"][0].requires_grad


class TakesTheRateOnce(Optimizer):
    def __init__(self, params: Any, lr: Any, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr(0) if callable(lr) else lr, weight_decay=weight_decay)

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx


class DecaysTwice(Optimizer):
    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx

    def apply(self, group: Any, blocks: Any, t: int, lr: float) -> None:
        decay = group["weight_decay"]
        group["weight_decay"] = 2 * decay
        super().apply(group, blocks, t, lr)
        group["weight_decay"] = decay


class EndsAlike(Optimizer):
    """Gives all parameters the dtype of the first, at last."""

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx

    def step(self) -> None:
        super().step()
        if self.steps == 6:
            params = self.groups[0]["params"]
            for p in params:
                p.data = p.data.astype(params[0].dtype)


class SavesInFloat32(Optimizer):
    """Its state are whole numbers, which float32 holds as well."""

    state = ("n",)

    def update(self, x: Array, dx: Array, n: Array, *, lr: float) -> None:
        n += 1
        x -= lr * dx

    def state_dict(self) -> dict[str, Any]:
        saved = super().state_dict()
        for group in saved["groups"]:
            for entry in group["params"].values():
                entry["n"] = entry["n"].astype(np.float32)
        return saved


class SlowInMixed(Optimizer):
    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx / len(self.groups[0].storage.buffers)


class Copied(SGD):
    def __deepcopy__(self, memo: Any) -> Any:
        again = object.__new__(type(self))
        again.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return again


class SlowAsACopy(Copied):
    def __deepcopy__(self, memo: Any) -> Any:
        again = super().__deepcopy__(memo)
        again.lr = again.lr / 2
        return again


class SlowAsAPickle(Copied):
    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)
        self.lr = self.lr / 2


class MovesTheOriginal(Copied):
    def __deepcopy__(self, memo: Any) -> Any:
        again = super().__deepcopy__(memo)
        again.__dict__["original"] = self
        return again

    def step(self) -> None:
        super().step()
        if "original" in vars(self):
            for p in vars(self)["original"].groups[0]["params"]:
                p.data += 0.1


class TakesNoParameters(SGD):
    def __init__(self, params: Any, lr: Any, weight_decay: float = 0.0) -> None:
        super().__init__([leaf([0.0])] if params == [] else params, lr, weight_decay)


class MovesWithoutGradients(SGD):
    def step(self) -> None:
        params = self.groups[0]["params"]
        if all(p.grad is None for p in params):
            for p in params:
                p.data -= 0.1
        super().step()


FAULTS: dict[type[Optimizer], str] = {
    HalfInFloat32: "float32 goes the way of float64: parameter 0",
    ShrinksInFloat32: "float32 goes the way of float64: parameter 0",
    WrongInFloat32Later: "float32 goes the way of float64: parameter",
    StateWrongInFloat32: "float32 goes the way of float64: the state 'cache'",
    SwapsGroups: "keeps two groups apart",
    LoadsTheFirstGroupOnly: "keeps two groups apart: .* loaded and saved again, groups 1, ",
    LoadsTheSecondGroupOnly: "keeps two groups apart: .* loaded and saved again, groups 0, ",
    GoesOnAtTheFirstRate: "keeps two groups apart: the second of two",
    GoesOnAtTheLastRate: "keeps two groups apart: the first of two",
    RefusesWithoutAName: "bad arguments are refused.*the error does not name it",
    IgnoresTheSizeOfLr: "learning rate is obeyed.*the first step of parameter 0 is the same",
    SavesTheFirstRateForAll: "keeps two groups apart",
    LosesCountsOfTheSecond: "keeps two groups apart",
    WrongSign: "falls on a convex problem: from a distance of 3.0, .*parameter 0 .*should have",
    RunsAway: "falls on a convex problem: from a distance of 10.0, .*parameter 0 ",
    NotInPlace: "falls on a convex problem: TypeError: .*in place",
    Returns: "falls on a convex problem.*returned something",
    ForgetsLr: "learning rate is obeyed.*lr=0 must not move",
    KeepsFirstLr: "a schedule sets the learning rate|groups|state dict",
    FirstLrOfAll: "groups have their own",
    WritesGradient: "read-only",
    SharedState: r"flat storage equals single tensors.*share.*of shape \(3, 4\)",
    StateOfAll: "flat storage equals single tensors: .*the state 'seen'",
    StateOfTheClass: "another optimizer begins anew.*outlives",
    OutsideState: "state dict carries everything.*outside `state`",
    CountsBlocks: "(size of blocks|whole tensors|flat storage)",
    CountsSteps: "late parameter counts its own steps",
    WholeTensors: "flat storage equals single tensors",
    DependsOnTheShape: "tensor by tensor",
    OrderMatters: "flat storage|order of parameters",
    SlowAfterForty: "order of parameters",
    SlowInSevens: "size of blocks",
    OneStateForAll: "flat storage equals single tensors",
    ChangesDtype: "dtype",
    MovesFrozen: "without gradient rests.*has moved",
    DecaysFrozenState: r"state of a parameter without a gradient has changed: .* \(3, 4\)",
    SlowAfterPause: "rests: a parameter without a gradient and the others beside it",
    SlowAfterFreezing: "goes on: a frozen parameter and the others beside it",
    NoWeightDecay: "weight decay|groups",
    DecaysTwice: "weight decay adds to the gradient: .*parameter 0 ",
    HalvesGradients: "gradients are left alone: p.grad after the step .*parameter 0 ",
    DecaysGradients: "gradients are left alone: p.grad after the step",
    ZerosGradients: "gradients are left alone: a gradient that the user keeps: parameter 0 ",
    TakesTheRateOnce: "a schedule sets the learning rate",
    EndsAlike: "the dtype is kept: data of a parameter of float64 has become float32",
    SavesInFloat32: "the dtype is kept: n of a parameter of float64 has become float32",
    SlowInMixed: "the dtype is kept: float32 and float64 in one group",
    TakesNoParameters: "bad arguments are refused: an empty list as parameters was accepted",
    Accepts: "bad arguments are refused.*was accepted",
    AliasesState: "not a copy",
    AliasesLoaded: "state dict carries everything: .*after further steps of the other",
    StateFromOutside: "state dict carries everything: the state after further steps",
    ForgetsHyper: "state dict carries everything: after load_state_dict, .*lr is",
    NaNAtRest: "parameter 0 became NaN",
    Silent: "no RuntimeWarning",
    MovesWithoutGradients: "a step without any gradient must not move",
    SharesWithCopies: "copies go on alike",
    SlowAsACopy: "copies go on alike: the copy, against the original",
    SlowAsAPickle: "pickles go on alike: the copy, against the original",
    MovesTheOriginal: "copies go on alike: the original, after the copy went on",
}


@pytest.mark.parametrize(("rule", "message"), FAULTS.items(), ids=[r.__name__ for r in FAULTS])
def test_conformance_catches(rule: type[Optimizer], message: str) -> None:
    with pytest.raises(AssertionError, match=f"(?s)^{rule.__name__}: .*({message})"):
        check_optimizer(rule, lr=0.05)


@pytest.mark.parametrize(("rate", "off"), [(0.1000001, 0.0), (0.1, 1e-11)])
def test_conformance_catches_a_wrong_first_step(rate: float, off: float) -> None:
    with pytest.raises(AssertionError, match="SGD: the first step is the closed form: parameter 0"):
        check_optimizer(SGD, lr=0.1, first_step=lambda x, dx: x - rate * dx + off)


def test_conformance_catches_a_path_that_is_off_by_little() -> None:
    path = path_of(SGD, lr=0.1)
    with pytest.raises(AssertionError, match="SGD: the path is that of the formula: after step 1 "):
        check_optimizer(SGD, lr=0.1, path=lambda x, gradients: path(x, gradients) + 5e-9)


@pytest.mark.parametrize(
    ("rule", "name"),
    [(Momentum, "lr"), (Momentum, "mu"), (Momentum, "weight_decay"), (Adam, "betas")],
)
def test_conformance_catches_each_hyper_parameter_that_is_not_loaded(
    rule: type[Optimizer], name: str
) -> None:
    class ForgetsOne(rule):  # type: ignore[misc, valid-type]
        def load_state_dict(self, state: Any) -> None:
            kept = getattr(self, name)
            super().load_state_dict(state)
            setattr(self, name, kept)

    with pytest.raises(AssertionError, match=f"carries everything: .*groups 0, hyper: {name} is "):
        check_optimizer(ForgetsOne, lr=0.05)


class RefusesLargeRates(Optimizer):
    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        kept = super().checked(name, value)
        if name == "lr" and not callable(kept) and kept > 0.05:
            raise ValueError("lr is 0.05 at most")
        return kept

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx


class TakesAnythingAsASwitch(Optimizer):
    def __init__(self, params: Any, lr: Any, flag: Any = True, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr, flag=flag, weight_decay=weight_decay)

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        return bool(value) if name == "flag" else super().checked(name, value)

    def update(self, x: Array, dx: Array, *, lr: float, flag: bool) -> None:
        x -= lr * dx


class WarnsTwice(SGD):
    def step(self) -> None:
        if all(p.grad is None for p in self.groups[0]["params"]):
            warnings.warn("nothing will move", UserWarning, stacklevel=2)
        super().step()


@pytest.mark.parametrize("rule", [RefusesLargeRates, TakesAnythingAsASwitch, WarnsTwice])
def test_conformance_lets_a_rule_do_more_than_it_must(rule: type[Optimizer]) -> None:
    assert check_optimizer(rule, lr=0.05)


def test_conformance_allows_for_the_rounding_of_small_steps() -> None:
    assert check_optimizer(SGD, lr=1e-5)


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
    with pytest.raises(
        AssertionError, match="when the gradient turns round, the loss of parameter 0 "
    ):
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
