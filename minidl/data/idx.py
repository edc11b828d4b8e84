"""Files in the IDX format, in which MNIST and data sets of its kind are distributed.

The format: two zero bytes, a byte for the kind of numbers, a byte for how many axes there are; the
length of each axis in four bytes; then the numbers. All of it has the most significant byte first.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

_KINDS = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a file in the IDX format, as that of MNIST, whether it is gzipped or not.

    MNIST's own files are ``train-images-idx3-ubyte`` and ``t10k-images-idx3-ubyte`` (N, 28, 28),
    with pixels from 0 to 255, and ``train-labels-idx1-ubyte`` and ``t10k-labels-idx1-ubyte`` (N,),
    with ``.gz`` at the end as they are downloaded. They come as (N, 28, 28) uint8: a network takes
    ``x[:, None].astype(np.float32) / 255``, and the labels as ``y.astype(np.int64)``.

    Args:
        path: the file. Whether it is gzipped is seen from its first bytes, not from its name.

    Returns:
        The numbers, of the file's own kind: uint8, int8, int16, int32, float32 or float64.

    Raises:
        FileNotFoundError: if there is no such file; it names one beside it that may be meant.
        ValueError: if it is no IDX file, or has more or fewer bytes than its header says.

    Source: Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits".

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     load_idx(path)
        array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"load_idx: there is no file {path}{_hint(path)}") from None
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"load_idx: {path} is gzipped, and broken: {error}") from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _KINDS or not content[3]:
        raise ValueError(
            f"load_idx: {path} is no IDX file: it begins with the bytes "
            f"{content[:4].hex(' ') or '(none)'}, expected 00 00, a kind of numbers "
            f"({', '.join(f'{kind:02x}' for kind in _KINDS)}) and a number of axes"
        )
    dtype, axes = np.dtype(_KINDS[content[2]]), content[3]
    begin = 4 + 4 * axes
    if len(content) < begin:
        raise ValueError(f"load_idx: {path} ends within the lengths of its {axes} axes")
    shape = tuple(np.frombuffer(content, ">u4", axes, offset=4).tolist())
    expected = begin + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(
            f"load_idx: {path} has {len(content):,} bytes, and its header says that it has "
            f"{expected:,}: {shape} of {dtype.newbyteorder('=')}. It was not copied or downloaded "
            f"whole, or is another file"
        )
    numbers = np.frombuffer(content, dtype, offset=begin).reshape(shape)
    return numbers.astype(dtype.newbyteorder("="))


def _hint(path: Path) -> str:
    """A file beside the one that is missing, or where it is looked for."""
    other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")
    dotted = path.with_name(path.name.replace("-idx", ".idx"))
    for candidate in (other, dotted, dotted.with_name(f"{dotted.name}.gz")):
        if candidate != path and candidate.exists():
            return f", but {candidate.name} beside it"
    if not path.parent.is_dir():
        return f", nor a folder {path.parent}"
    return f" in {path.parent.absolute()}" if path.parent == Path(".") else ""
