"""Batches: many look-ups at once, each in a small part of the rows. docs/lookup.md, "Batch".

A batch of k queries asks 3 k / 2 sub-databases, always all of them, one row each. Every row stands in three
of them, so that nearly always k rows find different ones (cuckoo hashing with three choices; SealPIR, S&P
2018).
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contactsync.foundation.errors import BadInput

GROUPS = 3
SIZES = (8, 64, 512)
MIN_POSITIONS = 8  # of a sub-database: a whole octet of selection bits
MAX_ROW_BITS = 26  # the largest directory (q = 32): no sub-database has more rows
MAX_FOLD_BITS = 6  # a partition has 64 rows at least, so that no block is of two
_TURNS = 3

Random = Callable[[int], bytes]
"""So many random octets."""


def _steps() -> NDArray[np.uint32]:
    """The constants of the permutations, uint32[3, 3, 2]: hashes of their names, multipliers made odd."""
    names = (f"contactsync place {group} {turn}" for group in range(GROUPS) for turn in range(_TURNS))
    octets = b"".join(hashlib.sha256(name.encode()).digest()[:8] for name in names)
    steps = np.frombuffer(octets, "<u4").reshape(GROUPS, _TURNS, 2).astype(np.uint32)
    steps[..., 0] |= np.uint32(1)
    return steps


STEPS = _steps()


@dataclass(frozen=True, slots=True)
class Sharing:
    """How 2^row_bits rows are shared among the sub-databases of a batch of `size` queries.

    Rows that differ in their last `fold_bits` bits alone are a block, and go together. Raises BadInput if
    there is no batch of this size, or so few rows that the whole directory takes less.
    """

    size: int
    row_bits: int
    fold_bits: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be shared."""
        if self.size not in SIZES:
            raise BadInput(
                f"there is no batch of {self.size} queries", hint="A batch is padded to 8, 64 or 512."
            )
        if not 0 <= self.row_bits <= MAX_ROW_BITS or 1 << self.row_bits < self.a_group * MIN_POSITIONS:
            raise BadInput(
                f"2^{self.row_bits} rows are not looked up in batches of {self.size} queries",
                hint="Download the directory: it is smaller than the answer of such a batch.",
            )
        if not 0 <= self.fold_bits <= min(MAX_FOLD_BITS, self.position_bits):
            raise BadInput(f"no blocks of 2^{self.fold_bits} rows are in parts of 2^{self.position_bits}")

    @property
    def a_group(self) -> int:
        """Sub-databases in a group: half the queries."""
        return self.size // 2

    @property
    def sub_databases(self) -> int:
        """All of them: 3 k / 2."""
        return GROUPS * self.a_group

    @property
    def position_bits(self) -> int:
        """A sub-database has 2^position_bits rows."""
        return self.row_bits - (self.a_group.bit_length() - 1)

    def place(self, rows: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """Sub-database and position of rows in each of the three groups, uint32[3, n] both.

        The sub-database is counted within its group.
        """
        number_bits, fold = self.row_bits - self.fold_bits, np.uint32(self.fold_bits)
        numbers, inside = rows >> fold, rows & np.uint32((1 << self.fold_bits) - 1)
        permuted = np.stack(
            [permute(numbers, number_bits, group) << fold | inside for group in range(GROUPS)]
        )
        return permuted >> np.uint32(self.position_bits), permuted & np.uint32((1 << self.position_bits) - 1)

    def rows_at(self, position: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The rows that stand at one position of each sub-database: uint32[3, k / 2] to the same shape."""
        high = np.arange(self.a_group, dtype=np.uint32) << np.uint32(self.position_bits)
        whole = high | position
        number_bits, fold = self.row_bits - self.fold_bits, np.uint32(self.fold_bits)
        inside = whole & np.uint32((1 << self.fold_bits) - 1)
        numbers = np.stack([_inverse(whole[group] >> fold, number_bits, group) for group in range(GROUPS)])
        return numbers << fold | inside


def sharings(row_bits: int, fold_bits: int = 0) -> tuple[Sharing, ...]:
    """Of all sizes of batches in which 2^row_bits rows are looked up, ascending."""
    found = []
    for size in SIZES:
        with contextlib.suppress(BadInput):  # too few rows for it, and for larger ones
            found.append(Sharing(size, row_bits, fold_bits))
    return tuple(found)


def permute(rows: NDArray[np.uint32], row_bits: int, group: int) -> NDArray[np.uint32]:
    """π_group of row numbers below 2^row_bits, uint32[n]. `kernels.placing` has it for kernels."""
    mask, half = np.uint32((1 << row_bits) - 1), np.uint32((row_bits + 1) // 2)
    x = rows
    for factor, term in STEPS[group]:
        x = (x * factor + term) & mask  # uint32 wraps, and 2^row_bits divides 2^32
        x = x ^ (x >> half)
    return x


def _inverse(numbers: NDArray[np.uint32], row_bits: int, group: int) -> NDArray[np.uint32]:
    """The rows whose permuted numbers these are."""
    mask, half = np.uint32((1 << row_bits) - 1), np.uint32((row_bits + 1) // 2)
    x = numbers
    for factor, term in STEPS[group][::-1]:
        x = x ^ (x >> half)  # half or more of the bits: its own inverse
        x = ((x - term) * np.uint32(pow(int(factor), -1, 1 << 32))) & mask
    return x


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """One batch: what is asked of each sub-database, and where the answers to which queries are.

    `position` uint32[3, k / 2] is asked; `row` uint32[3, k / 2] must come back, dummies included. `query`
    int64[a] are places in the caller's list, ascending, and `answer` int64[a] the places of their rows in the
    flattened arrays. Queries that are in no plan wait, and nobody sees it.
    """

    sharing: Sharing
    position: NDArray[np.uint32]
    row: NDArray[np.uint32]
    query: NDArray[np.int64]
    answer: NDArray[np.int64]


def batch_sizes(new: int, row_bits: int) -> tuple[int, ...]:
    """The batches for so many new queries: one of 8, 64 or 512, or 2^j of the largest. At least one of 8.

    There are only those that 2^row_bits rows can be shared among. It takes the count of queries that are
    *new*. What waits from earlier takes the room that is left, and never makes a batch larger: how much waits
    depends on which rows were wanted. Raises BadInput if there are too few rows for any batch.
    """
    usable = [size for size in SIZES if size // 2 * MIN_POSITIONS <= 1 << row_bits]
    if not usable:
        raise BadInput(
            f"2^{row_bits} rows are not looked up in batches", hint="Download the directory: it is small."
        )
    for size in usable:
        if new <= size:
            return (size,)
    batches = -(-new // usable[-1])
    return (usable[-1],) * (1 << (batches - 1).bit_length())


def plan_batches(
    wanted: NDArray[np.uint32],
    sizes: Sequence[int],
    row_bits: int,
    random_bytes: Random = secrets.token_bytes,
    *,
    fold_bits: int = 0,
) -> list[BatchPlan]:
    """Batches of these sizes for the wanted rows, uint32[n], the first ones first.

    What does not fit into one batch is the first of the next one. Sizes and shapes do not depend on the rows.
    Raises BadInput as `Sharing` does.
    """
    shared = [Sharing(size, row_bits, fold_bits) for size in sizes]
    waiting = np.arange(wanted.size)
    plans = []
    for sharing in shared:
        taken, rest = waiting[: sharing.sub_databases], waiting[sharing.sub_databases :]
        plan = plan_batch(wanted[taken], sharing, random_bytes)
        placed = np.isin(np.arange(taken.size), plan.query)
        waiting = np.concatenate([taken[~placed], rest])
        plans.append(BatchPlan(sharing, plan.position, plan.row, taken[plan.query], plan.answer))
    return plans


def plan_batch(
    wanted: NDArray[np.uint32], sharing: Sharing, random_bytes: Random = secrets.token_bytes
) -> BatchPlan:
    """One batch for up to 3 k / 2 wanted rows, uint32[n], of which the first have precedence.

    As many as possible are placed; k random rows nearly always all are. The same row wanted twice is asked
    once. All other sub-databases are asked for a uniformly random position.
    """
    if wanted.size > sharing.sub_databases:
        raise BadInput(
            f"{wanted.size} queries are too many for a batch of {sharing.size}", hint="Make several batches."
        )
    rows, first, again = np.unique(wanted, return_index=True, return_inverse=True)
    order = np.argsort(first)  # the caller's order decides who waits
    sub, position = sharing.place(rows[order])
    flat = sub.astype(np.int64) + sharing.a_group * np.arange(GROUPS)[:, None]
    at = np.empty(rows.size, np.int64)
    at[order] = _assign(flat.T.tolist(), sharing.sub_databases)

    asked = np.frombuffer(random_bytes(4 * sharing.sub_databases), "<u4").astype(np.uint32)
    asked &= np.uint32((1 << sharing.position_bits) - 1)
    own = np.empty((rows.size, GROUPS), np.uint32)
    own[order] = position.T
    placed = np.flatnonzero(at >= 0)
    asked[at[placed]] = own[placed, at[placed] // sharing.a_group]
    positions = asked.reshape(GROUPS, sharing.a_group)
    answer = at[again]
    query = np.flatnonzero(answer >= 0)
    return BatchPlan(sharing, positions, sharing.rows_at(positions), query, answer[query])


def _assign(choices: list[list[int]], places: int) -> list[int]:
    """A place for each item, one of its choices and nobody else's, or -1: as many as possible get one.

    Cuckoo insertion along a shortest path: breadth first, over the items that would have to move. An item
    that finds no path finds none later, and one that has a place keeps one, so the first ones have
    precedence. Each item looks at each place at most once.
    """
    held: list[int] = [-1] * places
    at = [-1] * len(choices)
    for item in range(len(choices)):
        mover: dict[int, int] = {}
        queue = [item]
        for moving in queue:  # grows while it is read
            free = _look(moving, choices[moving], held, mover, queue)
            if free >= 0:
                _move(free, item, mover, held, at)
                break
    return at


def _look(moving: int, choices: list[int], held: list[int], mover: dict[int, int], queue: list[int]) -> int:
    """A free one of an item's choices, or -1, with the items in its other choices queued."""
    for place in choices:
        if place not in mover:
            mover[place] = moving
            if held[place] < 0:
                return place
            queue.append(held[place])
    return -1


def _move(place: int, item: int, mover: dict[int, int], held: list[int], at: list[int]) -> None:
    """Move everybody along the path that ends at a free place and begins with the item."""
    while True:
        moving = mover[place]
        left = at[moving]
        held[place], at[moving] = moving, place
        if moving == item:
            return
        place = left
