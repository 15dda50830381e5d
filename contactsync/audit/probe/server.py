"""`audit server`: probe a running server, most important first, within a budget of points.

Proofs come first, by requests that look like those of a client. It is safe for the server: requests are
spaced, few connections are open at once, and what is malformed is small. It believes nothing but what was
signed, and what it computed itself.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contactsync.audit.probe import freshness
from contactsync.audit.probe.bounds import check_bounds
from contactsync.audit.probe.budget import PointBudget, ProbePlan, plan, steps_for
from contactsync.audit.probe.charges import check_charges, check_out_of_quota
from contactsync.audit.probe.evaluations import check_evaluations
from contactsync.audit.probe.hygiene import Hygiene
from contactsync.audit.probe.probed import Caller, Probed
from contactsync.audit.probe.refusals import NOT_PROVOKED
from contactsync.audit.probe.refusing import check_refusals
from contactsync.audit.probe.routes import check_credentials, check_routes, smallest_file
from contactsync.audit.probe.timing import check_timing
from contactsync.audit.probe.tls import check_tls, context_of, is_ours
from contactsync.audit.probe.waits import Waits
from contactsync.audit.probe.wire import PACE, Wire, shown
from contactsync.audit.report import AuditReport
from contactsync.client.transport import Transport
from contactsync.foundation.errors import BadInput, BadReply, NetworkError, Refused
from contactsync.foundation.route import Route

RULES: Final = {
    "tls": "TLS is 1.2 or newer with a good certificate, and nothing is served without it",
    "metadata": "the TUF metadata is signed by the root that is served, and leads to the manifests",
    "freshness": "no signature has expired, and the clocks agree",
    "proof": "each evaluation is proven to be made with the key of the signed manifest",
    "accounts": "every account is answered with that key, and with the same elements",
    "parallel": "so is each of several connections at once",
    "determinism": "a point gives the same element in any batch, place, connection and account",
    "finalize": "different blinds of an input lead to the same output",
    "nonce": "no two proofs share a nonce",
    "refusal": "what must be refused is refused as documented",
    "limits": "heads and pipelines within the limits are answered; what does not come is not waited for",
    "credential": "what needs a credential is not served without one, nor to another audience",
    "quota": "a batch costs its points once, and all figures say so",
    "out-of-quota": "a batch beyond the quota is refused, costs nothing, and is told when it would pass",
    "headers": "each route has its documented fields; no reply tells a version or sets a cookie",
    "ranges": "ranges of a data file are its octets",
    "timing": "batches of members take as long as batches of others",
    "health": "the server is well before the probe and after it",
}

LEAST_BATCHES: Final = 6
"""With fewer batches nothing is said about how rarely a server could use another key."""

WAIT: Final = 40.0
"""Seconds for the checks that wait for the server to lose patience."""


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """How a server is probed. `members` are identifiers of members, `wait` seconds for what takes time.

    `pace` is the least time between requests, in seconds.
    """

    fingerprint: str | None = None
    members: Sequence[bytes] | None = None
    ca_file: Path | None = None
    wait: float = WAIT
    pace: float = PACE


def audit_server(
    url: str, credentials: Sequence[tuple[str, str]], points: int, options: ProbeOptions | None = None
) -> AuditReport:
    """Probe the server at a canonical URL, with accounts (a name each, and its credential).

    Never sends more than `points` points. A server that cannot be reached, is none of contactsync, refuses a
    credential or goes away is a finding, and the rest is unchecked. Raises BadInput: no account; too few
    points.
    """
    chosen = options or ProbeOptions()
    if not credentials:
        raise BadInput("a probe needs a credential", hint="give --credential-file")
    callers = [Caller(name, credential) for name, credential in credentials]
    if len({one.credential for one in callers}) < len(callers):
        raise BadInput("a credential is given twice", hint="give another account of the same audience")
    report, budget = AuditReport(url, RULES), PointBudget(points)
    report.facts["points"] = {"budget": points, "sent": 0}
    context = context_of(chosen.ca_file)
    wire = Wire(url, context=context, pace=chosen.pace)
    if _recognised(report, wire, context):
        hygiene = Hygiene(report)
        wire.watch = hygiene.watch
        with tempfile.TemporaryDirectory(prefix="contactsync-") as work:
            _probe(Probed(wire, report, budget, callers), Path(work), chosen)
        hygiene.close()
    report.facts["points"] = {"budget": points, "sent": budget.sent}
    report.facts["requests"] = wire.requests
    report.close()
    return report


def _recognised(report: AuditReport, wire: Wire, context: ssl.SSLContext) -> bool:
    """Whether a contactsync server answers, over a way on which a credential may be sent.

    If not, it is a finding: who is no such server has promised nothing.
    """
    place = f"{report.subject}/v1/health"
    try:
        if not check_tls(report, wire, context):
            return False
        reply = wire.ask("GET", "/v1/health")
        if not is_ours(reply):
            what = f"this is no contactsync server: it gave {reply.status} and {shown(reply.media_type)}"
            report.leave("health", place, what, "check the address")
            return False
    except (NetworkError, BadReply) as error:
        report.leave("health", place, str(error), error.hint)
        return False
    return True


def _probe(probed: Probed, work: Path, options: ProbeOptions) -> None:
    report = probed.report
    route = Route(None, options.ca_file)
    transport = Transport(report.subject, credential=probed.callers[0].credential, route=route)
    try:
        state = None
        with report.guard("metadata", "metadata"):
            state = freshness.follow(report, probed.wire, transport, work, options.fingerprint)
        if state is not None and _introduced(probed, state):
            # What was found counts, also if the server goes away, or says what is no HTTP any more.
            with report.guard("health", "the rest of the probe"):
                _probe_as_known(probed, state, transport, work, options)
    finally:
        transport.close()


def _introduced(probed: Probed, state: freshness.SignedState) -> bool:
    """Whether the server knows all accounts, and has published something for the first. If not, it is said.

    This comes before any point is spent.
    """
    report, known = probed.report, list[Caller]()
    for one in probed.callers:
        try:
            known.append(probed.introduce(one))
        except BadReply as error:
            report.disprove("headers", "GET /v1/account", str(error), error.hint)
            return False
        except (Refused, NetworkError) as error:
            report.leave("credential", one.name, str(error), error.hint)
            return False
    probed.manifests, probed.callers = state.manifests, known
    if probed.first.audience not in probed.manifests:
        what = f"nothing is published for {probed.first.audience}, the audience of {probed.first.name}"
        report.leave("metadata", "manifests", what, "give an account of another audience first")
        return False
    return True


def _probe_as_known(
    probed: Probed, state: freshness.SignedState, transport: Transport, work: Path, options: ProbeOptions
) -> None:
    """All that needs accounts. Raises NetworkError, BadReply: the server has gone away, or speaks no HTTP."""
    wire, report = probed.wire, probed.report
    _health(probed, "before")
    freshness.check_freshness(report, wire, state)
    decided = _decided(probed)
    # First what looks like a client, so that the server does not know better yet.
    _evaluate(probed, decided, transport, work, options)
    waits = Waits(probed, options.wait)
    waits.begin()
    file = smallest_file(probed.manifest)
    check_routes(probed, state.versions, file)
    check_credentials(probed)
    check_bounds(probed)
    check_refusals(probed, decided, file)
    for why in dict.fromkeys(NOT_PROVOKED.values()):
        slugs = ", ".join(slug for slug, one in NOT_PROVOKED.items() if one == why)
        report.note("refusal", slugs, f"not provoked: {why}")
    if "out-of-quota" in decided:
        check_out_of_quota(probed)
    waits.judge()
    _health(probed, "after")


def _decided(probed: Probed) -> ProbePlan:
    """What the points are spent on. What is left out is a finding."""
    report, accounts = probed.report, len(probed.callers)
    funds, _ = probed.funds(probed.first)
    has_next = probed.manifest.next is not None
    steps = steps_for(accounts, funds.total, has_next=has_next)
    made = plan(probed.budget.points, funds.total, steps)
    report.facts["accounts"] = accounts
    report.facts["steps"] = [
        {"step": step.name, "points": step.points, "taken": step.name in made} for step in steps
    ]
    for step in made.left_out:
        short = step.name != "out-of-quota" and step.points > funds.total
        why = f"the account has {funds.total:,} points left" if short else "the budget is too small"
        for rule in step.rules:
            what = f"left out: {step.what} (up to {step.points:,} points): {why}"
            report.leave(rule, step.name, what, "give a larger --budget, or an account with more points")
    if not any(one.audience == probed.first.audience for one in probed.callers[1:]):
        what = f"there is no second account of {probed.first.audience} to compare with"
        report.leave("accounts", "accounts", what, "give --credential-file a second time")
    for caller in probed.callers[1:]:
        if caller.audience not in probed.manifests:
            report.leave("accounts", caller.name, f"nothing is published for its audience {caller.audience}")
    return made


def _evaluate(
    probed: Probed, made: ProbePlan, transport: Transport, work: Path, options: ProbeOptions
) -> None:
    if "key" in made:
        check_evaluations(probed, made)
    if "charges" in made:
        check_charges(probed)
    if "timing" in made:
        check_timing(probed, transport, work, made.pairs, options.members)
    if probed.batches >= LEAST_BATCHES:
        # (1 - 1/k)^n is 1/20 for k = n/3: the rule of three.
        what = f"{probed.batches} batches: another key in one of {probed.batches // 3} would have been found"
        probed.report.note("proof", probed.path(probed.first), f"{what} in 95 of 100 probes")


def _health(probed: Probed, when: str) -> None:
    """The server says that it is well."""
    with probed.report.guard("health", f"GET /v1/health, {when}"):
        reply = probed.wire.ask("GET", "/v1/health")
        if reply.status == 200:
            probed.report.prove("health")
        else:
            probed.report.disprove("health", f"GET /v1/health, {when}", f"it says {reply}")
