"""A model as a file of ONNX: the graph of its calls, written operator by operator, and tried out.

What is written is run by onnxruntime on batches of two sizes before it is stored, and must give
what the model gives: so no row of the table can be silently wrong for a model.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import minidl
from minidl import nn
from minidl.arrays import Array
from minidl.export.graph import Dim, ExportError, Node, in_order, name_for_people
from minidl.export.onnx_elements import refuse
from minidl.export.onnx_table import TABLE
from minidl.export.tracing import Layer, check_model, checked_example, follow
from minidl.extras import need
from minidl.modes import no_grad
from minidl.table import name_of
from minidl.tensor import Tensor

OPSET, IR_VERSION = 20, 9
"""Gelu is an operator from opset 20 on."""


class OnnxFile(NamedTuple):
    """What :func:`minidl.export.to_onnx` has written.

    ``difference`` is the largest one between what onnxruntime and the model make of the example,
    in units of the largest output, or of 1 if that is larger.
    """

    path: Path
    opset: int
    input: str
    output: str
    difference: float


def write(model: nn.Module, path: Any, example: Any) -> OnnxFile:
    """Write the file; see :func:`minidl.export.to_onnx`."""
    onnx = need("onnx", extra="onnx", what="export.to_onnx")
    runtime = need("onnxruntime", extra="onnx", what="export.to_onnx, which tries the file out,")
    check_model(model, "to_onnx")
    place = _checked_path(path)
    x = checked_example(example, model, "to_onnx")
    followed = follow(model, x, whose="to_onnx", layers=_whole, known=TABLE)
    written = Writer(onnx, followed.argument)
    result = written.model(followed.result, type(model).__name__)
    try:
        onnx.checker.check_model(result, full_check=True)
    except onnx.shape_inference.InferenceError as error:
        raise _not_run(x, error) from error
    data = result.SerializeToString()
    difference = _tried(runtime, data, model, x)
    try:
        place.write_bytes(data)
    except OSError as error:
        raise OSError(f"to_onnx: cannot write {str(place)!r}: {error}") from error
    taken, given = (
        f"({', '.join(map(str, node.shape))}) {node.dtype}"
        for node in (followed.argument, followed.result)
    )
    return OnnxFile(place, OPSET, taken, given, difference)


def _whole(module: nn.Module) -> bool:
    """Whether a module is one operator: its forward in prediction is more than one function."""
    return type(module).forward is nn.BatchNorm.forward


def _checked_path(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"to_onnx: path is the name of a file, such as 'model.onnx', not {path!r}")
    place = Path(path)
    if place.is_dir():
        raise IsADirectoryError(f"to_onnx: {str(place)!r} is a folder: give the name of a file")
    if not place.parent.is_dir():
        raise FileNotFoundError(
            f"to_onnx: there is no folder {str(place.parent)!r} to write {place.name!r} into: make "
            f"it first"
        )
    return place


def _tried(runtime: Any, data: bytes, model: nn.Module, x: Array) -> float:
    """The largest difference from the model.

    Raises:
        ExportError: if onnxruntime does not run it, or gives something else.
    """
    state = runtime.capi.onnxruntime_pybind11_state
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        worst = 0.0
        twin = copy.deepcopy(model).eval()  # so that the model stays as it is
        first = max(len(x), 2)
        for n in (first, 2 * first + 3):
            batch = x[np.arange(n) % len(x)]
            (found,) = session.run(None, {"x": batch})
            apart = _difference(found, _predicted(twin, batch))
            worst = float(np.maximum(worst, apart))  # NaN stays, which max(...) might drop
    except (state.Fail, state.NotImplemented) as error:
        raise _not_run(x, error) from error
    limit = 1e-2 if x.dtype.itemsize == 2 else 1e-4
    if not worst <= limit:
        raise ExportError(
            f"to_onnx: what was written for {type(model).__name__} gives something else in "
            f"onnxruntime: the largest difference is {worst:.1e}, and nothing was stored. Where "
            f"the model depends on values of the example in a way that NumPy does not see, write "
            f"that with functions of NumPy"
        )
    return worst


def _predicted(model: nn.Module, x: Array) -> Array:
    """What the model gives."""
    with no_grad():
        y = model(Tensor(x) if x.dtype.kind == "f" else x)
    return y.data if isinstance(y, Tensor) else y


def _difference(found: Any, wanted: Any) -> float:
    if found.shape != wanted.shape:
        return np.inf
    same = (found == wanted) | (np.isnan(found) & np.isnan(wanted))
    apart = np.abs(found[~same].astype(np.float64) - wanted[~same])
    finite = np.abs(wanted[np.isfinite(wanted)])
    return float(apart.max(initial=0) / finite.max(initial=1))


def _not_run(x: Array, error: Exception) -> ExportError:
    return ExportError(
        f"to_onnx: onnxruntime does not run what was written, for an input of {x.dtype}: {error}. "
        f"Not all of its operators are there for other dtypes than float32"
    )


class Writer:
    """The operators and constants of a file, one after the other.

    Names: a constant that is a parameter or an attribute of the model has its name there; a result
    is called by the part of the model that computes it.
    """

    def __init__(self, onnx: Any, argument: Node) -> None:
        self.onnx, self.argument = onnx, argument
        self.operators: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.names: dict[Node, str] = {argument: "x"}
        self.used = {"x", "y"}
        self.known: dict[Any, str] = {}
        self.place = ""

    def model(self, result: Node, title: str) -> Any:
        """All of it as ONNX has it."""
        helper = self.onnx.helper
        for node in in_order(result):
            if node.kind == "call":
                self.place = node.place.partition(":")[0]
                self.names[node] = self._call(node)
        operators = [*self.operators, helper.make_node("Identity", [self.array(result)], ["y"])]
        operators, constants = _needed(operators, self.constants)
        graph = helper.make_graph(
            operators,
            title,
            [self._information("x", self.argument)],
            [self._information("y", result)],
            constants,
        )
        return helper.make_model(
            graph,
            producer_name="minidl",
            producer_version=minidl.__version__,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
            doc_string=f"{title}, in prediction: BatchNorm by its running statistics, no dropout",
        )

    def put(self, what: str, *inputs: str, **settings: Any) -> str:
        """Add an operator; the name of its result. The same one is not added twice."""
        key = (what, inputs, repr(sorted(settings.items())))
        if key not in self.known:
            name = self.known[key] = self._free(f"{self.place}/{what}")
            new = self.onnx.helper.make_node(what, list(inputs), [name], name=name, **settings)
            self.operators.append(new)
        return self.known[key]

    def array(self, x: Any, dtype: np.dtype[Any] | None = None) -> str:
        """The name of an argument: an array of the graph, or numbers."""
        if isinstance(x, Node):
            if x not in self.names and x.array is not None:
                self.names[x] = self.given(x.array, x.name, x.dtype)
            return self.cast(self.names[x], x.dtype, x.dtype if dtype is None else dtype)
        if isinstance(x, Dim):
            size = self.put("Squeeze", self.dims([x]), self.integers((0,)))
            return self.cast(
                size, np.dtype(np.int64), np.dtype(np.int64) if dtype is None else dtype
            )
        array = np.asarray(x, dtype)
        return self.given(array, "", array.dtype)

    def given(self, array: Array, name: str, dtype: np.dtype[Any]) -> str:
        """The name of a constant, with the name that it has in the model."""
        array = np.asarray(array).astype(dtype)
        key = (array.tobytes(), array.shape, array.dtype.str, name)
        if key not in self.known:
            name = self._free(name or "constant")
            copied = np.ascontiguousarray(array).reshape(array.shape)
            self.constants[name] = self.onnx.numpy_helper.from_array(copied, name)
            self.known[key] = name
        return self.known[key]

    def cast(self, name: str, is_of: np.dtype[Any], dtype: np.dtype[Any]) -> str:
        """The same numbers in another dtype."""
        if is_of == dtype:
            return name
        return self.put("Cast", name, to=self.onnx.helper.np_dtype_to_tensor_dtype(dtype))

    def integers(self, values: Sequence[int]) -> str:
        """Whole numbers, as settings of an operator are given."""
        return self.given(np.array([int(v) for v in values]), "", np.dtype(np.int64))

    def dims(self, values: Sequence[int | Dim]) -> str:
        """Lengths, of which some depend on the batch."""
        if not any(isinstance(v, Dim) for v in values):
            return self.integers(values)  # type: ignore[arg-type]
        batch = self.put("Shape", "x", start=0, end=1)
        parts = []
        for v in values:
            if isinstance(v, Dim):
                times = batch
                if v.per_sample != 1:
                    times = self.put("Mul", batch, self.integers((v.per_sample,)))
                parts.append(self.put("Add", times, self.integers((v.more,))) if v.more else times)
            else:
                parts.append(self.integers((v,)))
        return parts[0] if len(parts) == 1 else self.put("Concat", *parts, axis=0)

    def shape(self, shape: Sequence[int | Dim], exact: bool = False) -> str:
        """The shape to reshape to: the one length that depends on the batch may be left open."""
        open_ended = [isinstance(n, Dim) for n in shape]
        if not exact and sum(open_ended) == 1 and 0 not in shape:
            return self.integers([-1 if isinstance(n, Dim) else n for n in shape])
        return self.dims(shape)

    def reshape(self, name: str, shape: Sequence[int | Dim]) -> str:
        """The same numbers in another shape, where a length of 0 is one as any other."""
        settings = {"allowzero": 1} if 0 in shape else {}
        return self.put("Reshape", name, self.shape(shape), **settings)

    def _call(self, node: Node) -> str:
        function = node.function
        key: Any = type(function.module) if isinstance(function, Layer) else function
        if isinstance(function, Layer):
            key = next(k for k in type(function.module).__mro__ if k in TABLE)
        if key not in TABLE:
            raise refuse(
                node,
                f"{name_for_people(function)} is not among what can be written in ONNX: write it "
                f"in functions that are, or leave it to who calls the model",
            )
        try:
            return TABLE[key](self, node, *node.args, **node.options)
        except TypeError as error:
            name = function if isinstance(function, str) else name_of(key)
            raise refuse(node, f"{name} with these options, {error}") from error

    def _free(self, name: str) -> str:
        new, n = name, 1
        while new in self.used:
            n += 1
            new = f"{name}_{n}"
        self.used.add(new)
        return new

    def _information(self, name: str, node: Node) -> Any:
        helper = self.onnx.helper
        shape = [str(n) if isinstance(n, Dim) else n for n in node.shape]
        return helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(node.dtype), shape
        )


def _needed(operators: Sequence[Any], constants: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """The operators and constants that the last operator needs."""
    wanted = set(operators[-1].output)
    kept = []
    for operator in reversed(operators):
        if wanted & set(operator.output):
            kept.append(operator)
            wanted.update(operator.input)
    return kept[::-1], [c for name, c in constants.items() if name in wanted]
