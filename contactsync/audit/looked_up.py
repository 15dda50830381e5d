"""The part of the audits that is about rows for private look-up: they are made again from the bases."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contactsync.directory import open_directory
from contactsync.foundation.errors import BadDirectory
from contactsync.lookup.table_file import build_table
from contactsync.publication.manifest import Manifest

RULES: Final = {
    "rows": "the level of the rows for private look-up is the one that the bases give, octet by octet",
}
ABSENT: Final = "no edition has rows for private look-up"


def check_rows(manifest: Manifest, level: bytes, bases: Mapping[str, Path], work: Path) -> None:
    """Make the rows of an edition again, in the folder `work`, and compare their level. Raises BadDirectory.

    `bases` has the path of each partition's base. Other rows could hide members from whoever looks them
    up, or show strangers as members. Raises as `build_table`, too.
    """
    rows, made = manifest.rows, work / "rows"
    assert rows is not None
    try:
        with contextlib.ExitStack() as stack:
            opened = {
                name: stack.enter_context(open_directory(bases[name], expect=one.directory))
                for name, one in manifest.partitions.items()
            }
            built = build_table(made, opened)
    finally:
        made.unlink(missing_ok=True)
    if built.table.shape.most != rows.most:
        raise BadDirectory(
            f"the largest row has {built.table.shape.most} values, and {rows.most} are stated",
            hint="its rows are not those of its directories: mirrors that make them do not serve them",
        )
    if built.level != level:
        raise BadDirectory(
            "the bases give another level",
            hint="members may have been hidden in its rows, or added to them: do not look up in this edition",
        )
