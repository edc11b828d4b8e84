"""Architecture: a model as plain data, and the model that is built of such data.

With the weights it makes a file complete: ``minidl.save(path, {"model": describe(model), "weights":
model.state_dict()})``. A description names classes and the arguments of their constructors, so that
reading one runs nothing but constructors of classes that the reader knows.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from minidl.checks import whole_number
from minidl.nn.activations import GELU, LeakyReLU, Sigmoid, Softmax, Tanh
from minidl.nn.embedding import Embedding
from minidl.nn.images import AvgPool2d, Conv2d, ConvTranspose2d, MaxPool2d
from minidl.nn.layer_norm import LayerNorm
from minidl.nn.layers import BatchNorm, Linear, ReLU
from minidl.nn.lists import ModuleDict, ModuleList
from minidl.nn.members import leaves
from minidl.nn.module import Module, Sequential
from minidl.nn.regularization import Dropout
from minidl.nn.shapes import Flatten
from minidl.nn.state import named
from minidl.rng import generator

_DEEPEST = 90  # levels of modules, lists and dicts: a checkpoint has 100
_DTYPES = ("float16", "float32", "float64")
_PLAIN = (type(None), bool, int, float, str)


def _is_plain(value: Any) -> bool:
    """Whether it is a number, a text or such; NumPy's numbers stay, which can widen a dtype."""
    return type(value) in _PLAIN or (isinstance(value, np.generic) and value.dtype.kind in "biuf")


# --- The arguments of a layer, from what it holds -------------------------------------------------


def _linear(layer: Any) -> dict[str, Any]:
    outputs, inputs = layer.weight.shape
    return {"in_features": inputs, "out_features": outputs, "bias": layer.bias is not None}


def _convolution(layer: Any) -> dict[str, Any]:
    first, second, *kernel = layer.weight.shape  # the second is that of one group
    channels = (first, second * layer.groups)
    inputs, outputs = channels if isinstance(layer, ConvTranspose2d) else channels[::-1]
    names = ["stride", "padding", "dilation", "groups"]
    names += ["output_padding"] if isinstance(layer, ConvTranspose2d) else []
    return {
        "in_channels": inputs,
        "out_channels": outputs,
        "kernel_size": tuple(kernel),
        "bias": layer.bias is not None,
        **{name: getattr(layer, name) for name in names},
    }


def _batch_norm(layer: Any) -> dict[str, Any]:
    return {
        "num_features": len(layer.running_mean),
        "eps": layer.eps,
        "momentum": layer.momentum,
        "affine": layer.weight is not None,
    }


def _layer_norm(layer: Any) -> dict[str, Any]:
    settings = {"normalized_shape": layer.normalized_shape, "eps": layer.eps}
    affine, bias = layer.weight is not None, layer.bias is not None
    return settings | {"elementwise_affine": affine, "bias": bias}


def _embedding(layer: Any) -> dict[str, Any]:
    return dict(zip(("num_embeddings", "embedding_dim"), layer.weight.shape, strict=True))


def _same_names(layer: Any) -> dict[str, Any]:
    """The attributes that are called as the arguments; what is random is no architecture."""
    found = {}
    for name, parameter in inspect.signature(type(layer)).parameters.items():
        if name == "rng":
            continue
        if not hasattr(layer, name) or parameter.kind is parameter.VAR_KEYWORD:
            raise ValueError(
                f"its constructor takes {name!r}, and it has no attribute of that name: keep it, "
                f"as in self.{name} = {name}, or give the class a method arguments() that returns "
                f"the arguments of the constructor by name, as plain data"
            )
        found[name] = getattr(layer, name)
    return found


_ARGUMENTS: dict[type, Callable[[Any], dict[str, Any]]] = {
    Linear: _linear,
    Conv2d: _convolution,
    ConvTranspose2d: _convolution,
    BatchNorm: _batch_norm,
    LayerNorm: _layer_norm,
    Embedding: _embedding,
    Sequential: lambda module: {"modules": list(module)},
    ModuleList: lambda module: {"modules": list(module)},
    ModuleDict: lambda module: {"modules": dict(module.items())},
    **dict.fromkeys((AvgPool2d, MaxPool2d, Dropout, Flatten), _same_names),
    **dict.fromkeys((GELU, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh), _same_names),
}
_KNOWN = {cls.__name__: cls for cls in _ARGUMENTS}
_WITH_DTYPE = (Linear, Conv2d, ConvTranspose2d, BatchNorm, LayerNorm, Embedding)

