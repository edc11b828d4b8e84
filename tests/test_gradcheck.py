"""The gradient check: it catches planted faults, raises no false alarm, and explains itself."""

import re
import sys

import numpy as np
import pytest
from programs import run_python

import minidl
from minidl import GradcheckError, functional, gradcheck, nn
from minidl.autograd import TABLE
from minidl.gradcheck import samples
from minidl.gradcheck.__main__ import _library, main


def planted(rule, forward=lambda x: x**3):
    """A function with a rule of our choice."""
    function = minidl.differentiable(lambda x: forward(x))
    function.__name__ = "planted"
    minidl.vjp(function, "x", x=rule)
    return function


def random(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


# --- It catches wrong gradients -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "cause"),
    [
        (lambda g, x: g * 3.03 * x**2, "1.01 times"),
        (lambda g, x: g * 37035 * x**2, "12345 times"),
        (lambda g, x: -g * 3 * x**2, "wrong sign"),
        (lambda g, x: (g * 3 * x**2).T, "transposed"),
        (lambda g, x: g * 0 * x, "zero everywhere"),
        (lambda g, x: 3 * x**2, "ignores g"),
        (lambda g, x: g * 3 * x**2 / 16, "16 times too small"),
        (lambda g, x: g * 3 * x**2 * 4, "4 times too large; a factor 1/4"),
        (lambda g, x: g * 3 * x**2 + 0.01, "off by the same"),
        (lambda g, x: np.roll(g * 3 * x**2, 1, 0), "sum over axis 0"),
        (lambda g, x: np.where(np.arange(4) == 0, 0, g * 3 * x**2), "75% of its"),
        (lambda g, x: g * np.nan, "nan"),
        (lambda g, x: np.sqrt(x**4) * 3 * g + 1e-9, "zero gradient of the output"),
    ],
)  # fmt: skip
def test_a_wrong_rule_fails_and_the_message_tells_the_cause(rule, cause):
    with pytest.raises(GradcheckError, match=cause):
        gradcheck(planted(rule), random(0, 4, 4))


def test_the_message_names_function_input_element_and_both_gradients():
    with pytest.raises(GradcheckError) as error:
        gradcheck(
            planted(lambda g, x: 2 * g * 3 * x**2), np.array([[2.0, -1.0]]), names=["weights"]
        )
    message = str(error.value)
    for part in (
        "planted",
        "weights",
        "at (0, 1) is",
        "differences give",
        "relative error 5.0e-01",
    ):
        assert part in message
    report = error.value.report
    assert abs(report.inputs[0].analytic) == pytest.approx(2 * abs(report.inputs[0].numeric))
    assert not report.ok


def test_a_report_of_several_inputs_gives_the_largest_error_and_counts_them_all():
    wrong = minidl.differentiable(lambda a, b: np.abs(a) * b)
    minidl.vjp(
        wrong, "a b", a=lambda g, a, b: g * np.sign(a) * b * 1.25, b=lambda g, a: g * np.abs(a) * 3
    )
    a, b = np.array([0.0, 1.0, 2.0]), np.array([[2.0], [1.5]])
    report = gradcheck(wrong, a, b, max_unjudged=1.0, raise_on_failure=False)
    first, second = report.inputs[:2]
    assert 0 < first.error < second.error == report.error
    assert (first.size, second.size) == (3, 2)
    assert report.size == sum(i.size for i in report.inputs)
    assert report.unjudged == sum(len(i.unjudged) for i in report.inputs) > 0
    assert not report.ok


def test_a_softmax_backward_of_all_zeros_fails():
    """The sum of a softmax is constant: a check that sums the output finds zeros right."""
    softmax = planted(lambda g, y: g * 0 * y, functional.softmax)
    with pytest.raises(GradcheckError, match="zero everywhere"):
        gradcheck(softmax, random(0, 2, 3))


def test_a_fault_in_one_element_of_many_fails():
    def rule(g, x):
        d = 3 * g * x**2
        d[7, 3] *= 1.0001
        return d

    with pytest.raises(GradcheckError, match=r"\(7, 3\)"):
        gradcheck(planted(rule), random(0, 9, 5))


