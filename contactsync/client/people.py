"""From identifiers to people: whom a sync found, who joined, who left. Each subscriber is reported once.

A subscriber may be reached by several identifiers (docs/identifiers.md, further forms). So it is the
subscriber who is a member, by any of them, and who joins or leaves. One who was registered under one form and
now is under another has done neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from contactsync.client.report import Match
from contactsync.contacts import AddressBook, Contact
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

    def people(self, book: AddressBook) -> tuple[list[Match], list[Match], list[Match]]:
        """Who is a member, by the first form that is; who joined; who left. In the order of the book.

        Joined and left are those of whom the sync before knew it, and found otherwise, in all forms.
        """
        matches, joined, left = list[Match](), list[Match](), list[Match]()
        news = self.members & self.were_none
        for contact in book.contacts:
            for line in contact.lines:
                now, before = _first(line, self.members), _first(line, self.were_members)
                if now is not None:
                    matches.append(self._match(contact, line, now))
                    if before is None and (new := _first(line, news)) is not None:
                        joined.append(self._match(contact, line, new))
                elif before is not None and self._is_settled(line):
                    left.append(self._match(contact, line, before))
        return matches, joined, left

    def _is_settled(self, line: Line) -> bool:
        """Whether it is known of each form that was a member."""
        return all(form in self.settled for form in line if form in self.were_members)

    def _match(self, contact: Contact, line: Line, form: bytes) -> Match:
        written = form if form in contact.identifiers else line[0]
        return Match(contact.name, form.decode("ascii"), written.decode("ascii"), self.labels.get(form))


def _first(line: Line, among: frozenset[bytes]) -> bytes | None:
    return next((form for form in line if form in among), None)
