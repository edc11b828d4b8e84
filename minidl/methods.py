"""What a Tensor does as an ndarray does it: operators, NumPy's methods, Python's protocols.

They are a catalogue: each calls a function of the derivative table, or of compositions.py.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
from numpy.typing import DTypeLike

from minidl.arrays import Array, as_real
from minidl.autograd import TABLE, Leaf, Node
from minidl.leaves import retain
from minidl.modes import is_recording
from minidl.protocols import COMPOSED, PLAIN, Protocols, dispatch, plain

if TYPE_CHECKING:
    from minidl.tensor import Tensor


def astype(x: Any, dtype: DTypeLike) -> Any:
    """The elements of ``x`` in another floating dtype."""
    return x.astype(dtype)


class Methods(Protocols):
    """The operators and methods of a Tensor."""

    __slots__ = ()

    @property
    def T(self) -> Tensor:
        """The Tensor with its axes reversed."""
        return self._enter(np.transpose, self, None)

    @property
    def mT(self) -> Tensor:
        """The Tensor with its last two axes exchanged."""
        return self._enter(np.swapaxes, self, -1, -2)

    def numpy(self) -> Array:
        """The data as an ndarray of its own (a copy; ``data`` is the array itself)."""
        return self.array.copy()

    def retain_grad(self) -> None:
        """Keep the gradient of a result on the way: after ``backward()`` it is in ``grad``.

        Otherwise only leaves have one. It may be asked for until ``backward()``, also of what is
        used already; several backward passes add up, as in a leaf. A leaf keeps its gradient in any
        case. :func:`minidl.grad` touches no ``grad``, this one neither (PyTorch's fills it).

        Raises:
            RuntimeError: if no gradient flows to the Tensor, the graph was freed by an earlier
                backward, or the step is being compiled.

        Example:
            >>> from minidl import Tensor
            >>> x = Tensor([1.0, 2.0], requires_grad=True)
            >>> y = x * x
            >>> y.retain_grad()
            >>> (3 * y).sum().backward()
            >>> y.grad, x.grad
            (array([3., 3.], dtype=float32), array([ 6., 12.], dtype=float32))
        """
        retain(self)

    def item(self) -> Any:
        """The only element, as a Python number.

        Raises:
            ValueError: if there is not exactly one element.
        """
        if self.array.size != 1:
            raise ValueError(
                f"item() is for one element, and shape {self.array.shape} has {self.array.size}"
            )
        return self.array.item()

    def tolist(self) -> Any:
        """The data as nested lists of Python numbers."""
        return self.array.tolist()

    # Operators --------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return self._enter(np.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return self._enter(np.add, other, self)

    def __sub__(self, other: Any) -> Tensor:
        return self._enter(np.subtract, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return self._enter(np.subtract, other, self)

    def __mul__(self, other: Any) -> Tensor:
        return self._enter(np.multiply, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return self._enter(np.multiply, other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return self._enter(np.divide, self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._enter(np.divide, other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return self._enter(np.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return self._enter(np.matmul, other, self)

    def __pow__(self, other: Any) -> Tensor:
        if type(other) is int and other == 2:
            return self._enter(np.square, self)
        return self._enter(np.power, self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return self._enter(np.power, other, self)

    def __neg__(self) -> Tensor:
        return self._enter(np.negative, self)

    def __pos__(self) -> Tensor:
        return self._enter(np.positive, self)

    def __abs__(self) -> Tensor:
        return self._enter(np.abs, self)

    def __getitem__(self, index: Any) -> Tensor:
        return self._enter(operator.getitem, self, plain(index))

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
        if isinstance(self.node, Leaf) and not is_recording():
            raise TypeError(
                f"`w {sign} ...` under no_grad() does not change the Tensor w, which requires a "
                f"gradient, but binds the name to a new one that does not: write "
                f"`w.data {sign} ...`"
            )
        return cast("Tensor", self)

    # Comparisons give plain arrays: there is nothing to differentiate.

    def __eq__(self, other: object) -> Any:
        return self.array == plain(other)

    def __ne__(self, other: object) -> Any:
        return self.array != plain(other)

    def __lt__(self, other: Any) -> Any:
        return self.array < plain(other)

    def __le__(self, other: Any) -> Any:
        return self.array <= plain(other)

    def __gt__(self, other: Any) -> Any:
        return self.array > plain(other)

    def __ge__(self, other: Any) -> Any:
        return self.array >= plain(other)

    __hash__ = object.__hash__

    # Methods, as an ndarray has them ----------------------------------------------------------

    def sum(
        self, axis: Any = None, keepdims: bool = False, *, initial: Any = None, where: Any = True
    ) -> Tensor:
        """The sum over ``axis``; see ``numpy.sum``."""
        where = where if where is True else plain(where)
        return self._enter(np.sum, self, axis, None, None, keepdims, initial, where)

    def mean(self, axis: Any = None, keepdims: bool = False, *, where: Any = True) -> Tensor:
        """The mean over ``axis``; see ``numpy.mean``."""
        if where is True:
            return self._enter(np.mean, self, axis, None, None, keepdims)
        options = {"keepdims": keepdims, "where": where}
        return dispatch(self._enter, np.mean, (self, axis), options)

    def var(self, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
        """The variance over ``axis``; see ``numpy.var``."""
        return dispatch(self._enter, np.var, (self, axis), {"ddof": ddof, "keepdims": keepdims})

    def std(self, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
        """The standard deviation over ``axis``; see ``numpy.std``."""
        return dispatch(self._enter, np.std, (self, axis), {"ddof": ddof, "keepdims": keepdims})

    def max(
        self, axis: Any = None, keepdims: bool = False, *, initial: Any = None, where: Any = True
    ) -> Tensor:
        """The maximum over ``axis``; see ``numpy.max``."""
        where = where if where is True else plain(where)
        return self._enter(np.max, self, axis, None, keepdims, initial, where)

    def min(
        self, axis: Any = None, keepdims: bool = False, *, initial: Any = None, where: Any = True
    ) -> Tensor:
        """The minimum over ``axis``; see ``numpy.min``."""
        where = where if where is True else plain(where)
        return self._enter(np.min, self, axis, None, keepdims, initial, where)

    def prod(
        self, axis: Any = None, keepdims: bool = False, *, initial: Any = 1, where: Any = True
    ) -> Tensor:
        """The product over ``axis``; see ``numpy.prod``."""
        options = {"keepdims": keepdims, "initial": initial, "where": where}
        return dispatch(self._enter, np.prod, (self, axis), options)

    def cumsum(self, axis: int | None = None) -> Tensor:
        """The running sum along ``axis``; see ``numpy.cumsum``."""
        return dispatch(self._enter, np.cumsum, (self, axis), {})

    def cumprod(self, axis: int | None = None) -> Tensor:
        """The running product along ``axis``; see ``numpy.cumprod``."""
        return dispatch(self._enter, np.cumprod, (self, axis), {})

    def argmax(self, axis: int | None = None) -> Any:
        """The index of the maximum, a plain array; see ``numpy.argmax``."""
        return self.array.argmax(axis)

    def argmin(self, axis: int | None = None) -> Any:
        """The index of the minimum, a plain array; see ``numpy.argmin``."""
        return self.array.argmin(axis)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; see ``numpy.reshape``."""
        return self._enter(np.reshape, self, shape[0] if len(shape) == 1 else shape, "C")

    def ravel(self) -> Tensor:
        """The elements along one axis; see ``numpy.ravel``."""
        return self.reshape(-1)

    def flatten(self) -> Tensor:
        """The elements along one axis, as :meth:`ravel`."""
        return self.reshape(-1)

    def transpose(self, *axes: Any) -> Tensor:
        """The axes in another order, reversed by default; see ``numpy.transpose``."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        return self._enter(np.transpose, self, order)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Two axes exchanged; see ``numpy.swapaxes``."""
        return self._enter(np.swapaxes, self, axis1, axis2)

    def squeeze(self, axis: Any = None) -> Tensor:
        """Axes of length one removed; see ``numpy.squeeze``."""
        return self._enter(np.squeeze, self, axis)

    def repeat(self, repeats: Any, axis: int | None = None) -> Tensor:
        """Elements repeated; see ``numpy.repeat``."""
        return dispatch(self._enter, np.repeat, (self, repeats, axis), {})

    def take(self, indices: Any, axis: int | None = None) -> Tensor:
        """Elements by index along ``axis``; see ``numpy.take``."""
        return dispatch(self._enter, np.take, (self, indices, axis), {})

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """Elements limited to an interval; see ``numpy.clip``."""
        return dispatch(self._enter, np.clip, (self, min, max), {})

    def dot(self, other: Any) -> Tensor:
        """The dot product; see ``numpy.dot``."""
        return dispatch(self._enter, np.dot, (self, other), {})

    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """The diagonal; see ``numpy.diagonal``."""
        return dispatch(self._enter, np.diagonal, (self, offset, axis1, axis2), {})

    def trace(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """The sum along the diagonal; see ``numpy.trace``."""
        return dispatch(self._enter, np.trace, (self, offset, axis1, axis2), {})

    def astype(self, dtype: DTypeLike) -> Tensor:
        """The elements in another dtype; the gradient comes back in the old one."""
        if np.dtype(dtype).kind != "f":
            t: Tensor = cast(Any, self).detach()
            t.array = as_real(self.array.astype(dtype), "a Tensor")
            return t
        return self._enter(astype, self, dtype)

    def copy(self) -> Tensor:
        """A Tensor with memory of its own; gradients flow through it."""
        return self._enter(np.copy, self, "K", False)

    def all(self, axis: Any = None) -> Any:
        """Whether all elements are true, a plain array or bool; see ``numpy.all``."""
        return self.array.all(axis)

    def any(self, axis: Any = None) -> Any:
        """Whether any element is true, a plain array or bool; see ``numpy.any``."""
        return self.array.any(axis)

    def __getattr__(self, name: str) -> NoReturn:
        """What a Tensor does not have; a function of NumPy's is called by its own name."""
        function = None if name.startswith("_") else getattr(np, name, None)
        known = callable(function) and any(function in t for t in (TABLE, COMPOSED, PLAIN))
        remedy = f": write np.{name}(t), which takes Tensors" if known else ""
        raise AttributeError(f"a {type(self).__name__} has no attribute {name!r}{remedy}")

    # Python's protocols -----------------------------------------------------------------------

    def __len__(self) -> int:
        if not self.array.shape:
            raise TypeError("a Tensor without axes has no length")
        return len(self.array)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self.array == plain(value)).any())

    # NumPy and the math module ask for these when a Tensor is put into an array or a function that
    # know nothing of graphs: ``a[0] = s``, ``np.float64(s)``, ``math.exp(s)``.

    def __float__(self) -> float:
        return float(self._unasked("float"))

    def __int__(self) -> int:
        return int(self._unasked("int"))

    def __complex__(self) -> complex:
        return complex(self._unasked("complex"))

    def _unasked(self, kind: str) -> Any:
        if self.node is not None and is_recording():
            raise TypeError(
                f"a Tensor that requires a gradient does not turn into a {kind} unasked, since its "
                f"gradient would be lost: use .item() for the number, or functions of NumPy to "
                f"keep the gradient (np.exp(x), not math.exp(x); np.stack, not a[0] = x)"
            )
        return self.item()

    def __bool__(self) -> bool:
        return bool(self.array)

    def __index__(self) -> int:
        return operator.index(self.array)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __repr__(self) -> str:
        values = np.array2string(self.array, separator=", ", prefix="Tensor(")
        dtype = "" if self.array.dtype == np.float32 else f", dtype={self.array.dtype}"
        history = ""
        if isinstance(self.node, Node):
            history = f", from={self.node.operation.name}"
        elif self.node is not None:
            history = ", requires_grad=True"
        return f"{type(self).__name__}({values}{dtype}{history})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        state = self.__reduce__()
        copied = state[0](*state[1])
        copied.array = copied.array.copy()
        memo[id(self)] = copied
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self.node, Node):
            raise TypeError(
                "a Tensor that was computed from others cannot be copied deeply or pickled, since "
                "its history would be lost: use detach() or numpy()"
            )
        g = None if self.node is None else self.node.grad
        return _rebuilt, (type(self), self.array, self.node is not None, g)


def _rebuilt(kind: type[Tensor], data: Array, requires_grad: bool, g: Array | None) -> Tensor:
    """A leaf from its parts, for copies and pickles."""
    t = object.__new__(kind)
    t.array, t.node = data, Leaf(data) if requires_grad else None
    t.grad = g
    return t
