"""What an update of contactsync will do to a data folder, tried on a copy; and doing it.

Whichever command comes first migrates the databases anyway. This says before, how, and how long it takes, and
finds on the copy what would be refused. The copy is beside the original, in the data folder, and is
overwritten afterwards. Of a PostgreSQL database, which others use and nobody copies for this, it says only
which migrations there would be: each is one transaction, which is done as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from contactsync.foundation import durable
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import OurError
from contactsync.foundation.migrations import check_version, newest
from contactsync.publication.tuf.repository import Repository
from contactsync.server.backups.making import scratch
from contactsync.server.settings import LOCK_WAIT, DataFolder
from contactsync.server.storage.migrations import ACCOUNTS_STEPS, REGISTRY_STEPS
from contactsync.server.storage.opening import address_of_folder, open_accounts, open_members, versions_in
from contactsync.server.storage.sqlite.copying import copy_database, version_of

_SCRATCH: Final = ".upgrade"


@dataclass(frozen=True, slots=True)
class DatabaseUpgrade:
    """One database: its version before (0: there is none yet) and after."""

    name: str
    version: int
    to: int


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What was done, or would be, in so many seconds. `members` are there by audience, before and after.

    `rebuilds`: audiences whose files the next publish builds again, in a newer format. `tried`: whether the
    migrations have been run, on a copy or for good; else nobody was counted.
    """

    databases: tuple[DatabaseUpgrade, ...]
    seconds: float
    members: dict[str, int]
    rebuilds: tuple[str, ...]
    tried: bool = True

    @property
    def is_needed(self) -> bool:
        """Whether a database is of an earlier version."""
        return any(one.version != one.to for one in self.databases)


def try_upgrade(folder: DataFolder) -> Upgrade:
    """Migrate a copy, if the databases are files; else only read the versions.

    Raises OurError: a newer contactsync wrote them, one is damaged or does not answer, the disk; BadInput.
    """
    begin, found = time.monotonic(), _versions(folder)
    if address_of_folder(folder) is not None:
        return Upgrade(found, time.monotonic() - begin, {}, _rebuilds(folder), tried=False)
    with scratch(folder.path / _SCRATCH, "upgrade") as place:
        copy = DataFolder(place)
        try:
            for path, target in ((folder.registry, copy.registry), (folder.accounts, copy.accounts)):
                if path.exists():
                    copy_database(path, target, path.stem)
            durable.write(copy.settings_file, folder.settings_file.read_bytes())
        except OSError as error:
            raise OurError(f"there is no copy: {error.strerror}", hint="check the free space") from error
        return _migrate(copy, folder, found)


def upgrade(folder: DataFolder) -> Upgrade:
    """Migrate it. Raises as `try_upgrade`, Busy; a database is as before or migrated, step by step."""
    with folder.lock(wait=LOCK_WAIT):
        return _migrate(folder, folder, _versions(folder))


def _versions(folder: DataFolder) -> tuple[DatabaseUpgrade, ...]:
    address = address_of_folder(folder)
    if address is not None:
        return tuple(DatabaseUpgrade(*one) for one in versions_in(address))
    found = []
    for path, steps in ((folder.registry, REGISTRY_STEPS), (folder.accounts, ACCOUNTS_STEPS)):
        version = version_of(path, path.stem, live=True) if path.exists() else 0
        if version:
            check_version(f"the {path.stem} database", version, steps)
        found.append(DatabaseUpgrade(path.stem, version, newest(steps)))
    return tuple(found)


def _migrate(folder: DataFolder, published: DataFolder, found: Sequence[DatabaseUpgrade]) -> Upgrade:
    begin = time.monotonic()
    with (
        contextlib.closing(open_members(folder)) as members,
        contextlib.closing(open_accounts(folder)) as accounts,
    ):
        accounts.list()
        counts = {audience: members.count(audience) for audience in AUDIENCES}
    return Upgrade(tuple(found), time.monotonic() - begin, counts, _rebuilds(published))


def _rebuilds(published: DataFolder) -> tuple[str, ...]:
    repository = Repository(published.public)
    current = [one for audience in AUDIENCES if (one := repository.current(audience)) is not None]
    return tuple(one.audience for one in current if not one.is_current)
