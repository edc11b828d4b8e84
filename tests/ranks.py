"""Ranks that are threads of this process, with the methods of a communicator that minidl calls.

And what the tests of ranks have in common.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.parallel import Alone, Ranks
from minidl.parallel.ranks import part_of


class Meeting:
    """Where threads meet: each brings something and gets what all have brought."""

    def __init__(self, size: int) -> None:
        self.size, self.barrier = size, threading.Barrier(size, timeout=20)
        self.brought: list[Any] = [None] * size

    def all(self, rank: int, value: Any) -> list[Any]:
        self.brought[rank] = value
        self.barrier.wait()
        found = list(self.brought)
        self.barrier.wait()
        return found


class ThreadComm:
    """The communicator of one thread; ``calls`` counts its sums, the last one of ``dtype``."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting, self.rank, self.calls = meeting, rank, 0

    def Get_rank(self) -> int:
        return self.rank

    def Get_size(self) -> int:
        return self.meeting.size

    def allgather(self, value: Any) -> list[Any]:
        found = self.meeting.all(self.rank, pickle.dumps(value))  # as MPI does: each gets its own
        return [pickle.loads(one) for one in found]

    def gather(self, value: Any, root: int = 0) -> list[Any] | None:
        found = self.allgather(value)
        return found if self.rank == root else None

    def bcast(self, value: Any, root: int = 0) -> Any:
        return self.allgather(value)[root]

    def Allreduce(self, sent: np.ndarray, received: np.ndarray) -> None:
        self.calls += 1
        self.dtype = sent.dtype
        arrays = self.meeting.all(self.rank, sent.copy())
        assert len({(a.shape, a.dtype) for a in arrays}) == 1, "MPI would mix them up or hang"
        received[...] = sum(arrays[1:], start=arrays[0])

    def Abort(self, code: int) -> None:
        self.meeting.barrier.abort()


def on_ranks(size: int, function: Callable[[Ranks], Any]) -> list[Any]:
    """What the function returns on each rank; if one raises, its error."""
    meeting = Meeting(size)
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = function(Ranks(ThreadComm(meeting, rank)))
        except threading.BrokenBarrierError:
            pass
        except BaseException as error:
            errors.append(error)
            meeting.barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


ONE = Ranks(Alone())


def part(array, ranks, cuts=None):
    """What a rank takes of an array; ``cuts`` is where the ranks begin, if not in equal parts."""
    if cuts is None:
        return array[part_of(len(array), ranks.rank, ranks.size)]
    return np.split(array, cuts)[ranks.rank]


def gradients(optimizer):
    found = [p.grad for group in optimizer.groups for p in group["params"]]
    return [None if g is None else g.copy() for g in found]


def assert_alike(found, expected, tolerance=1e-12):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
