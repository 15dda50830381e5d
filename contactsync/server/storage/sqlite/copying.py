"""Copies of databases as they are at one moment, whoever writes meanwhile; and what a copy is."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from contactsync.foundation.errors import OurError
from contactsync.server.storage.ports import WAIT
from contactsync.server.storage.sqlite.database import sqlite_errors


def copy_database(source: Path, target: Path, what: str) -> None:
    """Copy a database to a new file. Raises OurError: there is none, or it is damaged.

    The source is not migrated. It may be written to meanwhile: the copy is of the moment in which it begins
    (https://www.sqlite.org/backup.html, in one step).
    """
    if not source.exists():
        raise OurError(f"there is no {what} at {source}", hint="restore it from a backup")
    target.touch(0o600)
    with sqlite_errors(source, what), contextlib.ExitStack() as stack:
        original, copy = (
            stack.enter_context(contextlib.closing(sqlite3.connect(path, timeout=WAIT, isolation_level=None)))
            for path in (source, target)
        )
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")  # nothing relies on it before it is read again
        original.backup(copy)
        _check(copy)


def version_of(path: Path, what: str, *, live: bool = False) -> int:
    """The version of a database, which is not changed. Raises OurError if it is none, or damaged.

    Others may use one that is `live`.
    """
    address = f"{path.absolute().as_uri()}?{'mode=rw' if live else 'immutable=1'}"
    with (
        sqlite_errors(path, what),
        contextlib.closing(sqlite3.connect(address, uri=True)) as connection,
    ):
        _check(connection)
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _check(connection: sqlite3.Connection) -> None:
    found = [said for (said,) in connection.execute("PRAGMA quick_check")]
    # SQLite 3.40 sees NULLs that are not there in tables without rowids whose key is not their first columns.
    if any(said != "ok" and not said.startswith("NULL value in ") for said in found):
        raise sqlite3.DatabaseError("it is damaged")
