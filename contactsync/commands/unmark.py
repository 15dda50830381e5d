"""`contactsync unmark`: remove the category that `sync --mark` has added."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from contactsync.commands import _books, _output
from contactsync.commands._options import Duration, proxy_option
from contactsync.commands._progress import ProgressLine

if TYPE_CHECKING:
    from contactsync.library.carddav import DavAccount


@click.command()
@click.argument("undo", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--timeout",
    type=Duration(),
    default="1h",
    show_default=True,
    metavar="TIME",
    help="Stop after this time (90s, 5m, 1h). What is left can be undone later, with the same FILE.",
)
@proxy_option
@_books.book_options
def unmark(undo: Path, *, access: _books.BookAccess, timeout: float, proxy: str | None) -> None:
    """Remove the category that `sync --mark` has added to the cards in the undo list FILE.

    Only the category goes; whatever else was changed in a card since then stays. When all cards are done,
    the list is wiped: it says who matched.
    """
    from contactsync.foundation.erasure import erase
    from contactsync.library.marking import UndoList
    from contactsync.library.marking import unmark as run

    listed = UndoList.read(undo)
    addresses = {
        (card.origin, card.user): _address(card.origin, card.user) for card in listed.cards if card.origin
    }
    accounts = dict(
        zip(addresses, access.accounts(list(addresses.values()), proxy=proxy, may_ask=True), strict=True)
    )

    def account(origin: str, user: str) -> DavAccount:
        return accounts[origin, user]

    with ProgressLine() as line:
        marks = run(listed, account, timeout=timeout, progress=line)
    done = f"removed {_output.printable(listed.category)}"
    _output.say_marked(marks, done=done, already="no longer had it")
    if not marks.left_alone:
        erase(undo)
        click.echo(f"wiped the undo list {_output.printable(str(undo))}", err=True)


def _address(origin: str, user: str) -> str:
    scheme, _, host = origin.partition("://")
    return f"{scheme}://{quote(user, safe='')}@{host}/" if user else f"{origin}/"
