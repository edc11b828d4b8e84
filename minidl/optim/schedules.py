"""Learning rates that change: functions of the number of steps taken, for ``lr=``.

Each class here is a schedule: made with its settings, called with a step (0 for the first), it
returns a learning rate. They are used like functions and hence named like them; as classes they can
be printed, compared, copied and pickled. A function of your own serves just as well:
``lr=lambda step: 0.1 / (1 + step)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class step_decay:
    """``lr * factor**(step // every)``: the rate drops by ``factor`` every so many steps.

    Raises:
        ValueError: if ``lr`` or ``factor`` is negative or not finite, or ``every`` is not a whole
            number of at least 1.

    Example:
        >>> schedule = step_decay(1.0, every=10, factor=0.5)
        >>> schedule(0), schedule(9), schedule(10)
        (1.0, 1.0, 0.5)
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _check(self, "lr", "factor")
        _check_steps(self, "every")

    def __call__(self, step: int) -> float:
        return self.lr * self.factor ** (step // self.every)


@dataclass(frozen=True)
class exponential_decay:
    """``lr * rate**step``, with ``rate`` a little below 1.

    Raises:
        ValueError: if ``lr`` or ``rate`` is negative or not finite, or ``rate`` above 1.

    Example:
        >>> exponential_decay(1.0, 0.5)(3)
        0.125
    """

    lr: float
    rate: float

    def __post_init__(self) -> None:
        _check(self, "lr", "rate")
        if self.rate > 1:
            raise ValueError(f"exponential_decay: rate is at most 1, got {self.rate}")

    def __call__(self, step: int) -> float:
        return self.lr * self.rate**step


@dataclass(frozen=True)
class cosine:
    """From ``lr`` to ``final`` along half a cosine over ``steps`` steps, then constant.

    ``final + (lr - final) * (1 + cos(pi * step / steps)) / 2``

    Raises:
        ValueError: if ``lr`` or ``final`` is negative or not finite, or ``steps`` is not a whole
            number of at least 1.

    Source: Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts.

    Example:
        >>> schedule = cosine(1.0, steps=100)
        >>> schedule(0), round(schedule(50), 3), schedule(100), schedule(200)
        (1.0, 0.5, 0.0, 0.0)
    """

    lr: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        _check(self, "lr", "final")
        _check_steps(self, "steps")

    def __call__(self, step: int) -> float:
        share = (1 + math.cos(math.pi * min(step, self.steps) / self.steps)) / 2
        return self.final + (self.lr - self.final) * share


@dataclass(frozen=True)
class warmup:
    """``lr`` reached in equal stages: ``lr * (step + 1) / steps`` for the first ``steps`` steps.

    ``lr`` is a number or another schedule, which keeps its own count of steps.

    Raises:
        ValueError: if ``lr`` is negative or not finite, or ``steps`` is not a whole number of at
            least 1.

    Source: Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.2, gradual warmup.

    Example:
        >>> schedule = warmup(1.0, steps=4)
        >>> [schedule(step) for step in range(6)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    lr: float | Schedule
    steps: int

    def __post_init__(self) -> None:
        if not callable(self.lr):
            _check(self, "lr")
        _check_steps(self, "steps")

    def __call__(self, step: int) -> float:
        lr = self.lr(step) if callable(self.lr) else self.lr
        return lr * min(1.0, (step + 1) / self.steps)


def _check(schedule: Schedule, *names: str) -> None:
    """Raise unless the settings of these names are finite numbers of at least 0."""
    for name in names:
        value = getattr(schedule, name)
        number = isinstance(value, int | float | np.integer | np.floating)
        if isinstance(value, bool) or not number or not 0 <= value < math.inf:
            raise ValueError(
                f"{type(schedule).__name__}: {name} is a finite number of at least 0, got {value!r}"
            )


def _check_steps(schedule: Schedule, name: str) -> None:
    """Raise unless the setting of this name is a whole number of at least 1."""
    value = getattr(schedule, name)
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(
            f"{type(schedule).__name__}: {name} is a whole number of at least 1, got {value!r}"
        )
