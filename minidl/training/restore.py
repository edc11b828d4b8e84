"""What a run borrows and gives back: the modes of its modules, and their buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from minidl.nn import Module
from minidl.tensor import plain


@contextmanager
def modes_restored(model: Module) -> Iterator[Callable[[], None]]:
    """Restore the modes afterwards; what is yielded switches to training, but for frozen modules.

    Frozen are those in eval mode within a model in train mode.
    """
    modes = [(module, module.training) for _, module in model.modules()]
    frozen = [module for module, mode in modes if model.training and not mode]

    def to_train_mode() -> None:
        model.train()
        for module in frozen:
            module.training = False

    try:
        yield to_train_mode
    finally:
        for module, mode in modes:
            module.training = mode


class Buffers:
    """The buffers of all modules of a model, which a failed step must not have moved."""

    def __init__(self, model: Module) -> None:
        self.places = [(module, name) for _, module in model.modules() for name in module.buffers]

    def copied(self) -> list[tuple[Module, str, Any, Any]]:
        """All buffers, each with its content."""
        found = [(module, name, getattr(module, name)) for module, name in self.places]
        return [(m, n, b, None if b is None else plain(b).copy()) for m, n, b in found]

    def put_back(self, copied: list[tuple[Module, str, Any, Any]]) -> None:
        for module, name, buffer, content in copied:
            if buffer is not None:
                plain(buffer)[...] = content
            if getattr(module, name) is not buffer:
                setattr(module, name, buffer)
