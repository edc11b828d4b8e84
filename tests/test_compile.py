"""The compiler: a compiled step is the eager step, bit for bit, or it is refused."""

from __future__ import annotations

import copy
import importlib
import linecache
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import rules
from reference import make_sources

import minidl
from minidl import functional as F
from minidl import nn, optim
from minidl.gradcheck.samples import MODULES, SAMPLES, Sample

source_module = importlib.import_module("minidl.compile.source")
step_module = importlib.import_module("minidl.compile.step")
PATIENCE = step_module.PATIENCE


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a program for each kind of batch at once, so that it is looked at."""
    monkeypatch.setattr(step_module, "PATIENCE", 0)


EVERY_SAMPLE = [sample for entries in SAMPLES.values() for sample in entries]


class Called(nn.Module):
    """A call of a sample, its inputs the parameters."""

    def __init__(self, sample: Sample) -> None:
        self.call = sample.call
        self.inputs = [
            nn.Parameter(x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
            for x in sample.inputs
        ]

    def forward(self, x: Any) -> Any:
        y = self.call(*self.inputs)
        return (y if isinstance(y, minidl.Tensor) else sum(part.sum() for part in y)) * x


def weighted_sum(y: Any, weights: Any) -> Any:
    return (y * weights).sum()


def trained(
    model: nn.Module,
    loss: Any,
    make: Callable[..., Any],
    batches: Any,
    compiled: bool,
    **options: Any,
) -> tuple[list[float], dict[str, bytes]]:
    """Losses, and the bits of everything that was trained."""
    minidl.seed(0)
    model, loss = copy.deepcopy((model, loss))
    optimizer = make(model.parameters())
    step = minidl.compile(model, loss, optimizer, **options)
    losses = []
    for x, y in batches:
        losses.append(step(x, y) if compiled else step.eager(x, y)[0])
    # Where a check of a program fails, the step is eager: the programs must have been run as well.
    assert all(program.trials == step_module.TRIALS for program in step.programs.values())
    grads = {f"{n}.grad": p.grad for n, p in model.named_parameters() if p.grad is not None}
    state = model.state_dict() | grads
    for group in optimizer.state_dict()["groups"]:
        for name, entry in group["params"].items():
            state |= {f"{key} of {name}": np.asarray(value) for key, value in entry.items()}
    return losses, {name: np.asarray(a).tobytes() for name, a in state.items()}


def assert_equal(model: nn.Module, loss: Any, make: Any, batches: Any, **options: Any) -> None:
    """The same both ways, bit for bit."""
    losses, state = trained(model, loss, make, batches, compiled=True, **options)
    expected, wanted = trained(model, loss, make, batches, compiled=False, **options)
    assert np.array(losses).tobytes() == np.array(expected).tobytes()
    assert state == wanted


@pytest.mark.parametrize("sample", EVERY_SAMPLE, ids=lambda s: s.name)
def test_every_operation_compiles(sample: Sample) -> None:
    model = Called(sample)
    y = model.call(*model.inputs)
    weights = np.random.default_rng(0).standard_normal(
        np.shape(y.data) if isinstance(y, minidl.Tensor) else ()
    )
    batches = [(np.float64(k) * np.ones(()), weights) for k in (1.0, 0.5, -1.5, 2.0)]
    with np.errstate(all="ignore"):
        assert_equal(model, weighted_sum, lambda p: optim.SGD(p, lr=1e-3), batches)


class Branching(nn.Module):
    """Two ways that share a layer, and one parameter that nothing uses."""

    def __init__(self, rng: Any) -> None:
        self.first = nn.Linear(6, 5, rng=rng)
        self.shared = nn.Linear(5, 5, rng=rng)
        self.parts = {
            "scale": nn.Parameter(rng.standard_normal(5)),
            "idle": nn.Parameter(np.ones(3)),
        }
        self.last = nn.Linear(5, 3, rng=rng)

    def forward(self, x: Any) -> Any:
        h = F.relu(self.first(x))
        a, b = np.tanh(self.shared(h)), self.shared(h) * self.parts["scale"]
        return self.last(a * b + np.concatenate([h[:, :2], b[:, 2:]], axis=1))


def random_network(seed: int) -> tuple[nn.Module, Any, Any, Any]:
    """A network, a loss, a rule, and batches, all drawn at random."""
    rng = np.random.default_rng(seed)
    dtype = rng.choice([np.float32, np.float64])
    layers: list[nn.Module] = []
    width = features = int(rng.integers(1, 8))
    for _ in range(rng.integers(1, 5)):
        out = int(rng.integers(1, 40))
        layers.append(nn.Linear(width, out, bias=bool(rng.integers(2)), rng=rng, dtype=dtype))
        if rng.random() < 0.4:
            layers.append(nn.BatchNorm(out, affine=bool(rng.integers(2)), dtype=dtype))
        layers.append(rng.choice(
            [nn.ReLU(), nn.LeakyReLU(0.1), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.GELU("tanh")]
        ))  # fmt: skip
        if rng.random() < 0.3:
            layers.append(nn.Dropout(0.3, rng=None if rng.random() < 0.5 else int(rng.integers(9))))
        width = out
    classes = int(rng.integers(2, 6))
    layers.append(nn.Linear(width, classes, rng=rng, dtype=dtype))
    losses = [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1),
              nn.CrossEntropyLoss(weight=rng.random(classes) + 0.1), nn.MSELoss(), nn.HuberLoss(),
              nn.L1Loss(), nn.BCEWithLogitsLoss()]  # fmt: skip
    loss = losses[rng.integers(len(losses))]
    batches = []
    n = int(rng.integers(2, 40))
    for size in (n, n, max(2, n // 2), n, max(2, n // 2), n, n):
        x = rng.standard_normal((size, features)).astype(dtype)
        y = rng.integers(0, classes, size)
        if not isinstance(loss, nn.CrossEntropyLoss):
            y = rng.random((size, classes)).astype(dtype)
        batches.append((x, y))
    rule = RULES[int(rng.integers(len(RULES)))]
    decay = float(rng.choice([0.0, 0.01]))
    lr = optim.schedules.cosine(0.05, steps=20) if rng.random() < 0.3 else 0.01
    return nn.Sequential(*layers), loss, lambda p: rule(p, lr=lr, weight_decay=decay), batches


RULES = [*rules.RULES.values()]


@pytest.mark.parametrize("seed", range(100))
def test_random_networks_train_the_same_both_ways(seed: int) -> None:
    assert_equal(*random_network(seed))


@pytest.mark.parametrize("entry", MODULES, ids=[name for name, *_ in MODULES])
def test_every_module_compiles(entry: Any) -> None:
    _, module, inputs = entry
    model = nn.Sequential(nn.Flatten(), nn.Linear(inputs[0][0].size, inputs[0][0].size, rng=0))
    x = inputs[0].reshape(len(inputs[0]), -1)
    if x.dtype.kind == "i":
        model, loss, batches = nn.Sequential(module), weighted_sum, [(x, np.float32(0.5))] * 4
    elif isinstance(module, nn.Module) and len(inputs) == 2:
        loss, batches = module, [(x.reshape(len(x), -1), inputs[1])] * 4
        model = nn.Sequential(*model, Reshaped(inputs[0].shape[1:]))
    else:
        model = nn.Sequential(*model, Reshaped(inputs[0].shape[1:]), module)
        loss, batches = weighted_sum, [(x, np.float32(0.5))] * 4
    assert_equal(model, loss, lambda p: optim.Adam(p, lr=0.01), batches)


class Reshaped(nn.Module):
    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def forward(self, x: Any) -> Any:
        return x.reshape(-1, *self.shape)


BATCHES = [
    (np.random.default_rng(i).standard_normal((8, 6)).astype(np.float32),
     np.random.default_rng(i).integers(0, 3, 8))
    for i in range(8)
]  # fmt: skip


BATCH = BATCHES[0]


@pytest.mark.parametrize("rule", RULES)
def test_modules_of_ones_own_compile(rule: Any) -> None:
    model = Branching(np.random.default_rng(0))
    assert_equal(model, nn.CrossEntropyLoss(), lambda p: rule(p, lr=0.01), BATCHES)


@pytest.mark.parametrize("rule", RULES)
def test_large_updates_go_in_blocks(rule: Any) -> None:
    model = nn.Sequential(
        nn.Linear(6, 300, rng=0), nn.ReLU(), nn.Linear(300, 400, rng=0), nn.Linear(400, 3, rng=0)
    )
    make = lambda p: rule(p, lr=0.01, weight_decay=0.1)
    assert_equal(model, nn.CrossEntropyLoss(), make, BATCHES)


# --- What changes between steps is followed -------------------------------------------------------


class Pair:
    """The same network twice: one trains eagerly, one compiled."""

    def __init__(
        self, make: Callable[[], tuple[nn.Module, Any]], rule: Any = None, **options: Any
    ) -> None:
        self.models, self.steps, self.optimizers = [], [], []
        for _ in range(2):
            minidl.seed(0)
            model, loss = make()
            optimizer = (rule or (lambda m: optim.Adam(m.parameters(), lr=0.01)))(model)
            self.models.append(model)
            self.optimizers.append(optimizer)
            self.steps.append(minidl.compile(model, loss, optimizer, **options))
        minidl.seed(1)
        self.streams = [minidl.rng.generator().bit_generator.state] * 2
        self.batches = 0

    def train(self, steps: int = 4, x: Any = None, y: Any = None) -> None:
        for _ in range(steps):
            batch = BATCHES[self.batches % len(BATCHES)]
            bx, by = batch if x is None else (x, y)
            self.batches += 1
            losses = []
            for i, step in enumerate(self.steps):
                minidl.rng.generator().bit_generator.state = self.streams[i]
                losses.append(step(bx, by) if i else step.eager(bx, by)[0])
                self.streams[i] = minidl.rng.generator().bit_generator.state
            assert np.float64(losses[0]).tobytes() == np.float64(losses[1]).tobytes()
        self.check()

    def check(self) -> None:
        states = [model.state_dict() for model in self.models]
        for name, a in states[0].items():
            assert a.tobytes() == states[1][name].tobytes(), name
        for p, q in zip(*(model.parameters() for model in self.models), strict=True):
            assert (p.grad is None) == (q.grad is None)
            assert p.grad is None or p.grad.tobytes() == q.grad.tobytes()
        first, second = (
            {name: a.tobytes() for name, a in vars(model).items() if isinstance(a, np.ndarray)}
            for model in self.models
        )
        assert first == second
        first, second = (optimizer.state_dict() for optimizer in self.optimizers)
        assert repr(first) == repr(second)

    def both(self, change: Callable[[nn.Module, Any], Any]) -> None:
        for model, optimizer in zip(self.models, self.optimizers, strict=True):
            change(model, optimizer)


def network() -> tuple[nn.Module, Any]:
    model = nn.Sequential(
        nn.Linear(6, 12, rng=0), nn.BatchNorm(12), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(12, 12, rng=1), nn.Tanh(), nn.Linear(12, 3, rng=2),
    )  # fmt: skip
    return model, nn.CrossEntropyLoss()


CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "the rate": lambda m, o: setattr(o, "lr", 0.5),
    "a schedule": lambda m, o: setattr(o, "lr", optim.schedules.exponential_decay(0.1, 0.9)),
    "a hyper-parameter": lambda m, o: setattr(o, "betas", (0.5, 0.9)),
    "weight decay": lambda m, o: setattr(o, "weight_decay", 0.1),
    "a group's value": lambda m, o: o.groups[0].__setitem__("eps", 1e-3),
    "eval mode": lambda m, o: m.eval(),
    "a frozen layer's mode": lambda m, o: m[1].eval(),
    "a layer's attribute": lambda m, o: setattr(m[3], "p", 0.7),
    "no dropout": lambda m, o: setattr(m[3], "p", 0.0),
    "a frozen parameter": lambda m, o: setattr(m[0].weight, "requires_grad", False),
    "rebound data": lambda m, o: setattr(m[0].weight, "data", np.ones((12, 6), np.float32) / 9),
    "data written into": lambda m, o: m[0].weight.data.__imul__(0.5),
    "a buffer rebound": lambda m, o: setattr(m[1], "running_mean", np.ones(12, np.float32)),
    "loaded state": lambda m, o: m.load_state_dict(
        {name: value * 0 + 1 for name, value in m.state_dict().items()}
    ),
    "the optimizer's state loaded": lambda m, o: o.load_state_dict(
        {**o.state_dict(), "steps": 100}
    ),
    "gradients forgotten": lambda m, o: o.zero_grad(),
    "a gradient set": lambda m, o: setattr(m[0].weight, "grad", np.ones((12, 6))),
    "another layer": lambda m, o: setattr(m, "layers", [*m.layers[:5], nn.ReLU(), *m.layers[6:]])
    if hasattr(m, "layers") else None,
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_changes_between_steps_are_followed(change: Any) -> None:
    pair = Pair(network)
    pair.train(4)
    pair.both(change)
    pair.train(4)


def test_a_program_is_trusted_after_two_steps_that_were_made_both_ways() -> None:
    calls: list[Any] = []
    model = Written(lambda m, x: (m.linear(x), calls.append(type(x)))[0])
    step = minidl.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    for eager in (1, 2, 2, 2):
        step(*BATCH)
        assert calls.count(np.ndarray) == eager


def test_batches_of_another_size_or_dtype_get_a_program_of_their_own() -> None:
    pair = Pair(network)
    x, y = BATCHES[0]
    for n, dtype in (
        (8, np.float32),
        (5, np.float32),
        (8, np.float64),
        (5, np.float32),
        (8, np.float32),
    ):
        pair.train(3, x[:n].astype(dtype), y[:n])
        pair.train(1, x[:n].astype(dtype), y[:n].astype(np.int8))
    assert len(pair.steps[1].programs) == 6


@pytest.mark.parametrize(
    "other",
    [
        lambda x, y: (x[:5], y),
        lambda x, y: (x.astype(np.float64), y),
        lambda x, y: (np.asfortranarray(x), y),
        lambda x, y: (x, y[:, :1]),
        lambda x, y: (x, y.astype(np.float64)),
        lambda x, y: (x, y[:, ::-1]),
    ],
    ids=[f"{part} of {whose}" for whose in "xy" for part in ("shape", "dtype", "order")],
)
def test_a_batch_that_differs_in_one_thing_is_of_another_kind(other: Any) -> None:
    batch = BATCH[0], np.array([[0.5, 2.0, -1.0]], np.float32)
    pair = Pair(lambda: (network()[0], weighted_sum))
    for x, y in (batch, other(*batch), batch):
        pair.train(3, x, y)
    assert len(pair.steps[1].programs) == 2


def test_a_kind_of_batch_that_comes_seldom_gets_no_program(monkeypatch: Any) -> None:
    monkeypatch.setattr(step_module, "PATIENCE", PATIENCE)
    pair = Pair(network)
    x, y = BATCHES[0]
    pair.train(3)
    pair.train(PATIENCE, x[:5], y[:5])
    assert len(pair.steps[1].programs) == 1
    pair.train(4, x[:5], y[:5])
    assert len(pair.steps[1].programs) == 2


def test_the_number_of_programs_is_bounded() -> None:
    step = Pair(network).steps[1]
    rng = np.random.default_rng(0)
    for n in range(2, 30):
        step(rng.standard_normal((n, 6), np.float32), rng.integers(0, 3, n))
    assert len(step.programs) == 16


def test_eager_and_compiled_steps_alternate() -> None:
    pair = Pair(network)
    for _ in range(4):
        pair.train(2)
        pair.steps.reverse()
        pair.streams.reverse()
        pair.models.reverse()
        pair.optimizers.reverse()


def test_groups_with_their_own_hyper_parameters() -> None:
    def rule(m: Any) -> Any:
        first, *rest = m.named_parameters()
        return optim.RMSProp([
            {"params": [first], "lr": 0.1, "eps": 1e-3},
            {"params": rest, "lr": optim.schedules.cosine(0.1, steps=9), "weight_decay": 0.01},
        ])  # fmt: skip

    Pair(network, rule).train(8)


def test_shared_parameters_move_once() -> None:
    def make() -> tuple[nn.Module, Any]:
        layer = nn.Linear(6, 6, rng=0)
        return nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(6, 3, rng=1)), nn.CrossEntropyLoss()

    Pair(make).train(6)


@pytest.mark.parametrize("max_norm", [0.01, 1.0, 1e9])
def test_gradients_are_clipped(max_norm: float) -> None:
    Pair(network, max_norm=max_norm).train(6)


def test_a_parameter_that_comes_late_counts_its_own_steps() -> None:
    pair = Pair(network)
    pair.both(lambda m, o: setattr(m[0].weight, "requires_grad", False))
    pair.train(5)
    pair.both(lambda m, o: setattr(m[0].weight, "requires_grad", True))
    pair.train(5)


def test_dropout_goes_on_with_the_stream_of_the_generator() -> None:
    pair = Pair(
        lambda: (nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3, rng=0)), nn.CrossEntropyLoss())
    )
    pair.train(6)
    assert pair.streams[0] == pair.streams[1]


def test_checkpoints_are_bitwise_what_eager_ones_are() -> None:
    pair = Pair(network)
    pair.train(5)
    saved = [
        (m.state_dict(), o.state_dict()) for m, o in zip(pair.models, pair.optimizers, strict=True)
    ]
    pair.train(3)
    for (model, optimizer), m, o in zip(saved, pair.models, pair.optimizers, strict=True):
        m.load_state_dict(model)
        o.load_state_dict(optimizer)
    pair.train(5)


def test_debug_runs_the_eager_step(monkeypatch: Any) -> None:
    pair = Pair(network)
    pair.train(3)
    program = pair.steps[1].last
    monkeypatch.setattr(program, "run", lambda x, y: pytest.fail("the program was run"))
    with minidl.debug():
        pair.train(1)
    pair.models[1][0].weight.data[0, 0] = np.nan
    with pytest.raises(FloatingPointError, match="makes nan out of"), minidl.debug():
        pair.models[1][6].weight.data[:] = np.inf
        pair.steps[1](*BATCH)


def test_a_loss_that_is_not_finite_is_left_to_the_eager_step() -> None:
    pair = Pair(network)
    pair.train(3)
    x, y = BATCHES[0]
    with np.errstate(all="ignore"):
        pair.train(1, x * np.float32(np.nan), y)


def test_what_numpy_warns_of_is_said_as_often_as_by_the_eager_step() -> None:
    model = Written(lambda m, x: m.linear(x) * np.tanh(np.log(np.abs(x[:, :3]))))
    step = minidl.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    with pytest.warns(RuntimeWarning, match="divide by zero") as seen:
        step(np.zeros((8, 6), np.float32), BATCH[1])
    assert len(seen) == 1
    step(*BATCH)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(np.zeros((8, 6), np.float32), BATCH[1])  # the program is trusted, and says nothing


@pytest.mark.parametrize("first", ["ignored", "whole"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ignore_index": 0},
        {"label_smoothing": 0.1},
        {"weight": np.array([1.0, 2.0, 0.5])},
        {"weight": np.array([1.0, 0.0, 0.5]), "label_smoothing": 0.2, "ignore_index": 2},
        {"reduction": "sum"},
    ],
    ids=str,
)
def test_targets_that_are_ignored_now_and_then(options: dict[str, Any], first: str) -> None:
    x, y = BATCHES[0]
    some = np.where(np.arange(len(y)) % 3 == 1, options.get("ignore_index", -100), y)
    pair = Pair(lambda: (network()[0], nn.CrossEntropyLoss(**options)))
    for targets in (some, y, some) if first == "ignored" else (y, some, y):
        pair.train(3, x, targets)
    assert len(pair.steps[1].programs) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda y: y + 1, r"target 3 is out of range.*if they count from 1, subtract 1"),
        (lambda y: y - 1, r"target -1 is out of range"),
        (lambda y: y.astype(float), "must be integers"),
        (lambda y: np.full_like(y, -100), "of which none counts"),
        (lambda y: y[1:], "targets have shape"),
    ],
)
def test_targets_that_are_wrong_from_the_first_step_raise_the_eager_error(
    wrong: Any, message: str
) -> None:
    step = Pair(network).steps[1]
    x, y = BATCHES[0]
    with pytest.raises((TypeError, ValueError), match=message):
        step(x, wrong(y))
    assert step.optimizer.steps == 0
    step(x, y)
    assert step.optimizer.steps == 1


def test_wrong_targets_raise_the_eager_error_and_change_nothing() -> None:
    pair = Pair(network)
    pair.train(3)
    x, y = BATCHES[0]
    before = {k: v.tobytes() for k, v in pair.models[1].state_dict().items()}
    with pytest.raises(ValueError, match="target 3 is out of range"):
        pair.steps[1].attempt(x, y + 1) or F.cross_entropy(np.zeros((8, 3)), y + 1)
    assert {k: v.tobytes() for k, v in pair.models[1].state_dict().items()} == before


def test_explain_tells_of_a_compiled_step_as_of_an_eager_one() -> None:
    schedule = optim.schedules.exponential_decay(0.1, 0.9)
    pair = Pair(network, lambda m: optim.Adam(m.parameters(), lr=schedule))
    pair.train(6)
    told = [optimizer.explain("4.weight") for optimizer in pair.optimizers]
    with told[0], told[1]:
        pair.train(1)
    assert "step 7 of Adam" in str(told[0])
    assert str(told[0]) == str(told[1])


def test_predictions_that_are_a_view_are_returned() -> None:
    model = nn.Sequential(nn.Linear(6, 6, rng=0), Reshaped((2, 3)))
    step = minidl.compile(model, weighted_sum, optim.SGD(model.parameters(), lr=0.0))
    x = BATCHES[0][0]
    for _ in range(4):
        _, predictions = step.attempt(x, np.ones((8, 2, 3), np.float32)) or (0, None)
        assert np.array_equal(predictions, model(x).data)


@pytest.mark.parametrize("rule", RULES)
def test_float16_parameters_are_followed(rule: Any) -> None:
    def make() -> tuple[nn.Module, Any]:
        first = nn.Linear(6, 9, rng=0, dtype=np.float16)
        second = nn.Linear(9, 3, rng=1, dtype=np.float16)
        return nn.Sequential(first, nn.ReLU(), second), nn.CrossEntropyLoss()

    pair = Pair(make, lambda m: rule(m.parameters(), lr=0.01))
    pair.train(6)
    pair.both(lambda m, o: m[0].weight.data.__imul__(0.5))
    pair.train(3)


doubled = np.frompyfunc(lambda a: 2 * a, 1, 1)  # its name is no name: "<lambda> (vectorized)"


class OwnFunction(optim.Optimizer):
    def update(self, x: Any, dx: Any, *, lr: float) -> None:
        x -= lr * doubled(dx).astype(x.dtype)


def test_a_rule_that_calls_a_function_of_ones_own_is_written_down() -> None:
    make = lambda: (nn.Linear(6, 3, rng=0), nn.CrossEntropyLoss())
    pair = Pair(make, lambda m: OwnFunction(m.parameters(), lr=0.1))
    pair.train(4)
    assert "vectorized(" in pair.steps[1].source


def test_a_container_that_holds_itself_is_no_obstacle() -> None:
    class Boxed(nn.Module):
        def __init__(self) -> None:
            self.linear, self.box = nn.Linear(6, 3, rng=0), []
            self.box.append(self.box)

        def forward(self, x: Any) -> Any:
            return self.linear(x)

    Pair(lambda: (Boxed(), nn.CrossEntropyLoss())).train(4)


# --- What people write ----------------------------------------------------------------------------


class Written(nn.Module):
    """A Linear layer, and what is written around it."""

    def __init__(self, forward: Callable[[Any, Any], Any], **attributes: Any) -> None:
        self.written, self.linear = forward, nn.Linear(6, 3, rng=0)
        for name, value in attributes.items():
            setattr(self, name, copy.deepcopy(value))

    def forward(self, x: Any) -> Any:
        return self.written(self, x)


@minidl.differentiable
def cubed(x: Any) -> Any:
    return x**3


minidl.vjp(cubed, "x", x=lambda g, x: g * 3 * x**2)


def own_average(m: Any, x: Any) -> Any:
    y = m.linear(x)
    m.mean = 0.9 * m.mean + 0.1 * y.data.mean(axis=0)  # set anew, and needed for the loss
    return y - m.mean


def own_average_of_before(m: Any, x: Any) -> Any:
    y = m.linear(x)
    new = 0.9 * m.mean + 0.1 * y.data.mean(axis=0)
    y = y * m.mean  # what it was before this step, which the backward pass needs as well
    m.mean = new
    return y


def average_of_an_average(m: Any, x: Any) -> Any:
    y = m.linear(x)
    m.mean *= 0.5
    m.mean += y.data.mean(axis=0)
    off = m.mean - 1  # computed before the last check, and kept nowhere
    m.square[...] = off * off
    return y


def own_table(m: Any, x: Any) -> Any:
    y = m.linear(x)
    m.table[0] += y.data.mean(axis=0)
    m.table[1, :2] = y.data[0, :2]
    return y + m.table[0] * m.table[1]


def own_count(m: Any, x: Any) -> Any:
    m.count += 1
    return m.linear(x) * (1 / (1 + m.count)).astype(np.float32)


def without_a_graph(m: Any, x: Any) -> Any:
    with minidl.no_grad():
        factor = np.tanh(m.linear(x)).data
    return m.linear(x) * factor


def layer_norm(m: Any, x: Any) -> Any:
    h = m.linear(x)
    return (h - h.mean(axis=1, keepdims=True)) / np.sqrt(h.var(axis=1, keepdims=True) + 1e-5)


def square(y: Any) -> Any:
    s = np.tanh(y.T @ y)
    return y @ (s + s.T)


def random_rows(m: Any, x: Any) -> Any:
    return m.linear(x)[minidl.rng.generator().permutation(len(x))]


def written_in_part(m: Any, x: Any) -> Any:
    y = m.linear(x)
    u, v = np.exp(y.data), np.exp(y.data)  # computed once, until one of them is written into
    u[:, 0] = 0
    return y * u + v


def written_through_views(m: Any, x: Any) -> Any:
    y = m.linear(x)
    u, v, w = np.exp(y.data), np.exp(y.data), np.exp(y.data)
    u.T[0] = 0
    v[:, 1:] += w[:, 1:]
    w = np.exp(y.data)
    np.negative(w[::2], out=w[::2])
    return y * u + v - w


def filled(m: Any, x: Any) -> Any:
    m.rows.fill(0.5)
    np.copyto(m.rows[1:3], x[:2])
    return m.linear(x + m.rows)


def in_place_power(m: Any, x: Any) -> Any:
    x = np.abs(x)
    x **= 1.5
    return m.linear(x)


def added_at(m: Any, x: Any) -> Any:
    np.add.at(m.seen, np.argmax(x[:, :3], axis=1), np.float32(0.25))
    return m.linear(x) * m.seen


def computed_again(m: Any, x: Any) -> Any:
    h = np.add(x, 1)
    np.add(x, 1, out=m.rows)
    m.rows *= 2
    return m.linear(h - m.rows)


def computed_before(m: Any, x: Any) -> Any:
    np.add(x, 1, out=m.rows)
    h = np.add(x, 1)
    m.rows[:4] *= 2
    m.rows[6] = 0
    return m.linear(h - m.rows)


def counts_in_containers(m: Any, x: Any) -> Any:
    for count in (m.counts[0], m.counts[1]["b"][0]):
        count += 1
    return m.linear(x) * m.counts[0] / m.counts[1]["b"][0]


def written_into_copies(m: Any, x: Any) -> Any:
    rows = m.rows
    for copied in (rows.flatten(), rows.copy(), np.copy(rows), rows.astype(np.float32)):
        copied += 1
    return m.linear(x * rows)


WRITTEN: dict[str, tuple[Callable[[Any, Any], Any], dict[str, Any]]] = {
    "an average of one's own": (own_average, {"mean": np.zeros(3, np.float32)}),
    "an average of the steps before": (own_average_of_before, {"mean": np.ones(3, np.float32)}),
    "an average of an average": (average_of_an_average, {
        "mean": np.ones(3, np.float32), "square": np.ones(3, np.float32)}),
    "a table written in parts": (own_table, {"table": np.zeros((2, 3), np.float32)}),
    "a count in an array": (own_count, {"count": np.zeros((), np.int64)}),
    "a count that nothing needs": (
        lambda m, x: (m.count.__iadd__(1), m.linear(x))[1], {"count": np.zeros(2, np.int64)}),
    "no graph": (without_a_graph, {}),
    "layer norm": (layer_norm, {}),
    "a permutation": (random_rows, {}),
    "what is written in part": (written_in_part, {}),
    "what is written through views": (written_through_views, {}),
    "a draw that is not used": (
        lambda m, x: (minidl.rng.generator().random(3), m.linear(x))[1], {}),
    "plus its transpose": (lambda m, x: square(m.linear(x)), {}),
    "two draws of one kind": (
        lambda m, x: m.linear(x) * minidl.rng.generator().random(3)
        + minidl.rng.generator().random(3), {}),
    "normal numbers": (
        lambda m, x: m.linear(x) + minidl.rng.generator().normal(size=(8, 3)), {}),
    "integers from a module's generator": (
        lambda m, x: m.linear(x) * m.rng.integers(1, 3, size=3), {"rng": np.random.default_rng(1)}),
    "a choice among numbers": (
        lambda m, x: m.linear(x) * minidl.rng.generator().choice(np.array([1.0, 2.0]), 3), {}),
    "detach": (lambda m, x: m.linear(x) * m.linear(x).detach(), {}),
    "where": (lambda m, x: np.where(m.linear(x) > 0, m.linear(x), 0.1 * m.linear(x)), {}),
    "split and concatenate": (
        lambda m, x: np.concatenate(np.split(m.linear(x), 3, axis=1)[::-1], axis=1), {}),
    "pad": (lambda m, x: np.pad(m.linear(x), ((0, 0), (1, 1)))[:, 1:4], {}),
    "columns taken twice": (lambda m, x: m.linear(x)[:, [0, 0, 2]], {}),
    "several indices for one axis": (
        lambda m, x: m.linear(x).reshape(2, 4, 3)[:, (1, 2)][:, [0, 0, 1]].reshape(6, 3)[
            ([0, 1, 2, 3] * 2,)], {}),
    "an index from the batch": (
        lambda m, x: m.linear(x)[np.arange(len(x)), np.argmax(x[:, :3], axis=1)][:, None] * m.o,
        {"o": np.ones(3, np.float32)}),
    "a constant in a layer": (lambda m, x: m.linear(np.ones((8, 6), np.float32)) + x[:, :3], {}),
    "rows in the order of a value": (lambda m, x: m.linear(x)[np.argsort(x[:, 0])], {}),
    "sorted": (lambda m, x: np.take_along_axis(
        m.linear(x), np.argsort(m.linear(x).data, axis=1), axis=1), {}),
    "einsum": (lambda m, x: np.einsum("ij,kj->ik", x, m.linear.weight) + m.linear.bias, {}),
    "stacked matrices": (
        lambda m, x: (x.reshape(-1, 2, 3) @ m.w).sum(axis=1), {"w": nn.Parameter(np.ones((3, 3)))}),
    "windows": (
        lambda m, x: np.transpose(np.stack([x[:, i : i + 3] for i in range(4)], 1), (0, 2, 1))
        .reshape(len(x), -1) @ m.w, {"w": nn.Parameter(np.ones((12, 3)))}),
    "standardised input": (
        lambda m, x: m.linear((x - x.mean(axis=0)) / (x.std(axis=0) + 1e-5)), {}),
    "a parameter without axes": (
        lambda m, x: m.linear(x) * m.k, {"k": nn.Parameter(np.float32(1.5))}),
    "an empty parameter": (lambda m, x: m.linear(x), {"k": nn.Parameter(np.zeros((0, 3)))}),
    "a derivative of one's own": (lambda m, x: cubed(m.linear(x)), {}),
    "cumsum and prod": (lambda m, x: np.cumsum(m.linear(x), axis=1) * np.prod(
        m.linear(x), axis=1, keepdims=True), {}),
    "the batch written into a copy": (lambda m, x: m.linear(x * np.r_[0, np.ones(5)]), {}),
    "methods that copy": (
        lambda m, x: m.linear(x.flatten("F").reshape(6, 8).transpose((1, 0)).copy("F"))
        + x.astype(np.float64).astype(np.float32, copy=False)[:, :3], {}),
    "functions that copy": (lambda m, x: m.linear(np.copy(x.T).transpose(1, 0)) * len([*x]), {}),
    "what is filled": (filled, {"rows": np.ones((8, 6), np.float32)}),
    "copies that are written into": (
        written_into_copies, {"rows": np.arange(48, dtype=np.float32).reshape(8, 6)}),
    "one value written into two arrays": (
        lambda m, x: (m.a.__setitem__(..., x), m.b.fill(0.5), m.b.__setitem__(..., x),
                      m.linear(m.a * m.b))[-1],
        {"a": np.zeros((8, 6), np.float32), "b": np.zeros((8, 6), np.float32)}),
    "powers": (lambda m, x: m.linear(np.abs(x) ** 2.5 - x**2 + abs(x) ** 0.5) ** 3, {}),
    "a power in place": (in_place_power, {}),
    "what is added at an index": (added_at, {"seen": np.zeros(3, np.float32)}),
    "bits seen as integers": (
        lambda m, x: m.linear(x) + (x.view(np.int32) % 7)[:, :3].astype(np.float32), {}),
    "a view of the same": (lambda m, x: m.linear(x.view()), {}),
    "a number that is computed with": (
        lambda m, x: m.linear(x) * (np.float32(2.0) - 0.5 * len(x)) ** 2 / x.shape[1], {}),
    "a slice and a dtype as arguments": (
        lambda m, x: m.linear(x)[slice(None, None, -1)] + np.sum(
            x, axis=1, dtype=np.float64, keepdims=True).astype(np.float32), {}),
    "options that a function passes on": (
        lambda m, x: m.linear(np.pad(
            x, ((0, 0), (1, 1)), mode="linear_ramp", end_values=2.0)[:, :6]), {}),
    "an option that is switched off": (
        lambda m, x: m.linear(x) + np.linspace(x[0, :3], x[1, :3], 8, endpoint=False), {}),
    "the same with other options": (
        lambda m, x: m.linear(np.cumsum(x, axis=0) - np.cumsum(x, axis=1)), {}),
    "the same in another dtype": (
        lambda m, x: m.linear((np.multiply(x, x, dtype=np.float64) - np.multiply(x, x)).astype(
            np.float32)), {}),
    "what is computed again in other memory": (computed_again, {"rows": np.ones((8, 6), "f4")}),
    "what was computed before in other memory": (
        computed_before, {"rows": np.ones((8, 6), "f4")}),
    "counts in containers": (counts_in_containers, {
        "counts": [np.zeros(3, np.float32), {"b": [np.ones(3, np.float32)]}]}),
    "a bound that is none": (
        lambda m, x: m.linear(np.clip(x, 0.25, None) + np.clip(x, None, 0.5)) * x.clip(None, 1)[
            :, :3], {}),
    "the norm of a weight": (lambda m, x: m.linear(x) / np.linalg.norm(m.linear.weight), {}),
}  # fmt: skip


@pytest.mark.parametrize(("forward", "attributes"), WRITTEN.values(), ids=list(WRITTEN))
def test_what_people_write_compiles(forward: Any, attributes: dict[str, Any]) -> None:
    pair = Pair(lambda: (Written(forward, **attributes), nn.CrossEntropyLoss()))
    pair.train(6)
    assert pair.steps[1].last.trials == step_module.TRIALS  # and not left to the eager step
    assert_readable(pair.steps[1].source)


@pytest.mark.parametrize(("forward", "attributes"), WRITTEN.values(), ids=list(WRITTEN))
def test_a_step_that_is_left_to_the_eager_one_has_changed_nothing(
    forward: Any, attributes: dict[str, Any]
) -> None:
    for loss in (nn.CrossEntropyLoss(), lambda z, y: np.mean(z * z)):
        pair = Pair(lambda loss=loss: (Written(forward, **attributes), loss))
        pair.train(3)
        with np.errstate(all="ignore"):
            pair.train(1, BATCH[0] * np.float32(np.nan), BATCH[1])


def assert_readable(source: str) -> None:
    lines = source.splitlines()
    assert max(map(len, lines)) <= 100
    assert not [line for line in lines if line != line.rstrip()]  # and so no title is empty


@pytest.mark.parametrize("shape", [(3,), (1,), ()])
def test_an_array_from_outside_the_model_may_be_written_into(shape: tuple[int, ...]) -> None:
    masks = [np.ones(shape, np.float32) for _ in range(2)]
    models: list[nn.Module] = []

    def make() -> tuple[nn.Module, Any]:
        mask = masks[len(models)]
        models.append(Written(lambda m, x: m.linear(x) * mask))
        return models[-1], nn.CrossEntropyLoss()

    pair = Pair(make)
    pair.train(4)
    for mask in masks:
        mask[...] = 0
    pair.train(4)


LATE: dict[str, tuple[Any, Any, Any]] = {
    "an array in a list": (
        lambda m, x: m.linear(x) * m.masks[0], {"masks": [np.ones(3, np.float32)]},
        lambda m, o: m.masks[0].__setitem__(0, 0)),
    "what is made of an array in a dict": (
        lambda m, x: m.linear(x) * np.exp(m.masks["a"]), {"masks": {"a": np.ones(3, np.float32)}},
        lambda m, o: m.masks["a"].__setitem__(0, 0)),
    "an equal array in its place": (
        own_count, {"count": np.zeros((), np.int64)},
        lambda m, o: setattr(m, "count", m.count.copy())),
    "an equal number of another kind": (
        lambda m, x: m.linear(x) * m.c, {"c": 0.5}, lambda m, o: setattr(m, "c", np.float64(0.5))),
    "a set": (
        lambda m, x: m.linear(x) * float(len(m.names)), {"names": {"a", 1}},
        lambda m, o: m.names.add("b")),
    "an attribute of the rule": (
        lambda m, x: m.linear(x), {}, lambda m, o: setattr(o, "scale", 3.0)),
}  # fmt: skip


class Scaled(optim.Optimizer):
    """A rule with a number of its own, beside its hyper-parameters."""

    scale = 1.0

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)

    def update(self, x: Any, dx: Any, *, lr: float) -> None:
        x -= lr * self.scale * dx


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), F.cross_entropy], ids=["Module", "def"])
@pytest.mark.parametrize(("forward", "attributes", "change"), LATE.values(), ids=list(LATE))
def test_what_changes_late_is_noticed(
    forward: Any, attributes: Any, change: Any, loss: Any
) -> None:
    pair = Pair(
        lambda: (Written(forward, **attributes), loss),
        lambda m: Scaled(m.parameters(), lr=0.1),
    )
    pair.train(4)
    pair.both(change)
    pair.train(4)


class Weighing:
    """A loss that is a plain object."""

    factor = 1.0

    def __call__(self, z: Any, t: Any) -> Any:
        return F.cross_entropy(z, t) * self.factor


def test_settings_of_a_loss_that_is_no_module_are_followed() -> None:
    losses = [Weighing(), Weighing()]
    made: list[Any] = []

    def make() -> tuple[nn.Module, Any]:
        loss = losses[len(made)]
        made.append(loss)
        return Written(lambda m, x: m.linear(x)), loss if len(made) else None

    pair = Pair(make)
    pair.train(4)
    for loss in losses:
        loss.factor = 2.0
    pair.train(4)


def test_batches_in_another_memory_order_are_told_apart() -> None:
    def forward(m: Any, x: Any) -> Any:
        return m.linear(np.tanh(x * 2) - np.tanh(x * 2).mean(axis=0))

    pair = Pair(lambda: (Written(forward), nn.CrossEntropyLoss()))
    pair.train(4)
    pair.train(4, np.asfortranarray(BATCH[0]), BATCH[1])


def test_a_check_that_fails_after_a_draw_does_not_draw_twice() -> None:
    def make() -> tuple[nn.Module, Any]:
        layers = nn.Linear(6, 6, rng=0), nn.Dropout(0.5), nn.Linear(6, 3, rng=1)
        return nn.Sequential(*layers), nn.CrossEntropyLoss()

    pair = Pair(make)
    pair.train(4)
    with np.errstate(all="ignore"):
        pair.train(1, BATCH[0] * np.float32(np.nan), BATCH[1])
    assert pair.streams[0] == pair.streams[1]


def test_a_step_without_a_graph_is_left_to_the_eager_step() -> None:
    model, loss = network()
    step = minidl.compile(model, loss, optim.Adam(model.parameters()))
    for _ in range(3):
        step(*BATCH)
    with pytest.raises(RuntimeError, match="does not require a gradient"), minidl.no_grad():
        step(*BATCH)


def test_an_index_out_of_range_raises_the_eager_error() -> None:
    model = Written(lambda m, x: m.linear(m.table[x]), table=nn.Parameter(np.ones((4, 6))))
    step = minidl.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    x = np.arange(8) % 4
    for _ in range(3):
        step(x, BATCH[1])
    with pytest.raises(IndexError, match="getitem"):
        step(x + 1, BATCH[1])


def test_an_optimizer_with_a_step_of_its_own_is_refused() -> None:
    class Halving(optim.Adam):
        def step(self) -> None:
            super().step()

    model, loss = network()
    with pytest.raises(minidl.CompileError, match=r"Halving has a step\(\) of its own"):
        minidl.compile(model, loss, Halving(model.parameters()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])  # in one buffer, or in two
def test_names_that_python_does_not_allow_or_that_are_taken_are_made_others(dtype: Any) -> None:
    def forward(m: Any, x: Any) -> Any:
        y = m.linear(x) * getattr(m, "class") + getattr(m, "1a") * m.all_dx * m.all_x
        return y + m.all_dx_1 * m.all_x_1 * m.np * m.math * m.arrays * m.step

    model = Written(forward)
    for name in ("class", "1a", "range", "all_dx", "all_x", "all_dx_1", "all_x_1", "np", "math",
                 "arrays", "step"):  # fmt: skip
        setattr(model, name, nn.Parameter(np.ones(3, dtype)))
    step = minidl.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    assert [step(*BATCH) for _ in range(4)][-1] < step(*BATCH) + 1
    assert step.last is not None
    assert step.last.trials == step_module.TRIALS
    assert "v_class" in step.source


def test_a_refusal_leaves_lists_and_generators_as_they_were() -> None:
    def forward(m: Any, x: Any) -> Any:
        m.seen.append(x)
        m.rngs[0].random()
        return m.linear(x)

    model = Written(forward, seen=[], rngs=[np.random.default_rng(0)])
    before = model.rngs[0].bit_generator.state
    step = minidl.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(minidl.CompileError, match=r"Written\.seen"):
        step(*BATCH)
    assert model.seen == []
    assert model.rngs[0].bit_generator.state == before


def test_programs_that_are_dropped_leave_no_lines_behind() -> None:
    before = len(linecache.cache)
    step = Pair(network).steps[1]
    for n in range(2, 30):
        step(np.ones((n, 6), np.float32), np.zeros(n, np.int64))
    assert len(linecache.cache) <= before + 16


def test_what_is_loaded_when_a_step_is_compiled_has_its_name_in_the_package() -> None:
    package = importlib.import_module("minidl.compile")
    assert {name: getattr(package, name).__name__ for name in package.__all__} == {
        name: name for name in package.__all__
    }
    assert type(Pair(network).steps[1]) is package.CompiledStep
    with pytest.raises(AttributeError, match=r"'minidl\.compile' has no attribute 'Compiled'"):
        _ = package.Compiled


def test_a_traceback_shows_the_lines_of_a_program() -> None:
    before = {*linecache.cache}
    step = Pair(network).steps[1]
    step(np.ones((4, 6), np.float32), np.zeros(4, np.int64))
    (name,) = (n for n in {*linecache.cache} - before if n.startswith("<compiled step "))
    assert "".join(linecache.getlines(name)) == step.source
    linecache.checkcache()  # as a traceback does; no file of this name is there
    assert linecache.getline(name, 1) == step.source.partition("\n")[0] + "\n"


def test_a_loss_that_refers_to_itself_and_to_a_long_chain_of_objects_is_followed() -> None:
    losses: list[Any] = []

    def make() -> tuple[nn.Module, Any]:
        loss: Any = Weighing()
        loss.itself = link = loss
        for _ in range(2000):
            link.next = link = Weighing()
        losses.append(loss)
        return Written(lambda m, x: m.linear(x)), loss

    pair = Pair(make)
    pair.train(4)
    for loss in losses:
        loss.itself.factor = 2.0
    pair.train(4)


def test_settings_deep_in_attributes_are_followed() -> None:
    def forward(m: Any, x: Any) -> Any:
        return m.linear(x) * m.settings["scales"][0]

    pair = Pair(lambda: (Written(forward, settings={"scales": [2.0]}), nn.CrossEntropyLoss()))
    for scale in (3.0, 4.0):
        pair.train(4)
        pair.both(lambda m, o, scale=scale: m.settings["scales"].__setitem__(0, scale))
    pair.train(4)


def test_settings_eight_containers_deep_are_followed() -> None:
    def innermost(m: Any) -> Any:
        settings = m.settings
        while isinstance(settings[0], list):
            (settings,) = settings
        return settings

    settings: list[Any] = [2.0]
    for _ in range(7):
        settings = [settings]
    forward = lambda m, x: m.linear(x) * innermost(m)[0]
    pair = Pair(lambda: (Written(forward, settings=settings), nn.CrossEntropyLoss()))
    pair.train(4)
    pair.both(lambda m, o: innermost(m).__setitem__(0, 3.0))
    pair.train(4)


class GradientPenalty(nn.Module):
    def __init__(self, model: Any) -> None:
        self.model = model

    def forward(self, predictions: Any, target: Any) -> Any:
        loss = F.cross_entropy(predictions, target)
        g = minidl.grad(loss, self.model.linear.weight, create_graph=True)
        return loss + 0.1 * np.sum(g * g)


def test_what_takes_nothing_but_arrays_is_refused_as_it_cannot_be_traced() -> None:
    class Strict(nn.Linear):
        def forward(self, x: Any) -> Any:
            if type(x) is not np.ndarray:
                raise RuntimeError("only arrays")
            return super().forward(x)

    model = Strict(6, 3, rng=0)
    step = minidl.compile(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(minidl.CompileError, match="tracing it ends with a RuntimeError: only arr"):
        step(*BATCHES[0])


def test_what_is_written_and_no_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        step_module, "source_of", lambda *a: source_module.Source("def program(arrays)", {})
    )
    model, loss = network()
    step = minidl.compile(model, loss, optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(minidl.CompileError, match="what was written is no program"):
        step(*BATCHES[0])


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        ((len, nn.MSELoss(), None), {}, "compile: model is a Module"),
        ((None, nn.MSELoss, None), {}, r"compile: loss is a function.*\(with brackets\)"),
        ((None, None, nn.MSELoss()), {}, "compile: optimizer is an Optimizer"),
        ((None, None, None), {"max_norm": "1"}, "compile: max_norm is a number above 0, got '1'"),
        ((None, None, None), {"max_norm": 0}, "compile: max_norm is a number above 0, got 0"),
    ],
)
def test_what_is_no_model_loss_or_optimizer_is_refused_at_once(
    parts: Any, options: Any, message: str
) -> None:
    model = nn.Linear(6, 3, rng=0)
    right = model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises((TypeError, ValueError), match=message):
        minidl.compile(
            *(b if a is None else a for a, b in zip(parts, right, strict=True)), **options
        )
    assert repr(minidl.compile(*right)) == "<compiled step of Linear with SGD, programs: 0>"


def test_a_program_that_raises_is_refused_and_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(trace: Any, *others: Any) -> Any:
        source = source_module.source_of(trace, *others)
        text = source.text.replace(
            "        return y", "        raise TypeError('odd')\n        return y"
        )
        assert text != source.text
        return source_module.Source(text, source.arrays)

    monkeypatch.setattr(step_module, "source_of", broken)
    model, loss = network()
    optimizer = optim.Momentum(model.parameters(), lr=0.1)
    step = minidl.compile(model, loss, optimizer)
    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    for _ in range(2):
        with pytest.raises(minidl.CompileError, match="its program ends with a TypeError: odd"):
            step(*BATCHES[0])
        np.testing.assert_equal((model.state_dict(), optimizer.state_dict()), before)
        with pytest.raises(RuntimeError, match="there is no program yet"):
            step.source  # noqa: B018


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, ""),
        ({"arrays": {"x": (None, np.array([1.0, 3.0]))}}, "x comes out otherwise"),
        ({"arrays": {}}, "x comes out otherwise"),
        ({"own": {"calls": 2}}, "the step sets calls to 1, and the program does not"),
        ({"own": {}}, "the step sets calls to 1, and the program does not"),
        ({"rngs": [(None, {"state": 2})]}, "it draws other random numbers"),
        ({"counts": [(None, [1, 0])]}, "it moves other parameters"),
    ],
)
def test_two_states_differ_in_arrays_values_draws_and_counts(changed: Any, message: str) -> None:
    one, other = (object.__new__(step_module.State) for _ in range(2))
    whole = {"arrays": {"x": (None, np.array([1.0, 2.0]))}, "own": {"calls": 1},
             "rngs": [(None, {"state": 1})], "counts": [(None, [1, 1])]}  # fmt: skip
    vars(one).update(whole)
    vars(other).update(whole | changed)
    assert one.difference(other) == message


def test_losses_of_ones_own_compile() -> None:
    def with_penalty() -> tuple[nn.Module, Any]:
        model = Written(lambda m, x: np.tanh(m.linear(x)))
        return model, GradientPenalty(model)

    def regularised() -> tuple[nn.Module, Any]:
        model = Written(lambda m, x: m.linear(x))
        return (
            model,
            lambda z, t: (
                F.cross_entropy(z, t) + 0.01 * sum(np.sum(p**2) for p in model.parameters())
            ),
        )

    def one_element() -> tuple[nn.Module, Any]:
        model = Written(lambda m, x: (m.linear(x), x))
        return model, lambda z, t: F.cross_entropy(z[0], t).reshape(1)

    def picked() -> tuple[nn.Module, Any]:
        model = Written(lambda m, x: m.linear(x))
        return model, lambda z, t: -F.log_softmax(z)[np.arange(len(t)), t].mean()

    def one_hot() -> tuple[nn.Module, Any]:
        model = Written(lambda m, x: m.linear(x))
        return model, lambda z, t: F.mse_loss(z, (np.arange(3) == t[:, None]).astype(np.float32))

    for make in (with_penalty, regularised, one_element, picked, one_hot):
        Pair(make).train(6)


@pytest.mark.parametrize("x", [
    BATCH[0].tolist(), minidl.Tensor(BATCH[0]), np.asfortranarray(BATCH[0]), BATCH[0][::-1],
    BATCH[0].astype(">f4"), (BATCH[0] * 10).astype(np.int64), BATCH[0][:1],
], ids=["list", "Tensor", "Fortran", "reversed", "big-endian", "integers", "one"])  # fmt: skip
def test_batches_in_any_form_are_taken(x: Any) -> None:
    def make() -> tuple[nn.Module, Any]:
        return Written(lambda m, x: m.linear(x)), nn.CrossEntropyLoss()

    Pair(make).train(5, x, BATCH[1][: len(x)])


def test_a_batch_of_two_tensors_is_taken() -> None:
    pair = Pair(lambda: (network()[0], weighted_sum))
    x, y = BATCH[0], np.ones((8, 3), np.float32)
    pair.train(3, x, y)
    pair.train(2, minidl.Tensor(x), minidl.Tensor(y))
    assert len(pair.steps[1].programs) == 1


class Counting(optim.Optimizer):
    """A rule that counts in Python."""

    calls = 0

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)

    def update(self, x: Any, dx: Any, *, lr: float) -> None:
        self.calls += 1
        x -= lr * dx / self.calls


def test_a_rule_that_counts_in_python_is_refused_and_left_as_it_was() -> None:
    model, loss = network()
    optimizer = Counting(model.parameters(), lr=0.1)
    step = minidl.compile(model, loss, optimizer)
    with pytest.raises(minidl.CompileError, match="the step sets calls to 1, and the program"):
        step(*BATCH)
    assert (optimizer.calls, optimizer.steps) == (0, 0)


class Whole(optim.Optimizer):
    """A rule that sees whole tensors."""

    elementwise = False
    state = ("v",)

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)

    def update(self, x: Any, dx: Any, v: Any, *, lr: float) -> None:
        v *= 0.9
        v += dx
        x -= lr * v / (np.sqrt(np.sum(v * v)) + 1e-8)


def test_a_rule_that_sees_whole_tensors_compiles() -> None:
    pair = Pair(network, lambda m: Whole(m.parameters(), lr=0.1))
    pair.train(6)
    assert "rule(" not in pair.steps[1].source


class Masked(optim.Optimizer):
    """A rule with an array of its own, which the model may use as well."""

    def __init__(self, params: Any, lr: float, mask: Any) -> None:
        super().__init__(params, lr=lr)
        self.mask = mask

    def update(self, x: Any, dx: Any, *, lr: float) -> None:
        x -= lr * self.mask * dx


@pytest.mark.parametrize("shape", [(1,), ()])
def test_an_array_that_the_rule_and_the_model_use_is_one(shape: tuple[int, ...]) -> None:
    masks = [np.full(shape, 0.5, np.float32) for _ in range(2)]
    taken = iter(masks)
    pair = Pair(
        lambda: (Written(lambda m, x: m.linear(x) * m.mask, mask=0), nn.CrossEntropyLoss()),
        lambda m: m.__dict__.update(mask=next(taken)) or Masked(m.parameters(), 0.1, m.mask),
    )
    pair.train(4)
    for mask in masks:
        mask[...] = 0.25
    pair.train(4)


# --- What cannot be followed is refused, with the line --------------------------------------------


class Layer(nn.Module):
    """A layer whose forward is given."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function, self.linear, self.calls = function, nn.Linear(6, 3, rng=0), 0
        self.rng = np.random.default_rng(0)
        self.last, self.names = np.zeros(3, np.float32), {"a"}

    def forward(self, x: Any) -> Any:
        return self.function(self, self.linear(x))


