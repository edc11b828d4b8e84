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
import weakref
from collections import Counter, OrderedDict, deque
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.compile.program import CompileError, Trace
from minidl.compile.source import Source, source_of
from minidl.compile.trace import modules_of, traced_step
from minidl.modes import current_watcher, is_recording
from minidl.nn import Module
from minidl.optim import Optimizer, clip_grad_norm
from minidl.optim.clipping import check_max_norm
from minidl.optim.float16 import settle, widen
from minidl.parts import check_parts
from minidl.protocols import plain
from minidl.rng import generator
from minidl.tensor import Tensor

PROGRAMS = 16  # are kept at most
TRIALS = 2  # steps are made both ways before a program is trusted
# So many steps of another kind are eager before a further program is written: about as many as it
# must run until it has saved the time that writing it takes.
PATIENCE = 100

_numbers = itertools.count(1)


class CompiledStep:
    """A training step: called with a batch, it trains and returns the loss.

    :func:`minidl.compile` makes it, and says what the arguments are.

    Raises:
        TypeError, ValueError: for arguments that are something else.
        CompileError: if the optimizer has a ``step``, ``zero_grad`` or ``apply`` of its own.
    """

    def __init__(
        self, model: Module, loss: Any, optimizer: Optimizer, max_norm: float | None = None
    ) -> None:
        check_parts("compile", model, loss, optimizer)
        if max_norm is not None:
            check_max_norm("compile", max_norm)
        for method in ("step", "zero_grad", "apply"):
            if getattr(type(optimizer), method) is not getattr(Optimizer, method):
                raise CompileError(
                    f"{type(optimizer).__name__} has a {method}() of its own, which a program "
                    f"would not run: write a rule as update(), or train without compile"
                )
        self.model, self.loss, self.optimizer, self.max_norm = model, loss, optimizer, max_norm
        self.programs: OrderedDict[Any, Program] = OrderedDict()
        self.seen: Counter[Any] = Counter()
        self.last: Program | None = None

    def __repr__(self) -> str:
        parts = (type(self.model), type(self.optimizer))
        names = " with ".join(part.__name__ for part in parts)
        return f"<compiled step of {names}, programs: {len(self.programs)}>"

    def __call__(self, x: Any, y: Any) -> float:
        """Train on a batch, and return the loss that it had before the update.

        Args:
            x: what the model takes.
            y: the targets, what the loss takes beside the predictions.

        Raises:
            CompileError: if the step cannot be written down; nothing was changed then.
            Whatever the eager step raises, such as a ValueError for targets that are no classes.
        """
        made = self.attempt(x, y)
        return self.eager(x, y)[0] if made is None else made[0]

    def attempt(self, x: Any, y: Any) -> tuple[float, Any] | None:
        """Loss and predictions of a step; None, and nothing changed, if it must be made eagerly."""
        if current_watcher() is not None or not is_recording():
            return None
        program = self.last
        if program is None or not program.is_for(x, y):
            x, y = plain(x), plain(y)
            if type(x) is not np.ndarray or type(y) is not np.ndarray:
                return None  # a model may treat a list, a dict or a number as it likes
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
        """The program of the last step, as text: a module with one function, ``program(arrays)``.

        That returns ``step(x, y, t, lr)``, which trains and returns loss and predictions, or None
        if a check failed and nothing was changed. ``t`` is the number of the step, from 1 on, and
        ``lr`` its rate; where groups or parameters differ in these, they are ``t_0``, ``lr_0``, ...

        Raises:
            RuntimeError: before the first step.
        """
        return self._program().source.text

    @property
    def arrays(self) -> dict[str, Any]:
        """What that program works on, by its names: the model's and optimizer's own arrays.

        Raises:
            RuntimeError: before the first step.
        """
        program = self._program()
        self.optimizer.bring_home()  # what another optimizer, or ``p.data = other``, took away
        return dict(program.source.arrays)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Save that program as a module, in the file ``path``.

        Raises:
            RuntimeError: before the first step.
            OSError: if the file cannot be written.
        """
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
        known = (p.settings for p in reversed(self.programs.values()) if p.settings.hold())
        settings = next(known, None) or Settings(self.model, self.loss, self.optimizer)
        key = x.strides, x.shape, x.dtype, y.strides, y.shape, y.dtype, settings.key
        if len(self.seen) > 1000:  # settings that change in every step
            self.seen.clear()
        self.seen[key] += 1
        if self.programs and self.seen[key] <= PATIENCE and key not in self.programs:
            return None
        if key not in self.programs:
            source = self._written(x, y, settings)
            if source is None:
                return None
            try:
                self.programs[key] = Program(source, self.optimizer, x, y)
            except Exception as error:
                raise CompileError(
                    f"this step cannot be compiled, since what was written is no program: {error}"
                ) from error
            if len(self.programs) > PROGRAMS:
                self.programs.popitem(last=False)
        self.programs.move_to_end(key)
        self.programs[key].settings = settings
        return self.programs[key]

    def _written(self, x: Array, y: Array, settings: Settings) -> Source | None:
        """Trace a step, and leave everything as it was; None if the step itself fails."""
        state = State(settings, self.optimizer)
        try:
            with np.errstate(all="ignore"):
                trace = self._traced(x, y, state)
            changed = settings.changed()
        except Exception as error:
            state.restore()
            try:
                self.eager(x, y)
            except Exception:
                return None  # whoever makes it eagerly hears why
            if isinstance(error, CompileError):
                raise
            raise CompileError(
                f"this step cannot be compiled, since tracing it ends with a "
                f"{type(error).__name__}: {error}"
            ) from error
        finally:
            state.restore()
        if changed:
            raise CompileError(
                f"this step cannot be compiled, since it sets an attribute anew in every step, "
                f"{changed}, and a program writes into arrays only: make it an array, np.zeros(()) "
                f"for a number, and write into that, as in self.n[...] = ..."
            )
        return source_of(
            trace,
            self.optimizer,
            f"A training step of {type(self.model).__name__} with "
            f"{type(self.optimizer).__name__}, for {x.dtype} {x.shape} and {y.dtype} {y.shape}.",
        )

    def _traced(self, x: Array, y: Array, state: State) -> Trace:
        parts = self.model, self.loss, self.optimizer, x, y, self.max_norm
        try:
            return traced_step(*parts)
        except CompileError as error:
            state.restore()
            try:
                return traced_step(*parts, from_a_value=True)
            except CompileError:
                raise error from None

    def _both_ways(self, program: Program, x: Array, y: Array) -> tuple[float, Any] | None:
        """Make a step by the program and eagerly, from the same state, and compare all bits."""
        settings = program.settings
        before = State(settings, self.optimizer)
        try:
            result = self.eager(x, y)
        except Exception:  # the step is wrong, and whoever makes it anew is told so
            before.restore()
            return None
        after = State(settings, self.optimizer)
        before.restore()
        try:
            made = program.run(x, y)
        except Exception as error:
            self._forget(before)
            raise CompileError(
                f"this step cannot be compiled, since its program ends with a "
                f"{type(error).__name__}: {error}"
            ) from error
        if made is None:
            return None
        differs = after.difference(State(settings, self.optimizer))
        if np.float64(made[0]).tobytes() != np.float64(result[0]).tobytes():
            differs = f"the loss is {made[0]!r} and not {result[0]!r}"
        if differs:
            self._forget(before)
            raise CompileError(
                f"this step cannot be compiled, since the program differs from the eager step: "
                f"{differs}. Something changes from step to step that NumPy does not see: random "
                f"numbers from elsewhere than minidl's generator, a count or a list that Python "
                f"keeps, an array that is no attribute of the model"
            )
        program.trials += 1
        return made

    def _forget(self, before: State) -> None:
        """Undo a step whose program is not to be trusted, and drop all programs."""
        before.restore()
        self.programs.clear()
        self.last = None


class Program:
    """A program for one kind of batch, in one state of the settings."""

    settings: Settings

    def __init__(self, source: Source, optimizer: Optimizer, x: Array, y: Array) -> None:
        self.source, self.optimizer, self.trials = source, optimizer, 0
        self.x_shape, self.x_dtype, self.y_shape, self.y_dtype = x.shape, x.dtype, y.shape, y.dtype
        self.x_strides, self.y_strides = x.strides, y.strides
        name = f"<compiled step {next(_numbers)}>"
        lines = source.text.splitlines(keepends=True)
        linecache.cache[name] = (len(source.text), None, lines, name)  # a traceback shows the lines
        weakref.finalize(self, linecache.cache.pop, name, None)
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
            (p.node, dx if there else None)
            for _, s in storages
            for (p, _, dx), there in zip(s.homes, s.present, strict=True)
            if p.node is not None
        ]
        self.narrow = [s for _, s in storages if s.narrow]
        arrays = source.arrays.values()
        self.rngs = [rng for rng in arrays if isinstance(rng, np.random.Generator)]

    def is_for(self, x: Any, y: Any) -> bool:
        """Whether a batch is of this kind, and what the program takes for granted still holds."""
        return (
            type(x) is type(y) is np.ndarray
            and x.shape == self.x_shape
            and y.shape == self.y_shape
            and x.dtype is self.x_dtype
            and y.dtype is self.y_dtype
            and x.strides == self.x_strides
            and y.strides == self.y_strides
            and self.settings.hold()
        )

    def run(self, x: Array, y: Array) -> tuple[float, Any] | None:
        """Make a step; None if a check ended it before anything was changed."""
        numbers: list[float] = []
        for group, counts, first in self.rates:
            numbers += (counts[first] + 1, self.optimizer.current_rate(group))
        for storage in self.narrow:
            widen(storage)
        states = [(rng, rng.bit_generator.state) for rng in self.rngs]
        try:
            made = self.quiet.run(self.step, x, y, *numbers)
        except IndexError:  # of an index among the values, which the eager step explains
            made = None
        if made is None:
            for rng, state in states:
                rng.bit_generator.state = state
            return None
        for counts, i in self.moving:
            counts[i] += 1
        self.optimizer.count_step()
        for leaf, dx in self.leaves:
            leaf.grad = dx
        for storage in self.narrow:
            settle(storage)
        return float(made[0].item()), made[1]


# --- What a program takes for granted -------------------------------------------------------------

_OPAQUE = (np.ndarray, np.generic, np.random.Generator, Tensor, Module, Optimizer, type,
           types.ModuleType, types.FunctionType, types.MethodType)  # fmt: skip


class Settings:
    """Attributes of modules, loss and rule, hyper-parameters, and which arrays are whose."""

    def __init__(self, model: Module, loss: Any, optimizer: Optimizer) -> None:
        self.names: list[str] = []
        self.now: list[Any] = []  # dicts, lists and sets, as they are
        self.then: list[Any] = []  # and as they were: what they held, not copied
        self.places: list[tuple[Any, Any, Any]] = []  # what is told apart by which it is
        self.tensors: list[tuple[Tensor, Array]] = []
        self.rngs: dict[int, np.random.Generator] = {id(generator()): generator()}
        self.modules = list(modules_of(model, loss))
        for module, path in self.modules:
            self._watch(path or type(module).__name__, vars(module))
        for i, group in enumerate(optimizer.groups):
            self._watch(f"groups[{i}]", group.hyper)
        for part in ("__self__", "keywords", "__dict__"):  # of a method, a partial, an object
            found = getattr(loss, part, None)
            self._watch_value("loss", found, 0)
        self.optimizer = optimizer
        self.own = self._own()
        params = [p for g in optimizer.groups for p in g.storage.params] + [*model.parameters()]
        self.params = [(p, p.array, p.node) for p in dict.fromkeys(params)]

    def _own(self) -> dict[str, Any]:
        """What a rule keeps beside its hyper-parameters."""
        own = vars(self.optimizer).items()
        return {key: value for key, value in own if key not in ("groups", "steps")}

    def _watch(self, name: str, members: Any, depth: int = 0) -> None:
        if depth > 8 or any(members is known for known in self.now):
            return
        self.names.append(name)
        self.now.append(members)
        self.then.append(copy.copy(members))
        items = members.items() if isinstance(members, dict) else enumerate(members)
        for key, value in items:
            # (Hyper-parameters are plain numbers, which the optimizer sees to.)
            plain_place = not isinstance(members, set) and not name.startswith("groups[")
            if isinstance(value, np.ndarray | int | float) and plain_place:
                self.places.append((members, key, value))
            elif isinstance(value, Tensor):
                self.tensors.append((value, value.array))
            elif isinstance(value, np.random.Generator):
                self.rngs[id(value)] = value
            self._watch_value(f"{name}.{key}", value, depth)

    def _watch_value(self, name: str, value: Any, depth: int) -> None:
        if isinstance(value, dict | list | tuple | deque | set):
            self._watch(name, value, depth + 1)
        elif value is not None and not isinstance(value, _OPAQUE) and hasattr(value, "__dict__"):
            self._watch(name, vars(value), depth + 1)

    def hold(self) -> bool:
        """Whether everything is as it was: mostly one comparison of lists, which runs in C."""
        for p, data, node in self.params:
            if p.array is not data or p.node is not node:
                return False
        try:
            for members, key, value in self.places:
                if members[key] is not value:
                    return False
            if self.now != self.then:
                return False
        except (ValueError, LookupError):  # arrays that do not compare, a key that is not there
            return False
        return len(vars(self.optimizer)) == 2 + len(self.own) and (
            not self.own or self._own() == self.own
        )

    def changed(self) -> str:
        """The name of an attribute that is not what it was; of arrays only which one it is."""
        for name, now, then in zip(self.names, self.now, self.then, strict=True):
            if isinstance(now, set):
                if now != then:
                    return name
                continue
            for key in now if isinstance(now, dict) else range(len(now)):
                known = key in then if isinstance(now, dict) else key < len(then)
                if not known or _known(now[key]) != _known(then[key]):
                    return f"{name}.{key}"
        return ""

    def put_back(self) -> None:
        """Let everything hold again what it held."""
        for now, then in zip(self.now, self.then, strict=True):
            if isinstance(now, dict | set):
                now.clear()
                now.update(then)
            elif not isinstance(now, tuple):
                now.clear()
                now.extend(then)
        for tensor, data in self.tensors:
            tensor.array = data
        kept = vars(self.optimizer)
        for key in set(kept) - set(self.own) - {"groups", "steps"}:
            del kept[key]
        kept.update(self.own)

    @cached_property
    def key(self) -> Any:
        """What is equal where the same program serves. (The rate is an argument.)"""
        parts = [
            tuple((k, _known(v)) for k, v in part.items() if k != "lr")
            if isinstance(part, dict)
            else tuple(map(_known, part))
            for part in [*self.then, self.own]
        ]
        return tuple(self.names), tuple(parts), tuple(tuple(map(id, p)) for p in self.params)


def _known(x: Any) -> Any:
    """What tells whether a value is another: its own, if it is a plain one, or which object."""
    return (type(x), x) if isinstance(x, int | float | str | bool | None) else id(x)


class State:
    """Copies of all that a step changes."""

    def __init__(self, settings: Settings, optimizer: Optimizer) -> None:
        self.settings, self.optimizer, self.steps = settings, optimizer, optimizer.steps
        self.own = settings._own()
        found = {
            f"{name}.{key}": plain(x)
            for name, members in zip(settings.names, settings.now, strict=True)
            if not isinstance(members, set)
            for key, x in (members.items() if isinstance(members, dict) else enumerate(members))
            if isinstance(x, np.ndarray | Tensor)
        }
        self.grads = []
        for i, group in enumerate(optimizer.groups):
            storage = group.storage
            self.grads += [(p.node, p.node.grad) for p in storage.params if p.node is not None]
            for dtype, arrays in storage.buffers.items():
                for name, a in zip(("x", "dx", *storage.rule.state), arrays, strict=True):
                    if name != "dx":  # gradients are computed anew in each step
                        found[f"{name} ({dtype}, group {i})"] = a
            for dtype, a in storage.narrow.items():
                found[f"x (rounded {dtype}, group {i})"] = a
        self.arrays = {name: (a, a.copy()) for name, a in found.items()}
        self.rngs = [(rng, rng.bit_generator.state) for rng in settings.rngs.values()]
        self.counts = [(g.storage.counts, [*g.storage.counts]) for g in optimizer.groups]

    def restore(self) -> None:
        self.settings.put_back()
        for a, content in self.arrays.values():
            a[...] = content
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
            theirs = other.arrays.get(name)
            if theirs is None or content.tobytes() != theirs[1].tobytes():
                return f"{name} comes out otherwise"
        for key, value in self.own.items():
            if isinstance(value, int | float | str) and other.own.get(key) != value:
                return f"the step sets {key} to {value!r}, and the program does not"
        if [state for _, state in self.rngs] != [state for _, state in other.rngs]:
            return "it draws other random numbers"
        if [counts for _, counts in self.counts] != [counts for _, counts in other.counts]:
            return "it moves other parameters"
        return ""
