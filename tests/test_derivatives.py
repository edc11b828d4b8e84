"""Every operation: value, gradient, second gradient, dtype, strides, from one table of samples."""

import inspect
import operator

import numpy as np
import pytest

import minidl
from minidl import Tensor, gradcheck
from minidl.autograd import TABLE
from minidl.gradcheck import samples
from minidl.gradcheck.samples import MODULES, SAMPLES

CALLS = [(f, s) for f, entries in SAMPLES.items() for s in entries]


def test_every_operation_has_a_sample():
    assert samples.missing() == []


def test_an_operation_without_a_sample_is_found():
    def lonely(x):
        return x

    lonely.__module__, lonely.__qualname__ = "minidl.functional", "lonely"
    minidl.vjp(lonely, "x", x=lambda g: g)
    try:
        assert samples.missing() == ["lonely"]
    finally:
        del TABLE[lonely]


@pytest.mark.parametrize("sample", [s for _, s in CALLS], ids=[s.name for _, s in CALLS])
def test_gradient_and_second_gradient(sample):
    report = gradcheck(sample.call, *sample.inputs, order=sample.order, max_unjudged=1.0)
    assert report.error < 1e-6
    assert sample.kinks or report.unjudged == 0


@pytest.mark.parametrize("sample", [s for _, s in CALLS], ids=[s.name for _, s in CALLS])
def test_value_and_dtype_are_those_of_numpy(sample):
    """On Tensors a call gives what it gives on arrays, in float32 as in float64."""
    for dtype in (np.float64, np.float32):
        arrays = [x.astype(dtype) for x in sample.inputs]
        y = sample.call(*[Tensor(x) for x in arrays])
        expected = _on_arrays(sample, arrays)
        for part, value in zip(_parts(y), _parts(expected), strict=True):
            value = value.data if isinstance(value, Tensor) else value
            assert part.shape == np.shape(value)
            if not sample.name.startswith("astype"):
                assert part.dtype == dtype
            rtol = 1e-12 if dtype == np.float64 else 3e-5
            np.testing.assert_allclose(part.data, value, rtol=rtol, atol=rtol)


def _on_arrays(sample, arrays):
    if sample.name.startswith(("astype", "nll", "linear", "batch_norm", "cross_entropy")):
        return sample.call(*[Tensor(x) for x in arrays])  # what only Tensors can do
    return sample.call(*arrays)


def _parts(y):
    return y if isinstance(y, tuple | list) else [y]


@pytest.mark.parametrize(("name", "module", "inputs"), MODULES, ids=[m[0] for m in MODULES])
def test_modules_and_losses(name, module, inputs):
    report = gradcheck(module, *inputs, order=2, max_unjudged=0.0)
    assert report.error < 1e-6


# --- What the samples cannot say ------------------------------------------------------------------


def test_repeated_indices_add_up():
    x = Tensor(np.zeros(3), requires_grad=True)
    minidl.grad(x[[0, 0, 2]].sum(), x)
    (x[[0, 0, 2]] * np.array([1.0, 10.0, 100.0])).sum().backward()
    np.testing.assert_array_equal(x.grad, [11, 0, 100])


def test_ties_share_the_gradient():
    x = Tensor(np.array([1.0, 3.0, 3.0]), requires_grad=True)
    x.max().backward()
    np.testing.assert_array_equal(x.grad, [0, 0.5, 0.5])
    a = Tensor(np.array([2.0]), requires_grad=True)
    np.maximum(a, np.array([2.0])).sum().backward()
    np.testing.assert_array_equal(a.grad, [0.5])


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (np.abs, 0.0, 0.0),
        (lambda x: np.linalg.norm(x.reshape(1)), 0.0, 0.0),
        (lambda x: np.std(x * np.ones(3)), 5.0, 0.0),
        (lambda x: x**0, 0.0, 0.0),
        (lambda x: x**2.5, 0.0, 0.0),
        (lambda x: 0.0**x, 2.0, 0.0),
        (lambda x: np.clip(x, 0, 1), 1.0, 1.0),
        (lambda x: np.prod(x * np.array([0.0, 1.0])), 1.0, 0.0),
        (minidl.functional.relu, 0.0, 0.0),
    ],
)
def test_points_without_a_derivative_take_a_subgradient_and_never_nan(f, x, expected):
    t = Tensor(np.array(x), requires_grad=True)
    f(t).sum().backward()
    assert t.grad == expected


