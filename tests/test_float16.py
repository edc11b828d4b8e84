"""float16 parameters are trained in float32, and every dtype in its own precision."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from rules import Array, Nesterov, Normalized, X, assert_same, every_rule, leaf, moved, small_model

from minidl.optim import SGD, Adagrad, Adam, Momentum, Optimizer, RMSProp


def test_float32_and_float64_in_one_group_are_each_computed_in_their_own_precision() -> None:
    rng = np.random.default_rng(0)
    dtypes = [np.float32, np.float64, np.float32, np.float64, np.float16]
    values = [rng.normal(size=n).astype(d) for n, d in zip((3, 2, 0, 5, 4), dtypes, strict=True)]
    params, alone = [leaf(v, v.dtype) for v in values], [leaf(v, v.dtype) for v in values]
    together = Adam(params, lr=0.01)
    single = [Adam([p], lr=0.01) for p in alone]
    for _ in range(3):
        for p, q, optimizer in zip(params, alone, single, strict=True):
            p.grad = q.grad = rng.normal(size=p.shape)
            optimizer.step()
        together.step()
    assert [p.dtype for p in params] == dtypes
    assert_same([p.data for p in params], [p.data for p in alone])


HALF: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"lr": 0.01}),
    (Momentum, {"lr": 0.01}),
    (Adagrad, {}),
    (RMSProp, {}),
    (Adam, {}),
    (Adam, {"weight_decay": 0.01}),
    (Nesterov, {"lr": 0.01}),
    (Normalized, {"lr": 0.01}),
]


def half_gradients(steps: int, n: int, scale: float) -> Array:
    rng = np.random.default_rng(4)
    g = scale * (rng.normal(size=(steps, n)) + 0.3)
    g[:, 0] = 0.0
    return g.astype(np.float16)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e3])
@pytest.mark.parametrize(("rule", "hyper"), HALF, ids=str)
def test_float16_parameters_go_the_way_of_float64_ones(
    rule: type[Optimizer], hyper: dict[str, Any], scale: float
) -> None:
    start = np.linspace(1, 3, 8).astype(np.float16)
    p, reference = leaf(start, np.float16), leaf(start)
    optimizer, other = rule([p], **hyper), rule([reference], **hyper)
    for g in half_gradients(300, 8, scale):
        p.grad, reference.grad = g, g.astype(np.float64)
        optimizer.step()
        other.step()
        assert p.dtype == p.grad.dtype == np.float16
    # Half a unit in the last place of float16, and what float32 adds in 300 steps.
    np.testing.assert_allclose(p.data, reference.data, rtol=2**-11 + 1e-4, atol=1e-7)
    saved = optimizer.state_dict()["groups"][0]["params"]["0"]
    expected = other.state_dict()["groups"][0]["params"]["0"]
    for name in rule.state:
        assert saved[name].dtype == np.float32
        np.testing.assert_allclose(
            saved[name], expected[name], rtol=1e-4, atol=1e-5 * abs(expected[name]).max()
        )


@every_rule
def test_a_float16_gradient_of_zero_moves_nothing(rule: type[Optimizer]) -> None:
    p = leaf([1.0, -2.0], np.float16)
    np.testing.assert_array_equal(
        moved(rule([p], lr=0.1, weight_decay=0.0), p, [0.0, 0.0], [0, 0]), [1.0, -2.0]
    )


def test_steps_too_small_for_float16_add_up() -> None:
    p = leaf([1.0], np.float16)
    optimizer = SGD([p], lr=1e-5)
    assert moved(optimizer, p, *[[1.0]] * 10) == 1.0
    moved(optimizer, p, *[[1.0]] * 990)
    np.testing.assert_allclose(p.data, 0.99, atol=2**-11)


@pytest.mark.parametrize(("rule", "hyper"), HALF, ids=str)
@pytest.mark.parametrize("model_first", [True, False])
def test_a_float16_run_is_resumed_bit_by_bit(
    rule: type[Optimizer], hyper: dict[str, Any], model_first: bool
) -> None:
    start, gradients = np.linspace(1, 3, 8).astype(np.float16), half_gradients(40, 8, 0.1)
    p = leaf(start, np.float16)
    optimizer = rule([p], **hyper)
    moved(optimizer, p, *gradients[:20])
    saved, data = optimizer.state_dict(), p.numpy()
    q = leaf(data if model_first else start, np.float16)
    other = rule([q], **hyper)
    other.load_state_dict(saved)
    q.data[...] = data
    twins = [pickle.loads(pickle.dumps((p, optimizer))), copy.deepcopy((p, optimizer))]
    moved(optimizer, p, *gradients[20:])
    for twin, its_optimizer in [(q, other), *twins]:
        moved(its_optimizer, twin, *gradients[20:])
        assert_same([twin.data], [p.data])
        a, b = its_optimizer.state_dict(), optimizer.state_dict()
        assert_same(
            list(a["groups"][0]["params"]["0"].values()),
            list(b["groups"][0]["params"]["0"].values()),
        )


def test_float16_data_that_are_written_to_are_what_is_saved() -> None:
    p = leaf([1.0, 2.0], np.float16)
    optimizer = SGD([p], lr=1e-5)
    moved(optimizer, p, [1.0, 1.0])
    p.data[1] = 5.0
    x = optimizer.state_dict()["groups"][0]["params"]["0"]["x"]
    np.testing.assert_array_equal(x, np.array([1 - 1e-5, 5], np.float32))


@every_rule
def test_float16_data_that_are_written_to_are_what_is_trained_on(rule: type[Optimizer]) -> None:
    start = leaf([1.0, 2.0, 3.0], np.float16)
    optimizer = rule([start], lr=0.1)
    moved(optimizer, start, [1.0, 1.0, 1.0])
    for write in ("in place", "rebind"):
        if write == "in place":
            start.data[1] = 5.0
        else:
            start.data = np.array([7.0, 5.0, 3.0], np.float16)
        values = start.numpy()
        optimizer.lr = 0.0
        np.testing.assert_array_equal(moved(optimizer, start, [1.0, 1.0, 1.0]), values)
        optimizer.lr = 0.1
        assert (moved(optimizer, start, [1.0, 1.0, 1.0]) < values).all()
    start.grad, kept = None, start.numpy()
    other = leaf([1.0], np.float16)
    both = rule([start, other], lr=0.1)
    moved(both, other, [1.0])
    np.testing.assert_array_equal(start.data, kept)  # it rests without a gradient


def test_a_float16_model_trains_as_a_float32_one() -> None:
    losses = {}
    for dtype in (np.float16, np.float32):
        model, x = small_model(), X.astype(dtype)
        for p in model.parameters():
            p.data = p.data.astype(np.float16).astype(dtype)
        (model(x) ** 2).mean().backward()  # gradients from before there is an optimizer
        optimizer = Adam(model.parameters(), lr=0.01)
        optimizer.step()
        for _ in range(100):
            optimizer.zero_grad()
            loss = ((model(x) - 0.5) ** 2).mean()
            loss.backward()
            optimizer.step()
        assert {p.dtype for p in model.parameters()} == {np.dtype(dtype)}
        losses[dtype] = loss.item()
    assert losses[np.float32] < 0.1
    np.testing.assert_allclose(losses[np.float16], losses[np.float32], rtol=0.02)


def test_a_weight_beyond_float16_is_known_and_saved_without_a_warning() -> None:
    p = leaf([60000.0], np.float16)
    optimizer = SGD([("p", p)], lr=1.0)
    with np.errstate(over="ignore"):  # which the step warns of
        moved(optimizer, p, [-60000.0])
    assert p.item() == np.inf
    assert optimizer.state_dict()["groups"][0]["params"]["p"]["x"] == [120000]
