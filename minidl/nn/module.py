"""Module: a function with parameters, made of other such functions; Sequential: one after another.

A module is an object with a ``forward`` method. Its parameters are found by looking at its
attributes, in the order in which they were set: Parameters, modules, and lists, tuples, dicts,
deques, dataclasses and namespaces of them at any depth. Nothing needs to be registered, and nothing
can be forgotten: what is held where nobody looks is refused. How a module lists its parts, switches
between training and prediction, is saved, loaded and shown is in ``contents.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minidl.modes import current_watcher
from minidl.nn.calls import note_place, watched
from minidl.nn.contents import Contents
from minidl.nn.hidden import refuse_as_step


class Module(Contents):
    """The base class of layers and models: subclass it and write ``forward``.

    Attributes:
        training: whether the module is being trained (True at first; see ``train`` and ``eval``).
        buffers: class attribute, the names of ndarray attributes that belong to the state.

    Raises:
        TypeError: if an attribute that is a Parameter is set to another Tensor or an ndarray; by
            ``parameters``, ``state_dict``, ``train`` and their like, if a part of the module is
            held where it is not found, such as in the class or in an object that is no module.

    Example:
        >>> import numpy as np
        >>> from minidl import nn
        >>> class Scale(nn.Module):
        ...     def __init__(self):
        ...         self.factor = nn.Parameter([2.0])
        ...     def forward(self, x):
        ...         return x * self.factor
        >>> Scale()(np.array([1.0, 3.0], np.float32)).data
        array([2., 6.], dtype=float32)
    """

    training: bool = True
    buffers: tuple[str, ...] = ()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every module has its own."""
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        watcher = current_watcher()
        try:
            if watcher is not None:
                return watched(watcher, self, args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            note_place(self, error)
            raise


class Sequential(Module):
    """Modules one after the other, as they are given.

    ``model[i]`` is the module at place i, ``model[:i]`` a Sequential of the first i (the same
    modules, not copies), ``len(model)`` how many there are.

    Raises:
        TypeError: if an argument is not a module.

    Example:
        >>> import numpy as np
        >>> from minidl import nn
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> model(np.zeros((5, 4), np.float32)).shape
        (5, 3)
    """

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                refuse_as_step(i, module)
            setattr(self, str(i), module)

    def forward(self, x: Any) -> Any:
        for module in self.__dict__.values():
            if isinstance(module, Module):  # and not a setting, such as ``training``
                x = module(x)
        return x

    def __iter__(self) -> Iterator[Module]:
        return (m for m in self.__dict__.values() if isinstance(m, Module))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, index: int | slice) -> Any:
        modules = list(self)
        return Sequential(*modules[index]) if isinstance(index, slice) else modules[index]
