"""The specification of minidl.lecture: seventeen claims, each with the verdict that it got.

The verdicts are computed anew here, by the same functions that the reader runs, some with smaller
settings to save time. A rule that is broken on purpose must change them.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from programs import EXAMPLES, ROOT, printed_by

import minidl.lecture
from minidl import functional as F
from minidl import nn, optim
from minidl.lecture import (
    adagrad,
    adam,
    batchnorm,
    command,
    experiment,
    momentum,
    preprocessing,
    rmsprop,
    sgd,
)
from minidl.lecture.experiment import CONDITION, FAILS, HOLDS, Finding, judge

LECTURE = EXAMPLES / "lecture"

EXPERIMENTS: dict[str, tuple[Callable[..., Finding], str, dict[str, Any]]] = {
    "C1": (preprocessing.standardizing, HOLDS, {"epochs": 5, "seeds": 1, "each": 1}),
    "C2": (batchnorm.normalizing, HOLDS, {"seeds": 1, "rates": (0.03, 0.1, 0.3, 1.0, 3.0)}),
    "C3": (sgd.zigzag, CONDITION, {}),
    "C4": (sgd.stuck, CONDITION, {"seeds": 4, "steps": 400, "hidden": (1, 2), "starts": 1}),
    "C5": (sgd.by_hand, HOLDS, {"seeds": 1, "rules": ("SGD", "Adam")}),
    "C6": (sgd.near_the_end, HOLDS, {"seeds": 2}),
    "C7": (momentum.like_a_ball, HOLDS, {}),
    "C8": (momentum.along_the_velocity, HOLDS, {}),
    "C9": (momentum.passing, CONDITION, {"steps": 1500}),
    "C10": (adagrad.scaling, HOLDS, {}),
    "C11": (adagrad.overshooting, CONDITION, {}),
    "C12": (adagrad.going_on, CONDITION, {"epochs": 10, "seeds": 2}),
    "C13": (rmsprop.forgetting, CONDITION, {"steps": 600, "every": 100}),
    "C14": (rmsprop.at_the_saddle, CONDITION, {}),
    "C15": (rmsprop.with_momentum, CONDITION, {}),
    "C16": (adam.rmsprop_with_momentum, CONDITION, {}),
    "C17": (adam.momentum_with_squares, CONDITION, {}),
}
each_claim = pytest.mark.parametrize("claim", EXPERIMENTS)


@functools.cache
def found(claim: str) -> Finding:
    run, _, settings = EXPERIMENTS[claim]
    return run(**settings)


@functools.cache
def tried(call: str) -> Finding:
    """What a call found that the page proposes."""
    finding: Finding = eval(call, vars(minidl.lecture))
    return finding


# --- The verdicts ---------------------------------------------------------------------------------


@each_claim
def test_the_verdict(claim):
    finding = found(claim)
    assert finding.claim == claim
    assert finding.verdict == EXPERIMENTS[claim][1], str(finding)


def test_a_verdict_needs_the_claim_seen_and_no_exception():
    assert judge(seen=True, exception=False) == HOLDS
    assert judge(seen=True, exception=True) == CONDITION
    assert judge(seen=False, exception=False) == FAILS
    assert judge(seen=False, exception=True) == FAILS


class Slide(optim.Momentum):
    """Momentum with the gradient acting directly on the position."""

    def update(self, x, dx, v, *, lr, mu):
        v *= mu
        v -= dx
        x -= lr * dx


class Perpetual(optim.Momentum):
    """Momentum without friction."""

    def update(self, x, dx, v, *, lr):
        v -= dx
        x += lr * v


class Unscaled(optim.Adagrad):
    """Adagrad with the same scale for all, whatever its cache."""

    def update(self, x, dx, cache, *, lr):
        cache += dx * dx
        x -= lr * dx / 1e6


class Rootless(optim.RMSProp):
    """RMSProp without the square root."""

    def update(self, x, dx, cache, *, lr, decay_rate, eps):
        cache *= decay_rate
        cache += (1 - decay_rate) * dx * dx
        x -= lr * dx / (cache + eps)


class Hasty(optim.Adam):
    """Adam that steps by the gradient in place of its mean."""

    def update(self, x, dx, m, v, *, lr, betas, eps):
        beta1, beta2 = betas
        m *= beta1
        m += (1 - beta1) * dx
        v *= beta2
        v += (1 - beta2) * dx * dx
        x -= lr * dx / (np.sqrt(v) + eps)


@pytest.mark.parametrize(
    ("claim", "name", "rule", "verdict", "settings"),
    [
        ("C7", "Momentum", Slide, FAILS, {}),
        ("C8", "Momentum", Slide, FAILS, {}),
        ("C9", "Momentum", Perpetual, HOLDS, {"steps": 300}),
        ("C10", "Adagrad", Unscaled, FAILS, {}),
        ("C11", "Adagrad", optim.SGD, FAILS, {"most": 2000}),
        ("C12", "Adagrad", optim.RMSProp, FAILS, {"epochs": 2}),
        ("C14", "RMSProp", optim.SGD, HOLDS, {"steps": 100}),
        ("C15", "Adam", Hasty, FAILS, {}),
        ("C16", "RMSProp", Rootless, FAILS, {}),
        ("C17", "Adam", Hasty, FAILS, {}),
    ],
)
def test_another_rule_gets_another_verdict(claim, name, rule, verdict, settings, monkeypatch):
    monkeypatch.setattr(optim, name, rule)
    run, usual, _ = EXPERIMENTS[claim]
    assert run(**settings).verdict == verdict != usual


# --- What is said with other settings -------------------------------------------------------------


def test_the_first_example_of_the_page_keeps_its_verdict():
    assert "print(rmsprop_with_momentum(steps=100))" in PAGE.read_text(encoding="utf-8")
    finding = adam.rmsprop_with_momentum(steps=100)
    assert (finding.verdict, finding.numbers["last"]) == (CONDITION, pytest.approx(1.26, abs=0.01))


def test_energy_is_said_to_fall_only_where_it_falls():
    assert "motion falls all the time" in found("C7").measured
    assert "motion does not fall all the time" in tried("like_a_ball(friction=0.01)").measured


def test_the_end_of_the_way_along_the_ridge_is_where_it_is():
    assert re.search(r"come to \(\S+e-\d+, 0\)", found("C9").measured)
    beside = tried("passing(off_the_ridge=1e-9, steps=600)").measured
    assert re.search(r"come to \(\S+e-\d+, 1\)", beside)


def test_a_minimum_that_lets_go_is_no_reason_to_call_saddles_traps():
    finding = tried("stuck(noise=1.0, hidden=(1,), starts=1)")
    assert finding.verdict == CONDITION
    assert "steps in the median" in finding.because


def test_what_is_left_in_a_turned_ravine_is_what_was_measured():
    assert "nothing is gained" in found("C11").because
    little = tried("overshooting(angle=5)")
    gain = little.numbers["SGD, turned"] / little.numbers["Adagrad, turned"]
    assert f"only {experiment.times(gain)} is gained" in little.because


def test_rules_that_an_experiment_cannot_take_are_refused():
    with pytest.raises(ValueError, match=r"rules are SGD and others of .*, got \('Adam',\)"):
        sgd.by_hand(rules=("Adam",))
    with pytest.raises(ValueError, match=r"rule is 'Adagrad' or 'RMSProp', .*, got 'SGD'"):
        adagrad.going_on(rule="SGD")


def test_a_critical_point_counts_once(monkeypatch):
    flat = lambda hidden, seed: (lambda w: (w**2).sum() + seed, 3)
    monkeypatch.setattr(sgd, "network_loss", flat)
    assert sgd.indices(1, seeds=2, starts=3) == [0, 0]


# --- The numbers behind them ----------------------------------------------------------------------


def test_standardizing_lowers_the_condition_number_most_where_units_differ_most():
    n = found("C1").numbers
    assert n["gain, Iris in mixed units"] > 1000 > n["gain, Iris in cm"] > 10


def test_curvatures_are_those_of_the_covariance():
    """At weights of zero the Hessian of a logistic unit is a quarter of X'X / N, bias included."""
    x = np.random.default_rng(0).normal(size=(50, 3)) + 1
    y = np.arange(50) % 2
    with_bias = np.c_[x, np.ones(50)]
    expected = np.linalg.eigvalsh(with_bias.T @ with_bias / 50 / 4)
    np.testing.assert_allclose(preprocessing.bending(x, y), expected, rtol=1e-10)


