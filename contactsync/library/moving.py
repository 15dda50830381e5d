"""Moves what a server stores from files to PostgreSQL, and back."""

from __future__ import annotations

from pathlib import Path

from contactsync.foundation.errors import OurError
from contactsync.server.settings import DataFolder
from contactsync.server.storage import opening


def export_stores(data: Path, file: Path) -> dict[str, int]:
    """Write members and accounts of a data folder into one new file, 0600; the number of rows by table.

    Raises BadInput, OurError.
    """
    return opening.export_stores(DataFolder.existing(data), file)


def import_stores(data: Path, file: Path, *, database: str | None = None) -> str:
    """Make new stores from such a file, and have the folder use them; where they are, for a message.

    `database` is the URL of an empty PostgreSQL database; None: files in the folder. Raises BadInput,
    OurError, Busy; then nothing has changed.
    """
    address = None if database is None else opening.read_address(database)
    try:
        opening.import_stores(DataFolder.existing(data), file, address)
    except OSError as error:
        raise OurError(
            f"the stores cannot be written: {error.strerror}", hint="free some space, and import again"
        ) from error
    return "files of the data folder" if address is None else f"the database {address}"


def check_argument(database: str) -> None:
    """Raise BadInput if a URL has a password in it: who gives it as an argument shows it to others."""
    opening.read_address(database, private=False)
