"""Makes a backup while members change, `serve` answers and a publish runs.

It stands for one moment: that in which the copy of the register of members begins. What is published is of
the same edition, or the capture is repeated: a publish that switches in the middle cannot mix two. Accounts
are copied a little later; so an account that was revoked just before may be in it, never one revoked earlier.
Both stores of PostgreSQL are read in one snapshot, and are in the backup as the same files.

The copies of the databases, and links to the published files, are in the folder `.backup` of the data folder
for as long as it runs, where they are as readable as the originals. The copies are overwritten with zeros
afterwards, also those of a backup that was killed, by the next one. Keys go from their files to the archive
at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final

from contactsync.foundation import durable, erasure
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput, OurError
from contactsync.publication.logged import CHECKPOINT, last_checkpoint
from contactsync.publication.tuf.follower import root_fingerprint
from contactsync.publication.tuf.repository import Repository
from contactsync.server.backups.ages import encrypting
from contactsync.server.backups.archive import BackupFacts, Packer
from contactsync.server.keyring import DEPARTED, Keyring, check_private
from contactsync.server.publishing.looked_up import damaged_parts
from contactsync.server.settings import Busy, DataFolder
from contactsync.server.storage.opening import address_of_folder, copy_to_files
from contactsync.server.storage.sqlite.copying import copy_database, version_of
from contactsync.server.witnessed.keeper import log_files

SCRATCH: Final = ".backup"
PUBLIC: Final = ("metadata", "targets", "data")
_TRIES: Final = 10


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made: `length` in octets; `damaged` partitions lack files in public/ itself."""

    about: BackupFacts
    length: int
    damaged: tuple[str, ...]


def back_up(
    folder: DataFolder,
    target: Path,
    program: str,
    *,
    recipients: Sequence[str] = (),
    with_keys: bool | None = None,
) -> Made:
    """Write a backup to a new file, 0600; it is there whole, or not at all.

    `with_keys` None: they are in it if nobody can read them there, because it is encrypted to `recipients`,
    or they are under a passphrase. Raises BadInput if that is neither (the caller must say it) or the file is
    there, Busy if another backup runs, OurError.
    """
    if with_keys is None and not recipients and not Keyring.is_locked(folder.keys):
        raise BadInput(
            "the keys have no passphrase, and the backup would not be encrypted",
            hint="give --recipient AGE1…; or --with-keys (whoever has the file is the operator then), or "
            "--without-keys (keep keys/ elsewhere)",
        )
    if target.exists():
        raise BadInput(f"{target} is there already", hint="give the name of a new file")
    keys = with_keys is not False
    try:
        with scratch(folder.path / SCRATCH, "backup") as place, durable.replacing(target) as file:
            about, small, damaged = _capture(folder, DataFolder(place), program, keys=keys)
            with contextlib.ExitStack() as stack:
                stream: BinaryIO = file
                if recipients:
                    stream = stack.enter_context(encrypting(file, recipients))
                writer = stack.enter_context(Packer(stream, about))
                for name, octets in small.items():
                    writer.add_octets(name, octets)
                for path in _files(DataFolder(place)):
                    writer.add(str(path.relative_to(place)), path)
                writer.finish()
            file.seek(0, os.SEEK_END)
            return Made(about, file.tell(), damaged)
    except OSError as error:
        raise OurError(
            f"the backup cannot be written: {error.strerror} ({error.filename or target})",
            hint="check the free space: it needs that of the databases in the data folder as well",
        ) from error


@contextlib.contextmanager
def scratch(path: Path, what: str, left: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """An empty folder, 0700, that is erased afterwards, if it is still there. One process has it at once.

    `left` sees what a killed process has left there.
    """
    durable.make_folder(path)
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"another {what} is running", hint="wait until it ends") from None
        if left is not None:
            left(path)
        empty(path)
        yield path
    finally:
        if path.exists() and os.fstat(lock).st_ino == path.stat().st_ino:
            empty(path)
            path.rmdir()
        os.close(lock)


def empty(path: Path) -> None:
    """Erase what is in a folder. Published files may have another name; they are only unlinked."""
    shutil.rmtree(path / "public", ignore_errors=True)
    for entry in path.iterdir():
        if remains := erasure.erase(entry).remains:
            raise OurError(f"{remains[0].path} cannot be erased: {remains[0].reason}", hint="remove it")


