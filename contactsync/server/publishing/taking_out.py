"""What no client can be asking for any more is deleted after the switch."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence

from contactsync.publication.history import MANIFESTS_KEPT, Link
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.repository import Repository
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
        files.update(_rows(folder, manifest, served, left))
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
    return gone


def _rows(
    folder: DataFolder, manifest: Manifest, served: Sequence[Manifest], left: Collection[str]
) -> set[str]:
    """Remove the files of rows that are not needed; the hashes of the levels that are."""
    may_stay = [
        one for one in served if one == manifest or not any(has_left(left, name) for name in one.partitions)
    ]
    remove_rows(folder.rows, manifest.audience, [one.rows for one in with_rows(may_stay) if one.rows])
    return {one.rows.level.sha256 for one in may_stay if one.rows}
