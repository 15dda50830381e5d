"""Screen mode: a Bloom filter settles most contacts, single buckets of the base settle the rest.

The buckets are fetched among decoys, and never in a list that shows which are wanted. Two lists with
different decoys would have just the wanted buckets in common. So the decoys depend on the question (all
tokens that were tested against the screen, whether or not they pass). And until the answer to a list is
recorded, later lists for that partition request all of it again, whatever has changed since.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from contactsync.client.core.holdings import Files, Holdings, Sealed, whole_of
from contactsync.client.core.leak import listed
from contactsync.client.core.matching import match_partition
from contactsync.client.core.mode import (
    Allowance,
    AskedList,
    FetchFiles,
    LookUpBuckets,
    Memory,
    Settled,
    Settling,
    Subject,
)
from contactsync.client.core.plan import (
    PartitionPlan,
    carry_on,
    size_text,
    whole_base,
    with_labels,
)
from contactsync.directory.ranges import SEED_BYTES, at_width, buckets_of, chosen
from contactsync.foundation.errors import ChoiceNeeded
from contactsync.identifiers import title_of
from contactsync.publication.manifest import Partition
from contactsync.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Buckets:
    """The buckets of one partition that were fetched: `fetched` of `total`, decoys included.

    `before` is by how much earlier lists for this partition multiply the odds.
    """

    name: str
    fetched: int
    total: int
    before: float = 1.0

    @property
    def odds(self) -> float:
        """By how much the odds of guessing a contact rise when its bucket is seen fetched.

        It is 1 over the chance that the bucket is fetched anyway. That chance is fetched / total: decoys are
        drawn without repetition.
        """
        return self.total / self.fetched

    @property
    def running(self) -> float:
        """By how much all lists together multiply the odds, including this one."""
        return self.before * self.odds


@dataclass(frozen=True, slots=True)
class Crowded:
    """A partition whose whole base was fetched, because buckets would have cost no less."""

    name: str


class ScreenMode:
    """See `core.mode.Mode`."""

    name = "screen"
    tells = "the buckets of contacts that pass a Bloom filter"
    tells_more_than: Sequence[str] = ("download",)
    asks = True
    of_table = False

    def plan(self, partition: Partition, holdings: Holdings, *, wanted: bool, buckets: int) -> PartitionPlan:
        """The screen, if screen and buckets cost less than the base; else the base."""
        base = carry_on(partition, "base", partition.base, whole_of(holdings, partition.name, "base"))
        if partition.screen is None:
            return base
        screen = carry_on(partition, "screen", partition.screen, whole_of(holdings, partition.name, "screen"))
        least = partition.directory.layout.cost_of(buckets)
        # A base that costs no more tells less. The comparison must not depend on `wanted`: with all
        # partitions, the files fetched must not tell in which of them there are contacts.
        if screen.cost + least >= base.cost:
            return base
        return PartitionPlan(partition, "screen", screen.fetch, screen.holding, least if wanted else 0)

    def settle(
        self, plan: PartitionPlan, subject: Subject, files: Files, memory: Memory, allowance: Allowance
    ) -> Settling:
        """Match against the files on the disk, then look up what passes a screen in buckets of the base.

        If a screen was tested at all, buckets are fetched, even if nothing passes: fetching none would tell
        that a new contact is not a member. Raises ChoiceNeeded if that exceeds the allowed download.
        """
        screened = match_partition(files, plan, subject)
        if not screened.tested.any():
            return Settled(screened.sure, plan)
        partition = plan.partition
        candidates = subject.tokens.take(screened.maybe)
        tested = subject.tokens.take(screened.tested)
        asked = choose_buckets(plan, candidates, tested, memory, allowance)
        cost, whole = list_cost(plan, len(asked.numbers)), instead_of_list(plan, allowance.buckets)
        _check(partition, min(cost, whole.cost), allowance)
        if cost >= whole.cost:  # the base costs no more, and tells less
            yield FetchFiles(partition, whole.fetch, Crowded(partition.name))
            return Settled(match_partition(files, whole, subject).sure, whole)
        before = memory.odds.get(partition.name, 1.0)
        told = Buckets(partition.name, len(asked.numbers), partition.directory.layout.buckets, before)
        if asked == memory.asked.get(partition.name):  # the very same list tells nothing new
            told = replace(told, before=before / told.odds)
        else:
            _check_leak(told, allowance)
        # Labels of others come with the buckets that are fetched anyway. No bucket is fetched for them.
        numbers = np.array(asked.numbers, np.int64)
        others = np.flatnonzero(
            screened.sure & np.isin(buckets_of(partition.directory, subject.tokens), numbers)
        )
        sidecar = plan.entries
        looked_up = yield LookUpBuckets(
            partition, candidates, asked, told, tested, sidecar, subject.tokens.take(others)
        )
        found = screened.sure.copy()
        found[screened.maybe] = looked_up.found
        if sidecar is None:
            return Settled(found, plan)
        of = np.concatenate([np.flatnonzero(screened.maybe)[looked_up.found], others[looked_up.others]])
        return Settled(found, plan, Sealed(of, looked_up.entries))

    def sentence(self, told: Sequence[object]) -> list[str]:
        """The buckets fetched, with the odds, and the partitions that were fetched whole."""
        parts = []
        buckets = [one for one in told if isinstance(one, Buckets)]
        if buckets:
            fetched, total = sum(b.fetched for b in buckets), sum(b.total for b in buckets)
            odds = max(b.running for b in buckets)
            parts.append(
                f"fetched {fetched:,} of {total:,} buckets of {listed([b.name for b in buckets])}, decoys"
                f" included (all lists so far multiply the odds of a guess by up to {odds:,.4g})"
            )
        crowded = [one.name for one in told if isinstance(one, Crowded)]
        if crowded:
            parts.append(
                f"has so many members among its contacts in {listed(crowded)} that the whole directory was"
                " fetched"
            )
        return parts


MODE: Final = ScreenMode()


def choose_buckets(
    plan: PartitionPlan, candidates: Tokens, tested: Tokens, memory: Memory, allowance: Allowance
) -> AskedList:
    """The buckets to fetch: those of the candidates, who are some of `tested`, among decoys."""
    partition, info = plan.partition, plan.partition.directory
    question = b"".join(sorted(row.tobytes() for row in tested.to_bytes()))
    seed = hashlib.blake2b(question, key=memory.decoy_secret, digest_size=SEED_BYTES).digest()
    of, before = info.layout.buckets, memory.asked.get(partition.name)
    same = (info.slot_bits, partition.edition, seed)
    if before is not None and (before.slot_bits, before.edition, before.seed) == same:
        return before
    asked = [] if before is None else at_width(before.numbers, before.slot_bits, info)
    numbers = chosen(
        buckets_of(info, candidates).tolist(),
        of,
        seed,
        total=allowance.buckets,
        asked=[number for number in asked if 0 <= number < of],
    )
    return AskedList(memory.epoch, info.slot_bits, partition.edition, seed, tuple(numbers))


def _check(partition: Partition, cost: int, allowance: Allowance) -> None:
    """Stop before more is fetched than allowed: only now is it known how many contacts pass the screen."""
    needed, limit = allowance.spent + cost, allowance.limit
    if needed <= limit:
        return
    raise ChoiceNeeded(
        f"too many contacts pass the screen of {title_of(partition.name)}: the download would be"
        f" {size_text(needed)}, more than --max-download {size_text(limit)}; none of its buckets was fetched",
        hint="what was downloaded is kept; choose one of\n"
        f"  --max-download {size_text(needed)}: tells the server the buckets, among decoys\n"
        f"  --privacy download --partitions {allowance.partitions}:"
        f" about {size_text(allowance.whole)}; tells the server nothing about buckets",
    )


def _check_leak(told: Buckets, allowance: Allowance) -> None:
    """Stop before a list is sent, if all lists together would tell more than allowed."""
    if told.running <= allowance.leak_budget or told.odds == 1:
        return
    choices = []
    for many in range(2 * allowance.buckets, told.total + 1, allowance.buckets):
        if told.before * told.total / many <= allowance.leak_budget:
            choices.append(f"  --buckets {many}: a larger list tells less, and costs more to download")
            break
    raise ChoiceNeeded(
        f"one more bucket list for {title_of(told.name)} would multiply the odds of a guess by"
        f" {told.running:,.4g} in all, more than --leak-budget {allowance.leak_budget:,.4g};"
        " the list was not sent",
        hint="what was evaluated and downloaded is kept; choose one of\n"
        f"  --privacy download --partitions {allowance.partitions}: about {size_text(allowance.whole)};"
        " tells the server nothing about buckets\n"
        + "".join(f"{choice}\n" for choice in choices)
        + f"  --leak-budget {math.ceil(told.running)}: see `contactsync docs threat-model`",
    )


def list_cost(plan: PartitionPlan, buckets: int) -> int:
    """About how many octets it takes to fetch this many buckets, and their entries if labels are wanted."""
    entries = 0 if plan.entries is None else plan.entries.layout.cost_of(buckets)
    return plan.partition.directory.layout.cost_of(buckets) + entries


def instead_of_list(plan: PartitionPlan, buckets: int) -> PartitionPlan:
    """The whole base, with all labels if labels are wanted."""
    whole = whole_base(plan.partition)
    whole = replace(whole, holding=replace(whole.holding, patches=plan.holding.patches))
    return whole if plan.labels is None else with_labels(whole, None, buckets)
