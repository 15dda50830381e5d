"""Labels in the schema `contactsync_members`: how the register reads them, beside their tokens."""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping

from contactsync.identifiers.kinds import KINDS, kind_of_partition
from contactsync.labels import KEYED_BYTES
from contactsync.server.storage.labelling import Outputs, split_outputs, without_keys
from contactsync.server.storage.membership import CHUNK
from contactsync.server.storage.postgres.database import PostgresSession
from contactsync.server.storage.records import bit_of

# ruff: noqa: S608 - the only text put into a statement is the name of a kind or partition, and integers


class SchemaLabels:
    """A `LabelStore` but for what changes labels, as the part of a register."""

    _database: PostgresSession

    def outputs(self, audience: str, epoch: int, partition: str) -> Generator[Outputs, None, None]:
        """See `LabelStore.outputs`."""
        kind, bit, after = kind_of_partition(partition).name, bit_of(audience), None
        while True:
            beyond, values = ("", ()) if after is None else ("AND key > %s", (after,))
            ((octets, labels, bare, after),) = self._database.all(
                "SELECT string_agg(token, ''::bytea), array_agg(coalesce(label, ''::bytea)), "
                f"count(*) FILTER (WHERE octet_length(token) <> {KEYED_BYTES:d}), "
                "(array_agg(key))[count(*)] FROM "
                f"(SELECT key, token, label FROM (SELECT key, token FROM tokens_{kind} "
                f"WHERE partition = %s AND audience = {bit:d} AND epoch = {epoch:d} {beyond} "
                f"ORDER BY key LIMIT {CHUNK:d}) AS rows "
                f"LEFT JOIN (SELECT key, label FROM labels_{kind} WHERE partition = %s {beyond}) AS labels "
                "USING (key) ORDER BY key) AS page",
                *(partition, *values, partition, *values),
                binary=True,
            )
            if octets is None:
                return
            if bare:
                raise without_keys(bare, partition)
            yield split_outputs(octets, labels)

    def labelled(self, audience: str, partitions: Collection[str] | None = None) -> Mapping[str, int]:
        """See `LabelStore.labelled`."""
        found: dict[str, int] = {}
        some, values = ("", ()) if partitions is None else ("AND partition = ANY (%s)", ([*partitions],))
        for kind in KINDS:
            rows = self._database.all(
                f"SELECT partition, max(octet_length(label)) FROM labels_{kind} "
                f"JOIN members_{kind} USING (partition, key) "
                f"WHERE audiences & {bit_of(audience):d} <> 0 {some} GROUP BY partition",
                *values,
            )
            found.update((name, int(longest)) for name, longest in rows)
        return found

    def with_labels(self, audience: str, partitions: Collection[str]) -> Collection[str]:
        """See `LabelStore.with_labels`."""
        return {name for name in partitions if self._has_labels(kind_of_partition(name).name, name, audience)}

    def _has_labels(self, kind: str, partition: str, audience: str) -> bool:
        # The subquery is scalar: as a join it would read all members.
        member = (
            f"SELECT audiences & {bit_of(audience):d} <> 0 FROM members_{kind} AS m "
            f"WHERE m.partition = %s AND m.key = l.key LIMIT 1"
        )
        some = f"SELECT FROM labels_{kind} AS l WHERE l.partition = %s AND ({member})"
        return bool(self._database.one(f"SELECT EXISTS ({some})", partition, partition))

    def _within(self, partition: str) -> str:
        """See `LabelLog`."""
        return f"AND partition = '{partition}'"
