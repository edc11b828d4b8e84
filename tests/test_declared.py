"""What a rule declares: hyper-parameters as attributes, arguments of ``update``, wrong classes."""

from __future__ import annotations

import copy
import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rules import Array, Counts, Signs, backward, every_rule, leaf, moved

from minidl.optim import Adagrad, Adam, Momentum, Optimizer, RMSProp


def test_hyper_parameters_are_attributes_that_are_read_and_set() -> None:
    p = leaf([1.0])
    optimizer = Momentum([p], lr=0.1)
    assert (optimizer.lr, optimizer.mu, optimizer.weight_decay) == (0.1, 0.9, 0.0)
    optimizer.lr, optimizer.mu = 0.5, 0.0
    assert optimizer.groups[0]["lr"] == 0.5
    np.testing.assert_array_equal(moved(optimizer, p, [1.0]), [0.5])


def test_within_an_update_a_hyper_parameter_is_that_of_the_group() -> None:
    seen = []

    class Watch(Optimizer):
        def update(self, x: Array, dx: Array, *, t: int, lr: float) -> None:
            seen.append((lr, t))
            x -= lr * dx

    p, q = leaf([1.0]), leaf([1.0])
    optimizer = Watch([{"params": [p]}, {"params": [q], "lr": 0.2}], lr=0.1)
    for _ in range(2):
        p.grad = q.grad = np.ones(1)
        optimizer.step()
    assert seen == [(0.1, 1), (0.2, 1), (0.1, 2), (0.2, 2)]
    assert "lr" not in vars(optimizer)


def test_an_unknown_attribute_is_an_error_and_the_hyper_parameters_are_listed_by_dir() -> None:
    optimizer: Any = Momentum([leaf([1.0])], lr=0.1)
    with pytest.raises(AttributeError, match="'Momentum' object has no attribute 'momentum'"):
        _ = optimizer.momentum
    assert not hasattr(optimizer, "params")
    assert {"lr", "weight_decay", "mu"} <= set(dir(optimizer))


def _set_learning_rate(optimizer: Any) -> None:
    optimizer.learning_rate = 0.0


@pytest.mark.parametrize(
    "misspell",
    [
        lambda o: setattr(o, "learning_rate", 0),
        lambda o: setattr(o, "momentum", 0.5),
        lambda o: setattr(o, "Lr", 0.1),
        _set_learning_rate,
    ],
)
def test_a_misspelt_hyper_parameter_cannot_be_set(misspell: Callable[[Any], None]) -> None:
    for optimizer in (Momentum([leaf([1.0])], lr=0.1), copy.deepcopy(Counts([leaf([1.0])], 0.1))):
        before = dict(vars(optimizer))
        with pytest.raises(AttributeError, match="hyper-parameters are lr, weight_decay"):
            misspell(optimizer)
        assert vars(optimizer) == before
        with pytest.raises(KeyError, match="only lr, weight_decay"):
            optimizer.groups[0]["learning_rate"] = 0


class CountsMore(Counts):
    def begin(self) -> None:
        self.begun = True


def test_a_rule_keeps_attributes_of_its_own() -> None:
    for make in (Counts, CountsMore):
        p = leaf([1.0])
        optimizer: Any = make([p], 0.1)
        moved(optimizer, p, [1.0], [1.0])
        assert (optimizer.calls, optimizer.size, optimizer.done, optimizer.noted) == (2, 1, True, 2)
        optimizer.calls = 0  # what is there can be set from anywhere
        optimizer.tokens = 7
        optimizer.last = "set"
        optimizer.step = lambda: None  # so can a method be replaced
        optimizer.step()
        assert (optimizer.calls, optimizer.tokens, optimizer.last) == (0, 7, "set")
    optimizer.begin()
    assert optimizer.begun


def test_numpy_scalars_become_python_numbers_so_that_float32_stays_float32() -> None:
    seen = []

    class Watch(Optimizer):
        def update(self, x: Array, dx: Array, *, lr: float) -> None:
            seen.append((lr * dx).dtype)
            x -= lr * dx

    p = leaf([1.0], np.float32)
    optimizer = Watch([p], lr=np.float64(0.1))
    moved(optimizer, p, [1.0])
    optimizer.lr = lambda step: np.float64(0.1)
    moved(optimizer, p, [1.0])
    assert seen == [np.float32, np.float32]
    adam = Adam([p], lr=np.int64(1), betas=(np.float32(0.5), 0))
    assert repr(adam.lr) == "1"
    assert repr(adam.betas) == "(0.5, 0)"


