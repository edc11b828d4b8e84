"""Losses as modules."""

import copy
import math

import numpy as np
import pytest

import minidl
from minidl import Tensor, functional, nn


def names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]


def random(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# --- Losses as modules ----------------------------------------------------------------------------


def test_loss_modules_are_the_functions_with_their_settings() -> None:
    x, t = Tensor(random(4, 3)), random(4, 3, seed=1, dtype="float64")
    p = 1 / (1 + np.exp(-t))
    classes = np.array([0, 2, 1, 1])
    f = functional
    for module, expected in (
        (nn.MSELoss(), f.mse_loss(x, t)),
        (nn.MSELoss("sum"), f.mse_loss(x, t, "sum")),
        (nn.L1Loss(reduction="none"), f.l1_loss(x, t, "none")),
        (nn.HuberLoss(delta=0.3), f.huber_loss(x, t, delta=0.3)),
    ):
        np.testing.assert_array_equal(module(x, t).data, expected.data)
        assert module(x, t).dtype == np.float32  # that of the predictions
    loss = nn.BCEWithLogitsLoss(pos_weight=[1, 2, 3], reduction="sum")
    expected = f.binary_cross_entropy_with_logits(x, p, np.array([1, 2, 3]), "sum")
    assert loss(x, p).item() == expected.item()
    loss = nn.CrossEntropyLoss([1.0, 2, 3], ignore_index=1, reduction="sum", label_smoothing=0.1)
    expected = f.cross_entropy(x, classes, np.array([1.0, 2, 3]), 1, "sum", 0.1)
    assert loss(x, classes).item() == expected.item()
    assert names(loss) == []


@pytest.mark.parametrize("loss", [nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.BCEWithLogitsLoss])
def test_the_divisor_of_a_mean_over_elements_is_how_many_there_are(loss) -> None:
    x, t = random(4, 3), np.ones((4, 3))
    assert loss().divisor(x, t) == 12
    assert loss(reduction="sum").divisor(x, t) is loss(reduction="none").divisor(x, t) is None


@pytest.mark.parametrize("weight", [None, [1.0, 0.5, 3.0]])
@pytest.mark.parametrize("ignored", [-100, 1, 7])
def test_the_divisor_of_a_cross_entropy_is_what_its_mean_was_divided_by(weight, ignored) -> None:
    x, t = random(5, 3), np.array([0, 2, 1, ignored, 0])
    mean, total, each = (nn.CrossEntropyLoss(weight, ignored, r) for r in ("mean", "sum", "none"))
    np.testing.assert_allclose(mean(x, t).item() * mean.divisor(x, t), total(x, t).item(), 1e-6)
    assert total.divisor(x, t) is each.divisor(x, t) is None
    assert nn.CrossEntropyLoss().divisor(x, np.array([0, -100, 2, -100])) == 2
    # What the loss refuses, it is left to refuse.
    assert mean.divisor(x, t.astype(float)) == (t != ignored).sum()
    assert mean.divisor(x, np.array([3])) > 0


def test_the_divisor_of_many_samples_with_weights_in_float16_does_not_overflow() -> None:
    loss = nn.CrossEntropyLoss(np.full(2, 1000, np.float16))
    assert loss.divisor(np.zeros((100, 2)), np.zeros(100, int)) == 1e5


def test_targets_are_checked_as_the_loss_would_check_them() -> None:
    loss = nn.CrossEntropyLoss(ignore_index=5)
    loss.check_targets((3, 4), np.array([0, 5, 3]))
    with pytest.raises(ValueError, match="target 4 is out of range"):
        loss.check_targets((3, 4), np.array([0, 5, 4]))
    nn.BCEWithLogitsLoss().check_targets((2,), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"targets are from 0 to 1, got 0\.0 to 2\.0"):
        nn.BCEWithLogitsLoss().check_targets((2,), np.array([0.0, 2.0]))


def test_loss_modules_refuse_bad_settings_when_they_are_made() -> None:
    for loss in (nn.MSELoss, nn.L1Loss, nn.HuberLoss, nn.BCEWithLogitsLoss, nn.CrossEntropyLoss):
        with pytest.raises(ValueError, match=f"{loss.__name__}: reduction is .* not 'avg'"):
            loss(reduction="avg")
    for delta in (0, -1, math.nan):
        with pytest.raises(ValueError, match="HuberLoss: delta is a number, above 0"):
            nn.HuberLoss(delta=delta)
    for smoothing in (-0.1, 2):
        with pytest.raises(ValueError, match=r"label_smoothing is .* at least 0 and at most 1"):
            nn.CrossEntropyLoss(label_smoothing=smoothing)


# --- Samples are on their own ---------------------------------------------------------------------

LOSSES = [
    nn.CrossEntropyLoss(reduction="sum"), nn.CrossEntropyLoss([0.5, 1, 2, 3], reduction="sum"),
    nn.CrossEntropyLoss(label_smoothing=0.1, reduction="sum"),
    nn.BCEWithLogitsLoss(reduction="sum"), nn.BCEWithLogitsLoss(2.0, "sum"),
    nn.MSELoss("sum"), nn.L1Loss("sum"), nn.HuberLoss("sum", 0.5),
]  # fmt: skip


def value_and_gradients(module, x, *rest):
    """What the module gives, and the gradients of x and of its parameters by the sum of it."""
    t = Tensor(x, requires_grad=True)
    y = module(t, *rest)
    return y.data, *minidl.grad(y.sum(), [t, *module.parameters()])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_loss_over_a_batch_is_the_sum_over_its_samples(loss, dtype: str) -> None:
    x = random(5, 4).astype(dtype)
    target = np.arange(5) % 4 if isinstance(loss, nn.CrossEntropyLoss) else (x > 0.5).astype(dtype)
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12}
    whole, whole_x = value_and_gradients(loss, x, target)
    y, d = zip(
        *[value_and_gradients(loss, x[i : i + 1], target[i : i + 1]) for i in range(5)],
        strict=True,
    )
    np.testing.assert_allclose(sum(y), whole, **close)
    np.testing.assert_allclose(np.concatenate(d), whole_x, **close)
    each = copy.copy(loss)
    each.reduction = "none"
    losses = value_and_gradients(each, x, target)[0]
    np.testing.assert_allclose(losses.sum(), whole, **close)
    for i in range(5):
        alone, alone_x = value_and_gradients(each, x[i : i + 1], target[i : i + 1])
        np.testing.assert_allclose(alone, losses[i : i + 1], **close)
        np.testing.assert_allclose(alone_x, whole_x[i : i + 1], **close)
