"""Learning rates that change: functions of the number of steps taken, for ``lr=``.

Each function here returns a schedule, which maps the step (0 for the first) to a learning rate. A
function of your own serves just as well: ``lr=lambda step: 0.1 / (1 + step)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def step_decay(lr: float, every: int, factor: float = 0.1) -> Schedule:
    """``lr * factor**(step // every)``: the rate drops by ``factor`` every so many steps.

    Raises:
        ValueError: if ``lr`` or ``factor`` is negative or not finite, or ``every`` is below 1.

    Example:
        >>> schedule = step_decay(1.0, every=10, factor=0.5)
        >>> schedule(0), schedule(9), schedule(10)
        (1.0, 1.0, 0.5)
    """
    _check("step_decay", lr=lr, factor=factor)
    _check_steps("step_decay", every=every)
    return lambda step: lr * factor ** (step // every)


def exponential_decay(lr: float, rate: float) -> Schedule:
    """``lr * rate**step``, with ``rate`` a little below 1.

    Raises:
        ValueError: if ``lr`` or ``rate`` is negative or not finite, or ``rate`` above 1.

    Example:
        >>> exponential_decay(1.0, 0.5)(3)
        0.125
    """
    _check("exponential_decay", lr=lr, rate=rate)
    if rate > 1:
        raise ValueError(f"exponential_decay: rate is at most 1, got {rate}")
    return lambda step: lr * rate**step


def cosine(lr: float, steps: int, final: float = 0.0) -> Schedule:
    """From ``lr`` down to ``final`` along half a cosine over ``steps`` steps, then constant.

    ``final + (lr - final) * (1 + cos(pi * step / steps)) / 2``

    Raises:
        ValueError: if ``lr`` or ``final`` is negative or not finite, or ``steps`` is below 1.

    Source: Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts.

    Example:
        >>> schedule = cosine(1.0, steps=100)
        >>> schedule(0), round(schedule(50), 3), schedule(100), schedule(200)
        (1.0, 0.5, 0.0, 0.0)
    """
    _check("cosine", lr=lr, final=final)
    _check_steps("cosine", steps=steps)
    return lambda step: (
        final + (lr - final) * (1 + math.cos(math.pi * min(step, steps) / steps)) / 2
    )


def warmup(lr: float | Schedule, steps: int) -> Schedule:
    """``lr`` reached in equal stages: ``lr * (step + 1) / steps`` for the first ``steps`` steps.

    ``lr`` is a number or another schedule, which keeps its own count of steps.

    Raises:
        ValueError: if ``lr`` is negative or not finite, or ``steps`` is below 1.

    Example:
        >>> schedule = warmup(1.0, steps=4)
        >>> [schedule(step) for step in range(6)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    _check_steps("warmup", steps=steps)
    if callable(lr):
        return lambda step: lr(step) * min(1.0, (step + 1) / steps)
    _check("warmup", lr=lr)
    return lambda step: lr * min(1.0, (step + 1) / steps)


def _check(name: str, **values: float) -> None:
    for key, value in values.items():
        if not (isinstance(value, int | float) and math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}: {key} is a finite number of at least 0, got {value!r}")


def _check_steps(name: str, **values: int) -> None:
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: {key} is a whole number of at least 1, got {value!r}")
