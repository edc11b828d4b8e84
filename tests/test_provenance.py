"""What a run is made of: the generators it draws from, and its parts in words."""

import functools
from collections import deque
from types import SimpleNamespace

import numpy as np
import pytest

from minidl import Tensor, data, nn
from minidl import functional as F
from minidl.training.provenance import checksum, described, generators, parts


def test_generators_are_found_wherever_they_stand_each_once_and_in_order():
    rng = [np.random.default_rng(i) for i in range(9)]
    inner = SimpleNamespace(rng=rng[3])
    inner.itself = inner
    owners = {
        "first": SimpleNamespace(own=rng[0], listed=[1, rng[1], (rng[2],)], inner=inner),
        "second": {"again": rng[0], "queue": deque([rng[4]]), "text": "rng", "none": None},
        "third": [
            functools.partial(np.add, rng[5], out=rng[6]), rng[7].normal, np.ones(2), np.random,
            np.random.Generator,
        ],
        "fourth": rng[8],
    }  # fmt: skip
    found = dict(generators(owners))
    assert found == {
        "first.own": rng[0],
        "first.listed.1": rng[1],
        "first.listed.2.0": rng[2],
        "first.inner.rng": rng[3],
        "second.queue.0": rng[4],
        "third.0.args.0": rng[5],
        "third.0.keywords.out": rng[6],
        "third.1.__self__": rng[7],
        "fourth": rng[8],
    }
    assert list(found)[:4] == ["first.own", "first.listed.1", "first.listed.2.0", "first.inner.rng"]


def weighted(z, t, weight=2.0):
    return F.cross_entropy(z, t) * weight


ONES = f"float32(2,) {checksum(np.ones(2, np.float32))}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (3, "3"),
        (0.5, "0.5"),
        ("a", "'a'"),
        (np.ones(2, np.float32), ONES),
        (Tensor([1.0, 1.0]), ONES),
        (nn.Parameter([5.0, 7.0]), "Parameter(2,)"),
        (np.float32(1), f"float32() {checksum(np.float32(1))}"),
        ([1, (2, 3)], "[1, [2, 3]]"),
        ({"a": [1]}, "{'a': [1]}"),
        ([[[[[1]]]]], "[[[[list]]]]"),
        (functools.partial(weighted, weight=3.0), "weight"),
        (nn.HuberLoss("sum", 0.5), "HuberLoss(reduction='sum', delta=0.5)"),
        (nn.Dropout(0.25), "Dropout("),
        (weighted, "weighted"),
    ],
)
def test_a_value_is_described_in_words_that_are_the_same_in_every_run(value, text):
    found = described(value)
    assert text in found
    assert (text == found) or text in ("weight", "weighted", "Dropout(")
    assert "0x" not in found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.zeros(2), np.zeros(3)),
        (np.zeros(2), np.zeros(2, np.float32)),
        (np.array([1.0, 2.0]), np.array([2.0, 1.0])),
        (nn.HuberLoss(delta=0.5), nn.HuberLoss(delta=0.25)),
        (nn.CrossEntropyLoss([1, 2]), nn.CrossEntropyLoss([2, 1])),
        (functools.partial(weighted, weight=3.0), functools.partial(weighted, weight=2.0)),
        (weighted, F.cross_entropy),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
    ],
)
def test_what_differs_is_described_otherwise(one, other):
    assert described(one) != described(other)
    assert described(one) == described(one)


def test_the_parts_of_a_run_are_its_loss_its_data_and_all_its_modules():
    x, y = np.ones((4, 2), np.float32), np.arange(4)
    model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.Sequential(nn.ReLU()))
    found = parts(model, nn.MSELoss(), {"train": data.DataLoader(x, y)})
    assert found == {
        "loss": "MSELoss(reduction='mean')",
        "train data": f"[float32(4, 2) {checksum(x)}, int64(4,) {checksum(y)}]",
        "model": "Sequential",
        "model.0": "Linear",
        "model.1": "Sequential",
        "model.1.0": "ReLU",
    }


def test_a_checksum_is_of_all_bytes_in_their_order_in_any_layout():
    a = np.arange(6.0).reshape(2, 3)
    assert checksum(a) == checksum(np.asfortranarray(a)) == checksum(a[:, ::-1][:, ::-1])
    assert checksum(a) != checksum(a.T)
    assert len(checksum(a)) == 8
    assert checksum(np.zeros(0)) == "00000000"
