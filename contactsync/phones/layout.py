"""The layout of a file of phone numbers: a plain list, or a CSV with a column named `phone`."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from contactsync.foundation.errors import BadInput

COLUMN = "phone"
NONE = -1
MAX_RECORD = 1 << 16
"""Octets of a record. A longer record is refused."""
_DELIMITERS = ",;\t|"
_HINT = "give a list with one number per line, or CSV whose first line names the columns, one of them `phone`"


@dataclass(frozen=True, slots=True)
class RecordLayout:
    """The number is field `column` (from 0) of a record. `delimiter`, `quote` are octets, NONE in a list.

    The records begin at octet `start`, in line `line`.
    """

    delimiter: int
    quote: int
    column: int
    start: int
    line: int

    def field(self, raw: bytes) -> str:
        """The text of a field, without its quotes."""
        text = raw.decode("utf-8", "replace").strip()
        if self.quote != NONE and text.startswith(chr(self.quote)):
            return _first_row(text, chr(self.delimiter))[0].strip()
        return text


def recognise(head: bytes, name: str) -> RecordLayout:
    """The layout of a file that begins with `head`: at least its first line, unless it is too long.

    Raises BadInput: not text, not UTF-8, or a CSV without the column.
    """
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadInput(f"{name} is UTF-16, not UTF-8", hint="save it as UTF-8")
    if b"\0" in head:
        raise BadInput(f"{name} is not a text file", hint=_HINT)
    start = 3 if head.startswith(b"\xef\xbb\xbf") else 0
    if head[start : start + 11].upper() == b"BEGIN:VCARD":
        raise BadInput(f"{name} contains vCards, and is not a list or CSV", hint=_HINT)
    line = 1
    for first in head[start:].split(b"\n"):
        if first.strip():
            break
        start += len(first) + 1
        line += 1
    else:
        return RecordLayout(NONE, NONE, 0, start, line)
    text = first[:MAX_RECORD].decode("utf-8", "replace").strip()
    for delimiter in _DELIMITERS:
        columns = [column.strip().casefold() for column in _first_row(text, delimiter)]
        if COLUMN in columns:
            if columns.count(COLUMN) > 1:
                raise BadInput(f"{name} has more than one column named {COLUMN}", hint=_HINT)
            after = min(start + len(first) + 1, len(head))
            return RecordLayout(ord(delimiter), ord('"'), columns.index(COLUMN), after, line + 1)
    if any(sign in text for sign in _DELIMITERS) and not any(sign.isdigit() for sign in text):
        raise BadInput(f"{name}, line {line}: there is no column named {COLUMN}", hint=_HINT)
    return RecordLayout(NONE, NONE, 0, start, line)


def _first_row(text: str, delimiter: str) -> list[str]:
    """The fields of one record, at least one."""
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), []) or [""]
