"""Debug mode: where the first NaN came from, who wrote into what backward needs, what got nothing.

Inside ``with minidl.debug():`` every operation reports to a :class:`Watcher`, forward and backward.
Outside, all that remains of this file is one look per operation at whether there is a watcher.
"""

from __future__ import annotations

import linecache
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minidl.autograd import Node, Operation, watched_by
from minidl.functional import SOFTMAX_TWICE, _nll, are_probabilities
from minidl.nn.module import Module
from minidl.tensor import Array, Tensor

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


@contextmanager
def debug() -> Iterator[None]:
    """A block in which mistakes that are silent otherwise are named.

    - The first operation that makes NaN or infinity out of finite numbers, forward or backward,
      raises ``FloatingPointError`` with the operation, the element, the line of your code that
      called it, and the module it happened in.
    - Arrays that a backward pass will need are locked. Writing into one raises ``ValueError`` at
      the write, with the operation that keeps it. Afterwards, or at the end of the block, they are
      as they were.
    - At the end of the block a ``RuntimeWarning`` lists the parameters of the models used that
      never received a gradient in a backward pass; those whose gradients were always exactly zero;
      those whose gradients were added to old ones, from before they were moved (a forgotten
      ``zero_grad``); and those of float64 beside others of float32. Another one tells of a softmax
      before cross entropy.

    Only the current thread is watched. Training takes a few times longer inside.

    Raises:
        FloatingPointError: at the operation, as above.
        ValueError: at the write, as above.

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
    watcher = Watcher()
    # NumPy need not warn of what is about to be explained.
    with watched_by(watcher), np.errstate(all="ignore"):
        try:
            yield
        except ValueError as error:
            explained = watcher.explained(error)
            if explained is None:
                raise
            raise explained from error
        finally:
            watcher.unlock_all()
    watcher.report()


class Watcher:
    """What is known inside one debug block."""

    def __init__(self) -> None:
        self.modules: list[Module] = []  # the calls under way, outermost first
        self.models: dict[int, Module] = {}
        self.places: dict[Node, str] = {}
        self.locked: dict[int, tuple[Array, int, Node]] = {}
        self.had_gradient: set[int] = set()
        self.not_zero: set[int] = set()
        self.data_then: dict[int, Array] = {}  # of a parameter, when its gradient was computed
        self.old: dict[int, Array] = {}  # gradients from before a parameter was moved
        self.added_to_old: set[int] = set()
        self.softmax_twice = False
        self.backward_passes = 0

    # Reports of modules ---------------------------------------------------------------------------

    def entered(self, module: Module) -> None:
        """A module is called."""
        if not self.modules:
            self.models[id(module)] = module
        self.modules.append(module)

    def left(self) -> None:
        """The call of the module entered last is over."""
        self.modules.pop()

    # Reports of the engine ------------------------------------------------------------------------

    def computed(self, operation: Operation, inputs: list[Any], y: Array, node: Any) -> None:
        """An operation was called."""
        place = self.place()
        bad = _not_finite(y)
        if bad is not None and all(_not_finite(x) is None for x in inputs):
            raise FloatingPointError(
                f"{operation.name} makes {y[bad]} out of finite numbers, at {bad} of a result of "
                f"shape {y.shape}, called {place}"
            )
        if operation.function is _nll and are_probabilities(inputs[0]):
            self.softmax_twice = True
        if node is None:
            return
        self.places[node] = place
        for value in node.values or ():
            if isinstance(value, np.ndarray) and (
                value.flags.writeable or id(value) in self.locked
            ):
                _, count, first = self.locked.get(id(value), (value, 0, node))
                self.locked[id(value)] = (value, count + 1, first)
                value.flags.writeable = False

    def differentiated(self, node: Node, name: str, g: Any, d: Any) -> None:
        """A rule was run: ``d`` is the gradient of the input ``name``."""
        d = d.data if isinstance(d, Tensor) else np.asarray(d)
        g = g.data if isinstance(g, Tensor) else np.asarray(g)
        bad = _not_finite(d)
        if bad is not None and _not_finite(g) is None:
            operation = node.plan.operation.name
            raise FloatingPointError(
                f"the backward pass of {operation} makes {d[bad]} out of a finite gradient, for "
                f"its input {name!r} at {bad}; {operation} was called "
                f"{self.places.get(node, 'before the debug block')}"
            )

    def freed(self, node: Node) -> None:
        """A node is about to let go of its values."""
        self.places.pop(node, None)
        for value in node.values or ():
            if isinstance(value, np.ndarray) and id(value) in self.locked:
                array, count, first = self.locked.pop(id(value))
                if count > 1:
                    self.locked[id(value)] = (array, count - 1, first)
                else:
                    array.flags.writeable = True

    def backward_begins(self) -> None:
        """Gradients are about to be added to those that are there."""
        for p, g in self.gradients():
            then = self.data_then.get(id(p), p.data)
            if np.any(g) and not np.array_equal(then, p.data, equal_nan=True):
                self.old[id(p)] = g.copy()

    def backward_done(self) -> None:
        """A backward pass has reached all leaves."""
        self.backward_passes += 1
        for p, g in self.gradients():
            self.data_then[id(p)] = p.data.copy()
            self.had_gradient.add(id(p))
            if np.any(g):
                self.not_zero.add(id(p))
            if id(p) in self.old and not np.array_equal(self.old[id(p)], g, equal_nan=True):
                self.added_to_old.add(id(p))
        self.old = {}

    def gradients(self) -> Iterator[tuple[Tensor, Array]]:
        """The parameters that have a gradient, with it."""
        for model in self.models.values():
            for p in model.parameters():
                g = p._node.grad if p._node is not None else None
                if g is not None:
                    yield p, g

    # What is said ---------------------------------------------------------------------------------

    def place(self) -> str:
        """The line of the user's code that is being executed, and the module it is in."""
        frame: Any = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.startswith(_HERE):
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

    def explained(self, error: ValueError) -> ValueError | None:
        """The error of a write into a locked array, with the operation that keeps it."""
        if "read-only" not in str(error):
            return None
        kept: list[tuple[Array, int, Node]] = []
        trace = error.__traceback__
        while trace is not None:
            arrays = _arrays_in(trace.tb_frame.f_locals)
            kept = [self.locked[id(a)] for a in arrays if id(a) in self.locked] or kept
            trace = trace.tb_next
        if not kept and not self.locked:
            return None
        nodes = [node for _, _, node in kept or self.locked.values()]
        names = " or ".join(
            dict.fromkeys(
                f"{node.plan.operation.name} (called {self.places.get(node, 'earlier')})"
                for node in nodes[:3]
            )
        )
        return ValueError(
            f"this array is needed by the backward pass of {names}: write into a copy, or after "
            f"backward()"
        )

    def unlock_all(self) -> None:
        """Give all arrays back as they were."""
        for array, _, _ in self.locked.values():
            array.flags.writeable = True
        self.locked = {}

    def report(self) -> None:
        """Warn of what was seen in the block."""
        found = [SOFTMAX_TWICE] if self.softmax_twice else []
        if self.backward_passes:
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


def _not_finite(x: Any) -> tuple[int, ...] | None:
    """The first element that is NaN or infinite."""
    if not isinstance(x, np.ndarray | float) or np.asarray(x).dtype.kind != "f":
        return None
    finite = np.isfinite(x)
    if np.all(finite):
        return None
    return tuple(int(i) for i in np.argwhere(~np.asarray(finite))[0])


def _arrays_in(names: dict[str, Any]) -> list[Array]:
    """The arrays among local variables, and the data of Tensors and of modules' parameters."""
    found = []
    for value in names.values():
        if isinstance(value, Tensor):
            value = value._data
        if isinstance(value, np.ndarray):
            found.append(value)
    return found
