"""Deltas: what left and what joined between two editions of a directory, by value.

By value and not by place, so that a client can tell from a delta alone which of its contacts joined or left.
docs/directory-format.md ("The delta") has the bytes. Reading and applying takes NumPy only: an incremental
sync handles a few thousand values and would wait longer for Numba.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.amending import Changes, Contradicted, amend, keeps_slot_bits
from contactsync.directory.bounds import DELTA_BYTES
from contactsync.directory.files import check_whole, read_file, write_file
from contactsync.directory.format import (
    MAX_SLOT_BITS,
    MIN_SLOT_BITS,
    REMAINDER_BITS,
    DataFile,
    DirectoryInfo,
    Values,
    bad,
    check_version,
    max_count,
    truncate,
)
from contactsync.directory.match import match
from contactsync.directory.reader import Directory
from contactsync.directory.value_sets import contains, decode, encode, encoded_bytes
from contactsync.tokens import Tokens

MAGIC = b"CSDLT\r\n\x1a"
VERSION = 1
HEADER = struct.Struct("<8sHBBI7Q32s32s")
TRAILER_BYTES = DELTA_BYTES - HEADER.size


@dataclass(frozen=True, slots=True)
class Delta:
    """From one edition of a directory to another; checked.

    `removed` and `added` ascend and are disjoint; `old_sha256` and `new_sha256` (hex) name the base files of
    the two editions.
    """

    from_edition: int
    to_edition: int
    slot_bits: int
    remainder_bits: int
    old_count: int
    new_count: int
    old_sha256: str
    new_sha256: str
    removed: Values
    added: Values

    def __str__(self) -> str:
        return f"delta from edition {self.from_edition} to {self.to_edition}"

    def check_follows(self, base: DirectoryInfo) -> None:
        """Check that the delta leads on from this base. Raises BadDirectory."""
        here = (self.slot_bits, self.remainder_bits, self.old_count, self.old_sha256)
        if here != (base.slot_bits, base.remainder_bits, base.count, base.file.sha256):
            raise bad(str(self), "it does not start from the stored directory", "not-following")

    def apply_to_mask(self, tokens: Tokens, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Carry a match on: from bool[n], which tokens the old edition has, to which the new one has.

        O(n log c) for c changes. The mask that is given stays as it is. A delta that contradicts the mask is
        not refused here: whether it does depends on the tokens, and a refusal would tell whose they are.
        `check_against` refuses such a delta for every client alike.
        """
        values = truncate(tokens, self.slot_bits, self.remainder_bits)
        joined, left = contains(self.added, values), contains(self.removed, values)
        return (mask | joined) & ~left


def compose(deltas: Sequence[Delta]) -> Delta:
    """One delta that does what a chain of them does, one after the other. At least one.

    Raises BadDirectory if one does not follow the one before it, adds what is there or removes what is not.
    """
    first, last = deltas[0], deltas[-1]
    if first is last:
        return first
    _check_continues(deltas)
    values, joins, turns = _turns(deltas)
    odd = turns % 2 == 1  # of a value that joined as often as it left, nothing is left to say
    left, joined = np.flatnonzero(odd & ~joins), np.flatnonzero(odd & joins)
    return Delta(
        first.from_edition, last.to_edition, first.slot_bits, first.remainder_bits,
        first.old_count, last.new_count, first.old_sha256, last.new_sha256,
        removed=Values(values.key[left], values.extra[left]),
        added=Values(values.key[joined], values.extra[joined]),
    )  # fmt: skip


def check_against(deltas: Sequence[Delta], base: Directory) -> None:
    """Check that a chain leads on from this base, and in it removes what is there and adds what is not.

    It depends on nothing but the files. O(c log N) for c changes in all. Raises BadDirectory.
    """
    if not deltas:
        return
    whole = replace(deltas[0], to_edition=deltas[-1].to_edition)
    _check_continues(deltas)
    # Of what comes and goes again nothing is left in the whole: how each value begins is what counts.
    values, joins, _ = _turns(deltas)
    whole.check_follows(base.info)
    there = match(tokens_of(values, whole.slot_bits), base)
    _refuse(whole, adds=bool((there & joins).any()), removes=bool((~there & ~joins).any()))


