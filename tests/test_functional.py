"""The functions: PyTorch's numbers, hard numbers, and everything that is refused.

Values and gradients are held against numbers that PyTorch computed, fused functions against their
definitions. The sections on numerics take inputs for which the textbook formula overflows, divides
by zero or loses all digits; warnings are errors throughout.
"""

import math

import numpy as np
import pytest
from reference import LossCase, losses

import minidl
from minidl import Tensor, functional, grad
from minidl.autograd import TABLE
from minidl.functional import (
    batch_norm,
    binary_cross_entropy_with_logits,
    cross_entropy,
    dropout,
    embedding,
    gelu,
    huber_loss,
    l1_loss,
    layer_norm,
    leaky_relu,
    linear,
    log_softmax,
    logsumexp,
    mse_loss,
    relu,
    scaled_dot_product_attention,
    sigmoid,
    softmax,
    softplus,
    tanh,
)

INF = math.inf
FLOATS = ["float16", "float32", "float64"]
LOSSES = [cross_entropy, binary_cross_entropy_with_logits, mse_loss, l1_loss, huber_loss]
ELEMENTWISE_LOSSES = LOSSES[1:]
ELEMENTWISE = [relu, leaky_relu, sigmoid, tanh, softplus, gelu]


def leaf(values, dtype="float64") -> Tensor:
    return Tensor(np.array(values, dtype), requires_grad=True)


