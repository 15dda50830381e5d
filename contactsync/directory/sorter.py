"""External sort of tokens: grouped by their first byte as they come, then sorted a group at a time.

Outputs of a pseudorandom function are uniform, so the 256 groups are equally large, and none needs more
memory than 1/256 of all. While all fits the memory nothing goes to disk. Then everything does, as *runs*:
grouped chunks in one file, in each of which a group is one slice.

A token is kept as a code of 64 bits: with 32 remainder bits its first 64; with 40 its bits 8 to 72, for the
first 8 are the group's number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from contactsync.directory.format import Values
from contactsync.directory.pace import kernels_pay
from contactsync.foundation.errors import BadInput
from contactsync.tokens import Tokens

GROUPS = 256
GROUP_SHIFT = 56
GROUP_BYTES = 32  # of memory, a token of the group at hand
CHUNK = 1 << 20  # tokens grouped at once: a group's slice of it is 32 KiB, one read
NUMPY_SECONDS = 120e-9  # to group and sort a token without kernels
NOT_OUTPUTS = "VOPRF outputs are uniformly distributed; these tokens are not."

Codes = NDArray[np.uint64]


class Sorter:
    """Takes tokens in any order, any number of times; gives them back sorted, each once.

    `add` all, then `finish` once, then `groups` as often as needed. Working files lie in `folder`.
    """

    def __init__(self, folder: Path, *, wide: bool, memory: int, taken: Callable[[int], None]) -> None:
        self._folder = folder
        self._wide = wide
        self._memory = memory
        self._taken = taken
        self._chunk = max(1024, min(CHUNK, memory // 128))
        self._waiting: list[Tokens] = []
        self._waits = 0
        self._held: list[Codes] = []
        self._edges: list[NDArray[np.int64]] = []  # of every chunk, in order: int64[257]
        self._runs: BinaryIO | None = None
        self._sorted: list[Codes] | BinaryIO = []
        self._ends = np.zeros(GROUPS + 1, np.int64)
        self.taken = 0

    def add(self, tokens: Tokens) -> None:
        """Take some more tokens."""
        for a in range(0, len(tokens), self._chunk):
            some = Tokens(tokens.head[a : a + self._chunk], tokens.tail[a : a + self._chunk])
            if self._waits + len(some) > self._chunk:
                self._group()
            self._waiting.append(some)
            self._waits += len(some)
            self.taken += len(some)

    def finish(self, done: Callable[[int], None]) -> int:
        """Sort every group, drop duplicates; how many tokens are left. `done` hears how many are sorted.

        Raises BadInput if one group does not fit the memory.
        """
        self._group()
        on_disk = self._runs is not None
        if on_disk:
            self._sorted = (self._folder / "sorted").open("w+b")
        total = 0
        for number in range(GROUPS):
            codes = self._sort(self._collect(number))
            total += codes.size
            self._ends[number + 1] = total
            if isinstance(self._sorted, list):
                self._sorted.append(codes)
            else:
                self._sorted.write(codes.data)
            done(total)
        self._held.clear()
        if self._runs is not None:
            self._runs.close()
            self._runs = None
            (self._folder / "runs").unlink()
        return total

    def groups(self, slot_bits: int) -> Iterator[Values]:
        """The 256 groups, sorted, truncated for a directory of so many slot bits."""
        drop = 32 - slot_bits
        for number in range(GROUPS):
            if isinstance(self._sorted, list):
                codes = self._sorted[number]
            else:
                codes = _read(self._sorted, int(self._ends[number]), int(self._ends[number + 1]))
            if self._wide:
                key = codes >> np.uint64(8 + drop)
                key |= np.uint64(number << (GROUP_SHIFT - drop))
                yield Values(key, (codes >> np.uint64(drop)).astype(np.uint8))
            else:
                yield Values(codes >> np.uint64(drop), np.zeros(codes.size, np.uint8))

    def close(self) -> None:
        """Close the working files."""
        for file in (self._runs, self._sorted):
            if file is not None and not isinstance(file, list):
                file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _group(self) -> None:
        """Group what waits by its first byte, and hold it or write it as a run."""
        tokens = self._waiting[0] if len(self._waiting) == 1 else Tokens.concatenate(self._waiting)
        self._waiting.clear()
        self._waits = 0
        if not len(tokens):
            return
        codes, edges = _grouped(tokens, self._wide, kernels=kernels_pay(self.taken * NUMPY_SECONDS))
        self._edges.append(edges)
        held = codes.nbytes + sum(c.nbytes for c in self._held)
        if self._runs is None and held <= self._memory // 4:
            self._held.append(codes)
        else:
            if self._runs is None:
                self._runs = (self._folder / "runs").open("w+b")
            for chunk in [*self._held, codes]:
                self._runs.write(chunk.data)
            self._held.clear()
        self._taken(self.taken)

    def _collect(self, number: int) -> Codes:
        """One group of all chunks, unsorted."""
        sizes = [int(edges[number + 1] - edges[number]) for edges in self._edges]
        self._check_group(sum(sizes))
        if self._runs is None:
            slices = [c[e[number] : e[number + 1]] for c, e in zip(self._held, self._edges, strict=True)]
            return np.concatenate(slices) if slices else np.empty(0, np.uint64)
        codes = np.empty(sum(sizes), np.uint64)
        at = start = 0
        for edges, size in zip(self._edges, sizes, strict=True):
            codes[at : at + size] = _read(
                self._runs, start + int(edges[number]), start + int(edges[number]) + size
            )
            at += size
            start += int(edges[-1])
        return codes

    def _check_group(self, size: int) -> None:
        """Refuse a group that, with the scratch of its sort and its values, needs more than the memory."""
        needed = GROUP_BYTES * size
        if needed <= self._memory:
            return
        if size * GROUPS > 4 * self.taken:
            raise BadInput(
                f"{size} tokens begin with the same byte, so they are not VOPRF outputs", hint=NOT_OUTPUTS
            )
        raise BadInput(
            f"{self._memory >> 20} MiB of memory is too little for {self.taken:,} tokens",
            hint=f"Allow {(needed >> 20) + 1} MiB.",
        )

    def _sort(self, codes: Codes) -> Codes:
        """Sorted, each once."""
        sorted_ = False
        if kernels_pay(self.taken * NUMPY_SECONDS):
            from contactsync.kernels import sorting  # noqa: PLC0415 - loads Numba

            bins = np.empty((2, sorting.MAX_BINS), np.int64)
            sorted_ = sorting.sort_uniform(
                codes, 0 if self._wide else 8, np.empty_like(codes), bins[0], bins[1]
            )
        if not sorted_:
            codes.sort()
        again = codes[1:] == codes[:-1]
        return np.delete(codes, np.flatnonzero(again)) if again.any() else codes


def _grouped(tokens: Tokens, wide: bool, *, kernels: bool) -> tuple[Codes, NDArray[np.int64]]:
    """The codes of tokens grouped by first byte, and where each group begins (int64[257])."""
    edges = np.zeros(GROUPS + 1, np.int64)
    if kernels:
        from contactsync.kernels import sorting  # noqa: PLC0415 - loads Numba

        codes = np.empty(len(tokens), np.uint64)
        sorting.count_parts(tokens.head, GROUP_SHIFT, edges)
        sorting.group(tokens.head, tokens.tail, 0, wide, GROUP_SHIFT, edges, codes)
        return codes, edges
    group = (tokens.head >> np.uint64(GROUP_SHIFT)).astype(np.uint8)
    edges[1:] = np.cumsum(np.bincount(group, minlength=GROUPS))
    codes = (tokens.head << np.uint64(8)) | (tokens.tail >> np.uint16(8)) if wide else tokens.head
    return codes[np.argsort(group, kind="stable")], edges


def _read(file: BinaryIO, first: int, end: int) -> Codes:
    """Codes first … end - 1 of a working file."""
    codes = np.empty(end - first, np.uint64)
    file.seek(8 * first)
    if file.readinto(codes.data) != codes.nbytes:  # type: ignore[attr-defined]
        raise OSError(5, "a working file is shorter than what was written")
    return codes