def test_a_weight_gradient_one_percent_off_is_caught():
    @minidl.differentiable
    def linear(x, w):
        return x @ w.T

    minidl.vjp(linear, "x w", x=lambda g, w: g @ w, w=lambda g, x: 1.01 * g.T @ x)
    caught = 0
    for seed in range(20):
        report = gradcheck(
            linear, random(seed, 4, 3), random(seed + 100, 2, 3), rng=seed, raise_on_failure=False
        )
        caught += not report.ok
    assert caught == 20


def test_a_wrong_epsilon_inside_batch_norms_backward_is_caught():
    rule = TABLE[functional.batch_norm].rules["x"]

    @minidl.differentiable
    def batch_norm(x):
        return TABLE[minidl.functional.batch_norm].definition(x, None, None, 1e-5)

    def with_another_epsilon(g, x):
        centered = x - x.mean(axis=0)
        scale = 1 / np.sqrt(x.var(axis=0) + 1e-8)  # the forward pass has 1e-5
        sums = (g.sum(axis=0), (g * centered).sum(axis=0))
        return rule(g, centered, None, scale, sums)

    def right(g, x):
        centered = x - x.mean(axis=0)
        scale = 1 / np.sqrt(x.var(axis=0) + 1e-5)
        return rule(g, centered, None, scale, (g.sum(axis=0), (g * centered).sum(axis=0)))

    caught = 0
    for seed in range(20):
        minidl.vjp(batch_norm, "x", x=with_another_epsilon)
        caught += not gradcheck(batch_norm, random(seed, 8, 3), rng=seed, raise_on_failure=False).ok
        minidl.vjp(batch_norm, "x", x=right)
        assert gradcheck(batch_norm, random(seed, 8, 3), rng=seed).ok
    assert caught >= 19


def test_statistics_treated_as_constants_are_caught():
    bad = planted(
        lambda g, x: g / np.sqrt(x.var(axis=0) + 1e-5),
        lambda x: (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5),
    )
    with pytest.raises(GradcheckError):
        gradcheck(bad, random(0, 5, 2))


def test_a_wrong_second_derivative_is_caught():
    @minidl.differentiable
    def f(x):
        return x**3

    # The right gradient, but as a constant: its own derivative is lost.
    minidl.vjp(f, "x", x=lambda g, x: g * minidl.protocols.plain(3 * x**2))
    assert gradcheck(f, random(0, 3)).ok
    with pytest.raises(GradcheckError, match="order 2"):
        gradcheck(f, random(0, 3), order=2)


# --- It raises no false alarm ---------------------------------------------------------------------


def test_correct_functions_pass_with_200_seeds():
    model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.BatchNorm(3), nn.Tanh())
    for seed in range(200):
        scale = 10.0 ** (seed % 7 - 3)
        x = random(seed, 3, 2)
        assert gradcheck(functional.softmax, x * scale, rng=seed).ok
        assert gradcheck(lambda x, s=scale: np.exp(np.sin(x * s)), x, rng=seed).ok
        assert gradcheck(functional.relu, x, rng=seed).ok
        if seed % 10 == 0:
            assert gradcheck(model, x, rng=seed).ok


def test_functions_with_steep_flat_and_zero_gradients_pass():
    for f, x in [
        (lambda x: np.exp(40 * x), 1.0),
        (lambda x: 1e-12 * x, 1.0),
        (lambda x: x * 0, 1.0),
        (lambda x: np.sin(300 * x), 0.3),
        (lambda x: x + 1e9, 1.0),
        (lambda x: 1 / x, 1e-3),
        (np.sqrt, 1e-4),
        (np.log, 1e6),
    ]:
        assert gradcheck(f, np.array([x])).error < 1e-6


# --- Kinks ----------------------------------------------------------------------------------------


def test_a_kink_is_reported_and_neither_failed_nor_passed_in_silence():
    report = gradcheck(functional.relu, np.array([-1.0, 0.0, 2.0]))
    assert report.inputs[0].unjudged == [(1,)]
    assert "1 at a kink, not judged" in str(report)


def test_near_a_kink_a_smaller_step_decides():
    assert gradcheck(functional.relu, np.array([1e-4, -2e-4, 3e-5])).unjudged == 0


def test_at_a_kink_the_gradient_must_lie_between_the_two_slopes():
    bad = planted(lambda g, x: np.where(x == 0, 1.5 * g, g * (x > 0)), functional.relu)
    with pytest.raises(GradcheckError, match="not between the slopes"):
        gradcheck(bad, np.array([-1.0, 0.0, 2.0]))


