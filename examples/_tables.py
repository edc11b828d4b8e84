"""What train_csv.py and predict_csv.py share: options, reading a table, and the file of a model.

Files of plain fields are read here, with Python's csv. What is more than that (decimal commas,
dates in the way of a country, other words for a missing value) is the business of pandas, which
minidl.data.read_table asks. Either way the columns go to minidl.data.TableEncoder.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

import minidl
from minidl import data, nn

READING: dict[str, Any] = {
    "delimiter": None,
    "decimal": ".",
    "thousands": None,
    "encoding": None,
    "header": True,
    "dates": {},
    "missing_words": [],
}
"""The options of reading, as they are unless said otherwise; a model's file keeps them."""

_FOR_PANDAS = ("decimal", "thousands", "dates", "missing_words")
# The words for a missing value that pandas knows.
_MISSING = {"", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null", "None"}
_MISSING |= {"NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
_TRUE_FALSE = {"True": True, "true": True, "TRUE": True}
_TRUE_FALSE |= {"False": False, "false": False, "FALSE": False}
_LARGE = 20_000_000  # bytes, from which on pandas reads a file if it is there: it is faster


def character(text: str) -> str:
    """Read the one character of an argument; a tab may be written out, as shells make it hard."""
    text = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(text) != 1:
        raise argparse.ArgumentTypeError(f"one character, or tab, got {text!r}")
    return text


def add_reading_options(parser: argparse.ArgumentParser, default: str) -> None:
    """Add what says how a file is to be read; each is None unless it is given."""
    group = parser.add_argument_group(f"how the file is read ({default})")
    group.add_argument("--delimiter", type=character, help="between fields, such as ; or tab")
    group.add_argument("--decimal", type=character, help="the decimal sign, such as a comma *")
    group.add_argument("--thousands", type=character, help="what divides thousands *")
    group.add_argument("--encoding", help="such as latin-1 or cp1252 (else UTF-8)")
    group.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first line holds names; without, columns are called 0, 1, ...",
    )
    group.add_argument(
        "--date",
        nargs=2,
        action="append",
        metavar=("COLUMN", "FORMAT"),
        help="a column of dates, such as --date born %%d.%%m.%%Y; may be repeated *",
    )
    group.add_argument(
        "--missing-word",
        action="append",
        metavar="WORD",
        help="what stands for a missing value, such as ?; may be repeated *",
    )
    parser.epilog = "* needs pandas: python -m pip install pandas"


def reading_of(args: argparse.Namespace, stored: dict[str, Any] = READING) -> dict[str, Any]:
    """Return the options of reading: what was given, and for the rest what is stored."""
    given = {name: getattr(args, name, None) for name in READING}
    given["dates"] = dict(args.date) if args.date else None
    given["missing_words"] = args.missing_word
    return {name: stored[name] if value is None else value for name, value in given.items()}


def check_writable(path: str | None, option: str) -> None:
    """Raise now, before anything is done, if no file could be written to the path of an option."""
    if path is None:
        return
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise ValueError(f"{option} {path}: there is no folder {folder}")
    if os.path.isdir(path):
        raise ValueError(f"{option} {path}: that is a folder; name a file in it")


# --- Reading --------------------------------------------------------------------------------------


class Table(NamedTuple):
    """A table that was read: by its fields as they stand, and by its columns."""

    path: str
    names: list[str]
    fields: list[list[str]]
    """The rows as they stand in the file."""
    lines: list[int]
    """The line of the file in which each row begins, counted from 1."""
    columns: Any
    """A dict of lists and arrays, or a DataFrame: what ``TableEncoder`` takes."""
    delimiter: str


def without_value(table: Table, name: str, reading: dict[str, Any]) -> np.ndarray:
    """Return for each row whether it has no value in a column, as a new row has no target."""
    place = table.names.index(name)
    missing = {*_MISSING, *reading["missing_words"]}
    return np.array([fields[place] in missing for fields in table.fields])


def rows_of(columns: Any, rows: np.ndarray) -> Any:
    """Return some of the rows of columns."""
    if not isinstance(columns, dict):
        return columns.iloc[rows]
    return {
        name: column[rows] if isinstance(column, np.ndarray) else [column[i] for i in rows]
        for name, column in columns.items()
    }


def read(
    path: str,
    reading: dict[str, Any],
    categories: Collection[str] = (),
    wanted: Callable[[str], bool] = lambda name: True,
    training: bool = True,
) -> Table:
    """Read a table by the options of :data:`READING`; columns that are not wanted stay fields.

    ``training`` says whether the remedies of train_csv.py help, or only those of predict_csv.py.
    """
    _check_is_text(path)
    encoding = reading["encoding"] or "utf-8-sig"
    try:
        delimiter = reading["delimiter"] or _delimiter(path, encoding)
        names, fields, lines = _fields(path, delimiter, encoding, reading["header"])
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not {reading['encoding'] or 'UTF-8'} text (byte {error.start}): if a "
            f"program of Windows wrote it, try --encoding cp1252 or utf-16"
        ) from None
    except LookupError:
        raise ValueError(
            f"--encoding {reading['encoding']} is not known; common are utf-8, cp1252, latin-1, "
            f"utf-16"
        ) from None
    if any(reading[name] != READING[name] for name in _FOR_PANDAS) or (
        os.path.getsize(path) > _LARGE and _has_pandas()
    ):
        # What is not wanted is left as it is written, so that nothing in it can be wrong.
        left = [name for name in names if name in categories or not wanted(name)]
        dates = {name: form for name, form in reading["dates"].items() if name not in left}
        options = reading | {"delimiter": delimiter, "categories": left, "dates": dates}
        columns = _by_pandas(path, names, options, len(lines))
    else:
        columns = {}
        for i, name in enumerate(names):
            texts = [row[i] for row in fields]
            if wanted(name):
                texts = _column(texts, name, path, lines, name in categories, training)
            columns[name] = texts
    return Table(path, names, fields, lines, columns, delimiter)


