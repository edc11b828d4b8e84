"""The way out: what is written for PyTorch and for ONNX computes what the model computes."""

import ast
import contextlib
import functools
import importlib.util
import io
import re

import numpy as np
import pytest
from exported import MODELS, model_and_example
from networks import random
from programs import ROOT, run_python
from reference import make_exports

import minidl
from minidl import export, nn
from minidl import functional as F
from minidl.export import onnx_table, torch_table

HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="it needs the extra onnx")

CONTAINERS = {"Module", "ModuleDict", "ModuleList", "Sequential"}
LOSSES = {"BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "L1Loss", "MSELoss"}
NO_LAYERS = CONTAINERS | LOSSES | {"Parameter", "build", "describe", "init"}
OF_LOSSES = {"binary_cross_entropy_with_logits", "cross_entropy", "huber_loss", "l1_loss",
             "mse_loss"}  # fmt: skip


class Calls(nn.Module):
    """A model that calls a function."""

    def __init__(self, function):
        self.function = function

    def forward(self, x):
        return self.function(x)


def run(path, x):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options).run(None, {"x": x})[0]


# --- Every layer and every function ---------------------------------------------------------------


def test_every_layer_is_in_a_model_here():
    used = {type(m).__name__ for name in MODELS for _, m in MODELS[name]()[0].modules()}
    assert set(nn.__all__) - NO_LAYERS <= used


def test_every_layer_is_in_the_table_of_pytorch():
    assert {layer.__name__ for layer in torch_table.LAYERS} == set(nn.__all__) - NO_LAYERS


FUNCTIONS = {
    "relu": F.relu, "sigmoid": F.sigmoid, "tanh": F.tanh, "leaky_relu": F.leaky_relu,
    "gelu": F.gelu, "softplus": lambda x: F.softplus(x, 2.0), "softmax": F.softmax,
    "log_softmax": lambda x: F.log_softmax(x, 0 + 1), "logsumexp": lambda x: F.logsumexp(x, 1),
    "linear": lambda x: F.linear(x, minidl.Tensor(random(2, 6))),
    "layer_norm": lambda x: F.layer_norm(x, (4, 6)),
    "batch_norm": lambda x: F.batch_norm(x, np.zeros(3, "f"), np.full(3, 2, "f")),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "embedding": lambda x: F.embedding(np.array([0, 1]), x[0, 0]) + x[:, :, :2],
    "scaled_dot_product_attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "conv2d": lambda x: F.conv2d(x, minidl.Tensor(random(2, 3, 2, 2))),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x, minidl.Tensor(random(3, 2, 2, 2))),
    "max_pool2d": lambda x: F.max_pool2d(x, 2), "avg_pool2d": lambda x: F.avg_pool2d(x, 2),
}  # fmt: skip

