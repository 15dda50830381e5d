"""A sync as a chain of states: Prepared → Fetched → Evaluated → Matched.

Each state offers only the next step, so that the wrong order cannot be written. None does any I/O: the
session fetches the files that `Prepared` names, sends the points of `Fetched`, and answers what
`Evaluated.settle` yields. Files are fetched before points are sent: from the first point on, nothing that the
server sees depends on how long this machine works on a book.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from contactsync.client.core.holdings import SIDECAR, Files, Holding, Holdings, Known, Sealed, SidecarHolding
from contactsync.client.core.labels import Labelled, label_members, label_partition
from contactsync.client.core.matching import patched
from contactsync.client.core.mode import (
    Allowance,
    FetchFiles,
    LookedUp,
    Memory,
    Mode,
    Request,
    Subject,
)
from contactsync.client.core.plan import PartitionPlan, leads_on
from contactsync.client.core.planner import Options, Plan, Planner
from contactsync.client.core.round import EvaluatedBatch, PendingBatch, Round, make_round
from contactsync.client.core.row_lookups import FoundInRows, LastTable, look_up
from contactsync.identifiers import partition_of
from contactsync.labels import KEY_BYTES, context
from contactsync.publication.manifest import DataFile, Manifest
from contactsync.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Question:
    """The n identifiers of a sync. `names` are their partitions, each once; `of` int64[n] indexes them.

    It is made before the first request: the time to sort a book by partition depends on its size.
    """

    identifiers: Sequence[bytes] = field(repr=False)
    names: tuple[str, ...]
    of: NDArray[np.int64] = field(repr=False)
    groups: Mapping[str, NDArray[np.int64]] = field(repr=False)

    @classmethod
    def about(cls, identifiers: Sequence[bytes]) -> Self:
        """The question for these identifiers. Raises BadInput if one is not an identifier."""
        partitions = [partition_of(one) for one in identifiers]
        names = tuple(sorted(set(partitions)))
        place = {name: i for i, name in enumerate(names)}
        of = np.array([place[name] for name in partitions], np.int64)
        groups = {name: np.flatnonzero(of == i) for i, name in enumerate(names)}
        return cls(identifiers, names, of, groups)

    def _names_of(self, which: NDArray[np.bool_]) -> set[str]:
        """The partitions of the identifiers that a mask selects."""
        return {self.names[i] for i in np.flatnonzero(np.bincount(self.of[which])).tolist()}

    def outdated(self, manifest: Manifest, known: Known) -> set[str]:
        """The partitions of the manifest with identifiers that have no current result."""
        editions = self.editions(manifest, nowhere=-2)
        return self._names_of((editions != -2) & (editions != known.edition))

    def patched(self, manifest: Manifest) -> set[str]:
        """The partitions of the manifest with identifiers that have patches."""
        named = ((name, manifest.partitions.get(name)) for name in self.names)
        return {name for name, one in named if one is not None and one.patches is not None}

    def editions(self, manifest: Manifest, *, nowhere: int) -> NDArray[np.int64]:
        """The edition of each identifier's partition, int64[n]; `nowhere` for those of none."""
        named = [manifest.partitions.get(name) for name in self.names]
        of_names = np.array([nowhere if one is None else one.edition for one in named], np.int64)
        editions: NDArray[np.int64] = of_names[self.of]
        return editions

    def usable(self, manifest: Manifest) -> NDArray[np.bool_]:
        """Whether this program can use the partition of each identifier, or there is none: bool[n]."""
        of_names = np.array([name not in manifest.unknown for name in self.names], np.bool_)
        usable: NDArray[np.bool_] = of_names[self.of]
        return usable

    def to_check(self, known: Known, held: Iterable[str], options: Options) -> set[str]:
        """Which of the stored partitions have their files checked for damage before they are used.

        Files are needed for identifiers that were never matched. With all partitions, what is fetched must
        not depend on the book, so all files are checked.
        """
        held, fresh = set(held), self._names_of(known.edition < 0).intersection(held)
        news = bool(fresh) or not known.known.all()
        return held if news and options.partitions == "all" else fresh

    def round(self, known: Known, unfinished: Sequence[PendingBatch], options: Options) -> Round:
        """What is sent to have the identifiers evaluated that have no token."""
        new = [self.identifiers[i] for i in np.flatnonzero(~known.known).tolist()]
        return make_round(new, unfinished, cover=options.cover, most=options.most)

    def count(self, name: str) -> int:
        """How many identifiers a partition has."""
        return len(self.groups.get(name, ()))


