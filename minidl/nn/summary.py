"""The table that ``Module.summary`` prints, and the shapes of outputs in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.modes import Watcher, no_grad, watched_by
from minidl.nn.members import members, walk
from minidl.tensor import Tensor


def table(module: Any, x: Any = None) -> str:
    """The table: a line for each layer, with the shape of its output if there is a batch ``x``."""
    outputs = {} if x is None else output_shapes(module, x)
    header = ["layer", *(["output"] if outputs else []), "parameters", "count"]
    rows = []
    counted: set[int] = set()
    for name, inner in walk(module):
        own = {n: v for n, v in members(inner.__dict__.items()) if isinstance(v, Tensor)}
        if not own and next(inner.children(), None) is not None:
            continue  # a container of others
        new = [p for p in own.values() if id(p) not in counted]
        counted.update(id(p) for p in new)
        shared = "" if len(new) == len(own) else " (shared)"
        shapes = ", ".join(f"{n} {p.shape}" for n, p in own.items()) + shared
        title = f"{name}: {type(inner).__name__}" if name else type(inner).__name__
        shape = [str(outputs.get(id(inner), ""))] if outputs else []
        rows.append([title, *shape, shapes, f"{sum(p.size for p in new):,}"])
    parameters = module.parameters()
    trainable = sum(p.size for p in parameters if p.requires_grad)
    total = sum(p.size for p in parameters)
    empty = [""] if outputs else []
    rows.append([type(module).__name__, *empty, f"trainable {trainable:,}", f"{total:,}"])
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    widths[:-1] = [w + 2 for w in widths[:-1]]
    line = "-" * (sum(widths) + len(widths) - 1)
    text = [
        " ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False))][:-1])
        + " "
        + row[-1].rjust(widths[-1])
        for row in [header, *rows]
    ]
    return "\n".join([text[0], line, *text[1:-1], line, text[-1]])


def output_shapes(module: Any, x: Any) -> dict[int, tuple[int, ...]]:
    """The shape of each module's output for the batch ``x``, by the identity of the module.

    The call is one of prediction, and whatever the modules set in it is put back.
    """
    batch = np.asarray(x.data if isinstance(x, Tensor) else x)
    modules = [inner for _, inner in walk(module)]
    before = [inner.__dict__.copy() for inner in modules]
    watcher = _Shapes()
    try:
        module.eval()
        with no_grad(), watched_by(watcher):
            module(batch)
    finally:
        for inner, attributes in zip(modules, before, strict=True):
            inner.__dict__.clear()
            inner.__dict__.update(attributes)
    return watcher.shapes


class _Shapes(Watcher):
    """Watches modules, and writes down the shapes of what they return."""

    def __init__(self) -> None:
        self.shapes: dict[int, tuple[int, ...]] = {}

    def left(self, module: Any, y: Any) -> None:
        if hasattr(y, "shape"):
            self.shapes[id(module)] = y.shape