NUMPY = {
    "add": lambda x: 1 + x + x, "subtract": lambda x: x - 2.0, "divide": lambda x: x / (x * x + 1),
    "power": lambda x: 2.0**x + (x * x + 1) ** 1.5, "matmul": lambda x: x @ np.swapaxes(x, -1, -2),
    "sqrt": lambda x: np.sqrt(x * x + 1) + np.reciprocal(x * x + 1) - np.square(-x),
    "exponentials": lambda x: np.exp(x) + np.exp2(x) + np.expm1(x / 1000) * 1000,
    "logarithms": lambda x: np.log(x * x + 1) + np.log2(x * x + 1) + np.log10(x * x + 1)
    + np.log1p(x / 1e4) * 1e4 + np.logaddexp(x, 1.0),
    "angles": lambda x: np.sin(x) + np.cos(x) + np.tan(x / 9) + np.arctan(x) + np.degrees(x) / 90,
    "inverse angles": lambda x: np.arcsin(np.tanh(x)) + np.arccos(np.tanh(x)) + np.arcsinh(x)
    + np.arccosh(x * x + 1.5) + np.arctanh(np.tanh(x) / 2) + np.sinh(x) + np.cosh(x)
    + np.radians(x),
    "rounded": lambda x: np.floor(x) + x * np.ceil(x.data) + np.sign(x) + np.rint(x) * 2,
    "choices": lambda x: np.where(x > 0.5, x, np.maximum(x, -1)) + np.minimum(x, 0.5) + abs(x),
    "bounds": lambda x: np.clip(x, -0.5, 0.5), "hypot": lambda x: np.hypot(x, 2.0),
    "logic": lambda x: np.where((x > 0) & ~(x >= 1) | (x == -1) | (x < -2) | (x <= -3), x, 0.0)
    + np.where(np.isfinite(x.data) & (x != 0), x, 1.0)
    + np.where(np.isnan(x) | np.isinf(x), 1.0, x),
    "more logic": lambda x: np.where(np.logical_or(x > 1, np.logical_not(x < 0)), x, 1.0)
    + np.where(np.logical_and(x > 0, x < 1) ^ (x > 0.5), x, 1.0)
    + np.where(np.logical_xor(x > 0, x > 1), x, 2.0)
    + np.where(np.logical_not(np.floor(x.data)), x, 2.0),
    "sums": lambda x: x.sum(axis=(1, 2)) + np.mean(x, axis=(1, -2)) + x.max(axis=1).min(axis=1),
    "sums that keep axes": lambda x: x.sum(keepdims=True) * x.max(axis=1, keepdims=True)
    + np.argmax(x, axis=2, keepdims=True) + np.zeros_like(x) + np.full_like(x.data, 2),
    "means over the batch": lambda x: x - np.mean(x, axis=0),
    "spreads": lambda x: np.var(x, axis=1) + np.std(x, axis=1, ddof=1),
    "largest": lambda x: x[:, 0] * (np.argmax(x, axis=-1) + np.argmin(x, -1))[:, 0, :, None],
    "running sums": lambda x: np.cumsum(x, axis=2),
    "shapes": lambda x: np.transpose(x, (0, 2, 3, 1)).reshape(len(x), -1)[:, None, ::2, None],
    "more shapes": lambda x: np.squeeze(np.expand_dims(x, 1), 1).mT.reshape(x.shape[0] * 3, -1),
    "places": lambda x: x[..., 1:, :][:, [2, 0], :, 1:-1] * x[:, -1, None, :1, 2:3],
    "joined": lambda x: np.stack([np.concatenate([x, 2 * x], axis=1)[:, 1:4], x], axis=-1),
    "spread": lambda x: np.broadcast_to(x[:, :1], x.shape) + np.zeros_like(x.data),
    "turned": lambda x: np.flip(x, 2) + np.tril(x) - np.triu(x, 1),
    "einsum": lambda x: np.einsum("nchw,nchv->nwv", x, x),
    "prod": lambda x: np.prod(x, axis=-1),
    "norm": lambda x: np.linalg.norm(x, axis=-1) + np.linalg.norm(x) + np.outer(x[0, 0, 0], 2)[0],
    "in place": lambda x: added(x.data) + x.sum(axis=0) / len(x),
    "twice the batch": lambda x: np.concatenate([x, -x]).reshape(2, len(x), -1)[1],
    "astype": lambda x: x.astype(np.float64).astype(np.float32) + np.copy(x),
    "other dtypes": lambda x: np.sum(x, axis=1, dtype=np.float64) + np.mean(x.data > 0, axis=1)
    + np.var(x.data, axis=1, dtype=np.float64) + np.sum(x.data > 0, axis=1),
    "a question": lambda x: (x > 0) & (x < 1),
    "bounds of one side": lambda x: np.clip(x, None, 0.5) * np.clip(x, -0.25, None),
    "of all numbers": lambda x: np.argmax(x) + np.cumsum(x).reshape(x.shape) * np.std(x)
    + np.max(x) + F.logsumexp(x, None),
    "axes kept": lambda x: np.linalg.norm(x, axis=(1, 2), keepdims=True) * np.var(x, axis=2,
    keepdims=True) + F.logsumexp(x, (1, 2), True) + F.logsumexp(x, 1)[:, None],
    "other norms": lambda x: np.linalg.norm(x, ord=1, axis=-1) + np.std(x, axis=(1, 2), ddof=2)[
        :, None, :3].sum(axis=-1, keepdims=True),
    "ones for each sample": lambda x: x * np.ones((len(x), 3, 1, 1), "f") + 3 * np.ones_like(x.data)
    + np.full_like(x.data, fill_value=2),
    "two for each sample": lambda x: np.broadcast_to(x[0], (2 * len(x), *x.shape[1:]))
    + np.zeros((2 * len(x), 1, 1, 1), "f"),
    "no number": lambda x: np.where(np.isnan(np.where(x > 0, x, np.nan)), 2, x)
    + np.maximum(np.where(x > 0, x, -np.inf), -1),
    "an array without axes": lambda x: x * np.array(2.5, "f") + np.float32(1.5),
    "all axes turned": lambda x: np.flip(x[:, :, :1], (1, -1)).T + np.flip(x[:1, :, :1]).mT.T,
    "axes from the end": lambda x: np.swapaxes(np.transpose(x, (0, -1, 1, -2)), -3, -1),
    "triangles": lambda x: np.tril(x, 1) * np.tril(x, -1) + np.triu(x),
    "stacked inside": lambda x: np.stack([x, 2 * x], axis=1)[:, 1]
    + np.stack([x, -x], -2)[..., 1, :],
    "a gap within": lambda x: x[:, ..., 0, None] * x[:, :1, ..., 2:3] + x[:1, ..., 1][..., None],
    "a place that is computed": lambda x: x[:, np.argmax(x.data[0, 0, :3, 0])],
    "all but one": lambda x: x[1:] + x[:-1] + x[: len(x) - 1],
    "none of it": lambda x: x[:, :0],
    "a bias added": lambda x: F.conv2d(x, minidl.Tensor(random(2, 3, 2, 2)), stride=2, padding=1)
    + random(2, seed=1).reshape(2, 1, 1) + F.conv2d(x, minidl.Tensor(random(4, 3, 3, 3)))[:, :1, :1]
    + F.conv2d(x, *map(minidl.Tensor, (random(4, 3, 2, 1), random(4, seed=2))))[:, :2, :1, :4],
    "products of matrices": lambda x: F.linear(x, minidl.Tensor(random(2, 6)), minidl.Tensor(
        random(2, seed=1))) + (x @ random(6))[..., None],
    "softmax of other axes": lambda x: F.log_softmax(x, 1) + F.softmax(x, -2),
}  # fmt: skip

