"""What is seen of a run, and how Ctrl-C ends it."""

from __future__ import annotations

import importlib
import io
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import types
import warnings
from typing import Any

import numpy as np
import pytest
from runs import (
    ROOT,
    X,
    Y,
    at_call,
    bits,
    cross_entropy,
    everything,
    on_terminal,
    press_ctrl_c,
    raising,
    setting,
)  # fmt: skip
from tqdm.autonotebook import tqdm

import minidl
from minidl import nn, optim
from minidl.checkpoint import load
from minidl.data import DataLoader
from minidl.nn import Module
from minidl.tensor import Array, Tensor
from minidl.training import EarlyStopping, fit
from minidl.training.history import short

pytestmark = pytest.mark.usefixtures("seeded")


# --- The bar --------------------------------------------------------------------------------------


def test_the_bar_is_silent_when_told(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = on_terminal(monkeypatch)
    fit(**setting(), epochs=2)
    monkeypatch.setattr(sys, "stderr", elsewhere := io.StringIO())
    fit(**setting(), epochs=2, callbacks=[lambda run: run.say("not heard")])
    assert terminal.getvalue() == elsewhere.getvalue() == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("wanted", [True, False])
def test_without_a_terminal_a_line_says_where_a_run_stopped_and_goes_on(
    wanted: bool, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", elsewhere := io.StringIO())
    arguments = setting() | {"progress": wanted, "checkpoint": path}
    with pytest.raises(KeyboardInterrupt, match="fit stopped after step 3 of 7 in epoch 2"):
        fit(**arguments | {"loss": at_call(10, press_ctrl_c)}, epochs=3)
    history = fit(**arguments, epochs=3)
    fit(**arguments, epochs=3)  # which is done already
    numbers = [
        f"loss {a:.3f} accuracy {b:.3f}, 0 s"
        for a, b in zip(history["loss"], history["accuracy"], strict=True)
    ]
    assert elsewhere.getvalue().splitlines() == wanted * [
        f"epoch 1/3 {numbers[0]}",
        "fit: stopped by Ctrl-C after step 3 of 7 in epoch 2",
        "fit: going on after step 3 of 7 in epoch 2",
        f"epoch 2/3 {numbers[1]}",
        f"epoch 3/3 {numbers[2]}",
    ]


# --- Lines where there is no terminal -------------------------------------------------------------


def lines_of(
    monkeypatch: pytest.MonkeyPatch, seconds: float, epochs: int, **options: Any
) -> list[str]:
    """What is written where there is no terminal and an epoch takes so many seconds."""
    monkeypatch.setattr(sys, "stderr", elsewhere := io.StringIO())
    now = 100.0

    def later(run: Any) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now)
    callbacks = [later, *options.pop("callbacks", [])]
    fit(**setting() | {"progress": True} | options, epochs=epochs, callbacks=callbacks)
    return elsewhere.getvalue().splitlines()


@pytest.mark.parametrize(
    ("seconds", "epochs"),
    [
        (4.0, [1, 4, 7, 10, 11]),  # at most one every ten seconds, and always the last
        (10.0, [*range(1, 12)]),
        (3600.0, [*range(1, 12)]),
        (0.0, [1, 11]),
    ],
)
def test_a_line_follows_an_epoch_but_at_most_one_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, seconds: float, epochs: list[int]
) -> None:
    lines = lines_of(monkeypatch, seconds, epochs=11, validation=(X, Y))
    assert [int(line.split("/")[0].removeprefix("epoch ")) for line in lines] == epochs
    assert re.fullmatch(
        rf"epoch 1/11 loss \d\.\d+ \(val \d\.\d+\) accuracy \d\.\d+ \(val \d\.\d+\), "
        rf"{seconds:.0f} s",
        lines[0],
    )
    assert lines[-1].endswith(f", {11 * seconds:.0f} s")


