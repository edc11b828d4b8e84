"""Data sets: three real ones that come with minidl, and three synthetic ones.

Two more real ones are in tables.py. They lie beside this file in ``files/``, where ``SOURCES.txt``
says whose they are.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from minidl.checks import number, whole_number
from minidl.data.csv_file import load_csv
from minidl.rng import RNG, generator

IRIS_CLASSES = ("setosa", "versicolor", "virginica")
"""The species of Iris, in the order of the labels."""

IRIS_FEATURES = (
    "sepal length (cm)",
    "sepal width (cm)",
    "petal length (cm)",
    "petal width (cm)",
)
"""What the columns of Iris measure."""


_FILES = Path(__file__).parent / "files"


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 1,797 images of handwritten digits and the digits that they show.

    Each image has 8x8 pixels, laid out row by row (``x.reshape(-1, 8, 8)`` gives the pictures); a
    pixel counts the dark points of a 4x4 block of the scan, from 0 to 16. This is the test set of
    "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998, UCI Machine
    Learning Repository, doi:10.24432/C50P49, CC BY 4.0), written by 13 people.

    Returns:
        ``x`` (1797, 64) float32 and ``y`` (1797,) int64 from 0 to 9.

    Example:
        >>> x, y = load_digits()
        >>> x.shape, y[:10]
        ((1797, 64), array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))
    """
    with gzip.open(_FILES / "digits.csv.gz") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    return table[:, :64].astype(np.float32), table[:, 64].astype(np.int64)


def load_iris() -> tuple[np.ndarray, np.ndarray]:
    """Return four measurements of 150 iris flowers, and the species of each, 50 of every one.

    The names are in ``IRIS_FEATURES`` and ``IRIS_CLASSES``. R. A. Fisher, "The use of multiple
    measurements in taxonomic problems", Annals of Eugenics 7(2), 1936; UCI Machine Learning
    Repository, doi:10.24432/C56C76, CC BY 4.0. The values are those of Fisher's paper, as in R and
    scikit-learn; UCI's own file differs from them in samples 35 and 38.

    Returns:
        ``x`` (150, 4) float32, in centimeters, and ``y`` (150,) int64 from 0 to 2.

    Example:
        >>> x, y = load_iris()
        >>> x[0], IRIS_CLASSES[y[0]]
        (array([5.1, 3.5, 1.4, 0.2], dtype=float32), 'setosa')
    """
    table = load_csv(_FILES / "iris.csv", target="species")
    return table.x, table.y


def load_names() -> list[str]:
    """Return 5,163 first names of people, in lower case and in alphabetical order, each once.

    Every name that is frequent among women or men in the sample of the 1990 census of the United
    States (U.S. Census Bureau, "Frequently Occurring Names and Surnames from the 1990 Census",
    1995; public domain). They are of 2 to 11 letters from a to z.

    Returns:
        A new list of str.

    Example:
        >>> names = load_names()
        >>> len(names), names[:3]
        (5163, ['aaron', 'abbey', 'abbie'])
    """
    with gzip.open(_FILES / "names.txt.gz", "rt", encoding="ascii") as lines:
        return lines.read().split()


def make_spirals(
    n: int = 1000, arms: int = 3, noise: float = 0.02, rng: RNG = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return points on intertwined spirals, each arm a class.

    An arm makes one turn while its radius grows from 0.1 to 1. The samples are shared evenly
    among the arms and come in random order.

    Args:
        n: number of samples, at least one per arm.
        arms: number of spirals, at least 2.
        noise: standard deviation of the normal noise on each coordinate.
        rng: a seed, a generator, or None for minidl's own.

    Returns:
        ``x`` (n, 2) float32 and ``y`` (n,) int64 from 0 to ``arms`` - 1.

    Raises:
        TypeError: if ``n`` or ``arms`` is no int, or ``noise`` no number.
        ValueError: if one of them is out of range.

    Example:
        >>> x, y = make_spirals(6, arms=3, rng=0)
        >>> x.shape, np.bincount(y)
        ((6, 2), array([2, 2, 2]))
    """
    source = generator(rng)
    y = _shared_out(n, arms, "arms", source)
    t = source.random(n)
    angle = 2 * np.pi * (t + y / arms)
    curve = (0.1 + 0.9 * t) * np.stack([np.cos(angle), np.sin(angle)])  # (2, n)
    return _noisy(curve, noise, source), y


def make_moons(n: int = 1000, noise: float = 0.1, rng: RNG = None) -> tuple[np.ndarray, np.ndarray]:
    """Return points on two half circles of radius 1 that reach into each other.

    Class 0 is the upper half of the circle around (0, 0), class 1 the lower half of the circle
    around (1, 0.5). The samples are shared evenly and come in random order.

    Args:
        n: number of samples, at least 2.
        noise: standard deviation of the normal noise on each coordinate.
        rng: a seed, a generator, or None for minidl's own.

    Returns:
        ``x`` (n, 2) float32 and ``y`` (n,) int64 of 0 and 1.

    Raises:
        TypeError: if ``n`` is no int, or ``noise`` no number.
        ValueError: if one of them is out of range.

    Example:
        >>> x, y = make_moons(5, rng=0)
        >>> x.shape, np.bincount(y)
        ((5, 2), array([3, 2]))
    """
    source = generator(rng)
    y = _shared_out(n, 2, "classes", source)
    angle = np.pi * (source.random(n) + y)  # the upper half for class 0, the lower for class 1
    curve = np.stack([np.cos(angle) + y, np.sin(angle) + 0.5 * y])  # (2, n)
    return _noisy(curve, noise, source), y


def make_blobs(
    n: int = 1000, centers: int = 3, noise: float = 0.2, rng: RNG = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return points scattered around centers that are spaced evenly on the unit circle.

    The samples are shared evenly among the centers and come in random order.

    Args:
        n: number of samples, at least one per center.
        centers: number of classes, at least 2.
        noise: standard deviation of the normal distribution around a center, on each coordinate.
        rng: a seed, a generator, or None for minidl's own.

    Returns:
        ``x`` (n, 2) float32 and ``y`` (n,) int64 from 0 to ``centers`` - 1.

    Raises:
        TypeError: if ``n`` or ``centers`` is no int, or ``noise`` no number.
        ValueError: if one of them is out of range.

    Example:
        >>> x, y = make_blobs(4, centers=2, noise=0.0, rng=0)
        >>> x[y == 0]
        array([[1., 0.],
               [1., 0.]], dtype=float32)
    """
    source = generator(rng)
    y = _shared_out(n, centers, "centers", source)
    angle = 2 * np.pi * y / centers
    return _noisy(np.stack([np.cos(angle), np.sin(angle)]), noise, source), y


def _shared_out(n: int, classes: int, name: str, rng: np.random.Generator) -> np.ndarray:
    """Return ``n`` labels in random order, equally many of each class, give or take one."""
    classes = whole_number(classes, name, at_least=2)
    n = whole_number(n, "n", at_least=classes)
    return rng.permutation(np.arange(n, dtype=np.int64) % classes)


def _noisy(curve: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Return the points of ``curve`` (2, n), moved by normal noise, as float32 (n, 2)."""
    noise = number(noise, "noise, a standard deviation,", at_least=0)
    return (curve + noise * rng.standard_normal(curve.shape)).T.astype(np.float32, order="C")
