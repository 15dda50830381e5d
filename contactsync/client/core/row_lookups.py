"""Private look-up at two servers: which rows are asked for, and what came of it. docs/lookup.md.

Neither server learns a row. What they see, how many batches of which sizes, follows from how many contacts
are looked up: all of them if the edition is another one than at the last sync, else the new ones.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from contactsync.client.core.holdings import Known, Sealed
from contactsync.foundation.errors import BadReply
from contactsync.lookup.batch import BatchPlan, batch_sizes, plan_batches
from contactsync.lookup.rows import Places
from contactsync.lookup.table import RowTable, check_level, read_records
from contactsync.publication.manifest import Manifest
from contactsync.publication.rows import ROW_MEMBERS

if TYPE_CHECKING:
    from contactsync.client.core.states import Question
    from contactsync.publication.rows import PublishedRows

Random = Callable[[int], bytes]

_NOWHERE: Final = 0
"""The edition of who is in no partition, once that was seen: those of partitions begin with 1.

Also of who is known from another table than the last one: the result stays, and is looked up again.
"""


@dataclass(frozen=True, slots=True)
class LastTable:
    """The last look-up that was finished: of which edition, and which identifiers had no place in it.

    `key` is the hash of what identifies the edition's contents: see `key_of`. `labels`: whether these came
    with it, and were wanted.
    """

    key: str
    epoch: int
    edition: int
    waiting: tuple[str, ...]
    labels: bool


@dataclass(frozen=True, slots=True)
class AskRows:
    """Ask both servers for these rows of a table, batch by batch.

    The answer is for each batch the XOR of both servers' answers, uint8[3k/2, width].
    """

    audience: str
    rows: PublishedRows
    table: RowTable
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

    Who waits keeps what was known before. `sealed` are the labels of members that were looked up,
    by partition. `anew`: everybody was asked for, so that what is known of anybody else is of another table.
    """

    member: NDArray[np.bool_]
    edition: NDArray[np.int64]
    settled: NDArray[np.bool_]
    last: LastTable
    anew: bool
    sealed: Mapping[str, Sealed] = field(default_factory=dict, repr=False)


def rows_of(manifest: Manifest) -> PublishedRows:
    """The rows that a manifest states. Raises BadReply if it states none that this program can use."""
    if manifest.rows is None and manifest.unknown and manifest.extra.keys() & set(ROW_MEMBERS):
        raise BadReply(
            "the rows for private look-up have partitions that this program does not know",
            hint="update contactsync, or sync with another --privacy",
        )
    if manifest.has_later_rows:
        raise BadReply(
            "the rows for private look-up are of a form that this program does not know",
            hint="update contactsync, or sync with another --privacy",
        )
    if manifest.rows is None:
        raise BadReply(
            "this service has no rows for private look-up at two servers",
            hint="sync with another --privacy, or ask the operator for `server publish --private-lookup yes`",
        )
    return manifest.rows


def key_of(manifest: Manifest) -> str:
    """What identifies an edition for look-ups: its rows, and of which edition each partition is.

    Not the root alone. Whoever signs could give the same rows other editions, partition by partition, and see
    by the sizes of the batches how many contacts are in each. Those of labels count, too, whether or not
    these are wanted: or another one of them would show it.
    """
    labelled = manifest.has_labelled_rows
    editions = [
        [name, partition.edition, *([partition.labels.edition] if labelled and partition.labels else [])]
        for name, partition in sorted(manifest.partitions.items())
    ]
    stated = [rows_of(manifest).level.sha256, manifest.epoch, manifest.public_key.hex(), editions]
    return hashlib.sha256(json.dumps(stated).encode()).hexdigest()


def check_rows(manifest: Manifest, level: bytes) -> None:
    """Check the file of the level, before anything is asked. Raises BadDirectory."""
    rows = rows_of(manifest)
    check_level(level, rows.table(manifest.partitions), rows.root)


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
    labels: bool = False,
    random_bytes: Random = secrets.token_bytes,
) -> Generator[AskRows, Sequence[NDArray[np.uint8]], FoundInRows]:
    """Look identifiers up that have tokens. `level` is the file that the manifest names.

    `labels`: whether they are wanted. What is answered is the same if they are not. Everybody is asked for
    once they are wanted again, not only who matched.

    Raises BadDirectory if one record of an answer does not verify: all of it is discarded.
    """
    rows = rows_of(manifest)
    table = rows.table(manifest.partitions)
    nodes = check_level(level, table, rows.root)
    edition = question.editions(manifest, nowhere=_NOWHERE)
    there = edition > _NOWHERE
    labels = labels and rows.labelled
    key = key_of(manifest)
    same = last is not None and last.key == key and (last.labels or not labels)
    waited = frozenset(last.waiting if last is not None and same else ())
    waits = np.array([one.decode() in waited for one in question.identifiers], np.bool_)
    # Who is in no partition counts too: or the number of batches would tell how many those are.
    pending = (known.edition != edition) | waits if same else np.ones(len(edition), np.bool_)
    new = int(np.count_nonzero(pending & ~waits))
    wanted = _in_turn(np.flatnonzero(pending & there), known, random_bytes)

    row, slot = np.empty(len(edition), np.uint32), np.empty(len(edition), np.uint8)
    remainder = np.empty(len(edition), np.uint64)
    for name, mine in question.groups.items():
        if name in manifest.partitions:
            places = table.places(name, known.tokens.take(mine))
            row[mine], slot[mine], remainder[mine] = places.row, places.slot, places.remainder
    sought = Places(row[wanted], slot[wanted], remainder[wanted])

    sizes = batch_sizes(new, table.row_bits)
    plans = plan_batches(sought.row, sizes, table.row_bits, random_bytes, fold_bits=table.fold_bits)
    answers = yield AskRows(manifest.audience, rows, table, tuple(plans), sum(sizes))

    member = np.where(there, known.member, False)
    found_edition = np.where(there, known.edition, _NOWHERE)
    settled = (~there | (known.edition >= 0)) & question.usable(manifest)
    read = [
        read_records(records, plan.row.ravel(), nodes, table)
        for records, plan in zip(answers, plans, strict=True)
    ]
    entries = np.zeros((len(edition), table.shape.entry_bytes), np.uint8)
    looked_up = np.zeros(len(edition), np.bool_)
    for rows_read, plan in zip(read, plans, strict=True):
        asked = wanted[plan.query]
        held, places = rows_read.take(plan.answer), sought.take(plan.query)
        member[asked] = held.contains(places)
        entries[asked] = held.entries(places)
        found_edition[asked] = edition[asked]
        looked_up[asked] = settled[asked] = True
    left = np.setdiff1d(wanted, np.flatnonzero(looked_up))
    found_edition[left] = np.minimum(known.edition[left], _NOWHERE)
    waiting = tuple(question.identifiers[i].decode() for i in left.tolist())
    sealed = {}
    for name, mine in question.groups.items():
        if labels and (octets := table.entry_bytes.get(name)):
            those = mine[member[mine] & looked_up[mine]]
            sealed[name] = Sealed(those, entries[those, :octets])
    table_now = LastTable(key, manifest.epoch, manifest.edition, waiting, labels)
    return FoundInRows(member, found_edition, settled, table_now, not same, sealed)


def _in_turn(wanted: NDArray[np.int64], known: Known, random_bytes: Random) -> NDArray[np.int64]:
    """Those that were never found out first, then at random: else the same ones would wait each time."""
    drawn = np.frombuffer(random_bytes(8 * wanted.size), "<u8")
    return wanted[np.lexsort((drawn, known.edition[wanted] >= 0))]
