"""What was published from a register, in two small tables of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from contactsync.identifiers.kinds import KINDS
from contactsync.publication.history import Position
from contactsync.publication.manifest import Manifest
from contactsync.server.storage.provenance import Provenance
from contactsync.server.storage.records import audience_of, bit_of
from contactsync.server.storage.sqlite.database import Database

# ruff: noqa: S608 - the only text put into a statement is the name of a kind


class SqliteProvenance:
    """A `ProvenanceStore`, as the part of a register that its database belongs to."""

    _database: Database

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
        with self._database.transaction():
            self._database.connection.executemany(
                "INSERT OR IGNORE INTO published VALUES (?, ?, ?, ?)",
                (
                    (bit_of(one.audience), one.epoch, one.edition, bytes.fromhex(one.sha256()))
                    for one in manifests
                ),
            )

    def adopt(self, audience: str, epoch: int, public_key: bytes, *, keep: bool = False) -> bool:
        """See `ProvenanceStore.adopt`."""
        of = bit_of(audience), epoch
        found = self.provenance().keys.get((audience, epoch))
        if found == public_key:
            return False
        kinds = () if keep and found is None else tuple(KINDS)
        connection, dropped = self._database.connection, 0
        with self._database.transaction():
            for kind in kinds:
                dropped += connection.execute(
                    f"DELETE FROM tokens_{kind} WHERE audience = ? AND epoch = ?", of
                ).rowcount
            connection.execute("INSERT OR REPLACE INTO token_keys VALUES (?, ?, ?)", (*of, public_key))
            if dropped:
                connection.execute("DELETE FROM published WHERE audience = ?", of[:1])
                connection.execute("UPDATE changes SET unerased = 1")
        return dropped > 0


def keep_settled(connection: sqlite3.Connection, published: Collection[Manifest]) -> None:
    """Forget all that was expected but these, as far as they were. In the transaction of the caller."""
    for one in published:
        bit, sha256 = bit_of(one.audience), bytes.fromhex(one.sha256())
        connection.execute(
            "DELETE FROM published WHERE audience = ?1 AND manifest <> ?2 AND EXISTS "
            "(SELECT 1 FROM published WHERE audience = ?1 AND manifest = ?2)",
            (bit, sha256),
        )
