"""The manifest: the signed statement that ties audience, epoch, public key, partitions and files together.

Its bytes are canonical JSON without any time in them, so the same members, key and history give the same
bytes, and two observers can compare what they were shown by one hash. docs/http-api.md has the members.

A newer server may add members. What is unknown is kept, and written again by `to_bytes`; what must not be
overlooked is named in a member `critical`, and who does not know it does not use what it stands in.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from contactsync.directory import DataFile, DirectoryInfo
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadReply
from contactsync.publication import canonical

__all__ = [
    "AUDIENCES",
    "MAX_BYTES",
    "MAX_DELTAS",
    "DataFile",
    "DeltaFile",
    "Manifest",
    "Partition",
    "UnusablePartition",
    "family_of",
]

FORMAT: Final = "contactsync-manifest-1"
SUITE: Final = "ristretto255-SHA512"
MAX_BYTES: Final = 8 << 20  # 230 calling codes with 32 deltas each are about 2 MB
MAX_DELTAS: Final = 32
MAX_PARTITIONS: Final = 999

CRITICAL: Final = "critical"
UNDERSTOOD: Final[frozenset[str]] = frozenset()  # names that may be critical: of a manifest
UNDERSTOOD_IN_PARTITION: Final[frozenset[str]] = frozenset()  # and of a partition

# Bounds on figures that somebody else wrote; beyond them nothing could be built by this format anyway.
_MAX_COUNT: Final = 1 << 40
_MAX_LENGTH: Final = 1 << 44
_MAX_BITS: Final = 64

_MEMBERS: Final = (
    *("audience", "edition", "epoch", "format", "normalisation"),
    *("partitions", "previous", "public_key", "suite"),
)
_PARTITION_MEMBERS: Final = (
    *("base", "count", "deltas", "edition", "false_positive_rate"),
    *("remainder_bits", "screen", "slot_bits", "top_sha256"),
)
_PARTITION_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
_DIGITS = re.compile(r"[0-9]+")
_CALLING_CODE = re.compile(r"[1-9][0-9]{0,2}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_HEX16 = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class DeltaFile:
    """What changed in a partition between two editions of it."""

    from_edition: int
    to_edition: int
    file: DataFile


@dataclass(frozen=True, slots=True)
class Partition:
    """The tokens of one partition. `edition` is the one in which its content last changed.

    `slot_bits`, `remainder_bits` and `top_sha256` are figures of the base, as in docs/directory-format.md.
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

    @property
    def directory(self) -> DirectoryInfo:
        """What the base has to be."""
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

    def files(self) -> list[DataFile]:
        """Every data file that the partition names."""
        screen = [self.screen] if self.screen is not None else []
        return [self.base, *(delta.file for delta in self.deltas), *screen]


