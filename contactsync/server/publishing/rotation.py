"""Epochs with overlap: what becomes of the next epoch of each audience, decided before anything is done.

How far a rotation is can be told from the published manifest and from the file of the next epoch's seed, and
from nothing else:

| manifest announces it | seed of the next epoch | the rotation is |
|-----------------------|------------------------|-----------------|
| no  | drawn for a rotation          | begun; every publish continues it |
| yes | the same                      | running; the first publish after its overlap begins the epoch |
| yes | marked as taken back          | being taken back; every publish continues that |
| no  | marked as taken back          | over; the next command destroys the seed |
| no  | drawn for a new epoch at once | none: `publish --new-epoch` was interrupted |

So each step may be killed: the seed comes to the disk before a manifest announces its key, the mark before a
manifest that no longer does, and the seed goes last.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from contactsync.foundation.errors import BadInput, OurError
from contactsync.publication.manifest import Manifest, NextEpoch, Partition
from contactsync.server.keyring import Keyring
from contactsync.server.publishing.merge import Outcome
from contactsync.server.publishing.plan import AudiencePlan
from contactsync.server.publishing.report import EditionReport
from contactsync.server.storage.ports import MemberStore

Published = Mapping[str, Manifest | None]


class Aim(Enum):
    """What the operator wants of a publish."""

    PUBLISH = "publish what the registry holds"
    ANOTHER = "publish another edition, whether or not anything has changed"
    REWRITE = "publish what the registry holds, and write the bases that have patches"
    NEW_EPOCH = "begin a new epoch at once"
    ROTATE = "build the next epoch beside the current one"
    FINISH = "begin the epoch that was announced"
    TAKE_BACK = "take a rotation back"


@dataclass(frozen=True, slots=True)
class Order:
    """An aim; `overlap`, in seconds, is that of a rotation which begins now."""

    aim: Aim = Aim.PUBLISH
    overlap: int = 0


class Rotations:
    """The rotations of one keyring and registry at one moment, `now`, in seconds since 1970."""

    def __init__(self, keyring: Keyring, registry: MemberStore, now: int) -> None:
        self._keyring = keyring
        self._registry = registry
        self._now = now

    def begin(self, published: Published, order: Order, *, elsewhere: bool) -> dict[str, Manifest]:
        """What comes before anything else, by audience. Raises BadInput, OurError.

        An epoch whose overlap has ended begins with what was announced of it, so that clients that have moved
        fetch nothing. A new epoch in an emergency passes over the one that is announced: that one has a
        number and a key of its own in the history, and tokens of two keys never meet.
        """
        running = {who: one for who, one in published.items() if one is not None and one.next is not None}
        self._check(published, running, order, elsewhere=elsewhere)
        if order.aim is Aim.TAKE_BACK:
            return {}
        if order.aim is Aim.NEW_EPOCH:
            return {audience: promoted(current) for audience, current in running.items()}
        changed: dict[str, Manifest] = {}
        for audience, current in running.items():
            if self._is_taken_back(current):
                changed |= {audience: withdrawn(current)} if order.aim is Aim.ROTATE else {}
            elif self._is_over(current):
                changed[audience] = self._promoted(current)
        return changed

    def _check(
        self, published: Published, running: Mapping[str, Manifest], order: Order, *, elsewhere: bool
    ) -> None:
        match order.aim:
            case Aim.NEW_EPOCH if running and elsewhere:
                raise BadInput(
                    "a rotation is running, and its key has been announced",
                    hint="take it back first: `server rotate --undo --offline-targets REQUEST`, sign, finish;"
                    " then `publish --new-epoch`",
                )
            case Aim.ROTATE if not any(published.values()):
                raise BadInput("nothing is published yet", hint="run `server publish` first")
            case Aim.ROTATE if elsewhere and any(map(self._is_taken_back, running.values())):
                raise BadInput(
                    "a rotation is being taken back",
                    hint="finish that first: `server publish --offline-targets REQUEST`, sign, finish",
                )
            case Aim.ROTATE:
                for audience, current in published.items():
                    facts = current and self._keyring.facts(audience, current.epoch + 1)
                    if facts and facts.overlap is None:
                        raise BadInput(
                            f"a new epoch of {audience} was started but not published",
                            hint="`server publish --new-epoch` finishes it; nothing was changed",
                        )
            case Aim.FINISH if not running:
                raise BadInput("no rotation is running", hint="`server rotate` begins one")
            case Aim.FINISH if not any(map(self._is_over, running.values())):
                ends = min(one.next.end for one in running.values() if one.next)
                raise BadInput(
                    f"the overlap lasts until {ends:%Y-%m-%d %H:%M} UTC",
                    hint="clients move until then; if the key may have leaked, run `publish --new-epoch`",
                )
            case Aim.TAKE_BACK if not running and not any(
                current and self._is_begun(current) for current in published.values()
            ):
                raise BadInput("no rotation is running", hint="nothing was changed")

    def until(self, current: Manifest | None, order: Order) -> int | None:
        """When the overlap of an audience's next epoch ends; None if none is to be announced."""
        if current is None or order.aim in {Aim.NEW_EPOCH, Aim.TAKE_BACK} or self._is_taken_back(current):
            return None
        if current.next is not None:
            return current.next.until
        facts = self._keyring.facts(current.audience, current.epoch + 1)
        if order.aim is Aim.ROTATE:
            return self._now + order.overlap
        return None if facts is None or facts.overlap is None else self._now + facts.overlap

    def mark(self, before: Published, after: Collection[Manifest]) -> None:
        """Mark the seeds of epochs that `before` announces, or that were begun, and `after` does not know."""
        for manifest in after:
            current = before.get(manifest.audience)
            if current is None or manifest.next is not None or manifest.epoch != current.epoch:
                continue
            if current.next is not None or self._is_begun(current):
                facts = self._keyring.facts(current.audience, current.epoch + 1)
                if facts is not None and not facts.taken_back:
                    self._keyring.take_back(current.audience, current.epoch + 1)

    def forget(self, published: Collection[Manifest]) -> None:
        """Destroy what was drawn and evaluated for epochs that were taken back. The mark goes last."""
        for manifest in published:
            if manifest.next is None and self._is_taken_back(manifest):
                after = manifest.epoch + 1
                self._registry.drop_tokens(manifest.audience, range(after, after + 1))
                self._keyring.destroy_seed(manifest.audience, after)

    def check_not_late(self, before: Published, after: Collection[Manifest]) -> None:
        """Raise BadInput if a rotation would be announced whose overlap has ended."""
        for manifest in after:
            current = before.get(manifest.audience)
            if manifest.next is None or (current is not None and current.next is not None):
                continue
            if manifest.next.until <= self._now:
                raise BadInput(
                    f"the overlap ended on {manifest.next.end:%Y-%m-%d}: the rotation was signed too late",
                    hint="nothing was changed; prepare it again, with a longer --overlap",
                )

    def _is_over(self, current: Manifest) -> bool:
        return current.next is not None and current.next.until <= self._now

    def _is_begun(self, current: Manifest) -> bool:
        facts = self._keyring.facts(current.audience, current.epoch + 1)
        return facts is not None and facts.overlap is not None

    def _is_taken_back(self, current: Manifest) -> bool:
        facts = self._keyring.facts(current.audience, current.epoch + 1)
        return facts is not None and facts.taken_back

    def _promoted(self, current: Manifest) -> Manifest:
        new = promoted(current)
        if self._keyring.key_pair(new.audience, new.epoch).public != new.public_key:
            raise OurError(
                f"the key of {new.audience} in keys/ is not the one that was announced for epoch {new.epoch}",
                hint="restore keys/ from the backup that belongs to public/, or run `server rotate --undo`",
            )
        return new


