"""The data files of a transcript: which were asked for, from where on, and whether they are as signed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contactsync.audit.report import AuditReport
from contactsync.audit.transcript.kinds import Named
from contactsync.audit.transcript.private import Planned
from contactsync.client.byteranges import place_of
from contactsync.client.core.planner import Options, Planner
from contactsync.client.privacy import load_modes
from contactsync.publication.manifest import DataFile, Manifest


@dataclass(slots=True)
class _Part:
    """A file as it comes. `from_before` octets were there when the sync began."""

    file: DataFile
    from_before: int
    data: bytearray = field(default_factory=bytearray)
    may_restart: bool = False

    @property
    def length(self) -> int:
        return self.from_before + len(self.data)


@dataclass(frozen=True, slots=True)
class FileChoice:
    """What decides which files are fetched. `names` are the partitions of the address book.

    In those of `later` buckets were asked for. `ended_early`: the sync did not get to its end.
    """

    manifest: Manifest
    planned: Planned
    options: Options
    names: frozenset[str]
    later: frozenset[str]
    ended_early: bool

    def check(self, report: AuditReport, requests: Sequence[Named]) -> Sequence[str]:
        """That just those files were asked for that are due, in their order; the partitions of these."""
        asked = list(dict.fromkeys(one.variable["sha256"] for one in requests))
        place = requests[0].exchange.place if requests else "the whole sync"
        partitions = self.manifest.partitions
        owners = {file.sha256: name for name, part in partitions.items() for file in part.files()}
        chosen = frozenset(owners[sha256] for sha256 in asked if sha256 in owners) | self.later
        if self.options.partitions == "mine" and not chosen <= self.names:
            report.disprove(
                "choice", place, "something of a partition was fetched in which there is no contact"
            )
            return ()
        options = self.options
        planner = Planner(
            self.manifest, self.planned.holdings, chosen, load_modes(), options.buckets, options.labels
        )
        plan = planner.plan(options.privacy, options.partitions)
        held = self.planned.held
        due = [file.sha256 for file in plan.files if held.get(file.sha256, 0) != file.length]
        if asked == due or (self.ended_early and asked == due[: len(asked)]):
            report.prove("choice", len(due) or 1)
        else:
            what = f"{len(asked)} files were fetched; {len(due)} were due, or others, or in another order"
            report.disprove("choice", place, what)
        return plan.fetched_names


def check_files(
    report: AuditReport,
    files: Mapping[str, DataFile],
    requests: Sequence[Named],
    held: Mapping[str, int] | None,
    folder: Path,
) -> None:
    """That each file begins where it has to, and is the one that the manifest names; whole ones are kept.

    `held` is None without the private file: then nobody knows how much of a file was there before.
    """
    parts: dict[str, _Part] = {}
    for one in requests:
        sha256 = one.variable["sha256"]
        if sha256 not in files:
            report.disprove("choice", one.exchange.place, "the manifest names no such file")
            continue
        begun = _first(one) if held is None else held.get(sha256, 0)
        part = parts.setdefault(sha256, _Part(files[sha256], begun))
        _check_begin(report, one, part)
        if not one.exchange.repeated:
            _take(report, one, part)
    for sha256, part in parts.items():
        _check_whole(report, sha256, part, folder)


def _first(one: Named) -> int:
    """The offset from which on a request wants a file."""
    ranges = one.exchange.of("range")
    return 0 if ranges is None else int(ranges.removeprefix("bytes=").partition("-")[0])


def _check_begin(report: AuditReport, one: Named, part: _Part) -> None:
    ranges = one.exchange.of("range")
    if ranges is None and part.length and part.may_restart:
        part.from_before, part.data = 0, bytearray()
    must = f"bytes={part.length}-" if part.length else None
    if ranges != must:
        report.disprove(
            "choice", one.exchange.place, f"it asks for {ranges or 'all'} where {must or 'all'} was missing"
        )
    else:
        report.prove("choice")


def _take(report: AuditReport, one: Named, part: _Part) -> None:
    """Add what came."""
    reply, file = one.exchange.reply, part.file
    if reply is None:
        return
    if reply.status == 200:
        part.from_before, part.data = 0, bytearray()
    elif reply.status == 206:
        answered = place_of(reply.fields.get("content-range", ""))
        if answered is None or answered[0].start != part.length or answered[1] != file.length:
            part.may_restart = True
            report.leave("files", one.exchange.place, "another range came than the one that was asked for")
            return
    else:
        part.may_restart = reply.status == 416
        return
    part.data += reply.body[: max(0, file.length - part.length)]
    if reply.whole and part.length < file.length and reply.status == 200:
        report.disprove("files", one.exchange.place, "the file is shorter than the manifest says")


def _check_whole(report: AuditReport, sha256: str, part: _Part, folder: Path) -> None:
    place = f"file {sha256}"
    if part.from_before:
        report.leave(
            "files",
            place,
            f"its first {part.from_before:,} octets came in an earlier sync and are not in this transcript",
        )
    elif part.length < part.file.length:
        report.leave("files", place, f"only {part.length:,} of its {part.file.length:,} octets came")
    elif hashlib.sha256(part.data).hexdigest() != sha256:
        report.disprove("files", place, "its SHA-256 is not that of the manifest")
    else:
        (folder / sha256).write_bytes(part.data)
        report.prove("files")
