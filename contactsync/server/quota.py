"""How many points an account may have evaluated: a leaky bucket, in whole numbers.

A bucket holds `burst` points and leaks `per_day` of them a day, evenly. An account's *level* is what is in
its bucket. Levels are kept in parts of a point, of which there are as many as a day has milliseconds: so what
leaks in a millisecond is exactly `per_day` parts, and no rounding ever adds up.

Time is milliseconds since 1970, from a clock that is handed in. A bucket never leaks for the same time twice:
if the clock is set back it stands still until the clock is where it was; if it is set forward it is empty at
most.

When the key changes, a client must have all its contacts evaluated again. So the first charge of an account
in a newer epoch gives it a *grant*, as large as what it has had evaluated in the epoch before, and at most
twice in `GRANT_MS`. Points of a grant do not go into the bucket; those that are left when the next
epoch begins are gone.
"""

from __future__ import annotations

import enum
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from contactsync.foundation.limits import MAX_BATCH

DAY_MS: Final = 86_400_000
"""Milliseconds of a day, and parts of a point."""

REPEATABLE_MS: Final = DAY_MS
"""For so long the same batch again is free."""

STEP: Final = 8
"""Points of the least batch that our client sends: what `t` of the RateLimit field waits for."""

BURST: Final = 16_384
PER_DAY: Final = 256
MOST: Final = 10**9

DEFAULT_CLASS: Final = "default"

GRANT_MS: Final = 365 * DAY_MS
"""An account gets two grants in this time, and no more."""

NAME_BYTES: Final = 16
"""Octets of the name of a batch."""

Clock = Callable[[], int]
"""Milliseconds since 1970."""


def system_clock() -> int:
    """The machine's own clock."""
    return time.time_ns() // 1_000_000


def batch_name(secret: bytes, epoch: int, body: bytes) -> bytes:
    """What a batch is known by, so that a repeat is free: NAME_BYTES.

    A store keeps this, beside the account, and no part of the batch. `secret` is the store's own.
    """
    return hashlib.blake2b(epoch.to_bytes(8, "big") + body, digest_size=NAME_BYTES, key=secret).digest()


@dataclass(frozen=True, slots=True)
class PointQuota:
    """What an account may have evaluated: `burst` points at once, `per_day` a day in the long run."""

    burst: int = BURST
    per_day: int = PER_DAY

    @property
    def largest_batch(self) -> int:
        """Points of the largest batch that can ever pass."""
        return min(MAX_BATCH, self.burst)

    @property
    def window(self) -> int:
        """Seconds in which a full bucket runs empty."""
        return -(-self.burst * 86_400 // self.per_day)


@dataclass(frozen=True, slots=True)
class Terms:
    """What an operator has set for one account. What is empty follows the classes of server.toml."""

    quota_class: str = ""
    burst: int | None = None
    per_day: int | None = None

    def allowance(self, audience: str, classes: Mapping[str, PointQuota]) -> PointQuota:
        """Its own figures; else those of its class; of the class named as its audience; of `default`."""
        names = (self.quota_class, audience, DEFAULT_CLASS)
        found = next((classes[name] for name in names if name in classes), PointQuota())
        return PointQuota(self.burst or found.burst, self.per_day or found.per_day)


class Verdict(enum.IntEnum):
    """What became of a charge. Stores keep these figures."""

    REFUSED = 0
    CHARGED = 1
    REPEATED = 2
    STOPPED = 3  # by a breaker


@dataclass(frozen=True, slots=True)
class Standing:
    """The level of an account at `at`, as of `now`; that is earlier if the clock was set back.

    `granted` points are left of the grant for the last change of epoch; they do not weigh on the level.
    `retry` is after how many seconds a breaker that has `STOPPED` a charge lets it through.
    """

    level: int
    at: int
    now: int
    outcome: Verdict = Verdict.CHARGED
    granted: int = 0
    retry: int = 0

    def left(self, allowance: PointQuota) -> int:
        """Points that may be evaluated at once."""
        return max(0, allowance.burst * DAY_MS - self.level) // DAY_MS

    def wait(self, points: int, allowance: PointQuota) -> int:
        """Seconds, rounded up, until `points`, at most the burst, may be evaluated at once; 0: now.

        Without what is left of a grant, which may be for another epoch than what is asked for.
        """
        excess = self.level + points * DAY_MS - allowance.burst * DAY_MS
        if excess <= 0:
            return 0
        return -(-(-(-excess // allowance.per_day) + max(0, self.at - self.now)) // 1000)

    def next_step(self, allowance: PointQuota) -> int:
        """Seconds until `STEP` points more than now are left, or all; 0 if all are."""
        return self.wait(min(self.left(allowance) + STEP, allowance.burst), allowance)


def leaked(level: int, at: int, now: int, per_day: int, granted: int = 0) -> Standing:
    """The standing at `now` of a bucket whose level was `level` at `at`."""
    return Standing(max(0, level - max(0, now - at) * per_day), max(at, now), now, granted=granted)
