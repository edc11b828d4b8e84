"""The conformance suite for modules: all of ours pass it, and planted faults do not.

For layers and losses this is the one place where gradients and second gradients are checked.
"""

import copy
import gc

import numpy as np
import pytest

import minidl
from minidl import Tensor, nn
from minidl.gradcheck.samples import MODULES
from minidl.testing.modules import _close, _distance, _shaken, check_module
from minidl.testing.optimizers import _same, _same_state


@pytest.mark.parametrize(("name", "module", "inputs"), MODULES, ids=[m[0] for m in MODULES])
def test_our_modules_conform(name, module, inputs):
    passed = check_module(module, *inputs, order=2, max_unjudged=0.0)
    assert {"gradients", "batch of one", "batch order", "no graph is kept"} <= set(passed)


X = np.random.default_rng(0).normal(size=(4, 3))


class Keeps(nn.Module):
    def forward(self, x):
        self.last = x * 2
        return self.last


class WritesInput(nn.Module):
    def forward(self, x):
        y = x * 1
        x.data[0] = 0
        return y


class Upcasts(nn.Module):
    def forward(self, x):
        return x * np.float64(2)


class Random(nn.Module):
    def __init__(self):
        self.draws = iter(range(10**9))

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        return x * (1.0 + next(self.draws) * (not self.training))


class ReturnsArray(nn.Module):
    def forward(self, x):
        return x.data


class MovesInPrediction(nn.Module):
    buffers = ("count",)

    def __init__(self):
        self.count = np.zeros(())

    def forward(self, x):
        self.count += 1
        return x * 1


class MixesSamples(nn.Module):
    def forward(self, x):
        return np.cumsum(x, 0)


class NeedsTwo(nn.Module):
    def forward(self, x):
        return x - x.mean(axis=0)


class SilentRepr(nn.Module):
    def __repr__(self):
        return "?"

    def forward(self, x):
        return x * 1


class Lenient(nn.Module):
    def __init__(self):
        self.w = nn.Parameter([1.0, 1.0, 1.0])

    def load_state_dict(self, state):
        for name, p in self.named_parameters():
            if name in state and state[name].shape == p.shape:
                p.data[...] = state[name]

    def forward(self, x):
        return x * self.w


class Aliases(Lenient):
    def load_state_dict(self, state):
        nn.Module.load_state_dict(self, state)
        self.w.data = state["w"]


class WrongGradient(nn.Module):
    def forward(self, x):
        return WRONG(x)


class ForgetsParameter(nn.Module):
    def __init__(self):
        self.w = nn.Parameter([1.0, 1.0, 1.0])

    def state_dict(self):
        return {}

    def forward(self, x):
        return x * self.w


WRONG = minidl.differentiable(lambda x: x * 2)
minidl.vjp(WRONG, "x", x=lambda g: 3 * g)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Keeps(), "no graph is kept: its output lives on"),
        (WritesInput(), "gradients: .*inputs are changed"),
        (Upcasts(), "dtype: in float32 it returns float64"),
        (Random(), "gradients|modes"),
        (ReturnsArray(), "returned a ndarray, not a Tensor"),
        (MovesInPrediction(), "modes: a call in prediction mode changes 'count'"),
        (MixesSamples(), "batch of one: a sample alone gives another result"),
        (NeedsTwo(), "batch of one: a sample alone"),
        (SilentRepr(), "repr: its repr is"),
        (Lenient(), "strict: load_state_dict accepted"),
        (Aliases(), "state dict: the loaded state shares memory with 'w'"),
        (WrongGradient(), "gradients: .*1.5 times"),
        (ForgetsParameter(), "state dict lacks the parameter 'w'"),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "",
)
def test_a_faulty_module_fails_with_the_reason(module, message):
    with pytest.raises(AssertionError, match=message):
        check_module(module, X)


class Two(nn.Module):
    """A sound module with two parameters. What is derived from it is wrong with the first, or with
    the one that it names."""

    def __init__(self, name="a"):
        self.name = name
        self.a = nn.Parameter([1.0, 2.0, 3.0])
        self.b = nn.Parameter([0.5, 0.5, 0.5])

    def forward(self, x):
        return x * self.a + self.b


