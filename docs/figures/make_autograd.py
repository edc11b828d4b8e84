"""Draw the figures of docs/autograd.md and docs/batchnorm.md: small graphs, as SVG.

python docs/figures/make_autograd.py

Each is a picture of nodes and arrows on a card of its own, which turns dark where the reader's
system is dark. Written as text, without a plotting library, so that a change shows in a diff.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.sax.saxutils import escape

STYLE = """
  text { font: 16px system-ui, sans-serif; fill: #1b1f24; text-anchor: middle; }
  .small { font-size: 14px; }
  .left { text-anchor: start; }
  .rate { fill: #0a5cad; font-weight: 600; }
  .back { fill: #b34700; font-weight: 600; }
  .card { fill: #ffffff; stroke: #d0d7de; }
  .node { fill: #eef2f6; stroke: #57606a; stroke-width: 1.5; }
  .arrow { stroke: #57606a; stroke-width: 1.8; fill: none; marker-end: url(#tip); }
  .tip { fill: #57606a; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .rate { fill: #79b8ff; }
    .back { fill: #ffab70; }
    .card { fill: #161b22; stroke: #30363d; }
    .node { fill: #262d36; stroke: #8b949e; }
    .arrow { stroke: #8b949e; }
    .tip { fill: #8b949e; }
  }
"""
RADIUS = 26
MINUS = "\N{MINUS SIGN}"


class Picture:
    """A card on which nodes, arrows and words are put; (0, 0) is its upper left corner."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []

    def words(self, x: float, y: float, text: str, kind: str = "") -> None:
        """Put text on a baseline."""
        self.parts.append(f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>')

    def node(self, x: float, y: float, name: str, below: str = "", gradient: str = "") -> None:
        """Draw a circle with a name, what it is, and its gradient below."""
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{RADIUS}" class="node"/>')
        self.words(x, y + 6, name)
        if below:
            self.words(x, y + RADIUS + 20, below, "small")
        if gradient:
            self.words(x, y + RADIUS + 40, gradient, "small back")

    def arrow(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        label: str = "",
        lift: float = 10,
    ) -> None:
        """Draw an arrow from node to node, with a label ``lift`` above its middle."""
        (x0, y0), (x1, y1) = start, end
        ax, ay = _towards(x0, y0, x1, y1, RADIUS + 2)
        bx, by = _towards(x1, y1, x0, y0, RADIUS + 6)
        self.parts.append(f'<path d="M{ax:.1f} {ay:.1f} L{bx:.1f} {by:.1f}" class="arrow"/>')
        if label:
            self.words((ax + bx) / 2, (ay + by) / 2 - lift, label, "small rate")

    def save(self, path: Path) -> None:
        """Write the picture."""
        tip = (
            '<marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path d="M0 0 L8 4 L0 8 z" class="tip"/></marker>'
        )
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img">'
        )
        card = (
            f'<rect x="0.5" y="0.5" width="{self.width - 1}" height="{self.height - 1}" rx="8" '
            f'class="card"/>'
        )
        title = f"<title>{escape(self.title)}</title>"
        defs = f"<defs><style>{STYLE}</style>{tip}</defs>"
        path.write_text("\n".join([head, title, defs, card, *self.parts, "</svg>"]) + "\n")


def _towards(x: float, y: float, to_x: float, to_y: float, by: float) -> tuple[float, float]:
    """The point that lies ``by`` away from (x, y) in the direction of another."""
    length = math.hypot(to_x - x, to_y - y)
    return x + (to_x - x) / length * by, y + (to_y - y) / length * by


def paths() -> Picture:
    """Rates multiply along a path and add where paths meet."""
    picture = Picture(640, 240, "Rates multiply along a path and add where paths meet")
    x, u, v, y = (80, 115), (230, 55), (230, 175), (380, 115)
    picture.arrow(x, u, "2", lift=12)
    picture.arrow(u, y, "3", lift=12)
    picture.arrow(x, v, "5", lift=-24)
    picture.arrow(v, y, "1", lift=-24)
    for (cx, cy), name in ((x, "x"), (u, "u"), (v, "v"), (y, "y")):
        picture.node(cx, cy, name)
    picture.words(440, 62, "over u:  2 · 3 = 6", "left")
    picture.words(440, 182, "over v:  5 · 1 = 5", "left")
    picture.words(440, 121, "together 6 + 5 = 11", "left back")
    return picture


def order() -> Picture:
    """The graph of v + u with u = x x, v = u u: what arrives when."""
    picture = Picture(640, 250, "Gradients in y = v + u with u = x·x and v = u·u")
    x, u, v, y = (75, 140), (235, 140), (395, 60), (555, 140)
    picture.arrow(x, u, "3 + 3 = 6")
    picture.arrow(u, v)
    picture.words(275, 88, "9 + 9 = 18", "small rate")
    picture.arrow(v, y, "1", lift=12)
    picture.arrow(u, y, "1")
    picture.node(*x, "x", "3", "19 · 6 = 114")
    picture.node(*u, "u", "x · x = 9", "1 + 18 = 19")
    picture.node(*v, "v")
    picture.words(v[0] + 36, 46, "u · u = 81", "small left")
    picture.words(v[0] - 34, 46, "1", "small back")
    picture.node(*y, "y", "v + u = 90", "1")
    picture.words(180, 236, "rate along an arrow", "small rate")
    picture.words(420, 236, "gradient, from the right", "small back")
    return picture


def batchnorm() -> Picture:
    """The three ways from x to y through batch normalisation."""
    picture = Picture(720, 300, "Three ways from x to y: directly, by the mean, by the variance")
    x, m, c, v, s, h, y = (
        (60, 160), (165, 70), (260, 160), (355, 70), (460, 70), (555, 160), (660, 160),
    )  # fmt: skip
    picture.arrow(x, c)
    picture.arrow(x, m)
    picture.arrow(m, c)
    picture.arrow(c, h)
    picture.arrow(c, v)
    picture.arrow(v, s)
    picture.arrow(s, h)
    picture.arrow(h, y)
    for at, name in ((x, "x"), (m, "m"), (c, "c"), (v, "v"), (s, "s"), (h, "h"), (y, "y")):
        picture.node(*at, name)
    picture.words(m[0], 32, "mean", "small")
    picture.words(v[0], 32, "variance", "small")
    picture.words(s[0] + 10, 32, "1 / √(v + eps)", "small")
    picture.words(c[0], 208, f"x {MINUS} m", "small")
    picture.words(h[0], 208, "c · s", "small")
    picture.words(y[0], 208, "w · h + b", "small")
    picture.words(x[0], 208, "batch", "small")
    for i, (way, does) in enumerate(
        (
            ("directly:", "w s g"),
            ("by the mean:", f"{MINUS} w s mean(g)"),
            ("by the variance:", f"{MINUS} w s h mean(g h)"),
        )
    ):
        picture.words(40 + 225 * i, 258, way, "small left")
        picture.words(40 + 225 * i, 280, does, "small left back")
    return picture


if __name__ == "__main__":
    here = Path(__file__).parent
    paths().save(here / "autograd_paths.svg")
    order().save(here / "autograd_walk.svg")
    batchnorm().save(here / "batchnorm_paths.svg")