# --- From a model to its description --------------------------------------------------------------


def describe(model: Module) -> dict[str, Any]:
    """Return the architecture of a model as plain data: class names and constructor arguments.

    Each module is a dict of ``"class"``, its name, and the arguments of its constructor: numbers,
    texts, booleans, None, lists, tuples and dicts of these, and other modules. A module that stands
    in two places is ``{"shared": place}`` in the second. ``minidl.save`` takes such data.

    All layers of ``nn`` can be described. So can a class of your own whose constructor keeps each
    argument in an attribute of the same name (``rng`` is left out), or that has a method
    ``arguments()`` which returns them by name, or that is based on a layer and has no constructor
    of its own. Whether that is enough is tried: the description is
    built, and must give parameters of the same names, shapes and dtypes, and describe itself alike.

    Weights are no part of it (``state_dict`` has them), nor are initializers, generators, the mode,
    and which parameters are frozen.

    Raises:
        TypeError: for what is no module, or a part or an argument that cannot be described; the
            message names it and its place.
        ValueError: for a model that does not come back as it is, such as one with a parameter that
            two modules share, or that is nested more than 90 deep, where a
            Sequential takes two levels.

    Example:
        >>> from minidl import nn
        >>> for layer in describe(nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2)))["modules"]:
        ...     print(layer)
        {'class': 'Linear', 'in_features': 4, 'out_features': 8, 'bias': True, 'dtype': 'float32'}
        {'class': 'Dropout', 'p': 0.2}
    """
    if not isinstance(model, Module):
        raise TypeError(f"describe takes a Module, such as nn.Linear(4, 3), got {model!r}")
    description = _Describer().module(model, "model", 0)
    classes = {type(m) for _, m in model.modules()} - set(_ARGUMENTS)
    _check_comes_back(model, description, classes)
    return description


class _Describer:
    def __init__(self) -> None:
        self.places: dict[int, str | None] = {}  # of the modules; None while one is described

    def module(self, module: Module, place: str, level: int) -> dict[str, Any]:
        cls = type(module)
        whose = f"describe: {place}, a {cls.__name__}"
        if id(module) in self.places:
            first = self.places[id(module)]
            if first is None:
                raise ValueError(f"{whose}, contains itself")
            return {"shared": first}
        if level == _DEEPEST:
            raise ValueError(f"{whose}, is nested more than {_DEEPEST} deep: make it flatter")
        if cls.__name__ in _KNOWN and cls not in _ARGUMENTS:
            raise TypeError(f"{whose} of your own, has the name of a layer of nn: rename the class")
        if cls.__module__.startswith("minidl.nn.") and cls not in _ARGUMENTS:
            raise TypeError(f"{whose}, is no layer: only what makes predictions can be described")
        self.places[id(module)] = None
        try:
            arguments = _arguments(module)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{whose}: {error}") from None
        described: dict[str, Any] = {"class": cls.__name__}
        for name, value in arguments.items():
            described[name] = self.value(value, f"{place}.{name}", level)
        self.places[id(module)] = place
        return described

    def value(self, value: Any, place: str, level: int) -> Any:
        if isinstance(value, Module):
            return self.module(value, place, level + 1)
        if _is_plain(value):
            return value
        if level == _DEEPEST:
            raise ValueError(f"describe: {place} is nested more than {_DEEPEST} deep")
        if type(value) in (list, tuple):
            made = [self.value(v, f"{place}.{i}", level + 1) for i, v in enumerate(value)]
            return type(value)(made)
        if type(value) is dict and all(type(key) is str for key in value):
            if {"class", "shared"} & value.keys():
                raise TypeError(f"describe: {place} has a key 'class' or 'shared', which means a "
                                f"module here: take another word")  # fmt: skip
            return {key: self.value(v, f"{place}.{key}", level + 1) for key, v in value.items()}
        raise TypeError(
            f"describe: {place} is a {type(value).__name__}; a description holds numbers, texts, "
            f"booleans, None, lists, tuples and dicts (with words for keys) of these, and modules. "
            f"A class of your own can return such in a method arguments()"
        )


