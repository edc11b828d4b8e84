"""How NumPy's own functions come to the engine when they are called on Tensors.

NumPy hands over every call of its functions with a Tensor among the arguments, by its dispatch
protocols. Here the call is brought into the form of its row in the derivative table, or passed on
to what the function is made of (:data:`COMPOSED`), or computed on the bare arrays
(:data:`PLAIN`). What is in none of the three is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from minidl.arrays import Array, check_means_the_same, refuse_mask
from minidl.autograd import TABLE, Leaf, Node, Operation
from minidl.refusals import not_differentiable_in
from minidl.table import Parameters, name_of

COMPOSED: dict[Callable[..., Any], Callable[..., Any]] = {}
"""NumPy's functions that need no rule of their own: the same function written in others."""

PLAIN: set[Callable[..., Any]] = set()
"""NumPy's functions without a useful derivative: they return plain arrays (see derivatives.py)."""

REMEDIES: dict[Callable[..., Any], str] = {}
"""What to write instead of functions of NumPy's that are in none of these tables."""


class Protocols:
    """What NumPy and Python's converters ask a Tensor."""

    __slots__ = ()

    array: Array
    node: Node | Leaf | None

    def _enter(self, function: Callable[..., Any], *values: Any) -> Any:
        """Call a function of the table with all its parameters (``tensor.apply``)."""
        raise NotImplementedError

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            raise TypeError(
                f"np.{ufunc.__name__}.{method} is not differentiable: use np.sum, np.max, "
                f"np.prod or np.cumsum on the Tensor, or pass its .data for a plain array"
            )
        return dispatch(self._enter, ufunc, inputs, kwargs)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        return dispatch(self._enter, func, args, kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            "a Tensor does not turn into an ndarray unasked, since its gradient would be lost: "
            "use .numpy() for a copy of its values, or .data for the array itself"
        )

    @property
    def _data(self) -> NoReturn:
        """What numpy.ma asks of whatever it computes with: the graph would be lost there, since
        masked arrays do not speak NumPy's protocols."""
        raise refuse_mask()

    _mask = _data


def dispatch(
    enter: Callable[..., Any], function: Callable[..., Any], args: Sequence[Any], kwargs: Any
) -> Any:
    """Call a function on Tensors, whatever kind it is of; one of the table by ``enter``.

    Raises:
        TypeError: if it is in no table, or does not take these arguments.
    """
    if function in COMPOSED:
        return _compose(function, args, kwargs)
    operation = TABLE.get(function)
    if operation is not None:
        return enter(function, *_in_order(operation, args, kwargs))
    if function in PLAIN:
        return _without_graph(function, args, kwargs)
    name = name_of(function)
    if not name.startswith("np."):
        raise TypeError(f"{name} has no derivative rule: give it one with minidl.vjp({name}, ...)")
    remedy = REMEDIES.get(function, "write it in functions that are")
    raise TypeError(
        f"{name} is not differentiable in minidl: {remedy} (see docs/numpy.md and "
        f"minidl/derivatives.py), or pass the Tensor's .data to get a plain array"
    )


def plain(value: Any) -> Any:
    """The value with the data of every Tensor in it, also inside tuples, lists and slices."""
    if isinstance(value, Protocols):
        return value.array
    if isinstance(value, tuple | list):
        return type(value)(plain(v) for v in value)
    if isinstance(value, slice):
        return slice(plain(value.start), plain(value.stop), plain(value.step))
    if isinstance(value, np.ndarray) and type(value) is not np.ndarray:
        check_means_the_same(value, "a Tensor")
    return value


def _in_order(operation: Operation, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """The arguments of a call, in the order of the parameters in the table, defaults filled in."""
    names, name = operation.names, operation.name
    values = operation.defaults | dict(zip(names, args, strict=False))
    if kwargs or len(args) > len(names):
        _check_taken(name, operation.called, args, kwargs)
        values |= {names[operation.called.index(called)]: v for called, v in kwargs.items()}
    if len(values) < len(names):
        missing = next(i for i, key in enumerate(names) if key not in values)
        raise TypeError(f"{name} is missing its argument {operation.called[missing]!r}")
    if values.get("out") is not None:
        raise TypeError(f"{name} with out= would write past the graph: use its result instead")
    if values.get("dtype") is not None:
        _check_dtype(operation, values)
    for key in names:
        if key not in operation.rules:
            value = values[key]
            if isinstance(value, Protocols) and value.node is not None:
                raise not_differentiable_in(operation, key)
            values[key] = plain(value)
    return [values[key] for key in names]


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


def _check_dtype(operation: Operation, values: dict[str, Any]) -> None:
    """A dtype= to compute in: integers would cut the numbers off, and have no gradient."""
    dtype = np.dtype(values["dtype"])
    inputs = [values[key] for key in operation.rules]
    flows = any(isinstance(x, Protocols) and x.node is not None for x in inputs)
    if dtype.kind not in ("f" if flows else "fiub"):
        raise TypeError(
            f"{operation.name} with dtype={dtype} on a Tensor"
            f"{' that requires a gradient' if flows else ''}: leave dtype= out or make it a "
            f"floating one, or pass the Tensor's .data to get a plain array"
        )


def _compose(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Call what NumPy's function is made of on Tensors."""
    made_of_others, name = COMPOSED[function], name_of(function)
    if kwargs.get("out") is not None:
        raise TypeError(f"{name} with out= would write past the graph: use its result")
    for value in (*args, *kwargs.values()):
        plain(value)  # refuses what is foreign, before a part of it is computed without a Tensor
    own = Parameters(made_of_others)
    if not own.variadic and not own.any_keyword:
        _check_taken(name, [*own.names, *own.keyword_only], args, kwargs)
    try:
        return made_of_others(*args, **kwargs)
    except (IndexError, TypeError, ValueError) as error:
        if name not in str(error):
            error.add_note(f"in {name}")
        raise


def _without_graph(function: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> Any:
    """Call a function that returns plain arrays; it cannot write into the data of a Tensor."""

    def read_only(value: Any) -> Any:
        if isinstance(value, Protocols):
            value = value.array.view()
            value.flags.writeable = False
        return plain(value)

    out = kwargs.get("out")
    if any(isinstance(x, Protocols) for x in (out if isinstance(out, tuple) else (out,))):
        raise TypeError(
            f"{name_of(function)} with out= would change a Tensor in place: use its result instead"
        )
    return function(*map(read_only, args), **{k: read_only(v) for k, v in kwargs.items()})
