"""Modules: layers, losses, initial weights, and the base class for your own."""

from minidl.nn import init
from minidl.nn.activations import GELU, LeakyReLU, Sigmoid, Tanh
from minidl.nn.elementwise_losses import BCEWithLogitsLoss, HuberLoss, L1Loss, MSELoss
from minidl.nn.layers import BatchNorm, Linear, ReLU
from minidl.nn.losses import CrossEntropyLoss
from minidl.nn.module import Module, Sequential
from minidl.nn.parameter import Parameter
from minidl.nn.regularization import Dropout
from minidl.nn.shapes import Flatten

# Images
from minidl.nn.images import AvgPool2d, Conv2d, ConvTranspose2d, MaxPool2d  # isort: skip

__all__ = [
    "GELU",
    "BCEWithLogitsLoss",
    "BatchNorm",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "HuberLoss",
    "L1Loss",
    "LeakyReLU",
    "Linear",
    "MSELoss",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "init",
]

__all__ += ["AvgPool2d", "Conv2d", "ConvTranspose2d", "MaxPool2d"]
