"""From identifiers to people: whom a sync found, who joined, who left. Each subscriber is reported once.

A subscriber may be reached by several identifiers (docs/identifiers.md, further forms). So it is the
subscriber who is a member, by any of them, and who joins or leaves. One who was registered under one form and
now is under another has done neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from contactsync.client.report import Match
from contactsync.contacts import AddressBook
from contactsync.contacts.lines import Line


@dataclass(frozen=True, slots=True)
class Findings:
    """What two syncs found of identifiers. `settled` are those of which this one knows it.

    `labels` are those of members that have one, and that could be read.
    """

    members: frozenset[bytes]
    settled: frozenset[bytes]
    were_members: frozenset[bytes]
    were_none: frozenset[bytes]
    labels: Mapping[bytes, str] = field(default_factory=dict)

    def matches(self, book: AddressBook) -> list[Match]:
        """The members, in the order of the book, by the first form that is one."""
        return self._matches(book, lambda line: _first(line, self.members))

    def joined(self, book: AddressBook) -> list[Match]:
        """Those whom the sync before knew to be none."""
        known = self.members & self.were_none
        return self._matches(
            book, lambda line: None if _first(line, self.were_members) else _first(line, known)
        )

    def left(self, book: AddressBook) -> list[Match]:
        """Those whom the sync before knew to be members, and who are no longer, by any form."""
        return self._matches(book, self._left)

    def _left(self, line: Line) -> bytes | None:
        before = [form for form in line if form in self.were_members]
        if _first(line, self.members) is not None or not self.settled.issuperset(before):
            return None
        return before[0] if before else None

    def _matches(self, book: AddressBook, choose: Callable[[Line], bytes | None]) -> list[Match]:
        found = []
        for contact in book.contacts:
            for line in contact.lines:
                form = choose(line)
                if form is not None:
                    written = form if form in contact.identifiers else line[0]
                    label = self.labels.get(form)
                    found.append(Match(contact.name, form.decode("ascii"), written.decode("ascii"), label))
        return found


def _first(line: Line, among: frozenset[bytes]) -> bytes | None:
    return next((form for form in line if form in among), None)
