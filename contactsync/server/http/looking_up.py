"""`POST /v1/lookup/AUDIENCE/ROOT`: private look-ups over HTTP, at the main server and at a second one.

Who may ask, and which rows there are, is handed in: this knows no account and no publication.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import CancelledError
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from contactsync.foundation.audiences import AUDIENCES
from contactsync.foundation.errors import BadInput
from contactsync.server.admission import Overloaded
from contactsync.server.http.data import MEDIA_TYPE
from contactsync.server.http.problems import Problem, overload, too_slow
from contactsync.server.http.threads import result_of
from contactsync.server.lookups import LookupRoom, OpenRows, Place
from contactsync.serving.bodies import read_body

KEYS_SECONDS: Final = 30.0
"""Seconds for the keys of a batch to arrive, where callers are known."""

_ROOT: Final = re.compile(r"[0-9a-f]{64}")
_CHUNK: Final = 64 << 10

Who = Callable[[Request, str], Awaitable[Hashable]]
"""Whom a request for an audience is counted under: an account, or an address. Raises Problem."""

Find = Callable[[str, bytes], OpenRows | None]
"""The rows of an audience and a root, if this server has them."""


def lookup_route(
    room: LookupRoom | None, find: Find, who: Who, *, keys_seconds: float = KEYS_SECONDS
) -> Route:
    """The route, for an application whose handlers are those of problems.py.

    Without a room nothing is looked up: whoever asks is told that these rows are not here. The keys of a
    batch must arrive within `keys_seconds`: meanwhile all that it takes is reserved.
    """
    looking_up = LookingUp(room, find, who, keys_seconds)
    return Route("/v1/lookup/{audience}/{root}", looking_up, methods=["POST"])


class LookingUp:
    """An ASGI application for the requests of the route. It answers what is wrong with one by itself."""

    def __init__(
        self, room: LookupRoom | None, find: Find, who: Who, keys_seconds: float = KEYS_SECONDS
    ) -> None:
        self._room = room
        self._keys_seconds = keys_seconds
        self._find = find
        self._who = who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await self._answer(Request(scope, receive), send)
        except ClientDisconnect:
            pass
        except Problem as problem:
            await problem.response()(scope, receive, send)
        except (Overloaded, CancelledError):  # cancelled: the server ends
            await overload().response()(scope, receive, send)

    async def _answer(self, request: Request, send: Send) -> None:
        audience, root = request.path_params["audience"], request.path_params["root"]
        if audience not in AUDIENCES or not _ROOT.fullmatch(root):
            raise Problem("not-found", "there is no such audience or root")
        client = await self._who(request, audience)
        rows = self._find(audience, bytes.fromhex(root))
        if rows is None or self._room is None:
            raise Problem(
                "unknown-rows",
                "this server does not have the rows of this root",
                "fetch the manifests again, and ask both servers for the newest rows that both have",
            )
        size = _size_of(request, rows)
        # All that a batch takes is reserved before its keys are read, until its answer is sent.
        with self._room.admit(client, rows, size) as place:
            answer = await self._asked(place, await self._read(request, rows.key_bytes(size)))
            await _send(answer, send)

    async def _read(self, request: Request, limit: int) -> bytes:
        try:
            body = await read_body(request.stream(), limit, self._keys_seconds)
        except TimeoutError:
            raise too_slow(self._keys_seconds) from None
        if body is None:
            raise _too_large(limit)
        return body

    async def _asked(self, place: Place, body: bytes) -> bytes:
        try:
            future = place.ask(body)
        except BadInput as error:
            raise Problem("bad-batch", str(error), error.hint) from None
        return await result_of(future)


def _size_of(request: Request, rows: OpenRows) -> int:
    """The batch that is announced; the largest one if its length is not. Raises Problem."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise Problem("wrong-media-type", f"the body must be {MEDIA_TYPE}", "set Content-Type")
    lengths = {rows.key_bytes(size): size for size in rows.sizes}
    largest = max(lengths)
    announced = request.headers.get("content-length")
    if announced is None:
        return lengths[largest]
    length = int(announced)
    if length > largest:
        raise _too_large(largest)
    if length not in lengths:
        known = " or ".join(f"{octets} (of {size})" for octets, size in lengths.items())
        raise Problem(
            "bad-batch",
            f"the keys of a batch have {known} octets here",
            "make the keys for the rows that they are sent to",
        )
    return lengths[length]


def _too_large(limit: int) -> Problem:
    detail = f"the body has more than {limit} octets"
    hint = "make the keys for the rows that they are sent to"
    close = {"connection": "close"}  # the rest of the body is not worth reading
    return Problem("body-too-large", detail, hint, headers=close, limit=limit)


async def _send(answer: bytes, send: Send) -> None:
    """Send it in pieces: with each, the room waits for a caller who reads slowly."""
    headers = {"content-length": str(len(answer)), "content-type": MEDIA_TYPE, "cache-control": "no-store"}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})
    whole = memoryview(answer)
    for at in range(0, len(answer), _CHUNK):
        piece = bytes(whole[at : at + _CHUNK])
        await send({"type": "http.response.body", "body": piece, "more_body": at + len(piece) < len(answer)})
