"""Columns of a table, whatever holds them: lists, arrays or a DataFrame of pandas.

A column is read into one of few kinds, with its gaps marked, or refused with its name, the row and
what to do. Nothing is learnt here (``features.py`` does that), and pandas is never imported: a
DataFrame is known by what it can do.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

ISO_DATE = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)
"""A date as ISO 8601 writes it, 2024-12-31, with or without a time of day and its zone."""

_LARGEST = float(np.finfo(np.float32).max)
_DAY = np.timedelta64(1, "D")
_1970 = datetime.datetime(1970, 1, 1)


class Where(NamedTuple):
    """A column, as errors speak of it."""

    owner: str
    name: str
    index: Any = None
    """What pandas calls the rows."""

    def __str__(self) -> str:
        return f"{self.owner}: column {self.name!r}"

    def row(self, row: int) -> str:
        """A row by its place, and by its name if that is another."""
        label = row if self.index is None else self.index[row]
        called = "" if np.array_equal(label, row) else f", in the index {label!s}"
        return f"row {row} (counted from 0{called})"


class Column(NamedTuple):
    """A column that has been read."""

    where: Where
    kind: str
    """``numbers``, ``dates``, ``durations``, ``words``, ``true/false``; ``categories`` for what
    the caller says to be such; ``nothing`` for gaps alone."""
    values: np.ndarray
    """Numbers or days, float64, or words; in a gap, whatever."""
    missing: np.ndarray
    """Which rows have no value, bool (N,)."""

    @property
    def name(self) -> str:
        """What the column is called."""
        return self.where.name

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers, or days."""
        return self.kind in ("numbers", "dates", "durations")

    @property
    def present(self) -> np.ndarray:
        """The values that are there."""
        return self.values[~self.missing]


def named(table: Any, owner: str) -> dict[str, Any]:
    """Return the columns of a table by name, as they are.

    Raises:
        TypeError: if it is neither a DataFrame nor a dict, or a name is no string.
        ValueError: if a name comes twice.
    """
    if isinstance(table, Mapping):
        pairs: Iterable[tuple[Any, Any]] = table.items()
    elif hasattr(table, "columns") and hasattr(table, "iloc"):
        pairs = ((name, table.iloc[:, place]) for place, name in enumerate(table.columns))
    else:
        remedy = ""
        if isinstance(table, np.ndarray):
            remedy = "; its columns are {f'x{i}': array[:, i] for i in range(array.shape[1])}"
        elif hasattr(table, "iloc"):
            remedy = "; one row of a DataFrame is frame.iloc[[i]], and one column frame[[name]]"
        elif isinstance(table, list):
            remedy = "; of a list of rows pandas.DataFrame(rows) makes one"
        raise TypeError(
            f"{owner} takes a DataFrame of pandas, or a dict of name: column, got "
            f"{type(table).__name__}{remedy}"
        )
    found: dict[str, Any] = {}
    for name, values in pairs:
        if isinstance(name, bool) or not isinstance(name, str | int | np.integer):
            raise TypeError(f"{owner}: the name of a column is a string, got {name!r}: rename it")
        if str(name) in found:
            raise ValueError(f"{owner}: two columns have the name {str(name)!r}: rename one")
        found[str(name)] = values
    return found


def rows_of(columns: Mapping[str, Any], owner: str) -> int:
    """Return how many rows the columns have.

    Raises:
        TypeError: if one is a single value.
        ValueError: if one has more dimensions, they differ in length, or are empty.
    """
    counts: dict[int, str] = {}
    for name, values in columns.items():
        if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
            raise TypeError(
                f"{owner}: column {name!r} is {values!r}, expected a list or a 1-D array with one "
                f"value per row; for a single row, [value]"
            )
        if getattr(values, "ndim", 1) != 1:
            raise ValueError(
                f"{owner}: column {name!r} has shape {values.shape}, expected one value per row: "
                f"give each of its columns a name of its own"
            )
        counts.setdefault(len(values), name)
    if len(counts) > 1:
        (n, a), (m, b) = [*counts.items()][:2]
        raise ValueError(f"{owner}: column {a!r} has {n} rows, column {b!r} has {m}")
    if 0 in counts:
        raise ValueError(f"{owner}: the table has no rows")
    return next(iter(counts), 0)


