"""Runs the server: a socket, uvicorn, and the application. What is said of uvicorn holds for any."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from contactsync.foundation.errors import BadInput
from contactsync.server.evaluation import Evaluator
from contactsync.server.http.app import App
from contactsync.server.http.attached import Attachment
from contactsync.server.http.charging import SAID_SECONDS
from contactsync.server.http.direct import DirectProtocol
from contactsync.server.http.limits import Connections, Forwarded, Limits, Network, raise_file_limit
from contactsync.server.http.listening import BACKLOG, url_of
from contactsync.server.http.metrics import Metrics
from contactsync.server.http.protocol import BoundedProtocol
from contactsync.server.http.tls import Certificate, Door
from contactsync.server.keyring import Keyring
from contactsync.server.settings import DataFolder
from contactsync.server.storage.files import PublicFolder
from contactsync.server.storage.ports import AccountStore
from contactsync.server.systemd import Notify

STORE_WAIT = 5.0  # seconds that another process may hold the accounts before requests are answered with 503
SHUTDOWN = 10  # seconds that requests may take to finish after SIGTERM

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


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """What one of several workers does of the work of all."""

    number: int = 0
    workers: int = 1
    channel: socket.socket | None = None

    @property
    def has_chores(self) -> bool:
        """Whether it signs what expires and forgets what is over: one of the workers does."""
        return self.number == 0

    def threads(self, wanted: int) -> int:
        """Its evaluator threads, if all workers together have so many; 0 means one for each processor."""
        whole, rest = divmod(wanted or os.cpu_count() or 1, self.workers)
        return max(whole + (self.number < rest), 1)


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
        self.attachment: Attachment | None = None

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


def serve(
    folder: DataFolder,
    accounts: AccountStore,
    keyring: Keyring,
    entrance: Entrance,
    on_ready: Callable[[str], None],
    *,
    metrics_port: int | None = None,
    share: WorkerShare = WorkerShare(),
) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish the running ones.

    `on_ready` is called with the URL once requests are answered. On `metrics_port` there are figures for
    Prometheus; None: nowhere. Raises CallerError if a port cannot be used.
    """
    settings = folder.settings()
    raise_file_limit()
    metrics = Metrics(folder, accounts, settings.breakers)
    if metrics_port is not None:
        log.info("metrics are at %s", metrics.serve(metrics_port))
    evaluator = Evaluator(share.threads(settings.evaluator_threads), settings.evaluator_queue)
    evaluator.warm_up()
    metrics.watch(evaluator)
    made = App(
        folder,
        accounts,
        PublicFolder(folder.public),
        keyring,
        evaluator,
        metrics=metrics,
        has_chores=share.has_chores,
    )
    limits = Limits(
        settings.head_seconds,
        settings.idle_seconds,
        settings.stall_seconds,
        settings.connections_per_address,
        entrance.trusted,
    )
    app = Forwarded(made.asgi, limits) if limits.trusted and limits.per_address else made.asgi
    protocol = partial(DirectProtocol, made.direct)
    attachment = None if share.channel is None else Attachment(share.channel, metrics.snapshot)
    run(app, entrance, lambda: on_ready(entrance.name), limits, protocol=protocol, attachment=attachment)


def run(
    app: ASGIApp,
    entrance: Entrance,
    on_ready: Callable[[], None],
    limits: Limits,
    *,
    protocol: Callable[..., asyncio.Protocol] = BoundedProtocol,
    attachment: Attachment | None = None,
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
