"""Where the time of a data-parallel step goes, for 1 and 2 ranks, and a model of it for 64.

    python tests/laboratory/benchmarks/ranks.py              # half a minute
    python tests/laboratory/benchmarks/ranks.py --seconds 10 # longer, for steadier numbers

It starts itself by ``mpiexec`` (needs the extra ``mpi`` and an MPI). Every rank has a batch of the
full size (weak scaling), one BLAS thread, and Adam. A step is cut into

- compute: zero_grad, forward, loss, backward;
- wait: until the slowest rank is there (a barrier, which the step itself does not have);
- pack: gradients into the message and out of it again;
- Allreduce: the sum itself;
- update: ``optimizer.step()``.

Shown are medians over the steps of the slowest rank: of compute, pack and update the time of the
processor, of wait and Allreduce that of the clock, which other programs lengthen. The model takes
compute, pack and update of one rank as they were measured, and for p ranks a ring::

    Allreduce(p) = 2 (p - 1) alpha + 2 (p - 1) / p * bytes * beta

with alpha the latency of a message and beta the time of a byte, both assumed, as printed. It knows
nothing of waiting, of ranks that share a network card, and of overlap with backward, which there is
none of. "together" has a batch of the full size on each rank: the share of 64 times the speed of
one rank that is left. "most" has one batch of the full size for all: the number of ranks from which
on a step takes longer again, if compute falls as 1 / p, and the speed over one rank there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from minidl import nn, optim, parallel

SIZES = {  # name: the widths of the layers, and the batch of a rank
    "digits 64-128-128-10, batch 64": ((64, 128, 128, 10), 64),
    "mnist 784-256-128-10, batch 128": ((784, 256, 128, 10), 128),
    "wide 784-1024-1024-10, batch 256": ((784, 1024, 1024, 10), 256),
}
NETWORKS = {  # name: alpha in seconds, beta in seconds per byte
    "10 Gbit/s Ethernet, 30 us": (30e-6, 8 / 10e9),
    "100 Gbit/s InfiniBand, 2 us": (2e-6, 8 / 100e9),
}
PARTS = ("compute", "wait", "pack", "Allreduce", "update")
FEWEST, RANKS = 20, 64


class Timed:
    """A communicator whose sums are timed, by the clock and by the processor."""

    def __init__(self, comm: Any) -> None:
        self.comm, self.seconds, self.worked = comm, 0.0, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.comm, name)

    def Allreduce(self, sent: Any, received: Any) -> None:
        start, worked = time.perf_counter(), time.thread_time()
        self.comm.Allreduce(sent, received)
        self.seconds, self.worked = time.perf_counter() - start, time.thread_time() - worked


def measured(ranks: parallel.Ranks, sizes: tuple[int, ...], batch: int, seconds: float) -> Any:
    """The medians of the parts of a step, in seconds, and the bytes of its message."""
    layers: list[nn.Module] = []
    for k, c in itertools.pairwise(sizes):
        layers += [nn.Linear(k, c, rng=0), nn.ReLU()]
    model, loss = nn.Sequential(*layers[:-1]), nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters())
    rng = np.random.default_rng(ranks.rank)
    x, y = rng.standard_normal((batch, sizes[0]), np.float32), rng.integers(0, sizes[-1], batch)
    clock, worked, rows = time.perf_counter, time.thread_time, []
    end = clock() + seconds
    while True:
        start = worked()
        optimizer.zero_grad()
        loss(model(x), y).backward()
        computed, early = worked(), clock()
        ranks.comm.comm.Barrier()
        together, late = worked(), clock()
        ranks.average_gradients(optimizer, len(y))
        averaged = worked()
        optimizer.step()
        done = worked()
        pack = averaged - together - ranks.comm.worked
        rows.append([computed - start, late - early, pack, ranks.comm.seconds, done - averaged])
        # Rank 0 says when it is enough, outside what is timed: all must make as many steps.
        if ranks.of_first(len(rows) >= FEWEST and clock() > end):
            break
    n = sum(p.size for p in model.parameters())
    return np.median(rows[FEWEST // 4 :], 0).tolist(), 4 * n


def work(seconds: float) -> None:
    """What every rank does; rank 0 prints the numbers of the slowest."""
    with parallel.Ranks() as world:
        ranks = parallel.Ranks(Timed(world.comm))
        result = {}
        for name, (sizes, batch) in SIZES.items():
            parts, size = measured(ranks, sizes, batch, seconds)
            rows = world.comm.allgather(parts)
            result[name] = (max(rows, key=lambda row: row[0] + sum(row[2:])), size)
        if world.first:
            print(json.dumps(result))


def ring(p: int, size: float, alpha: float, beta: float) -> float:
    return 2 * (p - 1) * alpha + 2 * (p - 1) / p * size * beta


def started(size: int, seconds: float) -> Any:
    """What so many ranks measure."""
    found = shutil.which("mpiexec", path=os.path.dirname(sys.executable)) or "mpiexec"
    command = [found, "-n", str(size), sys.executable, __file__, "--work", str(seconds)]
    one = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}
    done = subprocess.run(
        command, env=os.environ | one, stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    return json.loads(done.stdout)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3, help="for each size (default: 3)")
    parser.add_argument("--work", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.work is not None:
        work(args.work)
        return
    results = {p: started(p, args.seconds) for p in (1, 2)}
    print(f"{'a step in ms':34}ranks {''.join(f'{part:>10}' for part in PARTS)}{'all':>10}")
    for name in SIZES:
        for p, result in results.items():
            parts, _ = result[name]
            cells = "".join(f"{1e3 * t:10.3f}" for t in (*parts, sum(parts)))
            print(f"{name:34}{p:5} {cells}")
    print(f"\n{f'model of {RANKS} ranks':34}{'network':29}  Allreduce  together  most")
    for name in SIZES:
        (compute, _, pack, _, update), size = results[1][name]
        for network, (alpha, beta) in NETWORKS.items():
            sums = ring(RANKS, size, alpha, beta)
            alone = compute + update
            steps = [alone] + [
                compute / p + pack + update + ring(p, size, alpha, beta) for p in range(2, 1025)
            ]
            best = int(np.argmin(steps))
            print(
                f"{name:34}{network:29}{1e3 * sums:8.2f} ms"
                f"{alone / (alone + pack + sums):9.0%}"
                f"{best + 1:6} ranks, {alone / steps[best]:.1f} times"
            )


if __name__ == "__main__":
    main()
