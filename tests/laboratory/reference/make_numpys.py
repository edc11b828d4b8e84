"""Make numpys.json: values and gradients of PyTorch's counterparts of NumPy's functions.

Each case holds the arguments of one call, its value, a gradient to send back into the value
(`upstream`), and the gradients which PyTorch then gives to the arguments, all in float64.

The stored numbers came from PyTorch 2.13.0 (CPU). To make them again, with PyTorch installed:

    cd tests/laboratory
    python -m reference.make_numpys
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

FILE = Path(__file__).with_name("numpys.json")
RNG = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return np.round(RNG.normal(size=shape), 3)


def regular(*shape: int) -> Any:
    return normal(*shape) + 3 * np.eye(shape[-1])


CASES: dict[str, tuple[Any, list[Any]]] = {
    "arctan2": (torch.atan2, [normal(3, 4), normal(4)]),
    "hypot": (torch.hypot, [normal(3, 4), normal(4)]),
    "arcsinh": (torch.asinh, [normal(5)]),
    "sinc": (torch.sinc, [np.append(normal(5), 0.0)]),
    "sort": (lambda x: torch.sort(x, 0).values, [normal(5, 3)]),
    "quantile": (lambda x: torch.quantile(x, 0.3, 1), [normal(3, 6)]),
    "median": (lambda x: torch.quantile(x, 0.5, 0), [normal(6, 2)]),
    "cumprod": (lambda x: torch.cumprod(x, 1), [normal(2, 6)]),
    "cumprod with zeros": (lambda x: torch.cumprod(x, 0), [np.array([2.0, 0.0, 3.0, 0.0, 4.0])]),
    "nansum": (torch.nansum, [normal(4)]),
    "inv": (torch.linalg.inv, [regular(2, 3, 3)]),
    "det": (torch.linalg.det, [regular(2, 3, 3)]),
    "slogdet": (lambda a: torch.linalg.slogdet(a)[1], [regular(2, 3, 3)]),
    "solve": (torch.linalg.solve, [regular(3, 3), normal(3, 2)]),
    "cholesky of a product": (
        lambda x: torch.linalg.cholesky(x @ x.mT + torch.eye(3)), [normal(3, 3)],
    ),
    "matrix_power": (lambda a: torch.linalg.matrix_power(a, 3), [regular(3, 3)]),
    "inner": (torch.inner, [normal(2, 3), normal(4, 3)]),
    "vecdot": (torch.linalg.vecdot, [normal(2, 3), normal(2, 3)]),
    "cross": (torch.linalg.cross, [normal(2, 3), normal(2, 3)]),
    "kron": (torch.kron, [normal(2, 3), normal(3, 2)]),
    "windows": (lambda x: x.unfold(1, 3, 1), [normal(2, 6)]),
    "diff": (lambda x: torch.diff(x, 2), [normal(2, 6)]),
    "rot90": (torch.rot90, [normal(2, 3)]),
    "diag": (lambda x: torch.diag(x, -1), [normal(3)]),
}  # fmt: skip


def main() -> None:
    torch.set_default_dtype(torch.float64)
    cases = {}
    for name, (function, arrays) in CASES.items():
        inputs = [torch.tensor(x, requires_grad=True) for x in arrays]
        y = function(*inputs)
        upstream = np.round(RNG.normal(size=tuple(y.shape)), 3)
        y.backward(torch.tensor(upstream))
        cases[name] = {
            "inputs": [x.tolist() for x in arrays],
            "value": y.tolist(),
            "upstream": upstream.tolist(),
            "gradients": [t.grad.tolist() for t in inputs],
        }
    text = ",\n".join(f" {json.dumps(name)}: {json.dumps(case)}" for name, case in cases.items())
    FILE.write_text(f'{{"torch": "{torch.__version__}", "cases": {{\n{text}\n}}}}\n', "utf-8")


if __name__ == "__main__":
    main()
