"""What the examples share: their command line, tables as text, and the way to a figure.

It is a file of its own so that each example shows only what it is about. Nothing here is part of
minidl, and no example needs it to train.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

import minidl

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""For the lines and areas of figures; people who are color-blind can tell them apart."""


class Parser(argparse.ArgumentParser):
    """A command line that answers whatever is wrong with one line and exit status 2."""

    def __init__(self, description: str | None) -> None:
        raw = argparse.RawDescriptionHelpFormatter
        super().__init__(description=description, formatter_class=raw, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n")

    @contextmanager
    def one_line_errors(self) -> Iterator[None]:
        """Report what minidl or the file system refuses as an error of the command line."""
        try:
            yield
            sys.stdout.flush()
        except BrokenPipeError:  # of ``... | head``, which has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self.exit(1)
        except (ValueError, OSError, FloatingPointError, ImportError) as error:
            self.error(str(error))
        except KeyboardInterrupt:
            self.exit(130, "\nstopped by Ctrl-C\n")  # the status that shells give it


def end_if_interrupted(history: minidl.training.History) -> None:
    """End the program if Ctrl-C ended the training, now that it has shown what was learned."""
    if history.interrupted:
        raise KeyboardInterrupt


def positive(text: str) -> int:
    """Read a whole number of at least 1; for ``type=`` of an argument."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"a whole number of at least 1, got {text!r}")


def in_line(text: str, most: int = 40) -> str:
    """Write a word or a name of someone's table without its line breaks, and cut it if long."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Lay out rows under a header: the first column to the left, all others to the right."""
    cells = [[in_line(str(cell)) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def counts(true: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count how often each true class (row) was predicted as each class (column)."""
    return np.bincount(true * classes + predicted, minlength=classes**2).reshape(classes, classes)


def confusion_table(confusion: np.ndarray, names: Sequence[str]) -> str:
    """Show the counts of :func:`counts`, with a dot for zero, and the share that was right.

    Above the columns are the names, or their numbers where the names would not fit in a window.
    """
    heads = names
    if sum(len(in_line(name)) + 2 for name in names) > 80:
        heads = [str(i) for i in range(1, len(names) + 1)]
        names = [f"{i} {name}" for i, name in zip(heads, names, strict=True)]
    rows = [
        [name, *(n or "." for n in row.tolist()), percent(row[i] / row.sum() if row.sum() else 0)]
        for i, (name, row) in enumerate(zip(names, confusion, strict=True))
    ]
    return table(["true \\ predicted", *heads, "right"], rows)


def percent(share: float) -> str:
    """Write a share from 0 to 1 in percent."""
    return f"{100 * share:.1f} %"


def can_print(text: str) -> bool:
    """Say whether the terminal, or whatever the output goes to, knows the characters of a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def check_plot(path: str | None) -> None:
    """Raise now, before anything is trained, if a figure could not be saved to ``path``."""
    if path is None:
        return
    figure = new_figure(1, 1)
    kinds = figure.canvas.get_supported_filetypes()
    kind = os.path.splitext(path)[1].lstrip(".").lower()
    if kind not in kinds:
        raise ValueError(f"--plot {path}: the name must end in one of .{', .'.join(sorted(kinds))}")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise ValueError(f"--plot {path}: there is no folder {folder}")


def new_figure(width: float, height: float) -> Any:
    """Make an empty figure of so many inches, of matplotlib, which is optional."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError(
            "--plot needs matplotlib: install it with `python -m pip install matplotlib` (or, in "
            "the folder of minidl, `python -m pip install -e '.[plots]'`), or leave out --plot"
        ) from None
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: str) -> None:
    """Save the figure and say where it is."""
    figure.savefig(path, dpi=150)
    print(f"\nfigure saved to {path}")
