"""Models to export, each with an example: layers, and modules with a forward of their own."""

import numpy as np
from networks import random

import minidl
from minidl import functional as F
from minidl import nn


def filled(model):
    """The model with numbers in place of zeros and ones, so that a forgotten one is seen."""
    rng = np.random.default_rng(0)
    for _, module in model.modules():
        for name in ("weight", "bias", "running_mean", "running_var"):
            x = getattr(module, name, None)
            x = x.data if isinstance(x, nn.Parameter) else x
            if x is not None and x.ndim == 1:
                x += rng.uniform(0.1, 0.5, x.shape).astype(x.dtype)
    return model


class Residual(nn.Module):
    """A block whose input is added to its output, with a learned share."""

    def __init__(self, features):
        self.inner = nn.Sequential(
            nn.LayerNorm(features), nn.Linear(features, features, rng=0), nn.GELU()
        )
        self.share = nn.Parameter([0.5])

    def forward(self, x):
        return x + self.share * self.inner(x)


class Attention(nn.Module):
    """Causal attention in two heads."""

    def __init__(self, features):
        self.parts = nn.ModuleList(nn.Linear(features, features, rng=i) for i in range(4))

    def forward(self, x):  # (N, T, C)
        n, t, c = x.shape
        q, k, v = (np.swapaxes(f(x).reshape(n, t, 2, c // 2), 1, 2) for f in self.parts[:3])
        y = F.scaled_dot_product_attention(q, k, v, causal=True)
        return self.parts[3](np.swapaxes(y, 1, 2).reshape(n, t, c))


class Transformer(nn.Module):
    """Letters to logits: embedding, places, a block of attention, and the table once more."""

    def __init__(self):
        self.what = nn.Embedding(9, 8, rng=0)
        self.where = nn.Parameter(random(6, 8))
        self.drop = nn.Dropout(0.1)
        self.look = nn.Sequential(nn.LayerNorm(8), Attention(8))
        self.think = Residual(8)

    def forward(self, i):  # (N, T)
        x = self.drop(self.what(i) + self.where[: i.shape[1]])
        x = self.think(x + self.look(x))
        return np.swapaxes(F.linear(x, self.what.weight), 1, 2)  # one table for both ways


class Gated(nn.Module):
    """Two ways through a dict of modules, one of which says how much of the other passes."""

    def __init__(self):
        self.ways = {"gate": nn.Linear(6, 6, rng=0), "value": nn.Linear(6, 6, bias=False, rng=1)}

    def forward(self, x):
        both = np.concatenate([F.sigmoid(self.ways["gate"](x)) * self.ways["value"](x), x], axis=-1)
        return both - np.mean(both, axis=-1, keepdims=True)


class Keyed(nn.Module):
    """Modules and parameters in all that can hold them, a buffer, and an array of no axes."""

    buffers = ("seen", "unseen")

    def __init__(self):
        self.by_name = nn.ModuleDict({"a": nn.Linear(4, 4, rng=0), "b-c": Residual(4)})
        self.steps = [nn.Parameter(random(4, seed=i)) for i in range(2)]
        self.named = {"bias": nn.Parameter(random(4, seed=2))}
        self.layers = [nn.Linear(4, 4, rng=1), nn.Sequential()]
        self.none = nn.ModuleList([])
        self.seen, self.unseen = random(4, seed=3), None
        self.half, self.fixed = np.array(0.5, "f"), {"rows": [random(4, seed=4)]}
        self.shift = minidl.Tensor(random(4, seed=5))

    def forward(self, x):
        for name in ("a", "b-c"):
            x = self.by_name[name](x) * self.steps[0] + self.steps[1]
        x = self.layers[1](self.layers[0](x)) * self.half + self.seen
        return x * self.fixed["rows"][0] + self.named["bias"] + self.shift


def shared():
    inner = nn.Linear(5, 5, rng=0)
    return nn.Sequential(inner, nn.Tanh(), inner)


MODELS = {
    "digits": lambda: (
        nn.Sequential(nn.Linear(8, 16, rng=0), nn.BatchNorm(16, eps=1e-3, momentum=0.2), nn.ReLU(),
                      nn.Dropout(0.3), nn.Linear(16, 3, rng=1)),
        random(6, 8),
    ),
    "cnn": lambda: (
        nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False, rng=0), nn.BatchNorm(4), nn.ReLU(),
                      nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3, rng=1)),
        random(3, 1, 8, 8),
    ),
    "lenet": lambda: (
        nn.Sequential(nn.Conv2d(1, 6, 5, padding=2, rng=0), nn.Tanh(), nn.AvgPool2d(2),
                      nn.Conv2d(6, 16, 5, rng=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
                      nn.Linear(400, 120, rng=2), nn.Tanh(), nn.Linear(120, 10, rng=3)),
        random(2, 1, 28, 28),
    ),
    "transposed": lambda: (
        nn.Sequential(nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2,
                                         rng=0), nn.Sigmoid(),
                      nn.Conv2d(6, 4, (3, 2), stride=(2, 1), dilation=(1, 2), groups=2, rng=1),
                      nn.BatchNorm(4, affine=False)),
        random(2, 4, 5, 6),
    ),
    "transformer": lambda: (Transformer(), np.random.default_rng(0).integers(0, 9, (3, 5))),
    "residual": lambda: (nn.Sequential(Residual(8), Residual(8), nn.Linear(8, 2, rng=0)),
                         random(4, 8)),
    "gated": lambda: (Gated(), random(4, 3, 6)),
    "activations": lambda: (
        nn.Sequential(nn.Linear(6, 6, rng=0), nn.LeakyReLU(0.2), nn.GELU("tanh"), nn.Sigmoid(),
                      nn.Linear(6, 4, bias=False, rng=1), nn.Softmax(axis=1)),
        random(4, 6),
    ),
    "pools": lambda: (
        nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.AvgPool2d((2, 3), 1, (1, 1)),
                      nn.MaxPool2d(2, 1, 0, 2), nn.Flatten()),
        random(2, 3, 11, 12),
    ),
    "sequences": lambda: (
        nn.Sequential(nn.Embedding(9, 6, rng=0), nn.BatchNorm(5), nn.LayerNorm((5, 6), bias=False),
                      nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, 2, rng=1)),
        np.random.default_rng(1).integers(0, 9, (4, 5)),
    ),
    "shared": lambda: (shared(), random(4, 5)),
    "keyed": lambda: (nn.Sequential(Keyed(), Residual(4), nn.Linear(4, 6, rng=0), Residual(6)),
                      random(4, 4)),
}  # fmt: skip


def model_and_example(name):
    model, example = MODELS[name]()
    return filled(model), example
