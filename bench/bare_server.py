"""`python -m bench.bare_server OCTETS`: the least that answers requests of one size, for bench/refusals.py.

It reads as many octets as a request has, parses nothing, and sends one answer. So what it costs is what the
kernel, the event loop and Python cost in any server. One more thread computes, as an engine would.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import cast

import numpy as np
import uvloop

ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n"
    b"content-length: 100\r\nx-content-type-options: nosniff\r\n\r\n" + bytes(100)
)


class Bare(asyncio.Protocol):
    """One connection."""

    size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport, self._seen = cast("asyncio.Transport", transport), 0

    def data_received(self, data: bytes) -> None:
        """Count, and answer each request that is complete."""
        self._seen += len(data)
        while self._seen >= self.size:
            self._seen -= self.size
            self._transport.write(ANSWER)


def compute() -> None:
    """Use one processor without holding Python's lock, for ever."""
    matrix = np.ones((512, 512))
    while True:
        matrix = np.tanh(matrix)


async def serve() -> None:
    """Serve until it is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Bare, "127.0.0.1", 0)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


def main() -> None:
    Bare.size = int(sys.argv[1])
    threading.Thread(target=compute, daemon=True).start()
    uvloop.run(serve())


if __name__ == "__main__":
    main()
