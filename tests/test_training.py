"""The specification of minidl/training.py: what a run gives, how it ends, how it goes on."""

from __future__ import annotations

import collections
import copy
import functools
import io
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tqdm.autonotebook import tqdm

import minidl
from minidl import nn, optim, training
from minidl.autograd import is_recording, no_grad
from minidl.checkpoint import CheckpointError, load, save
from minidl.data import DataLoader
from minidl.nn import Module
from minidl.optim import Optimizer
from minidl.tensor import Array, Tensor
from minidl.training import History, accuracy, evaluate, fit, predict
from minidl.training.console import short

ROOT = pathlib.Path(training.__file__).parent.parent.parent

X = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)  # three classes
cross_entropy = nn.CrossEntropyLoss()

RULES: dict[str, Callable[[Any], Optimizer]] = {
    # with hyper-parameters that are not the defaults, and a schedule
    "sgd": lambda p: optim.SGD(p, lr=optim.schedules.cosine(0.1, steps=40), weight_decay=0.01),
    "momentum": lambda p: optim.Momentum(p, lr=optim.schedules.warmup(0.05, 20), mu=0.8),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.03, eps=1e-6),
    "rmsprop": lambda p: optim.RMSProp(p, lr=0.003, decay_rate=0.9),
    "adam": lambda p: optim.Adam(
        p, lr=optim.schedules.step_decay(0.02, every=7, factor=0.5), betas=(0.8, 0.99)
    ),
}


def classifier(rng: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8, rng=rng), nn.ReLU(), nn.Linear(8, 3, rng=rng + 1))


def everything() -> nn.Sequential:
    """A model with all that has a state: statistics, dropout by two generators."""
    return nn.Sequential(
        nn.Linear(4, 8),
        nn.BatchNorm(8),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(8, 8),
        nn.Dropout(0.3, rng=5),
        nn.Linear(8, 3),
    )


def setting(rule: str = "adam", model: Module | None = None) -> dict[str, Any]:
    """The arguments of fit, all made anew."""
    model = classifier() if model is None else model
    return {
        "model": model,
        "loss": cross_entropy,
        "optimizer": RULES[rule](model.parameters()),
        "train": DataLoader(X, Y, batch_size=8, shuffle=True, rng=2),
        "progress": False,
    }


