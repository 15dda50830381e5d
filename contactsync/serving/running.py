"""Runs an application: sockets and uvicorn, within limits, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import uvicorn
from starlette.types import ASGIApp

from contactsync.foundation.errors import BadInput
from contactsync.serving.limits import Connections, Limits, Network
from contactsync.serving.listening import BACKLOG, url_of
from contactsync.serving.protocol import BoundedProtocol
from contactsync.serving.systemd import Notify
from contactsync.serving.tls import Certificate, Door

SHUTDOWN = 10  # seconds that requests may take to finish after SIGTERM
SAID_SECONDS: Final = 10.0
"""No fault that can occur with every request is logged more often."""

_FAILED: Final = 3  # the exit code, as uvicorn has it

log = logging.getLogger("contactsync.server")


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where callers come in. `trusted` are proxies."""

    listeners: Sequence[socket.socket]
    certificate: Certificate | None = None
    trusted: Sequence[Network] = ()

    @property
    def name(self) -> str:
        """The URL of the first listener."""
        return url_of(self.listeners[0], "http" if self.certificate is None else "https")


class _Server(uvicorn.Server):
    """Takes connections within limits, ends its life in several ways, and says when it answers requests."""

    def __init__(
        self,
        config: uvicorn.Config,
        protocol: Callable[..., asyncio.Protocol],
        limits: Limits,
        entrance: Entrance,
    ) -> None:
        super().__init__(config)
        self._protocol = protocol
        self._limits = limits
        self._certificate = entrance.certificate
        self._said = float("-inf")
        self._notify = Notify()
        self.on_ready: Callable[[], None] = lambda: None
        self.attachment: Attached | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(_FAILED)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._complain)
        self.connections = Connections(self._limits)
        self.connections.start(loop)
        make: Callable[[], asyncio.Protocol] = partial(
            self._protocol,
            connections=self.connections,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=loop,
        )
        if self._certificate is not None:
            make = partial(Door, make, self._certificate, self.connections, loop)
        self.servers = [await loop.create_server(make, sock=one, backlog=BACKLOG) for one in sockets or ()]
        self.started = True
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self.on_ready()
        self._notify.ready()
        if self.attachment is not None:
            await self.attachment.begin(self)
        if self._notify.watchdog is not None:
            self._show_life(loop, self._notify.watchdog)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._notify.stopping()
        await super().shutdown(sockets)
        self.connections.stop()

    def retire(self) -> None:
        """Take no more connections. Those that there are get one more answer, or end when they are idle."""
        for one in self.servers:
            one.close()
        self.connections.is_retiring = True
        for connection in list(self.server_state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is not None:
                cycle.keep_alive = False

    async def on_tick(self, counter: int) -> bool:
        over = self.connections.is_retiring and not len(self.connections) and not self.server_state.tasks
        return await super().on_tick(counter) or over

    def _reload(self) -> None:
        self._notify.reloading()
        try:
            if self._certificate is not None:
                self._certificate.reload()
                log.info("the certificate was read again")
        except BadInput as error:
            log.error("the old certificate stays in use: %s", error)  # noqa: TRY400
        self._notify.ready()

    def _show_life(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._notify.alive()
        loop.call_later(seconds, self._show_life, loop, seconds)

    def _complain(self, _loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Instead of a traceback for each connection: a line, which quotes nothing."""
        now = time.monotonic()
        if now >= self._said + SAID_SECONDS:
            self._said = now
            log.error("in the event loop: %s", type(context.get("exception")).__name__)


class Attached(Protocol):
    """What begins when requests are answered, and may end the server."""

    async def begin(self, server: _Server, /) -> None:
        """Begin."""


def run(
    app: ASGIApp,
    entrance: Entrance,
    on_ready: Callable[[], None],
    limits: Limits,
    *,
    protocol: Callable[..., asyncio.Protocol] = BoundedProtocol,
    attachment: Attached | None = None,
) -> None:
    """Serve an application until SIGTERM or SIGINT; `protocol` makes connections."""
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,  # `_Server` asks for another
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=int(limits.idle),
        timeout_graceful_shutdown=SHUTDOWN,
    )
    server = _Server(config, protocol, limits, entrance)
    server.on_ready, server.attachment = on_ready, attachment
    # When uvicorn is done, it raises the signal that stopped it again. But a requested stop is not a failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    server.run(sockets=list(entrance.listeners))
