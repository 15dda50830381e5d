"""A sync: the I/O around the chain of states in `core.states`.

It follows the manifest, fetches files and evaluations, answers the requests of a privacy mode, and stores the
results. If a sync fails, it keeps what remains valid: tokens, whole files, parts of files.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from contactsync.client import results
from contactsync.client.bucket_lists import look_up
from contactsync.client.cache import Cache
from contactsync.client.core.holdings import Holdings, Known
from contactsync.client.core.labels import Labelled
from contactsync.client.core.leak import sentence
from contactsync.client.core.mode import FetchFiles, LookUpBuckets, Memory, Request
from contactsync.client.core.planner import Options
from contactsync.client.core.promotion import same_bases
from contactsync.client.core.round import padded
from contactsync.client.core.row_lookups import AskRows
from contactsync.client.core.states import Evaluated, Matched, Prepared, Question
from contactsync.client.download import is_held, octets_held
from contactsync.client.epochs import Epochs
from contactsync.client.fetching import FileFetcher
from contactsync.client.files import FolderFiles
from contactsync.client.last_table import keep_table, recall_table
from contactsync.client.ledger import Ledger
from contactsync.client.people import Findings
from contactsync.client.privacy import load_modes
from contactsync.client.remembered import Recalled, kinds_seen, question_about
from contactsync.client.report import LabelCounts, Report, Unusable
from contactsync.client.rounds import RoundRunner
from contactsync.client.second import Pair
from contactsync.client.state import ServerState
from contactsync.client.transport import MetadataFetcher, Transport
from contactsync.contacts import AddressBook
from contactsync.foundation.errors import BadDirectory, BadProof, BadReply, Refused
from contactsync.foundation.progress import Progress, silent
from contactsync.identifiers import PROFILE, served_kinds
from contactsync.publication.history import Gap
from contactsync.publication.logged import kept_of_log
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.follower import Follower, kept_files

if TYPE_CHECKING:  # few syncs are recorded
    from contactsync.client.recording import Recording

SLOW_BEATS: Final = 8
"""Quarters of a second in which also the engine is loaded."""


def sync(
    server: ServerState,
    book: AddressBook,
    transport: Transport,
    options: Options,
    progress: Progress = silent,
    *,
    keep_names: bool = True,
    recording: Recording | None = None,
    second: Transport | None = None,
) -> Report:
    """Find out which contacts of the book are members, and keep who they are unless `keep_names` is false.

    `second` leads to the server that is asked too, if a mode asks two. Raises anything of the error tree; the
    state stays usable.
    """
    with server.lock(), Cache(server.cache, server.url) as cache:
        if recording is not None:
            trusted = kept_files(server.tuf, options.audience) | {"root.json": server.root}
            trusted |= {f"log/{name}": octets for name, octets in kept_of_log(server.log).items()}
            recording.begins(trusted, book.identifiers)
        session = Session(server, cache, transport, options, progress, recording=recording, second=second)
        report = session.run(book)
        if recording is not None:
            recording.finished(report)
        today = datetime.now(UTC)
        cache.forget_unseen(options.audience, book.sought, 12 * today.year + today.month)
        results.keep(server.results, report, book, names=keep_names)
        return report


@dataclass(frozen=True, slots=True)
class _Followed:
    """The published manifest, what verified it, and the one to use: it, or the epoch that it announces.

    `changed`: what is stored of that epoch was changed for it.
    """

    follower: Follower
    published: Manifest
    manifest: Manifest
    changed: bool

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds that are asked for: those that the manifest has a partition of, usable here or not."""
        return served_kinds([*self.manifest.partitions, *self.manifest.unknown])