NOT_RATES: list[Any] = [-0.1, math.nan, math.inf, -math.inf, "0.1", None, True, (0.1,), [0.1], 1j]


@every_rule
@pytest.mark.parametrize("value", NOT_RATES, ids=repr)
@pytest.mark.parametrize("name", ["lr", "weight_decay"])
def test_bad_rates_are_refused(rule: type[Optimizer], name: str, value: Any) -> None:
    message = re.escape(f"{rule.__name__}: {name} is a finite number, at least 0, got")
    kind = ValueError if type(value) is float else TypeError
    p = leaf([1.0])
    with pytest.raises(kind, match=message):
        rule([p], **{"lr": 0.1, name: value})
    with pytest.raises(kind, match=message):
        rule([{"params": [p], name: value}], lr=0.1)
    optimizer = rule([p], lr=0.1, weight_decay=0.25)
    with pytest.raises(kind, match=message):
        setattr(optimizer, name, value)
    assert (optimizer.lr, optimizer.weight_decay) == (0.1, 0.25)


SHARE = "a finite number, at least 0 and below 1"


@pytest.mark.parametrize(
    ("rule", "name", "value", "kind", "expected"),
    [
        (Momentum, "mu", 1.0, ValueError, f"{SHARE}, got 1.0"),
        (Momentum, "mu", -0.1, ValueError, f"{SHARE}, got -0.1"),
        (Momentum, "mu", math.nan, ValueError, f"{SHARE}, got nan"),
        (Momentum, "mu", "0.9", TypeError, f"{SHARE}, got '0.9' (str)"),
        (RMSProp, "decay_rate", 1.0, ValueError, f"{SHARE}, got 1.0"),
        (RMSProp, "decay_rate", None, TypeError, f"{SHARE}, got None"),
        (RMSProp, "eps", -1e-8, ValueError, "a finite number, at least 0, got -1e-08"),
        (Adagrad, "eps", math.inf, ValueError, "a finite number, at least 0, got inf"),
        (Adam, "eps", math.nan, ValueError, "a finite number, at least 0, got nan"),
        (Adam, "betas", 0.9, TypeError, "two numbers, got 0.9 (float)"),
        (Adam, "betas", (0.9,), ValueError, "two numbers, got (0.9,)"),
        (Adam, "betas", (0.9, 0.99, 0.999), ValueError, "two numbers, got (0.9, 0.99, 0.999)"),
        (Adam, "betas", (0.9, 1.0), ValueError, f"{SHARE}, got 1.0"),
        (Adam, "betas", (-0.1, 0.9), ValueError, f"{SHARE}, got -0.1"),
        (Adam, "betas", (0.9, math.nan), ValueError, f"{SHARE}, got nan"),
        (Adam, "betas", ("0.9", 0.9), TypeError, f"{SHARE}, got '0.9' (str)"),
        (Adam, "betas", None, TypeError, "two numbers, got None"),
        (Adam, "bias_correction", "no", TypeError, "True or False, got 'no'"),
        (Adam, "bias_correction", 1, TypeError, "True or False, got 1"),
    ],
)
def test_bad_hyper_parameters_are_refused(
    rule: type[Optimizer], name: str, value: Any, kind: type[Exception], expected: str
) -> None:
    message = rf"{rule.__name__}: {name}(\[[01]\])? is {re.escape(expected)}"
    p = leaf([1.0])
    with pytest.raises(kind, match=message):
        rule([p], **{"lr": 0.1, name: value})
    with pytest.raises(kind, match=message):
        rule([{"params": [p], name: value}], lr=0.1)
    optimizer = rule([p], lr=0.1)
    before = getattr(optimizer, name)
    with pytest.raises(kind, match=message):
        setattr(optimizer, name, value)
    with pytest.raises(kind, match=message):
        optimizer.groups[0][name] = value
    assert getattr(optimizer, name) == before


@pytest.mark.parametrize("declared", ["state", "below_one", "pairs", "switches"])
def test_a_missing_comma_in_a_declaration_is_noticed(declared: str) -> None:
    with pytest.raises(TypeError, match=rf"Rule.{declared} is a tuple.*write \('cache',\)"):
        type("Rule", (Optimizer,), {declared: ("cache")})


def test_a_state_called_steps_is_refused() -> None:
    with pytest.raises(TypeError, match="'steps' is counted already, as t"):
        type("Rule", (Optimizer,), {"state": ("steps",)})