class ForgetsOneParameter(Two):
    def state_dict(self):
        return {k: v for k, v in super().state_dict().items() if k != self.name}


class LoadsOnlyTheOther(Two):
    def load_state_dict(self, state):
        super().load_state_dict({**state, self.name: self.state_dict()[self.name]})


class AliasesOne(Two):
    def load_state_dict(self, state):
        super().load_state_dict(state)
        getattr(self, self.name).data = state[self.name]


class AcceptsUnknown(Two):
    def load_state_dict(self, state):
        super().load_state_dict({k: v for k, v in state.items() if k in ("a", "b")})


class AcceptsMissing(Two):
    def load_state_dict(self, state):
        super().load_state_dict({self.name: self.state_dict()[self.name], **state})


class AcceptsMisshapen(Two):
    def load_state_dict(self, state):
        if self.name in state:
            state = {**state, self.name: state[self.name].flat[:3]}
        super().load_state_dict(state)


class WritesAndRefuses(Two):
    def load_state_dict(self, state):
        getattr(self, self.name).data[...] = 0
        super().load_state_dict(state)


class UpcastsInTraining(Two):
    def forward(self, x):
        y = super().forward(x)
        return y * np.float64(2) if self.training else y


class AlwaysFloat32(Two):
    """Of two outputs one has a dtype of its own."""

    def forward(self, x):
        return super().forward(x), Tensor(np.ones(len(x), np.float32))


class FirstCallInPrediction(Two):
    calls = 0

    def forward(self, x):
        y = super().forward(x)
        if self.training:
            return y
        self.calls += 1
        return y * 2 if self.calls == 1 else y


class LiveState(MovesInPrediction):
    """Its state dict is its state itself."""

    def state_dict(self):
        return {"count": self.count}


class KeepsInTraining(Two):
    def forward(self, x):
        y = super().forward(x)
        if self.training:
            self.last = y
        return y


class KeepsTheFirst(Two):
    def forward(self, x):
        self.last = super().forward(x)
        return self.last, x * 1


class HalvesOnCopy(Two):
    def __deepcopy__(self, memo):
        copied = HalvesOnCopy()
        copied.a.data = self.a.data * 0.5
        return copied.train(self.training)


class SharesOneOnCopy(Two):
    def __deepcopy__(self, memo):
        copied = SharesOneOnCopy(self.name)
        for name, p in self.named_parameters():
            p = p.data if name == self.name else p.data.copy()
            getattr(copied, name).data = p
        return copied.train(self.training)


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize(
    ("module", "message"),
    [
        (ForgetsOneParameter, "state dict: the state dict lacks the parameter '{}'"),
        (LoadsOnlyTheOther, "state dict: with a loaded state it gives other outputs"),
        (AliasesOne, "state dict: the loaded state shares memory with '{}'"),
        (AcceptsMissing, "strict: load_state_dict accepted"),
        (AcceptsMisshapen, "strict: load_state_dict accepted"),
        (WritesAndRefuses, "strict: a refused state has changed '{}'"),
        (SharesOneOnCopy, "deepcopy: a deep copy shares '{}'"),
    ],
)
def test_a_module_that_is_wrong_with_one_of_two_parameters_fails(module, name, message):
    with pytest.raises(AssertionError, match=message.format(name)):
        check_module(module(name), X)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (AcceptsUnknown(), "strict: load_state_dict accepted"),
        (UpcastsInTraining(), "dtype: in float32 it returns float64"),
        (AlwaysFloat32(), "dtype: in float64 it returns float32"),
        (FirstCallInPrediction(), "modes: in prediction mode two calls give different outputs"),
        (LiveState(), "modes: a call in prediction mode changes 'count'"),
        (KeepsInTraining(), "no graph is kept: its output lives on"),
        (KeepsTheFirst(), "no graph is kept: its output lives on"),
        (HalvesOnCopy(), "deepcopy: a deep copy gives other outputs"),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "",
)
def test_a_module_fails_by_what_only_one_check_sees(module, message):
    assert check_module(Two(), X)
    with pytest.raises(AssertionError, match=message):
        check_module(module, X)


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_afterwards_as_before(enabled):
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        check_module(Two(), X)
        with pytest.raises(AssertionError, match="no graph is kept"):
            check_module(Keeps(), X)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.parametrize("wrong", [lambda x: x, nn.ReLU, np.exp])
