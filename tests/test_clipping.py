"""Clipping scales all gradients by one factor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from rules import X, backward, leaf, small_model

from minidl import Tensor, optim
from minidl.optim import SGD


def test_clip_grad_norm_scales_all_gradients_by_one_factor_and_returns_the_norm_before() -> None:
    p, q = leaf([1.0, 1.0]), leaf(1.0, np.float32)
    backward(p, [1.0, 2.0])
    backward(q, 2.0)
    assert optim.clip_grad_norm([p, q], 1.5) == 3.0
    np.testing.assert_allclose(p.grad, [0.5, 1.0])
    assert q.grad == 1.0
    assert q.grad.dtype == np.float32
    assert optim.clip_grad_norm([p, q], 1.5) == 1.5
    np.testing.assert_allclose(p.grad, [0.5, 1.0])


def test_clipping_reaches_the_gradients_that_an_optimizer_steps_by() -> None:
    p = leaf([1.0, 1.0])
    optimizer = SGD([p], lr=1.0)
    backward(p, [3.0, 4.0])
    optim.clip_grad_norm([p], 1.0)
    optimizer.step()
    np.testing.assert_allclose(p.data, [0.4, 0.2])


def test_clip_grad_norm_takes_infinity_as_no_limit_and_an_iterator_and_names() -> None:
    p, q = leaf([1.0]), leaf([1.0])
    backward(p, [3.0])
    assert optim.clip_grad_norm(iter([p, q]), math.inf) == 3.0
    assert p.grad == [3.0]
    model = small_model()
    (model(X) ** 2).sum().backward()
    norm = optim.clip_grad_norm(model.parameters(), np.float32(0.5))
    named = dict(model.named_parameters())
    assert norm > 0.5
    np.testing.assert_allclose(optim.clip_grad_norm(named.items(), 1.0), 0.5, rtol=1e-6)


def test_a_parameter_that_is_listed_twice_is_clipped_once() -> None:
    p = leaf([1.0])
    backward(p, [3.0])
    with pytest.raises(ValueError, match="called"):
        optim.clip_grad_norm([("a", p), ("a", p)], 1.0)
    assert optim.clip_grad_norm([p, p], 1.0) == 3.0
    np.testing.assert_allclose(p.grad, [1.0])


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e200])
def test_clip_grad_norm_refuses_gradients_without_a_finite_norm_and_changes_none(
    bad: float,
) -> None:
    p, q = leaf([1.0]), leaf([1.0])
    backward(p, [5.0])
    backward(q, [bad])
    with pytest.raises(FloatingPointError, match="lower the learning rate"):
        optim.clip_grad_norm([p, q], 1.0)
    assert p.grad == [5.0]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, "1", None, True])
def test_clip_grad_norm_refuses_a_bad_limit(bad: Any) -> None:
    kind = ValueError if type(bad) is float else TypeError
    with pytest.raises(kind, match="max_norm is a number above 0"):
        optim.clip_grad_norm([leaf([1.0])], bad)


def test_clip_grad_norm_refuses_what_is_no_list_of_parameters() -> None:
    p = leaf([1.0, 2.0])
    with pytest.raises(TypeError, match=r"clip_grad_norm: params must be a list.*not a Tensor"):
        optim.clip_grad_norm(p, 1.0)
    with pytest.raises(TypeError, match="clip_grad_norm: parameter 1 is a ndarray"):
        optim.clip_grad_norm([p, np.ones(1)], 1.0)
    with pytest.raises(ValueError, match="clip_grad_norm: the list of parameters is empty"):
        optim.clip_grad_norm(iter(()), 1.0)


def test_clip_grad_norm_before_backward_warns() -> None:
    with pytest.warns(RuntimeWarning, match="call it between backward"):
        assert optim.clip_grad_norm([leaf([1.0])], 1.0) == 0.0


def test_the_norm_of_float32_gradients_does_not_overflow():
    x = Tensor(np.zeros(4, np.float32), requires_grad=True)
    x.grad = np.full(4, 1e30, np.float32)
    assert optim.clip_grad_norm([x], 1.0) == pytest.approx(2e30)
    np.testing.assert_allclose(x.grad, 0.5, rtol=1e-6)
