"""C16 and C17: Adam. RMSProp with momentum, momentum with squared gradients; its first steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl import Tensor, optim
from minidl.lecture.experiment import (
    BLUE,
    COLORS,
    CONDITION,
    GRAY,
    ORANGE,
    Array,
    Finding,
    Try,
    follow,
    judge,
    state,
    times,
)


def random_gradients(steps: int, seed: int) -> Array:
    """Return gradients with noise, of four parameters on different scales."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(steps, 4)) + 1) * [0.01, 0.1, 1, 10]


# --- C16 ------------------------------------------------------------------------------------------


def rmsprop_with_momentum(steps: int = 1000, seeds: int = 8, beta1: float = 0.9) -> Finding:
    """C16. Adam is RMSProp with momentum: with and without it."""
    lr, beta2, eps = 0.01, 0.99, 1e-8
    without = inside = outside = 0.0  # the largest differences from Adam, in units of lr
    for seed in range(seeds):
        gradients = random_gradients(steps, seed)
        v: list[Array] = []
        cache: list[Array] = []
        note_v = lambda optimizer, v=v: v.append(state(optimizer)["v"])
        note_cache = lambda optimizer, cache=cache: cache.append(state(optimizer)["cache"])
        follow(gradients, optim.Momentum, watch=note_v, lr=1.0, mu=beta1)
        rms = follow(gradients, optim.RMSProp, watch=note_cache, lr=lr, decay_rate=beta2, eps=eps)
        rms = np.diff(rms, axis=0)
        plain, adam = (
            np.diff(
                follow(
                    gradients, optim.Adam, lr=lr, betas=(b, beta2), eps=eps, bias_correction=False
                ),
                axis=0,
            )
            for b in (0.0, beta1)
        )
        joined = lr * (1 - beta1) * np.array(v) / (np.sqrt(cache) + eps)
        after = np.diff(follow(-rms / lr, optim.Momentum, lr=lr * (1 - beta1), mu=beta1), axis=0)
        without = max(without, float(np.abs(rms - plain).max() / lr))
        inside = max(inside, float(np.abs(joined - adam).max() / lr))
        outside = max(outside, float(np.abs(after - adam).max() / lr))
    corrected = np.diff(follow(gradients, optim.Adam, lr=lr, betas=(0.0, beta2), eps=eps), axis=0)
    ratio = (rms / corrected).mean(axis=1)
    theory = (1 - beta2 ** np.arange(1, steps + 1)) ** -0.5
    off = float(np.abs(ratio / theory - 1).max())

    def draw(page: Any) -> None:
        left, right = page.subplots(1, 2)
        for moves, label, color, width, line in (
            (rms, "RMSProp", COLORS["RMSProp"], 1.0, "-"),
            (adam, f"Adam, beta1 = {beta1:g}", COLORS["Adam"], 4.0, "-"),
            (joined, "velocity / root of cache", "black", 1.0, "--"),
            (after, "momentum on RMSProp's steps", ORANGE, 1.2, ":"),
        ):
            left.plot(-moves[:80, 2] / lr, line, color=color, linewidth=width, label=label)
        left.set(xlabel="step", ylabel="change of x / learning rate")
        left.set(title="Without bias correction", ylim=(None, 1.6 * np.abs(rms[:80, 2]).max() / lr))
        left.legend(loc="upper right")
        right.semilogy(np.arange(1, 301), ratio[:300], color=BLUE)
        right.axhline(1, color=GRAY, linewidth=1, linestyle=":")
        right.set(xlabel="step", ylabel="change of x, RMSProp / corrected")
        right.set_yticks((1, 2, 5, 10), ("1", "2", "5", "10"))
        right.set(title="What the correction changes")

    return Finding(
        claim="C16",
        title="Adam is RMSProp with momentum",
        says="Adam is RMSProp with momentum.",
        does="Feeds the same random gradients, on scales from 0.01 to 10, to RMSProp and to the "
        f"lecture's Adam, with beta1 = 0 and with beta1 = {beta1:g}, and compares step by step: "
        "the latter with RMSProp's division of the velocity that Momentum keeps, and with Momentum "
        "on RMSProp's finished steps.",
        measured=f"With beta1 = 0 the steps differ by at most {without:.0g} lr over {steps:,} "
        f"steps and {seeds} seeds. With beta1 = {beta1:g} they are the velocity of Momentum, times "
        f"1 - beta1, divided by RMSProp's root, up to {inside:.0e} lr. Momentum on its steps, "
        f"the other order, is off by up to {outside:.1f} lr. Against the corrected Adam with "
        f"beta1 = 0, RMSProp's first step is {times(ratio[0])} as large, its last "
        f"{ratio[-1]:.2f}x: at step t 1 / sqrt(1 - beta2^t), up to {off:.0e}.",
        verdict=judge(
            seen=without < 1e-9 and inside < 1e-9 and off < 1e-3,
            exception=outside > 0.1,
        ),
        usual=CONDITION,
        because="the two are one rule, term by term, without momentum and with it, if the momentum "
        "is that of the gradient and the division comes after. The other order, which some "
        "libraries call RMSProp with momentum, is another rule. The bias correction, which is the "
        "default of minidl's Adam, changes the first steps, by a known factor.",
        brief=f"equal up to {max(without, inside):.0e}; in the other order {outside:.1f} lr apart",
        chance=f"{seeds} seeds: the largest differences of all",
        alt="Steps of Adam coincide with the momentum of the gradient over RMSProp's root, and "
        "not with momentum on RMSProp's steps; the effect of the correction fades",
        caption="Left: the black dashes lie on Adam; the dots, the other order, do not. Right: how "
        "much too large RMSProp's first steps are, for want of a correction.",
        tries=(
            Try(
                "rmsprop_with_momentum(beta1=0.99)",
                "more momentum: how far apart are the two orders?",
            ),
        ),
        numbers={
            "without": without,
            "inside": inside,
            "outside": outside,
            "first": ratio[0],
            "last": ratio[-1],
        },
        draw=draw,
    )


