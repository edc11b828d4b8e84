"""Debug mode: the first NaN, writes into what is needed, and what got no gradient."""

import pickle
import threading
import warnings
import weakref

import numpy as np
import pytest

import minidl
from minidl import Tensor, functional, nn
from minidl.diagnosis.softmax import are_probabilities


def leaf(*values):
    return Tensor(np.array(values, np.float64), requires_grad=True)


# --- NaN and infinity -----------------------------------------------------------------------------


def test_the_first_operation_that_makes_infinity_is_named_with_line_and_element():
    x = leaf(1.0, 0.0, 2.0)
    with pytest.raises(FloatingPointError) as error, minidl.debug():
        y = x * 2
        z = np.log(y)  # the culprit
        z.sum()
    message = str(error.value)
    for part in ("np.log makes -inf", "(1,)", "test_diagnosis.py", "z = np.log(y)  # the culprit"):
        assert part in message


def test_what_was_not_finite_before_is_not_blamed_on_the_operation():
    with minidl.debug():
        y = Tensor(np.array([np.nan, np.inf])) * 2
    assert np.isnan(y.data[0])


def test_a_nan_in_the_backward_pass_is_named_with_the_forward_line():
    x = leaf(4.0, 0.0)
    with pytest.raises(FloatingPointError) as error, minidl.debug():
        y = np.sqrt(x)  # fine forward
        y.sum().backward()
    message = str(error.value)
    for part in ("backward pass of np.sqrt makes inf", "'x' at (1,)", "y = np.sqrt(x)  # fine"):
        assert part in message


def test_the_module_is_named_by_its_path():
    class Log(nn.Module):
        def forward(self, x):
            return np.log(x)

    model = nn.Sequential(nn.Flatten(), nn.Sequential(nn.ReLU(), Log()))
    with pytest.raises(FloatingPointError) as error, minidl.debug():
        model(Tensor([[-1.0]]))
    assert ": return np.log(x) (in 1.1 (Log))" in str(error.value)  # and the line still is
    with pytest.raises(FloatingPointError) as error, minidl.debug():
        Log()(Tensor([-1.0]))
    assert ": return np.log(x) (in Log)" in str(error.value)


def test_outside_the_block_nothing_is_checked():
    with np.errstate(all="ignore"):
        assert np.isinf(np.log(leaf(0.0)).data).all()


def test_only_the_current_thread_is_watched():
    result = []

    def other():
        with np.errstate(all="ignore"):
            result.append(np.log(leaf(0.0)))

    with minidl.debug():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(result) == 1


# --- Writes into what backward needs --------------------------------------------------------------


def test_a_write_into_what_backward_needs_is_named_with_the_operation_and_the_lines_around_it():
    x = leaf(1.0, 2.0)
    with pytest.raises(ValueError, match=r"needed by the backward pass of np\.square") as error:
        with minidl.debug():
            y = x**2
            z = y + 1
            x.data[0] = 5
            total = z.sum()
            total.backward()
    message = str(error.value)
    for part in ("'x'; called in", ": y = x**2)", "between the operation", ": z = y + 1 and"):
        assert part in message
    assert "and the one in" in message
    assert ": total = z.sum(): write into a copy" in message
    assert x.grad is None


def test_a_write_just_before_backward_is_said_to_be_there():
    x = leaf(1.0, 2.0)
    with pytest.raises(ValueError, match=r"between the operation .*sum\(\) and this backward pass"):
        with minidl.debug():
            y = (x**2).sum()
            x.data[0] = 5
            y.backward()


def _index_in_a_tuple():
    index = np.array([0, 1])
    return Tensor(np.ones((2, 2)), True)[(slice(None), index)] * 2, index


def _index_in_a_list():
    index = np.array([0, 1])
    return Tensor(np.ones((2, 2)), True)[index, [1, 0]] * 2, index


def _older_view():
    a = np.array([1.0, 2.0])
    view = a[:1]
    return Tensor(a, True) ** 2, view


