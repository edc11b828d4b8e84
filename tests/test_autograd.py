"""The graph and the walk: order, ownership, memory, modes, gradients of gradients."""

import asyncio
import functools
import gc
import inspect
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from programs import printed_by

import minidl
from minidl import Tensor, grad, nn, no_grad
from minidl.autograd import Node
from minidl.hessian import hessian, hessian_vector_product
from minidl.modes import Watcher, is_recording, recording, watched_by
from minidl.tensor import apply


def leaf(*values):
    return Tensor(np.array(values, np.float64), requires_grad=True)


# --- Backward -------------------------------------------------------------------------------------


def test_gradients_of_all_paths_add_up():
    x = leaf(2.0)
    y = x * x
    (y * y + y + x).sum().backward()  # x^4 + x^2 + x
    assert x.grad == pytest.approx(4 * 8 + 4 + 1)


def test_a_second_backward_adds_to_the_gradient():
    x = leaf(3.0)
    for _ in range(2):
        (x * x).sum().backward()
    assert x.grad == 12


def test_doubling_a_hundred_times_visits_each_node_once():
    x = leaf(1.0)
    y = x
    for _ in range(100):
        y = y + y
    y.sum().backward()
    assert x.grad == 2.0**100


def test_a_chain_of_100000_operations_works():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    y.sum().backward()
    assert x.grad == 1
    y = x
    for _ in range(100_000):
        y = y + 1.0
    del y  # dropped without a backward: no recursion there either


def test_a_result_used_before_and_after_another_waits_for_all_its_gradients():
    x = leaf(1.0)
    a = x * 2
    b = a * 3
    c = b + a  # a is used by an old and by a young node
    (c * b).sum().backward()  # (6x + 2x) 6x = 48 x^2
    assert x.grad == 96


def test_gradient_of_a_leaf_is_its_own_memory():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    given = np.ones(2)
    (a + b).backward(given)
    assert not np.shares_memory(a.grad, b.grad)
    assert not np.shares_memory(a.grad, given)
    a.grad *= 5
    np.testing.assert_array_equal(b.grad, [1, 1])
    np.testing.assert_array_equal(given, [1, 1])


def test_gradient_of_a_leaf_that_is_the_result_itself():
    x = leaf(1.0)
    given = np.array([7.0])
    x.backward(given)
    assert x.grad == 7
    assert not np.shares_memory(x.grad, given)


def test_gradient_has_shape_and_dtype_of_its_leaf():
    a = Tensor(np.ones((3, 1), np.float32), requires_grad=True)
    b = Tensor(np.ones((2, 1, 4), np.float64), requires_grad=True)
    (a * b).sum().backward()
    assert (a.grad.shape, a.grad.dtype) == ((3, 1), np.float32)
    assert (b.grad.shape, b.grad.dtype) == ((2, 1, 4), np.float64)
    assert a.grad.flags.writeable
    assert b.grad.flags.writeable


def test_rules_of_inputs_that_need_no_gradient_are_not_run():
    calls = []

    @minidl.differentiable
    def product(a, b):
        return a * b

    minidl.vjp(product, "a b", a=lambda g, b: g * b, b=lambda g, a: calls.append("b") or g * a)
    a = leaf(2.0)
    product(a, Tensor([3.0])).sum().backward()
    assert a.grad == 3
    assert calls == []


def test_a_node_keeps_only_what_the_rules_that_will_run_name():
    a, b = Tensor(np.ones(3)), leaf(1.0, 2.0, 3.0)
    node = (a * b).node
    assert list(node.kept) == ["a"]  # not b, and not y
    assert (a + b).node.kept == {}


def test_common_is_computed_once_for_all_rules():
    calls = []

    @minidl.differentiable
    def f(a, b):
        return a + b

    minidl.vjp(
        f,
        "a b",
        a=lambda common: common,
        b=lambda common: 2 * common,
        common=lambda g: calls.append(1) or g,
    )
    a, b = leaf(1.0), leaf(1.0)
    f(a, b).sum().backward()
    assert (a.grad, b.grad, calls) == (1, 2, [1])


def test_what_a_rule_names_first_is_kept_also_if_that_is_not_g():
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(5, 2)), Tensor(np.array([1.0, 2.0]), requires_grad=True)
    y = minidl.functional.batch_norm(x, None, None, weight, None, training=True)
    (y * x).sum().backward()  # the rule of the weight alone runs, which takes (scale, common)
    normalized = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    np.testing.assert_allclose(weight.grad, (normalized * x).sum(0))

    @minidl.differentiable
    def offset(a, b):
        return a + b

    minidl.vjp(offset, "a b", a=lambda b, common: common + 0 * b, common=lambda g: g)
    a = leaf(1.0)
    offset(a, 2.0).sum().backward()
    assert a.grad == 1


def test_what_common_names_is_kept_for_rules_that_do_not_name_it():
    @minidl.differentiable
    def f(a, b, c):
        return a * b * c

    minidl.vjp(f, "a b c", a=lambda g, b, c: g * b * c, b=lambda common: common,
               common=lambda g, a, c: g * a * c)  # fmt: skip
    b = leaf(3.0)
    y = f(2.0, b, 5.0)
    assert sorted(y.node.kept) == ["a", "c"]
    y.backward(np.ones(1))
    assert b.grad == 10


