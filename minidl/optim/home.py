"""How parameters come into the optimizer's memory, and back when somebody has taken them away.

``p.data = other`` by a user, and a second optimizer over the same model, give a parameter data of
its own. The next step brings the values home.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidl.arrays import Array
from minidl.optim.float16 import widen
from minidl.optim.storage import Storage


def bring_home(storages: Sequence[Storage]) -> None:
    """Move the values of parameters into the buffers, and make their data views of them.

    Raises:
        TypeError: if a parameter has changed its dtype.
        ValueError: if two parameters share memory. Nothing has been changed then.
    """
    everything = [
        (f"{name} of group {i}" if len(storages) > 1 else name, p, home)
        for i, storage in enumerate(storages)
        for name, (p, home, _) in zip(storage.names, storage.homes, strict=True)
    ]
    for name, p, home in everything:
        if p.dtype != home.dtype:
            raise TypeError(
                f"parameter {name} was {home.dtype} when the optimizer was made and is {p.dtype} "
                f"now: make a new optimizer after changing the dtype"
            )
    if any(p.data is not home for _, p, home in everything):
        _check_memory([(name, p.data) for name, p, _ in everything])
    # All are copied before any is written: two parameters may have exchanged their data.
    arriving = [(p, home, p.data.copy()) for _, p, home in everything if p.data is not home]
    for p, home, values in arriving:
        home[...] = values
        p.data = home
    for storage in storages:
        widen(storage)


def _check_memory(named: list[tuple[str, Array]]) -> None:
    """Raise if two arrays have memory in common."""
    spans = sorted((*np.lib.array_utils.byte_bounds(a), i) for i, (_, a) in enumerate(named))
    for n, (_, end, i) in enumerate(spans):
        for start, _, j in spans[n + 1 :]:
            if start >= end:
                break
            if np.shares_memory(named[i][1], named[j][1]):
                first, second = sorted((i, j))
                raise ValueError(
                    f"parameters {named[first][0]} and {named[second][0]} share memory, which the "
                    f"optimizer would part: let the model use one Parameter in both places instead"
                )