def random(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def value_and_gradient(function, x, *args, **kwargs):
    """The value, and the gradient of its sum by x."""
    y = function(x, *args, **kwargs)
    return y.data, grad(y, x, np.ones(y.shape))


# --- PyTorch's numbers ----------------------------------------------------------------------------


def call(case: LossCase, dtype: str) -> tuple[Tensor, dict[str, Tensor], dict[str, np.ndarray]]:
    """The stored call: its value, the Tensors to differentiate by, and the other arrays."""
    tensors = {name: leaf(case.arrays[name], dtype) for name in case.gradients}
    others = {
        name: array.astype(dtype) if array.dtype.kind == "f" else array
        for name, array in case.arrays.items()
        if name not in tensors
    }
    given = {name: tensors.get(name, others.get(name)) for name in case.arrays}
    function = getattr(functional, case.function)
    if function is batch_norm:
        given = {"running_mean": None, "running_var": None} | given
    return function(given.pop("input"), **given, **case.options), tensors, others


@pytest.mark.parametrize("case", losses(), ids=str)
def test_value_and_gradients_are_those_of_pytorch(case: LossCase) -> None:
    close = {"rtol": 1e-8 if case.note else 1e-10, "atol": 1e-13}
    value, tensors, others = call(case, "float64")
    np.testing.assert_allclose(value.data, case.value, **close)
    value.backward(case.upstream)
    assert tensors
    for name, tensor in tensors.items():
        np.testing.assert_allclose(tensor.grad, case.gradients[name], **close, err_msg=name)
    for name, after in case.after.items():
        np.testing.assert_allclose(others[name], after, **close, err_msg=name)


@pytest.mark.parametrize("case", losses(), ids=str)
def test_float32_stays_float32_and_is_as_good_as_it_can_be(case: LossCase) -> None:
    value, tensors, _ = call(case, "float32")
    assert value.dtype == np.float32
    np.testing.assert_allclose(value.data, case.value, rtol=3e-6, atol=3e-6)
    value.backward(case.upstream)
    for name, tensor in tensors.items():
        assert tensor.grad.dtype == np.float32
        np.testing.assert_allclose(tensor.grad, case.gradients[name], rtol=3e-5, atol=3e-5)


def test_every_loss_and_normalization_has_numbers_of_pytorch() -> None:
    stored = {case.function for case in losses()}
    assert {loss.__name__ for loss in LOSSES} | {"batch_norm", "gelu", "softplus"} <= stored


# --- Fused functions mean what their definitions say ----------------------------------------------

W, B = random(2, 3, seed=1), random(2, seed=2)
FUSED = {
    "linear": (lambda x, w, b: linear(x, w, b), [random(4, 3), W, B]),
    "linear three axes": (lambda x, w, b: linear(x, w, b), [random(2, 4, 3), W, B]),
    "linear one sample": (lambda x, w, b: linear(x, w, b), [random(3), W, B]),
    "linear without bias": (lambda x, w: linear(x, w), [random(4, 3), W]),
    "batch_norm": (
        lambda x, w, b: batch_norm(x, None, None, w, b, training=True, eps=0.1),
        [random(5, 3) * 2 + 1, random(3, seed=1), random(3, seed=2)],
    ),
    "batch_norm images": (
        lambda x, w, b: batch_norm(x, None, None, w, b, training=True),
        [random(4, 3, 2, 2), random(3, seed=1), random(3, seed=2)],
    ),
    "batch_norm without weights": (
        lambda x: batch_norm(x, None, None, training=True),
        [random(5, 3)],
    ),
    "layer_norm": (
        lambda x, w, b: layer_norm(x, 3, w, b, eps=0.1),
        [random(5, 3) * 2 + 1, random(3, seed=1), random(3, seed=2)],
    ),
    "layer_norm two axes": (
        lambda x, w, b: layer_norm(x, (3, 2), w, b),
        [random(2, 4, 3, 2), random(3, 2, seed=1), random(3, 2, seed=2)],
    ),
    "layer_norm without weights": (lambda x: layer_norm(x, 3), [random(5, 3)]),
    "gelu": (gelu, [random(4, 3) * 3]),
    "gelu tanh": (lambda x: gelu(x, "tanh"), [random(4, 3) * 3]),
    "log_softmax": (log_softmax, [random(4, 3)]),
    "log_softmax axis 0": (lambda x: log_softmax(x, 0), [random(4, 3, 2)]),
    "nll": (lambda x: cross_entropy(x, [0, 2, 1, 1]), [random(4, 3)]),
    "nll of each": (lambda x: cross_entropy(x, [0, 2, 1, 1], reduction="none"), [random(4, 3)]),
    "nll weighted": (
        lambda x: cross_entropy(x, [0, 2, 1, 1], weight=[1.0, 0.5, 2.0], reduction="sum"),
        [random(4, 3)],
    ),
}


@pytest.mark.parametrize("name", FUSED)
def test_fused_functions_agree_with_their_definitions(name: str, monkeypatch) -> None:
    function, arrays = FUSED[name]
    inputs = [leaf(array) for array in arrays]
    y = function(*inputs)
    g = random(*y.shape, seed=9)
    operation = y.node.operation
    assert operation.definition is not None

    seen = []

    def watched(**values):
        seen.append(operation_definition(**values))
        return seen[-1]

    operation_definition = operation.definition
    monkeypatch.setattr(operation, "definition", watched)
    by_rule = grad(y, inputs, g, retain_graph=True)
    assert not seen
    by_definition = grad(y, inputs, g, create_graph=True)
    np.testing.assert_allclose(y.data, seen[0].data, rtol=1e-12, atol=1e-14)
    for fast, defined in zip(by_rule, by_definition, strict=True):
        np.testing.assert_allclose(fast, defined.data, rtol=1e-11, atol=1e-13)


def test_every_definition_is_tested_above() -> None:
    defined = {op.name for op in TABLE.values() if op.definition is not None}
    assert {name.split()[0] for name in FUSED} >= defined & {*functional.__all__, "nll"}
    assert {"linear", "batch_norm", "log_softmax", "nll"} <= defined


# --- Every function in every precision ------------------------------------------------------------


def some(function, **options):
    """The function of logits with targets that are class numbers, of which the first is 0."""
    return lambda x: function(x, np.arange(len(x)) * 2 % x.shape[1], **options)


def ones_and_zeros(function, **options):
    return lambda x: function(x, (np.arange(x.size) % 3 == 0).reshape(x.shape), **options)


def near(function, **options):
    """The function of predictions and targets, both of which are differentiated."""
    return lambda x, t: function(x, t, **options)


N = None  # the number of samples, in the shapes below
WEIGHTS = [1.0, 0.5, 2.0, 0.25]
IN_EVERY_PRECISION = {  # the function, the shapes of its inputs
    "relu": (relu, (N, 4)),
    "leaky_relu": (lambda x: leaky_relu(x, 0.1), (N, 4)),
    "sigmoid": (sigmoid, (N, 4)),
    "tanh": (tanh, (N, 4)),
    "softplus": (lambda x: softplus(x, 2.0), (N, 4)),
    "gelu": (gelu, (N, 4)),
    "gelu, tanh": (lambda x: gelu(x, "tanh"), (N, 4)),
    "softmax": (softmax, (N, 4)),
    "softmax, axis 0": (lambda x: softmax(x, 0), (N, 4)),
    "log_softmax": (log_softmax, (N, 4)),
    "log_softmax, axis 0": (lambda x: log_softmax(x, 0), (N, 4)),
    "logsumexp": (logsumexp, (N, 4)),
    "logsumexp, all": (lambda x: logsumexp(x, None), (N, 4)),
    "linear": (linear, (N, 3), (2, 3), (2,)),
    "linear, no bias": (linear, (N, 3), (2, 3)),
    "linear, three axes": (linear, (N, 5, 3), (2, 3), (2,)),
    "batch_norm": (
        lambda x, w, b: batch_norm(x, None, None, w, b, training=True),
        (N, 2, 3), (2,), (2,),
    ),
    "batch_norm, eval": (
        lambda x, w, b: batch_norm(
            x, np.array([0.5, -1.0], x.dtype), np.array([0.25, 4.0], x.dtype), w, b
        ),
        (N, 2), (2,), (2,),
    ),
    "layer_norm": (lambda x, w, b: layer_norm(x, 4, w, b), (N, 3, 4), (4,), (4,)),
    "embedding": (lambda w: embedding(np.array([[0, 2], [0, 0]]), w), (3, 4)),
    "scaled_dot_product_attention": (scaled_dot_product_attention, (N, 3, 2), (N, 4, 2), (4, 3)),
    "scaled_dot_product_attention, causal": (
        lambda q, k, v: scaled_dot_product_attention(q, k, v, causal=True),
        (N, 3, 2), (N, 3, 2), (N, 3, 2),
    ),
    "cross_entropy": (some(cross_entropy), (N, 4)),
    "cross_entropy, sum": (some(cross_entropy, reduction="sum"), (N, 4)),
    "cross_entropy, none": (some(cross_entropy, reduction="none"), (N, 4)),
    "cross_entropy, weights": (some(cross_entropy, weight=WEIGHTS), (N, 4)),
    "cross_entropy, smoothed": (some(cross_entropy, label_smoothing=0.25), (N, 4)),
    "cross_entropy, ignoring 0": (
        some(cross_entropy, ignore_index=0, reduction="sum"), (N, 4),
    ),
    "cross_entropy, all": (
        some(cross_entropy, weight=WEIGHTS, ignore_index=0, label_smoothing=0.25, reduction="sum"),
        (N, 4),
    ),
    "binary_cross_entropy_with_logits": (ones_and_zeros(binary_cross_entropy_with_logits), (N, 4)),
    "binary_cross_entropy_with_logits, weight": (
        ones_and_zeros(binary_cross_entropy_with_logits, pos_weight=3.0, reduction="none"), (N, 4),
    ),
    "mse_loss": (near(mse_loss), (N, 4), (N, 4)),
    "mse_loss, sum": (near(mse_loss, reduction="sum"), (N, 4), (N, 4)),
    "l1_loss": (near(l1_loss), (N, 4), (N, 4)),
    "huber_loss": (near(huber_loss, delta=0.5), (N, 4), (N, 4)),
    "huber_loss, none": (near(huber_loss, reduction="none"), (N, 4), (N, 4)),
    # images
    "conv2d": (
        lambda x, w, b: functional.conv2d(x, w, b, 2, 1), (N, 2, 5, 4), (3, 2, 3, 2), (3,),
    ),
    "conv_transpose2d": (
        lambda x, w, b: functional.conv_transpose2d(x, w, b, 2, 1),
        (N, 2, 3, 3), (2, 3, 3, 2), (3,),
    ),
    "max_pool2d": (lambda x: functional.max_pool2d(x, 2), (N, 2, 5, 4)),
    "avg_pool2d": (lambda x: functional.avg_pool2d(x, 3, 2, 1), (N, 2, 5, 4)),
}  # fmt: skip


@pytest.mark.parametrize("samples", [1, 2, 7])
@pytest.mark.parametrize("name", IN_EVERY_PRECISION)
def test_values_and_gradients_in_every_precision_are_those_in_double(name, samples) -> None:
    function, *shapes = IN_EVERY_PRECISION[name]
    given = [
        random(*(samples if n is N else n for n in shape), seed=10 * samples + i, dtype="float16")
        for i, shape in enumerate(shapes)
    ]

    def results(dtype):
        leaves = [leaf(x, dtype) for x in given]  # the same numbers in each: float16 has them all
        y = function(*leaves)
        g = random(*y.shape, seed=99, dtype="float16").astype(dtype)
        gradients = grad(y, leaves, g, create_graph=True)
        kept = grad(function(*leaves), leaves, g)
        seconds = grad(sum((d * d).sum() for d in gradients), leaves, allow_unused=True)
        assert {a.dtype for a in (y, *gradients, *kept, *seconds)} == {np.dtype(dtype)}
        return [y.data, *(d.data for d in gradients), *kept, *seconds], len(leaves)

    exact, n = results("float64")
    for dtype in ("float32", "float16"):
        eps = np.finfo(dtype).eps
        got, _ = results(dtype)
        for i, (a, b) in enumerate(zip(got, exact, strict=True)):
            allowed = (4 if i <= 2 * n else 40) * eps  # values and gradients, second gradients
            scale = max(1.0, np.abs(b).max(initial=0))
            np.testing.assert_allclose(
                a.astype("float64"), b, rtol=allowed, atol=allowed * scale, err_msg=f"{dtype} {i}"
            )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("samples", [1, 7])
def test_dropout_in_every_precision_keeps_four_thirds_or_nothing(samples: int, dtype: str) -> None:
    x = random(samples, 40, dtype=dtype)  # other dice in double, and so a test of its own
    y, g = value_and_gradient(lambda t: dropout(t, 0.25, rng=0), leaf(x, dtype))
    assert y.dtype == g.dtype == dtype
    assert 0 < np.count_nonzero(g) < g.size
    np.testing.assert_array_equal(g, np.where(y == 0, 0, np.array(4 / 3, dtype)))
    np.testing.assert_array_equal(y, x * g)


def test_every_function_is_held_against_double_above() -> None:
    tested = {name.split(",")[0] for name in IN_EVERY_PRECISION} | {"dropout"}
    assert tested == set(functional.__all__)


# --- Activations ----------------------------------------------------------------------------------


def test_relu_and_leaky_relu_take_the_left_slope_at_zero() -> None:
    x = [-2.0, -0.0, 0.0, 3.0]
    y, g = value_and_gradient(relu, leaf(x))
    np.testing.assert_array_equal(y, [0, 0, 0, 3])
    np.testing.assert_array_equal(g, [0, 0, 0, 1])
    y, g = value_and_gradient(leaky_relu, leaf(x), 0.25)
    np.testing.assert_array_equal(y, [-0.5, 0, 0, 3])
    np.testing.assert_array_equal(g, [0.25, 0.25, 0.25, 1])


def test_sigmoid_keeps_its_digits_in_the_tail() -> None:
    x = np.array([-700.0, -300.0, -50.0, -5.0, 0.0, 5.0, 40.0, 700.0])
    exact = [1 / (1 + math.exp(-v)) if v > 0 else math.exp(v) / (1 + math.exp(v)) for v in x]
    np.testing.assert_allclose(sigmoid(x), exact, rtol=4e-16)
    y, g = value_and_gradient(sigmoid, leaf([-1e30, -1e4, 1e4, 1e30, -INF, INF]))
    np.testing.assert_array_equal(y, [0, 0, 1, 1, 0, 1])
    np.testing.assert_array_equal(g, 0)


def test_softplus_keeps_its_digits_in_the_tail() -> None:
    x = np.array([-700.0, -300.0, -40.0, -1.0, 0.0, 1.0, 40.0, 700.0])
    exact = [math.log1p(math.exp(v)) if v < 30 else v + math.exp(-v) for v in x]
    np.testing.assert_allclose(softplus(x), exact, rtol=4e-16)
    for beta in (0.5, 3.0):
        y, g = value_and_gradient(softplus, leaf(x / beta), beta)
        np.testing.assert_allclose(y, np.array(exact) / beta, rtol=1e-15)
        np.testing.assert_allclose(g, sigmoid(x), rtol=1e-14)
    y, g = value_and_gradient(softplus, leaf([-INF, -1e30, 1e30, INF]))
    np.testing.assert_array_equal(y, [0, 0, 1e30, INF])
    np.testing.assert_array_equal(g, [0, 0, 1, 1])


@pytest.mark.parametrize(
    ("dtype", "low", "rtol"),
    [("float32", -5, 1e-6), ("float32", -12.9, 5e-6), ("float64", -37, 3e-13)],
)
def test_gelu_is_exact_to_the_far_tail(dtype: str, low: float, rtol: float) -> None:
    x = np.linspace(low, 12, 4000).astype(dtype)
    exact = [v * 0.5 * math.erfc(-v / math.sqrt(2)) for v in x.tolist()]
    np.testing.assert_allclose(gelu(x), exact, rtol=rtol)
    _, g = value_and_gradient(gelu, leaf(x, dtype))
    cdf = [0.5 * math.erfc(-v / math.sqrt(2)) for v in x.tolist()]
    pdf = [math.exp(-0.5 * v * v) / math.sqrt(2 * math.pi) for v in x.tolist()]
    atol = 4e-7 if dtype == "float32" else rtol
    np.testing.assert_allclose(g, cdf + x * pdf, rtol=1e-12, atol=atol)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_far_out_is_the_input_or_zero(approximate: str) -> None:
    for dtype, far in [("float16", 6e4), ("float32", 3e38), ("float64", 1e308)]:
        y, g = value_and_gradient(gelu, leaf([-far, -60.0, 60.0, far], dtype), approximate)
        np.testing.assert_array_equal(y, np.array([0, 0, 60, far], dtype))
        np.testing.assert_array_equal(g, [0, 0, 1, 1])


def test_the_tanh_form_of_gelu_follows_its_formula() -> None:
    x = np.linspace(-12, 12, 200)
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    np.testing.assert_allclose(gelu(x, "tanh"), 0.5 * x * (1 + np.tanh(inner)), rtol=1e-14)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("function", [*ELEMENTWISE, softmax, log_softmax, logsumexp])
def test_dtype_is_kept_and_arrays_give_arrays(function, dtype: str) -> None:
    x = np.array([[-1.5, 0.0, 2.0]], dtype)
    y, g = value_and_gradient(function, Tensor(x, requires_grad=True))
    assert (y.dtype, g.dtype) == (x.dtype, x.dtype)
    plain = function(x)
    assert type(plain) is np.ndarray
    np.testing.assert_array_equal(plain, y)
    np.testing.assert_allclose(
        y, function(x.astype("float64")), rtol=5e-3 if dtype == "float16" else 2e-7
    )


@pytest.mark.parametrize("function", [*ELEMENTWISE, softmax, log_softmax, logsumexp])
def test_whole_numbers_give_what_the_same_floats_give(function) -> None:
    np.testing.assert_allclose(function(np.array([-1, 0, 2])), function(np.array([-1.0, 0, 2])))


def test_numpy_scalars_as_settings_do_not_change_the_dtype() -> None:
    x = leaf([1.0, -2.0], "float32")
    half = np.float64(0.5)
    results = [
        leaky_relu(x, half),
        softplus(x, half),
        dropout(x, half, rng=0),
        huber_loss(x, x.data, delta=half),
        cross_entropy(x[None], [0], label_smoothing=half),
        batch_norm(x[:, None], None, None, training=True, eps=half),
        batch_norm(x[:, None], np.zeros(1, "f4"), np.ones(1, "f4"), eps=half),
    ]
    assert [y.dtype for y in results] == [np.float32] * len(results)


@pytest.mark.parametrize("beta", [0, -1.0, INF, math.nan])
def test_softplus_refuses_a_beta_that_is_not_above_zero(beta: float) -> None:
    with pytest.raises(ValueError, match="softplus: beta is a finite number, above 0"):
        softplus(leaf([1.0]), beta)


def test_gelu_refuses_another_approximation() -> None:
    with pytest.raises(ValueError, match="approximate is 'none' or 'tanh', not 'erf'"):
        gelu(leaf([1.0]), "erf")


# --- Softmax and its relatives --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "big"),
    [("float16", 1e4), ("float16", 6.5e4), ("float32", 1e4), ("float32", 3e38), ("float64", 1e308)],
)
def test_softmax_family_with_huge_logits(dtype: str, big: float) -> None:
    for x in ([big, -big, 0], [big, big, -big], [-big, -big, -big]):
        ties = np.equal(x, max(x))
        exact = ties / ties.sum()
        x = leaf(x, dtype)
        rtol = 1e-3 if dtype == "float16" else 1e-6
        np.testing.assert_allclose(softmax(x).data, exact, rtol=rtol)
        np.testing.assert_allclose(log_softmax(x).data[ties], np.log(exact[ties]), rtol=rtol)
        top = float(x.data.max()) + math.log(ties.sum())
        assert logsumexp(x).item() == pytest.approx(top, rel=rtol)
        for function in (softmax, log_softmax, logsumexp):
            assert np.isfinite(value_and_gradient(function, x)[1]).all()
        np.testing.assert_allclose(value_and_gradient(logsumexp, x)[1], exact, rtol=rtol)


