"""The examples: they run from any folder, reach their accuracy, and refuse nonsense in one line."""

from __future__ import annotations

import csv
import gzip
import importlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from programs import EXAMPLES, ROOT, environment, run_python

import minidl
from minidl import Tensor, nn

QUICK = ("--epochs", 1, "--batch-size", 500)  # for the digits, where the result does not matter
SCRIPTS = (
    "train_digits",
    "train_spirals",
    "train_csv",
    "predict_csv",
    "own_rule",
    "from_scratch",
    "show_program",
    "train_names",
    "train_cnn",
    "search",
)


class Output(NamedTuple):
    status: int
    out: str
    err: str


Run = Callable[..., Output]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import an example by its name, as running it would, and leave no trace in the environment."""
    for library in ("OPENBLAS", "OMP", "MKL"):
        monkeypatch.setenv(f"{library}_NUM_THREADS", os.environ.get(f"{library}_NUM_THREADS", "1"))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


@pytest.fixture
def run(example: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the ``main`` of an example with arguments, within this process."""

    def call(script: str, *argv: object) -> Output:
        main = example(script).main
        status = 0
        capsys.readouterr()
        try:
            main([str(argument) for argument in argv])
        except SystemExit as stop:
            status = int(stop.code or 0)
        return Output(status, *capsys.readouterr())

    return call


PROGRESS = re.compile(r"^epoch \d+/\d+ loss .*, \d+ s\n", re.MULTILINE)


def run_as_program(folder: Path, script: str, *argv: str, says: str = "", **variables: str) -> str:
    """Run an example as a user does, in another folder, and return what it printed.

    Beside its progress it says nothing else, or ``says``.
    """
    done = run_python(EXAMPLES / f"{script}.py", *argv, cwd=folder, **variables)
    assert done.returncode == 0, done.stderr
    assert PROGRESS.sub("", done.stderr) == says
    return done.stdout


def accuracy(output: str) -> float:
    """Return the last test accuracy that was printed, in percent."""
    return float(re.findall(r"test accuracy\s+([\d.]+) %", output)[-1])


def rows(output: str, first: str) -> dict[str, list[str]]:
    """Return the rows of the table whose header begins with ``first``, by their first cell."""
    lines = output.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(first)) + 2
    cells = (re.split(r"  +", line.replace(" %", "%")) for line in lines[start:])
    found: dict[str, list[str]] = {}
    for row in cells:
        if len(row) < 2:
            break
        found[row[0]] = row[1:]
    return found


def without_seconds(output: str) -> str:
    return re.sub(r"in [\d.]+ s\n", "", output)


@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_has_seen_enough_ends_a_script_quietly(buffered: bool) -> None:
    reads, writes = os.pipe()
    os.close(reads)  # as ``head`` does
    command = [
        sys.executable,
        *([] if buffered else ["-u"]),
        EXAMPLES / "show_program.py",
        "digits",
    ]
    env = {k: v for k, v in environment().items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, env=env, stdout=writes, stderr=subprocess.PIPE, timeout=120)
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, b"")


# --- The digits -----------------------------------------------------------------------------------


def test_digits_reach_97_percent_with_the_defaults_and_show_each_mistake(tmp_path: Path) -> None:
    output = run_as_program(tmp_path, "train_digits")
    assert accuracy(output) >= 97

    confusion = rows(output, "true \\ predicted")
    counts = np.array([[int(n.replace(".", "0")) for n in row[:10]] for row in confusion.values()])
    assert list(confusion) == list("0123456789")
    assert counts.sum() == 359
    wrong = counts.sum() - np.trace(counts)
    assert f"\n{wrong} of 359 were read wrong" in output
    assert accuracy(output) == round(100 * np.trace(counts) / 359, 1)
    captions = re.findall(r"true (\d), predicted (\d)", output)
    assert len(captions) == min(wrong, 8)
    for true, predicted in captions:
        assert counts[int(true), int(predicted)] > 0
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_each_of_the_five_rules_reaches_96_5_percent_in_the_comparison(tmp_path: Path) -> None:
    table = rows(run_as_program(tmp_path, "train_digits", "--compare"), "rule")
    assert list(table) == ["sgd", "momentum", "adagrad", "rmsprop", "adam"]
    for rule, (_, loss, right, seconds) in table.items():
        assert float(right.rstrip("%")) >= 96.5, rule
        assert float(loss) < 0.05, rule
        assert float(seconds) > 0


def test_a_seed_determines_the_output_and_another_seed_changes_it(tmp_path: Path) -> None:
    first = run_as_program(tmp_path, "train_digits", "--epochs=2", "--seed=3")
    again = run_as_program(tmp_path, "train_digits", "--epochs=2", "--seed=3")
    other = run_as_program(tmp_path, "train_digits", "--epochs=2", "--seed=4")
    assert without_seconds(first) == without_seconds(again) != without_seconds(other)


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adagrad", "rmsprop", "adam"])
def test_every_rule_can_be_chosen_and_takes_the_rate_given(run: Run, rule: str) -> None:
    output = run("train_digits", "--rule", rule, "--lr", 0.001, *QUICK).out
    assert f"{rule}, lr 0.001: test accuracy" in output


def test_digits_go_on_from_a_checkpoint_as_if_never_stopped(tmp_path: Path) -> None:
    run_as_program(tmp_path, "train_digits", "--epochs=2", "--checkpoint=run.npz")
    says = "fit: going on after epoch 2\n"
    again = ("train_digits", "--epochs=4", "--checkpoint=run.npz")
    resumed = run_as_program(tmp_path, *again, says=says)
    straight = run_as_program(tmp_path, "train_digits", "--epochs=4")
    assert without_seconds(resumed) == without_seconds(straight)
    assert "after 4 epochs" in resumed


@pytest.mark.parametrize(
    ("option", "value"),
    [("--seed", 1), ("--lr", 0.1), ("--batch-size", 32), ("--rule", "sgd")],
)
def test_a_checkpoint_of_a_run_with_other_settings_is_refused(
    run: Run, tmp_path: Path, option: str, value: object
) -> None:
    path = tmp_path / "run.npz"
    run("train_digits", *QUICK, "--checkpoint", path)
    before = path.read_bytes()
    refused = run("train_digits", *QUICK, "--checkpoint", path, option, value)
    assert refused.status == 2
    assert f"has another {option}" in refused.err
    assert path.read_bytes() == before


