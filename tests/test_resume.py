"""A run that was stopped goes on from its checkpoint as if it had not been."""

from __future__ import annotations

import collections
import functools
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from runs import (
    ROOT,
    RULES,
    X,
    Y,
    at_call,
    bits,
    classifier,
    cross_entropy,
    everything,
    on_terminal,
    press_ctrl_c,
    raising,
    setting,
)  # fmt: skip

import minidl
from minidl import nn, optim
from minidl.checkpoint import CheckpointError, load, save
from minidl.data import DataLoader
from minidl.nn import Module
from minidl.tensor import Array, Tensor
from minidl.training import History, fit

pytestmark = pytest.mark.usefixtures("seeded")


def test_what_fails_in_the_validation_loses_no_epoch(path: pathlib.Path) -> None:
    expected = never_stopped("adam", 3)
    arguments = recipe("adam")
    arguments["loss"] = at_call(7 + 6 + 7 + 2, raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError) as caught:
        fit(**arguments, epochs=3, checkpoint=path)
    assert caught.value.__notes__ == [
        f"in the validation after step 7 of 7 in epoch 2; the model holds it, and {path} the run"
    ]
    again = recipe("adam", seed=9)
    assert outcome(again, fit(**again, epochs=3, checkpoint=path)) == expected


def recipe(rule: str, seed: int = 0) -> dict[str, Any]:
    """All arguments of fit but the checkpoint, as a script makes them when it starts."""
    minidl.seed(seed)
    arguments = setting(rule, everything())
    arguments["train"] = DataLoader(X, Y, batch_size=8, shuffle=True)
    arguments["validation"] = DataLoader(X, Y, batch_size=9, shuffle=True)
    return arguments


def outcome(arguments: dict[str, Any], history: History) -> Any:
    """All that the runs that are compared must agree in, to the bit."""
    return (
        bits(arguments["model"].state_dict()),
        bits(arguments["optimizer"].state_dict()),
        [arguments[name].state_dict() for name in ("train", "validation")],
        history,
        minidl.rng.generator().integers(2**63),
        arguments["model"][5].rng.integers(2**63),
    )


def never_stopped(rule: str, epochs: int) -> Any:
    arguments = recipe(rule)
    return outcome(arguments, fit(**arguments, epochs=epochs))


STOPS = [  # how, and in which call of the loss since the start, and how far the run is then
    ("ctrl-c", 3),  # step 3 of epoch 1
    ("crash", 2),  # as before, since a crash saves nothing
    ("ctrl-c", 4),  # the last step of epoch 1, before the validation
    ("ctrl-c", 3),  # epoch 1, since the validation is finished
    ("within a step", 5),  # as before, since the state within a step is not saved
    ("crash", 9),  # in the validation, before which epoch 2 is done
    ("ctrl-c", 6 + 1),  # step 1 of epoch 3
    ("crash", 12 + 7),  # epoch 3
]


@pytest.mark.parametrize("rule", RULES)
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(rule: str, path: pathlib.Path) -> None:
    # The loss is called 7 times in an epoch of training and 6 times in the validation after it.
    expected = never_stopped(rule, 4)
    places = []
    for attempt, (how, call) in enumerate(STOPS):
        arguments = recipe(rule, seed=1000 * attempt)  # only the first seed counts
        if how == "crash":
            arguments["loss"] = at_call(call, raising(MemoryError()))
            with pytest.raises(MemoryError):
                fit(**arguments, epochs=4, checkpoint=path)
        else:
            interrupt = press_ctrl_c if how == "ctrl-c" else raising(KeyboardInterrupt())
            arguments["loss"] = at_call(call, interrupt)
            arguments["on_interrupt"] = "return"
            assert fit(**arguments, epochs=4, checkpoint=path).interrupted
        saved = load(path)
        places.append((len(saved["history"]["loss"]), saved["epoch"]["batches"]))
    assert places == [(0, 3), (0, 3), (0, 7), (1, 0), (1, 0), (1, 7), (2, 1), (3, 0)]
    arguments = recipe(rule, seed=99)
    history = fit(**arguments, epochs=4, checkpoint=path)
    assert outcome(arguments, history) == expected
    assert not history.interrupted


def test_a_run_may_be_made_longer(path: pathlib.Path) -> None:
    for epochs in (0, 1, 3):
        arguments = recipe("adam", seed=epochs)
        history = fit(**arguments, epochs=epochs, checkpoint=path)
        assert len(history["loss"]) == epochs
    assert outcome(arguments, history) == never_stopped("adam", 3)


