"""The fast way through a CSV file, in blocks of lines that ``numpy.loadtxt`` reads.

It takes nothing but plain numbers, and labels. Where it finds anything else, such as a delimiter in
quotes, it gives up, and ``csv_file.py`` reads the file exactly.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from io import StringIO
from itertools import islice
from typing import NamedTuple

import numpy as np

_BLOCK = 1 << 20  # characters read at a time
_DELIMITERS = ",;\t|"  # those that loadtxt and the csv module take alike

EXACT = 2**53
"""Below this float64 holds every whole number."""


class Plain(NamedTuple):
    """What a plain file holds."""

    x: list[np.ndarray]
    """All columns but the target, in blocks of rows, float64."""
    y: list[np.ndarray]
    """The target in blocks of rows: numbers, or places in ``labels``."""
    labels: tuple[str, ...]
    """The different labels, in the order in which they came."""


def read_plain(
    path: str | os.PathLike[str],
    skip: int,
    columns: int,
    target: int,
    delimiter: str,
    labelled: bool,
) -> Plain | None:
    """Read a file after its first ``skip`` lines; None if anything in it is not plain."""
    if delimiter not in _DELIMITERS:
        return None
    places: dict[str, int] = {}
    label: dict[int | str, Callable[[str], int]] = {}
    if labelled:
        label[target] = lambda text: places.setdefault(text.strip(), len(places))
    edge = rf"[^{re.escape(delimiter)}\r\n]"
    # The look back comes after the quote, so that the search can leap from quote to quote.
    quoted = re.compile(rf'"(?<!{edge}")([^"{re.escape(delimiter)}\r\n]*)"(?!{edge})')
    x, y = [], []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            for _ in islice(file, skip):
                pass
            while lines := file.readlines(_BLOCK):
                text = "".join(lines)
                # To take off those around labels pays; around all fields it does not.
                if 0 < text.count('"') <= 4 * len(lines):
                    text = quoted.sub(r"\1", text)
                    lines = StringIO(text, newline="").readlines()
                if '"' in text:
                    return None
                if not text.strip():
                    continue
                block = np.loadtxt(
                    lines,
                    delimiter=delimiter,
                    comments=None,
                    ndmin=2,
                    converters=label or None,
                )
                # What is not below this, NaN too, is refused, or exact for some other reason.
                if block.shape[1] != columns or not (np.abs(block) < EXACT).all():
                    return None
                x.append(np.delete(block, target, axis=1))
                y.append(block[:, target].copy())
    except ValueError:  # a field that is no number, a row of another length, no UTF-8
        return None
    return Plain(x, y, tuple(places)) if x else None
