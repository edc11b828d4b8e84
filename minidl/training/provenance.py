"""What a run is made of: the generators it draws from, and how to know its parts again.

A checkpoint holds what moves in a run; the rest its script brings along each time. So that it is
the same again, the checkpoint holds a description of it: of the loss its settings, of data a
checksum, of modules their classes. A file of its own because training itself asks none of this.
"""

from __future__ import annotations

import functools
import inspect
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from minidl.data import DataLoader
from minidl.nn import Module, Parameter
from minidl.tensor import Tensor


def generators(owners: Mapping[str, Any]) -> Iterator[tuple[str, np.random.Generator]]:
    """All generators among the attributes of the owners, with their places, each once.

    Containers, objects, methods and partials that stand there are looked into; what a function
    encloses is not.
    """
    seen: set[int] = set()
    found = list(owners.items())[::-1]
    while found:  # no recursion, since objects may hold each other in a long chain
        place, value = found.pop()
        if isinstance(value, np.ndarray | str | int | float | None) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, np.random.Generator):
            yield place, value
        members: Iterable[tuple[Any, Any]]
        if isinstance(value, Mapping):
            members = value.items()
        elif isinstance(value, list | tuple | deque):
            members = enumerate(value)
        elif isinstance(value, type) or inspect.ismodule(value):
            continue
        elif isinstance(value, functools.partial):
            members = [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
        elif hasattr(value, "__self__"):  # a method, such as ``rng.normal``
            members = [("__self__", value.__self__)]
        else:
            members = getattr(value, "__dict__", {}).items()
        found += [(f"{place}.{name}", member) for name, member in reversed(list(members))]


def described(value: Any, levels: int = 4) -> str:
    """A value in words, the same in every run of the script that makes it.

    Of a function its name and the names it uses are all there is to tell; so two of one name that
    differ in a number are not told apart.
    """
    value = inspect.unwrap(value) if callable(value) else value
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, Parameter):  # it moves
        return f"Parameter{value.shape}"
    if isinstance(value, np.ndarray | np.generic | Tensor):
        array = value.data if isinstance(value, Tensor) else np.asarray(value)
        return f"{array.dtype}{array.shape} {checksum(array)}"
    if levels == 0:
        return type(value).__name__
    if isinstance(value, list | tuple):
        return f"[{', '.join(described(item, levels - 1) for item in value)}]"
    if isinstance(value, Mapping):
        items = [f"{key!r}: {described(item, levels - 1)}" for key, item in value.items()]
        return f"{{{', '.join(items)}}}"
    if isinstance(value, functools.partial):
        return described([value.func, *value.args, value.keywords], levels)
    code = getattr(value, "__code__", None)
    if code is not None:
        return f"{value.__name__} of {', '.join(code.co_names) or 'nothing'}"
    if isinstance(value, type) or not hasattr(value, "__dict__"):
        return getattr(value, "__name__", type(value).__name__)
    settings = [
        f"{name}={described(setting, levels - 1)}"
        for name, setting in vars(value).items()
        if name not in ("training", *getattr(value, "buffers", ()))
    ]
    return f"{type(value).__name__}({', '.join(settings)})"


def parts(model: Module, loss: Any, loaders: Mapping[str, DataLoader]) -> dict[str, str]:
    """A description of all that a run is given and a checkpoint does not hold."""
    found = {"loss": described(loss)}
    for name, loader in loaders.items():
        found[f"{name} data"] = described([*loader.arrays, *(getattr(loader, "names", None) or ())])
    for name, module in model.modules():
        found[f"model.{name}" if name else "model"] = type(module).__name__
    return found


def checksum(array: np.ndarray) -> str:
    """Eight digits that almost surely differ for other bytes; a gigabyte takes about a second."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return f"{zlib.crc32(flat.data):08x}"
