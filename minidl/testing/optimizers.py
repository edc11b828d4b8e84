"""The conformance suite for optimizers: what must hold of every rule, whoever wrote it.

It is a file of its own because it is for the authors of rules. minidl's tests hold the five rules
to it, and :func:`check_optimizer` holds any other class derived from ``Optimizer`` to the same.

The checks train a list of parameters of many shapes with gradients that are known numbers. Most of
them do so twice in two ways that must come to the same, and compare the results bit for bit.
"""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.optim import Optimizer
from minidl.tensor import Tensor

SHAPES = ((3, 4), (5,), (), (0, 2), (2, 3, 2), (1,), (40,))
STEPS = 6
FirstStep = Callable[[Array, Array], Array]
Path = Callable[[Array, list[Array]], Array]


def check_optimizer(
    rule: type[Optimizer],
    *,
    first_step: FirstStep | None = None,
    path: Path | None = None,
    **hyper: Any,
) -> list[str]:
    """Check that a rule behaves as every optimizer must, in all that surrounds its formula.

    The rule must be deterministic, move nothing in its first step if the learning rate is 0, and
    with these hyper-parameters descend into a bowl of curvature 0.2 to 1 from a distance of 3.

    Args:
        rule: a class derived from :class:`minidl.optim.Optimizer`.
        first_step: what the formula gives for the first step, if it is simple: a function of the
            parameters and their gradient (float64 arrays) that returns the new parameters. It is
            held to 1e-12 relative.
        path: the same for several steps: a function of the parameters before the first step and the
            list of their gradients that returns the parameters after the last. What a first step
            does not show, such as the share of a state that is kept, can be seen only here.
        hyper: the hyper-parameters to make the optimizers with, among them ``lr``, a number, if the
            rule has no default for it.

    Returns:
        The names of the checks, all of which were passed. Those that do not apply are not among
        them: blocks for a rule that is not elementwise, pickling of a class that pickle cannot find
        by its name.

    Raises:
        AssertionError: at the first check that is not passed; the message names the rule and the
            behaviour, and says what was expected and what was found.
        TypeError: if ``rule`` is not a class derived from ``Optimizer``, or ``lr`` a schedule.

    :func:`optimizer_checks` has the same checks one by one.

    Example:
        >>> class Signs(Optimizer):
        ...     def update(self, x, dx, *, lr):
        ...         x -= lr * np.sign(dx)
        >>> passed = check_optimizer(Signs, lr=0.1, first_step=lambda x, dx: x - 0.1 * np.sign(dx))
        >>> passed[:2]
        ['falls on a convex problem', 'the first step is the closed form']
    """
    checks = optimizer_checks(rule, first_step=first_step, path=path, **hyper)
    return [check.name for check in checks if check()]


def optimizer_checks(
    rule: type[Optimizer],
    *,
    first_step: FirstStep | None = None,
    path: Path | None = None,
    **hyper: Any,
) -> list[Check]:
    """The checks of :func:`check_optimizer`, to be made one by one, each with its name.

    Called, a check raises as ``check_optimizer`` does, and returns whether it applies to the rule.

    Example:
        In a test file, so that pytest reports each by its name::

            @pytest.mark.parametrize("check", optimizer_checks(Lion, lr=0.01), ids=str)
            def test_lion_behaves_as_an_optimizer(check):
                check()
    """
    if not (isinstance(rule, type) and issubclass(rule, Optimizer)):
        raise TypeError(
            f"check_optimizer takes a class derived from minidl.optim.Optimizer, and its "
            f"hyper-parameters as keywords: check_optimizer(SGD, lr=0.1); got {rule!r}"
        )
    if callable(hyper.get("lr")):
        raise TypeError("check_optimizer takes lr as a number; schedules are among its checks")
    case = _Case(rule, hyper, first_step, path)
    return [Check(check.__name__.strip("_").replace("_", " "), check, case) for check in CHECKS]


@dataclass(frozen=True)
class Check:
    """One check of a rule; its name says what must hold."""

    name: str
    function: Callable[[_Case], bool | None]
    case: _Case

    def __call__(self) -> bool:
        """Raise an AssertionError unless it is passed; False if it does not apply to the rule."""
        try:
            return self.function(self.case) is not False
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            rule = self.case.rule.__name__
            raise AssertionError(f"{rule}: {self.name}: {kind}{error}") from error

    def __str__(self) -> str:
        return self.name


