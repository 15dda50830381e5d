"""Accounts, their quotas and what was charged, in one SQLite file: `accounts.sqlite`. `serve` opens no other.

A charge is one statement (`CHARGE`). It runs in a transaction that also notes the batch, so that the two are
on the disk together or not at all; charges that are given together share the transaction, and its fsync.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from contactsync.foundation import durable
from contactsync.foundation.errors import OurError
from contactsync.server.quota import (
    DAY_MS,
    Clock,
    Verdict,
    system_clock,
)
from contactsync.server.storage.accounting import Accounting, ChargedRow, hashing_secret
from contactsync.server.storage.migrations import ACCOUNTS_STEPS, create_accounts
from contactsync.server.storage.ports import (
    BATCHES,
    WAIT,
)
from contactsync.server.storage.sqlite.database import Database

_Row = tuple[str, int, bytes, int]
_WHAT: Final = "accounts database"
_NEEDED: Final = (3, 35)  # of SQLite: UPDATE … FROM … RETURNING

CHARGE: Final = f"""
UPDATE accounts SET
    level = found.level + charged * (:points - free) * {DAY_MS:d},
    at = max(accounts.at, :now),
    outcome = found.outcome,
    batches = batches + charged,
    full_batches = full_batches + charged * :full,
    points_today = CASE WHEN last_used >= :day THEN points_today ELSE 0 END + charged * :points,
    points_total = points_total + charged * :points,
    epoch = max(accounts.epoch, :epoch),
    epoch_points = found.epoch_points + charged * :points * (:epoch >= accounts.epoch),
    granted = found.granted - charged * free,
    granted_at = CASE WHEN found.grants THEN :now ELSE granted_at END,
    granted_before = CASE WHEN found.grants THEN granted_at ELSE granted_before END,
    refused = refused + (found.outcome = {Verdict.REFUSED:d}),
    last_used = max(coalesce(last_used, 0), :day)
FROM (
    SELECT *, outcome = {Verdict.CHARGED:d} AS charged FROM (
        SELECT *, CASE
            WHEN again THEN {Verdict.REPEATED:d}
            WHEN level + (:points - free) * {DAY_MS:d} > :capacity THEN {Verdict.REFUSED:d}
            WHEN :points > CASE WHEN added > :new_since THEN :new_room ELSE :room END
                THEN {Verdict.STOPPED:d}
            ELSE {Verdict.CHARGED:d}
        END AS outcome
        FROM (
            SELECT *, CASE WHEN current THEN min(granted, :points) ELSE 0 END AS free
            FROM (
                SELECT id, added,
                    CASE
                        WHEN :now <= at THEN level
                        WHEN :now - at > level / :per_day THEN 0
                        ELSE level - (:now - at) * :per_day
                    END AS level,
                    EXISTS (
                        SELECT 1 FROM batches
                        WHERE account = :account AND batch = :batch AND batches.at > :since
                    ) AS again,
                    :epoch >= epoch AS current,
                    moves AND granted_before <= :granted_since AS grants,
                    CASE
                        WHEN NOT moves THEN granted
                        WHEN granted_before <= :granted_since THEN epoch_points
                        ELSE 0
                    END AS granted,
                    CASE WHEN moves THEN 0 ELSE epoch_points END AS epoch_points
                FROM (SELECT *, epoch > 0 AND :epoch > epoch AS moves FROM accounts WHERE id = :account)
            )
        )
    )
) AS found
WHERE accounts.id = found.id
RETURNING level, at, outcome, batches, granted, audience, added > :new_since
"""  # noqa: S608 - figures of an enumeration
"""Let the bucket leak, grant, charge if there is room, count: `quota` in SQL. No product can overflow."""


class SqliteAccounts(Accounting[Database]):
    """An `AccountStore`. Each thread has its own connection."""

    def __init__(self, path: Path, clock: Clock = system_clock, *, wait: float = WAIT) -> None:
        """`wait` is for how many seconds another process may hold the file before that is an error."""
        if sqlite3.sqlite_version_info < _NEEDED:
            found, needed = sqlite3.sqlite_version, ".".join(map(str, _NEEDED))
            raise OurError(f"SQLite {found} is too old", hint=f"install SQLite {needed} or newer")
        self._path = path
        self._clock = clock
        self._wait = wait
        self._mine = threading.local()
        self._opened: list[Database] = []
        self._database()  # so that what is wrong with the file is said at once
        # Waits for nobody: it is asked on an event loop.
        self._watch = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)

    @classmethod
    def create(cls, path: Path, rows: Iterable[_Row] = (), clock: Clock = system_clock) -> SqliteAccounts:
        """A new file, readable by its owner alone, there whole or not at all.

        `rows` are accounts as (name, bit of the audience, hash of the credential, seconds since 1970).
        """
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            connection.execute("BEGIN")
            create_accounts(connection)
            connection.execute("INSERT INTO state VALUES (0, ?)", (hashing_secret(),))
            for name, audience, hashed, added in rows:
                add = "INSERT INTO accounts (name, audience, added, class) VALUES (?, ?, ?, '')"
                account = connection.execute(add, (name, audience, added)).lastrowid
                connection.execute("INSERT INTO credentials (hash, account) VALUES (?, ?)", (hashed, account))
            connection.execute("COMMIT")
            data = bytearray(connection.serialize())
        # "WAL" in the file's header (sqlite.org/fileformat2.html §1.3.3). Otherwise, if several processes
        # open it at the same moment, one would turn WAL on and the others would find the file locked.
        data[18:20] = b"\2\2"
        for suffix in ("-wal", "-shm"):  # left from a lost file: they must not be used with this one
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        durable.write(path, bytes(data))
        return cls(path, clock)

    def _charged(
        self, database: Database, charges: Sequence[Mapping[str, Any]]
    ) -> Iterator[ChargedRow | None]:
        for charge in charges:
            rows = database.connection.execute(CHARGE, charge).fetchall()
            if not rows:
                yield None
                continue
            level, at, outcome, batches, granted, audience, new = rows[0]
            if outcome == Verdict.CHARGED:  # in the place of the oldest that is remembered
                row = (charge["account"], batches % BATCHES, charge["batch"], charge["now"])
                database.connection.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)", row)
            yield level, at, outcome, granted, audience, bool(new)

    def _exchanged(self, database: Database, code: bytes, now: int, credential: bytes, until: int) -> bool:
        taken = database.all(
            "DELETE FROM credentials WHERE hash = ? AND until > ? RETURNING account", code, now
        )
        for (account,) in taken:
            database.change("INSERT INTO credentials VALUES (?, ?, ?)", credential, account, until)
        return bool(taken)

    def revision(self) -> object:
        """See `AccountStore.revision`. Reads one page, which no writer holds up: some µs."""
        try:
            return self._watch.execute("SELECT revision FROM state").fetchone()[0]
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
            database = Database(self._path, _WHAT, ACCOUNTS_STEPS, wait=self._wait)
            self._mine.database = database
            self._opened.append(database)
        return database
