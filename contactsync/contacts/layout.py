"""The layout of a table: its separator, its header, and which columns hold names and numbers.

A header is found by its headings, even below a title. Columns without a known heading are judged by their
cells: what looks like telephone numbers is read where it is clear, and reported where it is not.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from contactsync.contacts import headings
from contactsync.contacts.mails import is_address
from contactsync.contacts.plain import holds_number, is_number_line, looks_like_number
from contactsync.contacts.words import NUMBER_DIGITS

SEPARATORS = ",;\t|"
_URI = re.compile(r"\s*tel:[^;]*;(?:ext|phone-context)=", re.IGNORECASE)
_HEADER_LINES = 12  # a header is among the first lines
_CLEAR = re.compile(r"\s*(?:\+|00|\(?0|\d+[ ()/.-]+\d+[ ()/.-]*\d)")
_NAME_COLUMNS = 2
_NAME_LENGTH = 40
_NICKNAME_TOO = "apelido"
_FAMILY_FIRST = {"vezetéknév", "családnév"}


@dataclass(frozen=True, slots=True)
class Table:
    """The layout of a table: its separator, the columns that are used, and the lines before the first row.

    `watched`: columns whose cells may be numbers; they are not read, and reported if they are.
    """

    separator: str
    phones: tuple[int, ...]
    full_name: tuple[int, ...]
    name_parts: tuple[int, ...]
    in_place_of_name: tuple[int, ...]
    skip: int
    headed: bool
    groups: tuple[int, ...] = ()
    watched: tuple[int, ...] = ()
    family_name: tuple[int, ...] = ()
    joined: bool = False
    mails: tuple[int, ...] = ()

    @property
    def named(self) -> bool:
        """Whether it has a column that names the contact."""
        return bool(self.full_name or self.name_parts or self.in_place_of_name)


Rows = Sequence[tuple[int, Sequence[str]]]
"""The number of lines before each row, and its cells."""


def table_of(sample: Sequence[str]) -> Table | None:
    """The layout of a table that begins with these lines; None if they are not a table.

    A table that has names but no column of numbers or of addresses has no `phones` and no `mails`.
    """
    skip = 0
    # Excel's `sep=;`, and comments
    while skip < len(sample) and (not sample[skip].strip() or sample[skip].lower().startswith(("sep=", "#"))):
        skip += 1
    lines = sample[skip:]
    if not lines:
        return None
    found: list[Table] = []
    for separator in SEPARATORS:
        rows = _rows(lines, separator, skip)
        headed = _headed(rows, separator)
        if headed is not None:
            found.append(headed)
        if any(len(row) > 1 for _, row in rows):
            found.append(_by_content(rows, separator, skip))
    # A header is better than a guess, and the separator that finds more columns is the right one.
    with_phones = [table for table in found if table.phones or table.mails]
    headed_ones = [table for table in with_phones if table.headed]
    if with_phones:
        return max(headed_ones or with_phones, key=_columns_used)
    named = [table for table in found if table.headed and len(table.full_name) + len(table.name_parts) > 0]
    return named[0] if named else None


def _columns_used(table: Table) -> int:
    return len(table.phones) + len(table.mails) + len(table.full_name) + len(table.name_parts)


def split_row(line: str, separator: str) -> list[str]:
    """The cells of one line."""
    if _URI.match(line):  # what follows the number in a URI (`;ext=1`) is not a column
        return [line]
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def _rows(lines: Sequence[str], separator: str, skip: int) -> Rows:
    """The rows of a sample; those of several lines are whole, the last one may be cut."""
    if not any('"' in line for line in lines):
        return [(skip + i, split_row(line, separator)) for i, line in enumerate(lines) if line.strip()]
    found: list[tuple[int, Sequence[str]]] = []
    reader = csv.reader((line + "\n" for line in lines), delimiter=separator)
    before = 0
    with contextlib.suppress(csv.Error):
        for row in reader:
            if any(cell.strip() for cell in row):
                found.append((skip + before, row))
            before = reader.line_num
    return found or [(skip + i, split_row(line, separator)) for i, line in enumerate(lines) if line.strip()]


def _headed(rows: Rows, separator: str) -> Table | None:
    """The layout by the first row that is a header; None if none is."""
    above = False  # whether a line above holds a number
    for place, (before, row) in enumerate(rows[:_HEADER_LINES]):
        roles = [headings.role_of(cell) for cell in row]
        known = {role for role in roles if role not in {headings.UNKNOWN, headings.OTHER}}
        names, phone = known & headings.NAMES, bool(known & {headings.PHONE, headings.MAIL})
        numbers = any(map(holds_number, row))
        # A header has a name or holds no number. Below a title it has at least two known headings.
        is_header = bool(names) or (
            not numbers and bool(known & {headings.PHONE, headings.NUMBER, headings.MAIL})
        )
        below = place and (
            numbers or len(row) < 2 or not names or not (phone or (len(known) > 1 and not above))
        )
        if below or any(map(is_address, row)):  # words of headings occur in addresses, too: ann@mail.example
            is_header = False
        if is_header and (len(row) > 1 or phone or headings.NUMBER in known or not place):
            return _by_roles(roles, row, [cells for _, cells in rows[place + 1 :]], separator, before + 1)
        above = above or numbers
    return None


def _by_roles(
    roles: Sequence[str], header: Sequence[str], rows: Sequence[Sequence[str]], separator: str, skip: int
) -> Table:
    def columns(*wanted: str) -> tuple[int, ...]:
        return tuple(i for role in wanted for i, one in enumerate(roles) if one == role)

    phones = [i for i, role in enumerate(roles) if role == headings.PHONE]
    phones += [i for i in columns(headings.MAYBE) if _share(rows, i, _is_number) > 0.5]
    mails = columns(headings.MAIL)
    unknown = columns(headings.UNKNOWN, headings.MAYBE)
    mails += tuple(i for i in unknown if _share(rows, i, is_address) > 0.5)
    phones += [i for i in unknown if i not in phones and _share(rows, i, _is_clear) > 0.5]
    if not phones and not mails:
        phones = list(columns(headings.NUMBER))
    full, given, middle = columns(headings.FULL), columns(headings.GIVEN), columns(headings.MIDDLE)
    family = columns(headings.FAMILY)
    if full and given and not family:  # `Name, Vorname`
        full, family = (), full
    if full and family and not given:  # `Name, Surname`
        full, given = (), full
    if len(family) > 1:  # `Apelido`: the family's name in Portugal, a nickname in Brazil
        family = tuple(i for i in family if headings.plain_heading(header[i]) != _NICKNAME_TOO) or family
    parts = given + middle + family
    if family and headings.plain_heading(header[family[0]]) in _FAMILY_FIRST:
        parts = family + given + middle
    others = columns(headings.INSTEAD) + mails
    joined = not (full or parts or others)
    if joined:
        full = tuple(_name_columns(rows, [i for i in unknown if i not in phones and i not in mails]))
    watched = tuple(
        i
        for i in (*unknown, *range(len(roles), _width(rows)))
        if i not in phones and i not in full and i not in mails
    )
    return Table(
        separator, tuple(sorted(phones)), full, parts, others, skip, True, columns(headings.GROUPS), watched,
        family, joined, mails,
    )  # fmt: skip


def _by_content(rows: Rows, separator: str, skip: int) -> Table:
    """The layout of a table without a known header: columns of mostly numbers are phones, text is names."""
    cells = [row for _, row in rows]
    phones = [i for i in range(_width(cells)) if _share(cells, i, _is_number_or_line) > 0.5]
    mails = [i for i in range(_width(cells)) if _share(cells, i, is_address) > 0.5 and i not in phones]
    others = [i for i in range(_width(cells)) if i not in phones and i not in mails]
    body = list(rows)
    while (phones or mails) and len(body) > 1 and _is_heading(body[0][1], phones or mails):
        skip = body.pop(0)[0] + 1
    cells = [row for _, row in body]
    names = _name_columns(cells, others)
    watched = tuple(i for i in others if i not in names)
    return Table(
        separator, tuple(phones), tuple(names), (), (), skip, False, (), watched, (), True, tuple(mails)
    )  # fmt: skip


def _is_heading(row: Sequence[str], phones: Sequence[int]) -> bool:
    """Whether a row above the first number is a header or a title, and no person without a number."""
    numbers = [row[i].strip() for i in phones if i < len(row)]
    filled = sum(bool(cell.strip()) for cell in row)
    if any(is_address(cell) or holds_number(cell) for cell in row):
        return False
    if any(any(map(str.isdigit, cell)) for cell in numbers):
        return False
    return any(numbers) or not filled or (filled == 1 and bool(row[0].strip()))


def _width(rows: Sequence[Sequence[str]]) -> int:
    return max(map(len, rows), default=0)


def _share(rows: Sequence[Sequence[str]], column: int, check: object) -> float:
    """The share of the filled cells of a column that pass a check."""
    cells = [row[column].strip() for row in rows if column < len(row) and row[column].strip()]
    assert callable(check), "a function over one cell"
    return sum(bool(check(cell)) for cell in cells) / len(cells) if cells else 0.0


def _is_number(cell: str) -> bool:
    return looks_like_number(cell.strip("'=\"")) and sum(map(str.isdigit, cell)) >= NUMBER_DIGITS


def _is_clear(cell: str) -> bool:
    """Whether a cell is written as telephone numbers are, and an amount or an account is not."""
    return _is_number(cell) and _CLEAR.match(cell) is not None and "," not in cell


def _is_number_or_line(cell: str) -> bool:
    return any(is_number_line(part) for part in re.split(r":::|[\r\n]+", cell) if part.strip())


def is_watched_number(cell: str) -> bool:
    """Whether a cell of a column that is not read may be a telephone number."""
    return _is_clear(cell.strip())


def _name_columns(rows: Sequence[Sequence[str]], columns: Sequence[int]) -> list[int]:
    """The columns that name a person: the first of text, and the second if the first are single words."""
    found: list[int] = []
    for i in columns:
        cells = [row[i].strip() for row in rows if i < len(row) and row[i].strip()]
        texts = [cell for cell in cells if _is_name(cell)]
        if not texts or 2 * len(texts) < len(cells):
            continue
        if found and len(set(texts)) * 2 < len(texts):  # a label, or a town: few different ones
            continue
        found.append(i)
        whole = sum(" " in cell for cell in texts) * 2 >= len(texts)
        if whole or len(found) == _NAME_COLUMNS:
            break
    if len(found) > 1 and found[1] != found[0] + 1:
        del found[1:]
    return found


def _is_name(cell: str) -> bool:
    return (
        any(map(str.isalpha, cell))
        and not any(map(str.isdigit, cell))
        and "@" not in cell
        and "://" not in cell
        and len(cell) <= _NAME_LENGTH
    )
