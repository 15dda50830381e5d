"""Numbered migrations of SQLite databases: one transaction per step, counted in `PRAGMA user_version`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from contactsync.foundation.errors import OurError
from contactsync.foundation.migrations import check_version, newest

SqlStep = Callable[[sqlite3.Connection], None]
"""Runs in a transaction of its caller, and never ends it (use `run_script`, not `executescript`)."""


def open_sqlite(
    connection: sqlite3.Connection, what: str, create: SqlStep, steps: Sequence[SqlStep] = ()
) -> None:
    """Let `create` make the tables of the newest version in a new database; migrate any other database.

    Takes and raises the same as `migrate_sqlite`. Several processes may do this at once, too.
    """
    if _version(connection) == 0:

        def step(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise OurError(f"{what} has no valid version", hint="restore it from a backup")
            create(connection)

        _transact(connection, 0, newest(steps), step)
    migrate_sqlite(connection, what, steps)


def migrate_sqlite(connection: sqlite3.Connection, what: str, steps: Sequence[SqlStep]) -> int:
    """Bring a database to the newest version, counted in `PRAGMA user_version`. Returns its old version.

    The connection must be in autocommit mode. Two processes may do this at once: the second finds it done.
    Raises OurError (newer, or not one of ours), sqlite3.Error.
    """
    found = check_version(what, _version(connection), steps)
    for at in range(found, newest(steps)):
        _transact(connection, at, at + 1, steps[at - 1])
    check_version(what, _version(connection), steps)  # a newer program may have been faster
    return found


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _transact(connection: sqlite3.Connection, before: int, after: int, step: SqlStep) -> None:
    """Bring a database from one version to another in one transaction, unless another process has."""
    connection.execute("BEGIN EXCLUSIVE")
    try:
        if _version(connection) == before:  # else another process was faster
            step(connection)
            assert connection.in_transaction, "a migration step ended the transaction that it runs in"
            connection.execute(f"PRAGMA user_version = {after:d}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk may have ended it
            connection.execute("ROLLBACK")
        raise


def run_script(connection: sqlite3.Connection, script: str) -> None:
    """Execute statements inside the open transaction, which `executescript` would commit first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
    if statement.strip():
        connection.execute(statement)
