"""What anybody can check of the batches in a transcript: their shape, and the proofs in the replies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from contactsync.audit.report import AuditReport
from contactsync.audit.transcript.kinds import Named
from contactsync.client.core.round import LEAST
from contactsync.foundation.errors import BadReply
from contactsync.foundation.limits import MAX_BATCH
from contactsync.ristretto255 import decode
from contactsync.voprf.constants import NE
from contactsync.voprf.proof import proof_is_well_formed, verify_proof
from contactsync.voprf.suite import deserialize_elements, row
from contactsync.voprf.wire import parse_reply


def check_shape(report: AuditReport, requests: Sequence[Named]) -> None:
    """What anybody can see of batches: powers of two, canonical points that are no identity, none twice."""
    seen: set[bytes] = set()
    for one in requests:
        exchange = one.exchange
        if exchange.repeated:  # the next request has the same octets
            continue
        body, place = exchange.body, exchange.place
        count = len(body) // NE
        if not exchange.whole:
            report.leave("rounds", place, "the connection broke before all of it was sent")
            continue
        if len(body) % NE or not LEAST <= count <= MAX_BATCH or count & (count - 1):
            report.disprove(
                "rounds", place, f"{len(body):,} octets are not a power of two of 8 to 4,096 points"
            )
            continue
        rows = np.frombuffer(body, np.uint8).reshape(-1, NE)
        _, bad = deserialize_elements(rows)
        points = {point.tobytes() for point in rows}
        if bad is not None:
            report.disprove("rounds", place, f"its octets from point {bad} on are no points of the group")
        elif len(points) != count or points & seen:
            report.disprove("rounds", place, "a point is there twice, or was sent before")
        else:
            report.prove("rounds")
        seen |= points


def check_proof(report: AuditReport, one: Named, public_key: bytes) -> None:
    """That the reply to a batch was evaluated with the key of the manifest."""
    exchange, place = one.exchange, one.exchange.place
    reply = exchange.reply
    if exchange.repeated or not exchange.whole:
        return
    if reply is None or not reply.whole:
        report.leave("proofs", place, "no whole reply came")
    elif reply.status != 200:
        report.note("proofs", place, f"it was answered with status {reply.status}: nothing was evaluated")
    elif why := _why_false(exchange.body, reply.body, public_key):
        report.disprove("proofs", place, why)
    else:
        report.prove("proofs")


def _why_false(sent: bytes, came: bytes, public_key: bytes) -> str:
    """Why a reply is not what the key makes of the points that were sent; empty if it is."""
    if len(sent) % NE or not sent:
        return "what was answered are no points of the group"
    rows = np.frombuffer(sent, np.uint8).reshape(-1, NE)
    sent_elements, valid = decode(rows)
    try:
        evaluated, proof = parse_reply(came, len(rows))
    except BadReply as error:
        return str(error)
    evaluated = np.ascontiguousarray(evaluated)
    elements, bad = deserialize_elements(evaluated)
    key_is_bad = deserialize_elements(row(public_key))[1] is not None
    if not valid.all() or bad is not None or key_is_bad or not proof_is_well_formed(proof):
        return "there are octets that are no points or scalars of the group"
    if not verify_proof(public_key, sent_elements, elements, rows, evaluated, proof):
        return "it was not evaluated with the key of the manifest: the proof is false"
    return ""