def test_log_softmax_loses_no_digits_to_a_common_offset() -> None:
    x = np.array([[0.0, 1.0, -2.0]])
    expected = log_softmax(x)
    for offset in (1e4, -1e4, 1e6):
        moved = leaf(x + offset, "float32")
        np.testing.assert_allclose(log_softmax(moved).data, expected, rtol=3e-7)
        loss = cross_entropy(moved, [1], label_smoothing=0.3)
        exact = cross_entropy(x, [1], label_smoothing=0.3)
        assert loss.item() == pytest.approx(exact.item(), rel=3e-7)


def test_a_logit_of_minus_infinity_is_a_mask() -> None:
    x = leaf([[0.0, -INF, 0.0], [-INF, -INF, 5.0]], "float32")
    y, g = value_and_gradient(softmax, x)
    np.testing.assert_array_equal(y, [[0.5, 0, 0.5], [0, 0, 1]])
    assert np.isfinite(g).all()
    y, g = value_and_gradient(log_softmax, x)
    half = np.log(np.float32(0.5))
    np.testing.assert_allclose(y, [[half, -INF, half], [-INF, -INF, 0]], rtol=1e-6)
    assert np.isfinite(g).all()
    y, g = value_and_gradient(logsumexp, x)
    np.testing.assert_allclose(y, [math.log(2), 5], rtol=1e-6)
    np.testing.assert_allclose(g, [[0.5, 0, 0.5], [0, 0, 1]], rtol=1e-6)
    loss = cross_entropy(x, [2, 2])
    assert loss.item() == pytest.approx(math.log(2) / 2)
    np.testing.assert_allclose(grad(loss, x), [[0.25, 0, -0.25], [0, 0, 0]], atol=1e-7)


