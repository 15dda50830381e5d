"""Reads tables: CSV exports of Google and Outlook, and any CSV with a column of numbers, headed or not.

Headers are recognised in English, German, French and Spanish. Quoting follows RFC 4180. The separator is a
comma, semicolon, tab or bar.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from contactsync.contacts.book import MAX_ROW_LINES, Entry, Fault, Number
from contactsync.contacts.plain import NUMBER_WORDS, PHONE_WORD, holds_number, is_number_line

_SEPARATORS = ",;\t|"
_URI = re.compile(r"\s*tel:[^;]*;(?:ext|phone-context)=", re.IGNORECASE)

# Whole headers, lower case.
_FULL_NAME = {
    "name", "full name", "fullname", "display name", "contact", "contact name", "anzeigename", "nom complet",
    "nombre completo", "nombre y apellidos",
}  # fmt: skip
_GIVEN_NAME = {"first name", "firstname", "given name", "vorname", "prénom", "prenom", "nombre"}
_MIDDLE_NAME = {"middle name", "additional name", "weitere vornamen", "deuxième prénom", "segundo nombre"}
_FAMILY_NAME = {
    *("last name", "lastname", "family name", "surname", "nachname", "familienname"),
    *("nom", "apellidos", "apellido"),
}
_IN_PLACE_OF_NAME = (  # the first column that is not empty is used
    {"file as", "speichern unter"},
    {"nickname", "spitzname", "surnom", "apodo"},
    {"company", "organization", "organisation", "organization name", "organization 1 - name"},
    {"firma", "société", "empresa"},
    {"e-mail", "email", "e-mail address", "email address", "e-mail 1 - value"},
    {"e-mail-adresse", "adresse de messagerie"},
)
# Columns that describe a number, or contain someone else's.
_NOT_A_PHONE = re.compile(r"label|type|typ\b|phonetic|country|extension|carrier|assistant|assistent|provider")


@dataclass(frozen=True, slots=True)
class Table:
    """The layout of a table: its separator, the columns that are used, and the lines before the first row."""

    separator: str
    phones: tuple[int, ...]
    full_name: tuple[int, ...]
    name_parts: tuple[int, ...]
    in_place_of_name: tuple[int, ...]
    skip: int
    headed: bool

    @property
    def named(self) -> bool:
        """Whether it has a column that names the contact."""
        return bool(self.full_name or self.name_parts or self.in_place_of_name)


def table_of(sample: Sequence[str]) -> Table | None:
    """The layout of a table that begins with these lines; None if they are not a table.

    A table that has names but no column of numbers has no `phones`.
    """
    lines = list(sample)
    skip = 0
    # Excel's `sep=;`, and comments
    while lines and (not lines[0].strip() or lines[0].lower().startswith(("sep=", "#"))):
        del lines[0]
        skip += 1
    if not lines:
        return None
    found: list[Table] = []
    for separator in _SEPARATORS:
        header = _split(lines[0], separator)
        by_header = _by_header(header, separator, skip + 1)
        if by_header.named or not any(map(holds_number, header)):
            found.append(by_header)
        if len(header) > 1:
            # What follows the number in a URI (`;ext=1`) is not a column.
            rows = [[line] if _URI.match(line) else _split(line, separator) for line in lines if line.strip()]
            found.append(_by_content(rows, separator, skip))
    # A header is better than a guess, and the separator that finds more columns is the right one.
    with_phones = [table for table in found if table.phones]
    headed = [table for table in with_phones if table.headed]
    if headed or with_phones:
        return max(headed or with_phones, key=lambda t: len(t.phones) + len(t.full_name) + len(t.name_parts))
    named = [table for table in found if table.headed and len(table.full_name) + len(table.name_parts) > 0]
    return named[0] if named else None


def read_table(lines: Iterable[str], table: Table) -> Iterator[Entry | Fault]:
    """The rows of a table after its header. A header that contains a number is reported."""
    lines = list(lines)
    if table.headed and any(map(holds_number, _split(lines[table.skip - 1], table.separator))):
        place = f"line {table.skip}"
        yield Fault(place, "a number in the header line", "move it to a line of its own")
    for line, row in _rows(lines, table):
        place = f"line {line}"
        if row is None:
            yield Fault(place, "a quotation mark is never closed, or a field is too long", "export it again")
        elif any(cell.strip() for cell in row):
            cells = [row[i] for i in table.phones if i < len(row)]
            numbers = tuple(Number(text, place) for cell in cells for text in _numbers(cell))
            yield Entry(_name(row, table), numbers, place)


def _split(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def _by_header(header: Sequence[str], separator: str, skip: int) -> Table:
    names = [re.sub(r"[\s_]+", " ", cell).strip(" '\"").lower() for cell in header]

    def columns(known: set[str]) -> tuple[int, ...]:
        return tuple(i for i, name in enumerate(names) if name in known)

    phones = tuple(
        i
        for i, name in enumerate(names)
        if name in NUMBER_WORDS or (PHONE_WORD.search(name) and not _NOT_A_PHONE.search(name))
    )
    parts = columns(_GIVEN_NAME) + columns(_MIDDLE_NAME) + columns(_FAMILY_NAME)
    others = tuple(i for known in _IN_PLACE_OF_NAME for i in columns(known))
    return Table(separator, phones, columns(_FULL_NAME), parts, others, skip, headed=True)


def _by_content(rows: Sequence[Sequence[str]], separator: str, skip: int) -> Table:
    """The layout of a table without a header: columns of mostly numbers are phones, the first other names."""
    phones: list[int] = []
    names: list[int] = []
    for i in range(max(map(len, rows))):
        cells = [row[i].strip() for row in rows if i < len(row) and row[i].strip()]
        if cells and 2 * sum(any(map(is_number_line, _numbers(cell))) for cell in cells) > len(cells):
            phones.append(i)
        elif any(any(map(str.isalpha, cell)) for cell in cells):
            names.append(i)
    return Table(separator, tuple(phones), tuple(names[:1]), (), (), skip, headed=False)


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
    """The numbers in one cell. Google joins several with ` ::: `."""
    parts = (part.strip() for part in re.split(r":::|[\r\n]+", cell))
    bare = (match[1] or match[2] or "" if (match := _PROTECTED.fullmatch(part)) else part for part in parts)
    return [part for part in bare if part.strip()]


def _name(row: Sequence[str], table: Table) -> str:
    def cells(columns: tuple[int, ...]) -> list[str]:
        return [row[i].strip() for i in columns if i < len(row) and row[i].strip()]

    full = cells(table.full_name)
    if full:
        return full[0]
    return " ".join(cells(table.name_parts)) or next(iter(cells(table.in_place_of_name)), "")
