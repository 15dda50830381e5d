"""Publications in a folder: `public/`, as written by publish."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.repository import Repository


class PublicFolder:
    """A `PublicationStore`: the folder that `Repository` writes, with data files in `data/`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._repository = Repository(folder)

    def stamp(self) -> object:
        """See `PublicationStore.stamp`. One `stat`."""
        return self._repository.stamp()

    def history(self, audience: str, limit: int) -> list[Manifest]:
        """See `PublicationStore.history`."""
        return list(self._repository.history(audience, limit))

    def root(self) -> bytes:
        """See `PublicationStore.root`."""
        return self._repository.root_bytes()

    def metadata(self, name: str) -> bytes | None:
        """See `PublicationStore.metadata`."""
        return _read(self._folder / "metadata" / name)

    def manifest(self, name: str) -> bytes | None:
        """See `PublicationStore.manifest`."""
        return _read(self._folder / "targets" / name)

    def log(self, name: str) -> bytes | None:
        """See `PublicationStore.log`."""
        return _read(self._folder / "log" / name)

    def data(self, sha256: str) -> LocalFile | None:
        """See `PublicationStore.data`."""
        try:
            return LocalFile(self._folder / "data" / sha256)
        except FileNotFoundError:
            return None


class LocalFile:
    """An `OpenFile`."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._lock = threading.Lock()
        status = os.fstat(self._descriptor)
        self.size = status.st_size
        self.modified = status.st_mtime

    def read(self, start: int, length: int) -> bytes:
        """See `OpenFile.read`."""
        with self._lock:  # else, after `close`, the descriptor could belong to another file
            return os.pread(self._descriptor, length, start)

    def close(self) -> None:
        """See `OpenFile.close`."""
        with self._lock:
            os.close(self._descriptor)


def _read(path: Path) -> bytes | None:
    """The content of a file, from one version, even if it is replaced meanwhile."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
