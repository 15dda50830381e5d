"""Accounts in one SQLite file of their own: `accounts.sqlite`. All that the serving process opens."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput
from contactsync.foundation.migrations import newest
from contactsync.server.storage.migrations import ACCOUNTS_STEPS
from contactsync.server.storage.ports import Account, credential_hash
from contactsync.server.storage.sqlite.database import Database, audience_of, bit_of

_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE accounts (
    name TEXT PRIMARY KEY,
    audience INTEGER NOT NULL,
    credential_hash BLOB NOT NULL UNIQUE,
    added INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = {newest(ACCOUNTS_STEPS)};
COMMIT;
"""


class SqliteAccounts:
    """An `AccountStore`. Each thread that asks gets a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine = threading.local()
        self._opened: list[Database] = []
        self._database()  # so that what is wrong with the file is said at once
        # PRAGMA data_version tells of the changes that other connections made, so this one makes none.
        self._watch = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)

    @classmethod
    def create(cls, path: Path, rows: Iterable[tuple[str, int, bytes, int]] = ()) -> SqliteAccounts:
        """A new file, readable by its owner alone, there whole or not at all.

        `rows` are accounts as (name, bit of the audience, hash of the credential, seconds since 1970).
        """
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.executescript(_SCHEMA)
            connection.executemany("INSERT INTO accounts VALUES (?, ?, ?, ?)", rows)
            data = bytearray(connection.serialize())
        # "WAL" in the file's header (sqlite.org/fileformat2.html §1.3.3): of those who open it at the same
        # moment, one would turn that on and the others find it locked.
        data[18:20] = b"\2\2"
        for suffix in ("-wal", "-shm"):  # of a file that was lost: they must not be taken for this one's
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        durable.write(path, bytes(data))
        return cls(path)

    def add(self, name: str, audience: str, credential: str) -> None:
        """See `AccountStore.add`."""
        row = (name, bit_of(audience), credential_hash(credential), int(time.time()))
        if not self._database().change("INSERT OR IGNORE INTO accounts VALUES (?, ?, ?, ?)", *row):
            raise BadInput(
                f"there is an account of the name {name!r} already",
                hint="choose another name, or revoke that one first",
            )

    def revoke(self, name: str) -> None:
        """See `AccountStore.revoke`."""
        if not self._database().change("DELETE FROM accounts WHERE name = ?", name):
            raise BadInput(
                f"there is no account of the name {name!r}", hint="see `contactsync server accounts list`"
            )

    def list(self) -> list[Account]:
        """See `AccountStore.list`."""
        rows = self._database().all("SELECT name, audience, added FROM accounts ORDER BY name")
        return [Account(name, audience_of(bit), added) for name, bit, added in rows]

    def find(self, credential: str) -> Account | None:
        """See `AccountStore.find`."""
        rows = self._database().all(
            "SELECT name, audience, added FROM accounts WHERE credential_hash = ?",
            credential_hash(credential),
        )
        return Account(rows[0][0], audience_of(rows[0][1]), rows[0][2]) if rows else None

    def revision(self) -> object:
        """See `AccountStore.revision`. Reads shared memory (the index of the WAL), about 3 µs."""
        try:
            return self._watch.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error:  # such as busy: a process died, and another one puts its WAL right
            return None

    def close(self) -> None:
        """See `AccountStore.close`."""
        self._watch.close()
        while self._opened:
            self._opened.pop().close()

    def _database(self) -> Database:
        database: Database | None = getattr(self._mine, "database", None)
        if database is None:
            database = Database(self._path, "accounts database", ACCOUNTS_STEPS)
            self._mine.database = database
            self._opened.append(database)
        return database
