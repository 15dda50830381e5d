"""Changes of the register, grouped: those that come at the same time share a transaction and its fsync.

Whoever waits for a change is told after it is on the disk. In a group each change is a part of its own: one
that cannot be made leaves no trace, and the others are made. Puts of single members that follow each other
are one statement to the store, as are deletes; so a group of 64 costs little more than a group of one.
"""

from __future__ import annotations

import asyncio
import enum
import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Protocol

from contactsync.foundation.errors import BadInput, OurError
from contactsync.server.admin.editions import NextEditions
from contactsync.server.admin.problems import AdminProblem
from contactsync.server.admission import Overloaded
from contactsync.server.http.threads import WAITING, Threads
from contactsync.server.quota import Clock
from contactsync.server.storage.answers import KeptAnswer
from contactsync.server.storage.ports import Members, MemberStore
from contactsync.server.storage.records import Added

IN_A_GROUP: Final = 512
"""Changes of one transaction, so that none of them waits long for the others."""

TOLD_SECONDS: Final = 0.05
"""So long the editions of a group wait for the next group, to be kept with it."""

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


Editions = dict[str, dict[str, int]]
"""By audience, `epoch` and `edition`."""


class CommitGroup:
    """Changes that reach the disk together. In which editions they are is known only then.

    So an answer that is kept has the name of its group; what is kept under that name, soon after, are the
    editions.
    """

    __slots__ = ("_name",)

    def __init__(self) -> None:
        self._name = b""

    @property
    def name(self) -> bytes:
        """16 octets, drawn when they are asked for."""
        self._name = self._name or secrets.token_bytes(16)
        return self._name

    def told(self, editions: Editions, now: int) -> dict[bytes, KeptAnswer]:
        """What is to be kept, by its name; nothing if nobody asked for the name."""
        kept = KeptAnswer(b"", json.dumps(editions).encode(), now)
        return {self._name: kept} if self._name else {}


def editions_of(store: MemberStore, group: bytes) -> Editions | None:
    """In which editions a group was said to be; None if that was lost, or not said."""
    kept = store.answers().find([group]).get(group)
    if kept is None or kept.answer is None:
        return None
    editions: Editions = json.loads(kept.answer)
    return editions


class Guard(Protocol):
    """The answer to a single change, which is kept in its transaction under a name."""

    @property
    def name(self) -> bytes:
        """Under which it is kept."""

    def before(self, store: MemberStore, kept: KeptAnswer | None) -> Any:
        """The result, if what is kept has it already and nothing is to be changed; else None.

        Raises AdminProblem.
        """

    def after(self, fate: Fate, serial: int, group: CommitGroup) -> tuple[Any, KeptAnswer]:
        """The result, now that the change is made, and what is to be kept of it."""


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
    editions: Editions


_Waiting = tuple["Single | Work", "asyncio.Future[Done]"]


class Writer:
    """The one that changes the register. It takes the store, which no one else may use from then on."""

    def __init__(self, store: MemberStore, editions: NextEditions, clock: Clock) -> None:
        self._store = store
        self._editions = editions
        self._clock = clock
        self._threads = Threads("register", 1)
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None
        self._told: dict[bytes, KeptAnswer] = {}
        self.group = CommitGroup()
        """Of the changes that are being made, for them to ask."""

    async def write(self, change: Single | Work) -> Done:
        """Make a change; when this returns it is on the disk.

        Raises what the change raises, OurError,
        Overloaded. If the caller is cancelled, the change may be made all the same.
        """
        return await self._submit(change)

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
        while self._task is not None or self._told:
            self._tell()
            if self._task is not None:
                await self._task
        await self._threads.run(self._store.close)
        self._threads.close()

    async def _run(self) -> None:
        try:
            while True:
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
                if not self._waiting:
                    break
        finally:
            self._task = None
        if self._told:
            asyncio.get_running_loop().call_later(TOLD_SECONDS, self._tell)

    def _tell(self) -> None:
        """Keep what no other change has taken along."""
        if self._told and self._task is None:
            self._task = asyncio.create_task(self._run())

    def _commit(self, changes: Sequence[Single | Work]) -> tuple[list[Any], int, Editions]:
        results: list[Any] = []
        told, self._told, self.group = self._told, {}, CommitGroup()
        with self._store.grouped():
            if told:
                self._store.answers().keep(told)
            for run in _runs(changes):
                results += self._make(run)
            serial = self._store.serial()
        # Only now, when it is on the disk: a publish that began before this has not seen it.
        try:
            editions = self._editions.next()
        except (OurError, OSError) as error:
            log.error("what is published cannot be read: %s", error)  # noqa: TRY400
            return results, serial, {}
        self._told = self.group.told(editions, self._clock())
        return results, serial, editions

    def _make(self, run: Sequence[Single | Work]) -> list[Any]:
        """The result of each, or the exception that it meets with."""
        if len(run) > 1:
            try:
                with self._store.together():
                    return self._make_as_one([one for one in run if isinstance(one, Single)])
            except (UnevenFate, BadInput):
                pass
        return [self._make_one(change) for change in run]

    def _make_one(self, change: Single | Work) -> Any:
        try:
            with self._store.together():
                if isinstance(change, Single):
                    return self._make_as_one([change])[0]
                return change(self._store)
        except (BadInput, AdminProblem) as error:
            return error

    def _make_as_one(self, run: Sequence[Single]) -> list[Any]:
        """The result of each. Raises UnevenFate, BadInput."""
        guards = [one.guard for one in run]
        answers = self._store.answers()
        names = [guard.name for guard in guards if guard is not None]
        found = answers.find(names) if names else {}
        results = [_before(self._store, guard, found) for guard in guards]
        todo = [place for place, result in enumerate(results) if result is None]
        if todo:
            fate = run[0].apply(self._store, sorted(run[place].key for place in todo))
            serial = self._store.serial() if names else 0
            kept: dict[bytes, KeptAnswer] = {}
            for place in todo:
                guard = guards[place]
                if guard is None:
                    results[place] = fate
                else:
                    results[place], kept[guard.name] = guard.after(fate, serial, self.group)
            if kept:
                answers.keep(kept)
        return results


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


def _before(store: MemberStore, guard: Guard | None, found: Mapping[bytes, KeptAnswer]) -> Any:
    try:
        return None if guard is None else guard.before(store, found.get(guard.name))
    except AdminProblem as problem:
        return problem
