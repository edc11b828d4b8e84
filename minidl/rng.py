"""The random numbers of minidl: one generator of its own, and the way to bring another.

Initial weights, dropout, shuffling and synthetic data all draw from here. NumPy's global state is
neither read nor set, so minidl and the rest of a program never disturb each other's sequences.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from minidl.checks import whole_number
from minidl.scopes import Block, Setting

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
        >>> import minidl
        >>> minidl.seed(0)
        >>> first = minidl.nn.Linear(2, 2).weight.numpy()
        >>> minidl.seed(0)
        >>> bool((minidl.nn.Linear(2, 2).weight.numpy() == first).all())
        True
    """
    # The state moves, the object stays: whoever already holds the generator follows the new seed.
    fresh = np.random.default_rng(whole_number(n, _A_SEED))
    _own().bit_generator.state = fresh.bit_generator.state


def generator(rng: RNG = None) -> np.random.Generator:
    """Return the generator that an ``rng=`` argument means.

    ``None`` means minidl's own (see :func:`seed`), an int a new generator of that seed, and a
    ``numpy.random.Generator`` itself.

    Raises:
        TypeError: for anything else, ``numpy.random.RandomState`` included.
        ValueError: for a negative seed.

    Example:
        >>> generator(7).integers(100) == generator(7).integers(100)
        np.True_
    """
    if rng is None:
        rng = _own()
    elif not isinstance(rng, np.random.Generator):
        if type(rng) is not int or rng < 0:
            rng = whole_number(rng, _A_SEED)
        return np.random.default_rng(rng)
    through = _through.current.get()
    return rng if through is None else through(rng)


_through = Setting("what generators are seen through", default=None)


def drawing_through(function: Callable[[np.random.Generator], Any]) -> Block:
    """A block in which :func:`generator` returns what ``function`` makes of the generator."""
    return Block(_through, function)
