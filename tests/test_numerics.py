"""Numbers at their edges: every dtype, layout and size, against a computation in Python floats.

Inputs are generated with fixed seeds: shapes with and without elements, native and big-endian
dtypes, Fortran order, gaps, negative and zero strides, and values that are huge, tiny, subnormal,
-0.0 or infinite. The references use the math module on one number at a time, and share no code or
formula with the library. What the functions give must be right, or a clear error: never a NaN, and
never a warning unless the right result itself does not fit the dtype.
"""

import contextlib
import itertools
import math
import zlib

import numpy as np
import pytest

import minidl
from minidl import Tensor, data, grad, nn
from minidl import functional as F
from minidl.derivatives import wide
from minidl.gradcheck.samples import SAMPLES

INF, NAN = math.inf, math.nan
DTYPES = ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"]
SHAPES = [(), (0,), (1,), (3,), (2, 3), (0, 3), (3, 0), (2, 1, 4)]
LAYOUTS = ["C", "Fortran", "negative", "zero", "gaps"]


def laid_out(x, layout):
    """``x`` in another layout; with zero strides, its first row (or number) again and again."""
    if layout == "Fortran":
        return x.copy(order="F")
    if layout == "negative":
        return np.flip(np.flip(x).copy())
    if layout == "zero" and x.ndim and len(x):
        return np.broadcast_to(x[:1], x.shape)
    if layout == "gaps":
        whole = np.full([2 * n + 1 for n in x.shape], 77, x.dtype)
        inside = tuple(slice(1, None, 2) for _ in x.shape)
        whole[inside] = x
        return whole[inside]
    return x


def sizes(dtype, infinite):
    """Pools of values to draw from; None stands for normal numbers."""
    limits = np.finfo(dtype)
    big, tiny = float(limits.max), float(limits.tiny)
    least = float(limits.smallest_subnormal)
    pools = [
        None,
        [0.0, -0.0, 1.0, -1.0, 0.5, 20.0, -20.0, 1e4, -1e4, tiny],
        [big, -big, big / 2, -big / 4, math.sqrt(big), -math.sqrt(big), 1.0],
        [tiny, -tiny, least, -least, 3 * least, 1.5 * tiny, 0.0, -0.0],
    ]
    return pools + [[INF, -INF, 1.0, 0.0]] * infinite


def generated(name, dtype, count, infinite=False, shapes=SHAPES):
    """So many arrays of all kinds, always the same ones for a name and a dtype."""
    rng = np.random.default_rng(zlib.crc32(f"{name} {dtype}".encode()))
    kinds = itertools.cycle(itertools.product(sizes(dtype, infinite), shapes))
    for pool, shape in itertools.islice(kinds, count):
        x = rng.normal(size=shape) if pool is None else rng.choice(pool, size=shape)
        yield laid_out(np.asarray(x, dtype), rng.choice(LAYOUTS))


def close(got, right, factor=8, absolute=0.0):
    """Hold an array against Python floats, in units of the last place of its dtype."""
    right = np.asarray(right, np.float64).reshape(got.shape)
    limits = np.finfo(got.dtype)
    eps, most = float(limits.eps), float(limits.max)
    assert not np.isnan(got).any(), (got, right)
    at_border = np.abs(np.abs(right) / most - 1) < factor * eps  # rounded up or down
    too_large = (np.abs(right) > most) & ~at_border
    np.testing.assert_array_equal(got[too_large], np.sign(right[too_large]) * INF)
    for a, b in zip(got[~too_large & ~at_border], right[~too_large & ~at_border], strict=True):
        allowed = factor * (eps * abs(b) + eps * absolute) + 4 * float(limits.smallest_subnormal)
        assert abs(float(a) - b) <= allowed, (got, right)


def overflows(right, dtype):
    """Whether a right result does not fit, so that NumPy may warn of it."""
    return any(abs(n) > (1 - 1e-3) * float(np.finfo(dtype).max) for n in np.ravel(right))


def total(numbers):
    """The exact sum, rounded once."""
    try:
        return math.fsum(numbers)
    except OverflowError:
        return INF


def value_and_gradient(function, x, *others):
    t = Tensor(x, requires_grad=True)
    y = function(t, *others)
    assert y.dtype.newbyteorder("=") == x.dtype.newbyteorder("=")
    return y.data, grad(y, t, np.ones(y.shape))


# --- Activations ----------------------------------------------------------------------------------


def exp(x):
    return math.exp(x) if x < 709 else INF


def logistic(x):
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))


def normal_density(x):
    return math.exp(-min(x * x, 1400) / 2) / math.sqrt(2 * math.pi)


def gelu(x):
    return x if x == INF else max(x, -100.0) * (math.erfc(-x / math.sqrt(2)) / 2)


def gelu_slope(x):
    return math.erfc(-x / math.sqrt(2)) / 2 + max(min(x, 100.0), -100.0) * normal_density(x)


def rough_gelu(x):
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x) if abs(x) < 50 else x
    return x if inner > 50 else 0.0 if inner < -50 else x / 2 * (1 + math.tanh(inner))


def rough_gelu_slope(x):
    if abs(x) > 20:
        return float(x > 0)
    t = math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return (1 + t) / 2 + x / 2 * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 0.134145 * x * x)


