"""Numbered migrations of SQLite databases: each step in a transaction, counted in `PRAGMA user_version`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from contactsync.foundation.errors import OurError
from contactsync.foundation.migrations import check_version, newest

SqlStep = Callable[[sqlite3.Connection], None]
"""Runs inside a transaction that the caller opened, and never ends it (no `executescript`: `run_script`)."""


def open_sqlite(
    connection: sqlite3.Connection, what: str, create: SqlStep, steps: Sequence[SqlStep] = ()
) -> None:
    """Give a new database the tables of the newest version, which `create` makes; bring any other up to it.

    Takes and raises what `migrate_sqlite` does, and may be done by several processes at once as well.
    """
    if _version(connection) == 0:

        def step(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise OurError(f"{what} has no valid version", hint="restore it from a backup")
            create(connection)

        _transact(connection, 0, newest(steps), step)
    migrate_sqlite(connection, what, steps)


def migrate_sqlite(connection: sqlite3.Connection, what: str, steps: Sequence[SqlStep]) -> int:
    """Bring a database to the newest version, counted in `PRAGMA user_version`; returns what it was.

    The connection must be in autocommit mode. Two processes may do this at once: the second finds it done.
    Raises OurError (newer, or none of ours), sqlite3.Error.
    """
    found = check_version(what, _version(connection), steps)
    for at in range(found, newest(steps)):
        _transact(connection, at, at + 1, steps[at - 1])
    check_version(what, _version(connection), steps)  # another program may have been faster, and newer
    return found


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _transact(connection: sqlite3.Connection, before: int, after: int, step: SqlStep) -> None:
    """Lead a database from one version to another in one transaction, unless somebody else has."""
    connection.execute("BEGIN EXCLUSIVE")
    try:
        if _version(connection) == before:  # else another process was faster
            step(connection)
            assert connection.in_transaction, "a migration step ended the transaction that it runs in"
            connection.execute(f"PRAGMA user_version = {after:d}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it
            connection.execute("ROLLBACK")
        raise


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Execute statements inside the transaction that is open; `executescript` would commit it first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
    if statement.strip():
        connection.execute(statement)
