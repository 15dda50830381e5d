"""What came of a plan's jobs, put together: the next manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from contactsync.foundation.errors import OurError
from contactsync.identifiers import PROFILE
from contactsync.publication.manifest import Labels, Manifest, Partition
from contactsync.server.publishing.job import BuiltPartition, is_whole
from contactsync.server.publishing.plan import AudiencePlan


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a publish did for one audience."""

    audience: str
    epoch: int
    edition: int
    members: int
    evaluated: int
    partitions: int
    changed: tuple[str, ...] | None
    """Partitions whose files are new or gone; None if nothing at all changed and the edition stays."""
    until: int | None = None
    """When the epoch comes into force, if it is only announced (seconds since 1970)."""


def merge(
    plan: AudiencePlan, public_key: bytes, evaluated: int, results: Iterable[BuiltPartition], data: Path
) -> tuple[Manifest, Outcome]:
    """The manifest that the results of a plan's build jobs make, in any order, and what was done.

    It is `plan.old` itself if nothing changed, unless another edition is wanted. The files of new partitions
    must be in `data`. Raises OurError for results that are not those of this plan, each once.
    """
    built: dict[str, Partition | None] = {}
    for result in results:
        if result.partition in built:
            raise _misfit(result, "came twice")
        _check(plan, result, data)
        built[result.partition] = result.content
    for name in plan.partitions:
        if name not in built:
            raise OurError(f"the build of {plan.audience} {name} returned no result", hint="publish again")
    partitions = {} if plan.old is None else dict(plan.old.partitions)
    changed = []
    for name in plan.partitions:
        content = built[name]
        if content == partitions.get(name):
            continue
        changed.append(name)
        if content is None:
            del partitions[name]
        else:
            partitions[name] = content
    stays = (
        plan.old is not None
        and not (changed or plan.another)
        and plan.old.normalisation == PROFILE
        and plan.old.is_current
    )
    manifest = (
        plan.old
        if plan.old is not None and stays
        else Manifest(
            audience=plan.audience,
            epoch=plan.epoch,
            edition=plan.edition,
            public_key=public_key,
            normalisation=PROFILE,
            partitions=partitions,
            previous=plan.previous,
        )
    )
    return manifest, Outcome(
        audience=plan.audience,
        epoch=plan.epoch,
        edition=manifest.edition,
        members=manifest.count,
        evaluated=evaluated,
        partitions=len(partitions),
        changed=None if stays else tuple(changed),
        until=plan.until,
    )


def _check(plan: AudiencePlan, result: BuiltPartition, data: Path) -> None:
    """Refuse a result that is not one of a job of this plan. Raises OurError."""
    if (result.audience, result.epoch, result.edition) != (plan.audience, plan.epoch, plan.edition):
        raise _misfit(result, "is of another edition")
    if result.partition not in plan.partitions:
        raise _misfit(result, "is of a partition that the plan does not contain")
    content = result.content
    if content is None:
        return
    if content.name != result.partition:
        raise _misfit(result, "holds another partition")
    if content.remainder_bits != plan.remainder_bits:
        raise _misfit(result, f"has {content.remainder_bits} remainder bits")
    before = None if plan.old is None else plan.old.partitions.get(result.partition)
    restored = before is not None and (before.edition, before.base) == (content.edition, content.base)
    if content.edition != plan.edition and not restored:
        raise _misfit(result, f"has content of edition {content.edition}")
    if content.deltas and content.deltas[-1].to_edition != content.edition:
        raise _misfit(result, "has deltas that do not end at its base")
    if content != before:
        _check_patches(plan, result, content)
    _check_labels(plan, result, content.labels, None if before is None else before.labels)
    if not is_whole(data, content):
        raise _misfit(result, "names files that are not there")


def _check_patches(plan: AudiencePlan, result: BuiltPartition, content: Partition) -> None:
    if (patches := content.patches) is None:
        return
    if patches.edition != plan.edition:
        raise _misfit(result, f"has patches up to edition {patches.edition}")
    if patches.files[0].from_edition != content.edition:
        raise _misfit(result, "has patches that do not begin at its base")


def _check_labels(
    plan: AudiencePlan, result: BuiltPartition, labels: Labels | None, before: Labels | None
) -> None:
    size = plan.label_size(result.partition)
    if labels is None or not size:
        if labels is not None or size:
            raise _misfit(result, "has labels, or has none, unlike the plan")
        return
    if labels.size < size:
        raise _misfit(result, f"has labels of {labels.size} octets, less than {size}")
    restored = before is not None and (before.edition, before.file) == (labels.edition, labels.file)
    if labels.edition != plan.edition and not restored:
        raise _misfit(result, f"has labels of edition {labels.edition}")
    if labels.deltas and labels.deltas[-1].to_edition != labels.edition:
        raise _misfit(result, "has deltas of labels that do not end at its sidecar")


def _misfit(result: BuiltPartition, why: str) -> OurError:
    return OurError(
        f"the build result of {result.audience} {result.partition} {why}: it does not match the plan",
        hint="nothing was published; publish again",
    )
