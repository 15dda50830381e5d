"""`python -m bench changes`: a publish after a few changes, and which step of it takes how long.

Members of one country are published once. Then, in each round, some join, some leave, and the next edition is
published. `finding` is the search for members without a token, `tokens` the reading of the tokens and labels
that changed, or of all, `building` what a build job does but for the `screen`, `rest` all else: the plan, the
evaluation itself, signing, switching, cleaning up. The data folder is on the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import harness
from bench.harness import Row
from bench.publishing import members
from contactsync.library.server import Server
from contactsync.server.keyring import Keyring
from contactsync.server.publishing import job, publisher, reading
from contactsync.server.publishing.merge import Outcome
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_members
from contactsync.server.storage.ports import Members, MemberStore

PACKAGES = ("numba", "numpy")
CHANGES = ((1, 0), (1000, 0), (500, 500))
"""How many join and how many leave."""

STEPS = ("finding", "tokens", "building", "screen")


class Watched:
    """A registry that notes how long its searches take, and all else that is done beside it."""

    def __init__(self, registry: MemberStore) -> None:
        self._registry = registry
        self.seconds = dict.fromkeys(STEPS, 0.0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._registry, name)

    def unevaluated(self, *of: Any, **how: Any) -> Members:
        """See `MemberStore.unevaluated`."""
        return self.timed("finding", partial(self._registry.unevaluated, *of, **how))

    def changed_outputs(self, *of: Any) -> Any:
        """See `MemberStore.changed_outputs`."""
        return self.timed("tokens", partial(self._registry.changed_outputs, *of))

    def labelled(self, *of: Any) -> Any:
        """See `MemberStore.labelled`."""
        return self.timed("tokens", partial(self._registry.labelled, *of))

    def token_changes(self, *of: Any) -> Any:
        """See `MemberStore.token_changes`."""
        return self.timed("tokens", partial(self._registry.token_changes, *of))

    def timed(self, step: str, run: Callable[[], Any]) -> Any:
        """Run something as a part of a step."""
        began = time.perf_counter()
        try:
            return run()
        finally:
            self.seconds[step] += time.perf_counter() - began


@contextlib.contextmanager
def watching(watched: Watched) -> Iterator[None]:
    """Have the functions that read tokens and run builds noted as well. With one partition, one runs."""
    with contextlib.ExitStack() as patches:
        for step, module, name in (
            ("tokens", reading, "_spooled"),
            ("building", publisher, "run_build"),
            ("building", publisher, "run_amend"),
            ("screen", job, "build_screen"),
        ):
            real = getattr(module, name)
            patches.callback(setattr, module, name, real)
            setattr(module, name, partial(_timed, watched, step, real))
        yield
    watched.seconds["building"] -= watched.seconds["screen"]


def _timed(watched: Watched, step: str, real: Callable[..., Any], *of: Any, **how: Any) -> Any:
    return watched.timed(step, partial(real, *of, **how))


@contextlib.contextmanager
def without_engine() -> Iterator[None]:
    """Have outputs that are random, and take no time."""
    random, real = np.random.default_rng(1), job.evaluate
    job.evaluate = lambda _key, identifiers: random.integers(0, 256, (len(identifiers), 64), np.uint8)
    try:
        yield
    finally:
        job.evaluate = real


def run(
    folder: Path,
    count: int,
    changes: Sequence[tuple[int, int]],
    rounds: int,
    database: str | None = None,
    *,
    labels: bool = False,
) -> list[Row]:
    """A row for the first publish, and for each (joining, leaving): medians over the rounds, in seconds.

    With `labels` everybody has one.
    """
    Server.create(folder, database=database)
    data = DataFolder.existing(folder)
    everyone = members(count + sum(joins for joins, _ in changes) * rounds, 1).keys
    late = np.zeros(everyone.size, np.bool_)
    late[np.random.default_rng(7).permutation(everyone.size)[count:]] = True
    joining = iter(np.random.default_rng(8).permutation(everyone[late]))
    leaving = iter(np.random.default_rng(9).permutation(everyone[~late]))
    rows: list[Row] = []
    with contextlib.closing(open_members(data)) as registry:
        _join(registry, Members("tel", everyone[~late]), labels=labels)
        keyring = Keyring.open(data.keys, None)
        rows.append({"members": count, "joined": count, "left": 0} | _published(data, registry, keyring)[1])
        for joins, leaves in changes:
            found: list[dict[str, float]] = []
            for _ in range(rounds):
                _join(registry, _some(joining, joins), labels=labels)
                if leaves:
                    registry.remove(_some(leaving, leaves))
                    registry.erase()  # as `members remove` does
                outcome, seconds = _published(data, registry, keyring)
                assert outcome.evaluated == joins
                found.append(seconds)
            rows.append(
                {"members": count, "joined": joins, "left": leaves}
                | {step: statistics.median(one[step] for one in found) for step in found[0]}
            )
    return rows


def _join(registry: MemberStore, some: Members, *, labels: bool) -> None:
    registry.add(some)
    if labels:
        registry.label(some, [b"@%d:example.org" % key for key in some.keys.tolist()])


def _some(numbers: Iterator[Any], many: int) -> Members:
    return Members("tel", np.sort(np.array([next(numbers) for _ in range(many)], np.uint64)))


def _published(data: DataFolder, registry: MemberStore, keyring: Keyring) -> tuple[Outcome, dict[str, float]]:
    watched = Watched(registry)
    with watching(watched):
        began = time.perf_counter()
        (outcome,) = Publisher(data, watched, keyring).publish()  # type: ignore[arg-type]
        whole = time.perf_counter() - began
    return outcome, {"whole_s": whole, **watched.seconds, "rest": whole - sum(watched.seconds.values())}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench changes", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument(
        "--markdown", metavar="FILE", help="put the table into the changes section of a document"
    )
    parser.add_argument(
        "--folder", metavar="DIR", help="where to measure (default: the folder of temporary files)"
    )
    parser.add_argument("--members", type=int, default=1_000_000, help="how many there are (default: 10^6)")
    parser.add_argument(
        "--database",
        metavar="URL",
        help="an empty PostgreSQL database for the members, its password in PGPASSWORD",
    )
    parser.add_argument(
        "--no-engine", action="store_true", help="random outputs: what a publish does besides the engine"
    )
    parser.add_argument("--labels", action="store_true", help="each member has a label of some 26 octets")
    options = parser.parse_args(arguments)
    engine = without_engine() if options.no_engine else contextlib.nullcontext()
    with engine, tempfile.TemporaryDirectory(prefix="contactsync-bench-", dir=options.folder) as folder:
        where = f"{harness.environment(PACKAGES)}, {harness.file_system(Path(folder))}"
        data = Path(folder) / "data"
        rows = run(data, options.members, CHANGES, 3, options.database, labels=options.labels)
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    where += f"; {peak:,} MiB of memory at most, {disk / 1e9:.1f} GB on the disk"
    where += "; without the engine" if options.no_engine else ""
    where += "; with labels" if options.labels else ""
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        harness.update_section(options.markdown, "changes", f"{where}\n\n{harness.markdown(rows)}")
