"""Make images.npz: what PyTorch's convolutions and pools compute, and a network of them.

Each call is in float64 and stored with its arguments, its value, a gradient that is sent back into
it, and the gradients that arrive. The network is stored with its state dict, a batch, its output in
eval and in train mode, and the gradients of the cross-entropy in train mode, in float32.

The stored numbers came from PyTorch 2.13.0 (CPU). To make them again, with PyTorch installed:

    cd tests/laboratory
    python -m reference.make_images
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

FILE = Path(__file__).with_name("images.npz")

# Channels in and out, size of images and of filters, batch, options.
Call = tuple[int, int, tuple[int, int], tuple[int, int], int, dict[str, Any]]
CONVOLUTIONS: list[Call] = [
    (1, 1, (1, 1), (1, 1), 1, {}),
    (2, 3, (5, 5), (3, 3), 2, {}),
    (3, 4, (7, 6), (3, 2), 2, {"padding": 1}),
    (2, 2, (5, 4), (5, 4), 2, {}),
    (2, 3, (6, 7), (1, 1), 2, {"stride": 2}),
    (2, 3, (8, 7), (3, 3), 2, {"stride": 2, "padding": 1}),
    (2, 3, (9, 5), (3, 3), 1, {"stride": (3, 1), "padding": (0, 2)}),
    (2, 3, (9, 8), (3, 2), 2, {"dilation": 2}),
    (2, 3, (9, 8), (3, 2), 2, {"dilation": (1, 3), "padding": (2, 1), "stride": (2, 3)}),
    (4, 6, (5, 6), (3, 3), 2, {"groups": 2, "padding": 1}),
    (3, 6, (5, 5), (3, 3), 2, {"groups": 3, "stride": 2}),
    (4, 4, (6, 5), (2, 3), 2, {"groups": 4, "padding": 2, "dilation": 2}),
    (2, 3, (2, 2), (3, 3), 2, {"padding": 5, "stride": 4}),
    (2, 3, (5, 5), (3, 3), 0, {"padding": 1}),
]
TRANSPOSED: list[Call] = [
    (1, 1, (1, 1), (1, 1), 1, {}),
    (2, 3, (4, 5), (3, 3), 2, {}),
    (3, 2, (4, 3), (2, 2), 2, {"stride": 2}),
    (3, 2, (4, 3), (3, 3), 2, {"stride": 2, "padding": 1, "output_padding": 1}),
    (3, 2, (4, 3), (3, 2), 2, {"stride": (3, 2), "padding": (1, 0), "output_padding": (2, 1)}),
    (4, 6, (3, 4), (3, 3), 2, {"groups": 2, "stride": 2, "padding": 2}),
    (4, 2, (3, 4), (2, 3), 1, {"groups": 2, "dilation": (3, 2), "padding": 1}),
    (2, 2, (3, 3), (3, 3), 2, {"dilation": 3, "output_padding": 2, "stride": 2}),
    (2, 3, (3, 3), (3, 3), 0, {"stride": 2}),
]
POOLS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 2, 6, 6), {"kernel_size": 2}),
    ((2, 2, 7, 5), {"kernel_size": 2}),
    ((2, 2, 7, 5), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 3, 5, 8), {"kernel_size": (2, 3), "stride": 1, "padding": (1, 0)}),
    ((1, 3, 5, 8), {"kernel_size": (1, 2), "stride": (3, 2)}),
    ((1, 1, 1, 1), {"kernel_size": 1}),
    ((2, 1, 4, 4), {"kernel_size": 4}),
    ((0, 2, 4, 4), {"kernel_size": 2}),
]
DILATED = ((2, 2, 7, 6), {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": 2})


def called(
    function: str, inputs: dict[str, NDArray[Any]], options: dict[str, Any], rng: Any
) -> Any:
    """All that is stored of a call, by key."""
    tensors = {name: torch.tensor(x, requires_grad=True) for name, x in inputs.items()}
    first, *rest = tensors.values()
    value = getattr(F, function)(first, *rest, **options)
    upstream = rng.normal(size=value.shape)
    value.backward(torch.tensor(upstream))
    stored = {"call": np.array(json.dumps([function, options])), "upstream": upstream}
    stored |= {"value": value.detach().numpy()}
    stored |= {f"arrays/{name}": x for name, x in inputs.items()}
    return stored | {f"gradients/{name}": t.grad.numpy() for name, t in tensors.items()}


def calls(rng: np.random.Generator) -> Any:
    for c, o, size, kernel, n, options in CONVOLUTIONS:
        filters = (o, c // options.get("groups", 1), *kernel)
        yield "conv2d", {"x": (n, c, *size), "weight": filters, "bias": (o,)}, options
    for c, o, size, kernel, n, options in TRANSPOSED:
        filters = (c, o // options.get("groups", 1), *kernel)
        yield "conv_transpose2d", {"x": (n, c, *size), "weight": filters, "bias": (o,)}, options
    for shape, options in [*POOLS, DILATED]:
        yield "max_pool2d", {"x": shape}, options
    for shape, options in POOLS:
        yield "avg_pool2d", {"x": shape}, options


def network() -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1, bias=False), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
        torch.nn.MaxPool2d(2), torch.nn.Conv2d(4, 6, 3, groups=2), torch.nn.ReLU(),
        torch.nn.ConvTranspose2d(6, 3, 2, stride=2), torch.nn.AvgPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(12, 5),
    )  # fmt: skip


def of_network(rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    model = network()
    inputs = rng.normal(size=(6, 1, 8, 8)).astype(np.float32)
    labels = rng.integers(0, 5, 6)
    stored = {f"state/{k}": v.numpy().copy() for k, v in model.state_dict().items()}
    stored |= {"inputs": inputs, "labels": labels}
    x = torch.tensor(inputs, requires_grad=True)
    stored["eval_output"] = model.eval()(x).detach().numpy()
    output = model.train()(x)
    F.cross_entropy(output, torch.from_numpy(labels)).backward()
    stored |= {f"gradients/{k}": p.grad.numpy() for k, p in model.named_parameters()}
    return stored | {"train_output": output.detach().numpy(), "input_gradient": x.grad.numpy()}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    stored: dict[str, NDArray[Any]] = {"torch": np.array(torch.__version__.split("+")[0])}
    for i, (function, shapes, options) in enumerate(calls(rng)):
        inputs = {name: rng.normal(size=shape) for name, shape in shapes.items()}
        for key, array in called(function, inputs, options, rng).items():
            stored[f"{i}/{key}"] = array
    stored |= {f"network/{key}": array for key, array in of_network(rng).items()}
    np.savez_compressed(FILE, **stored)  # type: ignore[arg-type]
    print(f"{FILE.name}: {len(stored)} arrays, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
