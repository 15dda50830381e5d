"""What was published from a register, in two small tables of it."""

from __future__ import annotations

from collections.abc import Collection

from contactsync.identifiers.kinds import KINDS
from contactsync.publication.history import Position
from contactsync.publication.manifest import Manifest
from contactsync.server.storage.postgres.database import PostgresSession
from contactsync.server.storage.provenance import Provenance
from contactsync.server.storage.records import audience_of, bit_of

# ruff: noqa: S608 - the only text put into a statement is the name of a kind


class PostgresProvenance:
    """A `ProvenanceStore`, as the part of a register that its database belongs to."""

    _database: PostgresSession

    def _tokens_of(self, kind: str, bit: int, partition: str | None = None) -> list[tuple[str, int]]:
        raise NotImplementedError

    def _mark(self, table: str, kind: str, partition: str) -> None:
        raise NotImplementedError

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
            for one in manifests:
                self._database.change(
                    "INSERT INTO published VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                    *(bit_of(one.audience), one.epoch, one.edition, bytes.fromhex(one.sha256())),
                )

    def adopt(self, audience: str, epoch: int, public_key: bytes, *, keep: bool = False) -> bool:
        """See `ProvenanceStore.adopt`."""
        bit = bit_of(audience)
        found = self.provenance().keys.get((audience, epoch))
        if found == public_key:
            return False
        database, dropped = self._database, 0
        with database.transaction():
            for kind in () if keep and found is None else tuple(KINDS):
                for partition, of in self._tokens_of(kind, bit):
                    if of == epoch:
                        dropped += database.change(
                            f"DELETE FROM tokens_{kind} "
                            "WHERE partition = %s AND audience = %s AND epoch = %s",
                            *(partition, bit, epoch),
                        )
                        self._mark("tokens", kind, partition)
            database.change(
                "INSERT INTO token_keys VALUES (%s, %s, %s) ON CONFLICT (audience, epoch) DO UPDATE"
                " SET public_key = excluded.public_key",
                *(bit, epoch, public_key),
            )
            if dropped:
                database.change("DELETE FROM published WHERE audience = %s", bit)
        return dropped > 0


def keep_settled(database: PostgresSession, published: Collection[Manifest]) -> None:
    """Forget all that was expected but these, as far as they were. In the transaction of the caller."""
    for one in published:
        of = bit_of(one.audience), bytes.fromhex(one.sha256())
        database.change(
            "DELETE FROM published WHERE audience = %s AND manifest <> %s AND EXISTS"
            " (SELECT FROM published WHERE audience = %s AND manifest = %s)",
            *(of + of),
        )