def bits(state: Any) -> Any:
    """A state with every array as its dtype and bytes, to be compared with ``==``."""
    if isinstance(state, dict):
        return {key: bits(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [bits(value) for value in state]
    if isinstance(state, np.ndarray):
        return state.dtype.str, state.shape, state.tobytes()
    return state


def at_call(number: int, act: Callable[[], object], function: Any = cross_entropy) -> Any:
    """The function, which also does something when it is called for that time (1: the first)."""
    calls = 0

    def acting(predictions: Any, targets: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            act()
        return function(predictions, targets)

    return functools.update_wrapper(acting, function)


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> None:
        raise error

    return act


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make stderr a terminal. (As a fixture this would be undone by pytest before the test.)"""
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    return terminal


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "run.npz"


@pytest.fixture(autouse=True)
def seeded() -> None:
    minidl.seed(0)


# ---- The loop and its history


@pytest.mark.parametrize("rule", RULES)
def test_fit_is_bitwise_the_loop_written_by_hand(rule: str) -> None:
    model = everything()
    twin = copy.deepcopy(model)
    minidl.seed(3)
    history = fit(**setting(rule, model), validation=(X[:20], Y[:20]), epochs=3)

    minidl.seed(3)
    optimizer = RULES[rule](twin.parameters())
    loader = DataLoader(X, Y, batch_size=8, shuffle=True, rng=2)
    expected: dict[str, list[float]] = {
        name: [] for name in ("loss", "accuracy", "validation_loss", "validation_accuracy")
    }
    for _ in range(3):
        total = hits = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            logits = twin(x)
            loss = cross_entropy(logits, y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            hits += np.mean(logits.data.argmax(1) == y) * len(y)
        expected["loss"].append(total / 50)
        expected["accuracy"].append(hits / 50)
        twin.eval()
        logits = twin(X[:20])
        expected["validation_loss"].append(cross_entropy(logits, Y[:20]).item())
        expected["validation_accuracy"].append(np.mean(logits.data.argmax(1) == Y[:20]))
        twin.train()
    assert history == expected
    assert bits(model.state_dict()) == bits(twin.state_dict())


def test_fit_learns() -> None:
    history = fit(**setting("momentum"), epochs=30)
    assert history["accuracy"][-1] > 0.95
    assert history["loss"][-1] < history["loss"][0] / 3


def test_history_is_a_dict_of_lists_of_python_floats() -> None:
    history = fit(**setting(), validation=(X, Y), epochs=2)
    assert isinstance(history, dict)
    assert list(history) == ["loss", "accuracy", "validation_loss", "validation_accuracy"]
    for values in history.values():
        assert type(values) is list
        assert [type(value) for value in values] == [float, float]
    assert not history.interrupted


def test_zero_epochs_change_nothing() -> None:
    arguments = setting()
    before = bits(arguments["model"].state_dict())
    assert fit(**arguments, epochs=0) == {"loss": []}
    assert bits(arguments["model"].state_dict()) == before


def test_arrays_come_in_shuffled_batches_of_32_and_validation_in_batches_of_1024() -> None:
    seen: list[tuple[int, ...]] = []
    order: list[float] = []

    class Watch(Module):
        def __init__(self) -> None:
            self.inner = nn.Linear(1, 1)

        def forward(self, x: Array) -> Tensor:
            seen.append((self.training, len(x)))
            order.extend(x[:, 0].tolist() if self.training else [])
            return self.inner(x)

    model = Watch()
    x = np.arange(1100.0)[:, None] / 1100
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    fit(model, nn.MSELoss(), optimizer, (x[:70], x[:70]), (x, x), epochs=1, progress=False)
    assert seen == [(True, 32), (True, 32), (True, 6), (False, 1024), (False, 76)]
    assert sorted(order) == x[:70, 0].astype(np.float32).tolist() != order


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_come_in_the_dtype_of_the_model(dtype: type) -> None:
    model = nn.Linear(2, 1, dtype=dtype)
    seen = set()

    def loss(z: Tensor, y: Array) -> Tensor:
        seen.update([z.dtype, y.dtype])
        return ((z - y) ** 2).mean()

    data = (np.ones((3, 2)), np.ones((3, 1)))
    fit(model, loss, optim.SGD(model.parameters(), lr=0.1), data, data, epochs=1, progress=False)
    assert seen == {np.dtype(dtype)}


def test_numpys_and_pythons_own_generators_are_left_alone() -> None:
    before = np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    fit(**setting(model=everything()), validation=(X, Y), epochs=1)
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before  # noqa: NPY002


# ---- Metrics


def test_accuracy_is_measured_of_classes_and_nothing_of_numbers() -> None:
    assert "accuracy" in fit(**setting(), epochs=1)
    model = nn.Linear(4, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    targets = X[:, :1]
    assert list(fit(model, nn.MSELoss(), optimizer, (X, targets), epochs=1)) == ["loss"]


@pytest.mark.parametrize(
    ("metrics", "names"),
    [
        ({}, []),
        ((), []),
        ("accuracy", ["accuracy"]),
        (["accuracy"], ["accuracy"]),
        ({"hits": accuracy, "one": lambda z, y: np.float32(1)}, ["hits", "one"]),
    ],
)
def test_metrics_by_name_or_function(metrics: Any, names: list[str]) -> None:
    history = fit(**setting(), validation=(X, Y), epochs=1, metrics=metrics)
    validation = [f"validation_{name}" for name in ["loss", *names]]
    assert list(history) == ["loss", *names, *validation]


def test_means_are_weighted_by_the_length_of_the_batch() -> None:
    def first(z: Array, y: Array) -> float:
        return float(y[0, 0])

    model = nn.Linear(1, 1)
    x, y = np.zeros((5, 1)), np.array([[1.0], [1.0], [1.0], [1.0], [6.0]])
    loader = DataLoader(x, y, batch_size=4)
    found = evaluate(model, nn.MSELoss(), loader, {"first": first})
    assert found == {"loss": (4 * 1 + 36) / 5, "first": (4 * 1 + 6) / 5}
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    history = fit(model, nn.MSELoss(), optimizer, loader, epochs=1, metrics={"first": first})
    assert history == {"loss": [8.0], "first": [2.0]}


def test_a_metric_gets_arrays_and_cannot_spoil_the_step() -> None:
    def careless(z: Array, y: Array) -> float:
        assert type(z) is type(y) is np.ndarray
        z[...], y[...] = 7, 0
        return 1.0

    one, other = setting(), setting()
    fit(**one, epochs=2, metrics={"careless": careless})
    fit(**other, epochs=2)
    assert bits(one["model"].state_dict()) == bits(other["model"].state_dict())


@pytest.mark.parametrize("metrics", ["precision", ["accuracy", "f1"], {"a": 3}, {1: accuracy}])
def test_unknown_metrics_are_refused(metrics: Any) -> None:
    with pytest.raises(TypeError, match="a dict of functions by name"):
        fit(**setting(), metrics=metrics)


@pytest.mark.parametrize("name", ["loss", "validation_loss"])
def test_a_metric_cannot_take_a_name_of_the_history(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' is the history's own"):
        fit(**setting(), metrics={name: accuracy})


def test_a_metric_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the metric 'hits' is one number.*shape \(8,\)"):
        fit(**setting(), metrics={"hits": lambda z, y: z.argmax(1) == y})


def test_accuracy_counts_the_largest_prediction() -> None:
    z = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert accuracy(z, np.array([1, 0, 0])) == 2 / 3
    maps = np.stack([z, 1 - z], axis=1)  # (3, 2, 2): two classes at two places
    assert accuracy(maps, np.argmax(maps, axis=1)) == 1
    for shapes in [((3, 2), (2,)), ((3, 2), (3, 2)), ((3, 1), (3, 2)), ((), ()), ((3,), (3, 1))]:
        with pytest.raises(ValueError, match="pass a function of your own"):
            accuracy(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_accuracy_takes_lists_and_tensors_and_names_what_is_none() -> None:
    assert accuracy([[0.2, 0.8], [0.9, 0.1]], [1, 1]) == 0.5
    logits = Tensor([[0.2, 0.8], [0.9, 0.1]], requires_grad=True)
    assert accuracy(logits, np.array([1, 0])) == 1.0
    with pytest.raises(TypeError, match="accuracy takes real numbers"):
        accuracy([["a", "b"]], [1])


def test_accuracy_of_one_logit_is_by_its_sign() -> None:
    z, y = np.array([[-3.0], [2.0], [0.5], [-0.1]]), np.array([0, 1, 1, 0])
    for predictions in (z, z[:, 0]):
        for targets in (y, y.astype(bool), y.astype(np.float32)):
            assert accuracy(predictions, targets) == 1.0
            assert accuracy(-predictions, targets) == 0.0
            assert accuracy(predictions, targets[[0, 1, 0, 0]]) == 0.75
    for targets in (y[:, None], y[:, None].astype(np.float32)):
        assert accuracy(z, targets) == 1.0
    maps = z.reshape(2, 1, 2)  # one channel, two places
    assert accuracy(maps, y.reshape(2, 2)) == accuracy(maps, y.reshape(2, 1, 2)) == 1.0
    assert accuracy(np.zeros(2), np.array([0, 1])) == 0.5  # a logit of 0 is class 0


@pytest.mark.parametrize("bad", [2, 0.5, 9])
def test_accuracy_of_one_logit_refuses_targets_that_are_not_0_and_1(bad: float) -> None:
    with pytest.raises(ValueError, match=f"targets are 0 and 1, got {bad}"):
        accuracy(np.zeros((2, 1)), np.array([1, bad]))


def test_accuracy_does_not_count_targets_that_are_ignored() -> None:
    z = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    assert accuracy(z, np.array([1, -100, -1, 1])) == 0.5
    assert accuracy(z, np.array([0, 1, 0, 0]), ignore_index=1) == 1 / 3
    assert accuracy(z[:, :1], np.array([1, -1, 0, -1])) == 0.5
    with pytest.raises(ValueError, match="of 4 targets none counts"):
        accuracy(z, np.full(4, -100))


def test_accuracy_never_takes_nan_for_right() -> None:
    z = np.array([[np.nan, 0.9], [0.8, 0.2], [np.nan, np.nan], [0.1, np.nan]])
    for wanted in (0, 1):
        expected = [False, wanted == 0, False, False]
        assert accuracy(z, np.full(4, wanted)) == np.mean(expected)
    one = np.array([np.nan, -1.0, 1.0, np.nan])
    assert accuracy(one, np.array([0, 0, 0, 1])) == 0.25
    assert accuracy(np.array([[np.inf, 0.0]]), np.array([0])) == 1
    with np.errstate(invalid="ignore"):
        assert accuracy(np.zeros((2, 2)), np.array([np.nan, 0])) == 0.5


def test_fit_and_evaluate_measure_accuracy_of_what_the_loss_counts() -> None:
    model = classifier()
    right = model(X).data.argmax(1)
    targets = right.copy()
    targets[:10] = 2  # among them some that are 2, and none counts
    targets[10:15] = (right[10:15] + 1) % 2
    counted = targets != 2
    expected = float(np.mean((right == targets)[counted]))
    for loss in (nn.CrossEntropyLoss(ignore_index=2), with_ignore_index_2):
        for metrics in (None, "accuracy", {"accuracy": accuracy}):
            loader = DataLoader(X, targets, batch_size=7)
            assert evaluate(model, loss, loader, metrics)["accuracy"] == pytest.approx(expected)
            still = optim.SGD(model.parameters(), lr=0.0)
            history = fit(model, loss, still, loader, epochs=1, metrics=metrics, progress=False)
            assert history["accuracy"] == [pytest.approx(expected)]


with_ignore_index_2 = functools.partial(minidl.functional.cross_entropy, ignore_index=2)


def test_accuracy_is_measured_unasked_of_one_logit_where_the_loss_takes_0_and_1() -> None:
    model = nn.Linear(4, 1, rng=0)
    y = (X[:, :1] > 0).astype(np.int64)
    expected = float(np.mean((model(X).data > 0) == y))
    loss = nn.BCEWithLogitsLoss()
    assert evaluate(model, loss, (X, y))["accuracy"] == expected
    function = minidl.functional.binary_cross_entropy_with_logits
    assert evaluate(model, function, (X, y))["accuracy"] == expected
    shares = (X, y.astype(np.float32))
    assert list(evaluate(model, loss, shares)) == ["loss"]
    assert evaluate(model, loss, shares, "accuracy")["accuracy"] == expected

    def squared(z: Tensor, y: Array) -> Tensor:
        return ((z[:, 0] - y) ** 2).mean()  # of numbers that happen to be whole

    assert list(evaluate(model, squared, (X, y[:, 0]))) == ["loss"]
    assert evaluate(model, squared, (X, y[:, 0]), "accuracy")["accuracy"] == expected


# ---- Means over a data set

IGNORING = Y.copy()
IGNORING[:23] = -100  # three batches of 7 with nothing, one with little
CLASS_WEIGHTS = np.array([0.1, 5.0, 1.0])
F = minidl.functional

LOSSES: dict[str, tuple[Callable[[Any, Any], Any], Array]] = {
    "mean": (nn.CrossEntropyLoss(), Y),
    "weighted": (nn.CrossEntropyLoss(CLASS_WEIGHTS), Y),
    "float32 weights": (nn.CrossEntropyLoss(CLASS_WEIGHTS.astype(np.float32)), Y),
    "ignoring": (nn.CrossEntropyLoss(), IGNORING),
    "ignoring class 0": (nn.CrossEntropyLoss(ignore_index=0), Y),
    "ignoring and weighted": (nn.CrossEntropyLoss(CLASS_WEIGHTS), IGNORING),
    "weight 0": (nn.CrossEntropyLoss(np.array([0.0, 2.0, 0.0])), np.sort(Y)),
    "smoothed": (nn.CrossEntropyLoss(CLASS_WEIGHTS, label_smoothing=0.1), IGNORING),
    "sum": (nn.CrossEntropyLoss(CLASS_WEIGHTS, reduction="sum"), IGNORING),
    "function": (F.cross_entropy, IGNORING),
    "partial": (functools.partial(F.cross_entropy, weight=CLASS_WEIGHTS), IGNORING),
    "partial sum": (functools.partial(F.cross_entropy, reduction="sum"), IGNORING),
    "squares": (nn.MSELoss(), X[:, :3]),
    "sum of squares": (nn.MSELoss("sum"), X[:, :3]),
    "absolute": (nn.L1Loss("sum"), X[:, :3]),
    "huber": (functools.partial(F.huber_loss, reduction="sum", delta=0.3), X[:, :3]),
    "binary": (nn.BCEWithLogitsLoss(np.array([1.0, 2.0, 3.0])), (X[:, :3] > 0).astype(int)),
    "sum of binary": (nn.BCEWithLogitsLoss(reduction="sum"), (X[:, :3] > 0).astype(int)),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("batch_size", [1, 7, 49])
def test_the_means_are_those_of_one_batch_of_all(name: str, batch_size: int) -> None:
    loss, targets = LOSSES[name]
    model = classifier()
    before = bits(model.state_dict())
    whole = evaluate(model, loss, DataLoader(X, targets, batch_size=50))
    assert whole["loss"] == pytest.approx(loss(model(X), targets).item())
    loader = DataLoader(X, targets, batch_size=batch_size)
    assert evaluate(model, loss, loader) == pytest.approx(whole, rel=1e-6)
    still = optim.SGD(model.parameters(), lr=0.0)
    history = fit(model, loss, still, loader, loader, epochs=2, progress=False)
    for metric, value in whole.items():
        assert history[metric] == history[f"validation_{metric}"] == 2 * [pytest.approx(value)]
    assert bits(model.state_dict()) == before


def test_batches_of_unequal_shapes_count_by_their_elements() -> None:
    class Cut(DataLoader):  # the second batch has one column, the first two
        def __iter__(self) -> Iterator[tuple[Array, ...]]:
            for i, (x, y) in enumerate(super().__iter__()):
                yield x[:, : 2 - i], y[:, : 2 - i]

    x, y = np.zeros((4, 2)), np.array([[1.0, 1], [1, 1], [2, 0], [2, 0]])
    found = evaluate(nn.Flatten(), nn.MSELoss(), Cut(x, y, batch_size=2))
    assert found == {"loss": (4 * 1 + 2 * 4) / 6}


def test_a_loss_and_a_metric_of_ones_own_may_say_how_much_a_batch_counts() -> None:
    class Masked(Module):
        def forward(self, z: Any, y: Array) -> Any:
            return (np.where(y < 9, z - y, 0) ** 2).sum() / self.divisor(z, y)

        def divisor(self, z: Any, y: Array) -> float:
            return float(np.count_nonzero(y < 9))

    class Largest:
        def __call__(self, z: Array, y: Array) -> float:
            return float(y.sum())

        def divisor(self, z: Array, y: Array) -> None:
            return None

    y = np.array([[1.0], [9], [9], [9], [3], [2], [9], [9]])
    loader = DataLoader(np.zeros((8, 1)), y, batch_size=3)
    found = evaluate(nn.Flatten(), Masked(), loader, {"sum": Largest()})
    assert found == {"loss": pytest.approx((1 + 9 + 4) / 3), "sum": y.sum()}


def test_a_batch_in_which_nothing_counts_is_no_step() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm(8), nn.Linear(8, 3))
    y = Y.copy()
    y[:8] = -100
    optimizer = optim.Adam(model.parameters())
    seen: list[int] = []
    metrics = {"n": lambda z, y: seen.append(len(y)) or 1}
    loader = DataLoader(X, y, batch_size=8)
    fit(model, cross_entropy, optimizer, loader, epochs=1, progress=False, metrics=metrics)
    assert optimizer.steps == model[1].num_batches_tracked == 6
    assert seen == [*6 * [8], 2]  # a metric of one's own may count them


def test_data_of_which_no_target_counts_have_no_mean() -> None:
    ignored = (X, np.full(50, -100))
    message = r"there is no mean of 'loss': in \d batch.* no target counts"
    with pytest.raises(ValueError, match=message):
        evaluate(classifier(), cross_entropy, ignored)
    with pytest.raises(ValueError, match=message):
        fit(**setting() | {"train": ignored, "progress": True})


def test_what_a_function_wraps_is_what_it_is() -> None:
    @functools.wraps(F.cross_entropy)
    def timed(*arguments: Any) -> Any:
        return F.cross_entropy(*arguments)

    model = classifier()
    right = evaluate(model, cross_entropy, (X, IGNORING))
    found = evaluate(model, timed, DataLoader(X, IGNORING, batch_size=20))
    assert found == pytest.approx(right, rel=1e-6)


# ---- Modes


class Modes(Module):
    """Notes whether it is in train mode, at each call."""

    def __init__(self) -> None:
        self.linear = nn.Linear(4, 3)
        self.sub = nn.Dropout(0.0)
        self.seen: list[tuple[bool, bool, bool]] = []

    def forward(self, x: Array) -> Tensor:
        self.seen.append((self.training, self.sub.training, is_recording()))
        return self.sub(self.linear(x))


def test_training_is_in_train_mode_and_validation_in_eval_mode_without_a_graph() -> None:
    model = Modes().eval()
    arguments = setting(model=model)
    fit(**arguments | {"train": (X, Y)}, validation=(X, Y), epochs=2)
    assert model.seen == 2 * [*2 * [(True, True, True)], (False, False, False)]


@pytest.mark.parametrize("how", ["end", "error", "ctrl-c"])
def test_modes_are_restored_one_by_one(how: str) -> None:
    error = {"error": MemoryError(), "ctrl-c": KeyboardInterrupt()}.get(how)
    model = Modes()
    model.sub.eval()
    arguments = setting(model=model)
    loss = at_call(8, raising(error)) if error else cross_entropy  # in the validation
    try:
        fit(**arguments | {"loss": loss}, validation=(X, Y), epochs=2)
    except (MemoryError, KeyboardInterrupt):
        assert how != "end"
    assert model.seen[-1] == (False, False, False)
    assert (model.training, model.linear.training, model.sub.training) == (True, True, False)
    assert is_recording()


@pytest.mark.parametrize("how", ["arrays", "loader"])
def test_a_frozen_module_stays_in_eval_mode(how: str) -> None:
    model = everything()
    model[1].eval()
    model[3].eval()
    fit(**setting(model=model), validation=(X, Y), epochs=2)
    assert model[1].num_batches_tracked == 0
    assert (model[1].running_mean == 0).all()
    modes = [module.training for _, module in model.modules()]
    assert modes == [True, True, False, True, False, True, True, True]


def test_a_model_wholly_in_eval_mode_is_trained_wholly() -> None:
    model = everything().eval()
    fit(**setting(model=model), epochs=2)
    assert model[1].num_batches_tracked == 14
    assert not any(module.training for _, module in model.modules())


def test_a_model_that_freezes_a_part_in_its_own_train_is_asked() -> None:
    class Frozen(nn.Sequential):
        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            self[1].training = False
            return self

    model = Frozen(*everything())
    fit(**setting(model=model), epochs=1)
    assert model[1].num_batches_tracked == 0


# ---- The bar


def test_the_bar_is_silent_when_told_and_without_a_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = on_terminal(monkeypatch)
    fit(**setting(), epochs=2)
    assert terminal.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", elsewhere := io.StringIO())
    fit(**setting() | {"progress": True}, epochs=2)
    assert elsewhere.getvalue() == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("wanted", [True, False])
def test_without_a_terminal_a_line_says_where_a_run_stopped_and_goes_on(
    wanted: bool, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", elsewhere := io.StringIO())
    arguments = setting() | {"progress": wanted, "checkpoint": path}
    with pytest.raises(KeyboardInterrupt, match="fit stopped after step 3 of 7 in epoch 2"):
        fit(**arguments | {"loss": at_call(10, press_ctrl_c)}, epochs=3)
    fit(**arguments, epochs=3)
    assert elsewhere.getvalue().splitlines() == wanted * [
        "fit: stopped by Ctrl-C after step 3 of 7 in epoch 2",
        "fit: going on after step 3 of 7 in epoch 2",
    ]


def test_fit_works_where_there_is_no_console(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    monkeypatch.setattr(sys, "stdout", None)
    arguments = setting() | {"progress": True, "checkpoint": path}
    with pytest.raises(KeyboardInterrupt):
        fit(**arguments | {"loss": at_call(10, press_ctrl_c)}, epochs=2)
    assert len(fit(**arguments, epochs=2)["loss"]) == 2


def test_the_bar_shows_epoch_loss_accuracy_and_validation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_terminal(monkeypatch)
    history = fit(**setting() | {"progress": True}, validation=(X, Y), epochs=3)
    line = terminal.getvalue().split("\r")[-1]
    loss, hits, validation_loss, validation_hits = (values[-1] for values in history.values())
    assert line.startswith(
        f"epoch 3/3 loss {loss:.3f} (val {validation_loss:.3f}) "
        f"accuracy {hits:.3f} (val {validation_hits:.3f}) |"
    )


def test_the_bar_is_drawn_by_the_clock_and_moves_within_an_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_terminal(monkeypatch)
    now = 0.0
    draws = []

    def clock() -> float:
        return now

    def later() -> None:
        nonlocal now
        now += 0.03

    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(
        tqdm, "refresh", lambda bar, *args, **kwargs: draws.append((bar.n, bar.desc))
    )
    fit(
        **setting() | {"progress": True, "train": DataLoader(X, Y, batch_size=1)},
        epochs=2,
        metrics={"tick": lambda z, y: later() or 1},
    )
    drawn = [n for n, _ in draws if n]
    assert 100 * 0.03 / 0.1 * 0.7 < len(drawn) < 100 * 0.03 / 0.1 + 3
    assert drawn == sorted(drawn)
    assert drawn[-1] == 100
    first = next(text for n, text in draws if n)
    assert first.startswith("epoch 1/2 loss ")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (0.12345, "0.123"), (3e-4, "3.0e-04"), (-12.0, "-12.000"), (1e9, "1.0e+09")],
)
def test_numbers_in_the_bar_are_short(value: float, text: str) -> None:
    assert short(value) == text


# ---- Ctrl-C


def test_ctrl_c_ends_after_the_step_and_hands_back_the_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_terminal(monkeypatch)
    arguments = setting(model=everything()) | {"progress": True}
    arguments["loss"] = at_call(7 + 7 + 3, press_ctrl_c)  # 7 steps in an epoch
    history = fit(**arguments, epochs=9, on_interrupt="return")
    assert history.interrupted
    assert len(history["loss"]) == len(history["accuracy"]) == 2
    assert arguments["optimizer"].steps == 17  # the third step of the third epoch is whole
    assert "fit: stopped by Ctrl-C after step 3 of 7 in epoch 3" in terminal.getvalue()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_the_validation_waits_for_its_end() -> None:
    loss = at_call(8, press_ctrl_c)
    arguments = setting() | {"loss": loss, "on_interrupt": "return"}
    history = fit(**arguments, validation=(X, Y), epochs=9)
    assert history.interrupted
    assert [len(values) for values in history.values()] == [1, 1, 1, 1]


def test_a_second_ctrl_c_stops_at_once() -> None:
    def twice() -> None:
        press_ctrl_c()
        press_ctrl_c()

    arguments = setting() | {"loss": at_call(10, twice)}
    history = fit(**arguments, epochs=9, on_interrupt="return")
    assert history.interrupted
    assert len(history["loss"]) == 1
    assert arguments["optimizer"].steps == 9
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_keyboard_interrupt_within_a_step_leaves_the_model_as_before_it() -> None:
    model = everything()
    states = []

    def loss(z: Tensor, y: Array) -> Tensor:
        if len(states) == 10:
            raise KeyboardInterrupt
        return cross_entropy(z, y)

    def keep(z: Array, y: Array) -> float:
        states.append(bits(model.state_dict()))
        return 0.0

    arguments = setting(model=model) | {"loss": loss, "on_interrupt": "return"}
    history = fit(**arguments, epochs=9, metrics={"keep": keep})
    assert history.interrupted
    assert bits(model.state_dict()) == states[-1]
    assert len(history["loss"]) == 1


def test_buffers_that_are_rebound_or_missing_are_as_before_a_step_that_fails() -> None:
    class Average(Module):
        buffers = ("mean", "count", "nothing")

        def __init__(self) -> None:
            self.linear = nn.Linear(4, 3)
            self.mean = np.zeros(4, np.float32)
            self.count = Tensor(np.zeros(()))
            self.nothing = None

        def forward(self, x: Array) -> Tensor:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            self.count.data[...] += 1
            return self.linear(x)

    model = Average()
    mean = model.mean
    loss = at_call(1, raising(MemoryError()))
    with pytest.raises(MemoryError):
        fit(**setting(model=model) | {"loss": loss})
    assert model.mean is mean
    assert (mean == 0).all()
    assert model.count.item() == 0


def test_ctrl_c_is_raised_when_the_step_is_done_and_saved(path: pathlib.Path) -> None:
    arguments = setting() | {"loss": at_call(10, press_ctrl_c)}
    with pytest.raises(KeyboardInterrupt, match="fit stopped after step 3 of 7 in epoch 2") as end:
        fit(**arguments, epochs=9, checkpoint=path)
    assert end.value.__suppress_context__
    assert arguments["optimizer"].steps == load(path)["optimizer"]["steps"] == 10
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_ends_a_loop_over_several_runs() -> None:
    begun = []
    with pytest.raises(KeyboardInterrupt):
        for fold in range(5):
            begun.append(fold)
            fit(**setting() | {"loss": at_call(3, press_ctrl_c if fold == 1 else int)}, epochs=1)
    assert begun == [0, 1]


def test_a_second_ctrl_c_is_raised_at_once() -> None:
    def twice() -> None:
        press_ctrl_c()
        press_ctrl_c()

    arguments = setting() | {"loss": at_call(10, twice)}
    with pytest.raises(KeyboardInterrupt, match="after step 2 of 7 in epoch 2"):
        fit(**arguments, epochs=9)
    assert arguments["optimizer"].steps == 9


def test_ctrl_c_is_not_lost_when_something_else_ends_the_run() -> None:
    def fails() -> None:
        press_ctrl_c()
        raise FloatingPointError

    for on_interrupt in ("raise", "return"):
        arguments = setting() | {"loss": at_call(3, fails), "on_interrupt": on_interrupt}
        with pytest.raises(KeyboardInterrupt) as end:
            fit(**arguments)
        assert isinstance(end.value.__context__, FloatingPointError)


def test_on_interrupt_is_one_of_two_words() -> None:
    with pytest.raises(ValueError, match="on_interrupt is 'raise' or 'return', not 'stop'"):
        fit(**setting() | {"on_interrupt": "stop"})


def test_where_ctrl_c_is_ignored_it_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        history = fit(**setting() | {"loss": at_call(3, press_ctrl_c)}, epochs=1)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(history["loss"]) == 1


@pytest.mark.skipif(os.name != "posix", reason="a shell says 130 there")
def test_ctrl_c_ends_the_program() -> None:
    code = (
        "import signal, numpy as np\n"
        "from minidl import fit, nn, optim\n"
        "model, loss = nn.Linear(1, 1), nn.MSELoss()\n"
        "def pressed(z, y):\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    return loss(z, y)\n"
        "x = np.ones((9, 1))\n"
        "fit(model, pressed, optim.SGD(model.parameters(), lr=0.1), (x, x))\n"
        "print('and on')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")
    assert done.stderr.splitlines()[0] == "fit: stopped by Ctrl-C after step 1 of 1 in epoch 1"
    assert done.stderr.splitlines()[-1] == (
        "KeyboardInterrupt: fit stopped after step 1 of 1 in epoch 1"
    )


def test_a_handler_of_somebody_else_is_left_alone() -> None:
    pressed = []

    def handler(number: int, frame: Any) -> None:
        pressed.append(number)

    before = signal.signal(signal.SIGINT, handler)
    try:
        history = fit(**setting() | {"loss": at_call(3, press_ctrl_c)}, epochs=1)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed
    assert not history.interrupted


def test_fit_works_in_another_thread() -> None:
    histories = []
    thread = threading.Thread(target=lambda: histories.append(fit(**setting(), epochs=1)))
    thread.start()
    thread.join()
    assert histories == [fit(**setting(), epochs=1)]


# ---- NaN and infinity


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


# ---- Checks before and at the first step


def test_a_model_that_is_no_module_is_refused() -> None:
    for model in (nn.Linear, lambda x: x, None):
        for call in (
            lambda m: fit(**setting() | {"model": m}),
            lambda m: evaluate(m, cross_entropy, (X, Y)),
            lambda m: predict(m, X),
        ):
            with pytest.raises(TypeError, match="model is a Module"):
                call(model)


def test_a_loss_that_is_no_function_is_refused() -> None:
    for loss in (nn.CrossEntropyLoss, "cross_entropy", None):
        with pytest.raises(TypeError, match=r"nn.CrossEntropyLoss\(\) \(with brackets\)"):
            fit(**setting() | {"loss": loss})
        with pytest.raises(TypeError, match="with brackets"):
            evaluate(classifier(), loss, (X, Y))  # type: ignore[arg-type]


def test_an_optimizer_that_is_none_is_refused() -> None:
    for optimizer in (optim.Adam, "adam", None):
        with pytest.raises(TypeError, match=r"optim.Adam\(model.parameters\(\)\)"):
            fit(**setting() | {"optimizer": optimizer})


@pytest.mark.parametrize(
    ("epochs", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_epochs_is_a_whole_number(epochs: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="fit: epochs is"):
        fit(**setting(), epochs=epochs)


def test_an_optimizer_made_before_the_model_was_rebuilt_is_refused() -> None:
    arguments = setting()
    with pytest.raises(ValueError, match=r"(?s)does not hold 0.weight, .*Make it anew as Adam\("):
        fit(**arguments | {"model": classifier()})


def test_an_optimizer_made_before_a_part_was_rebuilt_is_refused() -> None:
    arguments = setting()
    setattr(arguments["model"], "2", nn.Linear(8, 3))
    with pytest.raises(
        ValueError, match=r"not hold 2.weight, 2.bias, but holds 2 parameters of other"
    ):
        fit(**arguments)


def test_an_optimizer_of_a_part_is_warned_of_and_trains_the_part() -> None:
    model = classifier()
    before = bits(model.state_dict())
    arguments = setting(model=model) | {"optimizer": optim.SGD(model[2].parameters(), lr=0.1)}
    with pytest.warns(RuntimeWarning, match="SGD does not hold 0.weight, 0.bias, so") as caught:
        fit(**arguments, epochs=1)
    assert [warning.filename for warning in caught] == [__file__]
    after = bits(model.state_dict())
    assert [name for name in before if before[name] != after[name]] == ["2.weight", "2.bias"]


def test_frozen_parameters_are_no_matter_for_a_warning() -> None:
    model = classifier()
    for p in model[0].parameters():
        p.requires_grad = False
    fit(**setting(model=model) | {"optimizer": optim.SGD(model[2].parameters(), lr=0.1)}, epochs=1)
    fit(**setting(model=model), epochs=1)
    for p in model.parameters():
        p.requires_grad = False
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        fit(**setting(model=model), epochs=1)


def test_parameters_outside_the_model_are_trained_but_not_with_a_checkpoint(
    path: pathlib.Path,
) -> None:
    model, scale = classifier(), nn.Parameter([1.0])
    arguments = setting(model=model) | {
        "optimizer": optim.SGD([*model.parameters(), scale], lr=0.1),
        "loss": lambda z, y: cross_entropy(z * scale, y),
    }
    fit(**arguments, epochs=1)
    assert scale.data[0] != 1
    with pytest.raises(ValueError, match="1 parameters that are not the model's, and a checkpoint"):
        fit(**arguments, epochs=1, checkpoint=path)
    assert not path.exists()


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(reduction="none"),
        lambda z, y: None,
        lambda z, y: "low",
        lambda z, y: nn.CrossEntropyLoss,
    ],
)
def test_a_loss_that_is_not_one_number_is_refused(loss: Any) -> None:
    with pytest.raises(ValueError, match=r"the loss is one number.*reduction='mean'"):
        fit(**setting() | {"loss": loss})
    with pytest.raises(ValueError, match=r"the loss is one number.*reduction='mean'"):
        evaluate(classifier(), loss, (X, Y))


def test_a_loss_that_depends_on_no_parameter_is_refused() -> None:
    losses = [
        lambda z, y: cross_entropy(z.data, y),
        lambda z, y: cross_entropy(z.detach(), y),
        lambda z, y: 0.5,
    ]
    for loss in losses:
        with pytest.raises(ValueError, match="depends on no parameter: compute it from"):
            fit(**setting() | {"loss": loss})
    with no_grad(), pytest.raises(ValueError, match=r"outside no_grad\(\)"):
        fit(**setting())


def test_a_loss_that_depends_on_other_parameters_only_is_refused() -> None:
    model, other = classifier(), nn.Parameter(np.ones(3, np.float32))
    before = bits(model.state_dict())
    loss = lambda z, y: cross_entropy(z.detach() * other, y)
    with pytest.raises(ValueError, match="no parameter that the optimizer holds"):
        fit(**setting(model=model) | {"loss": loss})
    assert bits(model.state_dict()) == before


@pytest.mark.parametrize("name", ["train", "validation"])
def test_data_that_are_not_pairs_are_refused(name: str) -> None:
    def run(data: Any) -> None:
        fit(**setting() | {name: data})

    with pytest.raises(TypeError, match=rf"fit: {name} is a tuple \(x, y\).*got list"):
        run([X, Y])
    with pytest.raises(TypeError, match="got generator"):
        run(batch for batch in [(X, Y)])
    with pytest.raises(ValueError, match=f"fit: {name} has 3 arrays"):
        run((X, Y, Y))
    with pytest.raises(ValueError, match=f"fit: {name} has 1 arrays"):
        run(DataLoader(X))
    with pytest.raises(ValueError, match="array 0 has 50, array 1 has 49"):
        run((X, Y[:-1]))
    with pytest.raises(ValueError, match="empty data set"):
        run((X[:0], Y[:0]))
    spoiled = X.copy()
    spoiled[3, 1] = np.nan
    with pytest.raises(ValueError, match="row 3, column 1"):
        run((spoiled, Y))


def test_a_loader_of_ones_own_may_change_batches_on_their_way() -> None:
    class Doubled(DataLoader):
        def __iter__(self) -> Iterator[tuple[Array, ...]]:
            for x, y in super().__iter__():
                yield np.concatenate([x, -x]), np.concatenate([y, 2 - y])

    fit(**setting() | {"train": Doubled(X, Y, batch_size=8)}, epochs=1)


def test_an_epoch_without_a_batch_is_refused() -> None:
    class Empty(DataLoader):
        def __iter__(self) -> Iterator[tuple[Array, ...]]:
            return iter(())

    with pytest.raises(ValueError, match="gave no batch"):
        fit(**setting() | {"train": Empty(X, Y)})


# ---- What would go wrong only later


def with_bad_target(bad: Any, dtype: Any = np.int64) -> tuple[Array, Array]:
    targets = Y.astype(dtype)
    targets[40] = bad
    return X, targets


@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize("loss", [cross_entropy, F.cross_entropy, nn.CrossEntropyLoss([1, 2, 3])])
@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (with_bad_target(3), ValueError, "target 3 is out of range"),
        (with_bad_target(-1), ValueError, "target -1 is out of range"),
        (with_bad_target(1, np.float32), TypeError, "must be integers, not float32"),
    ],
)
def test_targets_that_the_loss_does_not_take_are_found_before_the_first_step(
    part: str, loss: Any, data: Any, error: type[Exception], message: str, path: pathlib.Path
) -> None:
    arguments = setting() | {"loss": loss, part: DataLoader(*data, batch_size=8)}
    before = bits(arguments["model"].state_dict())
    with pytest.raises(error, match=message) as caught:
        fit(**arguments, checkpoint=path)
    assert bits(arguments["model"].state_dict()) == before
    if not (part == "train" and data[1].dtype == np.float32):  # which the first batch shows
        note = f"in the {part} data of fit, looked at before the first step"
        assert caught.value.__notes__ == [note]


def test_binary_targets_that_the_loss_does_not_take_are_found_before_the_first_step() -> None:
    model = nn.Linear(4, 1)
    good, bad = (X[:, :1] > 0).astype(np.float32), np.full((50, 1), 1.5)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"targets are from 0 to 1, got 1\.5 to 1\.5"):
        fit(model, nn.BCEWithLogitsLoss(), optimizer, (X, good), (X, bad), progress=False)
    assert optimizer.steps == 0


class PerPosition(nn.Module):
    """Logits (N, 3, L) for features (N, 4, L), whatever L is."""

    def __init__(self) -> None:
        self.linear = nn.Linear(4, 3, rng=0)

    def forward(self, x: Any) -> Any:
        return np.swapaxes(self.linear(np.swapaxes(x, 1, -1)), 1, -1)


def test_validation_data_of_another_shape_are_fine_if_the_model_takes_them() -> None:
    model = PerPosition()
    train = X[:20].reshape(4, 4, 5), Y[:20].reshape(4, 5)
    other = X[20:50].reshape(3, 4, 10), Y[20:50].reshape(3, 10)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    history = fit(model, cross_entropy, optimizer, train, other, epochs=1, progress=False)
    expected = evaluate(model, cross_entropy, other)["loss"]
    assert history["validation_loss"] == [pytest.approx(expected)]


def test_the_bar_leaves_the_filters_of_warnings_as_they_were() -> None:
    before = [*warnings.filters]
    fit(**setting() | {"progress": True})
    assert warnings.filters == before


@pytest.mark.parametrize("which", ["features", "targets"])
def test_validation_data_of_another_shape_are_tried_before_the_first_step(which: str) -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.BatchNorm(1), nn.Dropout(0.5))
    x, y = (X[:, :3], X[:, :1]) if which == "features" else (X, X[:, 0])
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="shape") as caught:
        fit(model, nn.MSELoss(), optimizer, (X, X[:, :1]), (x, y), progress=False)
    assert optimizer.steps == 0
    assert "in the validation data of fit, tried before the first step" in str(
        caught.value.__notes__
    )
    assert [module.training for _, module in model.modules()] == 4 * [True]
    assert model[1].num_batches_tracked == 0


def test_what_fails_in_the_validation_loses_no_epoch(path: pathlib.Path) -> None:
    expected = never_stopped("adam", 3)
    arguments = recipe("adam")
    arguments["loss"] = at_call(7 + 6 + 7 + 2, raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError) as caught:
        fit(**arguments, epochs=3, checkpoint=path)
    assert caught.value.__notes__ == [
        f"in the validation after step 7 of 7 in epoch 2; the model holds it, and {path} the run"
    ]
    again = recipe("adam", seed=9)
    assert outcome(again, fit(**again, epochs=3, checkpoint=path)) == expected


@pytest.mark.parametrize("n", [33, 65, 1057, 2, 31])
def test_arrays_never_leave_a_last_batch_of_one(n: int) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, 2)), rng.normal(size=(n, 1))
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm(4), nn.Linear(4, 1))
    lengths: list[int] = []
    count = {"n": lambda z, y: lengths.append(len(y)) or 0}
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    fit(model, nn.MSELoss(), optimizer, (x, y), epochs=1, metrics=count, progress=False)
    assert sum(lengths) == n
    assert min(lengths) > 1
    assert lengths[0] == {33: 33, 65: 33, 1057: 34}.get(n, n)


def test_a_loader_whose_last_batch_batch_norm_cannot_take_is_refused_before_the_first_step() -> (
    None
):
    arguments = setting(model=everything())
    loader = DataLoader(X, Y, batch_size=7)  # 50 = 7 * 7 + 1
    state = minidl.rng.generator().bit_generator.state
    with pytest.raises(
        ValueError, match=r"50 = 7 \* 7 \+ 1.*drop_last=True, or another batch_size"
    ):
        fit(**arguments | {"train": loader})
    assert arguments["optimizer"].steps == 0
    assert arguments["model"][1].num_batches_tracked == 0
    assert minidl.rng.generator().bit_generator.state == state
    fit(**arguments | {"train": DataLoader(X, Y, batch_size=7, drop_last=True)}, epochs=1)
    arguments["model"][1].eval()
    fit(**arguments | {"train": loader}, epochs=1)  # frozen, it takes any batch
    places = nn.Sequential(nn.BatchNorm(4), nn.Flatten(), nn.Linear(8, 3))
    x = np.stack([X, X], axis=2)  # (50, 4, 2): two values for each channel in a batch of one
    fit(**setting(model=places) | {"train": DataLoader(x, Y, batch_size=7)}, epochs=1)


def test_a_trial_before_the_first_step_draws_no_random_numbers() -> None:
    model = nn.Sequential(nn.Dropout(0.5, rng=5), nn.BatchNorm(4), nn.Flatten(), nn.Linear(8, 3))
    x = np.stack([X, X], axis=2)  # (50, 4, 2), in 7 batches of 7 and one of 1, which is tried
    fit(**setting(model=model) | {"train": DataLoader(x, Y, batch_size=7)}, epochs=1)
    alone = np.random.default_rng(5)
    for n in (*7 * [7], 1):
        alone.random((n, 4, 2), np.float32)
    assert model[0].rng.bit_generator.state == alone.bit_generator.state
    assert model[1].num_batches_tracked == 8


# ---- Checkpoints


def recipe(rule: str, seed: int = 0) -> dict[str, Any]:
    """All arguments of fit but the checkpoint, as a script makes them when it starts."""
    minidl.seed(seed)
    arguments = setting(rule, everything())
    arguments["train"] = DataLoader(X, Y, batch_size=8, shuffle=True)
    arguments["validation"] = DataLoader(X, Y, batch_size=9, shuffle=True)
    return arguments


def outcome(arguments: dict[str, Any], history: History) -> Any:
    """All that the runs that are compared must agree in, to the bit."""
    return (
        bits(arguments["model"].state_dict()),
        bits(arguments["optimizer"].state_dict()),
        [arguments[name].state_dict() for name in ("train", "validation")],
        history,
        minidl.rng.generator().integers(2**63),
        arguments["model"][5].rng.integers(2**63),
    )


def never_stopped(rule: str, epochs: int) -> Any:
    arguments = recipe(rule)
    return outcome(arguments, fit(**arguments, epochs=epochs))


STOPS = [  # how, and in which call of the loss since the start, and how far the run is then
    ("ctrl-c", 3),  # step 3 of epoch 1
    ("crash", 2),  # as before, since a crash saves nothing
    ("ctrl-c", 4),  # the last step of epoch 1, before the validation
    ("ctrl-c", 3),  # epoch 1, since the validation is finished
    ("within a step", 5),  # as before, since the state within a step is not saved
    ("crash", 9),  # in the validation, before which epoch 2 is done
    ("ctrl-c", 6 + 1),  # step 1 of epoch 3
    ("crash", 12 + 7),  # epoch 3
]


@pytest.mark.parametrize("rule", RULES)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(rule: str, path: pathlib.Path) -> None:
    # The loss is called 7 times in an epoch of training and 6 times in the validation after it.
    expected = never_stopped(rule, 4)
    places = []
    for attempt, (how, call) in enumerate(STOPS):
        arguments = recipe(rule, seed=1000 * attempt)  # only the first seed counts
        if how == "crash":
            arguments["loss"] = at_call(call, raising(MemoryError()))
            with pytest.raises(MemoryError):
                fit(**arguments, epochs=4, checkpoint=path)
        else:
            interrupt = press_ctrl_c if how == "ctrl-c" else raising(KeyboardInterrupt())
            arguments["loss"] = at_call(call, interrupt)
            arguments["on_interrupt"] = "return"
            assert fit(**arguments, epochs=4, checkpoint=path).interrupted
        saved = load(path)
        places.append((len(saved["history"]["loss"]), saved["epoch"]["batches"]))
    assert places == [(0, 3), (0, 3), (0, 7), (1, 0), (1, 0), (1, 7), (2, 1), (3, 0)]
    arguments = recipe(rule, seed=99)
    history = fit(**arguments, epochs=4, checkpoint=path)
    assert outcome(arguments, history) == expected
    assert not history.interrupted


def test_a_run_may_be_made_longer(path: pathlib.Path) -> None:
    for epochs in (0, 1, 3):
        arguments = recipe("adam", seed=epochs)
        history = fit(**arguments, epochs=epochs, checkpoint=path)
        assert len(history["loss"]) == epochs
    assert outcome(arguments, history) == never_stopped("adam", 3)


def test_a_finished_run_returns_at_once_with_the_whole_history(path: pathlib.Path) -> None:
    first = recipe("adam")
    history = fit(**first, epochs=2, checkpoint=path)
    content = path.read_bytes()
    again = recipe("adam", seed=7) | {"loss": at_call(1, raising(AssertionError()))}
    assert fit(**again, epochs=2, checkpoint=path) == history
    assert bits(again["model"].state_dict()) == bits(first["model"].state_dict())
    assert fit(**again, epochs=1, checkpoint=path) == history
    assert path.read_bytes() == content


def test_hyper_parameters_come_from_the_file(path: pathlib.Path) -> None:
    arguments = setting("rmsprop")
    fit(**arguments, epochs=1, checkpoint=path)
    arguments["optimizer"] = optim.RMSProp(arguments["model"].parameters(), lr=7.0)
    fit(**arguments, epochs=2, checkpoint=path)
    assert (arguments["optimizer"].lr, arguments["optimizer"].decay_rate) == (0.003, 0.9)


def test_generators_of_model_loss_optimizer_and_loader_go_on(path: pathlib.Path) -> None:
    class Noisy(optim.SGD):
        def __init__(self, params: Any, rng: int) -> None:
            super().__init__(params, lr=0.1)
            self.noise = np.random.default_rng(rng)

        def update(self, x: Array, dx: Array) -> None:
            x -= self.lr * dx + 0.01 * self.noise.standard_normal(x.shape).astype(x.dtype)

    class Flipping(DataLoader):
        def __iter__(self) -> Iterator[tuple[Array, ...]]:
            for x, y in super().__iter__():
                yield x * self.flips.choice([1.0, 0.9], size=(len(x), 1)).astype(x.dtype), y

    class NoisyLoss(nn.CrossEntropyLoss):
        def forward(self, input: Any, target: Any) -> Tensor:
            return super().forward(input * np.float32(self.rng.random()), target)

    def make(rng: int) -> dict[str, Any]:
        arguments = setting()
        arguments["optimizer"] = Noisy(arguments["model"].parameters(), rng)
        arguments["train"] = Flipping(X, Y, batch_size=8)
        arguments["train"].flips = np.random.Generator(np.random.MT19937(rng))
        arguments["loss"] = NoisyLoss()
        arguments["loss"].rng = np.random.default_rng(rng)
        return arguments

    whole, parts = make(1), make(1)
    expected = fit(**whole, epochs=3)
    fit(**parts, epochs=1, checkpoint=path)
    parts = make(2)
    assert fit(**parts, epochs=3, checkpoint=path) == expected
    assert bits(parts["model"].state_dict()) == bits(whole["model"].state_dict())


def test_a_run_with_a_buffer_that_is_none_at_first_goes_on(path: pathlib.Path) -> None:
    class Average(Module):
        buffers = ("mean",)

        def __init__(self) -> None:
            self.linear = nn.Linear(4, 3, rng=1)
            self.mean = None

        def forward(self, x: Array) -> Tensor:
            if self.training:
                self.mean = x.mean(0) if self.mean is None else 0.9 * self.mean + 0.1 * x.mean(0)
            return self.linear(x - self.mean)

    whole, first, then = Average(), Average(), Average()
    expected = fit(**setting(model=whole), epochs=3)
    fit(**setting(model=first), epochs=1, checkpoint=path)
    assert fit(**setting(model=then), epochs=3, checkpoint=path) == expected
    assert bits(then.state_dict()) == bits(whole.state_dict())
    other = Average()
    with pytest.raises(ValueError, match=r"it is of Adam, not of SGD"):
        fit(**setting("sgd", other), checkpoint=path)
    assert other.mean is None
    with pytest.raises(ZeroDivisionError):
        fit(**setting(model=other) | {"loss": at_call(1, raising(ZeroDivisionError()))})
    assert other.mean is None


def test_generators_in_lists_dicts_and_objects_go_on(path: pathlib.Path) -> None:
    class Noise:
        def __init__(self, rng: int) -> None:
            self.rng = np.random.default_rng(rng)
            self.owner = self  # a circle

    class Noisy(Module):
        def __init__(self, rng: int) -> None:
            self.linear = nn.Linear(4, 3, rng=1)
            self.several = [np.random.default_rng(rng), {"a": (np.random.default_rng(rng + 1),)}]
            self.noise = Noise(rng + 2)
            self.recent = collections.deque([np.random.default_rng(rng + 3)])
            self.draw = np.random.default_rng(rng + 4).random
            self.uniform = functools.partial(np.random.default_rng(rng + 5).uniform, 1, 2)

        def forward(self, x: Array) -> Tensor:
            drawn = [self.several[0], self.several[1]["a"][0], self.noise.rng, self.recent[0]]
            factor = sum(g.random() for g in drawn) + self.draw() + self.uniform()
            return self.linear(x) * np.float32(factor)

    def run(rng: int, **options: Any) -> Any:
        model = Noisy(rng)
        return fit(**setting(model=model), **options), bits(model.state_dict())

    expected = run(1, epochs=3)
    run(1, epochs=1, checkpoint=path)
    assert list(load(path)["generators"]) == [
        "minidl",
        "model.several.0",
        "model.several.1.a.0",
        "model.noise.rng",
        "model.recent.0",
        "model.draw.__self__",
        "model.uniform.func.__self__",
    ]
    assert run(50, epochs=3, checkpoint=path) == expected


def changed(**changes: Any) -> dict[str, Any]:
    return recipe("adam", seed=5) | changes


def with_model(model: Module, rule: str = "adam") -> dict[str, Any]:
    return changed(model=model, optimizer=RULES[rule](model.parameters()))


FOREIGN: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "model": (lambda: with_model(classifier()), "generators: .* unexpected .'model.5.rng'"),
    "layers": (
        lambda: with_model(nn.Sequential(*everything(), nn.Linear(3, 3))),
        "7.weight is missing; 7.bias is missing",
    ),
    "width": (
        lambda: with_model(nn.Sequential(*[*everything()][:-1], nn.Linear(8, 4))),
        r"6.weight has shape \(3, 8\), expected \(4, 8\)",
    ),
    "rule": (lambda: with_model(everything(), "sgd"), "it is of Adam, not of SGD"),
    "samples": (lambda: changed(train=DataLoader(X[1:], Y[1:])), "over 50 samples"),
    "validation samples": (lambda: changed(validation=(X[1:], Y[1:])), "over 50 samples"),
    "no validation": (
        lambda: changed(validation=None),
        "fit with these data: .* unexpected .'validation'",
    ),
    "metrics": (lambda: changed(metrics={}), r"its metrics are None, not \[\]"),
    "loss": (
        lambda: changed(loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
        "its loss is CrossEntropyLoss.*label_smoothing=0.0.*, not .*label_smoothing=0.1",
    ),
    "class weights": (
        lambda: changed(loss=nn.CrossEntropyLoss(np.array([1.0, 2.0, 3.0]))),
        r"its loss is .*weight=None.*, not .*weight=float64\(3,\) [0-9a-f]{8}",
    ),
    "another loss": (
        lambda: changed(loss=lambda z, y: cross_entropy(z * 2, y)),
        "its loss is CrossEntropyLoss.*, not <lambda> of cross_entropy",
    ),
    "data": (
        lambda: changed(train=DataLoader(X + 1, Y, batch_size=8, shuffle=True)),
        r"its train data is \[float32\(50, 4\) \w{8}, int64\(50,\) (\w{8})\], not .*, int.* \1\]",
    ),
    "validation data": (
        lambda: changed(validation=DataLoader(X, Y[::-1].copy(), batch_size=9, shuffle=True)),
        "its validation data is ",
    ),
    "dtype of the data": (
        lambda: changed(train=DataLoader(X, Y.astype(np.int32), batch_size=8, shuffle=True)),
        r"its train data is .*int64\(50,\).*, not .*int32\(50,\)",
    ),
    "activation": (
        lambda: with_model(
            nn.Sequential(*[nn.Tanh() if isinstance(m, nn.ReLU) else m for m in everything()])
        ),
        "its model.2 is ReLU, not Tanh",
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_the_checkpoint_of_another_run_changes_nothing(what: str, path: pathlib.Path) -> None:
    fit(**recipe("adam"), epochs=1, checkpoint=path)
    content = path.read_bytes()
    make, message = FOREIGN[what]
    refused_and_unchanged(make(), path, message)
    assert path.read_bytes() == content


def refused_and_unchanged(arguments: dict[str, Any], path: pathlib.Path, message: str) -> None:
    def state() -> Any:
        loaders = [arguments[name] for name in ("train", "validation")]
        return (
            bits(arguments["model"].state_dict()),
            bits(arguments["optimizer"].state_dict()),
            [dict(vars(loader)) for loader in loaders if isinstance(loader, DataLoader)],
            [
                module.rng.bit_generator.state
                for _, module in arguments["model"].modules()
                if isinstance(getattr(module, "rng", None), np.random.Generator)
            ],
        )

    before = state()
    with pytest.raises(ValueError, match=message) as caught:
        fit(**arguments, epochs=2, checkpoint=path)
    assert str(path) in str(caught.value)
    after = state()
    for one, other in zip(before, after, strict=True):
        np.testing.assert_equal(one, other)


def test_other_generators_change_nothing(path: pathlib.Path) -> None:
    arguments = recipe("adam")
    fit(**arguments, epochs=1, checkpoint=path)
    other = recipe("adam", seed=5)
    other["model"][3].rng = np.random.default_rng(3)
    refused_and_unchanged(other, path, r"generators: missing \['model.3.rng'\]")
    other = recipe("adam", seed=5)
    other["model"][5].rng = np.random.Generator(np.random.Philox(3))
    refused_and_unchanged(other, path, "fit cannot go on from .*Philox")


def test_a_file_that_is_no_checkpoint_of_a_run_is_refused(path: pathlib.Path) -> None:
    save(path, recipe("adam")["model"].state_dict())
    refused_and_unchanged(
        recipe("adam"), path, "no state of a run of fit with these data: missing .*'optimizer'"
    )
    save(path, [1, 2])
    refused_and_unchanged(recipe("adam"), path, "no state of a run of fit")
    path.unlink()
    fit(**recipe("adam"), epochs=1, checkpoint=path)
    whole = load(path)
    for name in ("generators", "parts", "history", "epoch", "model"):
        for other in ([], None, 1.5):
            save(path, whole | {name: other})
            refused_and_unchanged(recipe("adam"), path, "fit cannot go on from")
    save(path, whole | {"epoch": {"batches": 3}})
    refused_and_unchanged(recipe("adam"), path, r"no state of a epoch of fit: missing \['counts'")
    path.write_bytes(b"PK")
    refused_and_unchanged(recipe("adam"), path, "not a checkpoint|cut short")
    with pytest.raises(CheckpointError):
        fit(**recipe("adam"), checkpoint=path)
    assert path.read_bytes() == b"PK"


def test_a_file_that_cannot_be_written_is_found_before_training(tmp_path: pathlib.Path) -> None:
    arguments = setting() | {"loss": at_call(1, raising(AssertionError()))}
    with pytest.raises(FileNotFoundError, match="no such folder"):
        fit(**arguments, checkpoint=tmp_path / "missing" / "run.npz")


def test_the_bar_says_where_a_run_goes_on(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = on_terminal(monkeypatch)
    arguments = setting() | {"progress": True, "on_interrupt": "return"}
    fit(**arguments | {"loss": at_call(10, press_ctrl_c)}, epochs=3, checkpoint=path)
    fit(**arguments, epochs=3, checkpoint=path)
    assert "fit: going on after step 3 of 7 in epoch 2" in terminal.getvalue()
    terminal = on_terminal(monkeypatch)
    fit(**arguments, epochs=3, checkpoint=path)
    assert terminal.getvalue() == ""  # nothing is left to do


SCRIPT = """
import sys, hashlib
import numpy as np
import minidl
from minidl import nn, optim
from minidl.data import DataLoader
from minidl.training import fit

def run(path):
    minidl.seed(1)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)).astype(np.float32), rng.integers(0, 3, 40)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm(16), nn.Dropout(0.2), nn.Linear(16, 3))
    optimizer = optim.Adam(model.parameters(), lr=optim.schedules.cosine(0.01, 400))
    loader = DataLoader(x, y, batch_size=8, shuffle=True)
    loss = nn.CrossEntropyLoss()
    history = fit(
        model, loss, optimizer, loader, (x, y), epochs=100, checkpoint=path, progress=False
    )
    digest = hashlib.sha256(repr(history).encode())
    for array in model.state_dict().values():
        digest.update(array.tobytes())
    return digest.hexdigest()