def test_a_finished_run_returns_at_once_with_the_whole_history(path: pathlib.Path) -> None:
    first = recipe("adam")
    history = fit(**first, epochs=2, checkpoint=path)
    content = path.read_bytes()
    again = recipe("adam", seed=7) | {"loss": at_call(1, raising(AssertionError()))}
    assert fit(**again, epochs=2, checkpoint=path) == history
    assert bits(again["model"].state_dict()) == bits(first["model"].state_dict())
    assert fit(**again, epochs=1, checkpoint=path) == history
    assert path.read_bytes() == content


def test_hyper_parameters_come_from_the_file(path: pathlib.Path) -> None:
    arguments = setting("rmsprop")
    fit(**arguments, epochs=1, checkpoint=path)
    arguments["optimizer"] = optim.RMSProp(arguments["model"].parameters(), lr=7.0)
    fit(**arguments, epochs=2, checkpoint=path)
    assert (arguments["optimizer"].lr, arguments["optimizer"].decay_rate) == (0.003, 0.9)


def test_generators_of_model_loss_optimizer_and_loader_go_on(path: pathlib.Path) -> None:
    class Noisy(optim.SGD):
        def __init__(self, params: Any, rng: int) -> None:
            super().__init__(params, lr=0.1)
            self.noise = np.random.default_rng(rng)

        def update(self, x: Array, dx: Array, *, lr: float) -> None:
            x -= lr * dx + 0.01 * self.noise.standard_normal(x.shape).astype(x.dtype)

    class Flipping(DataLoader):
        def __iter__(self) -> Iterator[tuple[Array, ...]]:
            for x, y in super().__iter__():
                yield x * self.flips.choice([1.0, 0.9], size=(len(x), 1)).astype(x.dtype), y

    class NoisyLoss(nn.CrossEntropyLoss):
        def forward(self, input: Any, target: Any) -> Tensor:
            return super().forward(input * np.float32(self.rng.random()), target)

    def make(rng: int) -> dict[str, Any]:
        arguments = setting()
        arguments["optimizer"] = Noisy(arguments["model"].parameters(), rng)
        arguments["train"] = Flipping(X, Y, batch_size=8)
        arguments["train"].flips = np.random.Generator(np.random.MT19937(rng))
        arguments["loss"] = NoisyLoss()
        arguments["loss"].rng = np.random.default_rng(rng)
        return arguments

    whole, parts = make(1), make(1)
    expected = fit(**whole, epochs=3)
    fit(**parts, epochs=1, checkpoint=path)
    parts = make(2)
    assert fit(**parts, epochs=3, checkpoint=path) == expected
    assert bits(parts["model"].state_dict()) == bits(whole["model"].state_dict())


def test_a_run_with_a_buffer_that_is_none_at_first_goes_on(path: pathlib.Path) -> None:
    class Average(Module):
        buffers = ("mean",)

        def __init__(self) -> None:
            self.linear = nn.Linear(4, 3, rng=1)
            self.mean = None

        def forward(self, x: Array) -> Tensor:
            if self.training:
                self.mean = x.mean(0) if self.mean is None else 0.9 * self.mean + 0.1 * x.mean(0)
            return self.linear(x - self.mean)

    whole, first, then = Average(), Average(), Average()
    expected = fit(**setting(model=whole), epochs=3)
    fit(**setting(model=first), epochs=1, checkpoint=path)
    assert fit(**setting(model=then), epochs=3, checkpoint=path) == expected
    assert bits(then.state_dict()) == bits(whole.state_dict())
    other = Average()
    with pytest.raises(ValueError, match=r"it is of Adam, not of SGD"):
        fit(**setting("sgd", other), checkpoint=path)
    assert other.mean is None
    with pytest.raises(ZeroDivisionError):
        fit(**setting(model=other) | {"loss": at_call(1, raising(ZeroDivisionError()))})
    assert other.mean is None