def test_second_derivatives_are_finite_with_a_mask() -> None:
    x = leaf([[0.0, -INF, 1.0]])
    for function in (softmax, log_softmax, logsumexp):
        weights = np.where(np.isfinite(function(x.data)), 2.0, 0.0)
        y = np.where(weights == 0, 0, function(x)) * weights
        first = grad((y * y).sum(), x, create_graph=True)
        assert np.isfinite(grad((first * first).sum(), x)).all()


def test_logsumexp_of_nothing_but_minus_infinity_is_minus_infinity() -> None:
    y, g = value_and_gradient(logsumexp, leaf([-INF, -INF]))
    assert y == -INF
    np.testing.assert_array_equal(g, [0, 0])
    assert logsumexp(leaf([INF, 1e4])).item() == INF


@pytest.mark.parametrize("function", [softmax, log_softmax, lambda x: cross_entropy(x, [0, 0])])
def test_softmax_of_nothing_but_minus_infinity_is_refused(function) -> None:
    with pytest.raises(ValueError, match="nothing but -inf is not defined: a mask must leave"):
        function(leaf([[0.0, 1.0], [-INF, -INF]]))


@pytest.mark.parametrize("function", [softmax, log_softmax])
@pytest.mark.parametrize("axis", [0, 1, 2, -3])
@pytest.mark.parametrize(("odd", "message"), [(-INF, "nothing but -inf"), (INF, "of infinity")])
def test_infinite_maxima_are_refused_along_any_axis(function, axis, odd, message) -> None:
    x = random(2, 3, 4)
    np.moveaxis(x, axis, -1)[1, 1] = odd  # one whole line along the axis
    with pytest.raises(ValueError, match=message), np.errstate(invalid="ignore"):
        function(x, axis)
    np.moveaxis(x, axis, -1)[1, 1, 0] = 0.0  # now -inf is a mask
    if odd < 0:
        assert np.isfinite(np.exp(function(x, axis))).all()


def test_nan_logits_stay_visible_and_infinite_ones_are_refused() -> None:
    x = leaf([[math.nan, 0.0]])
    for y in (softmax(x), log_softmax(x), logsumexp(x), cross_entropy(x, [0])):
        assert np.isnan(y.data).any()
    for function in (softmax, log_softmax, lambda x: cross_entropy(x, [0])):
        with pytest.raises(ValueError, match="softmax of infinity is not defined: what gave these"):
            function(leaf([[INF, 0.0]]))


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), None])
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp_takes_any_axes(axis, keepdims: bool) -> None:
    x = random(2, 3, 4)
    y, g = value_and_gradient(logsumexp, leaf(x), axis, keepdims)
    total = np.exp(x).sum(axis=axis, keepdims=True)
    np.testing.assert_allclose(y, np.log(np.exp(x).sum(axis=axis, keepdims=keepdims)))
    np.testing.assert_allclose(g, np.exp(x) / total)


# --- Linear ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["uint8", "int64", "bool", "float16", "float64", ">f4"])
def test_linear_takes_raw_data_in_the_dtype_of_the_weight(data: str) -> None:
    raw = np.array([[0, 1], [1, 1], [1, 0]]).astype(data)
    for dtype in ("float32", "float64"):
        w, b = leaf(random(4, 2), dtype), leaf(random(4), dtype)
        for x in (raw, Tensor(raw)):
            y = linear(x, w, b)
            assert y.dtype == dtype
            np.testing.assert_allclose(y.data, raw.astype(dtype) @ w.data.T + b.data, rtol=1e-6)
            assert grad(y.sum(), w).dtype == dtype
    assert linear([[1, 2]], w).shape == (1, 4)


def test_linear_gives_each_gradient_in_the_dtype_of_its_tensor() -> None:
    x, w, b = leaf(random(5, 3), "float64"), leaf(W, "float32"), leaf(B, "float32")
    linear(x, w, b).sum().backward()
    assert (x.grad.dtype, w.grad.dtype, b.grad.dtype) == (np.float64, np.float32, np.float32)
    np.testing.assert_allclose(w.grad, np.ones((5, 2)).T @ x.data, rtol=1e-6)


def test_linear_takes_an_empty_batch() -> None:
    x, w, b = leaf(np.zeros((0, 3))), leaf(W), leaf(B)
    y = linear(x, w, b)
    assert y.shape == (0, 2)
    y.sum().backward()
    np.testing.assert_array_equal(w.grad, np.zeros((2, 3)))
    np.testing.assert_array_equal(b.grad, np.zeros(2))


@pytest.mark.parametrize("shape", [(5, 4), (5,), (), (2, 8, 8)])
def test_linear_refuses_another_number_of_features(shape) -> None:
    with pytest.raises(ValueError, match=r"3 input features: the last axis of x must be 3 long"):
        linear(np.zeros(shape), leaf(W), leaf(B))
    with pytest.raises(ValueError, match="Flatten"):
        linear(leaf(np.zeros(shape)), leaf(W))


def test_linear_refuses_shapes_that_would_only_broadcast() -> None:
    with pytest.raises(ValueError, match=r"weight has shape \(3,\), expected \(C, K\)"):
        linear(random(4, 3), leaf(random(3)))
    for shape in [(1,), (), (4, 2), (3,)]:
        with pytest.raises(ValueError, match=r"expected \(2,\): one for each row of the weight"):
            linear(random(4, 3), leaf(W), leaf(np.zeros(shape)))


@pytest.mark.parametrize("bad", [np.array([["a", "b", "c"]]), np.array([[1j, 2, 3]])])
def test_linear_refuses_what_is_not_real_numbers(bad) -> None:
    with pytest.raises(TypeError, match="takes real numbers or booleans, not an array of shape"):
        linear(bad, leaf(W))


# --- Batch normalization --------------------------------------------------------------------------


