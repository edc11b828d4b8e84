"""Checkpoints: a tree of arrays and numbers in one file, saved whole or not at all.

It is a file of its own because it needs nothing of minidl: it carries plain arrays, and whatever
has a ``state_dict()`` hands it some. A checkpoint is an ``.npz`` (a zip archive of ``.npy`` arrays)
that ``numpy.load`` opens without minidl and without pickle::

    description.npy    the tree as JSON, in an array of bytes; {"array": 0} stands for an array
    array_0.npy, ...   the arrays, by number, so that no name in the tree is one in the archive

The archive is written here, not by ``zipfile``, so that the state determines every byte of it.
``load`` can then hold every byte to account: the description says how long the file must be
(before any memory is taken for an array), headers must be the very bytes that ``save`` writes, and
all the rest stands under a CRC-32. The same state gives the same file.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from types import NoneType
from typing import Any, NamedTuple

import numpy as np

try:
    import fcntl
except ImportError:  # Windows, where a file that somebody has open cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]


class CheckpointError(ValueError):
    """A file is not a whole checkpoint; the message names the file and what is wrong with it."""


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
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/run.npz", {"epoch": 3, "layers": [np.ones(2), None]})
        ...     load(f"{folder}/run.npz")
        {'epoch': 3, 'layers': [array([1., 1.]), None]}
    """
    members, arrays = _pack(state)
    target = os.path.realpath(os.fsdecode(path))  # of a symbolic link, what it points at
    mode = _existing_mode(target)
    _clear_strays(target)
    temporary, file = _new_file_beside(target, 0o666 if mode is None else mode)
    try:
        with file:
            if mode is not None:
                os.chmod(temporary, mode)  # the umask may have taken some of it away
            _write_archive(file, members, arrays)
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows renames no open file; elsewhere our lock guards it till then
            os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = target
        raise
    _sync_folder(os.path.dirname(target))


