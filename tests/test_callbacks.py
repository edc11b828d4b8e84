"""Callbacks: what they are told and may do, and the three that come with minidl."""

from __future__ import annotations

import functools
import math
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from runs import (
    X,
    Y,
    at_call,
    bits,
    classifier,
    cross_entropy,
    everything,
    press_ctrl_c,
    raising,
    setting,
)  # fmt: skip

import minidl
from minidl import nn, optim
from minidl.checkpoint import load
from minidl.data import DataLoader
from minidl.training import Callback, CSVLog, EarlyStopping, History, KeepBest, evaluate, fit
from minidl.training.run import Run

pytestmark = pytest.mark.usefixtures("seeded")


class Noting(Callback):
    """Notes what it is told, and remembers of each epoch its loss."""

    state = ("losses",)

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.told: list[tuple[str, int]] = []

    def on_fit_begin(self, run: Run) -> None:
        self.told.append(("begin", run.epochs))

    def on_epoch_end(self, run: Run) -> None:
        self.losses.append(run.history["loss"][-1])
        self.told.append(("epoch", run.epochs))

    def on_fit_end(self, run: Run) -> None:
        self.told.append(("end", run.epochs))


# --- What they are told ---------------------------------------------------------------------------


def test_a_function_is_called_after_each_epoch_with_the_run() -> None:
    seen = []
    arguments = setting()

    def look(run: Run) -> None:
        assert run.model is arguments["model"]
        assert run.optimizer is arguments["optimizer"]
        assert not run.model.training
        result = evaluate(run.model, cross_entropy, (X, Y))
        assert run.history["validation_loss"][-1] == pytest.approx(result["loss"])
        seen.append((run.epochs, run.steps, len(run.history["loss"])))

    fit(**arguments, validation=(X, Y), epochs=3, callbacks=[look])
    assert seen == [(1, 7, 1), (2, 14, 2), (3, 21, 3)]
    assert arguments["model"].training


def test_the_model_is_in_eval_mode_for_callbacks_and_in_train_mode_for_the_next_epoch() -> None:
    model = everything()
    modes: list[list[bool]] = []
    look = lambda run: modes.append([module.training for _, module in run.model.modules()])
    fit(**setting(model=model), epochs=2, callbacks=[look])  # without validation
    assert modes == 2 * [8 * [False]]
    assert model[1].num_batches_tracked == 14


def test_an_object_is_told_of_begin_epochs_and_end() -> None:
    class Only:
        def on_epoch_end(self, run: Run) -> None:
            noting.told.append(("only", run.epochs))

    noting = Noting()
    fit(**setting(), epochs=2, callbacks=(noting, Only()))
    assert noting.told == [
        ("begin", 0), ("epoch", 1), ("only", 1), ("epoch", 2), ("only", 2), ("end", 2),
    ]  # fmt: skip
    noting.told.clear()
    fit(**setting(), epochs=0, callbacks=iter([noting]))
    assert noting.told == [("begin", 0), ("end", 0)]


def test_a_run_of_no_epochs_may_have_a_schedule_that_spans_it() -> None:
    arguments = setting()
    arguments["optimizer"].lr = optim.schedules.cosine(0.1)
    noting = Noting()
    assert fit(**arguments, epochs=0, callbacks=[noting]) == {"loss": []}
    assert noting.told == [("begin", 0), ("end", 0)]


def test_the_end_is_told_after_ctrl_c_and_not_after_an_error() -> None:
    for how, ends in ((press_ctrl_c, True), (raising(MemoryError()), False)):
        noting = Noting()
        with pytest.raises((KeyboardInterrupt, MemoryError)):
            fit(**setting() | {"loss": at_call(10, how)}, callbacks=[noting])
        assert noting.told == [("begin", 0), ("epoch", 1), *[("end", 1)] * ends]


def test_what_a_callback_changes_of_the_optimizer_counts_from_the_next_step_on() -> None:
    def halt(run: Run) -> None:
        run.optimizer.lr = 0.0

    for compiled in (False, True):
        arguments = setting("adagrad")
        states: list[Any] = []
        keep = lambda run, states=states: states.append(bits(run.model.state_dict()))
        fit(**arguments, epochs=3, callbacks=[keep, halt], compiled=compiled)
        assert states[0] == states[1] == states[2]


