"""The admin API: single writes over connections that stay open, each acknowledged after it is on the disk.

The process is the real one, on a Unix socket; what asks it runs in this process, on the other core. With one
connection each write is a group of its own, so its latency is that of a commit: the fsync and the way there.
With more, those that come while a group is written are the next one. `CPU` is what the server used of one
core. Half of the writes are puts of new members; the other half deletes them again.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from bench import harness
from bench.harness import Row

PACKAGES = ("uvicorn", "httptools", "uvloop")
CASES = (
    ("a single write", 1, False),
    ("a single write", 8, False),
    ("a single write", 64, False),
    ("with an Idempotency-Key", 64, True),
)
FIRST = 4915100000000
APART = 100_000
LANES = itertools.count()
"""Each connection has members of its own."""


class Served:
    """`server admin` on a new data folder in `folder`."""

    def __init__(self, folder: Path) -> None:
        data = str(folder / "server")
        contactsync = [sys.executable, "-m", "contactsync", "server"]
        subprocess.run([*contactsync, "init", "--data", data], capture_output=True, check=True)
        self.socket = str(folder / "private" / "admin.sock")
        command = [*contactsync, "admin", "--data", data, "--socket", self.socket]
        self._popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._popen.stdout is not None
        assert self._popen.stdout.readline().startswith("listening")

    def cpu(self) -> float:
        """Seconds of CPU that the process has used."""
        fields = Path(f"/proc/{self._popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it."""
        self._popen.terminate()
        self._popen.wait()


async def _write(path: str, end: float, keyed: bool, latencies: list[float]) -> None:
    """One connection: put and delete members of its own until the time is over."""
    reader, writer = await asyncio.open_unix_connection(path)
    number = FIRST + next(LANES) * APART
    for n in range(2 * APART):
        begin = time.perf_counter()
        if begin >= end:
            break
        method = "DELETE" if n % 2 else "PUT"
        key = f'Idempotency-Key: "{uuid.uuid4()}"\r\n' if keyed else ""
        request = f"{method} /v1/members/tel:+{number + n // 2} HTTP/1.1\r\nHost: x\r\n{key}\r\n"
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert re.match(rb"HTTP/1\.1 20[01] ", head), head
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        body = await reader.readexactly(int(length[1]))
        assert b'"changed": true' in body
        latencies.append(time.perf_counter() - begin)
    writer.close()


def measure(served: Served, name: str, connections: int, keyed: bool, seconds: float, rounds: int) -> Row:
    """Medians over the rounds."""
    rates, halves, tails, shares = [], [], [], []
    for _ in range(rounds):
        latencies: list[float] = []

        async def run(latencies: list[float] = latencies) -> None:
            end = time.perf_counter() + seconds
            await asyncio.gather(*(_write(served.socket, end, keyed, latencies) for _ in range(connections)))

        cpu, begin = served.cpu(), time.perf_counter()
        asyncio.run(run())
        taken = time.perf_counter() - begin
        latencies.sort()
        rates.append(len(latencies) / taken)
        halves.append(statistics.median(latencies) * 1000)
        tails.append(latencies[len(latencies) * 99 // 100] * 1000)
        shares.append((served.cpu() - cpu) / taken)
    return {
        "case": name,
        "connections": connections,
        "writes/s": statistics.median(rates),
        "median ms": statistics.median(halves),
        "99 % ms": statistics.median(tails),
        "CPU": statistics.median(shares),
        "µs CPU each": statistics.median(s / r for s, r in zip(shares, rates, strict=True)) * 1e6,
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench admin", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument("--markdown", metavar="FILE", help="put the table into the admin section of a page")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, within 20 s")
    parser.add_argument("--folder", metavar="DIR", help="where the data folder is: the disk counts")
    options = parser.parse_args(arguments)
    try:
        import uvloop
    except ImportError:
        pass
    else:
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # so that asking costs little
    seconds, rounds = (1.0, 3) if options.quick else (4.0, 7)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        served = Served(Path(folder))
        try:
            rows = [measure(served, *case, seconds, rounds) for case in CASES]
        finally:
            served.close()
    where = harness.environment(PACKAGES)
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        harness.update_section(options.markdown, "admin", f"{where}\n\n{harness.markdown(rows)}")
