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

from minidl import Tensor, data, grad, nn
from minidl import functional as F
from minidl.gradcheck.samples import SAMPLES

INF = math.inf
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
        accuracy = 2000 if name == "gelu" and dtype[1:] == "f8" else 8  # of its fitted series
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
                with pytest.raises(ValueError, match=rf"np.{name} .*(no identity|skip empty)"):
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
