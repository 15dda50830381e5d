"""Creates and opens the databases of a data folder. Whichever command comes first migrates them."""

from __future__ import annotations

import contextlib

from contactsync.server.settings import DataFolder
from contactsync.server.storage.migrations import MOVING, REGISTRY_STEPS
from contactsync.server.storage.ports import AccountStore, MemberStore
from contactsync.server.storage.sqlite.accounts import SqliteAccounts
from contactsync.server.storage.sqlite.database import WAIT, Database
from contactsync.server.storage.sqlite.members import SqliteMembers


def create_stores(folder: DataFolder) -> None:
    """Create new, empty stores of members and accounts."""
    SqliteMembers.create(folder.registry).close()
    SqliteAccounts.create(folder.accounts).close()


def open_members(folder: DataFolder) -> MemberStore:
    """The members. Raises OurError: missing, damaged, written by a newer program."""
    members = SqliteMembers(folder.registry)
    try:
        _move_accounts(folder)
    except BaseException:
        members.close()
        raise
    return members


def open_accounts(folder: DataFolder, *, wait: float = WAIT) -> AccountStore:
    """The accounts. Their file alone is touched, unless an earlier version has left none.

    `wait` is for how many seconds another process may hold it before that is an error.
    Raises OurError: missing, damaged, written by a newer program.
    """
    if not folder.accounts.exists() and folder.registry.exists():
        _move_accounts(folder)
    return SqliteAccounts(folder.accounts, wait=wait)


def _move_accounts(folder: DataFolder) -> None:
    """Finish moving the accounts, if the migration of the registry to version 2 began it (migrations.py)."""
    with contextlib.closing(Database(folder.registry, "registry", REGISTRY_STEPS)) as registry:
        there = "SELECT count(*) FROM sqlite_master WHERE name = ?"
        if not registry.one(there, MOVING):
            return
        with registry.transaction():  # only one of several processes does it
            if not registry.one(there, MOVING):
                return
            if not folder.accounts.exists():
                rows = registry.all(f"SELECT name, audience, credential_hash, added FROM {MOVING}")  # noqa: S608
                SqliteAccounts.create(folder.accounts, rows).close()
            registry.change(f"DROP TABLE {MOVING}")
