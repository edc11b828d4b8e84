"""DataLoader: what a batch is, how epochs are shuffled, how a stopped run goes on."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable

import numpy as np
import pytest

from minidl.data import (
    DataLoader,
)
from minidl.rng import seed

Batches = list[tuple[np.ndarray, ...]]


def same(a: Batches, b: Batches) -> bool:
    """Whether two lists of batches are equal in every array, dtype and bit."""
    return len(a) == len(b) and all(
        len(p) == len(q)
        and all(
            s.dtype == t.dtype and s.tobytes() == t.tobytes() for s, t in zip(p, q, strict=True)
        )
        for p, q in zip(a, b, strict=True)
    )


def shuffled(n: int = 10, rng: int | np.random.Generator | None = 0) -> DataLoader:
    return DataLoader(np.arange(n), batch_size=3, shuffle=True, rng=rng)


# --- What a batch is ------------------------------------------------------------------------------


def test_batches_keep_the_order_and_the_last_is_shorter() -> None:
    x, y = np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10)
    batches = list(DataLoader(x, y, batch_size=4))
    assert [xb.shape for xb, _ in batches] == [(4, 2), (4, 2), (2, 2)]
    np.testing.assert_array_equal(np.concatenate([xb for xb, _ in batches]), x)
    np.testing.assert_array_equal(np.concatenate([yb for _, yb in batches]), y)


def test_one_array_gives_tuples_of_one() -> None:
    assert [type(batch) for batch in DataLoader([1, 2, 3])] == [tuple]
    ((x,),) = DataLoader([1, 2, 3])
    assert x.tolist() == [1, 2, 3]


def test_any_number_of_arrays_of_any_shape_are_cut_alike() -> None:
    n = 7
    arrays = [np.arange(n), np.arange(n * 6).reshape(n, 2, 3), np.arange(n) % 2 == 0, [[0.0]] * n]
    for a, b, c, d in DataLoader(*arrays, batch_size=3, shuffle=True, rng=1):
        assert b.shape == (len(a), 2, 3)
        assert d.shape == (len(a), 1)
        np.testing.assert_array_equal(b[:, 0, 0], a * 6)
        np.testing.assert_array_equal(c, a % 2 == 0)


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_len_is_the_number_of_batches(n: int, drop_last: bool, shuffle: bool) -> None:
    if drop_last and n < 3:
        return
    loader = DataLoader(np.arange(n), batch_size=3, shuffle=shuffle, drop_last=drop_last, rng=0)
    sizes = [len(x) for (x,) in loader]
    assert len(loader) == len(sizes)
    assert sizes == [3] * (n // 3) + ([n % 3] if n % 3 and not drop_last else [])


def test_every_sample_comes_once_per_epoch() -> None:
    loader = shuffled(100)
    for _ in range(3):
        assert sorted(np.concatenate([x for (x,) in loader])) == list(range(100))


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_may_be_overwritten_without_harm(shuffle: bool) -> None:
    x = np.ones((6, 2), dtype=np.float32)
    for batch_size in (2, 6):
        for (batch,) in DataLoader(x, batch_size=batch_size, shuffle=shuffle, rng=0):
            assert batch.flags.writeable
            batch *= 0
    assert (x == 1).all()


# --- Dtypes ---------------------------------------------------------------------------------------


def test_real_numbers_come_as_float32_and_everything_else_as_it_is() -> None:
    arrays = [np.arange(4).astype(t) for t in ("f2", "f4", "f8", "g", "i1", "u8", "i4", "?")]
    (batch,) = DataLoader(*arrays)
    assert [a.dtype.name for a in batch] == ["float32"] * 4 + ["int8", "uint64", "int32", "bool"]


def test_dtype_none_keeps_and_another_dtype_converts() -> None:
    x = np.array([0.1, 0.2])
    ((kept,),) = DataLoader(x, dtype=None)
    ((half,),) = DataLoader(x, dtype="float16")
    assert kept.dtype == np.float64
    assert half.dtype == np.float16
    np.testing.assert_array_equal(kept, x)
    ((narrow,),) = DataLoader(half, dtype=None)
    ((swapped,),) = DataLoader(x.astype(">f8"), dtype=None)
    assert narrow.dtype == np.float16
    assert (swapped.dtype, swapped.dtype.isnative) == (np.float64, True)


@pytest.mark.parametrize("shuffle", [False, True])
def test_layout_and_byte_order_do_not_matter(shuffle: bool) -> None:
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)

    def strange() -> list[np.ndarray]:
        read_only = x.copy()
        read_only.flags.writeable = False
        packed = np.zeros(6, dtype=[("pad", "i1"), ("x", "f4", (4,))])
        packed["x"] = x
        return [np.asfortranarray(x), x[::-1][::-1], x.astype(">f4"), read_only, packed["x"]]

    plain = list(DataLoader(x, batch_size=4, shuffle=shuffle, rng=3))
    for array in strange():
        loader = DataLoader(array, batch_size=4, shuffle=shuffle, rng=3)
        assert same(list(loader), plain)
        assert loader.arrays[0].flags.c_contiguous
    ((labels,),) = DataLoader(np.arange(3, dtype=">i8"))
    assert labels.dtype.isnative


def test_an_array_that_is_right_is_not_copied() -> None:
    x = np.ones((3, 2), dtype=np.float32)
    assert np.shares_memory(DataLoader(x).arrays[0], x)


# --- Shuffling ------------------------------------------------------------------------------------


def test_each_epoch_has_a_new_order_and_a_seed_repeats_them() -> None:
    loader, again, other = shuffled(50), shuffled(50), shuffled(50, rng=1)
    epochs = [list(loader) for _ in range(3)]
    assert all(same(epoch, list(again)) for epoch in epochs)
    assert not same(epochs[0], epochs[1])
    assert not same(epochs[1], epochs[2])
    assert not same(epochs[0], list(other))


def test_the_order_is_the_documented_one() -> None:
    s = int(np.random.default_rng(5).integers(2**53))
    for rng in (5, np.random.default_rng(5)):
        loader = shuffled(10, rng)
        for epoch in range(3):
            expected = np.random.default_rng((s, epoch)).permutation(10)
            np.testing.assert_array_equal(np.concatenate([x for (x,) in loader]), expected)


def test_minidl_seed_decides_the_order_when_there_is_no_rng() -> None:
    seed(3)
    first = list(shuffled(rng=None))
    seed(3)
    assert same(first, list(shuffled(rng=None)))
    assert not same(first, list(shuffled(rng=None)))


def test_the_order_does_not_depend_on_who_else_uses_the_generator() -> None:
    shared = np.random.default_rng(0)
    loader, alone = shuffled(rng=shared), shuffled(rng=np.random.default_rng(0))
    for _ in range(2):
        assert same(list(loader), list(alone))
        shared.random(7)


def test_a_loader_in_order_draws_nothing() -> None:
    source = np.random.default_rng(0)
    list(DataLoader(np.arange(5), rng=source))
    assert source.random() == np.random.default_rng(0).random()


def test_nested_loops_are_independent() -> None:
    loader, reference = shuffled(7), shuffled(7)
    epochs = [list(reference) for _ in range(4)]  # the outer loop's, then one per outer batch
    outer: Batches = []
    for i, batch in enumerate(loader):
        outer.append(batch)
        assert same(list(loader), epochs[i + 1])
    assert same(outer, epochs[0])


def test_an_epoch_that_is_over_is_not_looped_over_again_and_moves_nothing() -> None:
    loader = shuffled()
    over = iter(loader)
    assert len(list(over)) == 4
    with pytest.raises(RuntimeError, match=r"this epoch is over.*loop over the loader itself"):
        list(over)
    next(iter(loader))
    place = loader.state_dict()
    assert next(over, None) is None
    assert loader.state_dict() == place


def test_copies_and_pickles_go_their_own_way() -> None:
    loader = shuffled()
    list(loader)
    twins = [copy.deepcopy(loader), pickle.loads(pickle.dumps(loader))]
    expected = list(loader)
    assert all(same(list(twin), expected) for twin in twins)


def test_repr_tells_samples_and_batches() -> None:
    assert repr(shuffled(10)) == (
        "DataLoader(10 samples in 4 batches of 3, shuffle=True, drop_last=False)"
    )


# --- What it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DataLoader(), TypeError, "at least one array"),
        (lambda: DataLoader([1, 2], [1, 2, 3]), ValueError, "array 0 has 2, array 1 has 3"),
        (lambda: DataLoader([1, 2], 64), ValueError, r"array 1 is the single value 64.*by name"),
        (lambda: DataLoader(np.arange(2), np.arange(3)), ValueError, "0 has 2, array 1 has 3"),
        (lambda: DataLoader(np.array(64)), ValueError, r"array 0 is the single value 64"),
        (lambda: DataLoader(np.arange(0)), ValueError, "empty data set"),
        (lambda: DataLoader([]), ValueError, "empty data set"),
        (lambda: DataLoader(np.zeros((0, 3)), []), ValueError, "empty data set"),
        (lambda: DataLoader([1, None]), TypeError, "array 0 holds Python objects"),
        (lambda: DataLoader({1, 2}), TypeError, "Python objects \\(set"),
        (lambda: DataLoader([[1], [2, 3]]), ValueError, "array 0 is no array, its rows differ"),
        (lambda: DataLoader(["a", "b"]), TypeError, r"<U1.*np.unique"),
        (lambda: DataLoader([1j]), TypeError, "complex128"),
        (lambda: DataLoader(np.array([1j]), dtype=None), TypeError, "complex128"),
        (
            lambda: DataLoader(np.array(["a"]), dtype=None, check_finite=False),
            TypeError,
            r"<U1.*np.unique",
        ),
        (lambda: DataLoader(np.ma.array([1, 2])), TypeError, "masked array.*filled"),
        (lambda: DataLoader([1], batch_size=0), ValueError, "batch_size is .* at least 1, got 0"),
        (lambda: DataLoader([1], batch_size=2.0), TypeError, "batch_size is a whole number"),
        (lambda: DataLoader([1], batch_size=True), TypeError, "batch_size is a whole number"),
        (lambda: DataLoader([1], dtype=int), TypeError, "floating dtype or None"),
        (
            lambda: DataLoader([1], rng="0"),
            TypeError,
            r"a seed \(.*default_rng.* is a whole number, got '0'",
        ),
        (
            lambda: DataLoader([1, 2], batch_size=3, drop_last=True),
            ValueError,
            "no batch would ever come: batch_size=3 is more than the 2 samples",
        ),
    ],
)
def test_loader_refuses(make: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_loader_names_row_and_column_of_what_is_not_finite(value: float, dtype: str) -> None:
    x = np.zeros((4, 3), dtype=dtype)
    x[2, 1] = x[3, 0] = value
    with pytest.raises(ValueError, match=rf"array 1.*row 2, column 1 .* is {value}, 2 such in all"):
        DataLoader([0, 1, 2, 3], x)
    with pytest.raises(ValueError, match=rf"array 1.*row 2, column 1 .* is {value}, 2 such in all"):
        DataLoader(np.arange(4), x, dtype=None)
    ((passed,),) = DataLoader(x, check_finite=False)
    np.testing.assert_array_equal(passed, x)


def test_loader_refuses_a_number_that_float32_cannot_hold() -> None:
    with pytest.raises(ValueError, match=r"row 1 .* is 1e\+300, too large for float32"):
        DataLoader([0.0, 1e300])
    ((x,),) = DataLoader([0.0, 1e300], dtype=None)
    assert x[1] == 1e300


# --- Going on where it was ------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("delivered", range(9))  # 4 batches in an epoch
def test_a_loaded_state_goes_on_bitwise(shuffle: bool, delivered: int) -> None:
    x = np.random.default_rng(0).normal(size=(10, 2))
    saved = DataLoader(x, np.arange(10), batch_size=3, shuffle=shuffle, rng=4)
    batches = iter(saved)
    for _ in range(delivered):
        if next(batches, None) is None:
            batches = iter(saved)
            next(batches)
    state = json.loads(json.dumps(saved.state_dict()))

    fresh = DataLoader(x, np.arange(10), batch_size=5, drop_last=True, rng=99)
    fresh.load_state_dict(state)
    assert fresh.state_dict() == state
    assert same(list(fresh), list(batches))  # the rest of this epoch
    for _ in range(3):
        assert same(list(fresh), list(saved))
    assert (fresh.batch_size, fresh.shuffle, fresh.drop_last) == (3, shuffle, False)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("n", [1, 3, 5, 6, 7])  # one batch that is full, two, and what lies between
def test_a_state_of_full_batches_goes_on_too(n: int, shuffle: bool, drop_last: bool) -> None:
    x = np.arange(n, dtype=np.float32) / 7
    for size in sorted({1, n // 2 or 1, n}):
        make = DataLoader(x, batch_size=size, shuffle=shuffle, drop_last=drop_last, rng=4)
        assert len(make) == (n // size if drop_last else -(-n // size))
        for delivered in range(len(make) + 1):
            saved, fresh = copy.deepcopy(make), DataLoader(x, batch_size=n + 1, rng=9)
            batches = iter(saved)
            assert len([next(batches) for _ in range(delivered)]) == delivered
            state = json.loads(json.dumps(saved.state_dict()))
            fresh.load_state_dict(state)
            assert fresh.state_dict() == state
            assert len(fresh) == len(saved)
            rest = list(fresh)
            assert len(rest) == len(make) - delivered
            assert same(rest, list(batches))
            assert fresh.state_dict() == saved.state_dict()
            assert same(list(fresh), list(saved))


def test_a_full_batch_is_the_array_itself_in_float32() -> None:
    x = np.random.default_rng(0).normal(size=(5, 3))
    ((batch,),) = DataLoader(x, batch_size=5, drop_last=True)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, x.astype(np.float32))
    ((batch,),) = DataLoader(x, batch_size=5, drop_last=True, shuffle=True, rng=0)
    np.testing.assert_array_equal(np.sort(batch, axis=0), np.sort(x.astype(np.float32), axis=0))


def test_a_state_saved_between_epochs_begins_a_new_one() -> None:
    saved, fresh = shuffled(), shuffled(rng=1)
    list(saved)
    fresh.load_state_dict(saved.state_dict())
    rest = list(fresh)
    assert len(rest) == 4
    assert same(rest, list(saved))


def test_a_state_saved_at_the_last_batch_has_nothing_left_of_that_epoch() -> None:
    saved, fresh = shuffled(), shuffled(rng=1)
    for _ in saved:
        state = saved.state_dict()
    fresh.load_state_dict(state)
    assert list(fresh) == []
    assert same(list(fresh), list(saved))


def test_a_state_saved_after_an_interruption_goes_on_there() -> None:
    saved, whole, fresh = shuffled(), shuffled(), shuffled(rng=1)

    def interrupted() -> None:
        for i, _ in enumerate(saved):
            if i == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    fresh.load_state_dict(saved.state_dict())
    assert same(list(fresh), list(whole)[2:])
    list(saved)  # the saved loader itself begins its second epoch
    assert same(list(fresh), list(whole))


def test_a_state_saved_in_nested_loops_goes_on_with_the_outer_one() -> None:
    saved, fresh = shuffled(), shuffled(rng=1)
    outer = iter(saved)
    next(outer)
    list(saved)
    next(outer)
    fresh.load_state_dict(saved.state_dict())
    assert same(list(fresh), list(outer))
    assert same(list(fresh), list(saved))


def test_a_run_that_is_stopped_twice_in_an_epoch_goes_on() -> None:
    whole = list(shuffled())
    first, second, third = shuffled(), shuffled(rng=1), shuffled(rng=2)
    next(iter(first))
    second.load_state_dict(first.state_dict())
    next(iter(second))
    third.load_state_dict(second.state_dict())
    assert same(list(third), whole[2:])


def test_loading_twice_and_from_array_scalars_works() -> None:
    saved, fresh = shuffled(), shuffled(rng=1)
    next(iter(saved))
    state = {key: np.asarray(value) for key, value in saved.state_dict().items()}
    fresh.load_state_dict(state)
    first = list(fresh)
    fresh.load_state_dict(state)
    assert len(first) == 3
    assert same(first, list(fresh))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 11}, "over 11 samples, this one has 10"),
        ({"batch": 5}, "no DataLoader can have this state"),
        ({"batch": -1}, "no DataLoader can have this state"),
        ({"batch_size": 0}, "no DataLoader can have this state"),
        ({"batch_size": 11, "drop_last": True, "batch": 0}, "no DataLoader can have this state"),
        ({"epoch": 7}, "no DataLoader can have this state"),
        ({"epoch": 7, "batch": 0}, "no DataLoader can have this state"),
        ({"batch_size": 5, "batch": 3}, "no DataLoader can have this state"),
        ({"epoch": -1}, "no DataLoader can have this state"),
        ({"epoch": 1, "batch": 1}, "no DataLoader can have this state"),  # one that has not begun
        ({"drop_last": True, "batch": 4}, "no DataLoader can have this state"),
        ({"shuffle": 2}, "no DataLoader can have this state"),
        ({"seed": -1}, "no DataLoader can have this state"),
        ({"seed": 0.5}, "the 'seed' of a DataLoader's state is an int"),
        ({"seed": np.array([1])}, "the 'seed' of a DataLoader's state is an int"),
        ({"samples": 10.0}, "the 'samples' of a DataLoader's state is an int"),
        ({"shufle": 1}, r"missing \[\], unexpected \['shufle'\]"),
    ],
)
def test_a_wrong_state_is_refused_and_changes_nothing(change: dict, message: str) -> None:
    loader = shuffled()
    next(iter(loader))
    before = loader.state_dict()
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(before | change)
    assert loader.state_dict() == before
    with pytest.raises(ValueError, match=r"missing \['batch', .*'shuffle'\], unexpected \['x'\]"):
        loader.load_state_dict({"x": 1})
