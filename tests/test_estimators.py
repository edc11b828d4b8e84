"""The estimators: scikit-learn's own checks of them, and what they promise besides."""

import inspect
import pickle
import re

import numpy as np
import pytest
import with_sklearn  # noqa: F401  (before scikit-learn)
from programs import ROOT
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import DataConversionWarning
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import minidl
from minidl import nn, optim
from minidl.estimators import Classifier, Regressor, network
from minidl.rng import generator


@parametrize_with_checks([Classifier(random_state=0), Regressor(random_state=0)])
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


# --- Data and helpers -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flowers():
    """Iris, standardised, its classes by their names."""
    iris = load_iris()
    x = StandardScaler().fit_transform(iris.data)
    return x, iris.target_names[iris.target]


@pytest.fixture(scope="module")
def numbers():
    x, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(x)[:120], y[:120]


def small(**settings):
    return Classifier(**{"hidden": (8,), "epochs": 4, "random_state": 0} | settings)


def weights_of(estimator):
    return {name: p.data.tobytes() for name, p in estimator.model_.named_parameters()}


def globals_now():
    """The state of minidl's own generator and of NumPy's."""
    numpys = np.random.get_state()[1]  # noqa: NPY002  (which nobody may touch)
    return generator().bit_generator.state, numpys.tobytes()


def dropping(inputs, outputs):
    """A network that draws from minidl's own generator, as it is made and as it learns."""
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, outputs))


class Counting(nn.Module):
    """What cannot be compiled: Python counts the calls, and the network depends on it."""

    def __init__(self, inputs, outputs):
        self.linear, self.calls = nn.Linear(inputs, outputs), 0

    def forward(self, x):
        self.calls += 1
        return self.linear(x) * (1 + 0.01 * self.calls)


# --- Learning -------------------------------------------------------------------------------------


def test_labels_may_be_strings(flowers):
    x, y = flowers
    model = Classifier(random_state=0).fit(x, y)
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert set(model.predict(x)) == set(model.classes_)
    assert model.score(x, y) > 0.95
    p = model.predict_proba(x)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(x)), p)
    assert model.classes_[p.argmax(axis=1)].tolist() == model.predict(x).tolist()


def test_it_predicts_in_float64_however_large_outputs_are(flowers):
    x, y = flowers
    model = small(batch_norm=True).fit(x, y)
    first, norm, _, last = model.model_
    w, b, v, c = (p.data.astype(np.float64) for m in (first, last) for p in m.parameters())
    mean, var = norm.running_mean.astype(np.float64), norm.running_var.astype(np.float64)
    z = (x.astype(np.float32) @ w.T + b - mean) / np.sqrt(var + norm.eps)
    z = np.maximum(z * norm.weight.data + norm.bias.data, 0) @ v.T + c
    expected = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(model.predict_log_proba(x), expected, rtol=1e-11)
    far = model.predict_log_proba(1e6 * x)
    assert far.min() < -1000
    np.testing.assert_allclose(np.exp(far).sum(axis=1), 1, rtol=1e-12)


def test_nothing_is_kept_or_said_that_was_not_asked_for(flowers, capsys):
    model = small().fit(*flowers)
    assert all(p.grad is None for p in model.model_.parameters())
    assert capsys.readouterr().err == ""
    small(verbose=True).fit(*flowers)
    assert "epoch 4/4" in capsys.readouterr().err


def test_the_unit_of_the_targets_does_not_matter(numbers):
    x, y = numbers
    model = Regressor(epochs=20, random_state=0).fit(x, y)
    other = Regressor(epochs=20, random_state=0).fit(x, 1e6 * y + 1e9)
    np.testing.assert_allclose(other.predict(x), 1e6 * model.predict(x) + 1e9, rtol=1e-5)
    assert (model.mean_, model.scale_) == (pytest.approx(y.mean()), pytest.approx(y.std()))
    same = Regressor(epochs=2, random_state=0).fit(x, np.full(len(x), 0.1))
    assert (same.mean_, same.scale_) == (0.1, 1.0)
    assert Regressor(epochs=1).fit(x, 1e200 * y).scale_ == pytest.approx(1e200 * y.std())


