"""What cannot be written for PyTorch or for ONNX: it is refused, by name and with the remedy."""

import importlib.util
import threading

import numpy as np
import pytest
from networks import random
from test_export import Calls, needs_onnx

from minidl import export, nn
from minidl import functional as F


def to_pytorch(model, x, folder):
    return export.to_pytorch(model, x)


def to_onnx(model, x, folder):
    return export.to_onnx(model, folder / "model.onnx", x)


WAYS = {"to_pytorch": to_pytorch, "to_onnx": to_onnx}
BOTH = ("to_onnx", "to_pytorch")
ONNX, TORCH = BOTH[:1], BOTH[1:]


class With(nn.Module):
    """A model that calls a function with itself, so that it can use what it holds."""

    def __init__(self, function, **held):
        self.function = function
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.function(self, x)


class Twice(nn.Module):
    """A model that calls two other functions where it is called a second time."""

    def __init__(self):
        self.inner = With(lambda m, x: F.relu(x) if x.shape[1] == 3 else F.sigmoid(x))

    def forward(self, x):
        return self.inner(x)[:, :2] + self.inner(x[:, :2])


class Reaching(nn.Module):
    """A model with a part that reaches for what is not its own."""

    def __init__(self, function):
        self.weight, self.layer = nn.Parameter(random(3)), nn.Linear(3, 3)
        self.function, self.part = function, With(None)

    def forward(self, x):
        self.part.function = lambda part, h: self.function(self, h, x)
        return self.part(x * 2)


def pair(m, x):
    return x, x * 2


def both_of(m, x):
    a, b = m.inner(x)
    return a + b


OWN = np.frompyfunc(lambda x: x / 2, 1, 1)
FOUR = random(2, 3, 4, 4)
REFUSED = {
    "a sum where": (BOTH, lambda x: np.sum(x, axis=1, where=x.data > 0), "initial= or where="),
    "a mean where": (BOTH, lambda x: np.sum(x.data, 1, where=x.data > 0), "initial= or where="),
    "a sum from": (BOTH, lambda x: np.sum(x.data, axis=1, initial=1.0), "initial= or where="),
    "a largest from": (BOTH, lambda x: np.max(x, axis=1, initial=1.0), "initial= or where="),
    "along no axis": (BOTH, lambda x: np.sum(x, axis=()), "along no axis"),
    "the largest along none": (BOTH, lambda x: np.max(x.data, axis=()), "along no axis"),
    "columns first": (BOTH, lambda x: np.reshape(x, (len(x), -1), order="F"), "order='F'"),
    "raveled by columns": (BOTH, lambda x: np.ravel(x.data, order="F"), "order='F'"),
    "rows by themselves": (BOTH, lambda x: np.stack([*x]), "makes other calls"),
    "some rows": (BOTH, lambda x: np.concatenate([x] * min(len(x), 3)), "makes other calls"),
    "a number or none": (
        BOTH,
        lambda x: x * (1.0 if len(x) < 3 else np.nan),
        "another size: it computes with 1.0 for .* and nan for",
    ),
    "none or a number": (
        BOTH,
        lambda x: x * (np.nan if len(x) < 3 else 1.0),
        "another size: it computes with nan for .* and 1.0 for",
    ),
    "an end or none": (
        BOTH,
        lambda x: x * x[:, : None if len(x) < 3 else 3],
        "another size: it computes with None for a batch of 2 and 3 for one of 3",
    ),
    "at most three": (BOTH, lambda x: x[: min(len(x), 3)], "another size: it computes with 2 for"),
    "more axes": (
        BOTH,
        lambda x: np.expand_dims(x, tuple(range(min(len(x), 3)))),
        "lists of another length",
    ),
    "spread over the batch": (
        ONNX,
        lambda x: np.var(x, axis=0, ddof=1),
        "over the batch with ddof",
    ),
    "spread over all": (ONNX, lambda x: np.std(x, axis=(1, 0), ddof=1), "over the batch with ddof"),
    "spread over both": (ONNX, lambda x: np.std(x, ddof=1) * x, "over the batch with ddof"),
    "a norm of order 3": (ONNX, lambda x: np.linalg.norm(x, 3, axis=1), "with ord=3.0: write it"),
    "a function of NumPy's": (BOTH, lambda x: np.frexp(x.data)[0], "np.frexp is not among what"),
    "lists of arrays": (BOTH, lambda x: np.array_split(x.data, 2, 1)[0], "np.array_split is not"),
    "a function of one's own": (BOTH, lambda x: OWN(x.data), "halved is not among what can be"),
    "a sum of booleans": (ONNX, lambda x: (x > 0) + (x < -1), "np.add of booleans: convert"),
    "bits": (ONNX, lambda x: x.data.astype(int) & 1, "bitwise_and of integers"),
    "two arrays": (ONNX, lambda x: x[:, [0, 1], [1, 2]], "several arrays.*one axis at a time"),
    "a mask": (ONNX, lambda x: x[:, np.array([True, False, True])], "an index of bool: .*np.where"),
    "an array and a number": (ONNX, lambda x: x[:, 0, [1, 2]], "an array and numbers"),
    "a new axis and an array": (ONNX, lambda x: x[:, None, [1, 2]], "an array and numbers"),
    "an end that is computed": (
        ONNX,
        lambda x: x[:, : np.argmax(x.data[0, 0, 0])],
        "getitem with these options",
    ),
    "a mask for PyTorch": (TORCH, lambda x: x[:, np.array([True, False, True])], "use np.where"),
    "the largest, axes kept": (TORCH, lambda x: np.argmax(x, keepdims=True), "of all, with keep"),
    "backwards": (TORCH, lambda x: x[:, ::-1], "a step below 0"),
    "backwards at last": (TORCH, lambda x: x[:, 0, ..., ::-2], "a step below 0"),
    "sums of another dtype": (
        TORCH,
        lambda x: np.cumsum(x.data, axis=1, dtype=np.float64),
        "np.cumsum with these options",
    ),
}


