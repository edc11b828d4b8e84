"""The conformance suite for modules: all of ours pass it, and planted faults do not."""

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.gradcheck.samples import MODULES
from minidl.testing.modules import check_module


@pytest.mark.parametrize(("name", "module", "inputs"), MODULES, ids=[m[0] for m in MODULES])
def test_our_modules_conform(name, module, inputs):
    passed = check_module(module, *inputs)
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
        (MixesSamples(), "batch order"),
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


def test_checks_that_do_not_apply_can_be_left_out():
    passed = check_module(NeedsTwo(), X, batch_of_one=False)
    assert "batch of one" not in passed
    assert "batch order" in passed
    assert "batch order" not in check_module(MixesSamples(), X, batched=False)


class WritesLabels(nn.Module):
    def forward(self, x, labels):
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


def test_a_module_that_writes_into_its_labels_fails():
    with pytest.raises(AssertionError, match="arguments are left alone: it changes its argument 1"):
        check_module(WritesLabels(), X, np.array([1, 2, 3, 4]))


def test_a_module_whose_deep_copy_shares_memory_fails():
    with pytest.raises(AssertionError, match="a deep copy shares 'w'"):
        check_module(SharesOnCopy(), X)
