"""Schedules that wait for the number of steps: ``fit`` knows it, and tells them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from minidl.optim import Optimizer
from minidl.optim.schedules import Schedule


@dataclass(frozen=True)
class Planned:
    """A schedule for the steps of one run, which begins after ``start`` of the optimizer's."""

    schedule: Schedule
    start: int

    def __call__(self, step: int) -> float:
        return self.schedule(step - self.start)


def waiting(optimizer: Optimizer) -> list[tuple[Any, Any]]:
    """The groups whose schedule waits for the number of steps, with it."""
    rates = [(group, group["lr"]) for group in optimizer.groups]
    return [(group, lr) for group, lr in rates if getattr(lr, "waits", False)]


@contextmanager
def steps_known(optimizer: Optimizer, steps: int, start: int) -> Iterator[None]:
    """Within it, schedules that wait are for so many steps; afterwards they wait for the next run.

    Otherwise a second run would go on at the end of the first one's schedule, often at rate 0.
    """
    plans = [(group, lr, Planned(lr.over(steps), start)) for group, lr in waiting(optimizer)]
    try:
        for group, _, plan in plans:
            group["lr"] = plan
        yield
    finally:
        for group, lr, plan in plans:
            if group["lr"] is plan:  # and was not set to something else meanwhile
                group["lr"] = lr
