"""`python -m bench day`: a day of a service, edition by edition, with clients that sync at random times.

Members of one country are published once. Then in each edition as many join and leave as `--churn` makes of
them in a day of `--editions`, and it is published; a real `serve` process serves it. Clients of two kinds,
those that fetch whole partitions (`download`) and those that fetch bucket lists (`screen`), each with an
address book of their own of members, of people who join or leave on that day and of strangers, sync at random
editions. Each result, and what it says has changed since the last, is compared with the truth. `s` are
medians in seconds, `cpu_s` CPU of the publishing or syncing process, `files` octets that an edition adds to
what is served, `sent` and `received` octets of a sync over the wire. The time between editions is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench import harness
from bench.harness import Row
from bench.publishing import members
from bench.server import Server as Process
from contactsync.client.core.planner import Options
from contactsync.client.report import Report
from contactsync.foundation.errors import ChoiceNeeded
from contactsync.library.books import book_of_numbers
from contactsync.library.client import Client
from contactsync.library.server import Server
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.quota import Terms
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_members
from contactsync.server.storage.ports import Members, MemberStore

PACKAGES: Final = ("numba", "numpy")
STRANGER: Final = 49_15_990_000_000
"""Numbers from here on are of nobody."""

STAYING, CHANGING, STRANGERS = 140, 10, 150
"""Whom an address book has: members and others of the day, those who change on it, strangers."""

PER_CLIENT: Final = 2
"""Syncs of a client on the day; those that fall on one edition are one."""


class Population:
    """Everybody who is a member at some time of the day, and who is one now."""

    def __init__(self, count: int, churn: float, editions: int) -> None:
        changes = max(1, round(count * churn / 2 / editions))
        rng = np.random.default_rng(3)
        self.everyone = members(count + changes * editions, 1).keys
        self.is_member = np.ones(self.everyone.size, np.bool_)
        places = rng.permutation(self.everyone.size)
        self.joining = places[: changes * editions].reshape(editions, changes)
        self.leaving = places[changes * editions : 2 * changes * editions].reshape(editions, changes)
        self.is_member[self.joining.ravel()] = False

    def now(self) -> Members:
        """The members."""
        return Members("tel", self.everyone[self.is_member])

    def change(self, store: MemberStore, edition: int) -> int:
        """Let those of an edition join and leave; how many they are."""
        joins, leaves = (np.sort(some[edition]) for some in (self.joining, self.leaving))
        store.add(Members("tel", self.everyone[joins]))
        store.remove(Members("tel", self.everyone[leaves]))
        self.is_member[joins], self.is_member[leaves] = True, False
        return joins.size + leaves.size

    def book(self, rng: np.random.Generator) -> NDArray[np.uint64]:
        """Numbers of an address book, ascending."""
        changing = np.concatenate([self.joining.ravel(), self.leaving.ravel()])
        places = [rng.choice(self.everyone.size, STAYING, replace=False)]
        places += [rng.choice(changing, min(CHANGING, changing.size), replace=False)]
        strangers = rng.choice(10**7, STRANGERS, replace=False).astype(np.uint64) + np.uint64(STRANGER)
        return np.unique(np.concatenate([self.everyone[np.concatenate(places)], strangers]))

    def among(self, numbers: NDArray[np.uint64]) -> set[int]:
        """Those of some numbers who are members now."""
        at = np.minimum(np.searchsorted(self.everyone, numbers), self.everyone.size - 1)
        return set(numbers[(self.everyone[at] == numbers) & self.is_member[at]].tolist())


@dataclass(slots=True)
class Person:
    """A client with an address book, and what was true at its last sync."""

    client: Client
    credential: str
    privacy: str
    numbers: NDArray[np.uint64]
    editions: frozenset[int]
    before: set[int] | None = None

    def sync(self, truth: set[int]) -> tuple[Row, int]:
        """Sync once: what it cost, and how many answers were wrong. Raises ChoiceNeeded: the leak budget."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = self.client.sync(
            book_of_numbers(self.numbers), credential=self.credential, options=Options(privacy=self.privacy)
        )
        cost: Row = {
            "s": time.perf_counter() - wall,
            "cpu_s": time.process_time() - cpu,
            "sent": result.sent,
            "received": result.received,
        }
        wrong = len(set(result.numbers.tolist()) ^ truth)
        if self.before is not None:
            wrong += len(_changed(result.report) ^ (self.before ^ truth))
        self.before = truth
        return cost, wrong


def _changed(report: Report) -> set[int]:
    return {int(one.written.removeprefix("tel:+")) for one in (*report.joined, *report.left)}


