"""A forward pass, followed: what a model computes, and which of its parts computes what.

A copy of the model is called on arrays that write down what is done to them, those of the compiler
(``compile/traced.py``), and the engine is watched, which tells which of these calls belong to one
function of the derivative table. So a convolution is one call here, and not its hundred steps, and
what a user wrote in NumPy is there as well. The model itself is not touched.
"""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl import nn
from minidl.arrays import Array, as_real
from minidl.autograd import Leaf, Operation
from minidl.compile.program import CompileError, Trace, Value, mapped
from minidl.compile.traced import Traced, recorded, users_line
from minidl.compositions import concatenated
from minidl.export.graph import Dim, ExportError, Node, common, in_order
from minidl.modes import Watcher, drawing_through, watched_by
from minidl.tensor import Tensor, tensor_of

MORE = 1, 7  # how many samples more the other two batches have


@dataclass(eq=False)
class Layer:
    """A module that is taken as a whole, as BatchNorm is: the function of a node."""

    module: nn.Module
    path: str


@dataclass(eq=False)
class Part:
    """A call of a module: what it got, what it returned, and which parts it called."""

    module: nn.Module
    path: str
    args: Any = ()
    names: tuple[str, ...] = ()
    result: Any = None
    parts: list[Part] = field(default_factory=list)


@dataclass
class Followed:
    """A model's forward pass: its argument, its result, and (if asked for) the calls of modules."""

    argument: Node
    result: Node
    stopped: str  # where a gradient is stopped, if it is
    whole: Callable[[], Part]


def follow(
    model: nn.Module,
    example: Array,
    *,
    whose: str,
    layers: Callable[[nn.Module], bool],
    known: Collection[Any],
    training: bool = False,
) -> Followed:
    """Follow the forward pass of a model on batches like ``example``.

    ``layers`` says which modules are taken as a whole, ``known`` are the functions that can be
    written; any other is taken apart into those that it calls. ``whose`` function asks, for
    messages.

    Raises:
        ExportError: if it cannot be followed, or does other things for batches of another size.
    """
    first = max(len(example), 2)
    sizes = [first, *(first + n for n in MORE)]
    passes = [
        _Pass(model, example[np.arange(n) % len(example)], whose, layers, training) for n in sizes
    ]
    merged = _Merged(passes, sizes, whose, known)
    argument = merged.node([p.argument for p in passes])
    result = merged.node([p.result for p in passes])
    if argument not in in_order(result):
        raise ExportError(f"{whose}: what {type(model).__name__} returns does not depend on its "
                          f"input: there is nothing to write")  # fmt: skip
    return Followed(
        argument, result, passes[0].stopped, lambda: merged.part([p.whole for p in passes])
    )


def checked_example(example: Any, model: nn.Module, whose: str) -> Array:
    """The example as an array in the dtype in which the model takes it.

    Raises:
        TypeError: if it is no array of real numbers.
        ValueError: if it has no samples.
    """
    x = as_real(example.data if isinstance(example, Tensor) else example, f"{whose}: example")
    if not x.ndim or not len(x):
        raise ValueError(
            f"{whose}: example has shape {x.shape}, expected a batch (N, ...) of one sample at "
            f"least, of the shape that the model takes"
        )
    dtypes = [p.dtype for p in model.parameters()]
    return x.astype(dtypes[0] if dtypes else np.float32) if x.dtype.kind == "f" else x


def check_model(model: Any, whose: str) -> None:
    """Raise TypeError for a model that is none."""
    if not isinstance(model, nn.Module):
        hint = f": put brackets behind it, {model.__name__}(...)" if type(model) is type else ""
        raise TypeError(f"{whose} takes a Module, not {model!r:.60}{hint}")


# --- One forward pass -----------------------------------------------------------------------------