def _view_of_a_view():
    a = np.array([[1, 2.0]])
    return Tensor(a, True).T ** 2, a


def _weight_of_the_other_input():
    w = np.array([2.0, 2.0])
    return leaf(1.0, 2.0) * w, w


def _result():
    y = np.exp(leaf(1.0, 2.0))
    return y, y.data


@pytest.mark.parametrize(
    "call",
    [
        _index_in_a_tuple, _index_in_a_list, _older_view, _view_of_a_view,
        _weight_of_the_other_input, _result,
    ],
)  # fmt: skip
def test_a_write_is_noticed_wherever_it_goes(call):
    with minidl.debug():
        y, array = call()
        if array.dtype.kind == "i":
            array[0] = 1 - array[0]
        else:
            array[0] += 1
        with pytest.raises(ValueError, match=r"needed by the backward pass of .*write into a copy"):
            y.sum().backward()
    array[0] += 1  # nothing was locked


def test_an_index_of_take_that_is_overwritten_changes_nothing():
    x, index = leaf(1.0, 2.0, 3.0), np.array([0, 1])
    with minidl.debug():
        y = np.take(x, index)
        index[0] = 2
        y.sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 1, 0])


def test_axes_given_as_a_list_that_is_changed_later_are_noticed():
    x, axes = Tensor(np.ones((2, 3, 4)), requires_grad=True), [2, 0, 1]
    with minidl.debug(), pytest.raises(ValueError, match=r"np\.transpose \(its argument 'axes'"):
        y = x.transpose(axes)
        axes.reverse()
        y.sum().backward()


def test_a_product_with_its_own_transpose_works_inside():
    w = Tensor(np.eye(3), requires_grad=True)
    with minidl.debug():
        ((w.T @ w) ** 2).sum().backward()
    np.testing.assert_array_equal(w.grad, 4 * np.eye(3))
    w.data[0] = 1  # writable, as before
    assert w.data.flags.writeable


def test_writes_that_no_backward_pass_minds_are_no_mistake():
    x, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with minidl.debug():
        y = x * 2 + b
        b.data[0] = 7  # a sum needs no values
        x.data[0] = 7  # and a product with a constant not this one
        y.sum().backward()
        abandoned = x**2
        x.data[0] = 8
        (b**2).sum().backward()
        b.data[1] = 0  # after backward
        np.exp(abandoned.data)
    np.testing.assert_array_equal(x.grad, [2, 2])
    np.testing.assert_array_equal(b.grad, [1 + 14, 1 + 8])


def test_only_what_the_wanted_gradients_need_counts():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    with minidl.debug():
        y = (a * b).sum()
        b.data[0] = 7
        np.testing.assert_array_equal(minidl.grad(y, b, retain_graph=True), [1, 2])
        with pytest.raises(ValueError, match=r"np\.multiply \(its argument 'b'"):
            minidl.grad(y, a)


def test_a_value_that_was_put_back_is_no_mistake():
    x = leaf(1.0, 2.0)
    with minidl.debug():
        y = x**2
        x.data[0] += 1
        z = y.sum()
        x.data[0] -= 1
        z.backward()
    np.testing.assert_array_equal(x.grad, [2, 4])


def test_a_second_backward_through_a_kept_graph_is_watched_too():
    x = leaf(1.0, 2.0)
    with minidl.debug():
        y = (x**2).sum()
        y.backward(retain_graph=True)
        y.backward(retain_graph=True)
        x.data -= 0.1  # a step of an optimizer
        with pytest.raises(ValueError, match=r"np\.square"):
            y.backward()


