"""Layers and initial values, the networks made of them, and PyTorch's networks in them."""

import copy
import gc
import math

import numpy as np
import pytest
from networks import names, net, random
from reference import Network, networks

import minidl
from minidl import Tensor, functional, nn
from minidl.autograd import Node

# --- Networks of PyTorch --------------------------------------------------------------------------


def built(network: Network) -> nn.Sequential:
    """The network in minidl, with PyTorch's weights loaded by name."""
    classes = {"Linear": nn.Linear, "BatchNorm1d": nn.BatchNorm, "ReLU": nn.ReLU}
    layers = []
    for kind, options in network.layers:
        dtype = {} if kind == "ReLU" else {"dtype": network.dtype}
        layers.append(classes[kind](**options, **dtype))
    model = nn.Sequential(*layers)
    model.load_state_dict(network.state)
    return model


CLOSE = {"float32": {"rtol": 1e-5, "atol": 1e-6}, "float64": {"rtol": 1e-10, "atol": 1e-14}}


@pytest.mark.parametrize("network", networks(), ids=str)
def test_networks_of_pytorch_load_by_name_and_compute_the_same(network: Network) -> None:
    model, close = built(network), CLOSE[network.dtype]
    assert list(model.state_dict()) == list(network.state)
    loss = nn.CrossEntropyLoss()

    model.eval()
    output = model(network.inputs)
    assert output.dtype == network.dtype
    np.testing.assert_allclose(output.data, network.eval_output, **close)
    np.testing.assert_allclose(loss(output, network.labels).data, network.eval_loss, **close)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, network.state[name])

    model.train()
    x = Tensor(network.inputs.copy(), requires_grad=True)
    output = model(x)
    np.testing.assert_allclose(output.data, network.train_output, **close)
    value = loss(output, network.labels)
    np.testing.assert_allclose(value.data, network.train_loss, **close)
    value.backward()
    np.testing.assert_allclose(x.grad, network.input_gradient, **close)
    parameters = dict(model.named_parameters())
    assert list(parameters) == list(network.gradients)
    for name, parameter in parameters.items():
        np.testing.assert_allclose(parameter.grad, network.gradients[name], **close, err_msg=name)
    state = model.state_dict()
    for name, after in network.buffers_after.items():
        assert state[name].dtype == after.dtype
        np.testing.assert_allclose(state[name], after, **close, err_msg=name)


@pytest.mark.parametrize("network", networks("float64"), ids=str)
def test_training_without_input_gradients_gives_the_same_weight_gradients(network) -> None:
    model = built(network)
    nn.CrossEntropyLoss()(model(network.inputs), network.labels).backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(
            parameter.grad, network.gradients[name], **CLOSE["float64"], err_msg=name
        )


# --- Sequential -----------------------------------------------------------------------------------


