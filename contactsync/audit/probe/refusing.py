"""Sends what must be refused, and compares each reply with the table of refusals.py."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from contactsync.audit.probe.budget import ProbePlan
from contactsync.audit.probe.probed import Probed
from contactsync.audit.probe.refusals import BINARY, RAW_CASES, REFUSALS, STATUS, Pairs, RawCase, RefusedCase
from contactsync.audit.probe.wire import AGENT, MALFORMED_AGENT, Fields, RawReply, shown
from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.limits import MAX_BATCH
from contactsync.lookup.batch import sharings
from contactsync.lookup.dpf import key_length
from contactsync.publication.manifest import DataFile, Manifest
from contactsync.voprf.constants import NE

Figures = Mapping[str, str]

PROBLEM_TYPE: Final = "application/problem+json"
_CHUNK: Final = 16 << 10


def figures(probed: Probed, file: DataFile | None) -> dict[str, str]:
    """What stands in the braces of the table, for this server."""
    caller, manifest = probed.first, probed.manifest
    limit = min(MAX_BATCH, caller.burst)
    last = manifest.epoch if manifest.next is None else manifest.next.epoch
    sha256 = "0" * 64 if file is None else file.sha256
    keys = largest_keys(manifest)
    return {
        "authorization": caller.authorization[1],
        "credential": caller.credential,
        "unknown": secrets.token_urlsafe(32),
        "audience": caller.audience,
        "other": next(one for one in AUDIENCES if one != caller.audience),
        "epoch": str(manifest.epoch),
        "never": str(last + 1),
        "limit": str(limit),
        "over": str((limit + 1) * NE),
        "sha256": sha256,
        "upper": sha256.upper(),
        "length": str(0 if file is None else file.length),
        "zeros": "0" * 64,
        "root": "" if manifest.rows is None else manifest.rows.root.hex(),
        "keys": str(keys),
        "many": str(keys + 1),
    }


def largest_keys(manifest: Manifest) -> int:
    """Octets of the keys of the largest batch of look-ups, docs/http-api.md, "Look-ups"; 0 without rows."""
    if manifest.rows is None:
        return 0
    table = manifest.rows.table(manifest.partitions)
    sharing = sharings(table.row_bits, table.fold_bits)[-1]
    return sharing.sub_databases * key_length(sharing.position_bits)


def check_refusals(probed: Probed, plan: ProbePlan, file: DataFile | None) -> None:
    """All of the table. `file` is a small data file; without one no range can be asked for."""
    known = figures(probed, file)
    for case in REFUSALS:
        if case.points and "refusals" not in plan:
            continue
        if "{root}" in case.path and not known["root"]:
            continue
        if file is None and "{sha256}" in case.path and case.slug in {"bad-range", "range-not-satisfiable"}:
            continue
        with probed.report.guard("refusal", case.name.format_map(known)):
            _check(probed, case, known)
    if file is None:
        probed.report.leave(
            "refusal", "GET /v1/data", "no partition has a data file whose ranges could be asked for"
        )
    with probed.report.guard("refusal", "a body longer than any batch"):
        _too_long(probed, known)
    for raw in RAW_CASES:
        with probed.report.guard("refusal", raw.name):
            _check_raw(probed, raw, known)


def request_of(probed: Probed, case: RefusedCase, known: Figures) -> bytes:
    """The octets of a case."""
    fields = _filled(case.sent, known)
    if case.stated or case.body is not None:
        fields += (("Content-Length", case.stated.format_map(known) or str(len(case.body or b""))),)
    agent = MALFORMED_AGENT if case.is_malformed else AGENT
    head = probed.wire.head(case.method, case.path.format_map(known), fields, agent=agent)
    return head if case.stated else head + (case.body or b"")


def _check(probed: Probed, case: RefusedCase, known: Figures) -> None:
    probed.budget.spend(case.points)
    place = f"{case.method} {case.path.format_map(known)}"
    reply = probed.wire.send(request_of(probed, case, known), place)
    if reply is None:
        faults = ["the connection was closed without a reply"]
    else:
        faults = faults_of(reply, case.slug, probed, members=case.members, fields=case.fields, known=known)
    _judge(probed, f"{place} ({case.name.format_map(known)})", case.section, faults)


def _judge(probed: Probed, place: str, section: str, faults: list[str]) -> None:
    if faults:
        hint = f"see docs/http-api.md, {section!r}"
        probed.report.disprove("refusal", place, "; ".join(faults), hint)
    else:
        probed.report.prove("refusal")


def faults_of(
    reply: RawReply,
    slug: str,
    probed: Probed,
    *,
    members: Mapping[str, str] | None = None,
    fields: Pairs = (),
    known: Figures | None = None,
) -> list[str]:
    """What differs in a problem from docs/http-api.md, "Problems"."""
    known = known or {}
    status, said = STATUS[slug], reply.value()
    whole = reply.body + repr(reply.fields).encode()
    secret = [
        *(one.credential for one in probed.callers),
        *([known["unknown"]] if "unknown" in known else []),
    ]
    if any(one.encode() in whole for one in secret):
        return ["it repeats a credential"]
    if (reply.status, reply.kind) != (status, slug):
        return [f"it was answered with {reply}, not with {status} {slug}"]
    wanted: dict[str, Any] = {"status": status}
    for name, value in (members or {}).items():
        wanted[name] = int(value.format_map(known))
    faults = [
        f"its member {name} is {shown(str(said.get(name)))} instead of {value}"
        for name, value in wanted.items()
        if said.get(name) != value or isinstance(said.get(name), bool)
    ]
    if reply.media_type != PROBLEM_TYPE:
        faults.append(f"its media type is {shown(reply.media_type)}, not {PROBLEM_TYPE}")
    faults += [
        f"it has no {name}"
        for name in ("title", "detail")
        if not isinstance(said.get(name), str) or not said[name]
    ]
    if "no-store" not in reply.get("cache-control"):
        faults.append("it may be cached: there is no Cache-Control: no-store")
    for name, value in _filled(fields, known):
        if value.lower() not in reply.get(name).lower():
            faults.append(f"its field {name} is {shown(reply.get(name))} and should have {value!r}")
    return faults


def _too_long(probed: Probed, known: Figures) -> None:
    """A chunked body of one octet more than any batch has: zeros, which are no valid element."""
    caller, place = probed.first, f"POST {probed.path(probed.first)}"
    limit = int(known["limit"]) * NE
    head = probed.wire.head(
        "POST",
        probed.path(caller),
        [caller.authorization, BINARY, ("Transfer-Encoding", "chunked")],
        agent=MALFORMED_AGENT,
    )
    sizes = [*([_CHUNK] * (limit // _CHUNK)), limit % _CHUNK, 1]
    chunks = b"".join(b"%x\r\n%b\r\n" % (size, bytes(size)) for size in sizes if size)
    reply = probed.wire.send(head + chunks + b"0\r\n\r\n", place)
    if reply is None:
        faults = ["the connection was closed without a reply"]
    elif (reply.status, reply.kind) == (413, "batch-too-large"):  # a proxy has made a Content-Length of it
        faults = faults_of(reply, "batch-too-large", probed, members={"limit": "{limit}"}, known=known)
    else:
        octets = {"limit": str(limit)}
        faults = faults_of(reply, "body-too-large", probed, members={"limit": "{limit}"}, known=octets)
    _judge(probed, f"{place} (a chunked body of {limit + 1:,} octets)", "Problems", faults)


def _check_raw(probed: Probed, case: RawCase, known: Figures) -> None:
    wire = probed.wire
    head = wire.head(
        "POST", probed.path(probed.first), [probed.first.authorization, BINARY], agent=MALFORMED_AGENT
    ).removesuffix(b"\r\n")
    values = {
        "scheme": "https" if wire.is_tls else "http",
        "host": wire.authority,
        "prefix": wire.prefix,
        "audience": known["audience"],
        "epoch": known["epoch"],
    }
    octets = case.octets
    for name, value in values.items():
        octets = octets.replace(b"{%b}" % name.encode(), value.encode())
    reply = wire.send(octets.replace(b"{head}", head), case.name)
    # A connection that is closed is a refusal as well: of half a request there is no more to say.
    faults = [] if reply is None or reply.status in case.statuses else [f"it was answered with {reply}"]
    _judge(probed, case.name, case.section, faults)


def _filled(pairs: Fields, known: Figures) -> Pairs:
    return tuple((name, value.format_map(known)) for name, value in pairs)