def load(path: str | os.PathLike[str]) -> Any:
    """Return the state that :func:`save` wrote to the file ``path``.

    Every array is new, writable and owns its memory. Whatever the file claims, no more memory is
    taken for arrays than it has bytes, no more containers are made than ``save`` writes, and
    nothing in it is ever run. Only files that ``save``
    wrote are read; ``numpy.load`` is for any other ``.npz``.

    Raises:
        FileNotFoundError: if there is no such file (and other OSErrors if it cannot be read).
        CheckpointError: if it is empty, cut short, too long, damaged in any byte, of another
            format version, or not a checkpoint at all.

    Example:
        >>> import tempfile
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
            return _read_archive(file, os.fstat(file.fileno()).st_size)
    except CheckpointError as error:
        raise CheckpointError(f"{name}: {error}") from None


# ---- The tree, as JSON: an object of it has one key, which says what stands under it.

_FORMAT, _VERSION = "minidl checkpoint", 1
_DEEPEST = 100  # levels of containers
_MOST = 1_000_000  # brackets in the description; "[]," is three bytes, and a list a hundred
_DTYPES = re.compile(  # the dtypes whose bytes mean the same on every machine, as dtype.str
    r"\|[biu]1|\|S[1-9]\d*|[<>]([iu][248]|f[248]|c8|c16|U[1-9]\d*|[mM]8(\[\d*[a-zA-Z]+\])?)"
)


def _pack(state: object) -> tuple[list[_Member], list[np.ndarray]]:
    """Return the members of the archive and their data; the first is the description."""
    arrays: list[np.ndarray] = []
    tree = _encode(state, "state", arrays, ())
    members = [
        _Member(f"array_{number}.npy", array.dtype.str, array.shape, array.flags.fnc)
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
    return [_DESCRIPTION._replace(shape=data.shape), *members], [data, *arrays]


def _encode(value: Any, where: str, arrays: list[np.ndarray], above: tuple[int, ...]) -> Any:
    """Return ``value`` as JSON can hold it, and append its arrays to ``arrays``.

    ``where`` is its place in the tree, ``above`` the identities of the containers it stands in.
    """
    kind = type(value)
    if kind in (NoneType, bool, str):
        return value
    if kind is int:  # large ones in base 16: Python limits the decimal digits it reads
        return value if abs(value) <= 2**53 else {"int": hex(value)}
    if kind is float:
        return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
    if kind is complex:
        return {"complex": struct.pack(">2d", value.real, value.imag).hex()}
    if kind is np.str_:
        return {"numpy.str_": str(value)}
    if kind in (np.ndarray, np.memmap):
        _check_dtype(value.dtype, where)
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, np.generic) and kind is not np.bytes_:
        _check_dtype(value.dtype, where)
        return {"scalar": [value.dtype.str, value.tobytes().hex()]}
    if kind not in (dict, list, tuple):
        raise TypeError(
            f"{where}: a {kind.__name__} cannot be saved; a checkpoint holds dicts with string "
            "keys, lists, tuples, NumPy arrays and scalars, numbers, strings, booleans and None"
            f"{_remedy_for(value)}"
        )

    if id(value) in above:
        raise ValueError(f"{where}: the {kind.__name__} contains itself, so saving would not end")
    if len(above) == _DEEPEST:
        raise ValueError(f"{where}: the state has more than {_DEEPEST} levels; make it flatter")
    above = (*above, id(value))
    if kind is dict:
        for key in value:
            if type(key) is not str:
                raise TypeError(
                    f"{where}: the key {key!r} is of type {type(key).__name__}, and the keys in a "
                    "checkpoint are strings; use str(key)"
                )
        items = {k: _encode(v, f'{where}["{k}"]', arrays, above) for k, v in value.items()}
        return {"dict": items}
    nodes = [_encode(item, f"{where}[{i}]", arrays, above) for i, item in enumerate(value)]
    return nodes if kind is list else {"tuple": nodes}


def _brackets(text: np.ndarray) -> int:
    """How many containers a description opens; brackets in strings count for nothing."""
    data = text.tobytes()
    if data.count(b"[") + data.count(b"{") > _MOST:  # else there is no need to look closer
        bare = np.frombuffer(data.replace(rb"\\", b"").replace(rb"\"", b""), np.uint8)
        in_string = np.logical_xor.accumulate(bare == ord('"'))
        data = bare[~in_string].tobytes()
    return data.count(b"[") + data.count(b"{")


def _decode(node: Any, arrays: dict[int, np.ndarray], level: int = 0) -> Any:
    """Return the value of a node of the tree, and take its arrays out of ``arrays``."""
    if level > _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} levels")
    if isinstance(node, list):
        return [_decode(item, arrays, level + 1) for item in node]
    if not isinstance(node, dict):
        return node
    [(kind, content)] = node.items()
    match kind, content:
        case "dict", dict():
            return {key: _decode(item, arrays, level + 1) for key, item in content.items()}
        case "tuple", list():
            return tuple(_decode(item, arrays, level + 1) for item in content)
        case "array", int():
            return arrays.pop(content)
        case "int", str():
            return int(content, 16)
        case "float", str():
            return struct.unpack(">d", bytes.fromhex(content))[0]
        case "complex", str():
            return complex(*struct.unpack(">2d", bytes.fromhex(content)))
        case "numpy.str_", str():
            return np.str_(content)
        case "scalar", [str(dtype), str(data)] if _is_storable(dtype):
            [scalar] = np.frombuffer(bytes.fromhex(data), dtype)
            return scalar
    raise ValueError(f"unknown kind {kind!r}")


def _is_storable(dtype: str) -> bool:
    try:
        return bool(_DTYPES.fullmatch(dtype)) and np.dtype(dtype).str == dtype
    except (TypeError, ValueError, OverflowError):  # a unit of time that is none, a width too large
        return False


def _check_dtype(dtype: np.dtype, where: str) -> None:
    if _is_storable(dtype.str):
        return
    if dtype.hasobject:
        reason = (
            "it holds Python objects, which only pickle could store, and loading a pickle can run "
            "any code; convert it with astype to numbers or fixed-width strings"
        )
    elif dtype.names:
        reason = "save each field of a structured array as an array of its own"
    else:
        reason = (
            "a checkpoint holds what means the same on every machine: convert it with astype to "
            "bool, an integer, float16/32/64, complex64/128, a fixed-width string or a date"
        )
    raise TypeError(f"{where}: an array or scalar of dtype {dtype} cannot be saved: {reason}")


def _remedy_for(value: Any) -> str:
    for method in ("state_dict", "numpy"):
        if not isinstance(value, type) and callable(getattr(value, method, None)):
            return f"; save what its {method}() returns"
    if isinstance(value, bytes | bytearray):
        return "; save numpy.frombuffer(value, numpy.uint8)"
    if isinstance(value, np.ndarray):
        return "; it would come back as a plain array: save numpy.asarray(value), and a mask apart"
    for plain in (dict, list, tuple, str, int, float):
        if isinstance(value, plain):
            name = plain.__name__
            return f"; it would come back as a plain {name}: save {name}(value)"
    return ""


# ---- The archive: members, one after the other, and a directory of them. All sizes stand in the
# 64-bit fields of the zip format (APPNOTE.TXT 6.3.10, sections 4.3 and 4.5.3), large or not.

_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF  # in a 16- or 32-bit field: "see the 64-bit one"
_ZIP64 = 45  # the version of the zip format that has the 64-bit fields
_NEW_YEAR_1980 = 0x21  # the zip format cannot do without a date
_LOCAL, _CRC_AT, _NAME_AT = b"PK\3\4", 14, 30
_PIECE = 1 << 20  # bytes copied, summed and written at a time


class _Member(NamedTuple):
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


_DESCRIPTION = _Member("description.npy", "|u1", (0,))  # its header is as long for any shape


def _directory(members: list[_Member], crcs: list[int]) -> bytes:
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


def _write_archive(file: io.FileIO, members: list[_Member], arrays: list[np.ndarray]) -> None:
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


def _read_archive(file: io.BufferedReader, size: int) -> Any:
    text, crc = _read_description(file, size)
    description = _parse(text)
    members = [_DESCRIPTION._replace(shape=text.shape), *_promised(description, size)]
    length = sum(len(member.header(0)) + member.nbytes() for member in members)
    length += len(_directory(members, [0] * len(members)))
    if size < length:
        raise CheckpointError(f"it is cut short: {size} bytes are left of {length}")
    if size > length:
        raise CheckpointError(f"it has {size - length} bytes too many after its end")
    arrays, crcs = {}, [crc]
    for number, member in enumerate(members[1:]):
        arrays[number], crc = _read_member(file, member)
        crcs.append(crc)
    directory = _directory(members, crcs)
    if file.read(len(directory)) != directory:
        raise CheckpointError("it is damaged: the directory at its end is not as it was saved")
    try:
        state = _decode(description["state"], arrays)
    except (LookupError, ValueError, TypeError, struct.error) as error:
        raise CheckpointError(
            f"its description makes no sense: {type(error).__name__}: {error}"
        ) from None
    if arrays:
        raise CheckpointError(f"its description does not say where array {min(arrays)} belongs")
    return state


def _read_description(file: io.BufferedReader, size: int) -> tuple[np.ndarray, int]:
    name, length = _DESCRIPTION.name.encode(), len(_DESCRIPTION.header(0))
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
    nbytes = claim - len(_DESCRIPTION.npy_header())
    if not 0 <= nbytes <= size - length:
        raise CheckpointError(
            f"it is cut short or damaged: it has {size} bytes, its description alone {nbytes}"
        )
    file.seek(0)
    return _read_member(file, _DESCRIPTION._replace(shape=(nbytes,)))


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
    return description


def _promised(description: dict[str, Any], size: int) -> list[_Member]:
    """Return the members of the arrays that the description promises, if they can be."""
    promises = description.get("arrays")
    if not isinstance(promises, list):
        raise CheckpointError("its description has no list of arrays")
    members = []
    for number, promise in enumerate(promises):
        match promise:
            case [str(dtype), list(shape), bool(fortran)] if (
                _is_storable(dtype)
                and len(shape) <= 64
                and all(type(n) is int and 0 <= n < 2**63 for n in shape)
            ):
                member = _Member(f"array_{number}.npy", dtype, tuple(shape), fortran)
            case _:
                raise CheckpointError(f"its array {number} cannot be: {str(promise)[:100]}")
        if member.nbytes() > size:
            raise CheckpointError(
                f"it has {size} bytes, but says that its array {number} of shape {member.shape} "
                f"has {member.nbytes()}"
            )
        members.append(member)
    return members


def _read_member(file: io.BufferedReader, member: _Member) -> tuple[np.ndarray, int]:
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


# ---- The folder: the temporary file beside the target, and those of others.


def _existing_mode(target: str) -> int | None:
    """Return the permissions of the file that will be replaced, None if there is none."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        folder = os.path.dirname(target)
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                errno.ENOENT, "no such folder; make it before saving into it", folder
            ) from None
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "this is a folder; save to a file in it", target)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file, so it is not replaced", target)
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is read-only, so it is not replaced", target)
    return stat.S_IMODE(status.st_mode) & 0o777


