"""Convolution, its two gradients, and how each is the derivative of the others.

For images x, filters w and something d of the shape of the result,

    L(d, x, w) = sum of  d[n, o, p, q] * x[n, c, p + i, q + j] * w[o, c, i, j]  over all indices

is linear in each of the three. What stands beside d is the convolution of x and w: the derivative
of L by d. Its derivatives by x and by w are what gradients go back through. A derivative of one of
the three is again one of the three, so that two lines of rules for each are all there is to say,
for derivatives of every order. See docs/convolution.md.

Each is computed as one product of matrices (im2col): the pixels under the taps of all windows are
the columns of a matrix, a row for each tap, which are made a few rows of pixels at a time, used
while they are in the cache, and not kept.

In shapes: N images, C channels of x, O of the result, H, W pixels of x, P, Q of the result, kh, kw
taps, G groups, K = C / G * kh * kw.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.checks import whole_number
from minidl.functional.linear import in_dtype_of
from minidl.functional.windows import (
    Windows,
    batch_first,
    batch_last,
    check_images,
    hashable,
    padded,
    pair,
    windows,
)
from minidl.table import vjp
from minidl.tensor import Tensor, apply, differentiable

BLOCK = 2**19
"""How many elements of the columns are made at a time: they stay in the processor's cache."""


# --- The three functions --------------------------------------------------------------------------


@differentiable
def conv(x: Array, w: Array, at: Windows) -> Array:
    """The derivative of L by d: x (N, C, H, W) and w (O, C / G, kh, kw) to (N, O, P, Q)."""
    x, w, dtype = _wide(x, w)
    m = _as_matrices(w, at)  # (G, O / G, K)
    y = np.empty_like(x, shape=(*m.shape[:2], at.out[0] * at.out[1] * len(x)))
    for pixels, columns in _columns(x, at):
        np.matmul(m, columns, out=y[:, :, pixels])
    y = y.reshape(len(w), *at.out, len(x))  # (O, P, Q, N)
    return batch_first(y).astype(dtype, copy=False)


