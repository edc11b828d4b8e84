"""C2: batch normalisation is standardising, inside the network; and what that is good for."""

from __future__ import annotations

from typing import Any

import numpy as np

import minidl
from minidl import data, nn, optim
from minidl.lecture.experiment import (
    BLUE,
    GRAY,
    HOLDS,
    ORANGE,
    Array,
    Finding,
    Try,
    decades,
    judge,
    times,
)

WORKS = 0.9  # test accuracy from which on training counts as having worked


def network(batchnorm: bool, width: int = 32, hidden: int = 2) -> nn.Sequential:
    """Return a classifier of digits with or without BatchNorm before each ReLU."""
    layers: list[nn.Module] = []
    for k in [64] + [width] * (hidden - 1):
        layers += [nn.Linear(k, width), *([nn.BatchNorm(width)] if batchnorm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def largest_curvature(model: nn.Module, x: Array, y: Array, rounds: int = 12) -> float:
    """Return the largest eigenvalue of the loss's Hessian in all weights, by power iteration.

    Each round takes the Hessian times a vector, the gradient of (gradient times vector), without
    ever making the Hessian.
    """
    params = list(model.parameters())
    rng = np.random.default_rng(0)
    v = [rng.normal(size=p.shape).astype(p.dtype) for p in params]
    slopes = minidl.grad(nn.CrossEntropyLoss()(model(x), y), params, create_graph=True)
    for _ in range(rounds):
        size = np.float32(np.sqrt(sum(np.sum(part**2) for part in v)))
        v = [part / size for part in v]
        along: Any = sum((g * part).sum() for g, part in zip(slopes, v, strict=True))
        v = [np.asarray(h) for h in minidl.grad(along, params, retain_graph=True)]
    return float(np.sqrt(sum(np.sum(part**2) for part in v)))


def inside(batchnorm: bool, seed: int, lr: float = 0.1, epochs: int = 2) -> dict[str, Array]:
    """Train, and return at the start and after each epoch the largest curvature, and mean and
    standard deviation of what comes into the second ReLU, averaged over its units."""
    minidl.seed(seed)
    x, y = data.load_digits()
    x, batch = x / 16, slice(0, 512)
    model = network(batchnorm)
    optimizer = optim.SGD(model.parameters(), lr=lr)
    loader = data.DataLoader(x, y, batch_size=64, shuffle=True, drop_last=True)
    seen: dict[str, list[float]] = {"curvature": [], "mean": [], "deviation": []}

    def look() -> None:
        h: Any = x[batch]
        for layer in list(model)[: 2 * (2 + batchnorm) - 1]:
            h = layer(h)
        seen["mean"].append(float(np.abs(h.data.mean(axis=0)).mean()))
        seen["deviation"].append(float(h.data.std(axis=0).mean()))
        seen["curvature"].append(largest_curvature(model, x[batch], y[batch]))

    look()
    for _ in range(epochs):
        minidl.fit(model, nn.CrossEntropyLoss(), optimizer, loader, epochs=1, progress=False)
        look()
    return {name: np.array(of) for name, of in seen.items()}


def accuracy(batchnorm: bool, lr: float, epochs: int, seed: int) -> float:
    """Train with SGD and return the test accuracy; that of guessing, if training diverges."""
    minidl.seed(seed)
    x, y = data.load_digits()
    x_train, x_test, y_train, y_test = data.train_test_split(x / 16, y, stratify=y)
    model = network(batchnorm)
    optimizer = optim.SGD(model.parameters(), lr=lr)
    loss = nn.CrossEntropyLoss()
    loader = data.DataLoader(x_train, y_train, batch_size=64, shuffle=True, drop_last=True)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            minidl.fit(model, loss, optimizer, loader, epochs=epochs, progress=False)
            return minidl.evaluate(model, loss, (x_test, y_test))["accuracy"]
    except FloatingPointError:
        return 0.1


def same_step(batch: Array) -> float:
    """Return how far BatchNorm's output in a network is from standardizing what comes in."""
    first, norm, *_ = network(batchnorm=True)
    incoming = first(batch)
    return float(
        np.abs(norm(incoming).data - data.Standardize().fit_transform(incoming.data)).max()
    )


def in_prediction(x: Array) -> float:
    """Return the same for prediction, as a mean, after training mode has seen ``x`` in batches."""
    first, norm, *_ = network(batchnorm=True)
    for _ in range(3):
        for (batch,) in data.DataLoader(x, batch_size=64, shuffle=True):
            norm(first(batch))
    norm.eval()
    incoming = first(x)
    return float(
        np.abs(norm(incoming).data - data.Standardize().fit_transform(incoming.data)).mean()
    )


def _range(of: Array, digits: int = 1) -> str:
    return f"{of.min():.{digits}f} to {of.max():.{digits}f}"


def _percent(of: Array) -> str:
    return f"{100 * of.mean():.1f} % ({100 * of.min():.1f} to {100 * of.max():.1f})"


def normalizing(
    epochs: int = 6, seeds: int = 8, rates: tuple[float, ...] = tuple(decades(-2, 1, 3))
) -> Finding:
    """C2. Batch normalisation is that same step, inside the network."""
    minidl.seed(0)
    x, _ = data.load_digits()
    difference = max(same_step(x[i : i + 64] / 16) for i in range(0, 640, 64))
    predicting = in_prediction(x / 16)
    reached = {
        version: np.array(
            [[accuracy(version, lr, epochs, seed) for seed in range(seeds)] for lr in rates]
        )
        for version in (False, True)
    }
    working, span = {}, {}
    for version in reached:
        good = [lr for lr, runs in zip(rates, reached[version], strict=True) if min(runs) > WORKS]
        working[version] = f"from {good[0]:.2g} to {good[-1]:.2g}" if good else "nowhere"
        span[version] = good[-1] / good[0] if good else 1.0
    best = {version: runs[runs.mean(axis=1).argmax()] for version, runs in reached.items()}
    looks = {v: [inside(v, seed) for seed in range(seeds)] for v in reached}
    within = {v: {n: np.array([look[n] for look in of]) for n in of[0]} for v, of in looks.items()}

    def draw(page: Any) -> None:
        reach, curve, values = page.subplots(1, 3, width_ratios=(4, 3, 3))
        for version, color, label in ((True, BLUE, "with BatchNorm"), (False, ORANGE, "without")):
            runs = reached[version]
            reach.plot(rates, 100 * runs.mean(axis=1), "o-", color=color, label=label, markersize=4)
            reach.fill_between(
                rates, *(100 * f(runs, axis=1) for f in (np.min, np.max)), color=color, alpha=0.2
            )
            of = within[version]["curvature"]
            curve.plot(of.mean(axis=0), "o-", color=color, label=label)
            curve.fill_between(range(3), of.min(axis=0), of.max(axis=0), color=color, alpha=0.2)
            for name, line in (("mean", ":"), ("deviation", "-")):
                of = within[version][name]
                values.plot(of.mean(axis=0), line, marker="o", color=color, markersize=4)
                values.fill_between(
                    range(3), of.min(axis=0), of.max(axis=0), color=color, alpha=0.2
                )
        reach.axhline(100 * WORKS, color=GRAY, linewidth=1, linestyle=":")
        reach.set(xscale="log", xlabel="learning rate of SGD", ylabel="test accuracy (%)")
        reach.set_title(f"After {epochs} epochs")
        reach.legend(loc="lower left")
        curve.set(xlabel="epoch (lr 0.1)", ylim=(0, None), xticks=range(3))
        curve.set_title("Largest curvature")
        values.set(xlabel="epoch (lr 0.1)", ylim=(-0.05, None), xticks=range(3))
        values.set_title("Into the second ReLU")
        values.text(0.03, 0.97, "solid: deviation, dotted: mean", transform=values.transAxes,
                    fontsize=7.5, va="top")  # fmt: skip
        values.set_ylim(-0.05, 1.35)

    return Finding(
        claim="C2",
        title="Batch normalisation is the same step, inside",
        says="Batch normalisation is that same step, inside the network.",
        does="Compares a BatchNorm layer in a network with Standardize on the same batch; then "
        f"trains on the digits with and without, over a thousandfold of learning rates ({seeds} "
        "seeds), and looks inside: at the largest curvature of the loss, and at what comes into "
        "the second ReLU.",
        measured=f"The outputs differ by at most {difference:.0e} (epsilon) in training, and by "
        f"{predicting:.2f} on average in prediction (running means). After {epochs} epochs "
        f"every seed reads 90 % of the test digits for learning rates {working[True]} with "
        f"BatchNorm ({times(span[True])}), {working[False]} without ({times(span[False])}); best "
        f"accuracy {_percent(best[True])} and {_percent(best[False])}. After two epochs at a rate "
        f"of 0.1 the largest curvature is {_range(within[True]['curvature'][:, -1])} with it (at "
        f"first {_range(within[True]['curvature'][:, 0])}), "
        f"{_range(within[False]['curvature'][:, -1])} without (at first "
        f"{_range(within[False]['curvature'][:, 0])}). The mean of what comes into the second "
        f"ReLU is then in size {_range(within[True]['mean'][:, -1], 2)} with it and "
        f"{_range(within[False]['mean'][:, -1], 2)} without, its standard deviation "
        f"{_range(within[True]['deviation'][:, -1], 2)} and "
        f"{_range(within[False]['deviation'][:, -1], 2)}.",
        verdict=judge(
            seen=difference < 1e-2 and predicting < 0.1,
            exception=span[True] <= span[False]
            or within[True]["curvature"].max() >= within[False]["curvature"][:, -1].min(),
        ),
        usual=HOLDS,
        because="in training with the statistics of the batch, in prediction with those of the "
        "training data, as Standardize. It widens the range of learning rates that work, since the "
        "loss bends less (SGD diverges above 2 / largest curvature), and what comes into the next "
        "layer keeps its scale while the layers before it learn.",
        numbers={
            "difference": difference,
            "predicting": predicting,
            "with": span[True],
            "without": span[False],
            "curvature with": float(within[True]["curvature"][:, -1].mean()),
            "curvature without": float(within[False]["curvature"][:, -1].mean()),
        },
        brief=f"outputs equal up to {difference:.0e}; learning rates that work "
        f"{times(span[True])} instead of {times(span[False])}",
        chance=f"{seeds} seeds, all of which work there: best accuracy "
        f"{100 * best[True].min():.1f} to {100 * best[True].max():.1f} % instead of "
        f"{100 * best[False].min():.1f} to {100 * best[False].max():.1f} %",
        alt="Test accuracy against the learning rate, the largest curvature, and the values that "
        "come into the second ReLU, with and without BatchNorm",
        caption="Mean and range over the seeds. Left: above the dotted line training counts as "
        "having worked. In the middle and on the right: before training and after each epoch.",
        tries=(
            Try(
                "normalizing(epochs=20, seeds=1, rates=(0.01, 0.05))",
                "does the network without BatchNorm catch up at small learning rates?",
            ),
        ),
        draw=draw,
    )
