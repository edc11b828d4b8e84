"""Clipping: all gradients scaled by one factor, so that their joint norm is not too large."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minidl.arrays import Array
from minidl.autograd import Leaf
from minidl.checks import is_number
from minidl.optim.groups import items_of
from minidl.tensor import Tensor


def clip_grad_norm(params: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients by one factor, so that their joint norm is at most ``max_norm``.

    The norm is the Euclidean one, of all their elements together.

    Args:
        params: the parameters; those without a gradient count for nothing, those that are listed
            twice count once.
        max_norm: above 0; ``math.inf`` to know the norm and scale nothing.

    Returns:
        The norm before.

    Raises:
        TypeError: if ``params`` is not a list of Tensors, or ``max_norm`` is no number.
        ValueError: if ``params`` is empty, or ``max_norm`` is not above 0.
        FloatingPointError: if a gradient is NaN or infinite; no gradient has been changed.

    Warns:
        RuntimeWarning: if no parameter has a gradient.

    Source: Pascanu, Mikolov and Bengio, 2013, algorithm 1.

    Example:
        >>> x = Tensor([3.0, 4.0], requires_grad=True)
        >>> (x**2).sum().backward()
        >>> clip_grad_norm([x], 1.0)
        10.0
        >>> x.grad
        array([0.6, 0.8], dtype=float32)
    """
    check_max_norm("clip_grad_norm", max_norm)
    _, tensors = items_of(params, "clip_grad_norm")
    for i, p in enumerate(tensors):
        if not isinstance(p, Tensor):
            raise TypeError(f"clip_grad_norm: parameter {i} is a {type(p).__name__}, not a Tensor")
    leaves = dict.fromkeys(p.node for p in tensors if isinstance(p.node, Leaf))
    grads = [leaf.grad for leaf in leaves if leaf.grad is not None]
    if not grads:
        warnings.warn(
            "clip_grad_norm: no parameter has a gradient: call it between backward() and step()",
            RuntimeWarning,
            stacklevel=2,
        )
    with np.errstate(over="ignore"):
        return float(clip_gradients(grads, max_norm)) if grads else 0.0


def check_max_norm(caller: str, max_norm: Any) -> None:
    """Raise unless it is a number above 0; infinity is one."""
    if not is_number(max_norm):
        kind = type(max_norm).__name__
        raise TypeError(f"{caller}: max_norm is a number above 0, got {max_norm!r} ({kind})")
    if not max_norm > 0:
        raise ValueError(f"{caller}: max_norm is a number above 0, got {max_norm!r}")


def clip_gradients(grads: Sequence[Array], max_norm: float) -> Any:
    """Scale arrays in place by one factor, so that their joint norm is at most ``max_norm``.

    Returns the norm before. Raises FloatingPointError if it is not finite.
    """
    norm = np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in grads))
    if not np.isfinite(norm):
        raise FloatingPointError(
            f"clip_grad_norm: the norm of the gradients is {norm}: one of them is NaN, infinite or "
            f"close to it; lower the learning rate, or look for the operation that made it"
        )
    scale = np.minimum(float(max_norm) / np.maximum(norm, 1e-300), 1.0)
    for g in grads:
        g *= scale.astype(g.dtype)
    return norm
