"""What gradcheck differentiates: a scalar function of float64 arrays, and how exact it is.

:class:`Problem` calls the function in all the ways that a check needs: for values, for gradients by
the rules, through one graph several times, with inputs that lie in memory otherwise. Which of its
numbers are right is for check.py to say.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl.arrays import Array, check_means_the_same
from minidl.gradients import grad
from minidl.modes import no_grad, recording
from minidl.nn import Module, Parameter
from minidl.rng import generator
from minidl.table import name_of
from minidl.tensor import Tensor


@dataclass
class Rounding:
    """Standard deviations of what float64 is off: of each output part, where it is largest; of the
    sum of all outputs, at most; and of each gradient."""

    outputs: list[float]
    total: float
    gradients: list[float]


class Problem:
    """``sum(w * f(inputs))`` as a function of the floating-point inputs, in float64."""

    def __init__(
        self, f: Callable[..., Any], inputs: list[Any], names: list[str], rng: np.random.Generator
    ) -> None:
        self.f = f
        self.rng = rng
        self.values_are_known = False  # whether the outputs have been compared, as gradients
        values = [x.data if isinstance(x, Tensor) else x for x in inputs]
        for name, x in zip(names, values, strict=True):
            check_means_the_same(x, f"gradcheck: {name}")
        self.live = [
            i
            for i, x in enumerate(values)
            if isinstance(x, float | np.ndarray | np.floating) and np.asarray(x).dtype.kind == "f"
        ]
        if not self.live:
            raise TypeError(
                "gradcheck: none of the inputs is a floating-point array, so that there is nothing "
                "to differentiate; pass arrays of float32 or float64"
            )
        self.values = values
        self.labels = [names[i] for i in self.live]
        self.given = [np.array(values[i]) for i in self.live]
        self.arrays = [np.array(x, np.float64) for x in self.given]
        for name, x in zip(self.labels, self.arrays, strict=True):
            if not np.all(np.isfinite(x)):
                index = tuple(int(i) for i in np.argwhere(~np.isfinite(x))[0])
                raise ValueError(
                    f"gradcheck: {name} is {x[index]} at {index}, where no difference can be "
                    f"taken: pass finite numbers, and put what is infinite or missing inside the "
                    f"function, as in lambda x: f(np.where(mask, x, -np.inf))"
                )
        self.untouched = [x.copy() for x in self.arrays]
        self.frozen = _frozen_generators(f)
        near = np.random.default_rng(0)
        self.nearby = [x * (1 - 0.05 * near.uniform(0.5, 1.0, x.shape)) for x in self.arrays]
        self.warm_up(np.float64)
        y = self.outputs(self.arrays)
        self.shapes = [np.shape(part) for part in y]
        self.known = {0.0: Rounding([0.0] * len(y), 0.0, [0.0] * len(self.arrays))}
        # Weights of either sign and not near zero: nothing in the output can hide or cancel.
        sign = rng.choice([-1.0, 1.0], sum(part.size for part in y))
        self.weights = sign * rng.uniform(0.5, 1.5, len(sign))

    def with_function(self, f: Callable[..., Any]) -> Problem:
        """The same problem for a function that does the same, in another dtype."""
        other = copy.copy(self)
        other.f, other.frozen = f, _frozen_generators(f)
        return other

    def warm_up(self, dtype: DTypeLike) -> None:
        """Call the function at inputs nearby and go back through it.

        Whatever a function or a rule keeps from its first call is then of other inputs, and what
        is made of it is wrong.
        """
        with suppress(Exception), np.errstate(all="ignore"):  # (it need not be defined there)
            args, live = self.tensors([x.astype(dtype) for x in self.nearby], True)
            y = self.call(args)
            self.pulled_back(y, live, np.ones(sum(part.size for part in y)), False)

    def tensors(self, arrays: Sequence[Array], requires_grad: bool) -> tuple[list[Any], list[Any]]:
        """All arguments of a call, and among them the Tensors of the live ones."""
        args = list(self.values)
        live = [Tensor(x, requires_grad=requires_grad) for x in arrays]
        for i, t in zip(self.live, live, strict=True):
            args[i] = t
        return args, live

    def call(self, args: list[Any]) -> list[Tensor]:
        with self.frozen() as generators:
            y = self.f(*args)
            self.left = [g.bit_generator.state for g in generators]
        parts = list(y) if isinstance(y, tuple | list) else [y]
        if not all(isinstance(part, Tensor) for part in parts):
            raise TypeError(
                f"gradcheck: {name_of(self.f)} returned a {type(y).__name__}, not a "
                f"Tensor: compute the result from the Tensors that go in, with functions that are "
                f"differentiable"
            )
        return parts

    @property
    def drawn(self) -> list[str]:
        """Where the last call has left the generators, as it drew random numbers."""
        return [repr(state) for state in self.left]

    def outputs(self, arrays: Sequence[Array]) -> list[Array]:
        with no_grad():
            args, _ = self.tensors(arrays, False)
            return [part.data for part in self.call(args)]

    def flat(self, arrays: Sequence[Array]) -> Array:
        """The weighted outputs, one after the other."""
        first, *rest = [part.ravel() for part in self.outputs(arrays)] or [np.zeros(0)]
        return self.weights * (np.concatenate([first, *rest]) if rest else first)

    def analytic(
        self, arrays: Sequence[Array], weights: Array | None = None, create_graph: bool = False
    ) -> list[Any]:
        """The gradients of the live inputs by the rules."""
        args, live = self.tensors(arrays, True)
        return self.pulled_back(self.call(args), live, weights, create_graph)

    def pulled_back(
        self, y: list[Tensor], live: list[Tensor], weights: Array | None, create_graph: bool
    ) -> list[Any]:
        w = self.weights if weights is None else weights
        ends = np.cumsum([0, *(part.size for part in y)])
        total: list[Any] | None = None
        for part, begin, end in zip(y, ends[:-1], ends[1:], strict=True):
            if not part.requires_grad:
                continue
            weight = w[begin:end].reshape(part.shape)
            found = grad(part, live, weight, create_graph=create_graph, allow_unused=True,
                         retain_graph=True)  # fmt: skip
            total = (
                list(found) if total is None else [a + b for a, b in zip(total, found, strict=True)]
            )
        if total is None:
            zeros = [np.zeros(t.shape, t.dtype) for t in live]
            return [Tensor(z) for z in zeros] if create_graph else zeros
        return total

    def gradient_function(self) -> Callable[..., Any]:
        """The gradients of the live inputs as a function of them, itself differentiable."""

        def gradients(*live: Any) -> tuple[Tensor, ...]:
            args = list(self.values)
            inputs = [t if t.requires_grad else Tensor(t.data, requires_grad=True) for t in live]
            for i, t in zip(self.live, inputs, strict=True):
                args[i] = t
            # Differences are taken where nothing is recorded, and of the gradients that have been
            # found right: that they have a graph to go back through, they do not need.
            differentiable = live[0].requires_grad  # as all of them do, or none
            with recording(True):
                found = self.pulled_back(self.call(args), inputs, None, differentiable)
            return tuple(found) if differentiable else tuple(map(Tensor, found))

        gradients.__name__ = f"gradient of {name_of(self.f)}"
        return gradients

    def habits(self, gradients: list[Array]) -> Iterator[str]:
        """What must hold besides the values; yields what does not."""
        for x, g in zip(self.arrays, gradients, strict=True):
            if g.shape != x.shape:
                yield f"its gradient has shape {g.shape}, and the input {x.shape}"
        for given, g in zip(self.given, self.analytic(self.given), strict=True):
            if g.dtype != given.dtype or g.shape != given.shape:
                yield (
                    f"the gradient of a {given.dtype} input of shape {given.shape} is {g.dtype} "
                    f"of shape {g.shape}"
                )
        zero = self.analytic(self.arrays, np.zeros_like(self.weights))
        if any(np.any(g != 0) for g in zero):
            yield "a zero gradient of the output does not give a zero gradient of the input"
        again = self.analytic(self.arrays)
        if not all(
            np.array_equal(a, b, equal_nan=True) for a, b in zip(again, gradients, strict=True)
        ):
            yield "two runs with the same inputs give different gradients"
        if not all(np.array_equal(a, b) for a, b in zip(self.untouched, self.arrays, strict=True)):
            yield "the inputs are changed by the call"
        if not self.leaves_g_alone():
            yield "the gradient of the output is changed by the backward pass: a rule writes into g"
        if not all(np.all(np.isfinite(g)) for g in gradients):
            return
        yield from self.habits_of_one_graph()
        y = self.flat(self.arrays)
        if not np.all(np.isfinite(y)):
            return
        for strided, what in ((_reversed, "negative strides"), (_interleaved, "gaps between")):
            arrays = [strided(x) for x in self.arrays]
            if not self.close([self.flat(arrays), *self.analytic(arrays)], [y, *gradients]):
                yield f"an input whose elements lie in memory with {what} gives another result"

    def habits_of_one_graph(self) -> Iterator[str]:
        """What must hold of several backward passes; yields what does not."""
        args, live = self.tensors(self.arrays, True)
        y = self.call(args)
        first, twice, again = (
            self.pulled_back(y, live, weights, False)
            for weights in (self.weights, 2 * self.weights, self.weights)
        )
        if not all(map(np.array_equal, again, first)):
            yield (
                "a second backward pass through the same graph gives another gradient: a rule "
                "writes into its values, or keeps something from the first"
            )
        elif not self.close(twice, [2 * g for g in first]):
            yield (
                "twice the gradient of the output does not give twice the gradient of the input: "
                "a rule is not linear in g, or keeps something from an earlier pass"
            )
        args, live = self.tensors(self.arrays, True)
        y = self.call(args)
        for times in (1, 2):
            parts = np.split(self.weights, np.cumsum([part.size for part in y])[:-1])
            for part, w in zip(y, parts, strict=True):
                if part.requires_grad:
                    part.backward(w.reshape(part.shape), retain_graph=True)
            left = [np.zeros(t.shape, t.dtype) if t.grad is None else t.grad for t in live]
            if not self.close(left, [times * g for g in first]):
                yield (
                    f"{('one backward()', 'two backward()')[times - 1]} through the same graph "
                    f"leaves in .grad another gradient than grad() returns"
                )
                return

    def rounding(self, width: float) -> Rounding:
        """How much rounding moves the outputs and the gradients; nothing for a width of 0."""
        if width not in self.known:
            self.known[width] = self.measured_rounding(width)
        return self.known[width]

    def measured_rounding(self, width: float) -> Rounding:
        """How much rounding moves the outputs and the gradients.

        Where numbers cancel, the result does not show how large they were. So the function is
        called at points in a row, so near each other that only rounding is left in the fourth
        differences of what it gives (Moré and Wild, "Estimating computational noise", SIAM
        J. Sci. Comput. 33, 2011). The points lie on one side of the inputs at a time: a kink or a
        jump there is not taken for noise.
        """
        rng = np.random.default_rng(1)
        largest = [float(np.max(np.abs(x), initial=0)) or 1.0 for x in self.arrays]
        start = [*self.arrays, self.weights]
        directions = [
            np.where(x == 0, size, np.abs(x)) * rng.uniform(-1.0, 1.0, x.shape)
            for x, size in zip(start, [*largest, 1.0], strict=True)
        ]
        sigmas = []
        for side in (width, -width):
            rows = []
            for i in range(1, 9):
                *arrays, weights = (
                    x + i * side * u for x, u in zip(start, directions, strict=True)
                )
                args, live = self.tensors(arrays, True)
                with np.errstate(all="ignore"):
                    y = self.call(args)
                    gradients = self.pulled_back(y, live, weights, False)
                rows.append([*(part.data for part in y), *gradients])
            for values in zip(*rows, strict=True):
                with np.errstate(all="ignore"):
                    fourth = np.diff(np.array(values, np.float64), 4, axis=0)
                    sigma = np.sqrt(np.mean(fourth * fourth, axis=0) / 70)  # 1 + 16 + 36 + 16 + 1
                sigmas.append(np.where(np.isfinite(sigma), sigma, 0.0))
        both = list(map(np.maximum, sigmas[: len(sigmas) // 2], sigmas[len(sigmas) // 2 :]))
        most = [float(np.max(sigma, initial=0)) for sigma in both]
        n = len(self.shapes)
        total = float(sum(np.sum(sigma) for sigma in both[:n]))
        return Rounding(most[:n], total, most[n:])

    def close(self, found: list[Array], expected: list[Array]) -> bool:
        """Whether two ways of computing the gradients, or values before them, agree, up to the
        order of additions."""
        size = max((float(np.max(np.abs(b), initial=0)) for b in expected), default=0.0)
        for width in (0.0, 1e-9, 1e-6):
            noise = self.rounding(width)
            sigmas = [max(noise.outputs, default=0.0), *noise.gradients][-len(expected) :]
            if all(
                np.allclose(a, b, rtol=1e-10, atol=1e-12 * size + 100 * sigma)
                for a, b, sigma in zip(found, expected, sigmas, strict=True)
            ):
                return True
        return False

    def leaves_g_alone(self) -> bool:
        """Whether another Tensor that shares the gradient of the output still gets it whole."""
        others = [Tensor(np.zeros(shape), requires_grad=True) for shape in self.shapes]
        older = [+t for t in others]  # older than what f records, so that its turn comes later
        args, live = self.tensors(self.arrays, True)
        both = [y + t for y, t in zip(self.call(args), older, strict=True)]
        found = self.pulled_back(both, [*live, *others], None, False)[len(live) :]
        flat = np.concatenate([np.zeros(0), *(np.ravel(g) for g in found)])
        return np.array_equal(flat, self.weights)


def _reversed(x: Array) -> Array:
    """The same values with negative strides."""
    where = (slice(None, None, -1),) * x.ndim
    return np.ascontiguousarray(x[where])[where] if x.ndim else x


def _interleaved(x: Array) -> Array:
    """The same values in Fortran order with gaps between them."""
    if not x.ndim:
        return x
    wide = np.full(tuple(2 * n for n in x.shape), np.nan, order="F")
    view = wide[(slice(None, None, 2),) * x.ndim]
    view[...] = x
    return view


def _frozen_generators(f: Callable[..., Any]) -> Callable[[], Any]:
    """A block in which all random numbers that f may draw are the same each time."""
    generators = [generator()]
    module = getattr(f, "module", f)
    if isinstance(module, Module):
        generators += [
            value
            for _, m in module.modules()
            for value in vars(m).values()
            if isinstance(value, np.random.Generator)
        ]
    states = [g.bit_generator.state for g in generators]

    @contextmanager
    def block() -> Iterator[list[np.random.Generator]]:
        before = [g.bit_generator.state for g in generators]
        for g, state in zip(generators, states, strict=True):
            g.bit_generator.state = state
        try:
            yield generators
        finally:
            for g, state in zip(generators, before, strict=True):
                g.bit_generator.state = state

    return block


def in_dtype(module: Module, training: bool, dtype: np.dtype[Any]) -> Module:
    """A copy of the module with parameters and buffers in one dtype."""
    module = copy.deepcopy(module).train(training)
    for p in module.parameters():
        p.requires_grad = True
        p.data = p.data.astype(dtype)
    for _, m in module.modules():
        for name in m.buffers:
            value = getattr(m, name)
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                setattr(m, name, value.astype(dtype))
    return module


class WithParameters:
    """A module as a function of its inputs and its parameters."""

    def __init__(self, module: Module, inputs: int) -> None:
        self.module, self.inputs = module, inputs
        self.params: list[Parameter] = [p for _, p in module.named_parameters()]
        self.buffers = [(m, name) for _, m in module.modules() for name in m.buffers]
        self.__name__ = type(module).__name__

    def __call__(self, *args: Any) -> Any:
        for p, value in zip(self.params, args[self.inputs :], strict=True):
            p.array, p.node = value.array, value.node
        before = [np.array(getattr(m, name)) for m, name in self.buffers]
        try:
            return self.module(*args[: self.inputs])
        finally:  # running statistics start anew in each call, so that all calls are alike
            for (m, name), value in zip(self.buffers, before, strict=True):
                setattr(m, name, value)