IN_ONNX = {  # what PyTorch has no word for
    "bounds of an array": lambda x: np.clip(x.data, -0.5, 0.5) + np.clip(x.data, 0.25, None)
    + np.clip(x.data, None, 1) + np.clip(x.data, a_min=None, a_max=0.75),
    "a place in all, axes kept": lambda x: x * np.argmax(x, keepdims=True) * np.argmin(x),
    "backwards": lambda x: x[:, ::-1, ::2, 4:1:-1][:, 1::-1],
    "a bias that has two axes": lambda x: F.conv2d(x, minidl.Tensor(random(2, 3, 2, 2)))
    + x[0, :2, :1, 0].reshape(2, 1, 1),
    "rows against rows": lambda x: (x[:, 0, 0] @ x[:, 0, 0].T).reshape(1, len(x), len(x)),
    "none of it in another shape": lambda x: x[:, :0].reshape(len(x), 0)
    + x[:, None, :0, :1].reshape(0, len(x), 4).sum(axis=(0, 2))[:, None],
    "no number as the result": lambda x: np.where(x > 0, np.where(x > 1, np.nan, np.inf), x),
    "an axis in front": lambda x: x[None, :, 0] + x[None][:, :, 1],
    "a whole slope": lambda x: F.leaky_relu(x, 2),
    "zeros of a dtype": lambda x: x + np.zeros_like(x.data, np.float32),
    "log of small numbers": lambda x: np.log1p(x / 1e9) * 1e9,
}  # fmt: skip
IN_TORCH = {  # what ONNX has no operator for
    "an angle": lambda x: np.arctan2(x, 2.0),
    "a norm of order 3": lambda x: np.linalg.norm(x, 3, axis=1, keepdims=True),
    "an end that is computed": lambda x: x[:, : np.argmax(x.data[0, 0, 0])],
    "spreads over the batch": lambda x: np.var(x, axis=0, ddof=1) + np.std(x[:, 0], ddof=2),
    "two arrays": lambda x: x[:, [0, 1], [1, 2]],
    "a sum of booleans": lambda x: np.where((x > 0) + (x < -1), x, 0),
    "bits": lambda x: x.data * (x.data.astype(np.int64) & 1),
}  # fmt: skip


LINES = {  # functions, and the line of the source that has all of their settings
    "numbers and arrays side by side": (lambda x: x[:, 0, [1, 2]], "return x[:, 0, [1, 2]]"),
    "arrays apart": (lambda x: x[[0, 1], :, [1, 2]], "return x[[0, 1], :, [1, 2]]"),
    "numbers and an array": (lambda x: x[:, [1, 2], 0, 1], "return x[:, [1, 2], 0, 1]"),
    "zeros of a dtype": (
        lambda x: np.zeros_like(x.data, np.float32) * x,
        "t = torch.full((x.shape[0], 3, 4, 6,), 0, dtype=torch.float32, device=x.device)",
    ),
    "a transposed convolution": (
        lambda x: F.conv_transpose2d(x, minidl.Tensor(random(3, 2, 2, 2)), None, (3, 2), (2, 1),
                                     (2, 1), dilation=(1, 2)),
        "return F.conv_transpose2d(x, self.constant, None, (3, 2), (2, 1), (2, 1), 1, (1, 2))",
    ),
}  # fmt: skip


def added(x):
    y = x * 2
    y += 1
    return y


def test_every_function_is_exported_here():
    assert set(F.__all__) == {*FUNCTIONS, *OF_LOSSES}


@needs_onnx
@pytest.mark.parametrize("name", [*FUNCTIONS, *NUMPY, *IN_ONNX])
def test_a_function_is_the_same_in_onnx(name, tmp_path):
    model, x = Calls((FUNCTIONS | NUMPY | IN_ONNX)[name]), random(2, 3, 4, 6)
    written = export.to_onnx(model, tmp_path / "model.onnx", x)
    assert written.difference < 1e-5  # on x, and on a larger batch


# --- ONNX -----------------------------------------------------------------------------------------