def _check_is_text(path: str) -> None:
    with open(path, "rb") as file:
        start = file.read(4)
    if start == b"PK\3\4":
        raise ValueError(
            f"{path} is no CSV file but an archive, such as a workbook: save it as CSV"
        )


def _delimiter(path: str, encoding: str) -> str:
    """Return the character that stands most often in the first line that is not blank."""
    with open(path, encoding=encoding) as file:
        line = next((line for line in file if line.strip()), "")
    line = re.sub(r'"[^"]*"', "", line)
    return max(",;\t|", key=line.count)


def _fields(
    path: str, delimiter: str, encoding: str, header: bool
) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the names of the columns, the fields of all rows, and the lines these are in."""
    rows, lines, before = [], [], 0
    with open(path, encoding=encoding, newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
        try:
            for row in reader:
                if len(row) > 1 or "".join(row).strip():
                    rows.append([text.strip() for text in row])
                    lines.append(before + 1)
                before = reader.line_num  # a quoted field may hold line breaks
        except csv.Error as error:
            raise ValueError(f"{path}, line {before + 1}: broken CSV, {error}") from None
    if not rows:
        raise ValueError(f"{path} is empty: expected a line of names and rows of data")
    names = [str(place) for place in range(len(rows[0]))]
    if header:
        names = [name or f"Unnamed: {place}" for place, name in enumerate(rows[0])]
        del rows[0], lines[0]
    if not rows:
        raise ValueError(f"{path} has a line of names and no rows of data")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"{path} has two columns {name!r}: rename one, or, if the first line is no line "
                f"of names, add --no-header"
            )
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise ValueError(
                f"{path}, line {line}: {len(row)} fields, but the first line has {len(names)} "
                f"(they are divided by {delimiter!r}; --delimiter says otherwise"
                f"{'; a title in the first line must be removed' * (header and len(names) == 1)})"
            )
    return names, rows, lines


def _has_pandas() -> bool:
    try:
        import pandas  # noqa: F401
    except ImportError:
        return False
    return True


def _by_pandas(path: str, names: list[str], reading: dict[str, Any], rows: int) -> Any:
    missing = sorted({*_MISSING, *reading["missing_words"]} - {""})
    try:
        frame = data.read_table(path, **(reading | {"missing_words": missing}))
    except ImportError as error:
        used = next(name for name in _FOR_PANDAS if reading[name] != READING[name])
        flag = _FLAGS.get(used, f"--{used}")
        raise ValueError(str(error).replace("data.read_table", flag)) from None
    except ValueError as error:
        raise ValueError(_in_options(str(error))) from None
    if len(frame) != rows or [*frame.columns] != names:
        raise ValueError(
            f"{path} is read as {len(frame)} rows of {len(frame.columns)} columns by pandas, and "
            f"as {rows} of {len(names)} by its lines: blank lines or broken quotes? Repair it"
        )
    return frame


_FLAGS = {"dates": "--date", "missing_words": "--missing-word"}


def _number(text: str) -> int | float | None:
    """Return the number that a field holds, a whole one with all its digits; None if it is none."""
    if "_" in text:  # Python reads 1_000
        return None
    for kind in (float,) if "." in text else (int, float):  # what fails takes the most time
        try:
            return kind(text)
        except ValueError:
            pass
    return None


def _column(
    texts: list[str], name: str, path: str, lines: list[int], category: bool, training: bool
) -> Any:
    """Return what a column holds: numbers, true/false with None in a gap, or words."""
    gaps = [text in _MISSING for text in texts]
    present = [text for text, gap in zip(texts, gaps, strict=True) if not gap]
    if present and all(text in _TRUE_FALSE for text in present):
        return [_TRUE_FALSE.get(text) for text in texts]
    numbers = [None if gap else _number(text) for text, gap in zip(texts, gaps, strict=True)]
    found = sum(number is not None for number in numbers)
    if category or not found:
        return ["" if gap else text for text, gap in zip(texts, gaps, strict=True)]
    if found < len(present):
        row = next(i for i, n in enumerate(numbers) if n is None and not gaps[i])
        text = texts[row]
        remedy = f"{_flag('--missing-word', text)} if that means a missing value"
        if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", text):
            remedy = "--thousands , if that divides thousands, --decimal , if it is a decimal sign"
        elif re.fullmatch(r"[+-]?\d*,\d+", text):
            remedy = "--decimal , if that is the decimal sign"
        if training:
            remedy += (
                f", {_flag('--categories', name)} if the column holds codes, "
                f"{_flag('--ignore', name)} to leave it out"
            )
        raise ValueError(
            f"{path}, line {lines[row]}, column {name!r}: {text!r} is not a number, and {found} of "
            f"{len(present)} fields of the column are: repair it, or add {remedy}"
        )
    if all(isinstance(number, int) for number in numbers):
        try:
            return np.array(numbers, np.int64)
        except OverflowError:
            return numbers
    return np.array([np.nan if n is None else n for n in numbers], np.float64)


# --- Words ----------------------------------------------------------------------------------------


def _flag(option: str, value: str) -> str:
    return f"{option} {shlex.quote(value)}"


_OPTION = re.compile(
    r"""\b(?P<name>ignore|categories|missing_words|task|missing|delimiter|decimal|thousands|encoding
    |dates|header|target)=(?P<value>\[[^\]]*\]|\{[^}]*\}|'[^']*'|"[^"]*"|True|False|\.\.\.)""",
    re.VERBOSE,
)


