"""Reads tables of people: the number, the e-mail address and the label of each row.

It is slower than reading numbers alone (`bulk`), as each record is taken apart in Python: about 30 thousand
rows a second of an import, 13 thousand with addresses. Numbers are read by `bulk` all the same, so they are
the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

from contactsync.foundation.errors import BadInput
from contactsync.identifiers import Rejected, check_region, mail
from contactsync.labels import check_label
from contactsync.phones import records
from contactsync.phones.bulk import CHUNK, REASONS, Refusal, numbers_in
from contactsync.phones.layout import NONE, Columns, FieldPlaces, RecordLayout
from contactsync.phones.tables import NULL, TAB, escaped, parts_of

ROWS_AT_ONCE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Person:
    """A row that can be used: a number (digits with the country code; 0: none), an address (b"": none).

    `address` is an identifier. `label` b"": the row has none, None: it has one that cannot be used.
    """

    line: int
    identity: str
    number: int
    address: bytes
    label: bytes | None


@dataclass(frozen=True, slots=True)
class PeopleBatch:
    """Some consecutive rows: how many they were, those that can be used, and what was refused, in order.

    A row may be in both: what else it has is used.
    """

    rows: int
    people: list[Person]
    refused: list[Refusal]


def read_people(
    stream: BinaryIO, region: str | None, name: str, *, columns: Columns, chunk: int = CHUNK
) -> Iterator[PeopleBatch]:
    """Read a table of people, batch by batch. Takes and raises the same as `read_numbers`."""
    region = None if region is None else check_region(region)
    for part in parts_of(stream, name, columns, region, chunk):
        layout = part.layout
        found = records.rows_of(part.rest, part.head, layout, chunk)
        while rows := list(islice(found, ROWS_AT_ONCE)):
            refused = [
                Refusal(row.line, layout.faults.get(row.line, REASONS.get(row.why, "")), "")
                for row in rows
                if row.why or row.line in layout.faults
            ]
            bad = {one.line for one in refused}
            usable = [row for row in rows if row.line not in bad]
            numbers, of_numbers = _numbers(usable, region, has_regions=layout.fields.region != NONE)
            refused += of_numbers
            people = []
            for row, number in zip(usable, numbers, strict=True):
                person = _person(row, number, refused, unreadable=number == 0 and bool(row.number))
                if person is not None:
                    people.append(person)
            yield PeopleBatch(len(rows), people, sorted(refused, key=lambda one: one.line))


def _person(row: records.Row, number: int, refused: list[Refusal], *, unreadable: bool) -> Person | None:
    """What can be used of a row; None if that is nothing. What cannot be is added to `refused`."""
    address = b""
    if row.email:
        try:
            address = mail.normalise(row.email)
        except Rejected as rejected:
            refused.append(Refusal(row.line, rejected.reason, _used(rejected.hint, number), row.identity))
    elif not number and not unreadable:
        refused.append(Refusal(row.line, "neither a number nor an address", "", row.identity))
    if not number and not address:
        return None
    label: bytes | None = row.label
    if row.label:
        try:
            label = check_label(row.label.decode())
        except UnicodeDecodeError:
            reason, hint = "the label is not valid UTF-8", "the row is used without it"
        except BadInput as error:
            reason, hint = str(error), f"{error.hint or ''}; the row is used without it".lstrip("; ")
        else:
            return Person(row.line, row.identity, number, address, label)
        refused.append(Refusal(row.line, reason, hint, row.identity))
        label = None
    return Person(row.line, row.identity, number, address, label)


def _used(hint: str, number: int) -> str:
    return f"{hint}; the number is used without it".lstrip("; ") if number else hint


def _numbers(
    rows: list[records.Row], region: str | None, *, has_regions: bool
) -> tuple[list[int], list[Refusal]]:
    """The number of each row, 0 if it has none, and why some were refused."""
    # As JSON lines are: one COPY line for each. An empty number is not empty there, so that no line is blank.
    lines = [f"{escaped(row.number) or NULL}\t{escaped(row.region)}\n" for row in rows]
    layout = RecordLayout(TAB, NONE, 0, 0, 1, FieldPlaces(region=1 if has_regions else NONE))
    found, refused = [0] * len(rows), []
    for batch in numbers_in("".join(lines).encode(), layout, region):
        for line, number in zip(batch.lines.tolist(), batch.numbers.tolist(), strict=True):
            found[line - 1] = number
        for one in batch.refused:
            row = rows[one.line - 1]
            if row.number:
                refused.append(Refusal(row.line, one.reason, one.hint, row.identity, one.text))
    return found, refused
