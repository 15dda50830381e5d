"""One account with 300 connections, and honest ones who ask a real server at the same time."""

import asyncio
import re
import time
from contextlib import closing

import pytest
from server_tools import GERMAN, Operator, Process

from contactsync.server.quota import MOST, Terms
from contactsync.server.storage.ports import NewAccount
from contactsync.voprf.client import blind

CONNECTIONS = 300
HONEST = 4
FACTOR = 6
"""How much longer a sync may take. With fair turns it is 2 to 3, without them more than 10."""

LARGE = blind([b"%d" % i for i in range(512)]).blinded.tobytes()
SMALL = LARGE[: 8 * 32]
SYNC = (SMALL, *[LARGE] * 4, SMALL)
"""The batches of a sync."""


class Caller:
    """One connection of an account."""

    def __init__(self, port, name):
        self._port = port
        self._head = (
            f"POST /v1/evaluate/people/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer cs_{name}\r\n"
            "Content-Type: application/octet-stream\r\nContent-Length: "
        ).encode()

    async def __aenter__(self):
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_error):
        self._writer.transport.abort()

    async def ask(self, batch):
        """The status of the answer."""
        self._writer.write(self._head + b"%d\r\n\r\n" % len(batch) + batch)
        head = await self._reader.readuntil(b"\r\n\r\n")
        await self._reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
        return int(head[9:12])


async def take_all(port, counts):
    """Ask again and again, without the patience that Retry-After asks for."""
    async with Caller(port, "greedy") as caller:
        while True:
            status = await caller.ask(LARGE)
            counts[status] = counts.get(status, 0) + 1
            if status != 200:
                await asyncio.sleep(0.2)


async def sync(port, name):
    """The statuses of all batches, and the seconds that they took."""
    async with Caller(port, name) as caller:
        begin = time.perf_counter()
        statuses = [await caller.ask(batch) for batch in SYNC]
        return statuses, time.perf_counter() - begin


async def honest(port, label):
    """All honest accounts at once: their statuses, and the seconds of the slowest."""
    found = await asyncio.gather(*(sync(port, f"{label}-{i}") for i in range(HONEST)))
    return [status for statuses, _ in found for status in statuses], max(seconds for _, seconds in found)


@pytest.mark.slow
def test_honest_syncs_succeed_beside_one_account_with_300_connections(tmp_path):
    operator = Operator(tmp_path / "server")
    operator.add(GERMAN)
    operator.publish()
    rounds = ("x0", "y0", "y1", "z0", "z1", "z2")
    names = ["greedy", *(f"{label}-{i}" for label in rounds for i in range(HONEST))]
    terms = Terms("", MOST, MOST)
    operator.accounts.add_all([NewAccount(name, "people", f"cs_{name}", terms) for name in names])
    operator.folder.settings_file.write_text("points_per_hour = 0\nnew_points_per_hour = 0\n")

    async def run(port):
        await honest(port, "x0")  # all that is compiled or looked up at first
        alone = [await honest(port, f"y{i}") for i in range(2)]
        counts = {}
        greedy = [asyncio.create_task(take_all(port, counts)) for _ in range(CONNECTIONS)]
        await asyncio.sleep(3)
        beside = [await honest(port, f"z{i}") for i in range(3)]
        for task in greedy:
            task.cancel()
        await asyncio.gather(*greedy, return_exceptions=True)
        return alone, beside, counts

    with closing(operator), Process(operator.folder.path) as process:
        alone, beside, counts = asyncio.run(run(process.port))
    statuses = {status for statuses, _ in alone + beside for status in statuses}
    assert statuses == {200}, "nobody but the greedy one is refused"
    assert counts[200] > 50, "which is served all the same"
    assert counts[503] > 50
    # The machine is shared: one round that went well is enough.
    assert min(seconds for _, seconds in beside) < FACTOR * max(seconds for _, seconds in alone)
