"""Reads back what a store has, and compares it with the folder. The next copy puts again what is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from contactsync.foundation.progress import Progress, silent
from contactsync.server.objects.copying import hash_of
from contactsync.server.objects.files import BELOW, public_files, to_copy
from contactsync.server.objects.opening import open_objects
from contactsync.server.objects.ports import Objects
from contactsync.server.objects.record import StoreRecord
from contactsync.server.settings import DataFolder


@dataclass(frozen=True, slots=True)
class StoreFaults:
    """Names in a store: what is missing, what holds something else than the folder, what is too much."""

    read: int
    missing: tuple[str, ...]
    different: tuple[str, ...]
    left_over: tuple[str, ...]


def check_store(
    folder: DataFolder, progress: Progress = silent, *, opened: Callable[[str], Objects] = open_objects
) -> StoreFaults | None:
    """What is wrong in the store of a folder, whose lock the caller holds; None if it names no store.

    Each file is read whole, one at a time. What was found is kept in `store.json`, for the next copy and for
    `serve`. Raises what `Objects` raises.
    """
    if (found_here := to_copy(folder)) is None:
        return None
    store, published = found_here
    objects, files = opened(store), public_files(folder.public, published)
    there = {one.name: one.size for one in objects.entries(BELOW)}
    missing, different = [], []
    all_files = [*files.fixed, *files.roots, *files.switches]
    for done, one in enumerate(all_files):
        progress("reading the store", done, len(all_files))
        length = one.path.stat().st_size
        if (size := there.get(one.name)) is None:
            missing.append(one.name)
            continue
        found = objects.read(one.name, length) if size == length else None
        if found is None or hashlib.sha256(found[0]).hexdigest() != hash_of(one.path):
            different.append(one.name)
    record = StoreRecord.read(folder.path, store)
    if (checked := record.checked(missing, different)) != record:
        checked.write(folder.path)
    left_over = sorted(there.keys() - files.names())
    return StoreFaults(len(all_files), tuple(missing), tuple(different), tuple(left_over))
