"""Modules: what is found in them, what they save, how they look, and where an error came from."""

import copy
import dataclasses
import functools
import math
import pickle
import re
import traceback
import weakref
from collections import OrderedDict, UserDict, UserList, deque, namedtuple
from collections.abc import Callable
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from networks import names, net, random

import minidl
from minidl import Tensor, data, nn, no_grad, optim
from minidl.nn import Parameter


def linear(k: int = 2, c: int = 3, **options) -> nn.Linear:
    return nn.Linear(k, c, rng=0, **options)


class Holder(nn.Module):
    """A module with the given attributes."""

    def __init__(self, **attributes) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        for _, child in self.children():
            x = child(x)
        return x


class Counter(nn.Module):
    """A module that counts its calls in a buffer."""

    buffers = ("calls", "unused")

    def __init__(self) -> None:
        self.scale = Parameter([2.0])
        self.calls = np.zeros((), np.int64)
        self.unused = None

    def forward(self, x):
        self.calls += 1
        return x * self.scale


# --- What is found in a module --------------------------------------------------------------------


def test_parameters_come_in_the_order_of_attributes_through_all_containers() -> None:
    Pair = namedtuple("Pair", "left right")
    model = Holder(
        last=linear(),
        items=[linear(), (Parameter([1.0]), linear(bias=False))],
        by_key={"b": linear(bias=False), "a": {1: Parameter([1.0]), None: Parameter([2.0])}},
        ordered=OrderedDict(z=Parameter([1.0]), y=Parameter([1.0])),
        pair=Pair(Parameter([1.0]), 7),
        number=3,
        nothing=None,
        first=Parameter([3.0]),
    )
    assert names(model) == [
        "last.weight",
        "last.bias",
        "items.0.weight",
        "items.0.bias",
        "items.1.0",
        "items.1.1.weight",
        "by_key.b.weight",
        "by_key.a.1",
        "by_key.a.None",
        "ordered.z",
        "ordered.y",
        "pair.0",
        "first",
    ]
    assert model.parameters().names == names(model)
    assert list(model.state_dict()) == names(model)
    assert [name for name, _ in model.children()] == ["last", "items.0", "items.1.1", "by_key.b"]
    assert [name for name, _ in model.modules()] == ["", *(name for name, _ in model.children())]