def normalized(x, eps=1e-5):
    """What batch_norm must give, in float64."""
    x = np.asarray(x, "float64")
    axes = (0, *range(2, x.ndim))
    x = x - x.mean(axes, keepdims=True)
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + eps)


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e6, 1e7, -1e7])
@pytest.mark.parametrize("shape", [(512, 3), (32, 3, 4, 4)])
def test_batch_norm_is_exact_for_float32_data_with_a_large_mean(mean: float, shape) -> None:
    x = (random(*shape) * 3 + mean).astype("float32")
    running_mean, running_var = np.zeros(3, "float32"), np.ones(3, "float32")
    t = Tensor(x, requires_grad=True)
    y = batch_norm(t, running_mean, running_var, training=True, momentum=1.0)
    np.testing.assert_allclose(y.data, normalized(x), rtol=1e-5, atol=1e-5)
    axes = (0, *range(2, x.ndim))
    exact = x.astype("float64")
    np.testing.assert_allclose(running_mean, exact.mean(axes), rtol=2e-7, atol=1e-6)
    np.testing.assert_allclose(running_var, exact.var(axes, ddof=1), rtol=1e-5)
    g = random(*shape, seed=1)
    fast = grad(y, t, g.astype("float32"))
    t64 = leaf(exact)
    slow = grad(batch_norm(t64, None, None, training=True), t64, g)
    np.testing.assert_allclose(fast, slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.0, 1e7, 1e-30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_batch_norm_of_a_channel_without_variance_is_its_bias(constant: float, dtype: str) -> None:
    x = random(7, 2, dtype=dtype)
    x[:, 1] = constant
    t, w, b = Tensor(x, requires_grad=True), leaf([2.0, 2.0], dtype), leaf([0.5, 0.5], dtype)
    running_var = np.ones(2, dtype)
    y = batch_norm(t, np.zeros(2, dtype), running_var, w, b, training=True)
    np.testing.assert_allclose(y.data[:, 1], 0.5, rtol=1e-5)
    (y * random(7, 2, seed=1, dtype=dtype)).sum().backward()
    assert all(np.isfinite(p.grad).all() for p in (t, w, b))
    assert running_var[1] == pytest.approx(0.9)


def test_batch_norm_in_float16_does_not_overflow() -> None:
    x = np.linspace(-300, 900, 4000).reshape(-1, 2).astype("float16")
    t = Tensor(x, requires_grad=True)
    y = batch_norm(t, None, None, leaf([1, 2], "float16"), leaf([0, 1], "float16"), training=True)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.data, normalized(x) * [1, 2] + [0, 1], rtol=2e-3, atol=2e-3)
    g = grad(y, t, random(2000, 2))
    assert g.dtype == np.float16
    assert np.isfinite(g).all()


def test_batch_norm_moves_running_statistics_in_training_only() -> None:
    x = random(6, 2) * 2 + 5
    mean, var = np.zeros(2), np.ones(2)
    batch_norm(x, mean, var, training=True, momentum=0.25)
    np.testing.assert_allclose(mean, 0.25 * x.mean(axis=0))
    np.testing.assert_allclose(var, 0.75 + 0.25 * x.var(axis=0, ddof=1))
    before = mean.copy(), var.copy()
    y = batch_norm(x, mean, var, eps=0.5)
    np.testing.assert_allclose(y.data, (x - mean) / np.sqrt(var + 0.5))
    np.testing.assert_array_equal(before, (mean, var))


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1), (0, 3), (4, 3, 0), (0, 3, 2)])
def test_batch_norm_refuses_to_train_on_fewer_than_two_values(shape) -> None:
    n = 0 if 0 in shape else 1
    with pytest.raises(ValueError, match=f"two values per channel .* has {n}: use a larger batch"):
        batch_norm(leaf(np.zeros(shape)), None, None, training=True)
    mean, var = np.zeros(3), np.ones(3)
    assert batch_norm(leaf(np.zeros(shape)), mean, var).shape == shape


def test_batch_norm_trains_on_one_image() -> None:
    x = random(1, 3, 4)
    y = batch_norm(leaf(x), None, None, training=True)
    np.testing.assert_allclose(y.data, normalized(x))


@pytest.mark.parametrize("shape", [(4,), (4, 5), (3, 4), (4, 5, 3)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_refuses_another_number_of_channels(shape, training: bool) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 3\) or \(N, 3, ...\)"):
        batch_norm(leaf(np.zeros(shape)), np.zeros(3), np.ones(3), training=training)


def test_batch_norm_refuses_statistics_and_weights_that_do_not_fit_together() -> None:
    x, mean, var = random(4, 3), np.zeros(3), np.ones(3)
    with pytest.raises(ValueError, match=r"one shape \(C,\), not \(1,\) and \(3,\)"):
        batch_norm(x, mean, np.ones(1))
    with pytest.raises(ValueError, match=r"one shape \(C,\), not \(1,\) and \(3,\)"):
        batch_norm(x, mean, var, leaf([1.0]), training=True)
    with pytest.raises(ValueError, match="outside training it needs running_mean"):
        batch_norm(x, None, None)
    for one in (
        {"running_mean": mean, "running_var": None},
        {"running_mean": None, "running_var": var},
    ):
        with pytest.raises(ValueError, match="go together; one is None"):
            batch_norm(x, **one, training=True)


def test_linear_batch_norm_and_losses_return_tensors_for_plain_arrays_too() -> None:
    x = random(4, 3)
    results = [
        linear(x, W),
        batch_norm(x, None, None, training=True),
        batch_norm(x, np.zeros(3), np.ones(3)),
        cross_entropy(x, [0, 1, 2, 0]),
        cross_entropy(x, [0, 1, 2, 0], label_smoothing=0.1),
        *(
            loss(x, np.zeros((4, 3)), reduction=r)
            for loss in ELEMENTWISE_LOSSES
            for r in ("mean", "none")
        ),
    ]
    assert {type(y) for y in results} == {Tensor}


# --- Dropout --------------------------------------------------------------------------------------


def test_dropout_drops_the_share_p_and_keeps_the_mean() -> None:
    x = np.ones(100_000, "float32")
    for p in (0.1, 0.5, 0.9):
        y = dropout(x, p, rng=0)
        assert set(np.unique(y)) == {np.float32(0), np.float32(1 / (1 - p))}
        assert (y == 0).mean() == pytest.approx(p, abs=0.01)
        assert y.mean() == pytest.approx(1, abs=0.03)


def test_dropout_sends_gradients_where_it_let_values_pass() -> None:
    x = leaf(random(50))
    y, g = value_and_gradient(dropout, x, 0.4, rng=3)
    np.testing.assert_allclose(y, x.data * g)
    assert set(np.unique(g)) == {0.0, 1 / 0.6}


def test_dropout_outside_training_and_with_p_zero_changes_nothing() -> None:
    x = leaf(random(5))
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0) is x
    y, g = value_and_gradient(dropout, x, 1)
    np.testing.assert_array_equal(y, np.zeros(5))
    np.testing.assert_array_equal(g, np.zeros(5))