# --- How they stop a run --------------------------------------------------------------------------


def test_a_callback_stops_the_run_and_says_why() -> None:
    told = []

    def stop(run: Run) -> None:
        if run.epochs == 2:
            run.stop("two are enough")
            run.stop("another reason")

    history = fit(**setting(), epochs=9, callbacks=[stop, lambda run: told.append(run.epochs)])
    assert len(history["loss"]) == 2
    assert history.stopped == "two are enough"  # the first reason
    assert not history.interrupted
    assert told == [1, 2]  # those after it hear of the epoch, too
    assert fit(**setting(), epochs=1).stopped is None


@pytest.mark.parametrize("reason", [None, "", 3])
def test_a_reason_is_given_in_words(reason: Any) -> None:
    with pytest.raises(TypeError, match=r"run\.stop takes the reason in words, got"):
        fit(**setting(), callbacks=[lambda run: run.stop(reason)])


def test_true_stops_nothing_and_so_it_is_refused() -> None:
    with pytest.raises(TypeError, match=r"returned True, .* is run\.stop\('reason'\)") as caught:
        fit(**setting(), callbacks=[lambda run: True])
    assert caught.value.__notes__ == ["in the callback <lambda> after epoch 1; the model holds it"]
    fit(**setting(), epochs=1, callbacks=[lambda run: run.epochs > 1 and run.stop("no")])


def test_a_run_that_was_stopped_is_over_and_its_history_says_so(path: pathlib.Path) -> None:
    stop = lambda run: run.epochs == 2 and run.stop("two are enough")
    first = fit(**setting(), epochs=9, checkpoint=path, callbacks=[stop])
    content = path.read_bytes()
    for epochs in (1, 9, 99):
        again = fit(**setting(), epochs=epochs, checkpoint=path)
        assert (dict(again), again.stopped) == (dict(first), "two are enough")
    assert path.read_bytes() == content


# --- What is refused ------------------------------------------------------------------------------


class Keras:
    def on_epoch_end(self, run: Run) -> None: ...

    def on_batch_end(self, run: Run) -> None: ...


class HalfAState:
    def on_epoch_end(self, run: Run) -> None: ...

    def state_dict(self) -> dict[str, Any]:
        return {}


class Other:
    def on_epoch_end(self, epoch: int, logs: Any) -> None: ...


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (CSVLog("log.csv"), r"callbacks is a list, got a single CSVLog: write callbacks=\[\.\.\.]"),
        (print, r"callbacks is a list, got a single print: write callbacks=\[\.\.\.]"),
        (EarlyStopping, "callbacks is a list, got a single EarlyStopping"),
        ("EarlyStopping", "callbacks is a list of callbacks, got 'EarlyStopping'"),
        (None, "callbacks is a list of callbacks, got None"),
        ([CSVLog], r"callbacks\[0] is the class CSVLog: write CSVLog\(\.\.\.\), with brackets"),
        ([print, None], r"callbacks\[1] is a function of the run, or an object .*, got None"),
        (["loss"], r"callbacks\[0] is a function of the run, .*, got 'loss'"),
        ([lambda: None], r"callbacks\[0], <lambda>, takes one argument, the run, not \(\)"),
        ([lambda a, b: None], r"takes one argument, the run, not \(a, b\)"),
        ([Other()], r"callbacks\[0], Other, takes one argument, the run, not \(epoch: "),
        ([Keras()], r"callbacks\[0], Keras, has on_batch_end, which fit never calls: it calls"),
        ([HalfAState()], r"has only one of state_dict\(\) and load_state_dict\(state\)"),
    ],
)
def test_what_is_no_callback_is_refused_at_the_call(callbacks: Any, message: str) -> None:
    arguments = setting()
    with pytest.raises(TypeError, match=message):
        fit(**arguments, callbacks=callbacks)
    assert arguments["optimizer"].steps == 0


def test_the_same_object_twice_is_refused() -> None:
    noting = Noting()
    with pytest.raises(ValueError, match=r"callbacks\[2] is the same Noting as another one there"):
        fit(**setting(), callbacks=[noting, print, noting])


