"""Measures requests: how many, how long, why refused. No label comes from a request, so there are few.

It wraps the whole application, and is told of what does not go through it (direct.py). The reason of a
refusal is read from the problem that is sent, whichever part of the application made it.
"""

from __future__ import annotations

import re
import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contactsync.server.http.problems import Problem

ROUTES: Final = {
    "/v1/evaluate/": "evaluate",
    "/v1/lookup/": "lookup",
    "/v1/data/": "data",
    "/v1/tuf/metadata/": "metadata",
    "/v1/tuf/targets/": "targets",
    "/v1/log/": "log",
    "/v1/account": "account",
    "/v1/health": "health",
    "/page/": "page",
    "/shell.js": "page",
}
"""The label of a request, by how its path begins; `other` for all else."""

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COMPANY: Final = (1, 2, 4, 8, 16, 32, 64)
_LOOKUP_COMPANY: Final = (1, 2, 4, 8)
_REASON: Final = re.compile(rb'"type": "urn:contactsync:problem:([a-z-]{1,40})"')
_UNKNOWN: Final = "other"


class Requests:
    """The figures of the requests of one process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter("contactsync_requests", "Requests.", ["route"], registry=registry)
        self._replies = Counter(
            "contactsync_replies", "Replies of this process.", ["status"], registry=registry
        )
        self._refusals = Counter(
            "contactsync_refusals", "Requests answered with a problem.", ["reason"], registry=registry
        )
        self._seconds = Histogram(
            "contactsync_request_seconds",
            "From the head of a request to the head of its reply.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._running = Gauge("contactsync_requests_running", "Requests being answered.", registry=registry)
        self._company = Histogram(
            "contactsync_company", "Small batches evaluated together.", buckets=_COMPANY, registry=registry
        )
        self._lookup_company = Histogram(
            "contactsync_lookup_company",
            "Look-ups answered in one pass over the rows.",
            buckets=_LOOKUP_COMPANY,
            registry=registry,
        )
        self._pass_seconds = Histogram(
            "contactsync_lookup_pass_seconds",
            "Of a pass over the rows, for all that were answered in it.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._lookup_refusals = Counter(
            "contactsync_lookup_refusals",
            "Look-ups answered with a problem.",
            ["reason"],
            registry=registry,
        )
        for slug in Problem.kinds:  # a reason that has not happened is 0, and alarms can be written for it
            self._refusals.labels(slug)
            self._lookup_refusals.labels(slug)
        self._of_route = {
            route: (self._requests.labels(route), self._seconds.labels(route))
            for route in (*ROUTES.values(), _UNKNOWN)
        }

    def accompanied(self, batches: int) -> None:
        """So many small batches were evaluated together."""
        self._company.observe(batches)

    def passed(self, clients: int, seconds: float) -> None:
        """So many look-ups were answered in one pass."""
        self._lookup_company.observe(clients)
        self._pass_seconds.observe(seconds)

    # A `direct.Watcher`

    def begun(self) -> None:
        """An evaluation began, on the short way."""
        self._of_route["evaluate"][0].inc()
        self._running.inc()

    def replied(self, status: int, slug: str, seconds: float) -> None:
        """It was answered."""
        self._of_route["evaluate"][1].observe(seconds)
        self._replies.labels(str(status)).inc()
        if slug:
            self._refusals.labels(slug).inc()
        self._running.dec()

    def gone(self) -> None:
        """Its caller went away."""
        self._running.dec()

    # All other requests

    def around(self, app: ASGIApp) -> ASGIApp:
        """The application, measured."""

        async def measured(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            route = route_of(scope["path"])
            requests, seconds = self._of_route[route]
            requests.inc()
            begun, refused = time.perf_counter(), False

            async def send_measured(message: Message) -> None:
                nonlocal refused
                if message["type"] == "http.response.start":
                    seconds.observe(time.perf_counter() - begun)
                    self._replies.labels(str(message["status"])).inc()
                    refused = message["status"] >= 400
                elif refused:
                    refused = False
                    reason = _reason_in(message.get("body", b""))
                    self._refusals.labels(reason).inc()
                    if route == "lookup":
                        self._lookup_refusals.labels(reason).inc()
                await send(message)

            with self._running.track_inprogress():
                await app(scope, receive, send_measured)

        return measured


def route_of(path: str) -> str:
    """The label of a path."""
    for start, label in ROUTES.items():
        if path.startswith(start) and (start.endswith("/") or path == start):
            return label
    return _UNKNOWN


def _reason_in(body: bytes) -> str:
    found = _REASON.match(body, 1)
    slug = found[1].decode() if found else _UNKNOWN
    return slug if slug in Problem.kinds else _UNKNOWN