def test_dropout_is_repeatable_and_leaves_numpys_generator_alone() -> None:
    x = np.ones(1000, "float32")
    before = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(dropout(x, rng=5), dropout(x, rng=5))
    assert (dropout(x, rng=5) != dropout(x, rng=6)).any()
    minidl.seed(1)
    first, second = dropout(x), dropout(x)
    minidl.seed(1)
    np.testing.assert_array_equal(first, dropout(x))
    assert (first != second).any()
    generator = np.random.default_rng(0)
    assert (dropout(x, rng=generator) != dropout(x, rng=generator)).any()
    after = np.random.get_state()  # noqa: NPY002
    assert before[2:] == after[2:]
    np.testing.assert_array_equal(before[1], after[1])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_dropout_drops_what_a_generator_draws_below_p_in_any_dtype(dtype: str) -> None:
    kept = np.random.default_rng(4).random((50, 20), np.float32) >= 0.3
    y = dropout(np.ones((50, 20), dtype), 0.3, rng=4)
    np.testing.assert_allclose(y, kept / 0.7, rtol=1e-3 if dtype == "float16" else 1e-6)


def test_dropout_keeps_dtypes_and_does_not_round_whole_numbers() -> None:
    for dtype in FLOATS:
        assert dropout(np.ones(10, dtype), 0.3).dtype == dtype
    y = dropout(np.full(100, 7), 0.3, rng=0)
    np.testing.assert_allclose(np.unique(y), [0, 10], rtol=1e-6)


@pytest.mark.parametrize("p", [-0.1, 1.5, math.nan, INF])
@pytest.mark.parametrize("training", [True, False])
def test_dropout_refuses_a_p_that_is_no_probability(p: float, training: bool) -> None:
    with pytest.raises(
        ValueError, match="the probability p is a finite number, at least 0 and at most 1"
    ):
        dropout(np.ones(3), p, training)


# --- Cross entropy: numerics ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "big"),
    [("float16", 1e4), ("float32", 1e4), ("float32", 1e30), ("float64", 1e30), ("float64", 1e300)],
)
def test_cross_entropy_of_huge_logits(dtype: str, big: float) -> None:
    x = leaf([[big, -big, 0], [big, big, -big], [0, -big, 0], [big, 0, -big]], dtype)
    loss = cross_entropy(x, [0, 1, 0, 1], reduction="none")
    np.testing.assert_allclose(loss.data, [0, math.log(2), math.log(2), big], rtol=1e-3)
    g = grad(loss, x, np.ones(4))
    np.testing.assert_allclose(
        g, [[0, 0, 0], [0.5, -0.5, 0], [-0.5, 0, 0.5], [1, -1, 0]], atol=1e-7
    )
    smoothed = cross_entropy(x, [0, 1, 0, 1], label_smoothing=0.5)
    assert np.isfinite(smoothed.item()) or dtype == "float16"
    assert np.isfinite(grad(smoothed, x)).all()


def test_a_wrong_masked_target_costs_infinitely_much_without_a_warning() -> None:
    x = leaf([[0.0, -INF], [0.0, 0.0]])
    loss = cross_entropy(x, [1, 0])
    assert loss.item() == INF
    assert np.isfinite(grad(loss, x)).all()


@pytest.mark.parametrize("n", [10, 3000, 80_000])
def test_float16_means_do_not_overflow_with_the_number_of_samples(n: int) -> None:
    x = leaf(np.zeros((n, 2)), "float16")
    target = np.zeros(n, int)
    some = np.where(np.arange(n) % 10 == 0, -100, target)
    for given in (
        {"target": target},
        {"target": some},
        {"target": target, "weight": [3.0, 1.0]},
        {"target": some, "weight": [3.0, 1.0], "label_smoothing": 0.2},
        {"target": target, "label_smoothing": 0.2},
    ):
        loss = cross_entropy(x, **given)
        assert loss.dtype == np.float16
        expected = cross_entropy(x.data.astype("float64"), **given).item()
        assert loss.item() == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ignored_samples_count_for_nothing_whatever_their_logits(smoothing, reduction) -> None:
    good = random(3, 4)
    bad = np.array([[math.nan] * 4, [-INF] * 4, [INF, 0, 0, 0], [-INF, 0, 0, 0], [1e300, 0, 0, 0]])
    x = leaf(np.concatenate([good, bad]))
    target = np.array([1, 2, 3, *[-100] * 5])
    options = {"reduction": reduction, "label_smoothing": smoothing}
    loss = cross_entropy(x, target, **options)
    t = leaf(good)
    expected = cross_entropy(t, target[:3], **options)
    if reduction == "none":
        np.testing.assert_array_equal(loss.data[3:], 0)
        np.testing.assert_allclose(loss.data[:3], expected.data)
    else:
        assert loss.item() == pytest.approx(expected.item())
    g = grad(loss.sum(), x)
    np.testing.assert_allclose(g[:3], grad(expected.sum(), t))
    np.testing.assert_array_equal(g[3:], 0)


def test_a_class_of_weight_zero_may_be_masked() -> None:
    x = leaf([[-INF, 0.0, 0.0], [-INF, 1.0, 0.0]])
    for smoothing in (0.0, 0.1):
        loss = cross_entropy(x, [1, 2], weight=[0, 1, 1], label_smoothing=smoothing)
        assert np.isfinite(loss.item())
        assert np.isfinite(grad(loss, x)).all()


def test_cross_entropy_of_one_class_is_zero() -> None:
    loss = cross_entropy(leaf([[3.0], [-2.0]]), [0, 0])
    assert loss.item() == 0


# --- Cross entropy: targets -----------------------------------------------------------------------

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", ">i4"]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_every_integer_dtype_works_for_labels(dtype: str, shape) -> None:
    target = np.array([2, 0, 1, 1]).reshape(shape)
    x = random(4, 3) if len(shape) == 1 else random(2, 3, 2)
    weights = [1.0, 2.0, 0.5]
    for options in ({}, {"weight": weights}, {"label_smoothing": 0.1}, {"ignore_index": 1}):
        expected = cross_entropy(leaf(x), target, **options).item()
        assert cross_entropy(leaf(x), target.astype(dtype), **options).item() == expected
        assert cross_entropy(leaf(x), Tensor(target.astype(dtype)), **options).item() == expected
    assert cross_entropy(leaf(x), target.tolist()).item() > 0


def test_each_pixel_of_an_image_has_a_class() -> None:
    x = random(2, 3, 4, 5)
    target = np.random.default_rng(0).integers(0, 3, (2, 4, 5))
    losses = cross_entropy(leaf(x), target, reduction="none")
    assert losses.shape == (2, 4, 5)
    for place in np.ndindex(losses.shape):
        n, *pixel = place
        alone = cross_entropy(x[n, :, *pixel][None], target[place][None])
        assert losses[place].item() == pytest.approx(alone.item(), rel=1e-12)


def test_a_mark_may_have_the_bits_of_the_number_behind_the_last_class() -> None:
    loss = cross_entropy(np.zeros((2, 156)), np.array([-100, 1], np.int8))  # in uint8 it is 156
    assert loss.item() == pytest.approx(math.log(156))


def test_255_marks_what_is_to_be_ignored_in_uint8_labels() -> None:
    x = random(3, 2)
    loss = cross_entropy(x, np.array([0, 255, 1], np.uint8), ignore_index=255)
    assert loss.item() == pytest.approx(cross_entropy(x[[0, 2]], [0, 1]).item())


@pytest.mark.parametrize("mark", [0, 1, 2])
def test_a_class_may_be_what_is_to_be_ignored(mark: int) -> None:
    x, target = random(3, 3), np.arange(3)
    others = target != mark
    expected = cross_entropy(x[others], target[others]).item()
    assert cross_entropy(x, target, ignore_index=mark).item() == pytest.approx(expected)


