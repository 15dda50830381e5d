"""Accounts, their quotas and what was charged, in the schema `contactsync_accounts`. `serve` uses no other.

A charge is one statement (`CHARGE`), which also notes the batch. Charges that are given together share a
transaction, and so one commit; as long as no breaker is near they travel together, too. If the connection is
lost while that commit is made, nobody knows what came of it: the caller hears of a failure, and the same
batch sent again is either charged or a repetition, never charged twice.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

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
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.server.storage.postgres.database import PostgresSession
from contactsync.server.storage.postgres.schema import ACCOUNTS_SCHEMA
from contactsync.server.storage.postgres.watching import REVISION, Revision
from contactsync.server.storage.records import audience_of, bit_of

_DAY: Final = DAY_MS // 1000
_FOUND: Final = "SELECT name, audience, added, id, class, burst, per_day"
_UNUSED: Final = " FROM accounts WHERE added < %s AND coalesce(last_used, 0) < %s"
_MOST_ROOM: Final = (1 << 63) - 1

CHARGE: Final = f"""
WITH given AS (
    SELECT %(account)s::bigint AS account, %(points)s::bigint AS points, %(batch)s::bytea AS batch,
        %(full)s::boolean AS is_full, %(epoch)s::bigint AS epoch, %(capacity)s::bigint AS capacity,
        %(per_day)s::bigint AS per_day, %(now)s::bigint AS now, %(day)s::bigint AS day,
        %(since)s::bigint AS since, %(granted_since)s::bigint AS granted_since,
        %(new_since)s::bigint AS new_since, %(room)s::bigint AS room, %(new_room)s::bigint AS new_room
), standing AS (
    SELECT id, added, accounts.epoch > 0 AND given.epoch > accounts.epoch AS moves,
        granted_before <= granted_since AS grantable, granted, epoch_points,
        given.epoch >= accounts.epoch AS is_current,
        CASE
            WHEN now <= at THEN level
            WHEN now - at > level / given.per_day THEN 0
            ELSE level - (now - at) * given.per_day
        END AS level,
        EXISTS (
            SELECT FROM batches
            WHERE batches.account = given.account AND batches.batch = given.batch AND batches.at > since
        ) AS again
    FROM accounts, given WHERE id = given.account
), allowed AS (
    SELECT id, added, level, again, is_current, moves AND grantable AS grants,
        CASE WHEN NOT moves THEN granted WHEN grantable THEN epoch_points ELSE 0 END AS granted,
        CASE WHEN moves THEN 0 ELSE epoch_points END AS epoch_points
    FROM standing
), priced AS (
    SELECT allowed.*, CASE WHEN is_current THEN least(granted, points) ELSE 0 END AS free FROM allowed, given
), found AS (
    SELECT priced.*, CASE
        WHEN again THEN {Verdict.REPEATED:d}
        WHEN level + (points - free) * {DAY_MS:d} > capacity THEN {Verdict.REFUSED:d}
        WHEN points > CASE WHEN added > new_since THEN new_room ELSE room END THEN {Verdict.STOPPED:d}
        ELSE {Verdict.CHARGED:d}
    END AS outcome
    FROM priced, given
), charged AS (
    UPDATE accounts SET
        level = found.level
            + CASE found.outcome WHEN {Verdict.CHARGED:d} THEN (points - free) * {DAY_MS:d} ELSE 0 END,
        at = greatest(accounts.at, now),
        outcome = found.outcome,
        batches = batches + (found.outcome = {Verdict.CHARGED:d})::integer,
        full_batches = full_batches + (found.outcome = {Verdict.CHARGED:d} AND is_full)::integer,
        points_today = CASE WHEN last_used >= day THEN points_today ELSE 0 END
            + CASE found.outcome WHEN {Verdict.CHARGED:d} THEN points ELSE 0 END,
        points_total = points_total + CASE found.outcome WHEN {Verdict.CHARGED:d} THEN points ELSE 0 END,
        epoch = greatest(accounts.epoch, given.epoch),
        epoch_points = found.epoch_points
            + CASE WHEN found.outcome = {Verdict.CHARGED:d} AND is_current THEN points ELSE 0 END,
        granted = found.granted - CASE found.outcome WHEN {Verdict.CHARGED:d} THEN free ELSE 0 END,
        granted_at = CASE WHEN found.grants THEN now ELSE granted_at END,
        granted_before = CASE WHEN found.grants THEN granted_at ELSE granted_before END,
        refused = refused + (found.outcome = {Verdict.REFUSED:d})::integer,
        last_used = greatest(coalesce(last_used, 0), day)
    FROM found, given
    WHERE accounts.id = found.id
    RETURNING accounts.id, accounts.level, accounts.at, accounts.outcome, batches, accounts.granted,
        audience, accounts.added > new_since AS is_new, batch, now
), noted AS (
    INSERT INTO batches SELECT id, batches %% {BATCHES:d}, batch, now FROM charged
    WHERE outcome = {Verdict.CHARGED:d}
    ON CONFLICT (account, slot) DO UPDATE SET batch = excluded.batch, at = excluded.at
)
SELECT level, at, outcome, granted, audience, is_new FROM charged
"""  # noqa: S608 - figures of an enumeration
"""Let the bucket leak, grant, charge if there is room, count, remember: `quota` in SQL."""

_COUNT_MINUTE: Final = """
INSERT INTO minutes VALUES (%s, %s, %s) ON CONFLICT (minute) DO UPDATE
SET points = minutes.points + excluded.points, new_points = minutes.new_points + excluded.new_points
"""
_COUNT_EPOCH: Final = """
INSERT INTO epochs VALUES (%s, %s, %s, %s) ON CONFLICT (audience, epoch) DO UPDATE
SET points = epochs.points + excluded.points
"""
_MINUTES: Final = "SELECT minute, points, new_points FROM minutes WHERE minute > %s AND minute <= %s"


class PostgresAccounts:
    """An `AccountStore`. Each thread has its own connection, made again when it is lost."""

    def __init__(self, address: DatabaseUrl, clock: Clock = system_clock, *, wait: float = WAIT) -> None:
        """`wait` is for how many seconds another process may hold the store before that is an error."""
        self._address = address
        self._clock = clock
        self._wait = wait
        self._mine = threading.local()
        self._opened: list[PostgresSession] = []
        self._watch = Revision(address, int(self._database().one(REVISION)))

    def add(self, name: str, audience: str, credential: str) -> None:
        """See `AccountStore.add`."""
        self.add_all([NewAccount(name, audience, credential)])

    def add_all(self, accounts: Sequence[NewAccount]) -> None:
        """See `AccountStore.add_all`."""
        check_distinct(accounts)
        added = self._clock() // 1000
        with self._changing() as database:
            for one in accounts:
                terms = one.terms
                rows = database.all(
                    "INSERT INTO accounts (name, audience, added, class, burst, per_day)"
                    " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (name) DO NOTHING RETURNING id",
                    *(one.name, bit_of(one.audience), added, terms.quota_class, terms.burst, terms.per_day),
                )
                if not rows:
                    raise exists(one.name)
                new = "INSERT INTO credentials (hash, account) VALUES (%s, %s)"
                database.change(new, credential_hash(one.credential), rows[0][0])

    def revoke(self, *names: str) -> None:
        """See `AccountStore.revoke`."""
        with self._changing() as database:
            for name in names:
                if not database.change("DELETE FROM accounts WHERE name = %s", name):
                    raise missing(name)

    def expire(self, before: int, *, dry_run: bool = False) -> list[str]:
        """See `AccountStore.expire`."""
        with self._changing() as database:
            values = before, before // _DAY
            names = [name for (name,) in database.all(f"SELECT name{_UNUSED} ORDER BY name", *values)]
            if not dry_run:
                database.change(f"DELETE{_UNUSED}", *values)
        return names

    def rotate(self, name: str, credential: str, overlap: int) -> None:
        """See `AccountStore.rotate`."""
        with self._changing() as database:
            found, now = self._one(name), self._clock()
            database.change(
                "UPDATE credentials SET until = least(until, %s) WHERE account = %s", now + overlap, found.id
            )
            new = "INSERT INTO credentials (hash, account) VALUES (%s, %s)"
            database.change(new, credential_hash(credential), found.id)
            database.change("DELETE FROM credentials WHERE until <= %s", now)

    def change(self, names: Sequence[str], edit: Callable[[Terms], Terms], *, refill: bool = False) -> None:
        """See `AccountStore.change`."""
        with self._changing() as database:
            for name in names:
                found = self._one(name)
                terms = edit(found.terms)
                database.change(
                    "UPDATE accounts SET class = %s, burst = %s, per_day = %s WHERE id = %s",
                    *(terms.quota_class, terms.burst, terms.per_day, found.id),
                )
                if refill:
                    empty = "UPDATE accounts SET level = 0, at = %s WHERE id = %s"
                    database.change(empty, self._clock(), found.id)

    def list(self) -> list[Account]:
        """See `AccountStore.list`."""
        return [account_of(row) for row in self._database().all(_FOUND + " FROM accounts ORDER BY name")]

    def uses(self, name: str | None = None) -> Sequence[AccountUse]:
        """See `AccountStore.uses`."""
        rows = self._database().all(
            _FOUND + ", last_used, points_today, points_total, refused, level, at, batches, full_batches,"
            " epoch_points, granted FROM accounts WHERE %s::text IS NULL OR name = %s ORDER BY name",
            *(name, name),
        )
        if name is not None and not rows:
            raise missing(name)
        today = self._clock() // DAY_MS
        return [
            AccountUse(
                account_of(row[:7]),
                None if row[7] is None else row[7] * _DAY,
                row[8] if row[7] == today else 0,
                *row[9:],
            )
            for row in rows
        ]

    def find(self, credential: str) -> Account | None:
        """See `AccountStore.find`."""
        rows = self._database().all(
            _FOUND + ", until FROM credentials JOIN accounts ON id = account WHERE hash = %s",
            credential_hash(credential),
        )
        return account_of(rows[0]) if rows else None

    def charge(self, charges: Sequence[Charge], breakers: Breakers = OFF) -> Sequence[Standing | None]:
        """See `AccountStore.charge`."""
        database, now = self._database(), self._clock()
        this = now // MINUTE_MS
        counted: Counter[tuple[int, int]] = Counter()
        standings: list[Standing | None] = []
        with database.transaction():
            rows = database.all(_MINUTES, this - MINUTES, this) if breakers != OFF else ()
            before = flow = flow_of(now, rows)
            points = sum(charge.points for charge in charges)
            if points <= min(flow.room(crowd, breakers) for crowd in CROWDS):
                groups: Sequence[Sequence[Charge]] = [charges]  # no breaker can stop any of them
            else:
                groups = [[charge] for charge in charges]
            for group in groups:
                for charge, row in zip(group, _charged(database, group, now, flow, breakers), strict=True):
                    if row is None:
                        standings.append(None)
                        continue
                    level, at, number, granted, audience, new = row
                    outcome, retry = Verdict(number), 0
                    if outcome is Verdict.CHARGED:
                        flow = flow.plus(charge.points, new=new)
                        counted[audience, charge.epoch] += charge.points
                    elif outcome is Verdict.STOPPED:
                        retry = flow.wait(charge.points, breakers, new=new)
                    standings.append(Standing(level, at, now, outcome, granted, retry))
            if counted:
                added = (flow.of(this, crowd) - before.of(this, crowd) for crowd in CROWDS)
                database.change(_COUNT_MINUTE, this, *added)
            for (audience, epoch), points in counted.items():
                database.change(_COUNT_EPOCH, audience, epoch, points, now)
        return standings

    def standing(self, account: int, allowance: PointQuota) -> Standing | None:
        """See `AccountStore.standing`. It writes at most once a day."""
        now, database = self._clock(), self._database()
        rows = database.all("SELECT level, at, last_used, granted FROM accounts WHERE id = %s", account)
        if not rows:
            return None
        level, at, last_used, granted = rows[0]
        day = now // DAY_MS
        if last_used is None or last_used < day:
            database.change(
                "UPDATE accounts SET last_used = %s, points_today = 0"
                " WHERE id = %s AND coalesce(last_used, 0) < %s",
                *(day, account, day),
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
        now = self._clock()
        this = now // MINUTE_MS
        with self._changing() as database:
            database.change("DELETE FROM batches WHERE at <= %s", now - REPEATABLE_MS)
            database.change("DELETE FROM credentials WHERE until <= %s", now)
            kept = "DELETE FROM minutes WHERE minute <= %s OR minute > %s"
            database.change(kept, this - KEPT_MINUTES - MINUTES, this + KEPT_MINUTES)

    def secret(self) -> bytes:
        """See `AccountStore.secret`."""
        return bytes(self._database().one("SELECT secret FROM state"))

    def revision(self) -> object:
        """See `AccountStore.revision`. Changes of other processes are heard of some milliseconds later."""
        return self._watch.revision()

    def close(self) -> None:
        """See `AccountStore.close`."""
        self._watch.close()
        while self._opened:
            self._opened.pop().close()

    def _one(self, name: str) -> Account:
        rows = self._database().all(_FOUND + " FROM accounts WHERE name = %s", name)
        if not rows:
            raise missing(name)
        return account_of(rows[0])

    @contextlib.contextmanager
    def _changing(self) -> Iterator[PostgresSession]:
        """A transaction after which the revision may be another."""
        database = self._database()
        with database.transaction():
            yield database
            revision = int(database.one(REVISION))
        self._watch.note(revision)

    def _database(self) -> PostgresSession:
        database: PostgresSession | None = getattr(self._mine, "database", None)
        if database is None:
            database = PostgresSession(self._address, ACCOUNTS_SCHEMA, wait=self._wait)
            self._mine.database = database
            self._opened.append(database)
        return database


def new_secret() -> bytes:
    """See `AccountStore.secret`."""
    return secrets.token_bytes(32)


def _charged(
    database: PostgresSession, charges: Sequence[Charge], now: int, flow: Flow, breakers: Breakers
) -> Iterator[tuple[Any, ...] | None]:
    """Charge these in one journey; a row for each, None for an account that is gone."""
    room, new = (min(flow.room(crowd, breakers), _MOST_ROOM) for crowd in ("all", "new"))
    always = {
        "now": now,
        "day": now // DAY_MS,
        "since": now - REPEATABLE_MS,
        "granted_since": now - GRANT_MS,
        "new_since": breakers.new_since(now),
        "room": room,
        "new_room": min(room, new),
    }
    values = [
        {
            "account": charge.account,
            "points": charge.points,
            "batch": charge.batch,
            "full": charge.full,
            "epoch": charge.epoch,
            "capacity": charge.allowance.burst * DAY_MS,
            "per_day": charge.allowance.per_day,
            **always,
        }
        for charge in charges
    ]
    for rows in database.each(CHARGE, values):
        yield rows[0] if rows else None
