"""Signed metadata by itself, wherever it is kept: how long it counts, what it says, who has signed it."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tuf.api.metadata import Metadata, Root, Signed, TargetFile

from contactsync.publication.manifest import Manifest

# The timestamp's lifetime bounds how long an attacker on the network can hold a client on an old edition, and
# that of the targets how long a thief of the online keys can. The server renews the online roles by itself at
# half of theirs; the root and the targets wait for a publish.
LIFETIMES: Final = {
    "root": timedelta(days=365),
    "targets": timedelta(days=90),
    "snapshot": timedelta(days=30),
    "timestamp": timedelta(days=7),
}
NOTICE: Final = {"root": timedelta(days=90), "targets": timedelta(days=30)}
"""How long before its end it is said that a role wants to be signed, which no server does by itself."""


def expiry(role: str, now: datetime) -> datetime:
    """Until when metadata of a role counts that is signed now."""
    return (now.astimezone(UTC) + LIFETIMES[role]).replace(microsecond=0)


def is_due(signed: Signed, now: datetime) -> bool:
    """Whether metadata is past half of its lifetime."""
    return signed.expires - now < LIFETIMES[signed.type] / 2


def copy_of(root: Root) -> Root:
    """A root that shares nothing with this one: `to_dict` does."""
    return Root.from_dict(copy.deepcopy(root.to_dict()))


def renewed_root(root: Root, now: datetime) -> Root:
    """The next root with the same keys."""
    renewed = copy_of(root)
    renewed.version += 1
    renewed.expires = expiry("root", now)
    return renewed


def targets_of(manifests: Iterable[Manifest]) -> dict[str, TargetFile]:
    """What targets metadata says of the manifests of all audiences."""
    found = {}
    for manifest in manifests:
        data, name = manifest.to_bytes(), f"{manifest.audience}.json"
        found[name] = TargetFile(len(data), {"sha256": hashlib.sha256(data).hexdigest()}, name)
    return found


def is_signed(metadata: Metadata[Any], role: str, root: Root) -> bool:
    """Whether enough keys have signed that `root` names for the role."""
    return bool(root.get_verification_result(role, metadata.signed_bytes, metadata.signatures))
