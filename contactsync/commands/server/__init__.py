"""`contactsync server`: the operator's commands."""

from __future__ import annotations

from pathlib import Path

import click

from contactsync.commands.server._machines import worker_key
from contactsync.commands.server._shared import data_option, passphrase_option
from contactsync.commands.server.accounts import accounts
from contactsync.commands.server.admin import admin
from contactsync.commands.server.backing_up import backup, restore
from contactsync.commands.server.doctor import doctor
from contactsync.commands.server.files import files
from contactsync.commands.server.log import log
from contactsync.commands.server.members import members
from contactsync.commands.server.mirroring import mirror
from contactsync.commands.server.moving import export_stores, import_stores
from contactsync.commands.server.publishing import finish, publish, sign
from contactsync.commands.server.role_keys import keys
from contactsync.commands.server.rotating import rotate
from contactsync.commands.server.serving import serve
from contactsync.commands.server.status import show_status
from contactsync.commands.server.storing import store, store_option
from contactsync.commands.server.suspicious import list_suspicious
from contactsync.commands.server.upgrading import upgrade


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
@store_option
@click.pass_context
def init(
    context: click.Context,
    data: Path,
    passphrase_file: Path | None,
    database: str | None,
    store_url: str | None,
) -> None:
    """Set up a data folder with new keys.

    A passphrase (--passphrase-file or CONTACTSYNC_PASSPHRASE) encrypts the stored keys. Prints the
    fingerprint that clients compare in `contactsync trust`.
    """
    from contactsync.library.fingerprints import grouped
    from contactsync.library.moving import check_argument
    from contactsync.library.operating import read_passphrase
    from contactsync.library.server import Server

    if database and context.get_parameter_source("database") is click.core.ParameterSource.COMMANDLINE:
        check_argument(database)
    made = Server.create(
        data, passphrase=read_passphrase(passphrase_file), database=database or None, store=store_url
    )
    click.echo(f"fingerprint {grouped(made.fingerprint)}")
    click.echo(f"{data} is ready; next: members import, accounts add, publish, serve", err=True)


for command in (
    *(export_stores, import_stores),
    *(serve, show_status, doctor, members, accounts, publish, rotate, sign, finish, keys, log, store, admin),
    *(worker_key, backup, restore, upgrade, files, mirror),
):
    server.add_command(command)
accounts.add_command(list_suspicious)
