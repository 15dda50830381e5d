"""From the files of an edition to the rows for private look-up. docs/lookup.md, "In the manifest"."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from contactsync.directory import open_directory
from contactsync.directory.sidecar import open_sidecar
from contactsync.lookup.table_file import BuiltTable, build_table
from contactsync.publication.partition import Partition
from contactsync.publication.rows import sources_of


def build_rows(
    path: Path,
    partitions: Mapping[str, Partition],
    path_of: Callable[[str], Path],
    *,
    labelled: bool,
    fold_bits: int,
) -> BuiltTable:
    """Write the rows of the partitions of an edition to `path`, in blocks of 2^fold_bits.

    `path_of` tells where the data file of a SHA-256 is: each is verified. If `labelled`, rows have the labels
    of all partitions that have some. Raises BadInput (a file is not there), BadDirectory (it is another
    one), and as `build_table`.
    """
    with contextlib.ExitStack() as stack:
        directories, sidecars = {}, {}
        for name, (base, labels) in sources_of(partitions, labelled=labelled).items():
            opened = open_directory(path_of(base.file.sha256), expect=base)
            directories[name] = stack.enter_context(opened)
            if labels is not None:
                sidecar = open_sidecar(path_of(labels.file.sha256), expect=labels)
                sidecars[name] = stack.enter_context(sidecar)
        return build_table(path, directories, sidecars, fold_bits)
