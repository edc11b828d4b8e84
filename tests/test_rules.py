"""The rules against the lecture, closed forms and PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from reference import Trajectory, trajectories
from rules import (
    FORMULAS,
    RULES,
    Array,
    Keras,
    Nesterov,
    Normalized,
    Signs,
    X,
    every_rule,
    first_step_by,
    leaf,
    moved,
    path_of,
    small_model,
    train,
)

from minidl.optim import SGD, Adagrad, Adam, AdamW, Momentum, Optimizer, RMSProp
from minidl.testing import optimizer_checks


@pytest.mark.parametrize(("rule", "formula", "states", "hyper"), FORMULAS)
def test_rule_is_the_lectures_formula_step_by_step(
    rule: type[Optimizer], formula: Callable[..., None], states: int, hyper: dict[str, Any]
) -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(3, 4, 50)  # far from 0, so that a relative error means something
    state = [np.zeros(50) for _ in range(states)]
    p = leaf(x)
    optimizer = rule([p], **hyper)
    for t in range(1, 31):
        dx = rng.normal(size=50)
        formula(x, dx, t, *state, **hyper)
        moved(optimizer, p, dx)
        np.testing.assert_allclose(p.data, x, rtol=2e-15, atol=0)
        saved = optimizer.state_dict()["groups"][0]["params"]["0"]
        for name, expected in zip(rule.state, state, strict=True):
            np.testing.assert_allclose(saved[name], expected, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("path", trajectories(), ids=str)
def test_rule_walks_the_path_that_pytorch_walks(path: Trajectory) -> None:
    hyper: dict[str, Any] = dict(path.hyper)
    if path.rule in ("Adam", "AdamW"):
        hyper["betas"] = (hyper.pop("beta1"), hyper.pop("beta2"))
    if path.lr_change:
        hyper["lr"] = lambda step: path.lr(step + 1)
    p = leaf(path.start)
    nesterov = path.rule == "Nesterov"
    rule = RULES["Momentum" if nesterov else path.rule]
    optimizer = rule([p], **hyper, **{"nesterov": True} if nesterov else {})
    for step in range(1, path.steps + 1):
        p.grad = path.gradient(p.data)
        optimizer.step()
        if step in path.points:
            np.testing.assert_allclose(p.data, path.points[step], rtol=1e-10, atol=0)


def test_gradient_descent_on_a_quadratic_contracts_by_a_power_of_one_minus_lr_lambda() -> None:
    curvature, lr = np.array([0.1, 1.0, 5.0, 19.0]), 0.1
    p = leaf(np.ones(4))
    optimizer = SGD([p], lr=lr)
    for n in range(1, 51):
        moved(optimizer, p, curvature * p.data)
        np.testing.assert_allclose(p.data, (1 - lr * curvature) ** n, rtol=1e-12)


@pytest.mark.parametrize("mu", [0.0, 0.5, 0.9])
def test_momentum_converges_just_inside_its_limit_and_explodes_just_outside(mu: float) -> None:
    curvature = 3.0
    limit = 2 * (1 + mu) / curvature
    ends = {}
    for share in (0.99, 1.01):
        p = leaf([1.0])
        optimizer = Momentum([p], lr=share * limit, mu=mu)
        for _ in range(800):
            p.grad = curvature * p.data
            optimizer.step()
        ends[share] = abs(p.item())
    assert ends[0.99] < 1e-3
    assert ends[1.01] > 1e3


DX = np.array([2.0, -0.5, 1e-3, 0.0])


@pytest.mark.parametrize(
    ("rule", "hyper", "step"),
    [
        (SGD, {"lr": 0.1}, 0.1 * DX),
        (Momentum, {"lr": 0.1, "mu": 0.9}, 0.1 * DX),
        (Adagrad, {"lr": 0.1, "eps": 1e-3}, 0.1 * DX / (abs(DX) + 1e-3)),
        (
            RMSProp,
            {"lr": 0.1, "decay_rate": 0.75, "eps": 1e-3},
            0.1 * DX / (0.5 * abs(DX) + 1e-3),
        ),
        (Adam, {"lr": 0.1, "betas": (0.9, 0.99), "eps": 1e-3}, 0.1 * DX / (abs(DX) + 1e-3)),
        (
            Adam,
            {"lr": 0.1, "betas": (0.9, 0.75), "eps": 1e-3, "bias_correction": False},
            0.01 * DX / (0.5 * abs(DX) + 1e-3),
        ),
    ],
)
def test_first_step_in_closed_form(
    rule: type[Optimizer], hyper: dict[str, Any], step: Array
) -> None:
    p = leaf(np.ones(4))
    np.testing.assert_allclose(moved(rule([p], **hyper), p, DX), 1 - step, rtol=1e-14)


def test_adam_moves_by_the_same_amount_in_every_step_under_a_constant_gradient() -> None:
    g, lr, eps = np.array([3.0, -0.01]), 0.01, 1e-8
    p = leaf(np.zeros(2))
    optimizer = Adam([p], lr=lr, eps=eps)
    for n in range(1, 40):
        moved(optimizer, p, g)
        np.testing.assert_allclose(p.data, -n * lr * g / (abs(g) + eps), rtol=1e-12)


def test_adam_without_correction_takes_first_steps_that_are_too_large() -> None:
    g, lr, eps, (beta1, beta2) = 3.0, 0.01, 1e-8, (0.9, 0.999)
    p = leaf([0.0])
    optimizer = Adam([p], lr=lr, eps=eps, betas=(beta1, beta2), bias_correction=False)
    x, steps = 0.0, []
    for t in range(1, 40):
        m, v = (1 - beta1**t) * g, (1 - beta2**t) * g * g
        steps.append(lr * m / (math.sqrt(v) + eps))
        x -= steps[-1]
        np.testing.assert_allclose(moved(optimizer, p, [g]), [x], rtol=1e-12)
    assert max(steps) > 6 * lr  # with the correction, every step is lr


def test_adagrad_slows_down_with_the_root_of_time_under_a_constant_gradient() -> None:
    p = leaf([0.0])
    optimizer = Adagrad([p], lr=1.0, eps=1e-10)
    x = 0.0
    for t in range(1, 40):
        x -= 2.0 / (2.0 * math.sqrt(t) + 1e-10)
        np.testing.assert_allclose(moved(optimizer, p, [2.0]), [x], rtol=1e-12)


def test_momentum_reaches_the_speed_at_which_friction_balances_a_constant_gradient() -> None:
    p = leaf([0.0])
    optimizer = Momentum([p], lr=0.1, mu=0.9)
    for n in range(1, 40):
        before = p.item()
        moved(optimizer, p, [2.0])
        np.testing.assert_allclose(
            p.item() - before, -0.1 * 2.0 * (1 - 0.9**n) / (1 - 0.9), rtol=1e-9
        )


@every_rule
def test_a_gradient_of_zero_moves_nothing_at_the_start(rule: type[Optimizer]) -> None:
    p = leaf([1.0, -2.0])
    optimizer = rule([p], lr=0.1, weight_decay=0.0)
    np.testing.assert_array_equal(moved(optimizer, p, [0.0, 0.0]), [1.0, -2.0])


CONFORMING: list[tuple[type[Optimizer], dict[str, Any], Callable[[Array], Array] | None]] = [
    (SGD, {"lr": 0.1}, lambda dx: 0.1 * dx),
    (Momentum, {"lr": 0.05, "mu": 0.8}, lambda dx: 0.05 * dx),
    (Adagrad, {"lr": 0.1}, lambda dx: 0.1 * dx / (abs(dx) + 1e-10)),
    (RMSProp, {}, lambda dx: 0.01 * dx / (0.1 * abs(dx) + 1e-8)),
    (Adam, {}, lambda dx: 0.001 * dx / (abs(dx) + 1e-8)),
    (
        Adam,
        {"lr": 0.01, "betas": (0.9, 0.99), "bias_correction": False, "weight_decay": 0.01},
        None,
    ),
    (Momentum, {"lr": 0.05, "mu": 0.8, "nesterov": True}, lambda dx: 0.05 * 1.8 * dx),
    (AdamW, {"lr": 0.01, "weight_decay": 0.0}, lambda dx: 0.01 * dx / (abs(dx) + 1e-8)),
    (AdamW, {"lr": 0.01, "weight_decay": 0.5}, None),
    (Signs, {"lr": 0.01}, None),
    (Nesterov, {"lr": 0.05}, None),
    (Nesterov, {"lr": 0.05, "nesterov": False}, None),
    (Normalized, {"lr": 0.05}, None),
    (Keras, {"lr": 0.05}, None),
]
WITH_A_FORMULA = {"the first step is the closed form", "the path is that of the formula"}
FOR_ELEMENTWISE = {"the size of blocks does not matter", "whole tensors equal flat storage"}
CHECKS = [
    pytest.param(check, step, id=f"{rule.__name__}{n}: {check}")
    for n, (rule, hyper, step) in enumerate(CONFORMING)
    for check in optimizer_checks(
        rule,
        first_step=first_step_by(step) if step else None,
        path=path_of(rule, **hyper) if step else None,
        **hyper,
    )
]


@pytest.mark.parametrize(("check", "step"), CHECKS)
def test_every_rule_conforms(check: Any, step: Any) -> None:
    left_out = (set() if step else WITH_A_FORMULA) | (
        set() if check.case.rule.elementwise else FOR_ELEMENTWISE
    )
    if check.case.rule.decays_itself:
        left_out = left_out | {"weight decay adds to the gradient"}
    assert check() == (check.name not in left_out)


def test_adamw_shrinks_every_weight_by_the_same_share_and_adam_does_not() -> None:
    g = np.array([1e-3, 1.0, 1e3])
    ends = {}
    for rule in (Adam, AdamW):
        x, bare = leaf([2.0, 2.0, 2.0]), leaf([2.0, 2.0, 2.0])
        moved(rule([x], lr=0.1, weight_decay=0.5), x, g)
        moved(rule([bare], lr=0.1, weight_decay=0.0), bare, g)
        ends[rule] = bare.data - x.data
    np.testing.assert_allclose(ends[AdamW], 0.1 * 0.5 * 2.0, rtol=1e-12)
    assert abs(ends[Adam]).max() < 1e-5  # it divides the decay by its own size


def test_adamw_decays_by_the_rate_of_the_schedule_and_of_each_group() -> None:
    x, y = leaf([1.0]), leaf([1.0])
    groups = [{"params": [x]}, {"params": [y], "weight_decay": 1.0}]
    optimizer = AdamW(groups, lr=lambda step: 0.1 / (step + 1), weight_decay=0.5)
    for step in range(2):
        x.grad, y.grad = np.zeros(1), np.zeros(1)
        optimizer.step()
        assert step == optimizer.steps - 1
    np.testing.assert_allclose(x.data, 0.95 * 0.975)
    np.testing.assert_allclose(y.data, 0.9 * 0.95)


def test_what_explains_a_step_does_not_add_a_decay_that_adamw_applies_itself() -> None:
    x = leaf([1.0, 2.0])
    optimizer = AdamW([x], lr=0.1, weight_decay=0.5)
    x.grad = np.ones(2)
    with optimizer.explain("0") as told:
        optimizer.step()
    assert "dx + weight_decay" not in str(told)


def test_a_rule_of_ten_lines_plugs_in_and_trains() -> None:
    class Lion(Optimizer):
        state = ("m",)
        below_one = pairs = ("betas",)

        def update(self, x: Array, dx: Array, m: Array, *, lr: float, betas: Any) -> None:
            beta1, beta2 = betas
            x -= lr * np.sign(beta1 * m + (1 - beta1) * dx)
            m *= beta2
            m += (1 - beta2) * dx

    model = small_model()
    optimizer = Lion(model.parameters(), lr=0.01, betas=(0.9, 0.99))
    before = float((model(X) ** 2).mean().item())
    train(model, optimizer, 100)
    assert float((model(X) ** 2).mean().item()) < 0.05 * before
    with pytest.raises(
        ValueError, match=r"Lion: betas\[1\] is a finite number, at least 0 and below 1"
    ):
        optimizer.betas = (0.9, 1.0)
    saved = optimizer.state_dict()
    assert saved["groups"][0]["params"]["2.bias"]["m"].shape == (3,)
