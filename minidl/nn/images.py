"""The layers of a network for images: convolution, its transpose, and pooling.

Each keeps parameters and settings, and calls its function of ``functional``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minidl import functional as F
from minidl.arrays import Array
from minidl.checks import whole_number
from minidl.functional.windows import Pair, pair
from minidl.nn.init import Initializer, initial
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter
from minidl.rng import RNG
from minidl.tensor import Tensor


class Conv2d(Module):
    """Filters that are moved over images; see :func:`minidl.functional.conv2d`.

    Args:
        in_channels: C, the channels of the input.
        out_channels: O, the channels of the output: how many filters there are.
        kernel_size: the size of a filter; a number, or one each for height and width.
        stride: how many pixels a filter moves, likewise.
        padding: how many zeros on each side, likewise; ``kernel_size // 2`` keeps the size of
            images where the kernel is odd and the stride 1.
        dilation: how many pixels from tap to tap, likewise.
        groups: into how many groups the channels are divided, each with filters of its own.
        bias: whether there is a bias, which starts at zero; before BatchNorm it has no effect.
        init: the initial weights, a name or a function of ``nn.init``; He's for layers before ReLU.
        rng: a seed, a generator, or None for minidl's own.
        dtype: of the parameters.

    Attributes:
        weight: shape (O, C / groups, kh, kw).
        bias: shape (O,), or None.

    Raises:
        TypeError: if an argument is no whole number and no pair of them.
        ValueError: if one is too small, ``groups`` does not divide the channels, or ``init`` is not
            known or returns another shape.

    Example:
        >>> Conv2d(3, 8, 5, padding=2)(np.ones((4, 3, 32, 32), np.float32)).shape
        (4, 8, 32, 32)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        init: str | Initializer = "he_normal",
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        c, o, kernel, self.groups = _checked(
            "Conv2d", in_channels, out_channels, kernel_size, groups
        )
        self.stride = pair(stride, "Conv2d: stride", 1)
        self.padding = pair(padding, "Conv2d: padding", 0)
        self.dilation = pair(dilation, "Conv2d: dilation", 1)
        weight = initial("Conv2d", init, (o, c // self.groups, *kernel), rng, dtype)
        self.weight = Parameter(weight)
        self.bias = Parameter(np.zeros(o, dtype)) if bias else None

    def forward(self, x: Tensor | Array) -> Tensor:
        return F.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        o, c, *kernel = self.weight.shape
        return _settings(c * self.groups, o, kernel, self)


class ConvTranspose2d(Module):
    """The transpose of a :class:`Conv2d`, from small images to large ones; see
    :func:`minidl.functional.conv_transpose2d`.

    Args:
        in_channels: C, the channels of the input.
        out_channels: O, the channels of the output.
        kernel_size, stride, padding, dilation: those of the ``Conv2d`` that makes C channels of O.
        output_padding: how many rows and columns more the result has, at its end.
        groups: into how many groups the channels are divided, each with filters of its own.
        bias: whether there is a bias, which starts at zero.
        init: the initial weights, a name or a function of ``nn.init``, which is asked for
            (O, C / groups, kh, kw), so that the fan-in is that of a pixel of the result.
        rng: a seed, a generator, or None for minidl's own.
        dtype: of the parameters.

    Attributes:
        weight: shape (C, O / groups, kh, kw).
        bias: shape (O,), or None.

    Raises:
        TypeError: if an argument is no whole number and no pair of them.
        ValueError: if one is too small, ``groups`` does not divide the channels, or ``init`` is not
            known or returns another shape.

    Example:
        >>> ConvTranspose2d(8, 3, 2, stride=2)(np.ones((4, 8, 16, 16), np.float32)).shape
        (4, 3, 32, 32)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        output_padding: int | Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Pair = 1,
        init: str | Initializer = "he_normal",
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        where = "ConvTranspose2d"
        c, o, kernel, g = _checked(where, in_channels, out_channels, kernel_size, groups)
        self.groups = g
        self.stride = pair(stride, f"{where}: stride", 1)
        self.padding = pair(padding, f"{where}: padding", 0)
        self.dilation = pair(dilation, f"{where}: dilation", 1)
        self.output_padding = pair(output_padding, f"{where}: output_padding", 0)
        weight = initial(where, init, (o, c // g, *kernel), rng, dtype)
        weight = weight.reshape(g, o // g, c // g, *kernel).transpose(0, 2, 1, 3, 4)
        self.weight = Parameter(weight.reshape(c, o // g, *kernel))
        self.bias = Parameter(np.zeros(o, dtype)) if bias else None

    def forward(self, x: Tensor | Array) -> Tensor:
        return F.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups,
            self.dilation,
        )  # fmt: skip

    def extra_repr(self) -> str:
        c, o, *kernel = self.weight.shape
        return _settings(c, o * self.groups, kernel, self)


class MaxPool2d(Module):
    """The largest pixel of each window; see :func:`minidl.functional.max_pool2d`.

    Args:
        kernel_size: the size of a window; a number, or one each for height and width.
        stride: how many pixels a window moves, likewise; None for the kernel size.
        padding: how many pixels of -inf are put on each side, likewise; at most half of the kernel.
        dilation: how many pixels from tap to tap, likewise.

    Raises:
        TypeError: if an argument is no whole number and no pair of them.
        ValueError: if one is too small.

    Example:
        >>> MaxPool2d(2)(np.ones((4, 8, 32, 32), np.float32)).shape
        (4, 8, 16, 16)
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        dilation: int | Pair = 1,
    ) -> None:
        self.kernel_size = pair(kernel_size, "MaxPool2d: kernel_size", 1)
        self.stride = self.kernel_size if stride is None else pair(stride, "MaxPool2d: stride", 1)
        self.padding = pair(padding, "MaxPool2d: padding", 0)
        self.dilation = pair(dilation, "MaxPool2d: dilation", 1)

    def forward(self, x: Any) -> Any:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        return _pool_settings(self)


class AvgPool2d(Module):
    """The mean of each window; see :func:`minidl.functional.avg_pool2d`.

    Args:
        kernel_size: the size of a window; a number, or one each for height and width.
        stride: how many pixels a window moves, likewise; None for the kernel size.
        padding: how many zeros are put on each side, likewise; at most half of the kernel.

    Raises:
        TypeError: if an argument is no whole number and no pair of them.
        ValueError: if one is too small.

    Example:
        >>> AvgPool2d(8)(np.ones((4, 64, 8, 8), np.float32)).shape
        (4, 64, 1, 1)
    """

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
    ) -> None:
        self.kernel_size = pair(kernel_size, "AvgPool2d: kernel_size", 1)
        self.stride = self.kernel_size if stride is None else pair(stride, "AvgPool2d: stride", 1)
        self.padding = pair(padding, "AvgPool2d: padding", 0)

    def forward(self, x: Any) -> Any:
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return _pool_settings(self)


