"""The manifest: the signed statement that ties audience, epoch, public key, partitions and files together.

Its bytes are canonical JSON without any time in them, so the same members, key and history give the same
bytes, and two observers can compare what they were shown by one hash. docs/http-api.md has the members.

A newer server may add members. What is unknown is kept, and written again by `to_bytes`; what must not be
ignored is named in a member `critical`: a program that does not know it does not use the object. Known
members may only state what a builder can have produced (directory/bounds.py), so that nothing is planned,
priced or recommended from invented values. Partitions are in partition.py, forms of members in forms.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from contactsync.directory import DataFile
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadReply
from contactsync.publication import canonical
from contactsync.publication.announced import NEXT, NextEpoch
from contactsync.publication.forms import HEX64, critical, hexadecimal, integer, listed, open_object, refuse
from contactsync.publication.partition import (
    MAX_DELTAS,
    DeltaFile,
    Labels,
    Partition,
    UnusablePartition,
    family_of,
    partitions_from_json,
)
from contactsync.publication.rows import ROW_MEMBERS, PublishedRows, has_later_rows, take_rows

__all__ = [
    "AUDIENCES",
    "MAX_BYTES",
    "MAX_DELTAS",
    "DataFile",
    "DeltaFile",
    "Labels",
    "Manifest",
    "NextEpoch",
    "Partition",
    "PublishedRows",
    "UnusablePartition",
    "family_of",
]

FORMAT: Final = "contactsync-manifest-2"
EARLIER: Final = "contactsync-manifest-1"
SUITE: Final = "ristretto255-SHA512"
MAX_BYTES: Final = 8 << 20  # 230 calling codes with 32 deltas each are about 2 MB

UNDERSTOOD: Final[frozenset[str]] = frozenset()
"""Names that may be critical in a manifest."""

_MEMBERS: Final = (
    *("audience", "edition", "epoch", "format", "normalisation"),
    *("partitions", "previous", "public_key", "suite"),
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One published state of one audience.

    `public_key` is the 32-byte encoding of pkS (RFC 9497), `normalisation` the profile of identifiers/,
    `previous` the SHA-256 of the manifest before this one (None in the very first).

    `partitions` are those that this program can use, `unknown` those that it cannot: contacts who may be
    members of one of these must be left out of a match, and the user be told. `extra` has the members that a
    newer program added, as JSON values. `format` is FORMAT, or EARLIER for one that only continues a history.
    `next` is what is announced of the next epoch, while it overlaps with this one. `rows` are those of all
    partitions of this one, if it has any; None too where some of these are `unknown`: then nothing can be
    looked up in them, and they stay in `extra`.
    """

    audience: str
    epoch: int
    edition: int
    public_key: bytes
    normalisation: int
    partitions: Mapping[str, Partition]
    previous: str | None
    unknown: Mapping[str, UnusablePartition] = field(default_factory=dict, hash=False)
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    format: str = FORMAT
    next: NextEpoch | None = None
    rows: PublishedRows | None = None

    @property
    def is_current(self) -> bool:
        """Whether its files are of the formats that this program writes and reads."""
        return self.format == FORMAT

    @property
    def is_understood(self) -> bool:
        """Whether this program knows all that is in it; if not, it must not publish the next one."""
        unknown = self.unknown or (self.next and self.next.unknown)
        return not (self.extra or unknown or any(partition.extra for partition in self.all_partitions()))

    @property
    def count(self) -> int:
        """Tokens in all partitions of the epoch that can be used."""
        return sum(partition.members for partition in self.partitions.values())

    @property
    def has_labels(self) -> bool:
        """Whether any partition of the epoch has labels."""
        return any(partition.labels is not None for partition in self.partitions.values())

    @property
    def has_later_rows(self) -> bool:
        """Whether it states rows in a form that this program does not know."""
        return self.rows is None and has_later_rows(self.extra)

    @property
    def has_labelled_rows(self) -> bool:
        """Whether it has rows for private look-up, and labels come with them."""
        return self.rows is not None and self.rows.labelled

    def all_partitions(self) -> Iterator[Partition]:
        """The partitions that can be used, those of the next epoch included."""
        yield from self.partitions.values()
        if self.next is not None:
            yield from self.next.partitions.values()

    def files(self) -> dict[str, DataFile]:
        """Every data file of the partitions that can be used and of the rows, by its SHA-256."""
        rows = [] if self.rows is None else [self.rows.level]
        named = [file for partition in self.all_partitions() for file in partition.files()]
        return {file.sha256: file for file in (*named, *rows)}

    def ahead(self) -> Manifest | None:
        """The next epoch as if it had begun; None if none is announced.

        It has the editions of the announcement, no rows, and no place in the history: it is never published.
        """
        if (after := self.next) is None:
            return None
        return replace(
            self,
            epoch=after.epoch,
            edition=after.edition,
            public_key=after.public_key,
            partitions=after.partitions,
            unknown=after.unknown,
            previous=None,
            next=None,
            rows=None,
        )

    def to_bytes(self) -> bytes:
        """The canonical form (`publication.canonical`), unknown members included."""
        partitions: dict[str, Any] = {name: p.members for name, p in self.unknown.items()}
        partitions |= {name: p.to_json() for name, p in self.partitions.items()}
        value = {
            **self.extra,
            "format": self.format,
            "suite": SUITE,
            "audience": self.audience,
            "epoch": self.epoch,
            "edition": self.edition,
            "public_key": self.public_key.hex(),
            "normalisation": self.normalisation,
            "previous": self.previous,
            "partitions": partitions,
        }
        if self.next is not None:
            value[NEXT] = self.next.to_json()
        if self.rows is not None:
            value[self.rows.member] = self.rows.to_json()
        return canonical.encode(value)

    def sha256(self) -> str:
        """The hash that the next manifest names as `previous`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes, *, earlier: bool = False) -> Manifest:
        """The strict inverse of `to_bytes`.

        With `earlier`, a manifest that version 1 wrote is accepted too, to continue or compare a history:
        what it states about its files is not checked, and it must not be used for a match.

        Raises BadReply for anything that is not byte for byte the canonical form of a valid manifest, for one
        that says what no builder can have made, and for one that needs something to be understood that this
        program does not know.
        """
        if len(data) > MAX_BYTES:
            refuse(f"is larger than {MAX_BYTES} bytes", "too-large")
        try:
            value = canonical.decode(data)
        except ValueError:
            refuse("is not ASCII JSON with integers only", "not-json")
        manifest = cls._from_json(value, {FORMAT, EARLIER} if earlier else {FORMAT})
        # One comparison for sorted keys, plain integers, lower-case hex and no key said twice.
        if manifest.to_bytes() != data:
            refuse("is not in canonical form", "not-canonical")
        return manifest

    @classmethod
    def _from_json(cls, value: object, formats: Collection[str]) -> Manifest:
        value, found = _of_format(value, formats)
        members, extra = open_object(value, _MEMBERS, "manifest")
        announced = [extra.pop(NEXT)] if found == FORMAT and NEXT in extra else []
        if alien := critical(extra, _MEMBERS, "manifest") - UNDERSTOOD:
            refuse(f"needs {listed(alien)}; this program may be too old", "unknown-critical")
        if members["suite"] != SUITE:
            refuse("names another cipher suite; this program may be too old", "unknown-suite")
        if members["audience"] not in AUDIENCES:
            refuse("names an unknown audience", "bad-value")
        partitions = members["partitions"]
        if not isinstance(partitions, dict):
            refuse("has no valid list of partitions", "bad-value")
        edition = integer(members["edition"], 1, canonical.MAX_NUMBER, "edition")
        previous = members["previous"]
        judged = found == FORMAT
        usable, unknown = partitions_from_json(partitions.items(), edition, judged=judged)
        epoch = integer(members["epoch"], 1, canonical.MAX_NUMBER, "epoch")
        rows = take_rows(extra, usable, usable=judged and not unknown)
        manifest = cls(
            audience=members["audience"],
            epoch=epoch,
            edition=edition,
            public_key=bytes.fromhex(hexadecimal(members["public_key"], HEX64, "public_key")),
            normalisation=integer(members["normalisation"], 1, canonical.MAX_NUMBER, "normalisation"),
            partitions=usable,
            previous=None if previous is None else hexadecimal(previous, HEX64, "previous"),
            unknown=unknown,
            extra=extra,
            format=found,
            next=NextEpoch.from_json(announced[0], epoch) if announced else None,
            rows=rows,
        )
        if judged:
            manifest._check_files()
        return manifest

    def _check_files(self) -> None:
        files = {file for partition in self.all_partitions() for file in partition.files()}
        if self.rows is not None:
            files.add(self.rows.level)
        has_rows = self.rows is not None or not self.extra.keys().isdisjoint(ROW_MEMBERS)
        if has_rows and any(one.patches is not None for one in self.partitions.values()):
            refuse("has rows, and partitions with patches, which rows do not have", "malformed")
        if len(files) != len({file.sha256 for file in files}):
            refuse("describes the same file in two ways", "malformed")


def _of_format(value: object, formats: Collection[str]) -> tuple[dict[str, Any], str]:
    """The manifest as JSON, and its format.

    What tells whether the rest can be judged comes first: another format may have other members.
    """
    if not isinstance(value, dict) or "format" not in value:
        refuse("has no format", "wrong-members")
    found = value["format"]
    if found == EARLIER and found not in formats:
        raise BadReply(
            "the manifest was published by an earlier version of contactsync, which is no longer supported",
            hint="ask the operator to update the server and publish again",
            refusal="unknown-version",
        )
    if not isinstance(found, str) or found not in formats:
        refuse("has an unknown format; this program may be too old", "unknown-version")
    return value, found
