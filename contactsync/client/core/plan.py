"""What one partition needs: which files are fetched, and what is stored after that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from contactsync.client.core.holdings import Holding, SidecarHolding, WholeKind
from contactsync.directory.sidecar import SidecarInfo
from contactsync.publication.manifest import DataFile, Labels, Partition

MAX_HELD_DELTAS = 64
"""A longer chain is replaced by a whole file: applying deltas takes time in each sync."""


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """What one partition needs: the files to fetch, and what is stored after that."""

    partition: Partition
    kind: WholeKind
    fetch: tuple[DataFile, ...]
    holding: Holding
    later: int = 0
    """About the least number of octets that looking up contacts will cost, once the files are there."""
    labels: Labels | None = None
    """The labels to use; None if none are published, or none are wanted."""
    sidecar: SidecarHolding | None = None
    """Beside a base: what is stored of the labels after that."""

    @property
    def entries(self) -> SidecarInfo | None:
        """What the sidecar of the partition must be; None if no labels are used."""
        return None if self.labels is None else self.labels.info(self.partition)

    @property
    def cost(self) -> int:
        """Octets to download."""
        return sum(file.length for file in self.fetch) + self.later


def size_text(count: int) -> str:
    """A size in the form that --max-download takes, rounded up."""
    if count < 10_000:
        return str(count)
    return f"{-(-count // 1000)}K" if count < 10_000_000 else f"{-(-count // 1_000_000)}M"


def whole_base(partition: Partition) -> PartitionPlan:
    """The base, whatever is stored."""
    return anew(partition, "base", partition.base)


def anew(partition: Partition, kind: WholeKind, whole: DataFile) -> PartitionPlan:
    """The whole file, whatever is stored."""
    return PartitionPlan(partition, kind, (whole,), Holding(partition.edition, whole, partition.directory))


def carry_on(partition: Partition, kind: WholeKind, whole: DataFile, held: Holding | None) -> PartitionPlan:
    """Continue the stored file by deltas, or fetch the whole file, whichever is smaller."""
    deltas = None if held is None else _missing(partition, held)
    if held is None or deltas is None or sum(file.length for _, _, file in deltas) >= whole.length:
        return anew(partition, kind, whole)
    holding = replace(held, deltas=(*held.deltas, *deltas))
    return PartitionPlan(partition, kind, tuple(file for _, _, file in deltas), holding)


def with_labels(plan: PartitionPlan, held: SidecarHolding | None, buckets: int) -> PartitionPlan:
    """The plan with the labels of its partition, if it has any, whoever may match.

    Beside a base the whole sidecar is fetched, or the deltas that continue the stored one; beside a screen
    nothing yet: entries come with the buckets.
    """
    labels = plan.partition.labels
    if labels is None:
        return plan
    sidecar = labels.info(plan.partition)
    if plan.kind == "screen":
        later = plan.later and plan.later + sidecar.layout.cost_of(buckets)
        return replace(plan, labels=labels, later=later)
    deltas = None if held is None else _missing(labels, held)
    if held is None or deltas is None or sum(file.length for _, _, file in deltas) >= labels.file.length:
        held, fetch = SidecarHolding(labels.edition, sidecar), [labels.file]
    else:
        held = replace(held, deltas=(*held.deltas, *deltas))
        fetch = [file for _, _, file in deltas]
    return replace(plan, fetch=(*plan.fetch, *fetch), labels=labels, sidecar=held)


def with_patches(plan: PartitionPlan, held: Iterable[Holding | None]) -> PartitionPlan:
    """The plan with the patches of its partition, of which those of what is held are there already."""
    patches = plan.partition.patches
    if patches is None:
        return replace(plan, holding=replace(plan.holding, patches=()))
    there = {file for one in held if one is not None for _, _, file in one.patches}
    return replace(
        plan,
        fetch=(*plan.fetch, *(one.file for one in patches.files if one.file not in there)),
        holding=replace(
            plan.holding, patches=tuple((one.from_edition, one.to_edition, one.file) for one in patches.files)
        ),
    )


def leads_on(partition: Partition, held: Holding | SidecarHolding) -> bool:
    """Whether deltas lead from the stored file to the edition of the partition, or of its labels."""
    if isinstance(held, Holding):
        return _missing(partition, held) is not None
    return partition.labels is not None and _missing(partition.labels, held) is not None


def _missing(
    to: Partition | Labels, held: Holding | SidecarHolding
) -> list[tuple[int, int, DataFile]] | None:
    """The deltas from the stored file to this edition; None if they do not lead there."""
    if held.reached == to.edition:
        return []
    chain = [(d.from_edition, d.to_edition, d.file) for d in to.deltas]
    starts = [start for start, _, _ in chain]
    if held.reached not in starts:
        return None
    missing = chain[starts.index(held.reached) :]
    return missing if len(held.deltas) + len(missing) <= MAX_HELD_DELTAS else None