# --- What the layers share ------------------------------------------------------------------------


def _checked(where: str, c: Any, o: Any, kernel: Any, groups: Any) -> tuple[int, int, Pair, int]:
    """The channels in and out, the size of a filter and the groups, once they are sure to fit."""
    c = whole_number(c, f"{where}: in_channels", at_least=1)
    o = whole_number(o, f"{where}: out_channels", at_least=1)
    groups = whole_number(groups, f"{where}: groups", at_least=1)
    if c % groups or o % groups:
        raise ValueError(
            f"{where}: {c} channels in and {o} out cannot both be divided into {groups} groups"
        )
    return c, o, pair(kernel, f"{where}: kernel_size", 1), groups


def _short(value: Any) -> str:
    """A pair as people write it: (3, 3) is 3."""
    a, b = value
    return str(a) if a == b else f"({a}, {b})"


def _settings(c: int, o: int, kernel: Any, layer: Any) -> str:
    text = f"{c}, {o}, {_short(kernel)}"
    for name, default in (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1)):
        value = getattr(layer, name, (default, default))
        text += "" if value == (default, default) else f", {name}={_short(value)}"
    text += "" if layer.groups == 1 else f", groups={layer.groups}"
    return text + ("" if layer.bias is not None else ", bias=False")


def _pool_settings(layer: Any) -> str:
    text = _short(layer.kernel_size)
    text += "" if layer.stride == layer.kernel_size else f", stride={_short(layer.stride)}"
    for name, default in (("padding", 0), ("dilation", 1)):
        value = getattr(layer, name, (default, default))
        text += "" if value == (default, default) else f", {name}={_short(value)}"
    return text
