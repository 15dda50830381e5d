"""Address books that were fetched from somewhere, as one of the sources of `read_address_books`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contactsync.contacts.book import Fault


@dataclass(frozen=True, slots=True)
class FetchedBook:
    """Cards of one address book: its name for reports, (name, octets) of each card, and what did not come."""

    name: str
    cards: Sequence[tuple[str, bytes]]
    faults: Sequence[Fault] = ()
