"""`contactsync server rotate`: the next epoch, with an overlap."""

from __future__ import annotations

from pathlib import Path

import click

from contactsync.commands._options import Duration
from contactsync.commands.server._machines import cluster_of, executor_options
from contactsync.commands.server._shared import (
    data_option,
    folder_of,
    keyring_of,
    passphrase_option,
)
from contactsync.commands.server.publishing import memory_option, offline_targets_option, run_publish
from contactsync.foundation.errors import BadInput

LONGEST_DAYS = 365


@click.command()
@data_option
@passphrase_option
@click.option(
    "--overlap",
    type=Duration(),
    metavar="TIME",
    help="How long both epochs are served. Clients move in this time, each when it likes.  [default: 7d]",
)
@click.option("--finish", "is_end", is_flag=True, help="End the rotation: its overlap must be over.")
@click.option("--undo", "is_undone", is_flag=True, help="Take a running rotation back.")
@memory_option
@executor_options
@offline_targets_option
def rotate(
    data: Path,
    passphrase_file: Path | None,
    overlap: float | None,
    *,
    is_end: bool,
    is_undone: bool,
    memory: int,
    executor: str | None,
    executor_key: Path | None,
    executor_tls: Path | None,
    request_file: Path | None,
) -> None:
    """Replace the VOPRF keys: build the next epoch beside the current one, and serve both for a while.

    The first `publish` after the overlap begins the new epoch and destroys the old seed. If this is
    interrupted, run it again. Clients look up all of their contacts again, once.
    """
    from contactsync.library.publishing import Aim, Order

    if is_end + is_undone + (overlap is not None) > 1:
        raise click.UsageError("Give only one of --overlap, --finish and --undo.")
    if overlap is not None and not 1 <= overlap <= LONGEST_DAYS * 86_400:
        raise BadInput(f"an overlap lasts from a second to {LONGEST_DAYS} days", hint="such as --overlap 7d")
    aim = Aim.FINISH if is_end else Aim.TAKE_BACK if is_undone else Aim.ROTATE
    order = Order(aim, int(overlap or 7 * 86_400))
    cluster = cluster_of(executor, executor_key, executor_tls)
    keyring = keyring_of(folder_of(data), passphrase_file)
    run_publish(data, keyring, order, memory, request_file, cluster=cluster)
