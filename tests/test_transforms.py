"""What happens to whole arrays before training: train_test_split, Standardize, one_hot."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from minidl.data import (
    Standardize,
    one_hot,
    train_test_split,
)


def bits(arrays: Iterable[np.ndarray]) -> list[tuple[str, bytes]]:
    return [(array.dtype.str, array.tobytes()) for array in arrays]


# --- train_test_split -----------------------------------------------------------------------------


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
    assert bits(first) == bits(train_test_split(x, names, rng=1))
    assert bits(first) != bits(train_test_split(x, names, rng=2))
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
    for counts in ([2, 2, 2, 20, 74], [3, 3, 3, 20, 71]):  # shares of 10: 0.2 and 7.4; 0.3 and 7.1
        y = np.repeat([0, 1, 2, 3, 4], counts)
        train, test = train_test_split(y, test_size=10, stratify=y, rng=0)
        assert np.bincount(test).tolist() == [1, 1, 1, 1, 6]
        train, _ = train_test_split(y, test_size=90, stratify=y, rng=0)
        assert np.bincount(train).tolist() == [1, 1, 1, 1, 6]


def test_of_classes_that_are_as_near_to_one_sample_more_the_first_has_it() -> None:
    for counts, n, expected in (([5, 5], 3, [2, 1]), ([5, 5, 5], 4, [2, 1, 1])):
        y = np.repeat(np.arange(len(counts)), counts)
        _, test = train_test_split(y, test_size=n, stratify=y, rng=0)
        assert np.bincount(test).tolist() == expected


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
        ([[1]], {"test_size": 1}, ValueError, "leaves the training part empty"),
        (
            [[1, 2, 3]],
            {"test_size": 0},
            ValueError,
            "test_size, if not a fraction, is .* at least 1, got 0",
        ),
        ([[1, 2, 3]], {"test_size": 1.0}, ValueError, "above 0 and below 1, got 1.0"),
        ([[1, 2, 3]], {"test_size": -0.2}, ValueError, "above 0 and below 1, got -0.2"),
        ([[1, 2, 3]], {"test_size": float("nan")}, ValueError, "above 0 and below 1, got nan"),
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


def test_words_may_be_python_objects_as_in_a_column_of_pandas() -> None:
    words = ["rose"] * 6 + ["daisy"] * 4
    plain = train_test_split(np.arange(10), test_size=5, stratify=words, rng=0)

    class Column:  # a Series has such a method, and no one dtype for its words
        def to_numpy(self) -> np.ndarray:
            return np.array(words, dtype=object)

    for labels in (np.array(words, dtype=object), Column()):
        parts = train_test_split(np.arange(10), test_size=5, stratify=labels, rng=0)
        assert [part.tolist() for part in parts] == [part.tolist() for part in plain]
    for odd in ([*words[1:], None], [None, *words[1:]], "a word"):
        with pytest.raises(TypeError, match="stratify holds Python objects"):
            train_test_split(np.arange(10), stratify=np.array(odd, dtype=object))
    with pytest.raises(TypeError, match="stratify holds Python objects"):
        train_test_split(np.arange(10), stratify=np.array(words, dtype=np.dtypes.StringDType()))


# --- Standardize ----------------------------------------------------------------------------------


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


def test_standardize_measures_each_feature_by_itself() -> None:
    rounded = np.array([1, 1 + 2**-52, 1])
    x = np.stack([rounded, [1e-200, 2e-200, 3e-200], [1e200, 3e200, 2e200], [1, 3, 2]], axis=1)
    scale = Standardize().fit(x)
    alone = [Standardize().fit(x[:, [i]]).std.item() for i in range(4)]
    assert scale.std.tolist() == alone
    assert (alone[0], alone[1] > 0) == (0, True)


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


def test_standardize_refuses_what_float64_cannot_sum() -> None:
    x = np.array([[0, -1.7e308], [1, 1.7e308], [2, 0]])
    both_ways = np.array([0.0] + [1e308, -1e308] * 20)  # NumPy sums every eighth by itself
    for part in (x, x[:, 1], both_ways):
        with pytest.raises(ValueError, match="so large that float64 cannot sum them: scale x down"):
            Standardize().fit(part)


def test_standardize_of_no_samples_or_no_features_is_empty() -> None:
    scale = Standardize().fit(np.eye(4))
    assert scale.transform(np.zeros((0, 4))).shape == (0, 4)


def test_standardize_state_goes_over_as_copies() -> None:
    saved, loaded = Standardize().fit([[1, 0, 3], [0, 1, 3]]), Standardize()  # one std is 0
    state = saved.state_dict()
    loaded.load_state_dict({name: values.astype(np.float32) for name, values in state.items()})
    assert (loaded.mean.dtype, loaded.std.dtype) == (np.float64, np.float64)
    loaded.load_state_dict(state)
    state["mean"][:] = state["std"][:] = 99
    np.testing.assert_array_equal(loaded.transform(np.eye(3)), saved.transform(np.eye(3)))
    assert repr(loaded) == "Standardize(features of shape (3,))"
    assert repr(Standardize()) == "Standardize(not fitted)"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"mean": [0.0], "sd": [1.0]}, r"missing \['std'\], unexpected \['sd'\]"),
        ({"mean": [0.0], "std": [1.0, 1.0]}, "expected equal shapes"),
        ({"mean": [np.nan], "std": [1.0]}, "finite"),
        ({"mean": [np.inf, 0.0], "std": [1.0, 1.0]}, "finite"),
        ({"mean": [0.0, 0.0], "std": [np.inf, 1.0]}, "finite"),
        ({"mean": [0.0, 0.0], "std": [-1.0, 1.0]}, "not negative"),
        ({"mean": [0.0], "std": [-1.0]}, "not negative"),
    ],
)
def test_standardize_refuses_a_wrong_state(state: dict, message: str) -> None:
    scale = Standardize().fit([[1.0], [3.0]])
    with pytest.raises(ValueError, match=message):
        scale.load_state_dict(state)
    assert (scale.mean, scale.std) == (2, 1)


# --- one_hot --------------------------------------------------------------------------------------


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
    assert one_hot([0, 0]).shape == (2, 1)


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
        ([0], 0, ValueError, "one_hot: num_classes is a whole number of at least 1, got 0"),
        ([0], 2.0, TypeError, "num_classes is a whole number"),
        (3, None, ValueError, "single value 3"),
    ],
)
def test_one_hot_refuses(labels: object, classes: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        one_hot(labels, classes)  # type: ignore[arg-type]
