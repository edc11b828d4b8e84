"""What the data package promises: batches, splits, scaling, labels, data sets, the user's CSV."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import minidl.data
from minidl.data import (
    IRIS_CLASSES,
    IRIS_FEATURES,
    DataLoader,
    Standardize,
    Table,
    load_csv,
    load_digits,
    load_iris,
    make_blobs,
    make_moons,
    make_spirals,
    one_hot,
    train_test_split,
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


# DataLoader: what a batch is


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


# DataLoader: dtypes


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


# DataLoader: shuffling


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


# DataLoader: what it refuses


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DataLoader(), TypeError, "at least one array"),
        (lambda: DataLoader([1, 2], [1, 2, 3]), ValueError, "array 0 has 2, array 1 has 3"),
        (lambda: DataLoader([1, 2], 64), ValueError, r"array 1 is the single value 64.*by name"),
        (lambda: DataLoader([]), ValueError, "empty data set"),
        (lambda: DataLoader(np.zeros((0, 3)), []), ValueError, "empty data set"),
        (lambda: DataLoader([1, None]), TypeError, "array 0 holds Python objects"),
        (lambda: DataLoader({1, 2}), TypeError, "Python objects \\(set"),
        (lambda: DataLoader([[1], [2, 3]]), ValueError, "array 0 is no array, its rows differ"),
        (lambda: DataLoader(["a", "b"]), TypeError, r"<U1.*np.unique"),
        (lambda: DataLoader([1j]), TypeError, "complex128"),
        (lambda: DataLoader(np.ma.array([1, 2])), TypeError, "masked array.*filled"),
        (lambda: DataLoader([1], batch_size=0), ValueError, "batch_size is at least 1, got 0"),
        (lambda: DataLoader([1], batch_size=2.0), TypeError, "batch_size is a whole number"),
        (lambda: DataLoader([1], batch_size=True), TypeError, "batch_size is a whole number"),
        (lambda: DataLoader([1], dtype=int), TypeError, "floating dtype or None"),
        (lambda: DataLoader([1], rng="0"), TypeError, "a seed is an int"),
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
    ((passed,),) = DataLoader(x, check_finite=False)
    np.testing.assert_array_equal(passed, x)


def test_loader_refuses_a_number_that_float32_cannot_hold() -> None:
    with pytest.raises(ValueError, match=r"row 1 .* is 1e\+300, too large for float32"):
        DataLoader([0.0, 1e300])
    ((x,),) = DataLoader([0.0, 1e300], dtype=None)
    assert x[1] == 1e300


# DataLoader: going on where it was


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
        ({"epoch": 1, "batch": 1}, "no DataLoader can have this state"),  # one that has not begun
        ({"drop_last": True, "batch": 4}, "no DataLoader can have this state"),
        ({"shuffle": 2}, "no DataLoader can have this state"),
        ({"seed": -1}, "no DataLoader can have this state"),
        ({"seed": 0.5}, "the 'seed' of a DataLoader's state is an int"),
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


# train_test_split


def test_split_parts_are_disjoint_complete_and_aligned() -> None:
    a, b = np.arange(100), np.arange(200).reshape(100, 2)
    train_a, test_a, train_b, test_b = train_test_split(a, b, rng=0)
    assert (len(train_a), len(test_a)) == (80, 20)
    assert sorted([*train_a, *test_a]) == list(range(100))
    np.testing.assert_array_equal(train_b, b[train_a])
    np.testing.assert_array_equal(test_b, b[test_a])
    assert train_a.tolist() != sorted(train_a)


@pytest.mark.parametrize(("size", "expected"), [(0.2, 2), (0.24, 2), (0.26, 3), (1, 1), (9, 9)])
def test_split_size_is_a_rounded_fraction_or_a_count(size: float, expected: int) -> None:
    _, test = train_test_split(np.arange(10), test_size=size, rng=0)
    assert len(test) == expected


def test_split_repeats_by_seed_and_keeps_dtypes_and_strings() -> None:
    x, names = np.arange(10, dtype=np.float16), [f"s{i}" for i in range(10)]
    first = train_test_split(x, names, rng=1)
    assert same([first], [train_test_split(x, names, rng=1)])
    assert not same([first], [train_test_split(x, names, rng=2)])
    assert [part.dtype.str for part in first] == ["<f2", "<f2", "<U2", "<U2"]


def test_split_gives_copies() -> None:
    x = np.zeros(10)
    assert not any(np.shares_memory(part, x) for part in train_test_split(x, rng=0))


@pytest.mark.parametrize("counts", [[50, 50], [90, 10], [10, 9, 81], [33, 34, 33], [7, 5, 3, 2]])
@pytest.mark.parametrize("size", [0.2, 0.5, 0.33])
def test_stratified_split_keeps_each_share_to_within_a_sample(
    counts: list[int], size: float
) -> None:
    n = sum(counts)
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    n_test = round(n * size)
    if n_test < len(counts):
        return
    train, test = train_test_split(y, test_size=size, stratify=y, rng=0)
    in_test = np.bincount(test, minlength=len(counts))
    assert len(test) == n_test
    assert (np.abs(in_test - n_test * np.array(counts) / n) < 1).all()
    assert in_test.min() >= 1
    assert np.bincount(train, minlength=len(counts)).min() >= 1
    assert test.tolist() != sorted(test)


def test_stratified_split_takes_strings_and_any_labels() -> None:
    labels = np.array(["cat", "dog"] * 5)
    _, test = train_test_split(labels, test_size=4, stratify=labels, rng=0)
    assert sorted(test) == ["cat", "cat", "dog", "dog"]


def test_stratified_split_gives_rare_classes_to_both_parts() -> None:
    y = np.repeat([0, 1, 2, 3], [2, 2, 2, 30])
    train, test = train_test_split(y, test_size=4, stratify=y, rng=0)
    assert np.bincount(test).tolist() == [1, 1, 1, 1]
    train, test = train_test_split(y, test_size=32, stratify=y, rng=0)
    assert np.bincount(train).tolist() == [1, 1, 1, 1]


def test_what_rare_classes_need_is_taken_where_it_hurts_least() -> None:
    y = np.repeat([0, 1, 2, 3, 4], [2, 2, 2, 20, 74])  # shares of 10: 0.2, 0.2, 0.2, 2, 7.4
    _, test = train_test_split(y, test_size=10, stratify=y, rng=0)
    assert np.bincount(test).tolist() == [1, 1, 1, 1, 6]


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ([], {}, TypeError, "at least one array"),
        ([[1, 2], [1]], {}, ValueError, "array 0 has 2, array 1 has 1"),
        ([5], {}, ValueError, "array 0 is the single value 5"),
        ([[]], {}, ValueError, "empty data set"),
        ([[1]], {"test_size": 0.5}, ValueError, "leaves the test part empty"),
        ([[1, 2, 3]], {"test_size": 0.1}, ValueError, "puts 0 into the test part"),
        ([[1, 2, 3]], {"test_size": 0.9}, ValueError, "leaves the training part empty"),
        ([[1, 2, 3]], {"test_size": 3}, ValueError, "leaves the training part empty"),
        ([[1, 2, 3]], {"test_size": 0}, ValueError, "at least 1, got 0"),
        ([[1, 2, 3]], {"test_size": 1.0}, ValueError, "between 0 and 1, got 1.0"),
        ([[1, 2, 3]], {"test_size": -0.2}, ValueError, "between 0 and 1, got -0.2"),
        ([[1, 2, 3]], {"test_size": float("nan")}, ValueError, "between 0 and 1, got nan"),
        ([[1, 2, 3]], {"test_size": "a"}, TypeError, "test_size"),
        ([[1, 2, 3]], {"test_size": True}, TypeError, "test_size"),
        ([[1, 2, 3]], {"stratify": [1, 1], "test_size": 1}, ValueError, "one label per sample"),
        ([[1] * 9], {"stratify": [0] * 8 + [7]}, ValueError, "class 7 has one member"),
        ([[1] * 9], {"stratify": [0, 1, 2] * 3, "test_size": 2}, ValueError, "all 3 classes"),
        ([[1] * 9], {"stratify": [0, 1, 2] * 3, "test_size": 7}, ValueError, "all 3 classes"),
    ],
)
def test_split_refuses(arrays: list, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        train_test_split(*arrays, **options)


# Standardize


def test_standardized_features_have_mean_0_and_std_1() -> None:
    x = np.random.default_rng(0).normal(3, 5, size=(200, 4))
    scale = Standardize()
    z = scale.fit_transform(x)
    np.testing.assert_allclose(scale.mean, x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(scale.std, x.std(axis=0), rtol=1e-14)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-14)
    np.testing.assert_allclose(scale.inverse(z), x, rtol=1e-13, atol=1e-13)


def test_new_data_is_scaled_by_the_training_statistics() -> None:
    scale = Standardize().fit([[0.0], [4.0]])
    assert scale.transform([[6.0]]).tolist() == [[2.0]]


@pytest.mark.parametrize("shape", [(6,), (6, 2), (6, 2, 3)])
def test_each_place_beyond_axis_0_is_a_feature(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    scale = Standardize()
    z = scale.fit_transform(x)
    assert z.shape == shape
    assert scale.mean.shape == scale.std.shape == shape[1:]
    np.testing.assert_allclose(z, (x - x.mean(axis=0)) / x.std(axis=0), rtol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        ("f2", "f2"),
        ("f4", "f4"),
        (">f4", "f4"),
        ("f8", "f8"),
        ("u1", "f4"),
        ("i8", "f4"),
        ("?", "f4"),
    ],
)
def test_floating_dtypes_stay_and_others_become_float32(dtype: str, result: str) -> None:
    x = np.array([[0, 1], [1, 0]]).astype(dtype)
    scale = Standardize()
    assert scale.fit_transform(x).dtype == np.dtype(result)
    assert scale.inverse(x).dtype == np.dtype(result)
    assert scale.mean.dtype == scale.std.dtype == np.float64


def test_float32_with_a_large_mean_keeps_its_spread() -> None:
    steps = np.random.default_rng(0).integers(-9, 10, size=(5000, 1)).astype(np.float64)
    x = (1e7 + steps).astype(np.float32)  # each value exact in float32
    scale = Standardize()
    z = scale.fit_transform(x)
    np.testing.assert_allclose(scale.std, steps.std(axis=0), rtol=1e-9)
    np.testing.assert_allclose(z, (steps - steps.mean()) / steps.std(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(scale.inverse(z), x)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1e7 + 0.1, 1e-300, 1e300])
@pytest.mark.parametrize("n", [2, 3, 1000])
def test_constant_features_become_0_and_come_back(value: float, n: int) -> None:
    x = np.full((n, 2), value)
    x[:, 1] = np.arange(n)
    scale = Standardize()
    z = scale.fit_transform(x)
    assert (z[:, 0] == 0).all()
    assert scale.std[0] == 0
    np.testing.assert_array_equal(scale.inverse(z)[:, 0], x[:, 0])
    assert scale.transform([[5.0, 0.0]])[0, 0] == 0


def test_features_that_vary_by_rounding_only_count_as_constant() -> None:
    x = np.array([[0.1 + 0.2], [0.3]] * 10)
    assert x[0] != x[1]
    scale = Standardize()
    assert (scale.fit_transform(x) == 0).all()
    np.testing.assert_allclose(scale.inverse(np.zeros((1, 1))), 0.3)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e-30, 1e30, 1e160, 1e300])
def test_very_small_and_very_large_features_neither_vanish_nor_overflow(size: float) -> None:
    x = size * np.array([[-1.0], [1.0], [-1.0], [1.0]])
    np.testing.assert_allclose(Standardize().fit_transform(x), x / size)


def test_statistics_that_overflow_are_refused() -> None:
    with pytest.raises(ValueError, match="scale x down"):
        Standardize().fit([[-1.7e308], [1.7e308]])


def test_standardize_leaves_its_input_alone() -> None:
    x = np.arange(6.0).reshape(3, 2)
    kept = x.copy()
    scale = Standardize()
    z = scale.fit_transform(x)
    scale.inverse(z)
    np.testing.assert_array_equal(x, kept)
    assert not np.shares_memory(z, x)


@pytest.mark.parametrize(
    "use",
    [
        lambda scale: scale.transform([[1.0]]),
        lambda scale: scale.inverse([[1.0]]),
        lambda scale: scale.state_dict(),
        lambda scale: scale.mean,
        lambda scale: scale.std,
    ],
)
def test_standardize_that_was_not_fitted_says_what_to_do(use: Callable) -> None:
    with pytest.raises(RuntimeError, match=r"call fit\(x_train\) first"):
        use(Standardize())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_standardize_names_row_and_column_of_what_is_not_finite(value: float) -> None:
    x = np.zeros((3, 4), dtype=np.float32)
    x[1, 2] = value
    with pytest.raises(ValueError, match=f"row 1, column 2 .* is {value}"):
        Standardize().fit(x)
    with pytest.raises(ValueError, match=f"row 1, column 2 .* is {value}"):
        Standardize().fit(np.eye(4)).transform(x)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((2, 3)), ValueError, r"samples of shape \(4,\).*got \(2, 3\)"),
        (np.zeros(4), ValueError, r"got \(4,\); one sample alone is x\[None\]"),
        (["a"], TypeError, "expected numbers"),
        (3.0, ValueError, "single value"),
    ],
)
def test_standardize_refuses_other_features(x: object, error: type, message: str) -> None:
    scale = Standardize().fit(np.eye(4))
    for method in (scale.transform, scale.inverse):
        with pytest.raises(error, match=message):
            method(x)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, 1])
def test_standardize_needs_two_samples_to_fit(n: int) -> None:
    with pytest.raises(ValueError, match=f"at least 2 samples, got {n}"):
        Standardize().fit(np.zeros((n, 3)))


def test_standardize_of_no_samples_or_no_features_is_empty() -> None:
    scale = Standardize().fit(np.eye(4))
    assert scale.transform(np.zeros((0, 4))).shape == (0, 4)


def test_standardize_state_goes_over_as_copies() -> None:
    saved, loaded = Standardize().fit(np.eye(3)), Standardize()
    state = saved.state_dict()
    loaded.load_state_dict(state)
    state["mean"][:] = 99
    np.testing.assert_array_equal(loaded.transform(np.eye(3)), saved.transform(np.eye(3)))
    assert repr(loaded) == "Standardize(features of shape (3,))"
    assert repr(Standardize()) == "Standardize(not fitted)"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"mean": [0.0], "sd": [1.0]}, r"missing \['std'\], unexpected \['sd'\]"),
        ({"mean": [0.0], "std": [1.0, 1.0]}, "expected equal shapes"),
        ({"mean": [np.nan], "std": [1.0]}, "finite"),
        ({"mean": [0.0], "std": [-1.0]}, "not negative"),
    ],
)
def test_standardize_refuses_a_wrong_state(state: dict, message: str) -> None:
    scale = Standardize().fit([[1.0], [3.0]])
    with pytest.raises(ValueError, match=message):
        scale.load_state_dict(state)
    assert (scale.mean, scale.std) == (2, 1)


# one_hot


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u8", ">i8"])
def test_one_hot_has_a_single_1_in_each_row(dtype: str) -> None:
    rows = one_hot(np.array([2, 0, 1, 2], dtype=dtype))
    assert rows.dtype == np.float32
    assert rows.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_one_hot_takes_any_shape_more_classes_and_a_dtype() -> None:
    rows = one_hot([[0, 1], [1, 0]], num_classes=4, dtype=np.int64)
    assert rows.shape == (2, 2, 4)
    assert rows.dtype == np.int64
    assert rows.argmax(-1).tolist() == [[0, 1], [1, 0]]
    assert one_hot([], num_classes=3).shape == (0, 3)


@pytest.mark.parametrize(
    ("labels", "classes", "error", "message"),
    [
        ([0.0, 1.0], None, TypeError, "labels are integers, got dtype float64.*astype"),
        ([True, False], None, TypeError, "labels are integers, got dtype bool"),
        (["a"], None, TypeError, "labels are integers"),
        ([0, -1], None, ValueError, "label -1 in row 1 .* expected 0 or more"),
        ([-1], 3, ValueError, r"label -1 in row 0 .* expected 0 to 2 \(num_classes=3\)"),
        ([1, 2, 3], 3, ValueError, "label 3 in row 2 .* expected 0 to 2.*count from 0"),
        ([], None, ValueError, "pass num_classes="),
        ([0], 0, ValueError, "num_classes is at least 1"),
        ([0], 2.0, TypeError, "num_classes is a whole number"),
        (3, None, ValueError, "single value 3"),
    ],
)
def test_one_hot_refuses(labels: object, classes: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        one_hot(labels, classes)  # type: ignore[arg-type]


# The data sets that come along


def test_digits_are_the_uci_test_set() -> None:
    x, y = load_digits()
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((1797, 64), np.float32, (1797,), np.int64)
    assert (x.min(), x.max()) == (0, 16)
    assert (x == np.round(x)).all()
    # the class counts in UCI's own description of the test set
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert x[0, :8].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert x.sum() == 561718


def test_iris_is_fishers() -> None:
    x, y = load_iris()
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((150, 4), np.float32, (150,), np.int64)
    assert np.bincount(y).tolist() == [50, 50, 50]
    # the samples where other copies differ from the paper
    np.testing.assert_allclose(x[34], [4.9, 3.1, 1.5, 0.2], rtol=1e-6)
    np.testing.assert_allclose(x[37], [4.9, 3.6, 1.4, 0.1], rtol=1e-6)
    np.testing.assert_allclose(x.mean(axis=0), [5.843333, 3.057333, 3.758, 1.199333], rtol=1e-6)


def test_iris_names_are_those_of_the_file() -> None:
    path = Path(minidl.data.__file__).parent / "files" / "iris.csv"
    table = load_csv(path, target="species")
    assert table.feature_names == IRIS_FEATURES
    assert table.class_names == IRIS_CLASSES


def test_every_shipped_file_has_its_source_named() -> None:
    folder = Path(minidl.data.__file__).parent / "files"
    text = (folder / "SOURCES.txt").read_text(encoding="utf-8")
    others = sorted(p.name for p in folder.iterdir() if p.name != "SOURCES.txt")
    assert others == ["digits.csv.gz", "iris.csv"]
    assert all(name in text for name in others)
    for fact in ("10.24432/C50P49", "10.24432/C56C76", "CC BY 4.0"):
        assert fact in text


def test_data_sets_are_fresh_on_every_call() -> None:
    for load in (load_digits, load_iris):
        load()[0][:] = -1
        assert (load()[0] >= 0).all()


# load_csv


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a file of the given text."""

    def write(text: str | bytes) -> Path:
        path = tmp_path / "data.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_csv_with_labels(csv_file: Callable[..., Path]) -> None:
    path = csv_file("a,kind,b\n1,dog,2\n3,cat,4.5\n-1e2,dog,6\n")
    table = load_csv(path, "kind")
    assert isinstance(table, Table)
    x, y, features, classes = table
    assert x.tolist() == [[1, 2], [3, 4.5], [-100, 6]]
    assert y.tolist() == [1, 0, 1]
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert (features, classes) == (("a", "b"), ("cat", "dog"))


