"""Arrays that write down what is done to them.

A :class:`Traced` stands for an array while a step is made. It holds the array, does with it what it
is asked to do, and writes the call into the trace. NumPy hands it all calls of its own functions,
through ``__array_ufunc__`` and ``__array_function__``, so that whatever is written in NumPy can be
followed: the library's functions, the rules of the derivative table, and what users wrote.

Where a value would leave NumPy's sight (``float(x)``, ``np.asarray(x)``, a branch in the user's
code) a :class:`CompileError` names the line: what the program did with it would be true for the
traced step only.
"""

from __future__ import annotations

import inspect
import linecache
import operator
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np
from numpy.lib import mixins

from minidl.compile.program import CompileError, Trace, Value, key_of, mapped, shell
from minidl.table import name_of
from minidl.tensor import Tensor

_HERE = str(Path(__file__).parent)
_LIBRARY = str(Path(__file__).parents[1])
_OPERATORS = str(mixins.__file__)

MEMORY = {f"np.{name}_like" for name in ("zeros", "ones", "empty", "full")}
"""Functions that make new memory, which is then written into."""

_OF_ANY_SIZE = {np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.compress, np.extract,
                np.bincount, np.trim_zeros, np.union1d, np.setdiff1d, np.intersect1d}  # fmt: skip
_REDUCTIONS: dict[Any, Any] = {np.sum: np.add, np.max: np.maximum, np.min: np.minimum}
_POWERS = {2: np.square, 1: np.positive, 0.5: np.sqrt, -1: np.reciprocal}
_SYMBOLS = {
    np.add: ("+", operator.add), np.subtract: ("-", operator.sub),
    np.multiply: ("*", operator.mul), np.divide: ("/", operator.truediv),
    np.floor_divide: ("//", operator.floordiv), np.remainder: ("%", operator.mod),
    np.power: ("**", operator.pow),
}  # fmt: skip


