"""C10 to C12: Adagrad. Scaling each coordinate, ravines, what happens as training goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import minidl
from minidl import Tensor, data, nn, optim
from minidl.lecture.experiment import (
    COLORS,
    CONDITION,
    GRAY,
    GREEN,
    HOLDS,
    NO_CHANCE,
    Array,
    Finding,
    Loss,
    Try,
    decades,
    degrees,
    descend,
    exponent,
    follow,
    judge,
    shaken,
    slope,
    state,
    times,
)

CURVATURE = np.array([1.0, 1000.0])


def ravine(x: Tensor) -> Tensor:
    """A ravine along the first axis, a thousand times steeper across."""
    return (CURVATURE * x**2).sum(-1) / 2


# --- C10: a scaling of the gradient ---------------------------------------------------------------


def scaling(steps: int = 200, eps: float = 1e-10) -> Finding:
    """C10. Dividing by the root of the cached squared gradient is a scaling of the gradient."""
    start, lr = np.array([1.0, 0.5]), 0.1
    caches: list[Array] = []
    note = lambda optimizer: caches.append(state(optimizer)["cache"])
    path = descend(optim.Adagrad, ravine, start, steps, watch=note, lr=lr, eps=eps)
    gradients = np.array([slope(ravine, x) for x in path[:-1]])
    moves = np.diff(path, axis=0)
    rates = lr / (np.sqrt(np.array(caches)) + eps)  # (steps, 2)
    error = float(np.abs(moves / (-rates * gradients) - 1).max())
    angle = degrees(moves, -gradients)
    ratio = float(rates[-1, 0] / rates[-1, 1])
    harder = descend(optim.Adagrad, lambda x: 1000 * ravine(x), start, steps, lr=lr, eps=eps)
    moved = float(np.abs(harder - path).max())

    def draw(page: Any) -> None:
        left, right = page.subplots(1, 2)
        for i, (name, line) in enumerate((("along the ravine", "-"), ("across", "--"))):
            style: dict[str, Any] = {"color": GREEN, "label": name, "linestyle": line}
            left.loglog(np.arange(1, steps + 1), rates[:, i], **style)
            right.semilogy(np.abs(path[:, i]), **style)
        left.set(xlabel="step", ylabel="lr / (sqrt(cache) + eps)", title="Effective learning rate")
        right.set(xlabel="step", ylabel="distance from the minimum", title="Progress")
        left.legend(loc="center right")
        right.legend(loc="upper right")

    return Finding(
        claim="C10",
        title="Adagrad scales the gradient",
        says="Dividing by the root of the cached squared gradient is a scaling of the gradient.",
        does="Follows Adagrad in a ravine that is a thousand times steeper across than along, and "
        "compares each step with the gradient, coordinate by coordinate.",
        measured="In each coordinate the step is the gradient times lr / (sqrt(cache) + eps), up "
        f"to {error:.0e}. The factor is {ratio:,.0f} times as large along the ravine as across, so "
        f"the step turns away from the gradient by up to {angle.max():.0f} degrees. A loss a "
        f"thousand times as large gives the same path up to {moved:.0e}.",
        verdict=judge(seen=error < 1e-9 and moved < 1e-6, exception=bool((rates <= 0).any())),
        usual=HOLDS,
        because="each coordinate has a positive factor of its own, which makes the path "
        "independent of the units of the loss.",
        numbers={"error": error, "ratio": ratio, "angle": angle.max(), "moved": moved},
        brief=f"equal up to {error:.0e}; {ratio:,.0f}x between coordinates",
        chance=NO_CHANCE,
        alt="Effective learning rate for each coordinate, and progress in each",
        caption="Left: the factor of each coordinate. Right: the steep direction does not hold up "
        "the flat one.",
        tries=(
            Try(
                "scaling(eps=1.0)", "a loss a thousand times as large no longer gives the same path"
            ),
        ),
        draw=draw,
    )


# --- C11: the ravine ------------------------------------------------------------------------------


def turned(angle: float) -> Loss:
    """Return the ravine at an angle to the axes, in degrees."""
    a = np.radians(angle)
    back = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return lambda x: ravine(x @ back)


def steps_down(rule: Any, loss: Loss, start: Array, rates: Iterable[float], most: int) -> Array:
    """Return the shortest path to a loss below 0.001, over these learning rates."""
    best = np.zeros((most + 1, 2))
    low: Callable[[Array], bool] = lambda x: loss(Tensor(x)).item() < 1e-3
    for lr in rates:
        path = descend(rule, loss, start, len(best) - 1, until=low, lr=lr)
        if low(path[-1]) and len(path) < len(best):
            best = path
    return best


def overshooting(most: int = 4000, angle: float = 45.0) -> Finding:
    """C11. It helps where the gradient overshoots in one direction and undershoots in another."""
    start = np.array([1.3, 0.7])
    limit = 2 / CURVATURE.max()  # SGD overshoots across at rates above half of it
    low, high = (0.97 * limit, 0.9 * limit), decades(-1, 1, 4)
    there = np.array([[np.cos(a := np.radians(angle)), np.sin(a)], [-np.sin(a), np.cos(a)]])
    best = {
        "SGD": steps_down(optim.SGD, ravine, start, low, most),
        "SGD, never across": steps_down(optim.SGD, ravine, start, (limit / 2,), most),
        "Adagrad": steps_down(optim.Adagrad, ravine, start, high, most),
        "Adagrad, never across": steps_down(optim.Adagrad, ravine, start, (0.5,), most),
        "Adagrad, turned": steps_down(optim.Adagrad, turned(angle), start @ there, high, most),
        "SGD, turned": steps_down(optim.SGD, turned(angle), start @ there, low, most),
    }
    need = {name: len(path) - 1 for name, path in best.items()}
    flips = {n: int((np.diff(np.sign(path[:, 1])) != 0).sum()) for n, path in best.items()}
    gain = need["SGD, turned"] / need["Adagrad, turned"]
    left_over = "nothing is" if gain <= 1 else f"only {times(gain)} is"
    parts = {name: CURVATURE * path**2 / 2 for name, path in best.items()}  # along, and across
    alone = {
        n: [1 + int(np.flatnonzero(x >= 1e-3).max(initial=-1)) for x in parts[n].T] for n in parts
    }

    def draw(page: Any) -> None:
        left, right = page.subplots(1, 2, width_ratios=(3, 2))
        for name in ("SGD", "Adagrad"):
            for i, (direction, line) in enumerate((("along", "-"), ("across", "--"))):
                label = f"{name}, {direction} the ravine"
                left.plot(parts[name][:, i], line, color=COLORS[name], label=label)
        left.set_yscale("log")
        left.set_xscale("symlog", linthresh=10, linscale=1.2)  # the start is in sight
        left.set(xlabel="step (even up to 10, then logarithmic)", ylabel="its share of the loss")
        left.set(
            xlim=(0, None),
            xticks=(0, 5, 10, 100, 1000),
            xticklabels=("0", "5", "10", "100", "1,000"),
        )
        left.set(ylim=(1e-6, 1e10), title="What is left in each direction")
        left.legend(loc="upper right", frameon=True, framealpha=0.9)
        names = ["SGD", "SGD, turned", "Adagrad", "Adagrad, turned"]
        labels = [
            f"{name}, {how}"
            for name in ("SGD", "Adagrad")
            for how in ("along an axis", f"turned by {angle:g}°")
        ]
        colors = [COLORS["SGD"], COLORS["SGD"], COLORS["Adagrad"], COLORS["Adagrad"]]
        bars = right.barh(labels[::-1], [need[n] for n in names][::-1], color=colors[::-1])
        right.bar_label(bars, [f"{need[n]:,}" for n in names][::-1], padding=3)
        right.grid(False)
        right.set(xlabel="steps to a loss below 0.001", xlim=(0, 1.25 * max(need.values())))
        right.set_title("The turned ravine")

    return Finding(
        claim="C11",
        title="Adagrad helps in ravines",
        says="Adagrad helps where the gradient overshoots along one direction and undershoots "
        "along another: the step is normalised.",
        does="Counts the steps to a loss below 0.001 in a ravine with a thousandfold difference of "
        "curvature, each rule at the best of several learning rates and at one at which it never "
        f"overshoots; then turns the ravine by {angle:g} degrees.",
        measured=f"SGD needs {need['SGD']:,} steps, Adagrad {need['Adagrad']:,}. Overshooting is "
        f"not what costs: at these rates SGD overshoots across in {flips['SGD']:,} of its steps "
        f"and Adagrad in {flips['Adagrad']:,}, and at rates at which neither does SGD needs "
        f"{need['SGD, never across']:,} steps and Adagrad "
        f"{need['Adagrad, never across']:,}. Undershooting does: SGD has arrived across after "
        f"{alone['SGD'][1]:,} steps and along the ravine after {alone['SGD'][0]:,}, Adagrad after "
        f"{alone['Adagrad'][1]:,} and {alone['Adagrad'][0]:,}. In the turned ravine SGD needs "
        f"{need['SGD, turned']:,} steps, Adagrad {need['Adagrad, turned']:,}.",
        verdict=judge(
            seen=need["Adagrad"] < need["SGD"] / 10
            and alone["SGD"][0] > 10 * alone["SGD"][1]
            and max(alone["Adagrad"]) < 3 * min(alone["Adagrad"]),
            exception=need["Adagrad, turned"] > 10 * need["Adagrad"],
        ),
        usual=CONDITION,
        because="the steep direction limits SGD's rate, and the flat one then takes as many steps "
        "as it is flatter. Adagrad's step does not know how steep a direction is, so that both "
        "need equally many. But directions are those of the axes, that is of single weights: in a "
        f"slanting ravine every weight is steep, and {left_over} gained.",
        brief=f"{need['Adagrad']:,} steps, SGD {need['SGD']:,}; turned by {angle:g}° "
        f"{need['Adagrad, turned']:,}",
        chance=NO_CHANCE,
        alt="What is left of the loss along and across the ravine for SGD and Adagrad, and the "
        "steps that each needs, also in a turned ravine",
        caption="Left: SGD is soon done across the ravine, and crawls along it; Adagrad's two "
        "lines fall together. Its first step is as large as the learning rate in every coordinate, "
        "whatever the slope, so that at a large rate the loss first rises.",
        tries=(
            Try(
                "overshooting(angle=5)",
                "how much of the gain is left in a ravine that is turned a little?",
            ),
        ),
        numbers={**need, "flips": flips["SGD"], "flips, never": flips["SGD, never across"]},
        draw=draw,
    )


# --- C12: as training goes on ---------------------------------------------------------------------


def rates_in_training(rule: Any, epochs: int, seed: int) -> Array:
    """Return the weights' median effective rate after each epoch of learning the digits."""
    minidl.seed(seed)
    x, y = data.load_digits()
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = rule(model.parameters(), lr=0.05)
    loader = data.DataLoader(x / 16, y, batch_size=64, shuffle=True)
    result = []
    for _ in range(epochs):
        minidl.fit(model, nn.CrossEntropyLoss(), optimizer, loader, epochs=1, progress=False)
        cache = state(optimizer)["cache"]
        result.append(0.05 / np.median(np.sqrt(cache[cache > 0])))
    return np.array(result)


