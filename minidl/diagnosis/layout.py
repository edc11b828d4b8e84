"""Places for the boxes of a graph: rows from the inputs down to the result, few crossings, straight
lines.

Three steps, as in Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical
system structures" (1981). Rows: a box stands one row above the highest that uses it. Order: each
box goes to the mean place of its neighbours, row by row, down and up. Coordinates: the same mean,
as near as the distances allow.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

SWEEPS = 12


class Place:
    """The place of a box; or, without a key, of a line that passes a row."""

    def __init__(self, key: Hashable, row: int, width: float, light: bool = False) -> None:
        self.key, self.row, self.width = key, row, width
        self.light = light  # its lines may bend: it stands where others want it
        self.x: float  # of the middle; `_spread` finds it
        self.above: list[Place] = []
        self.below: list[Place] = []

    def wished(self) -> tuple[float, float]:
        """Where its neighbours would have it, and how much that counts."""
        near = self.above + self.below
        if not near:
            return self.x, 1.0
        # Lines that pass stay straight, and so does the way from one operation to the next.
        straight = [8.0 if p.key is None and self.key is None else 1.0 for p in near]
        weights = [0.01 if p.light else w for p, w in zip(near, straight, strict=True)]
        total = sum(weights)
        mean = sum(p.x * w for p, w in zip(near, weights, strict=True)) / total
        return mean, 0.01 if self.light else total


def places(
    inputs: Mapping[Hashable, Sequence[Hashable]],
    widths: Mapping[Hashable, float],
    light: Mapping[Hashable, bool],
    gap: float,
    room: float,
) -> list[list[Place]]:
    """Rows of places for the keys of ``inputs``, which lists each before those that use it.

    A row that is wider than ``room`` gives those without inputs to rows of their own.
    """
    rows = _in_rows(inputs, widths, gap, room)
    row_of = {key: i for i, row in enumerate(rows) for key in row}
    made = [[Place(k, i, widths[k], light=light[k]) for k in row] for i, row in enumerate(rows)]
    place = {p.key: p for row in made for p in row}
    passing: dict[tuple[Hashable, int], Place] = {}
    for key, sources in inputs.items():
        for source in dict.fromkeys(sources):
            last = place[source]
            # All lines from a box run as one, and leave it where they are needed.
            for row in range(row_of[source] + 1, row_of[key]):
                if (source, row) not in passing:
                    line = passing[source, row] = Place(None, row, 6.0)
                    made[row].append(line)
                    _join(last, line)
                last = passing[source, row]
            _join(last, place[key])
    _order(made)
    _spread(made, gap)
    return made


def _join(upper: Place, lower: Place) -> None:
    upper.below.append(lower)
    lower.above.append(upper)


def _in_rows(
    inputs: Mapping[Hashable, Sequence[Hashable]],
    widths: Mapping[Hashable, float],
    gap: float,
    room: float,
) -> list[list[Hashable]]:
    """The keys by their longest way to the result, which is in the last row."""
    height = dict.fromkeys(inputs, 0)
    for key in reversed(list(inputs)):
        for source in inputs[key]:
            height[source] = max(height[source], height[key] + 1)
    order: dict[Hashable, None] = {}
    todo = [next(reversed(list(inputs)))]
    while todo:  # as the inputs of the result are listed, each with its own
        key = todo.pop()
        if key not in order:
            order[key] = None
            todo += reversed(inputs[key])
    rows: list[list[Hashable]] = []
    for level in range(max(height.values()), -1, -1):
        row = [key for key in order if height[key] == level]
        ends = [key for key in row if not inputs[key]]
        full = sum(widths[key] + gap for key in row)
        while full > room and ends:
            part: list[Hashable] = []
            while ends and sum(widths[key] + gap for key in [*part, ends[0]]) <= max(
                room, widths[ends[0]] + gap
            ):
                part.append(ends.pop(0))
            row = [key for key in row if key not in part]
            if not row:
                row = part
                break
            rows.append(part)
            full = sum(widths[key] + gap for key in row)
        rows.append(row)
    return rows


def _order(rows: list[list[Place]]) -> None:
    """Put each row into the order with the fewest crossings that was met."""
    best, fewest = [list(row) for row in rows], _crossings(rows)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for i in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            where = {id(p): j for j, p in enumerate(rows[i - 1 if down else i + 1])}
            means = {}
            for j, p in enumerate(rows[i]):
                near = [where[id(q)] for q in (p.above if down else p.below)]
                means[id(p)] = sum(near) / len(near) if near else j
            rows[i].sort(key=lambda p: means[id(p)])
        crossings = _crossings(rows)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    rows[:] = best


def _crossings(rows: list[list[Place]]) -> int:
    count = 0
    for upper, lower in pairwise(rows):
        where = {id(p): j for j, p in enumerate(lower)}
        ends: list[int] = []
        for p in upper:
            own = sorted(where[id(q)] for q in p.below)
            count += sum(len(ends) - bisect_right(ends, end) for end in own)
            for end in own:
                insort(ends, end)
    return count


def _spread(rows: list[list[Place]], gap: float) -> None:
    """Find the coordinates: each place where its neighbours want it, none nearer than ``gap``."""
    for row in rows:
        _apart(row, [(0.0, 1.0)] * len(row), gap)
    for sweep in range(4 * SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            _apart(row, [p.wished() for p in row], gap)
    left = min(p.x - p.width / 2 for row in rows for p in row)
    for row in rows:
        for p in row:
            p.x -= left


def _apart(row: list[Place], wishes: list[tuple[float, float]], gap: float) -> None:
    """The least squares from the wishes, in the order and at the distances that must be.

    Without the distances this is a regression by a growing sequence: neighbours whose wishes are in
    the wrong order share their mean.
    """
    offset, offsets = 0.0, []
    for left, p in zip([None, *row], row, strict=False):
        if left is not None:
            lines = left.key is None and p.key is None
            offset += (left.width + p.width) / 2 + (gap / 4 if lines else gap)
        offsets.append(offset)
    blocks: list[tuple[float, float, int]] = []  # a mean, its weight, and of how many
    for (wish, weight), offset in zip(wishes, offsets, strict=True):
        block = (wish - offset, weight, 1)
        while blocks and blocks[-1][0] >= block[0]:
            mean, other, n = blocks.pop()
            total = other + block[1]
            block = ((mean * other + block[0] * block[1]) / total, total, n + block[2])
        blocks.append(block)
    means = [mean for mean, _, n in blocks for _ in range(n)]
    for p, mean, offset in zip(row, means, offsets, strict=True):
        p.x = mean + offset
