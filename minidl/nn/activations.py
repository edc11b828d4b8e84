"""The activations beside ReLU, each a module around its function."""

from __future__ import annotations

from typing import Any, Literal

from minidl import functional as F
from minidl.checks import number, one_of
from minidl.nn.module import Module


class LeakyReLU(Module):
    """``x`` or ``negative_slope * x``; see :func:`minidl.functional.leaky_relu`."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = number(negative_slope, "LeakyReLU: negative_slope")

    def forward(self, x: Any) -> Any:
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"{self.negative_slope}"


class Sigmoid(Module):
    """``1 / (1 + exp(-x))``; see :func:`minidl.functional.sigmoid`."""

    def forward(self, x: Any) -> Any:
        return F.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Any:
        return F.tanh(x)


class GELU(Module):
    """``x * P(Z <= x)``; see :func:`minidl.functional.gelu`."""

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        choices: tuple[Literal["none", "tanh"], ...] = ("none", "tanh")
        self.approximate = one_of(approximate, "GELU: approximate", choices)

    def forward(self, x: Any) -> Any:
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softmax(Module):
    """Shares that sum to 1; see :func:`minidl.functional.softmax`.

    PyTorch calls the axis ``dim``. A classifier needs none: the loss takes logits.
    """

    def __init__(self, axis: int = -1) -> None:
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise TypeError(f"Softmax: axis is a whole number, got {axis!r}")
        self.axis = axis

    def forward(self, x: Any) -> Any:
        return F.softmax(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"
