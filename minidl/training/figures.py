"""What the figures of a run share: colors, how one is saved, and how a notebook shows it.

matplotlib is the optional extra ``plots``. pyplot, which keeps every figure, is not needed.
"""

from __future__ import annotations

import functools
import io
import os
from typing import Any

from minidl.extras import need

COLORS = "#0072B2", "#D55E00"  # which people who are color-blind can tell apart


def new_figure(what: str, width: float, height: float) -> Any:
    """Return an empty figure of so many inches.

    Raises:
        ImportError: if there is no matplotlib; the message says what needs it.
    """
    figure_class = need("matplotlib.figure", extra="plots", what=what).Figure
    figure = figure_class(figsize=(width, height), layout="constrained")
    figure._repr_png_ = functools.partial(_as_png, figure)  # pyplot alone tells a notebook how
    return figure


def save(figure: Any, path: str | os.PathLike[str] | None, what: str) -> None:
    """Save a figure, unless the path is None.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: for a suffix that matplotlib does not know.
    """
    if path is None:
        return
    path = os.fspath(path)
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{what}: for {path} there is no folder {folder}: make it first")
    figure.savefig(path, dpi=150)


def _as_png(figure: Any) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()
