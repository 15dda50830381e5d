"""HTTP, and every byte of it counted: the one way in which the client talks to a server.

A transport belongs to one server. It never follows a redirect, sends the credential to that server only,
accepts no compressed body, and bounds every reply before it is read. TLS certificates are verified against
the system's authorities.
"""

from __future__ import annotations

import io
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import urllib3
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    IncompleteRead,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from contactsync import __version__
from contactsync.client.patience import Patience
from contactsync.foundation.errors import BadReply, ContactSyncError, NetworkError, Refused

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
CHUNK = 1 << 16
PROBLEM_LIMIT = 16 << 10
METADATA_LIMIT = 8 << 20
READ_AHEAD = 8 << 10
# Octets of a reply's head, with all 1xx before it, and what is read ahead. The time that http.client takes
# grows with the square of a Content-Type: a second for this.
HEAD_LIMIT = 32 << 10
PIECE_LIMIT = 4 * CHUNK  # octets on the wire for CHUNK of a body, the framing of chunks included
PIECE_SECONDS = 120.0  # for a head, or CHUNK of a body: about 500 octets a second
LEAST_PAUSE = 0.25
"""Seconds before the same request is repeated, whatever the server says."""

Record = Callable[[int, bool, memoryview], None]
"""Called with the number of the connection, whether the bytes were sent, and a view of the bytes."""


