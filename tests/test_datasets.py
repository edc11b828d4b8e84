"""Data sets: the two that come along, the user's CSV, synthetic ones; the package as a whole."""

from __future__ import annotations

import gzip
import pickle
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

import minidl.data
from minidl.data import (
    IRIS_CLASSES,
    IRIS_FEATURES,
    DataLoader,
    Table,
    load_csv,
    load_digits,
    load_idx,
    load_iris,
    make_blobs,
    make_moons,
    make_spirals,
    plain_csv,
    train_test_split,
)
from minidl.data import csv_file as csv_reading
from minidl.rng import seed


def bits(arrays: Iterable[np.ndarray]) -> list[tuple[str, bytes]]:
    return [(array.dtype.str, array.tobytes()) for array in arrays]


# --- The data sets that come along ----------------------------------------------------------------


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
    assert {"digits.csv.gz", "iris.csv", "penguins.csv", "wine.csv"} <= {*others}
    assert all(name in text for name in others)
    for fact in ("10.24432/C50P49", "10.24432/C56C76", "CC BY 4.0", "10.24432/C5PC7J", "e90081"):
        assert fact in text


def test_data_sets_are_fresh_on_every_call() -> None:
    for load in (load_digits, load_iris):
        load()[0][:] = -1
        assert (load()[0] >= 0).all()


# --- load_csv -------------------------------------------------------------------------------------


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
    table = load_csv(csv_file("a:price\n1:0.1\n2:20\n"), "price", ":", task="regression")
    assert table.y.tolist() == [np.float32(0.1), 20]


