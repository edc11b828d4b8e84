"""gradcheck itself: analytic gradients against extrapolated differences, element by element."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.autograd import name_of, no_grad, recording
from minidl.nn.module import Module, Parameter
from minidl.rng import RNG, generator
from minidl.tensor import Array, Tensor, grad

STEPS = (1e-3, 1e-4, 1e-5)
"""Step sizes of the differences, tried in turn where a larger one does not converge."""

EPS = float(np.finfo(np.float64).eps)


class GradcheckError(AssertionError):
    """A gradient is wrong, or too much of it could not be judged. ``report`` has the figures."""

    def __init__(self, message: str, report: Report) -> None:
        super().__init__(message)
        self.report = report


@dataclass
class InputReport:
    """What was found for one input.

    Attributes:
        name: the parameter's name, or ``input 0`` and so on.
        shape: of the input.
        error: the largest relative difference between analytic and numeric gradient. Where the
            numeric one is uncertain, or nearly zero, the difference counts for less.
        index: the element where it was found.
        analytic, numeric: the two gradients there.
        unjudged: the elements that lie at a kink, where no derivative exists. Their gradients lie
            between the slopes on both sides.
    """

    name: str
    shape: tuple[int, ...]
    error: float = 0.0
    index: tuple[int, ...] = ()
    analytic: float = 0.0
    numeric: float = 0.0
    unjudged: list[tuple[int, ...]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many elements the input has."""
        return int(np.prod(self.shape))


