"""`POST /v1/sign-in`: a one-time code for a credential that ends by itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from contactsync.foundation.errors import OurError
from contactsync.server.accounts import new_credential
from contactsync.server.http.charging import StoreGuard
from contactsync.server.http.evaluating import BODY_TIMEOUT
from contactsync.server.http.problems import Problem, too_slow
from contactsync.server.http.threads import Threads
from contactsync.server.sign_in import credential_seconds
from contactsync.server.storage.ports import AccountStore
from contactsync.serving.bodies import read_body

BODY_LIMIT: Final = 1024


class SigningIn:
    """Answers the route. One thread writes, so that a crowd at the door does not hold up those inside."""

    def __init__(self, accounts: AccountStore, guard: StoreGuard) -> None:
        self._accounts = accounts
        self._guard = guard
        self._threads = Threads("sign-in", 1)

    async def answer(self, request: Request) -> Response:
        """Exchange the code of the body. Raises Problem, Overloaded."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Problem("wrong-media-type", "the body must be application/json", "set Content-Type")
        code = _code_in(await _read(request))
        seconds, credential = credential_seconds(code), new_credential()
        if seconds is None:
            raise _bad_code()
        try:
            account = await self._threads.run(self._accounts.redeem, code, credential, seconds * 1000)
        except OurError as error:
            raise self._guard.problem(error) from None
        if account is None or account.until is None:
            raise _bad_code()
        until = datetime.fromtimestamp(account.until // 1000, UTC).isoformat().replace("+00:00", "Z")
        body = {"credential": credential, "audience": account.audience, "until": until}
        return JSONResponse(body, headers={"cache-control": "no-store"})

    def close(self) -> None:
        """End the thread."""
        self._threads.close()


async def _read(request: Request) -> bytes:
    try:
        data = await read_body(request.stream(), BODY_LIMIT, BODY_TIMEOUT)
    except TimeoutError:
        raise too_slow(BODY_TIMEOUT) from None
    if data is None:
        close = {"connection": "close"}  # the rest is not worth reading
        detail = f"the body has more than {BODY_LIMIT} octets"
        raise Problem("body-too-large", detail, headers=close, limit=BODY_LIMIT)
    return data


def _code_in(data: bytes) -> str:
    try:
        members = json.loads(data)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict) or not isinstance(members.get("code"), str):
        raise Problem("bad-request", "the body is not a JSON object with a code", "see docs/http-api.md")
    return str(members["code"])


def _bad_code() -> Problem:
    hint = "a code works once, for minutes: open the page again from where it was linked"
    return Problem("bad-code", "the code is unknown, was used, or is over", hint)
