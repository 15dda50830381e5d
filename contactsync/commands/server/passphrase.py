"""`contactsync server keys passphrase`: under which passphrase the keys are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from contactsync.commands._output import counted
from contactsync.commands.server._shared import data_option, passphrase_of, passphrase_option
from contactsync.foundation.errors import BadInput

_VARIABLE = "CONTACTSYNC_NEW_PASSPHRASE"


@click.command("passphrase")
@click.option("--add", "action", flag_value="add", help="Encrypt keys that have no passphrase.")
@click.option("--change", "action", flag_value="change", help="Encrypt them with another one.")
@click.option("--remove", "action", flag_value="remove", help="Store them unencrypted.")
@data_option
@passphrase_option
@click.option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"File whose first line is the new passphrase (else {_VARIABLE}; a terminal is asked).",
)
def passphrase(
    action: Literal["add", "change", "remove"] | None,
    data: Path,
    passphrase_file: Path | None,
    new_passphrase_file: Path | None,
) -> None:
    """Add, change or remove the passphrase of all keys in keys/, in one step.

    Killed at any moment, all are as before or all are changed. The old files are overwritten. FILE may be
    /dev/fd/N. Then restart `serve` and `admin` with the new passphrase.
    """
    from contactsync.library.passphrases import DataFolder, Keyring, change_passphrase

    if action is None:
        raise click.UsageError("Give --add, --change or --remove.")
    folder = DataFolder.existing(data)
    locked = Keyring.is_locked(folder.keys)
    if locked is (action == "add"):
        raise BadInput(
            f"the keys have {'a' if locked else 'no'} passphrase",
            hint="use --change, or --remove" if locked else "use --add",
        )
    old = passphrase_of(folder, passphrase_file) if locked else None
    new = None if action == "remove" else _new(new_passphrase_file)
    count = change_passphrase(folder, old, new)
    state = "stored unencrypted" if new is None else "under the new passphrase"
    click.echo(f"{counted(count, 'key', 'keys')} {state}")
    click.echo(
        "check: restart `serve`, `admin` and `publish --every`, and change where they get it from", err=True
    )
    click.echo("check: backups that were made before are under the old passphrase, or none", err=True)


def _new(file: Path | None) -> bytes:
    from contactsync.library.passphrases import read_passphrase

    found = read_passphrase(file, _VARIABLE)
    if found is None and sys.stdin.isatty():
        ask = "New passphrase of the keys"
        found = click.prompt(ask, hide_input=True, confirmation_prompt=True, err=True).encode()
    if found is None:
        raise BadInput("there is no new passphrase", hint=f"give --new-passphrase-file, or set {_VARIABLE}")
    return found
