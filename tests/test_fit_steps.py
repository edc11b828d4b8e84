"""What the steps of fit can do: batches of a size, clipping, updates from several batches, and
schedules that span the run."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from runs import X, Y, bits, classifier, everything, press_ctrl_c, setting
from weighing import LOSSES, quiet, sgd, weights_of, wide

import minidl
from minidl import functional as F
from minidl import nn, optim
from minidl.data import DataLoader
from minidl.nn import Module
from minidl.optim import schedules
from minidl.tensor import Array, Tensor
from minidl.training import fit

pytestmark = pytest.mark.usefixtures("seeded")


# --- The size of batches --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "samples", "steps"), [(None, 33, 1), (None, 50, 2), (32, 33, 2), (10, 50, 5)]
)
def test_batch_size_is_of_arrays_and_taken_as_it_is_given(
    size: int | None, samples: int, steps: int
) -> None:
    optimizer = sgd(model := classifier())
    options: Any = {} if size is None else {"batch_size": size}
    fit(model, F.cross_entropy, optimizer, (X[:samples], Y[:samples]), epochs=1, **options, **quiet)
    assert optimizer.steps == steps


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_become_what_the_parameters_are(dtype: Any) -> None:
    class Notes(nn.Linear):
        def forward(self, x: Any) -> Tensor:
            seen.append(x.dtype)
            return super().forward(x)

    model, seen, x = Notes(4, 1, dtype=dtype), [], X.astype(np.float64)
    fit(model, nn.MSELoss(), sgd(model, 0.01), (x, x[:, :1]), (x, x[:, :1]), epochs=1, **quiet)
    assert len(seen) == 3
    assert set(seen) == {np.dtype(dtype)}


def test_a_batch_size_beside_a_loader_or_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train is a DataLoader.* of its own, 8: give 16 to the"):
        fit(**setting(), batch_size=16)
    for bad in (0, 2.0, True):
        with pytest.raises((TypeError, ValueError), match="fit: batch_size is a whole number"):
            fit(**setting() | {"train": (X, Y)}, batch_size=bad)  # type: ignore[arg-type]


# --- Clipping -------------------------------------------------------------------------------------


def test_clipping_is_that_of_the_loop_by_hand_and_bitwise_the_same_compiled() -> None:
    models = [everything() for _ in range(3)]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    norms = []
    for i, model in enumerate(models):
        arguments = setting("momentum", model)
        minidl.seed(3)
        model[5].rng = np.random.default_rng(5)
        if i < 2:
            fit(**arguments, epochs=4, clip_norm=0.7, compiled=i == 1)
            continue
        optimizer = arguments["optimizer"]
        for _ in range(4):
            for x, y in arguments["train"]:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                norms.append(optim.clip_grad_norm(model.parameters(), 0.7))
                optimizer.step()
    assert min(norms) < 0.7 < max(norms)  # some are clipped, some are not
    states = [bits(model.state_dict()) for model in models]
    assert states[0] == states[1] == states[2]


class Steep(Module):
    """Its value is finite, and its gradient is not."""

    def __init__(self, features: int) -> None:
        self.scale = nn.Parameter(np.zeros(1))
        self.norm = nn.BatchNorm(features)

    def forward(self, x: Array) -> Tensor:
        return self.norm(x) * np.sqrt(self.scale)


def test_a_norm_that_is_not_finite_undoes_the_step_and_says_where() -> None:
    model = Steep(1)
    before = bits(model.state_dict())
    with pytest.raises(FloatingPointError, match="norm of the gradients is") as caught:
        fit(model, nn.MSELoss(), sgd(model), (X[:, :1], X[:, :1]), clip_norm=1.0, **quiet)
    assert "in step 1 of 2 in epoch 1" in caught.value.__notes__[-1]
    assert bits(model.state_dict()) == before


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, True, "1"])
def test_a_norm_to_clip_to_is_a_number_above_0(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="fit: clip_norm is a number, above 0, got"):
        fit(**setting(), clip_norm=bad)


# --- One update from several batches --------------------------------------------------------------


@pytest.mark.parametrize("clip_norm", [None, 0.05])
@pytest.mark.parametrize("name", LOSSES)
def test_an_update_from_several_batches_is_that_of_all_their_samples_in_one(
    name: str, clip_norm: float | None
) -> None:
    loss, targets = LOSSES[name]
    model, joined = wide(), wide()
    optimizer = sgd(model, 0.05)
    loader = DataLoader(X, targets, batch_size=8, dtype=np.float64)  # 6 batches and 2 samples
    history = fit(
        model, loss, optimizer, loader, epochs=2, accumulate=4, clip_norm=clip_norm, **quiet
    )

    by_hand = sgd(joined, 0.05)
    for _ in range(2):
        for part in (slice(0, 32), slice(32, 50)):
            if (targets[part] == -100).all():
                continue
            by_hand.zero_grad()
            loss(joined(X[part].astype(np.float64)), targets[part]).backward()
            if clip_norm is not None:
                optim.clip_grad_norm(joined.parameters(), clip_norm)
            by_hand.step()
    np.testing.assert_allclose(weights_of(model), weights_of(joined), rtol=1e-12, atol=1e-14)
    assert optimizer.steps == by_hand.steps
    assert len(history["loss"]) == 2


def test_float16_gradients_of_several_batches_are_added_up() -> None:
    results = []
    for options in ({"batch_size": 25}, {"batch_size": 5, "accumulate": 5}):
        model = wide()
        for p in model.parameters():
            p.data = p.data.astype(np.float16)
        minidl.seed(0)
        fit(model, F.cross_entropy, sgd(model), (X, Y), epochs=3, clip_norm=1.0, **options, **quiet)
        results.append(weights_of(model).astype(np.float64))
    np.testing.assert_allclose(*results, atol=4e-3)
    assert abs(results[0] - weights_of(wide())).max() > 0.1


def test_schedules_and_places_count_updates() -> None:
    seen: list[int] = []

    def rate(step: int) -> float:
        seen.append(step)
        return 0.1

    optimizer = optim.SGD((model := classifier()).parameters(), lr=rate)
    loader = DataLoader(X, Y, batch_size=8)
    fit(model, F.cross_entropy, optimizer, loader, epochs=2, accumulate=3, **quiet)
    assert sorted(set(seen)) == list(range(6))
    assert optimizer.steps == 6
    bad = X.copy()
    bad[45] = np.nan
    with pytest.raises(FloatingPointError, match=r"step 2 of 3 in epoch 1 \(batch 3 of 3 for it\)"):
        loader = DataLoader(bad, Y, batch_size=8, check_finite=False)
        fit(model, F.cross_entropy, optimizer, loader, accumulate=3, **quiet)


@pytest.mark.parametrize(
    ("at", "accumulate", "place"),
    [
        (2, 4, r"step 1 of 2 in epoch 1 \(batch 3 of 4"),
        (5, 2, r"step 3 of 4 in epoch 1 \(batch 2 of 2"),
        (2, 1, "step 3 of 7 in epoch 1"),
    ],
)
def test_a_batch_that_fails_undoes_the_batches_of_its_update_and_no_other(
    at: int, accumulate: int, place: str
) -> None:
    models = [nn.Sequential(nn.BatchNorm(4), nn.Linear(4, 3, rng=0)) for _ in range(2)]
    before = at - at % accumulate
    bad = X.copy()
    bad[8 * at + 1] = np.nan

    def run(model: Module, x: Array) -> None:
        loader = DataLoader(x, Y[: len(x)], batch_size=8, check_finite=False)
        options = {"epochs": 1, "accumulate": accumulate, **quiet}
        fit(model, F.cross_entropy, sgd(model), loader, **options)

    with pytest.raises(FloatingPointError, match=place):
        run(models[0], bad)
    if before:
        run(models[1], X[: 8 * before])
    assert bits(models[0].state_dict()) == bits(models[1].state_dict())


class Short(DataLoader):
    """Gives one batch, whatever it has said."""

    def __iter__(self) -> Any:
        yield next(super().__iter__())


@pytest.mark.parametrize("kind", [DataLoader, Short])
def test_an_update_that_waited_in_vain_for_batches_is_undone_too_if_it_fails(kind: Any) -> None:
    model, y = Steep(4), np.where(np.arange(50) < 8, Y, -100)
    before = bits(model.state_dict())
    loader = kind(X, y, batch_size=8)
    with pytest.raises(FloatingPointError, match="norm of the gradients is"):
        fit(model, F.cross_entropy, sgd(model), loader, accumulate=9, clip_norm=1.0, **quiet)
    assert bits(model.state_dict()) == before


def test_ctrl_c_waits_for_the_update_and_nothing_is_lost(tmp_path: Any) -> None:
    def run(path: Any, stop_at: int | None = None, **changed: Any) -> tuple[Any, Any]:
        minidl.seed(4)
        arguments = setting("adam", everything())
        arguments["model"].load_state_dict(start)
        calls = 0

        def metric(z: Array, y: Array) -> float:
            nonlocal calls
            calls += 1
            if calls == stop_at:
                press_ctrl_c()
            return 0.0

        options: Any = {"accumulate": 3, "clip_norm": 0.5} | changed
        history = fit(
            **arguments, epochs=2, checkpoint=path, on_interrupt="return",
            metrics={"m": metric}, **options,
        )  # fmt: skip
        return arguments, history

    start = everything().state_dict()
    whole, history = run(tmp_path / "whole.npz")
    for stop_at in (2, 7):
        path = tmp_path / f"{stop_at}.npz"
        stopped, first = run(path, stop_at)
        assert first.interrupted
        assert first == {"loss": []}
        assert stopped["optimizer"].steps == {2: 1, 7: 3}[stop_at]  # at the end of the update
        with pytest.raises(ValueError, match="its accumulate is 3, not 2"):
            run(path, accumulate=2)
        with pytest.raises(ValueError, match="its accumulate is 3, not None"):
            run(path, accumulate=1)
        with pytest.raises(ValueError, match=r"its clip_norm is 0\.5, not None"):
            run(path, clip_norm=None)
        again, second = run(path)
        assert dict(second) == dict(history)
        for part in ("model", "optimizer"):
            assert bits(again[part].state_dict()) == bits(whole[part].state_dict())


@pytest.mark.parametrize("compiled", [False, True])
def test_ctrl_c_waits_for_the_step_only(compiled: bool) -> None:
    calls = 0

    def metric(z: Array, y: Array) -> float:
        nonlocal calls
        calls += 1
        if calls == 3:
            press_ctrl_c()
        return 0.0

    arguments = setting()
    fit(**arguments, metrics={"m": metric}, compiled=compiled, on_interrupt="return")
    assert arguments["optimizer"].steps == calls == 3


def test_updates_from_several_batches_are_not_compiled() -> None:
    with pytest.raises(ValueError, match=r"not for accumulate=2.* larger batch_size does the same"):
        fit(**setting(), accumulate=2, compiled=True)
    for bad in (0, 1.5):
        with pytest.raises((TypeError, ValueError), match="fit: accumulate is a whole number"):
            fit(**setting(), accumulate=bad)  # type: ignore[arg-type]


def test_a_batch_of_which_nothing_counts_is_no_step_of_a_program_either() -> None:
    """Also where it is the first of which a program would be written, the second of the run."""
    y = np.where((np.arange(50) >= 10) & (np.arange(50) < 20), -100, Y)
    results = []
    for compiled in (False, True):
        optimizer = sgd(model := classifier())
        history = fit(
            model, nn.CrossEntropyLoss(), optimizer, DataLoader(X, y, batch_size=10), epochs=4,
            compiled=compiled, **quiet,
        )  # fmt: skip
        results.append((dict(history), bits(model.state_dict()), optimizer.steps))
    assert results[0] == results[1]
    assert results[0][2] == 4 * 4


# --- Schedules that span the run ------------------------------------------------------------------


class Noting(optim.SGD):
    """Notes the rate of each step."""

    def step(self) -> None:
        notes.append(self.lr)
        super().step()


notes: list[float] = []


def noted(lr: Any, *, epochs: int = 2, again: int = 1, **options: Any) -> list[float]:
    notes.clear()
    optimizer = Noting((model := classifier()).parameters(), lr=lr)
    for _ in range(again):
        fit(model, F.cross_entropy, optimizer, DataLoader(X, Y, batch_size=8), epochs=epochs,
            **options, **quiet)  # fmt: skip
    assert optimizer.groups[0]["lr"] is lr
    return notes


@pytest.mark.parametrize(
    ("waiting", "known"),
    [
        (schedules.cosine(0.1, final=0.01), lambda n: schedules.cosine(0.1, n, 0.01)),
        (schedules.linear(0.1), lambda n: schedules.linear(0.1, n)),
        (schedules.one_cycle(0.1, div_factor=5), lambda n: schedules.one_cycle(0.1, n, 0.3, 5)),
        (schedules.warmup(0.1, 0.25), lambda n: schedules.warmup(0.1, round(n / 4))),
        (
            schedules.warmup(schedules.cosine(0.1), 0.5),
            lambda n: schedules.warmup(schedules.cosine(0.1, n), round(n / 2)),
        ),
        (
            schedules.warmup(schedules.linear(0.1), 3),
            lambda n: schedules.warmup(schedules.linear(0.1, n), 3),
        ),
    ],
)
def test_a_schedule_that_waits_spans_the_run_and_each_run_anew(
    waiting: Any, known: Callable[[int], Any]
) -> None:
    assert noted(waiting) == [known(14)(step) for step in range(14)]
    assert noted(waiting, accumulate=3) == [known(6)(step) for step in range(6)]
    assert noted(waiting, again=2, epochs=1) == [known(7)(step) for step in range(7)] * 2
    assert noted(waiting, compiled=False) == noted(known(14))
    assert noted(waiting, epochs=0) == []


def test_a_schedule_that_waits_is_refused_outside_fit() -> None:
    waiting = (schedules.cosine, schedules.linear, schedules.one_cycle)
    for lr in (*(kind(0.1) for kind in waiting), schedules.warmup(0.1, 0.5)):
        model = classifier()
        optimizer = sgd(model, lr)
        assert type(lr).__name__ in repr(optimizer)
        F.cross_entropy(model(X), Y).backward()
        before = bits(model.state_dict())
        with pytest.raises(ValueError, match=r"does not know how many steps.*steps=1000"):
            optimizer.step()
        assert bits(model.state_dict()) == before
        with pytest.raises(ValueError, match="does not know how many steps"):
            minidl.compile(model, F.cross_entropy, optimizer)(X, Y)


def test_a_schedule_that_waits_compiles_and_goes_on(tmp_path: Any) -> None:
    def run(epochs: int, path: Any = None, compiled: bool = False) -> Any:
        arguments = setting("adam", classifier())
        arguments["optimizer"].lr = schedules.warmup(schedules.cosine(0.05), 0.2)
        arguments["optimizer"].count_step(5)  # made elsewhere, before this run
        fit(**arguments, epochs=epochs, checkpoint=path, compiled=compiled)
        return bits(arguments["model"].state_dict())

    assert run(3) == run(3, compiled=True)
    # A shorter run has another schedule; from where it goes on, the rates are the longer one's.
    path = tmp_path / "run.npz"
    short = run(2, path)
    longer = run(4, path)
    assert longer != short
    stopped = copy.copy(path.read_bytes())
    assert run(4, path) == longer
    assert path.read_bytes() == stopped
    for other in (schedules.cosine(0.05), schedules.cosine(0.05, 28)):
        arguments = setting("adam", classifier())
        arguments["optimizer"].lr = other
        with pytest.raises(ValueError, match=r"its schedule 0 is warmup\(lr=cosine\(.*, not "):
            fit(**arguments, epochs=4, checkpoint=path)


def test_a_run_that_goes_on_takes_the_rates_it_would_have_taken(tmp_path: Any) -> None:
    whole: list[float] = noted(schedules.linear(0.1), epochs=2).copy()
    path = tmp_path / "run.npz"
    calls = 0

    def metric(z: Array, y: Array) -> float:
        nonlocal calls
        calls += 1
        if calls == 10:
            press_ctrl_c()
        return 0.0

    notes.clear()
    for steps_elsewhere in (5, 0):  # what the second time begins with comes from the file
        optimizer = Noting((model := classifier()).parameters(), lr=schedules.linear(0.1))
        optimizer.count_step(steps_elsewhere)
        fit(model, F.cross_entropy, optimizer, DataLoader(X, Y, batch_size=8), epochs=2,
            checkpoint=path, metrics={"m": metric}, on_interrupt="return", **quiet)  # fmt: skip
    assert notes == whole


def test_a_compiled_run_looks_at_its_first_step_too() -> None:
    model = nn.Sequential(nn.Linear(3, 2, rng=0), nn.Softmax())
    x, y = np.eye(3, dtype=np.float32), np.array([0, 1, 1])
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.warns(RuntimeWarning, match="softmax"):
        minidl.fit(
            model, nn.CrossEntropyLoss(), optimizer, (x, y), epochs=1, progress=False, compiled=True
        )
