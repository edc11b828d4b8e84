"""Search for the settings of a network, on all cores or on many machines.

    python examples/search.py                         on all cores of this machine (joblib's loky)
    python examples/search.py --jobs 1                one after the other
    python examples/search.py --dask                  on a local Dask cluster of two workers
    python examples/search.py --dask tcp://HOST:8786  on a cluster that runs already

It draws settings at random, trains a network with each on parts of the digits and tests it on the
rest of them (cross-validation). A fit is one task. Nothing is random about a task but what its seed
says, and so the best are the same wherever the tasks ran and in whatever order. You see the best
five, and how well the best does on digits that no fit saw.

Each worker has one BLAS thread, however many there are. If a worker dies (out of memory, or its
machine is gone), its tasks are given to others; what is done stays done.

It needs scikit-learn: pip install -e '.[sklearn]'; with --dask also Dask: '.[dask]'. The machines
of a cluster need minidl with both.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, NamedTuple

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np
from _shared import Parser, percent, positive, table
from tqdm import tqdm

from minidl import data
from minidl.extras import need

FOLDS = 3
LOCAL = "a local cluster"
LOSSES = 3  # of workers in a row, without a result between them, are no accident


class Task(NamedTuple):
    """A fit: settings, by their place in the list, and the part that they are tested on."""

    place: int
    settings: dict[str, Any]
    fold: int
    seed: int


class Result(NamedTuple):
    """What became of a task, and where: the accuracy, the process, its BLAS threads."""

    task: Task
    accuracy: float
    worker: tuple[str, int]
    threads: int


def sklearn(module: str) -> Any:
    """A module of scikit-learn; or an error that says how to get it."""
    return need(f"sklearn.{module}", extra="sklearn", what="examples/search.py")


def candidates(n: int, epochs: int, seed: int) -> list[dict[str, Any]]:
    """Settings of a Classifier, drawn at random."""
    rng = np.random.default_rng(seed)
    return [
        {
            "hidden": [(32,), (128,), (64, 64)][rng.integers(3)],
            "batch_norm": bool(rng.integers(2)),
            "dropout": [0.0, 0.2, 0.5][rng.integers(3)],
            "lr": float(f"{10 ** rng.uniform(-4, -1):.2g}"),
            "epochs": epochs,
        }
        for _ in range(n)
    ]


def digits(seed: int) -> tuple[np.ndarray, ...]:
    """A part of the digits to search with, and one that the best is tested on."""
    x, y = data.load_digits()
    return data.train_test_split(x, y, stratify=y, rng=seed)


def pipeline(settings: dict[str, Any], seed: int) -> Any:
    """What is searched for: a network after a scaler."""
    from minidl.estimators import Classifier  # here, since it needs scikit-learn

    scaler = sklearn("preprocessing").StandardScaler()
    return sklearn("pipeline").make_pipeline(scaler, Classifier(**settings, random_state=seed))


def fitted(task: Task) -> Result:
    """Carry a task out. It reads the data itself: what is sent to a worker would die with it."""
    import platform

    threads = need("threadpoolctl", extra="sklearn", what="examples/search.py")
    x, _, y, _ = digits(task.seed)
    splits = sklearn("model_selection").StratifiedKFold(FOLDS, shuffle=True, random_state=task.seed)
    train, test = list(splits.split(x, y))[task.fold]
    with threads.threadpool_limits(1):
        model = pipeline(task.settings, task.seed).fit(x[train], y[train])
        accuracy = model.score(x[test], y[test])
        most = max(pool["num_threads"] for pool in threads.threadpool_info())
    return Result(task, accuracy, (platform.node(), os.getpid()), most)


def results(tasks: Sequence[Task], jobs: int) -> Iterator[Result]:
    """Carry all tasks out on joblib's backend, and give each result as soon as it is there.

    Dask repeats the tasks of a worker that dies by itself. Loky gives up all it was given: then
    those without a result are given to new workers.
    """
    joblib = need("joblib", extra="sklearn", what="examples/search.py")
    left, losses = {(task.place, task.fold): task for task in tasks}, 0
    while left:
        parallel = joblib.Parallel(jobs, return_as="generator_unordered", batch_size=1)
        try:
            for result in parallel(joblib.delayed(fitted)(task) for task in [*left.values()]):
                del left[result.task.place, result.task.fold]
                losses = 0
                yield result
        except BrokenProcessPool as error:
            losses += 1
            if losses == LOSSES:
                raise ValueError(
                    f"workers died {LOSSES} times in a row without any result, the last time of "
                    f"this: {error}"
                ) from error
            tqdm.write(f"a worker died: going on with the {len(left)} tasks that are left")


@contextmanager
def backend(address: str | None) -> Iterator[str]:
    """Let joblib use Dask, on a cluster with that address or a local one; or loky, for None."""
    joblib = need("joblib", extra="sklearn", what="examples/search.py")
    if address is None:
        yield "loky"
        return
    distributed = need("dask.distributed", extra="dask", what="--dask")
    if address == LOCAL:
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        )
    else:
        cluster = address
    with distributed.Client(cluster, timeout=10) as client:
        try:
            with joblib.parallel_config("dask"):
                yield f"Dask at {client.scheduler.address}"
        finally:
            if address == LOCAL:
                cluster.close()


def search(
    tasks: Sequence[Task], jobs: int, on_result: Callable[[Result], Any] = lambda result: None
) -> list[Result]:
    """All results, in the order of the tasks, with a bar that shows the best accuracy so far."""
    found = []
    with tqdm(total=len(tasks), unit="fit", disable=None) as bar:
        for result in results(tasks, jobs):
            found.append(result)
            bar.set_postfix_str(f"best {percent(max(r.accuracy for r in found))}", refresh=False)
            bar.update()
            on_result(result)
    return sorted(found, key=lambda r: (r.task.place, r.task.fold))


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--candidates", type=positive, default=12, help="(default: 12)")
    parser.add_argument("--epochs", type=positive, default=30, help="of each fit (default: 30)")
    parser.add_argument("--jobs", type=positive, help="processes at once (default: all cores)")
    parser.add_argument(
        "--dask", nargs="?", const=LOCAL, metavar="ADDRESS",
        help="search on a Dask cluster, by default a local one of two workers",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of settings, parts and networks")
    args = parser.parse_args(argv)
    with parser.one_line_errors():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Search, and show the best settings and how they do on digits that nobody saw."""
    drawn = candidates(args.candidates, args.epochs, args.seed)
    tasks = [
        Task(i, settings, fold, args.seed)
        for i, settings in enumerate(drawn)
        for fold in range(FOLDS)
    ]
    if args.dask is not None:
        need("dask.distributed", extra="dask", what="--dask")  # or an error now; it brings sklearn
    sklearn("base")
    with backend(args.dask) as name:
        start = time.monotonic()
        found = search(tasks, args.jobs or -1)
    seconds = time.monotonic() - start
    workers, threads = {r.worker for r in found}, max(r.threads for r in found)
    print(
        f"{len(tasks)} fits in {seconds:.1f} s by {name}: {len(workers)} "
        f"process{'es' * (len(workers) > 1)}, {threads} BLAS thread each\n"
    )
    accuracies = np.array([r.accuracy for r in found]).reshape(-1, FOLDS)
    order = np.argsort(-accuracies.mean(axis=1), kind="stable")[:5]
    names = list(drawn[0])
    rows = [
        [percent(accuracies[i].mean()), percent(accuracies[i].min()), *drawn[i].values()]
        for i in order
    ]
    print(table(["accuracy", "the least", *names], rows))
    x_train, x_test, y_train, y_test = digits(args.seed)
    best = pipeline(drawn[order[0]], args.seed).fit(x_train, y_train)
    print(f"\ntest accuracy of the best: {percent(best.score(x_test, y_test))}")


if __name__ == "__main__":
    main()