class Transport:
    """Requests to one server.

    `sent` and `received` count the bytes of whole HTTP messages, heads included, TLS framing excluded.
    """

    def __init__(
        self,
        base_url: str,
        *,
        credential: str | None = None,
        record: Record | None = None,
        read_seconds: float = READ_SECONDS,
        patience: Patience | None = None,
    ) -> None:
        """`patience` is the waiting time of a whole run; without one, this transport is a run of its own."""
        self.base_url = base_url.rstrip("/")
        self.sent = 0
        self.received = 0
        self.patience = patience or Patience()
        self._credential = credential
        self._record = record
        self._allow(HEAD_LIMIT)
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds), retries=False
        )
        self._pool.pool_classes_by_scheme = _tapped_pools(self._tap)

    @contextmanager
    def get(
        self, path: str, *, headers: Mapping[str, str] | None = None, authorised: bool = False
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """An unread reply of status 200, 206 or 416, to be read by `chunks`; every other one is raised.

        Raises Refused (with the server's own hint), BadReply for a redirect, NetworkError.
        """
        reply = self._open("GET", path, headers=headers or {}, body=None, authorised=authorised)
        try:
            if reply.status not in {200, 206, 416}:
                raise _problem(reply)
            yield reply
        finally:
            # What is left unread would be taken for the next reply: give the connection up.
            if reply.length_remaining == 0:
                reply.release_conn()
            else:
                reply.close()

    def post(self, path: str, body: bytes, *, reply_length: int) -> bytes:
        """POST octets and return the reply, which must have exactly `reply_length` octets.

        Only for requests that may be repeated with the same body, which is done when nothing comes back.
        Raises Refused, BadReply, NetworkError.
        """
        headers = {"Content-Type": "application/octet-stream"}
        attempts = self.patience.attempts()
        while True:
            try:
                reply = self._open("POST", path, headers=headers, body=body, authorised=True)
                try:
                    if reply.status != 200:
                        raise _problem(reply)
                    data = b"".join(self.chunks(reply, reply_length + 1))
                    if len(data) != reply_length:
                        raise BadReply(
                            f"{self.base_url} answered {path} with a reply of the wrong length",
                            hint="nothing was stored; tell the operator if it happens again",
                        )
                    return data
                finally:
                    reply.close() if reply.length_remaining else reply.release_conn()
            except NetworkError as error:
                attempts.failed(error)

    def chunks(self, reply: urllib3.BaseHTTPResponse, limit: int) -> Iterator[bytes]:
        """The body in pieces, at most `limit` octets of it. Raises NetworkError if it stops too early."""
        while limit > 0:
            self._allow(PIECE_LIMIT)
            with _explained(self.base_url):
                piece = reply.read(min(CHUNK, limit))
            if not piece:
                return
            limit -= len(piece)
            yield piece

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _open(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes | None, authorised: bool
    ) -> urllib3.BaseHTTPResponse:
        """Send a request and read the head of its reply; wait and repeat while the server is overloaded."""
        head = {"User-Agent": f"contactsync/{__version__}", "Accept-Encoding": "identity", **headers}
        if authorised:
            if self._credential is None:
                raise Refused(
                    f"{self.base_url} needs a credential for this",
                    hint="give --credential-file, or set CONTACTSYNC_CREDENTIAL_FILE",
                )
            head["Authorization"] = f"Bearer {self._credential}"
        while True:
            self._allow(HEAD_LIMIT)
            with _explained(self.base_url):
                reply = self._pool.urlopen(
                    method,
                    self.base_url + path,
                    body=body,
                    headers=head,
                    retries=False,
                    redirect=False,
                    preload_content=False,
                    decode_content=False,
                )
            pause = _retry_after(reply)
            if pause is None or not self.patience.wait(pause, "the server is busy"):
                return reply
            reply.close()

    def _allow(self, octets: int) -> None:
        """How much the server may send until this is called again, and until when."""
        self._allowed = self.received + octets
        self._until = time.monotonic() + PIECE_SECONDS

    def _tap(self, connection: int, sent: bool, data: memoryview) -> None:
        if sent:
            self.sent += len(data)
        else:
            self.received += len(data)
            # What is below believes any number that the server writes, and waits as long as something comes.
            if self.received > self._allowed:
                raise OSError("more than a reply may have")
            if time.monotonic() > self._until:
                raise TimeoutError("too slow")
        if self._record is not None:
            self._record(connection, sent, data)


class MetadataFetcher(FetcherInterface):
    """Lets python-tuf fetch through a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _fetch(self, url: str) -> Iterator[bytes]:
        assert url.startswith(self._transport.base_url + "/"), "metadata is fetched from its own server only"
        path = url.removeprefix(self._transport.base_url)
        attempts = self._transport.patience.attempts()
        while True:
            try:
                with self._transport.get(path) as reply:
                    # Metadata is small and tuf bounds it; hold it, so that a cut one can be asked for again.
                    return iter(list(self._transport.chunks(reply, METADATA_LIMIT)))
            except Refused as error:
                if error.status in {403, 404} or error.kind == "not-published":
                    raise DownloadHTTPError(str(error), error.status) from error
                raise
            except NetworkError as error:
                attempts.failed(error)


def _retry_after(reply: urllib3.BaseHTTPResponse) -> float | None:
    """Seconds to wait before the same request may be repeated; None if it should not be."""
    text = reply.headers.get("Retry-After", "")
    if reply.status not in {429, 503} or not text.isascii() or not text.isdigit():
        return None
    return max(float(text), LEAST_PAUSE)


def _problem(reply: urllib3.BaseHTTPResponse) -> ContactSyncError:
    """The error that a reply of an unexpected status stands for (RFC 9457)."""
    if 300 <= reply.status < 400:
        return BadReply(
            "the server answered with a redirect, which is never followed",
            hint="trust the server under its final URL",
        )
    try:
        value = json.loads(reply.read(PROBLEM_LIMIT))
        kind = str(value["type"]).removeprefix("urn:contactsync:problem:")
        detail, hint = str(value.get("detail") or value.get("title", "")), str(value.get("hint", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, HTTPError):
        kind, detail = "", f"status {reply.status}"
        hint = "check the address: this does not look like a contactsync server"
        if reply.status == 429:
            hint = "try again later"
    if not kind and reply.status >= 500:
        return NetworkError(
            f"the server (or a proxy before it) failed: status {reply.status}", hint="try again later"
        )
    if kind == "wrong-audience":
        hint = "use --audience with the audience of your credential, or ask the operator for another one"
    if kind == "bad-credential":
        hint = "check the credential file, or ask the operator for a new credential"
    return Refused(f"the server refused: {_plain(detail)}", hint=_plain(hint), status=reply.status, kind=kind)


def _plain(text: str) -> str:
    """A peer's text, made harmless for a terminal and short."""
    return "".join(c if c.isprintable() else " " for c in text)[:300]


@contextmanager
def _explained(base_url: str) -> Iterator[None]:
    """Turn what urllib3 raises into an error of ours, with what to do about it."""
    try:
        yield
    except NameResolutionError as error:
        raise NetworkError(f"no such host: {base_url}", hint="check the address and the network") from error
    except NewConnectionError as error:
        raise NetworkError(
            f"cannot connect to {base_url}", hint="check that the server is running"
        ) from error
    except ConnectTimeoutError as error:
        raise NetworkError(f"{base_url} does not answer", hint="check the address and the network") from error
    except SSLError as error:
        raise NetworkError(
            f"no verified TLS connection to {base_url}",
            hint="check the certificate, your clock, and that the server speaks TLS there (http:// has none)",
        ) from error
    except ReadTimeoutError as error:
        raise NetworkError(f"{base_url} stopped answering", hint="try again; what arrived is kept") from error
    except (IncompleteRead, HTTPError, MaxRetryError, OSError) as error:
        raise NetworkError(
            f"{base_url} closed the connection in the middle", hint="try again; what arrived is kept"
        ) from error
    # What http.client raises for sizes and parameters that are none.
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BadReply(
            f"{base_url} sent a malformed reply", hint="check the address; if it is right, tell the operator"
        ) from error


# Counting at the socket: what http.client really writes and reads, above TLS.


class _TappedSocket:
    """A socket that shows to a tap what passes through it; everything else is the socket's own."""

    def __init__(self, sock: socket.socket, number: int, tap: Record) -> None:
        self._sock = sock
        self._number = number
        self._tap = tap

    def sendall(self, data: Any) -> None:
        self._sock.sendall(data)
        self._tap(self._number, True, memoryview(data).cast("B"))

    def makefile(self, mode: str, *_: object) -> io.BufferedReader:
        assert mode == "rb"
        raw = self._sock.makefile("rb", buffering=0)
        return io.BufferedReader(_TappedReader(raw, self._number, self._tap), READ_AHEAD)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _TappedReader(io.RawIOBase):
    """The reading half of a tapped socket."""

    def __init__(self, raw: socket.SocketIO, number: int, tap: Record) -> None:
        self._raw = raw
        self._number = number
        self._tap = tap

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        if count:
            self._tap(self._number, False, memoryview(buffer)[:count])
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _tapped_pools(tap: Record) -> dict[str, Any]:
    """Connection pools of which every socket is tapped; connections are numbered from 1."""
    numbers = itertools.count(1)

    class Connection(urllib3.connection.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            self.sock = _TappedSocket(self.sock, next(numbers), tap)

    class SecureConnection(urllib3.connection.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            self.sock = _TappedSocket(self.sock, next(numbers), tap)

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Connection

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = SecureConnection

    return {"http": Pool, "https": SecurePool}
