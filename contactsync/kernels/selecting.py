"""XOR of selected rows into the records of clients, reading each block of rows from memory once.

A block stands in one sub-database of each of three groups, and each client has a sum for each sub-database:
the record that it selected there. Constant time in the selections: what is not selected is read, masked and
added like what is. Which block stands where is public, and decides what is executed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from contactsync.kernels.bits import prefetch
from contactsync.kernels.lanes import LINE_BYTES, WORD_BYTES, Words, load, row_width, splat, store
from contactsync.kernels.placing import permuted
from contactsync.kernels.policy import inlined, kernel

Octets = NDArray[np.uint8]

_GROUPS = 3
HASH_WORDS = 32 // WORD_BYTES
CLIENTS = 8
"""Clients of one pass: so many have their sums of a block in the nearest cache."""

_RUN = 16
"""Contents that are added to one sum after another: they stay in the nearest cache with their masks."""
_LINE_WORDS = LINE_BYTES // WORD_BYTES
_ZERO, _ONE = np.uint64(0), np.uint64(1)


@kernel
def add_blocks(
    wide: Any,
    narrow: Any,
    blocks: Words,
    first: int,
    block_words: int,
    content_words: int,
    number_bits: int,
    fold_bits: int,
    steps: NDArray[np.uint32],
    bits: Octets,
    clients: int,
    position_bits: int,
    sums: Words,
    masks: Words,
) -> None:
    """The records that each client selected in each sub-database, added to its sums.

    `wide`, `narrow`: WIDTHS[8] and WIDTHS[1]. `blocks`: of 2^number_bits those from `first` on, one after
    another, each of `block_words` words: 2^fold_bits contents of `content_words`; for each height below
    fold_bits, what is beside each node of the block; the path from the block on. `steps`: `batch.STEPS`.
    `bits`: of each client, of each place in each group, the lowest of an octet first. `sums`: of each
    sub-database of each group, a record a client. `masks`: uint64[clients * _GROUPS << fold_bits + 1], for
    the kernel.
    """
    rows = 1 << fold_bits
    path_words = block_words - rows * content_words - HASH_WORDS * (2 * rows - 2)
    words = content_words + HASH_WORDS * fold_bits + path_words
    a_group, a_client = sums.size // _GROUPS, bits.size // clients
    later = _places(first, number_bits, fold_bits, steps)
    for block in range(blocks.size // block_words):
        places, later = later, _places(first + block + 1, number_bits, fold_bits, steps)
        _fetch(bits, a_client, clients, sums, words, later, position_bits)
        for group in range(_GROUPS):
            for client in range(clients):
                place = client * a_client * 8 + group * (a_client // _GROUPS) * 8 + places[group]
                _select(bits, place, fold_bits, masks, (client * _GROUPS + group) * 2 * rows)
        totals = (
            (places[0] >> position_bits) * clients * words,
            (places[1] >> position_bits) * clients * words + a_group,
            (places[2] >> position_bits) * clients * words + 2 * a_group,
        )
        at = block * block_words
        if clients == 1:
            # A row alone has its path behind it: they are one.
            each = content_words if fold_bits else words
            for row in range(rows):
                _add_row(wide, narrow, blocks, at + row * each, each, masks, row, rows, sums, totals)
            if not fold_bits:
                continue
        else:
            for run in range(0, rows, _RUN):
                some = (at + run * content_words, content_words, min(_RUN, rows), run)
                _add(wide, narrow, blocks, some, masks, rows, sums, totals, words, clients)
        at += rows * content_words
        node, to = 0, content_words
        for height in range(fold_bits + 1):
            many = rows >> height
            each = HASH_WORDS if height < fold_bits else path_words
            where = (totals[0] + to, totals[1] + to, totals[2] + to)
            _add(wide, narrow, blocks, (at, each, many, node), masks, rows, sums, where, words, clients)
            at += many * each
            node += many
            to += each


@inlined
def _places(block: int, number_bits: int, fold_bits: int, steps: NDArray[np.uint32]) -> Any:
    """Where a block stands in each of the groups."""
    return (
        permuted(block, number_bits, steps, 0) << fold_bits,
        permuted(block, number_bits, steps, 1) << fold_bits,
        permuted(block, number_bits, steps, 2) << fold_bits,
    )


@inlined
def _fetch(
    bits: Octets, a_client: int, clients: int, sums: Words, words: int, places: Any, position_bits: int
) -> None:
    """Prefetch bits and sums of the next block. They are more than a cache has, and anywhere.

    The blocks themselves follow one another: the CPU sees that, and is slower if it is told.
    """
    for group in range(_GROUPS):
        for client in range(clients):
            prefetch(bits, client * a_client + group * (a_client // _GROUPS) + (places[group] >> 3))
        start = group * (sums.size // _GROUPS) + (places[group] >> position_bits) * clients * words
        # The sums of one client follow soon enough once the first line is asked for.
        until = start + (clients * words if clients > 1 else 1)
        for line in range(start, until, _LINE_WORDS):
            prefetch(sums, line)


@inlined
def _select(bits: Octets, first: int, fold_bits: int, masks: Words, own: int) -> None:
    """Masks of what one client selected of a block in one group: of its rows, then of the nodes above them.

    A node is selected if an odd number of the rows below it are. So it is at just one of two servers if what
    is asked for is below it, and else at both or none.
    """
    word, octets = _ZERO, ((1 << fold_bits) + 7) >> 3
    for octet in range(octets):
        word |= np.uint64(bits[np.uint64((first >> 3) + octet)]) << np.uint64(8 * octet)
    word >>= np.uint64(first & 7)
    at = np.uint64(own)
    for height in range(fold_bits + 1):
        step, nodes = np.uint64(1 << height), np.uint64(1 << (fold_bits - height))
        for node in range(nodes):
            masks[at + node] = _ZERO - ((word >> (node * step)) & _ONE)
        word ^= word >> step
        at += nodes


@inlined
def _add_row(
    wide: Any,
    narrow: Any,
    blocks: Words,
    at: int,
    each: int,
    masks: Words,
    row: int,
    rows: int,
    sums: Words,
    totals: Any,
) -> None:
    """One content to the one client's sums in three groups."""
    chosen = (masks[np.uint64(row)], masks[np.uint64(row + 2 * rows)], masks[np.uint64(row + 4 * rows)])
    i = 0
    while i + 8 <= each:
        _add_to_three(wide, blocks, at, sums, totals, chosen, i)
        i += 8
    if i + 4 <= each:
        _add_to_three(row_width(narrow), blocks, at, sums, totals, chosen, i)
        i += 4
    while i < each:
        _add_to_three(narrow, blocks, at, sums, totals, chosen, i)
        i += 1


