"""Groups: parameters that have hyper-parameters in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from minidl.autograd import Node
from minidl.checks import is_number
from minidl.optim.home import bring_home
from minidl.optim.saving import load_into, state_of
from minidl.optim.storage import Storage
from minidl.tensor import Tensor

Listed = tuple[list[str], list[Any], dict[str, Any]]
"""A group as it is given: names, parameters, and the hyper-parameters of its own."""


class Group(MutableMapping[str, Any]):
    """Parameters with hyper-parameters in common: a dict that checks the values put into it.

    ``group["params"]`` is a tuple; what stands beside it are the hyper-parameters of the rule.
    """

    def __init__(
        self, rule: Any, names: list[str], params: list[Tensor], hyper: dict[str, Any]
    ) -> None:
        self.rule = rule
        self.hyper = {key: rule.checked(key, value) for key, value in hyper.items()}
        self.storage = Storage(rule, names, params)
        self.proven = False  # whether a step has shown that update works in place

    def __getitem__(self, key: str) -> Any:
        return tuple(self.storage.params) if key == "params" else self.hyper[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in self.hyper:
            raise KeyError(
                f"only {', '.join(self.hyper)} can be set in a group of {self.rule.__name__}, not "
                f"{key}: make a new optimizer for other parameters"
            )
        self.hyper[key] = self.rule.checked(key, value)

    def __delitem__(self, key: str) -> None:
        raise TypeError(f"a group of {self.rule.__name__} cannot do without {key!r}")

    def __iter__(self) -> Iterator[str]:
        return iter(("params", *self.hyper))

    def __len__(self) -> int:
        return 1 + len(self.hyper)

    def __repr__(self) -> str:
        return repr(dict(self))

    def described(self) -> str:
        """The number of parameters and the hyper-parameters, in a line."""
        hyper = [
            f"{k}={getattr(v, '__name__', v) if callable(v) else v}" for k, v in self.hyper.items()
        ]
        return ", ".join([f"{len(self.storage.params)} parameters", *hyper])

    def __reduce__(self) -> tuple[Any, ...]:
        """For copies and pickles, which have memory of their own for parameters of their own."""
        storage = self.storage
        state = state_of(storage)
        return _group_again, (self.rule, storage.names, storage.params, self.hyper, state)


def _group_again(
    rule: Any, names: list[str], params: list[Tensor], hyper: dict[str, Any], state: dict[str, Any]
) -> Group:
    group = Group(rule, names, params, hyper)
    load_into(group.storage, state)
    return group  # its first step brings the parameters home


def groups_of(params: Any, rule: Any, defaults: dict[str, Any]) -> tuple[Group, ...]:
    """The groups of an optimizer, their parameters in its memory."""
    listed = _as_groups(params, rule.__name__)
    _check_parameters(listed)
    for _, _, own in listed:
        unknown = [key for key in own if key not in defaults]
        if unknown:
            raise TypeError(
                f"{rule.__name__} has no hyper-parameter {unknown[0]!r}, only {', '.join(defaults)}"
            )
    groups = [Group(rule, names, tensors, defaults | own) for names, tensors, own in listed]
    bring_home([group.storage for group in groups])
    return tuple(groups)


def rate_at(group: Group, steps: int) -> float:
    """The learning rate that the schedule of a group gives after so many steps.

    Raises:
        ValueError: if it is not a finite number of at least 0.
    """
    value = group.hyper["lr"](steps)
    if not (is_number(value) and 0 <= value < math.inf):
        raise ValueError(
            f"{group.rule.__name__}: the schedule for lr gave {value!r} after {steps} steps, not a "
            f"finite number of at least 0"
        )
    return float(value)


# --- Parameters -----------------------------------------------------------------------------------


def _as_groups(params: Any, rule: str) -> list[Listed]:
    names, items = items_of(params, rule)
    if not all(isinstance(item, Mapping) for item in items):
        return [(names, items, {})]
    groups = []
    for i, item in enumerate(items):
        if "params" not in item:
            raise TypeError(f"{rule}: group {i} has no 'params'")
        own = {key: value for key, value in item.items() if key != "params"}
        groups.append((*items_of(item["params"], f"{rule}, group {i}"), own))
    return groups


def items_of(params: Any, caller: str) -> tuple[list[str], list[Any]]:
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


def _check_parameters(groups: list[Listed]) -> None:
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
            if isinstance(p.node, Node):
                raise TypeError(
                    f"{name} was computed from other Tensors, and only leaves can be moved: pass "
                    f"what it was computed from, or make a leaf with nn.Parameter(t.numpy())"
                )
            if p.dtype.kind != "f":
                raise TypeError(f"{name} has dtype {p.dtype}: only floating-point ones can move")
            if p.node is None and type(p) is Tensor:
                raise ValueError(
                    f"{name} does not require a gradient: make it with requires_grad=True"
                )
            if id(p) in seen:
                raise ValueError(
                    f"{name} is listed twice, first as {seen[id(p)]}: list a shared one once"
                )
            seen[id(p)] = name
