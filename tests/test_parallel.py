"""Training by several processes: as one process on the joined batch, and ended by the first error.

The arithmetic is tested on ranks that are threads. The tests at the end start real processes by
``mpiexec``.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import rank_program
from programs import EXAMPLES, TESTS, environment, run_python
from rank_program import CASES, X, Y, loader, network
from ranks import on_ranks

import minidl
from minidl import Tensor, data, nn, optim, parallel
from minidl.parallel import Alone, Ranks, Shards, SyncBatchNorm, sync_batch_norm
from minidl.parallel.norm import sum_over_ranks
from minidl.parallel.ranks import part_of

ONE = Ranks(Alone())


def part(array, ranks, cuts=None):
    """What a rank takes of an array; ``cuts`` is where the ranks begin, if not in equal parts."""
    if cuts is None:
        return array[part_of(len(array), ranks.rank, ranks.size)]
    return np.split(array, cuts)[ranks.rank]


def gradients(optimizer):
    found = [p.grad for group in optimizer.groups for p in group["params"]]
    return [None if g is None else g.copy() for g in found]


def assert_alike(found, expected, tolerance=1e-12):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


# --- Gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [None, [3], [5, 5], [0, 17]])
@pytest.mark.parametrize("weighed", [False, True])
def test_gradients_become_those_of_the_joined_batch(cuts, weighed):
    x, y, loss = X[:20], rank_program.IGNORED[:20], nn.CrossEntropyLoss(rank_program.WEIGHTS)
    joined = network(norm=False)
    optimizer = rank_program.momentum_in_groups(joined)
    loss(joined(x), y).backward()
    expected = gradients(optimizer)
    assert sum(g is None for g in expected) == 2  # those that are frozen

    def train(ranks):
        model = network(norm=False)
        own = rank_program.momentum_in_groups(model)
        mine, targets = part(x, ranks, cuts), part(y, ranks, cuts)
        predictions = model(mine)
        share = loss.divisor(predictions.data, targets)
        if share:
            value = loss(predictions, targets)
            value.backward(share) if weighed else value.backward()
        before = ranks.comm.calls
        total = ranks.average_gradients(own, share, weighed=weighed)
        assert ranks.comm.calls == before + 1
        return total, gradients(own)

    size = 2 if cuts is None else len(cuts) + 1
    for total, found in on_ranks(size, train):
        assert np.isclose(total, loss.divisor(None, y))
        assert_alike(found, expected)


def test_a_parameter_without_a_gradient_on_some_ranks_counts_as_0_there():
    def train(ranks):
        a, b, c = (Tensor([1.0, 2.0], requires_grad=True) for _ in range(3))
        optimizer = optim.SGD([a, b, c], lr=1)
        found = []
        for lucky in (0, 1):
            optimizer.zero_grad()
            (a * 3 + (b * 6 if ranks.rank == lucky else 0)).sum().backward()
            ranks.average_gradients(optimizer, 1 + ranks.rank)
            found += gradients(optimizer)
            optimizer.step()
        return found, [p.data.tolist() for p in (a, b, c)]

    three, two, four = (np.float32([n, n]) for n in (3, 2, 4))
    for found, values in on_ranks(2, train):
        assert_alike(found, [three, two, None, three, four, None], 1e-6)
        np.testing.assert_allclose(values, [[-5, -4], [-5, -4], [1, 2]], rtol=1e-6)


def test_losses_that_are_sums_are_added():
    def train(ranks):
        x = Tensor([1.0], requires_grad=True)
        optimizer = optim.SGD([x], lr=1)
        (x * (2 + ranks.rank)).sum().backward()
        ranks.average_gradients(optimizer, None)
        return x.grad.tolist()

    assert on_ranks(2, train) == [[5], [5]]


def test_where_nothing_counts_on_any_rank_no_parameter_keeps_a_gradient():
    def train(ranks):
        x = Tensor([1.0], requires_grad=True)
        optimizer = optim.SGD([x], lr=1)
        (x * np.inf).sum().backward()
        return ranks.average_gradients(optimizer, 0), x.grad

    assert on_ranks(2, train) == [(0, None)] * 2


def test_a_rank_of_share_0_adds_nothing_not_even_nan():
    def train(ranks):
        x = Tensor([1.0], requires_grad=True)
        optimizer = optim.SGD([x], lr=1)
        (x * (2.0 if ranks.first else np.inf)).sum().backward()
        ranks.average_gradients(optimizer, 4 if ranks.first else 0)
        return x.grad.tolist()

    assert on_ranks(2, train) == [[2], [2]]


def test_float16_and_float64_go_into_one_message_and_come_back_as_they_were():
    def train(ranks):
        half = Tensor(np.ones(3, np.float16), requires_grad=True)
        double = Tensor(np.ones(3), requires_grad=True)
        optimizer = optim.SGD([half, double], lr=1)
        factor = 1 + ranks.rank * 1e-9
        (half * 2.0 + half * np.float16(4.0 * ranks.rank)).sum().backward()
        (double * factor).sum().backward()
        before = ranks.comm.calls
        ranks.average_gradients(optimizer, 60_000)  # which float16 could not be multiplied by
        return ranks.comm.calls - before, half.grad, double.grad

    for calls, half, double in on_ranks(2, train):
        assert (calls, half.dtype, double.dtype) == (1, np.float16, np.float64)
        np.testing.assert_array_equal(half, [4, 4, 4])
        np.testing.assert_allclose(double, 1 + 0.5e-9, rtol=1e-15)


@pytest.mark.parametrize(
    ("differs", "message"),
    [
        ("share", r"share is None, as for a sum, on 1 of 2 ranks"),
        ("frozen", r"rank 1 has frozen parameters that others train: b \(on 1 of 2 ranks\)"),
        ("name", r"the optimizers differ: rank . has \w: float32 \(2,\), rank . has"),
        ("number", r"the optimizers differ: rank . has . parameters, rank . has ."),
    ],
)
def test_what_differs_between_ranks_is_refused(differs, message):
    def train(ranks):
        odd = differs if ranks.rank == 1 else ""
        names = ["a", "c" if odd == "name" else "b"][: 1 if odd == "number" else 2]
        params = {name: Tensor([1.0, 2.0], requires_grad=True) for name in names}
        optimizer = optim.SGD(params.items(), lr=1)
        sum((p * 2.0).sum() for p in params.values()).backward()
        if odd == "frozen":
            params["b"].requires_grad = False
        ranks.average_gradients(optimizer, None if odd == "share" else 1)

    with pytest.raises(ValueError, match=message):
        on_ranks(2, train)


@pytest.mark.parametrize(
    ("share", "kind"), [(-1, ValueError), (np.nan, ValueError), ("1", TypeError)]
)
def test_a_share_that_is_none_is_refused(share, kind):
    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(kind, match="average_gradients: share is a finite number, at least 0"):
        ONE.average_gradients(optim.SGD([x], lr=1), share)


# --- SyncBatchNorm --------------------------------------------------------------------------------


def joined_norm(x, g, training=True):
    """BatchNorm in one process: what it returns, all gradients, and its running statistics."""
    norm = nn.BatchNorm(x.shape[1], dtype=x.dtype)
    return through(norm, x, g, training)


def through(norm, x, g, training=True):
    norm.train(training)
    norm.weight.data[:] = np.linspace(0.5, 2, len(norm.weight))
    norm.bias.data[:] = np.linspace(-1, 1, len(norm.bias))
    t = Tensor(x, requires_grad=True)
    y = norm(t)
    y.backward(g)
    of_parameters = [norm.weight.grad, norm.bias.grad]
    return [y.data, t.grad], of_parameters, [norm.running_mean, norm.running_var]


@pytest.mark.parametrize("shape", [(9, 3), (9, 3, 4), (7, 2, 3, 2)])
@pytest.mark.parametrize("cuts", [[4], [1, 1], [9]])
@pytest.mark.parametrize("training", [True, False])
def test_sync_batch_norm_is_batch_norm_of_the_joined_batch(shape, cuts, training):
    rng = np.random.default_rng(1)
    x, g = rng.normal(3, 2, shape), rng.normal(size=shape)
    values, of_parameters, running = joined_norm(x, g, training)

    def train(ranks):
        norm = sync_batch_norm(nn.BatchNorm(shape[1], dtype=x.dtype), ranks)
        return through(norm, part(x, ranks, cuts), part(g, ranks, cuts), training)

    found = on_ranks(len(cuts) + 1, train)
    for i, whole in enumerate(values):
        np.testing.assert_allclose(np.concatenate([f[0][i] for f in found]), whole, atol=1e-12)
    for i, whole in enumerate(of_parameters):
        np.testing.assert_allclose(sum(f[1][i] for f in found), whole, atol=1e-12)
    for _, _, own in found:
        assert_alike(own, running)


def test_the_gradient_of_sync_batch_norm_is_the_slope_of_all_losses_together():
    rng = np.random.default_rng(2)
    x, g, nudge = rng.normal(size=(5, 2)), rng.normal(size=(5, 2)), 1e-6

    def slope(ranks):
        norm = sync_batch_norm(nn.BatchNorm(2, dtype=x.dtype), ranks)
        weight = part(g, ranks)

        def loss(x):
            return float(ranks.sum([np.sum(np.tanh(norm(part(x, ranks)).data) * weight)])[0])

        numeric = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            there, back = x.copy(), x.copy()
            there[at] += nudge
            back[at] -= nudge
            numeric[at] = (loss(there) - loss(back)) / (2 * nudge)
        t = Tensor(part(x, ranks), requires_grad=True)
        (np.tanh(norm(t)) * weight).sum().backward()
        return t.grad, part(numeric, ranks)

    for found, numeric in on_ranks(2, slope):
        np.testing.assert_allclose(found, numeric, atol=1e-8)


def test_sync_batch_norm_stands_a_mean_far_from_zero_and_float16():
    rng = np.random.default_rng(3)
    for dtype, mean, tolerance in ((np.float32, 3e4, 1e-5), (np.float16, 300, 4e-3)):
        x = rng.normal(mean, 1, (64, 2)).astype(dtype)

        def forward(ranks, x=x):
            norm = sync_batch_norm(nn.BatchNorm(2, dtype=x.dtype), ranks)
            return norm(part(x, ranks)).data

        found = np.concatenate(on_ranks(2, forward))
        exact = x.astype(np.float64)
        exact = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, exact, atol=tolerance)


def test_sync_batch_norm_needs_shares_where_they_differ_and_says_so():
    def train(ranks, shares, weighed=False):
        model = sync_batch_norm(network(), ranks)
        optimizer = rank_program.adam(model)
        for _ in range(2):
            optimizer.zero_grad()
            model(part(X[:8], ranks, [3])).sum().backward()
            ranks.average_gradients(optimizer, shares[ranks.rank], weighed=weighed)

    on_ranks(2, functools.partial(train, shares=(4, 4)))
    on_ranks(2, functools.partial(train, shares=(3, 5), weighed=True))
    with pytest.raises(
        ValueError, match=r"share of rank . is ., the mean of all is 4, .*loss.backward\(share\)"
    ):
        on_ranks(2, functools.partial(train, shares=(3, 5)))


def test_sync_batch_norm_refuses_one_value_in_all_and_other_channels():
    norm = sync_batch_norm(nn.BatchNorm(2), ONE)
    for shape, message in (((1, 2), "two values per channel"), ((4, 3), r"\(N, 2\)")):
        with pytest.raises(ValueError, match=message):
            norm(np.zeros(shape, np.float32))

    class Own(nn.BatchNorm):
        pass

    with pytest.raises(TypeError, match=r"1 is a Own, which may have a forward of its own"):
        sync_batch_norm(nn.Sequential(nn.Linear(2, 2), Own(2)), ONE)


def test_layers_stay_the_objects_they_were_and_can_be_copied():
    model = network()
    names, optimizer, norm = list(model.state_dict()), rank_program.adam(model), model[1]
    assert sync_batch_norm(model, ONE) is model
    assert model[1] is norm
    assert isinstance(norm, SyncBatchNorm)
    assert list(model.state_dict()) == names
    model(X).sum().backward()
    optimizer.step()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.eval()(X).data, model.eval()(X).data)
        model.train()


def test_a_sum_over_ranks_goes_back_as_a_sum_over_ranks():
    def train(ranks):
        x = Tensor([1.0 + ranks.rank], requires_grad=True)
        y = sum_over_ranks(x, ranks)
        (y * (2.0 + ranks.rank)).sum().backward()
        return y.data.tolist(), x.grad.tolist()

    assert on_ranks(2, train) == [([3], [5])] * 2


# --- Shards, and the beginning --------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3])
def test_ranks_share_out_the_batches_of_one_process(size):
    own = data.DataLoader(np.arange(25), np.arange(25) * 2, batch_size=7, shuffle=True, rng=3)
    epochs = [[b.tolist() for b, _ in own] for _ in range(2)]
    own = data.DataLoader(np.arange(25), np.arange(25) * 2, batch_size=7, shuffle=True, rng=3)

    def batches(ranks):
        shards = Shards(own, ranks)
        return [[(b.tolist(), c.tolist()) for b, c in shards] for _ in range(2)]

    parts = on_ranks(size, batches)
    for epoch, whole in enumerate(epochs):
        for i, batch in enumerate(whole):
            mine = [p[epoch][i] for p in parts]
            assert [n for b, _ in mine for n in b] == batch
            assert all(c == [2 * n for n in b] for b, c in mine)
            assert max(len(b) for b, _ in mine) - min(len(b) for b, _ in mine) <= 1


def test_shards_go_on_where_a_loader_was_saved_and_copies_stay_apart():
    own = loader()
    batches = iter(own)
    next(batches)
    shards = Shards(own, ONE)
    assert shards.state_dict() == own.state_dict()
    other = copy.copy(shards)
    rest = [y.tolist() for _, y in shards]
    assert [y.tolist() for _, y in other] == rest == [y.tolist() for _, y in batches]
    assert len(shards) == len(rest) + 1
    shards.load_state_dict(loader().state_dict())
    assert len(list(shards)) == len(rest) + 1


def test_batches_smaller_than_the_ranks_and_what_is_no_loader_are_refused():
    with pytest.raises(ValueError, match="batches of 2 are too small for 3 ranks"):
        on_ranks(3, lambda ranks: Shards(data.DataLoader(X, batch_size=2), ranks))
    with pytest.raises(TypeError, match="loader is a DataLoader, got list"):
        Shards([X], ONE)


def test_all_begin_with_the_weights_state_and_order_of_rank_0_and_random_numbers_of_their_own():
    def begin(ranks):
        model = nn.Sequential(
            nn.Linear(6, 3, rng=ranks.rank), nn.BatchNorm(3), nn.Dropout(0.5, rng=ranks.rank)
        )
        model[1].running_mean += ranks.rank
        optimizer = optim.Adam(model.parameters(), lr=0.1 * (1 + ranks.rank))
        own = data.DataLoader(X, batch_size=8, shuffle=True, rng=ranks.rank)
        ranks.begin_alike(model, optimizer, own)
        ranks.check_alike(model)
        return optimizer.lr, own.state_dict(), model[2].rng.random(4)

    (lr, state, first), (other_lr, other_state, second) = on_ranks(2, begin)
    assert (lr, state) == (other_lr, other_state)
    np.testing.assert_array_equal(first, np.random.default_rng(0).random(4))
    jumped = np.random.Generator(np.random.default_rng(0).bit_generator.jumped(1))
    np.testing.assert_array_equal(second, jumped.random(4))
    odd = nn.Dropout(0.5, rng=np.random.Generator(np.random.SFC64(0)))
    with pytest.raises(TypeError, match="SFC64 cannot be parted into streams"):
        ONE.begin_alike(odd)


def test_running_statistics_become_their_means_and_a_model_that_differs_is_named():
    class Counting(nn.Module):
        buffers = ("seen",)

        def __init__(self, n):
            self.seen = np.array([n])

    def join(ranks):
        model = nn.Sequential(nn.BatchNorm(2), Counting(5 + ranks.rank))
        model[0].running_mean += [ranks.rank, 2 * ranks.rank]
        model[0].running_var += [2, 4 * ranks.rank]
        ranks.join_buffers(model)
        ranks.check_alike(model)
        return [model.state_dict()[name].tolist() for name in ("0.running_mean", "0.running_var",
                                                               "1.seen")]  # fmt: skip

    assert on_ranks(2, join) == [[[0.5, 1], [3, 3], [5]]] * 2
    with pytest.raises(RuntimeError, match=r"do not hold the same model: weight differ"):
        on_ranks(2, lambda ranks: ranks.check_alike(nn.Linear(1, 1, rng=ranks.rank)))


# --- Whole runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_three_ranks_come_to_what_one_process_does(case):
    for found, _ in on_ranks(3, lambda ranks: rank_program.difference(case, ranks)):
        assert found < 1e-6


@pytest.mark.parametrize("rule", [optim.Adam, functools.partial(optim.Momentum, mu=0.9)])
def test_a_loop_of_ones_own_takes_one_line_more(rule):
    def train(ranks):
        model = network(norm=False)
        optimizer = rule(model.parameters(), lr=0.01)
        batches = loader()
        ranks.begin_alike(model, optimizer, batches)
        shards = Shards(batches, ranks)
        for _ in range(10):
            for x, y in shards:
                optimizer.zero_grad()
                nn.CrossEntropyLoss()(model(x), y).backward()
                ranks.average_gradients(optimizer, len(y))
                optimizer.step()
        ranks.check_alike(model)
        return list(model.state_dict().values())

    expected = train(ONE)
    for found in on_ranks(3, train):
        assert_alike(found, expected, 1e-9)


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


def test_a_run_goes_on_with_another_number_of_ranks_and_only_rank_0_needs_the_file(path, tmp_path):
    def train(ranks, epochs):
        model, batches = network(norm=False), loader()
        mine = path if ranks.first else tmp_path / "nowhere" / "run.npz"
        history = parallel.fit(
            model, nn.CrossEntropyLoss(), rank_program.adam(model), batches, epochs=epochs,
            checkpoint=mine, progress=False, ranks=ranks,
        )  # fmt: skip
        return [np.array(history["loss"]), *model.state_dict().values()]

    on_ranks(2, functools.partial(train, epochs=2))
    expected, _ = rank_program.train("adam", epochs=4)
    for _, *found in on_ranks(3, functools.partial(train, epochs=4)):
        assert_alike(found, list(expected.state_dict().values()), 1e-9)
    assert len(minidl.load(path)["others"]) == 2
    before = path.read_bytes()
    losses, *_ = on_ranks(2, functools.partial(train, epochs=4))[1]
    assert len(losses) == 4
    assert path.read_bytes() == before


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


def test_evaluation_is_that_of_one_process_also_where_a_rank_has_no_sample():
    model, loss = network(), nn.CrossEntropyLoss(weight=rank_program.WEIGHTS)
    expected = minidl.evaluate(model, loss, (X, Y))
    batches = data.DataLoader(X, Y, batch_size=4, dtype=np.float64)

    def evaluate(ranks):
        own = copy.deepcopy(model)
        return [parallel.evaluate(own, loss, d, "accuracy", ranks=ranks) for d in ((X, Y), batches)]

    for found in on_ranks(3, evaluate):
        for result in found:
            assert result == pytest.approx(expected, rel=1e-12)
    assert model.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": -1}, "epochs is a whole number"),
        ({"data": True}, r"the train data of rank \d is .float64"),
        ({"batch_size": 37}, "each of 3 ranks gets .0, 0, 1."),
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


def test_an_error_of_one_rank_alone_is_not_caught_and_one_of_several_stops_the_others(capsys):
    with pytest.raises(KeyError), ONE:
        raise KeyError("alone")
    assert capsys.readouterr().err == ""

    stopped = []

    class Comm(Alone):
        def Get_size(self):
            return 2

        def Abort(self, code):
            stopped.append(code)

    for error, code, text in [
        (KeyError("lost"), 1, "KeyError: 'lost'"),
        (SystemExit(3), 3, "3"),
        (SystemExit("no such file"), 1, "no such file"),
        (SystemExit(0), None, ""),
        (SystemExit(), None, ""),
    ]:
        with pytest.raises(type(error)), Ranks(Comm()):
            raise error
        assert stopped == [code][: code is not None]
        err = capsys.readouterr().err
        assert text in err
        assert err.startswith("rank 0 of 2 ends the run:") == (code is not None)
        stopped.clear()


# --- Processes ------------------------------------------------------------------------------------


def launcher():
    """The mpiexec that belongs to this Python, or the one on PATH; None if there is none."""
    return shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or shutil.which("mpiexec")


def mpiexec(size, *arguments, cwd=None):
    """Run a program on so many ranks; what it printed, and how it ended."""
    pytest.importorskip("mpi4py", reason="mpi4py is missing (extra mpi)")
    if launcher() is None:
        pytest.skip("there is no mpiexec (pip install mpich)")
    as_root = {
        f"{prefix}_ALLOW_RUN_AS_ROOT{suffix}": "1"
        for prefix in ("OMPI", "PRTE")
        for suffix in ("", "_CONFIRM")
    }
    more_ranks_than_cores = {
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # Open MPI 5
        "OMPI_MCA_rmaps_base_oversubscribe": "1",  # Open MPI 4
        "OMPI_MCA_mpi_yield_when_idle": "1",
    }
    return subprocess.run(
        [launcher(), "-n", str(size), sys.executable, *map(str, arguments)],
        env=environment(OPENBLAS_NUM_THREADS="1", **as_root, **more_ranks_than_cores),
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


PROGRAM = TESTS / "rank_program.py"


def test_two_processes_hold_the_same_weights_bit_for_bit_and_those_of_one_process_to_1e_6():
    done = mpiexec(2, PROGRAM, "equal")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == list(CASES)
    for (far, digest), (other_far, other_digest) in found.values():
        assert digest == other_digest
        assert max(far, other_far) < 1e-6


def test_a_rank_that_fails_ends_the_run_and_it_goes_on_from_the_last_epoch_as_if_nothing_was(
    tmp_path,
):
    whole, stopped = tmp_path / "whole.npz", tmp_path / "stopped.npz"
    done = mpiexec(2, PROGRAM, "run", whole)
    assert done.returncode == 0, done.stderr
    start = time.monotonic()
    done = mpiexec(2, PROGRAM, "run", stopped, 3)
    assert time.monotonic() - start < 20
    assert done.returncode != 0
    assert "rank 1 of 2 ends the run:" in done.stderr
    assert "ZeroDivisionError: planted on rank 1" in done.stderr
    assert [len(minidl.load(p)["history"]["loss"]) for p in (whole, stopped)] == [4, 2]
    assert [p.name for p in tmp_path.iterdir() if p not in (whole, stopped)] == []
    done = mpiexec(2, PROGRAM, "run", stopped)
    assert done.returncode == 0, done.stderr
    assert stopped.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_example_trains_on_any_number_of_ranks(size, tmp_path):
    # Three ranks on two cores wait for each other often, and long in a layer that joins them.
    sync = ["--sync-batch-norm"] if size < 3 else []
    options = ["--epochs", 2, *sync, "--checkpoint", "run.npz"]
    if size > 1:
        done = mpiexec(size, EXAMPLES / "data_parallel.py", *options, cwd=tmp_path)
    else:
        pytest.importorskip("mpi4py", reason="mpi4py is missing (extra mpi)")
        done = run_python(EXAMPLES / "data_parallel.py", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(\d) rank.* 2 epochs", done.stdout) == [str(size)]
    assert float(re.search(r"test accuracy ([\d.]+) %$", done.stdout)[1]) > 85
    assert (tmp_path / "run.npz").exists()


def test_without_mpi4py_the_example_says_what_to_install(tmp_path):
    (tmp_path / "mpi4py.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    done = run_python(EXAMPLES / "data_parallel.py", PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "python -m pip install -e '.[mpi]'" in done.stderr


def test_an_mpi_that_is_missing_and_an_mpiexec_of_another_one_are_named(monkeypatch):
    module = types.ModuleType("mpi4py")
    monkeypatch.setitem(sys.modules, "mpi4py", module)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    with pytest.raises(ImportError, match=r"mpi4py finds no MPI .*pip install mpich"):
        Ranks()
    mpi = types.SimpleNamespace(COMM_WORLD=Alone(), Get_library_version=lambda: "Some MPI 5, old")
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", mpi)
    assert repr(Ranks()) == "Ranks(rank 0 of 1)"
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(RuntimeError, match=r"has started 2 processes.*mpi4py uses \(Some MPI 5\)"):
        Ranks()
