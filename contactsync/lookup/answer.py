"""Answers: what each client selected, for all sub-databases and several clients in one pass over the blocks.

docs/lookup.md, "DPF" ("The answer"). Needs no secret, and decides nothing by what was selected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import BadInput
from contactsync.foundation.hash_trees import HASH_BYTES
from contactsync.lookup.batch import GROUPS, STEPS, Sharing

Octets = NDArray[np.uint8]

_WORD = np.dtype(np.uint64).itemsize


@dataclass(frozen=True, slots=True)
class RowLayout:
    """How rows stand in a file of rows: in blocks of 2^fold_bits, of a table that has room for 2^row_bits.

    A block has the contents of its rows, each of `content_bytes`; for each height below fold_bits, the
    sibling of each of its nodes; and the path from the block on, of `path_bytes`. Sizes are multiples of 8.
    Raises BadInput.
    """

    row_bits: int
    fold_bits: int
    content_bytes: int
    path_bytes: int

    def __post_init__(self) -> None:
        """Refuse what a kernel could not read by words."""
        if min(self.content_bytes, self.path_bytes) < 0 or not 0 <= self.fold_bits <= self.row_bits:
            raise BadInput("no file of rows has such a layout")
        if self.content_bytes % _WORD or self.path_bytes % _WORD or not self.width:
            raise BadInput(f"rows of {self.width} octets are no whole words of {_WORD} octets")

    @property
    def block_rows(self) -> int:
        """Rows of a block."""
        return 1 << self.fold_bits

    @property
    def sibling_bytes(self) -> int:
        """Octets of all the siblings in a block."""
        return HASH_BYTES * (2 * self.block_rows - 2)

    @property
    def block_bytes(self) -> int:
        """Octets of a block."""
        return self.block_rows * self.content_bytes + self.sibling_bytes + self.path_bytes

    @property
    def width(self) -> int:
        """Octets of a record: a content and its whole path."""
        return self.content_bytes + HASH_BYTES * self.fold_bits + self.path_bytes


def answer(blocks: Octets, selections: Octets, size: int, layout: RowLayout, first: int = 0) -> Octets:
    """The XOR of the records that each client selected in each sub-database, in one pass over the blocks.

    `blocks`: uint8[n, block_bytes], those from number `first` on; one after another in memory, which may be a
    read-only map. `selections`: uint8[clients, 3 size / 2, 2^position_bits / 8] for a batch of `size`, as
    `dpf.expand` gives them. Gives uint8[clients, 3 size / 2, width]. The answers of parts of the blocks,
    XORed, are that of all.

    Masks instead of branches: time and addresses do not depend on `selections`. Releases the GIL. Raises
    BadInput.
    """
    sharing = Sharing(size, layout.row_bits, layout.fold_bits)
    words = _words_of(blocks, layout, first)
    _check_selections(selections, sharing)
    clients, width = len(selections), layout.width // _WORD
    answers = np.zeros((clients, sharing.sub_databases, layout.width), np.uint8)
    from contactsync.kernels import lanes, selecting  # noqa: PLC0415 - loads Numba

    bits = np.ascontiguousarray(selections).reshape(clients, selections.shape[1] * selections.shape[2])
    for some in range(0, clients, selecting.CLIENTS):
        together = bits[some : some + selecting.CLIENTS]
        # The clients' sums of a sub-database stand side by side: a block is added to all of them at once.
        sums = lanes.empty(sharing.sub_databases * len(together) * width)
        sums[:] = 0
        selecting.add_blocks(
            lanes.WIDTHS[8],
            lanes.WIDTHS[1],
            words,
            first,
            layout.block_bytes // _WORD,
            layout.content_bytes // _WORD,
            layout.row_bits - layout.fold_bits,
            layout.fold_bits,
            STEPS,
            together.reshape(-1),
            len(together),
            sharing.position_bits,
            sums,
            lanes.empty(GROUPS * len(together) << layout.fold_bits + 1),
        )
        by_client = sums.reshape(sharing.sub_databases, len(together), width).transpose(1, 0, 2)
        answers.view(np.uint64)[some : some + len(together)] = by_client
    return answers


def _words_of(blocks: Octets, layout: RowLayout, first: int) -> NDArray[np.uint64]:
    """The blocks as flat words, read-only: kernels do not check where they read, so all is checked here."""
    if blocks.dtype != np.uint8 or blocks.ndim != 2 or not blocks.flags.c_contiguous:
        raise BadInput("blocks are no uint8[n, block_bytes], one after another in memory")
    if blocks.shape[1] != layout.block_bytes or blocks.ctypes.data % _WORD:
        raise BadInput(f"blocks of {blocks.shape[1]} octets, not of {layout.block_bytes} in whole words")
    if not 0 <= first <= first + len(blocks) <= 1 << (layout.row_bits - layout.fold_bits):
        raise BadInput(f"{len(blocks)} blocks from {first} on, of 2^{layout.row_bits} rows")
    words = blocks.reshape(-1).view(np.uint64)
    words.flags.writeable = False  # so that kernels are compiled for one kind of array
    return words


def _check_selections(selections: Octets, sharing: Sharing) -> None:
    octets = (1 << sharing.position_bits) // 8
    if (
        selections.dtype != np.uint8
        or selections.ndim != 3
        or selections.shape[1:] != (sharing.sub_databases, octets)
    ):
        raise BadInput(
            f"selections are no uint8[clients, {sharing.sub_databases}, {octets}]",
            hint="expand one key for each sub-database, for as many rows as it has",
        )
