"""read_table: ugly CSV files become a DataFrame, or an error that says what to pass."""

from __future__ import annotations

import gzip
import sys
import warnings
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minidl.data import TableEncoder, read_table


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a file of the given text."""

    def written(text: str | bytes, name: str = "ugly.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


def test_without_pandas_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        ImportError, match=r"data\.read_table needs pandas.*pip install 'minidl\[tables\]'"
    ):
        read_table(write("a,b\n1,2\n"))


# The text of a file, how it is read, and its columns.
UGLY: dict[str, tuple[str | bytes, dict[str, Any], dict[str, list[Any]]]] = {
    "semicolons and decimal commas": (
        "größe;preis\n1,5;10\n2,25;20\n", {"decimal": ","},
        {"größe": [1.5, 2.25], "preis": [10, 20]},
    ),
    "latin-1": (
        "café;n\nthé;1\n".encode("latin-1"), {"encoding": "latin-1"}, {"café": ["thé"], "n": [1]},
    ),
    "UTF-16": ("a\tb\n1\té\n".encode("utf-16"), {"encoding": "utf-16"}, {"a": [1], "b": ["é"]}),
    "tabs": ("a\tb\n1\tx, y\n", {}, {"a": [1], "b": ["x, y"]}),
    "the delimiter that is given": ("a,b;c\n1,2;3\n", {"delimiter": ";"},
                                    {"a,b": ["1,2"], "c": [3]}),
    "bars": ("a|b\n1|x\n", {}, {"a": [1], "b": ["x"]}),
    "line breaks and quotes in quotes": (
        'a,b\n"one\ntwo",1\n"a ""b""",2\n', {}, {"a": ["one\ntwo", 'a "b"'], "b": [1, 2]},
    ),
    "thousands": ("a;b\n1.500,5;1\n2.000;2\n", {"decimal": ",", "thousands": "."},
                  {"a": [1500.5, 2000], "b": [1, 2]}),
    "thousands in the Indian way, beside dates and codes": (
        "a;d;k\n-12,34,567.5;1,2,2024;1,2\n?;;3\n1,234e1;3,4,2024;4\n",
        {"thousands": ",", "dates": {"d": "%d,%m,%Y"}, "categories": ["k"],
         "missing_words": ["?"]},
        {"a": [-1234567.5, None, 12340], "d": [datetime(2024, 2, 1), None, datetime(2024, 4, 3)],
         "k": ["1,2", "3", "4"]},
    ),
    "a missing word with the mark of thousands": (
        "a\n1 500\nnot known\n", {"thousands": " ", "missing_words": ["not known"]},
        {"a": [1500, None]},
    ),
    "a byte order mark and Windows lines": (
        "\ufeffa,b\r\n1,2\r\n", {}, {"a": [1], "b": [2]},
    ),
    "spaces and blank lines": (" a , b\n\n1, x\n   \n", {}, {"a": [1], "b": ["x"]}),
    "a row of gaps": (
        "a;b\n;\n1.500;x\n", {"thousands": ".", "decimal": ","},
        {"a": [None, 1500], "b": [None, "x"]},
    ),
    "quotes after a space": ('a, b\n1, "x, y"\n', {}, {"a": [1], "b": ["x, y"]}),
    "a Windows line break in a name": ('"a\r\nb",c\r\n1,2\r\n', {}, {"a\r\nb": [1], "c": [2]}),
    "missing words": ("a,b\n1,x\nN/A,y\n,z\n", {}, {"a": [1, None, None], "b": ["x", "y", "z"]}),
    "one's own missing words": (
        "a,b\n1,NA\n?,DE\n", {"missing_words": ["?"]}, {"a": [1, None], "b": ["NA", "DE"]},
    ),
    "no header, and one row": ("1,x\n", {"header": False}, {"0": [1], "1": ["x"]}),
    "no header": ("1,x\n2,y\n", {"header": False}, {"0": [1, 2], "1": ["x", "y"]}),
    "postcodes": (
        "plz,n\n01067,1\n99999,2\n", {"categories": ["plz"]},
        {"plz": ["01067", "99999"], "n": [1, 2]},
    ),
    "true and false": ("a,b\nTrue,1\nfalse,2\n", {}, {"a": [True, False], "b": [1, 2]}),
    "yes and no": ("a,b\nyes,1\nno,2\n", {}, {"a": ["yes", "no"], "b": [1, 2]}),
    "a column that counts the rows": (",a\n0,5\n1,6\n", {}, {"Unnamed: 0": [0, 1], "a": [5, 6]}),
    "one column": ("a\n1\n2\n", {}, {"a": [1, 2]}),
    "a last field that is always empty": ("a,b,\n1,2,\n", {}, {"a": [1], "b": [2],
                                                             "Unnamed: 2": [None]}),
}  # fmt: skip


