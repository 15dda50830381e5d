"""Editions of any size that nobody has to build: what a manifest states of N members, by the formulas.

One partition of N tokens. The lengths of files are what `directory.bounds` and `Layout` give. Two figures
depend on the tokens, and are those of a typical edition: how many values the largest row has, and the length
of a base, of which the middle one of all possible is taken: a twentieth of a percent off at most.
"""

from __future__ import annotations

import functools
import math

from contactsync.client.core.holdings import Holding, WholeKind
from contactsync.client.core.planner import Planner
from contactsync.client.privacy import load_modes
from contactsync.directory.bounds import DELTA_BYTES, has_screen, screen_length
from contactsync.directory.format import DataFile, DirectoryInfo, Layout, slot_bits_for
from contactsync.directory.value_sets import encoded_bytes
from contactsync.lookup import dpf
from contactsync.lookup.batch import Sharing, batch_sizes
from contactsync.lookup.rows import MAX_ROW_COUNT, ROW_SLOT_BITS
from contactsync.lookup.table import RowTable, usual_fold_bits
from contactsync.publication.manifest import DeltaFile, Manifest, Partition
from contactsync.publication.rows import PublishedRows

NAME = "49"
EDITION = 2
REMAINDER_BITS = 32
CHURN = 0.001
"""Of the members, so many joined since the edition before, and as many left."""


def a_file(what: str, length: int) -> DataFile:
    """A file that nobody reads: its length counts."""
    return DataFile(what.encode().hex().zfill(64)[-64:], length, "0" * 16)


@functools.cache
def directory(members: int) -> DirectoryInfo:
    """What a base of so many members is."""
    bits = slot_bits_for(members)
    lengths = Layout(members, bits, REMAINDER_BITS, 0).lengths
    middle = lengths[len(lengths) // 2]
    return DirectoryInfo(members, bits, REMAINDER_BITS, "0" * 64, a_file("base", middle))


@functools.cache
def largest_row(members: int) -> int:
    """How many values the largest row has, in the median edition.

    The least M that is not exceeded in half of them. A row has a Poisson-distributed number of values, as
    tokens are random.
    """
    rows = 1 << (slot_bits_for(members) - ROW_SLOT_BITS)
    mean = members / rows
    above = 0.0  # the chance of a row with more than `most`, summed from the far end
    for most in range(MAX_ROW_COUNT, 0, -1):
        above += math.exp((most + 1) * math.log(mean) - mean - math.lgamma(most + 2))
        if rows * above > math.log(2):
            return most + 1
    return 1


@functools.cache
def table(members: int) -> RowTable:
    """The table of an edition of so many members."""
    info = directory(members)
    return RowTable.of({NAME: info}, largest_row(members), None, usual_fold_bits([info.slot_bits]))


def edition(members: int, level: DataFile | None = None) -> Manifest:
    """The manifest of edition 2. By default with a level that nobody has."""
    info = directory(members)
    changed = max(1, round(members * CHURN))
    set_bytes = encoded_bytes(changed, info.slot_bits, REMAINDER_BITS)
    delta = DeltaFile(EDITION - 1, EDITION, a_file("delta", DELTA_BYTES + 2 * set_bytes))
    screen = a_file("screen", screen_length(members)) if has_screen(members) else None
    figures = (info.count, info.slot_bits, REMAINDER_BITS, info.top_sha256, info.file)
    partition = Partition(NAME, EDITION, *figures, (delta,), screen)
    shape = table(members)
    level = level or a_file("level", shape.level_bytes)
    rows = PublishedRows(level, largest_row(members), fold_bits=shape.fold_bits)
    return Manifest("people", 1, EDITION, bytes(32), 1, {NAME: partition}, None, rows=rows)


def planner(members: int, contacts: int, *, held: WholeKind | None = None) -> Planner:
    """What a sync of so many contacts plans by, with a second server.

    `held`: the file of the edition before that it has, a base or a screen; None at the first sync.
    """
    holdings = {}
    if held is not None:
        info = directory(members)
        whole = info.file if held == "base" else a_file("screen", screen_length(members))
        holdings = {(NAME, held): Holding(EDITION - 1, whole, info)}
    return Planner(edition(members), holdings, frozenset({NAME}), load_modes(), contacts=contacts)


def download(members: int, contacts: int, privacy: str, *, later: bool = False) -> int:
    """The octets that a client downloads, as `--max-download` counts them.

    `later`: it has what it fetched for the edition before, of which 0.2 % changed.
    """
    first = planner(members, contacts).plan(privacy, "all")
    if not (later and first.parts):
        return first.cost
    return planner(members, contacts, held=first.parts[0].kind).plan(privacy, "all").cost


def keys_octets(members: int, contacts: int) -> int:
    """The octets of the keys that a client sends to both servers."""
    bits = table(members).row_bits
    shared = [Sharing(size, bits) for size in batch_sizes(contacts, bits)]
    return sum(2 * one.sub_databases * dpf.key_length(one.position_bits) for one in shared)
