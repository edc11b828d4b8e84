"""What NumPy offers and Tensors take beyond the everyday: values, arguments, slopes at kinks.

That every function is right to the second derivative is in test_derivatives.py, which runs over the
samples. Here stands what a sample cannot say.
"""

import copy
import json
import math
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import Tensor, grad, gradcheck, linalg, numpys
from minidl.protocols import PLAIN, REMEDIES, dispatch
from minidl.table import name_of
from minidl.tensor import apply

ROOT = Path(__file__).parents[1]
windows = np.lib.stride_tricks.sliding_window_view
X = np.array([[0.5, -1.0, 2.0, 0.25], [-0.25, 1.5, -2.0, 3.0], [1.0, 0.75, -0.5, 4.0]])


def leaf(x):
    return Tensor(np.array(x, float), requires_grad=True)


def gradient(f, x):
    """The gradient of the sum of all that f returns."""
    t = leaf(x)
    y = f(t)
    sum((p.sum() for p in (y if isinstance(y, tuple | list) else [y])), Tensor(0.0)).backward()
    return t.grad


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.float32, np.float64])
@pytest.mark.parametrize("function", [np.median, lambda x: np.quantile(x, 0.3), np.mean])
def test_what_lies_between_whole_numbers_has_numpys_dtype(function, dtype):
    a = np.array([3, 1, 2, 0]).astype(dtype)
    if function is not np.mean and dtype is np.bool_:
        a = a.astype(np.int8)
    expected = function(a)
    y = function(Tensor(a))
    np.testing.assert_allclose(y.data, expected)
    assert y.dtype == expected.dtype


REDUCTIONS = [
    np.sum, np.mean, np.prod, np.max, np.min, np.amax, np.amin, np.ptp, np.std, np.var, np.median,
    np.average, np.nansum, np.nanmean, np.nanprod, np.nanmax, np.nanmin,
]  # fmt: skip


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (-1, 1), (0, 1, 2)])
@pytest.mark.parametrize("function", REDUCTIONS, ids=name_of)
def test_reductions_go_along_the_axes_that_are_named(function, axis, keepdims):
    a = np.random.default_rng(0).normal(size=(2, 3, 4))
    y = function(leaf(a), axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(y.data, function(a, axis=axis, keepdims=keepdims), rtol=1e-12)
    np.testing.assert_array_equal(function(leaf(a), axis, keepdims=keepdims).data, y.data)


# --- The list -------------------------------------------------------------------------------------


def test_every_function_is_listed_once():
    listed = [f"np.{name}" for names in numpys.TOPICS.values() for name in names.split()]
    assert sorted(listed) == sorted(numpys.taken())


def test_the_page_has_the_list_as_it_is():
    page = (ROOT / "docs" / "numpy.md").read_text(encoding="utf-8")
    assert f"\n\n{numpys.catalogue()}\n\n" in page


def test_the_readme_states_how_many_functions_there_are():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"(\d+) of its functions work on Tensors", text) == [str(len(numpys.taken()))]


@pytest.mark.parametrize("function", list(REMEDIES), ids=name_of)
def test_what_is_refused_says_what_to_write_instead(function):
    assert function not in PLAIN
    assert name_of(function) not in numpys.taken()
    with pytest.raises(TypeError) as error:
        dispatch(apply, function, (leaf(X),), {})
    assert str(error.value).startswith(f"{name_of(function)} is not differentiable")
    assert REMEDIES[function] in str(error.value)


