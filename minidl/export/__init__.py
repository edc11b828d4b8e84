"""The way out: a trained model for PyTorch, as source, and for everything that reads ONNX.

It is not loaded by ``import minidl``: write ``from minidl import export``.
"""

from __future__ import annotations

import os

from numpy.typing import ArrayLike

from minidl.export import onnx_file, torch_source
from minidl.export.graph import ExportError
from minidl.export.onnx_file import OnnxFile
from minidl.export.torch_source import TorchModel
from minidl.nn import Module
from minidl.tensor import Tensor

__all__ = ["ExportError", "OnnxFile", "TorchModel", "to_onnx", "to_pytorch"]


def to_pytorch(model: Module, example: ArrayLike | Tensor | None = None) -> TorchModel:
    """Write a model as source of PyTorch, with its weights.

    The source needs PyTorch and nothing else. It has a class for the model and one for each kind of
    module of your own, and ``load(state)``, which makes the model with the weights. The names in
    the state are those of ``model.state_dict()``, and both directions of training go on from it:
    settings that PyTorch has otherwise are written out.

    Args:
        model: a Module.
        example: a batch as the model takes it, (N, ...). With it the forward of a module of one's
            own is followed and written line by line; layers in a Sequential need none.

    Returns:
        The pair ``source, state``: text, and a dict of ndarrays by name.

    Raises:
        TypeError: if the model is no Module, or the example no array.
        ExportError: if a part cannot be written; the message has its name and the remedy.

    Example:
        >>> from minidl import nn
        >>> source, state = to_pytorch(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3), nn.ReLU()))
        >>> print("\\n".join(source.splitlines()[5:11]))
        class Model(nn.Sequential):
            def __init__(self):
                super().__init__(
                    nn.Linear(2, 3),
                    nn.BatchNorm1d(3),
                    nn.ReLU(),
        >>> state["0.weight"].shape
        (3, 2)
    """
    return torch_source.write(model, example)


def to_onnx(model: Module, path: str | os.PathLike[str], example: ArrayLike | Tensor) -> OnnxFile:
    """Write what a model computes in prediction into a file of ONNX, for batches of every size.

    The forward pass is followed call by call, so that a module of one's own can be written too, if
    it is made of functions that ONNX has. BatchNorm uses its running statistics, dropout is gone.
    The model itself is not changed, also not its mode. The file is checked by ``onnx.checker`` and
    tried out by onnxruntime, on the example and on a larger batch, before it is stored.

    The input is called ``x``, the output ``y``, and the constants have the names of
    ``model.state_dict()``. The opset is 20.

    Args:
        model: a Module whose forward takes one array and returns one Tensor.
        path: the file to write; one that is there is replaced.
        example: a batch as the model takes it, (N, ...), of any number of samples.

    Returns:
        Where the file is, the shapes of input and output, and the largest difference found.

    Raises:
        ImportError: without the extra ``onnx``.
        TypeError: if the model is no Module, the path no name, or the example no array.
        OSError: if the file cannot be written.
        ExportError: if the model cannot be written; the message has the function and the line.
    """
    return onnx_file.write(model, path, example)
