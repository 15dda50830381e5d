"""Finishes what was logged and is not in place: after a kill, or when witnesses had not answered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root, Targets

from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.repository import Repository
from contactsync.server.witnessed.keeper import LogKeeper


def finish_logged(
    repository: Repository, log: LogKeeper, signers: Mapping[str, Signer], now: datetime
) -> list[Manifest]:
    """Switch to it; the manifests of all audiences if it is a publication. The caller holds the lock.

    `repository` has this log. Raises as `Repository.publish`, `switch_to` and `add_root` do.
    """
    switch = log.pending
    if switch is None:
        return []
    if switch.root is not None:
        root = Metadata[Root].from_bytes(switch.root)
        if root.signed.version > repository.root().version:
            repository.add_root(root)
        else:
            log.settle()
        return []
    manifests = [Manifest.from_bytes(octets, earlier=True) for octets in switch.manifests.values()]
    if all(repository.current(one.audience) == one for one in manifests):
        log.settle()
        return []
    if switch.targets is not None:
        targets = Metadata[Targets].from_bytes(switch.targets)
        repository.switch_to(targets, switch.manifests, signers, now)
    else:
        earlier = [Manifest.from_bytes(octets, earlier=True) for octets in switch.earlier]
        repository.publish(manifests, signers, now, earlier=earlier)
    return manifests
