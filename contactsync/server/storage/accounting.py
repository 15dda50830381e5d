"""Accounts, their quotas and what was charged: what a store does whatever its database is.

A store adds the statement that charges, and how its database is opened. All other statements are the same.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

from contactsync.foundation.errors import BadInput
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
)
from contactsync.server.storage.ports import (
    Account,
    AccountUse,
    Charge,
    EpochUse,
    NewAccount,
    code_hash,
    credential_hash,
)
from contactsync.server.storage.records import audience_of, bit_of
from contactsync.server.storage.statements import Statements, StoreDatabase

_DAY: Final = DAY_MS // 1000
_FOUND: Final = "SELECT name, audience, added, id, class, burst, per_day"
_UNUSED: Final = " FROM accounts WHERE added < ? AND coalesce(last_used, 0) < ?"
_MINUTES: Final = "SELECT minute, points, new_points FROM minutes WHERE minute > ? AND minute <= ?"
_COUNT_MINUTE: Final = """
INSERT INTO minutes VALUES (?, ?, ?) ON CONFLICT (minute) DO UPDATE
SET points = minutes.points + excluded.points, new_points = minutes.new_points + excluded.new_points
"""
_COUNT_EPOCH: Final = """
INSERT INTO epochs VALUES (?, ?, ?, ?) ON CONFLICT (audience, epoch) DO UPDATE
SET points = epochs.points + excluded.points
"""
_ADD_ACCOUNT: Final = """
INSERT INTO accounts (name, audience, added, class, burst, per_day) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (name) DO NOTHING RETURNING id
"""
_ADD_CREDENTIAL: Final = "INSERT INTO credentials (hash, account) VALUES (?, ?)"

ChargedRow = tuple[int, int, int, int, int, bool]
"""An account after a charge: level, at, outcome, granted, its audience's bit, whether it is new."""


D = TypeVar("D", bound=StoreDatabase)


