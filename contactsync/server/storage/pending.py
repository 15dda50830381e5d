"""Members without a token, found by what has changed and not by a search of all members.

A row of `searches` stands for a search of one partition for members without a token of an epoch. From its
beginning on, whoever joins the partition is pending as well, in `pending_KIND`, until they have a token or
leave. When everybody who was found has their token, the search has *ended*: nobody but who is pending can be
without a token then, and the next publish reads nothing else.

A search that a killed publish began is made again as a whole; it finds those who are left. `keyed` says of a
search that a token counts only with its label key. Rows go with the tokens of their epoch, and are not moved
to another store: there, the next publish searches once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.records import bit_of
from contactsync.server.storage.statements import Statements, StoreDatabase

if TYPE_CHECKING:
    from contactsync.identifiers.kinds import Keys

# ruff: noqa: S608 - the only text put into a statement is the name of a kind, and integers


class PendingMembers(Statements):
    """The part of a `MemberStore` that knows who is pending, as far as it is the same for all databases."""

    _database: StoreDatabase

    def _note_pending(self, kind: str, partition: str, keys: Keys, bit: int) -> None:
        """Make members who have just joined an audience pending, in each epoch that was searched for."""
        raise NotImplementedError

    def _give_up_log(self, bit: int, epoch: int, partition: str) -> None:
        """Keep nothing of how the tokens and labels of a partition change (token_log.py)."""
        raise NotImplementedError

    def _delete_tokens(self, bit: int, epochs: range) -> int:
        """Delete an audience's tokens of some epochs, and leave traces of that; how many there were."""
        raise NotImplementedError

    def begin_search(self, audience: str, epoch: int, partition: str, *, keyed: bool = False) -> None:
        """See `TokenStore.begin_search`."""
        found = self._search(bit_of(audience), epoch, partition)
        if found is not None:
            was_keyed, ended = found
            if was_keyed == keyed or (was_keyed and ended):
                return
        with self._database.transaction():
            # Labels begin or end, and not all of it was kept: the next base is made of all tokens.
            self._give_up_log(bit_of(audience), epoch, partition)
            self._database.change(
                self._sql(
                    "INSERT INTO searches VALUES (?, ?, ?, ?, 0) ON CONFLICT (audience, epoch, partition) "
                    "DO UPDATE SET keyed = excluded.keyed, ended = 0"
                ),
                *(bit_of(audience), epoch, partition, int(keyed)),
            )

    def end_search(self, audience: str, epoch: int, searched: Mapping[str, bool]) -> None:
        """See `TokenStore.end_search`."""
        query = self._sql(
            "SELECT partition, keyed FROM searches WHERE audience = ? AND epoch = ? AND ended = 0"
        )
        ended = [
            name
            for name, keyed in self._database.all(query, bit_of(audience), epoch)
            if searched.get(name) == bool(keyed)
        ]
        if not ended:
            return
        end = self._sql("UPDATE searches SET ended = 1 WHERE audience = ? AND epoch = ? AND partition = ?")
        with self._database.transaction():
            for name in ended:
                self._database.change(end, bit_of(audience), epoch, name)

    def _search(self, bit: int, epoch: int, partition: str) -> tuple[bool, bool] | None:
        """Whether a search was keyed, and has ended; None: there was none."""
        query = self._sql(
            "SELECT keyed, ended FROM searches WHERE audience = ? AND epoch = ? AND partition = ?"
        )
        rows = self._database.all(query, bit, epoch, partition)
        return (bool(rows[0][0]), bool(rows[0][1])) if rows else None

    def _is_searched(self, bit: int, epoch: int, partition: str, *, keyed: bool) -> bool:
        """Whether all who have no token of an epoch (or none with its label key) are pending."""
        found = self._search(bit, epoch, partition)
        return found is not None and found[1] and found[0] >= keyed

    def _epochs_searched(self, bit: int, partition: str) -> list[int]:
        """The epochs in which who joins a partition is pending."""
        query = self._sql("SELECT epoch FROM searches WHERE audience = ? AND partition = ?")
        return [int(epoch) for (epoch,) in self._database.all(query, bit, partition)]

    def _note_without_keys(self, bit: int, epoch: int, partitions: Sequence[str]) -> None:
        """Note that tokens are stored without their label keys: no search can have been keyed."""
        for name in partitions:
            if (found := self._search(bit, epoch, name)) is not None and found[0]:
                self._database.change(
                    self._sql(
                        "UPDATE searches SET keyed = 0 WHERE audience = ? AND epoch = ? AND partition = ?"
                    ),
                    *(bit, epoch, name),
                )

    def _drop_epochs(self, bit: int, epochs: range) -> int:
        """Delete an audience's tokens of some epochs, and who was pending; how many tokens there were."""
        which = "audience = ? AND epoch >= ? AND epoch < ?"
        of = bit, epochs.start, epochs.stop
        if self._database.change(self._sql(f"DELETE FROM searches WHERE {which}"), *of):
            for kind in KINDS:
                self._database.change(self._sql(f"DELETE FROM pending_{kind} WHERE {which}"), *of)
        return self._delete_tokens(bit, epochs)
