"""The state of an optimizer is saved by name, loaded if it fits, copied and pickled."""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rules import X, assert_same, backward, leaf, moved, small_model, train, weights

from minidl import Tensor, nn
from minidl.optim import SGD, Adam, Momentum, Optimizer, schedules


def test_a_state_dict_has_the_names_of_the_model_and_plain_values() -> None:
    model = small_model()
    optimizer = Adam(model.parameters(), lr=0.01)
    train(model, optimizer, 3)
    saved = optimizer.state_dict()
    assert (saved["rule"], saved["steps"]) == ("Adam", 3)
    (group,) = saved["groups"]
    assert group["hyper"]["betas"] == [0.9, 0.999]
    assert list(group["params"]) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert group["params"]["0.weight"]["steps"] == 3
    assert group["params"]["0.weight"]["m"].shape == (6, 4)


def test_a_state_dict_goes_by_name_not_by_order() -> None:
    model = small_model()
    optimizer = Adam(model.parameters())
    train(model, optimizer)
    twin = copy.deepcopy(model)
    other = Adam(list(twin.named_parameters())[::-1])
    other.load_state_dict(optimizer.state_dict())
    train(model, optimizer)
    train(twin, other)
    assert_same(weights(twin), weights(model))


def test_loading_puts_hyper_parameters_and_schedule_position_in_place() -> None:
    schedule = schedules.step_decay(0.1, every=3)
    p, q = leaf([1.0]), leaf([1.0])
    optimizer, other = Momentum([p], lr=schedule, mu=0.5), Momentum([q], lr=schedule)
    moved(optimizer, p, [1.0], [1.0], [1.0])
    other.load_state_dict(optimizer.state_dict())
    assert other.mu == 0.5
    np.testing.assert_allclose(other.lr, 0.01)
    assert other.groups[0]["lr"] is schedule


def test_a_state_dict_shares_nothing_with_the_optimizers_it_is_of_and_for() -> None:
    class Layered(SGD):
        def __init__(self, params: Any, lr: float, stages: Any) -> None:
            Optimizer.__init__(self, params, lr=lr, stages=stages)

        @classmethod
        def checked(cls, name: str, value: Any) -> Any:
            return value if name == "stages" else super().checked(name, value)

    one, other = (Layered([leaf([1.0])], lr=0.1, stages=[n]) for n in (1, 2))
    saved = one.state_dict()
    other.load_state_dict(saved)
    saved["groups"][0]["hyper"]["stages"].append(3)
    assert (one.groups[0]["stages"], other.groups[0]["stages"]) == ([1], [1])


def test_a_parameter_shared_by_name_in_two_groups_keeps_both_states() -> None:
    one, two = small_model(0), small_model(1)
    optimizer = Adam([{"params": one.parameters()}, {"params": two.parameters(), "lr": 0.1}])
    for model in (one, two):
        (model(X) ** 2).mean().backward()
    optimizer.step()
    twins = copy.deepcopy((one, two))
    other = Adam([{"params": model.parameters()} for model in twins])
    other.load_state_dict(optimizer.state_dict())
    assert [group["lr"] for group in other.groups] == [0.001, 0.1]
    saved = [group["params"]["0.weight"]["m"] for group in other.state_dict()["groups"]]
    assert not np.array_equal(*saved)


def _spoiled(change: Callable[[Any], Any]) -> Any:
    p, q = leaf(np.ones(3)), leaf([1.0])
    optimizer = Adam([("w", p), ("b", q)])
    backward(p, np.ones(3))
    optimizer.step()
    saved = optimizer.state_dict()
    change(saved)
    return optimizer, saved


def test_a_state_beyond_the_dtype_of_the_parameter_is_refused_and_nan_is_not() -> None:
    p = nn.Parameter([1.0, 2.0])
    optimizer = Adam([("p", p)])
    before = optimizer.state_dict()
    state = copy.deepcopy(before)
    state["groups"][0]["params"]["p"]["v"] = np.array([0.5, 1e300])
    with pytest.raises(
        ValueError, match=r"v of 'p' has 1e\+300 at \[1\], which float32 cannot hold"
    ):
        optimizer.load_state_dict(state)
    np.testing.assert_equal(optimizer.state_dict(), before)
    state["groups"][0]["params"]["p"]["v"] = np.array([np.nan, np.inf])
    optimizer.load_state_dict(state)
    loaded = optimizer.state_dict()["groups"][0]["params"]["p"]["v"]
    np.testing.assert_equal(loaded, np.array([np.nan, np.inf], np.float32))


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (lambda s: s.update(rule="SGD"), ["it is of SGD, not of Adam"]),
        (lambda s: s.clear(), ["it is of None", "has taken None steps", "it has 0 groups, not 1"]),
        (lambda s: s.update(steps=-1), ["it has taken -1 steps"]),
        (lambda s: s.update(steps=math.inf), ["it has taken inf steps"]),
        (lambda s: s["groups"].append({}), ["it has 2 groups, not 1"]),
        (lambda s: s["groups"][0].clear(), ["'w' is missing", "'b' is missing", "are missing"]),
        (lambda s: s["groups"][0]["params"].pop("w"), ["'w' is missing"]),
        (lambda s: s["groups"][0]["params"].update(x={}), ["'x' is unexpected"]),
        (
            lambda s: s["groups"][0].update(params={"y": {}, "x": {}}),
            ["'w' is missing", "'b' is missing", "'y' is unexpected", "'x' is unexpected"],
        ),
        (lambda s: s["groups"][0]["params"]["w"].pop("m"), ["'w' has steps, v, not steps, m, v"]),
        (
            lambda s: s["groups"][0]["params"]["w"].update(m=np.ones(1)),
            [r"m of 'w' has shape \(1,\) and dtype float64, not \(3,\)"],
        ),
        (
            lambda s: s["groups"][0]["params"]["w"].update(v=np.array(["a", "b", "c"])),
            ["v of 'w' has shape .* and dtype <U1"],
        ),
        (lambda s: s["groups"][0]["params"]["w"].update(steps=1.5), ["'w' has taken 1.5 steps"]),
        (lambda s: s["groups"][0]["hyper"].pop("eps"), ["hyper-parameters are lr, weight_decay"]),
        (lambda s: s["groups"][0]["hyper"].update(lr=-1), ["lr is a finite number"]),
        (lambda s: s["groups"][0]["hyper"].update(lr="schedule"), ["lr was a schedule"]),
        (lambda s: s["groups"][0]["hyper"].update(lr="fast"), ["lr is a finite number.* 'fast'"]),
        (lambda s: s["groups"][0]["hyper"].update(betas=[0.9]), ["betas is two numbers"]),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused_and_changes_nothing(
    change: Callable[[Any], Any], messages: list[str]
) -> None:
    optimizer, saved = _spoiled(change)
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match="cannot take the state") as caught:
        optimizer.load_state_dict(saved)
    for message in messages:
        assert re.search(message, str(caught.value))
    assert repr(optimizer.state_dict()) == repr(before)


