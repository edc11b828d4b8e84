"""Fit: a whole run, from the checks before the first step to an end that loses nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from functools import partial
from typing import Any, Literal

from minidl.checks import number, one_of, whole_number
from minidl.compile import compile as compiled_step
from minidl.nn import Module
from minidl.optim import Optimizer
from minidl.parts import check_parts
from minidl.training.batches import Data, as_loader, called
from minidl.training.callbacks import Callbacks
from minidl.training.console import Bar, BetweenSteps, ctrl_c_held_back
from minidl.training.evaluation import modes_restored
from minidl.training.history import History
from minidl.training.loop import train_epoch
from minidl.training.measures import Function
from minidl.training.metrics import Metrics, metrics_by_name
from minidl.training.plans import steps_known
from minidl.training.run import Run
from minidl.training.steps import Steps
from minidl.training.trials import check_forms, check_parameters, try_odd_batches


def fit(
    model: Module,
    loss: Function,
    optimizer: Optimizer,
    train: Data,
    validation: Data | None = None,
    *,
    epochs: int = 10,
    metrics: Metrics = None,
    callbacks: Iterable[Any] = (),
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    on_interrupt: Literal["raise", "return"] = "raise",
    compiled: bool = False,
    batch_size: int | None = None,
    clip_norm: float | None = None,
    accumulate: int = 1,
) -> History:
    """Train ``model`` so that ``loss(model(x), y)`` falls, and return how it went.

    The loop is :func:`minidl.training.loop.train_epoch`. A step is whole or did not happen: what
    goes wrong before the optimizer moves the weights leaves weights and running statistics as they
    were. A batch of which no target counts (all ignored, as by ``ignore_index``) is no step.
    Modules are in train mode for training, in eval mode for the validation, and afterwards in the
    mode they came in; one in eval mode within a model in train mode is frozen and stays in it.

    Ctrl-C waits for the end of the step (or of the validation). Then the run is saved, if there is
    a ``checkpoint``, and KeyboardInterrupt ends the program, unless it is caught. A second Ctrl-C
    stops at once, perhaps within a step. With ``on_interrupt="return"`` both return the history so
    far, and the program goes on.

    With ``checkpoint`` the run is saved to that file at the start, after each epoch, on Ctrl-C, and
    where the validation fails. If the file is there already, ``fit`` goes on from it, and weights
    and history become bitwise what they would have been without the stop. Everything then comes
    from the file, hyper-parameters too; delete it to begin anew. It holds the state of model,
    optimizer, loaders, minidl's generator and those among their attributes and the loss's. Data,
    loss, layers and schedules must be given as they were; other data, another loss or other layers
    are refused (a function is known by its name and the names it uses). Callbacks that have a state
    must be the same, too; others may come and go. A run that a callback stopped is over, whatever
    ``epochs`` says. Where a callback fails, the run is saved, and goes on with that very call.

    Args:
        model: any Module.
        loss: a function of predictions and targets that returns a Tensor of one number.
        optimizer: over the parameters of the model; those it lacks are not trained. A schedule
            of its rate without a number of steps (``cosine(0.1)``) spans this run.
        train: a tuple of arrays (x, y), for shuffled batches, or a DataLoader of them. Of a third
            array (N,), a weight w for each sample, the loss is ``sum(w * l) / sum(w * d)``, with d
            1 or the weight of the class, 0 if ignored; metrics are not weighted. Several inputs
            are a tuple or a dict in place of x, which call ``model(a, b)`` or ``model(a=a, b=b)``;
            in batches of your own they are a :class:`minidl.data.MultiInputLoader`.
        validation: data of the same kind, measured after each epoch; arrays in batches of 1024.
        epochs: how often to go through ``train``, those in the checkpoint included.
        metrics: a list of names (``"accuracy"``, ``"precision"``, ``"recall"``, ``"f1"``,
            ``"auc"``, ``"r2"``, ``"mae"``), of metrics with settings, as ``F1(average="macro")`` of
            :mod:`minidl.training`, and of functions of predictions and targets (ndarrays) that
            return a number; or a dict of these by name. None means accuracy where predictions are
            (N, C) and targets integers (N,), or with BCEWithLogitsLoss one logit each and integers;
            ``{}`` means none.
        callbacks: functions of the run, called after each epoch, or objects, such as
            :class:`minidl.training.EarlyStopping` (see :class:`minidl.training.Callback`).
        progress: whether to show a bar, if there is a terminal or a notebook with ipywidgets;
            elsewhere a line after an epoch, at most one every ten seconds, and where the run goes
            on and ends.
        checkpoint: the file to save the run to and to go on from.
        on_interrupt: whether Ctrl-C is raised at the end of the step, or ends this run only.
        compiled: whether to run the steps as NumPy programs written for the model, which takes a
            half to nine tenths of the time and changes no bit (see :func:`minidl.compile`).
        batch_size: of arrays for training; None means 32 (33 or the next size where a last batch of
            one sample, of which BatchNorm cannot learn, would be left).
        clip_norm: the largest joint norm of all gradients in an update; larger ones are scaled down
            to it (see :func:`minidl.optim.clip_grad_norm`).
        accumulate: how many batches make one update, which is the one that a single batch of all
            their samples would make (but for BatchNorm, which sees each batch alone). That is a
            step; the last of an epoch is made from the batches that are left.

    Raises:
        FloatingPointError: if the loss or a weight becomes NaN or infinite; the message says in
            which step, why as far as can be told, and what to try.
        TypeError, ValueError: for arguments that do not fit together, among them an optimizer with
            none of the model's parameters, a loss that is not one number or depends on no
            parameter, targets that the loss does not take (those of the validation included), and
            the checkpoint of another run (then nothing has been changed).
        CompileError: with ``compiled``, if the step cannot be written as a program.
        KeyboardInterrupt: on Ctrl-C; the message says where the run stopped.

    Warns:
        RuntimeWarning: if the optimizer lacks parameters of the model that require a gradient, or
            if cross entropy is given probabilities, as after a softmax.

    Example:
        >>> import numpy as np
        >>> import minidl
        >>> from minidl import nn, optim
        >>> minidl.seed(0)
        >>> x = np.linspace(-1, 1, 64).reshape(64, 1)
        >>> model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
        >>> optimizer = optim.Adam(model.parameters(), lr=0.02)
        >>> history = fit(model, nn.MSELoss(), optimizer, (x, x**2), epochs=50, progress=False)
        >>> len(history["loss"]), history["loss"][-1] < 0.01
        (50, True)
    """
    epochs = whole_number(epochs, "fit: epochs")
    accumulate = whole_number(accumulate, "fit: accumulate", at_least=1)
    if batch_size is not None:
        batch_size = whole_number(batch_size, "fit: batch_size", at_least=1)
    if clip_norm is not None:
        clip_norm = number(clip_norm, "fit: clip_norm", above=0, or_infinite=True)
    one_of(on_interrupt, "fit: on_interrupt", ("raise", "return"))
    check_parts("fit", model, loss, optimizer)
    check_parameters(model, optimizer, saving=checkpoint is not None)
    loaders = {"train": as_loader("fit: train", train, model, batch_size, shuffle=True)}
    if validation is not None:
        loaders["validation"] = as_loader("fit: validation", validation, model)
    run = Run(
        model, loss, optimizer, loaders, metrics_by_name(metrics, loss), checkpoint,
        clip_norm=clip_norm, accumulate=accumulate, callbacks=Callbacks(callbacks),
    )  # fmt: skip
    check_forms(run, compiled)
    step = compiled_step(model, loss, optimizer, max_norm=clip_norm) if compiled else None
    attempt = None if step is None else step.attempt
    going_on = checkpoint is not None and os.path.exists(checkpoint)
    if going_on:
        run.go_on()
    if not run.is_over(epochs):
        try_odd_batches(run)

    bar, predict = Bar(run, epochs, progress), partial(called, model)
    plans = steps_known(optimizer, max(epochs, 1) * run.updates_per_epoch, run.start)
    with (
        plans,
        ctrl_c_held_back() as check_ctrl_c,
        modes_restored(model) as to_train_mode,
        closing(bar),
    ):

        def between_steps() -> None:
            bar.show()
            check_ctrl_c()

        steps = Steps(run, attempt, between_steps)
        run.say = bar.say
        run.begin(going_on)
        if going_on and not run.is_over(epochs):
            bar.say(f"fit: going on after {run.place}")
        try:
            while not run.is_over(epochs):
                to_train_mode()
                train_epoch(predict, steps.loss, steps.updates, run.train, steps)
                run.end_epoch()
                run.save()
                between_steps()
        except KeyboardInterrupt as stop:
            if isinstance(stop, BetweenSteps):
                run.save()
            run.history.interrupted = True
        bar.show(at_once=True)
        if run.history.interrupted:
            bar.say(f"fit: stopped by Ctrl-C after {run.place}")
        if run.history.stopped is not None:
            bar.say(f"fit: stopped after {run.place}: {run.history.stopped}")
        run.callbacks.tell("on_fit_end", run)
        if run.history.interrupted and on_interrupt == "raise":
            raise KeyboardInterrupt(f"fit stopped after {run.place}") from None
    return run.history
