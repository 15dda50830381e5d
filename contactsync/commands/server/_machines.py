"""Options of the commands that may compute on other machines, and `contactsync server worker-key`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # numpy hangs on it
    from contactsync.library.publishing import Cluster

_OPTIONS = (
    click.option(
        "--executor",
        envvar="CONTACTSYNC_EXECUTOR",
        metavar="URL",
        help="Evaluate and build on the workers of the Dask scheduler at dask://HOST:PORT or tls://HOST:PORT,"
        " not here (CONTACTSYNC_EXECUTOR). --memory is then what each build may use on its worker.",
    ),
    click.option(
        "--executor-key",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="CONTACTSYNC_EXECUTOR_KEY",
        metavar="FILE",
        help="The key that seals jobs for the workers, made by `worker-key` (CONTACTSYNC_EXECUTOR_KEY).",
    ),
    click.option(
        "--executor-tls",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="CONTACTSYNC_EXECUTOR_TLS",
        metavar="DIR",
        help="Folder with ca.pem, cert.pem and key.pem for the scheduler; only one of this machine needs none"
        " (CONTACTSYNC_EXECUTOR_TLS).",
    ),
)


def executor_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--executor`, `--executor-key` and `--executor-tls`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def cluster_of(url: str | None, key_file: Path | None, tls: Path | None) -> Cluster | None:
    """What these options name; None if nothing is to leave this machine. Raises BadInput, OurError."""
    if not url:
        return None
    from contactsync.library.publishing import Cluster

    return Cluster.of(url, key_file, tls)


@click.command("worker-key")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
def worker_key(file: Path) -> None:
    """Make the key that publisher and workers share, for `publish --executor`.

    Copy FILE to each worker, readable by its user alone, and name it there by CONTACTSYNC_WORKER_KEY. Who has
    it can read every job: the VOPRF key of the epoch and the members' identifiers. The scheduler needs none.
    """
    from contactsync.library.publishing import WorkerKey

    WorkerKey.create(file)
    click.echo(f"{file} is ready; next: copy it to each worker, then publish --executor", err=True)