@dataclass(frozen=True, slots=True)
class Prepared:
    """What to fetch and ask is decided; nothing has been sent.

    `unfinished` are the missing batches of an interrupted round.
    """

    question: Question
    manifest: Manifest
    options: Options
    mode: Mode
    known: Known
    unfinished: tuple[PendingBatch, ...]
    planner: Planner
    plan: Plan

    @classmethod
    def of(
        cls,
        question: Question,
        manifest: Manifest,
        known: Known,
        holdings: Holdings,
        unfinished: Sequence[PendingBatch] = (),
        *,
        spent: int = 0,
        options: Options,
        modes: Mapping[str, Mode],
    ) -> Self:
        """Plan the download. `holdings` are those whose files are whole; `spent` octets came already.

        Raises ChoiceNeeded if the download is larger than allowed.
        """
        wanted = frozenset(question.outdated(manifest, known))
        contacts = len(question.identifiers)
        patched = frozenset(question.patched(manifest))
        planner = Planner(
            manifest, holdings, wanted, modes, options.buckets, options.labels, contacts, patched
        )
        plan = planner.affordable(
            options.privacy, options.partitions, limit=options.max_download, spent=spent
        )
        mode = modes[options.privacy]
        return cls(question, manifest, options, mode, known, tuple(unfinished), planner, plan)

    @property
    def files(self) -> list[DataFile]:
        """The files that must be on the disk."""
        return self.plan.files

    def fetched(self) -> Fetched:
        """The next state, once all of `files` are on the disk."""
        return Fetched(self)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The files are there; new identifiers have no token yet."""

    prepared: Prepared

    @property
    def new(self) -> NDArray[np.int64]:
        """Indices of the identifiers that must be evaluated."""
        return np.flatnonzero(~self.prepared.known.known)

    def round(self) -> Round:
        """What is sent."""
        prepared = self.prepared
        return prepared.question.round(prepared.known, prepared.unfinished, prepared.options)

    def evaluated(self, batches: Iterable[EvaluatedBatch]) -> Evaluated:
        """The next state, once all batches of the round came back and their proofs hold."""
        done = list(batches)
        tokens = Tokens.concatenate([batch.tokens for batch in done])
        keys = np.concatenate([np.empty((0, KEY_BYTES), np.uint8), *(batch.keys for batch in done)])
        place = {identifier: i for i, identifier in enumerate(i for batch in done for i in batch.identifiers)}
        new, identifiers = self.new, self.prepared.question.identifiers
        try:
            places = np.array([place[identifiers[i]] for i in new.tolist()], np.int64)
        except KeyError:
            raise ValueError("these are not all batches of the round") from None
        known = self.prepared.known.with_tokens(new, tokens.take(places), keys[places])
        return Evaluated(self.prepared, known, len(new))


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Every identifier has its token."""

    prepared: Prepared
    known: Known
    new: int

    def settle(self, files: Files, memory: Memory, spent: int) -> Generator[Request, LookedUp | Any, Matched]:
        """Find out who is a member, partition by partition. The caller must answer what is yielded.

        `spent` octets of the allowed download are used. Raises BadDirectory, ChoiceNeeded.
        """
        prepared, known = self.prepared, self.known
        if prepared.plan.level is not None:
            return (yield from self._look_up(files, memory.table, spent))
        manifest, options, question = prepared.manifest, prepared.options, prepared.question
        count = len(question.identifiers)
        member, edition = np.zeros(count, np.bool_), np.full(count, -1, np.int64)
        sealed: dict[str, Sealed] = {}
        plans = {part.partition.name: part for part in prepared.plan.parts}
        whole = prepared.planner.plan("download", options.partitions).cost
        for name, mine in question.groups.items():
            partition = manifest.partitions.get(name)
            if partition is None:
                continue
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
            if settled.sealed is not None:
                sealed[name] = Sealed(mine[settled.sealed.of], settled.sealed.entries)
        in_bases = member.copy()
        for name in question.patched(manifest):
            mine = question.groups[name]
            member[mine] = patched(files, plans[name], known.tokens.take(mine), in_bases[mine])
        usable = question.usable(manifest)
        return Matched(self, usable, member, edition, tuple(plans.values()), spent, sealed, in_bases=in_bases)

    def _look_up(
        self, files: Files, last: LastTable | None, spent: int
    ) -> Generator[Request, LookedUp | Any, Matched]:
        """All partitions at once, in their rows."""
        prepared, level = self.prepared, self.prepared.plan.level
        assert level is not None
        looking = look_up(
            prepared.question,
            prepared.manifest,
            self.known,
            files.level(level),
            last,
            labels=prepared.options.labels,
        )
        request = next(looking)
        answers: Any = yield request
        try:
            looking.send(answers)
        except StopIteration as end:
            found: FoundInRows = end.value
        spent += request.octets
        return Matched(
            *(self, found.settled, found.member, found.edition, (), spent),
            sealed=found.sealed,
            table=found.last,
            anew=found.anew,
        )