@pytest.mark.parametrize("name", ["t", "steps", "groups", "state", "step", "update"])
def test_a_hyper_parameter_cannot_hide_an_attribute(name: str) -> None:
    with pytest.raises(TypeError, match=f"cannot be called {name!r}"):
        Signs([leaf([1.0])], lr=0.1, **{name: 0.5})


def test_a_rule_without_update_says_what_it_lacks() -> None:
    p = leaf([1.0])
    optimizer = Optimizer([p], lr=0.1)
    backward(p, [1.0])
    with pytest.raises(NotImplementedError, match="Optimizer needs a method update"):
        optimizer.step()
    assert optimizer.lr == 0.1


def test_a_rule_may_check_a_hyper_parameter_of_another_kind_itself() -> None:
    class Penalized(Optimizer):
        @classmethod
        def checked(cls, name: str, value: Any) -> Any:
            if name == "penalty":
                if value not in ("l1", "l2"):
                    raise ValueError(f"penalty must be l1 or l2, got {value!r}")
                return value
            return super().checked(name, value)

        def update(self, x: Array, dx: Array, *, lr: float, penalty: str) -> None:
            x -= lr * (dx + 0.1 * (np.sign(x) if penalty == "l1" else x))

    p, q = leaf([2.0]), leaf([2.0])
    groups = [{"params": [p]}, {"params": [q], "penalty": "l2"}]
    optimizer = Penalized(groups, lr=1.0, penalty="l1")
    p.grad = q.grad = np.ones(1)
    optimizer.step()
    np.testing.assert_allclose([p.item(), q.item()], [0.9, 0.8])
    with pytest.raises(ValueError, match="penalty must be l1 or l2, got 'l3'"):
        optimizer.penalty = "l3"
    saved = optimizer.state_dict()
    optimizer.penalty = "l2"
    optimizer.load_state_dict(saved)
    assert [group["penalty"] for group in optimizer.groups] == ["l1", "l2"]


def test_a_state_called_x_is_refused() -> None:
    with pytest.raises(TypeError, match="'x' means the parameters"):
        type("Rule", (Optimizer,), {"state": ("x",)})


# --- The arguments of update ----------------------------------------------------------------------


def made(update: Any, **declared: Any) -> Any:
    return type("Rule", (Optimizer,), {"update": update, **declared})


@pytest.mark.parametrize(
    ("update", "state", "right"),
    [
        (lambda self, x, dx, lr: None, (), "def update(self, x, dx, *, lr)"),
        (lambda self, x, dx, v, mu: None, ("v",), "def update(self, x, dx, v, *, mu)"),
        (lambda self, x, dx, *, lr: None, ("v",), "def update(self, x, dx, v, *, lr)"),
        (lambda self, x, dx, v, m: None, ("m", "v"), "def update(self, x, dx, m, v)"),
        (lambda self, x, dx, v: None, (), "or name further arrays in `state`"),
        (lambda self, x: None, (), "def update(self, x, dx)"),
        (lambda self, *, lr: None, (), "def update(self, x, dx, *, lr)"),
        (lambda self, x, dx, *state: None, ("v",), "def update(self, x, dx, v)"),
        (lambda self, x, dx, **hyper: None, (), "hyper-parameters after a star"),
    ],
)
def test_an_update_that_does_not_fit_the_state_is_refused_when_the_class_is_made(
    update: Any, state: tuple[str, ...], right: str
) -> None:
    with pytest.raises(TypeError, match=f"Rule.update takes .*{re.escape(right)}"):
        made(update, state=state)


def test_update_gets_what_it_names_and_no_more() -> None:
    seen: list[Any] = []
    rule = made(lambda self, x, dx, *, t, mu: seen.append((t, mu)))
    assert rule.takes == ("t", "mu")
    p = leaf([1.0])
    optimizer = rule([p], lr=0.0, mu=0.5, more=3)
    moved(optimizer, p, [1.0], [1.0])
    assert seen == [(1, 0.5), (2, 0.5)]
    assert optimizer.more == 3
    optimizer.more = 4
    assert optimizer.groups[0]["more"] == 4


def test_an_update_that_asks_for_what_is_no_hyper_parameter_is_refused() -> None:
    rule = made(lambda self, x, dx, *, lr, mu: None)
    with pytest.raises(TypeError, match=r"Rule.update asks for mu.*only lr, weight_decay: .*mu=mu"):
        rule([leaf([1.0])], lr=0.1)
    rule([leaf([1.0])], lr=0.1, mu=0.5)


