"""Metrics over the whole set: their values, what they refuse, and how fit and evaluate use them."""

from __future__ import annotations

import functools
import math
import pathlib
from typing import Any

import numpy as np
import pytest
from runs import X, Y, at_call, classifier, cross_entropy, press_ctrl_c, raising, setting

import minidl
from minidl import Tensor, evaluate, fit, nn, optim, predict, training
from minidl import functional as F
from minidl.data import DataLoader
from minidl.tensor import Array
from minidl.training import (
    F1,
    R2,
    ROCAUC,
    Precision,
    Recall,
    confusion_matrix,
    f1,
    precision,
    r2,
    recall,
    roc_auc,
    whole_set,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("seeded")

SCORES = {"precision": precision, "recall": recall, "f1": f1}
KINDS = {"precision": Precision, "recall": Recall, "f1": F1}


def drawn(seed: int, n: int = 40, classes: int = 4) -> tuple[Array, Array]:
    """Logits with ties, and targets; one class is never predicted, another never a target."""
    source = np.random.default_rng(seed)
    z = source.normal(size=(n, classes)).round(1)
    if seed % 3 == 0:
        z[:, 0] -= 10
    return z, source.integers(0, classes - seed % 2, n)


# --- Precision, recall, F1 ------------------------------------------------------------------------

# By scikit-learn 1.9: precision_score(y, z.argmax(1), ...) and so on, for z, y = drawn(3).
SKLEARN: dict[tuple[str, Any], Any] = {
    ("precision", "macro"): 0.11126373626373626,
    ("precision", "micro"): 0.15,
    ("precision", "weighted"): 0.13887362637362638,
    ("precision", None): [0.0, 0.21428571428571427, 0.23076923076923078, 0.0],
    ("recall", "macro"): 0.1201923076923077,
    ("recall", "micro"): 0.15,
    ("recall", "weighted"): 0.15,
    ("recall", None): [0.0, 0.23076923076923078, 0.25, 0.0],
    ("f1", "macro"): 0.11555555555555555,
    ("f1", "micro"): 0.15,
    ("f1", "weighted"): 0.1442222222222222,
    ("f1", None): [0.0, 0.2222222222222222, 0.24, 0.0],
    ("auc", "ovr"): 0.49116886327119913,
    ("auc", "binary"): 0.5750000000000001,
    ("r2", "columns"): -0.4342743130316438,
    ("r2", "one"): 0.04160732041859616,
}


def by_hand(name: str, z: Array, y: Array, c: int) -> float:
    """The value of one class, counted sample by sample."""
    pairs = [(int(np.argmax(row)), int(target)) for row, target in zip(z, y, strict=True)]
    tp = sum(p == t == c for p, t in pairs)
    fp = sum(p == c != t for p, t in pairs)
    fn = sum(t == c != p for p, t in pairs)
    over = {"precision": tp + fp, "recall": tp + fn, "f1": (2 * tp + fp + fn) / 2}[name]
    return tp / over if over else 0.0


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("seed", range(8))
def test_the_values_of_the_classes_are_those_counted_by_hand(name: str, seed: int) -> None:
    z, y = drawn(seed)
    expected = np.array([by_hand(name, z, y, c) for c in range(4)])
    score = SCORES[name]
    assert score(z, y, average=None) == pytest.approx(expected)
    occur = [c for c in range(4) if c in y or c in z.argmax(1)]
    assert score(z, y) == score(z, y, average="macro") == pytest.approx(expected[occur].mean())
    shares = np.bincount(y, minlength=4) / len(y)
    assert score(z, y, average="weighted") == pytest.approx(expected @ shares)
    assert score(z, y, average="micro") == pytest.approx(training.accuracy(z, y))


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
@pytest.mark.parametrize("name", SCORES)
def test_the_values_are_those_of_scikit_learn(name: str, average: Any) -> None:
    z, y = drawn(3)
    assert SCORES[name](z, y, average=average) == pytest.approx(SKLEARN[name, average], abs=1e-15)


def test_of_two_classes_the_value_is_that_of_class_1() -> None:
    z, y = drawn(1, classes=2)
    y = np.arange(40) % 2
    for name, score in SCORES.items():
        expected = by_hand(name, z, y, 1)
        assert score(z, y) == score(z, y, "binary") == pytest.approx(expected)
        one = z[:, 1] - z[:, 0]
        one[one == 0] = -1  # argmax takes the first of a tie
        for logits, targets in ((one, y), (one[:, None], y), (one[:, None], y[:, None] * 1.0)):
            assert score(logits, targets) == pytest.approx(expected)
        both = score(z, y, average=None)
        assert score(z, y, average="macro") == pytest.approx(both.mean()) != score(z, y)


def test_a_class_that_is_nowhere_does_not_count_in_the_mean_and_0_by_0_is_what_one_says() -> None:
    z = np.array([[2.0, 1, 0, -9], [2, 1, 0, -9], [0, 1, 2, -9]])
    y = np.array([0, 1, 2])  # class 1 is never predicted, class 3 is nowhere
    assert precision(z, y, None).tolist() == [0.5, 0, 1, 0]
    assert precision(z, y, "macro") == pytest.approx(1.5 / 3)
    assert precision(z, y, None, zero_division=1).tolist() == [0.5, 1, 1, 1]
    assert precision(z, y, "macro", zero_division=1) == pytest.approx(2.5 / 3)
    assert precision(z, y, "macro", zero_division=math.nan) == 0.75
    assert np.isnan(precision(z, y, None, zero_division=math.nan)).tolist() == [0, 1, 0, 1]
    assert recall(z, y, None, zero_division=1).tolist() == [1, 0, 1, 1]
    assert f1(z, y, None, zero_division=1).tolist() == [2 / 3, 0, 1, 1]
    never = np.zeros((2, 2)), np.array([0, 0])
    assert (precision(*never), recall(*never), f1(*never)) == (0, 0, 0)
    assert math.isnan(precision(*never, zero_division=math.nan))
    assert precision(*never, "micro") == 1


def test_what_is_ignored_does_not_count() -> None:
    z, y = drawn(5)
    some = y.copy()
    some[::3] = -100
    some[1::3][:4] = -1
    for score in (*SCORES.values(), roc_auc, confusion_matrix):
        assert np.array_equal(score(z, some), score(z[some >= 0], y[some >= 0]))
        kept = y != 2
        assert np.array_equal(score(z, y, ignore_index=2), score(z[kept], y[kept]))
        with pytest.raises(ValueError, match=r"of 40 targets none counts"):
            score(z, np.full(40, -100))
        with pytest.raises(ValueError, match=r"of 0 targets none counts"):
            score(z[:0], y[:0])


def test_nan_is_never_right() -> None:
    z, y = drawn(5)
    spoiled = z.copy()
    spoiled[::4, 1] = np.nan
    wrong = z.copy()
    wrong[::4] = -99
    wrong[np.arange(0, 40, 4), (y[::4] + 1) % 4] = 99
    assert recall(spoiled, y, None) == pytest.approx(recall(wrong, y, None))
    assert recall(spoiled, y, "micro") == training.accuracy(spoiled, y)
    nothing = np.full_like(z, np.nan)
    assert [score(nothing, y) for score in (*SCORES.values(), roc_auc)] == [0, 0, 0, 0]
    one = np.array([np.nan, 1.0, -1.0, np.nan])
    assert f1(one, np.array([1, 1, 0, 0])) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="10 of the predictions are NaN, which is no class"):
        confusion_matrix(spoiled, y)


