"""Training: the loop that fits a model to data, and the two ways to look at what it learned.

The loop itself is this, and stands in the middle of ``_Run.step``::

    for x, y in loader:
        optimizer.zero_grad()
        loss = loss_function(model(x), y)
        loss.backward()
        optimizer.step()

The rest is what a person would miss without it: checks before the first step, a bar and a history
to watch, an end that loses nothing. It is a file of its own because models, optimizers and loaders
know nothing of a whole run; they work the same in a loop written by hand.
"""

from __future__ import annotations

import copy
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from minidl.autograd import no_grad
from minidl.checkpoint import load, save
from minidl.checks import whole_number
from minidl.compile import compile as compiled_step
from minidl.console import Bar, BetweenSteps, ctrl_c_held_back, modes_restored
from minidl.data import DataLoader
from minidl.functional import SOFTMAX_TWICE, are_probabilities
from minidl.measures import Function, Means, accuracy, as_metric, known, number
from minidl.nn import CrossEntropyLoss, Module
from minidl.optim import Optimizer
from minidl.provenance import generators, parts
from minidl.rng import generator
from minidl.states import same_keys
from minidl.tensor import Array, Tensor, plain

Data = DataLoader | tuple[ArrayLike, ArrayLike]
Metrics = Mapping[str, Function] | Sequence[str] | str | None


class History(dict[str, list[float]]):
    """What ``fit`` returns: under each name a list with one number per epoch.

    ``"loss"`` and the metrics, such as ``"accuracy"``, are means over the epoch (see
    :func:`evaluate`), each batch measured before the model learned from it. ``"validation_loss"``
    and the like were measured after the epoch, in eval mode.

    Attributes:
        interrupted: whether Ctrl-C ended the run (with ``on_interrupt="return"``); the lists hold
            the epochs that were complete.
    """

    interrupted: bool = False


