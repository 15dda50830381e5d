"""The part of the audits that is about rows for private look-up: they are made again from the data files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from contactsync.foundation.errors import BadDirectory
from contactsync.lookup.table import usual_fold_bits
from contactsync.publication.manifest import Manifest
from contactsync.publication.row_building import build_rows

RULES: Final = {
    "rows": "the level of the rows for private look-up is the one that its files give, octet by octet",
}
ABSENT: Final = "no edition has rows for private look-up"


def check_rows(manifest: Manifest, level: bytes, path_of: Callable[[str], Path], work: Path) -> None:
    """Make the rows of an edition again, in the folder `work`, and compare their level. Raises BadDirectory.

    `path_of` tells where the data file of a SHA-256 is. Other rows could hide members from whoever looks them
    up, show strangers as members, or show other labels. Raises as `build_rows`, too.
    """
    rows, made = manifest.rows, work / "rows"
    assert rows is not None
    usual = usual_fold_bits(one.directory.slot_bits for one in manifest.partitions.values())
    if rows.fold_bits > usual:
        raise BadDirectory(
            f"rows are in blocks of 2^{rows.fold_bits}, and 2^{usual} is what so many rows have at most",
            hint="in larger blocks more contacts wait for one another: no publisher makes them by itself",
        )
    try:
        built = build_rows(
            made, manifest.partitions, path_of, labelled=rows.labelled, fold_bits=rows.fold_bits
        )
    finally:
        made.unlink(missing_ok=True)
    if built.table.shape.most != rows.most:
        raise BadDirectory(
            f"the largest row has {built.table.shape.most} values, and {rows.most} are stated",
            hint="its rows are not those of its directories: mirrors that make them do not serve them",
        )
    if built.level != level:
        raise BadDirectory(
            "bases and sidecars give another level",
            hint="members may have been hidden in its rows or added to them, or have other labels there:"
            " do not look up in this edition",
        )
