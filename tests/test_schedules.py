"""Learning rates that change."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rules import leaf, moved

from minidl.optim import SGD, schedules


def test_schedules_in_closed_form() -> None:
    steps = range(30)
    step, exponential = schedules.step_decay(0.5, 10), schedules.exponential_decay(0.5, 0.9)
    assert [step(n) for n in steps] == [0.5] * 10 + [0.5 * 0.1] * 10 + [0.5 * 0.1**2] * 10
    assert [exponential(n) for n in steps] == [0.5 * 0.9**n for n in steps]
    cosine = schedules.cosine(0.5, 20, final=0.1)
    expected = [0.1 + 0.4 * (1 + math.cos(math.pi * min(n, 20) / 20)) / 2 for n in steps]
    np.testing.assert_allclose([cosine(n) for n in steps], expected, rtol=1e-14)
    assert (cosine(0), cosine(20), cosine(1000)) == (0.5, 0.1, 0.1)
    warm = schedules.warmup(0.5, 5)
    np.testing.assert_allclose([warm(n) for n in range(7)], [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5])
    both = schedules.warmup(cosine, 5)
    np.testing.assert_allclose(
        [both(n) for n in steps], [cosine(n) * min(1, (n + 1) / 5) for n in steps]
    )


def test_linear_and_one_cycle() -> None:
    linear = schedules.linear(0.5, 4, final=0.1)
    np.testing.assert_allclose([linear(n) for n in range(6)], [0.5, 0.4, 0.3, 0.2, 0.1, 0.1])
    # PyTorch 2's OneCycleLR(max_lr=0.1, total_steps=7, cycle_momentum=False)
    expected = [0.004, 0.0980556627335, 0.091904437627, 0.0672683836481, 0.035773877574,
                0.00992967918933, 4e-07, 4e-07]  # fmt: skip
    one_cycle = schedules.one_cycle(0.1, 7)
    np.testing.assert_allclose([one_cycle(n) for n in range(8)], expected, rtol=1e-10)
    assert schedules.one_cycle(0.1, 10)(2) == 0.1  # after 0.3 of the steps
    assert schedules.one_cycle(0.1, 1)(0) == pytest.approx(0.1 / 25 / 1e4)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: schedules.step_decay(-0.1, 10), ValueError, "step_decay: lr is a finite number"),
        (lambda: schedules.step_decay(0.1, 0), ValueError, "step_decay: every is a whole number"),
        (lambda: schedules.step_decay(0.1, 2.5), TypeError, "step_decay: every is a whole number"),
        (
            lambda: schedules.step_decay(0.1, 10, math.nan),
            ValueError,
            "step_decay: factor is a finite",
        ),
        (
            lambda: schedules.exponential_decay(math.inf, 0.9),
            ValueError,
            "exponential_decay: lr is a finite",
        ),
        (
            lambda: schedules.exponential_decay(0.1, 1.1),
            ValueError,
            "exponential_decay: rate is a finite number, at least 0 and at most 1, got 1.1",
        ),
        (
            lambda: schedules.exponential_decay(0.1, -0.9),
            ValueError,
            "exponential_decay: rate is a finite",
        ),
        (lambda: schedules.cosine("0.1", 10), TypeError, "cosine: lr is a finite number.*'0.1'"),
        (lambda: schedules.cosine(0.1, 10, -0.1), ValueError, "cosine: final is a finite number"),
        (lambda: schedules.cosine(0.1, True), TypeError, "cosine: steps is a whole number"),
        (lambda: schedules.warmup(None, 10), TypeError, "warmup: lr is a finite number"),
        (lambda: schedules.warmup(0.1, -1), ValueError, "warmup: steps is a whole number"),
    ],
)
def test_bad_schedules_are_refused(
    make: Callable[[], Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        make()


SETTINGS: dict[Any, dict[str, Any]] = {
    schedules.step_decay: {"lr": 0.1, "every": 3, "factor": 0.5},
    schedules.exponential_decay: {"lr": 0.1, "rate": 0.9},
    schedules.cosine: {"lr": 0.1, "steps": 10, "final": 0.01},
    schedules.linear: {"lr": 0.1, "steps": 10, "final": 0.01},
    schedules.one_cycle: {
        "lr": 0.1, "steps": 10, "pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4,
    },
    schedules.warmup: {"lr": 0.1, "steps": 10},
}  # fmt: skip
AT_LEAST = {"steps": 1, "every": 1, "div_factor": 1, "final_div_factor": 1}  # of others it is 0


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, settings in SETTINGS.items() for name in settings]
)
def test_each_setting_of_a_schedule_may_be_as_low_as_is_said_and_no_lower(
    kind: Any, name: str
) -> None:
    least = AT_LEAST.get(name, 0)
    too_low = [least - 1, *([0, 1] if name == "pct_start" else [])]
    for value in too_low:
        with pytest.raises(ValueError, match=rf"{kind.__name__}: {name} is a .*, got {value}"):
            kind(**SETTINGS[kind] | {name: value})
    if name != "pct_start":
        assert getattr(kind(**SETTINGS[kind] | {name: least}), name) == least


@pytest.mark.parametrize("kind", [schedules.cosine, schedules.one_cycle])
def test_a_schedule_with_steps_of_its_own_keeps_them_in_any_run(kind: Any) -> None:
    assert kind(0.1, steps=10).over(20) == kind(0.1, steps=10)
    assert kind(0.1).over(20) == kind(0.1, steps=20)


@pytest.mark.parametrize(("run", "steps"), [(9, 1), (20, 1), (29, 1), (31, 2), (200, 10)])
def test_a_warmup_over_a_share_of_a_run_has_the_nearest_number_of_steps_and_one_at_least(
    run: int, steps: int
) -> None:
    assert schedules.warmup(0.1, 0.05).over(run) == schedules.warmup(0.1, steps)


def test_a_schedule_is_printed_compared_and_pickled() -> None:
    schedule = schedules.warmup(schedules.cosine(0.1, steps=100), steps=5)
    assert repr(schedule) == "warmup(lr=cosine(lr=0.1, steps=100, final=0.0), steps=5)"
    assert pickle.loads(pickle.dumps(schedule)) == schedule


def test_a_schedule_is_asked_with_the_number_of_steps_taken() -> None:
    p = leaf([0.0])
    optimizer = SGD([p], lr=lambda step: [0.5, 0.25, 0.125][step])
    assert optimizer.lr == 0.5
    assert moved(optimizer, p, [1.0]) == [-0.5]
    assert optimizer.lr == 0.25
    assert moved(optimizer, p, [1.0], [1.0]) == [-0.875]
    assert optimizer.steps == 3


def test_schedules_of_groups_are_their_own() -> None:
    p, q = leaf([0.0]), leaf([0.0])
    groups = [{"params": [p], "lr": lambda step: 1.0 / (1 + step)}, {"params": [q]}]
    optimizer = SGD(groups, lr=0.1)
    for _ in range(2):
        p.grad = q.grad = np.ones(1)
        optimizer.step()
    np.testing.assert_allclose([p.item(), q.item()], [-1.5, -0.2])


@pytest.mark.parametrize("rate", [-0.1, math.nan, math.inf, "0.1", None, np.ones(2)], ids=repr)
def test_a_schedule_that_gives_no_rate_is_refused_before_anything_moves(rate: Any) -> None:
    p, q = leaf([1.0]), leaf([1.0])
    optimizer = SGD([{"params": [p]}, {"params": [q], "lr": lambda step: rate}], lr=0.1)
    p.grad = q.grad = np.ones(1)
    with pytest.raises(ValueError, match=r"SGD: the schedule for lr gave .* after 0 steps, not"):
        optimizer.step()
    assert (p.item(), q.item(), optimizer.steps) == (1.0, 1.0, 0)


@pytest.mark.parametrize("rate", [np.float64(0.1), np.float32(0.1), np.int64(1), 1])
def test_a_rate_of_numpys_is_one_of_pythons_and_widens_nothing(rate: Any) -> None:
    p = leaf([1.0, 1.0], np.float32)
    optimizer = SGD([p], lr=lambda step: rate)
    assert type(optimizer.current_rate(optimizer.groups[0])) is float
    assert moved(optimizer, p, np.ones(2)).dtype == np.float32


def test_a_schedule_that_gives_a_schedule_is_refused() -> None:
    p = leaf([1.0])
    optimizer = SGD([p], lr=lambda step: schedules.cosine(0.1, 10))
    p.grad = np.ones(1)
    with pytest.raises(ValueError, match=r"the schedule for lr gave cosine.*not a finite number"):
        optimizer.step()