def test_sequential_is_a_sequence_of_its_modules() -> None:
    model = net()
    assert len(model) == 4
    assert [type(m).__name__ for m in model] == ["Linear", "BatchNorm", "ReLU", "Linear"]
    assert model[-1] is model[3]
    head = model[:2]
    assert type(head) is nn.Sequential
    assert names(head) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert head[0] is model[0]
    assert list(model[::-1]) == list(model)[::-1]
    assert len(model[4:]) == 0
    for i in (4, -5):
        with pytest.raises(IndexError):
            model[i]
    x = random(3, 4)
    model.eval()
    np.testing.assert_array_equal(model[2:](model[:2](x)).data, model(x).data)
    assert nn.Sequential()(x) is x


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([nn.ReLU], r"argument 0 is a type: put brackets behind it, ReLU\(...\)"),
        ([nn.ReLU(), functional.relu], "argument 1 is a function: write a Module"),
        ([[nn.ReLU()]], r"argument 0 is a list: unpack it with a star, Sequential\(\*modules\)"),
        ([None], "argument 0 is a NoneType"),
    ],
)
def test_sequential_refuses_what_is_not_a_module(arguments, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        nn.Sequential(*arguments)


# --- Layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data", ["uint8", "int64", "float16", "float32", "float64"])
def test_raw_arrays_are_taken_in_the_dtype_of_the_parameters(dtype: str, data: str) -> None:
    model = nn.Sequential(
        nn.BatchNorm(4, dtype=dtype),
        nn.Linear(4, 5, dtype=dtype),
        nn.BatchNorm(5, dtype=dtype),
        nn.GELU(),
        nn.Dropout(0.1, rng=0),
        nn.Linear(5, 3, dtype=dtype),
    )
    x = (random(6, 4) * 50 + 100).astype(data)
    y = model(x)
    assert y.dtype == dtype
    loss = nn.CrossEntropyLoss()(y, [0, 1, 2, 0, 1, 2])
    assert loss.dtype == dtype
    loss.backward()
    assert {p.grad.dtype for p in model.parameters()} == {np.dtype(dtype)}
    assert model.eval()(x).dtype == dtype
    assert {a.dtype.name for a in model.state_dict().values()} == {dtype, "int64"}


@pytest.mark.parametrize("bad", [0, -1, 2.0, True, "3", None])
def test_layers_refuse_a_size_that_is_no_whole_number_above_zero(bad) -> None:
    error = ValueError if type(bad) is int else TypeError
    message = "is a whole number.*, got"
    with pytest.raises(error, match=f"Linear: in_features {message}"):
        nn.Linear(bad, 3)
    with pytest.raises(error, match=f"Linear: out_features {message}"):
        nn.Linear(3, bad)
    with pytest.raises(error, match=f"BatchNorm: num_features {message}"):
        nn.BatchNorm(bad)
    assert nn.Linear(np.int64(2), np.uint8(3)).weight.shape == (3, 2)


def test_linear_starts_with_he_weights_and_zero_bias() -> None:
    layer = nn.Linear(300, 200, rng=0)
    assert layer.weight.shape == (200, 300)
    np.testing.assert_array_equal(layer.weight.data, nn.init.he_normal((200, 300), rng=0))
    np.testing.assert_array_equal(layer.bias.data, np.zeros(200))
    assert nn.Linear(2, 3, bias=False).bias is None


def test_linear_takes_an_initializer_by_name_or_function() -> None:
    assert (nn.Linear(2, 3, init="zeros").weight.data == 0).all()
    assert (nn.Linear(2, 3, init=nn.init.ones).weight.data == 1).all()
    layer = nn.Linear(2, 3, init=lambda shape, rng, dtype: np.full(shape, 0.5))
    assert layer.weight.dtype == np.float32
    with pytest.raises(ValueError, match=r"initializer is 'he_normal', .* or 'ones', not 'he'"):
        nn.Linear(2, 3, init="he")
    with pytest.raises(ValueError, match=r"init returned shape \(2, 3\), expected \(3, 2\)"):
        nn.Linear(2, 3, init=lambda shape, rng, dtype: np.zeros(shape[::-1]))


def test_layers_are_repeatable_and_leave_numpys_generator_alone() -> None:
    before = np.random.get_state()  # noqa: NPY002
    x = np.ones((4, 50), "float32")
    for make in (
        lambda rng: nn.Linear(50, 3, rng=rng)(x).data,
        lambda rng: nn.Dropout(rng=rng)(x),
    ):
        np.testing.assert_array_equal(make(1), make(1))
        np.testing.assert_array_equal(make(1), make(np.random.default_rng(1)))
        assert (make(1) != make(2)).any()
        minidl.seed(3)
        first, second = make(None), make(None)
        minidl.seed(3)
        np.testing.assert_array_equal(make(None), first)
        assert (first != second).any()
    dropout = nn.Dropout(rng=1)
    assert (dropout(x) != dropout(x)).any()
    after = np.random.get_state()  # noqa: NPY002
    assert before[2:] == after[2:]
    np.testing.assert_array_equal(before[1], after[1])


@pytest.mark.parametrize("make", [nn.Dropout, lambda rng: nn.Linear(2, 2, rng=rng)])
def test_layers_refuse_what_is_no_generator(make) -> None:
    for bad in (np.random.RandomState(0), 1.5, "7", True):
        with pytest.raises(TypeError, match=r"a seed \(.*default_rng.* is a whole number, got"):
            make(rng=bad)


def test_batch_norm_counts_batches_in_training_only() -> None:
    layer = nn.BatchNorm(2, momentum=0.5)
    x = random(6, 2) + 3
    layer(x)
    np.testing.assert_allclose(layer.running_mean, 0.5 * x.mean(axis=0), rtol=1e-6)
    state = layer.state_dict()
    layer.eval()(x)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    assert state["num_batches_tracked"] == 1
    assert state["num_batches_tracked"].dtype == np.int64


def test_batch_norm_refuses_a_batch_of_one_in_training_and_stays_as_it_was() -> None:
    layer = nn.BatchNorm(3)
    for shape in [(1, 3), (1, 3, 1), (1, 3, 1, 1)]:
        with pytest.raises(ValueError, match=r"has 1: use a larger batch .*drop_last.*eval\(\)"):
            layer(np.zeros(shape))
        assert layer.num_batches_tracked == 0
        assert layer.eval()(np.zeros(shape)).shape == shape
        layer.train()


def test_batch_norm_without_affine_returns_tensors_in_both_modes() -> None:
    layer = nn.BatchNorm(2, affine=False)
    assert names(layer) == []
    assert list(layer.state_dict()) == ["running_mean", "running_var", "num_batches_tracked"]
    for _ in (layer.train(), layer.eval()):
        assert type(layer(random(4, 2, dtype="float64"))) is Tensor
        assert layer(random(4, 2, dtype="float64")).dtype == np.float32


@pytest.mark.parametrize(
    "options",
    [{"eps": 0}, {"eps": -1e-5}, {"eps": math.nan}, {"eps": math.inf}, {"momentum": -0.1}]
    + [{"momentum": 1.1}, {"momentum": math.nan}],
)
def test_batch_norm_refuses_settings_out_of_range(options) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"BatchNorm: {name} is a finite number, .*got"):
        nn.BatchNorm(2, **options)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_dropout_refuses_a_p_that_is_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match=r"Dropout: p, .* is .* at least 0 and at most 1"):
        nn.Dropout(p)


