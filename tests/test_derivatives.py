"""Every operation: value, gradient, second gradient, dtype, strides, from one table of samples."""

import inspect
import operator

import numpy as np
import pytest
from programs import printed_by

import minidl
from minidl import Tensor, gradcheck
from minidl.autograd import TABLE
from minidl.gradcheck import samples
from minidl.gradcheck.samples import SAMPLES

CALLS = [(f, s) for f, entries in SAMPLES.items() for s in entries]


def test_every_operation_has_a_sample():
    assert samples.missing() == []


def test_an_operation_without_a_sample_is_found():
    def lonely(x):
        return x

    lonely.__module__, lonely.__qualname__ = "minidl.functional", "lonely"
    minidl.vjp(lonely, "x", x=lambda g: g, forward=lonely)
    try:
        assert samples.missing() == ["lonely"]
    finally:
        del TABLE[lonely]


@pytest.mark.parametrize("sample", [s for _, s in CALLS], ids=[s.name for _, s in CALLS])
def test_gradient_and_second_gradient(sample):
    """In float64 by differences; in float32 and float16 as closely as they can have them."""
    settings = {"order": sample.order, "also_in": (np.float32, np.float16)}
    report = gradcheck(sample.call, *sample.inputs, **settings, max_unjudged=1.0)
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
            if not sample.name.startswith(("astype", "np.float_power")):  # which is for float64
                assert part.dtype == dtype
            rtol = 1e-12 if dtype == np.float64 else 3e-5
            np.testing.assert_allclose(part.data, value, rtol=rtol, atol=rtol)


def _on_arrays(sample, arrays):
    if sample.name.startswith(("astype", "nll", "linear", "batch_norm", "cross_entropy")):
        return sample.call(*[Tensor(x) for x in arrays])  # what only Tensors can do
    return sample.call(*arrays)


def _parts(y):
    return y if isinstance(y, tuple | list) else [y]


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


@pytest.mark.parametrize("choose", [np.maximum, np.minimum])
def test_both_sides_of_a_tie_get_half_of_the_gradient(choose):
    a = Tensor(np.array([2.0, 1.0, 3.0]), requires_grad=True)
    b = Tensor(np.array([2.0, 3.0, 1.0]), requires_grad=True)
    (choose(a, b) * np.array([8.0, 1.0, 1.0])).sum().backward()
    chosen = choose([1.0, 3.0], [3.0, 1.0]) == [1.0, 3.0]
    np.testing.assert_array_equal(a.grad, [4.0, *chosen])
    np.testing.assert_array_equal(b.grad, [4.0, *~chosen])


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
        (lambda t: np.interp(t, [0, 9], [0, 1]), "np.interp"),
        (lambda t: np.linalg.eigh(t), "np.linalg.eigh"),
        (lambda t: np.copysign(t, t), "np.copysign"),
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
        (lambda t: np.var(t, where=[True, False]), "where="),
        (lambda t: np.mean(t, where=[False, False]), r"where= leaves no element.*np\.maximum"),
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
        (lambda t: t[5], "(?s)out of bounds.*in getitem"),
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


