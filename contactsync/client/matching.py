"""Tokens against what is held of a partition: a base or a screen, and the deltas that lead on from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contactsync.client.plan import Step
from contactsync.directory import match, open_directory, truncate
from contactsync.directory.delta import Delta, read_delta
from contactsync.directory.files import DataInfo
from contactsync.directory.screen import open_screen
from contactsync.directory.value_sets import contains
from contactsync.foundation.errors import BadDirectory
from contactsync.publication.manifest import DataFile
from contactsync.tokens import Tokens

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Screened:
    """What is on the disk says of m tokens: `sure` are members, `maybe` have to be looked up; bool[m].

    `tested` were put to the screen now, `maybe` are some of them.
    """

    sure: Mask
    maybe: Mask
    tested: Mask


def match_partition(
    data: Path, step: Step, tokens: Tokens, *, member: Mask, edition: NDArray[np.int64]
) -> Screened:
    """Which of m tokens are in the partition now. With a base nothing is left to look up.

    `member` and `edition`, bool[m] and int64[m], say what was found before, and for which edition (-1:
    never). Who was matched before is carried on by the deltas alone. O(m log c) for c changes, and one
    lookup in base or screen for each of the others. Raises BadDirectory.
    """
    holding = step.holding
    deltas = _chain(data, step)
    sure, at = member.copy(), edition.copy()
    reached = np.isin(at, [holding.edition, *(end for _, end, _ in holding.deltas)])
    maybe = np.zeros(len(tokens), np.bool_)
    screened = ~reached & (step.kind == "screen")
    fresh = np.flatnonzero(~reached)
    if fresh.size:
        # Files were verified against the manifest when they were stored; only damage is looked for now.
        whole = data / holding.whole.sha256
        if step.kind == "base":
            with open_directory(whole, expect=holding.base, check="xxh3") as directory:
                sure[fresh] = match(tokens.take(fresh), directory)
        else:
            screen = open_screen(whole, holding.base, expect=_info(holding.whole))
            sure[fresh], maybe[fresh] = False, screen.test(tokens.take(fresh))
        at[fresh] = holding.edition
    for delta in deltas:
        here = at == delta.from_edition
        exact, guessed = np.flatnonzero(here & ~screened), np.flatnonzero(here & screened)
        sure[exact] = delta.apply_to_mask(tokens.take(exact), sure[exact])
        values = truncate(tokens.take(guessed), delta.slot_bits, delta.remainder_bits)
        joined, left = contains(delta.added, values), contains(delta.removed, values)
        sure[guessed] = (sure[guessed] | joined) & ~left
        maybe[guessed] &= ~left
        at[here] = delta.to_edition
    return Screened(sure, maybe & ~sure, screened)


def _chain(data: Path, step: Step) -> list[Delta]:
    """The deltas of a holding, which must lead from its base to the partition's. Raises BadDirectory."""
    holding, deltas = step.holding, []
    sha256, count = holding.base.sha256, holding.base.count
    for start, end, file in holding.deltas:
        delta = read_delta(data / file.sha256, expect=_info(file))
        here = (delta.from_edition, delta.to_edition, delta.old_sha256, delta.old_count)
        if here != (start, end, sha256, count):
            raise _wrong_chain(step)
        sha256, count = delta.new_sha256, delta.new_count
        deltas.append(delta)
    if (sha256, count) != (step.partition.base.sha256, step.partition.count):
        raise _wrong_chain(step)
    return deltas


def _wrong_chain(step: Step) -> BadDirectory:
    return BadDirectory(
        f"the deltas of +{step.partition.name} do not lead from what is held to what the manifest names",
        hint="run `contactsync forget`, trust the server again, and tell the operator if it happens again",
    )


def _info(file: DataFile) -> DataInfo:
    return DataInfo(file.sha256, file.length, file.xxh3_64)
