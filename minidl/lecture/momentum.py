"""C7 to C9: momentum. A ball with friction, its direction, and where it comes to rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import Tensor, optim
from minidl.lecture.experiment import (
    BLUE,
    CONDITION,
    GRAY,
    HOLDS,
    NO_CHANCE,
    ORANGE,
    Array,
    Finding,
    Try,
    contours,
    degrees,
    descend,
    exponent,
    judge,
    saddle,
    slope,
    state,
    values,
)

# --- C7: the ball ---------------------------------------------------------------------------------

CURVATURE = np.array([1.0, 9.0])


def bowl(x: Tensor) -> Tensor:
    return (CURVATURE * x**2).sum(-1) / 2


def ball(start: Array, friction: float, t: Array) -> Array:
    """Return where a ball of mass 1 is after the times ``t``, released at rest in the bowl.

    The exact solution of x'' = -gradient - friction * x'.
    """
    omega = np.sqrt(CURVATURE - friction**2 / 4)
    t = t[:, None]  # (times, 1)
    swing = np.cos(omega * t) + friction / (2 * omega) * np.sin(omega * t)
    return start * np.exp(-friction * t / 2) * swing


def steps_to_arrive(rule: Any, condition: float, **settings: Any) -> int:
    """Return how many steps it takes to a millionth of the distance, in a ravine of curvatures 1
    and ``condition``."""
    curvature = np.array([1.0, condition])
    near = lambda x: bool(np.linalg.norm(x) < 1e-6)
    path = descend(
        rule, lambda x: (curvature * x**2).sum() / 2, (1.0, 1.0), 20_000, until=near, **settings
    )
    return len(path) - 1


def tuned(condition: float) -> dict[str, tuple[Any, dict[str, float]]]:
    """Return both rules with what is best for curvatures from 1 to ``condition``, by theory.

    The error of SGD falls by (c - 1) / (c + 1) in each step, that of momentum by about (root - 1) /
    (root + 1), with c the condition number and root its square root (B. T. Polyak, "Some methods of
    speeding up the convergence of iteration methods", 1964).
    """
    root = condition**0.5
    mu = ((root - 1) / (root + 1)) ** 2
    return {
        "SGD": (optim.SGD, {"lr": 2 / (condition + 1)}),
        "Momentum": (optim.Momentum, {"lr": 4 / (root + 1) ** 2, "mu": mu}),
    }


def like_a_ball(
    time: float = 12.0,
    friction: float = 0.5,
    conditions: tuple[float, ...] = (10, 30, 100, 300, 1000),
) -> Finding:
    """C7. A ball on a landscape: loss is potential energy, the gradient acts on the velocity.

    x moves by v * lr per step. With h = sqrt(lr) as the time of a step and mu = 1 - friction * h
    this is the equation of motion of a ball, taken in steps of h.
    """
    start = np.array([2.0, 1.0])
    ticks = (0.2, 0.1, 0.05, 0.025)
    away, paths = [], {}
    for h in ticks:
        steps = round(time / h)
        paths[h] = path = descend(optim.Momentum, bowl, start, steps, lr=h**2, mu=1 - friction * h)
        true = ball(start, friction, h * np.arange(steps + 1))
        away.append(float(np.linalg.norm(path - true, axis=1).max()))
    order = exponent(ticks, away)
    h = ticks[-1]
    speed = np.diff(paths[h], axis=0) / h
    potential = values(bowl, paths[h])
    total = potential[1:] + np.sum(speed**2, axis=1) / 2
    gained = float(np.maximum(np.diff(total), 0).sum() / potential[0])
    need = {
        name: [
            steps_to_arrive(rule, c, **best) for c in conditions for rule, best in [tuned(c)[name]]
        ]
        for name in ("SGD", "Momentum")
    }
    theory = {
        "SGD": [np.log(1e6) / np.log((c + 1) / (c - 1)) for c in conditions],
        "Momentum": [np.log(1e6) / np.log((c**0.5 + 1) / (c**0.5 - 1)) for c in conditions],
    }
    law = {name: exponent(conditions, of) for name, of in need.items()}

    def draw(page: Any) -> None:
        left, right, race = page.subplots(1, 3)
        contours(left, bowl, (-1.3, 2.2), (-1.2, 1.2))
        way = ball(start, friction, np.linspace(0, time, 800))
        left.plot(*way.T, color=GRAY, linewidth=4, alpha=0.5, label="ball")
        for h, mark, size in ((0.2, "s", 4), (0.05, ".", 3)):
            fill = {"markerfacecolor": "white"} if mark == "s" else {}
            label = f"Momentum, lr {h**2:.2g}"
            left.plot(*paths[h].T, mark, color=ORANGE, markersize=size, label=label, **fill)
        left.set(xlabel="x", ylabel="y", title="A damped ball in a bowl")
        left.set_aspect("equal")
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=1)
        t = ticks[-1] * np.arange(len(potential))
        right.plot(t, potential, "--", color=ORANGE, label="loss (potential energy)")
        right.plot(t[1:], total, color=ORANGE, label="with the energy of motion")
        right.set(
            xlabel="time = steps times sqrt(lr)", ylabel="energy", title="Friction takes the energy"
        )
        right.legend(loc="upper right")
        for name, color in (("SGD", BLUE), ("Momentum", ORANGE)):
            race.loglog(conditions, theory[name], "-", color=color, linewidth=1)
            race.loglog(
                conditions, need[name], "o", color=color, label=f"{name}: ~ c^{law[name]:.2f}"
            )
        race.set(xlabel="condition number c", ylabel="steps to a millionth of the distance")
        race.set(title="Faster in ravines")
        race.legend(loc="upper left")

    return Finding(
        claim="C7",
        title="Momentum is a ball on a landscape",
        says="Momentum is a ball rolling on a landscape: the loss is its potential energy, the "
        "gradient a force, which acts on the velocity and not directly on the position.",
        does="Compares the rule's path in a bowl with the exact solution of the damped ball's "
        "equation of motion, x'' = -gradient - friction x', for ever smaller learning rates. Then "
        "races it against SGD in ravines, each with the settings that theory calls best.",
        measured="The largest distance from the ball is "
        + ", ".join(f"{a:.2f} for lr {h**2:.2g}" for a, h in zip(away, ticks, strict=True))
        + f": it shrinks as the time step sqrt(lr) to the power {order:.2f}. Loss plus energy of "
        f"motion {'falls' if gained < 0.001 else 'does not fall'} all the time (rises sum to "
        f"{100 * gained:.1f} % of the start). To come "
        f"within a millionth of the distance SGD needs "
        f"{', '.join(f'{n:,}' for n in need['SGD'])} steps, momentum "
        f"{', '.join(f'{n:,}' for n in need['Momentum'])}, at condition numbers of "
        f"{', '.join(f'{c:,}' for c in conditions)}: in proportion to the condition number to the "
        f"power {law['SGD']:.2f} and {law['Momentum']:.2f} (theory: 1 and 1/2).",
        verdict=judge(
            seen=order > 0.8 and away[-1] < 0.2 and law["Momentum"] < 0.75 < law["SGD"],
            exception=gained > 0.05,
        ),
        usual=HOLDS,
        because="with the step's time sqrt(lr) and mu = 1 - friction sqrt(lr), momentum is the "
        "ball's equation of motion, taken in steps. A ball gathers speed along a ravine, and so "
        "momentum is the faster, the narrower the ravine the more.",
        numbers={"order": order, "away": away[-1], "gained": gained}
        | {f"law, {name}": law[name] for name in law}
        | {f"steps, {name}": need[name][-1] for name in need}
        | {f"theory, {name}": theory[name][-1] for name in theory},
        brief=f"distance to the ball's path ~ time step^{order:.2f}; steps in a ravine ~ "
        f"c^{law['Momentum']:.2f}, SGD c^{law['SGD']:.2f}",
        chance=NO_CHANCE,
        alt="The path of momentum lies on that of a damped ball; the total energy falls; momentum "
        "needs far fewer steps than SGD in narrow ravines",
        caption="Left: the line is the ball, the dots are steps of the rule. In the middle the "
        "loss goes up and down as the ball swings; with the energy of motion added it only falls. "
        "On the right the lines are what theory says of the slowest direction alone, the dots what "
        "was counted: momentum takes some steps more, since at its best setting the distance "
        "shrinks as t times r^t, not as r^t.",
        tries=(
            Try(
                "like_a_ball(friction=0.01)",
                "hardly any friction. With 0 it would be mu = 1, which minidl refuses: why?",
            ),
        ),
        draw=draw,
    )


# --- C8: the direction ----------------------------------------------------------------------------


def along_the_velocity(steps: int = 60, mu: float = 0.9) -> Finding:
    """C8. The step goes in the direction of the velocity, not of the gradient at the position."""
    start, lr = (2.0, 1.0), 0.02
    to_velocity, to_gradient, paths = {}, {}, {}
    for name, kept in (("SGD", 0.0), ("Momentum", mu)):
        v: list[Array] = []
        note = lambda optimizer, v=v: v.append(state(optimizer)["v"])
        paths[name] = path = descend(optim.Momentum, bowl, start, steps, watch=note, lr=lr, mu=kept)
        gradients = np.array([slope(bowl, x) for x in path[:-1]])
        moves = np.diff(path, axis=0)
        to_velocity[name] = float(degrees(moves, np.array(v)).max())
        to_gradient[name] = degrees(moves, -gradients)
    uphill = float(np.mean(to_gradient["Momentum"] > 90))
    largest = float(to_gradient["Momentum"].max())

    def draw(page: Any) -> None:
        left, right = page.subplots(1, 2)
        path = paths["Momentum"]
        contours(left, bowl, (-1.2, 2.2), (-0.9, 1.2))
        left.plot(*path.T, ".-", color=ORANGE, markersize=4)
        for t in range(4, 24, 4):
            down = -np.array(slope(bowl, path[t]))
            down /= np.linalg.norm(down)
            step = (path[t + 1] - path[t]) / np.linalg.norm(path[t + 1] - path[t])
            for vector, color in ((down, GRAY), (step, ORANGE)):
                left.annotate(
                    "",
                    path[t] + 0.35 * vector,
                    path[t],
                    arrowprops={"arrowstyle": "->", "color": color, "linewidth": 1.5},
                )
        left.set(xlabel="x", ylabel="y", title="Steps (orange) and downhill (gray)")
        left.set_aspect("equal")
        for name, color in (("SGD", BLUE), ("Momentum", ORANGE)):
            right.plot(to_gradient[name], color=color, label=name)
        right.axhline(90, color=GRAY, linewidth=1, linestyle=":")
        right.set(xlabel="step", ylabel="degrees", ylim=(-5, 185), yticks=(0, 45, 90, 135, 180))
        right.set_title("Angle between step and downhill")
        right.legend(loc="upper right")

    return Finding(
        claim="C8",
        title="The step follows the velocity",
        says="The step goes in the direction of the velocity vector, not of the gradient at the "
        "position.",
        does="Measures the angle of each step to the velocity v that the rule keeps, "
        "and to the negative gradient, in a bowl.",
        measured=f"To the velocity: at most {to_velocity['Momentum']:.0e} degrees. To the negative "
        f"gradient: {np.median(to_gradient['Momentum']):.0f} degrees in the median, up to "
        f"{largest:.0f}; {100 * uphill:.0f} % of the steps go uphill. With mu = 0 (SGD): at most "
        f"{to_gradient['SGD'].max():.0e} degrees.",
        verdict=judge(
            seen=to_velocity["Momentum"] < 1e-3 and largest > 90,
            exception=np.median(to_gradient["Momentum"]) < 5,
        ),
        usual=HOLDS,
        because="the gradient only turns the velocity; it can even point the other way.",
        numbers={"to velocity": to_velocity["Momentum"], "largest": largest, "uphill": uphill},
        brief=f"at most {to_velocity['Momentum']:.0e}° to the velocity, up to {largest:.0f}° to "
        "downhill",
        chance=NO_CHANCE,
        alt="Steps and downhill directions in a bowl, and the angle between them over time",
        caption="Each step (orange arrow) goes where the path goes, and not downhill (gray arrow).",
        tries=(Try("along_the_velocity(mu=0.5)", "how far do the angles go?"),),
        draw=draw,
    )


# --- C9: where it stops ---------------------------------------------------------------------------


def hills(x: Tensor) -> Tensor:
    """A shallow minimum at 1.1, and a deeper one at -1.3, behind a hill."""
    return (x**4 / 4 - 0.7 * x**2 + 0.3 * x).sum(-1)


def flat(x: Tensor) -> Tensor:
    """A slope with a flat at 0, where gradient and curvature are zero, above a minimum at -1."""
    return (x**4 / 4 + x**3 / 3).sum(-1)


def passing(steps: int = 2000, off_the_ridge: float = 0.0) -> Finding:
    """C9. It does not stop at minima, nor at saddle points, though the gradient is zero there."""
    lr = 0.01
    surfaces = {  # with a start, the point of zero gradient ahead, and how far counts as passed
        "local minimum": (hills, [2.3], 1.09, -0.5),
        "flat": (flat, [1.5], 0.0, -0.5),
        "saddle along its ridge": (saddle, [1.5, off_the_ridge], 0.0, -0.2),
    }
    frictions = (0.0, 0.5, 0.9, 0.95, 0.99)
    passed: dict[str, dict[float, bool]] = {}
    speed, rest, ends = {}, [], {}
    shown = {}
    for name, (loss, start, at, beyond) in surfaces.items():
        passed[name] = {}
        for mu in frictions:
            path = descend(optim.Momentum, loss, start, steps, lr=lr, mu=mu)
            shown[name, mu] = path
            passed[name][mu] = bool((path[:, 0] < beyond).any())
            speeds = np.linalg.norm(np.diff(path, axis=0), axis=1)
            rest.append(speeds[-1] / speeds.max())
            if mu == 0.95:
                over = int(np.argmax(path[:, 0] < at))
                speed[name] = float(np.linalg.norm(path[over] - path[over - 1]) / lr)
                ends[name] = path[-1]
    moving = sum(v > 1e-3 for v in rest)
    through = {name: [mu for mu in frictions if passed[name][mu]] for name in surfaces}
    slopes = max(np.linalg.norm(slope(surfaces[n][0], ends[n])) for n in ends)
    x, y = ends["saddle along its ridge"]

    def draw(page: Any) -> None:
        for axes, name in zip(page.subplots(1, 3), surfaces, strict=True):
            for mu, color, line in ((0.0, BLUE, "-"), (0.9, ORANGE, "--"), (0.95, ORANGE, "-")):
                label = "SGD" if mu == 0 else f"Momentum, mu {mu}"
                axes.plot(shown[name, mu][:300, 0], line, color=color, label=label)
            axes.axhline(surfaces[name][2], color=GRAY, linewidth=1, linestyle=":")
            axes.set(xlabel=f"step (lr {lr:g})", ylabel="x", title=name.capitalize())
        page.axes[1].legend(loc="upper right")

    return Finding(
        claim="C9",
        title="Momentum does not stop at minima or saddles",
        says="Momentum does not stop at minima, nor at saddle points, since the update follows the "
        "velocity even where the gradient is zero.",
        does="Lets it roll into a local minimum before a deeper one, over a flat with zero "
        "gradient, and along a saddle's ridge, with mu from 0 to 0.99, and looks where it is after "
        f"{steps:,} steps.",
        measured="With mu 0.95 it goes through at a speed of "
        + ", ".join(f"{speed[n]:.2f} ({n})" for n in surfaces)
        + " where the gradient is zero. It gets through the local minimum with mu "
        + ", ".join(map(str, through["local minimum"]))
        + f" and over the flat with mu {', '.join(map(str, through['flat']))}. But {moving} of "
        f"{len(rest)} runs still move at the end (at 0.1 % of their top speed or more); with "
        f"mu 0.95 the gradient there is at most {slopes:.0e}, and from the ridge it has come to "
        f"({x:.2g}, {y:.2g}), with the saddle at (0, 0) and the minima at (0, 1) and (0, -1).",
        verdict=judge(
            seen=all(0.95 in through[name] and speed[name] > 1 for name in surfaces),
            exception=moving < len(rest),
        ),
        usual=CONDITION,
        because="it does not stop at the first point of zero gradient, if it arrives fast enough. "
        "But friction takes the energy, and in the end it settles: in a minimum, or on a saddle if "
        "it rolled exactly along the ridge. Otherwise nothing would ever converge.",
        numbers={
            "moving": moving,
            "speed in the minimum": speed["local minimum"],
            "speed on the flat": speed["flat"],
            "speed on the saddle": speed["saddle along its ridge"],
            "sgd passed": float(passed["local minimum"][0.0]),
            "momentum passed": float(passed["local minimum"][0.95]),
        },
        brief=f"passes through all three with mu 0.95; {moving} of {len(rest)} runs still move at "
        "the end",
        chance=NO_CHANCE,
        alt="Position over time for SGD and momentum at a local minimum, a flat and a saddle",
        caption="The dotted line is where the gradient is zero. SGD stops there (at the flat it "
        "crawls); momentum passes, and comes to rest further on, at the saddle in the end "
        "on the very point that it passed.",
        tries=(
            Try(
                "passing(off_the_ridge=1e-9, steps=600)",
                "start a little beside the saddle's ridge: where has it come to now?",
            ),
        ),
        draw=draw,
    )
