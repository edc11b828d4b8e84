"""What the steps of fit can do: batches of a size, clipping, updates from several batches, weights
of samples, several inputs, schedules that span the run."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from runs import X, Y, bits, classifier, everything, press_ctrl_c, setting

import minidl
from minidl import functional as F
from minidl import nn, optim
from minidl.data import DataLoader, MultiInputLoader
from minidl.nn import Module
from minidl.optim import schedules
from minidl.tensor import Array, Tensor
from minidl.training import evaluate, fit, predict

pytestmark = pytest.mark.usefixtures("seeded")
quiet: dict[str, Any] = {"progress": False}


def wide(rng: int = 1) -> nn.Sequential:
    """A classifier in float64, without BatchNorm."""
    model = classifier(rng)
    for p in model.parameters():
        p.data = p.data.astype(np.float64)
    return model


def sgd(model: Module, lr: Any = 0.5) -> optim.Optimizer:
    return optim.SGD(model.parameters(), lr=lr)


def weights_of(model: Module) -> Array:
    return np.concatenate([p.data.ravel() for p in model.parameters()])


class Recorded(DataLoader):
    """Notes how large the batches are."""

    def __iter__(self) -> Any:
        self.sizes: list[int] = []
        for batch in super().__iter__():
            self.sizes.append(len(batch[0]))
            yield batch


# --- The size of batches --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "samples", "steps"), [(None, 33, 1), (None, 50, 2), (32, 33, 2), (10, 50, 5)]
)
def test_batch_size_is_of_arrays_and_taken_as_it_is_given(
    size: int | None, samples: int, steps: int
) -> None:
    optimizer = sgd(model := classifier())
    options: Any = {} if size is None else {"batch_size": size}
    fit(model, F.cross_entropy, optimizer, (X[:samples], Y[:samples]), epochs=1, **options, **quiet)
    assert optimizer.steps == steps


def test_a_batch_size_beside_a_loader_or_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train is a DataLoader.* of its own, 8: give 16 to the"):
        fit(**setting(), batch_size=16)
    for bad in (0, 2.0, True):
        with pytest.raises((TypeError, ValueError), match="fit: batch_size is a whole number"):
            fit(**setting() | {"train": (X, Y)}, batch_size=bad)  # type: ignore[arg-type]


# --- Clipping -------------------------------------------------------------------------------------


def test_clipping_is_that_of_the_loop_by_hand_and_bitwise_the_same_compiled() -> None:
    models = [everything() for _ in range(3)]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    norms = []
    for i, model in enumerate(models):
        arguments = setting("momentum", model)
        minidl.seed(3)
        model[5].rng = np.random.default_rng(5)
        if i < 2:
            fit(**arguments, epochs=4, clip_norm=0.7, compiled=i == 1)
            continue
        optimizer = arguments["optimizer"]
        for _ in range(4):
            for x, y in arguments["train"]:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                norms.append(optim.clip_grad_norm(model.parameters(), 0.7))
                optimizer.step()
    assert min(norms) < 0.7 < max(norms)  # some are clipped, some are not
    states = [bits(model.state_dict()) for model in models]
    assert states[0] == states[1] == states[2]


def test_a_norm_that_is_not_finite_undoes_the_step_and_says_where() -> None:
    class Steep(Module):
        """Its value is finite, and its gradient is not."""

        def __init__(self) -> None:
            self.scale = nn.Parameter(np.zeros(1))
            self.norm = nn.BatchNorm(1)

        def forward(self, x: Array) -> Tensor:
            return self.norm(x) * np.sqrt(self.scale)

    model = Steep()
    before = bits(model.state_dict())
    with pytest.raises(FloatingPointError, match="norm of the gradients is") as caught:
        fit(model, nn.MSELoss(), sgd(model), (X[:, :1], X[:, :1]), clip_norm=1.0, **quiet)
    assert "in step 1 of 2 in epoch 1" in caught.value.__notes__[-1]
    assert bits(model.state_dict()) == before


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, True, "1"])
def test_a_norm_to_clip_to_is_a_number_above_0(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="fit: clip_norm is a number, above 0, got"):
        fit(**setting(), clip_norm=bad)


# --- One update from several batches --------------------------------------------------------------

CLASS_WEIGHTS = np.array([0.5, 3.0, 1.0])
SOME_IGNORED = np.where(np.arange(50) % 7 < 3, -100, Y)
FEW_LEFT = np.where(np.arange(50) < 40, -100, Y)  # whole batches of which nothing counts
LOSSES: dict[str, tuple[Any, Array]] = {
    "mean": (nn.CrossEntropyLoss(), Y),
    "class weights": (nn.CrossEntropyLoss(CLASS_WEIGHTS), Y),
    "ignored": (nn.CrossEntropyLoss(CLASS_WEIGHTS), SOME_IGNORED),
    "hardly any": (nn.CrossEntropyLoss(), FEW_LEFT),
    "hardly any, the last ignored": (nn.CrossEntropyLoss(), FEW_LEFT[::-1].copy()),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), Y),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), Y),
    "a function": (F.cross_entropy, Y),
}


@pytest.mark.parametrize("clip_norm", [None, 0.05])
@pytest.mark.parametrize("name", LOSSES)
def test_an_update_from_several_batches_is_that_of_all_their_samples_in_one(
    name: str, clip_norm: float | None
) -> None:
    loss, targets = LOSSES[name]
    model, joined = wide(), wide()
    optimizer = sgd(model, 0.05)
    loader = DataLoader(X, targets, batch_size=8, dtype=np.float64)  # 6 batches and 2 samples
    history = fit(
        model, loss, optimizer, loader, epochs=2, accumulate=4, clip_norm=clip_norm, **quiet
    )

    by_hand = sgd(joined, 0.05)
    for _ in range(2):
        for part in (slice(0, 32), slice(32, 50)):
            if (targets[part] == -100).all():
                continue
            by_hand.zero_grad()
            loss(joined(X[part].astype(np.float64)), targets[part]).backward()
            if clip_norm is not None:
                optim.clip_grad_norm(joined.parameters(), clip_norm)
            by_hand.step()
    np.testing.assert_allclose(weights_of(model), weights_of(joined), rtol=1e-12, atol=1e-14)
    assert optimizer.steps == by_hand.steps
    assert len(history["loss"]) == 2


def test_schedules_and_places_count_updates() -> None:
    seen: list[int] = []

    def rate(step: int) -> float:
        seen.append(step)
        return 0.1

    optimizer = optim.SGD((model := classifier()).parameters(), lr=rate)
    loader = DataLoader(X, Y, batch_size=8)
    fit(model, F.cross_entropy, optimizer, loader, epochs=2, accumulate=3, **quiet)
    assert sorted(set(seen)) == list(range(6))
    assert optimizer.steps == 6
    bad = X.copy()
    bad[45] = np.nan
    with pytest.raises(FloatingPointError, match=r"step 2 of 3 in epoch 1 \(batch 3 of 3 for it\)"):
        loader = DataLoader(bad, Y, batch_size=8, check_finite=False)
        fit(model, F.cross_entropy, optimizer, loader, accumulate=3, **quiet)


def test_a_batch_that_fails_undoes_the_batches_of_its_update_too() -> None:
    model = nn.Sequential(nn.BatchNorm(4), nn.Linear(4, 3))
    before = bits(model.state_dict())
    bad = X.copy()
    bad[17] = np.nan
    loader = DataLoader(bad, Y, batch_size=8, check_finite=False)
    with pytest.raises(FloatingPointError, match=r"batch 3 of 4"):
        fit(model, F.cross_entropy, sgd(model), loader, accumulate=4, **quiet)
    assert bits(model.state_dict()) == before


def test_ctrl_c_waits_for_the_update_and_nothing_is_lost(tmp_path: Any) -> None:
    def run(path: Any, stop_at: int | None = None, **changed: Any) -> tuple[Any, Any]:
        minidl.seed(4)
        arguments = setting("adam", everything())
        arguments["model"].load_state_dict(start)
        calls = 0

        def metric(z: Array, y: Array) -> float:
            nonlocal calls
            calls += 1
            if calls == stop_at:
                press_ctrl_c()
            return 0.0

        options: Any = {"accumulate": 3, "clip_norm": 0.5} | changed
        history = fit(
            **arguments, epochs=2, checkpoint=path, on_interrupt="return",
            metrics={"m": metric}, **options,
        )  # fmt: skip
        return arguments, history

    start = everything().state_dict()
    whole, history = run(tmp_path / "whole.npz")
    for stop_at in (2, 7):
        path = tmp_path / f"{stop_at}.npz"
        stopped, first = run(path, stop_at)
        assert first.interrupted and first == {"loss": []}
        assert stopped["optimizer"].steps == {2: 1, 7: 3}[stop_at]  # at the end of the update
        with pytest.raises(ValueError, match="its accumulate is 3, not 2"):
            run(path, accumulate=2)
        with pytest.raises(ValueError, match="its accumulate is 3, not None"):
            run(path, accumulate=1)
        with pytest.raises(ValueError, match=r"its clip_norm is 0\.5, not None"):
            run(path, clip_norm=None)
        again, second = run(path)
        assert dict(second) == dict(history)
        for part in ("model", "optimizer"):
            assert bits(again[part].state_dict()) == bits(whole[part].state_dict())


def test_updates_from_several_batches_are_not_compiled() -> None:
    with pytest.raises(ValueError, match=r"not for accumulate=2.* larger batch_size does the same"):
        fit(**setting(), accumulate=2, compiled=True)
    for bad in (0, 1.5):
        with pytest.raises((TypeError, ValueError), match="fit: accumulate is a whole number"):
            fit(**setting(), accumulate=bad)  # type: ignore[arg-type]


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
    assert evaluate(Constant(), nn.MSELoss(), loader, {})["loss"] == 40000


def test_a_loss_of_ones_own_is_refused_unless_it_gives_the_loss_of_each_sample() -> None:
    class Half(nn.MSELoss):
        def forward(self, input: Any, target: Any) -> Tensor:
            return super().forward(input, target) / 2

    def own(z: Tensor, y: Array) -> Tensor:
        return np.mean((z - y) ** 2)

    data = X, NUMBERS, np.ones(50)
    for loss, name in ((own, "own"), (Half(), "Half")):
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


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.r_[-1.0, np.ones(49)], r"the weight of sample 0 is -1\.0"),
        (np.r_[np.ones(49), np.nan], "row 49"),
        (np.ones(49), "array 2 has 49"),
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


# --- Schedules that span the run ------------------------------------------------------------------


class Noting(optim.SGD):
    """Notes the rate of each step."""

    def step(self) -> None:
        notes.append(self.lr)
        super().step()


notes: list[float] = []


def noted(lr: Any, *, epochs: int = 2, again: int = 1, **options: Any) -> list[float]:
    notes.clear()
    optimizer = Noting((model := classifier()).parameters(), lr=lr)
    for _ in range(again):
        fit(model, F.cross_entropy, optimizer, DataLoader(X, Y, batch_size=8), epochs=epochs,
            **options, **quiet)  # fmt: skip
    assert optimizer.groups[0]["lr"] is lr
    return notes


@pytest.mark.parametrize(
    ("waiting", "known"),
    [
        (schedules.cosine(0.1, final=0.01), lambda n: schedules.cosine(0.1, n, 0.01)),
        (schedules.linear(0.1), lambda n: schedules.linear(0.1, n)),
        (schedules.one_cycle(0.1, div_factor=5), lambda n: schedules.one_cycle(0.1, n, 0.3, 5)),
        (schedules.warmup(0.1, 0.25), lambda n: schedules.warmup(0.1, round(n / 4))),
        (
            schedules.warmup(schedules.cosine(0.1), 0.5),
            lambda n: schedules.warmup(schedules.cosine(0.1, n), round(n / 2)),
        ),
        (
            schedules.warmup(schedules.linear(0.1), 3),
            lambda n: schedules.warmup(schedules.linear(0.1, n), 3),
        ),
    ],
)
def test_a_schedule_that_waits_spans_the_run_and_each_run_anew(
    waiting: Any, known: Callable[[int], Any]
) -> None:
    assert noted(waiting) == [known(14)(step) for step in range(14)]
    assert noted(waiting, accumulate=3) == [known(6)(step) for step in range(6)]
    assert noted(waiting, again=2, epochs=1) == [known(7)(step) for step in range(7)] * 2
    assert noted(waiting, compiled=False) == noted(known(14))


def test_a_schedule_that_waits_is_refused_outside_fit() -> None:
    waiting = (schedules.cosine, schedules.linear, schedules.one_cycle)
    for lr in (*(kind(0.1) for kind in waiting), schedules.warmup(0.1, 0.5)):
        model = classifier()
        optimizer = sgd(model, lr)
        assert type(lr).__name__ in repr(optimizer)
        F.cross_entropy(model(X), Y).backward()
        before = bits(model.state_dict())
        with pytest.raises(ValueError, match=r"does not know how many steps.*steps=1000"):
            optimizer.step()
        assert bits(model.state_dict()) == before
        with pytest.raises(ValueError, match="does not know how many steps"):
            minidl.compile(model, F.cross_entropy, optimizer)(X, Y)


def test_a_schedule_that_waits_compiles_and_goes_on(tmp_path: Any) -> None:
    def run(epochs: int, path: Any = None, compiled: bool = False) -> Any:
        arguments = setting("adam", classifier())
        arguments["optimizer"].lr = schedules.warmup(schedules.cosine(0.05), 0.2)
        arguments["optimizer"].count_step(5)  # made elsewhere, before this run
        fit(**arguments, epochs=epochs, checkpoint=path, compiled=compiled)
        return bits(arguments["model"].state_dict())

    assert run(3) == run(3, compiled=True)
    # A shorter run has another schedule; from where it goes on, the rates are the longer one's.
    path = tmp_path / "run.npz"
    short = run(2, path)
    longer = run(4, path)
    assert longer != short
    stopped = copy.copy(path.read_bytes())
    assert run(4, path) == longer
    assert path.read_bytes() == stopped


def test_a_run_that_goes_on_takes_the_rates_it_would_have_taken(tmp_path: Any) -> None:
    whole: list[float] = noted(schedules.linear(0.1), epochs=2).copy()
    path = tmp_path / "run.npz"
    calls = 0

    def metric(z: Array, y: Array) -> float:
        nonlocal calls
        calls += 1
        if calls == 10:
            press_ctrl_c()
        return 0.0

    notes.clear()
    for _ in range(2):
        optimizer = Noting((model := classifier()).parameters(), lr=schedules.linear(0.1))
        optimizer.count_step(0)
        fit(model, F.cross_entropy, optimizer, DataLoader(X, Y, batch_size=8), epochs=2,
            checkpoint=path, metrics={"m": metric}, on_interrupt="return", **quiet)  # fmt: skip
    assert notes == whole
