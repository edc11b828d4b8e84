"""Reading a CSV file of plain numbers, on NumPy alone.

Every field is read exactly, and a bad one is named with its line and column. Every file is
first read in blocks by ``numpy.loadtxt``; where that finds anything that is not plain, the file
is read again, record by record. For other tables there is ``reading.py``.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Literal, NamedTuple

import numpy as np

from minidl.checks import one_of
from minidl.data.plain_csv import EXACT, Plain, read_plain


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

    Plain files are read fast. Words in features, missing values, decimal commas,
    dates and other encodings are for :func:`read_table` and :class:`TableEncoder`.

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
    first = next(records, None)
    if first is None:
        raise ValueError(f"{path} is empty: expected a header line and rows of data")
    columns = len(first[1])
    if header is False:
        names = [str(place) for place in range(columns)]
        records = chain([first], records)
    else:
        names = _column_names(path, first[1], header == "auto", target)
    column = _target_column(path, names, target)
    target_name = names.pop(column)

    # (Of a name with a line break in it a quote is left, which is not plain.)
    skip = first[0] - (header is False)
    plain = read_plain(path, skip, columns, column, delimiter, task == "classification")
    table = plain and _of_plain(plain, names, class_names, f"{path}, column {target_name!r}")
    if table:
        return table
    lines, targets, rows, blocks = [], [], [], []
    for line, fields in records:
        if len(fields) != columns:
            raise ValueError(
                f"{path}, line {line}: {len(fields)} fields, but the first line has {columns}"
                f"{_remedy_of_row(fields, columns)}"
            )
        lines.append(line)
        targets.append(fields.pop(column).strip())
        rows.append(_numbers(fields, path, line, names))
        if len(rows) == _ROWS:
            blocks.append(np.asarray(rows))
            rows.clear()
    if rows:
        blocks.append(np.asarray(rows))
    if not blocks:
        raise ValueError(f"{path} has a header and no rows of data")

    x = _joined(blocks)
    if task == "regression":
        numbers = [
            _number(text, path, line, target_name)
            for text, line in zip(targets, lines, strict=True)
        ]
        return Table(x, _joined([np.asarray(numbers)]), tuple(names), ())
    y, classes = _encoded(targets, lines, class_names, path, target_name)
    return Table(x, y, tuple(names), classes)


def _of_plain(
    plain: Plain, names: Sequence[str], class_names: Sequence[str] | None, where: str
) -> Table | None:
    """Return the table; None if a label is to be refused, for which its line is needed."""
    if not plain.labels:
        return Table(_joined(plain.x), _joined(plain.y), tuple(names), ())
    if any(label in _NO_LABEL for label in plain.labels):
        return None
    classes = _classes(plain.labels, where) if class_names is None else _given(class_names)
    if not {*plain.labels} <= {*classes}:
        return None
    number = {label: c for c, label in enumerate(classes)}
    y = np.array([number[label] for label in plain.labels], dtype=np.int64)[
        np.concatenate(plain.y).astype(np.intp)
    ]
    return Table(_joined(plain.x), y, tuple(names), classes)


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
            raise ValueError(
                f"{path}, line {before + 1}: broken CSV, {error}: repair the quotes, {_TABLES}"
            ) from error
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is not UTF-8 text, save it as such, or read it with data.read_table (the "
                f"extra minidl[tables]): read_table(path, encoding=...): {error}"
            ) from error


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
    if len(names) < 2:
        raise ValueError(
            f"{path} has the one column {names[0]!r}, expected features and a target: "
            f"if those are several, pass their delimiter={likely_delimiter(names[0])}"
        )
    if isinstance(target, bool) or not isinstance(target, str | int):
        raise TypeError(f"target is the name or the place of a column, got {target!r}")
    if isinstance(target, int):
        if -len(names) <= target < len(names):
            return target
    elif target in names:
        return names.index(target)
    raise ValueError(f"{path} has no column {target!r} for the target; it has {names}")


def likely_delimiter(text: str) -> str:
    """How the delimiter is written that a line of names seems to have; else ""."""
    return next((repr(mark) for mark in ";\t|," if mark in text), "")


def _remedy_of_row(fields: list[str], columns: int) -> str:
    if len(fields) < columns:
        return ": repair the line; a missing value leaves its delimiter"
    return ": put a field that holds the delimiter in quotes, or pass the file's delimiter="


_NO_LABEL = ("", "nan", "NaN")  # not "NA", which may be Namibia
_LARGEST = float(np.finfo(np.float32).max)


_ROWS = 10_000  # gathered as Python's numbers, which take four times the memory


def _numbers(
    fields: list[str], path: str | os.PathLike[str], line: int, names: list[str]
) -> list[float]:
    """Return the numbers of a record: all at once, or one by one if any may be wrong."""
    try:
        row = list(map(float, fields))
    except ValueError:
        row = [np.inf]
    if sum(map(abs, row)) < EXACT and "_" not in "".join(fields):  # not if one is NaN
        return row
    return [_number(text, path, line, name) for text, name in zip(fields, names, strict=True)]


def _number(text: str, path: str | os.PathLike[str], line: int, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = None
    if value is not None and abs(value) < EXACT and "_" not in text:  # float reads 1_000
        return value
    if not text.strip():
        problem = f"no value: fill it in, or remove the row; {_TABLES}, with missing='impute'"
    elif value is None or "_" in text:
        problem = f"{text!r} is not a number: {_remedy(text.strip())}"
    elif not any(map(str.isdigit, text)):
        problem = (
            f"{text} is not finite: fill it in, or remove the row; {_TABLES}, with missing='impute'"
        )
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


_TABLES = (
    "or read the file with data.read_table (the extra minidl[tables]) and encode it by "
    "data.TableEncoder"
)


def _remedy(text: str) -> str:
    """What to do about a field that is no number, by what it looks like."""
    if re.fullmatch(r"[+-]?[\d.]*,\d+", text):
        return f"for a decimal comma, {_TABLES[3:]}: read_table(path, decimal=',')"
    if groups := re.fullmatch(r"[+-]?\d{1,3}([ ,.'])\d{3}(\1\d{3})*([.,]\d+)?", text):
        return (
            f"for a thousands separator, {_TABLES[3:]}: read_table(path, thousands={groups[1]!r})"
        )
    if re.fullmatch(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}.*", text):
        return f"dates are no numbers: remove the column, {_TABLES}"
    if text.lower() in ("na", "n/a", "null", "none", "?", "-"):
        return f"if it stands for a missing value, fill it in, {_TABLES}, with missing='impute'"
    return f"repair it, or remove the column; if it is one of words, {_TABLES[3:]}"


def _joined(blocks: list[np.ndarray]) -> np.ndarray:
    """Return the blocks in one: float32, or float64 where that would lose more than decimals."""
    dtype = np.float64 if any(map(_loses, blocks)) else np.float32
    joined = np.empty((sum(map(len, blocks)), *blocks[0].shape[1:]), dtype)
    start = 0
    for block in blocks:
        joined[start : start + len(block)] = block
        start += len(block)
    return joined


def _loses(wide: np.ndarray) -> bool:
    """Whether float32 would skip whole numbers, or let small ones fade."""
    with np.errstate(under="ignore"):
        narrow = wide.astype(np.float32)
    size = np.abs(wide)
    lossy = (size > 2**24) | (size < np.finfo(np.float32).tiny)
    return bool((lossy & (narrow != wide)).any())


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
        classes = _given(class_names)
    number = {label: c for c, label in enumerate(classes)}
    for label, line in zip(labels, lines, strict=True):
        if label not in number:
            raise ValueError(
                f"{path}, line {line}, column {column!r}: the label {label!r} is none of "
                f"class_names, {classes}"
            )
    return np.array([number[label] for label in labels], dtype=np.int64), classes


def _given(class_names: Sequence[str]) -> tuple[str, ...]:
    classes = tuple(map(str, class_names))
    if len({*classes}) < len(classes):
        raise ValueError(f"class_names has a name twice: {classes}")
    return classes


def _classes(labels: Sequence[str], where: str) -> tuple[str, ...]:
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
