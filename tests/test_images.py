"""Convolution and pooling: values and gradients are PyTorch's, in every form, and to any order;
what is computed by one product of matrices is the sum that the formula says; errors name sizes.
"""

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
from reference import image_calls, image_network

import minidl
from minidl import Tensor, grad, gradcheck, nn, optim
from minidl import functional as F
from minidl.functional import convolution
from minidl.functional.convolution import conv, conv_w, conv_x
from minidl.functional.pooling import avg_pool, max_pool, max_pool_d, max_pool_x
from minidl.functional.windows import Windows, windows


def cross_correlation(x, w, at):
    """The formula of conv, pixel by pixel."""
    n, c = x.shape[:2]
    o, shared, kh, kw = w.shape
    (s, t), (p, q), (a, b) = at.stride, at.padding, at.dilation
    y = np.zeros((n, o, *at.out))
    for image, filter_, row, column in itertools.product(*map(range, y.shape)):
        group = filter_ // (o // at.groups)
        for channel, i, j in itertools.product(range(shared), range(kh), range(kw)):
            h, v = row * s + i * a - p, column * t + j * b - q
            if 0 <= h < at.size[0] and 0 <= v < at.size[1]:
                pixel = x[image, group * (c // at.groups) + channel, h, v]
                y[image, filter_, row, column] += pixel * w[filter_, channel, i, j]
    return y


FORMS = [
    Windows((5, 4), (3, 2)),
    Windows((5, 6), (3, 3), stride=(2, 3), padding=(1, 2)),
    Windows((6, 5), (2, 3), stride=(1, 2), padding=(3, 0), dilation=(3, 2), groups=2),
]


@pytest.mark.parametrize("at", FORMS, ids=str)
@pytest.mark.parametrize("block", [1, 150, 2**19])
def test_the_three_functions_are_the_derivatives_of_one_form(at, block, monkeypatch):
    monkeypatch.setattr(convolution, "BLOCK", block)
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 4, *at.size)), rng.normal(size=(6, 4 // at.groups, *at.kernel))
    d = rng.normal(size=(2, 6, *at.out))
    y = cross_correlation(x, w, at)
    np.testing.assert_allclose(conv(x, w, at), y, rtol=1e-12, atol=1e-13)
    form = np.sum(d * y)  # linear in each, so that each times its derivative is the form itself
    assert np.isclose(np.sum(x * conv_x(d, w, at)), form, rtol=1e-12)
    assert np.isclose(np.sum(w * conv_w(d, x, at)), form, rtol=1e-12)
    for other in (rng.normal(size=x.shape), np.eye(1, x.size, 7).reshape(x.shape)):
        moved = np.sum(d * cross_correlation(other, w, at))
        assert np.isclose(np.sum(other * conv_x(d, w, at)), moved, rtol=1e-12, atol=1e-13)
    for other in (rng.normal(size=w.shape), np.eye(1, w.size, 5).reshape(w.shape)):
        moved = np.sum(d * cross_correlation(x, other, at))
        assert np.isclose(np.sum(other * conv_w(d, x, at)), moved, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("at", FORMS, ids=str)
def test_all_rules_are_right_to_second_order(at):
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(1, 2, *at.size)), rng.normal(size=(2, 2 // at.groups, *at.kernel))
    d = rng.normal(size=(1, 2, *at.out))
    for function, a, b in ((conv, x, w), (conv_x, d, w), (conv_w, d, x)):
        assert gradcheck(lambda a, b, f=function: f(a, b, at), a, b, order=2).ok
    one = replace(at, groups=1, padding=(1, 0))
    for pool in (max_pool, avg_pool):
        assert gradcheck(lambda a, f=pool: f(a, one) ** 2, x, order=2).ok
    tied = np.round(x)
    top = max_pool(tied, one)
    for function, shape in ((max_pool_x, top.shape), (max_pool_d, x.shape)):
        a = rng.normal(size=shape)
        assert gradcheck(lambda a, f=function: f(a, tied, top, one), a, order=2).ok
    back = max_pool_x(rng.normal(size=top.shape), tied, top, one)
    assert back.shape == x.shape


def test_the_two_gradients_of_a_pool_are_transposes():
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(2, 3, 7, 6)))  # with many ties
    at = Windows((7, 6), (3, 2), (2, 1), (1, 1))
    top = max_pool(x, at)
    d, v = rng.normal(size=top.shape), rng.normal(size=x.shape)
    there, back = max_pool_d(v, x, top, at), max_pool_x(d, x, top, at)
    assert np.isclose(np.sum(d * there), np.sum(v * back), rtol=1e-12)
    np.testing.assert_allclose(max_pool_d(np.ones(x.shape), x, top, at), 1)


# --- PyTorch's numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", image_calls(), ids=str)
def test_values_and_gradients_are_those_of_pytorch(case):
    inputs = {name: Tensor(a.copy(), requires_grad=True) for name, a in case.arrays.items()}
    y = getattr(F, case.function)(*inputs.values(), **case.options)
    assert y.shape == case.value.shape
    np.testing.assert_allclose(y.data, case.value, rtol=1e-10, atol=1e-13)
    y.backward(case.upstream)
    for name, t in inputs.items():
        assert t.grad.shape == t.shape
        np.testing.assert_allclose(t.grad, case.gradients[name], rtol=1e-10, atol=1e-12)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.ConvTranspose2d(6, 3, 2, stride=2),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 5),
    )  # fmt: skip