def test_batchnorm_widens_the_range_of_learning_rates():
    n = found("C2").numbers
    assert n["with"] > 2 * n["without"]


def test_momentum_damps_the_zigzag_of_mini_batches():
    n = found("C3").numbers
    assert n["mini-batches, momentum"] < n["mini-batches"] / 3


def test_a_saddle_lets_go_long_before_a_minimum_does():
    n = found("C4").numbers
    assert n["steps out of the saddle"] < 100 < n["steps out of the minimum"]


def test_critical_points_are_found_whatever_their_curvatures():
    form = np.diag([3.0, -2.0, 1.0])
    loss = lambda x: (x - 1.0) @ form @ (x - 1.0) / 2 + ((x - 1.0) ** 4).sum() / 100
    for start in np.random.default_rng(0).normal(size=(4, 3)):
        found = sgd.critical_point(loss, start)
        assert found is not None
        np.testing.assert_allclose(found, 1.0, atol=1e-8)
    assert sgd.critical_point(lambda x: x.sum(), np.zeros(2)) is None  # a slope has none


def test_more_units_have_more_directions_down():
    n = found("C4").numbers
    assert 0 < n["index, 1 units"] < n["index, 2 units"]


def test_the_largest_curvature_is_that_of_the_hessian():
    model = nn.Linear(3, 2, rng=0, dtype=np.float64)
    x, y = np.random.default_rng(0).normal(size=(8, 3)), np.arange(8) % 2

    def loss(w):
        return F.cross_entropy(x @ w[:6].reshape(2, 3).T + w[6:], y)

    w = np.concatenate([model.weight.data.ravel(), model.bias.data])
    expected = np.linalg.eigvalsh(minidl.hessian(loss, w))[-1]
    assert batchnorm.largest_curvature(model, x, y, 200) == pytest.approx(expected, rel=1e-6)


