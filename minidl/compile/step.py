"""The compiled step: which program is for which batch, and when it is to be trusted.

A program is written for batches of one shape and dtype and for one state of the settings. What may
have changed since the step before is compared before each: data rebound, modes, attributes,
hyper-parameters. The first two steps of a program are made both ways, from the same state, and must
agree in every bit.
"""

from __future__ import annotations

import builtins
import contextvars
import copy
import itertools
import linecache
import os
import types
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minidl.autograd import current_watcher
from minidl.compile.program import CompileError
from minidl.compile.source import Source, source_of
from minidl.compile.trace import modules_of, traced_step
from minidl.nn import Module
from minidl.optim import Optimizer, clip_grad_norm
from minidl.rng import generator
from minidl.tensor import Array, Tensor, plain

PROGRAMS = 16  # are kept at most
PATIENCE = 20  # steps of another kind are eager before a further program is written
TRIALS = 2  # steps are made both ways before a program is trusted

_numbers = itertools.count(1)


def compile(
    model: Module, loss: Callable[..., Any], optimizer: Optimizer, *, max_norm: float | None = None
) -> CompiledStep:
    """Return a training step that runs as a NumPy program written for the model.

    ``step(x, y)`` does what ``optimizer.zero_grad(); l = loss(model(x), y); l.backward();
    optimizer.step()`` does, bit for bit, and returns the loss as a number. The program is written
    when a batch of a new shape comes, by making the step once on arrays that write down what is
    done to them. It is trusted after two steps that were made both ways and agreed in every bit.

    Args:
        model: any Module.
        loss: a function of predictions and targets that returns a Tensor of one number.
        optimizer: over the parameters of the model. The gradients of others are not computed.
        max_norm: clip the gradients as :func:`minidl.optim.clip_grad_norm` does.

    Returns:
        The step, a :class:`CompiledStep`.

    Raises:
        CompileError: at the first steps, if the step cannot be written down; the message has the
            line. Nothing was changed then.

    Example:
        >>> import minidl
        >>> from minidl import nn, optim
        >>> minidl.seed(0)
        >>> model = nn.Linear(2, 1)
        >>> step = minidl.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
        >>> x, y = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
        >>> losses = [step(x, y) for _ in range(20)]
        >>> losses[-1] < 1e-3
        True
        >>> print(next(line.strip() for line in step.source.splitlines() if "dot" in line))
        x.dot(weight_T, out=y_out)  # (4, 1)
    """
    return CompiledStep(model, loss, optimizer, max_norm)


