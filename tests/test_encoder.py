"""TableEncoder: from the columns of a table to features and targets, fitted on training rows."""

from __future__ import annotations

import datetime
import json
import math
import sys
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minidl
from minidl.data import TableEncoder

ROWS: dict[str, Any] = {
    "size": [1.0, 2.0, 3.0, 2.0],
    "color": ["red", "blue", "red", "red"],
    "fresh": [True, False, False, True],
    "day": ["2024-01-01", "2024-01-03", "2024-01-05", "2024-01-03"],
    "kind": ["rose", "daisy", "rose", "rose"],
}


def fitted(rows: Any, **options: Any) -> TableEncoder:
    return TableEncoder(**options).fit(rows)


def with_gaps(**options: Any) -> TableEncoder:
    rows = {"n": [1.0, None, 3.0, 7.0], "w": ["b", "a", "", "b"], "full": [1, 2, 3, 4]}
    return fitted(rows, missing="impute", **options)


# --- What columns become --------------------------------------------------------------------------


def test_numbers_are_standardised_and_words_are_one_feature_each() -> None:
    encoder = fitted(ROWS, target="kind")
    assert encoder.feature_names == (
        "size", "color=blue", "color=red", "fresh=False", "fresh=True", "day",
    )  # fmt: skip
    x = encoder.transform(ROWS)
    root = np.sqrt(2)
    expected = [
        [-root, 0, 1, 0, 1, -root],
        [0, 1, 0, 1, 0, 0],
        [root, 0, 1, 1, 0, root],
        [0, 0, 1, 0, 1, 0],
    ]
    assert (x.dtype, x.shape) == (np.float32, (4, 6))
    np.testing.assert_allclose(x, expected, rtol=1e-6, atol=1e-7)
    assert encoder.targets(ROWS).tolist() == [1, 0, 1, 1]
    assert encoder.targets(ROWS).dtype == np.int64
    assert (encoder.task, encoder.class_names) == ("classification", ("daisy", "rose"))


def test_new_rows_are_encoded_by_what_the_training_rows_say() -> None:
    encoder = fitted(ROWS, target="kind")
    new = {"day": ["2024-01-01"], "extra": [object()], "fresh": [False], "color": ["blue"]}
    x = encoder.transform(new | {"size": [4.0]})
    root = np.sqrt(2)
    np.testing.assert_allclose(x, [[2 * root, 1, 0, 1, 0, -root]], rtol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        ["2024-01-01", "2024-01-02", "2024-01-04"],
        ["2024-01-01T00:00", "2024-01-02 00:00:00", "2024-01-04T01:00:00.000+01:00"],
        ["2024-01-01T00:00Z", "2024-01-01T22:00-02:00", "2024-01-04"],
        [datetime.date(2024, 1, day) for day in (1, 2, 4)],
        [datetime.datetime(2024, 1, day, tzinfo=datetime.UTC) for day in (1, 2, 4)],
        [np.datetime64(f"2024-01-0{day}") for day in (1, 2, 4)],
        np.array(["2024-01-01", "2024-01-02", "2024-01-04"]),
        np.array(["2024-01-01", "2024-01-02", "2024-01-04"], dtype="datetime64[ns]"),
        np.array(["2024-01-01", "2024-01-02", "2024-01-04"], dtype="datetime64[h]"),
    ],
)  # fmt: skip
def test_dates_of_every_form_are_days(values: Any) -> None:
    encoder = fitted({"day": values})
    assert encoder.state_dict()["features"][0]["mean"] == pytest.approx(19723 + 4 / 3)
    z = encoder.transform({"day": ["2024-01-03"]})[0, 0]
    assert z == pytest.approx((2 - 4 / 3) / np.std([0, 1, 3]))
    assert "mean 2024-01-02" in encoder.summary()


@pytest.mark.parametrize(
    "values",
    [
        [1, 2.5, 4],
        [Decimal("3.1"), Fraction(22, 10), 2.2],
        (1, Decimal("2.5"), 4),
        np.array([1, 2.5, 4], dtype=np.float16),
        np.array([1, 2.5, 4], dtype=">f8"),
        np.array([1, 2.5, 4], dtype=object),
        [np.float32(1), np.float64(2.5), np.int8(4)],
    ],
)
def test_numbers_of_every_kind_are_numbers(values: Any) -> None:
    encoder = fitted({"a": values})
    assert encoder.state_dict()["features"][0]["mean"] == pytest.approx(2.5, rel=1e-15)


def test_durations_are_days() -> None:
    days = [datetime.timedelta(days=1), datetime.timedelta(hours=36), np.timedelta64(48, "h")]
    for values in (days, np.array([24, 36, 48], dtype="timedelta64[h]")):
        assert fitted({"a": values}).state_dict()["features"][0]["mean"] == 1.5


def test_words_lose_the_spaces_around_them() -> None:
    assert fitted({"a": [" x", "x ", "y"]}).feature_names == ("a=x", "a=y")


def test_codes_are_categories_if_the_caller_says_so() -> None:
    for codes in ([10, 9, 9], ["10", "9", "9"], [10.0, 9, np.int64(9)], np.array([10, 9, 9])):
        encoder = fitted({"a": codes}, categories=["a"])
        assert encoder.feature_names == ("a=9", "a=10")
        for new in ([9], ["9"], [9.0]):
            assert encoder.transform({"a": new}).tolist() == [[1, 0]]
    assert fitted({"a": [3.5, 3.0]}, categories=["a"]).feature_names == ("a=3", "a=3.5")
    assert fitted({"a": [1.0, np.inf]}, categories=["a"]).feature_names == ("a=1", "a=inf")
    assert fitted({"a": ["007", "7", "7"]}, categories=["a"]).feature_names == ("a=007", "a=7")


