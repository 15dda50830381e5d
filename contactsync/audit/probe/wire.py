"""HTTP/1.1 on bare sockets: it sends what no client library would, and shows all that comes back.

Each request has a connection of its own, unless a `Line` is asked for. They are spaced: a probe never floods.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import urlsplit

from contactsync import __version__
from contactsync.foundation.errors import BadReply, NetworkError

PACE: Final = 0.05
"""Least time in seconds between two requests, whatever their connection."""

REPLY_SECONDS: Final = 20.0
"""Seconds that a reply may take."""

AGENT: Final = f"contactsync/{__version__}"
"""What a client says of itself. A probe looks like one, or it would be told what suits an auditor."""

MALFORMED_AGENT: Final = f"contactsync-audit/{__version__} (malformed on purpose)"
"""What a request says of itself that no client would send: an operator finds it in the log of a proxy."""

_HEAD_MOST: Final = 64 << 10
_BODY_MOST: Final = 16 << 20
_SHOWN: Final = 80

Fields = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class RawReply:
    """A reply as it came. Names of fields are in lower case, and may come twice.

    `seconds` are those from the last octet of the request to the first one of the reply.
    """

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    seconds: float

    def get(self, name: str) -> str:
        """The value of a field; of several, joined by commas; "" if it is not there."""
        return ", ".join(value for one, value in self.fields if one == name)

    @property
    def media_type(self) -> str:
        """The media type without its parameters."""
        return self.get("content-type").partition(";")[0].strip().lower()

    def value(self) -> dict[str, Any]:
        """The body as a JSON object; empty if it is none."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def kind(self) -> str:
        """The slug of the problem, "" if it is none."""
        match = re.fullmatch(r"urn:contactsync:problem:([a-z-]{1,40})", str(self.value().get("type", "")))
        return match[1] if match else ""

    def __str__(self) -> str:
        return f"{self.status} {self.kind}".strip()


