"""The random numbers of minidl: one generator of its own, and the way to bring another.

Initial weights, dropout, shuffling and synthetic data all draw from here. NumPy's global state is
neither read nor set, so minidl and the rest of a program never disturb each other's sequences.
"""

from __future__ import annotations

import functools
from typing import TypeAlias

import numpy as np

from minidl.checks import whole_number
from minidl.modes import drawn_through

RNG: TypeAlias = "int | np.random.Generator | None"
"""What every ``rng=`` argument takes: a seed, a generator, or None for minidl's own generator."""

_A_SEED = "a seed (rng= takes one, a generator from numpy.random.default_rng, or None)"


@functools.cache
def _own() -> np.random.Generator:
    """minidl's own, made when it is first needed: NumPy loads its random part so late."""
    return np.random.default_rng()


def seed(n: int) -> None:
    """Restart minidl's own generator from the seed ``n``, for everything that uses it.

    Raises:
        TypeError: if ``n`` is not an integer.
        ValueError: if ``n`` is negative.

    Example:
        >>> seed(0)
        >>> first = generator().random(2)
        >>> seed(0)
        >>> bool((generator().random(2) == first).all())
        True
    """
    # The state moves, the object stays: whoever already holds the generator follows the new seed.
    fresh = np.random.default_rng(whole_number(n, _A_SEED))
    _own().bit_generator.state = fresh.bit_generator.state


def generator(rng: RNG = None) -> np.random.Generator:
    """The generator that an ``rng=`` argument means: minidl's own for None, a new one for a seed.

    Raises:
        TypeError: for anything else, ``numpy.random.RandomState`` included.
        ValueError: for a negative seed.

    Example:
        >>> generator(7).integers(100) == generator(7).integers(100)
        np.True_
    """
    if rng is not None and not isinstance(rng, np.random.Generator):
        good = type(rng) is int and rng >= 0
        return np.random.default_rng(rng if good else whole_number(rng, _A_SEED))
    source = _own() if rng is None else rng
    through = drawn_through()
    return source if through is None else through(source)
