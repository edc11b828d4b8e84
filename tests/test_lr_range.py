"""The learning-rate range test: what it finds, that it leaves everything alone, what it refuses."""

from __future__ import annotations

import functools
import math
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from runs import X, Y, at_call, bits, classifier, cross_entropy, everything, raising

import minidl
from minidl import Tensor, data, evaluate, fit, nn, optim
from minidl.data import DataLoader
from minidl.optim import lr_range
from minidl.tensor import Array
from minidl.training import RateRange

pytestmark = pytest.mark.usefixtures("seeded")

RULES = [optim.SGD, optim.Momentum, optim.Adagrad, optim.RMSProp, optim.Adam, optim.AdamW]


def loader(**options: Any) -> DataLoader:
    return DataLoader(X, Y, **({"batch_size": 8, "shuffle": True, "rng": 2} | options))


# --- What it finds --------------------------------------------------------------------------------


def test_the_steps_are_those_of_a_loop_by_hand() -> None:
    found = lr_range(classifier(), cross_entropy, loader(), optim.Adam, lowest=1e-3, highest=0.1)
    model = classifier()
    optimizer = optim.Adam(model.parameters())
    source = loader()
    batches = [batch for _ in range(15) for batch in source]
    losses, mean = [], 0.0
    for i in range(100):
        optimizer.lr = 1e-3 * 100 ** (i / 99)
        assert found.rates[i] == pytest.approx(optimizer.lr)
        optimizer.zero_grad()
        x, y = batches[i]
        value = cross_entropy(model(x), y)
        value.backward()
        optimizer.step()
        losses.append(value.item())
        mean = 0.8 * mean + 0.2 * value.item()
        assert found.smoothed[i] == pytest.approx(mean / (1 - 0.8 ** (i + 1)))
    assert found.losses == pytest.approx(losses, rel=1e-4)
    assert not found.diverged


def test_it_ends_where_the_loss_has_four_times_its_lowest_value() -> None:
    found = lr_range(nn.Linear(4, 1, rng=0), nn.MSELoss(), (X, X[:, :1]), highest=100)
    assert found.diverged
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 100
    over = found.smoothed > 4 * np.minimum.accumulate(found.smoothed)
    assert over.tolist() == (len(over) - 1) * [False] + [True]


def test_it_ends_where_the_loss_is_no_longer_finite() -> None:
    def careful(z: Tensor, y: Array) -> Tensor:
        if not np.isfinite(z.data).all():
            raise ValueError("what is this?")
        return nn.MSELoss()(z, y)

    for loss in (nn.MSELoss(), careful):
        found = lr_range(
            nn.Linear(4, 1, rng=0), loss, (X, X[:, :1]), lowest=1e-6, highest=1e38, steps=10
        )
        assert found.diverged
        assert np.isfinite(found.losses).all()


def made_of(losses: list[float]) -> RateRange:
    n = len(losses)
    rates, array = np.geomspace(1e-6, 1, n), np.array(losses)
    return RateRange(rates, array, array, False)


def test_the_suggestion_is_a_tenth_of_the_rate_of_the_lowest_loss() -> None:
    falling = made_of([2.0, 2.1] * 5 + [1.8, 1.4, 1.0, 1.2, 3.0])
    assert falling.suggestion == falling.rates[12] / 10
    assert made_of([2.0, 2.1] * 10).suggestion is None
    assert made_of([2.0, 2.1] * 5 + [2.02, 2.0, 3.0]).suggestion is None
    assert made_of([2.0, 3.0, 8.0]).suggestion is None
    assert made_of([2.0, 2.1, 2.0, 2.1, 1.0]).suggestion is None  # all are at the lowest rates
    # Of 60 steps six are at the lowest rates, and from those the losses deviate by more.
    assert made_of([2.0] * 5 + [3.0] + [1.9] * 54).suggestion is None
    assert made_of([2.0] * 5 + [1.9] * 45).suggestion is not None


