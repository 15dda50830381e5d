"""What the server has signed: followed from its root, and for how long it still counts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata

from contactsync.audit.probe.wire import Wire
from contactsync.audit.report import AuditReport
from contactsync.client.transport import MetadataFetcher, Transport
from contactsync.client.trust import fetch_root, find_root
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadReply, NetworkError
from contactsync.foundation.roles import PUBLISHING, ROLES
from contactsync.publication.manifest import Manifest
from contactsync.publication.tuf.follower import METADATA_PATH, Follower, grouped, root_fingerprint
from contactsync.publication.tuf.signed import LIFETIMES

MOST_SKEW: Final = timedelta(minutes=2)
"""How far the clock of the server may be from this machine's."""

_SOON: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SignedState:
    """What was verified: manifests by audience, and the version and the end of each role's metadata."""

    manifests: dict[str, Manifest]
    versions: dict[str, int]
    ends: dict[str, datetime]


def follow(
    report: AuditReport, wire: Wire, transport: Transport, work: Path, fingerprint: str | None
) -> SignedState:
    """Verify the metadata as a client does, but with a clock at which it still counts.

    So a server whose signatures have expired can be probed; `check_freshness` says that they have. Raises
    NetworkError, BadReply, BadSignature, Refused.
    """
    newest = fetch_root(transport)
    found = find_root(transport, newest, fingerprint) if fingerprint is not None else newest
    shown = root_fingerprint(newest)
    report.facts["fingerprint"] = shown
    if fingerprint is None:
        report.note(
            "metadata",
            "root",
            f"the fingerprint is {grouped(shown)}",
            "compare it with the one that the operator gives over another channel, or give --fingerprint",
        )
    elif found is None:
        what = f"no root has the given fingerprint; the newest has {grouped(shown)}"
        report.disprove("metadata", "root", what)
    ends = _unverified_ends(wire)
    moment = min([datetime.now(UTC), *(end - timedelta(seconds=1) for end in ends)])
    folder = work / "followed"
    fetcher = MetadataFetcher(transport)
    follower = Follower(folder, transport.base_url, fetcher, found or newest, now=moment)
    follower.refresh()
    report.prove("metadata")
    manifests = {}
    for audience in AUDIENCES:
        try:
            manifests[audience] = follower.manifest(audience)
        except NetworkError:
            named = (folder / "metadata" / "targets.json").read_bytes()
            if f'"{audience}.json"'.encode() in named:
                raise
        else:
            report.prove("metadata")
    verified = {role: _signed(folder / "metadata" / f"{role}.json") for role in PUBLISHING}
    verified["root"] = Metadata[Any].from_bytes(newest).signed
    return SignedState(
        manifests,
        {role: int(signed.version) for role, signed in verified.items()},
        {role: signed.expires for role, signed in verified.items()},
    )


def _signed(path: Path) -> Any:
    return Metadata[Any].from_bytes(path.read_bytes()).signed


def _unverified_ends(wire: Wire) -> list[datetime]:
    """When the metadata ends by its own word; only used to choose a clock by which it can be verified."""

    def get(name: str) -> Any:
        reply = wire.ask("GET", f"{METADATA_PATH}{name}")
        if reply.status != 200:
            raise NetworkError(
                f"the server answered {METADATA_PATH}{name} with {reply}",
                hint="an operator publishes with `contactsync server publish`",
            )
        try:
            return Metadata[Any].from_bytes(reply.body).signed
        except RepositoryError as error:
            raise BadReply(
                f"{METADATA_PATH}{name} is not TUF metadata", hint="check the address of the server"
            ) from error

    root, timestamp = get("root.json"), get("timestamp.json")
    try:
        snapshot = get(f"{timestamp.snapshot_meta.version}.snapshot.json")
        targets = get(f"{snapshot.meta['targets.json'].version}.targets.json")
    except (AttributeError, KeyError) as error:
        raise BadReply("the TUF metadata does not lead to targets", hint="tell the operator") from error
    return [one.expires for one in (root, timestamp, snapshot, targets)]


def check_freshness(report: AuditReport, wire: Wire, state: SignedState) -> None:
    """No signature has expired, and the clocks agree."""
    now = datetime.now(UTC)
    report.facts["ends"] = {role: state.ends[role].strftime("%Y-%m-%dT%H:%M:%SZ") for role in ROLES}
    for role in ROLES:
        end = state.ends[role]
        if end <= now:
            report.disprove(
                "freshness",
                f"{role} metadata",
                f"it expired on {end:%Y-%m-%d %H:%M} UTC",
                "clients refuse it; the operator must run `contactsync server publish`",
            )
            continue
        report.prove("freshness")
        if end < now + _SOON:
            report.note("freshness", f"{role} metadata", f"it ends within a day, on {end:%Y-%m-%d %H:%M} UTC")
        if end > now + LIFETIMES[role] + _SOON:
            what = f"it is signed for longer than {LIFETIMES[role].days} days, until {end:%Y-%m-%d} UTC"
            report.note("freshness", f"{role} metadata", what, "the operator's clock may be ahead")
    with report.guard("freshness", "clock"):
        _check_clock(report, wire)


def _check_clock(report: AuditReport, wire: Wire) -> None:
    before = datetime.now(UTC)
    said = wire.ask("GET", f"{METADATA_PATH}timestamp.json").get("date")
    now = before + (datetime.now(UTC) - before) / 2
    there = None
    with contextlib.suppress(ValueError, TypeError):
        there = parsedate_to_datetime(said)
    if there is None or there.tzinfo is None:
        report.note("freshness", "clock", "replies have no Date field: the server's clock cannot be seen")
        return
    skew = abs(there - now)
    if skew > MOST_SKEW:
        report.leave(
            "freshness",
            "clock",
            f"the server's clock and this machine's are {skew.total_seconds():,.0f} seconds apart",
            "compare both with a third one: what is signed counts by the clock",
        )
    else:
        report.prove("freshness")
