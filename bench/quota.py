"""`python -m bench quota`: what charging costs, alone and as a part of a whole request.

All figures are µs, medians of one run in which the contenders take turns. `one transaction of n` is the price
of a charge if n of them come at the same time and share an fsync; its peer charges one at a time. `no fsync`
is the same without the wait for the disk: what the statement itself costs. A request goes over a socket to a
server in this process, whose charges are switched on and off; what is measured is until the answer is there.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

from bench import harness
from bench.harness import Contender, Row
from bench.service import Service
from contactsync.server.breakers import Breakers
from contactsync.server.evaluation import Evaluator
from contactsync.server.http.charging import Charging
from contactsync.server.quota import MOST, PointQuota, Standing, Terms, system_clock
from contactsync.server.storage.ports import Charge, NewAccount
from contactsync.server.storage.sqlite.accounts import SqliteAccounts
from contactsync.voprf.client import blind

PACKAGES = ("numba", "numpy", "starlette", "uvicorn")
GROUPS = (8, 64, 256)
POINTS = (8, 512)
TOGETHER = 16
ENOUGH = PointQuota(MOST, MOST)
BREAKERS = Breakers(MOST, MOST)
SETTINGS = {"points_per_hour": MOST, "new_points_per_hour": MOST}
"""Limits that are looked at, and never reached."""


def _row(case: str, n: int, ours: float, peer: str | None = None, theirs: float | None = None) -> Row:
    ratio = None if theirs is None else theirs / ours
    return {"case": case, "n": n, "ours_us": ours, "peer": peer, "peer_us": theirs, "ratio": ratio}


# --- the statement ------------------------------------------------------------------------------------------


def _charger(store: SqliteAccounts, size: int) -> Callable[[], None]:
    """Charges `size` batches of as many accounts in one transaction."""
    ids = itertools.cycle([one.id for one in store.list()])

    def run() -> None:
        charges = [Charge(next(ids), 8, os.urandom(16), ENOUGH) for _ in range(size)]
        assert all(one is not None and one.outcome == 1 for one in store.charge(charges, BREAKERS))

    return run


def _flush(path: Path) -> Callable[[], None]:
    """Appends a page to a file and waits for the disk: the least that anything durable costs."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def run() -> None:
        os.write(descriptor, bytes(4096))
        os.fdatasync(descriptor)

    return run


def _statement(folder: Path, seconds: float, accounts: int) -> list[Row]:
    path = folder / "accounts.sqlite"
    with (
        closing(SqliteAccounts.create(path)) as store,
        closing(SqliteAccounts(path)) as careless,
    ):
        store.add_all([NewAccount(f"{i}", "people", f"{i}") for i in range(accounts)])
        careless._database().connection.execute("PRAGMA synchronous = OFF")
        contenders = {
            "alone": Contender(_charger(store, 1), 1),
            "no fsync": Contender(_charger(careless, GROUPS[-1]), GROUPS[-1]),
            "disk": Contender(_flush(folder / "page"), 1),
            **{f"{n}": Contender(_charger(store, n), n) for n in GROUPS},
        }
        figures = harness.interleaved(contenders, seconds=seconds)
    alone = figures["alone"]
    return [
        _row("charge, no fsync", GROUPS[-1], figures["no fsync"]),
        _row("charge alone", 1, alone, "write and fdatasync of a page", figures["disk"]),
        *(_row("charge, one transaction of n", n, figures[f"{n}"], "charge alone", alone) for n in GROUPS),
    ]


# --- the whole request --------------------------------------------------------------------------------------


class _Switched(Charging):
    """Charges or not, at the turn of a switch; nothing else about the application differs."""

    on = True

    async def charge(self, charge: Charge) -> Standing | None:
        return await super().charge(charge) if self.on else Standing(0, 0, 0)

    def charge_all(self, charges: Sequence[Charge]) -> Sequence[Standing | None]:
        return super().charge_all(charges) if self.on else [Standing(0, 0, 0)] * len(charges)


def _requests(folder: Path, seconds: float) -> list[Row]:
    rows = []
    with (
        Service(folder / "server", system_clock, Evaluator(), settings=SETTINGS) as service,
        ThreadPoolExecutor(TOGETHER) as pool,
    ):
        switch = service.app._charging
        switch.__class__ = _Switched
        service.add([f"{i}" for i in range(TOGETHER)], Terms("", MOST, MOST))

        def ask(on: bool, points: int, at_once: int) -> None:
            switch.on = on
            # Another batch each time, or it would be a repeat: the elements of one are put in another order.
            bodies = [_shuffled(elements[points]) for _ in range(at_once)]
            answers = pool.map(service.ask, map(str, range(at_once)), bodies)
            assert all(answer.status == 200 for answer in answers)

        elements = {n: blind([b"%d" % i for i in range(n)]).blinded for n in POINTS}
        for points in POINTS:
            for at_once in (1, TOGETHER):
                contenders = {
                    name: Contender(partial(ask, name == "with", points, at_once), at_once)
                    for name in ("with", "without")
                }
                figures = harness.interleaved(contenders, seconds=seconds, rounds=9)
                case = "request" if at_once == 1 else f"request, {at_once} at once"
                rows.append(
                    _row(f"{case}, n points", points, figures["with"], "no charging", figures["without"])
                )
    return rows


def _shuffled(elements: object) -> bytes:
    import numpy as np

    return np.random.default_rng().permutation(elements).tobytes()


def run(folder: Path, *, quick: bool) -> list[Row]:
    """All rows; what is measured is on the disk of `folder`."""
    return [
        *_statement(folder, 1.0 if quick else 20.0, 100 if quick else 30_000),
        *_requests(folder, 0.5 if quick else 20.0),
    ]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench quota", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument(
        "--markdown", metavar="FILE", help="put the table into the quota section of a document"
    )
    parser.add_argument(
        "--folder", metavar="DIR", help="where to measure (default: the folder of temporary files)"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds, within 20 s")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="contactsync-bench-", dir=options.folder) as folder:
        where = f"{harness.environment(PACKAGES)}, {harness.file_system(Path(folder))}"
        rows = run(Path(folder), quick=options.quick)
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        harness.update_section(options.markdown, "quota", f"{where}\n\n{harness.markdown(rows)}")