def test_a_network_of_pytorch_carries_over():
    stored = image_network()
    model = network()
    model.load_state_dict(stored["state"])
    assert {k: v.shape for k, v in model.state_dict().items()} == {
        k: v.shape for k, v in stored["state"].items()
    }
    x = Tensor(stored["inputs"].copy(), requires_grad=True)
    np.testing.assert_allclose(model.eval()(x).data, stored["eval_output"], rtol=1e-5, atol=1e-6)
    y = model.train()(x)
    np.testing.assert_allclose(y.data, stored["train_output"], rtol=1e-5, atol=1e-6)
    F.cross_entropy(y, stored["labels"]).backward()
    np.testing.assert_allclose(x.grad, stored["input_gradient"], rtol=1e-4, atol=1e-6)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad, stored["gradients"][name], rtol=1e-4, atol=1e-6)


# --- Layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2d(3, 8, 5), "Conv2d(3, 8, 5)"),
        (
            nn.Conv2d(4, 8, (3, 2), 2, (1, 0), groups=2, bias=False),
            "Conv2d(4, 8, (3, 2), stride=2, padding=(1, 0), groups=2, bias=False)",
        ),
        (
            nn.ConvTranspose2d(4, 6, 3, 2, output_padding=1, groups=2, dilation=2),
            "ConvTranspose2d(4, 6, 3, stride=2, output_padding=1, dilation=2, groups=2)",
        ),
        (nn.ConvTranspose2d(4, 6, (3, 2), bias=False), "ConvTranspose2d(4, 6, (3, 2), bias=False)"),
        (nn.MaxPool2d(3, 2, 1, 2), "MaxPool2d(3, stride=2, padding=1, dilation=2)"),
        (nn.AvgPool2d((2, 3)), "AvgPool2d((2, 3))"),
    ],
)
def test_layers_show_their_settings(layer, text):
    assert repr(layer) == text


def test_weights_begin_with_the_scale_of_their_fan_in():
    for layer, fan_in in [
        (nn.Conv2d(16, 400, 5, rng=0), 16 * 25),
        (nn.Conv2d(16, 800, 5, groups=4, rng=0), 4 * 25),
        (nn.ConvTranspose2d(16, 400, 5, rng=0), 16 * 25),
        (nn.ConvTranspose2d(16, 800, 5, groups=4, rng=0), 4 * 25),
    ]:
        assert np.isclose(layer.weight.data.std(), np.sqrt(2 / fan_in), rtol=0.02)
        assert not layer.bias.data.any()