class Traced(mixins.NDArrayOperatorsMixin):
    """An array of the step; or a Python number that changes from step to step.

    ``array`` is what it is in this step, ``value`` what the program calls it at the moment.
    """

    __array_priority__ = 1000.0
    __hash__ = object.__hash__

    def __init__(self, trace: Trace, value: Value, array: Any) -> None:
        self.trace, self.array, self._value = trace, array, value

    value = property(lambda self: self._value)
    shape = property(lambda self: np.shape(self.array))
    ndim = property(lambda self: np.ndim(self.array))
    size = property(lambda self: np.size(self.array))
    dtype = property(lambda self: getattr(self.array, "dtype", None) or np.result_type(self.array))
    itemsize = property(lambda self: self.dtype.itemsize)
    flags = property(lambda self: self.array.flags)
    T = property(lambda self: np.transpose(self) if self.ndim > 1 else self)
    mT = property(lambda self: np.swapaxes(self, -1, -2))

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Traced({self.array!r})"

    # What would lose sight of it ------------------------------------------------------------------

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise _lost("takes an array of the step out of NumPy's sight, as np.asarray does", _NUMPY)

    def item(self, *args: Any) -> NoReturn:
        raise _lost("makes a Python number of a value of the step", _NUMPY)

    __float__ = __int__ = __index__ = __complex__ = __round__ = tolist = item

    def __bool__(self) -> bool:
        """A branch. Where the library checks what it was given, the check stays in the program."""
        asking = sys._getframe(1).f_code.co_filename
        if is_number(self) or not asking.startswith(_LIBRARY):
            raise _lost("branches on a value of the step", _WHERE)
        answer = bool(self.array)
        self.trace.add("check", "is", answer, (self.value,), line=users_line())
        return answer

    # NumPy's protocols ----------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if any(isinstance(x, Tensor) for x in inputs):
            return NotImplemented
        if all(map(is_number, inputs)) and ufunc in (np.negative, np.absolute, np.positive):
            raise _lost("has an operator on a number that the program does not know", _NUMPY)
        if all(map(is_number, inputs)) and ufunc in _SYMBOLS:
            symbol, plain = _SYMBOLS[ufunc]
            number, args = plain(*raw(inputs)), recorded(self.trace, inputs)
            return Traced(self.trace, self.trace.add("number", symbol, number, args), number)
        what = self.trace.spelled(ufunc, name_of(ufunc))
        if method == "__call__":
            return self._called(ufunc, what, inputs, options)
        if method == "at":
            target, *values = inputs
            if not isinstance(target, Traced):
                raise _lost("writes into an array that the program does not know", _MADE_LIKE)
            ufunc.at(target.array, *raw(values))
            return target.overwrite(f"{what}.at", values)
        return self._called(getattr(ufunc, method), f"{what}.{method}", inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if any(issubclass(kind, Tensor) for kind in types):
            return NotImplemented
        if function in (np.shape, np.ndim, np.size, np.result_type, np.can_cast):
            return function(*raw(args), **kwargs)
        counts = function is np.repeat and len(args) > 1 and isinstance(args[1], Traced)
        if function in _OF_ANY_SIZE or counts:
            raise _lost("makes an array whose size depends on values of the step", _WHERE)
        if function is np.copyto:
            args[0][...] = args[1]
            return None
        args, kwargs = _in_short(function, args, kwargs)
        if function is np.copy:
            return args[0].copy(kwargs.get("order", "K"))
        if function in _REDUCTIONS:  # as NumPy has them; so written they cost half the time
            return _REDUCTIONS[function].reduce(*args, axis=kwargs.pop("axis", None), **kwargs)
        if function is np.reshape and isinstance(raw(args[0]), np.ndarray):
            if raw(args[0]).shape == (y := np.reshape(*raw(args), **kwargs)).shape:
                return args[0]
            if not np.may_share_memory(y, raw(args[0])):
                args = (args[0].copy(kwargs.get("order", "C")), *args[1:])
        return self._called(function, self.trace.spelled(function, name_of(function)), args, kwargs)

    def _called(self, function: Any, what: str, args: tuple[Any, ...], kwargs: Any) -> Any:
        """Call a function on the arrays themselves, and write the call down."""
        _name_by_variables()
        options = dict(kwargs)
        out = options.pop("out", None)
        out = out[0] if isinstance(out, tuple) else out
        if not isinstance(raw(out), np.ndarray):  # ``x += y`` of numbers gives a new one
            out = None
        elif not isinstance(out, Traced):
            raise _lost("writes into an array that the program does not know", _MADE_LIKE)
        more = {} if out is None else {"out": out.array}
        sample = function(*raw(args), **{k: raw(v) for k, v in options.items()}, **more)
        first = args[0]
        if out is None and isinstance(first, Traced) and isinstance(sample, np.ndarray):
            if sample is first.array:
                return first
            if np.may_share_memory(sample, first.array):
                return View(first, sample, what, args[1:], tuple(options.items()))
        value = self._new(
            what, sample, args, tuple(options.items()), out is not None or what in MEMORY
        )
        if out is not None:
            return out.become(value)
        if isinstance(sample, tuple | list):
            parts = [self._new("getitem", part, (value, i)) for i, part in enumerate(sample)]
            return tuple(Traced(self.trace, *pair) for pair in zip(parts, sample, strict=True))
        return Traced(self.trace, value, sample)

    def _new(
        self, what: str, sample: Any, args: Any, options: Any = (), unique: bool = False
    ) -> Value:
        options, line = recorded(self.trace, options), users_line()
        args = recorded(self.trace, tuple(args))
        return self.trace.add("call", what, sample, args, options=options, line=line, unique=unique)

    # Writing --------------------------------------------------------------------------------------

    def become(self, value: Value) -> Traced:
        """From here on all elements are those of ``value``, in this array's own memory."""
        outside = self._value.kind in ("outside", "argument")
        value.home = self._value if outside else self._value.home
        if value.home is not None:
            self.trace.latest[value.home] = value
        value.sample, self._value = shell(self.array), value
        return self

    def overwrite(self, what: str, args: Any, part: Value | None = None) -> None:
        """A call changes some elements of this array, or of ``part``, a view of it."""
        _name_by_variables()
        self.replaced_by(self._new(what, self.array, (part or self.value, *args), unique=True))

    def replaced_by(self, new: Value) -> None:
        """A call that changed some elements gave the value that all of them are now."""
        new.target = self.value
        self.become(new)

    def __setitem__(self, index: Any, x: Any) -> None:
        own = isinstance(x, View) and x.base is self and x.what == "getitem"
        if own and key_of(x.args[0]) == key_of(index):
            return  # what ``a[i] += b`` ends with: it stands there already
        self.array[raw(index)] = raw(x)
        if index is Ellipsis and not isinstance(self, View):
            self.become(self._new("copy", self.array, (x,), unique=True))
        else:
            self.overwrite("setitem", (index, x))

    # What ndarrays have as methods ----------------------------------------------------------------

    def __getitem__(self, index: Any) -> Any:
        for part in index if isinstance(index, tuple) else (index,):
            if isinstance(part, Traced) and part.dtype == np.bool:
                raise _lost("makes an array whose size depends on values of the step", _WHERE)
        return self._called(operator.getitem, "getitem", (self, index), {})

    def __pow__(self, other: Any) -> Any:
        if isinstance(self.array, np.ndarray) and is_number(other) and other in _POWERS:
            return _POWERS[other](self)  # as ndarray has it
        return np.power(self, other)

    def __ipow__(self, other: Any) -> Any:
        self[...] = self**other
        return self

    def reshape(self, *shape: Any, order: Any = "C") -> Any:
        return np.reshape(self, shape[0] if len(shape) == 1 else shape, order)

    def transpose(self, *axes: Any) -> Any:
        return np.transpose(self, axes[0] if len(axes) == 1 else axes or None)

    def flatten(self, order: Any = "C") -> Any:
        return self.copy(order).reshape(-1, order=order)

    def fill(self, x: Any) -> None:
        self[...] = x

    def view(self, dtype: Any = None) -> Any:
        if dtype is None:
            return self
        return View(self, self.array.view(dtype), "view", (np.dtype(dtype),))

    def copy(self, order: Any = "C") -> Any:
        _name_by_variables()
        sample = self.array.copy(order)
        return Traced(self.trace, self._new("copy", sample, (self,), unique=True), sample)

    def astype(self, dtype: Any, copy: bool = True, **unused: Any) -> Any:
        _name_by_variables()
        if self.dtype == dtype and not copy:
            return self
        sample = self.array.astype(dtype)
        value = self._new("astype", sample, (self, sample.dtype), unique=True)
        return Traced(self.trace, value, sample)


def _as_method(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *args, **kwargs: function(x, *args, **kwargs)


for _name in ("sum", "max", "min", "mean", "var", "std", "prod", "any", "all", "argmax", "argmin",
              "argsort", "cumsum", "clip", "dot", "take", "repeat", "ravel", "squeeze", "swapaxes",
              "diagonal", "trace", "round", "nonzero"):  # fmt: skip
    setattr(Traced, _name, _as_method(getattr(np, _name)))


class View(Traced):
    """Elements of another traced array, in its memory: always of what that holds at the moment."""

    def __init__(
        self, base: Traced, array: np.ndarray, what: str, args: Any = (), options: Any = ()
    ) -> None:
        self.trace, self.base, self.array = base.trace, base, array
        self.what, self.args, self.options = what, args, options

    @property
    def value(self) -> Value:  # type: ignore[override]
        args = (self.base.value, *recorded(self.trace, tuple(self.args)))
        options = recorded(self.trace, self.options)
        return self.trace.add("view", self.what, self.array, args, options=options)

    @property
    def T(self) -> Any:  # type: ignore[override]
        turned_back = self.what == "np.transpose" and not self.options
        return self.base if turned_back else np.transpose(self)

    def become(self, value: Value) -> Traced:
        """A call computes these elements where they stand (``out=``, and ``+=``)."""
        self.trace.calls.remove(value)
        into: Any = {"options": value.options, "into": True, "line": value.line}
        args = (self.value, *value.args)
        new = self.trace.add("call", value.what, self.base.array, args, unique=True, **into)
        self.base.replaced_by(new)
        return self

    def overwrite(self, what: str, args: Any, part: Value | None = None) -> None:
        self.base.overwrite(what, args, part or self.value)

    def replaced_by(self, new: Value) -> None:
        self.base.replaced_by(new)


class TracedGenerator(np.random.Generator):
    """A generator of random numbers whose draws are written down: each step draws anew."""

    def __init__(self, trace: Trace, generator: np.random.Generator) -> None:
        super().__init__(generator.bit_generator)
        self.trace, self.own = trace, generator

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name in ("trace", "own", "bit_generator"):
            return super().__getattribute__(name)
        draw, trace, own = getattr(self.own, name), self.trace, self.own

        def drawn(*args: Any, **options: Any) -> Traced:
            what = f"{trace.spelled(own, 'rng')}.{name}"
            if name == "shuffle" or "out" in options:
                raise _lost(
                    "draws random numbers into an array that is there already", "Use what is drawn"
                )
            sample = draw(*raw(args), **{k: raw(v) for k, v in options.items()})
            given = recorded(trace, args), recorded(trace, tuple(options.items()))
            more: Any = {"options": given[1], "line": users_line()}
            value = trace.add("call", what, sample, given[0], unique=True, **more)
            return Traced(trace, value, sample)

        return drawn


# --- Arguments ------------------------------------------------------------------------------------


def raw(x: Any) -> Any:
    """Arguments with the arrays themselves."""
    return mapped(lambda part: part.array if isinstance(part, Traced) else part, x)


def recorded(trace: Trace, x: Any) -> Any:
    """Arguments with values in place of arrays."""

    def one(x: Any) -> Any:
        if isinstance(x, np.ndarray):
            return trace.array(x)
        return x.value if isinstance(x, Traced) else x

    return mapped(one, x)


def is_number(x: Any) -> bool:
    """Whether it is a number of Python's own, and not one of NumPy's, which has a dtype."""
    return type(raw(x)) in (int, float)


def _in_short(function: Any, args: tuple[Any, ...], kwargs: Any) -> tuple[tuple[Any, ...], Any]:
    """The arguments of a call as one writes them: options by name, and only if they are needed."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # the function tells none
        return args, dict(kwargs)
    given = signature.bind(*args, **kwargs).arguments
    positional: list[Any] = []
    options: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if name not in given or given[name] is parameter.default:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional += given[name]
        elif parameter.kind is parameter.VAR_KEYWORD:
            options |= given[name]
        elif parameter.kind is parameter.POSITIONAL_ONLY or parameter.default is parameter.empty:
            positional.append(given[name])
        elif not (name == "keepdims" and given[name] is False):
            options[name] = given[name]
    return tuple(positional), options


# --- Where a call comes from ----------------------------------------------------------------------


def _frame(outside: str) -> FrameType:
    """The innermost frame of code that is not in the folder ``outside``; else the outermost."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith((outside, _OPERATORS)):
        frame = frame.f_back
    return frame


def users_line() -> str:
    """The line of the user's code that is being traced."""
    frame = _frame(_LIBRARY)
    file, number = frame.f_code.co_filename, frame.f_lineno
    return f"{file}, line {number}: {linecache.getline(file, number).strip()}".rstrip(": ")


_WHERE = "Use np.where in place of if and of masks as indices"
_NUMPY = (
    "Compute on arrays, with NumPy's functions (np.sum(x), not float(x.sum())). Make an array that "
    "is indexed by them an attribute of the module"
)
_MADE_LIKE = (
    "Use np.zeros_like(x) in place of np.zeros, or make the array an attribute of the module"
)


def _lost(how: str, remedy: str) -> CompileError:
    line = users_line()
    error = CompileError(
        f"this step cannot be compiled, since it {how} (in {line}). That would be the "
        f"value of the traced step in every later one. {remedy}, or do not compile"
    )
    error.how, error.line, error.remedy = how, line, remedy
    return error


def _name_by_variables() -> None:
    """Give values the names of the variables that hold them in the function that is traced."""
    for name, x in _frame(_HERE).f_locals.items():
        if len(name) > 1 and isinstance(x, Traced) and x.value.kind in ("call", "number"):
            x.value.name = x.value.name or name
