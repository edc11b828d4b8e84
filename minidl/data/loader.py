"""Batches of arrays: the loader that shuffles them and cuts them.

How it is saved, and goes on from the place where a run was stopped, is in ``loader_state.py``. What
is not yet as it should be is converted or refused in ``checks.py`` and ``repairs.py`` beside this.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minidl.checks import whole_number
from minidl.data import repairs
from minidl.data.checks import as_samples
from minidl.data.loader_state import Resumable
from minidl.rng import RNG, generator

Batch = tuple[np.ndarray, ...]


class DataLoader(Resumable):
    """Cut equally long arrays into batches, in order or shuffled anew in every epoch.

    Each batch is a tuple of ndarrays, one per array, also when there is only one array:
    ``for (x,) in loader``. A batch is always a copy. An array of another dtype or layout than
    asked for is converted once, here; one that is right is kept without a copy. Unlike PyTorch's
    loader, it takes arrays and no data set object, and hands out ndarrays.

    Every ``iter(loader)`` is an epoch of its own, also several at once. Epoch number e (0 for the
    first) has the order ``np.random.default_rng((s, e)).permutation(n)``, where s is drawn from
    ``rng`` when the loader is made: what else draws from the same generator changes no order.

    Args:
        *arrays: arrays or array-likes (N, ...) of numbers or booleans, with the same N.
        batch_size: samples per batch; the last batch of an epoch may hold fewer.
        shuffle: whether to draw a new order for each epoch.
        drop_last: whether to leave out a last batch that is not full.
        rng: a seed, a generator, or None for minidl's own; drawn from once, if ``shuffle``.
        dtype: of arrays of real numbers, also of float64 ones; None keeps it. Others keep theirs.
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
            raise repairs.no_real_dtype(real)
        if type(batch_size) is not int or batch_size < 1:
            batch_size = whole_number(batch_size, "DataLoader: batch_size", at_least=1)
        self.batch_size, self.shuffle, self.drop_last = batch_size, bool(shuffle), bool(drop_last)
        if not _are_right(arrays, real, check_finite):
            arrays = as_samples(arrays, "DataLoader", real, check_finite)
        self.arrays: tuple[np.ndarray, ...] = arrays
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
        self._place = self._resume or (self._begun, 0)  # what they are, loader_state.py says
        self._resume = None
        epoch, batch = self._place
        self._begun = max(self._begun, epoch + 1)
        return _Epoch(self, epoch, batch)


class _Epoch(Iterator[Batch]):
    """The batches of one epoch. A second loop over them raises, where a generator gives nothing."""

    def __init__(self, loader: DataLoader, epoch: int, batch: int) -> None:
        self.loader, self.epoch, self.batch = loader, epoch, batch
        self.size, self.end, self.is_over = loader.batch_size, len(loader), False
        self.order = None
        if loader.shuffle:
            self.order = np.random.default_rng((loader._seed, epoch)).permutation(loader.samples)

    def __iter__(self) -> Iterator[Batch]:
        if self.is_over:
            raise repairs.epoch_over()
        return self

    def __next__(self) -> Batch:
        loader, start = self.loader, self.batch * self.size
        if self.batch >= self.end:
            if not self.is_over:
                self.is_over, loader._place = True, (loader._begun, 0)
            raise StopIteration
        self.batch += 1
        loader._place = (self.epoch, self.batch)
        if self.order is None:
            return tuple([array[start : start + self.size].copy() for array in loader.arrays])
        rows = self.order[start : start + self.size]
        # ndarray.take picks rows in half the time of array[rows].
        return tuple([array.take(rows, 0) for array in loader.arrays])


def _are_right(
    arrays: tuple[ArrayLike, ...], real: np.dtype | None, finite: bool
) -> TypeGuard[tuple[np.ndarray, ...]]:
    """Whether a look tells that ``as_samples`` would keep the arrays as they are."""
    lengths = set()
    for array in arrays:
        if type(array) is not np.ndarray or array.ndim == 0 or array.size == 0:
            return False
        if not (array.flags.carray and array.dtype.isnative):
            return False
        lengths.add(len(array))
        if array.dtype.kind == "f" and (real is None or array.dtype == real):
            with np.errstate(invalid="ignore"):
                # The extremes tell it without the memory that a mask as large as the data takes.
                if finite and not np.isfinite([array.min(), array.max()]).all():
                    return False
        elif array.dtype.kind not in "biu":
            return False
    return len(lengths) == 1
