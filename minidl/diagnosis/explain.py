"""One step, and how it moved one parameter: a record, and the text that explains it.

It is a room of its own because no step enters it: what is to be told is copied before the step, and
read again after it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.arrays import Array

SMALL = 5
"""A parameter of at most so many elements is shown number by number."""


class Explanation:
    """A block in which an optimizer makes one step; then it tells how that moved one parameter.

    ``optimizer.explain(name)`` makes it. Printed after the block, in the lecture's notation, it has
    the rule, the gradient ``dx``, the state after the step, the effective rate ``|step/dx|`` of
    each element, the step, the step over the learning rate, and the parameter after the step. A
    small parameter is shown in full; of a large one there are the norm, the smallest, median and
    largest magnitude, and the element that moved most. The step is the difference of the parameter
    after it and before it.

    In the block there may be all that belongs to the step (``zero_grad``, ``backward``), or a
    compiled step.

    Raises:
        ValueError: if there is no parameter of that name; the message lists the names.
        RuntimeError: at the end of the block, unless exactly one step was made in it.

    Example:
        >>> from minidl import Tensor
        >>> from minidl.optim import Momentum
        >>> x = Tensor([1.0, -3.0], requires_grad=True)
        >>> optimizer = Momentum([("x", x)], lr=0.1)
        >>> for _ in range(2):
        ...     optimizer.zero_grad()
        ...     (x**2).sum().backward()
        ...     with optimizer.explain("x") as told:
        ...         optimizer.step()
        >>> print(told)
        x (2,), step 2 of Momentum
        lr=0.1, weight_decay=0.0, mu=0.9, nesterov=False
        SGD with momentum: v = mu * v - dx; x += lr * v.
        A ball rolling down the loss: v is its velocity, mu what friction leaves of it.
                                     [0]     [1]
        gradient dx                  1.6    -4.8
        state v                     -3.4    10.2
        effective rate |step/dx|  0.2125  0.2125
        step                       -0.34    1.02
        step / lr                   -3.4    10.2
        x after the step            0.46   -1.38
    """

    def __init__(self, optimizer: Any, name: str) -> None:
        self.optimizer, self.name = optimizer, name
        self.group, self.i = _found(optimizer, name)
        self.before: tuple[int, int, Array, dict[str, Any]] | None = None
        self.text = (
            f"nothing is told of {name!r} yet: make one step in the block, as in\n"
            f"    with optimizer.explain({name!r}) as told:\n"
            f"        optimizer.step()\n"
            f"    print(told)"
        )

    def __repr__(self) -> str:
        return self.text

    def __enter__(self) -> Explanation:
        self.optimizer.bring_home()  # as the step does first
        storage = self.group.storage
        x = storage.views[self.i][0].copy()
        self.before = self.optimizer.steps, storage.counts[self.i], x, {**self.group.hyper}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> None:
        assert self.before is not None
        steps, count, x, hyper = self.before
        if kind is not None:
            self.text = f"nothing is told of {self.name!r}, since the block ended with {error!r}"
            return
        made = self.optimizer.steps - steps
        if made != 1:
            self.text = (
                f"{type(self.optimizer).__name__}.explain({self.name!r}) tells of one step, and "
                f"{made or 'none'} {'was' if made in (0, 1) else 'were'} made in its block"
            )
            raise RuntimeError(f"{self.text}: let the block hold one optimizer.step()")
        changed = [key for key, value in self.group.hyper.items() if value is not hyper[key]]
        if changed:
            self.text = f"nothing is told of {self.name!r}, since {changed[0]} was set in the block"
            raise RuntimeError(f"{self.text}: set it before or after")
        self.text = "\n".join(self._told(x, steps, count))

    def _told(self, before: Array, steps: int, count: int) -> list[str]:
        """The lines of the text, given ``x`` before the step."""
        optimizer, group, storage = self.optimizer, self.group, self.group.storage
        rule = type(optimizer)
        x, dx, *state = storage.views[self.i]
        moved = storage.counts[self.i] != count
        title = f"{self.name} {x.shape}, step {storage.counts[self.i]} of {rule.__name__}"
        if not moved:
            return [f"{title}: without a gradient in this step, it rested"]
        if not x.size:
            return [f"{title}: it has no elements"]
        lr, decay = group.hyper["lr"], group.hyper["weight_decay"]
        lr = float(lr(steps)) if callable(lr) else lr
        rows: list[tuple[str, Array | None]] = [("gradient dx", dx)]
        dx = np.asarray(dx, np.float64)
        if decay and not rule.decays_itself:
            dx = dx + decay * before
            rows.append(("dx + weight_decay * x", dx))
        with np.errstate(all="ignore"):
            step = np.subtract(x, before, dtype=np.float64)
            rate = np.where(dx == 0, np.nan, np.abs(step / dx))
        rows += [(f"state {key}", array) for key, array in zip(rule.state, state, strict=True)]
        rows.append(("effective rate |step/dx|", rate))
        rows += [("step", step), ("step / lr", step / lr if lr else None)]
        rows.append(("x after the step", x))
        hyper = ", ".join(f"{k}={v}" for k, v in {**group.hyper, "lr": lr}.items())
        return [title, hyper, *formula(rule), *table(rows, step)]


def _found(optimizer: Any, name: str) -> tuple[Any, int]:
    """The group of a parameter, and its place in it."""
    places = [
        (own, f"{own} of group {g}", group, i)
        for g, group in enumerate(optimizer.groups)
        for i, own in enumerate(group.storage.names)
    ]
    for matches in (
        [p for p in places if p[0] == name],
        [p for p in places if p[1] == name],
    ):
        if len(matches) == 1:
            return matches[0][2:]
        if matches:
            longer = " or ".join(repr(p[1]) for p in matches)
            raise ValueError(f"several groups have a parameter {name!r}: say {longer}")
    raise ValueError(f"no parameter is called {name!r}; they are {', '.join(p[0] for p in places)}")


# --- The text -------------------------------------------------------------------------------------


def formula(rule: type) -> list[str]:
    """What a rule's docstring says before its sections begin: the equation, in its own words."""
    text = inspect.cleandoc(rule.__doc__ or "")
    text = re.split(r"^(?:Args|Attributes|State|Source|Raises|Example)s?:", text, flags=re.M)[0]
    return [line for line in text.replace("``", "").strip().splitlines() if line]


def table(rows: Sequence[tuple[str, Array | None]], step: Array) -> list[str]:
    """Rows of a label and an array as aligned text; None stands for what is not defined.

    Small arrays are shown in full. Of others there are norm, smallest, median and largest
    magnitude, and the element that moved most, with its sign. A row of ratios, which has bars in
    its label (``|step/dx|``), is NaN where a ratio is not defined, and has no norm.
    """
    shape, size = step.shape, step.size
    if size <= SMALL:
        head = [_place(i) for i in np.ndindex(shape)] if shape else []
        cells = [["-"] * size if a is None else [_number(v) for v in a.flat] for _, a in rows]
    else:
        head = ["norm", "smallest", "median", "largest"]
        cells = [_statistics(a, ratios="|" in label) for label, a in rows]
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