def shown(text: str) -> str:
    """What a server said, to be put into a finding: bounded, and without what a terminal would act upon."""
    return ascii(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


class Wire:
    """The way to one server."""

    def __init__(
        self,
        url: str,
        *,
        context: ssl.SSLContext | None = None,
        pace: float = PACE,
        patience: float = REPLY_SECONDS,
    ) -> None:
        """`url` is canonical; `context` is for https. `watch`, an attribute, sees every reply."""
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.is_tls = parts.scheme == "https"
        self.port = parts.port or (443 if self.is_tls else 80)
        self.authority, self.prefix = parts.netloc, parts.path
        self.watch: Callable[[str, RawReply], None] = lambda _place, _reply: None
        self.requests = 0
        self._context = context if context is not None else ssl.create_default_context()
        self._pace, self._patience = pace, patience
        self._pacing = threading.Lock()
        self._next = 0.0

    def head(
        self, method: str, path: str, fields: Fields = (), *, agent: str = AGENT, keep: bool = False
    ) -> bytes:
        """The head of a request with these fields, and those that every request has."""
        usual = [("Host", self.authority), ("User-Agent", agent)]
        usual += [] if keep else [("Connection", "close")]
        lines = [f"{method} {self.prefix}{path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in (*usual, *fields)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def ask(self, method: str, path: str, fields: Fields = (), body: bytes | None = None) -> RawReply:
        """One request on a connection of its own. Raises NetworkError, BadReply."""
        with self.line() as line:
            return line.ask(method, path, fields, body, keep=False)

    def send(self, octets: bytes, place: str, *, no_body: bool = False) -> RawReply | None:
        """Send octets on a connection of their own; None: it was closed without a reply. Raises as `ask`."""
        with self.line() as line:
            line.send(octets)
            return line.reply(place, no_body=no_body)

    def line(self) -> Line:
        """A connection. Raises NetworkError."""
        try:
            raw = socket.create_connection((self.host, self.port), timeout=self._patience)
            try:
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                found = self._context.wrap_socket(raw, server_hostname=self.host) if self.is_tls else raw
            except BaseException:
                raw.close()
                raise
        except OSError as error:
            raise NetworkError(
                f"cannot connect to {self.host}:{self.port}: {error.strerror or error}",
                hint="check the address, and that the server runs",
            ) from error
        return Line(self, found)

    def wait_for_turn(self) -> None:
        """Wait until the next request may be sent."""
        with self._pacing:
            now = time.monotonic()
            at = max(now, self._next)
            self._next = at + self._pace
            self.requests += 1
        time.sleep(at - now)


class Line:
    """One connection."""

    def __init__(self, wire: Wire, sock: socket.socket) -> None:
        self._wire = wire
        self._sock = sock
        self._held = b""
        self._sent = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self._sock.close()

    def ask(
        self, method: str, path: str, fields: Fields = (), body: bytes | None = None, *, keep: bool = True
    ) -> RawReply:
        """One request and its reply. Raises NetworkError, BadReply."""
        place = f"{method} {path}"
        if body is not None:
            fields = [*fields, ("Content-Length", str(len(body)))]
        self.send(self._wire.head(method, path, fields, keep=keep) + (body or b""))
        found = self.reply(place, no_body=method == "HEAD")
        if found is None:
            raise NetworkError(f"{place}: the connection was closed without a reply", hint="try again")
        return found

    def send(self, octets: bytes) -> None:
        """Send octets. If the server has closed meanwhile, its reply may still be there to read."""
        self._wire.wait_for_turn()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self._sock.sendall(octets)
        self._sent = time.perf_counter()

    def reply(self, place: str, *, no_body: bool = False, patience: float | None = None) -> RawReply | None:
        """The next reply; None if the connection is closed before one.

        Raises NetworkError (nothing comes for `patience` seconds), BadReply (it is no HTTP).
        """
        if patience is not None:
            self._sock.settimeout(patience)
        try:
            found = self._read(no_body=no_body)
        except TimeoutError as error:
            raise NetworkError(f"{place}: no reply came in time", hint="try again later") from error
        except (ConnectionError, ssl.SSLError):
            return None
        except ValueError as error:
            raise BadReply(
                f"{place}: {error}", hint="check the address: is it a contactsync server?"
            ) from error
        if found is not None:
            self._wire.watch(place, found)
        return found

    def _read(self, *, no_body: bool) -> RawReply | None:
        if not self._held and not self._fill():
            return None
        seconds = time.perf_counter() - self._sent
        while b"\r\n\r\n" not in self._held:
            if len(self._held) > _HEAD_MOST or not self._fill():
                raise ValueError("the reply is not HTTP, or its head has no end")
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.[01] ([1-9][0-9]{2})(?: .*)?", line)
        if match is None:
            raise ValueError("the reply is not HTTP/1.1")
        status = int(match[1])
        if status < 200:
            return self._read(no_body=no_body)
        pairs = [one.partition(":") for one in rest]
        fields = tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)
        found = RawReply(status, fields, b"", seconds)
        if no_body or status in {204, 304}:
            return found
        return RawReply(status, fields, self._body(found), seconds)

    def _body(self, reply: RawReply) -> bytes:
        if reply.get("transfer-encoding").lower() == "chunked":
            return b"".join(iter(self._chunk, b""))
        length = reply.get("content-length")
        if length:
            if not re.fullmatch(r"[0-9]{1,12}", length):
                raise ValueError("the Content-Length of the reply cannot be read")
            return self._take(int(length))
        while len(self._held) <= _BODY_MOST and self._fill():
            pass
        return self._take(len(self._held))

    def _chunk(self) -> bytes:
        while b"\r\n" not in self._held:
            if not self._fill():
                raise ValueError("the reply was cut off")
        size, _, self._held = self._held.partition(b"\r\n")
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,7}(;.*)?", size):
            raise ValueError("a chunk of the reply cannot be read")
        found = self._take(int(size.partition(b";")[0], 16))
        self._take(2)
        return found

    def _take(self, length: int) -> bytes:
        if length > _BODY_MOST:
            raise ValueError("the body of the reply is too large")
        while len(self._held) < length:
            if not self._fill():
                raise ValueError("the reply was cut off")
        found, self._held = self._held[:length], self._held[length:]
        return found

    def _fill(self) -> bool:
        piece = self._sock.recv(1 << 16)
        self._held += piece
        return bool(piece)
