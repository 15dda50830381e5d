"""Every format of address books, once: what tells it, who reads it, what documents call it. No I/O.

A new format is a module with its reader and one entry in `FORMATS`; a test compares documents with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from contactsync.contacts.book import MAX_LINE, Entry, Fault
from contactsync.contacts.csvbook import Table, read_table, table_of
from contactsync.contacts.plain import is_number_line, read_list, without_comment
from contactsync.contacts.text import text_lines, to_ascii_superset
from contactsync.contacts.vcard import first_card, read_vcards

_SAMPLE_LINES = 50

# How other files begin, and what to do with them.
_OTHERS = (
    (b"PK\x03\x04", "a workbook or an archive", "save it as CSV, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "an Office file", "save it as CSV"),
    (b"\x1f\x8b", "a compressed file", "unpack it"),
    (b"SQLite format 3\0", "a database", "export the contacts as vCard"),
    (b"%PDF", "a PDF", "export the contacts as vCard"),
    (b"{", "JSON", "export the contacts as vCard or CSV"),
    (b"<", "XML or a web page", "export the contacts as vCard or CSV"),
)


class Content:
    """The bytes of one file in an ASCII superset, and what several formats ask about them, found out once."""

    def __init__(self, data: bytes) -> None:
        self.data = to_ascii_superset(data)

    @cached_property
    def sample(self) -> list[str]:
        """The first lines."""
        lines = itertools.islice(text_lines(self.data[: 16 * MAX_LINE]), _SAMPLE_LINES)
        return [line[:MAX_LINE] for line in lines]

    @cached_property
    def first_card(self) -> int | None:
        """Where the first vCard begins; None if there is none."""
        return first_card(self.data)

    @cached_property
    def table(self) -> Table | None:
        """The columns, if the first lines are a table."""
        return table_of(self.sample)

    @cached_property
    def filled(self) -> list[str]:
        """The first lines without comments and empty ones."""
        return [line for line in map(without_comment, self.sample) if line]

    @cached_property
    def numeric(self) -> int:
        """How many of the first lines are numbers."""
        return sum(map(is_number_line, self.filled))


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    `wanted` is how a hint asks for such a file; each of `words` is in every text that lists the formats.
    `begins`: the first bytes are those of this format and of no other. `resembles` is asked if no format
    says that, in the order of `FORMATS`: it may be one. `read` never raises.
    """

    wanted: str
    words: tuple[str, ...]
    begins: Callable[[Content], bool]
    resembles: Callable[[Content], bool]
    read: Callable[[Content], Iterator[Entry | Fault]]


def _is_cards(content: Content) -> bool:
    """Nothing but white space stands before the first card."""
    return content.first_card is not None and not content.data[: content.first_card].strip()


def _never(_content: Content) -> bool:
    return False


def _is_named_table(content: Content) -> bool:
    return content.table is not None and content.table.headed and bool(content.table.phones)


def _is_bare_table(content: Content) -> bool:
    """Without a header: names stand beside numbers, or most lines are more than a number."""
    table = content.table
    if table is None or not table.phones:
        return False
    return bool(table.full_name) or 2 * content.numeric <= len(content.filled)


def _read_table(content: Content) -> Iterator[Entry | Fault]:
    assert content.table is not None, "the format was recognised by its table"
    return read_table(text_lines(content.data), content.table)


FORMATS: tuple[Format, ...] = (
    Format(
        wanted="CSV",
        words=("Google", "Outlook", "CSV"),
        begins=_never,
        resembles=_is_named_table,  # before vCard: notes in a table may hold cards
        read=_read_table,
    ),
    Format(
        wanted="vCard",
        words=("vCard",),
        begins=_is_cards,
        resembles=lambda content: content.first_card is not None,
        read=lambda content: read_vcards(content.data),
    ),
    Format(
        wanted="CSV",
        words=("CSV",),
        begins=_never,
        resembles=_is_bare_table,
        read=_read_table,
    ),
    Format(
        wanted="one number per line",
        words=("list",),
        begins=_never,
        resembles=lambda content: content.numeric > 0,
        read=lambda content: read_list(text_lines(content.data)),
    ),
)


def entries_of(data: bytes) -> Iterator[Entry | Fault]:
    """The entries of one file's bytes, whatever its format. Never raises."""
    content = Content(data)
    for one in FORMATS:
        if one.begins(content):
            return one.read(content)
    other = _other(content)
    if other is not None:
        return iter([other])
    for one in FORMATS:
        if one.resembles(content):
            return one.read(content)
    return iter([_nothing(content)])


def _other(content: Content) -> Fault | None:
    """What a file is that is none of ours."""
    if not content.data.strip():
        return Fault("file", "the file is empty")
    for mark, what, hint in _OTHERS:
        if content.data.startswith(mark):
            return Fault("file", f"{what} is not an address book", hint)
    return None


def _nothing(content: Content) -> Fault:
    """What is said of a file without a number."""
    if content.table is not None:
        return Fault("line 1", "no column with phone numbers", "name that column phone")
    *wanted, last = dict.fromkeys(one.wanted for one in FORMATS)
    return Fault("file", "not an address book", f"give {', '.join(wanted)} or {last}")
