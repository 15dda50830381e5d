"""One SQLite file: how it is opened and changed, and how its failures are reported.

WAL, so that look-ups never wait for an import. `synchronous=FULL`: a member who was reported as removed stays
removed after a power cut. It costs one fsync for each transaction, and those are large. `secure_delete`:
deleted data is overwritten, not only marked as free.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from contactsync.foundation.databases import SqlStep, migrate_sqlite
from contactsync.foundation.errors import OurError
from contactsync.server.storage.migrations import WRITERS, let_write
from contactsync.server.storage.ports import WAIT


class Database:
    """A connection to an existing file, brought to the newest version.

    `what` is its name in errors: `"registry"`. An object is for one thread. Several objects and processes may
    share the file. Raises OurError: missing, damaged, of an unknown version.
    """

    def __init__(self, path: Path, what: str, steps: Sequence[SqlStep], *, wait: float = WAIT) -> None:
        if not path.exists():
            raise OurError(f"there is no {what} at {path}", hint="restore it from a backup")
        self.errors = functools.partial(sqlite_errors, path, what)
        with self.errors():
            # Threads close what others have opened; each uses its own meanwhile.
            self.connection = sqlite3.connect(
                path, timeout=wait, isolation_level=None, check_same_thread=False
            )
            try:
                self.connection.execute("PRAGMA journal_mode = WAL")
                self.connection.execute("PRAGMA synchronous = FULL")
                self.connection.execute("PRAGMA secure_delete = ON")
                let_write(self.connection)
                migrate_sqlite(self.connection, f"the {what}", steps)
            except BaseException:
                self.connection.close()
                raise

    def all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.errors():
            return self.connection.execute(query, values).fetchall()

    def one(self, query: str, *values: object) -> Any:
        """The single value of a query."""
        return self.all(query, *values)[0][0]

    def change(self, statement: str, *values: object) -> int:
        """Run one statement. Returns how many rows it changed."""
        with self.errors():
            return self.connection.execute(statement, values).rowcount

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction that writes. It is rolled back if the block raises.

        Inside another it is a part of that one: it is on the disk when the outer one ends, and if its block
        raises only what it did itself is undone.
        """
        begin, commit, undo = "BEGIN IMMEDIATE", "COMMIT", ["ROLLBACK"]
        if self.connection.in_transaction:
            begin, commit, undo = "SAVEPOINT part", "RELEASE part", ["ROLLBACK TO part", "RELEASE part"]
        with self.errors():
            self.connection.execute(begin)
            try:
                yield
                self.connection.execute(commit)
            except BaseException:
                if self.connection.in_transaction:  # a full disk may have ended it
                    for statement in undo:
                        self.connection.execute(statement)
                raise

    def close(self) -> None:
        """Release the file."""
        self.connection.close()


@contextlib.contextmanager
def sqlite_errors(path: Path, what: str) -> Iterator[None]:
    """Turn errors that SQLite raises in the block into OurError."""
    try:
        yield
    except sqlite3.Error as error:
        if WRITERS in str(error):  # that of a later version, which this one does not have
            raise OurError(
                f"a newer contactsync has upgraded the {what} {path}",
                hint="restart this process, with the new contactsync",
            ) from error
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        damaged = code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
        # The text of SQLite's errors contains tables and reasons, never values.
        raise OurError(
            f"the {what} {path} cannot be used: {error}",
            hint="restore it from a backup"
            if damaged
            else "check the free space, the permissions, and whether another process holds it",
        ) from error
