"""Pooling: the largest, or the mean, of each window of an image.

All of it is a loop over the taps of a window, which takes a tap of all windows at once. Both pools
are linear where they have a derivative, the one in pixels that do not change while it is taken. So
the derivative of each function here is its transpose, and the derivative of that the function.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from minidl.arrays import Array
from minidl.functional.windows import (
    Windows,
    batch_first,
    batch_last,
    check_images,
    hashable,
    windows,
)
from minidl.protocols import plain
from minidl.table import vjp
from minidl.tensor import Tensor, differentiable

T = TypeVar("T", Tensor, Array)


# --- The largest ----------------------------------------------------------------------------------


@differentiable
def max_pool(x: Array, at: Windows) -> Array:
    """The largest of each window: (N, C, H, W) to (N, C, P, Q)."""
    x = batch_last(x)
    y = np.full_like(x, -np.inf, shape=(len(x), *at.out, x.shape[3]))
    for _, places, pixels in at.taps():
        part = y[:, *places]
        np.maximum(part, x[:, *pixels], out=part)
    return batch_first(y)


@differentiable
def max_pool_x(d: Array, x: Array, top: Array, at: Windows) -> Array:
    """What is given to each window goes to its largest pixels, in equal shares.

    ``top`` is the largest of each window of x.
    """
    d, x, top = batch_last(d), batch_last(x), batch_last(top)
    largest, n = _largest(x, top, at)
    share = d / n
    y = np.zeros_like(share, shape=x.shape)
    for (_, places, pixels), here in zip(at.taps(), largest, strict=True):
        if at.apart:  # each pixel is in one window at most
            np.multiply(share[:, *places], here, out=y[:, *pixels])
        else:
            y[:, *pixels] += share[:, *places] * here
    return batch_first(y)


@differentiable
def max_pool_d(v: Array, x: Array, top: Array, at: Windows) -> Array:
    """The mean of v over the largest pixels of each window of x: the transpose of the above."""
    v, x, top = batch_last(v), batch_last(x), batch_last(top)
    largest, n = _largest(x, top, at)
    y = np.zeros_like(v, shape=top.shape)
    for (_, places, pixels), here in zip(at.taps(), largest, strict=True):
        y[:, *places] += v[:, *pixels] * here
    return batch_first(y / n)


def _largest(x: Array, top: Array, at: Windows) -> tuple[list[Array], Array]:
    """For each tap, whether it is the largest of its window; and how many of a window are."""
    largest = []
    n = np.zeros_like(top, dtype=np.uint8)
    for _, places, pixels in at.taps():
        here = x[:, *pixels] == top[:, *places]
        n[:, *places] += here.view(np.uint8)
        largest.append(here)
    if at.kernel[0] * at.kernel[1] < 256:  # bytes can count them
        return largest, n
    counts = np.zeros_like(top)
    for (_, places, _), here in zip(at.taps(), largest, strict=True):
        counts[:, *places] += here
    return largest, counts


vjp(max_pool, "x at", x=lambda g, x, y, at: max_pool_x(g, plain(x), plain(y), at))
vjp(max_pool_x, "d x top at", d=lambda g, x, top, at: max_pool_d(g, x, top, at))
vjp(max_pool_d, "v x top at", v=lambda g, x, top, at: max_pool_x(g, x, top, at))


# --- The mean -------------------------------------------------------------------------------------


@differentiable
def avg_pool(x: Array, at: Windows) -> Array:
    """The mean of each window: (N, C, H, W) to (N, C, P, Q)."""
    dtype, x = x.dtype, batch_last(_wide(x))
    y = np.zeros_like(x, shape=(len(x), *at.out, x.shape[3]))
    for _, places, pixels in at.taps():
        y[:, *places] += x[:, *pixels]
    y *= 1 / (at.kernel[0] * at.kernel[1])
    return batch_first(y).astype(dtype, copy=False)


@differentiable
def avg_pool_x(d: Array, at: Windows) -> Array:
    """What is given to each window goes to all of its pixels, in equal shares."""
    dtype, d = d.dtype, batch_last(_wide(d))
    d = d * (1 / (at.kernel[0] * at.kernel[1]))
    y = np.zeros_like(d, shape=(len(d), *at.size, d.shape[3]))
    for _, places, pixels in at.taps():
        y[:, *pixels] += d[:, *places]
    return batch_first(y).astype(dtype, copy=False)


vjp(avg_pool, "x at", x=lambda g, at: avg_pool_x(g, at))
vjp(avg_pool_x, "d at", d=lambda g, at: avg_pool(g, at))


def _wide(x: Array) -> Array:
    """In the dtype of sums, float32 at least."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 else x


