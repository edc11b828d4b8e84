"""The laboratory: the page is what its sources say, and computes what minidl computes.

The rules, the surfaces and the network are written in JavaScript once more. Here a browser runs
them, and minidl does the same in float64. The claims' presets show what their notes say. Without a
browser the tests that need one are skipped.
"""

import importlib.util
import re

import numpy as np
import pytest
from browsers import contrast, drag, launched, opener
from programs import EXAMPLES, ROOT, printed_by

from minidl import Tensor, nn, optim
from minidl import functional as F

PAGE = EXAMPLES / "laboratory.html"
SOURCES = EXAMPLES / "laboratory"


# --- The file -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def joiner():
    """The program that joins the sources, as a module."""
    spec = importlib.util.spec_from_file_location("join_laboratory", SOURCES / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_its_sources_say(joiner):
    assert PAGE.read_text(encoding="utf-8") == joiner.joined(), "run: python examples/laboratory"
    assert "is up to date" in printed_by(SOURCES, "--check")


def test_every_source_is_in_the_page(joiner):
    assert {f"{name}.js" for name in joiner.SCRIPTS} == {f.name for f in SOURCES.glob("*.js")}
    for file in SOURCES.iterdir():
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            assert len(lines) <= 400, file
            assert max(map(len, lines)) <= 100, file


def test_the_page_asks_for_nothing():
    text = PAGE.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w+\.\w+/|@import|<link[^>]+href=\"(?!data:)", text)
    assert not re.search(r"\b(src|srcset|fetch|XMLHttpRequest|WebSocket|import)\s*[=(]", text)
    assert len(text.encode()) < 150_000


# --- The browser ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture
def opened(browser):
    with opener(browser, PAGE.as_uri(), ready="#claims button") as open_page:
        yield open_page


@pytest.fixture(scope="module")
def page(browser):
    """One page for the tests that only compute."""
    with opener(browser, PAGE.as_uri(), ready="#claims button") as open_page:
        yield open_page()


# --- The rules and surfaces are the library's -----------------------------------------------------


def jumps(t):
    return t // 60


def turned(x, y, o):
    c, s = np.cos(np.pi * o["turn"] / 180), np.sin(np.pi * o["turn"] / 180)
    return c * x + s * y, c * y - s * x


def bowl_of(place, kappa):
    return (place[0] ** 2 + kappa * place[1] ** 2) / 2


SURFACES = {  # the losses of surfaces.js, as minidl sees them; o are the options, t the step
    "bowl": lambda x, y, o, t: (x**2 + y**2) / 2,
    "ravine": lambda x, y, o, t: bowl_of(turned(x, y, o), o["kappa"]),
    "saddle": lambda x, y, o, t: x**2 - y**2 / 2 + y**4 / 6 + 3 / 8,
    "valley": lambda x, y, o, t: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
    "minima": lambda x, y, o, t: (x**2 + y**2) / 10 + (1 - np.cos(2 * x) * np.cos(2 * y)) / 4,
    "slope": lambda x, y, o, t: 12 - x + 0 * y,
    "moving": lambda x, y, o, t: (
        (1 / 3) ** jumps(t) * ((x - np.where(jumps(t) % 2, 2, -2)) ** 2 + y**2) / 2
    ),
}
CASES = [
    *((name, {"kappa": 1, "turn": 0}) for name in SURFACES if name != "ravine"),
    ("ravine", {"kappa": 100, "turn": 0}),
    ("ravine", {"kappa": 1000, "turn": 30}),
]
SETTINGS = {
    "SGD": [{"lr": lr} for lr in (0.0005, 0.01, 0.3)],
    "Momentum": [
        {"lr": 0.0005, "mu": 0.9},
        {"lr": 0.0005, "mu": 0.99, "nesterov": True},
        {"lr": 0.05, "mu": 0.5, "nesterov": True},
        {"lr": 0.1, "mu": 0.0},
    ],
    "Adagrad": [{"lr": lr} for lr in (0.05, 0.5, 2.0)],
    "RMSProp": [
        {"lr": lr, "decay_rate": rate}
        for lr, rate in [(0.003, 0.9), (0.05, 0.9), (0.01, 0.99), (0.2, 0.99)]
    ],
    "Adam": [
        {"lr": 0.05, "beta1": 0.9, "beta2": 0.999},
        {"lr": 0.2, "beta1": 0.5, "beta2": 0.99, "bias_correction": True},
        {"lr": 0.01, "beta1": 0.0, "beta2": 0.9, "bias_correction": False},
        {"lr": 0.1, "beta1": 0.95, "beta2": 0.99, "bias_correction": False},
    ],
}
STEPS = 200
NOISES = (0.0, 0.05)
# So near a minimum that the gradient is mostly rounding, RMSProp and Adam divide that by its size,
# and whoever rounds otherwise goes another way. These runs without noise come there in 200 steps
# (in the bent valley: bounce from wall to wall), and are compared up to this one.
ROUNDED = {
    ("saddle", "RMSProp", 0.05): 50,
    ("saddle", "Adam", 0.2): 110,
    ("saddle", "Adam", 0.01): 160,
    ("valley", "Adam", 0.2): 110,
    ("minima", "RMSProp", 0.05): 80,
}


