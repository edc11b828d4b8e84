"""Batches of arrays: the loader that shuffles them and cuts them.

How it is saved, and goes on from the place where a run was stopped, is in ``loader_state.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minidl.checks import whole_number
from minidl.data import repairs
from minidl.data.checks import as_numbers, equally_long, require_finite
from minidl.data.loader_state import Resumable
from minidl.rng import RNG, generator

Batch = tuple[np.ndarray, ...]


class DataLoader(Resumable):
    """Cut equally long arrays into batches, in order or shuffled anew in every epoch.

    Each batch is a tuple of ndarrays, one per array, also when there is only one array:
    ``for (x,) in loader``. A batch is always a copy, so nothing that happens to it can reach the
    arrays it came from. What is not an ndarray of the right dtype and layout yet is converted
    once, here, and not in every batch; an array that is right is kept without a copy.

    One loader may be iterated several times at once: every ``iter(loader)`` is an epoch of its
    own. Epoch number e (0 for the first) has the order ``np.random.default_rng((s,
    e)).permutation(n)``, where s is a number drawn from ``rng`` when the loader is made. So
    nothing else that draws from the same generator can change the order of the samples.

    Unlike PyTorch's loader, it takes arrays and no data set object, and hands out ndarrays.

    Args:
        *arrays: arrays or array-likes (N, ...) of numbers or booleans, with the same N.
        batch_size: samples per batch; the last batch of an epoch may hold fewer.
        shuffle: whether to draw a new order for each epoch.
        drop_last: whether to leave out a last batch that is not full.
        rng: a seed, a generator, or None for minidl's own; drawn from once, if ``shuffle``.
        dtype: what arrays of real numbers are delivered as (float64 is delivered as float32
            unless told otherwise); None keeps the dtype. Integers and booleans stay what they are.
        check_finite: whether to refuse NaN and infinity; False lets them pass.

    Raises:
        TypeError: for no array, an array that is not of numbers, a batch size that is no int, a
            dtype that is not of real numbers.
        ValueError: for different lengths, a single value, an empty data set, NaN or infinity, a
            batch size below 1, or above N with ``drop_last`` (no batch would ever come).

    Example:
        >>> x, y = np.arange(10.0).reshape(5, 2), np.array([0, 1, 0, 1, 0])
        >>> for xb, yb in DataLoader(x, y, batch_size=2):
        ...     print(xb.dtype, xb.shape, yb)
        float32 (2, 2) [0 1]
        float32 (2, 2) [0 1]
        float32 (1, 2) [0]
    """

    def __init__(
        self,
        *arrays: ArrayLike,
        batch_size: int = 32,
        shuffle: bool = False,
        drop_last: bool = False,
        rng: RNG = None,
        dtype: DTypeLike | None = np.float32,
        check_finite: bool = True,
    ) -> None:
        real = None if dtype is None else np.dtype(dtype)
        if real is not None and real.kind != "f":
            raise TypeError(f"dtype= is a floating dtype or None (keep each), got {real}")
        if type(batch_size) is not int or batch_size < 1:
            batch_size = whole_number(batch_size, "DataLoader: batch_size", at_least=1)
        self.batch_size = batch_size
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.arrays = tuple(
            _ready(array, f"DataLoader: array {i}", real, check_finite)
            for i, array in enumerate(equally_long(arrays, "DataLoader"))
        )
        self.samples = len(self.arrays[0])
        if len(self) == 0:
            raise repairs.no_batch(self.batch_size, self.samples)
        source = generator(rng)
        # Below 2**53, every file format keeps it exactly, even one that knows only doubles.
        self._seed = int(source.integers(2**53)) if self.shuffle else 0

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        full, rest = divmod(self.samples, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        """Begin an epoch, or go on with the one whose state was loaded."""
        epoch, batch = self._place = self._resume or (self._begun, 0)
        self._resume = None
        self._begun = max(self._begun, epoch + 1)
        return _Epoch(self._batches(epoch, batch))

    def _batches(self, epoch: int, batch: int) -> Iterator[Batch]:
        arrays, size = self.arrays, self.batch_size
        starts = range(batch * size, len(self) * size, size)
        order = None
        if self.shuffle:
            order = np.random.default_rng((self._seed, epoch)).permutation(self.samples)
        for count, start in enumerate(starts, batch + 1):
            self._place = (epoch, count)
            if order is None:
                yield tuple([array[start : start + size].copy() for array in arrays])
            else:
                rows = order[start : start + size]
                # ndarray.take picks rows in half the time of array[rows].
                yield tuple([array.take(rows, 0) for array in arrays])
        self._place = (self._begun, 0)

    def __repr__(self) -> str:
        return (
            f"DataLoader({self.samples} samples in {len(self)} batches of {self.batch_size}, "
            f"shuffle={self.shuffle}, drop_last={self.drop_last})"
        )


class _Epoch(Iterator[Batch]):
    """The batches of one epoch. A second loop over them raises, where a generator gives nothing."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._over = False

    def __iter__(self) -> Iterator[Batch]:
        if self._over:
            raise repairs.epoch_over()
        return self

    def __next__(self) -> Batch:
        try:
            return next(self._batches)
        except StopIteration:
            self._over = True
            raise


def _ready(array: np.ndarray, name: str, real: np.dtype | None, finite: bool) -> np.ndarray:
    """Return the array in the dtype and layout in which picking rows is fastest."""
    array = as_numbers(array, name)
    dtype = real if real is not None and array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    with np.errstate(over="ignore"):  # what does not fit is reported below, by its place
        ready = np.require(array, dtype, ["C", "ALIGNED"])
    if finite:
        require_finite(ready, name, source=array)
    return ready
