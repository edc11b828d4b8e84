"""Numbers computed by PyTorch, stored here so that tests can compare without PyTorch.

`trajectories()`, `networks()`, `losses()` and `text()` read them, with NumPy alone; the README in
this folder tells what is in them, how to compare, and how they were made. Every array is read-only:
the cases of a parametrized test share them, so copy what is to be written to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .surfaces import SURFACES, Surface, Vector

__all__ = [
    "SURFACES",
    "ImageCall",
    "LossCase",
    "Network",
    "Surface",
    "Trajectory",
    "image_calls",
    "image_network",
    "losses",
    "networks",
    "text",
    "trajectories",
]

FOLDER = Path(__file__).parent
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The path of one rule with one setting over one surface, from `start`.

    `hyper` has the lecture's symbols: lr, mu, decay_rate, eps, beta1, beta2, weight_decay, those
    that the setting gives. `points[n]` is the point after n steps.
    """

    rule: str
    surface: str
    start: Vector
    hyper: dict[str, float]
    lr_change: tuple[int, float] | None
    points: dict[int, Vector]

    @property
    def steps(self) -> int:
        return max(self.points)

    def lr(self, step: int) -> float:
        """The learning rate of a step; the first step is number 1."""
        if self.lr_change is not None and step > self.lr_change[0]:
            return self.lr_change[1]
        return self.hyper["lr"]

    def gradient(self, p: Vector) -> Vector:
        return SURFACES[self.surface].gradient(p)

    def __str__(self) -> str:
        hyper = " ".join(f"{name}={value:.6g}" for name, value in self.hyper.items())
        change = "" if self.lr_change is None else f" then {self.lr_change[1]:.6g}"
        return f"{self.rule} {self.surface} {hyper}{change}"


@dataclass(frozen=True, eq=False)
class Network:
    """A network of PyTorch, a batch, and what comes out; all floats are of one dtype.

    `layers` gives the class name in `torch.nn` and the arguments of each layer of a Sequential.
    The losses are the mean cross-entropy of the labels; `gradients` and `input_gradient` belong
    to the loss in train mode, `buffers_after` to the moment after that one forward pass.
    """

    name: str
    dtype: str
    layers: list[tuple[str, dict[str, Any]]]
    state: dict[str, Array]
    inputs: Array
    labels: NDArray[np.int64]
    eval_output: Array
    eval_loss: Array
    train_output: Array
    train_loss: Array
    gradients: dict[str, Array]
    input_gradient: Array
    buffers_after: dict[str, Array]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}"


@dataclass(frozen=True, eq=False)
class LossCase:
    """One call of one function in float64.

    `arrays` and `options` are its arguments by name (an option that is absent has its default).
    Sending `upstream` back into `value` gives `gradients`; `after` holds the running statistics
    after a call of batch_norm. `note` says where a true value need not equal PyTorch's.
    """

    name: str
    function: str
    arrays: dict[str, Array]
    options: dict[str, Any]
    value: Array
    upstream: Array
    gradients: dict[str, Array]
    after: dict[str, Array]
    note: str = ""

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class ImageCall:
    """One call of a convolution or a pool in float64: `arrays` in their order, then `options`.

    Sending `upstream` back into `value` gives `gradients`.
    """

    function: str
    options: dict[str, Any]
    arrays: dict[str, Array]
    value: Array
    upstream: Array
    gradients: dict[str, Array]

    def __str__(self) -> str:
        shapes = " ".join(str(a.shape).replace(" ", "") for a in self.arrays.values())
        options = " ".join(f"{k}={v}" for k, v in self.options.items())
        return f"{self.function} {shapes} {options}".strip()


def trajectories(rule: str | None = None) -> list[Trajectory]:
    """All stored paths, or those of one rule, by its name."""
    stored = json.loads((FOLDER / "trajectories.json").read_text(encoding="utf-8"))
    return [
        Trajectory(
            rule=one["rule"],
            surface=one["surface"],
            start=_constant(one["start"]),
            hyper=one["hyper"],
            lr_change=None if one["lr_change"] is None else tuple(one["lr_change"]),
            points={int(step): _constant(point) for step, point in one["points"].items()},
        )
        for one in _chosen(stored["trajectories"], "rule", rule)
    ]


def networks(dtype: str | None = None) -> list[Network]:
    """All stored networks, or those of one dtype: float32 or float64."""
    with np.load(FOLDER / "networks.npz") as archive:
        stored = {key: _constant(array) for key, array in archive.items()}
    fields: dict[tuple[str, str], dict[str, Any]] = {}
    for key, array in stored.items():
        name, *rest = key.split("/")
        if rest and rest[0] != "layers":
            field = fields.setdefault((name, rest[0]), {"name": name, "dtype": rest[0]})
            if len(rest) == 2:
                field[rest[1]] = array
            else:
                field.setdefault(rest[1], {})[rest[2]] = array
    for (name, _), field in fields.items():
        field["layers"] = [tuple(layer) for layer in json.loads(stored[f"{name}/layers"].item())]
        field.setdefault("buffers_after", {})
    return [Network(**field) for field in _chosen(list(fields.values()), "dtype", dtype)]


def losses(function: str | None = None) -> list[LossCase]:
    """All stored calls, or those of one function, by its name in `torch.nn.functional`."""
    return _cases("losses.json", function)


def text(function: str | None = None) -> list[LossCase]:
    """Likewise the calls of layer_norm, embedding and scaled_dot_product_attention."""
    return _cases("text.json", function)


def _cases(file: str, function: str | None) -> list[LossCase]:
    stored = json.loads((FOLDER / file).read_text(encoding="utf-8"))
    return [
        LossCase(
            **{
                **one,
                **{key: _constant(one[key]) for key in ("value", "upstream")},
                **{
                    key: {name: _constant(item) for name, item in one[key].items()}
                    for key in ("arrays", "gradients", "after")
                },
            }
        )
        for one in _chosen(stored["cases"], "function", function)
    ]


def image_calls(function: str | None = None) -> list[ImageCall]:
    """All stored calls, or those of one function, by its name in `torch.nn.functional`."""
    found = [fields for name, fields in _images().items() if name.isdecimal()]
    for fields in found:
        fields["function"], options = json.loads(fields.pop("call").item())
        fields["options"] = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return [ImageCall(**fields) for fields in _chosen(found, "function", function)]


def image_network() -> dict[str, Any]:
    """The stored network for images: its `state`, `inputs`, `labels`, `eval_output` and
    `train_output`, `gradients` by parameter and `input_gradient`; see make_images.py."""
    return _images()["network"]


def _images() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    with np.load(FOLDER / "images.npz") as archive:
        for key, array in archive.items():
            name, *rest = key.split("/")
            if len(rest) == 2:
                found.setdefault(name, {}).setdefault(rest[0], {})[rest[1]] = _constant(array)
            elif rest:
                found.setdefault(name, {})[rest[0]] = _constant(array)
    return found


def _chosen(records: list[dict[str, Any]], key: str, wanted: str | None) -> list[dict[str, Any]]:
    """The records whose `key` is `wanted`; a misspelled name must not give a test of nothing."""
    chosen = [one for one in records if wanted in (None, one[key])]
    if not chosen:
        raise ValueError(f"no {key} {wanted!r}; stored are {sorted({r[key] for r in records})}")
    return chosen


def _constant(numbers: Any) -> Array:
    """A read-only array: float64 from JSON's floats, int64 from its integers."""
    array = np.asarray(numbers)
    array.flags.writeable = False
    return array
