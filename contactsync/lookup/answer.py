"""Answers: the XOR of the selected rows, for all sub-databases and several clients in one pass over the rows.

docs/lookup.md, "DPF" ("The answer"). Needs no secret, and decides nothing by what was selected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import BadInput
from contactsync.lookup.batch import GROUPS, MIN_POSITIONS

Octets = NDArray[np.uint8]

_LEAST_POSITION_BITS: Final = MIN_POSITIONS.bit_length() - 1
_ROWS_A_SUB_DATABASE: Final = 8
_LEAST_BLOCK: Final = 256
_MOST_BLOCK: Final = 2048


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Where rows stand, prepared for `answer`: made once for an edition and a size of batch, by `arrange`.

    `places`: uint32[3, rows]: in each group, sub-database and position as one number. `order`: uint16[3,
    rows]: the rows of each block of `block`, in the order of their places, as numbers within the block.
    Together they take 18 octets for each row. There are `a_group` sub-databases in a group.
    """

    places: NDArray[np.uint32]
    order: NDArray[np.uint16]
    block: int
    position_bits: int
    a_group: int


def arrange(places: NDArray[np.uint32], position_bits: int, a_group: int) -> Arrangement:
    """Prepare to answer over rows that stand at `places`, uint32[3, rows].

    A place is the number of a sub-database in its group, below `a_group`, times 2^position_bits, plus the
    position in it. The rows may be a part of all: the answers of the parts, XORed, are that of the whole.
    Raises BadInput.
    """
    if places.dtype != np.uint32 or places.ndim != 2 or len(places) != GROUPS:
        raise BadInput(f"places are no uint32[{GROUPS}, rows]")
    if not (_LEAST_POSITION_BITS <= position_bits <= 32 and 1 <= a_group <= 1 << (32 - position_bits)):
        raise BadInput(f"no sub-databases: {a_group} in a group, each of 2^{position_bits} rows")
    if places.max(initial=0) >= a_group << position_bits:
        raise BadInput(f"a row stands at place {places.max()}, in none of {a_group} sub-databases")
    # Rows of a block that stand in one sub-database are added together: the more rows, the more of them, but
    # the block is read once for each group and so has to stay in the cache.
    block = min(max(_ROWS_A_SUB_DATABASE * a_group, _LEAST_BLOCK), _MOST_BLOCK)
    places = np.array(places, order="C")
    order = np.empty(places.shape, np.uint16)
    for begin in range(0, places.shape[1], block):
        order[:, begin : begin + block] = np.argsort(places[:, begin : begin + block], axis=1, kind="stable")
    return Arrangement(places, order, block, position_bits, a_group)


def answer(rows: Octets, selections: Octets, arrangement: Arrangement) -> Octets:
    """The XOR of the rows that each client selected in each sub-database, of all in one pass over the rows.

    `rows`: uint8[rows, width], width a multiple of 8, of 32 is faster; one after another in memory, which may
    be a read-only map. `selections`: uint8[clients, sub-databases, 2^position_bits / 8], as `dpf.expand`
    gives them; sub-databases are counted through the groups. Gives uint8[clients, sub-databases, width].

    Masks instead of branches: time and addresses do not depend on `selections`. Releases the GIL. Raises
    BadInput.
    """
    words = _words_of(rows, arrangement)
    _check_selections(selections, arrangement)
    clients, width = len(selections), rows.shape[1]
    answers = np.zeros((clients, GROUPS * arrangement.a_group, width), np.uint8)
    from contactsync.kernels.selecting import CLIENTS  # noqa: PLC0415 - loads Numba

    bits = np.array(selections, order="C").reshape(clients, selections.shape[1] * selections.shape[2])
    for first in range(0, clients, CLIENTS):
        some = slice(first, first + CLIENTS)
        (_answer_one if len(bits[some]) == 1 else _answer_some)(
            words, bits[some], arrangement, width // 8, answers[some]
        )
    return answers


def _answer_one(
    rows: NDArray[np.uint64], bits: Octets, arrangement: Arrangement, words: int, answers: Octets
) -> None:
    from contactsync.kernels import lanes, selecting  # noqa: PLC0415 - loads Numba

    places, position_bits = arrangement.places.reshape(-1), arrangement.position_bits
    sums = answers.view(np.uint64).reshape(-1)
    wide, narrow = lanes.WIDTHS[8], lanes.WIDTHS[1]
    selecting.add_alone(wide, narrow, rows, places, bits.reshape(-1), position_bits, sums, words)


def _answer_some(
    rows: NDArray[np.uint64], bits: Octets, arrangement: Arrangement, words: int, answers: Octets
) -> None:
    from contactsync.kernels import lanes, selecting  # noqa: PLC0415 - loads Numba

    sliced = np.empty(8 * bits.shape[1], np.uint8)
    selecting.slice_clients(bits.reshape(-1), len(bits), sliced)
    # The clients' sums of a sub-database stand side by side: a few rows in the cache serve all of them.
    sums = np.zeros((answers.shape[1], len(bits), words), np.uint64)
    selecting.add_shared(
        lanes.WIDTHS[8],
        lanes.WIDTHS[1],
        rows,
        arrangement.places.reshape(-1),
        arrangement.order.reshape(-1),
        arrangement.block,
        sliced,
        arrangement.position_bits,
        sums.reshape(-1),
        len(bits),
        words,
    )
    answers.view(np.uint64)[:] = sums.transpose(1, 0, 2)


def _words_of(rows: Octets, arrangement: Arrangement) -> NDArray[np.uint64]:
    """The rows as flat words, read-only: kernels do not check where they read, so all is checked here."""
    if rows.dtype != np.uint8 or rows.ndim != 2 or not rows.flags.c_contiguous:
        raise BadInput("rows are no uint8[rows, width], one after another in memory")
    if len(rows) != arrangement.places.shape[1]:
        raise BadInput(f"{len(rows)} rows, and places for {arrangement.places.shape[1]}")
    if rows.shape[1] % 8 or rows.shape[1] == 0 or rows.ctypes.data % 8:
        raise BadInput(f"rows of {rows.shape[1]} octets are no whole words of 8 octets")
    words = rows.reshape(-1).view(np.uint64)
    words.flags.writeable = False  # so that kernels are compiled for one kind of array
    return words


def _check_selections(selections: Octets, arrangement: Arrangement) -> None:
    sub_databases, octets = GROUPS * arrangement.a_group, (1 << arrangement.position_bits) // 8
    if (
        selections.dtype != np.uint8
        or selections.ndim != 3
        or selections.shape[1:] != (sub_databases, octets)
    ):
        raise BadInput(
            f"selections are no uint8[clients, {sub_databases}, {octets}]",
            hint="expand one key for each sub-database, for as many rows as it has",
        )
