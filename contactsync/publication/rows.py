"""The rows of an edition in a manifest: its member `rows`, from which contacts are looked up privately.

Rows that have labels are in the member `labelled_rows` instead, and those of a large table, which stand in
blocks, in `folded_rows`: who knows only the first ignores them.

It names the level of the tree over them, a data file, whose SHA-256 is the root. The rows themselves are no
data file: whoever has bases and sidecars makes them. Programs that do not know a member ignore it.
docs/http-api.md ("The rows") is the text this follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from contactsync.directory import DataFile, DirectoryInfo
from contactsync.directory.sidecar_format import SidecarInfo
from contactsync.foundation.errors import BadDirectory
from contactsync.lookup.batch import MAX_FOLD_BITS
from contactsync.lookup.rows import MAX_ROW_COUNT
from contactsync.lookup.table import RowTable
from contactsync.publication.forms import closed_object, integer, refuse
from contactsync.publication.named_files import file_from_json, file_to_json

if TYPE_CHECKING:
    from contactsync.publication.partition import Partition

ROWS: Final = "rows"
LABELLED_ROWS: Final = "labelled_rows"
FOLDED_ROWS: Final = "folded_rows"
_MEMBERS: Final = ("level", "most")
ROW_MEMBERS: Final = (ROWS, LABELLED_ROWS, FOLDED_ROWS)
_FOLDED_MEMBERS: Final = ("fold", "labels", "level", "most")


@dataclass(frozen=True, slots=True)
class PublishedRows:
    """The rows of all partitions of an edition, in one table.

    `level` is the file of the level; its `sha256` is the root. `most` is how many values the largest row has.
    If they are `labelled`, they have the labels of each partition that has some. They stand in blocks of
    2^fold_bits.
    """

    level: DataFile
    most: int
    labelled: bool = False
    fold_bits: int = 0

    @property
    def member(self) -> str:
        """The member of the manifest that states them."""
        if self.fold_bits:
            return FOLDED_ROWS
        return LABELLED_ROWS if self.labelled else ROWS

    @property
    def root(self) -> bytes:
        """What binds all rows, 32 octets."""
        return bytes.fromhex(self.level.sha256)

    def table(self, partitions: Mapping[str, Partition]) -> RowTable:
        """Where the rows of these partitions, all of the edition's epoch, stand.

        Raises BadDirectory if such partitions have no such rows; never for those of a manifest that was read.
        """
        sources = sources_of(partitions, labelled=self.labelled)
        bases = {name: base for name, (base, _) in sources.items()}
        entry_bytes = {name: one.layout.entry_bytes for name, (_, one) in sources.items() if one is not None}
        return RowTable.of(bases, self.most, entry_bytes, self.fold_bits)

    def to_json(self) -> dict[str, Any]:
        """The member of the manifest."""
        stated = {"level": file_to_json(self.level), "most": self.most}
        return {"fold": self.fold_bits, "labels": self.labelled, **stated} if self.fold_bits else stated


def sources_of(
    partitions: Mapping[str, Partition], *, labelled: bool
) -> dict[str, tuple[DirectoryInfo, SidecarInfo | None]]:
    """What rows are made from: the base of each partition, and if they are `labelled` its sidecar, if any."""
    return {
        name: (one.directory, one.labels.info(one) if labelled and one.labels is not None else None)
        for name, one in partitions.items()
    }


def source_files(partitions: Mapping[str, Partition], *, labelled: bool) -> set[str]:
    """The SHA-256 of the files that rows are made from."""
    sources = sources_of(partitions, labelled=labelled).values()
    return {info.file.sha256 for pair in sources for info in pair if info is not None}


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
        return cls(table.total, table.file_bytes, rows.level.length)


def has_later_rows(members: Iterable[str]) -> bool:
    """Whether there are rows of a later form among the members of a manifest that were not understood.

    Names of forms end alike, so that who does not know one can say what it lacks.
    """
    return any(name.endswith("_rows") and name not in ROW_MEMBERS for name in members)


def take_rows(
    members: dict[str, Any], partitions: Mapping[str, Partition], *, usable: bool
) -> PublishedRows | None:
    """Take the rows out of the optional members of a manifest of these partitions; None if it has none.

    If they are not `usable` (a partition is unknown, so that nobody knows where rows stand), they stay where
    they are. Their values must be ones that a builder produces. Raises BadReply.
    """
    there = [name for name in ROW_MEMBERS if name in members]
    if not there or not usable:
        return None
    if len(there) > 1:
        refuse(f"has rows twice, as {there[0]} and {there[1]}", "malformed")
    return _from_json(members.pop(there[0]), partitions, there[0])


def _from_json(value: object, partitions: Mapping[str, Partition], name: str) -> PublishedRows:
    folded = name == FOLDED_ROWS
    members = closed_object(value, _FOLDED_MEMBERS if folded else _MEMBERS, name)
    labelled = members["labels"] if folded else name == LABELLED_ROWS
    if not isinstance(labelled, bool):
        refuse(f"has labels of {name} that are neither true nor false", "malformed")
    rows = PublishedRows(
        level=file_from_json(members["level"], name),
        most=integer(members["most"], 0, MAX_ROW_COUNT, f"most of {name}"),
        labelled=labelled,
        fold_bits=integer(members["fold"], 1, MAX_FOLD_BITS, f"fold of {name}") if folded else 0,
    )
    if rows.labelled and all(one.labels is None for one in partitions.values()):
        refuse("has rows with labels of partitions without any", "malformed")
    try:
        table = rows.table(partitions)
    except BadDirectory:
        refuse("has rows that such partitions cannot have", "out-of-range")
    if rows.level.length != table.level_bytes:
        refuse("has a level of rows with an impossible length", "out-of-range")
    return rows
