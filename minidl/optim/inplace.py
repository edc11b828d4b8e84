"""Whether a rule changes in place what it must, found out in its first step.

``x = x - lr * dx`` in an ``update`` gives the name ``x`` to a new array and leaves the
parameters as they were, and ``v = mu * v - dx`` leaves the state at zero. Neither can be seen from
the outside but by what does not change. It is a file of its own because no later step needs it.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.arrays import Array

STEPS = [*range(1, 33), *(2**k for k in range(6, 21)), *(10**k for k in range(2, 7))]
"""The steps that a suspected rule is tried in. One may rest in most of them and still be right."""


def first_block(runs: Sequence[tuple[int, list[list[Array]]]]) -> list[list[Array]]:
    """The first block that has a gradient, and a copy of it as it is before the step."""
    for _, blocks in runs:
        for block in blocks:
            if block[1].any() and np.isfinite(block[0]).all():
                return [block, [array.copy() for array in block]]
    return []


def check_in_place(rule: Any, hyper: dict[str, Any], now: list[Array], before: list[Array]) -> None:
    """Raise if ``update`` has not changed ``x``, or a state that it reads, and never does.

    What stays the same in one step may do so rightly: the rate was 0, the step too small for
    float32, or the rule begins later. So a copy of the rule is tried then, with a rate of 1, in
    float64 and in many steps. Only what stays the same in all of them is refused.

    Raises:
        TypeError: with the name of what does not change, and the remedy.
    """
    names = ["x", "dx", *rule.state]
    for i, name in enumerate(names):
        if name == "dx" or not _same(now[i], before[i]) or not _stays(rule, hyper, before, i):
            continue
        example = "x -= lr * dx" if name == "x" else f"{name} *= mu; {name} -= dx"
        raise TypeError(
            f"{type(rule).__name__}.update does not change {name}, whatever the gradient: it must "
            f"do so in place, since `{name} = ...` only gives the name to another array: write "
            f"`{name}[...] = ...`, or as in `{example}`"
        )


def _stays(rule: Any, hyper: dict[str, Any], before: list[Array], i: int) -> bool:
    """Whether the i-th array stays the same in every step and, if it is a state, is used."""
    start = [np.array(array, np.float64) for array in before]
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            end = _tried(rule, hyper, start)
            if i == 0 or not _same(start[i], end[i]):
                return _same(start[i], end[i])
            start[i] += 0.5
            return not _same(end[0], _tried(rule, hyper, start)[0])
    except Exception:  # it cannot be copied, or fails on such numbers: nothing is known
        return False


def _same(a: Array, b: Array) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def _tried(rule: Any, hyper: dict[str, Any], start: list[Array]) -> list[Array]:
    """The arrays after many steps of a copy of the rule."""
    again = object.__new__(type(rule))
    own = {key: value for key, value in rule.__dict__.items() if key != "groups"}
    again.__dict__.update(copy.deepcopy(own), groups=rule.groups)
    x, dx, *state = [array.copy() for array in start]
    unit = np.cos(np.arange(x.size)).reshape(x.shape)
    for n, t in enumerate(STEPS):
        again.steps = t - 1
        known = hyper | {"lr": 1.0, "t": t}
        dx[...] = unit * (1 + n % 3) * (1000 if n % 2 else 1)
        again.update(x, dx, *state, **{name: known[name] for name in rule.takes})
    return [x, dx, *state]
