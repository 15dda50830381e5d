"""`python -m bench cluster`: a first publish on a Dask cluster of this machine, beside the same on threads.

Both have as many threads as the machine has cores, and take turns; the workers of the cluster are processes
of one thread each, and the scheduler is one more. `ratio` is the speed of the cluster by that of threads: of
CPU, all processes together, which others on the machine disturb least, and on the wall. The data folder is on
the disk.

Then the costs of each part are measured alone, in CPU, and a first publish is simulated for clusters of other
sizes: the publisher reads, seals and stores one chunk after the other, the scheduler passes one job after the
other, workers take what is there. Networks and disks cost nothing in the simulation.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import harness
from bench.harness import Row
from bench.publishing import SEVERAL, members
from contactsync.kernels import phones  # noqa: F401 - from here on kernels pay, as in a server
from contactsync.library.server import Server
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.job import BuildJob, BuiltPartition, EvaluateJob, run_build, run_evaluate
from contactsync.server.publishing.plan import AudiencePlan
from contactsync.server.publishing.pools import JobPool
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.publishing.reading import READ_AT_ONCE
from contactsync.server.publishing.remote.cluster import EVALUATED_REMOTELY, Cluster
from contactsync.server.publishing.remote.errand import open_result, seal_job, seal_result
from contactsync.server.publishing.remote.worker import VARIABLE
from contactsync.server.publishing.remote.worker_key import WorkerKey
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_members
from contactsync.server.storage.ports import Members
from contactsync.tokens import TOKEN_BYTES
from contactsync.voprf.server import KeyPair, derive_key_pair

PACKAGES = ("distributed", "numba", "numpy")
MEMORY = 512 << 20
COUNTS = (30_000, 300_000)
COSTS_OF = 500_000
SIMULATED = (2, 24, 240)
"""Cores of the clusters that are simulated, for a first publish of SIMULATED_MEMBERS."""
SIMULATED_MEMBERS = 10**9
SETTINGS = {
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "500ms",
}
"""Of scheduler and workers, as docs/operations.md has them."""

SHARES = (0.3, 0.2, 0.1, 0.1, *([0.02] * 15))
"""What a partition has of all members: the largest country three tenths."""


@dataclass(frozen=True)
class Running:
    """A cluster that runs, and its processes: first the scheduler's."""

    cluster: Cluster
    processes: tuple[int, ...]


@dataclass(frozen=True)
class Costs:
    """CPU microseconds a member: of workers (`evaluate`, `build`), of the publisher (`hand`, `spool`).

    `job` is what the scheduler takes for a job, in microseconds.
    """

    evaluate: float
    build: float
    hand: float
    spool: float
    job: float


@contextlib.contextmanager
def started(folder: Path, workers: int) -> Iterator[Running]:
    """A scheduler and workers of one thread, on loopback."""
    folder.mkdir()
    WorkerKey.create(folder / "key")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root = str(Path(__file__).resolve().parents[1])
    environment = os.environ | SETTINGS | {VARIABLE: str(folder / "key"), "PYTHONPATH": root}
    where = f"tcp://127.0.0.1:{port}"
    commands = [
        ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        *[["worker", where, "--nthreads", "1", "--no-nanny", "--no-dashboard",
           "--local-directory", str(folder / "scratch")]] * workers,
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        processes = []
        for command in commands:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *command], env=environment, stderr=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        from distributed import Client

        with Client(where, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=60)
        pids = tuple(process.pid for process in processes)
        yield Running(Cluster("127.0.0.1", port, WorkerKey.read(folder / "key"), None), pids)