def _check_continues(deltas: Sequence[Delta]) -> None:
    """Check that each delta continues the one before it. Raises BadDirectory."""
    for before, later in itertools.pairwise(deltas):
        reached = (before.to_edition, before.new_count, before.new_sha256)
        start = (later.from_edition, later.old_count, later.old_sha256)
        widths = [(one.slot_bits, one.remainder_bits) for one in (before, later)]
        if reached != start or widths[0] != widths[1]:
            raise bad(str(later), "it does not continue the delta before it", "not-following")


def _turns(deltas: Sequence[Delta]) -> tuple[Values, NDArray[np.bool_], NDArray[np.int64]]:
    """The values that a chain changes, ascending: bool[n], whether each joins first; how often it changes.

    Each leaves and joins by turns. Raises BadDirectory. O(c log c) for c changes in all.
    """
    sets = [one for delta in deltas for one in (delta.removed, delta.added)]
    key = np.concatenate([one.key for one in sets])
    extra = np.concatenate([one.extra for one in sets])
    step = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
    order = np.lexsort((step, extra, key))
    key, extra, step = key[order], extra[order], step[order]
    again = (key[1:] == key[:-1]) & (extra[1:] == extra[:-1])
    joins = step % 2 == 1
    wrong = step[1:][again & (joins[1:] == joins[:-1])]
    if wrong.size:
        which = wrong // 2 == (earliest := int(wrong.min()) // 2)
        adds = bool((wrong[which] % 2 == 1).any())
        _refuse(deltas[earliest], adds=adds, removes=not adds)
    begin = np.flatnonzero(np.concatenate([[True], ~again])) if key.size else np.empty(0, np.int64)
    return Values(key[begin], extra[begin]), joins[begin], np.diff(begin, append=key.size)


def _refuse(delta: Delta, *, adds: bool, removes: bool) -> None:
    if adds:
        raise bad(str(delta), "it adds a token that is already present", "contradicting")
    if removes:
        raise bad(str(delta), "it removes a token that is not present", "contradicting")


# ---- files ------------------------------------------------------------------------------------------------


def write_delta(
    path: str | os.PathLike[str], old: Directory, new: Directory, *, from_edition: int, to_edition: int
) -> DataFile | None:
    """Write the delta between two directories with the same slot and remainder bits. O(count).

    None, and no file, if it would be as large as the new directory itself, or the widths differ: then the
    directory must be fetched whole. The same two directories and editions give the same bytes.
    """
    here, there = old.info, new.info
    if (here.slot_bits, here.remainder_bits) != (there.slot_bits, there.remainder_bits):
        return None
    found = _differences(old, new)
    if found is None:
        return None
    return write_changes(path, (here, there), found, from_edition=from_edition, to_edition=to_edition)


def write_changes(
    path: str | os.PathLike[str],
    directories: tuple[DirectoryInfo, DirectoryInfo],
    changes: tuple[Values, Values],
    *,
    from_edition: int,
    to_edition: int,
) -> DataFile | None:
    """Write the delta between an old directory and a new one, of what left and what joined, both ascending.

    None, and no file, if it would be as large as the new directory. O(changes).
    """
    (here, there), (removed, added) = directories, changes
    widths = there.slot_bits, there.remainder_bits
    if delta_bytes(len(removed), len(added), *widths) >= there.file.length:
        return None
    return write_delta_of(
        path,
        Delta(
            from_edition, to_edition, *widths, here.count, there.count,
            here.file.sha256, there.file.sha256, removed, added,
        ),
    )  # fmt: skip


