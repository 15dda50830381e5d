"""Where a member is published: since which edition, or since when no served file contains them any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from contactsync.identifiers.kinds import partition_of
from contactsync.publication.history import MANIFESTS_KEPT
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.repository import Repository
from contactsync.server.settings import EDITIONS_SERVED
from contactsync.server.storage.ports import MemberStore
from contactsync.server.storage.records import Edition, MemberRecord

State = Literal[
    "listed", "to be listed", "listed until the next publish", "in older files", "nowhere", "not recorded"
]

_SAID: Final[dict[State, str]] = {
    "listed": "in the directory since {edition}",
    "to be listed": "in the directory from the next publish on",
    "listed until the next publish": "still in the directory, until the next publish",
    "in older files": "not in the directory since {edition}, but in older files that are still served",
    "nowhere": "in no served file since {edition}",
    "not recorded": "not known: the editions of that time were not recorded",
}


@dataclass(frozen=True, slots=True)
class Presence:
    """What is published about a member of an audience, or about who has left it.

    `epoch`, `edition`: since when; 0 if nothing is published yet.
    """

    audience: str
    state: State
    epoch: int = 0
    edition: int = 0

    def __str__(self) -> str:
        return _SAID[self.state].format(edition=f"edition {self.edition} of epoch {self.epoch}")


def presences(store: MemberStore, repository: Repository, record: MemberRecord) -> list[Presence]:
    """For each audience in which something is known to have changed for a member."""
    return [
        _presence(store, repository, record, audience, serial) for audience, serial in record.changed.items()
    ]


def everything(record: MemberRecord, published: Sequence[Presence]) -> dict[str, Any]:
    """All that is stored and published about a member, for JSON: GDPR, article 15."""
    entry = record.entry
    return {
        "added": _time(entry.added),
        "verified": entry.verified.isoformat(),
        "audiences": list(entry.audiences),
        "objections": list(entry.objections),
        "label": None if record.label is None else record.label.decode(),
        "other": None if record.other is None else record.other.decode(),
        "consents": [
            {
                "audience": one.audience,
                "granted": one.granted,
                "at": _time(one.at),
                "source": one.source,
                "by": one.by,
            }
            for one in record.consents
        ],
        "tokens": [
            {"audience": audience, "epoch": epoch, "token": token.hex()}
            for (audience, epoch), token in record.tokens.items()
        ],
        "published": [
            {
                "audience": one.audience,
                "state": one.state,
                "epoch": one.epoch or None,
                "edition": one.edition or None,
                "text": str(one),
            }
            for one in published
        ],
    }


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _presence(
    store: MemberStore, repository: Repository, record: MemberRecord, audience: str, serial: int
) -> Presence:
    is_member = audience in record.entry.audiences
    change = store.edition_of(audience, serial)
    if serial == 0:
        return Presence(audience, "not recorded")
    if change is None:
        return Presence(audience, "to be listed" if is_member else "listed until the next publish")
    if is_member:
        return Presence(audience, "listed", change.epoch, change.edition)
    # The oldest of these may be served together with earlier ones, which are not kept.
    history = list(repository.history(audience, MANIFESTS_KEPT))
    partition = partition_of(record.entry.identifier)
    holding = [_holding(manifest, partition, change) for manifest in history]
    newest = next((place for place, files in enumerate(holding) if files), len(history))
    served = {file for files in holding[:EDITIONS_SERVED] for file in files}
    if any((repository.folder / "data" / file).exists() for file in served):
        return Presence(audience, "in older files", change.epoch, change.edition)
    # A publish that took the files out of service at once is the one after those that had them.
    gone = _first_after(history, newest, 1 if served else EDITIONS_SERVED)
    return Presence(audience, "nowhere", *(gone or (change.epoch, change.edition)))


def _first_after(history: Sequence[Manifest], newest: int, later: int) -> tuple[int, int] | None:
    """The edition that came so many editions `later` than the one at `newest` (0 is the current one)."""
    place = min(newest, len(history)) - later
    return (history[place].epoch, history[place].edition) if place >= 0 else None


def _holding(manifest: Manifest, name: str, change: Edition) -> list[str]:
    """The files of a manifest that contain who left with a change: as a member, or as one who is gone."""
    partition = manifest.partitions.get(name)
    if partition is None or manifest.epoch > change.epoch:
        return []
    if manifest.epoch < change.epoch or partition.edition < change.edition:
        return [file.sha256 for file in partition.files()]
    return [delta.file.sha256 for delta in partition.deltas if delta.from_edition < change.edition]
