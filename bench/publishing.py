"""`python -m bench publishing`: a first publish of new members, beside what the engine alone takes for them.

Both run in turn, on the same threads: `server publish` of a new registry (read, evaluate, store, build, sign,
switch), and the evaluation of the same identifiers alone. `ratio` is the first by the second; of CPU time it
says what is done besides, on the wall also what does not overlap. The members are of several countries, or of
one. The data folder is on the disk. With a PostgreSQL database on this machine (`--database`), the CPU time
of its processes counts as well.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from bench import harness
from bench.harness import Row
from contactsync.foundation.errors import OurError
from contactsync.kernels import phones  # noqa: F401 - from here on kernels pay, as in a server
from contactsync.library.server import Server
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.pools import EVALUATED_AT_ONCE
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_members
from contactsync.server.storage.ports import Members
from contactsync.tokens import Tokens
from contactsync.voprf.server import KeyPair, derive_key_pair, evaluate

PACKAGES = ("numba", "numpy")
SEVERAL = ((49, 15100000000), (33, 600000000), (44, 7400000000), (39, 3470000000))
"""Calling codes, and where their numbers begin."""
SPREAD = 10**8
"""In how many numbers the members of a country are, or four times as many as there are members."""

Times = tuple[float, float]
"""CPU seconds and seconds."""

_TICKS = os.sysconf("SC_CLK_TCK")


def members(count: int, countries: int) -> Members:
    """So many members of so many countries."""
    rng = np.random.default_rng(5)
    parts = []
    for place, (code, begin) in enumerate(SEVERAL[:countries]):
        many = count // countries + (place < count % countries)
        first = code * 10 ** len(str(begin)) + begin
        parts.append(
            rng.choice(max(SPREAD, 4 * many), many, replace=False).astype(np.uint64) + np.uint64(first)
        )
    return Members("tel", np.sort(np.concatenate(parts)))


class Database:
    """A PostgreSQL server on this machine, and an empty database in it."""

    def __init__(self, url: str) -> None:
        """Raises OurError: it is on another machine."""
        from contactsync.server.storage.postgres.address import DatabaseUrl
        from contactsync.server.storage.postgres.creating import connected

        self.url, self.address = url, DatabaseUrl.parse(url)
        with connected(self.address) as connection:
            found = connection.execute("SELECT pg_backend_pid()").fetchone()
            try:
                name, *fields = _stat(int(found[0])) if found else [""]
            except FileNotFoundError:
                name = ""
            if name != "postgres":
                raise OurError(
                    "the processes of this database are not on this machine",
                    hint="their CPU time is measured: name a PostgreSQL server that runs here",
                )
            self._server = int(fields[1])

    def cpu(self) -> float:
        """Seconds of CPU that the processes of the server have taken, those that ended included."""
        ticks = sum(map(int, _stat(self._server)[12:16]))  # its own, and of children that it has buried
        for pid in Path(f"/proc/{self._server}/task/{self._server}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                ticks += sum(map(int, _stat(int(pid))[12:14]))
        return ticks / _TICKS

    def drop_stores(self) -> None:
        """Empty it again."""
        from contactsync.server.storage.postgres.creating import drop_stores_of

        drop_stores_of(self.address)

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Whoever opens a folder meanwhile finds its stores in this database, with the password."""
        before = os.environ.get("CONTACTSYNC_DATABASE")
        os.environ["CONTACTSYNC_DATABASE"] = self.url
        try:
            yield
        finally:
            os.environ.pop("CONTACTSYNC_DATABASE")
            if before is not None:
                os.environ["CONTACTSYNC_DATABASE"] = before