def going_on(steps: int = 4000, epochs: int = 15, seeds: int = 8, rule: str = "Adagrad") -> Finding:
    """C12. Problem: what happens as training goes on?"""
    if rule not in ("Adagrad", "RMSProp"):
        raise ValueError(
            f"going_on: rule is 'Adagrad' or 'RMSProp', which keep a cache, got {rule!r}"
        )
    lr, tested = 0.1, getattr(optim, rule)
    rates: dict[str, Array] = {}
    for name, noise in (("bowl with noise", 1.0), ("bowl without noise", 0.0)):
        caches: list[Array] = []
        note = lambda optimizer, caches=caches: caches.append(state(optimizer)["cache"])
        loss = shaken(lambda x: (x**2).sum() / 2, noise, seed=0)
        descend(tested, loss, np.ones(20), steps // 2, watch=note, lr=lr)
        rates[name] = np.mean(lr / np.sqrt(caches), axis=1)
    road = -follow(np.ones((steps, 1)), tested, lr=lr)[:, 0]
    rates["steady slope"] = np.diff(road)
    late = slice(steps // 10, None)
    power = {n: exponent(1 + np.arange(len(r))[late], r[late]) for n, r in rates.items()}
    trained = np.array([rates_in_training(tested, epochs, seed) for seed in range(seeds)])
    digits = [exponent(np.arange(1, epochs + 1), r) for r in trained]
    power["digits"] = float(np.mean(digits))
    far = [int(np.argmax(road > d * lr)) for d in (10, 100)]

    def draw(page: Any) -> None:
        left, right = page.subplots(1, 2)
        for (name, rate), line in zip(rates.items(), ("-", ":", "--"), strict=True):
            left.loglog(
                1 + np.arange(len(rate)),
                rate,
                line,
                color=COLORS[rule],
                label=f"{name}: t^{round(power[name], 2) + 0.0:.2f}",
            )
        batches = 29 * np.arange(1, epochs + 1)
        left.fill_between(batches, trained.min(axis=0), trained.max(axis=0), color=GRAY, alpha=0.3)
        label = f"digits, {seeds} seeds: t^{power['digits']:.2f}"
        left.loglog(batches, trained.mean(axis=0), "o", color=GRAY, markersize=3, label=label)
        left.set(xlabel="step t", ylabel="effective learning rate", title="The step shrinks")
        left.set(ylim=(1e-4, None))
        left.legend(loc="lower left")
        right.plot(road / lr, color=COLORS[rule], label=rule)
        sgd = -follow(np.ones((60, 1)), optim.SGD, lr=lr)[:, 0]
        right.plot(sgd / lr, color=COLORS["SGD"], label="SGD")
        right.set(xlabel="step", ylabel="way made / lr", title="Down a steady slope")
        right.legend(loc="lower right")

    return Finding(
        claim="C12",
        title="Adagrad: what happens as training goes on?",
        says="Problem of Adagrad: what happens as training goes on? (It slows down until it "
        "stalls: the cache only grows.)",
        does="Fits a power of time to the effective rate lr / sqrt(cache), in bowls with and "
        "without noise, on a steady slope, and in a network that learns the digits.",
        measured="The rate falls as t to the power "
        + ", ".join(f"{round(p, 2) + 0.0:.2f} ({name})" for name, p in power.items())
        + f", for the digits from {min(digits):.2f} to {max(digits):.2f} over {seeds} seeds"
        f". On the slope, 10 lr of way take {far[0]:,} steps, and ten times the way {far[1]:,}, "
        f"{times(far[1] / far[0])} as many.",
        verdict=judge(
            seen=all(-0.6 < power[name] < -0.4 for name in ("bowl with noise", "steady slope"))
            and max(digits) < -0.15
            and far[1] > 50 * far[0],
            exception=power["bowl without noise"] > -0.1,
        ),
        usual=CONDITION,
        because="as long as gradients keep coming, from noise or from a long way still to go, the "
        "step shrinks as 1 / sqrt(t), however far the goal. Where they become smaller, as in "
        "a network that learns, it shrinks more slowly, and where they vanish not at all.",
        numbers={**power, "stall": far[1] / far[0]},
        brief=f"the step shrinks as t^{power['bowl with noise']:.2f} under noise, "
        f"t^{round(power['bowl without noise'], 2) + 0.0:.2f} without",
        chance=f"{seeds} seeds: in a network from t^{min(digits):.2f} to t^{max(digits):.2f}",
        alt="Adagrad's effective learning rate over time in four cases, and the way it makes "
        "on a slope",
        caption="Left: the effective learning rate over time, both axes logarithmic, so that a "
        "power of time is a straight line. Right: on a steady slope Adagrad makes ever "
        "less way, where SGD would keep its pace.",
        tries=(Try('going_on(rule="RMSProp", epochs=3, seeds=2)', "does the step still shrink?"),),
        draw=draw,
    )
