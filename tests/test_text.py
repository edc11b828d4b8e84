"""What models of text are made of: layer norm, embedding, attention, and modules in lists."""

import math

import numpy as np
import pytest
from reference import LossCase, text

import minidl
from minidl import Tensor, data, functional, grad, nn, optim
from minidl import functional as F
from minidl.derivatives import place
from minidl.testing import check_module

INF = math.inf


def leaf(values, dtype="float64"):
    return Tensor(np.array(values, dtype), requires_grad=True)


def random(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# --- PyTorch's numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", text(), ids=str)
def test_value_and_gradients_are_those_of_pytorch(case: LossCase, dtype: str) -> None:
    close = {"rtol": 1e-10, "atol": 1e-13} if dtype == "float64" else {"rtol": 2e-5, "atol": 3e-6}
    tensors = {name: leaf(case.arrays[name], dtype) for name in case.gradients}
    given = {
        name: tensors.get(name, array.astype(dtype) if array.dtype.kind == "f" else array)
        for name, array in case.arrays.items()
    }
    value = getattr(functional, case.function)(**given, **case.options)
    assert value.dtype == dtype
    np.testing.assert_allclose(value.data, case.value, **close)
    value.backward(case.upstream)
    for name, tensor in tensors.items():
        np.testing.assert_allclose(tensor.grad, case.gradients[name], **close, err_msg=name)


# --- Layer norm -----------------------------------------------------------------------------------


def test_layer_norm_of_a_sample_does_not_depend_on_the_others():
    layer = nn.LayerNorm(4)
    x = random(5, 4, dtype="float32")
    np.testing.assert_allclose(layer(x).data[2:3], layer(x[2:3]).data, rtol=1e-6)
    layer.eval()
    np.testing.assert_array_equal(layer(x).data, nn.LayerNorm(4)(x).data)


def test_layer_norm_of_numbers_far_from_zero_keeps_its_digits():
    x = (10_000 + random(3, 64)).astype(np.float32)
    exact = (x - x.mean(axis=1, dtype=float, keepdims=True)) / x.std(
        axis=1, dtype=float, keepdims=True
    )
    np.testing.assert_allclose(F.layer_norm(x, 64, eps=0.0).data, exact, rtol=1e-4, atol=1e-5)


def test_layer_norm_of_large_float16_numbers_does_not_overflow():
    x = np.array([[300.0, -300.0, 600.0, -600.0]] * 2, np.float16)
    y = F.layer_norm(Tensor(x), 4)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.data[0], [0.632, -0.632, 1.265, -1.265], atol=2e-3)


def test_layer_norm_of_a_constant_is_its_bias_and_has_a_finite_gradient():
    x = leaf(np.ones((2, 3)))
    y = F.layer_norm(x, 3, None, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(y.data, [[1, 2, 3]] * 2)
    y.sum().backward()
    np.testing.assert_allclose(x.grad, 0, atol=1e-12)


def test_a_batch_of_none_is_normalised_to_none():
    layer = nn.LayerNorm((2, 3))
    x = Tensor(np.zeros((0, 2, 3), np.float32), requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == (0, 2, 3)
    np.testing.assert_array_equal(layer.weight.grad, np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.LayerNorm(4)(np.zeros((2, 3))), r"x has shape \(2, 3\), expected \(..., 4\)"),
        (lambda: F.layer_norm(np.zeros(3), (2, 3)), r"x has shape \(3,\), expected \(..., 2, 3\)"),
        (
            lambda: F.layer_norm(np.zeros((2, 3)), 3, np.ones(2)),
            r"weight has shape \(2,\), expected \(3,\)",
        ),
        (
            lambda: F.layer_norm(np.zeros((2, 3)), 3, np.ones(3), np.ones((1, 3))),
            r"bias has shape \(1, 3\), expected \(3,\)",
        ),
        (lambda: nn.LayerNorm(0), "normalized_shape is a whole number of at least 1, got 0"),
        (lambda: nn.LayerNorm(()), r"normalized_shape has one axis at least, got \(\)"),
        (lambda: nn.LayerNorm(3, eps=0), "LayerNorm: eps is a finite number, above 0"),
    ],
)
def test_layer_norm_refuses_what_does_not_fit_and_names_the_sizes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_layer_norm_shows_how_it_was_made():
    assert repr(nn.LayerNorm(3)) == "LayerNorm(3, eps=1e-05)"
    assert repr(nn.LayerNorm([2, 3], 0.1)) == "LayerNorm((2, 3), eps=0.1)"
    assert repr(nn.LayerNorm(3, bias=False)) == "LayerNorm(3, eps=1e-05, bias=False)"
    plain = nn.LayerNorm(3, elementwise_affine=False)
    assert repr(plain) == "LayerNorm(3, eps=1e-05, elementwise_affine=False)"
    assert not plain.state_dict()
    np.testing.assert_allclose(nn.LayerNorm(2, eps=3.0)(np.array([[0.0, 2.0]])).data, [[-0.5, 0.5]])


