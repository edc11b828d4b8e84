"""What data for training may be: x and y, weights of the samples, several inputs.

A batch is ``(x, y)`` or ``(x, y, weights)``, and x an array, a tuple of arrays or a dict of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.arrays import Array
from minidl.checks import whole_number
from minidl.data import DataLoader, MultiInputLoader
from minidl.data.inputs import Inputs
from minidl.nn import Module

Data = (
    DataLoader
    | tuple[ArrayLike | Inputs, ArrayLike]  # x and y
    | tuple[ArrayLike | Inputs, ArrayLike, ArrayLike]  # and a weight for each sample
)


def called(model: Module, x: Any) -> Any:
    """What the model returns: of a tuple ``model(a, b)``, of a dict ``model(a=a, b=b)``."""
    if isinstance(x, tuple):
        return model(*x)
    return model(**x) if isinstance(x, dict) else model(x)


def by_name(x: Any) -> dict[str, Any]:
    """The arrays of x, each with its name in messages."""
    if isinstance(x, tuple):
        return {f"x[{i}]": array for i, array in enumerate(x)}
    return {f"x[{k!r}]": array for k, array in x.items()} if isinstance(x, dict) else {"x": x}


def rows(x: Any, part: slice) -> Any:
    """Some of the samples."""
    if isinstance(x, tuple):
        return tuple(array[part] for array in x)
    return {k: array[part] for k, array in x.items()} if isinstance(x, dict) else x[part]


def columns(loader: DataLoader) -> tuple[Any, Array, Array | None]:
    """All of x, y and the weights (None if there are none)."""
    arrays = getattr(loader, "together", tuple)(loader.arrays)  # of several inputs
    x, y, weights = (*arrays, None)[:3]
    return x, y, weights


def as_they_come(loader: DataLoader) -> bool:
    """Whether batches are rows of the arrays, and no iteration of one's own changes them."""
    return type(loader).__iter__.__module__.startswith("minidl.")


def as_loader(
    name: str, data: Any, model: Module, batch_size: int | None = None, shuffle: bool = False
) -> DataLoader:
    """The data in batches, by default of 1024, shuffled of 32."""
    if batch_size is not None:
        batch_size = whole_number(batch_size, "fit: batch_size", at_least=1)
    if isinstance(data, tuple):
        lengths = [len(a) for a in data[1:] if isinstance(a, np.ndarray) and a.ndim]
        if len(data) == 3 and len({*lengths}) == 2:
            raise ValueError(
                f"{name}: y has {lengths[0]} samples, and there are {lengths[1]} weights: give one "
                f"for each sample"
            )
        size = batch_size or (32 if shuffle else 1024)
        data = inputs_loader(data, batch_size=size, shuffle=shuffle, dtype=dtype_of(model))
        while shuffle and batch_size is None and data.samples > 1 == data.samples % data.batch_size:
            data.batch_size += 1  # for a last batch of more than one sample
    elif isinstance(data, DataLoader) and batch_size is not None:
        raise ValueError(
            f"{name} is a DataLoader, which has a batch size of its own, {data.batch_size}: give "
            f"{batch_size} to the DataLoader, or a tuple of arrays and batch_size to fit"
        )
    if not isinstance(data, DataLoader):
        raise TypeError(
            f"{name} is a tuple (x, y) of arrays or a DataLoader(x, y), got {type(data).__name__}"
        )
    others = len(data.arrays) - getattr(data, "inputs", 1)
    if others not in (1, 2):
        raise ValueError(
            f"{name} has {len(data.arrays)} arrays, and is x and y, or x, y and a weight for each "
            f"sample: several inputs stand in a tuple or dict in the place of x, as in ((a, b), "
            f"y) or MultiInputLoader((a, b), y)"
        )
    x, _, weights = columns(data)
    if isinstance(data, MultiInputLoader):
        check_inputs(name, model, x)
    if weights is not None:
        check_weights(name, weights)
        if not weights.any():
            raise ValueError(f"{name}: all {len(weights)} weights are 0, so that nothing counts")
    return data


def inputs_loader(arrays: tuple[Any, ...], **options: Any) -> DataLoader:
    """A loader for arrays of which the first may be several inputs."""
    several = arrays and isinstance(arrays[0], tuple | Mapping)
    return MultiInputLoader(*arrays, **options) if several else DataLoader(*arrays, **options)


def check_inputs(name: str, model: Module, x: tuple[Any, ...] | dict[str, Any]) -> None:
    """Raise a TypeError unless the model's forward takes these inputs."""
    forward = inspect.signature(model.forward)
    try:
        forward.bind(*x) if isinstance(x, tuple) else forward.bind(**x)
    except TypeError as error:
        given = f"a tuple of {len(x)}" if isinstance(x, tuple) else f"a dict of {', '.join(x)}"
        raise TypeError(
            f"{name}: x is {given}, which are several inputs, and {type(model).__name__}.forward"
            f"{forward} does not take them ({error}): a tuple is for forward(self, a, b), a dict "
            f"for arguments of its names; one array is np.array(x)"
        ) from None


def check_weights(name: str, weights: Array) -> None:
    """Raise unless these are finite weights of at least 0, one for each sample."""
    if weights.ndim != 1:
        raise ValueError(
            f"{name}: weights have shape {weights.shape}, expected ({len(weights)},): one for each "
            f"sample"
        )
    right = (weights >= 0) & np.isfinite(weights)
    if not right.all():
        bad = int(np.argmin(right))
        raise ValueError(
            f"{name}: the weight of sample {bad} is {weights[bad]}: weights are finite and 0 or "
            f"more, since a loss of negative weight has no minimum"
        )


def dtype_of(model: Module) -> np.dtype[Any]:
    return next((p.dtype for p in model.parameters()), np.dtype(np.float32))
