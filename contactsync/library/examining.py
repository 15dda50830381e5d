"""Examines a server's installation, for `server doctor` and for programs that watch over servers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from contactsync.foundation.errors import ContactSyncError
from contactsync.server.machine import TO_DO, Diagnosis, executable_memory

__all__ = ["TO_DO", "Diagnosis", "cannot_load", "examine_server"]


def cannot_load() -> list[Diagnosis]:
    """Why Numba could not even be loaded here, which all the rest needs; nothing if it can be."""
    return [one for one in executable_memory() if one.state == "problem"]


def examine_server(
    data: Path | str,
    *,
    passphrase: bytes | None = None,
    url: str | None = None,
    credential: str = "",
    ca_file: Path | None = None,
) -> list[Diagnosis]:
    """What is right, wrong and to be done about a data folder and this machine; nothing is changed.

    `passphrase` is that of the keys. At `url` the service is asked too, through its proxy; with `credential`,
    that of an account, also for a data file. Raises BadInput if there is no server, or `url` is no address.
    """
    if found := cannot_load():
        return found
    from contactsync.server.doctor import examine  # noqa: PLC0415
    from contactsync.server.keyring import Keyring  # noqa: PLC0415
    from contactsync.server.probe import Probe  # noqa: PLC0415
    from contactsync.server.settings import DataFolder  # noqa: PLC0415

    folder = DataFolder.existing(Path(data))
    probe = None
    if url is not None:
        ca = None if ca_file is None else str(ca_file)
        probe = Probe(url, folder, credential=credential, ca_file=ca)
    keyring: Keyring | ContactSyncError
    try:
        keyring = Keyring.open(folder.keys, passphrase)
    except ContactSyncError as error:
        keyring = error
    found = list(examine(folder, keyring, datetime.now(UTC)))
    return found + ([] if probe is None else list(probe.run()))