@pytest.mark.parametrize(
    ("name", "way"), [(name, way) for name, (ways, *_) in REFUSED.items() for way in ways]
)
def test_a_call_that_cannot_be_written_is_refused_where_it_stands(name, way, tmp_path):
    if way == "to_onnx" and not importlib.util.find_spec("onnx"):
        pytest.skip("it needs the extra onnx")
    _, function, message = REFUSED[name]
    with pytest.raises(export.ExportError, match=f"(?s)^{way}: .*{message}") as caught:
        WAYS[way](Calls(function), FOUR, tmp_path)
    if "mask" not in name or way == "to_onnx":
        assert "test_export_refusals.py, line" in str(caught.value)


def other_calls(m, x):
    return m.a(x) if len(x) % 2 else m.b(x)


def more_calls(m, x):
    return m.a(x) if len(x) % 2 else m.b(m.a(x))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (With(lambda m, x: m.w * 2, w=nn.Parameter(random(3))), "does not depend on its input"),
        (With(lambda m, x: x, lock=threading.Lock()), "With cannot be copied.*take what cannot"),
        (
            With(other_calls, a=Calls(F.relu), b=Calls(F.relu)),
            "With calls other modules for a batch of another size",
        ),
        (
            nn.Sequential(With(more_calls, a=Calls(abs), b=Calls(lambda x: x))),
            "0 calls other modules for a batch of another size",
        ),
        (Reaching(lambda m, h, x: h + m.weight), "part computes with weight, which is no part of"),
        (Reaching(lambda m, h, x: m.layer(h)), "part calls layer, which is no part of it"),
        (Reaching(lambda m, h, x: h + x), "part computes with the input of the model.*pass it"),
        (With(both_of, inner=With(pair)), r"With \(inner\) does not return one Tensor"),
        (
            Calls(lambda x: x + np.arange(3, dtype="f") * len(x)),
            r"it makes an array of shape \(3,\) by itself",
        ),
        *(
            (
                Calls(lambda x, of=of: x + (np.arange(len(x)) * of(x)).astype("f")[:, None]),
                r"it makes an array of shape \(2, 1\) by itself",
            )
            for of in (lambda x: len(x) < 3, lambda x: len(x) > 2)
        ),
        (Calls(lambda x: np.ravel(x.data.T, order="K")), "reshape with order='K'"),
        (Calls(lambda x: np.reshape(x.data.T, -1, order="A")), "reshape with order='A'"),
        (Twice(), r"With \(inner\) does other things each time.*a module of each"),
        (
            nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, dtype=np.float64)),
            "the parameters are of 2 dtypes: use one",
        ),
        (With(lambda m, x: m.a[0][0](x), a=[[nn.Linear(3, 3)]]), r"With\.a holds lists in lists"),
        (
            With(lambda m, x: m.a[1](m.a[0][0](x)), a=[[nn.Linear(3, 3)], nn.Linear(3, 3)]),
            r"With\.a holds lists in lists",
        ),
        (
            With(lambda m, x: m.a[0](x) + m.a[1], a=[nn.Linear(3, 3), nn.Parameter(random(3))]),
            "parameters beside modules",
        ),
        (nn.ModuleDict({"a": nn.Tanh()}), "a ModuleDict has no forward"),
    ],
)
def test_a_model_that_cannot_be_written_is_refused_by_name(model, message):
    with pytest.raises(export.ExportError, match=f"(?s)^to_pytorch: .*{message}"):
        export.to_pytorch(model, None if isinstance(model, nn.ModuleDict) else random(2, 3))


class Longer(nn.Module):
    """A model that gives one column more each time that it is called."""

    def __init__(self):
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x[:, : self.calls]


class Undefined(nn.Module):
    """A model that gives NaN, or something else, from its second call on, or only before."""

    def __init__(self, first, later, dtype="f"):
        self.values, self.weight = [first, later], nn.Parameter(np.ones(1, dtype))

    def forward(self, x):
        return x * self.weight * self.values.pop(0)


@needs_onnx
def test_what_onnxruntime_does_not_run_or_runs_otherwise_is_not_stored(tmp_path, monkeypatch):
    path, whole = tmp_path / "model.onnx", np.arange(12, dtype=np.int16).reshape(2, 6)
    for model, x, message in [
        (nn.Conv2d(3, 2, 2, dtype=np.float64), FOUR, "input of float64: .*other dtypes than"),
        (Calls(lambda x: np.max(x, axis=1)), whole, "does not run.* input of int16: .*ReduceMax"),
        (
            Undefined(1.0, 1.001),
            FOUR,
            "gives something else .* the largest difference is .*e-0[34]",
        ),
        (Undefined(1.0, 1.0125, "e"), FOUR, "something else .* the largest difference is 1.*e-02"),
        (Undefined(1.0, np.nan), FOUR, "gives something else .* the largest difference is nan"),
        (Undefined(np.nan, 1.0), FOUR, "gives something else .* the largest difference is nan"),
        (Longer(), whole, "something else in onnxruntime: the largest difference is inf"),
    ]:
        with pytest.raises(export.ExportError, match=f"(?s)to_onnx: .*{message}"):
            export.to_onnx(model, path, x)

    for near in (Undefined(1.0, 1.00005), Undefined(1.0, 1.0075, "e")):
        export.to_onnx(near, path, FOUR)
    path.unlink()

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(OSError, match=r"to_onnx: cannot write '.*': .*No space left"):
        export.to_onnx(nn.ReLU(), path, FOUR)
    assert not path.exists()