def test_what_ends_a_run_comes_after_the_line_of_its_last_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = lambda run: run.epochs == 3 and run.stop("three are enough")
    lines = lines_of(monkeypatch, 0, epochs=9, callbacks=[stop])
    assert [line.split(" loss")[0] for line in lines] == [
        "epoch 1/9",
        "epoch 3/9",
        "fit: stopped after epoch 3: three are enough",
    ]
    fail = at_call(2 * 7 + 3, raising(MemoryError()))
    monkeypatch.setattr(sys, "stderr", elsewhere := io.StringIO())
    with pytest.raises(MemoryError):
        fit(**setting() | {"progress": True, "loss": fail}, epochs=9)
    assert [line[:9] for line in elsewhere.getvalue().splitlines()] == ["epoch 1/9", "epoch 2/9"]


def test_early_stopping_says_in_the_end_which_weights_these_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(mode: Any, **options: Any) -> list[str]:
        stopping = EarlyStopping(2, monitor="loss", mode=mode)
        return lines_of(monkeypatch, 0, callbacks=[stopping], **{"epochs": 2} | options)

    ends = lambda lines: [line.split(" loss")[0].split(" did")[0] for line in lines]
    assert ends(run("min")) == ["epoch 1/2", "epoch 2/2"]  # the last are the best
    assert ends(run("max")) == [
        "epoch 1/2",
        "epoch 2/2",
        "fit: the weights are those of epoch 1, the best",
    ]
    assert ends(run("max", epochs=9)) == [
        "epoch 1/9",
        "epoch 3/9",
        "fit: stopped after epoch 3:",
        "fit: the weights are those of epoch 1, the best",
    ]
    loss = at_call(2 * 7 + 3, press_ctrl_c)
    assert ends(run("min", loss=loss, epochs=9, on_interrupt="return")) == [
        "epoch 1/9",
        "epoch 2/9",
        "fit: stopped by Ctrl-C after step 3 of 7 in epoch 3",
        "fit: the weights are those of epoch 2, the best",
    ]


def test_a_callback_can_say_something_beside_the_bar_and_between_the_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hello = lambda run: run.say(f"hello from {run.epochs}")
    lines = lines_of(monkeypatch, 20, epochs=2, callbacks=[hello])
    assert [line[:12] for line in lines] == [
        "hello from 1", "epoch 1/2 lo", "hello from 2", "epoch 2/2 lo",
    ]  # fmt: skip
    terminal = on_terminal(monkeypatch)
    fit(**setting() | {"progress": True}, epochs=2, callbacks=[hello])
    assert "hello from 2\n" in terminal.getvalue()


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device")])
def test_a_log_that_cannot_be_written_ends_no_run(
    monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    monkeypatch.setattr(sys, "stderr", Full())
    assert len(fit(**setting() | {"progress": True}, epochs=2)["loss"]) == 2


def test_fit_works_where_there_is_no_console(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    monkeypatch.setattr(sys, "stdout", None)
    arguments = setting() | {"progress": True, "checkpoint": path}
    with pytest.raises(KeyboardInterrupt):
        fit(**arguments | {"loss": at_call(10, press_ctrl_c)}, epochs=2)
    assert len(fit(**arguments, epochs=2)["loss"]) == 2


def test_the_bar_shows_epoch_loss_accuracy_and_validation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_terminal(monkeypatch)
    history = fit(**setting() | {"progress": True}, validation=(X, Y), epochs=3)
    line = terminal.getvalue().split("\r")[-1]
    loss, hits, validation_loss, validation_hits = (values[-1] for values in history.values())
    assert line.startswith(
        f"epoch 3/3 loss {loss:.3f} (val {validation_loss:.3f}) "
        f"accuracy {hits:.3f} (val {validation_hits:.3f}) |"
    )


def test_the_bar_is_as_wide_as_the_terminal_also_when_that_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    termios = pytest.importorskip("termios", reason="it sets the size of a Unix terminal")
    ends = os.openpty()

    def widen(columns: int) -> None:
        termios.tcsetwinsize(ends[1], (24, columns))

    def bar() -> str:
        return terminal.getvalue().split("\r")[-1].rstrip()

    def narrow(run: Any) -> None:
        widths.append(len(bar()))
        widen(65)

    terminal, widths = on_terminal(monkeypatch), []
    monkeypatch.setattr(terminal, "fileno", lambda: ends[1], raising=False)
    widen(90)
    fit(**setting() | {"progress": True}, epochs=1, callbacks=[narrow])
    for end in ends:
        os.close(end)
    assert [*widths, len(bar())] == [89, 64]  # a column is left for the cursor


def test_the_bar_is_drawn_by_the_clock_and_moves_within_an_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_terminal(monkeypatch)
    now = 0.0
    draws = []

    def clock() -> float:
        return now

    def later() -> None:
        nonlocal now
        now += 0.03

    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(
        tqdm, "refresh", lambda bar, *args, **kwargs: draws.append((bar.n, bar.desc))
    )
    fit(
        **setting() | {"progress": True, "train": DataLoader(X, Y, batch_size=1)},
        epochs=2,
        metrics={"tick": lambda z, y: later() or 1},
    )
    drawn = [n for n, _ in draws if n]
    assert 100 * 0.03 / 0.1 * 0.7 < len(drawn) < 100 * 0.03 / 0.1 + 3
    assert drawn == sorted(drawn)
    assert drawn[-1] == 100
    first = next(text for n, text in draws if n)
    assert first.startswith("epoch 1/2 loss ")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (0.12345, "0.123"), (3e-4, "3.0e-04"), (-12.0, "-12.000"), (1e9, "1.0e+09")],
)
def test_numbers_in_the_bar_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_the_bar_leaves_the_filters_of_warnings_as_they_were() -> None:
    before = [*warnings.filters]
    fit(**setting() | {"progress": True})
    assert warnings.filters == before


