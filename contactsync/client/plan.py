"""Which data files a sync fetches, what that costs, and what it tells: decided before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from contactsync.client.cache import Holding
from contactsync.directory.ranges import BUCKETS
from contactsync.foundation.errors import ChoiceNeeded
from contactsync.publication.manifest import DataFile, Manifest, Partition

Kind = Literal["base", "screen"]
Privacy = Literal["download", "screen"]
Partitions = Literal["all", "mine"]

_PRICES: dict[tuple[Privacy, Partitions], str] = {
    ("download", "mine"): "tells the server which calling codes are in your address book",
    ("screen", "all"): "tells the server also the buckets of contacts that pass a Bloom filter",
    ("screen", "mine"): "tells the server both",
}
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
    """Octets that fetching buckets will cost at least, about, if there are new contacts; 0 with a base."""

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
        return sorted(step.partition.name for step in self.steps if step.cost)


def make_plan(
    manifest: Manifest,
    holdings: Mapping[tuple[str, str], Holding],
    wanted: Collection[str],
    *,
    privacy: Privacy,
    partitions: Partitions,
    buckets: int = BUCKETS,
) -> Plan:
    """Plan the download.

    `wanted` are the calling codes of identifiers that are not matched up to date. Of their partitions, where
    only the screen is fetched, at least so many `buckets` are fetched too.
    """
    steps = []
    for code, partition in sorted(manifest.partitions.items()):
        if partitions == "mine" and code not in wanted:
            continue
        base = _step(partition, "base", partition.base, holdings.get((code, "base")), 0)
        if privacy == "screen" and partition.screen is not None:
            least = ranges_cost(partition, buckets)
            ranges = least if code in wanted else 0
            screen = _step(partition, "screen", partition.screen, holdings.get((code, "screen")), ranges)
            # A base that costs no more tells less. The comparison may not depend on `wanted`: with all
            # partitions, which files are fetched must not tell in which of them there are contacts.
            if screen.cost - screen.ranges + least < base.cost:
                steps.append(screen)
                continue
        steps.append(base)
    return Plan(privacy, partitions, tuple(steps))


def affordable(
    plan: Callable[[Privacy, Partitions], Plan], privacy: Privacy, partitions: Partitions, *, limit: int
) -> Plan:
    """The plan for these choices. Raises ChoiceNeeded, with the cheaper ones, if it is above the limit."""
    chosen = plan(privacy, partitions)
    if chosen.cost <= limit:
        return chosen
    listed = [chosen]
    lines = [f"  --max-download {size_text(chosen.cost)}: tells the server nothing more"]
    for other in [plan(*choice) for choice in _PRICES]:
        # Not one that tells more than another which costs no more.
        below = [p for p in listed if p.privacy in (other.privacy, "download")]
        below = [p for p in below if p.partitions in (other.partitions, "all")]
        if other.cost < min(p.cost for p in [chosen, *below]):
            listed.append(other)
            lines.append(
                f"  --privacy {other.privacy} --partitions {other.partitions}: about {size_text(other.cost)};"
                f" {_PRICES[other.privacy, other.partitions]}"
            )
    raise ChoiceNeeded(
        f"the download is {size_text(chosen.cost)}, more than --max-download {size_text(limit)};"
        " nothing was sent",
        hint="choose one of\n" + "\n".join(lines),
    )


def size_text(count: int) -> str:
    """A size as --max-download takes it, rounded up."""
    if count < 10_000:
        return str(count)
    return f"{-(-count // 1000)}K" if count < 10_000_000 else f"{-(-count // 1_000_000)}M"


def whole_base(partition: Partition) -> Step:
    """The base, whatever is held."""
    return _step(partition, "base", partition.base, None, 0)


def leads_on(partition: Partition, held: Holding) -> bool:
    """Whether what is held can be continued to the partition's edition."""
    return _missing(partition, held) is not None


def ranges_cost(partition: Partition, buckets: int) -> int:
    """About how many octets it takes to fetch so many buckets of a partition, or all."""
    layout = partition.directory.layout
    fetched = min(buckets, layout.buckets)
    data = (layout.length - layout.data_offset) * fetched // layout.buckets
    return layout.index_offset + layout.page_bytes * min(fetched, layout.pages) + data


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
