"""Who may wait. What cannot wait is refused before its body is read.

An account may have as much waiting as there is room left for others (dynamic thresholds: A. Choudhury and
E. Hahne, IEEE/ACM Transactions on Networking 6, 1998): one that asks for all it can get takes half of the
room, two of them a third each, and there is always room for the next.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

SHARES: Final = 2
"""Rooms for one account that all of them have together: one alone gets just one."""

WHOLE: Final = 512
"""Points of a batch that counts as one. Larger ones count no more: they are worked on in slices."""

_LEAST: Final = 16
"""No batch counts for fewer points: its proof costs as much as some."""


class Overloaded(Exception):
    """Too many jobs are waiting already."""


def weight(points: int) -> float:
    """How much of the room, or of a slice, a batch takes: a multiple of 1 / `WHOLE`, so sums are exact."""
    return min(max(points, _LEAST), WHOLE) / WHOLE


class Admission:
    """The room of one process, for one thread; in batches, unless `weigh` says how much what enters takes.

    What is entered must leave.
    """

    def __init__(self, room: float, weigh: Callable[[int], float] = weight) -> None:
        self._room = room
        self._weigh = weigh
        self._taken = 0.0
        self._of: dict[Hashable, float] = {}

    def is_full(self) -> bool:
        """Whether there is no room for anybody."""
        return self._taken >= self._room

    def check(self, account: Hashable) -> None:
        """Raise Overloaded if no batch of this account may wait."""
        if self._of.get(account, 0.0) >= self._room - self._taken:
            raise Overloaded

    def enter(self, account: Hashable, points: int) -> None:
        """Let a batch wait. Raises Overloaded."""
        self.check(account)
        taken = self._weigh(points)
        self._of[account] = self._of.get(account, 0.0) + taken
        self._taken += taken

    def leave(self, account: Hashable, points: int) -> None:
        """A batch that had entered has its answer, or nobody waits for it any more."""
        taken = self._weigh(points)
        self._taken -= taken
        left = self._of[account] - taken
        if left:
            self._of[account] = left
        else:
            del self._of[account]
