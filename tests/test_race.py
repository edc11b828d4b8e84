"""The optimizer race: its table, its page, and the page in a real browser, when one is there.

The browser is a Chromium or Chrome on PATH. The tests speak its DevTools protocol over a pipe and
use the page as people do: with mouse, keyboard and touch. Without a browser they are skipped.
"""

import base64
import contextlib
import importlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minidl import Tensor, optim

EXAMPLES = Path(__file__).parent.parent / "examples"
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
        "    def update(self, x, dx):\n"
        "        x -= self.lr * np.sign(dx)\n"
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
    command = [sys.executable, str(EXAMPLES / "optimizer_race.py"), "--surface=ravine", "--steps=3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
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

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--remote-debugging-pipe",
    "--window-size=1280,900",
]
# The browser reads from its descriptor 3 and writes to 4.
LAUNCH = (
    "import os, sys; r, w = map(int, sys.argv[1:3]); os.dup2(r, 103); os.dup2(w, 104); "
    "os.dup2(103, 3); os.dup2(104, 4); os.execv(sys.argv[3], sys.argv[3:])"
)
KEYS = {  # what a key sends: its code, its number, and what it types
    " ": ("Space", 32, " "),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
    "Tab": ("Tab", 9, ""),
}


class Browser:
    """A headless browser with one page, moved over the DevTools protocol."""

    def __init__(self, program, profile):
        theirs, self.to = os.pipe()
        self.back, answers = os.pipe()
        launch = [sys.executable, "-c", LAUNCH, str(theirs), str(answers), program]
        self.process = subprocess.Popen(
            [*launch, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(theirs, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs)
        os.close(answers)
        self.buffer, self.count, self.session, self.events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.to)
        os.close(self.back)

    def call(self, method, **params):
        self.count += 1
        message = {"id": self.count, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _read(self):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.back], [], [], 30)
            data = os.read(self.back, 1 << 20) if ready else b""
            assert data, "the browser does not answer"
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def open(self, file, width=1280, height=900, **media):
        """Open a page anew, on a screen of this size, with media features, such as colors."""
        self.events.clear()
        self.media(**media)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        self.call("Page.navigate", url=file.as_uri())
        self.until("document.readyState === 'complete' && !!document.querySelector('#all td')")

    def media(self, **features):
        wanted = {"prefers_color_scheme": "light", "prefers_reduced_motion": "no-preference"}
        wanted |= features
        pairs = [{"name": k.replace("_", "-"), "value": v} for k, v in wanted.items()]
        self.call("Emulation.setEmulatedMedia", features=pairs)

    def ask(self, expression):
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression):
        """Wait for an expression to be true."""
        end = time.monotonic() + 20
        while not (value := self.ask(expression)):
            assert time.monotonic() < end, f"in vain waited for {expression}"
            time.sleep(0.01)
        return value

    def text(self, selector):
        return self.ask(f"document.querySelector({json.dumps(selector)}).textContent.trim()")

    def spot(self, selector, x=0.5, y=0.5):
        """Where an element is on the screen, or a place within it given as shares of its size."""
        box = self.ask(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            f"return [b.x, b.y, b.width, b.height] }})(document.querySelector("
            f"{json.dumps(selector)}))"
        )
        return {"x": box[0] + x * box[2], "y": box[1] + y * box[3]}

    def mouse(self, kind, spot, buttons=0):
        self.call(
            "Input.dispatchMouseEvent",
            type=kind, **spot, button="left", buttons=buttons, clickCount=1,
        )  # fmt: skip

    def click(self, selector, x=0.5, y=0.5):
        self.drag(selector, (x, y))

    def drag(self, selector, *places):
        spots = [self.spot(selector, *place) for place in places]
        self.mouse("mouseMoved", spots[0])
        self.mouse("mousePressed", spots[0], 1)
        for spot in spots[1:]:
            self.mouse("mouseMoved", spot, 1)
        self.mouse("mouseReleased", spots[-1])

    def touch(self, selector, x=0.5, y=0.5):
        spot = self.spot(selector, x, y)
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[spot])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def key(self, key, shift=False):
        code, number, typed = KEYS[key]
        what = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": 8 * shift}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=typed, **what)
        self.call("Input.dispatchKeyEvent", type="keyUp", **what)

    def screenshot(self, file):
        """Save what the page shows, all of it."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        Path(file).write_bytes(base64.b64decode(answer["data"]))

    # What the race shows

    @property
    def step(self):
        return int(self.ask("document.getElementById('step').value"))

    @property
    def playing(self):
        return self.text("#play") == "Pause"

    def pixels(self, canvas, color):
        """How many pixels of a canvas have just this color."""
        red, green, blue = bytes.fromhex(color[1:])
        return self.ask(
            f"(c => {{ const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            f"let n = 0; for (let i = 0; i < d.length; i += 4) if (d[i] === {red} && "
            f"d[i + 1] === {green} && d[i + 2] === {blue}) n++; return n }})"
            f"(document.getElementById('{canvas}'))"
        )


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None or os.name != "posix":
        pytest.skip(f"no browser on PATH to open the page in (looked for {', '.join(BROWSERS)})")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def page(browser, html):
    """The page, opened anew; at the end there must have been neither errors nor requests."""
    browser.open(html)
    yield browser
    browser.ask("0")
    for event in browser.events:
        assert event["method"] != "Runtime.exceptionThrown", event
        if event["method"] == "Log.entryAdded":
            assert event["params"]["entry"]["level"] != "error", event
        if event["method"] == "Network.requestWillBeSent":
            assert event["params"]["request"]["url"].startswith(("file:", "data:"))


SGD_BLUE = "#0072B2"


def test_browser_shows_the_finished_race_at_first(page):
    assert page.step == STEPS
    assert not page.playing
    assert page.pixels("map", SGD_BLUE) > 50
    assert page.pixels("chart", SGD_BLUE) > 50
    assert page.text("#formula") == "f(x, y) = x² / 2 + 90 y²"


def test_browser_plays_and_pauses_by_mouse(page):
    page.ask("document.getElementById('speed').focus()")
    page.key("ArrowUp")
    page.key("ArrowUp")
    assert page.ask("document.getElementById('speed').value") == "0.25"
    page.click("#play")
    assert page.playing
    page.until("+document.getElementById('step').value < 30")  # it began anew
    page.until("+document.getElementById('step').value > 3")
    page.click("#play")
    assert not page.playing
    here = page.step
    assert page.text("#count") == f"{here} / {STEPS}"
    page.ask("document.getElementById('speed').value = 4")
    page.click("#map")
    assert page.playing
    page.until("document.getElementById('play').textContent === 'Play'")  # it ends by itself
    assert page.step == STEPS


def test_browser_plays_and_steps_by_keyboard(page):
    page.key("ArrowLeft")
    page.key("ArrowLeft", shift=True)
    assert page.step == STEPS - 11
    page.key("ArrowRight")
    assert page.step == STEPS - 10
    page.ask("document.getElementById('speed').value = 0.25")
    page.key(" ")
    assert page.playing
    page.key(" ")
    assert not page.playing
    page.ask("document.getElementById('step').focus()")
    here = page.step
    page.key("ArrowLeft")
    assert page.step == here - 1  # one step, not one for the page and one for the slider
    page.key(" ")
    assert page.playing
    page.ask("document.getElementById('play').focus()")
    page.key(" ")
    assert not page.playing


def test_browser_shows_where_the_focus_is(page):
    seen = []
    for _ in range(8):
        page.key("Tab")
        seen.append(page.ask("document.activeElement.id || document.activeElement.name"))
        outline = page.ask(
            "(e => { const s = getComputedStyle(e.type === 'radio' ? e.nextSibling : e);"
            "return s.outlineStyle + ' ' + s.outlineWidth })(document.activeElement)"
        )
        assert outline == "solid 3px", seen
    assert seen[:6] == ["surface", "play", "back", "on", "step", "speed"]


def test_browser_scrubs(page):
    page.drag("#step", (0.98, 0.5), (0.5, 0.5))
    assert page.step == pytest.approx(STEPS / 2, abs=2)
    page.drag("#chart", (0.9, 0.5), (0.6, 0.5), (0.1, 0.5))
    assert page.step < 8
    page.click("#on")
    page.click("#on")
    page.click("#back")
    assert page.text("#said").startswith(f"Step {page.step} of {STEPS}. SGD: under way, loss ")


def test_browser_shows_each_step_as_it_was(page, race, results):
    left, right, _, top = race.SURFACES["ravine"].view
    entered = [run for _, run in results["ravine"].values()]
    unit = page.ask("document.getElementById('map').clientWidth") / (right - left)
    for _ in range(6):
        page.key("ArrowLeft", shift=True)
        at = page.step
        for i, run in enumerate(entered, 1):
            shown = page.text(f".rule:nth-child({i}) .now b")
            expected = 0 if shown == "< 1e-6" else float(shown)
            assert run.losses[at] == pytest.approx(expected, rel=0.06, abs=1.1e-6)
        x, y = entered[-1].path[at]  # Adam, whose marker lies above all others
        pixel = f"{(x - left) * unit}, {(top - y) * unit}, 1, 1"
        color = f"[...document.getElementById('map').getContext('2d').getImageData({pixel}).data]"
        assert bytes(page.ask(color)[:3]).hex() == "e69f00"
    assert at == 0


def test_browser_switches_rules_on_and_off(page):
    assert page.pixels("map", SGD_BLUE) > 0
    page.click(".rule:nth-child(1) label b")
    assert page.pixels("map", SGD_BLUE) == page.pixels("chart", SGD_BLUE) == 0
    assert page.pixels("map", "#D55E00") > 0
    page.ask("document.querySelector('.rule input').focus()")
    page.key(" ")
    assert not page.playing
    assert page.pixels("map", SGD_BLUE) > 0


def test_browser_changes_the_surface(page, race, results):
    for i, (key, surface) in enumerate(race.SURFACES.items(), 1):
        page.click(f"#surfaces label:nth-of-type({i}) span")
        assert page.text("#story") == surface.story
        for k, (_, run) in enumerate(results[key].values(), 1):
            rate = f".rule:nth-child({k}) select"
            assert page.ask(f"document.querySelector('{rate}').value") == f"lr {run.lr:g}"
            text = page.text(f".rule:nth-child({k}) .now span")
            expected = "not there" if run.arrived is None else f"step {run.arrived}"
            assert text.endswith(expected), (key, text)
    page.key("ArrowLeft")  # the focus is on the last radio button
    assert page.text("#formula").startswith("f(x, y) = (1 \u2212 x)²")


def test_browser_ranks_by_steps_to_the_goal(page, race, results):
    arrived = {n: run.arrived for n, (_, run) in results["ravine"].items() if run.arrived}
    first = min(arrived, key=arrived.get)
    place = list(race.RULES).index(first) + 1
    assert page.text(f".rule:nth-child({place}) .now span") == f"1st, step {arrived[first]}"


def test_browser_chooses_among_the_recorded_rates(page, race, results):
    rates, sgd = list(race.RATES), results["ravine"]["SGD"]
    page.ask("document.querySelector('.rule select').focus()")
    before = rates.index(sgd[1].lr)
    page.key("ArrowUp")
    run = sgd[0][before - 1]
    assert page.ask("document.querySelector('.rule select').value") == f"lr {run.lr:g}"
    shown = float(page.text(".rule:nth-child(1) .now b"))
    assert shown == pytest.approx(run.losses[-1], rel=0.06)

    page.click("#all tbody tr:nth-child(1) td:nth-of-type(8) button")  # lr 1
    assert page.text(".rule:nth-child(1) .now span") == f"diverged, step {sgd[0][7].diverged}"
    pressed = "document.querySelector('#all tbody tr').querySelectorAll('[aria-pressed=true]')"
    assert page.ask(f"{pressed}.length") == 1
    assert page.ask(f"document.activeElement === {pressed}[0]")
    page.click("#reset")
    assert page.ask("document.querySelector('.rule select').value") == f"lr {sgd[1].lr:g}"


def test_browser_shows_it_in_the_dark(page, html):
    light = page.ask("getComputedStyle(document.body).backgroundColor")
    page.media(prefers_color_scheme="dark")
    page.until("darkness.matches")
    page.until(f"getComputedStyle(document.body).backgroundColor !== '{light}'")
    page.open(html, prefers_color_scheme="dark")
    assert page.pixels("map", SGD_BLUE) == 0  # another blue, which can be seen there
    assert page.pixels("map", "#4FA8EC") > 0
    for selector in ("body", "#story", ".soft", "#count", "td button", "#play", "h2"):
        assert contrast(page, selector) >= 4.5, selector


def test_browser_shows_it_in_the_light_with_contrast(page):
    for selector in ("body", "#story", ".soft", "#count", "td button", "#play", "h2"):
        assert contrast(page, selector) >= 4.5, selector


def contrast(page, selector):
    """The contrast of text to what is behind it, as the WCAG reckon it."""
    text, ground = page.ask(
        f"(e => {{ const text = getComputedStyle(e).color;"
        f"for (; e; e = e.parentElement) {{ const c = getComputedStyle(e).backgroundColor;"
        f"if (c !== 'rgba(0, 0, 0, 0)') return [text, c] }} }})"
        f"(document.querySelector('{selector}'))"
    )
    levels = []
    for color in (text, ground):
        parts = [float(n) for n in re.findall(r"[\d.]+", color)[:3]]
        parts = parts if color.startswith("color(") else [p / 255 for p in parts]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        levels.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)
    return max(levels) / min(levels)


def test_browser_fits_a_phone_and_obeys_fingers(page, html):
    page.open(html, width=360, height=740)
    assert page.ask("document.documentElement.scrollWidth") <= 360
    assert page.ask("document.getElementById('map').clientWidth") > 300
    page.touch("#surfaces label:nth-of-type(2) span")
    page.until("document.getElementById('formula').textContent.includes('3/8')")
    page.touch("#chart", 0.5)
    page.until(f"Math.abs(document.getElementById('step').value - {STEPS} / 2) < 12")
    page.touch("#play")
    page.until("document.getElementById('play').textContent === 'Pause'")
    small = page.ask(
        "[...document.querySelectorAll('.transport button, .rule label, .rule select')]"
        ".filter(e => e.offsetHeight < 40).length"
    )
    assert small == 0


def test_browser_moves_little_for_those_who_want_that(page, html):
    page.open(html, prefers_reduced_motion="reduce")
    page.ask(
        "var seen = new Set(), count = document.getElementById('count');"
        "new MutationObserver(() => seen.add(count.textContent)).observe(count, {childList: true});"
        "document.getElementById('speed').value = 2"
    )
    page.click("#play")
    page.until(f"seen.has('{STEPS} / {STEPS}')")
    assert page.ask("[...seen].map(parseFloat)") == [0, 24, 48, STEPS]  # every half second


def test_browser_finds_a_name_on_every_control(page):
    roles = {"button", "checkbox", "combobox", "slider", "radio", "image", "img", "table", "status"}
    counts = dict.fromkeys(roles, 0)
    for node in page.call("Accessibility.getFullAXTree")["nodes"]:
        role = node.get("role", {}).get("value")
        if role in ("button", "checkbox", "combobox", "slider", "radio", "image", "img"):
            counts[role] += 1
            assert node["name"]["value"].strip(), node
    assert counts["checkbox"] == counts["radio"] == 5
    assert counts["combobox"] == 6
    assert counts["slider"] == 1
    assert counts["button"] == 3 + 1 + 5 * 8
    assert counts["image"] + counts["img"] == 2