class _Timed(Publisher):
    """Notes the CPU seconds of this process in each part."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.cpu = {"evaluate": 0.0, "build": 0.0}

    def _evaluate(self, pool: JobPool, plan: AudiencePlan, key: KeyPair) -> int:
        begun = time.process_time()
        try:
            return super()._evaluate(pool, plan, key)
        finally:
            self.cpu["evaluate"] += time.process_time() - begun

    def _build(self, pool: JobPool, plans: Sequence[AudiencePlan]) -> list[BuiltPartition]:
        begun = time.process_time()
        try:
            return super()._build(pool, plans)
        finally:
            self.cpu["build"] += time.process_time() - begun


def _publish(path: Path, everyone: Members, running: Running | None) -> tuple[float, float]:
    """Seconds of the first publish of these members, of CPU (of all processes) and on the wall."""
    shutil.rmtree(path, ignore_errors=True)
    Server.create(path)
    folder = DataFolder.existing(path)
    with contextlib.closing(open_members(folder)) as registry:
        registry.add(everyone)
        machines = None if running is None else running.cluster.machines(MEMORY)
        keyring = Keyring.open(folder.keys, None)
        publisher = Publisher(folder, registry, keyring, memory=MEMORY, machines=machines)
        others = () if running is None else running.processes
        cpu, wall = time.process_time() + sum(map(_cpu_of, others)), time.perf_counter()
        publisher.publish()
        return time.process_time() + sum(map(_cpu_of, others)) - cpu, time.perf_counter() - wall


class _Instantly(Executor):
    """Seals a job and opens a result as for a cluster, evaluates nothing, and builds here."""

    def __init__(self, key: WorkerKey) -> None:
        self._key = key
        self.building = 0.0

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        (job,) = arguments
        sealed = seal_job(self._key, job)
        begun = time.process_time()
        if isinstance(job, EvaluateJob):
            result = os.urandom(len(job.identifiers) * job.width)
        else:
            result = function(job, **options)
            self.building += time.process_time() - begun
        future: Future[Any] = Future()
        future.set_result(open_result(self._key, sealed, seal_result(self._key, sealed, result)))
        return future


def _cpu_of(process: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compared(folder: Path, running: Running, counts: Sequence[int], rounds: int) -> list[Row]:
    """Rows for each count, CPU and wall: medians of the times and of the ratios."""
    rows: list[Row] = []
    _publish(folder / "data", members(20_000, len(SEVERAL)), running)  # workers compile
    for count in counts:
        everyone = members(count, len(SEVERAL))
        found = []
        for turn in range(rounds):
            times = {}
            for kind in (None, running) if turn % 2 else (running, None):
                times[kind is None] = _publish(folder / "data", everyone, kind)
            found.append((times[True], times[False]))
        for place, unit in enumerate(("CPU", "wall")):
            threads, cluster = (
                statistics.median(one[who][place] for one in found) / count * 1e6 for who in (0, 1)
            )
            rows.append(
                {
                    "case": f"publish new members of {len(SEVERAL)} countries", "n": count, "of": unit,
                    "threads_us": threads, "cluster_us": cluster,
                    "ratio": statistics.median(one[0][place] / one[1][place] for one in found),
                }
            )  # fmt: skip
    return rows


def costs_of(folder: Path, running: Running, count: int) -> Costs:
    """What each part costs alone."""
    evaluate, build = _alone(folder)
    hand, spool = _of_the_publisher(folder, running.cluster.key, count)
    client, scheduler = _of_passing(running)
    return Costs(evaluate, build, hand + client / EVALUATED_REMOTELY, spool, scheduler)


def _of_the_publisher(folder: Path, key: WorkerKey, count: int) -> tuple[float, float]:
    """CPU microseconds a member until all have tokens, and until those are in files for the builds."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    Server.create(folder / "data")
    data = DataFolder.existing(folder / "data")
    executor = _Instantly(key)
    with contextlib.closing(open_members(data)) as registry:
        registry.add(members(count, len(SEVERAL)))
        publisher = _Timed(data, registry, Keyring.open(data.keys, None), memory=MEMORY, executor=executor)
        publisher.publish()
    return tuple(
        seconds / count * 1e6
        for seconds in (publisher.cpu["evaluate"], publisher.cpu["build"] - executor.building)
    )


def _of_passing(running: Running) -> tuple[float, float]:
    """CPU microseconds that client and scheduler take to pass a job, as long as one of ours, to a worker."""
    from distributed import Client

    octets, jobs = os.urandom(EVALUATED_REMOTELY * 20), 500
    with Client(running.cluster.address, timeout=60, set_as_default=False) as client:
        client.submit(len, octets, pure=False).result()
        before, begun = _cpu_of(running.processes[0]), time.process_time()
        for future in [client.submit(len, octets, pure=False) for _ in range(jobs)]:
            future.result()
        client_cpu = time.process_time() - begun
        scheduler_cpu = _cpu_of(running.processes[0]) - before
        return client_cpu / jobs * 1e6, scheduler_cpu / jobs * 1e6


