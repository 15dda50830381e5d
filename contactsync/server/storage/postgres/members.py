"""The register of members in PostgreSQL: who is in it, and what they consented to.

The tables, their transactions and the tokens are the matter of `RegistrySchema` (registry.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from contactsync.foundation.audiences import AUDIENCES
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
from contactsync.server.storage.postgres.registry import RegistrySchema
from contactsync.server.storage.postgres.rows import binary_rows, gathered, members_of, type_of
from contactsync.server.storage.records import Added, MemberEntry, MemberRecord, Origin, bit_of
from contactsync.tokens import TOKEN_BYTES

if TYPE_CHECKING:
    from contactsync.identifiers.kinds import Keys

_Given = tuple[str, tuple[Any, ...]]
"""What a statement reads keys from, and its values."""

_DAY_OF: Final = VERIFIED.replace("verified", "m.verified").replace("added", "m.added")
_CONSENT: Final = "key, serial, at, audience, granted, partition, source, made_by"
_ENTRY: Final = f"key, audiences, added, {VERIFIED}"

# ruff: noqa: S608 - the only text put into a statement is the name of a kind, and integers


class PostgresMembers(RegistrySchema):
    """A `MemberStore`. An object is for one thread; several objects and processes may share the database."""

    def _join(self, members: Members, bit: int, day: int, origin: Origin) -> Added:
        now, found = int(time.time()), Added(0, 0, 0)
        kind = members.kind
        with self._write() as serial:
            for partition, keys in KINDS[kind].by_partition(members.keys):
                stored, since = 0 if day == now // DAY else day, serial if bit == FIRST else 0
                rows = None
                if type_of(kind) == "bigint" and not self._is_inhabited(kind, partition):
                    fixed = [(now, ">i8"), (since, ">i8"), (bit, ">i4"), (stored, ">i4"), partition.encode()]
                    rows = binary_rows([keys, *fixed])
                is_new = self._inhabit(kind, partition, rows)
                given, values = ("", ()) if is_new and rows and bit == FIRST else self._given(kind, keys)
                if bit != FIRST:  # each change is kept
                    self._log_joining(kind, partition, (given, values), (bit, serial), origin)
                if is_new and rows:
                    new = keys.size
                    self._note_pending(kind, partition, keys, bit)
                else:
                    row = bit, now, stored, since, day
                    new = self._insert(kind, partition, (given, values), row)
                if new:
                    self._touch(partition, serial)
                objected = 0
                if new < keys.size:
                    objected = self._verify(kind, partition, (given, values), (day, bit))
                found += Added(new, keys.size - new - objected, objected)
        return found

    def _insert(
        self,
        kind: str,
        partition: str,
        given: _Given,
        row: tuple[int, int, int, int, int],
    ) -> int:
        """Add these; how many joined."""
        bit, now, stored, since, day = row
        source, values = given
        noted = bool(self._epochs_searched(bit, partition))
        moved = "since = excluded.since, " if bit == FIRST else ""
        insert = (
            f"INSERT INTO members_{kind} AS m (key, added, since, audiences, verified, partition) "
            f"SELECT key, {now:d}, {since:d}, {bit:d}, {stored:d}, %s FROM {source} "
            # Whom a conflict leaves as they are is locked all the same, which is written.
            f"WHERE NOT EXISTS (SELECT FROM members_{kind} AS there WHERE partition = %s "
            f"AND there.key = given.key AND audiences & {bit | bit << OBJECTION:d} <> 0) ORDER BY key "
            "ON CONFLICT (key, partition) DO UPDATE "
            f"SET {moved}verified = greatest({_DAY_OF}, {day:d}), audiences = m.audiences | {bit:d} "
            f"WHERE m.audiences & {bit | bit << OBJECTION:d} = 0"
        )
        if not noted:
            return self._database.run(insert, (partition, *values, partition)).rowcount
        return int(
            self._database.one(
                f"WITH joined AS ({insert} RETURNING m.key), noted AS "
                f"(INSERT INTO pending_{kind} (key, epoch, audience, partition) "
                f"SELECT key, epoch, {bit:d}, partition FROM joined CROSS JOIN searches "
                f"WHERE audience = {bit:d} AND partition = %s ON CONFLICT DO NOTHING) "
                "SELECT count(*) FROM joined",
                *(partition, *values, partition, partition),
            )
        )

    def _log_joining(
        self, kind: str, partition: str, given: _Given, bit_and_serial: tuple[int, int], origin: Origin
    ) -> None:
        """Keep that those join an audience who are not in it, and have not objected."""
        (source, values), (bit, serial) = given, bit_and_serial
        self._database.run(
            f"INSERT INTO consents_{kind} ({_CONSENT}) "
            f"SELECT key, {serial:d}, {int(time.time()):d}, {bit:d}, {JOINED:d}, %s, %s, %s FROM {source} "
            f"WHERE NOT EXISTS (SELECT FROM members_{kind} AS m WHERE m.partition = %s AND m.key = given.key "
            f"AND audiences & {bit | bit << OBJECTION:d} <> 0) "
            "ON CONFLICT (key, serial, audience, partition) DO UPDATE SET at = excluded.at, "
            "granted = excluded.granted, source = excluded.source, made_by = excluded.made_by",
            (partition, origin.source, origin.by, *values, partition),
        )

    def _verify(self, kind: str, partition: str, given: _Given, day_and_bit: tuple[int, int]) -> int:
        """Note the day at those who are there; how many of them have objected."""
        (source, values), (day, bit) = given, day_and_bit
        self._database.run(
            f"UPDATE members_{kind} AS m SET verified = {day:d} FROM {source} "
            f"WHERE m.partition = %s AND m.key = given.key AND {_DAY_OF} < {day:d}",
            (*values, partition),
        )
        return int(
            self._database.one(
                f"SELECT count(*) FROM members_{kind} JOIN {source} USING (key) "
                f"WHERE partition = %s AND audiences & {bit << OBJECTION:d} <> 0",
                *(*values, partition),
            )
        )

    def _standing(self, kind: str, partition: str, keys: Keys) -> dict[Any, int]:
        return dict(
            self._database.all(
                f"SELECT key, audiences FROM members_{kind} WHERE partition = %s "
                f"AND key = ANY (%s::{type_of(kind)}[])",
                *(partition, keys.tolist()),
            )
        )

    def _note_strangers(self, kind: str, partition: str, keys: Sequence[Any], now: int) -> None:
        if keys:
            self._inhabit(kind, partition)
            self._database.run(
                f"INSERT INTO members_{kind} (key, audiences, added, partition) "
                f"SELECT key, 0, {now:d}, %s FROM unnest(%s::{type_of(kind)}[]) AS given(key)",
                (partition, keys),
            )

    def _forget(self, kind: str, partition: str, keys: Sequence[Any]) -> None:
        self._untie(kind, keys)
        for table in ("members", "consents", "labels") if keys else ():
            self._database.run(
                f"DELETE FROM {table}_{kind} WHERE partition = %s AND key = ANY (%s::{type_of(kind)}[])",
                (partition, keys),
            )

    def _labels(self, kind: str, partition: str, keys: Keys) -> dict[Any, bytes]:
        return dict(
            self._database.all(
                f"SELECT key, label FROM labels_{kind} WHERE partition = %s "
                f"AND key = ANY (%s::{type_of(kind)}[])",
                *(partition, keys.tolist()),
            )
        )

    def _set_labels(self, kind: str, partition: str, labels: Mapping[Any, bytes | None]) -> None:
        given = {key: label for key, label in labels.items() if label is not None}
        gone = [key for key in labels if key not in given]
        if given:
            self._database.run(
                f"INSERT INTO labels_{kind} (key, partition, label) "
                f"SELECT key, %s, label FROM unnest(%s::{type_of(kind)}[], %s::bytea[]) AS given(key, label) "
                "ON CONFLICT (key, partition) DO UPDATE SET label = excluded.label",
                (partition, [*given], [*given.values()]),
            )
        if gone:
            self._database.run(
                f"DELETE FROM labels_{kind} WHERE partition = %s AND key = ANY (%s::{type_of(kind)}[])",
                (partition, gone),
            )
        self._log_labels(kind, partition, [*labels])

    def _partners(self, kind: str, keys: Keys) -> dict[Any, Any]:
        mine, other = COLUMN[kind], COLUMN[OTHER_KIND[kind]]
        query = f"SELECT {mine}, {other} FROM pairs WHERE {mine} = ANY (%s::{type_of(kind)}[])"
        return dict(self._database.all(query, keys.tolist()))

    def _tie(self, pairs: Mapping[Any, Any]) -> None:
        if pairs:
            self._database.run(
                "INSERT INTO pairs (tel, mail) SELECT * FROM unnest(%s::bigint[], %s::bytea[])",
                ([*pairs], [*pairs.values()]),
            )

    def _untie(self, kind: str, keys: Sequence[Any]) -> int:
        if kind not in COLUMN or not keys:
            return 0
        untied = self._database.run(
            f"DELETE FROM pairs WHERE {COLUMN[kind]} = ANY (%s::{type_of(kind)}[])", (keys,)
        ).rowcount
        if untied:
            self._mark("pairs")
        return untied

    def _set_bits(
        self, kind: str, partition: str, rows: Sequence[tuple[int, bool, Any]], serial: int
    ) -> None:
        if rows:
            bits, moved, keys = (list(column) for column in zip(*rows, strict=True))
            self._database.run(
                f"UPDATE members_{kind} AS m SET audiences = given.bits, "
                f"since = CASE WHEN moved THEN {serial:d} ELSE since END "
                f"FROM unnest(%s::integer[], %s::boolean[], %s::{type_of(kind)}[]) "
                "AS given(bits, moved, key) "
                "WHERE m.partition = %s AND m.key = given.key",
                (bits, moved, keys, partition),
            )

    def _log(
        self, kind: str, partition: str, keys: Sequence[Any], entry: tuple[int, int, int], origin: Origin
    ) -> None:
        bit, what, serial = entry
        if keys:
            self._database.run(
                f"INSERT INTO consents_{kind} ({_CONSENT}) "
                f"SELECT key, {serial:d}, {int(time.time()):d}, {bit:d}, {what:d}, %s, %s, %s "
                f"FROM unnest(%s::{type_of(kind)}[]) AS given(key) "
                "ON CONFLICT (key, serial, audience, partition) DO UPDATE SET at = excluded.at, "
                "granted = excluded.granted, source = excluded.source, made_by = excluded.made_by",
                (partition, origin.source, origin.by, keys),
            )

    def _drop_tokens_of(self, kind: str, partition: str, changed: Mapping[Any, int], serial: int) -> None:
        for bit in map(bit_of, AUDIENCES):
            keys = [key for key, bits in changed.items() if bits & bit]
            for _, epoch in self._tokens_of(kind, bit, partition) if keys else ():
                rows = self._database.all(
                    f"DELETE FROM tokens_{kind} WHERE partition = %s AND audience = {bit:d} "
                    f"AND epoch = {epoch:d} AND key = ANY (%s::{type_of(kind)}[]) "
                    f"RETURNING substr(token, 1, {TOKEN_BYTES:d})",
                    *(partition, keys),
                )
                dropped = [bytes(token) for (token,) in rows]
                self._log_departed((bit, epoch, partition), serial, dropped)
                self._forget_entries(kind, (bit, epoch, partition), keys)
            for epoch in self._epochs_searched(bit, partition) if keys else ():
                self._database.run(
                    f"DELETE FROM pending_{kind} WHERE partition = %s AND audience = {bit:d} "
                    f"AND epoch = {epoch:d} AND key = ANY (%s::{type_of(kind)}[])",
                    (partition, keys),
                )

    def _keys(self, kind: str, condition: str) -> Iterator[Keys]:
        after: Any = None
        while True:
            beyond, values = ("", ()) if after is None else ("AND key > %s", (after,))
            rows = self._database.all(
                f"SELECT {gathered(kind)} FROM (SELECT key FROM members_{kind} "
                f"WHERE {condition} {beyond} ORDER BY key LIMIT {CHUNK:d}) AS page",
                *values,
                binary=True,
            )
            page = members_of(kind, rows[0][0])
            if not len(page):
                return
            after = page.last
            yield page.keys

    # Reading

    def entries(self, kind: str, after: Any, limit: int, audience: str | None = None) -> list[MemberEntry]:
        """See `MemberStore.entries`."""
        bits = -1 if audience is None else bit_of(audience)
        beyond, values = ("", ()) if after is None else ("key > %s AND ", (after,))
        return entries_of(
            kind,
            self._database.all(
                f"SELECT {_ENTRY} FROM members_{kind} WHERE {beyond}audiences & {bits:d} <> 0 "
                f"ORDER BY key LIMIT {limit:d}",
                *values,
            ),
        )

    def show(self, members: Members) -> list[MemberRecord]:
        """See `MemberStore.show`."""
        kind, found = members.kind, list[MemberRecord]()
        for key, identifier in zip(members.keys.tolist(), members.identifiers(), strict=True):
            partition = KINDS[kind].partition_of(identifier)
            rows = self._database.all(
                f"SELECT {_ENTRY}, since FROM members_{kind} WHERE partition = %s AND key = %s",
                *(partition, key),
            )
            found += [
                self._record(entry_of(kind, identifier, row[:4]), partition, since=row[4]) for row in rows
            ]
        return found

    def _record(self, entry: MemberEntry, partition: str, since: int) -> MemberRecord:
        kind = entry.kind
        consents = self._database.all(
            f"SELECT serial, audience, at, granted, source, made_by FROM consents_{kind} "
            "WHERE partition = %s AND key = %s ORDER BY serial, audience",
            *(partition, entry.key),
        )
        tokens = [
            (bit, epoch, token)
            for bit in map(bit_of, AUDIENCES)
            for _, epoch in self._tokens_of(kind, bit, partition)
            for (token,) in self._database.all(
                f"SELECT token FROM tokens_{kind} WHERE partition = %s AND audience = %s AND epoch = %s "
                "AND key = %s",
                *(partition, bit, epoch, entry.key),
            )
        ]
        labels = self._database.all(
            f"SELECT label FROM labels_{kind} WHERE partition = %s AND key = %s", partition, entry.key
        )
        label = labels[0][0] if labels else None
        return record_of(entry, since, consents, tokens, label=label, other=self._other_of(entry))