def _as_flag(option: re.Match[str]) -> str:
    name, value = option["name"], option["value"]
    if name == "header":
        return "--no-header" if value == "False" else "--header"
    values = re.findall(r"'([^']*)'|\"([^\"]*)\"", value)
    words = [a or b for a, b in values]
    if name == "dates":
        return f"--date {' '.join(map(shlex.quote, words))}".strip()
    flag = _FLAGS.get(name, f"--{name}")
    return " ".join(_flag(flag, word) for word in words) or flag


_PLAINER = (
    (r"\b(TableEncoder(\.\w+)?|data\.read_table|read_table): ", ""),
    (r"; for example with frame\[[^\]]*\]\.astype\(\w+\), once they are written plainly", ""),
    (r", for example with frame\[[^\]]*\]\.astype\(\w+\)", ""),
    (r"read_table\(path, ([^)]*)\)", r"\1"),
    (r"--decimal ,, ", "--decimal , "),
    (r"put None there, or name them in --missing-word", "add --missing-word WORD for each"),
    (r", join rare words into one, or raise most_categories=\d+", ", or join rare words into one"),
    (r", rows counted from 0", ""),
)


def _in_options(message: str) -> str:
    message = _OPTION.sub(_as_flag, message)
    for pattern, plainer in _PLAINER:
        message = re.sub(pattern, plainer, message)
    return message


