"""Every setting that has a border: its last good value is taken, and the first beyond it refused.

One table for all of them. Other tests take values in the middle, and refuse what is far outside.
"""

import math
import re
from functools import partial

import numpy as np
import pytest

import minidl
from minidl import Tensor, data, nn, optim
from minidl import functional as F
from minidl.checks import is_number, number, one_of, whole_number
from minidl.optim import schedules

TINY = math.nextafter(0.0, 1.0)
ABOVE_ONE, BELOW_ONE = math.nextafter(1.0, 2.0), math.nextafter(1.0, 0.0)
HUGE = np.finfo(np.float64).max

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = np.array([0, 1, 2, 0, 1, 2])


def rule(which, **setting):
    return which([Tensor([1.0], requires_grad=True)], **{"lr": 0.1} | setting)


def clipped(max_norm):
    p = Tensor([1.0], requires_grad=True)
    (p * 2).sum().backward()
    return optim.clip_grad_norm([p], max_norm)


# What is called with the value; its good borders; the first bad ones.
UNIT = [0.0, 1.0], [-TINY, ABOVE_ONE, math.nan]
SHARE_KEPT = [0.0, BELOW_ONE], [-TINY, 1.0, math.nan]
RATE = [0.0, HUGE], [-TINY, math.inf, math.nan]
POSITIVE = [TINY], [0.0, -TINY, math.nan]
COUNT = [1], [0, -1, True, 1.0]
INDEX = [0, 2, -100], [-1, 3]
BORDERS = {
    "dropout": (lambda p: F.dropout(X, p, rng=0), *UNIT),
    "Dropout": (nn.Dropout, *UNIT),
    "BatchNorm momentum": (lambda m: nn.BatchNorm(2, momentum=m), *UNIT),
    "BatchNorm eps": (lambda eps: nn.BatchNorm(2, eps), [TINY, HUGE], [0.0, math.inf, math.nan]),
    "BatchNorm size": (nn.BatchNorm, *COUNT),
    "Linear inputs": (lambda n: nn.Linear(n, 2), *COUNT),
    "Linear outputs": (lambda n: nn.Linear(2, n), *COUNT),
    "softplus": (lambda beta: F.softplus(X, beta), [1e-3, 1e3], [0.0, -TINY, math.inf, math.nan]),
    "label smoothing": (lambda s: F.cross_entropy(X, Y, label_smoothing=s), *UNIT),
    "label smoothing of the loss": (lambda s: nn.CrossEntropyLoss(label_smoothing=s), *UNIT),
    "classes": (lambda i: F.cross_entropy(X, np.array([i, *Y[1:]])), *INDEX),
    "class weight": (
        lambda w: F.cross_entropy(X, Y, weight=[w, 1, 1]), [0.0], [-TINY, math.inf, math.nan],
    ),
    "Huber's delta": (lambda delta: F.huber_loss(X, X, delta=delta), *POSITIVE),
    "Huber's delta of the loss": (lambda delta: nn.HuberLoss(delta=delta), *POSITIVE),
    "targets of BCE": (
        lambda t: F.binary_cross_entropy_with_logits(X, np.full(X.shape, t)),
        [0.0, 1.0], [-1e-6, 1 + 1e-6, math.nan],  # in the dtype of the predictions
    ),
    "learning rate": (lambda lr: rule(optim.SGD, lr=lr), *RATE),
    "weight decay": (lambda d: rule(optim.SGD, weight_decay=d), *RATE),
    "mu": (lambda mu: rule(optim.Momentum, mu=mu), *SHARE_KEPT),
    "decay rate": (lambda d: rule(optim.RMSProp, decay_rate=d), *SHARE_KEPT),
    "beta1": (lambda b: rule(optim.Adam, betas=(b, 0.999)), *SHARE_KEPT),
    "beta2": (lambda b: rule(optim.Adam, betas=(0.9, b)), *SHARE_KEPT),
    "clipping": (clipped, [TINY, math.inf], [0.0, -TINY, math.nan]),
    "step_decay every": (partial(schedules.step_decay, 0.1), *COUNT),
    "exponential_decay": (partial(schedules.exponential_decay, 0.1), *UNIT),
    "cosine": (partial(schedules.cosine, 0.1), *COUNT),
    "warmup": (partial(schedules.warmup, 0.1), *COUNT),
    "warmup of a share": (partial(schedules.warmup, 0.1), [TINY, BELOW_ONE], [0.0, 1.0]),
    "linear": (partial(schedules.linear, 0.1), *COUNT),
    "one_cycle": (partial(schedules.one_cycle, 0.1), *COUNT),
    "one_cycle's share": (
        lambda s: schedules.one_cycle(0.1, pct_start=s), [TINY, BELOW_ONE], [0.0, 1.0, math.nan],
    ),
    "one_cycle's factors": (
        lambda d: schedules.one_cycle(0.1, 9, 0.3, d, d), [1.0, HUGE], [BELOW_ONE, math.inf],
    ),
    "batch size": (lambda n: data.DataLoader(X, Y, batch_size=n), *COUNT),
    "whole batches": (
        lambda n: data.DataLoader(X, Y, batch_size=n, drop_last=True), [1, 6], [0, 7],
    ),
    "test size": (
        lambda s: data.train_test_split(X, test_size=s), [0.1, 0.9], [0.0, 1.0, -TINY, math.nan],
    ),
    "test samples": (lambda n: data.train_test_split(X, test_size=n), [1, 5], [0, 6, True]),
    "blobs": (lambda n: data.make_blobs(6, n), [2, 6], [1, 7]),
    "stratified test size": (
        lambda s: data.train_test_split(X, test_size=s, stratify=Y), [0.5], [2 / 6, 4 / 6],
    ),
    "one_hot": (lambda i: data.one_hot([i], 3), [0, 2], [-1, 3]),
    "one_hot classes": (lambda n: data.one_hot(np.array([0]), n), *COUNT),
    "noise": (lambda s: data.make_moons(10, noise=s), [0.0], [-TINY, math.inf, math.nan]),
    "seed": (minidl.seed, [0, 2**70], [-1]),
    "a seed of its own": (lambda n: F.dropout(X, rng=n), [0, 2**70], [-1]),
    "BatchNorm in training": (
        lambda n: nn.BatchNorm(3)(X[:n]), [2], [1, 0],
    ),
    "samples to standardize": (lambda n: data.Standardize().fit(X[:n]), [2], [1, 0]),
}  # fmt: skip
GOOD = [(name, value) for name, (_, good, _) in BORDERS.items() for value in good]
BAD = [(name, value) for name, (_, _, bad) in BORDERS.items() for value in bad]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_the_last_good_value_is_taken(name, value):
    BORDERS[name][0](value)


