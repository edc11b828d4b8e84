"""The graph: what a differentiable call leaves behind, and the walk back over it.

Calling a function on Tensors leaves a :class:`Node` behind, which points to the nodes of its inputs
and keeps the values that the function's derivative rules need. :func:`walk` goes back over the
nodes and turns the gradient of a result into the gradients of all it came from. The rules stand in
:data:`TABLE`, one row for each function, put there by ``vjp`` (table.py). Nothing in this file
knows what a Tensor is, and nothing is specific to any one function.

Names used throughout: ``g`` is the incoming gradient (of the result of a node), ``y`` the result,
``d`` the gradient that a rule returns for one input.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from operator import attrgetter
from threading import RLock
from typing import Any

import numpy as np

from minidl import refusals
from minidl.modes import current_watcher

# --- The nodes ------------------------------------------------------------------------------------

_age = itertools.count().__next__  # a node is younger than all that it was computed from


class Node:
    """What a differentiable call leaves behind: how to go back from its result to its inputs.

    ``parents`` are the names and the nodes of the inputs that need a gradient, ``kept`` the values
    that their rules name, or the operation's definition takes, by name. All else is not kept.
    """

    __slots__ = ("__weakref__", "age", "dtype", "kept", "leaf", "operation", "parents", "shape")

    grad = property(lambda self: self.leaf and self.leaf.grad)  # else it passes by

    def __init__(
        self,
        operation: Operation,
        parents: list[tuple[str, Node | Leaf]],
        kept: dict[str, Any],
        y: np.ndarray,
    ) -> None:
        self.operation = operation
        self.parents: list[tuple[str, Node | Leaf]] | None = parents  # None once it was freed
        self.kept = kept
        self.leaf: Leaf | None = None  # where retain_grad() lets the gradient of the node arrive
        self.shape = y.shape
        self.dtype = y.dtype if y.dtype.itemsize > 2 else _SINGLE
        self.age = _age()


class Leaf:
    """The end of the walk: a Tensor that was not computed, and the gradient that arrived for it."""

    __slots__ = ("age", "dtype", "grad", "lock", "shape")

    parents = ()

    def __init__(self, y: np.ndarray) -> None:
        self.shape = y.shape
        self.dtype = y.dtype if y.dtype.itemsize > 2 else _SINGLE
        self.grad: np.ndarray | None = None
        self.lock = RLock()  # threads may meet here
        self.age = _age()

    def receive(self, d: np.ndarray) -> None:
        """Add ``d`` to the gradient, which is memory that nobody else has."""
        with self.lock:
            if self.grad is None:
                d = d.copy()
                self.grad = np.asarray(d) if isinstance(d, np.generic) else d
            else:
                self.grad += d


# The dtype of a gradient is that of its Tensor, float32 at least: it is a sum, and a sum of equal
# float16 numbers stops to grow at 2048 of them.
_SINGLE = np.dtype(np.float32)


# --- The walk -------------------------------------------------------------------------------------

Gradients = Iterable[tuple["Node | Leaf", Any]]


def backward(root: Node | Leaf, g: np.ndarray, retain: bool = False) -> None:
    """Add to the ``grad`` of every leaf what the gradient ``g`` of ``root`` comes to there."""
    gradients = walk(root, g, retain=retain)
    watcher = current_watcher()
    if watcher is not None:
        watcher.arriving(gradients)
    while gradients:
        leaf, d = gradients.popitem()
        leaf.receive(d)


def walk(
    root: Node | Leaf,
    g: Any,
    wanted: Collection[Node | Leaf] = (),
    retain: bool = False,
    of_inputs: Callable[[Node, Any, Any], Gradients] | None = None,
) -> dict[Any, Any]:
    """Carry the gradient ``g`` of ``root`` back through the graph.

    Returns the gradients of the ``wanted`` nodes, without wanted ones those of all leaves.

    The nodes are visited from the youngest to the oldest. Whatever used a result is younger than
    the result, so all gradients for a node have arrived, and been added up, when its turn comes.
    Each gradient is popped when it is used and, unless ``retain``, each node is emptied behind it:
    memory falls while the walk proceeds. ``of_inputs`` is what applies the rules of a node; to
    Tensors others do it than to arrays (gradients.py).
    """
    of_inputs = of_inputs or gradients_of_inputs
    relevant = _came_from(root, wanted)
    gradients = {root: g if g.dtype == root.dtype else g.astype(root.dtype)}
    for node in sorted(relevant, key=attrgetter("age"), reverse=True):
        if isinstance(node, Node):
            g = gradients[node] if node in wanted else gradients.pop(node)
            if node.leaf is not None:
                gradients[node.leaf] = g
            for parent, d in of_inputs(node, g, relevant):
                gradients[parent] = gradients[parent] + d if parent in gradients else d
            if not retain:
                node.parents, node.kept = None, {}
    return gradients


def gradients_of_inputs(
    node: Node, g: Any, relevant: Collection[Node | Leaf], kept: dict[str, Any] | None = None
) -> Gradients:
    """Apply the rules of a node, given the gradient ``g`` of its result."""
    operation, watcher = node.operation, current_watcher()
    values = {"g": g, **(node.kept if kept is None else kept)}
    needs, common = operation.needs, operation.common
    if common is not None:
        values["common"] = common(*[values[key] for key in needs[common]])
    for name, parent in node.parents or ():
        if parent in relevant:
            values["shape"] = parent.shape
            if watcher is not None:
                watcher.going_back(node, name)
            rule = operation.rules[name]
            d = rule(*[values[key] for key in needs[rule]])
            if watcher is not None:
                watcher.went_back(node, name, g, d)
            fits = d.__class__ is np.ndarray and d.shape == parent.shape and d.dtype == parent.dtype
            yield parent, d if fits else fitted(d, g, node, name, parent)


def fitted(d: Any, g: Any, node: Node, name: str, parent: Node | Leaf) -> Any:
    """What a rule made of ``g`` as the gradient of its input: an array of its dtype and shape.

    An input that was repeated, by broadcasting, gets the sum over its repetitions.
    """
    if isinstance(d, np.ndarray | np.generic):
        d = np.asarray(d)
    elif type(d) is not type(g) and (hasattr(d, "node") or not hasattr(d, "__array_function__")):
        raise refusals.no_gradient(d, node, name)
    if d.shape != parent.shape:
        lead = d.ndim - len(parent.shape)
        pairs = list(zip(parent.shape, d.shape[max(lead, 0) :], strict=False))
        if lead < 0 or any(n not in (1, m) for n, m in pairs):
            raise refusals.misshapen(d, node, parent)
        axes = [i + lead for i, (n, m) in enumerate(pairs) if n != m]
        d = d.sum(axis=(*range(lead), *axes)).reshape(parent.shape)
    return d if d.dtype == parent.dtype else d.astype(parent.dtype)


def _came_from(root: Node | Leaf, wanted: Collection[Node | Leaf]) -> set[Node | Leaf]:
    """All that ``root`` was computed from and, with ``wanted``, that was computed from these.

    There is no recursion: a graph may be of any depth.
    """
    seen = {root}
    found = [root]
    for node in found:  # the list grows while it is walked
        if node.parents is None:
            raise RuntimeError(refusals.FREED)
        for _, parent in node.parents:
            if parent not in seen:
                seen.add(parent)
                found.append(parent)
    if not wanted:
        return seen
    relevant = seen & set(wanted)
    for node in sorted(seen, key=attrgetter("age")):
        if any(parent in relevant for _, parent in node.parents or ()):
            relevant.add(node)
    return relevant


# --- The table ------------------------------------------------------------------------------------


@dataclass(eq=False)
class Operation:
    """A row of the table: a function, what it is called with, and a rule for each input.

    ``forward`` is the function on ndarrays; ``beside`` names what it returns beside the result.
    ``needs`` has the names that each rule takes, ``keeps`` those that a node has to keep for the
    rule of an input, with their places among the arguments, the result and what stands beside it.
    ``common`` is computed once for all rules of a node. ``definition`` is the same function in
    differentiable ones, for gradients of gradients.
    """

    function: Callable[..., Any]
    name: str
    forward: Callable[..., Any]
    names: tuple[str, ...]
    called: tuple[str, ...]  # the names that calls use, where a spec has an underscore
    defaults: dict[str, Any]
    beside: tuple[str, ...]
    rules: dict[str, Callable[..., Any]]
    definition: Callable[..., Any] | None
    common: Callable[..., Any] | None
    needs: dict[Callable[..., Any], tuple[str, ...]]
    keeps: dict[str, list[tuple[str, int]]]


TABLE: dict[Callable[..., Any], Operation] = {}
"""Every differentiable function, with its rules."""
