"""`python -m bench lookup_rows`: rows for private look-ups, and how often a query does not fit in its batch.

Times are CPU of one thread, medians of one run. A server makes the rows of each edition once, and verifies
them when it starts; a client reads the answer of a batch of 512, which is 768 records, and plans one. Without
--quick also at 10^7 members; 10^8 is ten times the rows, of nearly the same size.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import harness
from bench.directory import chunks_of
from bench.harness import Contender, Row
from contactsync.directory import build, open_directory
from contactsync.foundation.hash_trees import HASH_BYTES
from contactsync.lookup import batch
from contactsync.lookup.answer import RowLayout
from contactsync.lookup.batch import GROUPS, Sharing, plan_batch
from contactsync.lookup.table import check_level, read_records, usual_fold_bits
from contactsync.lookup.table_file import build_table, open_table

PACKAGES = ("numba", "numpy")
BATCH = 512
TRIALS = {8: 400_000, 64: 40_000, 512: 4_000}
AT_ONCE = 2048
WAITS = (
    (8, 6, 0), (8, 14, 0), (8, 21, 6), (64, 14, 0), (64, 21, 6),
    (512, 14, 0), (512, 17, 3), (512, 20, 6), (512, 21, 6), (512, 24, 6),
)  # fmt: skip
"""k, b and f."""


def _seconds(run: Callable[[], object], rounds: int) -> float:
    taken = harness.interleaved({"it": Contender(run, 1)}, seconds=0, rounds=rounds, clock=time.process_time)
    return taken["it"] / 1e6


def rows(n: int, rounds: int) -> Row:
    """What the rows of n members take: size, seconds of a server, milliseconds of a client."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        info = build(folder / "d", chunks_of(n))
        with open_directory(folder / "d", expect=info) as directory:
            directories = {"1": directory}
            fold = usual_fold_bits([info.slot_bits])
            made = build_table(folder / "rows", directories, None, fold)
            building = _seconds(lambda: build_table(folder / "rows", directories, None, fold), rounds)
        table = made.table
        opening = _seconds(lambda: open_table(folder / "rows", table, made.root), rounds)
        blocks = open_table(folder / "rows", table, made.root)
        level = check_level(made.level, table, made.root)
        asked = table.places("1", next(chunks_of(BATCH * GROUPS // 2)))
        number = asked.row
        answer = _records(blocks, number, table.layout)

        def read() -> None:
            assert read_records(answer, number, level, table).contains(asked).all()

        sharing, wanted = Sharing(BATCH, table.row_bits, fold), number[:BATCH]
        return {
            "n": n, "rows": table.total, "largest": table.shape.most, "record_bytes": table.width,
            "f": fold, "file_MB": table.file_bytes / 1e6, "build_s": building, "verify_s": opening,
            "read_768_ms": _seconds(read, rounds) * 1e3,
            "plan_512_ms": _seconds(lambda: plan_batch(wanted, sharing), rounds) * 1e3,
            "answer_MB": 2 * sharing.sub_databases * table.width / 1e6,
        }  # fmt: skip


def _records(blocks: NDArray[np.uint8], numbers: NDArray[np.uint32], layout: RowLayout) -> NDArray[np.uint8]:
    """The records of rows, as two servers answer them."""
    found, inside = blocks[numbers >> layout.fold_bits], numbers & (layout.block_rows - 1)
    each = np.arange(len(numbers))
    at = layout.block_rows * layout.content_bytes
    parts = [found[:, :at].reshape(len(numbers), -1, layout.content_bytes)[each, inside]]
    for height in range(layout.fold_bits):
        end = at + HASH_BYTES * (layout.block_rows >> height)
        parts.append(found[:, at:end].reshape(len(numbers), -1, HASH_BYTES)[each, inside >> height])
        at = end
    return np.concatenate([*parts, found[:, at:]], axis=1)


def waiting(size: int, row_bits: int, fold_bits: int, trials: int) -> Row:
    """How many of so many batches of `size` different random rows have no place for all of them."""
    rng = np.random.default_rng(size + row_bits)
    sharing = Sharing(size, row_bits, fold_bits)
    own = _waits(sharing, trials, lambda many: _choices(sharing, _distinct(rng, sharing, many)))
    offset = sharing.a_group * np.arange(GROUPS)
    chance = _waits(
        sharing, trials, lambda many: rng.integers(0, sharing.a_group, (many, size, GROUPS)) + offset
    )
    return {
        "k": size, "R": f"2^{row_bits}", "f": fold_bits, "batches": trials,
        "in which something waits": own[0], "most that waits": own[1], "with three random places": chance[0],
    }  # fmt: skip


def _waits(sharing: Sharing, trials: int, draw: Callable[[int], NDArray[np.int64]]) -> tuple[int, int]:
    """In how many batches something waits, and how much at most."""
    some = most = 0
    for first in range(0, trials, AT_ONCE):
        for choices in draw(min(AT_ONCE, trials - first)).tolist():
            left = batch._assign(choices, sharing.sub_databases).count(-1)
            some += left > 0
            most = max(most, left)
    return some, most


def _distinct(rng: np.random.Generator, sharing: Sharing, many: int) -> NDArray[np.uint32]:
    """Different random rows, uint32[many, k]."""
    drawn = np.empty((many, sharing.size), np.uint32)
    left = np.arange(many)
    while left.size:
        drawn[left] = rng.integers(0, 1 << sharing.row_bits, (left.size, sharing.size), dtype=np.uint32)
        if 4 * sharing.size * sharing.size > 1 << sharing.row_bits:  # hardly ever all different
            for i in left.tolist():
                drawn[i] = rng.permutation(1 << sharing.row_bits)[: sharing.size]
            break
        ordered = np.sort(drawn[left], axis=1)
        left = left[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)]
    return drawn


def _choices(sharing: Sharing, drawn: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The three sub-databases of each row, counted over all groups: int64[many, k, 3]."""
    sub, _ = sharing.place(drawn.ravel())
    flat = sub.astype(np.int64) + sharing.a_group * np.arange(GROUPS)[:, None]
    return flat.T.reshape(*drawn.shape, GROUPS)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench lookup_rows", description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="write the rows as one JSON list")
    parser.add_argument("--markdown", metavar="FILE", help="put both tables into a document")
    parser.add_argument("--quick", action="store_true", help="10^6 members, and a tenth of the batches")
    options = parser.parse_args(arguments)
    sizes = [rows(n, 3) for n in ((1_000_000,) if options.quick else (1_000_000, 10_000_000))]
    share = 10 if options.quick else 1
    waits = [waiting(size, row_bits, fold_bits, TRIALS[size] // share) for size, row_bits, fold_bits in WAITS]
    where = harness.environment(PACKAGES)
    print(harness.table(sizes), harness.table(waits), where, sep="\n\n")
    if options.json:
        harness.write_json(options.json, [*sizes, *waits])
    if options.markdown:
        harness.update_section(options.markdown, "lookup_rows", f"{where}\n\n{harness.markdown(sizes)}")
        harness.update_section(options.markdown, "lookup_rows batch", harness.markdown(waits))
