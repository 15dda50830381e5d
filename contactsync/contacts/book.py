"""The content of an address book after reading, and the limits of all formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from contactsync.contacts.dialling import Dialling
from contactsync.contacts.fields import read_field
from contactsync.contacts.lines import Line, all_forms, lines_of
from contactsync.contacts.mails import read_mails
from contactsync.identifiers import KINDS, Rejected

# docs/address-books.md lists them. A file that exceeds a limit is reported, never silently cut.
MAX_FILE = 256 << 20  # bytes of one file
MAX_FILES = 200_000  # .vcf files in one folder
MAX_DEPTH = 32  # folders within folders
MAX_ENTRIES = 1_000_000  # contacts in one run
MAX_NUMBERS = 1_000  # numbers of one contact, and as many addresses
MAX_LINE = 64 << 10  # bytes of one unfolded vCard line that is used (not a photo), or of a line of a list
MAX_ROW_LINES = 500  # lines of one CSV row; with more, a quotation mark was never closed
MAX_NESTED = 8  # cards within cards
MAX_NAME = 200  # characters of a name; the rest is cut

NO_NAME = "(no name)"


@dataclass(frozen=True, slots=True)
class Contact:
    """An entry: a name that is safe for a terminal, identifiers without duplicates, its place, its groups.

    `groups` are the categories, labels and lists that it is in, if they were asked for.
    """

    name: str
    identifiers: tuple[bytes, ...]
    place: str
    groups: tuple[str, ...] = ()

    @property
    def lines(self) -> list[Line]:
        """The subscribers that its identifiers reach: all forms of each, those that are written first."""
        return lines_of(self.identifiers)

    def found(self, members: Container[bytes]) -> list[bytes]:
        """Of each subscriber who is a member the form that is, once."""
        return [form for line in self.lines if (form := next((f for f in line if f in members), None))]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An entry, or one of its numbers or addresses, that could not be read: where, why, what to do.

    It contains nothing of it. `kind` is that of the identifier that it would be; "": something else.
    """

    file: str
    place: str
    reason: str
    hint: str
    kind: str = ""


@dataclass(slots=True)
class AddressBook:
    """What was read: the contacts in order, what could not be read, and the number of files.

    Entries with the same name and the same identifiers are one contact. `left_out` counts those that were
    read and not chosen.
    """

    contacts: list[Contact] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    files: int = 0
    left_out: int = 0

    @property
    def identifiers(self) -> list[bytes]:
        """Every identifier that is written in it once, sorted."""
        return sorted({identifier for contact in self.contacts for identifier in contact.identifiers})

    @property
    def sought(self) -> list[bytes]:
        """What a sync looks up: `identifiers` and their further forms, each once, sorted."""
        return sorted(all_forms(self.identifiers))

    def join(self, other: AddressBook) -> None:
        """Add what is in another book, which was read in another way. A contact of both is there once."""
        seen = {(contact.name, contact.identifiers) for contact in self.contacts if contact.identifiers}
        self.contacts += [one for one in other.contacts if (one.name, one.identifiers) not in seen]
        self.unreadable += other.unreadable
        self.files += other.files
        self.left_out += other.left_out

    @property
    def without_identifier(self) -> int:
        """How many contacts have no number or address that can be looked up."""
        return sum(not contact.identifiers for contact in self.contacts)

    def count(self, kind: str) -> int:
        """How many identifiers of a kind there are."""
        return sum(one.startswith(KINDS[kind].prefix) for one in self.identifiers)

    def keep(self, kinds: Collection[str]) -> None:
        """Drop the identifiers of other kinds, and what is said of those that could not be read."""
        prefixes = tuple(KINDS[kind].prefix for kind in kinds)
        seen: set[tuple[str, tuple[bytes, ...]]] = set()
        contacts, self.contacts = self.contacts, []
        for one in contacts:
            kept = tuple(identifier for identifier in one.identifiers if identifier.startswith(prefixes))
            if not kept or (one.name, kept) not in seen:
                self.contacts.append(replace(one, identifiers=kept))
            seen.add((one.name, kept))
        self.unreadable = [one for one in self.unreadable if not one.kind or one.kind in kinds]


class Number(NamedTuple):
    """A number or an e-mail address as it is written in the file."""

    text: str
    place: str


class Entry(NamedTuple):
    """One entry, as the reader of a format returns it. Group cards name their members by `uid`."""

    name: str
    numbers: tuple[Number, ...]
    place: str
    categories: tuple[str, ...] = ()
    uid: str = ""
    mails: tuple[Number, ...] = ()


