"""In which module of a model an error happened."""

from __future__ import annotations

from typing import Any


def note_place(module: Any, error: Exception) -> None:
    """Note on an error which module it came from, as in ``in 2.linear1 (Linear)``.

    Every module on the way out puts its own part in front of the path, so that in the end it leads
    there from the outermost one.
    """
    first = (module, "", type(module).__name__, "")
    inner, path, name, note = error.__dict__.get("place", first)
    if inner is not module:
        own = next((n for n, child in module.children() if child is inner), "")
        path = ".".join(part for part in (own, path) if part)
        error.__notes__.remove(note)
    note = f"in {path} ({name})" if path else f"in {name}"
    error.__dict__["place"] = (module, path, name, note)
    error.add_note(note)
