"""gradcheck itself: analytic gradients against extrapolated differences, element by element."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl.arrays import Array
from minidl.checks import one_of
from minidl.gradcheck.precision import compared
from minidl.gradcheck.problem import Problem, WithParameters, in_dtype
from minidl.nn import Module
from minidl.rng import RNG, generator
from minidl.table import name_of

STEPS = (1e-3, 1e-4, 1e-5)
"""Step sizes of the differences, tried in turn where a larger one does not converge."""

EPS = float(np.finfo(np.float64).eps)
TINY = float(np.finfo(np.float64).tiny)


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
    also_in: Sequence[DTypeLike] = (np.float32,),
    rng: RNG = 0,
    names: Sequence[str] | None = None,
    raise_on_failure: bool = True,
) -> Report:
    """Check the gradient of ``f`` at ``inputs``, every element of every floating-point input.

    The numeric gradient is that of ``sum(w * f(inputs))`` with random weights ``w``, by central
    differences at three step sizes with Richardson extrapolation. The analytic one comes from a
    backward pass with ``w`` as the gradient of the output. In the same go are checked: shape and
    dtype of each gradient, also in the dtype given; a zero gradient in gives exactly zero out, and
    twice the gradient in twice as much; two runs, and two backward passes through one graph, agree
    bit for bit; nothing is kept from a call with other inputs; ``backward()`` leaves in ``.grad``
    what ``grad`` returns, also in an optimizer's memory; inputs are left as they are; inputs with
    unusual strides change nothing. Then value and gradient are computed in float32 and held against
    those in float64, as closely as rounding allows.

    Args:
        f: a function of arrays or Tensors that returns a Tensor or a tuple of Tensors; or a
            Module, of which all parameters are checked too, in training and in prediction mode.
        inputs: what to call it with. Floating-point arrays and Tensors are differentiated, in
            float64, and must be finite; anything else is passed on as it is.
        order: 2 also checks the gradient of the gradient.
        tolerance: the largest relative error allowed.
        max_unjudged: the largest share of an input's elements that may lie at a kink.
        also_in: narrower dtypes in which value and gradient must be those of float64 up to
            rounding; ``()`` for a function that is meant for float64 only.
        rng: a seed or a generator for the weights.
        names: names for the inputs in reports.
        raise_on_failure: False returns the report of a failed check instead of raising.

    Returns:
        A :class:`Report` with the figures.

    Raises:
        GradcheckError: if a gradient is wrong, with the element where it is worst, the two
            gradients there, and a likely cause if the pattern shows one.
        TypeError: if no input is floating-point, or ``f`` does not return Tensors.
        ValueError: if an input is infinite or NaN, ``order`` neither 1 nor 2, or ``names`` not as
            many as inputs.

    Example:
        >>> import numpy as np
        >>> print(gradcheck(np.exp, np.array([[1.0, 2.0]])))  # doctest: +ELLIPSIS
        gradcheck of np.exp: passed
          input 0 (1, 2): error ...
    """
    one_of(order, "gradcheck: order", (1, 2))
    if names is not None and len(names) != len(inputs):
        raise ValueError(
            f"gradcheck: names has one for each input, {len(inputs)}, got {list(names)}"
        )
    names = names or [f"input {i}" for i in range(len(inputs))]
    settings = (order, tolerance, max_unjudged)
    dtypes = [np.dtype(dtype) for dtype in also_in]
    if isinstance(f, Module):
        report = Report(type(f).__name__, order)
        for mode in ("train", "eval"):
            wide, *narrow = (
                WithParameters(in_dtype(f, mode == "train", dtype), len(inputs))
                for dtype in (np.dtype(np.float64), *dtypes)
            )
            params = dict(wide.module.named_parameters())
            labels = [f"{mode}: {n}" for n in (*names, *params)]
            values = [*inputs, *(p.data for p in params.values())]
            problem = Problem(wide, values, labels, generator(rng))
            others = {d: problem.with_function(g) for d, g in zip(dtypes, narrow, strict=True)}
            _check(report, problem, others, settings)
    else:
        report = Report(name_of(f), order)
        problem = Problem(f, list(inputs), list(names), generator(rng))
        _check(report, problem, {dtype: problem.with_function(f) for dtype in dtypes}, settings)
    if raise_on_failure and not report.ok:
        raise GradcheckError(f"gradcheck of {report.name}: " + "\n".join(report.faults), report)
    return report


def _check(
    report: Report,
    problem: Problem,
    narrow: dict[np.dtype[Any], Problem],
    settings: tuple[int, float, float],
) -> None:
    """Check one function of arrays and add what is found to the report.

    ``narrow`` has the same problem for each dtype in which it is to be computed as well.
    """
    order, tolerance, max_unjudged = settings
    gradients = problem.analytic(problem.arrays)
    report.faults += [f"{problem.labels[0]}: {fault}" for fault in problem.habits(gradients)]
    with np.errstate(all="ignore"):  # a difference may leave where the function is defined
        found = [_judged(problem, k, g, tolerance) for k, g in enumerate(gradients)]
    for i in found:
        share = len(i.unjudged) / max(i.size, 1)
        if share > max_unjudged:
            i.faults.append(
                f"{i.name}: {len(i.unjudged)} of {i.size} elements lie at a kink and could not be "
                f"judged: choose other inputs, or allow it with max_unjudged="
            )
        report.faults += i.faults
    report.inputs += found
    if not report.faults:  # what is wrong in float64 is wrong in any dtype
        for dtype, other in narrow.items():
            report.faults += compared(problem, other, dtype, [i.unjudged for i in found])
    if order == 2 and not report.faults:
        by_definition = [d.data for d in problem.analytic(problem.arrays, create_graph=True)]
        if not problem.close(by_definition, gradients):
            report.faults.append(
                f"{problem.labels[0]}: with create_graph=True the gradient is another: a "
                f"definition= and the rules beside it are not of the same function"
            )
    if order == 2 and not report.faults:
        labels = [f"{name}, order 2" for name in problem.labels]
        second = Problem(problem.gradient_function(), problem.arrays, labels, problem.rng)
        second.values_are_known = True
        others = {d: second.with_function(p.gradient_function()) for d, p in narrow.items()}
        _check(report, second, others, (1, tolerance, 1.0))


# --- The judgement --------------------------------------------------------------------------------


_LOOKS = ((STEPS, 0.0), (STEPS, 1e-9), (STEPS, 1e-6), (STEPS[1:], 1e-6), (STEPS[2:], 1e-6))


def _judged(problem: Problem, k: int, g: Array, tolerance: float) -> InputReport:
    """Compare the gradient of the k-th live input with differences, element by element."""
    x, name = problem.arrays[k], problem.labels[k]
    report = InputReport(name, x.shape)
    base = problem.flat(problem.arrays)
    if g.shape != x.shape:
        return report
    if not np.all(np.isfinite(g)):
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(g))[0])
        report.error, report.index, report.analytic = np.inf, index, float(g[index])
        report.faults.append(f"{name}: the gradient at {index} is {g[index]}")
        return report
    infinite = ~np.isfinite(base)
    if np.any(infinite):
        report.error = np.inf
        report.faults.append(
            f"{name}: {infinite.sum()} of {base.size} elements of the result are infinite or NaN, "
            f"of which no difference can be taken: choose other inputs"
        )
        return report
    largest = float(np.max(np.abs(g), initial=0.0))  # by which squares cannot overflow
    floor = 1e-2 * largest * float(np.sqrt(np.mean((g / largest) ** 2))) if largest else 0.0
    numeric = np.full(x.shape, np.nan)
    errors = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        a = float(g[index])
        kink: tuple[float, ...] | None = None
        # What looks wrong is looked at again, with more care each time: where numbers cancel there
        # is more noise than the result shows, perhaps in steps too wide to be seen so near; and a
        # bend between two points may spoil the extrapolation.
        for steps, width in _LOOKS:
            noise = _noise(problem, width, base)
            slope, bar, sides = _slope(problem, k, index, base, tolerance, floor, noise, steps)
            if slope is None:
                kink = kink or (bar, *sides)
                continue
            # (Smaller steps are noisier: a large uncertainty of theirs excuses nothing.)
            haze = bar + 10 * problem.rounding(width).gradients[k] if steps is STEPS else 0.0
            error = abs(a - slope) / max(abs(a), abs(slope), floor, haze / tolerance, TINY)
            if steps is STEPS:
                kink = None
            if (np.isnan(numeric[index]) and kink is None) or error <= tolerance:
                numeric[index], errors[index] = slope, error
            if error <= tolerance:
                break
        if kink is not None and np.isnan(numeric[index]):
            bar, *slopes = kink
            report.unjudged.append(index)
            if np.isnan(bar):
                report.faults.append(
                    f"{name}: {index} is at the edge of where the function is defined: its result "
                    f"is not finite on one side. Choose an input further inside"
                )
            elif not min(slopes) - bar <= a <= max(slopes) + bar:
                report.faults.append(
                    f"{name}: at {index}, a kink, the gradient is {a:.6g}, which is not between "
                    f"the slopes on both sides, {slopes[0]:.6g} and {slopes[1]:.6g}"
                )
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


def _noise(problem: Problem, width: float, base: Array) -> float:
    """How much rounding moves the sum of the outputs, as seen within ``width``."""
    near = problem.rounding(min(width, 1e-9)).total
    wide = problem.rounding(width).total
    # More than that is no rounding, but a bend that lies between the points.
    return 10 * (wide if near < wide < 1e4 * EPS * (1 + float(np.abs(base).sum())) else near)


def _slope(
    problem: Problem,
    k: int,
    index: tuple[int, ...],
    base: Array,
    tolerance: float,
    floor: float,
    blur: float,
    steps: Sequence[float],
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
    for step in steps:
        central, jumps, steepest = [], [], []
        for part in (1, 2, 4):
            h = step * scale / part
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
            sides = (np.nan, np.nan)
            continue
        h = step * scale / 4
        noise = 40 * EPS * (float(np.abs(base).sum()) + scale * max(map(abs, sides))) / h
        noise += blur / h + (0.0 if any(steepest) else 10 * EPS)  # constant, to the last bit
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


def _cause(problem: Problem, k: int, g: Array, numeric: Array) -> str:
    """A likely cause of a wrong gradient, if the pattern of its elements shows one."""
    known = np.isfinite(numeric)
    a, n = g[known], numeric[known]

    def alike(p: Array, q: Array) -> bool:
        return bool(np.allclose(p, q, rtol=1e-4, atol=1e-6 * float(np.max(np.abs(q), initial=0))))

    if not np.any(a):
        return ": it is zero everywhere, as if nothing depended on this input"
    unit = n / (float(np.max(np.abs(n))) or 1.0)  # whose squares cannot overflow
    factor = float(a @ unit / (n @ unit)) if np.any(n) else 0.0
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
    nearby = None
    with suppress(Exception):  # (it need not be defined there)
        nearby = problem.analytic(problem.nearby)[k]
    if nearby is not None and np.array_equal(g, nearby):
        return (
            ": it is that of an earlier call with other inputs, as if something were kept from it"
        )
    for axis in range(g.ndim):
        if np.all(known) and g.shape[axis] > 1 and alike(g.sum(axis), numeric.sum(axis)):
            return f": only its sum over axis {axis} is right; elements along it are mixed up"
    if len(a) > 1 and alike(a - n, np.full_like(a, np.mean(a - n))):
        return f": every element is off by the same {np.mean(a - n):.6g}"
    share = float(np.mean(np.isclose(a, n, rtol=1e-4)))
    return f": {share:.0%} of its elements are right" if share else ""
