"""The Tensor: what it is made from, its dtype, its operators, and what it refuses."""

import copy
import math
import operator
import pickle
import re

import numpy as np
import pytest

import minidl
from minidl import Tensor, evaluate, functional, grad, nn, no_grad, optim
from minidl.data import Standardize
from minidl.testing import check_module


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.0, np.float32),
        (2, np.float32),
        ([1, 2], np.float32),
        ([[1.5]], np.float32),
        ([True, False], np.bool_),
        (np.arange(3), np.int64),
        (np.arange(3.0), np.float64),
        (np.float64(3), np.float64),
        (np.ones(2, np.float16), np.float16),
    ],
)
def test_dtype_of_what_it_is_made_from(data, dtype):
    assert Tensor(data).dtype == dtype


def test_dtype_can_be_asked_for():
    assert Tensor([1, 2], dtype=np.int64).dtype == np.int64


@pytest.mark.parametrize("data", ["text", [1j], [None], {"a": 1}, np.array([object()])])
def test_what_is_not_numeric_is_refused(data):
    with pytest.raises(TypeError, match="real numbers or booleans"):
        Tensor(data)


def test_a_tensor_with_history_is_not_swallowed():
    with pytest.raises(TypeError, match=r"t\.detach\(\)"):
        Tensor(Tensor([1.0], requires_grad=True))
    assert Tensor(Tensor([1.0])).tolist() == [1.0]


def test_python_numbers_never_upcast():
    t = Tensor([1.0, 2.0], requires_grad=True)
    for y in (t + 1.5, 2 * t, t / 3, 1 / t, t**2, t**0.5, 2.0**t, np.maximum(t, 0.0), t - 1):
        assert y.dtype == np.float32
        y.sum().backward()
        assert t.grad.dtype == np.float32


def test_operators_with_arrays_on_both_sides_give_tensors():
    t, a = Tensor(np.array([1.0, 2.0]), requires_grad=True), np.array([3.0, 5.0])
    cases = [
        (t + a, a + t), (t * a, a * t), (t - a, -(a - t)), (t / a, 1 / (a / t)), (t @ a, a @ t),
    ]  # fmt: skip
    for left, right in cases:
        assert isinstance(left, Tensor)
        assert isinstance(right, Tensor)
        np.testing.assert_allclose(left.data, right.data)
    assert (a**t).tolist() == [3, 25]
    assert (-t).tolist() == [-1, -2]
    assert (+t).tolist() == [1, 2]
    assert abs(-t).tolist() == [1, 2]


def test_comparisons_give_plain_arrays():
    t = Tensor([1.0, 2.0])
    for result in (t == 1, t != 2, t < 2, t <= 1, t > 2, t >= t - 1):
        assert type(result) is np.ndarray
        assert result.dtype == bool


@pytest.mark.parametrize(
    "compare", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
)
def test_comparisons_are_those_of_arrays_below_at_and_above(compare):
    a, b = np.array([1.0, 2.0, 3.0, np.nan]), np.array([2.0, 2.0, 2.0, 2.0])
    for left, right in [(Tensor(a), b), (a, Tensor(b)), (Tensor(a), Tensor(b))]:
        np.testing.assert_array_equal(compare(left, right), compare(a, b))
    np.testing.assert_array_equal(compare(Tensor(a), 2), compare(a, 2))
    np.testing.assert_array_equal(compare(2, Tensor(a)), compare(2, a))


def test_in_place_operators_make_new_tensors():
    t = Tensor([1.0], requires_grad=True)
    first = t
    t += 1
    assert t is not first
    assert first.tolist() == [1.0]


def test_changing_elements_is_refused():
    t = Tensor([1.0, 2.0])
    with pytest.raises(TypeError, match="does not change in place"):
        t[0] = 5
    array = np.zeros(2)
    with pytest.raises(TypeError, match="out="):
        array += t
    with pytest.raises(TypeError, match="does not turn into an ndarray"):
        array[:] = t


def test_it_never_becomes_an_object_array():
    t = Tensor([1.0, 2.0])
    for convert in (
        np.asarray,
        np.array,
        lambda t: np.array([t, t]),
        lambda t: np.asarray([t, 1.0]),
    ):
        with pytest.raises(TypeError, match="does not turn into an ndarray"):
            convert(t)


