"""A partition that keeps its base: what a publish adds to its patches, and when it writes the base anew.

The patches are merged by tiers (`directory.patching`), so that there are few, and each change is written
again a few times only. A base is written anew when its patches cost a newcomer a twentieth of it more: each
change costs in the long run what twenty values of a base cost. It is written after many editions, too, since
it names whoever left in the meantime.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from contactsync.directory.amending import Changes
from contactsync.directory.delta import Delta, compose, read_delta, write_delta_of
from contactsync.directory.files import hash_file
from contactsync.directory.format import bad
from contactsync.directory.patching import next_patch, patch_bytes, to_merge
from contactsync.foundation import durable
from contactsync.publication.manifest import DeltaFile, Partition
from contactsync.publication.patches import MAX_PATCHES, Patches

SHARE: Final = 20
"""The base is this many times as long as its patches together, or longer; else it is written anew."""

MOST_EDITIONS: Final = 1000
"""So many editions a base stays at the most: a week, if there is one every ten minutes."""

DELTAS_OF_PATCHED: Final = 8
"""How many bases back deltas lead to one that had patches: each takes about a twentieth of a base."""


@dataclass(frozen=True, slots=True)
class Patched:
    """A partition with one patch more, `patches[-1]`, that is not written yet. `data` has its files."""

    data: Path
    old: Partition
    patches: tuple[Delta, ...]

    @property
    def changes(self) -> Changes:
        """What all patches change in the base."""
        whole = compose(self.patches)
        return Changes.between(whole.removed, whole.added)

    def publish(self, unnamed: Path) -> Partition | None:
        """The partition with its patches, of which the last one was written; None: its base is due.

        Where some are merged, which is so for every eighth at the latest, the whole base is verified: nothing
        else reads all of it, and clients would be the first to find that it is damaged. Raises BadDirectory.
        """
        old = self.old
        files = old.patch_files
        lengths = [*(one.file.length for one in files), patch_bytes(self.patches[-1])]
        if sum(lengths) * SHARE > old.base.length:
            return None
        patches = list(self.patches)
        while many := to_merge(lengths, most=MAX_PATCHES):
            patches[-many:] = [compose(patches[-many:])]
            lengths[-many:] = [patch_bytes(patches[-1])]
        if len(patches) < len(self.patches):
            self._check_base()
        last = patches[-1]
        written = write_delta_of(unnamed, last)
        durable.rename(unnamed, self.data / written.sha256)
        kept = files[: len(patches) - 1]
        content = Patches(
            edition=last.to_edition,
            count=last.new_count,
            state=last.new_sha256,
            files=(*kept, DeltaFile(last.from_edition, last.to_edition, written)),
        )
        return replace(old, patches=content)

    def _check_base(self) -> None:
        base = self.old.base
        with (self.data / base.sha256).open("rb") as file:
            if hash_file(file) != base:
                raise bad(base.sha256, "it is damaged (SHA-256)", "bad-hash")


def is_due(old: Partition, edition: int) -> bool:
    """Whether a base is so many editions old by an edition that it is to be written anew."""
    return edition - old.edition > MOST_EDITIONS


def patch_on(data: Path, old: Partition, changes: Changes, *, edition: int) -> Patched:
    """The partition of the folder `data` with what changed since. O(changes + patches).

    Raises Contradicted, and BadDirectory or BadInput if its files are damaged.
    """
    patches = [read_delta(data / one.file.sha256, expect=one.file) for one in old.patch_files]
    base = data / old.base.sha256
    new = next_patch(base, old.directory, patches, changes, at=old.reached, edition=edition)
    return Patched(data, old, (*patches, new))
