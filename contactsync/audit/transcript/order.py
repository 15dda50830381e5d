"""The order of requests in a transcript, and when connections were closed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from contactsync.audit.report import AuditReport, Severity
from contactsync.audit.transcript.kinds import Named, Phase
from contactsync.audit.transcript.wire import RecordedWire
from contactsync.client.core.round import LEAST, MOST_QUICK
from contactsync.voprf.constants import NE

_NEVER = 1 << 62


@dataclass(slots=True)
class Segment:
    """The requests from one look at the metadata to the next. Tunnels through a proxy are left out."""

    named: list[Named] = field(default_factory=list)

    def of(self, *phases: Phase) -> list[Named]:
        """Its requests of these kinds."""
        return [one for one in self.named if one.kind.phase in phases]


def split(named: Iterable[Named]) -> list[Segment]:
    """Split where the metadata is looked at again."""
    segments = [Segment()]
    for one in named:
        if one.kind.method == "CONNECT":
            continue
        begun = any(other.kind.phase > Phase.METADATA for other in segments[-1].named)
        if one.kind.phase is Phase.METADATA and begun:
            segments.append(Segment())
        segments[-1].named.append(one)
    return segments


def check_order(report: AuditReport, wire: RecordedWire, segments: Sequence[Segment], *, asks: bool) -> None:
    """That requests come in the order of their kinds. `asks`: the mode asks for buckets after points."""
    for number, segment in enumerate(segments):
        _check_phases(report, segment, asks=asks)
        if number and not _may_follow(report, segments[number - 1], asks=asks):
            place = segment.named[0].exchange.place
            report.disprove("order", place, "the sync begins anew without a reason in the replies before")
        after = segments[number + 1].named[0].exchange.first if number + 1 < len(segments) else _NEVER
        if not asks:
            _check_closed(report, wire, segment, after)
    _check_account(report, segments)
    if len(segments) > 2:
        report.disprove("order", report.subject, "a sync begins anew once at most")


def _check_phases(report: AuditReport, segment: Segment, *, asks: bool) -> None:
    phase = Phase.METADATA
    for one in segment.named:
        here = one.kind.phase
        if one.kind.name == "file" and phase >= Phase.POINTS and asks:
            here = Phase.BUCKETS
        if here < phase:
            report.disprove("order", one.exchange.place, f"a request for {one.kind.name} has no place there")
        else:
            report.prove("order")
        phase = max(phase, here)


def _may_follow(report: AuditReport, before: Segment, *, asks: bool) -> bool:
    """Whether the server gave a reason to look at the metadata again: a refusal, or a false proof."""
    if not before.named:
        return False
    posted = before.of(Phase.POINTS)
    if asks and posted and before.named[-1].kind.name == "file":
        return False  # a run that has sent a list does not begin anew
    last = before.named[-1].exchange.reply
    false = {one.place for one in report.findings if (one.rule, one.severity) == ("proofs", Severity.ERROR)}
    return (last is not None and last.status in {404, 409}) or any(p.exchange.place in false for p in posted)


def _check_account(report: AuditReport, segments: Sequence[Segment]) -> None:
    """That the account is asked about once, after the first look at the metadata."""
    first = True
    for number, segment in enumerate(segments):
        for one in segment.named:
            if one.kind.name != "account":
                continue
            if number or not first:
                report.disprove("order", one.exchange.place, "the account was asked about before")
            first = one.exchange.repeated


def _check_closed(report: AuditReport, wire: RecordedWire, segment: Segment, after: int) -> None:
    """That in a quick round nothing is worked on before the connection is closed."""
    posted = segment.of(Phase.POINTS)
    quick = len(posted) <= MOST_QUICK and all(len(one.exchange.body) <= LEAST * NE for one in posted)
    if not posted or not quick:
        return
    last = max(one.exchange.last for one in segment.named)
    worked = [at for at in wire.worked if at < after and at > posted[0].exchange.first]
    closed = [at for number, at in wire.closed.items() if number == posted[-1].exchange.connection]
    if not worked or not closed or not last < closed[0] < worked[0]:
        place = posted[-1].exchange.place
        report.disprove("order", place, "replies were worked on before the connection was closed")
    else:
        report.prove("order")