def test_what_is_no_module_is_refused(wrong):
    with pytest.raises(TypeError, match="check_module takes a Module and what to call it with"):
        check_module(wrong, np.ones((4, 3)))


def test_checks_that_do_not_apply_can_be_left_out():
    passed = check_module(NeedsTwo(), X, batch_of_one=False)
    assert "batch of one" not in passed
    assert "batch order" in passed
    with pytest.raises(AssertionError, match="batch order: samples in another order"):
        check_module(MixesSamples(), X, batch_of_one=False)
    assert "batch order" not in check_module(MixesSamples(), X, batched=False)


class WritesLabels(nn.Module):
    def __init__(self, training):
        self.when = training

    def forward(self, x, labels):
        if self.training == self.when:
            labels[0] = 0
        return x * 1


class SharesOnCopy(nn.Module):
    def __init__(self):
        self.w = nn.Parameter([1.0, 1.0, 1.0])

    def __deepcopy__(self, memo):
        copied = SharesOnCopy()
        copied.w.data = self.w.data
        return copied.train(self.training)

    def forward(self, x):
        return x * self.w


@pytest.mark.parametrize("training", [True, False])
def test_a_module_that_writes_into_its_labels_fails(training):
    with pytest.raises(AssertionError, match="arguments are left alone: it changes its argument 1"):
        check_module(WritesLabels(training), X, np.array([1, 2, 3, 4]))


def test_a_module_whose_deep_copy_shares_memory_fails():
    with pytest.raises(AssertionError, match="a deep copy shares 'w'"):
        check_module(SharesOnCopy(), X)


# --- Wrong in float32 only, or for one sample only ------------------------------------------------


def with_gradient(factor, forward=lambda x: x * 1):
    """A differentiable function whose gradient is ``factor(g)`` times what it should be."""
    function = minidl.differentiable(lambda x: forward(x))
    minidl.vjp(function, "x", x=lambda g: g * factor(g))
    return function


def if_float32(g):
    return 1.002 if g.dtype == np.float32 else 1


def if_alone(g):
    return 2 if len(g) == 1 else 1


HALF_IN_FLOAT32 = with_gradient(
    lambda g: 1, lambda x: x.astype(np.float16).astype(x.dtype) if x.dtype == np.float32 else x * 1
)
STEEPER_IN_FLOAT32 = with_gradient(if_float32)
STEEPER_ALONE = with_gradient(if_alone)


class Calls(nn.Module):
    """A module that calls a function."""

    def __init__(self, function, only_in=None):
        self.function = function
        self.only_in = only_in
        self.w = nn.Parameter([1.0, 2.0, 3.0])

    def forward(self, x):
        mode = "training" if self.training else "prediction"
        return (self.function(x) if self.only_in in (None, mode) else x * 1) * self.w


class WeightOnly(Calls):
    """The parameter's gradient is wrong, and that of the input is right."""

    def forward(self, x):
        return x * self.function(self.w)


