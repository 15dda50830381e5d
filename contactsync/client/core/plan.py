"""What one partition needs: which files are fetched, and what is stored after that."""

from __future__ import annotations

from dataclasses import dataclass, replace

from contactsync.client.core.holdings import Holding, WholeKind
from contactsync.publication.manifest import DataFile, Partition

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


def leads_on(partition: Partition, held: Holding) -> bool:
    """Whether deltas lead from the stored file to the partition's edition."""
    return _missing(partition, held) is not None


def _missing(partition: Partition, held: Holding) -> list[tuple[int, int, DataFile]] | None:
    """The deltas from the stored file to the partition's edition; None if they do not lead there."""
    if held.reached == partition.edition:
        return []
    chain = [(d.from_edition, d.to_edition, d.file) for d in partition.deltas]
    starts = [start for start, _, _ in chain]
    if held.reached not in starts:
        return None
    missing = chain[starts.index(held.reached) :]
    return missing if len(held.deltas) + len(missing) <= MAX_HELD_DELTAS else None