def test_a_loss_of_zero_does_not_diverge() -> None:
    found = lr_range(classifier(), lambda z, y: (z * 0).sum(), loader(), steps=10)
    assert (len(found.losses), found.diverged) == (10, False)


def test_a_rate_that_is_too_low_to_learn_suggests_nothing() -> None:
    for seed in range(8):
        model = classifier(seed)
        found = lr_range(model, cross_entropy, loader(rng=seed), lowest=1e-9, highest=1e-6)
        assert found.suggestion is None
        assert repr(found) == "<RateRange: 100 steps from 1e-09 to 1e-06, the loss never fell>"


def test_its_text_is_short() -> None:
    found = lr_range(nn.Linear(4, 1, rng=0), nn.MSELoss(), (X, X[:, :1]))
    pattern = (
        r"<RateRange: \d\d steps from 1e-06 to [\d.]+, then the loss diverged; suggestion 0.\d+>"
    )
    assert re.fullmatch(pattern, repr(found))
    found = lr_range(nn.Linear(4, 1, rng=0), nn.MSELoss(), (X, X[:, :1]), highest=0.1)
    assert "to 0.1, the loss did not diverge; suggestion" in repr(found)


def digits(seed: int) -> tuple[nn.Module, Any, Any]:
    x, y = data.load_digits()
    train_x, test_x, train_y, test_y = data.train_test_split(x / 16, y, stratify=y, rng=seed)
    model = nn.Sequential(nn.Linear(64, 64, rng=seed), nn.ReLU(), nn.Linear(64, 10, rng=seed + 100))
    return model, DataLoader(train_x, train_y, shuffle=True, rng=seed), (test_x, test_y)


def moons(seed: int) -> tuple[nn.Module, Any, Any]:
    x, y = data.make_moons(rng=seed)
    train_x, test_x, train_y, test_y = data.train_test_split(x, y, stratify=y, rng=seed)
    model = nn.Sequential(nn.Linear(2, 32, rng=seed), nn.Tanh(), nn.Linear(32, 2, rng=seed + 100))
    return model, DataLoader(train_x, train_y, shuffle=True, rng=seed), (test_x, test_y)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("task", "rule", "epochs", "least"),
    [(digits, optim.SGD, 3, 0.85), (digits, optim.Adam, 2, 0.9), (moons, optim.Momentum, 8, 0.8)],
)
def test_a_model_learns_at_the_rate_that_is_suggested(
    task: Callable[[int], Any], rule: Any, epochs: int, least: float, seed: int
) -> None:
    model, train, test = task(seed)
    found = lr_range(model, cross_entropy, train, rule, compiled=True)
    optimizer = rule(model.parameters(), lr=found.suggestion)
    fit(
        model, cross_entropy, optimizer, train, epochs=epochs, metrics={}, progress=False,
        compiled=True,
    )  # fmt: skip
    assert evaluate(model, cross_entropy, test)["accuracy"] > least


# --- What it leaves alone -------------------------------------------------------------------------


def parts(rule: Any, model: nn.Module) -> Any:
    """A model and its optimizer, in the middle of a training, with gradients."""
    model.eval()
    optimizer = rule(model.parameters(), lr=optim.schedules.cosine(0.01, steps=40))
    for _ in range(3):
        optimizer.zero_grad()
        cross_entropy(model(X), Y).backward()
        optimizer.step()
    return model, optimizer


