"""What systemd is told, by sd_notify(3), and the sockets that it gives, by sd_listen_fds(3)."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Final

from contactsync.foundation.errors import BadInput

_FIRST: Final = 3  # the number of the first descriptor that is passed on


class Notify:
    """Tells the service manager what the service does. Without one, nothing happens."""

    def __init__(self) -> None:
        """Takes its variables out of the environment, so that no other process speaks for this one."""
        self._path = os.environ.pop("NOTIFY_SOCKET", "")
        seconds = int(os.environ.pop("WATCHDOG_USEC", "") or 0) / 1e6
        mine = os.environ.pop("WATCHDOG_PID", "") or str(os.getpid())
        self.watchdog: float | None = seconds / 3 if seconds and mine == str(os.getpid()) else None
        """Seconds between signs of life that are asked for."""

    def ready(self) -> None:
        """It answers requests; a reload has ended."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload begins."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It stops."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """A sign of life."""
        self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._path:
            return
        address = "\0" + self._path[1:] if self._path.startswith("@") else self._path
        with (
            contextlib.suppress(OSError),  # it does not listen: nobody is to be told
            contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sender,
        ):
            sender.connect(address)
            sender.send(state.encode())


def given_sockets() -> list[socket.socket]:
    """The sockets that were opened for this process; mostly none. Raises BadInput if they do not listen."""
    count, owner = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not count.isdigit() or owner != str(os.getpid()):
        return []
    found = []
    for number in range(_FIRST, _FIRST + int(count)):
        hint = "in the .socket unit, use ListenStream= and Accept=no"
        try:
            given = socket.socket(fileno=number)
            listens = given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError:
            raise BadInput(f"descriptor {number} from systemd is no socket", hint=hint) from None
        if given.type != socket.SOCK_STREAM or not listens:
            raise BadInput(f"socket {number} from systemd does not listen for streams", hint=hint)
        given.set_inheritable(False)
        found.append(given)
    return found
