"""`contactsync contacts`: what is read from address books, and what would be looked up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _books, _json, _output
from contactsync.commands._configuration import config_option, load
from contactsync.commands._options import json_option, open_state, proxy_option, state_option
from contactsync.commands._reading import reading_options
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:
    from contactsync.library.books import AddressBook, Contact


@click.command()
@click.argument("sources", nargs=-1, metavar="[FILE…]")
@reading_options
@proxy_option
@json_option
@config_option
@_books.book_options
@state_option
@click.pass_context
def contacts(
    context: click.Context,
    /,
    *,
    access: _books.BookAccess,
    as_json: bool,
    config_file: Path | None,
    state_folder: Path | None,
    **_: Any,
) -> None:
    """Show what is read from the address books FILE…, and what a sync would look up.

    Each contact with its numbers and e-mail addresses, then what was not read and why. No server need be
    trusted, and none learns of it. FILE is as with `contactsync sync`; without one, those in the
    configuration are read. Only carddav:// addresses use the network: what has changed there is fetched.

    With --json, one object is printed: contacts (list of {name, identifiers, further_forms}) and unreadable
    (list of {file, place, reason, hint}). further_forms are looked up besides the identifiers: see
    `contactsync docs identifiers`.
    """
    from contactsync.commands._gathering import Gathering
    from contactsync.commands._services import Given
    from contactsync.commands.sync import sync
    from contactsync.library.state import Patience

    given = Given(context, load(config_file, sync.params))
    gathering = Gathering(given, access, given.settings(None) | {"quiet": as_json})
    book = gathering.gather(open_state(state_folder), Patience())
    if as_json:
        _json.emit(_value(book))
        return
    _print(book, fetched=bool(gathering.pulled))
    if not book.contacts and not book.left_out:
        raise BadInput(
            "there are no contacts", hint="see `contactsync docs address-books` for what can be read"
        )


def _value(book: AddressBook) -> dict[str, Any]:
    people = [
        {
            "name": contact.name,
            "identifiers": [one.decode("ascii") for one in contact.identifiers],
            "further_forms": _further_forms(contact),
        }
        for contact in book.contacts
    ]
    missed = [
        one | {"hint": entry.hint}
        for one, entry in zip(_output.unreadable(book), book.unreadable, strict=True)
    ]
    return {"contacts": people, "unreadable": missed}


def _print(book: AddressBook, *, fetched: bool) -> None:
    head = _output.found_by(one.decode() for one in book.identifiers)
    click.echo(_output.table(("NAME", head), _rows(book)), nl=False)
    for entry in book.unreadable:
        hint = f" ({entry.hint})" if entry.hint else ""
        place = f"{_output.printable(entry.file)}, {_output.printable(entry.place)}"
        click.echo(f"not read: {place}: {entry.reason}{hint}")
    people = _output.counted(len(book.contacts), "contact", "contacts")
    written = len(book.identifiers)
    numbers = _output.with_forms(_output.of_book(book, written), len(book.sought) - written)
    sent = "nothing was sent, except to read the address books" if fetched else "nothing was sent"
    click.echo(f"{numbers} of {people} would be looked up; {sent}")
    click.echo(f"contacts without a number or an address: {book.without_identifier:,}")
    if book.left_out:
        click.echo(f"left out, not chosen: {book.left_out:,}")
    click.echo(f"not read: {len(book.unreadable):,}")


def _further_forms(contact: Contact) -> list[str]:
    written = set(contact.identifiers)
    return [form.decode("ascii") for line in contact.lines for form in line if form not in written]


def _rows(book: AddressBook) -> list[tuple[str, str]]:
    rows = []
    for contact in book.contacts:
        found = [_output.shown_all([one.decode("ascii")]) for one in contact.identifiers] or ["-"]
        rows += [(contact.name, found[0]), *(("", one) for one in found[1:])]
    return rows