def counting(layer: Any, y: Any) -> Any:
    layer.calls += 1
    return y


def growing(layer: Any, y: Any) -> Any:
    layer.last = np.concatenate([layer.last, y.data[0]])
    return y


OWN = np.random.default_rng(0)
HISTORY: list[int] = []

REFUSED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "a branch": (
        lambda m, y: y * 2 if y.data.mean() > 0 else y, "branches on a value.*test_compile"),
    "a branch by where's any": (lambda m, y: y * 2 if (y > 0).any() else y, "branches on a value"),
    "item": (lambda m, y: y * y.detach().sum().item(), "Python number.*test_compile"),
    "float": (lambda m, y: y * float(y.data.sum()), "Python number.*test_compile"),
    "asarray": (lambda m, y: y * np.asarray(y.data), "NumPy's sight.*test_compile"),
    "random numbers from elsewhere": (
        lambda m, y: y * OWN.standard_normal(y.shape).astype(np.float32), "differs from the eager"),
    "a count": (counting, "Layer.calls"),
    "a set that grows": (lambda m, y: (m.names.add(len(m.names)), y)[1], r"Layer\.names"),
    "a mask as an index": (lambda m, y: y[y.data > -9].reshape(y.shape), "size depends on values"),
    "nonzero": (lambda m, y: y * len(np.nonzero(y.data > -9)[0]), "size depends on values"),
    "a shuffle": (
        lambda m, y: (m.rng.shuffle(HISTORY), y)[1], "into an array that is there already"),
    "an array of its own as out": (
        lambda m, y: y + np.add(y.data, 1, out=np.zeros(y.shape, np.float32)),
        "writes into an array that the program does not know.*test_compile"),
    "an array of its own at an index": (
        lambda m, y: (np.add.at(np.zeros(3), [0], y.data[0, 0]), y)[1],
        "writes into an array that the program does not know.*test_compile"),
    "data that is bound anew": (
        lambda m, y: (setattr(m.linear.bias, "data", m.linear.bias.data + 1), y)[1],
        "differs from the eager"),
    "an attribute of another shape in every step": (
        growing, r"the attribute .*last becomes another thing in every step"),
    "a list that grows": (
        lambda m, y: (HISTORY.append(1), y * np.float32(len(HISTORY)))[1],
        "differs from the eager"),
}  # fmt: skip


