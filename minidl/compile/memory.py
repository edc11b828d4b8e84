"""Which calls a program needs, in which order, and where in memory each value stands.

An array is allocated once, before the first step. Two values share one if the first is not needed
any more when the second is made; what is made element by element from a value that dies takes its
place. What the optimizer or the model keeps is computed where it is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.compile.program import Trace, Value
from minidl.compile.traced import MEMORY

_WITH_OUT = {f"np.{name}" for name in ("dot", "mean", "var", "std", "cumsum", "clip", "concatenate",
                                       "stack", "einsum", "round")}  # fmt: skip
"""NumPy's functions, beside ufuncs, that write their result where they are told."""


@dataclass(eq=False)
class Memory:
    """An array that is allocated beforehand."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: tuple[int, ...]  # its axes, the slowest first
    names: list[str] = field(default_factory=list)


@dataclass
class Plan:
    """The calls of a program in their order, the memory of each value that has its own, and for
    each that is computed in the place of another, which."""

    calls: list[Value] = field(default_factory=list)
    memory: dict[Value, Memory] = field(default_factory=dict)
    follows: dict[Value, Value] = field(default_factory=dict)


def planned(trace: Trace, results: Iterable[Value | None] = ()) -> Plan:
    """Plan a program that computes ``results`` and all that outlives the step."""
    wanted = {value.root for value in results if value is not None}
    calls = _kept_apart(trace.calls)
    _bring_home(calls, wanted)
    return _allocated(_checks_first(_needed(calls, trace, wanted)), wanted)


def _last_uses(calls: Sequence[Value]) -> dict[Value, int]:
    return {value.root: i for i, call in enumerate(calls) for value in call.needs}


def _kept_apart(calls: Sequence[Value]) -> list[Value]:
    """A value that is needed after some of its elements were overwritten is copied before."""
    last, result = _last_uses(calls), []
    for i, call in enumerate(calls):
        if call.target is not None and last.get(call.target, -1) > i:
            copied = Value("call", call.target.sample, "copy", (call.target,), place=call.place)
            result.append(copied)
            call.args = (_on(copied, call.target, call.args[0]), *call.args[1:])
            call.target = copied
            del call.needs
        result.append(call)
    return result


def _on(new: Value, root: Value, value: Value) -> Value:
    """The same view of something else."""
    if value is root:
        return new
    args = (_on(new, root, value.args[0]), *value.args[1:])
    return Value("view", value.sample, value.what, args, value.options)


def _bring_home(calls: Sequence[Value], wanted: set[Value]) -> None:
    """What is only copied to where it is kept is computed there."""
    at = {call: i for i, call in enumerate(calls)}
    roots = [(i, value.root) for i, call in enumerate(calls) for value in call.needs]
    uses = [(i, root.home or root) for i, root in roots]
    for i, call in reversed(list(enumerate(calls))):  # the later first: what is copied twice
        source = call.args[0] if call.what == "copy" else None
        if call.home is None or not isinstance(source, Value) or source not in at:
            continue
        free = source.home is None and source.target is None and source not in wanted
        quiet = not any(root is call.home and at[source] < j < i for j, root in uses)
        if free and quiet and writes(source) and layout(source) == layout(call.home):
            source.home = call.home


def _needed(calls: Sequence[Value], trace: Trace, wanted: set[Value]) -> list[Value]:
    """Leave out what nobody needs. A function that is not NumPy's may do more than compute."""
    needed, result = wanted | set(trace.latest.values()), []
    for call in reversed(calls):
        if call in needed or call.kind == "check" or call.what.partition(".")[0] in trace.given:
            result.append(call)
            needed.update(value.root for value in call.needs)
    return result[::-1]


def _checks_first(calls: list[Value]) -> list[Value]:
    """Write nothing that outlives the step before the last check: where a check ends the program,
    the step is made anew by other means, and must find everything as it was."""
    end = max((i + 1 for i, call in enumerate(calls) if call.kind == "check"), default=0)
    early = calls[:end]
    checked = {call for call in early if call.kind == "check"}
    for call in reversed(early):
        checked.update(value.root for value in call.needs if call in checked)
    _set_aside({call.home for call in early if call in checked and _is_kept(call)}, early)
    late: dict[Value, None] = {}
    for call in early:
        if _is_kept(call) or any(value.root in late for value in call.needs):
            late[call] = None
    return [*(call for call in early if call not in late), *late, *calls[end:]]


def _is_kept(call: Value) -> bool:
    return call.home is not None and not call.home.scratch


def _set_aside(homes: set[Value | None], calls: list[Value]) -> None:
    """Compute elsewhere what is needed for a check, and copy it home in the end."""
    for home in homes:
        versions = [call for call in calls if call.home is home]
        first, last = versions[0], versions[-1]
        if first.target is not None and home is not None:
            copied = Value("call", home.sample, "copy", (home,), place=first.place)
            calls.insert(calls.index(first), copied)
            first.args = (_on(copied, home, first.args[0]), *first.args[1:])
            first.target = copied
            del first.needs
        for call in versions:
            call.home = None
        calls.append(Value("call", last.sample, "copy", (last,), place=last.place, home=home))


def _allocated(calls: list[Value], wanted: set[Value]) -> Plan:
    plan = Plan(calls)
    memory, last = plan.memory, _last_uses(calls) | dict.fromkeys(wanted, len(calls))
    free: dict[Any, list[Memory]] = {}
    for i, call in enumerate(calls):
        dying = {v.root: None for v in call.needs if last[v.root] == i and v.root in memory}
        before = call.target if call.target is not None else _replaced(call, dying)
        if before is not None:
            plan.follows[call] = before
        if before in memory:
            memory[call] = memory[before]
            dying.pop(before, None)
        elif call.target is None and call.home is None and writes(call):
            unused = free.get(layout(call))
            memory[call] = unused.pop() if unused else Memory(*layout(call))
        over = [*dying, *([call] if call in memory and call not in last else [])]
        for value in over:
            free.setdefault(layout(value), []).append(memory[value])
    return plan


def _replaced(call: Value, dying: dict[Value, None]) -> Value | None:
    """The argument, element by element, in whose place the result may be computed."""
    ufunc = getattr(np, call.what.removeprefix("np."), None)
    elementwise = isinstance(ufunc, np.ufunc) and ufunc.signature is None
    if call.home is not None or not (elementwise or call.what in ("copy", "astype")):
        return None
    views = {value.root for value in call.needs if value.kind == "view"}
    fit = (v for v in call.needs if v in dying and v not in views and call.is_array)
    return next((v for v in fit if layout(v) == layout(call)), None)


def writes(call: Value) -> bool:
    """Whether the call can be told where to write its result."""
    if not call.is_array or not call.shape:
        return False
    first, _, method = call.what.removeprefix("np.").partition(".")
    ufunc = isinstance(getattr(np, first, None), np.ufunc) and method in ("", "reduce")
    other = call.what in _WITH_OUT and "dtype" not in dict(call.options)
    return ufunc or other or method == "random" or call.what in {"copy", "astype", *MEMORY}


def layout(value: Value) -> tuple[Any, ...]:
    """Shape, dtype and order of axes: equal where one array can take the place of another."""
    a = value.sample
    by_stride = sorted(range(a.ndim), key=lambda i: -a.strides[i])
    return a.shape, a.dtype, tuple(range(a.ndim) if a.flags.c_contiguous else by_stride)