def test_data_numpy_detach_item_and_tolist():
    t = Tensor([[1.0, 2.0]], requires_grad=True)
    t.data[0, 0] = 7
    copied = t.numpy()
    copied[:] = 0
    assert t.tolist() == [[7.0, 2.0]]
    d = t.detach()
    assert not d.requires_grad
    assert np.shares_memory(d.data, t.data)
    assert type(t[0, 0].item()) is float
    with pytest.raises(ValueError, match="item"):
        t.item()


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.bool_])
def test_data_without_a_gradient_can_be_rebound_in_any_dtype(dtype):
    t = Tensor([1.0, 2.0])
    t.data = np.array([1, 0], dtype)
    assert t.dtype == dtype
    assert t.tolist() == [1, 0]
    assert not t.requires_grad


def test_a_gradient_beyond_float16_is_infinite_and_no_warning():
    t = Tensor(np.ones(2, np.float16), requires_grad=True)
    y = t * np.array([300.0, 2.0], np.float16)
    y.backward(np.full(2, 300.0))
    assert t.grad.dtype == np.float16
    assert t.grad.tolist() == [np.inf, 600.0]


def test_the_gradient_of_halves_is_a_copy_that_cannot_be_written_into():
    t = Tensor(np.ones(2, np.float16), requires_grad=True)
    (t * np.array([2.0, 3.0], np.float16)).sum().backward()
    with pytest.raises(ValueError, match="read-only"):
        t.grad[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        t.grad *= 2
    assert t.grad.tolist() == [2, 3]


def test_data_of_another_dtype_begins_without_a_gradient():
    t = Tensor([1.0, 2.0], requires_grad=True)
    (t * 3).sum().backward()
    t.data = np.array([3.0, 4.0])
    assert t.grad is None
    assert t.requires_grad
    (t * 2).sum().backward()
    assert t.grad.dtype == np.float64
    assert t.grad.tolist() == [2, 2]


def test_data_of_the_same_dtype_keeps_the_gradient_and_what_was_computed_before():
    t = Tensor([1.0, 2.0], requires_grad=True)
    (t * 3).sum().backward()
    y = (t * 2).sum()
    t.data = np.array([3.0, 4.0], np.float32)
    assert t.grad.tolist() == [3, 3]
    y.backward()
    assert t.grad.tolist() == [5, 5]


def test_data_can_be_rebound_to_the_same_shape():
    t = Tensor([1.0, 2.0], requires_grad=True)
    t.data = [3.0, 4.0]
    assert t.dtype == np.float32
    t.data -= 1
    assert t.tolist() == [2.0, 3.0]
    t.data = np.array([1.0, 1.0])
    (t * 1).sum().backward()
    assert t.grad.dtype == np.float64
    with pytest.raises(ValueError, match=r"data has shape \(3,\), and the Tensor \(2,\)"):
        t.data = np.zeros(3)
    with pytest.raises(TypeError, match="only floating-point"):
        t.data = np.array([1, 2])
    with pytest.raises(RuntimeError, match="history"):
        (t * 2).data = np.zeros(2)


def test_grad_can_be_set_and_is_checked():
    t = Tensor([1.0, 2.0], requires_grad=True)
    assert t.grad is None
    given = np.ones(2)
    t.grad = given
    assert t.grad.dtype == np.float32
    assert not np.shares_memory(t.grad, given)
    t.grad *= 2
    assert t.grad.tolist() == [2, 2]
    t.grad = None
    assert t.grad is None
    with pytest.raises(ValueError, match=r"grad has shape \(3,\), and the Tensor \(2,\)"):
        t.grad = np.ones(3)
    with pytest.raises(RuntimeError, match="only a leaf"):
        (t * 2).grad = np.ones(2)


def test_requires_grad_can_be_switched_on_leaves_only():
    t = Tensor([1.0], requires_grad=True)
    (t * 2).sum().backward()
    t.requires_grad = False
    assert t.grad is None
    t.requires_grad = True
    with pytest.raises(RuntimeError, match="leaf only"):
        (t * 2).requires_grad = False


def test_shape_ndim_size_len_T_and_mT():
    t = Tensor(np.zeros((2, 3, 4)))
    assert (t.shape, t.ndim, t.size, len(t)) == ((2, 3, 4), 3, 24, 2)
    assert t.T.shape == (4, 3, 2)
    assert t.mT.shape == (2, 4, 3)
    with pytest.raises(TypeError, match="no length"):
        len(Tensor(1.0))


METHODS = [
    ("sum", (0,), {"keepdims": True}), ("mean", (), {}), ("var", (1,), {"ddof": 1}),
    ("std", (1,), {}), ("max", (0,), {}), ("min", (), {}), ("prod", (1,), {}), ("cumsum", (1,), {}),
    ("reshape", (3, 2), {}), ("reshape", ((6,),), {}), ("ravel", (), {}), ("flatten", (), {}),
    ("transpose", (), {}), ("transpose", (1, 0), {}), ("transpose", ((1, 0),), {}),
    ("swapaxes", (0, 1), {}), ("squeeze", (), {}), ("repeat", (2, 1), {}),
    ("take", ([0, 1], 1), {}),
    ("clip", (0, 1), {}), ("dot", (np.ones(3),), {}), ("diagonal", (), {}), ("trace", (), {}),
    ("copy", (), {}), ("astype", (np.float32,), {}), ("astype", (np.int64,), {}),
    *[(name, axis, {}) for name in ("argmax", "argmin") for axis in ((), (0,), (1,), (-1,))],
    *[(name, axis, {}) for name in ("all", "any") for axis in ((), (0,), (1,), ((0, 1),))],
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "kwargs"), METHODS)
def test_methods_do_what_the_methods_of_an_ndarray_do(name, args, kwargs):
    a = np.array([[0.1, -0.2, 0.0], [0.3, 0.5, -0.4]])
    expected = getattr(a, name)(*args, **kwargs)
    result = getattr(Tensor(a, requires_grad=True), name)(*args, **kwargs)
    plain = result.data if isinstance(result, Tensor) else result
    assert plain.dtype == expected.dtype
    np.testing.assert_allclose(plain, expected)


