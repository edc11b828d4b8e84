"""Reading CSV files that are more than plain numbers: with pandas, the optional extra ``tables``."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from minidl.extras import need


def read_table(
    path: str | os.PathLike[str],
    delimiter: str | None = None,
    decimal: str = ".",
    thousands: str | None = None,
    encoding: str | None = None,
    header: bool = True,
    *,
    dates: Mapping[str, str] | None = None,
    categories: Collection[str] = (),
    missing_words: Sequence[str] | None = None,
) -> Any:
    """Read a CSV file of whatever kind into a DataFrame, for :class:`TableEncoder`."""
    pandas = need("pandas", extra="tables", what="data.read_table")
    frame = pandas.read_csv(
        path,
        sep=delimiter or ",",
        decimal=decimal,
        thousands=thousands,
        encoding=encoding or "utf-8-sig",
        header=0 if header else None,
    )
    frame.columns = [str(name).strip() for name in frame.columns]
    return frame