def fit(
    model: Module,
    loss: Function,
    optimizer: Optimizer,
    train: Data,
    validation: Data | None = None,
    *,
    epochs: int = 10,
    metrics: Metrics = None,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    on_interrupt: Literal["raise", "return"] = "raise",
    compiled: bool = False,
) -> History:
    """Train ``model`` so that ``loss(model(x), y)`` falls, and return how it went.

    A step is whole or did not happen: what goes wrong before the optimizer moves the weights leaves
    weights and running statistics as they were. A batch of which no target counts (all ignored, as
    by ``ignore_index``) is no step. All modules are in train mode for training, in eval mode for
    the validation, and in the mode they came in afterwards; one that was put into eval mode by
    itself, while the model was in train mode, is frozen and stays in it.

    Ctrl-C waits for the end of the step (or of the validation). Then the run is saved, if there is
    a ``checkpoint``, and KeyboardInterrupt ends the program, unless it is caught. A second Ctrl-C
    stops at once, perhaps within a step. With ``on_interrupt="return"`` both return the history so
    far, and the program goes on.

    With ``checkpoint`` the run is saved to that file at the start, after each epoch, on Ctrl-C, and
    where the validation fails. If the file is there already, ``fit`` goes on from it, and weights
    and history become bitwise what they would have been without the stop. Everything then comes
    from the file, hyper-parameters too; delete it to begin anew. It holds the state of model,
    optimizer, loaders, minidl's generator and those among the attributes of modules, loss,
    optimizer and loaders. Data, loss, layers and schedules must be given as they were; other data,
    another loss or other layers are refused (a function is known by its name and the names it
    uses).

    Args:
        model: any Module.
        loss: a function of predictions and targets that returns a Tensor of one number.
        optimizer: over the parameters of the model; those it lacks are not trained.
        train: a DataLoader of pairs (x, y), or a tuple of arrays, for shuffled batches of 32 (of 33
            or the next size where a last batch of one sample, of which BatchNorm cannot learn,
            would be left).
        validation: data of the same kind, measured after each epoch; arrays in batches of 1024.
        epochs: how often to go through ``train``, those in the checkpoint included.
        metrics: a dict of functions of predictions and targets (ndarrays) that return a number; or
            ``"accuracy"`` (see :func:`minidl.measures.accuracy`); None means accuracy where
            predictions are (N, C) and targets integers (N,), or with BCEWithLogitsLoss one logit
            each and integers; ``{}`` means none.
        progress: whether to show a bar, if there is a terminal or a notebook; elsewhere, to say in
            a line where a run goes on and where Ctrl-C stopped it.
        checkpoint: the file to save the run to and to go on from.
        on_interrupt: whether Ctrl-C is raised at the end of the step, or ends this run only.
        compiled: whether to run the steps as NumPy programs written for the model, which takes a
            half to nine tenths of the time and changes no bit (see :func:`minidl.compile`).

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
    epochs = whole_number(epochs, "fit: epochs", at_least=0)
    if on_interrupt not in ("raise", "return"):
        raise ValueError(f"fit: on_interrupt is 'raise' or 'return', not {on_interrupt!r}")
    check_parts("fit", model, loss, optimizer)
    _check_parameters(model, optimizer, saving=checkpoint is not None)
    loaders = {"train": _as_loader("fit: train", train, model, batch_size=32, shuffle=True)}
    if validation is not None:
        loaders["validation"] = _as_loader("fit: validation", validation, model)
    run = _Run(model, loss, optimizer, loaders, _by_name(metrics, loss), checkpoint, compiled)
    going_on = checkpoint is not None and os.path.exists(checkpoint)
    if going_on:
        run.go_on()
    if run.epochs < epochs:
        run.try_odd_batches()
    if not going_on:
        run.save()  # now, while a fault costs nothing yet
    if run.epochs >= epochs:
        return run.history

    bar = Bar(run, epochs, progress)
    with ctrl_c_held_back() as check_ctrl_c, modes_restored(model) as to_train_mode, closing(bar):
        if going_on:
            bar.say(f"fit: going on after {run.place}")
        try:
            while run.epochs < epochs:
                to_train_mode()
                for x, y in run.train:
                    run.step(x, y)
                    bar.show()
                    check_ctrl_c()
                run.end_epoch()
                run.save()
                bar.show()
                check_ctrl_c()
        except KeyboardInterrupt as stop:
            if isinstance(stop, BetweenSteps):
                run.save()
            run.history.interrupted = True
            bar.say(f"fit: stopped by Ctrl-C after {run.place}")
            if on_interrupt == "raise":
                raise KeyboardInterrupt(f"fit stopped after {run.place}") from None
    return run.history


def evaluate(
    model: Module, loss: Function, data: Data, metrics: Metrics = None
) -> dict[str, float]:
    """Return the loss and the metrics of ``model`` over ``data``, in eval mode, without a graph.

    Args:
        model: any Module; its mode is restored.
        loss: a function of predictions and targets that returns one number.
        data: a DataLoader of pairs (x, y), or a tuple (x, y) of arrays, for batches of 1024.
        metrics: as for :func:`fit`.

    Returns:
        ``"loss"`` and each metric by its name, as one batch of all the data would give them. For
        that, each batch counts by its samples; with the losses of ``nn`` (or their functions) by
        what they divided by, such as the weights of the classes, and their sums add up. A loss or
        metric of your own that is not the mean over the samples says so by a method
        ``divisor(predictions, targets)``: what it divided by, None if it is a sum.

    Raises:
        TypeError, ValueError: for arguments that do not fit together, and for empty data.

    Example:
        >>> from minidl import nn
        >>> model = nn.Linear(1, 2)
        >>> model.weight.data[:] = [[1.0], [-1.0]]
        >>> data = (np.array([[3.0], [-3.0], [2.0], [1.0]]), np.array([0, 1, 0, 1]))
        >>> evaluate(model, nn.CrossEntropyLoss(), data)["accuracy"]
        0.75
    """
    check_parts("evaluate", model, loss)
    loader = _as_loader("evaluate: data", data, model)
    with modes_restored(model):
        return _measured(model, loader, Means(loss, _by_name(metrics, loss)))


def predict(model: Module, x: ArrayLike, batch_size: int = 1024) -> Array:
    """Return the outputs of ``model`` for all of ``x``, in eval mode, without a graph.

    Args:
        model: a Module that gives one output per sample; its mode is restored.
        x: shape (N, ...).
        batch_size: how many samples to compute at once, which bounds the memory.

    Returns:
        An ndarray of N outputs of any shape, in the order of ``x``.

    Raises:
        TypeError: if ``model`` is no Module, or ``x`` is not an array of numbers.
        ValueError: if ``x`` is empty or has NaN or infinity, or if the outputs are not N.

    Example:
        >>> from minidl import nn
        >>> predict(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), np.zeros((5, 8, 8))).shape
        (5, 10)
    """
    check_parts("predict", model)
    outputs = []
    with modes_restored(model), no_grad():
        model.eval()
        for (batch,) in DataLoader(x, batch_size=batch_size, dtype=_dtype_of(model)):
            outputs.append(plain(model(batch)))
            if np.shape(outputs[-1])[:1] != batch.shape[:1]:
                raise ValueError(
                    f"predict: for {len(batch)} samples the model returned something of shape "
                    f"{np.shape(outputs[-1])}, expected ({len(batch)}, ...): one output per sample"
                )
    return np.concatenate(outputs)


# --- The run --------------------------------------------------------------------------------------


class _Run:
    """What a run consists of: all that a step moves, and that a checkpoint holds."""

    def __init__(
        self,
        model: Module,
        loss: Function,
        optimizer: Optimizer,
        loaders: dict[str, DataLoader],
        metrics: dict[str, Function] | None,
        path: str | os.PathLike[str] | None,
        compiled: bool = False,
    ) -> None:
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.loaders, self.train, self.metrics = loaders, loaders["train"], metrics
        self.path = path  # of the checkpoint, if there is one
        self.parts = {} if path is None else parts(model, loss, loaders)
        self.history = History(loss=[])
        self.means = Means(loss, metrics)  # of the epoch under way
        self.previous: float | None = None  # the loss in the step before
        self.proven = False  # whether the first step was looked at
        self.trained = {id(p) for p in model.parameters()}
        self.compiled = compiled_step(model, loss, optimizer) if compiled else None
        self.buffers = [(module, name) for _, module in model.modules() for name in module.buffers]

    def step(self, x: Array, y: Array) -> None:
        """Learn from one batch."""
        made = None
        if self.compiled is not None and self.proven:  # the first step is looked at
            made = self.compiled.attempt(x, y)
        if made is None:
            self.eager_step(x, y)
        else:
            value, predictions = made
            self.means.add(predictions, y, self.means.share(predictions, y), value)
            self.previous = value

    def eager_step(self, x: Array, y: Array) -> None:
        """The step as one writes it, checked; a compiled one is left to it where it cannot be."""
        predictions: Any = None
        buffers = self.copied_buffers()
        try:
            # The loss is checked, so that NumPy need not warn of what made it overflow.
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                self.optimizer.zero_grad()
                predictions = self.model(x)
                share = self.means.share(plain(predictions), y)
                if share == 0:  # all targets are ignored: there is nothing to learn
                    self.put_back(buffers)
                    self.means.add(predictions, y, share, math.nan)
                    return
                loss = self.loss(predictions, y)
                value = self.checked(loss, predictions, x, y)
                loss.backward()
                self.proven = self.proven or self.is_sound(predictions, y)
        except BaseException as error:
            self.put_back(buffers)
            if isinstance(error, ValueError) and _spoiled(_outputs(predictions)):
                raise self.diverged("undefined", predictions, x, y) from error
            raise
        self.optimizer.step()
        self.means.add(predictions, y, share, value)
        self.previous = value

    def copied_buffers(self) -> list[tuple[Module, str, Any, Any]]:
        """The buffers of all modules, each with its content."""
        return [
            (m, n, b, None if b is None else plain(b).copy())
            for m, n in self.buffers
            for b in [getattr(m, n)]
        ]

    def put_back(self, buffers: list[tuple[Module, str, Any, Any]]) -> None:
        for module, name, buffer, content in buffers:
            if buffer is not None:
                plain(buffer)[...] = content
            if getattr(module, name) is not buffer:
                setattr(module, name, buffer)

    def checked(self, loss: Any, predictions: Any, x: Array, y: Array) -> float:
        """The loss as a number, if one can learn from it."""
        value = number(loss, "the loss")
        if not math.isfinite(value):
            raise self.diverged(f"{value}", predictions, x, y)
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            raise ValueError(
                f"the loss is a {type(loss).__name__} that depends on no parameter: compute it "
                f"from what the model returned, by functions of minidl (not from .data or "
                f".numpy()), and outside no_grad()"
            )
        return value

    def diverged(self, value: str, predictions: Any, x: Array, y: Array) -> FloatingPointError:
        """The error for a loss that is not finite; why, as far as can be seen after the fact."""
        data = _spoiled({"x": x, "y": y})
        weights = _spoiled({name: p.data for name, p in self.model.named_parameters()})
        if data:
            cause = f"The cause is in the batch: {data}; repair the data."
        elif weights:
            cause = f"The weights were spoiled before this step: {weights}."
        elif not _spoiled(_outputs(predictions)):
            cause = (
                "The batch, the weights and the predictions are finite, so that it is the loss "
                "function: those that take logits stand any predictions."
            )
        else:
            cause = "The batch and the weights are finite, but the predictions overflow: " + (
                "the weights have grown too large, as they do when the learning rate is too high."
                if self.optimizer.steps
                else "before the first step, so that it is the features or the initial weights."
            )
        before = "" if self.previous is None else f", in the step before {self.previous:g}"
        return FloatingPointError(
            f"the loss is {value} in step {self.means.batches + 1} of {len(self.train)} in epoch "
            f"{self.epochs + 1}{before}, with {_rule(self.optimizer)}. The model is as it was "
            f"before this step. {cause} {_REMEDIES}"
        )

    def is_sound(self, predictions: Any, y: Array) -> bool:
        """Look, once, for what would be wrong in every step, or in one to come."""
        if all(p.grad is None for group in self.optimizer.groups for p in group["params"]):
            raise ValueError(
                "the loss depends on no parameter that the optimizer holds, so that none got a "
                "gradient: see that forward() uses them and that they are not frozen"
            )
        new = [name for name, p in self.model.named_parameters() if id(p) not in self.trained]
        if new:
            raise ValueError(
                f"forward() made new parameters, {', '.join(new)}, which the optimizer does not "
                f"hold: make layers in __init__, before the optimizer"
            )
        loss, outputs = known(self.loss), plain(predictions)
        if isinstance(loss, CrossEntropyLoss) and are_probabilities(outputs):
            warnings.warn(SOFTMAX_TWICE, RuntimeWarning, stacklevel=5)
        check = getattr(loss, "check_targets", None)
        for name, loader in self.loaders.items():
            targets = loader.arrays[1]
            as_they_come = type(loader).__iter__ is DataLoader.__iter__
            if check is not None and as_they_come and targets.shape[1:] == y.shape[1:]:
                try:
                    check((len(targets), *outputs.shape[1:]), targets)
                except (TypeError, ValueError) as error:
                    error.add_note(f"in the {name} data of fit, looked at before the first step")
                    raise
        return True

    def try_odd_batches(self) -> None:
        """Raise now for a batch that would come only later and that the model does not take."""
        x, y = self.train.arrays
        full, rest = divmod(len(x), self.train.batch_size)
        if self.buffers and full and rest == 1 and not self.train.drop_last:
            with self.left_as_it_was() as to_train_mode:
                to_train_mode()
                try:
                    self.model(x[-1:])
                except ValueError as error:
                    raise ValueError(
                        f"fit: the last batch of each epoch will be one sample, since {len(x)} = "
                        f"{full} * {self.train.batch_size} + 1, and the model does not take it: "
                        f"make the DataLoader with drop_last=True, or another batch_size. {error}"
                    ) from error
        if "validation" in self.loaders:
            own_x, own_y = self.loaders["validation"].arrays
            if own_x.shape[1:] != x.shape[1:] or own_y.shape[1:] != y.shape[1:]:
                with self.left_as_it_was():
                    self.model.eval()
                    try:
                        self.loss(self.model(own_x[:1]), own_y[:1])
                    except (TypeError, ValueError) as error:
                        error.add_note(
                            f"in the validation data of fit, tried before the first step since "
                            f"their shapes {own_x.shape} and {own_y.shape} are not those of the "
                            f"training data, {x.shape} and {y.shape}"
                        )
                        raise

    @contextmanager
    def left_as_it_was(self) -> Iterator[Callable[[], None]]:
        """A trial, without a graph, that moves neither modes nor buffers nor random numbers."""
        buffers = self.copied_buffers()
        states = [(g, g.bit_generator.state) for g in self.generators().values()]
        try:
            with modes_restored(self.model) as to_train_mode, no_grad():
                yield to_train_mode
        finally:
            self.put_back(buffers)
            for g, state in states:
                g.bit_generator.state = state

    def end_epoch(self) -> None:
        """Put the means of the epoch, and those of the validation, into the history."""
        spoiled = _spoiled(self.model.state_dict())
        if spoiled:
            raise FloatingPointError(
                f"after {self.place}, with {_rule(self.optimizer)}, the model is spoiled: "
                f"{spoiled}. {_REMEDIES}"
            )
        results = self.means.final()
        if "validation" in self.loaders:
            before = self.places()
            try:
                means = Means(self.loss, self.metrics)
                measured = _measured(self.model, self.loaders["validation"], means)
            except Exception as error:
                # The place of the training is after its last batch, not in an epoch to come.
                here = before["train"]
                before["train"] = here | {"epoch": here["begun"] - 1, "batch": len(self.train)}
                self.save(before)
                kept = "" if self.path is None else f", and {os.fsdecode(self.path)} the run"
                error.add_note(f"in the validation after {self.place}; the model holds it{kept}")
                raise
            results |= {f"validation_{name}": value for name, value in measured.items()}
        for name, value in results.items():
            self.history.setdefault(name, []).append(value)
        self.means = Means(self.loss, self.metrics)

    @property
    def epochs(self) -> int:
        """How many are complete."""
        return len(self.history["loss"])

    @property
    def place(self) -> str:
        if not self.means.batches:
            return f"epoch {self.epochs}"
        return f"step {self.means.batches} of {len(self.train)} in epoch {self.epochs + 1}"

    # What a checkpoint holds ----------------------------------------------------------------------

    def generators(self) -> dict[str, np.random.Generator]:
        """All generators of random numbers, each once, by where they are."""
        owners = {"model": self.model, "loss": self.loss, "optimizer": self.optimizer}
        found = {generator(): "minidl"}
        for name, g in generators(owners | self.loaders):
            found.setdefault(g, name)
        return {name: g for g, name in found.items()}

    def places(self) -> dict[str, Any]:
        """Where loaders and generators are."""
        return {
            **{name: loader.state_dict() for name, loader in self.loaders.items()},
            "generators": {name: g.bit_generator.state for name, g in self.generators().items()},
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **self.places(),
            "metrics": None if self.metrics is None else list(self.metrics),
            "parts": self.parts,
            "history": dict(self.history),
            "epoch": self.means.state_dict(),
        }

    def save(self, other: Mapping[str, Any] | None = None) -> None:
        """Save the run, if it has a checkpoint, with other values for some keys of its state."""
        if self.path is not None:
            save(self.path, self.state_dict() | dict(other or {}))

    def go_on(self) -> None:
        """Become the run that was saved; if that was another one, change nothing and raise."""
        assert self.path is not None
        state, own, buffers = load(self.path), self.state_dict(), self.copied_buffers()
        try:
            same_keys(state if isinstance(state, dict) else {}, own, "run of fit with these data")
            for name in ("generators", "parts", "history", "epoch"):
                if not isinstance(state[name], dict):
                    raise ValueError(f"its {name} is a {type(state[name]).__name__}, not a dict")
            same_keys(state["generators"], own["generators"], "run with these generators")
            same_keys(state["epoch"], own["epoch"], "epoch of fit")
            if state["metrics"] != own["metrics"]:
                raise ValueError(f"its metrics are {state['metrics']}, not {own['metrics']}")
            for name, loader in self.loaders.items():
                # A loader is not put back as it was by its own state, so that a copy tries it.
                copy.copy(loader).load_state_dict(state[name])
            try:
                self.take(state)
                for name, part in self.parts.items():
                    if state["parts"].get(name) != part:
                        raise ValueError(f"its {name} is {state['parts'].get(name)}, not {part}")
            except BaseException:
                self.put_back(buffers)
                self.take(own)
                raise
        except (TypeError, ValueError) as error:
            path = os.fsdecode(self.path)
            raise ValueError(
                f"fit cannot go on from {path}: {error}. Nothing was changed; delete the file to "
                f"begin anew, or name another one"
            ) from error
        for name, loader in self.loaders.items():
            loader.load_state_dict(state[name])
        self.history = History(state["history"])
        self.means.load_state_dict(state["epoch"])

    def take(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, g in self.generators().items():
            g.bit_generator.state = state["generators"][name]


def _measured(model: Module, loader: DataLoader, means: Means) -> dict[str, float]:
    model.eval()
    with no_grad():
        for x, y in loader:
            predictions = model(x)
            share = means.share(plain(predictions), y)
            loss = math.nan if share == 0 else number(means.loss(predictions, y), "the loss")
            means.add(predictions, y, share, loss)
    return means.final()


# --- Checks, and what they say --------------------------------------------------------------------

_REMEDIES = (
    "To try: a lower learning rate; features scaled by data.Standardize; optim.clip_grad_norm in a "
    "loop of your own; `with minidl.debug():`, which names the first operation that goes wrong"
)


def check_parts(caller: str, model: Any, loss: Any = len, *optimizer: Any) -> None:
    """Raise a TypeError for what is no Module, no function, or no Optimizer."""
    if not isinstance(model, Module):
        raise TypeError(f"{caller}: model is a Module, such as nn.Linear(4, 3), got {model!r}")
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(
            f"{caller}: loss is a function of predictions and targets, such as "
            f"nn.CrossEntropyLoss() (with brackets), got {loss!r}"
        )
    if not all(isinstance(one, Optimizer) for one in optimizer):
        raise TypeError(
            f"{caller}: optimizer is an Optimizer, such as optim.Adam(model.parameters()), "
            f"got {optimizer[0]!r}"
        )


def _check_parameters(model: Module, optimizer: Optimizer, saving: bool) -> None:
    """Raise or warn unless the optimizer moves what the model is made of."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError("fit: the model has no parameter that requires a gradient")
    rule = type(optimizer).__name__
    held = {id(p) for group in optimizer.groups for p in group["params"]}
    strangers = len(held - {id(p) for p in model.parameters()})
    missing = [name for name, p in trainable.items() if id(p) not in held]
    lacks = f"fit: {rule} does not hold {', '.join(missing)}"
    if len(missing) == len(trainable) or (missing and strangers):
        raise ValueError(
            f"{lacks}, but holds {strangers} parameters of other models: was it made before the "
            f"model was rebuilt? Make it anew as {rule}(model.parameters(), ...)"
        )
    if strangers and saving:
        raise ValueError(
            f"fit: {rule} holds {strangers} parameters that are not the model's, and a checkpoint "
            f"would lack them: make what they belong to an attribute of the model"
        )
    if missing:
        warnings.warn(
            f"{lacks}, so that they stay as they are: give it model.parameters(), or set their "
            f"requires_grad to False if that is meant",
            RuntimeWarning,
            stacklevel=3,
        )