@pytest.mark.parametrize(("function", "message"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_followed_is_refused(function: Any, message: str) -> None:
    model = Layer(function)
    step = minidl.compile(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
    before = {k: v.tobytes() for k, v in model.state_dict().items()}
    model.linear.bias.grad = np.ones(3, np.float32)
    with pytest.raises(minidl.CompileError, match=message) as error:
        step(*BATCHES[0])
    assert str(error.value).count("this step cannot be compiled, since") <= 1
    assert {k: v.tobytes() for k, v in model.state_dict().items()} == before
    assert model.linear.weight.grad is None
    np.testing.assert_array_equal(model.linear.bias.grad, np.ones(3))


def test_a_loss_that_is_no_tensor_is_refused() -> None:
    class Number:
        def __init__(self, x: Any) -> None:
            self.backward, self.item = x.backward, x.item

    model = Layer(lambda m, y: y)
    loss = lambda z, y: Number(F.cross_entropy(z, y))
    step = minidl.compile(model, loss, optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(minidl.CompileError, match="a step needs a loss of one number that depends"):
        step(*BATCH)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda z, y: z, "needs a place to begin"),
        (lambda z, y: z.detach().sum(), "does not require a gradient"),
    ],
)
def test_a_loss_without_a_backward_pass_is_left_to_the_eager_step(loss: Any, message: str) -> None:
    model = Layer(lambda m, y: y)
    step = minidl.compile(model, loss, optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises((RuntimeError, ValueError), match=message) as error:
        step(*BATCH)
    assert not isinstance(error.value, minidl.CompileError)


def test_draws_from_a_modules_own_generator_are_followed() -> None:
    def make() -> tuple[nn.Module, Any]:
        return Layer(lambda m, y: y + m.rng.standard_normal(y.shape)), nn.CrossEntropyLoss()

    Pair(make).train(6)


def test_an_error_of_the_model_is_raised_as_it_is() -> None:
    model, loss = network()
    step = minidl.compile(model, loss, optim.Adam(model.parameters()))
    with pytest.raises(ValueError, match="does not fit a weight for 6"):
        step(np.ones((8, 5), np.float32), BATCHES[0][1])


def test_a_rule_that_cannot_be_followed_is_called_as_it_stands() -> None:
    class Odd(optim.Optimizer):
        state = ("v",)

        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, lr=lr)

        def update(self, x: Any, dx: Any, v: Any, *, t: int, lr: float) -> None:
            v += dx * float(np.sqrt(t + 0.0) > 1)
            x -= lr * v / max(1.0, float(np.abs(v).max()))

    pair = Pair(network, lambda m: Odd(m.parameters(), lr=0.1))
    pair.train(6)
    assert "rule(t, lr)" in pair.steps[1].source


# --- fit ------------------------------------------------------------------------------------------


def fitted(compiled: bool, epochs: int = 3, **options: Any) -> tuple[Any, dict[str, bytes]]:
    minidl.seed(0)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((70, 6), np.float32), rng.integers(0, 3, 70)
    model, loss = network()
    loss = options.pop("loss", loss)
    optimizer = optim.Adam(model.parameters(), lr=optim.schedules.cosine(0.05, steps=12))
    loader = minidl.data.DataLoader(x, y, batch_size=16, shuffle=True)
    history = minidl.fit(
        model, loss, optimizer, loader, (x, y), epochs=epochs, progress=False, compiled=compiled,
        **options,
    )  # fmt: skip
    return dict(history), {name: a.tobytes() for name, a in model.state_dict().items()}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ignore_index": 1},  # of which each batch has another number
        {"weight": np.array([0.5, 3.0, 1.0], np.float32)},
        {"reduction": "sum"},
    ],
    ids=["mean", "ignored targets", "weights of classes", "sum"],
)
def test_fit_compiled_is_fit(options: dict[str, Any]) -> None:
    history, state = fitted(compiled=True, loss=nn.CrossEntropyLoss(**options))
    expected, wanted = fitted(compiled=False, loss=nn.CrossEntropyLoss(**options))
    assert history == expected
    assert state == wanted


