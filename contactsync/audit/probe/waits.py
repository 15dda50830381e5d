"""What takes time: a head, a body and a next request that do not come. They wait beside everything else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from contactsync.audit.probe.probed import Probed
from contactsync.audit.probe.refusals import BINARY
from contactsync.audit.probe.refusing import faults_of
from contactsync.audit.probe.wire import MALFORMED_AGENT, RawReply
from contactsync.foundation.errors import BadReply, NetworkError

MARGIN: Final = 10.0
"""Seconds beyond the documented time after which an end is missed."""


@dataclass(frozen=True, slots=True)
class SlowCase:
    """Octets after which nothing comes. `seconds` is the documented time until the server ends it."""

    name: str
    seconds: float
    octets: bytes
    answered: bool
    """Whether what was sent is a whole request, whose reply comes first."""


def slow_cases(probed: Probed) -> list[SlowCase]:
    """The three times of docs/http-api.md."""
    wire, caller = probed.wire, probed.first
    health = wire.head("GET", "/v1/health", agent=MALFORMED_AGENT, keep=True)
    fields = [caller.authorization, BINARY, ("Content-Length", "64")]
    batch = wire.head("POST", probed.path(caller), fields, agent=MALFORMED_AGENT, keep=True)
    return [
        SlowCase("a head that does not end", 10, health[:-2], answered=False),
        SlowCase("a body that does not come", 30, batch + bytes(32), answered=False),
        SlowCase("a next request that does not come", 30, health, answered=True),
    ]


class Waits:
    """The slow cases, in threads. Begin early, and judge when everything else is done."""

    def __init__(self, probed: Probed, wait: float) -> None:
        """`wait`: seconds that each may take; what needs more is left out."""
        self._probed = probed
        self._wait = wait
        self._cases = slow_cases(probed)
        self._running: list[tuple[SlowCase, Future[tuple[float, RawReply | None]]]] = []

    def begin(self) -> None:
        """Send what has no end."""
        for case in self._cases:
            if case.seconds + MARGIN <= self._wait:
                future: Future[tuple[float, RawReply | None]] = Future()
                self._running.append((case, future))
                # A daemon: whoever interrupts the probe does not wait for it.
                threading.Thread(target=self._run, args=(case, future), daemon=True).start()

    def judge(self) -> None:
        """Wait for their ends, and say what they were."""
        report = self._probed.report
        for case in self._cases:
            if case.seconds + MARGIN > self._wait:
                what = f"{case.name}: this takes {case.seconds + MARGIN:.0f} seconds"
                report.leave("limits", self._probed.wire.authority, what, "give --wait 40s or more")
        for case, future in self._running:
            with report.guard("limits", case.name):
                self._judge(case, future.result)

    def _judge(self, case: SlowCase, result: Callable[[], tuple[float, RawReply | None]]) -> None:
        report = self._probed.report
        try:
            seconds, reply = result()
        except NetworkError as error:
            if "in time" not in str(error):
                raise
            hint = "the operator may have chosen another time; a proxy may wait in its own way"
            what = f"the connection is still open after {case.seconds + MARGIN:.0f} seconds"
            report.leave("limits", case.name, what, hint)
            return
        if reply is not None and reply.status == 408 and reply.kind:
            faults = faults_of(reply, "too-slow", self._probed)
            if faults:
                report.disprove("limits", case.name, "; ".join(faults))
                return
        if reply is not None and not 400 <= reply.status < 500:
            report.disprove("limits", case.name, f"it was answered with {reply}")
            return
        report.prove("limits")
        if seconds < case.seconds * 0.5:
            what = f"it ended after {seconds:.0f} seconds already; the document says {case.seconds:.0f}"
            report.note("limits", case.name, what, "the operator may have chosen another time")

    def _run(self, case: SlowCase, future: Future[tuple[float, RawReply | None]]) -> None:
        try:
            future.set_result(self._outcome(case))
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is wanted
            future.set_exception(error)

    def _outcome(self, case: SlowCase) -> tuple[float, RawReply | None]:
        with self._probed.wire.line() as line:
            line.send(case.octets)
            if case.answered and line.reply(case.name) is None:
                raise BadReply(f"{case.name}: the connection was closed before a reply")
            begun = time.monotonic()
            reply = line.reply(case.name, patience=case.seconds + MARGIN)
            return time.monotonic() - begun, reply
