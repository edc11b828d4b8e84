"""Models as plain data: what is described is built again, and a file can ask for nothing else."""

import json

import numpy as np
import pytest

import minidl
from minidl import nn

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 4, 9, 8))
ROWS = RNG.normal(size=(5, 6))

# For each layer, unlike its defaults: how it is made, and what it can be called with.
LAYERS = {
    "AvgPool2d": [(lambda: nn.AvgPool2d((3, 2), stride=(2, 1), padding=1), IMAGES)],
    "BatchNorm": [
        (lambda: nn.BatchNorm(6, eps=0.1, momentum=0.7), ROWS),
        (lambda: nn.BatchNorm(6, affine=False, dtype=np.float64), ROWS),
    ],
    "Conv2d": [
        (
            lambda: nn.Conv2d(
                4, 6, (3, 2), stride=(1, 2), padding=(2, 0), dilation=(2, 1), groups=2, bias=False
            ),
            IMAGES,
        ),
        (lambda: nn.Conv2d(4, 4, 3, groups=4, init="glorot_normal", dtype=np.float64), IMAGES),
    ],
    "ConvTranspose2d": [
        (
            lambda: nn.ConvTranspose2d(
                4, 6, (3, 2), stride=(3, 2), padding=1, output_padding=(2, 1), groups=2,
                bias=False, dilation=(1, 2),
            ),
            IMAGES,
        ),
        (lambda: nn.ConvTranspose2d(4, 2, 3, dtype=np.float64), IMAGES),
    ],
    "Dropout": [(lambda: nn.Dropout(0.9, rng=3), ROWS)],
    "Embedding": [(lambda: nn.Embedding(7, 3, std=0.1, dtype=np.float64), np.array([[1, 6]]))],
    "Flatten": [(nn.Flatten, IMAGES)],
    "GELU": [(lambda: nn.GELU("tanh"), ROWS)],
    "LayerNorm": [
        (lambda: nn.LayerNorm((9, 8), eps=0.1, bias=False), IMAGES),
        (lambda: nn.LayerNorm(6, elementwise_affine=False), ROWS),
        (lambda: nn.LayerNorm(6, dtype=np.float64), ROWS),
    ],
    "LeakyReLU": [(lambda: nn.LeakyReLU(0.3), ROWS)],
    "Linear": [
        (lambda: nn.Linear(6, 2, bias=False, init="uniform"), ROWS),
        (lambda: nn.Linear(6, 2, dtype=np.float16), ROWS),
    ],
    "MaxPool2d": [(lambda: nn.MaxPool2d((2, 3), stride=1, padding=1, dilation=(2, 1)), IMAGES)],
    "ModuleDict": [(lambda: nn.ModuleDict({"b": nn.Linear(6, 2), "a": nn.Tanh()}), None)],
    "ModuleList": [(lambda: nn.ModuleList([nn.Linear(6, 2), nn.ModuleList()]), None)],
    "ReLU": [(nn.ReLU, ROWS)],
    "Sequential": [
        (lambda: nn.Sequential(nn.Linear(6, 3), nn.Sequential(), nn.Sequential(nn.Tanh())), ROWS)
    ],
    "Sigmoid": [(nn.Sigmoid, ROWS)],
    "Softmax": [(lambda: nn.Softmax(axis=0), ROWS)],
    "Tanh": [(nn.Tanh, ROWS)],
}  # fmt: skip
CASES = [pytest.param(*case, id=name) for name, cases in LAYERS.items() for case in cases]
LOSSES = {name for name in nn.__all__ if name.endswith("Loss")}


class Residual(nn.Module):
    """A module of one's own around another one."""

    def __init__(self, inner, *, factor=1.0):
        self.inner, self.factor = inner, factor

    def forward(self, x):
        return x + self.factor * self.inner(x)


class Heads(nn.Module):
    """One that keeps something else than it was given, and says what that was."""

    def __init__(self, size, names):
        self.layers = {name: nn.Linear(size, 1) for name in names}

    def arguments(self):
        return {"size": next(iter(self.layers.values())).weight.shape[1], "names": [*self.layers]}

    def forward(self, x):
        return {name: layer(x) for name, layer in self.layers.items()}


class Chain(nn.Module):
    """One that takes any number of modules, and keeps them in a list."""

    def __init__(self, first, /, *others):
        self.first, self.others = first, others

    def forward(self, x):
        for module in (self.first, *self.others):
            x = module(x)
        return x