def test_gradients_of_gradients_are_watched_too():
    x = leaf(1.0, 2.0)
    with minidl.debug():
        dx = minidl.grad((x**3).sum(), x, create_graph=True)
        np.testing.assert_array_equal(minidl.grad(dx.sum(), x, retain_graph=True), [6, 12])
        x.data[0] = 5
        with pytest.raises(ValueError, match="needed by the backward pass of"):
            minidl.grad(dx.sum(), x)
    logits, target = Tensor(np.zeros((1, 2)), requires_grad=True), np.array([0])
    with minidl.debug():  # through a definition
        loss = functional.cross_entropy(logits, target)
        target[0] = 1  # of no consequence: the loss has what it needs of it
        dx = minidl.grad(loss, logits, create_graph=True, retain_graph=True)
        np.testing.assert_allclose(dx.data, [[-0.5, 0.5]])
        logits.data[0, 0] = 3
        with pytest.raises(ValueError, match="needed by the backward pass of nll"):
            minidl.grad(loss, logits, create_graph=True)


def test_a_block_in_a_block_knows_what_the_outer_one_saw():
    x = leaf(1.0, 2.0)
    with minidl.debug():
        y = (x**2).sum()
        with minidl.debug(), pytest.raises(ValueError, match=r"np\.square"):
            x.data[0] = 5
            y.backward()
        with minidl.debug():
            z = (x**2).sum()
        x.data[0] = 6
        with pytest.raises(ValueError, match=r"np\.square"):
            z.backward()


def test_a_block_in_a_block_narrows_down_what_is_written_into_what_the_outer_one_saw():
    x, other = leaf(1.0, 2.0), leaf(3.0)
    with minidl.debug():
        y = (x**2).sum()
        with minidl.debug():
            np.exp(other)
            x.data[0] = 5
            np.tanh(other)
            with pytest.raises(ValueError, match=r"between .*np\.exp.* and the one .*np\.tanh"):
                y.backward()


def test_values_that_computed_on_one_array_of_several_operations_are_each_compared():
    x, w = leaf(1.0, 1.0, 1.0), np.full(3, 2.0)
    with minidl.debug():
        first, second = (x * w).sum(), (x * w).sum()
        first.backward()
        w[0] = 3
        with pytest.raises(ValueError, match=r"np\.multiply"):
            second.backward()


def test_a_graph_from_before_the_block_is_walked_and_what_it_makes_is_looked_at():
    x = leaf(1.0, 4.0)
    y, z = (x * np.sqrt(x)).sum(), np.sqrt(x * 0).sum()
    with minidl.debug():
        y.backward()
        np.testing.assert_allclose(x.grad, [1.5, 3])
        with pytest.raises(FloatingPointError, match=r"np\.sqrt was called before the debug block"):
            z.backward()


def test_an_abandoned_graph_is_not_kept_alive():
    x = leaf(1.0, 2.0)
    with minidl.debug():
        data = weakref.ref(np.exp(x).data)  # which the rule of exp needs, so that its node keeps it
        assert data() is None


def test_large_arrays_are_looked_at_in_turn():
    x = Tensor(np.ones(300_000), requires_grad=True)  # more than one look
    with minidl.debug():
        first, second = x**2, x**3
        for _ in range(3):
            last = second + 0
        x.data[-1] = 2
        for _ in range(3):
            last = second + 1
        with pytest.raises(ValueError, match=r"between .*second \+ 0 and the one .*second \+ 1"):
            (first + last).sum().backward()


def test_a_read_only_array_of_the_users_stays_read_only():
    a = np.array([1.0, 2.0])
    a.flags.writeable = False
    with minidl.debug():
        (leaf(1.0, 2.0) * a).sum().backward()
    assert not a.flags.writeable


def test_an_infinite_gradient_that_was_given_is_not_blamed_on_the_operation():
    x = leaf(1.0, 2.0)
    with minidl.debug():
        (x * 2.0).backward(np.array([np.inf, 1.0]))
    np.testing.assert_array_equal(x.grad, [np.inf, 2])


def test_infinity_that_was_given_is_not_blamed_on_the_operation():
    x = leaf(1.0, 2.0)
    with minidl.debug():
        for inf in (np.float32(np.inf), [np.inf, 1.0], np.array(np.inf), float("inf")):
            assert np.isinf((x * inf).data[0])


