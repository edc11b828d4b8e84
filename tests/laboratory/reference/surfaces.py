"""Four test surfaces, each with its value and its gradient written out by hand in plain NumPy.

The script that makes the reference trajectories and the tests that follow them both take the
gradients from here. So an optimizer gets the very same numbers in both places, and a comparison
tells something about the rule alone. Only sums, differences and products occur, in a fixed order,
which IEEE arithmetic rounds alike everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

EIGENVALUES = np.array([1.0, 5.0, 30.0, 180.0, 1000.0])
EIGENVALUES.flags.writeable = False


@dataclass(frozen=True)
class Surface:
    """A function of a float64 vector, its gradient (a new vector), and where the paths start."""

    value: Callable[[Vector], float]
    gradient: Callable[[Vector], Vector]
    start: tuple[float, ...]


def rosenbrock(p: Vector) -> float:
    """`(1 - x)^2 + 100 (y - x^2)^2`: a curved valley, minimum 0 at (1, 1)."""
    x, y = p
    u, w = 1.0 - x, y - x * x
    return float(u * u + 100.0 * (w * w))


def rosenbrock_gradient(p: Vector) -> Vector:
    """`(-2 (1 - x) - 400 x (y - x^2),  200 (y - x^2))`."""
    x, y = p
    u, w = 1.0 - x, y - x * x
    return np.array([-2.0 * u - 400.0 * (x * w), 200.0 * w])


def beale(p: Vector) -> float:
    """`sum over k = 1, 2, 3 of t_k^2`, `t_k = c_k - x + x y^k`, `c = (1.5, 2.25, 2.625)`.

    The minimum is 0 at (3, 0.5). At y = 1 the slope along x is exactly zero, so the first step of
    an adaptive rule from (1, 1) divides zero by epsilon.
    """
    x, y = p
    y2 = y * y
    t1, t2, t3 = 1.5 - x + x * y, 2.25 - x + x * y2, 2.625 - x + x * (y2 * y)
    return float(t1 * t1 + t2 * t2 + t3 * t3)


def beale_gradient(p: Vector) -> Vector:
    """`(sum of 2 t_k (y^k - 1),  sum of 2 t_k k x y^(k-1))`."""
    x, y = p
    y2 = y * y
    y3 = y2 * y
    t1, t2, t3 = 1.5 - x + x * y, 2.25 - x + x * y2, 2.625 - x + x * y3
    along_x = 2.0 * (t1 * (y - 1.0) + t2 * (y2 - 1.0) + t3 * (y3 - 1.0))
    along_y = 2.0 * x * (t1 + 2.0 * (t2 * y) + 3.0 * (t3 * y2))
    return np.array([along_x, along_y])


def quadratic(p: Vector) -> float:
    """`1/2 sum of lambda_i p_i^2` with eigenvalues from 1 to 1000, minimum 0 at the origin."""
    return float(0.5 * np.sum(EIGENVALUES * (p * p)))


def quadratic_gradient(p: Vector) -> Vector:
    """`lambda_i p_i`."""
    return EIGENVALUES * p


def saddle(p: Vector) -> float:
    """`x^2 - y^2`: a saddle point at the origin, falling without end along y."""
    x, y = p
    return float(x * x - y * y)


def saddle_gradient(p: Vector) -> Vector:
    """`(2 x, -2 y)`."""
    x, y = p
    return np.array([2.0 * x, -2.0 * y])


SURFACES = {
    "rosenbrock": Surface(rosenbrock, rosenbrock_gradient, (-1.2, 1.0)),
    "beale": Surface(beale, beale_gradient, (1.0, 1.0)),
    "quadratic": Surface(quadratic, quadratic_gradient, (1.0, -0.8, 0.6, -0.4, 0.2)),
    "saddle": Surface(saddle, saddle_gradient, (1.0, 0.001)),
}
