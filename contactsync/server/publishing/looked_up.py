"""The rows of an edition: what a manifest states of them before it is published, made from its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from contactsync.foundation import durable
from contactsync.foundation.errors import BadDirectory, BadInput, OurError
from contactsync.foundation.progress import Progress, silent
from contactsync.lookup.table import usual_fold_bits
from contactsync.publication.manifest import Manifest, PublishedRows
from contactsync.publication.rows import ROWS, sources_of
from contactsync.server.publishing.job import STILL_SERVED, is_whole
from contactsync.server.publishing.merge import Outcome
from contactsync.server.row_files import make_rows, row_file
from contactsync.server.settings import DataFolder


def state_rows(
    folder: DataFolder, before: Manifest | None, after: Manifest, progress: Progress = silent
) -> Manifest:
    """The manifest that follows `before`, or is it, with the rows of its partitions, if the settings say so.

    If only the rows are to be others, it is another edition. Level and rows are on the disk then. Those of
    the same bases are not made again, unless one of these files is gone.

    Raises OurError if there can be no rows of such partitions: nothing was published.
    """
    rows = None
    is_patched = any(
        one.patches is not None for one in after.partitions.values()
    )  # until the bases are written
    if folder.settings().private_lookup and after.partitions and not is_patched:
        rows = _still_right(folder, before, after) or _made(folder, after, progress)
    if rows == after.rows:
        return after
    if after is before:
        after = replace(before, edition=before.edition + 1, previous=before.sha256())
    return replace(after, rows=rows)


def state_all_rows(
    folder: DataFolder,
    before: Mapping[str, Manifest | None],
    after: Sequence[Manifest],
    outcomes: Sequence[Outcome],
    progress: Progress = silent,
) -> tuple[list[Manifest], list[Outcome]]:
    """The same for the manifests of all audiences; and what was done for them, with their editions."""
    stated = [state_rows(folder, before[one.audience], one, progress) for one in after]
    others = {
        (one.audience, one.epoch): one.edition
        for one, old in zip(stated, after, strict=True)
        if one.edition != old.edition
    }
    return stated, [
        replace(one, edition=others[of], changed=one.changed or ())
        if (of := (one.audience, one.epoch)) in others
        else one
        for one in outcomes
    ]


def lacks_rows(folder: DataFolder, manifest: Manifest | None) -> bool:
    """Whether what is published has rows and is not to have any, or the other way round.

    So with rows of another form than they would have now: earlier versions made them without labels, and
    those of large tables in no blocks.
    """
    if manifest is None:
        return False
    if not (folder.settings().private_lookup and manifest.partitions):
        return manifest.rows is not None
    return manifest.rows is None or _form(manifest.rows) != _form_of(manifest)


def damaged_parts(data: Path, manifest: Manifest) -> list[str]:
    """The partitions of which a file is missing in the folder `data`, or cut; and "rows", of their level."""
    partitions = [one.name for one in manifest.all_partitions() if not is_whole(data, one)]
    return [*partitions, *([] if has_level(data, manifest) else [ROWS])]


def has_level(data: Path, manifest: Manifest) -> bool:
    """Whether the level of a manifest's rows, if it has any, is in the folder `data`, with its length."""
    if manifest.rows is None:
        return True
    level = manifest.rows.level
    try:
        return (data / level.sha256).stat().st_size == level.length
    except FileNotFoundError:
        return False


def _still_right(folder: DataFolder, before: Manifest | None, after: Manifest) -> PublishedRows | None:
    """The rows that were published before, if they are those of the same files and these are there."""
    if before is None or before.rows is None:
        return None
    labelled = after.has_labels
    if _form(before.rows) != _form_of(after):
        return None
    if sources_of(before.partitions, labelled=labelled) != sources_of(after.partitions, labelled=labelled):
        return None
    path = row_file(folder.rows, after.audience, before.rows.root)
    return before.rows if has_level(folder.data, before) and path.exists() else None


def _form(rows: PublishedRows) -> tuple[bool, int]:
    return rows.labelled, rows.fold_bits


def _form_of(manifest: Manifest) -> tuple[bool, int]:
    """The form that rows of an edition have: with labels or without, in blocks of how many rows."""
    slot_bits = (one.directory.slot_bits for one in manifest.partitions.values())
    return manifest.has_labels, usual_fold_bits(slot_bits)


def _made(folder: DataFolder, manifest: Manifest, progress: Progress) -> PublishedRows:
    progress(f"rows of {manifest.audience}", 0, 1)
    try:
        rows, level = make_rows(
            folder.rows,
            manifest.audience,
            manifest.partitions,
            folder.data,
            labelled=manifest.has_labels,
            fold_bits=_form_of(manifest)[1],
        )
    except (BadDirectory, BadInput) as error:
        raise OurError(
            f"{manifest.audience} cannot have rows for private look-up: {error}",
            hint=f"{STILL_SERVED}; or `server publish --private-lookup no`",
        ) from error
    durable.write(folder.data / rows.level.sha256, level, mode=durable.PUBLIC_FILE)
    progress(f"rows of {manifest.audience}", 1, 1)
    return rows