def test_csv_with_a_number_as_target(csv_file: Callable[..., Path]) -> None:
    table = load_csv(csv_file("a,price\n1,10.5\n2,20\n"), "price", task="regression")
    assert table.y.tolist() == [10.5, 20]
    assert table.y.dtype == np.float32
    assert table.class_names == ()


@pytest.mark.parametrize(
    ("target", "features"), [(0, ("b", "c")), (1, ("a", "c")), (-1, ("a", "b")), ("b", ("a", "c"))]
)
def test_csv_target_by_place_or_name(
    csv_file: Callable[..., Path], target: int | str, features: tuple[str, ...]
) -> None:
    assert load_csv(csv_file("a,b,c\n1,2,3\n4,5,6\n"), target).feature_names == features


@pytest.mark.parametrize(
    "text",
    [
        "a;b;t\n1;2;x\n3;4;y\n",
        "a;b;t\r\n1;2;x\r\n3;4;y",
        "\ufeffa;b;t\n1;2;x\n3;4;y\n",
        '"a";"b";"t"\n"1";"2";"x"\n"3";"4";"y"\n',
        'a; "b"; "t"\n1; "2"; "x"\n3; 4; "y"\n',
        " a ; b;t \n\n 1 ; 2; x\n   \n3;4; y \n\n",
    ],
    ids=[
        "plain",
        "windows",
        "byte order mark",
        "quoted",
        "quoted after a space",
        "spaces and blank lines",
    ],
)
def test_csv_in_every_usual_form(csv_file: Callable[..., Path], text: str) -> None:
    table = load_csv(csv_file(text), "t", ";")
    assert table.x.tolist() == [[1, 2], [3, 4]]
    assert table.y.tolist() == [0, 1]
    assert (table.feature_names, table.class_names) == (("a", "b"), ("x", "y"))