def test_python_protocols():
    t = Tensor([1.0, 2.0], requires_grad=True)
    assert [x.item() for x in t] == [1.0, 2.0]
    assert 2.0 in t
    assert 5 not in t
    assert int(t.detach()[1]) == 2
    assert bool(t[0])
    assert f"{t[1]:.2f}" == "2.00"
    assert f"{t}" == repr(t)
    assert {t: 1}[t] == 1
    assert [10, 20][Tensor(np.array(1))] == 20
    with pytest.raises(ValueError, match="ambiguous"):
        bool(t)


def test_repr_shows_values_dtype_and_history():
    assert repr(Tensor([1.0, 2.0])) == "Tensor([1., 2.])"
    assert repr(Tensor(np.array(1.0), requires_grad=True)) == (
        "Tensor(1., dtype=float64, requires_grad=True)"
    )


def test_copies_and_pickles_of_leaves_are_independent():
    t = Tensor([1.0, 2.0], requires_grad=True)
    (t * t).sum().backward()
    for other in (copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
        assert other.requires_grad
        np.testing.assert_array_equal(other.grad, [2, 4])
        assert not np.shares_memory(other.data, t.data)
        assert not np.shares_memory(other.grad, t.grad)
    with pytest.raises(TypeError, match="history"):
        copy.deepcopy(t * 2)
    with pytest.raises(TypeError, match="history"):
        pickle.dumps(t * 2)


def test_gradients_flow_through_copy_and_astype_but_not_through_detach():
    t = Tensor(np.array([2.0]), requires_grad=True)
    (t.copy() * t.astype(np.float32) * t.detach()).sum().backward()
    assert t.grad == 8


@pytest.mark.parametrize("dtype", [int, bool])
def test_a_cast_to_integers_or_booleans_has_no_history(dtype):
    t = Tensor(np.array([2.0, 0.0]), requires_grad=True)
    for x in (t, t * 1):
        whole = x.astype(dtype)
        assert isinstance(whole, Tensor)
        assert (whole.tolist(), whole.dtype) == ([dtype(2), dtype(0)], np.dtype(dtype))
        assert not whole.requires_grad


def test_big_endian_fortran_and_zero_stride_inputs_work():
    base = np.arange(6.0).reshape(2, 3)
    for a in (
        base.astype(">f8"),
        np.asfortranarray(base),
        np.broadcast_to(base[0], (2, 3)),
        base[::-1],
    ):
        t = Tensor(a, requires_grad=True)
        (t * t).sum().backward()
        np.testing.assert_allclose(t.grad, 2 * a)


def test_seed_restarts_the_generator_and_refuses_what_is_no_seed():
    minidl.seed(1)
    first = minidl.rng.generator().random()
    minidl.seed(1)
    assert minidl.rng.generator().random() == first
    assert minidl.rng.generator(1).random() == first
    assert minidl.rng.generator(0).random() == np.random.default_rng(0).random()
    mine = np.random.default_rng(1)
    assert minidl.rng.generator(mine) is mine
    for bad, error in [(-1, ValueError), ("1", TypeError), (1.5, TypeError), (True, TypeError),
                       (np.random.RandomState(0), TypeError)]:  # fmt: skip
        with pytest.raises(error, match="seed"):
            minidl.rng.generator(bad)
        with pytest.raises(error, match="seed"):
            minidl.seed(bad)


def test_numpys_own_random_state_is_neither_read_nor_set():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    minidl.seed(0)
    minidl.nn.Linear(3, 3)
    minidl.functional.dropout(np.ones(5), 0.5)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_operators_with_numbers_and_lists_on_the_left():
    t = Tensor(np.array([[1.0, 2.0], [4.0, 8.0]]))
    assert (1 - t).tolist() == [[0, -1], [-3, -7]]
    assert (8 / t).tolist() == [[8, 4], [2, 1]]
    assert (2**t).tolist() == [[2, 4], [16, 256]]
    assert ([[1.0, 0.0], [1.0, 1.0]] @ t).tolist() == [[1, 2], [5, 10]]


# --- Foreign arrays -------------------------------------------------------------------------------

MASKED = np.ma.array([1.0, 1e6], mask=[False, True])
FOREIGN = {
    "masked": (MASKED, r"filled\(value\)"),
    "matrix": (
        np.ndarray.view(np.array([[1.0, 2.0]]), np.matrix),
        r"matrix, whose arithmetic is its own: use np\.asarray",
    ),
    "complex": (np.array([1j, 2.0]), r"not an array of shape \(2,\) of complex128: .*\.real"),
    "object": (np.array([1.0, None]), "of object: convert with astype"),
    "timedelta": (np.array([1, 2], "m8[s]"), r"of timedelta64\[s\]: divide by a unit"),
    "datetime": (np.array([1, 2], "M8[D]"), r"of datetime64\[D\]: subtract a date"),
    "text": (np.array(["1", "2"]), "of <U1: convert with astype"),
    "bytes": (np.array([b"1", b"2"]), r"of \|S1: convert with astype"),
    "record": (np.zeros(2, [("a", float), ("b", int)]), "take one of its fields"),
}
OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.matmul, operator.pow,
]  # fmt: skip


