"""Charges points before they are evaluated. Requests that come together share a transaction."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from typing import Final

from contactsync.foundation.errors import OurError
from contactsync.server.admission import Overloaded
from contactsync.server.http.alarms import Alarms
from contactsync.server.http.problems import Problem
from contactsync.server.http.threads import WAITING, Threads
from contactsync.server.quota import PointQuota, Standing, Verdict, batch_name
from contactsync.server.settings import Settings
from contactsync.server.storage.ports import Account, AccountStore, Charge
from contactsync.serving.running import SAID_SECONDS

AT_ONCE: Final = 256
"""Charges of one transaction, so that none of them waits long for the others."""

_POLICY: Final = '"points"'

log = logging.getLogger("contactsync.server")


class StoreGuard:
    """Around what asks a store: if the store fails, the request ends in a 503, and the log says why."""

    def __init__(self) -> None:
        self._said = float("-inf")

    def problem(self, error: OurError) -> Problem:
        """What a request meets with. The log is not filled with it: one line stands for those that follow."""
        now = time.monotonic()
        if now >= self._said + SAID_SECONDS:
            self._said = now
            log.error("%s", error)
        return Problem(
            "store-unavailable",
            "the accounts are not available at the moment; nothing was charged or evaluated",
            "try again later",
            headers={"retry-after": "5"},
        )


class Charging:
    """The quotas, as the application sees them."""

    def __init__(self, accounts: AccountStore, settings: Settings, guard: StoreGuard) -> None:
        """Raises OurError."""
        self._accounts = accounts
        self._classes = settings.quotas
        self._breakers = settings.breakers
        self._guard = guard
        self._alarms = Alarms(settings.breakers)
        self._secret = accounts.secret()
        self._threads = Threads("charges", 1)
        self._writing = threading.Lock()
        self._waiting: list[tuple[Charge, asyncio.Future[Standing | None]]] = []
        self._task: asyncio.Task[None] | None = None

    def allowance(self, account: Account) -> PointQuota:
        """What an account may have evaluated."""
        return account.terms.allowance(account.audience, self._classes)

    def bill(self, account: Account, allowance: PointQuota, points: int, epoch: int, body: bytes) -> Charge:
        """What a batch of so many points costs an account."""
        full = points == allowance.largest_batch
        name = batch_name(self._secret, epoch, body)
        return Charge(account.id, points, name, allowance, epoch, full)

    async def charge(self, charge: Charge) -> Standing | None:
        """Charge a batch that can be evaluated; when this returns, the charge is on the disk.

        None: the account is gone. Raises OurError, Overloaded.
        """
        if len(self._waiting) >= WAITING:
            raise Overloaded
        future: asyncio.Future[Standing | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((charge, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    def charge_all(self, charges: Sequence[Charge]) -> Sequence[Standing | None]:
        """Charge these in one transaction, in the caller's thread. Raises OurError."""
        # SQLite would let a second writer of this process sleep for milliseconds.
        with self._writing:
            return self._accounts.charge(charges, self._breakers)

    async def check(self, points: int, allowance: PointQuota, standing: Standing) -> None:
        """Raise Problem if a charge was not let through."""
        if standing.outcome is Verdict.REFUSED:
            raise _out_of_quota(standing, allowance, points)
        if standing.outcome is Verdict.STOPPED:
            with contextlib.suppress(OurError, Overloaded):  # the log can wait
                await self.look()
            raise _paused(standing)

    async def standing(self, account: Account) -> Standing | None:
        """Where an account stands; None: it is gone. Raises Problem, Overloaded."""
        try:
            return await self._threads.run(self._accounts.standing, account.id, self.allowance(account))
        except OurError as error:
            raise self._guard.problem(error) from None

    async def look(self) -> None:
        """Log it if a breaker has come near its limit, has reached it, or is quiet again.

        Raises OurError, Overloaded.
        """
        self._alarms.look(await self._threads.run(self._accounts.flow))

    async def sweep(self) -> None:
        """Have the store forget what is over. Raises OurError, Overloaded."""
        await self._threads.run(self._accounts.sweep)

    def close(self) -> None:
        """End the thread."""
        self._threads.close()

    async def _run(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
                try:
                    charges = [charge for charge, _ in group]
                    standings = await self._threads.run(self.charge_all, charges)
                except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
                    _settle(group, error)
                else:
                    for (_, future), standing in zip(group, standings, strict=True):
                        if not future.done():
                            future.set_result(standing)
        finally:
            self._task = None


def _settle(group: list[tuple[Charge, asyncio.Future[Standing | None]]], error: Exception) -> None:
    for _, future in group:
        if not future.done():
            future.set_exception(error)


def fields(standing: Standing, allowance: PointQuota, seconds: int | None = None) -> dict[str, str]:
    """The RateLimit fields (draft-ietf-httpapi-ratelimit-headers); `seconds` is `t`, if not the usual one."""
    wait = standing.next_step(allowance) if seconds is None else seconds
    return {
        "ratelimit-policy": f"{_POLICY};q={allowance.burst};w={allowance.window}",
        "ratelimit": f"{_POLICY};r={standing.left(allowance)};t={wait}",
    }


def _paused(standing: Standing) -> Problem:
    return Problem(
        "paused",
        "too many points were evaluated for all callers together in the last hour; nothing was charged",
        "send the same batch again after the time given in Retry-After",
        headers={"retry-after": str(standing.retry)},
        retry_after=standing.retry,
    )


def _out_of_quota(standing: Standing, allowance: PointQuota, points: int) -> Problem:
    left, wait = standing.left(allowance), standing.wait(points, allowance)
    return Problem(
        "out-of-quota",
        f"{points} points are needed and {left} are left; {allowance.per_day} come back a day",
        "send the same batch again after the time given in Retry-After",
        headers={"retry-after": str(wait), **fields(standing, allowance, wait)},
        left=left,
        burst=allowance.burst,
        per_day=allowance.per_day,
        needed=points,
        retry_after=wait,
    )
