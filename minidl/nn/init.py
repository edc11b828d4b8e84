"""Initial values of weights, by name.

Each function returns an array of the given shape. For a weight of shape (out, in, ...) the fan-in
is the number of inputs of one output, the fan-out the number of outputs of one input. He's scale
keeps the size of activations through layers followed by ReLU, Glorot's through layers followed by
tanh.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from minidl.arrays import Array, as_real
from minidl.checks import number, one_of
from minidl.rng import RNG, generator

Initializer = Callable[..., Array]


def he_normal(shape: tuple[int, ...], rng: RNG = None, dtype: DTypeLike = np.float32) -> Array:
    """Normal with standard deviation ``sqrt(2 / fan_in)``.

    Source: He et al., "Delving Deep into Rectifiers", 2015, equation 10.

    Example:
        >>> he_normal((2, 3), rng=0).shape
        (2, 3)
    """
    return normal(shape, math.sqrt(2 / _fans(shape)[0]), rng, dtype)


def he_uniform(shape: tuple[int, ...], rng: RNG = None, dtype: DTypeLike = np.float32) -> Array:
    """Uniform within ``sqrt(6 / fan_in)`` of zero: the standard deviation of :func:`he_normal`."""
    return uniform(shape, math.sqrt(6 / _fans(shape)[0]), rng, dtype)


def glorot_normal(shape: tuple[int, ...], rng: RNG = None, dtype: DTypeLike = np.float32) -> Array:
    """Normal with standard deviation ``sqrt(2 / (fan_in + fan_out))``.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010, equation 12.
    """
    return normal(shape, math.sqrt(2 / sum(_fans(shape))), rng, dtype)


def glorot_uniform(shape: tuple[int, ...], rng: RNG = None, dtype: DTypeLike = np.float32) -> Array:
    """Uniform within ``sqrt(6 / (fan_in + fan_out))`` of zero (the paper's equation 16)."""
    return uniform(shape, math.sqrt(6 / sum(_fans(shape))), rng, dtype)


def normal(
    shape: tuple[int, ...], std: float = 0.01, rng: RNG = None, dtype: DTypeLike = np.float32
) -> Array:
    """Normal with mean 0 and standard deviation ``std``."""
    std = number(std, "init.normal: std", at_least=0)
    return (generator(rng).standard_normal(shape) * std).astype(dtype)


def uniform(
    shape: tuple[int, ...], bound: float = 0.01, rng: RNG = None, dtype: DTypeLike = np.float32
) -> Array:
    """Uniform from ``-bound`` to ``bound``."""
    bound = number(bound, "init.uniform: bound", at_least=0)
    return generator(rng).uniform(-bound, bound, shape).astype(dtype)


def zeros(shape: tuple[int, ...], rng: RNG = None, dtype: DTypeLike = np.float32) -> Array:
    """Zeros: for biases. In weights they would leave all units of a layer alike for ever."""
    return np.zeros(shape, dtype)


def ones(shape: tuple[int, ...], rng: RNG = None, dtype: DTypeLike = np.float32) -> Array:
    """Ones."""
    return np.ones(shape, dtype)


BY_NAME: dict[str, Initializer] = {
    f.__name__: f
    for f in (he_normal, he_uniform, glorot_normal, glorot_uniform, normal, uniform, zeros, ones)
}


def by_name(name: str | Initializer) -> Initializer:
    """The initializer of that name; a function of ``(shape, rng=, dtype=)`` is returned as it is.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.

    Example:
        >>> by_name("zeros")((2,))
        array([0., 0.], dtype=float32)
    """
    if callable(name):
        return name
    return BY_NAME[one_of(name, "an initializer", list(BY_NAME))]


def initial(
    owner: str, init: str | Initializer, shape: tuple[int, ...], rng: RNG, dtype: DTypeLike
) -> Array:
    """The initial weight of a layer, by the name of an initializer or a function.

    Raises:
        TypeError: if it returns no real numbers.
        ValueError: if there is none of that name, or it returns another shape; messages begin with
            ``owner``.

    Example:
        >>> initial("Linear", "ones", (1, 2), None, np.float32)
        array([[1., 1.]], dtype=float32)
    """
    made = by_name(init)(shape, rng=rng, dtype=dtype)
    weight = as_real(made, f"{owner}: init").astype(dtype, copy=False)
    if weight.shape != shape:
        raise ValueError(f"{owner}: init returned shape {weight.shape}, expected {shape}")
    return weight


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) < 2:
        raise ValueError(f"fan-in and fan-out need a shape (out, in, ...), not {shape}")
    field = math.prod(shape[2:])
    return max(1, shape[1] * field), max(1, shape[0] * field)