def test_the_remedies_give_what_the_functions_give():
    a, b, v = X[0], X[1], np.array([1.0, 2.0])
    mean, std = X.mean(1, keepdims=True), X.std(1, keepdims=True)
    pairs = [
        (np.copysign(a, b), np.abs(a) * np.sign(b)),
        (np.fmod(a, b), a - b * np.trunc(a / b)),
        (np.modf(a)[0], a - np.trunc(a)),
        (np.ldexp(a, 3), a * 2.0**3),
        (np.trapezoid(a, b), np.sum((a[1:] + a[:-1]) * np.diff(b)) / 2),
        (np.correlate(a, v, "full"), np.convolve(a, v[::-1], "full")),
        (np.cov(X), (X - mean) @ (X - mean).T / 3),
        (np.corrcoef(X), ((X - mean) / std) @ ((X - mean) / std).T / 4),
        (np.linalg.pinv(X.T), np.linalg.solve(X @ X.T, X)),
        (np.linalg.lstsq(X.T, a)[0], np.linalg.solve(X @ X.T, X @ a)),
    ]
    for theirs, written in pairs:
        np.testing.assert_allclose(written, theirs, rtol=1e-12, atol=1e-12)


# --- PyTorch's numbers ----------------------------------------------------------------------------

CASES = json.loads(
    (ROOT / "tests" / "laboratory" / "reference" / "numpys.json").read_text(encoding="utf-8")
)["cases"]
CALLS = {
    "arctan2": np.arctan2, "hypot": np.hypot, "arcsinh": np.arcsinh, "sinc": np.sinc,
    "sort": lambda x: np.sort(x, 0), "quantile": lambda x: np.quantile(x, 0.3, 1),
    "median": lambda x: np.median(x, 0), "cumprod": lambda x: np.cumprod(x, 1),
    "cumprod with zeros": lambda x: np.cumprod(x, 0), "nansum": np.nansum,
    "inv": np.linalg.inv, "det": np.linalg.det, "slogdet": lambda a: np.linalg.slogdet(a)[1],
    "solve": np.linalg.solve,
    "cholesky of a product": lambda x: np.linalg.cholesky(x @ x.mT + np.eye(3)),
    "matrix_power": lambda a: np.linalg.matrix_power(a, 3), "inner": np.inner,
    "vecdot": np.vecdot, "cross": np.cross, "kron": np.kron,
    "windows": lambda x: windows(x, 3, 1), "diff": lambda x: np.diff(x, 2), "rot90": np.rot90,
    "diag": lambda x: np.diag(x, -1),
}  # fmt: skip


