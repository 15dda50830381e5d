"""What a batch of 512 costs at each server and at the client, over an edition of any size.

The servers' rows are synthetic: of the true number and width, in memory. What they hold changes nothing,
since nothing is decided by it. The client's answers are real: rows with values, paths that lead to one level,
half of the contacts members, and what is found is compared.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench import harness, lookup_editions
from bench.harness import Contender, Row
from bench.lookup_editions import NAME
from contactsync.client.core.holdings import Known
from contactsync.client.core.row_lookups import AskRows, FoundInRows, look_up
from contactsync.client.core.states import Question
from contactsync.directory.format import DataFile
from contactsync.foundation.hash_trees import HASH_BYTES, node_hash
from contactsync.kernels import rows as row_kernel
from contactsync.lookup import dpf
from contactsync.lookup.batch import BatchPlan, Sharing
from contactsync.lookup.merkle import row_hash
from contactsync.lookup.rows import Places
from contactsync.lookup.table import RowTable, root_of
from contactsync.publication.manifest import Manifest
from contactsync.server.lookups import TOGETHER, OpenRows
from contactsync.tokens import TOKEN_BYTES, Tokens

BATCH = 512
CONTACTS = 500
SPARE = 3 << 30
"""Octets of memory that are left to others."""

GOALS: dict[int, dict[str, float]] = {
    10**6: {"up_kB": 80, "down_kB": 800, "server_ms": 10},
    10**8: {"up_kB": 250, "down_kB": 1200, "server_ms": 150, "each_ms": 80},
    10**9: {"up_kB": 300, "down_kB": 1400, "server_ms": 1500, "each_ms": 800},
}
"""By members, on one core of a machine with AVX-512."""
CLIENT_GOAL_MS = 50.0

_PIECE = 1 << 26
_SMALL = 1 << 14

Octets = NDArray[np.uint8]


# --- the servers -------------------------------------------------------------------------------------------


def blocks_in_memory(members: int) -> tuple[Octets, int]:
    """Blocks of the true size, and of how many quarters of the table: all four, or one if memory is short."""
    table = lookup_editions.table(members)
    quarters = 4 if table.file_bytes + SPARE <= available() or table.total < _SMALL else 1
    blocks = np.empty((table.blocks * quarters // 4, table.layout.block_bytes), np.uint8)
    flat = blocks.reshape(-1)
    piece = np.frombuffer(np.random.default_rng(4).bytes(min(_PIECE, flat.size)), np.uint8)
    for at in range(0, flat.size, piece.size):  # every page is written, or all of them would be one page
        flat[at : at + piece.size] = piece[: flat.size - at]
    return blocks, quarters


def available() -> int:
    """Octets of memory that can be had without pushing anybody out."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    figures = dict(line.split(":") for line in lines)
    return int(figures["MemAvailable"].split()[0]) << 10


def at_servers(members: int, seconds: float) -> tuple[float, float, int]:
    """Milliseconds of CPU of a server for a batch: alone, and each of those that share a pass.

    The expansion of the keys is in it. Then, how many quarters of the rows were there.
    """
    blocks, quarters = blocks_in_memory(members)
    layout = lookup_editions.table(members).layout
    opened = OpenRows(blocks, layout)
    sharing = Sharing(BATCH, layout.row_bits, layout.fold_bits)
    rng = np.random.default_rng(5)
    batches = []
    for _ in range(TOGETHER):
        wanted = rng.integers(0, 1 << sharing.position_bits, sharing.sub_databases).astype(np.uint32)
        batches.append(opened.read_keys(dpf.generate(wanted, sharing.position_bits)[0].tobytes()))
    contenders = {
        "alone": Contender(functools.partial(opened.answer, batches[:1]), 1),
        "together": Contender(functools.partial(opened.answer, batches), TOGETHER),
    }
    keys = batches[0][1]
    contenders["keys"] = Contender(functools.partial(dpf.expand, keys, sharing.position_bits), 1)
    ms = {
        name: us / 1e3
        for name, us in harness.interleaved(contenders, seconds=seconds, clock=time.process_time).items()
    }
    # The keys are expanded for all rows, whatever part of these is there.
    alone, together = (
        ms["keys"] + (ms[name] - ms["keys"]) * 4 / quarters if quarters < 4 else ms[name]
        for name in ("alone", "together")
    )
    return alone, together, quarters