def test_a_compiled_run_goes_on_from_a_checkpoint_of_either_kind(tmp_path: Any) -> None:
    expected = fitted(compiled=False, epochs=4)
    for first, then in ((True, False), (False, True), (True, True)):
        path = tmp_path / f"{first}{then}.npz"
        fitted(compiled=first, epochs=2, checkpoint=path)
        assert fitted(compiled=then, epochs=4, checkpoint=path) == expected


@pytest.mark.parametrize("compiled", [False, True])
def test_a_compiled_run_that_diverges_says_why(compiled: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 8, rng=0), nn.Linear(8, 3, rng=1))
    x, y = np.random.default_rng(0).standard_normal((64, 6)) * 100, np.zeros((64, 3))
    optimizer = optim.SGD(model.parameters(), lr=10.0)
    with pytest.raises(FloatingPointError, match=r"the loss is (inf|nan) in step .*too high"):
        minidl.fit(model, nn.MSELoss(), optimizer, (x, y), progress=False, compiled=compiled)
    assert all(np.isfinite(p.data).all() for p in model.parameters())


def test_fit_refuses_what_cannot_be_compiled() -> None:
    model = Layer(lambda m, y: y * 2 if y.data.mean() > 0 else y)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(minidl.CompileError, match="branches"):
        x, y = BATCHES[0]
        minidl.fit(model, nn.CrossEntropyLoss(), optimizer, (x, y), progress=False, compiled=True)


