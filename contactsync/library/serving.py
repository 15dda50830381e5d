"""Answers clients: one process, or a supervisor and its workers."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from contactsync.server.http.attached import PROTOCOL
from contactsync.server.keyring import Keyring
from contactsync.server.objects.address import check_can_sign
from contactsync.server.origins import check_origin
from contactsync.server.settings import DataFolder
from contactsync.server.storage.opening import open_accounts
from contactsync.serving.limits import networks
from contactsync.serving.listening import listen, spare, unix_socket, url_of
from contactsync.serving.systemd import Notify, given_sockets


@dataclass(frozen=True, slots=True)
class Serving:
    """How a server is to be run.

    `where` is a host and a port, or the path and the mode of a Unix socket; sockets from systemd take its
    place. `tls` are the files of a certificate and its key. `workers` None: this process answers by itself.
    Pages of `origins` may read replies, and of those in server.toml. `has_page`: people get a page at `/`, as
    server.toml may say too. `redirects`: clients that can are sent to the object store for data files.
    `private_lookup`: clients look contacts up without saying which, if the editions have rows.
    """

    where: tuple[str | Path, int]
    tls: tuple[Path, Path] | None = None
    trusted: Sequence[str] = ()
    workers: int | None = None
    metrics_port: int | None = None
    origins: Sequence[str] = ()
    has_page: bool = False
    redirects: bool = False
    private_lookup: bool = False


def serve(
    data: Path,
    passphrase: bytes | None,
    how: Serving,
    on_ready: Callable[[str], None],
    beside: contextlib.AbstractContextManager[None],
) -> None:
    """Answer clients of a data folder until SIGTERM or SIGINT.

    `on_ready` is called with the URL once requests are answered. `beside` is entered when the sockets are
    open. Raises ContactSyncError.
    """
    folder = DataFolder.existing(data)
    keyring = Keyring.open(folder.keys, passphrase)
    networks(how.trusted)
    for origin in how.origins:
        check_origin(origin)
    if how.redirects:
        check_can_sign(folder.settings().store)
    with contextlib.ExitStack() as stack:
        listeners = stack.enter_context(_listeners(*how.where))
        stack.enter_context(beside)
        if how.workers is None:
            _serve_alone(folder, keyring, listeners, how, on_ready)
        else:
            orders = _Orders(
                data,
                passphrase,
                listeners,
                how.tls,
                how.trusted,
                how.workers,
                how.origins,
                has_page=how.has_page,
                redirects=how.redirects,
                private_lookup=how.private_lookup,
            )
            _supervise(folder, orders, how.metrics_port, on_ready)


@contextlib.contextmanager
def _listeners(where: str | Path, detail: int) -> Iterator[list[socket.socket]]:
    """The sockets from systemd if there are any; else a Unix socket with a mode, or a port of a host."""
    given = given_sockets()
    with contextlib.ExitStack() as stack:
        for one in given:
            stack.enter_context(one)
            spare(one)
        if given:
            yield given
        elif isinstance(where, Path):
            yield [stack.enter_context(unix_socket(where, detail))]
        else:
            yield [stack.enter_context(listen(where, detail))]


def _serve_alone(
    folder: DataFolder,
    keyring: Keyring,
    listeners: Sequence[socket.socket],
    how: Serving,
    on_ready: Callable[[str], None],
) -> None:
    # A supervisor needs none of these.
    from contactsync.server.http.serve import STORE_WAIT  # noqa: PLC0415
    from contactsync.server.http.serve import serve as run  # noqa: PLC0415
    from contactsync.serving.running import Entrance  # noqa: PLC0415
    from contactsync.serving.tls import Certificate  # noqa: PLC0415

    certificate = None if how.tls is None else Certificate(*how.tls)
    entrance = Entrance(listeners, certificate, networks(how.trusted))
    with contextlib.closing(open_accounts(folder, wait=STORE_WAIT)) as store:
        run(
            folder,
            store,
            keyring,
            entrance,
            on_ready,
            metrics_port=how.metrics_port,
            origins=how.origins,
            has_page=how.has_page,
            redirects=how.redirects,
            private_lookup=how.private_lookup,
        )


def _supervise(
    folder: DataFolder, orders: _Orders, metrics_port: int | None, on_ready: Callable[[str], None]
) -> None:
    from contactsync.server.http.supervisor import Supervisor  # noqa: PLC0415
    from contactsync.serving.tls import Certificate  # noqa: PLC0415

    def check() -> None:
        folder.settings()
        if orders.tls is not None:
            Certificate(*orders.tls)

    check()
    with contextlib.closing(open_accounts(folder)):
        pass  # it is migrated now, by one process
    supervisor = Supervisor(orders.workers, orders.start, orders.line, Notify(), check)
    if metrics_port is not None:
        supervisor.serve_metrics(metrics_port)
    name = url_of(orders.listeners[0], "http" if orders.tls is None else "https")
    supervisor.run(lambda: on_ready(name))


@dataclass(frozen=True, slots=True)
class _Orders:
    """What all workers do alike."""

    data: Path
    passphrase: bytes | None
    listeners: Sequence[socket.socket]
    tls: tuple[Path, Path] | None
    trusted: Sequence[str]
    workers: int
    origins: Sequence[str]
    has_page: bool
    redirects: bool
    private_lookup: bool

    def start(self, _number: int, channel: socket.socket) -> subprocess.Popen[bytes]:
        """Start a worker. It reads its orders from the other end of `channel`: see `line`."""
        package = Path(__file__).parents[2]
        paths = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH", "")]))
        return subprocess.Popen(
            [sys.executable, "-m", "contactsync.library.worker"],
            stdin=channel.fileno(),
            stdout=sys.stderr.fileno(),
            pass_fds=[one.fileno() for one in self.listeners],
            env=os.environ | {"PYTHONPATH": paths},
            start_new_session=True,  # a Ctrl-C at the terminal is for the supervisor, which ends this one
        )

    def line(self, number: int) -> bytes:
        """The orders of one worker."""
        orders = {
            "protocol": PROTOCOL,
            "data": str(self.data.absolute()),
            "passphrase": None if self.passphrase is None else self.passphrase.hex(),
            "listeners": [one.fileno() for one in self.listeners],
            "tls": None if self.tls is None else [str(path.absolute()) for path in self.tls],
            "trusted": list(self.trusted),
            "number": number,
            "workers": self.workers,
            "origins": list(self.origins),
            "has_page": self.has_page,
            "redirects": self.redirects,
            "private_lookup": self.private_lookup,
        }
        return json.dumps(orders).encode() + b"\n"