if __name__ == "__main__":
    print(run(sys.argv[1]))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: pathlib.Path) -> None:
    path, dice = tmp_path / "run.npz", random.Random(1)
    command = [sys.executable, "-c", SCRIPT, str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed, seen = 0, 0
    while killed < 3:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while process.poll() is None and _written(path) == seen:
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.02))
        process.kill()
        _, errors = process.communicate()
        assert (process.returncode, errors) in ((-signal.SIGKILL, b""), (0, b""))
        killed += 1
        seen = _written(path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    namespace: dict[str, Any] = {"__name__": "script"}
    exec(SCRIPT, namespace)
    assert done.stdout.strip() == namespace["run"](None)


def _written(path: pathlib.Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


# ---- evaluate and predict


def test_evaluate_gives_loss_and_metrics_in_eval_mode_without_a_graph() -> None:
    model = Modes()
    model.sub.eval()
    found = evaluate(model, cross_entropy, DataLoader(X, Y, batch_size=20))
    assert model.seen == 3 * [(False, False, False)]
    assert (model.training, model.linear.training, model.sub.training) == (True, True, False)
    assert is_recording()
    assert found["loss"] == pytest.approx(cross_entropy(model(X), Y).item(), rel=1e-6)
    assert found["accuracy"] == pytest.approx(np.mean(model(X).data.argmax(1) == Y))
    assert [type(value) for value in found.values()] == [float, float]
    assert list(evaluate(model, cross_entropy, (X, Y), metrics={})) == ["loss"]


def test_evaluate_is_for_models_without_parameters_too() -> None:
    assert evaluate(nn.Flatten(), nn.MSELoss(), (X, X)) == {"loss": 0.0}


def test_evaluate_refuses_what_is_no_data() -> None:
    with pytest.raises(TypeError, match="evaluate: data is a tuple"):
        evaluate(classifier(), cross_entropy, X)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="empty data set"):
        evaluate(classifier(), cross_entropy, (X[:0], Y[:0]))


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1024])
def test_predict_gives_the_outputs_in_order(batch_size: int) -> None:
    model = everything()
    model[1].running_mean += 1
    outputs = predict(model, X, batch_size=batch_size)
    assert type(outputs) is np.ndarray
    assert outputs.dtype == np.float32
    assert model.training
    np.testing.assert_allclose(outputs, model.eval()(X).data, rtol=1e-5, atol=1e-6)


