"""What all rules share: groups, hyper-parameters, storage, the step, the state.

A rule is a class with an ``update`` method that moves a flat array of parameters, given a flat
array of their gradients. This file gives it those arrays. The parameters of a group are moved into
one buffer, of which each parameter's ``data`` is then a view, and their gradients arrive in
another, so that a step is one pass over the buffers however many parameters there are. The pass
goes in blocks that fit into the processor's cache.
"""

from __future__ import annotations

import copy
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from minidl.autograd import Leaf, Node
from minidl.optim.explain import UnknownStepError, formula, found_step, table
from minidl.optim.inplace import check_in_place, first_block
from minidl.states import unfit
from minidl.tensor import Array, Tensor

LearningRate = float | Callable[[int], float]
Parameters = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Mapping[str, Any]]


class Optimizer:
    """The base class of all rules.

    A rule names its state, and moves parameters in place, given gradients. Its hyper-parameters are
    attributes; ``self.t`` is the number of this step (1, 2, ...) for these parameters.

    An optimizer moves the data of its parameters into memory of its own. ``p.data`` is always
    right; an array that was taken from it before the optimizer was made is no longer part of it.

    Args:
        params: Tensors that require gradients, such as ``model.parameters()``; or pairs of name and
            Tensor; or dicts, each a group with ``"params"`` and hyper-parameters of its own.
        lr: the learning rate: a number, or a function of the number of steps taken so far.
        weight_decay: ``dx + weight_decay * x`` takes the place of the gradient ``dx``.
        hyper: the further hyper-parameters of the rule.

    Attributes:
        groups: for each group a mapping with ``"params"`` and the hyper-parameters, which may be
            changed between steps. As an attribute (``optimizer.lr``) a hyper-parameter is read from
            the first group and set in all.
        steps: the number of steps taken.

    Raises:
        TypeError: for something among ``params`` that is not a parameter, or a hyper-parameter that
            the rule does not have.
        ValueError: if there are no parameters, one is listed twice, two share memory, or a
            hyper-parameter is out of range.

    Example:
        >>> class Signs(Optimizer):
        ...     def update(self, x, dx):
        ...         x -= self.lr * np.sign(dx)
        >>> x = Tensor([1.0, -3.0], requires_grad=True)
        >>> optimizer = Signs([x], lr=0.5)
        >>> (x**2).sum().backward()
        >>> optimizer.step()
        >>> x
        Tensor([ 0.5, -2.5], requires_grad=True)
    """

    state: tuple[str, ...] = ()
    """The names of the rule's state arrays: further arguments of ``update``, zero at the start."""

    elementwise = True
    """Whether each element moves on its own. A rule that must see whole tensors says False: then
    ``update`` is called for each parameter (unless it is empty), with arrays of its shape."""

    below_one: tuple[str, ...] = ()
    """The hyper-parameters that must be below 1."""

    pairs: tuple[str, ...] = ()
    """The hyper-parameters that are two numbers."""

    switches: tuple[str, ...] = ()
    """The hyper-parameters that are True or False. For other values that are not numbers of at
    least 0 a rule overrides :meth:`checked`."""

    block_size = 32768
    """How many elements ``update`` gets at most, if elementwise: with the temporaries of a rule a
    few hundred KB, which stay within a core's own cache."""

    groups: tuple[Group, ...]
    steps: int
    t: int

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for declared in ("state", "below_one", "pairs", "switches"):
            names = getattr(cls, declared)
            if isinstance(names, str):
                raise TypeError(
                    f"{cls.__name__}.{declared} is a tuple of names: write ({names!r},) with a "
                    f"comma, not {names!r}"
                )
        if "steps" in cls.state:
            raise TypeError(f"{cls.__name__}.state: 'steps' is counted already, as self.t")
        if "x" in cls.state:
            raise TypeError(f"{cls.__name__}.state: 'x' means the parameters: rename the state")

    def __init__(
        self, params: Parameters, lr: LearningRate, weight_decay: float = 0.0, **hyper: Any
    ) -> None:
        rule = type(self)
        defaults = {"lr": lr, "weight_decay": weight_decay, **hyper}
        taken = [key for key in defaults if hasattr(rule, key) or key in Optimizer.__annotations__]
        if taken:
            raise TypeError(
                f"{rule.__name__}: a hyper-parameter cannot be called {taken[0]!r}, which is an "
                f"attribute of the class: give it another name"
            )
        listed = _as_groups(params, rule.__name__)
        _check_parameters(listed)
        groups = []
        for names, tensors, own in listed:
            unknown = [key for key in own if key not in defaults]
            if unknown:
                raise TypeError(
                    f"{rule.__name__} has no hyper-parameter {unknown[0]!r}, only "
                    f"{', '.join(defaults)}"
                )
            groups.append(Group(rule, names, tensors, defaults | own))
        _bring_home(groups)
        for group in groups:
            group.storage.lend()
        self.__dict__.update(groups=tuple(groups), steps=0, t=0)

    def update(self, x: Array, dx: Array, *state: Any, **unused: Any) -> None:
        """The rule: move ``x`` and ``state`` in place, given ``dx``, which is read only.

        (``**unused`` is never given. To a type checker it says that a rule may name its state.)
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method update(self, x, dx, ...)")

    def step(self) -> None:
        """Move every parameter that has a gradient by the rule.

        A parameter without a gradient stays where it is, and so does its state.

        Raises:
            ValueError: if the learning rate that a schedule gives is negative or not finite, or if
                two parameters have come to share memory. Nothing has moved then.
            TypeError: if a parameter has changed its dtype; nothing has moved then. In the first
                step, if ``update`` does not change ``x`` or a state in place (``x = x - ...``).

        Warns:
            RuntimeWarning: if no parameter has a gradient.
        """
        _bring_home(self.groups)
        rates = [group.rate(self.steps) for group in self.groups]
        work = [group.storage.ready() for group in self.groups]
        for group, lr, runs in zip(self.groups, rates, work, strict=True):
            group.since = "the last step failed"
            first = [] if group.proven or not lr else first_block(runs)
            for t, blocks in runs:
                self.apply(group, blocks, t, lr)
            if first:
                check_in_place(self, group.hyper, *first)
                group.proven = True
            group.storage.settle()
            group.since, group.stepped_with = "", lr
        self.count_step()
        if not any(work):
            warnings.warn(
                f"{type(self).__name__}.step() moved nothing, since none of its parameters has a "
                f"gradient: call backward() before, and see that these are the parameters of the "
                f"model in use (an optimizer made before its model was rebuilt holds the old ones)",
                RuntimeWarning,
                stacklevel=2,
            )

    def apply(self, group: Group, blocks: list[list[Array]], t: int, lr: float) -> None:
        """Move blocks of a group by the rule, in their step number ``t``, at the rate ``lr``."""
        own = self.__dict__
        own.update(group.hyper, lr=lr, t=t)  # within the step an attribute is the group's value
        decay = own["weight_decay"]
        try:
            for arrays in _decayed(blocks, decay) if decay else blocks:
                if self.update(*arrays) is not None:  # type: ignore[func-returns-value]
                    raise TypeError(
                        f"{type(self).__name__}.update returned something: it must change "
                        f"x in place (x -= ..., x[...] = ...) and return nothing"
                    )
        finally:
            for key in group.hyper:
                del own[key]

    def count_step(self, n: int = 1) -> None:
        """Count steps that were made, by :meth:`step` or elsewhere."""
        self.__dict__["steps"] += n

    def bring_home(self) -> None:
        """Take parameters whose data was set to other arrays back into the optimizer's memory."""
        _bring_home(self.groups)

    def zero_grad(self) -> None:
        """Forget the gradients, as is needed before each backward; they become None."""
        for group in self.groups:
            group.storage.forget_gradients()
            group.since = "zero_grad() has forgotten the gradient"

    def explain(self, name: str) -> str:
        """Tell of one parameter how the last step moved it, as text for the terminal.

        In the lecture's notation: the rule, the gradient ``dx``, the state after the step, the
        effective rate ``|step/dx|`` of each element, the step, and the step over the learning rate.
        A small parameter is shown in full; of a large one there are the norm, the smallest, median
        and largest magnitude, and the element that moved most.

        Nothing is kept for this while a model trains. The step is found again by running the rule's
        ``update`` once more, over the state that it left behind, which works for the five rules and
        for every other that changes its state first and uses it then. Of a rule that does not, the
        gradient and the state are shown, and the reason. What is shown is right until the next
        ``backward()``.

        Args:
            name: the parameter's name, as in the state dict; if several groups have one of that
                name, ``"weight of group 1"``.

        Raises:
            ValueError: if there is no parameter of that name; the message lists the names.
            RuntimeError: if there is nothing to explain: before the first step, and once the
                gradients have been forgotten, a hyper-parameter set or a state loaded.

        Example:
            >>> from minidl.optim import Momentum
            >>> x = Tensor([1.0, -3.0], requires_grad=True)
            >>> optimizer = Momentum([("x", x)], lr=0.1)
            >>> for _ in range(2):
            ...     optimizer.zero_grad()
            ...     (x**2).sum().backward()
            ...     optimizer.step()
            >>> print(optimizer.explain("x"))
            x (2,), step 2 of Momentum
            lr=0.1, weight_decay=0.0, mu=0.9
            SGD with momentum: v = mu * v - dx; x += lr * v.
            A ball rolling down the loss: v is its velocity, mu what friction leaves of it.
                                         [0]     [1]
            gradient dx                  1.6    -4.8
            state v                     -3.4    10.2
            effective rate |step/dx|  0.2125  0.2125
            step                       -0.34    1.02
            step / lr                   -3.4    10.2
            x after the step            0.46   -1.38
        """
        group, i = self._found(name)
        storage = group.storage
        if group.since:
            raise RuntimeError(
                f"{type(self).__name__}.explain({name!r}): there is nothing to explain, since "
                f"{group.since}: call it after step(), before anything else changes"
            )
        lr = group.stepped_with
        hyper = ", ".join(f"{k}={v}" for k, v in {**group.hyper, "lr": lr}.items())
        x, dx, *arrays = storage.views[i]
        title = [f"{name} {x.shape}, step {storage.counts[i]} of {type(self).__name__}", hyper]
        if not storage.present[i]:
            return f"{title[0]}: without a gradient in the last step, it rested"
        if not x.size:
            return f"{title[0]}: it has no elements"
        decay = group.hyper["weight_decay"]
        state = dict(zip(self.state, arrays, strict=True))
        rows: list[tuple[str, Array | None]] = [("gradient dx", dx)]
        step, reason = None, []
        try:
            step = self._step_again(group, i, lr)
        except UnknownStepError as error:
            reason = [f"The step cannot be told from what it leaves behind: {error}."]
        if step is not None and decay:
            dx = dx + decay * (x - step)
            rows.append(("dx + weight_decay * x", dx))
        rows += [(f"state {key}", array) for key, array in state.items()]
        if step is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                rate = np.where(dx == 0, np.nan, np.abs(step / dx))
            rows.append(("effective rate |step/dx|", rate))
            rows += [("step", step), ("step / lr", step / lr if lr else None)]
        rows.append(("x after the step", x))
        return "\n".join([*title, *formula(type(self)), *table(rows, step), *reason])

    def _found(self, name: str) -> tuple[Group, int]:
        """The group of a parameter, and its place in it."""
        places = [
            (own, f"{own} of group {g}", group, i)
            for g, group in enumerate(self.groups)
            for i, own in enumerate(group.storage.names)
        ]
        for matches in (
            [p for p in places if p[0] == name],
            [p for p in places if p[1] == name],
        ):
            if len(matches) == 1:
                return matches[0][2:]
            if matches:
                longer = " or ".join(repr(p[1]) for p in matches)
                raise ValueError(f"several groups have a parameter {name!r}: say {longer}")
        raise ValueError(
            f"no parameter is called {name!r}; they are {', '.join(p[0] for p in places)}"
        )

    def _step_again(self, group: Group, i: int, lr: float) -> Array:
        """The last step of a parameter, made once more by a copy of this rule."""
        storage = group.storage
        try:
            rule = object.__new__(type(self))
            own = {key: value for key, value in self.__dict__.items() if key != "groups"}
            rule.__dict__.update(copy.deepcopy(own), groups=self.groups)
        except Exception as error:
            raise UnknownStepError(f"the rule cannot be copied ({error})") from error
        rule.__dict__.update(group.hyper, lr=lr, t=storage.counts[i])
        views = storage.views[i]
        x, dx, *arrays = [v.reshape(-1) for v in views] if self.elementwise else views
        state = dict(zip(self.state, arrays, strict=True))
        decay = group.hyper["weight_decay"]
        step = found_step(rule.update, x, dx, state, decay, self.elementwise)
        return step.reshape(storage.params[i].shape)

    # Hyper-parameters are attributes: of the current group within a step, of all outside it ------

    def __getattr__(self, name: str) -> Any:
        groups = self.__dict__.get("groups")
        if not groups or name not in groups[0].hyper:
            known = f"; its hyper-parameters are {', '.join(groups[0].hyper)}" if groups else ""
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{known}")
        return groups[0].rate(self.steps) if name == "lr" else groups[0].hyper[name]

    def __setattr__(self, name: str, value: Any) -> None:
        groups = self.__dict__.get("groups", ())
        if groups and name in groups[0].hyper:
            for group in groups:
                group[name] = value
            return
        if groups and name not in self.__dict__ and not hasattr(type(self), name):
            # A rule keeps in its methods what it likes; from elsewhere it is a misspelt name.
            caller = sys._getframe(1).f_code.co_qualname
            if not any(caller.startswith(f"{c.__qualname__}.") for c in type(self).__mro__):
                raise AttributeError(
                    f"{type(self).__name__} has no attribute {name!r} that could be set; its "
                    f"hyper-parameters are {', '.join(groups[0].hyper)}, and what else a rule "
                    f"keeps is set in its own methods or in its class"
                )
        super().__setattr__(name, value)

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        """The value of a hyper-parameter as it is kept, in plain Python numbers.

        Raises:
            ValueError: if it is of another kind than the rule declares, or out of range.
        """
        if name == "lr" and callable(value):
            return value
        if name in cls.switches:
            if not isinstance(value, bool | np.bool_):
                raise ValueError(f"{cls.__name__}: {name} must be True or False, got {value!r}")
            return bool(value)
        pair = name in cls.pairs
        numbers = value if pair and isinstance(value, tuple | list) else (value,)
        high = 1 if name in cls.below_one else math.inf
        if len(numbers) != 1 + pair or not all(_is_number(n) and 0 <= n < high for n in numbers):
            what = ("two " if pair else "a ") + ("" if high == 1 else "finite ") + "number"
            limits = "from 0 to below 1" if high == 1 else "of at least 0"
            raise ValueError(
                f"{cls.__name__}: {name} must be {what}{'s' * pair} {limits}, got {value!r}"
            )
        # NumPy's own scalars would turn float32 temporaries into float64 ones.
        plain = [float(n) if isinstance(n, float | np.floating) else int(n) for n in numbers]
        return tuple(plain) if pair else plain[0]

    def __repr__(self) -> str:
        groups = [
            f"{len(group['params'])} parameters, "
            + ", ".join(
                f"{k}={getattr(v, '__name__', v) if callable(v) else v}"
                for k, v in group.hyper.items()
            )
            for group in self.groups
        ]
        return f"{type(self).__name__}({'; '.join(groups)})"

    # State ----------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The hyper-parameters and the state of every parameter by its name, all copied.

        A schedule is a function and cannot be stored: its place holds ``"schedule"``.
        """
        groups = [group.state_dict() for group in self.groups]
        return {"rule": type(self).__name__, "steps": self.steps, "groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned, copying it; hyper-parameters too.

        What is to be other than it was saved (another rate to go on with) is set afterwards.

        Raises:
            ValueError: if it is of another rule or for other parameters, or if a learning rate was
                a schedule and is a number here, or the other way round; the message lists all
                differences, and nothing has been changed.
        """
        faults = []
        rule, steps = state.get("rule"), state.get("steps")
        if rule != type(self).__name__:
            faults.append(f"it is of {rule}, not of {type(self).__name__}")
        if not _is_count(steps):
            faults.append(f"it has taken {steps!r} steps")
        saved = list(state.get("groups", ()))
        if len(saved) != len(self.groups):
            faults.append(f"it has {len(saved)} groups, not {len(self.groups)}")
        for i, (group, new) in enumerate(zip(self.groups, saved, strict=False)):
            where = f"in group {i} " if len(saved) > 1 else ""
            faults += [where + fault for fault in group.differences(new)]
        if faults:
            raise ValueError("this optimizer cannot take the state: " + "; ".join(faults))
        for group, new in zip(self.groups, saved, strict=True):
            group.load_state_dict(new)
        self.__dict__["steps"] = int(state["steps"])