@pytest.mark.parametrize("name", UGLY)
def test_an_ugly_file_is_read(write: Callable[..., Path], name: str) -> None:
    pandas = pytest.importorskip("pandas", reason="the extra minidl[tables]")
    text, options, expected = UGLY[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = read_table(write(text), **options)
    assert list(frame.columns) == [*expected]
    for column, values in expected.items():
        found = [None if pandas.isna(value) else value for value in frame[column].tolist()]
        assert found == values


def test_a_column_is_of_one_kind_in_a_large_file_too(write: Callable[..., Path]) -> None:
    pytest.importorskip("pandas", reason="the extra minidl[tables]")
    n, wide = 2048, 256  # pandas parses so many at a time, unless told otherwise
    rows = [
        ",".join(map(str, range(wide))),
        *["1" + ",1" * (wide - 1)] * n,
        "q" + ",1" * (wide - 1),
    ]
    frame = read_table(write("\n".join(rows)))
    assert frame["0"].tolist() == ["1"] * n + ["q"]


def test_a_packed_file_is_unpacked(write: Callable[..., Path]) -> None:
    pytest.importorskip("pandas", reason="the extra minidl[tables]")
    path = write(gzip.compress(b"a;b\n1;2\n"), "table.csv.gz")
    assert read_table(path).to_dict("list") == {"a": [1], "b": [2]}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "ugly.csv is empty"),
        ("\n\n", {}, "ugly.csv is empty"),
        (b"PK\3\4\0", {}, "ugly.csv is no CSV file but an archive.*pandas.read_excel"),
        ("a,b\n", {}, "a header and no rows"),
        ("a,b\n1,2\n1,2,3\n", {}, "line 3: 3 fields, but the first line has 2 .*delimiter="),
        ("a,b\n1,2,3\n4,5,6\n", {}, "line 2: 3 fields, but the first line has 2"),
        ("a,b,c\n1,2,3\n1,2\n", {}, "line 3: 2 fields, but the first line has 3"),
        ("a,b\n1,2\n5\n", {}, "line 3: 1 fields"),
        ('a,b\n"x\ny",1\n1\n', {}, "line 4: 1 fields"),
        ("a,a\n1,2\n", {}, "line 1: two columns have the name 'a'.*header=False"),
        ('a,b\n1,"x\n2,y\n', {}, "line 2: broken CSV"),
        ('a,b\n1,"x"y\n', {}, "line 2: broken CSV.*written twice"),
        ("a,b\n1,é\n".encode("cp1252"), {}, "not in the encoding UTF-8.*encoding='cp1252'"),
        ("a,b\n1,é\n".encode("utf-16"), {}, "not in the encoding UTF-8.*'utf-16'"),
        ("a,b\n1,2\n", {"encoding": "utf-16"}, "not in the encoding utf-16"),
        ("a,b\n1,2\n", {"encoding": "klingon"}, "unknown encoding: klingon"),
        ("a,b\n1,2\n", {"decimal": ","}, "delimiter and decimal are both ','"),
        ("a,b\n1,2\n", {"decimal": ",", "thousands": ","}, "decimal and thousands are both"),
        ("a,b\n1,2\n", {"delimiter": ", "}, "delimiter is one character"),
        ("a,b\n1,2\n", {"delimiter": "\n"}, r"ugly\.csv: .* cannot be used as a separator"),
        ("a,b\n1,2\n", {"decimal": ""}, "decimal is one character"),
        ("a,b\n1,2\n", {"decimal": None}, "decimal is one character.*, not None"),
        ("a,b\n1,2\n", {"categories": ["c"]}, "no column 'c'; it has a, b"),
        ("a,b\n1,2\n", {"dates": {"c": "%d"}}, "no column 'c'"),
        (
            "d,b\n31.12.2024,1\n\n2024-12-31,2\n", {"dates": {"d": "%d.%m.%Y"}},
            "line 4, column 'd': '2024-12-31' is no date of the form '%d.%m.%Y'",
        ),
        ("31.12,1\n31.12.2024,2\n", {"dates": {"0": "%d.%m.%Y"}, "header": False}, "line 1,"),
        ('"a"b,c\n', {}, "line 1: broken CSV"),
        ("31.12.2024,1\n31.12,2\n", {"dates": {"0": "%d.%m.%Y"}, "header": False}, "line 2,"),
        # pandas would make 31122024 of it, 15 and 12.
        (
            "a;d\n1.500;1\n2;31.12.2024\n", {"decimal": ",", "thousands": "."},
            r"line 3, column 'd': '31.12.2024' is no number .*dates=\{'d': '%d.%m.%Y'\}",
        ),
        ("a;b\n1;x\n1.5;y\n", {"decimal": ",", "thousands": "."}, "line 3, column 'a': '1.5'"),
        ("a;b\n1.5;x\n2;y\n", {"decimal": ",", "thousands": "."}, "line 2, column 'a': '1.5'"),
        ("a;b\n;\n1.5;x\n", {"decimal": ",", "thousands": "."}, "line 3, column 'a': '1.5'"),
        ("1;x\n1 2 ;y\n", {"thousands": " ", "header": False}, r"line 2, column '0': '1 2' is no "
         r"number .*categories=\['0'\]"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_where_and_what_to_pass(
    write: Callable[..., Path], text: str | bytes, options: dict[str, Any], message: str
) -> None:
    pytest.importorskip("pandas", reason="the extra minidl[tables]")
    with pytest.raises(ValueError, match=message):
        read_table(write(text), **options)


def test_wrong_options_of_another_kind(write: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="the extra minidl[tables]")
    with pytest.raises(TypeError, match="header is True or False, got 'auto'"):
        read_table(write("a,b\n1,2\n"), header="auto")  # type: ignore[arg-type]
    for name in ("categories", "dates"):
        with pytest.raises(TypeError, match=f"read_table: {name} is"):
            read_table(write("a,b\n1,2\n"), **{name: "a"})
    with pytest.raises(TypeError, match="read_table: missing_words is"):
        read_table(write("a,b\n1,2\n"), missing_words="NA")
    with pytest.raises(FileNotFoundError, match=r"missing\.csv"):
        read_table(tmp_path / "missing.csv")


# --- Into the encoder -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "read", "encode", "names"),
    [
        ("d;t\n31.12.2024;1,5\n01.01.2025;2\n", {"decimal": ",", "dates": {"d": "%d.%m.%Y"}}, {},
         ("d",)),
        ("d,t\n2024-12-31,1.5\n2025-01-01,2\n", {}, {}, ("d",)),
        ("plz,t\n01067,1.5\n99999,2\n", {"categories": ["plz"]}, {}, ("plz=01067", "plz=99999")),
        ("a,t\nyes,1.5\nno,2\n", {}, {}, ("a=no", "a=yes")),
        ("a,b,t\nTrue,1,1.5\n,2,2\nFalse,3,1\n", {}, {"missing": "impute"},
         ("a=False", "a=True", "a is missing", "b")),
    ],
)  # fmt: skip
def test_what_was_read_is_encoded(
    write: Callable[..., Path], text: str, read: Any, encode: Any, names: tuple[str, ...]
) -> None:
    pytest.importorskip("pandas", reason="the extra minidl[tables]")
    frame = read_table(write(text), **read)
    encoder = TableEncoder(target="t", task="regression", **encode).fit(frame)
    assert encoder.feature_names == names
    assert np.isfinite(encoder.transform(frame)).all()
    np.testing.assert_allclose(encoder.decode(encoder.targets(frame)), frame["t"], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a;t\n1,5;x\n2,5;y\n", "'a' holds words that look like numbers.*decimal=','"),
        ("a;t\n1,5;x\n1,500;y\n", r"read_table\(path, decimal=','\) if the comma is"),
        ("a;t\n1,5;x\n-1.500,25;y\n", r"read_table\(path, decimal=',', thousands='.'\) if the"),
        ("a;t\n-1.500,25;x\n1,5;y\n", r"read_table\(path, decimal=',', thousands='.'\) if the"),
        ("a;t\n1,500.5;x\n2;y\n3,400;y\n", r"read_table\(path, thousands=','\) if a comma div"),
        ("a;t\n$1,5;x\n2,5;y\n", r"read_table\(path, decimal=','\) if the comma is"),
        ("a;t\n2,5;x\n1,5 %;y\n", r"read_table\(path, decimal=','\) if the comma is"),
        ("a;t\n1.500.000;x\n2.500.000;y\n", "look like numbers.*, thousands='.'"),
        ("a;t\n31.12.2024;x\n1.1.2025;y\n", r"look like dates.*dates=\{'a': '%d.%m.%Y'\}\);"),
        ("a;t\n12/31/24;x\n1/1/25;y\n", r"dates=\{'a': '%m/%d/%y'\}\);"),
        ("a;t\n2024/1/2;x\n2024/1/3;y\n", r"dates=\{'a': '%Y/%m/%d'\}\);"),
        ("a;t\n1.2.2024;x\n3.4.2024;y\n", "'%d.%m.%Y'}.* or '%m.%d.%Y', which fits as well;"),
        ("a;t\n1.2.2024 10h;x\n3.4.2024 2h;y\n", "'%d.%m.%Y'}.*, in whatever order;"),
        ("a;t\n1;x\n2;x\n-;y\n", "'-' .* are none: .*missing_words"),
        ("a;t\n123456789012345678901234567890;x\n1;y\n", "look like numbers|too large|more digits"),
        ("a;t\n1234567890123456789;x\n1;y\n", "more digits than float64 holds"),
        ("a;t\ninf;x\n1;y\n", "inf in row 0 .* is infinite"),
        ("a;t\n;x\n1;y\n", "'a' lacks 1 of 2"),
        ("a;t\n1;\n1;y\n", "'t' lacks 1 of 2 .*target"),
    ],
)
def test_what_must_not_be_encoded_as_it_was_read_is_refused(
    write: Callable[..., Path], text: str, message: str
) -> None:
    pytest.importorskip("pandas", reason="the extra minidl[tables]")
    with pytest.raises(ValueError, match=message):
        TableEncoder(target="t").fit(read_table(write(text)))
