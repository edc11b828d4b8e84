"""What a Tensor is made of, and what may be changed in one that was not computed from others.

The setters of ``data``, ``grad`` and ``requires_grad`` are here, with their checks, and what
``retain_grad`` does: a training step uses none of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minidl import refusals
from minidl.arrays import Array, as_real, check_differentiable
from minidl.autograd import Leaf, Node
from minidl.protocols import Protocols


def as_data(data: Any, dtype: DTypeLike | None = None) -> Array:
    """The array that a Tensor of ``data`` holds."""
    if isinstance(data, Protocols):
        if data.node is not None:
            raise TypeError("Tensor(t) would lose the history of t: use t.detach(), or t itself")
        data = data.array
    array = as_real(data, "a Tensor")
    if dtype is not None:
        if np.dtype(dtype).kind not in "fiub":
            raise TypeError(f"a Tensor holds real numbers or booleans, not {np.dtype(dtype)}")
        return array.astype(dtype, copy=False)
    if not isinstance(data, np.ndarray | np.generic) and array.dtype.kind in "fiu":
        array = array.astype(np.float32)
    return array


def set_data(t: Any, value: ArrayLike) -> None:
    """Let a leaf hold another array, of its shape."""
    if value is t.array:  # as in ``p.data -= step``
        return
    if isinstance(t.node, Node):
        raise RuntimeError(refusals.NOT_A_LEAF)
    data = as_real(value, "data")
    if not isinstance(value, np.ndarray):
        data = data.astype(t.dtype, copy=False)
    if data.shape != t.shape:
        raise refusals.other_shape("data", data.shape, t.shape)
    if t.node is not None and data.dtype != t.dtype:
        check_differentiable(data)
        t.node = Leaf(data)
    t.array = data


def set_grad(t: Any, value: ArrayLike | None) -> None:
    """Let a leaf have another gradient, a copy of ``value``, or None."""
    leaf: Any = t.node.leaf if isinstance(t.node, Node) else t.node
    if leaf is None:
        if value is not None:
            raise RuntimeError(
                "only a leaf that requires a gradient, and a result that retain_grad() was asked "
                "for, has a gradient to set"
            )
    elif value is None or value is leaf.grad:  # as in ``p.grad *= scale``
        leaf.grad = value
    else:
        g = as_real(value, "grad")
        if g.shape != leaf.shape:
            raise refusals.other_shape("grad", g.shape, leaf.shape)
        leaf.grad = np.array(g, dtype=leaf.dtype)


def switch(t: Any, requires_grad: bool) -> None:
    """Let a Tensor become a leaf to which gradients flow, or stop to be one."""
    if isinstance(t.node, Node):
        raise RuntimeError(refusals.NOT_SWITCHED)
    if not requires_grad:
        t.node = None
    elif t.node is None:
        check_differentiable(t.array)
        t.node = Leaf(t.array)


def retain(t: Any) -> None:
    """Let the gradient of a result stay: the node gets a leaf of its own, where it arrives."""
    if t.node is None:
        raise RuntimeError(refusals.NO_GRADIENT.replace("backward()", "retain_grad()", 1))
    if isinstance(t.node, Node) and t.node.leaf is None:
        if t.node.parents is None:
            raise RuntimeError(refusals.FREED.replace("backward through", "retain_grad() in", 1))
        if not isinstance(t.array, np.ndarray):
            raise RuntimeError(refusals.NOT_RETAINED)
        t.node.leaf = Leaf(t.array)


@np.errstate(all="ignore")
def narrowed(g: Array, dtype: np.dtype[Any]) -> Array:
    """A gradient in the dtype of its float16 Tensor, to be read only."""
    g = g.astype(dtype)
    g.flags.writeable = False
    return g