@dataclass(slots=True)
class Day:
    """What was measured, by what it is of."""

    costs: dict[str, list[Row]] = field(default_factory=dict)
    wrong: int = 0
    stopped: int = 0
    """Syncs that the leak budget of bucket lists has stopped: they told nothing more, and found nothing."""

    def note(self, what: str, cost: Row) -> None:
        """Keep a cost."""
        self.costs.setdefault(what, []).append(cost)

    def rows(self) -> list[Row]:
        """Medians, and the longest time."""
        return [
            {
                "what": what,
                "n": len(costs),
                "s": statistics.median(one["s"] for one in costs),
                "most_s": max(one["s"] for one in costs),
                "cpu_s": statistics.median(one["cpu_s"] for one in costs),
                **{
                    name: round(statistics.median(one[name] for one in costs)) if name in costs[0] else None
                    for name in ("files", "sent", "received")
                },
            }
            for what, costs in self.costs.items()
        ]


def run(folder: Path, count: int, churn: float, editions: int, clients: int, whole: int) -> tuple[Day, int]:
    """The day, and how many changes an edition has. `whole` of the clients fetch whole partitions."""
    population, day = Population(count, churn, editions), Day()
    server = Server.create(folder / "server")
    data = DataFolder.existing(folder / "server")
    with contextlib.closing(open_members(data)) as store:
        store.add(population.now())
        publisher = Publisher(data, store, Keyring.open(data.keys, None))
        day.note("first publish", _published(publisher, data))
        with _served(data) as url:
            people = list(_people(folder, server, url, population, (clients, whole, editions)))
            changes = 0
            for edition in range(editions):
                changes = population.change(store, edition)
                store.erase()  # as `members remove` does
                day.note("edition", _published(publisher, data))
                for person in people:
                    if edition in person.editions:
                        kind = "first" if person.before is None else "later"
                        try:
                            cost, wrong = person.sync(population.among(person.numbers))
                        except ChoiceNeeded:
                            day.stopped += 1
                            continue
                        day.note(f"{person.privacy}, {kind} sync", cost)
                        day.wrong += wrong
    return day, changes


def _published(publisher: Publisher, data: DataFolder) -> Row:
    before = {path.name for path in data.data.iterdir()}
    wall, cpu = time.perf_counter(), time.process_time()
    publisher.publish()
    cost: Row = {"s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    new = (path for path in data.data.iterdir() if path.name not in before)
    return cost | {"files": sum(path.stat().st_size for path in new)}


@contextlib.contextmanager
def _served(data: DataFolder) -> Iterator[str]:
    command = ["-m", "contactsync", "server", "serve", "--port", "0", "--data", str(data.path)]
    process = Process("serve", 1, command)
    try:
        process.wait()
        yield f"http://127.0.0.1:{process.port}"
    finally:
        process.stop()


def _people(
    folder: Path, server: Server, url: str, population: Population, numbers: tuple[int, int, int]
) -> Iterator[Person]:
    clients, whole, editions = numbers
    rng = np.random.default_rng(4)
    names = [f"client-{place}" for place in range(clients)]
    issued = server.accounts.add_all(names, terms=Terms("", 10**6, 10**6))
    for place, one in enumerate(issued):
        client = Client(folder / one.name)
        client.trust(url, server.fingerprint)
        yield Person(
            client=client,
            credential=one.credential,
            privacy="download" if place < whole else "screen",
            numbers=population.book(rng),
            editions=frozenset(rng.integers(editions, size=PER_CLIENT).tolist()),
        )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench day", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument("--markdown", metavar="FILE", help="put the table into the day section of a document")
    parser.add_argument("--folder", metavar="DIR", help="where (default: the folder of temporary files)")
    parser.add_argument("--members", type=int, default=100_000, help="how many there are (default: 10^5)")
    parser.add_argument("--churn", type=float, default=0.01, help="what part of them changes in a day (0.01)")
    parser.add_argument("--editions", type=int, default=144, help="how many a day has (default: 144)")
    parser.add_argument("--clients", type=int, default=200, help="how many there are (default: 200)")
    parser.add_argument("--whole", type=int, default=20, help="how many of them fetch whole partitions (20)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="contactsync-bench-", dir=options.folder) as folder:
        where = f"{harness.environment(PACKAGES)}, {harness.file_system(Path(folder))}"
        day, changes = run(
            *(Path(folder), options.members, options.churn),
            *(options.editions, options.clients, options.whole),
        )
    syncs = sum(len(costs) for what, costs in day.costs.items() if what.endswith("sync"))
    where += f"; {options.members:,} members, {changes:,} changes an edition; {day.wrong} wrong answers"
    where += f" in {syncs:,} syncs, {day.stopped} more stopped by the leak budget"
    rows = day.rows()
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        harness.update_section(options.markdown, "day", f"{where}\n\n{harness.markdown(rows)}")
    if day.wrong:
        raise SystemExit("answers were wrong")
