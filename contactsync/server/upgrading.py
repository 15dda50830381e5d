"""What an update of contactsync will do to a data folder, tried on a copy; and doing it.

Whichever command comes first migrates the databases anyway. This says before, how, and how long it takes, and
finds on the copy what would be refused. The copy is beside the original, in the data folder, and is
overwritten afterwards.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from contactsync.foundation import durable
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput, OurError
from contactsync.foundation.migrations import check_version, newest
from contactsync.publication.tuf.repository import Repository
from contactsync.server.backups.making import scratch
from contactsync.server.settings import LOCK_WAIT, DataFolder
from contactsync.server.storage.migrations import ACCOUNTS_STEPS, REGISTRY_STEPS
from contactsync.server.storage.opening import address_of_folder, open_accounts, open_members
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

    `rebuilds`: audiences whose files the next publish builds again, in a newer format.
    """

    databases: tuple[DatabaseUpgrade, ...]
    seconds: float
    members: dict[str, int]
    rebuilds: tuple[str, ...]

    @property
    def is_needed(self) -> bool:
        """Whether a database is of an earlier version."""
        return any(one.version != one.to for one in self.databases)


def try_upgrade(folder: DataFolder) -> Upgrade:
    """Migrate a copy. Raises OurError: a newer contactsync wrote it, it is damaged, the disk; BadInput."""
    if address_of_folder(folder) is not None:
        raise BadInput(
            "the members and accounts are in PostgreSQL, which is not copied",
            hint="try `server upgrade` on a copy of the database (pg_dump, createdb, pg_restore)",
        )
    found = _versions(folder)
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
        found = () if address_of_folder(folder) is not None else _versions(folder)
        return _migrate(folder, folder, found)


def _versions(folder: DataFolder) -> tuple[DatabaseUpgrade, ...]:
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
    repository = Repository(published.public)
    current = [one for audience in AUDIENCES if (one := repository.current(audience)) is not None]
    old = tuple(one.audience for one in current if not one.is_current)
    return Upgrade(tuple(found), time.monotonic() - begin, counts, old)
