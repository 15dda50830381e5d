"""What `forget`, `status` and `trust --replace` say of what is wiped, and of what bucket lists have told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from contactsync.foundation.errors import OurError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from contactsync.foundation.erasure import Erased
    from contactsync.library.forgetting import Told
    from contactsync.library.state import State


def forget_server(state: State, name: str) -> bool:
    """Wipe what is kept of a server but its ledger. Whether nothing else remains. Raises OurError."""
    folder = state.folder / "servers" / name
    return report(f"forgot {name}", state.forget(folder)) if folder.is_dir() else True


def say_what_is_kept(state: State, name: str) -> None:
    """The ledger, which is left, and how to be rid of it."""
    for url, line in _ledger_lines(state, name):
        option = f" --server {url}" if url else ""
        click.echo(f"kept: {line}; `contactsync forget --everything{option}` also removes it")


def forget_books(state: State, *, wipe: bool) -> bool:
    """Wipe copies of CardDAV address books and undo lists, or say that they are kept. Whether all is done."""
    from contactsync.library import forgetting as library

    if not library.has_books(state):
        return True
    what = "copies of CardDAV address books, and undo lists of marked cards"
    if not wipe:
        click.echo(f"kept: {what}; `contactsync forget --only books` removes them")
        return True
    try:
        return report(f"forgot the {what}", library.forget_books(state))
    except OurError as error:
        click.echo(f"not erased: {error} ({error.hint})", err=True)
        return False


def forget_ledger(state: State, name: str) -> bool:
    """Wipe the ledger of a server, and say what that costs. Whether nothing of it remains."""
    lines = list(_ledger_lines(state, name))
    for _, line in lines:
        click.echo(f"no longer counted: {line}; new lists will use different decoys")
    return report(f"forgot the ledger of {name}", state.forget_ledger(name)) if lines else True


def report(what: str, erased: Erased) -> bool:
    """Say how much was erased, and what was not. Whether nothing remains."""
    click.echo(f"{what}: {erased.files:,} files, {erased.octets:,} bytes overwritten and removed")
    for one in erased.remains:
        click.echo(f"not erased: {one.path}: {one.reason}", err=True)
    return not erased.remains


def told_line(told: Told) -> str:
    """What all lists for a partition have told."""
    lists = "1 bucket list" if told.lists == 1 else f"{told.lists:,} bucket lists"
    from contactsync.library.identifying import title_of

    since = told.first if told.first == told.last else f"{told.first} to {told.last}"
    return (
        f"{lists} for {title_of(told.partition)} ({told.audience}, {since}) multiplied the odds of guessing"
        f" a contact by up to {told.odds:,.0f}"
    )


def _ledger_lines(state: State, name: str) -> Iterator[tuple[str, str]]:
    """(URL, line) for all that a ledger says; without a URL if it is damaged."""
    from contactsync.library.forgetting import telling

    try:
        found = telling(state, name)
    except (OurError, OSError):
        yield "", f"the ledger {state.ledger(name)}, which cannot be read"
        return
    if found is not None:
        yield from ((found.url, told_line(one)) for one in found.told)
