"""The graph: the table of derivative rules, the nodes, the walk backwards, and no_grad.

Every differentiable function has one row in :data:`TABLE`, put there by :func:`vjp`. Calling such a
function on Tensors leaves a :class:`Node` behind, which points to the nodes of its inputs and holds
the values that its rules name. :func:`walk` goes back over the nodes, newest first, and turns the
gradient of a result into the gradients of all it came from. Nothing in this file knows what a
Tensor is, and nothing here is specific to any one function.

Names used throughout: ``g`` is the incoming gradient (of the result of the node), ``y`` the result,
``d`` the gradient that a rule returns for one input.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Sequence
from operator import attrgetter, itemgetter
from threading import RLock
from typing import Any, overload

import numpy as np

from minidl.scopes import Block, F, Setting
from minidl.signatures import Parameters, as_called, check_row

# --- The table ------------------------------------------------------------------------------------

TABLE: dict[Callable[..., Any], Operation] = {}
"""Every differentiable function, with its rules."""


def vjp(
    function: Callable[..., Any],
    spec: str,
    /,
    *,
    definition: Callable[..., Any] | None = None,
    common: Callable[..., Any] | None = None,
    **rules: Callable[..., Any],
) -> None:
    """Enter the derivative of ``function`` in the table: one vector-Jacobian product per input.

    ``spec`` lists the parameters of ``function`` in their order, options with their defaults
    (``"a axis=None keepdims=False"``). A parameter that has a rule is a differentiable input.

    A rule maps the gradient ``g`` of the result to the gradient of its input. It asks for what it
    needs by naming it: ``g``; ``y``, the result; any parameter of the function; ``shape``, the
    shape of the input the rule is for; ``out``, an array to write into or None (only a rule whose
    result is always new memory may name it); ``common``, which is computed once for all rules of
    the call by the function of that name. ``g`` comes first and ``out`` last. What no rule names is
    not kept. Broadcasting is not a rule's business: the walk sums a gradient back to the shape of
    its input. A parameter of the function that has one of these five names gets an underscore in
    the spec and in the rules (``"x y_"``); calls keep the function's own name for it.

    Rules use only differentiable functions of NumPy, so that they can themselves be differentiated.
    A rule that cannot is accompanied by a ``definition``: the same function written in
    differentiable ones, taking the same parameters. It is what grad of grad goes through.

    Raises:
        ValueError: if a rule is for something, or names something, that ``spec`` does not list; if
            ``spec`` does not fit the function, or a name in it could mean two things.
        TypeError: if a rule is not a function.

    Example:
        >>> import numpy as np
        >>> import minidl
        >>> @minidl.differentiable
        ... def cube(x):
        ...     return x**3
        >>> minidl.vjp(cube, "x", x=lambda g, x: g * 3 * x**2)
        >>> x = minidl.Tensor([1.0, 2.0], requires_grad=True)
        >>> cube(x).sum().backward()
        >>> x.grad
        array([ 3., 12.], dtype=float32)
    """
    TABLE[function] = Operation(function, spec, rules, definition, common)


class Operation:
    """A row of the table: a function, its parameters, and a rule for each differentiable input."""

    def __init__(
        self,
        function: Callable[..., Any],
        spec: str,
        rules: dict[str, Callable[..., Any]],
        definition: Callable[..., Any] | None = None,
        common: Callable[..., Any] | None = None,
    ) -> None:
        self.function = function
        self.forward = getattr(function, "forward", function)
        self.name = name_of(function)
        self.names: list[str] = []
        self.defaults: dict[str, Any] = {}
        for word in spec.split():
            name, has_default, default = word.partition("=")
            self.names.append(name)
            if has_default:
                self.defaults[name] = _literal(default, f"vjp({self.name}, {spec!r})")
        check_row(
            f"vjp({self.name}, {spec!r})",
            self.names, self.defaults, function, rules, definition, common,
        )  # fmt: skip
        self.rules = rules
        self.definition = definition
        self.common = common
        self.inputs = [i for i, name in enumerate(self.names) if name in rules]
        self.plans: dict[int, Plan] = {}
        own = Parameters(function)
        self.called = [as_called(name, own) for name in self.names]  # what calls say: y for y_
        self.defaults = {
            name: own.defaults[called]
            for name, called in zip(self.names, self.called, strict=True)
            if called in own.defaults
        } | self.defaults
        # Where a rule finds what it names, in the list of a call's values: the parameters in
        # order, the result, and the shapes of the inputs if there is a rule that asks for one.
        self.position = {name: i for i, name in enumerate([*self.names, "y"])}
        functions = [*rules.values()] + ([common] if common else [])
        self.named = {f: Parameters(f).names for f in functions}
        self.keeps_shapes = any("shape" in names for names in self.named.values())
        self.position["common"] = len(self.position) + self.keeps_shapes * len(self.inputs)

    def plan(self, mask: int) -> Plan:
        """What to do in the backward pass when the inputs of ``mask`` (bit i: input i) need it."""
        plan = self.plans.get(mask)
        if plan is None:
            plan = self.plans[mask] = Plan(self, mask)
        return plan

    def where(self, rule: Callable[..., Any], rank: int = 0) -> list[int]:
        """Positions of what the rule names, ``rank`` being its input's place among the inputs."""
        shape = len(self.names) + 1 + rank
        return [
            shape if name == "shape" else self.position[name]
            for name in self.named[rule]
            if name not in ("g", "out")
        ]