def test_a_hyper_parameter_that_another_optimizer_of_the_class_has_is_not_there() -> None:
    Signs([leaf([1.0])], lr=0.1, tau=2.0)
    with pytest.raises(AttributeError, match="Signs was made without 'tau'"):
        _ = Signs([leaf([1.0])], lr=0.1).tau  # type: ignore[attr-defined]


class Reads:
    """Updates in the old form."""

    def lr(self: Any, x: Array, dx: Array) -> None:
        x -= self.lr * dx

    def t(self: Any, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr / self.t * dx

    def weight_decay(self: Any, x: Array, dx: Array, *, lr: float) -> None:
        x -= lr * (dx + self.weight_decay * x)

    def mu(self: Any, x: Array, dx: Array, *, lr: float) -> None:
        x -= sum((lambda i: self.mu * dx)(i) for i in range(3))


@pytest.mark.parametrize("name", ["lr", "t", "weight_decay", "mu"])
def test_a_hyper_parameter_read_through_self_is_refused_when_the_class_is_made(name: str) -> None:
    remedy = rf"Rule.update reads self.{name}.*let update name it, .*\*.*, {name}\), and use {name}"
    with pytest.raises(TypeError, match=remedy):
        made(vars(Reads)[name], below_one=("mu",))


def test_a_hyper_parameter_read_in_a_method_that_update_calls_is_refused_too() -> None:
    message = r"Helped.rate reads self.lr.*update\(self, x, dx, \*, lr\)"
    with pytest.raises(TypeError, match=message):

        class Helped(Optimizer):
            def update(self, x: Array, dx: Array) -> None:
                x -= self.rate() * dx

            def rate(self) -> float:
                return 2 * self.lr


def test_another_self_may_have_what_it_likes() -> None:
    class Scaled:
        lr = 0.5

    def update(self: Any, x: Array, dx: Array) -> None:
        def rate(self: Any) -> float:
            return float(self.lr)

        x -= rate(Scaled()) * dx

    p = leaf([1.0])
    assert moved(made(update)([p], lr=1.0), p, [1.0]) == 0.5


def test_methods_that_call_each_other_are_looked_at_once() -> None:
    class Mutual(Optimizer):
        def update(self, x: Array, dx: Array, *, lr: float) -> None:
            x -= lr * self.halved(dx, 3)

        def halved(self, dx: Array, n: int) -> Array:
            return self.again(dx / 2, n)

        def again(self, dx: Array, n: int) -> Array:
            return self.halved(dx, n - 1) if n else dx

    p = leaf([1.0])
    assert moved(Mutual([p], lr=0.5), p, [16.0]) == 0.5


def test_a_hyper_parameter_that_only_the_constructor_knows_is_refused_when_it_is_made() -> None:
    rule = made(vars(Reads)["mu"])
    for _ in range(2):
        with pytest.raises(TypeError, match=r"Rule.update reads self.mu"):
            rule([leaf([1.0])], lr=0.1, mu=0.9)
    with pytest.raises(TypeError, match=r"Heavy.update reads self.mu"):

        class Heavy(Momentum):
            def update(self, x: Array, dx: Array, v: Array, *, lr: float) -> None:  # type: ignore[override]
                x -= lr * self.mu * dx


def test_what_only_looks_like_a_hyper_parameter_may_be_read() -> None:
    class Rule(Optimizer):
        scale = 2.0

        def update(self, x: Array, dx: Array, *, lr: float, eps: float) -> None:
            info = np.finfo(x.dtype)
            x -= lr * self.scale * self.half() * 2 * dx / (np.abs(dx) + max(eps, info.eps))

        @staticmethod
        def half() -> float:
            return 0.5

        def step(self) -> None:
            assert self.lr == 0.5  # outside of update it is the first group's
            super().step()

    p = leaf([1.0])
    np.testing.assert_allclose(moved(Rule([p], lr=0.5, eps=0.0), p, [4.0]), [0.0], atol=1e-12)


def test_an_update_that_is_no_function_of_python_is_taken() -> None:
    class Ready:
        """As a function of a compiled language is: without code to look into."""

        __signature__ = inspect.signature(lambda self, x, dx, *, lr: None)

        def __call__(self, x: Array, dx: Array, *, lr: float) -> None:
            x -= lr * dx

    p = leaf([1.0])
    optimizer = type("Rule", (Optimizer,), {"update": Ready()})([p], lr=0.5)
    np.testing.assert_array_equal(moved(optimizer, p, [1.0]), [0.5])
