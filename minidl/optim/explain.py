"""How a step is found again after it was made, and the text that explains it.

It is a file of its own because a step needs none of this. Nothing is copied or remembered while a
model trains: the rule's own ``update`` runs once more, over the state that it left behind.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from minidl.tensor import Array

SMALL = 5
"""A parameter of at most so many elements is shown number by number."""


class UnknownStepError(Exception):
    """A step cannot be found again; the message says why."""


# --- The step -------------------------------------------------------------------------------------


class _Left(NDArrayOperatorsMixin):
    """A state array as ``update`` left it: it can be read, and writing to it changes nothing.

    ``v *= mu; v -= dx; x += lr * v`` then moves ``x`` as it did the first time, since the first two
    lines have been done. A rule that reads a state and changes it later has used a value that is
    gone: that is noticed.
    """

    def __init__(self, name: str, array: Array) -> None:
        self.name = name
        self.array = array
        self.array.flags.writeable = False
        self.used = False

    def read(self) -> Array:
        self.used = True
        return self.array

    def write(self) -> None:
        if self.used:
            raise UnknownStepError(f"update() uses {self.name} and changes it afterwards")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.get("out", ())
        values = [
            a.read() if isinstance(a, _Left) and not any(a is o for o in out) else a for a in inputs
        ]
        if any(isinstance(o, _Left) for o in out):
            for o in out:
                o.write()  # anything but a _Left fails here, and so does the replay
            return out[0]
        return getattr(ufunc, method)(*values, **kwargs)

    def __array_function__(self, f: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if f is np.copyto and isinstance(args[0], _Left):
            return args[0].write()
        plain = [a.read() if isinstance(a, _Left) else a for a in args]
        return f(*plain, **kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self.read(), dtype)

    def __getitem__(self, key: Any) -> Any:
        return self.read()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.write()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.read(), name)


def found_step(
    update: Callable[..., Any],
    x: Array,
    dx: Array,
    state: Mapping[str, Array],
    weight_decay: float,
    elementwise: bool,
) -> Array:
    """The step that ``update`` has made, given ``x`` and the state after it.

    Where the step depends on ``x``, as with weight decay, what is needed is ``x`` before the step,
    which is ``x - step``. That is an equation for the step. A rule that works on each element is
    nearly always linear in ``x``, so that two points give the solution; else it is iterated.
    All is computed in float64.

    Raises:
        UnknownStepError: if the step cannot be known from what is left.
    """
    after = np.array(x, np.float64)
    gradient = np.array(dx, np.float64)

    def step_from(before: Array) -> Array:
        moved = before.copy()
        decayed = gradient + weight_decay * before
        left = [_Left(name, np.array(array, np.float64)) for name, array in state.items()]
        try:
            update(moved, decayed, *left)
        except UnknownStepError:
            raise
        except Exception as error:
            raise UnknownStepError(
                f"update() cannot run again ({type(error).__name__}: {error})"
            ) from error
        return moved - before

    noise = 8 * np.finfo(np.float64).eps * np.abs(after)
    probe = 0.01 * (1 + np.abs(after))
    with np.errstate(all="ignore"):
        step = step_from(after)
        if elementwise:
            slope = (step_from(after - probe) - step) / probe
            if np.min(np.abs(1 - slope), initial=1) < 1e-3:  # there any step would do
                raise UnknownStepError("x after it says nothing of x before, on which it depends")
            step = step / (1 - slope)
        for _ in range(20):
            again = step_from(after - step)
            if np.all(_settled(again, step, noise)):
                return step
            step = again
    raise UnknownStepError("x before the step, on which it depends, cannot be told from x after it")


def _settled(a: Array, b: Array, noise: Array) -> Array:
    near = np.abs(a - b) <= 1e-6 * np.abs(b) + noise
    return (a == b) | (np.isnan(a) & np.isnan(b)) | near


# --- The text -------------------------------------------------------------------------------------


def formula(rule: type) -> list[str]:
    """What a rule's docstring says before its sections begin: the equation, in its own words."""
    text = inspect.cleandoc(rule.__doc__ or "")
    text = re.split(r"^(?:Args|Attributes|State|Source|Raises|Example)s?:", text, flags=re.M)[0]
    return [line for line in text.replace("``", "").strip().splitlines() if line]


def table(rows: Sequence[tuple[str, Array | None]], step: Array | None) -> list[str]:
    """Rows of a label and an array as aligned text; None stands for what is not defined.

    Small arrays are shown in full. Of others there are norm, smallest, median and largest
    magnitude, and the element that moved most, with its sign. A row of ratios, which has bars in
    its label (``|step/dx|``), is NaN where a ratio is not defined, and has no norm.
    """
    shape = rows[0][1].shape if rows[0][1] is not None else ()
    size = int(np.prod(shape))
    if size <= SMALL:
        head = [_place(i) for i in np.ndindex(shape)] if shape else []
        cells = [["-"] * size if a is None else [_number(v) for v in a.flat] for _, a in rows]
    else:
        head = ["norm", "smallest", "median", "largest"]
        cells = [_statistics(a, ratios="|" in label) for label, a in rows]
        if step is not None:
            most = np.unravel_index(int(np.argmax(np.abs(step))), shape)
            head.append(_place(most))
            for row, (_, a) in zip(cells, rows, strict=True):
                row.append("-" if a is None else _number(a[most]))
    left = max(len(label) for label, _ in rows)
    width = max(len(cell) for row in [head, *cells] for cell in row)
    lines = [("", head)] if head else []
    for (label, _), row in zip(rows, cells, strict=True):
        lines.append((label, [c.replace("nan", "-") for c in row] if "|" in label else row))
    return [
        label.ljust(left) + "".join("  " + cell.rjust(width) for cell in row)
        for label, row in lines
    ]


def _statistics(a: Array | None, ratios: bool) -> list[str]:
    if a is None:
        return ["-"] * 4
    size = np.abs(np.asarray(a, np.float64)).ravel()
    norm = _number(np.linalg.norm(size))
    if ratios:
        size, norm = size[np.isfinite(size)], "-"
    if not size.size:
        return ["-"] * 4
    return [norm, *(_number(f(size)) for f in (np.min, np.median, np.max))]


def _number(value: Any) -> str:
    return f"{float(value):.4g}"


def _place(index: Sequence[Any]) -> str:
    return f"[{', '.join(str(int(i)) for i in index)}]"