class Plan:
    """The backward pass of an operation for one choice of inputs that need a gradient.

    Made once for each choice and kept. ``steps`` holds, for each such input, the rule as a function
    of ``(g, values, out)`` and whether its result is new memory; ``drop`` the positions among the
    values that no rule of the choice needs.
    """

    __slots__ = ("common", "drop", "keeps", "live", "operation", "steps")

    def __init__(self, operation: Operation, mask: int) -> None:
        self.operation = operation
        self.live = [i for i in operation.inputs if mask >> i & 1]
        self.steps = []
        needed = set()
        for i in self.live:
            rule = operation.rules[operation.names[i]]
            where = operation.where(rule, operation.inputs.index(i))
            needed.update(where)
            names = operation.named[rule]
            self.steps.append((_bound(rule, "g" in names, where, "out" in names), "out" in names))
        self.common = None
        if operation.common is not None and operation.position["common"] in needed:
            where = operation.where(operation.common)
            needed.update(where)
            self.common = _bound(operation.common, "g" in operation.named[operation.common], where)
        if operation.definition is not None:
            needed.update(range(len(operation.names)))
        self.drop = [i for i in range(len(operation.names) + 1) if i not in needed]
        self.keeps = bool(needed)

    def name_of_step(self, rule: Callable[..., Any]) -> str:
        """The name of the input that a step is for."""
        names = [self.operation.names[i] for i in self.live]
        return next((n for n, (f, _) in zip(names, self.steps, strict=True) if f is rule), "")


def _literal(default: str, call: str) -> Any:
    try:
        return ast.literal_eval(default)
    except (SyntaxError, ValueError):
        raise ValueError(
            f"{call}: the default {default!r} is not a number, a string, a tuple, True, False or "
            f"None, written without spaces"
        ) from None


def _bound(
    rule: Callable[..., Any], g: bool, where: Sequence[int], out: bool = False
) -> Callable[..., Any]:
    """The rule as a function of (g, values, out), whatever it names.

    The frequent cases are written out: a call of the general one costs half a microsecond more.
    """
    match g, out, list(where):
        case True, False, []:
            return lambda g, values, out: rule(g)
        case True, False, [i]:
            return lambda g, values, out: rule(g, values[i])
        case True, False, [i, j]:
            return lambda g, values, out: rule(g, values[i], values[j])
        case True, True, []:
            return lambda g, values, out: rule(g, out=out)
        case True, True, [i]:
            return lambda g, values, out: rule(g, values[i], out=out)
    # Two positions at least, so that itemgetter returns a tuple; the surplus is cut off again.
    pick, n = itemgetter(*where, 0, 0), len(where)
    return lambda gradient, values, memory: rule(
        *((gradient,) if g else ()), *pick(values)[:n], **({"out": memory} if out else {})
    )


