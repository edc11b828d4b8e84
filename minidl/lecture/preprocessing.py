"""C1: standardised data is more learnable. Hessian eigenvalues and training, with and without."""

from __future__ import annotations

from typing import Any

import numpy as np

import minidl
from minidl import data, nn, optim
from minidl import functional as F
from minidl.lecture.experiment import (
    BLUE,
    GREEN,
    HOLDS,
    ORANGE,
    Array,
    Finding,
    Try,
    decades,
    judge,
    times,
)


def data_sets() -> dict[str, tuple[Array, Array]]:
    """Return features and classes: as they come, and with units that do not go together."""
    x, y = data.load_iris()
    digits, labels = data.load_digits()
    return {
        "Iris in cm": (x, y),
        "Iris in mixed units": (x * [10, 1, 1, 0.1], y),  # mm, cm, cm, dm
        "digits": (digits, labels),
    }


def bending(x: Array, y: Array) -> Array:
    """Return the Hessian's eigenvalues of a logistic unit that tells class 0 from the others.

    At weights of zero; those eigenvalues that are only rounding errors are left out.
    """
    target = (y == 0).astype(np.float64)

    def loss(w: Any) -> Any:
        return F.binary_cross_entropy_with_logits(x @ w[:-1] + w[-1], target)

    eigenvalues = np.linalg.eigvalsh(minidl.hessian(loss, np.zeros(x.shape[1] + 1)))
    return eigenvalues[eigenvalues > 1e-12 * eigenvalues[-1]]


def train(x: Array, y: Array, lr: float, epochs: int, seed: int) -> list[float]:
    """Train a linear classifier with SGD; return its loss after each epoch (inf: diverged)."""
    minidl.seed(seed)
    model = nn.Linear(x.shape[1], int(y.max()) + 1)
    optimizer = optim.SGD(model.parameters(), lr=lr)
    loader = data.DataLoader(x, y, batch_size=32, shuffle=True)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            history = minidl.fit(
                model, nn.CrossEntropyLoss(), optimizer, loader, epochs=epochs, progress=False
            )
    except FloatingPointError:
        return [np.inf] * epochs
    return list(history["loss"])


def standardizing(epochs: int = 10, seeds: int = 8, each: int = 2, divide: bool = True) -> Finding:
    """C1. Data that is standardised is more learnable."""
    rates = decades(-4, 1, each)
    condition, loss, curves, spectra = {}, {}, {}, {}
    for name, (x, y) in data_sets().items():
        prepared = data.Standardize().fit_transform(x) if divide else x - x.mean(axis=0)
        for version, z in (("raw", x), ("standardized", prepared)):
            spectra[name, version] = e = bending(z, y)
            condition[name, version] = e[-1] / e[0]
            runs = [
                np.array([train(z, y, lr, epochs, seed) for seed in range(seeds)]) for lr in rates
            ]
            best = min(runs, key=lambda curves: curves[:, -1].mean())  # each at its best rate
            curves[name, version], loss[name, version] = best, best[:, -1].mean()
    names = list(data_sets())
    gains = {n: condition[n, "raw"] / condition[n, "standardized"] for n in names}
    falls = {n: loss[n, "raw"] / loss[n, "standardized"] for n in names}
    ratios = {n: curves[n, "raw"][:, -1] / curves[n, "standardized"][:, -1] for n in names}

    def draw(page: Any) -> None:
        bends, trains = page.subplots(1, 2)
        for name, marker, color in zip(names, "os^", (BLUE, GREEN, ORANGE), strict=True):
            for version, line, fill in (("raw", "--", "none"), ("standardized", "-", color)):
                e = spectra[name, version][::-1]
                at = np.linspace(0, 1, len(e))
                label = f"{name}, {version}"
                wide = name == names[0] and version == "standardized"  # two lines are one there
                style: dict[str, Any] = {"color": color, "linestyle": line, "label": label}
                style |= {"linewidth": 4, "alpha": 0.4} if wide else {}
                few = {"marker": marker, "markerfacecolor": fill, "markersize": 4}
                bends.plot(at, e, **style, **(few if len(e) < 10 else {}))
                trains.plot(range(1, epochs + 1), curves[name, version].mean(axis=0), **style)
                low, high = curves[name, version].min(axis=0), curves[name, version].max(axis=0)
                trains.fill_between(range(1, epochs + 1), low, high, color=color, alpha=0.15)
        bends.set(yscale="log", xlabel="eigenvalues, largest to smallest", xticks=[])
        bends.set(ylabel="curvature", title="Curvatures of the loss")
        trains.set(yscale="log", xlabel="epoch", ylabel="training loss")
        trains.set_title("SGD at its best rate")
        page.legend(*trains.get_legend_handles_labels(), loc="outside right upper")

    return Finding(
        claim="C1",
        title="Standardized data is more learnable",
        says="Subtract the mean, divide by the standard deviation: the data becomes more "
        "learnable.",
        does="Takes the Hessian of a logistic unit on raw and on standardized data, and trains a "
        "linear classifier with SGD on both, each at the best of several learning rates.",
        measured="The condition number (largest over smallest curvature) falls "
        + ", ".join(
            f"from {condition[n, 'raw']:,.0f} to {condition[n, 'standardized']:,.0f} ({n})"
            for n in names
        )
        + f". The loss after {epochs} epochs is lower by "
        + ", ".join(
            f"{times(falls[n])} ({n}; {times(ratios[n].min())} to {times(ratios[n].max())} over "
            f"{seeds} seeds)"
            for n in names
        )
        + ".",
        verdict=judge(
            seen=all(gains[n] > 2 and falls[n] > 1 for n in names[1:]),
            exception=gains[names[0]] < 2 or falls[names[0]] < 1,
        ),
        usual=HOLDS,
        because="of the same flowers, those whose features differ more in scale gain more. Pixels "
        "have one unit, and gain least in the loss.",
        numbers={f"gain, {n}": gains[n] for n in names} | {f"fall, {n}": falls[n] for n in names},
        brief=f"condition number of the digits {condition['digits', 'raw']:,.0f} raw, "
        f"{condition['digits', 'standardized']:,.0f} standardized",
        chance=f"{seeds} seeds: their loss lower by {times(ratios['digits'].min())} to "
        f"{times(ratios['digits'].max())}",
        alt="Curvatures and training loss of raw and standardized data: the standardized "
        "curves are flatter on the left and lower on the right",
        caption="Left: the curvatures, from the largest to the smallest, of the raw data (dashed) "
        "and the standardized (solid). Right: the loss in training. Iris gives one solid "
        "line for both units, since standardizing takes the units away.",
        tries=(
            Try(
                "standardizing(divide=False, epochs=5, seeds=2, each=1)",
                "only subtract the mean. Most of the gain on Iris in cm is there; for mixed units "
                "it is not.",
            ),
        ),
        draw=draw,
    )