def test_functions_of_all_kinds_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    epochs: list[int] = []

    class Callable_:
        def __call__(self, run: Run) -> None:
            epochs.append(run.epochs)

        def method(self, run: Run, more: int = 0) -> None:
            epochs.append(run.epochs)

    one = Callable_()
    partial = functools.partial(lambda list_, run: list_.append(run.epochs), epochs)
    fit(**setting(), epochs=1, callbacks=[one, one.method, partial, epochs.append, print])
    assert epochs[:3] == [1, 1, 1]
    assert isinstance(epochs[3], Run)
    assert "Run(" in capsys.readouterr().out


# --- What goes wrong in them ----------------------------------------------------------------------


class Fails(Callback):
    """Counts, and fails once after it has counted."""

    state = ("epochs",)

    def __init__(self, at: int = 0) -> None:
        self.epochs: list[int] = []
        self.at = at

    def on_epoch_end(self, run: Run) -> None:
        self.epochs.append(run.epochs)
        if run.epochs == self.at:
            raise ZeroDivisionError("by zero")


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_error_in_a_callback_names_it_and_loses_nothing(path: pathlib.Path, at: int) -> None:
    arguments = setting(model=everything())
    expected = fit(**arguments, epochs=3), bits(arguments["model"].state_dict())
    before, after, fails = Noting(), Noting(), Fails(at)
    minidl.seed(0)
    with pytest.raises(ZeroDivisionError) as caught:
        fit(
            **setting(model=everything()), epochs=3, checkpoint=path,
            callbacks=[before, fails, after],
        )  # fmt: skip
    assert caught.value.__notes__ == [
        f"in the callback Fails after epoch {at}; the model holds it, and {path} the run"
    ]
    assert len(load(path)["history"]["loss"]) == at
    minidl.seed(1)
    arguments = setting(model=everything())
    before, after, fails = Noting(), Noting(), Fails()
    history = fit(**arguments, epochs=3, checkpoint=path, callbacks=[before, fails, after])
    assert (history, bits(arguments["model"].state_dict())) == expected
    assert before.losses == after.losses == history["loss"]
    assert fails.epochs == [1, 2, 3]  # the call that failed was made again, as if it had not
    assert before.told[1:-1] == [("epoch", epoch) for epoch in range(at + 1, 4)]
    assert after.told[1:-1] == [("epoch", epoch) for epoch in range(at, 4)]


def test_the_callback_that_fails_may_be_taken_out(path: pathlib.Path) -> None:
    fail, heard = raising(ZeroDivisionError()), []
    with pytest.raises(ZeroDivisionError):
        fit(**setting(), epochs=2, checkpoint=path, callbacks=[lambda run: fail()])
    fit(**setting(), epochs=2, checkpoint=path, callbacks=[heard.append])
    assert len(heard) == 1


@pytest.mark.parametrize("hook", ["on_fit_begin", "on_fit_end"])
def test_an_error_at_the_begin_and_at_the_end_names_the_callback(
    hook: str, path: pathlib.Path
) -> None:
    class Bad(Callback):
        pass

    def fails(self: Bad, run: Run) -> None:
        raise ZeroDivisionError

    setattr(Bad, hook, fails)
    with pytest.raises(ZeroDivisionError) as caught:
        fit(**setting(), epochs=1, checkpoint=path, callbacks=[Bad()])
    assert caught.value.__notes__ == [f"in {hook} of the callback Bad"]
    assert path.exists() == (hook == "on_fit_end")  # a call that is wrong leaves no file


# --- What they remember ---------------------------------------------------------------------------

STOPS: list[tuple[Callable[[], object], int]] = [
    # how, and in which call of the loss: 7 in an epoch of training, 6 in the validation after it
    (press_ctrl_c, 3),  # in epoch 1
    (raising(MemoryError()), 7),  # in the validation after it
    (press_ctrl_c, 2),  # in that validation
    (press_ctrl_c, 13 + 13 + 4),  # in epoch 4
    (raising(MemoryError()), 2),
]


