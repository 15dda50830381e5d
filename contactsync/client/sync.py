"""A sync: verified manifest, hidden questions, verified answers, verified files, a match on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contactsync.client.batches import batches, padded
from contactsync.client.buckets import BucketLookup
from contactsync.client.cache import Cache, Holding, Known
from contactsync.client.download import fetch_file, is_held
from contactsync.client.leak import Buckets, sentence
from contactsync.client.matching import match_partition
from contactsync.client.plan import (
    Partitions,
    Plan,
    Privacy,
    Step,
    affordable,
    leads_on,
    make_plan,
    ranges_cost,
    size_text,
    whole_base,
)
from contactsync.client.state import ServerState
from contactsync.client.transport import MetadataFetcher, Transport
from contactsync.contacts import AddressBook
from contactsync.directory.ranges import BUCKETS
from contactsync.foundation.errors import BadProof, BadReply, ChoiceNeeded, Refused
from contactsync.foundation.progress import Progress, silent
from contactsync.identifiers import PROFILE, calling_code
from contactsync.publication.manifest import DataFile, Manifest, Partition
from contactsync.publication.tuf.follower import Follower
from contactsync.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Options:
    """How to sync. `max_download` is in octets; a multiple of `buckets` is fetched in screen mode."""

    audience: str = "people"
    privacy: Privacy = "download"
    partitions: Partitions = "all"
    max_download: int = 1 << 30
    buckets: int = BUCKETS


@dataclass(frozen=True, slots=True)
class Match:
    """A contact found to be a member, by one of its identifiers."""

    name: str
    identifier: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a sync found and what it cost.

    `evaluated` counts the points sent, padding included. `joined` and `left` are contacts that the sync
    before knew too, and found otherwise. `false_positive_rate` is the chance that a contact who is no
    member is reported as one. `whole` are the calling codes that were matched against a whole directory.
    """

    matches: list[Match]
    joined: list[Match]
    left: list[Match]
    identifiers: int
    new_identifiers: int
    evaluated: int
    audience: str
    epoch: int
    edition: int
    privacy: Privacy
    partitions: Partitions
    members: int
    false_positive_rate: float
    downloaded: int
    whole: list[str]
    leak: str


def sync(
    server: ServerState,
    book: AddressBook,
    transport: Transport,
    options: Options,
    progress: Progress = silent,
) -> Report:
    """Find out which contacts of the book are members.

    Whatever is learnt on the way and stays true (tokens, whole files, halves of files) is kept when it fails.
    Raises anything of the error tree; the state stays usable.
    """
    with server.lock(), Cache(server.cache, server.url) as cache:
        identifiers = book.identifiers
        run = _Run(server, cache, transport, options=options, progress=progress, identifiers=identifiers)
        manifest = run.follow()
        try:
            return run.once(manifest, book)
        except (Refused, BadProof) as error:
            if isinstance(error, Refused) and error.kind not in {"epoch-changed", "not-found"}:
                raise
            # A publish in between explains this. If it was none, the error stands.
            newer = run.follow()
            if newer == manifest:
                if isinstance(error, Refused) and error.kind == "not-found":
                    error.hint = "is the credential one of this --audience? If so, tell the operator"
                raise
            return run.once(newer, book)


def new_identifiers(server: ServerState, book: AddressBook, audience: str) -> int:
    """How many identifiers of the book are not in the newest epoch of the cache. No network."""
    identifiers = book.identifiers
    with Cache(server.cache, server.url) as cache:
        epoch = cache.newest_epoch(audience)
        known = cache.tokens(audience, epoch, identifiers).known if epoch else np.zeros(0, np.bool_)
    return len(identifiers) - int(known.sum())


