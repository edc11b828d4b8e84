"""Around a run: the bar that shows it, and Ctrl-C that ends it."""

from __future__ import annotations

import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from minidl.training.history import told


class BetweenSteps(KeyboardInterrupt):
    """Ctrl-C at a moment at which the run can be saved."""


@contextmanager
def ctrl_c_held_back() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until the function that is yielded is called; a second one stops at once.

    Outside the main thread, and where others handle the signal, nothing is held back.
    """
    pressed: list[int] = []
    told = False  # whether fit knows of it

    def check(how: type[KeyboardInterrupt] = BetweenSteps) -> None:
        nonlocal told
        if pressed:
            told = True
            raise how

    def receive(number: int, frame: FrameType | None) -> None:
        check(KeyboardInterrupt)
        pressed.append(number)

    ours = threading.current_thread() is threading.main_thread()
    ours = ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, receive)
    try:
        yield check
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if pressed and not told:  # it came with an error, or after the last step
            raise KeyboardInterrupt


class Bar:
    """What is seen of a run: one bar, or lines where nobody could watch a bar.

    The bar is drawn ten times a second at most, however short the steps. Lines are for logs: one
    after an epoch, at most one every ten seconds, and always one for the last.
    """

    def __init__(self, run: Any, epochs: int, wanted: bool) -> None:
        with warnings.catch_warnings():
            # That it is experimental, or that a notebook lacks its widgets, is not the user's
            # business: there are lines then.
            warnings.simplefilter("ignore")
            # Here, and not above, because it would be a quarter of the time of ``import minidl``.
            from tqdm.autonotebook import tqdm  # a widget in a notebook, a line in a terminal
        self.run, self.epochs, self.due = run, epochs, 0.0
        self.start, self.written = time.monotonic(), run.epochs
        # Where there is no console, there is nothing to write to.
        gone = sys.stderr is None or getattr(sys.stderr, "closed", False)
        self.wanted = wanted and not gone
        self.tqdm = tqdm(
            total=epochs * run.updates_per_epoch,
            initial=run.steps,
            # None: unless there is a terminal, or a notebook with widgets
            disable=True if run.is_over(epochs) or not self.wanted else None,
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {elapsed}<{remaining}",
        )

    def show(self, at_once: bool = False) -> None:
        """Draw the results of the last epoch that is complete; in the first one, those so far."""
        if not self.wanted or (time.monotonic() < self.due and not at_once):
            return
        if self.tqdm.disable:
            self._tell()
            return
        self.due = time.monotonic() + 0.1
        self.tqdm.n = self.run.steps
        self.tqdm.set_description_str(self._text(), refresh=False)
        self.tqdm.refresh()

    def _tell(self) -> None:
        """Write the line of the last epoch that is complete, unless it was written."""
        if self.written < self.run.epochs:
            self.written, self.due = self.run.epochs, time.monotonic() + 10
            self.say(f"{self._text()}, {time.monotonic() - self.start:.0f} s")

    def _text(self) -> str:
        run = self.run
        last = {name: values[-1] for name, values in run.history.items() if values}
        epoch = f"epoch {max(run.epochs, 1)}/{self.epochs}"
        return f"{epoch} {told(last or run.means.now(), 'val', ' ')}"

    def close(self) -> None:
        if self.run.history.stopped:  # on purpose, and so the bar is full
            self.tqdm.total = self.run.steps
        self.show(at_once=True)
        self.tqdm.close()

    def say(self, text: str) -> None:
        """Write a line beside the bar."""
        if self.wanted and self.tqdm.disable:
            # A log that cannot be written, such as a pipe whose reader has gone, ends no run.
            with suppress(OSError, ValueError):
                print(text, file=sys.stderr, flush=True)
        elif self.wanted:
            self.tqdm.write(text, file=sys.stderr)
