"""`contactsync witness`: cosign what other people's logs publish."""

from __future__ import annotations

import base64
import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from contactsync.commands import _json
from contactsync.commands._options import log_format_option
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:
    from contactsync.library.witness import Cosigned, Fork, WitnessFolder

_FILE = click.Path(path_type=Path, dir_okay=False)
_state = click.Path(path_type=Path, file_okay=False)
_STATE_HELP = "The folder of the witness: its key, and what it has cosigned."
_NAME_HELP = "Name of the witness's key, such as witness.example.org/w1. It is part of the key for ever."


class _Address(click.ParamType[tuple[str, int]]):
    name = "HOST:PORT"

    def convert(
        self, value: str | tuple[str, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, _, port = value.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            self.fail(f"{value} is not HOST:PORT, such as 127.0.0.1:8450 or [::1]:8450.", param, ctx)
        return host, int(port)


@click.group(invoke_without_command=True)
@click.option("--listen", type=_Address(), metavar="HOST:PORT", help="Where to listen; port 0 picks any.")
@click.option("--state", type=_state, metavar="DIR", help=_STATE_HELP)
@click.option("--log", "vkeys", multiple=True, metavar="VKEY", help="Key of a log to follow. Repeatable.")
@click.option(
    "--logs",
    "files",
    type=_FILE,
    multiple=True,
    metavar="FILE",
    help="File with the keys of logs to follow, one a line; # begins a comment. Repeatable.",
)
@click.option("--name", metavar="NAME", help=f"{_NAME_HELP} Makes the witness if there is none in --state.")
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="Speak TLS with this certificate and its chain.")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="The key of --tls-cert (PEM, no passphrase).")
@log_format_option
@click.pass_context
def witness(
    context: click.Context,
    *,
    listen: tuple[str, int] | None,
    state: Path | None,
    vkeys: tuple[str, ...],
    files: tuple[Path, ...],
    name: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    log_format: Literal["text", "json"],
) -> None:
    """Cosign the logs of servers, so that none can show two histories unnoticed.

    A witness (C2SP tlog-witness: POST URL/add-checkpoint) cosigns a checkpoint of a log that it follows, if
    the log proves that it has only grown since the one before. Anyone can run one. Prints its own key, which
    goes to the operators and users of the logs, and `listening on URL` when it is ready; runs until stopped
    (Ctrl-C or SIGTERM). Without --tls-cert it speaks plain HTTP: put a reverse proxy with TLS in front of it.

    Never run it from a copy or a backup of --state: it would cosign a second history.
    """
    if context.invoked_subcommand is not None:
        return
    if listen is None or state is None:
        raise click.UsageError("Give --listen HOST:PORT and --state DIR, or a command: init, show.")
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("Give both --tls-cert and --tls-key.")
    from contactsync.library.witness import WitnessAddress, logs_of, run_witness, set_up_logging

    logs = logs_of(vkeys, files)
    tls = None if tls_cert is None or tls_key is None else (tls_cert, tls_key)
    with contextlib.closing(_opened(state, name)) as folder:
        set_up_logging(log_format)
        click.echo(folder.verifier.vkey())
        run_witness(folder, logs, WitnessAddress(*listen, tls), lambda url: click.echo(f"listening on {url}"))


def _opened(state: Path, name: str | None) -> WitnessFolder:
    """The witness that is there, or a new one with this name."""
    from contactsync.library.witness import WitnessFolder

    if name is not None and not WitnessFolder.exists(state):
        return WitnessFolder.create(state, name)
    folder = WitnessFolder.open(state)
    if name not in {None, folder.name}:
        folder.close()
        raise BadInput(f"the witness in {state} is {folder.name}", hint="leave out --name, or change --state")
    return folder


@witness.command()
@click.option("--state", type=_state, required=True, metavar="DIR", help=_STATE_HELP)
@click.option("--name", required=True, metavar="NAME", help=_NAME_HELP)
def init(state: Path, name: str) -> None:
    """Make a witness: draw its key, and print it."""
    from contactsync.library.witness import WitnessFolder

    with contextlib.closing(WitnessFolder.create(state, name)) as folder:
        click.echo(folder.verifier.vkey())


@witness.command()
@click.option("--state", type=_state, required=True, metavar="DIR", help=_STATE_HELP)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(state: Path, *, as_json: bool) -> None:
    """Show the key of a witness, and the checkpoint of each log that it cosigned last.

    A log that has signed two trees of one size is forked. With --json both notes are printed, as the proof.
    """
    from contactsync.library.witness import WitnessFolder

    with contextlib.closing(WitnessFolder.open(state)) as folder:
        vkey, logs, forks = folder.verifier.vkey(), folder.logs(), folder.forks()
    if as_json:
        value = {"vkey": vkey, "logs": [_log_value(one) for one in logs]}
        _json.emit(value | {"forks": [_fork_value(one) for one in forks]})
        return
    click.echo(vkey)
    for one in logs:
        when = datetime.fromtimestamp(one.when, UTC)
        click.echo(
            f"{one.checkpoint.origin}: size {one.checkpoint.size:,}, cosigned {when:%Y-%m-%d %H:%M} UTC"
        )
    for fork in forks:
        click.echo(f"{fork.origin}: FORKED: it has signed two trees of size {fork.size:,}")
    if not logs:
        click.echo("nothing was cosigned yet", err=True)


def _log_value(one: Cosigned) -> dict[str, object]:
    return {
        "origin": one.checkpoint.origin,
        "size": one.checkpoint.size,
        "root_hash": base64.b64encode(one.checkpoint.root).decode("ascii"),
        "cosigned": datetime.fromtimestamp(one.when, UTC),
        "checkpoint": one.note.decode(),
    }


def _fork_value(fork: Fork) -> dict[str, object]:
    notes = [fork.cosigned.decode(), fork.note.decode()]
    return {"origin": fork.origin, "size": fork.size, "checkpoints": notes}