def test_a_closed_stderr_is_as_none() -> None:
    before, sys.stderr = sys.stderr, io.StringIO()
    sys.stderr.close()
    try:
        x, y = np.ones((8, 2), np.float32), np.zeros(8, np.int64)
        model = nn.Linear(2, 2)
        history = minidl.fit(
            model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), 0.1), (x, y)
        )
    finally:
        sys.stderr = before
    assert len(history["loss"]) == 10


# --- In a notebook --------------------------------------------------------------------------------


def in_kernel(monkeypatch: pytest.MonkeyPatch, widgets: types.ModuleType | None) -> io.StringIO:
    """Make this process look as the kernel of a notebook, whose stderr is no terminal."""

    class ZMQInteractiveShell:
        pass

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = ZMQInteractiveShell  # type: ignore[attr-defined]
    display = types.ModuleType("IPython.display")
    display.display = lambda *args: None  # type: ignore[attr-defined]
    for name, module in {
        "ipykernel.zmqshell": types.ModuleType("ipykernel.zmqshell"),
        "IPython": ipython,
        "IPython.display": display,
        "ipywidgets": widgets,
        "IPython.html": None,  # where widgets once were
        "IPython.html.widgets": None,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("tqdm.autonotebook", "tqdm.notebook"):  # which look around when they are imported
        module = importlib.import_module(name) if name in sys.modules else types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        del sys.modules[name]
    monkeypatch.setattr(sys, "stderr", elsewhere := io.StringIO())
    return elsewhere


def test_in_a_notebook_without_widgets_there_are_lines_and_no_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = in_kernel(monkeypatch, None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(**setting() | {"progress": True}, epochs=2)
    assert caught == []
    assert [line[:9] for line in elsewhere.getvalue().splitlines()] == ["epoch 1/2", "epoch 2/2"]


def test_in_a_notebook_with_widgets_there_is_a_bar_and_no_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Widget(types.SimpleNamespace):
        """Takes any settings, as a widget does."""

        def __init__(self, *args: Any, **settings: Any) -> None:
            self.value, self.max, self.bar_style, self.children = 0, 0, "", ()
            self.layout, self.style = types.SimpleNamespace(), types.SimpleNamespace()
            made.append(self)
            super().__init__(**settings)

        def close(self) -> None:
            pass

    made: list[Any] = []
    widgets = types.ModuleType("ipywidgets")
    widgets.__version__ = "8.1"  # type: ignore[attr-defined]
    for name in ("HTML", "HBox", "FloatProgress", "IntProgress"):
        setattr(widgets, name, type(name, (Widget,), {}))
    elsewhere = in_kernel(monkeypatch, widgets)
    stop = lambda run: run.epochs == 2 and run.stop("two are enough")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(**setting() | {"progress": True}, epochs=9, callbacks=[stop])
    assert caught == []
    assert elsewhere.getvalue() == "fit: stopped after epoch 2: two are enough\n"
    [bar] = [widget for widget in made if type(widget).__name__ == "FloatProgress"]
    assert bar.value == 14
    assert bar.bar_style == "success"  # it was stopped on purpose
    told = [
        str(widget.value).replace("\u2007", " ") for widget in made
    ]  # in HTML a space of its own
    assert any(text.startswith("epoch 2/9 loss ") for text in told)


# --- Ctrl-C ---------------------------------------------------------------------------------------


def test_ctrl_c_ends_after_the_step_and_hands_back_the_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_terminal(monkeypatch)
    arguments = setting(model=everything()) | {"progress": True}
    arguments["loss"] = at_call(7 + 7 + 3, press_ctrl_c)  # 7 steps in an epoch
    history = fit(**arguments, epochs=9, on_interrupt="return")
    assert history.interrupted
    assert len(history["loss"]) == len(history["accuracy"]) == 2
    assert arguments["optimizer"].steps == 17  # the third step of the third epoch is whole
    assert "fit: stopped by Ctrl-C after step 3 of 7 in epoch 3" in terminal.getvalue()
    assert re.findall(r"\|(.*?)\|", terminal.getvalue())[-1].endswith(" ")  # the bar is not full
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_the_validation_waits_for_its_end() -> None:
    loss = at_call(8, press_ctrl_c)
    arguments = setting() | {"loss": loss, "on_interrupt": "return"}
    history = fit(**arguments, validation=(X, Y), epochs=9)
    assert history.interrupted
    assert [len(values) for values in history.values()] == [1, 1, 1, 1]


def test_a_second_ctrl_c_stops_at_once() -> None:
    def twice() -> None:
        press_ctrl_c()
        press_ctrl_c()

    arguments = setting() | {"loss": at_call(10, twice)}
    history = fit(**arguments, epochs=9, on_interrupt="return")
    assert history.interrupted
    assert len(history["loss"]) == 1
    assert arguments["optimizer"].steps == 9
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_keyboard_interrupt_within_a_step_leaves_the_model_as_before_it() -> None:
    model = everything()
    states = []

    def loss(z: Tensor, y: Array) -> Tensor:
        if len(states) == 10:
            raise KeyboardInterrupt
        return cross_entropy(z, y)

    def keep(z: Array, y: Array) -> float:
        states.append(bits(model.state_dict()))
        return 0.0

    arguments = setting(model=model) | {"loss": loss, "on_interrupt": "return"}
    history = fit(**arguments, epochs=9, metrics={"keep": keep})
    assert history.interrupted
    assert bits(model.state_dict()) == states[-1]
    assert len(history["loss"]) == 1


def test_buffers_that_are_rebound_or_missing_are_as_before_a_step_that_fails() -> None:
    class Average(Module):
        buffers = ("mean", "count", "nothing")

        def __init__(self) -> None:
            self.linear = nn.Linear(4, 3)
            self.mean = np.zeros(4, np.float32)
            self.count = Tensor(np.zeros(()))
            self.nothing = None

        def forward(self, x: Array) -> Tensor:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            self.count.data[...] += 1
            return self.linear(x)

    model = Average()
    mean = model.mean
    loss = at_call(1, raising(MemoryError()))
    with pytest.raises(MemoryError):
        fit(**setting(model=model) | {"loss": loss})
    assert model.mean is mean
    assert (mean == 0).all()
    assert model.count.item() == 0


def test_ctrl_c_is_raised_when_the_step_is_done_and_saved(path: pathlib.Path) -> None:
    arguments = setting() | {"loss": at_call(10, press_ctrl_c)}
    with pytest.raises(KeyboardInterrupt, match="fit stopped after step 3 of 7 in epoch 2") as end:
        fit(**arguments, epochs=9, checkpoint=path)
    assert end.value.__suppress_context__
    assert arguments["optimizer"].steps == load(path)["optimizer"]["steps"] == 10
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_ends_a_loop_over_several_runs() -> None:
    begun = []
    with pytest.raises(KeyboardInterrupt):
        for fold in range(5):
            begun.append(fold)
            fit(**setting() | {"loss": at_call(3, press_ctrl_c if fold == 1 else int)}, epochs=1)
    assert begun == [0, 1]


def test_a_second_ctrl_c_is_raised_at_once() -> None:
    def twice() -> None:
        press_ctrl_c()
        press_ctrl_c()

    arguments = setting() | {"loss": at_call(10, twice)}
    with pytest.raises(KeyboardInterrupt, match="after step 2 of 7 in epoch 2"):
        fit(**arguments, epochs=9)
    assert arguments["optimizer"].steps == 9


def test_ctrl_c_is_not_lost_when_something_else_ends_the_run() -> None:
    def fails() -> None:
        press_ctrl_c()
        raise FloatingPointError

    for on_interrupt in ("raise", "return"):
        arguments = setting() | {"loss": at_call(3, fails), "on_interrupt": on_interrupt}
        with pytest.raises(KeyboardInterrupt) as end:
            fit(**arguments)
        assert isinstance(end.value.__context__, FloatingPointError)


def test_on_interrupt_is_one_of_two_words() -> None:
    with pytest.raises(ValueError, match="on_interrupt is 'raise' or 'return', not 'stop'"):
        fit(**setting() | {"on_interrupt": "stop"})


def test_where_ctrl_c_is_ignored_it_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        history = fit(**setting() | {"loss": at_call(3, press_ctrl_c)}, epochs=1)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(history["loss"]) == 1


@pytest.mark.skipif(os.name != "posix", reason="a shell says 130 there")
def test_ctrl_c_ends_the_program() -> None:
    code = (
        "import signal, numpy as np\n"
        "from minidl import fit, nn, optim\n"
        "model, loss = nn.Linear(1, 1), nn.MSELoss()\n"
        "def pressed(z, y):\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    return loss(z, y)\n"
        "x = np.ones((9, 1))\n"
        "fit(model, pressed, optim.SGD(model.parameters(), lr=0.1), (x, x))\n"
        "print('and on')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")
    assert done.stderr.splitlines()[0] == "fit: stopped by Ctrl-C after step 1 of 1 in epoch 1"
    assert done.stderr.splitlines()[-1] == (
        "KeyboardInterrupt: fit stopped after step 1 of 1 in epoch 1"
    )


def test_a_handler_of_somebody_else_is_left_alone() -> None:
    pressed = []

    def handler(number: int, frame: Any) -> None:
        pressed.append(number)

    before = signal.signal(signal.SIGINT, handler)
    try:
        history = fit(**setting() | {"loss": at_call(3, press_ctrl_c)}, epochs=1)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed
    assert not history.interrupted


def test_fit_works_in_another_thread() -> None:
    histories = []
    thread = threading.Thread(target=lambda: histories.append(fit(**setting(), epochs=1)))
    thread.start()
    thread.join()
    assert histories == [fit(**setting(), epochs=1)]
