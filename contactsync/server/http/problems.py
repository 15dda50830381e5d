"""The errors of the HTTP API, as RFC 9457 problem details (docs/http-api.md lists them)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from contactsync.server.admission import Overloaded

_KINDS: Final = {
    "bad-batch": (400, "The body is not a batch"),
    "invalid-element": (400, "An element of the batch is not valid"),
    "bad-range": (400, "The Range header cannot be read"),
    "bad-request": (400, "The request cannot be read"),
    "bad-credential": (401, "The credential is not valid"),
    "bad-code": (403, "The code is not valid"),
    "wrong-audience": (403, "The credential is for another audience"),
    "not-found": (404, "There is nothing here"),
    "unknown-rows": (404, "These rows are not here"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "too-slow": (408, "The body took too long"),
    "epoch-changed": (409, "The epoch has changed"),
    "batch-too-large": (413, "The batch is too large"),
    "body-too-large": (413, "The body is too large"),
    "wrong-media-type": (415, "The media type is not supported"),
    "range-not-satisfiable": (416, "The range is beyond the end"),
    "out-of-quota": (429, "The quota is used up"),
    "internal": (500, "The server failed"),
    "expired": (503, "Signatures have expired"),
    "unverifiable": (503, "Clients refuse what is served"),
    "files-missing": (503, "Files of the publication are missing"),
    "store-replaced": (503, "A database was replaced"),
    "not-published": (503, "Nothing is published yet"),
    "key-unavailable": (503, "The key cannot be used"),
    "store-unavailable": (503, "The accounts cannot be used"),
    "paused": (503, "Evaluations are paused"),
    "overloaded": (503, "The server is busy"),
}
_SLUG_BY_STATUS: Final = {400: "bad-request", 404: "not-found", 405: "method-not-allowed"}


class Problem(Exception):
    """Ends a request. `detail` and `hint` contain nothing from its body or its credential."""

    kinds: ClassVar[Mapping[str, tuple[int, str]]] = _KINDS
    """Status and title of each slug."""

    def __init__(
        self,
        slug: str,
        detail: str,
        hint: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(slug)
        self.slug = slug
        self.detail = detail
        self.hint = hint
        self.headers = headers or {}
        self.members = members

    def document(self) -> dict[str, Any]:
        """The problem as a JSON object."""
        status, title = self.kinds[self.slug]
        return {
            "type": f"urn:contactsync:problem:{self.slug}",
            "title": title,
            "status": status,
            "detail": self.detail,
            **({"hint": self.hint} if self.hint else {}),
            **self.members,
        }

    def response(self) -> Response:
        """The problem as a response."""
        headers = {"cache-control": "no-store", **self.headers}
        body = json.dumps(self.document())
        return Response(body, self.kinds[self.slug][0], headers, "application/problem+json")


async def on_problem(_request: Request, error: Exception) -> Response:
    """Exception handler for Problem."""
    assert isinstance(error, Problem)
    return error.response()


async def on_overload(_request: Request, _error: Exception) -> Response:
    """Exception handler for Overloaded."""
    return overload().response()


async def on_http_exception(_request: Request, error: Exception) -> Response:
    """Exception handler for what Starlette's routing raises."""
    assert isinstance(error, HTTPException)
    slug = _SLUG_BY_STATUS.get(error.status_code, "internal")
    return Problem(slug, _KINDS[slug][1].lower(), headers=error.headers).response()


async def on_fault(_request: Request, _error: Exception) -> Response:
    """Exception handler for unexpected errors."""
    return fault().response()


def overload() -> Problem:
    """Too many requests are waiting."""
    detail, hint = "too many requests are waiting", "try again soon"
    return Problem("overloaded", detail, hint, headers={"retry-after": "1"})


def too_slow(seconds: float) -> Problem:
    """A body did not arrive in time."""
    detail = f"the body did not arrive within {seconds:.0f} seconds"
    return Problem("too-slow", detail, "try again", headers={"connection": "close"})


def fault() -> Problem:
    """Something that nobody foresaw."""
    return Problem("internal", "the server failed", "try again later, or tell the operator")


def wrong_audience(audience: str) -> Problem:
    """The credential is for this audience, and another one was asked about."""
    detail = f"this credential is for the audience {audience}"
    return Problem("wrong-audience", detail, "ask the operator for a credential for the other audience")


def not_published(audience: str = "") -> Problem:
    """There is no edition of an audience, or of any."""
    what = f" for {audience}" if audience else ""
    return Problem("not-published", f"the operator has not published yet{what}", "try again later")


HANDLERS: Final[Mapping[Any, Any]] = {
    Problem: on_problem,
    Overloaded: on_overload,
    HTTPException: on_http_exception,
    Exception: on_fault,
}
"""What an application answers to what its handlers raise, by class."""