def write_delta_of(path: str | os.PathLike[str], delta: Delta) -> DataFile:
    """Write a delta, whatever it leads to. O(changes)."""
    widths = delta.slot_bits, delta.remainder_bits
    removed, added = delta.removed, delta.added
    header = HEADER.pack(
        MAGIC, VERSION, *widths, 0, delta.from_edition, delta.to_edition, delta.old_count, delta.new_count,
        len(removed), len(added), delta_bytes(len(removed), len(added), *widths),
        bytes.fromhex(delta.old_sha256), bytes.fromhex(delta.new_sha256),
    )  # fmt: skip
    content = b"".join([header, encode(removed, *widths), encode(added, *widths)])
    return write_file(path, [content, hashlib.sha256(content).digest()])


def read_delta(path: str | os.PathLike[str], *, expect: DataFile | None = None) -> Delta:
    """Read and check a delta; `expect` is what the signed manifest says about the file.

    Raises BadDirectory (not that file, damaged, or its figures do not add up), BadInput (cannot be read).
    """
    name = Path(path).name
    data = read_file(path, expect)
    header = _header(data, name)
    middle = HEADER.size + encoded_bytes(header.removals, header.slot_bits, header.remainder_bits)
    removed, added = (
        decode(part, count, header.slot_bits, header.remainder_bits, name)
        for part, count in (
            (data[HEADER.size : middle], header.removals),
            (data[middle:-TRAILER_BYTES], header.additions),
        )
    )
    if contains(removed, added).any():
        raise bad(name, "it removes and adds the same token", "contradicting")
    return Delta(
        header.from_edition, header.to_edition, header.slot_bits, header.remainder_bits,
        header.old_count, header.new_count, header.old_sha256.hex(), header.new_sha256.hex(),
        removed, added,
    )  # fmt: skip


class _Header(NamedTuple):
    magic: bytes
    version: int
    slot_bits: int
    remainder_bits: int
    zero: int
    from_edition: int
    to_edition: int
    old_count: int
    new_count: int
    removals: int
    additions: int
    length: int
    old_sha256: bytes
    new_sha256: bytes

    def fault(self) -> tuple[str, str] | None:
        """What does not add up in the figures, and its refusal; None if they do."""
        most = max_count(self.slot_bits) if MIN_SLOT_BITS <= self.slot_bits <= MAX_SLOT_BITS else -1
        if most < 0 or self.remainder_bits not in REMAINDER_BITS or self.zero:
            return (
                f"{self.slot_bits} slot and {self.remainder_bits} remainder bits are out of range",
                "out-of-range",
            )
        if self.from_edition >= self.to_edition:
            return f"it goes from edition {self.from_edition} to edition {self.to_edition}", "out-of-range"
        if max(self.old_count, self.new_count) > most:
            count = max(self.old_count, self.new_count)
            return f"{count} tokens are too many for {self.slot_bits} slot bits", "too-full"
        kept = self.old_count - self.removals
        if kept < 0 or kept + self.additions != self.new_count:
            change = f"{self.old_count} tokens less {self.removals} and {self.additions} more"
            return f"{change} are not {self.new_count}", "malformed"
        if self.length != delta_bytes(self.removals, self.additions, self.slot_bits, self.remainder_bits):
            change = f"{self.removals} removed and {self.additions} added tokens"
            return f"{self.length} bytes for {change}", "malformed"
        return None


def _header(data: bytes, name: str) -> _Header:
    """The header of a file that is whole; its counts are then bounded by the size of the file."""
    check_version(data, MAGIC, VERSION, name, "delta")
    if len(data) < HEADER.size + TRAILER_BYTES:
        raise bad(name, f"{len(data)} bytes are too few for a delta", "wrong-length")
    header = _Header._make(HEADER.unpack_from(data))
    check_whole(data, header.length, TRAILER_BYTES, name)
    if fault := header.fault():
        raise bad(name, *fault)
    return header