# --- the client --------------------------------------------------------------------------------------------


class Client:
    """A client with a book of which every other contact is a member, and two servers that answer it.

    `random_bytes` are the same in each run, so that the same rows are asked for, and answers can wait.
    """

    def __init__(self, members: int, contacts: int = CONTACTS) -> None:
        self.table = lookup_editions.table(members)
        self._question = Question.about([b"tel:+49151%07d" % i for i in range(contacts)])
        octets = np.random.default_rng(6).integers(0, 256, (contacts, TOKEN_BYTES), np.uint8)
        tokens = Tokens.from_bytes(octets)
        self._known = Known.nothing(contacts).with_tokens(
            np.arange(contacts), tokens, np.zeros((contacts, 32), np.uint8)
        )
        self._expected = np.arange(contacts) % 2 == 0
        self._level = self.table.heading + bytes(HASH_BYTES * self.table.level_nodes)
        self._manifest = self._manifest_of(members)
        plans = next(self._looking()).batches
        where = self.table.places(NAME, tokens).take(np.flatnonzero(self._expected))
        records, self._level = _edition_with(self.table, plans, where, members)
        self._manifest = self._manifest_of(members)
        rng = np.random.default_rng(7)
        masks = [rng.integers(0, 256, one.shape, np.uint8) for one in records]
        self._answers = [(one ^ mask, mask) for one, mask in zip(records, masks, strict=True)]

    def _manifest_of(self, members: int) -> Manifest:
        level = DataFile(root_of(self._level).hex(), len(self._level), "0" * 16)
        return lookup_editions.edition(members, level)

    def _looking(self) -> Generator[AskRows, Sequence[Octets], FoundInRows]:
        draw = np.random.default_rng(8).bytes
        return look_up(self._question, self._manifest, self._known, self._level, None, random_bytes=draw)

    def run(self) -> dict[str, float]:
        """One look-up: milliseconds of CPU of each step."""
        marks = [time.thread_time()]
        looking = self._looking()
        request = next(looking)
        marks.append(time.thread_time())
        for plan in request.batches:  # as `client.second.Pair.ask`
            one, other = dpf.generate(plan.position.ravel(), plan.sharing.position_bits)
            one.tobytes(), other.tobytes()
        marks.append(time.thread_time())
        records = [ours ^ theirs for ours, theirs in self._answers]
        try:
            looking.send(records)
        except StopIteration as end:
            found: FoundInRows = end.value
        marks.append(time.thread_time())
        asked = np.zeros(len(self._expected), np.bool_)
        asked[found.settled] = True
        assert np.array_equal(found.member[asked], self._expected[asked]), "a contact was found wrongly"
        return dict(zip(("plan", "keys", "read"), np.diff(marks).tolist(), strict=True))