@pytest.mark.parametrize(
    "call",
    [
        lambda t: np.moveaxis(t, 2, 0),
        lambda t: np.moveaxis(t, 0, -3),
        lambda t: np.prod(t, 2),
        lambda t: np.prod(t, (0, -3)),
        lambda t: np.concatenate([t, t], 2),
        lambda t: np.concatenate([t, t], -3),
        lambda t: np.stack([t, t], 3),
        lambda t: np.split(t, 1, -3),
        lambda t: np.repeat(t, 2, -3),
        lambda t: np.take(t, 0, 2),
        lambda t: np.take(t, 0, -3),
        lambda t: np.take_along_axis(t, np.zeros((2, 3), int), 2),
        lambda t: np.take_along_axis(t, np.zeros((2, 3), int), -3),
        lambda t: np.diagonal(t, 0, 0, 2),
        lambda t: np.trace(t, 0, -3, 1),
        lambda t: np.tensordot(t, t, ([2], [0])),
        lambda t: np.tensordot(t, t, ([0], [-3])),
        lambda t: np.tensordot(t, t, 3),
        lambda t: np.swapaxes(t, 0, 2),
        lambda t: np.transpose(t, (0, 2)),
        lambda t: np.flip(t, 2),
        lambda t: np.roll(t, 1, -3),
        lambda t: np.expand_dims(t, 3),
        lambda t: np.squeeze(t, 2),
        lambda t: np.sum(t, 2),
        lambda t: np.max(t, -3),
        lambda t: np.cumsum(t, 2),
        lambda t: np.matrix_transpose(t[0]),
    ],
)
def test_an_axis_that_is_not_there_is_refused_as_numpy_refuses_it(call):
    x = np.arange(6.0).reshape(2, 3)
    with pytest.raises((IndexError, ValueError)):
        call(x)
    with pytest.raises((IndexError, ValueError), match=r"np\.") as error:
        call(Tensor(x, requires_grad=True))
    assert isinstance(error.value, np.exceptions.AxisError)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda t: np.take_along_axis(t, np.array([[0, 1]]), None),
            ValueError,
            "indices of 1 axes",
        ),
        (lambda t: np.take_along_axis(t, np.array([0]), 1), ValueError, "indices of 2 axes"),
        (lambda t: np.take_along_axis(t, np.ones((2, 3), bool), 1), IndexError, "integers"),
        (lambda t: np.take_along_axis(t, np.zeros((2, 3)), 1), IndexError, "integers"),
        (lambda t: np.take(t, np.zeros(2), 1), TypeError, r"(?s)Cannot cast.*in np\.take"),
        (lambda t: np.take(t, [6]), IndexError, r"(?s)index 6.*in np\.take"),
        (lambda t: np.take(t, [0], mode="none"), ValueError, "mode"),
        (lambda t: np.split(t, -1), ValueError, "do not divide"),
        (lambda t: np.split(t, 0), (ValueError, ZeroDivisionError), "do not divide"),
        (lambda t: np.repeat(t, [1, 2, 3], 0), ValueError, r"(?s)broadcast.*in np\.repeat"),
        (lambda t: np.moveaxis(t, (0, 1), (0, -2)), ValueError, "one axis twice"),
        (lambda t: np.moveaxis(t, (0, 1), 0), ValueError, "a place for each axis"),
        (lambda t: np.diagonal(t, 0, 1, -1), ValueError, "one axis twice"),
        (lambda t: np.prod(t, (0, 0)), ValueError, "one axis twice"),
        (lambda t: np.tensordot(t, t, ([0, 0], [0, 0])), ValueError, "one axis twice"),
        (lambda t: np.reshape(t, -1, "K"), ValueError, r"(?s)order.*in np\.reshape"),
        # NumPy 2.0 does not know min and refuses it itself
        (lambda t: np.clip(t, 0, None, min=1), (ValueError, TypeError), "a_min or min|'min'"),
        (
            lambda t: np.concatenate([t, t], dtype=int),
            TypeError,
            r"(?s)Cannot cast.*in np\.concatenate",
        ),
        (lambda t: np.pad(t, -1), ValueError, "negative"),
        (lambda t: np.einsum("ii", t), ValueError, "equally long"),
        (lambda t: np.einsum("ii", t[:1]), ValueError, "equally long"),
        (lambda t: np.einsum("ij,ji", t, t), ValueError, "equally long"),
        (lambda t: np.einsum("ij->k", t), ValueError, "must name letters of the terms"),
        (lambda t: np.einsum("ij->ii", t), ValueError, "must name letters of the terms"),
        (lambda t: np.einsum("i...->i", t), ValueError, "'...' if a term has it"),
    ],
)
def test_what_numpy_refuses_is_refused(call, kind, message):
    x = np.arange(6.0).reshape(2, 3)
    with pytest.raises(kind):
        call(x)
    with pytest.raises(kind, match=message):
        call(Tensor(x, requires_grad=True))


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
    **dict.fromkeys((np.arcsin, np.arccos, np.arctanh), lambda x: (x / 4,)),
    np.arccosh: lambda x: (x + 1,),
    np.choose: lambda x: (np.array([0, 1, 0]), x),
    np.partition: lambda x: (x, 1),
    **dict.fromkeys((np.quantile, np.percentile), lambda x: (x, 0.5)),
    np.lib.stride_tricks.sliding_window_view: lambda x: (x, 2, 1),
}


