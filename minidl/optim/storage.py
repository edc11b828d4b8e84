"""Where parameters, gradients and state lie: flat buffers, walked in blocks.

A rule has the same few operations for every element. Over many small arrays the calls would cost
more than the arithmetic. So all parameters of a group lie side by side in one buffer, of which each
``p.data`` is a view; a second buffer takes their gradients, and each state has one of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.optim.float16 import wide, widen
from minidl.tensor import Tensor

Blocks = list[list[Array]]
"""Arguments of ``update``, one list for each call: x, dx and the state."""


class Storage:
    """The parameters of one group, their gradients and state, in one buffer each for each dtype.

    ``views`` has for each parameter its part of the buffers, in its shape: ``x``, the memory for
    its gradient (``dx``), and its state. ``homes`` has the parameter, the array that is its data
    (``x``, or in float16 the rounded one), and ``dx``. ``counts`` has the steps it has taken.
    (That the data become these arrays is the business of ``home.py``, once.)
    """

    def __init__(self, rule: Any, names: list[str], params: list[Tensor]) -> None:
        self.rule, self.names, self.params = rule, names, params
        self.counts = [0] * len(params)
        self.places: list[tuple[np.dtype[Any], int, int]] = []  # the dtype of a buffer, from, to
        sizes: dict[np.dtype[Any], int] = {}
        for p in params:
            start = sizes.get(p.dtype, 0)
            sizes[p.dtype] = start + p.size
            self.places.append((p.dtype, start, start + p.size))
        arrays = range(2 + len(rule.state))
        self.buffers = {d: [np.zeros(n, wide(d)) for _ in arrays] for d, n in sizes.items()}
        self.narrow = {d: np.zeros(n, d) for d, n in sizes.items() if wide(d) != d}
        self.views: Blocks = []
        self.homes: list[tuple[Tensor, Array, Array]] = []
        for p, (dtype, start, end) in zip(params, self.places, strict=True):
            view = [buffer[start:end].reshape(p.shape) for buffer in self.buffers[dtype]]
            narrow = self.narrow.get(dtype)
            home = view[0] if narrow is None else narrow[start:end].reshape(p.shape)
            self.views.append(view)
            self.homes.append((p, home, view[1]))
        self.present: list[bool] = []  # which parameters had a gradient when last cut
        self.moving: list[int] = []  # their numbers
        self.runs: list[tuple[int, Blocks]] = []  # the first parameter, and the blocks

    def away(self) -> bool:
        """Whether the data of a parameter is somewhere else than in its home."""
        return any(p.array is not home for p, home, _ in self.homes)

    def ready(self) -> list[tuple[int, Blocks]]:
        """What is to be updated: for each run the number of this step and its blocks."""
        present = []
        for p, _, dx in self.homes:
            g = None if p.node is None else p.node.grad
            if g is not None and g is not dx:  # (a compiled step writes there itself)
                dx[...] = g
            present.append(g is not None)
        if self.narrow:
            widen(self)
        if present != self.present:
            self.cut(present)
        for i in self.moving:
            self.counts[i] += 1
        return [(self.counts[first], blocks) for first, blocks in self.runs]

    def cut(self, present: list[bool]) -> None:
        """Cut what has a gradient into runs of neighbours in the same step, and those into blocks.

        The runs stay the same for as long as the same parameters have a gradient, since all that
        move count on together.
        """
        self.present, self.runs = present, []
        self.moving = [i for i, here in enumerate(present) if here]
        if not self.rule.elementwise:
            for i in self.moving:
                cuts: list[Any] = [...] if self.params[i].size else []  # the whole, in one
                self.runs.append((i, _blocks(self.views[i], cuts)))
            return
        spans: dict[np.dtype[Any], list[list[int]]] = {dtype: [] for dtype in self.buffers}
        for i in self.moving:
            dtype, start, end = self.places[i]
            if spans[dtype]:
                first, _, last = spans[dtype][-1]
                if last == start and self.counts[first] == self.counts[i]:
                    spans[dtype][-1][2] = end
                    continue
            spans[dtype].append([i, start, end])
        size = self.rule.block_size
        for dtype, found in spans.items():
            for first, start, end in found:
                parts = [slice(i, min(i + size, end)) for i in range(start, end, size)]
                self.runs.append((first, _blocks(self.buffers[dtype], parts)))


def _blocks(arrays: list[Array], cuts: list[Any]) -> Blocks:
    """Views of x, dx and the state for each of the cuts; dx is read only."""
    blocks = [[array[cut] for array in arrays] for cut in cuts]
    for block in blocks:
        block[1].flags.writeable = False
    return blocks
