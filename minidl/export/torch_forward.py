"""The forward of a module of one's own for PyTorch, line by line.

A value that is used once stands inside the line that uses it, where that stays short; any other has
a line and a name: that of the part of the module that it comes from, or t, t2, t3.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Protocol

import numpy as np

from minidl.arrays import Array
from minidl.export.graph import Dim, ExportError, Node, in_order, name_for_people, nodes_in
from minidl.export.torch_table import FUNCTIONS, SIGNS
from minidl.export.tracing import Part
from minidl.table import name_of


class Names(Protocol):
    """What is known of the whole model: the arrays of its state, the names that an array has there,
    and how the source spells what has a name."""

    state: dict[str, Array]
    names: dict[int, list[str]]
    spelled: dict[str, str]


def buffer(name: str, array: Array) -> str:
    """The line that makes room for an array that is not trained."""
    return f'self.register_buffer("{name}", torch.empty({array.shape}, dtype=torch.{array.dtype}))'


def _more(text: str, n: int) -> str:
    return f"{text} {'+' if n > 0 else '-'} {abs(n)}" if n else text


class Body:
    """The forward of a module of one's own, from one call of it."""

    def __init__(self, source: Names, part: Part) -> None:
        self.source, self.part = source, part
        self.buffers: list[str] = []
        self.texts: dict[Node, str] = {}
        self.used: set[str] = {"self", "torch", "nn", "F"}
        self.compound: set[Node] = set()  # what needs brackets beside an operator
        self.first = ""  # an argument, which knows the device
        self.given = list(nodes_in(part.args))
        self.cuts: dict[Node, Part] = {}
        for inner in (part, *part.parts):
            if not isinstance(inner.result, Node):
                raise ExportError(
                    f"to_pytorch: {type(inner.module).__name__} ({inner.path or 'the model'}) does "
                    f"not return one Tensor: make a module of each that it returns"
                )
        for inner in part.parts:
            if inner.result not in list(nodes_in(inner.args)):
                self.cuts.setdefault(inner.result, inner)

    def lines(self) -> list[str]:
        """The definition of ``forward``."""
        result = self.part.result
        parameters = []
        for name, x in zip(self.part.names, self.part.args, strict=True):
            for node in nodes_in(x):
                if node not in self.texts:
                    self.texts[node] = self._free(name)
                    parameters.append(node)
        names = [self.texts[node] for node in parameters]
        self.first = names[0] if names else ""
        order = in_order(result, self._inputs)
        counts = Counter(i for node in order for i in self._inputs(node))
        written = [f"def forward(self, {', '.join(names)}):"]
        for node in order:
            if node in self.texts:
                continue
            text = self._expression(node)
            if node is result:
                return [*written, f"    return {text}"]
            if (counts[node] == 1 and len(text) < 50) or node.kind == "constant":
                self.texts[node] = text
                if node.function in SIGNS:
                    self.compound.add(node)
            else:
                part = self.cuts[node].path.rpartition(".")[2] if node in self.cuts else ""
                self.texts[node] = self._free(part if part.isidentifier() else "t")
                written.append(f"    {self.texts[node]} = {text}")
        return [*written, f"    return {self.texts[result]}"]

    def _inputs(self, node: Node) -> list[Node]:
        """What a line of forward needs: behind an argument and a call of a part is another body."""
        if node in self.given:
            return []
        return list(nodes_in(self.cuts[node].args)) if node in self.cuts else node.inputs

    def _expression(self, node: Node) -> str:
        if node in self.cuts:
            inner = self.cuts[node]
            args = dict.fromkeys(nodes_in(inner.args))
            return f"{self._path(inner.path)}({', '.join(map(self.of, args))})"
        if node.kind == "argument":
            raise ExportError(
                f"to_pytorch: {self.part.path} computes with the input of the model, which it was "
                f"not given as an argument: pass it to forward"
            )
        if node.kind == "constant":
            return self._constant(node)
        if node.function not in FUNCTIONS:
            name = name_for_people(node.function)
            raise self.refuse(node, f"{name} is not among what can be written for PyTorch")
        try:
            return FUNCTIONS[node.function](self, node, *node.args, **node.options)
        except TypeError as error:
            raise self.refuse(
                node, f"{name_of(node.function)} with these options, {error}"
            ) from error

    def refuse(self, n: Node, why: str) -> ExportError:
        """The error for a call that cannot be written."""
        return ExportError(f"to_pytorch: {why} (in {n.line or n.place})")

    # Arguments --------------------------------------------------------------------------------

    def of(self, x: Any) -> str:
        """The source of an argument."""
        if isinstance(x, Node):
            return self.texts[x]
        if isinstance(x, Dim):
            return self._length(x)
        if isinstance(x, np.ndarray | np.generic):
            x = x.tolist()
        if isinstance(x, float) and (x != x or x in (float("inf"), -float("inf"))):
            return f'float("{x}")'
        return f"({x!r})" if isinstance(x, int | float) and x < 0 else repr(x)

    def tight(self, x: Any) -> str:
        """The source of an argument that stands beside an operator or a dot."""
        text = self.of(x)
        brackets = x in self.compound if isinstance(x, Node) else " " in text
        return f"({text})" if brackets else text

    def _length(self, length: Dim) -> str:
        """A length that depends on the batch, by an argument of which one depends on it, too."""
        known = {
            n: f"{self.texts[node]}.shape[{axis}]"
            for node in reversed(self.given)
            for axis, n in reversed([*enumerate(node.shape)])
            if isinstance(n, Dim)
        }
        if length in known:
            return known[length]
        if not known:
            raise ExportError(
                f"to_pytorch: {self.part.path} computes with the size of the batch, which none of "
                f"its arguments has: pass one that has"
            )
        other, text = min(known.items(), key=lambda item: item[0].per_sample)
        if other.per_sample == length.per_sample:
            return _more(text, length.more - other.more)
        if other.more:
            text = f"({_more(text, -other.more)})"
        if other.per_sample != 1:
            text = f"{text} // {other.per_sample}"
        if length.per_sample != 1:
            text = f"{text} * {length.per_sample}"
        return _more(text, length.more)

    def tensor(self, x: Any, n: Node) -> str:
        """The source of an argument that must be a tensor."""
        if isinstance(x, Node):
            return self.of(x)
        return f"torch.tensor({self.of(x)}, dtype=torch.{n.dtype.name}, device={self.first}.device)"

    def shape(self, shape: Any, exact: bool = False) -> str:
        """A shape to reshape to."""
        free = [isinstance(n, Dim) for n in shape]
        if not exact and sum(free) == 1 and 0 not in shape:
            return ", ".join("-1" if isinstance(n, Dim) else str(n) for n in shape)
        return ", ".join(map(self.of, shape))

    def index(self, part: Any) -> str:
        """A part of an index."""
        if part is Ellipsis:
            return "..."
        if isinstance(part, slice):
            ends = ["" if end is None else self.of(end) for end in (part.start, part.stop)]
            return ":".join(ends) + ("" if part.step is None else f":{part.step}")
        if isinstance(part, Node) and part.dtype == np.bool_:
            raise ExportError("to_pytorch: an index by a mask: use np.where")
        return self.of(part)

    def _constant(self, node: Node) -> str:
        """A parameter or buffer by its name; another number as such, another array as a buffer."""
        prefix = f"{self.part.path}." if self.part.path else ""
        aliases = next((names for names in self.source.names.values() if node.name in names), [])
        for name in aliases:
            if name.startswith(prefix):
                return self._path(name)
        if aliases:
            raise ExportError(
                f"to_pytorch: {self.part.path} computes with {aliases[0]}, which is no part of it: "
                f"make it an attribute of {type(self.part.module).__name__} too"
            )
        array = node.array
        assert array is not None
        if array.ndim == 0:
            return self.of(array)
        name = node.name.removeprefix(prefix).rpartition(".")[2]
        base = name = re.sub(r"\W", "_", name) if name and not name[0].isdigit() else "constant"
        n = 1
        while f"{prefix}{name}" in self.source.state and not np.array_equal(
            self.source.state[f"{prefix}{name}"], array, equal_nan=True
        ):
            n += 1
            name = f"{base}_{n}"
        self.source.state[f"{prefix}{name}"] = array.copy()
        line = buffer(name, array)
        if line not in self.buffers:
            self.buffers.append(line)
        return f"self.{name}"

    def _path(self, path: str) -> str:
        """A part of this module, as its own forward spells it."""
        outer, inner = (self.source.spelled[p] for p in (self.part.path, path))
        if not (inner.startswith((f"{outer}.", f"{outer}["))):
            raise ExportError(
                f"to_pytorch: {self.part.path} calls {path}, which is no part of it: make it an "
                f"attribute of {type(self.part.module).__name__} too"
            )
        return "self" + inner.removeprefix(outer)

    def _free(self, name: str) -> str:
        new, n = name, 1
        while new in self.used:
            n += 1
            new = f"{name}{n}"
        self.used.add(new)
        return new
