"""The Tensor: an ndarray together with its place in the graph.

A Tensor behaves like an ndarray. Its operators and methods, and NumPy's own functions through
NumPy's dispatch protocols, compute with NumPy and leave a node in the graph. All of them come down
to :func:`apply`, which is the forward half of the engine; the other half is ``autograd.walk``.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar, cast, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from minidl.autograd import (
    TABLE,
    Leaf,
    Node,
    Operation,
    current_watcher,
    is_recording,
    name_of,
    recording,
    walk,
)
from minidl.signatures import Parameters

Array = NDArray[Any]

COMPOSED: dict[Callable[..., Any], Callable[..., Any]] = {}
"""NumPy's functions that need no rule of their own: the same function written in others."""

PLAIN: set[Callable[..., Any]] = set()
"""NumPy's functions without a useful derivative: they return plain arrays (see derivatives.py)."""


class Tensor:
    """An array that remembers how it was computed.

    Args:
        data: an ndarray, which is taken as it is (not copied, its dtype kept), or numbers and
            nested lists of numbers, which become float32.
        requires_grad: whether ``backward()`` is to leave a gradient in ``grad``.
        dtype: the dtype to convert ``data`` to.

    Raises:
        TypeError: if ``data`` is not numeric, or if a gradient is asked for integers or booleans.

    Example:
        >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
        >>> y = (x**2).sum()
        >>> y.backward()
        >>> x.grad
        array([2., 4., 6.], dtype=float32)
    """

    __slots__ = ("__weakref__", "_data", "_node")

    _data: Array
    _node: Node | Leaf | None

    def __init__(
        self, data: ArrayLike | Tensor, requires_grad: bool = False, dtype: DTypeLike | None = None
    ) -> None:
        self._data = _as_data(data, dtype)
        self._node = None
        if requires_grad:
            self.requires_grad = True

    # What it is -------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The array itself, not a copy and without history; writing into it changes the Tensor."""
        return self._data

    @data.setter
    def data(self, value: ArrayLike) -> None:
        if value is self._data:  # as in ``p.data -= step``
            return
        node = self._node
        if isinstance(node, Node):
            raise RuntimeError(
                "cannot rebind the data of a Tensor that was computed from others, since its "
                "history would no longer be true: use detach() to get one without history"
            )
        data = as_real(value, "data")
        if not isinstance(value, np.ndarray):
            data = data.astype(self.dtype, copy=False)
        if data.shape != self.shape:
            raise ValueError(
                f"data of shape {data.shape} cannot take the place of data of shape {self.shape}: "
                f"make a new Tensor for another shape"
            )
        if isinstance(node, Leaf) and data.dtype != self.dtype:
            _check_differentiable(data)
            node.retire()
            node = Leaf(data)
        self._data, self._node = data, node

    @property
    def grad(self) -> Array | None:
        """The gradient that ``backward()`` left, an ndarray, or None. Only leaves receive one."""
        leaf = self._node
        if leaf is None or leaf.grad is None:
            return None
        if leaf.grad is leaf.lent:  # lent memory is overwritten in the next step: never show it
            leaf.grad = leaf.grad.copy()
        if leaf.grad.dtype != self.dtype:  # that of a float16 is a float32 until here
            with np.errstate(all="ignore"):
                leaf.grad = leaf.grad.astype(self.dtype)
        return leaf.grad

    @grad.setter
    def grad(self, value: ArrayLike | None) -> None:
        leaf = self._node
        if not isinstance(leaf, Leaf):
            if value is None:
                return
            raise RuntimeError("only a leaf that requires a gradient has a gradient to set")
        if value is None or value is leaf.grad:
            leaf.grad = value
            return
        g = as_real(value, "grad")
        if g.shape != leaf.shape:
            raise ValueError(f"a gradient has the shape of its Tensor, {leaf.shape}, not {g.shape}")
        leaf.grad = np.array(g, dtype=self.dtype)

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this Tensor. A leaf may be switched; switching off drops its
        gradient."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if isinstance(self._node, Node):
            raise RuntimeError(
                "requires_grad can be switched on a leaf only, and this Tensor was computed from "
                "others: use detach()"
            )
        if not value:
            if self._node is not None:
                self._node.retire()
            self._node = None
        elif self._node is None:
            _check_differentiable(self._data)
            self._node = Leaf(self._data)

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return self._data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the elements."""
        return self._data.dtype

    @property
    def T(self) -> Tensor:
        """The Tensor with its axes reversed."""
        return apply(np.transpose, self, None)

    @property
    def mT(self) -> Tensor:
        """The Tensor with its last two axes exchanged."""
        return apply(np.swapaxes, self, -1, -2)

    def detach(self) -> Tensor:
        """A Tensor of the same data, sharing its memory, without history."""
        return _tensor(self._data, None)

    def numpy(self) -> Array:
        """The data as an ndarray of its own (a copy; ``data`` is the array itself)."""
        return self._data.copy()

    def item(self) -> Any:
        """The only element, as a Python number.

        Raises:
            ValueError: if there is not exactly one element.
        """
        if self._data.size != 1:
            raise ValueError(f"item() is for one element, and shape {self.shape} has {self.size}")
        return self._data.item()

    def tolist(self) -> Any:
        """The data as nested lists of Python numbers."""
        return self._data.tolist()

    # Gradients --------------------------------------------------------------------------------

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
        if self._node is None:
            raise RuntimeError(
                "backward() on a Tensor that does not require a gradient: it was computed from "
                "none that does, or under no_grad(). Set requires_grad=True on a leaf beforehand; "
                "if `w = w - step` under no_grad() made it, the name w is a new Tensor without a "
                "gradient since: write w.data -= step"
            )
        g = _first_gradient(self, gradient)
        with np.errstate(all="ignore"):
            walk(self._node, g._data if isinstance(g, Tensor) else g, retain=retain_graph)

    # NumPy's protocols ------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            raise TypeError(
                f"np.{ufunc.__name__}.{method} is not differentiable: use np.sum, np.max, "
                f"np.prod or np.cumsum on the Tensor, or pass its .data for a plain array"
            )
        return _dispatch(ufunc, inputs, kwargs)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        return _dispatch(func, args, kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            "a Tensor does not turn into an ndarray unasked, since its gradient would be lost: "
            "use .numpy() for a copy of its values, or .data for the array itself"
        )

    @property
    def _mask(self) -> NoReturn:
        """What numpy.ma asks of whatever it computes with, beside its ``_data``: the graph would be
        lost there, since masked arrays do not speak NumPy's protocols."""
        raise TypeError(f"a masked array meets a Tensor: {_MASKED}")

    # Operators --------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return apply(np.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return apply(np.add, other, self)

    def __sub__(self, other: Any) -> Tensor:
        return apply(np.subtract, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return apply(np.subtract, other, self)

    def __mul__(self, other: Any) -> Tensor:
        return apply(np.multiply, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return apply(np.multiply, other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return apply(np.divide, self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return apply(np.divide, other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return apply(np.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return apply(np.matmul, other, self)

    def __pow__(self, other: Any) -> Tensor:
        if type(other) is int and other == 2:
            return apply(np.square, self)
        return apply(np.power, self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return apply(np.power, other, self)

    def __neg__(self) -> Tensor:
        return apply(np.negative, self)

    def __pos__(self) -> Tensor:
        return apply(np.positive, self)

    def __abs__(self) -> Tensor:
        return apply(np.abs, self)

    def __getitem__(self, index: Any) -> Tensor:
        return apply(operator.getitem, self, plain(index))

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError(
            "a Tensor does not change in place, since its gradient would be wrong: build a new "
            "one with np.where or np.concatenate, or write into .data of a leaf outside the graph"
        )

    # In place there is nothing to do; ``y += x`` makes a new Tensor, as ``y = y + x`` does. Where a
    # parameter is meant to move, its name would silently stand for a Tensor that is not trained.

    def __iadd__(self, other: Any) -> Tensor:
        return self._not_a_step("+=") + other

    def __isub__(self, other: Any) -> Tensor:
        return self._not_a_step("-=") - other

    def __imul__(self, other: Any) -> Tensor:
        return self._not_a_step("*=") * other

    def __itruediv__(self, other: Any) -> Tensor:
        return self._not_a_step("/=") / other

    def __imatmul__(self, other: Any) -> Tensor:
        return self._not_a_step("@=") @ other

    def __ipow__(self, other: Any) -> Tensor:  # type: ignore[misc]
        return self._not_a_step("**=") ** other

    def _not_a_step(self, sign: str) -> Tensor:
        if isinstance(self._node, Leaf) and not is_recording():
            raise TypeError(
                f"`w {sign} ...` under no_grad() does not change the Tensor w, which requires a "
                f"gradient, but binds the name to a new one that does not: write "
                f"`w.data {sign} ...`"
            )
        return self

    # Comparisons give plain arrays: there is nothing to differentiate.

    def __eq__(self, other: object) -> Any:
        return self._data == plain(other)

    def __ne__(self, other: object) -> Any:
        return self._data != plain(other)

    def __lt__(self, other: Any) -> Any:
        return self._data < plain(other)

    def __le__(self, other: Any) -> Any:
        return self._data <= plain(other)

    def __gt__(self, other: Any) -> Any:
        return self._data > plain(other)

    def __ge__(self, other: Any) -> Any:
        return self._data >= plain(other)

    __hash__ = object.__hash__

    # Methods, as an ndarray has them ----------------------------------------------------------

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The sum over ``axis``; see ``numpy.sum``."""
        return apply(np.sum, self, axis, None, None, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The mean over ``axis``; see ``numpy.mean``."""
        return apply(np.mean, self, axis, None, None, keepdims)

    def var(self, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
        """The variance over ``axis``; see ``numpy.var``."""
        return _dispatch(np.var, (self, axis), {"ddof": ddof, "keepdims": keepdims})

    def std(self, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
        """The standard deviation over ``axis``; see ``numpy.std``."""
        return _dispatch(np.std, (self, axis), {"ddof": ddof, "keepdims": keepdims})

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The maximum over ``axis``; see ``numpy.max``."""
        return apply(np.max, self, axis, None, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The minimum over ``axis``; see ``numpy.min``."""
        return apply(np.min, self, axis, None, keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The product over ``axis``; see ``numpy.prod``."""
        return _dispatch(np.prod, (self, axis), {"keepdims": keepdims})

    def cumsum(self, axis: int | None = None) -> Tensor:
        """The running sum along ``axis``; see ``numpy.cumsum``."""
        return _dispatch(np.cumsum, (self, axis), {})

    def argmax(self, axis: int | None = None) -> Any:
        """The index of the maximum, a plain array; see ``numpy.argmax``."""
        return self._data.argmax(axis)

    def argmin(self, axis: int | None = None) -> Any:
        """The index of the minimum, a plain array; see ``numpy.argmin``."""
        return self._data.argmin(axis)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; see ``numpy.reshape``."""
        return apply(np.reshape, self, shape[0] if len(shape) == 1 else shape, "C")

    def ravel(self) -> Tensor:
        """The elements along one axis; see ``numpy.ravel``."""
        return self.reshape(-1)

    def flatten(self) -> Tensor:
        """The elements along one axis, as :meth:`ravel`."""
        return self.reshape(-1)

    def transpose(self, *axes: Any) -> Tensor:
        """The axes in another order, reversed by default; see ``numpy.transpose``."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        return apply(np.transpose, self, order)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Two axes exchanged; see ``numpy.swapaxes``."""
        return apply(np.swapaxes, self, axis1, axis2)

    def squeeze(self, axis: Any = None) -> Tensor:
        """Axes of length one removed; see ``numpy.squeeze``."""
        return apply(np.squeeze, self, axis)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        """Elements repeated; see ``numpy.repeat``."""
        return _dispatch(np.repeat, (self, repeats, axis), {})

    def take(self, indices: Any, axis: int | None = None) -> Tensor:
        """Elements by index along ``axis``; see ``numpy.take``."""
        return _dispatch(np.take, (self, indices, axis), {})

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """Elements limited to an interval; see ``numpy.clip``."""
        return _dispatch(np.clip, (self, min, max), {})

    def dot(self, other: Any) -> Tensor:
        """The dot product; see ``numpy.dot``."""
        return _dispatch(np.dot, (self, other), {})

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """The diagonal; see ``numpy.diagonal``."""
        return _dispatch(np.diagonal, (self, offset, axis1, axis2), {})

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """The sum along the diagonal; see ``numpy.trace``."""
        return _dispatch(np.trace, (self, offset, axis1, axis2), {})

    def astype(self, dtype: DTypeLike) -> Tensor:
        """The elements in another dtype; the gradient comes back in the old one."""
        if np.dtype(dtype).kind != "f":
            return Tensor(self._data.astype(dtype))
        return apply(astype, self, dtype)

    def copy(self) -> Tensor:
        """A Tensor with memory of its own; gradients flow through it."""
        return apply(np.copy, self)

    def all(self, axis: Any = None) -> Any:
        """Whether all elements are true, a plain array or bool; see ``numpy.all``."""
        return self._data.all(axis)

    def any(self, axis: Any = None) -> Any:
        """Whether any element is true, a plain array or bool; see ``numpy.any``."""
        return self._data.any(axis)

    # Python's protocols -----------------------------------------------------------------------

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a Tensor without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self._data == plain(value)).any())

    # NumPy and the math module ask for these when a Tensor is put into an array or a function that
    # know nothing of graphs: ``a[0] = s``, ``np.float64(s)``, ``math.exp(s)``.

    def __float__(self) -> float:
        return float(self._unasked("float"))

    def __int__(self) -> int:
        return int(self._unasked("int"))

    def __complex__(self) -> complex:
        return complex(self._unasked("complex"))

    def _unasked(self, kind: str) -> Any:
        if self._node is not None and is_recording():
            raise TypeError(
                f"a Tensor that requires a gradient does not turn into a {kind} unasked, since its "
                f"gradient would be lost: use .item() for the number, or functions of NumPy to "
                f"keep the gradient (np.exp(x), not math.exp(x); np.stack, not a[0] = x)"
            )
        return self.item()

    def __bool__(self) -> bool:
        return bool(self._data)

    def __index__(self) -> int:
        return operator.index(self._data)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __repr__(self) -> str:
        values = np.array2string(self._data, separator=", ", prefix="Tensor(")
        dtype = "" if self.dtype == np.float32 else f", dtype={self.dtype}"
        history = ""
        if isinstance(self._node, Node):
            history = f", from={self._node.plan.operation.name}"
        elif self._node is not None:
            history = ", requires_grad=True"
        return f"{type(self).__name__}({values}{dtype}{history})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        state = self.__reduce__()
        copied = state[0](*state[1])
        copied._data = copied._data.copy()
        memo[id(self)] = copied
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self._node, Node):
            raise TypeError(
                "a Tensor that was computed from others cannot be copied deeply or pickled, since "
                "its history would be lost: use detach() or numpy()"
            )
        return _rebuilt, (type(self), self._data, self.requires_grad, self.grad)


def _rebuilt(kind: type[Tensor], data: Array, requires_grad: bool, g: Array | None) -> Tensor:
    """A leaf from its parts, for copies and pickles."""
    t = object.__new__(kind)
    t._data, t._node = data, Leaf(data) if requires_grad else None
    t.grad = g
    return t


# --- The forward half of the engine ---------------------------------------------------------------

_new = object.__new__


def _tensor(data: Array, node: Node | Leaf | None) -> Tensor:
    t = _new(Tensor)
    t._data = data
    t._node = node
    return t


def apply(function: Callable[..., Any], *values: Any, y: Any = None) -> Tensor:
    """Call a function of the table, given all its parameters in order, and record the call.

    Args:
        function: the function; it has a row in the table.
        values: its parameters, all of them, in the order of its row; Tensors or not.
        y: the result, if the caller has computed it already.
    """
    op = TABLE[function]
    pool = list(values)
    mask = 0
    parents = []
    for i in op.inputs:
        x = pool[i]
        if isinstance(x, Tensor):
            pool[i] = x._data
            if x._node is not None:
                mask |= 1 << i
                parents.append(x._node)
        elif type(x) is np.ndarray:
            if x.dtype.kind not in "fiub":
                raise _not_real(x, op.name)
        elif type(x) not in _PYTHON_NUMBERS and not (x is None and op.names[i] in op.defaults):
            pool[i] = as_real(x, op.name)
    if y is None:
        try:
            y = op.forward(*pool)
        except (IndexError, TypeError, ValueError) as error:
            raise _explained(error, op, pool) from error
    t = _new(Tensor)
    t._data = as_array(y)
    t._node = None
    if mask and is_recording():
        plan = op.plans.get(mask) or op.plan(mask)
        if plan.keeps:
            pool.append(t._data)
            if op.keeps_shapes:
                pool += [np.shape(pool[i]) for i in op.inputs]
            for i in plan.drop:
                pool[i] = None
        t._node = Node(plan, parents, pool if plan.keeps else None, t._data)
    watcher = current_watcher()
    if watcher is not None:
        watcher.computed(op, [plain(x) for x in values], t._data, t._node)
    return t


_PYTHON_NUMBERS = {float, int, bool}  # they stay what they are, and never upcast


def as_array(x: Any) -> Any:
    """An ndarray of ``x``; what stands for one, by speaking NumPy's protocols, stays what it is."""
    stands_in = hasattr(x, "__array_function__") and not isinstance(x, np.ndarray | Tensor)
    return x if stands_in else np.asarray(x)


def _explained(error: Exception, op: Operation, pool: Sequence[Any]) -> Exception:
    """The error of a forward call with the function, the shapes of its inputs, and a remedy."""
    shapes = ", ".join(f"{op.names[i]}: {np.shape(pool[i])}" for i in op.inputs)
    remedy = ""
    if isinstance(error, ValueError) and isinstance(op.function, np.ufunc):
        remedy = (
            "; the last axis of the first must be as long as the one before the last of the second"
            if op.function is np.matmul
            else "; axes match from the right and must be equal or 1: reshape one of them"
        )
    return _of_its_kind(error, f"{op.name} ({shapes}): {error}{remedy}")


def _of_its_kind(error: Exception, message: str) -> Exception:
    """An error of the same kind with another message."""
    kinds = (np.exceptions.AxisError, IndexError, ValueError, TypeError)
    return next(kind(message) for kind in kinds if isinstance(error, kind))


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
            op = TABLE.get(on_tensors)
            if op is not None and len(op.names) == 1:
                return apply(on_tensors, args[0])
        for x in args:
            if isinstance(x, Tensor):
                return _dispatch(on_tensors, args, kwargs)
        if any(isinstance(x, Tensor) for x in kwargs.values()):
            return _dispatch(on_tensors, args, kwargs)
        return function(*args, **kwargs)

    on_tensors.__dict__["forward"] = function
    return cast(F, on_tensors)


def _dispatch(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Call a function on Tensors, whatever kind it is of."""
    if function in COMPOSED:
        return _compose(function, args, kwargs)
    op = TABLE.get(function)
    if op is not None:
        if len(args) == len(op.inputs) == len(op.names) and not kwargs:  # nothing to put in order
            return apply(function, *args)
        return apply(function, *_in_order(op, args, kwargs))
    if function in PLAIN:
        return _without_graph(function, args, kwargs)
    name = name_of(function)
    if not name.startswith("np."):
        raise TypeError(f"{name} has no derivative rule: give it one with minidl.vjp({name}, ...)")
    raise TypeError(
        f"{name} is not differentiable in minidl: write it in functions that are (see "
        f"minidl/derivatives.py), or pass the Tensor's .data to get a plain array"
    )


def _in_order(op: Operation, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """The arguments of a call, in the order of the parameters in the table, defaults filled in."""
    if len(args) == len(op.names) and not kwargs:
        values = dict(zip(op.names, args, strict=True))
    else:
        values = op.defaults | dict(zip(op.names, args, strict=False))
        if kwargs or len(args) > len(op.names):
            _check_taken(op.name, op.called, args, kwargs)
            values |= {op.names[op.called.index(called)]: v for called, v in kwargs.items()}
        if len(values) < len(op.names):
            missing = next(i for i, name in enumerate(op.names) if name not in values)
            raise TypeError(f"{op.name} is missing its argument {op.called[missing]!r}")
    if values.get("out") is not None:
        raise TypeError(f"{op.name} with out= would write past the graph: use its result instead")
    if values.get("dtype") is not None:
        _check_dtype(op, values)
    return [
        values[name] if name in op.rules else _constant(values[name], op, name) for name in op.names
    ]


def _check_taken(
    name: str, names: Sequence[str], args: Sequence[Any], kwargs: dict[str, Any]
) -> None:
    """Raise for an argument that is not in the table, which would be left out, or stands twice."""
    unknown = [f"{k}=" for k in kwargs if k not in names]
    if unknown or len(args) > len(names):
        what = unknown[0] if unknown else f"{len(args)} arguments"
        raise TypeError(
            f"{name} on a Tensor takes ({', '.join(names)}), not {what}: leave it out, or pass the "
            f"Tensor's .data to get a plain array"
        )
    twice = [k for k in kwargs if k in names[: len(args)]]
    if twice:
        raise TypeError(f"{name} got its argument {twice[0]!r} twice, by position and by name")


def _check_dtype(op: Operation, values: dict[str, Any]) -> None:
    """A dtype= to compute in: integers would cut the numbers off, and have no gradient."""
    dtype = np.dtype(values["dtype"])
    flows = any(isinstance(values[k], Tensor) and values[k].requires_grad for k in op.rules)
    if dtype.kind not in ("f" if flows else "fiub"):
        raise TypeError(
            f"{op.name} with dtype={dtype} on a Tensor"
            f"{' that requires a gradient' if flows else ''}: leave dtype= out or make it a "
            f"floating one, or pass the Tensor's .data to get a plain array"
        )


def _compose(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Call what NumPy's function is made of on Tensors."""
    made_of_others = COMPOSED[function]
    if kwargs.get("out") is not None:
        raise TypeError(f"{name_of(function)} with out= would write past the graph: use its result")
    for value in (*args, *kwargs.values()):
        plain(value)  # refuses what is foreign, before a part of it is computed without a Tensor
    own = Parameters(made_of_others)
    if not own.variadic and not own.any_keyword:
        _check_taken(name_of(function), [*own.names, *own.keyword_only], args, kwargs)
    try:
        return made_of_others(*args, **kwargs)
    except (IndexError, TypeError, ValueError) as error:
        if name_of(function) in str(error):
            raise
        raise _of_its_kind(error, f"{name_of(function)}: {error}") from error


def _without_graph(function: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> Any:
    """Call a function that returns plain arrays; it cannot write into the data of a Tensor."""

    def read_only(value: Any) -> Any:
        if isinstance(value, Tensor):
            value = value._data.view()
            value.flags.writeable = False
        return plain(value)

    out = kwargs.get("out")
    if any(isinstance(x, Tensor) for x in (out if isinstance(out, tuple) else (out,))):
        raise TypeError(
            f"{name_of(function)} with out= would change a Tensor in place: use its result instead"
        )
    return function(*map(read_only, args), **{k: read_only(v) for k, v in kwargs.items()})


def _constant(value: Any, op: Operation, name: str) -> Any:
    """An argument that is not differentiable: no Tensor that requires a gradient may be in it."""
    if isinstance(value, Tensor) and value._node is not None:
        raise TypeError(
            f"{op.name} is not differentiable in its argument {name!r}, which requires a gradient: "
            f"pass {name}.detach()"
        )
    return plain(value)


def plain(value: Any) -> Any:
    """The value with the data of every Tensor in it, also inside tuples, lists and slices."""
    if isinstance(value, Tensor):
        return value._data
    if isinstance(value, tuple | list):
        return type(value)(plain(v) for v in value)
    if isinstance(value, slice):
        return slice(plain(value.start), plain(value.stop), plain(value.step))
    if isinstance(value, np.ndarray) and type(value) is not np.ndarray:
        _check_means_the_same(value, "a Tensor")
    return value


@differentiable
def astype(x: Array, dtype: DTypeLike) -> Array:
    """The elements of ``x`` in another floating dtype."""
    return x.astype(dtype)


# --- Gradients as values --------------------------------------------------------------------------


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
    single = isinstance(xs, Tensor)
    if not isinstance(xs, Tensor | Iterable):
        raise TypeError(
            f"grad(y, xs): xs is a {type(xs).__name__}, not a Tensor or a sequence of Tensors"
        )
    inputs = [xs] if isinstance(xs, Tensor) else list(xs)
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor):
            raise TypeError(f"grad(y, xs): xs[{i}] is a {type(x).__name__}, not a Tensor")
        if x._node is None:
            raise RuntimeError(f"grad(y, xs): xs[{i}] does not require a gradient")
    found: dict[Any, Any] = {}
    if y._node is not None:
        g = _first_gradient(y, gradient)
        retain = create_graph if retain_graph is None else retain_graph
        nodes = [x._node for x in inputs if x._node is not None]
        with np.errstate(all="ignore"), recording(create_graph):
            if create_graph:
                start = g if isinstance(g, Tensor) else _tensor(g, None)
                found = walk(y._node, start, nodes, retain=retain, tensor=_tensor)
            else:
                array = g._data if isinstance(g, Tensor) else g
                found = walk(y._node, array, nodes, retain=retain)
            for x in inputs:  # that of a float16 is a float32 until here
                if x._node in found and found[x._node].dtype != x.dtype:
                    found[x._node] = found[x._node].astype(x.dtype)
    elif not allow_unused:
        raise RuntimeError("grad(y, xs): y does not require a gradient; was it under no_grad()?")
    results = []
    for i, x in enumerate(inputs):
        if x._node not in found:
            if not allow_unused:
                raise RuntimeError(
                    f"grad(y, xs): y does not depend on xs[{i}] (shape {x.shape}): leave it out, "
                    f"or say allow_unused=True to get zeros"
                )
            zeros = np.zeros(x.shape, x.dtype)
            results.append(_tensor(zeros, None) if create_graph else zeros)
        elif create_graph:
            results.append(found[x._node])
        else:
            results.append(np.copy(found[x._node]))  # its own, even if two are the same
    return results[0] if single else tuple(results)


def _first_gradient(y: Tensor, gradient: ArrayLike | Tensor | None) -> Array | Tensor:
    """The gradient that the walk begins with, checked against the Tensor it is for."""
    if gradient is None:
        if y._data.size != 1:
            raise ValueError(
                f"the gradient of a Tensor of shape {y.shape} needs a place to begin, since it has "
                f"more than one element: reduce it (sum, mean), or pass gradient= of that shape"
            )
        return _one(y._data.dtype).reshape(y._data.shape)
    if isinstance(gradient, Tensor):
        g: Array | Tensor = gradient if gradient.dtype == y.dtype else gradient.astype(y.dtype)
    else:
        g = as_real(gradient, "gradient=").astype(y.dtype)
    if g.shape != y.shape:
        raise ValueError(f"gradient= has shape {g.shape}, but the Tensor has shape {y.shape}")
    return g


@functools.cache
def _one(dtype: np.dtype[Any]) -> Array:
    one = np.ones((), dtype)
    one.flags.writeable = False
    return one


# --- What becomes a Tensor ------------------------------------------------------------------------


def _as_data(data: Any, dtype: DTypeLike | None) -> Array:
    if isinstance(data, Tensor):
        if data._node is not None:
            raise TypeError("Tensor(t) would lose the history of t: use t.detach(), or t itself")
        data = data._data
    array = as_real(data, "a Tensor")
    if dtype is not None:
        if np.dtype(dtype).kind not in "fiub":
            raise TypeError(f"a Tensor holds real numbers or booleans, not {np.dtype(dtype)}")
        return array.astype(dtype, copy=False)
    if not isinstance(data, np.ndarray | np.generic) and array.dtype.kind in "fiu":
        array = array.astype(np.float32)
    return array


def as_real(x: Any, where: str) -> Array:
    """Something array-like as an ndarray of real numbers or booleans, sharing its memory if it can.

    Everything that is not a Tensor comes into the engine through here, unless it is an ndarray of
    such numbers anyway. ``where`` says in an error what it was for.
    """
    if type(x) is not np.ndarray:
        _check_means_the_same(x, where)
    array: Array = as_array(x)
    if array.dtype.kind not in "fiub":
        raise _not_real(x, where)
    return array


def _not_real(x: Any, where: str) -> TypeError:
    dtype = np.asarray(x).dtype
    remedy = {
        "c": "compute with .real and .imag",
        "m": "divide by a unit, as in x / np.timedelta64(1, 's')",
        "M": "subtract a date and divide by a unit, as in (x - x[0]) / np.timedelta64(1, 's')",
        "V": "take one of its fields, as in x['name']",
    }.get(dtype.kind, "convert with astype(np.float32)")
    shown = f"an array of shape {x.shape}" if isinstance(x, np.ndarray) else repr(x)
    if len(shown) > 60:
        shown = f"a {type(x).__name__}"
    return TypeError(f"{where} takes real numbers or booleans, not {shown} of {dtype}: {remedy}")


_MASKED = (
    "what is masked would be lost or count as if it were not. Use x.filled(value) for an ndarray, "
    "and np.where(mask, 0, t) for what is to be left out"
)


def _check_means_the_same(x: Any, where: str) -> None:
    """Refuse arrays with an arithmetic of their own, as np.matrix and masked arrays are, alone or
    as rows in a list: a Tensor computes with the bare numbers in them."""
    if isinstance(x, list | tuple):
        for row in x:
            if isinstance(row, list | tuple | np.ndarray):
                _check_means_the_same(row, where)
    elif isinstance(x, np.ndarray):
        kind: Any = type(x)
        if (kind.__mul__, kind.__array_ufunc__) == (np.ndarray.__mul__, np.ndarray.__array_ufunc__):
            return
        remedy = _MASKED if hasattr(x, "filled") else "use np.asarray(x) for the numbers in it"
        raise TypeError(f"{where} with a {kind.__name__}, whose arithmetic is its own: {remedy}")


def _check_differentiable(data: Array) -> None:
    if data.dtype.kind != "f":
        raise TypeError(
            f"only floating-point Tensors can require a gradient, not {data.dtype}: convert with "
            f"astype(np.float32)"
        )