def test_the_confusion_matrix_has_targets_in_rows_and_predictions_in_columns() -> None:
    for seed in range(8):
        z, y = drawn(seed)
        expected = np.zeros((4, 4), int)
        for row, target in zip(z, y, strict=True):
            expected[target, row.argmax()] += 1
        found = confusion_matrix(z, y)
        assert np.array_equal(found, expected)
        assert found.dtype.kind == "i"
    one = np.array([[-1.0], [2], [3], [-4]])
    assert confusion_matrix(one, np.array([1, 1, 0, 1])).tolist() == [[0, 1], [2, 1]]


def test_maps_of_classes_count_each_place() -> None:
    source = np.random.default_rng(0)
    z, y = source.normal(size=(3, 4, 5, 2)), source.integers(0, 4, (3, 5, 2))
    flat = np.stack([z[:, c].ravel() for c in range(4)], axis=1), y.ravel()
    for score in (*SCORES.values(), roc_auc, confusion_matrix):
        assert np.array_equal(score(z, y), score(*flat))


def test_what_is_no_class_is_refused() -> None:
    z, y = drawn(0)
    for name, score in (*SCORES.items(), ("auc", roc_auc), ("confusion_matrix", confusion_matrix)):
        for bad, shown in ((4, 4), (1.5, 1.5), (np.nan, "nan")):
            targets = np.array([bad, *y[1:]])
            with pytest.raises(ValueError, match=rf"^{name}: .* from 0 to 3 .* got {shown}"):
                score(z, targets)
        with pytest.raises(ValueError, match=rf"^{name}: .* 0 and 1"):
            score(z[:, 0], y + 1)
        with pytest.raises(ValueError, match=rf"^{name} compares predictions \(N, C\)"):
            score(z, y[:-1])
        with pytest.raises(TypeError, match=rf"^{name} takes real numbers"):
            score(z, ["a"] * 40)


