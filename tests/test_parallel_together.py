"""What fit takes, over several ranks: weights, inputs, clipping, accumulation, metrics, callbacks.

Ranks are threads here, and weights are of float64, so that little is left but rounding.
"""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
from rank_program import IGNORED, OF_SAMPLES, TWO, WEIGHTS, TwoInputs, X, Y, network
from ranks import ONE, assert_alike, on_ranks

import minidl
from minidl import nn, optim, parallel, training
from minidl.data import DataLoader, MultiInputLoader
from minidl.optim import schedules
from minidl.tensor import Tensor
from minidl.training import Callback, CSVLog, EarlyStopping, KeepBest, whole_set

SUM = nn.CrossEntropyLoss(WEIGHTS, reduction="sum")
LATE = np.where(np.arange(len(Y)) < 60, 0, OF_SAMPLES)  # the first batches count for nothing
HALF = np.where(np.arange(len(Y)) % 16 < 8, 0, OF_SAMPLES)  # nor does the first rank of two


@whole_set
def order(predictions, targets):
    """What tells the order of samples, and whether predictions are where their targets are."""
    places = np.cos(np.arange(len(targets)))
    return places @ targets + places @ predictions.sum(axis=1)


def in_batches(*arrays, size=16, **options):
    return DataLoader(*arrays, batch_size=size, rng=5, dtype=np.float64, **options)


def two_inputs(*arrays, inputs=TWO):
    return MultiInputLoader(inputs, *arrays, batch_size=16, shuffle=True, rng=5, dtype=np.float64)


def run(fit, train, validation=None, *, model=None, loss=None, lr=0.01, epochs=3, **options):
    """A run from the same beginning, whoever makes it."""
    model = network(norm=False) if model is None else model()
    optimizer = optim.Adam(model.parameters(), lr=lr)
    loss = nn.CrossEntropyLoss(WEIGHTS) if loss is None else loss
    if callable(train):
        train = train()
    options = {"epochs": epochs, "progress": False, **options}
    if "ranks" in options:
        parallel.sync_batch_norm(model, options["ranks"])
    history = fit(model, loss, optimizer, train, validation, **options)
    return model, history, optimizer


def weights(model):
    return list(model.state_dict().values())


class Several(nn.Module):
    def __init__(self, network):
        self.network = network

    def forward(self, x):
        z = self.network(x)
        return [z.data, z, Tensor(z.data)]


