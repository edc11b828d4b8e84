"""Make the two figures of docs/autograd.md that come out of what it teaches.

python docs/figures/make_course.py, with the extra ``plots``

The graph at its top is drawn by minidl, and the border between the moons by the engine that the
page builds up: its own blocks run here, in this folder, and one of them saves the figure.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from minidl import Tensor, draw

HERE = Path(__file__).resolve().parent


def graph() -> None:
    """The smallest network: one weight, one bias, one loss."""
    w, b = (Tensor(v, requires_grad=True) for v in (2.0, -1.0))
    guess = w * 3.0 + b
    error = guess - 4.0
    loss = error * error
    draw(loss, HERE / "autograd_graph.svg")


def moons() -> None:
    """What the page's blocks draw, up to the one that saves it."""
    page = (HERE.parent / "autograd.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    last = next(i for i, block in enumerate(blocks) if "savefig" in block)
    names = {"__name__": "__main__"}
    with contextlib.chdir(HERE), open(os.devnull, "w") as out, contextlib.redirect_stdout(out):
        for block in blocks[: last + 1]:
            exec(compile(block, "autograd.md", "exec"), names)


if __name__ == "__main__":
    graph()
    moons()
