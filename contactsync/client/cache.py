"""What a client remembers between syncs: tokens, what the last sync found, which data files it holds.

One SQLite file per server, 0600. Tokens belong to one epoch of one audience; findings outlive an epoch, so
that who joined or left is still known after the key has changed. Both are kept for a contact that is removed
from the book, until the epoch changes: if it came back, looking it up again would tell the server more. But
what no book has had for a year goes.

While the next epoch is announced, there may be tokens of two epochs. Tokens are of the key under which they
were computed, and of no other. Editions of an announced epoch are those of the announcement, until `promote`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contactsync.client.cache_file import CacheFile, write_anew
from contactsync.client.cache_schema import CACHE_STEPS, create
from contactsync.client.core.held_records import pack_holding, unpack_holding
from contactsync.client.core.holdings import SIDECAR, Holding, Holdings, Known, SidecarHolding
from contactsync.client.core.labels import Labelled
from contactsync.client.core.mode import AskedList
from contactsync.client.core.round import OUTPUT_BYTES, PendingBatch
from contactsync.identifiers import partition_of
from contactsync.tokens import TOKEN_BYTES, Tokens

_STORED: Final = """
SELECT identifier FROM tokens WHERE audience = ?1 UNION SELECT identifier FROM findings WHERE audience = ?1
"""
_UNKEYED: Final = f"audience = ?1 AND epoch = ?2 AND length(token) < {OUTPUT_BYTES}"
KEPT_MONTHS: Final = 12
"""What was last seen more than so many months ago is forgotten: in whole months, at least a year."""

Announced = Mapping[str, tuple[int, str]]
"""Of the partitions of an announced epoch: the edition, and the SHA-256 of its base."""


@dataclass(frozen=True, slots=True)
class StoredEpoch:
    """Whose key (in hex) the tokens of an epoch are, and what was used of it if it was only announced."""

    public_key: str
    announced: Announced | None


class Cache(CacheFile):
    """The open cache of one server. Raises OurError from every method if the file is damaged."""

    def __init__(self, path: Path, url: str) -> None:
        super().__init__(path, url, create, CACHE_STEPS)

    def newest_epoch(self, audience: str) -> int | None:
        """The newest epoch with tokens of this audience; None if there is none."""
        with self._explained():
            query = "SELECT max(epoch) FROM tokens WHERE audience = ?"
            epoch: int | None = self._db.execute(query, [audience]).fetchone()[0]
            return epoch

    def lacks_keys(self, audience: str, epoch: int) -> bool:
        """Whether some tokens of this epoch were kept without their label keys, by an earlier version."""
        with self._explained():
            query = f"SELECT EXISTS (SELECT 1 FROM tokens WHERE {_UNKEYED})"  # noqa: S608
            return bool(self._db.execute(query, (audience, epoch)).fetchone()[0])

    def has_tokens(self, audience: str, epoch: int) -> bool:
        """Whether there is any token of this epoch."""
        with self._explained():
            query = "SELECT EXISTS (SELECT 1 FROM tokens WHERE audience = ? AND epoch = ?)"
            return bool(self._db.execute(query, (audience, epoch)).fetchone()[0])

    def tokens(self, audience: str, epoch: int, identifiers: Sequence[bytes]) -> Known:
        """What is known of these identifiers in this epoch, in their order."""
        count = len(identifiers)
        rows = np.zeros((count, OUTPUT_BYTES), np.uint8)
        known, keyed, member = (np.zeros(count, np.bool_) for _ in range(3))
        edition, labelled = (np.full(count, -1, np.int64) for _ in range(2))
        labels: list[str | None] = [None] * count
        query = (
            "SELECT asked.key, token, member, edition, label, labelled FROM json_each(?) AS asked"
            " CROSS JOIN tokens ON audience = ? AND epoch = ? AND identifier = CAST(asked.value AS BLOB)"
        )
        with self._explained():
            found = self._db.execute(query, (_listed(identifiers), audience, epoch)).fetchall()
            if found:
                places = np.array([row[0] for row in found], np.int64)
                octets = b"".join([row[1].ljust(OUTPUT_BYTES, b"\0") for row in found])
                rows[places] = np.frombuffer(octets, np.uint8).reshape(-1, OUTPUT_BYTES)
                known[places], keyed[places] = True, [len(row[1]) == OUTPUT_BYTES for row in found]
            for place, _, flag, at, label, looked_at in found:
                if flag is not None:
                    member[place], edition[place] = flag, at
                if looked_at is not None:
                    labels[place], labelled[place] = label, looked_at
        keys = np.ascontiguousarray(rows[:, TOKEN_BYTES:])
        return Known(known, Tokens.from_bytes(rows), keys, keyed, member, edition, labels, labelled)

    def add_tokens(
        self,
        audience: str,
        epoch: int,
        identifiers: Iterable[bytes],
        tokens: Tokens,
        keys: NDArray[np.uint8],
        *,
        batch: str = "",
    ) -> None:
        """Keep tokens and label keys, uint8[n, 32], of identifiers: the batch of this name was answered.

        Of one that had a token and no key, the rest stays: it is the same token. Durable when this returns.
        """
        rows = np.concatenate([tokens.to_bytes(), keys], axis=1)
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO tokens (audience, epoch, identifier, token) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET token = excluded.token",
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
        holdings: Holdings,
        in_bases: NDArray[np.bool_] | None = None,
        labelled: Labelled | None = None,
        anew: bool = False,
        stored: StoredEpoch | None = None,
        beside: Collection[int] = (),
    ) -> None:
        """Write the result of a whole sync at once: findings, match state, holdings; forget other epochs.

        `member` and `edition` are of these identifiers, those that could be settled. So are `in_bases`, who
        is a member by the bases alone, if these have patches, and `labelled`: None where there are no labels.
        If there are, tokens without a label key are of no more use, and go.
        `anew`: whoever is in none of these was not looked up in what these were, and has to be once more.
        `stored` is what to keep of the epoch; tokens of the epochs `beside` it stay.
        """
        labelled = labelled or Labelled.nothing(len(identifiers))
        flags = member.astype(int).tolist()
        matched = flags if in_bases is None else in_bases.astype(int).tolist()
        looked_at = [at if at >= 0 else None for at in labelled.edition.tolist()]
        with self._transaction() as db:
            _remove_others(db, audience, {epoch, *beside})
            if labelled.wanted:
                query = f"DELETE FROM tokens WHERE {_UNKEYED}"  # noqa: S608 - our own tables
                if db.execute(query, (audience, epoch)).rowcount:
                    write_anew(db)
            if stored is not None:
                _keep_epoch(db, audience, epoch, stored)
            if anew:  # edition 0 is that of no partition
                outdated = "UPDATE tokens SET edition = 0 WHERE audience = ? AND epoch = ? AND edition > 0"
                db.execute(outdated, (audience, epoch))
            db.executemany(
                "UPDATE tokens SET member = ?, edition = ?, label = ?, labelled = ?"
                " WHERE audience = ? AND epoch = ? AND identifier = ?",
                (
                    (*result, audience, epoch, identifier)
                    for *result, identifier in zip(
                        matched, edition.tolist(), labelled.labels, looked_at, identifiers, strict=True
                    )
                ),
            )
            db.executemany(
                "INSERT OR REPLACE INTO findings VALUES (?, ?, ?)",
                ((audience, identifier, flag) for identifier, flag in zip(identifiers, flags, strict=True)),
            )
            db.execute("DELETE FROM holdings WHERE audience = ?", (audience,))
            _insert_holdings(db, audience, epoch, holdings)

    def forget_unseen(self, audience: str, identifiers: Sequence[bytes], month: int) -> None:
        """A book was synced in this month that has these identifiers; forget what none has had for a year.

        What was stored before this was counted, or by a sync that broke off, counts from now on.
        """
        with self._transaction() as db:
            db.execute(
                "INSERT INTO seen SELECT ?1, CAST(value AS BLOB), ?2 FROM json_each(?3) WHERE true"
                " ON CONFLICT DO UPDATE SET month = excluded.month WHERE month <> excluded.month",
                (audience, month, _listed(identifiers)),
            )
            db.execute(
                f"INSERT OR IGNORE INTO seen SELECT ?1, identifier, ?2 FROM ({_STORED})",  # noqa: S608
                (audience, month),
            )
            removed = db.execute(
                "DELETE FROM seen WHERE audience = ?1"  # noqa: S608 - our own tables
                f" AND (month < ?2 OR identifier NOT IN ({_STORED}))",
                (audience, month - KEPT_MONTHS),
            ).rowcount
            if removed:
                for table in ("tokens", "findings"):
                    _remove_unless_in(db, table, "seen", audience)
                write_anew(db)

    def holdings(self, audience: str, epoch: int) -> dict[tuple[str, str], Holding | SidecarHolding]:
        """What is held of each (calling code, kind of file)."""
        query = "SELECT code, kind, record FROM holdings WHERE audience = ? AND epoch = ?"
        with self._explained():
            rows = self._db.execute(query, (audience, epoch)).fetchall()
            return {(code, kind): unpack_holding(record) for code, kind, record in rows}

    def drop_holdings(self, audience: str, name: str) -> None:
        """Forget what is held of a partition: it is fetched whole next time."""
        with self._transaction() as db:
            db.execute("DELETE FROM holdings WHERE audience = ? AND code = ?", (audience, name))

    def drop_matches(self, audience: str, epoch: int, *, but: Collection[str] = ()) -> None:
        """Forget what is held of all partitions, and what was matched against it. Tokens and findings stay.

        Editions of another history may have the numbers of those that were matched. `but` are partitions of
        which it is known that they are the same in this `epoch`.
        """
        with self._transaction() as db:
            rows = db.execute(
                "SELECT epoch, identifier FROM tokens WHERE audience = ?", (audience,)
            ).fetchall()
            db.executemany(
                "UPDATE tokens SET member = NULL, edition = NULL, label = NULL, labelled = NULL"
                " WHERE audience = ? AND epoch = ? AND identifier = ?",
                ((audience, *row) for row in rows if row[0] != epoch or partition_of(row[1]) not in but),
            )
            # Of labels it is not known, even where there are none now: their editions may come again.
            db.execute("UPDATE tokens SET label = NULL, labelled = NULL WHERE audience = ?", (audience,))
            db.execute(
                "DELETE FROM holdings WHERE audience = ?1"
                " AND (epoch <> ?2 OR kind = ?3 OR code NOT IN (SELECT value FROM json_each(?4)))",
                (audience, epoch, SIDECAR, json.dumps(sorted(but))),
            )

    def held_files(self) -> set[str]:
        """The SHA-256 of every data file that some holding names."""
        with self._explained():
            rows = self._db.execute("SELECT record FROM holdings").fetchall()
            return {file.sha256 for (record,) in rows for file in unpack_holding(record).files()}

    def epoch(self, audience: str, epoch: int) -> StoredEpoch | None:
        """What is stored of the key of an epoch; None: nothing, or an earlier version did not store it."""
        query = "SELECT public_key, announced FROM epochs WHERE audience = ? AND epoch = ?"
        with self._explained():
            row = self._db.execute(query, (audience, epoch)).fetchone()
            if row is None:
                return None
            if row[1] is None:
                return StoredEpoch(row[0], None)
            announced = {name: (int(at), str(base)) for name, (at, base) in json.loads(row[1]).items()}
            return StoredEpoch(row[0], announced)

    def begin_epoch(self, audience: str, epoch: int, stored: StoredEpoch) -> None:
        """Keep whose tokens those of an epoch will be, before the first of them is asked for."""
        if self.epoch(audience, epoch) is None:
            with self._transaction() as db:
                _keep_epoch(db, audience, epoch, stored)

    def drop_epoch(self, audience: str, epoch: int) -> None:
        """Forget tokens, rounds and holdings of an epoch: they are of a key that does not come."""
        with self._transaction() as db:
            for table in ("tokens", "rounds", "holdings", "epochs"):
                db.execute(f"DELETE FROM {table} WHERE audience = ? AND epoch = ?", (audience, epoch))  # noqa: S608
            write_anew(db)

    def promote(
        self,
        audience: str,
        epoch: int,
        editions: Mapping[str, int],
        holdings: Holdings,
    ) -> None:
        """An epoch that was announced is in force, and its editions count from 1 again.

        `editions` are those of partitions that are edition 1 now; what was matched against another one was
        never matched. `holdings` are what is held from now on.
        """
        query = (
            "SELECT identifier, edition FROM tokens WHERE audience = ? AND epoch = ? AND edition IS NOT NULL"
        )
        with self._transaction() as db:
            rows = db.execute(query, (audience, epoch)).fetchall()
            same = {name for name, at in rows if editions.get(partition_of(name)) == at}
            db.executemany(
                "UPDATE tokens SET member = CASE WHEN ?1 THEN member END, edition = CASE WHEN ?1 THEN 1 END,"
                " labelled = CASE WHEN labelled IS NOT NULL THEN 0 END"  # of another count of editions
                " WHERE audience = ?2 AND epoch = ?3 AND identifier = ?4",
                ((name in same, audience, epoch, name) for name, _ in rows),
            )
            db.execute("DELETE FROM holdings WHERE audience = ? AND epoch = ?", (audience, epoch))
            _insert_holdings(db, audience, epoch, holdings)
            db.execute(
                "UPDATE epochs SET announced = NULL WHERE audience = ? AND epoch = ?", (audience, epoch)
            )

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


def _listed(identifiers: Sequence[bytes]) -> str:
    """Identifiers as one value, so that one statement serves for a whole book."""
    return json.dumps([identifier.decode() for identifier in identifiers])


def _insert_holdings(db: sqlite3.Connection, audience: str, epoch: int, holdings: Holdings) -> None:
    db.executemany(
        "INSERT INTO holdings VALUES (?, ?, ?, ?, ?)",
        ((audience, epoch, code, kind, pack_holding(h)) for (code, kind), h in holdings.items()),
    )


def _keep_epoch(db: sqlite3.Connection, audience: str, epoch: int, stored: StoredEpoch) -> None:
    announced = None if stored.announced is None else json.dumps(stored.announced)
    record = (audience, epoch, stored.public_key, announced)
    db.execute("INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?)", record)


def _remove_unless_in(db: sqlite3.Connection, table: str, other: str, audience: str) -> None:
    """Remove the identifiers of an audience from a table, unless the other one has them."""
    having = f"(SELECT identifier FROM {other} WHERE audience = ?1)"  # noqa: S608 - our own tables
    db.execute(f"DELETE FROM {table} WHERE audience = ?1 AND identifier NOT IN {having}", (audience,))  # noqa: S608


def _remove_others(db: sqlite3.Connection, audience: str, epochs: Collection[int]) -> None:
    """Remove identifiers that are known of other epochs alone: they were not in the book of this sync."""
    of = (audience, json.dumps(sorted(epochs)))
    removed = 0
    for table in ("tokens", "rounds", "epochs"):
        text = f"DELETE FROM {table} WHERE audience = ? AND epoch NOT IN (SELECT value FROM json_each(?))"  # noqa: S608 - our own tables
        removed += db.execute(text, of).rowcount
    if removed:
        for table in ("findings", "seen"):
            _remove_unless_in(db, table, "tokens", audience)
        write_anew(db)
