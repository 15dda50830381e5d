"""`contactsync witness`: cosigns the logs of servers, for whoever wants to watch them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from contactsync.commands.server._shared import log_format_option


def _address(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, int] | None:
    """HOST:PORT, or [IPV6]:PORT."""
    if value is None:
        return None
    host, found, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not found or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise click.BadParameter(f"{value} is no HOST:PORT such as 127.0.0.1:8460.")
    return host, int(port)


@click.command()
@click.option(
    "--listen",
    "where",
    callback=_address,
    metavar="HOST:PORT",
    help="Where to answer logs; port 0 picks any free one.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder of the witness's key, and of what it cosigned last. It is made if it is not there.",
)
@click.option(
    "--name",
    metavar="NAME",
    help="Name of the witness: a domain or an address without https://. Needed once, when its key is made.",
)
@click.option("--log", "logs", multiple=True, metavar="VKEY", help="Key of a log to follow; may be repeated.")
@click.option(
    "--logs",
    "file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="File with the keys of logs to follow, one on each line.",
)
@click.option("--show-key", is_flag=True, help="Print the witness's key, and end.")
@log_format_option
def witness(
    where: tuple[str, int] | None,
    *,
    state: Path,
    name: str | None,
    logs: tuple[str, ...],
    file: Path | None,
    show_key: bool,
    log_format: Literal["text", "json"],
) -> None:
    """Cosign the logs of servers, so that none can show two histories unnoticed.

    A witness (C2SP tlog-witness) cosigns a checkpoint only if it continues the one that it cosigned before.
    Anyone can run one. Prints its own key, which goes to the operators and users of the logs, and then
    `listening on URL`. It speaks plain HTTP: everything that it gets and gives is signed.

    Never run it from a copy or a backup of --state: it would cosign a second tree. Start anew, with another
    name.
    """
    from contactsync.library.witness import read_logs, run_witness, set_up_logging, witness_key

    if show_key:
        click.echo(witness_key(state, name))
        return
    keys = [*logs, *(() if file is None else read_logs(file))]
    if where is None:
        raise click.UsageError("Give --listen HOST:PORT, or --show-key.")
    if not keys:
        raise click.UsageError("Give the key of a log to follow: --log VKEY or --logs FILE.")

    def ready(vkey: str, url: str) -> None:
        click.echo(vkey)
        click.echo(f"listening on {url}")

    set_up_logging(log_format)
    run_witness(state, name, keys, where, ready)
