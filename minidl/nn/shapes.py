"""Flatten: another shape between layers, the same numbers."""

from __future__ import annotations

import math
from typing import Any

from minidl.nn.module import Module


class Flatten(Module):
    """Every axis but the first as one: (N, ...) to (N, K).

    Raises:
        ValueError: if the input has no axes.

    Example:
        >>> import numpy as np
        >>> Flatten()(np.zeros((5, 8, 8), np.float32)).shape
        (5, 64)
    """

    def forward(self, x: Any) -> Any:
        if x.ndim == 0:
            raise ValueError("Flatten: x has shape (), expected (N, ...)")
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))
