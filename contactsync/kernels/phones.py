"""Reads phone numbers from a text buffer: finds fields, takes digits, recognises canonical numbers.

The tables come from `contactsync.phones.plans`. Its docstring explains why an accepted number is the one that
phonenumbers would return. Text that is not accepted is reported with its place, for the library.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contactsync.kernels.policy import function, kernel

Octets = NDArray[np.uint8]
Counts = NDArray[np.int64]

# The same as in contactsync.phones.records, which must not be imported here. A test compares them.
MAX_RECORD = 1 << 16
ASK_LIBRARY, NO_FIELD, OPEN_QUOTE, TOO_LONG = 0, 1, 2, 3

# What to do with digits without a plus: ask the library, or what the name says.
ASK, KEEP, STRIP_NATIONAL, STRIP_INTERNATIONAL, STRIP_BY_LENGTH = 0, 1, 2, 3, 4

MAX_DIGITS = 15  # ITU-T E.164 §6
SHORT_DIGITS = 6  # without a plus; emergency numbers and short codes have no more
_MOST_DIGITS = 18  # including prefixes that are removed; they fit into an int64
_MAX_TEXT = 40  # octets; longer fields do not take the fast path
_POWERS = 10 ** np.arange(_MOST_DIGITS + 1, dtype=np.int64)


@function
def _canonical(
    text: Octets,
    start: int,
    stop: int,
    row: NDArray[np.int16],
    code_digits: Octets,
    lengths: Counts,
    ask: NDArray[np.bool_],
    action: Octets,
    plan: Counts,
) -> np.uint64:
    """The E.164 number in text[start:stop], or 0 if the library must be asked.

    It accepts digits with blanks, hyphens, full stops, slashes and parentheses between them, after at most
    one plus. The profile drops these characters, and so does `parse`: they cannot begin an extension or a
    second number, which need a letter, ~, #, comma or semicolon. Only blanks and opening parentheses may
    stand between the plus and the first digit; with others, the plus is not part of the number. Digits that
    end in ".0" may come from a spreadsheet.
    """
    while start < stop and (text[start] == 32 or text[start] == 9):
        start += 1
    while start < stop and (text[stop - 1] == 32 or text[stop - 1] == 9 or text[stop - 1] == 13):
        stop -= 1
    if stop - start < 3 or stop - start > _MAX_TEXT or (text[stop - 1] == 48 and text[stop - 2] == 46):
        return np.uint64(0)
    plus = text[start] == 43
    if plus:
        start += 1
    number = np.int64(0)
    digits = 0
    for i in range(start, stop):
        c = text[i]
        if 48 <= c <= 57:
            digits += 1
            if digits > _MOST_DIGITS:
                return np.uint64(0)
            number = number * 10 + np.int64(c - 48)
        elif not (c == 32 or c == 40 or ((digits > 0 or not plus) and (c == 41 or 45 <= c <= 47))):
            return np.uint64(0)
    if digits < 3:
        return np.uint64(0)
    if not plus:
        if digits <= SHORT_DIGITS:
            return np.uint64(0)
        what = action[number // _POWERS[digits - 3]]
        if what == STRIP_BY_LENGTH:
            what = ASK if (plan[5] >> digits) & 1 else STRIP_NATIONAL
        if what == KEEP or what == STRIP_NATIONAL:
            if what == STRIP_NATIONAL:
                digits -= plan[3]
            if digits > MAX_DIGITS or not (plan[0] >> digits) & 1:
                return np.uint64(0)
            number = number % _POWERS[digits] + plan[1] * _POWERS[digits]
            digits += plan[2]
        elif what == STRIP_INTERNATIONAL:
            digits -= plan[4]
        else:
            return np.uint64(0)
        if digits < 3:
            return np.uint64(0)
    # The result is accepted only if it would stay unchanged when written with its plus.
    if digits > MAX_DIGITS:
        return np.uint64(0)
    number %= _POWERS[digits]
    leading = number // _POWERS[digits - 3]
    if row[leading] < 0:
        return np.uint64(0)
    national_digits = digits - np.int64(code_digits[leading])
    if not (lengths[row[leading]] >> national_digits) & 1:
        return np.uint64(0)
    if ask[row[leading], number % _POWERS[national_digits] // _POWERS[national_digits - 3]]:
        return np.uint64(0)
    return np.uint64(number)


@function
def _end_of_line(buffer: Octets, at: int, stop: int) -> int:
    while at < stop and buffer[at] != 10:
        at += 1
    return at


@function
def _end_of_record(
    buffer: Octets,
    at: int,
    stop: int,
    limit: int,
    delimiter: int,
    quote: int,
    column: int,
    region: int,
    place: Counts,
) -> int:
    """The offset of the LF that ends the record at `at`, or `stop` if there is none.

    Writes to `place` int64[8]: where the column's field begins (-1: there is none) and ends, quotes included,
    and the quotes that enclose it (0 or 1; 2 if it must be unescaped); the same of the field with the region;
    the line feeds inside the record; and whether a quote is still open.
    """
    place[:] = 0
    place[0], place[1], place[3], place[4] = -1, -1, -1, -1
    field = 0
    while True:
        begin = at
        quoted = 0
        if at < stop and buffer[at] == quote:
            quoted = 1
            at += 1
            while True:
                if at >= stop or at > limit:
                    place[7] = 1
                    return stop
                c = buffer[at]
                if c == quote:
                    if at + 1 < stop and buffer[at + 1] == quote:
                        quoted = 2
                        at += 1
                    else:
                        break
                elif c == 10:
                    place[6] += 1
                at += 1
            at += 1
            if at < stop and buffer[at] != delimiter and buffer[at] != 10 and buffer[at] != 13:
                quoted = 2
        while at < stop and buffer[at] != delimiter and buffer[at] != 10:
            at += 1
        if field == column:
            place[0], place[1], place[2] = begin, at, quoted
        if field == region:
            place[3], place[4], place[5] = begin, at, quoted
        if at >= stop or buffer[at] == 10:
            return at
        field += 1
        at += 1


@function
def _is_nothing(buffer: Octets, start: int, stop: int, delimiter: int, quote: int) -> bool:
    """Whether a record is empty: blank, a comment in a list, or only empty fields."""
    if delimiter < 0 and start < stop and buffer[start] == 35:
        return True
    for i in range(start, stop):
        c = buffer[i]
        if c != 32 and c != 9 and c != 13 and c != 10 and c != delimiter and c != quote:
            return False
    return True


@function
def _region_of(
    buffer: Octets, start: int, stop: int, quoted: int, quote: int, regions: NDArray[np.int16]
) -> int:
    r"""The row of the region that a field names; 0, the default's, if it is empty; -1: ask the library.

    Where nothing is quoted, `\N` is empty, too (PostgreSQL).
    """
    if start < 0:
        return 0
    if quoted:
        if quoted > 1:
            return -1
        start += 1
        stop -= 2 if buffer[stop - 1] == 13 else 1
    while start < stop and (buffer[start] == 32 or buffer[start] == 9):
        start += 1
    while start < stop and (buffer[stop - 1] == 32 or buffer[stop - 1] == 9 or buffer[stop - 1] == 13):
        stop -= 1
    if start >= stop:
        return 0
    if stop - start != 2:
        return -1
    if quote < 0 and buffer[start] == 92 and buffer[start + 1] == 78:
        return 0
    first, second = int(buffer[start] | 32) - 97, int(buffer[start + 1] | 32) - 97
    if not (0 <= first < 26 and 0 <= second < 26):
        return -1
    return int(regions[first * 26 + second])


@kernel
def scan(
    buffer: Octets,
    start: int,
    stop: int,
    final: bool,
    skipping: bool,
    line: int,
    delimiter: int,
    quote: int,
    column: int,
    region: int,
    row: NDArray[np.int16],
    code_digits: Octets,
    lengths: Counts,
    ask: NDArray[np.bool_],
    regions: NDArray[np.int16],
    actions: NDArray[np.uint8],
    plans: NDArray[np.int64],
    numbers: NDArray[np.uint64],
    lines: Counts,
    late: Counts,
) -> tuple[int, int, int, int, bool]:
    """Read one number from each record of buffer[start:stop].

    A record is a line; the number is in field `column` (from 0), its region in field `region` (-1: there is
    no such field). Fields end at `delimiter` and may be enclosed in `quote` (RFC 4180; both are octets, or -1
    in a plain list). A record ends with LF or CR LF; the last one may end with the data, if `final`. Blank
    lines, empty records and comments (in a list, lines that begin with `#`) give no entry. `line` is the
    number of the first line. `skipping`: the data begins within an overlong line, whose rest is skipped.

    `regions` int16[676] gives the row in `actions` and `plans` for two letters; row 0 is the default's.

    Writes one entry per record to `numbers` uint64[cap] and `lines` int64[cap]. `numbers` is 0 for records in
    `late` int64[cap, 4]: (entry, kind, start of the record, end of it). Stops when the arrays are full.
    Returns (entries, late entries, offset of the first unread record, its line, and whether to go on
    `skipping`).
    """
    place = np.empty(8, np.int64)
    found = late_found = 0
    at = start
    if skipping:
        at = _end_of_line(buffer, at, stop)
        if at == stop:
            return 0, 0, stop, line, True
        at += 1
        line += 1
    while at < stop and found < numbers.size:
        end = _end_of_record(buffer, at, stop, at + MAX_RECORD, delimiter, quote, column, region, place)
        if end == stop and not final and end - at <= MAX_RECORD + 1:
            break
        kind = ASK_LIBRARY
        line_feeds = place[6]
        if end - at > MAX_RECORD or place[7]:
            # Only the first line is lost: a stray quote must not swallow the rest of the file.
            kind = OPEN_QUOTE if place[7] else TOO_LONG
            end = _end_of_line(buffer, at, stop)
            line_feeds = 0
        elif place[0] < 0:
            kind = NO_FIELD
        if kind in (OPEN_QUOTE, TOO_LONG) or not _is_nothing(buffer, at, end, delimiter, quote):
            number = np.uint64(0)
            if kind == ASK_LIBRARY and place[2] < 2:
                first, last = place[0], place[1]
                if place[2]:
                    first += 1
                    last -= 2 if buffer[last - 1] == 13 else 1
                home = _region_of(buffer, place[3], place[4], place[5], quote, regions)
                if home >= 0:
                    number = _canonical(
                        buffer, first, last, row, code_digits, lengths, ask, actions[home], plans[home]
                    )
            numbers[found] = number
            lines[found] = line
            if number == 0:
                late[late_found, 0] = found
                late[late_found, 1] = kind
                late[late_found, 2] = at
                late[late_found, 3] = end
                late_found += 1
            found += 1
        if end == stop and not final:
            return found, late_found, stop, line, True
        line += 1 + line_feeds
        at = end + 1
    return found, late_found, min(at, stop), line, False
