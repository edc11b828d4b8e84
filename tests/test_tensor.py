"""The Tensor: what it is made from, its dtype, its operators, and what it refuses."""

import copy
import pickle

import numpy as np
import pytest

import minidl
from minidl import Tensor


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


def test_data_can_be_rebound_to_the_same_shape():
    t = Tensor([1.0, 2.0], requires_grad=True)
    t.data = [3.0, 4.0]
    assert t.dtype == np.float32
    t.data -= 1
    assert t.tolist() == [2.0, 3.0]
    t.data = np.array([1.0, 1.0])
    (t * 1).sum().backward()
    assert t.grad.dtype == np.float64
    with pytest.raises(ValueError, match=r"shape \(3,\) cannot take the place"):
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
    with pytest.raises(ValueError, match="shape of its Tensor"):
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
    ("argmax", (1,), {}), ("argmin", (), {}), ("all", (), {}), ("any", (0,), {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "kwargs"), METHODS)
def test_methods_do_what_the_methods_of_an_ndarray_do(name, args, kwargs):
    a = np.random.default_rng(0).normal(size=(2, 3))
    expected = getattr(a, name)(*args, **kwargs)
    result = getattr(Tensor(a, requires_grad=True), name)(*args, **kwargs)
    plain = result.data if isinstance(result, Tensor) else result
    assert plain.dtype == expected.dtype
    np.testing.assert_allclose(plain, expected)


def test_python_protocols():
    t = Tensor([1.0, 2.0], requires_grad=True)
    assert [float(x) for x in t] == [1.0, 2.0]
    assert 2.0 in t
    assert 5 not in t
    assert int(t[1]) == 2
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
