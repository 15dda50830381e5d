"""The budget of an account, as the server states it: how many points may be evaluated now, and each day.

It comes with every evaluation (draft-ietf-httpapi-ratelimit-headers) and from `/v1/account`. The last one
seen is stored, so that `status` can show it without asking the server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeGuard

from contactsync.foundation import durable

DAY_SECONDS = 86_400
MOST = 1 << 53
"""Larger figures are ignored."""

_ITEM = re.compile(r'"points"((?:\s*;\s*[a-z]+=\d{1,16})+)')
_PARAMETER = re.compile(r"([a-z]+)=(\d+)")


@dataclass(frozen=True, slots=True)
class Quota:
    """`left` of `burst` points may be evaluated now; `per_day` are restored each day."""

    left: int
    burst: int
    per_day: int

    @classmethod
    def from_fields(cls, headers: Mapping[str, str]) -> Self | None:
        """The quota in RateLimit-Policy and RateLimit; None if they do not contain one."""
        policy, now = (_parameters(headers.get(name, "")) for name in ("RateLimit-Policy", "RateLimit"))
        if not policy.get("w") or "q" not in policy or "r" not in now:
            return None
        per_day = round(policy["q"] * DAY_SECONDS / policy["w"])
        return cls(min(now["r"], policy["q"]), policy["q"], per_day)

    @classmethod
    def from_json(cls, value: Any) -> Self | None:
        """The quota in an object with these three members; None if it is malformed."""
        if not isinstance(value, dict):
            return None
        left, burst, per_day = (value.get(name) for name in ("left", "burst", "per_day"))
        if not (_is_figure(left) and _is_figure(burst) and _is_figure(per_day)):
            return None
        return cls(left, burst, per_day)


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """What is known of an account: what the server said last, and what this client itself has used up.

    `most` has the largest figures that the server ever stated; `spent` are the points that this client sent
    and that have not come back since, at the time `at` (ISO 8601).
    """

    said: Quota
    most: Quota
    spent: float
    at: str

    def used(self, points: int, said: Quota | None) -> KnownAccount:
        """After so many points were sent, and the server said this."""
        said, now = said or self.said, datetime.now(UTC)
        most = Quota(0, max(self.most.burst, said.burst), max(self.most.per_day, said.per_day))
        days = max(0.0, (now - datetime.fromisoformat(self.at)).total_seconds() / DAY_SECONDS)
        spent = max(0.0, self.spent - days * most.per_day) + points
        return KnownAccount(said, most, spent, now.isoformat(timespec="seconds"))

    def covers(self, points: int) -> bool:
        """Whether so many padding points leave at least a quarter of the budget.

        A server that could switch them off by a figure would see who has nothing new. So it is believed only
        as far as what this client has sent itself explains how little is left.
        """
        burst = self.most.burst
        left = max(self.said.left, burst - self.spent)
        return burst < 4 * points or 4 * (left - points) >= burst


def new_account(said: Quota) -> KnownAccount:
    """Seen for the first time: this client has used up nothing yet."""
    return KnownAccount(said, said, 0.0, datetime.now(UTC).isoformat(timespec="seconds"))


def remember(path: Path, audience: str, account: KnownAccount) -> None:
    """Keep what is known of the account of an audience."""
    seen = {who: asdict(one) for who, one in recall(path).items()} | {audience: asdict(account)}
    durable.write(path, json.dumps({"version": 1, "audiences": seen}, indent=1).encode())


def recall(path: Path) -> dict[str, KnownAccount]:
    """What is known, by audience. Nothing where the file is damaged: the server says it again."""
    try:
        return {str(who): _account(one) for who, one in json.loads(path.read_bytes())["audiences"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return {}


def _account(value: Any) -> KnownAccount:
    said, most = Quota.from_json(value["said"]), Quota.from_json(value["most"])
    at = datetime.fromisoformat(value["at"])
    if said is None or most is None or at.tzinfo is None:
        raise ValueError("not a record of an account")
    return KnownAccount(said, most, float(value["spent"]), value["at"])


def _is_figure(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MOST


def _parameters(field: str) -> dict[str, int]:
    """The parameters of the item "points" in a structured field (RFC 9651); empty if it is missing."""
    item = _ITEM.search(field[:1000])
    return {name: int(value) for name, value in _PARAMETER.findall(item[1])} if item else {}