def test_several_numbers_are_learned_at_once(numbers):
    x, y = numbers
    both = np.column_stack([y, -1000 * y])
    model = Regressor(random_state=0).fit(x, both)
    assert model.predict(x).shape == (120, 2)
    assert model.score(x, both) > 0.5
    with pytest.raises(ValueError, match=r"the first call had shape \(N, \(2,\)\), got \(120,\)"):
        model.partial_fit(x, y)
    with pytest.warns(DataConversionWarning, match="a 1d array was expected"):
        model = Regressor(epochs=1).fit(x, y[:, None])
    assert model.predict(x).shape == (120,)


def test_settings_arrive_in_the_network_and_in_its_rule(flowers):
    x, y = flowers
    model = small(hidden=(6, 5), batch_norm=True, dropout=0.25, lr=0.5, rule="momentum",
                  weight_decay=0.125).fit(x, y)  # fmt: skip
    layers = [repr(layer).partition("(")[0] for layer in model.model_]
    assert layers == [*["Linear", "BatchNorm", "ReLU", "Dropout"] * 2, "Linear"]
    assert [p.shape for p in model.model_.parameters()][::4] == [(6, 4), (5, 6), (3, 5)]
    assert model.model_[3].p == 0.25
    rule = model.optimizer_
    assert (type(rule), rule.lr, rule.weight_decay) == (optim.Momentum, 0.5, 0.125)
    assert small(hidden=7).fit(x, y).model_[0].weight.shape == (7, 4)
    assert len(list(small(hidden=()).fit(x, y).model_)) == 1


def test_all_layers_begin_with_glorots_weights(flowers):
    for layer in small(hidden=(40, 30), rule="sgd", lr=1e-9, epochs=1).fit(*flowers).model_[::2]:
        w = layer.weight.data
        assert 0.9 < np.abs(w).max() / np.sqrt(6 / sum(w.shape)) < 1.001


def test_a_rule_that_cannot_be_compiled_learns_too(flowers):
    class Counting(optim.Optimizer):
        calls = 0

        def update(self, x, dx, *, lr):
            self.calls += 1
            x -= lr * dx / self.calls

    model = small(rule=Counting, lr=0.1).fit(*flowers)
    assert model.n_iter_ == 4


@pytest.mark.parametrize(
    ("rule", "lr"),
    [("sgd", 0.1), ("momentum", 0.01), ("adagrad", 0.01), ("rmsprop", 0.001), ("adam", 0.001),
     (optim.AdamW, 0.001)],
)  # fmt: skip
def test_each_rule_has_a_rate_and_learns(flowers, rule, lr):
    model = Classifier(rule=rule, random_state=0).fit(*flowers)
    assert model.optimizer_.lr == lr
    assert model.score(*flowers) > 0.85


def test_a_schedule_spans_the_fit(flowers):
    model = Classifier(lr=optim.schedules.cosine(0.03), epochs=40, random_state=0).fit(*flowers)
    assert model.score(*flowers) > 0.9
    found = weights_of(model)
    assert weights_of(model.fit(*flowers)) == weights_of(clone(model).fit(*flowers)) == found


def test_it_stops_when_the_loss_falls_no_more(flowers):
    x, y = flowers
    model = small(epochs=2000, lr=0.1, patience=3, tol=1e-2).fit(x, y)
    curve = model.loss_curve_
    assert model.n_iter_ == len(curve) < 300
    assert min(curve[:-3]) - min(curve[-3:]) <= 1e-2
    assert small(epochs=30, tol=1.0, patience=None).fit(x, y).n_iter_ == 30
    for early_stopping in (False, True):
        stopped = small(epochs=30, tol=100.0, patience=2, early_stopping=early_stopping)
        assert stopped.fit(x, y).n_iter_ == 3


