"""What the last sync of each audience found: when, and who. `matches` and `search` read it, offline.

`results.json` in the folder of a server, 0600, which `forget` wipes. Without names (`people` is null) if the
user does not want them to be kept; then the file says only when the last sync was. What it held before is
erased first: a power cut in between costs the results, and no more. An identifier is in it only if it belongs
to a match.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contactsync.foundation import durable, erasure
from contactsync.foundation.errors import OurError

if TYPE_CHECKING:  # `contactsync` alone reads results, and loads nothing for that
    from contactsync.client.report import Report
    from contactsync.contacts import AddressBook

FORMAT = 2
EARLIER = 1
"""Without labels."""


@dataclass(frozen=True, slots=True)
class FoundPerson:
    """A contact that is a member, with the identifiers by which it matched, and the labels of these."""

    name: str
    identifiers: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class LastSync:
    """A sync: when it ended (ISO 8601, UTC), against what, of how much, and whom it found.

    `people` is None if names are not kept.
    """

    at: str
    epoch: int
    edition: int
    members: int
    contacts: int
    identifiers: int
    people: tuple[FoundPerson, ...] | None

    @property
    def when(self) -> datetime:
        """The time, of the local time zone."""
        return datetime.fromisoformat(self.at).astimezone()


def found_people(report: Report, book: AddressBook) -> list[FoundPerson]:
    """Each contact that matched, in the order of the book."""
    matched = {match.identifier.encode(): match.label for match in report.matches}
    people = []
    for contact in book.contacts:
        if found := [one.decode() for one in contact.found(matched)]:
            labels = {one: label for one in found if (label := matched[one.encode()]) is not None}
            people.append(FoundPerson(contact.name, tuple(found), labels))
    return people


def keep(path: Path, report: Report, book: AddressBook, *, names: bool) -> None:
    """Replace what is kept of this audience. Without `names`, the names of all audiences go."""
    try:
        before = recall(path)
    except OurError:
        before = {}
    last = LastSync(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        epoch=report.epoch,
        edition=report.edition,
        members=report.members,
        contacts=len(book.contacts),
        identifiers=report.identifiers,
        people=tuple(found_people(report, book)) if names else None,
    )
    audiences = {who: asdict(one) for who, one in before.items()} | {report.audience: asdict(last)}
    if not names:
        for one in audiences.values():
            one["people"] = None
    text = json.dumps({"version": FORMAT, "audiences": audiences}, ensure_ascii=False)
    erasure.erase(path)  # what is replaced while it has no name any more need never be overwritten
    durable.write(path, text.encode(), erase=True)


def recall(path: Path) -> Mapping[str, LastSync]:
    """The last sync of each audience; empty if there was none. Raises OurError if the file is damaged."""
    try:
        return _audiences(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise OurError(
            f"the results kept in {path} are damaged, or of a newer version",
            hint="sync again: they are written anew",
        ) from error


def _audiences(value: Any) -> dict[str, LastSync]:
    if value["version"] not in {EARLIER, FORMAT}:
        raise ValueError("another version")
    return {str(who): _last_sync(one) for who, one in value["audiences"].items()}


def _last_sync(value: Any) -> LastSync:
    people = value["people"]
    figures = {name: value[name] for name in ("epoch", "edition", "members", "contacts", "identifiers")}
    if not all(type(one) is int for one in figures.values()):
        raise TypeError("not a figure")
    if datetime.fromisoformat(value["at"]).tzinfo is None:
        raise ValueError("not a time with its zone")
    found = None
    if people is not None:
        found = tuple(map(_person, people))
    return LastSync(value["at"], **figures, people=found)


def _person(value: Any) -> FoundPerson:
    labels = {str(one): str(label) for one, label in value.get("labels", {}).items()}
    return FoundPerson(str(value["name"]), tuple(map(str, value["identifiers"])), labels)
