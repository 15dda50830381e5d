"""Data files as a manifest names them: one file, and a chain of deltas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from contactsync.directory import DataFile
from contactsync.publication import canonical
from contactsync.publication.forms import HEX16, HEX64, closed_object, hexadecimal, integer, refuse

MAX_DELTAS: Final = 32


@dataclass(frozen=True, slots=True)
class DeltaFile:
    """What changed in a partition, or in its labels, between two editions of it."""

    from_edition: int
    to_edition: int
    file: DataFile

    def to_json(self) -> dict[str, Any]:
        """An element of a list of deltas."""
        return {"from": self.from_edition, "to": self.to_edition, "file": file_to_json(self.file)}


def file_to_json(file: DataFile) -> dict[str, Any]:
    """A file as a member of a manifest."""
    return {"sha256": file.sha256, "length": file.length, "xxh3_64": file.xxh3_64}


def file_from_json(value: object, where: str) -> DataFile:
    """The inverse of `file_to_json`. Raises BadReply."""
    members = closed_object(value, ("length", "sha256", "xxh3_64"), f"file of {where}")
    return DataFile(
        sha256=hexadecimal(members["sha256"], HEX64, f"hash in {where}"),
        length=integer(members["length"], 1, canonical.MAX_NUMBER, f"length in {where}"),
        xxh3_64=hexadecimal(members["xxh3_64"], HEX16, f"xxh3_64 in {where}"),
    )


def chain_from_json(
    deltas: object, edition: int, newest: int, where: str, *, most: int = MAX_DELTAS
) -> tuple[DeltaFile, ...]:
    """A list of deltas, each of which continues the one before it, up to `edition`. Raises BadReply."""
    if not isinstance(deltas, list) or len(deltas) > most:
        refuse(f"has no valid list of deltas in {where}", "bad-value")
    chain = tuple(_delta_from_json(delta, newest, where) for delta in deltas)
    ends = [delta.to_edition for delta in chain]
    if ends and ([delta.from_edition for delta in chain[1:]] != ends[:-1] or ends[-1] != edition):
        refuse(f"has a broken chain of deltas in {where}", "malformed")
    return chain


def _delta_from_json(value: object, newest: int, where: str) -> DeltaFile:
    members = closed_object(value, ("file", "from", "to"), f"delta of {where}")
    end = integer(members["to"], 2, newest, f"delta of {where}")
    start = integer(members["from"], 1, end - 1, f"delta of {where}")
    return DeltaFile(start, end, file_from_json(members["file"], where))