def test_predict_is_in_eval_mode_without_a_graph_and_restores_both() -> None:
    model = Modes()
    model.sub.eval()
    predict(model, X)
    assert model.seen == [(False, False, False)]
    assert (model.training, model.linear.training, model.sub.training) == (True, True, False)
    with pytest.raises(ValueError, match="linear"):
        predict(model, X[:, :2])
    assert (model.training, model.sub.training, is_recording()) == (True, False, True)


class Apply(Module):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_predict_is_for_outputs_of_any_shape(shape: tuple[int, ...]) -> None:
    model = Apply(lambda x: Tensor(np.zeros((len(x), *shape), np.float32)))
    assert predict(model, X, batch_size=20).shape == (50, *shape)


def test_predict_keeps_the_precision_of_the_model() -> None:
    model = nn.Linear(1, 1, dtype=np.float64)
    model.weight.data[:] = 1
    assert predict(model, [[1 + 1e-12]])[0, 0] == 1 + 1e-12


def test_predict_refuses_outputs_that_are_not_one_per_sample() -> None:
    for function in (lambda x: Tensor(x).sum(), lambda x: Tensor(x[1:]), lambda x: None):
        with pytest.raises(ValueError, match=r"expected \(50, \.\.\.\): one output per sample"):
            predict(Apply(function), X)