def test_momentum_needs_the_steps_that_theory_says():
    n = found("C7").numbers
    assert n["steps, SGD"] == pytest.approx(n["theory, SGD"], rel=0.05)
    assert 1 < n["steps, Momentum"] / n["theory, Momentum"] < 1.6


def test_units_upset_sgd_more_than_adam():
    n = found("C5").numbers
    assert n["shift, SGD"] > n["shift, Adam"]


def test_the_ball_is_the_solution_of_its_equation_of_motion():
    t, d = np.linspace(0, 5, 11), 1e-4
    start = np.array([2.0, 1.0])
    before, now, after = (momentum.ball(start, 0.5, t + s) for s in (-d, 0, d))
    acceleration, speed = (after - 2 * now + before) / d**2, (after - before) / (2 * d)
    force = -np.array([experiment.slope(momentum.bowl, x) for x in now])
    np.testing.assert_allclose(acceleration, force - 0.5 * speed, atol=1e-5)
    np.testing.assert_array_equal(momentum.ball(start, 0.5, np.zeros(1))[0], start)


def test_momentum_goes_through_the_local_minimum_in_which_sgd_stays():
    n = found("C9").numbers
    assert (n["sgd passed"], n["momentum passed"], n["moving"]) == (0, 1, 0)
    assert min(n["speed in the minimum"], n["speed on the flat"], n["speed on the saddle"]) > 1


