"""The training loop: fit runs it, and it is the one that is written by hand."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from runs import RULES, X, Y, bits, cross_entropy, everything, setting

import minidl
from minidl import nn, optim
from minidl.data import DataLoader
from minidl.nn import Module
from minidl.tensor import Array, Tensor
from minidl.training import fit
from minidl.training.loop import Hooks, train_epoch

pytestmark = pytest.mark.usefixtures("seeded")


@pytest.mark.parametrize("rule", RULES)
def test_fit_is_bitwise_the_loop_written_by_hand(rule: str) -> None:
    model = everything()
    twin = copy.deepcopy(model)
    minidl.seed(3)
    history = fit(**setting(rule, model), validation=(X[:20], Y[:20]), epochs=3)

    minidl.seed(3)
    optimizer = RULES[rule](twin.parameters())
    loader = DataLoader(X, Y, batch_size=8, shuffle=True, rng=2)
    expected: dict[str, list[float]] = {
        name: [] for name in ("loss", "accuracy", "validation_loss", "validation_accuracy")
    }
    for _ in range(3):
        total = hits = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            logits = twin(x)
            loss = cross_entropy(logits, y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
            hits += np.mean(logits.data.argmax(1) == y) * len(y)
        expected["loss"].append(total / 50)
        expected["accuracy"].append(hits / 50)
        twin.eval()
        logits = twin(X[:20])
        expected["validation_loss"].append(cross_entropy(logits, Y[:20]).item())
        expected["validation_accuracy"].append(np.mean(logits.data.argmax(1) == Y[:20]))
        twin.train()
    assert history == expected
    assert bits(model.state_dict()) == bits(twin.state_dict())


def test_fit_learns() -> None:
    history = fit(**setting("momentum"), epochs=30)
    assert history["accuracy"][-1] > 0.95
    assert history["loss"][-1] < history["loss"][0] / 3


def test_history_is_a_dict_of_lists_of_python_floats() -> None:
    history = fit(**setting(), validation=(X, Y), epochs=2)
    assert isinstance(history, dict)
    assert list(history) == ["loss", "accuracy", "validation_loss", "validation_accuracy"]
    for values in history.values():
        assert type(values) is list
        assert [type(value) for value in values] == [float, float]
    assert not history.interrupted


def test_zero_epochs_change_nothing() -> None:
    arguments = setting()
    before = bits(arguments["model"].state_dict())
    assert fit(**arguments, epochs=0) == {"loss": []}
    assert bits(arguments["model"].state_dict()) == before


def test_arrays_come_in_shuffled_batches_of_32_and_validation_in_batches_of_1024() -> None:
    seen: list[tuple[int, ...]] = []
    order: list[float] = []

    class Watch(Module):
        def __init__(self) -> None:
            self.inner = nn.Linear(1, 1)

        def forward(self, x: Array) -> Tensor:
            seen.append((self.training, len(x)))
            order.extend(x[:, 0].tolist() if self.training else [])
            return self.inner(x)

    model = Watch()
    x = np.arange(1100.0)[:, None] / 1100
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    fit(model, nn.MSELoss(), optimizer, (x[:70], x[:70]), (x, x), epochs=1, progress=False)
    assert seen == [(True, 32), (True, 32), (True, 6), (False, 1024), (False, 76)]
    assert sorted(order) == x[:70, 0].astype(np.float32).tolist() != order


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_come_in_the_dtype_of_the_model(dtype: type) -> None:
    model = nn.Linear(2, 1, dtype=dtype)
    seen = set()

    def loss(z: Tensor, y: Array) -> Tensor:
        seen.update([z.dtype, y.dtype])
        return ((z - y) ** 2).mean()

    data = (np.ones((3, 2)), np.ones((3, 1)))
    fit(model, loss, optim.SGD(model.parameters(), lr=0.1), data, data, epochs=1, progress=False)
    assert seen == {np.dtype(dtype)}


def test_numpys_and_pythons_own_generators_are_left_alone() -> None:
    before = np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    fit(**setting(model=everything()), validation=(X, Y), epochs=1)
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before  # noqa: NPY002


def test_the_loop_of_fit_is_the_lines_that_one_writes_and_runs_without_a_hook_too() -> None:
    source = inspect.getsource(train_epoch).split("with hooks.step(x, y):\n")[1]
    lines = [line.strip() for line in source.splitlines() if "hooks" not in line]
    assert lines == [
        "optimizer.zero_grad()",
        "loss = loss_function(model(x), y)",
        "loss.backward()",
        "optimizer.step()",
    ]
    model = everything()
    twin = copy.deepcopy(model)
    for one, loop in ((model, fit), (twin, train_epoch)):
        minidl.seed(3)
        optimizer, loader = RULES["adam"](one.parameters()), DataLoader(X, Y, batch_size=8)
        options = {"epochs": 1, "progress": False} if loop is fit else {}
        loop(one, cross_entropy, optimizer, loader, **options)
    assert bits(model.state_dict()) == bits(twin.state_dict())


def test_hooks_are_called_around_the_step_and_before_the_weights_move() -> None:
    model = nn.Linear(4, 3, rng=0)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    said: list[Any] = []

    class Saying(Hooks):
        def batches(self, loader: Any) -> Iterator[Any]:
            for batch in loader:
                yield batch
                said.append("between")

        @contextmanager
        def step(self, x: Array, y: Array) -> Iterator[None]:
            said.append(("in", len(x), len(y)))
            yield
            said.append(("out", optimizer.steps))

        def before_update(self) -> None:
            assert model.weight.grad is not None
            said.append(("gradients", optimizer.steps))

    train_epoch(model, cross_entropy, optimizer, DataLoader(X, Y, batch_size=25), Saying())
    assert said == [
        ("in", 25, 25), ("gradients", 0), ("out", 1), "between",
        ("in", 25, 25), ("gradients", 1), ("out", 2), "between",
    ]  # fmt: skip


def test_what_fails_once_the_weights_move_is_raised_as_it_is_and_nothing_is_undone() -> None:
    class Failing(optim.SGD):
        def step(self) -> None:
            super().step()
            raise ValueError("too late")

    model = everything()
    arguments = setting(model=model) | {"optimizer": Failing(model.parameters(), lr=0.1)}
    before = bits(model.state_dict())
    with pytest.raises(ValueError, match="too late"):
        fit(**arguments)
    after = bits(model.state_dict())
    assert [name for name in before if before[name] == after[name]] == []
    assert model[1].num_batches_tracked == 1


def test_numpy_warns_in_the_update_as_it_does_outside_of_fit() -> None:
    class Careless(optim.SGD):
        def step(self) -> None:
            super().step()
            np.log(np.zeros(1))

    model = nn.Linear(4, 3)
    arguments = setting(model=model) | {"optimizer": Careless(model.parameters(), lr=0.1)}
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        fit(**arguments, epochs=1)
    assert np.geterr()["divide"] == "warn"