def test_early_stopping_keeps_the_weights_that_were_best_for_samples_held_out(flowers, monkeypatch):
    x, y = flowers
    held_out = []

    def noted(*args, **options):
        held_out.append(args[4])
        return minidl.fit(*args, **options)

    monkeypatch.setattr(network, "fit", noted)
    model = small(early_stopping=True, validation_fraction=0.2, epochs=200, lr=0.1).fit(x, y)
    (x_held, y_held), *_ = held_out
    assert np.bincount(y_held).tolist() == [10, 10, 10]
    curve = model.validation_loss_curve_
    assert len(curve) == model.n_iter_ == int(np.argmin(curve)) + 11
    loss = minidl.evaluate(model.model_, nn.CrossEntropyLoss(), (x_held, y_held))["loss"]
    assert loss == pytest.approx(min(curve), rel=1e-6)


def test_targets_held_out_are_in_the_scale_of_the_others(numbers, monkeypatch):
    x, y = numbers
    scaled = []

    def noted(*args, **options):
        scaled.extend([args[3].arrays[1], args[4][1]])
        return minidl.fit(*args, **options)

    monkeypatch.setattr(network, "fit", noted)
    model = Regressor(early_stopping=True, epochs=1, random_state=0).fit(x, y)
    found = np.concatenate(scaled) * model.scale_ + model.mean_
    np.testing.assert_allclose(np.sort(found[:, 0]), np.sort(y), rtol=1e-5)
    assert abs(scaled[0].mean()) < 1e-6


def test_batches_leave_no_single_sample(flowers):
    x, y = flowers
    model = small(batch_norm=True, batch_size=149, epochs=2).fit(x, y)
    assert model.optimizer_.steps == 2


# --- The compiled step ----------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch):
    """What fit is told about compiling, call by call."""
    told = []

    def noted(*args, **options):
        told.append(options["compiled"])
        return minidl.fit(*args, **options)

    monkeypatch.setattr(network, "fit", noted)
    return told


def test_steps_are_compiled_unless_samples_have_weights(flowers, calls):
    x, y = flowers
    small().fit(x, y)
    small().fit(x, y, np.tile([1, 2, 0], 50))  # copies
    small().fit(x, y, np.tile([1, 2.5, 0], 50))
    small(epochs=1).fit(x, y, np.full(150, 8))
    small(epochs=1).fit(x, y, np.r_[9, np.full(149, 8)])
    assert calls == [True, True, False, True, False]


def test_what_cannot_be_compiled_is_trained_from_its_beginning_as_it_stands(flowers, calls):
    x, y = flowers
    model = small(module=Counting, epochs=3, batch_size=20).fit(x, y)
    assert calls == [True, False]
    assert model.optimizer_.steps == 3 * 8
    assert model.model_.calls == 3 * 8 + 0 * model.n_iter_
    assert weights_of(clone(model).fit(x, y)) == weights_of(model)


# --- Random numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"dropout": 0.5}, {"module": dropping}])
def test_a_seed_repeats_a_fit_to_the_bit_and_nobody_elses_numbers_are_drawn(flowers, settings):
    x, y = flowers
    before = globals_now()
    model = small(**settings).fit(x, y)
    again, other = small(**settings).fit(x, y), small(**settings, random_state=1).fit(x, y)
    assert weights_of(model) == weights_of(again) != weights_of(other)
    assert weights_of(model.fit(x, y)) == weights_of(again)
    assert before == globals_now()


def test_random_state_may_be_what_scikit_learn_takes_or_a_generator(flowers):
    x, y = flowers
    for make in (np.random.RandomState, np.random.default_rng):
        a, b = (small(random_state=make(3)).fit(x, y) for _ in range(2))
        assert weights_of(a) == weights_of(b) != weights_of(a.fit(x, y))  # which draws on
    a, b = (small(random_state=None).fit(x, y) for _ in range(2))
    assert weights_of(a) != weights_of(b)
    with pytest.raises(TypeError, match="a seed"):
        small(random_state="0").fit(x, y)


def test_the_order_of_the_samples_does_not_matter(flowers, numbers):
    rng = np.random.default_rng(0)
    for estimator, (x, y) in ((small(), flowers), (Regressor(epochs=3, random_state=0), numbers)):
        order, weights = rng.permutation(len(x)), rng.random(len(x))
        for w, same in ((None, None), (weights, weights[order])):
            found = weights_of(clone(estimator).fit(x, y, w))
            assert found == weights_of(clone(estimator).fit(x[order], y[order], same))


