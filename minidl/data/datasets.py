"""Data sets: three real ones that come with minidl, the user's own CSV file, three synthetic ones.

Two more real ones are in tables.py. They lie beside this file in ``files/``, where ``SOURCES.txt``
says whose they are.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from minidl.checks import number, one_of, whole_number
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
    table = load_csv(_FILES / "iris.csv", target="species", class_names=IRIS_CLASSES)
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


class Table(NamedTuple):
    """What :func:`load_csv` returns."""

    x: np.ndarray
    """The features (N, features), float32 if that holds them, else float64."""
    y: np.ndarray
    """The target (N,): int64 classes, or numbers, float32 if that holds them, else float64."""
    feature_names: tuple[str, ...]
    """The names of the columns of ``x``."""
    class_names: tuple[str, ...]
    """The label of each class; empty for a regression."""


def load_csv(
    path: str | os.PathLike[str],
    target: str | int,
    delimiter: str = ",",
    *,
    header: bool | Literal["auto"] = "auto",
    task: Literal["classification", "regression"] = "classification",
    class_names: Sequence[str] | None = None,
) -> Table:
    """Read a CSV file: one column is the target, all others are numeric features.

    The file is UTF-8, with or without a byte order mark; blank lines are skipped, and spaces
    around a field do not count. In a classification the distinct labels become the classes 0, 1,
    ... in sorted order (by value, if all are whole numbers), in a regression the target column
    holds numbers.

    Numbers become float32. Where that would change one above 2**24 (an id, a time in seconds), or
    one below 1e-38, all features (or all targets of a regression) are float64 instead.

    Args:
        path: the file.
        target: the name of the target column, or its place (0 the first, -1 the last).
        delimiter: the one character between fields.
        header: True if the first line holds the names of the columns. False if it is the first
            sample; then the columns are named "0", "1", ... By default it holds the names, and
            one with a number in it, which could be either, is refused. (Whole numbers pass as
            names if ``target`` is one of the names.)
        task: ``"classification"`` or ``"regression"``.
        class_names: the labels in the order of their classes. Pass the ``class_names`` of the
            training table to read a second file, so that a label means the same class in both.

    Raises:
        FileNotFoundError: if there is no such file.
        TypeError: if ``target`` is neither a name nor an int, or ``header`` no bool.
        ValueError: for a file that is empty, not UTF-8, broken or without rows; a header without
            the target, with a name missing or twice, or that looks like data; a row of another
            length; a field that is missing, not a number, NaN, infinite, too large for float32 or
            with more digits than float64 holds; labels that look like the numbers of a
            regression. The message names the file, the line, counted from 1, and the column.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "flowers.csv")
        ...     _ = path.write_text("width,height,kind\\n1,2.5,rose\\n2,0.5,daisy\\n")
        ...     table = load_csv(path, target="kind")
        >>> table.x.tolist(), table.y, table.class_names
        ([[1.0, 2.5], [2.0, 0.5]], array([1, 0]), ('daisy', 'rose'))
    """
    one_of(task, "load_csv: task", ("classification", "regression"))
    if task == "regression" and class_names is not None:
        raise ValueError("class_names are for a classification, and task is 'regression'")
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise ValueError(
            f"load_csv: delimiter is one character, such as ',' or ';', not {delimiter!r}"
        )
    if not isinstance(header, bool) and header != "auto":
        raise TypeError(f"load_csv: header is True, False or 'auto', got {header!r}")
    records = _records(path, delimiter)
    first = next(records, (0, []))
    columns = len(first[1])
    if header is False:
        names = [str(place) for place in range(columns)]
        records = chain([first], records)
    else:
        names = _column_names(path, first[1], header == "auto", target)
    column = _target_column(path, names, target)
    target_name = names.pop(column)

    lines, targets, rows = [], [], []
    for line, fields in records:
        if len(fields) != columns:
            raise ValueError(
                f"{path}, line {line}: {len(fields)} fields, but the first line has {columns}"
            )
        lines.append(line)
        targets.append(fields.pop(column).strip())
        rows.append(
            [_number(text, path, line, name) for text, name in zip(fields, names, strict=True)]
        )
    if not rows:
        raise ValueError(f"{path} has a header and no rows of data")

    x = _narrowed(rows)
    if task == "regression":
        numbers = [
            _number(text, path, line, target_name)
            for text, line in zip(targets, lines, strict=True)
        ]
        return Table(x, _narrowed(numbers), tuple(names), ())
    y, classes = _encoded(targets, lines, class_names, path, target_name)
    return Table(x, y, tuple(names), classes)


def _records(path: str | os.PathLike[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line at which a record begins, counted from 1, and its fields."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
        before = 0  # a quoted field may hold line breaks, so a record may span lines
        try:
            for fields in reader:
                if len(fields) > 1 or "".join(fields).strip():
                    yield before + 1, fields
                before = reader.line_num
        except csv.Error as error:
            raise ValueError(f"{path}, line {before + 1}: broken CSV, {error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text, save it as such: {error}") from error


def _column_names(
    path: str | os.PathLike[str], header: list[str], doubtful: bool, target: str | int
) -> list[str]:
    """Return the names in the first line; a ``doubtful`` one may be a sample."""
    names = [name.strip() for name in header]
    # Whole numbers pass as names where the target is named: pandas numbers columns without names.
    named = isinstance(target, str) and target in names
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        where = f"{path}, header, column {place} (counted from 0)"
        if doubtful and _is_number(name) and not (named and name.isdigit()):
            raise ValueError(
                f"{where} is the number {name}: if the first line is a sample and the file has no "
                f"line of names, pass header=False; if those are names, header=True"
            )
        if not name:
            raise ValueError(
                f"{where} has no name: name it, or remove it if it only counts the rows "
                f"(pandas writes such a column unless told index=False)"
            )
        if places.setdefault(name, place) != place:
            raise ValueError(f"{where} has the name {name!r} of an earlier column: rename one")
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _target_column(path: str | os.PathLike[str], names: list[str], target: str | int) -> int:
    if not names:
        raise ValueError(f"{path} is empty: expected a header line and rows of data")
    if len(names) < 2:
        raise ValueError(
            f"{path} has the one column {names[0]!r}, expected features and a target: "
            f"if those are several, pass their delimiter="
        )
    if isinstance(target, bool) or not isinstance(target, str | int):
        raise TypeError(f"target is the name or the place of a column, got {target!r}")
    if isinstance(target, int):
        if -len(names) <= target < len(names):
            return target
    elif target in names:
        return names.index(target)
    raise ValueError(f"{path} has no column {target!r} for the target; it has {names}")


_NO_LABEL = ("", "nan", "NaN")  # not "NA", which may be Namibia
_LARGEST = float(np.finfo(np.float32).max)


def _number(text: str, path: str | os.PathLike[str], line: int, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is not None and abs(value) < 2**53 and "_" not in text:  # float reads 1_000
        return value
    if not text.strip():
        problem = "no value: fill it in, or remove the row"
    elif value is None or "_" in text:
        problem = f"{text!r} is not a number: repair it, or remove or encode the column"
    elif not any(map(str.isdigit, text)):
        problem = f"{text} is not finite: fill it in, or remove the row"
    elif abs(value) > _LARGEST:
        problem = f"{text} is too large for float32: scale the column"
    # Written in full it may be an id, of which every digit counts; 6.022e23 is a measurement.
    elif "e" in text.lower() or Decimal(text) == value:
        return value
    else:
        problem = (
            f"{text} has more digits than float64 holds: if it is an id, remove the column, "
            f"if a measurement, write it as {value:e}"
        )
    raise ValueError(f"{path}, line {line}, column {name!r}: {problem}")


def _narrowed(numbers: list[float] | list[list[float]]) -> np.ndarray:
    """Return the numbers as float32, or as float64 where float32 would lose more than decimals."""
    wide = np.array(numbers, dtype=np.float64)
    with np.errstate(under="ignore"):
        narrow = wide.astype(np.float32)
    size = np.abs(wide)
    lossy = (size > 2**24) | (size < np.finfo(np.float32).tiny)  # it skips whole numbers; it fades
    return wide if (lossy & (narrow != wide)).any() else narrow


def _encoded(
    labels: list[str],
    lines: list[int],
    class_names: Sequence[str] | None,
    path: str | os.PathLike[str],
    column: str,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the class of each label, and the label of each class."""
    for label, line in zip(labels, lines, strict=True):
        if label in _NO_LABEL:
            raise ValueError(f"{path}, line {line}, column {column!r}: no label, remove the row")
    if class_names is None:
        classes = _classes(labels, f"{path}, column {column!r}")
    else:
        classes = tuple(map(str, class_names))
    number = {label: c for c, label in enumerate(classes)}
    if len(number) < len(classes):
        raise ValueError(f"class_names has a name twice: {classes}")
    for label, line in zip(labels, lines, strict=True):
        if label not in number:
            raise ValueError(
                f"{path}, line {line}, column {column!r}: the label {label!r} is none of "
                f"class_names, {classes}"
            )
    return np.array([number[label] for label in labels], dtype=np.int64), classes


def _classes(labels: list[str], where: str) -> tuple[str, ...]:
    """Return the distinct labels in order, by value if they are all whole numbers."""
    distinct = sorted(set(labels))
    if len(distinct) < 2:
        raise ValueError(
            f"{where}: a classification needs at least 2 different labels, got {distinct}; "
            f"to read a part of the classes only, pass class_names="
        )
    try:  # exactly, since float takes neighbours beyond 2**53 for one number
        values = {label: Decimal(label) for label in distinct}
    except InvalidOperation:
        return tuple(distinct)
    for label, value in values.items():
        if not value.is_finite() or value != value.to_integral_value():
            raise ValueError(
                f"{where}: the labels are numbers such as {label}; for a regression, pass "
                f"task='regression'"
            )
    if len(set(values.values())) < len(distinct):
        raise ValueError(f"{where}: some labels are one number written in two ways: {distinct}")
    return tuple(sorted(distinct, key=values.__getitem__))


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