SHUFFLED = functools.partial(in_batches, X, IGNORED, OF_SAMPLES, shuffle=True)
TOGETHER = {
    "weights": {"train": SHUFFLED, "validation": (X, Y, OF_SAMPLES)},
    "weights and a sum": {"train": SHUFFLED, "loss": SUM, "lr": 0.001},
    "clipping": {"train": SHUFFLED, "clip_norm": 0.2},
    "clipping a sum": {"train": SHUFFLED, "clip_norm": 0.2, "loss": SUM},
    "accumulation": {"train": SHUFFLED, "accumulate": 3, "clip_norm": 0.2},
    "accumulation of sums": {"train": SHUFFLED, "accumulate": 3, "loss": SUM, "lr": 0.001},
    "accumulation and batch norm": {"train": SHUFFLED, "accumulate": 2, "model": network},
    "batches that count for nothing": {
        "train": lambda: in_batches(X, IGNORED, LATE), "accumulate": 3, "model": network,
    },
    "ranks that count for nothing": {
        "train": lambda: in_batches(X, IGNORED, HALF), "accumulate": 2, "model": network,
    },
    "sums of which some ranks have none": {
        "train": lambda: in_batches(X, IGNORED, HALF), "loss": SUM, "lr": 0.001,
    },
    "parts without a sample": {"train": lambda: in_batches(X[:49], Y[:49], OF_SAMPLES[:49])},
    "parts without a sample, and outputs that are no Tensors": {
        "train": lambda: in_batches(X[:49], Y[:49]), "model": lambda: Several(network(norm=False)),
        "loss": lambda outputs, y: nn.CrossEntropyLoss()(outputs[1], y),
    },
    "parts of one sample": {
        "train": lambda: in_batches(X[:34].reshape(34, 2, 3), Y[:34]),
        "model": lambda: nn.Sequential(
            nn.BatchNorm(2, dtype=np.float64), nn.Flatten(), network(norm=False)
        ),
    },
    "batches of one size": {
        "train": lambda: in_batches(X, Y, size=22), "model": network, "metrics": ["f1", order],
    },
    "a last batch that is dropped": {
        "train": lambda: in_batches(X[:49], Y[:49], drop_last=True), "metrics": ["f1", order],
    },
    "inputs by name": {"train": lambda: two_inputs(Y), "model": lambda: TwoInputs(False)},
    "inputs in order, weights": {
        "train": lambda: two_inputs(IGNORED, OF_SAMPLES, inputs=tuple(TWO.values())),
        "validation": (tuple(TWO.values()), Y), "model": lambda: TwoInputs(True),
    },
    "a schedule that waits": {"train": SHUFFLED, "lr": schedules.cosine(0.05), "accumulate": 2},
    "metrics of the whole set": {
        "train": lambda: in_batches(X, Y, size=23, shuffle=True), "validation": (X, Y),
        "metrics": ["accuracy", "f1", "auc", order],
    },
    "metrics of small batches": {
        # The last batches are one sample each, which the last rank has.
        "train": lambda: in_batches(X[:109], Y[:109], size=4),
        "validation": in_batches(X[:109], Y[:109], size=3),
        "metrics": ["f1", order],
    },
}  # fmt: skip


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", TOGETHER)
def test_what_fit_takes_comes_to_what_one_process_does(name, size):
    alone, expected, one = run(minidl.fit, **TOGETHER[name])

    def train(ranks):
        return run(parallel.fit, **TOGETHER[name], ranks=ranks)

    (first, _, _), *_ = found = on_ranks(size, train)
    for model, history, optimizer in found:
        assert optimizer.steps == one.steps
        assert list(history) == list(expected)
        for key in history:
            np.testing.assert_allclose(history[key], expected[key], atol=1e-9)
        assert_alike(weights(model), weights(alone), 1e-9)
        assert_alike(weights(model), weights(first), 0)


def test_arrays_come_in_batches_of_the_size_that_is_asked_for_and_of_32():
    def train(ranks, **options):
        return run(parallel.fit, (X, Y), epochs=1, ranks=ranks, **options)[2].steps

    for size, steps in ((None, 4), (50, 3)):
        assert on_ranks(2, functools.partial(train, batch_size=size)) == [steps] * 2
    with pytest.raises(ValueError, match="batch size of its own, 16: give 50 to the DataLoader"):
        run(parallel.fit, SHUFFLED, ranks=ONE, batch_size=50)


def test_a_schedule_spans_each_run_anew_and_waits_again():
    def train(ranks):
        model = network(norm=False)
        optimizer = optim.SGD(model.parameters(), lr=schedules.linear(1.0))
        rates = []
        for _ in range(2):
            parallel.fit(
                model, nn.CrossEntropyLoss(), optimizer, in_batches(X, Y, size=55), epochs=2,
                callbacks=[lambda run: rates.append(run.optimizer.lr)], progress=False, ranks=ranks,
            )  # fmt: skip
        for epochs in (0, 1):
            parallel.fit(
                model, nn.CrossEntropyLoss(), optimizer, in_batches(X, Y, size=55), epochs=epochs,
                callbacks=[lambda run: rates.append(run.optimizer.lr)], progress=False, ranks=ranks,
            )  # fmt: skip
        return rates, optimizer.groups[0]["lr"].waits

    (rates, waits), (other, _) = on_ranks(2, train)
    assert waits
    assert rates == [0.5, 0, 0.5, 0, 0]
    assert other == []  # callbacks are those of rank 0


def test_a_metric_of_the_whole_set_is_computed_once():
    calls = []

    @whole_set
    def count(predictions, targets):
        calls.append(len(targets))
        return len(calls)

    def train(ranks):
        history = run(parallel.fit, SHUFFLED, (X, Y), epochs=2, metrics=[count], ranks=ranks)[1]
        return history["count"], history["validation_count"]

    assert on_ranks(3, train) == [([1, 3], [2, 4])] * 3
    assert calls == [len(Y)] * 4