def test_csv_takes_a_path_as_text_and_tabs(csv_file: Callable[..., Path]) -> None:
    path = csv_file("größe\tt\n1\tä\n2\tb\n")
    assert load_csv(str(path), "t", "\t").feature_names == ("größe",)


def test_csv_whole_numbers_as_labels_are_sorted_by_value(csv_file: Callable[..., Path]) -> None:
    table = load_csv(csv_file("a,t\n0,10\n0,9\n0,1\n"), "t")
    assert table.class_names == ("1", "9", "10")
    assert table.y.tolist() == [2, 1, 0]


def test_csv_class_names_fix_the_meaning_of_labels(csv_file: Callable[..., Path]) -> None:
    names = ("x", "y", "z")
    table = load_csv(csv_file("a,t\n0,z\n0,x\n"), "t", class_names=names)
    assert table.y.tolist() == [2, 0]
    assert table.class_names == names
    with pytest.raises(ValueError, match=r"line 2, column 't': the label 'q' is none of.*'x'"):
        load_csv(csv_file("a,t\n0,q\n"), "t", class_names=names)
    with pytest.raises(ValueError, match="a name twice"):
        load_csv(csv_file("a,t\n0,x\n"), "t", class_names=("x", "x"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"data\.csv is empty"),
        ("\n\n", r"data\.csv is empty"),
        ("a,t\n", "a header and no rows"),
        ("a,t\n1,x\ntwo,y\n", r"data\.csv, line 3, column 'a': 'two' is not a number"),
        ("a,t\n1_0,x\n2,y\n", "line 2, column 'a': '1_0' is not a number"),
        ("a,b,t\n1,,x\n2,2,y\n", "line 2, column 'b': no value"),
        ("a,b,t\n1,  ,x\n2,2,y\n", "line 2, column 'b': no value"),
        ("a,t\n1,x\n\nnan,y\n", "line 4, column 'a': nan is not finite"),
        ("a,t\n-inf,x\n2,y\n", "line 2, column 'a': -inf is not finite"),
        ("a,t\n1e39,x\n2,y\n", "line 2, column 'a': 1e39 is too large for float32"),
        ("a,t\n1e999,x\n2,y\n", "line 2, column 'a': 1e999 is too large for float32"),
        ("a,t\n0x10,x\n2,y\n", "line 2, column 'a': '0x10' is not a number"),
        ("a,t\n1,-0\n2,0\n", "one number written in two ways"),
        ("a,t\n1,inf\n2,1\n", "the labels are numbers such as inf"),
        ("a,t\n1,x\n2\n", "line 3: 1 fields, but the first line has 2"),
        ("a,t\n1,x,5\n", "line 2: 3 fields, but the first line has 2"),
        ('a,t\n1,"x\ny"\n3,z\nq,z\n', "line 5, column 'a': 'q' is not a number"),
        ('a,t\nq,"x\ny"\n3,z\n', "line 2, column 'a': 'q' is not a number"),
        ("a,t\n1,x\n2,\n", "line 3, column 't': no label"),
        ("a,t\n1,x\n2,NaN\n", "line 3, column 't': no label"),
        ("a,b\n1,x\n", r"no column 't' for the target; it has \['a', 'b'\]"),
        ("a,a,t\n1,2,x\n", "column 1 .* has the name 'a' of an earlier column"),
        (",a,t\n0,1,x\n", "column 0 .* has no name.*index=False"),
        ("5.1,3.5,t\n4.9,3.0,x\n", "is the number 5.1: .*header=False"),
        ("a;t\n1;x\n", r"the one column 'a;t'.*delimiter="),
        ("a,t\n1,x\n2,x\n", r"at least 2 different labels, got \['x'\]"),
        ("a,t\n1,0.5\n2,1\n", "the labels are numbers such as 0.5.*task='regression'"),
        ("a,t\n1,1\n2,1.0\n3,2\n", "one number written in two ways"),
        ('a,t\n1,"x\n2,y\n', "line 2: broken CSV"),
        ("a,t\n1,x\n2,ä\n".encode("latin-1"), "not UTF-8"),
        ("a,t\n1,x\n".encode("utf-16"), "not UTF-8"),
    ],
)
def test_csv_refuses_and_says_where(
    csv_file: Callable[..., Path], text: str | bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_csv(csv_file(text), "t")
    assert "data.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [("x", "'x' is not a number"), ("", "no value"), ("nan", "nan is not finite")],
)
def test_csv_regression_target_is_checked_too(
    csv_file: Callable[..., Path], value: str, message: str
) -> None:
    with pytest.raises(ValueError, match=f"line 3, column 'price': {message}"):
        load_csv(csv_file(f"a,price\n1,2\n3,{value}\n"), "price", task="regression")