@needs_onnx
@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_gives_what_the_model_gives(name, tmp_path):
    import onnx

    model, x = model_and_example(name)
    model.train()
    before = model.state_dict()
    written = export.to_onnx(model, tmp_path / "model.onnx", x)
    assert model.training
    assert all(np.array_equal(model.state_dict()[k], v) for k, v in before.items())
    file = onnx.load(written.path)
    onnx.checker.check_model(file, full_check=True)
    assert (file.producer_name, file.opset_import[0].version) == ("minidl", written.opset)
    assert (file.producer_version, file.ir_version) == (minidl.__version__, 9)
    assert file.doc_string.startswith(f"{type(model).__name__}, in prediction: BatchNorm by its")
    for n in (1, 7):
        batch = x[np.arange(n) % len(x)]
        np.testing.assert_allclose(
            run(written.path, batch), minidl.predict(model, batch), rtol=1e-5, atol=1e-5
        )


@needs_onnx
def test_the_names_in_the_file_are_those_of_the_model(tmp_path):
    import onnx

    model, x = model_and_example("digits")
    path = export.to_onnx(model, tmp_path / "model.onnx", x).path
    graph = onnx.load(path).graph
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    state = model.state_dict()
    del state["1.num_batches_tracked"]
    assert arrays.keys() == state.keys()
    assert all(np.array_equal(arrays[k], state[k]) for k in state)
    assert [n.op_type for n in graph.node] == ["Gemm", "BatchNormalization", "Relu", "Gemm",
                                               "Identity"]  # fmt: skip
    assert [n.name for n in graph.node[:-1]] == ["0/Gemm", "1/BatchNormalization", "2/Relu",
                                                 "4/Gemm"]  # fmt: skip
    assert (graph.input[0].name, graph.output[0].name) == ("x", "y")
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@needs_onnx
def test_the_file_has_no_operator_and_no_number_that_it_could_do_without(tmp_path):
    import onnx

    for function, operators, numbers in [
        (lambda x: x.reshape(len(x), -1), ["Reshape"], 1),
        (lambda x: x * 2 + 2 / x, ["Mul", "Div", "Add"], 1),
        (lambda x: (x + 1) * (x + 1), ["Add", "Mul"], 1),
        (lambda x: np.exp(x) * 0 + x * 3, ["Exp", "Mul", "Mul", "Add"], 2),
        (lambda x: (np.sort(x), x)[1], [], 0),
        (lambda x: x[:, :, :], [], 0),
        (lambda x: np.clip(x.data, None, 1), ["Min"], 1),
        (
            lambda x: np.broadcast_to(x[:, :1], x.shape) + np.broadcast_to(x[:, 1:2], x.shape),
            ["Slice", "Shape", "Concat", "Expand", "Slice", "Expand", "Add"],
            5,
        ),
        (lambda x: x[:, 1:], ["Slice"], 2),
        (lambda x: x[: len(x) - 1], ["Shape", "Add", "Slice"], 3),
        (lambda x: np.sum(x, axis=1) - np.max(x, axis=1), ["ReduceSum", "ReduceMax", "Sub"], 1),
        (
            lambda x: F.logsumexp(x, 1, True),
            ["ReduceMax", "Sub", "Exp", "ReduceSum", "Log", "Add"],
            1,
        ),
    ]:
        graph = onnx.load(export.to_onnx(Calls(function), tmp_path / "a", random(2, 3, 4)).path)
        graph = graph.graph
        assert [n.op_type for n in graph.node] == [*operators, "Identity"]
        assert len(graph.initializer) == numbers


@needs_onnx
def test_an_axis_may_be_of_any_length(tmp_path):
    for function in (
        lambda x: x[:, 1:],
        lambda x: x[:, ::-2],
        lambda x: np.flip(x, 1),
        lambda x: x[..., -1:0:-1],
    ):
        written = export.to_onnx(Calls(function), tmp_path / "model.onnx", random(2, 300))
        assert written.difference == 0


@needs_onnx
def test_a_convolution_takes_its_bias_with_it(tmp_path):
    import onnx

    model, x = model_and_example("transposed")
    graph = onnx.load(export.to_onnx(model, tmp_path / "model.onnx", x).path).graph
    kinds = [n.op_type for n in graph.node]
    assert kinds == ["ConvTranspose", "Sigmoid", "Conv", "BatchNormalization", "Identity"]
    assert graph.node[0].input[2] == "0.bias"


