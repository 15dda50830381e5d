"""The routes of publishing. A publish takes from a second to minutes, so it is a resource of its own.

It is begun by a POST, which is answered at once (202), and asked for until it has ended. `Prefer: wait=N`
(RFC 7240) has the answer wait for the end, for up to N seconds. Only one runs at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from contactsync.foundation.errors import ContactSyncError, NotCleanedUp
from contactsync.server.admin.calls import AdminAnswer, Call
from contactsync.server.admin.idempotency import Repeats
from contactsync.server.admin.problems import AdminProblem
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.merge import Outcome
from contactsync.server.publishing.publisher import Publisher
from contactsync.server.settings import Busy, DataFolder
from contactsync.server.storage.ports import MemberStore

REMEMBERED: Final = 100
"""Publishes that have ended and can still be asked for."""

LONGEST_WAIT: Final = 60
"""Seconds that a request waits for the end of a publish."""

_WAIT: Final = re.compile(rb"(?:^|,)\s*wait=([0-9]{1,6})\s*(?:$|[,;])")

log = logging.getLogger("contactsync.admin")


@dataclass(slots=True)
class PublishRun:
    """One publish. `serial`: it publishes every change up to that one, and perhaps later ones."""

    id: str
    new_epoch: bool
    expunge: bool
    begun: datetime
    serial: int | None = None
    ended: datetime | None = None
    state: str = "running"
    progress: tuple[str, int, int] = ("waiting", 0, 0)
    outcomes: list[Outcome] = field(default_factory=list)
    problem: dict[str, Any] | None = None
    files_taken_out: int = 0
    erased: bool | None = None

    def members(self) -> dict[str, Any]:
        """As it is told."""
        stage, done, total = self.progress
        return {
            "id": self.id,
            "state": self.state,
            "new_epoch": self.new_epoch,
            "expunge": self.expunge,
            "serial": self.serial,
            "begun": self.begun.isoformat(),
            "ended": None if self.ended is None else self.ended.isoformat(),
            "progress": {"stage": stage, "done": done, "total": total},
            "audiences": [
                {
                    **dataclasses.asdict(outcome),
                    "changed": None if outcome.changed is None else list(outcome.changed),
                }
                for outcome in self.outcomes
            ],
            "files_taken_out": self.files_taken_out,
            "registry_erased": self.erased,
            "problem": self.problem,
        }


class PublishingRoutes:
    """`/v1/publications/…`."""

    def __init__(
        self,
        folder: DataFolder,
        open_store: Callable[[], contextlib.AbstractContextManager[MemberStore]],
        keyring: Keyring,
        repeats: Repeats,
    ) -> None:
        self._folder = folder
        self._open_store = open_store
        self._keyring = keyring
        self._repeats = repeats
        self._runs: dict[str, tuple[PublishRun, asyncio.Event]] = {}
        self._thread: threading.Thread | None = None

    async def begin(self, call: Call) -> AdminAnswer:
        """Begin to publish."""
        call.query()
        body = await call.fields("new_epoch", "expunge")
        new_epoch, expunge = body.flag("new_epoch"), body.flag("expunge")
        body.finish()

        async def work() -> AdminAnswer:
            return await self._begin(new_epoch=new_epoch, expunge=expunge)

        answer = await self._repeats.elsewhere(call, work)
        return await self._awaited(call, answer)

    async def show(self, call: Call) -> AdminAnswer:
        """One publish."""
        call.query()
        if call.segments[2] not in self._runs:
            raise AdminProblem(
                "not-found",
                "this process knows no such publish",
                "see /v1/status for what is published; a publish that was interrupted can be begun again",
            )
        run, _ = self._runs[call.segments[2]]
        return await self._awaited(call, AdminAnswer(200, run.members()))

    async def list(self, call: Call) -> AdminAnswer:
        """All that are remembered, the newest first."""
        call.query()
        runs = [run.members() for run, _ in reversed(self._runs.values())]
        return AdminAnswer(200, {"publications": runs})

    def close(self) -> None:
        """Wait for one that runs: it switches, or it fails, and nothing is left half done."""
        if self._thread is not None:
            self._thread.join()

    async def _begin(self, *, new_epoch: bool, expunge: bool) -> AdminAnswer:
        newest = next(reversed(self._runs.values()), None)
        if newest is not None and newest[0].ended is None:
            raise AdminProblem(
                "publish-running",
                "another publish is running",
                "wait until it ends: its resource is named by `location`",
                headers={"retry-after": "1"},
                location=_place(newest[0]),
            )
        run = PublishRun(secrets.token_hex(8), new_epoch, expunge, datetime.now(UTC))
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        self._runs[run.id] = run, ended
        if len(self._runs) > REMEMBERED:
            del self._runs[next(iter(self._runs))]

        def work() -> None:
            self._publish(run)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended.set)

        self._thread = threading.Thread(target=work, name="publish")
        self._thread.start()
        return AdminAnswer(202, run.members(), _place(run))

    async def _awaited(self, call: Call, answer: AdminAnswer) -> AdminAnswer:
        """The answer, later, if the caller prefers to wait and the publish is known here."""
        found = _WAIT.search(call.headers.get(b"prefer", b""))
        run, ended = self._runs.get((answer.members or {})["id"], (None, None))
        if found is None or run is None or ended is None:
            return answer
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(int(found[1]), LONGEST_WAIT)):
                await ended.wait()
        if run.ended is None:
            return answer._replace(members=run.members())
        return AdminAnswer(200, run.members())

    def _publish(self, run: PublishRun) -> None:
        def progress(stage: str, done: int, total: int) -> None:
            run.progress = stage, done, total

        try:
            with self._open_store() as store:
                run.serial = store.serial()
                publisher = Publisher(self._folder, store, self._keyring, progress)
                try:
                    run.outcomes = publisher.publish(new_epoch=run.new_epoch, expunge=run.expunge)
                finally:
                    run.files_taken_out = publisher.taken_out
                run.erased = not publisher.remains
            run.state = "done"
        except NotCleanedUp as error:
            run.outcomes = [one for one in error.outcomes if isinstance(one, Outcome)]
            run.problem = AdminProblem("not-cleaned-up", str(error), error.hint).document()
            run.state = "done"
        except ContactSyncError as error:
            slug = "publish-running" if isinstance(error, Busy) else "store-unavailable"
            run.problem = AdminProblem(slug, str(error), error.hint).document()
            run.state = "failed"
        except BaseException as error:  # noqa: BLE001 - whoever asks is told; the text could hold anything
            log.error("a publish failed: %s", type(error).__name__)  # noqa: TRY400
            run.problem = AdminProblem("internal", "the publish failed", "see the log").document()
            run.state = "failed"
        run.ended = datetime.now(UTC)


def _place(run: PublishRun) -> str:
    return f"/v1/publications/{run.id}"
