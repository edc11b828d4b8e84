"""The calls of modules that are not plain: those that are watched, and those that fail."""

from __future__ import annotations

from typing import Any

from minidl.modes import Watcher

_PLACE = "minidl place"  # of an error: the identity of a module, the path from there, its name


def watched(watcher: Watcher, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What ``forward`` returns; the watcher is told when it begins, and when it ends or fails."""
    watcher.entered(module)
    y = None
    try:
        y = module.forward(*args, **kwargs)
    finally:
        watcher.left(module, y)
    return y


def note_place(module: Any, error: Exception) -> None:
    """Note on an error in which module it happened, as in ``in 2.linear1 (Linear)``.

    Every module on the way out puts its own part in front of the path, so that in the end it leads
    there from the outermost one.
    """
    name = type(module).__name__
    inner, path, name, note = error.__dict__.get(_PLACE, (id(module), "", name, ""))
    if inner != id(module):
        own = next((n for n, child in module.children() if id(child) == inner), "")
        path = ".".join(part for part in (own, path) if part)
    notes = getattr(error, "__notes__", [])
    if note in notes:
        notes.remove(note)
    note = f"in {path} ({name})" if path else f"in {name}"
    error.__dict__[_PLACE] = (id(module), path, name, note)
    error.add_note(note)