def test_a_transposed_convolution_begins_with_the_weight_of_a_convolution():
    given = np.arange(6 * 2 * 2).reshape(6, 2, 1, 2)  # of 2 channels in each of 2 groups to 3
    layer = nn.ConvTranspose2d(4, 6, (1, 2), groups=2, init=lambda shape, rng, dtype: given)
    assert layer.weight.shape == (4, 3, 1, 2)
    for i, o in itertools.product(range(4), range(3)):
        np.testing.assert_array_equal(layer.weight.data[i, o], given[i // 2 * 3 + o, i % 2])


def test_a_layer_takes_raw_arrays_in_the_dtype_of_its_weight():
    layer = nn.Conv2d(1, 2, 3)
    for x in (np.ones((1, 1, 4, 4)), np.ones((1, 1, 4, 4), np.uint8)):
        assert layer(x).dtype == np.float32
    assert F.max_pool2d(np.ones((1, 1, 4, 4), np.uint8), 2).dtype == np.float32


def test_size_of_a_transposed_convolution_comes_back():
    for size, stride in [((7, 8), 2), ((9, 6), 3)]:
        small = nn.Conv2d(1, 1, 3, stride, 1)(np.ones((1, 1, *size)))
        fits = [(s + 2 - 3) % stride for s in size]
        large = nn.ConvTranspose2d(1, 1, 3, stride, 1, tuple(fits))(small)
        assert large.shape[2:] == size


# --- Pooling --------------------------------------------------------------------------------------


def test_the_largest_pixels_of_a_window_share_its_gradient():
    x = Tensor(np.array([[[[1.0, 3.0, 0.0, 0.0], [3.0, 2.0, 0.0, 0.0]]]]), requires_grad=True)
    F.max_pool2d(x, 2).backward(np.array([[[[1.0, 2.0]]]]))
    expected = [[[[0, 0.5, 0.5, 0.5], [0.5, 0, 0.5, 0.5]]]]
    np.testing.assert_array_equal(x.grad, expected)
    whole = Tensor(x.data, requires_grad=True)
    np.max(whole[..., :2]).backward()
    np.testing.assert_array_equal(x.grad[..., :2], whole.grad[..., :2])


def test_padding_of_a_max_pool_never_wins():
    x = Tensor(np.full((1, 1, 2, 2), -np.inf), requires_grad=True)
    y = F.max_pool2d(x, 2, 1, 1)
    assert np.all(y.data == -np.inf)
    y.backward(np.ones(y.shape))
    assert x.grad.sum() == 9  # nothing went to the padding
    negative = F.max_pool2d(np.full((1, 1, 3, 3), -5.0), 3, 1, 1)
    assert np.all(negative == -5)


def test_a_large_window_counts_all_of_its_ties():
    x = Tensor(np.ones((1, 1, 20, 20)), requires_grad=True)
    F.max_pool2d(x, 20).sum().backward()
    np.testing.assert_allclose(x.grad, 1 / 400)


def test_a_nan_stays_in_the_windows_that_it_is_in():
    x = Tensor(np.arange(16.0).reshape(1, 1, 4, 4), requires_grad=True)
    x.data[0, 0, 0, 0] = np.nan
    y = F.max_pool2d(x, 2)
    assert np.isnan(y.data).tolist() == [[[[True, False], [False, False]]]]
    y.sum().backward()
    assert np.isnan(x.grad).sum() == 4


def test_pixels_that_no_window_reaches_get_no_gradient():
    for pool in (F.max_pool2d, F.avg_pool2d):
        x = Tensor(np.random.default_rng(0).normal(size=(1, 1, 5, 5)), requires_grad=True)
        pool(x, 2).sum().backward()
        assert not x.grad[0, 0, 4].any()
        assert not x.grad[0, 0, :, 4].any()
        assert x.grad.sum() == pytest.approx(4)


# --- Numbers --------------------------------------------------------------------------------------


def test_float16_is_summed_in_float32():
    x = np.ones((1, 64, 9, 9), np.float16)
    w = Tensor(np.full((1, 64, 9, 9), 0.5, np.float16), requires_grad=True)
    y = F.conv2d(x, w)
    assert y.dtype == np.float16
    assert y.item() == np.float16(64 * 81 * 0.5)
    assert F.avg_pool2d(np.full((1, 1, 64, 64), 8.0, np.float16), 64).item() == 8
    rng, at = np.random.default_rng(0), Windows((9, 9), (5, 5), padding=(2, 2))
    x, w, d = (
        rng.uniform(0.5, 1, size).astype(np.float16)
        for size in ((1, 8, 9, 9), (8, 8, 5, 5), (1, 8, 9, 9))
    )
    for function, a, b in ((conv, x, w), (conv_x, d, w), (conv_w, d, x)):
        wide = function(a.astype(np.float32), b.astype(np.float32), at)
        np.testing.assert_array_equal(function(a, b, at), wide.astype(np.float16))


def test_the_result_stands_batch_last_in_memory_and_reads_batch_first():
    y = F.conv2d(np.ones((5, 2, 4, 3)), Tensor(np.ones((3, 2, 1, 1)))).data
    assert y.shape == (5, 3, 4, 3)
    assert y.transpose(1, 2, 3, 0).flags.c_contiguous
    assert F.relu(Tensor(y)).data.transpose(1, 2, 3, 0).flags.c_contiguous


def test_third_derivatives_exist():
    rng = np.random.default_rng(0)
    x = Tensor(rng.normal(size=(1, 1, 4, 4)), requires_grad=True)
    w = Tensor(rng.normal(size=(1, 1, 2, 2)), requires_grad=True)
    first = grad((F.conv2d(x, w) ** 3).sum(), [x], create_graph=True)[0]
    second = grad((first**2).sum(), [w], create_graph=True)[0]
    third = grad(second.sum(), [x])[0]
    step = 1e-6 * rng.normal(size=x.shape)

    def at(moved):
        t = Tensor(moved, requires_grad=True)
        inner = grad((F.conv2d(t, w) ** 3).sum(), [t], create_graph=True)[0]
        return grad((inner**2).sum(), [w])[0].sum()

    change = at(x.data + step) - at(x.data - step)
    assert np.isclose(change, 2 * np.sum(third * step), rtol=1e-5)


# --- Compiled -------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [400, 2**19])
def test_a_network_for_images_compiles_bit_for_bit(block, monkeypatch):
    monkeypatch.setattr(convolution, "BLOCK", block)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 1, 8, 8)).astype(np.float32), rng.integers(0, 5, 7)
    losses = []
    for compiled in (False, True):
        minidl.seed(0)
        model, loss = network(), nn.CrossEntropyLoss()
        optimizer = optim.Adam(model.parameters(), lr=0.01)
        step = minidl.compile(model, loss, optimizer) if compiled else None
        values = []
        for _ in range(4):
            if step is not None:
                values.append(float(step(x, y)))
                continue
            optimizer.zero_grad()
            value = loss(model(x), y)
            value.backward()
            optimizer.step()
            values.append(value.item())
        losses.append((values, {k: v.tobytes() for k, v in model.state_dict().items()}))
    assert losses[0] == losses[1]