def test_too_many_kinks_are_an_error_of_their_own():
    with pytest.raises(GradcheckError, match="3 of 4 elements lie at a kink"):
        gradcheck(functional.relu, np.array([0.0, 0.0, 0.0, 1.0]))
    with pytest.raises(GradcheckError, match="1 of 1 elements lie at a kink"):
        gradcheck(functional.relu, np.zeros(1))
    assert gradcheck(functional.relu, np.zeros(4), max_unjudged=1.0).unjudged == 4
    assert gradcheck(functional.relu, np.array([0.0, 1.0]), max_unjudged=0.5).unjudged == 1


# --- What else it checks --------------------------------------------------------------------------


def test_a_function_that_changes_its_input_fails():
    def f(x):
        y = x * 2
        x.data[0] += 1
        return y

    with pytest.raises(GradcheckError, match=r"inputs are changed|give different"):
        gradcheck(f, np.ones(2))


def test_a_function_that_changes_the_second_of_its_inputs_fails():
    def f(x, w):
        w.data[0] += 1
        return x * w

    with pytest.raises(GradcheckError, match="the inputs are changed by the call"):
        gradcheck(f, np.ones(2), np.ones(2))


def test_a_function_that_is_not_the_same_twice_fails():
    draws = np.random.default_rng(0)
    with pytest.raises(GradcheckError, match="two runs"):
        gradcheck(lambda x: x * draws.random(), np.ones(3))


def test_a_rule_that_writes_into_the_incoming_gradient_fails():
    def rule(g):
        g *= 2
        return g

    with pytest.raises(GradcheckError, match="a rule writes into g"):
        gradcheck(planted(rule, lambda x: x * 2), random(0, 3))


def test_at_a_kink_the_gradient_in_float32_may_be_another_of_those_between():
    def rule(g, x):
        at_zero = 1.0 if x.dtype == np.float32 else 0.0
        return g * np.where(x == 0, at_zero, x > 0)

    for order in (1, 2):
        bent = planted(rule, lambda x: np.maximum(x, 0))
        assert gradcheck(bent, np.array([0.0, 1.0, -2.0]), order=order).ok


def test_random_numbers_may_be_others_in_float32():
    def noisy(x):
        return x * minidl.rng.generator().random(x.shape, x.dtype)

    assert gradcheck(noisy, random(0, 3)).ok


@pytest.mark.parametrize("off", [1e-8, 1e-4])
def test_a_function_that_is_a_little_off_in_another_memory_layout_fails(off):
    def forward(x):
        return x * 2 if x.flags.c_contiguous else x * (2 + off)

    with pytest.raises(GradcheckError, match=r"elements lie in memory .* gives another result"):
        gradcheck(planted(lambda g: g * 2, forward), random(0, 2, 3))


def test_a_function_that_depends_on_memory_layout_fails():
    bad = planted(lambda g, x: g, lambda x: np.array(x.ravel(order="K").reshape(x.shape)))
    with pytest.raises(GradcheckError, match="elements lie in memory"):
        gradcheck(bad, random(0, 2, 3))


def test_a_gradient_of_another_dtype_is_impossible_and_shape_is_checked_in_the_dtype_given():
    report = gradcheck(np.tanh, random(0, 3).astype(np.float32))
    assert report.ok


@pytest.mark.parametrize(
    ("dtype", "change", "message"),
    [
        (np.float32, lambda g: g.astype(np.float64), "a float32 input of shape (3,) is float64"),
        (np.float64, lambda g: g.astype(np.float64), "in float32 the gradient of input 0 is fl"),
        (np.float64, lambda g: g[None], "its gradient has shape (1, 3), and the input (3,)"),
        (np.float32, lambda g: g[None] if g.itemsize == 4 else g, "is float32 of shape (1, 3)"),
    ],
)  # fmt: skip
def test_a_gradient_of_another_dtype_or_shape_would_be_noticed(dtype, change, message, monkeypatch):
    from minidl.gradcheck import problem

    grad = problem.grad
    monkeypatch.setattr(problem, "grad", lambda *a, **options: [*map(change, grad(*a, **options))])
    with pytest.raises(GradcheckError, match=re.escape(message)):
        gradcheck(np.tanh, random(0, 3).astype(dtype))