class _Case:
    """A rule, and parameters and gradients to try it on."""

    def __init__(
        self,
        rule: type[Optimizer],
        hyper: dict[str, Any],
        first_step: FirstStep | None,
        path: Path | None,
    ) -> None:
        self.rule = rule
        self.hyper = hyper
        self.first_step = first_step
        self.path = path
        rng = np.random.default_rng(0)
        self.targets = [rng.uniform(-0.5, 0.5, shape) for shape in SHAPES]
        self.curvatures = [rng.uniform(0.2, 1.0, shape) for shape in SHAPES]
        self.signs = [rng.choice([-1.0, 1.0], shape) for shape in SHAPES]
        self.noise = [rng.normal(size=(4 * STEPS, *shape)) for shape in SHAPES]

    def optimizer(self, params: Any, rule: type[Optimizer] | None = None, **hyper: Any) -> Any:
        return (rule or self.rule)(params, **{**self.hyper, **hyper})

    def params(self, dtypes: Sequence[Any] = (np.float64,), distance: float = 3.0) -> list[Tensor]:
        """Fresh parameters at a distance from their targets, of the dtypes in turn."""
        return [
            Tensor((t + distance * s).astype(dtypes[i % len(dtypes)]), requires_grad=True)
            for i, (t, s) in enumerate(zip(self.targets, self.signs, strict=True))
        ]

    def slope(self, i: int, p: Tensor) -> Array:
        """The gradient of the i-th parameter in its bowl."""
        return np.asarray(self.curvatures[i] * (p.data - self.targets[i]))

    def gradient(self, i: int, p: Tensor, step: int) -> Array:
        """The gradient of the i-th parameter in a step: that of its bowl, and noise."""
        return np.asarray(self.slope(i, p) + self.noise[i][step], p.dtype)

    def train(
        self,
        optimizer: Optimizer,
        params: Sequence[Tensor],
        steps: Iterable[int] = range(STEPS),
        only: Iterable[int] | None = None,
    ) -> None:
        """Let the i-th parameter of all be ``params[i]``; those of ``only`` get gradients."""
        for step in steps:
            optimizer.zero_grad()
            for i in range(len(params)) if only is None else only:
                g = self.gradient(i, params[i], step)
                if step % 2:  # by hand, and by a backward
                    params[i].grad = g
                else:
                    (params[i] * g).sum().backward()
            optimizer.step()

    def losses(self, params: Sequence[Tensor]) -> list[float]:
        """The height of each parameter in its bowl."""
        return [
            float(np.sum(c * (p.data - t) ** 2) / 2)
            for p, c, t in zip(params, self.curvatures, self.targets, strict=True)
        ]

    def descend(self, optimizer: Optimizer, params: Sequence[Tensor], steps: int) -> None:
        for _ in range(steps):
            for i, p in enumerate(params):
                p.grad = self.slope(i, p)
            optimizer.step()

    def trained(
        self, rule: type[Optimizer] | None = None, **hyper: Any
    ) -> tuple[Any, list[Tensor]]:
        """An optimizer and its parameters after a few steps."""
        params = self.params()
        optimizer = self.optimizer(params, rule, **hyper)
        self.train(optimizer, params)
        return optimizer, params


def _same(what: str, *, got: Sequence[Any], expected: Sequence[Any]) -> None:
    """Raise unless the arrays (or the data of the Tensors) are the same, bit for bit."""
    for i, pair in enumerate(zip(got, expected, strict=True)):
        a, b = (x.data if isinstance(x, Tensor) else np.asarray(x) for x in pair)
        _same_bits(f"{what}: parameter {i}", got=a, expected=b)


def _same_bits(name: str, *, got: Array, expected: Array) -> None:
    a, b = got, expected
    if a.dtype != b.dtype or a.shape != b.shape:
        raise AssertionError(f"{name} is {a.dtype}{a.shape}, expected {b.dtype}{b.shape}")
    if a.tobytes() != b.tobytes():
        worst = int(np.argmax(np.abs(a - b)))
        raise AssertionError(
            f"{name} of shape {a.shape} has {a.flat[worst]} at flat index {worst}, expected the "
            f"same bits as {b.flat[worst]}"
        )


