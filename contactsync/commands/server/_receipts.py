"""What the commands that remove members share: they overwrite what was removed, and give a receipt of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from contactsync.commands import _json
from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, OurError

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.library.members import Erasure


def receipt_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--reference TEXT` and `--receipt FILE`."""
    command = click.option(
        "--receipt",
        "receipt_file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write the receipt to FILE, as JSON, readable by its owner only.",
    )(command)
    return click.option("--reference", metavar="TEXT", help="Your own reference, for the receipt.")(command)


def write_receipt(file: Path | None, erasure: Erasure) -> None:
    """Write the receipt, readable by its owner only. Raises BadInput with it in the hint if that fails."""
    if file is None or erasure.receipt is None:
        return
    text = _json.text(erasure.receipt).rstrip()
    try:
        durable.write(file, text.encode() + b"\n")
    except OSError as error:
        raise BadInput(
            f"removed, but {file} cannot be written: {error.strerror}", hint=f"keep this receipt: {text}"
        ) from error


def check_erasure(erasure: Erasure, *, as_json: bool) -> None:
    """Say that something is not erased yet, and exit with 1; to be called when all has been printed."""
    if not erasure.kept:
        return
    error = OurError(
        f"removed, but not yet erased: {erasure.kept}",
        hint="end that process (or wait for it), then `server publish` erases it",
    )
    if not as_json:
        raise error
    click.echo(f"error: {error}", err=True)  # the receipt is the only document on stdout
    raise click.exceptions.Exit(1)
