"""`contactsync server`: the operator's commands."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import secrets
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands import _output
from contactsync.commands._numbers import for_each_chunk, members_of
from contactsync.commands._options import Size
from contactsync.commands._output import counted
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.server.keyring import Keyring
    from contactsync.server.settings import DataFolder
    from contactsync.server.storage.ports import AccountStore, MemberStore

_CREDENTIAL_BYTES = 32

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="CONTACTSYNC_DATA",
    required=True,
    metavar="DIR",
    help="The server's data folder (CONTACTSYNC_DATA).",
)
passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The first line of FILE is the passphrase of the keys (else CONTACTSYNC_PASSPHRASE; a terminal is "
    "asked if the keys have one).",
)
audience_option = click.option(
    "--audience",
    type=click.Choice(AUDIENCES),
    default="people",
    show_default=True,
    help="Who may discover them, or whom the account may discover.",
)
region_option = click.option(
    "--region", metavar="DE", help="Country of numbers without a country code (default: from the locale)."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def server() -> None:
    """Run a server: members, accounts, publishing, serving."""


@server.command()
@data_option
@passphrase_option
def init(data: Path, passphrase_file: Path | None) -> None:
    """Set up a data folder with new keys.

    With a passphrase (--passphrase-file or CONTACTSYNC_PASSPHRASE) the keys are stored under it. Prints the
    fingerprint that clients compare in `contactsync trust`.
    """
    from contactsync.client.trust import grouped
    from contactsync.publication.tuf.follower import root_fingerprint
    from contactsync.publication.tuf.repository import Repository
    from contactsync.server.keyring import Keyring
    from contactsync.server.sealing import read_passphrase
    from contactsync.server.settings import DataFolder
    from contactsync.server.storage.opening import create_stores

    passphrase = read_passphrase(passphrase_file)
    folder = DataFolder(data)
    folder.create()
    try:
        signers = Keyring.create(folder.keys, passphrase).signers()
        create_stores(folder)
        repository = Repository(folder.public)
        keys = {role: signer.public_key for role, signer in signers.items()}
        repository.create(keys, signers["root"], datetime.now(UTC))
        folder.finish()
    except BaseException:  # so that the same command can be run again
        folder.discard()
        raise
    click.echo(f"fingerprint {grouped(root_fingerprint(repository.root_bytes()))}")
    click.echo(f"{data} is ready; next: members import, accounts add, publish, serve", err=True)


@server.group()
def members() -> None:
    """Who can be found."""


@members.command("import")
@click.argument("file", type=click.Path(allow_dash=True))
@data_option
@region_option
@audience_option
def import_members(file: str, data: Path, region: str | None, audience: str) -> None:
    """Make the numbers in FILE members: a list, or CSV with a column `phone`. `-` is stdin.

    Importing a file again changes nothing. A line that cannot be read is reported and costs that line only.
    """
    with _members(data) as store:
        added, known, bad = for_each_chunk(file, region, lambda members: store.add(members, audience))
    click.echo(f"{added:,} added, {known:,} already there, {bad:,} rejected")


@members.command("add")
@click.argument("numbers", nargs=-1, required=True, metavar="NUMBER...")
@data_option
@region_option
@audience_option
def add_members(numbers: tuple[str, ...], data: Path, region: str | None, audience: str) -> None:
    """Make each NUMBER a member; none if one of them cannot be read."""
    with _members(data) as store:
        added = store.add(members_of(numbers, region), audience)
    click.echo(f"{added:,} added")


@members.command("remove")
@click.argument("numbers", nargs=-1, metavar="NUMBER...")
@click.option("--file", metavar="FILE", type=click.Path(allow_dash=True), help="Remove the numbers in FILE.")
@data_option
@region_option
@click.option("--audience", type=click.Choice(AUDIENCES), help="Only from this one (default: from all).")
def remove_members(
    numbers: tuple[str, ...], file: str | None, data: Path, region: str | None, audience: str | None
) -> None:
    """Remove members, and all that is stored about them. Clients see it after the next publish."""
    if bool(numbers) == bool(file):
        raise click.UsageError("Give either NUMBER... or --file FILE.")
    with _members(data) as store:
        if file:
            removed, _, _ = for_each_chunk(file, region, lambda members: store.remove(members, audience))
        else:
            removed = store.remove(members_of(numbers, region), audience)
    click.echo(f"{removed:,} removed")


@members.command("count")
@data_option
@audience_option
def count_members(data: Path, audience: str) -> None:
    """How many members there are."""
    with _members(data) as store:
        click.echo(store.count(audience))


@server.group()
def accounts() -> None:
    """Who may ask."""


@accounts.command("add")
@click.argument("name")
@data_option
@audience_option
def add_account(name: str, data: Path, audience: str) -> None:
    """Add an account and print its credential, alone and for the only time: its hash is what is stored."""
    if not 0 < len(name) <= 100 or not name.isprintable():
        raise BadInput("the name of an account is 1 to 100 printable characters", hint="choose another")
    credential = f"cs_{secrets.token_urlsafe(_CREDENTIAL_BYTES)}"
    with _accounts(data) as store:
        store.add(name, audience, credential)
        try:
            click.echo(credential)
            sys.stdout.flush()
        except OSError:  # nobody has seen it, and nobody ever can
            store.revoke(name)
            raise


@accounts.command("list")
@data_option
@json_option
def list_accounts(data: Path, *, as_json: bool) -> None:
    """All accounts."""
    with _accounts(data) as store:
        rows = [dataclasses.asdict(account) for account in store.list()]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        day = datetime.fromtimestamp(row["added"], UTC).date()
        click.echo(f"{row['name']}\t{row['audience']}\t{day}")


@accounts.command("revoke")
@click.argument("name")
@data_option
def revoke_account(name: str, data: Path) -> None:
    """Delete an account. A running server refuses its credential at once."""
    with _accounts(data) as store:
        store.revoke(name)


@server.command()
@data_option
@passphrase_option
@click.option(
    "--new-epoch", is_flag=True, help="Draw new VOPRF keys and evaluate every member again (rotation)."
)
@click.option(
    "--memory",
    type=Size(at_least=16_000_000),
    default="512M",
    show_default=True,
    metavar="SIZE",
    help="About what the builds that run at once may use; beyond it the disk is used, 26 bytes a member.",
)
def publish(data: Path, passphrase_file: Path | None, *, new_epoch: bool, memory: int) -> None:
    """Publish what the registry holds, in one atomic step. A running server serves it at once.

    Stopped at any moment, it leaves what was published before; run it again.
    """
    from contactsync.client.trust import grouped
    from contactsync.publication.tuf.follower import root_fingerprint
    from contactsync.publication.tuf.repository import Repository
    from contactsync.server.publishing.publisher import Publisher
    from contactsync.server.status import about_rotation

    folder = _folder(data)
    keyring = _keyring(folder, passphrase_file)
    repository = Repository(folder.public)
    before = repository.root_bytes()
    with _members(data) as store, _output.ProgressLine() as progress:
        outcomes = Publisher(folder, store, keyring, progress, memory=memory).publish(new_epoch=new_epoch)
    for outcome in outcomes:
        for warning in about_rotation(folder, outcome.audience, outcome.epoch):
            click.echo(f"warning: {warning}", err=True)
        state = f"{outcome.audience}: epoch {outcome.epoch}, edition {outcome.edition}"
        if outcome.changed is None:
            click.echo(f"{state} stays, nothing changed (signed anew)")
        else:
            click.echo(
                f"{state}: {counted(outcome.members, 'member', 'members')} in "
                f"{counted(outcome.partitions, 'partition', 'partitions')}, "
                f"{len(outcome.changed)} changed, {outcome.evaluated:,} evaluated"
            )
    if repository.root_bytes() != before:
        shown = grouped(root_fingerprint(repository.root_bytes()))
        click.echo(f"the root was renewed; from now on its fingerprint is {shown}", err=True)
    if repository.expiries()["root"] < datetime.now(UTC):
        click.echo(
            "warning: the root metadata has expired, clients refuse it: publish with the root key in keys/",
            err=True,
        )


@server.command()
@data_option
@passphrase_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8440, show_default=True, help="0: any free one."
)
def serve(data: Path, passphrase_file: Path | None, host: str, port: int) -> None:
    """Answer clients until stopped (Ctrl-C or SIGTERM).

    Prints `listening on URL` when it is ready. It speaks plain HTTP: on a network, put a reverse proxy with
    TLS before it.
    """
    from contactsync.server.http.serve import serve as run

    folder = _folder(data)
    keyring = _keyring(folder, passphrase_file)
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("contactsync").setLevel(logging.INFO)
    with _accounts(data) as store:
        run(folder, store, keyring, (host, port), lambda url: click.echo(f"listening on {url}"))


@server.command("status")
@data_option
@json_option
def show_status(data: Path, *, as_json: bool) -> None:
    """What is published, until when its signatures hold, and what deserves attention."""
    from contactsync.client.trust import grouped
    from contactsync.server.status import status

    with _members(data) as everybody, _accounts(data) as store:
        found = status(_folder(data), everybody, store, datetime.now(UTC))
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), default=lambda value: value.isoformat()))
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
    if not found.audiences:
        click.echo("no members")
    click.echo(f"unpublished changes: {'yes' if found.pending else 'no'}")
    click.echo(f"accounts: {found.accounts}")
    click.echo(f"fingerprint {grouped(found.root_fingerprint)}")
    for role, end in found.expires.items():
        click.echo(f"{role} is signed until {end:%Y-%m-%d %H:%M} UTC")
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)


def _folder(data: Path) -> DataFolder:
    from contactsync.server.settings import DataFolder

    return DataFolder.existing(data)


@contextlib.contextmanager
def _members(data: Path) -> Iterator[MemberStore]:
    from contactsync.server.storage.opening import open_members

    with contextlib.closing(open_members(_folder(data))) as store:
        yield store


@contextlib.contextmanager
def _accounts(data: Path) -> Iterator[AccountStore]:
    from contactsync.server.storage.opening import open_accounts

    with contextlib.closing(open_accounts(_folder(data))) as store:
        yield store


def _keyring(folder: DataFolder, passphrase_file: Path | None) -> Keyring:
    from contactsync.server.keyring import Keyring
    from contactsync.server.sealing import read_passphrase

    passphrase = read_passphrase(passphrase_file)
    if passphrase is None and Keyring.is_locked(folder.keys) and sys.stdin.isatty():
        passphrase = click.prompt("Passphrase of the keys", hide_input=True, err=True).encode()
    return Keyring.open(folder.keys, passphrase)