ACTIVATIONS = {  # the function, its value, its slope, and whether values are right only on a scale
    "relu": (F.relu, lambda x: max(x, 0.0), lambda x: float(x > 0), 0),
    "leaky_relu": (
        lambda x: F.leaky_relu(x, 0.25),
        lambda x: max(x, 0.25 * x),
        lambda x: 1.0 if x > 0 else 0.25,
        0,
    ),
    "sigmoid": (F.sigmoid, logistic, lambda x: logistic(x) * logistic(-x), 0),
    "tanh": (
        F.tanh,
        math.tanh,
        lambda x: 4 * exp(-2 * abs(x)) / (1 + exp(-2 * abs(x))) ** 2,
        0,
    ),
    "softplus": (F.softplus, lambda x: max(x, 0.0) + math.log1p(exp(-abs(x))), logistic, 0),
    "softplus, beta 2": (
        lambda x: F.softplus(x, 2.0),
        lambda x: max(x, 0.0) + math.log1p(exp(-2 * abs(x))) / 2,
        lambda x: logistic(2 * x),
        0,
    ),
    "gelu": (F.gelu, gelu, gelu_slope, 0),
    "gelu, tanh": (lambda x: F.gelu(x, "tanh"), rough_gelu, rough_gelu_slope, 20),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_any_numbers_in_any_layout(name, dtype):
    function, value, slope, absolute = ACTIVATIONS[name]
    for x in generated(name, dtype, 80, infinite=True):
        y, g = value_and_gradient(function, x)
        numbers = [float(n) for n in x.ravel()]
        series = {"f8": 2000, "f4": 64}  # fitted
        accuracy = series.get(dtype[1:], 8) if name == "gelu" else 8
        close(y, [value(n) for n in numbers], factor=accuracy, absolute=absolute)
        close(g, [slope(n) for n in numbers], factor=16, absolute=2)  # 1 - y cancels


# --- Softmax and reductions -----------------------------------------------------------------------


def shares(row):
    """softmax of Python floats."""
    top = max(row)
    powers = [1.0 if x == top else exp(x - top) for x in row]
    return [p / math.fsum(powers) for p in powers]


def log_of_sum(row):
    top = max(row)
    return top + math.log(math.fsum(1.0 if x == top else exp(x - top) for x in row))


def rows_of(x):
    return [[float(n) for n in row] for row in x.reshape(-1, x.shape[-1])]


WITH_ROWS = [(1,), (3,), (2, 3), (0, 3), (2, 1, 4)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_log_softmax_and_logsumexp_of_any_finite_numbers(dtype):
    for x in generated("softmax", dtype, 80, shapes=WITH_ROWS):
        rows = rows_of(x)
        # The difference to the maximum is rounded before exp: an error of up to 20 units of it.
        close(F.softmax(Tensor(x)).data, [shares(row) for row in rows], factor=40)
        top = [max(row) for row in rows]
        logs = [[n - t - log_of_sum([m - t for m in row]) for n in row]
                for row, t in zip(rows, top, strict=True)]  # fmt: skip
        with np.errstate(over="ignore" if overflows(logs, dtype) else "warn"):
            close(F.log_softmax(Tensor(x)).data, logs, absolute=4)
        total, share = value_and_gradient(F.logsumexp, x)
        close(total, [log_of_sum(row) for row in rows], absolute=4)
        close(share, [shares(row) for row in rows], factor=40)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_masks_and_of_infinity(dtype):
    for x in generated("masks", dtype, 80, infinite=True, shapes=WITH_ROWS):
        rows = rows_of(x)
        if any(max(row) in (INF, -INF) for row in rows):
            for function in (F.softmax, F.log_softmax):
                with pytest.raises(ValueError, match=r"softmax of (nothing but -inf|infinity) is"):
                    function(Tensor(x))
        else:
            close(F.softmax(Tensor(x)).data, [shares(row) for row in rows], factor=40)
        total, share = value_and_gradient(F.logsumexp, x)
        close(total, [-INF if max(row) == -INF else log_of_sum(row) for row in rows], absolute=4)
        nothing = [0.0] * x.shape[-1]
        close(share, [nothing if max(row) == -INF else shares(row) for row in rows], factor=40)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_norm_neither_overflows_nor_vanishes_and_has_a_slope_of_zero_at_zero(dtype):
    for x in generated("norm", dtype, 80):
        numbers = [float(n) for n in x.ravel()]
        right = math.hypot(*numbers)
        with np.errstate(over="ignore" if overflows(right, dtype) else "warn"):
            y, g = value_and_gradient(lambda t: np.linalg.norm(t.reshape(-1)), x)
        close(y, right)
        if not overflows(right, dtype):
            close(g, [n / right if right else 0.0 for n in numbers], factor=16)


def test_the_norm_along_axes_and_its_second_derivative_are_those_of_the_formula():
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    for axis, keepdims in itertools.product([0, -1, (0, 2)], [False, True]):
        y = np.linalg.norm(Tensor(x * 1e200), axis=axis, keepdims=keepdims).data
        np.testing.assert_allclose(y, np.linalg.norm(x, axis=axis, keepdims=keepdims) * 1e200)
    v = Tensor(np.array([3e-200, 4e-200]), requires_grad=True)
    first = grad(np.linalg.norm(v), v, create_graph=True)
    np.testing.assert_allclose(first.data, [0.6, 0.8])
    np.testing.assert_allclose(grad(first[0], v), [0.64 / 5e-200, -0.48 / 5e-200])


REDUCTIONS = {
    "sum": (np.sum, math.fsum),
    "mean": (np.mean, lambda row: math.fsum(row) / len(row)),
    "max": (np.max, max),
    "min": (np.min, min),
    "prod": (np.prod, math.prod),
    "var": (np.var, lambda row: spread(row)),
    "std": (np.std, lambda row: math.sqrt(spread(row))),
}


def spread(row):
    mean = math.fsum(row) / len(row)
    return math.fsum((x - mean) ** 2 for x in row) / len(row)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_are_right_and_over_nothing_they_say_so(name, dtype):
    function, reference = REDUCTIONS[name]
    for x in generated(name, dtype, 64):
        for axis in (None, *range(x.ndim)):
            columns = [x.ravel()] if axis is None else columns_of(x, axis)
            columns = [[float(n) for n in row] for row in columns]
            if any(not row for row in columns) and name not in ("sum", "prod"):
                with pytest.raises(
                    ValueError, match=rf"(?s)(no identity|skip empty).*in np.{name}"
                ):
                    function(Tensor(x), axis)
                continue
            if any(abs(n) > float(np.finfo(dtype).max) / 32 for row in columns for n in row) and (
                name not in ("max", "min")
            ):
                continue  # NumPy's own sums and squares overflow there, as NumPy says
            right = [reference(row) for row in columns]
            with np.errstate(over="ignore" if overflows_on_the_way(columns, dtype) else "warn"):
                y, g = value_and_gradient(function, x, axis)
            if overflows_on_the_way(columns, dtype):
                continue
            size = max((abs(n) for row in columns for n in row), default=0.0)
            if name == "std" and size * size < float(np.finfo(dtype).tiny):
                continue  # its squares vanish, as NumPy's do
            size = size if name not in ("var", "prod") else size * size
            close(y, right, factor=16, absolute=size if name != "prod" else 0)
            assert np.isfinite(g).all()


def columns_of(x, axis):
    """What a reduction along ``axis`` takes together."""
    front = np.moveaxis(x, axis, -1)
    return [front[i] for i in np.ndindex(front.shape[:-1])]


def overflows_on_the_way(columns, dtype):
    """Whether a square or a product of some of the numbers does not fit."""
    largest = [math.prod(abs(n) for n in row if abs(n) > 1) for row in columns]
    squares = [8 * n * n for row in columns for n in row]
    return overflows([*largest, *squares], dtype)


def test_variances_take_more_elements_than_ddof():
    x = Tensor(np.ones((1, 3), np.float32), requires_grad=True)
    for function in (np.var, np.std):
        with pytest.raises(ValueError, match=r"more than 1 elements, and there are 1 .*lower ddof"):
            function(x, axis=0, ddof=1)
        assert function(x, axis=1, ddof=1).data == 0
    assert np.mean(Tensor(np.zeros((0, 3))), axis=1).shape == (0,)


# --- Powers, roots, logarithms --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", [float, int, np.array, Tensor])
def test_anything_to_the_zero_is_one_with_slope_zero(dtype, kind):
    zero = kind(0) if kind in (float, int) else kind(np.zeros((), dtype))
    for x in generated("to the zero", dtype, 60, infinite=True):
        y, g = value_and_gradient(lambda t: t**zero, x)
        assert (y == 1).all()
        assert (g == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_to_any_positive_power_is_zero_with_the_right_slopes(dtype):
    for power, slope in [(1.0, 1.0), (2.0, 0.0), (3.0, 0.0), (1.5, 0.0)]:
        for zero in (0.0, -0.0):
            a = Tensor(np.array([zero], dtype), requires_grad=True)
            b = Tensor(np.array([power], dtype), requires_grad=True)
            assert (a**b).data == 0
            da, db = grad((a**b).sum(), (a, b))
            assert (da, db) == (slope, 0)
            assert grad((a**power).sum(), a) == slope
            assert grad((0.0**b).sum(), b) == 0


def test_the_mixed_derivative_of_a_power_is_right_at_exponent_zero():
    a, b = (Tensor(np.array(v), requires_grad=True) for v in (2.0, 0.0))
    da = grad(a**b, a, create_graph=True)
    assert grad(da, b) == 0.5  # d/db of b a**(b - 1) at b = 0 is 1 / a


@pytest.mark.parametrize("dtype", DTYPES)
def test_roots_and_logarithms_of_the_smallest_and_largest_numbers(dtype):
    limits = np.finfo(dtype)
    numbers = [limits.smallest_subnormal, limits.tiny, 1.0, limits.max]
    x = np.array(numbers, dtype)
    numbers = [float(n) for n in x]
    for function, value, slope in [
        (np.sqrt, math.sqrt, lambda n: 0.5 / math.sqrt(n)),
        (np.log, math.log, lambda n: 1 / n if n > 1e-308 else INF),
        (np.log1p, math.log1p, lambda n: 1 / (1 + n)),
    ]:
        y, g = value_and_gradient(function, x)
        close(y, [value(n) for n in numbers])
        close(g, [slope(n) for n in numbers])


def test_at_the_border_of_root_and_logarithm_slopes_are_infinite_and_beyond_it_numpy_warns():
    for zero in (0.0, -0.0):
        x = Tensor(np.array([zero]), requires_grad=True)
        y = np.sqrt(x)
        assert y.data == 0
        assert abs(grad(y, x)) == INF
        with pytest.warns(RuntimeWarning, match="divide by zero encountered in log"):
            assert np.log(x).data == -INF
    for function in (np.sqrt, np.log):
        with pytest.warns(RuntimeWarning, match="invalid value"):
            function(Tensor([-1.0]))


# --- Losses ---------------------------------------------------------------------------------------

LABELS = ["i1", "u1", "<i2", ">i2", ">i4", "<i8", ">u8"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_any_finite_logits_and_integer_labels(dtype):
    rng = np.random.default_rng(1)
    for x in generated("cross entropy", dtype, 80, shapes=[(1, 2), (2, 3), (4, 3), (3, 1)]):
        n, classes = x.shape
        labels = laid_out(rng.integers(classes, size=n).astype(rng.choice(LABELS)), "gaps")
        rows, wanted = rows_of(x), [int(label) for label in labels]
        pairs = list(zip(rows, wanted, strict=True))
        right = [log_of_sum([m - row[k] for m in row]) for row, k in pairs]
        mean = total(right) / n
        slopes = [[(s - (j == k)) / n for j, s in enumerate(shares(row))] for row, k in pairs]
        with np.errstate(over="ignore" if overflows([*right, total(right)], dtype) else "warn"):
            losses = F.cross_entropy(Tensor(x), labels, reduction="none").data
            y, g = value_and_gradient(F.cross_entropy, x, labels)
        close(losses, right, factor=16, absolute=4)
        if not overflows([*right, total(right)], dtype):
            close(y, mean, factor=16, absolute=4)
        close(g, slopes, factor=40, absolute=1)


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize(("bad", "classes"), [(-256, 300), (-1, 3), (3, 3), (512, 3)])
def test_labels_out_of_range_are_found_in_any_integer_dtype_and_byte_order(kind, bad, classes):
    if np.iinfo(kind).min <= bad <= np.iinfo(kind).max:
        labels = np.array([0, bad, 0], kind)  # in the other byte order -256 is 255, and 512 is 2
        with pytest.raises(ValueError, match=f"target {bad} is out of range"):
            F.cross_entropy(np.zeros((3, classes), np.float32), labels)


def differences(x, t):
    return [float(a) - float(b) for a, b in zip(x.ravel(), t.ravel(), strict=True)]


def huber(d):
    return d * d / 2 if abs(d) <= 1 else abs(d) - 0.5


ELEMENTWISE = {
    "mse": (F.mse_loss, lambda d: d * d, lambda d, n: 2 * (d / n)),
    "l1": (F.l1_loss, abs, lambda d, n: ((d > 0) - (d < 0)) / n),
    "huber": (F.huber_loss, huber, lambda d, n: max(-1.0, min(1.0, d)) / n),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_losses_of_differences_of_any_size(name, dtype):
    function, value, slope = ELEMENTWISE[name]
    rng = np.random.default_rng(2)
    for x in generated(name, dtype, 80):
        t = x.ravel()[rng.permutation(x.size)].reshape(x.shape)
        if not x.size:
            with pytest.raises(ValueError, match="the mean over no elements is not defined"):
                function(Tensor(x), t)
            assert function(Tensor(x), t, reduction="sum").data == 0
            continue
        deltas = differences(x, t)
        if overflows(deltas, dtype):
            continue
        right = [value(d) for d in deltas]
        mean, largest = total(right) / len(right), total(right)
        on_the_way = "<f4" if dtype[1:] == "f2" else dtype  # halves are added in single precision
        too_large = overflows(largest, on_the_way) or overflows(mean, dtype)
        with np.errstate(over="ignore" if too_large else "warn"):
            y, g = value_and_gradient(function, x, t)
        if not overflows(largest, on_the_way):
            close(y, mean)
        close(g, [slope(d, len(right)) for d in deltas], factor=16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_cross_entropy_of_any_finite_logits(dtype):
    rng = np.random.default_rng(3)
    for x in generated("binary", dtype, 80):
        t = rng.choice([0.0, 1.0, 0.25], size=x.shape).astype(dtype)
        if not x.size:
            continue
        pairs = [(float(a), float(b)) for a, b in zip(x.ravel(), t.ravel(), strict=True)]
        right = [total([max(a, 0.0), -a * b, math.log1p(exp(-abs(a)))]) for a, b in pairs]
        for_each = F.binary_cross_entropy_with_logits(Tensor(x), t, reduction="none").data
        close(for_each, right)
        if not overflows(total(right), dtype):
            _, g = value_and_gradient(F.binary_cross_entropy_with_logits, x, t)
            close(g, [(logistic(a) - b) / len(pairs) for a, b in pairs], absolute=1)


def test_losses_of_halves_come_in_halves_and_overflow_only_if_their_mean_does():
    x = np.zeros(100, np.float16)
    t = np.zeros(100, np.float16)
    t[0] = 300  # its square does not fit
    y, g = value_and_gradient(F.mse_loss, x, t)
    assert y.dtype == g.dtype == np.float16
    assert y == 900
    assert g[0] == -6


# --- Sums of many in float16 ----------------------------------------------------------------------

HALF = np.float16
MANY = 5000  # ones added up in float16 stop at 2048


def halves(*shape):
    return Tensor(np.ones(shape, HALF), requires_grad=True)


MANY_ONES = {  # a function of 5000 rows of ones, its value, and the gradient of its sum
    "sum": (lambda x: x.sum(axis=0), MANY, 1),
    "mean": (lambda x: x.mean(axis=0), 1, 1 / MANY),
    "cumsum": (lambda x: np.cumsum(x, 0)[-1], MANY, 1),
    "norm": (lambda x: np.linalg.norm(x, axis=0), math.sqrt(MANY), 1 / math.sqrt(MANY)),
    "norm 3": (lambda x: np.linalg.norm(x, 3, axis=0), MANY ** (1 / 3), MANY ** (-2 / 3)),
    "norm 1": (lambda x: np.linalg.norm(x, 1, axis=0), MANY, 1),
    "max": (lambda x: x.max(axis=0), 1, 1 / MANY),
    "min": (lambda x: x.min(axis=0), 1, 1 / MANY),
    "softmax": (lambda x: F.softmax(x, 0).sum(axis=0), 1, 0),
    "log_softmax": (lambda x: F.log_softmax(x, 0)[0], -math.log(MANY), None),
    "logsumexp": (lambda x: F.logsumexp(x, 0), 1 + math.log(MANY), 1 / MANY),
    "einsum": (lambda x: np.einsum("ij->j", x), MANY, 1),
    "einsum of two": (lambda x: np.einsum("ij,ij->j", x, x), MANY, 2),
    "matmul": (lambda x: np.ones(MANY, HALF) @ x, MANY, 1),
    "dot": (lambda x: np.dot(x.T, np.ones(MANY, HALF)), MANY, 1),
    "linear": (lambda x: F.linear(x.T, np.ones((1, MANY), HALF))[:, 0], MANY, 1),
    "logaddexp": (lambda x: np.logaddexp(x, x).sum(axis=0) / 2, MANY * 0.8466, 0.5),
}


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("name", MANY_ONES)
def test_many_halves_are_added_up_in_single_precision(name, columns):
    function, value, slope = MANY_ONES[name]
    x = halves(MANY, columns)
    y = function(x)
    assert y.dtype == HALF
    np.testing.assert_allclose(y.data.astype(float), np.full(columns, value), rtol=1e-3)
    y.sum().backward()
    assert x.grad.dtype == HALF
    if slope is not None:
        right = np.full((MANY, columns), slope)
        np.testing.assert_allclose(x.grad.astype(float), right, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("name", ["max", "min", "mean", "var", "std", "softmax", "logsumexp"])
def test_more_halves_than_float16_can_count(name):
    function = getattr(F, name, None) or getattr(np, name)
    n = 70_000
    values = np.zeros(n, HALF)
    if name in ("var", "std"):
        values[::2] = 8
    x = Tensor(values, requires_grad=True)
    y = function(x)
    wide = Tensor(values.astype(np.float64), requires_grad=True)
    right = function(wide)
    np.testing.assert_allclose(y.data, right.data, rtol=1e-3, atol=1e-7)
    weights = np.zeros(y.shape) if y.ndim else np.ones(())
    weights.flat[0] = 1
    got, exact = grad(y, x, weights), grad(right, wide, weights)
    assert np.abs(exact).max() > 0
    np.testing.assert_allclose(got, exact, rtol=1e-2, atol=1e-7)


def test_the_norm_of_halves_whose_squares_do_not_fit():
    x = Tensor(np.full((70_000, 1), 200, HALF), requires_grad=True)
    y = np.linalg.norm(x, axis=0)
    np.testing.assert_allclose(y.data, 200 * math.sqrt(70_000), rtol=1e-3)
    np.testing.assert_allclose(grad(y, x, [1.0]), 1 / math.sqrt(70_000), rtol=1e-3)
    assert np.var(Tensor(np.array([0, 400], HALF))).data == 40_000


def test_gradients_of_halves_that_many_paths_bring_together():
    bias = Tensor(np.zeros(3, HALF), requires_grad=True)
    (halves(MANY, 3) + bias).sum().backward()
    np.testing.assert_array_equal(bias.grad, MANY)
    element = halves(4)
    element[np.zeros(MANY, int)].sum().backward()
    np.testing.assert_array_equal(element.grad, [MANY, 0, 0, 0])
    taken = halves(4)
    np.take(taken, np.full((50, 100), 3)).sum().backward()
    np.testing.assert_array_equal(taken.grad, [0, 0, 0, MANY])
    repeated = halves(1, 2)
    np.broadcast_to(repeated, (MANY, 2)).sum().backward()
    np.testing.assert_array_equal(repeated.grad, MANY)
    layer = nn.Linear(2, 3, rng=0, dtype=HALF)
    layer(np.ones((MANY, 2), HALF)).sum().backward()
    np.testing.assert_array_equal(layer.bias.grad, MANY)
    np.testing.assert_array_equal(layer.weight.grad, MANY)


def test_gradients_of_halves_that_are_used_or_differentiated_again_and_again():
    x = halves(2)
    node, total = x * 1, Tensor(np.zeros(2, HALF))
    for _ in range(3000):
        total = total + x + node
    total.sum().backward()
    np.testing.assert_array_equal(x.grad, 6000)
    np.testing.assert_array_equal(grad((x * 3).sum() + (x * 4).sum(), x), 7)
    y = halves(2)
    for _ in range(3000):
        (y * 1).sum().backward()
    np.testing.assert_array_equal(y.grad, 3000)
    with pytest.raises(ValueError, match="read-only"):
        y.grad[:] = 1
    y.grad = np.ones(2)
    (y * 1).sum().backward()
    np.testing.assert_array_equal(y.grad, 2)
    assert y.grad.dtype == HALF


def test_second_gradients_of_halves_come_in_halves():
    x = halves(MANY, 1)
    first = grad((x.mean(axis=0) ** 2).sum() * MANY, x, create_graph=True)
    assert first.dtype == HALF
    np.testing.assert_allclose(first.data, 2)
    second = grad(first.sum(), x)  # 2 for all of 5000 rows
    assert second.dtype == HALF
    np.testing.assert_allclose(second, 2, rtol=1e-3)


def test_what_is_wider_than_half_is_in_single():
    x = halves(3, 2)
    assert wide(x).dtype == wide(x.data).dtype == np.float32
    for dtype in (np.float32, np.float64):
        a = np.ones(2, dtype)
        assert wide(a) is a


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reduction": "sum"},
        {"label_smoothing": 0.1},
        {"weight": np.ones(MANY)},
        {"ignore_index": 0, "weight": np.ones(MANY), "label_smoothing": 0.1},
    ],
)
def test_cross_entropy_of_many_classes_in_halves(options):
    labels = np.array([1, 2])
    x = Tensor(np.zeros((2, MANY), HALF), requires_grad=True)
    loss = F.cross_entropy(x, labels, **options)
    wide = Tensor(x.data.astype(np.float64), requires_grad=True)
    right = F.cross_entropy(wide, labels, **options)
    assert loss.dtype == HALF
    assert loss.item() == pytest.approx(right.item(), rel=1e-3)
    np.testing.assert_allclose(grad(loss, x), grad(right, wide), rtol=2e-3, atol=1e-7)


def test_losses_over_many_samples_in_halves():
    x = halves(70_000, 2)
    labels = np.arange(70_000) % 2
    assert F.cross_entropy(x, labels).item() == pytest.approx(math.log(2), rel=1e-3)
    some = F.cross_entropy(x, labels, weight=[1.0, 3.0], ignore_index=0)
    assert some.item() == pytest.approx(math.log(2), rel=1e-3)
    for loss, right in ((F.mse_loss, 1), (F.l1_loss, 1), (F.huber_loss, 0.5)):
        assert loss(x, np.zeros((70_000, 2))).item() == right
    y = F.batch_norm(x, None, None, halves(2), halves(2), training=True)
    np.testing.assert_array_equal(y.data, 1)


# --- Second derivatives ---------------------------------------------------------------------------


def curvature(function, x):
    """The second derivative of a function of one number."""
    t = Tensor(np.array(float(x)), requires_grad=True)
    slope = grad(function(t), t, create_graph=True)
    if not slope.requires_grad:  # it depends on nothing
        return 0.0
    return float(grad(slope, t, allow_unused=True))


ROOT = math.sqrt(2 / math.pi)
CURVATURES = {  # functions of one number with their second derivatives where they are special
    "huber": (lambda x: F.huber_loss(x, np.zeros(())), {0: 1, 0.5: 1, -0.9: 1, 1.5: 0, -1e30: 0}),
    "huber, delta": (lambda x: F.huber_loss(x, np.zeros(()), delta=1e-3), {0: 1, 0.5: 0}),
    "mse": (lambda x: F.mse_loss(x, np.zeros(())), {0: 2, 3: 2}),
    "softplus": (F.softplus, {0: 0.25, 1e4: 0, -1e4: 0, INF: 0, -INF: 0}),
    "softplus, beta": (lambda x: F.softplus(x, 4.0), {0: 1, 1e4: 0}),
    "sigmoid": (F.sigmoid, {0: 0, 1e4: 0, -1e4: 0, 1: -0.09085774767294841}),
    "tanh": (F.tanh, {0: 0, 1e4: 0, -1e4: 0}),
    "gelu": (F.gelu, {0: ROOT, 50: 0, -50: 0, 1e30: 0, -1e30: 0}),
    "gelu, tanh": (lambda x: F.gelu(x, "tanh"), {0: ROOT, 50: 0, -50: 0, 1e30: 0, -1e30: 0}),
    "relu": (F.relu, {0: 0, 1: 0}),
    "logsumexp": (lambda x: F.logsumexp(np.stack([x, 0 * x])), {0: 0.25, 1e4: 0, -1e4: 0}),
    "logaddexp": (lambda x: np.logaddexp(x, 0.0), {0: 0.25, 1e4: 0, -1e4: 0, INF: 0, -INF: 0}),
    "logaddexp, right": (lambda x: np.logaddexp(0.0, x), {0: 0.25, -INF: 0}),
    "cross entropy": (
        lambda x: F.cross_entropy(np.stack([x, 0 * x])[None], [1]), {0: 0.25, 1e4: 0, -1e4: 0},
    ),
    "binary cross entropy": (
        lambda x: F.binary_cross_entropy_with_logits(x, np.ones(())), {0: 0.25, 1e4: 0, -1e4: 0},
    ),
    "x ** 0": (lambda x: x**0, {0: 0, 2: 0}),
    "x ** 1": (lambda x: x**1, {0: 0, 2: 0}),
    "x ** 1.0": (lambda x: x**1.0, {0: 0, 2: 0}),
    "x ** 2": (lambda x: x**2, {0: 2, -2: 2}),
    "x ** 2.0": (lambda x: x**2.0, {0: 2, -2: 2}),
    "x ** array(2)": (lambda x: x ** np.array(2.0), {0: 2, -2: 2}),
    "x ** Tensor(2)": (lambda x: x ** Tensor(np.array(2.0), requires_grad=True), {0: 2, 2: 2}),
    "x ** 3": (lambda x: x**3, {0: 0, -2: -12}),
    "x ** 1.5": (lambda x: x**1.5, {0: INF, 4: 0.375}),
    "0 ** x": (lambda x: 0.0**x, {1: 0, 2: 0}),
    "product": (lambda x: np.prod(np.stack([x, x, x + 1])), {0: 2}),
    "clip": (lambda x: np.clip(x, -1, 1) ** 2, {1: 2, -1: 2, 2: 0}),
    "variance": (lambda x: np.var(np.stack([x, -x])), {0: 2, 1: 2}),
    "norm, order 3": (lambda x: np.linalg.norm(np.stack([x, 0 * x + 2.0]), 3), {0: 0}),
    "norm, order 4": (lambda x: np.linalg.norm(np.stack([x, 0 * x + 2.0]), 4), {0: 0}),
    "norm": (lambda x: np.linalg.norm(np.stack([x, 0 * x + 2.0])), {0: 0.5}),
    "norm, squared": (lambda x: np.linalg.norm(np.stack([x, 2 * x])) ** 2, {1: 10, 0: NAN}),
    "norm, order 3, of 0": (lambda x: np.linalg.norm(np.stack([x, x]), 3) ** 2, {0: NAN}),
    "norm of 0": (lambda x: np.linalg.norm(np.stack([x, 2 * x])), {0: NAN}),
    "deviation": (lambda x: np.std(np.stack([x, -x])) ** 2, {1: 2, 0: NAN}),
    "deviation of a constant": (lambda x: np.std(np.stack([x, -x])), {1: 0, 0: NAN}),
    "abs": (np.abs, {1: 0, -2: 0, 0: NAN}),
    "abs, squared": (lambda x: np.abs(x) ** 2, {1: 2, 0: NAN}),
    "softplus by hand": (lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), {0: NAN}),
    "root of a square": (lambda x: np.sqrt(x * x), {1: 0, 0: NAN}),
    "l1": (lambda x: F.l1_loss(x, np.zeros(())), {1: 0, 0: NAN}),
}  # fmt: skip


@pytest.mark.parametrize("name", CURVATURES)
def test_second_derivatives_are_right_or_not_a_number(name):
    function, points = CURVATURES[name]
    for x, right in points.items():
        np.testing.assert_allclose(curvature(function, x), right, rtol=1e-9, atol=1e-12)


def test_the_hessian_of_a_norm_or_deviation_where_it_has_none_is_no_made_up_number():
    for function, x in [
        (np.linalg.norm, np.zeros(2)),
        (lambda t: np.linalg.norm(t) ** 2, np.zeros(2)),
        (lambda t: np.linalg.norm(t, 1.5) ** 2, np.zeros(2)),
        (lambda t: np.linalg.norm(t, axis=0).sum(), np.zeros((2, 2))),
        (np.std, np.ones(3)),
        (lambda t: t.std() ** 2, np.ones(3)),
        (lambda t: t.std(axis=0, ddof=1).sum() ** 2, np.ones((3, 1))),
    ]:
        assert np.isnan(minidl.hessian(function, x)).all()
        t = Tensor(x, requires_grad=True)  # and the slope is what is promised
        np.testing.assert_array_equal(grad(function(t), t), 0)
    right = 2 / 3 * (np.eye(3) - 1 / 3)
    np.testing.assert_allclose(minidl.hessian(np.var, np.ones(3)), right)
    np.testing.assert_allclose(minidl.hessian(lambda t: (t**2).sum(), np.zeros(3)), 2 * np.eye(3))
    h = minidl.hessian(lambda t: t.std() ** 2, np.array([1.0, 2.0, 4.0]))
    np.testing.assert_allclose(h, right, rtol=1e-12)


def test_the_hessian_of_a_batch_norm_of_a_constant_is_that_of_the_formula():
    weights = np.array([[1.0], [-2.0], [0.5]])
    h = minidl.hessian(
        lambda x: (F.batch_norm(x, None, None, training=True, eps=0.25) ** 2 * weights).sum(),
        np.ones((3, 1)),
    )
    center = np.eye(3) - 1 / 3  # y = center @ x / sqrt(var + eps), and y = 0 here
    np.testing.assert_allclose(h, 2 * center @ np.diag(weights[:, 0]) @ center / 0.25, rtol=1e-9)


def test_second_derivatives_of_a_softmax_with_a_mask_are_those_without_what_is_masked():
    x, weights = np.array([0.5, -INF, 1.0, -2.0]), np.array([1.0, 0.0, -3.0, 0.5])
    kept = np.isfinite(x)
    for function in (
        lambda t, w: (F.softmax(t) * w).sum(),
        lambda t, w: F.logsumexp(t),
        lambda t, w: (np.where(w == 0, 0, F.log_softmax(t)) ** 2 * w).sum(),
    ):
        h = minidl.hessian(lambda t, f=function: f(t, weights), x)
        right = minidl.hessian(lambda t, f=function: f(t, weights[kept]), x[kept])
        np.testing.assert_allclose(h[np.ix_(kept, kept)], right, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(h[~kept], 0)


# --- Slopes where a formula would say 0 * inf or inf - inf ----------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [None, 1, 1.5, 2, 3, 4, 0.5, 10, INF, -INF])
def test_norms_of_any_order_have_a_slope_at_zero_and_beside_zeros(dtype, order):
    y, g = value_and_gradient(lambda t: np.linalg.norm(t, order), np.zeros(3, dtype))
    assert y == 0
    np.testing.assert_array_equal(g, 0)
    numbers = [0.0, 3.0, -4.0, 0.0, 1.0]
    y, g = value_and_gradient(lambda t: np.linalg.norm(t, order), np.array(numbers, dtype))
    p = order or 2
    if abs(p) == INF:
        size = (max if p > 0 else min)(abs(n) for n in numbers)
        ties = [abs(n) == size for n in numbers]
        slopes = [tie * np.sign(n) / sum(ties) for n, tie in zip(numbers, ties, strict=True)]
    else:
        size = math.fsum(abs(n) ** p for n in numbers if n) ** (1 / p)
        slopes = [np.sign(n) * (abs(n) / size) ** (p - 1) if n else 0.0 for n in numbers]
    close(y, size, factor=16)
    close(g, slopes, factor=32)
    rows = np.stack([np.zeros(5), numbers]).astype(dtype)
    _, g = value_and_gradient(lambda t: np.linalg.norm(t, order, axis=1, keepdims=True), rows)
    close(g, [[0.0] * 5, slopes], factor=32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [1.5, 3, 0.75])
def test_norms_of_any_order_neither_overflow_nor_vanish(dtype, order):
    limits = np.finfo(dtype)
    for size in (float(limits.max) / 16, float(limits.tiny) * 16):
        x = np.array([size, -size, 0], dtype)
        y, g = value_and_gradient(lambda t: np.linalg.norm(t, order), x)
        close(y, size * 2 ** (1 / order), factor=16)
        slope = 2 ** (1 / order - 1)
        close(g, [slope, -slope, 0.0], factor=32)
    y, _ = value_and_gradient(lambda t: np.linalg.norm(t, 200), np.full(2, 0.5, dtype))
    close(y, 0.5 * 2 ** (1 / 200), factor=16)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logaddexp_of_infinities_is_what_logsumexp_is(dtype):
    for a, b in itertools.product([-INF, INF, 0.0, 3.0], repeat=2):
        pair = Tensor(np.array([a, b], dtype), requires_grad=True)
        x, y = (Tensor(np.array(n, dtype), requires_grad=True) for n in (a, b))
        one, other = np.logaddexp(x, y), F.logsumexp(pair)
        np.testing.assert_allclose(one.data, other.data, rtol=1e-3)
        np.testing.assert_allclose(grad(one, (x, y)), grad(other, pair), rtol=2e-3, atol=1e-7)
    assert grad(np.logaddexp(x, -INF), x) == 1
    assert grad(np.logaddexp(-INF, x), x) == 1


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.25])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_a_class_of_weight_zero_counts_for_nothing_whatever_its_logit(reduction, smoothing, dtype):
    x = np.array([[-INF, 1.0, 2.0], [0.5, 1.0, -1.0], [-INF, 2.0, 0.0]], dtype)
    labels, weight = np.array([0, 1, 2]), np.array([0.0, 2.0, 1.0])
    options = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
    y, g = value_and_gradient(lambda t: F.cross_entropy(t, labels, **options), x)
    rows = []
    for row, label in zip(x.astype(float), labels, strict=True):
        logs = [n - log_of_sum(row) for n in row]
        target = [(1 - smoothing) * (k == label) + smoothing / 3 for k in range(3)]
        pairs = zip(weight, target, logs, strict=True)
        rows.append(-math.fsum(w * t * n for w, t, n in pairs if w * t))
    right = {"none": rows, "sum": math.fsum(rows), "mean": math.fsum(rows) / 3}[reduction]
    close(y, right, factor=16)
    assert np.isfinite(g).all()
    if not smoothing:
        np.testing.assert_array_equal(g[0], 0)


@pytest.mark.parametrize("weight", [[1.0, -1.0], [1.0, math.nan], [1.0, INF], [-0.5, 1.0]])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_class_weights_below_zero_or_not_finite_are_refused_for_what_they_are(weight, reduction):
    bad = int(not weight[0] < 0)
    with pytest.raises(ValueError, match=f"the weight of class {bad} is {weight[bad]}: class weig"):
        F.cross_entropy(np.zeros((2, 2)), [0, 0], weight=weight, reduction=reduction)


# --- An axis without elements ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((3, 0), 1), ((3, 0), -1), ((0, 3), 0), ((2, 0, 3), 1), ((2, 3, 0), 2), ((0,), 0)],
)
def test_softmax_and_its_relatives_along_an_axis_without_elements(shape, axis, dtype):
    x = np.zeros(shape, dtype)
    for function in (F.softmax, F.log_softmax):
        y, g = value_and_gradient(lambda t, f=function: f(t, axis), x)
        assert y.shape == g.shape == shape
        assert function(x, axis).shape == shape
        first = Tensor(x, requires_grad=True)
        d = grad(function(first, axis).sum(), first, create_graph=True)
        assert grad(d.sum(), first, allow_unused=True).shape == shape
    y, g = value_and_gradient(lambda t: F.logsumexp(t, axis), x)
    assert y.shape == x.sum(axis=axis).shape
    np.testing.assert_array_equal(y, -INF)  # the logarithm of a sum of nothing
    assert g.shape == shape
    assert F.logsumexp(x, axis, keepdims=True).shape == x.sum(axis=axis, keepdims=True).shape


def test_logsumexp_over_all_of_nothing_is_minus_infinity():
    y, g = value_and_gradient(lambda t: F.logsumexp(t, None), np.zeros((0, 3)))
    assert y == -INF
    assert g.shape == (0, 3)


# --- Under np.errstate(all="raise") ---------------------------------------------------------------

TINY = [0, 1, -1, 5, -5, 30, -30, 100, -100, 1e3, -1e3, 1e4, -1e4, 1e-4, -1e-4, 1e-20, -1e-20,
        1e-38, 1e-40, -1e-40]  # fmt: skip
BINARY = np.arange(20).reshape(5, 4) % 2
WITHOUT_COMPLAINT = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "softplus": F.softplus,
    "softplus, beta": lambda x: F.softplus(x, 3.0),
    "gelu": F.gelu,
    "gelu, tanh": lambda x: F.gelu(x, "tanh"),
    "softmax": F.softmax,
    "log_softmax": F.log_softmax,
    "logsumexp": F.logsumexp,
    "linear": lambda x: F.linear(x, np.eye(4, dtype=x.dtype)),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "batch_norm, eval": lambda x: F.batch_norm(x, np.zeros(4, x.dtype), np.ones(4, x.dtype)),
    "dropout": lambda x: F.dropout(x, 0.5, rng=0),
    "cross_entropy": lambda x: F.cross_entropy(x, BINARY[:, 0]),
    "cross_entropy, weights": lambda x: F.cross_entropy(x, [0, 1, 2, 3, 0], [0.3, 1e-30, 1, 1]),
    "cross_entropy, smoothed": lambda x: F.cross_entropy(x, BINARY[0][[0, 1, 0, 1, 0]], None,
                                                         label_smoothing=0.1),
    "cross_entropy, ignoring": lambda x: F.cross_entropy(x, BINARY[:, 1], ignore_index=0),
    "binary_cross_entropy_with_logits": lambda x: F.binary_cross_entropy_with_logits(x, BINARY),
    "mse_loss": lambda x: F.mse_loss(np.clip(x, -99, 99), np.zeros((5, 4))),
    "l1_loss": lambda x: F.l1_loss(x, np.zeros((5, 4))),
    "huber_loss": lambda x: F.huber_loss(x, np.zeros((5, 4))),
    "norm": lambda x: np.linalg.norm(x, axis=0),
    "norm, order 3": lambda x: np.linalg.norm(x, 3, axis=0),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("name", WITHOUT_COMPLAINT)
def test_what_vanishes_raises_nothing_even_if_numpy_is_told_to_raise_for_all(name, dtype):
    function = WITHOUT_COMPLAINT[name]
    rng = np.random.default_rng(0)
    for _ in range(6):
        x = rng.permutation(TINY).reshape(5, 4).astype(dtype)
        expected = function(Tensor(x)).data
        with np.errstate(all="raise"):
            y, _ = value_and_gradient(function, x)
            t = Tensor(x, requires_grad=True)
            grad(function(t), t, np.ones(y.shape), create_graph=True)
        np.testing.assert_array_equal(y, expected)


def test_the_functions_leave_numpys_settings_as_they_were():
    with np.errstate(all="raise"):
        before = np.geterr()
        F.cross_entropy(np.zeros((2, 3)), [0, 1])
        with pytest.raises(ValueError, match="of infinity"):
            F.cross_entropy(np.array([[INF, 0.0]]), [0])
        with pytest.raises(ValueError, match="of infinity"):
            F.softmax(np.array([[INF, 0.0]]))
        assert np.geterr() == before


# --- Products along the last axis -----------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3), (2, 1, 4, 3), (0, 4, 3), (2, 0, 3)])
def test_linear_maps_of_any_number_of_axes(shape):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=shape), rng.normal(size=(5, 3))
    g = rng.normal(size=(*shape[:-1], 5))
    for function, weight in [(F.linear, w), (np.matmul, w.T)]:
        a, b = Tensor(x, requires_grad=True), Tensor(weight, requires_grad=True)
        y = function(a, b)
        assert y.shape == g.shape
        np.testing.assert_allclose(y.data, np.einsum("...k,ck->...c", x, w), atol=1e-14)
        for graph in (False, True):
            da, db = grad(y, (a, b), g, create_graph=graph, retain_graph=True)
            da, db = (d.data if graph else d for d in (da, db))
            np.testing.assert_allclose(da, np.einsum("...c,ck->...k", g, w), atol=1e-14)
            rows = g.reshape(-1, 5).T @ x.reshape(-1, 3)
            np.testing.assert_allclose(db, rows if function is F.linear else rows.T, atol=1e-14)


def test_linear_maps_without_features():
    w = Tensor(np.zeros((2, 0)), requires_grad=True)
    y = F.linear(np.zeros((3, 4, 0)), w)
    assert y.shape == (3, 4, 2)
    assert grad(y.sum(), w).shape == (2, 0)
    none = Tensor(np.zeros((0, 3)), requires_grad=True)
    assert F.linear(np.ones((2, 4, 3)), none).shape == (2, 4, 0)


# --- Layers and data ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*DTYPES, "u1", "i1", ">i4", "?"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_linear_takes_numbers_of_any_kind_in_any_layout(kind, layout):
    rng = np.random.default_rng(4)
    layer = nn.Linear(3, 2, rng=0)
    x = laid_out((10 * rng.normal(size=(5, 3))).astype(kind), layout)
    y = layer(x)
    y.sum().backward()
    wide = x.astype(np.float64)
    weight = layer.weight.data.astype(np.float64)
    np.testing.assert_allclose(y.data, wide @ weight.T, rtol=1e-5, atol=1e-5 * np.abs(wide).max())
    np.testing.assert_allclose(layer.weight.grad, [wide.sum(axis=0)] * 2, rtol=1e-5, atol=1e-5)
    assert y.dtype == layer.weight.grad.dtype == np.float32


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 2), (2, 2, 3), (3, 2, 1, 2)])
def test_batch_norm_of_features_of_any_size_and_none_that_varies(dtype, shape):
    rng = np.random.default_rng(5)
    for spread_, mean, layout in itertools.product([0, 1e-4, 1, 50], [0, 1, -500], LAYOUTS):
        x = laid_out((mean + spread_ * rng.normal(size=shape)).astype(dtype), layout)
        y, _ = value_and_gradient(lambda t: F.batch_norm(t, None, None, training=True), x)
        right = np.empty(shape)
        for channel in range(2):
            values = x[:, channel].astype(np.float64)
            deviation = values - values.flat[0]  # exactly, as they are close to each other
            deviation -= math.fsum(deviation.ravel()) / values.size
            variance = math.fsum(n * n for n in deviation.ravel()) / values.size
            right[:, channel] = deviation / math.sqrt(variance + 1e-5)
        # The values are rounded where they are large beside their deviation, in any computation.
        eps = float(np.finfo("<f4" if dtype[1:] == "f2" else dtype).eps)
        rounding = 8 * eps * abs(mean) / math.sqrt(spread_**2 + 1e-5)
        rounding += 8 * float(np.finfo(dtype).eps)
        np.testing.assert_allclose(y, right, atol=rounding, rtol=16 * float(np.finfo(dtype).eps))


