"""What the experiments share: how a finding is judged and printed, descents, and figures.

It is a file of its own so that each script shows only what its claims are about. The rules, layers
and second derivatives are all minidl's; nothing here knows how to learn.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from minidl import Tensor, optim
from minidl.extras import need

HOLDS = "holds"
CONDITION = "holds with a condition"
FAILS = "does not hold as stated"

RULES: dict[str, type[optim.Optimizer]] = {
    "SGD": optim.SGD,
    "Momentum": optim.Momentum,
    "Adagrad": optim.Adagrad,
    "RMSProp": optim.RMSProp,
    "Adam": optim.Adam,
}
COLORS = dict(zip(RULES, ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B"), strict=True))
"""A color for each rule, the same in all figures; color-blind people can tell them apart."""
BLUE, ORANGE, GREEN, PINK, GOLD = COLORS.values()
GRAY = "#666666"

Array = np.ndarray
Loss = Callable[[Tensor], Tensor]


# --- A finding ------------------------------------------------------------------------------------


class Try(NamedTuple):
    """A change to make to an experiment, as a call that anyone can paste."""

    call: str
    """In names of ``minidl.lecture``, as in ``"normalizing(epochs=20)"``."""
    asks: str
    """What to look for in what it finds."""


@dataclass(frozen=True)
class Finding:
    """What an experiment found about one claim."""

    claim: str
    """Its number, C1 to C17."""
    title: str
    """The claim in a few words."""
    says: str
    """The claim in a sentence."""
    does: str
    """What the experiment does, in a sentence."""
    measured: str
    """The numbers, in sentences."""
    verdict: str
    """HOLDS, CONDITION or FAILS, as :func:`judge` has it."""
    usual: str
    """The verdict with the settings that are usual."""
    because: str
    """What the usual verdict means."""
    brief: str
    """The most important of the numbers, for a table."""
    chance: str
    """How often it ran where chance plays a part, and how far the runs differ, for the table."""
    alt: str
    """The figure for those who do not see it."""
    caption: str
    """What to see in the figure."""
    tries: Sequence[Try]
    """What to change."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """The numbers again, by name, for whoever wants to go on with them."""
    draw: Callable[[Any], None] | None = None
    """Draws the figure on an empty one."""

    def __str__(self) -> str:
        def paragraph(title: str, text: str) -> str:
            indent = " " * 15
            return textwrap.fill(f"     {title:<10}{text}", 96, subsequent_indent=indent)

        return "\n".join(
            [
                textwrap.fill(f"{self.claim:<5}{self.says}", 96, subsequent_indent=" " * 5),
                paragraph("does", self.does),
                paragraph("measured", self.measured),
                paragraph("verdict", f"{self.verdict.upper()}: {self.meaning}"),
            ]
        )

    @property
    def meaning(self) -> str:
        """What the verdict means, if it is the usual one."""
        if self.verdict == self.usual:
            return self.because
        return f"with these settings, and {self.usual!r} with the usual ones: see the numbers."


def judge(*, seen: bool, exception: bool) -> str:
    """Return the verdict, given whether what the claim says was seen, and whether an exception was.

    Both must be computed from what was measured.
    """
    if not seen:
        return FAILS
    return CONDITION if exception else HOLDS


NO_CHANCE = "no chance in it"

Experiment = Callable[..., Finding]


# --- Descents -------------------------------------------------------------------------------------


def descend(
    rule: Callable[..., optim.Optimizer],
    loss: Loss,
    start: Any,
    steps: int,
    until: Callable[[Array], bool] | None = None,
    watch: Callable[[optim.Optimizer], None] | None = None,
    **settings: Any,
) -> Array:
    """Let a rule descend from ``start``, and return its path, the start included.

    It ends early where ``until`` says so, or far away from everything (a million). ``watch`` sees
    the optimizer after every step, with the gradient still in place.
    """
    x = Tensor(np.array(start, np.float64), requires_grad=True)
    optimizer = rule([x], **settings)
    path = [x.data.copy()]
    for _ in range(steps):
        if (until is not None and until(x.data)) or not np.abs(x.data).max() < 1e6:
            break
        optimizer.zero_grad()
        loss(x).backward()
        optimizer.step()
        path.append(x.data.copy())
        if watch is not None:
            watch(optimizer)
    return np.array(path)


def follow(
    gradients: Iterable[Any],
    rule: Callable[..., optim.Optimizer],
    watch: Callable[[optim.Optimizer], None] | None = None,
    **settings: Any,
) -> Array:
    """Hand a rule these gradients one after the other, and return its path from zero."""
    gradients = np.asarray(gradients, np.float64)
    x = Tensor(np.zeros_like(gradients[0]), requires_grad=True)
    optimizer = rule([x], **settings)
    path = [x.data.copy()]
    for dx in gradients:
        x.grad = dx
        optimizer.step()
        path.append(x.data.copy())
        if watch is not None:
            watch(optimizer)
    return np.array(path)


def state(optimizer: optim.Optimizer) -> Mapping[str, Array]:
    """Return the state of an optimizer's first parameter: its ``cache``, ``v``, ..."""
    saved: Mapping[str, Mapping[str, Array]] = optimizer.state_dict()["groups"][0]["params"]
    return next(iter(saved.values()))


