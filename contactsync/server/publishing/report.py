"""What a publish has changed for clients, told by the manifests before and after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from contactsync.publication.manifest import Manifest, Partition

Change = Literal["new", "changed", "gone"]


@dataclass(frozen=True, slots=True)
class PartitionChange:
    """One partition whose files are others than before.

    `members` and `members_before` are counts. `base`, `delta` and `screen` are lengths in octets, 0 where
    there is no such file. `update` is what a client fetches that has the edition before.
    """

    name: str
    change: Change
    members: int
    members_before: int
    base: int = 0
    delta: int = 0
    screen: int = 0
    update: int = 0


@dataclass(frozen=True, slots=True)
class EditionReport:
    """One edition: what changed, and what clients download, in octets.

    `update` is for a client that has all files of the edition before, `whole` for one that has none. Both
    are of the download mode, without the metadata.
    """

    audience: str
    epoch: int
    edition: int
    changes: tuple[PartitionChange, ...]
    update: int
    whole: int


def report(before: Manifest | None, after: Manifest) -> EditionReport:
    """What `after` changed. `before` is what was published of the same epoch; None: nothing."""
    changes = tuple(_changes(before, after))
    return EditionReport(
        audience=after.audience,
        epoch=after.epoch,
        edition=after.edition,
        changes=changes,
        update=sum(one.update for one in changes),
        whole=sum(one.base.length for one in after.partitions.values()),
    )


def reports(before: Manifest | None, after: Manifest) -> list[EditionReport]:
    """The same for an edition and for the epoch that it announces, if there is one."""
    ahead, ahead_before = after.ahead(), None if before is None else before.ahead()
    # What was announced is in force now: clients that moved have its files.
    earlier = next((one for one in (before, ahead_before) if one and one.epoch == after.epoch), None)
    found = [report(earlier, after)]
    if ahead is not None:
        same = ahead_before is not None and ahead_before.epoch == ahead.epoch
        found.append(report(ahead_before if same else None, ahead))
    return found


def _changes(before: Manifest | None, after: Manifest) -> Iterator[PartitionChange]:
    held = {} if before is None else before.partitions
    for name in sorted({*held, *after.partitions}):
        old, new = held.get(name), after.partitions.get(name)
        if new is None:
            assert old is not None
            yield PartitionChange(name, "gone", 0, old.count)
        elif old is None or old.base != new.base:
            yield _changed(name, old, new)


def _changed(name: str, old: Partition | None, new: Partition) -> PartitionChange:
    base, last = new.base.length, new.deltas[-1] if new.deltas else None
    goes_on = old is not None and last is not None and last.from_edition == old.edition
    delta = last.file.length if last is not None and goes_on else 0
    return PartitionChange(
        name=name,
        change="new" if old is None else "changed",
        members=new.count,
        members_before=0 if old is None else old.count,
        base=base,
        delta=delta,
        screen=0 if new.screen is None else new.screen.length,
        update=delta if 0 < delta < base else base,
    )