def _as_loader(
    name: str, data: Any, model: Module, batch_size: int = 1024, shuffle: bool = False
) -> DataLoader:
    """The data in batches."""
    if isinstance(data, tuple):
        data = DataLoader(*data, batch_size=batch_size, shuffle=shuffle, dtype=_dtype_of(model))
        n = len(data.arrays[0])
        while shuffle and n > 1 and n % data.batch_size == 1:
            data.batch_size += 1  # for a last batch of more than one sample
    if not isinstance(data, DataLoader):
        raise TypeError(
            f"{name} is a tuple (x, y) of arrays or a DataLoader(x, y), got {type(data).__name__}"
        )
    if len(data.arrays) != 2:
        raise ValueError(
            f"{name} has {len(data.arrays)} arrays, and x and y are two: for others write the loop "
            f"yourself"
        )
    return data


def _dtype_of(model: Module) -> np.dtype[Any]:
    return next((p.dtype for p in model.parameters()), np.dtype(np.float32))


def _by_name(metrics: Metrics, loss: Function) -> dict[str, Function] | None:
    """The metrics in a dict; None if they depend on the data."""
    if metrics is None:
        return None
    if not isinstance(metrics, Mapping):
        names = [metrics] if isinstance(metrics, str) else list(metrics)
        metrics = {name: accuracy if name == "accuracy" else name for name in names}  # type: ignore
    metrics = {name: as_metric(metric, loss) for name, metric in metrics.items()}
    for name, metric in metrics.items():
        if not callable(metric) or not isinstance(name, str):
            raise TypeError(
                f"metrics is 'accuracy' or a dict of functions by name, as in {{'error': error}}; "
                f"{metric!r} is neither"
            )
        if name == "loss" or name.startswith("validation_"):
            raise ValueError(f"the name {name!r} is the history's own: call the metric otherwise")
    return metrics


def _outputs(predictions: Any) -> dict[str, Array]:
    """The arrays among what a model returned."""
    outputs = plain(predictions)
    outputs = outputs if isinstance(outputs, tuple | list) else [outputs]
    return {str(i): z for i, z in enumerate(outputs) if isinstance(z, np.ndarray)}


def _spoiled(arrays: Mapping[str, Array]) -> str:
    """Which of the arrays hold NaN or infinity, how much of it, and where."""
    found = []
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            places = np.argwhere(~np.isfinite(array))
            where = ", ".join(map(str, places[0]))
            found.append(f"{name}[{where}] is {array[tuple(places[0])]} (one of {len(places)})")
    return "; ".join(found)


def _rule(optimizer: Optimizer) -> str:
    rates = [group["lr"] for group in optimizer.groups]
    rates = [rate(optimizer.steps) if callable(rate) else rate for rate in rates]
    return f"{type(optimizer).__name__}, lr={', '.join(dict.fromkeys(f'{r:g}' for r in rates))}"