def test_other_errors_pass_through():
    with pytest.raises(ValueError, match="mine"), minidl.debug():
        raise ValueError("mine")
    with pytest.raises(ValueError, match="read-only"), minidl.debug():
        leaf(1.0) ** 2
        np.broadcast_to(np.zeros(1), (2,))[0] = 1


def test_training_works_inside_and_gives_the_same_numbers():
    def train():
        rng = np.random.default_rng(0)
        model = nn.Sequential(
            nn.Linear(4, 5, rng=0), nn.BatchNorm(5), nn.ReLU(), nn.Linear(5, 3, rng=1)
        )
        optimizer = minidl.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(5):
            x, y = rng.normal(size=(8, 4)).astype(np.float32), rng.integers(0, 3, 8)
            optimizer.zero_grad()
            nn.CrossEntropyLoss()(model(x), y).backward()
            optimizer.step()
        return model.state_dict()

    plain = train()
    with minidl.debug():
        watched = train()
    for name, value in plain.items():
        np.testing.assert_array_equal(value, watched[name])


# --- Parameters without gradients -----------------------------------------------------------------


def test_parameters_that_receive_no_gradient_are_reported():
    class Forgetful(nn.Module):
        def __init__(self):
            self.used, self.unused = nn.Linear(2, 2, rng=0), nn.Linear(2, 2, rng=0)

        def forward(self, x):
            return self.used(x)

    model = Forgetful()
    match = r"no gradient arrived at unused\.weight, unused\.bias: forward"
    with pytest.warns(RuntimeWarning, match=match):
        with minidl.debug():
            model(np.ones((3, 2), np.float32)).sum().backward()


def test_gradients_that_are_exactly_zero_are_reported():
    model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.ReLU(), nn.Linear(3, 1, rng=1))
    model[0].bias.data[:] = -100  # dead
    with pytest.warns(
        RuntimeWarning, match=r"exactly zero everywhere for 0\.weight, 0\.bias, 2\.weight: "
    ):
        with minidl.debug():
            model(np.ones((3, 2), np.float32)).sum().backward()


def test_parameters_that_are_nan_have_not_moved_by_that():
    model = nn.Linear(2, 1, rng=0)
    model.bias.data[:] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with minidl.debug():
            for _ in range(2):  # gradients of two batches, added up
                model(np.ones((3, 2), np.float32)).sum().backward()


def test_frozen_parameters_are_not_reported():
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 1, rng=1))
    model[0].weight.requires_grad = False
    with minidl.debug():
        model(np.ones((3, 2), np.float32)).sum().backward()


# --- Softmax twice -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (np.full((3, 2), 0.5), True),
        (np.full((3, 4, 2), 0.25), True),
        (np.array([[1.0, 0.0]]), True),
        (np.array([[1.005, 0.0]]), True),  # as rounded in float16
        (np.array([[1.5, -0.5]]), False),
        (np.array([[0.5, 0.6]]), False),
        (np.array([[0.5, 0.5], [0.5, 0.6]]), False),
        (np.ones((3, 1)), False),  # one class: no softmax leads to it
        (np.full(2, 0.5), False),
        (np.zeros((0, 2)), False),
        ([[0.5, 0.5]], False),
        (np.full((4, 3), 1 / 3), True),
        (np.eye(3), True),
        (np.full((2, 2, 5), 0.5, np.float16), True),
        (np.zeros((4, 3)), False),
        (np.ones(3) / 3, False),
        (np.full((2, 2), np.nan), False),
        (None, False),
    ],
)
def test_what_counts_as_probabilities(x, expected):
    assert are_probabilities(x) is expected


# --- Outside debug mode: the module's path in ordinary errors -------------------------------------