class CompiledStep:
    """A training step: called with a batch, it trains and returns the loss."""

    def __init__(
        self, model: Module, loss: Any, optimizer: Optimizer, max_norm: float | None = None
    ) -> None:
        self.model, self.loss, self.optimizer, self.max_norm = model, loss, optimizer, max_norm
        self.programs: OrderedDict[Any, Program] = OrderedDict()
        self.seen: Counter[Any] = Counter()
        self.last: Program | None = None

    def __call__(self, x: Any, y: Any) -> float:
        """Train on a batch and return the loss before."""
        made = self.attempt(x, y)
        return self.eager(x, y)[0] if made is None else made[0]

    def attempt(self, x: Any, y: Any) -> tuple[float, Any] | None:
        """Loss and predictions of a step; None, and nothing changed, if it must be made eagerly."""
        if current_watcher() is not None:
            return None
        program = self.last
        if program is None or not program.is_for(x, y):
            x, y = (np.asarray(plain(a)) for a in (x, y))
            program = self._found(x, y)
            if program is None:
                return None
            self.last = program
        return program.run(x, y) if program.trials >= TRIALS else self._both_ways(program, x, y)

    def eager(self, x: Any, y: Any) -> tuple[float, Any]:
        """The step as it is written without compile."""
        self.optimizer.zero_grad()
        predictions = self.model(x)
        loss = self.loss(predictions, y)
        loss.backward()
        if self.max_norm is not None:
            clip_grad_norm([p for g in self.optimizer.groups for p in g["params"]], self.max_norm)
        self.optimizer.step()
        return loss.item(), plain(predictions)

    @property
    def source(self) -> str:
        """The program of the last step, as text."""
        return self._program().source.text

    @property
    def arrays(self) -> dict[str, Any]:
        """What that program works on, by its names: the model's and optimizer's own arrays."""
        return dict(self._program().source.arrays)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Save that program as a module."""
        Path(path).write_text(self.source, encoding="utf-8")

    def _program(self) -> Program:
        if self.last is None:
            raise RuntimeError(
                "there is no program yet, since it is written for the shapes of a batch: call "
                "step(x, y) first"
            )
        return self.last

    def _found(self, x: Array, y: Array) -> Program | None:
        """The program for a batch. The first is written at once, a further one when batches of its
        kind have come so often that it pays: the last one of an epoch is small and comes once."""
        for program in reversed(self.programs.values()):
            if program.is_for(x, y):
                return program
        self.optimizer.bring_home()
        settings = Settings(self.model, self.loss, self.optimizer)
        key = x.shape, x.dtype, y.shape, y.dtype, settings.key()
        if len(self.seen) > 1000:  # settings that change in every step
            self.seen.clear()
        self.seen[key] += 1
        if self.programs and self.seen[key] <= PATIENCE and key not in self.programs:
            return None
        if key not in self.programs:
            source = self._written(x, y, settings)
            self.programs[key] = Program(source, self.optimizer, x, y)
            if len(self.programs) > PROGRAMS:
                self.programs.popitem(last=False)
        self.programs.move_to_end(key)
        self.programs[key].settings = settings
        return self.programs[key]

    def _written(self, x: Array, y: Array, settings: Settings) -> Source:
        """Trace a step, and leave everything as it was."""
        state = State(settings.modules, self.optimizer)
        try:
            with np.errstate(all="ignore"):
                trace = traced_step(self.model, self.loss, self.optimizer, x, y, self.max_norm)
            changed = settings.changed()
        except CompileError:
            raise
        except Exception as error:
            state.restore()
            self.eager(x, y)  # if the step itself is wrong, it says so
            raise CompileError(
                f"this step cannot be compiled, since tracing it ends with a "
                f"{type(error).__name__}: {error}"
            ) from error
        finally:
            state.restore()
        if changed:
            raise CompileError(
                f"this step cannot be compiled, since it sets {changed} anew in every step, and a "
                f"program writes into arrays only: make it one, {changed} = np.zeros(()), and "
                f"write {changed}[...] = ..."
            )
        return source_of(
            trace,
            self.optimizer,
            f"A training step of {type(self.model).__name__} with "
            f"{type(self.optimizer).__name__}, for {x.dtype} {x.shape} and {y.dtype} {y.shape}.",
        )

    def _both_ways(self, program: Program, x: Array, y: Array) -> tuple[float, Any] | None:
        """Make a step by the program and eagerly, from the same state, and compare all bits."""
        modules = program.settings.modules
        before = State(modules, self.optimizer)
        try:
            result = self.eager(x, y)
        except Exception:  # the step is wrong, and whoever makes it anew is told so
            before.restore()
            return None
        after = State(modules, self.optimizer)
        before.restore()
        try:
            made = program.run(x, y)
        except Exception as error:
            before.restore()
            raise CompileError(f"the program of this step is wrong: {error}") from error
        if made is None:
            return None
        differs = after.difference(State(modules, self.optimizer, copied=False))
        if np.float64(made[0]).tobytes() != np.float64(result[0]).tobytes():
            differs = f"the loss is {made[0]!r} and not {result[0]!r}"
        if differs:
            before.restore()
            self.programs.clear()
            self.last = None
            raise CompileError(
                f"this step cannot be compiled, since the program differs from the eager step: "
                f"{differs}. Something changes from step to step that NumPy does not see: random "
                f"numbers from elsewhere than minidl's generator, a count or a list that Python "
                f"keeps, an array that is no attribute of the model"
            )
        program.trials += 1
        return made


class Program:
    """A program for one kind of batch, in one state of the settings."""

    settings: Settings

    def __init__(self, source: Source, optimizer: Optimizer, x: Array, y: Array) -> None:
        self.source, self.optimizer, self.trials = source, optimizer, 0
        self.x_shape, self.x_dtype, self.y_shape, self.y_dtype = x.shape, x.dtype, y.shape, y.dtype
        name = f"<compiled step {next(_numbers)}>"
        lines = source.text.splitlines(keepends=True)
        linecache.cache[name] = (len(source.text), None, lines, name)  # a traceback shows the lines
        space: dict[str, Any] = {}
        exec(builtins.compile(source.text, name, "exec"), space)
        self.step = space["program"](source.arrays)
        # What NumPy does about overflow is kept in the context; in this one it does nothing.
        self.quiet = contextvars.copy_context()
        self.quiet.run(np.seterr, all="ignore")
        storages = [(group, group.storage) for group in optimizer.groups]
        self.rates = [(g, s.counts, first) for g, s in storages for first, run in s.runs if run]
        self.moving = [(s.counts, i) for _, s in storages for i in s.moving]
        self.leaves = [
            (p._node, dx if there else None)
            for _, s in storages
            for (p, _, dx), there in zip(s.homes, s.present, strict=True)
            if p._node is not None
        ]
        self.narrow = [s for _, s in storages if s.narrow]

    def is_for(self, x: Any, y: Any) -> bool:
        """Whether a batch is of this kind, and what the program takes for granted still holds."""
        return (
            type(x) is type(y) is np.ndarray
            and x.shape == self.x_shape
            and y.shape == self.y_shape
            and x.dtype is self.x_dtype
            and y.dtype is self.y_dtype
            and self.settings.hold()
        )

    def run(self, x: Array, y: Array) -> tuple[float, Any] | None:
        """Make a step; None if a check ended it before anything was changed."""
        numbers: list[float] = []
        for group, counts, first in self.rates:
            lr = group.rate(self.optimizer.steps)
            numbers += (counts[first] + 1, lr)
            group.since, group.stepped_with = "", lr  # as after an eager step
        for storage in self.narrow:
            storage.widen()
        made = self.quiet.run(self.step, x, y, *numbers)
        if made is None:
            return None
        for counts, i in self.moving:
            counts[i] += 1
        self.optimizer.count_step()
        for leaf, dx in self.leaves:
            leaf.grad = dx
        for storage in self.narrow:
            storage.settle()
        return float(made[0].item()), made[1]


# --- What a program takes for granted -------------------------------------------------------------

_OPAQUE = (np.ndarray, np.generic, np.random.Generator, Tensor, Module, Optimizer, type,
           types.ModuleType, types.FunctionType, types.MethodType)  # fmt: skip


class Settings:
    """Attributes of modules and hyper-parameters, and which arrays are the parameters'."""

    def __init__(self, model: Module, loss: Any, optimizer: Optimizer) -> None:
        self.names: list[str] = []
        self.now: list[Any] = []  # dicts and lists, as they are
        self.then: list[Any] = []  # and as they were: what they held, not copied
        self.modules = list(modules_of(model, loss))
        for module, path in self.modules:
            self._watch(path or type(module).__name__, vars(module))
        for i, group in enumerate(optimizer.groups):
            self._watch(f"groups[{i}]", group.hyper)
        params = [p for g in optimizer.groups for p in g.storage.params] + [*model.parameters()]
        self.params = [(p, p._data, p._node) for p in dict.fromkeys(params)]

    def _watch(self, name: str, members: Any, depth: int = 0) -> None:
        if depth > 4 or any(members is known for known in self.now):
            return
        self.names.append(name)
        self.now.append(members)
        self.then.append(copy.copy(members))
        for key, value in members.items() if isinstance(members, dict) else enumerate(members):
            if isinstance(value, dict | list | tuple | deque):
                self._watch(f"{name}.{key}", value, depth + 1)
            elif not isinstance(value, _OPAQUE) and hasattr(value, "__dict__"):
                self._watch(f"{name}.{key}", vars(value), depth + 1)

    def hold(self) -> bool:
        """Whether everything is as it was: one comparison of lists, which runs in C."""
        for p, data, node in self.params:
            if p._data is not data or p._node is not node:
                return False
        try:
            return self.now == self.then
        except ValueError:  # two arrays that are not the same one do not compare
            return False

    def changed(self) -> str:
        """The name of an attribute that is not what it was; of arrays only which one it is."""
        for name, now, then in zip(self.names, self.now, self.then, strict=True):
            for key in now if isinstance(now, dict) else range(len(now)):
                known = key in then if isinstance(now, dict) else key < len(then)
                if not known or _known(now[key]) != _known(then[key]):
                    return f"{name}.{key}"
        return ""

    def key(self) -> Any:
        """What is equal where the same program serves. (The rate is an argument.)"""
        parts = [
            tuple((k, _known(v)) for k, v in part.items() if k != "lr")
            if isinstance(part, dict)
            else tuple(map(_known, part))
            for part in self.then
        ]
        return tuple(self.names), tuple(parts), tuple(tuple(map(id, p)) for p in self.params)