def of_library(settings):
    """Settings of the page as minidl's rules take them."""
    given = dict(settings)
    if "beta1" in given:
        given["betas"] = (given.pop("beta1"), given.pop("beta2"))
    return given


def descend(surface, options, rule, settings, start, shifts):
    """The library's paths, (steps + 1, settings, 2), each with settings and shifts of its own."""
    points = [Tensor(np.array(start, float), requires_grad=True) for _ in settings]
    groups = [{"params": [p], **of_library(s)} for p, s in zip(points, settings, strict=True)]
    optimizer = getattr(optim, rule)(groups, lr=1.0)
    path = [np.stack([p.numpy() for p in points])]
    with np.errstate(all="ignore"):  # whoever diverges ends in infinity
        for t in range(STEPS):
            optimizer.zero_grad()
            x, y = (np.stack(points) + shifts[t]).T
            SURFACES[surface](x, y, options, t).sum().backward()
            optimizer.step()
            path.append(np.stack([p.numpy() for p in points]))
    return np.array(path)


def test_runs_are_those_of_the_library(page):
    """All rules on all surfaces, with each of the settings, with and without noise: the same to
    1e-9 in each of 200 steps, relative where numbers are above 1. A run that diverges is compared
    up to the step that takes it further than 1,000 from its start, where it ends in the page. Five
    of the 288 runs are compared for fewer steps: see ROUNDED."""
    runs = page.evaluate(
        """([cases, settings, steps, noises]) => cases.flatMap(([name, o]) =>
            Object.keys(settings).flatMap(rule => settings[rule].flatMap(own =>
              noises.map(noise => {
                const surface = SURFACES[name], shifts = batches(steps, noise, 3);
                const all = {...RULES[rule].settings, ...own};
                const run = descend(surface, o, rule, all, surface.start, steps, shifts);
                const {x, y, loss, diverged} = run;
                return {x, y, loss, diverged, start: surface.start, shifts: [...shifts]};
              }))))""",
        [CASES, SETTINGS, STEPS, NOISES],
    )
    runs = iter(runs)
    diverged = 0
    for surface, options in CASES:
        for rule, settings in SETTINGS.items():
            mine = [s for s in settings for _ in NOISES]
            theirs = [next(runs) for _ in mine]
            shifts = np.array([run["shifts"] for run in theirs]).reshape(len(mine), STEPS, 2)
            path = descend(
                surface, options, rule, mine, theirs[0]["start"], shifts.transpose(1, 0, 2)
            )
            for i, run in enumerate(theirs):
                case = f"{surface} {options}, {rule} {mine[i]}, noise {NOISES[i % 2]}"
                shown = np.array([run["x"], run["y"]]).T
                noisy = bool(NOISES[i % 2])
                most = STEPS if noisy else ROUNDED.get((surface, rule, mine[i]["lr"]), STEPS)
                np.testing.assert_allclose(
                    shown[: most + 1], path[: len(shown), i][: most + 1],
                    rtol=1e-9, atol=1e-9, err_msg=case,
                )  # fmt: skip
                loss = SURFACES[surface](*shown.T, options, np.arange(len(shown)))
                np.testing.assert_allclose(run["loss"], loss, 1e-9, 1e-12, err_msg=case)
                if run["diverged"] is None:
                    assert len(shown) == STEPS + 1, case
                else:
                    diverged += 1
                    assert not np.hypot(*(path[len(shown), i] - path[0, i])) < 1000, case
    assert next(runs, None) is None
    assert len(CASES) * len(NOISES) * sum(map(len, SETTINGS.values())) == 288
    assert 10 < diverged < 40  # the grid has both


