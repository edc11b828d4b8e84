"""The optimizer race: its table, its page, and the page in a real browser, when one is there.

The browser is a Chromium or Chrome on PATH, led by Playwright. The tests use the page as people do:
with mouse, keyboard and touch. Without a browser they are skipped.
"""

import importlib
import json
import re
import sys

import numpy as np
import pytest
from browsers import contrast, drag, launched, opener
from programs import EXAMPLES, run_python

from minidl import Tensor, optim

STEPS = 60  # in the page under test


@pytest.fixture(scope="module")
def race():
    """The example as a module."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield importlib.import_module("optimizer_race")
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def results(race):
    return race.race(race.SURFACES, race.RULES, STEPS, {})


@pytest.fixture(scope="module")
def html(race, results, tmp_path_factory):
    """The page of all surfaces, as a file."""
    file = tmp_path_factory.mktemp("race") / "race.html"
    file.write_text(race.page(results, STEPS), encoding="utf-8")
    return file


def record(page):
    """The data in a page."""
    return json.loads(re.search(r'<script id="record"[^>]*>(.*?)</script>', page, re.DOTALL)[1])


# The surfaces and the runs ------------------------------------------------------------------------


def test_surfaces_have_their_minimum_zero_where_they_say(race):
    for surface in race.SURFACES.values():
        for optimum in surface.optima:
            point = Tensor(np.array(optimum), requires_grad=True)
            loss = surface.loss(point[0], point[1])
            loss.backward()
            assert loss.item() == pytest.approx(0, abs=1e-15)
            np.testing.assert_allclose(point.grad, 0, atol=1e-12)
        left, right, bottom, top = surface.view
        x, y = np.meshgrid(np.linspace(left, right, 201), np.linspace(bottom, top, 201))
        assert surface.loss(x, y).min() >= 0
        for x, y in (surface.start, *surface.optima):
            assert left < x < right
            assert bottom < y < top
        assert (right - left) / (top - bottom) == pytest.approx(4 / 3), surface.title


def test_rates_run_side_by_side_as_they_would_alone(race):
    surface = race.SURFACES["beale"]
    for rule in race.RULES.values():
        for run in race.descend(surface, rule, (0.001, 0.02, 0.5), 12):
            (alone,) = race.descend(surface, rule, (run.lr,), 12)
            np.testing.assert_array_equal(run.path, alone.path)
            np.testing.assert_array_equal(run.losses, alone.losses)
            assert run[3:] == alone[3:]


def test_a_run_is_plain_descent_with_the_rule(race):
    surface = race.SURFACES["ravine"]
    (run,) = race.descend(surface, optim.SGD, (0.003,), 3)
    x, y = np.array(surface.start)
    for point, loss in zip(run.path, run.losses, strict=True):
        np.testing.assert_allclose(point, (x, y), rtol=1e-12)
        assert loss == pytest.approx(x**2 / 2 + 90 * y**2)
        x, y = x - 0.003 * x, y - 0.003 * 180 * y


def test_a_run_ends_where_it_diverges(race):
    (run,) = race.descend(race.SURFACES["rosenbrock"], optim.SGD, (0.1,), 20)
    assert run.diverged == len(run.path) == len(run.losses)
    assert np.isfinite(run.path).all()
    assert np.isfinite(run.losses).all()
    assert run.arrived is None


def test_who_only_passes_the_goal_has_not_arrived(race):
    surface = race.SURFACES["ravine"]._replace(optima=((0.0, 0.0),), goal=0.5)
    path = np.zeros((11, 2))
    for losses, arrived in [
        ([9, 0, 9, 9, 0, 0, 0, 0, 0, 0, 0], 4),
        ([9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 0], None),
        ([0] * 11, 0),
        ([9] * 11, None),
    ]:
        run = race._run(surface, 0.1, path + surface.start, np.array(losses, float))
        assert run.arrived == arrived


def test_the_stories_are_true(race):
    def arrivals(key, rule):
        runs = race.descend(race.SURFACES[key], race.RULES[rule], race.RATES, 300)
        return [run.arrived for run in runs if run.arrived is not None]

    assert not arrivals("ravine", "SGD")
    assert all(arrivals("ravine", rule) for rule in ("Adagrad", "RMSProp", "Adam"))
    assert 4 * min(arrivals("saddle", "RMSProp")) < min(arrivals("saddle", "SGD"))
    assert not arrivals("minima", "SGD")
    assert not arrivals("minima", "Adagrad")
    assert arrivals("minima", "Momentum")
    assert arrivals("minima", "Adam")


# The command --------------------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_rule_on_each_surface(race, capsys):
    race.main(["--steps", "20"])
    out = capsys.readouterr().out
    for surface in race.SURFACES.values():
        assert f"{surface.title}: {surface.formula}" in out
    for name in race.RULES:
        assert len(re.findall(rf"^{name} ", out, re.MULTILINE)) == len(race.SURFACES)
    for column in ("final loss", "steps to goal", "distance to optimum", "diverged"):
        assert out.count(column) == len(race.SURFACES)


def test_the_table_tells_what_the_runs_did(race, results):
    surface, (runs, entered) = race.SURFACES["saddle"], results["saddle"]["Adagrad"]
    text = race.report(surface, results["saddle"], STEPS)
    row = next(line for line in text.splitlines() if line.startswith("Adagrad")).split()
    assert row[1] == f"{entered.lr:g}"
    assert int(row[-3] if row[-3] != "<" else row[-4]) == entered.arrived
    assert entered.losses[entered.arrived :].max() < surface.goal
    assert entered.losses[entered.arrived - 1] >= surface.goal
    others = [run.arrived for run in runs if run.arrived is not None]
    assert entered.arrived == min(others)


def test_the_same_command_prints_and_writes_the_same(race, capsys, tmp_path):
    pages, tables = [], []
    for name in ("a.html", "b.html"):
        race.main(["--surface", "minima", "--steps", "15", "--html", str(tmp_path / name)])
        pages.append((tmp_path / name).read_bytes())
        tables.append(capsys.readouterr().out.replace(name, ""))
    assert pages[0] == pages[1]
    assert tables[0] == tables[1]


def test_a_chosen_learning_rate_is_used(race, capsys):
    race.main(["--surface", "ravine", "--steps", "15", "--lr", "sgd=0.5", "--lr", "Adam=0.07"])
    out = capsys.readouterr().out
    assert re.search(r"^SGD +0\.5 .* in step \d+$", out, re.MULTILINE)
    assert re.search(r"^Adam +0\.07 .* -$", out, re.MULTILINE)


@pytest.fixture
def own_rules(tmp_path, monkeypatch):
    """A folder with rules of the user's own, to be in."""
    (tmp_path / "my_race_rules.py").write_text(
        "import numpy as np\n"
        "from minidl import optim\n"
        "class Signs(optim.Optimizer):\n"
        "    def update(self, x, dx, *, lr):\n"
        "        x -= lr * np.sign(dx)\n"
        "class Adam(Signs): pass\n"
        "class B(Signs): pass\n"
        "class C(Signs): pass\n"
        "class NoRate(optim.Optimizer):\n"
        "    def __init__(self, params):\n"
        "        super().__init__(params, lr=1.0)\n"
        "class Other: pass\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_race_rules", raising=False)
    yield
    sys.modules.pop("my_race_rules", None)


