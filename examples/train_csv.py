"""Train a network on your own CSV file.

    python examples/train_csv.py                       a demonstration, with Iris as the file
    python examples/train_csv.py flowers.csv --target species
    python examples/train_csv.py houses.csv --target price --task regression

The file begins with a line of column names. All columns but the target hold numbers; the target
holds classes (text or whole numbers) or, with --task regression, numbers.

You see how well the network does on rows that it never learned from, a fifth of all: how many of
each class it found, or how far off its numbers are, beside a guess that is always the mean.

Files to try come with minidl, in minidl/data/files: penguins.csv and wine.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from collections.abc import Sequence
from typing import Literal

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from _shared import (
    Parser,
    confusion_table,
    counts,
    end_if_interrupted,
    percent,
    positive,
    table,
)

import minidl
from minidl import data, nn, optim

Task = Literal["classification", "regression"]


def character(text: str) -> str:
    """Read the one character of an argument; a tab may be written out, as shells make it hard."""
    text = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(text) != 1:
        raise argparse.ArgumentTypeError(f"one character, or tab, got {text!r}")
    return text


def demo(task: Task) -> data.Table:
    """Write Iris to a CSV file and read it back, as one does with a file of one's own."""
    x, y = data.load_iris()
    header = list(data.IRIS_FEATURES)
    rows = [[f"{value:.1f}" for value in flower] for flower in x]
    if task == "classification":
        header.append("species")
        rows = [[*row, data.IRIS_CLASSES[c]] for row, c in zip(rows, y, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "iris.csv")
        with open(path, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        print(f"no file given, so this is a demonstration: Iris, target {header[-1]!r}")
        return data.load_csv(path, target=-1, task=task)


def learn(
    x_train: np.ndarray,
    y_train: np.ndarray,
    outputs: int,
    loss: nn.Module,
    args: argparse.Namespace,
) -> tuple[nn.Module, minidl.training.History]:
    """Train a network of two hidden layers; after Ctrl-C, it has learned for that long."""
    model = nn.Sequential(
        nn.Linear(x_train.shape[1], 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, outputs),
    )
    loader = data.DataLoader(x_train, y_train, batch_size=args.batch_size, shuffle=True)
    # Large steps first, small ones to settle; without decay, few rows are learned by heart.
    schedule = optim.schedules.cosine(args.lr, steps=args.epochs * len(loader))
    optimizer = optim.Adam(model.parameters(), lr=schedule, weight_decay=args.weight_decay)
    history = minidl.fit(model, loss, optimizer, loader, epochs=args.epochs, on_interrupt="return")
    return model, history


def classify(read: data.Table, args: argparse.Namespace) -> None:
    """Learn the classes, and show for each how many there were and how many were found."""
    names = read.class_names
    x_train, x_test, y_train, y_test = data.train_test_split(
        read.x, read.y, test_size=args.test_size, stratify=np.array(names)[read.y]
    )
    scale = data.Standardize().fit(x_train)  # the test rows must not say how to scale
    model, history = learn(
        scale.transform(x_train), y_train, len(names), nn.CrossEntropyLoss(), args
    )

    predicted = minidl.predict(model, scale.transform(x_test)).argmax(axis=1)
    confusion = counts(y_test, predicted, len(names))
    rows = []
    for c, name in enumerate(names):
        there, said, hits = confusion[c].sum(), confusion[:, c].sum(), confusion[c, c]
        recall = percent(hits / there) if there else "-"
        precision = percent(hits / said) if said else "-"
        rows.append([name, np.count_nonzero(y_train == c), there, hits, recall, precision])
    print(f"test accuracy {percent(np.mean(predicted == y_test))} of {len(y_test)} rows\n")
    print(table(["class", "learned from", "tested", "found", "recall", "precision"], rows))
    if len(names) <= 12:  # a wider table would not fit into the window
        print("\n" + confusion_table(confusion, names))
    end_if_interrupted(history)


def regress(read: data.Table, args: argparse.Namespace) -> None:
    """Learn the numbers, and show how far off the predictions are."""
    x_train, x_test, y_train, y_test = data.train_test_split(
        read.x, read.y[:, None], test_size=args.test_size
    )
    scale, scale_y = data.Standardize().fit(x_train), data.Standardize().fit(y_train)
    if not scale_y.std.all():
        raise ValueError(
            f"all targets to learn from are {y_train[0, 0]}: there is nothing to learn"
        )
    model, history = learn(
        scale.transform(x_train), scale_y.transform(y_train), 1, nn.MSELoss(), args
    )

    predicted = scale_y.inverse(minidl.predict(model, scale.transform(x_test)))  # in its own unit
    rows = []
    for name, values in (("always the mean", y_train.mean()), ("the network", predicted)):
        error = np.asarray(values - y_test, np.float64)
        root_mean_square, mean_size = np.sqrt(np.mean(error**2)), np.mean(np.abs(error))
        rows.append([name, f"{root_mean_square:.4g}", f"{mean_size:.4g}"])
    print(f"how far off the predictions of {len(y_test)} test rows are\n")
    print(table(["prediction", "root mean square error", "mean absolute error"], rows))
    end_if_interrupted(history)


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("file", nargs="?", metavar="FILE", help="CSV file with a line of names")
    parser.add_argument("--target", metavar="COLUMN", help="the name of the column to predict")
    parser.add_argument(
        "--task", choices=("classification", "regression"), default="classification"
    )
    parser.add_argument(
        "--delimiter",
        type=character,
        default=",",
        help="between fields, such as ; or tab (default: a comma)",
    )
    parser.add_argument("--epochs", type=positive, default=100, help="(default: 100)")
    parser.add_argument("--lr", type=float, default=0.01, help="learning rate (default: 0.01)")
    parser.add_argument("--batch-size", type=positive, default=16, help="(default: 16)")
    parser.add_argument(
        "--weight-decay", type=float, default=0.02, help="less for many rows (default: 0.02)"
    )
    parser.add_argument("--test-size", type=float, default=0.2, help="a share (default: 0.2)")
    parser.add_argument("--seed", type=int, default=0, help="of split, weights and order")
    args = parser.parse_args(argv)
    if (args.file is None) != (args.target is None):
        parser.error("FILE and --target belong together: the file, and which column to predict")

    with parser.one_line_errors():
        minidl.seed(args.seed)
        if args.file is None:
            read = demo(args.task)
        else:
            read = data.load_csv(args.file, args.target, args.delimiter, task=args.task)
        print(f"{len(read.x):,} rows, features: {', '.join(read.feature_names)}")
        (classify if args.task == "classification" else regress)(read, args)


if __name__ == "__main__":
    main()
