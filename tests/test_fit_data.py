"""What data fit, evaluate and predict take: weights of samples, several inputs."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from runs import X, Y, bits, classifier
from weighing import CLASS_WEIGHTS, LOSSES, quiet, sgd, weights_of, wide

import minidl
from minidl import functional as F
from minidl import nn
from minidl.data import DataLoader, MultiInputLoader
from minidl.nn import Module
from minidl.tensor import Array, Tensor
from minidl.training import evaluate, fit, predict

pytestmark = pytest.mark.usefixtures("seeded")


# --- Weights of samples ---------------------------------------------------------------------------

W = np.random.default_rng(3).integers(0, 4, 50)  # as many times as a sample is repeated
NUMBERS = np.random.default_rng(4).normal(size=(50, 3))
SHARES = (NUMBERS > 0).astype(np.float64)
WEIGHTED: dict[str, tuple[Any, Array]] = {
    **{name: pair for name, pair in LOSSES.items() if not name.startswith("hardly")},
    "class numbers beside": (nn.CrossEntropyLoss(ignore_index=1, weight=CLASS_WEIGHTS), Y),
    "squares": (nn.MSELoss(), NUMBERS),
    "sum of squares": (nn.MSELoss("sum"), NUMBERS),
    "absolute": (F.l1_loss, NUMBERS),
    "huber": (nn.HuberLoss(delta=0.3), NUMBERS),
    "binary": (nn.BCEWithLogitsLoss(pos_weight=CLASS_WEIGHTS), SHARES),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_sample_of_weight_3_counts_as_three_samples(name: str) -> None:
    """Weights that are whole numbers are the same as repeated samples, in all that depends on them:
    the update, the mean over an epoch, the validation, evaluate."""
    loss, targets = WEIGHTED[name]
    repeated = np.repeat(np.arange(50), W)
    x = X.astype(np.float64)
    results = []
    for data in ((x, targets, W), (x[repeated], targets[repeated])):
        model = wide()
        optimizer = sgd(model, 0.01)
        # In one update for all, so that they are the same samples.
        loader = DataLoader(*data, batch_size=16, dtype=np.float64)
        history = fit(
            model, loss, optimizer, loader, data, epochs=2, accumulate=100, metrics={}, **quiet
        )
        final = evaluate(model, loss, DataLoader(*data, batch_size=9, dtype=np.float64), {})
        results.append([weights_of(model), *history.values(), [*final.values()]])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


def test_weights_of_any_size_give_the_weighted_mean() -> None:
    rng = np.random.default_rng(5)
    w = rng.uniform(size=50)
    model = wide()
    z = model(X.astype(np.float64)).data
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    losses = -log_p[np.arange(50), Y] * CLASS_WEIGHTS[Y]
    expected = (w * losses).sum() / (w * CLASS_WEIGHTS[Y]).sum()
    loss = nn.CrossEntropyLoss(CLASS_WEIGHTS)
    for size in (50, 7):
        loader = DataLoader(X, Y, w, batch_size=size, dtype=np.float64)
        result = evaluate(model, loss, loader)
        assert result["loss"] == pytest.approx(expected, rel=1e-12)
        assert result["accuracy"] == np.mean(z.argmax(1) == Y)  # not weighted


def test_weights_of_samples_weigh_all_their_places() -> None:
    """Of an image with a class for each pixel, of which some are ignored."""
    rng = np.random.default_rng(7)
    z, y = rng.normal(size=(6, 3, 4, 5)), rng.integers(-1, 3, (6, 4, 5))
    w, loss = np.array([1, 0, 3, 2, 1, 1]), nn.CrossEntropyLoss(CLASS_WEIGHTS, ignore_index=-1)
    i = np.repeat(np.arange(6), w)
    model = nn.Sequential()  # the predictions are the data
    results = [
        evaluate(model, loss, DataLoader(*arrays, batch_size=2, dtype=np.float64))["loss"]
        for arrays in ((z, y, w), (z[i], y[i]))
    ]
    assert results[0] == pytest.approx(results[1], rel=1e-12)


def test_a_sample_of_weight_0_does_nothing_even_where_its_loss_overflows() -> None:
    model, w = nn.Linear(4, 1, rng=0), np.ones(50)
    x, y = X.copy(), X[:, :1].copy()
    x[7], w[7] = 1e30, 0
    fit(model, nn.MSELoss(), sgd(model, 0.1), (x, y, w), epochs=20, batch_size=25, **quiet)
    assert evaluate(model, nn.MSELoss(), (x, y, w))["loss"] < 0.2


def test_a_batch_of_zero_weights_is_no_step() -> None:
    w = np.repeat([1.0, 0.0, 1.0], [8, 8, 34])
    for loss in (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(reduction="sum")):
        optimizer = sgd(model := classifier())
        fit(model, loss, optimizer, DataLoader(X, Y, w, batch_size=8), epochs=1, **quiet)
        assert optimizer.steps == 6


def test_float16_weights_do_not_overflow_the_sum() -> None:
    class Constant(Module):
        def forward(self, x: Array) -> Tensor:
            return Tensor(np.full((len(x), 1), 200, np.float16))

    y = np.zeros((4, 1), np.float16)
    loader = DataLoader(y, y, np.ones(4), dtype=np.float16)
    for reduction, loss in (("mean", 40000), ("sum", 160000)):
        assert evaluate(Constant(), nn.MSELoss(reduction), loader, {})["loss"] == loss


def test_a_loss_of_ones_own_is_refused_unless_it_gives_the_loss_of_each_sample() -> None:
    class Half(nn.MSELoss):
        def forward(self, input: Any, target: Any) -> Tensor:
            return super().forward(input, target) / 2

    def own(z: Tensor, y: Array) -> Tensor:
        return np.mean((z - y) ** 2)

    @functools.wraps(F.mse_loss)
    def doubled(z: Tensor, y: Array) -> Tensor:
        return 2 * F.mse_loss(z, y)

    data = X, NUMBERS, np.ones(50)
    with pytest.raises(ValueError, match="give it reduction='mean' or 'sum'"):
        evaluate(classifier(), nn.MSELoss("none"), data)
    for loss, name in ((own, "own"), (Half(), "Half"), (doubled, "mse_loss")):
        model = classifier()
        with pytest.raises(ValueError, match=f"fit: train: .*{name} gives that of the batch: take"):
            fit(model, loss, sgd(model), data)
        with pytest.raises(ValueError, match=f"fit: validation: .*{name}"):
            fit(model, loss, sgd(model), data[:2], data)
        with pytest.raises(ValueError, match=f"evaluate: .*{name} gives"):
            evaluate(model, loss, data)

    class Each(Module):
        def forward(self, z: Any, y: Array) -> Tensor:
            return np.sum(self.each(z, y)) / self.divisor(z, y)

        def each(self, z: Any, y: Array) -> Any:
            return np.sum((z - y) ** 2, axis=1) * (y[:, 0] > 0)

        def divisors(self, z: Any, y: Array) -> Array:
            return y[:, 0] > 0

        def divisor(self, z: Any, y: Array) -> float:
            return float(self.divisors(z, y).sum())

    w = np.random.default_rng(6).uniform(size=50)
    model = wide()
    z = model(X.astype(np.float64)).data
    known = NUMBERS[:, 0] > 0
    expected = (w * known * ((z - NUMBERS) ** 2).sum(1)).sum() / (w * known).sum()
    assert evaluate(model, Each(), (X, NUMBERS, w), {})["loss"] == pytest.approx(expected, rel=1e-7)
    large = 2.0**24 + 1  # which float32 cannot hold
    Each.divisors = lambda self, z, y: known * large  # type: ignore[method-assign]
    found = evaluate(model, Each(), (X, NUMBERS, w), {})["loss"]
    assert found * large == pytest.approx(expected, rel=1e-12)
    Each.each = lambda self, z, y: (z - y) ** 2  # type: ignore[method-assign]
    with pytest.raises(
        ValueError, match=r"Each\.each returned something of shape \(50, 3\) for 50"
    ):
        evaluate(model, Each(), (X, NUMBERS, w), {})
    with pytest.raises(TypeError, match="must be integers"):
        evaluate(model, nn.CrossEntropyLoss(CLASS_WEIGHTS), (X, Y.astype(float), w), {})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.r_[-1.0, np.ones(49)], r"the weight of sample 0 is -1\.0"),
        (np.r_[np.ones(49), np.nan], "row 49"),
        (np.ones(49), "y has 50 samples, and there are 49 weights"),
        (list(np.ones(49)), "array 2 has 49"),
        (np.zeros(50), "all 50 weights are 0"),
        (np.ones((50, 1)), r"weights have shape \(50, 1\), expected \(50,\)"),
    ],
)
def test_wrong_weights_are_refused(weights: Array, message: str) -> None:
    model = classifier()
    for call in (
        lambda: fit(model, F.cross_entropy, sgd(model), (X, Y, weights)),
        lambda: fit(model, F.cross_entropy, sgd(model), (X, Y), (X, Y, weights)),
        lambda: evaluate(model, F.cross_entropy, (X, Y, weights)),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    unchecked = DataLoader(X, Y, np.full(50, np.nan), check_finite=False)
    with pytest.raises(ValueError, match="the weight of sample 0 is nan"):
        evaluate(model, F.cross_entropy, unchecked)


@pytest.mark.parametrize(
    ("weigh", "loss", "message"),
    [
        (lambda y: -np.ones(len(y)), F.cross_entropy, "the batch: the weight of sample 0 is -1"),
        (lambda y: np.ones((len(y), 1)), F.cross_entropy, "the batch: weights have shape"),
        (lambda y: np.ones(7), F.cross_entropy, "the batch has 7 weights for 8 samples"),
        (lambda y: np.ones(len(y)), lambda z, y: F.cross_entropy(z, y), "weights: samples with"),
    ],
)
def test_weights_that_a_loader_makes_for_its_batches_are_looked_at_too(
    weigh: Any, loss: Any, message: str
) -> None:
    class Weighing(DataLoader):
        def __iter__(self) -> Any:
            return ((x, y, weigh(y)) for x, y in super().__iter__())

    model, loader = classifier(), Weighing(X[:48], Y[:48], batch_size=8)
    for call in (
        lambda: fit(model, loss, sgd(model), loader, **quiet),
        lambda: evaluate(model, loss, loader),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_weights_are_not_compiled() -> None:
    model = classifier()
    with pytest.raises(ValueError, match="compiled=True is not for weights of samples"):
        fit(model, F.cross_entropy, sgd(model), (X, Y, np.ones(50)), compiled=True)


# --- Several inputs -------------------------------------------------------------------------------


class Two(Module):
    def __init__(self) -> None:
        self.left, self.right = nn.Linear(4, 3, rng=1), nn.Linear(2, 3, rng=2)

    def forward(self, a: Array, b: Array) -> Tensor:
        return self.left(a) + self.right(b)


B = np.random.default_rng(8).normal(size=(50, 2)).astype(np.float32)


def test_several_inputs_train_as_by_hand() -> None:
    models = [Two() for _ in range(4)]
    order: Any
    for model, data in zip(
        models,
        [((X, B), Y), ({"b": B, "a": X}, Y), MultiInputLoader((X, B), Y, batch_size=10)],
        strict=False,
    ):
        options = {} if isinstance(data, DataLoader) else {"batch_size": 50}
        epochs = 1 if isinstance(data, DataLoader) else 5
        fit(model, F.cross_entropy, sgd(model), data, epochs=epochs, **options, **quiet)
    optimizer = sgd(models[3])
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(models[3](X, B), Y).backward()
        optimizer.step()
    for model in models[:2]:
        np.testing.assert_allclose(weights_of(model), weights_of(models[3]), rtol=2e-5, atol=1e-6)
    by_batch = Two()
    optimizer = sgd(by_batch)
    for order in range(0, 50, 10):
        optimizer.zero_grad()
        part = slice(order, order + 10)
        F.cross_entropy(by_batch(X[part], B[part]), Y[part]).backward()
        optimizer.step()
    assert bits(models[2].state_dict()) == bits(by_batch.state_dict())


def test_evaluate_and_predict_take_several_inputs() -> None:
    model = Two()
    z = model(X, B).data
    expected = F.cross_entropy(z, Y).item()
    for x in ((X, B), {"a": X, "b": B}):
        np.testing.assert_array_equal(predict(model, x, batch_size=50), z)
        np.testing.assert_allclose(predict(model, x, batch_size=7), z, rtol=1e-5, atol=1e-6)
        assert evaluate(model, F.cross_entropy, (x, Y))["loss"] == pytest.approx(expected)
        weighted = evaluate(model, F.cross_entropy, (x, Y, np.full(50, 2.0)))
        assert weighted["loss"] == pytest.approx(expected)
    fit(model, F.cross_entropy, sgd(model), ((X, B), Y), ({"a": X[:9], "b": B[:9]}, Y[:9]), **quiet)


@pytest.mark.parametrize("form", [tuple, lambda x: dict(zip("ab", x, strict=True))])
def test_several_inputs_of_other_lengths_are_tried_before_the_first_step(form: Any) -> None:
    class Pooled(Two):
        def forward(self, a: Array, b: Array) -> Tensor:
            return super().forward(a, b.mean(axis=1))

    x = form((X, np.stack([B] * 3, axis=1)))  # (N, 3, 2)
    longer = form((X, np.stack([B] * 5, axis=1)))
    model = Pooled()
    history = fit(model, F.cross_entropy, sgd(model), (x, Y), (longer, Y), epochs=1, **quiet)
    assert len(history["validation_loss"]) == 1
    before = bits(model.state_dict())
    wrong = form((X[:, :3], np.stack([B] * 5, axis=1)))
    with pytest.raises(ValueError) as caught:
        fit(model, F.cross_entropy, sgd(model), (x, Y), (wrong, Y), epochs=1, **quiet)
    assert "(50, 3) and (50, 5, 2) and (50,) are not" in caught.value.__notes__[-1]
    assert bits(model.state_dict()) == before


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            (X, B, B),
            r"x is a tuple of 3, which are several inputs, and Two\.forward\(a: .*does not",
        ),
        ({"a": X, "c": B}, r"x is a dict of a, c.*does not take them"),
    ],
)
def test_inputs_that_the_model_does_not_take_are_refused_first(x: Any, message: str) -> None:
    model = Two()
    for call in (
        lambda: fit(model, F.cross_entropy, sgd(model), (x, Y)),
        lambda: evaluate(model, F.cross_entropy, (x, Y)),
        lambda: predict(model, x),
    ):
        with pytest.raises(TypeError, match=message):
            call()


def test_wrong_inputs_are_refused() -> None:
    model = Two()
    with pytest.raises(ValueError, match="array 0 has 50, array 1 has 49"):
        fit(model, F.cross_entropy, sgd(model), ((X, B[:49]), Y))
    with pytest.raises(ValueError, match=r"in place|in the place of x"):
        fit(model, F.cross_entropy, sgd(model), (X, B, Y, Y))
    with pytest.raises(ValueError, match="inputs is empty"):
        fit(model, F.cross_entropy, sgd(model), ((), Y))
    with pytest.raises(TypeError, match="names of inputs are strings, got 1"):
        MultiInputLoader({1: X}, Y)
    with pytest.raises(TypeError, match="got ndarray: for one array take DataLoader"):
        MultiInputLoader(X, Y)
    with pytest.raises(ValueError, match="compiled=True is not for several inputs"):
        fit(model, F.cross_entropy, sgd(model), ((X, B), Y), compiled=True)


def test_a_batch_of_several_inputs_that_is_spoiled_is_told_by_its_input() -> None:
    bad = B.copy()
    bad[4, 1] = np.inf
    loader = MultiInputLoader({"a": X, "b": bad}, Y, batch_size=25, check_finite=False)
    with pytest.raises(FloatingPointError, match=r"x\['b'\]\[4, 1\] is inf"):
        fit(model := Two(), F.cross_entropy, sgd(model), loader, **quiet)


def test_a_run_of_several_inputs_goes_on_where_it_was(tmp_path: Any) -> None:
    results = []
    for epochs in ((4,), (2, 4)):
        path = tmp_path / f"{len(epochs)}.npz"
        for n in epochs:
            minidl.seed(1)
            model = Two()
            fit(model, F.cross_entropy, sgd(model), ({"a": X, "b": B}, Y, W), epochs=n,
                checkpoint=path, **quiet)  # fmt: skip
        results.append(bits(model.state_dict()))
    assert results[0] == results[1]
    with pytest.raises(ValueError, match="its train data is"):
        fit(model, F.cross_entropy, sgd(model), ((X, B), Y, W), checkpoint=path, **quiet)