def delta_bytes(removals: int, additions: int, slot_bits: int, remainder_bits: int) -> int:
    """The length of a delta of so many changes."""
    sets = (encoded_bytes(count, slot_bits, remainder_bits) for count in (removals, additions))
    return DELTA_BYTES + sum(sets)


# ---- whole directories ------------------------------------------------------------------------------------


def apply_to_directory(
    path: str | os.PathLike[str], base: Directory, deltas: Sequence[Delta]
) -> DirectoryInfo:
    """Make the directory of a base and a chain of deltas (at least one), as `amending.amend` does.

    It is, byte for byte, the one that the publisher built for that edition.

    Raises BadDirectory, and leaves no file, if the deltas do not follow the base or each other, do not fit
    its values, or do not make the directory that the last one names.
    """
    whole = compose(deltas)
    whole.check_follows(base.info)
    changes = Changes.between(whole.removed, whole.added)
    if not keeps_slot_bits(base.info, changes):
        raise bad(str(whole), "its result has other slot bits than it says", "bad-hash")
    try:
        info = amend(path, base, changes)
    except Contradicted as error:
        _refuse(whole, adds=error.adds, removes=not error.adds)
        raise
    if info.file.sha256 != whole.new_sha256:
        Path(path).unlink()
        raise bad(str(whole), "its result is not the directory that it names", "bad-hash")
    return info


def tokens_of(values: Values, slot_bits: int) -> Tokens:
    """Tokens that have these values, and zeros after them: the inverse of `truncate`."""
    below = 32 - slot_bits
    extra = values.extra.astype(np.uint64) << np.uint64(8)
    head = (values.key << np.uint64(below)) | (extra << np.uint64(below) >> np.uint64(16))
    return Tokens(head, (extra << np.uint64(below)).astype(np.uint16))


def _differences(old: Directory, new: Directory) -> tuple[Values, Values] | None:
    """What only the old, and only the new directory has; None if that is more than a delta is good for."""
    from contactsync.kernels import deltas  # noqa: PLC0415 - loads Numba, which reading a delta does not need

    most = new.info.file.length // 4  # each takes more than 4 bytes
    here, there = _Feed(old), _Feed(new)
    while here.alive or there.alive:
        alone, other_alone = np.ones(len(here), np.bool_), np.ones(len(there), np.bool_)
        i, j = len(here), len(there)
        if here.alive and there.alive:
            i, j = deltas.difference(
                here.values.key, here.values.extra, there.values.key, there.values.extra, alone, other_alone
            )
        here.walk(i, alone)
        there.walk(j, other_alone)
        if here.kept + there.kept > most:
            return None
    return here.result(), there.result()


class _Feed:
    """Walks over the values of a directory and keeps those that the other one does not have."""

    def __init__(self, directory: Directory) -> None:
        self._chunks = (chunk for chunk in directory.values() if len(chunk))
        self._empty = Values(np.empty(0, np.uint64), np.empty(0, np.uint8))
        self._kept: list[Values] = []
        self.kept = 0
        self.values = next(self._chunks, self._empty)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def alive(self) -> bool:
        """Whether there is more to walk over."""
        return len(self.values) > 0

    def walk(self, count: int, alone: NDArray[np.bool_]) -> None:
        """Go past `count` values, of which the marked ones are kept."""
        which = np.flatnonzero(alone[:count])
        self._kept.append(Values(self.values.key[which], self.values.extra[which]))
        self.kept += which.size
        self.values = Values(self.values.key[count:], self.values.extra[count:])
        if not self.alive:
            self.values = next(self._chunks, self._empty)

    def result(self) -> Values:
        """All that was kept, in order."""
        key = [values.key for values in self._kept]
        extra = [values.extra for values in self._kept]
        return Values(np.concatenate([self._empty.key, *key]), np.concatenate([self._empty.extra, *extra]))
