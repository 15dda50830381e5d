"""The part of `audit publication` that is about patches: what leads on from a base that stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contactsync.audit.report import AuditReport
from contactsync.audit.uniformity import Spread
from contactsync.directory import Directory
from contactsync.directory.delta import Delta, check_against, read_delta
from contactsync.foundation.errors import BadDirectory, NetworkError
from contactsync.publication.partition import Partition

RULES: Final = {
    "patches": "patches lead from each base that has some to what is stated; none adds what is there or"
    " removes what is not",
}
ABSENT: Final = "no partition has patches"


def audit_patches(
    report: AuditReport,
    place: str,
    partition: Partition,
    base: Directory,
    files: Mapping[str, Path | None],
) -> Spread:
    """Audit the patches of one partition. `files` has the path of each file, by its SHA-256.

    Returns how the tokens that they add are spread.
    """
    spread, patches = Spread(), partition.patches
    if patches is None:
        return spread
    with report.guard("patches", f"{place}, patches"):
        found: list[Delta] = []
        at, state, count = partition.edition, partition.base.sha256, partition.count
        for one in patches.files:
            path = files[one.file.sha256]
            if path is None:
                raise NetworkError("a file is not there, so what it changes cannot be known")
            patch = read_delta(path, expect=one.file)
            begins = (patch.from_edition, patch.old_sha256, patch.old_count)
            if begins != (at, state, count) or patch.to_edition != one.to_edition:
                raise BadDirectory(
                    f"that from edition {one.from_edition} does not lead on from what is there"
                )
            at, state, count = patch.to_edition, patch.new_sha256, patch.new_count
            spread.add(patch.added.key, patch.slot_bits + 32)
            found.append(patch)
        if (state, count) != (patches.state, patches.count):
            raise BadDirectory("they do not lead to what the manifest states")
        check_against(found, base)
        report.prove("patches", len(found))
    return spread
