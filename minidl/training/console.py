"""Around a run: the bar that shows it, and Ctrl-C that ends it."""

from __future__ import annotations

import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


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
    """One bar for the whole run, drawn ten times a second at most, however short the steps."""

    def __init__(self, run: Any, epochs: int, wanted: bool) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Using `tqdm.autonotebook")
            # Here, and not above, because it would be a quarter of the time of ``import minidl``.
            from tqdm.autonotebook import tqdm  # a widget in a notebook, a line in a terminal
        self.run, self.epochs, self.due = run, epochs, 0.0
        # Where there is no console, there is nothing to write to.
        gone = sys.stderr is None or getattr(sys.stderr, "closed", False)
        self.wanted = wanted and not gone
        self.tqdm = tqdm(
            total=epochs * run.updates_per_epoch,
            initial=run.steps,
            disable=None if self.wanted else True,  # None: unless there is a terminal
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {elapsed}<{remaining}",
        )

    def show(self, at_once: bool = False) -> None:
        """Draw the results of the last epoch that is complete; in the first one, those so far."""
        if self.tqdm.disable or (time.monotonic() < self.due and not at_once):
            return
        self.due = time.monotonic() + 0.1
        run = self.run
        last = {name: values[-1] for name, values in run.history.items() if values}
        if not last:
            last = run.means.now()
        text = f"epoch {max(run.epochs, 1)}/{self.epochs}"
        for name, value in last.items():
            if not name.startswith("validation_"):
                text += f" {name} {short(value)}"
            if f"validation_{name}" in last:
                text += f" (val {short(last[f'validation_{name}'])})"
        self.tqdm.n = run.steps
        self.tqdm.set_description_str(text, refresh=False)
        self.tqdm.refresh()

    def close(self) -> None:
        self.show(at_once=True)
        self.tqdm.close()

    def say(self, text: str) -> None:
        if self.wanted and self.tqdm.disable:
            print(text, file=sys.stderr, flush=True)
        elif self.wanted:
            self.tqdm.write(text, file=sys.stderr)


def short(value: float) -> str:
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1000 else f"{value:.1e}"