def test_errors_inside_a_model_name_the_module_by_its_path():
    class Block(nn.Module):
        def __init__(self):
            self.linear1 = nn.Linear(3, 3)

        def forward(self, x):
            return self.linear1(x)

    model = nn.Sequential(nn.Flatten(), nn.ReLU(), Block())
    with pytest.raises(ValueError) as error:
        model(np.ones((2, 4), np.float32))
    assert error.value.__notes__[-1] == "in 2.linear1 (Linear)"
    with pytest.raises(ValueError) as error:
        nn.Linear(3, 3)(np.ones((2, 4)))
    assert error.value.__notes__[-1] == "in Linear"


def test_modules_in_lists_and_errors_of_any_kind_are_named():
    class Fails(nn.Module):
        def __init__(self, error):
            self.error = error

        def forward(self, x):
            raise self.error

    class Many(nn.Module):
        def __init__(self, error):
            self.steps = [nn.ReLU(), Fails(error)]

        def forward(self, x):
            for step in self.steps:
                x = step(x)
            return x

    with pytest.raises(RuntimeError, match="oops") as error:
        Many(RuntimeError("oops"))(Tensor([1.0]))
    assert error.value.__notes__ == ["in steps.1 (Fails)"]
    with pytest.raises(KeyError) as error:
        Many(KeyError("key"))(Tensor([1.0]))
    assert error.value.args == ("key",)
    assert error.value.__notes__ == ["in steps.1 (Fails)"]


def test_an_error_that_names_the_function_gets_no_note_that_names_it_again():
    with pytest.raises(ValueError, match=r"^linear: x of shape") as error:
        functional.linear(np.ones((4, 3)), leaf(1.0, 2.0).reshape(1, 2))
    assert not hasattr(error.value, "__notes__")
    with pytest.raises(ValueError, match="could not be broadcast") as error:
        leaf(1.0, 2.0) + leaf(1.0, 2.0, 3.0)
    (note,) = error.value.__notes__
    assert note.startswith("in np.add (")


def test_the_functions_still_work_without_modules():
    with pytest.raises(ValueError, match="linear: x of shape"):
        functional.linear(np.ones((2, 3)), Tensor(np.ones((2, 2))))


def test_what_happens_after_a_module_is_not_said_to_happen_in_it():
    x = Tensor(np.zeros(3, np.float32), requires_grad=True)
    with minidl.debug(), pytest.raises(FloatingPointError) as error:
        y = nn.ReLU()(x)
        np.log(y)
    assert "ReLU" not in str(error.value)


def test_what_happens_after_a_module_has_failed_is_not_said_to_happen_in_it():
    x = Tensor(np.zeros(3, np.float32), requires_grad=True)
    with minidl.debug():
        with pytest.raises(ValueError, match="linear"):
            nn.Linear(4, 4)(x)
        with pytest.raises(FloatingPointError) as error:
            np.log(x)
    assert "Linear" not in str(error.value)


def test_the_place_of_an_error_survives_what_its_handlers_do_with_it():
    class Calls(nn.Module):
        def __init__(self, clear):
            self.inner, self.clear = nn.Linear(3, 2), clear

        def forward(self, x):
            try:
                return self.inner(x)
            except ValueError as error:
                if self.clear:
                    error.__notes__.clear()
                error.place = "mine"
                raise

    for clear in (False, True):
        with pytest.raises(ValueError, match="3 input features") as caught:
            nn.Sequential(Calls(clear))(np.ones((2, 4), np.float32))
        assert caught.value.__notes__[-1] == "in 0.inner (Linear)"
        assert caught.value.place == "mine"


def test_an_error_in_a_module_does_not_hold_the_model():
    model = nn.Sequential(nn.Linear(300, 300))
    with pytest.raises(ValueError, match="300 input features") as caught:
        model(np.ones((2, 4), np.float32))
    assert len(pickle.dumps(caught.value)) < 2000


def test_a_module_that_calls_itself_is_named_once():
    class Twice(nn.Module):
        def forward(self, x, depth=3):
            if depth:
                return self(x, depth - 1)
            raise ValueError("too deep")

    with pytest.raises(ValueError, match="too deep") as caught:
        Twice()(np.ones(2))
    assert caught.value.__notes__ == ["in Twice"]