def _constructed_as(cls: type) -> type:
    """The layer of nn whose constructor a class has, if it only computes otherwise; else cls."""
    own = getattr(cls, "__init__")  # noqa: B009  (mypy takes cls.__init__ for one of an object)
    return next((b for b in _ARGUMENTS if vars(b).get("__init__") is own), cls)


def _arguments(module: Any) -> dict[str, Any]:
    """The arguments of the constructor that made a module."""
    cls = type(module)
    if callable(getattr(cls, "arguments", None)):  # a method, and not a module of that name
        return dict(module.arguments())
    base = _constructed_as(cls)
    arguments = _ARGUMENTS.get(base, _same_names)(module)
    if base in _WITH_DTYPE:
        array = module.running_mean if base is BatchNorm else module.weight
        # A LayerNorm without parameters has no dtype to keep.
        arguments["dtype"] = "float32" if array is None else array.dtype.name
        if arguments["dtype"] not in _DTYPES:
            raise TypeError(f"its dtype is {array.dtype}, expected one of {', '.join(_DTYPES)}")
    return arguments


class _Leaf(NamedTuple):
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.shape} {self.dtype}"


def _leaves(model: Module) -> dict[str, _Leaf]:
    return {name: _Leaf(v.shape, v.dtype.name) for name, v in named(model).items()}


def _check_comes_back(model: Module, description: dict[str, Any], classes: set[type]) -> None:
    """Raise unless the model that is built has the same parameters and describes itself alike."""
    first: dict[int, str] = {}
    for name, value in leaves(model):
        if first.setdefault(id(value), name) != name:
            raise ValueError(
                f"describe: {first[id(value)]} and {name} are one parameter, which a description "
                f"cannot say: share the whole module instead"
            )
    own = generator()
    before = own.bit_generator.state
    try:
        copy = build(description, classes=classes, most=sys.maxsize)
        again = _Describer().module(copy, "model", 0)
    finally:
        own.bit_generator.state = before  # describing a model changes nothing that comes after
    there, here = _leaves(model), _leaves(copy)
    differing = [n for n in {**there, **here} if there.get(n) != here.get(n)]
    if differing:
        n = differing[0]
        raise ValueError(
            f"describe: {type(model).__name__} does not come back from the arguments of its "
            f"constructors: {n} is {there.get(n, 'not there')} in the model and "
            f"{here.get(n, 'not there')} in what is built of them; what is set after construction "
            f"belongs into a constructor"
        )
    if again != description:
        raise ValueError(
            f"describe: {type(model).__name__} describes itself otherwise once it was built anew: "
            f"{description} became {again}; does a constructor keep another value than it got?"
        )


# --- From a description to a model ----------------------------------------------------------------


def build(
    description: Mapping[str, Any],
    *,
    classes: Iterable[type[Module]] = (),
    most: int = 100_000_000,
) -> Any:
    """Return the model that :func:`describe` described, with new initial weights.

    A description may come from a file that somebody made to do harm. Only constructors of the
    layers of ``nn`` and of ``classes`` are called, and only with arguments that they have; layers
    of ``nn`` that would take too much memory are refused before it is taken. What a class of your
    own does with absurd arguments is in its hands.

    Args:
        description: what ``describe`` returned.
        classes: those of your own in the model.
        most: how many parameters the layers of ``nn`` may have in all; where the weights are at
            hand, the sum of their sizes says it best.

    Raises:
        TypeError: if ``description`` is no dict, or ``classes`` are none of modules.
        ValueError: for a class that is not known, arguments that it does not take, too many
            parameters, more than 90 levels; the message names the place.

    Example:
        >>> from minidl import nn
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> copy = build(describe(model))
        >>> copy.load_state_dict(model.state_dict())
        >>> copy
        Sequential(
          (0): Linear(4, 8)
          (1): ReLU()
          (2): Linear(8, 3)
        )
    """
    if not isinstance(description, dict):
        raise TypeError(f"build takes what describe returns, a dict, not {description!r:.100}")
    own: dict[str, type] = {}
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, Module)):
            raise TypeError(f"build: classes are classes of modules, got {cls!r}")
        if cls.__name__ in _KNOWN or own.setdefault(cls.__name__, cls) is not cls:
            raise ValueError(f"build: two classes have the name {cls.__name__}: rename one")
    most = whole_number(most, "build: most")
    return _Builder({**own, **_KNOWN}, most).module(description, "model", 0)


