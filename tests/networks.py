"""What the tests of modules and layers share: a small network, its names, random arrays."""

import numpy as np

from minidl import nn


def net(**options) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, 5, rng=0, **options), nn.BatchNorm(5), nn.ReLU(), nn.Linear(5, 3, rng=1)
    )


def names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]


def random(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)
