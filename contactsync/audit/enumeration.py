"""How long it takes to test the mobile numbers of a country under quotas (docs/threat-model.md).

`accounts` accounts use up all that they are let: the burst at once, `per_day` in the long run, and at each
rotation a grant as large as what they had evaluated in the epoch before, at most two in 365 days. Two circuit
breakers limit all accounts together, and all new ones together. `python -m bench crawl` lets crawlers do the
same to a real server; a test compares the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from contactsync.foundation.errors import BadInput
from contactsync.phones.mobile import MobileNumbers
from contactsync.server.breakers import Breakers
from contactsync.server.quota import PointQuota

MONTH: Final = 30.0
YEAR: Final = 365.0
GRANTS_A_YEAR: Final = 2
_NEVER: Final = 1000 * YEAR


@dataclass(frozen=True, slots=True)
class Enumeration:
    """Who tests what, under which limits. A limit of 0 points an hour is none."""

    region: str
    numbers: int
    accounts: int
    quota: PointQuota
    breakers: Breakers
    rotations: int = 0
    """Rotations a year; the crawl begins just after one."""

    def tested(self, days: float) -> int:
        """Numbers tested by then, at most all of them."""
        return min(self.numbers, int(min(self.accounts * self._one(days), self._together(days))))

    def days(self) -> float:
        """Days until all are tested; infinite if that takes more than a thousand years."""
        if self.numbers > self._reach(_NEVER):
            return math.inf
        low, high = 0.0, 1.0
        while self._reach(high) < self.numbers:
            high *= 2
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if self._reach(middle) < self.numbers else (low, middle)
        return high

    def accounts_within(self, days: float) -> int | None:
        """The fewest accounts that test all in so many days; None if the breakers let no number do that."""
        if self._together(days) < self.numbers:
            return None
        return math.ceil(self.numbers / self._one(days))

    def _reach(self, days: float) -> float:
        return min(self.accounts * self._one(days), self._together(days))

    def _one(self, days: float) -> float:
        """What one account may have evaluated by then."""
        total = float(self.quota.burst + self.quota.per_day * days)
        if not self.rotations:
            return total
        between = YEAR / self.rotations
        granted = before = 0.0
        last = [-math.inf] * GRANTS_A_YEAR  # when the latest grants were, in days
        for n in range(1, math.ceil(days / between)):
            at = n * between
            used = self.quota.burst + self.quota.per_day * at + granted
            if last[0] <= at - YEAR:
                last = [*last[1:], at]
                granted += used - before
            before = used
        return total + granted

    def _together(self, days: float) -> float:
        """What the breakers let through by then, one limit's worth at the beginning included."""
        everybody = self.breakers.all or math.inf
        new = min(self.breakers.new or math.inf, everybody)
        young = min(days, float(self.breakers.new_days))
        return new * (24 * young + 1) + (everybody * 24 * (days - young) if days > young else 0.0)


def enumeration(
    region: str, accounts: int, quota: PointQuota, breakers: Breakers, *, rotations: int = 0, digits: int = 0
) -> tuple[Enumeration, MobileNumbers]:
    """Of the mobile numbers of a region. Raises BadInput for an unknown region or length."""
    try:
        country = MobileNumbers(region, digits)
    except ValueError as error:
        raise BadInput(str(error), hint="choose another country, or --digits") from error
    return Enumeration(country.region, len(country), accounts, quota, breakers, rotations), country
