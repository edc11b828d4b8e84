"""How fast is a training step of a network for images, and how much memory does it take?

    python tests/laboratory/benchmarks/images.py            # a minute
    python tests/laboratory/benchmarks/images.py --rounds 9

Three networks, each with Adam, on one thread: the digits (8x8), LeNet (28x28), and two convolutions
of 32 and 64 filters with batch normalisation on 32x32 pixels in color. Beside minidl, eager and
compiled, run PyTorch in its default layout, MyGrad, and im2col as it is often written in NumPy
(``im2col.py``). All start from the same weights; their losses are compared before anything is
timed. What is not installed is left out.

The contestants take turns, and each ratio is the median over the rounds, in time of the thread, so
that others on the machine disturb little. The peak of memory of a step is that of tracemalloc,
which sees NumPy's arrays and not PyTorch's.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples"))

import _one_thread  # noqa: F401  (before NumPy)
import numpy as np

import minidl
from benchmarks import im2col
from benchmarks.peers.by_hand import Rule
from minidl import nn, optim

HYPER = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}

# A network: its layers, each a kind and its numbers, and the shape of a batch.
Layers = list[tuple[Any, ...]]
NETWORKS: dict[str, tuple[Layers, tuple[int, ...]]] = {
    "digits": (
        [("conv", 1, 16, 3, 1), ("norm", 16), ("relu",), ("conv", 16, 32, 3, 1), ("norm", 32),
         ("relu",), ("pool",), ("flatten",), ("linear", 512, 10)],
        (64, 1, 8, 8),
    ),
    "LeNet": (
        [("conv", 1, 6, 5, 2), ("relu",), ("pool",), ("conv", 6, 16, 5, 0), ("relu",), ("pool",),
         ("flatten",), ("linear", 400, 120), ("relu",), ("linear", 120, 84), ("relu",),
         ("linear", 84, 10)],
        (64, 1, 28, 28),
    ),
    "3-32-64": (
        [("conv", 3, 32, 3, 1), ("norm", 32), ("relu",), ("pool",), ("conv", 32, 64, 3, 1),
         ("norm", 64), ("relu",), ("pool",), ("flatten",), ("linear", 4096, 10)],
        (32, 3, 32, 32),
    ),
}  # fmt: skip
Step = Callable[[np.ndarray, np.ndarray], float]


def ours(layers: Layers) -> nn.Sequential:
    minidl.seed(0)
    make = {
        "conv": lambda c, o, k, p: nn.Conv2d(c, o, k, padding=p), "norm": nn.BatchNorm,
        "relu": nn.ReLU, "pool": lambda: nn.MaxPool2d(2), "flatten": nn.Flatten,
        "linear": nn.Linear,
    }  # fmt: skip
    return nn.Sequential(*(make[kind](*numbers) for kind, *numbers in layers))


def eager(layers: Layers) -> Step:
    model, loss = ours(layers), nn.CrossEntropyLoss()
    optimizer = optim.Adam(model.parameters(), lr=HYPER["lr"])

    def step(x: np.ndarray, y: np.ndarray) -> float:
        optimizer.zero_grad()
        value = loss(model(x), y)
        value.backward()
        optimizer.step()
        return value.item()

    return step


def compiled(layers: Layers) -> Step:
    model = ours(layers)
    return minidl.compile(
        model, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=HYPER["lr"])
    )


def pytorch(layers: Layers) -> Step:
    import torch

    torch.set_num_threads(1)
    t = torch.nn
    make = {
        "conv": lambda c, o, k, p: t.Conv2d(c, o, k, padding=p), "norm": t.BatchNorm2d,
        "relu": t.ReLU, "pool": lambda: t.MaxPool2d(2), "flatten": t.Flatten, "linear": t.Linear,
    }  # fmt: skip
    model = t.Sequential(*(make[kind](*numbers) for kind, *numbers in layers))
    state = ours(layers).state_dict()
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=HYPER["lr"])
    loss = t.CrossEntropyLoss()

    def step(x: np.ndarray, y: np.ndarray) -> float:
        optimizer.zero_grad()
        value = loss(model(torch.from_numpy(x)), torch.from_numpy(y))
        value.backward()
        optimizer.step()
        return value.item()

    return step


def mygrad(layers: Layers) -> Step:
    import mygrad as mg
    from mygrad.nnet.activations import relu
    from mygrad.nnet.layers import batchnorm, conv_nd, max_pool
    from mygrad.nnet.losses import softmax_crossentropy

    tensors = [mg.tensor(p.data.copy()) for p in ours(layers).parameters()]
    rule = Rule([p.data for p in tensors], "adam", HYPER)

    def step(x: np.ndarray, y: np.ndarray) -> float:
        a: Any = x
        left = iter(tensors)
        for kind, *numbers in layers:
            if kind == "conv":
                a = conv_nd(a, next(left), stride=1, padding=numbers[3])
                a = a + next(left).reshape(-1, 1, 1)
            elif kind == "norm":
                a = batchnorm(a, gamma=next(left), beta=next(left), eps=1e-5)
            elif kind == "relu":
                a = relu(a)
            elif kind == "pool":
                a = max_pool(a, (2, 2), 2)
            elif kind == "flatten":
                a = a.reshape(len(x), -1)
            else:
                a = mg.matmul(a, next(left).T) + next(left)
        loss = softmax_crossentropy(a, y)
        loss.backward()
        rule.step([p.grad for p in tensors])
        return loss.item()

    return step


def by_im2col(layers: Layers) -> Step:
    return im2col.Network(layers, [p.data.copy() for p in ours(layers).parameters()], HYPER).step


WHO = {"eager": eager, "compiled": compiled, "PyTorch": pytorch, "MyGrad": mygrad,
       "im2col": by_im2col}  # fmt: skip


def batch(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=shape).astype(np.float32), rng.integers(0, 10, shape[0])


def peak(make: Callable[[Layers], Step], layers: Layers, x: np.ndarray, y: np.ndarray) -> int:
    """The most that is alive at once in a step after the first four, in bytes."""
    tracemalloc.start()
    step = make(layers)
    for _ in range(4):  # a compiled step is made both ways at first
        step(x, y)
    tracemalloc.reset_peak()
    step(x, y)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    times, memory = [], []
    for name, (layers, shape) in NETWORKS.items():
        x, y = batch(shape)
        steps = {}
        for who, make in WHO.items():
            try:
                steps[who] = make(layers)
            except ImportError:
                print(f"{who} is not installed")
        losses = {who: [float(step(x, y)) for _ in range(4)] for who, step in steps.items()}
        for who in losses:
            np.testing.assert_allclose(losses[who], losses["eager"], rtol=1e-3, err_msg=who)
        spent: dict[str, list[float]] = {who: [] for who in steps}
        for _ in range(args.rounds):
            for who, step in steps.items():
                step(x, y)
                start = time.thread_time()
                step(x, y)
                step(x, y)
                spent[who].append((time.thread_time() - start) / 2)
        for mine in ("eager", "compiled"):
            cells = [f"{name}, {mine}", f"{1e3 * np.median(spent[mine]):.2f} ms"]
            for who in ("PyTorch", "MyGrad", "im2col"):
                ratios = np.array(spent[mine]) / spent[who] if who in spent else [np.nan]
                cells.append(f"{np.median(ratios):.2f}")
            times.append(cells)
        most = {who: peak(WHO[who], layers, x, y) for who in steps if who != "PyTorch"}
        cells = [f"{name}, batch of {shape[0]}"]
        memory.append(cells + [f"{most.get(who, 0) / 2**20:.1f} MiB" for who in WHO if who in most])
    print("\n| a step with Adam | minidl | PyTorch | MyGrad | im2col |")
    print("| --- | --- | --- | --- | --- |")
    print("\n".join(f"| {' | '.join(cells)} |" for cells in times))
    print(f"\n| peak of memory | {' | '.join(most)} |")
    print(f"| --- |{' --- |' * len(most)}")
    print("\n".join(f"| {' | '.join(cells)} |" for cells in memory))


if __name__ == "__main__":
    main()
