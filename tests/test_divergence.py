"""A loss or a weight that is not finite: where it was, why, and what to try."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
from runs import X, Y, at_call, bits, classifier, cross_entropy

from minidl import nn, optim
from minidl.checkpoint import load
from minidl.data import DataLoader
from minidl.diagnosis.divergence import check_model_finite
from minidl.nn import Module
from minidl.tensor import Array, Tensor
from minidl.training import fit

pytestmark = pytest.mark.usefixtures("seeded")


def test_a_learning_rate_too_high_stops_with_the_step_the_rule_and_what_to_try() -> None:
    model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.BatchNorm(8), nn.Linear(8, 1, rng=1))
    states: list[Any] = []

    def keep(z: Array, y: Array) -> float:
        states.append(bits(model.state_dict()))
        return 0.0

    with pytest.raises(FloatingPointError) as caught:
        fit(
            model,
            nn.MSELoss(),
            optim.SGD(model.parameters(), lr=5e4),
            DataLoader(X, X[:, :1], batch_size=8),
            metrics={"keep": keep},
            progress=False,
        )
    message = str(caught.value)
    step = len(states) + 1
    assert f"step {(step - 1) % 7 + 1} of 7 in epoch {(step - 1) // 7 + 1}, in the step" in message
    assert "SGD, lr=50000" in message
    assert "the learning rate is too high" in message or "loss function" in message
    for remedy in ("lower learning rate", "Standardize", "clip_grad_norm", "minidl.debug()"):
        assert remedy in message
    assert bits(model.state_dict()) == states[-1]  # statistics of BatchNorm, too


def failing(model: Module, loss: Any, x: Array, y: Array, lr: float = 0.1, **options: Any) -> str:
    """The message of the FloatingPointError that a run raises."""
    optimizer = optim.SGD(model.parameters(), lr=lr)
    loader = DataLoader(x, y, batch_size=8, check_finite=False)
    with pytest.raises(FloatingPointError) as caught:
        fit(model, loss, optimizer, loader, progress=False, **options)
    return str(caught.value)


@pytest.mark.parametrize(("bad", "name"), [(np.nan, "nan"), (np.inf, "inf")])
def test_bad_data_that_passed_the_loader_are_named(bad: float, name: str) -> None:
    x = X.copy()
    x[10, 3] = bad
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm(8), nn.Linear(8, 3))
    message = failing(model, cross_entropy, x, Y)
    assert "the loss is nan in step 2 of 7 in epoch 1, in the step before" in message
    assert f"The cause is in the batch: x[2, 3] is {name} (one of 1)" in message
    assert np.isfinite(model[1].running_mean).all()


def test_weights_that_are_spoiled_are_named() -> None:
    model = classifier()
    model[2].weight.data[1, 2] = np.inf
    message = failing(model, cross_entropy, X, Y)
    assert "The weights were spoiled before this step: 2.weight[1, 2] is inf (one of 1)" in message


def test_overflow_before_any_step_is_blamed_on_features_or_initial_weights() -> None:
    model = classifier()
    for p in model.parameters():
        p.data *= 1e30
    message = failing(model, cross_entropy, X, Y)
    assert "in step 1 of 7 in epoch 1, with SGD, lr=0.1." in message
    assert "the features or the initial weights" in message


def test_overflow_after_some_steps_is_blamed_on_the_learning_rate() -> None:
    model = nn.Sequential(*[nn.Linear(4, 4, rng=i) for i in range(6)])
    message = failing(model, lambda z, y: -z.mean(), X, Y, lr=1e6)
    assert "the predictions overflow: the weights have grown too large" in message


def test_a_loss_function_that_overflows_is_blamed_itself() -> None:
    model = nn.Linear(4, 3)

    def loss(z: Tensor, y: Array) -> Tensor:
        return np.log(z * 0).mean()  # type: ignore[no-any-return]

    assert "so that it is the loss function" in failing(model, loss, X, Y)


def test_outputs_that_are_not_one_array_are_searched_too() -> None:
    class Two(Module):
        def __init__(self) -> None:
            self.linear = nn.Linear(4, 2)

        def forward(self, x: Array) -> Any:
            z = self.linear(x)
            return z, z * np.float32(1e38) * np.float32(1e38)

    message = failing(Two(), lambda z, y: z[1].sum(), X, Y)
    assert "the predictions overflow" in message


def test_weights_spoiled_by_the_last_step_of_an_epoch_are_found(path: pathlib.Path) -> None:
    model = nn.Linear(4, 1, rng=0)
    zero = np.float32(0)

    def loss(z: Tensor, y: Array) -> Tensor:  # a finite value with an infinite gradient
        return z.mean() if len(y) == 8 else np.sqrt(abs(z) * zero).sum()

    message = failing(model, loss, X, Y, checkpoint=path)
    assert message.startswith("after step 7 of 7 in epoch 1, with SGD, lr=0.1, the model is spoil")
    assert "weight[0, 0] is nan (one of 4); bias[0] is nan" in message
    assert np.isfinite(load(path)["model"]["weight"]).all()


def test_a_sound_model_is_let_through() -> None:
    model = classifier()
    check_model_finite("epoch 1", model, optim.SGD(model.parameters(), lr=0.1))


def test_the_message_knows_groups_and_schedules() -> None:
    model = classifier()
    groups = [
        {"params": model[0].parameters(), "lr": optim.schedules.exponential_decay(0.5, 0.5)},
        {"params": model[2].parameters(), "lr": 0.02},
    ]
    optimizer = optim.Momentum(groups, lr=1.0)
    loss = at_call(3, lambda: model[0].weight.data.fill(np.nan))
    loader = DataLoader(X, Y, batch_size=8)
    with pytest.raises(FloatingPointError, match=r"in step 4 .* with Momentum, lr=0.0625, 0.02\."):
        fit(model, loss, optimizer, loader, progress=False)
