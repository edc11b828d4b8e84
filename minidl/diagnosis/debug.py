"""Debug mode: where the first NaN came from, what backward needs and was overwritten, what got
nothing.

Inside ``with minidl.debug():`` every operation reports to a :class:`Debugger`, forward and back.
Outside, all that remains of this file is one look per operation at whether there is a watcher.
"""

from __future__ import annotations

import linecache
import os
import sys
import warnings
import weakref
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.autograd import Leaf, Node, Operation
from minidl.diagnosis.softmax import SOFTMAX_TWICE, are_probabilities
from minidl.functional.likelihood import nll
from minidl.modes import Watcher, current_watcher, watched_by
from minidl.nn.module import Module
from minidl.tensor import Tensor

# Where a line of the user's is not: in minidl, and in NumPy.
_ELSEWHERE = tuple(
    os.path.dirname(os.path.abspath(place)) + os.sep
    for place in (os.path.dirname(__file__), np.__file__)
)


@contextmanager
def debug() -> Iterator[None]:
    """A block in which mistakes that are silent otherwise are named.

    - The first operation that makes NaN or infinity out of finite numbers, forward or backward,
      raises ``FloatingPointError`` with the operation, the element, the line of your code that
      called it, and the module it happened in.
    - A backward pass that needs an array which was written into since the forward pass raises
      ``ValueError`` with the operation that keeps it, and the operations between which the write
      happened. It notices any write, also through views, into targets, and into index arrays. Data
      that no backward pass needs may be written into, and nothing is ever locked.
    - At the end of the block a ``RuntimeWarning`` lists the parameters of the models used that
      never received a gradient in a backward pass; those whose gradients were always exactly zero;
      those whose gradients were added to old ones, from before they were moved (a forgotten
      ``zero_grad``); and those of float64 beside others of float32. Another one tells of a softmax
      before cross entropy.

    Only the current thread is watched. Training takes a few times longer inside.

    Raises:
        FloatingPointError: at the operation, as above.
        ValueError: in the backward pass, as above.

    Warns:
        RuntimeWarning: at the end of the block, as above.

    Example:
        >>> x = Tensor([1.0, 0.0], requires_grad=True)
        >>> with debug():  # doctest: +ELLIPSIS
        ...     np.sqrt(x).sum().backward()
        Traceback (most recent call last):
            ...
        FloatingPointError: the backward pass of np.sqrt makes inf out of a finite gradient, ...
    """
    watcher = Debugger(current_watcher())
    # NumPy need not warn of what is about to be explained.
    with watched_by(watcher), np.errstate(all="ignore"):
        yield
    watcher.report()


@dataclass(slots=True)
class Kept:
    """What is known of a node, and of the values that it keeps for the backward pass."""

    place: str  # where the operation was called
    sums: dict[str, int]  # a checksum of each value, by its name
    size: int  # of all values together, in bytes
    intact: str  # the last place at which the values were seen to be as they were
    changed: str = ""  # the first at which they were not


_LOOK = 1 << 20  # so many bytes of kept values are looked at again with each operation
_AT_LEAST = 1 << 12  # a node counts as so many bytes: its checksums take time in any case


