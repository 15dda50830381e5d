"""Changes of the register, grouped: those that come at the same time share a transaction and its fsync.

Whoever waits for a change is told after it is on the disk. In a group each change is a part of its own: one
that cannot be made leaves no trace, and the others are made. Puts of single members that follow each other
are one statement to the store, as are deletes; so a group of 64 costs little more than a group of one.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Protocol

from contactsync.foundation.errors import BadInput, OurError
from contactsync.server.admin.editions import NextEditions
from contactsync.server.admin.problems import AdminProblem
from contactsync.server.evaluation import Overloaded
from contactsync.server.http.threads import WAITING, Threads
from contactsync.server.storage.ports import Members, MemberStore
from contactsync.server.storage.records import Added

IN_A_GROUP: Final = 512
"""Changes of one transaction, so that none of them waits long for the others."""

ERASE_WAIT: Final = 0.2
"""Seconds that changes wait while what was removed cannot be overwritten yet, because somebody reads."""

log = logging.getLogger("contactsync.admin")


class Fate(enum.Enum):
    """What became of a single change."""

    CHANGED = enum.auto()
    UNCHANGED = enum.auto()
    OBJECTED = enum.auto()

    @classmethod
    def of(cls, added: Added) -> Fate:
        """What became of all of them. Raises UnevenFate if it is not the same."""
        counts = {cls.CHANGED: added.new, cls.UNCHANGED: added.known, cls.OBJECTED: added.objected}
        fates = [fate for fate, count in counts.items() if count]
        if len(fates) != 1:
            raise UnevenFate
        return fates[0]


class UnevenFate(Exception):
    """Of several members some were changed and some were not: it takes asking one by one which."""


class Guard(Protocol):
    """What else belongs into the transaction of a single change."""

    def before(self, store: MemberStore) -> Any:
        """The result, if there is one already and nothing is to be changed; else None."""

    def after(self, store: MemberStore, fate: Fate) -> Any:
        """The result, now that the change is made."""


@dataclass(frozen=True, slots=True)
class Single:
    """Put one member into an audience, or take it out of one, or (None) of all.

    Its result is its Fate, or what the guard says.
    """

    put: bool
    kind: str
    key: Any
    audience: str | None
    guard: Guard | None = None

    def apply(self, store: MemberStore, keys: Sequence[Any]) -> Fate:
        """Do the same with these keys, ascending and distinct; what became of all. Raises UnevenFate."""
        members = Members.from_keys(self.kind, list(keys))
        if self.put:
            assert self.audience is not None
            return Fate.of(store.add(members, self.audience))
        removed = store.remove(members, self.audience)
        return Fate.of(Added(removed, len(keys) - removed, 0))


Work = Callable[[MemberStore], Any]
"""A change of any other kind; its result goes to whoever waits. BadInput and AdminProblem undo it alone."""


@dataclass(frozen=True, slots=True)
class Done:
    """A change that is on the disk: up to `serial`, and in these editions, if what is published is whole."""

    result: Any
    serial: int
    editions: dict[str, dict[str, int]]


_Waiting = tuple["Single | Work", "asyncio.Future[Done]"]


class Writer:
    """The one that changes the register. It takes the store, which no one else may use from then on."""

    def __init__(self, store: MemberStore, editions: NextEditions) -> None:
        self._store = store
        self._editions = editions
        self._threads = Threads("register", 1)
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def write(self, change: Single | Work) -> Done:
        """Make a change; when this returns it is on the disk.

        Raises what the change raises, OurError,
        Overloaded. If the caller is cancelled, the change may be made all the same.
        """
        return await self._submit(change)

    def send(self, change: Work) -> None:
        """Make a change without waiting for it. If it fails, nobody is told."""
        self._submit(change).add_done_callback(lambda future: future.cancelled() or future.exception())

    def _submit(self, change: Single | Work) -> asyncio.Future[Done]:
        if len(self._waiting) >= WAITING:
            raise Overloaded
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return future

    async def erase(self) -> str:
        """Overwrite what was removed, between two groups; "" if that is done, else why not.

        Raises OurError, Overloaded.
        """
        return await self._threads.run(lambda: self._store.erase(ERASE_WAIT))

    async def close(self) -> None:
        """Make what waits, and end the thread."""
        if self._task is not None:
            await self._task
        await self._threads.run(self._store.close)
        self._threads.close()

    async def _run(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:IN_A_GROUP], self._waiting[IN_A_GROUP:]
                try:
                    results, serial, editions = await self._threads.run(
                        self._commit, [change for change, _ in group]
                    )
                except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
                    results, serial, editions = [error] * len(group), 0, {}
                for (_, future), result in zip(group, results, strict=True):
                    if future.done():  # its caller was cancelled
                        continue
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(Done(result, serial, editions))
        finally:
            self._task = None

    def _commit(self, changes: Sequence[Single | Work]) -> tuple[list[Any], int, dict[str, dict[str, int]]]:
        results: list[Any] = []
        with self._store.grouped():
            for run in _runs(changes):
                results += self._make(run)
            serial = self._store.serial()
        # Only now, when it is on the disk: a publish that began before this has not seen it.
        try:
            return results, serial, self._editions.next()
        except (OurError, OSError) as error:
            log.error("what is published cannot be read: %s", error)  # noqa: TRY400
            return results, serial, {}

    def _make(self, run: Sequence[Single | Work]) -> list[Any]:
        """The result of each, or the exception that it meets with."""
        if len(run) > 1:
            try:
                with self._store.together():
                    return _make_as_one(self._store, [one for one in run if isinstance(one, Single)])
            except (UnevenFate, BadInput):
                pass
        return [self._make_one(change) for change in run]

    def _make_one(self, change: Single | Work) -> Any:
        try:
            with self._store.together():
                if isinstance(change, Single):
                    return _make_as_one(self._store, [change])[0]
                return change(self._store)
        except (BadInput, AdminProblem) as error:
            return error


def _runs(changes: Sequence[Single | Work]) -> Iterator[Sequence[Single | Work]]:
    """Changes that can be made as one, in their order: single ones of a sort, each of another member."""
    for sort, some in groupby(changes, _sort):
        run: list[Single | Work] = []
        seen: set[Any] = set()
        for change in some:
            key = change.key if isinstance(change, Single) else None
            if run and (sort is None or key in seen):
                yield run
                run, seen = [], set()
            run.append(change)
            seen.add(key)
        yield run


def _sort(change: Single | Work) -> tuple[Any, ...] | None:
    return (change.put, change.kind, change.audience) if isinstance(change, Single) else None


def _make_as_one(store: MemberStore, run: Sequence[Single]) -> list[Any]:
    """The result of each. Raises UnevenFate, BadInput."""
    results = [_before(store, single.guard) for single in run]
    keys = sorted(single.key for single, found in zip(run, results, strict=True) if found is None)
    if keys:
        fate = run[0].apply(store, keys)
        for place, single in enumerate(run):
            if results[place] is None:
                results[place] = fate if single.guard is None else single.guard.after(store, fate)
    return results


def _before(store: MemberStore, guard: Guard | None) -> Any:
    try:
        return None if guard is None else guard.before(store)
    except AdminProblem as problem:
        return problem
