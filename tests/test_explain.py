"""``optimizer.explain`` tells one step as it was made."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from rules import (
    Array,
    Keras,
    Nesterov,
    Normalized,
    Returns,
    assert_close,
    backward,
    every_rule,
    leaf,
    moved,
    small_model,
    train,
    weights,
)

from minidl import Tensor
from minidl.optim import SGD, Adagrad, Adam, AdamW, Momentum, Optimizer, RMSProp


def told(optimizer: Optimizer, p: Tensor, dx: Any, name: str = "0") -> str:
    """What is told of a step with the gradient ``dx``."""
    optimizer.zero_grad()
    backward(p, dx)
    with optimizer.explain(name) as explanation:
        optimizer.step()
    return str(explanation)


def rows_of(text: Any) -> dict[str, list[float]]:
    """The rows of an explanation by their labels; nan for a dash."""
    rows = re.findall(r"^(\S.*?)  +((?:-|[\d.e+-]+|nan|inf)(?: .*)?)$", str(text), re.M)
    return {
        label: [float("nan" if cell == "-" else cell) for cell in cells.split()]
        for label, cells in rows
    }


class Decoupled(Optimizer):
    """A rule whose step depends on where x is."""

    state = ("cache",)

    def update(self, x: Array, dx: Array, cache: Array, *, lr: float) -> None:
        np.multiply(cache, 0.9, out=cache)
        cache += 0.1 * dx * dx
        np.copyto(cache, 1.0, where=np.abs(dx) < 0.1)
        cache[dx > 2] = 2.0
        x *= 1 - lr * 0.1
        x -= lr * dx / np.sqrt(cache + 1e-8)


class ReadsThenWrites(Optimizer):
    """Moves by the state of the step before, which is gone afterwards."""

    state = ("m",)

    def update(self, x: Array, dx: Array, m: Array, *, lr: float) -> None:
        x -= lr * np.sign(0.9 * m + 0.1 * dx)
        m *= 0.99
        m += 0.01 * dx


class Draws(Optimizer):
    """No second run of it gives the same step."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        self.rng = np.random.default_rng(0)

    def update(self, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * dx * self.rng.uniform(size=x.shape)


def test_a_decay_that_the_rule_makes_itself_is_no_part_of_the_gradient() -> None:
    for rule, rows in ((Adam, True), (AdamW, False)):
        p = leaf([1.0, 2.0])
        text = told(rule([p], lr=0.5, weight_decay=0.1), p, [1.0, -1.0])
        assert ("dx + weight_decay * x" in text) == rows


def test_numbers_that_only_float64_can_hold_are_told_as_they_are() -> None:
    p = leaf([1.0, 2.0], np.float64)
    rows = rows_of(told(SGD([p], lr=0.5), p, [1e-200, 1e200]))
    assert rows["gradient dx"] == [1e-200, 1e200]
    assert rows["effective rate |step/dx|"] == [0, 0.5]
    assert rows["step"] == [0, -5e199]
    q = leaf(np.ones(8), np.float64)
    rows = rows_of(told(SGD([q], lr=0.5), q, [1e-200, *[1.0] * 6, 3e100]))
    assert rows["gradient dx"] == [3e100, 1e-200, 1, 3e100, 3e100]


@pytest.mark.parametrize("weight_decay", [0.0, 0.01, 2.0])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("rule", "hyper"),
    [
        (SGD, {}),
        (Momentum, {"mu": 0.8}),
        (Adagrad, {}),
        (RMSProp, {"decay_rate": 0.9}),
        (Adam, {}),
        (Adam, {"bias_correction": False}),
        (Nesterov, {}),
        (Keras, {}),
        (Normalized, {}),
        (Decoupled, {}),
        (ReadsThenWrites, {}),
        (Draws, {}),
    ],
)
def test_explain_tells_the_step_that_was_made(
    rule: type[Optimizer], hyper: dict[str, Any], dtype: Any, weight_decay: float
) -> None:
    rng = np.random.default_rng(4)
    p = leaf([1.0, -2.0, 0.5, 3.0, -0.1], dtype)
    optimizer = rule([p], lr=0.01, **hyper)
    optimizer.weight_decay = weight_decay
    (buffers,) = optimizer.groups[0].storage.buffers.values()  # what the rule works on
    for _ in range(4):
        before = buffers[0].astype(float)
        dx = rng.normal(size=5).astype(dtype)
        rows = rows_of(told(optimizer, p, dx))
        step = buffers[0] - before
        state = optimizer.state_dict()["groups"][0]["params"]["0"]
        tolerance = {"rtol": 1e-3, "atol": 0}  # four digits
        np.testing.assert_allclose(rows["step"], step, **tolerance)
        np.testing.assert_allclose(rows["step / lr"], step / 0.01, **tolerance)
        np.testing.assert_allclose(rows["gradient dx"], dx, **tolerance)
        np.testing.assert_allclose(rows["x after the step"], buffers[0], **tolerance)
        total = dx + weight_decay * before
        assert ("dx + weight_decay * x" in rows) == bool(weight_decay)
        if weight_decay:
            np.testing.assert_allclose(rows["dx + weight_decay * x"], total, **tolerance)
        rate = np.abs(step / total)
        np.testing.assert_allclose(rows["effective rate |step/dx|"], rate, **tolerance)
        for name in rule.state:
            np.testing.assert_allclose(rows[f"state {name}"], state[name], **tolerance)


