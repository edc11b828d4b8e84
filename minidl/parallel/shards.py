"""The part of each batch that a rank takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from minidl.data import DataLoader
from minidl.parallel.ranks import Ranks, part_of


class Shards(DataLoader):
    """A DataLoader that gives each rank its part of every batch of another one.

    All ranks know the whole order, and take of each batch the samples
    ``n * rank // size`` to ``n * (rank + 1) // size``. So together they learn from the batches
    that one process would, and the state of the loader is the same on all of them and in one
    process. A part may be empty where a batch has fewer samples than there are ranks.

    Args:
        loader: the loader of the joined batches, in the same state on all ranks
            (``ranks.begin_alike(model, optimizer, loader)``); its state is copied.
        ranks: which part to take.

    Raises:
        TypeError: if ``loader`` is no DataLoader.
        ValueError: if its batches are smaller than the number of ranks.

    Example:
        >>> from minidl.parallel import Alone, Ranks
        >>> [len(x) for x, in Shards(DataLoader(np.arange(5.0), batch_size=3), Ranks(Alone()))]
        [3, 2]
    """

    def __init__(self, loader: DataLoader, ranks: Ranks) -> None:
        if not isinstance(loader, DataLoader):
            raise TypeError(f"Shards: loader is a DataLoader, got {type(loader).__name__}")
        if loader.batch_size < ranks.size:
            raise ValueError(
                f"Shards: batches of {loader.batch_size} are too small for {ranks.size} ranks: "
                f"batch_size is that of all ranks together, so take {ranks.size} or more"
            )
        super().__init__(
            *loader.arrays, batch_size=loader.batch_size, dtype=None, check_finite=False
        )
        self.ranks = ranks
        self.rows = DataLoader(np.arange(loader.samples))  # it only tells which samples come
        self.load_state_dict(loader.state_dict())

    def __copy__(self) -> Shards:
        return Shards(self, self.ranks)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        epoch = iter(self.rows)  # begun now, not with the first batch
        return (self._mine(rows) for (rows,) in epoch)

    def _mine(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        mine = rows[part_of(len(rows), self.ranks.rank, self.ranks.size)]
        return tuple([array.take(mine, 0) for array in self.arrays])

    def state_dict(self) -> dict[str, int]:
        return self.rows.state_dict()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.rows.load_state_dict(state)
        super().load_state_dict(state)