@inlined
def _add_to_three(width: Any, blocks: Words, at: int, sums: Words, totals: Any, masks: Any, i: int) -> None:
    """A vector of one content, masked, to each of three sums."""
    content = load(width, blocks, at + i)
    a, b, c = totals
    mask_a, mask_b, mask_c = masks
    store(sums, a + i, load(width, sums, a + i) ^ (content & splat(width, mask_a)))
    store(sums, b + i, load(width, sums, b + i) ^ (content & splat(width, mask_b)))
    store(sums, c + i, load(width, sums, c + i) ^ (content & splat(width, mask_c)))


@inlined
def _add(
    wide: Any,
    narrow: Any,
    blocks: Words,
    some: Any,
    masks: Words,
    rows: int,
    sums: Words,
    totals: Any,
    words: int,
    clients: int,
) -> None:
    """Some contents, or what is beside the nodes of a height, to each client's sums in three groups.

    Column by column, so that a sum is in registers while all of them are added.
    """
    at, each, many, first = some
    for client in range(clients):
        for group in range(_GROUPS):
            chosen = (client * _GROUPS + group) * 2 * rows + first
            total = totals[group] + client * words
            i = 0
            while i + 32 <= each:
                _add_four(wide, blocks, at + i, each, many, masks, chosen, sums, total + i)
                i += 32
            if i + 16 <= each:
                _add_two(wide, blocks, at + i, each, many, masks, chosen, sums, total + i)
                i += 16
            if i + 8 <= each:
                _add_column(wide, blocks, at + i, each, many, masks, chosen, sums, total + i)
                i += 8
            if i + 4 <= each:
                _add_column(row_width(narrow), blocks, at + i, each, many, masks, chosen, sums, total + i)
                i += 4
            while i < each:
                _add_column(narrow, blocks, at + i, each, many, masks, chosen, sums, total + i)
                i += 1


@inlined
def _add_two(
    wide: Any,
    blocks: Words,
    at: int,
    each: int,
    many: int,
    masks: Words,
    chosen: int,
    sums: Words,
    total: int,
) -> None:
    """Two vectors of each of `many`, so that a mask serves twice."""
    low, high = load(wide, sums, total), load(wide, sums, total + 8)
    for i in range(many):
        mask = splat(wide, masks[np.uint64(chosen + i)])
        low = low ^ (load(wide, blocks, at + i * each) & mask)
        high = high ^ (load(wide, blocks, at + i * each + 8) & mask)
    store(sums, total, low)
    store(sums, total + 8, high)


@inlined
def _add_four(
    wide: Any,
    blocks: Words,
    at: int,
    each: int,
    many: int,
    masks: Words,
    chosen: int,
    sums: Words,
    total: int,
) -> None:
    """Four vectors of each of `many`, so that a mask serves four times."""
    a, b = load(wide, sums, total), load(wide, sums, total + 8)
    c, d = load(wide, sums, total + 16), load(wide, sums, total + 24)
    for i in range(many):
        mask = splat(wide, masks[np.uint64(chosen + i)])
        a = a ^ (load(wide, blocks, at + i * each) & mask)
        b = b ^ (load(wide, blocks, at + i * each + 8) & mask)
        c = c ^ (load(wide, blocks, at + i * each + 16) & mask)
        d = d ^ (load(wide, blocks, at + i * each + 24) & mask)
    store(sums, total, a)
    store(sums, total + 8, b)
    store(sums, total + 16, c)
    store(sums, total + 24, d)


@inlined
def _add_column(
    width: Any,
    blocks: Words,
    at: int,
    each: int,
    many: int,
    masks: Words,
    chosen: int,
    sums: Words,
    total: int,
) -> None:
    """A vector of each of `many`."""
    total_of = load(width, sums, total)
    for i in range(many):
        total_of = total_of ^ (
            load(width, blocks, at + i * each) & splat(width, masks[np.uint64(chosen + i)])
        )
    store(sums, total, total_of)