def test_csv_refuses_wrong_arguments(csv_file: Callable[..., Path], tmp_path: Path) -> None:
    path = csv_file("a,t\n1,x\n2,y\n")
    with pytest.raises(FileNotFoundError, match=r"missing\.csv"):
        load_csv(tmp_path / "missing.csv", "t")
    with pytest.raises(TypeError, match="target is the name or the place"):
        load_csv(path, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="target is the name or the place"):
        load_csv(path, True)
    with pytest.raises(ValueError, match=r"no column 2 .* it has \['a', 't'\]"):
        load_csv(path, 2)
    with pytest.raises(ValueError, match="'classification' or 'regression', got 'classify'"):
        load_csv(path, "t", task="classify")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="class_names are for a classification"):
        load_csv(path, "t", task="regression", class_names=["x"])


@pytest.mark.parametrize(
    "text",
    ["16777217", "-16777217", "16777217.0", "1.6777217e7", "1700000001", "1700000000.5",
     "9007199254740991", "1000000000000000000", "6.02214076e23", "1e-50", "1e-42"],
)  # fmt: skip
def test_csv_numbers_that_float32_would_change_stay_as_written(
    csv_file: Callable[..., Path], text: str
) -> None:
    table = load_csv(csv_file(f"a,b,t\n{text},0.5,x\n2,3,y\n"), "t")
    assert table.x.tolist() == [[float(text), 0.5], [2, 3]]
    assert table.x.dtype == np.float64
    table = load_csv(csv_file(f"a,t\n1,{text}\n2,0.5\n"), "t", task="regression")
    assert table.y.tolist() == [float(text), 0.5]
    assert (table.x.dtype, table.y.dtype) == (np.float32, np.float64)


