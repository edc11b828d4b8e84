"""A graph as a picture: a document in SVG that needs nothing else, also inside a page."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from minidl.diagnosis.layout import Place, places

LETTER = 7.23  # the width of a letter of 12 pixels, which all have where letters have one width
LINE, PAD = 16, 8
ROOM = 760
STYLE = """
  .mdl text { font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
    fill: #1b1f24; text-anchor: middle; }
  .mdl .name { font-weight: 600; }
  .mdl .small { font-size: 10px; fill: #57606a; text-anchor: start; }
  .mdl .about { text-anchor: start; fill: #57606a; }
  .mdl .back { fill: #b34700; }
  .mdl .card { fill: #ffffff; stroke: #d0d7de; }
  .mdl .operation, .mdl .result { fill: #eef2f6; stroke: #57606a; stroke-width: 1.2; }
  .mdl .result { stroke-width: 2.4; }
  .mdl .leaf { fill: #e3f1ff; stroke: #0a5cad; stroke-width: 1.2; }
  .mdl .array { fill: none; stroke: #57606a; stroke-dasharray: 4 3; }
  .mdl .line { fill: none; stroke: #6e7781; stroke-width: 1.3; }
  .mdl .tip { fill: #6e7781; }
  @media (prefers-color-scheme: dark) {
    .mdl text { fill: #e6edf3; }
    .mdl .small, .mdl .about { fill: #9da7b3; }
    .mdl .back { fill: #ffab70; }
    .mdl .card { fill: #161b22; stroke: #30363d; }
    .mdl .operation, .mdl .result { fill: #262d36; stroke: #8b949e; }
    .mdl .leaf { fill: #12304d; stroke: #79b8ff; }
    .mdl .array, .mdl .line { stroke: #8b949e; }
    .mdl .tip { fill: #8b949e; }
  }
"""
COMMUTE = {"np.add", "np.multiply", "np.maximum", "np.minimum", "np.concatenate"}


class Box:
    """What is known of a leaf, an array without gradient, or a result; as text."""

    def __init__(
        self,
        key: Hashable,
        name: str,
        kind: str,  # leaf, array, operation or result
        title: str,
        shape: str,
        value: str = "",
        gradient: str = "",
        inputs: Sequence[tuple[str, Hashable]] = (),
        named: bool = True,
    ) -> None:
        self.key, self.name, self.kind, self.title = key, name, kind, title
        self.shape, self.value, self.gradient = shape, value, gradient
        self.inputs, self.named = inputs, named
        self.expression = kind  # as the text has it

    def lines(self) -> list[tuple[str, str]]:
        """The lines in the box, each with its class."""
        if self.kind in ("leaf", "array"):
            title = self.name
        else:
            title = f"{self.name} = {self.title}" if self.named else self.title
        value = self.value if self.shape == "()" and self.value else f"{self.shape} {self.value}"
        lines = [(title, "name"), (value.strip(), "")]
        return lines + ([(self.gradient, "back")] if self.gradient else [])


def picture(boxes: Sequence[Box], title: str) -> str:
    """The SVG of boxes, each listed before those that use it."""
    of = {box.key: box for box in boxes}
    texts = {box.key: box.lines() for box in boxes}
    widths = {
        key: max(64.0, max(len(text) for text, _ in lines) * LETTER + 2 * PAD)
        for key, lines in texts.items()
    }
    inputs = {box.key: [key for _, key in box.inputs] for box in boxes}
    light = {box.key: not box.inputs for box in boxes}
    rows = places(inputs, widths, light, gap=16, room=ROOM)
    about = [title]
    if any(box.gradient for box in boxes):
        about.append("Below each value, in this colour: the gradient of the result for it.")
    wide = max(p.x + p.width / 2 for row in rows for p in row)
    width = max(wide, max(map(len, about)) * LETTER) + 2 * 20
    shift = (width - wide) / 2
    parts: list[str] = []
    tops, heights, y = [], [], 28.0 + 18 * len(about)
    for row in rows:
        height = max(len(texts[p.key]) * LINE for p in row if p.key is not None) + 2 * PAD
        tops.append(y)
        heights.append(height)
        y += height + 38
    for row in rows:
        for p in row:
            p.x += shift
    for row in rows:
        for p in row:
            bottom = tops[p.row] + heights[p.row]
            if p.key is None:
                parts.append(_line(p.x, tops[p.row], p.x, bottom, False))
            for q in dict.fromkeys(p.below):
                for x in _ports(p, q, of):
                    parts.append(_line(p.x, bottom, x, tops[q.row], q.key is not None))
    for row in rows:
        for p in row:
            if p.key is not None:
                parts += _box(p, of[p.key], texts[p.key], tops[p.row], heights[p.row])
                parts += _labels(p, of, tops[p.row])
    words = [
        _text(20, 28 + 18 * i, line, "about back" if i else "about") for i, line in enumerate(about)
    ]
    tip = (
        '<marker id="mdl-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z" class="tip"/></marker>'
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="mdl" viewBox="0 0 {width:.0f} '
        f'{y - 18:.0f}" width="{width:.0f}" height="{y - 18:.0f}" style="max-width: 100%; '
        f'height: auto" role="img">'
    )
    card = (
        f'<rect x="0.5" y="0.5" width="{width - 1:.0f}" height="{y - 19:.0f}" rx="8" class="card"/>'
    )
    defs = f"<defs><style>{STYLE}</style>{tip}</defs>"
    whole = [head, f"<title>{escape(title)}</title>", defs, card, *words, *parts, "</svg>"]
    return "\n".join(whole) + "\n"


def escape(text: str) -> str:
    """Text as it is written in a document."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'


def _line(x0: float, y0: float, x1: float, y1: float, tip: bool) -> str:
    """A line that leaves and arrives vertically."""
    end = ' marker-end="url(#mdl-tip)"' if tip else ""
    middle = (y0 + y1) / 2
    curve = f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    return f'<path d="M{x0:.1f} {y0:.1f} {curve}" class="line"{end}/>'


def _arrivals(p: Place, of: dict[Hashable, Box]) -> list[tuple[float, str, Place, Hashable]]:
    """Where lines come into a box: from left to right as they come, each input with its own."""
    found = []
    for name, key in of[p.key].inputs:
        source = next(q for q in p.above if _source(q) == key)
        found.append((source.x, name, source, key))
    found.sort(key=lambda each: each[0])
    n = len(found)
    spread = min(p.width - 24, 44 * (n - 1))
    return [
        (p.x + (spread * (i / (n - 1) - 0.5) if n > 1 else 0.0), name, source, key)
        for i, (_, name, source, key) in enumerate(found)
    ]


def _source(p: Place) -> Hashable:
    """The box that a line comes from."""
    while p.key is None:
        p = p.above[0]
    return p.key


def _ports(p: Place, q: Place, of: dict[Hashable, Box]) -> list[float]:
    """Where the lines from ``p`` arrive at ``q``."""
    if q.key is None:
        return [q.x]
    return [x for x, _, source, _ in _arrivals(q, of) if source is p]


def _box(p: Place, box: Box, lines: list[tuple[str, str]], top: float, height: float) -> list[str]:
    round_ = 14 if box.kind == "leaf" else 3
    parts = [
        f'<rect x="{p.x - p.width / 2:.1f}" y="{top:.1f}" width="{p.width:.1f}" '
        f'height="{height:.1f}" rx="{round_}" class="{box.kind}"/>'
    ]
    y = top + (height - len(lines) * LINE) / 2 + 12
    for i, (text, kind) in enumerate(lines):
        parts.append(_text(p.x, y + i * LINE, text, kind))
    return parts


def _labels(p: Place, of: dict[Hashable, Box], top: float) -> list[str]:
    """Which input is which, where that matters and no name says it."""
    box = of[p.key]
    name = box.title.partition("(")[0]
    if len(box.inputs) < 2 or name in COMMUTE or not name.startswith("np."):
        return []
    return [
        _text(x + 6, top - 6, name, "small")
        for x, name, _, key in _arrivals(p, of)
        if len(name) == 1 and of[key].name.rpartition(".")[2] != name
    ]
