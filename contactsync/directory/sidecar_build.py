"""Sealed labels to a sidecar: sort by token, keep one entry a value, hash, and only then take the final name.

Tokens with their entries are grouped by their first byte as they come, then sorted a group at a time, as
sorter.py does with tokens alone: while all fits the memory nothing goes to disk, then everything does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from contactsync.directory import buckets
from contactsync.directory.build import MIN_MEMORY, workshop
from contactsync.directory.format import Values
from contactsync.directory.pace import kernels_pay
from contactsync.directory.reader import Directory, part
from contactsync.directory.sidecar_format import SidecarInfo, SidecarLayout
from contactsync.directory.sidecar_writing import Part, write_entries
from contactsync.directory.sorter import GROUPS, NOT_OUTPUTS
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError
from contactsync.foundation.progress import Progress, silent
from contactsync.tokens import TOKEN_BYTES, Tokens

GROUP_COPIES = 4  # of a group's rows, in memory at a time
CHUNK = 1 << 18  # rows grouped at once

Rows = NDArray[np.uint8]
"""uint8[n, 10 + entry]: tokens, each with its entry."""


def build_sidecar(
    path: str | os.PathLike[str],
    directory: Directory,
    chunks: Iterable[tuple[Tokens, NDArray[np.uint8]]],
    *,
    size: int,
    memory: int = 512 << 20,
    progress: Progress = silent,
) -> SidecarInfo:
    """Build the sidecar of a directory from its tokens, each with its entry, uint8[n, 16 + size].

    They come in any order. Of tokens that agree in all bits of a value, the least one's entry is taken. The
    same tokens and entries give the same bytes, whatever the chunks, their order, duplicates and `memory`.
    About `memory` bytes are used, whatever the count: what does not fit is sorted on disk, beside the file.
    The file has its name only once it is whole and synced. O(n).

    Raises BadInput (the tokens are not those of the directory, or one has two entries; no such size; too
    little memory; too many for a sidecar), OurError (the disk).
    """
    path = Path(path)
    layout = SidecarLayout(directory.count, size, directory.info.slot_bits)
    if problem := layout.problem():
        raise BadInput(f"no sidecar can be built: {problem[0]}", hint=NOT_LABELLED, refusal=problem[1])
    try:
        with workshop(path) as folder, _Grouped(folder, layout.entry_bytes, memory) as grouped:
            progress("collecting", 0, 0)
            for tokens, entries in chunks:
                grouped.add(tokens, entries)
                progress("collecting", grouped.taken, 0)
            grouped.finish()
            with durable.replacing(path, mode=durable.PUBLIC_FILE) as file:
                parts = _Sorted(directory, layout, grouped).parts()
                return write_entries(
                    file,
                    layout,
                    directory.span.count,
                    parts,
                    lambda done: progress("writing", done, layout.count),
                )
    except OSError as error:
        raise OurError(
            f"{path}: the sidecar cannot be built: {error.strerror or error}",
            hint="Check the free space and the permissions of that folder.",
        ) from error


NOT_LABELLED = "Publish this partition without labels."
_NOT_ITS_TOKENS = "The tokens of a sidecar must be those that its directory was built from; report this."


class _Grouped:
    """Takes rows in any order; gives back those of a group of first bytes, unsorted."""

    def __init__(self, folder: Path, entry_bytes: int, memory: int) -> None:
        self._folder = folder
        self._width = TOKEN_BYTES + entry_bytes
        self._memory = max(memory, MIN_MEMORY)
        self._chunk = max(1024, min(CHUNK, self._memory // (8 * self._width)))
        self._waiting: list[Rows] = []
        self._waits = 0
        self._held: list[Rows] = []
        self._edges: list[NDArray[np.int64]] = []  # of every chunk, in order: int64[257]
        self._file: BinaryIO | None = None
        self.taken = 0

    def add(self, tokens: Tokens, entries: NDArray[np.uint8]) -> None:
        """Take some more. Raises BadInput: entries that do not go with the tokens."""
        if entries.dtype != np.uint8 or entries.shape != (len(tokens), self._width - TOKEN_BYTES):
            raise BadInput(
                f"{entries.shape} entries for {len(tokens)} tokens",
                hint=f"Each token has one entry of {self._width - TOKEN_BYTES} octets; report this.",
            )
        for a in range(0, len(tokens), self._chunk):
            some = slice(a, a + self._chunk)
            octets = Tokens(tokens.head[some], tokens.tail[some]).to_bytes()
            self._waiting.append(np.hstack([octets, entries[some]]))
            self._waits += len(octets)
            self.taken += len(octets)
            if self._waits >= self._chunk:
                self._group()

    def finish(self) -> None:
        """Nothing more comes."""
        self._group()

    def rows(self, first: int, end: int) -> Rows:
        """All rows of groups first … end - 1. Raises BadInput if they do not fit the memory."""
        spans = [(int(edges[first]), int(edges[end])) for edges in self._edges]
        total = sum(b - a for a, b in spans)
        if (needed := GROUP_COPIES * self._width * total) > self._memory:
            if total * GROUPS > 4 * self.taken * (end - first):
                raise BadInput(
                    f"{total} tokens begin with the same bits, so they are no VOPRF outputs",
                    hint=NOT_OUTPUTS,
                )
            raise BadInput(
                f"{self._memory >> 20} MiB of memory is too little for the labels of {self.taken:,} tokens",
                hint=f"Allow {(needed >> 20) + 1} MiB.",
            )
        found = np.empty((total, self._width), np.uint8)
        at = start = 0
        for number, (edges, (a, b)) in enumerate(zip(self._edges, spans, strict=True)):
            if self._file is None:
                found[at : at + b - a] = self._held[number][a:b]
            elif b > a:
                self._file.seek((start + a) * self._width)
                _read(self._file, found[at : at + b - a])
            at, start = at + b - a, start + int(edges[-1])
        return found

    def _group(self) -> None:
        """Group what waits by its first byte, and hold it or write it."""
        if not self._waits:
            return
        rows = np.concatenate(self._waiting)
        self._waiting.clear()
        self._waits = 0
        order = np.argsort(rows[:, 0], kind="stable")
        rows = rows[order]
        self._edges.append(np.searchsorted(rows[:, 0], np.arange(GROUPS + 1)))
        if self._file is None:
            self._held.append(rows)
            if 2 * sum(held.nbytes for held in self._held) > self._memory:
                self._file = (self._folder / "rows").open("w+b")
                for held in self._held:
                    self._file.write(held.data)
                self._held.clear()
        else:
            self._file.write(rows.data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _read(file: BinaryIO, rows: Rows) -> None:
    if file.readinto(rows.data) != rows.nbytes:  # type: ignore[attr-defined]
        raise OSError(5, "a working file is shorter than what was written")


class _Sorted:
    """The grouped rows, sorted: of each part of the directory, the entries of its values in their order."""

    def __init__(self, directory: Directory, layout: SidecarLayout, grouped: _Grouped) -> None:
        self._directory = directory
        self._layout = layout
        self._grouped = grouped

    def parts(self) -> Iterator[Part]:
        """The entries of some whole buckets, in order, until all were there."""
        all_buckets = self._layout.buckets
        # So many groups at a time that they are whole buckets.
        many = max(1, GROUPS // all_buckets)
        kernels = kernels_pay(self._directory.count * buckets.DECODE_SECONDS)
        for group in range(0, GROUPS, many):
            numbers = slice(group * all_buckets // GROUPS, (group + many) * all_buckets // GROUPS)
            span = part(self._directory.span, numbers)
            expected = buckets.decode(span, self._directory.name, kernels=kernels)
            yield numbers, self._entries(self._grouped.rows(group, group + many), expected)

    def _entries(self, rows: Rows, expected: Values) -> NDArray[np.uint8]:
        """The entries of these rows in the order of their tokens, one for each of the expected values."""
        tokens = Tokens.from_bytes(rows)
        order = np.argsort(tokens.head)
        head = tokens.head[order]
        if (head[1:] == head[:-1]).any():
            order = np.lexsort((tokens.tail, tokens.head))
        rows, tokens = rows[order], tokens.take(order)
        again = (tokens.head[1:] == tokens.head[:-1]) & (tokens.tail[1:] == tokens.tail[:-1])
        twice = np.flatnonzero(again)
        if (rows[twice] != rows[twice + 1]).any():
            raise BadInput("a token has two different entries", hint=_NOT_ITS_TOKENS)
        values = self._directory.truncate(tokens)
        fresh = np.ones(len(values), np.bool_)
        fresh[1:] = (values.key[1:] != values.key[:-1]) | (values.extra[1:] != values.extra[:-1])
        if not (
            np.array_equal(values.key[fresh], expected.key)
            and np.array_equal(values.extra[fresh], expected.extra)
        ):
            raise BadInput("the tokens of the labels are not those of the directory", hint=_NOT_ITS_TOKENS)
        return np.ascontiguousarray(rows[fresh, TOKEN_BYTES:])
