"""The file of a backup: a tar archive that says first what it is, and last what must be in it.

```
contactsync-backup.json     what it is: `BackupFacts`
server.toml, keys/…, …      the files, by their places in the data folder
contactsync-backup.sha256   JSON: the length and the SHA-256 of each of them, and of the first
```

Any tar opens it in an emergency. What is cut off has no end, and what was changed has another hash: both are
refused. The hashes say that it is whole, not who made it; that an encrypted one was not changed, age checks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput

FORMAT: Final = "contactsync-backup-1"
_OF_POSTGRES: Final = "contactsync-backup-2"  # an older program would use the database that server.toml names
_FORMATS: Final = "contactsync-backup-"
_ABOUT: Final = "contactsync-backup.json"
_HASHES: Final = "contactsync-backup.sha256"
_ALLOWED: Final = re.compile(
    r"server\.toml|registry\.sqlite|accounts\.sqlite|prepared\.json|keys/[A-Za-z0-9][A-Za-z0-9._-]*"
    r"|public/(metadata|targets|data)/[A-Za-z0-9][A-Za-z0-9._-]*"
    r"|log/[a-z]+\.json|public/log/[a-z]+(/[A-Za-z0-9][A-Za-z0-9._-]*){0,9}"
)
_MOST_SAID: Final = 64 << 20  # octets of what is held in memory
_BLOCK: Final = 1 << 20
_DAMAGE: Final = (
    *(tarfile.TarError, EOFError, ValueError, KeyError, TypeError),
    *(AttributeError, OverflowError, RecursionError),  # JSON of another shape
)


@dataclasses.dataclass(frozen=True, slots=True)
class BackupFacts:
    """What a backup says of itself.

    `made` is the moment that it stands for, ISO 8601 in UTC. `published` has epoch and edition by
    audience; `databases` the versions of the databases. `keys`: whether they are in it. `postgres`: the
    databases are copies, as files, of what was in PostgreSQL; server.toml still names it.
    """

    made: str
    program: str
    fingerprint: str
    keys: bool
    published: Mapping[str, tuple[int, int]]
    databases: Mapping[str, int]
    postgres: bool = False


class Packer:
    """Writes a backup to a stream: `add` each file, then `finish`."""

    def __init__(self, stream: BinaryIO, about: BackupFacts) -> None:
        self._stream = _Stream(stream)
        out: Any = self._stream  # tarfile asks for no more than it has
        self._tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._files: dict[str, tuple[int, str]] = {}
        said = {"format": _OF_POSTGRES if about.postgres else FORMAT, **dataclasses.asdict(about)}
        self.add_octets(_ABOUT, json.dumps(said, indent=1).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:  # what tarfile has not written yet must not go where nobody reads
            self._stream.stopped = True
            self._tar.close()

    def add(self, name: str, path: Path) -> None:
        """Add a file, which must not change meanwhile."""
        with path.open("rb") as file:
            self._put(name, file, path.stat().st_size)

    def finish(self) -> None:
        """Say what must be in it."""
        self.add_octets(_HASHES, json.dumps({"files": self._files}).encode())
        self._tar.close()

    def add_octets(self, name: str, octets: bytes) -> None:
        """Add a file that is in memory."""
        self._put(name, io.BytesIO(octets), len(octets))

    def _put(self, name: str, file: Any, length: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = length, 0o600
        reader = _Hashing(file)
        self._tar.addfile(entry, reader)  # type: ignore[arg-type]
        self._files[name] = (length, reader.hash.hexdigest())


class _Stream:
    """What is written, until it is stopped."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.stopped = False

    def write(self, octets: bytes) -> int:
        """Write it, or do nothing."""
        return len(octets) if self.stopped else self._stream.write(octets)


class _Hashing:
    """Reads, and hashes what was read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, length: int) -> bytes:
        """Read up to so many octets."""
        octets: bytes = self._file.read(length)
        self.hash.update(octets)
        return octets


def unpack(stream: BinaryIO, place: Path) -> BackupFacts:
    """Write the files of a backup into an empty folder, durably, and verify all of them.

    Raises BadInput if it is not a backup, damaged, cut off, or of a newer program; then what is in the folder
    is nothing.
    """
    about: BackupFacts | None = None
    found: dict[str, tuple[int, str]] = {}
    try:
        for entry, file in _entries(stream):
            if about is None:
                if entry.name != _ABOUT:
                    break
                octets = file.read(_MOST_SAID)
                about = _about(octets)
                found[_ABOUT] = len(octets), hashlib.sha256(octets).hexdigest()
            elif entry.name == _HASHES:
                wanted = json.loads(file.read(_MOST_SAID))["files"]
                if {name: list(one) for name, one in found.items()} != wanted:
                    raise _damaged("what is in it is not what was put into it")
                for folder in {place / name for name in found}:
                    durable.sync_folder(folder.parent)
                return about
            elif entry.name in found or not _ALLOWED.fullmatch(entry.name):
                raise _damaged(f"it has {entry.name!r}, which no backup has")
            else:
                found[entry.name] = _write(place / entry.name, file)
    except _DAMAGE as error:
        raise (_damaged("its end is missing") if about else _no_backup()) from error
    raise _damaged("its end is missing") if about else _no_backup()


def _entries(stream: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, Any]]:
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for entry in tar:
            if not entry.isreg():
                raise _damaged(f"it has {entry.name!r}, which no backup has")
            yield entry, tar.extractfile(entry)


def _write(path: Path, file: Any) -> tuple[int, str]:
    durable.private_folder(path.parent)
    length, found = 0, hashlib.sha256()
    with path.open("xb") as written:
        path.chmod(durable.PRIVATE_FILE)
        while octets := file.read(_BLOCK):
            written.write(octets)
            found.update(octets)
            length += len(octets)
        durable.seal(written, path)
    return length, found.hexdigest()


def _about(octets: bytes) -> BackupFacts:
    said = json.loads(octets)
    form = said.pop("format")
    if form not in {FORMAT, _OF_POSTGRES}:
        if not str(form).startswith(_FORMATS):
            raise _no_backup()
        raise BadInput("a newer contactsync made this backup", hint="update contactsync")
    places = said["published"].items()
    published = {str(name): (int(epoch), int(edition)) for name, (epoch, edition) in places}
    names = [field.name for field in dataclasses.fields(BackupFacts)]
    said |= {"published": published, "postgres": form == _OF_POSTGRES}
    return BackupFacts(**{name: said[name] for name in names})


def _no_backup() -> BadInput:
    return BadInput("this is no backup of contactsync", hint="give a file that `server backup` wrote")


def _damaged(why: str) -> BadInput:
    return BadInput(f"the backup is damaged: {why}", hint="use another one; nothing was changed")
