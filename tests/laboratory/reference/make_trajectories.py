"""Make trajectories.json: the paths that PyTorch's optimizers take over the four test surfaces.

Seven rules, several settings each, four surfaces, 200 steps in float64; the point is stored after
a selection of the steps. PyTorch only applies its rules: the gradients come from `surfaces.py`.

A path on which rounding errors grow would say nothing about a rule, so every path is walked a
second time with a shove of one part in 10^13 after the first step, and a path that magnifies the
shove too much is refused: choose other settings then.

The stored numbers came from PyTorch 2.13.0 (CPU). To make them again, with PyTorch installed:

    cd tests/laboratory
    python -m reference.make_trajectories
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .surfaces import SURFACES, Surface

FILE = Path(__file__).with_name("trajectories.json")
STEPS = (1, 2, 3, 5, 10, 20, 50, 100, 200)
CHANGE_AFTER = 15  # the step after which the learning rate changes, where a setting says so
SHOVE = 1e-13
LARGEST_MAGNIFICATION = 200.0

# The learning rate of each rule on each surface; a setting below multiplies it by its "lr".
LEARNING_RATES = {
    "SGD": {"rosenbrock": 4e-4, "beale": 0.01, "quadratic": 1.3e-3, "saddle": 0.01},
    "Momentum": {"rosenbrock": 1e-4, "beale": 2e-3, "quadratic": 3e-4, "saddle": 2e-3},
    "Adagrad": {"rosenbrock": 0.1, "beale": 0.1, "quadratic": 0.1, "saddle": 0.1},
    "RMSProp": {"rosenbrock": 2e-3, "beale": 2e-3, "quadratic": 1e-3, "saddle": 2e-3},
    "Adam": {"rosenbrock": 0.01, "beale": 0.01, "quadratic": 5e-3, "saddle": 0.01},
    "Nesterov": {"rosenbrock": 1e-4, "beale": 2e-3, "quadratic": 3e-4, "saddle": 2e-3},
    "AdamW": {"rosenbrock": 0.01, "beale": 0.01, "quadratic": 5e-3, "saddle": 0.01},
}

# Symbols as in the lecture. "lr_later" multiplies likewise and holds after step CHANGE_AFTER: with
# a constant learning rate, `v = mu*v - dx; x += lr*v` and `v = mu*v - lr*dx; x += v` are the same.
# A large epsilon tells `sqrt(v) + eps` from `sqrt(v + eps)`.
SETTINGS: dict[str, list[dict[str, float]]] = {
    "SGD": [
        {"lr": 1.0},
        {"lr": 0.3},
        {"lr": 1.0, "weight_decay": 0.1},
        {"lr": 1.0, "lr_later": 0.4},
    ],
    "Momentum": [
        {"lr": 1.0, "mu": 0.9},
        {"lr": 2.0, "mu": 0.5},
        {"lr": 0.2, "mu": 0.99},
        {"lr": 1.0, "mu": 0.9, "weight_decay": 0.1},
        {"lr": 1.0, "mu": 0.9, "lr_later": 0.4},
    ],
    "Adagrad": [
        {"lr": 1.0, "eps": 1e-10},
        {"lr": 0.3, "eps": 1e-8},
        {"lr": 1.0, "eps": 0.1},
        {"lr": 1.0, "eps": 1e-8, "weight_decay": 0.1},
        {"lr": 1.0, "eps": 1e-8, "lr_later": 0.4},
    ],
    "RMSProp": [
        {"lr": 1.0, "decay_rate": 0.99, "eps": 1e-8},
        {"lr": 0.5, "decay_rate": 0.9, "eps": 1e-8},
        {"lr": 1.0, "decay_rate": 0.95, "eps": 1.0},
        {"lr": 1.0, "decay_rate": 0.99, "eps": 1e-8, "weight_decay": 0.1},
        {"lr": 1.0, "decay_rate": 0.99, "eps": 1e-8, "lr_later": 0.4},
    ],
    "Adam": [
        {"lr": 1.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        {"lr": 0.5, "beta1": 0.8, "beta2": 0.95, "eps": 1e-8},
        {"lr": 1.0, "beta1": 0.9, "beta2": 0.99, "eps": 0.1},
        {"lr": 0.5, "beta1": 0.0, "beta2": 0.99, "eps": 1e-8},
        {"lr": 1.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1},
        {"lr": 1.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "lr_later": 0.4},
    ],
    "Nesterov": [
        {"lr": 1.0, "mu": 0.9},
        {"lr": 2.0, "mu": 0.5, "weight_decay": 0.1},
        {"lr": 1.0, "mu": 0.9, "lr_later": 0.4},
    ],
    "AdamW": [
        {"lr": 1.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
        {"lr": 0.5, "beta1": 0.8, "beta2": 0.95, "eps": 0.1, "weight_decay": 1.0},
        {
            "lr": 1.0,
            "beta1": 0.9,
            "beta2": 0.999,
            "eps": 1e-8,
            "weight_decay": 0.1,
            "lr_later": 0.4,
        },
    ],
}


def optimizer(rule: str, x: torch.Tensor, hyper: dict[str, float]) -> torch.optim.Optimizer:
    """The rule of PyTorch that is the lecture's `rule`; everything that matters is said."""
    common: dict[str, Any] = {"lr": hyper["lr"], "foreach": False}
    common["weight_decay"] = hyper.get("weight_decay", 0.0)
    match rule:
        case "SGD":
            return torch.optim.SGD([x], momentum=0.0, **common)
        case "Momentum" | "Nesterov":
            nesterov = rule == "Nesterov"
            return torch.optim.SGD(
                [x], momentum=hyper["mu"], dampening=0.0, nesterov=nesterov, **common
            )
        case "Adagrad":
            return torch.optim.Adagrad(
                [x], lr_decay=0.0, initial_accumulator_value=0.0, eps=hyper["eps"], **common
            )
        case "RMSProp":
            return torch.optim.RMSprop(
                [x],
                alpha=hyper["decay_rate"],
                eps=hyper["eps"],
                momentum=0.0,
                centered=False,
                **common,
            )
        case "Adam" | "AdamW":
            betas = (hyper["beta1"], hyper["beta2"])
            make = getattr(torch.optim, rule)
            return make([x], betas=betas, eps=hyper["eps"], amsgrad=False, **common)
    raise ValueError(f"no rule {rule!r}")


