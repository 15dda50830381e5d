"""What a client remembers between syncs: tokens, what the last sync found, which data files it holds.

One SQLite file per server, 0600. Tokens belong to one epoch of one audience; findings outlive an epoch, so
that who joined or left is still known after the key has changed. Both are kept for a contact that is removed
from the book, until the epoch changes: if it came back, looking it up again would tell the server more.

What is removed from the cache can be read nowhere on the disk once it is closed, as far as a program can do
that (tests/raw_disk.py):

- The rollback journal holds pages as they were. It is kept (`journal_mode = PERSIST`), not unlinked, and is
  overwritten when the cache is closed. A commit is durable once the journal's head is zeros; SQLite waits for
  that with `synchronous = FULL`. EXTRA is the same here; for a journal that is unlinked, FULL would not do.
- `secure_delete` overwrites rows. But SQLite also moves rows between pages, and leaves copies that no later
  deletion finds. When identifiers go, all that stays is rewritten, and the old pages become zeros.
- What SQLite would write into temporary files stays in memory (`temp_store`).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from contactsync.client.core.holdings import Holding, Known
from contactsync.client.core.mode import AskedList
from contactsync.client.core.round import PendingBatch
from contactsync.client.state import damaged
from contactsync.directory import DirectoryInfo
from contactsync.foundation import databases, erasure
from contactsync.foundation.errors import OurError
from contactsync.publication.manifest import DataFile
from contactsync.tokens import TOKEN_BYTES, Tokens

SCHEMA = """
CREATE TABLE tokens (
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, identifier BLOB NOT NULL,
    token BLOB NOT NULL CHECK (length(token) = 10),
    member INTEGER,  -- 0, 1, or NULL when it was never matched in this epoch
    edition INTEGER, -- of the partition for which `member` holds
    PRIMARY KEY (audience, epoch, identifier)
) WITHOUT ROWID;
CREATE TABLE findings (
    audience TEXT NOT NULL, identifier BLOB NOT NULL, member INTEGER NOT NULL,
    PRIMARY KEY (audience, identifier)
) WITHOUT ROWID;
CREATE TABLE holdings (
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, code TEXT NOT NULL, kind TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (audience, epoch, code, kind)
) WITHOUT ROWID;
CREATE TABLE asked ( -- buckets that were asked for, until what came of it is recorded
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, code TEXT NOT NULL,
    slot_bits INTEGER NOT NULL, buckets TEXT NOT NULL,
    PRIMARY KEY (audience, epoch, code)
) WITHOUT ROWID;
"""
_ROUNDS = """
CREATE TABLE rounds ( -- batches of a round that are to be sent, or were sent and not answered
    audience TEXT NOT NULL, epoch INTEGER NOT NULL, name TEXT NOT NULL,
    size INTEGER NOT NULL, identifiers TEXT NOT NULL,
    PRIMARY KEY (audience, epoch, name)
) WITHOUT ROWID;
"""


def _to_2(db: sqlite3.Connection) -> None:
    """Rounds are remembered; what chooses decoys is in the ledger now."""
    db.execute("DROP TABLE secret")
    databases.run_script(db, _ROUNDS)


CACHE_STEPS: Final[Sequence[databases.SqlStep]] = (_to_2,)
"""Lead a cache of an earlier version to the one above."""


_PRAGMAS: Final = (
    "temp_store = MEMORY",
    "secure_delete = ON",
    "locking_mode = EXCLUSIVE",  # or the next line, which reads, would unlink the journal of a killed process
    "journal_mode = PERSIST",
    "locking_mode = NORMAL",
    "synchronous = EXTRA",
)

_NOT_WRITABLE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
}


class Cache:
    """The open cache of one server. Raises OurError from every method if the file is damaged."""

    def __init__(self, path: Path, url: str) -> None:
        self._url = url
        self._journal = path.with_name(f"{path.name}-journal")
        self._wrote = False
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
            erasure.blank(self._journal)  # of a cache that is gone: SQLite would unlink it
        with self._explained():
            self._db = sqlite3.connect(path, isolation_level=None)
            try:
                for pragma in _PRAGMAS:
                    self._db.execute(f"PRAGMA {pragma}")
                databases.open_sqlite(self._db, f"the cache kept for {url}", _create, CACHE_STEPS)
            except BaseException:
                self._db.close()
                raise

    def newest_epoch(self, audience: str) -> int | None:
        """The newest epoch with tokens of this audience; None if there is none."""
        with self._explained():
            query = "SELECT max(epoch) FROM tokens WHERE audience = ?"
            epoch: int | None = self._db.execute(query, [audience]).fetchone()[0]
            return epoch

    def has_tokens(self, audience: str, epoch: int) -> bool:
        """Whether there is any token of this epoch."""
        with self._explained():
            query = "SELECT EXISTS (SELECT 1 FROM tokens WHERE audience = ? AND epoch = ?)"
            return bool(self._db.execute(query, (audience, epoch)).fetchone()[0])

    def tokens(self, audience: str, epoch: int, identifiers: Sequence[bytes]) -> Known:
        """What is known of these identifiers in this epoch, in their order."""
        count = len(identifiers)
        rows = np.zeros((count, TOKEN_BYTES), np.uint8)
        known = np.zeros(count, np.bool_)
        member = np.zeros(count, np.bool_)
        edition = np.full(count, -1, np.int64)
        query = (
            "SELECT asked.key, token, member, edition FROM json_each(?) AS asked CROSS JOIN tokens "
            "ON audience = ? AND epoch = ? AND identifier = CAST(asked.value AS BLOB)"
        )
        with self._explained():
            found = self._db.execute(query, (_listed(identifiers), audience, epoch)).fetchall()
            if found:
                places = np.array([row[0] for row in found], np.int64)
                octets = b"".join([row[1] for row in found])
                rows[places] = np.frombuffer(octets, np.uint8).reshape(-1, TOKEN_BYTES)
                known[places] = True
            for place, _, flag, at in found:
                if flag is not None:
                    member[place], edition[place] = flag, at
        return Known(known, Tokens.from_bytes(rows), member, edition)

    def add_tokens(
        self, audience: str, epoch: int, identifiers: Iterable[bytes], tokens: Tokens, *, batch: str = ""
    ) -> None:
        """Keep tokens of identifiers: the batch of this name was answered. Durable when this returns."""
        rows = tokens.to_bytes()
        with self._transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO tokens (audience, epoch, identifier, token) VALUES (?, ?, ?, ?)",
                ((audience, epoch, i, row.tobytes()) for i, row in zip(identifiers, rows, strict=True)),
            )
            db.execute(
                "DELETE FROM rounds WHERE audience = ? AND epoch = ? AND name = ?", (audience, epoch, batch)
            )

    def findings(self, audience: str, identifiers: Sequence[bytes]) -> NDArray[np.int8]:
        """What the last sync found of each: 1 a member, 0 not, -1 it was not in the book then."""
        query = (
            "SELECT asked.key, member FROM json_each(?) AS asked CROSS JOIN findings "
            "ON audience = ? AND identifier = CAST(asked.value AS BLOB)"
        )
        found = np.full(len(identifiers), -1, np.int8)
        with self._explained():
            for place, member in self._db.execute(query, (_listed(identifiers), audience)):
                found[place] = member
        return found

    def finish(
        self,
        audience: str,
        epoch: int,
        identifiers: Sequence[bytes],
        *,
        member: NDArray[np.bool_],
        edition: NDArray[np.int64],
        holdings: dict[tuple[str, str], Holding],
    ) -> None:
        """Write the result of a whole sync at once: findings, match state, holdings; forget older epochs.

        `member` and `edition` are of these identifiers, those that could be settled.
        """
        flags = member.astype(int).tolist()
        with self._transaction() as db:
            _remove_older(db, audience, epoch)
            db.executemany(
                "UPDATE tokens SET member = ?, edition = ? "
                "WHERE audience = ? AND epoch = ? AND identifier = ?",
                (
                    (flag, at, audience, epoch, identifier)
                    for flag, at, identifier in zip(flags, edition.tolist(), identifiers, strict=True)
                ),
            )
            db.executemany(
                "INSERT OR REPLACE INTO findings VALUES (?, ?, ?)",
                ((audience, identifier, flag) for identifier, flag in zip(identifiers, flags, strict=True)),
            )
            db.execute("DELETE FROM holdings WHERE audience = ?", (audience,))
            db.executemany(
                "INSERT INTO holdings VALUES (?, ?, ?, ?, ?)",
                ((audience, epoch, code, kind, _pack(h)) for (code, kind), h in holdings.items()),
            )

    def holdings(self, audience: str, epoch: int) -> dict[tuple[str, str], Holding]:
        """What is held of each (calling code, kind of file)."""
        query = "SELECT code, kind, record FROM holdings WHERE audience = ? AND epoch = ?"
        with self._explained():
            rows = self._db.execute(query, (audience, epoch)).fetchall()
            return {(code, kind): _unpack(record) for code, kind, record in rows}

    def drop_holdings(self, audience: str, name: str) -> None:
        """Forget what is held of a partition: it is fetched whole next time."""
        with self._transaction() as db:
            db.execute("DELETE FROM holdings WHERE audience = ? AND code = ?", (audience, name))

    def held_files(self) -> set[str]:
        """The SHA-256 of every data file that some holding names."""
        with self._explained():
            rows = self._db.execute("SELECT record FROM holdings").fetchall()
            return {file.sha256 for (record,) in rows for file in _unpack(record).files()}

    def take_asked(self) -> dict[tuple[str, str], AskedList]:
        """Lists of buckets that version 1 kept here, by audience and partition. The ledger has them now."""
        query = "SELECT audience, code, epoch, slot_bits, buckets FROM asked"
        with self._explained():
            rows = self._db.execute(query).fetchall()
            return {
                (audience, code): AskedList(epoch, bits, 0, b"", tuple(json.loads(numbers)))
                for audience, code, epoch, bits, numbers in rows
            }

    def clear_asked(self) -> None:
        """They were taken over."""
        with self._transaction() as db:
            db.execute("DELETE FROM asked")

    def begin_round(self, audience: str, epoch: int, batches: Iterable[PendingBatch]) -> None:
        """Remember batches that are about to be sent; durable when this returns."""
        rows = [(audience, epoch, batch.name, batch.size, _listed(batch.identifiers)) for batch in batches]
        with self._transaction() as db:
            db.executemany("INSERT INTO rounds VALUES (?, ?, ?, ?, ?)", rows)

    def drop_round(self, audience: str, epoch: int) -> None:
        """Forget batches that will not be sent any more."""
        with self._transaction() as db:
            db.execute("DELETE FROM rounds WHERE audience = ? AND epoch = ?", (audience, epoch))

    def unfinished_round(self, audience: str, epoch: int) -> list[PendingBatch]:
        """The batches that were not answered."""
        query = "SELECT name, size, identifiers FROM rounds WHERE audience = ? AND epoch = ? ORDER BY name"
        with self._explained():
            return [
                PendingBatch(name, size, tuple(text.encode() for text in json.loads(identifiers)))
                for name, size, identifiers in self._db.execute(query, (audience, epoch))
            ]

    def counts(self) -> dict[str, int]:
        """How many identifiers there is anything of, and how many of them are members in some audience."""
        with self._explained():
            query = (
                "SELECT count(*) FROM (SELECT identifier FROM findings UNION SELECT identifier FROM tokens)"
            )
            (identifiers,) = self._db.execute(query).fetchone()
            query = "SELECT count(DISTINCT identifier) FROM findings WHERE member = 1"
            (members,) = self._db.execute(query).fetchone()
            (tokens,) = self._db.execute("SELECT count(*) FROM tokens").fetchone()
        return {"identifiers": identifiers, "matches": members, "tokens": tokens}

    def close(self) -> None:
        """Close the file, and overwrite the journal. Raises OurError if what was written cannot be wiped."""
        try:
            self._wipe_journal()
        except OurError:  # if nothing was written: who did that is there still, or the next one wipes it
            if self._wrote:
                raise
        finally:
            self._db.close()

    def _wipe_journal(self) -> None:
        with self._explained():
            if not erasure.is_blank(self._journal):
                self._db.execute("BEGIN EXCLUSIVE")  # nobody's now: one that is needed has been rolled back
                try:
                    erasure.blank(self._journal)
                finally:
                    self._db.execute("ROLLBACK")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            self._wrote = True
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has ended it
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            # The rest are SQLite's extended codes. An error of Python's own module (no UTF-8) has none.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOT_WRITABLE:
                raise _not_writable(self._url) from error
            raise damaged(self._url) from error
        except OSError as error:
            raise _not_writable(self._url) from error
        except (sqlite3.Error, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise damaged(self._url) from error


def _listed(identifiers: Sequence[bytes]) -> str:
    """Identifiers as one value, so that one statement serves for a whole book."""
    return json.dumps([identifier.decode() for identifier in identifiers])


def _not_writable(url: str) -> OurError:
    return OurError(
        f"cannot write the state kept for {url}",
        hint="make room on the disk, or the files of --state writable, and try again",
    )


def _remove_older(db: sqlite3.Connection, audience: str, epoch: int) -> None:
    """Remove identifiers that are known of older epochs alone: they were not in the book of this sync."""
    of = (audience, epoch)
    removed = db.execute("DELETE FROM tokens WHERE audience = ? AND epoch <> ?", of).rowcount
    removed += db.execute("DELETE FROM rounds WHERE audience = ? AND epoch <> ?", of).rowcount
    if removed:
        db.execute(
            "DELETE FROM findings WHERE audience = ?1 AND identifier NOT IN"
            " (SELECT identifier FROM tokens WHERE audience = ?1 AND epoch = ?2)",
            of,
        )
        _write_anew(db)


def _write_anew(db: sqlite3.Connection) -> None:
    """Rewrite every table: pages become free and are overwritten, with the copies of rows in them."""
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        db.execute(f"CREATE TEMP TABLE moved AS SELECT * FROM {table}")  # noqa: S608 - our own tables
        db.execute(f"DELETE FROM {table}")  # noqa: S608
        db.execute(f"INSERT INTO {table} SELECT * FROM moved")  # noqa: S608
        db.execute("DROP TABLE moved")


def _create(db: sqlite3.Connection) -> None:
    databases.run_script(db, SCHEMA + _ROUNDS)


def _pack(holding: Holding) -> str:
    def file(f: DataFile) -> list[object]:
        return [f.sha256, f.length, f.xxh3_64]

    deltas = [[start, end, file(f)] for start, end, f in holding.deltas]
    base = asdict(holding.base)
    base |= base.pop("file")  # one flat object: what is written already stays readable
    return json.dumps([holding.edition, file(holding.whole), base, deltas])


def _unpack(record: str) -> Holding:
    def file(value: list[object]) -> DataFile:
        sha256, length, xxh3_64 = value
        if not isinstance(length, int):
            raise TypeError("a length is a whole number")
        return DataFile(str(sha256), length, str(xxh3_64))

    edition, whole, base, deltas = json.loads(record)
    chain = tuple((start, end, file(f)) for start, end, f in deltas)
    figures = {name: base[name] for name in ("count", "slot_bits", "remainder_bits", "top_sha256")}
    of = DirectoryInfo(**figures, file=file([base["sha256"], base["length"], base["xxh3_64"]]))
    return Holding(edition, file(whole), of, chain)
