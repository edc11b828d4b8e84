"""Train a network to read handwritten digits, with any of the five rules.

    python examples/train_digits.py                  with Adam, in about a second
    python examples/train_digits.py --rule sgd       with another rule
    python examples/train_digits.py --compare        all five, side by side
    python examples/train_digits.py --plot curves.png

You see the loss fall and the accuracy rise, then how often each digit was read as which, and those
that were read wrong, drawn in the terminal: you may find some of them hard yourself.

The data are 1,797 images of 8x8 pixels (UCI optical digits, part of minidl). Four fifths are
learned from, the rest only tested on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from _shared import (
    COLORS,
    Parser,
    can_print,
    check_plot,
    confusion_table,
    counts,
    end_if_interrupted,
    new_figure,
    percent,
    positive,
    save_figure,
    table,
)

import minidl
from minidl import data, nn, optim

Rule = Callable[..., optim.Optimizer]
Arrays = tuple[np.ndarray, np.ndarray]

RULES: dict[str, tuple[Rule, float]] = {  # each with the learning rate that suits this task
    "sgd": (optim.SGD, 0.5),
    "momentum": (optim.Momentum, 0.1),
    "adagrad": (optim.Adagrad, 0.05),
    "rmsprop": (optim.RMSProp, 0.001),
    "adam": (optim.Adam, 0.002),
}
SHADES = " ░▒▓█"


def load(seed: int) -> tuple[Arrays, Arrays]:
    """Return the training and the test part, each digit with its share in both."""
    x, y = data.load_digits()
    x = x / 16  # from 0 to 1; all pixels have one unit, so that none needs a scale of its own
    x_train, x_test, y_train, y_test = data.train_test_split(
        x, y, test_size=0.2, stratify=y, rng=seed
    )
    return (x_train, y_train), (x_test, y_test)


def network() -> nn.Sequential:
    """Two hidden layers of 128; ten outputs, the largest of which is the answer."""
    return nn.Sequential(
        nn.Linear(64, 128),
        nn.BatchNorm(128),
        nn.ReLU(),
        nn.Linear(128, 128),
        nn.BatchNorm(128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


class Run(NamedTuple):
    """A network after its training."""

    model: nn.Module
    history: Any
    seconds: float


def train(
    rule: Rule,
    lr: float,
    train_set: Arrays,
    test_set: Arrays,
    epochs: int = 30,
    batch_size: int = 64,
    seed: int = 0,
    checkpoint: str | None = None,
) -> Run:
    """Train a new network; nothing is chosen by the test set, which is only watched.

    Ctrl-C ends the training early, and ``history.interrupted`` tells of it.
    """
    minidl.seed(seed)  # so that every rule starts from the same weights and sees the same batches
    model = network()
    optimizer = rule(model.parameters(), lr=lr)
    # BatchNorm cannot learn from a batch of one, and a last batch may be just that: drop it.
    loader = data.DataLoader(*train_set, batch_size=batch_size, shuffle=True, drop_last=True)
    if checkpoint is not None and os.path.exists(checkpoint):
        check_same_run(checkpoint, loader, optimizer)
    start = time.perf_counter()
    history = minidl.fit(
        model,
        nn.CrossEntropyLoss(),
        optimizer,
        loader,
        validation=test_set,
        epochs=epochs,
        checkpoint=checkpoint,
        on_interrupt="return",
        compiled=True,  # the steps run as a NumPy program: the same bits in less time
    )
    return Run(model, history, time.perf_counter() - start)


def check_same_run(path: str, loader: data.DataLoader, optimizer: optim.Optimizer) -> None:
    """Raise if the checkpoint is of a run with other settings, which would win over these.

    With another seed the data would be split anew, and the network tested on what it has learned.
    """
    saved = minidl.load(path)
    try:
        pairs = {
            "--seed": (saved["train"]["seed"], loader.state_dict()["seed"]),
            "--batch-size": (saved["train"]["batch_size"], loader.batch_size),
            "--rule": (saved["optimizer"]["rule"], type(optimizer).__name__),
            "--lr": (saved["optimizer"]["groups"][0]["hyper"]["lr"], optimizer.lr),
        }
    except (KeyError, TypeError, IndexError):
        raise ValueError(f"{path} is no checkpoint of this script") from None
    other = [option for option, (there, here) in pairs.items() if there != here]
    if other:
        raise ValueError(
            f"the run in {path} has another {' and '.join(other)}: go on with the options it was "
            f"begun with, or name another file"
        )


def compare(
    rules: Mapping[str, tuple[Rule, float]], train_set: Arrays, test_set: Arrays, **options: Any
) -> dict[str, Run]:
    """Train a network with each rule and print how they did, side by side.

    Ctrl-C ends it after a table of those that are done.
    """
    runs, rows = {}, []
    interrupted = False
    for name, (rule, lr) in rules.items():
        print(f"{name} ...", flush=True)
        try:
            run = train(rule, lr, train_set, test_set, **options)
        except FloatingPointError:
            rows.append([name, lr, "diverged", "-", "-"])
            continue
        interrupted = run.history.interrupted
        if interrupted:
            break
        runs[name] = run
        loss, right = run.history["loss"][-1], run.history["validation_accuracy"][-1]
        rows.append([name, lr, f"{loss:.4f}", percent(right), f"{run.seconds:.2f}"])
    if rows:
        print("\n" + table(["rule", "lr", "train loss", "test accuracy", "seconds"], rows))
    if interrupted:
        raise KeyboardInterrupt
    return runs


def picture(image: np.ndarray) -> list[str]:
    """Draw pixels from 0 to 1 as lines of text, two characters for each, which makes it square."""
    shades = np.array(list(SHADES if can_print(SHADES) else " .:-=+*#%@"))
    levels = np.rint(image * (len(shades) - 1)).astype(int)
    return ["".join(np.repeat(row, 2)) for row in shades[levels]]


def gallery(images: np.ndarray, captions: Sequence[str], across: int = 4) -> str:
    """Draw digits side by side, each under its caption."""
    blocks = [[text, *picture(image)] for text, image in zip(captions, images, strict=True)]
    lines = []
    for start in range(0, len(blocks), across):
        row = blocks[start : start + across]
        width = max(len(line) for block in row for line in block) + 2
        lines += ["".join(s.ljust(width) for s in side).rstrip() for side in zip(*row, strict=True)]
        lines.append("")
    return "\n".join(lines[:-1])


def report(model: nn.Module, test_set: Arrays, shown: int = 8) -> None:
    """Print how often each digit was read as which, and draw some that were read wrong."""
    x, y = test_set
    predicted = minidl.predict(model, x).argmax(axis=1)
    print("\n" + confusion_table(counts(y, predicted, 10), [str(digit) for digit in range(10)]))
    wrong = np.flatnonzero(predicted != y)
    print(f"\n{len(wrong)} of {len(y)} were read wrong", end="")
    print(f"; the first {shown}:\n" if len(wrong) > shown else ":\n" if len(wrong) else ".")
    wrong = wrong[:shown]
    captions = [f"true {y[i]}, predicted {predicted[i]}" for i in wrong]
    print(gallery(x[wrong].reshape(-1, 8, 8), captions))


def plot(runs: Mapping[str, Run], path: str) -> None:
    """Draw the learning curves: of one rule in training and test, of several side by side."""
    figure = new_figure(10, 4)
    losses, accuracies = figure.subplots(1, 2)

    def draw(axes: Any, values: Sequence[float], label: str, color: str, style: str = "-") -> None:
        axes.plot(range(1, len(values) + 1), values, style, label=label, color=color)

    for color, (name, run) in zip(COLORS, runs.items(), strict=False):
        history = run.history
        if len(runs) > 1:
            draw(losses, history["loss"], name, color)
            draw(accuracies, history["validation_accuracy"], name, color)
        else:
            for prefix, part, style in (("", "training", "--"), ("validation_", "test", "-")):
                draw(losses, history[f"{prefix}loss"], part, color, style)
                draw(accuracies, history[f"{prefix}accuracy"], part, color, style)
    several = len(runs) > 1
    losses.set_title("Loss in training" if several else f"Loss, {name}")
    accuracies.set_title("Accuracy on the test set" if several else f"Accuracy, {name}")
    losses.set(xlabel="epoch", ylabel="cross entropy (log scale)", yscale="log")
    accuracies.set(xlabel="epoch", ylabel="digits read right")
    accuracies.yaxis.set_major_formatter("{x:.0%}")
    for axes in (losses, accuracies):
        axes.grid(alpha=0.3)
    accuracies.legend(loc="lower right")
    save_figure(figure, path)


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--rule", choices=RULES, default="adam", help="(default: adam)")
    which.add_argument("--compare", action="store_true", help="train with all five, side by side")
    rates = ", ".join(f"{lr} for {name}" for name, (_, lr) in RULES.items())
    parser.add_argument("--lr", type=float, help=f"learning rate (default: {rates})")
    parser.add_argument("--epochs", type=positive, default=30, help="(default: 30)")
    parser.add_argument("--batch-size", type=positive, default=64, help="(default: 64)")
    parser.add_argument("--seed", type=int, default=0, help="of split, weights and order")
    parser.add_argument("--plot", metavar="FILE", help="save the learning curves as a figure")
    parser.add_argument("--checkpoint", metavar="FILE", help="save the run, and go on from there")
    args = parser.parse_args(argv)
    if args.compare and args.checkpoint:
        parser.error("--checkpoint is for one run, and --compare makes five: leave one of them out")

    with parser.one_line_errors():
        check_plot(args.plot)
        train_set, test_set = load(args.seed)
        options = {"epochs": args.epochs, "batch_size": args.batch_size, "seed": args.seed}
        rules = RULES if args.compare else {args.rule: RULES[args.rule]}
        if args.lr is not None:
            rules = {name: (rule, args.lr) for name, (rule, _) in rules.items()}
        print(f"{len(train_set[0]):,} digits to learn from, {len(test_set[0])} to be tested on")

        if args.compare:
            runs = compare(rules, train_set, test_set, **options)
        else:
            rule, lr = rules[args.rule]
            run = train(rule, lr, train_set, test_set, **options, checkpoint=args.checkpoint)
            runs = {args.rule: run}
            result = minidl.evaluate(run.model, nn.CrossEntropyLoss(), test_set)
            print(
                f"{args.rule}, lr {lr}: test accuracy {percent(result['accuracy'])}, "
                f"test loss {result['loss']:.3f} after {len(run.history['loss'])} epochs "
                f"in {run.seconds:.1f} s"
            )
            report(run.model, test_set)
        if args.plot and all(run.history["loss"] for run in runs.values()):
            plot(runs, args.plot)
        for run in runs.values():
            end_if_interrupted(run.history)


if __name__ == "__main__":
    main()
