"""Train a network on your own CSV file, and keep it for predictions.

    python examples/train_csv.py                       a demonstration, with Iris as the file
    python examples/train_csv.py flowers.csv --target species --save flowers.npz
    python examples/train_csv.py houses.csv --target price --missing impute --ignore id

The file begins with a line of column names (or has none: --no-header). Columns hold numbers, words,
true/false or dates; the target holds classes or, for a regression, numbers.

You see how well the network does on rows that it never learned from, a fifth of all: how many of
each class it found, or how far off its numbers are, beside a guess that needs no network. With
--save, predict_csv.py applies it to new rows.

Files to try come with minidl, in minidl/data/files: penguins.csv and wine.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import sys
import tempfile
from collections.abc import Sequence

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from _shared import (
    Parser,
    confusion_table,
    counts,
    end_if_interrupted,
    in_line,
    percent,
    positive,
    table,
)
from _tables import (
    Table,
    TableModel,
    add_reading_options,
    check_writable,
    read,
    reading_of,
    rows_of,
    save_model,
    told_of,
    without_value,
)

import minidl
from minidl import data, nn, optim


def demo(args: argparse.Namespace) -> Table:
    """Write Iris to a CSV file and read it back, as one does with a file of one's own."""
    x, y = data.load_iris()
    header = list(data.IRIS_FEATURES)
    rows = [[f"{value:.1f}" for value in flower] for flower in x]
    if args.task != "regression":
        header.append("species")
        rows = [[*row, data.IRIS_CLASSES[c]] for row, c in zip(rows, y, strict=True)]
    args.target = header[-1]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "iris.csv")
        with open(path, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        print(f"no file given, so this is a demonstration: Iris, target {header[-1]!r}")
        return read(path, reading_of(args))


def find_target(read: Table, target: str, header: bool) -> str:
    """Return the name of the target column; without a line of names, -1 is the last one."""
    if not header and target.startswith("-") and target[1:].isdecimal():
        place = len(read.names) - int(target[1:])
        if 0 <= place < len(read.names):
            return read.names[place]
    if target in read.names:
        return target
    shown = ", ".join(read.names[:20]) + (", ..." if len(read.names) > 20 else "")
    numbers = header and any(name.replace(".", "").isdigit() for name in read.names)
    hint = "; if the first line is no line of names, add --no-header" if numbers else ""
    raise ValueError(f"{read.path} has no column {target!r} for --target; it has {shown}{hint}")


def check_members(goals: np.ndarray, names: Sequence[str]) -> None:
    """Raise if there are classes of one row, which cannot be both learned from and tested."""
    single = [names[c] for c in np.flatnonzero(np.bincount(goals) == 1)]
    if single:
        more = f", and {len(single) - 1} more classes too" if len(single) > 1 else ""
        number = all(name.removeprefix("-").isdecimal() for name in names)
        remedy = "is the target a number, --task regression?" if number else "join them to others"
        raise ValueError(
            f"class {single[0]} has one member{more}, and each needs 2, one to learn from and one "
            f"to be tested: remove such rows, or {remedy}"
        )


def learn(
    x: np.ndarray, y: np.ndarray, outputs: int, loss: nn.Module, args: argparse.Namespace
) -> tuple[nn.Module, minidl.training.History]:
    """Train a network of two hidden layers; after Ctrl-C, it has learned for that long."""
    model = nn.Sequential(
        nn.Linear(x.shape[1], 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, outputs),
    )
    # Few rows are read often and in small batches; of many, each is read a few times.
    epochs = args.epochs or int(np.clip(2_000_000 / len(x), 5, 100))
    batch_size = args.batch_size or int(np.clip(2 ** int(np.log2(len(x) / 40 + 1)), 16, 256))
    # Large steps first, small ones to settle; without decay, few rows are learned by heart.
    decay = 20 / max(len(x), 1000) if args.weight_decay is None else args.weight_decay
    loader = data.DataLoader(x, y, batch_size=batch_size, shuffle=True)
    schedule = optim.schedules.cosine(args.lr, steps=epochs * len(loader))
    optimizer = optim.Adam(model.parameters(), lr=schedule, weight_decay=decay)
    history = minidl.fit(
        model, loss, optimizer, loader, epochs=epochs, on_interrupt="return", compiled=True
    )
    return model, history


def show_classes(
    outputs: np.ndarray, y_train: np.ndarray, y_test: np.ndarray, names: Sequence[str]
) -> dict[str, float]:
    """Show for each class how many there were and how many were found; return the accuracy."""
    predicted = outputs.argmax(axis=1)
    learned = np.bincount(y_train, minlength=len(names))
    confusion = counts(y_test, predicted, len(names))
    rows = []
    for c, name in enumerate(names):
        there, said, hits = confusion[c].sum(), confusion[:, c].sum(), confusion[c, c]
        recall = percent(hits / there) if there else "-"
        precision = percent(hits / said) if said else "-"
        rows.append([name, learned[c], there, hits, recall, precision])
    common = int(learned.argmax())
    accuracy, guess = float(np.mean(predicted == y_test)), float(np.mean(y_test == common))
    print(f"test accuracy {percent(accuracy)} of {len(y_test):,} rows")
    frequent = f"always {in_line(names[common])}, the most frequent class"
    print(f"{frequent}, would be right in {percent(guess)}\n")
    print(table(["class", "learned from", "tested", "found", "recall", "precision"], rows))
    if len(names) <= 12:  # a wider table would not fit into the window
        print("\n" + confusion_table(confusion, names))
    if accuracy <= guess:
        print("\nthe network is no better than that guess: do these columns tell of the target?")
        if learned.min() < 0.05 * len(y_train):
            rare = in_line(names[int(learned.argmin())])
            print(
                f"(more of a class as rare as {rare} is found if its rows weigh more: docs/fit.md)"
            )
    return {"test": accuracy, "baseline": guess}


def show_errors(predicted: np.ndarray, mean: float, truth: np.ndarray) -> dict[str, float]:
    """Show how far off the predictions are; return the root mean square errors."""
    rows, roots = [], []
    for name, values in (
        ("always the mean", mean),
        ("the network", predicted),
    ):
        error = values - truth
        roots.append(float(np.sqrt(np.mean(error**2))))
        rows.append([name, f"{roots[-1]:.4g}", f"{np.mean(np.abs(error)):.4g}"])
    print(f"how far off the predictions of {len(truth):,} test rows are\n")
    print(table(["prediction", "root mean square error", "mean absolute error"], rows))
    if roots[1] >= roots[0]:
        print("\nthe network is no better than the mean: do these columns tell of the target?")
    return {"test": roots[1], "baseline": roots[0]}


def run(args: argparse.Namespace) -> None:
    check_writable(args.save, "--save")
    minidl.seed(args.seed)
    reading = reading_of(args)
    kept = lambda name: name not in args.ignore
    found = demo(args) if args.file is None else read(args.file, reading, args.categories, kept)
    target = find_target(found, args.target, reading["header"])
    for option, names in (("--ignore", args.ignore), ("--categories", args.categories)):
        for name in names:
            if name not in found.names:
                raise ValueError(f"{found.path} has no column {name!r} for {option}")

    def encoder(task: str) -> data.TableEncoder:
        return data.TableEncoder(target, task, args.missing, args.ignore, args.categories)

    rows = np.flatnonzero(~without_value(found, target, reading))
    if not len(rows):
        raise ValueError(f"{found.path}: no row has a value in the target, {target!r}")
    if len(rows) < len(found.lines):
        left_out = len(found.lines) - len(rows)
        print(f"note: {left_out} rows without a {target!r} are left out", file=sys.stderr)

    # All rows first, so that whatever is wrong is told by its line; nothing of this is kept but
    # which task it is, and the classes, of which both parts get their share.
    with told_of(found, rows, notes=False):
        with_target = rows_of(found.columns, rows)
        whole = encoder(args.task).fit(with_target)
        goals = whole.targets(with_target)
        whole.transform(with_target)
    if whole.class_names:
        check_members(goals, whole.class_names)
    labels = np.array(whole.class_names)[goals] if whole.class_names else None
    train, test = data.train_test_split(rows, test_size=args.test_size, stratify=labels)

    # What the test rows hold must not say how to scale, or which words there are.
    parts = [rows_of(found.columns, part) for part in (train, test)]
    with told_of(found, train):
        known = encoder(whole.task).fit(parts[0])
    with told_of(found, test):
        x_train, x_test = map(known.transform, parts)
        y_train, y_test = map(known.targets, parts)
    names = [name for name in found.names if name not in (target, *args.ignore)]
    shown = ", ".join(map(in_line, names[:12])) + (
        f", and {len(names) - 12} more" if len(names) > 12 else ""
    )
    print(f"{len(rows):,} rows, features: {shown}")
    if len(known.feature_names) != len(names):
        print(known.summary().partition("\n")[2])  # what became of words, dates and gaps
    classes = known.class_names
    loss = nn.CrossEntropyLoss() if classes else nn.MSELoss()
    model, history = learn(x_train, y_train, len(classes) or 1, loss, args)

    outputs = minidl.predict(model, x_test)
    if classes:
        results = show_classes(outputs, y_train, y_test, classes)
    else:
        mean = float(known.decode(np.zeros((1, 1)))[0])  # 0 is the mean of the training rows
        results = show_errors(known.decode(outputs), mean, known.decode(y_test))
    if args.save is not None:
        save_model(args.save, TableModel(model, known, reading, results))
        print(f"\nsaved to {args.save}; predictions for a table NEW.csv with the same columns:\n")
        script = os.path.join(os.path.dirname(sys.argv[0]), "predict_csv.py")
        print(f"    python {script} {shlex.quote(args.save)} NEW.csv -o predictions.csv")
    end_if_interrupted(history)


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("file", nargs="?", metavar="FILE", help="CSV file with a line of names")
    parser.add_argument("--target", metavar="COLUMN", help="the name of the column to predict")
    parser.add_argument("--save", metavar="MODEL", help="keep the network in a file, model.npz")
    parser.add_argument(
        "--task",
        choices=("auto", "classification", "regression"),
        default="auto",
        help="what is to be learned (default: as the target looks)",
    )
    parser.add_argument(
        "--missing",
        choices=("error", "impute"),
        default="error",
        help="refuse missing values, or fill them in and mark them (default: error)",
    )
    for option, what in (
        ("--ignore", "leave a column out, such as an id; may be repeated"),
        ("--categories", "a column of codes that look like numbers; may be repeated"),
    ):
        parser.add_argument(option, metavar="COLUMN", action="append", default=[], help=what)
    add_reading_options(parser, "as far as it does not say so itself")
    group = parser.add_argument_group("how it is learned")
    group.add_argument("--epochs", type=positive, help="(default: 100, less for many rows)")
    group.add_argument("--lr", type=float, default=0.01, help="learning rate (default: 0.01)")
    group.add_argument("--batch-size", type=positive, help="(default: 16 to 256, by the rows)")
    group.add_argument(
        "--weight-decay", type=float, help="(default: 0.02, less for more than 1,000 rows)"
    )
    group.add_argument("--test-size", type=float, default=0.2, help="a share (default: 0.2)")
    group.add_argument("--seed", type=int, default=0, help="of split, weights and order")
    args = parser.parse_args(argv)
    if (args.file is None) != (args.target is None):
        parser.error("FILE and --target belong together: the file, and which column to predict")
    with parser.one_line_errors():
        run(args)


if __name__ == "__main__":
    main()
