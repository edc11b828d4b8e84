"""The conformance suite for modules: what every layer, loss and model must do."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.arrays import Array, check_means_the_same
from minidl.gradcheck import gradcheck
from minidl.gradcheck.problem import in_dtype
from minidl.nn.module import Module
from minidl.tensor import Tensor


def check_module(
    module: Module,
    *sample: Any,
    order: int = 1,
    batched: bool = True,
    batch_of_one: bool = True,
    equivariant: bool = True,
    max_unjudged: float = 0.5,
) -> list[str]:
    """Hold a module to what the built-in ones are held to.

    Args:
        module: the module; it is copied, not changed.
        sample: what to call it with; the first argument is the input. Several samples along the
            first axis are best, four at least.
        order: 2 also checks second derivatives.
        batched: whether the first axis of the arguments counts samples; False for anything else,
            and leaves out the checks of batches.
        batch_of_one: whether a single sample works in prediction mode.
        equivariant: whether, in prediction mode, reordering the samples reorders the outputs. For
            a loss that reduces them: leaves the result as it is.
        max_unjudged: the largest share of an input's elements that may lie at a kink.

    Returns:
        The names of the checks that passed.

    Raises:
        TypeError: if ``module`` is no Module (a class is not), or for a masked array.
        AssertionError: if a check fails; the message says which, and what was expected.

    Example:
        >>> from minidl import nn
        >>> check_module(nn.Linear(3, 2), np.ones((4, 3)))[:3]
        ['gradients', 'repr', 'state dict']
    """
    if not isinstance(module, Module):
        raise TypeError(
            f"check_module takes a Module and what to call it with, as in "
            f"check_module(nn.Linear(3, 2), np.ones((4, 3))); got {module!r}"
        )
    suite = _Suite(module, sample)
    checks: dict[str, Callable[[], None]] = {
        "gradients": lambda: _gradients(module, sample, order, max_unjudged),
        "repr": suite.repr,
        "state dict": suite.state_dict,
        "state dict is strict": suite.strictness,
        "dtype": suite.dtype,
        "modes": suite.modes,
        "no graph is kept": suite.no_graph_kept,
        "arguments are left alone": suite.arguments,
        "deepcopy": suite.deepcopy,
    }
    if batched and batch_of_one:
        checks["batch of one"] = suite.batch_of_one
    if batched and equivariant:
        checks["batch order"] = suite.batch_order
    for name, check in checks.items():
        try:
            check()
        except Exception as error:
            raise AssertionError(f"{type(module).__name__}, {name}: {error}") from error
    return list(checks)


def _gradients(module: Module, sample: Any, order: int, max_unjudged: float) -> None:
    settings: dict[str, Any] = {"order": order, "max_unjudged": max_unjudged}
    report = gradcheck(module, *sample, **settings, raise_on_failure=False)
    if report.ok:
        return
    if report.unjudged:
        # A bias of zero lies at the kink of a ReLU where all units before it are at rest, and where
        # several kinks meet no gradient need lie between the slopes. A little further on are none.
        module = _shaken(module)
    gradcheck(module, *sample, **settings)


def _shaken(module: Module) -> Module:
    """A copy with other parameters nearby."""
    module = copy.deepcopy(module)
    rng = np.random.default_rng(0)
    for p in module.parameters():
        p.data += (0.1 * rng.normal(size=p.shape)).astype(p.dtype)
    return module


class _Suite:
    """The checks on one module and one sample."""

    def __init__(self, module: Module, sample: tuple[Any, ...]) -> None:
        self.original = module
        for i, x in enumerate(sample):
            check_means_the_same(x, f"check_module: sample {i}")
        self.sample = [np.array(x.data if isinstance(x, Tensor) else x) for x in sample]

    def module(self, training: bool = False, dtype: Any = None) -> Module:
        """A copy; with all floating-point numbers of one dtype, if there is one given."""
        if dtype is not None:
            return in_dtype(self.original, training, np.dtype(dtype))
        return copy.deepcopy(self.original).train(training)

    def inputs(self, dtype: Any = None) -> list[Any]:
        """The arguments as Tensors or plain arrays, floating-point ones in the module's dtype."""
        if dtype is None:
            own = [p.dtype for p in self.original.parameters()]
            dtype = own[0] if own else self.sample[0].dtype
        return [
            Tensor(x.astype(dtype), requires_grad=i == 0) if x.dtype.kind == "f" else x.copy()
            for i, x in enumerate(self.sample)
        ]

    def run(self, module: Module, inputs: list[Any] | None = None) -> list[Tensor]:
        y = module(*(self.inputs() if inputs is None else inputs))
        parts = list(y) if isinstance(y, tuple | list) else [y]
        for part in parts:
            _expect(isinstance(part, Tensor), f"it returned a {type(part).__name__}, not a Tensor")
        return parts

    def repr(self) -> None:
        text = repr(self.original)
        name = type(self.original).__name__
        _expect(text.startswith(name), f"its repr is {text!r} and does not begin with {name}")
        if type(self.original).__repr__ is Module.__repr__:
            for child, _ in self.original.children():
                _expect(f"({child})" in text, f"its repr does not show the module {child!r}")

    def state_dict(self) -> None:
        module = self.module(training=True)
        self.run(module)  # so that running statistics have moved
        state = module.state_dict()
        for name, _ in module.named_parameters():
            _expect(name in state, f"the state dict lacks the parameter {name!r}")
        other = self.module()
        for p in other.parameters():
            p.data[...] = 7
        other.load_state_dict(state)
        module.eval()
        _equal(self.run(other), self.run(module), "with a loaded state it gives other outputs")
        for name, value in state.items():
            before = other.state_dict()[name]
            value[...] = 3
            _expect(
                np.array_equal(other.state_dict()[name], before, equal_nan=True),
                f"the loaded state shares memory with {name!r}",
            )

    def strictness(self) -> None:
        module = self.module()
        state = module.state_dict()
        wrong: list[dict[str, Array]] = [state | {"no such name": np.zeros(1)}]
        for name in state:
            wrong.append({k: v for k, v in state.items() if k != name})
            wrong.append(state | {name: np.zeros((*state[name].shape, 2))})
        for faulty in wrong:
            try:
                module.load_state_dict(faulty)
            except ValueError:
                continue
            raise AssertionError("load_state_dict accepted a missing, unknown or misshapen entry")
        for name, value in module.state_dict().items():
            _expect(
                np.array_equal(value, state[name], equal_nan=True),
                f"a refused state has changed {name!r}",
            )

    def dtype(self) -> None:
        for dtype in (np.float32, np.float64):
            module = self.module(training=True, dtype=dtype)
            for part in self.run(module, self.inputs(dtype)):
                _expect(
                    part.dtype == dtype,
                    f"in {np.dtype(dtype)} it returns {part.dtype}: use Python numbers, or arrays "
                    f"in the dtype of the input",
                )

    def modes(self) -> None:
        module = self.module()
        before = {k: v.copy() for k, v in module.state_dict().items()}
        first = self.run(module)
        _equal(self.run(module), first, "in prediction mode two calls give different outputs")
        for name, value in module.state_dict().items():
            _expect(
                np.array_equal(value, before[name], equal_nan=True),
                f"a call in prediction mode changes {name!r}",
            )

    def no_graph_kept(self) -> None:
        module = self.module(training=True)
        enabled = gc.isenabled()
        gc.disable()
        try:
            outputs = self.run(module)
            watched = [weakref.ref(part) for part in outputs if part.requires_grad]
            del outputs
            _expect(
                all(ref() is None for ref in watched),
                "its output lives on after the step: the module keeps it in an attribute, or in a "
                "cycle",
            )
        finally:
            if enabled:
                gc.enable()

    def arguments(self) -> None:
        inputs = self.inputs()
        before = [np.array(x.data if isinstance(x, Tensor) else x) for x in inputs]
        for training in (True, False):
            self.run(self.module(training), inputs)
        for i, (x, old) in enumerate(zip(inputs, before, strict=True)):
            now = x.data if isinstance(x, Tensor) else x
            _expect(np.array_equal(now, old, equal_nan=True), f"it changes its argument {i}")

    def deepcopy(self) -> None:
        module = self.module()
        other = copy.deepcopy(module)
        _equal(self.run(other), self.run(module), "a deep copy gives other outputs")
        for (name, p), (_, q) in zip(
            module.named_parameters(), other.named_parameters(), strict=True
        ):
            _expect(not np.shares_memory(p.data, q.data), f"a deep copy shares {name!r}")

    def arrays(self, dtype: Any) -> list[Array]:
        """The arguments, floating-point ones in the dtype."""
        return [x.astype(dtype) if x.dtype.kind == "f" else x.copy() for x in self.sample]

    def batch_of_one(self) -> None:
        n = len(self.sample[0])
        self.run(self.module(), _cut(self.inputs(), n, slice(1)))
        for dtype, rtol, eps in ((np.float64, 1e-9, 1e-14), (np.float32, 1e-4, 1e-6)):
            module, arrays = self.module(dtype=dtype), self.arrays(dtype)
            outputs = [part.data for part in self.run(module, self.inputs(dtype))]
            if not all(part.ndim and len(part) == n for part in outputs):
                # A loss has no output for each sample, but it has a gradient for one.
                if dtype == np.float64 and any(x.dtype.kind == "f" for x in arrays):
                    one = _cut(arrays, n, slice(1))
                    gradcheck(module.__call__, *one, max_unjudged=1.0)
                return
            alone = [_derived(module, arrays, slice(i, i + 1)) for i in range(n)]
            whole, allowance = _with_allowance(module, arrays, eps)
            joined = {
                name: np.concatenate([found[name] for found in alone])
                if alone[0][name].shape != array.shape
                else np.sum([found[name] for found in alone], axis=0)
                for name, array in whole.items()
            }
            what = "a sample alone gives another result: {} is {}, and {} in the batch"
            _agree(joined, whole, allowance, rtol, what)

    def batch_order(self) -> None:
        module = self.module(dtype=np.float64)
        n = len(self.sample[0])
        order = np.random.default_rng(0).permutation(n)
        inputs = self.inputs(np.float64)
        turned = self.run(module, _cut(inputs, n, order))
        for part, other in zip(self.run(module, inputs), turned, strict=True):
            expected = part.data[order] if part.ndim and part.shape[0] == n else part.data
            _close(other.data, expected, "samples in another order give other outputs")


