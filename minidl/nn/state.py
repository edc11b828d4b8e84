"""What a module saves and loads: its parameters and buffers by their dotted names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.arrays import Array, check_means_the_same
from minidl.nn.hidden import check_nothing_is_hidden
from minidl.nn.members import leaves, walk
from minidl.states import unfit
from minidl.tensor import Tensor


def named(module: Any) -> dict[str, Any]:
    """All parameters and buffers by their dotted names, which must differ."""
    check_nothing_is_hidden(module)
    state: dict[str, Any] = {}
    for name, value in leaves(module):
        if name in state:
            raise ValueError(
                f"{type(module).__name__} has two parameters or buffers with the name {name!r} "
                f"(a list, a dict and an attribute can come to the same name): rename one"
            )
        state[name] = value
    return state


def saved(module: Any) -> dict[str, Array]:
    """Copies of them all."""
    return {name: np.array(_array(value)) for name, value in named(module).items()}


def load(module: Any, state: Mapping[str, Any]) -> None:
    """Write them all, or raise with all that does not fit (see :meth:`Module.load_state_dict`)."""
    if not isinstance(state, Mapping):
        raise TypeError(
            f"load_state_dict takes what state_dict() returns, a dict of arrays by name, not a "
            f"{type(state).__name__}"
        )
    for name, given in state.items():
        check_means_the_same(given, f"load_state_dict of {name}")
    own = {name: _array(value) for name, value in named(module).items()}
    arrays = {name: np.asarray(_array(value)) for name, value in state.items()}
    faults = [f"{name} is missing" for name in own if name not in arrays]
    empty = {  # buffers that are None as yet, and become what they are in the state
        f"{path}.{name}".lstrip("."): (inner, name)
        for path, inner in walk(module)
        for name in inner.buffers
        if getattr(inner, name) is None
    }
    for name, array in arrays.items():
        if name not in own and (name not in empty or array.dtype.kind not in "biuf"):
            faults.append(f"{name} is unexpected")
    copies: dict[str, Array] = {}  # made before anything is written: they may be views of it
    for name, value in own.items():
        array = arrays.get(name, value)
        if array.shape != value.shape:
            faults.append(f"{name} has shape {array.shape}, expected {value.shape}")
        elif not np.can_cast(array.dtype, value.dtype, "same_kind"):
            faults.append(f"{name} has dtype {array.dtype}, expected {value.dtype}")
        elif fault := unfit(array, value.dtype):
            faults.append(f"{name} {fault}")
        elif name in arrays:
            copies[name] = np.array(array, value.dtype)
            first = next(n for n in own if own[n] is value)  # another name if it is shared
            if copies[name].tobytes() != copies.get(first, copies[name]).tobytes():
                faults.append(f"{name} and {first} are one array here and differ in the state")
    if faults:
        raise ValueError(f"{type(module).__name__} cannot take the state: " + "; ".join(faults))
    for name, array in copies.items():
        own[name][...] = array
    for name in arrays.keys() & empty.keys():
        setattr(*empty[name], arrays[name].copy())


def _array(value: Any) -> Any:
    return value.data if isinstance(value, Tensor) else value