class Session:
    """One run of the client against one server, whose state is locked. Counts are for the whole run."""

    def __init__(
        self,
        server: ServerState,
        cache: Cache,
        transport: Transport,
        options: Options,
        progress: Progress,
        *,
        recording: Recording | None = None,
        second: Transport | None = None,
    ) -> None:
        self._server = server
        self._pair = Pair(transport, second, progress)
        self._cache = cache
        self._transport = transport
        self._options = options
        self._progress = progress
        self._recording = recording
        modes, has_second = load_modes(), second is not None or server.second is not None
        self._mode = modes[options.privacy]
        self._modes = {name: mode for name, mode in modes.items() if has_second or not mode.of_table}
        self._ledger = Ledger.open(server.ledger, server.url)
        if kept := cache.take_asked():
            self._ledger.adopt(kept)
            cache.clear_asked()
        self._epochs = Epochs(server, cache, self._ledger, asks=self._mode.asks, of_table=self._mode.of_table)
        self._rounds = RoundRunner(
            server,
            cache,
            transport,
            options,
            asks=self._mode.asks,
            progress=progress,
            recording=recording,
        )
        self._fetcher = FileFetcher(server, cache, transport, options.audience, progress)
        self._keyed = False
        self._told: dict[tuple[str, type], object] = {}

    def run(self, book: AddressBook) -> Report:
        """Run the sync. It starts again, once, if something was published in between.

        Work whose time depends on the book is done before the first request or after the last.
        """
        everything = book.sought
        kinds = kinds_seen(self._server, self._options.audience) or served_kinds(())
        question = question_about(everything, kinds)
        recalled = self._recall(question, self._cache.newest_epoch(self._options.audience) or 0)
        self._make_ready(question, recalled)
        followed = self._follow()
        kinds, before = followed.kinds, kinds
        if kinds != before:  # else the time that it takes, which depends on the book, would show here
            question = question_about(everything, kinds)
        lacks_keys = recalled.lacks_keys and self._keyed
        epoch = followed.manifest.epoch
        if followed.changed or recalled.epoch != epoch or lacks_keys or kinds != before:
            recalled = self._recall_anew(question, recalled, epoch, anew=kinds != before)
        self._transport.check_account()
        self._rounds.spend(0)
        try:
            return self._once(followed, question, recalled, book)
        except (Refused, BadProof) as error:
            if isinstance(error, Refused) and error.kind not in {"epoch-changed", "not-found"}:
                raise
            if self._told:
                # If a server could get a list repeated by refusing it, it would see two lists for one
                # question.
                error.hint = "some requests were already sent and are not repeated in this run; sync again"
                raise
            # A publish in between would explain the error. If there was none, raise it. How long it took to
            # find that a proof is wrong must not tell what the batch was.
            self._transport.pace(SLOW_BEATS)
            newer = self._follow()
            if newer.published == followed.published:
                if isinstance(error, Refused) and error.kind == "not-found":
                    error.hint = "check that the credential is for this --audience; if so, tell the operator"
                raise
            anew = newer.kinds != followed.kinds
            if anew:
                question = question_about(everything, newer.kinds)
            recalled = self._recall_anew(question, recalled, newer.manifest.epoch, anew=anew)
            return self._once(newer, question, recalled, book)

    def _make_ready(self, question: Question, recalled: Recalled) -> None:
        self._rounds.make_ready(question, recalled.epoch, recalled.known, recalled.unfinished)

    def _recall_anew(
        self, question: Question, before: Recalled, epoch: int, *, anew: bool = False
    ) -> Recalled:
        """What is stored of an epoch, in between two requests: the next one keeps to the beat.

        `anew`: other kinds are asked for than the round was made ready for, whether the book has them or not.
        """
        recalled = self._recall(question, epoch)
        same = np.array_equal(recalled.known.known, before.known.known)
        same = same and not (recalled.lacks_keys and self._keyed)  # whatever of that is in the book
        same = same and recalled.unfinished == before.unfinished
        if epoch == before.epoch and same and self._rounds.is_ready and not anew:
            self._transport.pace()
            return recalled
        self._make_ready(question, recalled)
        # A slow beat, or it would show whether the engine was there: whether much had been new before.
        self._transport.pace(SLOW_BEATS if before.epoch else 1)
        return recalled

    def _follow(self) -> _Followed:
        """The current manifest, verified from the pinned root down."""
        fetcher = MetadataFetcher(self._transport)
        self._progress("fetching metadata", 0, 0)
        state = self._server
        follower = Follower(state.tuf, self._transport.base_url, fetcher, state.root, log=state.log)
        manifest = follower.manifest(self._options.audience)
        if manifest.normalisation != PROFILE:
            raise BadReply(
                f"the server uses normalisation profile {manifest.normalisation}, "
                f"but this program only supports profile {PROFILE}",
                hint="update contactsync (or ask the operator to update the server)",
            )
        used, changed = self._epochs.enter(follower, manifest)
        if self._mode.of_table:
            last = recall_table(self._server.rows, self._options.audience)
            used = self._pair.common_edition(used, follower, last)
        # Labels need a key of everybody: who matches must not decide who is looked up once more.
        labels = used.has_labelled_rows if self._mode.of_table else used.has_labels
        self._keyed = labels and self._options.labels
        return _Followed(follower, manifest, used, changed)

    def _once(self, followed: _Followed, question: Question, recalled: Recalled, book: AddressBook) -> Report:
        """Run the chain of states against one manifest."""
        manifest = followed.manifest
        apart = followed.follower.unchecked(manifest.audience) is not None
        if apart:
            # Nobody knows whether what is held is of this history, as after a restore of an older backup.
            # Its editions may have the numbers of others, so that no delta would fit, or none be fetched.
            files = FolderFiles(self._server.data)
            same = same_bases(files, recalled.whole, manifest.partitions)
            self._cache.drop_matches(manifest.audience, manifest.epoch, but=same)
            recalled = self._recall(question, manifest.epoch)
            # How much was stored must not show in the time until the first file is asked for.
            self._transport.pace(SLOW_BEATS)
        prepared = Prepared.of(
            question,
            manifest,
            recalled.known,
            recalled.whole,
            recalled.unfinished,
            spent=self._transport.downloaded,
            options=self._rounds.affordable(),
            modes=self._modes,
        )
        if self._recording is not None:
            held = {file.sha256: octets_held(self._server.data, file) for file in prepared.files}
            self._recording.plans(manifest.epoch, recalled.whole, held)
        self._fetcher.fetch_plan(prepared.files, prepared.plan, manifest)
        self._cache.begin_epoch(
            manifest.audience, manifest.epoch, self._epochs.begun(followed.published, manifest)
        )
        evaluated = self._rounds.evaluate(prepared.fetched())
        matched = self._settle(evaluated)
        labelled = self._label(matched)
        before = self._cache.findings(manifest.audience, question.identifiers)
        self._keep(followed, matched, labelled, recalled.held)
        gap = followed.follower.unchecked(manifest.audience)
        report = self._report(matched, labelled, before, book, gap)
        followed.follower.told(manifest.audience)
        return report

    def _recall(self, question: Question, epoch: int) -> Recalled:
        """What is stored of an epoch. `whole` are the holdings whose files are there and undamaged."""
        audience, count = self._options.audience, len(question.identifiers)
        if not self._cache.has_tokens(audience, epoch):
            known = Known.nothing(count)
        else:
            known = self._cache.tokens(audience, epoch, question.identifiers)
        lacks_keys = self._cache.lacks_keys(audience, epoch)
        if self._keyed:
            known = known.where_keyed()
        held = self._cache.holdings(audience, epoch)
        checked = question.to_check(known, {name for name, _ in held}, self._options)
        whole = {
            key: holding
            for key, holding in held.items()
            if all(is_held(self._server.data, file, thorough=key[0] in checked) for file in holding.files())
        }
        unfinished = self._cache.unfinished_round(audience, epoch)
        return Recalled(epoch, known, held, whole, lacks_keys, unfinished)

    def _settle(self, evaluated: Evaluated) -> Matched:
        """Answer what the privacy mode asks for, until it knows who is a member."""
        manifest = evaluated.prepared.manifest
        asked = self._ledger.asked(manifest.audience, manifest.epoch)
        table = recall_table(self._server.rows, manifest.audience)
        memory = Memory(self._ledger.decoy_secret, manifest.epoch, asked, self._ledger.odds(), table)
        settling = evaluated.settle(FolderFiles(self._server.data), memory, self._transport.downloaded)
        answer = None
        try:
            while True:
                answer = self._answer(manifest, memory, settling.send(answer))
        except StopIteration as end:
            matched: Matched = end.value
        if evaluated.prepared.mode.asks:
            self._transport.pace()
            self._transport.hang_up()
        return matched

    def _label(self, matched: Matched) -> Labelled:
        """What the members are called. Nothing is sent for it, and the connection is closed."""
        try:
            return matched.labelled(FolderFiles(self._server.data))
        except BadDirectory:
            for plan in matched.plans:
                self._cache.drop_holdings(self._options.audience, plan.partition.name)
            raise

    def _answer(self, manifest: Manifest, memory: Memory, request: Request) -> Any:
        """The answer to one request of a mode."""
        if isinstance(request, AskRows):
            self._told["", type(request.told)] = request.told
            # From here on until the end, the next run asks for everybody, whatever becomes of this one.
            keep_table(self._server.rows, request.audience, None)
            self._fetcher.downloaded += request.octets
            return self._pair.ask(request)
        partition = request.partition
        if isinstance(request, LookUpBuckets):
            self._progress("fetching buckets", 0, 0)
            total = partition.directory.layout.buckets
            if self._recording is not None:
                self._recording.lists(request, memory.asked.get(partition.name), memory.decoy_secret)
            self._ledger.record(manifest.audience, partition.name, request.asked, total=total)
        self._transport.pace()
        self._told[partition.name, type(request.told)] = request.told
        if isinstance(request, FetchFiles):
            self._fetcher.fetch(request.files)
            return None
        found = look_up(self._transport, request)
        self._fetcher.downloaded += found.octets
        return found

    def _keep(self, followed: _Followed, matched: Matched, labelled: Labelled, held: Holdings) -> None:
        """Store the result, then remove data files that are no longer needed."""
        prepared, settled = matched.evaluated.prepared, matched.settled
        identifiers = prepared.question.identifiers
        self._cache.finish(
            prepared.manifest.audience,
            prepared.manifest.epoch,
            [identifiers[i] for i in np.flatnonzero(settled).tolist()],
            member=matched.member[settled],
            in_bases=None if matched.in_bases is None else matched.in_bases[settled],
            edition=matched.edition[settled],
            holdings=matched.holdings(held),
            labelled=labelled.taken(settled),
            anew=matched.anew,
            stored=self._epochs.stored(followed.published, followed.manifest),
            beside=self._epochs.beside(followed.published),
        )
        self._ledger.answered(
            prepared.manifest.audience, prepared.manifest.epoch, {name for name, _ in self._told}
        )
        keep_table(self._server.rows, prepared.manifest.audience, matched.table)
        level = prepared.plan.level
        keep = self._cache.held_files() | ({level.sha256} if level is not None else set())
        for path in self._server.data.iterdir():
            if path.name not in keep:
                path.unlink()

    def _report(
        self,
        matched: Matched,
        labelled: Labelled,
        before: NDArray[np.int8],
        book: AddressBook,
        gap: Gap | None,
    ) -> Report:
        prepared, member = matched.evaluated.prepared, matched.member
        manifest, identifiers = prepared.manifest, prepared.question.identifiers

        def those(chosen: NDArray[np.bool_]) -> frozenset[bytes]:
            return frozenset(identifiers[i] for i in np.flatnonzero(chosen).tolist())

        found = Findings(
            those(member),
            those(matched.settled),
            those(before == 1),
            those(before == 0),
            {one: label for one, label in zip(identifiers, labelled.labels, strict=True) if label},
        )
        matches, joined, left = found.people(book)
        written = frozenset(book.identifiers)
        asked = len(written.intersection(identifiers))
        return Report(
            matches=matches,
            joined=joined,
            left=left,
            unusable=[
                Unusable(name, one.reason, count)
                for name, one in sorted(manifest.unknown.items())
                if (count := prepared.question.count(name))
            ],
            identifiers=asked,
            further_forms=len(identifiers) - asked,
            unserved=len(written) - asked,
            new_identifiers=matched.evaluated.new,
            evaluated=self._rounds.evaluated,
            audience=manifest.audience,
            epoch=manifest.epoch,
            edition=manifest.edition,
            privacy=prepared.options.privacy,
            partitions=prepared.options.partitions,
            members=manifest.count,
            false_positive_rate=matched.false_positive_rate,
            downloaded=self._fetcher.downloaded,
            whole=[plan.partition.name for plan in matched.plans if plan.kind == "base"],
            quota=self._transport.quota,
            uncovered=self._options.cover and (self._rounds.uncovered or not prepared.options.cover),
            leak_odds=self._ledger.odds(),
            leak=sentence(
                points=padded(self._rounds.evaluated)
                if self._rounds.uncovered
                else self._rounds.largest_round,
                covered=prepared.options.cover,
                names=prepared.plan.fetched_names if prepared.options.partitions == "mine" else None,
                told=prepared.mode.sentence(list(self._told.values())),
                stores=self._transport.stores,
            ),
            unchecked=gap,
            withdrawn=self._epochs.withdrawn,
            labels=LabelCounts(labelled.unopened, labelled.unknown) if labelled.wanted else None,
        )
