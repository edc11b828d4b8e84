"""The hazards of flat storage: parameters are views of a buffer, whatever others do to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rules import (
    X,
    assert_close,
    assert_same,
    backward,
    every_rule,
    leaf,
    moved,
    small_model,
    train,
    weights,
)

from minidl import Tensor
from minidl.optim import SGD, Adam, Momentum, Optimizer


@every_rule
def test_two_optimizers_over_one_model_take_turns(rule: type[Optimizer]) -> None:
    model, twin = small_model(), small_model()
    first, second = rule(model.parameters(), lr=0.01), SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        train(model, first, 1)
        train(model, second, 1)
        train(model, second, 1)
    # The same with rules that share nothing: every optimizer is stepped with the same gradients.
    params = twin.parameters()
    shadows = [leaf(p.data, np.float32) for p in params]
    alone = rule(shadows, lr=0.01)
    for turn in [0, 1, 1] * 3:
        for p in params:
            p.grad = None
        (twin(X) ** 2).mean().backward()
        for p, shadow in zip(params, shadows, strict=True):
            if turn:
                p.data -= 0.1 * p.grad
            else:
                shadow.data[...] = p.data
                shadow.grad = p.grad
        if not turn:
            alone.step()
            for p, shadow in zip(params, shadows, strict=True):
                p.data[...] = shadow.data
    assert_close(weights(model), weights(twin))


def test_two_optimizers_may_both_step_on_the_same_gradients() -> None:
    p = leaf([1.0, 2.0])
    first, second = SGD([p], lr=0.5), SGD([p], lr=0.25)
    first.zero_grad()
    backward(p, [1.0, 1.0])
    first.step()
    second.step()
    np.testing.assert_array_equal(p.data, [0.25, 1.25])


def test_optimizers_over_overlapping_parts_of_a_model() -> None:
    p, q, r = leaf([1.0]), leaf([1.0]), leaf([1.0])
    first, second = SGD([p, q], lr=0.5), SGD([q, r], lr=0.25)
    for optimizer in (first, second, first):
        for t in (p, q, r):
            t.grad = np.ones(1)
        optimizer.step()
    assert [t.item() for t in (p, q, r)] == [0.0, -0.25, 0.75]


def test_a_gradient_that_the_user_holds_survives_a_second_optimizer() -> None:
    p = leaf([1.0])
    first = SGD([p], lr=0.1)
    backward(p, [1.0])
    first.step()
    SGD([p], lr=0.1)
    held = p.grad
    first.zero_grad()
    backward(p, [2.0])
    assert held == [1.0]


@every_rule
@pytest.mark.parametrize("when", ["before", "between"])
def test_data_may_be_rebound(rule: type[Optimizer], when: str) -> None:
    p, q = leaf([[1.0, 2.0]]), leaf([[1.0, 2.0]])
    fresh = np.array([[5.0, 6.0]])
    if when == "before":
        p.data = q.data = fresh
        q.data = fresh.copy()
    optimizer, other = rule([p], lr=0.1), rule([q], lr=0.1)
    for step in range(3):
        for t in (p, q):
            t.grad = None
            backward(t, [[1.0, -1.0]])
        if when == "between" and step == 1:
            p.data = fresh
            q.data[...] = fresh
        optimizer.step()
        other.step()
    np.testing.assert_array_equal(p.data, q.data)
    assert p.data[0, 0] < 5.0
    np.testing.assert_array_equal(fresh, [[5.0, 6.0]])  # the user's array is not written to


def test_data_may_be_exchanged_between_parameters() -> None:
    for groups in (1, 2):
        p, q = leaf([1.0, 2.0]), leaf([3.0, 4.0])
        params: Any = [p, q] if groups == 1 else [{"params": [p]}, {"params": [q]}]
        optimizer = SGD(params, lr=1.0)
        p.data, q.data = q.data, p.data
        p.grad, q.grad = np.ones(2), np.zeros(2)
        optimizer.step()
        np.testing.assert_array_equal(p.data, [2.0, 3.0])
        np.testing.assert_array_equal(q.data, [1.0, 2.0])


def test_data_that_two_parameters_come_to_share_is_refused_before_anything_moves() -> None:
    p, q, r = leaf([1.0]), leaf([2.0]), leaf([3.0])
    optimizer = SGD([p, q, r], lr=1.0)
    r.data = p.data
    for t in (p, q, r):
        t.grad = np.ones(1)
    with pytest.raises(ValueError, match="parameters 0 and 2 share memory"):
        optimizer.step()
    assert [t.item() for t in (p, q, r)] == [1.0, 2.0, 1.0]


def test_data_turned_round_within_its_own_memory() -> None:
    p = leaf([[1.0, 2.0], [3.0, 4.0]])
    optimizer = SGD([p], lr=1.0)
    p.data = p.data[::-1].T
    p.grad = np.zeros((2, 2))
    optimizer.step()
    np.testing.assert_array_equal(p.data, [[3.0, 1.0], [4.0, 2.0]])


def test_data_that_is_not_contiguous_or_read_only() -> None:
    fixed = np.arange(3.0)
    fixed.flags.writeable = False
    arrays = [np.arange(12.0).reshape(3, 4).T, np.arange(20.0)[::-2], fixed]
    params = [Tensor(a, requires_grad=True) for a in arrays]
    optimizer = SGD(params, lr=1.0)
    for p in params:
        backward(p, np.ones(p.shape))
    optimizer.step()
    assert_same([p.numpy() for p in params], [a - 1 for a in arrays])


def test_changing_the_dtype_is_refused_at_the_next_step_before_anything_moves() -> None:
    p, q = leaf([1.0]), leaf([1.0])
    optimizer = SGD([{"params": [p]}, {"params": [("w", q)]}], lr=1.0)
    q.data = q.data.astype(np.float32)
    p.grad, q.grad = np.ones(1), np.ones(1)
    with pytest.raises(TypeError, match=r"parameter w of group 1 was float64 .* is float32 now"):
        optimizer.step()
    assert p.item() == 1.0


@every_rule
def test_a_loaded_model_is_what_is_trained_on(rule: type[Optimizer]) -> None:
    model, other = small_model(0), small_model(1)
    optimizer = rule(model.parameters(), lr=0.01)
    model.load_state_dict(other.state_dict())
    train(model, optimizer)
    train(other, rule(other.parameters(), lr=0.01))
    assert_same(weights(model), weights(other))


def test_writing_into_data_between_steps_is_seen() -> None:
    p = leaf([1.0, 1.0])
    optimizer = SGD([p], lr=1.0)
    p.data[0] = 5.0
    p.data += 1.0
    np.testing.assert_array_equal(moved(optimizer, p, [1.0, 1.0]), [5.0, 1.0])


def test_writing_into_float16_data_between_steps_is_seen() -> None:
    p = leaf([1.0, 2.0], np.float16)
    optimizer = SGD([p], lr=0.5)
    moved(optimizer, p, [1.0, 1.0])
    p.data[1] = 4.0
    np.testing.assert_array_equal(moved(optimizer, p, [1.0, 1.0]), [0.0, 3.5])


def test_a_dropped_optimizer_leaves_a_model_that_a_new_one_trains() -> None:
    model, twin = small_model(), small_model()
    optimizer: Optimizer = Adam(model.parameters(), lr=0.01)
    other = Adam(twin.parameters(), lr=0.01)
    train(model, optimizer)
    train(twin, other)
    del optimizer
    train(model, SGD(model.parameters(), lr=0.1))
    for _ in range(5):
        other.zero_grad()
        (twin(X) ** 2).mean().backward()
        for p in twin.parameters():
            assert p.grad is not None
            p.data -= 0.1 * p.grad
    assert_close(weights(model), weights(twin))


def test_scalars_and_empty_parameters() -> None:
    scalar, empty, more = leaf(2.0), leaf(np.ones((0, 3))), leaf([1.0])
    optimizer = Momentum([scalar, empty, more], lr=0.5, weight_decay=0.1)
    loss = scalar * 3.0 + empty.sum() + more.sum()
    loss.backward()
    optimizer.step()
    assert scalar.shape == ()
    np.testing.assert_allclose(scalar.data, 2.0 - 0.5 * 3.2)
    np.testing.assert_allclose(more.data, [1.0 - 0.5 * 1.1])
    assert empty.shape == (0, 3)
    alone = SGD([leaf(np.ones((0, 3)))], lr=0.1)
    alone.groups[0]["params"][0].grad = np.ones((0, 3))
    alone.step()  # has a gradient, and so does not warn


@every_rule
def test_a_large_parameter_is_moved_in_all_its_blocks(rule: type[Optimizer]) -> None:
    rng = np.random.default_rng(0)
    sizes = [rule.block_size - 1, 2, 2 * rule.block_size, 5]
    params = [leaf(rng.normal(size=n), np.float32) for n in sizes]
    alone = [leaf(p.data, np.float32) for p in params]
    together = rule(params, lr=0.01)
    whole = type(rule.__name__, (rule,), {"block_size": 10**9})
    single = [whole([p], lr=0.01) for p in alone]
    for _ in range(2):
        for p, q, optimizer in zip(params, alone, single, strict=True):
            p.grad = q.grad = rng.normal(size=p.shape)
            optimizer.step()
        together.step()
    assert_same([p.data for p in params], [p.data for p in alone])