class Doubled(nn.Conv2d):
    """One that is constructed as a layer of nn is, and computes otherwise."""

    def forward(self, x):
        return 2 * super().forward(x)


OWN = (Residual, Heads, Chain, Doubled)


def scrambled(model):
    """The same model with other weights and running statistics, so that each one counts."""
    rng = np.random.default_rng(1)
    state = model.state_dict()
    model.load_state_dict({
        name: (np.abs(rng.normal(size=value.shape)) + 0.1).astype(value.dtype)
        for name, value in state.items()
    })  # fmt: skip
    return model.eval()


def there_and_back(model, tmp_path, classes=()):
    """The model as someone else has it who got a file."""
    path = tmp_path / "model.npz"
    minidl.save(path, {"model": nn.describe(model), "weights": model.state_dict()})
    state = minidl.load(path)
    size = sum(value.size for value in state["weights"].values())
    copy = nn.build(state["model"], classes=classes, most=size)
    copy.load_state_dict(state["weights"])
    return copy.eval()


# --- Every layer ----------------------------------------------------------------------------------


def test_no_layer_is_forgotten():
    modules = {n for n in nn.__all__ if isinstance(getattr(nn, n), type)}
    modules = {n for n in modules if issubclass(getattr(nn, n), nn.Module)} - {"Module"}
    assert modules - LOSSES == set(LAYERS)


@pytest.mark.parametrize(("make", "x"), CASES)
def test_a_layer_comes_back_bit_for_bit(make, x, tmp_path):
    model = scrambled(make())
    copy = there_and_back(model, tmp_path)
    assert repr(copy) == repr(model)
    assert type(copy) is type(model)
    for name, value in model.state_dict().items():
        assert copy.state_dict()[name].dtype == value.dtype, name
    if x is not None:
        for dtype in (np.float32, np.float64) if x.dtype.kind == "f" else (x.dtype,):
            expected = model(x.astype(dtype))
            got = copy(x.astype(dtype))
            assert np.asarray(getattr(got, "data", got)).tobytes() == (
                np.asarray(getattr(expected, "data", expected)).tobytes()
            )


@pytest.mark.parametrize(("make", "x"), CASES)
def test_settings_that_only_training_uses_come_back(make, x):
    model = make()
    copy = nn.build(nn.describe(model))
    for name, value in vars(model).items():
        if type(value) in (int, float, tuple, str, bool):
            assert getattr(copy, name) == value, name


@pytest.mark.parametrize(("make", "x"), CASES)
def test_a_description_survives_json(make, x):
    description = nn.describe(make())
    for in_another_order in (False, True):
        copy = nn.build(json.loads(json.dumps(description, sort_keys=in_another_order)))
        assert nn.describe(copy) == description


@pytest.mark.parametrize(("make", "x"), CASES)
def test_a_class_that_is_based_on_a_layer_is_described_as_it_is(make, x):
    model = make()
    expected = nn.describe(model)
    model.__class__ = type("Own", (type(model),), {})
    assert nn.describe(model) == {**expected, "class": "Own"}


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_a_loss_is_no_part_of_an_architecture(loss):
    with pytest.raises(TypeError, match=f"model, a {loss}, is no layer"):
        nn.describe(getattr(nn, loss)())


def test_a_setting_that_was_changed_later_is_kept():
    norm = nn.BatchNorm(2)
    norm.momentum = 0.5
    assert nn.build(nn.describe(norm)).momentum == 0.5


def test_a_built_model_is_untrained_and_training_mode_is_not_kept():
    model = scrambled(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm(4)))
    copy = nn.build(nn.describe(model))
    assert copy.training
    assert (copy.state_dict()["1.running_mean"] == 0).all()
    assert not (copy.state_dict()["0.weight"] == model.state_dict()["0.weight"]).any()


def test_describing_draws_no_random_number():
    model = nn.Sequential(nn.Linear(4, 4), Residual(nn.Linear(4, 4)))
    minidl.seed(0)
    first = nn.Linear(2, 2).weight.data.copy()
    minidl.seed(0)
    nn.describe(model)
    assert (nn.Linear(2, 2).weight.data == first).all()


# --- Modules of one's own, and shared ones --------------------------------------------------------


