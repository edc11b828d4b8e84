"""What is wrong, or odd, with the columns of a table, and what to do: errors and warnings.

Each function looks at all columns and speaks once, so that a table with five odd columns is not
repaired in five rounds.
"""

from __future__ import annotations

import datetime
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from minidl.data.columns import ISO_DATE, Column
from minidl.data.features import Feature, listed

LIKELY_ID = 20
"""From how many rows on it is no accident that no two of them have the same whole number."""

_AMOUNT = re.compile(  # in the way of whatever country
    r"[+-]?[$€£]?\s?[+-]?"
    r"(\d+|\d{1,3}([ ,.'\u00a0\u202f]\d{3})+)?([.,]\d*)?([eE][+-]?\d+)?"
    r"\s?[%$€£]?"
)
_DATE = re.compile(r"\d{1,4}([-./])\d{1,2}[-./]\d{1,4}([T ].*)?")
_ORDERS = "d m Y", "m d Y", "Y m d", "d m y", "m d y"


def check_names(found: Collection[str], wanted: Iterable[str], owner: str, what: str) -> None:
    """Raise for names of columns that a table does not have."""
    lacking = [name for name in wanted if name not in found]
    if lacking:
        raise ValueError(
            f"{owner}: the table has no column {' and no '.join(map(repr, lacking))}{what}; it has "
            f"{listed([*map(repr, found)], 12)}"
        )


def check_gaps(columns: Iterable[Column], remedy: str) -> None:
    """Raise for columns with missing values."""
    told = [
        f"{column.name!r} lacks {column.missing.sum()} of {len(column.missing)} values, first in "
        f"{column.where.row(int(column.missing.argmax()))}"
        for column in columns
        if column.missing.any()
    ]
    if told:
        owner = next(iter(columns)).where.owner
        raise ValueError(f"{owner}: missing values, which a network cannot take: "
                         f"{'; '.join(told)}. {remedy}")  # fmt: skip


def check_words(columns: Sequence[Column], most: int) -> None:
    """Raise for words that are no categories: numbers and dates in another form, or too many."""
    for column in columns:
        if column.kind == "words":
            words = list(dict.fromkeys(column.present))
            codes = f"if they are codes, pass categories=[{column.name!r}]"
            _check_disguised(column, words, "numbers", [w for w in words if _is_amount(w)], codes)
            dates = [word for word in words if _DATE.fullmatch(word)]
            _check_disguised(column, words, "dates", dates, codes)
    many = {c.name: len({*c.present}) for c in columns if not c.numeric}
    if too_many := [name for name, count in many.items() if count > most]:
        told = ", ".join(f"{name!r} has {many[name]} different words" for name in too_many)
        raise ValueError(
            f"{columns[0].where.owner}: {told}, and each would become a feature of its own: leave "
            f"such columns out with ignore={too_many}, join rare words into one, or raise "
            f"most_categories={most}"
        )


def check_labels(column: Column) -> None:
    """Raise for words in a target that are really numbers, and not whole, as those of classes."""
    words = list(dict.fromkeys(column.present))
    if column.kind == "words" and not all(map(str.isdecimal, words)):
        codes = f"if they are classes, write them as words, such as 'class {words[0]}'"
        _check_disguised(column, words, "numbers", [w for w in words if _is_amount(w)], codes)


def _is_amount(text: str) -> bool:
    return any(map(str.isdigit, text)) and bool(_AMOUNT.fullmatch(text))


def date_forms(words: Sequence[str]) -> list[str]:
    """Return the forms, as ``dates`` of read_table takes them, in which all words are dates."""
    match = _DATE.fullmatch(words[0])
    forms = [match[1].join(f"%{part}" for part in order.split()) for order in _ORDERS if match]
    return [form for form in forms if all(_is_date(word, form) for word in words)]


