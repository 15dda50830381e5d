"""`contactsync contacts`: what is read from address books, and what would be looked up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _json, _output
from contactsync.commands._books import is_remote
from contactsync.commands._configuration import config_option, load
from contactsync.commands._options import json_option
from contactsync.commands._reading import Reading, reading_options
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:
    from contactsync.library.books import AddressBook


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="FILE…")
@reading_options
@json_option
@config_option
@click.pass_context
def contacts(
    context: click.Context, /, *, sources: tuple[str, ...], as_json: bool, config_file: Path | None, **_: Any
) -> None:
    """Show what is read from the address books FILE…, and what a sync would look up.

    Each contact with its numbers, then what was not read and why. Nothing is sent anywhere, and no server
    need be trusted. FILE is as with `contactsync sync`, except that nothing is fetched from CardDAV servers.

    With --json, one object is printed: contacts (list of {name, identifiers}) and unreadable (list of {file,
    place, reason, hint}).
    """
    if any(map(is_remote, sources)):
        raise BadInput("this command fetches nothing from servers", hint="see `contactsync sync --dry-run`")
    from contactsync.commands.sync import sync

    region = load(config_file, sync.params).region
    book = Reading.of(context.params, region).read(sources)
    if as_json:
        _json.emit(_value(book))
        return
    _print(book)
    if not book.contacts and not book.left_out:
        raise BadInput(
            "there are no contacts", hint="see `contactsync docs address-books` for what can be read"
        )


def _value(book: AddressBook) -> dict[str, Any]:
    people = [
        {"name": contact.name, "identifiers": [one.decode("ascii") for one in contact.identifiers]}
        for contact in book.contacts
    ]
    missed = [
        one | {"hint": entry.hint}
        for one, entry in zip(_output.unreadable(book), book.unreadable, strict=True)
    ]
    return {"contacts": people, "unreadable": missed}


def _print(book: AddressBook) -> None:
    click.echo(_output.table(("NAME", "NUMBER"), _rows(book)), nl=False)
    for entry in book.unreadable:
        hint = f" ({entry.hint})" if entry.hint else ""
        place = f"{_output.printable(entry.file)}, {_output.printable(entry.place)}"
        click.echo(f"not read: {place}: {entry.reason}{hint}")
    people = _output.counted(len(book.contacts), "contact", "contacts")
    numbers = _output.counted(len(book.identifiers), "number", "numbers")
    click.echo(f"{numbers} of {people} would be looked up; nothing was sent")
    click.echo(f"contacts without a number: {book.without_number:,}")
    if book.left_out:
        click.echo(f"left out, not chosen: {book.left_out:,}")
    click.echo(f"not read: {len(book.unreadable):,}")


def _rows(book: AddressBook) -> list[tuple[str, str]]:
    rows = []
    for contact in book.contacts:
        found = [one.decode("ascii").removeprefix("tel:") for one in contact.identifiers] or ["-"]
        rows += [(contact.name, found[0]), *(("", one) for one in found[1:])]
    return rows