def test_modules_of_ones_own_come_back(tmp_path):
    model = scrambled(
        nn.Sequential(
            Residual(nn.Sequential(nn.Linear(6, 6), Residual(nn.Tanh(), factor=np.float64(0.5)))),
            Chain(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 6)),
            Heads(6, ["age", "size"]),
        )
    )
    copy = there_and_back(model, tmp_path, OWN)
    for name, expected in model(ROWS).items():
        assert (copy(ROWS)[name].data == expected.data).all()


def test_a_class_that_is_based_on_a_layer_comes_back(tmp_path):
    model = scrambled(nn.Sequential(Doubled(4, 2, (3, 1), padding=1, dtype=np.float64)))
    copy = there_and_back(model, tmp_path, OWN)
    assert type(copy[0]) is Doubled
    assert (copy(IMAGES).data == model(IMAGES).data).all()
    with pytest.raises(ValueError, match="more than 5 parameters"):
        nn.build(nn.describe(model), classes=OWN, most=5)


def test_a_class_that_is_based_on_a_layer_may_have_a_constructor_of_its_own():
    class Square(nn.Linear):
        def __init__(self, size):
            super().__init__(size, size)
            self.size = size

    assert nn.describe(Square(3)) == {"class": "Square", "size": 3}
    copy = nn.build(nn.describe(Square(3)), classes=[Square])
    assert copy.weight.shape == (3, 3)


def test_a_constructor_may_take_any_arguments_by_name():
    class Sizes(nn.Module):
        def __init__(self, **sizes):
            self.sizes = sizes

        def arguments(self):
            return self.sizes

    class More(Sizes):
        def __init__(self, first, **sizes):
            self.sizes = {"first": first, **sizes}

    for cls in (Sizes, More):
        sizes = {"first": 1, "a": 2, "b": 3}
        assert nn.build(nn.describe(cls(**sizes)), classes=[cls]).sizes == sizes


def test_a_module_that_is_called_arguments_is_no_method():
    class Parsing(nn.Module):
        def __init__(self, arguments):
            self.arguments = arguments

    for model in (nn.ModuleDict({"arguments": nn.Linear(2, 3)}), Parsing(nn.Linear(2, 3))):
        assert repr(nn.build(nn.describe(model), classes=[Parsing])) == repr(model)


def test_a_model_of_any_size_is_described(monkeypatch):
    monkeypatch.setitem(nn.build.__kwdefaults__, "most", 5)
    assert nn.describe(nn.Linear(2, 2))["in_features"] == 2


def test_a_module_in_two_places_is_one_again(tmp_path):
    layer, act = nn.Linear(6, 6), nn.ReLU()
    model = scrambled(nn.Sequential(layer, act, Residual(layer), act))
    copy = there_and_back(model, tmp_path, OWN)
    assert copy[0] is copy[2].inner
    assert copy[1] is copy[3]
    assert (copy(ROWS).data == model(ROWS).data).all()


def test_arguments_before_a_star_come_back_in_their_places():
    class Scaled(nn.Module):
        def __init__(self, size, *factors, bias=True):
            self.size, self.factors, self.bias = size, factors, bias
            self.layer = nn.Linear(6, size, bias=bias)

        def forward(self, x):
            return self.layer(x) * sum(self.factors)

    for model in (Scaled(3, 2.0, 0.5, bias=False), Scaled(3)):
        copy = nn.build(nn.describe(model), classes=[Scaled])
        assert (copy.size, copy.factors, copy.bias) == (model.size, model.factors, model.bias)


