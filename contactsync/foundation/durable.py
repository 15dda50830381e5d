"""Writes that survive a power cut. Only this module creates and replaces files that must survive.

A file appears under its name whole or not at all. Its data reaches the disk before its name (fsync of the
file, then rename), and its name before the call returns (fsync of the folder). A folder is on the disk only
once its own name is, so this module makes folders too. The order follows T. Pillai et al., "All File Systems
Are Not Created Equal", OSDI 2014.

There are two exceptions: SQLite has its own guarantees (each store sets them by pragmas), and the kernel
cache need not survive (each of its files contains its digest). tests/power_cut.py cuts the power.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, Final

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700
PUBLIC_FILE: Final = 0o644
PUBLIC_FOLDER: Final = 0o755
_SCRATCH: Final = re.compile(r"\.(.+)\.[0-9a-f]{16}\.part", re.DOTALL)  # nobody else's ends like this
_ZEROS: Final = 1 << 20


def write(path: Path, data: bytes, *, mode: int = PRIVATE_FILE, erase: bool = False) -> None:
    """Replace `path` by `data`; durable when this returns. `erase` overwrites what it held before.

    Raises OSError. Then `path` is unchanged, or, if only the fsync of its folder failed, may be new.
    """
    with contextlib.ExitStack() as stack:
        old = None
        if erase:
            remove_abandoned(path.parent, of=path.name, erase=True)
            with contextlib.suppress(FileNotFoundError):
                old = stack.enter_context(path.open("r+b"))
        with replacing(path, mode=mode) as file:
            file.write(data)
        if old is not None and os.fstat(old.fileno()).st_nlink == 0:  # else it has another name elsewhere
            overwrite(old.fileno())


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = PRIVATE_FILE) -> Iterator[BinaryIO]:
    """A new file to write (and read), which replaces `path` when the block ends without an error.

    The umask limits `mode`. Meanwhile there is a hidden file `.NAME.RANDOM.part` beside it. Such files left
    by killed processes are removed. Several processes may replace one path: the last one wins. Raises OSError
    like `write`.
    """
    remove_abandoned(path.parent, of=path.name)
    scratch, file = _scratch(path, mode)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            rename(scratch, path)  # still locked, so that no one takes it for abandoned
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _scratch(path: Path, mode: int) -> tuple[Path, BinaryIO]:
    """A new scratch file beside `path`, locked while it is open. The lock shows that its process is alive.

    Between creation and lock, another process may lock it first. That process then unlinks it before it
    releases the lock. So if this process gets the lock and the file still has a name, it keeps both.
    """
    while True:
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
        file = os.fdopen(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, mode), "w+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                return scratch, file
        except BaseException:
            scratch.unlink(missing_ok=True)
            file.close()
            raise
        file.close()  # another process took it for abandoned before it was locked


def remove_abandoned(folder: Path, *, of: str | None = None, erase: bool = False) -> None:
    """Remove the scratch files in a folder (of one name, if it is given) that nobody holds. Best effort."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _SCRATCH.fullmatch(entry.name)
            if found and of in {None, found[1]}:
                with contextlib.suppress(OSError):
                    _remove_if_abandoned(Path(entry.path), erase=erase)


def _remove_if_abandoned(scratch: Path, *, erase: bool) -> None:
    # Not through a link, and without waiting: in a folder that others write to, it may be a pipe.
    access = os.O_RDWR if erase else os.O_RDONLY
    descriptor = os.open(scratch, access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if erase:
            overwrite(descriptor)
        scratch.unlink()
    finally:
        os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Rename a file that is on the disk, within its file system; durable when this returns."""
    source.replace(target)
    sync_folder(target.parent)


def exchange(one: Path, other: Path) -> None:
    """Exchange two files or folders of a file system in one step; durable when this returns. Raises OSError.

    EINVAL or ENOSYS: the system or the file system cannot.
    """
    here, flag = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of linux/fs.h
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(other))
    if call(here, os.fsencode(one), here, os.fsencode(other), flag):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(other))
    for folder in {one.parent, other.parent}:
        sync_folder(folder)


def overwrite(descriptor: int) -> int:
    """Fill an open file with zeros where it is; durable when this returns. Returns its length."""
    length = os.fstat(descriptor).st_size
    done = 0
    while done < length:
        done += os.pwrite(descriptor, bytes(min(_ZEROS, length - done)), done)
    os.fsync(descriptor)
    return length


def remove(path: Path) -> None:
    """Delete a file; durable when this returns. Raises OSError."""
    path.unlink()
    sync_folder(path.parent)


def seal(file: IO[str] | IO[bytes], path: Path) -> None:
    """Flush a file that was written in place, and its name, to the disk. Raises OSError."""
    file.flush()
    os.fsync(file.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # it may be written to but not read, so it cannot be opened
        os.sync()
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_folder(path: Path) -> None:
    """Make a folder with mode 0700, and the missing ones above it with the same mode; durable.

    If a folder exists already, nothing is done: it is assumed to be durable.
    """
    for folder in reversed([path, *path.parents]):
        if not folder.exists():
            make_folder(folder)


def make_folder(path: Path, *, mode: int = PRIVATE_FOLDER, exist_ok: bool = True) -> None:
    """Make a folder; durable when this returns. A new folder gets `mode`, limited by the umask.

    Raises FileExistsError (it is a file; or anything, unless `exist_ok`), FileNotFoundError (no parent).
    """
    path.mkdir(mode=mode, exist_ok=exist_ok)
    sync_folder(path.parent)  # even if it exists: the process that made it may have been killed before this
