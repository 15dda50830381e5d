"""Finds the records of a list or a table, and the number in each if it is plain.

`Scanner` runs the kernel over data of any size; `scan_small` reads a small file in Python. They find the same
records, but `scan_small` leaves every number to the library.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contactsync.phones.layout import MAX_RECORD, NONE, RecordLayout
from contactsync.phones.tables import Source, fill

# Why a record gave no number. ASK_LIBRARY: it has a field, and the library decides.
ASK_LIBRARY, NO_FIELD, OPEN_QUOTE, TOO_LONG = 0, 1, 2, 3

_MOST_RECORDS = 1 << 20
_LF = 0x0A


@dataclass(frozen=True, slots=True)
class Scanned:
    """The records found in some data.

    `numbers` uint64[n] is 0 for records in `late` int64[m, 4]: (entry, why, start of the record, end of it).
    `lines` is int64[n]. `stop` is the offset of the first record that was not read.
    """

    numbers: NDArray[np.uint64]
    lines: NDArray[np.int64]
    late: NDArray[np.int64]
    stop: int


class Scanner:
    """Reads one file with the kernel, chunk by chunk."""

    def __init__(self, layout: RecordLayout, region: str | None) -> None:
        from contactsync.kernels import phones  # noqa: PLC0415 - loads Numba, which a small file does not need
        from contactsync.phones import plans  # noqa: PLC0415

        self._kernel = phones.scan
        self._layout = layout
        abroad, home = plans.international(), plans.by_region(region, every=layout.fields.region != NONE)
        self._tables = (
            *(abroad.row, abroad.code_digits, abroad.lengths, abroad.ask),
            *(home.row, home.actions, home.plans),
        )
        self._numbers = np.empty(_MOST_RECORDS, np.uint64)
        self._lines = np.empty(_MOST_RECORDS, np.int64)
        self._late = np.empty((_MOST_RECORDS, 4), np.int64)
        self._line = layout.line
        self.skipping = False

    def scan(self, data: bytes, start: int, *, final: bool) -> Scanned:
        """The records of data[start:], as many as there is room for. `final`: no data follows."""
        layout = self._layout
        found, late, stop, self._line, self.skipping = self._kernel(
            np.frombuffer(data, np.uint8), start, len(data), final, self.skipping, self._line,
            layout.delimiter, layout.quote, layout.column, layout.fields.region, *self._tables,
            self._numbers, self._lines, self._late,
        )  # fmt: skip
        # Copies, because the arrays are reused while the caller still uses these.
        numbers, lines = self._numbers[:found].copy(), self._lines[:found].copy()
        return Scanned(numbers, lines, self._late[:late].copy(), stop)


def scan_small(data: bytes, layout: RecordLayout) -> Scanned:
    """All records of a whole file. O(n) in Python: about 1 µs a record."""
    lines: list[int] = []
    late: list[tuple[int, int, int, int]] = []
    at, line = layout.start, layout.line
    while at < len(data):
        end, fields, feeds, still_open = _record(data, at, layout)
        why = ASK_LIBRARY
        if end - at > MAX_RECORD or still_open:
            why = OPEN_QUOTE if still_open else TOO_LONG
            end, feeds = _find(data, _LF, at, len(data)), 0
        elif layout.column not in fields:
            why = NO_FIELD
        if why in (OPEN_QUOTE, TOO_LONG) or not _is_nothing(data[at:end], layout):
            late.append((len(lines), why, at, end))
            lines.append(line)
        line += 1 + feeds
        at = end + 1
    table = np.array(late, np.int64).reshape(-1, 4)
    return Scanned(np.zeros(len(lines), np.uint64), np.array(lines, np.int64), table, len(data))


def _is_nothing(record: bytes, layout: RecordLayout) -> bool:
    """Whether a record is empty: blank, a comment in a list, or only empty fields."""
    if layout.delimiter == NONE:
        return record.startswith(b"#") or not record.strip(b" \t\r")
    return not record.strip(
        b" \t\r\n" + bytes(sign for sign in (layout.delimiter, layout.quote) if sign != NONE)
    )


def _find(data: bytes, octet: int, start: int, otherwise: int) -> int:
    place = data.find(octet, start)
    return otherwise if place < 0 else place


def texts_of(data: bytes, begin: int, layout: RecordLayout) -> tuple[str, str, str]:
    """The texts of the number, the region and the identity of the record at `begin`; "" if there is none."""
    _, fields, _, _ = _record(data, begin, layout)
    places = (fields.get(place) for place in (layout.column, layout.fields.region, layout.fields.identity))
    number, region, identity = ("" if one is None else layout.text(data[slice(*one)]) for one in places)
    return number, region, identity


@dataclass(frozen=True, slots=True)
class Row:
    """A record of people: its line, the texts of its fields ("" if there is none), the label as octets.

    `why` is 0, or why the record cannot be read (OPEN_QUOTE, TOO_LONG).
    """

    line: int
    why: int
    number: str = ""
    region: str = ""
    identity: str = ""
    label: bytes = b""
    email: str = ""


def rows_of(source: Source, data: bytes, layout: RecordLayout, chunk: int) -> Iterator[Row]:
    """All records of `data` and of what follows it, those that `Scanner` finds. About 4 µs for each."""
    # Longer than what is kept back of a piece, and than what came already: else nothing would be consumed.
    chunk = max(chunk, 4 * MAX_RECORD, len(data) + 1)
    data = fill(source, data, chunk)
    at, line, skipping = layout.start, layout.line, False
    while True:
        final = len(data) < chunk
        if skipping:  # the rest of a line that was too long
            at = _find(data, _LF, 0, len(data) - 1) + 1
            skipping = at == len(data) and not final
        # No record that is read is longer than half of what is left then.
        while at < len(data) and (final or len(data) - at > 2 * MAX_RECORD):
            end, fields, feeds, still_open = _record(data, at, layout)
            if end - at > MAX_RECORD or still_open:
                end = _find(data, _LF, at, len(data))
                skipping = end == len(data) and not final
                yield Row(line, OPEN_QUOTE if still_open else TOO_LONG)
                feeds = 0
            elif not _is_nothing(data[at:end], layout):
                yield _row(data, line, fields, layout)
            line += 1 + feeds
            at = end + 1
        if final:
            return
        data, at = fill(source, data[at:], chunk), 0


def _row(data: bytes, line: int, fields: dict[int, tuple[int, int]], layout: RecordLayout) -> Row:
    places = [
        fields.get(place)
        for place in (layout.column, layout.fields.region, layout.fields.identity, layout.fields.email)
    ]
    number, region, identity, email = (
        "" if one is None else layout.text(data[slice(*one)]) for one in places
    )
    of_label = fields.get(layout.fields.label)
    label = b"" if of_label is None else layout.octets(data[slice(*of_label)])
    return Row(line, 0, number, region, identity, label, email)


def _record(data: bytes, at: int, layout: RecordLayout) -> tuple[int, dict[int, tuple[int, int]], int, bool]:
    """The end of a record, its fields that matter, the line feeds within, whether a quote is open."""
    size = len(data)
    if layout.delimiter == NONE:
        end = _find(data, _LF, at, size)
        return end, {0: (at, end)}, 0, False
    wanted = {
        layout.column,
        layout.fields.region,
        layout.fields.identity,
        layout.fields.label,
        layout.fields.email,
    }
    limit = at + MAX_RECORD
    fields: dict[int, tuple[int, int]] = {}
    feeds = number = 0
    while True:
        begin = at
        if at < size and data[at] == layout.quote:
            at += 1
            while True:
                closing = _find(data, layout.quote, at, size)
                if closing >= size or closing > limit:
                    return size, fields, 0, True
                feeds += data.count(_LF, at, closing)
                at = closing + 1
                if at >= size or data[at] != layout.quote:
                    break
                at += 1
        line_end = _find(data, _LF, at, size)
        at = _find(data, layout.delimiter, at, size)
        at = min(at, line_end)
        if number in wanted:
            fields[number] = (begin, at)
        if at == line_end:
            return at, fields, feeds, False
        number += 1
        at += 1