def options_of_numpy():
    for f in SAMPLES:
        if isinstance(f, np.ufunc):
            names = {"out", "where", "dtype", "casting"}
        elif (getattr(f, "__module__", None) or "").startswith("numpy"):
            try:
                names = set(inspect.signature(f).parameters)
            except ValueError:  # before NumPy 2.4 those written in C do not tell
                continue
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
        refusal = "\n".join([str(error), *getattr(error, "__notes__", [])])
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


def test_order_a_is_settled_by_the_input_and_not_by_its_gradient():
    x = np.arange(6.0).reshape(2, 3)
    for array in (x, x.T, np.asfortranarray(x), x[:, ::2], x[::-1]):
        for call in (lambda t: np.ravel(t, "A"), lambda t: np.reshape(t, (-1, 2), order="A")):
            t = Tensor(array, requires_grad=True)
            y = call(t)
            np.testing.assert_array_equal(y.data, call(array))
            (y * y.data).sum().backward()  # every gradient beside its element
            np.testing.assert_array_equal(t.grad, array)


def test_ravel_in_the_order_of_the_memory_says_what_it_takes():
    with pytest.raises(ValueError, match=r"np\.ravel of a Tensor takes 'C', 'F' or 'A'"):
        np.ravel(Tensor(np.ones((2, 2))), "K")


def test_reshape_copies_when_it_is_told_to():
    x = np.arange(6.0).reshape(2, 3)
    # NumPy knows copy= from 2.1 on only, so that our function is asked directly.
    reshape = minidl.compositions.reshape
    assert np.shares_memory(reshape(Tensor(x), 6).data, x)
    assert not np.shares_memory(reshape(Tensor(x), 6, copy=True).data, x)


def test_a_product_over_an_empty_axis_is_zero():
    a = Tensor(np.ones((2, 0)), requires_grad=True)
    y = np.tensordot(a, np.ones((0, 3)), 1)
    np.testing.assert_array_equal(y.data, np.zeros((2, 3)))
    y.sum().backward()
    assert a.grad.shape == (2, 0)
    assert np.tensordot(Tensor(np.ones((0, 2))), np.ones((2, 3)), 1).shape == (0, 3)


def test_einsum_broadcasts_axes_of_length_one():
    a, b = Tensor(np.array([[1.0], [2.0]]), True), Tensor(np.arange(6.0).reshape(3, 2), True)
    y = np.einsum("ij,jk->ik", a, b)
    np.testing.assert_array_equal(y.data, [[6, 9], [12, 18]])
    y.sum().backward()
    np.testing.assert_array_equal(a.grad, [[15], [15]])
    np.testing.assert_array_equal(b.grad, np.full((3, 2), 3))


def test_a_shift_without_a_sign_is_undone():
    t = Tensor(np.arange(3.0), requires_grad=True)
    if np.lib.NumpyVersion(np.__version__) < "2.1.0":
        pytest.skip("this NumPy cannot roll an array by one itself")
    y = np.roll(t, np.uint8(1))
    (y * y.data).sum().backward()
    np.testing.assert_array_equal(t.grad, t.data)


def test_a_mask_given_to_take_is_places_as_in_numpy():
    t = Tensor(np.array([5.0, 7.0]), requires_grad=True)
    y = np.take(t, [True, True, False])
    assert y.tolist() == [7, 7, 5]
    y.sum().backward()
    np.testing.assert_array_equal(t.grad, [1, 2])


def test_clip_by_nan_is_nan():
    t = Tensor(np.array([0.0, 1.0, np.nan]), requires_grad=True)
    np.testing.assert_array_equal(np.clip(t, np.array([np.nan, 0.0, 0.0]), 2.0).data,
                                  [np.nan, 1, np.nan])  # fmt: skip
    assert np.isnan(np.clip(t, 0.0, np.nan).data).all()


def test_a_number_is_reduced_along_its_axis_as_in_numpy():
    for reduction in (np.sum, np.max, np.prod):
        t = Tensor(np.array(3.0), requires_grad=True)
        for axis in (0, -1):
            t.grad = None
            y = reduction(t, axis)
            y.backward()
            assert (y.item(), t.grad.item()) == (3, 1)


