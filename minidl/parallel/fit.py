"""Fit and evaluate over several ranks: what ``minidl.fit`` and ``minidl.evaluate`` are for one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from typing import Any

from minidl.checks import whole_number
from minidl.nn import Module
from minidl.optim import Optimizer
from minidl.parallel.means import RankMeans, filled
from minidl.parallel.ranks import Ranks
from minidl.parallel.run import RankRun, RankSteps, check_same
from minidl.parallel.shards import Shards
from minidl.parts import check_parts
from minidl.training.batches import Data, as_loader, called, columns
from minidl.training.callbacks import Callbacks
from minidl.training.console import Bar
from minidl.training.evaluation import measured, modes_restored
from minidl.training.history import History
from minidl.training.loop import train_epoch
from minidl.training.measures import Function
from minidl.training.metrics import Metrics, metrics_by_name
from minidl.training.plans import steps_known
from minidl.training.provenance import parts
from minidl.training.trials import check_forms, check_parameters, try_validation
from minidl.training.weighting import Weighted

NOT_TAKEN = {  # what minidl.fit takes besides, and why not here
    "compiled": "the gradients of ranks are added up between the two halves of a step",
    "on_interrupt": "Ctrl-C ends all ranks at once, and with checkpoint= the run goes on later",
}


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
    callbacks: Iterable[Any] = (),
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
    **not_taken: Any,
) -> History:
    """Train ``model`` on all ranks together, as :func:`minidl.fit` does on one.

    All ranks call it, with the whole data, and get the same history. They begin with the weights,
    the optimizer's state and the order of batches of rank 0. Of each batch of ``train`` a rank
    takes its part, so that the batch size is that of all ranks together, and the steps are those of
    one process up to rounding. Dropout differs: each rank draws from a stream of its own. Metrics
    of the whole set are computed once, of the predictions of all ranks in the order of samples.

    BatchNorm uses the statistics of a rank's own part, unless :func:`sync_batch_norm` was called.
    After each epoch its running statistics become their means over the ranks; then weights and
    buffers are checked to be the same on all ranks, bit for bit.

    With ``checkpoint`` rank 0 saves the run to that file at the start and after each epoch, and all
    ranks go on from it if it is there; the other ranks need not see the file. With the same number
    of ranks all becomes bitwise what it would have been without the stop. Another number is taken,
    too. Ctrl-C ends all ranks at once; the run goes on from the last epoch.

    Callbacks are called on rank 0 only, while the others wait: so they may write files and measure
    with functions of minidl, but not with those of ``parallel``, in which all ranks take part. What
    they change of the model or the optimizer, and that they stop the run, holds for all ranks.

    Args:
        model, loss, optimizer, train, validation, epochs, metrics, batch_size, clip_norm,
            accumulate: as for :func:`minidl.fit`, the same on all ranks.
        ranks: the ranks; None is all that mpiexec has started.
        callbacks: those of rank 0; those of the other ranks are left out.
        progress: whether rank 0 shows a bar.
        checkpoint: the file of rank 0.
        not_taken: ``compiled`` and ``on_interrupt``, which are refused.

    Raises:
        Whatever :func:`minidl.fit` does. With several ranks, an error on one prints its traceback
        and ends all of them.
        TypeError: also for a loader with an iteration of its own, and for what is not taken.
        ValueError: also if batches are smaller than the number of ranks, or if data, loss, layers
            or settings are not the same on all ranks.
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
        for name in not_taken:
            why = NOT_TAKEN.get(name, "minidl.fit knows no argument of this name")
            raise TypeError(f"parallel.fit does not take {name}: {why}")
        epochs = whole_number(epochs, "fit: epochs")
        check_same("fit", ranks, {"epochs": epochs, "checkpoint given": checkpoint is not None})
        check_parts("fit", model, loss, optimizer)
        check_parameters(model, optimizer, saving=checkpoint is not None)
        loaders = {"train": as_loader("fit: train", train, model, batch_size, shuffle=True)}
        if validation is not None:
            loaders["validation"] = as_loader("fit: validation", validation, model)
        ranks.begin_alike(model, optimizer, *loaders.values())
        run = RankRun(
            ranks, loaders, model, loss, optimizer, metrics_by_name(metrics, loss), checkpoint,
            clip_norm=clip_norm, accumulate=accumulate,
            callbacks=Callbacks(callbacks if ranks.first else ()),
        )  # fmt: skip
        check_forms(run, compiled=False)
        going_on = ranks.of_first(checkpoint is not None and os.path.exists(checkpoint))
        if going_on:
            run.go_on()
        if not run.is_over(epochs):
            run.try_parts()
            try_validation(run)
        bar, predict = Bar(run, epochs, progress and ranks.first), partial(called, model)
        plans = steps_known(optimizer, max(epochs, 1) * run.updates_per_epoch, run.start)
        with plans, modes_restored(model) as to_train_mode, closing(bar):
            steps = RankSteps(run, bar.show)
            run.say = bar.say
            run.begin(going_on)
            if going_on and not run.is_over(epochs):
                bar.say(f"fit: going on after {run.place}")
            while not run.is_over(epochs):
                to_train_mode()
                train_epoch(predict, steps.loss, steps.updates, run.train, steps)
                run.end_epoch()
                run.save()
                bar.show()
            bar.show(at_once=True)
            if run.history.stopped is not None:
                bar.say(f"fit: stopped after {run.place}: {run.history.stopped}")
            run.end()
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
    measures its part of every batch, and their sums and counts are added up. Metrics of the whole
    set are computed once, of the predictions of all ranks in the order of samples.

    Args:
        model, loss, data, metrics: as for :func:`minidl.evaluate`.
        ranks: the ranks; None is all that mpiexec has started.

    Raises:
        TypeError, ValueError: as :func:`minidl.evaluate` does, and if the data, the loss or the
            layers are not the same on all ranks.

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
        loader = as_loader("evaluate: data", data, model)
        if columns(loader)[2] is not None:
            Weighted(loss).check("evaluate")
        check_same("evaluate", ranks, parts(model, loss, {"given": loader}))
        shards = Shards(loader, ranks)
        with modes_restored(model):
            means = RankMeans(loss, metrics_by_name(metrics, loss), shards)
            return measured(model, filled(shards), means)
