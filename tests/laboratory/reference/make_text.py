"""Make text.json: values and gradients of PyTorch's layer norm, embedding and attention in float64.

A case is what it is in `make_losses.py`. Minidl's names stand for PyTorch's: q, k, v for query, key
and value, mask for attn_mask, causal for is_causal. Python's JSON has -Infinity in masks.

The stored numbers came from PyTorch 2.13.0 (CPU). To make them again, with PyTorch installed:

    cd tests/laboratory
    python -m reference.make_text
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

FILE = Path(__file__).with_name("text.json")
RNG = np.random.default_rng(0)
Array = NDArray[Any]
Case = dict[str, Any]


def normal(*shape: int, scale: float = 1.0) -> Array:
    return np.round(RNG.normal(0.0, scale, shape), 3)


def call(function: str, t: dict[str, torch.Tensor], options: dict[str, Any]) -> torch.Tensor:
    if function == "layer_norm":
        shape = tuple(options["normalized_shape"])
        weight, bias = t.get("weight"), t.get("bias")
        return F.layer_norm(t["x"], shape, weight, bias, options.get("eps", 1e-5))
    if function == "embedding":
        return F.embedding(t["input"], t["weight"])
    return F.scaled_dot_product_attention(
        t["q"], t["k"], t["v"], t.get("mask"), is_causal=options.get("causal", False)
    )


def case(
    name: str, function: str, arrays: dict[str, Array], wanted: tuple[str, ...], **options: Any
) -> Case:
    tensors = {key: torch.tensor(array) for key, array in arrays.items()}
    for key in wanted:
        tensors[key].requires_grad_()
    value = call(function, tensors, options)
    upstream = normal(*value.shape)
    value.backward(torch.tensor(upstream))
    return {
        "name": f"{function} {name}",
        "function": function,
        "note": "",
        "arrays": {key: array.tolist() for key, array in arrays.items()},
        "options": options,
        "value": value.tolist(),
        "upstream": upstream.tolist(),
        "gradients": {key: tensors[key].grad.tolist() for key in wanted},
        "after": {},
    }


def layer_norm_cases() -> Iterator[Case]:
    for shape, over in (((4, 6), (6,)), ((2, 3, 5), (5,)), ((2, 3, 4), (3, 4)), ((5,), (5,)),
                        ((3, 1), (1,))):  # fmt: skip
        arrays = {"x": normal(*shape) * 3 + 1, "weight": normal(*over), "bias": normal(*over)}
        name = f"{shape} over {over}"
        yield case(name, "layer_norm", arrays, tuple(arrays), normalized_shape=over)
    x = {"x": normal(3, 4)}
    yield case("no weight", "layer_norm", x, ("x",), normalized_shape=(4,), eps=0.1)
    x["weight"] = normal(4)
    yield case("no bias", "layer_norm", x, ("x", "weight"), normalized_shape=(4,), eps=0.1)


def embedding_cases() -> Iterator[Case]:
    for name, numbers in (("one axis", [3, 0, 3]), ("two axes", [[1, 1], [0, 4]]), ("number", 2)):
        arrays = {"input": np.array(numbers), "weight": normal(5, 3)}
        yield case(name, "embedding", arrays, ("weight",))


def attention_cases() -> Iterator[Case]:
    function, wanted = "scaled_dot_product_attention", ("q", "k", "v")
    plain = {"q": normal(2, 3, 4), "k": normal(2, 5, 4), "v": normal(2, 5, 2)}
    square = {key: normal(2, 2, 4, 3) for key in wanted}
    matrices = {"q": normal(3, 2), "k": normal(3, 2), "v": normal(3, 2)}
    yield case("plain", function, plain, wanted)
    yield case("matrices", function, matrices, wanted)
    yield case("causal", function, square, wanted, causal=True)
    yield case("causal, more keys", function, plain, wanted, causal=True)
    some = RNG.random((3, 5)) < 0.6
    some[:, 0] = True
    yield case("a mask", function, {**plain, "mask": some}, wanted)
    blind = some.copy()
    blind[1] = False
    yield case("a query that sees nothing", function, {**plain, "mask": blind}, wanted)
    yield case("nobody sees", function, {**plain, "mask": blind & False}, wanted)
    each = RNG.random((2, 1, 4, 4)) < 0.5
    yield case("a mask of each sample", function, {**square, "mask": each}, wanted)
    bias = normal(4, 4)
    yield case("a bias", function, {**square, "mask": bias}, (*wanted, "mask"))
    bias = np.where(np.tri(4, dtype=bool), bias, -np.inf)
    bias[2] = -np.inf
    yield case("a bias with -inf", function, {**square, "mask": bias}, wanted)


def main() -> None:
    torch.set_num_threads(1)
    made = [*layer_norm_cases(), *embedding_cases(), *attention_cases()]
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
