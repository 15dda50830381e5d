"""A store in a folder: file://. Any web server can serve it, also one on another machine that mounts it.

Writes are conditional by a lock on one file of the folder, and as durable as the data folder itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from contactsync.foundation import durable
from contactsync.foundation.errors import OurError
from contactsync.server.objects.ports import SMALL_LIMIT, Conflict, Headers, StoredObject, Tag

_LOCK: Final = ".store.lock"


class FolderObjects:
    """`Objects` in a folder, which is made if it is missing. Headers are for the web server to set."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def entries(self, below: str) -> Iterator[StoredObject]:
        """See `Objects.entries`."""
        with _errors_of_disk():
            for path in sorted((self._folder / below).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    yield StoredObject(path.relative_to(self._folder).as_posix(), path.stat().st_size)

    def read(self, name: str, limit: int) -> tuple[bytes, Tag] | None:
        """See `Objects.read`."""
        with _errors_of_disk():
            try:
                octets = (self._folder / name).read_bytes()
            except FileNotFoundError:
                return None
        if len(octets) > limit:
            raise OurError(f"{name} in the store is longer than {limit:,} octets")
        return octets, _tag(octets)

    def size(self, name: str) -> int | None:
        """See `Objects.size`."""
        with _errors_of_disk():
            try:
                return (self._folder / name).stat().st_size
            except FileNotFoundError:
                return None

    def create(self, name: str, octets: bytes, _headers: Headers) -> Tag:
        """See `Objects.create`."""
        with _errors_of_disk(), self._locked():
            if (self._folder / name).exists():
                raise Conflict(f"{name} is in the store already")
            durable.write(self._place(name), octets, mode=durable.PUBLIC_FILE)
        return _tag(octets)

    def replace(self, name: str, octets: bytes, old: Tag, _headers: Headers) -> Tag:
        """See `Objects.replace`."""
        with _errors_of_disk(), self._locked():
            found = self.read(name, max(len(octets), SMALL_LIMIT))
            if found is None or found[1] != old:
                raise Conflict(f"{name} in the store was changed by somebody else")
            durable.write(self._place(name), octets, mode=durable.PUBLIC_FILE)
        return _tag(octets)

    def upload(self, name: str, path: Path, _headers: Headers) -> None:
        """See `Objects.upload`."""
        with (
            _errors_of_disk(),
            path.open("rb") as source,
            durable.replacing(self._place(name), mode=durable.PUBLIC_FILE) as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)

    def delete(self, names: Sequence[str]) -> None:
        """See `Objects.delete`."""
        with _errors_of_disk():
            for name in names:
                (self._folder / name).unlink(missing_ok=True)
            for folder in {(self._folder / name).parent for name in names}:
                if folder.exists():
                    durable.sync_folder(folder)

    def signed_url(self, _name: str, _seconds: int) -> str | None:
        """See `Objects.signed_url`."""
        return None

    def _place(self, name: str) -> Path:
        """The path of an object, in folders that exist."""
        path = self._folder / name
        for folder in reversed(path.parents):
            if not folder.exists():
                durable.make_folder(folder, mode=durable.PUBLIC_FOLDER)
        return path

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._place(_LOCK), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _tag(octets: bytes) -> Tag:
    return Tag(hashlib.sha256(octets).hexdigest())


@contextlib.contextmanager
def _errors_of_disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OurError(
            f"the store in a folder cannot be used: {error.strerror} ({error.filename})",
            hint="check the path, the permissions and the free space",
        ) from error