class _Builder:
    def __init__(self, known: dict[str, type], most: int) -> None:
        self.known, self.most, self.left = known, most, most
        self.made: dict[str, Any] = {}  # modules by their places

    def module(self, description: dict[str, Any], place: str, level: int) -> Any:
        if "shared" in description:
            first = description["shared"]
            if len(description) > 1 or not isinstance(first, str) or first not in self.made:
                raise ValueError(f"build: {place} is {description!r:.100}: there is no such module")
            return self.made[first]
        if level == _DEEPEST:
            raise ValueError(f"build: {place} is nested more than {_DEEPEST} deep")
        name = description.get("class")
        if not isinstance(name, str) or name not in self.known:
            raise ValueError(
                f"build: {place} is of class {name!r:.100}, which is not known here; known are "
                f"{', '.join(sorted(self.known))}. If it is a class of your own, pass it in "
                f"classes=[...]; if it is a layer, a newer minidl may know it"
            )
        arguments = {
            key: self.value(value, f"{place}.{key}", level)
            for key, value in description.items()
            if key != "class"
        }
        cls = self.known[name]
        try:
            made = self.called(cls, arguments)
        except (TypeError, ValueError) as error:
            raise ValueError(f"build: {place}: {error}") from None
        self.made[place] = made
        return made

    def called(self, cls: Any, arguments: dict[str, Any]) -> Any:
        """A module of the class, once the arguments are known to be such as it takes."""
        parameters = inspect.signature(cls).parameters
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for name, value in arguments.items():
            if name not in parameters and not takes_any:
                takes = ", ".join(parameters) or "no arguments"
                raise ValueError(f"{cls.__name__} has no argument {name!r:.100}; it takes {takes}")
            if (
                name in parameters
                and type(parameters[name].default) is bool
                and (not isinstance(value, bool))
            ):
                raise ValueError(f"{cls.__name__}: {name} is True or False, not {value!r:.100}")
        if _constructed_as(cls) in _WITH_DTYPE:
            if arguments.get("dtype", "float32") not in _DTYPES:
                raise ValueError(f"{cls.__name__}: dtype is one of {', '.join(_DTYPES)}")
            self.left -= _size(arguments)
            if self.left < 0:
                raise ValueError(f"{cls.__name__}: the model has more than {self.most:,} "
                                 f"parameters in all; build(..., most=) allows more")  # fmt: skip
        own = {name: arguments.pop(name) for name in parameters if name in arguments}
        bound = inspect.BoundArguments(inspect.signature(cls), own)  # type: ignore[arg-type]
        return cls(*bound.args, **bound.kwargs, **arguments)

    def value(self, value: Any, place: str, level: int) -> Any:
        if _is_plain(value):
            return value
        if level == _DEEPEST:
            raise ValueError(f"build: {place} is nested more than {_DEEPEST} deep")
        if type(value) in (list, tuple):
            made = [self.value(v, f"{place}.{i}", level + 1) for i, v in enumerate(value)]
            return type(value)(made)
        if isinstance(value, dict) and {"class", "shared"} & value.keys():
            return self.module(value, place, level + 1)
        if isinstance(value, dict):
            return {key: self.value(v, f"{place}.{key}", level + 1) for key, v in value.items()}
        raise ValueError(f"build: {place} is a {type(value).__name__}, which no description holds")


def _size(arguments: dict[str, Any]) -> int:
    """How many numbers are in the largest array that a layer will make; 0 where it will refuse."""
    lengths: list[Any] = []
    for name, value in arguments.items():
        if name.startswith(("in_", "out_", "num_", "embedding_")):
            lengths.append(value)
        elif name in ("kernel_size", "normalized_shape"):
            lengths += value if isinstance(value, list | tuple) else [value]
            if name == "kernel_size" and isinstance(value, int):
                lengths.append(value)  # of height and width
    groups = arguments.get("groups", 1)
    if not all(isinstance(n, int) and n > 0 for n in [*lengths, groups]):
        return 0
    return math.prod(lengths) // groups if arguments.get("elementwise_affine", True) else 0
