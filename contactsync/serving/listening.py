"""Where a server listens: a port, or a Unix socket."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from contactsync.foundation.errors import BadInput, CallerError

BACKLOG: Final = 1024

_LONGEST_PATH: Final = 107  # octets: sockaddr_un has 108, the last of them a zero
_NOT_SENT: Final = 64 << 10  # octets that the kernel keeps of a connection beyond those on their way
_PREDECESSOR: Final = 5.0  # seconds until processes of a server that was killed have let go of its port


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address. Raises CallerError if it cannot be used."""
    where = f"port {port} of {host}"
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = _bound((host, port), family)
    except socket.gaierror as error:
        reason = f"{host} is not an address of this machine"
        raise CallerError(reason, hint="choose another --host") from error
    except OSError as error:
        reason = {
            errno.EADDRINUSE: f"{where} is in use",
            errno.EACCES: f"this user may not use {where}",
            errno.EADDRNOTAVAIL: f"{host} is not an address of this machine",
        }.get(error.errno or 0, f"{where} cannot be used")
        raise CallerError(reason, hint="choose another with --host and --port") from error
    spare(listener)
    return listener


def _bound(address: tuple[str, int], family: int) -> socket.socket:
    end = time.monotonic() + _PREDECESSOR
    while True:
        try:
            return socket.create_server(address, family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= end:
                raise
        time.sleep(0.05)


def spare(listener: socket.socket) -> None:
    """Have the kernel take no more of a response than it can send soon: a stalled one costs less memory."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None and listener.family != socket.AF_UNIX:
        listener.setsockopt(socket.IPPROTO_TCP, option, _NOT_SENT)  # connections inherit it


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """Where a socket listens."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return (
        f"{scheme}://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"{scheme}://{host}:{port}"
    )


@contextlib.contextmanager
def unix_socket(path: Path, mode: int) -> Iterator[socket.socket]:
    """A Unix socket with this mode, removed at the end if it is still ours.

    One that was left behind is replaced, unless somebody listens at it. Raises BadInput, CallerError.
    """
    path = path.absolute()
    if len(os.fsencode(path)) > _LONGEST_PATH:
        limit = f"the path of the socket has more than {_LONGEST_PATH} octets"
        raise BadInput(limit, hint="choose a shorter one")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
        try:
            _remove_stale(path)
            before = os.umask(0o777 & ~mode)
            try:
                listener.bind(os.fspath(path))
            finally:
                os.umask(before)
            ours = path.lstat().st_ino
        except OSError as error:
            raise CallerError(
                f"cannot listen at {path}: {os.strerror(error.errno or 0)}", hint="choose another --socket"
            ) from error
        listener.listen(BACKLOG)
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError):
                if path.lstat().st_ino == ours:
                    path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove the socket of a process that was killed. Raises CallerError if something else is there."""
    end = time.monotonic() + _PREDECESSOR
    while True:
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise CallerError(f"{path} exists and is no socket", hint="choose another --socket")
        if not _answers(path):
            path.unlink(missing_ok=True)
            return
        if time.monotonic() >= end:
            raise CallerError(f"another process listens at {path}", hint="choose another --socket")
        time.sleep(0.05)


def _answers(path: Path) -> bool:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:  # so many wait there that there is no room for us
            return True
        except OSError as error:
            if error.errno not in (errno.ECONNREFUSED, errno.ENOENT):
                raise
            return False
        return True