@pytest.mark.parametrize(
    "text", ["16777216", "16777218", "1700000000", "9007199254740992", "0.1", "-0", "1e-37", "1e10"]
)
def test_csv_numbers_that_float32_holds_are_float32(
    csv_file: Callable[..., Path], text: str
) -> None:
    table = load_csv(csv_file(f"a,t\n{text},{text}\n2,3\n"), "t", task="regression")
    assert (table.x.dtype, table.y.dtype) == (np.float32, np.float32)
    assert table.x[0, 0] == table.y[0] == np.float32(text)
    assert np.signbit(table.x[0, 0]) == text.startswith("-")


@pytest.mark.parametrize(
    "text", ["9007199254740993", "-9007199254740993", "9007199254740993.0", "1234567890123456789"]
)
def test_csv_refuses_digits_that_float64_would_lose(
    csv_file: Callable[..., Path], text: str
) -> None:
    message = f"line 3, column 'a': {text} has more digits than float64 holds.*remove the column"
    with pytest.raises(ValueError, match=message):
        load_csv(csv_file(f"a,t\n1,x\n{text},y\n"), "t")
    with pytest.raises(ValueError, match=r"line 2, column 't': .* has more digits than float64"):
        load_csv(csv_file(f"a,t\n1,{text}\n2,3\n"), "t", task="regression")


