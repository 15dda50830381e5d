"""Reads tables: CSV exports of Google, Outlook and others, and any CSV with a column of numbers.

Quoting follows RFC 4180. `layout` says which columns are used.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from contactsync.contacts.book import MAX_ROW_LINES, Entry, Fault, Number
from contactsync.contacts.layout import Table, is_watched_number, split_row
from contactsync.contacts.plain import holds_number


def read_table(lines: Iterable[str], table: Table) -> Iterator[Entry | Fault]:
    """The rows of a table. Numbers above its header, or in columns that are not read, are reported."""
    lines = list(lines)
    for above in range(table.skip):
        cells = [] if lines[above].startswith("#") else split_row(lines[above], table.separator)
        if not any(map(holds_number, cells)):
            continue
        place = f"line {above + 1}"
        if table.headed and above == table.skip - 1:
            yield Fault(place, "a number in the header line", "move it to a line of its own")
        else:
            yield Fault(place, "a number above the header line", "move it below")
    passed_over: Counter[int] = Counter()
    for line, row in _rows(lines, table):
        place = f"line {line}"
        if row is None:
            yield Fault(place, "a quotation mark is never closed, or a field is too long", "export it again")
        elif any(cell.strip() for cell in row):
            cells = [row[i] for i in table.phones if i < len(row)]
            numbers = tuple(Number(text, place) for cell in cells for text in _numbers(cell))
            cells = [row[i] for i in table.mails if i < len(row)]
            mails = tuple(Number(text, place) for cell in cells for text in _numbers(cell))
            yield Entry(_name(row, table), numbers, place, _groups(row, table), "", mails)
            passed_over.update(i for i in table.watched if i < len(row) and is_watched_number(row[i]))
    for column, count in sorted(passed_over.items()):
        what = "1 cell" if count == 1 else f"{count:,} cells"
        reason = f"{what} may be telephone numbers, and the heading does not say so"
        yield Fault(f"column {column + 1}", reason, "name the column phone, or the number's owner")


_END = "\x1e"  # fed after the last line: if a row contains it and more, a quotation mark is still open


def _rows(lines: Sequence[str], table: Table) -> Iterator[tuple[int, list[str] | None]]:
    """Rows, each with the number of its first line; None is a row that cannot be read.

    A quotation mark that is never closed would pull the rest of the file into one field. Such a row is given
    up after MAX_ROW_LINES, and reading continues with its second line.
    """
    start = table.skip
    while start < len(lines):
        row_start = start

        def feed(first: int) -> Iterator[str]:
            for i in range(first, len(lines)):
                if i - row_start > MAX_ROW_LINES:  # noqa: B023 - it must see how far the reader is
                    raise csv.Error
                yield lines[i] + "\n"
            yield _END

        reader = csv.reader(feed(start), delimiter=table.separator)
        with contextlib.suppress(csv.Error):
            for row in reader:
                if row == [_END]:
                    return
                if row and row[-1].endswith(_END):
                    break
                yield row_start + 1, row
                row_start = start + reader.line_num
        yield row_start + 1, None
        start = row_start + 1


_PROTECTED = re.compile(r"=\"(.*)\"|'(.*)")  # how spreadsheets mark a number as text


def _numbers(cell: str) -> list[str]:
    """The fields in one cell. Google joins several with ` ::: `."""
    parts = (part.strip() for part in cell.split(":::"))
    bare = (match[1] or match[2] or "" if (match := _PROTECTED.fullmatch(part)) else part for part in parts)
    return [part for part in bare if part.strip()]


def _groups(row: Sequence[str], table: Table) -> tuple[str, ...]:
    cells = [row[i] for i in table.groups if i < len(row) and row[i].strip()]
    parts = (part.strip(" *") for cell in cells for part in re.split(r":::|[;,]", cell))
    return tuple(part for part in parts if part)


_FAMILY_FIRST = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")  # scripts of East Asia


def _name(row: Sequence[str], table: Table) -> str:
    def cells(columns: tuple[int, ...]) -> list[str]:
        return [row[i].strip() for i in columns if i < len(row) and row[i].strip()]

    full = cells(table.full_name)
    if full:
        return " ".join(full) if table.joined else full[0]
    parts = cells(table.name_parts)
    family = cells(table.family_name)
    if family and _FAMILY_FIRST.search(family[0]):
        parts = family + [part for part in parts if part not in family]
    return " ".join(parts) or next(iter(cells(table.in_place_of_name)), "")
