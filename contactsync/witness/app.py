"""The witness over HTTP: one route, bounds on what a caller can send, and one thread that cosigns.

It logs nothing of a request but that a log it follows is forked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from contactsync.foundation.errors import OurError
from contactsync.publication.log.notes import Verifier
from contactsync.publication.log.witnessing import MAX_REQUEST, PATH
from contactsync.serving.bodies import read_body
from contactsync.serving.limits import Limits, raise_file_limit
from contactsync.serving.running import SAID_SECONDS, Entrance, run
from contactsync.witness.cosigning import TEXT, Witness, WitnessReply
from contactsync.witness.folder import WitnessFolder

BODY_WAIT: Final = 10.0
"""Seconds in which a body has to arrive."""

MAX_WAITING: Final = 256
"""Requests that may wait for the thread. Others are refused at once."""

PER_ADDRESS: Final = 32
"""Connections of one address, if it is not on this machine: a proxy may have more."""

log = logging.getLogger("contactsync.witness")


class WitnessApp:
    """The handlers and what they share. `asgi` is the application to serve."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._thread = ThreadPoolExecutor(1, "witness")
        self._waiting = 0
        self._said = float("-inf")
        self.asgi = Starlette(
            routes=[Route(PATH, self._add_checkpoint, methods=["POST"])], lifespan=self._lifespan
        )
        self.asgi.router.redirect_slashes = False

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        self._thread.shutdown()

    async def _add_checkpoint(self, request: Request) -> Response:
        try:
            body = await _read(request)
            if isinstance(body, Response):
                return body
            if self._waiting >= MAX_WAITING:
                return _response(503, "too many requests are waiting", {"retry-after": "1"})
            answer = await self._cosigned(body)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except Exception as error:  # noqa: BLE001 - the caller learns that it failed, and the log where
            self._complain(error)
            if isinstance(error, OurError):
                return _response(503, "the witness cannot use its record; nothing was cosigned")
            return _response(500, "the witness failed")
        return _sent(answer)

    async def _cosigned(self, body: bytes) -> WitnessReply:
        """Wait for the thread. Only who has sent a whole body takes a place in front of it."""
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._witness.add_checkpoint, body)
        finally:
            self._waiting -= 1

    def _complain(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._said + SAID_SECONDS:
            return
        self._said = now
        if isinstance(error, OurError):
            log.error("%s; %s", error, error.hint)
            return
        place = traceback.extract_tb(error.__traceback__)[-1]
        log.error("%s in %s, line %d", type(error).__name__, place.filename, place.lineno)


def serve_witness(
    folder: WitnessFolder, logs: Sequence[Verifier], entrance: Entrance, on_ready: Callable[[], None]
) -> None:
    """Answer logs until SIGTERM or SIGINT. Raises BadInput: a key that is no log's."""
    raise_file_limit()
    run(WitnessApp(Witness(folder, logs)).asgi, entrance, on_ready, Limits(per_address=PER_ADDRESS))


async def _read(request: Request) -> bytes | Response:
    """The body, which is never held beyond its limit, or why it is not read."""
    close = {"connection": "close"}
    too_large = _response(413, f"a request has at most {MAX_REQUEST} octets", close)
    if int(request.headers.get("content-length", "0")) > MAX_REQUEST:  # the parser lets digits through only
        return too_large
    try:
        body = await read_body(request.stream(), MAX_REQUEST, BODY_WAIT)
    except TimeoutError:
        return _response(408, f"the body did not arrive within {BODY_WAIT:.0f} seconds", close)
    return too_large if body is None else body


def _sent(answer: WitnessReply) -> Response:
    headers = {"content-type": answer.media_type, "cache-control": "no-store"}
    return Response(answer.body, answer.status, headers)  # `media_type` would add a charset to text


def _response(status: int, words: str, headers: dict[str, str] | None = None) -> Response:
    return Response(
        f"{words}\n", status, {"content-type": TEXT, "cache-control": "no-store", **(headers or {})}
    )