def _stray_prefix(target: str) -> str:
    # A number, not the name: that may already be as long as the file system allows.
    return f".minidl-{zlib.crc32(os.fsencode(os.path.basename(target))):08x}-"


def _new_file_beside(target: str, mode: int) -> tuple[str, io.FileIO]:
    """Create a temporary file in the folder of ``target``, locked for as long as it is open."""
    start = os.path.join(os.path.dirname(target), _stray_prefix(target))
    while True:
        name = f"{start}{os.urandom(8).hex()}.tmp"
        file = open(  # noqa: SIM115 - the caller closes it
            name, "xb", buffering=0, opener=lambda name, flags: os.open(name, flags, mode)
        )
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(name):
            return name, file
        file.close()  # another process's cleaning came between the creation and the lock


def _clear_strays(target: str) -> None:
    """Delete the temporary files of saves to ``target`` whose process is gone.

    A live process holds a lock on its file, which the system takes away when the process ends.
    """
    with os.scandir(os.path.dirname(target)) as entries:
        strays = [entry.path for entry in entries if entry.name.startswith(_stray_prefix(target))]
    for stray in strays:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if fcntl is not None:
                file = stack.enter_context(open(stray, "rb"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails if somebody writes it
            os.unlink(stray)


def _sync_folder(folder: str) -> None:
    """Make the renaming last through a power failure."""
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that cannot
            raise
    finally:
        os.close(descriptor)
