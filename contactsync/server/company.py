"""Small batches that wait at the same time and are worked on together, so that they fill the lanes.

Nobody waits for company: who is there when a thread is free goes along. Each batch keeps its own result, and
its own error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, Final

SMALL: Final = 64
"""Elements of a batch that goes along with others. Larger ones fill the lanes alone."""

Together = Callable[[Sequence[Any]], Sequence[Any]]
"""Takes what several callers gave, and returns the result or the exception of each."""


@dataclass(eq=False, slots=True)
class Companion:
    """What one caller gave: `load` elements. All of one `tag` are for the same `together`."""

    tag: bytes
    together: Together
    load: int
    given: Any = field(repr=False)
    future: Future[Any] = field(default_factory=Future)

    def abandon(self) -> None:
        """Cancel the future, unless it is done."""
        if not self.future.cancel() and not self.future.done():
            self.future.set_exception(CancelledError())


class Company:
    """Queues, one for each tag. The caller's lock guards them."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, deque[Companion]] = {}

    def join(self, one: Companion) -> None:
        """Queue behind those of the same tag."""
        self._waiting.setdefault(one.tag, deque()).append(one)

    def take(self, tag: bytes, limit: int, threads: int) -> list[Companion]:
        """Those at the head of a queue: the share of one of `threads`, `limit` elements at most.

        None if others have taken them all.
        """
        queue = self._waiting.get(tag, deque())
        share = min(limit, -(-sum(one.load for one in queue) // threads))
        taken: list[Companion] = []
        while queue and (not taken or sum(one.load for one in taken) + queue[0].load <= share):
            taken.append(queue.popleft())
        if not queue:
            self._waiting.pop(tag, None)
        return taken

    def clear(self) -> None:
        """Forget all that wait."""
        self._waiting.clear()


def work(some: Sequence[Companion]) -> None:
    """Work on those of one tag who still wait, and tell each the result."""
    some = [one for one in some if one.future.set_running_or_notify_cancel()]
    if not some:
        return
    try:
        results = some[0].together([one.given for one in some])
    except BaseException as error:  # noqa: BLE001 - it belongs to those who wait for the futures
        results = [error] * len(some)
    for one, result in zip(some, results, strict=True):
        if isinstance(result, BaseException):
            one.future.set_exception(result)
        else:
            one.future.set_result(result)
