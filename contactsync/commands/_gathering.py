"""Reads the address books of a sync: those of its command line, else those of the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
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
    def files(self) -> list[Path]:
        """The files that are read beside the address books."""
        return [file for _, _, reading in self._groups() for file in reading.files]

    def identifiers_of(self, card: bytes) -> list[bytes]:
        """The identifiers in one card, read as the books are. Raises BadInput if they differ."""
        readings = [reading for _, _, reading in self._groups()]
        if len({one.area_code for one in readings}) > 1:
            raise BadInput(
                "the address books have several area codes, and --mark reads each card in one way",
                hint="mark one address book at a time: give it as FILE, with its --area-code",
            )
        return readings[0].identifiers_of(card)

    def read(self, state: State, patience: Patience) -> AddressBook:
        """The address books. Raises BadInput if they contain no contact: it is probably the wrong file."""
        book = self.gather(state, patience)
        say_what_is_missing(book, quiet=self._of["quiet"], verbose=self._of["verbose"])
        if not book.contacts:
            hint = "give another FILE; see `contactsync docs address-books`"
            if book.left_out:
                hint = "--group, --only and --exclude left everybody out"
            raise BadInput("there are no contacts to look up", hint=hint)
        return book

    def gather(self, state: State, patience: Patience) -> AddressBook:
        """What is in the address books, without a word of what is not. Those that are read alike are one."""
        book: AddressBook | None = None
        for reading, sources in self._fetch(state, patience).items():
            read = reading.read(sources)
            if book is None:
                book = read
            else:
                book.join(read)
        assert book is not None, "there is a source"
        return book

    def _fetch(self, state: State, patience: Patience) -> dict[Reading, list[str | FetchedBook]]:
        """The sources by how they are read; in place of accounts their books. Only changes are fetched."""
        self.pulled = []
        books: dict[Reading, list[str | FetchedBook]] = {}
        with ProgressLine(quiet=self._of["quiet"]) as line:
            for addresses, access, reading in self._groups():
                read, pulled = _books.fetch(
                    addresses,
                    access,
                    state.books,
                    proxy=self._of["proxy"],
                    patience=patience.with_progress(line),
                    progress=line,
                )
                books.setdefault(reading, []).extend(read)
                self.pulled += pulled
        if not self._of["quiet"]:
            _books.say_fetched(self.pulled)
        return books

    def _groups(self) -> Iterator[tuple[list[str], _books.BookAccess, Reading]]:
        """Those of a command line are read alike, those of the configuration each in its own way."""
        region = self._given.configuration.region
        if self._of["sources"]:
            yield list(self._of["sources"]), self._access, Reading.of(self._of, region)
            return
        for (address, access), one in zip(
            self._sources(), self._given.configuration.sources.values(), strict=True
        ):
            own = {name: value for name, value in one.choices.items() if not self._given.says(name)}
            yield [address], access, Reading.of({**self._of, **own}, region)

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