@needs_onnx
def test_what_one_file_replaces_is_kept_if_the_model_cannot_be_written(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")
    with pytest.raises(export.ExportError):
        export.to_onnx(Calls(lambda x: np.sort(x)), path, random(2, 3))
    assert path.read_bytes() == b"before"


REFUSED = {
    "a function that is not there": (
        lambda x: np.linalg.inv(x.mT @ x + np.eye(3)),
        r"linalg\.inv.*test_exp",
    ),
    "a function made of another": (lambda x: np.sort(x), r"np\.argsort, which np\.sort is made"),
    "an edge": (lambda x: np.pad(x, ((0, 0), (1, 1))), r"place, which np\.pad is made of, is not"),
    "a branch on values": (lambda x: x if x.data.mean() > 0 else -x, r"branches on a value.*line"),
    "a Python number": (lambda x: x * float(x.data.sum()), "makes a Python number"),
    "an array out of sight": (lambda x: x + np.asarray(x.data), "out of NumPy's sight"),
    "random numbers": (lambda x: F.dropout(x, 0.5), "draws random numbers.*nn.Dropout"),
    "a mask as an index": (lambda x: x[x > 0], "size depends on values|mask"),
    "an array for each sample": (lambda x: x + np.arange(len(x))[:, None], "batches of another"),
    "a share of the samples": (lambda x: x * (1 / len(x)), r"another size.*np\.mean"),
    "half of the samples": (lambda x: x[: len(x) // 2], "batches of another size"),
    "two results": (lambda x: (x, x), "returns a tuple of 2, expected one Tensor"),
    "nothing": (lambda x: None, "returns None"),
    "a constant": (lambda x: np.zeros(3), "does not come from it"),
}


def test_an_error_for_a_batch_of_another_size_says_that_there_are_such():
    with pytest.raises(ValueError, match="cannot reshape array of size 9") as caught:
        export.to_pytorch(Calls(lambda x: x.reshape(2, 3)), random(2, 3))
    assert "batch of shape (3, 3)" in caught.value.__notes__[-1]


@needs_onnx
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_refused_by_name(name, tmp_path):
    function, message = REFUSED[name]
    with pytest.raises(export.ExportError, match=f"(?s){message}") as caught:
        export.to_onnx(Calls(function), tmp_path / "model.onnx", random(2, 3))
    assert str(caught.value).startswith("to_onnx: ")
    assert not (tmp_path / "model.onnx").exists()


class Counting(nn.Module):
    """A model that counts its calls in an array of its own."""

    def __init__(self):
        self.calls = np.zeros(1, np.float32)

    def forward(self, x):
        self.calls += 1
        return x * self.calls


class Growing(nn.Module):
    """A model that gives more each time that it is called."""

    def __init__(self):
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * self.calls


@needs_onnx
def test_what_the_file_gives_is_compared_before_it_is_stored(tmp_path):
    model, path = Growing(), tmp_path / "model.onnx"
    with pytest.raises(export.ExportError, match="gives something else in onnxruntime"):
        export.to_onnx(model, path, random(2, 3))
    assert not path.exists()
    assert model.calls == 0


@needs_onnx
def test_one_sample_is_an_example_of_many(tmp_path):
    for model in (nn.BatchNorm(3), Calls(np.squeeze)):
        written = export.to_onnx(model, tmp_path / "model.onnx", random(1, 3))
        assert run(written.path, random(4, 3)).shape == (4, 3)


@needs_onnx
def test_wrong_arguments_are_refused(tmp_path):
    model, x = model_and_example("digits")
    path = tmp_path / "model.onnx"
    for bad, error, message in [
        ((nn.Linear, path, x), TypeError, "takes a Module.*put brackets"),
        ((model, 3, x), TypeError, "path is the name of a file"),
        ((model, tmp_path, x), IsADirectoryError, "is a folder"),
        ((model, tmp_path / "a" / "b.onnx", x), FileNotFoundError, "there is no folder"),
        ((model, path, "x"), TypeError, "example takes real numbers"),
        ((model, path, np.float32(1)), ValueError, r"shape \(\), expected a batch"),
        ((model, path, x[:0]), ValueError, "one sample at least"),
        ((model, path, x[:, :3]), ValueError, "the last axis of x must be 8 long"),
        ((Counting(), path, x), export.ExportError, "writes into its attribute calls"),
    ]:
        with pytest.raises(error, match=message):
            export.to_onnx(*bad)
    assert not path.exists()


def test_without_the_extra_its_name_and_the_command_are_told(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    model, x = model_and_example("digits")
    with pytest.raises(ImportError, match=r"export\.to_onnx needs onnx.*'minidl\[onnx\]'"):
        export.to_onnx(model, tmp_path / "model.onnx", x)


def test_importing_minidl_does_not_load_it():
    code = "import minidl, sys; print([m for m in sys.modules if m.startswith('minidl.export')])"
    assert run_python("-c", code).stdout == "[]\n"


def test_every_row_is_for_a_function_that_there_is():
    for function in [*onnx_table.TABLE, *torch_table.FUNCTIONS]:
        assert callable(function) or function in ("copy", "astype") or ".reduce" in function


@needs_onnx
def test_the_blocks_of_the_docs_that_need_the_extra_print_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "beyond.md").read_text().partition("## The way out\n")[2]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", text.partition("\n## ")[0], re.M | re.S)
    names, checked = {"__name__": "__main__"}, 0
    for (kind, code), (after, expected) in zip(blocks, [*blocks[1:], ("", "")], strict=True):
        if kind in ("python", "py"):
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, "beyond.md", "exec"), names)
            if kind == "py":
                assert after == "text"
                assert printed.getvalue() == expected
                checked += 1
    assert checked == 3


# --- PyTorch --------------------------------------------------------------------------------------


@functools.cache
def for_pytorch(name):
    model, x = model_and_example(name)
    return model, export.to_pytorch(model, x)


@pytest.mark.parametrize("name", MODELS)
def test_the_source_is_python_and_the_state_has_all_arrays(name):
    model, (source, state) = for_pytorch(name)
    tree = ast.parse(source)
    assert "minidl" not in source.split("\n", 1)[1]
    assert [n.name for n in tree.body if isinstance(n, ast.FunctionDef)] == ["load"]
    for key, array in model.state_dict().items():
        assert np.array_equal(state[key], array)
    for name, p in model.named_parameters():
        assert not np.shares_memory(state[name], p.data)
    assert max(map(len, source.splitlines())) <= 100


def test_a_model_of_layers_needs_no_example():
    for name in ("digits", "cnn", "lenet", "activations", "pools", "shared"):
        model, (source, _) = for_pytorch(name)
        assert export.to_pytorch(model).source == source


def test_the_source_reads_as_one_would_write_it():
    source = export.to_pytorch(*model_and_example("residual")).source
    expected = """
class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(8),
            nn.Linear(8, 8),
            nn.GELU(),
        )
        self.share = nn.Parameter(torch.empty((1,)))

    def forward(self, x):
        return x + (self.share * self.inner(x))


class Model(nn.Sequential):
    def __init__(self):
        super().__init__(
            Residual(),
            Residual(),
            nn.Linear(8, 2),
        )
"""
    assert expected in source


def test_settings_that_pytorch_has_otherwise_are_written_out():
    source = export.to_pytorch(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=(1, 0), dilation=2, groups=2, bias=False),
            nn.BatchNorm(4, eps=1e-3, momentum=0.3, affine=False), nn.GELU("tanh"),
            nn.MaxPool2d(2, 1, 1), nn.Softmax(axis=1), nn.LeakyReLU(0.3), nn.Dropout(0.25),
            nn.ConvTranspose2d(4, 2, 2, 3, 1, 2, 2, dilation=2),
        )
    ).source  # fmt: skip
    for line in (
        "nn.Conv2d(2, 4, 3, stride=2, padding=(1, 0), dilation=2, groups=2, bias=False),",
        "nn.BatchNorm2d(4, eps=0.001, momentum=0.3, affine=False),",
        "nn.GELU(approximate='tanh'),", "nn.MaxPool2d(2, stride=1, padding=1),",
        "nn.Softmax(dim=1),", "nn.LeakyReLU(0.3),", "nn.Dropout(0.25),",
        "nn.ConvTranspose2d(4, 2, 2, stride=3, padding=1, output_padding=2, groups=2, dilation=2),",
    ):  # fmt: skip
        assert f" {line}\n" in source


