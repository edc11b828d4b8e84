"""Contents: what is in a module, listed, switched between modes, saved, loaded and shown."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import ArrayLike

from minidl.arrays import Array
from minidl.nn.hidden import check_in_place_of_parameter, check_nothing_is_hidden
from minidl.nn.members import Member, leaves, members, walk
from minidl.nn.parameter import Parameter, ParameterList
from minidl.nn.state import load, named, saved
from minidl.nn.summary import table
from minidl.tensor import Tensor

if TYPE_CHECKING:
    from minidl.nn.module import Module


class Contents(Member):
    """The half of a Module that a training step does not enter; the other is in ``module.py``."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(self.__dict__.get(name), Parameter):
            check_in_place_of_parameter(self, name, value)
        super().__setattr__(name, value)

    def children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside, with their names, in the order of the attributes."""
        for name, value in members(self.__dict__.items()):
            if not isinstance(value, Tensor):
                yield name, value

    def modules(self) -> Iterator[tuple[str, Module]]:
        """This module (its name is empty) and all inside it, each once, with dotted names."""
        return walk(self)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters, each once even if shared, with dotted names such as ``0.weight``."""
        seen = set()
        for name, value in named(self).items():
            if isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> ParameterList:
        """All parameters as a list, each once even if shared."""
        return ParameterList(dict(self.named_parameters()))

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for _, value in leaves(self):
            if isinstance(value, Parameter):
                value.grad = None

    def train(self, mode: bool = True) -> Self:
        """Switch this module and all inside it to training (or, with False, to prediction)."""
        check_nothing_is_hidden(self)
        for _, module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch this module and all inside it to prediction."""
        return self.train(False)

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and buffers, by their dotted names."""
        return saved(self)

    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
        """Take over parameters and buffers by name. Values are copied, in the dtype they have here.

        NaN and infinity are taken over as they are.

        Raises:
            TypeError: if ``state`` is not a dict.
            ValueError: for names that are missing or unexpected, another shape or kind of dtype, a
                value too large for the dtype here, or two values for one shared array. The message
                lists all that does not fit, and nothing has been changed.
        """
        load(self, state)

    def summary(self, x: ArrayLike | Tensor | None = None) -> None:
        """Print a table of the layers with the shapes of their parameters and how many there are.

        Args:
            x: a batch of input. With it the table also shows the shape of each layer's output.

        Example:
            >>> from minidl import nn
            >>> nn.Sequential(nn.Linear(2, 3), nn.ReLU()).summary()
            layer        parameters                 count
            ---------------------------------------------
            0: Linear    weight (3, 2), bias (3,)       9
            1: ReLU                                     0
            ---------------------------------------------
            Sequential   trainable 9                    9
        """
        print(table(self, x))

    def extra_repr(self) -> str:
        """What stands between the parentheses in the repr of a layer."""
        return ""

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}" for name, child in self.children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        inside = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {inside}\n)"