@dataclass(frozen=True, slots=True)
class UnusablePartition:
    """A partition that this program cannot use. Who is a member there is not known: not "nobody".

    `reason` continues "partition NAME …"; `refusal` is its word, unknown-family or unknown-critical.
    `members` is the partition as JSON, for `Manifest.to_bytes`.
    """

    name: str
    reason: str
    refusal: str
    members: Mapping[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One published state of one audience.

    `public_key` is the 32-byte encoding of pkS (RFC 9497), `normalisation` the profile of identifiers/,
    `previous` the SHA-256 of the manifest before this one (None in the very first).

    `partitions` are those that this program can use, `unknown` those that it cannot: whoever may be a member
    of one of these must be left out of a match, and the user be told. `extra` has the members that a newer
    program added, as JSON values.
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

    @property
    def is_understood(self) -> bool:
        """Whether this program knows all that is in it; if not, it must not publish the next one."""
        extra = any(partition.extra for partition in self.partitions.values())
        return not (self.extra or self.unknown or extra)

    @property
    def count(self) -> int:
        """Tokens in all partitions that can be used."""
        return sum(partition.count for partition in self.partitions.values())

    def files(self) -> dict[str, DataFile]:
        """Every data file of the partitions that can be used, by its SHA-256."""
        return {file.sha256: file for partition in self.partitions.values() for file in partition.files()}

    def to_bytes(self) -> bytes:
        """The canonical form (`publication.canonical`), unknown members included."""
        partitions: dict[str, Any] = {name: p.members for name, p in self.unknown.items()}
        partitions |= {name: _partition_to_json(p) for name, p in self.partitions.items()}
        value = {
            **self.extra,
            "format": FORMAT,
            "suite": SUITE,
            "audience": self.audience,
            "epoch": self.epoch,
            "edition": self.edition,
            "public_key": self.public_key.hex(),
            "normalisation": self.normalisation,
            "previous": self.previous,
            "partitions": partitions,
        }
        return canonical.encode(value)

    def sha256(self) -> str:
        """The hash that the next manifest names as `previous`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """The strict inverse of `to_bytes`.

        Raises BadReply for anything that is not byte for byte the canonical form of a valid manifest, and for
        one that needs something to be understood that this program does not know.
        """
        if len(data) > MAX_BYTES:
            _refuse(f"is larger than {MAX_BYTES} bytes", "too-large")
        try:
            value = canonical.decode(data)
        except ValueError:
            _refuse("is not ASCII JSON of whole numbers", "not-json")
        manifest = cls._from_json(value)
        # One comparison for sorted keys, plain integers, lower-case hex and no key said twice.
        if manifest.to_bytes() != data:
            _refuse("is not in canonical form", "not-canonical")
        return manifest

    @classmethod
    def _from_json(cls, value: object) -> Manifest:
        # What tells whether the rest can be judged comes first: a later format may have other members.
        if not isinstance(value, dict) or "format" not in value:
            _refuse("has no format", "wrong-members")
        if value["format"] != FORMAT:
            _refuse("has an unknown format; this program may be too old", "unknown-version")
        members, extra = _open_object(value, _MEMBERS, "manifest")
        if alien := _critical(extra, _MEMBERS, "manifest") - UNDERSTOOD:
            _refuse(
                f"needs {_listed(alien)} to be understood; this program may be too old", "unknown-critical"
            )
        if members["suite"] != SUITE:
            _refuse("names another cipher suite; this program may be too old", "unknown-suite")
        if members["audience"] not in AUDIENCES:
            _refuse("names an unknown audience", "bad-value")
        partitions = members["partitions"]
        if not isinstance(partitions, dict):
            _refuse("has no proper list of partitions", "bad-value")
        if len(partitions) > MAX_PARTITIONS:
            _refuse(f"has more than {MAX_PARTITIONS} partitions", "too-large")
        edition = _integer(members["edition"], 1, canonical.MAX_NUMBER, "edition")
        previous = members["previous"]
        read = [_partition_from_json(name, p, edition) for name, p in partitions.items()]
        return cls(
            audience=members["audience"],
            epoch=_integer(members["epoch"], 1, canonical.MAX_NUMBER, "epoch"),
            edition=edition,
            public_key=bytes.fromhex(_hex(members["public_key"], _HEX64, "public_key")),
            normalisation=_integer(members["normalisation"], 1, canonical.MAX_NUMBER, "normalisation"),
            partitions={p.name: p for p in read if isinstance(p, Partition)},
            previous=None if previous is None else _hex(previous, _HEX64, "previous"),
            unknown={p.name: p for p in read if isinstance(p, UnusablePartition)},
            extra=extra,
        )


def family_of(name: str) -> str | None:
    """What kind of partition a name stands for; None if this program does not know that kind.

    Raises BadReply for what is no name of a partition. Only "calling-code" is known: one to three digits, no
    leading zero. (Any such number is taken; a list of those that are assigned would be asked here.)
    """
    if not _PARTITION_NAME.fullmatch(name):
        _refuse("has a partition with an impossible name", "bad-value")
    if not _DIGITS.fullmatch(name):
        return None
    if not _CALLING_CODE.fullmatch(name):  # digits alone are never of another family
        _refuse("has a partition that is no calling code", "bad-value")
    return "calling-code"


def _partition_to_json(partition: Partition) -> dict[str, Any]:
    return {
        **partition.extra,
        "edition": partition.edition,
        "count": partition.count,
        "false_positive_rate": partition.false_positive_rate,
        "slot_bits": partition.slot_bits,
        "remainder_bits": partition.remainder_bits,
        "top_sha256": partition.top_sha256,
        "base": _file_to_json(partition.base),
        "deltas": [
            {"from": delta.from_edition, "to": delta.to_edition, "file": _file_to_json(delta.file)}
            for delta in partition.deltas
        ],
        "screen": None if partition.screen is None else _file_to_json(partition.screen),
    }


def _file_to_json(file: DataFile) -> dict[str, Any]:
    return {"sha256": file.sha256, "length": file.length, "xxh3_64": file.xxh3_64}


def _partition_from_json(name: str, value: object, newest: int) -> Partition | UnusablePartition:
    family, where = family_of(name), f"partition {name}"
    if not isinstance(value, dict):
        _refuse(f"has no proper {where}", "bad-value")
    alien = _critical(value, _PARTITION_MEMBERS, where) - UNDERSTOOD_IN_PARTITION
    if family is None or alien:
        _check_kept(value, where)
        if family is None:
            reason = "is of a kind that this program does not know"
            return UnusablePartition(name, reason, "unknown-family", value)
        reason = f"needs {_listed(alien)} to be understood, which this program does not know"
        return UnusablePartition(name, reason, "unknown-critical", value)
    members, extra = _open_object(value, _PARTITION_MEMBERS, where)
    edition = _integer(members["edition"], 1, newest, f"edition of {where}")
    deltas = members["deltas"]
    if not isinstance(deltas, list) or len(deltas) > MAX_DELTAS:
        _refuse(f"has no proper list of deltas in {where}", "bad-value")
    chain = tuple(_delta_from_json(delta, newest, where) for delta in deltas)
    ends = [delta.to_edition for delta in chain]
    if ends and ([delta.from_edition for delta in chain[1:]] != ends[:-1] or ends[-1] != edition):
        _refuse(f"has a broken chain of deltas in {where}", "malformed")
    screen = members["screen"]
    partition = Partition(
        name=name,
        edition=edition,
        count=_integer(members["count"], 1, _MAX_COUNT, f"count of {where}"),
        slot_bits=_integer(members["slot_bits"], 0, _MAX_BITS, f"slot_bits of {where}"),
        remainder_bits=_integer(members["remainder_bits"], 0, _MAX_BITS, f"remainder_bits of {where}"),
        top_sha256=_hex(members["top_sha256"], _HEX64, f"top_sha256 of {where}"),
        base=_file_from_json(members["base"], where),
        deltas=chain,
        screen=None if screen is None else _file_from_json(screen, where),
        extra=extra,
    )
    if problem := partition.directory.layout.problem():
        refusal = "too-full" if partition.directory.layout.overfull else "out-of-range"
        _refuse(f"has impossible figures in {where} ({problem})", refusal)
    if members["false_positive_rate"] != partition.false_positive_rate:
        _refuse(f"has a wrong false_positive_rate in {where}", "malformed")
    return partition


def _delta_from_json(value: object, newest: int, where: str) -> DeltaFile:
    members = _object(value, ("file", "from", "to"), f"delta of {where}")
    end = _integer(members["to"], 2, newest, f"delta of {where}")
    start = _integer(members["from"], 1, end - 1, f"delta of {where}")
    return DeltaFile(start, end, _file_from_json(members["file"], where))


def _file_from_json(value: object, where: str) -> DataFile:
    members = _object(value, ("length", "sha256", "xxh3_64"), f"file of {where}")
    return DataFile(
        sha256=_hex(members["sha256"], _HEX64, f"hash in {where}"),
        length=_integer(members["length"], 1, _MAX_LENGTH, f"length in {where}"),
        xxh3_64=_hex(members["xxh3_64"], _HEX16, f"xxh3_64 in {where}"),
    )


def _object(value: object, names: tuple[str, ...], what: str) -> dict[str, Any]:
    """A closed object: what is to be added goes into its partition."""
    if not isinstance(value, dict) or set(value) != set(names):
        _refuse(f"has missing or unknown members ({what})", "wrong-members")
    return value


def _open_object(
    value: dict[str, Any], names: tuple[str, ...], what: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The members of format 1, and those that a newer program added."""
    if not set(names) <= set(value):
        _refuse(f"has missing members ({what})", "wrong-members")
    members = {name: value[name] for name in names}
    extra = {name: member for name, member in value.items() if name not in members}
    _check_kept(extra, what)
    return members, extra


def _check_kept(value: dict[str, Any], what: str) -> None:
    if fault := canonical.fault(value):
        _refuse(f"has {fault[0]} in {what}", fault[1])


def _critical(members: Mapping[str, Any], own: tuple[str, ...], what: str) -> frozenset[str]:
    """What must be understood: names of members that are there and not of format 1, sorted, each once."""
    names = members.get(CRITICAL)
    if names is None and CRITICAL not in members:
        return frozenset()
    candidates = set(members) - {CRITICAL, *own}
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) and name in candidates for name in names)
        or names != sorted(set(names))
    ):
        _refuse(f"has no proper list of what is critical ({what})", "bad-value")
    return frozenset(names)


def _listed(names: frozenset[str]) -> str:
    return ", ".join(f'"{name}"' for name in sorted(names))


def _integer(value: object, low: int, high: int, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        _refuse(f"has no proper {what}", "bad-value")
    return value


def _hex(value: object, pattern: re.Pattern[str], what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        _refuse(f"has no proper {what}", "bad-value")
    return value


def _refuse(what: str, refusal: str) -> NoReturn:
    raise BadReply(
        f"the manifest {what}",
        hint="update this program; if that does not help, tell the operator of the server",
        refusal=refusal,
    )
