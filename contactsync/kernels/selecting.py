"""XOR of selected rows into many sums, reading each row from memory once.

A row stands in one sub-database of each of three groups, and each client has a sum for each sub-database: the
XOR of the rows that it selected there. Constant time in the selections: a row that is not selected is read,
masked and added like one that is. Which row stands where is public, and decides what is executed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contactsync.kernels.bits import prefetch
from contactsync.kernels.lanes import LINE_BYTES, WORD_BYTES, Words, load, row_width, splat, store
from contactsync.kernels.policy import inlined, kernel

Octets = NDArray[np.uint8]
CLIENTS = 8
"""Clients in one pass of `add_shared`: a bit each of an octet."""

_LINE_WORDS = LINE_BYTES // WORD_BYTES
_ROWS_AHEAD = 8
_BITS_AHEAD = 48
_ZERO, _ONE = np.uint64(0), np.uint64(1)


@kernel
def add_alone(
    wide: Any,
    narrow: Any,
    rows: Words,
    places: NDArray[np.uint32],
    bits: Octets,
    position_bits: int,
    sums: Words,
    words: int,
) -> None:
    """The rows that one client selected, added to its sums, in the order in which they are stored.

    `wide`, `narrow`: WIDTHS[8] and WIDTHS[1]. `rows`: n of `words` words. `places`: uint32[3 * n], each a
    sub-database and `position_bits` bits of position. `bits`: of each place in each group, the lowest of an
    octet first. `sums`: `words` words for each sub-database of each group.
    """
    n, group_bits, group_sums = places.size // 3, bits.size // 3, sums.size // 3
    for row in range(n):
        _fetch_bits(bits, places, row + _ROWS_AHEAD)
        a, b, c = np.int64(places[row]), np.int64(places[n + row]), np.int64(places[2 * n + row])
        mask_a = _ZERO - np.uint64((bits[a >> 3] >> (a & 7)) & 1)
        mask_b = _ZERO - np.uint64((bits[group_bits + (b >> 3)] >> (b & 7)) & 1)
        mask_c = _ZERO - np.uint64((bits[2 * group_bits + (c >> 3)] >> (c & 7)) & 1)
        at, masks = row * words, (mask_a, mask_b, mask_c)
        totals = (
            (a >> position_bits) * words,
            (b >> position_bits) * words + group_sums,
            (c >> position_bits) * words + 2 * group_sums,
        )
        i = 0
        while i + 8 <= words:
            _add_to_three(wide, rows, at, sums, totals, masks, i)
            i += 8
        if i + 4 <= words:
            _add_to_three(row_width(narrow), rows, at, sums, totals, masks, i)
            i += 4
        while i < words:
            _add_to_three(narrow, rows, at, sums, totals, masks, i)
            i += 1


@inlined
def _fetch_bits(bits: Octets, places: NDArray[np.uint32], row: int) -> None:
    """Prefetch the bits of a later row: of many rows, they are more than a cache has."""
    n, group_bits = places.size // 3, bits.size // 3
    if row < n:
        for group in range(3):
            prefetch(bits, group * group_bits + (places[group * n + row] >> 3))


@inlined
def _add_to_three(width: Any, rows: Words, at: int, sums: Words, totals: Any, masks: Any, i: int) -> None:
    """A vector of one row, masked, to each of three sums."""
    row = load(width, rows, at + i)
    a, b, c = totals
    mask_a, mask_b, mask_c = masks
    store(sums, a + i, load(width, sums, a + i) ^ (row & splat(width, mask_a)))
    store(sums, b + i, load(width, sums, b + i) ^ (row & splat(width, mask_b)))
    store(sums, c + i, load(width, sums, c + i) ^ (row & splat(width, mask_c)))


@kernel
def slice_clients(bits: Octets, clients: int, sliced: Octets) -> None:
    """uint8[clients * n] -> uint8[8 * n]: bit c of octet i is bit i of client c, counted from the lowest."""
    n = bits.size // clients
    for i in range(n):
        square = _ZERO
        for c in range(clients):
            square |= np.uint64(bits[c * n + i]) << np.uint64(8 * c)
        # H. S. Warren, Hacker's Delight, §7-3: an 8 x 8 matrix of bits, transposed by three exchanges.
        for shift, mask in ((7, 0x00AA_00AA_00AA_00AA), (14, 0x0000_CCCC_0000_CCCC), (28, 0xF0F0_F0F0)):
            t = (square ^ (square >> np.uint64(shift))) & np.uint64(mask)
            square ^= t ^ (t << np.uint64(shift))
        for b in range(8):
            sliced[8 * i + b] = np.uint8((square >> np.uint64(8 * b)) & np.uint64(255))


@kernel
def add_shared(
    wide: Any,
    narrow: Any,
    rows: Words,
    places: NDArray[np.uint32],
    order: NDArray[np.uint16],
    block: int,
    sliced: Octets,
    position_bits: int,
    sums: Words,
    clients: int,
    words: int,
) -> None:
    """The rows that several clients selected, added to their sums, up to four of a sub-database at a time.

    `rows`, `places`, `position_bits`, `words` are as in `add_alone`. `order`: uint16[3 * n]: of each block of
    `block` rows, where in it they stand, in the order of their places. `sliced`: of each place in each group,
    an octet whose bit c is client c's. `sums`: of each sub-database of each group, `words` words a client.
    """
    n, group_bits, group_sums = places.size // 3, sliced.size // 3, sums.size // 3
    for begin in range(0, n, block):
        end = min(begin + block, n)
        for group in range(3):
            # Of this block and group alone: what `order` has are indices into them.
            own_places = places[group * n + begin : group * n + end]
            own_order = order[group * n + begin : group * n + end]
            own_bits = sliced[group * group_bits : (group + 1) * group_bits]
            at = 0
            while at < end - begin:
                sub = own_places[own_order[at]] >> position_bits
                count = _run(own_places, own_order, at, sub, position_bits)
                _fetch(rows, begin, own_places, own_order, at, count, words, own_bits)
                four = _four(own_places, own_order, at, count, own_bits, begin, words)
                total = group * group_sums + sub * clients * words
                for client in range(clients):
                    _add_to_one(wide, narrow, rows, four, sums, total + client * words, words, client)
                at += count


@inlined
def _run(places: Any, order: Any, at: int, sub: int, position_bits: int) -> int:
    """How many rows from `at` on are of one sub-database: 1 to 4."""
    count = 1
    while count < 4 and at + count < order.size and places[order[at + count]] >> position_bits == sub:
        count += 1
    return count


@inlined
def _fetch(
    rows: Words, begin: int, places: Any, order: Any, at: int, count: int, words: int, bits: Any
) -> None:
    """Prefetch what a later run will read: rows, and, as they are farther away, bits."""
    for ahead in range(at + _ROWS_AHEAD, min(at + _ROWS_AHEAD + count, order.size)):
        start = (begin + order[ahead]) * words
        for line in range(start, start + words, _LINE_WORDS):
            prefetch(rows, line)
    for ahead in range(at + _BITS_AHEAD, min(at + _BITS_AHEAD + count, order.size)):
        prefetch(bits, places[order[ahead]])


@inlined
def _four(places: Any, order: Any, at: int, count: int, bits: Any, begin: int, words: int) -> Any:
    """Where four rows are, and who selected them. From `count` on the first stands in, for nobody."""
    one = np.int64(order[at])
    two = np.int64(order[at + 1 if count > 1 else at])
    three = np.int64(order[at + 2 if count > 2 else at])
    four = np.int64(order[at + 3 if count > 3 else at])
    return (
        (begin + one) * words,
        (begin + two) * words,
        (begin + three) * words,
        (begin + four) * words,
        np.uint64(bits[places[one]]),
        np.uint64(bits[places[two]]) if count > 1 else _ZERO,
        np.uint64(bits[places[three]]) if count > 2 else _ZERO,
        np.uint64(bits[places[four]]) if count > 3 else _ZERO,
    )


@inlined
def _add_to_one(
    wide: Any, narrow: Any, rows: Words, four: Any, sums: Words, total: int, words: int, client: int
) -> None:
    """Four rows, each under its mask, to the sum of one client."""
    a, b, c, d, for_a, for_b, for_c, for_d = four
    bit = np.uint64(client)
    masks = (
        _ZERO - ((for_a >> bit) & _ONE),
        _ZERO - ((for_b >> bit) & _ONE),
        _ZERO - ((for_c >> bit) & _ONE),
        _ZERO - ((for_d >> bit) & _ONE),
    )
    i = 0
    while i + 8 <= words:
        _add_four(wide, sums, total + i, rows, a + i, b + i, c + i, d + i, masks)
        i += 8
    if i + 4 <= words:
        _add_four(row_width(narrow), sums, total + i, rows, a + i, b + i, c + i, d + i, masks)
        i += 4
    while i < words:
        _add_four(narrow, sums, total + i, rows, a + i, b + i, c + i, d + i, masks)
        i += 1


@inlined
def _add_four(
    width: Any, sums: Words, total: int, rows: Words, a: int, b: int, c: int, d: int, masks: Any
) -> None:
    """A vector of them: the sum is read and written once for four rows."""
    mask_a, mask_b, mask_c, mask_d = masks
    ab = (load(width, rows, a) & splat(width, mask_a)) ^ (load(width, rows, b) & splat(width, mask_b))
    cd = (load(width, rows, c) & splat(width, mask_c)) ^ (load(width, rows, d) & splat(width, mask_d))
    store(sums, total, load(width, sums, total) ^ ab ^ cd)