def test_shared_and_frozen_parameters_and_other_dtypes_are_written_out():
    model, x = model_and_example("shared")
    model[0].weight.requires_grad = False
    source, state = export.to_pytorch(model, x)
    assert "self[2] = self[0]  # one and the same\n" in source
    assert "self[0].weight.requires_grad_(False)\n" in source
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    double = export.to_pytorch(nn.Sequential(nn.Linear(2, 2, dtype=np.float64)))
    assert "self.to(torch.float64)\n" in double.source


class Again(nn.Module):
    """A model that has a part of its own, and a layer, under two names and calls the second."""

    def __init__(self):
        self.a, self.norm = Calls(lambda x: x * np.array([1, 2], "f")), nn.BatchNorm(2)
        self.b, self.other = self.a, self.norm

    def forward(self, x):
        return self.other(self.b(self.a(x)))


def test_a_part_that_has_two_names_is_written_once():
    source, state = export.to_pytorch(Again(), random(3, 2))
    assert source.count("(nn.Module)") == 2
    assert "self.b = self.a  # one and the same\n" in source
    assert "self.other = self.norm  # one and the same\n" in source
    assert {name for name in state if "const" in name} == {"a.constant", "b.constant"}
    assert not np.shares_memory(state["a.constant"], state["b.constant"])
    part = Again().a
    _, state = export.to_pytorch(nn.Sequential(part, part), random(3, 2))
    assert list(state) == ["0.constant", "1.constant"]


def test_the_axes_are_those_after_a_sequential_within():
    """Where BatchNorm stands behind it, and no example is given."""
    inner = nn.Sequential(nn.Flatten(), nn.Linear(4, 5))
    source, _ = export.to_pytorch(nn.Sequential(nn.Conv2d(1, 1, 2), inner, nn.BatchNorm(5)))
    assert "nn.BatchNorm1d(5)" in source