@pytest.mark.parametrize("settings", [{"dropout": 0.5}, {"module": dropping}])
def test_threads_do_not_disturb_each_other(flowers, settings):
    joblib = pytest.importorskip("joblib")
    x, y = flowers
    with joblib.parallel_config("threading", n_jobs=3):
        found = cross_val_score(small(**settings), x, y, cv=6)
    assert found.tolist() == cross_val_score(small(**settings), x, y, cv=6).tolist()


# --- Weights --------------------------------------------------------------------------------------


def test_whole_weights_are_copies_to_the_bit(flowers, numbers):
    for estimator, (x, y) in ((small(), flowers), (Regressor(epochs=3, random_state=0), numbers)):
        w = np.random.default_rng(0).integers(0, 4, len(x))
        weighted = clone(estimator).fit(x, y, w)
        repeated = clone(estimator).fit(np.repeat(x, w, axis=0), np.repeat(y, w))
        assert weights_of(weighted) == weights_of(repeated)


def test_only_what_weights_are_to_each_other_counts(flowers):
    x, y = flowers
    w = np.random.default_rng(0).random(len(x))
    model, large = small().fit(x, y, w), small().fit(x, y, 1024 * w)
    assert weights_of(model) == weights_of(large) != weights_of(small().fit(x, y))
    assert weights_of(small().fit(x, y, 1e-300 * w)).keys() == weights_of(model).keys()
    only = Classifier(random_state=0).fit(x, y, np.where(y == "virginica", 0.5, 1e-6))
    assert (only.predict(x) == "virginica").mean() > 0.6


def test_weights_count_in_the_samples_held_out_and_in_the_scale_of_targets(numbers):
    x, y = numbers
    w = np.where(y > np.median(y), 0.25, 0.0)
    model = Regressor(early_stopping=True, epochs=3, random_state=0).fit(x, y, w)
    assert model.mean_ > np.median(y)
    again = Regressor(early_stopping=True, epochs=3, random_state=0).fit(x[w > 0], y[w > 0])
    assert model.mean_ == pytest.approx(again.mean_)
    model.partial_fit(x, y, w)
    assert model.n_iter_ == 4
    w = np.random.default_rng(0).random(len(x))
    model = Regressor(epochs=1, random_state=0).fit(x, y, w)
    mean = np.average(y, weights=w)
    scale = np.sqrt(np.average((y - mean) ** 2, weights=w))
    assert (model.mean_, model.scale_) == (pytest.approx(mean), pytest.approx(scale))


# --- Going on -------------------------------------------------------------------------------------


def test_partial_fit_goes_on(flowers):
    x, y = flowers
    model = small(lr=0.01)
    for k in range(3):
        assert model.partial_fit(x[k::3], y[k::3], classes=np.unique(y)) is model
    assert model.optimizer_.steps == model.n_iter_ == len(model.loss_curve_) == 3
    for _ in range(150):
        model.partial_fit(x, y)
    assert model.score(x, y) > 0.8
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    model.fit(x, y)  # begins anew
    assert model.n_iter_ == 4


def test_partial_fit_of_a_regressor_keeps_the_scale_of_the_first_call(numbers):
    x, y = numbers
    model = Regressor(random_state=0).partial_fit(x, y)
    scale = model.scale_
    assert model.partial_fit(x, 2 * y).scale_ is scale


def test_a_pickle_predicts_and_goes_on_as_the_original(flowers):
    x, y = flowers
    model = small(dropout=0.5, batch_norm=True).fit(x, y)
    copy = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copy.predict_proba(x), model.predict_proba(x))
    assert weights_of(copy.partial_fit(x, y)) == weights_of(model.partial_fit(x, y))


def test_predicting_changes_nothing(flowers):
    x, y = flowers
    model = small(dropout=0.5, batch_norm=True).fit(x, y)
    before = pickle.dumps(model)
    first, last = model.predict_proba(x), model.predict_proba(x[-1:])
    assert pickle.dumps(model) == before
    np.testing.assert_allclose(last, first[-1:], rtol=1e-12)