def test_what_cannot_be_described_is_refused_by_name_and_place():
    class Hidden(nn.Module):
        def __init__(self, factor=2.0):
            self.by = factor

    class Doubling(nn.Module):
        def __init__(self, size):
            self.size = 2 * size

    class Odd(nn.Module):
        def __init__(self, size, function=None):
            self.size, self.function = size, function

    class Many(nn.Module):
        def __init__(self, **options):
            self.options = options

    Linear = type("Linear", (nn.Linear,), {})
    late = nn.Sequential(nn.Linear(2, 2))
    late[0].extra = nn.Parameter([1.0])
    only = nn.ReLU()
    only.extra = nn.Parameter([1.0])
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    looped = Residual(nn.Tanh())
    looped.inner = looped
    deep = nn.Tanh()
    for _ in range(50):
        deep = nn.Sequential(deep)
    cases = [
        (nn.Sequential(nn.Tanh(), Hidden()), ValueError, r"modules\.1, a Hidden: .*'factor'"),
        (Doubling(3), ValueError, "Doubling describes itself otherwise"),
        (Many(a=1), ValueError, r"model, a Many: its constructor takes 'options'"),
        (Odd(1, np.tanh), TypeError, r"model\.function is a ufunc"),
        (Odd(nn.Parameter([1.0])), TypeError, r"model\.size is a Parameter"),
        (Odd(np.ones(2)), TypeError, r"model\.size is a ndarray"),
        (Odd(np.complex64(1)), TypeError, r"model\.size is a complex64"),
        (Odd({"class": 1}), TypeError, "has a key 'class'"),
        (Odd({1: 1}), TypeError, "words for keys"),
        (Odd({"a": 1, 2: 1}), TypeError, "words for keys"),
        (Linear(2, 2), TypeError, "has the name of a layer of nn"),
        (late, ValueError, r"0\.extra is \(1,\) float32 in the model and not there"),
        (only, ValueError, r": extra is \(1,\) float32 in the model and not there"),
        (tied, ValueError, r"0\.weight and 1\.weight are one parameter"),
        (looped, ValueError, "contains itself"),
        (deep, ValueError, "nested more than 90 deep"),
        (nn.Module(), TypeError, "is no layer"),
        (nn.Linear, TypeError, "describe takes a Module"),
        ({"class": "ReLU"}, TypeError, "describe takes a Module"),
        (nn.Linear(2, 2, dtype=np.longdouble), TypeError, "its dtype is"),
    ]
    for model, error, message in cases:
        with pytest.raises(error, match=message):
            nn.describe(model)


# --- Files made to do harm ------------------------------------------------------------------------


def linear(**arguments):
    return {"class": "Linear", "in_features": 2, "out_features": 2, **arguments}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"class": "os.system"}, "class 'os.system', which is not known here"),
        ({"class": "Module"}, "'Module', which is not known"),
        ({"class": "MSELoss"}, "'MSELoss', which is not known"),
        ({"class": ["Linear"]}, "which is not known"),
        ({}, "class None, which is not known"),
        ({"class": "Residual", "inner": {"class": "ReLU"}}, r"pass it in classes=\[...\]"),
        (linear(__init__=1), "no argument '__init__'; it takes in_features, out_features, bias"),
        (linear(in_features=-1), "Linear: in_features is a whole number of at least 1"),
        (linear(in_features="2"), "Linear: in_features is a whole number"),
        (linear(in_features=1 << 20, out_features=1 << 20), "more than 100,000,000 parameters"),
        (linear(in_features=1 << 62, out_features=1 << 62), "more than 100,000,000 parameters"),
        (linear(in_features=10**400), "more than 100,000,000 parameters"),
        (linear(bias="no"), "bias is True or False, not 'no'"),
        (linear(dtype="O"), "dtype is one of float16"),
        (linear(dtype=["float32"]), "dtype is one of float16"),
        (linear(init=np.tanh), "is a ufunc, which no description holds"),
        ({"class": "Linear", "in_features": 2}, "missing 1 required positional argument"),
        ({"class": "Linear", "self": 2}, "no argument 'self'"),
        ({"class": "ReLU", "x": 2}, "ReLU has no argument 'x'; it takes no arguments"),
        ({"class": "Embedding", "num_embeddings": 10**6, "embedding_dim": 10**6}, "more than"),
        ({"class": "BatchNorm", "num_features": 10**10}, "more than"),
        ({"class": "LayerNorm", "normalized_shape": [10**5] * 3}, "more than"),
        (
            {"class": "Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 10**5},
            "more than",
        ),
        (
            {"class": "ConvTranspose2d", "in_channels": 10**6, "out_channels": 10**6,
             "kernel_size": (1, 1), "groups": 2},
            "more than",
        ),
        ({"class": "Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": "33"}, "kernel"),
        ({"class": "Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": None}, "kernel"),
        ({"class": "Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 1, "groups": 0},
         "groups is a whole number of at least 1"),
        ({"class": "Sequential", "modules": [linear()] * 3 + [1]}, "model: "),
        ({"class": "Sequential", "modules": None}, "model: "),
        ({"class": "Sequential", "modules": [{"class": "x"}]}, r"model\.modules\.0 is of class"),
        ({"class": "ModuleDict", "modules": {"forward": linear()}}, "'forward' cannot be the key"),
        ({"class": "ModuleDict", "modules": {"__class__": linear()}}, "cannot be the key"),
        ({"shared": "model"}, "no such module"),
        ({"class": "Sequential", "modules": [{"shared": "model"}]}, "no such module"),
        ({"class": "Sequential", "modules": [{"shared": ["model"]}]}, "no such module"),
        ({"class": "Sequential", "modules": [linear(), {"shared": "model.modules.0", "a": 1}]},
         "no such module"),
    ],
)  # fmt: skip
def test_a_crafted_description_is_refused(description, message):
    with pytest.raises(ValueError, match=message):
        nn.build(description)


