"""What ``fit``, ``evaluate``, ``predict`` and ``compile`` ask of the parts that they are given."""

from __future__ import annotations

from typing import Any

from minidl.nn import Module
from minidl.optim import Optimizer


def check_parts(caller: str, model: Any, loss: Any = len, *optimizer: Any) -> None:
    """Raise a TypeError for what is no Module, no function, or no Optimizer."""
    if not isinstance(model, Module):
        raise TypeError(f"{caller}: model is a Module, such as nn.Linear(4, 3), got {_told(model)}")
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(
            f"{caller}: loss is a function of predictions and targets, such as "
            f"nn.CrossEntropyLoss() (with brackets), got {_told(loss)}"
        )
    if not all(isinstance(one, Optimizer) for one in optimizer):
        raise TypeError(
            f"{caller}: optimizer is an Optimizer, such as optim.Adam(model.parameters()), "
            f"got {_told(optimizer[0])}"
        )


def _told(value: Any) -> str:
    """What came, in a line: of data, which fill pages, what they are."""
    text = repr(value)
    return text if len(text) <= 100 and "\n" not in text else f"a {type(value).__name__}"
