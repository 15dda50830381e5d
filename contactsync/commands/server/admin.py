"""`contactsync server admin`: the API for the back end of the service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands._options import log_format_option
from contactsync.commands.server._shared import (
    data_option,
    folder_of,
    passphrase_of,
    passphrase_option,
)

if TYPE_CHECKING:
    from contactsync.library.operating import LogFormat


@click.command()
@data_option
@passphrase_option
@click.option(
    "--socket",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Listen at this Unix socket. Only its owner can connect: it is 0600, in a folder that is 0700.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Listen at this port of 127.0.0.1, for whoever sends the credential; 0 picks any free port.",
)
@click.option(
    "--credential-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File of the credential for --port (default: admin.credential in the data folder). It is made, "
    "readable by its owner alone, if it is not there.",
)
@log_format_option
def admin(
    data: Path,
    *,
    passphrase_file: Path | None,
    socket: Path | None,
    port: int | None,
    credential_file: Path | None,
    log_format: LogFormat,
) -> None:
    """Serve the admin API until stopped (Ctrl-C or SIGTERM): members, accounts, publishing, status.

    It is for the back end of your service, on this machine; clients never connect to it. Prints `listening
    on` and where when it is ready. `contactsync docs admin-api` describes it, `contactsync docs openapi.yaml`
    defines it.
    """
    if (socket is None) == (port is None):
        raise click.UsageError("Give either --socket PATH or --port PORT.")
    if socket is not None and credential_file is not None:
        raise click.UsageError("--credential-file is for --port; a socket needs no credential.")
    from contactsync.library.administering import serve_admin
    from contactsync.library.operating import set_up_logging

    folder = folder_of(data)
    passphrase = passphrase_of(folder, passphrase_file)
    set_up_logging(log_format)
    where: Path | int
    if socket is not None:
        where = socket
    else:
        assert port is not None
        where = port
        credential_file = credential_file or folder.path / "admin.credential"

    def ready(name: str) -> None:
        if credential_file is not None:
            click.echo(f"the credential is in {credential_file}", err=True)
        click.echo(f"listening on {name}")

    serve_admin(data, passphrase, where, ready, credential_file=credential_file)