# --- The text -------------------------------------------------------------------------------------


def test_the_source_runs_on_its_own(tmp_path: Any) -> None:
    pair = Pair(network)
    pair.train(3)
    step = pair.steps[1]
    path = tmp_path / "own_step.py"
    step.write(path)
    assert path.read_text() == step.source
    space: dict[str, Any] = {}
    exec(path.read_text(), space)
    # Also after another optimizer has taken the parameters into its own memory, and moved them.
    model, other = pair.models[1], optim.SGD(pair.models[1].parameters(), lr=0.1)
    nn.CrossEntropyLoss()(model(BATCHES[0][0]), BATCHES[0][1]).backward()
    other.step()
    arrays = copy.deepcopy(step.arrays)
    own = space["program"](arrays)
    for i in range(4):
        x, y = BATCHES[i]
        t = pair.optimizers[1].groups[0].storage.counts[0] + 1
        loss, _ = own(x, y, t, 0.01)
        assert step(x, y) == float(loss)
    assert all(
        np.array_equal(a, arrays[name])
        for name, a in step.arrays.items()
        if isinstance(a, np.ndarray)
    )


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="other signatures")
@pytest.mark.parametrize("name", make_sources.PROGRAMS)
def test_the_source_reads_as_it_is_stored(name: str) -> None:
    """Names, comments, order and memory are there for a reader, and no number depends on them. If
    it is to read otherwise: python tests/laboratory/reference/make_sources.py"""
    assert make_sources.source(name) == make_sources.stored()[name]