# --- What is refused ------------------------------------------------------------------------------

IMAGES = np.ones((2, 3, 4, 6), np.float32)
FILTERS = Tensor(np.ones((4, 3, 3, 3), np.float32))


def conv_with(x=IMAGES, weight=FILTERS, bias=None, **options):
    return lambda: F.conv2d(x, weight, bias, **options)


def back_with(x=IMAGES, weight=Tensor(np.ones((3, 4, 3, 3))), bias=None, **options):  # noqa: B008
    return lambda: F.conv_transpose2d(x, weight, bias, **options)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            conv_with(weight=Tensor(np.ones((4, 3, 5, 5)))),
            ValueError,
            "conv2d: kernel 5 is larger than the padded input 4 (height 4, padding 0",
        ),
        (
            conv_with(dilation=(1, 4), padding=1),
            ValueError,
            "kernel 3, which spans 9 with its dilation, is larger than the padded input 8 (width 6",
        ),
        (conv_with(IMAGES[0]), ValueError, "x has shape (3, 4, 6), expected (N, C, H, W): one"),
        (conv_with(IMAGES[0, 0]), ValueError, "reshape(-1, C, H, W)"),
        (
            conv_with(IMAGES.transpose(0, 2, 3, 1)),
            ValueError,
            "has 4 channels, and a weight of shape (4, 3, 3, 3) takes 3: images with channels last",
        ),
        (conv_with(groups=3), ValueError, "with groups=3 takes 9"),
        (
            conv_with(np.ones((1, 9, 4, 4)), groups=3),
            ValueError,
            "4 channels, the first axis of the weight, cannot be divided into 3 groups",
        ),
        (conv_with(weight=Tensor(np.ones((4, 3)))), ValueError, "expected (O, C / groups, kh, kw)"),
        (conv_with(bias=Tensor(np.ones(3))), ValueError, "bias has shape (3,), expected (4,)"),
        (conv_with(stride=0), ValueError, "conv2d: stride is a whole number of at least 1, got 0"),
        (conv_with(stride=True), TypeError, "stride is a whole number, got True"),
        (conv_with(padding=-1), ValueError, "padding is a whole number of at least 0"),
        (conv_with(padding="same"), TypeError, "or a pair of them, got 'same'"),
        (conv_with(dilation=(1, 2, 3)), TypeError, "or a pair of them, got (1, 2, 3)"),
        (conv_with(groups=0), ValueError, "conv2d: groups is a whole number of at least 1"),
        (back_with(np.ones((1, 4, 4, 4))), ValueError, "has 4 channels, and a weight of shape"),
        (back_with(bias=Tensor(np.ones(3))), ValueError, "expected (4,)"),
        (back_with(padding=4), ValueError, "would become -2x0: use less padding"),
        (back_with(output_padding=1), ValueError, "output_padding (1, 1) must be below the stride"),
        (back_with(output_padding=(1, 0), dilation=(1, 2)), ValueError, "must be below the stride"),
        (back_with(output_padding=(0, 1), dilation=(2, 1)), ValueError, "must be below the stride"),
        (back_with(output_padding=(2, 0), stride=(2, 3)), ValueError, "must be below the stride"),
        (back_with(output_padding=(0, 2), stride=(3, 2)), ValueError, "must be below the stride"),
        (back_with(padding=(4, 0)), ValueError, "would become -2x8: use less padding"),
        (back_with(padding=(0, 4)), ValueError, "would become 6x0: use less padding"),
        (back_with(weight=Tensor(np.ones((3, 4)))), ValueError, "expected (C, O / groups, kh, kw)"),
        (back_with(groups=0), ValueError, "conv_transpose2d: groups is a whole number of at least"),
        (back_with(stride=0), ValueError, "conv_transpose2d: stride is a whole number of at least"),
        (back_with(dilation=0), ValueError, "conv_transpose2d: dilation is a whole number of at"),
        (back_with(padding=-1), ValueError, "conv_transpose2d: padding is a whole number of at"),
        (back_with(output_padding=-1), ValueError, "conv_transpose2d: output_padding is a whole"),
        (conv_with(groups=2), ValueError, "of shape (4, 3, 3, 3) with groups=2 takes 6"),
        (
            lambda: F.max_pool2d(IMAGES, 5),
            ValueError,
            "max_pool2d: kernel 5 is larger than the padded input 4",
        ),
        (lambda: F.max_pool2d(IMAGES[0], 2), ValueError, "expected (N, C, H, W)"),
        (lambda: F.max_pool2d(IMAGES, 2, padding=2), ValueError, "larger than half of the kernel"),
        (lambda: F.avg_pool2d(IMAGES, 3, padding=(0, 2)), ValueError, "half of the kernel"),
        (lambda: F.avg_pool2d(IMAGES, 2.0), TypeError, "kernel_size is a whole number, got 2.0"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "3 channels in and 4 out cannot both"),
        (lambda: nn.Conv2d(0, 4, 3), ValueError, "in_channels is a whole number of at least 1"),
        (lambda: nn.Conv2d(1, 4, 0), ValueError, "Conv2d: kernel_size"),
        (lambda: nn.ConvTranspose2d(2, 3, 3, groups=2), ValueError, "divided into 2 groups"),
        (lambda: nn.MaxPool2d(0), ValueError, "MaxPool2d: kernel_size"),
        (lambda: nn.AvgPool2d(2, stride=0), ValueError, "AvgPool2d: stride"),
        (
            lambda: nn.Conv2d(1, 2, 3, init=lambda shape, rng, dtype: np.zeros(3)),
            ValueError,
            "Conv2d: init returned shape (3,), expected (2, 1, 3, 3)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_its_sizes(call, error, words):
    with pytest.raises(error, match=re.escape(words)):
        call()


CONVOLUTION = {"in_channels": 1, "out_channels": 1, "kernel_size": 1, "groups": 1, "stride": 1,
               "padding": 0, "dilation": 1}  # fmt: skip
LEAST = {
    nn.Conv2d: CONVOLUTION,
    nn.ConvTranspose2d: {**CONVOLUTION, "output_padding": 0},
    nn.MaxPool2d: {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1},
    nn.AvgPool2d: {"kernel_size": 1, "stride": 1, "padding": 0},
}


@pytest.mark.parametrize(
    ("layer", "name"), [(layer, name) for layer in LEAST for name in LEAST[layer]]
)
def test_a_layer_takes_settings_of_at_least_what_makes_sense(layer, name):
    layer(**LEAST[layer])
    least = LEAST[layer][name]
    words = f"{layer.__name__}: {name} is a whole number of at least {least}, got {least - 1}"
    with pytest.raises(ValueError, match=words):
        layer(**LEAST[layer] | {name: least - 1})


def test_other_channels_are_not_taken_for_channels_last():
    with pytest.raises(ValueError, match=r"a weight of shape \(4, 3, 3, 3\) takes 3$"):
        F.conv2d(np.ones((1, 4, 4, 4)), FILTERS)


@pytest.mark.parametrize(
    ("stride", "dilation", "more"),
    [((1, 2), (3, 2), (2, 1)), ((2, 1), (2, 3), (1, 2)), ((2, 3), (1, 1), (1, 2))],
)
def test_a_transposed_convolution_adds_up_multiples_of_its_filter(stride, dilation, more):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 1, 2, 3)), rng.normal(size=(1, 1, 2, 2))
    size = [
        (n - 1) * s + d + e + 1
        for n, s, d, e in zip(x.shape[2:], stride, dilation, more, strict=True)
    ]
    expected = np.zeros(size)
    for p, q in np.ndindex(2, 3):
        rows = slice(p * stride[0], p * stride[0] + dilation[0] + 1, dilation[0])
        columns = slice(q * stride[1], q * stride[1] + dilation[1] + 1, dilation[1])
        expected[rows, columns] += x[0, 0, p, q] * w[0, 0]
    y = F.conv_transpose2d(x, Tensor(w), None, stride, 0, more, 1, dilation)
    np.testing.assert_allclose(y.data[0, 0], expected, rtol=1e-12)


