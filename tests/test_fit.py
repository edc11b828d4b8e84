"""What fit looks at: modes, its arguments, and what would go wrong only later."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from runs import Modes, X, Y, at_call, bits, classifier, cross_entropy, everything, raising, setting

import minidl
from minidl import functional as F
from minidl import nn, optim
from minidl.data import DataLoader
from minidl.modes import is_recording, no_grad
from minidl.tensor import Array
from minidl.training import evaluate, fit, predict

pytestmark = pytest.mark.usefixtures("seeded")


# --- Modes ----------------------------------------------------------------------------------------


def test_training_is_in_train_mode_and_validation_in_eval_mode_without_a_graph() -> None:
    model = Modes().eval()
    arguments = setting(model=model)
    fit(**arguments | {"train": (X, Y)}, validation=(X, Y), epochs=2)
    assert model.seen == 2 * [*2 * [(True, True, True)], (False, False, False)]


@pytest.mark.parametrize("how", ["end", "error", "ctrl-c"])
def test_modes_are_restored_one_by_one(how: str) -> None:
    error = {"error": MemoryError(), "ctrl-c": KeyboardInterrupt()}.get(how)
    model = Modes()
    model.sub.eval()
    arguments = setting(model=model)
    loss = at_call(8, raising(error)) if error else cross_entropy  # in the validation
    try:
        fit(**arguments | {"loss": loss}, validation=(X, Y), epochs=2)
    except (MemoryError, KeyboardInterrupt):
        assert how != "end"
    assert model.seen[-1] == (False, False, False)
    assert (model.training, model.linear.training, model.sub.training) == (True, True, False)
    assert is_recording()


@pytest.mark.parametrize("how", ["arrays", "loader"])
def test_a_frozen_module_stays_in_eval_mode(how: str) -> None:
    model = everything()
    model[1].eval()
    model[3].eval()
    fit(**setting(model=model), validation=(X, Y), epochs=2)
    assert model[1].num_batches_tracked == 0
    assert (model[1].running_mean == 0).all()
    modes = [module.training for _, module in model.modules()]
    assert modes == [True, True, False, True, False, True, True, True]


def test_a_model_wholly_in_eval_mode_is_trained_wholly() -> None:
    model = everything().eval()
    fit(**setting(model=model), epochs=2)
    assert model[1].num_batches_tracked == 14
    assert not any(module.training for _, module in model.modules())


def test_a_model_that_freezes_a_part_in_its_own_train_is_asked() -> None:
    class Frozen(nn.Sequential):
        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            self[1].training = False
            return self

    model = Frozen(*everything())
    fit(**setting(model=model), epochs=1)
    assert model[1].num_batches_tracked == 0


# --- Checks before and at the first step ----------------------------------------------------------


def test_a_model_that_is_no_module_is_refused() -> None:
    for model in (nn.Linear, lambda x: x, None):
        for call in (
            lambda m: fit(**setting() | {"model": m}),
            lambda m: evaluate(m, cross_entropy, (X, Y)),
            lambda m: predict(m, X),
        ):
            with pytest.raises(TypeError, match="model is a Module"):
                call(model)


def test_a_loss_that_is_no_function_is_refused() -> None:
    for loss in (nn.CrossEntropyLoss, "cross_entropy", None):
        with pytest.raises(TypeError, match=r"nn.CrossEntropyLoss\(\) \(with brackets\)"):
            fit(**setting() | {"loss": loss})
        with pytest.raises(TypeError, match="with brackets"):
            evaluate(classifier(), loss, (X, Y))  # type: ignore[arg-type]


def test_an_optimizer_that_is_none_is_refused() -> None:
    for optimizer in (optim.Adam, "adam", None):
        with pytest.raises(TypeError, match=r"optim.Adam\(model.parameters\(\)\)"):
            fit(**setting() | {"optimizer": optimizer})


@pytest.mark.parametrize(
    ("epochs", "error"), [(-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_epochs_is_a_whole_number(epochs: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="fit: epochs is"):
        fit(**setting(), epochs=epochs)


def test_an_optimizer_made_before_the_model_was_rebuilt_is_refused() -> None:
    arguments = setting()
    with pytest.raises(ValueError, match=r"(?s)does not hold 0.weight, .*Make it anew as Adam\("):
        fit(**arguments | {"model": classifier()})


def test_an_optimizer_made_before_a_part_was_rebuilt_is_refused() -> None:
    arguments = setting()
    setattr(arguments["model"], "2", nn.Linear(8, 3))
    with pytest.raises(
        ValueError, match=r"not hold 2.weight, 2.bias, but holds 2 parameters of other"
    ):
        fit(**arguments)


def test_an_optimizer_of_a_part_is_warned_of_and_trains_the_part() -> None:
    model = classifier()
    before = bits(model.state_dict())
    arguments = setting(model=model) | {"optimizer": optim.SGD(model[2].parameters(), lr=0.1)}
    with pytest.warns(RuntimeWarning, match="SGD does not hold 0.weight, 0.bias, so") as caught:
        fit(**arguments, epochs=1)
    assert [warning.filename for warning in caught] == [__file__]
    after = bits(model.state_dict())
    assert [name for name in before if before[name] != after[name]] == ["2.weight", "2.bias"]


def test_frozen_parameters_are_no_matter_for_a_warning() -> None:
    model = classifier()
    for p in model[0].parameters():
        p.requires_grad = False
    fit(**setting(model=model) | {"optimizer": optim.SGD(model[2].parameters(), lr=0.1)}, epochs=1)
    fit(**setting(model=model), epochs=1)
    for p in model.parameters():
        p.requires_grad = False
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        fit(**setting(model=model), epochs=1)


def test_parameters_outside_the_model_are_trained_but_not_with_a_checkpoint(
    path: pathlib.Path,
) -> None:
    model, scale = classifier(), nn.Parameter([1.0])
    arguments = setting(model=model) | {
        "optimizer": optim.SGD([*model.parameters(), scale], lr=0.1),
        "loss": lambda z, y: cross_entropy(z * scale, y),
    }
    fit(**arguments, epochs=1)
    assert scale.data[0] != 1
    with pytest.raises(ValueError, match="1 parameters that are not the model's, and a checkpoint"):
        fit(**arguments, epochs=1, checkpoint=path)
    assert not path.exists()


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(reduction="none"),
        lambda z, y: None,
        lambda z, y: "low",
        lambda z, y: nn.CrossEntropyLoss,
    ],
)
def test_a_loss_that_is_not_one_number_is_refused(loss: Any) -> None:
    with pytest.raises(ValueError, match=r"the loss is one number.*reduction='mean'"):
        fit(**setting() | {"loss": loss})
    with pytest.raises(ValueError, match=r"the loss is one number.*reduction='mean'"):
        evaluate(classifier(), loss, (X, Y))


def test_a_loss_that_depends_on_no_parameter_is_refused() -> None:
    losses = [
        lambda z, y: cross_entropy(z.data, y),
        lambda z, y: cross_entropy(z.detach(), y),
        lambda z, y: 0.5,
    ]
    for loss in losses:
        with pytest.raises(ValueError, match="depends on no parameter: compute it from"):
            fit(**setting() | {"loss": loss})
    with no_grad(), pytest.raises(ValueError, match=r"outside no_grad\(\)"):
        fit(**setting())


def test_a_loss_that_depends_on_other_parameters_only_is_refused() -> None:
    model, other = classifier(), nn.Parameter(np.ones(3, np.float32))
    before = bits(model.state_dict())
    loss = lambda z, y: cross_entropy(z.detach() * other, y)
    with pytest.raises(ValueError, match="no parameter that the optimizer holds"):
        fit(**setting(model=model) | {"loss": loss})
    assert bits(model.state_dict()) == before


@pytest.mark.parametrize("name", ["train", "validation"])
def test_data_that_are_not_pairs_are_refused(name: str) -> None:
    def run(data: Any) -> None:
        fit(**setting() | {name: data})

    with pytest.raises(TypeError, match=rf"fit: {name} is a tuple \(x, y\).*got list"):
        run([X, Y])
    with pytest.raises(TypeError, match="got generator"):
        run(batch for batch in [(X, Y)])
    with pytest.raises(ValueError, match=f"fit: {name} has 4 arrays"):
        run((X, Y, Y, Y))
    with pytest.raises(ValueError, match=f"fit: {name} has 1 arrays"):
        run(DataLoader(X))
    with pytest.raises(ValueError, match="array 0 has 50, array 1 has 49"):
        run((X, Y[:-1]))
    with pytest.raises(ValueError, match="empty data set"):
        run((X[:0], Y[:0]))
    spoiled = X.copy()
    spoiled[3, 1] = np.nan
    with pytest.raises(ValueError, match="row 3, column 1"):
        run((spoiled, Y))


def test_a_loader_of_ones_own_may_change_batches_on_their_way() -> None:
    class Doubled(DataLoader):
        def __iter__(self) -> Iterator[tuple[Array, ...]]:
            for x, y in super().__iter__():
                yield np.concatenate([x, -x]), np.concatenate([y, 2 - y])

    fit(**setting() | {"train": Doubled(X, Y, batch_size=8)}, epochs=1)


def test_an_epoch_without_a_batch_is_refused() -> None:
    class Empty(DataLoader):
        def __iter__(self) -> Iterator[tuple[Array, ...]]:
            return iter(())

    with pytest.raises(ValueError, match="gave no batch"):
        fit(**setting() | {"train": Empty(X, Y)})


def test_layers_that_forward_makes_are_refused_in_the_first_step() -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            self.first = nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            if not hasattr(self, "second"):
                self.second = nn.Linear(2, 2)
            return self.second(self.first(x))

    model = Lazy()
    x, y = np.ones((8, 2), np.float32), np.zeros(8, np.int64)
    with pytest.raises(ValueError, match=r"made new parameters, second\.weight, second\.bias"):
        minidl.fit(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), 0.1), (x, y))


# --- What would go wrong only later ---------------------------------------------------------------


def with_bad_target(bad: Any, dtype: Any = np.int64) -> tuple[Array, Array]:
    targets = Y.astype(dtype)
    targets[40] = bad
    return X, targets


@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize("loss", [cross_entropy, F.cross_entropy, nn.CrossEntropyLoss([1, 2, 3])])
@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (with_bad_target(3), ValueError, "target 3 is out of range"),
        (with_bad_target(-1), ValueError, "target -1 is out of range"),
        (with_bad_target(1, np.float32), TypeError, "must be integers, not float32"),
    ],
)
def test_targets_that_the_loss_does_not_take_are_found_before_the_first_step(
    part: str, loss: Any, data: Any, error: type[Exception], message: str, path: pathlib.Path
) -> None:
    arguments = setting() | {"loss": loss, part: DataLoader(*data, batch_size=8)}
    before = bits(arguments["model"].state_dict())
    with pytest.raises(error, match=message) as caught:
        fit(**arguments, checkpoint=path)
    assert bits(arguments["model"].state_dict()) == before
    if not (part == "train" and data[1].dtype == np.float32):  # which the first batch shows
        note = f"in the {part} data of fit, looked at before the first step"
        assert caught.value.__notes__ == [note]


def test_targets_that_a_loader_of_ones_own_changes_are_not_looked_at_before_it_has() -> None:
    class FromOne(DataLoader):
        def __iter__(self) -> Iterator[tuple[Array, ...]]:
            return ((x, y - 1) for x, y in super().__iter__())

    arguments = setting() | {"train": FromOne(X, Y + 1, batch_size=8)}
    assert len(fit(**arguments, validation=FromOne(X, Y + 1), epochs=1)["validation_loss"]) == 1


def test_binary_targets_that_the_loss_does_not_take_are_found_before_the_first_step() -> None:
    model = nn.Linear(4, 1)
    good, bad = (X[:, :1] > 0).astype(np.float32), np.full((50, 1), 1.5)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"targets are from 0 to 1, got 1\.5 to 1\.5"):
        fit(model, nn.BCEWithLogitsLoss(), optimizer, (X, good), (X, bad), progress=False)
    assert optimizer.steps == 0


class PerPosition(nn.Module):
    """Logits (N, 3, L) for features (N, 4, L), whatever L is."""

    def __init__(self) -> None:
        self.linear = nn.Linear(4, 3, rng=0)

    def forward(self, x: Any) -> Any:
        return np.swapaxes(self.linear(np.swapaxes(x, 1, -1)), 1, -1)


def test_validation_data_of_another_shape_are_fine_if_the_model_takes_them() -> None:
    model = PerPosition()
    train = X[:20].reshape(4, 4, 5), Y[:20].reshape(4, 5)
    other = X[20:50].reshape(3, 4, 10), Y[20:50].reshape(3, 10)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    history = fit(model, cross_entropy, optimizer, train, other, epochs=1, progress=False)
    expected = evaluate(model, cross_entropy, other)["loss"]
    assert history["validation_loss"] == [pytest.approx(expected)]


@pytest.mark.parametrize("which", ["features", "targets"])
def test_validation_data_of_another_shape_are_tried_before_the_first_step(which: str) -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.BatchNorm(1), nn.Dropout(0.5))
    x, y = (X[:, :3], X[:, :1]) if which == "features" else (X, X[:, 0])
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="shape") as caught:
        fit(model, nn.MSELoss(), optimizer, (X, X[:, :1]), (x, y), progress=False)
    assert optimizer.steps == 0
    assert "in the validation data of fit, tried before the first step" in str(
        caught.value.__notes__
    )
    assert [module.training for _, module in model.modules()] == 4 * [True]
    assert model[1].num_batches_tracked == 0


@pytest.mark.parametrize("n", [33, 65, 1057, 2, 31])
def test_arrays_never_leave_a_last_batch_of_one(n: int) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, 2)), rng.normal(size=(n, 1))
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm(4), nn.Linear(4, 1))
    lengths: list[int] = []
    count = {"n": lambda z, y: lengths.append(len(y)) or 0}
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    fit(model, nn.MSELoss(), optimizer, (x, y), epochs=1, metrics=count, progress=False)
    assert sum(lengths) == n
    assert min(lengths) > 1
    assert lengths[0] == {33: 33, 65: 33, 1057: 34}.get(n, n)


def test_a_loader_whose_last_batch_batch_norm_cannot_take_is_refused_before_the_first_step() -> (
    None
):
    arguments = setting(model=everything())
    loader = DataLoader(X, Y, batch_size=7)  # 50 = 7 * 7 + 1
    state = minidl.rng.generator().bit_generator.state
    with pytest.raises(
        ValueError, match=r"50 = 7 \* 7 \+ 1.*drop_last=True, or another batch_size"
    ):
        fit(**arguments | {"train": loader})
    assert arguments["optimizer"].steps == 0
    assert arguments["model"][1].num_batches_tracked == 0
    assert minidl.rng.generator().bit_generator.state == state
    fit(**arguments | {"train": DataLoader(X, Y, batch_size=7, drop_last=True)}, epochs=1)
    arguments["model"][1].eval()
    fit(**arguments | {"train": loader}, epochs=1)  # frozen, it takes any batch
    places = nn.Sequential(nn.BatchNorm(4), nn.Flatten(), nn.Linear(8, 3))
    x = np.stack([X, X], axis=2)  # (50, 4, 2): two values for each channel in a batch of one
    fit(**setting(model=places) | {"train": DataLoader(x, Y, batch_size=7)}, epochs=1)


@pytest.mark.parametrize("rng", [5, None])
def test_a_trial_before_the_first_step_draws_no_random_numbers(rng: int | None) -> None:
    model = nn.Sequential(nn.Dropout(0.5, rng=rng), nn.BatchNorm(4), nn.Flatten(), nn.Linear(8, 3))
    minidl.seed(5)
    x = np.stack([X, X], axis=2)  # (50, 4, 2), in 7 batches of 7 and one of 1, which is tried
    fit(**setting(model=model) | {"train": DataLoader(x, Y, batch_size=7)}, epochs=1)
    alone = np.random.default_rng(5)
    for n in (*7 * [7], 1):
        alone.random((n, 4, 2), np.float32)
    drawn = model[0].rng if rng is not None else minidl.rng.generator()
    assert drawn.bit_generator.state == alone.bit_generator.state
    assert model[1].num_batches_tracked == 8