def name_of(function: Callable[..., Any]) -> str:
    """The name people know a function by: ``np.add``, ``np.linalg.norm``, ``relu``."""
    module = getattr(function, "__module__", None) or "numpy"
    short = getattr(function, "__name__", repr(function)).lstrip("_")
    module = module.replace("numpy", "np", 1) if module.startswith("numpy") else ""
    return f"{module}.{short}" if module and short != "getitem" else short


# --- The nodes ------------------------------------------------------------------------------------

FREED: Sequence[Any] = ("freed",)  # in place of the parents of a node that was emptied

_age = itertools.count().__next__  # a node is younger than all that it was computed from


class Node:
    """What a differentiable call leaves behind: how to go back from its result to its inputs.

    ``dtype`` is that of its gradient: see :func:`_dtype_of_gradient`.
    """

    __slots__ = ("__weakref__", "age", "dtype", "parents", "plan", "shape", "values")

    grad = lent = None  # only a leaf has them

    def __init__(
        self, plan: Plan, parents: list[Node | Leaf], values: list[Any] | None, y: np.ndarray
    ) -> None:
        self.plan = plan
        self.parents: Sequence[Node | Leaf] = parents  # FREED once the walk has passed
        self.values = values
        self.shape = y.shape
        self.dtype = _dtype_of_gradient(y)
        self.age = _age()


class Leaf:
    """The end of the walk: a Tensor that was not computed, and the gradient that arrived for it.

    ``lent`` is memory that an optimizer provides for the gradient, so that gradients need not be
    gathered at each step. It is used while ``grad`` is None, and never handed to anybody else.
    ``lock`` is held by the walk that is bringing it a gradient: threads may meet here.
    """

    __slots__ = ("age", "dtype", "grad", "lent", "lock", "shape")

    parents: Sequence[Node | Leaf] = ()
    plan = None

    def __init__(self, y: np.ndarray) -> None:
        self.shape = y.shape
        self.dtype = _dtype_of_gradient(y)
        self.grad: np.ndarray | None = None
        self.lent: np.ndarray | None = None
        self.lock = RLock()
        self.age = _age()

    def retire(self) -> None:
        """Give back what belongs to the Tensor that this was the leaf of; it has another now."""
        self.grad = self.lent = None

    def receive(self, d: np.ndarray, is_new: bool) -> None:
        """Add ``d`` to the gradient; ``is_new`` says that ``d`` is memory nobody else has."""
        if self.grad is not None:
            self.grad += d
        elif is_new:
            self.grad = d
        elif self.lent is not None and self.lent.dtype == self.dtype:
            np.copyto(self.lent, d)
            self.grad = self.lent
        else:
            self.grad = np.copy(d)


def _dtype_of_gradient(y: np.ndarray) -> np.dtype[Any]:
    """The dtype of ``y``, float32 at least: a gradient is a sum, and a sum of equal float16 stops
    to grow at 2048 of them. What is handed out, and read from a Tensor, has the Tensor's dtype."""
    return y.dtype if y.dtype.itemsize > 2 else _FLOAT32


_FLOAT32 = np.dtype(np.float32)


# --- The walk -------------------------------------------------------------------------------------