def test_adagrad_stalls_with_the_square_root_of_time():
    n = found("C12").numbers
    assert n["steady slope"] == pytest.approx(-0.5, abs=0.01)
    assert n["bowl with noise"] == pytest.approx(-0.5, abs=0.1)
    assert n["bowl without noise"] == pytest.approx(0, abs=0.01)


def test_rmsprop_leaves_a_saddle_in_a_few_steps_unless_exactly_on_it():
    n = found("C14").numbers
    assert n["held"] == 0
    assert n["RMSProp"] < 20 < 1000 < n["SGD"]


def test_without_correction_adam_takes_first_steps_several_times_too_large():
    n = found("C17").numbers
    t = np.arange(1, 3001)
    factor = (1 - 0.9**t) / np.sqrt(1 - 0.999**t)  # what the formulas say
    assert n["first"] == pytest.approx(factor[0], rel=1e-6)
    assert n["worst"] == pytest.approx(factor.max(), rel=1e-6)
    assert n["until 2"] == t[factor > 2].max()


# --- Descents and the like ------------------------------------------------------------------------


def test_descend_and_follow_return_the_path_with_its_start():
    path = experiment.descend(optim.SGD, lambda x: (x**2).sum(), [1.0, 2.0], 2, lr=0.25)
    np.testing.assert_array_equal(path, [[1, 2], [0.5, 1], [0.25, 0.5]])
    np.testing.assert_array_equal(
        experiment.follow([[1.0], [3.0]], optim.SGD, lr=0.5), [[0], [-0.5], [-2]]
    )


def test_descend_ends_where_it_is_told_to_and_when_it_diverges():
    square = lambda x: (x**2).sum()
    assert len(experiment.descend(optim.SGD, square, [1.0], 9, lambda x: x[0] < 0.3, lr=0.25)) == 3
    path = experiment.descend(optim.SGD, square, [1.0], 9999, lr=10.0)
    assert len(path) < 9
    assert abs(path[-1, 0]) > 1e6


def test_degrees_and_exponent():
    a = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    b = np.array([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(experiment.degrees(a, b), [0, 90, 180], atol=1e-6)
    t = np.arange(1, 50)
    assert experiment.exponent(t, 3 / np.sqrt(t)) == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("factor", "text"), [(1.0, "1.0x"), (6.58, "6.6x"), (32.4, "32x"), (1234.0, "1,200x")]
)
def test_factors_are_written_with_two_digits(factor, text):
    assert experiment.times(factor) == text


# --- The commands ---------------------------------------------------------------------------------


def test_the_seventeen_are_in_order_and_each_says_which_it_is():
    assert list(minidl.lecture.EXPERIMENTS) == list(EXPERIMENTS)
    for claim, run in minidl.lecture.EXPERIMENTS.items():
        assert run is EXPERIMENTS[claim][0]
        assert run.__doc__.startswith(f"{claim}. ")


def run_main(*arguments: str, claims: tuple[str, ...] = ("C7", "C8")) -> None:
    command.main({claim: lambda claim=claim: found(claim) for claim in claims}, argv=arguments)


def test_ctrl_c_ends_the_experiments_with_the_verdicts_so_far(capsys):
    def pressed() -> Finding:
        raise KeyboardInterrupt

    for done in (["C7", "C8"], []):
        experiments = {claim: functools.partial(found, claim) for claim in done}
        with pytest.raises(SystemExit) as end:
            command.main({**experiments, "C1": pressed, "C2": pressed}, argv=[])
        assert end.value.code == 130
        output = capsys.readouterr()
        assert output.out.endswith("2 verdicts, holds: 2\n" if done else "0 verdicts\n")
        assert output.err.endswith("stopped by Ctrl-C\n")


def test_the_command_prints_claim_experiment_numbers_and_verdict():
    printed = printed_by(LECTURE, "C16", "C17")
    for claim in ("C16", "C17"):
        assert str(found(claim)) in printed
    assert "C15" not in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["C18"], "C18 is no claim"), (["C8", "--write", "page.md"], "leave out the claims")],
)
def test_a_wrong_command_is_answered_in_a_line(arguments, said, capsys):
    with pytest.raises(SystemExit) as end:
        run_main(*arguments)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_plots_are_saved_where_asked(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    run_main("--plots", str(tmp_path / "new"))
    saved = sorted(p.name for p in (tmp_path / "new").iterdir())
    assert saved == ["lecture_c07.png", "lecture_c08.png"]
    assert capsys.readouterr().out.endswith("2 verdicts, holds: 2\n")


def test_plots_without_matplotlib_say_how_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit) as end:
        run_main("--plots", str(tmp_path))
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "minidl[plots]" in error