def test_a_rule_of_ones_own_runs_too(race, own_rules, capsys, tmp_path):
    command = ["--surface", "ravine", "--steps", "15", "--rule", "my_race_rules:Signs"]
    race.main([*command, "--lr", "signs=0.125", "--html", "race.html"])
    assert re.search(r"^Signs +0\.125 ", capsys.readouterr().out, re.MULTILINE)
    data = record((tmp_path / "race.html").read_text(encoding="utf-8"))
    assert [rule["name"] for rule in data["rules"]] == [*race.RULES, "Signs"]
    (surface,) = data["surfaces"]
    entered = surface["runs"][-1][surface["entered"][-1]]
    assert entered["lr"] == 0.125
    scale = 4000 / (surface["view"][1] - surface["view"][0])
    assert entered["x"][1] == pytest.approx(0.125 * scale, abs=1)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--surface", "moon"], "invalid choice: 'moon'"),
        (["--steps", "0"], "--steps is a number from 1 to 1000, got 0"),
        (["--steps", "2000"], "from 1 to 1000"),
        (["--steps", "many"], "invalid int value: 'many'"),
        (["--lr", "sgd"], "--lr sgd: the learning rate is a number above 0"),
        (["--lr", "sgd=fast"], "got 'fast'"),
        (["--lr", "sgd=-1"], "a number above 0, got '-1'"),
        (["--lr", "sgd=nan"], "got 'nan'"),
        (["--lr", "lion=1"], "RULE is one of sgd, momentum, adagrad, rmsprop, adam"),
        (["--rule", "adam"], "write it as module:Class"),
        (["--rule", ".a:B"], "write it as module:Class"),
        (["--rule", "no_such_module:A"], "No module named 'no_such_module'"),
        (["--rule", "my_race_rules:Nothing"], "Nothing in my_race_rules is not a class of"),
        (["--rule", "my_race_rules:Other"], "Other in my_race_rules is not a class of"),
        (["--rule", "my_race_rules:NoRate"], "cannot make it as NoRate(params, lr=...)"),
        (["--rule", "my_race_rules:Adam"], "a Adam runs already"),
        ([f"--rule=my_race_rules:{name}" for name in ("Signs", "B", "C")], "at most 2"),
        (["--html", "no/such/folder/race.html"], "there is no folder no/such/folder"),
        (["--plot", "no/such/folder/race.png"], "there is no folder no/such/folder"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_arguments_give_one_line(race, own_rules, capsys, argv, says):
    if "--plot" in argv:
        pytest.importorskip("matplotlib")
    with pytest.raises(SystemExit) as exit:
        race.main(argv)
    captured = capsys.readouterr()
    assert exit.value.code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_a_plot_without_matplotlib_says_how_to_get_it(race, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SystemExit):
        race.main(["--plot", str(tmp_path / "race.png")])
    assert "python -m pip install matplotlib" in capsys.readouterr().err


def test_a_plot_is_drawn(race, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / "race.svg"
    race.main(["--surface", "saddle", "--steps", "10", "--lr", "sgd=40", "--plot", str(file)])
    assert f"figure saved to {file}" in capsys.readouterr().out
    assert file.read_text().count("<path") > 40


def test_the_command_runs_from_a_shell():
    done = run_python(EXAMPLES / "optimizer_race.py", "--surface=ravine", "--steps=3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Ravine: ")


# The page -----------------------------------------------------------------------------------------


def test_the_page_holds_every_run(race, results, html):
    data = record(html.read_text(encoding="utf-8"))
    assert data["steps"] == STEPS
    assert [rule["name"] for rule in data["rules"]] == list(race.RULES)
    assert [s["title"] for s in data["surfaces"]] == [s.title for s in race.SURFACES.values()]
    for (key, surface), there in zip(race.SURFACES.items(), data["surfaces"], strict=True):
        left, right, bottom, _ = surface.view
        unit = (right - left) / 4000
        entries = zip(results[key].values(), there["runs"], there["entered"], strict=True)
        for (runs, entered), recorded, index in entries:
            assert recorded[index]["lr"] == entered.lr
            for run, one in zip(runs, recorded, strict=True):
                assert (run.lr, run.arrived, run.diverged) == (
                    one["lr"], one["arrived"], one["diverged"]
                )  # fmt: skip
                place = np.cumsum([one["x"], one["y"]], axis=1).T * unit + (left, bottom)
                np.testing.assert_allclose(place, run.path, atol=0.51 * unit)
                loss = 10 ** (np.cumsum(one["loss"]) / 500)
                np.testing.assert_allclose(loss, run.losses, rtol=0.003, atol=2e-12)
                assert one["final"] == pytest.approx(run.losses[-1], rel=0.01)
        across, down = there["grid"]
        height = np.cumsum(there["heights"])
        assert len(height) == across * down
        assert (height.min() >= 0, height.max()) == (True, 900)


def test_the_page_asks_for_nothing(html):
    text = html.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w+\.\w+|@import|<link[^>]+href=\"(?!data:)", text)
    assert not re.search(r"\b(src|srcset|fetch|XMLHttpRequest|WebSocket|import)\s*[=(]", text)


def test_the_page_is_small(race):
    surfaces = {"rosenbrock": race.SURFACES["rosenbrock"]}
    size = len(race.page(race.race(surfaces, race.RULES, 300, {}), 300).encode())
    assert size * len(race.SURFACES) < 1_200_000


# The page in a browser ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture
def opened(browser, html):
    with opener(browser, html.as_uri(), ready="#all td") as open_page:
        yield open_page


@pytest.fixture
def page(opened):
    return opened()


def step_of(page):
    return int(page.input_value("#step"))


def is_playing(page):
    return page.text_content("#play").strip() == "Pause"


def chosen_rate(page, place):
    """What is chosen for the rule at this place."""
    return page.input_value(f".rule:nth-child({place}) select")


def pixels(page, canvas, color):
    """How many pixels of a canvas have just this color."""
    return page.evaluate(
        """([id, red, green, blue]) => {
            const c = document.getElementById(id);
            const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
            let n = 0;
            for (let i = 0; i < d.length; i += 4)
                n += d[i] === red && d[i + 1] === green && d[i + 2] === blue;
            return n;
        }""",
        [canvas, *bytes.fromhex(color[1:])],
    )


SGD_BLUE = "#0072B2"


def test_browser_shows_the_finished_race_at_first(page):
    assert step_of(page) == STEPS
    assert not is_playing(page)
    assert pixels(page, "map", SGD_BLUE) > 50
    assert pixels(page, "chart", SGD_BLUE) > 50
    assert page.text_content("#formula") == "f(x, y) = x² / 2 + 90 y²"


def test_browser_plays_and_pauses_by_mouse(page):
    page.focus("#speed")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.input_value("#speed") == "0.25"
    page.click("#play")
    assert is_playing(page)
    page.wait_for_function("+document.getElementById('step').value < 30")  # it began anew
    page.wait_for_function("+document.getElementById('step').value > 3")
    page.click("#play")
    assert not is_playing(page)
    here = step_of(page)
    assert page.text_content("#count") == f"{here} / {STEPS}"
    page.select_option("#speed", "4")
    page.click("#map")
    assert is_playing(page)
    page.wait_for_function("play.textContent === 'Play'")  # it ends by itself
    assert step_of(page) == STEPS


def test_browser_plays_and_steps_by_keyboard(page):
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    assert step_of(page) == STEPS - 11
    page.keyboard.press("ArrowRight")
    assert step_of(page) == STEPS - 10
    page.select_option("#speed", "0.25")
    page.keyboard.press("Space")
    assert is_playing(page)
    page.keyboard.press("Space")
    assert not is_playing(page)
    page.focus("#step")
    here = step_of(page)
    page.keyboard.press("ArrowLeft")
    assert step_of(page) == here - 1  # one step, not one for the page and one for the slider
    page.keyboard.press("Space")
    assert is_playing(page)
    page.focus("#play")
    page.keyboard.press("Space")
    assert not is_playing(page)


def test_browser_shows_where_the_focus_is(page):
    seen = []
    for _ in range(8):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
        outline = page.evaluate(
            "(e => { const s = getComputedStyle(e.type === 'radio' ? e.nextSibling : e);"
            "return s.outlineStyle + ' ' + s.outlineWidth })(document.activeElement)"
        )
        assert outline == "solid 3px", seen
    assert seen[:6] == ["surface", "play", "back", "on", "step", "speed"]


def test_browser_scrubs(page):
    drag(page, "#step", (0.98, 0.5), (0.5, 0.5))
    assert step_of(page) == pytest.approx(STEPS / 2, abs=2)
    drag(page, "#chart", (0.9, 0.5), (0.6, 0.5), (0.1, 0.5))
    assert step_of(page) < 8
    page.click("#on")
    page.click("#on")
    page.click("#back")
    said = page.text_content("#said")
    assert said.startswith(f"Step {step_of(page)} of {STEPS}. SGD: under way, loss ")


def test_browser_shows_each_step_as_it_was(page, race, results):
    left, right, _, top = race.SURFACES["ravine"].view
    entered = [run for _, run in results["ravine"].values()]
    unit = page.evaluate("document.getElementById('map').clientWidth") / (right - left)
    for _ in range(6):
        page.keyboard.press("Shift+ArrowLeft")
        at = step_of(page)
        for i, run in enumerate(entered, 1):
            shown = page.text_content(f".rule:nth-child({i}) .now b")
            expected = 0 if shown == "< 1e-6" else float(shown)
            assert run.losses[at] == pytest.approx(expected, rel=0.06, abs=1.1e-6)
        x, y = entered[-1].path[at]  # Adam, whose marker lies above all others
        pixel = f"{(x - left) * unit}, {(top - y) * unit}, 1, 1"
        color = f"[...document.getElementById('map').getContext('2d').getImageData({pixel}).data]"
        assert bytes(page.evaluate(color)[:3]).hex() == "e69f00"
    assert at == 0


def test_browser_switches_rules_on_and_off(page):
    assert pixels(page, "map", SGD_BLUE) > 0
    page.click(".rule:nth-child(1) label b")
    assert pixels(page, "map", SGD_BLUE) == pixels(page, "chart", SGD_BLUE) == 0
    assert pixels(page, "map", "#D55E00") > 0
    page.focus(".rule input")
    page.keyboard.press("Space")
    assert not is_playing(page)
    assert pixels(page, "map", SGD_BLUE) > 0


def test_browser_changes_the_surface(page, race, results):
    for i, (key, surface) in enumerate(race.SURFACES.items(), 1):
        page.click(f"#surfaces label:nth-of-type({i}) input")
        assert page.text_content("#story") == surface.story
        for k, (_, run) in enumerate(results[key].values(), 1):
            assert chosen_rate(page, k) == f"lr {run.lr:g}"
            text = page.text_content(f".rule:nth-child({k}) .now span")
            expected = "not there" if run.arrived is None else f"step {run.arrived}"
            assert text.endswith(expected), (key, text)
    page.keyboard.press("ArrowLeft")  # the focus is on the last radio button
    assert page.text_content("#formula").startswith("f(x, y) = (1 \u2212 x)²")


def test_browser_ranks_by_steps_to_the_goal(page, race, results):
    arrived = {n: run.arrived for n, (_, run) in results["ravine"].items() if run.arrived}
    first = min(arrived, key=arrived.get)
    place = list(race.RULES).index(first) + 1
    assert page.text_content(f".rule:nth-child({place}) .now span") == f"1st, step {arrived[first]}"


def test_browser_chooses_among_the_recorded_rates(page, race, results):
    rates, sgd = list(race.RATES), results["ravine"]["SGD"]
    page.focus(".rule select")
    before = rates.index(sgd[1].lr)
    page.keyboard.press("ArrowUp")
    run = sgd[0][before - 1]
    assert chosen_rate(page, 1) == f"lr {run.lr:g}"
    shown = float(page.text_content(".rule:nth-child(1) .now b"))
    assert shown == pytest.approx(run.losses[-1], rel=0.06)

    page.click("#all tbody tr:nth-child(1) td:nth-of-type(8) button")  # lr 1
    result = page.text_content(".rule:nth-child(1) .now span")
    assert result == f"diverged, step {sgd[0][7].diverged}"
    pressed = "document.querySelector('#all tbody tr').querySelectorAll('[aria-pressed=true]')"
    assert page.evaluate(f"{pressed}.length") == 1
    assert page.evaluate(f"document.activeElement === {pressed}[0]")
    page.click("#reset")
    assert chosen_rate(page, 1) == f"lr {sgd[1].lr:g}"


def test_browser_shows_it_in_the_dark(page, opened):
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("darkness.matches")
    page.wait_for_function(f"getComputedStyle(document.body).backgroundColor !== '{light}'")
    page = opened(color_scheme="dark")
    assert pixels(page, "map", SGD_BLUE) == 0  # another blue, which can be seen there
    assert pixels(page, "map", "#4FA8EC") > 0
    for selector in ("body", "#story", ".soft", "#count", "td button", "#play", "h2"):
        assert contrast(page, selector) >= 4.5, selector


def test_browser_shows_it_in_the_light_with_contrast(page):
    for selector in ("body", "#story", ".soft", "#count", "td button", "#play", "h2"):
        assert contrast(page, selector) >= 4.5, selector


def test_browser_fits_a_phone_and_obeys_fingers(opened):
    page = opened(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.getElementById('map').clientWidth") > 300
    page.tap("#surfaces label:nth-of-type(2) input")
    page.wait_for_function("document.getElementById('formula').textContent.includes('3/8')")
    page.tap("#chart")
    page.wait_for_function(f"Math.abs(document.getElementById('step').value - {STEPS} / 2) < 12")
    page.tap("#play")
    page.wait_for_function("document.getElementById('play').textContent === 'Pause'")
    small = page.evaluate(
        "[...document.querySelectorAll('.transport button, .rule label, .rule select')]"
        ".filter(e => e.offsetHeight < 40).length"
    )
    assert small == 0


def test_browser_moves_little_for_those_who_want_that(opened):
    page = opened(reduced_motion="reduce")
    page.select_option("#speed", "2")
    page.evaluate(
        "window.seen = new Set();"
        "const count = document.getElementById('count');"
        "new MutationObserver(() => seen.add(count.textContent)).observe(count, {childList: true});"
    )
    page.click("#play")
    page.wait_for_function(f"seen.has('{STEPS} / {STEPS}')")
    assert page.evaluate("[...seen].map(parseFloat)") == [0, 24, 48, STEPS]  # every half second


def test_browser_finds_a_name_on_every_control(page):
    roles = {
        "button": 3 + 1 + 5 * 8,
        "checkbox": 5,
        "radio": 5,
        "combobox": 6,
        "slider": 1,
        "img": 2,
    }
    for role, count in roles.items():
        assert page.get_by_role(role).count() == count, role
        assert page.get_by_role(role, name=re.compile(r"\S")).count() == count, role