def _known(x: Any) -> Any:
    """What tells whether a value is another: its own, if it is a plain one, or which object."""
    return (type(x), x) if isinstance(x, int | float | str | bool | None) else id(x)


class State:
    """Copies of all that a step changes (or, without copies, how it is now)."""

    def __init__(
        self, modules: list[tuple[Module, str]], optimizer: Optimizer, copied: bool = True
    ) -> None:
        self.optimizer, self.steps = optimizer, optimizer.steps
        self.arrays: dict[str, tuple[Array, Array]] = {}
        self.attributes: list[tuple[dict[str, Any], dict[str, Any]]] = [
            (vars(optimizer), vars(optimizer).copy())
        ]
        rngs = {id(generator()): generator()}
        for module, path in modules:
            self.attributes.append((vars(module), vars(module).copy()))
            for name, x in vars(module).items():
                x = plain(x)
                if isinstance(x, np.ndarray):
                    self.arrays[f"{path}.{name}".strip(".")] = x, x.copy() if copied else x
                elif isinstance(x, np.random.Generator):
                    rngs[id(x)] = x
        self.rngs = [(rng, rng.bit_generator.state) for rng in rngs.values()]
        self.counts = [(g.storage.counts, [*g.storage.counts]) for g in optimizer.groups]
        self.grads = []
        for i, group in enumerate(optimizer.groups):
            storage = group.storage
            self.grads += [(p._node, p._node.grad) for p in storage.params if p._node is not None]
            for width, buffers in (("", storage.buffers), ("rounded ", storage.narrow)):
                for dtype, arrays in buffers.items():
                    names = ("x", "dx", *storage.rule.state)
                    for name, a in zip(names, arrays, strict=False):
                        if name == "dx":  # gradients are computed anew in each step
                            continue
                        self.arrays[f"{name} ({width}{dtype}, group {i})"] = (
                            a,
                            a.copy() if copied else a,
                        )

    def restore(self) -> None:
        for a, content in self.arrays.values():
            a[...] = content
        for attributes, then in self.attributes:
            attributes.clear()
            attributes.update(then)
        for rng, state in self.rngs:
            rng.bit_generator.state = state
        for counts, before in self.counts:
            counts[:] = before
        for leaf, g in self.grads:
            leaf.grad = g
        self.optimizer.count_step(self.steps - self.optimizer.steps)

    def difference(self, other: State) -> str:
        """In what two states are not equal bit for bit."""
        for name, (_, content) in self.arrays.items():
            if content.tobytes() != other.arrays[name][1].tobytes():
                return f"{name} comes out otherwise"
        for (_, then), (_, theirs) in zip(self.attributes, other.attributes, strict=True):
            for key, value in then.items():
                plain_one = isinstance(value, int | float | str) and key != "t"  # as apply left it
                if plain_one and theirs.get(key) != value:
                    return f"the step sets {key} to {value!r}, and the program does not"
        if [state for _, state in self.rngs] != [state for _, state in other.rngs]:
            return "it draws other random numbers"
        if [counts for _, counts in self.counts] != [counts for _, counts in other.counts]:
            return "it moves other parameters"
        return ""
