"""The register of members in one SQLite file: who is in it, and what they consented to.

The file, its transactions and the tokens are the matter of `RegistryFile` (registry.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.membership import (
    CHUNK,
    DAY,
    FIRST,
    JOINED,
    OBJECTION,
    VERIFIED,
    entries_of,
    entry_of,
    record_of,
)
from contactsync.server.storage.pairs import COLUMN, OTHER_KIND
from contactsync.server.storage.ports import Members
from contactsync.server.storage.records import Added, MemberEntry, MemberRecord, Origin, bit_of
from contactsync.server.storage.sqlite.registry import (
    RegistryFile,
    consents_table,
    labels_table,
    members_table,
    pending_table,
    tokens_table,
)
from contactsync.tokens import TOKEN_BYTES

if TYPE_CHECKING:
    from contactsync.identifiers.kinds import Keys

_ROWS: Final = 64  # in one statement of an import: twice as fast as one by one
_ASKED: Final = 500  # keys in one question

_ENTRY: Final = f"key, audiences, added, {VERIFIED}"

# ruff: noqa: S608, ARG002 - the only text put into a statement is the name of a kind, and integers; all
# partitions are in one table


class SqliteMembers(RegistryFile):
    """A `MemberStore`. An object is for one thread; several objects and processes may share the file."""

    # Joining and leaving

    def _join(self, members: Members, bit: int, day: int, origin: Origin) -> Added:
        now, found = int(time.time()), Added(0, 0, 0)
        with self._write() as serial:
            for partition, keys in KINDS[members.kind].by_partition(members.keys):
                joining = keys
                if bit != FIRST:  # each change is kept, so it has to be known whose it is
                    joining = self._without(members.kind, partition, keys, bit | bit << OBJECTION)
                # The count of changes is exact: rows that the last condition leaves unchanged do not count.
                before = self._database.connection.total_changes
                self._insert(members.kind, joining, bit, now=now, day=day, serial=serial)
                new = self._database.connection.total_changes - before
                if new:
                    self._touch(partition, serial)
                if bit != FIRST:
                    self._log(members.kind, partition, joining.tolist(), (bit, JOINED, serial), origin)
                objected = 0
                if new < keys.size:
                    objected = self._verify(members.kind, keys, day, bit)
                if new and self._epochs_searched(bit, partition):
                    joined = joining if new == joining.size else self._since(members.kind, joining, serial)
                    self._note_pending(members.kind, partition, joined, bit)
                found += Added(new, keys.size - new - objected, objected)
        return found

    def _insert(self, kind: str, keys: Keys, bit: int, *, now: int, day: int, serial: int) -> None:
        stored = 0 if day == now // DAY else day
        since = "since = excluded.since, " if bit == FIRST else ""
        whole = keys.size // _ROWS * _ROWS
        for rows in (keys[:whole].reshape(-1, _ROWS), keys[whole:].reshape(-1, 1)):
            row = f"(?, {bit:d}, {now:d}, {stored:d}, {serial if bit == FIRST else 0:d})"
            values = ", ".join([row] * rows.shape[1])
            # In slices: Python integers take four times as much memory as the array.
            for first in range(0, len(rows), CHUNK // _ROWS):
                self._database.connection.executemany(
                    f"INSERT INTO {members_table(kind)} (key, audiences, added, verified, since) "
                    f"VALUES {values} ON CONFLICT (key) DO UPDATE "
                    f"SET {since}verified = max({VERIFIED}, {day:d}), "
                    "audiences = audiences | excluded.audiences "
                    f"WHERE audiences & {bit | bit << OBJECTION:d} = 0",
                    rows[first : first + CHUNK // _ROWS].tolist(),
                )

    def _since(self, kind: str, keys: Keys, serial: int) -> Keys:
        """Those of the keys who joined the first audience with this serial."""
        query = f"SELECT key FROM {members_table(kind)} WHERE audiences & {FIRST:d} AND since = {serial:d}"
        found: list[Any] = []
        for some in _slices(keys):
            rows = self._database.connection.execute(f"{query} AND key IN ({_marks(some)})", some)
            found += [key for (key,) in rows]
        return Members.from_keys(kind, found).keys

    def _verify(self, kind: str, keys: Keys, day: int, bit: int) -> int:
        """Note the day at those who are there; how many of them have objected."""
        objected = 0
        for some in _slices(keys):
            marks = _marks(some)
            self._database.connection.execute(
                f"UPDATE {members_table(kind)} SET verified = {day:d} "
                f"WHERE key IN ({marks}) AND {VERIFIED} < {day:d}",
                some,
            )
            (count,) = self._database.connection.execute(
                f"SELECT count(*) FROM {members_table(kind)} "
                f"WHERE key IN ({marks}) AND audiences & {bit << OBJECTION:d}",
                some,
            ).fetchone()
            objected += int(count)
        return objected

    def _without(self, kind: str, partition: str, keys: Keys, bits: int) -> Keys:
        """Those keys that have none of these bits set."""
        standing = self._standing(kind, partition, keys)
        chosen: Keys = keys[[not standing.get(key, 0) & bits for key in keys.tolist()]]
        return chosen

    def _standing(self, kind: str, partition: str, keys: Keys) -> dict[Any, int]:
        return self._found(f"SELECT key, audiences FROM {members_table(kind)} WHERE key", keys)

    def _log(
        self, kind: str, partition: str, keys: Sequence[Any], entry: tuple[int, int, int], origin: Origin
    ) -> None:
        (bit, what, serial), now = entry, int(time.time())
        self._database.connection.executemany(
            f"INSERT OR REPLACE INTO {consents_table(kind)} VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((key, serial, bit, now, what, origin.source, origin.by) for key in keys),
        )

    def _note_strangers(self, kind: str, partition: str, keys: Sequence[Any], now: int) -> None:
        self._database.connection.executemany(
            f"INSERT INTO {members_table(kind)} (key, audiences, added) VALUES (?, 0, {now:d})",
            ((key,) for key in keys),
        )

    def _forget(self, kind: str, partition: str, keys: Sequence[Any]) -> None:
        self._untie(kind, keys)
        for table in (members_table(kind), consents_table(kind), labels_table(kind)):
            self._database.connection.executemany(
                f"DELETE FROM {table} WHERE key = ?", ((key,) for key in keys)
            )

    def _labels(self, kind: str, partition: str, keys: Keys) -> dict[Any, bytes]:
        return self._found(f"SELECT key, label FROM {labels_table(kind)} WHERE key", keys)

    def _set_labels(self, kind: str, partition: str, labels: Mapping[Any, bytes | None]) -> None:
        table = labels_table(kind)
        self._database.connection.executemany(
            f"INSERT OR REPLACE INTO {table} VALUES (?, ?)",
            ((key, label) for key, label in labels.items() if label is not None),
        )
        self._database.connection.executemany(
            f"DELETE FROM {table} WHERE key = ?", ((key,) for key, label in labels.items() if label is None)
        )
        self._log_labels(kind, partition, [*labels])

    def _partners(self, kind: str, keys: Keys) -> dict[Any, Any]:
        mine, other = COLUMN[kind], COLUMN[OTHER_KIND[kind]]
        return self._found(f"SELECT {mine}, {other} FROM pairs WHERE {mine}", keys)

    def _tie(self, pairs: Mapping[Any, Any]) -> None:
        self._database.connection.executemany("INSERT INTO pairs (tel, mail) VALUES (?, ?)", pairs.items())

    def _untie(self, kind: str, keys: Sequence[Any]) -> int:
        if kind not in COLUMN or not self._has_pairs():
            return 0
        untied = self._database.connection.executemany(
            f"DELETE FROM pairs WHERE {COLUMN[kind]} = ?", ((key,) for key in keys)
        ).rowcount
        if untied:
            self._leave_traces()
        return untied

    def _set_bits(
        self, kind: str, partition: str, rows: Sequence[tuple[int, bool, Any]], serial: int
    ) -> None:
        self._database.connection.executemany(
            f"UPDATE {members_table(kind)} SET audiences = ?, since = iif(?, {serial:d}, since) "
            "WHERE key = ?",
            rows,
        )

    def _drop_tokens_of(self, kind: str, partition: str, changed: Mapping[Any, int], serial: int) -> None:
        for owner, epoch in self._evaluated(kind):
            keys = Members.from_keys(kind, [key for key, bits in changed.items() if bits & owner]).keys
            dropped: list[bytes] = []
            for some in _slices(keys):
                delete = f"DELETE FROM {tokens_table(kind)} WHERE audience = ? AND epoch = ? AND key IN"
                rows = self._database.all(
                    f"{delete} ({_marks(some)}) RETURNING substr(token, 1, {TOKEN_BYTES:d})",
                    *(owner, epoch, *some),
                )
                dropped += [token for (token,) in rows]
            self._log_departed((owner, epoch, partition), serial, dropped)
            self._forget_entries(kind, (owner, epoch, partition), keys.tolist())
        for owner, epoch in self._epochs_in(pending_table(kind)):
            self._database.connection.executemany(
                f"DELETE FROM {pending_table(kind)} WHERE audience = ? AND epoch = ? AND key = ?",
                ((owner, epoch, key) for key, bits in changed.items() if bits & owner),
            )

    def _keys(self, kind: str, condition: str) -> Iterator[Keys]:
        cursor = self._database.connection.execute(
            f"SELECT key FROM {members_table(kind)} WHERE {condition} ORDER BY key"
        )
        while rows := cursor.fetchmany(CHUNK):
            yield Members.from_keys(kind, [key for (key,) in rows]).keys

    def _found(self, query: str, keys: Keys) -> dict[Any, Any]:
        """What a query, which ends in the name of a column, finds of these keys: pairs of key and value."""
        found: dict[Any, Any] = {}
        for some in _slices(keys):
            found.update(self._database.connection.execute(f"{query} IN ({_marks(some)})", some).fetchall())
        return found

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
        return entries_of(kind, rows)

    def show(self, members: Members) -> list[MemberRecord]:
        """See `MemberStore.show`."""
        kind, found = members.kind, list[MemberRecord]()
        with self._database.errors():
            for key, identifier in zip(members.keys.tolist(), members.identifiers(), strict=True):
                rows = self._database.all(
                    f"SELECT {_ENTRY}, since FROM {members_table(kind)} WHERE key = ?", key
                )
                found += [self._record(entry_of(kind, identifier, row[:4]), since=row[4]) for row in rows]
        return found

    def _record(self, entry: MemberEntry, since: int) -> MemberRecord:
        consents = self._database.all(
            f"SELECT serial, audience, at, granted, source, made_by FROM {consents_table(entry.kind)} "
            "WHERE key = ? ORDER BY serial, audience",
            entry.key,
        )
        tokens = [
            (bit, epoch, token)
            for bit, epoch in self._evaluated(entry.kind)
            for (token,) in self._database.all(
                f"SELECT token FROM {tokens_table(entry.kind)} WHERE audience = ? AND epoch = ? AND key = ?",
                *(bit, epoch, entry.key),
            )
        ]
        labels = self._database.all(f"SELECT label FROM {labels_table(entry.kind)} WHERE key = ?", entry.key)
        label = labels[0][0] if labels else None
        return record_of(entry, since, consents, tokens, label=label, other=self._other_of(entry))


def _slices(keys: Keys) -> Iterator[list[Any]]:
    for first in range(0, keys.size, _ASKED):
        yield keys[first : first + _ASKED].tolist()


def _marks(values: list[Any]) -> str:
    return ", ".join("?" * len(values))
