"""What is held where nobody looks for it, and so would never be trained: it is refused.

Nothing needs to be registered in a module (see members.py). The price is that a part could be put
where it is not found: in the class, in an object that is no module, in a closure. It would still
take part in the forward pass, and nothing would tell.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from types import CellType, FunctionType, MethodType
from typing import Any

import numpy as np

from minidl.autograd import Leaf
from minidl.nn.members import PLAIN, Member, attributes_of, slots_of, values
from minidl.tensor import Tensor

_METHODS = (FunctionType, property, staticmethod, classmethod)


def check_nothing_is_hidden(root: Any) -> None:
    """Raise if a module holds what could be trained where it would never be trained.

    What is found in another place as well is not hidden, and neither is a module around this one.
    """
    found: set[int] = set()
    for name, value, where, remedy in list(_hidden(root, "", found)):
        if id(value) in found:
            continue
        if not isinstance(value, Tensor) and any(m is root for _, m in value.modules()):
            continue
        raise TypeError(
            f"{type(root).__name__}: {name} is a {type(value).__name__} {where}, and would be "
            f"neither trained nor saved nor switched to eval mode: {remedy}; if it is no part of "
            f"the module, give it to forward() as an argument"
        )


def check_in_place_of_parameter(module: Any, name: str, value: Any) -> None:
    """Raise if a Parameter is to become a result that nobody trains: ``layer.weight *= 0.1``."""
    if isinstance(value, np.ndarray | Tensor) and not isinstance(value, Member):
        raise TypeError(
            f"{type(module).__name__}.{name} is a Parameter and cannot become a "
            f"{type(value).__name__}, which would not be trained: write into {name}.data, or "
            f"set it to nn.Parameter(...)"
        )


def refuse_as_step(i: int, given: Any) -> None:
    """Raise: argument ``i`` of Sequential is no module, and no parameter in it would be found."""
    remedy = "write a Module whose forward calls it"
    if isinstance(given, type):
        remedy = f"put brackets behind it, {given.__name__}(...)"
    elif isinstance(given, list | tuple):
        remedy = "unpack it with a star, Sequential(*modules)"
    raise TypeError(
        f"Sequential takes modules one by one, and argument {i} is a {type(given).__name__}: "
        f"{remedy}"
    )


def _hidden(module: Any, path: str, found: set[int]) -> Iterator[tuple[str, Any, str, str]]:
    """What is held where it is not found: name, value, place and remedy; and put into ``found``
    the identity of all modules and parameters that are."""
    if id(module) in found:
        return
    found.add(id(module))
    for name, value in values(module.__dict__.items()):
        if isinstance(value, Member):
            if isinstance(value, Tensor):
                found.add(id(value))
            else:
                yield from _hidden(value, f"{path}{name}.", found)
        elif _is_trainable(value):
            remedy = "make it nn.Parameter(...), or detach() it"
            yield path + name, value, "that is no Parameter", remedy
        else:
            kind = type(value).__name__
            for key, member in values(_held(value)):
                if _is_trainable(member):
                    remedy = f"derive {kind} from nn.Module, or hold what is in it in an attribute"
                    yield f"{path}{name}.{key}", member, f"in a {kind}", remedy
    for c in type(module).__mro__:
        own = {n: v for n, v in vars(c).items() if not isinstance(v, _METHODS + PLAIN)}
        slots = {name: getattr(module, name, None) for name in slots_of(c)}
        for name, value in values((own | slots).items()):
            if _is_trainable(value) and name not in module.__dict__:
                remedy = f"set self.{name} in __init__"
                yield path + name, value, f"of the class {c.__name__}", remedy


def _held(value: Any) -> Iterable[tuple[Any, Any]]:
    """What something that is no container holds directly."""
    if isinstance(value, PLAIN):
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
    return attributes_of(value)


def _is_trainable(value: Any) -> bool:
    if isinstance(value, Member):
        return True
    return isinstance(value, Tensor) and isinstance(value.node, Leaf)
