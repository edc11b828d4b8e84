"""Accuracy, metrics, and means that do not depend on how data are cut into batches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from runs import X, Y, bits, classifier, cross_entropy, setting

from minidl import functional as F
from minidl import nn, optim
from minidl.data import DataLoader
from minidl.nn import Module
from minidl.tensor import Array, Tensor
from minidl.training import accuracy, evaluate, fit

pytestmark = pytest.mark.usefixtures("seeded")


# --- Metrics --------------------------------------------------------------------------------------


def test_accuracy_is_measured_of_classes_and_nothing_of_numbers() -> None:
    assert "accuracy" in fit(**setting(), epochs=1)
    assert "accuracy" in evaluate(nn.Linear(4, 2), cross_entropy, (X, Y % 2))
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


@pytest.mark.parametrize("metrics", [[3], 3, {"a": 3}, {1: accuracy}])
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


with_ignore_index_2 = functools.partial(F.cross_entropy, ignore_index=2)


def test_accuracy_is_measured_unasked_of_one_logit_where_the_loss_takes_0_and_1() -> None:
    model = nn.Linear(4, 1, rng=0)
    y = (X[:, :1] > 0).astype(np.int64)
    expected = float(np.mean((model(X).data > 0) == y))
    loss = nn.BCEWithLogitsLoss()
    assert evaluate(model, loss, (X, y))["accuracy"] == expected
    function = F.binary_cross_entropy_with_logits
    assert evaluate(model, function, (X, y))["accuracy"] == expected
    shares = (X, y.astype(np.float32))
    assert list(evaluate(model, loss, shares)) == ["loss"]
    assert evaluate(model, loss, shares, "accuracy")["accuracy"] == expected

    def squared(z: Tensor, y: Array) -> Tensor:
        return ((z[:, 0] - y) ** 2).mean()  # of numbers that happen to be whole

    assert list(evaluate(model, squared, (X, y[:, 0]))) == ["loss"]
    assert evaluate(model, squared, (X, y[:, 0]), "accuracy")["accuracy"] == expected


# --- Means over a data set ------------------------------------------------------------------------


IGNORING = Y.copy()


IGNORING[:23] = -100  # three batches of 7 with nothing, one with little


CLASS_WEIGHTS = np.array([0.1, 5.0, 1.0])
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
