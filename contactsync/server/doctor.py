"""Examines an installation: what keeps it from working, or soon will, and what to do about each thing.

It changes nothing, and needs no server that runs. Keys are examined as far as they can be opened.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import ContactSyncError
from contactsync.foundation.roles import ONLINE, ROLES
from contactsync.kernels.policy import cache_folders
from contactsync.publication.tuf.repository import Repository
from contactsync.server.checks import check_publication
from contactsync.server.keyring import Keyring
from contactsync.server.machine import CLOCK_SECONDS, Diagnosis, State, executable_memory, open_files
from contactsync.server.settings import DataFolder
from contactsync.server.status import status
from contactsync.server.storage.opening import open_accounts, open_members

LEAST_FREE: Final = 256 << 20
"""Octets that should be free besides what the next publish may need."""

_LEAST_INODES: Final = 1000


def examine(folder: DataFolder, keyring: Keyring | ContactSyncError, now: datetime) -> Iterator[Diagnosis]:
    """Examine a data folder and this machine. `keyring` is the error where it could not be opened."""
    yield from _permissions(folder)
    yield from _guarded("keys", lambda: _keys(folder, keyring))
    yield from _guarded("databases", lambda: _databases(folder))
    yield from _guarded("publication", lambda: _publication(folder, now))
    yield from _guarded("disk", lambda: _disk(folder))
    yield from _guarded("clock", lambda: _clock(folder))
    yield from executable_memory()
    yield from _kernel_cache()
    yield from open_files()


def _guarded(area: str, check: Callable[[], Iterator[Diagnosis]]) -> Iterator[Diagnosis]:
    """What a check finds; an error that ends it is a finding, too."""
    try:
        yield from check()
    except ContactSyncError as error:
        yield Diagnosis(area, "problem", str(error), error.hint or "see `contactsync docs operations`")
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        yield Diagnosis(area, "problem", f"{error.strerror}{where}", "correct the permissions, or restore it")


def _permissions(folder: DataFolder) -> Iterator[Diagnosis]:
    private = [folder.path, folder.keys, folder.registry, folder.accounts]
    private += sorted(folder.keys.iterdir()) if folder.keys.is_dir() else []
    wrong = 0
    for place in private:
        try:
            found = place.stat()
        except OSError:
            continue  # what is missing is found by its own check
        if found.st_mode & 0o077:
            wrong += 1
            mode = "700" if stat.S_ISDIR(found.st_mode) else "600"
            yield Diagnosis(
                "permissions", "problem", f"other users can reach {place}", f"chmod {mode} {place}"
            )
        if found.st_uid != os.getuid():
            wrong += 1
            yield Diagnosis(
                "permissions",
                "problem",
                f"{place} belongs to user {found.st_uid}, but this is user {os.getuid()}",
                "run this, and the server, as the user who owns the data folder",
            )
    if not wrong:
        yield Diagnosis("permissions", "ok", f"{len(private)} files and folders are private")


def _keys(folder: DataFolder, keyring: Keyring | ContactSyncError) -> Iterator[Diagnosis]:
    if isinstance(keyring, ContactSyncError):
        yield Diagnosis("keys", "problem", f"the keys were not examined: {keyring}", keyring.hint)
        return
    repository = Repository(folder.public)
    root = repository.root()
    for role in ROLES:
        here = {one.public_key.keyid: name for name, one in keyring.signers([role]).items()}
        named = [keyid for keyid in here if keyid in root.roles[role].keyids]
        strangers = [name for keyid, name in here.items() if keyid not in root.roles[role].keyids]
        wanted = root.roles[role].threshold
        for name in strangers:
            # With one that is in force beside it, it is what a change of keys has drawn.
            yield Diagnosis(
                "keys",
                "advice" if named else "problem",
                f"keys/tuf-{name}.json is not a key that the root names for {role}",
                "move it away, unless a change of keys waits for signatures"
                if named
                else "restore keys/ and public/ from the same backup",
            )
        if len(named) >= wanted:
            yield Diagnosis("keys", "ok", f"{role}: {len(named)} of {wanted} keys that must sign are here")
        elif role in ONLINE:
            yield Diagnosis(
                "keys",
                "problem",
                f"{role}: {len(named)} of {wanted} keys that must sign are here, so `serve` cannot renew it",
                "import it: `server keys import`, or restore keys/",
            )
        elif not strangers:
            yield Diagnosis(
                "keys", "ok", f"{role}: {len(named)} of {wanted} keys are here, the others elsewhere"
            )
    yield from _seeds(repository, keyring)


def _seeds(repository: Repository, keyring: Keyring) -> Iterator[Diagnosis]:
    for audience in AUDIENCES:
        manifest = repository.current(audience)
        for one in () if manifest is None else (manifest, manifest.next):
            if one is None:
                continue
            pair = keyring.key_pair(audience, one.epoch)
            if pair.public == one.public_key:
                yield Diagnosis("keys", "ok", f"{audience}, epoch {one.epoch}: the key is the published one")
            else:
                yield Diagnosis(
                    "keys",
                    "problem",
                    f"{audience}, epoch {one.epoch}: the key in keys/ is not the published one",
                    "restore keys/ from the backup that belongs to public/",
                )


def _databases(folder: DataFolder) -> Iterator[Diagnosis]:
    with closing(open_members(folder)) as members, closing(open_accounts(folder)) as accounts:
        found = sum(members.count(audience) for audience in AUDIENCES)
        yield Diagnosis(
            "databases", "ok", f"members ({found:,}) and accounts ({len(accounts.list()):,}) can be read"
        )


def _publication(folder: DataFolder, now: datetime) -> Iterator[Diagnosis]:
    wrong = check_publication(folder, now)
    for line in wrong:
        yield _said(line, "problem")
    with closing(open_members(folder)) as members, closing(open_accounts(folder)) as accounts:
        found = status(folder, members, accounts, now)
    for line in found.warnings:
        yield _said(line, "problem" if line in found.due else "advice")
    if not wrong and not found.due:
        soonest = min(found.expires, key=lambda role: found.expires[role])
        end = f"{found.expires[soonest]:%Y-%m-%d %H:%M} UTC"
        yield Diagnosis("publication", "ok", f"clients accept it; first expires {soonest}, {end}")


def _said(line: str, state: State) -> Diagnosis:
    text, _, todo = line.rpartition(": ")
    return Diagnosis(
        "publication", state, text or line, todo if text else "see `contactsync docs operations`"
    )


def _disk(folder: DataFolder) -> Iterator[Diagnosis]:
    published = sum(path.stat().st_size for path in folder.data.iterdir() if path.is_file())
    rows = sum(path.stat().st_size for path in folder.rows.glob("*/*") if path.is_file())
    # Members may be in PostgreSQL.
    registry = folder.registry.stat().st_size if folder.registry.exists() else 0
    needed = LEAST_FREE + 2 * published + rows + registry
    free = shutil.disk_usage(folder.path).free
    if free < needed:
        yield Diagnosis(
            "disk",
            "problem",
            f"{free:,} bytes are free in {folder.path}, and a publish may need {needed:,}",
            "make room, or move the data folder",
        )
    else:
        yield Diagnosis("disk", "ok", f"{free:,} bytes are free; a publish may need {needed:,}")
    inodes = os.statvfs(folder.path)
    if inodes.f_files and inodes.f_favail < _LEAST_INODES:
        yield Diagnosis(
            "disk",
            "problem",
            f"only {inodes.f_favail} more files can be made",
            "remove files, or move the data",
        )


def _clock(folder: DataFolder) -> Iterator[Diagnosis]:
    with tempfile.NamedTemporaryFile(dir=folder.path, prefix=".doctor-") as file:
        file.write(b"?")
        file.flush()
        apart = Path(file.name).stat().st_mtime - time.time()
    if abs(apart) > CLOCK_SECONDS:
        yield Diagnosis(
            "clock",
            "problem",
            f"the clock of the file system and that of this machine differ by {apart:+.0f} seconds",
            "synchronise both clocks (NTP)",
        )
    newest = max((path.stat().st_mtime for path in (folder.public / "metadata").iterdir()), default=0.0)
    if newest > time.time() + CLOCK_SECONDS:
        ahead = datetime.fromtimestamp(newest, UTC)
        yield Diagnosis(
            "clock",
            "problem",
            f"metadata was written at {ahead:%Y-%m-%d %H:%M} UTC, which is to come: the clock went back",
            "synchronise the clock (NTP), then publish: what a wrong clock signed expires at a wrong time",
        )
    elif abs(apart) <= CLOCK_SECONDS:
        yield Diagnosis(
            "clock", "ok", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC; compare it, or give --url"
        )


def _kernel_cache() -> Iterator[Diagnosis]:
    for folder in cache_folders():
        try:
            with tempfile.NamedTemporaryFile(dir=folder):
                yield Diagnosis("kernel cache", "ok", f"{folder} can be written")
                return
        except OSError:
            continue
    yield Diagnosis(
        "kernel cache",
        "problem",
        "no folder for compiled kernels can be written, so every start compiles them for a minute",
        "set CacheDirectory=contactsync in the systemd unit and CONTACTSYNC_CACHE_DIR to it",
    )