# --- What people call -----------------------------------------------------------------------------


def max_pool2d(
    x: T,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
) -> T:
    """The largest pixel of each window, channel by channel.

    Where several pixels of a window are the largest, they share the gradient equally, as in
    ``np.max``. (PyTorch gives it all to the first of them.) Padding counts as -inf.

    Args:
        x: shape (N, C, H, W).
        kernel_size: the size of a window; a number, or one each for height and width.
        stride: how many pixels a window moves, likewise; None for the kernel size.
        padding: how many pixels are put on each side, likewise; at most half of the kernel.
        dilation: how many pixels from tap to tap, likewise.

    Returns:
        Shape (N, C, P, Q), with ``P = (H + 2*padding - dilation*(kh - 1) - 1) // stride + 1``, and
        Q likewise.

    Raises:
        TypeError: if an option is no whole number and no pair of them.
        ValueError: if ``x`` has other axes, the kernel is larger than the padded images, or the
            padding larger than half of the kernel.

    Example:
        >>> max_pool2d(Tensor([[[[1.0, 2.0, 5.0, 3.0]]]]), (1, 2))
        Tensor([[[[2., 5.]]]])
    """
    x, at = _taken("max_pool2d", x, kernel_size, stride, padding, dilation)
    return max_pool(x, at)  # type: ignore[return-value,arg-type]


def avg_pool2d(
    x: T,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
) -> T:
    """The mean of each window, channel by channel; padding counts as zeros.

    Args:
        x: shape (N, C, H, W).
        kernel_size: the size of a window; a number, or one each for height and width.
        stride: how many pixels a window moves, likewise; None for the kernel size.
        padding: how many zeros are put on each side, likewise; at most half of the kernel.

    Returns:
        Shape (N, C, P, Q), with ``P = (H + 2*padding - kh) // stride + 1``, and Q likewise.

    Raises:
        TypeError: if an option is no whole number and no pair of them.
        ValueError: if ``x`` has other axes, the kernel is larger than the padded images, or the
            padding larger than half of the kernel.

    Example:
        >>> avg_pool2d(Tensor([[[[1.0, 2.0, 5.0, 3.0]]]]), (1, 2))
        Tensor([[[[1.5, 4. ]]]])
    """
    x, at = _taken("avg_pool2d", x, kernel_size, stride, padding, 1)
    return avg_pool(x, at)  # type: ignore[return-value,arg-type]


def _taken(
    where: str, x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[Any, Windows]:
    """Images of floats, and the windows on them."""
    check_images(where, x.shape)
    x = x if x.dtype.kind == "f" else x.astype(np.float32)
    kernel = hashable(kernel)
    stride = kernel if stride is None else hashable(stride)
    at = windows(where, x.shape[2:], kernel, stride, hashable(padding), hashable(dilation))
    if at.padding[0] * 2 > at.kernel[0] or at.padding[1] * 2 > at.kernel[1]:
        raise ValueError(
            f"{where}: padding {at.padding} is larger than half of the kernel {at.kernel}: windows "
            f"would stand outside the image"
        )
    return x, at
