"""Whom of a book to look up at all: groups, a list of people to look up, a list of people to leave out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from contactsync.contacts.book import NO_NAME, AddressBook, Contact, clean_name
from contactsync.contacts.lines import all_forms
from contactsync.foundation.errors import BadInput


@dataclass(frozen=True, slots=True)
class People:
    """A list of people: the numbers of those who have one, in all forms, and the names of the others."""

    identifiers: frozenset[bytes]
    names: frozenset[str]

    @classmethod
    def of(cls, contacts: Iterable[Contact], names: Iterable[str] = ()) -> People:
        """The people of a book, and more names."""
        contacts = list(contacts)
        numbers = frozenset(all_forms(one for contact in contacts for one in contact.identifiers))
        nameless = [contact.name for contact in contacts if not contact.identifiers]
        found = (clean_name(name).casefold() for name in [*nameless, *names])
        return cls(numbers, frozenset(found) - {NO_NAME})

    def has(self, contact: Contact) -> bool:
        """Whether a contact has a number of the list, or its whole name."""
        numbers = all_forms(contact.identifiers)
        return not self.identifiers.isdisjoint(numbers) or contact.name.casefold() in self.names


@dataclass(frozen=True, slots=True)
class Selection:
    """Which contacts are looked up: of these groups (any of them), on `only`, not on `exclude`."""

    groups: tuple[str, ...] = ()
    only: Sequence[People] = field(default=())
    exclude: Sequence[People] = field(default=())

    def __bool__(self) -> bool:
        """Whether it leaves anybody out."""
        return bool(self.groups or self.only or self.exclude)

    def apply(self, book: AddressBook) -> None:
        """Remove the others from a book, and count them. Raises BadInput for a group that nobody is in."""
        wanted = {group.casefold() for group in self.groups}
        there = {group.casefold(): group for contact in book.contacts for group in contact.groups}
        missing = [group for group in self.groups if group.casefold() not in there]
        if missing:
            known = ", ".join(sorted(there.values())[:10]) or "none"
            raise BadInput(
                f"no contact is in a group named {missing[0]!r}", hint=f"groups in the book: {known}"
            )
        before = len(book.contacts)
        book.contacts = [contact for contact in book.contacts if self._wants(contact, wanted)]
        book.left_out += before - len(book.contacts)

    def _wants(self, contact: Contact, groups: set[str]) -> bool:
        if groups and groups.isdisjoint(group.casefold() for group in contact.groups):
            return False
        if self.only and not any(people.has(contact) for people in self.only):
            return False
        return not any(people.has(contact) for people in self.exclude)
