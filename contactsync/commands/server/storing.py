"""`contactsync server store`: the object store that has a copy of what is published."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from contactsync.commands import _json
from contactsync.commands._output import counted
from contactsync.commands._progress import ProgressLine
from contactsync.commands.server._shared import data_option, folder_of, json_option
from contactsync.foundation.errors import BadInput

store_option = click.option(
    "--store",
    "store_url",
    metavar="URL",
    help="Copy each publish, from now on, to an object store: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX,"
    " az://ACCOUNT/CONTAINER/PREFIX or file:///FOLDER. Credentials come from the environment.",
)
_NONE = "there is nothing to copy: server.toml names no store, or nothing is published"
_SHOWN = 20


@click.group()
def store() -> None:
    """Copy what is published to an object store, and check the copy.

    `server publish` does it by itself. Which store it is, `init --store` or `publish --store` says.
    """


@store.command("copy")
@data_option
@json_option
@click.option(
    "--replace",
    is_flag=True,
    help="Overwrite what another history of this server, or another server, has left under this prefix.",
)
def copy_to_store(data: Path, *, as_json: bool, replace: bool) -> None:
    """Bring the store to what is published, after a publish that could not.

    It puts what is missing, switches, and removes what the data folder has removed. It may be repeated.
    """
    from contactsync.library.storing import copy

    with ProgressLine() as progress:
        done = copy(folder_of(data), progress, replace=replace)
    if done is None:
        raise BadInput(_NONE, hint="`server publish --store URL`")
    if as_json:
        _json.emit(dataclasses.asdict(done))
        return
    click.echo(
        f"{counted(done.put, 'file', 'files')} put ({done.octets:,} bytes), {done.removed:,} removed;"
        f" the store has timestamp version {done.version}"
    )


@store.command("check")
@data_option
@json_option
def check_store(data: Path, *, as_json: bool) -> None:
    """Read all of the store, and compare it with what is published.

    Exit code 12 if something is missing or different: `server publish` puts it again.
    """
    from contactsync.library.server import TO_DO
    from contactsync.library.storing import check

    with ProgressLine() as progress:
        found = check(folder_of(data), progress)
    if found is None:
        raise BadInput(_NONE, hint="`server publish --store URL`")
    if as_json:
        _json.emit(dataclasses.asdict(found))
    else:
        for what, names in (
            ("missing", found.missing),
            ("different", found.different),
            ("no longer published", found.left_over),
        ):
            for name in names[:_SHOWN]:
                click.echo(f"{what}: {name}")
            if len(names) > _SHOWN:
                click.echo(f"{what}: {len(names) - _SHOWN:,} more")
        click.echo(f"{counted(found.read, 'file', 'files')} compared")
    if found.missing or found.different:
        click.get_current_context().exit(TO_DO)
