"""Let the five rules descend the same surface from the same start, and see who arrives.

    python examples/optimizer_race.py                          all surfaces, as tables
    python examples/optimizer_race.py --surface rosenbrock     one of them
    python examples/optimizer_race.py --html race.html         a page to play with, for a browser
    python examples/optimizer_race.py --plot race.png          the paths, as a figure
    python examples/optimizer_race.py --lr sgd=0.002 --lr adam=0.5
    python examples/optimizer_race.py --rule mymodule:MyRule   your own rule runs as well

A learning rate that suits one rule ruins another. So each rule runs with every rate of a list, and
enters the race with its best one: that which reaches the goal first (and stays), or else ends
lowest. --lr chooses otherwise. The page holds all the runs.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from _shared import COLORS, Parser, check_plot, new_figure, save_figure, table
from tqdm import tqdm

from minidl import Tensor, optim

RULES: dict[str, type[optim.Optimizer]] = {
    "SGD": optim.SGD,
    "Momentum": optim.Momentum,
    "Adagrad": optim.Adagrad,
    "RMSProp": optim.RMSProp,
    "Adam": optim.Adam,
}
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
LOOKS = list(zip((*COLORS, "#6E6E6E"), "os^D*Pv", strict=True))  # the color and marker of a racer
FAR = 1000.0  # whoever is this far from the start has diverged
STAY = 0.9  # whoever is at the goal only later than this share of the steps may be passing by
MOST_STEPS = 1000
TEMPLATE = Path(__file__).with_suffix(".html")
GRID = (129, 97)  # points across and down at which the page knows the height of a surface


class Surface(NamedTuple):
    """A loss of two parameters whose lowest value is zero, and where the race over it begins."""

    title: str
    formula: str
    story: str  # what to look for
    loss: Callable[[Any, Any], Any]
    start: tuple[float, float]
    optima: tuple[tuple[float, float], ...]
    goal: float  # arrived is whose loss is below this
    view: tuple[float, float, float, float]  # left, right, bottom, top; as 4 to 3
    saddle: tuple[float, float] | None = None


def ravine(x: Any, y: Any) -> Any:
    return x**2 / 2 + 90 * y**2


def saddle(x: Any, y: Any) -> Any:
    return x**2 - y**2 / 2 + y**4 / 6 + 3 / 8


def beale(x: Any, y: Any) -> Any:
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def rosenbrock(x: Any, y: Any) -> Any:
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def minima(x: Any, y: Any) -> Any:
    return (x**2 + y**2) / 10 + (1 - np.cos(2 * x) * np.cos(2 * y)) / 4


SURFACES = {
    "ravine": Surface(
        "Ravine",
        "x**2 / 2 + 90 y**2",
        "Curved 180 times more across than along. SGD must be slow enough for the steep "
        "direction, zig-zags there, and crawls along the flat one. Adagrad, RMSProp and Adam "
        "measure each direction by its own gradients.",
        ravine,
        (-4.5, 1.0),
        ((0.0, 0.0),),
        0.01,
        (-5.0, 3.0, -3.0, 3.0),
    ),
    "saddle": Surface(
        "Saddle",
        "x**2 - y**2 / 2 + y**4 / 6 + 3/8",
        "The slope leads straight to the saddle, where the gradient is almost zero: the way on is "
        "to either side. SGD and momentum linger there. Rules that divide by the gradient's size "
        "hardly notice it.",
        saddle,
        (-1.6, 1e-5),
        ((0.0, 1.5**0.5), (0.0, -(1.5**0.5))),
        0.01,
        (-2.9, 2.3, -1.95, 1.95),
        (0.0, 0.0),
    ),
    "beale": Surface(
        "Beale",
        "(1.5 - x + xy)**2 + (2.25 - x + xy**2)**2 + (2.625 - x + xy**3)**2",
        "A cliff at the start, a long flat valley after it. A rate that is small enough for the "
        "cliff is too small for the valley.",
        beale,
        (1.0, 1.5),
        ((3.0, 0.5),),
        0.01,
        (-0.8, 4.4, -1.7, 2.2),
    ),
    "rosenbrock": Surface(
        "Rosenbrock",
        "(1 - x)**2 + 100 (y - x**2)**2",
        "It is easy to find the bent valley, and hard to follow it: its floor hardly slopes, and "
        "its walls throw back whoever steps too far.",
        rosenbrock,
        (-1.2, 1.0),
        ((1.0, 1.0),),
        0.01,
        (-2.0, 2.0, -0.8, 2.2),
    ),
    "minima": Surface(
        "Several minima",
        "(x**2 + y**2) / 10 + (1 - cos(2x) cos(2y)) / 4",
        "Hollows on the way down into a bowl. SGD rests in one of them, and so does Adagrad, "
        "whatever their rate. What has momentum can roll on.",
        minima,
        (-3.9, 2.8),
        ((0.0, 0.0),),
        0.01,
        (-5.2, 5.2, -3.9, 3.9),
    ),
}


class Run(NamedTuple):
    """The way of one rule with one learning rate; it ends where it diverges."""

    lr: float
    path: np.ndarray  # (steps + 1, 2), beginning with the start
    losses: np.ndarray  # (steps + 1,)
    arrived: int | None  # the step from which on the loss stays below the goal
    diverged: int | None  # the step that led too far away
    distance: float  # from where it ends to the next optimum

    @property
    def order(self) -> tuple[float, ...]:
        """What ranks runs: arrived early, then without diverging, then with a low loss."""
        steps = math.inf if self.arrived is None else self.arrived
        return (self.diverged is not None, steps, float(self.losses[-1]))


Entry = tuple[list[Run], Run]  # all runs of a rule on a surface, and that which is in the race


def descend(
    surface: Surface, rule: type[optim.Optimizer], rates: Sequence[float], steps: int
) -> list[Run]:
    """Let one rule descend the surface, once with each learning rate.

    The descents do not touch: each has a point of its own, in a group with a rate of its own, and
    the gradient of a sum is each summand's gradient.
    """
    points = [Tensor(np.array(surface.start), requires_grad=True) for _ in rates]
    groups = [{"params": [p], "lr": lr} for p, lr in zip(points, rates, strict=True)]
    optimizer = rule(groups, lr=rates[0])
    paths, losses = [], []
    with np.errstate(all="ignore"):  # whoever diverges ends in infinity
        for step in range(steps + 1):
            optimizer.zero_grad()
            x, y = np.stack(points, axis=1)  # each (rates,)
            loss = surface.loss(x, y)
            paths.append(np.stack([p.data for p in points]))
            losses.append(loss.numpy())
            if step < steps:
                loss.sum().backward()
                optimizer.step()
    whole = zip(rates, np.stack(paths, axis=1), np.stack(losses, axis=1), strict=True)
    return [_run(surface, *one) for one in whole]


def _run(surface: Surface, lr: float, path: np.ndarray, losses: np.ndarray) -> Run:
    """Cut a run where it diverges, and measure it."""
    with np.errstate(all="ignore"):
        near = np.hypot(*(path - surface.start).T) < FAR
    lost = np.flatnonzero(~(near & np.isfinite(losses)))
    diverged = int(lost[0]) if len(lost) else None
    path, losses = path[:diverged], losses[:diverged]
    outside = np.flatnonzero(~(losses < surface.goal))
    first = int(outside[-1]) + 1 if len(outside) else 0
    arrived = first if diverged is None and first <= STAY * (len(losses) - 1) else None
    distance = min(math.dist(path[-1], optimum) for optimum in surface.optima)
    return Run(lr, path, losses, arrived, diverged, distance)


def race(
    surfaces: Mapping[str, Surface],
    rules: Mapping[str, type[optim.Optimizer]],
    steps: int,
    chosen: Mapping[str, float],
) -> dict[str, dict[str, Entry]]:
    """Run every rule with every rate on every surface, and enter the best run or the chosen."""
    results: dict[str, dict[str, Entry]] = {key: {} for key in surfaces}
    pairs = [(key, name) for key in surfaces for name in rules]
    for key, name in tqdm(pairs, desc="racing", unit="descents", leave=False, disable=None):
        rates = sorted({*RATES, chosen.get(name, RATES[0])})
        runs = descend(surfaces[key], rules[name], rates, steps)
        if name in chosen:
            entered = runs[rates.index(chosen[name])]
        else:
            entered = min(runs, key=lambda run: run.order)
        results[key][name] = (runs, entered)
    return results


def report(surface: Surface, entries: Mapping[str, Entry], steps: int) -> str:
    """Tell in a table how the race went."""
    rows = [
        [
            name,
            f"{run.lr:g}",
            _short(run.losses[-1]),
            "-" if run.arrived is None else run.arrived,
            _short(run.distance),
            "-" if run.diverged is None else f"in step {run.diverged}",
        ]
        for name, (_, run) in entries.items()
    ]
    header = ["rule", "lr", "final loss", "steps to goal", "distance to optimum", "diverged"]
    x, y = surface.start
    return (
        f"{surface.title}: {surface.formula}\n"
        f"from ({x:g}, {y:g}), loss {surface.loss(x, y):.3g}, {steps} steps; the goal is a loss "
        f"that stays below {surface.goal:g}\n\n{table(header, rows)}"
    )


def _short(value: float) -> str:
    """Write a number; what is as good as zero differs from one processor to the next."""
    return "< 1e-6" if value < 1e-6 else f"{value:.2g}"


# The figure ---------------------------------------------------------------------------------------


def heights(surface: Surface, across: int, down: int) -> tuple[np.ndarray, ...]:
    """The points of a grid over the view, the top row first, and the loss there, compressed.

    The logarithm keeps contours apart both on the cliffs and, with one added, on the ground.
    """
    left, right, bottom, top = surface.view
    x, y = np.meshgrid(np.linspace(left, right, across), np.linspace(top, bottom, down))
    loss = surface.loss(x, y)
    return x, y, np.log1p(loss / np.quantile(loss, 0.15))


def plot(results: Mapping[str, Mapping[str, Entry]], path: str) -> None:
    """Draw the paths of each race on the contours, and how the loss fell."""
    figure = new_figure(11, 4.1 * len(results) + 0.5)
    panels = figure.subplots(len(results), 2, squeeze=False, width_ratios=(1.25, 1))
    for (way, fall), (key, entries) in zip(panels, results.items(), strict=True):
        surface = SURFACES[key]
        left, right, bottom, top = surface.view
        x, y, height = heights(surface, 320, 240)
        way.contourf(x, y, height, levels=18, cmap="Greys", alpha=0.4)
        way.contour(x, y, height, levels=18, colors="#8a94a0", linewidths=0.5)
        for (color, marker), (name, (_, run)) in zip(LOOKS, entries.items(), strict=False):
            label = f"{name}, lr {run.lr:g}" + (" (diverged)" if run.diverged is not None else "")
            style: dict[str, Any] = {"color": color, "marker": marker, "markeredgecolor": "white"}
            style |= {"markersize": 11 if marker == "*" else 7, "markeredgewidth": 0.7}
            style |= {"linewidth": 1.6, "label": label}
            style |= {"linestyle": "--" if marker == "D" else "-"}  # whoever is under it is seen
            way.plot(*run.path.T, markevery=[len(run.path) - 1], **style)
            if len(run.path) > 1:
                way.plot(*run.path[1:-1].T, ".", color=color, markersize=2.5)
            shown = np.maximum(run.losses, surface.goal / 100)
            fall.plot(shown, markevery=[len(shown) - 1], **style)
        way.plot(*surface.start, "o", mfc="white", mec="black", markersize=7, zorder=1.9)
        way.annotate("start", surface.start, (0, 9), textcoords="offset points", ha="center")
        for optimum in surface.optima:
            way.plot(*optimum, "x", color="black", markersize=9, markeredgewidth=2, zorder=5)
        way.set(xlabel="x", ylabel="y", xlim=(left, right), ylim=(bottom, top), aspect="equal")
        way.set_title(f"{surface.title} (x marks the optimum)")
        highest = surface.loss(*surface.start)
        fall.axhline(surface.goal, color="black", linestyle=":", linewidth=1)
        fall.annotate("goal", (1, surface.goal), (-4, 3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", ha="right")  # fmt: skip
        fall.set(xlabel="step", ylabel="loss (log scale)", yscale="log")
        fall.set_ylim(surface.goal / 150, highest * 100)
        fall.grid(alpha=0.3)
        fall.legend(loc="upper right", fontsize="small")
    save_figure(figure, path)


# The page -----------------------------------------------------------------------------------------


def page(results: Mapping[str, Mapping[str, Entry]], steps: int) -> str:
    """Write the page that shows the race: the template with the recorded runs in it."""
    names = next(iter(results.values()))
    record = {
        "steps": steps,
        "rules": [{"name": name} for name in names],
        "surfaces": [_recorded(SURFACES[key], entries) for key, entries in results.items()],
    }
    text = json.dumps(record, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return TEMPLATE.read_text(encoding="utf-8").replace("__RECORD__", text)


def _recorded(surface: Surface, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """A surface and the runs over it, in whole numbers that are short to write.

    Places are in 4,000ths of the view, losses in 500ths of a decade, heights in 900ths of their
    range. Of each list only the first is written in full, then the differences.
    """
    left, right, bottom, _ = surface.view
    scale = 4000 / (right - left)
    height = heights(surface, *GRID)[-1]
    formula = surface.formula
    for plain, raised in (("**2", "²"), ("**3", "³"), ("**4", "⁴"), (" - ", " \u2212 ")):
        formula = formula.replace(plain, raised)

    def place(points: Any) -> np.ndarray:
        return (np.atleast_2d(points) - (left, bottom)) * scale

    def recorded(run: Run) -> dict[str, Any]:
        across, up = place(run.path).T
        decades = np.log10(np.maximum(run.losses, 1e-12))
        return {
            "lr": run.lr,
            "x": _differences(across),
            "y": _differences(up),
            "loss": _differences(500 * decades),
            "final": float(f"{run.losses[-1]:.3g}"),
            "distance": float(f"{run.distance:.3g}"),
            "arrived": run.arrived,
            "diverged": run.diverged,
        }

    return {
        "title": surface.title,
        "formula": formula,
        "story": surface.story,
        "goal": surface.goal,
        "view": surface.view,
        "optima": np.rint(place(surface.optima)).astype(int).tolist(),
        "saddle": surface.saddle and np.rint(place(surface.saddle))[0].astype(int).tolist(),
        "grid": GRID,
        "heights": _differences(900 * height.ravel() / height.max()),
        "runs": [[recorded(run) for run in runs] for runs, _ in entries.values()],
        "entered": [
            next(i for i, run in enumerate(runs) if run is entered)
            for runs, entered in entries.values()
        ],
    }


def _differences(values: np.ndarray) -> list[int]:
    return np.diff(np.rint(values).astype(int), prepend=0).tolist()


# The command line ---------------------------------------------------------------------------------


def own_rule(spec: str) -> type[optim.Optimizer]:
    """Find the rule that ``--rule module:Class`` names, in this folder or what is installed.

    Raises:
        ValueError: if there is none, or it is not a rule that can be made with a learning rate.
    """
    module, _, name = spec.partition(":")
    if not (name.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise ValueError(f"--rule {spec}: write it as module:Class, such as mymodule:MyRule")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        rule = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"--rule {spec}: {error} (looked in this folder and sys.path)") from error
    if not (isinstance(rule, type) and issubclass(rule, optim.Optimizer)):
        raise ValueError(f"--rule {spec}: {name} in {module} is not a class of optim.Optimizer")
    try:
        rule([Tensor([1.0], requires_grad=True)], lr=RATES[0])
    except TypeError as error:
        raise ValueError(f"--rule {spec}: cannot make it as {name}(params, lr=...): {error}") from (
            error
        )
    return rule


def chosen_rates(given: Sequence[str], rules: Mapping[str, Any]) -> dict[str, float]:
    """Read what ``--lr RULE=VALUE`` says.

    Raises:
        ValueError: if there is no such rule, or the value is not a positive number.
    """
    names = {name.lower(): name for name in rules}
    chosen = {}
    for text in given:
        rule, _, value = text.partition("=")
        if rule.lower() not in names:
            raise ValueError(
                f"--lr {text}: write it as RULE=VALUE, where RULE is one of {', '.join(names)}"
            )
        try:
            lr = float(value)
        except ValueError:
            lr = math.nan
        if not 0 < lr < math.inf:
            raise ValueError(f"--lr {text}: the learning rate is a number above 0, got {value!r}")
        chosen[names[rule.lower()]] = lr
    return chosen


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument(
        "--surface", choices=SURFACES, action="append", help="only this one; may be repeated"
    )
    parser.add_argument("--steps", type=int, default=300, help="(default: 300)")
    parser.add_argument(
        "--rule",
        metavar="MODULE:CLASS",
        action="append",
        default=[],
        help="a rule of your own that runs too; may be repeated",
    )
    parser.add_argument(
        "--lr",
        metavar="RULE=VALUE",
        action="append",
        default=[],
        help="the learning rate of a rule, in place of the best; may be repeated",
    )
    parser.add_argument("--plot", metavar="FILE", help="save the paths as a figure")
    parser.add_argument("--html", metavar="FILE", help="save the race as a page for a browser")
    args = parser.parse_args(argv)
    if not 1 <= args.steps <= MOST_STEPS:
        parser.error(f"--steps is a number from 1 to {MOST_STEPS}, got {args.steps}")

    with parser.one_line_errors():
        check_plot(args.plot)
        if args.html is not None and not os.path.isdir(os.path.dirname(args.html) or "."):
            raise ValueError(f"--html {args.html}: there is no folder {os.path.dirname(args.html)}")
        rules = dict(RULES)
        for spec in args.rule:
            rule = own_rule(spec)
            if rule.__name__.lower() in map(str.lower, rules):
                raise ValueError(
                    f"--rule {spec}: a {rule.__name__} runs already: give yours another name"
                )
            rules[rule.__name__] = rule
        if len(rules) > len(LOOKS):
            raise ValueError(f"--rule: at most {len(LOOKS) - len(RULES)} of your own can run")
        surfaces = {key: SURFACES[key] for key in args.surface or SURFACES}
        chosen = chosen_rates(args.lr, rules)
        results = race(surfaces, rules, args.steps, chosen)

        tables = [report(SURFACES[key], entries, args.steps) for key, entries in results.items()]
        print("\n\n".join(tables))
        if len(chosen) < len(rules):
            print(
                f"\nlr is the best of {', '.join(f'{lr:g}' for lr in RATES)}, unless you chose it"
            )
        if args.plot:
            plot(results, args.plot)
        if args.html:
            Path(args.html).write_text(page(results, args.steps), encoding="utf-8")
            print(f"\npage saved to {args.html}: open it in a browser")


if __name__ == "__main__":
    main()
