"""The register of members in one SQLite file, `registry.sqlite`.

Each kind of identifier has two tables, `members_KIND` and `tokens_KIND`. Their key is an integer if the
kind's key is. When the file is opened, kinds that are new to it get their tables.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import OurError
from contactsync.foundation.migrations import newest
from contactsync.identifiers.kinds import KINDS, Kind, kind_of_partition
from contactsync.server.storage.migrations import REGISTRY_STEPS
from contactsync.server.storage.ports import Members
from contactsync.server.storage.sqlite.database import Database, bit_of, sqlite_errors
from contactsync.tokens import TOKEN_BYTES, Tokens

if TYPE_CHECKING:
    from contactsync.identifiers.kinds import Keys

_WHAT: Final = "registry"
_CHUNK: Final = 1 << 16  # rows at once
_ROWS: Final = 32  # in one statement of an import: twice as fast as one by one
_ALL: Final = (1 << len(AUDIENCES)) - 1

_SCHEMA: Final = f"""
BEGIN;
CREATE TABLE changes (serial INTEGER NOT NULL);
INSERT INTO changes VALUES (0);
CREATE TABLE touched (partition TEXT PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {newest(REGISTRY_STEPS)};
COMMIT;
"""

# A member is in the audiences whose bits are set. Tokens have their own table, in the order in which a
# publish writes and reads them. The tokens of a new epoch are added beside those of the current one.
_TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS members_{kind} (
        key {type} PRIMARY KEY,
        audiences INTEGER NOT NULL,
        added INTEGER NOT NULL
    ){rowid}""",
    """
    CREATE TABLE IF NOT EXISTS tokens_{kind} (
        audience INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        key {type} NOT NULL,
        token BLOB NOT NULL,
        PRIMARY KEY (audience, epoch, key)
    ) WITHOUT ROWID""",
)

# ruff: noqa: S608 - the only text put into a statement is the name of a kind, and integers