def test_statistics_are_of_float64() -> None:
    for seconds in ([1.7e9, 1.7e9 + 1, 1.7e9 + 2], 1.7e9 + np.arange(3.0)):
        np.testing.assert_allclose(
            fitted({"a": seconds}).transform({"a": seconds})[:, 0], [-1.2247449, 0, 1.2247449]
        )


# --- Missing values -------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [None, np.nan, float("nan"), "", "  ", np.float32("nan")])
def test_missing_values_are_refused_by_name_and_count(gap: Any) -> None:
    rows = {"a": [1.0, 2.0, 3.0], "b": ["x", gap, gap]}
    with pytest.raises(
        ValueError, match=r"'b' lacks 2 of 3 values, first in row 1 .*missing='impute'"
    ):
        fitted(rows)
    encoder = fitted(rows | {"b": ["x", "y", "x"]})
    with pytest.raises(ValueError, match=r"TableEncoder.transform: missing .*'b' lacks 2 of 3"):
        encoder.transform(rows)


def test_missing_dates_and_numbers_in_arrays_are_refused() -> None:
    codes = np.ma.MaskedArray([1, 5, 2], mask=[False, True, False])
    with pytest.raises(ValueError, match="'a' lacks 1 of 3 values, first in row 1"):
        fitted({"a": codes}, categories=["a"])
    for values in (
        np.array([1, np.nan, 2]),
        np.array(["2024-01-01", "NaT", "2024-01-02"], dtype="datetime64[D]"),
        np.array([1, "NaT", 2], dtype="timedelta64[h]"),
        codes,
        [Decimal(1), Decimal("nan"), Decimal(2)],
        [*np.array(["2024-01-01", "NaT", "2024-01-02"], dtype="datetime64[D]")],
        [*np.array([1, "NaT", 2], dtype="timedelta64[h]")],
        [True, None, False],
    ):
        with pytest.raises(ValueError, match="'a' lacks 1 of 3 values, first in row 1"):
            fitted({"a": values})


def test_imputing_takes_the_median_or_the_most_frequent_and_marks_it() -> None:
    encoder = with_gaps()
    assert encoder.feature_names == ("n", "n is missing", "w=a", "w=b", "w is missing", "full")
    mean, std = np.mean([1, 3, 3, 7]), np.std([1, 3, 3, 7])
    x = encoder.transform({"n": [np.nan, 5], "w": ["a", None], "full": [1, 2]})
    np.testing.assert_allclose(x[0, :5], [(3 - mean) / std, 1, 1, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(x[1, :5], [(5 - mean) / std, 0, 0, 1, 1], rtol=1e-6)


def test_what_a_mask_hides_is_not_looked_at() -> None:
    for dtype, hidden in (("i8", 2**53 + 1), ("f8", np.inf), ("f8", 1e300), ("?", True)):
        values = np.ma.MaskedArray(np.array([0, hidden, 1], dtype), mask=[False, True, False])
        encoder = fitted({"a": values}, missing="impute")
        assert encoder.transform({"a": values})[:, -1].tolist() == [0, 1, 0]
        assert encoder.transform({"a": values})[1, 0] in (0, 1, -1)
    with pytest.raises(ValueError, match="'a' lacks 1 of 3 values, first in row 1"):
        fitted({"a": values})


def test_a_new_gap_where_the_training_rows_had_none_is_filled_and_told() -> None:
    encoder = with_gaps()
    with pytest.warns(UserWarning, match=r"without any in the training rows.*'full' \(1\)"):
        x = encoder.transform({"n": [1], "w": ["a"], "full": [None]})
    assert x[0, -1] == 0  # the median of 1, 2, 3, 4 is their mean
    encoder = fitted({"a": [1, 2, 3], "b": ["x", "y", "x"]}, missing="impute")
    with pytest.warns(UserWarning, match=r"no feature says so: 'a' \(1\), 'b' \(2\)$"):
        x = encoder.transform({"a": [None, 1], "b": [None, None]})
    assert x[:, 1:].tolist() == [[1, 0], [1, 0]]


def test_a_column_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no row has a value in \['b'\]: pass ignore=\['b'\]"):
        fitted({"a": [1.0, 2], "b": [None, None]}, missing="impute")
    for gaps in ([np.nan, np.nan], np.full(2, np.nan), np.full(2, "NaT", "m8[D]"), ["", " "]):
        for options in ({}, {"categories": ["b"]}):
            with pytest.raises(ValueError, match=r"no row has a value in \['b'\]"):
                fitted({"a": [1.0, 2], "b": gaps}, missing="impute", **options)
    with pytest.raises(ValueError, match=r"no row has a value in \['b'\]: pass ignore=\['b'\]"):
        fitted({"b": [None, None], "a": [1.0, 2]}, missing="impute")
    encoder = with_gaps()
    x = encoder.transform({"n": [None], "w": [None], "full": [1]})  # of no kind, so of any
    assert x[0, 1] == x[0, 4] == 1


def test_a_missing_target_is_refused_always() -> None:
    rows = {"a": [1.0, 2, 3, 4], "t": ["x", None, "y", ""]}
    with pytest.raises(ValueError, match=r"'t' lacks 2 of 4 values, first in row 1.*the target"):
        fitted(rows, target="t", missing="impute")
    encoder = fitted(rows | {"t": ["x", "x", "y", "y"]}, target="t", missing="impute")
    with pytest.raises(ValueError, match="'t' lacks 2 of 4 values"):
        encoder.targets(rows)


# --- Warnings -------------------------------------------------------------------------------------


def test_unseen_words_are_zeros_and_counted_in_one_warning() -> None:
    encoder = fitted(ROWS)
    new = ROWS | {"color": ["green", "red", "green", "pink"], "kind": ["rose", "oak"] * 2}
    with pytest.warns(UserWarning, match="words that the training rows lack") as caught:
        x = encoder.transform(new)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    text = str(caught[0].message)
    assert "'color' in 3 of 4 rows, such as 'green', 'pink'" in text
    assert "'kind' in 2 of 4 rows, such as 'oak'" in text
    assert x[:, 1:3].tolist() == [[0, 0], [0, 1], [0, 0], [0, 0]]


def test_constant_columns_are_left_out_with_a_warning() -> None:
    rows = {"a": [1.0, 2], "year": [2007, 2007], "land": ["NZ", "NZ"], "day": ["2024-01-01"] * 2}
    with pytest.warns(
        UserWarning, match=r"'year' \(2007\), 'land' \('NZ'\), 'day' \(2024-01-01\)"
    ) as caught:
        encoder = fitted(rows)
    assert caught[0].filename == __file__
    assert encoder.feature_names == ("a",)
    assert encoder.transform({"a": [1.5]}).tolist() == [[0]]  # the others are not asked for


def test_all_constant_is_refused() -> None:
    with pytest.raises(ValueError, match="all rows have the same values"):
        fitted({"a": [1, 1], "b": ["x", "x"]})


def test_a_constant_with_gaps_leaves_the_mark() -> None:
    with pytest.warns(UserWarning, match="'a' "):
        encoder = fitted({"a": [1, None, 1], "b": ["x", "x", ""]}, missing="impute")
    assert encoder.feature_names == ("a is missing", "b is missing")
    assert encoder.transform({"a": [None, 1], "b": ["", "x"]}).tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    "ids", [range(20), np.arange(20)[::-1], [f"row{i}" for i in range(20)], np.arange(20) * 1.0,
            [*range(20), None]],
)  # fmt: skip
def test_a_likely_id_is_named(ids: Any) -> None:
    n = len(ids)
    measured = np.random.default_rng(0).normal(size=n)
    with pytest.warns(UserWarning, match=r"no two rows.*'id'.*ignore=\['id'\]") as caught:
        fitted({"id": list(ids), "measured": measured}, missing="impute")
    assert caught[0].filename == __file__
    fitted({"id": list(ids), "measured": measured}, ignore=["id"])


def test_measurements_and_dates_and_small_tables_are_no_ids() -> None:
    n = 200
    rng = np.random.default_rng(0)
    days = np.datetime64("2024-01-01") + np.arange(n)
    fitted({"a": rng.normal(size=n), "day": days, "n": rng.integers(0, 50, n)})
    fitted({"a": range(19)})


# --- The target -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "task", "names"),
    [
        (["b", "a", "b"], "classification", ("a", "b")),
        ([True, False, True], "classification", ("False", "True")),
        ([10, 9, 10, 9], "classification", ("9", "10")),
        ([1.0, 0.0, 1.0, 0.0], "classification", ("0", "1")),
        (["10", "9", "10"], "classification", ("9", "10")),
        ([*range(20)] * 2, "classification", tuple(map(str, range(20)))),
        ([*range(21)] * 2, "regression", ()),
        ([1, 2, 3], "regression", ()),
        ([0.5, 1, 0.5, 1], "regression", ()),
    ],
)
def test_auto_tells_classes_from_numbers(
    values: list[Any], task: str, names: tuple[str, ...]
) -> None:
    rows = {"a": np.linspace(0, 1, len(values)), "t": values}
    encoder = fitted(rows, target="t")
    assert (encoder.task, encoder.class_names) == (task, names)
    assert task in repr(encoder)
    if names:
        labels = [names[c] for c in encoder.targets(rows)]
        assert labels == [str(int(v)) if isinstance(v, float) else str(v) for v in values]


