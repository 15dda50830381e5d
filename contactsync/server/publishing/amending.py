"""The job that makes a partition of what is published and what changed since, and what it is given.

A base that comes of it is, byte for byte, what a `BuildJob` makes of all tokens. It costs what changed, and
to copy, hash and screen what stays; where the base may stay as it is, a patch comes instead (patching.py).
Where the changes do not fit what is published it makes nothing, and all tokens are read as if there were no
log: two tokens that are one value in the directory, or a base that is damaged. Labels are the matter of
amending_labels.py.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contactsync.directory import open_directory
from contactsync.directory.amending import Changes, Contradicted, amend
from contactsync.directory.delta import write_changes
from contactsync.directory.format import DirectoryInfo, slot_bits_for
from contactsync.directory.sidecar_writing import PART_BYTES
from contactsync.foundation import durable
from contactsync.foundation.errors import BadDirectory, BadInput
from contactsync.labels import TAG_BYTES
from contactsync.publication.manifest import DeltaFile, Partition
from contactsync.server.publishing.amending_labels import amended_labels, sealed_changes
from contactsync.server.publishing.job import (
    KERNEL_SCRATCH,
    SCREEN_BYTES,
    BuiltPartition,
    chained,
    errors_of,
    is_whole,
    screen_of,
)
from contactsync.server.publishing.patching import DELTAS_OF_PATCHED, patch_on
from contactsync.server.publishing.plan import AudiencePlan
from contactsync.server.publishing.running import Task
from contactsync.server.storage.departed import DepartedKeys
from contactsync.server.storage.ports import MemberStore
from contactsync.server.storage.token_log import noted_as
from contactsync.tokens import TOKEN_BYTES, Tokens

_NONE: Final = np.empty((0, TOKEN_BYTES), np.uint8)
_LABELS_BYTES: Final = 4 * PART_BYTES  # read, kept of it, made, and made before


@dataclass(frozen=True, slots=True)
class AmendJob:
    """The tokens that joined and left a published partition, `old`, to be made into data files.

    `spool` is a file of `joined` tokens, `TOKEN_BYTES` each, in any order, and then `left` ones. With labels
    `sealed` tokens follow, each with its sealed label. `count` is how many tokens there are now. `work` and
    `data` are folders as those of a `BuildJob`.
    """

    audience: str
    epoch: int
    edition: int
    partition: str
    count: int
    joined: int
    left: int
    sealed: int
    spool: str
    work: str
    data: str
    old: Partition
    may_patch: bool = False
    """Whether its base may stay, so that a patch leads on from it."""

    def __str__(self) -> str:
        return f"building {self.audience} {self.partition}"


def run_amend(job: AmendJob) -> BuiltPartition | None:
    """Make base, delta, screen and labels of a partition, named by their hashes; None: all is to be read."""
    # A folder for this run alone: if the job is run twice at once, the two do not meet.
    with errors_of(str(job)), tempfile.TemporaryDirectory(prefix="build.", dir=job.work) as scratch:
        content = _amend(job, Path(scratch) / "file", Path(job.data))
    if content is None:
        return None
    return BuiltPartition(job.audience, job.epoch, job.edition, job.partition, content)


def _amend(job: AmendJob, unnamed: Path, data: Path) -> Partition | None:
    tokens, sealed = _spooled(job)
    old, info = job.old, job.old.directory
    if not len(tokens) and not len(sealed) and (old.patches is None or job.may_patch):
        return old
    joined = np.arange(len(tokens)) < job.joined
    changes = Changes.of(tokens, ~joined, joined, info)
    if changes is None or slot_bits_for(old.members + job.joined - job.left) != info.slot_bits:
        return None
    try:
        if job.may_patch or old.patches is not None:
            patched = patch_on(data, old, changes, edition=job.edition)
            if job.may_patch and (made := patched.publish(unnamed)) is not None:
                return made
            changes = patched.changes
        # Else what the patches did has come to nothing, or only labels changed.
        new = _base(job, changes, unnamed) if len(changes.values) else info
        if new is info and old.labels is None:
            return replace(old, patches=None)
        return _written(job, new, changes, sealed, unnamed)
    except (Contradicted, BadDirectory, BadInput):
        return None


def _written(
    job: AmendJob, new: DirectoryInfo, changes: Changes, sealed: NDArray[np.uint8], unnamed: Path
) -> Partition:
    """The partition without patches, on a base that is on the disk: `new`, or the one that was published."""
    old, data = job.old, Path(job.data)
    with open_directory(data / new.file.sha256, expect=new) as directory:
        labels = amended_labels(data, old, directory, changes, sealed, edition=job.edition, unnamed=unnamed)
        if new == old.directory:
            return replace(old, patches=None, labels=labels)
        screen = screen_of(directory, unnamed, data)
    deltas = _deltas(job, (old.directory, new), changes, unnamed)
    return Partition.of(job.partition, job.edition, new, deltas=deltas, screen=screen, labels=labels)


def _spooled(job: AmendJob) -> tuple[Tokens, NDArray[np.uint8]]:
    """The tokens that joined, and then those that left; and those with their entries."""
    width = TOKEN_BYTES + (0 if job.old.labels is None else TAG_BYTES + job.old.labels.size)
    octets = np.fromfile(job.spool, np.uint8)
    bare = (job.joined + job.left) * TOKEN_BYTES
    if len(octets) != bare + job.sealed * width:
        raise OSError(errno.EIO, "the token file is shorter than what was written to it", job.spool)
    return Tokens.from_bytes(octets[:bare].reshape(-1, TOKEN_BYTES)), octets[bare:].reshape(-1, width)


def _base(job: AmendJob, changes: Changes, unnamed: Path) -> DirectoryInfo:
    """Write the base that the published one becomes. It verifies by SHA-256 what it copies."""
    data, info = Path(job.data), job.old.directory
    with open_directory(data / info.file.sha256, expect=info, check="xxh3") as earlier:
        new = amend(unnamed, earlier, changes)
    durable.rename(unnamed, data / new.file.sha256)
    return new


def _deltas(
    job: AmendJob, directories: tuple[DirectoryInfo, DirectoryInfo], changes: Changes, unnamed: Path
) -> tuple[DeltaFile, ...]:
    """The chain of deltas that leads to the new directory; none where a client does better to fetch it."""
    of = job.old.edition, job.edition
    written = write_changes(
        unnamed, directories, (changes.removed, changes.added), from_edition=of[0], to_edition=of[1]
    )
    chain = chained(job.old.deltas, of, written, unnamed, Path(job.data))
    # Who left is named by deltas for as long as they are served, and these are from one base to the next.
    return chain[-DELTAS_OF_PATCHED:] if job.old.patches is not None else chain


def amend_tasks(
    registry: MemberStore, plans: Sequence[AudiencePlan], keys: DepartedKeys, work: Path, data: Path
) -> Iterator[Task[AmendJob, None]]:
    """A job for each partition of the plans of which it is known what changed. Call it in a `snapshot`.

    `keys` open the tokens of who left.
    """
    for plan in plans:
        for number, partition in enumerate(plan.partitions):
            old = _published(plan, partition, data)
            if old is None:
                continue
            found = registry.token_changes(plan.audience, plan.epoch, partition, noted_as(old), keys)
            if found is None or found.count != old.members or not found.count_after:
                continue
            sealed = _NONE if old.labels is None else sealed_changes(registry, plan, old, old.labels)
            if sealed is None:
                continue
            spool = work / f"{plan.audience}-{plan.epoch}-{number}.changes"
            with spool.open("xb", buffering=0) as file:
                for rows in (found.joined.to_bytes(), found.left.to_bytes(), sealed):
                    file.write(rows.data)
            job = AmendJob(
                audience=plan.audience,
                epoch=plan.epoch,
                edition=plan.edition,
                partition=partition,
                count=found.count_after,
                joined=len(found.joined),
                left=len(found.left),
                sealed=len(sealed),
                spool=str(spool),
                work=str(work),
                data=str(data),
                old=old,
                may_patch=plan.may_patch(old),
            )
            labels = 0 if old.labels is None else _LABELS_BYTES
            yield Task(job, SCREEN_BYTES * job.count + KERNEL_SCRATCH + labels, None)


def _published(plan: AudiencePlan, partition: str, data: Path) -> Partition | None:
    """What is published of a partition, if the next one may be made of it."""
    old = None if plan.old is None else plan.old.partitions.get(partition)
    if old is None or plan.old is None or plan.suspect or not plan.old.is_current:
        return None
    if partition in plan.fresh or plan.label_size(partition) != (old.labels.size if old.labels else 0):
        return None
    return old if old.remainder_bits == plan.remainder_bits and is_whole(data, old) else None


def note_bases(registry: MemberStore, serial: int, built: Collection[tuple[BuiltPartition, int]]) -> None:
    """Note which bases were made of all tokens as of a serial: of how many is said with each."""
    if not built:
        return
    with registry.together():
        for result, count in built:
            content = result.content
            if content is not None and content.members == count:
                registry.note_base(
                    *(result.audience, result.epoch, result.partition, noted_as(content)),
                    serial=serial,
                    count=count,
                )