def test_a_file_that_is_no_checkpoint_is_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary")
    refused = run("train_digits", "--checkpoint", path)
    assert refused.status == 2
    assert "not a checkpoint" in refused.err

    minidl.save(path, {"weights": np.zeros(3)})
    refused = run("train_digits", "--checkpoint", path)
    assert refused.status == 2
    assert "no checkpoint of this script" in refused.err


def test_the_comparison_goes_on_when_a_rule_diverges(run: Run) -> None:
    output = run("train_digits", "--compare", "--lr", 1e30, "--epochs", 1)
    assert output.status == 0
    assert {row[1] for row in rows(output.out, "rule").values()} == {"diverged"}


def test_digits_are_drawn_with_what_the_terminal_can_print(
    example: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    digits = example("train_digits")
    image = np.array([[0.0, 1.0], [1.0, 0.0]])
    dark = digits.picture(image)[0][-1]
    assert digits.picture(image) == [f"  {dark * 2}", f"{dark * 2}  "]
    assert digits.gallery(np.stack([image] * 3), ["one", "two", "three"], across=2) == (
        f"one   two\n  {dark * 2}    {dark * 2}\n{dark * 2}    {dark * 2}\n\n"
        f"three\n  {dark * 2}\n{dark * 2}"
    )

    plain = run_as_program(tmp_path, "train_digits", "--epochs=1", PYTHONIOENCODING="ascii")
    assert plain.isascii()
    assert "@" in plain
    fine = run_as_program(tmp_path, "train_digits", "--epochs=1", PYTHONIOENCODING="utf-8")
    assert "█" in fine


# --- The spirals ----------------------------------------------------------------------------------


def test_spirals_reach_98_percent_and_the_map_shows_every_class(run: Run) -> None:
    output = run("train_spirals").out
    assert accuracy(output) >= 98
    drawing = "\n".join(line for line in output.splitlines() if len(line) == 64)
    assert {".", ":", " ", "o", "x", "#"} == set(drawing) - {"\n"}
    assert drawing.count("\n") == 29


def test_the_map_has_the_first_axis_to_the_right_and_the_second_upwards(
    example: Callable[[str], ModuleType],
) -> None:
    model = nn.Linear(2, 2)
    model.weight.data[:] = [[0, 0], [0, 1]]  # class 1 above, where y > 0
    spirals = example("train_spirals")
    points = np.array([[1.0, 1.0], [-1.0, 0.5], [9.0, 9.0]])  # the last lies off the map
    lines = spirals.draw(model, points, np.array([0, 1, 1]), width=25, height=25).splitlines()
    assert [len(line) for line in lines] == [25] * 25
    assert lines[2][22] == "o"
    assert lines[7][2] == "x"
    assert (lines[0], lines[-1]) == ("." * 25, " " * 25)
    assert sum(line.count("o") + line.count("x") for line in lines) == 2


@pytest.mark.parametrize("arms", [2, 6])
def test_spirals_take_other_numbers_of_arms(run: Run, arms: int) -> None:
    output = run("train_spirals", "--arms", arms, "--epochs", 1)
    assert output.status == 0
    assert f"{200 * arms} points to learn from, {100 * arms} to be tested on" in output.out


# --- Names ----------------------------------------------------------------------------------------


def last_test_loss(output: str) -> float:
    return float(re.findall(r"test loss ([\d.]+)", output)[-1])


def test_names_are_learned_and_new_ones_invented(run: Run) -> None:
    output = run("train_names", "--steps", 300, "--sample", 12).out
    assert last_test_loss(output) < 2.2  # the whole run comes to 1.92, counted pairs to 2.34
    names = output.split("\n\n")[1].splitlines()
    assert len(names) == 12
    assert set("".join(names)) <= set("abcdefghijklmnopqrstuvwxyz")
    new = int(re.search(r"(\d+) of these 12 names are new", output)[1])  # type: ignore[index]
    assert new == len(set(names) - set(minidl.data.load_names()))
    short = ("train_names", "--steps", 20, "--sample", 3)
    assert run(*short).out == run(*short).out


def test_a_text_of_ones_own_is_learned_and_continued(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    path.write_text("öne twö\nthree\n" * 200, encoding="utf-8")
    output = run("train_names", "--text", path, "--steps", 150, "--sample", 5).out
    assert last_test_loss(output) < 0.3
    lines = output.split("\n\n", 1)[1].splitlines()
    assert len(lines) == 5
    assert {"öne twö", "three"} & set(lines)
    assert "are new" not in output


# --- The user's own file --------------------------------------------------------------------------


def test_iris_reaches_95_percent_over_five_splits(run: Run) -> None:
    outputs = [run("train_csv", "--seed", seed).out for seed in range(5)]
    assert np.mean([accuracy(output) for output in outputs]) >= 95
    classes = rows(outputs[0], "class")
    assert list(classes) == ["setosa", "versicolor", "virginica"]
    assert [row[:2] for row in classes.values()] == [["40", "10"]] * 3
    assert list(rows(outputs[0], "true \\ predicted")) == list(classes)


def test_a_file_of_ones_own_is_learned(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "fruit.csv"
    lines = ["weight;color;kind"]
    for kind, weight, color in (("apple", 150, 0.3), ("cherry", 8, 0.9), ("lemon", 100, 0.1)):
        for _ in range(20):
            noisy = f"{weight * rng.uniform(0.9, 1.1):.2f};{color + 0.05 * rng.normal():.3f}"
            lines.append(f"{noisy};{kind}")
    path.write_text("\n".join(lines) + "\n")
    output = run("train_csv", path, "--target", "kind", "--delimiter", ";", "--epochs", 30)
    assert output.status == 0
    assert "60 rows, features: weight, color\n" in output.out
    assert accuracy(output.out) == 100
    assert list(rows(output.out, "class")) == ["apple", "cherry", "lemon"]

    path.write_text(path.read_text().replace(";", "\t"))
    tabs = run("train_csv", path, "--target", "kind", "--delimiter", "tab", "--epochs", 30)
    assert tabs.out == output.out


def test_a_regression_is_far_better_than_the_mean(run: Run, tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    y = 1000 + 50 * (x[:, 0] - x[:, 1] ** 2)  # far from mean 0 and spread 1
    path = tmp_path / "numbers.csv"
    table = np.column_stack([x, y])
    np.savetxt(path, table, delimiter=",", header="a,b,size", comments="", fmt="%.6f")
    output = run("train_csv", path, "--target", "size", "--task", "regression", "--epochs", 40)
    errors = rows(output.out, "prediction")
    assert list(errors) == ["always the mean", "the network"]
    for mean, network in zip(*errors.values(), strict=True):
        assert float(network) < 0.2 * float(mean)


def test_the_demonstration_of_a_regression_runs(run: Run) -> None:
    output = run("train_csv", "--task", "regression", "--epochs", 5)
    assert output.status == 0
    assert "target 'petal width (cm)'" in output.out
    assert "the network" in output.out


def test_classes_that_were_never_predicted_have_no_precision(
    example: Callable[[str], ModuleType], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = example("train_csv")
    always_first = lambda model, x: np.eye(3)[np.zeros(len(x), int)]
    monkeypatch.setattr(script.minidl, "predict", always_first)
    table = rows(run("train_csv", "--epochs", 1).out, "class")
    assert table["setosa"] == ["40", "10", "10", "100.0%", "33.3%"]
    assert table["virginica"] == ["40", "10", "0", "0.0%", "-"]


# --- A table, a model in a file, predictions ------------------------------------------------------

FRUIT = {"apple": (150, 0.3, "red"), "cherry": (8, 0.9, "red"), "lemon": (100, 0.1, "yellow")}


def fruit(n: int, rng: np.random.Generator, gaps: bool = True) -> list[list[str]]:
    """Rows of a table with an id, numbers, words, true/false, dates and gaps."""
    lines = []
    for i in range(n):
        kind = list(FRUIT)[i % 3]
        weight, sweetness, color = FRUIT[kind]
        row = [f"{1000 + i}", f"{weight * rng.uniform(0.9, 1.1):.2f}"]
        row += [f"{sweetness + 0.05 * rng.normal():.3f}", color, str(i % 2 == 0).lower()]
        row += [f"2024-0{1 + i % 9}-15", kind]
        if gaps and i % 7 == 0:
            row[1 + i % 3] = ("", "NA")[i % 2]
        lines.append(row)
    return lines


NAMES = ["id", "weight", "sweetness", "color", "ripe", "day", "kind"]


def write(
    path: Path, rows: list[list[str]], names: list[str] | None = None, sep: str = ","
) -> Path:
    lines = [names or NAMES, *rows]
    path.write_text("\n".join(map(sep.join, lines)) + "\n", encoding="utf-8")
    return path


def read_back(path: Path, sep: str = ",") -> tuple[list[str], list[list[str]]]:
    with open(path, encoding="utf-8", newline="") as file:
        names, *found = csv.reader(file, delimiter=sep)
    return names, found


@pytest.fixture
def fruit_model(run: Run, tmp_path: Path) -> Path:
    """A model of fruit in a file."""
    path = write(tmp_path / "fruit.csv", fruit(90, np.random.default_rng(0)))
    options = ["--target", "kind", "--ignore", "id", "--missing", "impute", "--epochs", 20]
    output = run("train_csv", path, *options, "--save", tmp_path / "fruit.npz")
    assert output.status == 0, output.err
    assert "weight     numbers" in output.out
    assert "color      words       2 categories: red, yellow; " in output.out
    assert "always apple, the most frequent class, would be right in 33.3 %" in output.out
    assert accuracy(output.out) == 100
    assert f"predict_csv.py {tmp_path / 'fruit.npz'} NEW.csv -o predictions.csv" in output.out
    return tmp_path / "fruit.npz"


def test_a_saved_model_predicts_new_rows_with_probabilities(
    run: Run, fruit_model: Path, tmp_path: Path
) -> None:
    rows = fruit(12, np.random.default_rng(1))
    order = [6, 4, 1, 2, 3, 5, 0]  # the order of the columns does not count
    names = [NAMES[i] for i in order]
    new = write(tmp_path / "new.csv", [[row[i] for i in order] for row in rows], names)
    output = run("predict_csv", fruit_model, new, "-o", tmp_path / "out.csv")
    assert output.status == 0, output.err
    assert f"12 rows predicted, written to {tmp_path / 'out.csv'}\n" in output.err
    assert "100.0 % of 12 rows with a 'kind' are right" in output.err
    columns, found = read_back(tmp_path / "out.csv")
    assert columns[:8] == [*names, "predicted kind"]
    assert columns[8:] == [f"probability of {kind}" for kind in FRUIT]
    for row, line in zip(rows, found, strict=True):
        assert line[:7] == [row[i] for i in order]  # as they stood in the file
        assert line[7] == row[6]
        shares = [float(text) for text in line[8:]]
        assert sum(shares) == pytest.approx(1, abs=2e-4)
        assert max(shares) == shares[list(FRUIT).index(row[6])]


def test_predictions_need_no_target_and_go_to_the_terminal(
    run: Run, fruit_model: Path, tmp_path: Path
) -> None:
    rows = [row[:6] for row in fruit(3, np.random.default_rng(1))]
    new = write(tmp_path / "new.csv", rows, NAMES[:6])
    output = run("predict_csv", fruit_model, new, "--keep", "id")
    assert output.err == "3 rows predicted\n"
    lines = output.out.splitlines()
    assert lines[0].startswith("id,predicted kind,probability of apple,")
    assert [line.split(",")[:2] for line in lines[1:]] == [
        ["1000", "apple"], ["1001", "cherry"], ["1002", "lemon"],
    ]  # fmt: skip


def test_an_unseen_word_is_told_and_an_unknown_class_too(
    run: Run, fruit_model: Path, tmp_path: Path
) -> None:
    rows = fruit(6, np.random.default_rng(1), gaps=False)
    rows[2][3], rows[3][6], rows[4][6] = "green", "pear", ""
    new = write(tmp_path / "new.csv", rows)
    output = run("predict_csv", fruit_model, new, "-o", tmp_path / "out.csv")
    assert output.status == 0
    assert "note: " in output.err
    assert "'color' in 1 of 6 rows, such as 'green'" in output.err
    assert "cannot be compared with the column 'kind'" in output.err
    assert "'pear' in line 5 is none of the classes" in output.err
    rows[3][6] = "apple"
    write(tmp_path / "new.csv", rows)
    again = run("predict_csv", fruit_model, new, "-o", tmp_path / "out.csv")
    assert "100.0 % of 5 rows with a 'kind' are right" in again.err


def test_a_new_table_that_does_not_fit_is_refused_in_one_line(
    run: Run, fruit_model: Path, tmp_path: Path
) -> None:
    rows = fruit(6, np.random.default_rng(1), gaps=False)
    renamed = [name.replace("sweetness", "sugar") for name in NAMES]
    words = [[*row[:1], "heavy", *row[2:]] for row in rows]
    mixed = [*rows[:3], [*rows[3][:1], "heavy", *rows[3][2:]], *rows[4:]]
    cases = [
        (write(tmp_path / "a.csv", rows, renamed), [], "lacks 1 of the 5 columns"),
        (write(tmp_path / "a.csv", rows, renamed), [], "learned from: 'sweetness'; it has 'id'"),
        (write(tmp_path / "b.csv", words), [], "'heavy'"),
        (write(tmp_path / "c.csv", mixed), [], "c.csv, line 5, column 'weight': 'heavy' is not a"),
        (write(tmp_path / "d.csv", rows), ["--delimiter", ";"], "--delimiter"),
        (write(tmp_path / "e.csv", rows), ["--keep", "name"], "no column 'name' for --keep"),
        (write(tmp_path / "f.csv", rows), ["-o", tmp_path / "f.csv"], "would overwrite"),
        (write(tmp_path / "g.csv", rows), ["-o", fruit_model], "would overwrite"),
        (
            write(tmp_path / "h.csv", rows, [*NAMES[:6], "predicted kind"]),
            [],
            "has a column 'predicted kind' already: --keep",
        ),
        (tmp_path / "no_such.csv", [], "no_such.csv"),
        (write(tmp_path / "i.csv", rows), ["-o", tmp_path / "no" / "i.csv"], "there is no folder"),
        (write(tmp_path / "i.csv", rows), ["-o", tmp_path], "that is a folder"),
    ]
    for path, options, message in cases:
        output = run("predict_csv", fruit_model, path, *options)
        assert (output.status, output.out) == (2, ""), path
        assert message in output.err
        assert len(output.err.splitlines()) == 1
        assert "--ignore" not in output.err  # no option of predict_csv
        assert "Encoder" not in output.err


def test_gaps_in_new_rows_alone_are_sent_back_to_the_training(run: Run, tmp_path: Path) -> None:
    rows = [[str(i), ("x", "y")[i % 2]] for i in range(20)]
    path, model = write(tmp_path / "a.csv", rows, ["a", "kind"]), tmp_path / "m.npz"
    options = ["--target", "kind", "--epochs", 1, "--save", model]
    assert run("train_csv", path, *options).status == 0
    rows[3][0] = ""
    output = run("predict_csv", model, write(path, rows, ["a", "kind"]))
    assert (output.status, output.out) == (2, "")
    assert "'a' lacks 1 of 20 values, first in line 5" in output.err
    assert "remove such rows, or learn anew with --missing impute, which puts" in output.err
    assert "--ignore" not in output.err  # no option of predict_csv


def test_a_file_that_is_no_model_is_refused_in_one_line(
    run: Run, fruit_model: Path, tmp_path: Path
) -> None:
    new = write(tmp_path / "new.csv", fruit(6, np.random.default_rng(1)))
    whole, bad = fruit_model.read_bytes(), tmp_path / "bad.npz"

    def changed(**parts: object) -> Callable[[], None]:
        def make() -> None:
            minidl.save(bad, minidl.load(fruit_model) | parts)

        return make

    state = minidl.load(fruit_model)
    large = {"class": "Linear", "in_features": 10**6, "out_features": 10**6}
    small = nn.describe(nn.Sequential(nn.Linear(2, 3)))
    other = nn.Sequential(nn.Linear(2, 3)).state_dict()
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: bad.write_bytes(whole[:-20]), "cut short"),
        (lambda: bad.write_text("dear diary"), "not a checkpoint"),
        (lambda: np.savez(bad, weights=np.ones(3)), "minidl.save did not write"),
        (lambda: minidl.save(bad, {"weights": np.ones(3)}), "something else than a model"),
        (changed(version=2), "has version 2, and this program reads version 1"),
        (changed(model=large), "has more than"),
        (changed(model={"class": "os.system"}), "is of class 'os.system', which is not known"),
        (changed(weights=state["weights"] | {"x": np.ones(2)}), "x is unexpected"),
        (changed(weights=other, model=small), "does not fit a weight"),
        (changed(encoder={}), "is damaged or was made otherwise"),
        (changed(reading=state["reading"] | {"delimiter": 5}), "'delimiter' of its options"),
        (changed(results={}), "is damaged or was made otherwise"),
    ]
    for make, message in cases:
        bad.unlink(missing_ok=True)
        make()
        output = run("predict_csv", bad, new)
        assert (output.status, output.out) == (2, ""), message
        assert message in output.err
        assert len(output.err.splitlines()) == 1


def test_a_regression_is_predicted_in_the_unit_of_its_target(run: Run, tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (120, 2))
    y = 1000 + 50 * (x[:, 0] - x[:, 1])
    rows = [[f"{a:.4f}", f"{b:.4f}", f"{c:.2f}"] for (a, b), c in zip(x, y, strict=True)]
    rows[0][2] = rows[50][2] = ""
    path = write(tmp_path / "numbers.csv", rows, ["a", "b", "size"], sep=";")
    options = ["--target", "size", "--epochs", 40, "--save", tmp_path / "m.npz"]
    output = run("train_csv", path, *options)
    assert output.status == 0, output.err
    assert "note: 2 rows without a 'size' are left out\n" in output.err
    assert "always the mean" in output.out
    output = run("predict_csv", tmp_path / "m.npz", path, "-o", tmp_path / "out.csv")
    assert "in 118 rows with a 'size'" in output.err
    columns, found = read_back(tmp_path / "out.csv", ";")
    assert columns == ["a", "b", "size", "predicted size"]
    predicted = [float(row[3]) for row in found]
    np.testing.assert_allclose(predicted, y, atol=15)


def test_a_file_without_names_is_learned_and_predicted(run: Run, tmp_path: Path) -> None:
    first, *others = [row[1:3] + row[6:] for row in fruit(60, np.random.default_rng(0), False)]
    path = write(tmp_path / "fruit.tsv", others, first, sep="\t")
    model = tmp_path / "m.npz"
    options = ["--target", "-1", "--no-header", "--epochs", 20, "--save", model]
    output = run("train_csv", path, *options)
    assert "60 rows, features: 0, 1\n" in output.out
    output = run("predict_csv", model, path)
    assert "100.0 % of 60 rows with a '2' are right" in output.err
    assert output.out.startswith("0\t1\t2\tpredicted 2\tprobability of apple\t")
    refused = run("predict_csv", model, path, "--header")
    assert refused.status == 2
    assert "--no-header" in refused.err


def test_a_network_that_learns_nothing_is_said_to_be_no_better(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [[f"{rng.normal():.3f}", ("x", "y")[i % 3 == 0]] for i in range(60)]
    path = write(tmp_path / "noise.csv", rows, ["a", "kind"])
    output = run("train_csv", path, "--target", "kind", "--epochs", 1, "--lr", 0)
    assert "the network is no better than that guess" in output.out or accuracy(output.out) > 66


def test_a_rare_class_that_is_not_found_is_said_to_need_weights(run: Run, tmp_path: Path) -> None:
    rows = [[str(i % 7), "fraud" if i % 50 == 0 else "good"] for i in range(200)]
    path = write(tmp_path / "rare.csv", rows, ["a", "kind"])
    output = run("train_csv", path, "--target", "kind", "--epochs", 2)
    assert "no better than that guess" in output.out
    assert "(more of a class as rare as fraud is found if its rows weigh more" in output.out


def test_a_table_of_another_country_is_learned_and_predicted(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="decimal commas and such dates are read by pandas")
    rows = fruit(60, np.random.default_rng(0), gaps=False)
    for row in rows:
        row[1:3] = [text.replace(".", ",") for text in row[1:3]]
        year, month, day = row[5].split("-")
        row[5] = f"{day}.{month}.{year}"
    rows[5][3] = "?"
    path = write(tmp_path / "obst.csv", rows, sep=";")
    path.write_bytes(path.read_text("utf-8").replace("yellow", "gr\xfcn").encode("cp1252"))
    reading = ["--encoding", "cp1252", "--decimal", ",", "--date", "day", "%d.%m.%Y"]
    reading += ["--missing-word", "?"]
    options = ["--target", "kind", "--ignore", "id", "--missing", "impute", "--epochs", 20]
    output = run("train_csv", path, *reading, *options, "--save", tmp_path / "m.npz")
    assert output.status == 0, output.err
    assert "day        dates" in output.out
    assert "2 categories: gr\xfcn, red; 1 missing" in output.out
    output = run("predict_csv", tmp_path / "m.npz", path, "-o", tmp_path / "out.csv")
    assert "100.0 % of 60 rows with a 'kind' are right" in output.err
    _, found = read_back(tmp_path / "out.csv", ";")
    assert re.fullmatch(r"[01],\d{4}", found[0][-1])


def test_dates_among_numbers_with_divided_thousands_are_no_numbers(
    run: Run, tmp_path: Path
) -> None:
    pytest.importorskip("pandas", reason="divided thousands are read by pandas")
    rows = [[f"1.{i:03},5", f"{i % 28 + 1}.12.2024", ("x", "y")[i % 2]] for i in range(40)]
    path = write(tmp_path / "a.csv", rows, ["a", "bought", "kind"], sep=";")
    options = ["--target", "kind", "--decimal", ",", "--thousands", ".", "--epochs", 1]
    options += ["--save", tmp_path / "m.npz"]
    refused = run("train_csv", path, *options)
    assert refused.status == 2
    assert "line 2, column 'bought': '1.12.2024' is no number" in refused.err
    assert "pass --date bought %d.%m.%Y if it is a date" in refused.err
    assert run("train_csv", path, *options, "--date", "bought", "%d.%m.%Y").status == 0
    # What no one learns from may be written in whatever way.
    ignored = run("train_csv", path, *options, "--ignore", "bought")
    assert ignored.status == 0, ignored.err
    output = run("predict_csv", tmp_path / "m.npz", path)
    assert output.status == 0, output.err
    assert "of 40 rows with a 'kind' are right" in output.err


@pytest.mark.parametrize("by_pandas", [True, False])
def test_a_new_table_is_read_once_unless_its_target_cannot_be_read(
    example: Callable[[str], ModuleType],
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_pandas: bool,
) -> None:
    if by_pandas:
        pytest.importorskip("pandas", reason="divided thousands are read by pandas")
    options = ["--thousands", " "] if by_pandas else []
    rows = [[str(i % 7), str(i)] for i in range(40)]
    path = write(tmp_path / "a.csv", rows, ["a", "size"])
    model = tmp_path / "m.npz"
    assert run("train_csv", path, "--target", "size", *options, "--save", model).status == 0
    script, read = example("predict_csv"), []
    whole = script.read
    monkeypatch.setattr(script, "read", lambda *args: read.append(args) or whole(*args))
    assert "rows with a 'size'" in run("predict_csv", model, path).err
    assert len(read) == 1
    rows[5][1] = "1 2" if by_pandas else "large"
    write(path, rows, ["a", "size"])
    output = run("predict_csv", model, path)
    assert output.status == 0
    assert "cannot be compared with the column 'size'" in output.err
    assert "line 7, column 'size'" in output.err
    assert len(read) == 3


def test_what_needs_pandas_says_how_to_install_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    path = write(tmp_path / "fruit.csv", fruit(30, np.random.default_rng(0), gaps=False))
    for options in (["--decimal", ","], ["--missing-word", "?"], ["--date", "day", "%Y-%m-%d"]):
        output = run("train_csv", path, "--target", "kind", "--delimiter", ";", *options)
        assert output.status == 2
        assert f"{options[0]} needs pandas: install it with" in output.err
        assert "minidl[tables]" in output.err


def test_pandas_and_csv_read_a_plain_file_alike(
    example: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pandas", reason="the two ways to read a file are compared")
    tables = example("_tables")
    path = write(tmp_path / "fruit.csv", fruit(60, np.random.default_rng(0)))
    states = []
    for largest in (tables._LARGE, 0):
        monkeypatch.setattr(tables, "_LARGE", largest)
        read = tables.read(str(path), tables.READING)
        encoder = minidl.data.TableEncoder("kind", missing="impute", ignore=["id"])
        encoder.fit(read.columns)
        states.append((encoder.state_dict(), encoder.transform(read.columns).tobytes()))
    assert states[0] == states[1]


def test_the_commands_of_the_page_print_what_it_says(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "first-model.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:sh|text)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    train, trained, predict, predicted, new, predictions = blocks[:6]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["examples/train_csv.py"])
    files = tmp_path / "minidl" / "data" / "files"
    files.mkdir(parents=True)
    shutil.copy(ROOT / "minidl" / "data" / "files" / "penguins.csv", files)
    (tmp_path / "NEW.csv").write_text(new)
    plain = lambda text: re.sub(r"(?<!\S)(\d[\d.]*|\.)(?!\S)", "#", text).split()
    output = run("train_csv", *shlex.split(train)[2:]).out
    assert plain(output) == plain(trained)
    assert accuracy(output) == pytest.approx(accuracy(trained), abs=3)  # processors differ
    assert run("predict_csv", *shlex.split(predict)[2:]).err == predicted
    names, *rows = csv.reader((tmp_path / "predictions.csv").read_text().splitlines())
    expected_names, *expected = csv.reader(predictions.splitlines())
    assert names == expected_names
    for row, line in zip(rows, expected, strict=True):
        assert row[:6] == line[:6]
        np.testing.assert_allclose([*map(float, row[6:])], [*map(float, line[6:])], atol=0.1)


# --- A rule of one's own, and the loop written out ------------------------------------------------


def test_the_own_rule_learns_beside_the_five(tmp_path: Path) -> None:
    table = rows(run_as_program(tmp_path, "own_rule", "--epochs", "15"), "rule")
    assert set(table) == {"lion", "sgd", "momentum", "adagrad", "rmsprop", "adam"}
    assert float(table["lion"][2].rstrip("%")) >= 95


def test_the_own_rule_is_the_published_one(example: Callable[[str], ModuleType]) -> None:
    start = np.array([1.0, -2.0, 3.0])
    gradients = np.array([[0.5, -1.0, 0.0], [-4.0, 2.0, 1.0], [0.1, 0.1, -0.1]])
    x = Tensor(start.copy(), requires_grad=True)
    optimizer = example("own_rule").Lion([x], lr=0.25)
    expected, m = start.copy(), np.zeros(3)
    for g in gradients:
        optimizer.zero_grad()
        (x * g).sum().backward()
        optimizer.step()
        expected = expected - 0.25 * np.sign(0.9 * m + 0.1 * g)
        m = 0.99 * m + 0.01 * g
        np.testing.assert_allclose(x.data, expected, rtol=1e-12)


def test_the_loop_written_out_reaches_97_percent(tmp_path: Path) -> None:
    output = run_as_program(tmp_path, "from_scratch")
    assert accuracy(output) >= 97
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", output)]
    assert len(losses) == 15
    assert losses[-1] < 0.1 * losses[0]


def test_the_program_stands_beside_its_layers(run: Run) -> None:
    output = run("show_program", "digits", "--rule", "momentum").out
    lines = [line.strip() for line in output.splitlines()]
    start = lines.index("3: Linear(128, 128)")
    assert lines[start + 1].startswith("y_2.dot(weight_3_T, out=y_3)")
    assert lines.index("backwards", start) < lines.index("the update: Momentum")
    assert "np.empty" not in output
    assert "y_0 = " in run("show_program", "--setup").out


@pytest.mark.parametrize("network", ["small", "digits", "spirals"])
def test_the_plain_program_is_a_module(run: Run, network: str) -> None:
    space: dict[str, Any] = {}
    exec(run("show_program", network, "--plain").out, space)
    assert callable(space["program"])


# --- Images ---------------------------------------------------------------------------------------


def test_convolutions_reach_99_percent_with_the_defaults(tmp_path: Path) -> None:
    output = run_as_program(tmp_path, "train_cnn")
    assert accuracy(output) >= 99
    confusion = rows(output, "true \\ predicted")
    counts = np.array([[int(n.replace(".", "0")) for n in row[:10]] for row in confusion.values()])
    wrong = counts.sum() - np.trace(counts)
    assert counts.sum() == 359
    assert f"\n{wrong} of 359 were read wrong" in output
    assert list(tmp_path.iterdir()) == []


def write_idx(path: Path, numbers: np.ndarray, packed: bool) -> None:
    header = bytes([0, 0, 8, numbers.ndim]) + np.array(numbers.shape, ">u4").tobytes()
    content = header + numbers.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if packed else content)


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """Files as MNIST has them: the digits of minidl, enlarged, 256 and 64 of them."""
    x, y = minidl.data.load_digits()
    images = np.pad(x.reshape(-1, 8, 8) * 15, ((0, 0), (3, 3), (3, 3))).repeat(2, 1).repeat(2, 2)
    for name, part, packed in (("train", slice(256), True), ("t10k", slice(256, 320), False)):
        end = ".gz" if packed else ""
        write_idx(tmp_path / f"{name}-images-idx3-ubyte{end}", images[part], packed)
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte{end}", y[part], packed)
    return tmp_path


def test_a_lenet_learns_from_the_files_of_mnist(run: Run, mnist: Path) -> None:
    output = run("train_cnn", "--idx", mnist, "--epochs", 8).out
    assert "256 digits to learn from, 64 to be tested on" in output
    assert accuracy(output) > 60
    picture = [line for line in output.splitlines() if "\u2588" in line or "@" in line]
    assert picture
    assert max(map(len, picture)) < 70


def test_files_of_other_images_or_none_are_refused(run: Run, mnist: Path) -> None:
    write_idx(mnist / "t10k-images-idx3-ubyte", np.zeros((64, 20, 20)), False)
    refused = run("train_cnn", "--idx", mnist)
    assert refused.status == 2
    assert "t10k-images-idx3-ubyte has shape (64, 20, 20)" in refused.err
    (mnist / "t10k-labels-idx1-ubyte").rename(mnist / "t10k-labels.idx1-ubyte")
    assert "expected (N, 28, 28)" in run("train_cnn", "--idx", mnist).err
    (mnist / "train-labels-idx1-ubyte.gz").unlink()
    refused = run("train_cnn", "--idx", mnist)
    assert "there is no file" in refused.err
    assert "train-labels-idx1-ubyte" in refused.err
    assert len(refused.err.splitlines()) == 1


def test_a_run_of_convolutions_goes_on_from_its_checkpoint(run: Run, tmp_path: Path) -> None:
    run("train_cnn", "--epochs", 1, "--checkpoint", tmp_path / "run.npz")
    again = run("train_cnn", "--epochs", 2, "--checkpoint", tmp_path / "run.npz").out
    straight = run("train_cnn", "--epochs", 2).out
    assert without_seconds(again) == without_seconds(straight)


# --- What is wrong is said in one line ------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "argv", "message"),
    [
        ("train_digits", ["--rule", "newton"], "invalid choice: 'newton'"),
        ("train_digits", ["--lr", "-1"], "Adam: lr is a finite number, at least 0, got -1"),
        ("train_digits", ["--lr", "nan"], "got nan"),
        ("train_digits", ["--lr", "fast"], "invalid float value: 'fast'"),
        ("train_digits", ["--lr", "1e30"], "the loss is nan in step 2"),
        ("train_digits", ["--epochs", "0"], "--epochs: a whole number of at least 1, got '0'"),
        ("train_digits", ["--epochs", "2.5"], "--epochs: a whole number of at least 1"),
        ("train_digits", ["--batch-size", "-4"], "--batch-size: a whole number of at least 1"),
        ("train_digits", ["--batch-size", "1"], "two values per channel"),
        ("train_digits", ["--batch-size", "9999"], "more than the 1438 samples"),
        ("train_digits", ["--seed", "-1"], "is a whole number of at least 0, got -1"),
        ("train_digits", ["--speed", "9"], "unrecognized arguments: --speed 9"),
        ("train_digits", ["--compare", "--rule", "sgd"], "not allowed with argument --compare"),
        ("train_digits", ["--compare", "--checkpoint", "x"], "leave one of them out"),
        ("train_digits", ["--checkpoint", "no/such/folder/x"], "no such folder"),
        ("train_spirals", ["--arms", "1"], "arms is a whole number of at least 2, got 1"),
        ("train_spirals", ["--arms", "7"], "--arms is at most 6"),
        ("train_spirals", ["--noise", "-1"], "noise, a standard deviation, is a finite number"),
        ("train_spirals", ["--lr", "-1"], "lr is a finite number"),
        ("train_csv", ["--lr", "-1"], "lr is a finite number, at least 0"),
        ("train_csv", ["--weight-decay", "-1"], "weight_decay is a finite number"),
        ("train_csv", ["--delimiter", "ab"], "one character, or tab, got 'ab'"),
        ("train_csv", ["--test-size", "1.5"], "is a finite number, above 0 and below 1"),
        ("train_csv", ["--task", "sorting"], "invalid choice: 'sorting'"),
        ("train_csv", ["no_such.csv", "--target", "x"], "no_such.csv"),
        ("train_csv", ["no_such.csv"], "FILE and --target belong together"),
        ("train_csv", ["--target", "x"], "FILE and --target belong together"),
        ("train_names", ["--text", "no_such.txt"], "no_such.txt"),
        ("train_names", ["--text", __file__, "--steps", "0"], "--steps: a whole number of at"),
        ("train_names", ["--text", os.devnull], "has 0 characters: give it 1280 at least"),
        ("train_names", ["--sample", "0"], "--sample: a whole number of at least 1"),
        ("train_cnn", ["--lr", "-1"], "Adam: lr is a finite number, at least 0, got -1"),
        ("train_cnn", ["--epochs", "0"], "--epochs: a whole number of at least 1, got '0'"),
        ("train_cnn", ["--idx", "no_such_folder"], "nor a folder no_such_folder"),
        ("own_rule", ["--lr", "-1"], "Lion: lr is a finite number"),
        ("from_scratch", ["--lr", "-1"], "Adam: lr is a finite number"),
        ("from_scratch", ["--epochs", "0"], "--epochs: a whole number of at least 1"),
    ],
)
def test_wrong_arguments_give_status_2_and_one_line(
    run: Run, script: str, argv: list[str], message: str
) -> None:
    output = run(script, *argv)
    assert output.status == 2
    assert message in output.err
    assert len(output.err.splitlines()) == 1
    assert ": error: " in output.err


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,x\n2,y\n", [], "no column 'kind'"),
        ("a,kind\n1,x\ntwo,y\n", [], "line 3"),
        ("a,kind\n1,x\n2,x\n3,x\n", [], "at least 2 different classes"),
        ("a,kind\n1,x\n2,x\n3,y\n", [], "class y has one member, and each needs 2"),
        ("a,kind\n1,x\n2,x\n3,y\n", [], "remove such rows, or join them to others\n"),
        ("a,kind\n1,1\n2,1\n3,1\n4,-2\n", [], "or is the target a number, --task regression?\n"),
        ("a,kind\n1,\n2,NA\n", [], "table.csv: no row has a value in the target, 'kind'"),
        ("a,kind\n1,5\n2,5\n3,5\n4,5\n", ["--task", "regression"], "nothing to learn"),
        ("a,kind\n1,x\n2,y\n", ["--task", "regression"], "pass --task classification"),
        ("a,kind\n1.5,x\n,y\n", [], "'a' lacks 1 of 2 values, first in line 3"),
        ("a,kind\n1.5,x\n,y\n", [], "or pass --missing impute"),
        ("a;kind\n1,5;x\n2,5;y\n", [], "with --decimal , if the comma"),
        ("a;kind\n1,5;x\n2.000,5;y\n", [], "with --decimal , --thousands . if the comma"),
        ("a;kind\n1,5;x\n2;y\n", [], "'1,5' is not a number"),
        ("a,kind\n?,x\n2,y\n3,y\n", [], "add --missing-word '?' if that means a missing value"),
        ("a,kind\nA1,x\n2,y\n3,y\n", [], "--categories a if the column holds codes"),
        ("a,kind\n01.02.2024,x\n03.14.2024,y\n", [], "with --date a %m.%d.%Y; if they are"),
        ("My fruit\n\na,kind\n1,x\n2,y\n", [], "a title in the first line must be removed"),
        ("a,kind\n1,x\n2,y\n", ["--ignore", "id"], "no column 'id' for --ignore"),
        ("1,x\n2,y\n", [], "add --no-header"),
        ("a,a,kind\n1,2,x\n", [], "two columns 'a'"),
        ("a,kind\n1,2,x\n", [], "line 2: 3 fields, but the first line has 2"),
        ("a,kind\n", [], "no rows of data"),
        ("\n\n", [], "is empty"),
        ('a,kind\n"1,x\n', [], "line 2: broken CSV"),
        ("a,kind\n1,\xe4\n2,y\n", ["--encoding", "ascii"], "is not ascii text"),
        ("a,kind\n1,x\n2,y\n", ["--encoding", "utf-9"], "--encoding utf-9 is not known"),
        ("a,kind\n1,x\n2,y\n", ["--save", "no_such_folder/m.npz"], "there is no folder"),
        ("a,kind\n1,x\n2,y\n", ["--save", "."], "that is a folder"),
        ("PK\3\4", [], "no CSV file but an archive"),
    ],
)
def test_a_file_that_cannot_be_learned_gives_status_2_and_one_line(
    run: Run, tmp_path: Path, text: str, options: list[str], message: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    output = run("train_csv", path, "--target", "kind", "--test-size", 0.3, *options)
    assert output.status == 2
    assert message in output.err
    assert len(output.err.splitlines()) == 1


def test_a_loss_that_is_not_finite_ends_the_loop_written_out(run: Run) -> None:
    with np.errstate(all="ignore"):
        output = run("from_scratch", "--lr", 1e30, "--epochs", 1)
    assert output.status == 2
    assert "take a smaller --lr" in output.err


def test_ctrl_c_ends_a_script_without_a_traceback(
    example: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    parser = example("_shared").Parser("")
    with pytest.raises(SystemExit, match="130"), parser.one_line_errors():
        raise KeyboardInterrupt
    assert "stopped" in capsys.readouterr().err


def test_ctrl_c_within_an_epoch_still_shows_what_was_learned(
    example: Callable[[str], ModuleType], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = example("train_digits")

    class Stopping(digits.optim.Adam):  # type: ignore[name-defined, misc]
        def count_step(self, n: int = 1) -> None:
            super().count_step(n)
            if self.steps == 5:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setitem(digits.RULES, "momentum", (Stopping, 0.002))
    output = run("train_digits", "--rule", "momentum")
    assert output.status == 130
    assert "after 0 epochs" in output.out
    assert "were read wrong" in output.out
    compared = run("train_digits", "--compare", "--epochs", 1)
    assert compared.status == 130
    assert list(rows(compared.out, "rule")) == ["sgd"]
    monkeypatch.setitem(digits.RULES, "sgd", (Stopping, 0.002))
    compared = run("train_digits", "--compare", "--epochs", 1)
    assert compared.status == 130
    assert "rule" not in compared.out


@pytest.mark.parametrize(
    ("script", "options", "shown"),
    [
        ("train_digits", [], "were read wrong"),
        ("train_digits", ["--compare"], "sgd ..."),
        ("train_spirals", [], "test accuracy"),
        ("train_csv", [], "test accuracy"),
        ("train_csv", ["--task", "regression"], "the network"),
        ("train_names", [], ""),
        ("own_rule", [], "lion ..."),
        ("from_scratch", [], ""),
        ("train_cnn", [], "were read wrong"),
        ("optimizer_race", [], ""),
    ],
)
def test_ctrl_c_ends_every_script_with_status_130_and_what_it_knows(
    run: Run, monkeypatch: pytest.MonkeyPatch, script: str, options: list[str], shown: str
) -> None:
    count_step, pressed = minidl.optim.Optimizer.count_step, 0

    def pressing(self: minidl.optim.Optimizer, n: int = 1) -> None:
        nonlocal pressed
        count_step(self, n)
        if self.steps == 5 and not pressed:
            pressed += 1
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(minidl.optim.Optimizer, "count_step", pressing)
    output = run(script, *options)
    assert output.status == 130
    assert pressed == 1
    assert shown in output.out
    assert output.err.endswith("stopped by Ctrl-C\n")


# --- Help and figures -----------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_says_what_one_sees_and_how_to_run_it(run: Run, script: str) -> None:
    output = run(script, "--help")
    assert output.status == 0
    assert f"python examples/{script}.py" in output.out
    assert "You see" in " ".join(output.out.split())


@pytest.mark.parametrize("script", ["train_digits", "train_spirals"])
def test_without_matplotlib_scripts_run_and_plot_says_how_to_install_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run(script, "--epochs", 1).status == 0
    refused = run(script, "--epochs", 1, "--plot", tmp_path / "figure.png")
    assert refused.status == 2
    assert "python -m pip install matplotlib" in refused.err
    assert ".[plots]" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert refused.out == ""  # it was said before anything was trained


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("train_digits", []),
        ("train_digits", ["--compare"]),
        ("train_spirals", []),
        ("train_cnn", []),
    ],
)
def test_plot_saves_a_figure(tmp_path: Path, script: str, options: list[str]) -> None:
    pytest.importorskip("matplotlib")
    output = run_as_program(tmp_path, script, "--epochs=2", "--plot=figure.png", *options)
    assert "figure saved to figure.png" in output
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "message"),
    [("figure.doc", "must end in one of"), ("figure", "must end in"), ("no/x.png", "no folder")],
)
def test_a_figure_that_cannot_be_saved_is_refused_before_training(
    run: Run, tmp_path: Path, name: str, message: str
) -> None:
    pytest.importorskip("matplotlib")
    refused = run("train_digits", "--plot", tmp_path / name)
    assert refused.status == 2
    assert message in refused.err
    assert refused.out == ""


def test_tables_line_up(example: Callable[[str], ModuleType]) -> None:
    shared = example("_shared")
    assert shared.table(["name", "n"], [["a", 5], ["long one", 123]]) == (
        "name        n\n-------------\na           5\nlong one  123"
    )
    counts = shared.counts(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert shared.confusion_table(counts, "abc").splitlines()[2:] == [
        "a                 1  1  .   50.0 %",
        "b                 .  1  .  100.0 %",
        "c                 .  .  .    0.0 %",
    ]


def test_words_of_whatever_length_and_lines_keep_tables_in_shape(
    example: Callable[[str], ModuleType],
) -> None:
    shared = example("_shared")
    assert shared.in_line("two,\n lines") == "two, lines"
    assert shared.in_line("x" * 40) == "x" * 40
    assert shared.in_line("x" * 41) == "x" * 37 + "..."
    assert shared.table(["a\nb", "n"], [["c\nd", 1]]).splitlines()[2] == "c d  1"
    names = ["Adelie\nPenguin " + "x" * 30, "Gentoo " + "y" * 30, "Chinstrap"]
    lines = shared.confusion_table(np.eye(3, dtype=int), names).splitlines()
    assert lines.pop(1) == "-" * 58
    assert lines == [
        f"{name:40}  {cells}"
        for name, cells in (
            ("true \\ predicted", "1  2  3    right"),
            ("1 Adelie Penguin " + "x" * 20 + "...", "1  .  .  100.0 %"),
            ("2 Gentoo " + "y" * 30, ".  1  .  100.0 %"),
            ("3 Chinstrap", ".  .  1  100.0 %"),
        )
    ]


def test_names_and_words_with_line_breaks_are_told_in_a_line(run: Run, tmp_path: Path) -> None:
    rows = [[str(i % 7), ('"one,\ntwo"', "red")[i % 2], ('"a\nb"', "c")[i % 2]] for i in range(40)]
    path = write(tmp_path / "a.csv", rows, ["size", '"the\ncolor"', "kind"])
    output = run("train_csv", path, "--target", "kind", "--epochs", 20)
    assert output.status == 0, output.err
    lines = output.out.splitlines()
    assert lines[0] == "40 rows, features: size, the color"
    assert "  the color  words       2 categories: one, two, red" in lines
    assert "  kind       target      2 classes: a b, c" in lines
    assert "always a b, the most frequent class, would be right in 50.0 %" in lines
    assert sum(line.startswith("a b  ") for line in lines) == 2