def test_all_calls_of_a_module_are_alike_whatever_it_counts_or_draws():
    class Counting(nn.Module):
        buffers = ("calls", "others")

        def __init__(self):
            self.calls, self.others = np.zeros(()), np.zeros(())

        def forward(self, x):
            self.calls += 1
            self.others += 1
            return x * self.calls * self.others

    for module in (Counting(), nn.Dropout(0.5, rng=1), nn.Dropout(0.5)):
        assert gradcheck(module, random(0, 5)).ok
        assert gradcheck(nn.Sequential(module), random(0, 5)).ok


def test_modules_are_checked_in_both_modes_with_all_parameters_and_left_as_they_were():
    model = nn.Sequential(nn.Linear(3, 2, rng=0), nn.BatchNorm(2), nn.Dropout(0.5, rng=1))
    before = {k: v.copy() for k, v in model.state_dict().items()}
    state = model[2].rng.bit_generator.state
    report = gradcheck(model, random(0, 5, 3).astype(np.float32))
    names = [i.name for i in report.inputs]
    assert names == [
        f"{mode}: {name}"
        for mode in ("train", "eval")
        for name in ("input 0", "0.weight", "0.bias", "1.weight", "1.bias")
    ]
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    assert model[0].weight.dtype == np.float32
    assert model.training
    assert model[2].rng.bit_generator.state == state


def test_a_module_that_is_wrong_only_in_prediction_mode_fails():
    bad = planted(lambda g: 2 * g, lambda x: x)

    class Layer(nn.Module):
        def forward(self, x):
            return x * 1 if self.training else bad(x)

    with pytest.raises(GradcheckError, match="eval: input 0"):
        gradcheck(Layer(), random(0, 3))


def test_integer_inputs_are_passed_on():
    labels = np.array([0, 2])
    assert len(gradcheck(nn.CrossEntropyLoss(), random(0, 2, 3), labels).inputs) == 2
    assert len(gradcheck(functional.cross_entropy, random(0, 2, 3), labels).inputs) == 1


def test_several_outputs_are_weighted_together():
    assert gradcheck(lambda x: (x * 2, np.exp(x)), random(0, 3), order=2).ok
    bad = planted(lambda g: 3 * g, lambda x: 2 * x)
    with pytest.raises(GradcheckError):
        gradcheck(lambda x: (x * 2, bad(x)), random(0, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gradcheck(np.exp, np.array([1, 2])), TypeError, "nothing to differentiate"),
        (lambda: gradcheck(lambda x: x.data, np.ones(2)), TypeError, "returned a ndarray"),
        (lambda: gradcheck(lambda x: (x, 1.0), np.ones(2)), TypeError, "returned a tuple"),
        (lambda: gradcheck(np.exp, np.ones(2), order=3), ValueError, "order is 1 or 2"),
    ],
)
def test_wrong_calls_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_tensor_of_size_zero_or_without_axes():
    assert gradcheck(np.exp, np.zeros((0, 3))).size == 0
    assert gradcheck(np.exp, np.array(1.0)).size == 1


# --- What one dtype, one call or one pass does not show -------------------------------------------


def in_float32(wrong, right=lambda g, x: g * 3 * x**2):
    """A rule that is another one for float32."""
    return lambda g, x: wrong(g, x) if x.dtype == np.float32 else right(g, x)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda g, x: g * 3.0003 * x**2,
        lambda g, x: -g * 3 * x**2,
        lambda g, x: g * 3 * x**2 + 1e-3,
        lambda g, x: g * np.nan,
        lambda g, x: (g * 3 * x**2).astype(np.float16).astype(np.float32),
        lambda g, x: np.where(np.arange(4) == 3, 0, g * 3 * x**2),
        lambda g, x: g * 3 * ((x + 3e4) - 3e4) ** 2,
    ],
)
def test_a_rule_that_is_wrong_in_float32_only_fails(wrong):
    for seed in range(20):
        bad = planted(in_float32(wrong))
        with pytest.raises(GradcheckError, match="in float32 the gradient of input 0 at"):
            gradcheck(bad, random(seed, 4, 4), rng=seed)
        assert gradcheck(bad, random(seed, 4, 4), rng=seed, also_in=()).ok


def test_a_value_that_is_wrong_in_float32_only_fails():
    f = planted(lambda g, x: g, lambda x: x + (x.dtype == np.float32) * 1e-4)
    with pytest.raises(GradcheckError, match="in float32 the result at"):
        gradcheck(f, random(0, 3))
    two = lambda x: (np.exp(x), f(x))
    with pytest.raises(GradcheckError, match="in float32 the result 1 at"):
        gradcheck(two, random(0, 3))