def test_curvatures_and_theory_are_those_of_the_matrix(page):
    for kappa, lr, mu in [(100, 0.005, 0.9), (100, 0.03, 0.2), (10, 0.01, 0.0), (50, 0.001, 0.95)]:
        for curvature in (1, kappa):  # x and v of one direction: v = mu v - c x; x += lr v
            matrix = [[1 - lr * curvature, lr * mu], [-curvature, mu]]
            largest = np.abs(np.linalg.eigvals(matrix)).max()
            assert page.evaluate(
                "([c, lr, mu]) => factorPerStep(c, lr, mu)", [curvature, lr, mu]
            ) == pytest.approx(largest, rel=1e-9)
    best = page.evaluate("bestSettings(1, 100)")
    assert best["Momentum"] == pytest.approx({"lr": (2 / 11) ** 2, "mu": (9 / 11) ** 2})
    assert best["SGD"]["lr"] == pytest.approx(2 / 101)
    for name, least in [("SGD", 99 / 101), ("Momentum", 9 / 11)]:
        factors = page.evaluate(
            "([lr, mu]) => [1, 100].map(c => factorPerStep(c, lr, mu))",
            [best[name]["lr"], best[name]["mu"]],
        )
        assert factors == pytest.approx([least] * 2, rel=1e-6)
    low, high = page.evaluate("curvaturesAt(SURFACES.ravine, 0.3, 0.2, {kappa: 70, turn: 25}, 0)")
    assert (low, high) == pytest.approx((1, 70), rel=1e-6)


# --- The network is the library's -----------------------------------------------------------------

TRAININGS = [
    {"activation": a, "batchNorm": n, "rule": r, "data": d, "units": u, "regularize": l2}
    for a, n, r, d, u, l2 in [
        ("relu", False, "SGD", "moons", [8, 8], "none"),
        ("relu", True, "Momentum", "blobs", [8, 5], "none"),
        ("tanh", False, "Adam", "spirals", [8, 8, 8], "none"),
        ("tanh", True, "RMSProp", "spirals", [6], "L2"),
        ("sigmoid", False, "Adagrad", "xor", [4, 4], "L2"),
        ("leaky", True, "Adam", "circles", [5, 5], "none"),
        ("none", False, "Momentum", "plane", [3], "none"),
        ("tanh", True, "SGD", "hills", [8, 4], "none"),
        ("relu", False, "RMSProp", "moons", [], "none"),
    ]
]
LAYERS = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "leaky": nn.LeakyReLU,
    "none": nn.Sequential,
}  # fmt: skip


def model_of(case, columns, classes, layers):
    """The library's model, with the weights that the page began with."""
    parts, inputs = [], columns
    for units in [*case["units"], classes]:
        hidden = len(parts) // 3 < len(case["units"])
        normed = hidden and case["batchNorm"]
        linear = nn.Linear(inputs, units, bias=not normed, dtype=np.float64)
        norm = nn.BatchNorm(units, dtype=np.float64) if normed else nn.Sequential()
        parts += [linear, norm, LAYERS[case["activation"]]() if hidden else nn.Sequential()]
        inputs = units
    for linear, weight in zip(parts[::3], layers, strict=True):
        linear.weight.data[...] = np.reshape(weight, linear.weight.shape)
    return nn.Sequential(*parts)


def flat(model, of):
    """All parameters, or their gradients, in the order in which the page keeps them."""
    return np.concatenate([of(p).ravel() for p in model.parameters()])


