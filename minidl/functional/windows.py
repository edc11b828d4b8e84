"""Where windows stand on an image: what convolution and pooling have in common.

A window of kh times kw pixels, its *taps*, is moved over an image of H times W pixels, and each of
its places gives one pixel of the result. Everything here is counting. The arithmetic of windows
stands in convolution.py and pooling.py.

Inside, images have the batch as their last axis: (C, H, W, N). A tap of all windows in a row of
pixels is then one stretch of W * N numbers in memory, which NumPy takes at full speed, where a row
of (N, C, H, W) has W numbers. The user sees (N, C, H, W): the axes are only named anew.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.checks import whole_number

Pair = tuple[int, int]
Slices = tuple[slice, slice]


@dataclass(frozen=True)
class Windows:
    """The places of windows on images.

    Pixel (p, q) of the result and tap (i, j) meet at the pixel
    ``(p * stride + i * dilation - padding, q * stride + j * dilation - padding)`` of the image,
    with a stride, dilation and padding of its own for each of the two axes.
    """

    size: Pair  # H, W
    kernel: Pair  # kh, kw
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1  # of channels, for convolution

    @functools.cached_property
    def reach(self) -> Pair:
        """How many pixels a window spans, dilated."""
        (kh, kw), (a, b) = self.kernel, self.dilation
        return (kh - 1) * a + 1, (kw - 1) * b + 1

    @functools.cached_property
    def out(self) -> Pair:
        """How many places there are: the size of the result."""
        h, w = (
            (n + 2 * p - r) // s + 1
            for n, p, r, s in zip(self.size, self.padding, self.reach, self.stride, strict=True)
        )
        return h, w

    @property
    def apart(self) -> bool:
        """Whether no pixel is in two windows."""
        return self.reach[0] <= self.stride[0] and self.reach[1] <= self.stride[1]

    def taps(
        self, first: int = 0, last: int | None = None
    ) -> Iterator[tuple[Pair, Slices, Slices]]:
        """Each tap, the part of the result where it lies on the image and not on the padding, and
        the pixels of the image that it meets there. A tap that only meets padding is left out.

        With ``first`` and ``last`` only these rows of the result, counted from ``first``.
        """
        (h, w), (oh, ow), (kh, kw) = self.size, self.out, self.kernel
        (s, t), (p, q), (a, b) = self.stride, self.padding, self.dilation
        columns = [_met(j * b - q, t, w, 0, ow) for j in range(kw)]
        for i in range(kh):
            there, here = _met(i * a - p, s, h, first, oh if last is None else last)
            for j, (across, pixels) in enumerate(columns):
                if there.start < there.stop and across.start < across.stop:
                    yield (i, j), (there, across), (here, pixels)


def _met(offset: int, stride: int, n: int, first: int, last: int) -> tuple[slice, slice]:
    """The places from ``first`` to ``last`` at which ``place * stride + offset`` is one of n
    pixels, counted from ``first``, and these pixels."""
    low = max(first, -(offset // stride))  # rounded up
    high = max(low, min(last, (n - 1 - offset) // stride + 1))
    start = low * stride + offset
    stop = start + (high - 1 - low) * stride + 1
    return slice(low - first, high - first), slice(start, stop, stride if stride > 1 else None)


@functools.lru_cache(maxsize=256, typed=True)
def windows(
    where: str,
    size: Pair,
    kernel: Any,
    stride: Any,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Windows:
    """The windows that a function of that name was asked for.

    Raises:
        TypeError: if a setting is no whole number and no pair of them.
        ValueError: if one is too small, or the kernel larger than the padded image.
    """
    at = Windows(
        size,
        pair(kernel, f"{where}: kernel_size", 1),
        pair(stride, f"{where}: stride", 1),
        pair(padding, f"{where}: padding", 0),
        pair(dilation, f"{where}: dilation", 1),
        groups,
    )
    for axis, n, k, r, p in zip(
        ("height", "width"), at.size, at.kernel, at.reach, at.padding, strict=True
    ):
        if r > n + 2 * p:
            spread = "" if r == k else f", which spans {r} with its dilation,"
            raise ValueError(
                f"{where}: kernel {k}{spread} is larger than the padded input {n + 2 * p} "
                f"({axis} {n}, padding {p} on both sides): use a smaller kernel, more padding or "
                f"larger images"
            )
    return at


def pair(value: Any, name: str, at_least: int) -> Pair:
    """A setting for height and width: one number for both, or a pair of numbers.

    Example:
        >>> pair(3, "conv2d: stride", 1), pair((1, 2), "conv2d: stride", 1)
        ((3, 3), (1, 2))
    """
    if isinstance(value, tuple | list) and len(value) == 2:
        a, b = value
        return whole_number(a, name, at_least), whole_number(b, name, at_least)
    if isinstance(value, str | tuple | list):
        raise TypeError(f"{name} is a whole number, or a pair of them, got {value!r}")
    n = whole_number(value, name, at_least)
    return n, n


def hashable(value: Any) -> Any:
    """A setting as :func:`windows` can remember it: a list or an array as a tuple."""
    return tuple(value) if isinstance(value, list | np.ndarray) and np.ndim(value) else value


def check_images(where: str, shape: tuple[int, ...]) -> None:
    """Raise unless it is the shape of images."""
    if len(shape) != 4:
        hint = {
            2: ": images that were flattened get their axes back with x.reshape(-1, C, H, W)",
            3: ": one image (C, H, W) is x[None], images of one channel (N, H, W) are x[:, None]",
        }.get(len(shape), "")
        raise ValueError(f"{where}: x has shape {shape}, expected (N, C, H, W){hint}")


def batch_last(x: Array) -> Array:
    """Images (N, C, H, W) as (C, H, W, N), the numbers in this order in memory."""
    y = x.transpose(1, 2, 3, 0)
    return y if y.flags.c_contiguous else y.copy()


def batch_first(x: Array) -> Array:
    """Images (C, H, W, N) as (N, C, H, W), without moving a number."""
    return x.transpose(3, 0, 1, 2)


def padded(x: Array, at: Windows) -> Array:
    """Images (N, C, H, W) as (C, H + 2p, W + 2q, N), with zeros around them."""
    (h, w), (p, q) = at.size, at.padding
    if not (p or q):
        return batch_last(x)
    n, c = x.shape[:2]
    y = np.zeros_like(x, shape=(c, h + 2 * p, w + 2 * q, n), order="C")
    y[:, p : p + h, q : q + w] = x.transpose(1, 2, 3, 0)
    return y
