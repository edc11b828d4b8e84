"""Optimizers: the five rules of the lecture, the base class for further ones, and schedules."""

from minidl.optim import schedules
from minidl.optim.clipping import clip_grad_norm
from minidl.optim.optimizer import Optimizer
from minidl.optim.rules import SGD, Adagrad, Adam, Momentum, RMSProp

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "Momentum",
    "Optimizer",
    "RMSProp",
    "clip_grad_norm",
    "schedules",
]
