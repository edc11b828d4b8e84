"""What the class of a rule declares, read once when it is made.

``update`` says by its arguments what a rule works on. Here they are held against what else the
class declares, so that a wrong rule is refused before it trains anything. No step comes here.
"""

from __future__ import annotations

import dis
import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.checks import number

KINDS = inspect.Parameter
RESERVED = {
    "x": "means the parameters",
    "dx": "means their gradient",
    "t": "means the number of the step",
    "steps": "is counted already, as t",
}
"""What no state can be called."""


class Hyper:
    """A hyper-parameter as an attribute: read from the first group, set in all."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, optimizer: Any, rule: Any = None) -> Any:
        if optimizer is None:
            return self
        group = optimizer.groups[0]
        if self.name == "lr":
            return optimizer.current_rate(group)
        if self.name not in group.hyper:  # an optimizer of the same class was made with it
            raise AttributeError(f"{type(optimizer).__name__} was made without {self.name!r}")
        return group.hyper[self.name]

    def __set__(self, optimizer: Any, value: Any) -> None:
        for group in optimizer.groups:
            group[self.name] = value


class Declared:
    """What a rule may declare: the first half of :class:`minidl.optim.Optimizer`."""

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

    takes: tuple[str, ...] = ()
    """The keyword arguments of ``update``, read from it when the class is made."""

    decays_itself = False
    """Whether ``update`` names ``weight_decay``: then nothing is added to the gradient for it."""

    lr = Hyper("lr")
    weight_decay = Hyper("weight_decay")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for declared in ("state", "below_one", "pairs", "switches"):
            names = getattr(cls, declared)
            if isinstance(names, str):
                raise TypeError(
                    f"{cls.__name__}.{declared} is a tuple of names: write ({names!r},) with a "
                    f"comma, not {names!r}"
                )
        for name in cls.state:
            if name in RESERVED:
                raise TypeError(
                    f"{cls.__name__}.state: {name!r} {RESERVED[name]}: rename the state"
                )
        if cls.update is not Declared.update:
            cls.takes = _keywords(cls)
            cls.decays_itself = "weight_decay" in cls.takes
            _make_attributes(cls, [name for name in cls.takes if name != "t"])
            hyper = [name for name in dir(cls) if isinstance(getattr(cls, name), Hyper)]
            _check_reads(cls, {"t", *hyper, *cls.below_one, *cls.pairs, *cls.switches})

    def update(self, x: Array, dx: Array, *state: Any, **hyper: Any) -> None:
        """The rule: move ``x`` and ``state`` in place, given ``dx``, which is read only."""
        raise NotImplementedError(f"{type(self).__name__} needs a method update(self, x, dx, ...)")

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        """The value of a hyper-parameter as it is kept, in plain Python numbers.

        Raises:
            TypeError: if it is of another kind than the rule declares.
            ValueError: if it is out of range.
        """
        whose = f"{cls.__name__}: {name}"
        if name == "lr" and callable(value):
            return value
        if name in cls.switches:
            if not isinstance(value, bool | np.bool_):
                raise TypeError(f"{whose} is True or False, got {value!r} ({type(value).__name__})")
            return bool(value)
        below = 1 if name in cls.below_one else math.inf
        if name not in cls.pairs:
            return number(value, whose, at_least=0, below=below)
        if not isinstance(value, tuple | list):
            raise TypeError(f"{whose} is two numbers, got {value!r} ({type(value).__name__})")
        if len(value) != 2:
            raise ValueError(f"{whose} is two numbers, got {value!r}")
        return tuple(
            number(part, f"{whose}[{i}]", at_least=0, below=below) for i, part in enumerate(value)
        )


def check_made_with(rule: Any, hyper: Mapping[str, Any]) -> None:
    """Hold the hyper-parameters that a rule is made with against its class.

    Those that ``update`` does not name become attributes of the class, too.

    Raises:
        TypeError: if one has a name that means something else, or ``update`` asks for another.
    """
    for name in rule.takes:
        if name != "t" and name not in hyper:
            raise TypeError(
                f"{rule.__name__}.update asks for {name}, which is no hyper-parameter, only "
                f"{', '.join(hyper)}: let __init__ pass it on, as in super().__init__(params, "
                f"lr=lr, {name}={name})"
            )
    if any(not isinstance(getattr(rule, name, None), Hyper) for name in hyper):
        _check_reads(rule, {*hyper})
        _make_attributes(rule, hyper)


def _make_attributes(rule: Any, names: Iterable[str]) -> None:
    new = [name for name in names if not isinstance(getattr(rule, name, None), Hyper)]
    for name in new:
        if hasattr(rule, name) or name in ("groups", "steps", "t"):
            raise TypeError(
                f"{rule.__name__}: a hyper-parameter cannot be called {name!r}, which is an "
                f"attribute of the class: give it another name"
            )
    for name in new:
        setattr(rule, name, Hyper(name))


# --- The arguments of update ----------------------------------------------------------------------


def _keywords(rule: Any) -> tuple[str, ...]:
    """The keyword arguments of ``update``, if the others are ``x``, ``dx`` and the state."""
    parameters = [*inspect.signature(rule.update).parameters.values()][1:]  # without self
    several = [p for p in parameters if p.kind in (KINDS.VAR_POSITIONAL, KINDS.VAR_KEYWORD)]
    keywords = tuple(p.name for p in parameters if p.kind is KINDS.KEYWORD_ONLY)
    arrays = [p.name for p in parameters if p not in several and p.name not in keywords]
    wanted = ["x", "dx", *rule.state]
    if several or arrays[2:] != wanted[2:] or len(arrays) < 2:
        numbers = [name for name in [*arrays[2:], *keywords] if name not in rule.state]
        right = ["self", *wanted, *(["*", *numbers] if numbers else [])]
        raise TypeError(
            f"{rule.__name__}.update takes {', '.join(p.name for p in parameters)}, and its state "
            f"is {rule.state!r}: after x and dx come the arrays that `state` names, in its order, "
            f"and hyper-parameters after a star. Write def update({', '.join(right)}), or name "
            f"further arrays in `state`"
        )
    return keywords


# --- Hyper-parameters that are read through self --------------------------------------------------


def _check_reads(rule: Any, hyper: set[str]) -> None:
    """Raise if ``update``, or a method that it calls, reads one of these from ``self``.

    That would be the first group's value in every group, and a schedule's at another step.
    """
    seen: set[str] = set()
    methods = ["update"]
    while methods:
        name = methods.pop()
        function = inspect.unwrap(getattr(rule, name))
        code = getattr(function, "__code__", None)
        if name in seen or code is None or not code.co_argcount:
            continue
        seen.add(name)
        reads = {*_attributes_read(code, code.co_varnames[0])}
        methods += [read for read in reads if inspect.isfunction(getattr(rule, read, None))]
        wrong = sorted(reads & hyper)
        if wrong:
            keywords = dict.fromkeys([*_keywords(rule), *wrong])
            given = f"def update(self, {', '.join(['x', 'dx', *rule.state, '*', *keywords])})"
            raise TypeError(
                f"{rule.__name__}.{name} reads self.{wrong[0]}, and groups differ in their "
                f"hyper-parameters: let update name it, {given}, and use {wrong[0]}"
            )


def _attributes_read(code: CodeType, self_name: str) -> Iterator[str]:
    """The attributes of ``self`` that a function reads, and the functions written in it."""
    before: Any = None
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and before is not None:
            names = before.argval if isinstance(before.argval, tuple) else (before.argval,)
            if before.opname.startswith(("LOAD_FAST", "LOAD_DEREF")) and names[-1] == self_name:
                yield instruction.argval
        before = instruction
    inner: Iterable[Any] = code.co_consts
    for constant in inner:
        if isinstance(constant, CodeType) and self_name in constant.co_freevars:
            yield from _attributes_read(constant, self_name)
