"""The graph and the walk: order, ownership, memory, modes, gradients of gradients."""

import gc
import subprocess
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import minidl
from minidl import Tensor, grad, nn, no_grad
from minidl.autograd import Node, is_recording
from minidl.hessian import hessian, hessian_vector_product


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
    node = (a * b)._node
    assert [v is not None for v in node.values] == [True, False, False]  # a, not b, not y
    assert (a + b)._node.values is None


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
    with pytest.raises(ValueError, match=r"shape \(2, 1\), but the Tensor has shape \(2,\)"):
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


def test_hessian_refuses_what_is_not_one_number():
    with pytest.raises(ValueError, match="one element"):
        hessian(lambda x: x * 2, np.ones(2))
    with pytest.raises(TypeError, match="must return a Tensor"):
        hessian(lambda x: 3.0, np.ones(2))
    with pytest.raises(ValueError, match="v has shape"):
        hessian_vector_product(lambda x: x.sum(), np.ones(2), np.ones(3))


def test_a_function_without_a_second_derivative_says_so():
    @minidl.differentiable
    def sorted_(x):
        return np.sort(x)

    minidl.vjp(sorted_, "x", x=lambda g, x: np.sort(g * x))  # (its rule cannot be differentiated)
    x = leaf(2.0, 1.0)
    with pytest.raises(TypeError, match=r"np\.sort is not differentiable"):
        grad(sorted_(x).sum(), x, create_graph=True)


# --- Lent memory ----------------------------------------------------------------------------------


def test_a_gradient_in_lent_memory_is_never_shown():
    x = leaf(1.0, 2.0)
    lent = np.zeros(2)
    x._node.lent = lent
    (x * 3).sum().backward()
    assert x._node.grad is lent
    shown = x.grad
    assert not np.shares_memory(shown, lent)
    x.grad = None
    (x * 5).sum().backward()
    np.testing.assert_array_equal(shown, [3, 3])
    np.testing.assert_array_equal(x.grad, [5, 5])


def test_lent_memory_is_used_once_until_the_gradient_is_forgotten():
    w = Tensor(np.ones((2, 2)), requires_grad=True)
    w._node.lent = np.zeros((2, 2))
    x = np.array([[1.0, 2.0]])
    for _ in range(2):
        minidl.functional.linear(x, w).sum().backward()
    np.testing.assert_array_equal(w.grad, [[2, 4], [2, 4]])
    y = minidl.functional.linear(x, w) + minidl.functional.linear(2 * x, w)
    w.grad = None
    y.sum().backward()
    np.testing.assert_array_equal(w.grad, [[3, 6], [3, 6]])


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


def test_lent_memory_of_another_dtype_is_left_alone():
    linear = nn.Linear(3, 2, rng=0)
    scale = nn.Parameter(np.ones(3))  # float64 beside float32
    minidl.optim.SGD(linear.parameters(), lr=0.1)
    linear(scale * np.ones((4, 3))).sum().backward()
    assert linear.bias.grad.dtype == np.float32
    np.testing.assert_array_equal(linear.bias.grad, [4, 4])


def test_grad_leaves_lent_memory_alone():
    w = Tensor(np.ones((1, 1)), requires_grad=True)
    w._node.lent = np.full((1, 1), 9.0)
    result = grad(minidl.functional.linear(np.array([[4.0]]), w).sum(), w)
    assert result == 4
    assert w._node.lent == 9


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
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_a_computed_tensor_knows_where_it_came_from():
    assert isinstance((leaf(1.0) * 2)._node, Node)
    assert repr(np.exp(leaf(0.0))) == "Tensor([1.], dtype=float64, from=np.exp)"


def test_a_gradient_given_as_a_tensor_stays_the_callers_own():
    x, given = leaf(1.0), Tensor(np.array([7.0]))
    x.backward(given)
    assert not np.shares_memory(x.grad, given.data)
    x.grad += 1
    assert given.item() == 7


def test_backward_frees_what_was_kept_even_if_a_result_on_the_way_lives_on():
    x = leaf(1.0, 2.0)
    h = x * np.array([3.0, 4.0])
    assert h._node.values is not None
    h.sum().backward()
    assert h._node.values is None


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