def read(values: Any, name: str, owner: str, categories: bool = False) -> Column:
    """Return a column, read; with ``categories``, each value is taken for a word.

    Raises:
        ValueError: if it mixes kinds, holds what is none of them, infinity, a number too large
            for float32, a whole number beyond what float64 holds, or a day that does not exist.
    """
    series = hasattr(values, "isna")
    where = Where(owner, name, values.index if series else None)
    if categories or hasattr(getattr(values, "dtype", None), "categories"):  # pandas' own dtype
        listed = values.tolist() if hasattr(values, "tolist") else values
        words = ["" if _is_gap(value) else word(value) for value in listed]
        missing = np.array([not text for text in words])
        return _column(where, "categories", _objects(words), missing)
    missing = np.zeros(len(values), dtype=bool)
    if series:
        array, missing = _of_series(values)
    elif isinstance(values, np.ma.MaskedArray):
        array, missing = np.asarray(values.data), np.ma.getmaskarray(values)
    elif isinstance(values, np.ndarray):
        array = values
    else:  # NumPy would make words of the numbers in ["a", 1]
        array = _objects(values)
    if array.dtype.kind == "U" or array.dtype.hasobject:
        return _of_objects(array.astype(object), missing, where)
    return _of_array(array, missing, where)


def word(value: Any) -> str:
    """Return the word that stands for a value in a column of categories: 3 and 3.0 are "3"."""
    if isinstance(value, float | np.floating) and np.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value).strip()


def _objects(values: Any) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = list(values)
    return array


def _of_series(series: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the values and the gaps of a Series of pandas, of whatever dtype."""
    missing = np.asarray(series.isna())
    if series.dtype.kind == "M":  # in universal time, where there is a time zone
        return series.to_numpy(dtype="datetime64[us]"), missing
    if missing.any() and series.dtype.kind in "iu":  # not the floats that pandas makes of them
        return series.to_numpy(dtype=object), missing
    return series.to_numpy(), missing


def _of_array(array: np.ndarray, missing: np.ndarray, where: Where) -> Column:
    """Read an array of a dtype of NumPy's own."""
    kind = array.dtype.kind
    if kind == "b":
        words = np.array(["False", "True"], dtype=object)[array.astype(np.intp)]
        return _column(where, "true/false", words, missing)
    if kind in "Mm":
        missing = missing | np.isnat(array)
        if kind == "M":
            return _column(where, "dates", (array - np.datetime64(0, "D")) / _DAY, missing)
        return _column(where, "durations", _span(array, where), missing)
    if kind not in "iuf":
        raise ValueError(
            f"{where} has dtype {array.dtype}, which is neither numbers, words, true/false nor "
            f"dates: convert it, or pass ignore=[{where.name!r}]"
        )
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float64)
    if kind in "iu" and (np.abs(numbers) >= 2.0**53).any():
        _check_exact(np.arange(len(array)), array.tolist(), numbers, missing, where)
    return _numbers(numbers, missing | np.isnan(numbers), where)


def _check_exact(
    rows: np.ndarray, values: list[Any], numbers: np.ndarray, missing: np.ndarray, where: Where
) -> None:
    """Raise for whole numbers with more digits than float64 holds."""
    for row, value, number in zip(rows.tolist(), values, numbers.tolist(), strict=True):
        if isinstance(value, int) and abs(number) < np.inf and value != number and not missing[row]:
            raise ValueError(
                f"{where}: {value} in {where.row(row)} has more digits than float64 holds: if the "
                f"column is an id, pass ignore=[{where.name!r}], if a time, convert it to dates, "
                f"if a measurement, to float"
            )


def _numbers(numbers: np.ndarray, missing: np.ndarray, where: Where) -> Column:
    wrong = np.flatnonzero(~(np.abs(numbers) <= _LARGEST) & ~missing)
    if len(wrong):
        value = numbers[wrong[0]]
        what = "is infinite" if np.isinf(value) else "is too large for float32"
        raise ValueError(
            f"{where}: {value} in {where.row(int(wrong[0]))} {what}, {len(wrong)} such in all: "
            f"repair them, scale the column, or put NaN for a missing value"
        )
    return _column(where, "numbers", numbers, missing)


def _column(where: Where, kind: str, values: np.ndarray, missing: np.ndarray) -> Column:
    return Column(where, "nothing" if missing.all() else kind, values, missing)


_KINDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((bool, np.bool_), "true/false"),
    ((np.timedelta64, datetime.timedelta), "durations"),  # NumPy's is an np.integer as well
    ((int, float, np.integer, np.floating, Decimal, Fraction), "numbers"),
    ((str,), "words"),
    ((np.datetime64, datetime.date), "dates"),
)


def _of_objects(array: np.ndarray, missing: np.ndarray, where: Where) -> Column:
    """Read Python objects: of which kind they are is found by their types."""
    missing = missing | np.fromiter(map(_is_gap, array), dtype=bool)
    present = np.flatnonzero(~missing)
    kind = _kind(array, present, where)
    if kind == "words":
        return _of_words(array, missing, where)
    if kind == "true/false":
        words = ["" if gap else str(bool(v)) for v, gap in zip(array, missing, strict=True)]
        return Column(where, kind, _objects(words), missing)
    numbers = np.full(len(array), np.nan)
    values = [value.item() if isinstance(value, np.integer | np.floating) and kind == "numbers"
              else value for value in array[present]]  # fmt: skip
    if kind == "durations":
        numbers[present] = [_span(np.timedelta64(value), where) for value in values]
    else:
        numbers[present] = [*map(_float if kind == "numbers" else _days, values)]
    if kind == "numbers":
        _check_exact(present, values, numbers[present], missing, where)
        return _numbers(numbers, missing, where)
    return Column(where, kind, numbers, missing)


def _kind(array: np.ndarray, present: np.ndarray, where: Where) -> str:
    """Return the one kind of all values that are there; raise if they are of several."""
    kinds: dict[type, str] = {}
    rows: dict[str, int] = {}  # of each kind, the first row
    for row, cls in zip(present.tolist(), map(type, array[present]), strict=True):
        if cls not in kinds:
            kinds[cls] = next((kind for of, kind in _KINDS if issubclass(cls, of)), "")
            if not kinds[cls]:
                raise ValueError(
                    f"{where}: {array[row]!r} in {where.row(row)} is a {cls.__name__}, which is "
                    f"neither a number, a word, true/false nor a date: convert it, or pass "
                    f"ignore=[{where.name!r}]"
                )
            rows.setdefault(kinds[cls], row)
    if len(rows) > 1:
        told = " and ".join(f"{kind} ({array[i]!r} in {where.row(i)})" for kind, i in rows.items())
        raise ValueError(
            f"{where} mixes {told}: make all of one kind, put None where a word means a missing "
            f"value, or pass categories=[{where.name!r}] if all are words, or "
            f"ignore=[{where.name!r}]"
        )
    return next(iter(rows), "nothing")


def _is_gap(value: Any) -> bool:
    if isinstance(value, str):
        return not value or value.isspace()
    if isinstance(value, float | np.floating | Decimal):
        return bool(value != value)
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")  # those of pandas


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf


def _span(durations: Any, where: Where) -> Any:
    """Days of durations."""
    try:
        return durations / _DAY
    except TypeError as error:
        raise ValueError(
            f"{where} has dtype {durations.dtype}: a month or a year has no fixed number of days: "
            f"convert it, as in x.astype(int) for the number of them"
        ) from error


def _days(value: Any) -> float:
    """Days since 1970, in universal time; one without a time zone is taken for such."""
    if isinstance(value, np.datetime64):
        return float((value - np.datetime64(0, "D")) / _DAY)
    if not isinstance(value, datetime.datetime):
        return float(value.toordinal() - _1970.toordinal())
    if value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return (value - _1970) / datetime.timedelta(days=1)


def _of_words(array: np.ndarray, missing: np.ndarray, where: Where) -> Column:
    """Read strings: dates, if each is one as ISO 8601 writes it, else words."""
    words = _objects(["" if gap else v.strip() for v, gap in zip(array, missing, strict=True)])
    distinct = dict.fromkeys(words[~missing])
    if not all(map(ISO_DATE.fullmatch, distinct)):
        return Column(where, "words", words, missing)
    days = {"": np.nan}
    for text in distinct:
        try:
            days[text] = _days(datetime.datetime.fromisoformat(text))
        except ValueError as error:
            row = int(np.flatnonzero(words == text)[0])
            raise ValueError(
                f"{where}: {text!r} in {where.row(row)} is no date: {error}"
            ) from error
    return Column(where, "dates", np.array([days[text] for text in words]), missing)
