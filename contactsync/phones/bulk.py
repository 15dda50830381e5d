"""Reads phone numbers from lists and tables. The kernel takes what it can prove, the library the rest.

The result for a text is that of `identifiers.normalise`, as the integer of its digits. The kernel reads about
10 million a second, the library 50 to 200 thousand. Data of less than `SMALL` octets never uses the kernels:
loading them would take longer than reading the data.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import BadInput
from contactsync.identifiers import SCHEME, Rejected, check_region, holds_another, normalise
from contactsync.phones import records
from contactsync.phones.layout import BY_DEFAULT, NONE, Columns, RecordLayout
from contactsync.phones.tables import Part, fill, parts_of

SMALL = 1 << 18
"""A file of fewer octets is read without the kernels."""

CHUNK = 1 << 23
"""Octets that are read at once. A batch has at most as many numbers."""

REASONS = {
    records.OPEN_QUOTE: "a quotation mark is never closed",
    records.TOO_LONG: "the line is too long",
}
"""Of records that cannot be read at all."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that gave no number, and why.

    `identity` is what names the record to its owner, "" if there is nothing; `text` is the number as it is
    written. Neither is part of `reason` or `hint`.
    """

    line: int
    reason: str
    hint: str
    identity: str = field(default="", repr=False)
    text: str = field(default="", repr=False)


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
    stream: BinaryIO,
    region: str | None,
    name: str,
    *,
    columns: Columns = BY_DEFAULT,
    chunk: int = CHUNK,
) -> Iterator[NumberBatch]:
    """Read a list, or a table with the column of the numbers, batch by batch. `chunk` limits the memory used.

    A table is CSV (the delimiter is one of `, ; tab |`; fields may be quoted, RFC 4180), JSON lines, or a
    PostgreSQL dump. `region` is the country of numbers without a country code, where no column says it; None:
    they are refused. `name` is the file's name in errors. A line that cannot be used becomes a Refusal; the
    others are read.

    Raises BadInput: no such region, not text, no such column, or a column that speaks against the region.
    """
    region = None if region is None else check_region(region)
    for part in parts_of(stream, name, columns, region, chunk):
        yield from _read_part(part, region, chunk)


def numbers_in(data: bytes, layout: RecordLayout, region: str | None) -> Iterator[NumberBatch]:
    """The numbers of a table that is whole in memory. Raises nothing: the region is known."""
    yield from _read_part(Part(layout, data, io.BytesIO()), region, CHUNK)


def _read_part(part: Part, region: str | None, chunk: int) -> Iterator[NumberBatch]:
    layout = part.layout
    data = fill(part.rest, part.head, chunk)
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
        data, start = b"" if final else fill(part.rest, data[scanned.stop :], chunk), 0


def _finish(data: bytes, layout: RecordLayout, region: str | None, scanned: records.Scanned) -> NumberBatch:
    """Let the library read the records that the kernel left, and put the results in their places."""
    numbers, lines = scanned.numbers, scanned.lines
    empty = f"the column {layout.named} is empty"
    refused = []
    for entry, why, begin, _end in scanned.late.tolist():
        line = int(lines[entry])
        if why in REASONS:
            refused.append(Refusal(line, REASONS[why], ""))
            continue
        text, where, identity = records.texts_of(data, begin, layout)
        if not text:
            refused.append(Refusal(line, layout.faults.get(line, empty), "", identity))
            continue
        try:
            number = normalise(text, _region_of(where, region, layout))
        except Rejected as rejected:
            refused.append(Refusal(line, rejected.reason, rejected.hint, identity, text))
        else:
            numbers[entry] = int(number[len(SCHEME) :])
            if holds_another(text):
                reason, hint = "two numbers in one field", "only the first was read"
                refused.append(Refusal(line, reason, hint, identity, text))
    return NumberBatch(numbers, lines, refused)


def _region_of(where: str, default: str | None, layout: RecordLayout) -> str | None:
    """The region that a record names. Raises Rejected, without its text: columns may have been confused."""
    if layout.fields.region == NONE or not where:
        return default
    try:
        return check_region(where)
    except BadInput:
        raise Rejected(
            "unknown region",
            "the column must have the two letters of ISO 3166, like DE (the United Kingdom is GB)",
        ) from None
