"""Groups of parameters, and parameters that cannot be optimized."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rules import assert_same, leaf, small_model

from minidl import Tensor, nn
from minidl.optim import SGD, Adam, Momentum, schedules


def test_an_attribute_is_set_in_all_groups_and_read_from_the_first() -> None:
    p, q = leaf([1.0]), leaf([1.0])
    optimizer = SGD([{"params": [p], "lr": 0.1}, {"params": [q]}], lr=0.2)
    assert [group["lr"] for group in optimizer.groups] == [0.1, 0.2]
    assert optimizer.lr == 0.1
    optimizer.groups[1]["lr"] = 0.3
    p.grad = q.grad = np.ones(1)
    optimizer.step()
    assert (p.item(), q.item()) == (0.9, 0.7)
    optimizer.lr = 0.4
    assert [group["lr"] for group in optimizer.groups] == [0.4, 0.4]


def test_a_group_is_a_dict_that_checks_what_is_put_into_it() -> None:
    p = leaf([1.0])
    group = Adam([p]).groups[0]
    assert list(group) == ["params", "lr", "weight_decay", "betas", "eps", "bias_correction"]
    assert len(group) == 6
    assert group["params"] == (p,)
    assert repr(group) == repr(dict(group))
    group.update(lr=0.5, betas=[0.1, 0.2])
    assert (group["lr"], group["betas"]) == (0.5, (0.1, 0.2))
    with pytest.raises(ValueError, match="Adam: lr is a finite number, at least 0, got -1"):
        group["lr"] = -1
    with pytest.raises(KeyError, match=r"only lr, weight_decay.*not learning_rate"):
        group["learning_rate"] = 0.1
    with pytest.raises(KeyError, match="make a new optimizer for other parameters"):
        group["params"] = [p]
    with pytest.raises(TypeError, match="cannot do without 'lr'"):
        del group["lr"]
    assert group["lr"] == 0.5


def test_groups_and_their_parameters_cannot_be_added_to_behind_the_optimizers_back() -> None:
    optimizer = SGD([leaf([1.0])], lr=0.1)
    with pytest.raises(AttributeError):
        optimizer.groups.append({})
    with pytest.raises(AttributeError):
        optimizer.groups[0]["params"].append(leaf([1.0]))


def test_repr_shows_the_rule_and_its_hyper_parameters() -> None:
    model = small_model()
    assert repr(SGD(model.parameters(), lr=0.1)) == "SGD(4 parameters, lr=0.1, weight_decay=0.0)"
    groups = [{"params": [leaf([1.0])], "lr": 0.5}, {"params": [leaf([1.0]), leaf([1.0])]}]
    assert repr(Momentum(groups, lr=0.1)) == (
        "Momentum(1 parameters, lr=0.5, weight_decay=0.0, mu=0.9, nesterov=False; "
        "2 parameters, lr=0.1, weight_decay=0.0, mu=0.9, nesterov=False)"
    )
    assert "lr=step_decay(lr=0.1, every=5, factor=0.1)" in repr(
        SGD([leaf([1.0])], lr=schedules.step_decay(0.1, 5))
    )
    assert "lr=<lambda>" in repr(SGD([leaf([1.0])], lr=lambda step: 0.1))


def test_unknown_hyper_parameters_are_refused() -> None:
    with pytest.raises(TypeError, match="momentum"):
        SGD([leaf([1.0])], lr=0.1, momentum=0.9)
    with pytest.raises(TypeError, match="SGD has no hyper-parameter 'mu', only lr, weight_decay"):
        SGD([{"params": [leaf([1.0])], "mu": 0.9}], lr=0.1)
    with pytest.raises(TypeError, match="SGD has no hyper-parameter 'names'"):
        SGD([{"params": [leaf([1.0])], "names": ["x"]}], lr=0.1)


def _shared() -> list[Tensor]:
    memory = np.zeros(8)
    views = [memory, np.zeros(2), memory[6:]]
    return [Tensor(view, requires_grad=True) for view in views]


P = leaf([1.0])


BAD_PARAMETERS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "an empty list": (list, ValueError, "SGD: the list of parameters is empty"),
    "an exhausted iterator": (lambda: iter(()), ValueError, "iterator can be used only once"),
    "a single Tensor": (lambda: P, TypeError, "must be a list of parameters.*not a Tensor"),
    "a model": (lambda: nn.Linear(2, 2), TypeError, r"\(model.parameters\(\)\).*not a Linear"),
    "a Sequential": (small_model, TypeError, r"0 is a Linear, not .* are model.parameters\(\)"),
    "a dict": (lambda: {"a": P}, TypeError, "not a dict"),
    "a set": (lambda: {P}, TypeError, "not a set"),
    "a string": (lambda: "weights", TypeError, "not a str"),
    "None": (lambda: None, TypeError, "not a NoneType"),
    "an ndarray among them": (lambda: [P, np.ones(2)], TypeError, "parameter 1 is a ndarray"),
    "a module among them": (lambda: [P, nn.ReLU()], TypeError, "parameter 1 is a ReLU"),
    "a dict among them": (lambda: [P, {"params": [P]}], TypeError, "parameter 1 is a dict"),
    "no gradient": (
        lambda: [P, Tensor([1.0])],
        ValueError,
        "parameter 1 does not require a gradient",
    ),
    "a result": (lambda: [P, P * 2], TypeError, "parameter 1 was computed from other Tensors"),
    "integers": (
        lambda: [P, Tensor(np.ones(2, np.int64))],
        TypeError,
        "parameter 1 has dtype int64",
    ),
    "one listed twice": (
        lambda: [leaf([1.0]), P, P],
        ValueError,
        "parameter 2 is listed twice, first as parameter 1",
    ),
    "one in two groups": (
        lambda: [{"params": [P]}, {"params": [leaf([1.0]), P]}],
        ValueError,
        "parameter 1 of group 1 is listed twice, first as parameter 0 of group 0",
    ),
    "two names alike": (
        lambda: [("a", leaf([1.0])), ("a", P)],
        ValueError,
        "two parameters are called 'a'",
    ),
    "shared memory": (_shared, ValueError, "parameters 0 and 2 share memory"),
    "shared memory across groups": (
        lambda: [{"params": [view]} for view in _shared()],
        ValueError,
        "parameters 0 of group 0 and 0 of group 2 share memory",
    ),
    "a group without params": (lambda: [{"lr": 0.1}], TypeError, "group 0 has no 'params'"),
    "an empty group": (
        lambda: [{"params": [P]}, {"params": []}],
        ValueError,
        "SGD, group 1: the list of parameters is empty",
    ),
    "a group with a Tensor": (lambda: [{"params": P}], TypeError, "SGD, group 0: .*not a Tensor"),
    "groups in a group": (
        lambda: [{"params": [{"params": [P]}]}],
        TypeError,
        "parameter 0 is a dict",
    ),
}


@pytest.mark.parametrize("what", BAD_PARAMETERS)
def test_bad_parameters_are_refused(what: str) -> None:
    make, error, message = BAD_PARAMETERS[what]
    with pytest.raises(error, match=message):
        SGD(make(), lr=0.1)


def test_a_frozen_parameter_is_taken_and_moves_once_it_is_set_free() -> None:
    p = nn.Parameter([1.0])
    p.requires_grad = False
    optimizer = SGD([p], lr=0.5)
    p.requires_grad = True
    (p * 2).sum().backward()
    optimizer.step()
    assert p.item() == 0.0


def test_an_error_calls_a_parameter_by_the_name_that_the_model_gives_it() -> None:
    model = small_model()
    model.extra = model[2].weight
    params = [*model.named_parameters(), ("again", model.extra)]
    with pytest.raises(
        ValueError, match=r"parameter again is listed twice, first as parameter 2\.weight"
    ):
        SGD(params, lr=0.1)


def test_memory_that_interleaves_but_is_not_shared_is_fine() -> None:
    memory = np.arange(12.0)
    params = [Tensor(memory[i::3], requires_grad=True) for i in range(3)]
    optimizer = SGD(params, lr=1.0)
    for p in params:
        p.grad = np.ones(4)
    optimizer.step()
    assert_same([p.numpy() for p in params], [memory[i::3] - 1 for i in range(3)])


def test_a_refused_optimizer_leaves_the_parameters_as_they_were() -> None:
    p = leaf([1.0])
    data = p.data
    for bad in ([p, p], [p, Tensor([1.0])]):
        with pytest.raises(ValueError, match="parameter 1"):
            SGD(bad, lr=0.1)
    with pytest.raises(ValueError, match="lr"):
        SGD([p], lr=-1.0)
    assert p.data is data


def test_a_changed_list_of_a_models_parameters_loses_the_names() -> None:
    params = small_model().parameters()
    params.pop(0)
    saved = SGD(params, lr=0.1).state_dict()
    assert list(saved["groups"][0]["params"]) == ["0", "1", "2"]