def test_options_may_be_lists_and_arrays():
    assert F.max_pool2d(IMAGES, np.array([2, 3])).shape == (2, 3, 2, 2)
    y = F.conv2d(IMAGES, FILTERS, stride=[1, 2], padding=[0, 1])
    assert y.shape == (2, 4, 2, 3)
    assert F.max_pool2d(IMAGES, [2, 3]).shape == (2, 3, 2, 2)


def test_windows_count_their_places():
    at = windows("conv2d", (7, 5), (3, 2), (2, 1), (1, 0), (2, 1))
    assert at.reach == (5, 2)
    assert at.out == (3, 4)
    met = np.zeros((7, 5), int)
    for _, _, pixels in at.taps():
        met[pixels] += 1
    assert met.sum() == sum(
        1
        for p, i in itertools.product(range(3), range(3))
        for q, j in itertools.product(range(4), range(2))
        if 0 <= p * 2 + i * 2 - 1 < 7
    )


# --- Layers pass on what they were told -----------------------------------------------------------


def test_layers_call_their_functions_with_all_their_settings():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 9, 8)).astype(np.float32)
    layer = nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (2, 3), 2, rng=0)
    y = F.conv2d(x, layer.weight, layer.bias, (2, 1), (1, 2), (2, 3), 2)
    np.testing.assert_array_equal(layer(x).data, y.data)
    back = nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 2), (1, 2), 2, dilation=(2, 1), rng=0)
    y = F.conv_transpose2d(x, back.weight, back.bias, (2, 3), (1, 2), (1, 2), 2, (2, 1))
    np.testing.assert_array_equal(back(x).data, y.data)
    for layer, y in [
        (
            nn.MaxPool2d((3, 2), (1, 2), (1, 0), (2, 1)),
            F.max_pool2d(x, (3, 2), (1, 2), (1, 0), (2, 1)),
        ),
        (nn.AvgPool2d((3, 2), (1, 2), (1, 0)), F.avg_pool2d(x, (3, 2), (1, 2), (1, 0))),
    ]:
        np.testing.assert_array_equal(layer(x), y)


def test_constants_of_a_program_stand_in_memory_as_images_do():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    step = minidl.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    step(np.ones((5, 1, 4, 4), np.float32), np.zeros(5, int))
    assert "zeros = np.zeros((2, 2, 2, 5), np.float32).transpose(3, 0, 1, 2)" in step.source
