"""What a model computes, as a graph of calls that holds for batches of every size.

It is made from the same forward pass on batches of three sizes. What is the same in all of them is
a constant; a number that grows evenly with the batch, as a length in ``reshape`` does, becomes a
:class:`Dim`; and what differs in any other way would be wrong for the next batch and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.table import name_of


class ExportError(ValueError):
    """A model cannot be written in another form; the message says which part, and where.

    Example:
        >>> import numpy as np
        >>> from minidl import export, nn
        >>> class Sorted(nn.Module):
        ...     def forward(self, x):
        ...         return np.sort(x)
        >>> try:
        ...     export.to_pytorch(Sorted())
        ... except export.ExportError as error:
        ...     print(str(error)[:60])
        to_pytorch: Sorted has a forward of its own, and to write it
    """


MADE_OF = {"np.argsort": "np.sort", "place": "np.pad"}
"""What the functions are called that people use, of those which may be left of them."""


def name_for_people(function: Any) -> str:
    """The name of what a node calls, for messages."""
    name = function if isinstance(function, str) else name_of(function)
    return f"{name}, which {MADE_OF[name]} is made of," if name in MADE_OF else name


@dataclass(frozen=True)
class Dim:
    """A whole number that depends on the size of the batch: ``per_sample * batch + more``."""

    per_sample: int
    more: int = 0

    def __str__(self) -> str:
        times = "batch" if self.per_sample == 1 else f"{self.per_sample}*batch"
        return times if not self.more else f"{times}{self.more:+}"


@dataclass(eq=False)
class Node:
    """An array of the graph.

    ``kind`` is "argument", "constant" (with its ``array``) or "call": ``function`` of ``args`` and
    ``options``. ``function`` is one of the derivative table, or of NumPy, or the name of what a
    traced array does by itself ("copy", "astype"); of a whole layer it is the Layer.
    """

    kind: str
    shape: tuple[int | Dim, ...]
    dtype: np.dtype[Any]
    name: str = ""
    array: Array | None = None
    function: Any = None
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    place: str = ""
    line: str = ""

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def inputs(self) -> list[Node]:
        """The nodes that it is computed from."""
        return list(nodes_in((self.args, tuple(self.options.values()))))


def nodes_in(x: Any) -> Iterator[Node]:
    """The nodes among nested arguments."""
    if isinstance(x, Node):
        yield x
    elif isinstance(x, tuple | list):
        for part in x:
            yield from nodes_in(part)
    elif isinstance(x, slice):
        yield from nodes_in((x.start, x.stop, x.step))


def in_order(
    end: Node, inputs: Callable[[Node], list[Node]] = lambda node: node.inputs
) -> list[Node]:
    """``end`` and all that it is computed from, each after what it needs. There is no recursion: a
    graph may be of any depth."""
    found: list[Node] = []
    seen: set[Node] = set()
    waiting = [(end, False)]
    while waiting:
        node, ready = waiting.pop()
        if ready:
            found.append(node)
        elif node not in seen:
            seen.add(node)
            waiting.append((node, True))
            waiting += [(other, False) for other in reversed(inputs(node))]
    return found


# --- Numbers that depend on the batch -------------------------------------------------------------


def common(values: Sequence[Any], sizes: Sequence[int]) -> Any:
    """What a plain argument is for batches of every size: itself, or a :class:`Dim`.

    Raises:
        ValueError: if it is neither.
    """
    first = values[0]
    if all(type(v) is type(first) and _same(v, first) for v in values):
        return first
    if all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in values):
        slope, rest = divmod(int(values[1]) - int(first), sizes[1] - sizes[0])
        start = int(first) - slope * sizes[0]
        fits = all(v == slope * n + start for v, n in zip(values, sizes, strict=True))
        if not rest and fits and slope > 0:
            return Dim(slope, start)
    raise ValueError(f"{_short(values[0])} for a batch of {sizes[0]} and {_short(values[1])} for "
                     f"one of {sizes[1]}")  # fmt: skip


def _same(a: Any, b: Any) -> bool:
    return a is b or a == b or (a != a and b != b)


def _short(x: Any) -> str:
    return f"an array of shape {x.shape}" if isinstance(x, np.ndarray) else repr(x)[:40]