class Loss(nn.Module):
    def __init__(self, function):
        self.function = function

    def forward(self, x, t):
        return np.mean((self.function(x) - t) ** 2)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Calls(HALF_IN_FLOAT32), "gradients: .*in float32 the result at"),
        (Calls(STEEPER_IN_FLOAT32), "gradients: .*in float32 the gradient of train: input 0 at"),
        (WeightOnly(STEEPER_IN_FLOAT32), "gradients: .*in float32 the gradient of train: w at"),
        (Calls(STEEPER_IN_FLOAT32, "training"), "in float32 the gradient of train: input 0"),
        (Calls(STEEPER_IN_FLOAT32, "prediction"), "in float32 the gradient of eval: input 0"),
        (Calls(STEEPER_ALONE), "batch of one: .* the gradient of argument 0 at"),
        (
            Calls(lambda x: x * (2 if x.shape[0] == 1 else 1)),
            "batch of one: a sample alone gives another result: the output 0",
        ),
        (
            Calls(lambda x: x * (2 if x.shape[0] == 1 and x.dtype == np.float32 else 1)),
            "batch of one: a sample alone gives another result: the output 0",
        ),
    ],
)
def test_a_module_that_is_wrong_in_float32_only_or_for_one_sample_only_fails(module, message):
    with pytest.raises(AssertionError, match=message):
        check_module(module, X)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (STEEPER_IN_FLOAT32, "gradients: .*in float32 the gradient"),
        (STEEPER_ALONE, "batch of one: gradcheck"),
    ],
)
def test_a_loss_that_is_wrong_in_float32_only_or_for_one_sample_only_fails(function, message):
    with pytest.raises(AssertionError, match=message):
        check_module(Loss(function), X, X[::-1].copy())
    assert check_module(Loss(lambda x: x * 1), X, X[::-1].copy())


class WithPenalty(nn.Module):
    """An output for each sample, and one for all."""

    def __init__(self, function=lambda x: x * 1):
        self.function = function

    def forward(self, x):
        y = self.function(x)
        return y, np.mean(y**2)


def test_a_module_that_returns_results_and_a_loss_is_judged_as_a_loss():
    assert "batch of one" in check_module(WithPenalty(), X)
    with pytest.raises(AssertionError, match="batch of one: gradcheck"):
        check_module(WithPenalty(STEEPER_ALONE), X)


class LossOfLabels(nn.Module):
    """No argument has a gradient, and no output belongs to one sample."""

    def __init__(self, least):
        self.least = least
        self.w = nn.Parameter([1.0, 2.0, 3.0])

    def forward(self, labels):
        if len(labels) < self.least:
            raise ValueError("two samples at least")
        return np.mean(self.w[labels] ** 2)


def test_a_loss_of_labels_must_take_one_sample():
    labels = np.array([0, 2, 1, 2])
    assert "batch of one" in check_module(LossOfLabels(1), labels)
    with pytest.raises(AssertionError, match="batch of one: two samples at least"):
        check_module(LossOfLabels(2), labels)


# --- No false alarms ------------------------------------------------------------------------------


class Project(nn.Module):
    """The second argument counts no samples, and the third is a number."""

    def forward(self, x, w, scale):
        return x @ w * scale


class ProjectAndSum(Project):
    def forward(self, x, w, scale):
        return np.sum(super().forward(x, w, scale) ** 2)


class ReturnsAConstantToo(nn.Module):
    """What needs no gradient has no graph, and may be kept."""

    def __init__(self):
        self.constant = Tensor(np.ones(()))

    def forward(self, x):
        return x * 2, self.constant.astype(x.dtype) if x.dtype != np.float64 else self.constant


def test_arguments_that_count_no_samples_are_no_fault():
    for module in (Project(), ProjectAndSum()):
        passed = check_module(module, X, np.array([1.0, 2.0, 3.0]), np.array(2.0))
        assert {"batch of one", "batch order"} <= set(passed)


def test_an_output_without_graph_may_be_kept():
    assert "no graph is kept" in check_module(ReturnsAConstantToo(), X)


def test_a_single_sample_will_do():
    assert "batch of one" in check_module(nn.Linear(3, 2, rng=0), X[:1])
    assert "batch of one" in check_module(nn.MSELoss(), X[:1], X[1:2])


class LayerNorm(nn.Module):
    """The example of the documentation; its parameters are float64, since np.ones is."""

    def __init__(self, features, eps=1e-5):
        self.eps = eps
        self.weight = nn.Parameter(np.ones(features))
        self.bias = nn.Parameter(np.zeros(features))

    def forward(self, x):
        centered = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.mean(centered**2, axis=-1, keepdims=True)
        return centered / np.sqrt(variance + self.eps) * self.weight + self.bias


class NotYet(nn.Module):
    """A buffer that is not known yet."""

    buffers = ("seen",)

    def __init__(self):
        self.seen = np.full(3, np.nan, np.float32)

    def forward(self, x):
        return x * 2


