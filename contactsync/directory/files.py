"""Data files: how they are named in a manifest, written, mapped and checked."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import xxhash

from contactsync.directory.format import DataFile, bad
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput


def write_file(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]) -> DataFile:
    """Write a file that has its name only once it is whole and on the disk."""
    sha256, fast, length = hashlib.sha256(), xxhash.xxh3_64(), 0
    with durable.replacing(Path(path), mode=durable.PUBLIC_FILE) as file:
        for part in parts:
            file.write(part)
            sha256.update(part)
            fast.update(part)
            length += len(part)
    return DataFile(sha256.hexdigest(), length, fast.hexdigest())


def hash_file(file: BinaryIO) -> DataFile:
    """What a manifest says about a file that was written and is open: all of it is read."""
    sha256, fast, length = hashlib.sha256(), xxhash.xxh3_64(), 0
    file.seek(0)
    while block := file.read(1 << 20):
        sha256.update(block)
        fast.update(block)
        length += len(block)
    return DataFile(sha256.hexdigest(), length, fast.hexdigest())


def map_file(path: str | os.PathLike[str], kind: str) -> mmap.mmap:
    """The whole file, mapped; `kind` is what an error calls it.

    Raises BadDirectory (it is empty), BadInput (it cannot be opened).
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:  # which cannot be mapped
                raise bad(path.name, f"0 bytes are too few for a {kind}", "wrong-length")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be opened: {error.strerror}", hint="Check the path and its permissions."
        ) from error


def check_whole(data: bytes, length: int, trailer: int, name: str) -> None:
    """Check that a delta has the length that it states, and at its end the SHA-256 of the rest.

    Raises BadDirectory.
    """
    if length != len(data):
        raise bad(name, f"{len(data)} bytes instead of {length}", "wrong-length")
    if hashlib.sha256(data[:-trailer]).digest() != data[-trailer:]:
        raise bad(name, "damaged (SHA-256)", "bad-hash")


def read_file(path: str | os.PathLike[str], expect: DataFile | None) -> bytes:
    """The whole file, which is the one that the manifest names if `expect` is given.

    Raises BadDirectory (another file), BadInput (cannot be read).
    """
    path = Path(path)
    try:
        if expect is not None and path.stat().st_size != expect.length:
            raise bad(path.name, f"{path.stat().st_size} bytes instead of {expect.length}", "wrong-length")
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read: {error.strerror}", hint="Check the path and its permissions."
        ) from error
    if expect is not None and hashlib.sha256(data).hexdigest() != expect.sha256:
        raise bad(path.name, "not the file that the manifest names (SHA-256)", "bad-hash")
    return data
