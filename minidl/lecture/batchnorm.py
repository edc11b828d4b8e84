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


def normalizing(
    epochs: int = 6, seeds: int = 2, rates: tuple[float, ...] = tuple(decades(-2, 1, 3))
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
    best = {version: runs.mean(axis=1).max() for version, runs in reached.items()}

    def draw(page: Any) -> None:
        axes = page.subplots()
        for version, color, label in ((True, BLUE, "with BatchNorm"), (False, ORANGE, "without")):
            runs = reached[version]
            axes.plot(rates, 100 * runs.mean(axis=1), "o-", color=color, label=label)
            axes.fill_between(
                rates, *(100 * f(runs, axis=1) for f in (np.min, np.max)), color=color, alpha=0.2
            )
        axes.axhline(100 * WORKS, color=GRAY, linewidth=1, linestyle=":")
        axes.set(xscale="log", xlabel="learning rate of SGD", ylabel="test accuracy (%)")
        axes.set_title(f"Digits, two hidden layers, after {epochs} epochs")
        axes.legend(loc="lower left")

    return Finding(
        claim="C2",
        title="Batch normalisation is the same step, inside",
        says="Batch normalisation is that same step, inside the network.",
        does="Compares a BatchNorm layer in a network with Standardize on the same batch; then "
        "trains on the digits with and without, over a thousandfold of learning rates.",
        measured=f"The outputs differ by at most {difference:.0e} (epsilon) in training, and by "
        f"{predicting:.2f} on average in prediction (running means). After {epochs} epochs "
        f"every seed reads 90 % of the test digits for learning rates {working[True]} with "
        f"BatchNorm ({times(span[True])}), {working[False]} without ({times(span[False])}); best "
        f"accuracy {100 * best[True]:.1f} % and {100 * best[False]:.1f} %.",
        verdict=judge(
            seen=difference < 1e-2 and predicting < 0.1, exception=span[True] <= span[False]
        ),
        usual=HOLDS,
        because="in training with the statistics of the batch, in prediction with those of the "
        "training data, as Standardize. It widens the range of learning rates that work.",
        numbers={
            "difference": difference,
            "predicting": predicting,
            "with": span[True],
            "without": span[False],
        },
        brief=f"outputs equal up to {difference:.0e}; learning rates that work "
        f"{times(span[True])} instead of {times(span[False])}",
        alt="Test accuracy against the learning rate: with BatchNorm the range that works is "
        "ten times as wide",
        caption="Mean and range over the seeds. Above the dotted line training counts as having "
        "worked.",
        tries=(
            Try(
                "",
                "`normalizing(epochs=20)`: does the network without BatchNorm catch up at small "
                "learning rates?",
            ),
        ),
        draw=draw,
    )
