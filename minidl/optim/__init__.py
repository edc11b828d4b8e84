"""Optimizers: the five rules of the lecture, AdamW, the base class for your own, and schedules."""

from minidl.optim import schedules
from minidl.optim.adamw import AdamW
from minidl.optim.clipping import clip_grad_norm
from minidl.optim.optimizer import Optimizer
from minidl.optim.rules import SGD, Adagrad, Adam, Momentum, RMSProp

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Momentum",
    "Optimizer",
    "RMSProp",
    "clip_grad_norm",
    "schedules",
]
