"""Runs a witness: one route, within limits on what a caller can hold."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from contactsync.foundation.errors import CallerError
from contactsync.publication.log.witnessing import MAX_REQUEST, PATH
from contactsync.witness.cosigner import Cosigner

REQUEST_SECONDS: Final = 15.0
"""From the moment at which a request may come until its answer is written."""

CONNECTIONS: Final = 256
"""At a time; a new one takes the place of the oldest."""

HEAD_OCTETS: Final = 16 << 10

_SHUTDOWN: Final = 5
_SILENT: Final = logging.getLogger("contactsync.witness.silent")
_SILENT.disabled = True  # uvicorn would write a line for each malformed request

log = logging.getLogger("contactsync.witness")


class _BriefProtocol(H11Protocol):
    """A connection that ends when a request, head and body and answer, takes too long."""

    _end: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.logger = self.access_logger = _SILENT

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has connected."""
        if len(self.connections) >= CONNECTIONS:
            held = [one for one in self.connections if isinstance(one, _BriefProtocol)]
            min(held, key=lambda one: one.since).transport.abort()
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """It is answered: the next request may come."""
        self._wait()
        super().on_response_complete()

    def _wait(self) -> None:
        if self._end is not None:
            self._end.cancel()
        self.since = self.loop.time()
        self._end = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)


class _WitnessServer(uvicorn.Server):
    on_ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_complain)
        await super().startup(sockets)
        if self.started:
            self.on_ready()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address. Raises CallerError if it cannot be used."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=CONNECTIONS)
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: "it is in use",
            errno.EACCES: "this user may not use it",
            errno.EADDRNOTAVAIL: "it is not an address of this machine",
        }
        reason = reasons.get(error.errno or 0, "it cannot be used")
        raise CallerError(
            f"cannot listen at {host}:{port}: {reason}", hint="choose another --listen"
        ) from error


def serve(cosigner: Cosigner, listener: socket.socket, on_ready: Callable[[str], None]) -> None:
    """Answer requests until SIGTERM or SIGINT. `on_ready` is called with the URL."""
    config = uvicorn.Config(
        _application(cosigner),
        http=_BriefProtocol,
        h11_max_incomplete_event_size=HEAD_OCTETS,
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        timeout_keep_alive=int(REQUEST_SECONDS),
        timeout_graceful_shutdown=_SHUTDOWN,
    )
    server = _WitnessServer(config)
    server.on_ready = lambda: on_ready(_url(listener))
    # uvicorn raises the signal that stopped it again. But a requested stop is not a failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    server.run(sockets=[listener])


def _application(cosigner: Cosigner) -> Starlette:
    async def add_checkpoint(request: Request) -> Response:
        try:
            octets = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        if octets is None:
            return _refusal(413, "the request is too large")
        try:
            answer = await run_in_threadpool(cosigner.add_checkpoint, octets)
        except OSError as error:
            log.error("cannot keep what would be cosigned: %s", error.strerror)  # noqa: TRY400
            return _refusal(503, "the witness cannot write its state")
        return Response(answer.body, answer.status, headers={"content-type": answer.media_type})

    async def unforeseen(_request: Request, error: Exception) -> Response:
        log.error("unforeseen: %s", type(error).__name__)
        return _refusal(500, "the witness has failed")

    return Starlette(
        routes=[Route(PATH, add_checkpoint, methods=["POST"])], exception_handlers={Exception: unforeseen}
    )


async def _body(request: Request) -> bytes | None:
    """The body; None if it is too long. No more of it is read than that."""
    octets = bytearray()
    async for part in request.stream():
        octets += part
        if len(octets) > MAX_REQUEST:
            return None
    return bytes(octets)


def _refusal(status: int, text: str) -> Response:
    return Response(f"{text}\n", status, headers={"connection": "close"}, media_type="text/plain")


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"


def _complain(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error("in the event loop: %s", type(context.get("exception")).__name__)
