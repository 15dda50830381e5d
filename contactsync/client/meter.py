"""Counts, records, bounds and times traffic at the socket, above TLS if there is any.

http.client accepts any length that a server states, and waits as long as anything comes. So the limits are
enforced below it: octets of a reply's head and of each piece of a body, a least rate, and the end of the run.
"""

from __future__ import annotations

import http.client
import io
import itertools
import socket
import time
from collections.abc import Callable
from typing import Any

import urllib3
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from contactsync.client.patience import Patience
from contactsync.foundation.errors import NetworkError

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
"""How long to wait if nothing comes at all."""

LEAST_RATE = 1000
"""Octets a second, averaged over RATE_SECONDS of waiting. A slower reply is given up."""

RATE_SECONDS = 30.0
READ_AHEAD = 8 << 10

Record = Callable[[int, bool, memoryview], None]
"""Called with the number of the connection, whether the bytes were sent, and a view of the bytes.

Bytes are recorded before they are sent: what a broken connection swallowed may have left.
"""

Closed = Callable[[int], None]
"""Called with the number of a connection that is being closed."""


class Meter:
    """Counts the bytes of whole HTTP messages, heads included; `sent` and `received` are the sums.

    `last` is the time of the last bytes received, by the monotonic clock.
    """

    def __init__(
        self,
        base_url: str,
        patience: Patience,
        record: Record | None,
        read_seconds: float,
        closed: Closed | None = None,
    ) -> None:
        self.sent = 0
        self.received = 0
        self.last = time.monotonic()
        self._base_url = base_url
        self._patience = patience
        self._record = record
        self._closed = closed
        self._read_seconds = read_seconds
        self._allowed = 0
        self._waited = 0.0
        self._came = 0

    def expect(self, octets: int) -> None:
        """Start reading something new: at most `octets` may come, and the rate is measured from here."""
        self._allowed = self.received + octets
        self._waited, self._came = 0.0, 0

    def expect_more(self, octets: int) -> None:
        """Go on reading: at most `octets` more may come."""
        self._allowed = self.received + octets

    def patient_timeout(self) -> float:
        """Seconds that the next read may wait. Raises NetworkError if the run's time is over."""
        return min(self._read_seconds, self._patience.left_of_run())

    def connect_timeout(self) -> float:
        """Seconds that connecting to one address may take. Raises NetworkError if the run is over."""
        return min(CONNECT_SECONDS, self._patience.left_of_run())

    def saw_sent(self, connection: int, data: memoryview) -> None:
        """Bytes are sent now."""
        self.sent += len(data)
        if self._record is not None:
            self._record(connection, True, data)

    def saw_closed(self, connection: int) -> None:
        """A connection is closed now."""
        if self._closed is not None:
            self._closed(connection)

    def saw_received(self, connection: int, data: memoryview, seconds: float) -> None:
        """Bytes were received, after `seconds` of waiting. Raises NetworkError: too many, too slow."""
        self.received += len(data)
        self.last = time.monotonic()
        if self._record is not None:
            self._record(connection, False, data)
        if self.received > self._allowed:
            raise NetworkError(
                f"{self._base_url} sent a reply that is too large", hint="tell the operator of the server"
            )
        self._waited += seconds
        self._came += len(data)
        if self._waited < RATE_SECONDS:
            return
        if self._came < LEAST_RATE * self._waited:
            self._patience.spend(self._waited)
            raise NetworkError(
                f"{self._base_url} sends too slowly: less than {LEAST_RATE:,} bytes a second",
                hint="try again on a faster connection; what was received so far is kept",
            )
        self._waited, self._came = 0.0, 0


class _MeteredSocket:
    """A socket whose traffic goes through a meter; everything else is passed on to the socket."""

    def __init__(self, sock: socket.socket, number: int, meter: Meter) -> None:
        self._sock = sock
        self._number = number
        self._meter = meter

    def sendall(self, data: Any) -> None:
        self._meter.saw_sent(self._number, memoryview(data).cast("B"))
        self._sock.sendall(data)

    def close(self) -> None:
        self._meter.saw_closed(self._number)
        self._sock.close()

    def makefile(self, mode: str, *_: object) -> io.BufferedReader:
        assert mode == "rb"
        raw = self._sock.makefile("rb", buffering=0)
        return io.BufferedReader(_MeteredReader(raw, self._sock, self._number, self._meter), READ_AHEAD)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _MeteredReader(io.RawIOBase):
    """The reading half of a metered socket."""

    def __init__(self, raw: socket.SocketIO, sock: socket.socket, number: int, meter: Meter) -> None:
        self._raw = raw
        self._sock = sock
        self._number = number
        self._meter = meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._meter.patient_timeout())
        begun = time.monotonic()
        count = self._raw.readinto(buffer)
        if count:
            waited = time.monotonic() - begun
            self._meter.saw_received(self._number, memoryview(buffer)[:count], waited)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _StrictReply(http.client.HTTPResponse):
    """A reply whose chunks have no negative size. http.client reads such a chunk as far as it is asked to."""

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            self.close()
            raise ValueError("a chunk of a negative size")
        return size


def _addresses(host: str, port: int) -> list[str]:
    """The addresses of a host, in order; the host itself if it has no other, so that the error names it."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return [host]
    return list(dict.fromkeys(str(address[0]) for *_, address in found)) or [host]


def meter_pools(manager: urllib3.PoolManager, meter: Meter) -> None:
    """Meter every connection of a manager, with or without a proxy. Connections are numbered from 1."""
    numbers = itertools.count(1)

    def metered(pool: Any) -> Any:
        class Connection(pool.ConnectionCls):  # type: ignore[misc]
            response_class = _StrictReply

            def connect(self) -> None:
                self.number = next(numbers)
                super().connect()
                connected: Any = self.sock  # type: ignore[has-type]
                self.sock = _MeteredSocket(connected, self.number, meter)

            def _new_conn(self) -> Any:
                """One address after the other, as long as the run has time."""
                if hasattr(self, "_socks_options"):  # the proxy resolves the name, or PySocks does
                    self.timeout = meter.connect_timeout()
                    return super()._new_conn()
                name: str = self._dns_host  # type: ignore[has-type]
                failed: Exception | None = None
                for address in _addresses(name, self.port):
                    self._dns_host, self.timeout = address, meter.connect_timeout()
                    try:
                        return super()._new_conn()
                    except (NewConnectionError, ConnectTimeoutError) as error:
                        failed = error
                    finally:
                        self._dns_host = name
                raise failed or NameResolutionError(name, self, socket.gaierror("no address"))

            def _tunnel(self) -> None:
                """CONNECT of a proxy: its answer is bounded and counted like any other."""
                bare: Any = self.sock
                self.sock = _MeteredSocket(bare, self.number, meter)
                try:
                    super()._tunnel()
                finally:
                    self.sock = bare

        class Pool(pool):  # type: ignore[misc]
            ConnectionCls = Connection

        return Pool

    manager.pool_classes_by_scheme = {
        scheme: metered(pool) for scheme, pool in manager.pool_classes_by_scheme.items()
    }
