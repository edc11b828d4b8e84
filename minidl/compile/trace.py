"""A training step that is made on traced arrays, and thereby written down.

The model, the loss and the optimizer are the user's own. While the step is made, stand-ins take the
place of their arrays: parameters, arrays and generators that are attributes of modules, and the
optimizer's memory. Afterwards every object is what it was; step.py puts back the values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.autograd import Leaf, Node, Operation
from minidl.compile.program import CompileError, Trace, Update, Value
from minidl.compile.traced import Traced, TracedGenerator, View
from minidl.modes import Watcher, drawing_through, drawn_through, watched_by
from minidl.nn import Module
from minidl.optim import Optimizer
from minidl.optim.clipping import clip_gradients
from minidl.optim.groups import Group
from minidl.tensor import Tensor

Gradients = dict[int, Any]  # of Traced, by the identity of the parameter


def traced_step(
    model: Module,
    loss: Any,
    optimizer: Optimizer,
    x: Array,
    y: Array,
    max_norm: float | None,
    from_a_value: bool = False,
) -> Trace:
    """Make one step on traced arrays. Values change as in every step; objects do not.

    The gradient that the backward pass begins with is 1, a constant, and so is much that is made of
    it. Where a constant must take in values of the step, as zeros with something at an index, it
    has to be a value itself, which ``from_a_value`` asks for.
    """
    trace = Trace()
    batch = [_stand_in(trace, Value("argument", a, name=name)) for a, name in ((x, "x"), (y, "y"))]

    outer = drawn_through()

    def draws(rng: np.random.Generator) -> np.random.Generator:
        if isinstance(rng, TracedGenerator):
            return rng
        return TracedGenerator(trace, rng if outer is None else outer(rng))

    with ExitStack() as stack:
        stack.enter_context(_standing_in(trace, model, loss, optimizer))
        namer = _Namer(trace, dict(modules_of(model, loss)))
        stack.enter_context(watched_by(namer))
        stack.enter_context(drawing_through(draws))
        predictions = model(batch[0])
        value = loss(predictions, batch[1])
        if not isinstance(value, Tensor):  # (for other Tensors, backward() says what is wrong)
            raise CompileError(
                f"a step needs a loss of one number that depends on the parameters, and this one "
                f"is {value!r:.80}"
            )
        trace.loss = value.data.value  # type: ignore[attr-defined]
        if isinstance(predictions, Tensor):
            trace.predictions = predictions.data.value  # type: ignore[attr-defined]
        trace.place = "the loss"
        trace.add("check", "finite", None, (trace.loss,))
        namer.seen = len(trace.calls)
        one = np.ones(value.shape, value.dtype)
        value.backward(_stand_in(trace, trace.array(one, "one")) if from_a_value else None)
        trace.place = "the gradients"
        gradients: Gradients = {}
        for group in optimizer.groups:
            _take_gradients(trace, group, gradients)
        if max_norm is not None:
            clip_gradients(list(gradients.values()), max_norm)
        for group in optimizer.groups:
            _trace_updates(trace, optimizer, group, gradients)
    return trace


def modules_of(model: Module, loss: Any) -> Iterator[tuple[Module, str]]:
    """All modules of model and loss, with their paths; those of the loss begin with "loss"."""
    yield from ((module, path) for path, module in model.modules())
    if isinstance(loss, Module):
        yield from ((module, f"loss.{path}".rstrip(".")) for path, module in loss.modules())


def readable(path: str) -> str:
    """A name for the program: "0.weight" is ``weight_0``, "encoder.bias" is ``encoder_bias``."""
    first, _, rest = path.partition(".")
    if first.isdigit() and rest:
        rest, _, last = rest.rpartition(".")
        path = ".".join(filter(None, (last, first, rest)))
    return re.sub(r"\W", "_", path)


# --- What stands in for what ----------------------------------------------------------------------


@contextmanager
def _standing_in(trace: Trace, model: Module, loss: Any, optimizer: Optimizer) -> Iterator[None]:
    """Put stand-ins in the place of all arrays of the step, and take them out again."""
    tensors: list[tuple[Tensor, Array, Any]] = []
    attributes: list[tuple[Any, Any, Any, Any]] = []

    def replace(tensor: Tensor, name: str) -> None:
        if not isinstance(tensor.array, Traced):
            tensors.append((tensor, tensor.array, tensor.node))
            stand_in: Any = _stand_in(trace, trace.array(tensor.array, readable(name)))
            tensor.array = stand_in
            if tensor.node is not None:
                tensor.node = Leaf(stand_in)

    try:
        for name, parameter in model.named_parameters():
            replace(parameter, name)
        for group in optimizer.groups:
            for name, p in zip(group.storage.names, group.storage.params, strict=True):
                replace(p, name)
        for module, path in modules_of(model, loss):
            for held, name, x, label in _held(vars(module), path, set()):
                if isinstance(x, Tensor):
                    replace(x, label)
                    continue
                stand_in: Any = (
                    _stand_in(trace, trace.array(x, readable(label)))
                    if isinstance(x, np.ndarray)
                    else TracedGenerator(trace, x)
                )
                attributes.append((held, name, x, stand_in))
                held[name] = stand_in
        yield
        for held, name, _, stand_in in attributes:
            now = held[name]
            if now is not stand_in:  # set to another array, which the program writes into this one
                now = now.array if isinstance(now, Tensor) else now
                if not isinstance(now, Traced) or now.shape != stand_in.shape:
                    raise CompileError(
                        f"the attribute {name} becomes another thing in every step, {now!r:.60}: "
                        f"write into the array that it is, {name}[...] = ..."
                    )
                stand_in[...] = now
    finally:
        for tensor, data, node in tensors:
            tensor.array, tensor.node = data, node
        for held, name, x, _ in attributes:
            held[name] = x


def _held(members: Any, path: str, seen: set[int]) -> Iterator[tuple[Any, Any, Any, str]]:
    """Arrays, Tensors and generators among attributes, also in lists and dicts: by what holds them,
    under which key, and what the path to them is. What was seen may hold itself."""
    for key, x in list(members.items() if isinstance(members, dict) else enumerate(members)):
        label = f"{path}.{key}".strip(".")
        if isinstance(x, np.ndarray | Tensor | np.random.Generator):
            yield members, key, x, label
        elif isinstance(x, dict | list) and id(x) not in seen:
            seen.add(id(x))
            yield from _held(x, label, seen)


def _stand_in(trace: Trace, value: Value) -> Any:
    """What stands for an array from outside, or for an argument: of these the value has all."""
    return Traced(trace, value, value.sample)


class _Namer(Watcher):
    """Watches the engine, and tells which call belongs to which part of the model."""

    def __init__(self, trace: Trace, paths: dict[Module, str]) -> None:
        self.trace, self.paths = trace, paths
        self.under_way = [("", "the step")]  # path and title of the modules under way
        self.places: dict[Node, tuple[str, str]] = {}
        self.last: Any = None  # what was computed last
        self.seen = 0  # how many calls have their place

    def entered(self, module: Module) -> None:
        path = self.paths.get(module, "")
        title = f"{path}: {type(module).__name__}" if path else self.under_way[-1][1]
        self.under_way.append((path or self.under_way[-1][0], title))
        self.trace.place = title

    def left(self, module: Module, y: Any) -> None:
        path, _ = self.under_way.pop()
        self.trace.place = self.under_way[-1][1]
        self._name(self.last, f"y_{path or 'out'}")
        self.last = None

    def computed(self, operation: Operation, inputs: list[Any], y: Any, node: Any) -> None:
        self.last = y
        if node is not None:
            self.places[node] = self.under_way[-1]

    def going_back(self, node: Node, name: str) -> None:
        _, title = self.places.get(node, ("", "the loss"))
        self.trace.place = f"back through {title}"
        for call in self.trace.calls[self.seen :]:  # what all rules of the node have in common
            call.place = self.trace.place

    def went_back(self, node: Node, name: str, g: Any, d: Any) -> None:
        path, _ = self.places.get(node, ("", ""))
        self._name(d, f"d_{path}" if name in ("x", "a", "logits") else f"d_{name}_{path}")
        self.seen = len(self.trace.calls)

    def _name(self, x: Any, name: str) -> None:
        if isinstance(x, Traced) and not isinstance(x, View) and x.value.kind == "call":
            x.value.name = x.value.name or re.sub(r"\W", "_", name).rstrip("_")

    def arriving(self, gradients: Any) -> None:
        self.trace.place = "the gradients"


# --- Gradients and update -------------------------------------------------------------------------


def _take_gradients(trace: Trace, group: Group, gradients: Gradients) -> None:
    """Write each gradient where the optimizer has memory for it."""
    storage = group.storage
    for name, (p, _, dx) in zip(storage.names, storage.homes, strict=True):
        if isinstance(p.node, Leaf) and p.node.grad is not None:
            gradients[id(p)] = _stand_in(trace, trace.array(dx, f"d_{readable(name)}"))
            gradients[id(p)].value.scratch = True
            gradients[id(p)][...] = p.node.grad


def _trace_updates(trace: Trace, optimizer: Optimizer, group: Group, gradients: Gradients) -> None:
    """Write down what the rule does with each run of parameters that are in the same step."""
    storage = group.storage
    storage.cut([id(p) in gradients for p in storage.params])
    for first, blocks in storage.runs:
        if not blocks:
            continue
        names = ["x", "dx", *type(optimizer).state]
        t = Value("argument", storage.counts[first] + 1, name="t")
        lr = Value("argument", float(optimizer.current_rate(group)), name="lr")
        arrays = [trace.array(a, name) for a, name in zip(blocks[0], names, strict=True)]
        update = Update(names, blocks, arrays, t, lr, partial(optimizer.apply, group, blocks))
        own = Trace(outside=trace.outside, given=trace.given)
        traced: Any = [_stand_in(own, value) for value in arrays]
        try:
            optimizer.apply(group, [traced], _stand_in(own, t), _stand_in(own, lr))
            update.trace = own
        except (CompileError, TypeError, ValueError):
            pass  # the program calls the rule
        trace.updates.append(update)
