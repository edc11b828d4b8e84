"""Ranks: their gradients, their parts of batches, how they begin alike and end together.

The arithmetic is tested on ranks that are threads.
"""

from __future__ import annotations

import copy
import functools
import io
import sys

import numpy as np
import pytest
import rank_program
from rank_program import X, loader, network
from ranks import ONE, assert_alike, gradients, on_ranks, part

import minidl
from minidl import Tensor, data, nn, optim
from minidl.parallel import Alone, Ranks, Shards

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


@pytest.mark.parametrize(
    ("dtypes", "sent"), [("ee", "f"), ("ff", "f"), ("ef", "f"), ("fd", "d"), ("dd", "d")]
)
def test_gradients_are_sent_in_the_widest_dtype_of_the_parameters_and_no_wider(dtypes, sent):
    def train(ranks):
        params = [Tensor(np.ones(2, dtype), requires_grad=True) for dtype in dtypes]
        sum(p.astype("d").sum() for p in params).backward()
        ranks.average_gradients(optim.SGD(params, lr=1), 1)
        return ranks.comm.dtype.char

    assert on_ranks(2, train) == [sent, sent]


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
        ("frozen", r"rank 1 has frozen parameters that others train: a \(on 1 of 2 ranks\), b "),
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
            for p in params.values():
                p.requires_grad = False
        ranks.average_gradients(optimizer, None if odd == "share" else 1)

    with pytest.raises(ValueError, match=message):
        on_ranks(2, train)


def test_names_are_compared_in_the_first_step_only():
    compared = []

    class Comm(Alone):
        def allgather(self, value):
            compared.append(value)
            return [value]

    ranks, params = Ranks(Comm()), {"p": Tensor([1.0], requires_grad=True)}
    for _ in range(2):
        optimizer = optim.SGD(params.items(), lr=1)
        for _ in range(2):
            ranks.average_gradients(optimizer, 1)
    assert compared == [["p: float32 (1,)"]] * 2


def test_optimizers_that_differ_are_refused_on_all_ranks_lest_one_waits_for_the_others():
    def train(ranks):
        params = {f"p{ranks.rank}": Tensor([1.0], requires_grad=True)}
        me = f"rank {ranks.rank} has p{ranks.rank}: .*, rank {1 - ranks.rank} has"
        with pytest.raises(ValueError, match=me):
            ranks.average_gradients(optim.SGD(params.items(), lr=1), 1)
        return True

    assert on_ranks(2, train) == [True] * 2


@pytest.mark.parametrize(
    ("share", "kind"), [(-1, ValueError), (np.nan, ValueError), ("1", TypeError)]
)
def test_a_share_that_is_none_is_refused(share, kind):
    x = Tensor([1.0], requires_grad=True)
    with pytest.raises(kind, match="average_gradients: share is a finite number, at least 0"):
        ONE.average_gradients(optim.SGD([x], lr=1), share)


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


def test_what_a_loader_let_through_goes_to_the_ranks():
    odd = np.array([1.0, np.nan, -np.inf, 2.0])
    own = data.DataLoader(odd, batch_size=2, dtype=None, check_finite=False)
    parts = on_ranks(2, lambda ranks: [x.tolist() for (x,) in Shards(own, ranks)])
    np.testing.assert_array_equal(parts, [[[1.0], [-np.inf]], [[np.nan], [2.0]]])


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

    class Second(Alone):
        def Get_rank(self):
            return 1

    model = nn.Linear(1, 1)
    minidl.seed(0)
    Ranks(Second()).begin_alike(model)
    np.testing.assert_array_equal(minidl.rng.generator().random(4), second)
    odd = nn.Dropout(0.5, rng=np.random.Generator(np.random.SFC64(0)))
    with pytest.raises(TypeError, match="SFC64 cannot be parted into streams"):
        ONE.begin_alike(odd)


def test_running_statistics_become_their_means_and_a_model_that_differs_is_named():
    class Counting(nn.Module):
        buffers = ("seen", "later")

        def __init__(self, n):
            self.seen, self.later = np.array([n]), None

    def join(ranks):
        model = nn.Sequential(Counting(5 + ranks.rank), nn.BatchNorm(2))
        model[1].running_mean += [ranks.rank, 2 * ranks.rank]
        model[1].running_var += [2, 4 * ranks.rank]
        ranks.join_buffers(model)
        ranks.check_alike(model)
        return [model.state_dict()[name].tolist() for name in ("0.seen", "1.running_mean",
                                                               "1.running_var")]  # fmt: skip

    assert on_ranks(2, join) == [[[5], [0.5, 1], [3, 3]]] * 2

    def join_precisely(ranks):
        double, half = (nn.BatchNorm(1, dtype=dtype) for dtype in (np.float64, np.float16))
        double.running_mean += ranks.rank * 2e-12 + 1
        half.running_mean += 4e4  # of which float16 cannot hold the sum
        counting = Counting(ranks.rank)
        for model in (double, half, counting):
            ranks.join_buffers(model)
        return double.running_mean.item(), half.running_mean.item(), counting.seen.item()

    for found in on_ranks(2, join_precisely):
        assert found == pytest.approx((1 + 1e-12, 4e4, 0), rel=1e-15, abs=0)

    def differ(ranks):  # and all say so, lest one waits for the others
        me = f"ranks {ranks.rank} and {1 - ranks.rank}"
        with pytest.raises(RuntimeError, match=f"{me} do not hold the same model: weight differ"):
            ranks.check_alike(nn.Linear(1, 1, rng=ranks.rank))
        return True

    assert on_ranks(2, differ) == [True] * 2


# --- A loop of one's own --------------------------------------------------------------------------


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


# --- The end --------------------------------------------------------------------------------------


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

    with Ranks(Comm()):
        pass
    assert stopped == []
    assert capsys.readouterr().err == ""
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


def test_what_was_printed_is_out_before_the_ranks_are_stopped(monkeypatch):
    written = []

    class Comm(Alone):
        def Get_size(self):
            return 2

        def Abort(self, code):
            written.extend(stream.buffer.getvalue() for stream in (sys.stdout, sys.stderr))

    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(KeyError), Ranks(Comm()):
        print("so far")
        raise KeyError("lost")
    assert written[0].strip() == b"so far"
    assert b"KeyError: 'lost'" in written[1]
