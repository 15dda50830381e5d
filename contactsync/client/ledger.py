"""The ledger: what bucket lists have told a server over all syncs, and the secret that chooses decoys.

```
STATE/ledger/NAME.json   0600, NAME as of the server's folder
  version, url, decoy_secret (hex),
  told: [{audience, partition, lists, log2_odds, first, last}]   days as YYYY-MM-DD
```

It outlives epochs, editions and `forget`: what a server has seen it does not forget either. It holds nothing
of the address book but the calling codes of which lists were sent.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from contactsync.foundation import durable
from contactsync.foundation.errors import OurError
from contactsync.foundation.migrations import RecordStep, migrate_record, newest

DECOY_SECRET_BYTES = 32
LEDGER_STEPS: tuple[RecordStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What all lists for one partition have told: each multiplied the odds of a guess by 2^(its bits)."""

    audience: str
    partition: str
    lists: int
    log2_odds: float
    first: str
    last: str

    @property
    def odds(self) -> float:
        """By how much the odds of a right guess of a contact are multiplied, over all lists."""
        return float(2.0 ** min(self.log2_odds, 1000.0))


class Ledger:
    """The ledger of one server. One process at a time may change it."""

    def __init__(self, path: Path, url: str, decoy_secret: bytes, told: Iterable[Told]) -> None:
        self.decoy_secret = decoy_secret
        self._path = path
        self._url = url
        self._told = {(one.audience, one.partition): one for one in told}

    @classmethod
    def open(cls, path: Path, url: str) -> Ledger:
        """The ledger at `path`; a new one if there is none. Raises OurError if it is damaged."""
        try:
            record = migrate_record(json.loads(path.read_bytes()), f"the ledger of {url}", LEDGER_STEPS)
            told = [_told(value) for value in record["told"]]
            secret = bytes.fromhex(record["decoy_secret"])
            if record["url"] != url or len(secret) != DECOY_SECRET_BYTES:
                raise _damaged(path)
        except FileNotFoundError:
            return cls(path, url, secrets.token_bytes(DECOY_SECRET_BYTES), ())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(path) from error
        return cls(path, url, secret, told)

    @property
    def told(self) -> list[Told]:
        """What was told, by audience and partition."""
        return [self._told[key] for key in sorted(self._told)]

    def odds(self, audience: str) -> dict[str, float]:
        """The odds so far, by partition."""
        return {partition: one.odds for (who, partition), one in self._told.items() if who == audience}

    def record(self, audience: str, partition: str, *, fetched: int, total: int) -> None:
        """A list is about to be sent: `fetched` of `total` buckets. It is on the disk when this returns."""
        bits, today = math.log2(total / fetched), _today().isoformat()
        before = self._told.get((audience, partition)) or Told(audience, partition, 0, 0.0, today, today)
        self._told[audience, partition] = replace(
            before, lists=before.lists + 1, log2_odds=before.log2_odds + bits, last=today
        )
        self.save()

    def save(self) -> None:
        """Write it, durably."""
        record = {
            "version": newest(LEDGER_STEPS),
            "url": self._url,
            "decoy_secret": self.decoy_secret.hex(),
            "told": [asdict(one) for one in self.told],
        }
        durable.private_folder(self._path.parent)
        durable.write(self._path, json.dumps(record, indent=1).encode())


def _told(value: Any) -> Told:
    """One entry. Raises ValueError, TypeError if it is none."""
    one = Told(**value)
    kinds = (str, str, int, float, str, str)
    if tuple(map(type, asdict(one).values())) != kinds or one.lists < 1 or not 0 <= one.log2_odds < math.inf:
        raise ValueError("not an entry of a ledger")
    return one


def _today() -> date:
    return datetime.now(UTC).date()


def _damaged(path: Path) -> OurError:
    return OurError(
        f"the ledger of what was told, {path}, is damaged",
        hint="restore it from a backup; without one, `contactsync forget --everything` begins a new one,"
        " and what lists have told so far is then not counted any more",
    )
