"""Runs the admin API: on a Unix socket of its owner, or on a port of this machine with a credential."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from contactsync.foundation import durable
from contactsync.foundation.errors import BadInput, CallerError
from contactsync.server.accounts import new_credential
from contactsync.server.admin.app import AdminApp
from contactsync.server.http.serve import STORE_WAIT, listen, run, url_of
from contactsync.server.keyring import Keyring
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_accounts

LOOPBACK: Final = "127.0.0.1"
_LONGEST_PATH: Final = 107  # octets: sockaddr_un has 108, the last of them a zero
_BACKLOG: Final = 1024


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
        run(app, listener, lambda: on_ready(name))


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
    path = path.absolute()
    if len(os.fsencode(path)) > _LONGEST_PATH:
        limit = f"the path of the socket has more than {_LONGEST_PATH} octets"
        raise BadInput(limit, hint="choose a shorter one")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
        try:
            durable.private_folder(path.parent)
            if path.parent.is_dir() and path.parent.stat().st_mode & 0o077:
                raise BadInput(
                    f"other users can enter {path.parent}, where the socket would be",
                    hint=f"choose a folder of your own: chmod 700 {path.parent}",
                )
            _remove_stale(path)
            before = os.umask(0o177)
            try:
                listener.bind(os.fspath(path))
            finally:
                os.umask(before)
        except OSError as error:
            raise CallerError(
                f"cannot listen at {path}: {os.strerror(error.errno or 0)}", hint="choose another --socket"
            ) from error
        listener.listen(_BACKLOG)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    """Remove the socket of a process that was killed. Raises CallerError if something else is there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CallerError(f"{path} exists and is no socket", hint="choose another --socket")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                raise
            path.unlink(missing_ok=True)
        else:
            raise CallerError(f"another process listens at {path}", hint="choose another --socket")
