"""The contestants of the benchmarks do the same: from the same weights, the same losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from benchmarks import expert, floor, images, ours, textbook
from benchmarks.workloads import NETWORKS, RULES, agree, as_number

CASES = [(name, rule, 20) for name in NETWORKS if name != "wide" for rule in RULES]
CASES.append(("wide", "adam", 4))


@pytest.mark.parametrize(("name", "rule", "steps"), CASES)
def test_contestants_have_the_same_losses(name: str, rule: str, steps: int) -> None:
    network = NETWORKS[name]
    batches = network.batches()
    losses = {}
    for module in (ours, expert, floor, textbook):
        contestant = next(iter(module.training(network, rule).values()))()
        losses[module] = [
            as_number(contestant.step(*batches[i % len(batches)])) for i in range(steps)
        ]
    assert agree(losses[expert], losses[ours]) < 1e-5
    assert agree(losses[floor], losses[ours]) < 1e-5
    assert agree(losses[textbook], losses[ours]) < 1e-5
    assert losses[ours][-1] != losses[ours][0]


@pytest.mark.parametrize("name", ["tiny", "digits"])
def test_the_compiled_contestant_has_the_losses_of_the_eager_one(name: str) -> None:
    network = NETWORKS[name]
    batches = network.batches()[:12]
    eager, compiled = (make() for make in ours.training(network, "adam").values())
    assert [compiled.step(*b) for b in batches] == [eager.step(*b).item() for b in batches]


HAND_WRITTEN = [expert.Expert, floor.Floor]


@pytest.mark.parametrize("hand", HAND_WRITTEN)
def test_the_expert_follows_statistics_and_parameters_as_minidl_does(hand: Any) -> None:
    network = NETWORKS["digits"]
    mine, theirs = ours.Minidl(network, "momentum"), hand(network, "momentum")
    for x, y in network.batches()[:10]:
        mine.step(x, y)
        theirs.step(x, y)
    norms = [m for m in mine.model if hasattr(m, "running_mean")]
    for norm, (mean, var) in zip(norms, theirs.running, strict=False):
        np.testing.assert_allclose(mean, norm.running_mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(var, norm.running_var, rtol=1e-4)
    parameters = [p for layer in theirs.parameters for p in layer]
    for parameter, p in zip(mine.model.parameters(), parameters, strict=True):
        np.testing.assert_allclose(
            (p if hand is expert.Expert else p.T).reshape(parameter.shape),
            parameter.data,
            atol=2e-5,
        )


@pytest.mark.parametrize("hand", HAND_WRITTEN)
def test_the_expert_counts_the_same_right_answers_in_batches_of_any_size(hand: Any) -> None:
    network = NETWORKS["digits"]
    mine, theirs = ours.Minidl(network, "adam"), hand(network, "adam")
    for (x, y), n in zip(network.batches(), (64, 64, 64, 5, 64, 17), strict=False):
        predicted = mine.model(x[:n]).data.argmax(axis=1)
        theirs.step(x[:n], y[:n])
        assert theirs.correct(n) == np.count_nonzero(predicted == y[:n])
        mine.step(x[:n], y[:n])


def test_losses_that_differ_in_one_step_do_not_agree() -> None:
    assert agree([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == 0
    assert agree([1.0, 2.1, 3.0], [1.0, 2.0, 3.0]) == pytest.approx(0.05)


@pytest.mark.parametrize("name", list(images.NETWORKS))
def test_contestants_for_images_have_the_same_losses(name: str) -> None:
    layers, shape = images.NETWORKS[name]
    x, y = images.batch((8, *shape[1:]))
    losses = []
    for make in (images.eager, images.by_im2col):
        step = make(layers)
        losses.append([step(x, y) for _ in range(4)])
    assert agree(*losses) < 1e-3
    assert losses[0][-1] != losses[0][0]
