"""Parameter: the Tensor that a module trains."""

from __future__ import annotations

from numpy.typing import ArrayLike, DTypeLike

from minidl.nn.members import Member
from minidl.tensor import Tensor


class Parameter(Tensor, Member):
    """A Tensor that a module trains: it requires a gradient, and its data is a copy of what it got.

    Args:
        data: the initial values; float32 unless an ndarray of another floating dtype.
        requires_grad: False for one that starts out frozen.
        dtype: the dtype to convert to.

    Raises:
        TypeError: if the values are not floating-point numbers.

    Example:
        >>> Parameter([1.0, 2.0])
        Parameter([1., 2.], requires_grad=True)
    """

    __slots__ = ()

    def __init__(
        self, data: ArrayLike | Tensor, requires_grad: bool = True, dtype: DTypeLike | None = None
    ) -> None:
        super().__init__(data, dtype=dtype)
        self.array = self.array.copy()
        self.requires_grad = True
        if not requires_grad:
            self.requires_grad = False


class ParameterList(list[Parameter]):
    """A list of parameters that knows their names, for the state of an optimizer."""

    def __init__(self, named: dict[str, Parameter]) -> None:
        super().__init__(named.values())
        self.names = list(named)