def test_csv_labels_are_told_apart_and_sorted_by_all_their_digits(
    csv_file: Callable[..., Path],
) -> None:
    labels = ["9007199254740993", "9007199254740992", "18014398509481985"]
    table = load_csv(csv_file("a,t\n" + "".join(f"1,{label}\n" for label in labels)), "t")
    assert table.class_names == (labels[1], labels[0], labels[2])
    assert table.y.tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("text", "target"),
    [("1,2,3\n4,5,6\n", -1), ("1,2,3\n4,5,6\n", "t"), ("5,3,rose\n1,2,daisy\n", 2),
     ("rose,5\ndaisy,3\n", 0), ("0,1,t\n2,3,x\n4,5,y\n", -1), ("a,nan,t\n2,3,x\n4,5,y\n", "t"),
     ("a,-1,t\n2,3,x\n4,5,y\n", "t"), ("a,1e5,t\n2,3,x\n4,5,y\n", "t")],
)  # fmt: skip
def test_csv_never_takes_a_sample_for_the_header_unasked(
    csv_file: Callable[..., Path], text: str, target: int | str
) -> None:
    with pytest.raises(ValueError, match=r"is the number .* header=False; .* header=True"):
        load_csv(csv_file(text), target)


def test_csv_without_a_header_keeps_its_first_sample(csv_file: Callable[..., Path]) -> None:
    for target in (-1, 2, "2"):
        table = load_csv(csv_file("\n5,3,rose\n1,2,daisy\n"), target, header=False)
        assert table.x.tolist() == [[5, 3], [1, 2]]
        assert table.y.tolist() == [1, 0]
        assert (table.feature_names, table.class_names) == (("0", "1"), ("daisy", "rose"))
    with pytest.raises(ValueError, match="line 1, column '0': 'a' is not a number"):
        load_csv(csv_file("a,t\n1,x\n2,y\n"), "1", header=False)
    with pytest.raises(ValueError, match="line 2: 3 fields, but the first line has 2"):
        load_csv(csv_file("1,x\n1,2,y\n"), -1, header=False)
    with pytest.raises(ValueError, match="is empty"):
        load_csv(csv_file(""), -1, header=False)


