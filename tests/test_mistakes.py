"""The mistakes people make: each is named, or can be seen the way docs/when-it-goes-wrong.md says.

One test for each entry of that page, in its order. The rooms of the library test their errors in
detail; here the mistake is made as a person makes it, in a whole small program.
"""

import math
import re
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import Tensor, data, functional, nn, optim

rng = np.random.default_rng(0)
X = rng.normal(size=(64, 6)).astype(np.float32)
Y = rng.integers(0, 3, 64)
cross_entropy = nn.CrossEntropyLoss()


def network(*last, seed=0):
    return nn.Sequential(
        nn.Linear(6, 16, rng=seed), nn.ReLU(), nn.Linear(16, 3, rng=seed + 1), *last
    )


def fit(model, x=X, y=Y, loss=cross_entropy, lr=0.1, **options):
    optimizer = optim.SGD(model.parameters(), lr=lr)
    loader = data.DataLoader(x, y, batch_size=16) if "check_finite" in options else (x, y)
    options.pop("check_finite", None)
    return minidl.fit(model, loss, optimizer, loader, **{"epochs": 1, "progress": False} | options)


def steps(model, count=3, zero_grad=True, lr=0.1, backward_each=1):
    """A loop written by hand; the losses."""
    optimizer = optim.SGD(model.parameters(), lr=lr)
    losses = []
    for i in range(count):
        if zero_grad and i % backward_each == 0:
            optimizer.zero_grad()
        loss = cross_entropy(model(X), Y)
        loss.backward()
        if (i + 1) % backward_each == 0:
            optimizer.step()
        losses.append(loss.item())
    return losses


def test_every_mistake_has_an_entry_in_the_docs_and_every_entry_says_the_four_things():
    page = (Path(__file__).parent.parent / "docs" / "when-it-goes-wrong.md").read_text()
    entries = re.split(r"^### ", page, flags=re.MULTILINE)[1:]
    titles = [entry.split("\n")[0].lower() for entry in entries]
    for mistake in [
        "zero_grad", "does not fall", "weights that are all zero", "softmax before", "count from 1",
        "one-hot", "(n, 1) against (n,)", "not flattened", "unscaled", "integer inputs", "float64",
        "eval mode", "batch of one", "nan in the data", "learning rate", "dead relus",
        "no optimizer holds", "before the model was rebuilt", "iterator used twice",
        "backward twice", "modified in place", "empty loader", "drop_last",
        "name of a parameter", "knows no gradients",
    ]:  # fmt: skip
        assert any(mistake in title for title in titles), mistake
    for entry in map(" ".join, map(str.split, entries)):
        assert "**Symptom.**" in entry, entry
        assert "minidl says" in entry, entry
        assert "**Cure.**" in entry, entry


# --- In the loop ----------------------------------------------------------------------------------


def test_forgotten_zero_grad_lets_gradients_grow_and_debug_mode_names_it():
    model = network()
    norms = []
    for _ in range(3):
        cross_entropy(model(X), Y).backward()
        norms.append(optim.clip_grad_norm(model.parameters(), math.inf))
    np.testing.assert_allclose(np.array(norms) / norms[0], [1, 2, 3], rtol=1e-5)
    with pytest.warns(RuntimeWarning, match=r"added to old ones.*for 0\.weight, .*zero_grad\(\)"):
        with minidl.debug():
            steps(network(), zero_grad=False)


def test_adding_up_gradients_on_purpose_and_clearing_them_are_no_mistake():
    with minidl.debug():
        steps(network(), count=6)
        steps(network(seed=5), count=6, backward_each=3)
        model = network(seed=9)
        for p in model.parameters():  # gradients may be cleared by hand, to zeros
            p.grad = np.zeros(p.shape)
        for _ in range(2):
            cross_entropy(model(X), Y).backward()
            for p in model.parameters():
                p.data -= 0.1 * p.grad
                p.grad = np.zeros(p.shape)


def test_a_loss_that_does_not_fall_at_a_tiny_rate_falls_at_a_sound_one():
    stuck, learned = steps(network(), 40, lr=1e-5), steps(network(), 40, lr=1.0)
    assert stuck[-1] > 0.99 * stuck[0]
    assert learned[-1] < 0.7 * learned[0]