def test_layers_take_whole_numbers_too():
    model = nn.Sequential(nn.Flatten(), nn.Embedding(9, 4), nn.Flatten())
    for m in (model, Calls(model)):
        source, _ = export.to_pytorch(m, np.arange(8).reshape(2, 2, 2))
        assert source.count("nn.Flatten(),") == 2


def test_parameters_in_a_tuple_have_their_names():
    class Holds(nn.Module):
        def __init__(self):
            self.two = nn.Parameter(random(3)), nn.Parameter(random(3))

        def forward(self, x):
            return x * self.two[0] + self.two[1]

    source, state = export.to_pytorch(Holds(), random(2, 3))
    assert "return (x * self.two[0]) + self.two[1]\n" in source
    assert list(state) == ["two.0", "two.1"]


def test_a_model_may_be_of_any_depth():
    def deep(x):
        for _ in range(300):
            x = np.tanh(x)
        return x

    source, _ = export.to_pytorch(Calls(deep), random(2, 3))
    assert source.count("torch.tanh(") == 300


class Between(nn.Module):
    """A model that gives a part of its own something else than whole samples along axis 0."""

    def __init__(self, before, function, after=lambda y: y):
        self.before, self.inner, self.after = before, Calls(function), after

    def forward(self, x):
        return self.after(self.inner(self.before(x)))


LENGTHS = {  # models in which a length depends on the batch, and the line that says so
    "twice": (Calls(lambda x: x / (2 * len(x))), "return x / (x.shape[0] * 2)"),
    "more": (Calls(lambda x: x - (len(x) + 1)), "return x - (x.shape[0] + 1)"),
    "half of the rows": (
        Between(lambda x: np.concatenate([x, x]), lambda h: h[: len(h) // 2]),
        "return x[:x.shape[0] // 2]",
    ),
    "all but one of the columns": (
        Between(np.transpose, lambda h: h[:, : h.shape[1] - 1], np.transpose),
        "return x[:, :x.shape[1] - 1]",
    ),
    "zeros for all columns": (
        Between(np.transpose, lambda h: h + np.zeros((1, h.shape[1]), "f"), np.transpose),
        "t = torch.full((1, x.shape[1],), 0.0, dtype=torch.float32, device=x.device)",
    ),
    "as many as before": (
        Between(lambda x: x[1:], lambda h: h * (len(h) + 1) / len(h)),
        "return (x * (x.shape[0] + 1)) / x.shape[0]",
    ),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_a_length_that_depends_on_the_batch_is_written_by_what_the_part_was_given(name):
    model, line = LENGTHS[name]
    assert f"    {line}\n" in export.to_pytorch(model, random(4, 3)).source


@pytest.mark.parametrize("name", LINES)
def test_a_call_is_written_with_all_its_settings(name):
    function, line = LINES[name]
    source = export.to_pytorch(Calls(function), random(2, 3, 4, 6)).source
    assert f"    {line}\n" in source


class Either(nn.Module):
    """A model that does something else in training."""

    def forward(self, x):
        return x * 2 if self.training else x + 1


class Stopping(nn.Module):
    """A model that stops a gradient on its way."""

    def __init__(self, how):
        self.how, self.layer = how, nn.Linear(3, 3)

    def forward(self, x):
        return self.how(self.layer(x))


def without_recording(x):
    with minidl.no_grad():
        return x * 2


class Pair(nn.Module):
    """A model of which a part returns two."""

    def __init__(self):
        self.part = Calls(lambda x: (x * 2, x))

    def forward(self, x):
        a, b = self.part(x)
        return a * b


class Unused(nn.Module):
    """A model with a part that it does not call."""

    def __init__(self):
        self.part = Calls(F.relu)

    def forward(self, x):
        return F.relu(x)


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (Calls(F.relu), None, r"Calls has a forward of its own.*to_pytorch\(model, x\[:2\]\)"),
        (nn.Sequential(nn.MSELoss()), None, "a loss has a forward of its own"),
        (nn.BatchNorm(3), None, "BatchNorm1d, 2d or 3d.*give an example"),
        (Either(), random(2, 3), "other things in training than in prediction"),
        (Calls(lambda x: F.dropout(x, 0.5, True)), random(2, 3), "random numbers.*nn.Dropout"),
        (Pair(), random(2, 3), r"Calls \(part\) does not return one Tensor"),
        (Unused(), random(2, 3), r"Calls \(part\) is a part of the model that is not called"),
        (Calls(lambda x: np.linalg.inv(x)), random(2, 3, 3), r"linalg.inv.*line \d+"),
        (Calls(lambda x: np.sort(x)), random(2, 3), r"np\.sort is made of, is not.*line \d+"),
        (Calls(lambda x: x[::-1]), random(2, 3), "step below 0.*np.flip"),
        (Calls(lambda x: x[0, :, [0, 2]]), random(2, 3, 4), "numbers and arrays apart.*one axis"),
        (Calls(lambda x: x[:, [0, 2], :, 1]), random(2, 3, 4, 2), "numbers and arrays apart"),
        (
            Stopping(lambda x: x.detach() * 2 + x),
            random(2, 3),
            r"a gradient is stopped \(in .*line",
        ),
        (Stopping(lambda x: F.relu(x).detach() + x), random(2, 3), "a gradient is stopped"),
        (Stopping(lambda x: x.detach()), random(2, 3), "stopped.*what Stopping returns"),
        (Stopping(without_recording), random(2, 3), "a gradient is stopped"),
        (nn.ModuleList([nn.ReLU()]), None, "a ModuleList has no forward"),
    ],
)
def test_what_cannot_be_written_for_pytorch_is_refused_by_name(model, x, message):
    with pytest.raises(export.ExportError, match=f"(?s)to_pytorch: .*{message}"):
        export.to_pytorch(model, x)


EXPORTED = [*MODELS, *FUNCTIONS, *NUMPY, *IN_TORCH]


def as_written(name):
    """The source of a model; of one that calls a function, what is its own."""
    if name in MODELS:
        return for_pytorch(name)[1].source
    model, x = Calls((FUNCTIONS | NUMPY | IN_TORCH)[name]), random(2, 3, 4, 6)
    whole = export.to_pytorch(model, x).source
    return whole.partition("super().__init__()\n")[2].partition("\n\ndef load")[0]


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="other signatures")
@pytest.mark.parametrize("name", EXPORTED)
def test_the_source_reads_as_when_pytorch_gave_the_same(name):
    """If it is to read otherwise: python tests/laboratory/reference/make_exports.py"""
    assert as_written(name) == make_exports.stored()[name]