def test_wrong_settings_are_refused_where_they_are_made() -> None:
    z, y = drawn(0)
    for name, kind in KINDS.items():
        for made in (kind, functools.partial(SCORES[name], z, y)):
            with pytest.raises(ValueError, match=r"average is 'auto', 'binary'.*not 'mean'"):
                made(average="mean")
            for bad in (0.5, "warn", None, True):
                with pytest.raises(ValueError, match="zero_division is 0, 1 or NaN"):
                    made(zero_division=bad)
        with pytest.raises(ValueError, match=rf"call {name}\(predictions, targets, average=None"):
            kind(average=None)
        with pytest.raises(ValueError, match="class 1 of two, and there are 4 classes"):
            SCORES[name](z, y, "binary")


# --- The area under the ROC curve -----------------------------------------------------------------


def pairs_right(scores: Array, positive: Array) -> float:
    """The area as it is defined: pair by pair."""
    above, below = scores[positive][:, None], scores[~positive]
    return float(((above > below) + 0.5 * (above == below)).mean())


@pytest.mark.parametrize("seed", range(8))
def test_the_area_is_the_share_of_pairs_in_the_right_order(seed: int) -> None:
    source = np.random.default_rng(seed)
    y = np.arange(50) % 2
    one = (source.normal(size=50) + y).round(seed % 3)  # many ties
    one[source.integers(0, 50, 3)] = np.nan
    expected = pairs_right(one, y == 1)
    assert roc_auc(one, y) == pytest.approx(expected, abs=1e-15)
    assert roc_auc(one[:, None], y[:, None] * 1.0) == roc_auc(one, y)
    for two in ([one * 0 - 5, one - 5], [-one, one]):
        assert roc_auc(np.stack(two, axis=1), y) == roc_auc(one, y)


def test_ties_count_one_half_and_extremes_are_0_and_1() -> None:
    y = np.array([0, 1, 1, 0])
    assert roc_auc(np.zeros(4), y) == 0.5
    assert roc_auc(np.array([0.0, 1, 1, 0]), y) == 1
    assert roc_auc(np.array([1.0, 0, 0, 1]), y) == 0
    assert roc_auc(np.array([-np.inf, np.inf, 0, -np.inf]), y) == 1


@pytest.mark.parametrize("seed", range(8))
def test_of_several_classes_each_is_asked_against_the_rest(seed: int) -> None:
    source = np.random.default_rng(seed)
    z, y = source.normal(size=(60, 4)), np.arange(60) % 4
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    expected = np.mean([pairs_right(p[:, c], y == c) for c in range(4)])
    assert roc_auc(z, y) == pytest.approx(expected)
    assert roc_auc(p, y) == pytest.approx(expected)
    assert roc_auc(z + source.normal(size=(60, 1)) * 100, y) == pytest.approx(expected)
    raw = np.mean([pairs_right(z[:, c], y == c) for c in range(4)])
    assert raw != pytest.approx(expected, abs=1e-4)  # logits rank otherwise than probabilities
    few = y != 2
    expected = np.mean([pairs_right(p[few, c], y[few] == c) for c in (0, 1, 3)])
    assert roc_auc(z[few], y[few]) == pytest.approx(expected)


def test_logits_that_float32_could_not_tell_apart_keep_their_order() -> None:
    z, y = np.random.default_rng(0).normal(size=(60, 3)) * 1e-9, np.arange(60) % 3
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert roc_auc(z, y) == pytest.approx(np.mean([pairs_right(p[:, c], y == c) for c in range(3)]))
    one = 1 + z[:, 0]
    assert roc_auc(one, y == 1) == pytest.approx(pairs_right(one, y == 1))
    assert roc_auc(np.float32([[1, 1e-9], [1, 2e-9]]), np.array([0, 1])) == 1


def test_areas_are_those_of_scikit_learn() -> None:
    z, y = drawn(2)
    assert roc_auc(z, y) == pytest.approx(SKLEARN["auc", "ovr"], abs=1e-15)
    assert roc_auc(z[:, 1], y == 1) == pytest.approx(SKLEARN["auc", "binary"], abs=1e-15)


