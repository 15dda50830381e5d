"""The admin API, in this process, until it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contactsync.server.admin.serve import serve_admin as _serve
from contactsync.server.keyring import Keyring
from contactsync.server.settings import DataFolder

__all__ = ["serve_admin"]


def serve_admin(
    data: Path,
    passphrase: bytes | None,
    where: Path | int,
    on_ready: Callable[[str], None],
    *,
    credential_file: Path | None = None,
) -> None:
    """Serve the admin API of a data folder at a Unix socket, or at a port of 127.0.0.1, until SIGTERM.

    `credential_file` holds what a caller at the port must send (it is made if it is missing); None means that
    whoever may connect may ask. Raises ContactSyncError.
    """
    folder = DataFolder.existing(data)
    _serve(folder, Keyring.open(folder.keys, passphrase), where, credential_file, on_ready)
