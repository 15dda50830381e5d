"""A register of members, whatever its database: transactions, what changed, what was published from it.

A store adds its tables, how tokens are read and written, and what `Membership` and `Pairing` ask for.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Self

from contactsync.identifiers.kinds import KINDS
from contactsync.publication.history import Position
from contactsync.publication.manifest import Manifest
from contactsync.server.storage.counting import Counts
from contactsync.server.storage.erasing import EVERYWHERE
from contactsync.server.storage.label_log import LabelLog
from contactsync.server.storage.pairing import Pairing
from contactsync.server.storage.pending import PendingMembers
from contactsync.server.storage.provenance import Provenance
from contactsync.server.storage.records import Edition, audience_of, bit_of
from contactsync.server.storage.statements import StoreDatabase

# ruff: noqa: S608 - the only text put into a statement is the name of a kind or table, and integers


class Register(Counts, Pairing, LabelLog, PendingMembers):
    """The part of a `MemberStore` that is the same for all databases. An object is for one thread."""

    _database: StoreDatabase

    def __init__(self) -> None:
        self._serial: int | None = None  # of the transaction that is open: see `together`
        self._together = False

    # Transactions

    @contextmanager
    def together(self) -> Iterator[None]:
        """See `MemberStore.together`."""
        if self._together:
            yield
            return
        self._together = True
        try:
            with self._database.transaction():
                yield
        finally:
            self._together, self._serial = False, None

    def grouped(self) -> AbstractContextManager[None]:
        """See `MemberStore.grouped`."""
        return self._database.transaction()

    @contextmanager
    def _write(self) -> Iterator[int]:
        with self.together():
            if self._serial is None:
                query = "UPDATE changes SET serial = serial + 1 RETURNING serial"
                self._serial = int(self._database.one(query))
            yield self._serial

    def close(self) -> None:
        """See `MemberStore.close`."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _has_pairs(self) -> bool:
        return bool(self._database.one("SELECT EXISTS (SELECT 1 FROM pairs)"))

    # What changed

    def _count_without_key(self, bit: int, epoch: int, partition: str) -> int:
        """How many tokens of a partition are stored without their label keys."""
        raise NotImplementedError

    def count_unevaluated(self, audience: str, epoch: int, *, keyed: Collection[str] = ()) -> int:
        """See `MemberStore.count_unevaluated`."""
        # Removing a member removes its tokens.
        sql = self._sql("SELECT count(*) FROM tokens_{} WHERE audience = ? AND epoch = ?")
        evaluated = sum(int(self._database.one(sql.format(kind), bit_of(audience), epoch)) for kind in KINDS)
        evaluated -= sum(self._count_without_key(bit_of(audience), epoch, name) for name in keyed)
        return self.count(audience) - evaluated

    def serial(self) -> int:
        """See `MemberStore.serial`."""
        return int(self._database.one("SELECT serial FROM changes"))

    def touched(self, serial: int) -> list[str]:
        """See `MemberStore.touched`."""
        sql = self._sql("SELECT partition FROM touched WHERE serial <= ? ORDER BY partition")
        return [name for (name,) in self._database.all(sql, serial)]

    def departures(self) -> Collection[str]:
        """See `ErasingStore.departures`."""
        return {name for (name,) in self._database.all("SELECT partition FROM departures")}

    def depart(self) -> None:
        """See `ErasingStore.depart`."""
        with self._database.transaction():
            self._depart(EVERYWHERE, self.serial())

    def expunged(self, serial: int) -> None:
        """See `ErasingStore.expunged`."""
        self._database.change(self._sql("DELETE FROM departures WHERE serial <= ?"), serial)

    def _touch(self, partition: str, serial: int) -> None:
        self._note("touched", partition, serial)

    def _depart(self, partition: str, serial: int) -> None:
        self._note("departures", partition, serial)

    def _note(self, table: str, partition: str, serial: int) -> None:
        newer = "ON CONFLICT (partition) DO UPDATE SET serial = excluded.serial"
        self._database.change(self._sql(f"INSERT INTO {table} VALUES (?, ?) {newer}"), partition, serial)

    # What was published

    def settle(self, serial: int, published: Collection[Manifest] = ()) -> None:
        """See `MemberStore.settle`."""
        now = int(time.time())
        # An edition that was published again has the newer changes as well: none of them was of it.
        edition = self._sql(
            "INSERT INTO editions VALUES (?, ?, ?, ?, ?) ON CONFLICT (audience, epoch, edition) "
            "DO UPDATE SET serial = excluded.serial WHERE editions.serial < excluded.serial"
        )
        # All that was expected but these is forgotten, as far as they were.
        others = self._sql(
            "DELETE FROM published WHERE audience = ? AND manifest <> ? AND EXISTS "
            "(SELECT 1 FROM published WHERE audience = ? AND manifest = ?)"
        )
        with self._database.transaction():
            self._database.change(self._sql("DELETE FROM touched WHERE serial <= ?"), serial)
            for one in published:
                bit, sha256 = bit_of(one.audience), bytes.fromhex(one.sha256())
                self._database.change(edition, bit, one.epoch, one.edition, serial, now)
                self._database.change(others, bit, sha256, bit, sha256)
            self._settle_logs(published)

    def edition_of(self, audience: str, serial: int) -> Edition | None:
        """See `MemberStore.edition_of`."""
        sql = self._sql(
            "SELECT epoch, edition, serial, at FROM editions WHERE audience = ? AND serial >= ? "
            "ORDER BY epoch, edition LIMIT 1"
        )
        rows = self._database.all(sql, bit_of(audience), serial)
        return Edition(audience, *rows[0]) if rows else None

    def provenance(self) -> Provenance:
        """See `ProvenanceStore.provenance`."""
        manifests: dict[str, dict[str, Position]] = {}
        for bit, epoch, edition, sha256 in self._database.all(
            "SELECT audience, epoch, edition, manifest FROM published"
        ):
            manifests.setdefault(audience_of(bit), {})[bytes(sha256).hex()] = Position(epoch, edition)
        rows = self._database.all("SELECT audience, epoch, public_key FROM token_keys")
        return Provenance(manifests, {(audience_of(bit), epoch): bytes(key) for bit, epoch, key in rows})

    def expect(self, manifests: Collection[Manifest]) -> None:
        """See `ProvenanceStore.expect`."""
        sql = self._sql("INSERT INTO published VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
        with self._database.transaction():
            for one in manifests:
                row = bit_of(one.audience), one.epoch, one.edition, bytes.fromhex(one.sha256())
                self._database.change(sql, *row)

    def adopt(self, audience: str, epoch: int, public_key: bytes, *, keep: bool = False) -> bool:
        """See `ProvenanceStore.adopt`."""
        bit = bit_of(audience)
        found = self.provenance().keys.get((audience, epoch))
        if found == public_key:
            return False
        sql = self._sql(
            "INSERT INTO token_keys VALUES (?, ?, ?) ON CONFLICT (audience, epoch) DO UPDATE "
            "SET public_key = excluded.public_key"
        )
        with self._database.transaction():
            kept = keep and found is None
            dropped = 0 if kept else self._drop_all(bit, range(epoch, epoch + 1))
            self._database.change(sql, bit, epoch, public_key)
            if dropped:
                self._database.change(self._sql("DELETE FROM published WHERE audience = ?"), bit)
        return dropped > 0

    def drop_tokens(self, audience: str, epochs: range) -> None:
        """See `MemberStore.drop_tokens`."""
        keys = self._sql("DELETE FROM token_keys WHERE audience = ? AND epoch >= ? AND epoch < ?")
        with self._database.transaction():
            self._drop_all(bit_of(audience), epochs)
            self._database.change(keys, bit_of(audience), epochs.start, epochs.stop)

    def _drop_all(self, bit: int, epochs: range) -> int:
        """Delete an audience's tokens of some epochs, with all that is known of them; how many there were."""
        self._give_up("audience = ? AND epoch >= ? AND epoch < ?", bit, epochs.start, epochs.stop)
        return self._drop_epochs(bit, epochs)
