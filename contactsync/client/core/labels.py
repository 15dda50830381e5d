"""Labels of those who matched: opened on this machine, from entries that were fetched whoever matches."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from contactsync.client.core.holdings import Files, Known, Sealed
from contactsync.client.core.matching import chain, sidecar_chain
from contactsync.client.core.plan import PartitionPlan
from contactsync.directory.sidecar import places
from contactsync.directory.sidecar_delta import entries_through
from contactsync.labels import unseal
from contactsync.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Labelled:
    """What n identifiers are called: their labels, and the edition of the labels that says so, int64[n].

    The edition is -1 where nothing is known. `unopened` counts entries of matches that do not open, `unknown`
    the matches whose entry was not fetched yet.
    """

    labels: list[str | None] = field(repr=False)
    edition: NDArray[np.int64] = field(repr=False)
    unopened: int = 0
    unknown: int = 0
    wanted: bool = False
    """Whether there were any, and they were wanted."""

    @classmethod
    def nothing(cls, count: int) -> Labelled:
        """No label of `count` identifiers."""
        return cls([None] * count, np.full(count, -1, np.int64))

    def taken(self, which: NDArray[np.bool_]) -> Labelled:
        """Those of the identifiers that a mask selects."""
        labels = [self.labels[i] for i in np.flatnonzero(which).tolist()]
        return replace(self, labels=labels, edition=self.edition[which])

    def with_those(self, which: NDArray[np.int64], those: Labelled) -> Labelled:
        """A copy with what was found of the identifiers at these indices."""
        labels, edition = self.labels.copy(), self.edition.copy()
        edition[which] = those.edition
        for i, label in zip(which.tolist(), those.labels, strict=True):
            labels[i] = label
        unopened, unknown = self.unopened + those.unopened, self.unknown + those.unknown
        return Labelled(labels, edition, unopened, unknown, wanted=True)


def label_partition(
    files: Files,
    plan: PartitionPlan,
    known: Known,
    *,
    members: NDArray[np.int64],
    sealed: Sealed | None,
    context: bytes,
) -> Labelled:
    """The labels of `members` of one partition with labels, int64[m]; in their order.

    What is known from the same edition of the labels is taken as it is. `sealed` are entries that came with
    buckets. Raises BadDirectory.
    """
    assert plan.labels is not None
    edition = plan.labels.edition
    if sealed is None and plan.sidecar is not None:
        stale = members[known.labelled[members] != edition]
        sealed = Sealed(stale, stored_entries(files, plan, known.tokens.take(stale))) if stale.size else None
    return label_members(edition, known, members=members, sealed=sealed, context=context)


def label_members(
    edition: int, known: Known, *, members: NDArray[np.int64], sealed: Sealed | None, context: bytes
) -> Labelled:
    """The labels of `members`, int64[m], in their order, of an edition of a partition's labels.

    `sealed` are entries of it, of some of the members; of the others what is known stays.
    """
    labels, of = [known.labels[i] for i in members.tolist()], known.labelled[members]
    unopened = 0
    if sealed is not None:
        place = {i: at for at, i in enumerate(members.tolist())}
        opened = unseal(known.keys[sealed.of], sealed.entries, context)
        for i, octets in zip(sealed.of.tolist(), opened, strict=True):
            labels[place[i]] = octets.decode() if octets else None
            of[place[i]] = -1 if octets is None else edition
            unopened += octets is None
    return Labelled(labels, of, unopened, int((of < 0).sum()) - unopened, wanted=True)


def stored_entries(files: Files, plan: PartitionPlan, tokens: Tokens) -> NDArray[np.uint8]:
    """The entries of m members in the stored sidecar of a partition that has its base: uint8[m, 16 + size].

    Zeros, which no key opens, for a token that is not there. Raises BadDirectory.
    """
    assert plan.sidecar is not None
    deltas = chain(files, plan)
    through = sidecar_chain(files, plan)
    with files.directory(plan.holding.base) as base, files.sidecar(plan.sidecar.sidecar) as sidecar:
        place = places(base, deltas, tokens)
        entries = np.zeros((len(tokens), sidecar.info.layout.entry_bytes), np.uint8)
        entries[place >= 0] = entries_through(sidecar, through, place[place >= 0])
    return entries
