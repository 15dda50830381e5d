"""The patches of a partition in a manifest: what leads on from a base that is not written anew.

A base and its screen stay those of an earlier edition then, and the patches, which are files like deltas,
lead from it to what is there now. Who does not know them would take somebody for a member who has left. So
the member `patches` is critical: such a program leaves the partition out, and says so.
docs/http-api.md ("The patches") is the text this follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from contactsync.directory import DirectoryInfo
from contactsync.directory.bounds import patch_lengths
from contactsync.directory.format import slot_bits_for
from contactsync.publication import canonical
from contactsync.publication.forms import CRITICAL, HEX64, closed_object, hexadecimal, integer, refuse
from contactsync.publication.named_files import DeltaFile, chain_from_json

PATCHES: Final = "patches"
MAX_PATCHES: Final = 64
_MEMBERS: Final = ("count", "edition", "files", "state")


@dataclass(frozen=True, slots=True)
class Patches:
    """What leads on from a base: `files` in their order, to the `count` values of the content of `edition`.

    `state` is its name, 64 digits: what the last patch says that it leads to.
    """

    edition: int
    count: int
    state: str
    files: tuple[DeltaFile, ...]

    def to_json(self) -> dict[str, Any]:
        """The members of the partition that state them."""
        return {
            CRITICAL: [PATCHES],
            PATCHES: {
                "edition": self.edition,
                "count": self.count,
                "state": self.state,
                "files": [one.to_json() for one in self.files],
            },
        }


def take_patches(
    members: dict[str, Any], base: DirectoryInfo, edition: int, newest: int, where: str
) -> Patches | None:
    """Take the patches of a base out of the optional members of a partition; None if it has none.

    `edition` is that of the base. They must be ones that a builder produces. Raises BadReply.
    """
    if PATCHES not in members:
        return None
    if members.pop(CRITICAL, None) != [PATCHES]:
        refuse(f"has patches in {where} that are not critical, or not alone", "malformed")
    value = closed_object(members.pop(PATCHES), _MEMBERS, f"patches of {where}")
    patches = Patches(
        edition=(reached := integer(value["edition"], edition + 1, newest, f"edition of {where}")),
        count=integer(value["count"], 1, canonical.MAX_NUMBER, f"count of {where}"),
        state=hexadecimal(value["state"], HEX64, f"state of {where}"),
        files=chain_from_json(value["files"], reached, newest, where, most=MAX_PATCHES),
    )
    if not patches.files:
        refuse(f"has an empty list of patches in {where}", "bad-value")
    if patches.files[0].from_edition != edition:
        refuse(f"has patches in {where} that do not begin at its base", "malformed")
    lengths = [one.file.length for one in patches.files]
    if any(one not in patch_lengths(base) for one in lengths) or sum(lengths) >= base.file.length:
        refuse(f"has a patch with an impossible length in {where}", "out-of-range")
    if slot_bits_for(patches.count) != base.slot_bits:
        refuse(f"has {patches.count} tokens by its patches in {where}: others are due", "out-of-range")
    return patches
