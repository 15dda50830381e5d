"""How much a server learns over the years from syncs: the odds of a guess "this number is in the book".

Download mode tells nothing about a number, so its odds are 1. In screen mode each bucket list for a partition
of B buckets, f of them fetched, multiplies the odds of a guess whose bucket is in it by B / f
(docs/threat-model.md, "Buckets"). Decoys are drawn without repetition, and anew for each question.

Two sums are told apart. A *contact* is wanted in one list for each epoch, and in one more for each time
that the client was too far behind for deltas: over d devices in k = d·(epochs + behind) lists. So (B / f)^k
are the odds that a server has against it. The *ledger* adds up all lists, also those about other contacts: it
is an upper bound, and what the client's own budget limits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from contactsync.directory.bounds import MOST, has_screen
from contactsync.directory.format import Layout, slot_bits_for
from contactsync.foundation.errors import BadInput

DOWNLOAD, SCREEN = "download", "screen"


@dataclass(frozen=True, slots=True)
class Life:
    """What a client does over its life, against one partition.

    `members` of the partition; `contacts` of the book who are among them; `syncs` that have something new
    to look up, each of which sends one list in screen mode, spread over `epochs`. `behind`: how often it was
    more than 32 editions behind. `devices` have the same book. `guesses` are numbers of the book that are
    guessed together. `buckets` and `leak_budget` are the options of `sync`.
    """

    members: int
    contacts: int
    mode: str = SCREEN
    syncs: int = 1
    epochs: int = 1
    behind: int = 0
    devices: int = 1
    guesses: int = 1
    buckets: int = 64
    leak_budget: float = 1000.0
    layout: Layout = field(init=False)

    def __post_init__(self) -> None:
        """Raises BadInput for figures that do not go together."""
        if not 1 <= self.members <= MOST:
            raise BadInput(f"a partition has 1 to {MOST:,} members, not {self.members:,}")
        if not 1 <= self.contacts <= self.members:
            raise BadInput(
                f"{self.contacts:,} contacts among {self.members:,} members is not possible",
                hint="--contacts counts the contacts who are members of the partition",
            )
        if self.guesses > self.contacts:
            raise BadInput(
                f"{self.guesses:,} right guesses about {self.contacts:,} contacts are not possible"
            )
        if self.syncs < self.epochs:
            raise BadInput(
                f"{self.epochs:,} epochs need as many syncs, not {self.syncs:,}",
                hint="each epoch has the contacts looked up once more",
            )
        object.__setattr__(self, "layout", Layout(self.members, slot_bits_for(self.members), 32, 0))


@dataclass(frozen=True, slots=True)
class Leakage:
    """What such a life tells. Odds are factors; 1 tells nothing. Chances are of 0 to 1."""

    screened: bool
    """Whether bucket lists are sent at all: else the whole directory is fetched."""
    buckets_total: int
    buckets_fetched: int
    per_list: float
    """B / f, for a list of the usual size; a list for many contacts has more buckets, and tells less."""
    lists: int
    """Lists that all devices send within the budget of each."""
    lists_refused: int
    """Lists that the client does not send, because of the budget."""
    contact_lists: int
    """Lists in which one contact is wanted."""
    contact_odds: float
    """What the server has against one contact."""
    group_odds: float
    """The same for all guesses together."""
    ledger_odds: float
    """What the ledger of one device says."""
    prior: float
    """Chance that a member picked at random is a contact."""
    chance: float
    """The same, of a member whose bucket was in all lists in which a contact's would be."""
    lists_to_name: float
    """Lists in which a contact must be wanted until such a member is a contact more likely than not."""


def leakage(life: Life) -> Leakage:
    """What a server can learn from such a life."""
    total = life.layout.buckets
    screened = life.mode == SCREEN and has_screen(life.members) and total > life.buckets
    prior = life.contacts / life.members
    if not screened:
        return Leakage(False, total, 0, 1.0, 0, 0, 0, 1.0, 1.0, 1.0, prior, prior, math.inf)
    fetched = min(total, life.buckets * max(1, math.ceil(life.contacts / life.buckets)))
    # The first list of an epoch wants all contacts; a later one a few, and has the least size. It is that one
    # which tells most, and an upper bound takes it for all.
    bits = math.log2(total / life.buckets)
    first_bits = math.log2(total / fetched)
    wanted = life.syncs + life.behind
    allowed = _within(life.leak_budget, bits, first_bits, life.epochs + life.behind)
    sent = min(wanted, allowed)
    whole = min(life.epochs + life.behind, sent)
    contact_lists = life.devices * whole
    contact_bits = contact_lists * first_bits
    ledger_bits = whole * first_bits + (sent - whole) * bits
    odds = _power(contact_bits)
    return Leakage(
        screened=True,
        buckets_total=total,
        buckets_fetched=fetched,
        per_list=total / life.buckets,
        lists=sent * life.devices,
        lists_refused=(wanted - sent) * life.devices,
        contact_lists=contact_lists,
        contact_odds=odds,
        group_odds=_power(contact_bits * life.guesses),
        ledger_odds=_power(ledger_bits),
        prior=prior,
        chance=_chance(life.contacts, life.members, contact_bits),
        lists_to_name=math.log2(life.members / life.contacts) / first_bits if first_bits else math.inf,
    )


def course(life: Life, most: int = 0) -> list[tuple[int, float]]:
    """For 0, 1, 2 … lists in which a contact is wanted: the chance that a guess which was in all is right."""
    found = leakage(life)
    bits = math.log2(found.buckets_total / found.buckets_fetched) if found.screened else 0.0
    last = most or max(4, found.contact_lists, math.ceil(min(found.lists_to_name, 32)) + 1)
    return [(n, _chance(life.contacts, life.members, n * bits)) for n in range(last + 1)]


def _within(budget: float, bits: float, first_bits: float, first: int) -> int:
    """How many lists of so many bits stay within a budget; the first ones are larger and tell less."""
    left = math.log2(budget) + 1e-9
    if first_bits * first > left:
        return int(left / first_bits)
    return first + int((left - first_bits * first) / bits)


def _chance(contacts: int, members: int, bits: float) -> float:
    """Bayes: m contacts are in all lists; of the N - m others, one in 2^bits is."""
    others = (members - contacts) * 2.0 ** -min(bits, 1000.0)
    return float(contacts / (contacts + others))


def _power(bits: float) -> float:
    return float(2.0 ** min(bits, 1000.0))
