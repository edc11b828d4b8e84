"""The layers: modules around the functions of ``functional``, with their parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import DTypeLike

from minidl import functional as F
from minidl.nn.init import Initializer, by_name
from minidl.nn.module import Module, Parameter
from minidl.rng import RNG, generator
from minidl.tensor import Array, Tensor


class Sequential(Module):
    """Modules one after the other.

    ``model[i]`` is the module at place i, ``model[:i]`` a Sequential of the first i (the same
    modules, not copies), ``len(model)`` how many there are.

    Args:
        modules: the modules, in order.

    Raises:
        TypeError: if one of them is not a module.

    Example:
        >>> model = Sequential(Linear(4, 8), ReLU(), Linear(8, 3))
        >>> model(np.zeros((5, 4), np.float32)).shape
        (5, 3)
    """

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            if not isinstance(module, Module):
                remedy = "write a Module whose forward calls it"
                if isinstance(module, type):
                    remedy = f"put brackets behind it, {module.__name__}(...)"
                elif isinstance(module, list | tuple):
                    remedy = "unpack it with a star, Sequential(*modules)"
                raise TypeError(
                    f"Sequential takes modules one by one, and argument {i} is a "
                    f"{type(module).__name__}: {remedy}"
                )
            setattr(self, str(i), module)

    def forward(self, x: Any) -> Any:
        for module in self.__dict__.values():
            if isinstance(module, Module):
                x = module(x)
        return x

    def __iter__(self) -> Iterator[Module]:
        return (m for m in self.__dict__.values() if isinstance(m, Module))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Module:
        modules = list(self)
        return Sequential(*modules[index]) if isinstance(index, slice) else modules[index]


class Linear(Module):
    """``y = x @ weight.T + bias``: every output is a weighted sum of all inputs.

    Args:
        in_features: K, the length of the last axis of the input.
        out_features: C, the length of the last axis of the output.
        bias: whether there is a bias, which starts at zero.
        init: the initial weights, a name or a function of ``nn.init``; He's for layers before ReLU.
        rng: a seed, a generator, or None for minidl's own.
        dtype: of the parameters.

    Attributes:
        weight: shape (C, K).
        bias: shape (C,), or None.

    Raises:
        ValueError: if a number of features is not a whole number above 0, or if ``init`` is not
            known or returns another shape.

    Example:
        >>> Linear(3, 2)(np.ones((4, 3), np.float32)).shape
        (4, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        init: str | Initializer = "he_normal",
        rng: RNG = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        _check_count("Linear", in_features=in_features, out_features=out_features)
        shape = (int(out_features), int(in_features))
        weight = np.asarray(by_name(init)(shape, rng=rng, dtype=dtype), dtype)
        if weight.shape != shape:
            raise ValueError(f"Linear: init returned shape {weight.shape}, expected {shape}")
        self.weight = Parameter(weight)
        self.bias = Parameter(np.zeros(shape[0], dtype)) if bias else None

    def forward(self, x: Tensor | Array) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        c, k = self.weight.shape
        return f"{k}, {c}" + ("" if self.bias is not None else ", bias=False")


class BatchNorm(Module):
    """Batch normalisation over every axis but the second, for (N, C) and (N, C, ...).

    In training each channel is normalised by the mean and variance of the batch, and the running
    statistics follow them; in prediction (``eval()``) the running statistics are used.
    See :func:`minidl.functional.batch_norm`.

    Args:
        num_features: C, the number of channels.
        eps: added to the variance, inside the root.
        momentum: the weight of a new batch in the running statistics.
        affine: whether there are a weight (at first 1) and a bias (at first 0) for each channel.
        dtype: of parameters and running statistics.

    Attributes:
        weight, bias: shape (C,), or None.
        running_mean, running_var: ndarrays of shape (C,), at first 0 and 1.
        num_batches_tracked: how many batches the running statistics have seen.

    Raises:
        ValueError: if an argument is out of range; in training, for a batch of one value per
            channel.

    Example:
        >>> BatchNorm(1)(np.array([[1.0], [3.0]], np.float32))
        Tensor([[-0.999995],
                [ 0.999995]], from=batch_norm)
    """

    buffers = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        _check_count("BatchNorm", num_features=num_features)
        if not 0 < eps < math.inf:
            raise ValueError(f"BatchNorm: eps must be a finite number above 0, got {eps!r}")
        if not 0 <= momentum <= 1:
            raise ValueError(f"BatchNorm: momentum must be from 0 to 1, got {momentum!r}")
        self.eps = eps
        self.momentum = momentum
        self.weight = Parameter(np.ones(num_features, dtype)) if affine else None
        self.bias = Parameter(np.zeros(num_features, dtype)) if affine else None
        self.running_mean = np.zeros(num_features, dtype)
        self.running_var = np.ones(num_features, dtype)
        self.num_batches_tracked = np.zeros((), np.int64)

    def forward(self, x: Tensor | Array) -> Tensor:
        y = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )
        if self.training:
            self.num_batches_tracked += 1
        return y

    def extra_repr(self) -> str:
        affine = "" if self.weight is not None else ", affine=False"
        return f"{len(self.running_mean)}, eps={self.eps}, momentum={self.momentum}{affine}"


class ReLU(Module):
    """``max(x, 0)``; see :func:`minidl.functional.relu`."""

    def forward(self, x: Any) -> Any:
        return F.relu(x)


class LeakyReLU(Module):
    """``x`` or ``negative_slope * x``; see :func:`minidl.functional.leaky_relu`."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

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
        if approximate not in ("none", "tanh"):
            raise ValueError(f"GELU: approximate is 'none' or 'tanh', not {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Dropout(Module):
    """Random zeros in training, nothing in prediction; see :func:`minidl.functional.dropout`.

    Args:
        p: the probability to drop an element, from 0 to 1.
        rng: a seed, a generator, or None for minidl's own.

    Raises:
        ValueError: if ``p`` is not from 0 to 1.
    """

    def __init__(self, p: float = 0.5, rng: RNG = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p is a probability from 0 to 1, not {p!r}")
        self.p = p
        # None stays None, so that a copy of the model, too, draws from minidl's own generator.
        self.rng = None if rng is None else generator(rng)

    def forward(self, x: Any) -> Any:
        return F.dropout(x, self.p, self.training, self.rng)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """Every axis but the first as one: (N, ...) to (N, K).

    Raises:
        ValueError: if the input has no axes.

    Example:
        >>> Flatten()(Tensor(np.zeros((5, 8, 8)))).shape
        (5, 64)
    """

    def forward(self, x: Any) -> Any:
        if x.ndim == 0:
            raise ValueError("Flatten: x has shape (), expected (N, ...)")
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


def _check_count(name: str, **values: Any) -> None:
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name}: {key} must be a whole number above 0, got {value!r}")
