"""`contactsync server log …`: the log of what was published, and who watches it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands import _json
from contactsync.commands._output import counted
from contactsync.commands.server._shared import (
    data_option,
    folder_of,
    json_option,
    passphrase_of,
    passphrase_option,
)
from contactsync.commands.server.publishing import request_path, say_prepared, say_root
from contactsync.foundation.errors import NetworkError

if TYPE_CHECKING:  # it imports an HTTP library
    from contactsync.library.public_log import LogStatus, PublicLog
    from contactsync.library.signing import SigningRequest

request_option = click.option(
    "--request",
    "request_file",
    type=request_path,
    metavar="REQUEST",
    help="If keys of the role root are elsewhere: write to REQUEST what they have to sign.",
)
quorum_option = click.option(
    "--quorum",
    type=click.IntRange(0, 32),
    metavar="K",
    help="How many witnesses must have cosigned what clients accept (default: as before).",
)


@click.group()
def log() -> None:
    """Show the log of what was published, and choose who watches it.

    Every manifest and every root is an entry of it, before clients see it. Witnesses cosign that it only
    grows; clients accept nothing that is not in it, and not cosigned by as many as the root says.
    """


@log.command("show")
@data_option
@json_option
def show_log(data: Path, *, as_json: bool) -> None:
    """Show the log's key, its size, and each witness: whether it has cosigned, and why not."""
    from contactsync.library.public_log import PublicLog

    found = PublicLog(data).status()
    if as_json:
        _json.emit({"log": None if found is None else dataclasses.asdict(found)})
    elif found is None:
        click.echo("there is no log; `contactsync server log enable` begins one")
    else:
        _say(found)


def _say(found: LogStatus) -> None:
    click.echo(f"log {found.vkey}")
    click.echo(f"{counted(found.size, 'entry', 'entries')}, root hash {found.root_hash}")
    click.echo(f"{found.quorum} of {counted(len(found.witnesses), 'witness', 'witnesses')} must cosign")
    for one in found.witnesses:
        state = "cosigned" if one.cosigned else f"not cosigned: {one.failed or 'not asked yet'}"
        click.echo(f"witness {one.vkey}\n  {one.url or 'no address'}\n  {state}")
        if one.at:
            click.echo(f"  last signed {one.at}")
    if found.pending:
        click.echo("warning: what was logged last is not published yet: publish, which finishes it", err=True)


@log.command("ask")
@data_option
@passphrase_option
def ask_witnesses(data: Path, passphrase_file: Path | None) -> None:
    """Ask the witnesses who have not cosigned the newest entries. Every publish does it, too."""
    answers = _open(data, passphrase_file).ask()
    for one in answers:
        click.echo(f"{one.name}: {one.failure or 'has cosigned'}")
    if any(one.failure for one in answers):
        raise NetworkError("not all witnesses have cosigned", hint="ask their operators; see the lines above")


@log.command("enable")
@request_option
@data_option
@passphrase_option
def enable_log(data: Path, passphrase_file: Path | None, request_file: Path | None) -> None:
    """Begin a log for a server of an earlier version. `init` begins one for a new server."""
    _change(data, passphrase_file, request_file, lambda one, elsewhere: one.enable(elsewhere=elsewhere))


@log.command("add-witness")
@click.argument("vkey")
@click.option("--url", required=True, metavar="URL", help="Where the witness is asked.")
@quorum_option
@request_option
@data_option
@passphrase_option
def add_witness(
    vkey: str,
    url: str,
    data: Path,
    *,
    quorum: int | None,
    passphrase_file: Path | None,
    request_file: Path | None,
) -> None:
    """Have a witness cosign. VKEY is its verifier key, NAME+ID+KEY. Its operator must know the log's key.

    Of a witness that cosigns already, this changes the address.
    """
    _change(
        data,
        passphrase_file,
        request_file,
        lambda one, elsewhere: one.add_witness(vkey, url, quorum=quorum, elsewhere=elsewhere),
    )


@log.command("remove-witness")
@click.argument("witness")
@quorum_option
@request_option
@data_option
@passphrase_option
def remove_witness(
    witness: str,
    data: Path,
    *,
    quorum: int | None,
    passphrase_file: Path | None,
    request_file: Path | None,
) -> None:
    """Do without WITNESS, which is given by its name or its verifier key.

    As many witnesses as must have cosigned until now have to cosign this, too.
    """
    _change(
        data,
        passphrase_file,
        request_file,
        lambda one, elsewhere: one.remove_witness(witness, quorum=quorum, elsewhere=elsewhere),
    )


@log.command("quorum")
@click.argument("number", metavar="K", type=click.IntRange(0, 32))
@request_option
@data_option
@passphrase_option
def set_quorum(number: int, data: Path, passphrase_file: Path | None, request_file: Path | None) -> None:
    """Change how many witnesses must have cosigned what clients accept; 0: none."""
    _change(
        data,
        passphrase_file,
        request_file,
        lambda one, elsewhere: one.set_quorum(number, elsewhere=elsewhere),
    )


@log.command("restart")
@click.option("--yes", is_flag=True, help="Do not ask.")
@request_option
@data_option
@passphrase_option
def restart_log(data: Path, *, yes: bool, passphrase_file: Path | None, request_file: Path | None) -> None:
    """Begin another log, because this one, its key, or too many of its witnesses are lost.

    Every client refuses what is published from then on, until its user has run `trust URL --new-log`. Tell
    them why. If only public/log is lost or old, restore it from any copy instead.

    The witnesses stay, and none of them must cosign: give them the key of the new log, which `log show`
    prints. When they have cosigned, ask for them again (`log quorum`).
    """
    if not yes:
        click.confirm("Every client will refuse this server until its user accepts it. Go on?", abort=True)
    _change(data, passphrase_file, request_file, lambda one, elsewhere: one.restart(elsewhere=elsewhere))


def _open(data: Path, passphrase_file: Path | None) -> PublicLog:
    from contactsync.library.public_log import PublicLog

    return PublicLog(data, passphrase_of(folder_of(data), passphrase_file))


def _change(
    data: Path,
    passphrase_file: Path | None,
    request_file: Path | None,
    change: Callable[[PublicLog, bool], SigningRequest | None],
) -> None:
    """Make a change, or write the request that makes it."""
    from contactsync.library.signing import root_of, write_request

    folder = folder_of(data)
    before = root_of(folder).octets
    opened = _open(data, passphrase_file)
    request = change(opened, request_file is not None)
    if request is not None:
        assert request_file is not None
        write_request(request_file, request)
        say_prepared(request_file, request)
        return
    found = opened.status()
    assert found is not None
    _say(found)
    say_root(folder, before)
