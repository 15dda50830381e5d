"""What no reply may have, whatever it answers: versions of software, cookies, a coding."""

from __future__ import annotations

import re
import threading
from typing import Final

from contactsync.audit.probe.wire import RawReply, shown
from contactsync.audit.report import AuditReport

_TELLING: Final = ("x-powered-by", "x-aspnet-version", "x-runtime", "x-generator")


class Hygiene:
    """Looks at every reply. A fault is reported once, with the place where it was seen first."""

    def __init__(self, report: AuditReport) -> None:
        self._report = report
        self._seen: set[str] = set()
        self._good = 0
        self._lock = threading.Lock()

    def watch(self, place: str, reply: RawReply) -> None:
        """See a reply. Threads may call it."""
        faults = _faults(reply)
        with self._lock:
            self._good += not faults
            for fault in faults:
                if fault not in self._seen:
                    self._seen.add(fault)
                    self._report.disprove("headers", place, fault)

    def close(self) -> None:
        """Count what was good."""
        if self._good:
            self._report.prove("headers", self._good)


def _faults(reply: RawReply) -> list[str]:
    found = []
    server = reply.get("server")
    if re.search("[0-9]", server):
        found.append(f"the field Server tells a version: {shown(server)}")
    found += [f"the field {name} tells what it runs on" for name in _TELLING if reply.get(name)]
    if reply.get("set-cookie"):
        found.append("it sets a cookie")
    if reply.get("content-encoding") not in {"", "identity"}:
        found.append(f"the body is compressed ({shown(reply.get('content-encoding'))})")
    is_ours = reply.media_type in {"application/json", "application/problem+json", "application/octet-stream"}
    if is_ours and reply.get("x-content-type-options").lower() != "nosniff":
        found.append("a reply has no X-Content-Type-Options: nosniff")
    return found
