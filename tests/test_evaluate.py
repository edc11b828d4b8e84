"""Evaluate and predict: a model as it is, over data in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from runs import Modes, X, Y, classifier, cross_entropy, everything

from minidl import nn
from minidl.data import DataLoader
from minidl.modes import is_recording
from minidl.nn import Module
from minidl.tensor import Tensor
from minidl.training import evaluate, predict

pytestmark = pytest.mark.usefixtures("seeded")


def test_evaluate_gives_loss_and_metrics_in_eval_mode_without_a_graph() -> None:
    model = Modes()
    model.sub.eval()
    found = evaluate(model, cross_entropy, DataLoader(X, Y, batch_size=20))
    assert model.seen == 3 * [(False, False, False)]
    assert (model.training, model.linear.training, model.sub.training) == (True, True, False)
    assert is_recording()
    assert found["loss"] == pytest.approx(cross_entropy(model(X), Y).item(), rel=1e-6)
    assert found["accuracy"] == pytest.approx(np.mean(model(X).data.argmax(1) == Y))
    assert [type(value) for value in found.values()] == [float, float]
    assert list(evaluate(model, cross_entropy, (X, Y), metrics={})) == ["loss"]


def test_evaluate_is_for_models_without_parameters_too() -> None:
    assert evaluate(nn.Flatten(), nn.MSELoss(), (X, X)) == {"loss": 0.0}


def test_evaluate_refuses_what_is_no_data() -> None:
    with pytest.raises(TypeError, match="evaluate: data is a tuple"):
        evaluate(classifier(), cross_entropy, X)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="empty data set"):
        evaluate(classifier(), cross_entropy, (X[:0], Y[:0]))


@pytest.mark.parametrize("batch_size", [1, 7, 50, 1024])
def test_predict_gives_the_outputs_in_order(batch_size: int) -> None:
    model = everything()
    model[1].running_mean += 1
    outputs = predict(model, X, batch_size=batch_size)
    assert type(outputs) is np.ndarray
    assert outputs.dtype == np.float32
    assert model.training
    np.testing.assert_allclose(outputs, model.eval()(X).data, rtol=1e-5, atol=1e-6)


def test_predict_is_in_eval_mode_without_a_graph_and_restores_both() -> None:
    model = Modes()
    model.sub.eval()
    predict(model, X)
    assert model.seen == [(False, False, False)]
    assert (model.training, model.linear.training, model.sub.training) == (True, True, False)
    with pytest.raises(ValueError, match="linear"):
        predict(model, X[:, :2])
    assert (model.training, model.sub.training, is_recording()) == (True, False, True)


class Apply(Module):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
def test_predict_is_for_outputs_of_any_shape(shape: tuple[int, ...]) -> None:
    model = Apply(lambda x: Tensor(np.zeros((len(x), *shape), np.float32)))
    assert predict(model, X, batch_size=20).shape == (50, *shape)


def test_predict_keeps_the_precision_of_the_model() -> None:
    model = nn.Linear(1, 1, dtype=np.float64)
    model.weight.data[:] = 1
    assert predict(model, [[1 + 1e-12]])[0, 0] == 1 + 1e-12


def test_without_parameters_data_come_in_float32() -> None:
    seen: list[Any] = []

    def loss(z: Any, t: Any) -> Any:
        seen.extend((z.dtype, t.dtype))
        return z.mean()

    y = np.ones((3, 2))
    evaluate(Apply(lambda x: x * 1), loss, (y, y))
    assert predict(Apply(lambda x: x * 1), y).dtype == np.float32
    assert {*seen} == {np.dtype(np.float32)}


def test_predict_refuses_outputs_that_are_not_one_per_sample() -> None:
    for function in (lambda x: Tensor(x).sum(), lambda x: Tensor(x[1:]), lambda x: None):
        with pytest.raises(ValueError, match=r"expected \(50, \.\.\.\): one output per sample"):
            predict(Apply(function), X)


def test_predict_refuses_bad_input() -> None:
    model = classifier()
    with pytest.raises(ValueError, match="empty data set"):
        predict(model, X[:0])
    with pytest.raises(ValueError, match="row 0, column 0"):
        predict(model, [[np.nan] * 4])
    with pytest.raises(ValueError, match=r"batch_size is .*at least 1"):
        predict(model, X, batch_size=0)
    with pytest.raises(TypeError, match="numbers"):
        predict(model, [["a"] * 4])