def test_logits_whose_probabilities_are_rounded_to_1_keep_their_order() -> None:
    z = np.array([[90.0, 0, 0], [80, 0, 0], [70, 0, 0], [0, 95, 0], [0, 1, 99]])
    y = np.array([0, 0, 1, 1, 2])
    assert roc_auc(z, y) == 1
    far = np.array([[9000.0, 0, 0], [0, 9000, 0], [0, 1, 9000]])  # where others are 0
    assert roc_auc(far, np.arange(3)) == 1


def test_one_class_alone_has_no_area() -> None:
    for z in (np.zeros(3), np.zeros((3, 4))):
        with pytest.raises(ValueError, match="all 3 targets are of class 1"):
            roc_auc(z, np.ones(3, int))


# --- R^2 ------------------------------------------------------------------------------------------


def test_r2_is_that_of_scikit_learn() -> None:
    source = np.random.default_rng(0)
    y = source.normal(size=(20, 3)) + 100
    p = y + source.normal(size=(20, 3))
    assert r2(p, y) == pytest.approx(SKLEARN["r2", "columns"], abs=1e-13)
    assert r2(p[:, 0], y[:, 0]) == pytest.approx(SKLEARN["r2", "one"], abs=1e-13)
    assert r2(y, y) == 1
    assert r2(np.full((20, 1), y[:, 0].mean()), y[:, :1]) == pytest.approx(0, abs=1e-12)
    same = np.full(4, 0.1)
    assert (r2(same, same), r2(np.array([0.1, 0.1, 0.1, 0]), same)) == (1, 0)
    assert math.isnan(r2(np.array([np.nan, 1]), np.array([0, 1])))
    assert math.isnan(r2(np.array([np.nan, 1]), np.array([1, 1])))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_r2_is_computed_in_float64(dtype: type) -> None:
    source = np.random.default_rng(0)
    y = source.normal(300, 1, 400).astype(dtype)  # the sum is too large for float16
    p = (y + source.normal(size=400)).astype(dtype)
    expected = r2(p.astype(np.float64), y.astype(np.float64))
    for predictions, targets in ((p, y), (p.astype(np.float64), y), (p, y.astype(np.float64))):
        assert r2(predictions, targets) == expected


def test_r2_refuses_other_shapes_and_one_sample() -> None:
    with pytest.raises(ValueError, match=r"of one shape .* got \(4, 1\) and \(4,\)"):
        r2(np.zeros((4, 1)), np.zeros(4))
    with pytest.raises(ValueError, match="there is only 1"):
        r2(np.zeros((1, 1)), np.zeros((1, 1)))


# --- In fit and evaluate --------------------------------------------------------------------------

ALL = ["accuracy", "precision", "recall", "f1", "auc", F1(average="micro")]


def expected_of(z: Array, y: Array, ignore_index: int | None = None) -> dict[str, float]:
    functions = {"accuracy": training.accuracy, **SCORES, "auc": roc_auc}
    return {name: f(z, y, ignore_index=ignore_index) for name, f in functions.items()}


@pytest.mark.parametrize("batch_size", [1, 7, 50])
def test_they_are_computed_once_over_all_batches(batch_size: int) -> None:
    model = classifier()
    expected = expected_of(predict(model, X), Y)
    loader = DataLoader(X, Y, batch_size=batch_size)
    found = evaluate(model, cross_entropy, loader, list(expected))
    assert list(found) == ["loss", *expected]
    assert {n: v for n, v in found.items() if n != "loss"} == pytest.approx(expected, rel=1e-12)
    still = optim.SGD(model.parameters(), lr=0.0)
    history = fit(
        model,
        cross_entropy,
        still,
        loader,
        loader,
        epochs=2,
        metrics=list(expected),
        progress=False,
    )
    assert list(history)[:6] == ["loss", *expected]
    for name, value in expected.items():
        assert history[name] == history[f"validation_{name}"] == 2 * [pytest.approx(value)]