def test_shared_parameters_and_modules_count_once() -> None:
    tied, layer = linear(3, 3), linear(3, 3)
    other = linear(3, 3)
    other.weight = tied.weight
    model = nn.Sequential(tied, layer, nn.ReLU(), layer, other)
    assert names(model) == ["0.weight", "0.bias", "1.weight", "1.bias", "4.bias"]
    assert [name for name, _ in model.modules()] == ["", "0", "1", "2", "4"]
    assert len(model) == 5
    model(random(2, 3)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_the_gradient_of_a_shared_parameter_is_the_sum_over_its_uses() -> None:
    layer = nn.Linear(3, 3, bias=False, rng=0, dtype="float64")
    twin = copy.deepcopy(layer)
    x = random(4, 3, dtype="float64")
    nn.Sequential(layer, layer)(x).sum().backward()
    nn.Sequential(layer_copy := copy.deepcopy(twin), twin)(x).sum().backward()
    np.testing.assert_allclose(layer.weight.grad, layer_copy.weight.grad + twin.weight.grad)


def test_sets_of_modules_or_parameters_are_refused() -> None:
    for bad in ({linear()}, frozenset([Parameter([1.0])]), {"a word", linear()}):
        for look in (nn.Module.parameters, nn.Module.state_dict, nn.Module.train, repr):
            with pytest.raises(TypeError, match=r"'layers' is a set .* no order: use a list"):
                look(Holder(layers=bad))
    assert names(Holder(words={"a", "b"}, weight=Parameter([1.0]))) == ["weight"]


@dataclasses.dataclass
class Record:
    layer: Any
    size: int = 3


@dataclasses.dataclass(slots=True, frozen=True)
class SlimRecord:
    layer: Any


@dataclasses.dataclass(eq=False)
class Defaults(nn.Module):
    layer: nn.Module = dataclasses.field(default=linear())
    size: int = 3


CONTAINERS: dict[str, tuple[Callable[[nn.Module], Any], str]] = {
    "list": (lambda m: [m], "0"),
    "deque": (lambda m: deque([None, m], maxlen=2), "1"),
    "UserList": (lambda m: UserList([m]), "0"),
    "UserDict": (lambda m: UserDict(one=m), "one"),
    "OrderedDict": (lambda m: OrderedDict(one=m), "one"),
    "read-only dict": (lambda m: MappingProxyType({"one": m}), "one"),
    "namespace": (lambda m: SimpleNamespace(one=m, two=2), "one"),
    "dataclass": (lambda m: Record(m), "layer"),
    "dataclass with slots": (lambda m: SlimRecord(m), "layer"),
    "containers in containers": (
        lambda m: Record(deque([{"a": SimpleNamespace(b=m)}])),
        "layer.0.a.b",
    ),
}


@pytest.mark.parametrize(("contain", "place"), CONTAINERS.values(), ids=CONTAINERS)
def test_modules_in_all_kinds_of_containers_are_trained_saved_and_switched(
    contain: Callable[[nn.Module], Any], place: str
) -> None:
    layer = nn.Sequential(linear(), nn.BatchNorm(3))
    model = Holder(part=contain(layer), weight=Parameter([1.0]), more=contain(Parameter([2.0])))
    expected = [f"part.{place}.{name}" for name in names(layer)]
    assert names(model) == [*expected, "weight", f"more.{place}"]
    assert model.state_dict().keys() > {f"part.{place}.1.running_mean", f"more.{place}"}
    model.eval()
    assert not layer[1].training
    state = model.state_dict()
    state[f"part.{place}.0.bias"][:] = 7.0
    model.load_state_dict(state)
    np.testing.assert_array_equal(layer[0].bias.data, [7.0] * 3)


def test_a_container_may_contain_itself() -> None:
    record, items = Record(linear()), [linear()]
    record.size = record
    items.append(items)
    assert names(Holder(record=record, items=items)) == [
        "record.layer.weight",
        "record.layer.bias",
        "items.0.weight",
        "items.0.bias",
    ]


class Block:
    """Computes like a module, and is none."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: Any) -> Any:
        return self.layer(x)


class SlimBlock:
    __slots__ = ("layer",)

    def __init__(self, layer: Any) -> None:
        self.layer = layer


class Shared(nn.Module):
    layer = linear()


class SharedList(nn.Module):
    layers = (nn.ReLU(), linear())


class SharedWeight(nn.Module):
    weight = Parameter([1.0])


class SharedTensor(nn.Module):
    weight = Tensor([1.0], requires_grad=True)


class Inherits(Shared):
    pass


class Mixin:
    layer = linear()


class Slots(nn.Module):
    __slots__ = ("layer",)

    def __init__(self) -> None:
        self.layer = linear()


class PrivateSlot(nn.Module):
    __slots__ = "__layer"  # one, and so no tuple

    def __init__(self) -> None:
        self.__layer = linear()


class _PrivateBlock:
    __slots__ = ("__layer",)

    def __init__(self, layer: Any) -> None:
        self.__layer = layer


def objects(*values: Any) -> Any:
    array = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        array[0, i] = value
    return array


def closure(layer: Any) -> Any:
    return lambda x: layer(x)


HIDDEN: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a Tensor": (
        lambda: Holder(scale=Tensor([1.0], requires_grad=True)),
        "Holder: scale is a Tensor that is no Parameter, .*make it nn.Parameter",
    ),
    "a Tensor in a list": (
        lambda: Holder(scales=[Parameter([1.0]), Tensor([1.0], requires_grad=True)]),
        "scales.1 is a Tensor that is no Parameter",
    ),
    "a Tensor further in": (
        lambda: Holder(inner=Holder(scale=Tensor([1.0], requires_grad=True))),
        "inner.scale is a Tensor that is no Parameter",
    ),
    "an object": (
        lambda: Holder(block=Block(linear())),
        "block.layer is a Linear in a Block, .*derive Block from nn.Module",
    ),
    "an object with a list": (
        lambda: Holder(block=Block([linear()])),
        "block.layer.0 is a Linear in a Block",
    ),
    "objects in a list": (
        lambda: Holder(blocks=[Block(nn.ReLU()), Block(Parameter([1.0]))]),
        "blocks.0.layer is a ReLU in a Block",
    ),
    "an object with slots": (
        lambda: Holder(block=SlimBlock(linear())),
        "block.layer is a Linear in a SlimBlock",
    ),
    "an array of objects": (
        lambda: Holder(layers=objects(None, linear())),
        "layers.1 is a Linear in a ndarray",
    ),
    "a partial": (
        lambda: Holder(f=functools.partial(linear())),
        "f.func is a Linear in a partial",
    ),
    "an argument of a partial": (
        lambda: Holder(f=functools.partial(np.multiply, x2=Parameter([1.0]))),
        "f.x2 is a Parameter in a partial",
    ),
    "a method": (lambda: Holder(f=linear().forward), "f.__self__ is a Linear in a method"),
    "a closure": (lambda: Holder(f=closure(linear())), "f.layer is a Linear in a function"),
    "the class": (
        lambda: nn.Sequential(nn.ReLU(), Shared()),
        "Sequential: 1.layer is a Linear of the class Shared, .*set self.layer in __init__",
    ),
    "a list in the class": (SharedList, "layers.0 is a ReLU of the class SharedList"),
    "a class that is made by a call": (
        lambda: type("Made", (nn.Module,), {"layer": linear()})(),
        "Made: layer is a Linear of the class Made",
    ),
    "a parameter of the class": (SharedWeight, "weight is a Parameter of the class"),
    "a Tensor of the class": (SharedTensor, "weight is a Tensor of the class"),
    "the class it inherits from": (Inherits, "layer is a Linear of the class Shared"),
    "a class it inherits from beside Module": (
        lambda: type("Mixed", (nn.Module, Mixin), {})(),
        "Mixed: layer is a Linear of the class Mixin",
    ),
    "slots": (Slots, "layer is a Linear of the class Slots"),
    "a private slot": (PrivateSlot, "_PrivateSlot__layer is a Linear of the class PrivateSlot"),
    "an object with a private slot": (
        lambda: Holder(block=_PrivateBlock(linear())),
        "block._PrivateBlock__layer is a Linear in a _PrivateBlock",
    ),
}


@pytest.mark.parametrize(("make", "message"), HIDDEN.values(), ids=HIDDEN)
def test_what_would_be_neither_trained_nor_saved_nor_switched_is_refused(
    make: Callable[[], nn.Module], message: str
) -> None:
    for look in (
        nn.Module.parameters,
        nn.Module.state_dict,
        nn.Module.train,
        nn.Module.eval,
        lambda m: list(m.named_parameters()),
        lambda m: m.load_state_dict({}),
    ):
        with pytest.raises(TypeError, match=message):
            look(make())


def test_what_is_found_elsewhere_or_is_not_to_be_trained_is_let_pass() -> None:
    layer = linear()
    x = Tensor(random(2, 2).data, requires_grad=True)
    model = Holder(
        layer=layer,
        f=layer.forward,
        g=functools.partial(layer),
        h=closure(layer),
        block=Block(layer),
        pairs=objects(layer, layer.weight),
        result=layer(x),  # has a history: it is no leaf that could be trained
        constant=Tensor([1.0]),
        detached=x.detach(),
        weak=weakref.ref(linear()),
        optimizer=optim.Adam(nn.Linear(2, 2).parameters()),
        loader=data.DataLoader(np.ones((2, 2)), batch_size=1),
        record=Record(None),
        sizes=[1, 2, 3],
        names=np.array(["a", "b"], object),
        array=np.ones(3),
        words={"a", "b"},
        draws=iter(range(3)),
        rng=np.random.default_rng(0),
        numpy=np,
        kind=Shared,
        pattern=re.compile("a"),
        activation=np.tanh,
        nothing=None,
    )
    assert names(model) == ["layer.weight", "layer.bias"]
    model.layer.trainer = Block(model)  # the module around it
    assert names(model.eval()) == ["layer.weight", "layer.bias"]
    assert names(layer) == ["weight", "bias"]
    assert not layer.train(False).training


def test_an_attribute_may_hide_that_of_the_class() -> None:
    model = Shared()
    model.layer = nn.Linear(2, 1)
    assert names(model) == ["layer.weight", "layer.bias"]

    assert names(Defaults()) == ["layer.weight", "layer.bias"]


def test_a_module_that_is_a_dataclass_is_a_module_and_its_class_is_no_part() -> None:
    model = Holder(part=Defaults(), kind=Defaults)
    assert [name for name, _ in model.modules()] == ["", "part", "part.layer"]
    assert not model.eval().part.training


def test_zero_grad_reaches_all_parameters_in_containers_too() -> None:
    model = Holder(parts=deque([Record(linear())]))
    for p in model.parameters():
        p.grad = np.ones(p.shape)
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_two_parameters_that_come_to_one_name_are_refused() -> None:
    same_key = Holder(d={1: Parameter([1.0]), "1": Parameter([2.0])})
    dotted = Holder(a=[Parameter([1.0])], **{"a.0": Parameter([2.0])})
    nested = Holder(a={"b": linear()}, **{"a.b": Holder(weight=Parameter([1.0]))})
    for model, name in ((same_key, "d.1"), (dotted, "a.0"), (nested, "a.b.weight")):
        for look in (nn.Module.parameters, nn.Module.state_dict):
            with pytest.raises(ValueError, match=f"with the name {name!r} .*: rename one"):
                look(model)


def test_a_rebound_attribute_takes_the_place_of_the_old_one() -> None:
    model = Holder(a=linear(), b=linear(bias=False))
    old = model.a.weight
    model.a = nn.Linear(7, 7)
    model.b.weight = Parameter(np.zeros((1, 1)))
    assert names(model) == ["a.weight", "a.bias", "b.weight"]
    assert [p.size for p in model.parameters()] == [49, 7, 1]
    assert all(p is not old for p in model.parameters())
    del model.a
    model.b.weight = None
    assert names(model) == []


def test_a_parameter_is_not_replaced_by_what_was_computed_from_it() -> None:
    layer = linear()
    weight = layer.weight
    with pytest.raises(
        TypeError, match=r"Linear\.weight is a Parameter and cannot become a Tensor"
    ):
        layer.weight *= 0.1
    for value in (np.ones((3, 2)), weight.detach()):
        with pytest.raises(TypeError, match=r"write into weight\.data, or set it to nn\.Parameter"):
            layer.weight = value
    assert layer.weight is weight
    weight.data *= 0.5
    layer.bias = None
    layer.cached = layer(random(4, 2))
    layer.cached = layer.cached * 2
    assert names(layer) == ["weight"]


def test_a_module_may_contain_itself() -> None:
    model = Holder(layer=linear(3, 3))
    model.me = model
    model.layer.parent = model
    assert names(model) == ["layer.weight", "layer.bias"]
    assert list(model.state_dict()) == names(model)
    assert [name for name, _ in model.modules()] == ["", "layer"]
    assert not model.eval().layer.training
    assert repr(model).count("(layer)") == 1
    assert "(me): ..." in repr(model)
    twin = copy.deepcopy(model)
    assert twin.me is twin
    assert twin.layer.parent is twin


def test_named_parameters_are_those_of_the_moment() -> None:
    model = nn.Sequential(linear())
    before = model.parameters()
    model.extra = linear(3, 1)
    assert len(before) == 2
    assert names(model) == ["0.weight", "0.bias", "extra.weight", "extra.bias"]


# --- Modes, freezing, gradients -------------------------------------------------------------------


def test_train_and_eval_reach_every_module() -> None:
    model = Holder(a=[nn.Dropout()], b={"x": nn.Sequential(nn.BatchNorm(2))}, c=nn.ReLU())
    assert all(m.training for _, m in model.modules())
    assert model.eval() is model
    assert not any(m.training for _, m in model.modules())
    model.b["x"].train()
    assert [m.training for _, m in model.modules()] == [False, False, True, True, False]
    assert model.train() is model
    assert all(m.training for _, m in model.modules())


def test_frozen_parameters_get_no_gradient_and_stay_in_the_state() -> None:
    model = net()
    model[0].weight.requires_grad = False
    assert len(model.parameters()) == 6
    model(random(3, 4)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == ["0.weight"]
    assert "0.weight" in model.state_dict()
    model.load_state_dict(net().state_dict())
    assert not model[0].weight.requires_grad


def test_zero_grad_forgets_all_gradients() -> None:
    model = net()
    model(random(3, 4)).sum().backward()
    model.zero_grad()
    assert [p.grad for p in model.parameters()] == [None] * 6


def test_no_grad_records_nothing() -> None:
    with no_grad():
        assert not net()(random(3, 4)).requires_grad


# --- State ----------------------------------------------------------------------------------------


def test_state_has_pytorchs_names_and_buffers_in_order() -> None:
    assert list(net().state_dict()) == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
        "3.weight",
        "3.bias",
    ]
    assert list(Counter().state_dict()) == ["scale", "calls"]


def test_state_dict_and_module_share_no_memory_either_way() -> None:
    model = net()
    state = model.state_dict()
    kept = copy.deepcopy(state)
    for array in state.values():
        array[...] = 7
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, kept[name])
    model.load_state_dict(state)
    for array in state.values():
        array[...] = 8
    assert all((array == 7).all() for array in model.state_dict().values())
    assert len({id(array) for array in state.values()}) == 9


def test_loading_writes_into_the_same_arrays() -> None:
    model = net()
    own = [model[0].weight, model[0].weight.data, model[1].running_mean]
    model.load_state_dict(net().state_dict())
    assert own[0] is model[0].weight
    assert own[1] is model[0].weight.data
    assert own[2] is model[1].running_mean


def test_a_trained_state_gives_the_same_outputs_in_another_model() -> None:
    model, other = net(), net(init="glorot_normal")
    for seed in range(3):
        model(random(8, 4, seed=seed))
    other.load_state_dict(model.state_dict())
    x = random(5, 4, seed=9)
    np.testing.assert_array_equal(model.eval()(x).data, other.eval()(x).data)
    assert other[1].num_batches_tracked == 3


def test_a_state_that_does_not_fit_is_refused_with_all_faults_and_nothing_changes() -> None:
    model = net()
    before = model.state_dict()
    state = {"first": np.zeros(1), **{name: array + 1 for name, array in before.items()}}
    del state["0.bias"], state["1.running_mean"]
    state["0.weight"] = np.zeros((4, 5))
    state["1.num_batches_tracked"] = np.array(1.5)
    state["3.bias"] = np.array(["a", "b", "c"])
    state["3.weight"] = np.zeros((3, 5)) * 1j
    state["4.weight"] = np.zeros(3)
    with pytest.raises(ValueError, match="Sequential cannot take the state: ") as error:
        model.load_state_dict(state)
    for fault in (
        "0.bias is missing",
        "1.running_mean is missing",
        "first is unexpected",
        "4.weight is unexpected",
        "0.weight has shape (4, 5), expected (5, 4)",
        "1.num_batches_tracked has dtype float64, expected int64",
        "3.bias has dtype <U1, expected float32",
        "3.weight has dtype complex128, expected float32",
    ):
        assert fault in str(error.value)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_loading_keeps_the_dtype_of_the_module() -> None:
    model = linear()
    for dtype in ("float64", "float16", "int64", ">f4"):
        model.load_state_dict({n: np.round(a).astype(dtype) for n, a in model.state_dict().items()})
        assert {a.dtype for a in model.state_dict().values()} == {np.dtype("float32")}
    model.load_state_dict({"weight": [[1, 2], [3, 4], [5, 6]], "bias": Tensor([1, 2, 3])})
    np.testing.assert_array_equal(model.bias.data, [1, 2, 3])
    model.load_state_dict(dict(linear().named_parameters()))
    np.testing.assert_array_equal(model.weight.data, linear().weight.data)


def test_values_that_overflow_the_dtype_change_nothing() -> None:
    model = linear()
    before = model.state_dict()
    with pytest.raises(ValueError, match=r"bias has 1e\+300 at \[0\], which float32 cannot hold"):
        model.load_state_dict({"weight": before["weight"] + 1, "bias": np.full(3, 1e300)})
    np.testing.assert_array_equal(model.weight.data, before["weight"])


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.float32, np.float64(-1e39)),
        (np.float16, np.float32(70000)),
        (np.float16, np.int64(70000)),
        (np.int32, np.int64(2**31)),
        (np.int64, np.uint64(2**63)),
        (np.int8, np.int16(-129)),
    ],
)
def test_a_value_beyond_the_dtype_of_a_buffer_is_refused(dtype: type, value: np.generic) -> None:
    class Counting(nn.Module):
        buffers = ("count",)

        def __init__(self) -> None:
            self.count = np.zeros((1, 2), dtype)

    model = Counting()
    state = {"count": np.array([[1, value]], value.dtype)}
    with pytest.raises(ValueError, match=r"count has \S+ at \[0, 1\], which \S+ cannot hold"):
        model.load_state_dict(state)
    assert (model.count == 0).all()
    model.load_state_dict({"count": np.array([[1, 2]], value.dtype)})
    assert model.count.tolist() == [[1, 2]]


def test_nan_and_infinity_are_loaded_as_they_were_saved() -> None:
    model = linear()
    bias = np.array([np.nan, np.inf, -np.inf])
    model.load_state_dict(model.state_dict() | {"bias": bias})
    np.testing.assert_array_equal(model.bias.data, bias)


def test_a_buffer_that_is_none_at_first_is_loaded() -> None:
    class Lazy(nn.Module):
        buffers = ("mean",)

        def __init__(self) -> None:
            self.mean = None

        def forward(self, x):
            self.mean = x.mean(0)
            return x

    model, other = nn.Sequential(Lazy(), Lazy()), nn.Sequential(Lazy(), Lazy())
    model[1](np.arange(6.0).reshape(3, 2))
    state = model.state_dict()
    assert list(state) == ["1.mean"]
    other.load_state_dict(state)
    assert other[0].mean is None
    np.testing.assert_array_equal(other[1].mean, [2, 3])
    other[1].mean[:] = 9
    for kept in (model[1].mean, state["1.mean"]):
        np.testing.assert_array_equal(kept, [2, 3])
    alone = Lazy()
    alone.load_state_dict({"mean": state["1.mean"]})
    np.testing.assert_array_equal(alone.mean, [2, 3])
    with pytest.raises(ValueError, match=r"0\.mean is unexpected"):
        model.load_state_dict(state | {"0.mean": np.array(["a"])})


def test_views_of_the_own_parameters_can_be_loaded() -> None:
    model = Holder(a=Parameter([1.0]), b=Parameter([2.0]))
    model.load_state_dict({"a": model.b.data, "b": model.a.data})
    assert (model.a.item(), model.b.item()) == (2, 1)


def test_a_shared_parameter_has_one_value_in_a_state() -> None:
    first, second = linear(3, 3), linear(3, 3)
    second.weight = first.weight
    model = nn.Sequential(first, second)
    state = model.state_dict()
    assert list(state) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    state["0.weight"][0, 0] = state["1.weight"][0, 0] = math.nan
    model.load_state_dict(dict(reversed(state.items())))
    state["1.weight"] = state["1.weight"] + 1
    with pytest.raises(ValueError, match=r"1\.weight and 0\.weight are one array here"):
        model.load_state_dict(state)
    del state["1.weight"]
    state["0.weight"][0, 0] = 1.0
    with pytest.raises(ValueError, match=r"cannot take the state: 1\.weight is missing$"):
        model.load_state_dict(state)


@pytest.mark.parametrize("bad", ["model.npz", [1, 2], None])
def test_load_state_dict_refuses_what_is_no_dict(bad) -> None:
    with pytest.raises(TypeError, match=f"a dict of arrays by name, not a {type(bad).__name__}"):
        net().load_state_dict(bad)


@pytest.mark.parametrize("name", ["calls", "unused"])
def test_buffers_are_arrays_or_none(name: str) -> None:
    module = Counter()
    setattr(module, name, 3.0)
    with pytest.raises(TypeError, match=rf"Counter\.{name} is a buffer and must be an ndarray or"):
        module.state_dict()
    module = Counter()
    del module.unused
    with pytest.raises(AttributeError, match="unused"):
        module.state_dict()
    module.unused = np.ones(2)
    assert list(module.state_dict()) == ["scale", "calls", "unused"]


# --- Copies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_deep_copy_or_pickle_computes_the_same_and_shares_nothing(copied) -> None:
    model = nn.Sequential(net(), nn.Dropout(0.5, rng=3), linear(3, 3))
    model.tied = Holder(weight=model[2].weight)
    model[0](random(6, 4))
    model[2].bias.requires_grad = False
    (model[2](random(2, 3)) ** 2).sum().backward()
    twin = copied(model)
    assert repr(twin) == repr(model)
    assert twin.tied.weight is twin[2].weight
    assert not twin[2].bias.requires_grad
    np.testing.assert_array_equal(twin[2].weight.grad, model[2].weight.grad)
    for (name, a), b in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert type(q) is Parameter
        assert not np.shares_memory(p.data, q.data)
    del model.tied, twin.tied
    x = random(6, 4, seed=1)
    np.testing.assert_array_equal(model(x).data, twin(x).data)  # dropout from copied generators
    before = model.state_dict()
    for p in twin.parameters():
        p.data += 1
    np.testing.assert_array_equal(model.state_dict()["2.weight"], before["2.weight"])


def test_dropout_of_a_copied_model_follows_minidls_seed() -> None:
    dropout = nn.Dropout(0.5)
    x = np.ones(100, np.float32)
    for one in (dropout, copy.deepcopy(dropout), pickle.loads(pickle.dumps(dropout))):
        minidl.seed(5)
        first = one(x)
        minidl.seed(5)
        np.testing.assert_array_equal(one(x), first)
        np.testing.assert_array_equal(dropout.rng is None, True)


# --- Looks ----------------------------------------------------------------------------------------


def test_repr_shows_the_structure() -> None:
    model = Holder(
        body=nn.Sequential(nn.Linear(4, 5, bias=False), nn.BatchNorm(5, momentum=0.2)),
        heads=[nn.Dropout(0.3), nn.LeakyReLU(0.2)],
        other={"g": nn.GELU("tanh")},
    )
    assert repr(model) == (
        "Holder(\n"
        "  (body): Sequential(\n"
        "    (0): Linear(4, 5, bias=False)\n"
        "    (1): BatchNorm(5, eps=1e-05, momentum=0.2)\n"
        "  )\n"
        "  (heads.0): Dropout(p=0.3)\n"
        "  (heads.1): LeakyReLU(0.2)\n"
        "  (other.g): GELU(approximate='tanh')\n"
        ")"
    )
    assert repr(nn.Sequential()) == "Sequential()"
    assert repr(nn.BatchNorm(2, affine=False)).endswith("affine=False)")
    assert repr(nn.Sigmoid()) == "Sigmoid()"


def test_summary_is_a_table_of_layers_shapes_and_counts(capsys) -> None:
    model = net()
    model[0].weight.requires_grad = False
    model.summary()
    assert capsys.readouterr().out == (
        "layer          parameters                 count\n"
        "-----------------------------------------------\n"
        "0: Linear      weight (5, 4), bias (5,)      25\n"
        "1: BatchNorm   weight (5,), bias (5,)        10\n"
        "2: ReLU                                       0\n"
        "3: Linear      weight (3, 5), bias (3,)      18\n"
        "-----------------------------------------------\n"
        "Sequential     trainable 33                  53\n"
    )


def test_summary_with_a_batch_shows_outputs_and_changes_nothing(capsys) -> None:
    model = nn.Sequential(nn.Flatten(), net(), Counter())
    model[1][2].eval()
    before = model.state_dict()
    attributes = [sorted(m.__dict__) for _, m in model.modules()]
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    for x in (random(7, 2, 2), Tensor(random(7, 2, 2)), random(7, 2, 2).tolist()):
        model.summary(x)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["layer", "output", "parameters", "count"]
        assert lines[2].split() == ["0:", "Flatten", "(7,", "4)", "0"]
        assert lines[3].startswith("1.0: Linear ")
        assert "(7, 5)" in lines[3]
        assert lines[-1].split() == ["Sequential", "trainable", "54", "54"]
        assert len({len(line) for line in lines}) == 1
    assert [sorted(m.__dict__) for _, m in model.modules()] == attributes
    assert [m.training for _, m in model.modules()] == [*[True] * 5, False, True, True]
    for name, array in model.state_dict().items():
        if name != "2.calls":  # its own forward counts
            np.testing.assert_array_equal(array, before[name])
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_summary_leaves_the_modules_whole_when_the_batch_does_not_fit() -> None:
    model = net()
    with pytest.raises(ValueError, match="4 input features"):
        model.summary(random(7, 3))
    assert "forward" not in model[0].__dict__
    assert model[0].training
    model[0].forward = lambda x: Tensor(x[:, :1] * np.ones(5, "float32"))
    model.summary(random(7, 3))
    assert model[0](random(2, 3)).shape == (2, 5)


def test_summary_shows_outputs_of_a_model_that_differentiates_within(capsys) -> None:
    class Slope(nn.Module):
        def forward(self, x):
            t = Tensor(x, requires_grad=True)
            with minidl.modes.recording(True):
                return minidl.grad((t**2).sum(), t)

    nn.Sequential(Slope()).summary(np.ones((2, 3), np.float32))
    assert "0: Slope     (2, 3)" in capsys.readouterr().out


def test_summary_counts_shared_weights_once(capsys) -> None:
    first, second = linear(3, 3), linear(3, 3)
    second.weight = first.weight
    third = Holder(weight=first.weight)
    nn.Sequential(first, second, first, third).summary()
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in out[2:5]] == ["12", "3", "0"]
    assert "(shared)" not in out[2]
    assert "(shared)" in out[3]
    assert "(shared)" in out[4]
    assert out[-1].split()[-1] == "15"


def test_summary_of_a_single_layer_and_of_lists_of_parameters(capsys) -> None:
    linear().summary()
    assert capsys.readouterr().out.splitlines()[2].split()[0] == "Linear"
    Holder(w=[Parameter(np.zeros((1000, 20)))], layer=nn.ReLU()).summary()
    out = capsys.readouterr().out
    assert "w.0 (1000, 20)" in out
    assert "20,000" in out


# --- Parameter ------------------------------------------------------------------------------------


def test_a_parameter_copies_its_data() -> None:
    array = np.arange(6.0).reshape(2, 3).T
    p = Parameter(array)
    array[:] = 0
    assert p.data.sum() == 15
    assert p.data.flags.c_contiguous
    assert (p.dtype, p.requires_grad) == (np.float64, True)
    assert Parameter([1, 2]).dtype == np.float32
    assert Parameter(Tensor([1.0]), dtype="float64").dtype == np.float64
    assert not Parameter([1.0], requires_grad=False).requires_grad


@pytest.mark.parametrize("bad", [np.array([1, 2]), np.array([True]), ["a"], np.array([1j])])
def test_a_parameter_holds_floating_point_numbers_only(bad) -> None:
    with pytest.raises(TypeError):
        Parameter(bad)
    with pytest.raises(TypeError):
        Parameter(bad, requires_grad=False)


def test_a_parameter_of_something_with_a_history_is_refused() -> None:
    with pytest.raises(TypeError, match="would lose the history"):
        Parameter(Parameter([1.0]) * 2)


# --- Calls ----------------------------------------------------------------------------------------


def test_a_module_without_forward_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Nothing needs a method forward\(self, x\)"):
        type("Nothing", (nn.Module,), {})()(1)


def test_call_passes_all_arguments_on() -> None:
    class Two(nn.Module):
        def forward(self, a, b, *, c):
            return a + b * c

    assert Two()(1, b=2, c=3) == 7


# --- Errors ---------------------------------------------------------------------------------------


def test_an_error_inside_a_module_keeps_all_that_it_carries() -> None:
    class Failing(nn.Module):
        def forward(self, x):
            raise ValueError("wrong", 7)

    with pytest.raises(ValueError) as caught:
        nn.Sequential(Failing())(np.ones(1))
    assert caught.value.args == ("wrong", 7)
    assert caught.value.__notes__ == ["in 0 (Failing)"]
    assert traceback.format_exception_only(caught.value)[-1] == "in 0 (Failing)\n"


def test_an_error_is_placed_in_a_module_that_is_part_of_itself_or_fails_anew() -> None:
    class Failing(nn.Module):
        def __init__(self, again: bool) -> None:
            self.itself, self.again = self, again

        def forward(self, x):
            if self.again:
                self.again = False
                self(x)
            raise ValueError("wrong")

    for again in (False, True):
        with pytest.raises(ValueError) as caught:
            nn.Sequential(Failing(again))(np.ones(1))
        assert caught.value.__notes__ == ["in 0 (Failing)"]


def test_an_error_keeps_notes_of_others_that_look_alike() -> None:
    class Failing(nn.Module):
        def forward(self, x):
            error = ValueError("wrong")
            error.add_note("in the morning")
            raise error

    with pytest.raises(ValueError) as caught:
        nn.Sequential(nn.Sequential(Failing()))(np.ones(1))
    assert caught.value.__notes__ == ["in the morning", "in 0.0 (Failing)"]
