"""What the benchmarks share: interleaved timing, medians, tables, JSON, and a line about the machine.

Times on a shared machine drift by tens of percent within minutes, so contenders take turns within one round
and the medians over the rounds are compared: a ratio is of one run or it is nothing.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

Row = dict[str, Any]

SHORTEST_SAMPLE = 0.004  # seconds; calls that take less are repeated within a sample
LONG_RUN = 0.3  # seconds; where a call takes more, its first counts as well


@dataclass(frozen=True, slots=True)
class Contender:
    """`run()` handles `items` items."""

    run: Callable[[], object]
    items: int


def interleaved(
    contenders: Mapping[str, Contender],
    *,
    seconds: float,
    rounds: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median µs an item of each contender, who take turns for about `seconds` and at least `rounds` times.

    The first call of each warms up: it tells how often to repeat short ones, and counts only if it was long.
    With `time.process_time` as the clock, others on the machine disturb less; all threads are counted.
    """
    begin = time.perf_counter()
    repeats: dict[str, int] = {}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for name, contender in contenders.items():
        once = _timed(contender.run, 1, clock)
        repeats[name] = max(1, round(SHORTEST_SAMPLE / max(once, 1e-7)))
        if once > LONG_RUN:
            samples[name].append(once / contender.items * 1e6)
    order = list(contenders)
    done = min(len(values) for values in samples.values())
    while done < rounds or time.perf_counter() - begin < seconds:
        for name in order:
            taken = _timed(contenders[name].run, repeats[name], clock)
            samples[name].append(taken / contenders[name].items * 1e6)
        order.append(order.pop(0))  # nobody always runs right after the same other
        done += 1
    return {name: statistics.median(values) for name, values in samples.items()}


def _timed(run: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    begin = clock()
    for _ in range(repeats):
        run()
    return (clock() - begin) / repeats


def environment(packages: Sequence[str]) -> str:
    """One line: CPU, cores, Python, versions of `packages`, load, date."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    cores = len(os.sched_getaffinity(0))
    date = dt.datetime.now(dt.UTC).date()
    return (
        f"{model}, {cores} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
        f"{versions}, {date}"
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def file_system(folder: Path) -> str:
    """The kind of file system a folder is on: figures of one in memory say nothing about a disk."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    inside = [(len(at), kind) for at, kind in mounts if folder.resolve().is_relative_to(at)]
    return max(inside)[1]


def cell(value: Any) -> str:
    """A value as a table shows it: three significant figures, nothing for None."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def table(rows: Sequence[Row]) -> str:
    """Aligned text for a terminal; the columns are those of the first row."""
    if not rows:
        return ""
    lines = [list(rows[0]), *([cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    left = [all(isinstance(row[name], str | None) for row in rows) for name in rows[0]]
    return "\n".join(
        "  ".join(
            text.ljust(w) if at else text.rjust(w) for text, w, at in zip(line, widths, left, strict=True)
        )
        for line in lines
    )


def markdown(rows: Sequence[Row]) -> str:
    """The same as a Markdown table."""
    lines = [list(rows[0]), *([cell(value) for value in row.values()] for row in rows)]
    lines.insert(1, ["---" if isinstance(value, str) else "---:" for value in rows[0].values()])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def update_section(path: str, name: str, text: str) -> None:
    """Replace what stands between the markers `<!-- bench NAME -->` and `<!-- end NAME -->` of a document."""
    file = Path(path)
    begin, end = f"<!-- bench {name} -->", f"<!-- end {name} -->"
    before, found, rest = (file.read_text() if file.exists() else f"{begin}\n{end}\n").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"{path} has no section between {begin} and {end}")
    file.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def write_json(path: str, rows: Sequence[Row]) -> None:
    """One list of rows; numbers with four significant figures."""
    rounded = [{k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    Path(path).write_text(json.dumps(rounded, indent=1) + "\n")
