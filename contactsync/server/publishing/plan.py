"""What a publish must do, decided before anything is done: one plan for each audience."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import OurError
from contactsync.labels import size_for
from contactsync.publication.manifest import Manifest, Partition
from contactsync.server.publishing import patching
from contactsync.server.publishing.job import is_whole
from contactsync.server.settings import DataFolder
from contactsync.server.storage.erasing import EVERYWHERE
from contactsync.server.storage.ports import MemberStore

_NONE: Final[Mapping[str, int | None]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AudiencePlan:
    """The next edition of an epoch of an audience.

    Of `partitions`, each in the order in which it is worked on, the content may have changed; all others stay
    as they are in `old`, the manifest of this epoch that is published. `previous` is the SHA-256 of the one
    that is published, of whatever epoch.

    `until` is None if the epoch is to be in force. Else it is announced beside the one that is, until then
    (seconds since 1970); `old` is then what was announced before. The `fresh` of the partitions begin anew:
    nothing of them may say who was a member before. `another`: it is made even if nothing has changed.
    `labelled` names the partitions in which members have labels, and how long the longest is; or, where
    labels are published, to how many octets: whether some are longer is seen when they are read.
    """

    audience: str
    epoch: int
    edition: int
    remainder_bits: int
    partitions: tuple[str, ...]
    old: Manifest | None
    previous: str | None
    until: int | None = None
    fresh: frozenset[str] = frozenset()
    another: bool = False
    labelled: Mapping[str, int] = field(default_factory=dict)
    patched_from: int = 0
    """How many members a partition has at least that keeps its base, with patches; 0: none does."""
    suspect: bool = False
    """Whether what is published may not be of this registry (belonging.py)."""

    def may_patch(self, old: Partition) -> bool:
        """Whether patches may lead on from the base of a partition as it was published."""
        if not self.patched_from or old.labels is not None:
            return False
        return old.count >= self.patched_from and not patching.is_due(old, self.edition)

    @property
    def of(self) -> tuple[str, int]:
        """Audience and epoch: no two plans of a publish have the same."""
        return self.audience, self.epoch

    def label_size(self, partition: str, longest: int = 0) -> int:
        """What labels of a partition are padded to, if they are so long by now; 0: nobody has one.

        It never shrinks within an epoch: a label that is gone would tell how long it was.
        """
        if partition not in self.labelled:
            return 0
        before = None if self.old is None else self.old.partitions.get(partition)
        published = 0 if before is None or before.labels is None else before.labels.size
        return max(size_for(max(self.labelled[partition], longest)), published)


def plan_editions(
    registry: MemberStore,
    folder: DataFolder,
    published: Mapping[str, Manifest | None],
    *,
    new_epoch: bool,
    another: bool = False,
    rewrite: bool = False,
    overlaps: Mapping[str, int | None] = _NONE,
    suspect: Collection[str] = (),
    expunge: bool = False,
) -> tuple[int, list[AudiencePlan]]:
    """A plan for each audience that is published or has members, and the serial that they are up to.

    `overlaps` says until when an audience's next epoch is announced; there is a plan for that one too. Of
    the `suspect` audiences every partition may have changed, whatever the registry says. To `expunge`, all
    partitions begin anew that somebody has left. `another` wants an edition even if nothing has changed; to
    `rewrite` leaves no patches.

    They are made from one moment of the registry. What changes after it is for the next publish, whether or
    not this one happens to see it. Raises OurError if a newer program has published last.
    """
    for manifest in published.values():
        _check_understood(manifest)
    settings = folder.settings()
    remainder_bits = settings.remainder_bits
    plans = []
    with registry.snapshot():
        serial = registry.serial()
        touched = registry.touched(serial)
        left = registry.departures() if expunge else ()
        for audience in AUDIENCES:
            current = published[audience]
            if audience != AUDIENCES[0] and current is None and not registry.count(audience):
                continue
            epoch = 1 if current is None else current.epoch + new_epoch
            in_force = current if current is not None and current.epoch == epoch else None
            epochs: list[tuple[int, Manifest | None, int | None]] = [(epoch, in_force, None)]
            if current is not None and (until := overlaps.get(audience)) is not None:
                epochs.append((epoch + 1, current.ahead(), until))
            for number, old, end in epochs:
                # Rows are made of bases alone; and what was announced begins with bases alone.
                is_patched = end is None and not settings.private_lookup and not rewrite
                patched_from = settings.patched_from if is_patched else 0
                if old is None:
                    partitions = registry.partitions(audience)
                elif audience in suspect:
                    partitions = sorted({*old.partitions, *registry.partitions(audience)})
                else:
                    partitions = _suspects(folder, old, touched, remainder_bits, patched_from)
                published_before = () if old is None else old.partitions
                fresh = frozenset(one for one in (*partitions, *published_before) if has_left(left, one))
                names = tuple(sorted(fresh.union(partitions)))
                plans.append(
                    AudiencePlan(
                        audience=audience,
                        epoch=number,
                        edition=1 if old is None else old.edition + 1,
                        remainder_bits=remainder_bits,
                        partitions=names,
                        fresh=fresh,
                        old=old,
                        previous=None if current is None else current.sha256(),
                        until=end,
                        another=another and end is None,
                        labelled=_labelled(registry, audience, names, old),
                        patched_from=patched_from,
                        suspect=audience in suspect,
                    )
                )
    return serial, plans


def _labelled(
    registry: MemberStore, audience: str, names: Collection[str], old: Manifest | None
) -> Mapping[str, int]:
    """See `AudiencePlan.labelled`. It does not read all labels where some are published."""
    published = {} if old is None else {name: one.labels for name, one in old.partitions.items()}
    sizes = {name: labels.size for name in names if (labels := published.get(name)) is not None}
    found = registry.with_labels(audience, sizes)
    return {**registry.labelled(audience, {*names} - sizes.keys()), **{name: sizes[name] for name in found}}


def has_left(departures: Collection[str], partition: str) -> bool:
    """Whether somebody may have left a partition, by the names of those that somebody has left."""
    return EVERYWHERE in departures or partition in departures


def _check_understood(manifest: Manifest | None) -> None:
    """Refuse to follow a newer program: what this one does not know would be missing from then on."""
    if manifest is not None and not manifest.is_understood:
        raise OurError(
            f"the published manifest of {manifest.audience} has content unknown to this version",
            hint="a newer version published last: update contactsync; nothing was changed",
        )


def _suspects(
    folder: DataFolder, old: Manifest, touched: Iterable[str], remainder_bits: int, patched_from: int
) -> list[str]:
    """Partitions that may differ from those in `old`."""
    damaged = {
        name
        for name, partition in old.partitions.items()
        if not old.is_current
        or partition.remainder_bits != remainder_bits
        or not is_whole(folder.data, partition)
        or (
            partition.patches is not None
            and (not patched_from or patching.is_due(partition, old.edition + 1))
        )
    }
    return sorted(damaged.union(touched))
