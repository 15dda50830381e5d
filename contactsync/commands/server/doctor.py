"""`contactsync server doctor`: what is wrong with an installation, and what to do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.commands import _json
from contactsync.commands._options import ca_file_option, read_credential
from contactsync.commands.server._shared import (
    data_option,
    folder_of,
    json_option,
    passphrase_of,
    passphrase_option,
)

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.library.examining import Diagnosis


@click.command()
@data_option
@passphrase_option
@click.option(
    "--url",
    metavar="URL",
    help="Ask the service there too, through its proxy: TLS, clock, heads, buffering, caching, data files.",
)
@click.option(
    "--credential-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --url: the credential of an account, to ask for a data file.",
)
@ca_file_option("With --url: certificates to trust instead of the system's.")
@json_option
def doctor(
    data: Path,
    *,
    passphrase_file: Path | None,
    url: str | None,
    credential_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
) -> None:
    """Examine an installation and this machine: permissions, keys, expiry, disk, clock, memory, limits.

    Changes nothing. Run it as the user of `serve`, best in the same systemd unit. Each line is one thing;
    below a problem is what to do. The exit code is 12 if there is a problem.
    """
    from contactsync.library.examining import TO_DO, cannot_load, examine_server

    if url is None and (credential_file is not None or ca_file is not None):
        raise click.UsageError("--credential-file and --ca-file go with --url.")
    found = cannot_load() or examine_server(
        data,
        passphrase=passphrase_of(folder_of(data), passphrase_file),
        url=url,
        credential="" if credential_file is None else read_credential(credential_file),
        ca_file=ca_file,
    )
    if _say(found, as_json=as_json):
        click.get_current_context().exit(TO_DO)


def _say(found: Sequence[Diagnosis], *, as_json: bool) -> int:
    """Print what was found; how many problems there are."""
    problems = sum(one.state == "problem" for one in found)
    if as_json:
        _json.emit({"problems": problems, "findings": [dataclasses.asdict(one) for one in found]})
        return problems
    for one in found:
        click.echo(f"{one.state:<8}{one.area}: {one.text}")
        if one.todo:
            click.echo(f"{'':<8}→ {one.todo}")
    return problems
