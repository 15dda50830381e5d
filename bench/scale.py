"""`python -m bench scale`: from an operator's table of numbers to an edition that is served and synced with.

Each step is a process of its own, as an operator runs it: `members import` of a CSV in random order,
`publish`, `serve`, and syncs of an address book of 1,000 numbers, half of them members. Of each: seconds, CPU
seconds, the most memory that its process had, and what the data folder and its published part have on the
disk after it. The members are of six countries, three tenths of them of the largest. With `--folder`, a run
that was killed goes on where it was: what a step took before counts. `--with` adds the rows of earlier runs
(of `--json`), so that table and plot are over numbers of members; dots in the plot are measured, dashes lead
on to ten times as many.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from bench import harness
from bench.harness import Row
from bench.server import Server as Process
from contactsync.client.core.planner import Options
from contactsync.library.books import book_of_numbers
from contactsync.library.client import Client
from contactsync.library.server import Server

PACKAGES: Final = ("numba", "numpy")

PLANS: Final = (
    ("9197", 8, 1), ("9198", 8, 1), ("9199", 8, 1), ("8613", 9, 2), ("49151", 8, 1),
    ("346", 8, 1), ("55119", 8, 1), ("62812", 8, 1), ("62813", 8, 1),
)  # fmt: skip
"""The beginning of numbers, the digits after it, and tenths of the members who have such a number."""

MOST: Final = 999_999_990
CHUNK: Final = 100_000  # rows written at once
STEP: Final = (
    61_803_399  # ends in an odd digit that is not 5, so that its multiples modulo 10^d are all numbers
)
SAMPLED: Final = 0.5  # seconds
BOOK: Final = 1_000
SYNCS: Final = 3
PRIVACY: Final = ("screen", "download")
NO_ENGINE: Final = "publish, no engine"
FOUND: Final = ("s", "cpu_s", "peak_MiB", "folder_MB", "public_MB", "received_MB")
"""What is told of a step."""

_WITHOUT_ENGINE: Final = """
import runpy, sys
from bench.changes import without_engine
sys.argv[0] = "contactsync"
with without_engine():
    runpy.run_module("contactsync", run_name="__main__")
"""


def numbers(plan: tuple[str, int, int], first: int, end: int) -> Iterator[str]:
    """Members `first` … `end` - 1 of a plan, in E.164: distinct, in an order that looks random."""
    prefix, digits, _ = plan
    of = 10**digits
    for i in range(first, end):
        yield f"+{prefix}{(i * STEP + 7) % of:0{digits}}"


def write_table(path: Path, count: int) -> None:
    """A table of so many members (a multiple of ten), never all in memory: each part of it has all plans."""
    with path.open("w") as file:
        file.write("phone\n")
        tenths = count // 10
        for first in range(0, tenths, CHUNK // 10):
            end = min(tenths, first + CHUNK // 10)
            for plan in PLANS:
                file.write("\n".join(numbers(plan, first * plan[2], end * plan[2])) + "\n")


class Steps:
    """What each step took, kept in a file, so that a run that was killed goes on."""

    def __init__(self, path: Path, data: Path) -> None:
        self._path, self._data = path, data
        self.rows: dict[str, dict[str, Any]] = json.loads(path.read_bytes()) if path.exists() else {}

    def run(self, step: str, command: Sequence[str]) -> None:
        """Run a process to its end, unless that was done. Raises SystemExit: it failed."""
        row = self.rows.setdefault(step, {"s": 0.0, "cpu_s": 0.0, "peak_MiB": 0, "done": False})
        if row["done"]:
            return
        before, began = dict(row), time.perf_counter()
        with subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL) as process:
            watched, written = psutil.Process(process.pid), began
            while process.poll() is None:
                self._sample(row, before, began, watched)
                if time.perf_counter() - written > 10:
                    written = time.perf_counter()
                    self._save()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(SAMPLED)
        row["s"] = before["s"] + time.perf_counter() - began
        if process.returncode:
            raise SystemExit(f"{step} failed (exit {process.returncode})")
        self.end(step)

    @staticmethod
    def _sample(row: dict[str, Any], before: dict[str, Any], began: float, watched: psutil.Process) -> None:
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            row["cpu_s"] = before["cpu_s"] + sum(watched.cpu_times()[:4])
            row["s"] = before["s"] + time.perf_counter() - began
            row["peak_MiB"] = max(row["peak_MiB"], peak(watched.pid))

    def end(self, step: str, **found: float) -> None:
        """Note that a step is done, with what was found, and the disk after it."""
        row = self.rows.setdefault(step, {})
        row |= found | {
            "folder_MB": size_of(self._data) / 1e6,
            "public_MB": size_of(self._data / "public") / 1e6,
            "done": True,
        }
        self._save()

    def _save(self) -> None:
        self._path.write_text(json.dumps(self.rows, indent=1))


def peak(pid: int) -> int:
    """The most memory that a process has had, in MiB, pages of mapped files included; 0: it has ended."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) >> 10
    return 0


