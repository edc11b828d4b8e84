"""Optimizers: the five rules of the lecture, AdamW, the base class for your own, and schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidl.optim import schedules
from minidl.optim.adamw import AdamW
from minidl.optim.clipping import clip_grad_norm
from minidl.optim.optimizer import Optimizer
from minidl.optim.rules import SGD, Adagrad, Adam, Momentum, RMSProp

if TYPE_CHECKING:
    from minidl.training.lr_range import lr_range

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Momentum",
    "Optimizer",
    "RMSProp",
    "clip_grad_norm",
    "lr_range",
    "schedules",
]


def __getattr__(name: str) -> Any:
    if name == "lr_range":  # it trains, for which optimizers must be there first
        from minidl.training.lr_range import lr_range

        return lr_range
    raise AttributeError(f"module 'minidl.optim' has no attribute {name!r}")