def test_backward_twice_says_to_compute_anew_or_to_retain():
    loss = cross_entropy(network()(X), Y)
    loss.backward()
    with pytest.raises(RuntimeError, match="compute the result anew, or keep the graph with"):
        loss.backward()


def test_an_array_modified_in_place_gives_wrong_gradients_and_debug_mode_raises_in_backward():
    a = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    b = a**2
    a.data[0] = 100
    b.sum().backward()
    assert a.grad[0] == 200  # the symptom: 2 would be right
    with pytest.raises(ValueError, match=r"needed by the backward pass of np\.square"):
        with minidl.debug():
            b = a**2
            a.data[0] = 1
            b.sum().backward()
    with pytest.raises(TypeError, match="does not change in place"):
        b[0] = 1


def test_a_step_on_the_name_of_a_parameter_is_named_at_once_or_at_the_next_backward():
    w = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    (w * w).sum().backward()
    with minidl.no_grad():
        with pytest.raises(TypeError, match=r"write `w\.data -= \.\.\.`"):
            w -= 0.1 * w.grad
        w = w - 0.1 * w.grad
    with pytest.raises(RuntimeError, match=r"write w\.data -= step"):
        (w * w).sum().backward()
    w = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    for _ in range(2):  # the cure
        w.grad = None
        (w * w).sum().backward()
        w.data -= 0.1 * w.grad
    np.testing.assert_allclose(w.data, [0.64, 1.28])


def test_a_tensor_in_a_function_that_knows_no_gradients_is_refused():
    x = Tensor(2.0, requires_grad=True)
    a, total = np.zeros(1), 0.0
    for slip in (lambda: x * math.exp(x), lambda: np.float64(x), lambda: total + float(x)):
        with pytest.raises(TypeError, match="unasked, since its gradient would be lost"):
            slip()
    with pytest.raises(ValueError) as caught:
        a[0] = x
    assert "unasked" in str(caught.value.__cause__)
    (x * np.exp(x)).backward()
    assert x.grad == pytest.approx(3 * math.exp(2.0))  # 22.17, and not 7.39
    total += x.item()
    assert total == 2


def test_an_epoch_used_twice_raises_and_the_loader_itself_does_not():
    loader = data.DataLoader(X, Y, batch_size=32)
    batches = iter(loader)
    assert len([None for _ in batches]) == 2
    with pytest.raises(RuntimeError, match="loop over the loader itself"):
        for _ in batches:
            pass
    with pytest.raises(StopIteration):
        next(batches)
    assert [len(list(loader)) for _ in range(3)] == [2, 2, 2]


def test_an_epoch_that_was_left_half_way_may_be_gone_on_with():
    batches = iter(data.DataLoader(X, batch_size=16))
    for _ in batches:
        break
    assert len(list(batches)) == 3


def test_generators_in_place_of_data_or_parameters_are_named():
    model = network()
    with pytest.raises(TypeError, match="got generator"):
        minidl.fit(
            model,
            cross_entropy,
            optim.SGD(model.parameters(), lr=0.1),
            ((a, b) for a, b in [(X, Y)]),
        )
    params = (p for p in model.parameters())
    optim.SGD(params, lr=0.1)
    with pytest.raises(ValueError, match="an iterator can be used only once"):
        optim.SGD(params, lr=0.1)


def test_eval_mode_forgotten_shows_in_predictions_that_change_and_predict_sets_it():
    model = nn.Sequential(nn.Linear(6, 8, rng=0), nn.BatchNorm(8), nn.Dropout(0.5, rng=0))
    assert model.training
    assert not np.array_equal(model(X).data, model(X).data)
    assert not np.allclose(model(X).data[:2], model(X[:2]).data)
    np.testing.assert_array_equal(minidl.predict(model, X), minidl.predict(model, X))
    model.eval()
    np.testing.assert_allclose(model(X).data[:2], model(X[:2]).data, rtol=1e-6)


def test_a_batch_of_one_in_batch_norm_is_refused_with_both_remedies():
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm(8))
    with pytest.raises(ValueError, match=r"(?s)has 1: .*drop_last=True.*eval\(\).*in 1 \(BatchN"):
        model(X[:1])
    model.eval()(X[:1])


# --- In the optimizer -----------------------------------------------------------------------------


