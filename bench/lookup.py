"""`python -m bench lookup`: keys of point functions made and expanded, and answers over rows in memory.

Milliseconds of CPU on one thread, medians of one run in which the contenders take turns. `gb_s` is how much
of rows is masked and added: three times the rows, for each client. Rows are random, of the width that records
have at that size of directory; a batch is of 512 queries, so 768 sub-databases.
"""

from __future__ import annotations

import argparse
import functools
import time

import numpy as np
from numpy.typing import NDArray

from bench import harness
from bench.harness import Contender, Row
from contactsync.kernels import dpf as kernel
from contactsync.kernels import policy
from contactsync.kernels.lanes import empty
from contactsync.lookup import dpf
from contactsync.lookup.answer import Arrangement, answer, arrange

PACKAGES = ("cryptography", "numba", "numpy")
SUB_DATABASES = 768
A_GROUP = SUB_DATABASES // 3
BITS = 13
TOGETHER = 8
# Members: rows, and octets of a record (docs/lookup.md, "Record").
DIRECTORIES = {1_000_000: (1 << 14, 488), 100_000_000: (1 << 21, 672)}


def _row(
    case: str,
    n: int,
    ms: float,
    *,
    gb_s: float | None = None,
    peer: str | None = None,
    peer_ms: float | None = None,
) -> Row:
    ratio = None if peer_ms is None else peer_ms / ms
    return {"case": case, "n": n, "ms": ms, "gb_s": gb_s, "peer": peer, "peer_ms": peer_ms, "ratio": ratio}


def _ms(contenders: dict[str, Contender], seconds: float) -> dict[str, float]:
    """Milliseconds of one run of each."""
    took = harness.interleaved(contenders, seconds=seconds, clock=time.process_time)
    return {name: us / 1e3 for name, us in took.items()}


def _keys(seconds: float) -> list[Row]:
    indices = np.random.default_rng(1).integers(0, 1 << BITS, SUB_DATABASES).astype(np.uint32)
    keys = dpf.generate(indices, BITS)[0]
    contenders = {
        "make": Contender(functools.partial(dpf.generate, indices, BITS), 1),
        "expand": Contender(functools.partial(dpf.expand, keys, BITS), 1),
        "openssl": Contender(functools.partial(dpf.expand_by_openssl, keys, BITS), 1),
    }
    if policy.has_aes():
        contenders["alone"] = Contender(_kernel_alone(), 1)
    took = _ms(contenders, seconds)
    how = {"peer": "OpenSSL, level by level", "peer_ms": took["openssl"]}
    rows = [
        _row("make keys for both servers", SUB_DATABASES, took["make"]),
        _row(f"expand keys of 2^{BITS} rows", SUB_DATABASES, took["expand"], **how),
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
    keys = np.random.default_rng(2).integers(0, 1 << 63, SUB_DATABASES * (4 + 4 * levels)).astype(np.uint64)
    nodes, selections = empty(8 << levels), empty(SUB_DATABASES * 2 << levels)
    return functools.partial(kernel.expand_keys, keys, levels, round_keys, nodes, selections)


def _answers(members: int, seconds: float) -> list[Row]:
    n, width = DIRECTORIES[members]
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 1 << 63, (n, width // 8), np.uint64).view(np.uint8)
    places = np.stack([rng.permutation(n) for _ in range(3)]).astype(np.uint32)
    arrangement = arrange(places, (n // A_GROUP).bit_length() - 1, A_GROUP)
    octets = (1 << arrangement.position_bits) // 8
    selections = rng.integers(0, 256, (TOGETHER, SUB_DATABASES, octets), np.uint8)
    contenders = {
        "one": Contender(functools.partial(answer, rows, selections[:1], arrangement), 1),
        "together": Contender(functools.partial(answer, rows, selections, arrangement), TOGETHER),
        "each": Contender(functools.partial(_each, rows, selections, arrangement), TOGETHER),
    }
    took = _ms(contenders, seconds)
    gigabytes = 3 * n * width / 1e9
    case = f"answer, {members:.0e} members, {width} octets a row".replace("e+0", "e")
    return [
        _row(f"{case}: one client", n, took["one"], gb_s=gigabytes / took["one"] * 1e3),
        _row(
            f"{case}: {TOGETHER}, each",
            n,
            took["together"],
            gb_s=gigabytes / took["together"] * 1e3,
            peer="one after the other",
            peer_ms=took["each"],
        ),
    ]


def _each(rows: NDArray[np.uint8], selections: NDArray[np.uint8], arrangement: Arrangement) -> None:
    for client in range(len(selections)):
        answer(rows, selections[client : client + 1], arrangement)


def run(*, quick: bool) -> list[Row]:
    """All rows."""
    found = _keys(1.0 if quick else 5.0)
    for members in list(DIRECTORIES)[: 1 if quick else None]:
        found += _answers(members, 1.0 if quick else 20.0)
    return found


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench lookup", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument(
        "--markdown", metavar="FILE", help="put the table into the lookup section of a document"
    )
    parser.add_argument("--quick", action="store_true", help="rows of 1e6 members only, within 20 s")
    options = parser.parse_args(arguments)
    rows = run(quick=options.quick)
    where = harness.environment(PACKAGES)
    print(harness.table(rows), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, rows)
    if options.markdown:
        harness.update_section(options.markdown, "lookup", f"{where}\n\n{harness.markdown(rows)}")
