"""Decides which data files a sync fetches, what that costs and tells, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from contactsync.client.core.holdings import WHOLE_KINDS, Holdings, sidecar_of, whole_of
from contactsync.client.core.mode import Mode
from contactsync.client.core.plan import PartitionPlan, size_text, with_labels, with_patches
from contactsync.client.core.row_lookups import answer_octets, rows_of
from contactsync.directory.ranges import BUCKETS
from contactsync.foundation.errors import ChoiceNeeded
from contactsync.foundation.limits import MAX_BATCH
from contactsync.publication.manifest import DataFile, Manifest

Partitions = Literal["all", "mine"]
LEAK_BUDGET: Final = 1000.0
"""Odds. docs/threat-model.md gives the reasons."""

PARTITIONS: Final[tuple[Partitions, ...]] = ("all", "mine")


@dataclass(frozen=True, slots=True)
class Options:
    """How to sync. `max_download` is in octets; screen mode fetches a multiple of `buckets`.

    `leak_budget` are the odds that the bucket lists of all syncs may come to, for one partition. With `cover`
    a sync without news sends a round of padding points. A batch has at most `most` points. `labels`: those of
    members are fetched, whoever matches.
    """

    audience: str = "people"
    privacy: str = "download"
    partitions: Partitions = "all"
    max_download: int = 1 << 30
    buckets: int = BUCKETS
    leak_budget: float = LEAK_BUDGET
    cover: bool = True
    most: int = MAX_BATCH
    labels: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """The download of a sync."""

    privacy: str
    partitions: Partitions
    parts: tuple[PartitionPlan, ...]
    level: DataFile | None = None
    """Of the rows, if they are looked up: `parts` has nothing then."""
    later: int = 0
    """About how many octets the answers to look-ups of rows will have."""

    @property
    def cost(self) -> int:
        """About how many octets to download."""
        return sum(part.cost for part in self.parts) + (self.level.length if self.level else 0) + self.later

    @property
    def files(self) -> list[DataFile]:
        """The files that must be on the disk."""
        level = [self.level] if self.level is not None else []
        return [file for part in self.parts for file in part.fetch] + level

    @property
    def fetched_names(self) -> list[str]:
        """The partitions that something is fetched from."""
        return sorted(part.partition.name for part in self.parts if part.cost)


@dataclass(frozen=True, slots=True)
class Planner:
    """Everything that a plan depends on, apart from the choices.

    `wanted` are the partitions with identifiers that have no current result by their bases; of those that are
    `patched`, with identifiers too, the patches are needed. `labels`: those that are published are used.
    `contacts`: how many identifiers there are.
    """

    manifest: Manifest
    holdings: Holdings
    wanted: frozenset[str]
    modes: Mapping[str, Mode]
    buckets: int = BUCKETS
    labels: bool = True
    contacts: int = 0
    patched: frozenset[str] = frozenset()

    def plan(self, privacy: str, partitions: Partitions) -> Plan:
        """The download with these choices. Raises BadReply if they need rows, and none are published."""
        mode = self.modes[privacy]
        if mode.of_table:
            level = rows_of(self.manifest).level
            return Plan(privacy, partitions, (), level, answer_octets(self.manifest, self.contacts))
        parts = []
        for name, partition in sorted(self.manifest.partitions.items()):
            wanted = name in self.wanted
            if wanted or name in self.patched or partitions == "all":
                part = mode.plan(partition, self.holdings, wanted=wanted, buckets=self.buckets)
                part = with_patches(part, [whole_of(self.holdings, name, kind) for kind in WHOLE_KINDS])
                if self.labels:
                    part = with_labels(part, sidecar_of(self.holdings, name), self.buckets)
                parts.append(part)
        return Plan(privacy, partitions, tuple(parts))

    def affordable(self, privacy: str, partitions: Partitions, *, limit: int, spent: int = 0) -> Plan:
        """The plan for these choices. Raises ChoiceNeeded, with cheaper ones, if it is above the limit.

        `spent` octets have come already, of metadata.
        """
        chosen = self.plan(privacy, partitions)
        if chosen.cost + spent <= limit:
            return chosen
        others = [
            self.plan(name, which)
            for name, mode in self.modes.items()
            for which in (("all",) if mode.of_table else PARTITIONS)
            if not mode.of_table or self.manifest.rows is not None
        ]
        raise ChoiceNeeded(
            f"the download is {size_text(chosen.cost + spent)}, more than --max-download {size_text(limit)};"
            " no file was fetched, and nothing was sent that depends on the address book",
            hint="choose one of\n"
            + "\n".join(_choices(chosen, others, self.modes, spent) + self._without_labels(chosen, spent)),
        )

    def _without_labels(self, chosen: Plan, spent: int) -> list[str]:
        """The same choice without labels, if that costs less."""
        bare = replace(self, labels=False).plan(chosen.privacy, chosen.partitions)
        if bare.cost >= chosen.cost:
            return []
        size = size_text(bare.cost + spent)
        return [
            f"  --labels no: about {size}; tells the server nothing more; does not show who a match is there"
        ]


def _choices(chosen: Plan, others: list[Plan], modes: Mapping[str, Mode], spent: int) -> list[str]:
    """The chosen plan with a higher limit, and each cheaper one, with what it tells the server."""
    listed = [chosen]
    lines = [f"  --max-download {size_text(chosen.cost + spent)}: tells the server nothing more"]
    for other in others:
        mode = modes[other.privacy]
        told = [mode.tells] if mode.tells else []
        if other.partitions == "mine":
            told.append("which calling codes are in your address book")
        # Leave out a plan if another one costs no more and tells less.
        below = [p for p in listed if p.privacy in (other.privacy, *mode.tells_more_than)]
        below = [p for p in below if p.partitions in (other.partitions, "all")]
        if told and other.cost < min(p.cost for p in [chosen, *below]):
            listed.append(other)
            which = "" if mode.of_table else f" --partitions {other.partitions}"
            lines.append(
                f"  --privacy {other.privacy}{which}:"
                f" about {size_text(other.cost + spent)}; tells the server {' and '.join(told)}"
            )
    return lines
