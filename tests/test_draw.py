"""Drawing graphs: what the text says, what the picture shows, and what is refused."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import minidl
from minidl import Tensor, draw, grad, nn
from minidl import functional as F
from minidl.diagnosis.layout import places

X = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
SVG = "{http://www.w3.org/2000/svg}"


def scalar(value):
    return Tensor(np.array(value, np.float64), requires_grad=True)


def rows(drawing):
    """The lines of the text by the name of their box: cells, split where two blanks are."""
    lines = [line for line in str(drawing).splitlines()[2:] if " = " in line]
    return {line.split(" = ")[0]: re.split(r"  +", line.split(" = ")[1]) for line in lines}


def network():
    minidl.seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm(8), nn.ReLU(),
        nn.Linear(8, 8), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


# --- The text -------------------------------------------------------------------------------------


def test_each_leaf_and_result_has_a_line_with_value_and_gradient():
    a, b, c = scalar(3.0), scalar(5.0), scalar(2.0)
    y = a * b + c
    assert rows(draw(y)) == {
        "a": ["leaf", "()", "3", "5"],
        "b": ["leaf", "()", "5", "3"],
        "c": ["leaf", "()", "2", "1"],
        "t1": ["np.multiply(a, b)", "()", "15", "1"],  # its value is computed anew
        "y": ["np.add(t1, c)", "()", "17", "1"],
    }
    assert (
        str(draw(y)).splitlines()[0].startswith("y and what it was computed from: 3 leaves, 2 op")
    )


def test_a_shared_result_stands_once_and_its_gradients_have_come_together():
    x = scalar(3.0)
    u = x * x
    v = u * u
    y = v + u
    found = rows(draw(y))
    assert list(found) == ["x", "u", "v", "y"]
    assert [found[name][-1] for name in found] == ["114", "19", "1", "1"]


def test_drawing_changes_nothing():
    x = scalar(2.0)
    y = x * x
    y.retain_grad()
    z = y * y
    draw(z)
    assert (x.grad, y.grad) == (None, None)
    z.backward(retain_graph=True)
    before = str(draw(z))
    z.backward(retain_graph=True)  # adds to grad, and not to what is drawn
    assert (x.grad, str(draw(z))) == (64, before)
    seen = []

    class Sees(minidl.modes.Watcher):
        def going_back(self, node, name):
            seen.append(name)

    with minidl.modes.watched_by(Sees()):
        draw(z)
    assert seen == []


def test_gradients_are_those_of_grad_in_a_network_with_batchnorm():
    model = network()
    loss = nn.CrossEntropyLoss()(model(X), np.arange(16) % 3)
    found = rows(draw(loss))
    gradients = grad(loss, list(model.parameters()), retain_graph=True)
    for (name, _), g in zip(model.named_parameters(), gradients, strict=True):
        if g.size > 4:
            low, high = map(float, found[name][-1].split(" … "))
            np.testing.assert_allclose([low, high], [g.min(), g.max()], rtol=6e-3)
    called = [row[0].split("(")[0] for row in found.values()][-8:]
    block = ["linear", "batch_norm", "relu"]
    assert called == [*block, *block, "linear", "cross_entropy"]
    assert found["X"][0] == "array"  # without gradient
    assert len(found["t1"]) == 3  # its value is gone: batch norm keeps another in its place


def test_a_result_of_many_elements_has_no_gradients():
    x = Tensor(np.arange(6.0), requires_grad=True)
    y = x * 2
    text = str(draw(y))
    assert "gradient" not in text
    assert "0 … 10" in text
    assert "this colour" not in draw(y).svg


def test_what_is_not_known_is_left_out_and_said():
    def hidden():
        return scalar(1.0) + 2.0

    text = str(draw(hidden()))
    assert "leaf = leaf" in text
    assert "np.add(leaf, ·)" in text
    assert text.splitlines()[-1].startswith("·: an input without gradient")


def test_what_follows_from_an_unknown_array_is_not_known():
    x = Tensor(np.ones(2), requires_grad=True)
    assert rows(draw((np.ones(2) + x).sum()))["t1"] == ["np.add(·, x)", "(2,)", "[1 1]"]


def test_the_value_of_a_leaf_is_known_by_its_variable_where_no_rule_keeps_it():
    x = scalar(3.0)
    assert rows(draw(x + x))["x"] == ["leaf", "()", "3", "2"]


def test_numbers_that_are_not_finite_are_counted():
    x = Tensor(np.array([1.0, 0.0, 4.0, 9.0, 16.0]), requires_grad=True)
    with np.errstate(all="ignore"):
        y = np.log(x)
        z = y.sum()
    assert rows(draw(z))["y"][2] == "0 … 2.77, 1 not finite"
    del y  # and is computed anew, without a warning
    assert rows(draw(z))["t1"][2] == "0 … 2.77, 1 not finite"
    nothing = Tensor(np.full(5, np.nan), requires_grad=True)
    assert rows(draw(nothing.sum()))["nothing"][2] == "5 not finite"


@pytest.mark.parametrize(("n", "value"), [(99_999, "all 2"), (100_000, "all 1")])
def test_what_is_large_is_not_computed_anew(n, value):
    x = Tensor(np.ones(n), requires_grad=True)
    assert rows(draw((x + x).sum()))["t1"][2] == value  # or the gradient, where no value is


def test_four_numbers_are_shown_and_of_more_the_smallest_and_the_largest():
    for n, value in ((4, "[0 1 2 3]"), (5, "0 … 4")):
        x = Tensor(np.arange(float(n)), requires_grad=True)
        assert rows(draw(x.sum()))["x"][2] == value


def test_of_many_values_that_are_no_numbers_the_dtype_is_shown():
    x = Tensor(np.arange(5.0), requires_grad=True)
    mask = np.arange(5) > 2
    found = rows(draw((x * mask).sum()))
    assert found["mask"] == ["array", "(5,)", "bool"]
    assert found["t1"][0] == "np.multiply(x, mask)"


def test_the_columns_of_the_text_stand_below_each_other():
    head, *lines = str(draw(GRAPHS["network"]())).splitlines()[1:]
    shape, value = head.index("shape"), head.index("value") + len("value")
    assert len(lines) == 19
    for line in lines:
        assert line[shape - 2 : shape + 1] == "  ("
        assert line[value : value + 2] == "  "[: len(line) - value]
        assert len(line) == len(head) or "array" in line  # where the gradients end


@pytest.mark.parametrize(
    ("expected", "function"),
    [
        ("cross_entropy(", lambda x: F.cross_entropy(x, np.array([0, 1]))),
        (
            "binary_cross_entropy_with_logits(",
            lambda x: F.binary_cross_entropy_with_logits(x, np.ones((2, 3))),
        ),
        ("huber_loss(", lambda x: F.huber_loss(x, np.zeros((2, 3)))),
        ("np.linalg.norm(", np.linalg.norm),
        ("np.concatenate(x, x, t1)", lambda x: np.concatenate([x, x, x * 2])),
        ("x[0, 1:]", lambda x: x[0, 1:]),
        ("x[..., array]", lambda x: x[..., np.array([0, 2])]),
        ("np.concatenate(x)", lambda x: np.concatenate([np.ones((1, 3)), x])),
        ("linear(x, x)", lambda x: F.linear(x, x)),
        ("np.sum(x, axis=1)", lambda x: x.sum(axis=1)),
        ("np.power(x, 3)", lambda x: x**3),
        ("softmax(", F.softmax),
        ("conv2d(", lambda x: F.conv2d(x.reshape(1, 1, 2, 3), np.ones((1, 1, 2, 2)))),
    ],
)  # fmt: skip
def test_operations_are_called_what_people_call_them(expected, function):
    x = Tensor(X[:2, :3] * 1, requires_grad=True)
    assert expected in str(draw(function(x).sum(), x=x))


def test_a_gradient_that_has_a_graph_can_be_drawn_too():
    x = scalar(2.0)
    dx = grad(x**3, x, create_graph=True)
    found = rows(draw(dx))
    assert (found["dx"][-2], found["x"][-1]) == ("12", "12")


# --- Names ----------------------------------------------------------------------------------------


def test_names_that_are_given_come_before_variables():
    a, b = scalar(3.0), scalar(5.0)
    found = rows(draw(a * b, weight=a, product=b))
    assert list(found) == ["weight", "product", "result"]


def test_a_leaf_without_a_name_is_called_by_the_parameter_that_it_is_for():
    w, b = np.ones((2, 4), np.float32), np.ones(2, np.float32)
    y = F.linear(X, Tensor(w * 1, requires_grad=True), Tensor(b * 1))
    assert list(rows(draw(y)))[:3] == ["weight", "X", "bias"]
    stacked = np.stack([scalar(1.0), scalar(2.0)])
    assert list(rows(draw(stacked)))[:2] == ["leaf", "leaf_2"]


def test_models_are_told_apart_only_where_two_are_in_the_graph():
    first, second, other = nn.Linear(4, 4, rng=0), nn.Linear(4, 2, rng=1), nn.Linear(2, 2)
    assert "weight" in rows(draw(first(X)))
    found = rows(draw(second(first(X)), head=second))
    assert {"first.weight", "first.bias", "head.weight", "head.bias"} <= set(found)
    assert not any("other" in name for name in found)
    del other


def test_a_model_of_one_parameter_gives_it_its_name():
    class Scale(nn.Module):
        def __init__(self):
            self.factor = nn.Parameter(np.ones(2))

        def forward(self, x):
            return x * self.factor

    model = Scale()
    assert "factor" in rows(draw(model(np.ones(2)).sum()))


def test_tensors_without_gradient_have_the_names_of_their_variables_too():
    w, v = Tensor(np.ones(2), requires_grad=True), Tensor(np.ones(2), requires_grad=True)
    first, second = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    found = rows(draw((w * first + v * second).sum()))
    assert found["first"] == ["array", "(2,)", "[1 2]"]
    assert found["second"] == ["array", "(2,)", "[3 4]"]


def test_what_enters_twice_is_one_box():
    w, v = Tensor(np.ones((4, 2)), requires_grad=True), Tensor(np.ones((4, 2)), requires_grad=True)
    x = X.astype(np.float64)
    y = (x @ w + x @ v).sum()
    assert list(rows(draw(y))) == ["x", "w", "t1", "v", "t2", "t3", "y"] or list(rows(draw(y))) == [
        "w",
        "v",
        "x",
        "t1",
        "t2",
        "t3",
        "y",
    ]


# --- The picture ----------------------------------------------------------------------------------


def boxes_of(svg):
    """The rectangles of a picture but its card: left, top, right, bottom."""
    found = []
    for r in ET.fromstring(svg).iter(f"{SVG}rect"):
        if r.get("class") != "card":
            x, y, w, h = (float(r.get(key)) for key in ("x", "y", "width", "height"))
            found.append((x, y, x + w, y + h))
    return found


def deep(n):
    w, x = Tensor(np.eye(2), requires_grad=True), Tensor(np.ones(2), requires_grad=True)
    for _ in range(n):
        x = np.tanh(w @ x)
    return x.sum()


def wide(n):
    return np.stack([scalar(float(i)) for i in range(n)]).sum()


def residual(n):
    x = Tensor(np.ones((3, 4)), requires_grad=True)
    for i in range(n):
        x = x + F.relu(nn.Linear(4, 4, rng=i, dtype=np.float64)(x))
    return x.mean()


GRAPHS = {
    "scalars": lambda: scalar(3.0) * scalar(5.0) + scalar(2.0),
    "network": lambda: nn.CrossEntropyLoss()(network()(X), np.arange(16) % 3),
    "residual": lambda: residual(4),
    "deep": lambda: deep(60),
    "wide": lambda: wide(40),
    "leaf": lambda: scalar(3.0),
    "square": lambda: (lambda x: x * x)(scalar(3.0)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_no_box_covers_another_and_all_are_on_the_card(name):
    drawing = draw(GRAPHS[name]())
    root = ET.fromstring(drawing.svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    found = boxes_of(drawing.svg)
    assert len(found) == len(rows(drawing))
    for i, (left, top, right, bottom) in enumerate(found):
        assert left >= 10
        assert right <= width - 10
        assert top >= 40
        assert bottom <= height - 10
        for x0, y0, x1, y1 in found[:i]:
            assert right + 8 <= x0 or x1 + 8 <= left or bottom + 8 <= y0 or y1 + 8 <= top


@pytest.mark.parametrize("name", GRAPHS)
def test_each_input_has_an_arrow_that_comes_from_above(name):
    drawing = draw(GRAPHS[name]())
    root = ET.fromstring(drawing.svg)
    inputs = sum(len(re.findall(r"[\w.]+(?=[,)])", row[0])) for row in rows(drawing).values())
    arrows = [p for p in root.iter(f"{SVG}path") if p.get("marker-end")]
    assert len(arrows) == inputs
    tops = {y0 for _, y0, _, _ in boxes_of(drawing.svg)}
    for path in root.iter(f"{SVG}path"):
        if path.get("class") == "line":
            _, y0, *_, y1 = map(float, re.findall(r"-?[\d.]+", path.get("d")))
            assert y0 < y1
            assert path.get("marker-end") is None or y1 in tops


@pytest.mark.parametrize("name", ["network", "residual", "wide"])
def test_lines_do_not_cross_where_they_come_into_a_box(name):
    drawing = draw(GRAPHS[name]())
    ways = [
        [*map(float, re.findall(r"-?[\d.]+", path.get("d")))]
        for path in ET.fromstring(drawing.svg).iter(f"{SVG}path")
        if path.get("marker-end")
    ]
    several = 0
    for left, top, right, _ in boxes_of(drawing.svg):
        mine = sorted((x0, x1) for x0, _, *_, x1, y1 in ways if y1 == top and left <= x1 <= right)
        several += len(mine) > 1
        assert [x1 for _, x1 in mine] == sorted(x1 for _, x1 in mine)
    assert several


def test_words_fit_into_their_boxes_and_a_network_into_800_pixels():
    drawing = draw(GRAPHS["network"]())
    root = ET.fromstring(drawing.svg)
    assert float(root.get("width")) <= 800
    texts = [t for t in root.iter(f"{SVG}text") if t.get("class") in ("name", "", "back")]
    for text in texts:
        x, y, half = float(text.get("x")), float(text.get("y")), len(text.text) * 7.23 / 2
        holds = [
            r for r in boxes_of(drawing.svg)
            if r[0] <= x - half and x + half <= r[2] and r[1] + 9 <= y <= r[3]
        ]  # fmt: skip
        assert len(holds) == 1, text.text


def test_a_chain_of_layers_runs_straight_down():
    tree = ET.fromstring(draw(GRAPHS["network"]()).svg)
    middles = [
        float(r.get("x")) + float(r.get("width")) / 2
        for r in tree.iter(f"{SVG}rect")
        if r.get("class") in ("operation", "result")
    ]
    assert len(middles) == 8
    assert max(middles) - min(middles) < 40


@pytest.mark.parametrize(
    ("function", "labels"),
    [
        (lambda p, q: p - q, ["a", "b"]),  # which is which matters
        (lambda p, q: p + q, []),
        (lambda p, q: np.exp(p), []),
    ],
)
def test_inputs_are_told_apart_where_their_order_matters(function, labels):
    def small(drawing):
        root = ET.fromstring(drawing.svg)
        return [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "small"]

    p, q = scalar(1.0), scalar(2.0)
    assert small(draw(function(p, q))) == labels
    assert small(draw(function(p, q), a=p, b=q)) == []  # names that say it


PICTURE = """\
<rect x="0.5" y="0.5" width="531" height="555" rx="8" class="card"/>
<text x="20.0" y="28.0" class="about">result and what it was computed from: 1 leaf, 4 operations</text>
<text x="20.0" y="46.0" class="about back">Below each value, in this colour: the gradient of the result for it.</text>
<path d="M343.8 128.0 C343.8 147.0 295.9 147.0 295.9 166.0" class="line" marker-end="url(#mdl-tip)"/>
<path d="M343.8 128.0 C343.8 147.0 391.6 147.0 391.6 166.0" class="line"/>
<path d="M159.1 230.0 C159.1 249.0 273.8 249.0 273.8 268.0" class="line" marker-end="url(#mdl-tip)"/>
<path d="M295.9 230.0 C295.9 249.0 317.8 249.0 317.8 268.0" class="line" marker-end="url(#mdl-tip)"/>
<path d="M391.6 166.0 C391.6 198.0 391.6 198.0 391.6 230.0" class="line"/>
<path d="M391.6 230.0 C391.6 249.0 391.5 249.0 391.5 268.0" class="line"/>
<path d="M295.8 332.0 C295.8 351.0 321.6 351.0 321.6 370.0" class="line" marker-end="url(#mdl-tip)"/>
<path d="M391.5 268.0 C391.5 300.0 391.5 300.0 391.5 332.0" class="line"/>
<path d="M391.5 332.0 C391.5 351.0 365.6 351.0 365.6 370.0" class="line" marker-end="url(#mdl-tip)"/>
<path d="M343.6 434.0 C343.6 453.0 343.6 453.0 343.6 472.0" class="line" marker-end="url(#mdl-tip)"/>
<rect x="281.5" y="64.0" width="124.5" height="64.0" rx="14" class="leaf"/>
<text x="343.8" y="84.0" class="name">w</text>
<text x="343.8" y="100.0" class="">(2,) [1 -2]</text>
<text x="343.8" y="116.0" class="back">[7.155 -0.8647]</text>
<rect x="114.9" y="166.0" width="88.3" height="64.0" rx="3" class="array"/>
<text x="159.1" y="194.0" class="name">m</text>
<text x="159.1" y="210.0" class="">(2,) [3 1]</text>
<rect x="219.2" y="166.0" width="153.4" height="64.0" rx="3" class="operation"/>
<text x="295.9" y="186.0" class="name">u = np.exp</text>
<text x="295.9" y="202.0" class="">(2,) [2.718 0.1353]</text>
<text x="295.9" y="218.0" class="back">[3 1]</text>
<rect x="219.1" y="268.0" width="153.4" height="64.0" rx="3" class="operation"/>
<text x="295.8" y="288.0" class="name">np.multiply</text>
<text x="295.8" y="304.0" class="">(2,) [8.155 0.1353]</text>
<text x="295.8" y="320.0" class="back">[1 1]</text>
<rect x="270.6" y="370.0" width="146.1" height="64.0" rx="3" class="operation"/>
<text x="343.6" y="390.0" class="name">np.subtract</text>
<text x="343.6" y="406.0" class="">(2,) [7.155 2.135]</text>
<text x="343.6" y="422.0" class="back">[1 1]</text>
<text x="327.6" y="364.0" class="small">a</text>
<text x="371.6" y="364.0" class="small">b</text>
<rect x="281.4" y="472.0" width="124.5" height="64.0" rx="3" class="result"/>
<text x="343.6" y="492.0" class="name">result = np.sum</text>
<text x="343.6" y="508.0" class="">9.29</text>
<text x="343.6" y="524.0" class="back">1</text>
</svg>
"""  # noqa: E501


def test_a_picture_is_drawn_like_this():
    w = Tensor(np.array([1.0, -2.0]), requires_grad=True)
    m = np.array([3.0, 1.0])
    u = np.exp(w)
    svg = draw(np.sum(m * u - w), w=w, m=m, u=u).svg
    assert svg.partition("</defs>\n")[2] == PICTURE


def test_the_picture_needs_nothing_else_and_its_words_are_escaped():
    a = scalar(1.0)
    svg = draw(a * a, **{"a<b & c": a}).svg
    assert "a&lt;b &amp; c" in svg
    assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"href|@import|<script", svg)
    assert "prefers-color-scheme: dark" in svg


def test_the_word_for_the_colour_has_that_colour():
    """Of two rules for one text the later one counts, in the light and in the dark."""
    svg = draw(GRAPHS["scalars"]()).svg
    assert 'class="about back"' in svg
    light, dark = svg.partition("</style>")[0].split("@media")
    assert light.index(".mdl .about {") < light.index(".mdl .back {")
    assert dark.index(".mdl .about {") < dark.index(".mdl .back {")


def test_rows_are_in_the_order_with_few_crossings():
    """What comes from the same stands side by side, in whatever order it is listed."""
    inputs = {"a": (), "b": (), "p": ("a",), "q": ("b",), "r": ("a",), "y": ("p", "q", "r")}
    found = places(
        inputs, dict.fromkeys(inputs, 50), {k: not v for k, v in inputs.items()}, 10, 500
    )
    order = [[p.key for p in row] for row in found]
    assert order == [["a", "b"], ["p", "r", "q"], ["y"]]


PLACED = [
    (
        "a150 b100 c150aab d30 e150dbc f30ed g100d h150 i64cf j64fbh k64cgij",
        200,
        "a 399.1 / b 321.1 | 399.1 / d 164.7 | 321.1 | 399.1 / | 164.7 | 310.6 c 404.6 / | "
        "154.3 e 248.3 | 342.3 | 375.6 / h 75.0 | 169.0 | 245.9 | 332.1 | 372.0 / | 164.2 | "
        "174.2 f 243.5 | 321.8 | 368.2 / g 141.5 j 239.5 i 319.5 | 370.5 / k 267.7",
    ),
    (
        "a64 b100 c100 d64 e100dcc f30 g30 h64 i64bh j30 k64dg l150faeijk",
        200,
        "d 154.4 c 252.4 / | 179.2 | 227.7 b 296.7 h 394.7 / g 129.0 | 179.2 | 227.6 | 339.4 | "
        "349.5 / f 15.0 a 78.0 | 129.0 | 179.0 | 227.5 j 295.5 | 339.4 | 349.4 / | 67.5 | 77.5 "
        "k 128.5 e 226.5 | 295.5 i 346.5 / l 190.3",
    ),
    (
        "a30 b150 c100b d64 e30db f100 g30deacf",
        200,
        "d 195.2 / b 101.2 | 195.2 / a 15.0 | 124.4 | 195.2 f 264.2 / | 15.0 c 84.0 e 165.0 | "
        "199.0 | 209.0 / g 134.4",
    ),
    (
        "a100 b150 c150 d100bc e150cd f30c g30 h100feag",
        760,
        "c 75.0 b 241.0 / | 106.3 d 175.3 / f 58.8 e 164.8 a 305.8 g 386.8 / h 114.2",
    ),
    (
        "a100 b30 c100ba d150bab e30dc f150 g100aef",
        400,
        "a 128.6 b 209.6 / | 3.2 d 131.8 c 272.8 / | 3.0 f 97.0 e 203.0 / g 103.0",
    ),
    (
        "a64 b100 c30aba d64 e30a f150 g100ecdf",
        200,
        "a 188.4 b 286.4 / d 169.0 | 225.8 | 249.0 / f 75.0 | 169.0 | 225.8 | 248.9 / | 158.9 | "
        "168.9 e 202.9 c 248.9 / g 194.9",
    ),
    (
        "a100 b30 c64ab d150 e100d f150dbb g64 h64edecfg",
        760,
        "d 127.3 b 264.8 a 345.8 / e 50.0 | 119.0 f 213.0 c 336.0 g 416.0 / h 180.1",
    ),
]


@pytest.mark.parametrize(("boxes", "room", "expected"), PLACED)
def test_boxes_and_passing_lines_have_these_places(boxes, room, expected):
    """Each box with its width and its inputs; the rows, with the middles of boxes and of lines that
    pass: where one has another place, pictures have changed, and should be looked at."""
    found = [re.fullmatch(r"(.)(\d+)(.*)", box).groups() for box in boxes.split()]
    inputs = {key: sources for key, _, sources in found}
    widths = {key: int(width) for key, width, _ in found}
    light = {key: not sources for key, sources in inputs.items()}
    rows = places(inputs, widths, light, gap=16, room=room)
    # (106.25 is 106.3, whichever way the last bit of a sum has been rounded.)
    texts = [[f"{p.key or '|'} {p.x + 1e-9:.1f}" for p in row] for row in rows]
    assert " / ".join(map(" ".join, texts)) == expected


def test_inputs_that_have_no_room_beside_each_other_get_rows_of_their_own():
    inputs = {**dict.fromkeys("abcdefg", ()), "y": tuple("abcdefg")}
    found = places(inputs, dict.fromkeys(inputs, 50), dict.fromkeys(inputs, False), 10, 180)
    own = ["".join(p.key for p in row if p.key is not None) for row in found]
    assert own == ["abc", "def", "g", "y"]
    found = places(inputs, dict.fromkeys(inputs, 50), dict.fromkeys(inputs, False), 10, 420)
    assert [len(row) for row in found] == [7, 1]
    inputs = {"a": (), "b": "a", "c": (), "y": "bc"}
    for room, own in ((120, ["a", "bc", "y"]), (119, ["a", "c", "b", "y"])):
        found = places(inputs, dict.fromkeys(inputs, 50), dict.fromkeys(inputs, False), 10, room)
        assert ["".join(p.key for p in row if p.key is not None) for row in found] == own


def test_a_box_that_is_wider_than_the_room_has_a_row_of_its_own():
    inputs = {"a": (), "b": (), "y": "ab"}
    for wide, own in ({"a"}, ["a", "b", "y"]), ({"a", "b"}, ["a", "b", "y"]):
        widths = {key: 500 if key in wide else 50 for key in inputs}
        found = places(inputs, widths, dict.fromkeys(inputs, False), 10, 180)
        assert ["".join(p.key for p in row if p.key is not None) for row in found] == own


@pytest.mark.parametrize(
    "inputs",
    [
        {"x": "", "w": "", "a": "x", "b": "a", "c": "b", "d": "c", "y": "dxw"},
        {"x": "", "w": "", "a": "x", "b": "a", "c": "b", "d": "cw", "y": "da"},
    ],
)
def test_a_line_that_passes_rows_runs_straight(inputs):
    light = {key: not sources for key, sources in inputs.items()}
    found = places(inputs, dict.fromkeys(inputs, 64), light, gap=16, room=760)
    lines = [p for row in found for p in row if p.key is None]
    bends = [abs(p.x - q.x) for p in lines for q in p.below if q.key is None]
    assert len(bends) >= 2
    assert max(bends) < 8


# --- Where it goes --------------------------------------------------------------------------------


def test_a_drawing_is_saved_by_the_ending_of_its_path_and_shown_by_notebooks(tmp_path):
    a = scalar(3.0)
    drawing = draw(a * a, tmp_path / "graph.svg")
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == drawing.svg
    assert drawing._repr_svg_() == drawing.svg
    draw(a * a, path=str(tmp_path / "graph.TXT"))
    assert (tmp_path / "graph.TXT").read_text(encoding="utf-8") == f"{drawing}\n"
    for bad in ("graph.png", "graph", tmp_path / "graph.pdf"):
        with pytest.raises(ValueError, match=r"\.svg.*\.txt.*'.*graph"):
            draw(a * a, bad)
        with pytest.raises(ValueError, match=r"\.svg.*\.txt.*'.*graph"):
            drawing.save(bad)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["graph.TXT", "graph.svg"]


# --- What is refused ------------------------------------------------------------------------------


def test_a_graph_that_backward_has_freed_is_refused_with_the_remedy():
    x = scalar(2.0)
    y = x * x
    z = y + 1
    y.backward()
    for t in (y, z):
        with pytest.raises(RuntimeError, match=r"freed.*before backward\(\).*retain_graph=True"):
            draw(t)


def test_what_has_no_graph_is_refused():
    x = scalar(2.0)
    with minidl.no_grad():
        y = x * x
    for t in (y, Tensor([1.0]), x.detach()):
        with pytest.raises(RuntimeError, match=r"no graph.*requires_grad=True.*no_grad\(\)"):
            draw(t)
    for wrong in (nn.Linear(2, 2), np.ones(3), 1.0):
        with pytest.raises(TypeError, match=rf"draw takes a Tensor.*not a {type(wrong).__name__}"):
            draw(wrong)
    with pytest.raises(TypeError, match=r"draw\(\.\.\., format=\.\.\.\).*not for a str"):
        draw(x * x, format="svg")


def test_a_graph_that_nobody_can_read_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"this graph has 603 nodes.*300.*draw a part"):
        draw(deep(300))
    draw(deep(148))


def test_a_compiled_step_refuses_to_draw():
    class Draws(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(2, 2, rng=0)

        def forward(self, x):
            y = self.linear(x)
            draw(y)
            return y

    model = Draws()
    step = minidl.compile(model, nn.MSELoss(), minidl.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(minidl.CompileError, match="draw in a compiled step"):
        step(np.ones((3, 2), np.float32), np.ones((3, 2), np.float32))
