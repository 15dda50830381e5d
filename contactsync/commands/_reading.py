"""How commands read address books: the options for it, and what is said of what was not read."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _output

if TYPE_CHECKING:
    from contactsync.library.books import AddressBook, FetchedBook

KINDS = frozenset({"tel", "mailto"})
"""Of identifiers: values of --only, and of `only` in the configuration, that are no files."""

_OPTIONS = (
    click.option(
        "--region", metavar="XX", help="Country of numbers without +, e.g. DE (default: the locale's)."
    ),
    click.option(
        "--area-code",
        metavar="CODE",
        help="Area code of numbers without one, as it is dialled, e.g. 030 (default: they are reported).",
    ),
    click.option(
        "--group",
        "--category",
        "groups",
        multiple=True,
        metavar="NAME",
        help="Look up only contacts in this group, category, label or list. May be given several times.",
    ),
    click.option(
        "--only",
        multiple=True,
        metavar="tel|mailto|FILE",
        help="tel, mailto: look up only phone numbers, or only e-mail addresses. FILE: look up only people "
        "in it, an address book of any kind, or names, one per line (a file named tel is ./tel).",
    ),
    click.option(
        "--exclude", multiple=True, metavar="FILE", help="Do not look up people in FILE (as with --only)."
    ),
)


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what is read and who of it is looked up."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Reading:
    """What these options say. `region` None: that of the locale."""

    region: str | None
    area_code: str | None
    groups: tuple[str, ...]
    only: tuple[str, ...]
    exclude: tuple[str, ...]
    kinds: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any], region: str | None) -> Reading:
        """From the values of a command's options; `region` is the configuration's."""
        only = tuple(one for one in given["only"] if one not in KINDS)
        kinds = tuple(sorted(set(given["only"]) & KINDS))
        groups, exclude = tuple(given["groups"]), tuple(given["exclude"])
        return cls(given["region"] or region, given["area_code"], groups, only, exclude, kinds)

    @property
    def files(self) -> list[Path]:
        """The files that it reads beside the address books."""
        return [Path(name) for name in (*self.only, *self.exclude)]

    def identifiers_of(self, card: bytes) -> list[bytes]:
        """What a sync looks up for one card, read as the address books are."""
        from contactsync.library.books import address_book

        stdin = io.BytesIO(card)
        book = address_book("-", region=self.region, area_code=self.area_code, stdin=stdin, kinds=self.kinds)
        return book.sought

    def read(self, sources: Sequence[str | FetchedBook]) -> AddressBook:
        """Read the address books, and keep those who are chosen. Raises BadInput for what cannot be meant."""
        from contactsync.library.books import address_book

        return address_book(
            *sources,
            region=self.region,
            area_code=self.area_code,
            groups=self.groups,
            only=self.only,
            exclude=self.exclude,
            kinds=self.kinds,
        )


def say_what_is_missing(book: AddressBook, *, quiet: bool = False, verbose: bool = False) -> None:
    """List on stderr what could not be read, and count who is not looked up."""
    _output.say_unreadable(book, quiet=quiet, verbose=verbose)
    if quiet:
        return
    if book.left_out:
        contacts = _output.counted(book.left_out, "contact", "contacts")
        click.echo(f"left out: {contacts} that you did not choose", err=True)
    if book.without_identifier:
        click.echo(f"contacts without a number or an address: {book.without_identifier:,}", err=True)