def at_client(members: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of CPU of a client for 500 contacts.

    `plan` the batch, make `keys`; then XOR the answers, verify and match (`read`).
    """
    client = Client(members)
    client.run()
    runs = [client.run() for _ in range(rounds)]
    return {step: statistics.median(run[step] for run in runs) * 1e3 for step in runs[0]}


def _edition_with(
    table: RowTable, plans: Sequence[BatchPlan], members: Places, count: int
) -> tuple[list[Octets], bytes]:
    """The records that these plans ask for, uint8[3k/2, width] each, and the level they lead to.

    The rows have as many values as rows have, those of the members among them. Of the tree there is what
    leads up from these rows; the siblings beside that are random.
    """
    numbers = np.unique(np.concatenate([plan.row.ravel() for plan in plans]))
    contents = _contents(table, numbers, members, count)
    nodes = {
        number: row_hash(table.what(NAME), number, content.tobytes())
        for number, content in zip(numbers.tolist(), contents, strict=True)
    }
    rng = np.random.default_rng(9)
    paths = dict.fromkeys(nodes, b"")
    for height in range(table.depth):
        for place in list(nodes):
            nodes.setdefault(place ^ 1, rng.bytes(HASH_BYTES))
        paths = {number: path + nodes[number >> height ^ 1] for number, path in paths.items()}
        nodes = {at >> 1: node_hash(nodes[at & ~1], nodes[at | 1]) for at in nodes}
    level = bytearray(rng.bytes(HASH_BYTES * table.level_nodes))
    for place, node in nodes.items():
        level[place * HASH_BYTES : (place + 1) * HASH_BYTES] = node
    tails = np.frombuffer(b"".join(paths.values()), np.uint8).reshape(len(numbers), HASH_BYTES * table.depth)
    records = np.concatenate([contents, tails], axis=1)
    answers = [records[np.searchsorted(numbers, plan.row.ravel())] for plan in plans]
    return answers, table.heading + bytes(level)


def _contents(table: RowTable, numbers: NDArray[np.uint32], members: Places, count: int) -> Octets:
    """Contents of these rows, as a publisher encodes them."""
    rng = np.random.default_rng(10)
    here = np.isin(members.row, numbers)
    own = np.searchsorted(numbers, members.row[here]).astype(np.uint64)
    theirs = own << np.uint64(38) | members.slot[here].astype(np.uint64) << np.uint64(32)
    theirs |= members.remainder[here]
    room = table.shape.most - np.bincount(own.astype(np.int64), minlength=numbers.size)
    many = np.minimum(rng.poisson(count / table.total, numbers.size), room)
    strangers = np.repeat(np.arange(numbers.size, dtype=np.uint64), many) << np.uint64(38)
    strangers |= rng.integers(0, 1 << 38, strangers.size, np.uint64)
    keys = np.unique(np.concatenate([theirs, strangers]))
    contents = np.zeros((numbers.size, table.shape.content_bytes), np.uint8)
    extra = np.zeros(keys.size, np.uint8)
    fitted = row_kernel.encode(keys, extra, False, 0, table.shape.bitmap_bytes, table.shape.most, contents)
    assert fitted < 0, "there was room for all"
    return contents


# --- both --------------------------------------------------------------------------------------------------


def costs(members: int, *, seconds: float, rounds: int) -> Row:
    """A row of the table: octets of a batch of 512 over both servers, and CPU."""
    table = lookup_editions.table(members)
    sharing = Sharing(BATCH, table.row_bits, table.fold_bits)
    client = at_client(members, rounds)
    alone, together, quarters = at_servers(members, seconds)
    return {
        "members": members, "rows": table.total, "file_MB": table.file_bytes / 1e6,
        "record_bytes": table.width,
        "up_kB": 2 * sharing.sub_databases * dpf.key_length(sharing.position_bits) / 1e3,
        "down_kB": 2 * sharing.sub_databases * table.width / 1e3, "level_kB": table.level_bytes / 1e3,
        "server_ms": alone, "each_ms": together,
        "client_ms": sum(client.values()), **{f"of it {step}": ms for step, ms in client.items()},
        "measured": "all rows" if quarters == 4 else "1/4 of the rows, extrapolated",
    }  # fmt: skip


def against_goals(rows: Sequence[Row]) -> list[Row]:
    """Each goal of the sizes that were measured, and what was."""
    return [
        {"members": row["members"], "figure": name, "goal": goal, "here": row[name], "holds": held}
        for row in rows
        for name, goal in (GOALS.get(row["members"], {}) | {"client_ms": CLIENT_GOAL_MS}).items()
        for held in ["yes" if row[name] <= goal else "no"]
    ]