@pytest.mark.parametrize("samples", [len(Y), 2])
def test_evaluation_takes_weights_inputs_and_metrics_of_the_whole_set(samples):
    model, loss = TwoInputs(norm=True), nn.CrossEntropyLoss(WEIGHTS)
    inputs = {name: array[:samples] for name, array in TWO.items()}
    given = inputs, Y[:samples], OF_SAMPLES[:samples] + 1
    for metrics in (None, {"f1": training.F1(), "order": order}):
        expected = minidl.evaluate(model, loss, given, metrics)

        def measure(ranks, metrics=metrics):
            return parallel.evaluate(TwoInputs(norm=True), loss, given, metrics, ranks=ranks)

        for found in on_ranks(3, measure):
            assert list(found) == list(expected)
            assert found == pytest.approx(expected, rel=1e-12)


# --- Callbacks ------------------------------------------------------------------------------------


class Halving(Callback):
    """Halves the rate and sets a weight after each epoch, but for the one in which it fails."""

    state = ("told",)

    def __init__(self, fails=0):
        self.told, self.fails = 0, fails

    def on_epoch_end(self, run):
        self.told += 1
        if self.told == self.fails:
            raise ZeroDivisionError("planted in a callback")
        run.optimizer.lr = run.optimizer.lr / 2
        run.model[0].weight.data[0, 0] = self.told


def dropout():
    return nn.Sequential(
        nn.Linear(6, 8, rng=0), nn.BatchNorm(8), nn.Dropout(0.3, rng=1), nn.Linear(8, 4, rng=2)
    )


def test_rank_0_calls_the_callbacks_and_what_they_change_holds_for_all(path, tmp_path):
    def train(ranks):
        log = CSVLog(tmp_path / "log.csv")  # on all ranks; only one of them may write
        callbacks = [Halving(), log, KeepBest(path, monitor="loss")]
        options = {"epochs": 4, "callbacks": callbacks}
        model, _, optimizer = run(parallel.fit, SHUFFLED, ranks=ranks, **options)
        return model[0].weight.data[0, 0], optimizer.lr, callbacks[0].told, weights(model)

    alone, history, _ = run(minidl.fit, SHUFFLED, epochs=4, callbacks=[Halving()])
    (_, _, told, first), (_, _, untold, second) = found = on_ranks(2, train)
    assert [f[:2] for f in found] == [(4, 0.01 / 16)] * 2
    assert (told, untold) == (4, 0)
    assert_alike(first, second, 0)
    assert_alike(first, weights(alone), 1e-9)
    lines = (tmp_path / "log.csv").read_text().split()
    assert lines[0] == "epoch,loss,accuracy"
    logged = [float(line.split(",")[1]) for line in lines[1:]]
    assert logged == pytest.approx(history["loss"], abs=1e-9)
    assert [*minidl.load(path)] == [*alone.state_dict()]


def test_a_run_that_is_stopped_early_ends_on_all_ranks_with_the_best_weights(path, capsys):
    def train(ranks, epochs=30):
        stopping = EarlyStopping(patience=2)
        model, history, _ = run(
            parallel.fit, SHUFFLED, (X[:40], 3 - Y[:40]), epochs=epochs, lr=0.05,
            callbacks=[stopping], checkpoint=path, progress=True, ranks=ranks,
        )  # fmt: skip
        return len(history["loss"]), history.stopped, stopping.best_epoch, weights(model)

    one, *_ = run(
        minidl.fit, SHUFFLED, (X[:40], 3 - Y[:40]), epochs=30, lr=0.05,
        callbacks=[EarlyStopping(patience=2)],
    )  # fmt: skip
    for again in (False, True):  # it goes on and is over
        (epochs, stopped, best, first), (others, reason, _, second) = on_ranks(2, train)
        assert epochs == others == best + 2
        assert stopped == reason
        assert stopped.startswith("validation_loss did not fall for 2 epochs")
        assert_alike(first, second, 0)
        assert_alike(first, weights(one), 1e-9)
        err = capsys.readouterr().err
        assert err.count("fit: stopped after") == 1
        assert ("epoch 1/30" in err) != again


