"""Creates and opens the stores of a data folder. Whichever command comes first migrates them.

They are files in the folder, or in the PostgreSQL database that its server.toml names. Only then is anything
of `storage.postgres` imported.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from contactsync.foundation.errors import BadInput
from contactsync.server.settings import DataFolder
from contactsync.server.storage.archive import Pages, read_archive, write_archive
from contactsync.server.storage.migrations import MOVING, REGISTRY_STEPS
from contactsync.server.storage.ports import WAIT, AccountStore, MemberStore
from contactsync.server.storage.sqlite.accounts import SqliteAccounts
from contactsync.server.storage.sqlite.database import Database
from contactsync.server.storage.sqlite.members import SqliteMembers
from contactsync.server.storage.sqlite.moving import read_files, remove_files, write_files

if TYPE_CHECKING:
    from contactsync.server.storage.postgres.address import DatabaseUrl


def create_stores(folder: DataFolder, address: DatabaseUrl | None = None) -> None:
    """Create new, empty stores of members and accounts. BadInput: the database has some already."""
    if address is None:
        SqliteMembers.create(folder.registry).close()
        SqliteAccounts.create(folder.accounts).close()
        return
    _check_psycopg()
    from contactsync.server.storage.postgres.creating import create_stores_in

    create_stores_in(address)


def versions_in(address: DatabaseUrl) -> list[tuple[str, int, int]]:
    """Name, version and newest version of both stores in a database. Nothing is migrated. Raises OurError."""
    _check_psycopg()
    from contactsync.server.storage.postgres.moving import versions_of

    return versions_of(address)


def discard_stores(address: DatabaseUrl | None) -> None:
    """Remove from a database what `create_stores` has just made there."""
    if address is not None:
        from contactsync.server.storage.postgres.creating import drop_stores_of

        drop_stores_of(address)


def open_members(folder: DataFolder) -> MemberStore:
    """The members. Raises OurError: missing, damaged, written by a newer program."""
    address = address_of_folder(folder)
    if address is not None:
        _check_psycopg()
        from contactsync.server.storage.postgres.members import PostgresMembers

        return PostgresMembers(address)
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
    address = address_of_folder(folder)
    if address is not None:
        _check_psycopg()
        from contactsync.server.storage.postgres.accounts import PostgresAccounts

        return PostgresAccounts(address, wait=wait)
    if not folder.accounts.exists() and folder.registry.exists():
        _move_accounts(folder)
    return SqliteAccounts(folder.accounts, wait=wait)


def export_stores(folder: DataFolder, path: Path) -> dict[str, int]:
    """Write both stores into one file; the number of rows by table. Raises BadInput, OurError."""
    return write_archive(path, _read_stores(folder))


def import_stores(folder: DataFolder, path: Path, address: DatabaseUrl | None) -> None:
    """Make the stores of a folder from such a file: in a database, or (None) as files. All or nothing.

    server.toml says where they are as soon as they are whole. Raises BadInput (there are some already, the
    file is damaged), OurError, Busy.
    """
    with folder.lock():
        if address is not None:
            _into_database(folder, address, read_archive(path))
            return
        write_files(folder, read_archive(path))
        try:
            folder.name_database("")
        except BaseException:
            remove_files(folder)
            raise


def copy_to_files(folder: DataFolder, place: DataFolder) -> None:
    """Copy the stores of a folder, which are in a database, into files of another, as of one moment."""
    write_files(place, _read_stores(folder))


def move_to_database(folder: DataFolder, address: DatabaseUrl, claim: str, broken: str) -> None:
    """Move the stores of a folder from its files into an empty database; server.toml says so then.

    `claim` marks what is there as of this attempt; what is marked as of the attempt `broken` is removed
    first. Raises BadInput (there are some already), OurError.
    """
    _into_database(folder, address, read_files(folder), claim, broken)


def read_address(text: str, *, private: bool = True) -> DatabaseUrl:
    """The database that a URL names. Raises BadInput, also for a password where others can read it."""
    from contactsync.server.storage.postgres.address import DatabaseUrl

    return DatabaseUrl.parse(text) if private else DatabaseUrl.without_password(text, "--database")


def address_of_folder(folder: DataFolder) -> DatabaseUrl | None:
    """The database that has the stores of a folder, None if they are files of it. Raises BadInput."""
    url, password_file = folder.database()
    if not url:
        return None
    from contactsync.server.storage.postgres.address import address_of

    return address_of(url, password_file, folder.path)


def _read_stores(folder: DataFolder) -> Pages:
    """All rows of both stores, wherever they are."""
    address = address_of_folder(folder)
    if address is None:
        return read_files(folder)
    _check_psycopg()
    from contactsync.server.storage.postgres.moving import read_database

    return read_database(address)


def _into_database(
    folder: DataFolder, address: DatabaseUrl, pages: Pages, claim: str = "", broken: str = ""
) -> None:
    """Make the stores of a folder in a database, and have server.toml say so; or neither."""
    _check_psycopg()
    from contactsync.server.storage.postgres.moving import write_database

    write_database(address, pages, claim=claim, broken=broken)
    try:
        folder.name_database(address.url)
    except BaseException:
        discard_stores(address)
        raise


def _check_psycopg() -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise BadInput(
            "PostgreSQL needs psycopg, which is not installed", hint="pip install 'contactsync[postgres]'"
        ) from error


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