def test_a_learning_rate_too_high_is_named_with_step_rule_and_the_loss_before():
    model = nn.Sequential(*[nn.Linear(6, 6, rng=i) for i in range(4)])
    before = model.state_dict()
    with pytest.raises(FloatingPointError) as caught:
        fit(model, X, X, loss=nn.MSELoss(), lr=1e6, epochs=5)
    message = str(caught.value)
    assert re.search(r"the loss is (inf|nan) in step \d of 2 in epoch \d, in the step bef", message)
    assert "with SGD, lr=1e+06" in message
    assert "a lower learning rate" in message
    assert all(np.isfinite(value).all() for value in model.state_dict().values())
    assert any((before[name] != value).any() for name, value in model.state_dict().items())


def test_parameters_that_no_optimizer_holds_are_named():
    model = network()
    optimizer = optim.SGD(model[2].parameters(), lr=0.1)
    with pytest.warns(RuntimeWarning, match=r"SGD does not hold 0\.weight, 0\.bias"):
        minidl.fit(model, cross_entropy, optimizer, (X, Y), epochs=1, progress=False)


def test_an_optimizer_made_before_the_model_was_rebuilt_is_found_by_fit_and_by_step():
    optimizer = optim.SGD(network().parameters(), lr=0.1)
    model = network()
    with pytest.raises(ValueError, match=r"before the model was rebuilt\? Make it anew as SGD\("):
        minidl.fit(model, cross_entropy, optimizer, (X, Y), progress=False)
    cross_entropy(model(X), Y).backward()
    with pytest.warns(RuntimeWarning, match="moved nothing.*made before its model was rebuilt"):
        optimizer.step()


# --- In the model ---------------------------------------------------------------------------------


def test_weights_that_are_all_zero_learn_nothing_but_the_last_bias_and_debug_mode_says_so():
    model = nn.Sequential(nn.Linear(6, 16, init="zeros"), nn.ReLU(), nn.Linear(16, 3, init="zeros"))
    with pytest.warns(
        RuntimeWarning, match=r"exactly zero everywhere for 0\.weight, 0\.bias, 2\.we"
    ):
        with minidl.debug():
            steps(model)
    assert (model[0].weight.data == 0).all()
    assert (model[2].bias.data != 0).any()


def test_dead_relus_can_be_counted_and_a_dead_layer_is_named():
    model = network()
    model[0].bias.data[:4] = -100
    assert (model[:2](X).data == 0).all(axis=0).sum() == 4
    model[0].bias.data[:] = -100
    with pytest.warns(RuntimeWarning, match=r"zero everywhere for 0\.weight, .*: dead ReLUs"):
        with minidl.debug():
            steps(model, 1)


class Softmax(nn.Module):
    def forward(self, x):
        return functional.softmax(x, axis=1)


@pytest.mark.parametrize("loss", [cross_entropy, functional.cross_entropy])
def test_softmax_before_cross_entropy_is_told_once_in_the_first_step_of_fit(loss):
    model = network(Softmax())
    with pytest.warns(RuntimeWarning, match="sum to 1 over the classes") as caught:
        fit(model, loss=loss, epochs=3)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_softmax_before_cross_entropy_is_told_in_debug_mode():
    with pytest.warns(RuntimeWarning, match="leave it out of the model and give the logits"):
        with minidl.debug():
            steps(network(Softmax()))


def test_debug_tells_all_that_it_saw_in_one_block():
    model = network(Softmax())
    model[1].unused = nn.Linear(2, 2, rng=0)
    model[1].wide = nn.Parameter(np.ones(1), dtype=np.float64)
    with pytest.warns(RuntimeWarning) as caught:
        with minidl.debug():
            steps(model, zero_grad=False)
    texts = " ".join(str(warning.message) for warning in caught)
    for part in (
        "sum to 1 over the classes",
        "no gradient arrived at 1.unused.weight, 1.unused.bias, 1.wide",
        "added to old ones",
        "float64 among parameters of float32: 1.wide",
    ):
        assert part in texts
    assert len(caught) == 4


def test_debug_says_nothing_of_gradients_where_there_was_no_backward_pass():
    with minidl.debug():
        network()(X)


def test_logits_and_other_losses_give_no_warning_of_a_softmax():
    fit(network())
    fit(network(Softmax()), y=data.one_hot(Y), loss=nn.MSELoss())  # a softmax belongs there
    with minidl.debug():
        steps(network())
        cross_entropy(np.abs(X[:, :3]), Y)


