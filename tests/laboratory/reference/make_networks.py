"""Make networks.npz: state dicts of PyTorch networks and what the networks compute with them.

Three networks of Linear, BatchNorm1d and ReLU, each in float32 and, with the same weights, inputs
and running statistics, in float64. Stored are the state dict under PyTorch's names, a batch with
labels, outputs and cross-entropy in eval and in train mode, the gradients of the train-mode loss,
and the running statistics after that one train-mode forward pass.

The stored numbers came from PyTorch 2.13.0 (CPU). To make them again, with PyTorch installed:

    cd tests/laboratory
    python -m reference.make_networks
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

FILE = Path(__file__).with_name("networks.npz")

# The layers in order: the class of torch.nn and its arguments by name.
Layers = list[tuple[str, dict[str, Any]]]
NETWORKS: dict[str, Layers] = {
    "plain": [
        ("Linear", {"in_features": 4, "out_features": 8}),
        ("ReLU", {}),
        ("Linear", {"in_features": 8, "out_features": 3}),
    ],
    "normalized": [
        ("Linear", {"in_features": 6, "out_features": 16}),
        ("BatchNorm1d", {"num_features": 16}),
        ("ReLU", {}),
        ("Linear", {"in_features": 16, "out_features": 5}),
    ],
    "deep": [
        ("Linear", {"in_features": 8, "out_features": 16, "bias": False}),
        ("BatchNorm1d", {"num_features": 16, "eps": 0.001, "momentum": 0.3}),
        ("ReLU", {}),
        ("Linear", {"in_features": 16, "out_features": 12}),
        ("BatchNorm1d", {"num_features": 12}),
        ("ReLU", {}),
        ("Linear", {"in_features": 12, "out_features": 4}),
    ],
}
BATCH_SIZES = {"plain": 5, "normalized": 7, "deep": 10}
TRAINING_STEPS = {"plain": 0, "normalized": 0, "deep": 6}


def build(layers: Layers) -> torch.nn.Sequential:
    return torch.nn.Sequential(*(getattr(torch.nn, kind)(**given) for kind, given in layers))


def batch(
    layers: Layers, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Inputs off center and of several scales, and labels."""
    features, classes = layers[0][1]["in_features"], layers[-1][1]["out_features"]
    scale, center = np.linspace(0.5, 3.0, features), np.linspace(-1.0, 2.0, features)
    inputs = rng.normal(center, scale, (size, features)).astype(np.float32)
    return inputs, rng.integers(0, classes, size)


def arrays(tensors: dict[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def measured(
    model: torch.nn.Sequential, inputs: NDArray[Any], labels: NDArray[np.int64]
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Everything that is stored about a model and a batch, as (key, array)."""
    for name, array in arrays(model.state_dict()).items():
        yield f"state/{name}", array
    yield "inputs", inputs
    yield "labels", labels
    x = torch.tensor(inputs, requires_grad=True)
    target = torch.from_numpy(labels)
    model.eval()
    with torch.no_grad():
        output = model(x)
        yield "eval_output", output.numpy()
        yield "eval_loss", cross_entropy(output, target).numpy()
    model.train()
    output = model(x)
    loss = cross_entropy(output, target)
    loss.backward()
    yield "train_output", output.detach().numpy()
    yield "train_loss", loss.detach().numpy()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        yield f"gradients/{name}", parameter.grad.numpy()
    assert x.grad is not None
    yield "input_gradient", x.grad.numpy()
    for name, array in arrays(dict(model.named_buffers())).items():
        yield f"buffers_after/{name}", array


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    stored: dict[str, NDArray[Any]] = {"torch": np.array(torch.__version__.split("+")[0])}
    for name, layers in NETWORKS.items():
        model = build(layers)
        rule = torch.optim.SGD(model.parameters(), lr=0.3)
        for _ in range(TRAINING_STEPS[name]):
            inputs, labels = batch(layers, BATCH_SIZES[name], rng)
            rule.zero_grad()
            cross_entropy(model(torch.from_numpy(inputs)), torch.from_numpy(labels)).backward()
            rule.step()
        rule.zero_grad()
        inputs, labels = batch(layers, BATCH_SIZES[name], rng)
        stored[f"{name}/layers"] = np.array(json.dumps(layers))
        for dtype in (torch.float32, torch.float64):
            twin = copy.deepcopy(model).to(dtype)
            kind = str(dtype).removeprefix("torch.")
            for key, array in measured(twin, inputs.astype(kind), labels):
                stored[f"{name}/{kind}/{key}"] = array
    np.savez_compressed(FILE, **stored)  # type: ignore[arg-type]
    print(f"{FILE.name}: {len(stored)} arrays, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