def test_csv_numbers_are_names_if_the_caller_says_so(csv_file: Callable[..., Path]) -> None:
    path = csv_file("0,1,t\n2,3,x\n4,5,y\n")  # as pandas writes columns without names
    for table in (load_csv(path, "t"), load_csv(path, -1, header=True)):
        assert table.x.tolist() == [[2, 3], [4, 5]]
        assert table.feature_names == ("0", "1")
    assert load_csv(csv_file("0.5,t\n2,x\n4,y\n"), "t", header=True).feature_names == ("0.5",)


@pytest.mark.parametrize("header", [0, 1, None, "yes", []])
def test_csv_header_is_a_bool_or_auto(csv_file: Callable[..., Path], header: object) -> None:
    with pytest.raises(TypeError, match="header is True, False or 'auto', got"):
        load_csv(csv_file("a,t\n1,x\n2,y\n"), "t", header=header)  # type: ignore[arg-type]


def test_csv_looks_at_each_name_of_the_header_once(csv_file: Callable[..., Path]) -> None:
    n = 100_000  # each name against all others would be five billion comparisons
    names, row = ",".join(f"c{i}" for i in range(n)), ",".join(["1"] * n)
    assert load_csv(csv_file(f"{names},t\n{row},x\n{row},y\n"), "t").x.shape == (2, n)
    with pytest.raises(ValueError, match=f"column {n} .* has the name 'c7' of an earlier column"):
        load_csv(csv_file(f"{names},c7\n{row},x\n"), -1)


# Synthetic data

MAKERS = [make_spirals, make_moons, make_blobs]