def test_every_stored_case_is_used():
    assert sorted(CASES) == sorted(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_value_and_gradients_are_those_of_pytorch(name):
    case = CASES[name]
    inputs = [leaf(x) for x in case["inputs"]]
    y = CALLS[name](*inputs)
    np.testing.assert_allclose(y.data, case["value"], rtol=1e-10, atol=1e-12)
    y.backward(np.array(case["upstream"]))
    for x, expected in zip(inputs, case["gradients"], strict=True):
        np.testing.assert_allclose(x.grad, expected, rtol=1e-9, atol=1e-11)


# --- Arguments as NumPy takes them ----------------------------------------------------------------

SHAPES = [np.array(1.5), X[0], np.zeros(0), np.zeros((0, 3)), np.zeros((3, 0)), np.ones((1, 1)),
          X, X[:, :3], np.stack([X, 2 * X]), X.astype("f4"),
          np.arange(6.0).reshape(3, 2).T]  # fmt: skip
AXES = [None, 0, -1, 1, 2, -3, (0, 1), (0, -1), (), (0, 0), 1.0, np.int64(0)]
OVER_AXES = {
    "sum where": lambda x, a: np.sum(x, a, where=plain(x) > 0, initial=0.5),
    "prod where": lambda x, a: np.prod(x, a, where=plain(x) > 0, initial=0.5),
    "max where": lambda x, a: np.max(x, a, where=plain(x) > 0, initial=0.5),
    "min where": lambda x, a: np.min(x, a, where=plain(x) > 0, initial=0.5),
    "mean where": lambda x, a: np.mean(x, a, where=plain(x) > -9, keepdims=True),
    "sort": lambda x, a: np.sort(x, a),
    "cumprod": lambda x, a: np.cumprod(x, a),
    "median": lambda x, a: np.median(x, a, keepdims=True),
    "quantile": lambda x, a: np.quantile(x, [0.2, 0.7], a),
    "ptp": lambda x, a: np.ptp(x, a, keepdims=True),
    "nansum": lambda x, a: np.nansum(x, a),
    "nanmax": lambda x, a: np.nanmax(x, a),
    "average": lambda x, a: np.average(x, a, np.arange(1.0, 4)),
    "append": lambda x, a: np.append(x, x, a),
    "delete": lambda x, a: np.delete(x, [0], a),
    "array_split": lambda x, a: np.array_split(x, 3, a),
    "diff": lambda x, a: np.diff(x, 1, a, prepend=0.0),
    "windows": lambda x, a: windows(x, 2, a),
    "rot90": lambda x, a: np.rot90(x, 3, a),
    "vecdot": lambda x, a: np.vecdot(x, x, axis=a),
    "partition": lambda x, a: np.partition(x, 0, a),
    "no axis: atleast_2d": lambda x, a: np.atleast_2d(x),
    "no axis: atleast_3d": lambda x, a: np.atleast_3d(x, x),
    "no axis: diag": lambda x, a: np.diag(x, 1),
    "no axis: det": lambda x, a: np.linalg.det(x),
    "no axis: inv": lambda x, a: np.linalg.inv(x),
    "no axis: power": lambda x, a: np.linalg.matrix_power(x, -2),
    "no axis: fliplr": lambda x, a: np.fliplr(x),
    "no axis: hsplit": lambda x, a: np.hsplit(x, [1]),
    "no axis: dsplit": lambda x, a: np.dsplit(x, [1]),
    "no axis: column_stack": lambda x, a: np.column_stack([x, x]),
    "no axis: dstack": lambda x, a: np.dstack([x, x]),
    "no axis: block": lambda x, a: np.block([[x, x], [x, x]]),
    "no axis: meshgrid": lambda x, a: np.meshgrid(x, x),
    "no axis: convolve": lambda x, a: np.convolve(x, [1.0, 2.0], "same"),
    "no axis: kron": lambda x, a: np.kron(x, x),
    "no axis: inner": lambda x, a: np.inner(x, x),
    "no axis: choose": lambda x, a: np.choose([0, 1, 1], [x, -x]),
    "no axis: select": lambda x, a: np.select([plain(x) > 1, plain(x) < 0], [x, 2 * x], 7.0),
    "no axis: piecewise": lambda x, a: np.piecewise(x, [plain(x) < 0], [np.exp, 2.0]),
}


def plain(x):
    return x.data if isinstance(x, Tensor) else x


def outcome(f, x, axis):
    """What comes out, as arrays, or the error."""
    with np.errstate(all="ignore"):
        try:
            y = f(x, axis)
        except Exception as error:
            return error
    parts = y if isinstance(y, tuple | list) else [y]
    return type(y) if parts is y else None, [np.asarray(plain(p)) for p in parts]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", OVER_AXES)
def test_axes_and_shapes_are_taken_and_refused_as_numpy_does(name):
    f = OVER_AXES[name]
    for x in SHAPES:
        for axis in AXES[: 1 if name.startswith("no axis") else None]:
            theirs, ours = outcome(f, x, axis), outcome(f, Tensor(x, requires_grad=True), axis)
            if isinstance(ours, Exception):
                nothing = "no element" in str(ours) or "fewer" in str(ours)
                assert isinstance(theirs, Exception) or nothing, (x.shape, axis, ours)
                notes = " ".join(getattr(ours, "__notes__", []))
                assert "np." in str(ours) + notes
            elif not isinstance(theirs, Exception):
                assert ours[0] == theirs[0]
                for a, b in zip(ours[1], theirs[1], strict=True):
                    assert (a.shape, a.dtype) == (b.shape, b.dtype), (x.shape, axis)
                    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
            else:  # what NumPy stumbles over where there is nothing to stumble over
                assert x.ndim == 0 or x.size == 0, (x.shape, axis, theirs)


V, W = X[0], X[1, :3]
SEVERAL = [  # calls that take several arrays, or one in a form of its own
    lambda a: np.meshgrid(a(V)),
    lambda a: np.meshgrid(a(V), W, indexing="ij"),
    lambda a: np.meshgrid(a(V), W, V),
    lambda a: np.meshgrid(a(V), W, V[:2], sparse=True),
    lambda a: np.block([a(X[:1]), V]),
    lambda a: np.block([V, a(X[:1])]),
    lambda a: np.block([[a(X), X], [X, 2 * X]]),
    lambda a: np.block([[a(np.ones((1, 1, 3)))], [W]]),
    lambda a: tuple(np.array_split(a(X), [1, 3], 1)),
    lambda a: tuple(np.array_split(a(X), 1)),
    lambda a: np.diff(a(1.5), 0),
    lambda a: np.diff(a(X), 0, prepend=1.0),
    lambda a: np.diff(a(X), 2, 0),
    lambda a: np.diff(a(X), 1, prepend=X[:, :1], append=X[:, :2]),
    lambda a: np.convolve(a(V), W, "same"),
    lambda a: np.convolve(a(V), V, "same"),
    lambda a: np.convolve(a(W), V, "valid"),
    lambda a: np.convolve(a(W), V),
]


@pytest.mark.parametrize("call", SEVERAL)
def test_several_arrays_come_out_as_numpy_has_them(call):
    ours, theirs = call(leaf), call(np.array)
    if not isinstance(theirs, tuple):
        ours, theirs = (ours,), (theirs,)
    assert len(ours) == len(theirs)
    for y, expected in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(y.data if isinstance(y, Tensor) else y, expected, strict=True)


def test_a_vector_is_flipped_up_and_down():
    np.testing.assert_array_equal(np.flipud(leaf(V)).data, V[::-1])


@pytest.mark.parametrize(
    ("shape", "axis"), [(2, 0), ((2,), (1,)), ((2, 3), (1, 0)), ((2, 2), None)]
)
def test_windows_along_any_axis_have_both_derivatives(shape, axis):
    assert gradcheck(lambda t: windows(t, shape, axis) ** 2, X[:, :3], order=2).ok


@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (-1, 0)])
def test_quarter_turns_may_be_any_number(axes):
    for k in range(-2, 6):
        np.testing.assert_array_equal(np.rot90(leaf(X), k, axes).data, np.rot90(X, k, axes))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda t: np.quantile(t, 1.5), ValueError, "q from 0 to 1"),
        (lambda t: np.percentile(t, 101), ValueError, "q from 0 to 100"),
        (lambda t: np.quantile(t, leaf(0.5)), TypeError, r"argument 'q'.*q\.detach"),
        (lambda t: np.quantile(t, 0.5, method="hazen"), ValueError, "midpoint, nearest, not hazen"),
        (lambda t: np.sort(t, order="f"), TypeError, "fields"),
        (lambda t: np.diff(t, -1), ValueError, "n of 0 or more"),
        (lambda t: np.diff(t[0, 0]), ValueError, "an array with an axis"),
        (lambda t: np.cross(t[:, :2], t[:, :2]), ValueError, r"a\[\.\.\., 0\] \* b\[\.\.\., 1\]"),
        (lambda t: np.nan_to_num(t, copy=False), TypeError, "in place"),
        (lambda t: np.choose([3], [t, t]), ValueError, "there are 2 choices"),
        (lambda t: np.select([t > 0], [t, t]), ValueError, "1 conditions for 2 choices"),
        (lambda t: np.select([[1, 0, 1, 0]], [t]), TypeError, "boolean, such as x > 0"),
        (lambda t: np.piecewise(t, [t > 0], [1, 2, 3]), ValueError, "for each of 1 conditions"),
        (lambda t: np.piecewise(t, t > 0, [1, 2]), ValueError, "of the shape of x"),
        (lambda t: np.average(t, 0, [1.0, -1.0, 0.0]), ZeroDivisionError, "add up to 0"),
        (lambda t: np.average(t, weights=[1.0]), TypeError, "axis="),
        (lambda t: np.average(t, 0, [1.0]), ValueError, r"\(1,\) do not fit axis 0"),
        (lambda t: np.nanmean(t * np.nan), ValueError, "leaves no element"),
        (lambda t: np.nanmax(t * np.nan), ValueError, "only NaN"),
        (lambda t: np.mean(t, where=plain(t) > 9), ValueError, r"np\.maximum"),
        (lambda t: np.mean(t, dtype=int), TypeError, "leave it out"),
        (lambda t: np.max(t, where=plain(t) > 9), ValueError, "identity|initial"),
        (lambda t: np.linalg.inv(t), ValueError, r"(?s)square.*np\.linalg\.inv"),
        (lambda t: np.linalg.inv(np.ones((2, 2)) * t[0, 0]), ValueError, "(?s)Singular.*inv"),
        (lambda t: np.linalg.solve(t[:, :3], np.ones(2)), ValueError, r"(?s)solve.*\(3, 3\)"),
        (lambda t: np.linalg.cholesky(t), ValueError, "square matrices"),
        (lambda t: np.linalg.matrix_power(t[:, :3], 1.5), TypeError, "a whole number"),
        (lambda t: np.linalg.multi_dot([t]), ValueError, "two arrays"),
        (lambda t: np.block([[t], t]), ValueError, "equally deep"),
        (lambda t: np.convolve(t, t[0]), ValueError, "vectors"),
        (lambda t: np.convolve(t[0], t), ValueError, "vectors"),
        (lambda t: np.convolve(t[0, :0], t[0]), ValueError, "vectors with elements"),
        (lambda t: np.convolve(t[0], t[0, :0]), ValueError, "vectors with elements"),
        (lambda t: np.convolve(t[0], t[0], "all"), ValueError, "'full', 'same' or 'valid'"),
        (lambda t: np.array_split(t, 0), ValueError, "above 0"),
        (lambda t: np.hsplit(t[0, 0], 1), ValueError, "1 axes or more"),
        (lambda t: np.vsplit(t[0], 1), ValueError, "2 axes or more"),
        (lambda t: np.dsplit(t, 1), ValueError, "3 axes or more"),
        (lambda t: np.rot90(t, 1, (0, 0)), ValueError, "one axis twice"),
        (lambda t: np.rot90(t, 1, (0,)), ValueError, "plane of 2 axes"),
        (lambda t: np.fliplr(t[0]), ValueError, "2 axes or more, not 1"),
        (lambda t: np.flipud(t[0, 0]), ValueError, "1 axis or more, not 0"),
        (lambda t: np.diag(t[None]), ValueError, "not an array of 3 axes"),
        (lambda t: windows(t, 9, 1), ValueError, "(?s)window.*sliding_window_view"),
        (lambda t: windows(t, 2, 1, writeable=True), TypeError, "writeable="),
        (lambda t: np.meshgrid(t[0], indexing="z"), ValueError, "'xy' or 'ij'"),
        (lambda t: np.cumprod(t, dtype=int), TypeError, r"\(a, axis\)"),
        (lambda t: np.prod(t, dtype=int), TypeError, "where"),
    ],
)
def test_wrong_calls_name_the_remedy(call, kind, message):
    with pytest.raises(kind) as error:
        call(leaf(X))
    text = "\n".join([str(error.value), *getattr(error.value, "__notes__", [])])
    assert re.search(message, text), text
    assert "np." in text


