"""Quotas: a batch costs its points, and those once; the figures say so; what is said when none are left."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

from contactsync.audit.probe.budget import BATCH
from contactsync.audit.probe.evaluations import at_once, nobody
from contactsync.audit.probe.probed import Caller, Funds, Probed
from contactsync.audit.probe.wire import RawReply, shown
from contactsync.client.quota import DAY_SECONDS
from contactsync.foundation.limits import MAX_BATCH
from contactsync.voprf.blinding import Blinding
from contactsync.voprf.client import blind

_AWAITED = 8  # points that `t` of RateLimit waits for


@dataclass(frozen=True, slots=True)
class Stated:
    """The RateLimit fields of a reply: burst, window, points left, seconds to the next ones."""

    q: int
    w: int
    r: int
    t: int


def stated(reply: RawReply) -> Stated | None:
    """What the fields of a reply say; None if they are not there, or not as documented."""
    policy = re.fullmatch(r'"points";q=([0-9]{1,12});w=([0-9]{1,12})', reply.get("ratelimit-policy"))
    limit = re.fullmatch(r'"points";r=([0-9]{1,12});t=([0-9]{1,12})', reply.get("ratelimit"))
    if policy is None or limit is None:
        return None
    return Stated(*(int(one) for one in (*policy.groups(), *limit.groups())))


def check_charges(probed: Probed) -> None:
    """A batch, the same again, and one twice at once: 4 · BATCH points, of which half may be charged."""
    caller, report = probed.first, probed.report
    with report.guard("quota", "a batch"):
        before, reply = probed.funds(caller)
        _check_figures(probed, caller, "GET /v1/account", reply, before.left)
        once = blind(nobody(BATCH))
        spent = _charged(probed, "a batch", [once], before, BATCH)
        spent = _charged(probed, "the same batch again", [once], spent, 0)
        _charged(probed, "a batch, sent twice at once", [blind(nobody(BATCH))] * 2, spent, BATCH)


def _charged(probed: Probed, what: str, batches: list[Blinding], before: Funds, price: int) -> Funds:
    """Send batches at once, each on its connection, and compare what is left with the price of all."""
    caller, report = probed.first, probed.report
    replies = [result() for result in at_once([partial(probed.post, caller, one.blinded) for one in batches])]
    after, _ = probed.funds(caller)
    for blinding, reply in zip(batches, replies, strict=True):
        if probed.judge("quota", caller, blinding, reply) is None:
            return after
        _check_figures(probed, caller, what, reply, None)
    # Points leak out evenly; both figures are rounded down.
    least = before.total - price
    most = least + int((after.at - before.at) * caller.per_day / DAY_SECONDS) + 1
    told = f"{before.total:,} points were left, and {after.total:,} are after {what}"
    should = f"it should cost {price}"
    if after.total > most:
        report.disprove("quota", what, f"{told}: {should}", "the account is charged less than it is told")
    elif after.total < least:
        hint = "unless something else uses this account at the same time, it is charged too much"
        report.disprove("quota", what, f"{told}: {should}", hint)
    else:
        report.prove("quota")
    last = min((found.r for reply in replies if (found := stated(reply)) is not None), default=after.left)
    if not after.left - int((after.at - before.at) * caller.per_day / DAY_SECONDS) - 1 <= last <= after.left:
        report.disprove(
            "quota", what, f"the RateLimit field said that {last:,} are left, /v1/account {after.left:,}"
        )
    else:
        report.prove("quota")
    return after


def _check_figures(probed: Probed, caller: Caller, what: str, reply: RawReply, left: int | None) -> None:
    """The fields of a reply agree with the account."""
    found = stated(reply)
    if found is None:
        probed.report.disprove("quota", what, "the reply has no RateLimit fields of the documented form")
        return
    window = -(-caller.burst * DAY_SECONDS // caller.per_day)
    longest = -(-_AWAITED * DAY_SECONDS // caller.per_day) + 1
    faults = [
        (found.q != caller.burst, f"q is {found.q:,}, and the burst {caller.burst:,}"),
        (found.w != window, f"w is {found.w:,} instead of {window:,}"),
        (left is not None and found.r != left, f"r is {found.r:,}, and the body says {left}"),
        (found.r > caller.burst, f"r is {found.r:,}, more than the burst"),
        (found.t > longest, f"t is {found.t:,} seconds, and {_AWAITED} points come back in {longest:,}"),
    ]
    wrong = [text for is_wrong, text in faults if is_wrong]
    if wrong:
        probed.report.disprove("quota", what, f"RateLimit: {'; '.join(wrong)}")
    else:
        probed.report.prove("quota")


def check_out_of_quota(probed: Probed) -> None:
    """Ask for one point more than is left. If a batch is too small for that, use up the rest first."""
    with probed.report.guard("out-of-quota", "POST /v1/evaluate"):
        _use_up(probed)


def _use_up(probed: Probed) -> None:
    caller, report = probed.first, probed.report
    rule, place = "out-of-quota", probed.path(probed.first)
    most = min(MAX_BATCH, caller.burst)
    funds, _ = probed.funds(caller)
    while funds.total >= most:
        size = most if funds.total >= 2 * most else max(1, funds.total - most + 1)
        if probed.budget.left < size:
            report.leave(rule, place, f"{funds.total:,} points are left, more than the budget can use up")
            return
        reply = probed.post(caller, blind(nobody(size)).blinded)
        if reply.status != 200:
            report.leave(rule, place, f"a batch of {size} was answered with {reply}")
            return
        funds, _ = probed.funds(caller)
    needed = funds.total + 1
    if probed.budget.left < needed:
        report.leave(rule, place, f"{funds.total:,} points are left, more than the budget can ask for")
        return
    reply = probed.post(caller, blind(nobody(needed)).blinded)
    faults = _faults_of_429(caller, funds, needed, reply)
    after, _ = probed.funds(caller)
    if after.total < funds.total:
        faults.append(f"{funds.total - after.total} points were charged although it was refused")
    if faults:
        report.disprove(rule, place, f"{needed} points with {funds.total} left: {'; '.join(faults)}")
    else:
        report.prove(rule)


def _faults_of_429(caller: Caller, funds: Funds, needed: int, reply: RawReply) -> list[str]:
    """What differs from docs/http-api.md, "Quotas"."""
    if (reply.status, reply.kind) != (429, "out-of-quota"):
        return [f"it was answered with {reply}"]
    said, fields = reply.value(), stated(reply)
    pause = reply.get("retry-after")
    figures = {"left": funds.left, "burst": caller.burst, "per_day": caller.per_day, "needed": needed}
    faults = [
        f"{name} is {shown(str(said.get(name)))} instead of {value}"
        for name, value in figures.items()
        if said.get(name) != value
    ]
    if not re.fullmatch("[0-9]{1,12}", pause) or said.get("retry_after") != int(pause):
        faults.append(f"Retry-After is {shown(pause)}, and retry_after {shown(str(said.get('retry_after')))}")
    elif needed <= caller.burst:
        # Less than one point may have come back in part: both figures are rounded.
        missing = needed - funds.left
        least, most = (
            (missing - 1) * DAY_SECONDS // caller.per_day,
            -(-missing * DAY_SECONDS // caller.per_day) + 1,
        )
        if not least <= int(pause) <= most:
            faults.append(f"Retry-After is {pause} seconds, and {missing} points come back in {most}")
    if fields is None:
        faults.append("the RateLimit fields are missing")
    elif (fields.r, str(fields.t)) != (funds.left, pause):
        faults.append(f"RateLimit has r={fields.r} and t={fields.t}")
    return faults
