"""The state of an optimizer: as plain values by name, and taken over again if it fits."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.arrays import Array, check_means_the_same
from minidl.checks import is_number
from minidl.optim.float16 import widen
from minidl.optim.storage import Storage
from minidl.states import unfit


class Saved:
    """How an optimizer is saved: a part of :class:`minidl.optim.Optimizer`."""

    groups: tuple[Any, ...]
    steps: int

    def state_dict(self) -> dict[str, Any]:
        """The hyper-parameters and the state of every parameter by its name, all copied.

        A schedule is a function and cannot be stored: its place holds ``"schedule"``.
        """
        groups = [
            {
                "hyper": {key: _storable(value) for key, value in group.hyper.items()},
                "params": state_of(group.storage),
            }
            for group in self.groups
        ]
        return {"rule": type(self).__name__, "steps": self.steps, "groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned, copying it; hyper-parameters too.

        What is to be other than it was saved (another rate to go on with) is set afterwards.

        Raises:
            ValueError: if it is of another rule or for other parameters, or if a learning rate was
                a schedule and is a number here, or the other way round; the message lists all
                differences, and nothing has been changed.
        """
        faults = []
        rule, steps = state.get("rule"), state.get("steps")
        if rule != type(self).__name__:
            faults.append(f"it is of {rule}, not of {type(self).__name__}")
        if not _is_count(steps):
            faults.append(f"it has taken {steps!r} steps")
        saved = list(state.get("groups", ()))
        if len(saved) != len(self.groups):
            faults.append(f"it has {len(saved)} groups, not {len(self.groups)}")
        for i, (group, new) in enumerate(zip(self.groups, saved, strict=False)):
            where = f"in group {i} " if len(saved) > 1 else ""
            found = _differences(group.storage, new.get("params", {}))
            found += _differences_of_hyper(group, new.get("hyper", {}))
            faults += [where + fault for fault in found]
        if faults:
            raise ValueError("this optimizer cannot take the state: " + "; ".join(faults))
        for group, new in zip(self.groups, saved, strict=True):
            load_into(group.storage, new["params"])
            for key, value in new["hyper"].items():
                if not _is_schedule(value):
                    group[key] = copy.deepcopy(value)
        self.steps = int(state["steps"])


def _differences_of_hyper(group: Any, hyper: Mapping[str, Any]) -> list[str]:
    """In what hyper-parameters of a state dict do not fit those of a group."""
    faults = []
    if set(hyper) != set(group.hyper):
        faults.append(
            f"the hyper-parameters are {', '.join(hyper) or 'missing'}, not "
            f"{', '.join(group.hyper)}"
        )
    for key, value in group.hyper.items():
        new = hyper.get(key, value)
        if callable(value) and new is not value and not _is_schedule(new):
            faults.append(
                f"{key} was {new!r}, and is a schedule here, which would be lost: make this "
                f"optimizer with a number, too, and set {key} to the schedule after loading"
            )
        elif not callable(value) and _is_schedule(new):
            faults.append(
                f"{key} was a schedule: make this optimizer with one, too; for a number, set "
                f"{key} after loading"
            )
        elif not callable(value):
            try:
                group.rule.checked(key, new)
            except (TypeError, ValueError) as error:
                faults.append(str(error))
    return faults


# --- What is stored of each parameter -------------------------------------------------------------


def state_of(storage: Storage) -> dict[str, Any]:
    widen(storage)
    return {
        name: {"steps": count} | {key: array.copy() for key, array in _kept(storage, i).items()}
        for i, (name, count) in enumerate(zip(storage.names, storage.counts, strict=True))
    }


def load_into(storage: Storage, saved: Mapping[str, Any]) -> None:
    for i, name in enumerate(storage.names):
        storage.counts[i] = int(saved[name]["steps"])
        for key, view in _kept(storage, i).items():
            view[...] = saved[name][key]
    storage.present = []  # neighbours may be in different steps now


def _kept(storage: Storage, i: int) -> dict[str, Array]:
    """What is kept of a parameter by name: its state, and ``x`` if it is not the data."""
    x, _, *state = storage.views[i]
    kept = dict(zip(storage.rule.state, state, strict=True))
    return {"x": x, **kept} if storage.places[i][0] in storage.narrow else kept


def _differences(storage: Storage, saved: Mapping[str, Any]) -> list[str]:
    """In what a state dict does not fit."""
    faults = [f"{name!r} is missing" for name in storage.names if name not in saved]
    faults += [f"{name!r} is unexpected" for name in saved if name not in storage.names]
    for i, name in enumerate(storage.names):
        entry = saved.get(name)
        if entry is None:
            continue
        kept = _kept(storage, i)
        wanted = ["steps", *kept]
        if sorted(entry) != sorted(wanted):
            faults.append(f"{name!r} has {', '.join(entry)}, not {', '.join(wanted)}")
            continue
        if not _is_count(entry["steps"]):
            faults.append(f"{name!r} has taken {entry['steps']!r} steps")
        for key, view in kept.items():
            check_means_the_same(entry[key], f"load_state_dict of {key} of {name!r}")
            array = np.asarray(entry[key])
            if array.shape != view.shape or array.dtype.kind != "f":
                faults.append(
                    f"{key} of {name!r} has shape {array.shape} and dtype {array.dtype}, not "
                    f"{view.shape} and {view.dtype}"
                )
            elif fault := unfit(array, view.dtype):
                faults.append(f"{key} of {name!r} {fault}")
    return faults


def _is_count(value: Any) -> bool:
    return is_number(value) and 0 <= value < math.inf and int(value) == value


def _is_schedule(value: Any) -> bool:
    return isinstance(value, str) and value == "schedule"


def _storable(value: Any) -> Any:
    if callable(value):
        return "schedule"
    return list(value) if isinstance(value, tuple) else copy.deepcopy(value)
