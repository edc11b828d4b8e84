"""Packages that only some parts need: imported when asked for, and named where they are missing."""

from __future__ import annotations

import importlib
from typing import Any


def need(module: str, extra: str, what: str) -> Any:
    """Return a module that is an optional extra.

    Raises:
        ImportError: if it is not there; the message says what needs it and how to install it.

    Example:
        >>> need("math", extra="plots", what="this example").pi > 3
        True
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{what} needs {package}: install it with `python -m pip install 'minidl[{extra}]'` "
            f"(in a clone of minidl: `python -m pip install -e '.[{extra}]'`)"
        ) from error
