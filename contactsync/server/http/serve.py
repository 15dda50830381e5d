"""Runs the server: a socket, uvicorn, and the application. What is said of uvicorn holds for any."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Callable
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from contactsync.foundation.errors import CallerError
from contactsync.server.evaluation import Evaluator
from contactsync.server.http.app import App
from contactsync.server.http.direct import DirectProtocol
from contactsync.server.http.metrics import Metrics
from contactsync.server.http.protocol import BoundedProtocol
from contactsync.server.keyring import Keyring
from contactsync.server.settings import DataFolder
from contactsync.server.storage.files import PublicFolder
from contactsync.server.storage.ports import AccountStore

STORE_WAIT = 5.0  # seconds that another process may hold the accounts before requests are answered with 503
KEEP_ALIVE = 30  # seconds that a connection may wait for its next request
SHUTDOWN = 10  # seconds that requests may take to finish after SIGTERM

log = logging.getLogger("contactsync.server")


class _Server(uvicorn.Server):
    """Calls `on_ready` once it answers requests."""

    on_ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.on_ready()


def serve(
    folder: DataFolder,
    accounts: AccountStore,
    keyring: Keyring,
    address: tuple[str, int],
    on_ready: Callable[[str], None],
    *,
    metrics_port: int | None = None,
) -> None:
    """Answer requests until SIGTERM or SIGINT, then finish the running ones. Port 0 takes a free port.

    `on_ready` is called with the URL once requests are answered. On `metrics_port` there are figures for
    Prometheus; None: nowhere. Raises CallerError if an address cannot be used.
    """
    settings = folder.settings()
    listener = listen(*address)
    metrics = None
    if metrics_port is not None:
        metrics = Metrics(folder, accounts, settings.breakers)
        log.info("metrics are at %s", metrics.serve(metrics_port))
    evaluator = Evaluator(settings.evaluator_threads, settings.evaluator_queue)
    evaluator.warm_up()
    if metrics is not None:
        metrics.watch(evaluator)
    app = App(folder, accounts, PublicFolder(folder.public), keyring, evaluator, metrics=metrics)
    protocol = partial(DirectProtocol, app.direct)
    run(app.asgi, listener, lambda: on_ready(url_of(listener)), protocol)


def run(
    app: ASGIApp,
    listener: socket.socket,
    on_ready: Callable[[], None],
    protocol: Callable[..., asyncio.Protocol] = BoundedProtocol,
) -> None:
    """Serve an application on a listening socket until SIGTERM or SIGINT; `protocol` makes connections."""
    config = uvicorn.Config(
        app,
        http=protocol,  # type: ignore[arg-type]  # it is only called
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=SHUTDOWN,
    )
    server = _Server(config)
    server.on_ready = on_ready
    # When uvicorn is done, it raises the signal that stopped it again. But a requested stop is not a failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    server.run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address. Raises CallerError if it cannot be used."""
    where = f"port {port} of {host}"
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except socket.gaierror as error:
        reason = f"{host} is not an address of this machine"
        raise CallerError(reason, hint="choose another --host") from error
    except OSError as error:
        reason = {
            errno.EADDRINUSE: f"{where} is in use",
            errno.EACCES: f"this user may not use {where}",
            errno.EADDRNOTAVAIL: f"{host} is not an address of this machine",
        }.get(error.errno or 0, f"{where} cannot be used")
        raise CallerError(reason, hint="choose another with --host and --port") from error


def url_of(listener: socket.socket) -> str:
    """Where a socket listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family == socket.AF_INET6 else f"http://{host}:{port}"
