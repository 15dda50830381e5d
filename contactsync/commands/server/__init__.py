"""`contactsync server`: the operator's commands."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands._options import Duration
from contactsync.commands.server._shared import (
    data_option,
    folder_of,
    log_format_option,
    passphrase_of,
    passphrase_option,
)
from contactsync.commands.server.accounts import accounts
from contactsync.commands.server.admin import admin
from contactsync.commands.server.backing_up import backup, restore
from contactsync.commands.server.doctor import doctor
from contactsync.commands.server.files import files
from contactsync.commands.server.members import members
from contactsync.commands.server.moving import export_stores, import_stores
from contactsync.commands.server.publishing import finish, publish, sign
from contactsync.commands.server.role_keys import keys
from contactsync.commands.server.rotating import rotate
from contactsync.commands.server.status import show_status
from contactsync.commands.server.suspicious import list_suspicious
from contactsync.commands.server.upgrading import upgrade

if TYPE_CHECKING:
    from contactsync.server.logs import LogFormat


@click.group()
def server() -> None:
    """Run a server: members, accounts, publishing, serving, keys."""


@server.command()
@data_option
@passphrase_option
@click.option(
    "--database",
    envvar="CONTACTSYNC_DATABASE",
    metavar="URL",
    help="Keep members and accounts in a PostgreSQL database, postgresql://USER@HOST/NAME, instead of files"
    " (CONTACTSYNC_DATABASE, which may contain the password).",
)
@click.pass_context
def init(context: click.Context, data: Path, passphrase_file: Path | None, database: str | None) -> None:
    """Set up a data folder with new keys.

    A passphrase (--passphrase-file or CONTACTSYNC_PASSPHRASE) encrypts the stored keys. Prints the
    fingerprint that clients compare in `contactsync trust`.
    """
    from contactsync.library.fingerprints import grouped
    from contactsync.library.moving import check_argument
    from contactsync.library.server import Server
    from contactsync.server.sealing import read_passphrase

    if database and context.get_parameter_source("database") is click.core.ParameterSource.COMMANDLINE:
        check_argument(database)
    made = Server.create(data, passphrase=read_passphrase(passphrase_file), database=database or None)
    click.echo(f"fingerprint {grouped(made.fingerprint)}")
    click.echo(f"{data} is ready; next: members import, accounts add, publish, serve", err=True)


@server.command()
@data_option
@passphrase_option
@click.option("--host", default="127.0.0.1", show_default=True, help="DatabaseUrl to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8440, show_default=True, help="0 picks any free port."
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Serve figures for Prometheus at http://127.0.0.1:PORT/metrics.",
)
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network of a proxy whose X-Forwarded-For is believed; may be given several times.",
)
@click.option(
    "--publish-every",
    type=Duration(at_least=1),
    metavar="TIME",
    help="Also publish what has changed, this often (10m, 1h): by a process of its own, `publish --every`.",
)
@log_format_option
def serve(
    data: Path,
    passphrase_file: Path | None,
    host: str,
    port: int,
    *,
    metrics_port: int | None,
    trusted_proxies: tuple[str, ...],
    publish_every: float | None,
    log_format: LogFormat,
) -> None:
    """Answer clients until stopped (Ctrl-C or SIGTERM).

    Prints `listening on URL` when it is ready. It speaks plain HTTP: on a network, put a reverse proxy with
    TLS in front of it.
    """
    from contactsync.commands.server.publish_loop import publishing_beside
    from contactsync.server.http.limits import networks
    from contactsync.server.http.listening import listen
    from contactsync.server.http.serve import STORE_WAIT
    from contactsync.server.http.serve import serve as run
    from contactsync.server.keyring import Keyring
    from contactsync.server.logs import set_up_logging
    from contactsync.server.storage.opening import open_accounts

    folder = folder_of(data)
    passphrase = passphrase_of(folder, passphrase_file)
    keyring = Keyring.open(folder.keys, passphrase)
    set_up_logging(log_format)
    trusted = networks(trusted_proxies)
    with (
        listen(host, port) as listener,
        contextlib.closing(open_accounts(folder, wait=STORE_WAIT)) as store,
        publishing_beside(data, publish_every, passphrase),
    ):
        ready = lambda url: click.echo(f"listening on {url}")  # noqa: E731
        run(folder, store, keyring, listener, ready, metrics_port=metrics_port, trusted=trusted)


for command in (
    *(export_stores, import_stores),
    *(show_status, doctor, members, accounts, publish, rotate, sign, finish, keys, admin),
    *(backup, restore, upgrade, files),
):
    server.add_command(command)
accounts.add_command(list_suspicious)
