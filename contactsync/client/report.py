"""What a sync found, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass

from contactsync.client.quota import Quota
from contactsync.publication.history import Gap


@dataclass(frozen=True, slots=True)
class Match:
    """A contact found to be a member, by one of its identifiers, and that member's label if it has one.

    `written` is the identifier in the book of which `identifier` is a form: mostly the same.
    """

    name: str
    identifier: str
    written: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Of how many matches the label does not open with their key, and of how many it is not known yet."""

    unopened: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Unusable:
    """A partition of the book that this program cannot use, why ("partition NAME …"), and of how many."""

    partition: str
    reason: str
    identifiers: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a sync found and what it cost.

    `identifiers` counts those of the book, `further_forms` those that were looked up besides, and
    `new_identifiers` the new ones of both.
    `unusable` are partitions whose contacts could not be looked up: nobody knows whether they are members.
    `evaluated` counts the points sent, padding included. `joined` and `left` are contacts that the sync
    before knew too, and found otherwise. `false_positive_rate` is the chance that a contact who is no
    member is reported as one. `whole` are the partitions that were matched against a whole directory.
    `leak_odds` is by how much all bucket lists of all syncs multiply the odds of a guess, by partition.
    `quota` is what the server says of the account's budget; `uncovered`: no padding points were sent,
    because it is nearly used up.
    `unchecked` is the part of the server's history that could not be checked since the last report.
    `identifiers` were looked up; `unserved` more of the book were not, because the server has nobody of their
    kind. `withdrawn` is an announced epoch that this client had moved to, and that did not come.
    `labels` is None if no labels are published for the book's partitions, or none were wanted.
    """

    matches: list[Match]
    joined: list[Match]
    left: list[Match]
    unusable: list[Unusable]
    identifiers: int
    further_forms: int
    new_identifiers: int
    evaluated: int
    audience: str
    epoch: int
    edition: int
    privacy: str
    partitions: str
    members: int
    false_positive_rate: float
    downloaded: int
    whole: list[str]
    leak_odds: dict[str, float]
    quota: Quota | None
    uncovered: bool
    leak: str
    unchecked: Gap | None
    withdrawn: int | None = None
    unserved: int = 0
    labels: LabelCounts | None = None