# --- In scikit-learn ------------------------------------------------------------------------------


def test_it_works_in_a_pipeline_of_columns_with_names():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    table = pandas.DataFrame({"size": rng.normal(50, 10, 200), "color": ["red", "blue"] * 100})
    y = np.where((table["size"] > 50) == (table["color"] == "red"), "yes", "no")
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["size"]),
            ("words", OneHotEncoder(sparse_output=False), ["color"]),
        ]
    ).set_output(transform="pandas")
    model = make_pipeline(columns, Classifier(random_state=0)).fit(table, y)
    assert model.score(table, y) > 0.95
    names = ["numbers__size", "words__color_blue", "words__color_red"]
    assert model[-1].feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="feature names should match"):
        model[-1].predict(columns.transform(table)[names[::-1]])


def test_a_search_finds_the_same_settings_each_time(flowers):
    x, y = flowers
    grid = {"network__hidden": [(2,), (16,)], "network__lr": [1e-5, 0.03]}
    pipe = make_pipeline(StandardScaler(), small(epochs=10)).set_params()
    pipe.steps[-1] = ("network", pipe.steps[-1][1])
    found = [GridSearchCV(pipe, grid, cv=3).fit(x, y) for _ in range(2)]
    assert found[0].best_params_ == {"network__hidden": (16,), "network__lr": 0.03}
    scores = [search.cv_results_["mean_test_score"].tolist() for search in found]
    assert scores[0] == scores[1]


def test_its_probabilities_can_be_calibrated_and_it_can_be_bagged(flowers):
    x, y = flowers
    model = CalibratedClassifierCV(Classifier(epochs=50, random_state=0), cv=2).fit(x, y)
    assert model.score(x, y) > 0.85
    model = BaggingClassifier(Classifier(lr=0.01), n_estimators=2, random_state=0).fit(x, y)
    assert model.score(x, y) > 0.85


def test_weights_are_routed_to_it(flowers):
    x, y = flowers
    w = np.where(y == "setosa", 1.0, 0.0)  # of the others nothing is learned
    with config_context(enable_metadata_routing=True):
        model = Classifier(epochs=50, random_state=0).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        scores = cross_validate(model, x, y, params={"sample_weight": w}, cv=3)["test_score"]
    assert scores.tolist() == [1, 1, 1]


# --- What is refused ------------------------------------------------------------------------------

WIDTHS = "Classifier: each of hidden is a whole number, got"
FUNCTION = "Classifier: module is a function of the numbers of inputs and outputs that returns a"
BAD = {
    "epochs": (0, "Classifier: epochs is a whole number of at least 1, got 0"),
    "batch_size": (0, "Classifier: batch_size is a whole number of at least 1, got 0"),
    "hidden": ((8, 0), "Classifier: each of hidden is a whole number of at least 1, got 0"),
    "patience": (0, "Classifier: patience, unless None, is a whole number of at least 1"),
    "tol": (-1, "Classifier: tol is a finite number, at least 0"),
    "dropout": (1.5, "Dropout: p, a probability, is a finite number"),
    "rule": (
        "lion",
        "Classifier: rule, if no class, is 'sgd', 'momentum', 'adagrad', 'rmsprop' or",
    ),
    "lr": (-1, "lr"),
    "module": (
        lambda inputs, outputs: 3,
        "Classifier: module is a function of the numbers of inputs",
    ),
}


MORE_BAD = [
    ({"hidden": "64"}, f"{WIDTHS} '64' (str)"),
    ({"hidden": 64.5}, f"{WIDTHS} 64.5 (float)"),
    ({"hidden": {64: 1}}, f"{WIDTHS} {{64: 1}} (dict)"),
    ({"hidden": None}, f"{WIDTHS} None (NoneType)"),
    ({"batch_norm": "no"}, "Classifier: batch_norm is False or True, not 'no'"),
    ({"early_stopping": "no"}, "Classifier: early_stopping is False or True, not 'no'"),
    ({"early_stopping": True, "validation_fraction": 0.001},
     "Classifier: early_stopping holds out a validation_fraction of 0.001: test_size=0.001 of 150"),
    ({"rule": 3}, "Classifier: rule is the name of one, or a class as optim.AdamW is, got 3"),
    ({"rule": dict}, "Classifier: rule is the name of one, or a class"),
    ({"rule": optim.Momentum}, "Classifier: Momentum has no learning rate of its own: give lr"),
    ({"module": 3}, f"{FUNCTION} Module, got 3"),
    ({"module": nn.ReLU()}, f"{FUNCTION} Module, got ReLU()"),
    ({"module": lambda inputs, outputs: nn.Linear(inputs, outputs + 1)},
     "Classifier: module(4, 3) gives for 2 samples an array of shape (2, 4), expected (2, 3)"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), MORE_BAD)
