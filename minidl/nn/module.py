"""Module: a function with parameters, made of other such functions.

A module is an object with a ``forward`` method. Its parameters are found by looking at its
attributes, in the order in which they were set: Parameters, modules, and lists, tuples, dicts,
deques, dataclasses and namespaces of them at any depth. Nothing needs to be registered, and nothing
can be forgotten: what is held where nobody looks is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import reprlib
from collections import UserDict, UserList, deque
from collections.abc import Iterable, Iterator, Mapping
from types import (
    CellType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minidl.autograd import Leaf, current_watcher, no_grad
from minidl.data.checks import unfit
from minidl.tensor import Array, Tensor


class Parameter(Tensor):
    """A Tensor that a module trains: it requires a gradient, and its data is a copy of what it got.

    Args:
        data: the initial values; float32 unless an ndarray of another floating dtype.
        requires_grad: False for one that starts out frozen.
        dtype: the dtype to convert to.

    Raises:
        TypeError: if the values are not floating-point numbers.

    Example:
        >>> Parameter([1.0, 2.0])
        Parameter([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(
        self, data: ArrayLike | Tensor, requires_grad: bool = True, dtype: DTypeLike | None = None
    ) -> None:
        super().__init__(data, dtype=dtype)
        self._data = self._data.copy(order="C")
        self.requires_grad = True
        if not requires_grad:
            self.requires_grad = False


class ParameterList(list[Parameter]):
    """A list of parameters that knows their names, for the state of an optimizer."""

    names: list[str]


class Module:
    """The base class of layers and models: subclass it and write ``forward``.

    Attributes:
        training: whether the module is being trained (True at first; see ``train`` and ``eval``).
        buffers: class attribute, the names of ndarray attributes that belong to the state.

    Raises:
        TypeError: if an attribute that is a Parameter is set to another Tensor or an ndarray; by
            ``parameters``, ``state_dict``, ``train`` and their like, if a part of the module is
            held where it is not found, such as in the class or in an object that is no module.

    Example:
        >>> import numpy as np
        >>> from minidl import nn
        >>> class Scale(nn.Module):
        ...     def __init__(self):
        ...         self.factor = nn.Parameter([2.0])
        ...     def forward(self, x):
        ...         return x * self.factor
        >>> Scale()(np.array([1.0, 3.0], np.float32)).data
        array([2., 6.], dtype=float32)
    """

    training: bool = True
    buffers: tuple[str, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if current_watcher() is not None:
            return self._call_watched(*args, **kwargs)
        try:
            return self.forward(*args, **kwargs)
        except Exception as error:
            _say_where(self, error)
            raise

    def _call_watched(self, *args: Any, **kwargs: Any) -> Any:
        """A call in debug mode, which knows at any time which module it is in."""
        watcher = current_watcher()
        watcher.entered(self)
        try:
            return self.forward(*args, **kwargs)
        except Exception as error:
            _say_where(self, error)
            raise
        finally:
            watcher.left()

    def __setattr__(self, name: str, value: Any) -> None:
        # ``layer.weight *= 0.1`` would replace the parameter by a result that nobody trains.
        if isinstance(self.__dict__.get(name), Parameter) and (
            isinstance(value, np.ndarray)
            or (isinstance(value, Tensor) and not isinstance(value, Parameter))
        ):
            raise TypeError(
                f"{type(self).__name__}.{name} is a Parameter and cannot become a "
                f"{type(value).__name__}, which would not be trained: write into {name}.data, or "
                f"set it to nn.Parameter(...)"
            )
        super().__setattr__(name, value)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every module has its own."""
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(self, x)")

    # What it is made of -----------------------------------------------------------------------

    def children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside, with their names, in the order of the attributes."""
        for name, value in _members(self.__dict__.items()):
            if isinstance(value, Module):
                yield name, value

    def modules(self) -> Iterator[tuple[str, Module]]:
        """This module (its name is empty) and all inside it, each once, with dotted names."""
        yield from _walk(self, "", set())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters, each once even if shared, with dotted names such as ``0.weight``."""
        seen = set()
        for name, value in _state(self).items():
            if isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> ParameterList:
        """All parameters as a list, each once even if shared."""
        named = list(self.named_parameters())
        params = ParameterList(p for _, p in named)
        params.names = [name for name, _ in named]
        return params

    # Modes ------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all inside it to training (or, with False, to prediction)."""
        _check_nothing_is_hidden(self)
        for _, module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch this module and all inside it to prediction."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for _, value in _leaves(self, "", set()):
            if isinstance(value, Parameter):
                value.grad = None

    # State ------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and buffers, by their dotted names."""
        return {name: np.array(_array(value)) for name, value in _state(self).items()}

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Take over parameters and buffers by name. Values are copied, in the dtype they have here.

        Raises:
            TypeError: if ``state`` is not a dict.
            ValueError: if a name is missing or unexpected, if a shape or a kind of dtype differs,
                if a value is too large for the dtype here, or if the state has two values for one
                shared array. The message lists everything that does not fit, and nothing has been
                changed. NaN and infinity are taken over as they are.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"load_state_dict takes what state_dict() returns, a dict of arrays by name, not a "
                f"{type(state).__name__}"
            )
        own = {name: _array(value) for name, value in _state(self).items()}
        arrays = {name: np.asarray(_array(value)) for name, value in state.items()}
        faults = [f"{name} is missing" for name in own if name not in arrays]
        empty = {  # buffers that are None as yet, and become what they are in the state
            f"{path}.{name}".lstrip("."): (module, name)
            for path, module in self.modules()
            for name in module.buffers
            if getattr(module, name) is None
        }
        for name, array in arrays.items():
            if name not in own and (name not in empty or array.dtype.kind not in "biuf"):
                faults.append(f"{name} is unexpected")
        copies: dict[str, Array] = {}  # made before anything is written: they may be views of it
        for name, value in own.items():
            array = arrays.get(name, value)
            if array.shape != value.shape:
                faults.append(f"{name} has shape {array.shape}, expected {value.shape}")
            elif not np.can_cast(array.dtype, value.dtype, "same_kind"):
                faults.append(f"{name} has dtype {array.dtype}, expected {value.dtype}")
            elif name in arrays and (fault := unfit(array, value.dtype)):
                faults.append(f"{name} {fault}")
            elif name in arrays:
                copies[name] = np.array(array, value.dtype)
                first = next(n for n in own if own[n] is value)  # another name if it is shared
                if copies[name].tobytes() != copies.get(first, copies[name]).tobytes():
                    faults.append(f"{name} and {first} are one array here and differ in the state")
        if faults:
            raise ValueError(f"{type(self).__name__} cannot take the state: " + "; ".join(faults))
        for name, array in copies.items():
            own[name][...] = array
        for name in arrays.keys() & empty.keys():
            setattr(*empty[name], arrays[name].copy())

    # Looks ------------------------------------------------------------------------------------

    def summary(self, x: ArrayLike | Tensor | None = None) -> None:
        """Print a table of the layers with the shapes of their parameters and how many there are.

        Args:
            x: a batch of input. With it the table also shows the shape of each layer's output.

        Example:
            >>> from minidl import nn
            >>> nn.Sequential(nn.Linear(2, 3), nn.ReLU()).summary()
            layer        parameters                 count
            ---------------------------------------------
            0: Linear    weight (3, 2), bias (3,)       9
            1: ReLU                                     0
            ---------------------------------------------
            Sequential   trainable 9                    9
        """
        outputs = {} if x is None else self._output_shapes(np.asarray(_array(x)))
        header = ["layer", *(["output"] if outputs else []), "parameters", "count"]
        rows = []
        counted: set[int] = set()
        for name, module in self.modules():
            own = {n: v for n, v in _members(module.__dict__.items()) if isinstance(v, Parameter)}
            if not own and next(module.children(), None) is not None:
                continue  # a container of others
            new = [p for p in own.values() if id(p) not in counted]
            counted.update(id(p) for p in new)
            shared = "" if len(new) == len(own) else " (shared)"
            shapes = ", ".join(f"{n} {p.shape}" for n, p in own.items()) + shared
            title = f"{name}: {type(module).__name__}" if name else type(module).__name__
            shape = [str(outputs.get(id(module), ""))] if outputs else []
            rows.append([title, *shape, shapes, f"{sum(p.size for p in new):,}"])
        total = sum(p.size for p in self.parameters())
        trainable = sum(p.size for p in self.parameters() if p.requires_grad)
        empty = [""] if outputs else []
        rows.append([type(self).__name__, *empty, f"trainable {trainable:,}", f"{total:,}"])
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        widths[:-1] = [w + 2 for w in widths[:-1]]
        line = "-" * (sum(widths) + len(widths) - 1)
        text = [
            " ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False))][:-1])
            + " "
            + row[-1].rjust(widths[-1])
            for row in [header, *rows]
        ]
        print("\n".join([text[0], line, *text[1:-1], line, text[-1]]))

    def _output_shapes(self, x: Array) -> dict[int, tuple[int, ...]]:
        """The shape of each module's output for the batch ``x``, without changing any state."""
        shapes: dict[int, tuple[int, ...]] = {}
        modules = [module for _, module in self.modules()]
        before = [module.__dict__.copy() for module in modules]

        def watched(module: Module) -> Any:
            own = module.forward

            def forward(*args: Any, **kwargs: Any) -> Any:
                y = own(*args, **kwargs)
                if hasattr(y, "shape"):
                    shapes[id(module)] = y.shape
                return y

            return forward

        try:
            self.eval()
            for module in modules:
                module.__dict__["forward"] = watched(module)
            with no_grad():
                self(x)
        finally:
            for module, attributes in zip(modules, before, strict=True):
                module.__dict__.clear()
                module.__dict__.update(attributes)
        return shapes

    def extra_repr(self) -> str:
        """What stands between the parentheses in the repr of a layer."""
        return ""

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}" for name, child in self.children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        inside = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {inside}\n)"


def _members(attributes: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    """Parameters and modules among attributes, also inside containers, with names."""
    for name, value in _values(attributes):
        if isinstance(value, Module | Parameter):
            yield name, value
        elif isinstance(value, set | frozenset) and any(
            isinstance(v, Module | Parameter) for v in value
        ):
            raise TypeError(
                f"attribute {name!r} is a set of modules or parameters, which has no order: use a "
                f"list"
            )


def _values(
    attributes: Iterable[tuple[Any, Any]], around: tuple[int, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """All values, those in containers one by one; ``around`` are the containers they are in."""
    for name, value in attributes:
        items = None if isinstance(value, _SINGLE) else _items(value)
        if items is None:
            yield str(name), value
        elif id(value) not in around:  # a container may contain itself
            for key, member in _values(items, (*around, id(value))):
                yield f"{name}.{key}", member


_PLAIN = (float, int, str, type(None), complex, bytes, np.generic, type, ModuleType)
_SINGLE = (Module, Tensor, np.ndarray, *_PLAIN)
_LISTS = (list, tuple, deque, UserList)
_DICTS = (dict, UserDict, MappingProxyType)
_METHODS = (FunctionType, property, staticmethod, classmethod)


def _items(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """Names and values of what a container holds; None of what is not searched."""
    if isinstance(value, _LISTS):
        return enumerate(value)
    if isinstance(value, _DICTS):
        return value.items()
    if isinstance(value, SimpleNamespace) or dataclasses.is_dataclass(value):
        return _attributes(value)
    return None


def _attributes(value: Any) -> list[tuple[str, Any]]:
    """The attributes of an object, also of one that has slots."""
    slots = [name for c in type(value).__mro__ for name in getattr(c, "__slots__", ())]
    return [
        *getattr(value, "__dict__", {}).items(),
        *((name, getattr(value, name, None)) for name in slots if name != "__dict__"),
    ]


# --- What is held where it is not found -----------------------------------------------------------


def _check_nothing_is_hidden(root: Module) -> None:
    """Raise if a module holds what could be trained where it would never be trained.

    What is found in another place as well is not hidden, and neither is a module around this one.
    """
    found: set[int] = set()
    for name, value, where, remedy in list(_hidden(root, "", found)):
        if id(value) in found:
            continue
        if isinstance(value, Module) and any(m is root for _, m in value.modules()):
            continue
        raise TypeError(
            f"{type(root).__name__}: {name} is a {type(value).__name__} {where}, and would be "
            f"neither trained nor saved nor switched to eval mode: {remedy}; if it is no part of "
            f"the module, give it to forward() as an argument"
        )


def _hidden(module: Module, path: str, found: set[int]) -> Iterator[tuple[str, Any, str, str]]:
    """What is held where it is not found: name, value, place and remedy; and put into ``found``
    the identity of all modules and parameters that are."""
    if id(module) in found:
        return
    found.add(id(module))
    for name, value in _values(module.__dict__.items()):
        if isinstance(value, Module):
            yield from _hidden(value, f"{path}{name}.", found)
        elif isinstance(value, Parameter):
            found.add(id(value))
        elif _is_trainable(value):
            remedy = "make it nn.Parameter(...), or detach() it"
            yield path + name, value, "that is no Parameter", remedy
        else:
            kind = type(value).__name__
            for key, member in _values(_held(value)):
                if _is_trainable(member):
                    remedy = f"derive {kind} from nn.Module, or hold what is in it in an attribute"
                    yield f"{path}{name}.{key}", member, f"in a {kind}", remedy
    classes = type(module).__mro__
    for c in classes[: classes.index(Module)]:
        own = {n: v for n, v in vars(c).items() if not isinstance(v, _METHODS + _PLAIN)}
        slots = {n: getattr(module, n, None) for n in own if n in vars(c).get("__slots__", ())}
        for name, value in _values((own | slots).items()):
            if _is_trainable(value) and name not in module.__dict__:
                remedy = f"set self.{name} in __init__"
                yield path + name, value, f"of the class {c.__name__}", remedy


def _held(value: Any) -> Iterable[tuple[Any, Any]]:
    """What something that is no container holds directly."""
    if isinstance(value, _PLAIN):
        return ()
    if isinstance(value, np.ndarray):
        return enumerate(value.flat) if value.dtype == object else ()
    if isinstance(value, functools.partial):
        return [("func", value.func), *enumerate(value.args), *value.keywords.items()]
    if isinstance(value, MethodType):
        return [("__self__", value.__self__)]
    if isinstance(value, FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        return [(name, cell.cell_contents) for name, cell in cells if cell != CellType()]
    return _attributes(value)


def _is_trainable(value: Any) -> bool:
    if isinstance(value, Module | Parameter):
        return True
    return isinstance(value, Tensor) and value.requires_grad and isinstance(value._node, Leaf)


def _walk(module: Module, prefix: str, seen: set[int]) -> Iterator[tuple[str, Module]]:
    if id(module) in seen:
        return
    seen.add(id(module))
    yield prefix[:-1], module
    for name, child in module.children():
        yield from _walk(child, f"{prefix}{name}.", seen)


def _state(module: Module) -> dict[str, Any]:
    """All parameters and buffers by their dotted names, which must differ."""
    _check_nothing_is_hidden(module)
    state: dict[str, Any] = {}
    for name, value in _leaves(module, "", set()):
        if name in state:
            raise ValueError(
                f"{type(module).__name__} has two parameters or buffers with the name {name!r} "
                f"(a list, a dict and an attribute can come to the same name): rename one"
            )
        state[name] = value
    return state


def _leaves(module: Module, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Parameters and buffers of a module and all inside it, in the order of the attributes.

    A shared parameter comes under each of its names, a shared module under its first.
    """
    if id(module) in seen:
        return
    seen.add(id(module))
    for name in module.buffers:
        if not isinstance(getattr(module, name), np.ndarray | Tensor | None):
            raise TypeError(
                f"{type(module).__name__}.{name} is a buffer and must be an ndarray or None, not a "
                f"{type(getattr(module, name)).__name__}: np.array(...) makes one"
            )
    for name, value in module.__dict__.items():
        if name in module.buffers and value is not None:
            yield prefix + name, value
        for path, member in _members([(name, value)]):
            if isinstance(member, Module):
                yield from _leaves(member, f"{prefix}{path}.", seen)
            else:
                yield prefix + path, member


def _array(value: Any) -> Any:
    return value.data if isinstance(value, Tensor) else value


def _say_where(module: Module, error: Exception) -> None:
    """Put the path of the module that failed into the message, as in ``in 2.linear1 (Linear)``.

    Every module on the way out puts its own part in front of the path.
    """
    first = (module, "", type(module).__name__, error.args)
    inner, path, name, args = error.__dict__.get("place", first)
    if inner is not module:
        own = next((n for n, child in module.children() if child is inner), "")
        path = ".".join(part for part in (own, path) if part)
    place = f"in {path} ({name})" if path else f"in {name}"
    error.__dict__["place"] = (module, path, name, args)
    if type(error).__str__ is Exception.__str__ and args and isinstance(args[0], str):
        error.args = (f"{args[0]}\n  {place}", *args[1:])
    else:
        error.__notes__ = [n for n in getattr(error, "__notes__", []) if not n.startswith("in ")]
        error.add_note(place)