# --- Embedding and indices ------------------------------------------------------------------------


def test_embedding_adds_the_gradients_of_a_row_that_is_taken_often():
    layer = nn.Embedding(4, 2, rng=0, dtype="float64")
    y = layer(np.array([[1, 1, 3], [1, 0, 3]]))
    assert y.shape == (2, 3, 2)
    y.backward(np.arange(12.0).reshape(2, 3, 2))
    np.testing.assert_array_equal(layer.weight.grad, [[8, 9], [8, 11], [0, 0], [14, 16]])


def test_embedding_takes_integers_of_any_kind_and_also_none_of_them():
    weight = leaf(random(5, 2))
    for dtype in (np.int8, np.uint8, np.int32, np.int64, np.uint64):
        np.testing.assert_array_equal(F.embedding(np.array([4, 0], dtype), weight).data[0],
                                      weight.data[4])  # fmt: skip
    y = F.embedding(np.zeros((0, 3), int), weight)
    y.sum().backward()
    assert y.shape == (0, 3, 2)
    np.testing.assert_array_equal(weight.grad, np.zeros((5, 2)))


@pytest.mark.parametrize(
    ("numbers", "kind", "message"),
    [
        ([0, 5], ValueError, "5 is out of range: a table of 5 rows takes 0 to 4"),
        ([0, -1], ValueError, "-1 is out of range: a table of 5 rows takes 0 to 4"),
        ([0.0], TypeError, "must be integers, not float64"),
        ([True], TypeError, "must be integers, not bool"),
    ],
)
def test_embedding_refuses_what_names_no_row(numbers, kind, message):
    with pytest.raises(kind, match=message):
        nn.Embedding(5, 2)(np.array(numbers))


def test_embedding_refuses_a_table_that_is_none():
    with pytest.raises(ValueError, match=r"weight has shape \(5,\), expected \(V, D\)"):
        F.embedding(np.array([0]), Tensor(np.zeros(5)))
    with pytest.raises(ValueError, match="num_embeddings is a whole number of at least 1, got 0"):
        nn.Embedding(0, 2)
    with pytest.raises(ValueError, match="Embedding: embedding_dim is a whole number of at l"):
        nn.Embedding(2, 0)
    with pytest.raises(ValueError, match="Embedding: std is a finite number, at least 0, got -1"):
        nn.Embedding(2, 3, std=-1)
    assert not nn.Embedding(2, 3, std=0).weight.data.any()
    assert nn.Embedding(1, 1).weight.shape == (1, 1)


def test_the_rows_of_an_embedding_start_as_wide_as_is_asked():
    assert 0.95 < nn.Embedding(100, 100, rng=0).weight.data.std() < 1.05
    assert 0.019 < nn.Embedding(100, 100, std=0.02, rng=0).weight.data.std() < 0.021