def promoted(current: Manifest) -> Manifest:
    """The first edition of the epoch that a manifest announces: what was announced, and nothing else.

    Editions count from 1 again, so there are no deltas; bases, screens and sidecars are the same files.
    """
    ahead = current.ahead()
    assert ahead is not None
    partitions = {name: _anew(one) for name, one in ahead.partitions.items()}
    return replace(ahead, edition=1, partitions=partitions, previous=current.sha256())


def _anew(partition: Partition) -> Partition:
    labels = None if partition.labels is None else replace(partition.labels, edition=1, deltas=())
    return replace(partition, edition=1, deltas=(), labels=labels)


def withdrawn(current: Manifest) -> Manifest:
    """The next edition of a manifest, which differs in announcing nothing."""
    return replace(current, edition=current.edition + 1, next=None, previous=current.sha256())


def begun(manifest: Manifest, told: EditionReport | None = None) -> Outcome:
    """That an epoch has begun with what was announced of it; or what is `told` of an edition is in force."""
    return Outcome(
        audience=manifest.audience,
        epoch=manifest.epoch,
        edition=manifest.edition,
        members=manifest.count,
        evaluated=0,
        partitions=len(manifest.partitions),
        changed=() if told is None else tuple(one.name for one in told.changes),
    )


def announcing(
    before: Published,
    plans: Sequence[AudiencePlan],
    merged: Mapping[tuple[str, int], tuple[Manifest, Outcome]],
) -> tuple[list[Manifest], list[Outcome]]:
    """The manifests of all audiences, each with its next epoch if there is a plan for one.

    `merged` is what came of each plan, `before` what is published. A manifest that only announces something
    else is another edition too. The outcomes are in the order of the plans.
    """
    after, outcomes = [], []
    for plan in plans:
        built, outcome = merged[plan.of]
        if plan.until is None:
            ahead = next((one for one in plans if one.of == (plan.audience, plan.epoch + 1)), None)
            announced = None if ahead is None else _announced(merged[ahead.of][0], ahead.until)
            current = before[plan.audience]
            if current is None or built is not current:
                built = replace(built, next=announced)
            elif current.next != announced:
                built = replace(withdrawn(current), next=announced)
                outcome = replace(outcome, edition=built.edition, changed=())
            after.append(built)
        outcomes.append(outcome)
    return after, outcomes


def _announced(ahead: Manifest, until: int | None) -> NextEpoch:
    assert until is not None
    return NextEpoch(ahead.epoch, ahead.edition, ahead.public_key, until, ahead.partitions)
