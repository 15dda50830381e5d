"""What stays of an announced epoch, when it is in force.

Editions count from 1 again then. A partition whose announced edition is edition 1 needs nothing: what was
matched against it, and files without deltas, are those of edition 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from contactsync.client.core.holdings import Holding, SidecarHolding
from contactsync.publication.manifest import Manifest, Partition


def carried_on(
    announced: Mapping[str, tuple[int, str]], published: Manifest, first: Manifest | None
) -> dict[str, Partition]:
    """The partitions whose announced edition is edition 1 of the epoch, as they are in edition 1.

    `announced` has the edition and the SHA-256 of the base, `first` is edition 1 of the epoch; None if it is
    not known.
    """
    firsts = {} if first is None else dict(first.partitions)
    firsts |= {name: one for name, one in published.partitions.items() if one.edition == 1}
    bases = {name: base for name, (_, base) in announced.items()}
    return {name: one for name, one in firsts.items() if bases.get(name) == one.base.sha256}


def as_edition_1(holding: Holding) -> Holding:
    """A holding without deltas that is edition 1 now."""
    return Holding(1, holding.whole, holding.base)


def as_edition_of(holding: SidecarHolding, edition: int) -> SidecarHolding:
    """A stored sidecar whose labels are of this edition now. Its deltas say by hashes what they lead to."""
    if not holding.deltas:
        return replace(holding, edition=edition)
    *before, (start, _, file) = holding.deltas
    return replace(holding, deltas=(*before, (start, edition, file)))