def all_of(model: nn.Module, optimizer: Any) -> Any:
    return (
        bits(model.state_dict()),
        bits(optimizer.state_dict()),
        [bits(p.grad) for p in model.parameters()],
        [module.training for _, module in model.modules()],
        minidl.rng.generator().bit_generator.state,
        model[5].rng.bit_generator.state,
    )


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize(
    ("given", "compiled"), [("the optimizer", False), ("the optimizer", True), ("a rule", False)]
)
def test_everything_is_left_as_it_was(rule: Any, compiled: bool, given: str) -> None:
    model, optimizer = parts(rule, everything())
    places = [p.data for p in model.parameters()]
    gradients = [p.grad for p in model.parameters()]
    running = model[1].running_mean
    lr, batches = optimizer.groups[0]["lr"], loader()
    before, place = all_of(model, optimizer), batches.state_dict()
    found = lr_range(
        model, cross_entropy, batches, optimizer if given == "the optimizer" else rule,
        steps=20, compiled=compiled,
    )  # fmt: skip
    assert found.losses[0] != found.losses[-1]
    assert all_of(model, optimizer) == before
    assert batches.state_dict() == place
    assert optimizer.groups[0]["lr"] is lr
    assert all(p.data is place for p, place in zip(model.parameters(), places, strict=True))
    assert all(p.grad is g for p, g in zip(model.parameters(), gradients, strict=True))
    assert model[1].running_mean is running
    lr_range(model, cross_entropy, (X, Y), rule, steps=10)  # draws a seed to shuffle
    assert all_of(model, optimizer) == before


def test_training_goes_on_as_if_nothing_had_been() -> None:
    ends = []
    for tried in (False, True):
        minidl.seed(1)
        model, optimizer = parts(optim.Adam, everything())
        train = DataLoader(X, Y, batch_size=8, shuffle=True)
        if tried:
            lr_range(model, cross_entropy, train, optim.SGD)
            lr_range(model, cross_entropy, train, optimizer)
        model.train()
        history = fit(model, cross_entropy, optimizer, train, epochs=2, progress=False)
        ends.append((all_of(model, optimizer), history))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()], ids=repr)
def test_all_is_put_back_after_an_error_too(error: BaseException) -> None:
    model, optimizer = parts(optim.Adam, everything())
    before = all_of(model, optimizer)
    with pytest.raises(type(error)):
        lr_range(model, at_call(5, raising(error)), loader(), optimizer)
    assert all_of(model, optimizer) == before


def test_a_float16_model_is_left_as_it_was() -> None:
    model = nn.Linear(4, 3, rng=0, dtype=np.float16)
    optimizer = optim.Adam(model.parameters())
    cross_entropy(model(X), Y).backward()
    optimizer.step()
    before = bits(model.state_dict()), bits(optimizer.state_dict())
    lr_range(model, cross_entropy, loader(dtype=np.float16), optimizer, steps=10)
    assert (bits(model.state_dict()), bits(optimizer.state_dict())) == before


def test_parameters_beside_the_model_are_put_back() -> None:
    model, shift = nn.Linear(4, 3, rng=0), nn.Parameter(np.ones(3, np.float32))
    optimizer = optim.SGD([*model.parameters(), shift], lr=0.1)
    lr_range(model, lambda z, y: cross_entropy(z + shift * [1, 2, 3], y), loader(), optimizer)
    assert shift.data.tolist() == [1, 1, 1]


def test_parameters_of_the_loss_are_put_back() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            self.scale = nn.Parameter([1.0])

        def forward(self, z: Tensor, y: Array) -> Tensor:
            return nn.MSELoss()(z * self.scale, y)

    model, loss = nn.Linear(4, 1, rng=0), Scaled()
    rule = functools.partial(optim.SGD, weight_decay=0.0)
    lr_range(model, loss, (X, X[:, :1]), rule)
    assert loss.scale.grad is None
    for _ in range(2):
        lr_range(model, loss, (X, X[:, :1]), optim.SGD([*model.parameters(), loss.scale], lr=0.1))
    assert loss.scale.item() == 1
    model.bias.grad = np.float32([2.0])
    with pytest.warns(RuntimeWarning, match="lr_range: SGD does not hold bias"):
        lr_range(model, loss, (X, X[:, :1]), optim.SGD([model.weight], lr=0.1))
    assert model.bias.grad == [2.0]  # to which each step has added


