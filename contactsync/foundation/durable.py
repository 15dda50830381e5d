"""Writes that a power cut cannot tear: the one place where files are replaced.

A file appears under its name whole or not at all. The data reaches the disk before the name does (fsync of
the file, then rename), and the name before the call returns (fsync of the folder). The order is that of T.
Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
SCRATCH_SUFFIX = ".part"


def write(path: Path, data: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Replace `path` by `data`; durable when this returns. Raises OSError, and then nothing has changed."""
    with replacing(path, mode=mode) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path, *, mode: int = PRIVATE_FILE) -> Iterator[BinaryIO]:
    """A new file to write (and read), which takes the place of `path` when the block ends without an error.

    Meanwhile a hidden file `.NAME.RANDOM.part` stands beside it; what a killed process left of that kind is
    removed. Several processes may do this for one path: one of them is the last. Raises OSError.
    """
    _remove_abandoned(path)
    scratch, file = _scratch(path, mode)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            rename(scratch, path)  # still locked: nobody takes it for abandoned
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _scratch(path: Path, mode: int) -> tuple[Path, BinaryIO]:
    """A new scratch file beside `path`, locked as long as it is open: that is how the living hold theirs."""
    while True:
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}{SCRATCH_SUFFIX}")
        file = os.fdopen(os.open(scratch, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode), "w+b")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return scratch, file
        file.close()  # somebody took it for abandoned before it was locked


def _remove_abandoned(path: Path) -> None:
    for scratch in path.parent.glob(f".{glob.escape(path.name)}.*{SCRATCH_SUFFIX}"):
        with contextlib.suppress(OSError), scratch.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            scratch.unlink()


def rename(source: Path, target: Path) -> None:
    """Give a file that is on the disk another name in the same folder; durable when this returns."""
    source.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_folder(path: Path) -> None:
    """Make a folder of mode 0700, and those above it that are missing."""
    for folder in reversed([path, *path.parents]):
        if not folder.exists():
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            sync_folder(folder.parent)