def _alone(folder: Path) -> tuple[float, float]:
    """CPU microseconds a member of both kinds of jobs, run here."""
    key = derive_key_pair(bytes(32), b"bench")
    some = tuple(members(EVALUATED_REMOTELY, 1).identifiers())
    job = EvaluateJob("people", key.secret, key.public, some)
    run_evaluate(job)
    evaluated = []
    for _ in range(20):
        begun = time.process_time()
        run_evaluate(job)
        evaluated.append((time.process_time() - begun) / len(some))
    count, built = 1_000_000, []
    place = folder / "alone"
    for _ in range(3):
        shutil.rmtree(place, ignore_errors=True)
        (place / "data" / "work").mkdir(parents=True)
        np.random.default_rng(1).integers(0, 256, count * TOKEN_BYTES, np.uint8).tofile(place / "spool")
        build = BuildJob(
            "people", 1, 1, "49", count, 32, MEMORY, str(place / "spool"), str(place / "report"),
            str(place / "data" / "work"), str(place / "data"), None,
        )  # fmt: skip
        begun = time.process_time()
        run_build(build)
        built.append((time.process_time() - begun) / count)
    return statistics.median(evaluated) * 1e6, statistics.median(built) * 1e6


def simulated(costs: Costs, cores: int, count: int) -> Row:
    """A first publish of `count` members on so many cores: seconds of each part, and how busy workers are.

    The publisher has at most as many jobs out as it has for a cluster of that size (publisher.py).
    """
    chunk, per_chunk = READ_AT_ONCE, READ_AT_ONCE // EVALUATED_REMOTELY
    evaluating, passing = costs.evaluate * EVALUATED_REMOTELY / 1e6, costs.job / 1e6
    free = [0.0] * cores
    out: list[float] = []
    publisher = scheduler = 0.0
    for _ in range(-(-count // chunk)):
        publisher += costs.hand * chunk / 1e6
        for _ in range(per_chunk):
            if len(out) >= 2 * (cores + per_chunk):
                publisher = max(publisher, heapq.heappop(out))
            scheduler = max(scheduler, publisher) + passing
            done = max(scheduler, heapq.heappop(free)) + evaluating
            heapq.heappush(free, done)
            heapq.heappush(out, done)
    evaluated = max(out)
    # Tokens of a partition are written by the publisher, then built by one worker.
    now, free = evaluated, [evaluated] * cores
    for share in SHARES:
        now += share * count * costs.spool / 1e6
        heapq.heappush(free, max(now, heapq.heappop(free)) + share * count * costs.build / 1e6)
    total = max(free)
    used = count * (costs.evaluate + costs.build) / 1e6
    return {
        "case": "simulated", "members": count, "cores": cores, "evaluating_s": evaluated,
        "building_s": total - evaluated, "total_s": total, "busy": used / (cores * total),
    }  # fmt: skip


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench cluster", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument(
        "--markdown", metavar="FILE", help="put the tables into the cluster section of a document"
    )
    parser.add_argument("--folder", metavar="DIR", help="where to measure (default: that of temporary files)")
    parser.add_argument(
        "--members", type=int, action="append", metavar="N", help="how many (default: 30,000 and 300,000)"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(default: 3)")
    options = parser.parse_args(arguments)
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="contactsync-bench-", dir=options.folder) as temporary:
        folder = Path(temporary)
        where = f"{harness.environment(PACKAGES)}, {harness.file_system(folder)}; {workers} workers"
        counts = options.members or COUNTS
        with started(folder / "dask", workers) as running:
            costs = costs_of(folder, running, COSTS_OF)
            rows = compared(folder, running, counts, options.rounds)
    parts = [{"case": name, "cpu_us": value} for name, value in vars(costs).items()]
    simulations = [simulated(costs, cores, SIMULATED_MEMBERS) for cores in SIMULATED]
    print(*map(harness.table, (rows, parts, simulations)), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, [*rows, *parts, *simulations])
    if options.markdown:
        tables = "\n\n".join(map(harness.markdown, (rows, parts, simulations)))
        harness.update_section(options.markdown, "cluster", f"{where}\n\n{tables}")