CONVOLUTION = {"in_channels": 4, "out_channels": 6, "groups": 2}


@pytest.mark.parametrize(
    ("description", "size"),
    [
        (linear(in_features=3, out_features=5), 15),
        ({"class": "Conv2d", "kernel_size": 3, **CONVOLUTION}, 4 * 6 // 2 * 9),
        ({"class": "ConvTranspose2d", "kernel_size": (3, 2), **CONVOLUTION}, 4 * 6 // 2 * 6),
        ({"class": "BatchNorm", "num_features": 7}, 7),
        ({"class": "LayerNorm", "normalized_shape": 7}, 7),
        ({"class": "LayerNorm", "normalized_shape": [7, 2]}, 14),
        ({"class": "LayerNorm", "normalized_shape": 7, "elementwise_affine": False}, 0),
        ({"class": "Embedding", "num_embeddings": 7, "embedding_dim": 3}, 21),
        ({"class": "ReLU"}, 0),
    ],
)
def test_a_layer_counts_as_its_largest_array(description, size):
    nn.build(description, most=size)
    if size:
        with pytest.raises(ValueError, match=f"more than {size - 1} parameters"):
            nn.build(description, most=size - 1)


def test_many_layers_cannot_take_more_than_one():
    many = {"class": "Sequential", "modules": [linear(in_features=10, out_features=6)] * 2}
    with pytest.raises(ValueError, match=r"modules\.1: Linear: the model has more than 119"):
        nn.build(many, most=119)
    assert len(nn.build(many, most=120)) == 2


@pytest.mark.parametrize("what", ["module", "list", "dict"])
def test_deep_nesting_is_refused_before_it_costs_anything(what):
    inner = {"class": "ReLU"}
    for _ in range(100_000):
        inner = {"module": {"class": "Residual", "inner": inner}, "list": [inner],
                 "dict": {"a": inner}}[what]  # fmt: skip
    with pytest.raises(ValueError, match="nested more than 90 deep"):
        nn.build({"class": "Residual", "inner": inner}, classes=OWN)
    while isinstance(inner, dict | list):  # Python itself takes so deep a thing apart by recursion
        inner = inner.popitem()[1] if isinstance(inner, dict) else inner.pop()


class Keeps(nn.Module):
    """One that keeps anything."""

    def __init__(self, what):
        self.what = what


@pytest.mark.parametrize("around", [lambda x: [x], lambda x: (1, x), lambda x: {"a": x}, Keeps])
def test_what_is_nested_90_deep_comes_back_and_what_is_deeper_does_not(around):
    deep = 1
    for _ in range(90 if around is not Keeps else 89):
        deep = around(deep)
    model = Keeps(deep)
    description = nn.describe(model)
    copy = nn.build(description, classes=[Keeps])
    assert nn.describe(copy) == description
    with pytest.raises(ValueError, match=r"^describe: .* nested more than 90 deep"):
        nn.describe(Keeps(around(deep)))
    deeper = {**description, "what": around(description["what"])} if around is not Keeps else {
        "class": "Keeps", "what": description}  # fmt: skip
    with pytest.raises(ValueError, match=r"^build: .* nested more than 90 deep"):
        nn.build(deeper, classes=[Keeps])


def test_wrong_arguments_of_build():
    with pytest.raises(TypeError, match="build takes what describe returns"):
        nn.build([linear()])
    for wrong in (dict, nn.ReLU(), "ReLU"):
        with pytest.raises(TypeError, match="classes are classes of modules"):
            nn.build(linear(), classes=[wrong])
    with pytest.raises(ValueError, match="two classes have the name Linear"):
        nn.build(linear(), classes=[type("Linear", (nn.Module,), {})])
    with pytest.raises(ValueError, match="most is a whole number"):
        nn.build(linear(), most=-1)