def _stat(pid: int) -> list[str]:
    """The name of a process, and the fields of its `stat` that follow it (proc(5); its state comes first)."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return [text[text.index("(") + 1 : text.rindex(")")], *text[text.rindex(")") + 1 :].split()]


def _timed(run: Callable[[], object], others: Callable[[], float] = lambda: 0.0) -> Times:
    """`others` is the CPU time of other processes so far that work for it."""
    cpu, wall = time.process_time() + others(), time.perf_counter()
    run()
    return time.process_time() + others() - cpu, time.perf_counter() - wall


def _publish(path: Path, everyone: Members, threads: int, database: Database | None = None) -> Times:
    """What the first publish of these members takes."""
    shutil.rmtree(path, ignore_errors=True)
    if database is None:
        Server.create(path)
        return _publish_from(path, everyone, threads, lambda: 0.0)
    with database.named():
        Server.create(path, database=database.url)
        try:
            return _publish_from(path, everyone, threads, database.cpu)
        finally:
            database.drop_stores()


def _publish_from(path: Path, everyone: Members, threads: int, others: Callable[[], float]) -> Times:
    folder = DataFolder.existing(path)
    text = folder.settings_file.read_text()
    folder.settings_file.write_text(text.replace("evaluator_threads = 0", f"evaluator_threads = {threads}"))
    assert folder.settings().evaluator_threads == threads
    with contextlib.closing(open_members(folder)) as registry:
        registry.add(everyone)
        publisher = Publisher(folder, registry, Keyring.open(folder.keys, None))
        return _timed(publisher.publish, others)


def _engine(key: KeyPair, identifiers: list[bytes], threads: int) -> Times:
    """What it takes to turn these into tokens, and nothing else."""
    parts = [
        identifiers[first : first + EVALUATED_AT_ONCE]
        for first in range(0, len(identifiers), EVALUATED_AT_ONCE)
    ]

    def tokens(part: list[bytes]) -> bytes:
        return Tokens.from_outputs(evaluate(key, part)).to_bytes().tobytes()

    with ThreadPoolExecutor(threads) as pool:
        return _timed(lambda: list(pool.map(tokens, parts)))


def run(
    folder: Path, counts: Sequence[int], rounds: int, threads: int, database: Database | None = None
) -> list[Row]:
    """Two rows for each case, CPU and wall: medians of the times, and of the ratios of each round.

    The members are in files of `folder`, or in this database.
    """
    key, rows = derive_key_pair(bytes(32), b"bench"), []
    _engine(key, members(EVALUATED_AT_ONCE, 1).identifiers(), 1)  # compiles
    for count in counts:
        for countries in (len(SEVERAL), 1):
            everyone = members(count, countries)
            identifiers = everyone.identifiers()
            found: list[tuple[Times, Times]] = []
            for turn in range(rounds):
                both = (
                    partial(_publish, folder / "data", everyone, threads, database),
                    partial(_engine, key, identifiers, threads),
                )
                first = turn % 2
                times = both[first](), both[1 - first]()
                found.append((times[first], times[1 - first]))
            for place, unit in enumerate(("CPU", "wall")):
                ours, engine = (
                    statistics.median(one[who][place] for one in found) / count * 1e6 for who in (0, 1)
                )
                rows.append(
                    {
                        "case": f"publish new members of {countries} countries" if countries > 1
                        else "publish new members of one country",
                        "n": count, "threads": threads, "of": unit, "ours_us": ours, "engine_us": engine,
                        "ratio": statistics.median(one[0][place] / one[1][place] for one in found),
                    }
                )  # fmt: skip
    return rows


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench publishing", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument(
        "--markdown", metavar="FILE", help="put the table into the publishing section of a document"
    )
    parser.add_argument(
        "--folder", metavar="DIR", help="where to measure (default: the folder of temporary files)"
    )
    parser.add_argument("--quick", action="store_true", help="300,000 members only, within 30 s")
    parser.add_argument("--members", metavar="N", type=int, help="so many members only")
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="measure so often (default: 3)")
    parser.add_argument(
        "--database", metavar="URL", help="the members are in this empty PostgreSQL database, on this machine"
    )
    options = parser.parse_args(arguments)
    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="contactsync-bench-", dir=options.folder) as folder:
        where = f"{harness.environment(PACKAGES)}, {harness.file_system(Path(folder))}"
        counts = (300_000,) if options.quick else (300_000, 3_000_000)
        if options.members is not None:
            counts = (options.members,)
        database = Database(options.database) if options.database else None
        rows = run(Path(folder), counts, options.rounds, threads, database)
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        section = "publishing-postgresql" if options.database else "publishing"
        harness.update_section(options.markdown, section, f"{where}\n\n{harness.markdown(rows)}")
