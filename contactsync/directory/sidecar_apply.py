"""A sidecar that is carried on: an old one and a chain of deltas make the new one, byte for byte."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from contactsync.directory.format import bad
from contactsync.directory.reader import Directory
from contactsync.directory.sidecar import Sidecar
from contactsync.directory.sidecar_delta import SidecarDelta, check_chain, entries_through
from contactsync.directory.sidecar_format import SidecarInfo
from contactsync.directory.sidecar_writing import whole_buckets, write_entries
from contactsync.foundation import durable
from contactsync.foundation.errors import OurError


def apply_to_sidecar(
    path: str | os.PathLike[str],
    sidecar: Sidecar,
    chain: Sequence[SidecarDelta],
    directory: Directory,
    reaches: SidecarInfo,
) -> None:
    """Write the sidecar of a directory that a chain leads to from an older one; O(count).

    It is, byte for byte, the one that the publisher built: `reaches` is what the manifest says about it. The
    file has its name only once it is whole and has been compared with that.

    Raises BadDirectory if the deltas do not lead from the one sidecar to the other, or make another one;
    OurError (the disk). Then there is no file.
    """
    path = Path(path)
    check_chain(sidecar.info, chain, reaches)
    what = str(chain[-1]) if chain else sidecar.name
    if (directory.count, directory.info.slot_bits) != (reaches.count, reaches.slot_bits):
        raise bad(what, "it leads to labels of another directory", "not-as-described")
    counts = directory.span.count
    try:
        with durable.replacing(path, mode=durable.PUBLIC_FILE) as file:
            parts = (
                (numbers, entries_through(sidecar, chain, np.arange(first, end)))
                for numbers, first, end in whole_buckets(reaches.layout, counts)
            )
            if write_entries(file, reaches.layout, counts, parts) != reaches:
                raise bad(what, "its result is not the sidecar that the manifest names", "bad-hash")
    except OSError as error:
        raise OurError(
            f"{path}: the sidecar cannot be written: {error.strerror or error}",
            hint="Check the free space and the permissions of that folder.",
        ) from error
