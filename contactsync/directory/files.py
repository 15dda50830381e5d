"""Data files that stand beside a base: how they are named in a manifest, written and checked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

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