@pytest.mark.parametrize("make", MAKERS)
def test_synthetic_data_repeats_by_seed_and_is_shared_evenly(make: Callable) -> None:
    x, y = make(101, rng=0)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((101, 2), np.float32, (101,), np.int64)
    assert x.flags.c_contiguous
    assert np.ptp(np.bincount(y)) <= 1
    assert y.tolist() != sorted(y)
    assert same([make(101, rng=0)], [(x, y)])
    assert not same([make(101, rng=1)], [(x, y)])


def test_spirals_lie_on_their_arms() -> None:
    x, y = make_spirals(300, arms=5, noise=0, rng=0)
    assert set(y) == set(range(5))
    radius = np.hypot(*x.T)
    assert radius.min() >= 0.1 - 1e-6
    assert radius.max() <= 1 + 1e-6
    turned = np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi) - (radius - 0.1) / 0.9 - y / 5
    np.testing.assert_allclose(turned, np.round(turned), atol=1e-5)


def test_moons_lie_on_their_half_circles() -> None:
    x, y = make_moons(200, noise=0, rng=0)
    upper, lower = x[y == 0], x[y == 1] - [1, 0.5]
    np.testing.assert_allclose(np.hypot(*upper.T), 1, rtol=1e-6)
    np.testing.assert_allclose(np.hypot(*lower.T), 1, rtol=1e-6)
    assert (upper[:, 1] >= 0).all()
    assert (lower[:, 1] <= 0).all()


def test_blobs_lie_around_centers_on_the_unit_circle() -> None:
    x, y = make_blobs(20_000, centers=4, noise=0.3, rng=0)
    centers = [[1, 0], [0, 1], [-1, 0], [0, -1]]
    for c, center in enumerate(centers):
        np.testing.assert_allclose(x[y == c].mean(axis=0), center, atol=0.02)
        np.testing.assert_allclose(x[y == c].std(axis=0), 0.3, atol=0.01)


def test_noise_moves_the_points_by_its_standard_deviation() -> None:
    for make in MAKERS:
        clean, noisy = make(20_000, noise=0, rng=0)[0], make(20_000, noise=0.5, rng=0)[0]
        np.testing.assert_allclose((noisy - clean).std(axis=0), 0.5, atol=0.02)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 1}, ValueError, "n is at least"),
        ({"n": 10.0}, TypeError, "n is a whole number"),
        ({"noise": -0.1}, ValueError, "noise is a standard deviation"),
        ({"noise": float("nan")}, ValueError, "noise is a standard deviation"),
        ({"noise": float("inf")}, ValueError, "noise is a standard deviation"),
        ({"noise": "0.1"}, TypeError, "noise is a number"),
        ({"rng": 1.5}, TypeError, "a seed is an int"),
    ],
)
def test_synthetic_data_refuses(
    make: Callable, options: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(**options)


@pytest.mark.parametrize(("make", "name"), [(make_spirals, "arms"), (make_blobs, "centers")])
def test_classes_are_at_least_two_and_not_more_than_samples(make: Callable, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is at least 2, got 1"):
        make(10, 1)
    with pytest.raises(ValueError, match="n is at least 4, got 3"):
        make(3, 4)


# The package as a whole


def test_numpys_global_generator_is_neither_read_nor_set() -> None:
    def state() -> bytes:
        return pickle.dumps(np.random.get_state())  # noqa: NPY002 - it is what must not move

    def use_everything() -> list[np.ndarray]:
        seed(0)
        x, y = make_spirals(30)
        parts = train_test_split(x, y, stratify=y)
        batches = [a for batch in DataLoader(x, y, shuffle=True) for a in batch]
        return [*parts, *batches, *make_moons(9), *make_blobs(9)]

    before = state()
    first = use_everything()
    assert state() == before
    np.random.seed(12345)  # noqa: NPY002 - and what must not matter
    second = use_everything()
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    np.random.set_state(pickle.loads(before))  # noqa: NPY002


def test_the_package_exports_its_public_names_and_nothing_else() -> None:
    rooms = {"checks", "datasets", "loader", "transforms"}
    public = {name for name in vars(minidl.data) if not name.startswith("_")}
    assert public - rooms == set(minidl.data.__all__)


@pytest.mark.parametrize("delimiter", [";;", "", None])
def test_load_csv_takes_one_character_as_delimiter(delimiter, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,y\n1,0\n2,1\n")
    with pytest.raises(ValueError, match="delimiter is one character"):
        load_csv(path, "y", delimiter=delimiter)


@pytest.mark.parametrize("make", [make_spirals, make_moons, make_blobs])
def test_synthetic_samples_come_in_random_order(make):
    _, y = make(60, rng=0)
    assert y.tolist() != (np.arange(60) % (y.max() + 1)).tolist()
    assert y.tolist() != sorted(y)
