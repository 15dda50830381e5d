"""Accounts, their quotas and what was charged, in the schema `contactsync_accounts`. `serve` uses no other.

A charge is one statement (`CHARGE`), which also notes the batch. Charges that are given together share a
transaction, and so one commit; as long as no breaker is near they travel together, too. If the connection is
lost while that commit is made, nobody knows what came of it: the caller hears of a failure, and the same
batch sent again is either charged or a repetition, never charged twice.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from contactsync.server.quota import (
    DAY_MS,
    Clock,
    Verdict,
    system_clock,
)
from contactsync.server.storage.accounting import Accounting, ChargedRow
from contactsync.server.storage.ports import (
    BATCHES,
    WAIT,
)
from contactsync.server.storage.postgres.address import DatabaseUrl
from contactsync.server.storage.postgres.database import PostgresSession
from contactsync.server.storage.postgres.patience import Outage
from contactsync.server.storage.postgres.schema import ACCOUNTS_SCHEMA
from contactsync.server.storage.postgres.watching import REVISION, Revision

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


class PostgresAccounts(Accounting[PostgresSession]):
    """An `AccountStore`. Each thread has its own connection, made again when it is lost."""

    MARK = "%s"

    def __init__(self, address: DatabaseUrl, clock: Clock = system_clock, *, wait: float = WAIT) -> None:
        """`wait` is for how many seconds another process may hold the store before that is an error."""
        self._address = address
        self._clock = clock
        self._wait = wait
        self._outage = Outage()
        self._mine = threading.local()
        self._opened: list[PostgresSession] = []
        self._watch = Revision(address, int(self._database().one(REVISION)), self._outage)

    def _charged(
        self, database: PostgresSession, charges: Sequence[Mapping[str, Any]]
    ) -> Iterator[ChargedRow | None]:
        """All of them in one journey."""
        for rows in database.each(CHARGE, charges):
            yield rows[0] if rows else None

    def _exchanged(
        self, database: PostgresSession, code: bytes, now: int, credential: bytes, until: int
    ) -> bool:
        """By a function, because who serves may not add credentials."""
        return bool(database.one("SELECT redeem(%s, %s, %s, %s)", code, now, credential, until))

    def revision(self) -> object:
        """See `AccountStore.revision`. Changes of other processes are heard of some milliseconds later."""
        return self._watch.revision()

    def close(self) -> None:
        """See `AccountStore.close`."""
        self._watch.close()
        while self._opened:
            self._opened.pop().close()

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
            database = PostgresSession(self._address, ACCOUNTS_SCHEMA, wait=self._wait, outage=self._outage)
            self._mine.database = database
            self._opened.append(database)
        return database
