"""How old an epoch is, how much was evaluated in it, and when another has to follow.

A key does not last forever: whoever steals it reads the directories of its epoch, and each evaluation is a
static Diffie-Hellman query, of which many make it weaker (docs/threat-model.md). Nothing here opens a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from contactsync.foundation.audiences import AUDIENCES
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.repository import Repository
from contactsync.server.keyring import SeedFacts, seed_facts
from contactsync.server.settings import DataFolder
from contactsync.server.storage.ports import AccountStore, EpochUse


@dataclass(frozen=True, slots=True)
class EpochAge:
    """The epoch of an audience that is in force, and the one announced beside it, if there is one.

    What only `look_ahead` tells is None and False without it.

    `began` is when its key was drawn; None if its file is missing. `evaluated` are the points charged for it.
    The next epoch is due at `due`, or when `is_due` by the points. `seed` is that of the epoch after it.
    """

    audience: str
    epoch: int
    began: datetime | None
    evaluated: int
    due: datetime | None
    is_due: bool
    next_epoch: int | None
    overlap_until: datetime | None
    seed: SeedFacts | None = None
    is_passed_over: bool = False
    """Whether the announced epoch is about to be passed over by a new one, which is not published yet."""

    @classmethod
    def of(cls, folder: DataFolder, manifest: Manifest, used: Sequence[EpochUse], now: datetime) -> EpochAge:
        """That of a published manifest; `used` is what was charged for all epochs. Raises OurError."""
        settings, audience, epoch = folder.settings(), manifest.audience, manifest.epoch
        facts = seed_facts(folder.keys, audience, epoch)
        began = None if facts is None else datetime.fromtimestamp(facts.drawn, UTC)
        due = None if began is None else began + timedelta(days=settings.rotate_after_days)
        points = sum(one.points for one in used if (one.audience, one.epoch) == (audience, epoch))
        return cls(
            audience=audience,
            epoch=epoch,
            began=began,
            evaluated=points,
            due=due,
            is_due=points >= settings.rotate_after_points or (due is not None and now >= due),
            next_epoch=None if manifest.next is None else manifest.next.epoch,
            overlap_until=None if manifest.next is None else manifest.next.end,
        )

    def look_ahead(self, folder: DataFolder) -> EpochAge:
        """The same with what the seeds of epochs say that are not in force. Raises OurError."""
        after, later = (seed_facts(folder.keys, self.audience, self.epoch + n) for n in (1, 2))
        return replace(self, seed=after, is_passed_over=self.next_epoch is not None and later is not None)

    @property
    def is_announced(self) -> bool:
        """Whether there is nothing of the next epoch that clients do not know."""
        return self.seed is None or self.overlap_until is not None

    def warnings(self, now: datetime) -> list[str]:
        """What the operator has to do about it, as sentences."""
        name, seed, end = f"of {self.audience}", self.seed, self.overlap_until
        said = ""
        if self.is_passed_over:
            said = f"a new epoch {name} was started but not published: "
            said += "`server publish --new-epoch` finishes it"
        elif seed is not None and seed.taken_back:
            said = f"the rotation {name} is being taken back: `server publish` finishes that"
        elif end is not None:
            if now >= end:
                said = (
                    f"the overlap {name} ended on {end:%Y-%m-%d}: publish, and epoch {self.next_epoch} begins"
                )
        elif seed is not None and seed.overlap is not None:
            said = f"a rotation {name} was begun but not announced: "
            said += "`server rotate` continues it, `server rotate --undo` takes it back"
        elif seed is not None:
            said = f"a new epoch {name} was started but not published: "
            said += "`server publish --new-epoch` finishes it"
        elif self.is_due:
            since = "" if self.began is None else f"began on {self.began:%Y-%m-%d} and "
            said = f"the epoch {name} {since}has evaluated {self.evaluated:,} points: "
            said += "a rotation is due (`server rotate`)"
        return [said] if said else []


def ages(folder: DataFolder, used: Sequence[EpochUse], now: datetime) -> list[EpochAge]:
    """The epochs of all audiences that are published. Raises OurError."""
    repository = Repository(folder.public)
    published = (repository.current(audience) for audience in AUDIENCES)
    return [EpochAge.of(folder, one, used, now) for one in published if one is not None]


def reminders(folder: DataFolder, accounts: AccountStore, now: datetime) -> list[str]:
    """The warnings about all audiences, for a process that opens no seed that it does not serve.

    Raises OurError.
    """
    return [line for age in ages(folder, accounts.epochs(), now) for line in age.warnings(now)]
