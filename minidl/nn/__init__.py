"""Modules: layers, losses, initial weights, and the base class for your own."""

from minidl.nn import init
from minidl.nn.activations import GELU, LeakyReLU, Sigmoid, Softmax, Tanh
from minidl.nn.elementwise_losses import BCEWithLogitsLoss, HuberLoss, L1Loss, MSELoss
from minidl.nn.embedding import Embedding
from minidl.nn.layer_norm import LayerNorm
from minidl.nn.layers import BatchNorm, Linear, ReLU
from minidl.nn.lists import ModuleDict, ModuleList
from minidl.nn.losses import CrossEntropyLoss
from minidl.nn.module import Module, Sequential
from minidl.nn.parameter import Parameter
from minidl.nn.regularization import Dropout
from minidl.nn.shapes import Flatten

# Images
from minidl.nn.images import AvgPool2d, Conv2d, ConvTranspose2d, MaxPool2d  # isort: skip

# A model as plain data
from minidl.nn.architecture import build, describe  # isort: skip

__all__ = [
    "GELU",
    "BCEWithLogitsLoss",
    "BatchNorm",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "HuberLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "MSELoss",
    "Module",
    "ModuleDict",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "init",
]

__all__ += ["AvgPool2d", "Conv2d", "ConvTranspose2d", "MaxPool2d"]
__all__ += ["build", "describe"]
