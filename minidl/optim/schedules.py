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

from minidl.checks import number, whole_number

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class step_decay:
    """``lr * factor**(step // every)``: the rate drops by ``factor`` every so many steps.

    Raises:
        TypeError: if ``lr`` or ``factor`` is no number, or ``every`` no whole number.
        ValueError: if ``lr`` or ``factor`` is negative or not finite, or ``every`` below 1.

    Example:
        >>> schedule = step_decay(1.0, every=10, factor=0.5)
        >>> schedule(0), schedule(9), schedule(10)
        (1.0, 1.0, 0.5)
    """

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        number(self.lr, "step_decay: lr", at_least=0)
        whole_number(self.every, "step_decay: every", at_least=1)
        number(self.factor, "step_decay: factor", at_least=0)

    def __call__(self, step: int) -> float:
        return self.lr * self.factor ** (step // self.every)


@dataclass(frozen=True)
class exponential_decay:
    """``lr * rate**step``, with ``rate`` a little below 1.

    Raises:
        TypeError: if ``lr`` or ``rate`` is no number.
        ValueError: if ``lr`` or ``rate`` is negative or not finite, or ``rate`` above 1.

    Example:
        >>> exponential_decay(1.0, 0.5)(3)
        0.125
    """

    lr: float
    rate: float

    def __post_init__(self) -> None:
        number(self.lr, "exponential_decay: lr", at_least=0)
        number(self.rate, "exponential_decay: rate", at_least=0, at_most=1)

    def __call__(self, step: int) -> float:
        return self.lr * self.rate**step


@dataclass(frozen=True)
class cosine:
    """From ``lr`` to ``final`` along half a cosine over ``steps`` steps, then constant.

    ``final + (lr - final) * (1 + cos(pi * step / steps)) / 2``

    Raises:
        TypeError: if ``lr`` or ``final`` is no number, or ``steps`` no whole number.
        ValueError: if ``lr`` or ``final`` is negative or not finite, or ``steps`` below 1.

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
        number(self.lr, "cosine: lr", at_least=0)
        whole_number(self.steps, "cosine: steps", at_least=1)
        number(self.final, "cosine: final", at_least=0)

    def __call__(self, step: int) -> float:
        share = (1 + math.cos(math.pi * min(step, self.steps) / self.steps)) / 2
        return self.final + (self.lr - self.final) * share


@dataclass(frozen=True)
class warmup:
    """``lr`` reached in equal stages: ``lr * (step + 1) / steps`` for the first ``steps`` steps.

    ``lr`` is a number or another schedule, which keeps its own count of steps.

    Raises:
        TypeError: if ``lr`` is no number and no function, or ``steps`` no whole number.
        ValueError: if ``lr`` is negative or not finite, or ``steps`` below 1.

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
            number(self.lr, "warmup: lr", at_least=0)
        whole_number(self.steps, "warmup: steps", at_least=1)

    def __call__(self, step: int) -> float:
        lr = self.lr(step) if callable(self.lr) else self.lr
        return lr * min(1.0, (step + 1) / self.steps)
