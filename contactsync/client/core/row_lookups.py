"""Private look-up at two servers: which rows are asked for, and what came of it. docs/lookup.md.

Neither server learns a row. What they see, how many batches of which sizes, follows from how many contacts
are looked up: all of them if the table is another one than at the last sync, else the new ones.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from contactsync.client.core.holdings import Known
from contactsync.foundation.errors import BadReply
from contactsync.lookup.batch import BatchPlan, batch_sizes, plan_batches
from contactsync.lookup.rows import Places
from contactsync.lookup.table import Table, check_level, read_records
from contactsync.publication.manifest import Manifest

if TYPE_CHECKING:
    from contactsync.client.core.states import Question
    from contactsync.publication.rows import PublishedRows

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class LastTable:
    """The table in which rows were looked up last: its root in hex, and how many contacts wait since then."""

    root: str
    waiting: int


@dataclass(frozen=True, slots=True)
class AskRows:
    """Ask both servers for these rows of a table, batch by batch.

    The answer is for each batch the XOR of both servers' answers, uint8[3k/2, width].
    """

    audience: str
    rows: PublishedRows
    table: Table
    batches: tuple[BatchPlan, ...]
    told: object
    """How many contacts both servers could learn that there are, at most."""

    @property
    def octets(self) -> int:
        """What both answers come to."""
        return 2 * self.table.width * sum(plan.sharing.sub_databases for plan in self.batches)


@dataclass(frozen=True, slots=True)
class FoundInRows:
    """Who of n identifiers is a member, bool[n], by which edition, int64[n], and where it is known, bool[n].

    Who waits keeps what was known before.
    """

    member: NDArray[np.bool_]
    edition: NDArray[np.int64]
    settled: NDArray[np.bool_]
    last: LastTable


def rows_of(manifest: Manifest) -> PublishedRows:
    """The rows that a manifest states. Raises BadReply if it states none."""
    if manifest.rows is None:
        raise BadReply(
            "this service has no rows for private look-up at two servers",
            hint="sync with another --privacy, or ask the operator for `server publish --private-lookup yes`",
        )
    return manifest.rows


def answer_octets(manifest: Manifest, contacts: int) -> int:
    """About how many octets two servers answer, if so many contacts are looked up."""
    table = rows_of(manifest).table(manifest.partitions)
    return 2 * table.width * sum(3 * size // 2 for size in batch_sizes(contacts, table.row_bits))


def look_up(
    question: Question,
    manifest: Manifest,
    known: Known,
    level: bytes,
    last: LastTable | None,
    *,
    random_bytes: Random = secrets.token_bytes,
) -> Generator[AskRows, Sequence[NDArray[np.uint8]], FoundInRows]:
    """Look identifiers up that have tokens. `level` is the file that the manifest names.

    Raises BadDirectory if one record of an answer does not verify: all of it is discarded.
    """
    rows = rows_of(manifest)
    table = rows.table(manifest.partitions)
    nodes = check_level(level, table, rows.root)
    edition = _editions(question, manifest)
    there = edition >= 0
    anew = last is None or last.root != rows.level.sha256
    wanted = np.flatnonzero(there if anew else there & (known.edition != edition))
    new = wanted.size if anew or last is None else max(0, wanted.size - last.waiting)
    wanted = _in_turn(wanted, known, random_bytes)

    row, slot, remainder = np.empty(len(edition), np.uint32), np.empty(len(edition), np.uint8), None
    remainder = np.empty(len(edition), np.uint64)
    for name, mine in question.groups.items():
        if name in manifest.partitions:
            places = table.places(name, known.tokens.take(mine))
            row[mine], slot[mine], remainder[mine] = places.row, places.slot, places.remainder
    sought = Places(row[wanted], slot[wanted], remainder[wanted])

    sizes = batch_sizes(new, table.row_bits)
    plans = plan_batches(sought.row, sizes, table.row_bits, random_bytes)
    answers = yield AskRows(manifest.audience, rows, table, tuple(plans), sum(sizes))

    member = np.where(there, known.member, False)
    found_edition = np.where(there, known.edition, -1)
    settled = (~there | (known.edition >= 0)) & _usable(question, manifest)
    read = [
        read_records(records, plan.row.ravel(), nodes, table)
        for records, plan in zip(answers, plans, strict=True)
    ]
    for held, plan in zip(read, plans, strict=True):
        asked = wanted[plan.query]
        member[asked] = held.take(plan.answer).contains(sought.take(plan.query))
        found_edition[asked] = edition[asked]
        settled[asked] = True
    waiting = wanted.size - sum(plan.query.size for plan in plans)
    return FoundInRows(member, found_edition, settled, LastTable(rows.level.sha256, waiting))


def _editions(question: Question, manifest: Manifest) -> NDArray[np.int64]:
    """The edition of each identifier's partition, int64[n]; -1 where there is none."""
    named = [manifest.partitions.get(name) for name in question.names]
    editions: NDArray[np.int64] = np.array([-1 if one is None else one.edition for one in named], np.int64)
    return editions[question.of]


def _usable(question: Question, manifest: Manifest) -> NDArray[np.bool_]:
    usable: NDArray[np.bool_] = np.array([name not in manifest.unknown for name in question.names], np.bool_)
    return usable[question.of]


def _in_turn(wanted: NDArray[np.int64], known: Known, random_bytes: Random) -> NDArray[np.int64]:
    """Those that were never found out first, then at random: else the same ones would wait each time."""
    drawn = np.frombuffer(random_bytes(8 * wanted.size), "<u8")
    return wanted[np.lexsort((drawn, known.edition[wanted] >= 0))]
