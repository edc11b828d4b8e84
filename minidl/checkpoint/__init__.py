"""Checkpoints: a tree of arrays and numbers in one file, saved whole or not at all.

The room needs nothing of minidl: it carries plain arrays, and whatever has a ``state_dict()``
hands it some. A checkpoint is an ``.npz`` that ``numpy.load`` opens without minidl and without
pickle; the same state gives the same file. ``tree.py`` says what is stored, ``archive.py`` in which
bytes, and ``folder.py`` how a file is replaced at once.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from minidl.checkpoint.archive import packed, read_archive, write_archive
from minidl.checkpoint.folder import replacing
from minidl.checkpoint.tree import CheckpointError, decoded, encoded

__all__ = ["CheckpointError", "load", "save"]


def save(path: str | os.PathLike[str], state: object) -> None:
    """Write ``state`` to the file ``path``; on any fault the file keeps what it held before.

    ``state`` is any nesting of dicts with string keys, lists and tuples (at most 100 levels, and
    some hundreds of thousands in all) of NumPy arrays and scalars, Python ints of any size, floats,
    complex numbers, strings, booleans and None. :func:`load` gives all of it back, with the same
    types and the same bits. Arrays may have any shape, memory layout and byte order, and a dtype of
    bool, integer, float16/32/64, complex64/128, fixed-width string or date. An array that stands in
    two places is saved twice.

    The file is written under a temporary name beside ``path``, synced and renamed, so that a
    crash, a full disk or Ctrl-C at any moment leaves the old file or the new one. What a killed
    process left behind is removed by the next save to the same path. A symbolic link is followed,
    the permissions of an existing file are kept, and no suffix is added to ``path``.

    Raises:
        TypeError: for a value of another type (object and structured arrays, subclasses such as
            ``OrderedDict``, keys that are not strings), named by its place in the tree.
        ValueError: for a state that contains itself, has more than 100 levels, or too many dicts,
            lists and tuples.
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/run.npz", {"epoch": 3, "layers": [np.ones(2), None]})
        ...     load(f"{folder}/run.npz")
        {'epoch': 3, 'layers': [array([1., 1.]), None]}
    """
    members, arrays = packed(*encoded(state))
    with replacing(path) as file:
        write_archive(file, members, arrays)


def load(path: str | os.PathLike[str]) -> Any:
    """Return the state that :func:`save` wrote to the file ``path``.

    Every array is new, writable and owns its memory. Whatever the file claims, no more memory is
    taken for arrays than it has bytes, no more containers are made than ``save`` writes, and
    nothing in it is ever run. Only files that ``save`` wrote are read; ``numpy.load`` is for any
    other ``.npz``.

    Raises:
        FileNotFoundError: if there is no such file (and other OSErrors if it cannot be read).
        CheckpointError: if it is empty, cut short, too long, damaged in any byte, of another
            format version, or not a checkpoint at all.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/run.npz", {"weight": np.ones(2, np.float32)})
        ...     load(f"{folder}/run.npz")["weight"].dtype
        dtype('float32')
    """
    name = os.fsdecode(path)
    mode = os.stat(name).st_mode
    try:
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
            raise CheckpointError(f"it is {what}; a checkpoint is a file that minidl.save wrote")
        with open(name, "rb") as file:
            return decoded(*read_archive(file, os.fstat(file.fileno()).st_size))
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None