def in_words_of_the_command_line(message: str, table: Table, rows: np.ndarray) -> str:
    """Say what minidl says of an argument or a row by the option and the line that it means."""
    message = _in_options(message)

    def line(row: re.Match[str]) -> str:
        place = int(row[1])
        return f"line {table.lines[rows[place]]}" if place < len(rows) else row[0]

    message = re.sub(r"\brow (\d+)( \(counted from 0\))?", line, message)
    return message if message.startswith(table.path) else f"{table.path}: {message}"


@contextmanager
def told_of(table: Table, rows: np.ndarray, *, notes: bool = True) -> Iterator[None]:
    """Turn errors and warnings about rows of a table into the words of the command line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except (ValueError, TypeError) as error:
            raise ValueError(in_words_of_the_command_line(str(error), table, rows)) from error
    for warning in caught if notes else ():
        text = in_words_of_the_command_line(str(warning.message), table, rows)
        print(f"note: {text}", file=sys.stderr)


# --- The file of a model --------------------------------------------------------------------------

_FORMAT, _VERSION = "minidl table model", 1


class TableModel(NamedTuple):
    """All that predictions need, and how well the network did when it was made."""

    model: nn.Module
    encoder: data.TableEncoder
    reading: dict[str, Any]
    results: dict[str, Any]


def save_model(path: str, made: TableModel) -> None:
    """Write a model to a file: what it is made of, its weights, and what the columns mean."""
    state = {
        "format": _FORMAT,
        "version": _VERSION,
        "model": nn.describe(made.model),
        "weights": made.model.state_dict(),
        "encoder": made.encoder.state_dict(),
        "reading": made.reading,
        "results": made.results,
    }
    minidl.save(path, state)


def load_model(path: str) -> TableModel:
    """Read what :func:`save_model` wrote; nothing in the file is run."""
    try:
        state = minidl.load(path)
    except minidl.CheckpointError as error:
        raise ValueError(f"{error} (expected is a file that train_csv.py --save wrote)") from None
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError(f"{path} holds something else than a model that train_csv.py --save wrote")
    if state.get("version") != _VERSION:
        raise ValueError(
            f"{path} has version {state.get('version')!r}, and this program reads version "
            f"{_VERSION}: use the predict_csv.py that belongs to the train_csv.py that wrote it"
        )
    try:
        weights, reading, results = state["weights"], state["reading"], state["results"]
        model = nn.build(state["model"], most=sum(np.size(value) for value in weights.values()))
        model.load_state_dict(weights)
        encoder = data.TableEncoder.from_state(state["encoder"])
        _check_reading(reading)
        outputs = minidl.predict(model, np.zeros((1, len(encoder.feature_names)), np.float32))
        encoder.decode(outputs)
        if not all(isinstance(results[name], float) for name in ("test", "baseline")):
            raise ValueError("its results are no numbers")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged or was made otherwise: {error}") from None
    return TableModel(model, encoder, reading, results)


def _check_reading(reading: dict[str, Any]) -> None:
    kinds = {"header": bool, "dates": dict, "missing_words": list}
    for name in READING:
        value = reading[name]
        if type(value) is not kinds.get(name, str) and value is not READING[name]:
            raise ValueError(f"{name!r} of its options of reading is {value!r}")
