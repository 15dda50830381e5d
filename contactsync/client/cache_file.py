"""The file of a cache: how SQLite is opened, written and closed so that nothing stays that was removed.

What is removed from the cache can be read nowhere on the disk once it is closed, as far as a program can do
that (tests/raw_disk.py):

- The rollback journal holds pages as they were. It is kept (`journal_mode = PERSIST`), not unlinked, and is
  overwritten when the cache is closed. A commit is durable once the journal's head is zeros; SQLite waits for
  that with `synchronous = FULL`. EXTRA is the same here; for a journal that is unlinked, FULL would not do.
- `secure_delete` overwrites rows. But SQLite also moves rows between pages, and leaves copies that no later
  deletion finds. When identifiers go, all that stays is rewritten, and the old pages become zeros.
- What SQLite would write into temporary files stays in memory (`temp_store`).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from contactsync.client.state import damaged
from contactsync.foundation import databases, erasure
from contactsync.foundation.errors import OurError

_PRAGMAS: Final = (
    "temp_store = MEMORY",
    "secure_delete = ON",
    "locking_mode = EXCLUSIVE",  # or the next line, which reads, would unlink the journal of a killed process
    "journal_mode = PERSIST",
    "locking_mode = NORMAL",
    "synchronous = EXTRA",
)

_NOT_WRITABLE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
}


class CacheFile:
    """The open file of one server's cache. Raises OurError from every method if the file is damaged."""

    def __init__(
        self, path: Path, url: str, create: databases.SqlStep, steps: Sequence[databases.SqlStep]
    ) -> None:
        """Open the file at `path`, which `create` makes and `steps` bring to the newest version."""
        self._url = url
        self._journal = path.with_name(f"{path.name}-journal")
        self._wrote = False
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            erasure.blank(self._journal)  # of a cache that is gone: SQLite would unlink it
        with self._explained():
            self._db = sqlite3.connect(path, isolation_level=None)
            try:
                for pragma in _PRAGMAS:
                    self._db.execute(f"PRAGMA {pragma}")
                databases.open_sqlite(self._db, f"the cache kept for {url}", create, steps)
            except BaseException:
                self._db.close()
                raise

    def close(self) -> None:
        """Close the file, and overwrite the journal. Raises OurError if what was written cannot be wiped."""
        try:
            self._wipe_journal()
        except OurError:  # if nothing was written: who did that is there still, or the next one wipes it
            if self._wrote:
                raise
        finally:
            self._db.close()

    def _wipe_journal(self) -> None:
        with self._explained():
            if not erasure.is_blank(self._journal):
                self._db.execute("BEGIN EXCLUSIVE")  # nobody's now: one that is needed has been rolled back
                try:
                    erasure.blank(self._journal)
                finally:
                    self._db.execute("ROLLBACK")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            self._wrote = True
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has ended it
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            # The rest are SQLite's extended codes. An error of Python's own module (no UTF-8) has none.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOT_WRITABLE:
                raise _not_writable(self._url) from error
            raise damaged(self._url) from error
        except OSError as error:
            raise _not_writable(self._url) from error
        except (sqlite3.Error, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise damaged(self._url) from error


def _not_writable(url: str) -> OurError:
    return OurError(
        f"cannot write the state kept for {url}",
        hint="make room on the disk, or the files of --state writable, and try again",
    )


def write_anew(db: sqlite3.Connection) -> None:
    """Rewrite every table: pages become free and are overwritten, with the copies of rows in them."""
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        db.execute(f"CREATE TEMP TABLE moved AS SELECT * FROM {table}")  # noqa: S608 - our own tables
        db.execute(f"DELETE FROM {table}")  # noqa: S608
        db.execute(f"INSERT INTO {table} SELECT * FROM moved")  # noqa: S608
        db.execute("DROP TABLE moved")
