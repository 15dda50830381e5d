"""The errors of the admin API, as RFC 9457 problem details (docs/admin-api.md lists them)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from contactsync.foundation.errors import BadInput, ContactSyncError
from contactsync.server.http.problems import Problem

ADMIN_KINDS: Final = {
    "bad-request": (400, "The request cannot be read"),
    "bad-idempotency-key": (400, "The Idempotency-Key cannot be used"),
    "bad-credential": (401, "The credential is not valid"),
    "not-found": (404, "There is nothing here"),
    "no-such-member": (404, "There is no such member"),
    "no-such-account": (404, "There is no such account"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "too-slow": (408, "The body took too long"),
    "account-exists": (409, "There is an account with this name"),
    "publish-running": (409, "A publish is running"),
    "request-in-progress": (409, "The same request is being worked on"),
    "outcome-unknown": (409, "It is not known what became of the request"),
    "body-too-large": (413, "The body is too large"),
    "wrong-media-type": (415, "The media type is not supported"),
    "not-valid": (422, "The request does not have the form that is asked for"),
    "identifier-refused": (422, "An identifier cannot be used"),
    "key-reused": (422, "The Idempotency-Key was used for another request"),
    "internal": (500, "The server failed"),
    "not-cleaned-up": (500, "Published, but cleaning up failed"),
    "store-unavailable": (503, "The data folder cannot be used"),
    "overloaded": (503, "The server is busy"),
}


class AdminProblem(Problem):
    """Ends a request to the admin API. No detail or hint contains an identifier or a credential."""

    kinds: ClassVar[Mapping[str, tuple[int, str]]] = ADMIN_KINDS


def problem_of(error: ContactSyncError) -> AdminProblem:
    """What a request meets with when a store or a publish refuses or fails."""
    if isinstance(error, BadInput):
        return AdminProblem("not-valid", str(error), error.hint)
    return AdminProblem("store-unavailable", str(error), error.hint, headers={"retry-after": "5"})