@dataclass
class Report:
    """The result of a gradient check.

    Attributes:
        name: the function.
        order: the order of derivatives that were checked.
        inputs: a report for each input, and for each mode and order if there are several.
        faults: what is wrong, in words; empty if the check passed.
    """

    name: str
    order: int
    inputs: list[InputReport] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every gradient is right."""
        return not self.faults

    @property
    def error(self) -> float:
        """The largest error of all inputs."""
        return max((i.error for i in self.inputs), default=0.0)

    @property
    def unjudged(self) -> int:
        """How many elements lie at a kink."""
        return sum(len(i.unjudged) for i in self.inputs)

    @property
    def size(self) -> int:
        """How many elements were looked at."""
        return sum(i.size for i in self.inputs)

    def __str__(self) -> str:
        lines = [f"gradcheck of {self.name}: {'passed' if self.ok else 'FAILED'}"]
        for i in self.inputs:
            unjudged = f", {len(i.unjudged)} at a kink, not judged" if i.unjudged else ""
            lines.append(f"  {i.name} {i.shape}: error {i.error:.1e}{unjudged}")
        return "\n".join([*lines, *(f"  {fault}" for fault in self.faults)])


def gradcheck(
    f: Callable[..., Any],
    *inputs: Any,
    order: int = 1,
    tolerance: float = 1e-6,
    max_unjudged: float = 0.5,
    rng: RNG = 0,
    names: Sequence[str] | None = None,
    raise_on_failure: bool = True,
) -> Report:
    """Check the gradient of ``f`` at ``inputs``, every element of every floating-point input.

    The numeric gradient is that of ``sum(w * f(inputs))`` with random weights ``w``, by central
    differences at three step sizes with Richardson extrapolation. The analytic one comes from a
    backward pass with ``w`` as the gradient of the output. In the same go are checked: shape and
    dtype of each gradient, also in the dtype given; a zero gradient in gives exactly zero out; two
    runs agree bit for bit; inputs are left as they are; inputs with unusual strides change nothing.

    Args:
        f: a function of arrays or Tensors that returns a Tensor or a tuple of Tensors; or a
            Module, of which all parameters are checked too, in training and in prediction mode.
        inputs: what to call it with. Floating-point arrays and Tensors are differentiated, in
            float64; anything else is passed on as it is.
        order: 2 also checks the gradient of the gradient.
        tolerance: the largest relative error allowed.
        max_unjudged: the largest share of an input's elements that may lie at a kink.
        rng: a seed or a generator for the weights.
        names: names for the inputs in reports.
        raise_on_failure: False returns the report of a failed check instead of raising.

    Returns:
        A :class:`Report` with the figures.

    Raises:
        GradcheckError: if a gradient is wrong, with the element where it is worst, the two
            gradients there, and a likely cause if the pattern shows one.
        TypeError: if no input is floating-point, or ``f`` does not return Tensors.

    Example:
        >>> import numpy as np
        >>> print(gradcheck(np.exp, np.array([[1.0, 2.0]])))  # doctest: +ELLIPSIS
        gradcheck of np.exp: passed
          input 0 (1, 2): error ...
    """
    if order not in (1, 2):
        raise ValueError(f"gradcheck: order is 1 or 2, not {order!r}")
    if isinstance(f, Module):
        report = Report(type(f).__name__, order)
        for mode in ("train", "eval"):
            module = _in_float64(f, mode == "train")
            params = dict(module.named_parameters())
            given = [*(names or ()), *(f"input {i}" for i in range(len(names or ()), len(inputs)))]
            _check(
                report,
                _with_parameters(module, list(params.values()), len(inputs)),
                [*inputs, *(p.data for p in params.values())],
                [f"{mode}: {n}" for n in (*given, *params)],
                (order, tolerance, max_unjudged),
                generator(rng),
            )
    else:
        report = Report(name_of(f), order)
        labels = list(names or (f"input {i}" for i in range(len(inputs))))
        _check(report, f, list(inputs), labels, (order, tolerance, max_unjudged), generator(rng))
    if raise_on_failure and not report.ok:
        raise GradcheckError(f"gradcheck of {report.name}: " + "\n".join(report.faults), report)
    return report


def _check(
    report: Report,
    f: Callable[..., Any],
    inputs: list[Any],
    names: list[str],
    settings: tuple[int, float, float],
    rng: np.random.Generator,
) -> None:
    """Check one function of arrays and add what is found to the report."""
    order, tolerance, max_unjudged = settings
    problem = _Problem(f, inputs, rng)
    labels = [names[i] for i in problem.live]
    gradients = problem.analytic(problem.arrays)
    report.faults += [f"{labels[0]}: {fault}" for fault in problem.habits(gradients, labels)]
    found = [_judged(problem, k, name, gradients[k], tolerance) for k, name in enumerate(labels)]
    for i in found:
        share = len(i.unjudged) / max(i.size, 1)
        if share > max_unjudged:
            i.faults.append(
                f"{i.name}: {len(i.unjudged)} of {i.size} elements lie at a kink and could not be "
                f"judged: choose other inputs, or allow it with max_unjudged="
            )
        report.faults += i.faults
    report.inputs += found
    if order == 2 and not report.faults:
        second = problem.gradient_function()
        labels = [f"{name}, order 2" for name in labels]
        _check(report, second, problem.arrays, labels, (1, tolerance, 1.0), rng)


# --- The problem: a scalar function of float64 arrays ---------------------------------------------


class _Problem:
    """``sum(w * f(inputs))`` as a function of the floating-point inputs, in float64."""

    def __init__(self, f: Callable[..., Any], inputs: list[Any], rng: np.random.Generator) -> None:
        self.f = f
        self.rng = rng
        values = [x.data if isinstance(x, Tensor) else x for x in inputs]
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
        self.given = [np.array(values[i]) for i in self.live]
        self.arrays = [np.array(x, np.float64) for x in self.given]
        self.untouched = [x.copy() for x in self.arrays]
        self.frozen = _frozen_generators(f)
        y = self.outputs(self.arrays)
        self.shapes = [np.shape(part) for part in y]
        # Weights of either sign and not near zero: nothing in the output can hide or cancel.
        sign = rng.choice([-1.0, 1.0], sum(part.size for part in y))
        self.weights = sign * rng.uniform(0.5, 1.5, len(sign))

    def tensors(self, arrays: Sequence[Array], requires_grad: bool) -> tuple[list[Any], list[Any]]:
        """All arguments of a call, and among them the Tensors of the live ones."""
        args = list(self.values)
        live = [Tensor(x, requires_grad=requires_grad) for x in arrays]
        for i, t in zip(self.live, live, strict=True):
            args[i] = t
        return args, live

    def call(self, args: list[Any]) -> list[Tensor]:
        with self.frozen():
            y = self.f(*args)
        parts = list(y) if isinstance(y, tuple | list) else [y]
        if not all(isinstance(part, Tensor) for part in parts):
            raise TypeError(
                f"gradcheck: {name_of(self.f)} returned a {type(y).__name__}, not a "
                f"Tensor: compute the result from the Tensors that go in, with functions that are "
                f"differentiable"
            )
        return parts

    def outputs(self, arrays: Sequence[Array]) -> list[Array]:
        with no_grad():
            args, _ = self.tensors(arrays, False)
            return [part.data for part in self.call(args)]

    def flat(self, arrays: Sequence[Array]) -> Array:
        """The weighted outputs, one after the other."""
        parts = [np.ravel(part) for part in self.outputs(arrays)]
        return self.weights * np.concatenate([np.zeros(0), *parts])

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
            weight = w[begin:end].reshape(part.shape).astype(part.dtype)
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
            with recording(True):  # the differences are taken where nothing is recorded
                return tuple(self.pulled_back(self.call(args), inputs, None, True))

        gradients.__name__ = f"gradient of {name_of(self.f)}"
        return gradients

    def habits(self, gradients: list[Array], labels: list[str]) -> Iterator[str]:
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
        weights = self.weights.copy()
        again = self.analytic(self.arrays)
        if not all(
            np.array_equal(a, b, equal_nan=True) for a, b in zip(again, gradients, strict=True)
        ):
            yield "two runs with the same inputs give different gradients"
        if not all(np.array_equal(a, b) for a, b in zip(self.untouched, self.arrays, strict=True)):
            yield "the inputs are changed by the call"
        if not np.array_equal(weights, self.weights) or not self.leaves_g_alone():
            yield "the gradient of the output is changed by the backward pass: a rule writes into g"
        if not all(np.all(np.isfinite(g)) for g in gradients):
            return
        y = self.flat(self.arrays)
        size = max(float(np.max(np.abs(a), initial=0)) for a in (y, *gradients))
        for strided, what in ((_reversed, "negative strides"), (_interleaved, "gaps between")):
            arrays = [strided(x) for x in self.arrays]
            moved = [self.flat(arrays), *self.analytic(arrays)]
            for a, b in zip(moved, [y, *gradients], strict=True):
                if not np.allclose(a, b, rtol=1e-10, atol=1e-12 * size):
                    yield f"an input whose elements lie in memory with {what} gives another result"
                    break

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
    def block() -> Iterator[None]:
        before = [g.bit_generator.state for g in generators]
        for g, state in zip(generators, states, strict=True):
            g.bit_generator.state = state
        try:
            yield
        finally:
            for g, state in zip(generators, before, strict=True):
                g.bit_generator.state = state

    return block


def _in_float64(module: Module, training: bool) -> Module:
    """A copy of the module with parameters and buffers in float64."""
    module = copy.deepcopy(module).train(training)
    for p in module.parameters():
        p.requires_grad = True
        p.data = p.data.astype(np.float64)
    for _, m in module.modules():
        for name in m.buffers:
            value = getattr(m, name)
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                setattr(m, name, value.astype(np.float64))
    return module


class _with_parameters:
    """A module as a function of its inputs and its parameters."""

    def __init__(self, module: Module, params: list[Parameter], inputs: int) -> None:
        self.module, self.params, self.inputs = module, params, inputs
        self.__name__ = type(module).__name__

    def __call__(self, *args: Any) -> Any:
        for p, value in zip(self.params, args[self.inputs :], strict=True):
            p._data, p._node = value._data, value._node
        buffers = [
            (m, name, np.array(getattr(m, name)))
            for _, m in self.module.modules()
            for name in m.buffers
        ]
        try:
            return self.module(*args[: self.inputs])
        finally:  # running statistics start anew in each call, so that all calls are alike
            for m, name, value in buffers:
                setattr(m, name, value)


# --- The judgement --------------------------------------------------------------------------------


def _judged(problem: _Problem, k: int, name: str, g: Array, tolerance: float) -> InputReport:
    """Compare the gradient of the k-th live input with differences, element by element."""
    x = problem.arrays[k]
    report = InputReport(name, x.shape)
    base = problem.flat(problem.arrays)
    if g.shape != x.shape:
        return report
    if not np.all(np.isfinite(g)):
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(g))[0])
        report.error, report.index, report.analytic = np.inf, index, float(g[index])
        report.faults.append(f"{name}: the gradient at {index} is {g[index]}")
        return report
    floor = 1e-2 * float(np.sqrt(np.mean(g * g))) if g.size else 0.0
    numeric = np.full(x.shape, np.nan)
    errors = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        slope, bar, sides = _slope(problem, k, index, base, tolerance, floor)
        a = float(g[index])
        if slope is None:
            low, high = min(sides) - bar, max(sides) + bar
            if not low <= a <= high:
                report.faults.append(
                    f"{name}: at {index}, a kink, the gradient is {a:.6g}, which is not between "
                    f"the slopes on both sides, {sides[0]:.6g} and {sides[1]:.6g}"
                )
            report.unjudged.append(index)
            continue
        numeric[index] = slope
        if a != slope:
            errors[index] = abs(a - slope) / max(abs(a), abs(slope), floor, bar / tolerance)
    if errors.size:
        worst = tuple(int(i) for i in np.unravel_index(np.argmax(errors), x.shape))
        report.error, report.index = float(errors[worst]), worst
        report.analytic, report.numeric = float(g[worst]), float(numeric[worst])
    if report.error > tolerance:
        report.faults.append(
            f"{name}: the gradient at {report.index} is {report.analytic:.9g}, and differences "
            f"give {report.numeric:.9g} (relative error {report.error:.1e})"
            + _cause(problem, k, g, numeric)
        )
    return report


def _slope(
    problem: _Problem,
    k: int,
    index: tuple[int, ...],
    base: Array,
    tolerance: float,
    floor: float,
) -> tuple[float | None, float, tuple[float, float]]:
    """The derivative along one element, its uncertainty, and the slopes on both sides.

    At a kink the derivative is None: the difference between the two sides does not shrink with the
    step. Near one, or where the function bends strongly, a smaller step decides.
    """
    x = problem.arrays[k]
    old = x[index]
    scale = max(1.0, abs(old))
    noise = 0.0
    sides = (0.0, 0.0)
    for step in STEPS:
        central, jumps, steepest = [], [], []
        for part in (1, 2, 4):
            h = step * scale / part
            with np.errstate(all="ignore"):
                x[index] = old + h
                up = problem.flat(problem.arrays) - base
                x[index] = old - h
                down = base - problem.flat(problem.arrays)
            x[index] = old
            sides = (float(down.sum()) / h, float(up.sum()) / h)
            central.append((sides[0] + sides[1]) / 2)
            jumps.append(abs(sides[1] - sides[0]))
            steepest.append(max(map(abs, sides)))
        if not np.all(np.isfinite(central)):
            continue
        h = step * scale / 4
        noise = 40 * EPS * (float(np.abs(base).sum()) + scale * max(map(abs, sides))) / h
        first = [(4 * b - a) / 3 for a, b in itertools.pairwise(central)]
        slope = (16 * first[1] - first[0]) / 15
        bar = 2 * abs(slope - first[1]) + noise
        size = max(abs(slope), floor, abs(sides[0]), abs(sides[1]))
        kink = jumps[2] > 0.6 * jumps[0] and jumps[2] > 1e-6 * size + 4 * noise
        if not kink and bar <= max(tolerance * size, 4 * noise):
            return slope, bar, sides
        if steepest[2] > 3 * steepest[0]:  # the value itself jumps: no slope is too steep
            sides = (-np.inf, np.inf)
    return None, noise + 1e-3 * max(map(abs, sides)), sides


def _cause(problem: _Problem, k: int, g: Array, numeric: Array) -> str:
    """A likely cause of a wrong gradient, if the pattern of its elements shows one."""
    known = np.isfinite(numeric)
    a, n = g[known], numeric[known]

    def alike(p: Array, q: Array) -> bool:
        return bool(np.allclose(p, q, rtol=1e-4, atol=1e-6 * float(np.max(np.abs(q), initial=0))))

    if not np.any(a):
        return ": it is zero everywhere, as if nothing depended on this input"
    factor = float(a @ n / (n @ n)) if np.any(n) else 0.0
    if factor and alike(a, factor * n):
        if alike(a, -n):
            return ": it has the wrong sign"
        lengths = {n for shape in (*problem.shapes, g.shape) for n in shape} | {g.size}
        for length in sorted(lengths - {0, 1}):
            if abs(factor - length) < 1e-3 * length:
                return f": it is {length} times too large; a factor 1/{length} is missing"
            if abs(factor * length - 1) < 1e-3:
                return (
                    f": it is {length} times too small; a mean (or one element) stands where a sum "
                    f"is due, such as the sum over a broadcast axis of length {length}"
                )
        return f": it is {factor:.6g} times what it should be"
    if g.ndim >= 2 and np.all(known):
        turned = np.swapaxes(numeric, -1, -2)
        if turned.shape == g.shape and alike(g, turned):
            return ": it is transposed"
    plain = problem.analytic(problem.arrays, np.ones_like(problem.weights))[k][known]
    if alike(a, plain):
        return ": it does not depend on the gradient of the output; the rule ignores g"
    for axis in range(g.ndim):
        if np.all(known) and g.shape[axis] > 1 and alike(g.sum(axis), numeric.sum(axis)):
            return f": only its sum over axis {axis} is right; elements along it are mixed up"
    if len(a) > 1 and alike(a - n, np.full_like(a, np.mean(a - n))):
        return f": every element is off by the same {np.mean(a - n):.6g}"
    share = float(np.mean(np.isclose(a, n, rtol=1e-4)))
    return f": {share:.0%} of its elements are right" if share else ""
