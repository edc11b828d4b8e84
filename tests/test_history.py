"""The history of a run: a dict of lists, told in a line, drawn in a figure."""

from __future__ import annotations

import copy
import importlib
import math
import pathlib
import pickle
import sys
from typing import Any

import pytest
from runs import X, Y, setting

from minidl.checkpoint import load, save
from minidl.training import History, fit

pytestmark = pytest.mark.usefixtures("seeded")

NAN, INF = math.nan, math.inf


# --- A dict of lists ------------------------------------------------------------------------------


def test_it_is_a_dict_of_lists() -> None:
    history = fit(**setting(), validation=(X, Y), epochs=2)
    assert list(history) == ["loss", "accuracy", "validation_loss", "validation_accuracy"]
    assert all(type(values) is list and len(values) == 2 for values in history.values())
    assert history == dict(history)


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda history: pickle.loads(pickle.dumps(history))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_are_histories_with_all_they_say(again: Any) -> None:
    history = History(loss=[1.0, 0.5])
    history.interrupted, history.stopped = True, "enough"
    other = again(history)
    assert type(other) is History
    assert (other, other.interrupted, other.stopped) == (history, True, "enough")
    other.stopped = "no"
    assert (history.stopped, History().stopped, History().interrupted) == ("enough", None, False)


def test_it_is_saved_as_a_dict_and_is_a_history_again(path: pathlib.Path) -> None:
    history = fit(**setting(), epochs=2)
    save(path, dict(history))
    assert History(load(path)) == history
    assert repr(History(load(path))) == repr(history)
    with pytest.raises(TypeError, match=r"save dict\(value\)"):
        save(path, history)


# --- In a line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "<History of 0 epochs>"),
        ({"loss": []}, "<History of 0 epochs>"),
        ({"loss": [0.5]}, "<History of 1 epoch: loss 0.500; lowest loss 0.500 in epoch 1>"),
        (
            {"loss": [0.5, 0.25, 0.25], "accuracy": [0.1, 1.0, 0.5]},
            "<History of 3 epochs: loss 0.250, accuracy 0.500; lowest loss 0.250 in epoch 2>",
        ),
        (
            {"loss": [3, 1], "validation_loss": [2, 4], "validation_auc": [0.1, 0.2]},
            "<History of 2 epochs: loss 1.000 (validation 4.000), auc (validation 0.200); "
            "lowest validation_loss 2.000 in epoch 1>",
        ),
        (
            {"loss": [NAN, 1e-5, -INF, NAN]},
            "<History of 4 epochs: loss nan; lowest loss 1.0e-05 in epoch 2>",
        ),
        ({"loss": [NAN]}, "<History of 1 epoch: loss nan>"),
        (
            {"loss": [0.01], "error": [1000], "gain": [-0.009]},
            "<History of 1 epoch: loss 0.010, error 1.0e+03, gain -9.0e-03; "
            "lowest loss 0.010 in epoch 1>",
        ),
    ],
)
def test_it_is_told_in_a_line(values: dict[str, list[float]], text: str) -> None:
    assert repr(History(values)) == str(History(values)) == text


def test_the_line_says_what_ended_the_run() -> None:
    history = History(loss=[0.5])
    history.stopped, history.interrupted = "enough", True
    assert repr(history).endswith("in epoch 1; stopped: enough; interrupted>")


# --- In a figure ----------------------------------------------------------------------------------


@pytest.fixture
def figures() -> None:
    pytest.importorskip("matplotlib", reason="figures need matplotlib")


def drawn(axes: Any) -> dict[str, list[float]]:
    """The lines of a plot by their labels."""
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


@pytest.mark.usefixtures("figures")
def test_three_plots_stand_in_a_row() -> None:
    figure = History({name: [0.5, 0.25] for name in ("loss", "a", "b", "c")}).plot()
    places = [axes.get_subplotspec() for axes in figure.axes]
    assert [p.rowspan.start for p in places] == [0, 0, 0, 1]
    assert [p.colspan.start for p in places] == [0, 1, 2, 0]