def test_functions_partials_and_objects_are_metrics_too() -> None:
    model = classifier()
    z = predict(model, X)
    loader = DataLoader(X, Y, batch_size=7)
    timed = functools.wraps(f1)(lambda *arrays: f1(*arrays))
    metrics = {
        "function": f1,
        "partial": functools.partial(f1, average="micro"),
        "object": F1(average="weighted"),
        "wrapped": timed,
        "area": ROCAUC(),
    }
    found = evaluate(model, cross_entropy, loader, metrics)
    expected = [f1(z, Y), f1(z, Y, "micro"), f1(z, Y, "weighted"), f1(z, Y), roc_auc(z, Y)]
    assert list(found.values())[1:] == pytest.approx(expected)

    def error(predictions: Array, targets: Array) -> float:
        return float(np.mean(predictions.argmax(1) != targets))

    found = evaluate(
        model, cross_entropy, loader, [roc_auc, error, F1("micro"), training.Accuracy()]
    )
    assert list(found) == ["loss", "auc", "error", "f1", "accuracy"]
    assert found["error"] == pytest.approx(1 - found["accuracy"]) == pytest.approx(1 - found["f1"])
    assert list(evaluate(model, cross_entropy, loader, f1)) == ["loss", "f1"]


def test_names_and_functions_do_not_count_what_the_loss_ignores_and_objects_are_as_given() -> None:
    model, loss = classifier(), nn.CrossEntropyLoss(ignore_index=2)
    z = predict(model, X)
    expected = expected_of(z, Y, ignore_index=2)
    for metrics in (list(expected), {"f1": f1}, {"f1": functools.partial(f1)}):
        found = evaluate(model, loss, (X, Y), metrics)
        assert found["f1"] == pytest.approx(expected["f1"])
    found = evaluate(model, loss, (X, Y), list(expected))
    assert {n: v for n, v in found.items() if n != "loss"} == pytest.approx(expected)
    assert evaluate(model, loss, (X, Y), [F1()])["f1"] == pytest.approx(f1(z, Y))
    own = {"f1": functools.partial(f1, ignore_index=1)}
    assert evaluate(model, loss, (X, Y), own)["f1"] == pytest.approx(f1(z, Y, ignore_index=1))


def test_one_logit_and_regression() -> None:
    model = nn.Linear(4, 1, rng=0)
    y = (X[:, :1] > 0).astype(np.int64)
    z = predict(model, X)
    loader = DataLoader(X, y, batch_size=7)
    found = evaluate(model, nn.BCEWithLogitsLoss(), loader, ["f1", "auc"])
    assert (found["f1"], found["auc"]) == (f1(z, y), roc_auc(z, y))
    loader = DataLoader(X, X[:, :1], batch_size=7)
    found = evaluate(model, nn.MSELoss(), loader, ["r2", "mae"])
    assert found["r2"] == pytest.approx(r2(z, X[:, :1]))
    assert found["mae"] == pytest.approx(abs(z - X[:, :1]).mean())
    assert evaluate(model, nn.MSELoss(), loader, [R2()])["r2"] == found["r2"]


def test_a_metric_of_ones_own_may_want_the_whole_set() -> None:
    seen: list[Any] = []

    @whole_set
    def middle(predictions: Array, targets: Array) -> float:
        seen.append((predictions.shape, targets.shape))
        return float(np.median(predictions))

    model = classifier()
    found = evaluate(model, cross_entropy, DataLoader(X, Y, batch_size=7), [middle])
    assert seen == [((50, 3), (50,))]
    assert found["middle"] == np.median(predict(model, X))
    many = whole_set(lambda z, y: z[0])
    with pytest.raises(ValueError, match=r"the metric 'many' is one number for the whole set"):
        evaluate(model, cross_entropy, (X, Y), {"many": many})


def test_predictions_are_kept_only_for_a_metric_of_the_whole_set() -> None:
    for metrics, kept in ((None, 0), ("accuracy", 0), (["mae"], 0), (["accuracy", "f1"], 3)):
        model = nn.Linear(4, 3, rng=0)
        named = training.metrics.metrics_by_name(metrics, cross_entropy)
        means = training.measures.Means(cross_entropy, named)
        for _ in range(3):
            y = X[:8, :3] if metrics == ["mae"] else Y[:8]
            means.add(model(X[:8]), y, 8, 1.0)
        assert len(means.kept) == kept
        assert ("kept" in means.state_dict()) == bool(kept)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_predictions_of_each_step_are_kept_as_they_were(compiled: bool) -> None:
    arguments = setting()
    arguments["train"] = DataLoader(X[:48], Y[:48], batch_size=8)
    seen: list[Array] = []

    def noted(z: Array, y: Array) -> float:
        seen.append(z.copy())
        return 0.0

    metrics = {"noted": noted, "f1": f1}
    history = fit(**arguments, epochs=2, metrics=metrics, compiled=compiled)
    for epoch in (0, 1):
        z = np.concatenate(seen[6 * epoch : 6 * epoch + 6])
        assert history["f1"][epoch] == f1(z, Y[:48])


