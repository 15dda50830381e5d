"""A sync as a chain of states: Prepared → Fetched → Evaluated → Matched.

Each state offers only what may follow, so that the wrong order cannot be written. None does any I/O: the
session fetches what `Prepared` names, sends what `Fetched` has to ask, and answers what `Evaluated.settle`
yields. Files come before points: from the first point on, nothing that the server sees depends on how long
this machine works on a book.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from contactsync.client.core.holdings import Files, Holding, Holdings, Known
from contactsync.client.core.mode import Allowance, FetchFiles, Memory, Mode, Request, Subject
from contactsync.client.core.plan import PartitionPlan, leads_on
from contactsync.client.core.planner import Options, Plan, Planner
from contactsync.client.core.round import EvaluatedBatch, RoundBatch, make_round
from contactsync.directory import RangeMatch
from contactsync.identifiers import calling_code
from contactsync.publication.manifest import DataFile, Manifest
from contactsync.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Question:
    """Whom a sync is about: identifiers, and the partition of each, str[n]."""

    identifiers: Sequence[bytes]
    partitions: NDArray[np.str_]

    @classmethod
    def of(cls, identifiers: Sequence[bytes]) -> Self:
        """The question for these identifiers. Raises BadInput for what is none."""
        return cls(identifiers, np.array([calling_code(one) for one in identifiers], dtype=np.str_))

    def outdated(self, manifest: Manifest, known: Known) -> set[str]:
        """The partitions of the manifest with identifiers that are not matched up to date."""
        seen = set(zip(self.partitions.tolist(), known.edition.tolist(), strict=True))
        named = manifest.partitions
        return {name for name, edition in seen if name in named and edition != named[name].edition}

    def to_check(self, manifest: Manifest, known: Known, options: Options) -> set[str]:
        """The partitions whose kept files are looked at for damage before they are used.

        With all partitions, what is fetched may not depend on the book: damage is looked for everywhere.
        """
        outdated = self.outdated(manifest, known)
        news = bool(outdated) or not known.known.all()
        return set(manifest.partitions) if news and options.partitions == "all" else outdated


@dataclass(frozen=True, slots=True)
class Prepared:
    """It is decided what is fetched and asked; nothing has been sent."""

    question: Question
    manifest: Manifest
    options: Options
    mode: Mode
    known: Known
    planner: Planner
    plan: Plan

    @classmethod
    def of(
        cls,
        question: Question,
        manifest: Manifest,
        known: Known,
        holdings: Holdings,
        *,
        options: Options,
        modes: Mapping[str, Mode],
    ) -> Self:
        """Plan the download. `holdings` are those whose files are whole.

        Raises ChoiceNeeded if it is larger than allowed.
        """
        wanted = frozenset(question.outdated(manifest, known))
        planner = Planner(manifest, holdings, wanted, modes, options.buckets)
        plan = planner.affordable(options.privacy, options.partitions, limit=options.max_download)
        return cls(question, manifest, options, modes[options.privacy], known, planner, plan)

    @property
    def files(self) -> list[DataFile]:
        """What has to be on the disk."""
        return self.plan.files

    def fetched(self) -> Fetched:
        """Every one of `files` is on the disk."""
        return Fetched(self)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The files are there; new identifiers have no token yet."""

    prepared: Prepared

    @property
    def new(self) -> NDArray[np.int64]:
        """Indices of the identifiers that have to be evaluated."""
        return np.flatnonzero(~self.prepared.known.known)

    def round(self) -> list[RoundBatch]:
        """What is sent: empty if nothing is new."""
        return make_round([self.prepared.question.identifiers[i] for i in self.new])

    def evaluated(self, batches: Iterable[EvaluatedBatch]) -> Evaluated:
        """All batches of a round came back and were proven."""
        new, done = self.new, list(batches)
        places = np.concatenate([np.empty(0, np.int64), *(batch.places for batch in done)])
        if not np.array_equal(np.sort(places), np.arange(len(new))):
            raise ValueError("these are not the batches of the round")
        tokens = Tokens.concatenate([batch.tokens for batch in done])
        return Evaluated(self.prepared, self.prepared.known.with_tokens(new[places], tokens), len(new))


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Every identifier has its token."""

    prepared: Prepared
    known: Known
    new: int

    def settle(
        self, files: Files, memory: Memory, spent: int
    ) -> Generator[Request, RangeMatch | Any, Matched]:
        """Find out who is a member, partition by partition; what is yielded has to be answered.

        `spent` octets of the allowed download are gone. Raises BadDirectory, ChoiceNeeded.
        """
        prepared, known = self.prepared, self.known
        manifest, options, question = prepared.manifest, prepared.options, prepared.question
        count = len(question.identifiers)
        member, edition = np.zeros(count, np.bool_), np.full(count, -1, np.int64)
        plans = {part.partition.name: part for part in prepared.plan.parts}
        whole = prepared.planner.plan("download", options.partitions).cost
        for name, partition in manifest.partitions.items():
            mine = np.flatnonzero(question.partitions == name)
            member[mine], edition[mine] = known.member[mine], partition.edition
            if (known.edition[mine] == partition.edition).all():
                continue
            subject = Subject(known.tokens.take(mine), known.member[mine], known.edition[mine])
            allowance = Allowance(
                spent=spent,
                limit=options.max_download,
                buckets=options.buckets,
                partitions=options.partitions,
                whole=whole,
                leak_budget=options.leak_budget,
            )
            settling = prepared.mode.settle(plans[name], subject, files, memory, allowance)
            answer: Any = None
            try:
                while True:
                    request = settling.send(answer)
                    answer = yield request
                    spent += _cost(request, answer)
            except StopIteration as end:
                settled = end.value
            member[mine], plans[name] = settled.member, settled.plan
        return Matched(self, member, edition, tuple(plans.values()), spent)


@dataclass(frozen=True, slots=True)
class Matched:
    """Who is a member, bool[n], for which edition of the partition (-1: there is none), and what it took.

    `spent` are the octets downloaded.
    """

    evaluated: Evaluated
    member: NDArray[np.bool_]
    edition: NDArray[np.int64]
    plans: tuple[PartitionPlan, ...]
    spent: int

    def holdings(self, before: Holdings) -> dict[tuple[str, str], Holding]:
        """What is worth keeping now: what was used, and what was held and can still be carried on."""
        kept: dict[tuple[str, str], Holding] = {
            (part.partition.name, part.kind): part.holding for part in self.plans
        }
        settled = {name for name, _ in kept}
        partitions = self.evaluated.prepared.manifest.partitions
        for (name, kind), holding in before.items():
            partition = partitions.get(name)
            if name not in settled and partition is not None and leads_on(partition, holding):
                kept[name, kind] = holding
        return kept

    @property
    def false_positive_rate(self) -> float:
        """The largest chance, over the partitions of the book, that a contact who is no member matches."""
        prepared = self.evaluated.prepared
        partitions = prepared.manifest.partitions
        used = [partitions[n] for n in np.unique(prepared.question.partitions).tolist() if n in partitions]
        return max((partition.directory.false_positive_rate for partition in used), default=0.0)


def _cost(request: Request, answer: Any) -> int:
    """The octets that a request took."""
    if isinstance(request, FetchFiles):
        return sum(file.length for file in request.files)
    return int(answer.octets)