@pytest.mark.parametrize("case", TRAININGS, ids=lambda case: f"{case['activation']}-{case['rule']}")
def test_training_is_that_of_the_library(page, case):
    """Gradients, parameters after 50 steps and predictions are the same to 1e-9."""
    theirs = page.evaluate(
        """wanted => {
            const state = {...structuredClone(NETWORK), ...wanted, features: ["x", "y", "xy"],
              standardize: true, batch: 16, strength: 0.01, rules: {}};
            const settings = {...RULES[wanted.rule].settings, ...NETWORK.rules[wanted.rule]};
            state.rules[wanted.rule] = settings;
            const random = new Random(5), set = DATASETS[wanted.data];
            const points = random.shuffle(set.make(80, 0.1, random));
            const trainer = new Trainer(state, points.slice(0, 60), points.slice(60));
            const {network, optimizer} = trainer, out = {settings: optimizer.settings};
            out.raw = points.map(p => [p.x, p.y]);
            out.labels = points.map(p => p.label);
            out.weights = network.layers.map(l => [...l.weight]);
            out.classes = network.sizes.at(-1);
            out.batches = [];
            out.losses = [];
            for (let i = 0; i < 50; i++) {
              out.batches.push(trainer.nextBatch());
              out.losses.push(trainer.step(out.batches.at(-1)));
              if (i === 0) out.gradients = [...network.dx];
            }
            trainer.measure();
            return {...out, x: [...network.x], now: trainer.now,
              outputs: [...network.forward(trainer.testInputs, "predict")]};
        }""",
        case,
    )
    xy = np.array(theirs["raw"])
    raw = np.column_stack([xy, xy[:, 0] * xy[:, 1]])
    inputs = (raw - raw[:60].mean(0)) / raw[:60].std(0)
    labels = np.array(theirs["labels"])
    model = model_of(case, 3, theirs["classes"], theirs["weights"])
    settings = of_library(theirs["settings"])
    optimizer = getattr(optim, case["rule"])(model.parameters(), **settings)
    assert (settings["weight_decay"] > 0) == (case["regularize"] == "L2")
    values = case["data"] in ("plane", "hills")

    def loss_of(rows):
        outputs = model(inputs[rows])
        if values:
            return F.mse_loss(outputs, labels[rows, None])
        return F.cross_entropy(outputs, labels[rows])

    model.train()
    for i, rows in enumerate(theirs["batches"]):
        assert len(set(rows)) == 16
        optimizer.zero_grad()
        loss = loss_of(rows)
        loss.backward()
        assert theirs["losses"][i] == pytest.approx(loss.item(), rel=1e-9)
        if i == 0:
            gradients = flat(model, lambda p: p.grad)
            np.testing.assert_allclose(theirs["gradients"], gradients, rtol=1e-9, atol=1e-12)
        optimizer.step()
    np.testing.assert_allclose(theirs["x"], flat(model, lambda p: p.data), rtol=1e-9, atol=1e-9)
    model.eval()
    test = np.arange(60, 80)
    outputs = model(inputs[test]).numpy()
    np.testing.assert_allclose(theirs["outputs"], outputs.ravel(), rtol=1e-9, atol=1e-9)
    assert theirs["now"]["test"] == pytest.approx(loss_of(test).item(), rel=1e-9)
    if not values:
        assert theirs["now"]["testRight"] == np.mean(outputs.argmax(1) == labels[test])


# --- The claims show what their notes say ---------------------------------------------------------


def outcomes(page, claim, **changes):
    """Set a claim up, change some of it, and return the runs by name."""
    return page.evaluate(
        """([claim, {rules = {}, ...changes}]) => {
            openClaim(claim);
            Object.assign(raceTab.state, changes);
            for (const name in rules) Object.assign(raceTab.state.rules[name], rules[name]);
            raceTab.show();
            return {...raceTab.runs, said: $("verdict").textContent};
        }""",
        [claim, changes],
    )


def kinds(runs):
    return {name: run["outcome"]["kind"] for name, run in runs.items() if name != "said"}


def test_c5_the_rate_is_for_one_condition_number_only(page):
    assert set(kinds(outcomes(page, "C5")).values()) == {"arrived"}
    steeper = kinds(outcomes(page, "C5", kappa=150))
    assert steeper.pop("SGD") == "diverged"
    assert set(steeper.values()) == {"arrived"}
    slower = kinds(outcomes(page, "C5", rules={"SGD": {"lr": 0.0019}}))
    assert slower["SGD"] == "moving"