def walk(
    rule: str, hyper: dict[str, float], lr_later: float | None, surface: Surface, shove: float
) -> dict[int, list[float]]:
    """The point after each of `STEPS`, with the point times `1 + shove` after the first."""
    x = torch.tensor(surface.start, dtype=torch.float64, requires_grad=True)
    rule_of_torch = optimizer(rule, x, hyper)
    points = {}
    for step in range(1, max(STEPS) + 1):
        if lr_later is not None and step == CHANGE_AFTER + 1:
            rule_of_torch.param_groups[0]["lr"] = lr_later
        x.grad = torch.from_numpy(surface.gradient(x.detach().numpy()))
        rule_of_torch.step()
        if step == 1 and shove:
            x.data *= 1.0 + shove
        if step in STEPS:
            points[step] = x.detach().tolist()
    return points


def magnification(points: dict[int, list[float]], shoved: dict[int, list[float]]) -> float:
    """The largest relative difference between two paths, in any coordinate, over `SHOVE`."""
    a, b = np.array(list(points.values())), np.array(list(shoved.values()))
    return float(np.max(np.abs(a - b) / np.abs(a)) / SHOVE)


def trajectories() -> Iterator[dict[str, Any]]:
    for rule, settings in SETTINGS.items():
        for name, surface in SURFACES.items():
            base = LEARNING_RATES[rule][name]
            for setting in settings:
                hyper = {**setting, "lr": round(base * setting["lr"], 8)}
                factor = hyper.pop("lr_later", None)
                lr_later = None if factor is None else round(base * factor, 8)
                points = walk(rule, hyper, lr_later, surface, 0.0)
                grown = magnification(points, walk(rule, hyper, lr_later, surface, SHOVE))
                if not grown <= LARGEST_MAGNIFICATION:
                    raise ValueError(f"{rule} {hyper} on {name} magnifies errors by {grown:.3g}")
                yield {
                    "rule": rule,
                    "surface": name,
                    "start": list(surface.start),
                    "hyper": hyper,
                    "lr_change": None if lr_later is None else [CHANGE_AFTER, lr_later],
                    "points": points,
                }


def main() -> None:
    torch.set_num_threads(1)
    made = list(trajectories())
    # One line per point and one per setting: floats in the shortest form that reads back exactly.
    lines = []
    for one in made:
        points = ",\n".join(f'   "{step}": {json.dumps(p)}' for step, p in one["points"].items())
        head = json.dumps({key: item for key, item in one.items() if key != "points"})
        lines.append(f'  {head[:-1]}, "points": {{\n{points}}}}}')
    version = torch.__version__.split("+")[0]
    body = ",\n".join(lines)
    FILE.write_text(f'{{"torch": "{version}", "trajectories": [\n{body}\n]}}\n', encoding="utf-8")
    print(f"{FILE.name}: {len(made)} trajectories, {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
