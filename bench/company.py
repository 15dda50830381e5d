"""`python -m bench company`: what the engine needs for a request of eight points, by how many wait at a time.

Requests that wait together are evaluated together, each with a proof of its own. `us_request` is CPU of one
thread, from the octets of the points to those of the answer, medians of one run; the peer is each by itself.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

from bench import harness
from bench.harness import Contender, Row
from contactsync.kernels.policy import lanes
from contactsync.voprf import client, server

PACKAGES = ("numba", "numpy")
POINTS = 8
WAITING = (1, 4, 16, 64)
GOAL_US = 130.0
"""From 16 that wait on, on a CPU with AVX-512 IFMA."""
GOAL_FROM = 16


def rows(seconds: float) -> list[Row]:
    """A row for each number of requests."""
    key = server.derive_key_pair(bytes(range(32)), server.epoch_info("people", 1))
    batches = [
        client.blind([b"tel:+49151%04d%03d" % (i, j) for j in range(POINTS)]).blinded
        for i in range(max(WAITING))
    ]

    def together(many: int) -> None:
        some = batches[:many]
        decoded = server.decode_batches(some)
        found = server.blind_evaluate_batches(key, list(zip(some, decoded, strict=True)))
        assert len(found) == many

    def alone() -> None:
        server.blind_evaluate(key, batches[0])

    contenders = {f"{many}": Contender(partial(together, many), many) for many in WAITING}
    contenders["alone"] = Contender(alone, 1)
    figures = harness.interleaved(contenders, seconds=seconds, clock=time.thread_time)
    return [
        {
            "waiting": many, "points_each": POINTS, "lanes": lanes(), "us_request": figures[f"{many}"],
            "one_by_one_us": figures["alone"], "ratio": figures["alone"] / figures[f"{many}"],
            "goal_us": GOAL_US if many >= GOAL_FROM else None,
            "holds": _holds(figures[f"{many}"]) if many >= GOAL_FROM else None,
        }
        for many in WAITING
    ]  # fmt: skip


def _holds(us: float) -> str:
    """Whether the goal holds: it is for CPUs with AVX-512 IFMA alone, by a process that uses it."""
    if lanes() == 1:
        return "not of this CPU"
    return "yes" if us <= GOAL_US else "no"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench company", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument("--markdown", metavar="FILE", help="put the table into a document")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args(arguments)
    found = rows(0.2 if options.quick else 3.0)
    where = f"{harness.environment(PACKAGES)}, AVX-512 IFMA: {'used' if lanes() > 1 else 'not used'}"
    print(harness.table(found), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, found)
    if options.markdown:
        harness.update_section(options.markdown, "company", f"{where}\n\n{harness.markdown(found)}")
