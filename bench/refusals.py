"""`python -m bench refusals`: what it costs a server, over its socket, to refuse a request by overload.

One thread of the engine is kept busy, and its queue full, by connections that ask for 4,096 points. Others
ask for 512 points all the time, and are refused (status 503) before their bodies are read. `loop_us` is the
CPU of the thread that has the connections, for each that is refused, of either kind: the engine's thread is
left out. It includes what the few that are accepted cost that thread. `bare_us` is the same of a server that
reads as many octets, parses nothing and always sends one answer: what kernel and event loop cost in any
server.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import psutil

from bench import harness
from bench.harness import Row
from bench.server import SETTINGS, Case, Count, Server, connection, head_of, prepare
from contactsync.voprf.client import blind

PACKAGES = ("numba", "numpy", "uvicorn", "httptools", "uvloop")
FILLING = Case(4096, 8, pause=0.01)
REFUSED = 512
CONNECTIONS = (1, 8, 64)
FIRST = 10
"""The account of the first connection that is refused: all have numbers of two digits."""

SIZE = len(head_of(Case(REFUSED, 1), FIRST)) + 32 * REFUSED
IDLE = 1.0
"""Seconds after which the queue is full."""


def loop_cpu(server: Server) -> float:
    """Seconds of CPU so far of the threads that have the connections: the first one of each process."""
    return sum(
        one.user_time + one.system_time
        for process in server.processes()
        for one in process.threads()
        if one.id == process.pid
    )


async def _ask(server: Server, connections: int, seconds: float, *, fill: bool) -> tuple[Count, float]:
    """What came back of those who ask, beside the ones that `fill` the queue, and the CPU of a refusal."""
    pool = blind([b"%d" % i for i in range(FILLING.points)]).blinded
    filling, count = Count(), Count()
    case = Case(REFUSED, connections, pause=0)
    tasks = [connection(server, FILLING, i, pool, filling) for i in range(FILLING.connections if fill else 0)]
    running = [asyncio.create_task(one) for one in tasks]
    await asyncio.sleep(IDLE)
    tasks = [connection(server, case, FIRST + i, pool, count) for i in range(connections)]
    running += [asyncio.create_task(one) for one in tasks]
    await asyncio.sleep(IDLE)
    count.begin = filling.begin = time.perf_counter()
    before, refused = loop_cpu(server), count.refused + filling.refused
    await asyncio.sleep(seconds)
    cpu = loop_cpu(server) - before
    refused = count.refused + filling.refused - refused
    count.end = filling.end = time.perf_counter()
    await asyncio.gather(*running)
    return count, cpu / refused if refused else 0.0


def measure(server: Server, bare: Server, connections: int, seconds: float) -> Row:
    """One row."""
    count, cpu = asyncio.run(_ask(server, connections, seconds, fill=True))
    _, least_cpu = asyncio.run(_ask(bare, connections, seconds, fill=False))
    lasted = count.end - count.begin
    ours = cpu * 1e6 if cpu else None
    floor = least_cpu * 1e6
    return {
        "n": REFUSED,
        "connections": connections,
        "refused_s": count.refused / lasted,
        "accepted_s": len(count.seconds) / lasted,
        "loop_us": ours,
        "bare_us": floor,
        "more_us": None if ours is None else ours - floor,
    }


def run(folder: Path, seconds: float) -> list[Row]:
    """All rows."""
    data = prepare(folder / "data", f"{SETTINGS}evaluator_threads = 1\nevaluator_queue = 1\n")
    command = ["-m", "contactsync", "server", "serve", "--port", "0", "--data", str(data.path)]
    servers = [Server("ours", 1, command), Server("bare", 1, ["-m", "bench.bare_server", str(SIZE)])]
    try:
        for server in servers:
            server.wait()
        return [measure(servers[0], servers[1], connections, seconds) for connections in CONNECTIONS]
    finally:
        for server in servers:
            server.stop()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench refusals", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument(
        "--markdown", metavar="FILE", help="put the table into the refusals section of a document"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each case is measured")
    options = parser.parse_args(arguments)
    where = f"{harness.environment(PACKAGES)}, psutil {psutil.__version__}"
    with tempfile.TemporaryDirectory(prefix="contactsync-bench-") as folder:
        rows = run(Path(folder), options.seconds)
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        harness.update_section(options.markdown, "refusals", f"{where}\n\n{harness.markdown(rows)}")