class Group(NamedTuple):
    """A group of entries of the same file: its name, and the `uid` of each member."""

    name: str
    members: tuple[str, ...]


class Fault(NamedTuple):
    """Something that the reader of a format cannot read. It quotes nothing of the content."""

    place: str
    reason: str
    hint: str = ""
    kind: str = ""


class TooMany(Exception):
    """The run has reached the limit of contacts."""


class Collector:
    """Turns entries into contacts: identifiers for what is written, no duplicates.

    `grouped`: keeps groups.
    """

    def __init__(self, dial: Dialling, *, grouped: bool = False) -> None:
        self.book = AddressBook()
        self._grouped = grouped
        self._groups: list[Group] = []
        self._by_uid: dict[str, int] = {}
        self._dial = dial
        self.region = dial.region
        self._seen: set[tuple[str, tuple[bytes, ...]]] = set()

    def add(self, file: str, entries: Iterable[Entry | Group | Fault]) -> None:
        """Add all entries of one file. Raises TooMany at the limit."""
        for entry in entries:
            if isinstance(entry, Fault):
                self.report(file, entry)
                continue
            if isinstance(entry, Group):
                self._groups.append(entry)
                continue
            if len(self.book.contacts) >= MAX_ENTRIES:
                hint = f"a run reads at most {MAX_ENTRIES:,}"
                self.report(file, Fault(entry.place, "too many contacts", hint))
                raise TooMany
            name, identifiers = clean_name(entry.name), self._identifiers(file, entry)
            if name == NO_NAME and not identifiers and (entry.numbers or entry.mails):
                continue  # nothing is left, and it was reported
            if identifiers and (name, identifiers) in self._seen:
                continue
            self._seen.add((name, identifiers))
            groups = entry.categories if self._grouped else ()
            if self._grouped and entry.uid:
                self._by_uid[_plain_uid(entry.uid)] = len(self.book.contacts)
            self.book.contacts.append(Contact(name, identifiers, f"{file}: {entry.place}", groups))

    def join_groups(self) -> None:
        """Note for each contact the groups that name it as a member."""
        contacts = self.book.contacts
        for group in self._groups if self._grouped else ():
            for member in group.members:
                index = self._by_uid.get(_plain_uid(member))
                if index is not None:
                    one = contacts[index]
                    contacts[index] = replace(one, groups=(*one.groups, group.name))

    def report(self, file: str, fault: Fault) -> None:
        """Record something that could not be read."""
        self.book.unreadable.append(Unreadable(file, *fault))

    def _identifiers(self, file: str, entry: Entry) -> tuple[bytes, ...]:
        found = self._read(file, entry, entry.numbers, lambda text: read_field(text, self._dial), "tel")
        if entry.mails:
            found += self._read(file, entry, entry.mails, read_mails, "mailto")
        return found

    def _read(
        self,
        file: str,
        entry: Entry,
        written: tuple[Number, ...],
        read: Callable[[str], Iterator[bytes | Rejected]],
        kind: str,
    ) -> tuple[bytes, ...]:
        found: dict[bytes, None] = {}
        for number in written[:MAX_NUMBERS]:
            for one in read(number.text):
                if isinstance(one, Rejected):
                    self.report(file, Fault(number.place, one.reason, one.hint, kind))
                elif len(found) < MAX_NUMBERS:
                    found[one] = None
        if len(written) > MAX_NUMBERS:
            what, hint = _PLURAL[kind], f"a contact may have at most {MAX_NUMBERS:,}"
            self.report(file, Fault(entry.place, f"too many {what}", hint, kind))
        return tuple(found)


_PLURAL = {"tel": "numbers", "mailto": "e-mail addresses"}


def _plain_uid(uid: str) -> str:
    return uid.strip().lower().removeprefix("urn:uuid:")


_SPACES = re.compile(r"\s+")
# They join letters, as some scripts need. No other unprintable character belongs in a name: control
# characters move a terminal's cursor, and bidi marks reverse the rest of its line.
_JOINERS = "\u200c\u200d"


def clean_name(text: str) -> str:
    """The name in one line, without unprintable characters; NO_NAME if nothing is left."""
    text = _SPACES.sub(" ", text).strip()
    if not text.isprintable():
        text = "".join(c for c in text if c.isprintable() or c in _JOINERS).strip()
    if len(text) > MAX_NAME:
        text = text[: MAX_NAME - 1] + "…"
    return text or NO_NAME