def test_settings_of_another_kind_are_refused_by_name(flowers, settings, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        small(**settings).fit(*flowers)


@pytest.mark.parametrize("hidden", [8, np.int64(8), [8], (8,), np.array([8])])
def test_the_widths_may_come_in_any_sequence_or_be_one_number(flowers, hidden):
    assert weights_of(small(hidden=hidden).fit(*flowers)) == weights_of(small().fit(*flowers))


@pytest.mark.parametrize("name", BAD)
def test_settings_that_make_no_sense_are_refused_by_fit(flowers, name):
    value, message = BAD[name]
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        small(**{name: value}).fit(*flowers)


def test_data_that_make_no_sense_are_refused(flowers):
    sparse = pytest.importorskip("scipy.sparse")
    x, y = flowers
    held_out = {"early_stopping": True, "validation_fraction": 1}
    three, ones = r"sample_weight has shape \(3,\), expected \(150,\)", np.ones(150)
    for bad, message in [
        (lambda: small().fit(sparse.csr_array(x), y), r"Sparse data was passed.*dense data"),
        (lambda: small().fit(x, np.full(len(x), "one")), "here is one class only, one"),
        (lambda: small().fit(x, y, np.ones(3)), three),
        (lambda: small().fit(x, y, -ones), "0 or more and not all 0, got one of -1"),
        (lambda: small().fit(x, y, 0 * ones), "0 or more and not all 0, got zeros only"),
        (lambda: small().fit(1e39 * x, y), "too large for dtype"),
        (lambda: small(epochs=1).fit(x, y).predict(1e39 * x), "too large for dtype"),
        (lambda: small().partial_fit(x, y, classes=["setosa", "rose"]), "y has .*versicolor"),
        (lambda: small().partial_fit(x, y).partial_fit(x, y, ["a", "b"]), "of the first call"),
        (lambda: small(**held_out).fit(x, y), "validation_fraction"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            bad()


# --- The interface and its page -------------------------------------------------------------------

SETTINGS = (
    "hidden=(128,), batch_norm=False, dropout=0.0, rule='adam', lr=None, weight_decay=0.0, "
    "epochs=200, batch_size=200, patience=10, tol=0.0001, early_stopping=False, "
    "validation_fraction=0.1, module=None, random_state=None, verbose=False"
)


def test_the_interface_is_this():
    common = "X, y, sample_weight"
    for estimator, partial in ((Classifier, "X, y, classes, sample_weight"), (Regressor, common)):
        found = inspect.signature(estimator).parameters.values()
        assert ", ".join(f"{p.name}={p.default!r}" for p in found) == SETTINGS
        methods = {"fit": common, "partial_fit": partial, "predict": "X"}
        if estimator is Classifier:
            methods |= {"predict_proba": "X", "predict_log_proba": "X"}
        for method, names in methods.items():
            function = getattr(estimator, method)
            assert ", ".join(inspect.signature(function).parameters) == f"self, {names}"
            assert function.__doc__
        assert estimator.__doc__


def test_the_blocks_of_the_page_run():
    page = (ROOT / "docs" / "beyond.md").read_text(encoding="utf-8")
    found = re.findall(r"^```py\n(.*?)^```\n\n```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    found = [(code, printed) for code, printed in found if "minidl.estimators" in code]
    assert found
    for code, printed in found:
        lines = []
        exec(code, {"print": lambda *words, lines=lines: lines.append(" ".join(map(str, words)))})
        assert lines == printed.splitlines()
