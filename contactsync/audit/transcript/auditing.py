"""The audit of a transcript: every octet that was sent is accounted for, and what was received is checked.

With the private file and the address book all of it can be proven; without them what an outsider can check.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from contactsync import __version__
from contactsync.audit.report import AuditReport
from contactsync.audit.transcript.buckets import BucketLists
from contactsync.audit.transcript.files import FileChoice, check_files
from contactsync.audit.transcript.given import RECORD, GivenFiles, read_given
from contactsync.audit.transcript.kinds import Named, Phase, classify
from contactsync.audit.transcript.learned import Learned, by_contact
from contactsync.audit.transcript.order import Segment, check_order, split
from contactsync.audit.transcript.points import Book, Points, SentPoints, check_round, is_batch
from contactsync.audit.transcript.private import SAME_VERSION, Listed, Private, SentBatch, SentRound
from contactsync.audit.transcript.proofs import check_proof, check_shape
from contactsync.audit.transcript.trusted import Walk
from contactsync.audit.transcript.wire import RecordedWire, read_wire
from contactsync.client.privacy import load_modes
from contactsync.client.recording import book_hash
from contactsync.client.transcript import Transcript
from contactsync.contacts import AddressBook
from contactsync.identifiers import partition_of
from contactsync.publication.manifest import Manifest
from contactsync.publication.partition import Partition
from contactsync.publication.tuf.follower import grouped, root_fingerprint

RULES: Final = {
    RECORD: "the files are whole, and as a sync of this version wrote them",
    "requests": "every octet sent is in a request that a client makes, with the headers that it must have",
    "order": "metadata comes before files, points, buckets; the connection is closed before work on replies",
    "metadata": "the metadata that came is signed, and leads from the pinned root to the manifest",
    "choice": "which files were fetched, and from where on, follows from the manifest and from what was held",
    "files": "each file or part of one that came is the one that the manifest names",
    "rounds": "points are sent in rounds and batches of the sizes that they must have, and none twice",
    "proofs": "each batch was evaluated with the key of the manifest",
    "points": "each point is of a contact of the address book or of padding, under a blind of its own",
    "padding": "padding has the lengths of contacts, and it and the blinds look like chance",
    "buckets": "each list of buckets is the one that its question and the decoy secret give",
    "labels": "labels were fetched of whole partitions or of whole lists of buckets, if any were wanted",
    "learned": "what the server could learn is what the sync said",
}
_PRIVATE: Final = ("choice", "points", "padding", "buckets", "labels", "learned")


def audit_transcript(
    path: Path,
    work: Path,
    *,
    transcript: Transcript | None = None,
    private: Path | None = None,
    book: AddressBook | None = None,
    fingerprint: str | None = None,
    contacts: bool = False,
) -> AuditReport:
    """Audit a transcript. `work` is an empty folder for it; `transcript`: what was read from `path` before.

    `private` and `book` go together. `fingerprint` is that of the root that was pinned, known from elsewhere.
    `contacts` adds what left because of each contact. A file that is not whole, or not one that a sync wrote,
    is a finding. Raises BadInput if one cannot be opened.
    """
    report = AuditReport(str(path), RULES)
    given = read_given(report, path, transcript, private, book)
    if given is None:
        for rule, description in RULES.items():
            if rule != RECORD:
                report.leave(rule, report.subject, f"not without a whole transcript: {description}")
    else:
        _TranscriptAudit(given, work, report).run(fingerprint, contacts=contacts)
    report.close()
    return report


class _TranscriptAudit:
    def __init__(self, given: GivenFiles, work: Path, report: AuditReport) -> None:
        transcript, private = given.transcript, given.private
        self._transcript = transcript
        self._work = work
        self._report = report
        self._private = private
        self._book = given.book
        self._options = given.options
        self._wire: RecordedWire = read_wire(transcript.events)
        self._sought = given.sought
        self._points = Points(report, Book(self._sought)) if private is not None else None
        self._done = transcript.ending.outcome == "done"
        self._batches: list[SentBatch] = [] if private is None else list(private.batches)
        self._rounds: list[SentRound] = [] if private is None else list(private.rounds)
        self._plans = [] if private is None else list(private.plans)
        self._lists = [] if private is None else list(private.lists)
        self._told: list[object] = []
        self._names: Sequence[str] = ()
        self._answered = 0
        self._uncovered = False
        self._followed = self._unexplained = 0  # requests with points whose manifest is known; batches
        self._listed: list[tuple[Listed, Partition]] = []

    def run(self, fingerprint: str | None, *, contacts: bool) -> None:
        """Check everything."""
        report = self._report
        self._facts()
        named = self._classified()
        self._check_pin(fingerprint)
        segments = split(named)
        check_shape(report, [one for one in named if one.kind.name == "points"])
        self._walk(segments)
        check_order(report, self._wire, segments, asks=self._mode_asks)
        self._say_what_is_left([one for one in named if one.kind.name == "points"])
        if self._points is not None and self._private is not None:
            self._check_book(self._private)
            if self._points.sent:
                self._points.check_chance()
            self._check_left_over()
            self._check_learned()
        else:
            for rule in _PRIVATE:
                report.leave(rule, report.subject, f"not without the private file: {RULES[rule]}", _GIVE)
        if contacts and self._points is not None:
            points, sought = self._points, set(self._sought)
            found = by_contact(self._book, points.sent, points.tokens, self._listed, sought)
            report.facts["by_contact"] = list(found)

    def _facts(self) -> None:
        opening, ending, facts = self._transcript.opening, self._transcript.ending, self._report.facts
        facts |= {
            "server": opening.server,
            "program": opening.program,
            "ended": ending.outcome,
            "requests": len(self._wire.exchanges),
            "bytes_sent": ending.sent,
            "bytes_received": ending.received,
            "leak": ending.said,
        }
        if not self._done:
            why = f" ({ending.error[:60]!a})" if ending.error else ""
            self._report.note("requests", self._report.subject, f"the sync {ending.outcome}{why}")
        if opening.program != f"contactsync/{__version__}":
            self._report.leave(
                "requests",
                self._report.subject,
                f"another version wrote it ({opening.program[:40]!a}), which may send other requests",
                SAME_VERSION,
            )

    def _classified(self) -> list[Named]:
        """What each request is. Those that are nothing are in the report."""
        report, named = self._report, []
        for place, octets in self._wire.strays:
            report.disprove("requests", place, f"{octets:,} octets were sent that are in no request")
        for why in self._wire.unread:
            report.note("requests", "replies", why)
        secrets = set()
        for one in self._wire.exchanges:
            found = classify(one, self._transcript.opening)
            secrets |= {(hidden.what, hidden.length, hidden.keyed_hash) for hidden in one.hidden}
            if isinstance(found, str):
                report.disprove("requests", one.place, found)
                continue
            report.prove("requests")
            named.append(found)
        if len({what for what, *_ in secrets}) != len(secrets):
            report.disprove("requests", report.subject, "two different credentials were sent")
        return named

    def _check_pin(self, fingerprint: str | None) -> None:
        shown = root_fingerprint(self._transcript.opening.trusted.get("root.json", b""))
        self._report.facts["fingerprint"] = shown
        if fingerprint is None:
            hint = (
                "compare it with the one that the operator gives over another channel, or give --fingerprint"
            )
            self._report.note(
                "metadata", "root", f"the pinned root has the fingerprint {grouped(shown)}", hint
            )
        elif fingerprint != shown:
            self._report.disprove("metadata", "root", f"the pinned root has another one: {grouped(shown)}")

    # What was received, and what it leads to

    def _walk(self, segments: Sequence[Segment]) -> None:
        walk = None
        with self._report.guard("metadata", "what the client trusted"):
            walk = Walk(self._transcript.opening, self._work)
        if walk is None:
            return
        for number, segment in enumerate(segments):
            found = walk.follow(self._report, segment.of(Phase.METADATA))
            later = segment.of(Phase.ACCOUNT, Phase.FILES, Phase.POINTS)
            if found is None:
                for one in later[:1]:
                    self._report.disprove(
                        "order", one.exchange.place, "it was sent although the metadata was not verified"
                    )
                continue
            self._segment(segment, found, is_last=number == len(segments) - 1)

    def _segment(self, segment: Segment, published: Manifest, *, is_last: bool) -> None:
        report = self._report
        posted = segment.of(Phase.POINTS)
        first_posted = posted[0].exchange.first if posted else 1 << 62
        data = segment.of(Phase.FILES)
        early = [one for one in data if one.exchange.first < first_posted]
        late = [one for one in data if one.exchange.first > first_posted]
        for one in segment.of(Phase.ACCOUNT):
            if one.kind.name != "account":
                report.leave("choice", one.exchange.place, "nothing here says which part of the log is due")
        planned = self._plans.pop(0) if self._plans and (data or posted or is_last) else None
        used = _used(published, posted, planned.epoch if planned is not None else None)
        if used is None:
            report.disprove(
                "choice", posted[0].exchange.place, "it names an epoch that the manifest does not"
            )
            return
        files = published.files()
        if not data:
            report.note("files", report.subject, "no file was fetched")
        held = None if planned is None else planned.held
        check_files(report, files, early, held, self._work)
        self._check_labels(used, data)
        ended_early = not (self._done and is_last)
        lists = []
        if planned is None and self._private is not None and (data or posted or self._done):
            report.disprove("choice", report.subject, "the private file does not say what was held")
        if planned is not None:
            later = {one.name for one in used.partitions.values() if one.base.sha256 in _shas(late)}
            names = frozenset(partition_of(one) for one in self._sought)
            choice = FileChoice(
                used, planned, self._options, names, frozenset(later), ended_early and not posted
            )
            self._names = choice.check(report, early)
            lists = [one for one in self._lists if one.asked.epoch == used.epoch]
            if not all(one.partition in used.partitions for one in lists):
                report.disprove("buckets", report.subject, "a list is for a partition that there is not")
                lists = [one for one in lists if one.partition in used.partitions]
            self._listed += [(one, used.partitions[one.partition]) for one in lists]
        self._check_batches(posted, used)
        if self._private is not None and self._mode_asks:
            known = self._known(used)
            checker = BucketLists(
                report, self._private.decoy_secret or b"", known, planned, self._work, self._options
            )
            self._told += checker.check(used, late, lists)
        elif self._private is not None:
            report.note("buckets", report.subject, "download mode asks for no buckets")

    def _check_labels(self, used: Manifest, data: Sequence[Named]) -> None:
        """That labels were asked for only if they were wanted. Which are due the choice of files says."""
        if self._private is None:
            return
        report, published = self._report, [one for one in used.partitions.values() if one.labels is not None]
        sidecars = {file.sha256 for one in published if one.labels is not None for file in one.labels.files()}
        asked = [one for one in data if one.variable["sha256"] in sidecars]
        if asked and not self._options.labels:
            report.disprove("labels", asked[0].exchange.place, "labels were not wanted, and were asked for")
        elif asked:
            report.prove("labels", len(asked))
        elif not published or not self._options.labels:
            report.note("labels", report.subject, "no labels are published, or none were wanted")
        else:
            report.note("labels", report.subject, "no labels were due")

    def _known(self, manifest: Manifest) -> dict[str, set[bytes]]:
        """The tokens of all contacts of a partition, where the transcript shows all of them."""
        assert self._points is not None
        found: dict[str, set[bytes]] = {}
        partial = set()
        for identifier in self._sought:
            name, token = partition_of(identifier), self._points.tokens.get((manifest.epoch, identifier))
            if token is None:
                partial.add(name)
            else:
                found.setdefault(name, set()).add(token)
        return {name: tokens for name, tokens in found.items() if name not in partial}

    def _check_batches(self, posted: Sequence[Named], used: Manifest) -> None:
        report, sent = self._report, list[SentPoints]()
        this = self._rounds.pop(0) if self._rounds else None
        for one in posted:
            check_proof(report, one, used.public_key)
            if one.exchange.succeeded:
                self._answered += len(one.exchange.body) // 32
            if self._points is None or not is_batch(one):
                continue
            if not self._batches or int(one.variable["epoch"]) != self._batches[0].epoch:
                report.disprove("points", one.exchange.place, "there are no blinds for this batch")
                continue
            explained = self._points.explain(one, self._batches.pop(0), used.public_key)
            if explained is not None:
                sent.append(explained)
        self._followed += len(posted)
        if self._points is not None:
            self._unexplained += sum(map(is_batch, posted)) - len(sent)
        if this is not None:
            if this.epoch != used.epoch or (this.cover and not self._options.cover):
                report.disprove(
                    "rounds", report.subject, "the round is of another epoch, or of other options"
                )
            self._uncovered = check_round(report, this, sent, posted)

    @property
    def _mode_asks(self) -> bool:
        return load_modes()[self._options.privacy].asks

    # What explains it

    def _check_book(self, private: Private) -> None:
        identifiers = self._book.identifiers
        self._report.facts["further_forms"] = len(self._sought) - len(identifiers)
        same = book_hash(private.key, identifiers) == private.book
        if not same or len(set(identifiers)) != private.identifiers:
            self._report.leave(
                "points",
                "the address book",
                f"it is not the one that was synced: {len(set(identifiers)):,} numbers instead of"
                f" {private.identifiers:,}, or others",
                "give the same books and --region as for the sync",
            )

    def _check_left_over(self) -> None:
        """That nothing is explained that was not sent, but what a sync that failed had left to send."""
        if self._done and (self._batches or self._rounds):
            self._report.disprove(
                "points",
                self._report.subject,
                f"{len(self._batches)} batches are explained that were not sent",
            )

    def _say_what_is_left(self, posted: Sequence[Named]) -> None:
        """Why rules about points have nothing to check, or not all of them."""
        report, private = self._report, () if self._points is None else ("points", "padding")
        for rule in ("proofs", *private) if self._followed < len(posted) else ():
            report.leave(rule, report.subject, "points were sent for which no manifest was verified")
        for rule in () if posted else ("rounds", "proofs", *private):
            report.note(rule, report.subject, "no points were sent")
        if self._unexplained:
            what = f"{self._unexplained} batches are not explained: nothing says what in them is padding"
            report.leave("padding", report.subject, what)

    def _check_learned(self) -> None:
        assert self._private is not None
        report = self._report
        learned = Learned(self._private.rounds, self._answered, self._uncovered, self._names, self._told)
        text = learned.sentence(self._options)
        report.facts["leak"] = text
        said = self._transcript.ending.said
        if said is None:
            report.note("learned", report.subject, f"the sync did not get to say it: {text}")
        elif said != text:
            report.disprove("learned", report.subject, f"the sync said something else: {said!a}")
        else:
            report.prove("learned")


_GIVE: Final = "give --private FILE.private and --contacts BOOK"


def _used(published: Manifest, posted: Sequence[Named], planned: int | None) -> Manifest | None:
    """The epoch that was used: that of the manifest, or the one that it announces."""
    epochs = {int(one.variable["epoch"]) for one in posted} | ({planned} if planned is not None else set())
    for manifest in (published, published.ahead()):
        if manifest is not None and epochs <= {manifest.epoch}:
            return manifest
    return None


def _shas(requests: Iterable[Named]) -> set[str]:
    return {one.variable["sha256"] for one in requests}
