"""The history as a table in a file, a line for each epoch, to be read while the run goes on."""

from __future__ import annotations

import csv
import io
import os
from itertools import zip_longest
from typing import TYPE_CHECKING

from minidl.training.best import check_folder
from minidl.training.callbacks import Callback

if TYPE_CHECKING:
    from minidl.training.run import Run


class CSVLog(Callback):
    """Write the history to a CSV file, after each epoch: its number, and all that was measured.

    Numbers have all their digits. A run that goes on from its checkpoint appends to its file. What
    is there must be this run's own: another header or other numbers are refused and stay as they
    are. Lines that are missing, because the file was deleted or a crash cut it short, are written
    again from the history.

    Args:
        path: the file.

    Raises:
        TypeError: if ``path`` is none.
        ValueError: by ``fit``, before the first step, if the file holds something else.
        FileNotFoundError: by ``fit``, before the first step, if there is no folder for it.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> from minidl import fit, nn, optim
        >>> model, x = nn.Linear(1, 1, rng=0), np.ones((8, 1))
        >>> optimizer = optim.SGD(model.parameters(), lr=0.5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = CSVLog(f"{folder}/log.csv")
        ...     history = fit(
        ...         model, nn.MSELoss(), optimizer, (x, 0 * x + 2), epochs=2, progress=False,
        ...         callbacks=[log],
        ...     )
        ...     print(pathlib.Path(log.path).read_text().splitlines()[0])
        epoch,loss
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def on_fit_begin(self, run: Run) -> None:
        check_folder(self.path, "CSVLog")
        there, expected = self._there(), _table(run)
        # A crash after a line was written and before the run was saved leaves one line too many;
        # the epoch comes again, and its line is then looked at.
        ahead = run.epochs and there.startswith(expected) and there.count("\n", len(expected)) <= 1
        if not (expected.startswith(there) or ahead):
            self._refuse(there, expected)

    def on_epoch_end(self, run: Run) -> None:
        there, expected = self._there(), _table(run)
        if not expected.startswith(there):
            self._refuse(there, expected)
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(expected[len(there) :])

    def _there(self) -> str:
        """What the file holds."""
        if not os.path.exists(self.path):
            return ""
        with open(self.path, encoding="utf-8", errors="replace", newline="") as file:
            return file.read()

    def _refuse(self, there: str, expected: str) -> None:
        pairs = zip_longest(there.split("\n"), expected.split("\n"), fillvalue="")
        line, (found, own) = next((i, p) for i, p in enumerate(pairs, 1) if p[0] != p[1])
        raise ValueError(
            f"CSVLog: {self.path} is not the log of this run: line {line} is {found!r}, and the "
            f"run has {repr(own) if own else 'nothing'} there. Nothing was written to it: delete "
            f"it, or name another file"
        )


def _table(run: Run) -> str:
    """The history so far; nothing before the first epoch."""
    if not run.epochs:
        return ""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["epoch", *run.history])
    for epoch, values in enumerate(zip(*run.history.values(), strict=True), 1):
        table.writerow([epoch, *map(repr, values)])
    return text.getvalue()
