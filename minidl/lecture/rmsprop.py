"""C13 to C15: RMSProp. What the decay rate gains, saddle points, and the way to Adam."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minidl import Tensor, optim
from minidl.lecture.experiment import (
    COLORS,
    CONDITION,
    GRAY,
    NO_CHANCE,
    ORANGE,
    RULES,
    Array,
    Finding,
    Try,
    decades,
    degrees,
    descend,
    follow,
    judge,
    saddle,
    state,
)

# --- C13: a decay rate ----------------------------------------------------------------------------


def noisy_bowl(every: int, flatter: float, seed: int) -> tuple[Callable[[Tensor], Tensor], Any]:
    """Return a bowl with noise in its gradient, and where its minimum is at each step.

    Every so many steps the minimum jumps, from 0 to 3 or back, and the loss becomes flatter, noise
    included. The elements of x are independent of each other: runs with noise of their own.
    """
    rng = np.random.default_rng(seed)
    center: Callable[[int], int] = lambda t: 3 * (t // every % 2)
    ticks = itertools.count()

    def loss(x: Tensor) -> Tensor:
        t = next(ticks)
        noise = (x * rng.normal(size=x.shape)).sum()
        return flatter ** (t // every) * (((x - center(t)) ** 2).sum() / 2 + noise)

    return loss, center


def forgetting(
    steps: int = 1200, every: int = 200, runs: int = 20, schedule: bool = False
) -> Finding:
    """C13. A decay rate on the cache gives better optimisation."""
    rates = decades(-2, 1.5, 2)
    cases = {  # jumps after so many steps, and then is so much flatter
        "jumps and flattens": (every, 1 / 3),
        "jumps": (every, 1.0),
        "stays": (steps, 1.0),
    }
    best: dict[tuple[str, str], Array] = {}
    for case, (period, flatter) in cases.items():
        for name in ("Adagrad", "RMSProp"):
            tried = []
            for rate in rates:
                cosine = optim.schedules.cosine(rate, steps)
                lr: Any = cosine if schedule and name == "RMSProp" else rate
                loss, center = noisy_bowl(period, flatter, seed=0)
                path = descend(RULES[name], loss, np.full(runs, 3.0), steps, lr=lr)
                off = path[1:] - np.array([center(t) for t in range(steps)])[:, None]
                tried.append(off**2 / 2)  # (steps, runs)
            best[case, name] = min(tried, key=np.mean)
    loss_of = {key: lost.mean(axis=0) for key, lost in best.items()}  # of each run
    gain = {c: float(loss_of[c, "Adagrad"].mean() / loss_of[c, "RMSProp"].mean()) for c in cases}
    spread = {c: loss_of[c, "Adagrad"] / loss_of[c, "RMSProp"] for c in cases}

    def draw(page: Any) -> None:
        for axes, case in zip(page.subplots(1, 3, sharey=True), cases, strict=True):
            for name in ("Adagrad", "RMSProp"):
                lost = best[case, name].reshape(-1, 20, runs).mean(axis=1)
                low, high = np.quantile(lost, (0.1, 0.9), axis=1)
                at = 20 * np.arange(len(lost)) + 10
                axes.fill_between(at, low, high, color=COLORS[name], alpha=0.2)
                axes.semilogy(at, lost.mean(axis=1), color=COLORS[name], label=name)
            axes.set(xlabel="step", title=f"A minimum that {case}")
        page.axes[0].set_ylabel("squared distance / 2, means of 20")
        page.axes[2].legend(loc="upper right")

    return Finding(
        claim="C13",
        title="A decay rate is better",
        says="A decay rate on the cache (RMSProp) gives better optimisation than Adagrad.",
        does=f"Lets both follow the minimum of a noisy bowl, {runs} runs each, at the best of "
        f"{len(rates)} learning rates: it jumps every {every} steps and its gradients become a "
        "third as large, or it only jumps, or it stays.",
        measured="The mean loss of Adagrad is "
        + ", ".join(
            f"{gain[case]:.2f} times (the minimum {case}; {spread[case].min():.2f} to "
            f"{spread[case].max():.2f} over the runs)"
            for case in cases
        )
        + " that of RMSProp.",
        verdict=judge(seen=gain["jumps and flattens"] > 1.5, exception=gain["stays"] < 0.8),
        usual=CONDITION,
        because="it is better where the size of the gradients changes in the course of training: "
        "Adagrad remembers the large ones for ever. Where nothing changes, "
        "Adagrad's shrinking step is the better one.",
        numbers=gain,
        brief=f"Adagrad's loss {gain['jumps and flattens']:.2f} times RMSProp's where gradients "
        f"shrink, {gain['stays']:.2f} times where nothing changes",
        chance=f"{runs} runs: {spread['jumps and flattens'].min():.2f} to "
        f"{spread['jumps and flattens'].max():.2f} and {spread['stays'].min():.2f} to "
        f"{spread['stays'].max():.2f}",
        alt="Distance to a minimum that jumps and flattens, jumps, or stays, for Adagrad and "
        "RMSProp",
        caption="The mean of the runs, and the band in which eight of ten are; each peak is a jump "
        "of the minimum. On the left Adagrad needs ever longer to "
        "follow; on the right it comes closer than RMSProp.",
        tries=(
            Try(
                "forgetting(schedule=True, steps=400, every=100)",
                "with a cosine, is RMSProp still behind where the minimum stays?",
            ),
        ),
        draw=draw,
    )


# --- C14: saddle points ---------------------------------------------------------------------------


def at_the_saddle(steps: int = 1000, lr: float = 0.01, eps: float | None = None) -> Finding:
    """C14. The problem of stopping at saddle points is still there."""
    offsets = (1e-1, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12)
    rules: dict[str, Any] = {"SGD": optim.SGD, "RMSProp": optim.RMSProp}
    if eps is not None:
        rules["RMSProp"] = partial(optim.RMSProp, eps=eps)
    out: Callable[[Array], bool] = lambda x: abs(x[1]) > 0.5
    held, need = {}, {}
    for name, rule in rules.items():
        held[name] = 0.0
        for start in ((0.0, 0.0), (0.5, 0.0)):  # the saddle itself, and the ridge that leads to it
            path = descend(rule, saddle, start, steps, until=out, lr=lr)
            held[name] = max(held[name], float(np.abs(path[:, 1]).max()))
        need[name] = [
            len(descend(rule, saddle, (0.0, d), 10 * steps, until=out, lr=lr)) - 1 for d in offsets
        ]

    def draw(page: Any) -> None:
        left, right = page.subplots(1, 2)
        for name in rules:
            left.semilogx(offsets, need[name], "o-", color=COLORS[name], label=name)
            for d, line in ((1e-2, "-"), (1e-8, "--")):
                path = descend(rules[name], saddle, (0.0, d), 2000, until=out, lr=lr)
                label = f"{name}, {d:g} off"
                right.plot(np.abs(path[:, 1]), line, color=COLORS[name], label=label)
        left.set(xlabel="start beside the saddle by", ylabel="steps until it has left")
        left.set(title="Slightly off the saddle", yscale="log")
        left.legend(loc="center right")
        right.set_xscale("symlog", linthresh=10, linscale=1.2)  # the start is in sight
        right.set(xlim=(0, None), xticks=(0, 5, 10, 100, 1000))
        right.set_xticklabels(("0", "5", "10", "100", "1,000"))
        right.set(xlabel="step (even up to 10, then logarithmic)", yscale="log")
        right.set(ylabel="distance from the saddle", title="Leaving it")
        page.legend(*right.get_legend_handles_labels(), loc="outside right upper")

    return Finding(
        claim="C14",
        title="RMSProp still stops at saddles",
        says="The problem of stopping at saddle points is still there with RMSProp.",
        does="Starts SGD and RMSProp with the same learning rate exactly at a saddle, on the ridge "
        "that leads to it, and slightly beside it.",
        measured=f"Exactly at the saddle or on its ridge, RMSProp moves by {held['RMSProp']:g} "
        f"towards the way out in {steps:,} steps (SGD: {held['SGD']:g}). From "
        f"{offsets[1]:g}, {offsets[4]:g} and {offsets[-1]:g} beside it, RMSProp has left after "
        f"{need['RMSProp'][1]}, {need['RMSProp'][4]} and {need['RMSProp'][-1]} steps, SGD after "
        f"{need['SGD'][1]:,}, {need['SGD'][4]:,} and {need['SGD'][-1]:,}.",
        verdict=judge(
            seen=held["RMSProp"] == 0,
            exception=all(
                a < b / 5 for a, b in zip(need["RMSProp"][1:], need["SGD"][1:], strict=True)
            ),
        ),
        usual=CONDITION,
        because="only where the gradient towards the way out is exactly zero. The slightest "
        "deviation is enough to leave fast, since the step is divided by the size of the gradient, "
        "however small.",
        numbers={
            "held": held["RMSProp"],
            "RMSProp": max(need["RMSProp"]),
            "SGD": max(need["SGD"]),
            "times faster": min(
                b / a for a, b in zip(need["RMSProp"][1:], need["SGD"][1:], strict=True)
            ),
        },
        brief=f"exactly on it: for ever; {offsets[-1]:g} off: {need['RMSProp'][-1]} steps",
        chance=NO_CHANCE,
        alt="Steps to leave a saddle against the distance at the start, and the distance over "
        "time, for SGD and RMSProp",
        caption="The same learning rate for both. RMSProp's first step is even lr / sqrt(1 - "
        "decay_rate), ten times lr, since its cache starts at zero (see C17).",
        tries=(
            Try(
                "at_the_saddle(eps=1.0)",
                "small gradients are no longer normalised, and RMSProp is as slow as SGD.",
            ),
        ),
        draw=draw,
    )


# --- C15: with momentum, Adam ---------------------------------------------------------------------

CURVATURE = np.array([1.0, 100.0])


def noisy_ravine(seed: int) -> Callable[[Tensor], Tensor]:
    rng = np.random.default_rng(seed)
    return lambda x: ((CURVATURE * x**2) / 2 + x * rng.normal(size=(2,)) * CURVATURE / 10).sum()


def _range(of: list[float], digits: str) -> str:
    return f"{min(of):{digits}} to {max(of):{digits}}"


def with_momentum(steps: int = 600, seeds: int = 8, bias_correction: bool = False) -> Finding:
    """C15. Adding momentum gives Adam."""
    lr, beta1, beta2, eps = 0.02, 0.9, 0.99, 1e-8
    gradients = np.random.default_rng(0).normal(size=(steps, 4)) + [0, 0.5, 1, 2]
    v: list[Array] = []
    cache: list[Array] = []
    settings_of_adam: dict[str, Any] = {"betas": (beta1, beta2), "bias_correction": bias_correction}
    adam = follow(gradients, optim.Adam, lr=lr, eps=eps, **settings_of_adam)
    note_v = lambda optimizer: v.append(state(optimizer)["v"])
    note_cache = lambda optimizer: cache.append(state(optimizer)["cache"])
    follow(gradients, optim.Momentum, watch=note_v, lr=1.0, mu=beta1)
    rms = follow(gradients, optim.RMSProp, watch=note_cache, lr=lr, decay_rate=beta2, eps=eps)
    # RMSProp's division, with the velocity of Momentum in place of the gradient
    joined = lr * (1 - beta1) * np.array(v) / (np.sqrt(cache) + eps)
    error = float(np.abs(np.diff(adam, axis=0) - joined).max() / lr)
    # the other order: the steps of RMSProp, with momentum on them
    after = follow(-np.diff(rms, axis=0) / lr, optim.Momentum, lr=lr * (1 - beta1), mu=beta1)
    other = float(np.abs(np.diff(after - adam, axis=0)[:50]).max() / lr)

    turns: dict[str, list[float]] = {"RMSProp": [], "Adam": []}
    floor: dict[str, list[float]] = {"RMSProp": [], "Adam": []}
    settings: dict[str, dict[str, Any]] = {
        "RMSProp": {"decay_rate": beta2},
        "Adam": {"betas": (beta1, beta2)},
    }
    paths = {}
    for seed in range(seeds):
        for name in turns:
            loss = noisy_ravine(seed)
            path = descend(RULES[name], loss, (1.0, 0.5), steps, lr=lr, **settings[name])
            moves = np.diff(path, axis=0)
            turns[name].append(float(np.mean(degrees(moves[1:], moves[:-1]))))
            floor[name].append(float((CURVATURE * path[-steps // 3 :] ** 2).sum(1).mean() / 2))
            paths[name] = path
    turn = {name: float(np.mean(a)) for name, a in turns.items()}

    def draw(page: Any) -> None:
        left, right = page.subplots(1, 2)
        size = np.abs(np.diff(adam, axis=0)) / lr
        left.plot(
            size[:100, 2],
            color=COLORS["Adam"],
            label=f"Adam{', corrected' * bias_correction}",
            linewidth=3,
        )
        parts = np.abs(joined) / lr
        left.plot(parts[:100, 2], "--", color=GRAY, label="velocity / root of cache")
        late = np.abs(np.diff(after, axis=0)) / lr
        left.plot(late[:100, 2], ":", color=ORANGE, label="momentum on RMSProp's steps")
        left.set(xlabel="step", ylabel="change of x / learning rate", title="The same rule")
        left.legend(loc="upper right")
        for name, path in paths.items():
            right.plot(
                *path[:150].T, ".-", color=COLORS[name], markersize=3, linewidth=0.8, label=name
            )
        right.set(xlabel="along the ravine", ylabel="across", title="In a noisy ravine")
        right.legend(loc="upper left")

    return Finding(
        claim="C15",
        title="RMSProp and momentum give Adam",
        says="Adding momentum to RMSProp gives Adam.",
        does="Feeds the same random gradients to Momentum, RMSProp and the lecture's Adam, and "
        "puts the velocity of the first over the root of the cache of the second; then compares "
        "RMSProp and Adam in a noisy ravine at the same learning rate.",
        measured=f"The steps differ from Adam's by at most {error:.0e} lr, with the velocity times "
        "1 - beta1. Momentum on RMSProp's finished steps, the other order, differs by up to "
        f"{other:.1f} lr in the first 50. In the ravine successive steps turn by "
        f"{_range(turns['RMSProp'], '.0f')} degrees with RMSProp, "
        f"{_range(turns['Adam'], '.0f')} with Adam ({seeds} seeds); the loss ends at "
        f"{_range(floor['RMSProp'], '.3f')} and {_range(floor['Adam'], '.3f')}.",
        verdict=judge(
            seen=error < 1e-9 and max(turns["Adam"]) < min(turns["RMSProp"]), exception=other > 0.1
        ),
        usual=CONDITION,
        because="the momentum must be that of the gradient, before the division, and times 1 - "
        "beta1. What it adds is a steadier step.",
        numbers={"error": error, "other": other, **{f"turn, {n}": turn[n] for n in turn}},
        brief=f"equal up to {error:.0e}; in the other order {other:.1f} lr apart",
        chance=f"{seeds} seeds: steps turn by {_range(turns['RMSProp'], '.0f')}° with RMSProp, "
        f"{_range(turns['Adam'], '.0f')}° with Adam",
        alt="Adam's steps are those of the velocity over the root of the cache; in a noisy "
        "ravine Adam's path is smoother",
        caption="Left: three ways to combine the two. Right: the same noise for both rules.",
        tries=(
            Try(
                "with_momentum(bias_correction=True)",
                "how far is the corrected Adam from it, and how long?",
            ),
        ),
        draw=draw,
    )
