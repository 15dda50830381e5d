"""The ledger: what bucket lists have told a server over all syncs, and the secret that chooses decoys.

```
STATE/ledger/NAME.json   0600, NAME as of the server's folder
  version, url, decoy_secret (hex),
  told: [{audience, partition, lists, log2_odds, first, last}]   days as YYYY-MM-DD
  asked: [{audience, partition, epoch, slot_bits, edition, seed (hex), numbers}]   not answered yet
```

It outlives epochs, editions and `forget`: the server does not forget what it has seen either. Of the address
book it contains only the calling codes that lists were sent for.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from contactsync.client.core.mode import AskedList
from contactsync.foundation import durable
from contactsync.foundation.errors import OurError
from contactsync.foundation.migrations import RecordStep, migrate_record, newest

DECOY_SECRET_BYTES = 32
LEDGER_STEPS: tuple[RecordStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What all lists for one partition have told: a list of b bits multiplied the odds of a guess by 2^b."""

    audience: str
    partition: str
    lists: int
    log2_odds: float
    first: str
    last: str

    @property
    def odds(self) -> float:
        """By how much all lists together multiply the odds of guessing a contact."""
        return float(2.0 ** min(self.log2_odds, 1000.0))


class Ledger:
    """The ledger of one server. One process at a time may change it."""

    def __init__(
        self,
        path: Path,
        url: str,
        decoy_secret: bytes,
        told: Iterable[Told] = (),
        asked: Mapping[tuple[str, str], AskedList] | None = None,
    ) -> None:
        self.decoy_secret = decoy_secret
        self._path = path
        self.url = url
        self._told = {(one.audience, one.partition): one for one in told}
        self._asked = dict(asked or {})

    @classmethod
    def open(cls, path: Path, url: str) -> Ledger:
        """The ledger at `path`; a new one if there is none. Raises OurError if it is damaged."""
        try:
            ledger = cls.read(path)
        except FileNotFoundError:
            return cls(path, url, secrets.token_bytes(DECOY_SECRET_BYTES))
        if ledger.url != url:
            raise _damaged(path)
        return ledger

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """The ledger at `path`, whichever server it is of. Raises OurError if it is damaged, OSError."""
        data = path.read_bytes()
        try:
            record = migrate_record(json.loads(data), f"the ledger {path}", LEDGER_STEPS)
            told = [_told(value) for value in record["told"]]
            asked = dict(_asked(value) for value in record.get("asked", []))
            url, secret = record["url"], bytes.fromhex(record["decoy_secret"])
            if not isinstance(url, str) or len(secret) != DECOY_SECRET_BYTES:
                raise _damaged(path)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(path) from error
        return cls(path, url, secret, told, asked)

    @property
    def told(self) -> list[Told]:
        """What was told, by audience and partition."""
        return [self._told[key] for key in sorted(self._told)]

    def odds(self) -> dict[str, float]:
        """The odds so far, by partition: over all audiences, for they are asked about the same people."""
        bits: dict[str, float] = {}
        for (_, partition), one in self._told.items():
            bits[partition] = bits.get(partition, 0.0) + one.log2_odds
        return {partition: float(2.0 ** min(total, 1000.0)) for partition, total in bits.items()}

    def asked(self, audience: str, epoch: int) -> dict[str, AskedList]:
        """The lists of an epoch that were sent and not answered, by partition."""
        return {
            partition: one
            for (who, partition), one in self._asked.items()
            if who == audience and one.epoch == epoch
        }

    def record(self, audience: str, partition: str, asked: AskedList, *, total: int) -> None:
        """A list of some of `total` buckets is about to be sent. It is on the disk when this returns.

        The very list that was not answered is not counted again: it tells nothing new.
        """
        if self._asked.get((audience, partition)) == asked:
            return
        bits, today = math.log2(total / len(asked.numbers)), _today().isoformat()
        before = self._told.get((audience, partition)) or Told(audience, partition, 0, 0.0, today, today)
        self._told[audience, partition] = replace(
            before, lists=before.lists + 1, log2_odds=before.log2_odds + bits, last=today
        )
        self._asked[audience, partition] = asked
        self.save()

    def adopt(self, asked: Mapping[tuple[str, str], AskedList]) -> None:
        """Take over lists that an earlier version kept in the cache."""
        self._asked = {**asked, **self._asked}
        self.save()

    def promoted(self, audience: str, epoch: int, editions: Mapping[str, int]) -> None:
        """An announced epoch is in force, and these editions of its partitions are edition 1.

        A list for another edition of it stays, to be asked for again, as one of no edition that there is.
        """
        asked = self.asked(audience, epoch)
        for partition, one in asked.items():
            edition = 1 if editions.get(partition) == one.edition else 0
            self._asked[audience, partition] = replace(one, edition=edition)
        if asked:
            self.save()

    def withdrawn(self, audience: str, epoch: int) -> None:
        """The key of an epoch does not come: its lists mean nothing any more."""
        gone = [key for key, one in self._asked.items() if key[0] == audience and one.epoch == epoch]
        for key in gone:
            del self._asked[key]
        if gone:
            self.save()

    def answered(self, audience: str, epoch: int, partitions: Collection[str]) -> None:
        """What came of these lists is recorded; lists of other epochs mean nothing any more."""
        stays = {
            (who, partition): one
            for (who, partition), one in self._asked.items()
            if who != audience or (one.epoch == epoch and partition not in partitions)
        }
        if stays != self._asked:
            self._asked = stays
            self.save()

    def save(self) -> None:
        """Write it, durably."""
        record = {
            "version": newest(LEDGER_STEPS),
            "url": self.url,
            "decoy_secret": self.decoy_secret.hex(),
            "told": [asdict(one) for one in self.told],
            "asked": [
                {"audience": who, "partition": partition, **asdict(one), "seed": one.seed.hex()}
                for (who, partition), one in sorted(self._asked.items(), key=lambda item: item[0])
            ],
        }
        durable.private_folder(self._path.parent)
        durable.write(self._path, json.dumps(record, indent=1).encode(), erase=True)


def _told(value: Any) -> Told:
    """One entry. Raises ValueError, TypeError if it is malformed."""
    one = Told(**value)
    kinds = (str, str, int, float, str, str)
    if tuple(map(type, asdict(one).values())) != kinds or one.lists < 1 or not 0 <= one.log2_odds < math.inf:
        raise ValueError("not a ledger entry")
    return one


def _asked(value: Any) -> tuple[tuple[str, str], AskedList]:
    """One list that was not answered. Raises ValueError, TypeError, KeyError if it is none."""
    figures = [value["epoch"], value["slot_bits"], value["edition"], *value["numbers"]]
    if not all(type(figure) is int and figure >= 0 for figure in figures):
        raise ValueError("not a list of a ledger")
    epoch, slot_bits, edition, *numbers = figures
    asked = AskedList(epoch, slot_bits, edition, bytes.fromhex(value["seed"]), tuple(numbers))
    return (str(value["audience"]), str(value["partition"])), asked


def _today() -> date:
    return datetime.now(UTC).date()


def _damaged(path: Path) -> OurError:
    return OurError(
        f"the ledger {path} is damaged",
        hint="restore it from a backup; without one, `contactsync forget --everything` starts a new ledger,"
        " which no longer counts what earlier bucket lists told the server",
    )