class _Run:
    """One sync of one set of identifiers."""

    def __init__(
        self,
        server: ServerState,
        cache: Cache,
        transport: Transport,
        *,
        options: Options,
        progress: Progress,
        identifiers: list[bytes],
    ) -> None:
        self.server = server
        self.cache = cache
        self.transport = transport
        self.options = options
        self.progress = progress
        self.identifiers = identifiers
        self.codes = np.array([calling_code(identifier) for identifier in identifiers], dtype=np.str_)
        self.evaluated = 0
        self.largest_round = 0
        self.downloaded = 0
        self.told: dict[str, Buckets] = {}
        self.lookups: BucketLookup
        self.crowded: set[str] = set()
        self.plan_for: Callable[[Privacy, Partitions], Plan]

    def follow(self) -> Manifest:
        """The current manifest, verified from the pinned root downwards."""
        fetcher = MetadataFetcher(self.transport)
        self.progress("metadata", 0, 0)
        follower = Follower(self.server.tuf, self.transport.base_url, fetcher, self.server.root)
        manifest = follower.manifest(self.options.audience)
        if manifest.normalisation != PROFILE:
            raise BadReply(
                f"the server publishes under normalisation profile {manifest.normalisation}, "
                f"this program knows profile {PROFILE}",
                hint="update contactsync (or ask the operator to update the server)",
            )
        return manifest

    def once(self, manifest: Manifest, book: AddressBook) -> Report:
        """The sync against one manifest."""
        known = self._known(manifest)
        plan = self._plan(manifest, known)
        self.lookups = BucketLookup(
            self.cache, self.transport, manifest, total=self.options.buckets, told=self.told
        )
        new = np.flatnonzero(~known.known)
        if new.size:
            self._evaluate(manifest, [self.identifiers[i] for i in new])
            known = self._known(manifest)
        self._download([file for step in plan.steps for file in step.fetch])
        member, edition, steps = self._match(manifest, plan, known)
        before = self.cache.findings(self.options.audience, self.identifiers)
        self._finish(manifest, steps, member, edition)
        return Report(
            matches=self._matches(book, member),
            joined=self._matches(book, member & (before == 0)),
            left=self._matches(book, ~member & (before == 1)),
            identifiers=len(self.identifiers),
            new_identifiers=int(new.size),
            evaluated=self.evaluated,
            audience=manifest.audience,
            epoch=manifest.epoch,
            edition=manifest.edition,
            privacy=self.options.privacy,
            partitions=self.options.partitions,
            members=manifest.count,
            false_positive_rate=_false_positives(manifest, self.codes),
            downloaded=self.downloaded,
            whole=[step.partition.name for step in steps if step.kind == "base"],
            leak=sentence(
                points=self.largest_round,
                codes=plan.fetched_codes if self.options.partitions == "mine" else None,
                buckets=list(self.told.values()),
                crowded=sorted(self.crowded),
            ),
        )

    def _known(self, manifest: Manifest) -> Known:
        return self.cache.tokens(manifest.audience, manifest.epoch, self.identifiers)

    def _plan(self, manifest: Manifest, known: Known) -> Plan:
        """Plan the download; stop if it is larger than allowed."""
        wanted = {
            code
            for code, edition in set(zip(self.codes.tolist(), known.edition.tolist(), strict=True))
            if code in manifest.partitions and edition != manifest.partitions[code].edition
        }
        # With all partitions, what is fetched may not depend on the book: damage is looked for everywhere.
        news = bool(wanted) or not known.known.all()
        checked = set(manifest.partitions) if news and self.options.partitions == "all" else wanted
        holdings = {
            key: holding
            for key, holding in self.cache.holdings(manifest.audience, manifest.epoch).items()
            if all(is_held(self.server.data, file, thorough=key[0] in checked) for file in holding.files())
        }

        def plan(privacy: Privacy, partitions: Partitions) -> Plan:
            return make_plan(
                manifest,
                holdings,
                wanted,
                privacy=privacy,
                partitions=partitions,
                buckets=self.options.buckets,
            )

        self.plan_for = plan
        return affordable(
            plan, self.options.privacy, self.options.partitions, limit=self.options.max_download
        )

    def _evaluate(self, manifest: Manifest, new: list[bytes]) -> None:
        """Have new identifiers evaluated, batch by batch; a batch is kept as soon as it is proven."""
        # The kernels take a third of a second to load, which a sync without new contacts need not wait for.
        from contactsync.voprf.client import blind, finalize  # noqa: PLC0415
        from contactsync.voprf.suite import NE, PROOF_BYTES  # noqa: PLC0415
        from contactsync.voprf.wire import parse_reply  # noqa: PLC0415

        total = padded(len(new))
        self.largest_round = max(self.largest_round, total)
        done = 0
        path = f"/v1/evaluate/{manifest.audience}/{manifest.epoch}"
        for batch in batches(new):
            self.progress("evaluating", done, total)
            blinding = blind(batch.inputs)
            length = len(batch.inputs) * NE + PROOF_BYTES
            reply = self.transport.post(path, blinding.blinded.tobytes(), reply_length=length)
            # The key is the manifest's. Finalize verifies the proof before it unblinds anything.
            try:
                evaluated, proof = parse_reply(reply, len(blinding))
                outputs = finalize(blinding, evaluated, proof, manifest.public_key)
            except BadReply as error:
                raise BadReply(
                    f"{self.server.url} sent a malformed evaluation: {error}",
                    hint="nothing of it was kept; tell the operator if it happens again",
                ) from error
            real = np.array(batch.places) >= 0
            tokens = Tokens.from_outputs(outputs).take(real)
            chosen = [i for i, keep in zip(batch.inputs, real.tolist(), strict=True) if keep]
            self.cache.add_tokens(manifest.audience, manifest.epoch, chosen, tokens)
            done += len(batch.inputs)
            self.evaluated += len(batch.inputs)
        self.progress("evaluating", done, total)

    def _download(self, files: Sequence[DataFile]) -> None:
        """Have these files on the disk."""
        total = sum(file.length for file in files)
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.progress("downloading", done, total)

        for file in files:
            fetch_file(self.transport, self.server.data, file, advance)
        self.downloaded += total

    def _match(
        self, manifest: Manifest, plan: Plan, known: Known
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], list[Step]]:
        """Who is a member, for which edition of the partition (-1: there is none), and the steps taken."""
        member = np.zeros(len(self.identifiers), np.bool_)
        edition = np.full(len(self.identifiers), -1, np.int64)
        steps = {step.partition.name: step for step in plan.steps}
        for code, partition in manifest.partitions.items():
            mine = np.flatnonzero(self.codes == code)
            member[mine], edition[mine] = known.member[mine], partition.edition
            if not (known.edition[mine] == partition.edition).all():
                member[mine], steps[code] = self._match_partition(
                    steps[code],
                    known.tokens.take(mine),
                    member=known.member[mine],
                    edition=known.edition[mine],
                )
        return member, edition, list(steps.values())

    def _match_partition(
        self,
        step: Step,
        tokens: Tokens,
        *,
        member: NDArray[np.bool_],
        edition: NDArray[np.int64],
    ) -> tuple[NDArray[np.bool_], Step]:
        """By what is on the disk; who passes a screen is then looked up in buckets of the base.

        Buckets are fetched if a screen was asked at all, also when nobody passes: that there are none would
        tell that a new contact is no member. Raises ChoiceNeeded if that goes beyond the allowed download.
        """
        screened = match_partition(self.server.data, step, tokens, member=member, edition=edition)
        if not screened.tested.any():
            return screened.sure, step
        partition = step.partition
        candidates = tokens.take(screened.maybe)
        numbers = self.lookups.choose(partition, candidates, tokens.take(screened.tested))
        cost = ranges_cost(partition, len(numbers))
        self._check_budget(partition, min(cost, partition.base.length))
        if cost >= partition.base.length:  # which costs no more, and tells less
            step = whole_base(partition)
            self._download(step.fetch)
            self.crowded.add(partition.name)
            return match_partition(self.server.data, step, tokens, member=member, edition=edition).sure, step
        self.progress("fetching buckets", 0, 0)
        looked_up = self.lookups.match(partition, candidates, numbers)
        self.downloaded += looked_up.octets
        found = screened.sure.copy()
        found[screened.maybe] = looked_up.found
        return found, step

    def _check_budget(self, partition: Partition, cost: int) -> None:
        """Stop before more is fetched than was allowed: only now it is known how many pass the screen."""
        needed, limit = self.downloaded + cost, self.options.max_download
        if needed <= limit:
            return
        whole = self.plan_for("download", self.options.partitions)
        raise ChoiceNeeded(
            f"so many contacts pass the screen of +{partition.name} that the download is {size_text(needed)},"
            f" more than --max-download {size_text(limit)}; no bucket of it was fetched",
            hint="what was downloaded is kept; choose one of\n"
            f"  --max-download {size_text(needed)}: tells the server the buckets, among decoys\n"
            f"  --privacy download --partitions {self.options.partitions}:"
            f" about {size_text(whole.cost)}; tells the server no bucket",
        )

    def _finish(
        self,
        manifest: Manifest,
        steps: Sequence[Step],
        member: NDArray[np.bool_],
        edition: NDArray[np.int64],
    ) -> None:
        """Keep the result, then remove data files that nothing names any more, or nothing leads on from."""
        holdings: dict[tuple[str, str], Holding] = {
            (step.partition.name, step.kind): step.holding for step in steps
        }
        settled = {code for code, _ in holdings}
        for (code, kind), holding in self.cache.holdings(manifest.audience, manifest.epoch).items():
            partition = manifest.partitions.get(code)
            if code not in settled and partition is not None and leads_on(partition, holding):
                holdings[code, kind] = holding
        self.cache.finish(
            manifest.audience,
            manifest.epoch,
            self.identifiers,
            member=member,
            edition=edition,
            holdings=holdings,
            answered=[*self.told, *self.crowded],
        )
        keep = self.cache.held_files()
        for path in self.server.data.iterdir():
            if path.name not in keep:
                path.unlink()

    def _matches(self, book: AddressBook, chosen: NDArray[np.bool_]) -> list[Match]:
        """The contacts of the chosen identifiers, in the order of the book."""
        names = {self.identifiers[i] for i in np.flatnonzero(chosen)}
        return [
            Match(contact.name, identifier.decode("ascii"))
            for contact in book.contacts
            for identifier in contact.identifiers
            if identifier in names
        ]


def _false_positives(manifest: Manifest, codes: NDArray[np.str_]) -> float:
    """The largest chance, over the partitions of the book, that a contact who is no member matches."""
    used = [manifest.partitions[code] for code in np.unique(codes).tolist() if code in manifest.partitions]
    return max((partition.directory.false_positive_rate for partition in used), default=0.0)