class Debugger(Watcher):
    """What is known inside one debug block; one within another knows the graph of the ``outer``."""

    def __init__(self, outer: Debugger | None = None) -> None:
        self.modules: list[Module] = []  # the calls under way, outermost first
        self.models: dict[int, Module] = {}
        self.kept: weakref.WeakKeyDictionary[Node, Kept] = (
            outer.kept if outer else weakref.WeakKeyDictionary()
        )
        self.rounds: deque[weakref.ref[Node]] = outer.rounds if outer else deque()
        self.had_gradient: set[int] = set()
        self.not_zero: set[int] = set()
        self.data_then: dict[int, Array] = {}  # of a parameter, when its gradient was computed
        self.added_to_old: set[int] = set()
        self.softmax_twice = False
        self.has_gone_back = False

    # Reports of modules ---------------------------------------------------------------------------

    def entered(self, module: Module) -> None:
        """A module is called."""
        if not self.modules:
            self.models[id(module)] = module
        self.modules.append(module)

    def left(self, module: Module, y: Any) -> None:
        """The call of the module entered last is over; it returned ``y``, or None if it failed."""
        self.modules.pop()

    # Reports of the engine ------------------------------------------------------------------------

    def computed(self, operation: Operation, inputs: list[Any], y: Array, node: Any) -> None:
        """An operation was called."""
        place = self.place()
        self.look_around(place)
        bad = _not_finite(y)
        if bad is not None and all(_not_finite(x) is None for x in inputs):
            raise FloatingPointError(
                f"{operation.name} makes {y[bad]} out of finite numbers, at {bad} of a result of "
                f"shape {y.shape}, called {place}"
            )
        if operation.function is nll and are_probabilities(inputs[0]):
            self.softmax_twice = True
        if node is None:
            return
        sums = {name: _checksum(value) for name, value in node.kept.items()}
        size = sum(a.nbytes for value in node.kept.values() for a in _arrays_in(value))
        self.kept[node] = Kept(place, sums, max(size, _AT_LEAST), place)
        self.rounds.append(weakref.ref(node))

    def look_around(self, place: str) -> None:
        """Look whether the values that wait for a backward pass are as they were: a part of them
        with each operation, in turn, so that a write is narrowed down at little cost."""
        size = 0
        for _ in range(len(self.rounds)):
            if size >= _LOOK:
                break
            ref = self.rounds.popleft()
            node = ref()
            if node is None or node.parents is None:  # it is done with
                continue
            kept = self.kept[node]
            size += kept.size
            if self.written(node, kept.sums) is None:
                kept.intact = place
                self.rounds.append(ref)
            else:
                kept.changed = place

    def written(self, node: Node, names: Iterable[str]) -> str | None:
        """The first of the names whose value is not what it was."""
        sums = self.kept[node].sums
        return next((n for n in names if n in sums and _checksum(node.kept[n]) != sums[n]), None)

    def going_back(self, node: Node, name: str) -> None:
        """The rule for the input ``name`` is about to run: what it needs must be what it was."""
        kept = self.kept.get(node)
        if kept is None:  # called before the debug block
            return
        operation = node.operation
        what = self.written(node, [key for key, _ in operation.keeps[name]])
        if what is not None:
            until = f"the one {kept.changed}" if kept.changed else "this backward pass"
            raise ValueError(
                f"an array that is needed by the backward pass of {operation.name} "
                f"({'its result' if what == 'y' else f'its argument {what!r}'}; called "
                f"{kept.place}) was written into, between the operation {kept.intact} and "
                f"{until}: write into a copy, or after backward()"
            )

    def went_back(self, node: Node, name: str, g: Any, d: Any) -> None:
        """The rule made ``d`` of ``g``, and must not make NaN or infinity of a finite gradient."""
        bad = _not_finite(d)
        if bad is not None and _not_finite(g) is None:
            operation, known = node.operation.name, self.kept.get(node)
            element = (d.data if isinstance(d, Tensor) else np.asarray(d))[bad]
            raise FloatingPointError(
                f"the backward pass of {operation} makes {element} out of a finite gradient, for "
                f"its input {name!r} at {bad}; {operation} was called "
                f"{known.place if known else 'before the debug block'}"
            )

    def arriving(self, gradients: dict[Any, Array]) -> None:
        """A backward pass is about to add gradients to those of the leaves."""
        self.has_gone_back = True
        parameters = [p for model in self.models.values() for p in model.parameters()]
        for p in parameters:
            d, before = gradients.get(p.node), p.node.grad if isinstance(p.node, Leaf) else None
            parts = [g for g in (before, d) if g is not None]
            moved = not np.array_equal(self.data_then.get(id(p), p.data), p.data, equal_nan=True)
            if moved and len(parts) == 2 and all(map(np.any, parts)):
                self.added_to_old.add(id(p))
            if parts:
                self.data_then[id(p)] = p.data.copy()
                self.had_gradient.add(id(p))
                if np.any(sum(parts)):
                    self.not_zero.add(id(p))

    # What is said ---------------------------------------------------------------------------------

    def place(self) -> str:
        """The line of the user's code that is being executed, and the module it is in."""
        frame: Any = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.startswith(_ELSEWHERE):
            frame = frame.f_back
        text = "by minidl itself"
        if frame is not None:
            file, line = frame.f_code.co_filename, frame.f_lineno
            code = linecache.getline(file, line).strip()
            text = f"in {file}, line {line}" + (f": {code}" if code else "")
        if self.modules:
            last = self.modules[-1]
            paths = {id(module): path for path, module in self.modules[0].modules()}
            path = paths.get(id(last), "")
            text += (
                f" (in {path} ({type(last).__name__}))" if path else f" (in {type(last).__name__})"
            )
        return text

    def report(self) -> None:
        """Warn of what was seen in the block."""
        found = [SOFTMAX_TWICE] if self.softmax_twice else []
        if self.has_gone_back:
            found += self.faults_of_parameters()
        for text in found:
            warnings.warn(text, RuntimeWarning, stacklevel=4)

    def faults_of_parameters(self) -> list[str]:
        named = [(n, p) for m in self.models.values() for n, p in m.named_parameters()]
        trained = [(name, p) for name, p in named if p.requires_grad]
        none = [name for name, p in trained if id(p) not in self.had_gradient]
        zero = [name for name, p in trained if id(p) in self.had_gradient - self.not_zero]
        old = [name for name, p in trained if id(p) in self.added_to_old]
        wide = [name for name, p in named if p.dtype.itemsize == 8]
        found = []
        if none:
            found.append(
                f"no gradient arrived at {', '.join(none)}: forward() does not use them, or what "
                f"it makes of them does not reach the loss (detach, .data, no_grad)"
            )
        if zero:
            found.append(
                f"the gradient is exactly zero everywhere for {', '.join(zero)}: dead ReLUs, "
                f"weights that are all zero, or a factor that is zero"
            )
        if old:
            found.append(
                f"gradients were added to old ones, from before the parameters were moved, for "
                f"{', '.join(old)}: call optimizer.zero_grad() before each backward() (to add up "
                f"those of several batches, after each step())"
            )
        if wide and len(wide) < len(named):
            found.append(
                f"float64 among parameters of float32: {', '.join(wide)}. All that is computed "
                f"from them is float64, in twice the time: nn.Parameter(values, dtype=np.float32)"
            )
        return found


def _not_finite(value: Any) -> tuple[int, ...] | None:
    """The first element that is NaN or infinite."""
    for x in _arrays_in(value):
        if x.dtype.kind == "f" and not np.all(finite := np.isfinite(x)):
            return tuple(int(i) for i in np.argwhere(~np.asarray(finite))[0])
    return None


def _checksum(value: Any) -> int:
    """A number that differs, but for one chance in 2**32, once an array in the value is changed."""
    total = 0
    for x in _arrays_in(value):
        total = zlib.crc32(x.tobytes(), total)
    return total


def _arrays_in(value: Any) -> Iterator[Array]:
    """The arrays and numbers of a value, also inside Tensors, tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value.array
    elif isinstance(value, np.ndarray | np.generic | float | int):
        yield np.asarray(value)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _arrays_in(part)
    elif isinstance(value, dict):
        yield from _arrays_in(list(value.values()))
