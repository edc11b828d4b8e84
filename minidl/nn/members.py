"""How the parts of a module are found: among its attributes, in the order in which they were set,
and in lists, tuples, dicts, deques, dataclasses and namespaces of them at any depth.
"""

from __future__ import annotations

import dataclasses
import re
from collections import UserDict, UserList, deque
from collections.abc import Iterable, Iterator
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from minidl.tensor import Tensor


class Member:
    """What is part of a module if found there: the base of Parameter (a Tensor) and of Module."""

    __slots__ = ()


PLAIN = (float, int, str, type(None), complex, bytes, np.generic, type, ModuleType)
_SINGLE = (Member, Tensor, np.ndarray, *PLAIN)
_LISTS = (list, tuple, deque, UserList)
_DICTS = (dict, UserDict, MappingProxyType)


def members(attributes: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, Any]]:
    """Parameters and modules among attributes, also inside containers, with names."""
    for name, value in values(attributes):
        if isinstance(value, Member):
            yield name, value
        elif isinstance(value, set | frozenset) and any(isinstance(v, Member) for v in value):
            raise TypeError(
                f"attribute {name!r} is a set of modules or parameters, which has no order: use a "
                f"list"
            )


def values(
    attributes: Iterable[tuple[Any, Any]], around: tuple[int, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """All values, those in containers one by one; ``around`` are the containers they are in."""
    for name, value in attributes:
        items = None if isinstance(value, _SINGLE) else _items(value)
        if items is None:
            yield str(name), value
        elif id(value) not in around:  # a container may contain itself
            for key, member in values(items, (*around, id(value))):
                yield f"{name}.{key}", member


def _items(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """Names and values of what a container holds; None of what is not searched."""
    if isinstance(value, _LISTS):
        return enumerate(value)
    if isinstance(value, _DICTS):
        return value.items()
    if isinstance(value, SimpleNamespace) or dataclasses.is_dataclass(value):
        return attributes_of(value)
    return None


def attributes_of(value: Any) -> list[tuple[str, Any]]:
    """The attributes of an object, also of one that has slots."""
    slots = [name for c in type(value).__mro__ for name in slots_of(c)]
    return [
        *getattr(value, "__dict__", {}).items(),
        *((name, getattr(value, name, None)) for name in slots if name != "__dict__"),
    ]


def slots_of(cls: type) -> list[str]:
    """The names of a class's own slots, the private ones as they are known outside of the class."""
    slots = vars(cls).get("__slots__", ())
    private = f"_{cls.__name__.lstrip('_')}__"
    names = [slots] if isinstance(slots, str) else slots
    return [re.sub(r"^__(?!.*__$)", private, name) for name in names]


def walk(module: Any, prefix: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """A module and all inside it, each once, with their dotted names."""
    seen = set() if seen is None else seen
    if id(module) not in seen:
        seen.add(id(module))
        yield prefix[:-1], module
        for name, child in module.children():
            yield from walk(child, f"{prefix}{name}.", seen)


def leaves(
    module: Any, prefix: str = "", seen: set[int] | None = None
) -> Iterator[tuple[str, Any]]:
    """Parameters and buffers of a module and all inside it, in the order of the attributes.

    A shared parameter comes under each of its names, a shared module under its first.
    """
    seen = set() if seen is None else seen
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
        for path, member in members([(name, value)]):
            if isinstance(member, Tensor):
                yield prefix + path, member
            else:
                yield from leaves(member, f"{prefix}{path}.", seen)