def test_dropout_acts_in_training_only() -> None:
    layer, x = nn.Dropout(0.5, rng=0), np.ones(1000, "float32")
    assert (layer(x) == 0).any()
    assert layer.eval()(x) is x


def test_activation_layers_are_the_functions() -> None:
    x = Tensor(random(2, 3, 4))
    for layer, function in (
        (nn.ReLU(), functional.relu),
        (nn.Softmax(), lambda x: functional.softmax(x, axis=2)),
        (nn.Softmax(axis=1), lambda x: functional.softmax(x, axis=1)),
        (nn.LeakyReLU(0.3), lambda x: functional.leaky_relu(x, 0.3)),
        (nn.LeakyReLU(), functional.leaky_relu),
        (nn.Sigmoid(), functional.sigmoid),
        (nn.Tanh(), np.tanh),
        (nn.GELU(), functional.gelu),
        (nn.GELU("tanh"), lambda x: functional.gelu(x, "tanh")),
    ):
        np.testing.assert_array_equal(layer(x).data, function(x).data)
        assert names(layer) == []
    with pytest.raises(ValueError, match="GELU: approximate is 'none' or 'tanh', not 'erf'"):
        nn.GELU("erf")


def test_flatten_keeps_the_first_axis() -> None:
    for shape, flat in [
        ((5, 2, 3), (5, 6)),
        ((5,), (5, 1)),
        ((0, 8, 8), (0, 64)),
        ((3, 0), (3, 0)),
    ]:
        assert nn.Flatten()(np.zeros(shape)).shape == flat
        assert nn.Flatten()(Tensor(np.zeros(shape))).shape == flat
    with pytest.raises(ValueError, match=r"Flatten: x has shape \(\), expected \(N, ...\)"):
        nn.Flatten()(np.array(1.0))


def test_images_that_are_not_flattened_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"nn.Flatten\(\)"):
        nn.Linear(64, 10)(np.zeros((5, 8, 8)))
    assert nn.Sequential(nn.Flatten(), nn.Linear(64, 10))(np.zeros((5, 8, 8))).shape == (5, 10)


# --- Initial values -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("he_normal", 2 / 300),
        ("he_uniform", 2 / 300),
        ("glorot_normal", 2 / (300 + 500)),
        ("glorot_uniform", 2 / (300 + 500)),
        ("normal", 1e-4),
        ("uniform", 1e-4 / 3),
        ("zeros", 0),
    ],
)
def test_initial_weights_have_the_published_spread(name: str, variance: float) -> None:
    w = nn.init.by_name(name)((500, 300), rng=0)
    assert (w.shape, w.dtype) == ((500, 300), np.float32)
    assert w.var() == pytest.approx(variance, rel=0.02)
    assert abs(w.mean()) <= 4 * math.sqrt(variance / w.size)
    bound = math.sqrt(3 * variance)
    if name.endswith("uniform"):
        assert 0.999 * bound < np.abs(w).max() <= bound * (1 + 1e-6)
    elif name.endswith("normal"):
        assert np.abs(w).max() > 2 * bound
        within = (np.abs(w) < math.sqrt(variance)).mean()
        assert within == pytest.approx(0.6827, abs=0.005)


def test_fans_count_what_an_output_sees() -> None:
    init = nn.init
    for shape, fan_in, fan_out in [
        ((8, 16, 5, 5), 400, 200), ((64, 9), 9, 64), ((5, 1), 1, 5), ((1, 5), 5, 1),
        ((0, 5), 5, 1), ((5, 0), 1, 5),
    ]:  # fmt: skip
        for by_name, drawn, scale in [
            (init.he_normal, init.normal, math.sqrt(2 / fan_in)),
            (init.he_uniform, init.uniform, math.sqrt(6 / fan_in)),
            (init.glorot_normal, init.normal, math.sqrt(2 / (fan_in + fan_out))),
            (init.glorot_uniform, init.uniform, math.sqrt(6 / (fan_in + fan_out))),
        ]:
            np.testing.assert_array_equal(by_name(shape, rng=0), drawn(shape, scale, rng=0))
    for name in ("he_normal", "he_uniform", "glorot_normal", "glorot_uniform"):
        with pytest.raises(ValueError, match=r"need a shape \(out, in, ...\), not \(3,\)"):
            nn.init.by_name(name)((3,))


