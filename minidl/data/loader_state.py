"""The state of a DataLoader: the place in the epoch, from which a stopped run goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sized

import numpy as np

from minidl.states import same_keys


class Resumable(Sized):
    """The half of a DataLoader that is saved, loaded and shown; the other is in ``loader.py``."""

    samples: int
    batch_size: int
    shuffle: bool
    drop_last: bool
    _seed: int
    _begun = 0  # epochs begun so far
    _place = (0, 0)  # (epoch, batches handed out in it), where a saved state goes on
    _resume: tuple[int, int] | None = None  # a loaded place that no one went on from yet

    def state_dict(self) -> dict[str, int]:
        """Return what another loader over the same arrays needs to go on from here.

        Here is the place of the iteration that handed out a batch last: after its k-th batch, the
        next one is number k + 1, and once it has ended, a new epoch. An epoch that was left by
        ``break`` or an exception counts as under way. The arrays are not part of the state.
        """
        epoch, batch = self._place
        return {
            "samples": self.samples,
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
            >>> from minidl.data import DataLoader
            >>> loader = DataLoader(np.arange(6), batch_size=2, shuffle=True, rng=0)
            >>> batches = iter(loader)
            >>> first = next(batches)
            >>> other = DataLoader(np.arange(6), batch_size=2)
            >>> other.load_state_dict(loader.state_dict())
            >>> bool((next(batches)[0] == next(iter(other))[0]).all())
            True
        """
        new = _checked(state, self.state_dict())
        self.batch_size = new["batch_size"]
        self.shuffle = bool(new["shuffle"])
        self.drop_last = bool(new["drop_last"])
        self._seed = new["seed"]
        self._begun = new["begun"]
        self._place = self._resume = (new["epoch"], new["batch"])

    def __repr__(self) -> str:
        return (
            f"DataLoader({self.samples} samples in {len(self)} batches of {self.batch_size}, "
            f"shuffle={self.shuffle}, drop_last={self.drop_last})"
        )


def _checked(state: Mapping[str, int], own: Mapping[str, int]) -> dict[str, int]:
    """The state as ints; an error if no loader over the samples of ``own`` can have it."""
    same_keys(state, own, "DataLoader")
    samples = own["samples"]
    read = {key: np.asarray(value) for key, value in state.items()}
    for key, value in read.items():
        if value.dtype.kind not in "biu" or value.ndim:
            raise ValueError(f"the {key!r} of a DataLoader's state is an int, got {value!r}")
    new = {key: int(value) for key, value in read.items()}
    if new["samples"] != samples:
        raise ValueError(
            f"the state is of a DataLoader over {new['samples']} samples, this one has "
            f"{samples}: make it from the same arrays as the one that was saved"
        )
    full, rest = divmod(samples, max(new["batch_size"], 1))
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
    return new