@pytest.mark.parametrize(
    ("f", "x"), [(np.sqrt, 0.0), (np.log, 0.0), (np.divide, 0.0), (np.reciprocal, 0.0)]
)
def test_an_infinite_derivative_gives_no_warning_of_its_own(f, x):
    t = Tensor(np.array([x]), requires_grad=True)
    with np.errstate(all="ignore"):
        y = np.divide(1.0, t) if f is np.divide else f(t)
    y.backward(np.ones(1))
    assert not np.isnan(t.grad).any()


@pytest.mark.parametrize(
    "f",
    [np.greater, np.equal, np.isnan, np.sign, np.argmax, np.floor, np.shape, np.zeros_like, np.any],
)
def test_functions_without_a_useful_derivative_return_plain_arrays(f):
    t = Tensor([[1.0, -2.0]], requires_grad=True)
    args = (t, t) if f in (np.greater, np.equal) else (t,)
    plain = (t.data, t.data) if f in (np.greater, np.equal) else (t.data,)
    result = f(*args)
    assert not isinstance(result, Tensor)
    np.testing.assert_array_equal(result, f(*plain))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda t: np.sort(t), "np.sort"),
        (lambda t: np.linalg.inv(t), "np.linalg.inv"),
        (lambda t: np.arctan2(t, t), "np.arctan2"),
        (lambda t: np.fft.fft(t), "np.fft.fft"),
        (lambda t: np.linalg.norm(t, 2), "np.linalg.norm"),
        (lambda t: np.add.reduce(t), "np.add.reduce"),
    ],
)
def test_other_functions_of_numpy_raise_with_their_name_and_a_remedy(call, name):
    with pytest.raises(TypeError, match=name.replace(".", r"\.")) as error:
        call(Tensor([[1.0, 2.0], [3.0, 5.0]], requires_grad=True))
    assert any(word in str(error.value) for word in ("derivatives.py", "use np.sum", "also inf"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: np.sum(t, where=[True, False]), "where="),
        (lambda t: np.add(t, 1, out=np.zeros(2)), "out="),
        (lambda t: np.sum(t, out=np.zeros(())), "out= would write past the graph"),
        (lambda t: np.where(t, t, t), "not differentiable in its argument 'condition'"),
        (
            lambda t: np.matmul(t, np.ones((3, 2))),
            r"np.matmul \(a: \(2,\), b: \(3, 2\)\).*last axis",
        ),
        (lambda t: t + np.ones(3), r"np.add \(a: \(2,\), b: \(3,\)\).*equal or 1"),
        (lambda t: t + "x", "takes real numbers"),
        (lambda t: t + None, "np.add"),
        (lambda t: t[5], "getitem.*out of bounds"),
        (lambda t: np.concatenate([t, np.ones((2, 2))]), "concatenate"),
        (lambda t: np.stack([t, np.ones(3)]), "one shape"),
        (lambda t: np.einsum("ij", t), "does not fit an array of 1 axes"),
        (lambda t: np.einsum("i,i", t), "is for 2 arrays, not 1"),
        (lambda t: np.einsum(t, [0]), "as a string"),
        (lambda t: np.split(t, 3), "do not divide"),
        (lambda t: t.clip(), "a minimum or a maximum"),
        (lambda t: np.pad(t, 1, "mean"), "mode='mean'"),
        (lambda t: np.tensordot(t, np.ones(3), 1), "differ along"),
    ],
)
def test_wrong_calls_are_refused_at_the_call(call, message):
    with pytest.raises((TypeError, ValueError, IndexError), match=message):
        call(Tensor([1.0, 2.0], requires_grad=True))


def test_vjp_refuses_a_rule_that_names_nothing_known():
    def f(x):
        return x

    with pytest.raises(ValueError, match="a rule for"):
        minidl.vjp(f, "x", z=lambda g: g)
    with pytest.raises(ValueError, match="names 'nothing'"):
        minidl.vjp(f, "x", x=lambda g, nothing: g)
    with pytest.raises(TypeError, match="a rule is a function or a lambda"):
        minidl.vjp(f, "x", x=np.negative)
    assert f not in TABLE


def test_a_rule_with_the_wrong_shape_is_named():
    @minidl.differentiable
    def total(x):
        return np.sum(x, keepdims=True)

    minidl.vjp(total, "x", x=lambda g: g[0, :0])
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    with pytest.raises(ValueError, match="rule of total returned a gradient of shape"):
        total(x).backward()