INDICES = {
    "a row twice": (np.array([1, 1]), (3, 4)),
    "negative": (np.array([-1, 2, 0]), (3, 4)),
    "a list": ([0, 0, -1], (3, 4)),
    "two axes": (np.array([[0, 2], [2, 2]]), (3, 4)),
    "pairs": (([0, 0], [1, 1]), (3, 4)),
    "a number and a list": ((0, [1, -1, 1]), (3, 4)),
    "a column and a row": ((np.array([[0], [2]]), np.array([1, 1])), (3, 4, 2)),
    "behind an axis": ((slice(None), [3, 3, 0]), (3, 4)),
    "behind two axes": ((slice(None), slice(None), np.array([[1, 1]])), (3, 4, 2)),
    "around an axis": (([0, 0], slice(None), [1, 1]), (3, 4, 2)),
    "behind a part of an axis": ((slice(1, 3), [0, 0]), (3, 4)),
    "before dots": (([0, 0], ...), (3, 4)),
    "behind dots": ((..., [0, 0]), (3, 4)),
    "a new axis": ((None, [0, 0]), (3, 4)),
    "a mask and a list": ((np.array([True, False, True]), [1, 1]), (3, 4)),
    "unsigned": (np.array([2, 0, 2], np.uint8), (3, 4)),
    "none": (np.zeros(0, int), (3, 4)),
    "of an empty array": (np.zeros((0,), int), (3, 0)),
}


@pytest.mark.parametrize("name", INDICES)
def test_the_way_back_of_an_index_adds_up_what_was_taken_twice(name):
    index, shape = INDICES[name]
    x = leaf(random(*shape))
    y = x[index]
    g = random(*y.shape, seed=1)
    right = np.zeros(shape)
    np.add.at(right, index, g)
    y.backward(g)
    np.testing.assert_allclose(x.grad, right, rtol=1e-12)
    assert minidl.gradcheck(lambda t: place(t, index, shape), g, order=2).ok


def test_counting_letters_is_the_way_back_of_looking_them_up():
    letters = np.random.default_rng(0).integers(0, 7, 1000)
    table = leaf(np.zeros((7, 2)), "float32")
    F.embedding(letters, table).sum().backward()
    np.testing.assert_array_equal(table.grad[:, 0], np.bincount(letters, minlength=7))


# --- Attention ------------------------------------------------------------------------------------


def attention_by_hand(q, k, v, visible):
    """Loops over queries, for two axes."""
    y = np.zeros((len(q), v.shape[1]))
    for i in range(len(q)):
        keys = [j for j in range(len(k)) if visible[i][j]]
        e = [math.exp(q[i] @ k[j] / math.sqrt(q.shape[1])) for j in keys]
        for share, j in zip(e, keys, strict=True):
            y[i] += share / sum(e) * v[j]
    return y


def test_attention_is_a_mean_of_values_by_how_keys_fit_queries():
    q, k, v = random(3, 4), random(5, 4, seed=1), random(5, 2, seed=2)
    everything = np.ones((3, 5), bool)
    y = F.scaled_dot_product_attention(q, k, v)
    assert type(y) is np.ndarray
    np.testing.assert_allclose(y, attention_by_hand(q, k, v, everything), rtol=1e-12)
    mask = np.array([[1, 0, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]], bool)
    for given, causal, visible in [
        (mask, False, mask), (None, True, np.tri(3, 5)), (mask, True, mask & np.tri(3, 5, 0, bool)),
        (np.where(mask, 0.0, -INF), True, mask & np.tri(3, 5, 0, bool)),
    ]:  # fmt: skip
        y = F.scaled_dot_product_attention(q, k, v, given, causal)
        np.testing.assert_allclose(y, attention_by_hand(q, k, v, visible), rtol=1e-12)