def size_of(folder: Path) -> int:
    """Octets of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(folder: Path, count: int, *, engine: bool) -> list[Row]:
    """A row for each step."""
    data, table, state = folder / "server", folder / "members.csv", folder / "steps.json"
    steps = Steps(state, data)
    if not data.exists():
        Server.create(data)
        write_table(table, count)
    server = ("server", "members", "import", str(table), "--data", str(data), "--region-column", "none")
    steps.run("import", ["-m", "contactsync", *server, "--max-rejected", "0"])
    table.unlink(missing_ok=True)
    step, begin = ("publish", ["-m", "contactsync"]) if engine else (NO_ENGINE, ["-c", _WITHOUT_ENGINE])
    steps.run(step, [*begin, "server", "publish", "--data", str(data)])
    if engine:
        _serve(folder, data, count, steps)
    return [
        {"members": count, "step": step} | {name: row.get(name) for name in FOUND}
        for step, row in steps.rows.items()
    ]


def _serve(folder: Path, data: Path, count: int, steps: Steps) -> None:
    """Serve what was published, and sync with it; each sync has a client that knows nothing yet."""
    known = [
        one for plan in PLANS for one in numbers(plan, 0, min(count * plan[2] // 10, BOOK // 2 // len(PLANS)))
    ]
    strangers = [f"+4915{20_000_000 + i * 7919:09}" for i in range(BOOK - len(known))]
    book = book_of_numbers(np.unique([np.uint64(one[1:]) for one in known + strangers]))
    server = Server(data)
    with tempfile.TemporaryDirectory(dir=folder) as clients, _serving(data) as (url, process):
        for privacy in PRIVACY:
            taken, received, cpu = [], [], []
            for turn in range(SYNCS):
                name = f"{privacy}-{turn}-{time.time_ns()}"
                client = Client(Path(clients) / name)
                client.trust(url, server.fingerprint)
                credential = server.accounts.add(name)
                wall, before = time.perf_counter(), time.process_time()
                result = client.sync(book, credential=credential, options=Options(privacy=privacy))
                taken.append(time.perf_counter() - wall)
                cpu.append(time.process_time() - before)
                received.append(result.received)
                if sorted(result.numbers.tolist()) != sorted(int(one[1:]) for one in known):
                    raise SystemExit("a sync found others than those who are members")
            steps.end(
                f"sync, {privacy}",
                s=float(np.median(taken)),
                cpu_s=float(np.median(cpu)),
                received_MB=float(np.median(received)) / 1e6,
            )
        whole = [peak(one.pid) for one in process.processes()]
        steps.end("serve", peak_MiB=max(whole))


@contextlib.contextmanager
def _serving(data: Path) -> Iterator[tuple[str, Process]]:
    process = Process(
        "serve", 1, ["-m", "contactsync", "server", "serve", "--port", "0", "--data", str(data)]
    )
    try:
        process.wait()
        yield f"http://127.0.0.1:{process.port}", process
    finally:
        process.stop()


def plot(rows: Sequence[Row], path: str) -> None:
    """Seconds and octets over the number of members."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (times, octets) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for axes, step, figure_of, factor, label in (
        (times, "import", "cpu_s", 1.0, "import, CPU"),
        (times, "publish", "cpu_s", 1.0, "first publish, CPU"),
        (times, NO_ENGINE, "cpu_s", 1.0, "the same without the engine"),
        (times, "publish", "s", 1.0, "first publish"),
        (times, "sync, screen", "s", 1.0, "sync of 1,000 contacts"),
        (octets, "publish", "folder_MB", 1e6, "data folder"),
        (octets, NO_ENGINE, "folder_MB", 1e6, "data folder, without the engine"),
        (octets, "publish", "public_MB", 1e6, "what is served"),
        (octets, "sync, screen", "received_MB", 1e6, "received by a first sync"),
        (octets, "import", "peak_MiB", 1 << 20, "memory of the import"),
        (octets, "publish", "peak_MiB", 1 << 20, "memory of the publish"),
        (octets, "serve", "peak_MiB", 1 << 20, "memory of serve"),
    ):
        found = sorted((row["members"], row[figure_of] * factor) for row in rows if row["step"] == step)
        if found:
            (line,) = axes.plot(*zip(*found, strict=True), "o-", label=label)
            (before, y0), (last, y) = found[-2:] if len(found) > 1 else found * 2
            grows = max(0.0, np.log(y / y0) / np.log(last / before)) if last > before else 1.0
            if figure_of != "peak_MiB":  # which has bounds
                axes.plot([last, 10 * last], [y, y * 10**grows], "--", color=line.get_color())
    for axes, unit in ((times, "seconds"), (octets, "bytes")):
        axes.set(xscale="log", yscale="log", xlabel="members", ylabel=unit)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench scale", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument("--markdown", metavar="FILE", help="put the table into that section of a document")
    parser.add_argument("--folder", metavar="DIR", help="where; go on there (default: temporary)")
    parser.add_argument(
        "--members", type=int, default=100_000, help="how many there are, rounded to tens (default: 10^5)"
    )
    parser.add_argument(
        "--no-engine", action="store_true", help="random outputs: what a publish does besides the engine"
    )
    parser.add_argument(
        "--with", metavar="FILE", action="append", default=[], dest="others", help="rows to add"
    )
    parser.add_argument("--plot", metavar="FILE", help="draw times, memory and disk over the members")
    options = parser.parse_args(arguments)
    if not 10 <= options.members <= MOST:
        parser.error(f"--members: 10 to {MOST}")
    with contextlib.ExitStack() as ends:
        name = options.folder or ends.enter_context(tempfile.TemporaryDirectory(prefix="contactsync-bench-"))
        folder = Path(name)
        folder.mkdir(exist_ok=True)
        rows = run(folder, options.members // 10 * 10, engine=not options.no_engine)
        where = f"{harness.environment(PACKAGES)}, {harness.file_system(folder)}"
    where += "; without the engine" if options.no_engine else ""
    if options.json:
        harness.write_json(options.json, rows)
    rows += [row for path in options.others for row in json.loads(Path(path).read_bytes())]
    rows.sort(key=lambda row: row["members"])
    print(harness.table(rows), where, sep="\n\n")
    if options.plot:
        plot(rows, options.plot)
    if options.markdown:
        harness.update_section(options.markdown, "scale", f"{where}\n\n{harness.markdown(rows)}")
