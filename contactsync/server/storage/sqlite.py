"""The register in one SQLite file.

WAL, so that the server's look-ups never wait for an import. `synchronous=FULL`: a member who was told to be
removed stays removed through a power cut; it costs one fsync for a transaction, and those are large.
`secure_delete`: what is deleted is overwritten, not only forgotten.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import BadInput, OurError
from contactsync.publication.manifest import AUDIENCES
from contactsync.server.numbers import Numbers, codes, codes_of, ranges_of
from contactsync.server.storage.ports import Account, credential_hash
from contactsync.tokens import TOKEN_BYTES, Tokens

SCHEMA_VERSION: Final = 1
_CHUNK: Final = 1 << 16  # rows at once
_ROWS: Final = 32  # in one statement of an import: twice as fast as one by one

# A member is in the audiences whose bits are set: 1 << index in AUDIENCES. Tokens have a table of their own,
# ordered as a publish writes and reads them; a new epoch's tokens grow beside the current one's.
_SCHEMA: Final = """
BEGIN;
CREATE TABLE members (
    number INTEGER PRIMARY KEY,
    audiences INTEGER NOT NULL,
    added INTEGER NOT NULL
);
CREATE TABLE tokens (
    audience INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    number INTEGER NOT NULL,
    token BLOB NOT NULL,
    PRIMARY KEY (audience, epoch, number)
) WITHOUT ROWID;
CREATE TABLE changes (serial INTEGER NOT NULL);
INSERT INTO changes VALUES (0);
CREATE TABLE touched (code INTEGER PRIMARY KEY, serial INTEGER NOT NULL);
CREATE TABLE accounts (
    name TEXT PRIMARY KEY,
    audience INTEGER NOT NULL,
    credential_hash BLOB NOT NULL UNIQUE,
    added INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT;
"""


class SqliteRegistry:
    """A `Registry`. One object serves one thread; several objects and processes may share the file."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise OurError(f"there is no registry at {path}", hint="restore it from a backup")
        with _errors(path):
            self._connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA secure_delete = ON")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        self._path = path
        if version != SCHEMA_VERSION:
            self._connection.close()
            raise OurError(
                f"the registry has version {version}; this program knows {SCHEMA_VERSION}",
                hint="use the version of contactsync that wrote it",
            )

    @classmethod
    def create(cls, path: Path) -> SqliteRegistry:
        """A new, empty registry, readable by its owner alone."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with _errors(path), contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)
        return cls(path)

    # Members

    def add_numbers(self, numbers: Numbers, audience: str = "people") -> int:
        """See `Registry.add_numbers`."""
        found = codes_of(numbers)
        if not found.all():
            raise BadInput("a number has no known calling code")
        bit, now, added = _bit(audience), int(time.time()), 0
        with self._write() as serial:
            for code in np.unique(found).tolist():
                # The count of changes is exact: a row that the last condition keeps as it is counts as none.
                before = self._connection.total_changes
                self._insert(numbers[found == code], bit, now)
                if new := self._connection.total_changes - before:
                    added += new
                    self._touch(code, serial)
        return added

    def _insert(self, numbers: Numbers, bit: int, now: int) -> None:
        whole = numbers.size // _ROWS * _ROWS
        for rows in (numbers[:whole].reshape(-1, _ROWS), numbers[whole:].reshape(-1, 1)):
            values = ", ".join([f"(?, {bit:d}, {now:d})"] * rows.shape[1])
            # In slices: Python integers take four times the room of the array.
            for first in range(0, len(rows), _CHUNK // _ROWS):
                self._connection.executemany(
                    f"INSERT INTO members VALUES {values} ON CONFLICT (number) DO UPDATE "  # noqa: S608 - integers
                    "SET audiences = audiences | excluded.audiences "
                    "WHERE audiences & excluded.audiences = 0",
                    rows[first : first + _CHUNK // _ROWS].tolist(),
                )

    def remove_numbers(self, numbers: Numbers, audience: str | None = None) -> int:
        """See `Registry.remove_numbers`."""
        bits = _ALL if audience is None else _bit(audience)
        found, removed = codes_of(numbers), 0
        with self._write() as serial:
            tokens = self._connection.execute("SELECT DISTINCT audience, epoch FROM tokens").fetchall()
            for code in np.unique(found).tolist():
                gone = numbers[found == code].tolist()
                before = self._connection.total_changes
                self._connection.executemany(
                    "UPDATE members SET audiences = audiences & ~? WHERE number = ? AND audiences & ?",
                    ((bits, number, bits) for number in gone),
                )
                if changed := self._connection.total_changes - before:
                    removed += changed
                    self._touch(code, serial)
                self._connection.executemany(
                    "DELETE FROM members WHERE number = ? AND audiences = 0", ((number,) for number in gone)
                )
                for owner, epoch in tokens:
                    if owner & bits:
                        self._connection.executemany(
                            "DELETE FROM tokens WHERE audience = ? AND epoch = ? AND number = ?",
                            ((owner, epoch, number) for number in gone),
                        )
        return removed

    def count(self, audience: str) -> int:
        """See `Registry.count`."""
        return int(self._one("SELECT count(*) FROM members WHERE audiences & ?", _bit(audience)))

    # What changed

    def serial(self) -> int:
        """See `Registry.serial`."""
        return int(self._one("SELECT serial FROM changes"))

    def touched(self, serial: int) -> list[int]:
        """See `Registry.touched`."""
        return [
            row[0] for row in self._all("SELECT code FROM touched WHERE serial <= ? ORDER BY code", serial)
        ]

    def settle(self, serial: int) -> None:
        """See `Registry.settle`."""
        with _errors(self._path):
            self._connection.execute("DELETE FROM touched WHERE serial <= ?", (serial,))

    # Tokens

    def codes(self, audience: str) -> list[int]:
        """See `Registry.codes`."""
        query = "SELECT EXISTS (SELECT 1 FROM members WHERE number BETWEEN ? AND ? AND audiences & ?)"
        bit = _bit(audience)
        return [code for code in codes() if any(self._one(query, *span, bit) for span in ranges_of(code))]

    def unevaluated(self, audience: str, epoch: int, code: int, after: int, limit: int) -> Numbers:
        """See `Registry.unevaluated`."""
        found: list[int] = []
        bit = _bit(audience)
        for low, high in ranges_of(code):
            if high <= after:
                continue
            rows = self._all(
                "SELECT number FROM members AS m WHERE number BETWEEN ? AND ? AND audiences & ? "
                "AND NOT EXISTS "
                "(SELECT 1 FROM tokens WHERE audience = ? AND epoch = ? AND number = m.number) "
                "ORDER BY number LIMIT ?",
                *(max(low, after + 1), high, bit, bit, epoch, limit - len(found)),
            )
            found += [row[0] for row in rows]
            if len(found) >= limit:
                break
        return np.array(found, np.uint64)

    def count_unevaluated(self, audience: str, epoch: int) -> int:
        """See `Registry.count_unevaluated`."""
        # A token goes with its member.
        sql = "SELECT count(*) FROM tokens WHERE audience = ? AND epoch = ?"
        return self.count(audience) - int(self._one(sql, _bit(audience), epoch))

    def store_tokens(self, audience: str, epoch: int, numbers: Numbers, tokens: NDArray[np.uint8]) -> None:
        """See `Registry.store_tokens`."""
        octets, bit = tokens.tobytes(), _bit(audience)
        with self._transaction():
            self._connection.executemany(
                "INSERT OR REPLACE INTO tokens SELECT ?, ?, number, ? FROM members "
                "WHERE number = ? AND audiences & ?",
                (
                    (bit, epoch, octets[i * TOKEN_BYTES : (i + 1) * TOKEN_BYTES], number, bit)
                    for i, number in enumerate(numbers.tolist())
                ),
            )

    def tokens(self, audience: str, epoch: int, code: int) -> Generator[Tokens, None, None]:
        """See `Registry.tokens`."""
        for low, high in ranges_of(code):
            with _errors(self._path), contextlib.closing(self._connection.cursor()) as cursor:
                cursor.execute(
                    "SELECT token FROM tokens WHERE audience = ? AND epoch = ? AND number BETWEEN ? AND ? "
                    "ORDER BY number",
                    (_bit(audience), epoch, low, high),
                )
                while rows := cursor.fetchmany(_CHUNK):
                    octets = b"".join([row[0] for row in rows])
                    yield Tokens.from_bytes(np.frombuffer(octets, np.uint8).reshape(-1, TOKEN_BYTES))

    def drop_tokens(self, audience: str, epochs: range) -> None:
        """See `Registry.drop_tokens`."""
        with _errors(self._path):
            self._connection.execute(
                "DELETE FROM tokens WHERE audience = ? AND epoch >= ? AND epoch < ?",
                (_bit(audience), epochs.start, epochs.stop),
            )

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """See `Registry.snapshot`."""
        with _errors(self._path):
            self._connection.execute("BEGIN")
            self._connection.execute(
                "SELECT serial FROM changes"
            ).fetchone()  # the moment is that of this read
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    # Accounts

    def add_account(self, name: str, audience: str, credential: str) -> None:
        """See `Registry.add_account`."""
        row = (name, _bit(audience), credential_hash(credential), int(time.time()))
        with _errors(self._path):
            done = self._connection.execute(
                "INSERT OR IGNORE INTO accounts VALUES (?, ?, ?, ?)", row
            ).rowcount
        if not done:
            raise BadInput(
                f"there is an account of the name {name!r} already",
                hint="choose another name, or revoke that one first",
            )

    def revoke_account(self, name: str) -> None:
        """See `Registry.revoke_account`."""
        with _errors(self._path):
            done = self._connection.execute("DELETE FROM accounts WHERE name = ?", (name,)).rowcount
        if not done:
            raise BadInput(
                f"there is no account of the name {name!r}", hint="see `contactsync server accounts list`"
            )

    def accounts(self) -> list[Account]:
        """See `Registry.accounts`."""
        rows = self._all("SELECT name, audience, added FROM accounts ORDER BY name")
        return [Account(name, _audience(bit), added) for name, bit, added in rows]

    def find_account(self, credential: str) -> Account | None:
        """See `Registry.find_account`."""
        rows = self._all(
            "SELECT name, audience, added FROM accounts WHERE credential_hash = ?",
            credential_hash(credential),
        )
        return Account(rows[0][0], _audience(rows[0][1]), rows[0][2]) if rows else None

    def close(self) -> None:
        """See `Registry.close`."""
        self._connection.close()

    # How

    def _all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with _errors(self._path):
            return self._connection.execute(query, values).fetchall()

    def _one(self, query: str, *values: object) -> Any:
        return self._all(query, *values)[0][0]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with _errors(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _write(self) -> Iterator[int]:
        """A transaction that changes membership; gives its serial."""
        with self._transaction():
            query = "UPDATE changes SET serial = serial + 1 RETURNING serial"
            yield self._connection.execute(query).fetchone()[0]

    def _touch(self, code: int, serial: int) -> None:
        self._connection.execute("INSERT OR REPLACE INTO touched VALUES (?, ?)", (code, serial))


_ALL: Final = (1 << len(AUDIENCES)) - 1


def _bit(audience: str) -> int:
    return 1 << AUDIENCES.index(audience)


def _audience(bit: int) -> str:
    return AUDIENCES[bit.bit_length() - 1]


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        damaged = code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
        # The text of SQLite's errors names tables and reasons, never values.
        raise OurError(
            f"the registry {path} cannot be used: {error}",
            hint="restore it from a backup"
            if damaged
            else "check free space, permissions and whether another process holds it",
        ) from error