def test_batch_norm_keeps_its_digits_at_a_mean_of_ten_million():
    x = np.arange(16, dtype=np.float32).reshape(8, 2) + np.float32(1e7)
    layer = nn.BatchNorm(2)
    y = layer(x).data
    wide = x.astype(np.float64)
    right = (wide - wide.mean(axis=0)) / np.sqrt(wide.var(axis=0) + 1e-5)
    np.testing.assert_allclose(y, right, rtol=1e-5)
    np.testing.assert_allclose(layer.running_var, 0.9 + 0.1 * wide.var(axis=0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_standardize_of_any_size_and_of_features_that_do_not_vary(dtype):
    for x in generated("standardize", dtype, 60, shapes=[(2, 3), (5, 1), (4, 2)]):
        size = float(np.abs(x).max())
        if size > 1e306:
            with contextlib.suppress(ValueError):  # so large that float64 cannot sum them
                assert np.isfinite(data.Standardize().fit_transform(x)).all()
            continue
        if size < 1e-300:
            continue  # a mean of subnormal numbers is rounded to one of them
        z = data.Standardize().fit_transform(x).astype(np.float64)
        for column, scaled in zip(x.T.astype(np.float64), z.T, strict=True):
            if (column == column[0]).all():
                assert (scaled == 0).all()
            else:
                assert abs(scaled.mean()) < 1e-2
                assert abs(scaled.std() - 1) < 1e-2


def test_empty_batches_give_empty_results_or_a_clear_error():
    nothing = np.zeros((0, 4), np.float32)
    model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.ReLU(), nn.Dropout(0.5, rng=0))
    y = model(nothing)
    assert y.shape == (0, 3)
    y.sum().backward()
    assert (model[0].weight.grad == 0).all()
    labels = np.zeros(0, np.int64)
    assert F.cross_entropy(y, labels, reduction="sum").data == 0
    for call in (
        lambda: F.cross_entropy(y, labels),
        lambda: F.mse_loss(y, np.zeros((0, 3))),
        lambda: nn.BatchNorm(4)(nothing),
        lambda: data.DataLoader(nothing, labels),
        lambda: y.mean(),
    ):
        with pytest.raises(ValueError, match=r"not defined|has 0|empty"):
            call()


# --- Every operation of the table -----------------------------------------------------------------

ALL = [sample for samples in SAMPLES.values() for sample in samples]
NO_DICE = [sample for sample in ALL if sample.name != "dropout"]  # draws other numbers in float32


def outputs_and_gradients(sample, inputs):
    """What a sample computes, and the gradients of its floating-point inputs, all as float64."""
    tensors = [
        Tensor(x, requires_grad=True)
        if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in inputs
    ]  # fmt: skip
    y = sample.call(*tensors)
    parts = [p for p in (y if isinstance(y, list | tuple) else [y]) if isinstance(p, Tensor)]
    leaves = [t for t in tensors if isinstance(t, Tensor)]
    found = []
    for part in parts:
        found.append(part.data.astype(np.float64))
        if part.requires_grad:
            weights = np.random.default_rng(0).uniform(0.5, 1, size=part.shape)
            found += grad(part, leaves, weights, retain_graph=True, allow_unused=True)
    return [np.asarray(f, np.float64) for f in found]


def changed(inputs, change):
    return [change(x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in inputs]


@pytest.mark.parametrize("sample", ALL, ids=lambda s: s.name)
def test_every_operation_is_the_same_in_every_layout_and_byte_order(sample):
    for layout in LAYOUTS:
        inputs = changed(sample.inputs, lambda x, how=layout: laid_out(x, how))
        plain = outputs_and_gradients(sample, changed(inputs, lambda x: x.copy(order="C")))
        for order in "<>":
            ordered = changed(
                inputs,
                lambda x, order=order, how=layout: laid_out(x.astype(order + "f8"), how),
            )
            for one, other in zip(plain, outputs_and_gradients(sample, ordered), strict=True):
                np.testing.assert_allclose(other, one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sample", NO_DICE, ids=lambda s: s.name)
def test_every_operation_in_single_precision_is_close_to_that_in_double(sample):
    inputs = changed(sample.inputs, lambda x: x.astype(np.float32))
    wide = outputs_and_gradients(sample, changed(inputs, lambda x: x.astype(np.float64)))
    for one, other in zip(wide, outputs_and_gradients(sample, inputs), strict=True):
        scale = max(1.0, np.abs(one).max(initial=0))
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5 * scale)
