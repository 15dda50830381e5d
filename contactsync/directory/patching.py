"""Patches: what leads on from a base that stays as it is, each a file like a delta.

A delta leads from one base to another. A patch leads from a base, or from the patch before it, to a content
of which no directory was written: where a delta has the SHA-256 of one, a patch has the name of the content.
Writing one costs what changed, and not what is there. docs/directory-format.md ("Patches") has the rules.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.amending import Changes, Contradicted
from contactsync.directory.delta import Delta, delta_bytes, tokens_of
from contactsync.directory.format import DirectoryInfo, Values, bad
from contactsync.directory.ranges import RangeReader
from contactsync.directory.value_sets import contains, encode
from contactsync.foundation.errors import BadInput

TIER_BITS: Final = 3
"""A patch is in the tier of its length, in which the longest is 2^3 times as long as the shortest."""

MOST_OF_A_TIER: Final = (1 << TIER_BITS) - 1
"""So many patches of a tier, and of lower ones after them, stay apart; with one more, all are merged."""


def next_patch(
    path: Path, info: DirectoryInfo, patches: Sequence[Delta], changes: Changes, *, at: int, edition: int
) -> Delta:
    """The patch from edition `at`, which a base and patches lead to, to `edition`. O(changes + patches).

    Every value of the changes is looked up, in buckets of the base that are verified by SHA-256.
    Raises Contradicted; BadDirectory (damage, or patches that do not follow), BadInput (cannot be read).
    """
    state, count = info.file.sha256, info.count
    there = _in_base(path, info, changes.values)
    for one in patches:  # one by one: to compose them would sort all of their values
        if (one.old_sha256, one.old_count) != (state, count):
            raise bad(str(one), "it does not lead on from what is published", "not-following")
        there = (there | contains(one.added, changes.values)) & ~contains(one.removed, changes.values)
        state, count = one.new_sha256, one.new_count
    if (there != changes.before).any():
        raise Contradicted(adds=bool((there & ~changes.before).any()))
    removed, added = changes.removed, changes.added
    widths = info.widths
    hashes = [hashlib.sha256(encode(values, *widths)).digest() for values in (removed, added)]
    name = hashlib.sha256(b"".join([bytes.fromhex(state), *hashes])).hexdigest()
    after = count - len(removed) + len(added)
    return Delta(at, edition, *widths, count, after, state, name, removed, added)


def to_merge(lengths: Sequence[int], *, most: int) -> int:
    """How many patches at the end of a list of lengths are merged into one now; 0: none.

    A value is written again as often as there are tiers, and so often a client fetches it again.
    """
    if len(lengths) > most:
        return len(lengths)
    tiers = [(length.bit_length() - 1) // TIER_BITS for length in lengths]
    many = next((i for i, tier in enumerate(reversed(tiers)) if tier > tiers[-1]), len(tiers))
    return many if many > MOST_OF_A_TIER else 0


def patch_bytes(patch: Delta) -> int:
    """The length of the file of a patch."""
    return delta_bytes(len(patch.removed), len(patch.added), patch.slot_bits, patch.remainder_bits)


def _in_base(path: Path, info: DirectoryInfo, values: Values) -> NDArray[np.bool_]:
    """bool[n]: which of n values a base has. It reads the buckets in which they are, or would be."""
    if not len(values):
        return np.zeros(0, np.bool_)
    try:
        with path.open("rb") as file:

            def fetch(places: list[range]) -> list[bytes]:
                return [os.pread(file.fileno(), len(place), place.start) for place in places]

            reader = RangeReader(info, fetch, name=path.name)
            return reader.match(tokens_of(values, info.slot_bits), np.unique(values.bucket).tolist()).found
    except OSError as error:
        raise BadInput(f"the base {path.name} cannot be read: {error.strerror}") from error
