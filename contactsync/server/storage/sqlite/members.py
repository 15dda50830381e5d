"""The register of members in one SQLite file: who is in it, and what they consented to.

The file, its transactions and the tokens are the matter of `RegistryFile` (registry.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput
from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.erasing import Watch, unwatched
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import (
    NOT_STATED,
    Added,
    ConsentChange,
    Consented,
    Difference,
    MemberEntry,
    MemberRecord,
    Origin,
    day_number,
    day_of_number,
    today,
)
from contactsync.server.storage.sqlite.database import audience_of, bit_of
from contactsync.server.storage.sqlite.registry import (
    CHUNK,
    OBJECTION,
    RegistryFile,
    consents_table,
    members_table,
    tokens_table,
)

if TYPE_CHECKING:
    from contactsync.identifiers.kinds import Keys

_ROWS: Final = 64  # in one statement of an import: twice as fast as one by one
_ASKED: Final = 500  # keys in one question
_ALL: Final = (1 << len(AUDIENCES)) - 1
_FIRST: Final = bit_of(AUDIENCES[0])

_JOINED, _LEFT, _OBJECTED = 1, 0, -1  # what a row of `consents` says; _OBJECTED: and was not in it

_DAY: Final = 86400
_VERIFIED: Final = f"CASE verified WHEN 0 THEN added / {_DAY} ELSE verified END"
_ENTRY: Final = f"key, audiences, added, {_VERIFIED}"

# ruff: noqa: S608 - the only text put into a statement is the name of a kind, and integers


class SqliteMembers(RegistryFile):
    """A `MemberStore`. An object is for one thread; several objects and processes may share the file."""

    # Joining and leaving

    def add(
        self,
        members: Members,
        audience: str = AUDIENCES[0],
        *,
        verified: date | None = None,
        origin: Origin = NOT_STATED,
    ) -> Added:
        """See `MemberStore.add`."""
        bit, day, now, found = bit_of(audience), _checked(verified), int(time.time()), Added(0, 0, 0)
        with self._write() as serial:
            for partition, keys in KINDS[members.kind].by_partition(members.keys):
                joining = keys
                if bit != _FIRST:  # each change is kept, so it has to be known whose it is
                    joining = self._without(members.kind, keys, bit | bit << OBJECTION)
                # The count of changes is exact: rows that the last condition leaves unchanged do not count.
                before = self._database.connection.total_changes
                self._insert(members.kind, joining, bit, now=now, day=day, serial=serial)
                new = self._database.connection.total_changes - before
                if new:
                    self._touch(partition, serial)
                if bit != _FIRST:
                    self._log(members.kind, ((key, bit) for key in joining.tolist()), _JOINED, serial, origin)
                objected = 0
                if new < keys.size:
                    objected = self._verify(members.kind, keys, day, bit)
                found += Added(new, keys.size - new - objected, objected)
        return found

    def _insert(self, kind: str, keys: Keys, bit: int, *, now: int, day: int, serial: int) -> None:
        stored = 0 if day == now // _DAY else day
        since = "since = excluded.since, " if bit == _FIRST else ""
        whole = keys.size // _ROWS * _ROWS
        for rows in (keys[:whole].reshape(-1, _ROWS), keys[whole:].reshape(-1, 1)):
            row = f"(?, {bit:d}, {now:d}, {stored:d}, {serial if bit == _FIRST else 0:d})"
            values = ", ".join([row] * rows.shape[1])
            # In slices: Python integers take four times as much memory as the array.
            for first in range(0, len(rows), CHUNK // _ROWS):
                self._database.connection.executemany(
                    f"INSERT INTO {members_table(kind)} (key, audiences, added, verified, since) "
                    f"VALUES {values} ON CONFLICT (key) DO UPDATE "
                    f"SET {since}verified = max({_VERIFIED}, {day:d}), "
                    "audiences = audiences | excluded.audiences "
                    f"WHERE audiences & {bit | bit << OBJECTION:d} = 0",
                    rows[first : first + CHUNK // _ROWS].tolist(),
                )

    def _verify(self, kind: str, keys: Keys, day: int, bit: int) -> int:
        """Note the day at those who are there; how many of them have objected."""
        objected = 0
        for some in _slices(keys):
            marks = _marks(some)
            self._database.connection.execute(
                f"UPDATE {members_table(kind)} SET verified = {day:d} "
                f"WHERE key IN ({marks}) AND {_VERIFIED} < {day:d}",
                some,
            )
            (count,) = self._database.connection.execute(
                f"SELECT count(*) FROM {members_table(kind)} "
                f"WHERE key IN ({marks}) AND audiences & {bit << OBJECTION:d}",
                some,
            ).fetchone()
            objected += int(count)
        return objected

    def _without(self, kind: str, keys: Keys, bits: int) -> Keys:
        """Those keys that have none of these bits set."""
        standing = self._standing(kind, keys)
        chosen: Keys = keys[[not standing.get(key, 0) & bits for key in keys.tolist()]]
        return chosen

    def _standing(self, kind: str, keys: Keys) -> dict[Any, int]:
        """The bits of those keys that are there."""
        found: dict[Any, int] = {}
        for some in _slices(keys):
            query = f"SELECT key, audiences FROM {members_table(kind)} WHERE key IN ({_marks(some)})"
            found.update(self._database.connection.execute(query, some).fetchall())
        return found

    def _log(
        self, kind: str, changes: Iterator[tuple[Any, int]], what: int, serial: int, origin: Origin
    ) -> None:
        now = int(time.time())
        self._database.connection.executemany(
            f"INSERT OR REPLACE INTO {consents_table(kind)} VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((key, serial, bit, now, what, origin.source, origin.by) for key, bit in changes),
        )

    def remove(self, members: Members, audience: str | None = None, *, origin: Origin = NOT_STATED) -> int:
        """See `MemberStore.remove`."""
        kind, removed = members.kind, 0
        with self._write() as serial:
            for partition, keys in _pieces(members):
                before = self._standing(kind, keys)
                bits = _ALL if audience is None else bit_of(audience)
                after = {key: 0 if audience is None else old & ~bits for key, old in before.items()}
                changed = [key for key in before if audience is None or before[key] & bits]
                self._change(kind, {key: (before[key], after[key]) for key in changed}, serial, origin)
                if any(before[key] & ~after[key] & _ALL for key in changed):
                    self._depart(partition, serial)
                if changed:
                    removed += len(changed)
                    self._touch(partition, serial)
        return removed

    def consent(
        self, members: Members, audience: str, *, granted: bool, origin: Origin, only: bool = False
    ) -> Consented:
        """See `MemberStore.consent`."""
        bit, now, kind, found = bit_of(audience), int(time.time()), members.kind, Consented(0, 0, 0)
        bits = bit if granted or only or bit != _FIRST else _ALL
        with self._write() as serial:
            for partition, keys in _pieces(members):
                before = self._standing(kind, keys)
                unknown = 0
                if granted:
                    unknown = keys.size - len(before)
                    after = {key: (old | bit) & ~(bit << OBJECTION) for key, old in before.items()}
                else:
                    strangers = [(key, now) for key in keys.tolist() if key not in before]
                    self._database.connection.executemany(
                        f"INSERT INTO {members_table(kind)} (key, audiences, added) VALUES (?, 0, ?)",
                        strangers,
                    )
                    before.update((key, 0) for key, _ in strangers)
                    after = {key: old & ~bits | bits << OBJECTION for key, old in before.items()}
                changed = {key: (old, after[key]) for key, old in before.items() if after[key] != old}
                self._change(kind, changed, serial, origin)
                if any((old ^ new) & _ALL for old, new in changed.values()):
                    self._touch(partition, serial)
                if any(old & ~new & _ALL for old, new in changed.values()):
                    self._depart(partition, serial)
                found += Consented(len(changed), keys.size - unknown - len(changed), unknown)
        return found

    def _change(self, kind: str, changed: Mapping[Any, tuple[int, int]], serial: int, origin: Origin) -> None:
        """Bring members from one state of their bits to another; who has none any more is forgotten."""
        connection = self._database.connection
        gone = [(key,) for key, (_, new) in changed.items() if not new]
        kept = {key: bits for key, bits in changed.items() if bits[1]}
        if any(old & ~new for old, new in changed.values()):
            self._leave_traces()
        connection.executemany(f"DELETE FROM {members_table(kind)} WHERE key = ?", gone)
        connection.executemany(f"DELETE FROM {consents_table(kind)} WHERE key = ?", gone)
        connection.executemany(
            f"UPDATE {members_table(kind)} SET audiences = ?, since = iif(?, {serial:d}, since) "
            "WHERE key = ?",
            ((new, (old ^ new) & _FIRST, key) for key, (old, new) in kept.items()),
        )
        for bit in map(bit_of, AUDIENCES):
            for what, then, now in (
                (_JOINED, 0, bit),
                (_LEFT, bit, 0),
                (_OBJECTED, 0, bit << OBJECTION),
            ):
                either = bit | now
                changes = (
                    (key, bit)
                    for key, (old, new) in kept.items()
                    if old & either == then and new & either == now
                )
                self._log(kind, changes, what, serial, origin)
        for owner, epoch in self._evaluated(kind) if any(old & ~new for old, new in changed.values()) else ():
            connection.executemany(
                f"DELETE FROM {tokens_table(kind)} WHERE audience = ? AND epoch = ? AND key = ?",
                ((owner, epoch, key) for key, (old, new) in changed.items() if old & ~new & owner),
            )

    def replace(
        self,
        members: Members,
        audience: str,
        *,
        verified: date | None = None,
        origin: Origin = NOT_STATED,
        allow: Callable[[Difference], None],
        watch: Watch = unwatched,
    ) -> Difference:
        """See `MemberStore.replace`."""
        if not len(members):
            raise BadInput("an audience cannot be replaced by nobody", hint="use `members remove`")
        bit, kind = bit_of(audience), members.kind
        with self.together():
            before = kept = 0
            missing: list[Any] = []
            for keys in self._keys(kind, f"audiences & {bit:d}"):
                place = np.minimum(np.searchsorted(members.keys, keys), len(members) - 1)
                there = members.keys[place] == keys
                before += keys.size
                kept += int(np.count_nonzero(there))
                missing += keys[~there].tolist()
            objected = 0
            for keys in self._keys(kind, f"audiences & {bit << OBJECTION:d}"):
                place = np.minimum(np.searchsorted(members.keys, keys), len(members) - 1)
                objected += int(np.count_nonzero(members.keys[place] == keys))
            found = Difference(before, len(missing), len(members) - kept - objected, objected)
            allow(found)
            if missing:
                leaving, of = Members.from_keys(kind, missing), None if bit == _FIRST else audience
                watch(leaving, of)
                self.remove(leaving, of, origin=origin)
            self.add(members, audience, verified=verified, origin=origin)
        return found

    def expire(self, before: date, *, dry_run: bool = False, watch: Watch = unwatched) -> int:
        """See `MemberStore.expire`."""
        expired = 0
        with self.together():
            for kind in KINDS:
                pages = list(self._keys(kind, f"{_VERIFIED} < {day_number(before):d}"))
                expired += sum(keys.size for keys in pages)
                for keys in pages if not dry_run else ():
                    watch(Members(kind, keys), None)
                    self.remove(Members(kind, keys))
        return expired

    def _keys(self, kind: str, condition: str) -> Iterator[Keys]:
        """The keys of members for whom a condition holds, ascending, in arrays."""
        cursor = self._database.connection.execute(
            f"SELECT key FROM {members_table(kind)} WHERE {condition} ORDER BY key"
        )
        while rows := cursor.fetchmany(CHUNK):
            yield Members.from_keys(kind, [key for (key,) in rows]).keys

    # Reading

    def entries(self, kind: str, after: Any, limit: int, audience: str | None = None) -> list[MemberEntry]:
        """See `MemberStore.entries`."""
        bits = -1 if audience is None else bit_of(audience)
        beyond, values = ("", ()) if after is None else ("key > ? AND ", (after,))
        rows = self._database.all(
            f"SELECT {_ENTRY} FROM {members_table(kind)} WHERE {beyond}audiences & {bits:d} "
            f"ORDER BY key LIMIT {limit:d}",
            *values,
        )
        if not rows:
            return []
        identifiers = Members.from_keys(kind, [row[0] for row in rows]).identifiers()
        return [_entry(kind, identifier, row) for identifier, row in zip(identifiers, rows, strict=True)]

    def show(self, members: Members) -> list[MemberRecord]:
        """See `MemberStore.show`."""
        kind, found = members.kind, list[MemberRecord]()
        with self._database.errors():
            for key, identifier in zip(members.keys.tolist(), members.identifiers(), strict=True):
                rows = self._database.all(
                    f"SELECT {_ENTRY}, since FROM {members_table(kind)} WHERE key = ?", key
                )
                found += [self._record(_entry(kind, identifier, row[:4]), since=row[4]) for row in rows]
        return found

    def _record(self, entry: MemberEntry, since: int) -> MemberRecord:
        consents = self._database.all(
            f"SELECT serial, audience, at, granted, source, made_by FROM {consents_table(entry.kind)} "
            "WHERE key = ? ORDER BY serial, audience",
            entry.key,
        )
        tokens = {}
        for bit, epoch in self._evaluated(entry.kind):
            rows = self._database.all(
                f"SELECT token FROM {tokens_table(entry.kind)} WHERE audience = ? AND epoch = ? AND key = ?",
                *(bit, epoch, entry.key),
            )
            for (token,) in rows:
                tokens[audience_of(bit), epoch] = bytes(token)
        changed = dict.fromkeys(entry.audiences, 0)
        if since and (AUDIENCES[0] in entry.audiences or AUDIENCES[0] in entry.objections):
            changed[AUDIENCES[0]] = since
        for serial, bit, _, what, *_ in consents:
            audience = audience_of(bit)
            if audience != AUDIENCES[0] and what != _OBJECTED:
                changed[audience] = max(changed.get(audience, 0), serial)
        return MemberRecord(
            entry=entry,
            consents=tuple(
                ConsentChange(audience_of(bit), what == _JOINED, at, source, by)
                for _, bit, at, what, source, by in consents
            ),
            tokens=tokens,
            changed=changed,
        )


def _checked(verified: date | None) -> int:
    """The day as a number. Raises BadInput if it is in the future, or before 1970."""
    day, now = day_number(verified or today()), day_number(today())
    if not 0 < day <= now:
        raise BadInput(
            f"{verified} is not a day on which numbers can have been verified", hint="give a day up to today"
        )
    return day


def _pieces(members: Members) -> Iterator[tuple[str, Keys]]:
    """Members by partition, never too many at once: a Python object takes much more room than a key."""
    for partition, keys in KINDS[members.kind].by_partition(members.keys):
        for first in range(0, keys.size, CHUNK):
            yield partition, keys[first : first + CHUNK]


def _slices(keys: Keys) -> Iterator[list[Any]]:
    for first in range(0, keys.size, _ASKED):
        yield keys[first : first + _ASKED].tolist()


def _marks(values: list[Any]) -> str:
    return ", ".join("?" * len(values))


def _entry(kind: str, identifier: bytes, row: tuple[Any, ...]) -> MemberEntry:
    key, bits, added, verified = row
    return MemberEntry(
        kind=kind,
        key=key,
        identifier=identifier,
        audiences=tuple(one for one in AUDIENCES if bits & bit_of(one)),
        objections=tuple(one for one in AUDIENCES if bits & bit_of(one) << OBJECTION),
        added=added,
        verified=day_of_number(verified),
    )