def test_attention_takes_lists_numbers_to_add_and_few_features():
    q, k, v = random(3, 1), random(4, 1, seed=1), random(4, 2, seed=2)
    y = F.scaled_dot_product_attention(q.tolist(), k.tolist(), v.tolist(), np.tri(3, 4).tolist())
    bias = np.exp(q @ k.T + np.tri(3, 4))  # of one feature, the root of how many is 1
    np.testing.assert_allclose(y, bias / bias.sum(1, keepdims=True) @ v, rtol=1e-5)
    y = F.scaled_dot_product_attention(q[:, :0], k[:, :0], v)  # nothing to tell the keys apart by
    np.testing.assert_allclose(y, np.broadcast_to(v.mean(0), (3, 2)), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_mask_does_not_widen_attention(dtype):
    q = leaf(random(3, 2), dtype)
    for mask, causal in [(None, True), (np.eye(3) > 0, False), (np.zeros((3, 3)), True)]:
        assert F.scaled_dot_product_attention(q, q, q, mask, causal).dtype == dtype


def test_a_query_that_sees_nothing_gets_zeros_and_sends_nothing_back():
    q, k, v = leaf(random(2, 3)), leaf(random(4, 3, seed=1)), leaf(random(4, 3, seed=2))
    for mask in (np.zeros((2, 4), bool), np.full((2, 4), -INF)):
        y = F.scaled_dot_product_attention(q, k, v, mask)
        np.testing.assert_array_equal(y.data, 0)
        for d in grad(y, [q, k, v], np.ones(y.shape)):
            np.testing.assert_array_equal(d, 0)


def test_what_comes_later_changes_nothing_before_it():
    q, k, v = (random(2, 6, 3, seed=i) for i in range(3))
    before = F.scaled_dot_product_attention(q, k, v, causal=True)
    for x in (q, k, v):
        x[:, 4:] = 100.0
    after = F.scaled_dot_product_attention(q, k, v, causal=True)
    np.testing.assert_array_equal(before[:, :4], after[:, :4])


def test_a_nan_in_a_mask_is_not_taken_for_a_mask():
    q = random(2, 2)
    assert np.isnan(F.scaled_dot_product_attention(q, q, q, np.array([[0, math.nan]]))).all()


@pytest.mark.parametrize(
    ("shapes", "mask", "message"),
    [
        (((3,), (3, 2), (3, 2)), None, r"q has shape \(3,\), expected \(..., places, features\)"),
        (((3, 2), (4, 5), (4, 2)), None, "2 and 5 features and must have as many"),
        (((3, 2), (4, 2), (5, 2)), None, "4 places and v of shape .5, 2. has 5"),
        (((2, 3, 2), (3, 4, 2), (4, 2)), None, r"first axes of q \(2, 3, 2\), k \(3, 4, 2\)"),
        (((3, 2), (2, 4, 2), (3, 4, 2)), None, r"k \(2, 4, 2\) and v \(3, 4, 2\) do not"),
        (((3, 2), (4, 2), (4, 2)), (3, 3), r"mask of shape \(3, 3\) .* scores of shape \(3, 4\)"),
        (((3, 2), (4, 2), (4, 2)), (2, 4), r"mask of shape \(2, 4\) does not fit"),
        (((3, 2), (4, 2), (4, 2)), (2, 3, 4), r"mask of shape \(2, 3, 4\) does not fit"),
        (((3, 2), (4, 2), (4, 2)), (1, 3, 4), r"mask of shape \(1, 3, 4\) does not fit"),
    ],
)
def test_attention_refuses_what_does_not_fit_and_names_the_sizes(shapes, mask, message):
    q, k, v = (Tensor(np.zeros(shape)) for shape in shapes)
    mask = None if mask is None else np.ones(mask, bool)
    with pytest.raises(ValueError, match=message):
        F.scaled_dot_product_attention(q, k, v, mask)


# --- Modules in lists and by name -----------------------------------------------------------------


def test_a_module_list_is_a_list_whose_parts_are_trained_and_saved():
    layers = nn.ModuleList(nn.Linear(2, 2, rng=i) for i in range(2))
    assert layers.append(nn.Linear(2, 3, rng=2)) is layers
    assert [*layers.state_dict()] == [f"{i}.{n}" for i in range(3) for n in ("weight", "bias")]
    assert len(layers) == 3
    assert layers[-1].weight.shape == (3, 2)
    assert isinstance(layers[:2], nn.ModuleList)
    assert [*layers[:2]] == [*layers][:2]
    layers[-1] = nn.Linear(2, 2)
    assert layers[2].weight.shape == (2, 2)
    with pytest.raises(IndexError):
        layers[3] = nn.ReLU()
    layers.eval()
    assert not any(layer.training for layer in layers)


def test_a_module_dict_has_its_modules_by_name():
    assert len(nn.ModuleDict()) == len(nn.ModuleDict({})) == 0
    heads = nn.ModuleDict({"a": nn.Linear(2, 1), "b": nn.Linear(2, 3)})
    heads["c"] = nn.ReLU()
    assert [*heads] == heads.keys() == ["a", "b", "c"]
    assert len(heads) == 3
    assert "a" in heads
    assert "d" not in heads
    assert [*heads.state_dict()] == ["a.weight", "a.bias", "b.weight", "b.bias"]
    assert dict(heads.items())["b"] is heads["b"] is heads.values()[1]
    with pytest.raises(KeyError, match="ModuleDict has a, b, c, not d"):
        heads["d"]


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: nn.ModuleList([nn.ReLU]), TypeError, r"put brackets behind it, ReLU\(...\)"),
        (lambda: nn.ModuleList([3]), TypeError, "ModuleList takes modules, not a int"),
        (lambda: nn.ModuleDict({"a": np.ones(2)}), TypeError, "takes modules, not a ndarray"),
        (lambda: nn.ModuleDict({1: nn.ReLU()}), TypeError, "takes words for keys, not 1"),
        (lambda: nn.ModuleDict({"a.b": nn.ReLU()}), ValueError, "'a.b' cannot be the key"),
        (lambda: nn.ModuleDict({"": nn.ReLU()}), ValueError, "'' cannot be the key"),
        (lambda: nn.ModuleDict({"train": nn.ReLU()}), ValueError, "'train' cannot be the key"),
        (lambda: nn.Softmax(1.5), TypeError, "Softmax: axis is a whole number, got 1.5"),
        (lambda: nn.Softmax(True), TypeError, "Softmax: axis is a whole number, got True"),
        (lambda: nn.ModuleList()(1), NotImplementedError, "ModuleList needs a method forward"),
    ],
)
def test_lists_refuse_what_is_no_module_and_names_that_would_be_lost(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


class Mixed(nn.Module):
    """A small model of all of them."""

    def __init__(self) -> None:
        self.table = nn.Embedding(5, 4, rng=0)
        self.parts = nn.ModuleDict({"norm": nn.LayerNorm(4), "act": nn.GELU("tanh")})
        self.layers = nn.ModuleList(nn.Linear(4, 4, rng=i) for i in range(2))
        self.out = nn.Sequential(nn.Linear(4, 5, rng=3))

    def forward(self, i):
        x = self.table(i)
        for layer in self.layers:
            h = self.parts["norm"](x)
            h = F.scaled_dot_product_attention(h, h, layer(h), causal=True)
            x = x + self.parts["act"](h)
        return np.swapaxes(self.out(x), 1, 2)


def test_a_model_of_all_conforms():
    i = np.array([[0, 4, 2], [2, 2, 1], [1, 3, 0]])
    assert check_module(Mixed(), i, order=2)


@pytest.mark.parametrize("rule", [optim.AdamW, lambda p: optim.Momentum(p, 0.1, nesterov=True)])
def test_a_model_of_all_trains_compiled_as_it_does_eagerly(rule):
    rng = np.random.default_rng(0)
    i, targets = rng.integers(0, 5, (8, 6)), rng.integers(0, 5, (8, 6))
    ends, losses = [], []
    for compiled in (True, False):
        model, loss = Mixed(), nn.CrossEntropyLoss()
        step = minidl.compile(model, loss, rule(model.parameters()))
        for _ in range(5):
            last = step(i, targets) if compiled else step.eager(i, targets)[0]
        losses.append(float(last))
        ends.append(model.state_dict())
    assert losses[0] == losses[1]
    for name, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][name], err_msg=name)


def test_a_compiled_step_refuses_a_number_that_names_no_row():
    model = Mixed()
    step = minidl.compile(model, nn.CrossEntropyLoss(), optim.AdamW(model.parameters()))
    i = np.array([[0, 1], [2, 3]])
    for _ in range(4):
        step(i, i)
    with pytest.raises(ValueError, match="5 is out of range: a table of 5 rows takes 0 to 4"):
        step(np.array([[0, 5], [0, 0]]), i)


# --- Names ----------------------------------------------------------------------------------------


def test_there_are_5163_names_in_order_each_once():
    names = data.load_names()
    assert len(names) == len(set(names)) == 5163
    assert names == sorted(names)
    assert set("".join(names)) == set("abcdefghijklmnopqrstuvwxyz")
    assert {len(name) for name in names} == set(range(2, 12))
    assert {"mary", "james", "linda", "robert"} <= set(names)
    names.clear()
    assert len(data.load_names()) == 5163
