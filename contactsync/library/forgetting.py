"""Wiping what is kept beside the servers, and what bucket lists have told each."""

from __future__ import annotations

from dataclasses import dataclass

from contactsync.carddav import store
from contactsync.client.ledger import Ledger, Told
from contactsync.foundation.erasure import Erased, erase
from contactsync.library.state import State

__all__ = ["Telling", "Told", "forget_books", "has_books", "telling"]


@dataclass(frozen=True, slots=True)
class Telling:
    """What all bucket lists have told a server, by partition."""

    url: str
    told: tuple[Told, ...]


def telling(state: State, name: str) -> Telling | None:
    """What a server of this name (`State.name`) was told; None: nothing. Raises OurError, OSError."""
    try:
        ledger = Ledger.read(state.ledger(name))
    except FileNotFoundError:
        return None
    return Telling(ledger.url, tuple(ledger.told))


def has_books(state: State) -> bool:
    """Whether there are copies of CardDAV address books, or undo lists of marked cards."""
    return state.books.is_dir() or state.marks.is_dir()


def forget_books(state: State) -> Erased:
    """Wipe copies of CardDAV address books and undo lists of marked cards. Raises OurError: in use."""
    erased = erase(state.marks)
    if state.books.is_dir():
        erased.add(store.forget_books(state.books))
    return erased