@differentiable
def conv_x(d: Array, w: Array, at: Windows) -> Array:
    """The derivative of L by x: d (N, O, P, Q) and w (O, C / G, kh, kw) to (N, C, H, W)."""
    d, w, dtype = _wide(d, w)
    m = _as_matrices(w, at).mT  # (G, K, O / G)
    n, c = len(d), w.shape[1] * at.groups
    d = batch_last(d).reshape(at.groups, len(w) // at.groups, -1)  # (G, O / G, P * Q * N)
    x = np.zeros_like(d, shape=(c, *at.size, n))
    for first, last in _blocks(m.shape[1] * at.groups, at, n):
        row = at.out[1] * n
        columns = np.matmul(m, d[:, :, first * row : last * row])
        columns = columns.reshape(c, *at.kernel, last - first, at.out[1], n)
        for (i, j), (there, across), (here, pixels) in at.taps(first, last):
            x[:, here, pixels] += columns[:, i, j, there, across]
    return batch_first(x).astype(dtype, copy=False)


@differentiable
def conv_w(d: Array, x: Array, at: Windows) -> Array:
    """The derivative of L by w: d (N, O, P, Q) and x (N, C, H, W) to (O, C / G, kh, kw)."""
    d, x, dtype = _wide(d, x)
    o, c = d.shape[1], x.shape[1] // at.groups
    d = batch_last(d).reshape(at.groups, o // at.groups, -1)  # (G, O / G, P * Q * N)
    w = np.zeros_like(d, shape=(at.groups, o // at.groups, c * at.kernel[0] * at.kernel[1]))
    for pixels, columns in _columns(x, at):
        w += np.matmul(d[:, :, pixels], columns.mT)
    return w.reshape(o, c, *at.kernel).astype(dtype, copy=False)


vjp(conv, "x w at", x=lambda g, w, at: conv_x(g, w, at), w=lambda g, x, at: conv_w(g, x, at))
vjp(conv_x, "d w at", d=lambda g, w, at: conv(g, w, at), w=lambda g, d, at: conv_w(d, g, at))
vjp(conv_w, "d x at", d=lambda g, x, at: conv(x, g, at), x=lambda g, d, at: conv_x(d, g, at))


# --- Columns --------------------------------------------------------------------------------------


def _columns(x: Array, at: Windows) -> Iterator[tuple[slice, Array]]:
    """The pixels of x under each tap of the windows, (G, K, pixels), some rows of the result at a
    time, and which pixels of the result these are."""
    (s, t), (a, b), n = at.stride, at.dilation, len(x)
    ow, c = at.out[1], x.shape[1]
    x = padded(x, at)
    v = np.lib.stride_tricks.sliding_window_view(x, at.reach, (1, 2))
    v = v[:, ::s, ::t, :, ::a, ::b].transpose(0, 4, 5, 1, 2, 3)  # (C, kh, kw, P, Q, N), no copy
    taps = at.kernel[0] * at.kernel[1]
    for first, last in _blocks(c * taps, at, n):
        pixels = slice(first * ow * n, last * ow * n)
        size = (last - first) * ow * n
        yield pixels, v[:, :, :, first:last].reshape(at.groups, c // at.groups * taps, size)


def _blocks(rows: int, at: Windows, n: int) -> Iterator[tuple[int, int]]:
    """Rows of the result from one to another, whose columns are about BLOCK elements."""
    oh, ow = at.out
    step = max(1, BLOCK // max(1, rows * ow * n))
    for first in range(0, oh, step):
        yield first, min(first + step, oh)


def _as_matrices(w: Array, at: Windows) -> Array:
    """Filters as a matrix for each group: (G, O / G, K)."""
    o, c, kh, kw = w.shape
    return w.reshape(at.groups, o // at.groups, c * kh * kw)


def _wide(a: Array, b: Array) -> tuple[Array, Array, Any]:
    """Two arrays in the dtype of the sums, float32 at least, and the dtype of the result."""
    dtype = np.result_type(a, b)
    sums = np.dtype(np.float32) if dtype.itemsize == 2 else dtype
    return a.astype(sums, copy=False), b.astype(sums, copy=False), dtype


# --- What people call -----------------------------------------------------------------------------


def conv2d(
    x: Tensor | Array,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """Move filters over images: each pixel of the result is a weighted sum of those in a window.

    ``y[n, o, p, q] = bias[o] + sum of weight[o, c, i, j] * x[n, c, p*stride + i*dilation - padding,
    q*stride + j*dilation - padding]`` over c, i, j, with x zero outside.

    Args:
        x: shape (N, C, H, W). An array, or a Tensor that needs no gradient, is taken in the dtype
            of the weight.
        weight: shape (O, C / groups, kh, kw): a filter for each output channel.
        bias: shape (O,), or None.
        stride: how many pixels a window moves; a number, or one each for height and width.
        padding: how many zeros on each side; likewise.
        dilation: how many pixels from tap to tap; likewise.
        groups: into how many groups the channels are divided, each with filters of its own.

    Returns:
        Shape (N, O, P, Q), with ``P = (H + 2*padding - dilation*(kh - 1) - 1) // stride + 1``, and
        Q likewise.

    Raises:
        TypeError: if an option is no whole number and no pair of them.
        ValueError: if shapes do not fit, or the kernel is larger than the padded images.

    Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998. Like
    there and everywhere in this field the filter is not turned around: it is a cross-correlation.

    Example:
        >>> x = Tensor([[[[1.0, 2.0, 4.0]]]])
        >>> conv2d(x, Tensor([[[[-1.0, 1.0]]]]))
        Tensor([[[[1., 2.]]]])
    """
    groups = whole_number(groups, "conv2d: groups", 1)
    x = in_dtype_of(weight, x)
    _check("conv2d", x.shape, weight.shape, bias, groups)
    stride, padding, dilation = hashable(stride), hashable(padding), hashable(dilation)
    at = windows("conv2d", x.shape[2:], weight.shape[2:], stride, padding, dilation, groups)
    y = apply(conv, x, weight, at)
    return y if bias is None else y + bias.reshape(-1, 1, 1)


def conv_transpose2d(
    x: Tensor | Array,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    output_padding: int | tuple[int, int] = 0,
    groups: int = 1,
    dilation: int | tuple[int, int] = 1,
) -> Tensor:
    """The transpose of :func:`conv2d`: each pixel adds its multiple of a filter to the result.

    It is the gradient of ``conv2d`` in its input, and so makes large images of small ones.

    Args:
        x: shape (N, C, H, W), taken as :func:`conv2d` takes it.
        weight: shape (C, O / groups, kh, kw): that of the ``conv2d`` which makes C channels of O.
        bias: shape (O,), or None.
        stride, padding, dilation: those of that ``conv2d``.
        output_padding: how many rows and columns more the result has, at its end. With a stride,
            images of several sizes are made as small as x: it says which of them is meant.
        groups: into how many groups the channels are divided.

    Returns:
        Shape (N, O, P, Q), with ``P = (H - 1)*stride - 2*padding + dilation*(kh - 1) +
        output_padding + 1``, and Q likewise.

    Raises:
        TypeError: if an option is no whole number and no pair of them.
        ValueError: if shapes do not fit, nothing is left of the result, or output_padding is not
            below the stride or the dilation.

    Source: Zeiler et al., "Deconvolutional networks", 2010.

    Example:
        >>> x = Tensor([[[[1.0, 2.0]]]])
        >>> conv_transpose2d(x, Tensor([[[[1.0, 10.0]]]]), stride=(1, 2))
        Tensor([[[[ 1., 10.,  2., 20.]]]])
    """
    where = "conv_transpose2d"
    groups = whole_number(groups, f"{where}: groups", 1)
    x = in_dtype_of(weight, x)
    _check(where, x.shape, weight.shape, bias, groups, back=True)
    s, p = pair(stride, f"{where}: stride", 1), pair(padding, f"{where}: padding", 0)
    e = pair(output_padding, f"{where}: output_padding", 0)
    d, k = pair(dilation, f"{where}: dilation", 1), weight.shape[2:]
    if e[0] >= max(s[0], d[0]) or e[1] >= max(s[1], d[1]):
        raise ValueError(
            f"{where}: output_padding {e} must be below the stride {s} or the dilation {d}: it "
            f"says which of the sizes is meant that a convolution makes as small as x"
        )
    met = min(e[0], s[0] - 1), min(e[1], s[1] - 1)
    size = tuple(
        (x.shape[2 + a] - 1) * s[a] - 2 * p[a] + d[a] * (k[a] - 1) + met[a] + 1 for a in (0, 1)
    )
    if min(size) < 1:
        raise ValueError(
            f"{where}: images of {x.shape[2]}x{x.shape[3]} with kernel {tuple(k)}, stride {s} and "
            f"padding {p} would become {size[0]}x{size[1]}: use less padding"
        )
    y = apply(conv_x, x, weight, windows(where, size, k, s, p, d, groups))
    if met != e:  # what lies beyond is met by no filter
        y = np.pad(y, ((0, 0), (0, 0), (0, e[0] - met[0]), (0, e[1] - met[1])))  # type: ignore
    return y if bias is None else y + bias.reshape(-1, 1, 1)


def _check(
    where: str,
    x: tuple[int, ...],
    weight: tuple[int, ...],
    bias: Any,
    groups: int,
    back: bool = False,
) -> None:
    """Raise unless the shapes fit, those of a convolution or, ``back``, of a transposed one."""
    check_images(where, x)
    if len(weight) != 4:
        form = "(C, O / groups, kh, kw)" if back else "(O, C / groups, kh, kw)"
        raise ValueError(f"{where}: weight has shape {weight}, expected {form}")
    taken = weight[0] if back else weight[1] * groups
    if x[1] != taken:
        hint = ": images with channels last are x.transpose(0, 3, 1, 2)" if x[3] == taken else ""
        of = f" with groups={groups}" if groups > 1 else ""
        raise ValueError(
            f"{where}: x of shape {x} has {x[1]} channels, and a weight of shape {weight}{of} "
            f"takes {taken}{hint}"
        )
    if weight[0] % groups:
        raise ValueError(
            f"{where}: {weight[0]} channels, the first axis of the weight, cannot be divided into "
            f"{groups} groups"
        )
    made = weight[1] * groups if back else weight[0]
    if bias is not None and bias.shape != (made,):
        raise ValueError(
            f"{where}: bias has shape {bias.shape}, expected {(made,)}: one for each channel of "
            f"the result"
        )
