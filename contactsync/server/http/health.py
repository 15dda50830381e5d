"""Whether clients accept what is served: what `/v1/health` says, and the log when it changes.

The clients' own follower runs over the publication, from the oldest root and the newest, as often as
`LOOK_SECONDS` allow and whenever something was published. When the signatures expire is known from then on,
so that health turns bad in the second in which they do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from contactsync.foundation.errors import ContactSyncError
from contactsync.foundation.roles import ONLINE
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.rehearsal import check_served
from contactsync.publication.tuf.repository import Repository
from contactsync.server.checks import audiences_of, missing_files
from contactsync.server.http.problems import Problem, not_published
from contactsync.server.http.replaced import Replaced
from contactsync.server.http.served import Served
from contactsync.server.http.threads import Threads
from contactsync.server.settings import DataFolder

LOOK_SECONDS: Final = 5.0
"""Time for which the answer of the last look holds, unless something is published or expires."""

log = logging.getLogger("contactsync.server")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look found. `expires` is by role; `problem` is slug, detail and hint, if there is one."""

    stamp: object
    at: float
    expires: dict[str, datetime]
    problem: tuple[str, str, str] | None


class Health:
    """The health of one process."""

    def __init__(
        self, folder: DataFolder, served: Served, threads: Threads, *, now: Callable[[], datetime] = _now
    ) -> None:
        self._folder = folder
        self._repository = Repository(folder.public)
        self._served = served
        self._threads = threads
        self._now = now
        self._replaced = Replaced([folder.accounts])
        self._members = Replaced([folder.registry])
        self._last: _Look | None = None
        self._looking = asyncio.Lock()
        self._said = ""
        self.is_well: bool | None = None
        """What `watch` found last; None before that."""
        self._told_of_members = False

    async def check(self) -> None:
        """Raise the Problem that clients meet with, if there is one."""
        editions = await self._served.current()
        if self._replaced.look():
            raise Problem(
                "store-replaced",
                "accounts.sqlite is another file than the one that this process has opened",
                "restart `serve`: what it charges is lost",
            )
        for audience, epoch in editions.epochs():
            editions.key(audience, epoch)
        if not editions.manifests and self._repository.stamp() is None:
            raise not_published()
        look = await self._look(list(editions.manifests.values()))
        for role, end in look.expires.items():
            if end <= self._now():
                raise Problem(
                    "expired",
                    f"the {role} metadata expired at {end:%Y-%m-%d %H:%M:%S} UTC: clients refuse this server",
                    "look into the log of `serve`, or publish" if role in ONLINE else "publish",
                    role=role,
                )
        if look.problem is not None:
            raise Problem(*look.problem)

    async def watch(self) -> bool:
        """Log what has changed since it was last looked at; whether all is well."""
        said = ""
        try:
            await self.check()
        except Problem as problem:
            said = f"{problem.detail}: {problem.hint}" if problem.hint else problem.detail
        if said and said != self._said:
            log.error("clients cannot use this server: %s", said)
        elif self._said and not said:
            log.warning("clients can use this server again")
        self._said = said
        if self._members.look() and not self._told_of_members:
            self._told_of_members = True
            log.warning(
                "registry.sqlite was replaced while this process runs: `server status` says whether it"
                " belongs to what is published; restart `serve` when it does"
            )
        self.is_well = not said
        return not said

    async def _look(self, manifests: list[Manifest]) -> _Look:
        async with self._looking:
            last, stamp = self._last, self._repository.stamp()
            if last is None or last.stamp != stamp or time.monotonic() - last.at >= LOOK_SECONDS:
                last = self._last = await self._threads.run(self._examine, stamp, manifests)
            return last

    def _examine(self, stamp: object, manifests: list[Manifest]) -> _Look:
        expires: dict[str, datetime] = {}
        problem: tuple[str, str, str] | None = None
        try:
            expires = self._repository.expiries()
            # What has expired is said with its role; the follower would say no more than that.
            if all(end > self._now() for end in expires.values()):
                check_served(self._folder.public, audiences_of(self._repository), self._now())
        except (ContactSyncError, OSError, ValueError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            problem = ("unverifiable", f"clients refuse what is served: {text}", "publish again; see the log")
        lost = 0 if problem else sum(missing_files(self._folder, one) for one in manifests)
        if lost:
            detail = f"{lost} data files of the publication are missing or have the wrong length"
            problem = ("files-missing", detail, "publish, which makes them again")
        return _Look(stamp, time.monotonic(), expires, problem)