def framed(row: Any, widths: Any, axis: Any, options: Any) -> None:
    row[: widths[0]], row[len(row) - widths[1] :] = 1, 2


READ: dict[str, tuple[Callable[[Any, Any], Any], list[str]]] = {
    "slices": (
        lambda m, x: m.linear(x)[..., None][::-1, 1:, 0],
        ["y_linear_part = y_linear[..., None]", "y_linear_part[::-1, 1:, 0]"]),
    "steps and ends": (
        lambda m, x: m.linear(x)[2:6:3, :-1] + x[:2, (1, 4)],
        ["y_linear[2:6:3, :-1]", "x[:2, (1, 4)]"]),
    "a function of one's own": (
        lambda m, x: m.linear(np.pad(x, ((0, 0), (1, 2)), mode=framed)[:, 2:8]),
        ['framed = arrays["framed"]', "np.pad(x, ((0, 0), (1, 2)), mode=framed)"]),
    "a function of Python's": (
        lambda m, x: m.linear(np.apply_along_axis(sorted, 0, x)),
        ["np.apply_along_axis(sorted, 0, x)"]),
    "a product of matrices": (
        lambda m, x: m.linear(x) @ np.ones((3, 2), np.float32), ["y_linear.dot(ones, out="]),
    "types": (
        lambda m, x: m.linear(np.cumsum(x, 1, float) + np.cumsum(x, 1, np.float16)),
        ["dtype=float)", "dtype=np.float16)"]),
    "a text and an axis": (
        lambda m, x: m.linear(x) * np.einsum("ij->i", x)[:, None], ["np.einsum('ij->i', x"]),
    "numbers": (
        lambda m, x: m.linear(x) * 2.0 + np.float32(-0.5) * x[:, :3] + np.abs(x * 2j)[:, :3],
        ["n_2 = np.array(2.0, np.float32)", "n_m0_5 = np.array(-0.5, np.float32)", ", 2j, "]),
}  # fmt: skip