def test_explain_begins_with_the_rule_in_the_words_of_its_docstring() -> None:
    p = leaf([1.0])
    optimizer = Momentum([("w", p)], lr=0.5)
    lines = told(optimizer, p, [2.0], "w").splitlines()
    assert lines[:3] == [
        "w (1,), step 1 of Momentum",
        "lr=0.5, weight_decay=0.0, mu=0.9, nesterov=False",
        "SGD with momentum: v = mu * v - dx; x += lr * v.",
    ]
    assert len({len(line) for line in lines[4:]}) == 1  # aligned


@every_rule
def test_every_rule_has_its_equation_in_what_explain_quotes(rule: type[Optimizer]) -> None:
    p = leaf([1.0])
    text = told(rule([p], lr=0.5), p, [2.0])
    assert re.search(r"x [-+]= lr \* ", text)
    assert "Args" not in text
    assert "`" not in text


def test_explain_of_a_large_parameter_gives_magnitudes_and_what_moved_most() -> None:
    p = leaf(np.arange(12.0).reshape(3, 4))
    optimizer = SGD([p], lr=0.5)
    dx = np.linspace(-4, 1.5, 12).reshape(3, 4)
    dx[2, 0] = 0
    dx[1, 2] = 6
    text = told(optimizer, p, dx)
    head, *_ = [line for line in text.splitlines() if "median" in line]
    assert head.split("  ")[-1].strip() == "[1, 2]"
    size = np.abs(dx)
    expected = [np.linalg.norm(dx), size.min(), np.median(size), size.max(), 6]
    rows = rows_of(text)
    np.testing.assert_allclose(rows["gradient dx"], expected, rtol=1e-3)
    np.testing.assert_allclose(rows["step"], [*(0.5 * np.array(expected[:4])), -3], rtol=1e-3)
    np.testing.assert_array_equal(rows["effective rate |step/dx|"], [np.nan, 0.5, 0.5, 0.5, 0.5])


def test_explain_of_a_scalar_and_of_an_empty_parameter() -> None:
    scalar, empty = leaf(2.0), leaf(np.zeros((0, 2)))
    optimizer = SGD([("s", scalar), ("e", empty)], lr=0.5)
    backward(scalar, 3.0)
    backward(empty, np.zeros((0, 2)))
    with optimizer.explain("s") as of_scalar, optimizer.explain("e") as of_empty:
        optimizer.step()
    assert rows_of(of_scalar)["step"] == [-1.5]
    assert str(of_empty) == "e (0, 2), step 1 of SGD: it has no elements"