def test_one_axis_may_be_given_to_transpose_as_a_number():
    t = Tensor(np.arange(3.0), requires_grad=True)
    (np.transpose(t, np.int64(0)) * np.arange(3.0)).sum().backward()
    np.testing.assert_array_equal(t.grad, [0, 1, 2])


def test_split_takes_any_places():
    x = np.arange(5.0)
    for places in ([3, 1], [-2], [1, 9], [], np.array([2])):
        t = Tensor(x, requires_grad=True)
        parts = np.split(t, places)
        for part, right in zip(parts, np.split(x, places), strict=True):
            np.testing.assert_array_equal(part.data, right)
        sum((p.sum() for p in parts), Tensor(0.0)).backward()
        np.testing.assert_array_equal(t.grad, np.sum([np.isin(x, p.data) for p in parts], 0))
    assert [p.shape for p in np.split(Tensor(np.ones((0, 2))), 2)] == [(0, 2), (0, 2)]


def test_any_number_of_arrays_is_joined_without_a_function_for_each():
    x = Tensor(np.arange(3.0), requires_grad=True)
    rules = len(TABLE)
    for n in (1, 2, 50):
        x.grad = None
        weights = np.arange(1.0, n + 1)
        (np.stack([x] * n) ** 2 * weights[:, None]).sum().backward()
        np.testing.assert_array_equal(x.grad, 2 * x.data * weights.sum())
        x.grad = None
        (np.concatenate([x, np.ones(2), x * 2] * n) ** 2).sum().backward()
        np.testing.assert_array_equal(x.grad, n * (2 + 8) * x.data)
    assert len(TABLE) == rules


def test_joining_takes_lists_dtypes_and_arrays_among_the_tensors():
    x = Tensor(np.ones((1, 2), np.float32), requires_grad=True)
    y = np.concatenate([[[3.0, 4.0]], x, np.zeros((1, 2))])
    assert y.dtype == np.float64
    y.sum().backward()
    assert (x.grad.dtype, x.grad.tolist()) == (np.float32, [[1, 1]])
    assert np.concatenate([x, np.zeros((1, 2))], dtype=np.float32).dtype == np.float32
    assert np.vstack([x, [1, 2]]).tolist() == [[1, 1], [1, 2]]
    assert np.hstack([x, [[5]]]).tolist() == [[1, 1, 5]]
    assert np.concatenate(x.T).tolist() == [1, 1]  # the rows of one Tensor
    with pytest.raises(TypeError, match="Tensor"):
        np.concatenate([x, [[x[0, 0], x[0, 1]]]])
    with pytest.raises(TypeError, match="int64 has no gradient: leave dtype= out"):
        np.concatenate([x, x], dtype=np.int64, casting="unsafe")


def test_padding_takes_widths_by_axis():
    # NumPy knows them from 2.2 on only, so that our function is asked what it makes of them.
    x = Tensor(np.arange(4.0).reshape(2, 2), requires_grad=True)
    if np.lib.NumpyVersion(np.__version__) < "2.2.0":
        pytest.skip("this NumPy does not know them")
    for mode in ("constant", "edge"):
        x.grad = None
        y = np.pad(x, {-1: (1, 2), 0: 1}, mode)
        np.testing.assert_array_equal(y.data, np.pad(x.data, ((1, 1), (1, 2)), mode))
        y.sum().backward()
        right = [[1, 1], [1, 1]] if mode == "constant" else [[4, 6], [4, 6]]
        np.testing.assert_array_equal(x.grad, right)


def test_the_package_imports_where_numpy_calls_the_shape_of_reshape_newshape():
    code = """
import inspect, numpy as np

def reshape(a, newshape, order="C"):  # as in NumPy 2.0
    return original(a, newshape, order)

original = np.reshape
reshape.__module__ = "numpy"
np.reshape = reshape
import minidl
from minidl.autograd import TABLE
assert TABLE[reshape].names == ("a", "newshape", "order")
x = minidl.Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
(x.reshape(3, 2) * np.arange(6.0).reshape(3, 2)).sum().backward()
assert (x.grad == x.data).all()
"""
    assert printed_by("-c", code) == ""