def test_second_backward_through_a_freed_graph_is_an_error():
    x = leaf(1.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_retain_graph_keeps_the_graph():
    x = leaf(3.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad == 12


def test_backward_on_more_than_one_element_needs_a_gradient():
    with pytest.raises(ValueError, match=r"shape \(2,\) needs a place to begin"):
        (leaf(1.0, 2.0) * 2).backward()


def test_backward_with_a_gradient_of_another_shape_is_an_error():
    with pytest.raises(ValueError, match=r"shape \(2, 1\), and the Tensor \(2,\)"):
        (leaf(1.0, 2.0) * 2).backward(np.ones((2, 1)))


def test_backward_without_anything_to_differentiate_is_an_error():
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        Tensor([1.0]).backward()


@pytest.mark.parametrize("data", [np.array([1, 2]), np.array([True])])
def test_integers_and_booleans_cannot_require_a_gradient(data):
    with pytest.raises(TypeError, match="only floating-point"):
        Tensor(data, requires_grad=True)


def test_a_gradient_given_as_a_number_a_list_or_a_tensor():
    for given in (2.0, [2.0], Tensor([2.0]), np.array([2])):
        x = leaf(1.0)
        y = x * 3 if np.ndim(getattr(given, "data", given)) else (x * 3).sum()
        y.backward(given)
        assert x.grad == 6


# --- What a row of the table may say --------------------------------------------------------------


@minidl.differentiable
def area(x, y):
    return x * y


def test_a_parameter_with_a_reserved_name_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"'y' is a parameter .* the result: write y_ for the par"):
        minidl.vjp(area, "x y", x=lambda g, y: g * y, y=lambda g, x: g * x)


@pytest.mark.parametrize("name", ["g", "y", "shape", "common", "forward"])
def test_a_reserved_name_works_with_an_underscore_and_calls_keep_the_functions_own(name):
    made = {}
    exec(
        f"def f(x, {name}): return x * {name} ** 2\n"
        f"rules = dict(x=lambda g, {name}_: g * {name}_ ** 2,"
        f" {name}_=lambda g, x, {name}_: g * x * 2 * {name}_)\n"
        f"definition = lambda x, {name}: x * {name} * {name}",
        made,
    )
    f = minidl.differentiable(made["f"])
    with pytest.raises(ValueError, match=f"write {name}_ for the parameter"):
        minidl.vjp(f, f"x {name}", **{"x": lambda g: g, name: lambda g: g})
    for definition in (None, made["definition"]):
        minidl.vjp(f, f"x {name}_", definition=definition, **made["rules"])
        for call in (lambda a, b: f(a, b), lambda a, b: f(a, **{name: b}),
                     lambda a, b: f(**{name: b, "x": a})):  # fmt: skip
            a, b = leaf(2.0), leaf(5.0)
            call(a, b).sum().backward()
            assert (a.grad, b.grad) == (25, 20)
            assert grad(grad(call(a, b), b, create_graph=True), b) == 4
    with pytest.raises(TypeError, match=rf"takes \(x, {name}\), not {name}_="):
        f(leaf(1.0), **{f"{name}_": leaf(1.0)})
    with pytest.raises(TypeError, match=f"missing its argument '{name}'"):
        f(leaf(1.0))


@pytest.mark.parametrize("name", ["g", "y", "shape"])
@pytest.mark.parametrize("which", ["x", "w"])
def test_a_reserved_name_that_one_rule_of_two_names_is_refused(name, which):
    made = {}
    exec(
        f"def f(x, w, {name}): return x * w * {name}\n"
        f"rules = {{'x': lambda w: w, 'w': lambda x: x, {which!r}: lambda {name}: {name}}}",
        made,
    )
    with pytest.raises(ValueError, match=f"write {name}_ for the parameter"):
        minidl.vjp(made["f"], f"x w {name}", **made["rules"])


def test_a_reserved_name_that_no_rule_names_is_an_ordinary_parameter():
    @minidl.differentiable
    def scaled(x, out=None):
        return 3 * x

    minidl.vjp(scaled, "x out=None", x=lambda g: 3 * g)
    x = leaf(1.0)
    scaled(x).sum().backward()
    assert x.grad == 3


def product(a, b, scale=1.0):
    return a * b * scale


def keyword_only(a, *, b):
    return a * b


def with_b(b=3.0):
    return lambda g, b=b: g * b


@pytest.mark.parametrize(
    ("function", "spec", "rules", "message"),
    [
        (product, "b a", {"a": lambda g, b: g * b}, r"takes \(a, b, scale\), and a spec lists"),
        (product, "a c", {"a": lambda g, c: g * c}, r"takes \(a, b, scale\)"),
        (product, "a", {"a": lambda g: g}, "only parameters with defaults may be left out"),
        (product, "a b scale more", {"a": lambda g: g}, r"takes \(a, b, scale\)"),
        (product, "a b scale=2.0", {"a": lambda g: g}, r"scale=2.0 and the function scale=1.0"),
        (product, "a a", {"a": lambda g: g}, "stands twice"),
        (product, "a, b", {"b": lambda g: g}, r"'a,' is not a name"),
        (product, "a b scale = 1.0", {"a": lambda g: g}, "without spaces"),
        (product, "a b scale=np.inf", {"a": lambda g: g}, "default 'np.inf' is not a number"),
        (product, "a b", {}, "a rule for nothing"),
        (product, "a b", {"c": lambda g: g}, r"a rule for \['c'\]"),
        (product, "a b", {"a": lambda g, z: g}, "a rule names 'z'"),
        (product, "a b", {"a": lambda b, g: g / b}, "g comes first"),
        (product, "a b", {"a": lambda g, out: g}, "names 'out', which is neither"),
        (product, "a b -> c", {"a": lambda g, c: g * c}, "c, know only its value: a definition="),
        (product, "a b -> c c", {"a": lambda g: g}, "stands twice"),
        (product, "a b -> c,", {"a": lambda g: g}, r"'c,' is not a name"),
        (product, "a b", {"a": with_b()}, "without .* defaults"),
        (product, "a b", {"a": lambda *args: args[0]}, r"without \*"),
        (product, "a b", {"a": lambda g, **values: g}, r"without \*"),
        (product, "a b", {"a": lambda g, *, b: g * b}, r"without \*"),
        (product, "a b", {"a": lambda common: common}, "there is no common="),
        (keyword_only, "a b", {"a": lambda g, b: g * b}, "b by keyword only"),
        (keyword_only, "a", {"a": lambda g: g}, "b by keyword only"),
        (np.logaddexp2, "a b c", {"a": lambda g: g}, "takes 2 arrays, not 3"),
        (np.nansum, "axis a", {"a": lambda g: g}, r"takes \(a, axis, "),
    ],
)  # fmt: skip
def test_a_row_that_does_not_fit_its_function_is_refused_by_vjp(function, spec, rules, message):
    if not (getattr(function, "__module__", None) or "numpy").startswith("numpy"):
        function = minidl.differentiable(function)
    with pytest.raises(ValueError, match=message):
        minidl.vjp(function, spec, **rules)
    assert function not in minidl.autograd.TABLE


def test_a_plain_function_is_refused_since_nobody_would_ask_for_its_rules():
    def double(x):
        return 2 * x

    with pytest.raises(ValueError, match=r"put @minidl\.differentiable above it"):
        minidl.vjp(double, "x", x=lambda g: 2 * g)
    minidl.vjp(double, "x", x=lambda g: 2 * g, forward=double)
    x = leaf(3.0)
    apply(double, x).backward()
    assert x.grad == 2


@pytest.mark.parametrize(
    ("result", "spec", "message"),
    [
        (None, "x", r"f returned None, and its spec asks for one array: does it lack a return"),
        ((1.0, 2.0), "x", r"f returned a tuple of 2, and its spec asks for one array"),
        (None, "x -> s", r"returned None, and its spec asks for a tuple \(result, s\)"),
        (np.ones(2), "x -> s", r"returned a ndarray, and its spec asks for a tuple \(result, s\)"),
        ((np.ones(2),), "x -> s", r"returned a tuple of 1, .* a tuple \(result, s\)"),
        ((np.ones(2),) * 3, "x -> s", r"returned a tuple of 3, .* a tuple \(result, s\)"),
        (Tensor([1.0]), "x", "returned a Tensor"),
    ],
)
def test_a_function_that_returns_something_else_than_its_spec_says_is_named(result, spec, message):
    @minidl.differentiable
    def f(x):
        return result

    minidl.vjp(f, spec, x=lambda g: g, definition=(lambda x: x * 1) if "->" in spec else None)
    with pytest.raises(TypeError, match=message):
        f(leaf(1.0, 2.0))


def test_apply_of_what_is_not_in_the_table_or_with_too_few_values_says_so():
    with pytest.raises(TypeError, match=r"^sorted has no derivative rule: give it one with"):
        apply(sorted, leaf(1.0))
    with pytest.raises(TypeError, match=r"of its row, \(a, b\), and got 1 values"):
        apply(np.add, leaf(1.0))
    with pytest.raises(TypeError, match=r"of its row, \(a, b\), and got 3 values"):
        apply(np.add, leaf(1.0), 2.0, 3.0)


def test_a_watcher_is_an_object_and_not_its_class():
    with pytest.raises(TypeError, match="an object and not its class"):
        watched_by(Watcher)


def test_a_function_may_leave_more_than_its_result_for_its_rules():
    calls = []

    @minidl.differentiable
    def cube(x):
        calls.append("square")
        return x**3, x**2

    minidl.vjp(
        cube, "x -> square", x=lambda g, square: g * 3 * square, definition=lambda x: x * x * x
    )
    x = leaf(2.0, -1.0)
    y = cube(x)
    np.testing.assert_array_equal(y.data, [8, -1])
    assert sorted(y.node.kept) == ["square", "x"]  # x for the definition
    (dx,) = grad(y.sum(), [x], create_graph=True)
    np.testing.assert_array_equal(dx.data, [12, 3])
    np.testing.assert_array_equal(grad(dx.sum(), x), [12, -6])
    assert calls == ["square"]
    y = cube(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [12, 3])


def test_what_a_function_leaves_under_the_name_of_a_parameter_is_kept_in_its_place():
    @minidl.differentiable
    def spread(x):  # the same wherever x is
        centered = x - x.mean()
        return (centered**2).sum(), centered

    minidl.vjp(
        spread, "x -> x", x=lambda g, x: g * 2 * x, definition=lambda x: ((x - x.mean()) ** 2).sum()
    )
    x = leaf(100.0, 102.0)
    y = spread(x)
    np.testing.assert_array_equal(y.node.kept["x"], [-1, 1])
    assert list(y.node.kept) == ["x"]
    np.testing.assert_array_equal(grad(y, x, retain_graph=True), [-2, 2])
    dx = grad(y, x, create_graph=True)
    np.testing.assert_array_equal(grad(dx[0], x), [1, -1])


def test_batch_norm_keeps_one_array_as_large_as_its_input():
    x = Tensor(np.random.default_rng(0).normal(size=(50, 3)), requires_grad=True)
    weight, bias = leaf(1.0, 2.0, 3.0), leaf(0.0, 0.0, 0.0)
    y = minidl.functional.batch_norm(x, None, None, weight, bias, training=True)
    kept = [v for v in y.node.kept.values() if isinstance(v, np.ndarray) and v.shape == x.shape]
    assert len(kept) == 1
    assert not np.shares_memory(kept[0], x.data)


def test_a_definition_takes_every_input_and_may_call_one_y():
    @minidl.differentiable
    def f(x, y):
        return x * x * y

    minidl.vjp(f, "x y", x=lambda g, x: g * x * 4, definition=lambda x, y: x * x * y)
    x = leaf(3.0, 4.0)
    np.testing.assert_array_equal(grad(f(x, 2).sum(), x, create_graph=True).data, [12, 16])
    with pytest.raises(
        ValueError, match=r"definition= takes \(y\), and lacks 'x', which has a rule"
    ):
        minidl.vjp(f, "x y", x=lambda g, x: g * x * 4, definition=lambda y: y)


def test_a_function_that_leaves_something_returns_its_result_alone_on_arrays_too():
    @minidl.differentiable
    def double(x):
        return 2 * x, 2.0

    minidl.vjp(double, "x -> two", x=lambda g, two: g * two, definition=lambda x: 2 * x)
    np.testing.assert_array_equal(double(np.ones(2)), [2, 2])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_gradient_of_a_tensor_without_axes_is_an_array(dtype):
    p = Tensor(np.array(2.0, dtype), requires_grad=True)
    (p * 3 + p * p).backward()
    assert type(p.node.grad) is np.ndarray
    assert type(p.grad) is np.ndarray
    assert p.grad.dtype == dtype
    assert minidl.optim.clip_grad_norm([p], 1.0) == 7
    np.testing.assert_allclose(p.grad, 1, rtol=1e-3)
    (p * 1).backward()
    np.testing.assert_allclose(p.grad, 2, rtol=1e-3)


def test_a_rule_returns_plain_arrays():
    class Kind(np.ndarray):
        pass

    @minidl.differentiable
    def f(x):
        return x * 1

    x = leaf(1.0, 2.0)
    minidl.vjp(f, "x", x=lambda g: g.view(Kind))
    f(x).sum().backward()
    assert type(x.grad) is np.ndarray
    minidl.vjp(f, "x", x=lambda g: Tensor(g))
    with pytest.raises(TypeError, match="returned a Tensor: a rule returns the gradient, an array"):
        f(x).sum().backward()


def test_grad_of_nothing_returns_nothing_and_keeps_the_graph():
    x = leaf(2.0)
    y = (x * x).sum()
    assert grad(y, []) == ()
    y.backward()
    assert x.grad == 4


def test_a_definition_keeps_only_what_it_takes():
    @minidl.differentiable
    def scaled(x, label, factor):
        return x * factor

    minidl.vjp(
        scaled, "x label factor", x=lambda g, factor: g * factor,
        definition=lambda x, factor: x * factor,
    )  # fmt: skip
    x = leaf(3.0)
    y = scaled(x, "a label", 2.0)
    assert sorted(y.node.kept) == ["factor", "x"]
    (dx,) = grad(y.sum(), [x], create_graph=True)
    np.testing.assert_array_equal(dx.data, [2])


def test_a_definition_need_not_depend_on_every_input():
    @minidl.differentiable
    def first(a, b):
        return a * a

    minidl.vjp(first, "a b", a=lambda g, a: g * 2 * a, b=lambda g, b: g * 0,
               definition=lambda a, b: a * a)  # fmt: skip
    a, b = leaf(3.0), leaf(4.0)
    da, db = grad(first(a, b).sum(), [a, b], create_graph=True)
    assert (da.item(), db.item()) == (6, 0)
    assert grad(da.sum(), a) == 2


@pytest.mark.parametrize(
    "common",
    [lambda g, common: g, lambda g, shape: g, lambda g, *values: g],
)
def test_what_common_cannot_name_is_refused(common):
    with pytest.raises(ValueError, match=r"cannot name common|without"):
        minidl.vjp(
            minidl.differentiable(product), "a b",
            a=lambda common: common, b=lambda common: common, common=common,
        )  # fmt: skip


def test_a_definition_that_takes_other_parameters_is_refused():
    f = minidl.differentiable(product)
    rules = {"a": lambda g, b: g * b, "b": lambda g, a: g * a}
    with pytest.raises(ValueError, match=r"definition= takes \(a, c\)"):
        minidl.vjp(f, "a b", definition=lambda a, c: a * c, **rules)
    with pytest.raises(ValueError, match=r"definition= takes \(a, b, c\)"):
        minidl.vjp(f, "a b", definition=lambda a, b, c: a * b * c, **rules)
    minidl.vjp(f, "a b", definition=lambda b, a, **rest: a * b, **rules)  # by name, in any order
    a, b = leaf(2.0), leaf(3.0)
    assert grad(grad(f(a, b), a, create_graph=True), b) == 1


def test_methods_callables_and_wrapped_functions_have_rules_like_any():
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        def method(self, x):
            return self.factor * x

        def rule(self, g):
            return self.factor * g

        __call__ = method

    scale = Scale(3.0)

    def logged(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args)

        return wrapper

    for plain in (scale.method, scale, logged(lambda x: 3.0 * x)):
        for rule in (scale.rule, logged(lambda g: 3.0 * g)):
            f = minidl.differentiable(plain)
            minidl.vjp(f, "x", x=rule)
            x = leaf(1.0)
            f(x).sum().backward()
            assert x.grad == 3
            with pytest.raises(ValueError, match=r"the function takes \(x\)"):
                minidl.vjp(f, "z", z=rule)


def test_a_default_of_the_function_need_not_stand_in_the_spec():
    f = minidl.differentiable(product)
    minidl.vjp(f, "a b scale", a=lambda g, b, scale: g * b * scale)
    a = leaf(2.0)
    (f(a, 3.0) + f(a, 3.0, scale=10.0)).sum().backward()
    assert a.grad == 33


def test_an_argument_given_twice_is_an_error_as_in_python():
    with pytest.raises(TypeError, match="argument 'x' twice"):
        minidl.functional.softmax(leaf(1.0, 2.0), x=leaf(5.0))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned None: a rule returns the gradient"),
        ([1.0], "returned a list"),
        (1.0, "returned a float"),
        ("g", "returned a str"),
    ],
)
def test_a_rule_that_returns_no_array_is_named_with_its_input(returned, message):
    @minidl.differentiable
    def careless(a, b):
        return a * b

    minidl.vjp(careless, "a b", a=lambda g, b: g * b, b=lambda g: returned)
    for inner in (lambda x: x, lambda x: x * 1):  # at a leaf, and on the way
        a, b = leaf(1.0), leaf(2.0)
        with pytest.raises(TypeError, match=f"rule of careless for its input 'b' {message}"):
            careless(inner(a), inner(b)).sum().backward()
        with pytest.raises(TypeError, match=f"rule of careless for its input 'b' {message}"):
            grad(careless(inner(a), inner(b)), [a, b], create_graph=True)


