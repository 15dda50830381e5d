"""What must be done so that clients can use what is published, apart from what `status` says."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from contactsync.foundation.errors import ContactSyncError
from contactsync.foundation.roles import ONLINE
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.rehearsal import check_served
from contactsync.publication.tuf.repository import Repository
from contactsync.publication.tuf.signed import LIFETIMES
from contactsync.server.settings import DataFolder

_RENEWED_AT: Final = 2
"""`serve` signs anew at a half of a lifetime: what has less than a half of that half is not being renewed."""


def is_whole_file(folder: DataFolder, name: str, length: int) -> bool:
    """Whether a data file is there with its length."""
    try:
        return (folder.data / name).stat().st_size == length
    except OSError:
        return False


def missing_files(folder: DataFolder, manifest: Manifest) -> int:
    """How many data files of a manifest are missing, or have another length."""
    return sum(not is_whole_file(folder, name, file.length) for name, file in manifest.files().items())


def audiences_of(repository: Repository) -> list[str]:
    """The audiences that something is published for. Raises OurError if the metadata is damaged."""
    published = repository.published()
    names = () if published is None else published.targets.signed.targets
    return [name.removesuffix(".json") for name in names]


def check_publication(folder: DataFolder, now: datetime) -> list[str]:
    """Sentences that say what is wrong with what is served, and what to do; none: clients accept it."""
    repository, found = Repository(folder.public), []
    try:
        if repository.published() is None:
            return ["nothing is published: `server publish`"]
        expires = repository.expiries()
        for role in ONLINE:
            left = expires[role] - now
            if now < expires[role] and left < LIFETIMES[role] / (2 * _RENEWED_AT):
                found.append(
                    f"the {role} metadata expires on {expires[role]:%Y-%m-%d %H:%M} UTC and is not being"
                    " renewed: start `serve` (its log says why it cannot), or publish"
                )
        audiences = audiences_of(repository)
        if all(end > now for end in expires.values()):
            check_served(folder.public, audiences, now)
        for audience in audiences:
            manifest = repository.current(audience)
            if manifest is not None and (lost := missing_files(folder, manifest)):
                what = f"{lost} data files of {audience} are missing or cut"
                found.append(f"{what}: publish, which makes them again")
    except ContactSyncError as error:
        how = "publish again, or restore public/ from a backup"
        found.append(f"clients refuse what is served: {error}: {how}")
    except OSError as error:
        found.append(f"public/ cannot be read: {error.strerror}: correct its permissions, or restore it")
    return found