def slope(loss: Loss, at: Any) -> Array:
    """Return the gradient of ``loss`` there."""
    x = Tensor(np.array(at, np.float64), requires_grad=True)
    loss(x).backward()
    assert x.grad is not None
    return x.grad


def values(loss: Loss, path: Array) -> Array:
    """Return the loss at each point of a path."""
    return np.array([loss(Tensor(x)).item() for x in path])


def degrees(a: Array, b: Array) -> Array:
    """Return the angles between the vectors in the rows of ``a`` and ``b``, 0 to 180."""
    length = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    cosine = np.sum(a * b, axis=-1) / np.where(length > 0, length, 1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def exponent(x: Any, y: Any) -> float:
    """Return p of the law y = c * x**p that fits best (a line through the logarithms)."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def decades(low: float, high: float, each: int = 1) -> list[float]:
    """Return powers of ten from ``10**low`` to ``10**high``, so many to each factor of ten."""
    return [float(v) for v in np.logspace(low, high, round((high - low) * each) + 1)]


def times(factor: float) -> str:
    """Write a factor with two digits: 3.2x, 45x, 1,200x."""
    if factor < 10:
        return f"{factor:.1f}x"
    digits = 10 ** max(0, int(np.log10(factor)) - 1)
    return f"{round(factor / digits) * digits:,}x"


# --- Landscapes that several scripts use ----------------------------------------------------------


def saddle(x: Tensor) -> Tensor:
    """A saddle at (0, 0), between minima at (0, 1) and (0, -1)."""
    a, b = x[..., 0], x[..., 1]
    return a**2 / 2 + b**4 / 4 - b**2 / 2


def shaken(loss: Loss, noise: float, seed: int) -> Loss:
    """Return the loss with noise in its gradient, as mini-batches bring it."""
    rng = np.random.default_rng(seed)
    return lambda x: loss(x) + (x * rng.normal(scale=noise, size=x.shape)).sum()


# --- Figures --------------------------------------------------------------------------------------


def figure(width: float, height: float) -> Any:
    """Make an empty figure of so many inches, of matplotlib, which is optional."""
    matplotlib = need("matplotlib.figure", extra="plots", what="a figure of the lecture")
    rc = need("matplotlib", extra="plots", what="a figure of the lecture").rcParams
    rc.update({"font.size": 9, "axes.titlesize": 9.5, "axes.titleweight": "bold"})
    rc.update({"axes.spines.top": False, "axes.spines.right": False})
    rc.update({"legend.frameon": False, "legend.fontsize": 8, "axes.grid": True})
    rc.update({"grid.alpha": 0.25, "lines.linewidth": 1.5})
    return matplotlib.Figure(figsize=(width, height), layout="constrained", facecolor="white")


def contours(
    axes: Any, loss: Loss, x: tuple[float, float], y: tuple[float, float], turned: bool = False
) -> None:
    """Draw the level lines of a loss of two numbers over the rectangle ``x`` by ``y``.

    With ``turned`` the second number is the one that goes to the right.
    """
    columns, rows = np.meshgrid(np.linspace(*x, 40), np.linspace(*y, 40))
    points = np.stack([rows, columns] if turned else [columns, rows], axis=-1)
    heights = values(loss, points.reshape(-1, 2)).reshape(columns.shape)
    axes.grid(False)
    axes.contour(columns, rows, heights, levels=14, colors="#BBBBBB", linewidths=0.7)
