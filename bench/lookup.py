"""`python -m bench lookup`: what private look-ups cost, against the goals, peers and other modes.

CPU on one thread, medians of one run in which the contenders take turns.

1. Keys of point functions, made and expanded: those of a batch of 512 at 10^8 members.
2. A batch of 512 at each server, its keys expanded there, and 500 contacts at the client, at 10^6, 10^7 and
   10^8 members; with --large also at 10^9 (18 GB of free memory and some minutes; with less memory, a quarter
   of the rows).
3. Octets of a sync in each privacy mode, over the number of members. --plot FILE draws them, and the costs.
4. Published figures of others.
"""

from __future__ import annotations

import argparse
import functools
import time

import numpy as np

from bench import harness, lookup_costs, lookup_editions, lookup_modes, lookup_peers
from bench.harness import Contender, Row
from contactsync.kernels import dpf as kernel
from contactsync.kernels import policy
from contactsync.kernels.lanes import empty
from contactsync.lookup import dpf
from contactsync.lookup.batch import Sharing

PACKAGES = ("cryptography", "numba", "numpy", lookup_peers.SYCRET)
SHARING = Sharing(lookup_costs.BATCH, lookup_editions.table(10**8).row_bits)
SUB_DATABASES, BITS = SHARING.sub_databases, SHARING.position_bits
MEMBERS = (10**6, 10**7, 10**8)
LARGE = 10**9

Tables = dict[str, list[Row]]


def _row(case: str, n: int, ms: float, *, peer: str | None = None, peer_ms: float | None = None) -> Row:
    ratio = None if peer_ms is None else peer_ms / ms
    return {"case": case, "n": n, "ms": ms, "peer": peer, "peer_ms": peer_ms, "ratio": ratio}


def keys(seconds: float) -> list[Row]:
    """Keys made and expanded, and what the kernel has of it."""
    indices = np.random.default_rng(1).integers(0, 1 << BITS, SUB_DATABASES).astype(np.uint32)
    ours = dpf.generate(indices, BITS)[0]
    contenders = {
        "make": Contender(functools.partial(dpf.generate, indices, BITS), 1),
        "expand": Contender(functools.partial(dpf.expand, ours, BITS), 1),
        "openssl": Contender(functools.partial(dpf.expand_by_openssl, ours, BITS), 1),
    }
    if policy.has_aes():
        contenders["alone"] = Contender(_kernel_alone(), 1)
    theirs = lookup_peers.sycret_contenders(SUB_DATABASES, BITS)
    contenders |= theirs or {}
    measured = harness.interleaved(contenders, seconds=seconds, clock=time.process_time)
    took = {name: us / 1e3 for name, us in measured.items()}
    sycret = lookup_peers.SYCRET if theirs else f"{lookup_peers.SYCRET}: not installed"
    of_sycret = {name: took[name] * SUB_DATABASES for name in theirs or ()}
    expanding = f"expand keys of 2^{BITS} rows"
    rows = [
        _row(
            "make keys for both servers",
            SUB_DATABASES,
            took["make"],
            peer=sycret,
            peer_ms=of_sycret.get("sycret makes"),
        ),
        _row(
            expanding, SUB_DATABASES, took["expand"], peer="OpenSSL, level by level", peer_ms=took["openssl"]
        ),
        _row(
            expanding,
            SUB_DATABASES,
            took["expand"],
            peer=f"{sycret}, point by point" if theirs else sycret,
            peer_ms=of_sycret.get("sycret expands"),
        ),
    ]
    if policy.has_aes():
        blocks = SUB_DATABASES * (
            3 * (1 << dpf.levels(BITS)) - 2
        )  # two for each inner node, one for each leaf
        rows.append(_row("of these, the kernel: AES blocks", blocks, took["alone"]))
    return rows


def _kernel_alone() -> functools.partial[None]:
    """The kernel, without laying keys out: what they are changes nothing."""
    levels = dpf.levels(BITS)
    round_keys = empty(kernel.SCHEDULES_WORDS)
    kernel.schedules(np.arange(6, dtype=np.uint64), round_keys)
    words = np.random.default_rng(2).integers(0, 1 << 63, SUB_DATABASES * (4 + 4 * levels)).astype(np.uint64)
    nodes, selections = empty(8 << levels), empty(SUB_DATABASES * 2 << levels)
    return functools.partial(kernel.expand_keys, words, levels, round_keys, nodes, selections)


def run(*, quick: bool, large: bool = False) -> Tables:
    """All tables, by the section of the document that each is for."""
    members = MEMBERS[:1] if quick else (*MEMBERS, LARGE) if large else MEMBERS
    tables = {"lookup": keys(1.0 if quick else 5.0)}
    costs = []
    for count in members:
        seconds = 0.5 if quick else 20.0 if count < LARGE else 0.0
        costs.append(lookup_costs.costs(count, seconds=seconds, rounds=3 if quick else 15))
    tables["lookup costs"] = costs
    tables["lookup goals"] = lookup_costs.against_goals(costs)
    tables["lookup modes"] = lookup_modes.curve(lookup_modes.TABLED)
    tables["lookup least"] = lookup_modes.least_from()
    tables["lookup published"] = lookup_peers.PUBLISHED
    return tables


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench lookup",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", metavar="FILE", help="write the tables as one JSON list")
    parser.add_argument("--markdown", metavar="FILE", help="put the tables into the sections of a document")
    parser.add_argument("--plot", metavar="FILE", help="draw octets and costs over the number of members")
    parser.add_argument("--quick", action="store_true", help="10^6 members only, within 20 s")
    parser.add_argument("--large", action="store_true", help="10^9 members, too")
    options = parser.parse_args(arguments)
    tables = run(quick=options.quick, large=options.large)
    where = harness.environment(PACKAGES)
    print(*(harness.table(rows) for rows in tables.values()), where, sep="\n\n")
    if options.json:
        rows = [{"table": name, **row} for name, rows in tables.items() for row in rows]
        harness.write_json(options.json, rows)
    if options.plot:
        lookup_modes.plot(lookup_modes.curve(lookup_modes.PLOTTED), tables["lookup costs"], options.plot)
    if options.markdown:
        for name, rows in tables.items():
            text = harness.markdown(rows)
            measured = name in {"lookup", "lookup costs"}
            harness.update_section(options.markdown, name, f"{where}\n\n{text}" if measured else text)
