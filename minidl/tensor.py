"""The Tensor: an ndarray together with its place in the graph, and the door into the engine.

:func:`apply` is the forward half of the engine: it calls a function of the table on the arrays of
Tensors, and leaves a node behind. The other half is ``autograd.walk``. Every function of Tensors
comes down to ``apply``: operators and methods (methods.py), NumPy's own functions (protocols.py),
and those of the package ``functional``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from minidl import leaves, refusals
from minidl.arrays import Array, as_array, as_real
from minidl.autograd import TABLE, Leaf, Node, Operation, backward
from minidl.methods import Methods
from minidl.modes import current_watcher, is_recording
from minidl.protocols import dispatch


class Tensor(Methods):
    """An array that remembers how it was computed.

    Args:
        data: an ndarray, which is taken as it is (not copied, its dtype kept), or numbers and
            nested lists of numbers, which become float32.
        requires_grad: whether ``backward()`` is to leave a gradient in ``grad``.
        dtype: the dtype to convert ``data`` to.

    Attributes:
        array: the array itself, as ``data`` is, to be read only.
        node: its place in the graph; None if no gradient flows to it.

    Raises:
        TypeError: if ``data`` is not numeric, or if a gradient is asked for integers or booleans.

    Example:
        >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
        >>> y = (x**2).sum()
        >>> y.backward()
        >>> x.grad
        array([2., 4., 6.], dtype=float32)
    """

    __slots__ = ("__weakref__", "array", "node")

    array: Array
    node: Node | Leaf | None

    def __init__(
        self, data: ArrayLike | Tensor, requires_grad: bool = False, dtype: DTypeLike | None = None
    ) -> None:
        self.array = leaves.as_data(data, dtype)
        self.node = None
        if requires_grad:
            self.requires_grad = True

    @property
    def data(self) -> Array:
        """The array itself, not a copy and without history; writing into it changes the Tensor."""
        return self.array

    @data.setter
    def data(self, value: ArrayLike) -> None:
        leaves.set_data(self, value)

    @property
    def grad(self) -> Array | None:
        """The gradient that ``backward()`` left in a leaf, or where :meth:`retain_grad` was asked.

        That of a float16 Tensor is kept in float32; what is read is a copy, which cannot be
        written into.
        """
        g = None if self.node is None else self.node.grad
        return g if g is None or g.dtype == self.array.dtype else leaves.narrowed(g, self.dtype)

    @grad.setter
    def grad(self, value: ArrayLike | None) -> None:
        leaves.set_grad(self, value)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this Tensor. A leaf may be switched; switching off drops its
        gradient."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        leaves.switch(self, value)

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return self.array.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the elements."""
        return self.array.dtype

    def detach(self) -> Tensor:
        """A Tensor of the same data, sharing its memory, without history."""
        return tensor_of(self.array)

    def backward(
        self, gradient: ArrayLike | Tensor | None = None, retain_graph: bool = False
    ) -> None:
        """Add the gradient of this Tensor to the ``grad`` of every leaf that it was computed from.

        Args:
            gradient: the gradient of this Tensor itself, of its shape; may be left out for a
                single element, where it is 1.
            retain_graph: keep the graph for another backward instead of freeing it on the way.

        Raises:
            RuntimeError: if there is nothing to go back through, because no leaf requires a
                gradient, or the graph was freed by an earlier backward.
            ValueError: if ``gradient`` is missing or has another shape.
        """
        if self.node is None:
            raise RuntimeError(refusals.NO_GRADIENT)
        g = first_gradient(self, gradient)
        with np.errstate(all="ignore"):
            backward(self.node, g.array if isinstance(g, Tensor) else g, retain_graph)

    def _enter(self, function: Callable[..., Any], *values: Any) -> Tensor:
        return apply(function, *values)


def first_gradient(y: Tensor, gradient: ArrayLike | Tensor | None) -> Any:
    """The gradient that the walk begins with: 1, or what was given, in the dtype of ``y``."""
    if gradient is None:
        if y.array.size != 1:
            raise refusals.no_place_to_begin(y.shape)
        return np.ones(y.array.shape, y.array.dtype)
    g = gradient if isinstance(gradient, Tensor) else as_real(gradient, "gradient=")
    if g.shape != y.shape:
        raise refusals.other_shape("gradient=", g.shape, y.shape)
    return g if isinstance(g, Tensor) and g.dtype == y.dtype else g.astype(y.dtype)


