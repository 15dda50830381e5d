"""Whose entry in a sidecar may be another since a base was made, so that the others are not sealed again.

A row of `label_changes_KIND` is the key of a member whose token was stored with its label key, or whose label
was set or removed, and the serial of the last time. It holds neither: the publisher finds by the key what is
there now, and an entry that comes out as it was is no change. Rows are written while a partition is logged
(token_log.py) and its search is keyed (pending.py). A search that begins to be keyed gives up the log: so
no base is known of which changes are missing. The row goes with the token: of who left nothing stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from contactsync.identifiers.kinds import KINDS, kind_of_partition
from contactsync.labels import KEYED_BYTES
from contactsync.server.storage.labelling import Outputs, split_outputs
from contactsync.server.storage.records import bit_of
from contactsync.server.storage.token_log import OF, TokenLog, most_changes, slices

# ruff: noqa: S608 - the only text put into a statement is the name of a kind or partition, and a condition

_KEYED: Final = "searches JOIN bases USING (audience, epoch, partition) WHERE keyed = 1 AND partition = ?"


def label_log(kind: str) -> str:
    """The name of a kind's table."""
    return f"label_changes_{kind}"


class LabelLog(TokenLog):
    """The part of a `MemberStore` that knows how its labels changed, as far as it is the same for all."""

    def _within(self, partition: str) -> str:  # noqa: ARG002 - it is one table
        """A condition that goes to a partition's own tokens and labels, where each has its own tables."""
        return ""

    def _logs(self) -> Sequence[str]:
        return *super()._logs(), *map(label_log, KINDS)

    def changed_outputs(self, audience: str, epoch: int, partition: str, state: str) -> Outputs | None:
        """See `LabelStore.changed_outputs`."""
        of = bit_of(audience), epoch, partition
        base = self._base(of, state)
        if base is None or not self._keeps_labels(*of):
            return None
        (serial, count), kind = base, kind_of_partition(partition).name
        since = f"FROM {label_log(kind)} AS c WHERE {OF} AND serial > ?"
        if self._database.one(self._sql(f"SELECT count(*) {since}"), *of, serial) > most_changes(count):
            return None
        # The subqueries are scalar: each key is looked up, and no table is read as a whole for a join.
        within = self._within(partition)
        token = f"SELECT token FROM tokens_{kind} AS t WHERE audience = ? AND epoch = ? {within}"
        label = f"SELECT label FROM labels_{kind} AS l WHERE l.key = c.key {within}"
        rows = self._database.all(
            self._sql(f"SELECT ({token} AND t.key = c.key), ({label}) {since}"), *of[:2], *of, serial
        )
        tokens = [bytes(token) for token, _ in rows if token is not None]
        if any(len(one) != KEYED_BYTES for one in tokens):
            return None
        labels = [bytes(label or b"") for token, label in rows if token is not None]
        return split_outputs(b"".join(tokens), labels)

    def _keeps_labels(self, bit: int, epoch: int, partition: str) -> bool:
        """Whether changes of a partition's labels are kept."""
        query = self._sql(f"SELECT EXISTS (SELECT 1 FROM {_KEYED} AND audience = ? AND epoch = ?)")
        return bool(self._database.one(query, partition, bit, epoch))

    def _log_labels(self, kind: str, partition: str, keys: Sequence[Any]) -> None:
        """Keep that the labels of some keys were set or removed, in the open transaction."""
        if keys:
            query = self._sql(f"SELECT DISTINCT audience, epoch FROM {_KEYED}")
            for bit, epoch in self._database.all(query, partition):
                self._log_entries(kind, (bit, epoch, partition), keys)

    def _log_keyed(self, kind: str, of: tuple[int, int, str], keys: Sequence[Any]) -> None:
        """Keep that tokens of some keys were stored, if labels are published, in the open transaction."""
        if self._keeps_labels(*of):
            self._log_entries(kind, of, keys)

    def _log_entries(self, kind: str, of: tuple[int, int, str], keys: Sequence[Any]) -> None:
        """Keep those of the keys who have a token."""
        bit, epoch, partition = of
        for some, marks in slices(keys):
            insert = (
                f"INSERT INTO {label_log(kind)} (audience, epoch, partition, key, serial) "
                f"SELECT audience, epoch, ?, key, (SELECT serial FROM changes) FROM tokens_{kind} "
                f"WHERE audience = ? AND epoch = ? {self._within(partition)} AND key IN ({marks}) "
                "ON CONFLICT (audience, epoch, partition, key) DO UPDATE SET serial = excluded.serial"
            )
            self._database.change(self._sql(insert), partition, bit, epoch, *some)

    def _forget_entries(self, kind: str, of: tuple[int, int, str], keys: Sequence[Any]) -> None:
        """Keep nothing of keys whose tokens are deleted, in the open transaction."""
        for some, marks in slices(keys):
            delete = f"DELETE FROM {label_log(kind)} WHERE {OF} AND key IN ({marks})"
            self._database.change(self._sql(delete), *of, *some)
