"""The object store that has a copy of what is published."""

from __future__ import annotations

from contactsync.foundation.progress import Progress, silent
from contactsync.server.objects.address import StoreUrl
from contactsync.server.objects.checking import StoreFaults, check_store
from contactsync.server.objects.copying import Copied, copy_published
from contactsync.server.settings import LOCK_WAIT, DataFolder

__all__ = ["Copied", "StoreFaults", "StoreUrl", "check", "copy", "name_store"]


def name_store(folder: DataFolder, url: str) -> None:
    """Copy each publish to this store from now on; "": to none. Raises BadInput."""
    named = url and str(StoreUrl.parse(url))
    if named != folder.settings().store:
        folder.name_store(named)


def copy(folder: DataFolder, progress: Progress = silent, *, replace: bool = False) -> Copied | None:
    """Bring the store to what is published; None if there is no store, or nothing is published.

    `replace` overwrites what another history has left there. Raises Busy if a publish is running.
    """
    with folder.lock(wait=LOCK_WAIT):
        return copy_published(folder, progress, replace=replace)


def check(folder: DataFolder, progress: Progress = silent) -> StoreFaults | None:
    """Read back what the store has, and compare it; None as for `copy`."""
    with folder.lock(wait=LOCK_WAIT):
        return check_store(folder, progress)