def test_explain_shows_a_dash_where_a_ratio_is_not_defined() -> None:
    p = leaf([1.0, 1.0])
    optimizer = Momentum([p], lr=0.1)
    moved(optimizer, p, [1.0, 1.0])
    rate = rows_of(told(optimizer, p, [0.0, 1.0]))["effective rate |step/dx|"]
    assert np.isnan(rate[0])
    assert rate[1] == 0.19
    optimizer.lr = 0.0
    assert np.isnan(rows_of(told(optimizer, p, [1.0, 1.0]))["step / lr"]).all()


def test_explain_of_a_large_parameter_shows_a_dash_where_nothing_is_defined() -> None:
    p = leaf(np.arange(6.0))
    rows = rows_of(told(SGD([p], lr=0.0), p, np.zeros(6)))
    np.testing.assert_array_equal(rows["effective rate |step/dx|"], [np.nan] * 5)
    np.testing.assert_array_equal(rows["step / lr"], [np.nan] * 5)
    np.testing.assert_array_equal(rows["step"], [0.0] * 5)


def test_explain_shows_a_step_that_went_wrong() -> None:
    p = leaf([1.0, 1.0, 1.0])
    optimizer = Momentum([p], lr=0.1)
    text = told(optimizer, p, [np.nan, 1.0, -np.inf])
    step = rows_of(text)["step"]
    np.testing.assert_array_equal(step, [np.nan, -0.1, np.inf])
    assert re.search(r"^step +nan +-0\.1 +inf$", text, re.M)  # and no dash
    large = leaf(np.ones(9))
    text = told(Adagrad([large], lr=0.1), large, [1.0, np.nan, *np.ones(7)])
    assert "[1]" in text  # what moved most


def test_explain_uses_the_learning_rate_and_the_count_of_that_step() -> None:
    late, early = leaf([1.0]), leaf([1.0])
    optimizer = Adam([("late", late), ("early", early)], lr=lambda step: 1 / (1 + step))
    moved(optimizer, early, [1.0], [1.0], [1.0])
    optimizer.zero_grad()
    backward(late, [1.0])
    backward(early, [1.0])
    with optimizer.explain("late") as of_late, optimizer.explain("early") as of_early:
        optimizer.step()
    text = str(of_late)
    assert "step 1 of Adam" in text
    assert "lr=0.25" in text
    assert "step 4 of Adam" in str(of_early)
    np.testing.assert_allclose(rows_of(text)["step"], [-0.25], rtol=1e-4)


def test_explain_changes_nothing() -> None:
    model, twin = small_model(), small_model()
    optimizer = Adam(model.parameters(), weight_decay=0.1)
    other = Adam(twin.parameters(), weight_decay=0.1)
    before = set(vars(optimizer))
    for _ in range(3):
        with optimizer.explain("0.weight") as explanation:
            train(model, optimizer, 1)
        train(twin, other, 1)
        assert str(explanation) == str(explanation)
    assert_close(weights(model), weights(twin))
    assert set(vars(optimizer)) == before


def test_explain_takes_the_whole_of_a_training_step_in_its_block() -> None:
    p = leaf([1.0, 2.0])
    optimizer = Momentum([p], lr=0.5)
    moved(optimizer, p, [3.0, 4.0])
    with optimizer.explain("0") as explanation:
        moved(optimizer, p, [1.0, -1.0])
    assert rows_of(explanation)["gradient dx"] == [1.0, -1.0]


def test_an_explanation_stays_what_it_is_when_training_goes_on() -> None:
    p = leaf([1.0, 2.0])
    optimizer = Adam([p], lr=0.5)
    backward(p, [1.0, 1.0])
    with optimizer.explain("0") as explanation:
        optimizer.step()
    text = str(explanation)
    moved(optimizer, p, [3.0, 4.0], [5.0, 6.0])
    assert str(explanation) == text