def test_an_epsilon_that_vanishes_in_float32_and_a_call_that_refuses_it_fail():
    naive = lambda x: np.log((1 + 1e-9 * x) - 1)
    with pytest.raises(GradcheckError, match="in float32 the result at"):
        gradcheck(naive, np.array([1.0, 2.0]), tolerance=1e-3)

    def picky(x):
        if x.dtype != np.float64:
            raise TypeError("float64, please")
        return x * 2

    with pytest.raises(GradcheckError, match=r"raises TypeError: float64, please .* also_in=\(\)"):
        gradcheck(picky, random(0, 3))


def test_a_dtype_that_does_not_hold_the_inputs_is_left_out():
    def finite_only(x):
        if not np.isfinite(x.data if isinstance(x, minidl.Tensor) else x).all():
            raise ValueError("infinite")
        return x * 2

    assert gradcheck(finite_only, np.array([1e6, 2.0]), also_in=(np.float32, np.float16))


def test_numbers_whose_squares_overflow_are_judged_too_and_without_a_warning():
    assert gradcheck(lambda x: x * 1e250, np.array([1.0, -2.0]), also_in=())

    @minidl.differentiable
    def wrong(x):
        return x * 1e250

    minidl.vjp(wrong, "x", x=lambda g: g * 1.01e250)
    with pytest.raises(GradcheckError):
        gradcheck(wrong, np.array([1.0, -2.0]), also_in=())
    del TABLE[wrong]


def test_what_is_infinite_only_where_float32_rounds_to_is_not_judged():
    pole = planted(lambda g, x: g * 1, lambda x: np.where(x == 1, np.inf, x))
    assert gradcheck(pole, np.array([1 + 1e-12, 2.0])).ok


def test_a_second_derivative_that_is_wrong_in_float32_only_fails():
    bad = planted(in_float32(lambda g, x: g * minidl.protocols.plain(3 * x**2)))
    assert gradcheck(bad, random(0, 3)).ok
    with pytest.raises(GradcheckError, match="in float32 the gradient of input 0, order 2"):
        gradcheck(bad, random(0, 3), order=2)


