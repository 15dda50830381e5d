"""What a publish has changed for clients, told by the manifests before and after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from contactsync.publication.manifest import DeltaFile, Manifest, Partition
from contactsync.publication.rows import RowFigures

Change = Literal["new", "changed", "gone"]


@dataclass(frozen=True, slots=True)
class PartitionChange:
    """One partition whose files are others than before.

    `members` and `members_before` are counts. `base`, `delta`, `screen`, `labels` (the sidecar) and
    `labels_delta` are lengths in octets, 0 where there is no such file; `patches` is that of all patches that
    are new. `update` is what a client fetches that has the edition before.
    """

    name: str
    change: Change
    members: int
    members_before: int
    base: int = 0
    delta: int = 0
    screen: int = 0
    labels: int = 0
    labels_delta: int = 0
    patches: int = 0
    update: int = 0


@dataclass(frozen=True, slots=True)
class EditionReport:
    """One edition: what changed, and what clients download, in octets.

    `update` is for a client that has all files of the edition before, `whole` for one that has none. Both
    are of the download mode, without the metadata. `rows` are those for private look-up, if it has any.
    """

    audience: str
    epoch: int
    edition: int
    changes: tuple[PartitionChange, ...]
    update: int
    whole: int
    rows: RowFigures | None = None


def report(before: Manifest | None, after: Manifest) -> EditionReport:
    """What `after` changed. `before` is what was published of the same epoch; None: nothing."""
    changes = tuple(_changes(before, after))
    return EditionReport(
        audience=after.audience,
        epoch=after.epoch,
        edition=after.edition,
        changes=changes,
        update=sum(one.update for one in changes),
        whole=sum(_whole(one) for one in after.partitions.values()),
        rows=RowFigures.of(after.rows, after.partitions),
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
            yield PartitionChange(name, "gone", 0, old.members)
        elif old is None or (old.base, old.patches, old.labels) != (new.base, new.patches, new.labels):
            yield _changed(name, old, new)


def _changed(name: str, old: Partition | None, new: Partition) -> PartitionChange:
    base = new.base.length
    same = old is not None and old.base == new.base
    delta = 0 if old is None or same else _leads_on(new.deltas, old.edition)
    held = {one.file for one in old.patch_files} if old is not None and same else set()
    patches = sum(one.file.length for one in new.patch_files if one.file not in held)
    labels_before = None if old is None else old.labels
    labels, labels_delta, labels_update = _sidecar(new), 0, 0
    if new.labels is not None and new.labels != labels_before:
        labels_delta = 0 if labels_before is None else _leads_on(new.labels.deltas, labels_before.edition)
        labels_update = labels_delta if 0 < labels_delta < labels else labels
    return PartitionChange(
        name=name,
        change="new" if old is None else "changed",
        members=new.members,
        members_before=0 if old is None else old.members,
        base=base,
        delta=delta,
        screen=0 if new.screen is None else new.screen.length,
        labels=labels,
        labels_delta=labels_delta,
        patches=patches,
        update=(0 if same else delta if 0 < delta < base else base) + patches + labels_update,
    )


def _leads_on(deltas: Sequence[DeltaFile], edition: int) -> int:
    """The length of the last delta, if it leads on from an edition; else 0."""
    return deltas[-1].file.length if deltas and deltas[-1].from_edition == edition else 0


def _whole(partition: Partition) -> int:
    """What a client fetches of a partition that has nothing of it."""
    patches = sum(one.file.length for one in partition.patch_files)
    return partition.base.length + patches + _sidecar(partition)


def _sidecar(partition: Partition) -> int:
    return 0 if partition.labels is None else partition.labels.file.length
