"""The graph of a result, as text and as a picture: what it was computed from, value by value.

graph.py reads what is there, layout.py finds places for it, and picture.py draws it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minidl.diagnosis.graph import Graph, ancestors
from minidl.diagnosis.picture import picture
from minidl.tensor import Tensor

MOST = 300
"""A graph of more nodes is refused: nobody would find anything in it."""


class Drawing:
    """The graph of a result: printed it is a table, and a notebook shows the picture.

    Attributes:
        text: the table, a line for each leaf and each result.
        svg: the picture, a document that needs nothing else.
    """

    def __init__(self, text: str, svg: str) -> None:
        self.text, self.svg = text, svg

    def __repr__(self) -> str:
        return self.text

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a path that ends in ``.svg``, or the text to one in ``.txt``.

        Raises:
            ValueError: if it ends otherwise.
        """
        text = self.svg if _ending(path) == ".svg" else f"{self.text}\n"
        Path(path).write_text(text, encoding="utf-8")


def draw(tensor: Tensor, path: str | os.PathLike[str] | None = None, **names: Any) -> Drawing:
    """The graph of a result: everything that it was computed from, as text and as a picture.

    Each box is a leaf or a result on the way, with its shape, its value and the gradient of the
    whole with respect to it; small arrays are shown in full, of others the smallest and the largest
    element. The gradients are found for the picture, of a result with one element: no ``grad`` is
    read or changed. A dashed box is an input without gradient. Of inputs that no rule needs the
    engine keeps nothing, and neither are they here (``c`` in ``x + c``); of values that nobody
    holds any more there is the shape.

    Args:
        tensor: the result.
        path: where to save it, by its ending: ``.svg`` for the picture or ``.txt`` for the text.
        names: Tensors, arrays and Modules by the names to call them. What the caller has in
            variables is called by these: ``draw(loss)`` knows ``x``, ``w`` and ``0.weight`` of a
            model.

    Returns:
        the drawing; ``print`` it, let a notebook show it, or ``save`` it.

    Raises:
        TypeError: if ``tensor`` is no Tensor, or a name is for something else.
        RuntimeError: if there is no graph: no leaf requires a gradient, the result was computed
            under ``no_grad()``, or an earlier ``backward()`` has freed it.
        ValueError: if ``path`` ends otherwise, or the graph has more than 300 boxes.

    Example:
        >>> from minidl import Tensor, draw
        >>> a, b, c = (Tensor(v, requires_grad=True) for v in (3.0, 5.0, 2.0))
        >>> u = a * b
        >>> y = u * c
        >>> print(draw(y))
        y and what it was computed from: 3 leaves, 2 operations
                               shape  value  gradient of y
        a = leaf               ()         3             10
        b = leaf               ()         5              6
        c = leaf               ()         2             15
        u = np.multiply(a, b)  ()        15              2
        y = np.multiply(u, c)  ()        30              1
    """
    if path is not None:
        _ending(path)
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"draw takes a Tensor, the result whose graph is to be drawn, not a "
            f"{type(tensor).__name__}: draw(loss), not draw(model)"
        )
    _check_graph(tensor)
    caller = sys._getframe(1)
    graph = Graph(tensor, names, {**caller.f_globals, **caller.f_locals})
    boxes = graph.boxes()
    drawing = Drawing(graph.text(boxes), picture(boxes, graph.title()))
    if path is not None:
        drawing.save(path)
    return drawing


def _ending(path: Any) -> str:
    ending = Path(path).suffix.lower()
    if ending not in (".svg", ".txt"):
        raise ValueError(
            f"draw writes a picture to a path that ends in .svg, or text to one that ends in .txt, "
            f"and this is {path!r}"
        )
    return ending


def _check_graph(tensor: Tensor) -> None:
    """There is a graph, it is all there, and it is small enough."""
    if tensor.node is None:
        raise RuntimeError(
            "draw: this Tensor has no graph, since no gradient flows to it: it was computed from "
            "no leaf with requires_grad=True, or under no_grad()"
        )
    if not isinstance(tensor.array, np.ndarray):
        raise RuntimeError(
            "draw in a compiled step: what is here stands for the arrays of all steps, and has no "
            "values to show. Draw the result of a step that is not compiled"
        )
    found = ancestors(tensor.node)
    if any(node.parents is None for node in found):
        raise RuntimeError(
            "draw: an earlier backward() has freed this graph, or a part of it: draw it before "
            "backward(), or keep it with backward(retain_graph=True)"
        )
    if len(found) > MOST:
        raise ValueError(
            f"draw: this graph has {len(found):,} nodes, and more than {MOST} are not readable: "
            f"draw a part (h = model[0](x); draw(h.sum())), fewer steps of a loop, or a network of "
            f"the same kind with fewer layers"
        )