def walk(
    root: Node | Leaf,
    g: Any,
    wanted: Sequence[Node | Leaf] | None = None,
    *,
    retain: bool = False,
    tensor: Callable[[Any, Node | Leaf | None], Any] | None = None,
) -> dict[Node | Leaf, Any]:
    """Carry the gradient ``g`` of ``root`` back through the graph.

    Without ``wanted`` the leaves receive their gradients. With it they are left alone: only what
    leads to a wanted node is computed, and the gradients of the wanted nodes are returned.

    The nodes are visited from the youngest to the oldest. Whatever used a result is younger than
    the result, so all gradients for a node have arrived, and been added up, when its turn comes.
    Each gradient is popped when it is used and, unless ``retain``, each node is emptied behind it:
    memory falls while the walk proceeds.

    ``tensor(array, node)`` makes a Tensor. When it is given, ``g`` is a Tensor and the rules run on
    Tensors, so that the gradients are part of a graph themselves.
    """
    to_leaves = wanted is None
    if to_leaves and isinstance(root, Leaf):
        with root.lock:
            root.receive(g, is_new=False)
        return {}
    if g.dtype != root.dtype:
        g = g.astype(root.dtype)
    order = _reachable(root, leaves=not to_leaves)
    relevant = None if wanted is None else _leading_to(set(wanted), order)
    watcher = current_watcher()
    if watcher is not None and to_leaves:
        watcher.backward_begins()
    kind = np.ndarray if tensor is None else type(g)  # of what a rule returns
    gradients = {root: g}
    found: dict[Node | Leaf, Any] = {}
    node: Any
    while order:
        node = order.pop()
        if relevant is not None and node not in relevant:
            continue
        g = gradients.pop(node)
        if wanted is not None and node in wanted:
            found[node] = g
        plan = node.plan
        if plan is None:  # a leaf, at which the walk ends
            continue
        values, steps = node.values, plan.steps
        if tensor is not None:
            values, steps = _on_tensors(node, g, tensor)
        if plan.common is not None and steps is plan.steps:
            values = [*values, plan.common(g, values, None)]
        for parent, (rule, is_new) in zip(node.parents, steps, strict=True):
            if relevant is not None and parent not in relevant:
                continue
            to_leaf = to_leaves and parent.plan is None
            lock = parent.lock if to_leaf else None
            try:
                if lock is not None:
                    lock.acquire()  # another thread may be bringing a gradient as well
                out = None
                if to_leaf and is_new and parent.grad is None and parent.lent is not None:
                    out = parent.lent if g.dtype == parent.lent.dtype else None
                if watcher is not None:
                    rule = watcher.watched(node, plan.name_of_step(rule), rule)
                d = rule(g, values, out)
                if type(d) is not kind:
                    d = _as_gradient(d, node, parent, tensor)
                if d.shape != parent.shape:
                    d = _summed_to(parent.shape, d, plan.operation)
                    is_new = True
                if d.dtype != parent.dtype:
                    d = d.astype(parent.dtype)
                    is_new = True
                if to_leaf:
                    parent.receive(d, is_new)
                elif parent in gradients:
                    gradients[parent] = gradients[parent] + d
                else:
                    gradients[parent] = d
            finally:
                if lock is not None:
                    lock.release()
        if not retain:
            if watcher is not None:
                watcher.freed(node)
            node.parents, node.values = FREED, None
    if watcher is not None and to_leaves:
        watcher.backward_done()
    return found


def _reachable(root: Node | Leaf, leaves: bool) -> list[Node | Leaf]:
    """The nodes that ``root`` came from, oldest first; with leaves if wanted.

    There is no recursion: a graph may be of any depth.
    """
    order = [root]
    seen = {root}
    for node in order:  # the list grows while it is walked
        parents = node.parents
        if parents is FREED:
            raise RuntimeError(
                "backward through a graph that an earlier backward has freed: compute the result "
                "anew, or keep the graph with backward(retain_graph=True) the first time"
            )
        for parent in parents:
            if parent not in seen and (leaves or parent.plan is not None):
                seen.add(parent)
                order.append(parent)
    order.sort(key=attrgetter("age"))
    return order


def _leading_to(wanted: set[Node | Leaf], order: Sequence[Node | Leaf]) -> set[Node | Leaf]:
    """The nodes of ``order`` (oldest first) that are wanted or were computed from wanted ones."""
    relevant = set(wanted)
    for node in order:
        if node not in relevant and any(parent in relevant for parent in node.parents):
            relevant.add(node)
    return relevant


def _as_gradient(d: Any, node: Node, parent: Node | Leaf, tensor: Any) -> Any:
    """What a rule returned that is not simply an array (or a Tensor, in a walk on Tensors)."""
    if isinstance(d, np.ndarray | np.generic):  # a scalar of NumPy's; a constant among Tensors
        return np.asarray(d) if tensor is None else tensor(np.asarray(d), None)
    if tensor is None and hasattr(d, "__array_function__") and not hasattr(d, "backward"):
        return d  # it stands for an array, and computes as one
    operation = node.plan.operation
    places = zip(node.plan.live, node.parents, strict=True)
    names = " or ".join(repr(operation.names[i]) for i, of in places if of is parent)
    raise TypeError(
        f"the derivative rule of {operation.name} for its input {names} returned {_described(d)}: "
        f"a rule returns the gradient, an array in the shape of its input (does it lack a return, "
        f"or write in place?)"
    )


