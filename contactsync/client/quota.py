"""The budget of an account, as the server states it: points that may be evaluated now, and a day.

It comes with every evaluation (draft-ietf-httpapi-ratelimit-headers) and from `/v1/account`. What was seen
last is kept, so that `status` shows it without asking.
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
"""A figure beyond that is none."""

_ITEM = re.compile(r'"points"((?:\s*;\s*[a-z]+=\d{1,16})+)')
_PARAMETER = re.compile(r"([a-z]+)=(\d+)")


@dataclass(frozen=True, slots=True)
class Quota:
    """`left` of `burst` points may be evaluated now; `per_day` come back each day."""

    left: int
    burst: int
    per_day: int

    @classmethod
    def from_fields(cls, headers: Mapping[str, str]) -> Self | None:
        """From RateLimit-Policy and RateLimit; None if they do not say it."""
        policy, now = (_parameters(headers.get(name, "")) for name in ("RateLimit-Policy", "RateLimit"))
        if not policy.get("w") or "q" not in policy or "r" not in now:
            return None
        per_day = round(policy["q"] * DAY_SECONDS / policy["w"])
        return cls(min(now["r"], policy["q"]), policy["q"], per_day)

    @classmethod
    def from_json(cls, value: Any) -> Self | None:
        """From an object with these three members; None if it is none."""
        if not isinstance(value, dict):
            return None
        left, burst, per_day = (value.get(name) for name in ("left", "burst", "per_day"))
        if not (_is_figure(left) and _is_figure(burst) and _is_figure(per_day)):
            return None
        return cls(left, burst, per_day)

    def covers(self, points: int) -> bool:
        """Whether so many points of nobody leave at least a quarter of the budget."""
        return 4 * (self.left - points) >= self.burst


def remember(path: Path, audience: str, quota: Quota) -> None:
    """Keep what was seen last of an audience."""
    seen = {who: {**asdict(one), "at": at} for who, (one, at) in recall(path).items()}
    seen[audience] = {**asdict(quota), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    durable.write(path, json.dumps({"version": 1, "audiences": seen}, indent=1).encode())


def recall(path: Path) -> dict[str, tuple[Quota, str]]:
    """What was seen last, by audience, and when. Nothing where the file is damaged: it comes again."""
    try:
        audiences = json.loads(path.read_bytes())["audiences"].items()
        found = {str(who): (Quota.from_json(one), str(one["at"])) for who, one in audiences}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {who: (quota, at) for who, (quota, at) in found.items() if quota is not None}


def _is_figure(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MOST


def _parameters(field: str) -> dict[str, int]:
    """The parameters of the item "points" of a structured field (RFC 9651); none if it is not there."""
    item = _ITEM.search(field[:1000])
    return {name: int(value) for name, value in _PARAMETER.findall(item[1])} if item else {}