@pytest.mark.parametrize("step", [1, 3, 7, 9])
def test_a_run_stopped_within_an_epoch_goes_on_to_the_same_numbers(
    step: int, tmp_path: pathlib.Path
) -> None:
    def arguments() -> dict[str, Any]:
        minidl.seed(3)
        own = setting()
        own["train"] = DataLoader(X, Y, batch_size=8, shuffle=True)
        return own | {"validation": DataLoader(X, Y, batch_size=9), "metrics": ALL[:-1]}

    whole = fit(**arguments(), epochs=3)
    path = tmp_path / "run.npz"
    stopped = arguments()
    stopped["loss"] = at_call(step, press_ctrl_c)
    first = fit(**stopped, epochs=3, checkpoint=path, on_interrupt="return")
    assert first.interrupted
    assert fit(**arguments(), epochs=3, checkpoint=path) == whole


def test_a_run_whose_validation_failed_goes_on_to_the_same_numbers(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "run.npz"
    whole = fit(**setting(), validation=(X, Y), epochs=2, metrics="f1")
    failing = setting()
    failing["loss"] = at_call(8, raising(ZeroDivisionError()))  # after seven steps
    with pytest.raises(ZeroDivisionError):
        fit(**failing, validation=(X, Y), epochs=2, metrics="f1", checkpoint=path)
    again = fit(**setting(), validation=(X, Y), epochs=2, metrics="f1", checkpoint=path)
    assert again == whole


def test_a_checkpoint_with_other_metrics_is_refused_as_such(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "run.npz"
    fit(**setting(), epochs=1, metrics="f1", checkpoint=path)
    with pytest.raises(ValueError, match=r"its metrics are \['f1'\], not \['accuracy'\]"):
        fit(**setting(), epochs=2, metrics="accuracy", checkpoint=path)


def test_what_is_no_metric_is_refused_before_the_first_step() -> None:
    def refused(error: type[Exception], message: str, metrics: Any) -> None:
        arguments = setting()
        with pytest.raises(error, match=message):
            fit(**arguments, metrics=metrics)
        assert arguments["optimizer"].steps == 0

    refused(ValueError, "'top5' is no metric's name, which are accuracy, precision", ["top5"])
    refused(TypeError, "confusion_matrix is no metric", {"confusion": confusion_matrix})
    refused(TypeError, "has no name: give it one in a dict", [lambda z, y: 0.0])
    refused(TypeError, "has no name: give it one in a dict", [nn.L1Loss()])
    refused(ValueError, r"two metrics are called 'f1'", ["f1", F1("micro")])
    refused(TypeError, "is neither", [F1])
    refused(TypeError, "is neither", [3])
    refused(TypeError, "is neither", 3)


def test_targets_that_are_no_classes_are_refused_with_the_first_batch() -> None:
    for metric in ("f1", "auc", "precision", "recall"):
        arguments = setting(model=nn.Linear(4, 3, rng=0))
        arguments |= {"loss": nn.MSELoss(), "train": (X, X[:, :3])}
        with pytest.raises(ValueError, match=f"{metric} compares predictions"):
            fit(**arguments, metrics=metric)
        assert arguments["optimizer"].steps == 1
    with pytest.raises(ValueError, match="there are 3 classes"):
        fit(**setting(), metrics=[F1("binary")])
    with pytest.raises(ValueError, match="r2 compares"):
        fit(**setting(), metrics="r2")


def test_predictions_that_are_no_single_array_cannot_be_kept() -> None:
    class Two(nn.Module):
        def forward(self, x: Array) -> Any:
            return Tensor(x), Tensor(x)

    def loss(z: Any, y: Array) -> Tensor:
        return F.mse_loss(z[0], y)

    with pytest.raises(TypeError, match=r"whole set \(r2\) take predictions that are one array"):
        evaluate(Two(), loss, (X, X), "r2")

    class Growing(DataLoader):
        def __iter__(self) -> Any:
            for i, (x, y) in enumerate(super().__iter__()):
                yield x[:, : i + 1], y[:, : i + 1]

    with pytest.raises(ValueError, match=r"batches gave \(8, 1\) and \(8, 2\)"):
        evaluate(nn.Flatten(), nn.MSELoss(), Growing(X, X, batch_size=8), "r2")