def _is_date(text: str, form: str) -> bool:
    try:
        datetime.datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _check_disguised(
    column: Column, words: list[str], kind: str, those: list[str], codes: str
) -> None:
    """Raise if most words are really something else."""
    if len(those) <= len(words) / 2:
        return
    name, known, commas = column.name, {*those}, [word for word in those if "," in word]
    if others := [word for word in words if word not in known]:
        first = int(np.flatnonzero(column.values == others[0])[0])
        odd = (
            f", and {listed([*map(repr, others)], 3)} (first in {column.where.row(first)}) are "
            f"none: if they stand for missing values, put None there, or name them in "
            f"read_table(path, missing_words=...)"
        )
    else:
        odd = f": convert them to {kind}"
    if kind == "dates":
        forms = date_forms(those[:1000])
        form, *others = forms or ["%d.%m.%Y"]
        reading = f"read_table(path, dates={{{name!r}: {form!r}}})"
        reading += f" or {others[0]!r}, which fits as well" if others else ""
        reading += "" if forms else ", in whatever order"
    elif any(re.fullmatch(r"[+-]?\d{1,3}(\.\d{3})+(,\d*)?", word) for word in those):
        reading = "read_table(path, decimal=',', thousands='.') if the comma is a decimal one"
    elif commas and all(re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", w) for w in commas):
        reading = "read_table(path, thousands=',') if a comma divides thousands, decimal=',' if not"
    elif any(re.fullmatch(r"[+-]?\d*,\d+", word) for word in commas):
        reading = "read_table(path, decimal=',') if the comma is a decimal one"
    else:
        reading = f"frame[{name!r}].astype(float), once they are written plainly"
    raise ValueError(
        f"{column.where} holds words that look like {kind}, such as {those[0]!r}{odd}; for "
        f"example with {reading}; {codes}"
    )


def check_kind(column: Column, kind: str) -> None:
    """Raise for a column that is of another kind than in the training rows."""
    words = ("words", "categories")
    if column.kind in (kind, "nothing") or (column.kind in words and kind in words):
        return
    rows = np.flatnonzero(~column.missing).tolist()
    if column.kind == "words" and kind in ("numbers", "dates"):
        fits = _is_float if kind == "numbers" else ISO_DATE.fullmatch
        rows = [row for row in rows if not fits(column.values[row])] or rows
    value = column.values[rows[0]]
    shown = repr(value) if isinstance(value, str) else f"{value:g}"
    days = " (as days)" if column.kind in ("dates", "durations") else ""
    raise ValueError(
        f"{column.where} held {kind} in the training rows, and holds {column.kind} here: "
        f"{shown}{days} in {column.where.row(rows[0])}; convert it to {kind}"
    )


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def warn_of_ids(columns: Iterable[Column], stacklevel: int) -> None:
    """Warn of columns that seem to name the rows: all words or whole numbers differ."""
    found = [column.name for column in columns if _likely_id(column)]
    if found:
        warnings.warn(
            f"no two rows have the same value in {listed([*map(repr, found)], 12)}: if that names "
            f"the rows, a network can only learn it by heart; leave it out with ignore={found}",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def _likely_id(column: Column) -> bool:
    values = column.present
    if len(values) < LIKELY_ID or column.kind in ("dates", "durations"):
        return False
    if column.kind == "numbers" and (values != np.floor(values)).any():
        return False
    return len({*values.tolist()}) == len(values)


def warn_of_constants(learnt: Iterable[Feature], stacklevel: int) -> None:
    """Warn of columns that are left out."""
    found = [f"{feature.name!r} ({feature.constant})" for feature in learnt if feature.constant]
    if found:
        warnings.warn(
            f"left out, since all training rows have the same value there: {listed(found, 12)}",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def warn_of_unseen(unseen: dict[str, Counter[str]], rows: int, stacklevel: int) -> None:
    """Warn of words that the training rows lack."""
    if unseen:
        told = "; ".join(
            f"{name!r} in {sum(counts.values())} of {rows} rows, such as "
            f"{listed([repr(word) for word, _ in counts.most_common()], 3)}"
            for name, counts in unseen.items()
        )
        warnings.warn(
            f"words that the training rows lack became zeros: {told}",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def warn_of_new_gaps(columns: Sequence[Column], learnt: Sequence[Feature], stacklevel: int) -> None:
    """Warn of missing values in columns that had none in the training rows."""
    new = [
        f"{column.name!r} ({column.missing.sum()})"
        for column, feature in zip(columns, learnt, strict=True)
        if column.missing.any() and not feature.gaps
    ]
    if new:
        warnings.warn(
            f"missing values in columns without any in the training rows were filled, and no "
            f"feature says so: {listed(new, 12)}",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