class Ordered(nn.Module):
    """A module with a buffer of whole numbers, which are places."""

    buffers = ("order",)

    def __init__(self):
        self.order = np.array([1, 0])
        self.scale = nn.Parameter(np.array([1.0, 2.0]))

    def forward(self, x):
        return x[:, self.order] * self.scale


def test_a_buffer_of_whole_numbers_stays_one():
    assert check_module(Ordered(), X[:, :2])


def test_a_buffer_of_nan_is_no_fault():
    assert "modes" in check_module(NotYet(), X)


@pytest.mark.parametrize("seed", range(20))
def test_parameters_of_several_dtypes_are_no_fault(seed):
    x = np.random.default_rng(seed).normal(size=(4, 2))
    assert check_module(nn.Sequential(nn.Linear(2, 3, rng=seed), LayerNorm(3)), x)


@pytest.mark.parametrize(("hidden", "seed"), [(1, 0), (1, 1), (2, 0), (3, 1)])
def test_biases_of_zero_before_relus_are_no_fault(hidden, seed):
    x = np.random.default_rng(seed).normal(size=(5, 4))
    module = nn.Sequential(
        nn.Linear(4, hidden, rng=seed), nn.ReLU(), nn.Linear(hidden, 3, rng=seed + 1), nn.ReLU()
    )
    assert all(np.all(p.data == 0) for p in module.parameters() if p.ndim == 1)
    assert check_module(module, x)
    x[2] = 0.0  # where all kinks of the first layer meet
    assert check_module(module, x)


def test_kinks_that_are_not_the_parameters_fault_are_reported_still():
    with pytest.raises(AssertionError, match="lie at a kink and could not be judged"):
        check_module(nn.ReLU(), np.zeros((4, 3)))
    assert check_module(nn.ReLU(), np.zeros((4, 3)), max_unjudged=1.0)


class DeadAndWrong(nn.Module):
    """Units at rest before a kink at which the gradient is not judged, and beside it wrong."""

    def __init__(self):
        self.bias = nn.Parameter(np.zeros(3))

    def forward(self, x):
        return minidl.functional.relu(0.0 * x - 0.0 + STEEP(self.bias))


STEEP = minidl.differentiable(lambda b: b * 1)
minidl.vjp(STEEP, "b", b=lambda g, y: g * np.where(y == 0, 0.5, 2.0))


def test_a_fault_behind_a_kink_is_found_beside_it():
    with pytest.raises(AssertionError, match=r"gradients: .*bias.* 2 times"):
        check_module(DeadAndWrong(), X)


def test_float32_is_compared_with_what_rounding_allows():
    x = X.copy()
    x[:] = x[:, :1]  # equal features: what is left of them after centering is rounding
    module = nn.Sequential(LayerNorm(3), nn.Linear(3, 4, rng=0), nn.ReLU(), nn.Linear(4, 2, rng=1))
    assert check_module(module, x, max_unjudged=1.0)
    assert check_module(nn.Sequential(nn.Linear(3, 3, rng=0), nn.BatchNorm(3), nn.ReLU()), 1e3 * X)


class AtAKink(nn.Module):
    """Its argument of ReLU is 0 but for rounding, which depends on the size of the batch."""

    def forward(self, x, t):
        n = x.shape[0]
        return minidl.functional.relu(x * n / n - t)


def test_a_sample_alone_is_compared_with_what_rounding_allows():
    x = np.random.default_rng(0).normal(size=(5, 8))
    assert np.any(x * 5 / 5 != x)
    assert check_module(AtAKink(), x, x.copy(), max_unjudged=1.0)


def test_where_kinks_are_in_the_way_a_copy_nearby_is_judged():
    module = nn.Linear(3, 2, rng=0)
    before = module.state_dict()
    nearby = _shaken(module).state_dict()
    for name, value in module.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
        moved = np.abs(nearby[name] - value)
        assert (moved > 0).all()
        assert moved.max() < 0.4


# --- What the suites compare with -----------------------------------------------------------------

ONE = np.array([1e6, 0.0, -2.0])


