"""The archive that a checkpoint is stored in: an ``.npz``, a zip of ``.npy`` arrays.

    description.npy    the tree as JSON, in an array of bytes
    array_0.npy, ...   the arrays, by number, so that no name in the tree is one in the archive

It is written here, not by ``zipfile``, so that the state determines every byte of it. Reading can
then hold every byte to account: the description says how long the file must be (before any memory
is taken for an array), headers must be the very bytes that were written, and all the rest stands
under a CRC-32. All sizes stand in the 64-bit fields of the zip format (APPNOTE.TXT 6.3.10, sections
4.3 and 4.5.3), large or not.
"""

from __future__ import annotations

import io
import json
import math
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from minidl.checkpoint.tree import CheckpointError, is_storable

_FORMAT, _VERSION = "minidl checkpoint", 1
_MOST = 1_000_000  # brackets in the description; "[]," is three bytes, and a list a hundred
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF  # in a 16- or 32-bit field: "see the 64-bit one"
_ZIP64 = 45  # the version of the zip format that has the 64-bit fields
_NEW_YEAR_1980 = 0x21  # the zip format cannot do without a date
_LOCAL, _CRC_AT, _NAME_AT = b"PK\3\4", 14, 30
_PIECE = 1 << 20  # bytes copied, summed and written at a time