def rows(x):
    """Two rows of its own kind."""
    return x.reshape(1, 2).repeat(2, axis=0)


CALLS = {
    "ufunc, left": lambda t, x: np.maximum(x, t),
    "ufunc, right": lambda t, x: np.logaddexp(t, x),
    "where": lambda t, x: np.where([True, False], t, x),
    "concatenate": lambda t, x: np.concatenate([t, x]),
    "stack": lambda t, x: np.stack([x, t]),
    "clip": lambda t, x: np.clip(t, x, None),
    "dot": lambda t, x: np.dot(x, t),
    "outer": lambda t, x: np.outer(t, x),
    "einsum": lambda t, x: np.einsum("i,i->", t, x),
    "in place": lambda t, x: operator.iadd(t, x),
    "in a list": lambda t, x: t * [x, x],
    "Tensor()": lambda t, x: Tensor(x),
    "Tensor(dtype=)": lambda t, x: Tensor(x, dtype=np.float32),
    "Tensor() of a list": lambda t, x: Tensor([x, x]),
    "data": lambda t, x: setattr(t, "data", x),
    "data of no leaf": lambda t, x: setattr(t.detach(), "data", x),
    "grad": lambda t, x: setattr(t, "grad", x),
    "backward": lambda t, x: (t * 1).backward(x),
    "linear": lambda t, x: functional.linear(x, Tensor(np.ones((3, 2)))),
    "linear, weight": lambda t, x: functional.linear(t, rows(x)),
    "batch_norm": lambda t, x: functional.batch_norm(rows(x), None, None, training=True),
    "layer": lambda t, x: nn.Linear(2, 1)(x),
    "mse": lambda t, x: functional.mse_loss(t, x),
    "mse, input": lambda t, x: functional.mse_loss(x, t),
    "l1": lambda t, x: functional.l1_loss(t, x),
    "huber": lambda t, x: functional.huber_loss(t, x),
    "bce": lambda t, x: functional.binary_cross_entropy_with_logits(t, x),
    "pos_weight": lambda t, x: functional.binary_cross_entropy_with_logits(t, t.data * 0, x),
    "class weight": lambda t, x: functional.cross_entropy(t.reshape(1, 2), np.array([0]), x),
    "class weight, kept": lambda t, x: nn.CrossEntropyLoss(weight=x),
    "direction": lambda t, x: minidl.hessian_vector_product(lambda t: (t**3).sum(), t, x),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_arrays_are_refused_on_both_sides_of_every_operator(kind):
    x, message = FOREIGN[kind]
    t = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    for compute in OPERATORS:
        with pytest.raises(TypeError, match=message):
            compute(t, x)
        if kind == "matrix" and compute is operator.pow:
            continue  # np.matrix sees to its own power before anybody is asked, and raises
        with pytest.raises(TypeError, match=message):
            compute(x, t)


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("call", CALLS)
def test_foreign_arrays_are_refused_wherever_numbers_go_in(call, kind):
    x, _ = FOREIGN[kind]
    t = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    with pytest.raises(TypeError):
        CALLS[call](t, x)
    assert t.grad is None
    assert t.tolist() == [1.0, 2.0]


class Scale(nn.Module):
    def __init__(self):
        self.w = nn.Parameter(np.ones(2))

    def forward(self, x):
        return x * self.w


def load_momentum(x):
    optimizer = optim.Momentum(Scale().parameters(), lr=0.1)
    state = optimizer.state_dict()
    state["groups"][0]["params"]["w"]["v"] = x
    optimizer.load_state_dict(state)


COPIED = {
    "state of a module": lambda x: Scale().load_state_dict({"w": x}),
    "state of an optimizer": load_momentum,
    "state of a transform": lambda x: Standardize().load_state_dict({"mean": x, "std": x}),
    "initial weights": lambda x: nn.Linear(1, 2, init=lambda shape, **_: x.reshape(shape)),
    "gradcheck": lambda x: minidl.gradcheck(lambda t: t * 2, x),
    "check_module": lambda x: check_module(Scale(), x, batched=False),
    "a metric": lambda x: evaluate(
        nn.Flatten(), nn.MSELoss(), (np.ones((2, 1)),) * 2, {"m": lambda *_: x.reshape(-1)[:1]}
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("call", COPIED)
def test_foreign_arrays_are_refused_wherever_numbers_are_copied(call, kind):
    x, message = FOREIGN[kind]
    with pytest.raises((TypeError, ValueError, AssertionError)) as caught:
        COPIED[call](x)
    if kind == "masked":
        assert re.search(message, str(caught.value))


def test_a_masked_array_is_refused_in_comparisons_conditions_and_indices():
    t = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    at = np.ma.array([0, 1], mask=[False, True])
    for call in (
        lambda: t < MASKED, lambda: t == MASKED,
        lambda: operator.lt(MASKED, t), lambda: operator.eq(MASKED, t),
        lambda: 1.0 in MASKED * t, lambda: np.where(MASKED > 0, t, 0.0), lambda: t[at],
        lambda: np.take(t, at), lambda: np.argmax(MASKED * t), lambda: np.less(t, MASKED),
        lambda: np.ma.add(t, 1.0), lambda: np.ma.exp(t), lambda: t * np.ma.masked,
        lambda: np.einsum("i,j->j", MASKED, t), lambda: t.take(at), lambda: np.ma.array([t, t]),
        lambda: functional.cross_entropy(t.reshape(2, 1), at * 0),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"filled\(value\)|unasked"):
            call()


def test_arrays_that_are_numbers_after_all_are_taken(tmp_path):
    class Named(np.ndarray):
        pass

    class Column:
        def __init__(self, values):
            self.values = values

        def __array__(self, dtype=None, copy=None):
            return self.values

    numbers = np.array([3.0, 5.0])
    mapped = np.memmap(tmp_path / "a", float, "w+", shape=(2,))
    mapped[:] = numbers
    for x in (mapped, numbers.view(Named), Column(numbers), [3.0, 5.0], (3, 5), np.array([3, 5])):
        t = Tensor(np.array([1.0, 2.0]), requires_grad=True)
        y = t * x
        assert type(y.data) is np.ndarray
        y.sum().backward()
        np.testing.assert_array_equal(t.grad, numbers)
        np.testing.assert_array_equal(Tensor(x).data, numbers)
        np.testing.assert_array_equal((x * t if not isinstance(x, Column) else y).data, [3, 10])
        t.grad = x
        np.testing.assert_array_equal(t.grad, numbers)
        t = t.detach()
        t.data = x
        np.testing.assert_array_equal(t.data, numbers)
    with pytest.raises(TypeError, match=r"np\.where takes real numbers .* not None: does"):
        np.where([True, False], t, None)


def test_a_tensor_holds_real_numbers_whatever_dtype_is_asked_for():
    for dtype in (complex, object, "m8[s]", str):
        with pytest.raises(TypeError, match="real numbers or booleans"):
            Tensor([1.0]).astype(dtype)
        with pytest.raises(TypeError, match="real numbers or booleans"):
            Tensor([1.0], dtype=dtype)
    t = Tensor(np.array([1.5, 0.0]))
    assert t.astype(int).tolist() == [1, 0]
    assert t.astype(bool).tolist() == [True, False]
    for data in (["1"], [1j], np.array([1j])):
        with pytest.raises(TypeError, match="real numbers or booleans"):
            Tensor(data, dtype=np.float32)
    assert Tensor([1, 2**40], dtype=np.int64).tolist() == [1, 2**40]


# --- Numbers, unasked -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [
        float, int, complex, math.exp, math.floor, math.ceil, math.sqrt,
        np.float64, np.float32, lambda s: np.zeros(2).fill(s), lambda s: np.int64(s),
        lambda s: operator.setitem(np.zeros(2), 0, s), lambda s: operator.mod("%.3f", s),
        lambda s: np.full(2, s), lambda s: np.zeros(2).put(0, s), lambda s: s * math.exp(s),
        lambda s: np.array([1.0, s]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("computed", [False, True])
def test_a_tensor_that_requires_a_gradient_does_not_become_a_number_unasked(convert, computed):
    s = Tensor(np.array(2.0), requires_grad=True)
    s = s * 1 if computed else s
    with pytest.raises((TypeError, ValueError, AssertionError)) as caught:
        convert(s)
    said = f"{caught.value} {caught.value.__cause__}"  # NumPy may add that s is no number
    assert "unasked, since its gradient would be lost: use ." in said


def test_a_tensor_becomes_a_number_where_no_gradient_is_lost():
    s = Tensor(np.array(2.0), requires_grad=True)
    with pytest.raises(TypeError, match=r"np\.exp\(x\), not math\.exp\(x\)"):
        math.exp(s)
    for t in (s.detach(), Tensor(2.0)):
        assert (float(t), int(t), complex(t), math.exp(t)) == (2.0, 2, 2 + 0j, math.exp(2.0))
    with no_grad():
        assert (float(s), int(s), math.sqrt(s * 2)) == (2.0, 2, 2.0)
        a = np.zeros(2)
        a[0] = s
        assert a[0] == 2
    assert (s.item(), f"{s:.3f}", f"{s * 2:.1e}", bool(s > 1)) == (2.0, "2.000", "4.0e+00", True)
    assert format(s, "") == repr(s)
    (s * np.exp(s)).backward()
    assert s.grad == pytest.approx(3 * math.exp(2.0))


# --- In place -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sign", "change"),
    [
        ("+=", operator.iadd), ("-=", operator.isub), ("*=", operator.imul),
        ("/=", operator.itruediv), ("**=", operator.ipow), ("@=", operator.imatmul),
    ],
)  # fmt: skip
def test_a_step_on_the_name_of_a_parameter_is_refused_with_the_remedy(sign, change):
    w = Tensor(np.eye(2), requires_grad=True)
    step = np.full((2, 2), 2.0)
    with no_grad(), pytest.raises(TypeError) as caught:
        change(w, step)
    assert f"write `w.data {sign} ...`" in str(caught.value)
    assert w.requires_grad
    # A Tensor that is no parameter, and one that the graph goes on from, are made anew.
    expected = change(np.eye(2), step)
    with no_grad():
        np.testing.assert_array_equal(change(w.detach(), step).data, expected)
    y = change(w, step)
    np.testing.assert_array_equal(y.data, expected)
    assert y.requires_grad
    np.testing.assert_array_equal(w.data, np.eye(2))
    with no_grad():
        assert not change(y, step).requires_grad


def test_backward_on_a_name_that_was_bound_anew_names_the_cause():
    w = Tensor(np.array([1.0]), requires_grad=True)
    (w * w).sum().backward()
    with no_grad():
        w = w - 0.1 * w.grad
    with pytest.raises(RuntimeError, match=r"`w = w - step` under no_grad\(\) .* w\.data -= step"):
        (w * w).sum().backward()


# --- Arguments that would be dropped or written into ----------------------------------------------


@pytest.mark.parametrize("dtype", [int, np.int8, bool, complex, object])
@pytest.mark.parametrize("function", [np.sum, np.mean, np.cumsum, np.var, np.std, np.prod])
def test_a_sum_in_integers_or_complex_numbers_is_refused(function, dtype):
    with pytest.raises(TypeError, match="dtype="):
        function(Tensor(np.array([1.7, 2.7]), requires_grad=True), dtype=dtype)


def test_a_dtype_to_compute_in_is_right_where_there_is_one():
    t = Tensor(np.array([1.5, 2.5], np.float32), requires_grad=True)
    for dtype in (np.float16, np.float32, np.float64):
        y = np.sum(t * t, dtype=dtype)
        assert (y.dtype, y.item()) == (dtype, 8.5)
        t.grad = None
        y.backward()
        assert t.grad.dtype == np.float32
        np.testing.assert_array_equal(t.grad, [3, 5])
    plain = Tensor(np.array([1.5, 2.5]))
    assert np.sum(plain, dtype=int).tolist() == 3  # as NumPy has it: there is no gradient to lose
    with pytest.raises(TypeError, match="dtype=complex128"):
        np.sum(plain, dtype=complex)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, t: np.floor(x, out=t), lambda x, t: np.floor(x, t), lambda x, t: np.exp(x, out=t),
        lambda x, t: np.add(x, x, out=t), lambda x, t: np.add(x, x, t),
        lambda x, t: np.greater(x, 0, out=t), lambda x, t: np.sum(x, 0, out=t),
        lambda x, t: np.cumsum(x, 0, out=t), lambda x, t: np.cumsum(x, 0, None, t),
        lambda x, t: np.round(x, 1, out=t), lambda x, t: np.round(x, 1, t),
        lambda x, t: np.argmax(x[None], 0, t), lambda x, t: np.all(x[None], 0, t),
        lambda x, t: np.clip(x, 0, 1, out=t), lambda x, t: np.clip(x, 0, 1, t),
        lambda x, t: np.take(x, [0, 1], out=t), lambda x, t: np.concatenate([x[:1], x[1:]], out=t),
        lambda x, t: np.stack([x[0], x[1]], out=t), lambda x, t: np.dot(x, np.eye(2), out=t),
        lambda x, t: np.dot(x, np.eye(2), t), lambda x, t: np.einsum("i->i", x, out=t),
        lambda x, t: np.prod(x[None], 0, out=t), lambda x, t: np.matmul(np.eye(2), x, out=t),
        lambda x, t: np.outer(x[:1], x, out=t), lambda x, t: np.trace(x[None, None], out=t),
        lambda x, t: np.copyto(t, x), lambda x, t: np.put(t, [0], 5.0),
        lambda x, t: np.add.at(t, [0], 1.0), lambda x, t: np.fill_diagonal(t, 1.0),
        lambda x, t: np.modf(x, t, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("tensor_in", [False, True])
def test_nothing_writes_into_a_tensor(call, tensor_in):
    x = np.array([1.4, 2.6])
    x = Tensor(x, requires_grad=True) if tensor_in else x
    for dtype in (float, int, bool):
        t = Tensor(np.zeros(2, dtype))
        with pytest.raises((TypeError, ValueError)):
            call(x, t)
        assert not t.data.any()


def test_out_of_a_function_that_returns_plain_arrays_may_be_a_plain_array():
    t, out = Tensor(np.array([1.4, 2.6]), requires_grad=True), np.zeros(2)
    assert np.floor(t, out=out) is out
    np.testing.assert_array_equal(out, [1, 2])
    with pytest.raises(TypeError, match=r"np\.floor with out= would change a Tensor in place"):
        np.floor(t, out=t)


@pytest.mark.parametrize(
    "call",
    [
        lambda t, out: np.sum(t, out=out), lambda t, out: np.max(t, out=out),
        lambda t, out: np.clip(t, 1.0, 2.0, out=out), lambda t, out: np.std(t, out=out),
        lambda t, out: np.concatenate([t, t], out=out), lambda t, out: np.prod(t, out=out),
        lambda t, out: np.einsum("i->i", t, out=out), lambda t, out: np.take(t, [0], out=out),
    ],
)  # fmt: skip
def test_out_of_a_differentiable_function_is_refused_as_what_it_is(call):
    with pytest.raises(TypeError, match="out= would write past the graph"):
        call(Tensor(np.array([1.0, 2.0]), requires_grad=True), np.zeros(2))


def test_a_gradient_that_would_be_lost_in_an_option_is_refused():
    x, t = Tensor(np.ones((3, 2))), Tensor(np.ones(2), requires_grad=True)
    running = np.zeros(2)
    for call, name in [
        (lambda: functional.batch_norm(x, t, running, training=True), "running_mean"),
        (lambda: functional.batch_norm(x, running, t, training=True), "running_var"),
        (lambda: functional.leaky_relu(x, t), "negative_slope"),
        (lambda: functional.leaky_relu(x, negative_slope=t), "negative_slope"),
        (lambda: np.where(t, t, 0.0), "condition"),
    ]:
        with pytest.raises(TypeError, match=f"not differentiable in its argument '{name}'"):
            call()


@pytest.mark.parametrize(
    "call",
    [
        lambda t: np.exp(t, where=np.array([True, False])), lambda t: np.exp(t, dtype=np.float32),
        lambda t: np.exp(t, out=np.zeros(2)), lambda t: np.add(t, t, np.zeros(2)),
        lambda t: np.add(t, t, where=np.array([True, False])), lambda t: np.add(t, t, casting="no"),
        lambda t: np.add(1.0, 2.0, where=t), lambda t: functional.relu(t, beta=2.0),
        lambda t: functional.relu(x=t, beta=2.0), lambda t: functional.sigmoid(t, axis=1),
        lambda t: functional.softplus(t, 1.0, threshold=20), lambda t: functional.relu(t, t),
        lambda t: np.transpose(t, None, order="C"), lambda t: np.var(t, where=[True, False]),
        lambda t: np.std(t, mean=5.0), lambda t: np.cumprod(t, dtype=int),
        lambda t: np.einsum("i->i", t, order="F"), lambda t: np.einsum("i->i", t, dtype=np.float32),
        lambda t: np.prod(t, dtype=int), lambda t: np.mean(t, dtype=int),
    ],
)  # fmt: skip
def test_an_argument_that_would_be_dropped_is_refused(call):
    with pytest.raises(TypeError):
        call(Tensor(np.array([1.0, 2.0]), requires_grad=True))


def test_arguments_by_name_reach_the_function_and_its_rule():
    x = np.random.default_rng(0).normal(size=(2, 3))
    t = Tensor(x, requires_grad=True)
    since_numpy_2_1 = [
        (lambda t: np.reshape(t, shape=(3, 2)), lambda t: np.reshape(t, (3, 2))),
        (lambda t: np.clip(t, -0.1, max=0.1), lambda t: np.clip(t, -0.1, 0.1)),
    ] if np.lib.NumpyVersion(np.__version__) >= "2.1.0" else []  # fmt: skip
    for by_name, by_position in [
        (lambda t: functional.softmax(t, axis=0), lambda t: functional.softmax(t, 0)),
        (lambda t: functional.softmax(x=t, axis=0), lambda t: functional.softmax(t, 0)),
        (lambda t: functional.relu(x=t), functional.relu),
        (lambda t: np.sum(t, axis=1, keepdims=True), lambda t: np.sum(t, 1, None, None, True)),
        (lambda t: np.reshape(t, (3, 2), order="F"), lambda t: np.reshape(t, (3, 2), "F")),
        (lambda t: np.transpose(t, axes=(1, 0)), lambda t: np.transpose(t, (1, 0))),
        (lambda t: np.clip(t, -0.1, a_max=0.1), lambda t: np.clip(t, -0.1, 0.1)),
        *since_numpy_2_1,
        (lambda t: functional.leaky_relu(t, negative_slope=0.3),
         lambda t: functional.leaky_relu(t, 0.3)),
    ]:  # fmt: skip
        a, b = by_name(t), by_position(t)
        np.testing.assert_array_equal(a.data, b.data)
        g = np.random.default_rng(1).normal(size=a.shape)
        np.testing.assert_array_equal(grad(a, t, g), grad(b, t, g))
