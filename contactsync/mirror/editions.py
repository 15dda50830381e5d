"""The editions that a mirror serves: it makes their rows itself, and takes none from the operator.

Only what has the root that the manifest states is served: so a mirror answers with the rows that were signed,
or not at all, and both servers of a look-up compute with the same ones (docs/lookup.md, "Selective failure").
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from contactsync.foundation import durable
from contactsync.foundation.errors import BadDirectory, BadInput
from contactsync.lookup.table_file import open_table
from contactsync.mirror.folder import MirrorFolder
from contactsync.publication.manifest import Manifest
from contactsync.publication.rows import PublishedRows
from contactsync.server.lookups import OpenRows
from contactsync.server.row_files import make_rows, row_file


class NoRows(BadInput):
    """The publication has no rows."""


class RowsDiffer(BadDirectory):
    """The rows that the directories give are not those that the manifest states: it will not get better."""


@dataclass(frozen=True, slots=True, eq=False)
class MirroredEdition:
    """An edition whose rows are verified, and ready to be looked up."""

    manifest: Manifest
    stated: PublishedRows
    rows: OpenRows

    @property
    def root(self) -> str:
        """The root of its rows, 64 hex digits."""
        return self.stated.level.sha256


def rows_of(manifest: Manifest) -> PublishedRows:
    """The rows that a manifest states. Raises NoRows."""
    if manifest.has_later_rows:
        raise NoRows(
            f"epoch {manifest.epoch}, edition {manifest.edition} has rows of a form that this program does"
            " not know",
            hint="update contactsync",
        )
    if manifest.rows is None:
        raise NoRows(
            f"this publication has no rows (epoch {manifest.epoch}, edition {manifest.edition})",
            hint="ask the operator for `publish --private-lookup yes`",
        )
    return manifest.rows


def open_edition(folder: MirrorFolder, manifest: Manifest) -> MirroredEdition:
    """An edition whose rows are in the folder and were made from its sources: all of them are verified.

    Raises BadDirectory (they are not those that the manifest states), BadInput (they are not there).
    """
    stated = rows_of(manifest)
    table = stated.table(manifest.partitions)
    level = folder.data / stated.level.sha256
    if not level.is_file() or hashlib.sha256(level.read_bytes()).hexdigest() != level.name:
        raise BadInput(f"{level} is not there, or damaged")
    blocks = open_table(row_file(folder.rows, manifest.audience, stated.root), table, stated.root)
    return MirroredEdition(manifest, stated, OpenRows(blocks, table.layout))


def make_edition(folder: MirrorFolder, manifest: Manifest) -> MirroredEdition:
    """Make the rows of an edition whose bases and, for labels, sidecars are in the folder; open it.

    That a file of the root that is stated is there already says nothing: it may be of other bases.

    Raises RowsDiffer, BadDirectory (a base or a sidecar is damaged), OurError (the disk).
    """
    stated = rows_of(manifest)
    made_from = "directories and labels" if stated.labelled else "directories"
    try:
        made, level = make_rows(
            folder.rows,
            manifest.audience,
            manifest.partitions,
            folder.data,
            labelled=stated.labelled,
            fold_bits=stated.fold_bits,
        )
    except BadInput as error:
        raise RowsDiffer(
            f"the {made_from} of epoch {manifest.epoch}, edition {manifest.edition} give no rows: {error}",
            hint="they are not served; tell the operator, and who uses this mirror",
            refusal="bad-hash",
        ) from error
    if made != stated:
        raise RowsDiffer(
            f"the {made_from} of epoch {manifest.epoch}, edition {manifest.edition} give other rows than its"
            " manifest states",
            hint="they are not served; tell the operator, and who uses this mirror",
            refusal="bad-hash",
        )
    durable.write(folder.data / stated.level.sha256, level)
    return open_edition(folder, manifest)
