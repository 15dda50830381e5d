"""A worker's end of the channel to its supervisor (supervisor.py has the other one).

The first line holds the worker's orders, in JSON, with the passphrase of the keys: nobody sees it in an
argument or in the environment. Then each line is one message: `retire` and `figures` to the worker, an object
with `ready`, `alive` or `figures` to the supervisor. When the channel ends, the supervisor has, and so does
the worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

PROTOCOL: Final = 1
"""The version of this conversation: after an update, old supervisors have new workers."""

ALIVE_SECONDS: Final = 2.0
_LONGEST_LINE: Final = 1 << 20


class Retiring(Protocol):
    """A server, as far as it is told to end here."""

    should_exit: bool

    def retire(self) -> None:
        """Take no more connections, and end when those that there are have ended."""


class Attachment:
    """The channel of a worker."""

    def __init__(self, channel: socket.socket, figures: Callable[[], Any]) -> None:
        """`figures` returns what is told when the supervisor asks for it, as JSON."""
        self._channel = channel
        self._figures = figures
        self._tasks: list[asyncio.Task[None]] = []
        self._writer: asyncio.StreamWriter | None = None

    async def begin(self, server: Retiring) -> None:
        """Listen to the supervisor from now on, and tell it that requests are answered."""
        reader, self._writer = await asyncio.open_connection(sock=self._channel, limit=_LONGEST_LINE)
        self._tell(ready=True)
        self._tasks = [asyncio.create_task(self._listen(reader, server)), asyncio.create_task(self._live())]

    async def _listen(self, reader: asyncio.StreamReader, server: Retiring) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                if line == b"retire\n":
                    server.retire()
                elif line == b"figures\n":
                    self._tell(figures=await asyncio.to_thread(self._figures))
        server.should_exit = True

    async def _live(self) -> None:
        while True:
            self._tell(alive=True)
            await asyncio.sleep(ALIVE_SECONDS)

    def _tell(self, **message: Any) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")


def read_orders(channel: socket.socket) -> dict[str, Any]:
    """The first line, octet by octet: what follows is for `Attachment`."""
    line = bytearray()
    while (octet := channel.recv(1)) not in (b"", b"\n"):
        line += octet
    found: dict[str, Any] = json.loads(line)
    return found