def companions(folder: pathlib.Path) -> list[Any]:
    return [
        Noting(),
        EarlyStopping(5, monitor="validation_accuracy", mode="min"),  # which rises, and so it stops
        KeepBest(folder / "best.npz", monitor="validation_accuracy"),
        KeepBest(monitor="loss"),
        CSVLog(folder / "log.csv"),
    ]


def outcome(arguments: dict[str, Any], history: History, callbacks: list[Any]) -> Any:
    noting, stopping, to_file, in_memory, log = callbacks
    kept = [vars(c) for c in (stopping, to_file, in_memory)]
    kept = [bits({k: v for k, v in c.items() if k != "path"}) for c in kept]
    state = bits(arguments["model"].state_dict()), bits(arguments["optimizer"].state_dict())
    files = bits(load(to_file.path)), pathlib.Path(log.path).read_text()
    return state, dict(history), history.stopped, noting.losses, kept, files


@pytest.mark.parametrize("compiled", [False, True])
def test_a_run_with_callbacks_goes_on_as_if_it_had_not_been_stopped(
    tmp_path: pathlib.Path, compiled: bool
) -> None:
    def run(folder: pathlib.Path, how: Any = cross_entropy, seed: int = 0, **options: Any) -> Any:
        options = {"epochs": 9, "compiled": compiled} | options
        folder.mkdir(exist_ok=True)
        minidl.seed(seed)
        arguments = setting(model=everything()) | {"loss": how}
        arguments["train"] = DataLoader(X, Y, batch_size=8, shuffle=True)
        arguments["validation"] = DataLoader(X, Y, batch_size=9)
        callbacks = companions(folder)
        return outcome(arguments, fit(**arguments, callbacks=callbacks, **options), callbacks)

    expected = run(tmp_path / "whole")
    assert expected[2].startswith("validation_accuracy did not fall for 5 epochs after the ")
    assert 4 < len(expected[1]["loss"]) < 9
    parts, path = tmp_path / "parts", tmp_path / "run.npz"
    for epochs in (1, 3) if compiled else ():  # the loss is called by the program, not by us
        run(parts, seed=epochs - 1, epochs=epochs, checkpoint=path)
    for seed, (how, call) in enumerate(STOPS if not compiled else ()):
        with pytest.raises((KeyboardInterrupt, MemoryError)):
            run(parts, at_call(call, how), seed, checkpoint=path)
    assert run(parts, seed=9, checkpoint=path) == expected
    assert run(parts, seed=10, checkpoint=path) == expected  # which is done


def test_other_callbacks_with_a_state_are_refused_and_change_nothing(path: pathlib.Path) -> None:
    both = lambda: [EarlyStopping(3, monitor="loss"), Noting()]
    fit(**setting(), epochs=2, checkpoint=path, callbacks=both())
    content = path.read_bytes()
    for others in ([], both()[:1], both()[::-1], [*both(), Noting()]):
        arguments = setting()
        before = bits(arguments["model"].state_dict())
        with pytest.raises(
            ValueError,
            match=r"its callbacks with a state are \['EarlyStopping', 'Noting'\], not \[.*Nothing",
        ):
            fit(**arguments, epochs=3, checkpoint=path, callbacks=others)
        assert bits(arguments["model"].state_dict()) == before
        assert path.read_bytes() == content
        assert all(c.losses == [] for c in others if isinstance(c, Noting))


def test_callbacks_without_a_state_may_come_and_go(path: pathlib.Path) -> None:
    fit(**setting(), epochs=1, checkpoint=path, callbacks=[print, Noting()])
    noting, log = Noting(), CSVLog(path.with_suffix(".csv"))
    history = fit(**setting(), epochs=2, checkpoint=path, callbacks=[noting, log])
    assert noting.losses == history["loss"]


def test_an_object_of_any_kind_is_saved_by_its_own_state_dict(path: pathlib.Path) -> None:
    class Own:
        def __init__(self) -> None:
            self.count = np.zeros(2)

        def on_epoch_end(self, run: Run) -> None:
            self.count += 1

        def state_dict(self) -> dict[str, Any]:
            return {"count": self.count}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.count = state["count"]

    for epochs in (2, 5):
        own = Own()
        fit(**setting(), epochs=epochs, checkpoint=path, callbacks=[own])
    assert own.count.tolist() == [5, 5]