@each_claim
def test_each_try_of_the_page_is_a_call_that_runs(claim):
    tries = found(claim).tries
    assert tries
    for call, asks in tries:
        name = call.partition("(")[0]
        assert minidl.lecture.EXPERIMENTS[claim].__name__ == name
        finding = tried(call)
        assert finding.measured != found(claim).measured
        assert asks
        assert str(finding)
        assert f"*Try:* `{call}`: {asks}" in " ".join(section(claim).split())


@each_claim
def test_the_figure_can_be_drawn(claim):
    pytest.importorskip("matplotlib")
    finding = found(claim)
    page = experiment.figure(8, 3)
    assert finding.draw is not None
    finding.draw(page)
    assert all(axes.has_data() and axes.get_title() for axes in page.axes)
    assert all(axes.get_xlabel() or page.get_supxlabel() for axes in page.axes)


# --- The page that shows them ---------------------------------------------------------------------

PAGE = ROOT / "docs" / "lecture.md"
NUMBER = re.compile(r"-?[\d,]*\.?\d+(?:e[+-]\d+)?")


def section(claim: str) -> str:
    """Return what docs/lecture.md says about a claim."""
    parts = re.split(r"^#+ (C\d+)\. ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(sections) == list(EXPERIMENTS)
    return sections[claim]


@each_claim
def test_the_page_gives_the_same_verdict_and_the_figure(claim):
    text = section(claim)
    assert f"**Verdict: {found(claim).verdict}.**" in text
    figure = f"figures/lecture_c{int(claim[1:]):02d}.png"
    assert f"]({figure})" in text
    assert (PAGE.parent / figure).exists()
    row = re.search(rf"^\| \[{claim}\]\(.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert row
    assert row[0].rstrip(" |").endswith(f"| {found(claim).verdict}")


@each_claim
def test_the_numbers_in_the_table_are_those_of_the_section(claim):
    row = re.search(rf"^\| \[{claim}\]\(.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert row
    stated = " ".join(row[0].split(" | ")[2:4])
    assert set(NUMBER.findall(stated)) <= set(NUMBER.findall(section(claim))), stated


@each_claim
def test_the_table_says_how_often_each_claim_that_hangs_on_chance_was_tried(claim):
    row = re.search(rf"^\| \[{claim}\]\(.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert row
    chance = row[0].split(" | ")[3]
    settings = inspect.signature(EXPERIMENTS[claim][0]).parameters
    often = next((settings[s].default for s in ("seeds", "runs") if s in settings), None)
    if often is None:
        assert chance == experiment.NO_CHANCE
    else:
        assert often >= 8
        assert chance.startswith((f"{often} seeds", f"{often} runs"))


@pytest.mark.parametrize("claim", [c for c, (_, _, smaller) in EXPERIMENTS.items() if not smaller])
def test_the_page_gives_the_numbers_that_are_measured(claim):
    """Within a tenth; what is below a hundred-thousandth is a rounding error, whatever its size."""
    text = " ".join(section(claim).split())
    measured = " ".join(found(claim).measured.split())
    stated = text[text.index("**Measured.** ") + len("**Measured.** ") : text.index(" **Verdict")]
    assert NUMBER.sub("#", measured) == NUMBER.sub("#", stated)
    numbers = [[float(n.replace(",", "")) for n in NUMBER.findall(s)] for s in (measured, stated)]
    np.testing.assert_allclose(*numbers, rtol=0.1, atol=1e-5)
