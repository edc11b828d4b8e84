"""Make losses.json: values and gradients of PyTorch's losses and functions in float64.

Each case holds the arguments of one call, its value, a gradient to send back into the value
(`upstream`), and the gradients which PyTorch then gives to the arguments.

The stored numbers came from PyTorch 2.13.0 (CPU). To make them again, with PyTorch installed:

    cd tests/laboratory
    python -m reference.make_losses
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

FILE = Path(__file__).with_name("losses.json")
REDUCTIONS = ("mean", "sum", "none")
SCALAR_UPSTREAM = 0.75  # not 1, so that a rule which forgets the incoming gradient is seen

Array = NDArray[Any]
Case = dict[str, Any]
RNG = np.random.default_rng(0)


def normal(*shape: int, scale: float = 2.0) -> Array:
    """Random numbers of three decimals, which keeps the file short and easy to read."""
    return np.round(RNG.normal(0.0, scale, shape), 3)


def positive(*shape: int) -> Array:
    return np.round(RNG.uniform(0.25, 2.0, shape), 3)


def call(function: str, t: dict[str, torch.Tensor], options: dict[str, Any]) -> torch.Tensor:
    """The function of PyTorch by the name, arguments and options that the case has."""
    if function == "logsumexp":
        return torch.logsumexp(t["input"], dim=options["axis"], keepdim=options["keepdims"])
    if function in ("log_softmax", "softmax"):
        return getattr(F, function)(t["input"], dim=options["axis"])
    if function == "sigmoid":
        return torch.sigmoid(t["input"])
    if function == "batch_norm":
        return F.batch_norm(
            t["input"],
            t.get("running_mean"),
            t.get("running_var"),
            t.get("weight"),
            t.get("bias"),
            **options,
        )
    return getattr(F, function)(**t, **options)


def case(
    name: str,
    function: str,
    arrays: dict[str, Array],
    wanted: tuple[str, ...] = ("input",),
    note: str = "",
    **options: Any,
) -> Case:
    """Call `function` and differentiate by the arguments named in `wanted`."""
    tensors = {key: torch.tensor(array) for key, array in arrays.items()}
    for key in wanted:
        tensors[key].requires_grad_()
    value = call(function, tensors, options)
    upstream = normal(*value.shape) if value.ndim else np.array(SCALAR_UPSTREAM)
    value.backward(torch.tensor(upstream))
    gradients = {key: tensors[key].grad for key in wanted}
    after = {key: tensors[key] for key in ("running_mean", "running_var") if key in tensors}
    return {
        "name": name,
        "function": function,
        "note": note,
        "arrays": {key: array.tolist() for key, array in arrays.items()},
        "options": options,
        "value": value.tolist(),
        "upstream": upstream.tolist(),
        "gradients": {key: grad.tolist() for key, grad in gradients.items() if grad is not None},
        "after": {key: tensor.tolist() for key, tensor in after.items()},
    }


def cross_entropy_cases() -> Iterator[Case]:
    inputs = {"2d": normal(5, 4), "3d": normal(3, 4, 2)}
    targets = {"2d": np.array([3, 0, 2, 2, 1]), "3d": np.array([[0, 2], [1, 3], [2, 2]])}
    class_weights = np.array([0.5, 2.0, 1.25, 0.8])
    for shape, logits in inputs.items():
        for weighted in (False, True):
            for ignored in (None, -1, 2):  # -1 is no class, 2 is one
                target = targets[shape].copy()
                if ignored == -1:
                    target.flat[[1, 4]] = -1
                arrays = {"input": logits, "target": target}
                if weighted:
                    arrays["weight"] = class_weights
                for smoothing in (0.0, 0.1):
                    for reduction in REDUCTIONS:
                        options: dict[str, Any] = {"reduction": reduction}
                        if smoothing:
                            options["label_smoothing"] = smoothing
                        if ignored is not None:
                            options["ignore_index"] = ignored
                        name = f"cross_entropy {shape}{' weight' if weighted else ''} "
                        name += " ".join(f"{key}={item}" for key, item in options.items())
                        yield case(name, "cross_entropy", arrays, **options)
    extreme = np.array([[1e4, -1e4, 0.0], [1e4, 1e4, -1e4], [-1e4, -1e4, -1e4]])
    arrays = {"input": extreme, "target": np.array([1, 0, 2])}
    for smoothing in (0.0, 0.1):
        name = f"cross_entropy extreme label_smoothing={smoothing}"
        options = {"reduction": "none", "label_smoothing": smoothing}
        yield case(name, "cross_entropy", arrays, **options)


def other_loss_cases() -> Iterator[Case]:
    function = "binary_cross_entropy_with_logits"
    logits, target = normal(5, 3), np.round(RNG.uniform(0.0, 1.0, (5, 3)), 3)
    target[0], target[1] = 0.0, 1.0
    both = ("input", "target")
    for reduction in REDUCTIONS:
        arrays = {"input": logits, "target": target}
        yield case(f"{function} {reduction}", function, arrays, both, reduction=reduction)
        arrays["pos_weight"] = np.array([0.5, 3.0, 1.0])
        name = f"{function} pos_weight {reduction}"
        yield case(name, function, arrays, both, reduction=reduction)
    arrays = {
        "input": np.array([1e4, 1e4, -1e4, -1e4, 40.0, -40.0, 0.0]),
        "target": np.array([1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.5]),
    }
    yield case(f"{function} extreme", function, arrays, both, reduction="none")

    arrays = {"input": normal(4, 3), "target": normal(4, 3)}
    # A tie: the subgradient is zero.
    tied = {**arrays, "input": np.where(np.eye(4, 3) == 1, arrays["target"], arrays["input"])}
    for reduction in REDUCTIONS:
        yield case(f"mse_loss {reduction}", "mse_loss", arrays, both, reduction=reduction)
        yield case(f"l1_loss {reduction}", "l1_loss", tied, both, reduction=reduction)
        for delta in (0.5, 1.0, 2.5):
            name = f"huber_loss delta={delta} {reduction}"
            yield case(name, "huber_loss", arrays, both, reduction=reduction, delta=delta)


def function_cases() -> Iterator[Case]:
    x = np.linspace(-4.0, 4.0, 17)
    far = np.array([-1e4, -40.0, 40.0, 1e4])
    for approximate in ("none", "tanh"):
        yield case(f"gelu {approximate}", "gelu", {"input": x}, approximate=approximate)
        name = f"gelu {approximate} far out"
        yield case(name, "gelu", {"input": far}, approximate=approximate)
    yield case("softplus", "softplus", {"input": np.linspace(-18.0, 18.0, 13)})
    yield case("softplus far out", "softplus", {"input": far})
    note = "PyTorch takes softplus(x) = x above 20; the true value is 2e-9 larger here at most"
    beyond = {"input": np.array([20.125, 21.0, 25.0])}
    yield case("softplus beyond the threshold", "softplus", beyond, note=note)
    off_the_kink = np.delete(x, 8)
    for slope in (0.01, 0.2):
        name = f"leaky_relu {slope}"
        yield case(name, "leaky_relu", {"input": off_the_kink}, negative_slope=slope)
    yield case("sigmoid", "sigmoid", {"input": x})
    yield case("sigmoid far out", "sigmoid", {"input": far})
    block = normal(2, 3, 4)
    steep = np.array([[1e4, 1e4, -1e4], [-1e4, 0.0, 3.0]])
    for axis in (0, 1, -1):
        for function in ("log_softmax", "softmax"):
            yield case(f"{function} axis={axis}", function, {"input": block}, axis=axis)
        for keepdims in (False, True):
            name = f"logsumexp axis={axis} keepdims={keepdims}"
            yield case(name, "logsumexp", {"input": block}, axis=axis, keepdims=keepdims)
    for function in ("log_softmax", "softmax"):
        yield case(f"{function} extreme", function, {"input": steep}, axis=1)
    yield case("logsumexp extreme", "logsumexp", {"input": steep}, axis=1, keepdims=False)


def batch_norm_cases() -> Iterator[Case]:
    for shape in ((6, 3), (4, 3, 5), (3, 2, 2, 3)):
        channels = shape[1]
        arrays = {
            "input": normal(*shape) + np.arange(channels).reshape(-1, *[1] * (len(shape) - 2)),
            "running_mean": normal(channels),
            "running_var": positive(channels),
            "weight": normal(channels),
            "bias": normal(channels),
        }
        arrays["input"] = np.round(arrays["input"], 3)
        everything = ("input", "weight", "bias")
        for training in (True, False):
            name = f"batch_norm {len(shape)}d {'train' if training else 'eval'}"
            options: dict[str, Any] = {"training": training, "momentum": 0.1, "eps": 1e-5}
            yield case(name, "batch_norm", arrays, everything, **options)
            options.update(momentum=0.3, eps=0.1)
            plain = {k: v for k, v in arrays.items() if k not in ("weight", "bias")}
            yield case(f"{name} no weight, eps=0.1", "batch_norm", plain, **options)
    alone = {key: arrays[key] for key in everything}
    name = "batch_norm 4d train no running statistics"
    yield case(name, "batch_norm", alone, everything, training=True, momentum=0.1, eps=1e-5)


def main() -> None:
    torch.set_num_threads(1)
    made = [
        *cross_entropy_cases(),
        *other_loss_cases(),
        *function_cases(),
        *batch_norm_cases(),
    ]
    # One line per field: floats in the shortest form that reads back exactly.
    blocks = []
    for one in made:
        fields = (f'   "{key}": {json.dumps(item)}' for key, item in one.items() if item != "")
        blocks.append("  {\n" + ",\n".join(fields) + "\n  }")
    version = torch.__version__.split("+")[0]
    body = ",\n".join(blocks)
    FILE.write_text(f'{{"torch": "{version}", "cases": [\n{body}\n]}}\n', encoding="utf-8")
    print(f"{FILE.name}: {len(made)} cases, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