@pytest.mark.parametrize(("forward", "texts"), READ.values(), ids=list(READ))
def test_arguments_are_written_as_one_writes_them(forward: Any, texts: list[str]) -> None:
    pair = Pair(lambda: (Written(forward), lambda z, y: (z * z).sum()))
    pair.train(3)
    assert pair.steps[1].last.trials == step_module.TRIALS
    for text in texts:
        assert text in pair.steps[1].source


@pytest.mark.parametrize(
    "part",
    [
        lambda x: x[:, :3], lambda x: x[:, 1:6:2], lambda x: x[:, (0, 1, 2)],
        lambda x: x[:, [2, 1, 0]], lambda x: x[..., 1:4],
        lambda x: np.cumsum(x, axis=1, dtype=np.float32)[:, :3],
        lambda x: np.concatenate([x[:, :1], x[:, 4:]], axis=1),
    ],
)  # fmt: skip
def test_what_is_written_twice_is_computed_once(part: Any) -> None:
    forward = lambda m, x: m.linear(x) * np.exp(part(x)) + np.exp(part(x))
    pair = Pair(lambda: (Written(forward), nn.MSELoss()))
    pair.train(3, BATCH[0], np.ones((8, 3), np.float32))
    assert pair.steps[1].source.count("np.exp(") == 1


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("a = b", ["a = b"]),
        ("    f(aaaaaaa, bbbbbbb)", ["    f(aaaaaaa,", "        bbbbbbb)"]),
        ("    f(aaaaaaa, bbbbb)  # (3,)", ["    # (3,)", "    f(aaaaaaa,", "        bbbbb)"]),
        ("    f(aaaaa, bbbbbb)  # 3", ["    # 3", "    f(aaaaa, bbbbbb)"]),
        ("    f(aaaa, bbbbbbbbb)", ["    f(aaaa, bbbbbbbbb)"]),
        ("    f(aaaaa, bbbbbbbb)", ["    f(aaaaa,", "        bbbbbbbb)"]),
        ("    aa = bbb = c(dddd)", ["    aa = bbb = \\", "        c(dddd)"]),
        ("    aaaaa = c(dddd, eeee)", ["    aaaaa = c(dddd,", "        eeee)"]),
        ("    aaaaaaaaaaaaaaaaaaaaaaaaa", ["    aaaaaaaaaaaaaaaaaaaaaaaaa"]),
    ],
)
def test_a_long_line_is_broken_at_commas_or_equals_signs(line: str, lines: list[str]) -> None:
    assert source_module.wrapped(line, 20) == lines


