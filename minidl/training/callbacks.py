"""Callbacks: what a run tells after each epoch, and how it may be stopped.

A callback is a function of the run, or an object with a method ``on_epoch_end(run)``. Here stand
what such an object may have besides, and how a run calls them, names them in errors, and keeps what
they remember in its checkpoint. ``best.py`` and ``csv_log.py`` are those that come with minidl.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from minidl.states import same_keys

if TYPE_CHECKING:
    from minidl.training.run import Run

HOOKS = "on_fit_begin", "on_epoch_end", "on_fit_end"


class Callback:
    """What ``fit`` tells of its run; each method does nothing unless a callback has its own.

    Nothing needs to inherit from it: any object with ``on_epoch_end(run)`` will do. What this class
    adds is the state. A callback that counts or collects names those attributes in ``state``. Then
    a checkpoint holds them, and a run that goes on is as if it had not been stopped. (An object
    that is no Callback may have ``state_dict()`` and ``load_state_dict(state)``.)

    What a run has for callbacks:

    - ``run.model``, ``run.loss``, ``run.optimizer``, ``run.loaders`` (a dict of ``"train"`` and,
      if there is one, ``"validation"``), as ``fit`` was given them;
    - ``run.history``, the :class:`History` with the epoch that has just ended, and ``run.epochs``,
      how many there are, those in the checkpoint included;
    - ``run.stop("reason")``: this epoch is the last; ``run.history.stopped`` keeps the reason;
    - ``run.say("text")``: a line beside the progress, silent with ``progress=False``.

    The model is in eval mode. What a callback changes of it or of the optimizer (``lr``, for one)
    counts from the next step on.

    Example:
        >>> import numpy as np
        >>> from minidl import fit, nn, optim
        >>> class Patience(Callback):
        ...     state = ("tries",)  # what a checkpoint holds of it
        ...     tries = 3
        ...
        ...     def on_epoch_end(self, run):
        ...         self.tries -= run.history["loss"][-1] > 0.1
        ...         if not self.tries:
        ...             run.stop("the loss was above 0.1 three times")
        >>> model, x = nn.Linear(1, 1, rng=0), np.ones((8, 1))
        >>> optimizer = optim.SGD(model.parameters(), lr=0.001)
        >>> history = fit(
        ...     model, nn.MSELoss(), optimizer, (x, x), progress=False, callbacks=[Patience()]
        ... )
        >>> len(history["loss"]), history.stopped
        (3, 'the loss was above 0.1 three times')
    """

    state: tuple[str, ...] = ()

    def on_fit_begin(self, run: Run) -> None:
        """Before the first step, with what the checkpoint held if there is one."""

    def on_epoch_end(self, run: Run) -> None:
        """After each epoch and its validation, before the run is saved."""

    def on_fit_end(self, run: Run) -> None:
        """After the last epoch or Ctrl-C, when the run has been saved; not after an error."""

    def state_dict(self) -> dict[str, Any]:
        """The attributes that ``state`` names."""
        return {name: getattr(self, name) for name in self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what was saved.

        Raises:
            ValueError: if the state lacks an attribute, or has another one.
        """
        same_keys(state, self.state, type(self).__name__)
        for name in self.state:
            setattr(self, name, state[name])