def test_c9_momentum_passes_and_settles(page):
    runs = outcomes(page, "C9")
    assert runs["SGD"]["outcome"] == {"kind": "resting", "where": "in a local minimum"}
    assert runs["Momentum"]["outcome"]["kind"] == "arrived"
    assert max(runs["Momentum"]["x"]) > 1.2  # beyond the deepest hollow, too
    assert runs["Momentum"]["length"][-1] < 1e-2 * max(runs["Momentum"]["length"])
    assert runs["said"] == (
        f"First at the goal: Momentum, in {runs['Momentum']['outcome']['step']} steps. "
        "SGD is stuck in a local minimum."
    )


def test_c11_adagrad_helps_in_a_ravine_along_an_axis_only(page):
    runs = outcomes(page, "C11")
    assert runs["Adagrad"]["outcome"]["step"] < 10
    assert kinds(runs)["SGD"] == "moving"
    slanting = outcomes(page, "C11", turn=45)
    assert kinds(slanting)["Adagrad"] == "crawling"


def test_c12_adagrads_step_shrinks_while_gradients_keep_coming(page):
    length = outcomes(page, "C12")["Adagrad"]["length"]
    assert length[399] == pytest.approx(length[99] / 2, rel=1e-6)
    rates = outcomes(page, "C12", surface="bowl", start=[-3.2, 1.8], rules={"Adagrad": {"lr": 1}})
    rates = rates["Adagrad"]["rates"]
    np.testing.assert_allclose(rates[-1], rates[99], rtol=1e-6)


def test_c13_forgetting_helps_where_gradients_shrink(page):
    runs = outcomes(page, "C13")
    mean = {name: runs[name]["outcome"]["value"] for name in ("Adagrad", "RMSProp")}
    assert mean["Adagrad"] > 2 * mean["RMSProp"]
    best = page.evaluate(
        """["Adagrad", "RMSProp"].map(name => Math.min(...STOPS.rate.map(lr => descend(
            SURFACES.moving, {}, name, {...raceTab.state.rules[name], lr}, SURFACES.moving.start,
            400, batches(400, 0, 1)).outcome.value)))"""
    )
    assert list(mean.values()) == best
    assert outcomes(page, "C13", surface="bowl")["said"].startswith("First at the goal: Adagrad")


def test_c14_only_exactly_on_the_ridge_rmsprop_stays(page):
    assert set(kinds(outcomes(page, "C14")).values()) == {"resting"}
    assert "SGD and RMSProp are stuck at the saddle" in page.text_content("#verdict")
    beside = kinds(outcomes(page, "C14", start=[-1.6, 1e-12]))
    assert beside == {"SGD": "resting", "RMSProp": "arrived"}


def test_c15_adam_goes_a_steadier_way(page):
    for seed in (1, 2, 3, 4):
        runs = outcomes(page, "C15", seed=seed)
        assert runs["RMSProp"]["turn"] > 80
        assert runs["Adam"]["turn"] < 30


def test_c16_adam_without_momentum_is_rmsprop(page):
    runs = outcomes(page, "C16")
    assert runs["Adam"]["x"] == runs["RMSProp"]["x"]
    assert runs["Adam"]["y"] == runs["RMSProp"]["y"]
    assert "RMSProp and Adam take the very same path" in runs["said"]
    assert "same path" not in outcomes(page, "C16", rules={"Adam": {"beta1": 0.5}})["said"]


def test_c17_first_steps_are_too_large_without_correction(page):
    length = np.array(outcomes(page, "C17")["Adam"]["length"])
    assert (length.max(), length.argmax() + 1) == (pytest.approx(6.57, abs=0.01), 12)
    corrected = outcomes(page, "C17", rules={"Adam": {"bias_correction": True}})
    np.testing.assert_allclose(corrected["Adam"]["length"], 1, rtol=1e-6)