class _Pass(Watcher):
    """The forward pass on one batch."""

    def __init__(
        self,
        model: nn.Module,
        x: Array,
        whose: str,
        layers: Callable[[nn.Module], bool],
        training: bool,
    ) -> None:
        self.trace, self.whose = Trace(), whose
        self.made: dict[Value, list[tuple[Any, tuple[Any, ...], str]]] = {}
        self.originals = dict(model.modules())
        self.under_way = [Part(model, "")]
        self.flowing: set[Any] = set()  # values that a gradient flows to
        self.stopped = ""  # the line in which one of them was used without it
        try:
            twin = copy.deepcopy(model)
        except Exception as error:
            raise ExportError(
                f"{whose}: {type(model).__name__} cannot be copied, and it is a copy that is "
                f"followed ({error}): take what cannot be copied out of its attributes"
            ) from error
        twin.train(training)
        for name, parameter in twin.named_parameters():
            parameter.array = self._stand_in(parameter.array, name)
            parameter.node = Leaf(parameter.array)
        for path, module in list(twin.modules()):
            self._put_stand_ins(module, path)
            whole = layers(module)
            module.training = training and not whole
            module.__dict__["forward"] = self._called(module, path, whole)
        self.argument = Value("argument", x)
        given: Any = Traced(self.trace, self.argument, x)
        with watched_by(self), drawing_through(self._no_draws):
            try:
                y = twin(tensor_of(given) if x.dtype.kind == "f" else given)
            except CompileError as error:
                raise self._refusal(error) from error
            except Exception as error:
                error.add_note(
                    f"in {whose}, for a batch of shape {x.shape} and {x.dtype} that is made of the "
                    f"samples of the example: what is written takes batches of every size"
                )
                raise
        if self.trace.latest:
            name = next(iter(self.trace.latest)).name
            raise ExportError(
                f"{whose}: {type(model).__name__} writes into its attribute {name} when it is "
                f"called, which a file cannot do: write only in training, `if self.training:`"
            )
        array = y.array if isinstance(y, Tensor) else y
        if not isinstance(array, Traced):
            raise ExportError(
                f"{whose}: {type(model).__name__} returns {_described(y)}, expected one Tensor "
                f"that is computed from its input: wrap the model in a Module that returns one"
            )
        self.result = array.value
        if self.result in self.flowing and getattr(y, "node", None) is None:
            self.stopped = f"what {type(model).__name__} returns"
        self.whole = self.under_way[0].parts[0]

    def computed(self, operation: Operation, inputs: list[Any], y: Any, node: Any) -> None:
        """What the engine computed is a call of that function, whatever it is made of."""
        args = recorded(self.trace, tuple(inputs))
        if not isinstance(y, Traced):
            return
        if y.value not in _values(args):
            found = operation.function, args, users_line()
            self.made.setdefault(y.value, []).append(found)
        through = [name for name, _ in node.parents] if node is not None else []
        for name, value in zip(operation.names, args, strict=True):
            lost = name in operation.rules and name not in through
            if lost and value in self.flowing and operation.function is not concatenated:
                self.stopped = users_line()
        if node is not None:
            self.flowing.add(y.value)

    def _put_stand_ins(self, module: nn.Module, path: str) -> None:
        """Put arrays that are followed in the place of all arrays that a module holds."""
        for held, key, x, name in _held(module.__dict__, path):
            if isinstance(x, Tensor):
                if not isinstance(x.array, Traced):
                    x.array = self._stand_in(x.array, name)
                    x.node = Leaf(x.array) if x.node is not None else None
            else:
                held[key] = self._stand_in(x, name)

    def _stand_in(self, array: Array, name: str) -> Any:
        return Traced(self.trace, self.trace.array(array, name), array)

    def _called(self, module: nn.Module, path: str, whole: bool) -> Callable[..., Any]:
        """The forward of a module, which notes what it gets and returns."""
        forward = module.forward

        def noted(*args: Any, **kwargs: Any) -> Any:
            part = Part(self.originals[path], path)
            self.under_way[-1].parts.append(part)
            self.under_way.append(part)
            self.trace.place = f"{path}: {type(module).__name__}" if path else "the model"
            try:
                y = forward(*args, **kwargs)
            finally:
                self.under_way.pop()
            given = inspect.signature(forward).bind(*args, **kwargs).arguments
            inputs = recorded(self.trace, mapped(_array, tuple(given.values())))
            part.names = tuple(given)
            if whole and isinstance(_array(y), Traced):
                y = self._as_one(Layer(part.module, path), inputs, y)
            part.args, part.result = inputs, recorded(self.trace, mapped(_array, y))
            return y

        return noted

    def _as_one(self, layer: Layer, inputs: Any, y: Any) -> Any:
        """What a layer returned, as the result of one call."""
        array = _array(y).array
        value = self.trace.add("call", "layer", array, inputs, unique=True)
        self.made[value] = [(layer, inputs, value.line)]
        traced: Any = Traced(self.trace, value, array)
        self.flowing.add(value)
        return tensor_of(traced, Leaf(traced)) if isinstance(y, Tensor) else traced

    def _no_draws(self, rng: np.random.Generator) -> Any:
        raise ExportError(
            f"{self.whose}: the model draws random numbers (in {users_line()}), and each call "
            f"would draw the same ones: use nn.Dropout, which knows training from prediction"
        )

    def _refusal(self, error: CompileError) -> ExportError:
        """What the compiler refuses, in the words of an export."""
        how = error.how or str(error)
        return ExportError(
            f"{self.whose}: the model cannot be followed, since it {how} (in {error.line}). That "
            f"would be the value of the example for every later batch. {error.remedy}"
        )