# Where PyTorch is installed: it is heavy, and no extra of minidl asks for it. So these tests are
# there or not, and never skipped.
if importlib.util.find_spec("torch"):

    def loaded(source, state):
        names = {}
        exec(compile(source, "model.py", "exec"), names)
        return names["load"](state)

    @pytest.mark.parametrize("name", MODELS)
    def test_pytorch_gives_what_the_model_gives(name):
        import torch

        torch.set_num_threads(1)
        model, x = model_and_example(name)
        for _, module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0
        theirs = loaded(*export.to_pytorch(model, x))
        with torch.no_grad():
            found = theirs.eval()(torch.as_tensor(x)).numpy()
        wanted = minidl.predict(model, x)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=2e-6 * np.abs(wanted).max())
        weights = random(*wanted.shape, seed=3)
        y = theirs.train()(torch.as_tensor(x))
        (ours := model.train()(x))
        np.testing.assert_allclose(y.detach().numpy(), ours.data, rtol=1e-5, atol=1e-5)
        if model.parameters():
            (y * torch.as_tensor(weights)).sum().backward()
            (ours * weights).sum().backward()
        largest = max((np.abs(p.grad).max() for p in model.parameters()), default=0)
        for key, p in model.named_parameters():
            g = dict(theirs.named_parameters())[key].grad.numpy()
            np.testing.assert_allclose(g, p.grad, rtol=1e-4, atol=1e-5 * largest)
        for key, array in model.state_dict().items():
            other = theirs.state_dict()[key].numpy()
            np.testing.assert_allclose(other, array, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("name", [*FUNCTIONS, *NUMPY, *IN_TORCH, *LINES])
    def test_a_function_is_the_same_in_pytorch(name):
        import torch

        x = random(2, 3, 4, 6)
        lines = {name: function for name, (function, _) in LINES.items()}
        model = Calls((FUNCTIONS | NUMPY | IN_TORCH | lines)[name])
        theirs = loaded(*export.to_pytorch(model, x))
        more = random(5, 3, 4, 6, seed=1)
        found = theirs(torch.as_tensor(more)).detach().numpy()
        wanted = model(minidl.Tensor(more)).data
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("name", LENGTHS)
    def test_a_length_that_depends_on_the_batch_is_the_same_in_pytorch(name):
        import torch

        model, x = LENGTHS[name][0], random(6, 3)
        theirs = loaded(*export.to_pytorch(model, x[:4]))
        wanted = model(minidl.Tensor(x)).data
        np.testing.assert_allclose(theirs(torch.as_tensor(x)).numpy(), wanted, rtol=1e-6)

    def test_a_part_that_has_two_names_is_one_in_pytorch():
        import torch

        model, x = Again().eval(), random(3, 2)
        theirs = loaded(*export.to_pytorch(model, x)).eval()
        assert theirs.b is theirs.a
        found = theirs(torch.as_tensor(x)).detach().numpy()
        np.testing.assert_allclose(found, model(x).data, rtol=1e-6)
