"""The ranks: the processes that train together, how they begin alike and how they end together."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from minidl.arrays import Array
from minidl.checks import number
from minidl.data import DataLoader
from minidl.extras import need
from minidl.nn import BatchNorm, Module
from minidl.optim import Optimizer
from minidl.parallel.gradients import Message
from minidl.protocols import plain
from minidl.rng import generator
from minidl.training.provenance import checksum, generators

_STARTED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
"""Variables in which mpiexec (MPICH's and Intel's, Open MPI's) tells how many it has started."""


class Alone:
    """A communicator of one rank, which needs no MPI: for trying out, and for tests.

    Example:
        >>> Ranks(Alone())
        Ranks(rank 0 of 1)
    """

    def Get_rank(self) -> int:
        return 0

    def Get_size(self) -> int:
        return 1

    def Allreduce(self, sent: Array, received: Array) -> None:
        received[...] = sent

    def allgather(self, value: Any) -> list[Any]:
        return [value]

    def gather(self, value: Any, root: int = 0) -> list[Any]:
        return [value]

    def bcast(self, value: Any, root: int = 0) -> Any:
        return value


class Ranks:
    """All processes of a run, seen from one of them.

    In a ``with`` block an error on one rank ends all of them: its traceback is printed, and MPI
    stops the others, which would wait for it for ever.

    Args:
        comm: a communicator of mpi4py, or something with its methods; None is ``MPI.COMM_WORLD``.

    Attributes:
        rank: the number of this process, from 0 on.
        size: how many there are.
        first: whether this is rank 0, which alone prints and writes files.

    Raises:
        ImportError: if mpi4py or an MPI is missing.
        RuntimeError: if ``mpiexec`` belongs to another MPI than mpi4py uses.

    Example:
        >>> from minidl import nn, optim
        >>> model = nn.Linear(2, 1, rng=0)
        >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
        >>> with Ranks(Alone()) as ranks:
        ...     ranks.begin_alike(model, optimizer)
        ...     loss = nn.MSELoss()(model(np.ones((3, 2), np.float32)), np.ones((3, 1)))
        ...     loss.backward()
        ...     ranks.average_gradients(optimizer, 3)
        ...     optimizer.step()
        3.0
    """

    def __init__(self, comm: Any = None) -> None:
        self.comm = world() if comm is None else comm
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        self.first = self.rank == 0
        self.synced = False  # whether a SyncBatchNorm has run since gradients were averaged last
        self._messages: WeakKeyDictionary[Optimizer, Message] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"Ranks(rank {self.rank} of {self.size})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Ranks, (self.comm,)

    def __deepcopy__(self, memo: Any) -> Ranks:
        return self  # the copy of a model runs in this process, too

    # --- The end ----------------------------------------------------------------------------------

    def __enter__(self) -> Ranks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        code = error.code if isinstance(error, SystemExit) else 1
        if error is None or self.size == 1 or code in (0, None):
            return
        lines = [f"{error}\n"]
        if not isinstance(error, SystemExit):
            lines = traceback.format_exception(kind, error, trace)
        # Written at once, since other ranks may be writing, too.
        sys.stderr.write("".join([f"rank {self.rank} of {self.size} ends the run:\n", *lines]))
        sys.stdout.flush()
        sys.stderr.flush()
        self.comm.Abort(code if isinstance(code, int) else 1)

    # --- The beginning ----------------------------------------------------------------------------

    def begin_alike(
        self, model: Module, optimizer: Optimizer | None = None, *loaders: DataLoader
    ) -> None:
        """Give all ranks the weights, buffers, state and order of batches of rank 0.

        Their generators of random numbers (minidl's own and those in the model) go on from that of
        rank 0 too, each in a stream of its own, so that dropout differs between ranks. It is the
        stream of rank 0 jumped ahead by ``rank`` times half its period or so, as NumPy's
        ``bit_generator.jumped`` does.

        Raises:
            ValueError: if the model, the optimizer or a loader of this rank is another one.
            TypeError: for a generator that cannot jump, such as SFC64.
        """
        parts: list[Any] = [model, *([] if optimizer is None else [optimizer]), *loaders]
        for part, state in zip(parts, self.of_first([p.state_dict() for p in parts]), strict=True):
            part.load_state_dict(state)
        states = self.of_first([g.bit_generator.state for g in all_generators(model)])
        for g, state in zip(all_generators(model), states, strict=True):
            g.bit_generator.state = stream(state, self.rank)

    def of_first(self, value: Any) -> Any:
        """What rank 0 has here, on all ranks."""
        return self.comm.bcast(value, root=0)

    # --- Steps ------------------------------------------------------------------------------------

    def average_gradients(
        self, optimizer: Optimizer, share: float | None, *, weighed: bool = False
    ) -> float:
        """Replace each gradient by that of the joined batch: ``sum(share * g) / sum(share)``.

        All ranks call it between ``loss.backward()`` and ``optimizer.step()``. It is one Allreduce,
        after one exchange of names in the first step. A parameter without a gradient on some ranks
        counts as 0 there; one that has none on any rank keeps None, and so do all if all shares
        are 0. A rank with nothing to learn from calls it without ``backward()``, with share 0.

        Args:
            optimizer: whose parameters are meant, in whatever groups.
            share: what the loss of this rank was divided by: the number of its samples for a mean
                over samples, or ``loss_function.divisor(predictions, targets)``, which knows of
                class weights and ignored targets. None if the loss is a sum.
            weighed: whether the gradients come from ``loss.backward(share)`` and are multiplied by
                the share already. SyncBatchNorm needs that where shares differ.

        Returns:
            The sum of the shares.

        Raises:
            TypeError, ValueError: for a share that is no finite number of at least 0; if shares
                are None, parameters frozen, or optimizers made otherwise on other ranks; if
                shares differ and the model has a SyncBatchNorm, unless ``weighed``.
        """
        if share is not None:
            share = number(share, "average_gradients: share", at_least=0)
        message = self._messages.get(optimizer)
        if message is None:
            message = self._messages[optimizer] = Message(optimizer, self)
        synced, self.synced = self.synced, False
        return message.average(share, weighed, synced)

    def sum(self, values: Any) -> Array:
        """The sum over all ranks of arrays of one shape and dtype.

        Example:
            >>> Ranks(Alone()).sum([1.0, 2.0])
            array([1., 2.])
        """
        sent = np.ascontiguousarray(values)
        received = np.empty_like(sent)
        self.comm.Allreduce(sent, received)
        return received

    def join_buffers(self, model: Module) -> None:
        """Let buffers be the same on all ranks, before the model is evaluated or saved.

        Running means and variances of BatchNorm become their means over the ranks: both are
        unbiased, so that these are, too. All other buffers become those of rank 0.
        """
        norms = [m for _, m in model.modules() if isinstance(m, BatchNorm)]
        running = [a for m in norms for a in (m.running_mean, m.running_var)]
        if running:
            flat = self.sum(np.concatenate([a.astype(np.float64) for a in running])) / self.size
            for a, part in zip(running, np.split(flat, np.cumsum([len(a) for a in running])[:-1]),
                               strict=True):  # fmt: skip
                a[...] = part
        buffers = [getattr(m, name) for _, m in model.modules() for name in m.buffers]
        arrays = [plain(a) for a in buffers if a is not None]
        for a, value in zip(arrays, self.of_first(arrays), strict=True):
            a[...] = value

    def check_alike(self, model: Module) -> None:
        """Raise unless the weights and buffers of all ranks are the same, bit for bit.

        Raises:
            RuntimeError: if they are not; the message says which.
        """
        mine = {name: checksum(array) for name, array in model.state_dict().items()}
        for rank, theirs in enumerate(self.comm.allgather(mine)):
            other = [name for name in mine | theirs if mine.get(name) != theirs.get(name)]
            if other:
                raise RuntimeError(
                    f"ranks {self.rank} and {rank} do not hold the same model: {', '.join(other)} "
                    f"differ: begin with begin_alike(), average the gradients in every step, and "
                    f"change nothing on one rank alone"
                )


def world() -> Any:
    """All processes that mpiexec has started; without it, this one."""
    need("mpi4py", extra="mpi", what="minidl.parallel")
    try:
        MPI = need("mpi4py.MPI", extra="mpi", what="minidl.parallel")
    except (ImportError, RuntimeError) as error:  # it looks for the library of MPI, and has none
        first, *_ = str(error).split("\n")  # it lists all the places where it has looked
        raise ImportError(
            f"minidl.parallel: mpi4py finds no MPI ({first}): install one with `python -m pip "
            f"install mpich`, or the one of your system (Debian: mpich or openmpi-bin)"
        ) from error
    comm = MPI.COMM_WORLD
    started = max(int(os.environ.get(name, "1")) for name in _STARTED)
    if started > 1 and comm.Get_size() == 1:
        library = MPI.Get_library_version().split(",")[0].split("\n")[0].strip("\0 ")
        raise RuntimeError(
            f"mpiexec has started {started} processes, and each finds itself alone: that mpiexec "
            f"is of another MPI than mpi4py uses ({library}): start with the mpiexec of that one"
        )
    return comm


def all_generators(model: Module) -> list[np.random.Generator]:
    """minidl's own generator and those among the attributes of a model, each once."""
    found = {generator(): None}
    found.update(dict.fromkeys(g for _, g in generators({"model": model})))
    return list(found)


def stream(state: Any, rank: int) -> Any:
    """The state of a bit generator, jumped ahead to the stream of a rank."""
    kind = getattr(np.random, state["bit_generator"])
    if not hasattr(kind, "jumped"):
        raise TypeError(
            f"random numbers of {kind.__name__} cannot be parted into streams, one for each rank: "
            f"use numpy.random.default_rng(seed)"
        )
    one = kind()
    one.state = state
    return one.jumped(rank).state if rank else state


def part_of(n: int, rank: int, size: int) -> slice:
    """The part of ``n`` samples that a rank takes; parts differ by one sample at most.

    Example:
        >>> [part_of(5, rank, 2) for rank in (0, 1)]
        [slice(0, 2, None), slice(2, 5, None)]
    """
    return slice(n * rank // size, n * (rank + 1) // size)


def parts_of(n: int, size: int) -> Sequence[int]:
    """How many of ``n`` samples each rank takes."""
    return [(n * (r + 1) // size) - (n * r // size) for r in range(size)]