def test_a_regression_is_standardised_and_decoded_in_its_own_unit() -> None:
    rows = {"a": [1.0, 2, 3, 4], "price": [100.0, 200, 300, 400]}
    encoder = fitted(rows, target="price")
    y = encoder.targets(rows)
    assert (y.dtype, y.shape) == (np.float32, (4, 1))
    np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-6)
    for outputs in (y, y[:, 0], y.tolist()):
        np.testing.assert_allclose(encoder.decode(outputs), rows["price"], rtol=1e-6)
    assert encoder.decode(y).dtype == np.float64


def test_a_target_that_float32_cannot_hold_is_refused() -> None:
    encoder = fitted({"a": [1.0, 2, 3], "t": [0.0, 0.1, 0.2]}, target="t")
    with pytest.raises(ValueError, match=r"'t'.* row 1, .* is 3\.\d+e\+39, too large"):
        encoder.targets({"a": [1.0, 2], "t": [0.1, 3e38]})


def test_numbers_up_to_the_largest_of_float32_are_taken() -> None:
    largest = float(np.finfo(np.float32).max)
    for values in ([0.0, largest], np.array([0, largest], "f")):
        assert fitted({"a": values}).transform({"a": values}).tolist() == [[-1], [1]]
    for more in (2 * largest, np.longdouble("1e400")):
        with pytest.raises(ValueError, match=r"in row 1 .*is (too large for float32|infinite)"):
            fitted({"a": np.array([0, more])})


def test_the_summary_tells_of_each_column_what_it_was_and_what_became_of_it() -> None:
    rows = {
        "same": [2.0, 2, 2], "one": ["x", "x", "x"], "size": [1.0, 2, 3], "w": ["a", "b", "a"],
        "took": np.array([24, 48, 72], "m8[h]"), "day": ["2024-01-01", "2024-01-03", "2024-01-05"],
        "note": ["", "", ""], "id": [1, 2, 3],
    }  # fmt: skip
    with pytest.warns(UserWarning, match="left out"):
        encoder = fitted(rows, ignore=["id", "note"])
    lines = [" ".join(line.split()) for line in encoder.summary().splitlines()]
    for told in (
        "same numbers left out, 2 in every row",
        "one words left out, 'x' in every row",
        "size numbers mean 2, standard deviation 0.8165",
        "w words 2 categories: a, b",
        "took durations mean 2 days, standard deviation 0.8165 days",
        "day dates mean 2024-01-03, standard deviation 1.633 days",
        "ignored: id, note",
    ):
        assert told in lines