def test_predict_refuses_bad_input() -> None:
    model = classifier()
    with pytest.raises(ValueError, match="empty data set"):
        predict(model, X[:0])
    with pytest.raises(ValueError, match="row 0, column 0"):
        predict(model, [[np.nan] * 4])
    with pytest.raises(ValueError, match="batch_size is .*at least 1"):
        predict(model, X, batch_size=0)
    with pytest.raises(TypeError, match="numbers"):
        predict(model, [["a"] * 4])


def test_a_closed_stderr_is_as_none() -> None:
    before, sys.stderr = sys.stderr, io.StringIO()
    sys.stderr.close()
    try:
        x, y = np.ones((8, 2), np.float32), np.zeros(8, np.int64)
        model = nn.Linear(2, 2)
        history = minidl.fit(
            model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), 0.1), (x, y)
        )
    finally:
        sys.stderr = before
    assert len(history["loss"]) == 10


def test_layers_that_forward_makes_are_refused_in_the_first_step() -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            self.first = nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            if not hasattr(self, "second"):
                self.second = nn.Linear(2, 2)
            return self.second(self.first(x))

    model = Lazy()
    x, y = np.ones((8, 2), np.float32), np.zeros(8, np.int64)
    with pytest.raises(ValueError, match=r"made new parameters, second\.weight, second\.bias"):
        minidl.fit(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), 0.1), (x, y))
