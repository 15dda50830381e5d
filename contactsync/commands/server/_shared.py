"""What the operator's commands share: options, and how they open a data folder."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput

if TYPE_CHECKING:  # numpy hangs on these
    from contactsync.library.accounts import Accounts
    from contactsync.library.operating import DataFolder, Keyring, LogFormat, MemberStore

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
    help="File whose first line is the passphrase of the keys (else CONTACTSYNC_PASSPHRASE; a terminal is "
    "asked if the keys have one).",
)
key_passphrase_option = click.option(
    "--key-passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="File whose first line is the passphrase of the key outside the data folder (else "
    "CONTACTSYNC_KEY_PASSPHRASE; a terminal is asked).",
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
KEY_VARIABLE = "CONTACTSYNC_KEY_PASSPHRASE"
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def day_of(seconds: int | None) -> str:
    """The day (UTC) of a time in seconds since 1970; a dash if there is none."""
    return "-" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC).date()}"


def folder_of(data: Path) -> DataFolder:
    from contactsync.library.operating import DataFolder

    return DataFolder.existing(data)


def accounts_of(data: Path) -> Accounts:
    """The accounts of a data folder. Raises BadInput if there is none."""
    from contactsync.library.accounts import Accounts

    return Accounts(folder_of(data))  # and not `Server`, which loads the protocol and its kernels


@contextlib.contextmanager
def members_of_folder(data: Path) -> Iterator[MemberStore]:
    from contactsync.library.operating import open_members

    with contextlib.closing(open_members(folder_of(data))) as store:
        yield store


def log_to_stderr(form: LogFormat) -> None:
    """Log from now on, as --log-format says."""
    from contactsync.library.operating import set_up_logging

    set_up_logging(form)


def keyring_of(folder: DataFolder, passphrase_file: Path | None) -> Keyring:
    from contactsync.library.operating import Keyring

    return Keyring.open(folder.keys, passphrase_of(folder, passphrase_file))


def passphrase_of(folder: DataFolder, file: Path | None) -> bytes | None:
    """The passphrase of the keyring; None if none was given. A terminal is asked if there is one."""
    from contactsync.library.operating import Keyring, read_passphrase

    passphrase = read_passphrase(file)
    if passphrase is None and Keyring.is_locked(folder.keys) and sys.stdin.isatty():
        passphrase = click.prompt("Passphrase of the keys", hide_input=True, err=True).encode()
    return passphrase


def passphrase_of_key(name: str, file: Path | None, *, is_locked: bool) -> bytes | None:
    """The passphrase of a key that is not in the keyring; None if it has none. A terminal is asked."""
    from contactsync.library.operating import read_passphrase

    if not is_locked:
        return None
    passphrase = read_passphrase(file, KEY_VARIABLE)
    if passphrase is None and sys.stdin.isatty():
        passphrase = click.prompt(f"Passphrase of {name}", hide_input=True, err=True).encode()
    return passphrase


def new_passphrase(file: Path | None, *, none: bool) -> bytes | None:
    """The passphrase that a key is to leave under; None if the user says that there shall be none.

    Raises BadInput if neither is said.
    """
    from contactsync.library.operating import read_passphrase

    passphrase = read_passphrase(file, KEY_VARIABLE)
    if none:
        if file is not None:
            raise click.UsageError("Give either --key-passphrase-file or --no-passphrase.")
        return None
    if passphrase is None and sys.stdin.isatty():
        passphrase = click.prompt(
            "New passphrase of the key", hide_input=True, confirmation_prompt=True, err=True
        ).encode()
    if passphrase is None:
        raise BadInput(
            "an exported key needs a passphrase",
            hint="give --key-passphrase-file, or --no-passphrase if anyone with the file may sign",
        )
    return passphrase