def test_a_callback_whose_state_has_other_names_is_refused(path: pathlib.Path) -> None:
    fit(**setting(), epochs=1, checkpoint=path, callbacks=[Noting()])
    noting = Noting()
    noting.state = ("losses", "told")
    with pytest.raises(ValueError, match=r"no state of a Noting: missing \['told'\].*Nothing was"):
        fit(**setting(), epochs=2, checkpoint=path, callbacks=[noting])


# --- EarlyStopping --------------------------------------------------------------------------------


def scripted(
    values: list[float], *callbacks: Any, model: nn.Module | None = None, **options: Any
) -> History:
    """A run whose metric ``score`` takes these values, one for each epoch."""
    script: Iterator[float] = iter(values)
    arguments = setting(model=model) | {"train": DataLoader(X, Y, batch_size=50)}
    arguments |= {"metrics": {"score": lambda z, y: next(script)}, "epochs": len(values)} | options
    return fit(**arguments, callbacks=callbacks)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("values", "options", "epochs", "best", "reason"),
    [
        ([3, 2, 2, 2, 0], {"patience": 2}, 4, 2, "fall for 2 epochs after the 2.000 of epoch 2"),
        ([3, 2, 2, 1, 1, 1, 0], {"patience": 2}, 6, 4, "fall for 2 epochs after the 1.000"),
        ([3, 4, 2], {"patience": 1}, 2, 1, "fall for 1 epoch after the 3.000 of epoch 1"),
        ([3, 2.6, 2.5, 2, 0], {"patience": 2, "min_delta": 0.5}, 3, 1, "fall by more than 0.5"),
        ([3, 2.8, 2.4, 2.3, 1], {"patience": 2, "min_delta": 0.5}, 5, 5, None),
        ([1, 2, 2, 3, 3], {"patience": 2, "mode": "max"}, 5, 4, None),
        ([2, 1, 1.5, 3], {"patience": 2, "mode": "max"}, 3, 1, "rise for 2 epochs after the 2"),
        ([NAN, 3, NAN, NAN, 0], {"patience": 2}, 4, 2, "fall for 2 epochs after the 3"),
        ([NAN, NAN, 0], {"patience": 2}, 2, None, "score was NaN for 2 epochs"),
        ([NAN, 1, 0], {"patience": 2}, 3, 3, None),
        ([INF, 1, -INF, -INF, 0], {"patience": 2}, 5, 3, "fall for 2 epochs after the -inf"),
        ([1, 0.5, 0.7], {"patience": 5}, 3, 2, None),
    ],
)
def test_it_waits_so_many_epochs_for_a_better_one(
    values: list[float], options: dict[str, Any], epochs: int, best: int | None, reason: str | None
) -> None:
    stopping = EarlyStopping(**{"monitor": "score", "mode": "min"} | options)
    history = scripted(values, stopping)
    assert len(history["score"]) == epochs
    assert stopping.best_epoch == best
    assert stopping.best_value == (None if best is None else values[best - 1])
    assert (history.stopped is None) == (reason is None)
    assert reason is None or reason in str(history.stopped)


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [
        ("loss", "min"), ("validation_loss", "min"), ("error", "min"), ("my_mae", "min"),
        ("accuracy", "max"), ("validation_accuracy", "max"), ("macro_F1", "max"), ("auc", "max"),
    ],
)  # fmt: skip
def test_names_tell_what_should_fall_and_what_should_rise(monitor: str, mode: str) -> None:
    assert EarlyStopping(1, monitor=monitor).mode == mode
    assert KeepBest(monitor=monitor).mode == mode


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"patience": 0}, ValueError, "patience is a whole number of at least 1, got 0"),
        ({"patience": 2.0}, TypeError, "patience is a whole number, got 2.0"),
        ({"patience": "loss"}, TypeError, "patience is a whole number, got 'loss'"),
        ({"monitor": 3}, TypeError, "monitor is a name in the history, got 3"),
        ({"min_delta": -0.1}, ValueError, "min_delta is a finite number, at least 0, got -0.1"),
        ({"mode": "lower"}, ValueError, "mode is 'auto', 'min' or 'max', not 'lower'"),
        ({"monitor": "score"}, ValueError, "whether 'score' should fall or rise .*: give mode="),
        ({"monitor": "loss_of_accuracy"}, ValueError, "should fall or rise"),
    ],
)
def test_settings_that_make_no_sense_are_refused_when_it_is_made(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^EarlyStopping: .*{message}"):
        EarlyStopping(**{"patience": 3} | options)


@pytest.mark.parametrize("kind", [functools.partial(EarlyStopping, 3), KeepBest])
def test_the_validation_is_not_monitored_without_validation_data(
    kind: Callable[..., Any], path: pathlib.Path
) -> None:
    arguments = setting()
    with pytest.raises(
        ValueError, match=r"monitors 'validation_loss', and fit was given no validation data: give"
    ):
        fit(**arguments, checkpoint=path, callbacks=[kind()])
    assert arguments["optimizer"].steps == 0
    assert not path.exists()


def test_what_is_not_measured_is_found_in_the_first_epoch_and_named() -> None:
    arguments = setting()
    stopping = EarlyStopping(3, monitor="validation_acuracy", mode="max")
    with pytest.raises(
        ValueError,
        match=r"EarlyStopping monitors 'validation_acuracy', and what was measured is 'loss', "
        r"'accuracy', 'validation_loss', 'validation_accuracy'",
    ):
        fit(**arguments, validation=(X, Y), epochs=9, callbacks=[stopping])
    assert arguments["optimizer"].steps == 7


def keeping_states(states: list[Any]) -> Callable[[Run], None]:
    def keep(run: Run) -> None:
        states.append(bits(run.model.state_dict()))

    return keep


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("how", ["stopped", "all epochs", "ctrl-c", "ctrl-c, raised"])
def test_the_weights_and_buffers_of_the_best_epoch_come_back_bit_for_bit(
    how: str, compiled: bool
) -> None:
    values = {"stopped": [3, 1, 2, 2, 9]}.get(how, [3, 1, 2, 9])
    model, states = everything(), []
    arguments = setting(model=model)
    arrays = [p.data for p in model.parameters()]
    stopping = EarlyStopping(2, monitor="score", mode="min")
    options: dict[str, Any] = {"compiled": compiled}
    if how.startswith("ctrl-c"):
        options["on_interrupt"] = "raise" if how.endswith("raised") else "return"
        watch = lambda run: press_ctrl_c() if run.epochs == 3 else None
    else:
        watch = lambda run: None
    try:
        scripted(
            values, keeping_states(states), stopping, watch,
            model=model, optimizer=arguments["optimizer"], **options,
        )  # fmt: skip
    except KeyboardInterrupt:
        assert how == "ctrl-c, raised"
    assert stopping.best_epoch == 2
    assert len(states) == (3 if how.startswith("ctrl-c") else 4)
    assert bits(model.state_dict()) == states[1] != states[-1]
    assert all(p.data is array for p, array in zip(model.parameters(), arrays, strict=True))


def test_without_restore_best_the_model_keeps_the_last_weights() -> None:
    model, states = everything(), []
    stopping = EarlyStopping(2, monitor="score", mode="min", restore_best=False)
    scripted([3, 1, 2, 9], keeping_states(states), stopping, model=model)
    assert stopping.best_epoch == 2
    assert stopping.best_state is None
    assert bits(model.state_dict()) == states[-1]


def test_after_an_error_the_model_stays_as_it_is() -> None:
    model, states = everything(), []
    fails = Fails(at=3)
    with pytest.raises(ZeroDivisionError):
        scripted(
            [3, 1, 2, 9], keeping_states(states), EarlyStopping(2, monitor="score", mode="min"),
            fails, model=model,
        )  # fmt: skip
    assert bits(model.state_dict()) == states[2]


def test_float16_weights_come_back_and_can_be_trained_on() -> None:
    model = nn.Sequential(nn.Linear(4, 3, rng=1, dtype=np.float16))
    train = DataLoader(X, Y, batch_size=50, dtype=np.float16)
    arguments = setting(model=model) | {"train": train, "metrics": {}, "epochs": 5}
    states: list[Any] = []
    rises = EarlyStopping(2, monitor="loss", mode="max")
    fit(**arguments, callbacks=[keeping_states(states), rises])
    assert (len(states), bits(model.state_dict())) == (3, states[0])
    fit(**arguments | {"epochs": 1})
    assert bits(model.state_dict()) != states[0]


def test_the_checkpoint_holds_the_last_weights_so_that_a_run_can_be_made_longer(
    path: pathlib.Path,
) -> None:
    def run(epochs: int, **options: Any) -> Any:
        model = everything()
        stopping = EarlyStopping(9, monitor="loss", mode="max")  # the first epoch is the best
        history = fit(**setting(model=model), epochs=epochs, callbacks=[stopping], **options)
        return history, bits(model.state_dict()), bits(stopping.state_dict())

    minidl.seed(3)
    expected = run(4)
    minidl.seed(3)
    first = run(2, checkpoint=path)
    assert (
        bits(load(path)["model"])
        != first[1]
        == bits(load(path)["callbacks"]["states"][0][1])["best_state"]
    )
    assert run(4, checkpoint=path) == expected
    assert run(4, checkpoint=path) == expected  # which is done, and the weights are the best again


def test_it_may_be_used_for_one_run_after_another() -> None:
    stopping = EarlyStopping(2, monitor="score", mode="min")
    scripted([1, 2, 3], stopping)
    assert len(scripted([5, 4, 4, 4], stopping)["score"]) == 4
    assert (stopping.best_epoch, stopping.best_value) == (2, 4)


# --- KeepBest -------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["file", "memory"])
def test_the_best_weights_are_kept_and_the_model_goes_on(where: str, path: pathlib.Path) -> None:
    model, states = everything(), []
    keep = KeepBest(path if where == "file" else None, monitor="score", mode="max")
    scripted([NAN, 1, 3, 3, 2], keeping_states(states), keep, model=model)
    assert (keep.best_epoch, keep.best_value) == (3, 3)
    assert bits(load(path) if where == "file" else keep.best_state) == states[2]
    assert (keep.best_state is None) == (where == "file")
    assert bits(model.state_dict()) == states[-1]
    other = everything()
    other.load_state_dict(load(path) if where == "file" else keep.best_state)
    assert bits(other.state_dict()) == states[2]


@pytest.mark.parametrize("kind", [lambda p: KeepBest(p, monitor="loss"), CSVLog])
def test_a_folder_that_is_not_there_is_found_before_the_first_step(
    kind: Callable[[pathlib.Path], Any], tmp_path: pathlib.Path
) -> None:
    for path, error, message in (
        (tmp_path / "none" / "file", FileNotFoundError, "there is no folder .*none: make it first"),
        (tmp_path, IsADirectoryError, "is a folder: name a file"),
    ):
        arguments = setting()
        with pytest.raises(error, match=message):
            fit(**arguments, callbacks=[kind(path)])
        assert arguments["optimizer"].steps == 0
    for none in (None, 3) if kind is CSVLog else (3,):
        with pytest.raises(TypeError):
            kind(none)  # type: ignore[arg-type]


def test_the_best_weights_and_the_checkpoint_are_two_files(path: pathlib.Path) -> None:
    """In one, the run would replace the weights after each epoch, and nobody would know."""
    arguments = setting()
    other = f"{path.parent}/./{path.name}"
    with pytest.raises(ValueError, match=r"is the checkpoint of fit, .*: name another file"):
        fit(**arguments, checkpoint=path, callbacks=[KeepBest(other, monitor="loss")])
    assert arguments["optimizer"].steps == 0
    assert not path.exists()


def test_a_file_name_without_a_folder_is_in_this_one(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit(**setting(), epochs=1, callbacks=[KeepBest("best.npz", monitor="loss"), CSVLog("log.csv")])
    assert {p.name for p in tmp_path.iterdir()} == {"best.npz", "log.csv"}


# --- CSVLog ---------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "log.csv"


def run_with_log(log: pathlib.Path, epochs: int = 3, **options: Any) -> History:
    minidl.seed(0)
    return fit(**setting(model=everything()), epochs=epochs, callbacks=[CSVLog(log)], **options)


def test_the_log_is_the_history_with_all_its_digits(log: pathlib.Path) -> None:
    lines: list[int] = []
    count = lambda run: lines.append(log.read_text().count("\n"))
    history = fit(
        **setting(), validation=(X, Y), epochs=3, callbacks=[CSVLog(log), count],
        metrics={"a, b": lambda z, y: math.nan, "ü": lambda z, y: 0.1},
    )  # fmt: skip
    assert lines == [2, 3, 4]  # it is there while the run goes on
    header, *rows = log.read_text(encoding="utf-8").splitlines()
    assert header == 'epoch,loss,"a, b",ü,validation_loss,"validation_a, b",validation_ü'
    for epoch, row in enumerate(rows, 1):
        cells = row.split(",")
        values = [values[epoch - 1] for values in history.values()]
        assert [int(cells[0]), *map(float, cells[1:])] == pytest.approx(
            [epoch, *values], abs=0, nan_ok=True
        )


def test_a_run_that_goes_on_appends_to_its_log(log: pathlib.Path, path: pathlib.Path) -> None:
    run_with_log(log)
    whole = log.read_text()
    log.unlink()
    run_with_log(log, 1, checkpoint=path)
    earlier = shutil.copy(path, path.with_suffix(".1"))
    run_with_log(log, 2, checkpoint=path)
    # A crash between the line and the saving, a line that was cut short, a file that was deleted.
    two = log.read_text()
    for there, checkpoint in ((two, earlier), (two[:-5], path), (two[:3], path), ("", path)):
        log.write_text(there)
        run_with_log(log, 3, checkpoint=shutil.copy(checkpoint, path.with_suffix(".2")))
        assert log.read_text() == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text.replace("epoch,loss", "epoch,error"),
            "line 1 is 'epoch,error,accuracy'",
        ),
        (lambda text: text.replace("\n2,", "\n2,7"), "line 3 is '2,7.*, and the run has '2,"),
        (lambda text: text.replace("\n", "\r\n"), r"line 1 is 'epoch,loss,accuracy\\r'"),
        (lambda text: text + "3,0.5,0.5\n4,0.4,0.6\n", "line 4 is '3,.*, and the run has nothing"),
        (lambda text: "\0\xff", "line 1 is "),
    ],
)
def test_the_log_of_another_run_is_refused_and_stays_as_it_is(
    change: Callable[[str], str], message: str, log: pathlib.Path, path: pathlib.Path
) -> None:
    run_with_log(log, 2, checkpoint=path)
    log.write_bytes(change(log.read_text()).encode("latin-1"))
    content, run = log.read_bytes(), path.read_bytes()
    with pytest.raises(ValueError, match=f"log.csv is not the log of this run: {message}"):
        run_with_log(log, 4, checkpoint=path)
    assert log.read_bytes() == content
    assert path.read_bytes() == run  # it was found before the first step


