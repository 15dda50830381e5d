"""`python -m bench matching`: which of m tokens are among N, one thread, against join engines and arrays.

The directory is a file, opened and checked before; every peer gets its N tokens in the form that it likes
best (a sorted array, a table of its own), before the clock starts too. All contenders of a case take turns in
one run; the clock is CPU time. Tokens are distinct and in random order unless the case says otherwise; half
of the m are members. (Two threads are compared with one, by the clock on the wall.)
"""

from __future__ import annotations

import os

# Before the engines are imported: all of them with one thread.
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from bench import harness
from bench.harness import Contender, Row
from contactsync.directory import Directory, build, match, open_directory
from contactsync.directory.match import numpy_lookup
from contactsync.tokens import Tokens

PACKAGES = ("numba", "numpy", "polars", "duckdb", "pandas", "pyarrow")
#        case                  m          N       r   peers that are left out
CASES = (
    ("lookup", 1_000, 10_000_000, 32, ()),
    ("lookup", 1_000, 10_000_000, 40, ()),
    ("lookup", 100_000, 10_000_000, 32, ()),
    ("lookup", 1_000_000, 10_000_000, 32, ()),
    ("join", 10_000_000, 10_000_000, 32, ()),
    ("join", 10_000_000, 10_000_000, 40, ()),
    ("join, client sorted", 10_000_000, 10_000_000, 32, ()),
    ("join, two threads", 10_000_000, 10_000_000, 32, ()),
    ("lookup", 1_000_000, 100_000_000, 32, ("pandas isin", "pyarrow is_in")),
)
QUICK = (
    ("lookup", 1_000, 10_000_000, 32, ("np.intersect1d", "pyarrow is_in", "pandas isin")),
    ("lookup", 100_000, 10_000_000, 32, ("np.intersect1d", "pyarrow is_in", "pandas isin")),
    ("join", 1_000_000, 1_000_000, 32, ()),
    ("join, client sorted", 1_000_000, 1_000_000, 32, ()),
    ("lookup", 100_000, 1_000_000, 40, ()),
)

U64 = NDArray[np.uint64]


def distinct(count: int, seed: int) -> U64:
    """Random 64-bit numbers; two equal ones among 10^8 are as rare as in life."""
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


def tokens_of(head: U64) -> Tokens:
    return Tokens(head, (head >> np.uint64(7)).astype(np.uint16))


def peers(members: U64, asked: U64) -> dict[str, Callable[[], object]]:
    """Each answers "which of `asked` are members" in its own best way, its own form of `members` ready."""
    ordered = np.sort(members)
    base = duckdb.connect(config={"threads": 1})
    held = pa.table({"t": members})
    base.execute("create table d as select * from held")
    client = pa.table({"t": asked})
    base.register("c", client)
    frame = pl.DataFrame({"t": members})
    pa.set_cpu_count(1)
    value_set = held["t"].combine_chunks()

    def searchsorted() -> NDArray[np.bool_]:
        place = np.searchsorted(ordered, asked)
        return ordered[np.minimum(place, ordered.size - 1)] == asked

    return {
        "np.searchsorted": searchsorted,
        "np.intersect1d": lambda: np.intersect1d(members, asked, assume_unique=True),
        # The other way round polars hashes the N: 0.7 s for 10^7, however few are asked.
        "polars join": lambda: frame.join(pl.DataFrame({"t": asked}), on="t", how="semi"),
        "polars is_in": lambda: frame.filter(pl.col("t").is_in(pl.Series(asked).implode())),
        "duckdb join": lambda: base.execute("select c.t from c join d using (t)").fetchnumpy(),
        "pandas isin": lambda: pd.Series(asked).isin(members),
        "pyarrow is_in": lambda: pc.is_in(pa.array(asked), value_set=value_set),
    }


def _measure(
    case: str, directory: Directory, members: U64, m: int, without: Iterable[str], quick: bool
) -> list[Row]:
    n, r = directory.count, directory.info.remainder_bits
    asked = np.concatenate([members[: m - m // 2], distinct(m // 2, 3)])
    asked = np.sort(asked) if "sorted" in case else np.random.default_rng(4).permutation(asked)
    tokens, threads = tokens_of(asked), 2 if "two threads" in case else 1
    contenders = {"ours": Contender(lambda: match(tokens, directory, threads=threads), 1)}
    if threads > 1:
        contenders["contactsync, one thread"] = Contender(lambda: match(tokens, directory), 1)
    if m <= 100_000:
        contenders["contactsync without Numba"] = Contender(lambda: numpy_lookup(tokens, directory), 1)
    for name, run in peers(members, asked).items() if threads == 1 else ():
        if name not in without:
            contenders[name] = Contender(run, 1)
    assert match(tokens, directory).sum() == m - m // 2
    clock = time.process_time if threads == 1 else time.perf_counter
    figures = harness.interleaved(
        contenders, seconds=0.5 if quick else 4.0, rounds=2 if quick else 3, clock=clock
    )
    ours = figures.pop("ours") / 1000
    return [
        {
            "case": case, "m": m, "n": n, "r": r, "ours": ours, "unit": "ms",
            "peer": peer, "peer_value": value / 1000, "ratio": value / 1000 / ours,
        }
        for peer, value in figures.items()
    ]  # fmt: skip


def run(cases: Iterable[tuple[str, int, int, int, tuple[str, ...]]], quick: bool) -> list[Row]:
    """The rows of all cases; a directory serves the cases of its N and r that follow each other."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        path, built, members = Path(folder) / "d", None, np.empty(0, np.uint64)
        for case, m, n, r, without in cases:
            if (n, r) != built:
                members = members if members.size == n else distinct(n, 1)
                info = build(path, [tokens_of(members)], remainder_bits=r)
                built = n, r
            with open_directory(path, expect=info) as directory:
                rows += _measure(case, directory, members, m, without, quick)
    return rows


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench matching", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument(
        "--markdown", metavar="FILE", help="put the table into the matching section of a document"
    )
    parser.add_argument("--quick", action="store_true", help="smaller cases and fewer rounds, within 40 s")
    options = parser.parse_args(arguments)
    rows = run(QUICK if options.quick else CASES, options.quick)
    where = harness.environment(PACKAGES)
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        harness.update_section(options.markdown, "matching", f"{where}\n\n{harness.markdown(rows)}")