def test_a_module_that_is_wrong_in_float32_only_fails():
    bad = planted(in_float32(lambda g, x: 2.9 * g * x**2))

    class Layer(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(random(1, 3))

        def forward(self, x):
            return bad(x * self.weight)

    with pytest.raises(GradcheckError, match="in float32 the gradient of train: weight"):
        gradcheck(Layer(), random(0, 2, 3))

    class WithBuffer(nn.Module):
        buffers = ("factor",)

        def __init__(self):
            self.factor = np.ones(3)  # which would let all be computed in float64

        def forward(self, x):
            return bad(x * self.factor)

    for layer in (WithBuffer(), nn.Sequential(WithBuffer())):
        with pytest.raises(GradcheckError, match="in float32 the gradient of train: input 0"):
            gradcheck(layer, random(0, 2, 3))


def test_float16_can_be_asked_for():
    bad = planted(lambda g, x: g * (2.5 if x.dtype == np.float16 else 3) * x**2)
    assert gradcheck(bad, random(0, 3)).ok
    with pytest.raises(GradcheckError, match="in float16"):
        gradcheck(bad, random(0, 3), also_in=(np.float32, np.float16))


def test_numbers_that_float32_cannot_hold_are_no_fault_of_the_function():
    for f, x in [
        (lambda x: np.exp(100 * x), 1.0),
        (lambda x: x * 1e38, 10.0),
        (lambda x: x, 1e300),
        (lambda x: x * 1e-60, 1.0),
        (lambda x: np.sin(300 * x), 0.3),
    ]:
        assert gradcheck(f, np.array([x])).ok


def test_a_rule_that_keeps_what_it_computed_first_fails():
    kept = {}

    def rule(g, x):
        return g * kept.setdefault((x.shape, x.dtype), 3 * x**2)

    with pytest.raises(GradcheckError, match="an earlier call with other inputs"):
        gradcheck(planted(rule), random(0, 3))


def test_a_rule_that_keeps_its_result_between_two_passes_fails():
    kept = {}

    def rule(g, y, x):
        return kept.setdefault(y.tobytes(), g * 3 * x**2) if np.any(g) else 0 * x

    with pytest.raises(GradcheckError, match="keeps something"):
        gradcheck(planted(rule), random(0, 3))


def test_a_rule_that_writes_into_its_values_fails():
    def rule(g, y):
        y *= 1.5
        return g * y

    with pytest.raises(GradcheckError, match="second backward pass through the same graph"):
        gradcheck(planted(rule, np.exp), random(0, 3))


def test_a_rule_that_is_not_linear_in_g_fails():
    with pytest.raises(GradcheckError, match="not linear in g"):
        gradcheck(planted(lambda g, x: np.clip(g * 3 * x**2, -1.2, 1.2)), np.full(8, 0.5))


def test_a_definition_of_another_function_fails_at_order_two():
    @minidl.differentiable
    def square(x):
        return x * x, x

    rule = {"x": lambda g, s: 2 * g * s}
    minidl.vjp(square, "x -> s", definition=lambda x: x**3, **rule)
    assert gradcheck(square, np.array([1.0, 2.0])).ok
    with pytest.raises(GradcheckError, match="not of the same function"):
        gradcheck(square, np.array([1.0, 2.0]), order=2)
    minidl.vjp(square, "x -> s", definition=lambda x: x**2, **rule)
    assert gradcheck(square, np.array([1.0, 2.0]), order=2).ok


def test_a_gradient_that_overwrites_what_was_there_fails(monkeypatch):
    from minidl.autograd import Leaf

    receive = Leaf.receive

    def overwrite(self, d):
        self.grad = None
        receive(self, d)

    monkeypatch.setattr(Leaf, "receive", overwrite)
    with pytest.raises(GradcheckError, match=r"two backward\(\) .* leaves in .grad another"):
        gradcheck(np.exp, random(0, 3))


# --- Rounding and infinities ----------------------------------------------------------------------

CONSTANT = {
    "the sum of a softmax": lambda x: functional.softmax(x, 1).sum(axis=1),
    "its logarithm": lambda x: np.log(functional.softmax(x, 1).sum(axis=1)),
    "logsumexp of log_softmax": lambda x: functional.logsumexp(functional.log_softmax(x, 1), 1),
    "x - x + 1": lambda x: x - x + 1,
    "sin² + cos²": lambda x: np.sin(x) ** 2 + np.cos(x) ** 2,
    "the norm of a unit vector": lambda x: np.linalg.norm(x / np.linalg.norm(x)),
    "the mean of what is centred": lambda x: (x - x.mean(axis=0)).mean(axis=0),
    "and that a million times": lambda x: 1e6 * (x - x.mean(axis=0)).sum(),
    "the mean of a normalised batch": lambda x: functional.batch_norm(
        x, None, None, training=True
    ).mean(axis=0),
    "what is left of large numbers": lambda x: (x + 1e4) - 1e4 - x,
}


@pytest.mark.parametrize("name", CONSTANT)
def test_a_function_that_is_constant_up_to_rounding_passes(name):
    for seed in range(20):
        x = random(seed, 3, 2) * 10.0 ** (seed % 4 - 2)
        report = gradcheck(CONSTANT[name], x, rng=seed, order=1 + (seed % 5 == 0))
        assert report.unjudged == 0


@pytest.mark.parametrize("name", CONSTANT)
def test_a_wrong_gradient_of_a_constant_function_fails(name):
    for seed in range(20):
        bad = planted(
            lambda g, x: x * 1e-3 * np.sum(g), lambda x: minidl.protocols.plain(CONSTANT[name](x))
        )
        with pytest.raises(GradcheckError, match="differences give"):
            gradcheck(bad, random(seed, 3, 2), rng=seed)


def test_the_bend_of_a_huber_loss_between_two_points_of_a_difference_is_no_fault():
    for seed in range(50):
        x = random(seed, 3, 2) * 1e-3  # errors of about 1, where the loss bends
        assert gradcheck(lambda x: functional.huber_loss(x, np.ones((3, 2))), x, rng=seed).ok


@pytest.mark.parametrize("f", [np.add, nn.MSELoss()])
@pytest.mark.parametrize("names", [(), ["a"], ["a", "b", "c"]])
def test_names_are_one_for_each_input(f, names):
    with pytest.raises(ValueError, match="names has one for each input, 2"):
        gradcheck(f, np.ones(3), np.ones(3), names=names)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_an_input_that_is_not_finite_is_refused_with_its_place(value):
    x = np.array([[1.0, 2.0], [value, 3.0]])
    with pytest.raises(ValueError, match=rf"scores is {value} at \(1, 0\).* pass finite numbers"):
        gradcheck(np.exp, x, names=["scores"])
    model = nn.Linear(2, 2, rng=0)
    model.weight.data[1, 1] = value
    with pytest.raises(ValueError, match=rf"train: weight is {value} at \(1, 1\)"):
        gradcheck(model, np.ones((3, 2)))
    mask = np.array([True, True, False])
    masked = lambda x: functional.softmax(np.where(mask, x, -np.inf))
    assert gradcheck(masked, random(0, 3)).unjudged == 0


def test_a_result_that_is_not_finite_and_the_edge_of_a_domain_are_named():
    with pytest.raises(GradcheckError, match="1 of 2 elements of the result are infinite"):
        gradcheck(planted(lambda g, x: g, lambda x: np.where(x > 1, np.inf, x)), np.array([1.0, 2]))
    with pytest.raises(GradcheckError, match=r"\(1,\) is at the edge of where the function"):
        gradcheck(lambda x: x**1.5, np.array([1.0, 0.0]))


# --- Axes of length one ---------------------------------------------------------------------------


def in_a_batch_of_one(rule):
    return lambda g, x: g * 3 * x**2 * (1.5 if len(x) == 1 else 1)


def test_a_rule_that_is_wrong_for_a_batch_of_one_only_fails():
    bad = planted(in_a_batch_of_one(None))
    sample = samples.Sample("cube", bad, [random(0, 4, 2)])
    assert gradcheck(bad, *sample.inputs).ok
    shapes = [x.shape for _, (x,) in samples.smaller(sample, 1)]
    assert shapes == [(4, 1), (1, 2), (1, 1)]
    reports = [
        gradcheck(bad, *inputs, raise_on_failure=False) for _, inputs in samples.smaller(sample, 1)
    ]
    assert [report.ok for report in reports] == [True, False, False]


def test_the_command_checks_axes_of_length_one_too(monkeypatch, capsys):
    bad = planted(in_a_batch_of_one(None))
    monkeypatch.setattr(samples, "missing", list)
    monkeypatch.setattr(samples, "SAMPLES", {bad: [samples.Sample("cube", bad, [random(0, 4, 2)])]})
    monkeypatch.setattr(samples, "MODULES", [])
    assert main([]) == 1
    assert "1 operations, 4 calls" in capsys.readouterr().out

    class Layer(nn.Module):
        def forward(self, x):
            return bad(x)

    monkeypatch.setattr(samples, "SAMPLES", {np.exp: [samples.Sample("exp", np.exp, [np.ones(1)])]})
    monkeypatch.setattr(samples, "MODULES", [("Layer()", Layer(), [random(0, 4, 2)])])
    assert main([]) == 1
    assert "2 operations, 3 calls" in capsys.readouterr().out


# --- The command ----------------------------------------------------------------------------------


def test_the_command_checks_a_function_of_ones_own(tmp_path, capsys, monkeypatch):
    (tmp_path / "mine_for_gradcheck.py").write_text(
        "import numpy as np\n"
        "from minidl import differentiable, vjp\n"
        "@differentiable\n"
        "def good(x, w):\n"
        "    return x * w\n"
        "vjp(good, 'x w', x=lambda g, w: g * w, w=lambda g, x: g * x)\n"
        "@differentiable\n"
        "def bad(x):\n"
        "    return x**2\n"
        "vjp(bad, 'x', x=lambda g, x: g * x)\n"
        "bad.samples = [(np.ones(3),)]\n"
        "def broken(x):\n"
        "    raise OSError('no such')\n"
        "@differentiable\n"
        "def bent(x):\n"
        "    return x**3\n"
        "vjp(bent, 'x', x=lambda g, x: g * getattr(3 * x**2, 'data', 3 * x**2))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main(["mine_for_gradcheck:good", "--shapes", "3,4", "4"]) == 0
    assert "1 operations, 1 calls" in capsys.readouterr().out
    assert main(["mine_for_gradcheck:bad"]) == 1
    told = capsys.readouterr().out
    assert "0.5 times" in told
    assert ": 1 failed, 0 not judged" in told
    assert main(["mine_for_gradcheck:broken", "--shapes", "2"]) == 1
    assert "FAILED mine_for_gradcheck:broken: OSError: no such" in capsys.readouterr().out
    for arguments, failed in [([], 1), (["--order", "1"], 0)]:
        assert main(["mine_for_gradcheck:bent", "--shapes", "2", *arguments]) == failed
    with pytest.raises(SystemExit):
        main(["mine_for_gradcheck:good", "--order", "3"])
    capsys.readouterr()
    for argv, message in [
        (["mine_for_gradcheck:good"], "no sample inputs"),
        (["mine_for_gradcheck"], "no colon"),
        (["no_such_module_here:f"], "No module named"),
        (["mine_for_gradcheck:nothing"], "nothing"),
        (["mine_for_gradcheck:good", "--shapes", "x"], "--shapes takes shapes"),
        (["--shapes", "3"], "of your own"),
    ]:
        assert main(argv) == 2
        assert message in capsys.readouterr().err


def test_the_command_runs_as_a_module_without_a_warning():
    arguments = ["-m", "minidl.gradcheck", "numpy:exp", "--shapes", "2,3"]
    run = run_python("-W", "error", *arguments)
    assert run.returncode == 0, run.stderr
    assert "np.exp" not in run.stderr
    assert "0 failed" in run.stdout


def test_the_command_checks_modules_with_a_batch_and_with_one_sample_if_they_take_one():
    checks = [check for check in _library(None) if "nn." in check[0]]
    assert {order for *_, order in checks} == {2}
    found = [(name, len(inputs[0])) for name, _, inputs, _ in checks]
    expected = []
    for name, module, inputs in samples.MODULES:
        expected.append((f"nn.{name}", len(inputs[0])))
        if not samples.needs_a_batch(module):
            expected.append((f"nn.{name}", 1))
    assert found == expected
    assert ("nn.ReLU()", 1) in found
    assert ("nn.BatchNorm(3, eps=1e-05, momentum=0.1)", 1) not in found


def test_the_command_prints_a_row_for_each_function_and_their_sums(tmp_path, capsys, monkeypatch):
    (tmp_path / "rows_for_gradcheck.py").write_text(
        "import numpy as np\n"
        "from minidl import differentiable, vjp\n"
        "def kinky(x):\n"
        "    return np.abs(x)\n"
        "kinky.samples = [(np.array([0.0, 1.0, 2.0]),), (np.ones(2),)]\n"
        "@differentiable\n"
        "def half(x):\n"
        "    return x**2\n"
        "vjp(half, 'x', x=lambda g, x: g * x)\n"
        "half.samples = [(np.zeros(0),), (np.ones(4),)]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    names = [f"rows_for_gradcheck:{name}" for name in ("kinky", "half")]
    assert main([*names, "--order", "1"]) == 1
    title, line, *rows, empty, total, failed, end = capsys.readouterr().out.split("\n")
    assert title.split("  ")[0] == "operation"
    assert set(line) == {"-"}
    assert len(line) >= max(map(len, [title, *rows]))
    kinky, half = (row.split() for row in rows)
    assert kinky[:4] + kinky[5:] == [names[0], "2", "5", "1", "ok"]
    assert float(kinky[4]) < 1e-6
    assert half == [names[1], "2", "4", "5.0e-01", "FAILED"]
    assert total.startswith("2 operations, 4 calls, 9 derivatives in ")
    assert total.endswith(" s: 1 failed, 1 not judged (at a kink)")
    assert failed.startswith(f"FAILED {names[1]}: input 0: the gradient at (")
    assert empty == end == ""


def test_the_command_refuses_a_library_with_an_operation_without_a_sample(monkeypatch, capsys):
    monkeypatch.setattr(samples, "missing", lambda: ["lonely"])
    monkeypatch.setattr(samples, "SAMPLES", {})
    monkeypatch.setattr(samples, "MODULES", [])
    assert main([]) == 2
    assert "without a sample: lonely" in capsys.readouterr().err


def test_a_result_that_is_kept_from_the_first_call_in_float32_fails():
    kept = []

    def rule(g, x):
        if x.dtype == np.float32:
            kept.append(g * 3 * x**2)
            return kept[0]
        return g * 3 * x**2

    with pytest.raises(GradcheckError, match="float32"):
        gradcheck(planted(rule), random(0, 3))
