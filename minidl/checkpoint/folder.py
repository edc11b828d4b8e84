"""A file written whole or not at all: under a temporary name beside it, synced, and renamed.

It is a file of its own because it does not ask what is written.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import zlib
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows, where a file that somebody has open cannot be deleted anyway
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[io.FileIO]:
    """A new file, to be written, that takes the place of ``path`` unless something fails."""
    target = os.path.realpath(os.fsdecode(path))  # of a symbolic link, what it points at
    mode = _existing_mode(target)
    _clear_strays(target)
    temporary, file = _new_file_beside(target, 0o666 if mode is None else mode)
    try:
        with file:
            if mode is not None:
                os.chmod(temporary, mode)  # the umask may have taken some of it away
            yield file
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
