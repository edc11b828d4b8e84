"""C3 to C6: plain SGD. Zig-zag, getting stuck, choosing the learning rate, the end of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import minidl
from minidl import Tensor, data, nn, optim
from minidl import functional as F
from minidl.lecture.experiment import (
    BLUE,
    COLORS,
    CONDITION,
    GRAY,
    GREEN,
    HOLDS,
    ORANGE,
    RULES,
    Array,
    Finding,
    Loss,
    Try,
    contours,
    decades,
    degrees,
    descend,
    exponent,
    judge,
    saddle,
    shaken,
    slope,
    times,
    values,
)

# --- C3: a ravine that comes from data ------------------------------------------------------------

TRUE = np.array([0.0, 20.0])  # the weights behind the data


def regression(scales: tuple[float, float], seed: int, n: int = 512) -> tuple[Array, Array]:
    """Return inputs of two features on these scales, and noisy targets."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)) * scales
    return x, x @ TRUE + rng.normal(size=n)


def squared_error(x: Array, y: Array) -> Loss:
    return lambda w: F.mse_loss(x @ w, y)


def by_batches(x: Array, y: Array, batch_size: int, seed: int) -> Loss:
    """Return a loss that takes the next mini-batch in every call."""

    def stream() -> Iterator[tuple[Array, ...]]:
        loader = data.DataLoader(x, y, batch_size=batch_size, shuffle=True, rng=seed, dtype=None)
        while True:
            yield from loader

    batches = stream()
    return lambda w: squared_error(*next(batches))(w)


def zigzag(seeds: int = 8, steps: int = 150, batch_size: int = 8) -> Finding:
    """C3. Zig-zag behaviour, due to noisy perpendicular mini-batch gradients."""
    small, large, mu = 0.1, 1.95, 0.9  # learning rates as multiples of 1 / (largest curvature)
    angles: dict[str, list[float]] = {}
    paths: dict[str, Array] = {}
    across = []
    for seed in range(seeds):
        x, y = regression((1.0, 0.1), seed)
        loss = squared_error(x, y)
        curvature, directions = np.linalg.eigh(minidl.hessian(loss, np.zeros(2)))
        lr = 1 / curvature[-1]
        start = np.array([0.5, 0.0])
        batch = by_batches(x, y, batch_size, seed)
        noise = np.array([slope(batch, TRUE / 2) for _ in range(256)]) - slope(loss, TRUE / 2)
        parts = np.mean((noise @ directions) ** 2, axis=0)
        across.append(parts[-1] / parts.sum())
        runs = {
            "full batch": (optim.SGD, loss, {"lr": small * lr}),
            "mini-batches": (optim.SGD, batch, {"lr": small * lr}),
            "mini-batches, momentum": (
                optim.Momentum,
                batch,
                {"lr": small * (1 - mu) * lr, "mu": mu},
            ),
            "full batch, large rate": (optim.SGD, loss, {"lr": large * lr}),
        }
        for name, (rule, of, settings) in runs.items():
            paths[name] = path = descend(rule, of, start, steps, **settings)
            moves = np.diff(path, axis=0)[:25]
            angles.setdefault(name, []).append(float(np.mean(degrees(moves[1:], moves[:-1]))))
    mean = {name: float(np.mean(a)) for name, a in angles.items()}

    def draw(page: Any) -> None:
        page.set_size_inches(8, 4.6)
        panels = page.subplots(4, 1, sharex=True, sharey=True)
        for axes, (name, path), color in zip(
            panels, paths.items(), (BLUE, BLUE, ORANGE, BLUE), strict=True
        ):
            contours(axes, loss, (-1, 23), (-1.2, 1.2), turned=True)
            axes.plot(path[:, 1], path[:, 0], ".-", color=color, markersize=3, linewidth=0.8)
            axes.set_aspect("equal")  # so that angles are what they are
            rate = large if "large" in name else small * (1 - mu if "momentum" in name else 1)
            title = f"{name}: {mean[name]:.0f}° between steps, rate {rate:g} / (largest curvature)"
            axes.set_title(title, fontsize=8.5)
        page.supxlabel("weight along the ravine (both axes in the same scale)", fontsize=9)
        page.supylabel("weight across", fontsize=9)

    return Finding(
        claim="C3",
        title="SGD zig-zags, by noise across the ravine",
        says="SGD zig-zags, due to noisy perpendicular mini-batch gradients.",
        does="Fits two weights whose curvatures differ a hundredfold (a ravine) and measures the "
        "angle between successive steps, with the same small learning rate for all, and once a "
        "large one.",
        measured=f"{100 * np.mean(across):.0f} % of the noise in the gradient of mini-batches "
        f"lies across the ravine. Successive steps differ by {mean['mini-batches']:.0f} degrees "
        f"with mini-batches ({min(angles['mini-batches']):.0f} to "
        f"{max(angles['mini-batches']):.0f} over {seeds} seeds), {mean['full batch']:.0f} with the "
        f"full batch, {mean['mini-batches, momentum']:.0f} with mini-batches and momentum {mu} "
        f"({min(angles['mini-batches, momentum']):.0f} to "
        f"{max(angles['mini-batches, momentum']):.0f}). But the full "
        f"batch, too, zig-zags at {large} / (largest curvature): "
        f"{mean['full batch, large rate']:.0f} degrees, without any noise.",
        verdict=judge(
            seen=np.mean(across) > 0.8
            and mean["mini-batches"] > 3 * mean["full batch"]
            and mean["mini-batches"] > 30,
            exception=mean["full batch, large rate"] > 60,
        ),
        usual=CONDITION,
        because="noise is one cause, and at small rates the only one; above 1 / (largest "
        "curvature) the ravine itself throws the steps from wall to wall. Momentum damps the "
        "noise.",
        numbers={"across": float(np.mean(across)), **mean},
        brief=f"{mean['mini-batches']:.0f}° between steps with mini-batches, "
        f"{mean['full batch']:.0f}° with the full batch; {mean['full batch, large rate']:.0f}° "
        "without noise at a large rate",
        chance=f"{seeds} seeds: {min(angles['mini-batches']):.0f} to "
        f"{max(angles['mini-batches']):.0f}° with mini-batches",
        alt="Four paths in a ravine: smooth with the full batch, jagged with mini-batches, "
        "smooth again with momentum, from wall to wall at a large rate",
        caption="All start on the left, and the optimum lies far off to the right. Three have the "
        "same small learning rate (for momentum: the same pace), the last a large one.",
        tries=(
            Try(
                "zigzag(batch_size=64)", "mini-batches of 64 instead of 8: how does the angle fall?"
            ),
        ),
        draw=draw,
    )