def test_classes_are_decoded_by_name() -> None:
    encoder = fitted(ROWS, target="kind")
    assert encoder.decode([[2.0, 1], [0, 1]]).tolist() == ["daisy", "rose"]
    with pytest.raises(ValueError, match=r"2 classes have shape \(N, 2\).*got \(1, 3\)"):
        encoder.decode([[1.0, 2, 3]])
    with pytest.raises(ValueError, match=r"2 classes have shape .*, got \(1, 3\)$"):
        encoder.decode([[1, 2, 3]])
    with pytest.raises(ValueError, match=r"outputs: the value in row 0, column 1 .* is nan"):
        encoder.decode([[1.0, np.nan]])
    encoder = fitted({"a": [1.0, 2], "t": [1.5, 2]}, target="t")
    with pytest.raises(ValueError, match=r"shape \(N, 1\) or \(N,\), got \(1, 2\)"):
        encoder.decode([[1.0, 2]])
    with pytest.raises(ValueError, match=r"outputs: the value in row 1, column 0 .* is inf"):
        encoder.decode([[1.0], [np.inf]])


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        (["x", "x"], "auto", "at least 2 different classes, got only 'x'"),
        ([0.5, 1.5], "classification", "numbers such as 0.5.*task='regression'"),
        (["x", "y"], "regression", "holds words such as x.*task='classification'"),
        ([2.0, 2.0], "regression", "2 in every row"),
        (["2024-01-01", "2024-01-02"], "auto", "the target 't' holds dates"),
        (np.array([1, 2], "m8[D]"), "classification", "'t' holds durations: make classes or"),
        (
            [f"n{i}" for i in range(20)],
            "auto",
            "20 classes in 20 rows, such as n0, .*; is it the right column",
        ),
        ([*range(40)], "classification", "40 classes in 40 rows.*task='regression'"),
        ([1.0, np.inf], "regression", "'t': inf in row 1"),
        (["1,5", "2,5", "1,5"], "auto", r"'t' holds words that look like numbers.*decimal=','"),
        (["1.0", "1", "2"], "auto", "'t' holds words that look like numbers.*write them as words"),
        (["1", "2", "?"], "auto", r"'t' .* numbers, such as '1', and '\?' \(first in row 2"),
    ],
)
def test_a_target_that_the_task_cannot_have_is_refused(
    values: list[Any], task: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fitted({"a": np.linspace(0, 1, len(values)), "t": values}, target="t", task=task)


def test_a_label_that_the_training_rows_lack_is_refused() -> None:
    encoder = fitted(ROWS, target="kind")
    with pytest.raises(ValueError, match=r"'kind': 'oak' in row 1 .* none of .*daisy, rose"):
        encoder.targets({"kind": ["rose", "oak"]})
    with pytest.raises(ValueError, match=r"'kind': 'oak' in row 0 .* none of .*daisy, rose"):
        encoder.targets({"kind": ["oak", "rose"]})
    encoder = fitted({"a": [1.0, 2], "t": [1.5, 2]}, target="t")
    with pytest.raises(ValueError, match=r"'t' held numbers .* holds words"):
        encoder.targets({"t": ["x"]})


def test_without_a_target_there_is_none() -> None:
    encoder = fitted({"a": [1.0, 2]})
    assert (encoder.class_names, encoder.task) == ((), "auto")
    for call in (lambda: encoder.targets({"a": [1]}), lambda: encoder.decode([[1.0]])):
        with pytest.raises(ValueError, match=r"no target: name it, TableEncoder\(target="):
            call()


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "x", 2], r"mixes numbers \(1 in row 0 .* and words \('x' in row 1 "),
        (["x", True], "mixes words .* and true/false"),
        ([1, True], "mixes numbers .* and true/false"),
        ([1, {}], r"\{\} in row 1 .* is a dict, which is neither"),
        ([b"x", b"y"], "a bytes, which is neither"),
        (np.array([b"x", b"y"]), r"dtype \|S1, which is neither"),
        (np.array([1j, 2]), "dtype complex128, which is neither"),
        (np.array([1, 2], "timedelta64[M]"), r"timedelta64\[M\]: a month or a year has no fixed"),
        ([np.timedelta64(n, "Y") for n in (1, 2)], r"timedelta64\[Y\]: a month or a year"),
        ([1, np.inf], r"inf in row 1 .* is infinite, 1 such"),
        (np.array([1, -np.inf]), "-inf in row 1"),
        ([1, 1e39], r"1e\+39 in row 1 .* too large for float32"),
        ([1, 10**400], "inf in row 1"),
        ([1, 2**53 + 1], r"9007199254740993 in row 1 .*id.*ignore=\['a'\]"),
        (np.array([2**53 + 1, 1]), "9007199254740993 in row 0"),
        ([np.int64(2**53 + 1), np.int64(1)], "9007199254740993 in row 0"),
        (np.array([2**53, 2**53 + 1]), "9007199254740993 in row 1"),
        (np.array([2**64 - 1, 1], dtype=np.uint64), "18446744073709551615 in row 0"),
        (["2024-02-30", "2024-01-01"], "'2024-02-30' in row 0 .* is no date"),
        (["1.5", "2"], r"look like numbers, such as '1.5'.*convert.*categories=\['a'\]"),
        (["1.5", "2"], r"for example with frame\['a'\]\.astype\(float\), once they are"),
        (["1,5", "2,0"], r"look like numbers, such as '1,5'.*decimal=','"),
        (["1,500", "2,000"], "look like numbers"),
        (["$1,200.50", "$900"], "look like numbers"),
        (["45%", "7 %"], "look like numbers"),
        (["?", "1", "2", "3"], r"numbers, such as '1', and '\?' \(first in row 0 .*missing_words"),
        (["1", "2", "?", "3"], r"numbers, such as '1', and '\?' \(first in row 2 .*missing_words"),
        (["31.12.2024", "1.1.2024"], r"look like dates.*dates=\{'a': '%d.%m.%Y'\}"),
        (["12/31/2024", "1/1/2024"], "look like dates"),
        (["2024-12-31", "2024-12-30", "soon"], r"dates, .* and 'soon' \(first in row 2"),
        ([f"w{i % 101}" for i in range(300)], r"'a' has 101 different words.*ignore=\['a'\].*100"),
        ([[1, 2], [3, 4]], "is a list, which is neither"),
    ],
)  # fmt: skip
def test_a_column_that_cannot_be_encoded_is_refused_by_name(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        fitted({"a": values})
    assert "TableEncoder.fit" in str(caught.value)
    assert "'a'" in str(caught.value)
    fitted({"a": values, "b": np.linspace(0, 1, len(values))}, ignore=["a"])


def test_words_that_are_no_numbers_pass() -> None:
    for words in (["0", "1", "2", "3+", "a", "b"], ["1st", "2nd"], ["10-15", "15-20"], ["A1", "B2"],
                  ["1.2.3.4", "5.6.7.8"], ["", "x", "y"]):  # fmt: skip
        fitted({"a": words}, missing="impute")


def test_most_categories_can_be_raised() -> None:
    words = [f"w{i % 101}" for i in range(300)]
    assert len(fitted({"a": words}, most_categories=101).feature_names) == 101
    with pytest.raises(ValueError, match="'a' has 2 different words"):
        fitted({"a": ["x", "y", "y"]}, most_categories=1)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ([1, 2], TypeError, "a DataFrame of pandas, or a dict.*got list; of a list of rows"),
        (np.ones((2, 2)), TypeError, "got ndarray; its columns are"),
        (SimpleNamespace(columns=["a"]), TypeError, "a dict of name: column, got SimpleNamespace$"),
        ("table.csv", TypeError, "a dict of name: column, got str$"),
        ({"a": [1, 2], "b": [1]}, ValueError, "'a' has 2 rows, column 'b' has 1"),
        ({"a": [1, 2], "b": [1], "c": []}, ValueError, "'a' has 2 rows, column 'b' has 1"),
        ({"a": []}, ValueError, "no rows"),
        ({"a": [1]}, ValueError, "at least 2 rows, got 1"),
        ({}, ValueError, "no column is left"),
        ({"a": "xy"}, TypeError, r"'a' is 'xy', expected a list.*\[value\]"),
        ({"a": 3}, TypeError, "'a' is 3, expected a list"),
        ({"a": np.ones((2, 2))}, ValueError, r"'a' has shape \(2, 2\)"),
        ({("a", "b"): [1, 2]}, TypeError, r"a string, got \('a', 'b'\)"),
        ({True: [1, 2]}, TypeError, "a string, got True"),
        ({"1": [1, 2], 1: [1, 2]}, ValueError, "two columns have the name '1'"),
    ],
)
def test_what_is_no_table_is_refused(table: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fitted(table)


def test_names_that_the_table_lacks_are_refused() -> None:
    rows = {"a": [1.0, 2], "b": [1.0, 2]}
    for option in ("ignore", "categories"):
        with pytest.raises(ValueError, match=f"no column 'c', which {option} names; it has 'a'"):
            fitted(rows, **{option: ["c"]})
    with pytest.raises(ValueError, match="no column 'c', the target"):
        fitted(rows, target="c")
    with pytest.raises(ValueError, match="no column is left"):
        fitted(rows, ignore=["a", "b"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": 1}, TypeError, "target is the name of a column or None, got 1"),
        ({"task": "classify"}, ValueError, "TableEncoder: task is 'auto', .*'classify'"),
        ({"missing": "drop"}, ValueError, "missing is 'error' or 'impute', not 'drop'"),
        ({"ignore": "id"}, TypeError, "ignore is a list of names of columns, got 'id'"),
        ({"categories": [1]}, TypeError, "categories is a list"),
        ({"most_categories": 0}, ValueError, "most_categories"),
        ({"target": "a", "ignore": ["a"]}, ValueError, "'a' is the target, and stands in ignore"),
    ],
)
def test_wrong_options_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TableEncoder(**options)


def test_before_fit_there_is_nothing_to_apply() -> None:
    encoder = TableEncoder(target="t")
    assert repr(encoder) == "TableEncoder(target='t', not fitted)"
    for call in (
        lambda: encoder.transform({"a": [1]}), lambda: encoder.targets({"t": [1]}),
        lambda: encoder.decode([[1.0]]), lambda: encoder.feature_names, encoder.summary,
        lambda: encoder.class_names, encoder.state_dict,
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"call fit\(training_rows\) first"):
            call()


def test_a_new_table_that_lacks_columns_is_refused_by_their_names() -> None:
    encoder = fitted(ROWS, target="kind")
    with pytest.raises(ValueError, match="no column 'size' and no 'day', from which"):
        encoder.transform({"color": ["red"], "fresh": [True]})
    with pytest.raises(ValueError, match="no column 'kind', the target"):
        encoder.targets({"size": [1]})
    for call in (encoder.transform, encoder.targets):
        with pytest.raises(ValueError, match="no rows"):
            call({name: [] for name in ROWS})
        with pytest.raises(TypeError, match=r"column 'kind|size' is 'rose', .* \[value\]"):
            call(dict.fromkeys(ROWS, "rose"))
        with pytest.raises(ValueError, match=r"column 'kind|size' has shape \(1, 2\)"):
            call({name: np.array([["rose", "oak"]]) for name in ROWS})


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("size", ["1.5", "n/a"], "held numbers .* and holds words here: 'n/a' in row 1"),
        ("size", ["n/a", "?"], "held numbers .* and holds words here: 'n/a' in row 0"),
        ("size", ["1.5", "2"], "held numbers .* and holds words here: '1.5' in row 0"),
        ("size", [True, False], "held numbers .* holds true/false"),
        ("size", np.array([True, False]), "held numbers .* true/false here: 'True' in row 0"),
        ("size", ["2024-01-01"] * 2, r"held numbers .* holds dates here: 19723 \(as days\)"),
        ("color", [1, 2], "held words .* and holds numbers here: 1 in row 0"),
        ("fresh", [1, 0], "held true/false .* holds numbers"),
        ("fresh", ["2024-01-01", "no"], "held true/false .* words here: '2024-01-01' in row 0"),
        ("day", ["2024-01-01", "soon"], "held dates .* holds words here: 'soon' in row 1"),
        ("day", [None, 3], "held dates .* holds numbers here: 3 in row 1"),
    ],
)
def test_a_column_of_another_type_is_refused_by_name(name: str, values: Any, message: str) -> None:
    encoder = fitted(ROWS, target="kind")
    rows = {key: column[:2] for key, column in ROWS.items()}
    with pytest.raises(ValueError, match=f"column '{name}' {message}"):
        encoder.transform(rows | {name: values})


