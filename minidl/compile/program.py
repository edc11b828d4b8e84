"""What a program consists of: values, and the calls that make them.

A traced step is a list of calls in the order in which NumPy was asked for them. Each call makes one
:class:`Value` that never changes: an array that is written into holds another value from there on.
So one can see at a glance which call needs what, and which needs it last.
"""

from __future__ import annotations

import keyword
import re
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np


class CompileError(RuntimeError):
    """A step cannot be written down as a program; the message says where and why.

    Example:
        >>> import minidl, numpy as np
        >>> from minidl import nn, optim
        >>> model = nn.Linear(2, 1)
        >>> loss = lambda z, y: np.mean((z - y) ** 2) if z.data.mean() > 0 else np.sum(z)
        >>> step = minidl.compile(model, loss, optim.SGD(model.parameters(), lr=0.1))
        >>> try:
        ...     step(np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))
        ... except minidl.CompileError as error:
        ...     print(str(error)[:70])
        this step cannot be compiled, since it branches on a value of the step
    """

    how = line = remedy = ""  # what it does, where, and what to write instead, if that is known


@dataclass(eq=False)
class Value:
    """An array or a number of the program.

    ``kind`` is one of: ``argument``, what the program is called with; ``outside``, an array that
    was there before the step, such as a parameter; ``view``, elements of another value, in its
    memory; ``number``, a Python number computed from arguments; ``call``, the result of a function;
    ``check``, no result: the program ends there if a condition does not hold.
    """

    kind: str
    sample: Any  # what it was in the step that was traced
    what: str = ""  # the function, as the program spells it
    args: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()
    name: str = ""
    place: str = ""  # the part of the step that it belongs to
    line: str = ""  # the line of code that it came from
    home: Value | None = None  # the value from outside into whose memory it is written
    target: Value | None = None  # the value of which it overwrites some elements
    into: bool = False  # whether it computes them there, with its first argument as ``out=``
    scratch: bool = False  # of a value from outside: nothing in it outlives the step

    @property
    def shape(self) -> tuple[int, ...]:
        return np.shape(self.sample)

    @property
    def is_array(self) -> bool:
        return isinstance(self.sample, np.ndarray)

    @property
    def root(self) -> Value:
        """The value in whose memory it is."""
        return self.args[0].root if self.kind == "view" else self

    @cached_property
    def needs(self) -> list[Value]:
        """The values that it is made of."""
        found: list[Value] = []
        mapped(lambda x: found.append(x) if isinstance(x, Value) else x, (self.args, self.options))
        return found


def shell(x: Any) -> Any:
    """An array of the same shape, dtype and strides, with the memory of one element: what is known
    of a value is its form, and its content may go."""
    if not isinstance(x, np.ndarray) or not x.ndim:
        return x
    one = np.empty(1, x.dtype)
    return np.lib.stride_tricks.as_strided(one, x.shape, x.strides, writeable=False)


def mapped(function: Callable[[Any], Any], x: Any) -> Any:
    """Nested arguments with ``function`` applied to what stands in them."""
    if isinstance(x, tuple | list):
        return type(x)([mapped(function, part) for part in x])
    if isinstance(x, slice):
        return slice(*(mapped(function, end) for end in (x.start, x.stop, x.step)))
    return function(x)


@dataclass
class Update:
    """A rule's update of parameters that are in the same step ``t``, block by block.

    ``trace`` was written on the first of ``blocks``. Where the rule could not be followed it is
    None, and the program calls the rule as it stands: ``apply(t, lr)``.
    """

    names: list[str]  # of the arrays of a block: x, dx and the state
    blocks: list[list[np.ndarray]]
    arrays: list[Value]  # those of the first block
    t: Value
    lr: Value
    apply: Callable[..., None]
    trace: Trace | None = None


@dataclass
class Trace:
    """A step, written down."""

    calls: list[Value] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)
    outside: dict[int, Value] = field(default_factory=dict)  # by the identity of the array
    latest: dict[Value, Value] = field(default_factory=dict)  # what is home in the end
    known: dict[Any, Value] = field(default_factory=dict)  # the same call gives the same value
    given: dict[str, Any] = field(default_factory=dict)  # what is called and is not NumPy's
    place: str = ""
    loss: Value | None = None
    predictions: Value | None = None

    def array(self, a: np.ndarray, name: str = "") -> Value:
        """The value of an array that is there before the step."""
        value = self.outside.setdefault(id(a), Value("outside", a))
        value.name = value.name or name
        return value

    def add(
        self, kind: str, what: str, sample: Any, args: Any, *, unique: bool = False, **more: Any
    ) -> Value:
        """A new value; unless it must be ``unique``, that of the same call before."""
        dtype = getattr(sample, "dtype", None)
        key = kind, what, key_of(args), key_of(more.get("options")), dtype
        if unique or key not in self.known:
            value = Value(kind, shell(sample), what, args, place=self.place, **more)
            if kind in ("call", "check"):
                self.calls.append(value)
            if unique:
                return value
            self.known[key] = value
        return self.known[key]

    def spelled(self, function: Any, path: str) -> str:
        """How the program spells a function: as NumPy's, or by a name under which it is given."""
        found: Any = np
        for part in path.split(".")[1:]:
            found = getattr(found, part, None)
        if found is function:
            return path
        name = base = _identifier(path.rpartition(".")[2])
        n = 1
        while self.given.setdefault(name, function) is not function:
            n += 1
            name = f"{base}_{n}"
        return name


def _identifier(name: str) -> str:
    """The name of a function as a program can have it: that of a lambda is ``function``."""
    name = re.sub(r"\W+", "_", name).strip("_")
    return name if name.isidentifier() and not keyword.iskeyword(name) else "function"


def key_of(x: Any) -> Any:
    """What equal arguments have in common."""
    if isinstance(x, tuple | list):
        return (type(x), *map(key_of, x))
    if isinstance(x, slice):
        return (slice, key_of((x.start, x.stop, x.step)))
    simple = int | float | str | bool | np.generic | np.dtype | type | types.EllipsisType | None
    return (type(x), repr(x)) if isinstance(x, simple) else id(x)
