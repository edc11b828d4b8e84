"""Fit and evaluate over several ranks: as one process on the joined batches.

Ranks are threads here; real processes are in ``test_parallel_processes.py``.
"""

from __future__ import annotations

import copy
import functools
import re

import numpy as np
import pytest
import rank_program
from rank_program import CASES, X, Y, loader, network
from ranks import ONE, assert_alike, on_ranks

import minidl
from minidl import data, nn, parallel
from minidl import functional as F
from minidl.parallel import sync_batch_norm


@pytest.mark.parametrize("case", CASES)
def test_three_ranks_come_to_what_one_process_does(case):
    (_, digest), *_ = found = on_ranks(3, lambda ranks: rank_program.difference(case, ranks))
    for far, other in found:
        assert far < 1e-6
        assert other == digest


def test_a_second_fit_goes_on_with_the_order_of_batches_as_in_one_process():
    def train(fit, **options):
        model, batches = network(norm=False), loader()
        optimizer = rank_program.adam(model)
        for _ in range(2):
            fit(
                model,
                nn.CrossEntropyLoss(),
                optimizer,
                batches,
                epochs=2,
                progress=False,
                **options,
            )
        return list(model.state_dict().values())

    for found in on_ranks(2, lambda ranks: train(parallel.fit, ranks=ranks)):
        assert_alike(found, train(minidl.fit), 1e-9)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3)])
def test_a_run_goes_on_with_another_number_of_ranks_and_only_rank_0_needs_the_file(
    before, after, path, tmp_path
):
    def train(ranks, epochs):
        model, batches = network(norm=False), loader()
        mine = path if ranks.first else tmp_path / "nowhere" / "run.npz"
        history = parallel.fit(
            model, nn.CrossEntropyLoss(), rank_program.adam(model), batches, epochs=epochs,
            checkpoint=mine, progress=False, ranks=ranks,
        )  # fmt: skip
        return [np.array(history["loss"]), *model.state_dict().values()]

    on_ranks(before, functools.partial(train, epochs=2))
    expected, _ = rank_program.train("adam", epochs=4)
    for _, *found in on_ranks(after, functools.partial(train, epochs=4)):
        assert_alike(found, list(expected.state_dict().values()), 1e-9)
    assert len(minidl.load(path)["others"]) == after - 1
    content = path.read_bytes()
    *_, (losses, *_) = on_ranks(2, functools.partial(train, epochs=4))
    assert len(losses) == 4
    assert path.read_bytes() == content


def test_a_run_that_is_over_leaves_its_loader_where_it_ended(path):
    def place():
        model, batches = network(norm=False), loader()
        parallel.fit(
            model, nn.CrossEntropyLoss(), rank_program.adam(model), batches, epochs=2,
            checkpoint=path, progress=False, ranks=ONE,
        )  # fmt: skip
        return batches.state_dict()

    assert place() == place() != loader().state_dict()


def test_a_batch_of_which_nothing_counts_is_no_step_and_one_rank_without_targets_still_takes_part():
    y = np.where(np.arange(len(Y)) < 40, -100, Y)  # of batches of 20 the first two, and half of one
    y[45:50] = -100

    def train(ranks):
        model = sync_batch_norm(network(), ranks)
        optimizer = rank_program.adam(model)
        batches = data.DataLoader(X[:90], y[:90], batch_size=20, dtype=np.float64)
        history = parallel.fit(
            model, nn.CrossEntropyLoss(), optimizer, batches, epochs=2, progress=False, ranks=ranks
        )
        return optimizer.steps, history["loss"], model.state_dict()

    (steps, loss, state), (_, other_loss, other), (_, _, one) = (*on_ranks(2, train), train(ONE))
    assert steps == 2 * 3
    assert loss == other_loss
    for name in state:
        np.testing.assert_array_equal(state[name], other[name])
        np.testing.assert_allclose(state[name], one[name], atol=1e-9)


def test_a_run_is_saved_before_its_first_step(path):
    def train(ranks):
        def failing(predictions, targets):
            if ranks.first:
                raise ZeroDivisionError("planted")
            return F.cross_entropy(predictions, targets)

        model = network()
        parallel.fit(
            model, failing, rank_program.adam(model), loader(), checkpoint=path, progress=False,
            ranks=ranks,
        )  # fmt: skip

    with pytest.raises(ZeroDivisionError):
        on_ranks(2, train)
    assert minidl.load(path)["history"] == {"loss": []}


def test_ranks_that_come_to_different_weights_end_the_run():
    class Drifting(nn.Module):
        def __init__(self, rank):
            self.network, self.rank = network(), rank

        def forward(self, x):
            self.network[0].weight.data[:] += self.training * self.rank
            return self.network(x)

    def train(ranks):
        model = Drifting(ranks.rank)
        parallel.fit(
            model, nn.CrossEntropyLoss(), rank_program.adam(model), loader(), epochs=1,
            progress=False, ranks=ranks,
        )  # fmt: skip

    with pytest.raises(RuntimeError, match=r"not hold the same model: network\.0\.weight differ"):
        on_ranks(2, train)


def test_evaluation_is_that_of_one_process_also_where_a_rank_has_no_sample():
    model, loss = network(), nn.CrossEntropyLoss(weight=rank_program.WEIGHTS)
    expected = minidl.evaluate(model, loss, (X, Y))
    batches = data.DataLoader(X, Y, batch_size=4, dtype=np.float64)

    def evaluate(ranks):
        own = copy.deepcopy(model)
        found = [
            parallel.evaluate(own, loss, d, "accuracy", ranks=ranks) for d in ((X, Y), batches)
        ]
        assert own.training
        return found

    for found in on_ranks(3, evaluate):
        for result in found:
            assert result == pytest.approx(expected, rel=1e-12)
    # Only the last rank knows what is measured of one sample.
    for loss, y in ((nn.MSELoss(), np.ones((1, 4))), (nn.CrossEntropyLoss(), Y[:1])):

        def evaluate_one(ranks, loss=loss, y=y):
            return parallel.evaluate(copy.deepcopy(model), loss, (X[:1], y), ranks=ranks)

        assert on_ranks(3, evaluate_one) == [minidl.evaluate(model, loss, (X[:1], y))] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": -1}, "epochs is a whole number"),
        ({"data": True}, r"the train data of rank \d is .float64"),
        ({"batch_size": 37}, "each of 3 ranks gets .0, 0, 1."),
        ({"batch_size": 36}, "each of 3 ranks gets .1, 1, 1."),
    ],
)
def test_fit_refuses_at_once_what_would_go_wrong(change, message, capsys):
    def train(ranks):
        x = X[:75] + (ranks.rank if "data" in change else 0)
        y, size = Y[:75], change.get("batch_size", 25)
        batches = data.DataLoader(x, y, batch_size=size, dtype=np.float64)
        model = network()
        parallel.fit(
            model, nn.CrossEntropyLoss(), rank_program.adam(model), batches, progress=False,
            epochs=change.get("epochs", 1), ranks=ranks,
        )  # fmt: skip

    with pytest.raises(ValueError) as caught:
        on_ranks(3, train)
    text = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert re.search(message, text), text
    assert "ends the run:" in capsys.readouterr().err


def test_an_error_in_an_evaluation_ends_all_ranks(capsys):
    def evaluate(ranks):
        parallel.evaluate(network(), nn.CrossEntropyLoss(), (X + ranks.rank, Y), ranks=ranks)

    with pytest.raises(ValueError, match=r"evaluate: the given data of rank \d is .float64"):
        on_ranks(2, evaluate)
    assert "ends the run:" in capsys.readouterr().err