def test_a_masked_column_of_gaps_alone_is_filled_whatever_its_type() -> None:
    encoder = fitted({"a": [1.0, None, 3.0]}, missing="impute")
    for dtype in (bool, int, float, object, "U1", "datetime64[D]"):
        gaps = np.ma.array(np.zeros(2, dtype), mask=True)
        assert encoder.transform({"a": gaps}).tolist() == [[0, 1], [0, 1]]


def test_a_number_too_far_off_for_float32_is_refused() -> None:
    encoder = fitted({"a": [0.0, 1e-30]})
    with pytest.raises(ValueError, match=r"'a': 1e\+10 in row 1 .* standard deviations"):
        encoder.transform({"a": [0.0, 1e10]})


# --- State ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: fitted(ROWS, target="kind"),
        with_gaps,
        lambda: with_gaps(target="full", ignore=["w"]),
        lambda: fitted(ROWS, categories=["size"], most_categories=7),
    ],
)
def test_a_saved_encoder_is_the_same_encoder(
    make: Callable[[], TableEncoder], tmp_path: Path
) -> None:
    encoder = make()
    minidl.save(tmp_path / "encoder.npz", encoder.state_dict())
    again = TableEncoder.from_state(minidl.load(tmp_path / "encoder.npz"))
    assert again.summary() == encoder.summary()
    assert vars(again) == vars(encoder)
    rows = ROWS | {"n": [1, None, 2, 3], "w": ["a", None, "b", "b"], "full": [1, 2, 3, 4]}
    assert again.transform(rows).tobytes() == encoder.transform(rows).tobytes()