def test_python_lists_serve_as_predictions_and_targets() -> None:
    loss = cross_entropy([[0.0, 0.0]], [1])
    assert loss.item() == pytest.approx(math.log(2))
    assert loss.dtype == np.float32
    for loss in (mse_loss([1, 2], [1, 4]), l1_loss([1, 2], [1, 4])):
        assert loss.item() in (1, 2)
        assert loss.dtype == np.float32


def test_targets_are_not_written_to() -> None:
    target = np.array([0, -100, 1])
    target.flags.writeable = False
    logits = random(3, 2)
    logits.flags.writeable = False
    cross_entropy(logits, target, weight=np.array([1.0, 2.0]), label_smoothing=0.1)
    assert cross_entropy(logits, target).shape == ()


@pytest.mark.parametrize(
    ("shape", "target", "message"),
    [
        ((3, 4), np.eye(4)[:3], "these look one-hot, class numbers are target.argmax"),
        ((3, 4), np.eye(4, dtype=int)[:3], "these look one-hot"),
        ((3, 4), np.zeros((3, 1), int), r"take \(3,\): use target.reshape\(-1\)"),
        ((3, 4), np.zeros((1, 3), int), r"use target.reshape\(-1\)"),
        ((3, 4), np.zeros(2, int), r"targets have shape \(2,\).*shape \(3, 4\) take \(3,\)"),
        ((3, 4), np.zeros(4, int), r"targets have shape \(4,\)"),
        ((3, 4), 0, r"targets have shape \(\)"),
        ((3, 4, 2), np.zeros(3, int), r"take \(3, 2\)"),
        ((3, 4, 2), np.zeros((3, 4), int), r"take \(3, 2\)"),
        ((4,), 1, r"logits of shape \(4,\), expected \(N, C\) or \(N, C, ...\)"),
        ((4,), [0, 1, 2, 3], r"logits of shape \(4,\), expected \(N, C\)"),
        ((), 1, r"logits of shape \(\), expected \(N, C\)"),
        (
            (3, 4),
            [0, 4, 1],
            r"target 4 is out of range.*0 to 3 \(if they count from 1, subtract 1\)",
        ),
        ((3, 4), [1, 4, 3], "if they count from 1"),
        ((3, 4), [0, 7, 1], r"target 7 is out of range: with 4 classes, targets are 0 to 3$"),
        ((3, 4), [0, -1, 1], r"target -1 is out of range"),
        ((3, 4), [0, -100, 9], r"target 9 is out of range"),
        ((2, 4, 2), [[0, 1], [4, 0]], "target 4 is out of range"),
        ((2, 0), [0, 0], "target 0 is out of range: with 0 classes"),
        ((1, 4), np.array([256], ">i2"), "target 256 is out of range"),  # with its bytes turned, 1
    ],
)
def test_cross_entropy_refuses_targets_that_do_not_fit(shape, target, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cross_entropy(leaf(np.zeros(shape)), target)


@pytest.mark.parametrize("target", [[0.0, 1.0], [True, False], Tensor([0, 1]), ["0", "1"]])
def test_cross_entropy_refuses_labels_that_are_not_integers(target) -> None:
    with pytest.raises(TypeError, match=r"must be integers, not .* astype\(np.int64\)"):
        cross_entropy(leaf(np.zeros((2, 3))), target)


def test_cross_entropy_refuses_a_mean_over_nothing() -> None:
    x = leaf(np.zeros((2, 3)))
    nothing = np.array([-100, -100])
    with pytest.raises(ValueError, match="the mean over 2 samples, of which none counts"):
        cross_entropy(x, nothing)
    with pytest.raises(ValueError, match="none counts"):
        cross_entropy(x, [0, 0], weight=[0, 1, 1])
    with pytest.raises(ValueError, match="the mean over 0 samples"):
        cross_entropy(np.zeros((0, 3)), np.zeros(0, int))
    assert cross_entropy(x, nothing, reduction="sum").item() == 0
    np.testing.assert_array_equal(cross_entropy(x, nothing, reduction="none").data, [0, 0])
    empty = leaf(np.zeros((0, 3)))
    total = cross_entropy(empty, np.zeros(0, int), reduction="sum")
    assert total.item() == 0
    assert grad(total, empty).shape == (0, 3)
    assert cross_entropy(empty, np.zeros(0, int), reduction="none").shape == (0,)


@pytest.mark.parametrize("weight", [[1.0, 2.0], [[1.0, 1.0, 1.0]], 2.0, [1.0] * 4])
def test_cross_entropy_refuses_class_weights_of_another_shape(weight) -> None:
    with pytest.raises(ValueError, match=r"expected \(3,\): one weight for each class"):
        cross_entropy(leaf(np.zeros((2, 3))), [0, 1], weight=weight)


def test_cross_entropy_refuses_class_weights_whose_gradient_would_be_lost() -> None:
    with pytest.raises(TypeError, match="gradient would be lost"):
        cross_entropy(leaf(np.zeros((2, 3))), [0, 1], weight=leaf([1.0, 1.0, 1.0]))


def test_label_smoothing_counts_as_a_float_whatever_its_type() -> None:
    x = np.array([[1.0, -2.0, 0.5]])
    for smoothing in (np.float16(0.1), np.float32(0.1)):
        loss = cross_entropy(x, [0], label_smoothing=smoothing)
        assert loss.item() == cross_entropy(x, [0], label_smoothing=float(smoothing)).item()


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, math.nan])
def test_cross_entropy_refuses_a_label_smoothing_that_is_no_share(smoothing: float) -> None:
    with pytest.raises(
        ValueError, match="label_smoothing is a finite number, at least 0 and at most 1"
    ):
        cross_entropy(leaf(np.zeros((2, 3))), [0, 1], label_smoothing=smoothing)


def test_whole_number_logits_and_their_class_weights_are_not_rounded() -> None:
    logits, weight = np.array([[1, 2], [0, 3]]), [0.5, 1.5]
    expected = cross_entropy(logits.astype("float32"), [0, 1], weight)
    assert cross_entropy(logits, [0, 1], weight).item() == expected.item()


# --- The other losses -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["avg", "", None, "batchmean"])
def test_losses_refuse_another_reduction(loss, reduction) -> None:
    target = [0, 1] if loss is cross_entropy else [[0, 1], [1, 1]]
    with pytest.raises(ValueError, match=f"{loss.__name__}: reduction is 'mean', 'sum' or 'none'"):
        loss(leaf(np.zeros((2, 2))), target, reduction=reduction)


@pytest.mark.parametrize("loss", ELEMENTWISE_LOSSES)
@pytest.mark.parametrize(
    ("a", "b"), [((3, 1), (3,)), ((3,), (3, 1)), ((3,), (4,)), ((3,), ()), ((3, 1), (3, 2))]
)
def test_losses_refuse_shapes_that_would_broadcast(loss, a, b) -> None:
    for target in (np.zeros(b), leaf(np.zeros(b)), np.zeros(b).tolist()):
        with pytest.raises(ValueError, match=f"{loss.__name__}: predictions have shape .* reshape"):
            loss(leaf(np.zeros(a)), target)


@pytest.mark.parametrize("loss", ELEMENTWISE_LOSSES)
def test_losses_refuse_a_mean_over_nothing(loss) -> None:
    empty = np.zeros((0, 2))
    with pytest.raises(ValueError, match=f"{loss.__name__}: the mean over no elements"):
        loss(leaf(empty), empty)
    assert loss(leaf(empty), empty, reduction="sum").item() == 0
    assert loss(leaf(empty), empty, reduction="none").shape == (0, 2)