def test_generators_in_lists_dicts_and_objects_go_on(path: pathlib.Path) -> None:
    class Noise:
        def __init__(self, rng: int) -> None:
            self.rng = np.random.default_rng(rng)
            self.owner = self  # a circle

    class Noisy(Module):
        def __init__(self, rng: int) -> None:
            self.linear = nn.Linear(4, 3, rng=1)
            self.several = [np.random.default_rng(rng), {"a": (np.random.default_rng(rng + 1),)}]
            self.noise = Noise(rng + 2)
            self.recent = collections.deque([np.random.default_rng(rng + 3)])
            self.draw = np.random.default_rng(rng + 4).random
            self.uniform = functools.partial(np.random.default_rng(rng + 5).uniform, 1, 2)

        def forward(self, x: Array) -> Tensor:
            drawn = [self.several[0], self.several[1]["a"][0], self.noise.rng, self.recent[0]]
            factor = sum(g.random() for g in drawn) + self.draw() + self.uniform()
            return self.linear(x) * np.float32(factor)

    def run(rng: int, **options: Any) -> Any:
        model = Noisy(rng)
        return fit(**setting(model=model), **options), bits(model.state_dict())

    expected = run(1, epochs=3)
    run(1, epochs=1, checkpoint=path)
    assert list(load(path)["generators"]) == [
        "minidl",
        "model.several.0",
        "model.several.1.a.0",
        "model.noise.rng",
        "model.recent.0",
        "model.draw.__self__",
        "model.uniform.func.__self__",
    ]
    assert run(50, epochs=3, checkpoint=path) == expected


def changed(**changes: Any) -> dict[str, Any]:
    return recipe("adam", seed=5) | changes


def with_model(model: Module, rule: str = "adam") -> dict[str, Any]:
    return changed(model=model, optimizer=RULES[rule](model.parameters()))