def test_what_is_no_state_is_refused_and_changes_nothing() -> None:
    encoder = fitted(ROWS, target="kind")
    before, state = encoder.summary(), encoder.state_dict()
    for broken in (
        {}, state | {"more": 1}, state | {"features": [{}]}, state | {"goal": {"mean": 1}},
        state | {"missing": "never"}, state | {"features": 3},
        state | {"features": [{"categories": 3}]}, state | {"features": [[]]},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="TableEncoder"):
            encoder.load_state_dict(broken)
        assert encoder.summary() == before


NUMBER, COLOR, GOAL = ("features", 0), ("features", 1), ("goal",)
SAME = {"name": "same", "kind": "numbers", "mean": 1.0, "std": 0.0, "fill": 1.0, "gaps": 0}


@pytest.mark.parametrize(
    ("place", "name", "value", "message"),
    [
        (NUMBER, "name", 3, "NumberFeature: name is 3, not a string"),
        (NUMBER, "mean", "1.5", "mean is '1.5', not a finite float"),
        (NUMBER, "mean", np.ones(1), "not a finite float"),
        (NUMBER, "std", -1.0, "std is -1.0, less than 0"),
        (NUMBER, "fill", math.nan, "fill is nan, not a finite float"),
        (NUMBER, "gaps", True, "gaps is True, not a whole number of at least 0"),
        (NUMBER, "gaps", -1, "gaps is -1"),
        (NUMBER, "kind", "words", "kind is 'words', not one of"),
        (COLOR, "kind", "numbers", "kind is 'numbers'"),
        (COLOR, "categories", "red", "categories is 'red', not a list of different strings"),
        (COLOR, "categories", ["red", 5], "not a list of different strings"),
        (COLOR, "categories", ["red", "red"], "not a list of different strings"),
        (COLOR, "categories", [], "not a list of different strings"),
        (COLOR, "fill", "violet", "'color': fill is 'violet', which is no category"),
        (COLOR, "name", "size", "its columns are .'size', 'size'"),
        (COLOR, "name", "kind", "its target is 'kind'"),
        ((), "features", [SAME], "its columns are .'same'"),
        (GOAL, "names", ["rose", None], "Classes: names is"),
        (GOAL, "kind", "dates", "Classes: kind is 'dates'"),
        (GOAL, "more", 1, "more"),
        ((), "goal", None, "its target is 'kind', its goal None"),
        ((), "target", None, "its target is None, its goal"),
    ],
)
def test_a_state_that_was_changed_is_refused(
    place: tuple[Any, ...], name: str, value: Any, message: str
) -> None:
    rows = {"size": [1.0, 2.0], "color": ["red", "blue"], "kind": ["rose", "daisy"]}
    encoder = fitted(rows, target="kind")
    state = encoder.state_dict()
    changed: Any = state
    for step in place:
        changed = changed[step]
    changed[name] = value
    with pytest.raises(ValueError, match=f"no state of a TableEncoder, or was.*{message}"):
        encoder.load_state_dict(state)
    with pytest.raises(ValueError, match="no state of a TableEncoder but a list"):
        TableEncoder.from_state([state])  # type: ignore[arg-type]
    assert encoder.decode([[1, 0]]) == ["daisy"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("kind", "dates", "Quantity: kind is 'dates'"),
        ("mean", "1.5", "Quantity: mean is '1.5', not a finite float"),
        ("std", -1.0, "Quantity: std is -1.0, less than 0"),
    ],
)
def test_a_state_of_which_the_quantity_was_changed_is_refused(
    name: str, value: Any, message: str
) -> None:
    state = fitted({"a": [1.0, 2], "t": [1.5, 2]}, target="t").state_dict()
    state["goal"][name] = value
    with pytest.raises(ValueError, match=f"no state of a TableEncoder, or was.*{message}"):
        TableEncoder.from_state(state)


