"""What holds for a block of a program: whether calls are recorded, who watches them, and what
random numbers are drawn through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import numpy as np

from minidl.scopes import Block, F, Setting

# --- Whether to record ----------------------------------------------------------------------------

_recording = Setting("recording", default=True)
is_recording = _recording.current.get


def recording(on: bool) -> Block:
    """Switch recording on or off for a block; afterwards it is what it was before."""
    return Block(_recording, on)


@overload
def no_grad() -> Block: ...


@overload
def no_grad(function: F, /) -> F: ...


def no_grad(function: F | None = None, /) -> Block | F:
    """A block, or ``@no_grad()`` over a function, in which no graph is recorded.

    What is computed inside needs no gradient and costs no memory. Only the current thread is
    affected, and the previous mode comes back even if the block raises. A generator, a coroutine or
    an asynchronous generator under ``@no_grad()`` records nothing in any of its steps, and what
    happens between the steps is recorded as ever. Write it so, and not with a ``yield`` inside
    ``with no_grad():``, which would be in force for the consumer too until the block ends.

    Example:
        >>> import minidl
        >>> x = minidl.Tensor([1.0], requires_grad=True)
        >>> with minidl.no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False
    """
    block = recording(False)
    return block if function is None else block(function)


# --- Who is watching ------------------------------------------------------------------------------


class Watcher:
    """What can be seen of calls, rules and modules; each method says what happens, and does nothing
    unless a watcher has its own. Calls and rules are seen with their arrays, modules with their
    Tensors."""

    def entered(self, module: Any) -> None:
        """A module is called."""

    def left(self, module: Any, y: Any) -> None:
        """The call of the module entered last is over; it returned ``y``, or None if it failed."""

    def computed(self, operation: Any, inputs: list[Any], y: Any, node: Any) -> None:
        """A function of the table was called with ``inputs``, and left ``node`` or None."""

    def going_back(self, node: Any, name: str) -> None:
        """The rule for the input ``name`` of a node is about to run."""

    def went_back(self, node: Any, name: str, g: Any, d: Any) -> None:
        """It made ``d`` of the gradient ``g`` of the node."""

    def arriving(self, gradients: dict[Any, Any]) -> None:
        """A backward pass is about to add gradients to those of the leaves."""


_watcher = Setting("who watches", default=None)
current_watcher = _watcher.current.get


def watched_by(watcher: Watcher) -> Block:
    """A block in which all this is reported to ``watcher``.

    Raises:
        TypeError: if it is no Watcher.
    """
    if not isinstance(watcher, Watcher):
        raise TypeError(f"watched_by takes a Watcher, an object and not its class, got {watcher!r}")
    return Block(_watcher, watcher)


# --- What random numbers are drawn through --------------------------------------------------------

_drawing = Setting("what generators are seen through", default=None)
drawn_through = _drawing.current.get


def drawing_through(function: Callable[[np.random.Generator], Any]) -> Block:
    """A block in which ``rng.generator`` returns what ``function`` makes of the generator."""
    return Block(_drawing, function)