# --- C4: a local minimum and a saddle -------------------------------------------------------------


def two_wells(x: Tensor) -> Tensor:
    """A valley with two minima: the one on the right is not the deepest."""
    a, b = x[..., 0], x[..., 1]
    return a**4 / 4 - a**2 / 2 + a / 10 + b**2 / 2


def network_loss(hidden: int, seed: int) -> tuple[Loss, int]:
    """Return the loss of a network of two inputs and so many hidden units, and its weights' number.

    30 points of a function that it cannot learn entirely, and a little weight decay, without which
    critical points are not points: units may turn and swap at no cost.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, 2))
    y = np.sin(2 * x[:, 0]) * x[:, 1]

    def loss(w: Any) -> Any:
        first, bias, last = w[: 2 * hidden], w[2 * hidden : 3 * hidden], w[3 * hidden : 4 * hidden]
        z = np.tanh(x @ first.reshape(2, hidden) + bias) @ last + w[4 * hidden]
        return F.mse_loss(z, y) + 1e-3 * (w**2).sum()

    return loss, 4 * hidden + 1


def critical_point(loss: Loss, w: Array, most: int = 60) -> Array | None:
    """Return a point of zero gradient near ``w``, whatever its curvatures; None if none is found.

    Least squares on the gradient g by Levenberg's and Marquardt's method, of which the Hessian H is
    the Jacobian: ``w -= (H H + damping)^-1 H g``, which goes to saddles and minima alike.
    """
    damping, g = 1.0, slope(loss, w)
    for _ in range(most):
        h = minidl.hessian(loss, w)
        while damping < 1e8:
            step = np.linalg.solve(h @ h + damping * np.eye(len(w)), h @ g)
            if np.linalg.norm(better := slope(loss, w - step)) < np.linalg.norm(g):
                break
            damping *= 4
        else:
            return None
        w, g, damping = w - step, better, max(damping / 5, 1e-12)
        if np.linalg.norm(g) < 1e-9:
            return w
    return None


def indices(hidden: int, seeds: int, starts: int) -> list[int]:
    """Return for each critical point that is found how many of its curvatures are negative.

    A point that several starts lead to counts once, and so do those that differ only in which unit
    does what, or in the sign of a unit: they have the same loss.
    """
    found: dict[tuple[int, float], int] = {}
    for seed in range(seeds):
        loss, n = network_loss(hidden, seed)
        rng = np.random.default_rng(seed)
        for _ in range(starts):
            w = critical_point(loss, rng.normal(size=n))
            if w is not None:
                down = np.linalg.eigvalsh(minidl.hessian(loss, w)) < -1e-7
                found[seed, round(loss(Tensor(w)).item(), 6)] = int(down.sum())
    return list(found.values())


def stuck(
    seeds: int = 8,
    steps: int = 1500,
    noise: float = 0.3,
    hidden: tuple[int, ...] = (1, 2, 4),
    starts: int = 4,
) -> Finding:
    """C4. Stuck at local minima and at saddle points; these are the bigger problem."""
    lr = 0.1
    offsets = (0.0, 1e-12, 1e-9, 1e-6, 1e-3)
    places: dict[str, tuple[Loss, Any, Callable[[Array], bool]]] = {
        "minimum": (two_wells, (1.5, 1.0), lambda x: x[0] < 0),
        "saddle": (saddle, (1.5, 0.0), lambda x: abs(x[1]) > 0.5),
    }
    stall, force, lowest, waits = {}, {}, {}, {}
    for name, (loss, start, out) in places.items():
        still = descend(optim.SGD, loss, start, steps, until=out, lr=lr)[-1]
        stall[name], force[name] = still, float(np.linalg.norm(slope(loss, still)))
        lowest[name] = float(np.linalg.eigvalsh(minidl.hessian(loss, still))[0])
        waits[name] = [
            len(descend(optim.SGD, shaken(loss, noise, s), still, steps, until=out, lr=lr)) - 1
            for s in range(seeds)
        ]
    trapped = all(not out(stall[name]) for name, (_, _, out) in places.items())
    out = places["saddle"][2]
    escape = [
        len(descend(optim.SGD, saddle, (1.5, d), steps, until=out, lr=lr)) - 1 for d in offsets
    ]
    index = {units: indices(units, seeds, starts) for units in hidden}
    saddles = {units: sum(i > 0 for i in index[units]) for units in hidden}
    held = sum(wait == steps for wait in waits["minimum"])
    wait = int(np.median(waits["minimum"]))
    for_how_long = "for all of the time" if held == seeds else f"for {wait:,} steps in the median"

    def draw(page: Any) -> None:
        page.set_size_inches(8, 5.2)
        (a, b), (middle, right) = page.subplots(2, 2)
        for axes, name in ((a, "minimum"), (b, "saddle")):
            loss, start, _ = places[name]
            contours(axes, loss, (-1.8, 1.8), (-1.3, 1.3))
            for noisy, color, label in ((False, GRAY, "SGD"), (True, BLUE, "SGD with noise")):
                of = shaken(loss, noise, 0) if noisy else loss
                path = descend(optim.SGD, of, start, 120, lr=lr)
                axes.plot(*path.T, ".-", color=color, markersize=4, linewidth=0.8, label=label)
            axes.plot(*stall[name], "k*", markersize=10, label="where SGD rests")
            axes.set(title=f"Local {name}" if axes is a else "Saddle", xlabel="x", ylabel="y")
        b.legend(loc="upper left", framealpha=0.9, frameon=True)
        middle.semilogx(offsets[1:], escape[1:], "o-", color=BLUE)
        middle.set(title="Without noise, slightly off the ridge", xlabel="start off the ridge by")
        middle.set(ylabel=f"steps until it has left (lr {lr:g})", ylim=(0, None))
        width = 0.8 / len(hidden)
        for k, (units, color) in enumerate(zip(hidden, (GREEN, BLUE, ORANGE), strict=False)):
            share = np.bincount(index[units], minlength=6) / max(len(index[units]), 1)
            label = f"{units} hidden unit{'s' * (units > 1)}, {len(index[units])} points"
            right.bar(np.arange(len(share)) + (k - 1) * width, 100 * share, width, color=color,
                      label=label)  # fmt: skip
        right.set(
            title="Critical points of small networks", ylabel="share of them (%)", ylim=(0, 140)
        )
        right.set_yticks(range(0, 101, 20))
        right.set(xlabel="directions in which the loss falls (0: a minimum)")
        right.legend(loc="upper right")

    return Finding(
        claim="C4",
        title="SGD gets stuck at minima and, worse, saddles",
        says="SGD gets stuck at local minima and at saddle points; saddles are the bigger problem.",
        does="Sends SGD into a local minimum and along the ridge into a saddle, and measures steps "
        "to get out; then looks for points of zero gradient of small networks, and counts in "
        f"their Hessians the directions in which the loss falls ({seeds} data sets, starts at "
        f"random on each: {starts}; a point that is found twice counts once).",
        measured=f"Without noise it rests in both (gradient {force['minimum']:.0e} and "
        f"{force['saddle']:.0e}; smallest curvature {lowest['minimum']:+.2f} in the minimum, "
        f"{lowest['saddle']:+.2f} at the saddle). With noise of {noise:g} in the gradient it stays "
        f"in the minimum for all of {steps:,} steps in {held} of {seeds} runs, and leaves the "
        f"saddle after {min(waits['saddle'])} to {max(waits['saddle'])} (median "
        f"{int(np.median(waits['saddle']))}); without noise, from "
        f"{offsets[1]:.0e} off the ridge, after {escape[1]}, from {offsets[-1]:.0e} after "
        f"{escape[-1]}. Of the critical points found of networks with "
        + ", ".join(map(str, hidden))
        + (" hidden units " if hidden != (1,) else " hidden unit ")
        + ", ".join(f"{saddles[u]} of {len(index[u])}" for u in hidden)
        + " are saddles, with "
        + ", ".join(f"{np.mean(index[u]):.1f}" for u in hidden)
        + " directions down on average.",
        verdict=judge(
            seen=trapped
            and lowest["minimum"] > 0 > lowest["saddle"]
            and all(saddles[u] > 0.7 * len(index[u]) > 0 for u in hidden),
            exception=max(waits["saddle"] + escape[1:]) < steps,
        ),
        usual=CONDITION,
        because=f"a local minimum holds SGD, at this noise {for_how_long}; a saddle only delays "
        "it: SGD stays if it is exactly on the ridge, and leaves from anywhere else, in a time "
        "that grows with the logarithm of 1 / distance. What makes saddles the bigger problem is "
        "that nearly all critical points are saddles, and the more units, the more directions lead "
        "down from them.",
        brief=f"saddles: {saddles[hidden[-1]]} of {len(index[hidden[-1]])} critical points of "
        f"networks with {hidden[-1]} units; left after {int(np.median(waits['saddle']))} steps, "
        f"a minimum holds in {held} of {seeds} runs",
        chance=f"{seeds} seeds: the saddle is left after {min(waits['saddle'])} to "
        f"{max(waits['saddle'])} steps",
        alt="SGD in a local minimum and at a saddle, steps to leave the saddle against the "
        "distance, and how many directions go down at the critical points of small networks",
        caption="Above: with noise in the gradient SGD leaves the saddle at once, and stays in the "
        "local minimum. Below: how long leaving takes without noise, and what the points of zero "
        "gradient of networks are.",
        tries=(
            Try(
                "stuck(noise=1.0, hidden=(1,), starts=1)",
                "with more noise, does SGD leave the local minimum, too?",
            ),
        ),
        numbers={
            "lowest at minimum": lowest["minimum"],
            "lowest at saddle": lowest["saddle"],
            "steps out of the minimum": min(waits["minimum"]),
            "steps out of the saddle": max(waits["saddle"]),
            **{f"saddles, {u} units": saddles[u] / len(index[u]) for u in hidden},
            **{f"index, {u} units": float(np.mean(index[u])) for u in hidden},
        },
        draw=draw,
    )


# --- C5: the learning rate ------------------------------------------------------------------------


def digits_loss(rule: Any, lr: float, scale: float, epochs: int, seed: int) -> float:
    """Train a small network on the digits and return its loss (inf: diverged)."""
    minidl.seed(seed)
    x, y = data.load_digits()
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    loader = data.DataLoader(x * scale, y, batch_size=64, shuffle=True)
    optimizer = rule(model.parameters(), lr=lr)
    try:
        with np.errstate(all="ignore"):
            history = minidl.fit(
                model, nn.CrossEntropyLoss(), optimizer, loader, epochs=epochs, progress=False
            )
    except FloatingPointError:
        return np.inf
    return float(history["loss"][-1])


def by_hand(
    epochs: int = 2, seeds: int = 8, each: int = 2, rules: Iterable[str] = tuple(RULES)
) -> Finding:
    """C5. The initial learning rate has to be estimated by hand."""
    rules = tuple(rules)
    if "SGD" not in rules or not set(rules) <= set(RULES):
        raise ValueError(f"by_hand: rules are SGD and others of {', '.join(RULES)}, got {rules}")
    rates = decades(-5, 2, each)
    pixels = {"pixels 0 to 1": 1 / 16, "pixels 0 to 16": 1.0}
    runs = {
        (name, scale): np.array(
            [
                [digits_loss(RULES[name], lr, pixels[scale], epochs, s) for s in range(seeds)]
                for lr in rates
            ]
        )
        for name in rules
        for scale in pixels
    }
    losses = {key: of.mean(axis=1) for key, of in runs.items()}
    spread = {key: (of.min(axis=1), of.max(axis=1)) for key, of in runs.items()}
    good = {key: losses[key] < 2 * losses[key].min() for key in losses}
    width = {key: int(good[key].sum()) for key in good}
    best = {key: rates[int(losses[key].argmin())] for key in losses}
    alone = {  # the best rates of each seed alone
        s: [rates[i] for i in runs["SGD", s].argmin(axis=0)] for s in pixels
    }
    a, b = pixels
    shift = {
        name: max(best[name, a] / best[name, b], best[name, b] / best[name, a]) for name in rules
    }
    worse = {  # the best rate of one problem, used on the other
        name: max(
            losses[name, b][int(losses[name, a].argmin())] / losses[name, b].min(),
            losses[name, a][int(losses[name, b].argmin())] / losses[name, a].min(),
        )
        for name in rules
    }

    def draw(page: Any) -> None:
        for axes, scale in zip(page.subplots(1, 2, sharey=True), pixels, strict=True):
            for name in rules:
                axes.loglog(
                    rates, losses[name, scale], "o-", color=COLORS[name], markersize=3, label=name
                )
                axes.fill_between(rates, *spread[name, scale], color=COLORS[name], alpha=0.2)
            axes.set(ylim=(0.1, 20), xlabel="learning rate", title=f"Digits, {scale}")
        page.axes[0].set_ylabel(f"training loss after {epochs} epochs")
        page.legend(*page.axes[0].get_legend_handles_labels(), loc="outside right upper")

    return Finding(
        claim="C5",
        title="SGD's learning rate is estimated by hand",
        says="The initial learning rate of SGD has to be estimated by hand.",
        does=f"Trains a network on the digits with {len(rates)} learning rates from 0.00001 to "
        f"100 for each rule ({seeds} seeds), on pixels from 0 to 1 and on the same pixels from 0 "
        "to 16.",
        measured=f"Best for SGD: {best['SGD', a]:.2g} with pixels from 0 to 1 (for single seeds "
        f"{min(alone[a]):.2g} to {max(alone[a]):.2g}), {best['SGD', b]:.2g} with pixels from 0 to "
        f"16 ({min(alone[b]):.2g} to {max(alone[b]):.2g}); the best rate of one gives "
        f"{times(worse['SGD'])} the best loss on the other. "
        f"How many of the {len(rates)} rates reach twice the best loss or less: "
        + ", ".join(f"{name} {width[name, a]} and {width[name, b]}" for name in rules)
        + ". The best rates for the two lie apart by "
        + ", ".join(f"{times(shift[name])} ({name})" for name in rules)
        + ".",
        verdict=judge(
            seen=worse["SGD"] > 2 and width["SGD", a] < len(rates) / 3,
            exception=bool((good["SGD", a] & good["SGD", b]).any()),
        ),
        usual=HOLDS,
        because="a rate that is right for one problem diverges or crawls on another that differs "
        "only in its units. Every rule needs a rate; those that divide by the size of the gradient "
        "are less easily upset by the units.",
        numbers={"worse": worse["SGD"]}
        | {f"width, {name}": min(width[name, a], width[name, b]) for name in rules}
        | {f"shift, {name}": shift[name] for name in rules},
        brief=f"best rate {best['SGD', a]:.2g} for pixels from 0 to 1, {best['SGD', b]:.2g} for 0 "
        "to 16",
        chance=f"{seeds} seeds: {min(alone[a]):.2g} to {max(alone[a]):.2g} and "
        f"{min(alone[b]):.2g} to {max(alone[b]):.2g}",
        alt="Training loss against the learning rate for the five rules, for pixels from 0 to "
        "1 and from 0 to 16",
        caption="The good learning rates are a narrow valley in each curve, and with other units "
        "of the data it lies elsewhere.",
        tries=(
            Try(
                'by_hand(epochs=6, seeds=1, rules=("SGD", "Adam"))',
                "does the valley become wider with more training?",
            ),
        ),
        draw=draw,
    )


# --- C6: near the optimum -------------------------------------------------------------------------


def near_the_end(seeds: int = 8, steps: int = 600, batch_size: int = 8) -> Finding:
    """C6. Learning is sensitive as the network converges."""
    rates = (0.01, 0.02, 0.05, 0.1, 0.2)
    schedules: dict[str, Any] = {
        "constant": rates[-1],
        "step decay": optim.schedules.step_decay(rates[-1], every=steps // 4, factor=0.1),
        "cosine": optim.schedules.cosine(rates[-1], steps=steps),
    }
    floor = np.zeros((seeds, len(rates)))
    final: dict[str, list[float]] = {name: [] for name in schedules}
    curves: dict[str, Array] = {}
    for seed in range(seeds):
        x, y = regression((1.0, 1.0), seed, n=8192)  # more than one run sees: no point twice
        full = squared_error(x, y)
        optimum = np.linalg.lstsq(x, y)[0]
        lowest = full(Tensor(optimum)).item()
        for i, lr in enumerate(rates):
            path = descend(optim.SGD, by_batches(x, y, batch_size, seed), optimum, steps, lr=lr)
            floor[seed, i] = values(full, path[steps // 2 :: 4]).mean() - lowest
        for name, lr in schedules.items():
            path = descend(optim.SGD, by_batches(x, y, batch_size, seed), optimum + 3, steps, lr=lr)
            curves[name] = values(full, path) - lowest
            final[name].append(curves[name][-steps // 20 :].mean())
    power = exponent(rates, floor.mean(axis=0))
    powers = [exponent(rates, of) for of in floor]
    gain = {name: float(np.mean(final["constant"]) / np.mean(final[name])) for name in schedules}

    def draw(page: Any) -> None:
        left, right = page.subplots(1, 2)
        left.loglog(rates, floor.T, "o", color=BLUE, markersize=4)
        left.loglog(rates, floor.mean(axis=0), "-", color=BLUE)
        left.set(xlabel="learning rate", ylabel="loss above the optimum")
        left.yaxis.set_minor_formatter("")
        left.set_title(f"Constant rate: noise ~ lr^{power:.2f}")
        for (name, curve), color in zip(curves.items(), (ORANGE, BLUE, GREEN), strict=True):
            smooth = np.convolve(curve, np.ones(20) / 20, mode="valid")
            right.semilogy(smooth, color=color, label=name)
        right.set(
            xlabel="step",
            ylabel="loss above the optimum",
            title="What a schedule does (means of 20)",
        )
        right.legend(loc="lower left")

    return Finding(
        claim="C6",
        title="Learning is sensitive near convergence",
        says="Learning is sensitive as the network converges.",
        does=f"Runs SGD with mini-batches of {batch_size} at the optimum of a linear regression, "
        "and from further off with and without a schedule.",
        measured="At a constant rate the loss does not settle: it stays above the optimum by "
        f"{floor[:, 0].mean():.3f} for lr {rates[0]} and by {floor[:, -1].mean():.2f} for lr "
        f"{rates[-1]} ({floor[:, -1].min():.2f} to {floor[:, -1].max():.2f} over {seeds} seeds), "
        f"in proportion to lr^{power:.2f} ({min(powers):.2f} to {max(powers):.2f}). A schedule "
        "ends " + " and ".join(f"{times(gain[n])} closer ({n})" for n in list(schedules)[1:]) + ".",
        verdict=judge(
            seen=power > 0.5 and min(gain["step decay"], gain["cosine"]) > 5,
            exception=bool((np.diff(floor.mean(axis=0)) <= 0).any()),
        ),
        usual=HOLDS,
        because="the nearer the optimum, the more the learning rate, and not the slope, decides "
        "how good it gets; hence schedules.",
        numbers={"power": power, **{f"gain, {name}": gain[name] for name in schedules}},
        brief=f"noise in the loss ~ lr^{power:.2f}",
        chance=f"{seeds} seeds: {min(powers):.2f} to {max(powers):.2f}",
        alt="Loss above the optimum against the learning rate, and over the steps with "
        "constant rate, step decay and cosine",
        caption="Left: eight seeds, and their mean. Right: from the same start with and without a "
        "schedule.",
        tries=(
            Try(
                "near_the_end(batch_size=64, seeds=3)",
                "batches of 64 instead of 8: by how much does the noise fall?",
            ),
        ),
        draw=draw,
    )