def test_a_state_of_lists_is_as_good_as_one_of_tuples() -> None:
    encoder = fitted(ROWS, target="kind")
    again = TableEncoder.from_state(json.loads(json.dumps(encoder.state_dict())))
    assert vars(again) == vars(encoder)


def test_what_a_state_lacks_and_what_it_has_too_many_of_is_told() -> None:
    encoder = fitted(ROWS)
    state = encoder.state_dict() | {"more": 1}
    del state["task"]
    with pytest.raises(ValueError, match=r"missing \['task'\], unexpected \['more'\]"):
        encoder.load_state_dict(state)


def test_a_state_is_a_copy() -> None:
    encoder = fitted(ROWS, target="kind")
    encoder.state_dict()["features"].clear()
    assert len(encoder.feature_names) == 6


def test_a_stranger_reads_what_became_of_the_columns() -> None:
    text = with_gaps(target="full").summary()
    assert text.splitlines() == [
        "TableEncoder(2 columns, 5 features, regression of 'full')",
        "  n     numbers     mean 3.5, standard deviation 2.179; 1 missing, filled with 3, marked",
        "  w     words       2 categories: a, b; 1 missing, filled with b, marked",
        "  full  target      numbers, mean 2.5, standard deviation 1.118",
    ]


def test_long_texts_and_line_breaks_do_not_break_the_lines_of_a_summary() -> None:
    long, fits = "no word but a text " * 5, "a text of as many signs as stand in full"
    rows = {"a\nb": ["x\ny", long, None, long], "k": ["p\nq", "r", "r", "r"]}
    assert fitted(rows, target="k", missing="impute").summary().splitlines()[1:] == [
        "  a b  words       2 categories: no word but a text no word but a text..., x y; "
        "1 missing, filled with no word but a text no word but a text..., marked",
        "  k    target      2 classes: p q, r",
    ]
    for n, end in ((6, "w5"), (7, "w5, and 1 more")):
        told = fitted({"a": [f"w{i}" for i in range(n)]}).summary()
        assert told.endswith(f"  {n} categories: w0, w1, w2, w3, w4, {end}")
    told = fitted({"a": [fits, "b"], "k": [f"{fits}s", "b"]}, target="k").summary()
    assert f"2 categories: {fits}, b" in told
    assert "2 classes: a text of as many signs as stand in f..., b" in told


def test_a_target_of_dates_is_sent_to_be_made_numbers() -> None:
    days = ["2024-12-31", "2025-01-01"]
    for t in (days, 2 * days):
        with pytest.raises(ValueError, match="holds dates, and a regression learns numbers: make "):
            fitted({"a": range(len(t)), "t": t}, target="t")


# --- pandas ---------------------------------------------------------------------------------------


@pytest.fixture
def pandas() -> Any:
    return pytest.importorskip("pandas", reason="the extra minidl[tables]")


def test_a_dict_needs_no_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    fitted(ROWS, target="kind").transform(ROWS)


def test_what_of_pandas_is_no_table_or_no_array_says_what_to_take(pandas: Any) -> None:
    frame = pandas.DataFrame(ROWS)
    encoder = fitted(frame, target="kind")
    with pytest.raises(TypeError, match=r"got Series; one row of a DataFrame is frame.iloc\[\[i\]"):
        encoder.transform(frame.iloc[0])
    with pytest.raises(
        TypeError, match=r"0 is a DataFrame that .*TableEncoder.*table\.iloc\[rows\]"
    ):
        minidl.data.train_test_split(frame)
    with pytest.raises(TypeError, match=r"array 1 is a Series that .*np\.unique\(labels"):
        minidl.data.DataLoader(encoder.transform(frame), frame["kind"])
    message = r"got \(4,\); the names of labels are np.array\(encoder.class_names\)\[labels\]$"
    with pytest.raises(ValueError, match=message):
        encoder.decode(encoder.targets(frame))
    with pytest.raises(ValueError, match=r"one number for each class, got \(2,\)$"):
        encoder.decode([0.5, 1.0])


