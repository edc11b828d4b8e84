"""minidl's estimators beside scikit-learn's own networks: how good, and in what time.

    python tests/laboratory/benchmarks/estimators.py             # half a minute
    python tests/laboratory/benchmarks/estimators.py --seeds 2   # less

Needs scikit-learn (the extra ``sklearn``). Each line is a data set that comes with scikit-learn;
each seed is another split (a quarter is tested on), other weights and another order. Both networks
have their defaults, inputs standardised by a ``StandardScaler``, and one thread; they take turns,
and times are those of the thread in ``fit``. MLPRegressor does not standardise targets, as
Regressor does; so it has a second line with a ``TransformedTargetRegressor`` around it.

Shown are means over the seeds, of accuracy or R^2 on the test part, with the standard deviation,
and the mean of the differences with its standard error: a difference of two of those is noise. The
time is the median, and the ratio that of minidl over the other.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples"))

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from sklearn import datasets
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from minidl.estimators import Classifier, Regressor

Make = Callable[[int], Any]


def scaled_target(seed: int) -> Any:
    network = MLPRegressor(random_state=seed)
    return TransformedTargetRegressor(network, transformer=StandardScaler())


CLASSES: tuple[Make, Make] = (
    lambda s: Classifier(random_state=s),
    lambda s: MLPClassifier(random_state=s),
)
CASES: dict[str, tuple[Callable[..., Any], Make, Make]] = {
    "digits": (datasets.load_digits, *CLASSES),
    "breast cancer": (datasets.load_breast_cancer, *CLASSES),
    "wine": (datasets.load_wine, *CLASSES),
    "diabetes": (
        datasets.load_diabetes,
        lambda s: Regressor(random_state=s),
        lambda s: MLPRegressor(random_state=s),
    ),
    "diabetes, targets scaled": (
        datasets.load_diabetes,
        lambda s: Regressor(random_state=s),
        scaled_target,
    ),
}


def fitted(make: Make, seed: int, data: tuple[np.ndarray, ...]) -> tuple[float, float]:
    """The score on the test part, and the seconds of the fit."""
    x_train, x_test, y_train, y_test = data
    model = make(seed)
    start = time.thread_time()
    model.fit(x_train, y_train)
    return model.score(x_test, y_test), time.thread_time() - start


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=8, help="(default: 8)")
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore", ConvergenceWarning)  # of 200 epochs, which both have at most
    header = f"{'':26}{'minidl':>17}{'scikit-learn':>17}{'difference':>18}"
    print(f"{header}{'time':>10}{'theirs':>10}{'ratio':>7}")
    for name, (load, *makes) in CASES.items():
        x, y = load(return_X_y=True)
        scores, times = np.empty((2, args.seeds)), np.empty((2, args.seeds))
        for seed in range(args.seeds):
            stratify = y if len(np.unique(y)) < 20 else None
            parts = train_test_split(x, y, test_size=0.25, stratify=stratify, random_state=seed)
            scale = StandardScaler().fit(parts[0])
            data = (scale.transform(parts[0]), scale.transform(parts[1]), *parts[2:])
            for i in (0, 1) if seed % 2 else (1, 0):
                scores[i, seed], times[i, seed] = fitted(makes[i], seed, data)
        cells = "".join(f"{s.mean():9.3f} ± {s.std(ddof=1):.3f}" for s in scores)
        d = scores[0] - scores[1]
        ours, theirs = np.median(times, axis=1)
        ratio = np.median(times[0] / times[1])
        print(
            f"{name:26}{cells}{d.mean():+10.3f} ± {d.std(ddof=1) / np.sqrt(len(d)):.3f}"
            f"{ours:8.2f} s{theirs:8.2f} s{ratio:7.2f}"
        )


if __name__ == "__main__":
    main()
