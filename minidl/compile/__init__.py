"""The compiler: a training step as plain NumPy source (see ``docs/compile.md``).

- ``traced.py``: arrays that write down what is done to them; ``program.py``: what they write.
- ``trace.py``: a step made on such arrays.
- ``memory.py``: which calls are needed, in which order, and where each value stands in memory.
- ``source.py``: the program as text.
- ``step.py``: which program is for which batch, and when it is trusted.

These are loaded when a step is compiled: they would be a fifth of the time of ``import minidl``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minidl.compile.program import CompileError
from minidl.nn import Module
from minidl.optim import Optimizer

if TYPE_CHECKING:
    from minidl.compile.step import CompiledStep

__all__ = ["CompileError", "CompiledStep", "compile"]


def compile(
    model: Module, loss: Callable[..., Any], optimizer: Optimizer, *, max_norm: float | None = None
) -> CompiledStep:
    """Return a training step that runs as a NumPy program written for the model.

    ``step(x, y)`` does what ``optimizer.zero_grad(); l = loss(model(x), y); l.backward();
    optimizer.step()`` does, bit for bit, and returns the loss as a number. The program is written
    when a batch of a new shape comes, by making the step once on arrays that write down what is
    done to them. It is trusted after two steps that were made both ways and agreed in every bit.

    Args:
        model: any Module.
        loss: a function of predictions and targets that returns a Tensor of one number.
        optimizer: over the parameters of the model. The gradients of others are not computed.
        max_norm: clip the gradients as :func:`minidl.optim.clip_grad_norm` does.

    Returns:
        The step, a :class:`CompiledStep`.

    Raises:
        TypeError, ValueError: for a model, loss, optimizer or ``max_norm`` that is none.
        CompileError: for an optimizer with a ``step`` of its own; and at a step for which a program
            is written, if it cannot be. The message has the line. Nothing was changed then.

    Example:
        >>> import numpy as np
        >>> import minidl
        >>> from minidl import nn, optim
        >>> minidl.seed(0)
        >>> model = nn.Linear(2, 1)
        >>> step = minidl.compile(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
        >>> x, y = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
        >>> losses = [step(x, y) for _ in range(20)]
        >>> losses[-1] < 1e-3
        True
        >>> print(next(line.strip() for line in step.source.splitlines() if "dot" in line))
        x.dot(weight_T, out=y_out)  # (4, 1)
    """
    from minidl.compile.step import CompiledStep

    return CompiledStep(model, loss, optimizer, max_norm)


def __getattr__(name: str) -> Any:
    if name == "CompiledStep":
        from minidl.compile.step import CompiledStep

        return CompiledStep
    raise AttributeError(f"module 'minidl.compile' has no attribute {name!r}")
