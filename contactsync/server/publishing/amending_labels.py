"""The labels of a partition that is made of what is published and what changed since.

Those of who joined, or was given another label, are sealed here, in the process that has them; all others are
copied from the published sidecar. What comes of it is what a `BuildJob` makes of all outputs.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contactsync.directory import Directory
from contactsync.directory.amending import Changes
from contactsync.directory.sidecar import open_sidecar
from contactsync.directory.sidecar_amending import amend_sidecar, sidecar_changes
from contactsync.directory.sidecar_delta import write_differences
from contactsync.foundation import durable
from contactsync.labels import context, seal
from contactsync.publication.manifest import Labels, Partition
from contactsync.server.publishing.job import chained
from contactsync.server.publishing.plan import AudiencePlan
from contactsync.server.storage.ports import MemberStore
from contactsync.server.storage.token_log import noted_as
from contactsync.tokens import TOKEN_BYTES, Tokens


def sealed_changes(
    registry: MemberStore, plan: AudiencePlan, old: Partition, labels: Labels
) -> NDArray[np.uint8] | None:
    """The entries of a published partition that may be others now, each after its token.

    uint8[n, 10 + 16 + size]. None if that is not known, or all have to be made anew as a label is longer than
    those that are published may be. Call it in a `snapshot`.
    """
    found = registry.changed_outputs(plan.audience, plan.epoch, old.name, noted_as(old))
    if found is None:
        return None
    tokens, keys, texts = found
    if max(map(len, texts), default=0) > labels.size:
        return None
    entries = seal(keys, texts, labels.size, context(plan.audience, plan.epoch))
    return np.hstack([tokens.to_bytes(), entries])


def amended_labels(
    data: Path,
    old: Partition,
    directory: Directory,
    changes: Changes,
    sealed: NDArray[np.uint8],
    *,
    edition: int,
    unnamed: Path,
) -> Labels | None:
    """The labels of a directory that a published one, of `old`, has become: `sealed_changes` on what it has.

    None if it has none. Raises Contradicted, BadDirectory and BadInput: all have to be made anew.
    """
    before = old.labels
    if before is None:
        return None
    tokens, entries = Tokens.from_bytes(sealed), np.ascontiguousarray(sealed[:, TOKEN_BYTES:])
    # `amend_sidecar` verifies by SHA-256 what it copies.
    with open_sidecar(data / before.file.sha256, expect=before.info(old), check="xxh3") as sidecar:
        changed = sidecar_changes(sidecar, directory, changes, tokens, entries)
        if not len(changed):
            return before
        info = amend_sidecar(unnamed, sidecar, directory, changed)
    durable.rename(unnamed, data / info.file.sha256)
    written = write_differences(
        unnamed,
        (before.info(old), info),
        (changed.dropped, changed.placed),
        lambda _places: changed.entries,
        from_edition=before.edition,
        to_edition=edition,
    )
    deltas = chained(before.deltas, (before.edition, edition), written, unnamed, data)
    return replace(before, edition=edition, top_sha256=info.top_sha256, file=info.file, deltas=deltas)
