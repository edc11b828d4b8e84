"""Reading CSV files of every kind, with pandas: the optional extra ``tables``.

pandas fills short rows with gaps, takes a surplus column for names of rows, and renames columns
that come twice, all of it silently. So each file is looked through first, and such things refused.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, Any

from minidl.data.features import listed
from minidl.data.suspicions import date_forms
from minidl.extras import need

_DELIMITERS = ",;\t|"


def read_table(
    path: str | os.PathLike[str],
    delimiter: str | None = None,
    decimal: str = ".",
    thousands: str | None = None,
    encoding: str | None = None,
    header: bool = True,
    *,
    dates: Mapping[str, str] | None = None,
    categories: Collection[str] = (),
    missing_words: Sequence[str] | None = None,
) -> Any:
    """Read a CSV file of whatever kind into a DataFrame, for :class:`TableEncoder`.

    It needs pandas, the extra ``tables``. Blank lines are skipped, and spaces around names of
    columns do not count. Columns of numbers become numbers; ``True`` and ``false`` in whatever
    case, and nothing else, true/false; all others words. TableEncoder takes dates such as
    2024-12-31 for dates unasked.

    Args:
        path: the file; one that ends in ``.gz`` is unpacked.
        delimiter: the one character between fields; by default that of ``, ; | tab`` which parts
            the first line into most fields.
        decimal: what stands before the decimals, such as ``","``.
        thousands: what stands between groups of three digits, such as ``"."`` or ``" "``. A field
            that it divides otherwise, such as the date 31.12.2024, is refused in a column of
            numbers.
        encoding: such as ``"cp1252"``, Western European Windows; by default UTF-8.
        header: whether the first line holds the names of the columns; else they are "0", "1", ...
        dates: how columns write dates, such as ``{"day": "%d.%m.%Y"}``; they become dates.
        categories: the names of columns of codes, such as postcodes: they are kept as written,
            leading zeros too, and TableEncoder takes them for categories.
        missing_words: the words that stand for missing values; by default those of pandas, among
            them NA, N/A, nan, NULL and None. An empty field is always one.

    Returns:
        A ``pandas.DataFrame``.

    Raises:
        ImportError: without pandas; it says how to install it.
        FileNotFoundError: if there is no such file.
        TypeError: for an option of the wrong kind.
        ValueError: for a file that is empty, has no rows, is an archive or not in the encoding; a
            name that comes twice; a row of another length; quotes that do not end; a date in
            another form, or one in a column of numbers whose thousands are divided; an option
            that names no column. The message names the file, the line, counted from 1, and what
            to pass.
    """
    pandas = need("pandas", extra="tables", what="data.read_table")
    _check_marks(delimiter, decimal, thousands)
    if not isinstance(header, bool):
        raise TypeError(f"read_table: header is True or False, got {header!r}")
    if not isinstance(dates or {}, Mapping):
        raise TypeError(f"read_table: dates is a dict such as {{'day': '%d.%m.%Y'}}, got {dates!r}")
    for name, words in (("categories", categories), ("missing_words", missing_words)):
        if isinstance(words, str):
            raise TypeError(f"read_table: {name} is a list of strings, got {words!r}")
    with open(path, "rb") as file:
        if file.read(4) == b"PK\3\4":
            raise ValueError(
                f"{path} is no CSV file but an archive, such as a workbook: save it as CSV, or "
                f"read it with pandas.read_excel"
            )
    if delimiter is None:
        delimiter = _likely_delimiter(path, encoding)
    if delimiter == decimal:
        raise ValueError(f"read_table: {path}: delimiter and decimal are both {decimal!r}: pass "
                         f"the delimiter=, which is another")  # fmt: skip
    names = _names(path, delimiter, encoding, header)
    as_text = [*categories, *(dates or {})]
    if unknown := [name for name in as_text if name not in names]:
        raise ValueError(f"{path} has no column {unknown[0]!r}; it has {listed(names, 12)}")
    try:
        frame = pandas.read_csv(
            path,
            sep=delimiter,
            decimal=decimal,
            thousands=thousands,
            encoding=encoding or "utf-8-sig",
            header=0 if header else None,
            names=names,
            skipinitialspace=True,
            dtype=dict.fromkeys(as_text, str),
            na_values=None if missing_words is None else ["", *missing_words],
            keep_default_na=missing_words is None,
            low_memory=False,  # else one column may be read as numbers here and as words there
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if thousands is not None:
        rows = islice(_records(path, delimiter, encoding), int(header), None)
        _check_groups(frame, rows, path, thousands, decimal)
    for name in categories:
        frame[name] = frame[name].astype("category")
    for name, form in (dates or {}).items():
        days = pandas.to_datetime(frame[name], format=form, errors="coerce")
        wrong = (days.isna() & frame[name].notna()).to_numpy()
        if wrong.any():
            row = int(wrong.argmax())
            records = _records(path, delimiter, encoding)
            line, _ = next(islice(records, row + bool(header), None))
            raise ValueError(
                f"{path}, line {line}, column {name!r}: {frame[name][row]!r} is no date of the "
                f"form {form!r}"
            )
        frame[name] = days
    return frame


def _check_marks(delimiter: str | None, decimal: str, thousands: str | None) -> None:
    marks = {"delimiter": delimiter, "decimal": decimal, "thousands": thousands}
    for name, mark in marks.items():
        if mark is None and name != "decimal":
            continue
        if not isinstance(mark, str) or len(mark) != 1:
            raise ValueError(f"read_table: {name} is one character, such as ',', not {mark!r}")
    if decimal == thousands:
        raise ValueError(f"read_table: decimal and thousands are both {decimal!r}")


def _check_groups(
    frame: Any,
    rows: Iterator[tuple[int, list[str]]],
    path: str | os.PathLike[str],
    thousands: str,
    decimal: str,
) -> None:
    """Raise for numbers that are none, since pandas drops the mark wherever it stands."""
    mark, point = re.escape(thousands), re.escape(decimal)
    # Before the last group there may be groups of two, as Indian numbers have them: 12,34,567.
    grouped = re.compile(
        rf"[+-]?\d{{1,3}}({mark}\d{{2,3}})*{mark}\d{{3}}({point}\d*)?([eE][+-]?\d+)?"
    )
    numbers = [(i, name) for i, name in enumerate(frame) if frame[name].dtype.kind in "iuf"]
    for row, (line, fields) in enumerate(rows):
        for place, name in numbers:
            text = fields[place].strip()
            if thousands not in text or grouped.fullmatch(text) or frame[name].isna()[row]:
                continue
            forms = date_forms([text])
            date = f"dates={{{name!r}: {forms[0]!r}}} if it is a date, " if forms else ""
            raise ValueError(
                f"{path}, line {line}, column {name!r}: {text!r} is no number whose thousands are "
                f"divided by {thousands!r}: repair it, or pass {date}categories=[{name!r}] to keep "
                f"the column as it is written"
            )


def _open(path: str | os.PathLike[str], encoding: str | None) -> IO[str]:
    opened = gzip.open if os.fspath(path).endswith(".gz") else open
    try:
        return opened(path, "rt", encoding=encoding or "utf-8-sig", newline="")  # type: ignore[operator, no-any-return]
    except LookupError as error:
        raise ValueError(f"read_table: {error}; try encoding='cp1252'") from error


def _records(
    path: str | os.PathLike[str], delimiter: str, encoding: str | None
) -> Iterator[tuple[int, list[str]]]:
    """Yield the line at which a record begins, counted from 1, and its fields."""
    with _open(path, encoding) as file:
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
        before = 0
        try:
            for fields in reader:
                if len(fields) > 1 or "".join(fields).strip():
                    yield before + 1, fields
                before = reader.line_num
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {before + 1}: broken CSV, {error}: inside quotes, a quote is "
                f"written twice; repair the line"
            ) from error
        except UnicodeError as error:
            raise ValueError(
                f"{path}, after line {before}: this is not in the encoding "
                f"{encoding or 'UTF-8'}, {error}: pass encoding='cp1252' (Western European "
                f"Windows), 'utf-16' or whatever the file was saved in"
            ) from error


def _likely_delimiter(path: str | os.PathLike[str], encoding: str | None) -> str:
    """Return the delimiter that parts the first record into most fields."""

    def parts(delimiter: str) -> int:
        try:
            return len(next((fields for _, fields in _records(path, delimiter, encoding)), []))
        except ValueError:
            return 0

    return max(_DELIMITERS, key=parts)


def _names(
    path: str | os.PathLike[str], delimiter: str, encoding: str | None, header: bool
) -> list[str]:
    """Return the names of the columns, after a look at every record."""
    records = _records(path, delimiter, encoding)
    first = next((fields for _, fields in records), [])
    if not first:
        raise ValueError(f"{path} is empty")
    has_rows = not header
    for line, fields in records:
        has_rows = True
        if len(fields) != len(first):
            raise ValueError(
                f"{path}, line {line}: {len(fields)} fields, but the first line has {len(first)} "
                f"at the delimiter {delimiter!r}: repair the line (a missing value leaves its "
                f"delimiter, and a field that holds the delimiter stands in quotes), or pass "
                f"another delimiter="
            )
    if not has_rows:
        raise ValueError(f"{path} has a header and no rows of data")
    if not header:
        return [str(place) for place in range(len(first))]
    names = [name.strip() or f"Unnamed: {place}" for place, name in enumerate(first)]
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        if places.setdefault(name, place) != place:
            raise ValueError(
                f"{path}, line 1: two columns have the name {name!r}, rename one; if that line "
                f"is a sample, and the file has no line of names, pass header=False"
            )
    return names
