"""A folder of this process for targets that read files, in memory if possible, and the folders of version 1."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

_MEMORY = "/dev/shm"
_FIXTURE = Path(__file__).parents[1] / "fixtures" / "version-1.tar.xz"


@functools.cache
def folder() -> Path:
    """The folder, which goes when the process ends. A fork has its own."""
    made = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def written(name: str, data: bytes) -> Path:
    """A file with these octets, which only its owner may read."""
    path = folder() / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o600)
    return path


@functools.cache
def version_1() -> Path:
    """The folders `server` and `state` that version 1 left, and more: tests/fixtures/README.md."""
    place = folder() / "fixture"
    with tarfile.open(_FIXTURE) as archive:
        archive.extractall(place, filter="tar")
    return place / "v1"


def state_folder() -> Path:
    """The folder of the one server in the state that version 1 left."""
    (found,) = (version_1() / "state" / "servers").iterdir()
    return found