@pytest.mark.usefixtures("figures")
def test_each_quantity_has_a_plot_of_training_and_validation(tmp_path: pathlib.Path) -> None:
    history = fit(**setting(), validation=(X, Y), epochs=4)
    figure = history.plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes()[:4] == b"\x89PNG"
    best = min(history["validation_loss"])
    epoch = history["validation_loss"].index(best) + 1
    ring = f"lowest validation: {best:.3f} in epoch {epoch}"
    for axes, name in zip(figure.axes, ("loss", "accuracy"), strict=True):
        lines = drawn(axes)
        assert lines.pop(ring, None) == ([best] if name == "loss" else None)
        assert lines == {
            "training, during the epoch": history[name],
            "validation, after the epoch": history[f"validation_{name}"],
        }
        assert [text.get_text() for text in axes.get_legend().get_texts()][:2] == list(lines)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", name)
        assert list(axes.get_lines()[0].get_xdata()) == [1, 2, 3, 4]
        assert axes.get_title() == ""
    assert list(figure.axes[0].get_lines()[-1].get_xdata()) == [epoch]


@pytest.mark.usefixtures("figures")
@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 30, 31, 1000])
def test_ticks_are_whole_epochs(epochs: int) -> None:
    axes = History(loss=[1 / (i + 1) for i in range(epochs)]).plot().axes[0]
    low, high = axes.get_xlim()
    ticks = [t for t in axes.get_xticks() if low <= t <= high]
    assert ticks
    assert all(t == int(t) and 1 <= t <= epochs for t in ticks)
    line = axes.get_lines()[0]
    assert (line.get_marker() != "None") == (epochs <= 30)


@pytest.mark.usefixtures("figures")
def test_nan_and_infinity_are_gaps_that_are_counted(tmp_path: pathlib.Path) -> None:
    values = [0.5, NAN, 0.4, 0.3, INF, *[0.2] * 40, NAN, 0.2, NAN]
    figure = History(loss=values, f1=[NAN] * len(values)).plot()
    loss, f1 = figure.axes
    [line] = drawn(loss).values()
    assert [i for i, v in enumerate(line) if v != v] == [1, 4, 45, 47]
    assert loss.get_lines()[0].get_markevery() == [0, 46]  # which have no neighbour
    assert loss.get_title() == "4 values NaN or infinite, not drawn"
    assert f1.get_title() == "48 values NaN or infinite, not drawn"
    assert list(f1.get_yticks()) == []
    [nothing] = History(loss=[NAN, INF]).plot().axes
    assert nothing.get_title() == "2 values NaN or infinite, not drawn"
    figure.savefig(tmp_path / "history.svg")  # without a warning


@pytest.mark.usefixtures("figures")
@pytest.mark.parametrize(
    ("values", "scale"),
    [([100, 1], "linear"), ([101, 1], "log"), ([101, 1, 0], "linear"), ([101, 1, -1], "linear")],
)
def test_a_loss_that_falls_by_a_factor_of_100_has_a_logarithmic_axis(
    values: list[float], scale: str
) -> None:
    loss, error = History(loss=values, error=values).plot().axes
    assert (loss.get_yscale(), error.get_yscale()) == (scale, "linear")
    assert loss.get_ylabel() == ("loss (logarithmic)" if scale == "log" else "loss")
    both = History(loss=values[:1], validation_loss=values[1:]).plot().axes[0]
    assert both.get_yscale() == scale  # since it is one axis for both


@pytest.mark.usefixtures("figures")
def test_a_notebook_can_show_the_figure_without_pyplot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    figure = History(loss=[1.0]).plot()
    assert figure._repr_png_()[:4] == b"\x89PNG"


@pytest.mark.usefixtures("figures")
def test_what_cannot_be_drawn_is_refused(tmp_path: pathlib.Path) -> None:
    for empty in (History(), History(loss=[])):
        with pytest.raises(ValueError, match="no epoch is complete, so that there is nothing to"):
            empty.plot()
    with pytest.raises(ValueError, match="'history' is not supported"):
        History(loss=[1.0]).plot(tmp_path / "a.history")
    with pytest.raises(FileNotFoundError, match=r"History\.plot: for .* no folder .*nowhere: make"):
        History(loss=[1.0]).plot(tmp_path / "nowhere" / "a.png")


def test_without_matplotlib_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(
        ImportError, match=r"History.plot needs matplotlib: install it with `.* 'minidl\[plots\]'`"
    ):
        History(loss=[1.0]).plot()
