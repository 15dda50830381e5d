"""What no client can be asking for any more is deleted after the switch."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence

from contactsync.publication.history import MANIFESTS_KEPT, Link
from contactsync.publication.manifest import Manifest, PublishedRows
from contactsync.publication.tuf.repository import Repository
from contactsync.server.publishing.looked_up import has_level
from contactsync.server.publishing.plan import has_left
from contactsync.server.row_files import remove_rows, with_rows
from contactsync.server.settings import EDITIONS_SERVED, DataFolder


def take_out(
    folder: DataFolder, repository: Repository, published: Collection[Manifest], left: Collection[str]
) -> list[int]:
    """Delete it, and give the lengths of the data files that are gone. Raises OSError.

    Of the partitions that somebody has `left`, nothing stays but what is `published`; nor do the rows of
    earlier editions, which are of all partitions.
    """
    manifests: list[Link] = []
    files: set[str] = set()
    rows: dict[str, list[PublishedRows]] = {}
    for manifest in published:
        served = list(repository.history(manifest.audience, EDITIONS_SERVED))
        files.update(manifest.files())
        files.update(
            file.sha256
            for old in served
            for partition in old.all_partitions()
            if not has_left(left, partition.name)
            for file in partition.files()
        )
        stays = _with_rows(folder, manifest, served, left)
        files.update(one.rows.level.sha256 for one in stays if one.rows)
        rows[manifest.audience] = [one.rows for one in with_rows(stays) if one.rows]
        # A client may be walking back from any manifest whose files are still served.
        manifests += repository.links(manifest.audience, MANIFESTS_KEPT + EDITIONS_SERVED - 1)
    repository.prune(manifests)
    gone = []
    for path in folder.data.iterdir():
        if path.is_dir():  # of a build that was killed
            shutil.rmtree(path)
        elif path.name not in files:
            gone.append(path.stat().st_size)
            path.unlink()
    for audience, kept in rows.items():  # after the bases: nobody makes them again then
        remove_rows(folder.rows, audience, kept)
    return gone


def _with_rows(
    folder: DataFolder, manifest: Manifest, served: Sequence[Manifest], left: Collection[str]
) -> list[Manifest]:
    """The editions whose rows stay: not of partitions that somebody has left, now or at a publish before."""
    return [
        one
        for one in served
        if one == manifest
        or (has_level(folder.data, one) and not any(has_left(left, name) for name in one.partitions))
    ]