@pytest.mark.parametrize(
    ("a", "text"),
    [
        (np.zeros((2, 3), np.float32), "np.zeros((2, 3), np.float32)"),
        (np.ones(2, np.int64), "np.ones((2,), np.int64)"),
        (np.full(2, -0.0), "np.full((2,), -0.0, np.float64)"),
        (np.full((1, 2), np.nan), "np.full((1, 2), math.nan, np.float64)"),
        (np.full(2, -np.inf, np.float16), "np.full((2,), -math.inf, np.float16)"),
        (np.array([True, True]), "np.ones((2,), np.bool)"),
        (np.arange(4), "np.arange(4)"),
        (np.arange(4.0), ""),
        (np.arange(4).reshape(2, 2), ""),
        (np.array([0.0, -0.0]), ""),
        (np.zeros((0, 2)), ""),
    ],
)
def test_a_regular_constant_is_written_out(a: Any, text: str) -> None:
    assert source_module.literal(a) == text
    if text:
        made = eval(text, {"np": np, "math": math})
        assert (made.dtype, made.shape, made.tobytes()) == (a.dtype, a.shape, a.tobytes())


def test_differences_and_diagonals_take_no_more_than_they_need() -> None:
    model, x = nn.Linear(3, 3), np.ones((2, 3), np.float32)
    rule = optim.SGD(model.parameters(), lr=0.1)
    step = minidl.compile(model, lambda y, _: np.diff(y).sum() + np.diag(y[0]).sum(), rule)
    step(x, x)
    assert "concatenate" not in step.source  # where nothing is put at the ends
    assert "# bool (3, 3)" in step.source  # and not float64, which is eight times as large


def test_the_source_has_short_lines_and_no_trailing_space() -> None:
    pair = Pair(network)
    pair.train(3)
    assert_readable(pair.steps[1].source)


def test_no_program_yet_is_an_error_that_says_so() -> None:
    model, loss = network()
    with pytest.raises(RuntimeError, match="call step\\(x, y\\) first"):
        _ = minidl.compile(model, loss, optim.Adam(model.parameters())).source
