"""`python -m bench server`: requests and points a second, CPU and latency of a real server process.

Connections of one event loop ask as fast as they are answered; who is refused waits 100 ms. The load takes
CPU of the same machine, so `requests_s` is less than the server can do alone; `cpu_us_request` is the
server's own CPU, of all its processes, and what it can do on c cores is at most c / cpu_us_request. `ratio`
is our requests a second over those of the peer, measured right after each other in the same run. `same app`
is PyPI voprf behind our application (credentials, quotas, charges on the disk), `leanest` is it behind a few
lines of ASGI without any of these. Every connection is of an account of its own, but for `one account`.
Under `4 times what can be done` those who are refused come again so soon that so many requests arrive; its
ratio is what is done over the best.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import psutil

from bench import harness
from bench.harness import Row
from bench.service import make_folder
from contactsync.commands.server import serve
from contactsync.server.admission import SHARES
from contactsync.server.quota import MOST, Terms
from contactsync.server.settings import DataFolder, Settings
from contactsync.server.storage.ports import NewAccount
from contactsync.voprf.client import blind

PACKAGES = ("numba", "numpy", "uvicorn", "httptools", "uvloop", "voprf")
OURS, SAME, LEAN = "ours", "voprf, same app", "voprf, leanest"
CONNECTIONS = (1, 8, 64, 256, 1000)
POINTS = (8, 64, 512, 4096)
WORKERS = (1, 2) if any("--workers" in one.opts for one in serve.params) else (1,)
PAUSE = 0.1
"""Seconds that a refused one waits."""

LONGEST, ENOUGH = 3, 128
"""How many times as long a case may take, until each connection has had an answer, or so many have."""

MAX_SPARSE = 8
"""Connections that keep one worker busy: with two, nothing is learnt from so few."""

OVERLOAD = 4
BEST = "the best without overload"

SETTINGS = "points_per_hour = 0\nnew_points_per_hour = 0\n"


@dataclass(frozen=True, slots=True)
class Case:
    """So many connections ask for `points` each; `keep` them, or make another for each request."""

    points: int
    connections: int
    keep: bool = True
    one_account: bool = False
    peers: bool = False
    overload: bool = False
    pause: float = PAUSE

    def name(self) -> str:
        """What the table says."""
        if self.overload:
            return f"{OVERLOAD} times what can be done"
        kind = "keep-alive" if self.keep else "new connections"
        return f"{kind}, one account" if self.one_account else kind


QUICK = (
    Case(8, 1, peers=True),
    Case(8, 64, peers=True),
    Case(8, 256),
    Case(8, 64, keep=False),
    Case(512, 8, peers=True),
    Case(512, 64),
    Case(512, 300, overload=True),
)
ALL = (
    *(
        Case(points, count, peers=count == 1 or (count == 64 and points < 4096))
        for points in POINTS
        for count in CONNECTIONS
    ),
    *(Case(8, count, keep=False, peers=count == 64) for count in CONNECTIONS),
    *(Case(512, count, keep=False) for count in (1, 64)),
    Case(8, 256, one_account=True),
    Case(512, 300, one_account=True),
    Case(512, 300, overload=True),
)


@dataclass(slots=True)
class Count:
    """What came back, after `begin`."""

    begin: float = float("inf")
    end: float = float("inf")
    seconds: list[float] = field(default_factory=list)
    refused: int = 0


class Server:
    """A server process; ready after `wait`."""

    def __init__(self, name: str, workers: int, command: Sequence[str]) -> None:
        self.name, self.workers = name, workers
        self._popen = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.port = 0

    def wait(self) -> None:
        """Wait until it is ready."""
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        found = re.search(r":(\d+)$", line.strip())
        if found is None:
            raise SystemExit(f"{self.name} does not start: {line!r}")
        self.port = int(found[1])

    def processes(self) -> list[psutil.Process]:
        """The server, and what it has started."""
        whole = psutil.Process(self._popen.pid)
        return [whole, *whole.children(recursive=True)]

    def cpu(self) -> float:
        """Seconds of CPU so far, of all its processes."""
        return sum(sum(one.cpu_times()[:2]) for one in self.processes())

    def memory(self) -> int:
        """MB of its largest process."""
        return max(one.memory_info().rss for one in self.processes()) >> 20

    def stop(self) -> None:
        """End it."""
        with self._popen:
            self._popen.terminate()
            try:
                self._popen.wait(20)
            except subprocess.TimeoutExpired:
                self._popen.kill()


def prepare(path: Path, settings: str = SETTINGS) -> DataFolder:
    """What `server init`, an import, a publish and `accounts add` leave."""
    made = make_folder(path)
    made.folder.settings_file.write_text(settings)
    made.publish(np.array([4915100000000], np.uint64))
    terms = Terms("", MOST, MOST)
    made.accounts.add_all([NewAccount(f"{i}", "people", f"cs_{i}", terms) for i in range(max(CONNECTIONS))])
    made.registry.close()
    made.accounts.close()
    return made.folder


@contextlib.contextmanager
def _servers(folder: Path, workers: int) -> Iterator[list[Server]]:
    """Ours with so many workers, and if that is one the peers, all idle."""
    ours = [
        "-m",
        "contactsync",
        "server",
        "serve",
        "--port",
        "0",
        "--data",
        str(prepare(folder / "ours").path),
    ]
    commands = {OURS: [*ours, *(("--workers", str(workers)) if workers > 1 else ())]}
    if workers == 1:
        data = str(prepare(folder / "same").path)
        commands[SAME] = ["-m", "bench.peer_server", "same", "--data", data]
        commands[LEAN] = ["-m", "bench.peer_server", "lean"]
    servers: list[Server] = []
    try:
        for name, command in commands.items():
            servers.append(Server(name, workers, command))
        for server in servers:
            server.wait()
        yield servers
    finally:
        for server in servers:
            server.stop()


def head_of(case: Case, i: int) -> bytes:
    """The head of the requests of a connection."""
    account = 0 if case.one_account else i
    return (
        f"POST /v1/evaluate/people/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer cs_{account}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {case.points * 32}\r\n"
    ).encode() + (b"\r\n" if case.keep else b"Connection: close\r\n\r\n")


async def connection(server: Server, case: Case, i: int, pool: np.ndarray, count: Count) -> None:
    """Ask until the end."""
    head = head_of(case, i)
    draw = np.random.default_rng()
    reader = writer = None
    while (begin := time.perf_counter()) < count.end:
        if reader is None or writer is None:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head + pool[draw.integers(0, len(pool), case.points)].tobytes())
        answer = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"(?i)content-length: (\d+)", answer)
        await reader.readexactly(int(found[1]) if found else 0)
        if not case.keep:
            writer.close()
            reader = writer = None
        done = time.perf_counter()
        good = answer.startswith(b"HTTP/1.1 200")
        if count.begin <= done <= count.end:
            count.seconds += [done - begin] * good
            count.refused += not good
        if not good:
            await asyncio.sleep(case.pause)
    if writer is not None:
        writer.close()


async def _ask(server: Server, case: Case, seconds: float, pool: np.ndarray) -> tuple[Count, float]:
    """All connections at once: what came back, and the CPU that it took."""
    count = Count()
    asking = [asyncio.create_task(connection(server, case, i, pool, count)) for i in range(case.connections)]
    await asyncio.sleep(_idle(seconds))
    count.begin, before = time.perf_counter(), server.cpu()
    for _ in range(LONGEST):
        await asyncio.sleep(seconds)
        if len(count.seconds) >= min(case.connections, ENOUGH):
            break
    count.end = time.perf_counter()
    cpu = server.cpu() - before
    await asyncio.gather(*asking)
    return count, cpu


def measure(server: Server, case: Case, seconds: float, pool: np.ndarray) -> Row:
    """One row, which knows of no peer yet."""
    count, cpu = asyncio.run(_ask(server, case, seconds, pool))
    good = len(count.seconds)
    seconds = count.end - count.begin
    rate = good / seconds
    times = sorted(count.seconds)
    said = f", {count.refused / seconds:.0f} refused a second" if count.refused else ""
    return {
        "case": case.name() + said + ("" if good else f", none answered within {seconds:.0f} s"),
        "n": case.points,
        "connections": case.connections,
        "workers": server.workers,
        "requests_s": rate,
        "points_s": rate * case.points,
        "cpu_us_request": cpu / good * 1e6 if good else None,
        "p50_ms": statistics.median(times) * 1e3 if good else None,
        "p99_ms": times[int(len(times) * 0.99)] * 1e3 if good else None,
        "peer": None,
        "ratio": None,
    }


def rows_of(servers: Sequence[Server], case: Case, seconds: float, pool: np.ndarray) -> list[Row]:
    """Our row; and if the case has peers, one for each, with our requests a second over theirs."""
    used = servers if case.peers else servers[:1]
    ours, *others = [measure(server, case, seconds, pool) for server in used]
    for server, row in zip(used[1:], others, strict=True):
        ratio = ours["requests_s"] / row["requests_s"] if row["requests_s"] else None
        row |= {"peer": server.name, "ratio": ratio}
    return [ours, *others]


def overloaded(server: Server, case: Case, rows: Sequence[Row], seconds: float, pool: np.ndarray) -> Row:
    """Those who are refused come again so soon that much more is asked for than can be done; what is done.

    The peer is what was done of the same size at best, of these rows.
    """
    best = max(
        row["requests_s"]
        for row in rows
        if (row["n"], row["workers"], row["peer"]) == (case.points, server.workers, None)
    )
    room = SHARES * Settings().evaluator_queue * server.workers
    pause = max(0, case.connections - room) / ((OVERLOAD - 1) * best)
    row = measure(server, replace(case, pause=pause), seconds, pool)
    return row | {"peer": BEST, "ratio": row["requests_s"] / best}


def run(folder: Path, *, quick: bool) -> tuple[list[Row], str]:
    """All rows, and a line about memory."""
    seconds, rows, memory = _seconds(quick=quick), [], []
    pool = blind([b"%d" % i for i in range(max(POINTS))]).blinded
    for workers in WORKERS:
        path = folder / f"{workers}"
        path.mkdir()
        with _servers(path, workers) as servers:
            for case in _cases(workers, quick=quick):
                if case.overload:
                    rows.append(overloaded(servers[0], case, rows, seconds, pool))
                else:
                    rows += rows_of(servers, case, seconds, pool)
            memory += [f"{server.name}, {workers} workers: {server.memory()} MB" for server in servers]
    return rows, "; ".join(memory)


def most_seconds(*, quick: bool) -> float:
    """How long the load lasts at most, all cases together. The servers' starts are not in it."""
    seconds = _seconds(quick=quick)
    measured = 0
    for workers in WORKERS:
        for case in _cases(workers, quick=quick):
            measured += 3 if case.peers and workers == 1 else 1
    return measured * (_idle(seconds) + LONGEST * seconds)


def _seconds(*, quick: bool) -> float:
    return 0.8 if quick else 5.0


def _idle(seconds: float) -> float:
    """What goes before a case is counted."""
    return max(0.3, seconds / 4)


def _cases(workers: int, *, quick: bool) -> list[Case]:
    cases = QUICK if quick else ALL
    return [case for case in cases if workers == 1 or case.connections > MAX_SPARSE]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench server", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument(
        "--markdown", metavar="FILE", help="put the table into the server section of a document"
    )
    parser.add_argument(
        "--folder", metavar="DIR", help="where accounts are kept (default: the folder of temporary files)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer cases, within 60 s")
    options = parser.parse_args(arguments)
    before = harness.environment(PACKAGES)
    with tempfile.TemporaryDirectory(prefix="contactsync-bench-", dir=options.folder) as folder:
        rows, memory = run(Path(folder), quick=options.quick)
        where = (
            f"{before}, {harness.file_system(Path(folder))}; resident memory of the largest process: {memory}"
        )
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        harness.update_section(options.markdown, "server", f"{where}\n\n{harness.markdown(rows)}")