def test_a_new_run_does_not_write_into_an_old_log(log: pathlib.Path, path: pathlib.Path) -> None:
    run_with_log(log, 2)
    content = log.read_bytes()
    with pytest.raises(
        ValueError, match="line 1 is 'epoch,loss,accuracy', and the run has nothing"
    ):
        run_with_log(log, 2, checkpoint=path)
    assert log.read_bytes() == content
    assert not path.exists()


def test_a_line_that_another_wrote_meanwhile_is_not_written_over(log: pathlib.Path) -> None:
    def meddle(run: Run) -> None:
        log.write_text("mine")

    with pytest.raises(ValueError, match="line 1 is 'mine', and the run has 'epoch,loss,accuracy'"):
        fit(**setting(), epochs=3, callbacks=[CSVLog(log), meddle])
    assert log.read_text() == "mine"


def test_a_rule_of_ones_own_is_stopped_early_too() -> None:
    class Slow(optim.Optimizer):
        def update(self, x: Any, dx: Any, *, lr: float) -> None:
            x -= lr * dx

    model = classifier()
    arguments = setting(model=model) | {"optimizer": Slow(model.parameters(), lr=1e-9)}
    stopping = EarlyStopping(2, min_delta=1e-3)
    history = fit(**arguments, validation=(X, Y), epochs=9, callbacks=[stopping])
    assert len(history["loss"]) == 3