@pytest.mark.parametrize(
    ("target", "features"),
    [(0, ("b", "c")), (1, ("a", "c")), (-1, ("a", "b")), (-3, ("b", "c")), ("b", ("a", "c"))],
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
        ("a,t\n,\n2,y\n", "line 2, column 'a': no value"),
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
        ("a,t\n1,nan\n2,NaN\n", "line 2, column 't': no label"),
        ("a,t\n1,nan\n2,x\n", "line 2, column 't': no label"),
        ("a,b\n1,x\n", r"no column 't' for the target; it has \['a', 'b'\]"),
        ("a,a,t\n1,2,x\n", "column 1 .* has the name 'a' of an earlier column"),
        (",a,t\n0,1,x\n", "column 0 .* has no name.*index=False"),
        ("5.1,3.5,t\n4.9,3.0,x\n", "is the number 5.1: .*header=False"),
        ("a;t\n1;x\n", r"the one column 'a;t'.*delimiter=';'"),
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
    with pytest.raises(TypeError, match="target is the name or the place"):
        load_csv(path, np.array(["a", "t"]))  # type: ignore[arg-type]
    for place in (2, -3):
        with pytest.raises(ValueError, match=rf"no column {place} .* it has \['a', 't'\]"):
            load_csv(path, place)
    with pytest.raises(
        ValueError, match="load_csv: task is 'classification' or 'regression', not 'classify'"
    ):
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


def test_csv_is_read_as_ever_by_who_lets_numpy_raise(csv_file: Callable[..., Path]) -> None:
    path = csv_file("a,b\n1e-60,0.1\n1e-310,0\n")
    with np.errstate(all="raise"):
        table = load_csv(path, "b", task="regression")
    assert table.x.tolist() == [[1e-60], [1e-310]]


@pytest.mark.parametrize(
    "text",
    [
        "16777216",
        "16777218",
        "1700000000",
        "9007199254740992",
        "0.1",
        "-0",
        "1e-37",
        "1e10",
        "3.4028234663852886e38",
    ],
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
    assert load_csv(csv_file("5:a\n1:b\n"), -1, ":", header=False).x.tolist() == [[5], [1]]
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,t\n,x\n", r"no value.*data\.read_table.*minidl\[tables\].*missing='impute'"),
        ("a,t\nNaN,x\n", "not finite.*data.read_table.*missing='impute'"),
        ("a,t\nN/A,x\n", "'N/A' is not a number: if it stands for a missing value.*'impute'"),
        ("a,t\nred,x\n", "if it is one of words, read the file with data.read_table.*Encoder"),
        ('a,t\n"1,5",x\n', r"'1,5' .* decimal comma.*read_table\(path, decimal=','\)"),
        ('a,t\n"1,500.5",x\n', r"thousands separator.*read_table\(path, thousands=','\)"),
        ("a,t\n1 500,x\n", r"thousands separator.*read_table\(path, thousands=' '\)"),
        ("a,t\n2024-12-31,x\n", "dates are no numbers.*data.read_table"),
        ("a,t\n31.12.2024,x\n", "dates are no numbers.*data.read_table"),
        ('a,t\n"x"y,x\n', "broken CSV.*repair the quotes, or read the file with data.read_table"),
        ("a,t\n1,é\n".encode("latin-1"), r"read_table\(path, encoding=\.\.\.\)"),
        ("a\tt\n1\tx\n", r"pass their delimiter='\\t'"),
        ("a,t\n1,x,y\n", "2 fields.*quotes|3 fields.*in quotes"),
    ],
)
def test_csv_that_is_more_than_numbers_says_what_reads_it(
    csv_file: Callable[..., Path], text: str | bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_csv(csv_file(text), "t")


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_read_fast_is_what_record_by_record_gives(
    csv_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, task: str, end: str
) -> None:
    """In blocks of a few lines each, at every delimiter, with values on all borders."""
    monkeypatch.setattr(plain_csv, "_BLOCK", 40)
    fields = [
        "1",
        " 2.5",
        "0.1",
        "-0",
        ".5",
        "1e-3",
        "-3e2",
        "16777216",
        "+4",
        "7.",
        "9007199254740991",
    ]
    for delimiter in ",;\t|":
        for wide in (0, 1):
            values = [fields[(i * 7) % (len(fields) - (not wide))] for i in range(40)]
            rows = [delimiter.join(["a", "t", "b"])]
            rows += [delimiter.join([v, f" {i % 3}", "2"]) for i, v in enumerate(values)]
            path = csv_file(("\ufeff" + end.join([*rows[:3], "", *rows[3:]])).encode())
            with monkeypatch.context() as fast_only:
                fast_only.setattr(csv_reading, "_numbers", None)
                fast = load_csv(path, "t", delimiter, task=task)  # type: ignore[arg-type]
            with monkeypatch.context() as exactly:
                exactly.setattr(csv_reading, "read_plain", lambda *_: None)
                exact = load_csv(path, "t", delimiter, task=task)  # type: ignore[arg-type]
            assert bits(fast[:2]) == bits(exact[:2])
            assert fast[2:] == exact[2:]
            assert fast.x.dtype == (np.float64 if wide else np.float32)
            assert len(fast.x) == 40
            assert plain_csv.read_plain(path, 1, 3, 1, delimiter, task == "classification")


def test_csv_takes_quotes_off_labels_and_nothing_else(csv_file: Callable[..., Path]) -> None:
    for end in ("\n", "\r\n", "\r"):
        path = csv_file(end.join(["a,t", '1,"x"', '"2","y z"', "3,x", ""]))
        plain = plain_csv.read_plain(path, 1, 2, 1, ",", True)
        assert plain is not None
        assert (plain.labels, plain.y[0].tolist()) == (("x", "y z"), [0, 1, 0])
        assert plain.x[0].tolist() == [[1], [2], [3]]
    assert load_csv(csv_file("a,t\n1,x#1\n2,x#2\n"), "t").class_names == ("x#1", "x#2")
    for odd in ('"x,y"', '"x""y"', '"x"y', 'x"y"', ' "x"', '"x" ', '"x\ny"', '"x'):
        path = csv_file(f"a,t\n1,{odd}\n2,y\n")
        assert plain_csv.read_plain(path, 1, 2, 1, ",", True) is None, odd
    with pytest.raises(ValueError, match="line 2: 2 fields, but the first line has 3"):
        load_csv(csv_file('a,b,t\n1,"2,x"\n3,"4,y"\n'), "t")


def test_csv_leaves_what_is_not_plain_to_be_read_exactly(csv_file: Callable[..., Path]) -> None:
    for odd in ["x", "", "2#3", "nan", "inf", "1_0", "9007199254740992", '""', "1,2", "\0", "0x1"]:
        path = csv_file(f"a,t\n1,2\n{odd},3\n")
        assert plain_csv.read_plain(path, 1, 2, 1, ",", False) is None, odd
    assert plain_csv.read_plain(csv_file("a:t\n1:2\n"), 1, 2, 1, ":", False) is None
    assert plain_csv.read_plain(csv_file("a,t\n\n"), 1, 2, 1, ",", False) is None
    assert plain_csv.read_plain(csv_file("\ufeff1,2\n"), 0, 2, 1, ",", False)
    # Consistent in itself, and yet not what the header says.
    assert plain_csv.read_plain(csv_file("a,t\n1,2,3\n"), 1, 2, 1, ",", False) is None


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_with_a_line_break_in_a_name_keeps_every_row(
    csv_file: Callable[..., Path], end: str
) -> None:
    table = load_csv(csv_file(f'"a{end}b",t\n1,x\n2,y\n'), "t")
    assert table.feature_names == (f"a{end}b",)
    assert table.x.tolist() == [[1], [2]]


def test_csv_of_many_rows_keeps_all_in_their_order(
    csv_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_reading, "_ROWS", 3)
    for n in (9, 10):  # the comma in each label is not plain
        table = load_csv(csv_file("a,t\n" + "".join(f'{i},"{i},"\n' for i in range(n))), "t")
        assert table.x[:, 0].tolist() == table.y.tolist() == list(range(n))


def test_csv_looks_at_each_name_of_the_header_once(csv_file: Callable[..., Path]) -> None:
    n = 100_000  # each name against all others would be five billion comparisons
    names, row = ",".join(f"c{i}" for i in range(n)), ",".join(["1"] * n)
    assert load_csv(csv_file(f"{names},t\n{row},x\n{row},y\n"), "t").x.shape == (2, n)
    with pytest.raises(ValueError, match=f"column {n} .* has the name 'c7' of an earlier column"):
        load_csv(csv_file(f"{names},c7\n{row},x\n"), -1)


@pytest.mark.parametrize("delimiter", [";;", "", None])
def test_load_csv_takes_one_character_as_delimiter(delimiter, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,y\n1,0\n2,1\n")
    with pytest.raises(ValueError, match="delimiter is one character"):
        load_csv(path, "y", delimiter=delimiter)


# --- Synthetic data -------------------------------------------------------------------------------

MAKERS = [make_spirals, make_moons, make_blobs]


@pytest.mark.parametrize("make", MAKERS)
def test_synthetic_data_repeats_by_seed_and_is_shared_evenly(make: Callable) -> None:
    x, y = make(101, rng=0)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((101, 2), np.float32, (101,), np.int64)
    assert x.flags.c_contiguous
    assert np.ptp(np.bincount(y)) <= 1
    assert y.tolist() != sorted(y)
    assert bits(make(101, rng=0)) == bits((x, y))
    assert bits(make(101, rng=1)) != bits((x, y))


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
    assert set(y) == {0, 1}


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
        ({"n": 1}, ValueError, "n is a whole number of at least"),
        ({"n": 10.0}, TypeError, "n is a whole number"),
        (
            {"noise": -0.1},
            ValueError,
            "noise, a standard deviation, is a finite number, at least 0, got",
        ),
        (
            {"noise": float("nan")},
            ValueError,
            "noise, a standard deviation, is a finite number, at least 0, got",
        ),
        (
            {"noise": float("inf")},
            ValueError,
            "noise, a standard deviation, is a finite number, at least 0, got",
        ),
        ({"noise": "0.1"}, TypeError, "noise, .*, is a finite number"),
        ({"rng": 1.5}, TypeError, r"a seed \(.*default_rng.* is a whole number, got 1\.5"),
    ],
)
def test_synthetic_data_refuses(
    make: Callable, options: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(**options)


@pytest.mark.parametrize(("make", "name"), [(make_spirals, "arms"), (make_blobs, "centers")])
def test_classes_are_at_least_two_and_not_more_than_samples(make: Callable, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is a whole number of at least 2, got 1"):
        make(10, 1)
    with pytest.raises(ValueError, match="n is a whole number of at least 4, got 3"):
        make(3, 4)


@pytest.mark.parametrize("make", MAKERS)
def test_synthetic_samples_come_in_random_order(make):
    _, y = make(60, rng=0)
    assert y.tolist() != (np.arange(60) % (y.max() + 1)).tolist()
    assert y.tolist() != sorted(y)


# --- The package as a whole -----------------------------------------------------------------------


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


# --- IDX ------------------------------------------------------------------------------------------

KINDS = [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")]


def idx(kind: int, numbers: np.ndarray) -> bytes:
    header = bytes([0, 0, kind, numbers.ndim]) + np.array(numbers.shape, ">u4").tobytes()
    return header + numbers.astype(numbers.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize(("kind", "dtype"), KINDS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 28, 28)])
def test_idx_of_every_kind_gzipped_or_not(
    kind: int, dtype: str, packed: bool, shape: tuple[int, ...], tmp_path: Path
) -> None:
    numbers = np.random.default_rng(0).uniform(-100, 100, shape)
    numbers = np.abs(numbers).astype(dtype) if dtype == "u1" else numbers.astype(dtype)
    path = tmp_path / "numbers"  # whose name does not tell
    path.write_bytes(gzip.compress(idx(kind, numbers)) if packed else idx(kind, numbers))
    found = load_idx(path)
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative
    assert found.flags.writeable
    np.testing.assert_array_equal(found, numbers)
    np.testing.assert_array_equal(load_idx(str(path)), numbers)


LABELS = idx(8, np.arange(6, dtype="u1"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "begins with the bytes (none)"),
        (b"\0\0\x08", "begins with the bytes 00 00 08, expected 00 00"),
        (b"\0", "begins with the bytes 00, expected 00 00"),
        (b"\x89PNG....", "begins with the bytes 89 50 4e 47, expected 00 00, a kind of numbers"),
        (b"\0\0\x0a\1" + LABELS[4:], "begins with the bytes 00 00 0a 01"),
        (b"\0\1" + LABELS[2:], "begins with the bytes 00 01 08 01"),
        (b"\1\0" + LABELS[2:], "begins with the bytes 01 00 08 01"),
        (b"\0\0\x08\0", "begins with the bytes 00 00 08 00"),
        (LABELS[:4], "ends within the lengths of its 1 axes"),
        (LABELS[:6], "ends within the lengths of its 1 axes"),
        (LABELS[:-1], "has 13 bytes, and its header says that it has 14: (6,) of uint8"),
        (LABELS + b"\0", "has 15 bytes, and its header says that it has 14"),
        (idx(12, np.ones((2, 2), "i4"))[:-4], "has 24 bytes, and its header says that it has 28"),
        (gzip.compress(LABELS)[:-9], "is gzipped, and broken"),
    ],
)
def test_idx_refuses_and_says_what_is_wrong(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(words)) as raised:
        load_idx(path)
    assert str(path) in str(raised.value)


def test_idx_that_is_missing_is_looked_for_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "train-labels-idx1-ubyte"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_idx(path)
    with pytest.raises(FileNotFoundError, match=r"nor a folder .*nowhere"):
        load_idx(tmp_path / "nowhere" / "labels")
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(LABELS)
    with pytest.raises(FileNotFoundError, match=r"but train-labels\.idx1-ubyte beside it"):
        load_idx(path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(LABELS))
    with pytest.raises(FileNotFoundError, match=r"but train-labels-idx1-ubyte\.gz beside it"):
        load_idx(path)
    path.write_bytes(LABELS)
    with pytest.raises(FileNotFoundError, match="but t10k-labels beside it"):
        (tmp_path / "t10k-labels").write_bytes(LABELS)
        load_idx(tmp_path / "t10k-labels.gz")


def test_the_package_exports_its_public_names_and_nothing_else() -> None:
    rooms = {path.stem for path in Path(minidl.data.__file__).parent.glob("*.py")}
    imported = {"annotations", "Any", "TYPE_CHECKING"}
    public = {name for name in vars(minidl.data) if not name.startswith("_")} - rooms - imported
    assert public <= set(minidl.data.__all__)
    assert all(hasattr(minidl.data, name) for name in minidl.data.__all__)
    assert not hasattr(minidl.data, "read_tables")