def test_he_weights_keep_the_size_of_activations_through_relu() -> None:
    x = random(500, 256)
    size = (x**2).mean()
    for i in range(10):
        x = np.maximum(nn.Linear(256, 256, rng=i)(x).data, 0)
    assert 0.5 < (x**2).mean() / size < 2  # half the variance per layer would leave 0.001


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_initializers_refuse_a_spread_that_is_none(bad: float) -> None:
    with pytest.raises(ValueError, match=r"init\.normal: std is a finite number, at least 0"):
        nn.init.normal((2, 3), bad)
    with pytest.raises(ValueError, match=r"init\.uniform: bound is a finite number, at least 0"):
        nn.init.uniform((2, 3), bad)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_initializers_give_the_dtype_and_the_same_numbers_for_a_seed(dtype: str) -> None:
    for name, function in nn.init.BY_NAME.items():
        w = function((4, 3), rng=7, dtype=dtype)
        assert w.dtype == dtype
        np.testing.assert_array_equal(w, nn.init.by_name(name)((4, 3), rng=7, dtype=dtype))
    assert nn.init.by_name(nn.init.ones) is nn.init.ones
    assert (nn.init.ones((2, 2)) == 1).all()


# --- Whole models ---------------------------------------------------------------------------------


def test_float64_models_stay_float64_through_training() -> None:
    model = nn.Sequential(
        nn.Linear(3, 4, dtype="float64"),
        nn.BatchNorm(4, dtype="float64"),
        nn.Sigmoid(),
        nn.Linear(4, 1, dtype="float64"),
    )
    loss = nn.MSELoss()(model(random(8, 3)), np.zeros((8, 1), np.float32))
    assert loss.dtype == np.float64
    loss.backward()
    assert {p.grad.dtype for p in model.parameters()} == {np.dtype("float64")}


def test_prediction_of_a_sample_does_not_depend_on_the_batch_it_is_in() -> None:
    model = net()
    model(random(20, 4))
    model.eval()
    x = random(6, 4, seed=2)
    whole = model(x).data
    np.testing.assert_allclose(
        np.concatenate([model(x[i : i + 1]).data for i in range(6)]), whole, rtol=1e-5
    )
    np.testing.assert_allclose(model(x[::-1]).data, whole[::-1], rtol=1e-5)


def test_a_step_leaves_no_graph_behind() -> None:
    def nodes() -> int:
        return sum(type(one) is Node for one in gc.get_objects())  # (there may be dead proxies)

    model = net()
    before = nodes()
    gc.disable()
    try:
        loss = nn.CrossEntropyLoss()(model(random(6, 4)), [0, 1, 2, 0, 1, 2])
        assert nodes() > before
        loss.backward()
        del loss
        assert nodes() == before
    finally:
        gc.enable()


def test_a_new_batch_norm_leaves_its_input_nearly_as_it_is_in_prediction():
    x = np.array([[1.0, -2.0], [3.0, 5.0]], np.float32)
    y = nn.BatchNorm(2).eval()(x)
    np.testing.assert_allclose(y.data, x / np.sqrt(1 + 1e-5), rtol=1e-6)


# --- Samples are on their own ---------------------------------------------------------------------

LAYERS = [
    nn.Linear(4, 3, rng=0), nn.Linear(4, 3, bias=False, rng=0), nn.Linear(4, 1, rng=0), nn.ReLU(),
    nn.LeakyReLU(0.2), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.GELU("tanh"), nn.Flatten(),
    nn.BatchNorm(4).eval(), nn.BatchNorm(4, affine=False).eval(), nn.Dropout(0.5).eval(),
]  # fmt: skip


def value_and_gradients(module, x, *rest):
    """What the module gives, and the gradients of x and of its parameters by the sum of it."""
    t = Tensor(x, requires_grad=True)
    y = module(t, *rest)
    return y.data, *minidl.grad(y.sum(), [t, *module.parameters()])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_a_batch_is_its_samples_one_by_one(layer, dtype: str) -> None:
    layer = copy.deepcopy(layer)
    for p in layer.parameters():
        p.data = p.data.astype(dtype)
    x = random(5, 4).astype(dtype)
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12}
    whole, whole_x, *whole_p = value_and_gradients(layer, x)
    y, d, *p = zip(*[value_and_gradients(layer, x[i : i + 1]) for i in range(5)], strict=True)
    np.testing.assert_allclose(np.concatenate(y), whole, **close)
    np.testing.assert_allclose(np.concatenate(d), whole_x, **close)
    for each, together in zip(p, whole_p, strict=True):
        np.testing.assert_allclose(sum(each), together, **close)
