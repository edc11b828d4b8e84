"""Apply a network that train_csv.py saved to the rows of a new CSV file.

    python examples/predict_csv.py model.npz NEW.csv                      to the terminal
    python examples/predict_csv.py model.npz NEW.csv -o predictions.csv
    python examples/predict_csv.py model.npz NEW.csv -o predictions.csv --keep name

The new file has the columns that the network learned from, in any order, and may have others. It is
read as the file of the training was, unless said otherwise.

You see the rows as they stand in the file, and behind them the prediction: for classes also the
probability of each, for a regression the number in the unit of the target. If the file has the
target, too, how many predictions are right is said.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Sequence
from typing import Any

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from _shared import Parser, percent
from _tables import (
    Table,
    TableModel,
    add_reading_options,
    check_writable,
    load_model,
    read,
    reading_of,
    rows_of,
    told_of,
    without_value,
)

import minidl
from minidl import functional as F


def written(value: float, decimal: str, digits: int) -> str:
    """Write a number with so many digits that count, with the decimal sign of the file."""
    text = np.format_float_positional(value, digits, unique=False, fractional=False, trim="-")
    return text.replace(".", decimal)


def check_columns(table: Table, needed: Sequence[str]) -> None:
    """Raise if the table lacks columns that the network learned from."""
    lacking = [name for name in needed if name not in table.names]
    if lacking:
        raise ValueError(
            f"{table.path} lacks {len(lacking)} of the {len(needed)} columns that the network "
            f"learned from: {shown(lacking)}; it has {shown(table.names)} (fields are divided by "
            f"{table.delimiter!r}; --delimiter and --no-header say otherwise)"
        )


def shown(names: Sequence[str], most: int = 12) -> str:
    """The first of some names, and how many more there are."""
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def predictions(made: TableModel, outputs: np.ndarray, decimal: str) -> dict[str, list[str]]:
    """Return the columns to write: the prediction, and the probability of each class."""
    target, names = made.encoder.target, made.encoder.class_names
    values = made.encoder.decode(outputs)
    if not names:
        return {f"predicted {target}": [written(value, decimal, 7) for value in values]}
    shares = F.softmax(outputs.astype(np.float64))
    columns = {f"predicted {target}": [str(value) for value in values]}
    for name, column in zip(names, shares.T, strict=True):
        texts = [f"{share:.4f}".replace(".", decimal) for share in column]
        columns[f"probability of {name}"] = texts
    return columns


def write(path: str | None, table: Table, keep: Sequence[str], columns: dict[str, Any]) -> None:
    """Write the rows of the table with the new columns behind them."""
    places = [table.names.index(name) for name in keep]
    rows = [
        [*(fields[place] for place in places), *new]
        for fields, *new in zip(table.fields, *columns.values(), strict=True)
    ]
    lines = [[*keep, *columns], *rows]
    if path is None:
        csv.writer(sys.stdout, delimiter=table.delimiter, lineterminator="\n").writerows(lines)
        return
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=table.delimiter).writerows(lines)


def read_with_target(
    made: TableModel, path: str, reading: dict[str, Any], needed: Sequence[str]
) -> tuple[Table, str]:
    """Read the columns that are needed, and the target if it is there; say what is wrong with it.

    Predictions do not need the target, so it is no error if it cannot be read.
    """
    wanted = {*needed, str(made.encoder.target)}
    try:
        return read(path, reading, made.encoder.categories, wanted.__contains__, False), ""
    except ValueError as error:
        return read(path, reading, made.encoder.categories, needed.__contains__, False), str(error)


def report(
    made: TableModel, table: Table, reading: dict[str, Any], outputs: np.ndarray, wrong: str
) -> str:
    """Say how good the predictions are, as far as the table has the target."""
    target = str(made.encoder.target)
    known = np.flatnonzero(~without_value(table, target, reading))
    if not len(known):
        return f"the column {target!r} is empty, so nothing says how many are right"
    try:
        if wrong:
            raise ValueError(wrong)
        with told_of(table, known, notes=False):
            truth = made.encoder.targets(rows_of(table.columns, known))
    except ValueError as error:
        return f"the predictions cannot be compared with the column {target!r}: {error}"
    if made.encoder.class_names:
        accuracy = np.mean(outputs[known].argmax(axis=1) == truth)
        text = f"{percent(accuracy)} of {len(truth):,} rows with a {target!r} are right"
        then = percent(made.results["test"])
        return f"{text} (of the test rows of the training, {then} were)"
    error = made.encoder.decode(outputs[known]) - made.encoder.decode(truth)
    return (
        f"root mean square error {np.sqrt(np.mean(error**2)):.4g} in {len(truth):,} rows with a "
        f"{target!r} (in the test rows of the training, {made.results['test']:.4g})"
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("model", metavar="MODEL", help="the file that train_csv.py --save wrote")
    parser.add_argument("file", metavar="FILE", help="CSV file of new rows")
    parser.add_argument("-o", "--output", metavar="OUT", help="file to write (else the terminal)")
    parser.add_argument(
        "--keep",
        metavar="COLUMN",
        action="append",
        help="a column of FILE to write beside the predictions; may be repeated (default: all)",
    )
    add_reading_options(parser, "as in the training, unless it is given")
    args = parser.parse_args(argv)

    with parser.one_line_errors():
        check_writable(args.output, "-o")
        made = load_model(args.model)
        reading = reading_of(args, made.reading)
        needed = [feature["name"] for feature in made.encoder.state_dict()["features"]]
        table, wrong = read_with_target(made, args.file, reading, needed)
        check_columns(table, needed)
        keep = table.names if args.keep is None else args.keep
        for name in keep:
            if name not in table.names:
                raise ValueError(f"{args.file} has no column {name!r} for --keep")
        if args.output is not None and os.path.exists(args.output):
            for path in (args.file, args.model):
                if os.path.samefile(args.output, path):
                    raise ValueError(f"-o {args.output} would overwrite {path}: take another name")
        with told_of(table, np.arange(len(table.lines))):
            x = made.encoder.transform(table.columns)
        outputs = minidl.predict(made.model, x)
        columns = predictions(made, outputs, reading["decimal"])
        for name in keep:
            if name in columns:
                raise ValueError(
                    f"{args.file} has a column {name!r} already: --keep COLUMN says which to write"
                )
        write(args.output, table, keep, columns)
        where = "" if args.output is None else f", written to {args.output}"
        print(f"{len(table.lines):,} rows predicted{where}", file=sys.stderr)
        if made.encoder.target in table.names:
            print(report(made, table, reading, outputs, wrong), file=sys.stderr)


if __name__ == "__main__":
    main()
