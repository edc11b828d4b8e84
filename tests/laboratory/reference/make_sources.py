"""Programs that the compiler writes, as they should read: run this to write ``sources.txt`` anew.

    python tests/laboratory/reference/make_sources.py

Look at the difference before it is kept: names, comments, order and memory are there for a reader.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from minidl import functional as F
from minidl import nn, optim

STORED = Path(__file__).with_name("sources.txt")


class TwoWays(nn.Module):
    """Two ways that share a layer; a buffer that is written into; an axis that is moved."""

    buffers = ("seen",)

    def __init__(self) -> None:
        self.first = nn.Linear(6, 5, rng=0)
        self.shared = nn.Linear(5, 5, rng=1)
        self.scale = nn.Parameter(np.linspace(0.5, 1.5, 5))
        self.idle = nn.Parameter(np.ones(3))
        self.last = nn.Linear(10, 3, rng=2)
        self.seen = np.zeros(5, np.float32)

    def forward(self, x: Any) -> Any:
        h = F.relu(self.first(x))
        self.seen *= np.float32(0.9)
        self.seen[1:4] += h.data[:, 1:4].mean(axis=0)
        a, b = np.tanh(self.shared(h)), self.shared(h[::2]) * self.scale
        both = np.concatenate([a[::2], np.where(b > 0.1, b, b * b)], axis=1)
        return self.last(both.reshape(-1, 2, 5).transpose((0, 2, 1)).reshape(-1, 10))


def deep() -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 12, rng=0), nn.BatchNorm(12), nn.ReLU(), nn.Dropout(0.2, rng=3),
        nn.Linear(12, 12, bias=False, rng=1), nn.GELU("tanh"), nn.Dropout(0.1),
        nn.Linear(12, 3, rng=2),
    )  # fmt: skip


def wide() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 300, rng=0), nn.Sigmoid(), nn.Linear(300, 200, rng=0),
                         nn.LeakyReLU(0.1), nn.Linear(200, 3, rng=0))  # fmt: skip


def in_two_groups(rule: Any) -> Callable[[nn.Module], Any]:
    def made(model: nn.Module) -> Any:
        first, *others = model.parameters()
        return rule([{"params": [first], "lr": 0.1}, {"params": others, "weight_decay": 0.01}],
                    lr=0.01)  # fmt: skip

    return made


N = 8
X = np.random.default_rng(0).standard_normal((N, 6), np.float32)
Y = np.arange(N) % 3
WANTED = X[:, :3]
PROGRAMS: dict[str, tuple[Any, ...]] = {
    "deep, Adam, clipped": (
        deep, nn.CrossEntropyLoss(), lambda m: optim.Adam(m.parameters()), Y, {"max_norm": 1.0},
    ),
    "wide, Momentum with weight decay, in blocks": (
        wide, nn.HuberLoss(), lambda m: optim.Momentum(m.parameters(), lr=0.1, weight_decay=0.01),
        WANTED, {},
    ),
    "two ways, RMSProp in two groups": (
        TwoWays, nn.MSELoss(), in_two_groups(optim.RMSProp), WANTED[: N // 2], {},
    ),
}  # fmt: skip


def source(name: str) -> str:
    """The source of a program."""
    make, loss, optimizer, y, options = PROGRAMS[name]
    minidl.seed(0)
    model = make()
    step = minidl.compile(model, loss, optimizer(model), **options)
    for _ in range(6):
        step(X, y)
    return step.source


def stored() -> dict[str, str]:
    """What is stored of each program."""
    parts = STORED.read_text().split("#### ")[1:]
    return dict(part.split("\n", 1) for part in parts)


if __name__ == "__main__":
    STORED.write_text("".join(f"#### {name}\n{source(name)}" for name in PROGRAMS))
    sys.exit(f"wrote {STORED}: look at what has changed before it is kept")
