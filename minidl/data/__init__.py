"""Data on its way to the model: ready-made data sets, the user's own, and batches of them.

Arrays come in and ndarrays go out; nothing here knows of tensors or models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidl.data.csv_file import Table, load_csv
from minidl.data.datasets import (
    IRIS_CLASSES,
    IRIS_FEATURES,
    load_digits,
    load_iris,
    load_names,
    make_blobs,
    make_moons,
    make_spirals,
)
from minidl.data.idx import load_idx
from minidl.data.inputs import MultiInputLoader
from minidl.data.loader import DataLoader
from minidl.data.tables import (
    PENGUINS_CLASSES,
    PENGUINS_FEATURES,
    WINE_CLASSES,
    WINE_FEATURES,
    load_penguins,
    load_wine,
)
from minidl.data.transforms import Standardize, one_hot, train_test_split

if TYPE_CHECKING:
    from minidl.data.encoder import TableEncoder
    from minidl.data.reading import read_table

__all__ = [
    "IRIS_CLASSES",
    "IRIS_FEATURES",
    "PENGUINS_CLASSES",
    "PENGUINS_FEATURES",
    "WINE_CLASSES",
    "WINE_FEATURES",
    "DataLoader",
    "MultiInputLoader",
    "Standardize",
    "Table",
    "TableEncoder",
    "load_csv",
    "load_digits",
    "load_idx",
    "load_iris",
    "load_names",
    "load_penguins",
    "load_wine",
    "make_blobs",
    "make_moons",
    "make_spirals",
    "one_hot",
    "read_table",
    "train_test_split",
]


def __getattr__(name: str) -> Any:
    # What is for tables alone would be a tenth of the time of ``import minidl``.
    if name == "TableEncoder":
        from minidl.data.encoder import TableEncoder

        return TableEncoder
    if name == "read_table":
        from minidl.data.reading import read_table

        return read_table
    raise AttributeError(f"module 'minidl.data' has no attribute {name!r}")
