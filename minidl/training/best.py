"""The best epoch of a run: to stop when it is long ago, and to keep the weights it had."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from minidl.checkpoint import save
from minidl.checks import number, one_of, whole_number
from minidl.training.callbacks import Callback
from minidl.training.history import VALIDATION, short

if TYPE_CHECKING:
    from minidl.training.run import Run

Mode = Literal["auto", "min", "max"]
FALLS = {"loss", "error", "mse", "mae", "rmse"}  # words in names of what is better when lower
RISES = {"accuracy", "precision", "recall", "f1", "auc", "r2"}


class Best(Callback):
    """What both callbacks below share: they know which epoch is the best so far.

    Args:
        owner: the name of the callback, for its messages.
        monitor: the name of a list of the history.
        mode: whether ``"min"`` or ``"max"`` of it is the best.
        min_delta: an epoch must be better by more than this to be the best.

    Attributes:
        best_epoch: counted from 1; None as long as there is none.
        best_value: what it measured.
        best_state: what the model's ``state_dict()`` was then, if it is kept.
    """

    state = ("best_epoch", "best_value", "best_state")

    def __init__(self, owner: str, monitor: str, mode: Mode, min_delta: float) -> None:
        if not isinstance(monitor, str):
            raise TypeError(f"{owner}: monitor is a name in the history, got {monitor!r}")
        one_of(mode, f"{owner}: mode", ("auto", "min", "max"))
        if mode == "auto":
            words = {*monitor.lower().split("_")}
            if bool(words & FALLS) == bool(words & RISES):
                raise ValueError(
                    f"{owner}: whether {monitor!r} should fall or rise does not show in its name: "
                    f"give mode='min' or mode='max'"
                )
            mode = "min" if words & FALLS else "max"
        self.owner, self.monitor, self.mode = owner, monitor, mode
        self.min_delta = number(min_delta, f"{owner}: min_delta", at_least=0)
        self._forget()

    def _forget(self) -> None:
        """Begin anew."""
        self.best_epoch: int | None = None
        self.best_value: float | None = None
        self.best_state: dict[str, Any] | None = None

    def on_fit_begin(self, run: Run) -> None:
        if self.monitor.startswith(VALIDATION) and "validation" not in run.loaders:
            raise ValueError(
                f"{self.owner} monitors {self.monitor!r}, and fit was given no validation data: "
                f"give it some, or monitor what is measured in training, as in monitor='loss'"
            )
        if not run.epochs:  # and not what the run before it left here
            self._forget()

    def _improved(self, run: Run) -> bool:
        """Look at the last epoch, and return whether it is the best. NaN never is."""
        if self.monitor not in run.history:
            raise ValueError(
                f"{self.owner} monitors {self.monitor!r}, and what was measured is "
                f"{', '.join(map(repr, run.history))}"
            )
        value = run.history[self.monitor][-1]
        if value != value:
            return False
        if self.best_value is not None:
            better = value - self.best_value if self.mode == "max" else self.best_value - value
            if not better > self.min_delta:
                return False
        self.best_epoch, self.best_value = run.epochs, value
        return True


class EarlyStopping(Best):
    """Stop when there was no better epoch for some time, and go back to the best one.

    When ``fit`` ends, whether it was stopped so, has made all its epochs or was ended by Ctrl-C
    (raised or not), the model has the weights and buffers of the best epoch, to the bit. The
    optimizer stays where it is, and so does the checkpoint: it holds the run after its last step
    and the best weights beside it, so that a run can be made longer. After an error the model stays
    as it is, to be looked at.

    An epoch whose value is NaN is not better; where all are NaN, the weights stay those of the last
    one. An object may be used for one run after another.

    Args:
        patience: how many epochs in a row without a better one to wait; at least 1.
        monitor: the name of a list of the history.
        min_delta: an epoch is better if it is so by more than this.
        mode: ``"min"`` or ``"max"`` of what is monitored is the best; ``"auto"`` knows it from the
            name, where that has one of the words loss, error, mse, mae or rmse (which should fall),
            or accuracy, precision, recall, f1, auc or r2 (which should rise).
        restore_best: whether the model gets the weights of the best epoch; if not, it keeps those
            of the last.

    Attributes:
        best_epoch: counted from 1; None as long as there is none.
        best_value: what was monitored, in that epoch.
        best_state: what the model's ``state_dict()`` was then; None without ``restore_best``.

    Raises:
        TypeError, ValueError: for arguments that make no sense; by ``fit`` before the first step if
            the validation is monitored and there is none, and after the first epoch if nothing has
            the name that is monitored (the message says what is there).

    Source: Prechelt, "Early Stopping - But When?" (1998): the third class of criteria, with
    strips of one epoch, stops after so many in a row that did not get better; here better is meant
    of the best so far, as in Keras and PyTorch Lightning.

    Example:
        >>> import numpy as np
        >>> from minidl import fit, nn, optim
        >>> x = np.linspace(-1, 1, 60).reshape(60, 1)
        >>> model = nn.Linear(1, 1, rng=0)
        >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
        >>> stopping = EarlyStopping(patience=3, min_delta=0.001)
        >>> history = fit(
        ...     model, nn.MSELoss(), optimizer, (x, x), (x, x), epochs=500, progress=False,
        ...     callbacks=[stopping],
        ... )
        >>> len(history["loss"]) == stopping.best_epoch + 3, history.stopped[:34]
        (True, 'validation_loss did not fall by mo')
    """

    def __init__(
        self,
        patience: int,
        *,
        monitor: str = "validation_loss",
        min_delta: float = 0.0,
        mode: Mode = "auto",
        restore_best: bool = True,
    ) -> None:
        self.patience = whole_number(patience, "EarlyStopping: patience", 1)
        self.restore_best = restore_best
        super().__init__("EarlyStopping", monitor, mode, min_delta)

    def on_epoch_end(self, run: Run) -> None:
        if self._improved(run):
            if self.restore_best:
                self.best_state = run.model.state_dict()
        elif run.epochs - (self.best_epoch or 0) >= self.patience:
            run.stop(self._reason())

    def _reason(self) -> str:
        """Why the run stops."""
        epochs = f"{self.patience} epoch{'s' * (self.patience != 1)}"
        if self.best_value is None:
            return f"{self.monitor} was NaN for {epochs}"
        move = "fall" if self.mode == "min" else "rise"
        by = f" by more than {self.min_delta:g}" if self.min_delta else ""
        return (
            f"{self.monitor} did not {move}{by} for {epochs} "
            f"after the {short(self.best_value)} of epoch {self.best_epoch}"
        )

    def on_fit_end(self, run: Run) -> None:
        if self.best_state is not None:
            run.model.load_state_dict(self.best_state)
            if run.epochs != self.best_epoch or run.means.batches:
                run.say(f"fit: the weights are those of epoch {self.best_epoch}, the best")


class KeepBest(Best):
    """Keep the weights of the best epoch, in a file or in memory; the model goes on as it is.

    A file holds the model's ``state_dict()`` and is replaced, whole, in each epoch that is the best
    so far: ``model.load_state_dict(minidl.load(path))``. One that is there from an earlier run is
    replaced in the first epoch, unless ``fit`` goes on with that run from its checkpoint. Without
    ``path`` the weights are in ``best_state``.

    Args:
        path: the file to write to; None keeps them in memory.
        monitor: the name of a list of the history.
        mode: as for :class:`EarlyStopping`.

    Attributes:
        best_epoch: counted from 1; None as long as there is none.
        best_value: what was monitored, in that epoch.
        best_state: what the model's ``state_dict()`` was then; None with ``path``.

    Raises:
        TypeError, ValueError: as :class:`EarlyStopping`.
        ValueError: by ``fit``, before the first step, if the file is that of its checkpoint.
        FileNotFoundError: by ``fit``, before the first step, if there is no folder for the file.

    Example:
        >>> import numpy as np
        >>> from minidl import fit, nn, optim
        >>> x = np.linspace(-1, 1, 60).reshape(60, 1)
        >>> model = nn.Linear(1, 1, rng=0)
        >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
        >>> keep = KeepBest(monitor="loss")
        >>> history = fit(
        ...     model, nn.MSELoss(), optimizer, (x, x), epochs=5, progress=False, callbacks=[keep]
        ... )
        >>> keep.best_value == min(history["loss"]), list(keep.best_state)
        (True, ['weight', 'bias'])
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        monitor: str = "validation_loss",
        mode: Mode = "auto",
    ) -> None:
        self.path = None if path is None else os.fspath(path)
        super().__init__("KeepBest", monitor, mode, min_delta=0)

    def on_fit_begin(self, run: Run) -> None:
        super().on_fit_begin(run)
        if self.path is not None:
            check_folder(self.path, "KeepBest")
            if run.path is not None and os.path.abspath(run.path) == os.path.abspath(self.path):
                raise ValueError(
                    f"KeepBest: {self.path} is the checkpoint of fit, which would replace the best "
                    f"weights after each epoch: name another file"
                )

    def on_epoch_end(self, run: Run) -> None:
        if not self._improved(run):
            return
        if self.path is None:
            self.best_state = run.model.state_dict()
        else:
            save(self.path, run.model.state_dict())


def check_folder(path: str, owner: str) -> None:
    """Raise now if a file could not be made there."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{owner}: for {path} there is no folder {folder}: make it first")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{owner}: {path} is a folder: name a file")
