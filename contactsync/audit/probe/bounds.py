"""What is within the limits of docs/http-api.md must be answered: a large head, a full pipeline."""

from __future__ import annotations

from typing import Final

from contactsync.audit.probe.probed import Probed

HEAD_OCTETS: Final = 15_000
"""Octets of a head that is still within 16 KB, whatever a proxy adds."""

PIPELINE: Final = 16
"""Requests that are sent without waiting for a reply."""

_FIELD = 900


def check_bounds(probed: Probed) -> None:
    """A head of almost 16 KB; requests in a pipeline, answered in their order."""
    wire, report = probed.wire, probed.report
    with report.guard("limits", f"a head of {HEAD_OCTETS:,} octets"):
        fields = [(f"X-{index}", "x" * _FIELD) for index in range(HEAD_OCTETS // (_FIELD + 10))]
        reply = wire.ask("GET", "/v1/health", fields)
        if reply.status == 200:
            report.prove("limits")
        else:
            report.disprove("limits", f"a head of {HEAD_OCTETS:,} octets", f"it was answered with {reply}")
    place = f"{PIPELINE} requests in a pipeline"
    with report.guard("limits", place), wire.line() as line:
        known, unknown = (
            wire.head("GET", path, keep=True) for path in ("/v1/health", "/v1/tuf/metadata/none")
        )
        line.send((known + unknown) * (PIPELINE // 2))
        replies = [line.reply(place) for _ in range(PIPELINE)]
        statuses = [None if one is None else one.status for one in replies]
        if statuses == [200, 404] * (PIPELINE // 2):
            report.prove("limits")
        else:
            report.disprove("limits", place, f"they were answered with {statuses}")