# --- Values and gradients in two ways -------------------------------------------------------------


def _cut(arguments: list[Any], n: int, which: Any) -> list[Any]:
    """Some of the ``n`` samples, of the arguments that have so many."""
    return [x[which] if x.ndim and len(x) == n else x for x in arguments]


def _derived(module: Module, arrays: list[Array], only: slice = slice(None)) -> dict[str, Array]:
    """Outputs, and the gradients of their sum with weights; ``only`` some of the samples."""
    n = len(arrays[0])
    cut = _cut(arrays, n, only)
    args = [Tensor(x, requires_grad=True) if x.dtype.kind == "f" else x for x in cut]
    params = dict(module.named_parameters())
    for p in params.values():
        p.grad = None
    y = module(*args)
    parts = list(y) if isinstance(y, tuple | list) else [y]
    total: Any = 0
    for part in parts:
        w = np.random.default_rng(0).uniform(0.5, 1.5, (n, *part.shape[1:]))[only]
        total = total + (part * w.astype(part.dtype)).sum()
    if total.requires_grad:
        total.backward()
    tensors = {f"argument {i}": x for i, x in enumerate(args) if isinstance(x, Tensor)} | params
    return {f"the output {i}": part.data for i, part in enumerate(parts)} | {
        f"the gradient of {name}": np.zeros(t.shape) if t.grad is None else t.grad
        for name, t in tensors.items()
    }


