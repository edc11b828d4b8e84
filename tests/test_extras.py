"""Packages that are optional: what is said where one is missing."""

from __future__ import annotations

import pytest

from minidl.extras import need


def test_a_package_that_is_missing_is_named_with_what_needs_it_and_how_to_install_it() -> None:
    with pytest.raises(ImportError) as caught:
        need("no_such_package.part.of_it", extra="tables", what="data.read_table")
    text = str(caught.value)
    assert text.startswith("data.read_table needs no_such_package: install it with ")
    assert "`python -m pip install 'minidl[tables]'`" in text
    assert "`python -m pip install -e '.[tables]'`" in text


def test_a_module_within_a_package_is_what_is_returned() -> None:
    assert need("xml.dom.minidom", extra="plots", what="this").__name__ == "xml.dom.minidom"
