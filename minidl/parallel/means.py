"""The results of all ranks together, as one process would have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from minidl.parallel.ranks import parts_of
from minidl.parallel.shards import Shards
from minidl.training.measures import Function, Means


class RankMeans(Means):
    """The means over the parts that this rank takes of batches; in the end over those of all.

    Args:
        loss, metrics: as for :class:`~minidl.training.measures.Means`.
        shards: where the parts come from.
    """

    def __init__(self, loss: Function, metrics: dict[str, Function] | None, shards: Shards) -> None:
        super().__init__(loss, metrics)
        self.shards = shards

    def final(self) -> dict[str, float]:
        """The results over the whole data set: computed on rank 0, told to all."""
        ranks = self.shards.ranks
        own = self.sums, self.counts, self.batches, self.kept
        found = ranks.comm.gather(own)
        return ranks.of_first(self._of_all(found) if ranks.first else None)

    def _of_all(self, found: list[Any]) -> dict[str, float]:
        whole = Means(self.loss, self.metrics)
        for sums, counts, batches, _ in found:  # added in the order of ranks
            for totals, own in ((whole.sums, sums), (whole.counts, counts)):
                for name, value in own.items():
                    totals[name] = totals.get(name, 0) + value
            whole.batches += batches
        if whole.whole:
            # Batch by batch, of each the parts in the order of ranks, so as samples came.
            kept = [iter([pair for pair in pairs if len(pair[1])]) for *_, pairs in found]
            size, (*_, batches, _) = len(found), found[-1]  # the last rank has a part of each
            for n in self.shards.lengths[-batches:]:
                parts = zip(kept, parts_of(n, size), strict=True)
                whole.kept += [next(own) for own, part in parts if part]
        return whole.final()


def filled(shards: Iterable[Any]) -> Iterator[Any]:
    """The batches of which this rank has a sample."""
    return (batch for batch in shards if len(batch[1]))
