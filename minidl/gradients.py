"""Gradients as values, and gradients of gradients.

``grad(y, xs)`` returns gradients instead of leaving them in leaves. With ``create_graph`` the rules
run on Tensors instead of arrays, so that what they compute is part of a graph itself: a rule is
plain NumPy, and NumPy's functions take Tensors. It is a file of its own because training asks
none of this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from minidl.autograd import TABLE, Gradients, Leaf, Node, gradients_of_inputs, walk
from minidl.modes import current_watcher, recording
from minidl.protocols import plain
from minidl.tensor import Tensor, first_gradient, tensor_of


@overload
def grad(
    y: Tensor,
    xs: Tensor,
    gradient: ArrayLike | Tensor | None = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> Any: ...


@overload
def grad(
    y: Tensor,
    xs: Sequence[Tensor],
    gradient: ArrayLike | Tensor | None = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> tuple[Any, ...]: ...


def grad(
    y: Tensor,
    xs: Tensor | Sequence[Tensor],
    gradient: ArrayLike | Tensor | None = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> Any:
    """The gradient of ``y`` with respect to each of ``xs``, as values: no ``grad`` is touched.

    Args:
        y: what to differentiate.
        xs: one Tensor or several; leaves, or results on the way to ``y``.
        gradient: the gradient of ``y`` itself, of its shape; 1 by default for a single element.
        create_graph: return Tensors that can be differentiated again, instead of ndarrays.
        retain_graph: keep the graph for another walk; by default if ``create_graph``.
        allow_unused: give zeros for a Tensor that ``y`` does not depend on, instead of an error.

    Returns:
        One gradient for one Tensor, a tuple of gradients for a sequence; each of the shape and
        dtype of its Tensor.

    Raises:
        TypeError: if one of ``xs`` is not a Tensor.
        RuntimeError: if ``y`` or one of ``xs`` requires no gradient, if ``y`` does not depend on
            one of ``xs``, or if the graph was freed.
        ValueError: if ``gradient`` is missing or has another shape.

    Example:
        >>> x = Tensor(2.0, requires_grad=True)
        >>> dx = grad(x**3, x, create_graph=True)
        >>> dx.item(), grad(dx, x).item()
        (12.0, 12.0)
    """
    if not isinstance(y, Tensor):
        raise TypeError(
            f"grad(y, xs): y is a {type(y).__name__}, not a Tensor: it is the result, as in "
            f"y = f(x); grad(y, x), and it loses its graph as an ndarray or a Python number"
        )
    inputs = _checked_inputs(xs)
    if y.node is None and not allow_unused:
        raise RuntimeError("grad(y, xs): y does not require a gradient; was it under no_grad()?")
    found: dict[Any, Any] = {}
    if y.node is not None and inputs:
        g = first_gradient(y, gradient)
        g = (g if isinstance(g, Tensor) else tensor_of(g)) if create_graph else plain(g)
        retain = create_graph if retain_graph is None else retain_graph
        rules = of_inputs_on_tensors if create_graph else gradients_of_inputs
        with np.errstate(all="ignore"), recording(create_graph):
            found = walk(y.node, g, {x.node for x in inputs if x.node}, retain, rules)
    results = []
    for i, x in enumerate(inputs):
        if x.node in found:
            d = _in_dtype(found[x.node], x.dtype)
        elif allow_unused:
            d = np.zeros(x.shape, x.dtype)
        else:
            raise RuntimeError(
                f"grad(y, xs): y does not depend on xs[{i}] (shape {x.shape}): leave it out, or "
                f"say allow_unused=True to get zeros"
            )
        results.append(d if isinstance(d, Tensor) or not create_graph else tensor_of(d))
    return results[0] if isinstance(xs, Tensor) else tuple(results)


@np.errstate(all="ignore")
def _in_dtype(d: Any, dtype: np.dtype[Any]) -> Any:
    """A gradient as it is handed out: in the dtype of its Tensor, an array in memory of its own."""
    if isinstance(d, Tensor):
        return d if d.dtype == dtype else d.astype(dtype)
    return np.array(d, dtype)


def _checked_inputs(xs: Any) -> list[Tensor]:
    if not isinstance(xs, Tensor | Iterable):
        raise TypeError(
            f"grad(y, xs): xs is a {type(xs).__name__}, not a Tensor or a sequence of Tensors"
        )
    inputs = [xs] if isinstance(xs, Tensor) else list(xs)
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor):
            raise TypeError(f"grad(y, xs): xs[{i}] is a {type(x).__name__}, not a Tensor")
        if x.node is None:
            raise RuntimeError(f"grad(y, xs): xs[{i}] does not require a gradient")
    return inputs


# --- The rules on Tensors -------------------------------------------------------------------------


def of_inputs_on_tensors(node: Node, g: Any, relevant: Collection[Node | Leaf]) -> Gradients:
    """The gradients of a node's inputs as Tensors, with their places in a graph.

    An operation that has a definition goes through it instead of through its rules.
    """
    operation, parents = node.operation, node.parents or ()
    values = dict(node.kept)
    if operation.definition is None:
        places = {"y": node, **dict(parents)}
        values |= {k: tensor_of(values[k], place) for k, place in places.items() if k in values}
        yield from gradients_of_inputs(node, g, relevant, values)
        return
    watcher = current_watcher()
    for name, _ in parents:
        if watcher is not None:
            watcher.going_back(node, name)
    # Each input gets a node of its own in front of it: the definition's graph ends there, even if
    # one input was computed from another or stands twice.
    ends = [Node(TABLE[np.positive], [("x", parent)], {}, values[name]) for name, parent in parents]
    for (name, _), end in zip(parents, ends, strict=True):
        values[name] = tensor_of(values[name], end)
    called = zip(operation.called, operation.names, strict=True)
    y = operation.definition(**{key: values[name] for key, name in called if name in values})
    found = walk(y.node, g, set(ends), True, of_inputs_on_tensors)
    for (_, parent), end in zip(parents, ends, strict=True):
        if parent in relevant:
            yield parent, found[end] if end in found else tensor_of(np.zeros(end.shape, end.dtype))
