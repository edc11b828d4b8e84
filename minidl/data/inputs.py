"""Batches for models of several inputs: a DataLoader that hands the first arrays out together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from minidl.data.loader import DataLoader

Inputs = tuple[ArrayLike, ...] | Mapping[str, ArrayLike]


class MultiInputLoader(DataLoader):
    """A DataLoader whose batches are ``((a, b), y)``, or ``({"a": a, "b": b}, y)`` by name.

    ``fit`` and ``evaluate`` then call ``model(a, b)``, or ``model(a=a, b=b)``.

    Args:
        inputs: a tuple of arrays (N, ...), or a dict of them by name.
        *arrays: what comes after them in each batch: the targets, and weights if there are any.
        **options: as for :class:`DataLoader`, whose errors these are, too.

    Raises:
        TypeError: if ``inputs`` is no tuple and no dict with strings for keys.
        ValueError: if it is empty.

    Example:
        >>> import numpy as np
        >>> a, b, y = np.zeros((6, 2)), np.ones((6, 3)), np.arange(6)
        >>> for (ab, bb), yb in MultiInputLoader((a, b), y, batch_size=4):
        ...     print(ab.shape, bb.shape, yb)
        (4, 2) (4, 3) [0 1 2 3]
        (2, 2) (2, 3) [4 5]
    """

    def __init__(self, inputs: Inputs, *arrays: ArrayLike, **options: Any) -> None:
        if not isinstance(inputs, tuple | Mapping):
            raise TypeError(
                f"MultiInputLoader: inputs is a tuple of arrays or a dict of them by name, got "
                f"{type(inputs).__name__}: for one array take DataLoader"
            )
        if not inputs:
            raise ValueError("MultiInputLoader: inputs is empty: give one array or more")
        self.names: tuple[str, ...] | None = None
        if isinstance(inputs, Mapping):
            self.names, inputs = tuple(inputs), tuple(inputs.values())
            strange = [name for name in self.names if not isinstance(name, str)]
            if strange:
                raise TypeError(
                    f"MultiInputLoader: names of inputs are strings, got {strange[0]!r}: they are "
                    f"the arguments of the model's forward()"
                )
        self.inputs = len(inputs)
        super().__init__(*inputs, *arrays, **options)

    def together(self, arrays: Sequence[Any]) -> tuple[Any, ...]:
        """The first of the arrays in a tuple or a dict, as they were given, and the rest."""
        first, rest = tuple(arrays[: self.inputs]), arrays[self.inputs :]
        return (first if self.names is None else dict(zip(self.names, first, strict=True)), *rest)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return map(self.together, super().__iter__())