def trained(page, claim, steps, seed):
    """Train a claim's networks without drawing; what each came to, the chosen one first."""
    return page.evaluate(
        """([claim, steps, seed]) => {
            networkTab.set({...PRESETS[claim].network, seed});
            return networkTab.trainers.map(({name, trainer}) => {
              for (let i = 0; i < steps && !trainer.lost; i++) trainer.step();
              trainer.measure();
              trainer.network.forward(trainer.inputs, "look");
              const last = trainer.network.layers.at(-2).rooms.get(trainer.labels.length).before;
              return {name, ...trainer.now, lost: trainer.lost, ...spreadOf(last)};
            });
        }""",
        [claim, steps, seed],
    )


def test_c1_standardized_inputs_are_learned(page):
    for seed in (1, 2, 3):
        standardized, raw = trained(page, "C1", 300, seed)
        assert (standardized["name"], raw["name"]) == ("standardized", "raw inputs")
        assert standardized["trainRight"] > 0.97
        assert raw["lost"] or raw["trainRight"] < 0.92


def test_c2_batch_normalisation_keeps_values_of_a_good_size(page):
    for seed in (1, 2, 3):
        with_norm, without = trained(page, "C2", 100, seed)
        assert (with_norm["name"], without["name"]) == ("with BatchNorm", "without BatchNorm")
        assert 0.5 < with_norm["deviation"] < 2
        assert without["deviation"] < 0.1
        assert with_norm["train"] < without["train"] / 2
    assert [of["trainRight"] for of in trained(page, "C2", 1000, 1)] == [1, 1]


def test_nothing_is_said_of_a_network_before_it_is_trained(page):
    page.evaluate('openClaim("C2")')
    assert page.inner_text("#result") == "Not trained yet: press Train."
    page.click("#train-step")
    assert page.inner_text("#result").startswith("Right in training")


def test_verdicts_are_those_of_the_lecture(page):
    text = (ROOT / "docs" / "lecture.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| \[(C\d+)\].*?\| ([^|]*) \|(?: [^|]* \|){2} ([^|]*) \|$", text, re.MULTILINE
    )
    lecture = {name: (claim, verdict) for name, claim, verdict in rows}
    shown = page.evaluate(
        "Object.entries(PRESETS).map(([name, {claim, verdict}]) => [name, [claim, verdict]])"
    )
    required = {"C1", "C2", "C5", "C9", *(f"C{n}" for n in range(11, 18))}
    assert {name for name, _ in shown} == required
    for name, (claim, verdict) in shown:
        assert (claim, verdict) == lecture[name], name


# --- The page as people use it --------------------------------------------------------------------


def start_of(page):
    return page.evaluate("raceTab.state.start")


def test_browser_drags_the_start_and_drops_all_on_the_map(opened):
    page = opened()
    before = page.text_content("#verdict")
    box = page.locator("#start").bounding_box()
    page.mouse.move(box["x"] + 22, box["y"] + 22)
    page.mouse.down()
    page.mouse.move(box["x"] + 122, box["y"] - 38)
    page.mouse.up()
    unit = page.evaluate("document.getElementById('map').clientWidth") / 8
    assert start_of(page) == pytest.approx([-4 + 100 / unit, 1 + 60 / unit], abs=0.02)
    assert page.text_content("#verdict") != before
    page.click("#map", position={"x": 6 * unit, "y": 4 * unit})
    assert start_of(page) == pytest.approx([1, -1], abs=0.02)
    x, y = page.evaluate("Object.values(raceTab.runs).map(r => [r.x[0], r.y[0]])")[4]
    assert [x, y] == start_of(page)
    drag(page, "#loss", (0.9, 0.5), (0.5, 0.5))
    assert 80 < int(page.input_value("#step")) < 220


