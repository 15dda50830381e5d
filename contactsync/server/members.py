"""Reads files of members. Sorts telephone numbers so that the registry can store them fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.progress import Progress, silent
from contactsync.phones import Refusal, read_numbers
from contactsync.server.storage.ports import Members

_SORTED_AT_ONCE: Final = 1 << 24  # numbers: 128 MB, and twice that while they are sorted
_PIECE: Final = 1 << 20


def read_members(
    stream: BinaryIO,
    region: str | None,
    name: str,
    on_refusal: Callable[[Refusal], None],
    progress: Progress = silent,
) -> Iterator[Members]:
    """The members of a list of numbers, or of a CSV with a column `phone`, in batches of bounded size.

    Up to 16 million numbers are sorted before the first batch is returned, so that each page of the registry
    is written once, and not once for each array. `on_refusal` is called for each line that cannot be used;
    such lines are skipped.

    Raises BadInput: no such region, not UTF-8 text, no column `phone`.
    """
    parts: list[NDArray[np.uint64]] = []
    waiting = seen = 0
    for batch in read_numbers(stream, region, name):
        for refusal in batch.refused:
            on_refusal(refusal)
        parts.append(batch.accepted)
        waiting += parts[-1].size
        seen += batch.numbers.size
        progress("reading", seen, 0)
        if waiting >= _SORTED_AT_ONCE:
            yield from _in_pieces(parts, progress)
            parts, waiting = [], 0
    yield from _in_pieces(parts, progress)


def _in_pieces(parts: list[NDArray[np.uint64]], progress: Progress) -> Iterator[Members]:
    numbers = np.concatenate([np.empty(0, np.uint64), *parts])
    parts.clear()
    numbers.sort()
    # Not np.unique: it hashes, which takes ten times as long.
    numbers = numbers[np.append(True, numbers[1:] != numbers[:-1])] if numbers.size else numbers
    for first in range(0, numbers.size, _PIECE):
        yield Members("tel", numbers[first : first + _PIECE])
        progress("storing", min(first + _PIECE, numbers.size), numbers.size)