def _capture(
    folder: DataFolder, place: DataFolder, program: str, *, keys: bool
) -> tuple[BackupFacts, dict[str, bytes], tuple[str, ...]]:
    """Have in `place` what belongs together: databases, and links to what is published.

    Also gives the small files, keys among them, which stay in memory; and damaged partitions.
    """
    if keys:
        check_private(folder.keys, *folder.keys.iterdir())
    postgres = address_of_folder(folder) is not None
    for _ in range(_TRIES):
        empty(place.path)
        before = _published(folder)
        for part in PUBLIC:
            link_all(folder.public / part, place.public / part)
        link_log(folder.public, place.public)
        small = _small(folder, keys=keys)
        made = datetime.now(UTC)
        if postgres:
            copy_to_files(folder, place)
        else:
            copy_database(folder.registry, place.registry, "registry")
            if folder.accounts.exists():  # version 1 had none
                copy_database(folder.accounts, place.accounts, "accounts database")
        with contextlib.suppress(OurError):  # a file that went before it was linked
            if _published(folder) == before == _published(place):
                break
    else:
        raise Busy("editions are published too fast for a backup", hint="try again, or stop publishing")
    repository = Repository(place.public)
    current = [one for audience in AUDIENCES if (one := repository.current(audience)) is not None]
    about = BackupFacts(
        made=made.isoformat(timespec="seconds"),
        program=program,
        fingerprint=root_fingerprint(repository.root_bytes()),
        keys=keys,
        published={one.audience: (one.epoch, one.edition) for one in current},
        databases={
            path.stem: version_of(path, path.stem)
            for path in (place.registry, place.accounts)
            if path.exists()
        },
        postgres=postgres,
    )
    damaged = [f"{one.audience} {part}" for one in current for part in damaged_parts(place.data, one)]
    return about, small, tuple(damaged)


def _published(folder: DataFolder) -> tuple[object, ...]:
    """Which manifests are current: whoever sees the same before and after has seen no switch."""
    repository = Repository(folder.public)
    found = (repository.current(audience) for audience in AUDIENCES)
    log = last_checkpoint(folder.public / "log")
    return (repository.root().version, log, *(None if one is None else one.sha256() for one in found))


def link_log(source: Path, target: Path) -> None:
    """The same as `link_all` for the log of a `public/` folder: all that its checkpoint needs."""
    for path in sorted(log_files(source), key=lambda path: path.name != CHECKPOINT):
        there = target / path.relative_to(source)
        there.parent.mkdir(durable.PUBLIC_FOLDER, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # a tile that has grown
            shutil.copyfile(path, there)
            there.chmod(durable.PUBLIC_FILE)


def link_all(source: Path, target: Path) -> None:
    """Give each visible file of a folder a name in another folder too, or copy it to another file system.

    Published files are never written to again: what is new replaces them.
    """
    target.mkdir(0o700, parents=True, exist_ok=True)
    for path in source.iterdir() if source.exists() else ():
        if path.name.startswith(".") or not path.is_file():
            continue
        with contextlib.suppress(FileNotFoundError):  # a publish takes files out of service
            try:
                os.link(path, target / path.name)
            except FileNotFoundError:
                raise
            except OSError:
                shutil.copyfile(path, target / path.name)


def _small(folder: DataFolder, *, keys: bool) -> dict[str, bytes]:
    """The settings, what is being signed elsewhere, and keys, by their places."""
    paths = [path for path in (folder.settings_file, folder.prepared) if path.exists()]
    paths += sorted(folder.log.glob("*.json"))
    if keys:
        # With a key that opens them, copies of the registry would hold tokens of who has left.
        paths += [path for path in sorted(folder.keys.iterdir()) if not path.name.startswith((".", DEPARTED))]
    found = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # a publish destroys seeds
            found[str(path.relative_to(folder.path))] = path.read_bytes()
    return found


def _files(place: DataFolder) -> Iterator[Path]:
    """What else goes into the archive."""
    yield from (path for path in (place.registry, place.accounts) if path.exists())
    for part in PUBLIC:
        yield from sorted((place.public / part).iterdir())
    yield from log_files(place.public)
