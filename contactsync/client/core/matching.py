"""Matches tokens against the stored files of a partition: a base or a screen, and the deltas after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contactsync.client.core.holdings import Files
from contactsync.client.core.mode import Subject
from contactsync.client.core.plan import PartitionPlan
from contactsync.directory import match, truncate
from contactsync.directory.delta import Delta, check_against, compose
from contactsync.directory.sidecar_delta import SidecarDelta, check_chain
from contactsync.directory.value_sets import contains
from contactsync.foundation.errors import BadDirectory
from contactsync.identifiers import title_of
from contactsync.publication.manifest import DataFile
from contactsync.tokens import Tokens

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Screened:
    """What the stored files say of m tokens: `sure` are members, `maybe` must be looked up; bool[m].

    `tested` were tested against the screen now; `maybe` are some of them.
    """

    sure: Mask
    maybe: Mask
    tested: Mask


def match_partition(files: Files, plan: PartitionPlan, subject: Subject) -> Screened:
    """Which of m tokens are in the partition now. With a base, nothing is left to look up.

    Tokens that were matched before are updated by the deltas alone: O(m log c) for c changes. Each other
    token takes one lookup in base or screen. Raises BadDirectory.
    """
    holding, tokens = plan.holding, subject.tokens
    deltas = chain(files, plan)
    sure, at = subject.member.copy(), subject.edition.copy()
    reached = np.isin(at, [holding.edition, *(end for _, end, _ in holding.deltas)])
    maybe = np.zeros(len(tokens), np.bool_)
    screened = ~reached & (plan.kind == "screen")
    fresh = np.flatnonzero(~reached)
    if fresh.size:
        if plan.kind == "base":
            with files.directory(holding.base) as directory:
                sure[fresh] = match(tokens.take(fresh), directory)
        else:
            screen = files.screen(holding.whole, holding.base)
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


def inspect(files: Files, plan: PartitionPlan) -> None:
    """Check what was fetched of a partition, all of it, whether or not the book has anybody there.

    Whatever can be wrong with a file that a server signs is found here, for every client alike. Found only by
    who has a certain contact, it would tell whose that is: by the error, or by what the next sync fetches.
    Raises BadDirectory.
    """
    deltas = [*chain(files, plan), *patches(files, plan)]
    if plan.sidecar is not None:
        with files.sidecar(plan.sidecar.sidecar):
            sidecar_chain(files, plan)
    if plan.kind == "screen":
        files.screen(plan.holding.whole, plan.holding.base)
        if deltas:
            compose(deltas)
        return
    with files.directory(plan.holding.base) as base:
        check_against(deltas, base)


def retrace(files: Files, plan: PartitionPlan) -> None:
    """Check that what is held, of which nothing was fetched, still leads to what the manifest states.

    The same edition may be stated of another file. Raises BadDirectory.
    """
    chain(files, plan)
    patches(files, plan)
    if plan.sidecar is not None:
        sidecar_chain(files, plan)


def sidecar_chain(files: Files, plan: PartitionPlan) -> list[SidecarDelta]:
    """The deltas of the stored labels. Raises BadDirectory unless they lead to those of the partition."""
    held, reaches = plan.sidecar, plan.entries
    assert held is not None
    assert reaches is not None
    deltas = [files.sidecar_delta(file) for _, _, file in held.deltas]
    check_chain(held.sidecar, deltas, reaches)
    return deltas


def chain(files: Files, plan: PartitionPlan) -> list[Delta]:
    """The deltas of a holding. Raises BadDirectory unless they lead from its base to the partition's."""
    base, to = plan.holding.base, plan.partition
    return _led(files, plan, plan.holding.deltas, (base.file.sha256, base.count), (to.base.sha256, to.count))


def patches(files: Files, plan: PartitionPlan) -> list[Delta]:
    """The patches of a holding. Raises BadDirectory unless they lead from the base to what is there now."""
    to = plan.partition
    found = _led(files, plan, plan.holding.patches, (to.base.sha256, to.count), (to.state, to.members))
    if any((one.slot_bits, one.remainder_bits) != to.directory.widths for one in found):
        raise _wrong_chain(plan)
    return found


def _led(
    files: Files,
    plan: PartitionPlan,
    steps: Sequence[tuple[int, int, DataFile]],
    at: tuple[str, int],
    to: tuple[str, int],
) -> list[Delta]:
    """Deltas that lead from one content to another, each named by a hash and a count. Raises BadDirectory."""
    found = []
    for start, end, file in steps:
        delta = files.delta(file)
        if (delta.from_edition, delta.to_edition, delta.old_sha256, delta.old_count) != (start, end, *at):
            raise _wrong_chain(plan)
        at = delta.new_sha256, delta.new_count
        found.append(delta)
    if at != to:
        raise _wrong_chain(plan)
    return found


def patched(files: Files, plan: PartitionPlan, tokens: Tokens, mask: Mask) -> Mask:
    """Which of m tokens are there now, by those that the base has: `mask`. Raises BadDirectory."""
    for patch in patches(files, plan):
        mask = patch.apply_to_mask(tokens, mask)
    return mask


def _wrong_chain(plan: PartitionPlan) -> BadDirectory:
    return BadDirectory(
        f"the deltas of {title_of(plan.partition.name)} do not lead from what is held to what"
        " the manifest names",
        hint="sync again: that partition is then fetched whole; tell the operator if it happens again",
        refusal="not-following",
    )
