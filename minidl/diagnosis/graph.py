"""What is known of a graph: its nodes, what they were computed from, their names and values.

It is read off the nodes that calls left behind, and nothing is added to them. What a rule needs is
kept by its node; what somebody holds in a variable is known by that; the rest has a shape only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.autograd import Leaf, Node, walk
from minidl.compositions import concatenated
from minidl.diagnosis.picture import Box
from minidl.modes import Watcher, watched_by
from minidl.nn.module import Module
from minidl.tensor import Tensor

FEW = 4
"""An array of at most so many elements is shown number by number."""
CALLED = {
    "avg_pool": "avg_pool2d", "bce": "binary_cross_entropy_with_logits",
    "concatenated": "np.concatenate", "conv": "conv2d", "einsum": "np.einsum",
    "huber": "huber_loss", "inverse": "np.linalg.inv", "log_abs_det": "np.linalg.slogdet",
    "lower_factor": "np.linalg.cholesky", "max_pool": "max_pool2d", "nll": "cross_entropy",
    "norm": "np.linalg.norm",
}  # fmt: skip
"""The names that people know, where a row of the table has another."""


def ancestors(root: Node | Leaf) -> list[Any]:
    """All nodes that a result was computed from and itself, the oldest first."""
    found = {root: None}
    todo = [root]
    for node in todo:  # grows while it is walked
        new = [parent for _, parent in node.parents or () if parent not in found]
        found |= dict.fromkeys(new)
        todo += new
    return sorted(found, key=lambda node: node.age)


# --- What things are called -----------------------------------------------------------------------


class _Names:
    """Names of nodes and of arrays, and the arrays that nodes are known to have.

    What was given comes before what the caller has in variables. A model is told apart from another
    by its name only where two have parameters in the graph.
    """

    def __init__(
        self, given: Mapping[str, Any], around: Mapping[str, Any], nodes: Collection[Any]
    ) -> None:
        self.of: dict[Any, str] = {}  # by the node, or by the id of an array
        self.arrays: dict[Any, Array] = {}
        for name, thing in given.items():
            if not isinstance(thing, Tensor | Module | np.ndarray):
                raise TypeError(
                    f"draw(..., {name}=...): a name is for a Tensor, an array or a Module, not for "
                    f"a {type(thing).__name__}"
                )
        seen = [(k, v) for k, v in around.items() if not k.startswith("_")]
        models: dict[int, tuple[str, Module]] = {}
        for name, thing in [*given.items(), *seen]:
            if isinstance(thing, Tensor | np.ndarray):
                self.add(name, thing)
            elif isinstance(thing, Module) and any(p.node in nodes for p in thing.parameters()):
                models.setdefault(id(thing), (name, thing))
        for name, model in models.values():
            prefix = f"{name}." if len(models) > 1 else ""
            for path, parameter in model.named_parameters():
                self.add(f"{prefix}{path}", parameter)

    def add(self, name: str, thing: Any) -> None:
        """Call a Tensor or an array by a name, unless it has one."""
        array = thing.array if isinstance(thing, Tensor) else thing
        key = thing.node if isinstance(thing, Tensor) and thing.node is not None else id(array)
        self.of.setdefault(key, name)
        self.arrays.setdefault(key, array)


# --- The boxes ------------------------------------------------------------------------------------


class Graph:
    """The graph of one result, and what is known of each of its nodes."""

    def __init__(self, tensor: Tensor, names: Mapping[str, Any], around: Mapping[str, Any]) -> None:
        assert tensor.node is not None
        every = ancestors(tensor.node)
        self.tensor, self.names = tensor, _Names(names, around, set(every))
        self.gradients: dict[Any, Any] = {}
        if tensor.size == 1:
            one = np.ones(tensor.shape, tensor.dtype)
            with np.errstate(all="ignore"), watched_by(Watcher()):
                self.gradients = walk(tensor.node, one, set(every), retain=True)
        inner = {p for n in every if _joins(n) for k, p in n.parents or () if k == "whole"}
        self.nodes = [node for node in every if node not in inner]
        self.inputs = {node: self._inputs(node) for node in self.nodes}
        self.values = self._values()
        self.called: dict[Any, str] = {}  # by the node, or by the id of an array
        self._call_by_names()

    def _inputs(self, node: Any) -> list[tuple[str, Any]]:
        """What an operation was called with: nodes, arrays, numbers, or None for what is not known;
        each with the name of its parameter."""
        if isinstance(node, Leaf):
            return []
        if _joins(node):  # one part after the other is joined to the whole
            parts: list[Any] = []
            while node is not None:
                of = dict(node.parents)
                parts += [of["part"]] if "part" in of else []
                node = of.get("whole")
            return [("a", part) for part in reversed(parts)]
        operation, parents = node.operation, dict(node.parents)
        found = []
        for name in operation.names:
            if name in parents:
                found.append((name, parents[name]))
            elif name in operation.rules and name not in operation.beside:
                value = node.kept.get(name)
                if value is not None or name not in operation.defaults:
                    found.append((name, value))
        return found

    def _values(self) -> dict[Any, Array]:
        """The arrays that are known of nodes: held by a variable, kept for a rule, or computed
        anew by a ufunc from such."""
        found = {node: a for node, a in self.names.arrays.items() if not isinstance(node, int)}
        for node in self.nodes:
            if isinstance(node, Node):
                operation = node.operation
                own = (*operation.names, *operation.beside)
                if "y" in node.kept and "y" not in own:
                    found.setdefault(node, node.kept["y"])
                for name, parent in node.parents or ():
                    if name in node.kept and name not in operation.beside:
                        found.setdefault(parent, node.kept[name])
        found[self.tensor.node] = self.tensor.array
        for node in self.nodes:
            inputs = [
                found.get(x) if isinstance(x, Node | Leaf) else x for _, x in self.inputs[node]
            ]
            known = inputs and all(x is not None and np.size(x) < 100_000 for x in inputs)
            if node not in found and known and isinstance(node.operation.function, np.ufunc):
                with np.errstate(all="ignore"):
                    found[node] = np.asarray(node.operation.function(*inputs))
        return found

    def _call_by_names(self) -> None:
        """Give each box a name: its own, or that of the parameter it is for, or a number."""
        taken: set[str] = set()

        def call(key: Any, wish: str) -> None:
            n, name = 1, wish
            while name in taken:
                n, name = n + 1, f"{wish}_{n + 1}"
            taken.add(name)
            self.called[key] = name

        for node in self.nodes:
            if node in self.names.of:
                call(node, self.names.of[node])
        used_as: dict[Any, str] = {}  # the parameter that a leaf or an array was first used for
        for inputs in self.inputs.values():
            for name, x in inputs:
                if isinstance(x, np.ndarray) or (isinstance(x, Leaf) and len(name) > 1):
                    used_as.setdefault(_key(x), name)
        counted = 0
        for node in self.nodes:
            for _, x in self.inputs[node]:
                key = _key(x)
                if isinstance(x, np.ndarray) and x.ndim and key not in self.called:
                    call(key, self.names.of.get(key, used_as[key]))
            if isinstance(node, Node):
                counted += 1
            if node not in self.called:
                last, leaf = node is self.tensor.node, isinstance(node, Leaf)
                wish = used_as.get(node, "leaf") if leaf else "result" if last else f"t{counted}"
                call(node, wish)

    def boxes(self) -> list[Box]:
        """A box for each leaf, each array without gradient, and each result, in order."""
        boxes: dict[Any, Box] = {}
        for node in self.nodes:
            for _, x in self.inputs[node]:
                key = _key(x)
                if isinstance(x, np.ndarray) and x.ndim and key not in boxes:
                    boxes[key] = Box(key, self.called[key], "array", "", str(x.shape), shown(x))
            known = [f.get(node) for f in (self.values, self.gradients)]
            value, gradient = ("" if x is None else shown(x) for x in known)
            of = [(name, _key(x)) for name, x in self.inputs[node] if _is_drawn(x)]
            is_last, is_leaf = node is self.tensor.node, isinstance(node, Leaf)
            kind = "leaf" if is_leaf else "result" if is_last else "operation"
            title = "" if is_leaf else self._title(node)
            boxes[node] = box = Box(
                node, self.called[node], kind, title, str(node.shape), value, gradient, of,
                named=is_last or node in self.names.of,
            )  # fmt: skip
            if not is_leaf:
                box.expression = self._expression(node)
        return list(boxes.values())

    def _title(self, node: Node) -> str:
        """What an operation is called, with the options and numbers that are known of it."""
        name = CALLED.get(node.operation.name, node.operation.name)
        if name == "getitem":
            return f"[{_index(node.kept.get('index'))}]"
        inputs = [shown(x) if _is_number(x) else "…" for _, x in self.inputs[node]]
        told = inputs + self._options(node)
        return f"{name}({', '.join(told)})" if set(told) - {"…"} else name

    def _expression(self, node: Node) -> str:
        name = CALLED.get(node.operation.name, node.operation.name)
        inputs = [
            self.called[_key(x)] if _is_drawn(x) else "·" if x is None else shown(x)
            for _, x in self.inputs[node]
        ]
        if name == "getitem":
            return f"{inputs[0]}[{_index(node.kept.get('index'))}]"
        return f"{name}({', '.join(inputs + self._options(node))})"

    def _options(self, node: Node) -> list[str]:
        """Options of NumPy's functions that a rule has kept and that are not the defaults."""
        operation = node.operation
        if not operation.name.startswith("np."):
            return []
        return [
            f"{key}={value!r}"
            for key, value in node.kept.items()
            if key in operation.names and key not in operation.rules
            and isinstance(value, int | float | str | tuple | None)
            and value != operation.defaults.get(key)
            and len(repr(value)) <= 16
        ]  # fmt: skip

    def title(self) -> str:
        """What the drawing is of."""
        leaves = sum(isinstance(node, Leaf) for node in self.nodes)
        counted = [
            (leaves, "leaf", "leaves"),
            (len(self.nodes) - leaves, "operation", "operations"),
        ]
        parts = [f"{n} {one if n == 1 else many}" for n, one, many in counted]
        return f"{self.called[self.tensor.node]} and what it was computed from: {', '.join(parts)}"

    def text(self, boxes: Iterable[Box]) -> str:
        """A line for each box, the oldest first: what it is, its shape, value and gradient."""
        gradient = f"gradient of {self.called[self.tensor.node]}" if self.gradients else ""
        rows = [("", "shape", "value", gradient)]
        rows += [(f"{b.name} = {b.expression}", b.shape, b.value, b.gradient) for b in boxes]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        if any("·" in row[0] for row in rows):
            lines.append("·: an input without gradient, of which nothing is kept")
        return "\n".join([self.title(), *lines])


