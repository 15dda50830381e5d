"""Between the registry and the jobs: members out of it, their outputs into it, whole partitions out of it.

Where a partition has labels, the first `KEYED_BYTES` of each output are kept, else the token alone. Labels
are sealed here, in the process that has them: neither a label nor its key is ever in a file of a job.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from contactsync.directory.build import MIN_MEMORY
from contactsync.directory.sorter import GROUP_BYTES, GROUPS
from contactsync.labels import KEYED_BYTES, context, seal
from contactsync.server.publishing.job import KERNEL_SCRATCH, SCREEN_BYTES, BuildJob, EvaluateJob
from contactsync.server.publishing.plan import AudiencePlan
from contactsync.server.publishing.pools import JobPool
from contactsync.server.publishing.running import Task
from contactsync.server.storage.ports import Members, MemberStore
from contactsync.tokens import TOKEN_BYTES
from contactsync.voprf.server import KeyPair

READ_AT_ONCE: Final = 1 << 16
"""Members read, and their tokens stored, in one transaction."""

_SORT_BYTES: Final = 40  # a token, if all are sorted in memory
_SMALL: Final = 1 << 14  # tokens that no kernel is used for


@dataclass(slots=True)
class _Chunk:
    """Members that were read at once, and the outputs that came of their jobs so far, by the job's place.

    Of each output `width` octets are kept.
    """

    members: Members
    jobs: int
    width: int
    outputs: dict[int, bytes] = field(default_factory=dict)


class Evaluation:
    """Gives a token to each member of a plan's partitions who has none, by jobs of `at_once` members.

    Make `tasks`, hand what comes of each to `take`, and then `finish`. `done` of `total` members have a token
    now; a total of 0 means that it was not worth counting.
    """

    def __init__(self, registry: MemberStore, plan: AudiencePlan, key: KeyPair, at_once: int) -> None:
        self._registry = registry
        self._plan = plan
        self._key = key
        self._at_once = at_once
        self.done = self.total = 0

    def tasks(self) -> Iterator[Task[EvaluateJob, tuple[_Chunk, int]]]:
        """A job for every few thousand members; they are read as the tasks are taken."""
        plan = self._plan
        for chunk in self._chunks():
            identifiers = chunk.members.identifiers()
            for place in range(chunk.jobs):
                some = tuple(identifiers[place * self._at_once : (place + 1) * self._at_once])
                job = EvaluateJob(plan.audience, self._key.secret, self._key.public, some, chunk.width)
                yield Task(job, cost=1, kept=(chunk, place))

    def _chunks(self) -> Iterator[_Chunk]:
        plan, registry = self._plan, self._registry
        for partition in plan.partitions:
            after, keyed = None, partition in plan.labelled
            of = (plan.audience, plan.epoch, partition)
            registry.begin_search(*of, keyed=keyed)
            while members := registry.unevaluated(*of, after, READ_AT_ONCE, keyed=keyed):
                if len(members) == READ_AT_ONCE and not self.total:  # worth counting: this takes a while
                    self.total = self.done + registry.count_unevaluated(
                        plan.audience, plan.epoch, keyed=plan.labelled
                    )
                after = members.last
                width = KEYED_BYTES if keyed else TOKEN_BYTES
                yield _Chunk(members, -(-len(members) // self._at_once), width)

    def take(self, kept: tuple[_Chunk, int], outputs: bytes) -> None:
        """Take the outputs of one job. They are stored with all others that were read with them."""
        chunk, place = kept
        chunk.outputs[place] = outputs
        if len(chunk.outputs) < chunk.jobs:
            return
        octets = b"".join(chunk.outputs[i] for i in range(chunk.jobs))
        rows = np.frombuffer(octets, np.uint8).reshape(-1, chunk.width)
        self._registry.store_tokens(self._plan.audience, self._plan.epoch, chunk.members, rows)
        self.done += len(chunk.members)

    def finish(self) -> None:
        """Note that all that there were tasks for has been taken: so much need not be searched again."""
        plan = self._plan
        searched = {partition: partition in plan.labelled for partition in plan.partitions}
        self._registry.end_search(plan.audience, plan.epoch, searched)


def build_tasks(
    registry: MemberStore,
    plans: Sequence[AudiencePlan],
    work: Path,
    data: Path,
    pool: JobPool,
    *,
    but: Container[tuple[str, int, str]] = (),
) -> Iterator[Task[BuildJob, None]]:
    """A job for each partition of the plans, whose tokens are written to a file in `work` as it is taken.

    There is none for those in `but`, by audience, epoch and name. Call it in a `snapshot`. Of the pool's
    memory each job is allowed what `at_once` of them can have, or more if its count asks for it; the cost of
    a task is what it will take of that.
    """
    share = pool.memory // max(1, min(pool.at_once, sum(len(plan.partitions) for plan in plans)))
    threads = min(pool.at_once, os.cpu_count() or 1)  # labels are sealed here
    for plan in plans:
        # Some may have become longer since the plan was made.
        names = [name for name in plan.labelled if (*plan.of, name) not in but]
        longest = registry.labelled(plan.audience, names) if names else {}
        for number, partition in enumerate(plan.partitions):
            if (*plan.of, partition) in but:
                continue
            place = work / f"{plan.audience}-{plan.epoch}-{number}"
            spool = place.with_suffix(".tokens")
            size = plan.label_size(partition, longest.get(partition, 0))
            count = _spooled(registry, plan, partition, spool, (size, threads))
            job = BuildJob(
                audience=plan.audience,
                epoch=plan.epoch,
                edition=plan.edition,
                partition=partition,
                count=count,
                remainder_bits=plan.remainder_bits,
                memory=min(pool.most, max(share, _least_memory(count))),
                spool=str(spool),
                report=str(place.with_suffix(".report")),
                work=str(work),
                data=str(data),
                old=None if plan.old is None else plan.old.partitions.get(partition),
                fresh=partition in plan.fresh,
                label_size=size,
            )
            yield Task(job, _used_memory(job), None, job.report)


def _spooled(
    registry: MemberStore, plan: AudiencePlan, partition: str, path: Path, sealing: tuple[int, int]
) -> int:
    """Write the tokens of a partition to a new file, as `BuildJob.spool` says; how many there are.

    `sealing` is what its labels are padded to, 0 for no labels, and by how many threads they are sealed.
    """
    (size, threads), written = sealing, 0
    of = (plan.audience, plan.epoch, partition)
    with path.open("xb", buffering=0) as file:
        if not size:
            with contextlib.closing(registry.tokens(*of)) as chunks:
                for tokens in chunks:
                    file.write(tokens.to_bytes().data)
                    written += len(tokens)
            return written
        bound = context(plan.audience, plan.epoch)
        with contextlib.closing(registry.outputs(*of)) as labelled:
            for tokens, keys, labels in labelled:
                entries = seal(keys, labels, size, bound, threads=threads)
                file.write(np.hstack([tokens.to_bytes(), entries]).data)
                written += len(tokens)
    return written


def _least_memory(count: int) -> int:
    """Octets below which so many tokens cannot be sorted; a quarter more, as groups are not quite equal."""
    return MIN_MEMORY + count * GROUP_BYTES * 5 // (GROUPS * 4)


def _used_memory(job: BuildJob) -> int:
    """Octets that a job uses, about: of what it is allowed, and then for screen and delta."""
    sort = min(job.memory, MIN_MEMORY + _SORT_BYTES * job.count)
    return sort + SCREEN_BYTES * job.count + (KERNEL_SCRATCH if job.count > _SMALL else 0)