def test_browser_works_by_keyboard(opened):
    page = opened()
    page.focus("#start")
    for key in ("ArrowRight", "ArrowUp", "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert start_of(page) == [-3.45, 1.05]
    page.focus("#tab-race")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#network")
    page.keyboard.press("ArrowLeft")
    assert page.is_visible("#race")
    page.get_by_label("SGD: learning rate").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("raceTab.state.rules.SGD.lr") == 0.02
    seen = []
    while "best" not in seen:  # the last button of the tab
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.ariaLabel"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert {"Momentum: mu", "Adam: beta2", "Adam: bias correction"} <= set(seen)


def test_browser_plays_to_the_end_and_shows_each_step(opened):
    page = opened()
    page.select_option("#speed", "4")
    page.evaluate("raceTab.state.steps = 50; raceTab.show()")
    page.click("#play")
    page.wait_for_function("document.getElementById('count').textContent === '50 / 50'")
    page.wait_for_function("play.textContent.trim() === 'Play'")
    page.click("#back")
    assert page.input_value("#step") == "49"
    loss = page.evaluate("raceTab.runs.Adam.loss[49]")
    shown = page.text_content("#rules section:nth-child(5) dd")
    assert float(shown) == pytest.approx(loss, rel=0.06)
    x, y = page.evaluate("[raceTab.runs.Adam.x[49], raceTab.runs.Adam.y[49]]")
    unit = page.evaluate("document.getElementById('map').clientWidth") / 8
    at = f"{round((x + 5) * unit)}, {round((3 - y) * unit)}, 1, 1"
    color = page.evaluate(f"[...$('map').getContext('2d').getImageData({at}).data]")
    assert bytes(color[:3]).hex() == "e69f00"  # the marker is where the point is


def test_browser_trains_on_ones_own_points(opened):
    page = opened("#network")
    page.get_by_label("points", exact=True).select_option("own")
    assert page.is_disabled("#train") or "two points" in page.text_content("#result")
    box = page.locator("#output").bounding_box()
    for x, y in [(0.2, 0.3), (0.3, 0.2), (0.25, 0.25)]:
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.get_by_label("class B").check()
    page.focus("#output")
    for key in ["ArrowRight"] * 3 + ["Enter", "ArrowDown", "Enter"]:
        page.keyboard.press(key)
    points = page.evaluate("networkTab.state.own")
    assert [p["label"] for p in points] == [0, 0, 0, 1, 1]
    assert points[0]["x"] == pytest.approx(-1.56, abs=0.02)
    assert (points[4]["x"], points[4]["y"]) == pytest.approx((0.3, -0.1))
    page.click("#train")
    page.wait_for_function("networkTab.trainers[0].trainer.now.trainRight === 1")
    page.click("#train")
    assert page.text_content("#result") == "Right in training: Adam 100 %."
    page.get_by_role("button", name="Undo").click()
    assert len(page.evaluate("networkTab.state.own")) == 4


def test_browser_changes_the_network_and_its_weights(opened):
    page = opened("#network")
    page.click("#more")
    assert page.evaluate("networkTab.state.units") == [8, 8, 8]
    page.get_by_role("button", name="One unit fewer in layer 3").click()
    assert page.evaluate("networkTab.trainers[0].trainer.network.sizes") == [2, 8, 8, 7, 2]
    page.get_by_label("Feature xy").check()
    page.get_by_role("button", name="layer 1, unit 2").click()
    page.get_by_label("from xy").fill("2.5")
    page.get_by_label("from xy").press("Enter")
    weight = "networkTab.trainers[0].trainer.network.layers[0].weight[5]"
    assert page.evaluate(weight) == 2.5
    assert page.text_content("#shown") == "layer 1, unit 2"
    page.get_by_label("compare with").select_option("rules")
    page.click("#train-step")
    assert page.text_content("#result").count(" %") == 10
    assert "Lowest loss: " in page.text_content("#result")
    assert page.locator("#others figure").count() == 4


def test_browser_puts_a_set_up_into_the_address(opened):
    page = opened("#C14")
    page.evaluate("raceTab.drop(0.5, 0.25); raceTab.state.rules.SGD.lr = 0.07")
    page.click("#link")
    other = opened(page.evaluate("location.hash"))
    assert other.evaluate("raceTab.state") == page.evaluate("raceTab.state")
    assert start_of(other) == [0.5, 0.25]
    assert other.is_hidden("#note")
    for nonsense in ("#race=%7B", "#network=%", '#race={"surface":"moon"}', "#moon"):
        other.evaluate("text => { history.replaceState(null, '', text); openHash() }", nonsense)
        assert other.is_visible("#network" if "network" in nonsense else "#race")
    assert other.evaluate("raceTab.state.surface") == "ravine"


def test_browser_fits_a_phone_and_obeys_fingers(opened):
    page = opened(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    for fragment in ("race", "network", "C2", "C11"):
        page.evaluate(f"location.hash = '{fragment}'")
        page.wait_for_timeout(30)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, fragment
    assert page.evaluate("$('map').clientWidth") > 300
    for claim in ("C9", "C17"):  # at the end of their rows, and with long formulas
        page.evaluate(f"location.hash = '{claim}'")
        page.wait_for_timeout(30)
        for what in ("#formula", "#claims [aria-pressed=true]", "#surfaces label:has(:checked)"):
            box = page.locator(what).bounding_box()
            assert 0 <= box["x"] <= 360 - box["width"], (claim, what)
    page = opened(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page.tap("#map")
    assert start_of(page) == pytest.approx([-1, 0], abs=0.05)
    box = page.locator("#start").bounding_box()
    touch = page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for kind, points in [
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x - 20, "y": y - 30}]),
        ("touchMove", [{"x": x - 40, "y": y - 60}]),
        ("touchEnd", []),
    ]:
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    unit = page.evaluate("$('map').clientWidth") / 8
    page.wait_for_function("raceTab.state.start[1] > 1")
    assert start_of(page) == pytest.approx([-1 - 40 / unit, 60 / unit], abs=0.1)
    small = page.evaluate(
        "[...document.querySelectorAll('#race button, #race select')]"
        ".filter(e => e.offsetHeight && e.offsetHeight < 32).map(e => e.id)"
    )
    assert small == []