@pytest.mark.parametrize("fails", [1, 2])
def test_a_run_goes_on_with_all_this_bit_for_bit_also_where_a_callback_failed(fails, path):
    given = {
        # Parts of 7 and 8, so that ranks have drawn more random numbers than others.
        "train": functools.partial(in_batches, X, IGNORED, OF_SAMPLES, size=15, shuffle=True),
        "validation": (X, Y), "model": dropout, "clip_norm": 0.5, "accumulate": 3, "epochs": 4,
        "metrics": ["f1", order],
    }  # fmt: skip

    def train(ranks, halving, **options):
        options |= {"callbacks": [halving], "ranks": ranks}
        model, history, _ = run(parallel.fit, **given, **options)
        return weights(model), dict(history)

    whole = on_ranks(2, lambda ranks: train(ranks, Halving()))
    with pytest.raises(ZeroDivisionError) as caught:
        on_ranks(2, lambda ranks: train(ranks, Halving(fails), checkpoint=path))
    assert f"in the callback Halving after epoch {fails}" in caught.value.__notes__[0]
    assert minidl.load(path)["callbacks"]["untold"] == ["Halving"]
    again = on_ranks(2, lambda ranks: train(ranks, Halving(), checkpoint=path))
    for (found, history), (expected, before) in zip(again, whole, strict=True):
        assert history == before
        assert_alike(found, expected, 0)


def test_in_another_number_rank_0_goes_on_with_its_random_numbers_and_others_with_their_own(path):
    def draw(ranks):
        options = {"model": dropout, "epochs": 1, "checkpoint": path, "ranks": ranks}
        return run(parallel.fit, SHUFFLED, **options)[0][2].rng.random()

    first, _ = on_ranks(2, draw)
    found = on_ranks(3, draw)
    assert found[0] == first
    assert len({*found}) == 3


def test_rank_0_alone_says_how_far_the_run_is_and_where_it_goes_on(path, capsys):
    def train(ranks, **options):
        run(parallel.fit, SHUFFLED, checkpoint=path, ranks=ranks, **options)

    for epochs, said in ((1, ["epoch 1/1"]), (2, ["fit: going on", "epoch 2/2"]), (2, [])):
        on_ranks(2, functools.partial(train, epochs=epochs, progress=True))
        lines = capsys.readouterr().err.splitlines()
        assert [line[: len(text)] for line, text in zip(lines, said, strict=True)] == said
    on_ranks(2, functools.partial(train, epochs=3))
    assert capsys.readouterr().err == ""


# --- What is refused ------------------------------------------------------------------------------


class Flipping(DataLoader):
    def __iter__(self):
        return ((-x, y) for x, y in super().__iter__())


class Negative(nn.CrossEntropyLoss):
    def divisor(self, input, target):
        return -1.0


class Tokens(nn.Module):
    """Takes no batch of no sample."""

    def __init__(self):
        self.last = nn.Linear(6, 4, rng=0, dtype=np.float64)

    def forward(self, x):
        return self.last(x.reshape(len(x), -1))


class Empty(nn.Linear):
    """Computes nothing of no sample."""

    def forward(self, x):
        return super().forward(x) if len(x) else np.zeros((0, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compiled": True}, "does not take compiled: the gradients of ranks are added up"),
        ({"on_interrupt": "return"}, "does not take on_interrupt: Ctrl-C ends all ranks at once"),
        ({"batchsize": 3}, "does not take batchsize: minidl.fit knows no argument of this name"),
        ({"clip_norm": 0}, "fit: clip_norm is"),
        ({"accumulate": 0}, "fit: accumulate is a whole number of at least 1"),
        ({"callbacks": print}, r"callbacks is a list.*callbacks=\[...\]"),
        ({"train": lambda: Flipping(X, Y)}, "Flipping has an __iter__ of its own"),
        ({"train": (X, Y, X), "loss": SUM}, r"weights have shape \(110, 6\)"),
        ({"train": (X, Y, OF_SAMPLES), "loss": lambda z, y: z.mean()}, "fit: train: samples with"),
        ({"train": ((X, X), Y)}, "x is a tuple of 2, which are several inputs"),
        (
            {"train": lambda: in_batches(X[:49], Y[:49]), "model": Tokens},
            r"tried before the first step, since of a batch of 1 .* 2 ranks gets \[0, 1\]",
        ),
        (
            {"train": lambda: in_batches(X[:49], Y[:49]), "model": lambda: Empty(6, 4)},
            "the model returned a ndarray without a Tensor that depends on a parameter",
        ),
        ({"validation": (X[:, :5], Y)}, "tried before the first step"),
        ({"epochs": [2, 3]}, r"the epochs of rank \d is \d, and that of rank \d \d"),
        ({"checkpoint": ["run.npz", None]}, "the checkpoint given of rank"),
        ({"loss": Negative}, "fit: the divisor of the loss is a finite number, at least 0, got -1"),
        ({"clip_norm": [2.0, 3.0]}, "the clip_norm of rank"),
        ({"accumulate": [2, 3]}, "the accumulate of rank"),
        ({"metrics": ["f1", "auc"]}, "the metrics of rank"),
        ({"lr": [schedules.cosine(0.1), schedules.linear(0.1)]}, "the schedule 0 of rank"),
    ],
)
def test_what_is_not_taken_is_refused_by_its_name(options, message):
    def train(ranks):
        mine = {k: v[ranks.rank] if isinstance(v, list) else v for k, v in options.items()}
        if mine.get("loss") is Negative:
            mine["loss"] = Negative()
        run(parallel.fit, **{"train": (X, Y)} | mine, ranks=ranks)

    with pytest.raises((TypeError, ValueError)) as caught:
        on_ranks(2, train)
    text = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert re.search(message, text), text


