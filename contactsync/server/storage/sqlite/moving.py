"""Both stores in SQLite, read as a whole and written as a whole."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError
from contactsync.server.settings import DataFolder
from contactsync.server.storage.archive import LAST_ACCOUNT, PAGE, Pages, Row, StoredTable, tables
from contactsync.server.storage.migrations import ACCOUNTS_STEPS, REGISTRY_STEPS, let_write
from contactsync.server.storage.sqlite.accounts import SqliteAccounts
from contactsync.server.storage.sqlite.database import Database
from contactsync.server.storage.sqlite.members import SqliteMembers

# ruff: noqa: S608 - names of tables and columns are constants


def read_files(folder: DataFolder) -> Iterator[tuple[StoredTable, Sequence[Row]]]:
    """All rows of both stores, each store as it is at one moment. Raises OurError."""
    SqliteMembers(folder.registry).close()  # which migrates it, and makes tables of new kinds
    with (
        contextlib.closing(Database(folder.registry, "registry", REGISTRY_STEPS)) as members,
        contextlib.closing(Database(folder.accounts, "accounts database", ACCOUNTS_STEPS)) as accounts,
    ):
        of = {"members": members, "accounts": accounts}
        for database in of.values():
            database.change("BEGIN")
        for table in tables():
            database = of[table.store]
            query = f"SELECT {', '.join(table.columns)} FROM {table.name}"
            if table is LAST_ACCOUNT:
                query = "SELECT max(seq) FROM sqlite_sequence WHERE name = 'accounts' HAVING max(seq) > 0"
            with database.errors(), contextlib.closing(database.connection.execute(query)) as cursor:
                while rows := cursor.fetchmany(PAGE):
                    yield table, rows


def write_files(folder: DataFolder, pages: Pages) -> None:
    """Make both files with these rows. They are there when all of it is. BadInput: they are there."""
    final = folder.registry, folder.accounts
    for path in final:
        if path.exists():
            raise BadInput(f"{path} already exists", hint="move it away if it is not needed any more")
    beside = [path.with_name(f"{path.name}.importing") for path in final]
    _remove(beside)
    try:
        SqliteMembers.create(beside[0]).close()
        SqliteAccounts.create(beside[1]).close()
        with contextlib.ExitStack() as stack:
            of = {}
            for store, path in zip(("members", "accounts"), beside, strict=True):
                connection = sqlite3.connect(path, isolation_level=None)
                of[store] = stack.enter_context(contextlib.closing(connection))
                let_write(connection)
                of[store].execute("BEGIN")
            of["members"].execute("DELETE FROM changes")
            of["accounts"].execute("DELETE FROM state")
            for table, rows in pages:
                _put(of[table.store], table, rows)
            for connection in of.values():
                connection.execute("COMMIT")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            for path, target in zip(beside, final, strict=True):
                durable.rename(path, target)
        except BaseException:
            remove_files(folder)
            raise
    except sqlite3.Error as error:
        raise OurError(f"the stores cannot be written: {error}", hint="check the free space") from error
    finally:
        _remove(beside)


def remove_files(folder: DataFolder) -> None:
    """Remove what `write_files` has just made."""
    _remove((folder.registry, folder.accounts))


def _put(connection: sqlite3.Connection, table: StoredTable, rows: Sequence[Row]) -> None:
    columns, marks = ", ".join(table.columns), ", ".join("?" * len(table.columns))
    if table is LAST_ACCOUNT:
        connection.execute("DELETE FROM sqlite_sequence WHERE name = 'accounts'")
        connection.executemany("INSERT INTO sqlite_sequence (name, seq) VALUES ('accounts', ?)", rows)
        return
    if table.name == "changes":
        columns, marks = f"{columns}, unerased", f"{marks}, 0"
    connection.executemany(f"INSERT INTO {table.name} ({columns}) VALUES ({marks})", rows)


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