class SqliteMembers:
    """A `MemberStore`. An object is for one thread; several objects and processes may share the file."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _WHAT, REGISTRY_STEPS)
        try:
            self._make_tables()
        except BaseException:
            self._database.close()
            raise

    @classmethod
    def create(cls, path: Path) -> SqliteMembers:
        """Create a new, empty register, readable only by its owner."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with (
            sqlite_errors(path, _WHAT),
            contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection,
        ):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        return cls(path)

    def _make_tables(self) -> None:
        there = {
            name for (name,) in self._database.all("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if unknown := {name for name in there if name.startswith("members_")} - {*map(_members, KINDS)}:
            kinds = ", ".join(sorted(name.removeprefix("members_") for name in unknown))
            raise OurError(
                f"the registry contains identifiers of an unknown kind: {kinds}",
                hint="a newer contactsync wrote it: update contactsync",
            )
        missing = [kind for kind in KINDS.values() if not {_members(kind.name), _tokens(kind.name)} <= there]
        if missing:
            with self._database.transaction():
                for kind in missing:
                    integer = kind.key_type is int
                    for table in _TABLES:
                        self._database.connection.execute(
                            table.format(
                                kind=kind.name,
                                type="INTEGER" if integer else "BLOB",
                                rowid="" if integer else " WITHOUT ROWID",
                            )
                        )

    # Members

    def add(self, members: Members, audience: str = "people") -> int:
        """See `MemberStore.add`."""
        bit, now, added = bit_of(audience), int(time.time()), 0
        with self._write() as serial:
            for partition, keys in KINDS[members.kind].by_partition(members.keys):
                # The count of changes is exact: rows that the last condition leaves unchanged do not count.
                before = self._database.connection.total_changes
                self._insert(members.kind, keys, bit, now)
                if new := self._database.connection.total_changes - before:
                    added += new
                    self._touch(partition, serial)
        return added

    def _insert(self, kind: str, keys: Keys, bit: int, now: int) -> None:
        whole = keys.size // _ROWS * _ROWS
        for rows in (keys[:whole].reshape(-1, _ROWS), keys[whole:].reshape(-1, 1)):
            values = ", ".join([f"(?, {bit:d}, {now:d})"] * rows.shape[1])
            # In slices: Python integers take four times as much memory as the array.
            for first in range(0, len(rows), _CHUNK // _ROWS):
                self._database.connection.executemany(
                    f"INSERT INTO {_members(kind)} VALUES {values} ON CONFLICT (key) DO UPDATE "
                    "SET audiences = audiences | excluded.audiences "
                    "WHERE audiences & excluded.audiences = 0",
                    rows[first : first + _CHUNK // _ROWS].tolist(),
                )

    def remove(self, members: Members, audience: str | None = None) -> int:
        """See `MemberStore.remove`."""
        bits = _ALL if audience is None else bit_of(audience)
        connection, removed = self._database.connection, 0
        here, tokens = _members(members.kind), _tokens(members.kind)
        with self._write() as serial:
            evaluated = connection.execute(f"SELECT DISTINCT audience, epoch FROM {tokens}").fetchall()
            for partition, keys in KINDS[members.kind].by_partition(members.keys):
                gone = keys.tolist()
                before = connection.total_changes
                connection.executemany(
                    f"UPDATE {here} SET audiences = audiences & ~? WHERE key = ? AND audiences & ?",
                    ((bits, key, bits) for key in gone),
                )
                if changed := connection.total_changes - before:
                    removed += changed
                    self._touch(partition, serial)
                connection.executemany(
                    f"DELETE FROM {here} WHERE key = ? AND audiences = 0", ((key,) for key in gone)
                )
                for owner, epoch in evaluated:
                    if owner & bits:
                        connection.executemany(
                            f"DELETE FROM {tokens} WHERE audience = ? AND epoch = ? AND key = ?",
                            ((owner, epoch, key) for key in gone),
                        )
        return removed

    def count(self, audience: str) -> int:
        """See `MemberStore.count`."""
        sql = "SELECT count(*) FROM {} WHERE audiences & ?"
        return sum(int(self._database.one(sql.format(_members(kind)), bit_of(audience))) for kind in KINDS)

    # What changed

    def serial(self) -> int:
        """See `MemberStore.serial`."""
        return int(self._database.one("SELECT serial FROM changes"))

    def touched(self, serial: int) -> list[str]:
        """See `MemberStore.touched`."""
        sql = "SELECT partition FROM touched WHERE serial <= ? ORDER BY partition"
        return [name for (name,) in self._database.all(sql, serial)]

    def settle(self, serial: int) -> None:
        """See `MemberStore.settle`."""
        self._database.change("DELETE FROM touched WHERE serial <= ?", serial)

    # Tokens

    def partitions(self, audience: str) -> list[str]:
        """See `MemberStore.partitions`."""
        return sorted(
            name
            for kind in KINDS.values()
            for name in kind.partitions()
            if self._is_inhabited(kind, name, bit_of(audience))
        )

    def _is_inhabited(self, kind: Kind, partition: str, bit: int) -> bool:
        some = f"SELECT 1 FROM {_members(kind.name)} WHERE key >= ? AND key < ? AND audiences & ?"
        return any(
            self._database.one(f"SELECT EXISTS ({some})", *span, bit) for span in kind.spans(partition)
        )

    def unevaluated(self, audience: str, epoch: int, partition: str, after: Any, limit: int) -> Members:
        """See `MemberStore.unevaluated`."""
        kind, bit = kind_of_partition(partition), bit_of(audience)
        found: list[Any] = []
        for low, high in kind.spans(partition):
            if after is not None and high <= after:
                continue
            # Only one lower bound: of two, SQLite would search by the first.
            begin, first = (">=", low) if after is None or after < low else (">", after)
            rows = self._database.all(
                f"SELECT key FROM {_members(kind.name)} AS m "
                f"WHERE key {begin} ? AND key < ? AND audiences & ? AND NOT EXISTS "
                f"(SELECT 1 FROM {_tokens(kind.name)} WHERE audience = ? AND epoch = ? AND key = m.key) "
                "ORDER BY key LIMIT ?",
                *(first, high, bit, bit, epoch, limit - len(found)),
            )
            found += [key for (key,) in rows]
            if len(found) >= limit:
                break
        return Members.from_keys(kind.name, found)

    def count_unevaluated(self, audience: str, epoch: int) -> int:
        """See `MemberStore.count_unevaluated`."""
        # Removing a member removes its tokens.
        sql = "SELECT count(*) FROM {} WHERE audience = ? AND epoch = ?"
        bit = bit_of(audience)
        evaluated = sum(int(self._database.one(sql.format(_tokens(kind)), bit, epoch)) for kind in KINDS)
        return self.count(audience) - evaluated

    def store_tokens(self, audience: str, epoch: int, members: Members, tokens: NDArray[np.uint8]) -> None:
        """See `MemberStore.store_tokens`."""
        octets, bit = tokens.tobytes(), bit_of(audience)
        with self._database.transaction():
            self._database.connection.executemany(
                f"INSERT OR REPLACE INTO {_tokens(members.kind)} SELECT ?, ?, key, ? "
                f"FROM {_members(members.kind)} WHERE key = ? AND audiences & ?",
                (
                    (bit, epoch, octets[i * TOKEN_BYTES : (i + 1) * TOKEN_BYTES], key, bit)
                    for i, key in enumerate(members.keys.tolist())
                ),
            )

    def tokens(self, audience: str, epoch: int, partition: str) -> Generator[Tokens, None, None]:
        """See `MemberStore.tokens`."""
        kind = kind_of_partition(partition)
        for low, high in kind.spans(partition):
            with self._database.errors(), contextlib.closing(self._database.connection.cursor()) as cursor:
                cursor.execute(
                    f"SELECT token FROM {_tokens(kind.name)} WHERE audience = ? AND epoch = ? "
                    "AND key >= ? AND key < ? ORDER BY key",
                    (bit_of(audience), epoch, low, high),
                )
                while rows := cursor.fetchmany(_CHUNK):
                    octets = b"".join([row[0] for row in rows])
                    yield Tokens.from_bytes(np.frombuffer(octets, np.uint8).reshape(-1, TOKEN_BYTES))

    def drop_tokens(self, audience: str, epochs: range) -> None:
        """See `MemberStore.drop_tokens`."""
        with self._database.transaction():
            for kind in KINDS:
                self._database.connection.execute(
                    f"DELETE FROM {_tokens(kind)} WHERE audience = ? AND epoch >= ? AND epoch < ?",
                    (bit_of(audience), epochs.start, epochs.stop),
                )

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """See `MemberStore.snapshot`."""
        connection = self._database.connection
        with self._database.errors():
            connection.execute("BEGIN")
            connection.execute("SELECT serial FROM changes").fetchone()  # this read fixes the moment
        try:
            yield
        finally:
            connection.execute("ROLLBACK")

    def close(self) -> None:
        """See `MemberStore.close`."""
        self._database.close()

    # How

    @contextlib.contextmanager
    def _write(self) -> Iterator[int]:
        """A transaction that changes membership. Yields its serial."""
        with self._database.transaction():
            query = "UPDATE changes SET serial = serial + 1 RETURNING serial"
            yield self._database.connection.execute(query).fetchone()[0]

    def _touch(self, partition: str, serial: int) -> None:
        self._database.connection.execute("INSERT OR REPLACE INTO touched VALUES (?, ?)", (partition, serial))


def _members(kind: str) -> str:
    return f"members_{kind}"


def _tokens(kind: str) -> str:
    return f"tokens_{kind}"