def _same_state(what: str, *, got: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise unless two state dicts are the same, bit for bit."""
    if got.keys() != expected.keys():
        raise AssertionError(f"{what}: the state has {list(got)}, expected {list(expected)}")
    for key, value in expected.items():
        if isinstance(value, dict):
            _same_state(f"{what}, {key}", got=got[key], expected=value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for i, (one, other) in enumerate(zip(got[key], value, strict=True)):
                _same_state(f"{what}, {key} {i}", got=one, expected=other)
        elif isinstance(value, np.ndarray):
            _same_bits(f"{what}: the state {key!r}", got=got[key], expected=value)
        elif got[key] != value:
            raise AssertionError(f"{what}: {key} is {got[key]!r}, expected {value!r}")


def _states(optimizer: Any) -> dict[str, Any]:
    """The state of each parameter of an optimizer with one group."""
    [group] = optimizer.state_dict()["groups"]
    return dict(group["params"])


def _variant(rule: type[Optimizer], **attributes: Any) -> type[Optimizer]:
    """The same rule with class attributes of its own."""
    return type(rule.__name__, (rule,), attributes)


# --- The checks -----------------------------------------------------------------------------------
# Their names, with spaces, are what the report and the errors call them. One that does not apply to
# the rule returns False.


def _falls_on_a_convex_problem(case: _Case) -> None:
    for distance in (3.0, -3.0, 10.0):
        params = case.params(distance=distance)
        optimizer = case.optimizer(params)
        _descends(case, optimizer, params, f"from a distance of {distance}")
    # From a state that is not fresh: all are on the other side in the middle of a run.
    params = case.params()
    optimizer = case.optimizer(params)
    case.descend(optimizer, params, 10)
    for p, q in zip(params, case.params(distance=-3.0), strict=True):
        p.data[...] = q.data
    _descends(case, optimizer, params, "when the gradient turns round")
    params = case.params(distance=0.0)
    case.descend(case.optimizer(params), params, STEPS)
    for i, p in enumerate(params):
        if not np.isfinite(p.data).all():
            raise AssertionError(
                f"at the minimum, where gradients are 0, parameter {i} became NaN or inf"
            )


def _descends(case: _Case, optimizer: Any, params: list[Tensor], when: str) -> None:
    before = case.losses(params)
    case.descend(optimizer, params, 300)
    for i, (old, new) in enumerate(zip(before, case.losses(params), strict=True)):
        if params[i].size and not new < old:
            raise AssertionError(
                f"{when}, the loss of parameter {i} of shape {params[i].shape} went from {old:g} "
                f"to {new:g} in 300 steps, and should have fallen (update must move x in place, "
                f"against the gradient; or the learning rate is too large)"
            )


def _the_first_step_is_the_closed_form(case: _Case) -> bool | None:
    if case.first_step is None:
        return False
    params = case.params()
    optimizer = case.optimizer(params)
    gradients = [case.gradient(i, p, 0) for i, p in enumerate(params)]
    for p, g in zip(params, gradients, strict=True):
        p.grad = g
    expected = [case.first_step(p.numpy(), g) for p, g in zip(params, gradients, strict=True)]
    optimizer.step()
    for i, (p, x) in enumerate(zip(params, expected, strict=True)):
        if not np.allclose(p.data, x, rtol=1e-12, atol=1e-15):
            raise AssertionError(f"parameter {i} is {p.data}, expected {x}")
    return None


def _the_path_is_that_of_the_formula(case: _Case) -> bool | None:
    if case.path is None:
        return False
    start = [p.numpy() for p in case.params()]
    params = case.params()
    optimizer = case.optimizer(params)
    for step in range(4 * STEPS):
        for p, noise in zip(params, case.noise, strict=True):
            p.grad = np.asarray(noise[step])
        optimizer.step()
        for i, (p, x) in enumerate(zip(params, start, strict=True)):
            expected = case.path(x.copy(), list(case.noise[i][: step + 1]))
            if not np.allclose(p.data, expected, rtol=1e-9, atol=1e-12):
                raise AssertionError(
                    f"after step {step + 1} parameter {i} is {p.data}, expected {expected}"
                )
    return None


def _float32_goes_the_way_of_float64(case: _Case) -> None:
    """From the same numbers, with the same gradients, at a distance and from 0."""
    for distance in (3.0, 0.0):
        ends: dict[Any, tuple[list[Array], dict[str, Any]]] = {}
        start = [np.asarray(distance * sign, np.float32) for sign in case.signs]
        for dtype in (np.float32, np.float64):
            params = [Tensor(x.astype(dtype), requires_grad=True) for x in start]
            optimizer = case.optimizer(params)
            for step in range(4 * STEPS):
                for p, noise in zip(params, case.noise, strict=True):
                    p.grad = np.asarray(noise[step], np.float32)
                optimizer.step()
            ends[dtype] = [p.data for p in params], _states(optimizer)
        (narrow, its_state), (wide, state) = ends[np.float32], ends[np.float64]
        for i, (a, b, x) in enumerate(zip(narrow, wide, start, strict=True)):
            # Every step rounds x, and what moves it, anew.
            rounding = (
                4 * STEPS * float(np.finfo(np.float32).eps) * float(np.max(abs(b), initial=0))
            )
            _near(a - b, b - x, rounding, f"parameter {i}")
            for key in case.rule.state:
                c, d = its_state[str(i)][key], state[str(i)][key]
                _near(c - d, d, 0.0, f"the state {key!r} of parameter {i}")


def _near(difference: Array, size: Array, rounding: float, what: str) -> None:
    allowed = 1e-4 * float(np.max(abs(size), initial=0)) + rounding
    worst = float(np.max(abs(difference), initial=0))
    if not worst <= allowed:
        raise AssertionError(
            f"{what} differs by {worst:.2g} after {4 * STEPS} steps in float32 from what it is in "
            f"float64, where {allowed:.2g} could be rounding"
        )


def _the_learning_rate_is_obeyed(case: _Case) -> None:
    def after_one(rate: float) -> list[Tensor]:
        params = case.params()
        case.train(case.optimizer(params, lr=rate), params, [0])
        return params

    rate = case.optimizer(case.params()).lr
    at_rest = after_one(0.0)
    _same("a first step with lr=0 must not move", got=at_rest, expected=case.params())
    half = after_one(rate / 2)
    for i, full in enumerate(after_one(rate)):
        if full.size and np.array_equal(half[i].data, full.data):
            raise AssertionError(
                f"with half the learning rate the first step of parameter {i} is the same"
            )


def _another_optimizer_begins_anew(case: _Case) -> None:
    (_, first), (_, second) = case.trained(), case.trained()
    what = "a second run of the same steps (state that outlives the optimizer?)"
    _same(what, got=second, expected=first)


def _flat_storage_equals_single_tensors(case: _Case) -> None:
    optimizer, params = case.trained()
    for i, alone in enumerate(case.params()):
        single = case.optimizer([alone])
        everybody = case.params()
        everybody[i] = alone
        case.train(single, everybody)
        what = "together with others against alone (state that parameters share?)"
        _same(what, got=[params[i]], expected=[alone])
        state, expected = _states(optimizer)[str(i)], _states(single)["0"]
        _same_state(what, got=state, expected=expected)


def _the_order_of_parameters_does_not_matter(case: _Case) -> None:
    _, expected = case.trained()
    params = case.params()
    case.train(case.optimizer(params[::-1]), params)
    _same("listed in reverse", got=params, expected=expected)


def _whole_tensors_equal_flat_storage(case: _Case) -> bool | None:
    if not case.rule.elementwise:
        return False
    _, expected = case.trained()
    _, params = case.trained(_variant(case.rule, elementwise=False))
    _same("tensor by tensor (elementwise = False) against flat", got=params, expected=expected)
    return None


def _the_size_of_blocks_does_not_matter(case: _Case) -> bool | None:
    if not case.rule.elementwise:
        return False
    _, expected = case.trained()
    why = "update runs once for each block: what counts or remembers belongs into t and `state`"
    for size in (1, 7, 64):
        _, params = case.trained(_variant(case.rule, block_size=size))
        _same(f"in blocks of {size} ({why})", got=params, expected=expected)
    return None


def _gradients_are_left_alone(case: _Case) -> None:
    params = case.params()
    optimizer = case.optimizer(params)
    for step, decay in enumerate((0.0, 0.1)):
        optimizer.weight_decay = decay
        gradients = [case.gradient(i, p, step) for i, p in enumerate(params)]
        for p, g in zip(params, gradients, strict=True):
            (p * g).sum().backward()
        kept = [p.grad for p in params]
        optimizer.step()
        now = [p.grad for p in params]
        _same("p.grad after the step against before", got=now, expected=gradients)
        optimizer.zero_grad()
        _same("a gradient that the user keeps", got=kept, expected=gradients)


def _a_state_dict_carries_everything(case: _Case) -> None:
    optimizer, params = case.trained()
    for key, value in list(optimizer.groups[0].hyper.items()):
        # Hyper-parameters that the constructor of the other one does not know of.
        if isinstance(value, float):
            setattr(optimizer, key, value / 2)
        elif key in case.rule.pairs:
            setattr(optimizer, key, tuple(v / 2 for v in value))
    optimizer.weight_decay = 0.03
    saved = optimizer.state_dict()
    frozen = copy.deepcopy(saved)
    copied = [Tensor(p.numpy(), requires_grad=True) for p in params]
    other = case.optimizer(copied)
    other.load_state_dict(saved)
    _same_state("after load_state_dict", got=other.state_dict(), expected=saved)
    later = range(STEPS, 2 * STEPS)
    what = "the state dict after further steps"
    case.train(optimizer, params, later)
    _same_state(f"{what} of its optimizer (not a copy?)", got=saved, expected=frozen)
    case.train(other, copied, later)
    _same_state(f"{what} of the other (not copied?)", got=saved, expected=frozen)
    what = "the optimizer that loaded the state (state kept outside `state`?)"
    _same(what, got=copied, expected=params)
    now = optimizer.state_dict()
    _same_state("the state after further steps", got=other.state_dict(), expected=now)


def _a_state_dict_keeps_two_groups_apart(case: _Case) -> None:
    def made(**second: Any) -> tuple[Any, list[Tensor], list[Tensor]]:
        one, two = case.params(), case.params()
        groups = [{"params": one}, {"params": two, **second}]
        return case.optimizer(groups), one, two

    def train(optimizer: Any, groups: Sequence[list[Tensor]], steps: Iterable[int]) -> None:
        for step in steps:
            for params in groups:
                for i, p in enumerate(params):
                    p.grad = case.gradient(i, p, step)
            optimizer.step()

    rate = case.optimizer(case.params()).lr
    optimizer, one, two = made(lr=rate / 2, weight_decay=0.1)
    train(optimizer, [one], [0])  # the second group is one step behind
    train(optimizer, [one, two], range(1, STEPS))
    saved = optimizer.state_dict()
    other, first, second = made()
    other.load_state_dict(saved)
    what = "the state of two groups, loaded and saved again"
    _same_state(what, got=other.state_dict(), expected=saved)
    for p, q in zip([*first, *second], [*one, *two], strict=True):
        p.data[...] = q.data
    later = range(STEPS, 2 * STEPS)
    train(optimizer, [one, two], later)
    train(other, [first, second], later)
    _same("the first of two groups, after their state was loaded", got=first, expected=one)
    _same("the second of two groups, after their state was loaded", got=second, expected=two)


def _a_parameter_without_gradient_rests(case: _Case) -> None:
    optimizer, params = case.trained()
    _rests(case, optimizer, params, "a parameter without a gradient")


def _a_frozen_parameter_rests_and_goes_on(case: _Case) -> None:
    optimizer, params = case.trained()
    for p in params[::2]:
        p.requires_grad = False
    _rests(case, optimizer, params, "a frozen parameter")


def _rests(case: _Case, optimizer: Any, params: list[Tensor], what: str) -> None:
    """Every second parameter pauses for some steps; the others go on, and then all."""
    pausing, moving = range(0, len(params), 2), range(1, len(params), 2)
    before = [params[i].numpy() for i in pausing]
    states = _states(optimizer)
    case.train(optimizer, params, range(STEPS, 2 * STEPS), only=moving)
    _same(f"{what} has moved", got=[params[i] for i in pausing], expected=before)
    after = _states(optimizer)
    for i in pausing:
        changed = f"the state of {what} has changed"
        _same_state(changed, got=after[str(i)], expected=states[str(i)])
    for i in pausing:
        params[i].requires_grad = True
    case.train(optimizer, params, range(2 * STEPS, 3 * STEPS))
    # What pauses must come to the same as an optimizer of its own that is not stepped meanwhile.
    expected = case.params()
    first = case.optimizer([expected[i] for i in pausing])
    second = case.optimizer([expected[i] for i in moving])
    case.train(first, expected)
    case.train(first, expected, range(2 * STEPS, 3 * STEPS))
    case.train(second, expected, range(3 * STEPS))
    what = f"{what} and the others beside it, after it goes on"
    _same(what, got=params, expected=expected)


def _a_late_parameter_counts_its_own_steps(case: _Case) -> None:
    params = case.params()
    optimizer = case.optimizer(params)
    case.train(optimizer, params, range(STEPS), only=[0])
    case.train(optimizer, params, range(STEPS, 2 * STEPS))
    expected = case.params()
    case.train(case.optimizer([expected[0]]), expected, range(2 * STEPS))
    case.train(case.optimizer(expected[1:]), expected, range(STEPS, 2 * STEPS))
    what = "with a first gradient in step 7 (t is counted for each parameter)"
    _same(what, got=params, expected=expected)


def _a_shared_parameter_moves_once(case: _Case) -> None:
    params, expected = case.params(), case.params()
    optimizer, other = case.optimizer(params), case.optimizer(expected)
    for step in range(STEPS):
        optimizer.zero_grad()
        for i, (p, q) in enumerate(zip(params, expected, strict=True)):
            g, h = case.gradient(i, p, step), case.noise[i][step]
            ((p * g).sum() + (p * h).sum()).backward()
            q.grad = h + g
        optimizer.step()
        other.step()
    what = "used twice, against one use with the sum of both gradients"
    _same(what, got=params, expected=expected)


def _groups_have_their_own_hyper_parameters(case: _Case) -> None:
    params, expected = case.params(), case.params()
    rate = case.optimizer(case.params()).lr
    first, second = range(3), range(3, len(params))
    groups = [
        {"params": [params[i] for i in first], "lr": rate / 2},
        {"params": [params[i] for i in second], "weight_decay": 0.1},
    ]
    case.train(case.optimizer(groups), params)
    one = case.optimizer([expected[i] for i in first], lr=rate / 2)
    two = case.optimizer([expected[i] for i in second])
    two.weight_decay = 0.1
    case.train(one, expected)
    case.train(two, expected)
    _same("in two groups, against two optimizers", got=params, expected=expected)


def _a_schedule_sets_the_learning_rate(case: _Case) -> None:
    rate = case.optimizer(case.params()).lr
    _, params = case.trained(lr=lambda step: rate / (1 + step))
    expected = case.params()
    optimizer = case.optimizer(expected)
    for step in range(STEPS):
        optimizer.lr = rate / (1 + step)
        case.train(optimizer, expected, [step])
    what = "lr as a function of the step, against lr set before each step"
    _same(what, got=params, expected=expected)


def _weight_decay_adds_to_the_gradient(case: _Case) -> bool | None:
    if case.rule.decays_itself:
        return False
    params, expected = case.params(), case.params()
    optimizer, other = case.optimizer(params), case.optimizer(expected)
    optimizer.weight_decay, other.weight_decay = 0.1, 0.0
    for step in range(STEPS):
        for i, (p, q) in enumerate(zip(params, expected, strict=True)):
            p.grad = case.gradient(i, p, step)
            q.grad = case.gradient(i, q, step) + 0.1 * q.data
        optimizer.step()
        other.step()
    what = "weight_decay=0.1, against 0.1 * x added to the gradient by hand"
    _same(what, got=params, expected=expected)
    return None


def _the_dtype_is_kept(case: _Case) -> None:
    kinds = (np.float32, np.float64)
    ends = {}
    for dtypes in [(np.float32,), (np.float64,), kinds]:
        params = case.params(dtypes)
        optimizer = case.optimizer(params)
        case.train(optimizer, params)
        states = _states(optimizer)
        for i, p in enumerate(params):
            dtype = dtypes[i % len(dtypes)]
            arrays = {key: states[str(i)][key] for key in case.rule.state}
            for what, array in {"data": p.data, "grad": p.grad, **arrays}.items():
                if array is not None and array.dtype != dtype:
                    raise AssertionError(
                        f"{what} of a parameter of {np.dtype(dtype)} has become {array.dtype}"
                    )
        ends[dtypes] = params
    expected = [ends[(kinds[i % 2],)][i] for i in range(len(SHAPES))]
    what = "float32 and float64 in one group, against each for itself"
    _same(what, got=ends[kinds], expected=expected)


def _copies_go_on_alike(case: _Case) -> None:
    _goes_on_alike(case, copy.deepcopy)


def _pickles_go_on_alike(case: _Case) -> bool | None:
    try:
        pickle.dumps((case.rule, case.hyper))
    except (pickle.PicklingError, AttributeError, TypeError):
        return False  # pickle finds a class by its name, and this one has none in its module
    _goes_on_alike(case, lambda pair: pickle.loads(pickle.dumps(pair)))
    return None


def _goes_on_alike(case: _Case, copied: Callable[[Any], Any]) -> None:
    optimizer, params = case.trained()
    others, other = copied((params, optimizer))
    before = [p.numpy() for p in params]
    case.train(other, others, range(STEPS, 2 * STEPS))
    _same("the original, after the copy went on", got=params, expected=before)
    case.train(optimizer, params, range(STEPS, 2 * STEPS))
    _same("the copy, against the original", got=others, expected=params)


def _bad_arguments_are_refused(case: _Case) -> None:
    p, q = Tensor([1.0], requires_grad=True), Tensor([2.0], requires_grad=True)
    lists: dict[str, Any] = {
        "an empty list": [],
        "an exhausted iterator": iter(()),
        "a Tensor in place of a list": p,
        "None": None,
        "an ndarray in the list": [p, np.ones(1)],
        "a Tensor that requires no gradient": [p, Tensor([1.0])],
        "integers": [p, Tensor(np.ones(1, int))],
        "a result of a computation": [p, p[0]],
        "a parameter listed twice": [p, q, p],
        "a parameter in two groups": [{"params": [p]}, {"params": [q, p]}],
        "a group without parameters": [{"params": [p]}, {"params": []}],
        "a group with a hyper-parameter that is none": [{"params": [p], "learning": 0.1}],
    }
    for what, params in lists.items():
        _refuses(f"{what} as parameters", "", case.optimizer, params)
    hyper = case.optimizer([p]).groups[0].hyper
    for key in [key for key, value in hyper.items() if _is_plain(value)]:
        values = [math.nan, "0.1", None]
        if key in ("lr", "weight_decay"):
            values += [-0.1, math.inf]
        if key in case.rule.below_one:
            values += [1.0, -0.1]
        for value in values:
            _refuses(
                f"{key}={value!r} of a group", key, case.optimizer, [{"params": [p], key: value}]
            )
            optimizer = case.optimizer([q])
            _refuses(f"optimizer.{key} = {value!r}", key, setattr, optimizer, key, value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuses(what: str, name: str, function: Callable[..., Any], *args: Any) -> None:
    try:
        function(*args)
    except (TypeError, ValueError) as error:
        if name not in str(error):
            raise AssertionError(f"{what}: the error does not name it: {error}") from error
        return
    raise AssertionError(f"{what} was accepted; expected a TypeError or ValueError")


def _a_step_without_gradients_warns(case: _Case) -> None:
    optimizer, params = case.trained()
    before = [p.numpy() for p in params]
    optimizer.zero_grad()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer.step()
    _same("a step without any gradient must not move", got=params, expected=before)
    if not any(issubclass(w.category, RuntimeWarning) for w in caught):
        raise AssertionError("a step without any gradient gave no RuntimeWarning")


CHECKS: tuple[Callable[[_Case], bool | None], ...] = (
    _falls_on_a_convex_problem,
    _the_first_step_is_the_closed_form,
    _the_path_is_that_of_the_formula,
    _the_learning_rate_is_obeyed,
    _another_optimizer_begins_anew,
    _float32_goes_the_way_of_float64,
    _flat_storage_equals_single_tensors,
    _the_order_of_parameters_does_not_matter,
    _whole_tensors_equal_flat_storage,
    _the_size_of_blocks_does_not_matter,
    _gradients_are_left_alone,
    _a_state_dict_carries_everything,
    _a_state_dict_keeps_two_groups_apart,
    _a_late_parameter_counts_its_own_steps,
    _a_parameter_without_gradient_rests,
    _a_frozen_parameter_rests_and_goes_on,
    _a_shared_parameter_moves_once,
    _groups_have_their_own_hyper_parameters,
    _a_schedule_sets_the_learning_rate,
    _weight_decay_adds_to_the_gradient,
    _the_dtype_is_kept,
    _copies_go_on_alike,
    _pickles_go_on_alike,
    _bad_arguments_are_refused,
    _a_step_without_gradients_warns,
)