def test_browser_shows_it_dark_and_light_with_contrast(opened):
    text = ("body", "#story", "#count", "#verdict", "#play", "h2", ".rule code", ".knob output")
    page = opened("#C9", color_scheme="dark")
    grounds = [page.evaluate("getComputedStyle(document.body).backgroundColor")]
    assert all(contrast(page, s) >= 4.5 for s in (*text, "#note .badge", "#claims button"))
    for label in ("Colors: dark", "Colors: light"):
        page.click("#theme")
        assert page.text_content("#theme") == label
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] == grounds[1] != grounds[2]
    assert all(contrast(page, s) >= 4.5 for s in (*text, "#note .badge", "#claims button"))


def test_browser_moves_little_for_those_who_want_that(opened):
    page = opened(reduced_motion="reduce")
    page.evaluate("raceTab.state.steps = 50; raceTab.show()")
    page.select_option("#speed", "4")
    page.evaluate(
        "window.seen = new Set(); new MutationObserver(() => seen.add(count.textContent))"
        ".observe(count, {childList: true})"
    )
    page.click("#play")
    page.wait_for_function("seen.has('50 / 50')")
    assert page.evaluate("[...seen].map(parseFloat)") == [48, 50]  # every half second


@pytest.mark.parametrize(("fragment", "button"), [("", "#play"), ("#C2", "#train")])
def test_browser_computes_and_draws_30_times_a_second_on_one_core(opened, fragment, button):
    """The time of the page's own thread, so that other programs do not count."""
    page = opened(fragment)
    tools = page.context.new_cdp_session(page)
    tools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy():
        found = tools.send("Performance.getMetrics")["metrics"]
        return next(m["value"] for m in found if m["name"] == "TaskDuration")

    page.click(button)
    before = busy()
    frames = page.evaluate(
        """new Promise(done => {
            let frames = 0;
            const begin = performance.now();
            const next = now => {
                frames++;
                if (now < begin + 1000) requestAnimationFrame(next);
                else done(frames);
            };
            requestAnimationFrame(next);
        })"""
    )
    assert (busy() - before) / frames < 1 / 30


def test_browser_finds_a_name_on_every_control(opened):
    page = opened("#network")
    controls = page.evaluate(
        """[...document.querySelectorAll("button, input, select, canvas, [role]")]
            .filter(e => !e.ariaHidden && !e.closest(".unit canvas"))
            .map(e => [e.tagName, e.id, e.ariaLabel || e.labels?.[0]?.textContent ||
              (e.ariaLabelledByElements ?? [])[0]?.textContent || e.textContent])"""
    )
    assert len(controls) > 100
    assert [c for c in controls if not c[2].strip()] == []