def test_a_number_does_not_take_the_place_of_a_schedule_nor_a_schedule_that_of_a_number() -> None:
    def pair() -> list[Any]:
        return [{"params": [leaf([1.0])]}, {"params": [leaf([2.0])], "lr": 0.5}]

    constant, schedule = Adam(pair(), lr=0.1), Adam(pair(), lr=schedules.cosine(0.1, 10))
    kept = schedule.groups[0]["lr"]
    with pytest.raises(ValueError, match=r"in group 0 lr was 0\.1, and is a schedule here"):
        schedule.load_state_dict(constant.state_dict())
    assert schedule.groups[0]["lr"] is kept
    with pytest.raises(ValueError, match=r"in group 0 lr was a schedule: make .* with one"):
        constant.load_state_dict(schedule.state_dict())
    assert constant.groups[0]["lr"] == 0.1
    # The remedies that the messages give.
    other = Adam(pair(), lr=0.2)
    other.load_state_dict(constant.state_dict())
    assert other.lr == 0.1
    other.groups[0]["lr"] = kept
    schedule.load_state_dict(other.state_dict())
    assert [g["lr"] for g in schedule.groups] == [kept, 0.5]
    schedule.lr = 0.3
    assert [g["lr"] for g in schedule.groups] == [0.3, 0.3]


def test_a_copied_or_pickled_pair_of_model_and_optimizer_trains_on_alone() -> None:
    for again in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        model = small_model()
        optimizer = Adam(model.parameters(), lr=schedules.exponential_decay(0.01, 0.99))
        train(model, optimizer)
        before = weights(model)
        twin, other = again((model, optimizer))
        assert other.groups[0]["params"][0] is twin.parameters()[0]
        train(twin, other)
        assert_same(weights(model), before)
        train(model, optimizer)
        assert_same(weights(twin), weights(model))


def test_an_optimizer_copied_without_its_model_brings_parameters_of_its_own() -> None:
    p = leaf([1.0])
    optimizer = SGD([p], lr=1.0)
    twin = copy.deepcopy(optimizer)
    (q,) = twin.groups[0]["params"]
    moved(twin, q, [1.0])
    assert (p.item(), q.item()) == (1.0, 0.0)


def test_neighbours_in_different_steps_stay_apart_also_after_loading() -> None:
    def run(reload: bool) -> list[float]:
        params = [leaf([0.0]) for _ in range(4)]
        optimizer = Adam(params, lr=0.1)
        for gradients in ([1, 0, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]):
            for p, g in zip(params, gradients, strict=True):
                p.grad = np.array([1.0 + p.item()]) if g else None
            optimizer.step()
            if reload:
                saved = optimizer.state_dict()
                optimizer = Adam(params, lr=0.1)
                optimizer.load_state_dict(saved)
        return [p.item() for p in params]

    whole = run(False)
    assert whole == run(True)
    assert len(set(whole)) == 3


def test_loading_a_state_between_two_steps_resets_the_counts() -> None:
    p, q = leaf([0.0]), leaf([0.0])
    optimizer = Adam([p, q], lr=0.1)
    p.grad = q.grad = np.ones(1)
    optimizer.step()
    saved = optimizer.state_dict()
    saved["groups"][0]["params"]["1"] = {"steps": 0, "m": np.zeros(1), "v": np.zeros(1)}
    optimizer.load_state_dict(saved)
    optimizer.step()
    np.testing.assert_allclose([p.item(), q.item()], [-0.2, -0.2], rtol=1e-7)


def test_the_faults_of_a_state_name_a_group_only_if_there_are_several() -> None:
    x = Tensor([1.0], requires_grad=True)
    state = SGD([x], lr=0.1).state_dict()
    with pytest.raises(ValueError, match="is missing") as caught:
        SGD([("other", x)], lr=0.1).load_state_dict(state)
    assert "group" not in str(caught.value)
