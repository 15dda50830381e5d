"""`contactsync forget`: wipe what was kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands._configuration import config_option, named_url
from contactsync.commands._forgetting import (
    forget_books,
    forget_ledger,
    forget_server,
    report,
    say_what_is_kept,
)
from contactsync.commands._options import open_state, server_option, state_option
from contactsync.foundation.errors import BadInput, NotTrusted, OurError

if TYPE_CHECKING:
    from contactsync.library.state import State


@click.command()
@server_option(
    "Forget this server: its address, or its name in the configuration. May be left out if there is only one."
)
@click.option("--all", "every", is_flag=True, help="Forget every server.")
@click.option(
    "--only",
    type=click.Choice(["contacts", "files", "books"]),
    help="Wipe only the tokens and findings of your contacts, or only downloaded files; the server stays "
    "trusted. The next sync looks all contacts up again, or fetches the files again. books: wipe only the "
    "copies of all CardDAV address books, and the undo lists of marked cards.",
)
@click.option(
    "--everything",
    is_flag=True,
    help="Also wipe the ledger of what bucket lists have told. The server does not forget it: "
    "--leak-budget then starts from zero, and new lists use different decoys.",
)
@config_option
@state_option
def forget(
    url: str | None,
    *,
    every: bool,
    only: str | None,
    everything: bool,
    config_file: Path | None,
    state_folder: Path | None,
) -> None:
    """Wipe the data stored for a server: its pinned root, downloaded files, and the tokens of your contacts.

    Copies of CardDAV address books, and undo lists of marked cards, are wiped too, unless you choose a server
    with --server.

    The ledger stays: it records what bucket lists of --privacy screen have told the server so far. It holds
    calling codes, but no contacts.

    Files are overwritten with zeros and removed. That is as much as a program can do: a solid-state drive, a
    snapshot or a backup may still hold older copies. If something cannot be overwritten, it is listed,
    the rest is wiped, and the exit code is 1.
    """
    if only and everything:
        raise click.UsageError("--only and --everything cannot be combined")
    url = None if url is None else named_url(url, config_file)
    state = open_state(state_folder)
    names = [] if only == "books" else _chosen(state, url, every=every, ledgers=everything)
    books = only == "books" or (url is None and only is None)
    if not names and not (books and (state.books.is_dir() or state.marks.is_dir())):
        click.echo("nothing was stored")
    done = [_forget(state, name, only, everything=everything) for name in names]
    done.append(forget_books(state, wipe=books))
    if not all(done):
        raise OurError(
            "not everything was erased", hint="fix the problems listed above, then run the same command again"
        )


def _chosen(state: State, url: str | None, *, every: bool, ledgers: bool) -> list[str]:
    """The names of what is meant."""
    from contactsync.library.state import is_pinned

    folders = {folder.name: folder for folder in state.folders()}
    names = {*folders, *(path.stem for path in state.ledgers() if ledgers)}
    if url is not None:
        return sorted(names & {state.name(url)})
    # What a pin or a wipe that was cut short has left is no server, and goes in any case.
    servers = {name for name in names if name not in folders or is_pinned(folders[name])}
    if len(servers) > 1 and not every:
        raise BadInput("several servers are known", hint="say which one with --server URL, or --all")
    return sorted(names)


def _forget(state: State, name: str, only: str | None, *, everything: bool) -> bool:
    """What is wanted of one server; it is said what stands in the way, and the next one has its turn."""
    try:
        if only is not None:
            erased = state.forget_part(state.folder / "servers" / name, only)
            return report(f"forgot the {only} of {name}", erased)
        done = forget_server(state, name)
        if everything:
            return forget_ledger(state, name) and done
        say_what_is_kept(state, name)
    except NotTrusted:  # another process has forgotten it meanwhile
        return True
    except OurError as error:
        click.echo(f"not erased: {error} ({error.hint})", err=True)
        return False
    except OSError as error:
        click.echo(f"not erased: {error.filename}: {error.strerror}", err=True)
        return False
    return done