@dataclass(frozen=True, slots=True)
class Matched:
    """Who is a member, bool[n], by which edition of the base (-1: there is none), and what it cost.

    Where `settled`, bool[n], is False, the result is unknown: the partition needs a newer program. `spent` is
    the number of octets downloaded. `sealed` are labels that came with buckets or rows, by partition.
    `table` is the one in which rows were looked up, if that was the way; `anew`: everybody was looked up.
    """

    evaluated: Evaluated
    settled: NDArray[np.bool_]
    member: NDArray[np.bool_]
    edition: NDArray[np.int64]
    plans: tuple[PartitionPlan, ...]
    spent: int
    sealed: Mapping[str, Sealed] = field(default_factory=dict, repr=False)
    table: LastTable | None = None
    anew: bool = False
    in_bases: NDArray[np.bool_] | None = None
    """bool[n], who is a member by the bases alone, without their patches: what later syncs go on from."""

    def holdings(self, before: Holdings) -> dict[tuple[str, str], Holding | SidecarHolding]:
        """The files to keep: those that were used, and earlier ones that deltas can still continue."""
        kept: dict[tuple[str, str], Holding | SidecarHolding] = {
            (part.partition.name, part.kind): part.holding for part in self.plans
        }
        settled = {name for name, _ in kept}
        for part in self.plans:
            if part.sidecar is not None:
                kept[part.partition.name, SIDECAR] = part.sidecar
        partitions = self.evaluated.prepared.manifest.partitions
        for (name, kind), holding in before.items():
            partition = partitions.get(name)
            if partition is None or (name, kind) in kept or (kind != SIDECAR and name in settled):
                continue
            if leads_on(partition, holding):
                kept[name, kind] = holding
        return kept

    def labelled(self, files: Files) -> Labelled:
        """What the members are called, from files and entries that are there whoever matched.

        Raises BadDirectory.
        """
        prepared, known = self.evaluated.prepared, self.evaluated.known
        manifest, question = prepared.manifest, prepared.question
        entries_of = context(manifest.audience, manifest.epoch)
        found = Labelled.nothing(len(question.identifiers))
        if self.table is not None:
            return self._labelled_in_rows(self.table, found, entries_of)
        for plan in self.plans:
            mine = question.groups.get(plan.partition.name)
            if mine is None or plan.labels is None:
                continue
            members = mine[self.member[mine]]
            one = label_partition(
                files,
                plan,
                known,
                members=members,
                sealed=self.sealed.get(plan.partition.name),
                context=entries_of,
            )
            found = found.with_those(members, one)
        return found

    def _labelled_in_rows(self, table: LastTable, found: Labelled, entries_of: bytes) -> Labelled:
        """The same of labels that came with rows. Who was not looked up keeps label and match."""
        prepared, known = self.evaluated.prepared, self.evaluated.known
        # By the settings and the edition alone: what follows from it must not depend on who is in the book.
        found = replace(found, wanted=table.labels)
        waiting = {one.encode() for one in table.waiting}
        for name, sealed in self.sealed.items():
            mine = prepared.question.groups[name]
            labels = prepared.manifest.partitions[name].labels
            assert labels is not None
            members = mine[self.member[mine]]
            one = label_members(labels.edition, known, members=members, sealed=sealed, context=entries_of)
            # Who did not wait was looked up now or before: the entry was there, and did not open.
            without = members[one.edition < 0].tolist()
            waits = sum(prepared.question.identifiers[i] in waiting for i in without)
            one = replace(one, unopened=len(without) - waits, unknown=waits)
            found = found.with_those(members, one)
        return found

    @property
    def false_positive_rate(self) -> float:
        """The chance that a contact who is not a member matches, in the worst partition of the book."""
        prepared = self.evaluated.prepared
        partitions = prepared.manifest.partitions
        used = [partitions[name] for name in prepared.question.names if name in partitions]
        return max((one.members / 2.0 ** sum(one.directory.widths) for one in used), default=0.0)


def _cost(request: Request, answer: Any) -> int:
    """The octets that a request cost."""
    if isinstance(request, FetchFiles):
        return sum(file.length for file in request.files)
    return int(answer.octets)