# --- What it takes --------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_compiled_steps_are_the_same_to_the_bit(rule: Any) -> None:
    one, other = (
        lr_range(
            everything_seeded(), cross_entropy, loader(batch_size=25), rule, steps=20, compiled=c
        )
        for c in (False, True)
    )
    assert bits(one.losses) == bits(other.losses)


def everything_seeded() -> nn.Module:
    minidl.seed(0)
    return everything()


def test_groups_keep_the_ratios_of_their_rates() -> None:
    rates = []

    class Noted(optim.SGD):
        def apply(self, group: Any, blocks: Any, t: int, lr: float) -> None:
            rates.append(lr)
            super().apply(group, blocks, t, lr)

    model = classifier()
    groups = [
        {"params": model[0].parameters()},
        {"params": model[2].parameters(), "lr": lambda t: 0.5},
    ]
    found = lr_range(model, cross_entropy, loader(), Noted(groups, lr=0.1), steps=10, highest=0.01)
    assert rates[::2] == pytest.approx(list(found.rates[:-1]))  # no step follows the last loss
    assert rates[1::2] == pytest.approx(list(5 * found.rates[:-1]))
    unknown = optim.SGD(model.parameters(), lr=lambda t: 1 / 0)
    assert lr_range(model, cross_entropy, loader(), unknown).suggestion is not None
    with pytest.raises(ValueError, match="the first of 2 groups has the rate 0"):
        lr_range(model, cross_entropy, loader(), Noted(groups, lr=0.0))


def test_frozen_modules_stay_frozen_and_others_train() -> None:
    model = everything()
    model.train()
    model[1].eval()
    seen = []
    loss = at_call(3, lambda: seen.append([m.training for _, m in model.modules()]))
    lr_range(model, loss, loader(), steps=10)
    assert seen == [[True, True, False, True, True, True, True, True]]


def test_batches_of_which_no_target_counts_are_passed_over() -> None:
    y = Y.copy()
    y[:16] = -100
    model = classifier()
    found = lr_range(model, cross_entropy, DataLoader(X, y, batch_size=8), steps=20)
    assert np.isfinite(found.losses).all()
    assert len(found.losses) == 20
    with pytest.raises(ValueError, match="in all batches of data no target counts"):
        lr_range(model, cross_entropy, (X, np.full(50, -100)))


def test_weights_of_samples_and_several_inputs_are_taken_as_by_fit() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            self.inner = classifier()

        def forward(self, a: Array, b: Array) -> Tensor:
            return self.inner(np.concatenate([a, b], axis=1))

    one = lr_range(classifier(), cross_entropy, loader(shuffle=False))
    several = data.MultiInputLoader((X[:, :1], X[:, 1:]), Y, batch_size=8)
    assert bits(lr_range(Two(), cross_entropy, several).losses) == bits(one.losses)
    weights = (np.arange(50) < 24).astype(np.float32)
    weighted = DataLoader(X, Y, weights, batch_size=8)
    found = lr_range(classifier(), cross_entropy, weighted, compiled=True)
    few = lr_range(classifier(), cross_entropy, DataLoader(X[:24], Y[:24], batch_size=8))
    assert found.losses == pytest.approx(few.losses, rel=1e-4)
    own = lambda z, y: cross_entropy(z, y)
    with pytest.raises(ValueError, match="samples with weights need the loss of each sample"):
        lr_range(classifier(), own, weighted)


def test_it_is_found_in_optim_and_other_names_are_not() -> None:
    assert optim.lr_range is lr_range
    assert not hasattr(optim, "lr_ranges")


