"""The gradients of all ranks, averaged by one message.

If rank r has the loss ``l_r``, a mean over ``s_r`` terms, the loss of the joined batch is
``sum(s_r l_r) / sum(s_r)``, and so is its gradient. All that this takes goes into one array, so
that one Allreduce per step is enough, however many parameters there are::

    sum of shares | ranks whose loss is a sum | for each parameter the ranks that have a gradient |
    the gradients, each times its share
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.optim import Optimizer

_HEAD = 2  # numbers before those of the parameters


class Message:
    """What one rank sends of the gradients of an optimizer, and what comes back.

    Args:
        optimizer: whose parameters are meant; float16 ones are sent in float32, as their gradients
            are kept.
        ranks: between whom.

    Raises:
        ValueError: if the optimizers of the ranks are not over parameters of one kind.
    """

    def __init__(self, optimizer: Optimizer, ranks: Any) -> None:
        self.ranks = ranks
        self.params = [p for group in optimizer.groups for p in group.storage.params]
        self.names = [name for group in optimizer.groups for name in group.storage.names]
        mine = [
            f"{name}: {p.dtype} {p.shape}" for name, p in zip(self.names, self.params, strict=True)
        ]
        for other, theirs in enumerate(ranks.comm.allgather(mine)):
            if theirs != mine:
                here, there = next(
                    ((a, b) for a, b in zip(mine, theirs, strict=False) if a != b),
                    (f"{len(mine)} parameters", f"{len(theirs)}"),
                )
                raise ValueError(
                    f"average_gradients: the optimizers differ: rank {ranks.rank} has {here}, rank "
                    f"{other} has {there}: make the same model and optimizer on all ranks"
                )
        dtype = np.result_type(np.float32, *(p.dtype for p in self.params))
        end = start = _HEAD + len(self.params)
        places = []
        for p in self.params:
            places.append((p, end, end + p.size))
            end += p.size
        self.sent, self.sums = np.zeros(end, dtype), np.zeros(end, dtype)
        self.parts, self.joined = (
            [a[i:j].reshape(p.shape) for p, i, j in places] for a in (self.sent, self.sums)
        )
        self.present, self.counts = (a[_HEAD:start] for a in (self.sent, self.sums))

    def average(self, share: float | None, weighed: bool, synced: bool) -> float:
        """Replace the gradients by those of the joined batch; see ``Ranks.average_gradients``."""
        weight = 1.0 if share is None else share
        self.sent[:_HEAD] = weight, share is None
        for i, (p, part) in enumerate(zip(self.params, self.parts, strict=True)):
            g = None if p.node is None else p.node.grad  # as it is kept, of float16 in float32
            self.present[i] = g is not None
            if g is None or (weight == 0 and not weighed):  # 0 times infinity would be NaN
                part[...] = 0
            elif weighed:
                part[...] = g
            else:
                np.multiply(g, weight, out=part)
        self.ranks.comm.Allreduce(self.sent, self.sums)
        total, sums = (float(v) for v in self.sums[:_HEAD])
        self.check(sums)
        alike = math.isclose(self.ranks.size * weight, total, rel_tol=1e-6)
        if synced and not weighed and not alike:
            raise ValueError(
                f"average_gradients: the share of rank {self.ranks.rank} is {share}, the mean of "
                f"all is {total / self.ranks.size:g}, and SyncBatchNorm joins gradients within "
                f"backward(), where shares must be known: write loss.backward(share) and "
                f"average_gradients(optimizer, share, weighed=True)"
            )
        divisor = 1.0 if sums else total
        for p, part, count in zip(self.params, self.joined, self.counts, strict=True):
            if p.node is not None and (count == 0 or total == 0):
                p.node.grad = None
            elif p.node is not None:
                if p.node.grad is None:  # other ranks have one
                    p.node.grad = np.empty(p.shape, p.node.dtype)
                np.divide(part, divisor, out=p.node.grad, casting="same_kind")
        return total

    def check(self, sums: float) -> None:
        """Raise for what would be wrong on some ranks and not on others."""
        size = self.ranks.size
        if sums not in (0, size):
            raise ValueError(
                f"average_gradients: share is None, as for a sum, on {sums:g} of {size} ranks: "
                f"give None on all, or on all the number of terms of the mean"
            )
        frozen = [
            f"{name} (on {count:g} of {size} ranks)"
            for name, p, count in zip(self.names, self.params, self.counts, strict=True)
            if count and p.node is None
        ]
        if frozen:
            raise ValueError(
                f"average_gradients: rank {self.ranks.rank} has frozen parameters that others "
                f"train: {', '.join(frozen)}: set requires_grad alike on all ranks"
            )
