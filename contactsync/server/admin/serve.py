"""Runs the admin API: on a Unix socket of its owner, or on a port of this machine with a credential."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, CallerError
from contactsync.server.accounts import new_credential
from contactsync.server.admin.app import AdminApp
from contactsync.server.http.serve import STORE_WAIT
from contactsync.server.keyring import Keyring
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_accounts
from contactsync.serving.limits import Limits
from contactsync.serving.listening import listen, unix_socket, url_of
from contactsync.serving.running import Entrance, run

LOOPBACK: Final = "127.0.0.1"


def serve_admin(
    folder: DataFolder,
    keyring: Keyring,
    where: Path | int,
    credential_file: Path | None,
    on_ready: Callable[[str], None],
) -> None:
    """Answer the back end until SIGTERM or SIGINT. `where` is the path of a socket, or a port (0: any free).

    A port needs a credential, in `credential_file`; it is made if it is not there. `on_ready` is called with
    what to connect to. Raises CallerError, OurError.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_only_one(folder))
        credential = None
        if isinstance(where, Path):
            listener = stack.enter_context(_private_socket(where))
        else:
            assert credential_file is not None
            credential = credential_in(credential_file)
            listener = stack.enter_context(listen(LOOPBACK, where))
        accounts = stack.enter_context(contextlib.closing(open_accounts(folder, wait=STORE_WAIT)))
        app = AdminApp(folder, accounts, keyring, credential)
        name = f"unix:{where}" if isinstance(where, Path) else url_of(listener)
        run(app, Entrance([listener]), lambda: on_ready(name), Limits())


def credential_in(path: Path) -> str:
    """The credential in a file of mode 0600, drawn now if there is no such file. Raises BadInput."""
    try:
        if not path.exists():
            durable.write(path, f"{new_credential()}\n".encode())
        if path.stat().st_mode & 0o077:
            hint = f"chmod 600 {path}, or remove it for a new one"
            raise BadInput(f"other users can read {path}", hint=hint)
        credential = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BadInput(f"cannot use {path}: {reason}", hint="choose another --credential-file") from error
    if len(credential) < len(new_credential()):
        raise BadInput(f"{path} does not contain a credential", hint="remove it, and a new one is made")
    return credential


@contextlib.contextmanager
def _only_one(folder: DataFolder) -> Iterator[None]:
    """Keep a second admin process away: which requests are being worked on is known to one only."""
    descriptor = os.open(folder.path / "admin.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CallerError(
                "an admin process already serves this data folder", hint="stop it first"
            ) from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _private_socket(path: Path) -> Iterator[socket.socket]:
    """A Unix socket that its owner alone can reach: 0600, in a folder 0700."""
    folder = path.absolute().parent
    try:
        durable.private_folder(folder)
        is_open = folder.is_dir() and folder.stat().st_mode & 0o077
    except OSError as error:
        raise CallerError(
            f"cannot listen at {path}: {os.strerror(error.errno or 0)}", hint="choose another --socket"
        ) from error
    if is_open:
        raise BadInput(
            f"other users can enter {folder}, where the socket would be",
            hint=f"choose a folder of your own: chmod 700 {folder}",
        )
    with unix_socket(path, 0o600) as listener:
        yield listener