def _described(d: Any) -> str:
    return "None" if d is None else f"a {type(d).__name__}"


def _summed_to(shape: tuple[int, ...], d: Any, operation: Operation) -> Any:
    """Undo broadcasting: sum over the axes along which an input of ``shape`` was repeated."""
    lead = d.ndim - len(shape)
    axes = [i + lead for i, n in enumerate(shape) if n == 1 and d.shape[i + lead] != 1]
    if lead < 0 or any(n != m and n != 1 for n, m in zip(shape, d.shape[lead:], strict=True)):
        raise ValueError(
            f"a derivative rule of {operation.name} returned a gradient of shape {d.shape} for an "
            f"input of shape {shape}: a rule returns the gradient in the shape of its input (or "
            f"in a shape that the input was broadcast to)"
        )
    return d.sum(axis=(*range(lead), *axes)).reshape(shape)


# --- The walk on Tensors, for gradients of gradients ----------------------------------------------


def _on_tensors(node: Node, g: Any, tensor: Callable[..., Any]) -> tuple[list[Any], list[Any]]:
    """The values and steps of a node for rules that run on Tensors.

    The values that were inputs, and the result, become Tensors with their places in the graph. An
    operation that has a definition goes through it instead of through its rules.
    """
    operation = node.plan.operation
    values = list(node.values or ())
    if operation.definition is None:
        if values:
            for i, parent in zip(node.plan.live, node.parents, strict=True):
                values[i] = None if values[i] is None else tensor(values[i], parent)
            y = operation.position["y"]
            values[y] = None if values[y] is None else tensor(values[y], node)
        return values, node.plan.steps
    # Each input gets a node of its own in front of it: the definition's graph ends there, even if
    # one input was computed from another or stands twice.
    inputs = []
    for i, parent in zip(node.plan.live, node.parents, strict=True):
        inputs.append(Node(_IDENTITY.plan(1), [parent], None, values[i]))
        values[i] = tensor(values[i], inputs[-1])
    y = operation.definition(**dict(zip(operation.called, values, strict=False)))
    found = walk(y._node, g, inputs, retain=True, tensor=tensor)
    ds = [found[x] if x in found else tensor(np.zeros(x.shape, x.dtype), None) for x in inputs]
    return values, [(lambda g, values, out, d=d: d, False) for d in ds]


_IDENTITY = Operation(np.positive, "x", {"x": lambda g: g})


# --- Whether to record ----------------------------------------------------------------------------

_recording = Setting("recording", default=True)
is_recording = _recording.current.get


def recording(on: bool) -> Block:
    """Switch recording on or off for a block; afterwards it is what it was before."""
    return Block(_recording, on)


@overload
def no_grad() -> Block: ...


@overload
def no_grad(function: F, /) -> F: ...


def no_grad(function: F | None = None, /) -> Block | F:
    """A block, or ``@no_grad()`` over a function, in which no graph is recorded.

    What is computed inside needs no gradient and costs no memory. Only the current thread is
    affected, and the previous mode comes back even if the block raises. A generator, a coroutine or
    an asynchronous generator under ``@no_grad()`` records nothing in any of its steps, and what
    happens between the steps is recorded as ever. Write it so, and not with a ``yield`` inside
    ``with no_grad():``, which would be in force for the consumer too until the block ends.

    Example:
        >>> import minidl
        >>> x = minidl.Tensor([1.0], requires_grad=True)
        >>> with minidl.no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False
    """
    block = recording(False)
    return block if function is None else block(function)


# --- Who is watching ------------------------------------------------------------------------------

_watcher = Setting("who watches", default=None)
current_watcher = _watcher.current.get


def watched_by(watcher: Any) -> Block:
    """A block in which operations report to ``watcher`` (see debugging.py)."""
    return Block(_watcher, watcher)
