"""The job that makes a partition of what is published and what changed since, and what it is given.

A base that comes of it is, byte for byte, what a `BuildJob` makes of all tokens. It costs what changed, and
to copy, hash and screen what stays; where the base may stay as it is, a patch comes instead (patching.py).
Where the changes do not fit what is published it makes nothing, and all tokens are read as if there were no
log: two tokens that are one value in the directory, or a base that is damaged.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from contactsync.directory import open_directory
from contactsync.directory.amending import Changes, Contradicted, amend
from contactsync.directory.delta import write_changes
from contactsync.directory.format import DirectoryInfo, slot_bits_for
from contactsync.foundation import durable
from contactsync.foundation.errors import BadDirectory, BadInput
from contactsync.publication.manifest import DeltaFile, Partition
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
from contactsync.tokens import TOKEN_BYTES, Tokens


@dataclass(frozen=True, slots=True)
class AmendJob:
    """The tokens that joined and left a published partition, `old`, to be made into data files.

    `spool` is a file of `joined` tokens, `TOKEN_BYTES` each, in any order, and then `left` ones. `count` is
    how many tokens there are now. `work` and `data` are folders as those of a `BuildJob`.
    """

    audience: str
    epoch: int
    edition: int
    partition: str
    count: int
    joined: int
    left: int
    spool: str
    work: str
    data: str
    old: Partition
    may_patch: bool = False
    """Whether its base may stay, so that a patch leads on from it."""

    def __str__(self) -> str:
        return f"building {self.audience} {self.partition}"


def run_amend(job: AmendJob) -> BuiltPartition | None:
    """Make base, delta and screen of a partition, named by their hashes; None: all tokens are needed."""
    # A folder for this run alone: if the job is run twice at once, the two do not meet.
    with errors_of(str(job)), tempfile.TemporaryDirectory(prefix="build.", dir=job.work) as scratch:
        content = _amend(job, Path(scratch) / "file", Path(job.data))
    if content is None:
        return None
    return BuiltPartition(job.audience, job.epoch, job.edition, job.partition, content)


def _amend(job: AmendJob, unnamed: Path, data: Path) -> Partition | None:
    octets = Path(job.spool).read_bytes()
    if len(octets) != (job.joined + job.left) * TOKEN_BYTES:
        raise OSError(errno.EIO, "the token file is shorter than what was written to it", job.spool)
    tokens = Tokens.from_bytes(np.frombuffer(octets, np.uint8).reshape(-1, TOKEN_BYTES))
    old, info = job.old, job.old.directory
    if not len(tokens) and (old.patches is None or job.may_patch):
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
        if not len(changes.values):  # what the patches did has come to nothing
            return replace(old, patches=None)
        # `amend` verifies by SHA-256 what it copies.
        with open_directory(data / info.file.sha256, expect=info, check="xxh3") as earlier:
            new = amend(unnamed, earlier, changes)
    except (Contradicted, BadDirectory, BadInput):
        return None
    durable.rename(unnamed, data / new.file.sha256)
    with open_directory(data / new.file.sha256, expect=new) as directory:
        screen = screen_of(directory, unnamed, data)
    deltas = _deltas(job, (info, new), changes, unnamed)
    return Partition.of(job.partition, job.edition, new, deltas=deltas, screen=screen)


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
            found = registry.token_changes(plan.audience, plan.epoch, partition, old.state, keys)
            if found is None or found.count != old.members or not found.count_after:
                continue
            spool = work / f"{plan.audience}-{plan.epoch}-{number}.changes"
            with spool.open("xb", buffering=0) as file:
                file.write(np.concatenate([found.joined.to_bytes(), found.left.to_bytes()]).data)
            job = AmendJob(
                audience=plan.audience,
                epoch=plan.epoch,
                edition=plan.edition,
                partition=partition,
                count=found.count_after,
                joined=len(found.joined),
                left=len(found.left),
                spool=str(spool),
                work=str(work),
                data=str(data),
                old=old,
                may_patch=plan.may_patch(old),
            )
            yield Task(job, SCREEN_BYTES * job.count + KERNEL_SCRATCH, None)


def _published(plan: AudiencePlan, partition: str, data: Path) -> Partition | None:
    """What is published of a partition, if the next one may be made of it."""
    old = None if plan.old is None else plan.old.partitions.get(partition)
    if old is None or plan.old is None or plan.suspect or not plan.old.is_current:
        return None
    if partition in plan.fresh or old.labels is not None or plan.label_size(partition):
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
                    *(result.audience, result.epoch, result.partition, content.state),
                    serial=serial,
                    count=count,
                )
