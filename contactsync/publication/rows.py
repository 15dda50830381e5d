"""The rows of an edition in a manifest: its member `rows`, from which contacts are looked up privately.

It names the level of the tree over them, a data file, whose SHA-256 is the root. The rows themselves are no
data file: whoever has the bases makes them. Programs that do not know the member ignore it. docs/http-api.md
("The rows") is the text this follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from contactsync.directory import DataFile
from contactsync.foundation.errors import BadDirectory
from contactsync.lookup.rows import MAX_ROW_COUNT
from contactsync.lookup.table import RowTable
from contactsync.publication.forms import closed_object, integer, refuse
from contactsync.publication.named_files import file_from_json, file_to_json

if TYPE_CHECKING:
    from contactsync.publication.partition import Partition

ROWS: Final = "rows"
_MEMBERS: Final = ("level", "most")


@dataclass(frozen=True, slots=True)
class PublishedRows:
    """The rows of all partitions of an edition, in one table.

    `level` is the file of the level; its `sha256` is the root. `most` is how many values the largest row has.
    """

    level: DataFile
    most: int

    @property
    def root(self) -> bytes:
        """What binds all rows, 32 octets."""
        return bytes.fromhex(self.level.sha256)

    def table(self, partitions: Mapping[str, Partition]) -> RowTable:
        """Where the rows of these partitions, all of the edition's epoch, stand.

        Raises BadDirectory if such partitions have no such rows; never for those of a manifest that was read.
        """
        return RowTable.of({name: one.directory for name, one in partitions.items()}, self.most)

    def to_json(self) -> dict[str, Any]:
        """The member of the manifest."""
        return {"level": file_to_json(self.level), "most": self.most}


@dataclass(frozen=True, slots=True)
class RowFigures:
    """The size of a table: `count` rows, which take `bytes` at each server, and the octets of the `level`."""

    count: int
    bytes: int
    level: int

    @classmethod
    def of(cls, rows: PublishedRows | None, partitions: Mapping[str, Partition]) -> Self | None:
        """Those of an edition; None if it has no rows."""
        if rows is None:
            return None
        table = rows.table(partitions)
        return cls(table.total, table.total * table.width, rows.level.length)


def rows_from_json(value: object, partitions: Mapping[str, Partition]) -> PublishedRows:
    """The inverse of `to_json`, in a manifest of these partitions, which are all that it has.

    Its values must be ones that a builder produces. Raises BadReply.
    """
    members = closed_object(value, _MEMBERS, ROWS)
    rows = PublishedRows(
        level=file_from_json(members["level"], ROWS),
        most=integer(members["most"], 0, MAX_ROW_COUNT, f"most of {ROWS}"),
    )
    try:
        table = rows.table(partitions)
    except BadDirectory:
        refuse("has rows that such partitions cannot have", "out-of-range")
    if rows.level.length != table.level_bytes:
        refuse("has a level of rows with an impossible length", "out-of-range")
    return rows
