"""The list of all address-book formats: how each is recognised, read, and named in documents. No I/O.

A new format is a module with its reader and one entry in `FORMATS`. A test compares the documents with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from contactsync.contacts.book import MAX_LINE, Entry, Fault, Group
from contactsync.contacts.csvbook import read_table
from contactsync.contacts.jcard import is_jcard, read_jcards
from contactsync.contacts.layout import Table, table_of
from contactsync.contacts.ldif import is_ldif, read_ldif
from contactsync.contacts.mails import address_in, is_address
from contactsync.contacts.plain import is_name_and_number, is_number_line, read_list, without_comment
from contactsync.contacts.text import Decoder, text_lines, to_ascii_superset
from contactsync.contacts.vcard import first_card, read_vcards
from contactsync.contacts.xmlbook import is_xml_book, read_xml

_SAMPLE_LINES = 50
_LONGEST = 200  # characters of a line that is an address and a name

_EXPORT = "export the contacts as"
# How other files begin, and what to do with them.
_OTHERS = (
    (b"PK\x03\x04", "a workbook or an archive", "save it as CSV, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "an Office file", "save it as CSV"),
    (b"!BDN", "Outlook's own file", f"{_EXPORT} CSV (in Outlook: File, Open & Export, Import/Export)"),
    (b"\x9c\xcb\xcb\x8d\x13\x75\xd2\x11", "Windows' old book", f"{_EXPORT} CSV (in it: File, Export)"),
    (
        b"// <!-- <mdb:mork",
        "Thunderbird's old address book",
        f"{_EXPORT} vCard (in Thunderbird: Address Book, Tools, Export)",
    ),
    (b"bplist00", "a property list", f"{_EXPORT} vCard (in Contacts: File, Export, Export vCard)"),
    (b"\x1f\x8b", "a compressed file", "unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "an archive that is not read", "unpack it"),
    (b"Rar!", "an archive that is not read", "unpack it"),
    (b"BZh", "a compressed file that is not read", "unpack it"),
    (b"\xfd7zXZ\0", "a compressed file that is not read", "unpack it"),
    (b"SQLite format 3\0", "a database", f"{_EXPORT} vCard"),
    (b"%PDF", "a PDF", f"{_EXPORT} vCard"),
    (b"Inter@ctive Pager Backup", "BlackBerry's backup", f"{_EXPORT} vCard (in BlackBerry Link: Sync)"),
    (b"{", "JSON", f"{_EXPORT} vCard or CSV"),
    (b"[{", "JSON", f"{_EXPORT} vCard or CSV"),
    (b"<", "XML or a web page", f"{_EXPORT} vCard or CSV"),
)


class Content:
    """The bytes of one file in an ASCII superset, and facts about them that several formats need."""

    def __init__(self, data: bytes, region: str | None = None) -> None:
        self.data = to_ascii_superset(data)
        self.decoder = Decoder(self.data, region)

    def lines(self) -> Iterator[str]:
        """All lines as text."""
        return text_lines(self.data, self.decoder)

    @cached_property
    def sample(self) -> list[str]:
        """The first lines."""
        lines = itertools.islice(text_lines(self.data[: 16 * MAX_LINE], self.decoder), _SAMPLE_LINES)
        return [line[:MAX_LINE] for line in lines]

    @cached_property
    def first_card(self) -> int | None:
        """The offset of the first vCard; None if there is none."""
        return first_card(self.data)

    @cached_property
    def table(self) -> Table | None:
        """The columns, if the first lines are a table."""
        return table_of(self.sample)

    @cached_property
    def filled(self) -> list[str]:
        """The first lines, without comments and empty lines."""
        return [line for line in map(without_comment, self.sample) if line]

    @cached_property
    def numeric(self) -> int:
        """How many of the first lines are numbers."""
        return sum(map(is_number_line, self.filled))

    @cached_property
    def addressed(self) -> int:
        """How many of the first lines have an e-mail address, and little else."""
        lines = [line for line in self.filled if "@" in line and len(line) <= _LONGEST]
        return sum(is_address(line) or address_in(line) is not None for line in lines)

    @cached_property
    def named(self) -> int:
        """How many of the first lines are a name and a number."""
        return sum(map(is_name_and_number, self.filled))


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    `wanted` is its name in a hint. Every text that lists the formats contains each of `words`. `begins`: the
    first bytes belong to this format and no other. `resembles`: the file may be of this format; it is called,
    in the order of `FORMATS`, if `begins` is False for all. `read` never raises.
    """

    wanted: str
    words: tuple[str, ...]
    begins: Callable[[Content], bool]
    resembles: Callable[[Content], bool]
    read: Callable[[Content], Iterator[Entry | Group | Fault]]


def _is_cards(content: Content) -> bool:
    """Whether only white space precedes the first card."""
    return content.first_card is not None and not content.data[: content.first_card].strip()


def _never(_content: Content) -> bool:
    return False


def _is_named_table(content: Content) -> bool:
    table = content.table
    return table is not None and table.headed and bool(table.phones or table.mails)


def _is_bare_table(content: Content) -> bool:
    """Whether it is a table without a header: it has names, or most lines are more than a number."""
    table = content.table
    if table is None or not (table.phones or table.mails):
        return False
    return bool(table.full_name) or 2 * (content.numeric + content.addressed) <= len(content.filled)


def _is_list(content: Content) -> bool:
    """Whether a line is a number, or most lines are a name and a number, or have an e-mail address."""
    return content.numeric > 0 or 2 * max(content.named, content.addressed) > len(content.filled)


def _read_table(content: Content) -> Iterator[Entry | Group | Fault]:
    assert content.table is not None, "the format was recognised by its table"
    return read_table(content.lines(), content.table)


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
        read=lambda content: read_vcards(content.data, content.decoder),
    ),
    Format(
        wanted="CSV",
        words=("CSV",),
        begins=_never,
        resembles=_is_bare_table,
        read=_read_table,
    ),
    Format(
        wanted="one number or address per line",
        words=("list",),
        begins=_never,
        resembles=_is_list,
        read=lambda content: read_list(content.lines()),
    ),
    Format(
        wanted="LDIF",
        words=("LDIF",),
        begins=lambda content: is_ldif(content.data),
        resembles=_never,
        read=lambda content: read_ldif(content.data, content.decoder),
    ),
    Format(
        wanted="jCard",
        words=("jCard",),
        begins=lambda content: is_jcard(content.data),
        resembles=_never,
        read=lambda content: read_jcards(content.data),
    ),
    Format(
        wanted="xCard",
        words=("xCard", "FRITZ!Box"),
        begins=lambda content: is_xml_book(content.data),
        resembles=_never,
        read=lambda content: read_xml(content.data, content.decoder),
    ),
)


def entries_of(data: bytes, region: str | None = None) -> Iterator[Entry | Group | Fault]:
    """The entries in the bytes of one file, whatever its format. Never raises.

    `region`: where the book's owner lives, which tells charsets that are not declared.
    """
    content = Content(data, region)
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
    """The fault to report for a file of another kind."""
    if not content.data.strip():
        return Fault("file", "the file is empty")
    for mark, what, hint in _OTHERS:
        if content.data.startswith(mark):
            return Fault("file", f"{what} is not an address book", hint)
    return None


def _nothing(content: Content) -> Fault:
    """The fault to report for a file without a number or an address."""
    if content.table is not None:
        return Fault("line 1", "no column with phone numbers or e-mail addresses", "name it phone or e-mail")
    *wanted, last = dict.fromkeys(one.wanted for one in FORMATS)
    return Fault("file", "not an address book", f"give {', '.join(wanted)} or {last}")