def test_explain_sees_data_that_were_rebound_before_the_step() -> None:
    for dtype in (np.float16, np.float32):
        p = leaf([1.0, 2.0], dtype)
        optimizer = SGD([p], lr=0.5)
        p.data = np.array([5.0, 7.0], dtype)
        rows = rows_of(told(optimizer, p, [1.0, 2.0]))
        assert rows["step"] == [-0.5, -1.0]
        assert rows["x after the step"] == [4.5, 6.0]


def test_explain_says_of_a_parameter_without_gradient_that_it_rested() -> None:
    p, q = leaf([1.0]), leaf([1.0])
    optimizer = SGD([p, q], lr=0.1)
    assert told(optimizer, p, [1.0], "1") == (
        "1 (1,), step 0 of SGD: without a gradient in this step, it rested"
    )


def test_explain_lists_the_names_if_there_is_no_such_parameter() -> None:
    optimizer = SGD(small_model().parameters(), lr=0.1)
    names = "0.weight, 0.bias, 2.weight, 2.bias"
    with pytest.raises(ValueError, match=f"no parameter is called 'weight'; they are {names}"):
        optimizer.explain("weight")


def test_explain_finds_a_name_in_its_group() -> None:
    p, q, r = leaf([1.0]), leaf([2.0]), leaf([3.0])
    optimizer = SGD(
        [{"params": [("w", p)], "lr": 0.5}, {"params": [("w", q), ("b", r)]}],
        lr=0.1,
    )
    for x in (p, q, r):
        backward(x, [1.0])
    with pytest.raises(ValueError, match=r"several .* 'w': say 'w of group 0' or 'w of group 1'"):
        optimizer.explain("w")
    blocks = [optimizer.explain(name) for name in ("w of group 0", "w of group 1", "b")]
    with blocks[0], blocks[1], blocks[2]:
        optimizer.step()
    np.testing.assert_allclose(rows_of(blocks[0])["step"], [-0.5])
    np.testing.assert_allclose(rows_of(blocks[1])["step"], [-0.1])
    assert rows_of(blocks[2])["x after the step"] == [2.9]


def test_an_explanation_without_its_block_tells_how_it_is_used() -> None:
    p = leaf([1.0])
    text = str(SGD([p], lr=0.1).explain("0"))
    assert text.splitlines() == [
        "nothing is told of '0' yet: make one step in the block, as in",
        "    with optimizer.explain('0') as told:",
        "        optimizer.step()",
        "    print(told)",
    ]


@pytest.mark.parametrize(("steps", "made"), [(0, "none was made"), (2, "2 were made")])
def test_explain_is_for_exactly_one_step(steps: int, made: str) -> None:
    p = leaf([1.0])
    optimizer = SGD([p], lr=0.1)
    backward(p, [1.0])
    with pytest.raises(RuntimeError, match=rf"SGD.explain\('0'\) tells of one step, and {made}.*"):
        with optimizer.explain("0") as explanation:
            for _ in range(steps):
                optimizer.step()
    assert made in str(explanation)


def test_explain_of_a_step_that_fails_says_so_and_lets_the_error_through() -> None:
    p = leaf([1.0])
    optimizer = Returns([p], lr=0.1)
    backward(p, [1.0])
    with pytest.raises(TypeError, match="returned something"):
        with optimizer.explain("0") as explanation:
            optimizer.step()
    assert "the block ended with TypeError(" in str(explanation)


def test_a_hyper_parameter_that_is_set_in_the_block_is_refused() -> None:
    x = Tensor(np.array([1.0, -3.0]), requires_grad=True)
    optimizer = SGD([("x", x)], lr=0.1)
    (x**2).sum().backward()
    with pytest.raises(RuntimeError, match="since lr was set in the block: set it before or after"):
        with optimizer.explain("x"):
            optimizer.step()
            optimizer.lr = 0.05
