"""Fit and evaluate over several ranks: what ``minidl.fit`` and ``minidl.evaluate`` are for one."""

from __future__ import annotations

import os
from contextlib import closing

from minidl.checks import whole_number
from minidl.nn import Module
from minidl.optim import Optimizer
from minidl.parallel.ranks import Ranks
from minidl.parallel.run import RankRun, RankSteps, measured
from minidl.parallel.shards import Shards
from minidl.parts import check_parts
from minidl.training.batches import Data, as_loader
from minidl.training.console import Bar
from minidl.training.evaluation import modes_restored
from minidl.training.history import History
from minidl.training.loop import train_epoch
from minidl.training.measures import Function, Means
from minidl.training.metrics import Metrics, metrics_by_name
from minidl.training.trials import check_parameters


def fit(
    model: Module,
    loss: Function,
    optimizer: Optimizer,
    train: Data,
    validation: Data | None = None,
    *,
    ranks: Ranks | None = None,
    epochs: int = 10,
    metrics: Metrics = None,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
) -> History:
    """Train ``model`` on all ranks together, as :func:`minidl.fit` does on one.

    All ranks call it, with the whole data, and get the same history. They begin with the weights,
    the optimizer's state and the order of batches of rank 0. Of each batch of ``train`` a rank
    takes its part, so that the batch size is that of all ranks together, and the steps are those of
    one process up to rounding. Dropout differs: each rank draws from a stream of its own.

    BatchNorm uses the statistics of a rank's own part, unless :func:`sync_batch_norm` was called.
    After each epoch its running statistics become their means over the ranks; then weights and
    buffers are checked to be the same on all ranks, bit for bit.

    With ``checkpoint`` rank 0 saves the run to that file at the start and after each epoch, and all
    ranks go on from it if it is there; the other ranks need not see the file. With the same number
    of ranks all becomes bitwise what it would have been without the stop. Another number is taken,
    too. Ctrl-C ends all ranks at once; the run goes on from the last epoch.

    Args:
        model, loss, optimizer, train, validation, epochs, metrics: as for :func:`minidl.fit`, the
            same on all ranks.
        ranks: the ranks; None is all that mpiexec has started.
        progress: whether rank 0 shows a bar.
        checkpoint: the file of rank 0.

    Raises:
        Whatever :func:`minidl.fit` does. With several ranks, an error on one prints its traceback
        and ends all of them.
        ValueError: also if batches are smaller than the number of ranks, or if data, loss or layers
            are not the same on all ranks.
        RuntimeError: if the ranks came to different weights.

    Example:
        >>> import numpy as np
        >>> from minidl import nn, optim, parallel
        >>> x = np.linspace(-1, 1, 64).reshape(64, 1)
        >>> model = nn.Sequential(nn.Linear(1, 16, rng=0), nn.Tanh(), nn.Linear(16, 1, rng=1))
        >>> ranks = parallel.Ranks(parallel.Alone())  # parallel.Ranks() where there is MPI
        >>> history = parallel.fit(
        ...     model, nn.MSELoss(), optim.Adam(model.parameters(), lr=0.02), (x, x**2), epochs=50,
        ...     progress=False, ranks=ranks)
        >>> len(history["loss"]), history["loss"][-1] < 0.01
        (50, True)
    """
    ranks = Ranks() if ranks is None else ranks
    with ranks:
        epochs = whole_number(epochs, "fit: epochs")
        check_parts("fit", model, loss, optimizer)
        check_parameters(model, optimizer, saving=checkpoint is not None)
        loaders = {"train": as_loader("fit: train", train, model, batch_size=32, shuffle=True)}
        if validation is not None:
            loaders["validation"] = as_loader("fit: validation", validation, model)
        ranks.begin_alike(model, optimizer, *loaders.values())
        by_name = metrics_by_name(metrics, loss)
        run = RankRun(ranks, loaders, model, loss, optimizer, by_name, checkpoint)
        going_on = ranks.of_first(checkpoint is not None and os.path.exists(checkpoint))
        if going_on:
            run.go_on()
        if run.epochs < epochs:
            run.try_parts()
        if not going_on:
            run.save()
        bar = Bar(run, epochs, progress and ranks.first)
        with modes_restored(model) as to_train_mode, closing(bar):
            steps = RankSteps(run, bar.show)
            if going_on:
                bar.say(f"fit: going on after {run.place}")
            while run.epochs < epochs:
                to_train_mode()
                train_epoch(model, steps.loss, optimizer, run.train, steps)
                run.end_epoch()
                run.save()
                bar.show()
        return run.history


def evaluate(
    model: Module,
    loss: Function,
    data: Data,
    metrics: Metrics = None,
    *,
    ranks: Ranks | None = None,
) -> dict[str, float]:
    """Return what :func:`minidl.evaluate` does, computed by all ranks together.

    All ranks call it, with the same model and the whole data, and get the same numbers: each
    measures its part of every batch, and their sums and counts are added up.

    Args:
        model, loss, data, metrics: as for :func:`minidl.evaluate`.
        ranks: the ranks; None is all that mpiexec has started.

    Raises:
        TypeError, ValueError: as :func:`minidl.evaluate` does.

    Example:
        >>> import numpy as np
        >>> from minidl import nn, parallel
        >>> model, ranks = nn.Linear(1, 2, rng=0), parallel.Ranks(parallel.Alone())
        >>> data = (np.array([[3.0], [-3.0]]), np.array([0, 1]))
        >>> sorted(parallel.evaluate(model, nn.CrossEntropyLoss(), data, ranks=ranks))
        ['accuracy', 'loss']
    """
    ranks = Ranks() if ranks is None else ranks
    with ranks:
        check_parts("evaluate", model, loss)
        shards = Shards(as_loader("evaluate: data", data, model), ranks)
        with modes_restored(model):
            return measured(model, shards, Means(loss, metrics_by_name(metrics, loss)), ranks)