class Member(NamedTuple):
    """An array of the archive: what its headers say of it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    fortran: bool = False

    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def npy_header(self) -> bytes:
        order, shape = self.fortran, self.shape
        text = f"{{'descr': '{self.dtype}', 'fortran_order': {order}, 'shape': {shape}, }}"
        text += " " * (-(10 + len(text) + 1) % 64) + "\n"
        return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text.encode()

    def header(self, crc: int) -> bytes:
        """Return what stands before the data: the local header of the zip, that of the npy."""
        npy = self.npy_header()
        size = len(npy) + self.nbytes()
        extra = struct.pack("<2H2Q", 1, 16, size, size)
        return _LOCAL + self._common(crc, extra) + self.name.encode() + extra + npy

    def directory_entry(self, crc: int, offset: int) -> bytes:
        size = len(self.npy_header()) + self.nbytes()
        extra = struct.pack("<2H3Q", 1, 24, size, size, offset)
        start = b"PK\1\2" + struct.pack("<H", _ZIP64) + self._common(crc, extra)
        return start + struct.pack("<3H2L", 0, 0, 0, 0, _MAX32) + self.name.encode() + extra

    def _common(self, crc: int, extra: bytes) -> bytes:
        # version, flags, method (0: stored), time, date, checksum, two sizes, two lengths
        ends = (_MAX32, _MAX32, len(self.name), len(extra))
        return struct.pack("<5H3L2H", _ZIP64, 0, 0, 0, _NEW_YEAR_1980, crc, *ends)


DESCRIPTION = Member("description.npy", "|u1", (0,))  # its header is as long for any shape


def _directory(members: list[Member], crcs: list[int]) -> bytes:
    """Return what stands after the last member."""
    entries, offset = [], 0
    for member, crc in zip(members, crcs, strict=True):
        entries.append(member.directory_entry(crc, offset))
        offset += len(member.header(crc)) + member.nbytes()
    directory, n = b"".join(entries), len(members)
    counts = (_ZIP64, _ZIP64, 0, 0, n, n, len(directory), offset)
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, *counts)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, offset + len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, _MAX16, _MAX16, _MAX32, _MAX32, 0)
    return directory + end64 + locator + end


def packed(tree: Any, arrays: list[np.ndarray]) -> tuple[list[Member], list[np.ndarray]]:
    """Return the members of the archive and their data; the first is the description."""
    members = [
        Member(f"array_{number}.npy", array.dtype.str, array.shape, array.flags.fnc)
        for number, array in enumerate(arrays)
    ]
    shapes = [member[1:] for member in members]
    description = {"format": _FORMAT, "version": _VERSION, "arrays": shapes, "state": tree}
    # Not escaped to ASCII, where two lone surrogates in a string would come back as one character.
    text = json.dumps(description, ensure_ascii=False, allow_nan=False)
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    if _brackets(data) > _MOST:
        raise ValueError(
            f"the state has too many dicts, lists, tuples and arrays, some {_brackets(data):,}"
            f" against {_MOST:,}: put numbers that belong together into one array"
        )
    return [DESCRIPTION._replace(shape=data.shape), *members], [data, *arrays]


def write_archive(file: io.FileIO, members: list[Member], arrays: list[np.ndarray]) -> None:
    crcs = []
    for member, array in zip(members, arrays, strict=True):
        start = file.tell()
        _write_all(file, member.header(0))
        crc = zlib.crc32(member.npy_header())
        for piece in _pieces(array):
            crc = zlib.crc32(piece, crc)
            _write_all(file, piece)
        file.seek(start)
        _write_all(file, member.header(crc))  # again, now that the checksum is known
        file.seek(0, os.SEEK_END)
        crcs.append(crc)
    _write_all(file, _directory(members, crcs))


def _pieces(array: np.ndarray) -> Iterator[bytes]:
    """Yield the bytes of an array in the order of the file, as copies of a megabyte or so.

    Copies, because another thread may be training on the array: the checksum must belong to the
    bytes that were written, or the whole file would be refused.
    """
    flat = array.reshape(-1, order="A") if array.flags.forc else array.flat
    step = max(1, _PIECE // array.itemsize)
    for start in range(0, array.size, step):
        yield flat[start : start + step].tobytes()


def _write_all(file: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]  # an unbuffered write may take only a part


def read_archive(file: io.BufferedReader, size: int) -> tuple[Any, list[np.ndarray]]:
    """Return the tree and the arrays of the archive in a file of ``size`` bytes."""
    text, crc = _read_description(file, size)
    description = _parse(text)
    members = [DESCRIPTION._replace(shape=text.shape), *_promised(description, size)]
    length = sum(len(member.header(0)) + member.nbytes() for member in members)
    length += len(_directory(members, [0] * len(members)))
    if size < length:
        raise CheckpointError(f"it is cut short: {size} bytes are left of {length}")
    if size > length:
        raise CheckpointError(f"it has {size - length} bytes too many after its end")
    arrays, crcs = [], [crc]
    for member in members[1:]:
        array, crc = _read_member(file, member)
        arrays.append(array)
        crcs.append(crc)
    directory = _directory(members, crcs)
    if file.read(len(directory)) != directory:
        raise CheckpointError("it is damaged: the directory at its end is not as it was saved")
    return description["state"], arrays


def _read_description(file: io.BufferedReader, size: int) -> tuple[np.ndarray, int]:
    name, length = DESCRIPTION.name.encode(), len(DESCRIPTION.header(0))
    header = file.read(length)
    if not header:
        raise CheckpointError("it is empty")
    if not header.startswith(_LOCAL):
        raise CheckpointError(f"it is not a checkpoint: it begins with {header[:4]!r}")
    if not name.startswith(header[_NAME_AT : _NAME_AT + len(name)]):
        raise CheckpointError(
            "it is a zip archive that minidl.save did not write; numpy.load opens any .npz"
        )
    if len(header) < length:
        raise CheckpointError(f"it is cut short: only {size} bytes are left")
    (claim,) = struct.unpack_from("<Q", header, _NAME_AT + len(name) + 4)  # in the extra field
    nbytes = claim - len(DESCRIPTION.npy_header())
    if nbytes not in range(size):
        raise CheckpointError(
            f"it is cut short or damaged: it has {size} bytes, its description alone {nbytes}"
        )
    file.seek(0)
    return _read_member(file, DESCRIPTION._replace(shape=(nbytes,)))


def _brackets(text: np.ndarray) -> int:
    """How many containers a description opens; brackets in strings count for nothing."""
    data = text.tobytes()
    if data.count(b"[") + data.count(b"{") > _MOST:  # else there is no need to look closer
        bare = np.frombuffer(data.replace(rb"\\", b"").replace(rb"\"", b""), np.uint8)
        in_string = np.logical_xor.accumulate(bare == ord('"'))
        data = bare[~in_string].tobytes()
    return data.count(b"[") + data.count(b"{")


def _parse(text: np.ndarray) -> dict[str, Any]:
    if _brackets(text) > _MOST:
        raise CheckpointError("its description has more lists and dicts than minidl.save writes")
    try:
        description = json.loads(text.tobytes().decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its description is not JSON: {error}") from None
    if not isinstance(description, dict) or description.get("format") != _FORMAT:
        raise CheckpointError("it is an archive that minidl.save did not write")
    version = description.get("version")
    if version != _VERSION:
        raise CheckpointError(
            f"it has format version {version!r}, and this minidl reads version {_VERSION} only; "
            "load it with the minidl that saved it, or a newer one"
        )
    if "state" not in description:
        raise CheckpointError("its description makes no sense: it has no state")
    return description


def _promised(description: dict[str, Any], size: int) -> list[Member]:
    """Return the members of the arrays that the description promises, if they can be."""
    promises = description.get("arrays")
    if not isinstance(promises, list):
        raise CheckpointError("its description has no list of arrays")
    members = []
    for number, promise in enumerate(promises):
        match promise:
            case [str(dtype), list(shape), bool(fortran)] if (
                is_storable(dtype)
                and len(shape) <= 64
                and all(type(n) is int and 0 <= n < 2**63 for n in shape)
            ):
                member = Member(f"array_{number}.npy", dtype, tuple(shape), fortran)
            case _:
                raise CheckpointError(f"its array {number} cannot be: {str(promise)[:100]}")
        if member.nbytes() > size:
            raise CheckpointError(
                f"it has {size} bytes, but says that its array {number} of shape {member.shape} "
                f"has {member.nbytes()}"
            )
        members.append(member)
    return members


def _read_member(file: io.BufferedReader, member: Member) -> tuple[np.ndarray, int]:
    """Return a new array of the data at the file's position, and its checksum."""
    header = file.read(len(member.header(0)))
    crc = int.from_bytes(header[_CRC_AT : _CRC_AT + 4], "little")
    if header != member.header(crc):
        raise CheckpointError(f"it is damaged: the header of {member.name} is not as it was saved")
    try:
        array = np.empty(member.shape, member.dtype, "F" if member.fortran else "C")
    except (ValueError, MemoryError) as error:
        raise CheckpointError(f"its {member.name} does not fit into memory: {error}") from None
    data = array.reshape(-1, order="A").view(np.uint8).data
    found = zlib.crc32(member.npy_header())
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE]
        if file.readinto(piece) != len(piece):
            raise CheckpointError(f"it was cut short in {member.name} while being read")
        found = zlib.crc32(piece, found)
    if found != crc:
        raise CheckpointError(f"it is damaged: the checksum of {member.name} does not match")
    return array, crc