# --- C17 ------------------------------------------------------------------------------------------


def with_constant_second_moment(gradients: Array, v: float, beta1: float, lr: float) -> Array:
    """Return Adam's path with ``v`` held constant: set at the start, and never renewed."""
    x = Tensor(np.zeros_like(gradients[0]), requires_grad=True)
    almost_one = float(np.nextafter(1, 0))
    optimizer = optim.Adam([x], lr=lr, betas=(beta1, almost_one), eps=0, bias_correction=False)
    saved = optimizer.state_dict()
    for parameter in saved["groups"][0]["params"].values():
        parameter["v"][:] = v
    optimizer.load_state_dict(saved)
    path = [x.data.copy()]
    for dx in gradients:
        x.grad = dx
        optimizer.step()
        path.append(x.data.copy())
    return np.array(path)


def momentum_with_squares(
    steps: int = 3000, seeds: int = 8, betas: tuple[float, float] = (0.9, 0.999)
) -> Finding:
    """C17. Adam is SGD momentum with squared gradients; and its first steps need the correction."""
    lr, v = 0.01, 4.0
    beta1, beta2 = betas
    same = unlike = 0.0
    for seed in range(seeds):
        gradients = random_gradients(300, seed)
        constant = with_constant_second_moment(gradients, v, beta1, lr)
        momentum = follow(gradients, optim.Momentum, lr=lr * (1 - beta1) / np.sqrt(v), mu=beta1)
        full = follow(gradients, optim.Adam, lr=lr, betas=(beta1, beta2))
        steps_of = [np.diff(path, axis=0) for path in (constant, momentum, full)]
        size = np.abs(steps_of[1]).max(axis=0)
        same = max(same, float((np.abs(steps_of[0] - steps_of[1]) / size).max()))
        sizes = np.abs(steps_of[2]).mean(axis=0) / np.abs(steps_of[1]).mean(axis=0)
        unlike = max(unlike, float(sizes.max() / sizes.min()))
    steady = np.ones((steps, 1))
    walks = {
        corrected: follow(steady, optim.Adam, lr=lr, betas=betas, bias_correction=corrected)
        for corrected in (True, False)
    }
    sizes = {c: -np.diff(walk[:, 0]) / lr for c, walk in walks.items()}
    factor = sizes[False] / sizes[True]
    t = np.arange(1, steps + 1)
    worst = int(factor.argmax())
    long = int(t[factor > 2].max(initial=0))
    near = int(t[factor > 1.1].max(initial=0))

    def draw(page: Any) -> None:
        left, right = page.subplots(1, 2)
        left.plot(
            -np.diff(constant[:80, 2]), color=COLORS["Adam"], linewidth=4, label="Adam, v constant"
        )
        left.plot(-np.diff(momentum[:80, 2]), "--", color="black", linewidth=1, label="Momentum")
        left.set(
            xlabel="step", ylabel=f"change of x (lr {lr:g})", title="With a constant second moment"
        )
        left.legend(loc="lower right")
        right.semilogx(t, sizes[False], color=ORANGE, label="as the lecture writes it")
        right.semilogx(t, sizes[True], color=BLUE, label="with bias correction")
        right.set(xlabel="step", ylabel="change of x / learning rate", ylim=(0, None))
        right.set_title("First steps on a steady slope")
        right.legend(loc="upper right")

    return Finding(
        claim="C17",
        title="Adam is momentum with squared gradients",
        says="Adam is SGD momentum with squared gradients.",
        does="Holds Adam's second moment constant and compares with Momentum; then measures, on a "
        "steady slope, the steps with and without bias correction.",
        measured=f"With v constant the steps are those of Momentum with lr (1 - beta1) / sqrt(v), "
        f"up to {same:.0e} ({seeds} seeds). With v as it is, of four parameters whose gradients "
        "differ a thousandfold in size, the one with the smallest moves, in units of Momentum's "
        "steps, "
        f"{times(unlike)} as far as the one with the largest. "
        f"Without the correction the first step is {times(factor[0])} what it is with it, step "
        f"{worst + 1} {times(factor[worst])}, and it takes {long:,} steps until the factor is "
        f"below 2, {near:,} until it is below 1.1.",
        verdict=judge(seen=same < 1e-9, exception=unlike > 2 or factor[worst] > 2),
        usual=CONDITION,
        because="up to the factor 1 - beta1, and once the squares no longer change. They do, at "
        "first most of all: v starts at 0, and the rule as the lecture writes it takes first steps "
        f"up to {times(factor[worst])} too large. Hence the correction, which is the default.",
        numbers={
            "same": same,
            "unlike": unlike,
            "first": float(factor[0]),
            "worst": float(factor[worst]),
            "until 2": long,
            "until 1.1": near,
        },
        brief=f"equal for constant squares; at first {times(factor[worst])} too large",
        chance=f"{seeds} seeds: the largest differences of all",
        alt="Adam with a constant second moment coincides with Momentum; without correction "
        f"the first steps are up to {times(factor[worst])} too large",
        caption="Left: the two coincide. Right: on a steady slope each step should be the "
        f"learning rate. The lecture's rule makes its largest in step {worst + 1}, since m has "
        "nearly arrived by then, and v has not.",
        tries=(Try("momentum_with_squares(betas=(0.9, 0.99))", "is the correction still needed?"),),
        draw=draw,
    )