FOREIGN: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "model": (lambda: with_model(classifier()), "generators: .* unexpected .'model.5.rng'"),
    "layers": (
        lambda: with_model(nn.Sequential(*everything(), nn.Linear(3, 3))),
        "7.weight is missing; 7.bias is missing",
    ),
    "width": (
        lambda: with_model(nn.Sequential(*[*everything()][:-1], nn.Linear(8, 4))),
        r"6.weight has shape \(3, 8\), expected \(4, 8\)",
    ),
    "rule": (lambda: with_model(everything(), "sgd"), "it is of Adam, not of SGD"),
    "samples": (lambda: changed(train=DataLoader(X[1:], Y[1:])), "over 50 samples"),
    "validation samples": (lambda: changed(validation=(X[1:], Y[1:])), "over 50 samples"),
    "no validation": (
        lambda: changed(validation=None),
        "fit with these data: .* unexpected .'validation'",
    ),
    "metrics": (lambda: changed(metrics={}), r"its metrics are None, not \[\]"),
    "loss": (
        lambda: changed(loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
        "its loss is CrossEntropyLoss.*label_smoothing=0.0.*, not .*label_smoothing=0.1",
    ),
    "class weights": (
        lambda: changed(loss=nn.CrossEntropyLoss(np.array([1.0, 2.0, 3.0]))),
        r"its loss is .*weight=None.*, not .*weight=float64\(3,\) [0-9a-f]{8}",
    ),
    "another loss": (
        lambda: changed(loss=lambda z, y: cross_entropy(z * 2, y)),
        "its loss is CrossEntropyLoss.*, not <lambda> of cross_entropy",
    ),
    "data": (
        lambda: changed(train=DataLoader(X + 1, Y, batch_size=8, shuffle=True)),
        r"its train data is \[float32\(50, 4\) \w{8}, int64\(50,\) (\w{8})\], not .*, int.* \1\]",
    ),
    "validation data": (
        lambda: changed(validation=DataLoader(X, Y[::-1].copy(), batch_size=9, shuffle=True)),
        "its validation data is ",
    ),
    "dtype of the data": (
        lambda: changed(train=DataLoader(X, Y.astype(np.int32), batch_size=8, shuffle=True)),
        r"its train data is .*int64\(50,\).*, not .*int32\(50,\)",
    ),
    "activation": (
        lambda: with_model(
            nn.Sequential(*[nn.Tanh() if isinstance(m, nn.ReLU) else m for m in everything()])
        ),
        "its model.2 is ReLU, not Tanh",
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_the_checkpoint_of_another_run_changes_nothing(what: str, path: pathlib.Path) -> None:
    fit(**recipe("adam"), epochs=1, checkpoint=path)
    content = path.read_bytes()
    make, message = FOREIGN[what]
    refused_and_unchanged(make(), path, message)
    assert path.read_bytes() == content


def refused_and_unchanged(arguments: dict[str, Any], path: pathlib.Path, message: str) -> None:
    def state() -> Any:
        loaders = [arguments[name] for name in ("train", "validation")]
        return (
            bits(arguments["model"].state_dict()),
            bits(arguments["optimizer"].state_dict()),
            [dict(vars(loader)) for loader in loaders if isinstance(loader, DataLoader)],
            [
                module.rng.bit_generator.state
                for _, module in arguments["model"].modules()
                if isinstance(getattr(module, "rng", None), np.random.Generator)
            ],
        )

    before = state()
    with pytest.raises(ValueError, match=message) as caught:
        fit(**arguments, epochs=2, checkpoint=path)
    assert str(path) in str(caught.value)
    after = state()
    for one, other in zip(before, after, strict=True):
        np.testing.assert_equal(one, other)


def test_other_generators_change_nothing(path: pathlib.Path) -> None:
    arguments = recipe("adam")
    fit(**arguments, epochs=1, checkpoint=path)
    other = recipe("adam", seed=5)
    other["model"][3].rng = np.random.default_rng(3)
    refused_and_unchanged(other, path, r"generators: missing \['model.3.rng'\]")
    other = recipe("adam", seed=5)
    other["model"][5].rng = np.random.Generator(np.random.Philox(3))
    refused_and_unchanged(other, path, "fit cannot go on from .*Philox")


def test_a_file_that_is_no_checkpoint_of_a_run_is_refused(path: pathlib.Path) -> None:
    save(path, recipe("adam")["model"].state_dict())
    refused_and_unchanged(
        recipe("adam"), path, "no state of a run of fit with these data: missing .*'optimizer'"
    )
    save(path, [1, 2])
    refused_and_unchanged(recipe("adam"), path, "no state of a run of fit")
    path.unlink()
    fit(**recipe("adam"), epochs=1, checkpoint=path)
    whole = load(path)
    dicts = "model", "optimizer", "train", "generators", "parts", "history", "callbacks", "epoch"
    for name in dicts:
        for other in ([], None, 1.5):
            save(path, whole | {name: other})
            refused_and_unchanged(recipe("adam"), path, "fit cannot go on from")
    for part, message in (
        ({"epoch": {"batches": 3}}, r"no state of a epoch of fit: missing \['counts'"),
        ({"callbacks": {"states": []}}, r"no state of a list of callbacks: missing \['untold'\]"),
    ):
        save(path, whole | part)
        refused_and_unchanged(recipe("adam"), path, message)
    path.write_bytes(b"PK")
    refused_and_unchanged(recipe("adam"), path, "not a checkpoint|cut short")
    with pytest.raises(CheckpointError):
        fit(**recipe("adam"), checkpoint=path)
    assert path.read_bytes() == b"PK"


def test_a_file_that_cannot_be_written_is_found_before_training(tmp_path: pathlib.Path) -> None:
    arguments = setting() | {"loss": at_call(1, raising(AssertionError()))}
    with pytest.raises(FileNotFoundError, match="no such folder"):
        fit(**arguments, checkpoint=tmp_path / "missing" / "run.npz")


def test_the_bar_says_where_a_run_goes_on(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = on_terminal(monkeypatch)
    arguments = setting() | {"progress": True, "on_interrupt": "return"}
    fit(**arguments | {"loss": at_call(10, press_ctrl_c)}, epochs=3, checkpoint=path)
    fit(**arguments, epochs=3, checkpoint=path)
    assert "fit: going on after step 3 of 7 in epoch 2" in terminal.getvalue()
    terminal = on_terminal(monkeypatch)
    fit(**arguments, epochs=3, checkpoint=path)
    assert terminal.getvalue() == ""  # nothing is left to do


SCRIPT = """
import sys, hashlib
import numpy as np
import minidl
from minidl import nn, optim
from minidl.data import DataLoader
from minidl.training import fit

def run(path):
    minidl.seed(1)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)).astype(np.float32), rng.integers(0, 3, 40)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm(16), nn.Dropout(0.2), nn.Linear(16, 3))
    optimizer = optim.Adam(model.parameters(), lr=optim.schedules.cosine(0.01, 400))
    loader = DataLoader(x, y, batch_size=8, shuffle=True)
    loss = nn.CrossEntropyLoss()
    history = fit(
        model, loss, optimizer, loader, (x, y), epochs=100, checkpoint=path, progress=False
    )
    digest = hashlib.sha256(repr(dict(history)).encode())
    for array in model.state_dict().values():
        digest.update(array.tobytes())
    return digest.hexdigest()

if __name__ == "__main__":
    print(run(sys.argv[1]))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path: pathlib.Path) -> None:
    path, dice = tmp_path / "run.npz", random.Random(1)
    command = [sys.executable, "-c", SCRIPT, str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed, seen = 0, 0
    while killed < 3:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        while process.poll() is None and _written(path) == seen:
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.02))
        process.kill()
        _, errors = process.communicate()
        assert (process.returncode, errors) in ((-signal.SIGKILL, b""), (0, b""))
        killed += 1
        seen = _written(path)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    namespace: dict[str, Any] = {"__name__": "script"}
    exec(SCRIPT, namespace)
    assert done.stdout.strip() == namespace["run"](None)


def _written(path: pathlib.Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0
