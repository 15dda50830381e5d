"""The epoch that comes next, announced in the manifest of the current one: its member `next`.

It states the key and the partitions of the next epoch while the current one is still in force, and until
when. Clients that know it move at a time of their own before that; all others ignore it. docs/http-api.md
("The next epoch") is the text this follows.

Its partitions are a list, although those of a manifest are an object: a program that does not know `next`
takes at most 64 members in an object of unknown meaning, and there are more calling codes than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from contactsync.publication import canonical
from contactsync.publication.forms import HEX64, closed_object, hexadecimal, integer, refuse
from contactsync.publication.partition import Partition, UnusablePartition, partitions_from_json

NEXT: Final = "next"
LAST_SECOND: Final = 253_402_300_799
"""The end of the year 9999: every program can show what comes before it as a date."""

_MEMBERS: Final = ("edition", "epoch", "partitions", "public_key", "until")
_NAME: Final = "name"


@dataclass(frozen=True, slots=True)
class NextEpoch:
    """What is announced of the next epoch.

    `edition` counts from 1 as its partitions change. `until`, in seconds since 1970, is when the overlap
    ends: from then on the next publish begins the epoch. `unknown` are as those of a manifest.
    """

    epoch: int
    edition: int
    public_key: bytes
    until: int
    partitions: Mapping[str, Partition]
    unknown: Mapping[str, UnusablePartition] = field(default_factory=dict, hash=False)

    @property
    def end(self) -> datetime:
        """`until` as a date."""
        return datetime.fromtimestamp(self.until, UTC)

    @property
    def count(self) -> int:
        """Tokens in all partitions that can be used."""
        return sum(partition.members for partition in self.partitions.values())

    def to_json(self) -> dict[str, Any]:
        """The member of the manifest."""
        partitions: dict[str, Mapping[str, Any]] = {name: p.members for name, p in self.unknown.items()}
        partitions |= {name: p.to_json() for name, p in self.partitions.items()}
        return {
            "epoch": self.epoch,
            "edition": self.edition,
            "public_key": self.public_key.hex(),
            "until": self.until,
            "partitions": [{**partitions[name], _NAME: name} for name in sorted(partitions)],
        }

    @classmethod
    def from_json(cls, value: object, epoch: int) -> NextEpoch:
        """The inverse of `to_json`, in a manifest of this epoch. Raises BadReply."""
        members = closed_object(value, _MEMBERS, NEXT)
        if integer(members["epoch"], 1, canonical.MAX_NUMBER, "epoch of next") != epoch + 1:
            refuse("announces an epoch that is not the next one", "malformed")
        edition = integer(members["edition"], 1, canonical.MAX_NUMBER, "edition of next")
        partitions = members["partitions"]
        if not isinstance(partitions, list):
            refuse("has no valid list of partitions in next", "bad-value")
        usable, unknown = partitions_from_json(list(_named(partitions)), edition, judged=True)
        if any(one.patches is not None for one in usable.values()):
            refuse("has patches in next", "malformed")
        return cls(
            epoch=epoch + 1,
            edition=edition,
            public_key=bytes.fromhex(hexadecimal(members["public_key"], HEX64, "public_key of next")),
            until=integer(members["until"], 1, LAST_SECOND, "until"),
            partitions=usable,
            unknown=unknown,
        )


def _named(partitions: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The partitions of the list by their names, which ascend."""
    last = ""
    for value in partitions:
        name = value.get(_NAME) if isinstance(value, dict) else None
        if not isinstance(name, str):
            refuse("has a partition without a name in next", "wrong-members")
        if name <= last:
            refuse("has partitions in next that are not in order", "not-ascending")
        last = name
        yield name, {key: member for key, member in value.items() if key != _NAME}
