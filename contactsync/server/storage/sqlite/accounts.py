"""Accounts, their quotas and what was charged, in one SQLite file: `accounts.sqlite`. `serve` opens no other.

A charge is one statement (`CHARGE`). It runs in a transaction that also notes the batch, so that the two are
on the disk together or not at all; charges that are given together share the transaction, and its fsync.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from contactsync.foundation import durable
from contactsync.foundation.errors import OurError
from contactsync.server.breakers import CROWDS, KEPT_MINUTES, MINUTE_MS, MINUTES, OFF, Breakers, Flow
from contactsync.server.quota import (
    DAY_MS,
    GRANT_MS,
    REPEATABLE_MS,
    Clock,
    PointQuota,
    Standing,
    Terms,
    Verdict,
    leaked,
    system_clock,
)
from contactsync.server.storage.accounting import account_of, check_distinct, exists, flow_of, missing
from contactsync.server.storage.migrations import ACCOUNTS_STEPS, create_accounts
from contactsync.server.storage.ports import (
    BATCHES,
    WAIT,
    Account,
    AccountUse,
    Charge,
    EpochUse,
    NewAccount,
    credential_hash,
)
from contactsync.server.storage.records import audience_of, bit_of
from contactsync.server.storage.sqlite.database import Database

_Row = tuple[str, int, bytes, int]
_WHAT: Final = "accounts database"
_NEEDED: Final = (3, 35)  # of SQLite: UPDATE … FROM … RETURNING
_DAY: Final = DAY_MS // 1000
_ACCOUNT: Final = "SELECT name, audience, added, id, class, burst, per_day"
_UNUSED: Final = " FROM accounts WHERE added < :before AND coalesce(last_used, 0) < :day"

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

_COUNT_MINUTE: Final = """
INSERT INTO minutes VALUES (?, ?, ?) ON CONFLICT (minute)
DO UPDATE SET points = points + excluded.points, new_points = new_points + excluded.new_points
"""
_COUNT_EPOCH: Final = """
INSERT INTO epochs VALUES (?, ?, ?, ?) ON CONFLICT (audience, epoch)
DO UPDATE SET points = points + excluded.points
"""
_MINUTES: Final = "SELECT minute, points, new_points FROM minutes WHERE minute > ? AND minute <= ?"


class SqliteAccounts:
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
            connection.execute("INSERT INTO state VALUES (0, ?)", (os.urandom(32),))
            for row in rows:
                _insert(connection, row, Terms())
            connection.execute("COMMIT")
            data = bytearray(connection.serialize())
        # "WAL" in the file's header (sqlite.org/fileformat2.html §1.3.3). Otherwise, if several processes
        # open it at the same moment, one would turn WAL on and the others would find the file locked.
        data[18:20] = b"\2\2"
        for suffix in ("-wal", "-shm"):  # left from a lost file: they must not be used with this one
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        durable.write(path, bytes(data))
        return cls(path, clock)

    def add(self, name: str, audience: str, credential: str) -> None:
        """See `AccountStore.add`."""
        self.add_all([NewAccount(name, audience, credential)])

    def add_all(self, accounts: Sequence[NewAccount]) -> None:
        """See `AccountStore.add_all`."""
        check_distinct(accounts)
        added, database = self._clock() // 1000, self._database()
        with database.transaction():
            for one in accounts:
                if database.all("SELECT 1 FROM accounts WHERE name = ?", one.name):
                    raise exists(one.name)
                hashed = credential_hash(one.credential)
                row = (one.name, bit_of(one.audience), hashed, added)
                _insert(database.connection, row, one.terms)

    def revoke(self, *names: str) -> None:
        """See `AccountStore.revoke`."""
        with self._database().transaction():
            for name in names:
                if not self._database().change("DELETE FROM accounts WHERE name = ?", name):
                    raise missing(name)

    def expire(self, before: int, *, dry_run: bool = False) -> list[str]:
        """See `AccountStore.expire`."""
        values = {"before": before, "day": before // _DAY}
        with self._database().transaction():
            run = self._database().connection.execute
            names = [name for (name,) in run("SELECT name" + _UNUSED + " ORDER BY name", values)]
            if not dry_run:
                run("DELETE" + _UNUSED, values)
        return names

    def rotate(self, name: str, credential: str, overlap: int) -> None:
        """See `AccountStore.rotate`."""
        until, database = self._clock() + overlap, self._database()
        with database.transaction():
            found = self._one(name)
            database.change(
                "UPDATE credentials SET until = min(coalesce(until, ?1), ?1) WHERE account = ?2",
                until,
                found.id,
            )
            new = "INSERT INTO credentials (hash, account) VALUES (?, ?)"
            database.change(new, credential_hash(credential), found.id)
            database.change("DELETE FROM credentials WHERE until <= ?", self._clock())

    def change(self, names: Sequence[str], edit: Callable[[Terms], Terms], *, refill: bool = False) -> None:
        """See `AccountStore.change`."""
        database = self._database()
        with database.transaction():
            for name in names:
                found = self._one(name)
                terms = edit(found.terms)
                database.change(
                    "UPDATE accounts SET class = ?, burst = ?, per_day = ? WHERE id = ?",
                    *(terms.quota_class, terms.burst, terms.per_day, found.id),
                )
                if refill:
                    empty = "UPDATE accounts SET level = 0, at = ? WHERE id = ?"
                    database.change(empty, self._clock(), found.id)

    def list(self) -> list[Account]:
        """See `AccountStore.list`."""
        rows = self._database().all(_ACCOUNT + " FROM accounts ORDER BY name")
        return [account_of(row) for row in rows]

    def uses(self, name: str | None = None) -> Sequence[AccountUse]:
        """See `AccountStore.uses`."""
        rows = self._database().all(
            _ACCOUNT + ", last_used, points_today, points_total, refused, level, at, batches, full_batches,"
            " epoch_points, granted FROM accounts WHERE ?1 IS NULL OR name = ?1 ORDER BY name",
            name,
        )
        if name is not None and not rows:
            raise missing(name)
        today = self._clock() // DAY_MS
        return [
            AccountUse(
                account_of(row),
                None if day is None else day * _DAY,
                points_today if day == today else 0,
                *counters,
            )
            for row, day, points_today, counters in ((row[:7], row[7], row[8], row[9:]) for row in rows)
        ]

    def find(self, credential: str) -> Account | None:
        """See `AccountStore.find`."""
        rows = self._database().all(
            _ACCOUNT + ", until FROM credentials JOIN accounts ON id = account WHERE hash = ?",
            credential_hash(credential),
        )
        return account_of(rows[0]) if rows else None

    def charge(self, charges: Sequence[Charge], breakers: Breakers = OFF) -> Sequence[Standing | None]:
        """See `AccountStore.charge`."""
        database, now = self._database(), self._clock()
        this = now // MINUTE_MS
        counted: Counter[tuple[int, int]] = Counter()
        with database.transaction():
            rows = database.all(_MINUTES, *(this - MINUTES, this)) if breakers != OFF else ()
            before = flow = flow_of(now, rows)
            standings = []
            for charge in charges:
                standing, audience, new = self._charge(database.connection, charge, now, flow, breakers)
                if standing is not None and standing.outcome is Verdict.CHARGED:
                    flow = flow.plus(charge.points, new=new)
                    counted[audience, charge.epoch] += charge.points
                standings.append(standing)
            if counted:
                added = (flow.of(this, crowd) - before.of(this, crowd) for crowd in CROWDS)
                database.change(_COUNT_MINUTE, this, *added)
            for (audience, epoch), points in counted.items():
                database.change(_COUNT_EPOCH, audience, epoch, points, now)
        return standings

    def _charge(
        self, connection: sqlite3.Connection, charge: Charge, now: int, flow: Flow, breakers: Breakers
    ) -> tuple[Standing | None, int, bool]:
        """Charge; the standing, the audience's bit, and whether the account is new."""
        room = flow.room("all", breakers)
        values = {
            "account": charge.account,
            "points": charge.points,
            "batch": charge.batch,
            "full": charge.full,
            "epoch": charge.epoch,
            "capacity": charge.allowance.burst * DAY_MS,
            "per_day": charge.allowance.per_day,
            "now": now,
            "day": now // DAY_MS,
            "since": now - REPEATABLE_MS,
            "granted_since": now - GRANT_MS,
            "new_since": breakers.new_since(now),
            "room": room,
            "new_room": min(room, flow.room("new", breakers)),
        }
        rows = connection.execute(CHARGE, values).fetchall()
        if not rows:
            return None, 0, False
        level, at, outcome, batches, granted, audience, new = rows[0]
        retry = 0
        if outcome == Verdict.CHARGED:  # in the place of the oldest that is remembered
            row = (charge.account, batches % BATCHES, charge.batch, now)
            connection.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)", row)
        elif outcome == Verdict.STOPPED:
            retry = flow.wait(charge.points, breakers, new=bool(new))
        return Standing(level, at, now, Verdict(outcome), granted, retry), audience, bool(new)

    def standing(self, account: int, allowance: PointQuota) -> Standing | None:
        """See `AccountStore.standing`. It writes at most once a day."""
        now, database = self._clock(), self._database()
        rows = database.all("SELECT level, at, last_used, granted FROM accounts WHERE id = ?", account)
        if not rows:
            return None
        level, at, last_used, granted = rows[0]
        day = now // DAY_MS
        if last_used is None or last_used < day:
            database.change(
                "UPDATE accounts SET last_used = ?1, points_today = 0"
                " WHERE id = ?2 AND coalesce(last_used, 0) < ?1",
                *(day, account),
            )
        return leaked(level, at, now, allowance.per_day, granted)

    def flow(self) -> Flow:
        """See `AccountStore.flow`."""
        now = self._clock()
        this = now // MINUTE_MS
        return flow_of(now, self._database().all(_MINUTES, this - KEPT_MINUTES - MINUTES, this))

    def epochs(self) -> Sequence[EpochUse]:
        """See `AccountStore.epochs`."""
        rows = self._database().all("SELECT audience, epoch, points, since FROM epochs")
        return sorted(
            (EpochUse(audience_of(bit), *figures) for bit, *figures in rows),
            key=lambda one: (one.audience, one.epoch),
        )

    def sweep(self) -> None:
        """See `AccountStore.sweep`."""
        now, database = self._clock(), self._database()
        database.change("DELETE FROM batches WHERE at <= ?", now - REPEATABLE_MS)
        database.change("DELETE FROM credentials WHERE until <= ?", now)
        this = now // MINUTE_MS
        kept = "DELETE FROM minutes WHERE minute <= ? OR minute > ?"  # nor what a clock set forward has left
        database.change(kept, this - KEPT_MINUTES - MINUTES, this + KEPT_MINUTES)

    def secret(self) -> bytes:
        """See `AccountStore.secret`."""
        return bytes(self._database().one("SELECT secret FROM state"))

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

    def _one(self, name: str) -> Account:
        rows = self._database().all(_ACCOUNT + " FROM accounts WHERE name = ?", name)
        if not rows:
            raise missing(name)
        return account_of(rows[0])

    def _database(self) -> Database:
        database: Database | None = getattr(self._mine, "database", None)
        if database is None:
            database = Database(self._path, _WHAT, ACCOUNTS_STEPS, wait=self._wait)
            self._mine.database = database
            self._opened.append(database)
        return database


def _insert(connection: sqlite3.Connection, row: _Row, terms: Terms) -> None:
    name, audience, hashed, added = row
    account = connection.execute(
        "INSERT INTO accounts (name, audience, added, class, burst, per_day) VALUES (?, ?, ?, ?, ?, ?)",
        (name, audience, added, terms.quota_class, terms.burst, terms.per_day),
    ).lastrowid
    connection.execute("INSERT INTO credentials (hash, account) VALUES (?, ?)", (hashed, account))