@pytest.mark.parametrize("loss", ELEMENTWISE_LOSSES)
def test_targets_are_taken_in_the_dtype_of_the_predictions(loss) -> None:
    for dtype in FLOATS:
        x = leaf([0.5, 0.25], dtype)
        for target in (np.array([0, 1]), np.array([0.0, 1.0]), [0, 1], np.array([False, True])):
            y = loss(x, target)
            assert y.dtype == dtype
            assert grad(y, x).dtype == dtype


@pytest.mark.parametrize("loss", ELEMENTWISE_LOSSES)
def test_whole_number_predictions_do_not_round_the_targets(loss) -> None:
    target = np.array([0.5, 0.25])
    expected = loss(np.array([1.0, 2.0]), target).item()
    assert loss(np.array([1, 2]), target).item() == pytest.approx(expected)
    assert loss(Tensor(np.array([1, 2])), target).item() == pytest.approx(expected)


@pytest.mark.parametrize("bad", [np.array(["a", "b"]), np.array([1j, 2])])
def test_losses_refuse_targets_that_are_not_real_numbers(bad) -> None:
    with pytest.raises(TypeError, match="takes real numbers"):
        mse_loss(leaf([1.0, 2.0]), bad)


@pytest.mark.parametrize("big", [1e4, 1e30])
def test_binary_cross_entropy_of_huge_logits(big: float) -> None:
    x = leaf([big, big, -big, -big, 0], "float32")
    loss = binary_cross_entropy_with_logits(x, [1, 0, 1, 0, 0.5], reduction="none")
    np.testing.assert_allclose(loss.data, [0, big, big, 0, math.log(2)], rtol=1e-6)
    np.testing.assert_array_equal(grad(loss, x, np.ones(5)), [0, 1, -1, 0, 0])


def test_binary_cross_entropy_keeps_its_digits_in_the_tail() -> None:
    x = np.array([20.0, 50.0, 300.0, 700.0])
    right = binary_cross_entropy_with_logits(x, np.ones(4), reduction="none")
    np.testing.assert_allclose(right.data, np.exp(-x) / (1 + 0.5 * np.exp(-x)), rtol=1e-15)
    left = binary_cross_entropy_with_logits(-x, np.zeros(4), reduction="none")
    np.testing.assert_array_equal(left.data, right.data)
    weighted = binary_cross_entropy_with_logits(x, np.ones(4), pos_weight=3.0, reduction="none")
    np.testing.assert_allclose(weighted.data, 3 * right.data, rtol=1e-15)


@pytest.mark.parametrize("target", [[-0.1, 1.0], [0.0, 1.5], [math.nan, 1.0], [1, 2], [-1, 1]])
def test_binary_cross_entropy_refuses_targets_that_are_no_probabilities(target) -> None:
    with pytest.raises(ValueError, match="targets are from 0 to 1, got"):
        binary_cross_entropy_with_logits(leaf([0.0, 0.0]), target)


def test_binary_cross_entropy_takes_a_positive_weight_that_broadcasts() -> None:
    x, t = leaf(random(4, 3)), (random(4, 3, seed=1) > 0).astype(float)
    plain = binary_cross_entropy_with_logits(x, t, reduction="none").data
    for weight in (2.0, [1.0, 2.0, 3.0], np.ones((4, 1)), leaf([2.0, 2.0, 2.0])):
        y = binary_cross_entropy_with_logits(x, t, weight, reduction="none").data
        times = weight.data if isinstance(weight, Tensor) else np.asarray(weight)
        np.testing.assert_allclose(y, np.where(t == 1, plain * times, plain))
    for shape in [(2, 4, 3), (1, 1, 1)]:
        with pytest.raises(
            ValueError, match=r"must broadcast to the shape of the logits, \(4, 3\)"
        ):
            binary_cross_entropy_with_logits(x, t, np.ones(shape))


def test_l1_and_huber_take_huge_errors() -> None:
    x = leaf([1e30, -1e30], "float32")
    y, g = value_and_gradient(l1_loss, x, [0, 0], reduction="none")
    np.testing.assert_allclose(y, [1e30, 1e30], rtol=1e-6)
    np.testing.assert_array_equal(g, [1, -1])
    y, g = value_and_gradient(huber_loss, x, [0, 0], reduction="none", delta=2.0)
    np.testing.assert_allclose(y, [2e30, 2e30], rtol=1e-6)
    np.testing.assert_array_equal(g, [2, -2])


def test_huber_is_smooth_where_the_parabola_becomes_a_line() -> None:
    for delta in (0.5, 1.0, 3.0):
        x = leaf([-delta, delta, 0.0])
        y, g = value_and_gradient(huber_loss, x, [0, 0, 0], reduction="none", delta=delta)
        np.testing.assert_allclose(y, [0.5 * delta**2, 0.5 * delta**2, 0])
        np.testing.assert_allclose(g, [-delta, delta, 0])
    y, _ = value_and_gradient(huber_loss, leaf([1e3]), [0], delta=INF)
    assert y == 0.5e6


@pytest.mark.parametrize("delta", [0, -1.0, math.nan])
def test_huber_refuses_a_delta_that_is_not_above_zero(delta: float) -> None:
    with pytest.raises(ValueError, match="huber_loss: delta is a number, above 0"):
        huber_loss(leaf([1.0]), [0.0], delta=delta)


def test_targets_that_require_a_gradient_receive_it() -> None:
    for loss in ELEMENTWISE_LOSSES:
        x, t = leaf([0.3, 0.9]), leaf([0.5, 0.2])
        loss(x, t).backward()
        assert np.abs(t.grad).min() > 0


def test_gradients_flow_back_through_a_change_of_dtype():
    x = Tensor(np.random.default_rng(0).normal(size=(5, 3)), requires_grad=True)  # float64
    w = Tensor(np.ones(3, np.float32), requires_grad=True)
    functional.batch_norm(x, None, None, w, training=True)[0].sum().backward()
    assert x.grad.dtype == np.float64
    assert np.any(x.grad != 0)
    t = Tensor(np.zeros(3), requires_grad=True)  # float64
    functional.mse_loss(Tensor([1.0, 2.0, 3.0]), t, "sum").backward()
    np.testing.assert_array_equal(t.grad, [-2, -4, -6])


@pytest.mark.parametrize("given", ["weight", "bias", "statistics"])
def test_batch_norm_takes_its_input_in_the_dtype_of_what_it_has(given) -> None:
    values = np.ones(2, np.float32)
    mean, var = (values, values) if given == "statistics" else (None, None)
    weight = Tensor(values) if given == "weight" else None
    bias = Tensor(values) if given == "bias" else None
    x = np.random.default_rng(0).normal(size=(4, 2))
    assert functional.batch_norm(x, mean, var, weight, bias, training=True).dtype == np.float32


def test_batch_norm_of_whole_numbers_is_not_cut_to_whole_numbers() -> None:
    y = minidl.functional.batch_norm(np.array([[1], [3], [4]]), None, None, training=True)
    np.testing.assert_allclose(y.data[:, 0], [-1.3363, 0.2673, 1.069], atol=1e-3)


def test_linear_takes_lists_for_weights() -> None:
    y = minidl.functional.linear(np.ones((2, 3), np.float32), [[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(y.data, [[6], [6]])
    with pytest.raises(TypeError, match="not None"):
        minidl.functional.linear(np.ones((2, 3)), None)