def _joins(node: Any) -> bool:
    return isinstance(node, Node) and node.operation.function is concatenated


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float | np.generic) or (isinstance(x, np.ndarray) and not x.ndim)


def _is_drawn(x: Any) -> bool:
    """Whether an input has a box: nodes, and arrays that are no single number."""
    return isinstance(x, Node | Leaf) or (isinstance(x, np.ndarray) and x.ndim > 0)


def _key(x: Any) -> Any:
    return id(x) if isinstance(x, np.ndarray) else x


# --- Numbers --------------------------------------------------------------------------------------


def _index(index: Any) -> str:
    """An index as it was written."""

    def one(i: Any) -> str:
        if isinstance(i, slice):
            ends = ["" if e is None else str(e) for e in (i.start, i.stop, i.step)]
            return ":".join(ends if ends[2] else ends[:2])
        return "..." if i is Ellipsis else str(i) if isinstance(i, int) else "array"

    return ", ".join(map(one, index)) if isinstance(index, tuple) else one(index)


def shown(x: Any) -> str:
    """A number; the numbers of a small array; of a large one the smallest and the largest."""
    a = np.asarray(x)
    if a.size <= FEW:
        return _numbers(a.tolist())
    if a.dtype.kind not in "fiu":
        return str(a.dtype)
    finite = a[np.isfinite(a)]
    parts = [f"{a.size - finite.size} not finite"] if finite.size < a.size else []
    if finite.size:
        low, high = float(finite.min()), float(finite.max())
        parts.insert(0, f"all {low:.3g}" if low == high else f"{low:.3g} … {high:.3g}")
    return ", ".join(parts)


def _numbers(x: Any) -> str:
    if isinstance(x, list):
        return f"[{' '.join(map(_numbers, x))}]"
    return f"{x:.4g}" if isinstance(x, float) else str(x)
