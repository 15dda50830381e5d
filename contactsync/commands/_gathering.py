"""Reads the address books of a sync: those of its command line, else those of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from contactsync.commands import _books
from contactsync.commands._progress import ProgressLine
from contactsync.commands._reading import Reading, say_what_is_missing
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:
    from contactsync.commands._services import Given
    from contactsync.library.books import AddressBook, FetchedBook
    from contactsync.library.carddav import Pulled
    from contactsync.library.client import Patience
    from contactsync.library.state import State

_PASSWORDS: Final = ("password_file", "password_command")
_ACCESS: Final = {
    **{name: name for name in (*_PASSWORDS, "ca_file", "allow_plain_http")},
    "auth": "scheme",
}
"""Options of `sync` that a source of the configuration has too, and what BookAccess calls them."""


class Gathering:
    """The address books of one command. `pulled` is what was fetched from CardDAV servers last."""

    def __init__(self, given: Given, access: _books.BookAccess, options: Mapping[str, Any]) -> None:
        self._given = given
        self._access = access
        self._of = options
        self.pulled: list[Pulled] = []
        self.sources = [address for address, _ in self._sources()]

    @property
    def reading(self) -> Reading:
        """What the options say of how books are read, and who of them is looked up."""
        return Reading.of(self._of, self._given.configuration.region)

    def read(self, state: State, patience: Patience) -> AddressBook:
        """The address books. Raises BadInput if they contain no contact: it is probably the wrong file."""
        book = self.reading.read(self._fetch(state, patience))
        say_what_is_missing(book, quiet=self._of["quiet"], verbose=self._of["verbose"])
        if not book.contacts:
            hint = "give another FILE; see `contactsync docs address-books`"
            if book.left_out:
                hint = "--group, --only and --exclude left everybody out"
            raise BadInput("there are no contacts to look up", hint=hint)
        return book

    def _fetch(self, state: State, patience: Patience) -> list[str | FetchedBook]:
        """The sources; in place of accounts their address books. Only what has changed is fetched."""
        self.pulled, books = [], []
        with ProgressLine(quiet=self._of["quiet"]) as line:
            for addresses, access in self._groups():
                read, pulled = _books.fetch(
                    addresses,
                    access,
                    state.books,
                    proxy=self._of["proxy"],
                    patience=patience.with_progress(line),
                    progress=line,
                )
                books += read
                self.pulled += pulled
        if not self._of["quiet"]:
            _books.say_fetched(self.pulled)
        return books

    def _groups(self) -> Iterator[tuple[list[str], _books.BookAccess]]:
        """Those of a command line are signed in to alike, those of the configuration each in its own way."""
        if self._of["sources"]:
            yield list(self._of["sources"]), self._access
            return
        for address, access in self._sources():
            yield [address], access

    def _sources(self) -> list[tuple[str, _books.BookAccess]]:
        given: tuple[str, ...] = self._of["sources"]
        configured = self._given.configuration.sources.values()
        if given:
            return [(one, self._access) for one in given]
        if not configured:
            raise click.UsageError("Give FILE…, or name your address books in `contactsync config init`.")
        remote = [one for one in configured if one.is_remote]
        if len(remote) > 1 and any(map(self._given.says, _PASSWORDS)):
            raise BadInput(
                "one password is given for several CardDAV accounts: each server would be told it",
                hint="name a password for each in the configuration",
            )
        fields = [field for name, field in _ACCESS.items() if self._given.says(name)]
        said = {field: getattr(self._access, field) for field in fields}
        if any(map(self._given.says, _PASSWORDS)):
            said = dict.fromkeys(_PASSWORDS) | said
        return [(one.address, replace(_access(one.access), **said)) for one in configured]


def _access(given: Mapping[str, Any]) -> _books.BookAccess:
    """How a source of the configuration is signed in to."""
    return _books.BookAccess(**{_ACCESS[name]: value for name, value in given.items()})
