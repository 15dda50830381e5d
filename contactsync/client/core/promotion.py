"""What of all that is stored stays, where the numbers of editions alone do not tell what they are.

Of an announced epoch that is in force, editions count from 1 again. A partition whose announced edition is
edition 1 needs nothing: what was matched against it, and files without deltas, are those of edition 1. After
a gap in the history, a base is known again by its SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from contactsync.client.core.holdings import Files, Holding, Holdings, SidecarHolding
from contactsync.foundation.errors import BadDirectory, BadInput
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


def same_bases(files: Files, held: Holdings, partitions: Mapping[str, Partition]) -> set[str]:
    """The partitions of which what is held leads to the base that is stated, whatever history that is of.

    The base is the same by its SHA-256, so what was matched against it holds. Of labels this cannot be said.
    """
    return {
        name
        for (name, _), holding in held.items()
        if isinstance(holding, Holding)
        and (partition := partitions.get(name)) is not None
        and partition.labels is None
        and _is_same(files, holding, partition)
    }


def _is_same(files: Files, holding: Holding, partition: Partition) -> bool:
    if holding.reached != partition.edition:
        return False
    if not holding.deltas:
        return holding.base == partition.directory
    try:
        return files.delta(holding.deltas[-1][2]).new_sha256 == partition.base.sha256
    except (BadDirectory, BadInput):
        return False


def as_edition_1(holding: Holding) -> Holding:
    """A holding without deltas that is edition 1 now."""
    return Holding(1, holding.whole, holding.base)


def as_edition_of(holding: SidecarHolding, edition: int) -> SidecarHolding:
    """A stored sidecar whose labels are of this edition now. Its deltas say by hashes what they lead to."""
    if not holding.deltas:
        return replace(holding, edition=edition)
    *before, (start, _, file) = holding.deltas
    return replace(holding, deltas=(*before, (start, edition, file)))