def _array(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else x


def _described(y: Any) -> str:
    if isinstance(y, tuple | list | dict):
        return f"a {type(y).__name__} of {len(y)}"
    return "an array that does not come from it" if hasattr(y, "shape") else f"{y!r:.40}"


def _values(x: Any) -> list[Value]:
    found: list[Value] = []
    mapped(lambda part: found.append(part) if isinstance(part, Value) else part, x)
    return found


def _held(members: Any, path: str) -> Iterator[tuple[Any, Any, Any, str]]:
    """Arrays and Tensors among attributes, also in lists and dicts: by what holds them, under which
    key, and the path to them."""
    for key, x in list(members.items() if isinstance(members, dict) else enumerate(members)):
        label = f"{path}.{key}".strip(".")
        if isinstance(x, np.ndarray | Tensor):
            yield members, key, x, label
        elif isinstance(x, dict | list):
            yield from _held(x, label)


# --- Three passes as one --------------------------------------------------------------------------


class _Merged:
    """The graph that several passes have in common."""

    def __init__(
        self, passes: Sequence[_Pass], sizes: Sequence[int], whose: str, known: Collection[Any]
    ) -> None:
        self.passes, self.sizes, self.whose, self.known = passes, sizes, whose, known
        self.nodes: dict[Value, Node] = {}

    def node(self, values: Sequence[Value]) -> Node:
        """The node of a value that the passes have in the same place."""
        waiting = [(tuple(values), False)]
        while waiting:
            group, ready = waiting.pop()
            if group[0] in self.nodes:
                continue
            if ready:
                self.nodes[group[0]] = self._made(group)
                continue
            waiting.append((group, True))
            _, args, options, _ = zip(*map(self._how, self.passes, group), strict=True)
            needed = [_values((a, tuple(o.values()))) for a, o in zip(args, options, strict=True)]
            if len({len(n) for n in needed}) > 1:
                raise self._differs(group[0], "it makes other calls")
            waiting += [(g, False) for g in zip(*needed, strict=True)]
        return self.nodes[values[0]]

    def part(self, parts: Sequence[Part]) -> Part:
        """The call of a module, with nodes in place of values."""
        first = parts[0]
        if len({tuple(inner.path for inner in p.parts) for p in parts}) > 1:
            raise ExportError(
                f"{self.whose}: {first.path or type(first.module).__name__} calls other modules "
                f"for a batch of another size"
            )
        inner = [self.part(group) for group in zip(*(p.parts for p in parts), strict=True)]
        args = self._merge([p.args for p in parts], None)
        result = self._merge([p.result for p in parts], None)
        return Part(first.module, first.path, args, first.names, result, inner)

    def _how(self, one: _Pass, value: Value) -> tuple[Any, Any, dict[str, Any], str]:
        """How a value is made: by which function of what, and in which line."""
        ways: list[tuple[Any, Any, dict[str, Any], str]] = [
            (f, args, {}, line) for f, args, line in one.made.get(value, ())
        ]
        function = f"{value.what} in place" if value.target else _function(value.what)
        ways.append((function, value.args, dict(value.options), value.line))
        for way in ways:
            if isinstance(way[0], Layer) or way[0] in self.known:
                return way
        return ways[0]

    def _made(self, group: Sequence[Value]) -> Node:
        first = group[0]
        shapes: list[tuple[int, ...]] = [()]
        dtype = np.dtype(object)
        if not isinstance(first.sample, tuple | list):  # no table has a row for several results
            shapes = [v.shape for v in group]
            dtype = np.result_type(first.sample)
        shape: tuple[int | Dim, ...] = self._merge(shapes, first)
        if first.kind == "argument":
            return Node("argument", shape, dtype, first.name)
        if first.kind == "outside":
            return self._constant(group, shape, dtype)
        functions, args, options, lines = zip(*map(self._how, self.passes, group), strict=True)
        function = self._merge(functions, first) if not isinstance(functions[0], Layer) else (
            functions[0]
        )  # fmt: skip
        return Node(
            "call", shape, dtype, first.name, None, function,
            self._merge(args, first), self._merge(options, first), first.place, lines[0],
        )  # fmt: skip

    def _constant(self, group: Sequence[Value], shape: Any, dtype: Any) -> Node:
        first = group[0]
        arrays = [v.sample for v in group]
        if all(a.shape == arrays[0].shape and a.tobytes() == arrays[0].tobytes() for a in arrays):
            return Node("constant", shape, dtype, first.name, arrays[0])
        one = arrays[0].ravel()[:1]
        if all(a.size and (a == one).all() for a in arrays):  # zeros or ones for each sample
            args = (shape, one[0].item())
            return Node("call", shape, dtype, first.name, function=np.full, args=args)
        raise self._differs(first, f"it makes an array of shape {arrays[0].shape} by itself")

    def _merge(self, values: Sequence[Any], of: Value | None) -> Any:
        """Nested arguments of several passes as one."""
        first = values[0]
        if isinstance(first, Value):
            return self.node(values)
        if isinstance(first, tuple | list):
            if len({len(v) for v in values}) > 1:
                raise self._differs(of, "it computes with lists of another length")
            return type(first)([self._merge(g, of) for g in zip(*values, strict=True)])
        if isinstance(first, dict):
            return {k: self._merge([v[k] for v in values], of) for k in first}
        if isinstance(first, slice):
            ends = [(v.start, v.stop, v.step) for v in values]
            return slice(*self._merge(ends, of))
        try:
            return common(values, self.sizes)
        except ValueError as error:
            raise self._differs(of, f"it computes with {error}") from None

    def _differs(self, of: Value | None, how: str) -> ExportError:
        line = ""
        if of is not None:
            made = self.passes[0].made.get(of)
            line = (made[0][2] if made else of.line) or of.place
        where = f" (in {line})" if line else ""
        return ExportError(
            f"{self.whose}: the model does other things for batches of another size: {how}{where}. "
            f"Lengths that follow the batch evenly are understood, as in x.reshape(len(x), -1); "
            f"for means over the batch take np.mean(x, axis=0)"
        )


def _function(what: str) -> Any:
    """The function that a program calls by this name; the name itself of what is none."""
    if what == "getitem":
        return operator.getitem
    if not what.startswith("np."):
        return what
    found: Any = np
    for part in what.split(".")[1:]:
        found = getattr(found, part, None)
    return what if found is None or ".reduce" in what else found
