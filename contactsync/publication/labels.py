"""The labels of a partition in a manifest: its member `labels`, which names the sidecar and its deltas.

Programs that do not know the member ignore it. docs/http-api.md ("The labels") is the text this follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

from contactsync.directory import DataFile
from contactsync.directory.bounds import sidecar_delta_lengths, sidecar_length
from contactsync.directory.sidecar_format import MOST_ENTRIES, SidecarInfo
from contactsync.labels import SIZES
from contactsync.publication.forms import HEX64, closed_object, hexadecimal, integer, refuse
from contactsync.publication.named_files import DeltaFile, chain_from_json, file_from_json, file_to_json

LABELS: Final = "labels"
_MEMBERS: Final = ("deltas", "edition", "file", "size", "top_sha256")


class Figures(Protocol):
    """What a partition or its base say, as far as a sidecar depends on it."""

    @property
    def count(self) -> int:
        """Values."""

    @property
    def slot_bits(self) -> int:
        """Slot bits of the base."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The sidecar of a partition. `edition` is the one in which it last changed: it has its own deltas.

    `size` is the octets to which labels are filled up; `top_sha256` is a figure of the sidecar, as in
    docs/directory-format.md.
    """

    edition: int
    size: int
    top_sha256: str
    file: DataFile
    deltas: tuple[DeltaFile, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The member of the partition."""
        return {
            "edition": self.edition,
            "size": self.size,
            "top_sha256": self.top_sha256,
            "file": file_to_json(self.file),
            "deltas": [delta.to_json() for delta in self.deltas],
        }

    def files(self) -> list[DataFile]:
        """The sidecar and its deltas."""
        return [self.file, *(delta.file for delta in self.deltas)]

    def info(self, of: Figures) -> SidecarInfo:
        """What the sidecar of this partition must be."""
        return SidecarInfo(of.count, self.size, of.slot_bits, self.top_sha256, self.file)


def labels_from_json(
    value: object, *, partition_edition: int, newest: int, count: int, slot_bits: int, where: str
) -> Labels:
    """The inverse of `to_json`, in a partition of these figures of a manifest of edition `newest`.

    Its values must be ones that a builder produces. Raises BadReply.
    """
    where = f"labels of {where}"
    members = closed_object(value, _MEMBERS, where)
    edition = integer(members["edition"], 1, newest, f"edition of {where}")
    if edition < partition_edition:  # each change of the tokens changes the order of the entries
        refuse(f"has {where} that are older than its tokens", "malformed")
    size = members["size"]
    if integer(size, 1, max(SIZES), f"size of {where}") not in SIZES:
        refuse(f"has no valid size of {where}", "bad-value")
    labels = Labels(
        edition=edition,
        size=size,
        top_sha256=hexadecimal(members["top_sha256"], HEX64, f"top_sha256 of {where}"),
        file=file_from_json(members["file"], where),
        deltas=chain_from_json(members["deltas"], edition, newest, where),
    )
    if count > MOST_ENTRIES:
        refuse(f"has {where} for {count} tokens, which are too many", "out-of-range")
    if labels.file.length != sidecar_length(count, size, slot_bits):
        refuse(f"has a sidecar with an impossible length in {where}", "out-of-range")
    for place, delta in enumerate(labels.deltas, 1):
        last = place == len(labels.deltas)
        if delta.file.length not in sidecar_delta_lengths(count, size, slot_bits, last=last):
            refuse(f"has a delta with an impossible length in {where}", "out-of-range")
    return labels
