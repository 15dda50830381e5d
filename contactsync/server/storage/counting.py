"""How many members an audience has, known without counting them.

A row of `counts` is right after every transaction. Where there is none yet, after an upgrade or when a store
was moved, members are counted, until a publish keeps the number.
"""

from __future__ import annotations

from typing import Final

from contactsync.foundation.audiences import AUDIENCES
from contactsync.identifiers.kinds import KINDS
from contactsync.server.storage.records import bit_of
from contactsync.server.storage.statements import Statements, StoreDatabase

COUNTS_SCHEMA: Final = """
-- How many members an audience has (storage/counting.py).
CREATE TABLE counts (audience INTEGER PRIMARY KEY, members BIGINT NOT NULL)"""


class Counts(Statements):
    """The part of a `MemberStore` that counts."""

    _database: StoreDatabase

    def count(self, audience: str) -> int:
        """See `MemberStore.count`."""
        found = self._kept(bit_of(audience))
        return self._counted(bit_of(audience)) if found is None else found

    def _kept(self, bit: int) -> int | None:
        rows = self._database.all(self._sql("SELECT members FROM counts WHERE audience = ?"), bit)
        return int(rows[0][0]) if rows else None

    def _counted(self, bit: int) -> int:
        sql = "SELECT count(*) FROM members_{} WHERE audiences & {:d} <> 0"
        return sum(int(self._database.one(sql.format(kind, bit))) for kind in KINDS)

    def _keep_counts(self) -> None:
        """Keep all numbers from now on. In a transaction that writes; O(members) for those that are not."""
        for bit in map(bit_of, AUDIENCES):
            if self._kept(bit) is None:
                self._database.change(self._sql("INSERT INTO counts VALUES (?, ?)"), bit, self._counted(bit))

    def _count_more(self, bit: int, more: int) -> None:
        """Note, in the open transaction, that an audience has so many members more; less if negative."""
        if more:
            self._database.change(
                self._sql("UPDATE counts SET members = members + ? WHERE audience = ?"), more, bit
            )
