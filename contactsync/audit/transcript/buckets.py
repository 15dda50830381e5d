"""The lists of buckets of a transcript in screen mode: each is recomputed from its question and the secret.

The ranges that were requested are those that the client's own reader asks for, over the replies as recorded.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import urllib3
from numpy.typing import NDArray

from contactsync.audit.report import AuditReport
from contactsync.audit.transcript.files import check_files
from contactsync.audit.transcript.kinds import Named
from contactsync.audit.transcript.private import Listed, Planned
from contactsync.audit.transcript.wire import Reply
from contactsync.client.byteranges import fetch_ranges
from contactsync.client.core.mode import Allowance, AskedList, Memory
from contactsync.client.core.plan import whole_base
from contactsync.client.core.planner import Options
from contactsync.client.ledger import DECOY_SECRET_BYTES
from contactsync.client.privacy.screen import (
    Buckets,
    Crowded,
    choose_buckets,
    instead_of_list,
    list_cost,
)
from contactsync.client.transport import Transport
from contactsync.directory import RangeReader
from contactsync.directory.ranges import buckets_of
from contactsync.directory.screen import open_screen
from contactsync.directory.sidecar_ranges import SidecarRangeReader
from contactsync.foundation.errors import NetworkError, Refused
from contactsync.identifiers import title_of
from contactsync.publication.manifest import Labels, Manifest, Partition
from contactsync.tokens import Tokens

MOST_GROWN: Final = 16
"""Slot bits by which a base grows or shrinks between two lists, at most."""


@dataclass(frozen=True, slots=True)
class BucketLists:
    """Checks what was requested of bases after the points, partition by partition.

    `known` are the tokens of the contacts of a partition, where the transcript shows all of them. `folder`
    has the files that came whole, `planned` says what was held before; `options` are those of the sync.
    """

    report: AuditReport
    secret: bytes
    known: Mapping[str, set[bytes]]
    planned: Planned | None
    folder: Path
    options: Options

    def check(self, manifest: Manifest, requests: Sequence[Named], lists: Sequence[Listed]) -> list[object]:
        """Check all requests; what the server learns of each partition, as the mode says it."""
        bases = {one.base.sha256: one for one in manifest.partitions.values()}
        of_labels = {one.labels.file.sha256 for one in bases.values() if one.labels is not None}
        left, told, grouped = deque(lists), list[object](), _grouped(requests)
        for sha256, asked in list(grouped.items()):
            if sha256 in of_labels:  # looked at with its base, which comes before it
                if sha256 in grouped:
                    place = asked[0].exchange.place
                    self.report.disprove("labels", place, "entries were asked for before any list of buckets")
                continue
            partition = bases.get(sha256)
            place = asked[0].exchange.place
            if partition is None:
                self.report.disprove("buckets", place, "it is for a file that is no base of the manifest")
                continue
            entries = []
            if partition.labels is not None:
                entries = grouped.pop(partition.labels.file.sha256, [])
            if left and left[0].partition == partition.name:
                told.append(self._list(partition, left.popleft(), asked, entries))
            else:
                self._crowded(partition, asked, entries)
                told.append(Crowded(partition.name))
        for one in left:
            self.report.note("buckets", title_of(one.partition), "a list was made and was not requested")
        return told

    def _list(
        self, partition: Partition, listed: Listed, asked: Sequence[Named], entries: Sequence[Named]
    ) -> Buckets:
        place = f"{asked[0].exchange.place}, buckets of {title_of(partition.name)}"
        known = self.known.get(partition.name)
        if known is None:
            self.report.leave(
                "buckets",
                place,
                "tokens of contacts are from earlier syncs; nothing here shows that they are right",
                "a sync with an empty --state has all of them evaluated anew",
            )
        elif set(_octets(listed.tested)) != known:
            self.report.disprove("buckets", place, "its question is not that of the contacts")
        if not self._is_possible(partition, listed):
            self.report.disprove(
                "buckets", place, "wanted buckets are not on it, or it cannot be one of this base"
            )
            return Buckets(partition.name, len(listed.asked.numbers) or 1, partition.directory.layout.buckets)
        passing = self._passing(place, partition, listed.tested)
        if passing is not None and _octets(passing) != _octets(listed.candidates):
            self.report.disprove(
                "buckets", place, "the wanted buckets are not those of who passes the screen"
            )
        if self._chosen(partition, listed) != listed.asked:
            self.report.disprove("buckets", place, "question and secret give another list of buckets")
        self._ranges(place, partition, listed, asked, entries)
        total = partition.directory.layout.buckets
        return Buckets(partition.name, len(listed.asked.numbers), total, listed.odds)

    def _is_possible(self, partition: Partition, listed: Listed) -> bool:
        """Whether the list can be one of this base at all."""
        info, numbers = partition.directory, set(listed.asked.numbers)
        wanted = set(buckets_of(info, listed.candidates).tolist())
        before = info.slot_bits if listed.before is None else listed.before.slot_bits
        fits = all(number < info.layout.buckets for number in numbers)
        return bool(numbers) and wanted <= numbers and fits and abs(before - info.slot_bits) <= MOST_GROWN

    def _chosen(self, partition: Partition, listed: Listed) -> AskedList:
        before = {} if listed.before is None else {partition.name: listed.before}
        memory = Memory(self.secret, listed.asked.epoch, before, {})
        allowance = self._allowance()
        return choose_buckets(whole_base(partition), listed.candidates, listed.tested, memory, allowance)

    def _allowance(self) -> Allowance:
        buckets = self.options.buckets
        return Allowance(spent=0, limit=0, buckets=buckets, partitions="all", whole=0, leak_budget=math.inf)

    def _labels(self, partition: Partition) -> Labels | None:
        """The labels that a sync with these options uses."""
        return partition.labels if self.options.labels else None

    def _passing(self, place: str, partition: Partition, tested: Tokens) -> Tokens | None:
        """Which of the tested tokens pass the screen; None if the transcript does not have it."""
        screen = partition.screen
        held = self.planned is None or (partition.name, "screen") in self.planned.holdings
        if screen is not None and not held and (self.folder / screen.sha256).is_file():
            with self.report.guard("buckets", place):
                passes = open_screen(self.folder / screen.sha256, partition.directory, expect=screen)
                return tested.take(passes.test(tested))
        self.report.leave(
            "buckets", place, "the screen is from an earlier sync, so nobody can say here who passes it"
        )
        return None

    def _ranges(
        self,
        place: str,
        partition: Partition,
        listed: Listed,
        asked: Sequence[Named],
        entries: Sequence[Named],
    ) -> None:
        recorded, done = _RecordedRanges(asked), False
        reader = RangeReader(
            partition.directory,
            lambda places: fetch_ranges(cast("Transport", recorded), partition.base, places),
            name=f"the directory of {title_of(partition.name)}",
        )
        counts = np.zeros(0, np.int64)
        with self.report.guard("files", place):
            counts = reader.match(listed.candidates, listed.asked.numbers).counts
            done = True
        if recorded.unexpected or recorded.left:
            why = recorded.unexpected or "more was requested than the list needs"
            self.report.disprove("buckets", place, why)
        elif done:
            self.report.prove("files")
            self.report.prove("buckets", len(listed.asked.numbers))
            self._entries(place, partition, listed, counts, entries)

    def _entries(
        self,
        place: str,
        partition: Partition,
        listed: Listed,
        counts: NDArray[np.int64],
        asked: Sequence[Named],
    ) -> None:
        """The entries of labels: those of the very buckets of the list, all of them, if labels are wanted."""
        labels = self._labels(partition)
        if labels is None:
            if asked:
                self.report.disprove("labels", place, "entries were asked for that are not wanted")
            return
        recorded, done = _RecordedRanges(asked), False
        reader = SidecarRangeReader(
            labels.info(partition),
            lambda places: fetch_ranges(cast("Transport", recorded), labels.file, places),
            name=f"the labels of {title_of(partition.name)}",
        )
        with self.report.guard("labels", place):
            reader.read(listed.asked.numbers, counts)
            done = True
        if recorded.unexpected or recorded.left:
            self.report.disprove("labels", place, "entries were asked for that are not those of the list")
        elif done:
            self.report.prove("labels", len(listed.asked.numbers))

    def _crowded(self, partition: Partition, asked: Sequence[Named], entries: Sequence[Named]) -> None:
        """The whole base instead of a list: because a list would have cost no less."""
        place = f"{asked[0].exchange.place}, base of {title_of(partition.name)}"
        check_files(self.report, {partition.base.sha256: partition.base}, asked, {}, self.folder)
        labels = self._labels(partition)
        if labels is not None:
            check_files(self.report, {labels.file.sha256: labels.file}, entries, {}, self.folder)
        elif entries:
            self.report.disprove("labels", place, "labels were asked for that are not wanted")
        known = self.known.get(partition.name)
        if known is None:
            self.report.leave("buckets", place, "nobody can say here whether a list would have cost less")
            return
        tested = _tokens(known)
        passing = self._passing(place, partition, tested)
        if passing is None:
            return
        memory = Memory(self.secret or bytes(DECOY_SECRET_BYTES), 0, {}, {})
        plan = instead_of_list(replace(whole_base(partition), labels=labels), self.options.buckets)
        chosen = choose_buckets(plan, passing, tested, memory, self._allowance())
        if list_cost(plan, len(chosen.numbers)) >= plan.cost:
            self.report.prove("buckets")
        else:
            self.report.disprove("buckets", place, "the whole base was fetched where buckets cost less")


class _RecordedRanges:
    """What `fetch_ranges` needs of a transport, from recorded replies."""

    base_url = "the server"

    def __init__(self, requests: Sequence[Named]) -> None:
        self._requests = deque(one.exchange for one in requests if not one.exchange.repeated)
        self.unexpected = ""

    @property
    def left(self) -> int:
        return len(self._requests)

    @property
    def patience(self) -> _RecordedRanges:
        return self

    def attempts(self) -> _RecordedRanges:
        return self

    def succeeded(self) -> None:
        """There is nothing to count."""

    def failed(self, error: NetworkError) -> None:
        if not self._requests or self.unexpected:
            raise error

    @contextlib.contextmanager
    def get(self, path: str, *, headers: Mapping[str, str] | None, authorised: bool) -> Iterator[Any]:  # noqa: ARG002
        if not self._requests:
            raise NetworkError("nothing more was requested")
        one = self._requests.popleft()
        ranges, if_range = (headers or {}).get("Range"), (headers or {}).get("If-Range")
        if not one.target.endswith(path) or (one.of("range"), one.of("if-range")) != (ranges, if_range):
            self.unexpected = f"{one.place} asks for other ranges than those of the list"
            raise NetworkError(self.unexpected)
        reply = one.reply
        if reply is None:
            raise NetworkError(f"no reply came to {one.place}")
        if reply.status not in {200, 206, 416}:
            raise Refused(f"{one.place} was answered with status {reply.status}", status=reply.status)
        yield _Read(reply)

    def data_chunks(self, reply: _Read, limit: int) -> Iterator[bytes]:
        yield reply.body[:limit]
        if not reply.whole:
            raise NetworkError("a reply broke off")


class _Read:
    def __init__(self, reply: Reply) -> None:
        self.status, self.body, self.whole = reply.status, reply.body, reply.whole
        self.headers = urllib3.HTTPHeaderDict(dict(reply.fields))


def _grouped(requests: Sequence[Named]) -> dict[str, list[Named]]:
    found: dict[str, list[Named]] = {}
    for one in requests:
        found.setdefault(one.variable["sha256"], []).append(one)
    return found


def _octets(tokens: Tokens) -> list[bytes]:
    return [one.tobytes() for one in tokens.to_bytes()]


def _tokens(octets: set[bytes]) -> Tokens:
    rows = np.frombuffer(b"".join(sorted(octets)), np.uint8)
    return Tokens.from_bytes(rows.reshape(len(octets), -1))
