"""Second derivatives of scalar functions: the Hessian, and its product with a vector.

They tell a minimum (all eigenvalues positive) from a saddle (some negative), and how unequally a
loss bends in different directions, which is what makes plain gradient descent slow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minidl.arrays import Array, as_real
from minidl.gradients import grad
from minidl.modes import recording
from minidl.tensor import Tensor


def hessian_vector_product(
    f: Callable[[Tensor], Any], x: ArrayLike | Tensor, v: ArrayLike | Tensor
) -> Array:
    """``H v`` for the Hessian H of ``f`` at ``x``, at the cost of two backward passes.

    Args:
        f: a function of one Tensor that returns a Tensor of one element.
        x: where, any shape; an ndarray or Tensor keeps its dtype.
        v: the direction, in the shape of ``x``.

    Returns:
        An array of the shape and dtype of ``x``.

    Raises:
        ValueError: if ``f`` does not return one element, or ``v`` has another shape.
        TypeError: if ``f`` does not return a Tensor, or a function in it has no second derivative.

    Source: Pearlmutter, "Fast exact multiplication by the Hessian", 1994.

    Example:
        >>> hessian_vector_product(lambda x: (x**3).sum(), np.array([1.0, 2.0]), [1.0, 1.0])
        array([ 6., 12.])
    """
    leaf = _leaf(x)
    direction = as_real(v.data if isinstance(v, Tensor) else v, "v")
    if direction.shape != leaf.shape:
        raise ValueError(
            f"hessian_vector_product: v has shape {direction.shape}, and x {leaf.shape}"
        )
    return np.asarray(grad(_slope(f, leaf), leaf, direction, allow_unused=True))


def hessian(f: Callable[[Tensor], Any], x: ArrayLike | Tensor) -> Array:
    """The matrix of all second derivatives of ``f`` at ``x``: one backward pass for each row.

    Args:
        f: a function of one Tensor that returns a Tensor of one element.
        x: where, any shape of n elements; an ndarray or Tensor keeps its dtype.

    Returns:
        An array of shape (n, n), symmetric up to rounding.

    Raises:
        ValueError: if ``f`` does not return one element.
        TypeError: if ``f`` does not return a Tensor, or a function in it has no second derivative.

    Example:
        >>> hessian(lambda x: x[0] ** 2 - 3 * x[0] * x[1], np.array([1.0, 1.0]))
        array([[ 2., -3.],
               [-3.,  0.]])
    """
    leaf = _leaf(x)
    slope = _slope(f, leaf)
    n = leaf.size
    rows = np.eye(n, dtype=leaf.dtype).reshape(n, *leaf.shape)
    columns = [grad(slope, leaf, row, retain_graph=True, allow_unused=True) for row in rows]
    return np.array(columns, leaf.dtype).reshape(n, n)


def _leaf(x: Any) -> Tensor:
    data = x.data if isinstance(x, Tensor) else x
    return Tensor(np.array(Tensor(data).data), requires_grad=True)


def _slope(f: Callable[[Tensor], Any], leaf: Tensor) -> Tensor:
    """The gradient of f, as a Tensor that can be differentiated again."""
    with recording(True):  # under no_grad() every function would look constant
        y = f(leaf)
    if not isinstance(y, Tensor):
        raise TypeError(f"the function must return a Tensor, not a {type(y).__name__}")
    if y.size != 1:
        raise ValueError(f"the function must return one element, not the shape {y.shape}")
    result: Tensor = grad(y, leaf, np.ones(y.shape, y.dtype), create_graph=True, allow_unused=True)
    return result