# --- The door into the engine ---------------------------------------------------------------------


def apply(function: Callable[..., Any], *values: Any) -> Tensor:
    """Call a function of the table on the arrays of Tensors, and record the call.

    Args:
        function: the function; it has a row in the table.
        values: all its parameters, in the order of its row; Tensors or not.
    """
    operation = TABLE.get(function)
    if operation is None or len(values) != len(operation.names):
        raise refusals.no_such_call(function, operation, len(values))
    names, rules = operation.names, operation.rules
    arrays = list(values)
    parents: list[tuple[str, Node | Leaf]] = []
    for i, x in enumerate(values):
        if isinstance(x, Tensor):
            arrays[i] = x.array
            if x.node is not None:
                if names[i] not in rules:
                    raise refusals.not_differentiable_in(operation, names[i])
                parents.append((names[i], x.node))
        elif names[i] in rules:
            arrays[i] = _operand(x, operation, names[i])
    try:
        y = operation.forward(*arrays)
    except (IndexError, TypeError, ValueError) as error:
        refusals.note_call(error, operation, arrays)
        raise
    left: list[Any] = []
    if operation.beside:
        if type(y) is not tuple or len(y) != 1 + len(operation.beside):
            raise refusals.other_result(operation, y)
        y, *left = y
    t = object.__new__(Tensor)
    t.array = y if type(y) is np.ndarray else _result(y, operation)
    t.node = None
    if parents and is_recording():
        have = (*arrays, t.array, *left)
        kept = {}
        for name, _ in parents:
            for key, i in operation.keeps[name]:
                kept[key] = have[i]
        t.node = Node(operation, parents, kept, t.array)
    watcher = current_watcher()
    if watcher is not None:
        watcher.computed(operation, arrays, t.array, t.node)
    return t


def tensor_of(array: Array, node: Node | Leaf | None = None) -> Tensor:
    """A Tensor of an array, at a place in the graph."""
    t = object.__new__(Tensor)
    t.array = array
    t.node = node
    return t


def _operand(x: Any, operation: Operation, name: str) -> Any:
    """A differentiable input that is no Tensor. Python's numbers stay: they never widen arrays."""
    if type(x) is np.ndarray and x.dtype.kind in "fiub":
        return x
    if type(x) in (float, int, bool) or (x is None and name in operation.defaults):
        return x
    return as_real(x, operation.name)


def _result(y: Any, operation: Operation) -> Any:
    """What a function returned that is no ndarray: a scalar of NumPy's, or what stands for one."""
    if y is None or isinstance(y, tuple | list | Tensor):
        raise refusals.other_result(operation, y)
    return np.asarray(y) if isinstance(y, np.generic) else as_array(y)


F = TypeVar("F", bound=Callable[..., Any])


def differentiable(function: F) -> F:
    """Make a function of ndarrays one of Tensors: its rule goes into the table with ``vjp``.

    The function is written for plain ndarrays; its rule, which follows it, says how gradients go
    back through it. As with NumPy's functions, the result is a Tensor if a Tensor goes in, and
    an ndarray otherwise.

    Raises:
        TypeError: at the call, if the function has no rule, or for a parameter that it lacks.

    Example:
        >>> from minidl import vjp
        >>> @differentiable
        ... def double(x):
        ...     return 2 * x
        >>> vjp(double, "x", x=lambda g: 2 * g)
        >>> double(Tensor([1.0, 2.0], requires_grad=True))
        Tensor([2., 4.], from=double)
    """

    @functools.wraps(function)
    def on_tensors(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and isinstance(args[0], Tensor):  # the everyday case
            operation = TABLE.get(on_tensors)
            if operation is not None and len(operation.names) == 1:
                return apply(on_tensors, args[0])
        for x in (*args, *kwargs.values()):
            if isinstance(x, Tensor):
                return dispatch(apply, on_tensors, args, kwargs)
        y = function(*args, **kwargs)
        row = TABLE.get(on_tensors)
        return y[0] if row is not None and row.beside else y

    on_tensors.__dict__["forward"] = function
    return cast(F, on_tensors)