def test_wrong_arguments_are_refused_by_name() -> None:
    good: dict[str, Any] = {"model": classifier(), "loss": cross_entropy, "data": loader()}

    def refused(error: type[Exception], message: str, **wrong: Any) -> None:
        with pytest.raises(error, match=message):
            lr_range(**good | wrong)

    refused(TypeError, "lr_range: model is a Module", model=nn.Linear)
    own: Any = lambda z, y: cross_entropy(z, y)
    refused(ValueError, "lr_range: data: samples with", loss=own, data=(X, Y, np.ones(50)))
    refused(TypeError, "lr_range: loss is a function", loss=nn.CrossEntropyLoss)
    # Pages of numbers would hide the message.
    refused(TypeError, r"\(with brackets\), got a tuple$", loss=(X, X))
    refused(TypeError, r"such as nn.Linear\(4, 3\), got a ndarray$", model=X)
    refused(TypeError, "lr_range: data is a tuple", data=X)
    refused(ValueError, "lr_range: data has 1 arrays", data=DataLoader(X))
    refused(TypeError, "lr_range: rule is a rule such as optim.Adam", rule="adam")
    refused(TypeError, "lr_range: optimizer is an Optimizer", rule=lambda params, lr: None)
    refused(ValueError, "lr_range: lowest is .* above 0", lowest=0)
    refused(ValueError, "lr_range: highest is .* above 0.1", lowest=0.1, highest=0.1)
    refused(ValueError, "lr_range: highest is a finite", highest=math.inf)
    refused(ValueError, "lr_range: steps is .* at least 10", steps=9)
    refused(TypeError, "lr_range: steps is a whole number", steps=20.0)
    other = optim.SGD(classifier().parameters(), lr=0.1)
    refused(ValueError, "lr_range: SGD does not hold", rule=other)
    refused(ValueError, "lr_range: the loss is a float", loss=lambda z, y: 1.0)
    refused(ValueError, "lr_range: the loss is a Tensor", loss=lambda z, y: Tensor(1.0))
    refused(ValueError, "one number for each batch", loss=nn.CrossEntropyLoss(reduction="none"))
    refused(ValueError, "of my own", loss=at_call(3, raising(ValueError("of my own"))))
    nowhere = lambda z, y: cross_entropy(z, y) * math.nan
    refused(FloatingPointError, "loss of the first batch is nan", loss=nowhere)
    assert lr_range(**good | {"steps": 10}).rates.tolist() == pytest.approx(
        np.geomspace(1e-6, 10, 10)
    )


# --- The figure -----------------------------------------------------------------------------------


def test_the_figure_marks_the_suggestion_on_a_logarithmic_axis(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("matplotlib", reason="the figure needs the extra plots")
    found = lr_range(nn.Linear(4, 1, rng=0), nn.MSELoss(), (X, X[:, :1]))
    figure = found.plot(tmp_path / "found.png")
    assert (tmp_path / "found.png").stat().st_size > 5000
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    labels = {line.get_label(): line for line in axes.get_lines()}
    (mark,) = (line for label, line in labels.items() if label.startswith("suggestion"))
    assert mark.get_xdata() == [found.suggestion, found.suggestion]
    assert np.array_equal(labels["smoothed"].get_ydata(), found.smoothed)
    assert axes.get_title().endswith(f"it diverged at {found.rates[-1]:.2g}")
    assert figure._repr_png_().startswith(b"\x89PNG")
    # What comes after the lowest loss is cut off.
    for losses, top in (([2.0, 2.1, 1.0, 9.0], 1.6 * 2.1), ([-2.0, -3.0, -4.0, 9.0], -0.4 * 2.0)):
        assert made_of(losses).plot().axes[0].get_ylim()[1] == pytest.approx(top)
    flat = made_of([2.0, 2.1] * 10).plot()
    assert flat.axes[0].get_title().endswith("the loss never fell; it did not diverge up to 1")
    with pytest.raises(ValueError, match="Format 'nope'"):
        found.plot(tmp_path / "found.nope")
    with pytest.raises(
        FileNotFoundError, match=r"RateRange\.plot: for .* no folder .*nowhere: make"
    ):
        found.plot(tmp_path / "nowhere" / "found.png")


def test_without_matplotlib_the_figure_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    message = r"RateRange.plot needs matplotlib: .*minidl\[plots\]"
    with pytest.raises(ImportError, match=message):
        made_of([2.0, 2.1] * 10).plot()
