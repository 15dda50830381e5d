"""`contactsync forget`: wipe what was kept."""

from __future__ import annotations

from pathlib import Path

import click

from contactsync.commands._options import open_state, server_option, state_option
from contactsync.foundation.errors import BadInput


@click.command()
@server_option("Forget this server (may be left out if only one is trusted).")
@click.option("--all", "everything", is_flag=True, help="Forget every server.")
@state_option
def forget(url: str | None, *, everything: bool, state_folder: Path | None) -> None:
    """Wipe what is kept of a server: its pinned root, downloaded files, and the tokens of your contacts.

    Files are overwritten with zeros and removed. That is as much as a program can do: a solid-state drive, a
    snapshot or a backup may still hold older copies.
    """
    state = open_state(state_folder)
    folders = state.folders()
    if url is not None:
        folder = state.folder_of(url)
        folders = [] if folder is None else [folder]
    elif len(folders) > 1 and not everything:
        raise BadInput("several servers are trusted", hint="say which one with --server URL, or --all")
    if not folders:
        click.echo("nothing was kept")
    for folder in folders:
        files, size = state.forget(folder)
        click.echo(f"forgot {folder.name}: {files} files, {size:,} bytes overwritten and removed")