class Callbacks:
    """The callbacks of a run, in their order."""

    def __init__(self, callbacks: Iterable[Any]) -> None:
        if callable(callbacks) or hasattr(callbacks, "on_epoch_end"):
            raise TypeError(
                f"fit: callbacks is a list, got a single {name_of(callbacks)}: "
                f"write callbacks=[...] around it"
            )
        if isinstance(callbacks, str) or not isinstance(callbacks, Iterable):
            raise TypeError(f"fit: callbacks is a list of callbacks, got {callbacks!r}")
        self.each = list(callbacks)
        for i, callback in enumerate(self.each):
            _check(callback, f"fit: callbacks[{i}]")
            if any(callback is other for other in self.each[:i]):
                raise ValueError(
                    f"fit: callbacks[{i}] is the same {name_of(callback)} as another one there: "
                    f"what it remembers would be told twice"
                )
        self.untold: list[Any] = []  # those that have not heard of the last epoch yet

    def tell(self, hook: str, run: Run) -> None:
        """Call that method of all that have it."""
        for callback in self.each:
            if (method := getattr(callback, hook, None)) is not None:
                try:
                    method(run)
                except Exception as error:
                    error.add_note(f"in {hook} of the callback {name_of(callback)}")
                    raise

    def tell_epoch(self, run: Run) -> None:
        """Call those that have not heard of the last epoch yet.

        Where one fails, the run is saved as it was before this call, and goes on with it.
        """
        if self.untold:
            run.model.eval()
        while self.untold:
            callback = self.untold[0]
            before = copy.deepcopy(callback.state_dict()) if _remembers(callback) else None
            try:
                if getattr(callback, "on_epoch_end", callback)(run) is True:
                    raise TypeError("it returned True, and what stops a run is run.stop('reason')")
            except Exception as error:
                if before is not None:
                    callback.load_state_dict(before)
                run.save()
                kept = "" if run.path is None else f", and {os.fsdecode(run.path)} the run"
                error.add_note(
                    f"in the callback {name_of(callback)} after {run.place}; the model holds it"
                    f"{kept}"
                )
                raise
            self.untold.pop(0)

    # What a checkpoint holds ----------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "states": [[name_of(c), c.state_dict()] for c in self.each if _remembers(c)],
            "untold": [name_of(c) for c in self.untold],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let each remember what it did; those that remember something must be as they were."""
        saved, own = state["states"], [c for c in self.each if _remembers(c)]
        names = [name for name, _ in saved]
        if names != [name_of(c) for c in own]:
            raise ValueError(
                f"its callbacks with a state are {names}, not {[name_of(c) for c in own]}"
            )
        for callback, (_, content) in zip(own, saved, strict=True):
            callback.load_state_dict(content)
        untold = [*state["untold"]]
        self.untold = []
        for callback in reversed(self.each):  # of two with one name, the later is told later
            if untold and name_of(callback) in untold:
                untold.remove(name_of(callback))
                self.untold.insert(0, callback)


def name_of(callback: Any) -> str:
    """What a callback is called in messages and checkpoints: its class, or a function's name."""
    callback = getattr(callback, "func", callback)  # of a partial
    return getattr(callback, "__name__", type(callback).__name__)


def _remembers(callback: Any) -> bool:
    """Whether it has a state."""
    if isinstance(callback, Callback) and type(callback).state_dict is Callback.state_dict:
        return bool(callback.state)
    return hasattr(callback, "state_dict")


def _check(callback: Any, place: str) -> None:
    """Raise unless it is a callback."""
    if isinstance(callback, type):
        name = callback.__name__
        raise TypeError(f"{place} is the class {name}: write {name}(...), with brackets")
    method = getattr(callback, "on_epoch_end", callback)
    if not callable(method):
        raise TypeError(
            f"{place} is a function of the run, or an object with on_epoch_end(run), "
            f"got {callback!r}"
        )
    try:
        inspect.signature(method).bind(None)
    except TypeError:
        raise TypeError(
            f"{place}, {name_of(callback)}, takes one argument, the run, "
            f"not {inspect.signature(method)}"
        ) from None
    except ValueError:  # of a builtin, which does not tell
        pass
    unknown = [n for n in dir(callback) if n.startswith("on_") and n not in HOOKS]
    if unknown and method is not callback:
        raise TypeError(
            f"{place}, {name_of(callback)}, has {', '.join(unknown)}, which fit never calls: "
            f"it calls {', '.join(HOOKS)}"
        )
    if hasattr(callback, "state_dict") != hasattr(callback, "load_state_dict"):
        raise TypeError(
            f"{place}, {name_of(callback)}, has only one of state_dict() and load_state_dict(state)"
        )