def test_a_differentiable_function_without_a_rule_says_so():
    @minidl.differentiable
    def f(x):
        return x

    with pytest.raises(TypeError, match="f has no derivative rule"):
        f(Tensor([1.0]))
    assert f(3) == 3  # on plain numbers it is the plain function


def test_indexing_accepts_integer_and_boolean_tensors():
    t = Tensor(np.arange(4.0), requires_grad=True)
    assert t[Tensor(np.array([2, 0]))].tolist() == [2, 0]
    assert t[Tensor(np.array([True, False, False, True]))].tolist() == [0, 3]


def test_getitem_of_an_integer_array_is_the_same_function_as_operator_getitem():
    assert operator.getitem in TABLE


def test_clip_passes_the_gradient_on_at_both_borders():
    t = Tensor(np.array([0.0, 1.0]), requires_grad=True)
    np.clip(t, 0, 1).sum().backward()
    np.testing.assert_array_equal(t.grad, [1, 1])


def test_clip_takes_min_and_max_by_name():
    t = Tensor(np.array([-2.0, 0.0, 2.0]))
    # NumPy knows these names from 2.1 on only, so that our function is asked directly.
    assert minidl.compositions.clip(t, min=-1.0, max=1.0).tolist() == [-1, 0, 1]
    assert minidl.compositions.clip(t, max=1.0).tolist() == [-2, 0, 1]


# --- Options of NumPy's ---------------------------------------------------------------------------

OPTIONS = {
    "out": lambda y: np.zeros_like(y),
    "where": lambda y: np.array([[True, False, True], [True, True, False]]),
    "dtype": lambda y: int,
    "initial": lambda y: 5.0,
    "mean": lambda y: np.full((1, 1), 3.0),
    "correction": lambda y: 1,
    "casting": lambda y: "unsafe",
    "order": lambda y: "F",
    "subok": lambda y: True,
}
ARGUMENTS = {
    np.clip: lambda x: (x, -0.5, 0.5),
    np.einsum: lambda x: ("ij->ji", x),
    np.reshape: lambda x: (x, (3, 2)),
    np.broadcast_to: lambda x: (x, (2, 2, 3)),
    np.take: lambda x: (x, [0, 1]),
    np.matmul: lambda x: (x, np.ones((3, 2))),
    np.dot: lambda x: (x, np.ones((3, 2))),
    **dict.fromkeys((np.concatenate, np.stack, np.vstack, np.hstack), lambda x: ([x, x],)),
    **dict.fromkeys((np.arcsin, np.arccos), lambda x: (x / 4,)),
}


def options_of_numpy():
    for f in SAMPLES:
        if isinstance(f, np.ufunc):
            names = {"out", "where", "dtype", "casting"}
        elif (getattr(f, "__module__", None) or "").startswith("numpy"):
            names = set(inspect.signature(f).parameters)
        else:
            continue
        yield from [(f, name) for name in OPTIONS if name in names]


@pytest.mark.parametrize(
    ("f", "option"), list(options_of_numpy()), ids=lambda x: getattr(x, "__name__", x)
)
def test_an_option_of_numpys_is_taken_as_numpy_takes_it_or_refused(f, option):
    def call(x, **options):
        second = np.array([[0.5, 2.0, 3.0]])
        pair = (x, second) if getattr(f, "nin", 1) == 2 or f is np.outer else (x,)
        return f(*ARGUMENTS.get(f, lambda x: pair)(x), **options)

    x = np.array([[0.25, 1.0, 1.5], [3.0, 0.5, 2.0]])
    options = {option: OPTIONS[option](call(x))}
    t = Tensor(x.copy(), requires_grad=True)
    y, refusal = None, ""
    try:
        y = call(t, **options)
    except (TypeError, ValueError) as error:
        refusal = str(error)
    if y is None:
        assert f.__name__ in refusal
        return
    assert option != "out"
    assert y.dtype.kind == "f"  # whole numbers would have no derivative
    try:
        expected = call(x, **options)
    except TypeError:  # an option that this release of NumPy does not take
        return
    np.testing.assert_allclose(y.data, expected, rtol=1e-12)
    if option != "casting":
        assert gradcheck(lambda t: call(t, **options), x).error < 1e-6
