"""Small batches that wait at the same time and are worked on together, so that they fill the lanes.

Nobody waits for company: who is there when a thread is free goes along. Each batch keeps its own result, and
its own error.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

SMALL: Final = 64
"""Elements of a batch that goes along with others. Larger ones fill the lanes alone."""

Together = Callable[[Sequence[Any]], Sequence[Any]]
"""Takes what several callers gave, and returns the result or the exception of each."""


class Waiting(Protocol):
    """A future, of whatever kind, as far as it is looked at here."""

    def done(self) -> bool:
        """Whether nobody waits for it any more."""


@dataclass(eq=False, slots=True)
class Companion:
    """What one caller gave: `load` elements, and the future that the caller waits for.

    `account` is whom it is for, if it was admitted for somebody.
    """

    load: int
    given: Any = field(repr=False)
    future: Waiting
    account: Hashable = None


Deliver = Callable[[Sequence[tuple[Companion, Any]]], None]
"""Tells callers their results or exceptions, many at once. It is called in the thread that has them."""


class Company:
    """The queue of one kind of work. The evaluator's lock guards it."""

    def __init__(self, together: Together, deliver: Deliver) -> None:
        self._together = together
        self._deliver = deliver
        self._waiting: list[tuple[float, int, Companion]] = []
        self._arrivals = itertools.count()
        self._load = 0

    def join(self, one: Companion, turn: float = 0.0) -> None:
        """Queue behind those whose turn is not later."""
        heapq.heappush(self._waiting, (turn, next(self._arrivals), one))
        self._load += one.load

    def first(self) -> float | None:
        """The earliest turn of those who wait; None: nobody does."""
        return self._waiting[0][0] if self._waiting else None

    def take(self, limit: int, threads: int) -> list[Companion]:
        """Those at the head of the queue: the share of one of `threads`, of `limit` elements at most.

        None if others have taken them all.
        """
        share = min(limit, -(-self._load // threads))
        taken: list[Companion] = []
        load = 0
        while self._waiting and (not taken or load + self._waiting[0][2].load <= share):
            taken.append(heapq.heappop(self._waiting)[2])
            load += taken[-1].load
        self._load -= load
        return taken

    def work(self, taken: Sequence[Companion]) -> None:
        """Work on those who still wait, without the lock, and tell each the result."""
        some = [one for one in taken if not one.future.done()]
        if not some:
            return
        try:
            results = self._together([one.given for one in some])
        except BaseException as error:  # noqa: BLE001 - it belongs to those who wait
            results = [error] * len(some)
        self._deliver(list(zip(some, results, strict=True)))

    def end(self, error: BaseException) -> None:
        """Tell all who wait that there will be nothing."""
        some = [one for _, _, one in self._waiting]
        self._waiting.clear()
        self._load = 0
        if some:
            self._deliver([(one, error) for one in some])