def test_images_that_are_not_flattened_are_refused_with_the_layer_and_the_remedy():
    with pytest.raises(ValueError, match=r"(?s)nn\.Flatten\(\) or reshape.*in 0 \(Linear\)"):
        network()(np.zeros((5, 2, 3), np.float32))
    assert nn.Sequential(nn.Flatten(), *network())(np.zeros((5, 2, 3))).shape == (5, 3)


# --- In the data ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_in_the_data_is_named_by_row_and_column_before_training_begins(bad):
    spoiled = X.copy()
    spoiled[7, 2] = bad
    calls = []

    def loss(z, y):
        calls.append(1)
        return cross_entropy(z, y)

    with pytest.raises(ValueError, match=rf"row 7, column 2 \(counted from 0\) is {bad}, 1 such"):
        fit(network(), x=spoiled, loss=loss)
    with pytest.raises(ValueError, match="row 7, column 2"):
        data.Standardize().fit(spoiled)
    assert not calls


def test_unscaled_features_start_far_above_guessing_and_standardized_ones_do_not():
    raw = X * np.array([1, 1000, 1, 1000, 1, 1000])
    guessing = math.log(3)
    assert cross_entropy(network()(raw), Y).item() > 20 * guessing
    assert cross_entropy(network()(data.Standardize().fit_transform(raw)), Y).item() < 3 * guessing


def test_labels_that_count_from_one_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"target 3 is out of range.*count from 1, subtract 1"):
        fit(network(), y=Y + 1)


def test_one_hot_labels_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"these look one-hot, .* target\.argmax\(axis=1\)"):
        fit(network(), y=data.one_hot(Y))


@pytest.mark.parametrize(
    "loss", [nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(), nn.BCEWithLogitsLoss()]
)
def test_a_column_against_a_vector_is_refused(loss):
    with pytest.raises(ValueError, match=r"\(\d+, 1\) and targets \(\d+,\): they must be equal"):
        fit(nn.Linear(6, 1), y=(Y > 0).astype(np.float32), loss=loss)


def test_integers_are_taken_as_numbers_by_layers_and_refused_where_they_would_be_rounded():
    pixels = (20 * np.abs(X)).astype(np.uint8)
    model = network()
    np.testing.assert_array_equal(model(pixels).data, model(pixels.astype(np.float32)).data)
    fit(model, x=pixels, lr=0.001)
    with pytest.raises(TypeError, match=r"not uint8: convert with astype\(np\.float32\)"):
        Tensor(pixels, requires_grad=True)
    with pytest.raises(TypeError, match=r"must be integers, not float32: convert with astype"):
        fit(model, y=Y.astype(np.float32))


def test_float64_data_stay_outside_the_layers_and_a_float64_parameter_is_named():
    model = network()
    assert model(X.astype(np.float64)).dtype == np.float32
    assert next(iter(data.DataLoader(X.astype(np.float64))))[0].dtype == np.float32

    class Scaled(nn.Module):
        def __init__(self):
            self.scale = nn.Parameter(np.ones(6))
            self.inner = network()

        def forward(self, x):
            return self.inner(x * self.scale)

    assert Scaled()(X).dtype == np.float64
    with pytest.warns(RuntimeWarning, match=r"float64 among parameters of float32: scale\. All"):
        with minidl.debug():
            steps(Scaled(), 1)


def test_a_model_of_float64_on_purpose_is_no_mistake():
    with minidl.debug():
        model = nn.Sequential(nn.Linear(6, 3, rng=0, dtype=np.float64))
        steps(model)


def test_an_empty_loader_is_refused_when_it_is_made():
    with pytest.raises(ValueError, match="an empty data set: every array has 0 samples"):
        data.DataLoader(X[:0], Y[:0])
    with pytest.raises(ValueError, match="an empty data set"):
        fit(network(), X[:0], Y[:0])


def test_a_batch_size_above_the_samples_with_drop_last_is_refused():
    with pytest.raises(ValueError, match=r"no batch would ever come: batch_size=65 .* 64 samples"):
        data.DataLoader(X, Y, batch_size=65, drop_last=True)
    assert len(data.DataLoader(X, Y, batch_size=64, drop_last=True)) == 1
