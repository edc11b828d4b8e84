"""Debug mode: the first NaN, writes into what is needed, and what got no gradient."""

import threading

import numpy as np
import pytest

import minidl
from minidl import Tensor, functional, nn


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
    for part in ("np.log makes -inf", "(1,)", "test_debugging.py", "z = np.log(y)  # the culprit"):
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
    assert "in 1.1 (Log)" in str(error.value)


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


# --- Locks ----------------------------------------------------------------------------------------


def test_writing_into_what_backward_needs_raises_at_the_write_and_names_the_operation():
    x = leaf(1.0, 2.0)
    with pytest.raises(ValueError, match=r"needed by the backward pass of np\.square.*y = x\*\*2"):
        with minidl.debug():
            y = x**2
            x.data[0] = 5
            y.sum().backward()
    x.data[0] = 5  # free again


def test_after_backward_and_after_the_block_arrays_are_writable_again():
    x = leaf(1.0, 2.0)
    with minidl.debug():
        (x**2).sum().backward()
        x.data[0] = 5
        y = np.exp(x)
    x.data[0] = 6
    y.data[0] = 7


def test_a_read_only_array_of_the_users_stays_read_only():
    a = np.array([1.0, 2.0])
    a.flags.writeable = False
    with minidl.debug():
        (leaf(1.0, 2.0) * a).sum().backward()
    assert not a.flags.writeable


def test_other_errors_pass_through():
    with pytest.raises(ValueError, match="mine"), minidl.debug():
        raise ValueError("mine")
    with pytest.raises(ValueError, match="read-only"), minidl.debug():
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
    with pytest.warns(RuntimeWarning, match=r"no gradient arrived at unused\.weight, unused\.bias"):
        with minidl.debug():
            model(np.ones((3, 2), np.float32)).sum().backward()


def test_gradients_that_are_exactly_zero_are_reported():
    model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.ReLU(), nn.Linear(3, 1, rng=1))
    model[0].bias.data[:] = -100  # dead
    with pytest.warns(RuntimeWarning, match=r"exactly zero everywhere for 0\.weight, 0\.bias"):
        with minidl.debug():
            model(np.ones((3, 2), np.float32)).sum().backward()


def test_frozen_parameters_are_not_reported():
    model = nn.Sequential(nn.Linear(2, 2, rng=0), nn.Linear(2, 1, rng=1))
    model[0].weight.requires_grad = False
    with minidl.debug():
        model(np.ones((3, 2), np.float32)).sum().backward()


# --- Outside debug mode: the module's path in ordinary errors -------------------------------------


def test_errors_inside_a_model_name_the_module_by_its_path():
    class Block(nn.Module):
        def __init__(self):
            self.linear1 = nn.Linear(3, 3)

        def forward(self, x):
            return self.linear1(x)

    model = nn.Sequential(nn.Flatten(), nn.ReLU(), Block())
    with pytest.raises(ValueError, match=r"in 2\.linear1 \(Linear\)"):
        model(np.ones((2, 4), np.float32))
    with pytest.raises(ValueError, match=r"in Linear$"):
        nn.Linear(3, 3)(np.ones((2, 4)))


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

    with pytest.raises(RuntimeError, match=r"oops\n  in steps\.1 \(Fails\)"):
        Many(RuntimeError("oops"))(Tensor([1.0]))
    with pytest.raises(KeyError) as error:
        Many(KeyError("key"))(Tensor([1.0]))
    assert error.value.args == ("key",)
    assert error.value.__notes__ == ["in steps.1 (Fails)"]


def test_the_functions_still_work_without_modules():
    with pytest.raises(ValueError, match="linear: x of shape"):
        functional.linear(np.ones((2, 3)), Tensor(np.ones((2, 2))))


def test_an_array_that_two_operations_keep_stays_locked_until_both_are_through():
    x = Tensor(np.ones(3), requires_grad=True)
    w = np.full(3, 2.0)
    with minidl.debug():
        first, second = (x * w).sum(), (x * w).sum()
        first.backward()
        assert not w.flags.writeable
        second.backward()
        assert w.flags.writeable


def test_what_happens_after_a_module_is_not_said_to_happen_in_it():
    x = Tensor(np.zeros(3, np.float32), requires_grad=True)
    with minidl.debug(), pytest.raises(FloatingPointError) as error:
        y = nn.ReLU()(x)
        np.log(y)
    assert "ReLU" not in str(error.value)
