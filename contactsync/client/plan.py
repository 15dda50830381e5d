"""Which data files a sync fetches, what that costs, and what it tells: decided before anything is sent."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from contactsync.client.cache import Holding
from contactsync.directory.format import Layout
from contactsync.directory.ranges import BUCKETS
from contactsync.publication.manifest import DataFile, Manifest, Partition

Kind = Literal["base", "screen"]
Privacy = Literal["download", "screen"]
Partitions = Literal["all", "mine"]

MAX_HELD_DELTAS = 64
"""A chain longer than this is replaced by a whole file: applying deltas costs time at each sync."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one partition needs: the files to fetch, and what is held after that."""

    partition: Partition
    kind: Kind
    fetch: tuple[DataFile, ...]
    holding: Holding
    ranges: int
    """Octets that fetching buckets will cost at most, about; 0 with a base."""

    @property
    def cost(self) -> int:
        """Octets to download."""
        return sum(file.length for file in self.fetch) + self.ranges


@dataclass(frozen=True, slots=True)
class Plan:
    """The download of a sync."""

    privacy: Privacy
    partitions: Partitions
    steps: tuple[Step, ...]

    @property
    def cost(self) -> int:
        """Octets to download, about."""
        return sum(step.cost for step in self.steps)

    @property
    def fetched_codes(self) -> list[str]:
        """The calling codes of which something is fetched."""
        return sorted(step.partition.code for step in self.steps if step.cost)


def make_plan(
    manifest: Manifest,
    holdings: Mapping[tuple[str, str], Holding],
    wanted: Collection[str],
    *,
    privacy: Privacy,
    partitions: Partitions,
) -> Plan:
    """Plan the download. `wanted` are the calling codes of identifiers that are not matched up to date."""
    steps = []
    for code, partition in sorted(manifest.partitions.items()):
        if partitions == "mine" and code not in wanted:
            continue
        base = _step(partition, "base", partition.base, holdings.get((code, "base")), 0)
        if privacy == "screen" and partition.screen is not None:
            ranges = _ranges(partition) if code in wanted else 0
            screen = _step(partition, "screen", partition.screen, holdings.get((code, "screen")), ranges)
            # A base that costs no more tells less. The comparison may not depend on `wanted`: with all
            # partitions, which files are fetched must not tell in which of them there are contacts.
            if screen.cost - screen.ranges + _ranges(partition) < base.cost:
                steps.append(screen)
                continue
        steps.append(base)
    return Plan(privacy, partitions, tuple(steps))


def _step(partition: Partition, kind: Kind, whole: DataFile, held: Holding | None, ranges: int) -> Step:
    """Continue by deltas what is held, or fetch the whole file: whichever is less."""
    anew = Holding(partition.edition, whole, partition.directory)
    if held is not None:
        deltas = _missing(partition, held)
        if deltas is not None and sum(file.length for _, _, file in deltas) < whole.length:
            holding = replace(held, deltas=(*held.deltas, *deltas))
            return Step(partition, kind, tuple(file for _, _, file in deltas), holding, ranges)
    return Step(partition, kind, (whole,), anew, ranges)


def _missing(partition: Partition, held: Holding) -> list[tuple[int, int, DataFile]] | None:
    """The deltas from what is held to the partition's edition; None if they do not lead there."""
    if held.reached == partition.edition:
        return []
    chain = [(d.from_edition, d.to_edition, d.file) for d in partition.deltas]
    starts = [start for start, _, _ in chain]
    if held.reached not in starts:
        return None
    missing = chain[starts.index(held.reached) :]
    return missing if len(held.deltas) + len(missing) <= MAX_HELD_DELTAS else None


def _ranges(partition: Partition) -> int:
    """About what it costs to fetch as few buckets of a partition as are ever fetched, in octets."""
    layout = Layout(partition.count, partition.slot_bits, partition.remainder_bits, partition.base.length)
    buckets = (layout.length - layout.data_offset) * min(BUCKETS, layout.buckets) // layout.buckets
    return layout.index_offset + layout.page_bytes * min(BUCKETS, layout.pages) + buckets