def test_a_rule_may_return_a_constant_array_also_in_gradients_of_gradients():
    @minidl.differentiable
    def rounded(x):
        return np.floor(x)

    minidl.vjp(rounded, "x", x=lambda shape: np.zeros(shape))
    x = leaf(1.5)
    d = grad(rounded(x) * x, x, create_graph=True)
    assert isinstance(d, Tensor)
    assert d.item() == 1
    d = grad(rounded(x), x, create_graph=True)
    assert isinstance(d, Tensor)
    assert d.item() == 0


def test_a_rule_gets_the_gradient_in_the_dtype_of_its_own_result():
    seen = []

    @minidl.differentiable
    def f(x):
        return x * 1

    minidl.vjp(f, "x", x=lambda g: seen.append(g.dtype) or g)
    x = Tensor(np.ones(2, np.float32), requires_grad=True)
    (f(x) * np.ones(2)).sum().backward()
    (f(x) + f(x * np.ones(2))).sum().backward()
    assert seen == [np.float32, np.float64, np.float32]


# --- Memory ---------------------------------------------------------------------------------------


def test_the_graph_has_no_cycles_and_frees_itself():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = np.exp(x) * np.sin(x)
        watch = weakref.ref(y)
        loss = y.sum()
        loss.backward()
        del y
        assert watch() is None
        del loss
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_nothing_grows_over_1000_steps_with_the_collector_off():
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm(8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = minidl.optim.Adam(model.parameters())
    loss = nn.CrossEntropyLoss()
    x, y = rng.normal(size=(16, 4)).astype(np.float32), rng.integers(0, 3, 16)

    def step():
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()

    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(20):
            step()
        objects, growth = len(gc.get_objects()), []
        for _ in range(4):
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(250):
                step()
            growth.append(tracemalloc.get_traced_memory()[0] - before)
        objects = len(gc.get_objects()) - objects
    finally:
        tracemalloc.stop()
        gc.enable()
    # A leak grows in each of the four; in one of them Python may enlarge a table of its own.
    assert min(growth) < 5_000
    assert objects < 50


def test_memory_falls_during_backward():
    live = []

    @minidl.differentiable
    def watched(x):
        return x * 1.0

    minidl.vjp(watched, "x", x=lambda g: live.append(tracemalloc.get_traced_memory()[0]) or g)
    x = Tensor(np.ones(100_000), requires_grad=True)
    tracemalloc.start()
    try:
        y = x
        for _ in range(8):
            y = np.exp(watched(y) * 1e-3)
        y.sum().backward()
    finally:
        tracemalloc.stop()
    assert live[-1] < live[0] - 4 * 800_000


# --- Modes ----------------------------------------------------------------------------------------


def test_no_grad_records_nothing_and_restores_the_mode_after_an_error():
    x = leaf(1.0)
    with pytest.raises(KeyError), no_grad():
        assert not (x * 2).requires_grad
        raise KeyError
    assert (x * 2).requires_grad


def test_no_grad_nests_and_decorates():
    @no_grad()
    def double(x):
        return x * 2

    with no_grad():
        with no_grad():
            pass
        assert not is_recording()
    assert is_recording()
    assert not double(leaf(1.0)).requires_grad


def test_no_grad_in_one_thread_says_nothing_to_another():
    inside, done = threading.Event(), threading.Event()

    def other():
        with no_grad():
            inside.set()
            done.wait(5)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(5)
    assert (leaf(1.0) * 2).requires_grad
    done.set()
    thread.join()


def test_two_threads_train_two_models_as_if_alone():
    def run(seed, result):
        rng = np.random.default_rng(seed)
        model = nn.Sequential(nn.Linear(5, 7, rng=rng), nn.Tanh(), nn.Linear(7, 2, rng=rng))
        optimizer = minidl.optim.Momentum(model.parameters(), lr=0.1)
        x, y = rng.normal(size=(12, 5)).astype(np.float32), rng.integers(0, 2, 12)
        for _ in range(100):
            optimizer.zero_grad()
            nn.CrossEntropyLoss()(model(x), y).backward()
            optimizer.step()
        result[seed] = model.state_dict()

    alone, together = {}, {}
    for seed in (1, 2):
        run(seed, alone)
    threads = [threading.Thread(target=run, args=(seed, together)) for seed in (1, 2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for seed in (1, 2):
        for name, value in alone[seed].items():
            np.testing.assert_array_equal(value, together[seed][name])


def consumer_records(steps):
    """Whether recording was on for the consumer, after each step of a generator."""
    return [is_recording() for _ in steps]


def test_no_grad_on_a_generator_holds_in_each_step_and_not_between():
    @no_grad()
    def results(x):
        """Doubles."""
        for _ in range(3):
            yield (x * 2).requires_grad
        return "end"

    assert inspect.isgeneratorfunction(results)
    assert results.__doc__ == "Doubles."
    seen = []
    for requires_grad in results(leaf(1.0)):
        seen.append((requires_grad, (leaf(1.0) * 2).requires_grad))
    assert seen == [(False, True)] * 3

    def outer():
        return (yield from results(leaf(1.0)))

    steps = outer()
    with no_grad():
        next(steps)  # begun in one mode, gone on with in another
    assert is_recording()
    assert (next(steps), next(steps)) == (False, False)
    with pytest.raises(StopIteration, match="end"):
        next(steps)


def test_a_generator_under_no_grad_takes_what_is_sent_thrown_and_closed():
    log = []

    @no_grad()
    def echo():
        received = None
        try:
            while True:
                try:
                    received = yield received
                except KeyError as error:
                    received = error
                log.append(is_recording())
        finally:
            log.append("closed" if not is_recording() else "closed while recording")

    steps = echo()
    next(steps)
    assert steps.send(5) == 5
    assert isinstance(steps.throw(KeyError("k")), KeyError)
    steps.close()
    assert log == [False, False, "closed"]
    steps = echo()
    next(steps)
    with pytest.raises(ZeroDivisionError):
        steps.throw(ZeroDivisionError)
    assert is_recording()


def test_no_grad_on_a_coroutine_holds_in_each_step_and_not_in_other_tasks():
    seen = {"off": [], "on": []}

    @no_grad()
    async def off():
        for _ in range(3):
            seen["off"].append((leaf(1.0) * 2).requires_grad)
            await asyncio.sleep(0)
        return "off"

    async def on():
        for _ in range(3):
            seen["on"].append((leaf(1.0) * 2).requires_grad)
            await asyncio.sleep(0)

    async def main():
        body = off()
        results = await asyncio.gather(body, on())
        assert await off() == "off"
        assert is_recording()
        return results[0]

    assert inspect.iscoroutinefunction(off)
    assert asyncio.run(main()) == "off"
    assert seen == {"off": [False] * 6, "on": [True] * 3}


def test_no_grad_on_an_asynchronous_generator_holds_in_each_step_and_not_between():
    log = []

    @no_grad()
    async def results():
        try:
            for i in range(3):
                await asyncio.sleep(0)
                sent = yield (i, is_recording())
                log.append((sent, is_recording()))
        finally:
            await asyncio.sleep(0)
            log.append(("end", is_recording()))

    async def main():
        assert [r async for r in results()] == [(0, False), (1, False), (2, False)]
        steps = results()
        await steps.__anext__()
        assert is_recording()
        assert await steps.asend("sent") == (1, False)
        await steps.aclose()
        assert is_recording()
        steps = results()
        await steps.__anext__()
        with pytest.raises(KeyError):
            await steps.athrow(KeyError)

    assert inspect.isasyncgenfunction(results)
    asyncio.run(main())
    end = ("end", False)
    assert log == [(None, False)] * 3 + [end, ("sent", False), end, end]


@pytest.mark.parametrize("close", ["in order", "out of order", "dropped", "by an error"])
def test_recording_is_never_left_off_after_generators_that_yield_within_no_grad(close):
    def steps():
        with no_grad():
            yield 1
            yield 2

    first, second = steps(), steps()
    next(first)
    next(second)
    assert not is_recording()
    if close == "in order":
        second.close()
        first.close()
    elif close == "out of order":
        first.close()
        assert not is_recording()  # the other one is open still
        second.close()
    elif close == "dropped":
        del first
        del second
    else:
        with pytest.raises(KeyError):
            first.throw(KeyError)
        with pytest.raises(KeyError):
            second.throw(KeyError)
    assert is_recording()


def test_blocks_of_generators_and_of_their_consumer_may_overlap_in_any_way():
    def steps(on):
        with recording(on):
            yield

    for on in (False, True):
        with no_grad():
            generator = steps(on)
            next(generator)
            with recording(not on):
                generator.close()
                assert is_recording() is (not on)
            assert not is_recording()
        assert is_recording()

    def watched():
        with watched_by(Watcher()):
            yield

    one, two = watched(), watched()
    next(one), next(two)
    one.close()
    two.close()
    assert minidl.autograd.current_watcher() is None


def test_a_block_that_ends_in_another_thread_than_it_began_in_says_so():
    def steps():
        with no_grad():
            yield

    generator = steps()
    next(generator)
    caught = []

    def finish():
        try:
            next(generator, None)
        except RuntimeError as error:
            caught.append(str(error))

    try:
        thread = threading.Thread(target=finish)
        thread.start()
        thread.join()
        assert "began in another thread" in caught[0]
        assert "decorate it with @no_grad()" in caught[0]
    finally:
        minidl.modes._recording.open.set(())
        minidl.modes._recording.current.set(True)


def test_one_no_grad_may_be_entered_again_and_again():
    block = no_grad()
    with block:
        with block:
            assert not is_recording()
        assert not is_recording()
    assert is_recording()
    with block:
        assert not is_recording()
    assert is_recording()


def test_no_grad_decorates_with_and_without_parentheses_also_methods_and_callables():
    class Model:
        @no_grad
        def predict(self, x):
            return x * 2

        @staticmethod
        @no_grad
        def both(x):
            return x * 2

        def __call__(self, x):
            yield (x * 2).requires_grad

    assert not Model().predict(leaf(1.0)).requires_grad
    assert not Model.both(leaf(1.0)).requires_grad
    assert list(no_grad(Model())(leaf(1.0))) == [False]
    assert list(no_grad()(functools.partial(Model.__call__, None, leaf(1.0)))()) == [False]

    @no_grad
    def factorial(n):
        assert not is_recording()
        return n * factorial(n - 1) if n else 1

    assert factorial(5) == 120
    assert is_recording()


@pytest.mark.parametrize("what", [Tensor, staticmethod(len), classmethod(len), property(len), 3])
def test_no_grad_refuses_to_decorate_what_is_no_function(what):
    with pytest.raises(TypeError, match="decorate the methods of a class"):
        no_grad()(what)
    with pytest.raises(TypeError, match="decorate the methods of a class"):
        no_grad(what)


def test_threads_that_bring_one_leaf_its_gradient_lose_none():
    rules = threading.Barrier(2, timeout=10)
    reached = []

    @minidl.differentiable
    def slow(x):
        return x * 1

    def rule(g):
        reached.append(1)
        return g

    minidl.vjp(slow, "x", x=rule)
    w = Tensor(np.ones(1000), requires_grad=True)

    def work(w=w):
        rules.wait()
        for _ in range(50):
            (slow(w) + minidl.functional.linear(np.ones((1, 1000)), w.reshape(1, -1))).sum()
            slow(w).sum().backward()
            w.backward(np.ones(1000))

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(switch)
    np.testing.assert_array_equal(w.grad, np.full(1000, 200.0))


def test_a_thread_waits_at_a_leaf_for_another_that_brings_it_a_gradient():
    w, done = leaf(1.0, 2.0), threading.Event()

    def work():
        (w * 10).sum().backward()
        done.set()

    second = threading.Thread(target=work)
    with w.node.lock:
        second.start()
        assert not done.wait(0.05)
        w.node.receive(np.ones(2))
    second.join()
    np.testing.assert_array_equal(w.grad, [11, 11])


def test_a_leaf_is_free_again_after_a_rule_that_raised():
    @minidl.differentiable
    def bad(x):
        return x * 1

    minidl.vjp(bad, "x", x=lambda g: 1 / 0)
    w = leaf(1.0)
    with pytest.raises(ZeroDivisionError):
        bad(w).sum().backward()
    thread = threading.Thread(target=lambda: (w * 3).sum().backward())
    thread.start()
    thread.join(10)
    assert w.grad == 3


# --- grad and gradients of gradients --------------------------------------------------------------


def test_grad_returns_values_and_touches_no_leaf():
    x, w = leaf(2.0), leaf(5.0)
    y = x * x * w
    (dx,) = grad(y, [x])
    assert dx == 20
    assert x.grad is None
    assert w.grad is None


def test_grad_takes_results_on_the_way():
    x = leaf(2.0)
    h = x * 3
    y = h * h
    dh, dx = grad(y, (h, x))
    assert (dh, dx) == (12, 36)


def test_grad_computes_only_what_leads_to_the_inputs():
    @minidl.differentiable
    def forbidden(x):
        return x * 1

    def rule(g):
        raise AssertionError("not needed")

    minidl.vjp(forbidden, "x", x=lambda g: rule(g))
    x, w = leaf(1.0), leaf(1.0)
    assert grad(x * 2 + forbidden(w), x) == 2


def test_grad_of_something_unused():
    x, w = leaf(1.0), leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"does not depend on xs\[1\]"):
        grad(x * 2, [x, w])
    dx, dw = grad(x * 2, [x, w], allow_unused=True)
    assert dx == 2
    np.testing.assert_array_equal(dw, [0, 0])


def test_grad_results_do_not_share_memory():
    a, b = leaf(1.0), leaf(2.0)
    da, db = grad(a + b, [a, b])
    assert not np.shares_memory(da, db)


@pytest.mark.parametrize(
    ("y", "xs", "error"),
    [
        (leaf(1.0) * 2, [3.0], TypeError),
        (leaf(1.0) * 2, [Tensor([1.0])], RuntimeError),
        (Tensor([1.0]), [leaf(1.0)], RuntimeError),
    ],
)
def test_grad_refuses_what_has_no_gradient(y, xs, error):
    with pytest.raises(error, match=r"grad\(y, xs\)"):
        grad(y, xs)


@pytest.mark.parametrize("y", [3.0, "y", None, np.ones(1), lambda x: x])
def test_grad_of_what_is_no_tensor_says_so(y):
    with pytest.raises(TypeError, match=rf"y is a {type(y).__name__}, not a Tensor: .* y = f\(x\)"):
        grad(y, leaf(1.0))


@pytest.mark.parametrize("xs", [3.0, None])
def test_grad_with_respect_to_what_is_no_tensor_says_so(xs):
    with pytest.raises(TypeError, match=f"xs is a {type(xs).__name__}, not a Tensor or a sequence"):
        grad(leaf(1.0) * 2, xs)


def test_backward_and_grad_refuse_a_gradient_that_is_not_of_real_numbers():
    for given in (np.array([1j]), np.ma.array([1.0], mask=[True]), np.array(["1"]), [None]):
        with pytest.raises(TypeError, match="gradient="):
            (leaf(1.0) * 2).backward(given)
        with pytest.raises(TypeError, match="gradient="):
            grad(leaf(1.0) * 2, leaf(1.0), given)


def test_the_choice_of_inputs_is_made_anew_for_each_call():
    """What is kept from one call for the next depends on the inputs that need a gradient."""
    values = [np.array([2.0]), np.array([3.0])]
    for needs in [(True, False), (False, True), (True, True), (True, False), (False, True)]:
        a, b = (Tensor(v, requires_grad=n) for v, n in zip(values, needs, strict=True))
        for f, da, db in [
            (lambda a, b: a * b, 3, 2), (lambda a, b: a / b, 1 / 3, -2 / 9),
            (lambda a, b: a**b, 12, 8 * np.log(2)), (lambda a, b: a - b, 1, -1),
        ]:  # fmt: skip
            a.grad = b.grad = None
            f(a, b).sum().backward()
            assert (a.grad is not None, b.grad is not None) == needs
            assert a.grad is None or a.grad == pytest.approx(da)
            assert b.grad is None or b.grad == pytest.approx(db)


def test_each_of_two_backward_calls_uses_the_data_of_its_own_forward():
    """Nothing computed for one pass is used in the next: data, shapes and scale have changed."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Linear(3, 4, rng=0, dtype=np.float64), nn.BatchNorm(4, dtype=np.float64), nn.Tanh(),
        nn.Linear(4, 3, rng=1, dtype=np.float64),
    )  # fmt: skip

    def gradients(model, x, y):
        for p in model.parameters():
            p.grad = None
        nn.CrossEntropyLoss()(model(x), y).backward()
        return [p.grad.copy() for p in model.parameters()]

    for n in (5, 2, 5, 8):
        x, y = rng.normal(size=(n, 3)) * n, rng.integers(0, 3, n)
        used = gradients(model, x, y)
        fresh = nn.Sequential(
            nn.Linear(3, 4, dtype=np.float64), nn.BatchNorm(4, dtype=np.float64), nn.Tanh(),
            nn.Linear(4, 3, dtype=np.float64),
        )  # fmt: skip
        fresh.load_state_dict(model.state_dict())
        for a, b in zip(used, gradients(fresh, x, y), strict=True):
            np.testing.assert_array_equal(a, b)
        for p in model.parameters():
            p.data += 0.1 * rng.normal(size=p.shape)


def test_a_kept_graph_gives_the_same_gradient_again_and_again():
    x = Tensor(np.random.default_rng(0).normal(size=(4, 3)), requires_grad=True)
    w = Tensor(np.random.default_rng(1).normal(size=(2, 3)), requires_grad=True)
    y = minidl.functional.cross_entropy(
        minidl.functional.linear(np.tanh(x), w), np.array([0, 1, 1, 0])
    )
    first = grad(y, [x, w], retain_graph=True)
    for _ in range(2):
        for a, b in zip(first, grad(y, [x, w], retain_graph=True), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("other", [np.float16, np.float32, np.float64])
def test_grad_has_the_dtype_of_its_leaf_however_it_came(dtype, other):
    w, v = Tensor(np.ones((2, 2), dtype), True), Tensor(np.ones((2, 2), other), True)

    @minidl.differentiable
    def f(x):
        return x * 1

    minidl.vjp(f, "x", x=lambda g: np.float64(1) * np.asarray(g, np.float64))
    for y in (w * v, v @ w, f(w) * v, minidl.functional.linear(v, w), w[0] + v, w * 3.0 + v):
        w.grad = v.grad = None
        y.sum().backward()
        assert (w.grad.dtype, v.grad.dtype) == (dtype, other)
        assert [g.dtype for g in grad((w * v).sum(), [w, v])] == [dtype, other]
        (w * v).sum().backward()  # added to the first one
        assert (w.grad.dtype, v.grad.dtype) == (dtype, other)
    w.grad = None
    w.backward(np.ones((2, 2), other))
    assert w.grad.dtype == dtype
    w.grad = np.ones((2, 2), other)
    assert w.grad.dtype == dtype


def test_third_derivative():
    x = leaf(2.0)
    y = x**4
    for expected in (32.0, 48.0, 48.0):
        y = grad(y, x, create_graph=True)
        assert y.item() == expected


def test_create_graph_works_inside_no_grad():
    x = leaf(3.0)
    y = x**3
    with no_grad():
        d = grad(y, x, create_graph=True)
    assert grad(d, x).item() == 18


def test_a_fused_function_with_one_tensor_in_two_places():
    w = Tensor(np.random.default_rng(0).normal(size=(3, 3)), requires_grad=True)
    f = minidl.functional.linear
    fast = grad((f(w, w) ** 3).sum(), w, create_graph=True)
    slow = grad(((w @ w.T) ** 3).sum(), w, create_graph=True)
    np.testing.assert_allclose(fast.data, slow.data, rtol=1e-12)
    np.testing.assert_allclose(grad(fast.sum(), w), grad(slow.sum(), w), rtol=1e-12)


def test_a_fused_function_whose_inputs_were_computed_from_one_another():
    x = Tensor(np.random.default_rng(0).normal(size=(4, 3)), requires_grad=True)

    def f(x, linear):
        w = np.tanh(x[:3])
        return (linear(np.sin(x), w) ** 2).sum()

    fast = grad(f(x, minidl.functional.linear), x, create_graph=True)
    slow = grad(f(x, lambda a, w: a @ w.T), x, create_graph=True)
    np.testing.assert_allclose(fast.data, slow.data, rtol=1e-12)
    np.testing.assert_allclose(grad((fast**2).sum(), x), grad((slow**2).sum(), x), rtol=1e-10)


def test_hessian_of_a_quadratic_is_its_matrix():
    a = np.random.default_rng(0).normal(size=(4, 4))
    x = np.ones(4)
    np.testing.assert_allclose(hessian(lambda x: x @ a @ x / 2, x), (a + a.T) / 2, atol=1e-14)
    np.testing.assert_allclose(
        hessian_vector_product(lambda x: x @ a @ x / 2, x, [1, 0, 0, 0]), (a + a.T)[0] / 2,
        atol=1e-14,
    )  # fmt: skip


def test_hessian_of_rosenbrock():
    def rosenbrock(p):
        return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2

    x, y = -1.2, 1.0
    expected = [[2 - 400 * (y - 3 * x**2), -400 * x], [-400 * x, 200]]
    np.testing.assert_allclose(hessian(rosenbrock, np.array([x, y])), expected, rtol=1e-13)


def test_hessian_tells_a_saddle_from_a_minimum():
    at = np.zeros(2)
    saddle = np.linalg.eigvalsh(hessian(lambda p: p[0] ** 2 - p[1] ** 2, at))
    minimum = np.linalg.eigvalsh(hessian(lambda p: p[0] ** 2 + p[1] ** 2, at))
    assert saddle.min() < 0 < saddle.max()
    assert minimum.min() > 0


def test_hessian_of_a_linear_or_constant_function_is_zero():
    for f in (lambda x: x.sum(), lambda x: Tensor(1.0)):
        np.testing.assert_array_equal(hessian(f, np.ones(2)), np.zeros((2, 2)))
        np.testing.assert_array_equal(hessian_vector_product(f, np.ones(2), np.ones(2)), [0, 0])


def test_hessian_of_what_is_linear_with_parameters_of_its_own_is_zero():
    w = leaf(3.0, 4.0)
    f = lambda x: (w * x).sum()
    np.testing.assert_array_equal(hessian(f, np.ones(2)), np.zeros((2, 2)))
    np.testing.assert_array_equal(hessian_vector_product(f, np.ones(2), np.ones(2)), [0, 0])
    assert w.grad is None


def test_hessian_leaves_what_the_function_closes_over_alone():
    w = leaf(2.0, 3.0)
    at = Tensor(np.array([1.0, 1.0]), requires_grad=True)

    def f(x):
        return (w * x**3).sum() + (w * w).sum() + (at * x).sum()

    np.testing.assert_array_equal(hessian(f, at), np.diag([12.0, 18.0]))
    np.testing.assert_array_equal(hessian_vector_product(f, at, [1.0, 1.0]), [12, 18])
    assert w.grad is None
    assert at.grad is None
    np.testing.assert_array_equal(at.data, [1, 1])


def test_hessian_takes_the_function_as_it_is_when_it_is_called():
    power = 2

    def f(x):
        return (x**power).sum()

    assert hessian(f, np.array([2.0])) == 2
    power = 3
    assert hessian(f, np.array([2.0])) == 12
    assert hessian(f, np.array([3.0])) == 18
    assert [hessian(lambda x, k=k: (k * x * x).sum(), np.ones(1)).item() for k in (1, 2)] == [2, 4]


def test_hessian_under_no_grad_is_the_same():
    with no_grad():
        assert hessian(lambda x: (x**3).sum(), np.array([2.0])) == 12
        assert hessian_vector_product(lambda x: (x**3).sum(), np.array([2.0]), [1.0]) == 12
        assert not is_recording()


def test_hessian_of_a_matrix_has_a_row_for_each_element_in_its_dtype():
    x = np.arange(4, dtype=np.float32).reshape(2, 2)
    h = hessian(lambda x: x[0, 0] * x[0, 1] + x[1, 0] ** 2 * x[1, 1], x)
    assert h.dtype == np.float32
    np.testing.assert_array_equal(h, [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 6, 4], [0, 0, 4, 0]])


def test_a_product_with_a_hessian_takes_tensors_and_keeps_the_dtype_of_x():
    x = Tensor(np.array([1.0, 2.0], np.float32))
    for v in (Tensor([1.0, -1.0]), np.array([1.0, -1.0]), [1, -1]):
        y = hessian_vector_product(lambda x: (x**3).sum(), x, v)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, [6, -12])


def test_a_gradient_that_is_given_may_have_a_gradient_itself():
    x, v = Tensor([2.0, 3.0], requires_grad=True), Tensor([1.0, 1.0], requires_grad=True)
    d = grad(x**3, x, v, create_graph=True)
    np.testing.assert_array_equal(grad(d.sum(), v), [12, 27])


def test_what_requires_a_gradient_already_keeps_it():
    x = Tensor([1.0, 2.0], requires_grad=True)
    x.sum().backward()
    g = x.grad
    x.requires_grad = True
    x.grad *= 3
    assert x.grad is g
    np.testing.assert_array_equal(g, [3, 3])


def test_grad_says_nothing_of_an_infinite_slope():
    x = Tensor([0.0], requires_grad=True)
    for create_graph in (False, True):
        d = grad(np.sqrt(x), x, create_graph=create_graph)
        assert np.isposinf(d).all()


def test_grad_says_which_tensor_requires_no_gradient():
    x, constant = Tensor([1.0], requires_grad=True), Tensor([2.0])
    with pytest.raises(RuntimeError, match="y does not require a gradient"):
        grad(constant * 2, x)
    with pytest.raises(RuntimeError, match=r"xs\[1\] does not require a gradient"):
        grad(x * 2, [x, constant], allow_unused=True)


def test_hessian_refuses_what_is_not_one_number():
    with pytest.raises(ValueError, match="one element"):
        hessian(lambda x: x * 2, np.ones(2))
    with pytest.raises(TypeError, match="must return a Tensor"):
        hessian(lambda x: 3.0, np.ones(2))
    with pytest.raises(ValueError, match="v has shape"):
        hessian_vector_product(lambda x: x.sum(), np.ones(2), np.ones(3))


def test_a_function_without_a_second_derivative_says_so():
    @minidl.differentiable
    def doubled(x):
        return 2 * x

    minidl.vjp(doubled, "x", x=lambda g, x: np.copysign(2 * g, x))  # (has no rule of its own)
    x = leaf(2.0, 1.0)
    with pytest.raises(TypeError, match=r"np\.copysign is not differentiable"):
        grad(doubled(x).sum(), x, create_graph=True)


# --- What a leaf receives -------------------------------------------------------------------------


def test_a_graph_from_before_freezing_does_not_reach_the_thawed_leaf():
    p = leaf(1.0)
    optimizer = minidl.optim.SGD([p], lr=1.0)
    old = (p * 7.0).sum()
    p.requires_grad = False
    p.requires_grad = True
    optimizer.zero_grad()
    (p * 1.0).sum().backward()
    old.backward()
    assert p.grad == 1


def test_a_gradient_has_the_dtype_of_its_parameter_also_beside_wider_ones():
    linear = nn.Linear(3, 2, rng=0)
    scale = nn.Parameter(np.ones(3))  # float64 beside float32
    minidl.optim.SGD(linear.parameters(), lr=0.1)
    linear(scale * np.ones((4, 3))).sum().backward()
    assert linear.bias.grad.dtype == np.float32
    np.testing.assert_array_equal(linear.bias.grad, [4, 4])


def test_results_are_the_same_in_another_process_with_another_hash_seed():
    code = (
        "import numpy as np, minidl; from minidl import nn; minidl.seed(3);"
        "m = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Tanh(), nn.Linear(4, 2));"
        "o = minidl.optim.Adam(m.parameters());"
        "x = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)\n"
        "for _ in range(5):\n"
        "    o.zero_grad(); nn.CrossEntropyLoss()(m(x), np.arange(5) % 2).backward(); o.step()\n"
        "print(b''.join(v.tobytes() for v in m.state_dict().values()).hex())"
    )
    outputs = {printed_by("-c", code, PYTHONHASHSEED=seed) for seed in ("1", "2")}
    assert len(outputs) == 1


def test_a_computed_tensor_knows_where_it_came_from():
    assert isinstance((leaf(1.0) * 2).node, Node)
    assert repr(np.exp(leaf(0.0))) == "Tensor([1.], dtype=float64, from=np.exp)"


def test_a_gradient_given_as_a_tensor_stays_the_callers_own():
    x, given = leaf(1.0), Tensor(np.array([7.0]))
    x.backward(given)
    assert not np.shares_memory(x.grad, given.data)
    x.grad += 1
    assert given.item() == 7


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_gradient_given_as_an_array_may_be_written_into_afterwards(create_graph):
    x, given = leaf(1.0, 2.0), np.array([3.0, 4.0])
    dx = grad(+x, x, given, create_graph=create_graph)
    given[:] = 9
    np.testing.assert_array_equal(dx.data if create_graph else dx, [3, 4])


def test_backward_frees_what_was_kept_even_if_a_result_on_the_way_lives_on():
    x = leaf(1.0, 2.0)
    h = x * np.array([3.0, 4.0])
    assert h.node.kept
    h.sum().backward()
    assert not h.node.kept


def test_grad_runs_no_rule_of_an_input_that_was_not_asked_for():
    @minidl.differentiable
    def product(a, b):
        return a * b

    def rule(g):
        raise AssertionError("not needed")

    minidl.vjp(product, "a b", a=lambda g, b: g * b, b=lambda g, a: rule(g))
    a, b = leaf(2.0), leaf(3.0)
    assert grad(product(a, b), a) == 3


def test_grad_frees_the_graph_unless_told_to_retain_it():
    x = leaf(3.0)
    y = x * x
    assert grad(y, x, retain_graph=True) == 6
    assert grad(y, x) == 6
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        grad(y, x)


@pytest.mark.parametrize("shape", [(2,), (), (3, 2), (4, 2)])
def test_a_rule_that_returns_another_shape_is_named(shape):
    @minidl.differentiable
    def tripled(x):
        return 3 * x

    minidl.vjp(tripled, "x", x=lambda g: np.ones(shape))
    x = Tensor(np.ones(3), requires_grad=True)
    with pytest.raises(ValueError, match="rule of tripled returned a gradient of shape"):
        tripled(x).sum().backward()


def test_an_error_in_a_block_that_ends_in_another_thread_is_not_replaced():
    block = minidl.no_grad()
    thread = threading.Thread(target=block.__enter__)
    thread.start()
    thread.join()
    assert block.__exit__(ValueError, ValueError("of the user's"), None) is None
    with pytest.raises(RuntimeError, match="another thread"):
        block.__exit__(None, None, None)


def test_the_hessian_of_nothing_is_empty():
    assert minidl.hessian(lambda x: np.sum(x**2), np.zeros(0)).shape == (0, 0)


# --- retain_grad ----------------------------------------------------------------------------------


def test_retain_grad_keeps_the_gradient_of_a_result_on_the_way():
    x = leaf(1.0, 2.0)
    y = x * 3
    other = x * 5
    z = (y * y + other).sum()  # y is used before it is asked for
    for _ in range(2):  # asking twice is asking once
        y.retain_grad()
        z.retain_grad()
    assert y.grad is None
    z.backward(retain_graph=True)
    np.testing.assert_array_equal(y.grad, 2 * y.data)
    assert (z.grad, other.grad) == (1, None)
    np.testing.assert_array_equal(x.grad, 18 * x.data + 5)
    y.retain_grad()
    z.backward()  # adds, as in a leaf
    np.testing.assert_array_equal(y.grad, 4 * y.data)
    np.testing.assert_array_equal(x.grad, 2 * (18 * x.data + 5))


def test_a_retained_gradient_has_memory_of_its_own_and_can_be_set():
    a, b = leaf(1.0), leaf(2.0)
    u, v = a * 1, b * 1
    u.retain_grad()
    v.retain_grad()
    given = np.ones(1)
    (u + v).backward(given)
    for y in (u, v):  # an addition hands on one array to both
        assert y.grad is not given
        y.grad += 1
    assert (u.grad, v.grad, given, a.grad) == (2, 2, 1, 1)
    u.grad = [7.0]
    assert u.grad == 7
    u.grad = None
    assert u.grad is None
    with pytest.raises(ValueError, match="shape"):
        u.grad = np.ones(3)
    with pytest.raises(RuntimeError, match=r"retain_grad\(\)"):
        (u * 2).grad = [1.0]


def test_a_leaf_keeps_its_gradient_with_and_without_retain_grad():
    x = leaf(3.0)
    node = x.node
    x.retain_grad()
    assert x.node is node
    (x * x).backward([1.0])
    assert x.grad == 6


def test_grad_touches_no_retained_gradient():
    x = leaf(2.0)
    y = x * x
    y.retain_grad()
    z = (y * y).sum()
    assert grad(z, x, retain_graph=True) == 32
    assert grad(z, [y, x], retain_graph=True) == (8, 32)
    dx = grad(z, x, create_graph=True)  # 4x^3
    assert y.grad is None
    assert grad(dx, x, retain_graph=True) == 48
    dx.retain_grad()
    (dx * dx).sum().backward()  # 2 dx dx', and through y
    assert (dx.grad, x.grad) == (64, 64 * 48)
    assert y.grad is not None


def test_a_float16_result_keeps_its_gradient_as_a_float16_leaf_does():
    x = Tensor(np.ones(4, np.float16), requires_grad=True)
    y = x * 1
    y.retain_grad()
    (y * 2).sum().backward()
    assert (y.grad.dtype, y.node.grad.dtype) == (np.float16, np.float32)
    np.testing.assert_array_equal(y.grad, np.full(4, 2))


def test_retain_grad_frees_everything_with_its_tensor():
    x = leaf(1.0)
    y = x * 2
    y.retain_grad()
    y.backward([1.0])
    dead = weakref.ref(y.node)
    gc.disable()
    try:
        del y
        assert dead() is None
    finally:
        gc.enable()


def test_retain_grad_where_no_gradient_will_come_is_refused():
    x = leaf(1.0)
    with no_grad():
        y = x * 2
    for t in (y, Tensor([1.0]), x.detach()):
        with pytest.raises(
            RuntimeError, match=r"^retain_grad\(\).*under no_grad\(\).*requires_grad"
        ):
            t.retain_grad()
    y = x * 2
    y.backward([1.0])
    with pytest.raises(RuntimeError, match=r"^retain_grad\(\).*freed.*retain_graph=True"):
        y.retain_grad()


def test_a_compiled_step_refuses_retain_grad():
    class Looks(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(2, 2, rng=0)

        def forward(self, x):
            y = self.linear(x)
            y.retain_grad()
            return y * 2

    model = Looks()
    step = minidl.compile(model, nn.MSELoss(), minidl.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(minidl.CompileError, match=r"retain_grad\(\) in a compiled step.*memory"):
        step(np.ones((3, 2), np.float32), np.ones((3, 2), np.float32))