def test_a_file_that_is_of_no_run_is_refused(path):
    def train(ranks):
        run(parallel.fit, (X, Y), epochs=1, checkpoint=path, ranks=ranks)

    train(ONE)
    for content in ([1, 2], {}, minidl.load(path) | {"generators": None}):
        minidl.save(path, content)
        with pytest.raises(ValueError, match="fit cannot go on from"):
            on_ranks(2, train)


def test_the_model_is_not_tried_on_parts_of_enough_samples():
    calls = []

    class Counting(nn.Linear):
        def forward(self, x):
            calls.append(len(x))
            return super().forward(x)

    def train(ranks):
        model = lambda: Counting(6, 4, dtype=np.float64)
        run(parallel.fit, in_batches(X[:33], Y[:33]), model=model, epochs=1, ranks=ranks)

    train(ONE)
    assert calls == [16, 16, 1]


def test_inputs_without_their_names_are_those_of_another_run(path):
    options = {"model": lambda: TwoInputs(False), "epochs": 1, "checkpoint": path, "ranks": ONE}
    run(parallel.fit, two_inputs(Y), **options)
    with pytest.raises(ValueError, match="its train data is"):
        run(parallel.fit, two_inputs(Y, inputs=tuple(TWO.values())), **options)


@pytest.mark.parametrize(("batch", "place"), [(1, r"step 2 of 7.*1, with"), (2, r"before \d\.\d")])
def test_a_loss_that_diverges_is_told_beside_the_one_before_if_there_was_one(batch, place):
    x, w = X.copy(), np.ones(len(X))
    x[16 * batch : 16 * batch + 8] = 1e300
    w[16 * (batch - 1) : 16 * batch - 8] = 0  # the first rank has nothing in the batch before

    def train(ranks):
        data = in_batches(x, X[:, :4], w)
        model = lambda: nn.Linear(6, 4, rng=0, dtype=np.float64)
        run(parallel.fit, data, model=model, loss=nn.MSELoss(), ranks=ranks)

    with pytest.raises(FloatingPointError, match=f"the loss is inf in .*{place}"):
        on_ranks(2, train)


def test_evaluation_refuses_other_data_on_other_ranks():
    def measure(ranks):
        given = X + ranks.rank, Y
        parallel.evaluate(network(), nn.CrossEntropyLoss(), given, ranks=ranks)

    with pytest.raises(ValueError, match="evaluate: the given data of rank"):
        on_ranks(2, measure)


def test_evaluation_asks_for_the_loss_of_each_sample_only_where_samples_have_weights():
    def measure(data, loss=lambda z, y: nn.CrossEntropyLoss()(z, y)):
        return parallel.evaluate(network(), loss, data, ranks=ONE)

    assert measure((X, Y)) == measure((X, Y), nn.CrossEntropyLoss())
    with pytest.raises(ValueError, match="evaluate: samples with weights need the loss of each"):
        measure((X, Y, OF_SAMPLES))
