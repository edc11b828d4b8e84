"""What the engine says of a call or a rule that is wrong.

The functions here build errors, or notes for errors, and are called only when there is one: so that
the texts, which name what came, what was expected and the remedy, stand outside the engine's files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

FREED = (
    "backward through a graph that an earlier backward has freed: compute the result anew, or keep "
    "the graph with backward(retain_graph=True) the first time"
)

NO_GRADIENT = (
    "backward() on a Tensor that does not require a gradient: it was computed from none that does, "
    "or under no_grad(). Set requires_grad=True on a leaf beforehand; if `w = w - step` under "
    "no_grad() made it, the name w is a new Tensor without a gradient since: write w.data -= step"
)

NOT_RETAINED = (
    "retain_grad() in a compiled step: its program has no place for a gradient between, and writes "
    "it into memory that it uses again. Make a step that is not compiled to look at it"
)

NOT_A_LEAF = (
    "cannot rebind the data of a Tensor that was computed from others, since its history would no "
    "longer be true: use detach() to get one without history"
)

NOT_SWITCHED = (
    "requires_grad can be switched on a leaf only, and this Tensor was computed from others: use "
    "detach()"
)


def no_gradient(d: Any, node: Any, name: str) -> TypeError:
    """A rule returned something else than an array."""
    came = "None" if d is None else f"a {type(d).__name__}"
    return TypeError(
        f"the derivative rule of {node.operation.name} for its input {name!r} returned {came}: a "
        f"rule returns the gradient, an array in the shape of its input (does it lack a return, or "
        f"write in place?)"
    )


def misshapen(d: Any, node: Any, parent: Any) -> ValueError:
    """A rule returned an array whose shape cannot be summed to that of its input."""
    return ValueError(
        f"a derivative rule of {node.operation.name} returned a gradient of shape {d.shape} for an "
        f"input of shape {parent.shape}: a rule returns the gradient in the shape of its input (or "
        f"in a shape that the input was broadcast to)"
    )


def no_such_call(function: Any, operation: Any, given: int) -> TypeError:
    """apply() of a function that is not in the table, or with too few or many values."""
    if operation is None:
        name = getattr(function, "__name__", repr(function))
        return TypeError(f"{name} has no derivative rule: give it one with minidl.vjp({name}, ...)")
    return TypeError(
        f"apply({operation.name}, ...) takes all parameters of its row, "
        f"({', '.join(operation.names)}), and got {given} values"
    )


def other_result(operation: Any, y: Any) -> TypeError:
    """A function returned something else than its row says."""
    came = {tuple: f"a tuple of {len(y) if isinstance(y, tuple) else 0}", type(None): "None"}.get(
        type(y), f"a {type(y).__name__}"
    )
    wanted = "one array"
    if operation.beside:
        wanted = f"a tuple (result, {', '.join(operation.beside)})"
    return TypeError(
        f"{operation.name} returned {came}, and its spec asks for {wanted}: does it lack a return? "
        f"What a function leaves for its rules stands behind an arrow in the spec"
    )


def not_differentiable_in(operation: Any, name: str) -> TypeError:
    """A Tensor that requires a gradient was given for an argument without a rule."""
    return TypeError(
        f"{operation.name} is not differentiable in its argument {name!r}, which requires a "
        f"gradient: pass {name}.detach()"
    )


def note_call(error: Exception, operation: Any, values: Sequence[Any]) -> None:
    """Note the function, the shapes of its inputs, and a remedy, unless the error names it."""
    if str(error).startswith(f"{operation.name}: "):
        return
    pairs = zip(operation.names, values, strict=False)
    shapes = ", ".join(f"{n}: {np.shape(x)}" for n, x in pairs if n in operation.rules)
    remedy = ""
    if isinstance(error, ValueError) and isinstance(operation.function, np.ufunc):
        remedy = (
            ": the last axis of the first must be as long as the one before the last of the second"
            if operation.function is np.matmul
            else ": axes match from the right and must be equal or 1: reshape one of them"
        )
    error.add_note(f"in {operation.name} ({shapes}){remedy}")


def other_shape(what: str, came: tuple[int, ...], shape: tuple[int, ...]) -> ValueError:
    """Something was set that has another shape than its Tensor."""
    remedy = "make a new Tensor for another shape" if what == "data" else "they must be equal"
    return ValueError(f"{what} has shape {came}, and the Tensor {shape}: {remedy}")


def no_place_to_begin(shape: tuple[int, ...]) -> ValueError:
    """backward() of several elements without the gradient of the Tensor itself."""
    return ValueError(
        f"the gradient of a Tensor of shape {shape} needs a place to begin, since it has more than "
        f"one element: reduce it (sum, mean), or pass gradient= of that shape"
    )
