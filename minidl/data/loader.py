"""Batches of arrays: the loader that shuffles, cuts and remembers where it was.

A file of its own because it is the only part of the data package that has a state: the place in
the epoch, from which a training run that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minidl.data.checks import as_numbers, equally_long, require_finite, same_keys, whole_number
from minidl.rng import RNG, generator


class DataLoader:
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
        self.batch_size = whole_number(batch_size, "batch_size", at_least=1)
        self.shuffle = bool(shuffle)
        self.drop_last = bool(drop_last)
        self.arrays = tuple(
            _ready(array, f"DataLoader: array {i}", real, check_finite)
            for i, array in enumerate(equally_long(arrays, "DataLoader"))
        )
        if self.drop_last and self.batch_size > self._samples:
            raise ValueError(
                f"no batch would ever come: batch_size={self.batch_size} is more than the "
                f"{self._samples} samples, and drop_last leaves out what is not full; "
                f"take a smaller batch_size or drop_last=False"
            )
        source = generator(rng)
        # Below 2**53, every file format keeps it exactly, even one that knows only doubles.
        self._seed = int(source.integers(2**53)) if self.shuffle else 0
        self._begun = 0  # epochs begun so far
        self._place = (0, 0)  # (epoch, batches handed out in it), where a saved state goes on
        self._resume: tuple[int, int] | None = None  # a loaded place that no one went on from yet

    @property
    def _samples(self) -> int:
        return len(self.arrays[0])

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        full, rest = divmod(self._samples, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        """Begin an epoch, or go on with the one whose state was loaded."""
        epoch, batch = self._place = self._resume or (self._begun, 0)
        self._resume = None
        self._begun = max(self._begun, epoch + 1)
        return _Epoch(self._batches(epoch, batch))

    def _batches(self, epoch: int, batch: int) -> Iterator[tuple[np.ndarray, ...]]:
        arrays, size = self.arrays, self.batch_size
        starts = range(batch * size, len(self) * size, size)
        order = None
        if self.shuffle:
            order = np.random.default_rng((self._seed, epoch)).permutation(self._samples)
        for count, start in enumerate(starts, batch + 1):
            self._place = (epoch, count)
            if order is None:
                yield tuple([array[start : start + size].copy() for array in arrays])
            else:
                rows = order[start : start + size]
                # ndarray.take picks rows in half the time of array[rows].
                yield tuple([array.take(rows, 0) for array in arrays])
        self._place = (self._begun, 0)

    def state_dict(self) -> dict[str, int]:
        """Return what another loader over the same arrays needs to go on from here.

        Here is the place of the iteration that handed out a batch last: after its k-th batch, the
        next one is number k + 1, and once it has ended, a new epoch. An epoch that was left by
        ``break`` or an exception counts as under way. The arrays are not part of the state.
        """
        epoch, batch = self._place
        return {
            "samples": self._samples,
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "seed": self._seed,
            "begun": self._begun,
            "epoch": epoch,
            "batch": batch,
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a saved place: the next ``iter(loader)`` gives what is left of that epoch.

        All epochs from there on have bitwise the batches that the saved loader would have given.
        The batch size, ``shuffle`` and ``drop_last`` become those of the state.

        Raises:
            ValueError: if a key is missing or unexpected, a value is impossible, or the state
                is of another number of samples; the loader is then left as it was.

        Example:
            >>> loader = DataLoader(np.arange(6), batch_size=2, shuffle=True, rng=0)
            >>> batches = iter(loader)
            >>> first = next(batches)
            >>> other = DataLoader(np.arange(6), batch_size=2)
            >>> other.load_state_dict(loader.state_dict())
            >>> bool((next(batches)[0] == next(iter(other))[0]).all())
            True
        """
        same_keys(state, self.state_dict(), "DataLoader")
        read = {key: np.asarray(value) for key, value in state.items()}
        for key, value in read.items():
            if value.dtype.kind not in "biu" or value.ndim:
                raise ValueError(f"the {key!r} of a DataLoader's state is an int, got {value!r}")
        new = {key: int(value) for key, value in read.items()}
        if new["samples"] != self._samples:
            raise ValueError(
                f"the state is of a DataLoader over {new['samples']} samples, this one has "
                f"{self._samples}: make it from the same arrays as the one that was saved"
            )
        full, rest = divmod(self._samples, max(new["batch_size"], 1))
        last = full if new["drop_last"] else full + (rest > 0)  # batches in an epoch
        under_way = new["epoch"] < new["begun"]
        possible = (
            new["batch_size"] >= 1
            and {new["shuffle"], new["drop_last"]} <= {0, 1}
            and last >= 1
            and new["seed"] >= 0
            and 0 <= new["epoch"] <= new["begun"]
            and 0 <= new["batch"] <= (last if under_way else 0)
        )
        if not possible:
            raise ValueError(f"no DataLoader can have this state: {new}; nothing was loaded")
        self.batch_size = new["batch_size"]
        self.shuffle = bool(new["shuffle"])
        self.drop_last = bool(new["drop_last"])
        self._seed = new["seed"]
        self._begun = new["begun"]
        self._place = self._resume = (new["epoch"], new["batch"])

    def __repr__(self) -> str:
        return (
            f"DataLoader({self._samples} samples in {len(self)} batches of {self.batch_size}, "
            f"shuffle={self.shuffle}, drop_last={self.drop_last})"
        )


class _Epoch(Iterator[tuple[np.ndarray, ...]]):
    """The batches of one epoch. A second loop over them raises, where a generator gives nothing."""

    def __init__(self, batches: Iterator[tuple[np.ndarray, ...]]) -> None:
        self._batches = batches
        self._over = False

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        if self._over:
            raise RuntimeError(
                "this epoch is over, and iter(loader) is one epoch: loop over the loader itself, "
                "as in `for x, y in loader`, which begins a new epoch each time"
            )
        return self

    def __next__(self) -> tuple[np.ndarray, ...]:
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
