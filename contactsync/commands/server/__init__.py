"""`contactsync server`: the operator's commands."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from contactsync.commands import _json
from contactsync.commands._options import Duration
from contactsync.commands._output import counted
from contactsync.commands.server._shared import (
    accounts_of_folder,
    data_option,
    folder_of,
    json_option,
    members_of_folder,
    passphrase_of,
    passphrase_option,
)
from contactsync.commands.server.accounts import accounts
from contactsync.commands.server.admin import admin
from contactsync.commands.server.members import members
from contactsync.commands.server.publishing import finish, publish, sign
from contactsync.commands.server.role_keys import keys
from contactsync.commands.server.rotating import rotate
from contactsync.commands.server.suspicious import list_suspicious


@click.group()
def server() -> None:
    """Run a server: members, accounts, publishing, serving, keys."""


@server.command()
@data_option
@passphrase_option
def init(data: Path, passphrase_file: Path | None) -> None:
    """Set up a data folder with new keys.

    A passphrase (--passphrase-file or CONTACTSYNC_PASSPHRASE) encrypts the stored keys. Prints the
    fingerprint that clients compare in `contactsync trust`.
    """
    from contactsync.library.server import Server
    from contactsync.publication.tuf.follower import grouped
    from contactsync.server.sealing import read_passphrase

    made = Server.create(data, passphrase=read_passphrase(passphrase_file))
    click.echo(f"fingerprint {grouped(made.fingerprint)}")
    click.echo(f"{data} is ready; next: members import, accounts add, publish, serve", err=True)


@server.command()
@data_option
@passphrase_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8440, show_default=True, help="0 picks any free port."
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Serve figures for Prometheus at http://127.0.0.1:PORT/metrics.",
)
@click.option(
    "--publish-every",
    type=Duration(at_least=1),
    metavar="TIME",
    help="Also publish what has changed, this often (10m, 1h): by a process of its own, `publish --every`.",
)
def serve(
    data: Path,
    passphrase_file: Path | None,
    host: str,
    port: int,
    *,
    metrics_port: int | None,
    publish_every: float | None,
) -> None:
    """Answer clients until stopped (Ctrl-C or SIGTERM).

    Prints `listening on URL` when it is ready. It speaks plain HTTP: on a network, put a reverse proxy with
    TLS in front of it.
    """
    from contactsync.commands.server.publish_loop import publishing_beside
    from contactsync.server.http.serve import STORE_WAIT
    from contactsync.server.http.serve import serve as run
    from contactsync.server.keyring import Keyring
    from contactsync.server.storage.opening import open_accounts

    folder = folder_of(data)
    passphrase = passphrase_of(folder, passphrase_file)
    keyring = Keyring.open(folder.keys, passphrase)
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("contactsync").setLevel(logging.INFO)
    with (
        contextlib.closing(open_accounts(folder, wait=STORE_WAIT)) as store,
        publishing_beside(data, publish_every, passphrase),
    ):
        ready = lambda url: click.echo(f"listening on {url}")  # noqa: E731
        run(folder, store, keyring, (host, port), ready, metrics_port=metrics_port)


@server.command("status")
@data_option
@json_option
def show_status(data: Path, *, as_json: bool) -> None:
    """Show what is published, when its signatures expire, and what needs attention."""
    from contactsync.publication.tuf.follower import grouped
    from contactsync.server.status import status

    with members_of_folder(data) as everybody, accounts_of_folder(data) as store:
        found = status(folder_of(data), everybody, store, datetime.now(UTC))
    if as_json:
        _json.emit(dataclasses.asdict(found))
        return
    for one in found.audiences:
        click.echo(
            f"{one.audience}: epoch {one.epoch}, edition {one.edition}, "
            f"{counted(one.published, 'token', 'tokens')} in "
            f"{counted(one.partitions, 'partition', 'partitions')} ({one.bytes:,} bytes), "
            f"{counted(one.members, 'member', 'members')}"
            if one.edition
            else f"{one.audience}: {counted(one.members, 'member', 'members')}, not published"
        )
        if one.overlap_until is not None:
            until = f"{one.overlap_until:%Y-%m-%d %H:%M} UTC"
            click.echo(f"  epoch {one.next_epoch} is announced beside it, until {until}")
        elif one.began is not None and one.rotation_due is not None:
            age = counted((datetime.now(UTC) - one.began).days, "day", "days")
            points = counted(one.evaluated, "point", "points")
            click.echo(f"  the epoch is {age} old ({points}); a rotation is due {one.rotation_due:%Y-%m-%d}")
    if not found.audiences:
        click.echo("no members")
    click.echo(f"unpublished changes: {'yes' if found.pending else 'no'}")
    click.echo(f"accounts: {found.accounts}")
    for crowd, breaker in found.breakers.items():
        click.echo(
            f"points in the last hour, {crowd} accounts: {breaker.last_hour:,} of "
            f"{f'{breaker.limit:,}' if breaker.limit else 'any number'} (most in a day: {breaker.most:,})"
        )
    click.echo(f"fingerprint {grouped(found.root_fingerprint)}")
    for role, end in found.expires.items():
        click.echo(f"{role} is signed until {end:%Y-%m-%d %H:%M} UTC")
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)


for command in (members, accounts, publish, rotate, sign, finish, keys, admin):
    server.add_command(command)
accounts.add_command(list_suspicious)