# --- Methods --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min"])
def test_methods_leave_out_what_where_says(name):
    mask = X > 0
    options = {"where": mask} | ({"initial": 0.5} if name != "mean" else {})
    y = getattr(leaf(X), name)(1, keepdims=True, **options)
    np.testing.assert_allclose(y.data, getattr(X, name)(1, keepdims=True, **options), rtol=1e-15)
    d = gradient(lambda t: getattr(t, name)(1, **options), X)
    assert not d[~mask].any()
    assert d[mask].any()
    as_tensor = getattr(leaf(X), name)(1, keepdims=True, **options | {"where": Tensor(mask)})
    np.testing.assert_array_equal(as_tensor.data, y.data)


def test_a_function_of_numpys_is_no_method_and_its_name_is_given():
    t = leaf(X)
    with pytest.raises(AttributeError, match=r"write np\.exp\(t\), which takes Tensors$"):
        t.exp()
    for name in ("exp", "float32", "pi", "nothing", "_exp", "fft"):
        assert not hasattr(t, name)
    for name in ("nothing", "float32", "pi", "fft"):
        with pytest.raises(AttributeError, match=f"has no attribute '{name}'$"):
            getattr(t, name)
    p = minidl.nn.Parameter(X)
    with pytest.raises(AttributeError, match=r"a Parameter has no attribute 'log': write np\.log"):
        p.log()