@pytest.mark.parametrize(("name", "value"), BAD)
def test_the_first_value_beyond_the_border_is_refused(name, value):
    with pytest.raises((ValueError, TypeError)):
        BORDERS[name][0](value)


# --- What a number is -----------------------------------------------------------------------------

NUMBERS = [1, 1.5, np.float64(1.5), np.float32(1.5), np.float16(1.5), np.int64(1), np.uint8(1)]
NO_NUMBERS = [True, np.True_, "1", None, [1], 1j, np.ones(1), np.ones(()), b"1", {}]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_a_number_of_any_kind_is_taken_as_one_of_pythons(value):
    assert is_number(value)
    found = number(value, "it", at_least=1, below=2)
    assert found == value
    assert type(found) is (int if value == 1 else float)
    if value == 1 and type(value) is not float:
        whole = whole_number(value, "it", 1)
        assert (whole, type(whole)) == (1, int)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_number_is_refused_as_another_kind_of_thing(value):
    assert not is_number(value)
    for check in (number, whole_number):
        with pytest.raises(TypeError, match=r"^it is a .*number, got "):
            check(value, "it")


@pytest.mark.parametrize("value", [2.0, np.float64(2.0), math.nan])
def test_a_number_with_a_point_is_no_whole_one(value):
    with pytest.raises(TypeError, match=r"^it is a whole number, got .* \(float"):
        whole_number(value, "it")


def test_limits_hold_on_both_sides_and_are_named():
    for limits, good, bad, text in [
        ({"at_least": 1}, (1, HUGE), (BELOW_ONE, -HUGE), "a finite number, at least 1"),
        ({"above": 1}, (ABOVE_ONE, HUGE), (1, -HUGE), "a finite number, above 1"),
        ({"at_most": 1}, (1, -HUGE), (ABOVE_ONE, HUGE), "a finite number, at most 1"),
        ({"below": 1}, (BELOW_ONE, -HUGE), (1, HUGE), "a finite number, below 1"),
        ({"above": 0, "below": 1}, (TINY, BELOW_ONE), (0, 1), "above 0 and below 1"),
        ({}, (HUGE, -HUGE), (), "a finite number"),
    ]:
        for value in good:
            assert number(value, "it", **limits) == value
        for value in (*bad, math.nan, math.inf, -math.inf):
            shown = re.escape(repr(value))
            with pytest.raises(ValueError, match=rf"^it is .*{text}, got {shown}$"):
                number(value, "it", **limits)
    assert number(math.inf, "it", above=1, or_infinite=True) == math.inf
    for value in (-math.inf, math.nan, 1):
        with pytest.raises(ValueError, match=r"^it is a number, above 1, got"):
            number(value, "it", above=1, or_infinite=True)
    with pytest.raises(ValueError, match=r"^it is a whole number of at least 2, got 1"):
        whole_number(1, "it", 2)
    with pytest.raises(ValueError, match=r"^it is 'a', 'b' or 'c', not 'd'"):
        one_of("d", "it", ("a", "b", "c"))
    assert one_of("c", "it", ("a", "b", "c")) == "c"
