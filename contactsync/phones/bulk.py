"""Reads a list or CSV of phone numbers of any size. The kernel takes what it can prove, the library the rest.

The result for a text is that of `identifiers.normalise`, as the integer of its digits. The kernel reads about
10 million a second, the library 50 to 200 thousand. Data of less than `SMALL` octets never uses the kernels:
loading them would take longer than reading the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from contactsync.identifiers import SCHEME, Rejected, check_region, holds_another, normalise
from contactsync.phones import records
from contactsync.phones.layout import COLUMN, RecordLayout, recognise

SMALL = 1 << 18
"""A file of fewer octets is read without the kernels."""

CHUNK = 1 << 23
"""Octets that are read at once. A batch has at most as many numbers."""

_EMPTY = f"the column {COLUMN} is empty"
_REASONS = {
    records.NO_FIELD: _EMPTY,
    records.OPEN_QUOTE: "a quotation mark is never closed",
    records.TOO_LONG: "the line is too long",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that gave no number, and why. It contains no part of the line."""

    line: int
    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class NumberBatch:
    """Some consecutive lines of a file.

    `numbers` uint64[n]: for each line that is not blank, its E.164 digits as an integer, or 0 if it was
    refused. `lines` int64[n]: its line number, from 1. `refused` has an entry for each 0, and one for each
    line with a second number, in order.
    """

    numbers: NDArray[np.uint64]
    lines: NDArray[np.int64]
    refused: list[Refusal]

    @property
    def accepted(self) -> NDArray[np.uint64]:
        """The numbers without the zeros, in the order of the file, with duplicates."""
        found: NDArray[np.uint64] = self.numbers[self.numbers != 0]
        return found


def read_numbers(
    stream: BinaryIO, region: str | None, name: str, *, chunk: int = CHUNK
) -> Iterator[NumberBatch]:
    """Read a list, or a CSV with a column `phone`, batch by batch. `chunk` limits the memory used.

    `region` is the country of numbers without a country code; None: they are refused. `name` is the file's
    name in errors. The delimiter is one of `, ; tab |`; fields may be quoted (RFC 4180). A line that cannot
    be used becomes a Refusal; the others are read.

    Raises BadInput: no such region, not UTF-8 text, no column `phone`.
    """
    region = None if region is None else check_region(region)
    data = _fill(stream, b"", chunk)
    layout = recognise(data, name)
    if len(data) < min(SMALL, chunk):
        yield _finish(data, layout, region, records.scan_small(data, layout))
        return
    scanner = records.Scanner(layout, region)
    start = layout.start
    while data:
        final = len(data) < chunk
        while True:
            scanned = scanner.scan(data, start, final=final)
            if scanned.numbers.size:
                yield _finish(data, layout, region, scanned)
            if scanned.stop in (start, len(data)):
                break
            start = scanned.stop
        data, start = b"" if final else _fill(stream, data[scanned.stop :], chunk), 0


def _fill(stream: BinaryIO, data: bytes, size: int) -> bytes:
    """`data` and what follows it in the stream, up to `size` octets; fewer only at the end."""
    parts, missing = [data], size - len(data)
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _finish(data: bytes, layout: RecordLayout, region: str | None, scanned: records.Scanned) -> NumberBatch:
    """Let the library read the records that the kernel left, and put the results in their places."""
    numbers, lines = scanned.numbers, scanned.lines
    refused = []
    for entry, why, begin, end in scanned.late.tolist():
        line = int(lines[entry])
        text = layout.field(data[begin:end]) if why == records.ASK_LIBRARY else ""
        if not text:
            refused.append(Refusal(line, _REASONS.get(why, _EMPTY), ""))
            continue
        try:
            identifier = normalise(text, region)
        except Rejected as rejected:
            refused.append(Refusal(line, rejected.reason, rejected.hint))
        else:
            numbers[entry] = int(identifier[len(SCHEME) :])
            if holds_another(text):
                refused.append(Refusal(line, "two numbers in one field", "only the first was read"))
    return NumberBatch(numbers, lines, refused)
