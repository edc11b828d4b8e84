"""The random numbers of minidl: one generator of its own, and the way to bring another.

Initial weights, dropout, shuffling and synthetic data all draw from here. NumPy's global state is
neither read nor set, so minidl and the rest of a program never disturb each other's sequences.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

import numpy as np

RNG: TypeAlias = "int | np.random.Generator | None"
"""What every ``rng=`` argument takes: a seed, a generator, or None for minidl's own generator."""


@functools.cache
def _own() -> np.random.Generator:
    """minidl's own generator, made when it is first needed: NumPy loads its random part so late."""
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
    _own().bit_generator.state = generator(_checked_seed(n)).bit_generator.state


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
        return np.random.default_rng(_checked_seed(rng))
    through = _through.get()
    return rng if through is None else through(rng)


_through: ContextVar[Callable[[np.random.Generator], Any] | None] = ContextVar(
    "through", default=None
)


@contextmanager
def drawing_through(function: Callable[[np.random.Generator], Any]) -> Iterator[None]:
    """A block in which :func:`generator` returns what ``function`` makes of the generator."""
    token = _through.set(function)
    try:
        yield
    finally:
        _through.reset(token)


def _checked_seed(n: object) -> int:
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise TypeError(
            f"a seed is an int, and rng= takes a seed, a numpy.random.Generator or None; "
            f"got {type(n).__name__}: use numpy.random.default_rng(...) to make a generator"
        )
    if n < 0:
        raise ValueError(f"a seed is at least 0, got {n}")
    return int(n)
