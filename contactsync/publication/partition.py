"""The partitions of a manifest: their members as JSON and back, and what they may say."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from contactsync.directory import DataFile, DirectoryInfo
from contactsync.directory.bounds import base_problem, delta_lengths, has_screen, screen_length
from contactsync.foundation.errors import BadInput
from contactsync.identifiers import Kind, known_partition
from contactsync.publication import canonical
from contactsync.publication.forms import (
    HEX64,
    check_kept,
    critical,
    hexadecimal,
    integer,
    listed,
    open_object,
    refuse,
)
from contactsync.publication.labels import LABELS, Labels, labels_from_json
from contactsync.publication.named_files import (
    MAX_DELTAS,
    DeltaFile,
    chain_from_json,
    file_from_json,
    file_to_json,
)
from contactsync.publication.patches import PATCHES, Patches, take_patches

__all__ = [
    "LABELS",
    "MAX_DELTAS",
    "DeltaFile",
    "Labels",
    "Partition",
    "Patches",
    "UnusablePartition",
    "family_of",
    "partition_from_json",
    "partitions_from_json",
]

MAX_PARTITIONS: Final = 999
MAX_MEMBERS: Final = 1 << 34
"""Of all partitions together: about twice as many as there are telephone numbers in use on earth."""

UNDERSTOOD_IN_PARTITION: Final = frozenset({LABELS, PATCHES})
"""Names that may be critical in a partition."""

_MEMBERS: Final = (
    *("base", "count", "deltas", "edition", "false_positive_rate"),
    *("remainder_bits", "screen", "slot_bits", "top_sha256"),
)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
ALWAYS_ROOM: Final = 10_000
"""Every partition can have so many members: no numbering plan need be loaded to know it."""

_MAX_BITS: Final = 64


@dataclass(frozen=True, slots=True)
class Partition:
    """The tokens of one partition. `edition` is the one in which its base was written, for what it held then.

    What is there now has `patches` on top, if there are any: `members` values, in the edition `reached`.
    `count`, `slot_bits`, `remainder_bits` and `top_sha256` are figures of the base, as in
    docs/directory-format.md.
    `extra` has the members that a newer program added, as JSON values.
    """

    name: str
    edition: int
    count: int
    slot_bits: int
    remainder_bits: int
    top_sha256: str
    base: DataFile
    deltas: tuple[DeltaFile, ...] = ()
    screen: DataFile | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    labels: Labels | None = None
    patches: Patches | None = None

    @classmethod
    def of(
        cls,
        name: str,
        edition: int,
        directory: DirectoryInfo,
        *,
        deltas: tuple[DeltaFile, ...] = (),
        screen: DataFile | None = None,
        labels: Labels | None = None,
    ) -> Self:
        """The partition whose base is this directory."""
        return cls(
            name=name,
            edition=edition,
            count=directory.count,
            slot_bits=directory.slot_bits,
            remainder_bits=directory.remainder_bits,
            top_sha256=directory.top_sha256,
            base=directory.file,
            deltas=deltas,
            screen=screen,
            labels=labels,
        )

    @property
    def members(self) -> int:
        """How many values there are now."""
        return self.count if self.patches is None else self.patches.count

    @property
    def reached(self) -> int:
        """The edition in which the content last changed."""
        return self.edition if self.patches is None else self.patches.edition

    @property
    def patch_files(self) -> tuple[DeltaFile, ...]:
        """Its patches, if it has any."""
        return () if self.patches is None else self.patches.files

    @property
    def state(self) -> str:
        """The name of the content: the SHA-256 of a base without patches, else what these lead to."""
        return self.base.sha256 if self.patches is None else self.patches.state

    @property
    def directory(self) -> DirectoryInfo:
        """What the base must be."""
        return DirectoryInfo(
            count=self.count,
            slot_bits=self.slot_bits,
            remainder_bits=self.remainder_bits,
            top_sha256=self.top_sha256,
            file=self.base,
        )

    @property
    def false_positive_rate(self) -> str:
        """The chance that a stranger matches, to three digits. As text: canonical JSON has no fractions."""
        return f"{self.directory.false_positive_rate:.2e}"

    def to_json(self) -> dict[str, Any]:
        """Its members, those of newer programs included."""
        labels = {} if self.labels is None else {LABELS: self.labels.to_json()}
        patches = {} if self.patches is None else self.patches.to_json()
        return {
            **self.extra,
            **labels,
            **patches,
            "edition": self.edition,
            "count": self.count,
            "false_positive_rate": self.false_positive_rate,
            "slot_bits": self.slot_bits,
            "remainder_bits": self.remainder_bits,
            "top_sha256": self.top_sha256,
            "base": file_to_json(self.base),
            "deltas": [delta.to_json() for delta in self.deltas],
            "screen": None if self.screen is None else file_to_json(self.screen),
        }

    def files(self) -> list[DataFile]:
        """Every data file that the partition names."""
        screen = [self.screen] if self.screen is not None else []
        labels = self.labels.files() if self.labels is not None else []
        patches = [patch.file for patch in self.patch_files]
        return [self.base, *(delta.file for delta in self.deltas), *screen, *labels, *patches]


@dataclass(frozen=True, slots=True)
class UnusablePartition:
    """A partition that this program cannot use. Who is a member there is unknown, which is not "nobody".

    `reason` continues "partition NAME …"; `refusal` is its word, unknown-family or unknown-critical.
    `members` is the partition as JSON, for `Manifest.to_bytes`.
    """

    name: str
    reason: str
    refusal: str
    members: Mapping[str, Any] = field(hash=False)


def family_of(name: str) -> Kind | None:
    """The kind of identifiers in the partition of this name; None if this program does not know it.

    Raises BadReply for what is no name of a partition, and for digits that are no calling code and can become
    none. A code that may be assigned one day is unknown here: nobody can have a contact there on this client.
    """
    if not _NAME.fullmatch(name):
        refuse("has a partition with an invalid name", "bad-value")
    try:
        return known_partition(name)
    except BadInput:
        refuse("has a partition whose name is not a calling code", "bad-value")


def partitions_from_json(
    named: Collection[tuple[str, object]], newest: int, *, judged: bool
) -> tuple[dict[str, Partition], dict[str, UnusablePartition]]:
    """The partitions of an edition, by name: those that can be used, and the others. Raises BadReply.

    `newest` and `judged` as for `partition_from_json`.
    """
    if len(named) > MAX_PARTITIONS:
        refuse(f"has more than {MAX_PARTITIONS} partitions", "too-large")
    read = [partition_from_json(name, value, newest, judged=judged) for name, value in named]
    usable = {p.name: p for p in read if isinstance(p, Partition)}
    if judged and sum(p.members for p in usable.values()) > MAX_MEMBERS:
        refuse(f"states more than {MAX_MEMBERS} members", "too-full")
    return usable, {p.name: p for p in read if isinstance(p, UnusablePartition)}


def partition_from_json(
    name: str, value: object, newest: int, *, judged: bool
) -> Partition | UnusablePartition:
    """The inverse of `to_json`, in a manifest of edition `newest`.

    `judged`: its values must be ones that a builder produces. Raises BadReply.
    """
    family, where = family_of(name), f"partition {name}"
    if not isinstance(value, dict):
        refuse(f"has no valid {where}", "bad-value")
    alien = critical(value, _MEMBERS, where) - UNDERSTOOD_IN_PARTITION
    if family is None or alien:
        check_kept(value, where)
        if family is None:
            reason = "is of a kind or country unknown to this program"
            return UnusablePartition(name, reason, "unknown-family", value)
        reason = f"needs {listed(alien)}, which this program does not support"
        return UnusablePartition(name, reason, "unknown-critical", value)
    members, extra = open_object(value, _MEMBERS, where)
    edition = integer(members["edition"], 1, newest, f"edition of {where}")
    screen = members["screen"]
    partition = Partition(
        name=name,
        edition=edition,
        count=integer(members["count"], 1, canonical.MAX_NUMBER, f"count of {where}"),
        slot_bits=integer(members["slot_bits"], 0, _MAX_BITS, f"slot_bits of {where}"),
        remainder_bits=integer(members["remainder_bits"], 0, _MAX_BITS, f"remainder_bits of {where}"),
        top_sha256=hexadecimal(members["top_sha256"], HEX64, f"top_sha256 of {where}"),
        base=file_from_json(members["base"], where),
        deltas=chain_from_json(members["deltas"], edition, newest, where),
        screen=None if screen is None else file_from_json(screen, where),
        extra=extra,
    )
    if judged:
        _check_figures(partition, where)
        partition = _with_patches(partition, newest, where)
        if LABELS in partition.extra:
            partition = _with_labels(partition, newest, where)
        _check_room(partition, where)
    if members["false_positive_rate"] != partition.false_positive_rate:
        refuse(f"has a wrong false_positive_rate in {where}", "malformed")
    return partition


def _with_patches(partition: Partition, newest: int, where: str) -> Partition:
    """The partition with its patches read from what was not known in format 1."""
    extra = dict(partition.extra)
    patches = take_patches(extra, partition.directory, partition.edition, newest, where)
    if patches is None:
        return partition
    if LABELS in extra:
        refuse(f"has labels and patches in {where}", "malformed")
    return replace(partition, patches=patches, extra=extra)


def _with_labels(partition: Partition, newest: int, where: str) -> Partition:
    """The partition with its labels read from what was not known in format 1."""
    extra = dict(partition.extra)
    labels = labels_from_json(
        extra.pop(LABELS),
        partition_edition=partition.edition,
        newest=newest,
        count=partition.count,
        slot_bits=partition.slot_bits,
        where=where,
    )
    return replace(partition, labels=labels, extra=extra)


def _check_figures(partition: Partition, where: str) -> None:
    """Refuse what no builder can have made of any members: bits, lengths, screens and counts."""
    info, count = partition.directory, partition.count
    if problem := base_problem(info):
        refuse(f"has impossible values in {where} ({problem[0]})", problem[1])
    for place, delta in enumerate(partition.deltas, 1):
        if delta.file.length not in delta_lengths(info, last=place == len(partition.deltas)):
            refuse(f"has a delta with an impossible length in {where}", "out-of-range")
    if (partition.screen is not None) != has_screen(count):
        has = "no screen" if partition.screen is None else "a screen"
        refuse(f"has {has} for {count} tokens in {where}", "out-of-range")
    if partition.screen is not None and partition.screen.length != screen_length(count):
        refuse(f"has a screen with an impossible length in {where}", "out-of-range")


def _check_room(partition: Partition, where: str) -> None:
    kind, count = family_of(partition.name), max(partition.count, partition.members)
    if kind is not None and count > ALWAYS_ROOM and count > kind.capacity(partition.name):
        refuse(f"states more members in {where} than are possible", "too-full")
