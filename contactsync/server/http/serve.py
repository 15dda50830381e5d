"""Runs the server: a socket, uvicorn, and the application. What is said of uvicorn holds for any."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from contactsync.server.evaluation import Evaluator
from contactsync.server.http.app import App
from contactsync.server.http.charging import SAID_SECONDS
from contactsync.server.http.direct import DirectProtocol
from contactsync.server.http.limits import Connections, Forwarded, Limits, Network, raise_file_limit
from contactsync.server.http.listening import BACKLOG, url_of
from contactsync.server.http.metrics import Metrics
from contactsync.server.http.protocol import BoundedProtocol
from contactsync.server.keyring import Keyring
from contactsync.server.settings import DataFolder
from contactsync.server.storage.files import PublicFolder
from contactsync.server.storage.ports import AccountStore

STORE_WAIT = 5.0  # seconds that another process may hold the accounts before requests are answered with 503
SHUTDOWN = 10  # seconds that requests may take to finish after SIGTERM

_FAILED: Final = 3  # the exit code, as uvicorn has it

log = logging.getLogger("contactsync.server")


class _Server(uvicorn.Server):
    """Takes connections within limits, and calls `on_ready` once it answers requests."""

    def __init__(
        self,
        config: uvicorn.Config,
        protocol: Callable[..., asyncio.Protocol],
        limits: Limits,
        on_ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._protocol = protocol
        self._limits = limits
        self._on_ready = on_ready
        self._said = float("-inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(_FAILED)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._complain)
        self.connections = Connections(self._limits)
        self.connections.start(loop)
        make = partial(
            self._protocol,
            connections=self.connections,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=loop,
        )
        self.servers = [await loop.create_server(make, sock=one, backlog=BACKLOG) for one in sockets or ()]
        self.started = True
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self.connections.stop()

    def _complain(self, _loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Instead of a traceback for each connection: a line, which quotes nothing."""
        now = time.monotonic()
        if now >= self._said + SAID_SECONDS:
            self._said = now
            log.error("in the event loop: %s", type(context.get("exception")).__name__)


def serve(
    folder: DataFolder,
    accounts: AccountStore,
    keyring: Keyring,
    listener: socket.socket,
    on_ready: Callable[[str], None],
    *,
    metrics_port: int | None = None,
    trusted: Sequence[Network] = (),
) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish the running ones.

    `on_ready` is called with the URL once requests are answered. On `metrics_port` there are figures for
    Prometheus; None: nowhere. `trusted` are proxies. Raises CallerError if a port cannot be used.
    """
    settings = folder.settings()
    raise_file_limit()
    metrics = Metrics(folder, accounts, settings.breakers)
    if metrics_port is not None:
        log.info("metrics are at %s", metrics.serve(metrics_port))
    evaluator = Evaluator(settings.evaluator_threads, settings.evaluator_queue)
    evaluator.warm_up()
    if metrics is not None:
        metrics.watch(evaluator)
    made = App(folder, accounts, PublicFolder(folder.public), keyring, evaluator, metrics=metrics)
    limits = Limits(
        settings.head_seconds,
        settings.idle_seconds,
        settings.stall_seconds,
        settings.connections_per_address,
        trusted,
    )
    app = Forwarded(made.asgi, limits) if limits.trusted and limits.per_address else made.asgi
    protocol = partial(DirectProtocol, made.direct)
    run(app, listener, lambda: on_ready(url_of(listener)), limits, protocol)


def run(
    app: ASGIApp,
    listener: socket.socket,
    on_ready: Callable[[], None],
    limits: Limits,
    protocol: Callable[..., asyncio.Protocol] = BoundedProtocol,
) -> None:
    """Serve an application on a listening socket until SIGTERM or SIGINT; `protocol` makes connections."""
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
    server = _Server(config, protocol, limits, on_ready)
    # When uvicorn is done, it raises the signal that stopped it again. But a requested stop is not a failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    server.run(sockets=[listener])