def _with_allowance(
    module: Module, arrays: list[Array], eps: float
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Outputs and gradients, and how much each changes if all that goes in is rounded by ``eps``.

    At a kink, or where much cancels, that is a lot, and no computation could do better.
    """
    rng = np.random.default_rng(0)
    expected = _derived(copy.deepcopy(module), arrays)
    allowance = {name: np.zeros(array.shape) for name, array in expected.items()}
    for _ in range(8):
        near = copy.deepcopy(module)
        for p in near.parameters():
            p.data = _rounded(p.data, eps, rng)
        found = _derived(near, [_rounded(x, eps, rng) for x in arrays])
        for name, array in expected.items():
            allowance[name] = np.fmax(allowance[name], _distance(found[name], array))
    return expected, allowance


def _rounded(x: Array, eps: float, rng: np.random.Generator) -> Array:
    """Smaller by up to ``eps`` of its size, so that what lies between limits stays there."""
    return (x * (1 - eps * rng.uniform(size=x.shape))).astype(x.dtype) if x.dtype.kind == "f" else x


def _distance(a: Array, b: Array) -> Array:
    with np.errstate(invalid="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        return np.where(same, 0.0, np.abs(np.subtract(a, b, dtype=np.float64)))


def _agree(
    got: dict[str, Array],
    expected: dict[str, Array],
    allowance: dict[str, Array],
    rtol: float,
    what: str,
) -> None:
    # A gradient may be 0 only because much cancels: then what the others are says how much that is.
    sizes = {
        name: np.max(np.abs(b), initial=0, where=np.isfinite(b)) for name, b in expected.items()
    }
    noise = 1e-2 * rtol * max(sizes.values())
    for name, b in expected.items():
        a = got[name]
        _expect(a.shape == b.shape, what.format(name, f"of shape {a.shape}", f"of {b.shape}"))
        wrong = ~(_distance(a, b) <= rtol * sizes[name] + noise + 10 * allowance[name])
        if np.any(wrong):
            i = tuple(int(k) for k in np.argwhere(wrong)[0])
            raise AssertionError(what.format(f"{name} at {i}", f"{a[i]:.9g}", f"{b[i]:.9g}"))


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)


def _equal(parts: list[Tensor], expected: list[Tensor], otherwise: str) -> None:
    for a, b in zip(parts, expected, strict=True):
        _expect(np.array_equal(a.data, b.data, equal_nan=True), otherwise)


def _close(a: Array, b: Array, otherwise: str) -> None:
    rtol = 1e-9 if a.dtype == np.float64 else 1e-4
    scale = float(np.max(np.abs(b), initial=0, where=np.isfinite(b)))
    _expect(np.allclose(a, b, rtol=rtol, atol=rtol * scale, equal_nan=True), otherwise)