@pytest.mark.parametrize(
    ("dtype", "off", "close"),
    [
        ("float64", [0, 0, 0], True),
        ("float64", [1e-4, 0, 0], True),
        ("float64", [0, 1e-4, 1e-4], True),  # what remains of numbers a million times larger
        ("float64", [2e-2, 0, 0], False),
        ("float64", [0, 2e-2, 0], False),
        ("float64", [0, 0, np.nan], False),
        ("float32", [50, 0, 50], True),
        ("float32", [400, 0, 0], False),
        ("float32", [0, -400, 0], False),
        ("float32", [np.inf, 0, 0], False),
    ],
)
def test_outputs_are_close_on_the_scale_of_the_largest(dtype, off, close):
    expected = ONE.astype(dtype)
    got = (ONE + off).astype(dtype)
    if close:
        _close(got, expected, "they differ")
    else:
        with pytest.raises(AssertionError, match="they differ"):
            _close(got, expected, "they differ")


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_outputs_that_are_nan_or_infinite_alike_are_close_and_hide_no_others(odd):
    _close(np.array([odd, 1.0]), np.array([odd, 1.0]), "")
    with pytest.raises(AssertionError, match="they differ"):
        _close(np.array([odd, 1.0]), np.array([odd, 2.0]), "they differ")


def test_distances_of_infinities_are_nothing_between_equals():
    a = np.array([np.inf, -np.inf, np.nan, np.inf, 1.0, np.nan, 1.0])
    b = np.array([np.inf, -np.inf, np.nan, -np.inf, np.inf, 1.0, 1.5])
    np.testing.assert_array_equal(_distance(a, b), [0, 0, 0, np.inf, np.inf, np.nan, 0.5])


def test_outputs_that_are_empty_alike_are_close():
    _close(np.zeros((0, 2)), np.zeros((0, 2)), "")


def test_the_same_means_dtype_shape_and_every_bit():
    _same("steps", got=[ONE, Tensor(ONE)], expected=[ONE.copy(), ONE.copy()])
    for other, message in [
        (ONE.astype(np.float32), r"steps: parameter 1 is float64\(3,\), expected float32"),
        (ONE[None], r"steps: parameter 1 is float64\(3,\), expected float64\(1, 3\)"),
        (np.nextafter(ONE, 0), "parameter 1 .* at flat index 0, expected the same bits"),
        (ONE + [0, 0, 1], "has -2.0 at flat index 2, expected the same bits as -1.0"),
        (np.array([1e6, -0.0, -2.0]), "expected the same bits"),
    ]:
        with pytest.raises(AssertionError, match=message):
            _same("steps", got=[ONE, ONE], expected=[ONE, other])


STATE = {
    "t": 3,
    "name": "Adam",
    "betas": [0.9, 0.99],
    "none": [],
    "groups": [{"lr": 0.1}, {"lr": 0.2}],
    "params": {"w": {"m": ONE}},
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"t": 4}, "loaded: t is 4, expected 3"),
        ({"name": "SGD"}, "loaded: name is 'SGD', expected 'Adam'"),
        ({"betas": [0.9, 0.9]}, r"loaded: betas is \[0.9, 0.9\], expected \[0.9, 0.99\]"),
        ({"none": [0.9]}, r"loaded: none is \[0.9\], expected \[\]"),
        ({"groups": [{"lr": 0.3}, {"lr": 0.2}]}, "loaded, groups 0: lr is 0.3, expected 0.1"),
        ({"groups": [{"lr": 0.1}, {"lr": 0.3}]}, "loaded, groups 1: lr is 0.3, expected 0.2"),
        (
            {"params": {"w": {"m": ONE + [0, 0, 1]}}},
            r"loaded, params, w: the state 'm' of shape \(3,\) has -1.0 at flat index 2, .* -2.0",
        ),
        ({"params": {"w": {}}}, r"loaded, params, w: the state has \[\], expected \['m'\]"),
        ({"more": 1}, "loaded: the state has"),
    ],
)
def test_the_same_state_means_every_entry(changed, message):
    _same_state("loaded", got=copy.deepcopy(STATE), expected=STATE)
    with pytest.raises(AssertionError, match=message):
        _same_state("loaded", got=STATE | changed, expected=STATE)