def test_a_frame_gives_what_a_dict_gives(pandas: Any) -> None:
    frame = pandas.DataFrame(ROWS)
    one, other = fitted(frame, target="kind"), fitted(ROWS, target="kind")
    assert one.state_dict() == other.state_dict()
    shuffled = frame[["kind", "day", "fresh", "color", "size"]]
    assert one.transform(shuffled).tobytes() == other.transform(ROWS).tobytes()
    assert one.targets(frame).tolist() == other.targets(ROWS).tolist()


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        ([1, 2, None], "Int64", "numbers"),
        ([1, 2, None], "UInt8", "numbers"),
        ([1.5, 2, None], "Float64", "numbers"),
        ([1.5, 2, None], "float16", "numbers"),
        ([1.5, 2, None], "float32", "numbers"),
        ([1.5, 2, None], "object", "numbers"),
        ([2**53, 1, None], "Int64", "numbers"),
        ([True, False, None], "boolean", "true/false"),
        ([True, False, None], "object", "true/false"),
        (["a", "b", None], "string", "words"),
        (["a", "b", None], "object", "words"),
        (["a", "b", None], "str", "words"),
        (["a", "b", None], "category", "categories"),
        ([1, 2, None], "category", "categories"),
        (["2024-01-01", "2024-01-02", None], "category", "categories"),
        (["2024-01-01", "2024-01-02", None], "datetime64[ns]", "dates"),
        (["2024-01-01", "2024-01-02", None], "datetime64[s]", "dates"),
        (["2024-01-01", "2024-01-02", None], "datetime64[ns, Europe/Berlin]", "dates"),
        (["2024-01-01", "2024-01-02", None], "string", "dates"),
        (["1 days", "2 days", None], "timedelta64[ns]", "durations"),
    ],
)
def test_dtypes_of_pandas(pandas: Any, values: list[Any], dtype: str, kind: str) -> None:
    frame = pandas.DataFrame({"a": pandas.Series(values, dtype=dtype), "b": [1.0, 2, 3]})
    encoder = fitted(frame, missing="impute")
    feature = encoder.state_dict()["features"][0]
    assert (feature["kind"], feature["gaps"]) == (kind, 1)
    assert encoder.transform(frame)[2, -2] == 1
    with pytest.raises(ValueError, match="'a' lacks 1 of 3 values, first in row 2 "):
        fitted(frame)
    fitted(frame.iloc[:2])


def test_objects_of_pandas_in_columns_of_objects(pandas: Any) -> None:
    days = [pandas.Timestamp("2024-01-01"), pandas.NaT, pandas.Timestamp("2024-01-02")]
    spans = [pandas.Timedelta(hours=12), pandas.NaT, pandas.Timedelta(days=2)]
    for values in (days, spans, [1, pandas.NA, 3], ["x", pandas.NA, "y"]):
        for column in (values, pandas.Series(values, dtype=object)):
            encoder = fitted({"a": column}, missing="impute")
            assert encoder.state_dict()["features"][0]["gaps"] == 1
    assert fitted({"a": [spans[0], spans[2]]}).state_dict()["features"][0]["mean"] == 1.25


def test_time_zones_are_taken_into_account(pandas: Any) -> None:
    local = pandas.to_datetime(["2024-07-01", "2024-07-03"]).tz_localize("Europe/Berlin")
    encoder = fitted({"a": pandas.Series(local)})
    assert encoder.state_dict()["features"][0]["mean"] == pytest.approx(19906 - 2 / 24)


def test_durations_of_pandas_keep_their_nanoseconds(pandas: Any) -> None:
    encoder = fitted({"a": pandas.Series([1, 2, 6], dtype="timedelta64[ns]")})
    assert encoder.state_dict()["features"][0]["mean"] == pytest.approx(3e-9 / 86400)


def test_periods_and_other_objects_are_refused(pandas: Any) -> None:
    frame = pandas.DataFrame({"a": pandas.period_range("2024-01", periods=3, freq="M")})
    with pytest.raises(ValueError, match="is a Period, which is neither"):
        fitted(frame)


def test_rows_are_told_by_their_index_too(pandas: Any) -> None:
    for index, told in (([7, 3, 5], ", in the index 3"), (range(3), "")):
        frame = pandas.DataFrame({"a": [1.0, None, 2]}, index=index)
        with pytest.raises(ValueError, match=rf"row 1 \(counted from 0{told}\)"):
            fitted(frame)


def test_columns_that_come_twice_are_refused(pandas: Any) -> None:
    frame = pandas.DataFrame([[1, 2], [3, 4]], columns=["a", "a"])
    with pytest.raises(ValueError, match="two columns have the name 'a'"):
        fitted(frame)


def test_columns_with_numbers_for_names(pandas: Any) -> None:
    frame = pandas.DataFrame([[1.0, "x"], [3, "y"]])
    assert fitted(frame, target="1").feature_names == ("0",)


def test_mixed_types_are_named_with_their_first_rows(pandas: Any) -> None:
    frame = pandas.DataFrame({"a": [None, 1, "x", 2, "y"]})
    with pytest.raises(ValueError, match=r"mixes numbers \(1 in row 1 .*words \('x' in row 2 "):
        fitted(frame, missing="impute")


def test_large_whole_numbers_of_pandas_are_refused(pandas: Any) -> None:
    for dtype in ("int64", "Int64", "uint64", "object"):
        for last in [2] if dtype in ("int64", "uint64") else [2, None]:
            frame = pandas.DataFrame({"a": pandas.Series([2**53 + 1, 2, last], dtype=dtype)})
            with pytest.raises(ValueError, match="9007199254740993 in row 0"):
                fitted(frame, missing="impute")


def test_categories_that_no_row_has_are_no_features(pandas: Any) -> None:
    column = pandas.Series(pandas.Categorical(["x", "y", "x"], categories=["x", "y", "z"]))
    encoder = fitted({"a": column})
    assert encoder.feature_names == ("a=x", "a=y")
    assert encoder.transform({"a": ["y"]}).tolist() == [[0, 1]]


def test_categories_of_pandas_stay_such_in_new_rows_of_another_dtype(pandas: Any) -> None:
    encoder = fitted(pandas.DataFrame({"a": pandas.Series([1, 2, 2], dtype="category")}))
    for new in ([2, 1], ["2", "1"], np.array([2.0, 1.0])):
        assert encoder.transform({"a": new}).tolist() == [[0, 1], [1, 0]]
    words = fitted({"a": ["x", "y", "y"]})
    column = pandas.Series(["y", "x"], dtype="category")
    assert words.transform({"a": column}).tolist() == [[0, 1], [1, 0]]
    again = TableEncoder.from_state(encoder.state_dict())
    assert again.transform({"a": [2, 1]}).tolist() == [[0, 1], [1, 0]]


def test_no_warning_of_pandas_comes_through(pandas: Any) -> None:
    frame = pandas.DataFrame(ROWS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(frame.iloc[:3], target="kind").transform(frame)