def test_copies_and_pickles_do_not_ask_for_what_is_not_there():
    for t in (Tensor(X), leaf(X), minidl.nn.Parameter(X)):
        for other in (copy.copy(t), copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
            assert type(other) is type(t)
            np.testing.assert_array_equal(other.data, X.astype(other.dtype))
    with pytest.raises(AttributeError):
        Tensor.__new__(Tensor).array  # noqa: B018  (what is not set yet is not looked for forever)


# --- Slopes where there is no derivative ----------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x", "expected"),
    [
        (lambda t: np.sort(t) * [1.0, 10.0, 100.0], [2.0, 1.0, 1.0], [100, 1, 10]),
        (np.median, [1.0, 2.0, 2.0, 3.0], [0, 0.5, 0.5, 0]),
        (lambda t: np.max(t, initial=2.0), [1.0, 2.0], [0, 0.5]),
        (lambda t: np.max(t, initial=3.0), [1.0, 2.0], [0, 0]),
        (lambda t: np.min(t, initial=9.0, where=[False, True, True]), [1.0, 2.0, 2.0],
         [0, 0.5, 0.5]),
        (lambda t: np.max(t, initial=0.0, where=[False, False]), [1.0, 2.0], [0, 0]),
        (lambda t: np.max(t, initial=0.0, where=[True, False]), [2.0, 2.0], [1, 0]),
        (lambda t: np.fmax(t, [1.0, np.nan, 3.0]), [1.0, 5.0, np.nan], [0.5, 1, 0]),
        (lambda t: np.fmin(t, [1.0, np.nan, 3.0]), [1.0, 5.0, np.nan], [0.5, 1, 0]),
        (lambda t: np.hypot(t, 0.0), [0.0, 2.0, -2.0], [0, 1, -1]),
        (lambda t: np.arctan2(t, 0.0), [0.0, 2.0], [0, 0]),
        (lambda t: np.arctan2(0.0, t), [0.0, 2.0], [0, 0]),
        (np.fabs, [0.0, -1.0], [0, -1]),
        (np.sinc, [0.0], [0]),
        (np.nan_to_num, [1.0, np.nan, np.inf], [1, 0, 0]),
        (np.nansum, [1.0, np.nan], [1, 0]),
        (np.nanmean, [1.0, np.nan, 3.0, 2.0], [1 / 3, 0, 1 / 3, 1 / 3]),
        (np.cumprod, [2.0, 0.0, 3.0], [1, 8, 0]),
        (np.nanprod, [0.0, np.nan, 3.0], [3, 0, 0]),
        (lambda t: np.piecewise(t, [t >= 0], [np.sqrt, 0.0]), [4.0, -1.0], [0.25, 0]),
        (lambda t: windows(t, 2), [1.0, 2.0, 3.0], [1, 2, 1]),
    ],
)  # fmt: skip
def test_the_slope_is_the_one_that_is_written_down(f, x, expected):
    np.testing.assert_allclose(gradient(f, x), expected, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("f", [lambda t: np.hypot(t, 0.0), lambda t: np.arctan2(t, 0.0), np.fabs])
def test_where_there_is_no_second_derivative_it_is_nan(f):
    t = leaf([0.0])
    (d,) = grad(f(t).sum(), [t], create_graph=True)
    (second,) = grad(d.sum(), [t])
    assert np.isnan(second).all()


def test_far_and_near_the_angle_neither_overflows_nor_vanishes():
    for size in (1e-30, 1e30):
        a, b = (Tensor(np.array([v * size], np.float32), requires_grad=True) for v in (3, 4))
        np.arctan2(a, b).backward()
        np.testing.assert_allclose(a.grad, 4 / 25 / size, rtol=1e-6)
        np.testing.assert_allclose(b.grad, -3 / 25 / size, rtol=1e-6)
        a = Tensor(np.array([size], np.float32), requires_grad=True)
        np.arcsinh(a).backward()
        np.testing.assert_allclose(a.grad, 1 / np.hypot(1, size), rtol=1e-6)


def test_sinc_loses_no_digits_near_zero():
    x = np.array([1e-9, 1e-5, 0.01, 0.3, 0.49])
    slope = gradient(np.sinc, x)
    series = sum(
        (-1) ** k * 2 * k * np.pi * (np.pi * x) ** (2 * k - 1) / math.factorial(2 * k + 1)
        for k in range(1, 15)
    )
    np.testing.assert_allclose(slope, series, rtol=1e-13)


# --- Linear algebra -------------------------------------------------------------------------------

SINGULAR = [
    np.array([[1.0, 2.0], [2.0, 4.0]]),
    np.array([[0.1, 0.3, 1.0], [0.2, 0.6, 2.0], [1.0, 0.0, 2.0]]),
    np.outer([1.0, 2.0, 3.0], [1.0, -1.0, 2.0]),
    np.zeros((3, 3)),
    np.zeros((1, 1)),
]


@pytest.mark.parametrize("a", SINGULAR, ids=str)
def test_the_determinant_has_both_derivatives_where_there_is_no_inverse(a):
    assert gradcheck(np.linalg.det, a, order=2, max_unjudged=0.0).error < 1e-6
    assert gradcheck(np.linalg.det, np.stack([a, a + np.eye(len(a))]), order=2).ok


def test_the_determinant_of_nothing_is_one_and_has_no_gradient():
    t = leaf(np.zeros((2, 0, 0)))
    y = np.linalg.det(t)
    assert y.tolist() == [1, 1]
    y.sum().backward()
    assert t.grad.shape == (2, 0, 0)


def test_cofactors_are_the_determinant_times_the_inverse():
    a = np.random.default_rng(0).normal(size=(4, 3, 3))
    expected = np.linalg.det(a)[:, None, None] * np.linalg.inv(a).mT
    np.testing.assert_allclose(linalg.cofactors(a), expected, rtol=1e-10, atol=1e-12)


def test_a_third_derivative_of_the_determinant_is_nan_and_not_made_up():
    t = leaf(np.eye(3))
    (d,) = grad(np.linalg.det(t), [t], create_graph=True)
    (dd,) = grad((d * X[:, :3]).sum(), [t], create_graph=True)
    (ddd,) = grad((dd * X[:, 1:]).sum(), [t])
    assert np.isnan(ddd).all()


def test_only_the_singular_one_of_a_stack_has_no_logarithm():
    a = np.stack([np.ones((2, 2)), 2 * np.eye(2)])
    with np.errstate(divide="ignore"):
        d = gradient(lambda t: np.linalg.slogdet(t)[1], a)
    assert np.isnan(d[0]).all()
    np.testing.assert_array_equal(d[1], np.eye(2) / 2)


def test_slogdet_has_the_names_of_numpy_and_a_sign_without_a_gradient():
    result = np.linalg.slogdet(leaf(-np.eye(3)))
    assert (result.sign, result.logabsdet.item()) == (-1, 0)
    assert not isinstance(result.sign, Tensor)


def test_a_vector_is_solved_for_each_matrix_of_a_stack():
    a, b = np.stack([np.eye(2), 2 * np.eye(2)]), leaf([3.0, 5.0])
    y = np.linalg.solve(a, b)  # of as many matrices as a vector has elements
    np.testing.assert_array_equal(y.data, [[3, 5], [1.5, 2.5]])
    y.sum().backward()
    np.testing.assert_array_equal(b.grad, [1.5, 1.5])


def test_the_factor_reads_one_triangle_and_so_does_its_gradient():
    a = np.array([[4.0, 99.0], [2.0, 5.0]])
    d = gradient(np.linalg.cholesky, a)
    assert d[0, 1] == 0
    assert gradient(lambda t: np.linalg.cholesky(t, upper=True), a.T)[1, 0] == 0
    np.testing.assert_array_equal(np.linalg.cholesky(leaf(a)).data, np.linalg.cholesky(a))


def test_linear_algebra_takes_float16_and_gives_it_back():
    a = Tensor(np.array([[2.0, 1.0], [1.0, 3.0]], np.float16), requires_grad=True)
    for f in (np.linalg.inv, np.linalg.det, np.linalg.cholesky, lambda a: np.linalg.solve(a, a[0])):
        y = f(a)
        assert y.dtype == np.float16
        y.sum().backward()
    assert a.grad.dtype == np.float16


def test_many_matrices_are_multiplied_in_the_cheapest_order(monkeypatch):
    shapes = [(30, 1), (1, 40), (40, 2)]
    xs = [leaf(np.ones(s)) for s in shapes]
    y = np.linalg.multi_dot(xs)
    np.testing.assert_array_equal(y.data, np.full((30, 2), 40))
    left, right = y.node.parents  # a @ (b @ c), which takes 140 products; (a @ b) @ c takes 3600
    assert left[1].shape == (30, 1)
    assert right[1].shape == (1, 2)


def test_vectors_stand_at_the_ends_of_many_products():
    rng = np.random.default_rng(0)
    u, a, b, v = (rng.normal(size=s) for s in ((3,), (3, 4), (4, 2), (2,)))
    for xs in ([u, a], [a, b, v], [u, a, b], [u, a, b, v]):
        leaves = [leaf(x) for x in xs]
        y, expected = np.linalg.multi_dot(leaves), np.linalg.multi_dot(xs)
        assert y.shape == expected.shape
        np.testing.assert_allclose(y.data, expected, rtol=1e-13)
        g = rng.normal(size=y.shape)
        y.backward(g)
        assert [x.grad.shape for x in leaves] == [x.shape for x in xs]


# --- Precision ------------------------------------------------------------------------------------


def test_float16_is_added_up_in_float32():
    x = np.ones(5000, np.float16)
    t = Tensor(x, requires_grad=True)
    mask = np.arange(5000) % 2 == 0
    assert np.sum(t, where=mask).item() == 2500
    assert np.mean(Tensor(x * 30), where=mask).item() == 30  # of which the sum is too large
    assert np.nanmean(Tensor(x * 30)).item() == 30
    assert np.convolve(t, t, "valid").item() == 5000
    assert np.vecdot(t, t).item() == 5000


def test_a_median_of_large_numbers_does_not_overflow():
    t = Tensor(np.array([60000, 60000], np.float16), requires_grad=True)
    assert np.median(t).item() == 60000


def test_a_quantile_has_the_digits_of_its_dtype():
    x = np.random.default_rng(0).normal(size=7)
    half, single = x.astype(np.float16), x.astype(np.float32)
    for q in np.linspace(0.05, 0.95, 19):  # rounded once, in the end
        expected = np.quantile(half.astype(np.float64), q)
        assert np.quantile(Tensor(half), q).item() == np.float16(expected)
    q = np.array([0.1, 0.3, 0.77])  # an array of float64 widens float32
    np.testing.assert_allclose(
        np.quantile(Tensor(single), q).data, np.quantile(single.astype(np.float64), q), rtol=1e-14
    )


def test_nan_makes_a_median_nan():
    t = leaf([[1.0, 2.0, np.nan], [2.0, 3.0, 9.0]])
    np.testing.assert_array_equal(np.median(t, 1).data, [np.nan, 3])
    np.testing.assert_array_equal(np.quantile(t, [0.0, 1.0], 1).data, [[np.nan, 2], [np.nan, 9]])


def test_float_power_is_in_float64():
    t = Tensor(np.array([2.0], np.float32), requires_grad=True)
    y = np.float_power(t, 3)
    y.backward()
    assert (y.dtype, t.grad.dtype, t.grad.tolist()) == (np.float64, np.float32, [12])
