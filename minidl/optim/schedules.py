"""Learning rates that change: functions of the number of steps taken, for ``lr=``.

Each class here is a schedule: made with its settings, called with a step (0 for the first), it
returns a learning rate. They are used like functions and hence named like them; as classes they can
be printed, compared, copied and pickled. A function of your own serves just as well:
``lr=lambda step: 0.1 / (1 + step)``.

Without ``steps`` (``cosine(0.1)``), or with a share of them (``warmup(0.1, 0.05)``), a schedule
waits for the number of steps of a run. ``fit`` knows it: the schedule begins where the run does and
spans it. One of your own waits while its ``waits`` is True; ``over(steps)`` then returns what
``fit`` uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from minidl.checks import number, whole_number

Schedule = Callable[[int], float]


class _Spanning:
    """A schedule over ``steps`` steps, or, while they are None, over those of a run."""

    steps: int | None

    @property
    def waits(self) -> bool:
        return self.steps is None

    def over(self, steps: int) -> Any:
        """The schedule for a run of so many steps."""
        return replace(self, steps=steps) if self.waits else self  # type: ignore[type-var]

    def _known_steps(self) -> int:
        if self.steps is None:
            raise _steps_are_unknown(self)
        return self.steps


def _steps_are_unknown(schedule: Any) -> ValueError:
    return ValueError(
        f"{schedule!r} does not know how many steps the run has: train by minidl.fit, which tells "
        f"it, or give it a number of steps, as in steps=1000"
    )


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
class cosine(_Spanning):
    """From ``lr`` to ``final`` along half a cosine over ``steps`` steps, then constant.

    ``final + (lr - final) * (1 + cos(pi * step / steps)) / 2``

    Without ``steps`` it takes the number of steps of a run from ``fit``.

    Raises:
        TypeError: if ``lr`` or ``final`` is no number, or ``steps`` no whole number.
        ValueError: if ``lr`` or ``final`` is negative or not finite, or ``steps`` below 1; when
            called, if ``steps`` is not known.

    Source: Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts.

    Example:
        >>> schedule = cosine(1.0, steps=100)
        >>> schedule(0), round(schedule(50), 3), schedule(100), schedule(200)
        (1.0, 0.5, 0.0, 0.0)
    """

    lr: float
    steps: int | None = None
    final: float = 0.0

    def __post_init__(self) -> None:
        number(self.lr, "cosine: lr", at_least=0)
        if self.steps is not None:
            whole_number(self.steps, "cosine: steps", at_least=1)
        number(self.final, "cosine: final", at_least=0)

    def __call__(self, step: int) -> float:
        steps = self._known_steps()
        share = (1 + math.cos(math.pi * min(step, steps) / steps)) / 2
        return self.final + (self.lr - self.final) * share


@dataclass(frozen=True)
class linear(_Spanning):
    """From ``lr`` to ``final`` on a straight line over ``steps`` steps, then constant.

    ``lr + (final - lr) * step / steps``

    Without ``steps`` it takes the number of steps of a run from ``fit``.

    Raises:
        TypeError: if ``lr`` or ``final`` is no number, or ``steps`` no whole number.
        ValueError: if ``lr`` or ``final`` is negative or not finite, or ``steps`` below 1; when
            called, if ``steps`` is not known.

    Source: Devlin et al., "BERT", 2019, appendix A.2, after a warmup.

    Example:
        >>> schedule = linear(1.0, steps=4)
        >>> [schedule(step) for step in range(6)]
        [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """

    lr: float
    steps: int | None = None
    final: float = 0.0

    def __post_init__(self) -> None:
        number(self.lr, "linear: lr", at_least=0)
        if self.steps is not None:
            whole_number(self.steps, "linear: steps", at_least=1)
        number(self.final, "linear: final", at_least=0)

    def __call__(self, step: int) -> float:
        steps = self._known_steps()
        return self.lr + (self.final - self.lr) * min(step, steps) / steps


@dataclass(frozen=True)
class one_cycle(_Spanning):
    """Up from ``lr / div_factor`` to ``lr``, and down below where it began, along half cosines.

    ``lr`` is reached after the share ``pct_start`` of ``steps`` steps; the last one has the rate
    ``lr / div_factor / final_div_factor``, and so have those after it. Numbers and defaults are
    those of PyTorch's OneCycleLR (which by default also moves the momentum).

    Without ``steps`` it takes the number of steps of a run from ``fit``.

    Raises:
        TypeError: for what is no number, or if ``steps`` is no whole number.
        ValueError: if ``lr`` is negative or not finite, ``steps`` below 1, ``pct_start`` not above
            0 and below 1, a factor below 1; when called, if ``steps`` is not known.

    Source: Smith and Topin, "Super-Convergence", 2018, section 3.

    Example:
        >>> schedule = one_cycle(1.0, steps=100)
        >>> [round(schedule(step), 3) for step in (0, 29, 64, 99)]
        [0.04, 1.0, 0.5, 0.0]
    """

    lr: float
    steps: int | None = None
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        number(self.lr, "one_cycle: lr", at_least=0)
        if self.steps is not None:
            whole_number(self.steps, "one_cycle: steps", at_least=1)
        number(self.pct_start, "one_cycle: pct_start", above=0, below=1)
        number(self.div_factor, "one_cycle: div_factor", at_least=1)
        number(self.final_div_factor, "one_cycle: final_div_factor", at_least=1)

    def __call__(self, step: int) -> float:
        steps, first = self._known_steps(), self.lr / self.div_factor
        top = self.pct_start * steps - 1  # the first step is number 0
        if step < top:
            a, b, share = first, self.lr, step / top
        else:
            a, b = self.lr, first / self.final_div_factor
            share = (min(step, steps - 1) - top) / (steps - 1 - top)
        return b + (a - b) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class warmup:
    """``lr`` reached in equal stages: ``lr * (step + 1) / steps`` for the first ``steps`` steps.

    ``lr`` is a number or another schedule, which keeps its own count of steps. ``steps`` may be a
    share of the run, above 0 and below 1, of which ``fit`` makes a number of steps.

    Raises:
        TypeError: if ``lr`` is no number and no function, or ``steps`` no whole number or share.
        ValueError: if ``lr`` is negative or not finite, or ``steps`` 0 or less; when called, if the
            number of steps is not known.

    Source: Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 2.2, gradual warmup.

    Example:
        >>> schedule = warmup(1.0, steps=4)
        >>> [schedule(step) for step in range(6)]
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    lr: float | Schedule
    steps: float  # a whole number, or a share

    def __post_init__(self) -> None:
        if not callable(self.lr):
            number(self.lr, "warmup: lr", at_least=0)
        if not self.of_a_run:
            whole_number(self.steps, "warmup: steps", at_least=1)

    @property
    def of_a_run(self) -> bool:
        """Whether ``steps`` is a share."""
        return isinstance(self.steps, float) and 0 < self.steps < 1

    @property
    def waits(self) -> bool:
        return self.of_a_run or getattr(self.lr, "waits", False)

    def over(self, steps: int) -> warmup:
        inner: Any = self.lr
        lr = inner.over(steps) if getattr(inner, "waits", False) else inner
        own = max(1, round(self.steps * steps)) if self.of_a_run else self.steps
        return warmup(lr, own)

    def __call__(self, step: int) -> float:
        if self.of_a_run:
            raise _steps_are_unknown(self)
        lr = self.lr(step) if callable(self.lr) else self.lr
        return lr * min(1.0, (step + 1) / self.steps)
