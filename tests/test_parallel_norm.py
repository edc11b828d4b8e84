"""SyncBatchNorm: batch normalisation of the joined batch."""

from __future__ import annotations

import copy
import functools
import pickle

import numpy as np
import pytest
import rank_program
from rank_program import X, Y, network
from ranks import ONE, assert_alike, gradients, on_ranks, part

from minidl import Tensor, grad, nn
from minidl.parallel import SyncBatchNorm, sync_batch_norm
from minidl.parallel.norm import sum_over_ranks


def joined_norm(x, g, training=True):
    """BatchNorm in one process: what it returns, all gradients, and its running statistics."""
    norm = nn.BatchNorm(x.shape[1], dtype=x.dtype)
    return through(norm, x, g, training)


def through(norm, x, g, training=True):
    norm.train(training)
    norm.weight.data[:] = np.linspace(0.5, 2, len(norm.weight))
    norm.bias.data[:] = np.linspace(-1, 1, len(norm.bias))
    norm.running_mean[:] = np.linspace(2, 3, len(norm.bias))
    norm.running_var[:] = np.linspace(4, 5, len(norm.bias))
    t = Tensor(x, requires_grad=True)
    y = norm(t)
    y.backward(g)
    of_parameters = [norm.weight.grad, norm.bias.grad]
    buffers = [norm.running_mean, norm.running_var, norm.num_batches_tracked]
    return [y.data, t.grad], of_parameters, buffers


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


def test_sync_batch_norm_without_weights_is_batch_norm_without_them():
    x = np.random.default_rng(4).normal(3, 2, (9, 3, 2))

    def forward(ranks):
        norm = sync_batch_norm(nn.BatchNorm(3, affine=False, dtype=x.dtype), ranks)
        return norm(part(x, ranks)).data

    expected = nn.BatchNorm(3, affine=False, dtype=x.dtype)(x).data
    np.testing.assert_allclose(np.concatenate(on_ranks(2, forward)), expected, atol=1e-12)


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
    for dtype, mean, tolerance in ((np.float32, 3e4, 1e-5), (np.float16, 3e3, 4e-3)):
        x = rng.normal(mean, 1, (64, 2)).astype(dtype)

        def forward(ranks, x=x):
            norm = sync_batch_norm(nn.BatchNorm(2, dtype=x.dtype), ranks)
            return norm(part(x, ranks)).data

        found = np.concatenate(on_ranks(2, forward))
        exact = x.astype(np.float64)
        exact = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, exact, atol=tolerance)


def test_a_rank_that_counts_for_nothing_is_part_of_the_statistics_and_of_their_gradient():
    x, y, loss = X[:8], Y[:8].copy(), nn.CrossEntropyLoss()
    y[:3] = -100

    def train(ranks):
        model = sync_batch_norm(network(), ranks)
        optimizer = rank_program.adam(model)
        predictions, targets = model(part(x, ranks, [3])), part(y, ranks, [3])
        share = loss.divisor(predictions.data, targets)
        value = loss(predictions, targets) if share else predictions.sum()
        value.backward(share)
        ranks.average_gradients(optimizer, share, weighed=True)
        return gradients(optimizer)

    joined = network()
    loss(joined(x), y).backward()
    for found in on_ranks(2, train):
        assert_alike(found, [p.grad for p in joined.parameters()], 1e-12)


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
    np.testing.assert_allclose(norm(np.float32([[1, 7], [3, 5]])).data, [[-1, 1], [1, -1]], 1e-4)
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


def test_the_derivative_of_a_sum_over_ranks_has_a_derivative():
    def second(ranks):
        x = Tensor(np.array([1.0, 2.0 + ranks.rank]), requires_grad=True)
        first = grad((sum_over_ranks(x, ranks) ** 2).sum(), x, create_graph=True)
        return first.data, grad(first.sum(), x)

    for first, found in on_ranks(2, second):  # of 2 (sum x)^2, and of the sum of two such
        np.testing.assert_array_equal(first, [8, 20])
        np.testing.assert_array_equal(getattr(found, "data", found), [8, 8])


def test_a_sum_over_ranks_goes_back_as_a_sum_over_ranks():
    def train(ranks):
        x = Tensor([1.0 + ranks.rank], requires_grad=True)
        y = sum_over_ranks(x, ranks)
        (y * (2.0 + ranks.rank)).sum().backward()
        return y.data.tolist(), x.grad.tolist()

    assert on_ranks(2, train) == [([3], [5])] * 2