class Accounting(Statements, Generic[D]):
    """An `AccountStore`, as far as it is the same for all databases."""

    _clock: Clock

    def _database(self) -> D:
        """The connection of this thread."""
        raise NotImplementedError

    def _charged(self, database: D, charges: Sequence[Mapping[str, Any]]) -> Iterator[ChargedRow | None]:
        """Charge each, and note its batch; None for an account that is gone. See `_values` for the fields."""
        raise NotImplementedError

    @contextmanager
    def _changing(self) -> Iterator[D]:
        """A transaction that changes accounts, for whoever keeps a copy of them."""
        database = self._database()
        with database.transaction():
            yield database

    # Accounts

    def add(self, name: str, audience: str, credential: str) -> None:
        """See `AccountStore.add`."""
        self.add_all([NewAccount(name, audience, credential)])

    def add_all(self, accounts: Sequence[NewAccount]) -> None:
        """See `AccountStore.add_all`."""
        twice = [name for name, count in Counter(one.name for one in accounts).items() if count > 1]
        if twice:
            raise BadInput(f"the name {twice[0]!r} is given twice", hint="give each name only once")
        added = self._clock() // 1000
        with self._changing() as database:
            for one in accounts:
                terms = one.terms
                row = one.name, bit_of(one.audience), added, terms.quota_class, terms.burst, terms.per_day
                rows = database.all(self._sql(_ADD_ACCOUNT), *row)
                if not rows:
                    raise BadInput(
                        f"an account named {one.name!r} already exists",
                        hint="choose another name, or revoke that account first",
                    )
                database.change(self._sql(_ADD_CREDENTIAL), credential_hash(one.credential), rows[0][0])

    def revoke(self, *names: str) -> None:
        """See `AccountStore.revoke`."""
        with self._changing() as database:
            for name in names:
                if not database.change(self._sql("DELETE FROM accounts WHERE name = ?"), name):
                    raise _missing(name)

    def expire(self, before: int, *, dry_run: bool = False) -> list[str]:
        """See `AccountStore.expire`."""
        values, unused = (before, before // _DAY), self._sql(_UNUSED)
        with self._changing() as database:
            names = [name for (name,) in database.all(f"SELECT name{unused} ORDER BY name", *values)]
            if not dry_run:
                database.change(f"DELETE{unused}", *values)
        return names

    def rotate(self, name: str, credential: str, overlap: int) -> None:
        """See `AccountStore.rotate`."""
        now = self._clock()
        until = now + overlap
        shorten = "UPDATE credentials SET until = ? WHERE account = ? AND (until IS NULL OR until > ?)"
        with self._changing() as database:
            found = self._one(name)
            database.change(self._sql(shorten), until, found.id, until)
            database.change(self._sql(_ADD_CREDENTIAL), credential_hash(credential), found.id)
            database.change(self._sql("DELETE FROM credentials WHERE until <= ?"), now)

    def add_code(self, name: str, code: str, valid: int) -> None:
        """See `AccountStore.add_code`. Codes are rows among the credentials: they end and go with them."""
        add = self._sql("INSERT INTO credentials (hash, account, until) VALUES (?, ?, ?)")
        with self._changing() as database:
            database.change(add, code_hash(code), self._one(name).id, self._clock() + valid)

    def redeem(self, code: str, credential: str, valid: int) -> Account | None:
        """See `AccountStore.redeem`."""
        now, known = self._clock(), "SELECT 1 FROM credentials WHERE hash = ? AND until > ?"
        if not self._database().all(self._sql(known), code_hash(code), now):
            return None  # a guess waits for no writer, and holds none up
        with self._changing() as database:
            new = credential_hash(credential), now + valid
            if not self._exchanged(database, code_hash(code), now, *new):
                return None
        return self.find(credential)

    def _exchanged(self, database: D, code: bytes, now: int, credential: bytes, until: int) -> bool:
        """Put a credential, by its hash, in the place of a code that is not over; whether there was one."""
        raise NotImplementedError

    def change(self, names: Sequence[str], edit: Callable[[Terms], Terms], *, refill: bool = False) -> None:
        """See `AccountStore.change`."""
        agree = self._sql("UPDATE accounts SET class = ?, burst = ?, per_day = ? WHERE id = ?")
        empty = self._sql("UPDATE accounts SET level = 0, at = ? WHERE id = ?")
        with self._changing() as database:
            for name in names:
                found = self._one(name)
                terms = edit(found.terms)
                database.change(agree, terms.quota_class, terms.burst, terms.per_day, found.id)
                if refill:
                    database.change(empty, self._clock(), found.id)

    def list(self) -> list[Account]:
        """See `AccountStore.list`."""
        return [_account(row) for row in self._database().all(f"{_FOUND} FROM accounts ORDER BY name")]

    def uses(self, name: str | None = None) -> Sequence[AccountUse]:
        """See `AccountStore.uses`."""
        which, values = ("", ()) if name is None else (" WHERE name = ?", (name,))
        rows = self._database().all(
            _FOUND + ", last_used, points_today, points_total, refused, level, at, batches, full_batches,"
            f" epoch_points, granted FROM accounts{self._sql(which)} ORDER BY name",
            *values,
        )
        if name is not None and not rows:
            raise _missing(name)
        today = self._clock() // DAY_MS
        return [
            AccountUse(
                _account(row),
                None if day is None else day * _DAY,
                points_today if day == today else 0,
                *counters,
            )
            for row, day, points_today, counters in ((row[:7], row[7], row[8], row[9:]) for row in rows)
        ]

    def find(self, credential: str) -> Account | None:
        """See `AccountStore.find`."""
        found = f"{_FOUND}, until FROM credentials JOIN accounts ON id = account WHERE hash = ?"
        rows = self._database().all(self._sql(found), credential_hash(credential))
        return _account(rows[0]) if rows else None

    def _one(self, name: str) -> Account:
        rows = self._database().all(self._sql(f"{_FOUND} FROM accounts WHERE name = ?"), name)
        if not rows:
            raise _missing(name)
        return _account(rows[0])

    # Quotas

    def charge(self, charges: Sequence[Charge], breakers: Breakers = OFF) -> Sequence[Standing | None]:
        """See `AccountStore.charge`."""
        database, now = self._database(), self._clock()
        this = now // MINUTE_MS
        counted: Counter[tuple[int, int]] = Counter()
        standings: list[Standing | None] = []
        with database.transaction():
            rows = database.all(self._sql(_MINUTES), this - MINUTES, this) if breakers != OFF else ()
            before = flow = _flow(now, rows)
            points = sum(charge.points for charge in charges)
            if points <= min(flow.room(crowd, breakers) for crowd in CROWDS):
                groups: Sequence[Sequence[Charge]] = [charges]  # no breaker can stop any of them
            else:
                groups = [[charge] for charge in charges]
            for group in groups:
                values = _values(group, now, flow, breakers)
                for charge, row in zip(group, self._charged(database, values), strict=True):
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
                database.change(self._sql(_COUNT_MINUTE), this, *added)
            for (audience, epoch), points in counted.items():
                database.change(self._sql(_COUNT_EPOCH), audience, epoch, points, now)
        return standings

    def standing(self, account: int, allowance: PointQuota) -> Standing | None:
        """See `AccountStore.standing`. It writes at most once a day."""
        now, database = self._clock(), self._database()
        found = self._sql("SELECT level, at, last_used, granted FROM accounts WHERE id = ?")
        rows = database.all(found, account)
        if not rows:
            return None
        level, at, last_used, granted = rows[0]
        day = now // DAY_MS
        if last_used is None or last_used < day:
            used = "UPDATE accounts SET last_used = ?, points_today = 0 WHERE id = ?"
            database.change(self._sql(f"{used} AND coalesce(last_used, 0) < ?"), day, account, day)
        return leaked(level, at, now, allowance.per_day, granted)

    def flow(self) -> Flow:
        """See `AccountStore.flow`."""
        now = self._clock()
        this = now // MINUTE_MS
        return _flow(now, self._database().all(self._sql(_MINUTES), this - KEPT_MINUTES - MINUTES, this))

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
        kept = "DELETE FROM minutes WHERE minute <= ? OR minute > ?"  # nor what a clock set forward has left
        with self._changing() as database:
            database.change(self._sql("DELETE FROM batches WHERE at <= ?"), now - REPEATABLE_MS)
            database.change(self._sql("DELETE FROM credentials WHERE until <= ?"), now)
            database.change(self._sql(kept), this - KEPT_MINUTES - MINUTES, this + KEPT_MINUTES)

    def secret(self) -> bytes:
        """See `AccountStore.secret`."""
        return bytes(self._database().one("SELECT secret FROM state"))


def hashing_secret() -> bytes:
    """A new secret, for `AccountStore.secret`."""
    return secrets.token_bytes(32)


def _values(charges: Sequence[Charge], now: int, flow: Flow, breakers: Breakers) -> list[dict[str, Any]]:
    """What the statement that charges is given for each: the charge, and the moment."""
    room = flow.room("all", breakers)
    always = {
        "now": now,
        "day": now // DAY_MS,
        "since": now - REPEATABLE_MS,
        "granted_since": now - GRANT_MS,
        "new_since": breakers.new_since(now),
        "room": room,
        "new_room": min(room, flow.room("new", breakers)),
    }
    return [
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


def _missing(name: str) -> BadInput:
    """What asking for an account meets with that is not there."""
    return BadInput(f"there is no account named {name!r}", hint="see `contactsync server accounts list`")


def _flow(now: int, rows: Iterable[tuple[int, ...]]) -> Flow:
    """What was evaluated, from rows of minutes: their number, points, and points of new accounts."""
    return Flow(now, {minute: (points, new) for minute, points, new in rows})


def _account(row: Sequence[Any]) -> Account:
    """name, audience, added, id, class, burst, per_day, and perhaps until."""
    name, audience, added, number, quota_class, burst, per_day, *until = row
    return Account(name, audience_of(audience), added, number, Terms(quota_class, burst, per_day), *until)