class Group(MutableMapping[str, Any]):
    """Parameters with hyper-parameters in common: a dict that checks the values put into it.

    ``group["params"]`` is a tuple; what stands beside it are the hyper-parameters of the rule.
    """

    def __init__(
        self, rule: type[Optimizer], names: list[str], params: list[Tensor], hyper: dict[str, Any]
    ) -> None:
        self.rule = rule
        self.hyper = {key: rule.checked(key, value) for key, value in hyper.items()}
        self.storage = _Storage(rule, names, params)
        self.proven = False  # whether a step has shown that update works in place
        self.stepped_with = math.nan  # the learning rate of the last step
        self.since = "no step has been made"  # why that step cannot be explained any more

    def __getitem__(self, key: str) -> Any:
        return tuple(self.storage.params) if key == "params" else self.hyper[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self.hyper:
            raise KeyError(
                f"only {', '.join(self.hyper)} can be set in a group of {self.rule.__name__}, not "
                f"{key}: make a new optimizer for other parameters"
            )
        self.hyper[key] = self.rule.checked(key, value)
        self.since = f"{key} has been set"

    def __delitem__(self, key: str) -> None:
        raise TypeError(f"a group of {self.rule.__name__} cannot do without {key!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(("params", *self.hyper))

    def __len__(self) -> int:
        return 1 + len(self.hyper)

    def __repr__(self) -> str:
        return repr(dict(self))

    def rate(self, steps: int) -> float:
        """The learning rate after so many steps."""
        lr = self.hyper["lr"]
        if not callable(lr):
            return lr
        value = lr(steps)
        if not (_is_number(value) and 0 <= value < math.inf):
            raise ValueError(
                f"{self.rule.__name__}: the schedule for lr gave {value!r} after {steps} steps, "
                f"not a finite number of at least 0"
            )
        return float(value)

    def state_dict(self) -> dict[str, Any]:
        hyper = {key: _storable(value) for key, value in self.hyper.items()}
        return {"hyper": hyper, "params": self.storage.state_dict()}

    def differences(self, saved: Mapping[str, Any]) -> list[str]:
        """In what a state dict does not fit."""
        faults = self.storage.differences(saved.get("params", {}))
        hyper = saved.get("hyper", {})
        if set(hyper) != set(self.hyper):
            faults.append(
                f"the hyper-parameters are {', '.join(hyper) or 'missing'}, not "
                f"{', '.join(self.hyper)}"
            )
        for key, value in self.hyper.items():
            new = hyper.get(key, value)
            if callable(value) and new is not value and not _is_schedule(new):
                faults.append(
                    f"{key} was {new!r}, and is a schedule here, which would be lost: make this "
                    f"optimizer with a number, too, and set {key} to the schedule after loading"
                )
            elif not callable(value) and _is_schedule(new):
                faults.append(
                    f"{key} was a schedule: make this optimizer with one, too; for a number, set "
                    f"{key} after loading"
                )
            elif not callable(value):
                try:
                    self.rule.checked(key, new)
                except ValueError as error:
                    faults.append(str(error))
        return faults

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self.storage.load_state_dict(saved["params"])
        for key, value in saved["hyper"].items():
            if not _is_schedule(value):
                self[key] = copy.deepcopy(value)
        self.since = "a state has been loaded"

    def __reduce__(self) -> tuple[Any, ...]:
        """For copies and pickles, which have memory of their own for parameters of their own."""
        storage = self.storage
        state = storage.state_dict()
        return _group_again, (self.rule, storage.names, storage.params, self.hyper, state)


def _group_again(
    rule: type[Optimizer],
    names: list[str],
    params: list[Tensor],
    hyper: dict[str, Any],
    state: dict[str, Any],
) -> Group:
    group = Group(rule, names, params, hyper)
    group.storage.load_state_dict(state)
    group.storage.lend()
    group.since = "it was copied"
    return group  # its first step brings the parameters home


def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients by one factor, so that their joint norm is at most ``max_norm``.

    The norm is the Euclidean one, of all their elements together.

    Args:
        params: the parameters; those without a gradient count for nothing, those that are listed
            twice count once.
        max_norm: above 0; ``math.inf`` to know the norm and scale nothing.

    Returns:
        The norm before.

    Raises:
        TypeError: if ``params`` is not a list of Tensors.
        ValueError: if ``params`` is empty, or ``max_norm`` is not above 0.
        FloatingPointError: if a gradient is NaN or infinite; no gradient has been changed.

    Warns:
        RuntimeWarning: if no parameter has a gradient.

    Source: Pascanu, Mikolov and Bengio, 2013, algorithm 1.

    Example:
        >>> x = Tensor([3.0, 4.0], requires_grad=True)
        >>> (x**2).sum().backward()
        >>> clip_grad_norm([x], 1.0)
        10.0
        >>> x.grad
        array([0.6, 0.8], dtype=float32)
    """
    check_max_norm("clip_grad_norm", max_norm)
    _, tensors = _items(params, "clip_grad_norm")
    for i, p in enumerate(tensors):
        if not isinstance(p, Tensor):
            raise TypeError(f"clip_grad_norm: parameter {i} is a {type(p).__name__}, not a Tensor")
    leaves = dict.fromkeys(p._node for p in tensors if isinstance(p._node, Leaf))
    grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
    if not grads:
        warnings.warn(
            "clip_grad_norm: no parameter has a gradient: call it between backward() and step()",
            RuntimeWarning,
            stacklevel=2,
        )
    with np.errstate(over="ignore"):
        return float(clip_gradients(grads, max_norm)) if grads else 0.0


def check_max_norm(caller: str, max_norm: Any) -> None:
    if not (_is_number(max_norm) and max_norm > 0):
        raise ValueError(f"{caller}: max_norm must be above 0, got {max_norm!r}")


def clip_gradients(grads: Sequence[Array], max_norm: float) -> Any:
    """Scale arrays in place by one factor, so that their joint norm is at most ``max_norm``.

    Returns the norm before. Raises FloatingPointError if it is not finite.
    """
    norm = np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in grads))
    if not np.isfinite(norm):
        raise FloatingPointError(
            f"clip_grad_norm: the norm of the gradients is {norm}: one of them is NaN, infinite or "
            f"close to it; lower the learning rate, or look for the operation that made it"
        )
    scale = np.minimum(float(max_norm) / np.maximum(norm, 1e-300), 1.0)
    for g in grads:
        g *= scale.astype(g.dtype)
    return norm


# --- Storage --------------------------------------------------------------------------------------


class _Storage:
    """The parameters of one group, their gradients and state, in one buffer each for each dtype.

    ``views`` has for each parameter its part of the buffers, in its shape: its home (``x``), the
    memory for its gradient (``dx``), and its state. ``homes`` has the first two, beside the
    parameter itself; ``counts`` has the steps that it has taken.

    A rule cannot be computed in float16: there an eps of 1e-8 is 0, a square soon 0 or infinite,
    and most steps are too small to move anything. The buffers of float16 parameters are therefore
    float32, and these parameters live in buffers beside them, in ``narrow``: their gradients are
    copied from there before a step, and they are the rounded ``x`` after it.
    """

    def __init__(self, rule: type[Optimizer], names: list[str], params: list[Tensor]) -> None:
        self.rule = rule
        self.names = names
        self.params = params
        self.counts = [0] * len(params)
        self.places: list[tuple[np.dtype[Any], int, int]] = []  # the dtype of a buffer, from, to
        sizes: dict[np.dtype[Any], int] = {}
        for p in params:
            start = sizes.get(p.dtype, 0)
            sizes[p.dtype] = start + p.size
            self.places.append((p.dtype, start, start + p.size))
        arrays = range(2 + len(rule.state))
        self.buffers = {d: [np.zeros(n, _wide(d)) for _ in arrays] for d, n in sizes.items()}
        self.narrow = {d: [np.zeros(sizes[d], d) for _ in range(2)] for d in sizes if _wide(d) != d}
        self.views = self._cut_to_parameters(self.buffers)
        lent = self._cut_to_parameters(self.buffers | self.narrow)
        self.homes = [(p, v[0], v[1]) for p, v in zip(params, lent, strict=True)]
        self.present: list[bool] = []  # which parameters had a gradient when last cut
        self.moving: list[int] = []  # the parameters that had
        self.runs: list[tuple[int, list[list[Array]]]] = []  # the first parameter, and the blocks

    def _cut_to_parameters(self, buffers: dict[np.dtype[Any], list[Array]]) -> list[list[Array]]:
        """For each parameter its part of the buffers, in its shape."""
        return [
            [buffer[start:end].reshape(p.shape) for buffer in buffers[dtype]]
            for p, (dtype, start, end) in zip(self.params, self.places, strict=True)
        ]

    def away(self) -> bool:
        """Whether the data of a parameter is somewhere else than in its home."""
        return any(p._data is not home for p, home, _ in self.homes)

    def lend(self) -> None:
        """Lend the memory for gradients to the parameters: their next ones are written there."""
        for p, _, dx in self.homes:
            leaf = p._node
            if isinstance(leaf, Leaf) and leaf.lent is not dx:
                if leaf.grad is not None and leaf.grad is leaf.lent:  # another optimizer's memory
                    leaf.grad = leaf.grad.copy()
                leaf.lent = dx

    def forget_gradients(self) -> None:
        for p, _, dx in self.homes:
            leaf = p._node
            if isinstance(leaf, Leaf):
                leaf.grad, leaf.lent = None, dx

    def ready(self) -> list[tuple[int, list[list[Array]]]]:
        """What is to be updated: for each run the number of this step and its blocks."""
        present = []
        for p, _, dx in self.homes:
            g = None if p._node is None else p._node.grad
            if g is not None and g is not dx:
                dx[...] = g
            present.append(g is not None)
        if self.narrow:
            self.widen()
        if present != self.present:
            self.cut(present)
        counts = self.counts
        for i in self.moving:
            counts[i] += 1
        return [(counts[first], blocks) for first, blocks in self.runs]

    def widen(self) -> None:
        """Copy narrow gradients to where the rule finds them, and data that have been written to.

        Where the data are still what ``x`` was rounded to, ``x`` knows better.
        """
        for dtype, (data, gradient) in self.narrow.items():
            x, dx, *_ = self.buffers[dtype]
            dx[...] = gradient
            with np.errstate(over="ignore"):
                np.copyto(x, data, where=x.astype(dtype) != data)

    def settle(self) -> None:
        """Round what the rule has moved to the narrow data, after a step."""
        for dtype, (data, _) in self.narrow.items():
            data[...] = self.buffers[dtype][0]

    def cut(self, present: list[bool]) -> None:
        """Cut what has a gradient into runs of neighbours in the same step, and those into blocks.

        The runs stay the same for as long as the same parameters have a gradient, since all that
        move count on together.
        """
        self.present = present
        self.moving = [i for i, here in enumerate(present) if here]
        if not self.rule.elementwise:
            whole = {i: [...] if self.params[i].size else [] for i in self.moving}
            self.runs = [(i, _blocks(self.views[i], cuts)) for i, cuts in whole.items()]
            return
        spans: dict[np.dtype[Any], list[list[int]]] = {dtype: [] for dtype in self.buffers}
        for i in self.moving:
            dtype, start, end = self.places[i]
            if spans[dtype]:
                first, _, last = spans[dtype][-1]
                if last == start and self.counts[first] == self.counts[i]:
                    spans[dtype][-1][2] = end
                    continue
            spans[dtype].append([i, start, end])
        size = self.rule.block_size
        self.runs = [
            (
                first,
                _blocks(
                    self.buffers[dtype],
                    [slice(i, min(i + size, end)) for i in range(start, end, size)],
                ),
            )
            for dtype in spans
            for first, start, end in spans[dtype]
        ]

    def kept(self, i: int) -> dict[str, Array]:
        """What is kept of a parameter by name: its state, and ``x`` if it is not the data."""
        x, _, *state = self.views[i]
        kept = dict(zip(self.rule.state, state, strict=True))
        return {"x": x, **kept} if self.places[i][0] in self.narrow else kept

    def state_dict(self) -> dict[str, Any]:
        if self.narrow:
            self.widen()
        return {
            name: {"steps": count} | {key: array.copy() for key, array in self.kept(i).items()}
            for i, (name, count) in enumerate(zip(self.names, self.counts, strict=True))
        }

    def differences(self, saved: Mapping[str, Any]) -> list[str]:
        """In what a state dict does not fit."""
        faults = [f"{name!r} is missing" for name in self.names if name not in saved]
        faults += [f"{name!r} is unexpected" for name in saved if name not in self.names]
        for i, name in enumerate(self.names):
            entry = saved.get(name)
            if entry is None:
                continue
            kept = self.kept(i)
            wanted = ["steps", *kept]
            if sorted(entry) != sorted(wanted):
                faults.append(f"{name!r} has {', '.join(entry)}, not {', '.join(wanted)}")
                continue
            if not _is_count(entry["steps"]):
                faults.append(f"{name!r} has taken {entry['steps']!r} steps")
            for key, view in kept.items():
                array = np.asarray(entry[key])
                if array.shape != view.shape or array.dtype.kind != "f":
                    faults.append(
                        f"{key} of {name!r} has shape {array.shape} and dtype {array.dtype}, not "
                        f"{view.shape} and {view.dtype}"
                    )
                elif fault := unfit(array, view.dtype):
                    faults.append(f"{key} of {name!r} {fault}")
        return faults

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        for i, name in enumerate(self.names):
            self.counts[i] = int(saved[name]["steps"])
            for key, view in self.kept(i).items():
                view[...] = saved[name][key]
        self.present = []  # neighbours may be in different steps now


def _wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which a rule is computed for parameters of this one."""
    return dtype if dtype.itemsize >= 4 else np.dtype(np.float32)


def _blocks(arrays: list[Array], cuts: list[Any]) -> list[list[Array]]:
    """Views of x, dx and the state for each of the cuts; dx is read only."""
    blocks = [[array[cut] for array in arrays] for cut in cuts]
    for block in blocks:
        block[1].flags.writeable = False
    return blocks


def _decayed(blocks: list[list[Array]], weight_decay: float) -> Iterator[list[Array]]:
    """The blocks with ``dx + weight_decay * x`` in place of dx; the gradient itself stays."""
    for x, dx, *state in blocks:
        decayed = np.multiply(x, weight_decay, out=np.empty_like(x))
        decayed += dx
        decayed.flags.writeable = False
        yield [x, decayed, *state]


def _bring_home(groups: Sequence[Group]) -> None:
    """Where somebody else (a user, a second optimizer) has given a parameter data of its own, move
    the values into the buffer and make the data a view of it again."""
    if not any(group.storage.away() for group in groups):
        return
    everything = [
        (f"{name} of group {i}" if len(groups) > 1 else name, p, home)
        for i, group in enumerate(groups)
        for name, (p, home, _) in zip(group.storage.names, group.storage.homes, strict=True)
    ]
    for name, p, home in everything:
        if p.dtype != home.dtype:
            raise TypeError(
                f"parameter {name} was {home.dtype} when the optimizer was made and is {p.dtype} "
                f"now: make a new optimizer after changing the dtype"
            )
    _check_memory([(name, p._data) for name, p, _ in everything])
    # All are copied before any is written: two parameters may have exchanged their data.
    arriving = [(p, home, p._data.copy()) for _, p, home in everything if p._data is not home]
    for p, home, values in arriving:
        home[...] = values
        p._data = home


# --- Checks ---------------------------------------------------------------------------------------


def _as_groups(params: Any, rule: str) -> list[tuple[list[str], list[Any], dict[str, Any]]]:
    """The groups: names, parameters, and the hyper-parameters that a group has of its own."""
    names, items = _items(params, rule)
    if not all(isinstance(item, Mapping) for item in items):
        return [(names, items, {})]
    groups = []
    for i, item in enumerate(items):
        if "params" not in item:
            raise TypeError(f"{rule}: group {i} has no 'params'")
        own = {key: value for key, value in item.items() if key != "params"}
        groups.append((*_items(item["params"], f"{rule}, group {i}"), own))
    return groups


def _items(params: Any, caller: str) -> tuple[list[str], list[Any]]:
    """What an iterable gives, with names: its own, those that come in pairs, or numbers."""
    if not isinstance(params, Iterable) or isinstance(params, Tensor | Mapping | str | set):
        raise TypeError(
            f"{caller}: params must be a list of parameters (model.parameters()) or of groups, not "
            f"a {type(params).__name__}"
        )
    items = list(params)
    if not items:
        raise ValueError(
            f"{caller}: the list of parameters is empty; an iterator can be used only once, and a "
            f"module finds parameters in its attributes, also in lists and dicts"
        )
    names = [str(i) for i in range(len(items))]
    known = list(getattr(params, "names", ()))
    if len(known) == len(items):  # otherwise the list has been changed since it was named
        names = known
    for i, item in enumerate(items):
        if isinstance(item, tuple) and len(item) == 2:
            names[i], items[i] = str(item[0]), item[1]
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(f"{caller}: two parameters are called {twice[0]!r}")
    return names, items


def _check_parameters(groups: list[tuple[list[str], list[Any], dict[str, Any]]]) -> None:
    """Raise unless all are Tensors that an optimizer can move, each listed once."""
    seen: dict[int, str] = {}
    for i, (names, params, _) in enumerate(groups):
        for key, p in zip(names, params, strict=True):
            name = f"parameter {key} of group {i}" if len(groups) > 1 else f"parameter {key}"
            if not isinstance(p, Tensor):
                raise TypeError(
                    f"{name} is a {type(p).__name__}, not a Tensor that requires a gradient: a "
                    f"model's are model.parameters()"
                )
            if isinstance(p._node, Node):
                raise TypeError(
                    f"{name} was computed from other Tensors, and only leaves can be moved: pass "
                    f"what it was computed from, or make a leaf with nn.Parameter(t.numpy())"
                )
            if p.dtype.kind != "f":
                raise TypeError(f"{name} has dtype {p.dtype}: only floating-point ones can move")
            if p._node is None and type(p) is Tensor:
                raise ValueError(
                    f"{name} does not require a gradient: make it with requires_grad=True"
                )
            if id(p) in seen:
                raise ValueError(
                    f"{name} is listed twice, first as {seen[id(p)]}: list a shared one once"
                )
            seen[id(p)] = name


def _check_memory(named: list[tuple[str, Array]]) -> None:
    """Raise if two arrays have memory in common."""
    spans = sorted((*np.lib.array_utils.byte_bounds(a), i) for i, (_, a) in enumerate(named))
    for n, (_, end, i) in enumerate(spans):
        for start, _, j in spans[n + 1 :]:
            if start >= end:
                break
            if np.shares_memory(named[i][1], named[j][1]):
                first, second = sorted((i, j))
                raise ValueError(
                    f"parameters {named[first][0]} and {named[second][0]} share memory, which the "
                    f"optimizer would part: let the model use one Parameter in both places instead"
                )


def _is_number(value: Any) -> bool:
    numbers = (int, float, np.integer, np.floating)
    return isinstance(value, numbers) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_number(value) and 0 <= value < math.inf and int(value) == value


def _is_schedule(value: Any) -> bool:
    return isinstance(value, str) and value == "schedule"


def _storable(value: Any) -> Any:
    if callable(value):
        return "schedule"
    return list(value) if isinstance(value, tuple) else copy.deepcopy(value)
