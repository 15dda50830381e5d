"""Circuit breakers: how many points may be evaluated in an hour, whoever asks for them.

A quota limits one account. Somebody who gets any number of accounts has any number of quotas. So there are
two limits besides, over all accounts and over new ones, each on the last 60 minutes. When one is reached,
what would exceed it is refused, and nothing is charged; when minutes leave the hour, there is room again.
New accounts meet with both limits, so that a farm of them stops itself and not the users of longer standing.

Before a limit there is an alarm, for the log, the metrics and `server status`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from contactsync.server.quota import DAY_MS

MINUTE_MS: Final = 60_000
MINUTES: Final = 60
"""The length of the window, the current minute included."""

KEPT_MINUTES: Final = 24 * MINUTES
"""For so long a store keeps what was evaluated in each minute, so that an operator can choose the limits."""

Crowd = Literal["all", "new"]
"""Whose points are counted: those of all accounts, or of new ones."""

_UNLIMITED: Final = 1 << 62

_WHO: Final[dict[Crowd, str]] = {"all": "all accounts", "new": "new accounts"}

CROWDS: Final[tuple[Crowd, ...]] = ("all", "new")


class BreakerState(enum.IntEnum):
    """Of one breaker. The metrics show these figures."""

    QUIET = 0
    ALARM = 1
    STOPPED = 2


@dataclass(frozen=True, slots=True)
class Breakers:
    """The limits, in points an hour; 0: none. An account is new for `new_days` after it was added.

    The alarm is at `alarm_percent` of a limit.
    """

    all: int = 0
    new: int = 0
    new_days: int = 7
    alarm_percent: int = 50

    def limit(self, crowd: Crowd) -> int:
        """The limit of one crowd; 0: none."""
        return self.all if crowd == "all" else self.new

    def new_since(self, now: int) -> int:
        """Accounts that were added after this (seconds) are new at `now` (milliseconds)."""
        return (now - self.new_days * DAY_MS) // 1000

    def crowds(self, *, new: bool) -> tuple[Crowd, ...]:
        """The crowds that an account belongs to."""
        return CROWDS if new else ("all",)


OFF: Final = Breakers()


@dataclass(frozen=True, slots=True)
class Flow:
    """Points evaluated in each minute since 1970, of all accounts and of new ones, as of `now` (ms).

    A minute that is still to come counts for nothing: a clock that was set forward, and then back, left it.
    """

    now: int
    minutes: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    def hour(self, crowd: Crowd, until: int | None = None) -> int:
        """Points in the hour that ends with the minute `until`; None: this one."""
        last = self.now // MINUTE_MS if until is None else until
        place = CROWDS.index(crowd)
        return sum(
            points[place] for minute, points in self.minutes.items() if last - MINUTES < minute <= last
        )

    def of(self, minute: int, crowd: Crowd) -> int:
        """Points in one minute."""
        return self.minutes.get(minute, (0, 0))[CROWDS.index(crowd)]

    def most(self, crowd: Crowd) -> int:
        """Points in the hour that had most of them, among those that are kept."""
        this = self.now // MINUTE_MS
        return max((self.hour(crowd, minute) for minute in self.minutes if minute <= this), default=0)

    def state(self, crowd: Crowd, breakers: Breakers, asked: int = 1) -> BreakerState:
        """What a request for `asked` points meets with."""
        limit, hour = breakers.limit(crowd), self.hour(crowd)
        if not limit:
            return BreakerState.QUIET
        if hour + asked > limit:
            return BreakerState.STOPPED
        return BreakerState.ALARM if hour * 100 >= limit * breakers.alarm_percent else BreakerState.QUIET

    def room(self, crowd: Crowd, breakers: Breakers) -> int:
        """Points that are still free; more than anybody asks for where there is no limit."""
        limit = breakers.limit(crowd)
        return max(0, limit - self.hour(crowd)) if limit else _UNLIMITED

    def wait(self, points: int, breakers: Breakers, *, new: bool) -> int:
        """Seconds, rounded up, until so many points, or as many as a limit ever allows, are free."""
        return max(self._wait(points, crowd, breakers.limit(crowd)) for crowd in breakers.crowds(new=new))

    def _wait(self, points: int, crowd: Crowd, limit: int) -> int:
        excess = self.hour(crowd) + min(points, limit) - limit
        if not limit or excess <= 0:
            return 0
        this, place = self.now // MINUTE_MS, CROWDS.index(crowd)
        for minute in sorted(minute for minute in self.minutes if this - MINUTES < minute <= this):
            excess -= self.minutes[minute][place]
            if excess <= 0:
                return -(-((minute + MINUTES) * MINUTE_MS - self.now) // 1000)
        raise AssertionError("an empty hour has room")  # pragma: no cover

    def plus(self, points: int, *, new: bool) -> Flow:
        """After so many points more, in this minute."""
        minute = self.now // MINUTE_MS
        everybody, young = self.minutes.get(minute, (0, 0))
        return Flow(self.now, {**self.minutes, minute: (everybody + points, young + (points if new else 0))})


def sentence(crowd: Crowd, flow: Flow, breakers: Breakers) -> str:
    """How near one crowd is to its limit."""
    hour, limit = flow.hour(crowd), breakers.limit(crowd)
    return f"{_WHO[crowd]} together had {hour:,} points evaluated in the last hour; the limit is {limit:,}"
