"""From the pieces of a transcript to requests and their replies (RFC 9112).

What was sent is read strictly: an octet that is in no request is a problem. What was received comes from a
server that may lie, and is read only as far as it can be.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Final

from contactsync.client.transcript import Closed, Event, Hidden, Piece, Worked

MAX_HEAD: Final = 16 << 10
MAX_REPLY_HEAD: Final = 64 << 10

_REQUEST = re.compile(rb"([A-Z]{3,7}) ([!-~]{1,8000}) (HTTP/1\.[01])")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([^\r\n]*)")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: .*)?")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]*)?\r\n")


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, as far as it came. `fields` have lower-case names, the first of each."""

    status: int
    fields: Mapping[str, str]
    body: bytes = field(repr=False)
    whole: bool
    size: int


@dataclass(frozen=True, slots=True)
class HttpExchange:
    """A request and its reply. `number` counts from 1 in the order of sending.

    `first` and `last` are the events in which it begins and ends, the reply included. `hidden` counts from
    the first octet of the request. `repeated`: the same request was sent again, because of its reply or
    because none came. `whole` is False if the request itself was not sent to its end.
    """

    number: int
    connection: int
    first: int
    last: int
    method: str
    target: str
    version: str
    fields: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    hidden: tuple[Hidden, ...]
    size: int
    whole: bool
    reply: Reply | None
    repeated: bool = False

    @property
    def place(self) -> str:
        """How findings name it."""
        return f"request {self.number}"

    def of(self, name: str) -> str | None:
        """The value of its first field of this name; None without one."""
        return next((value for key, value in self.fields if key.lower() == name), None)

    @property
    def succeeded(self) -> bool:
        """Whether a whole reply of status 200 or 206 came."""
        return self.reply is not None and self.reply.whole and self.reply.status in {200, 206}

    @property
    def same_as(self) -> tuple[object, ...]:
        """What is equal for two requests if they are the same octets."""
        return (self.method, self.target, self.version, self.fields, self.body)


@dataclass(slots=True)
class RecordedWire:
    """All requests in order; what was sent and is in none (`strays`: place and octets); when who was closed.

    `closed` and `worked` are events: when each connection was closed, when replies were worked on.
    """

    exchanges: list[HttpExchange] = field(default_factory=list)
    strays: list[tuple[str, int]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    closed: dict[int, int] = field(default_factory=dict)
    worked: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Direction:
    """One direction of a connection."""

    data: bytearray = field(default_factory=bytearray)
    begins: list[tuple[int, int]] = field(default_factory=list)  # offset, event
    hidden: list[Hidden] = field(default_factory=list)

    def add(self, event: int, piece: Piece) -> None:
        at = len(self.data)
        self.begins.append((at, event))
        self.hidden += [replace(one, at=one.at + at) for one in piece.hidden]
        self.data += piece.data

    def event(self, offset: int) -> int:
        """The event with the octet at this offset."""
        return self.begins[bisect_right(self.begins, offset, key=itemgetter(0)) - 1][1]


def read_wire(events: Sequence[Event]) -> RecordedWire:
    """All requests of a transcript. Never raises."""
    wire, streams = RecordedWire(), dict[tuple[int, bool], _Direction]()
    for number, event in enumerate(events):
        if isinstance(event, Piece):
            streams.setdefault((event.connection, event.sent), _Direction()).add(number, event)
        elif isinstance(event, Closed):
            wire.closed.setdefault(event.connection, number)
        elif isinstance(event, Worked):
            wire.worked.append(number)
    found: list[HttpExchange] = []
    for connection in sorted({connection for connection, _ in streams}):
        sent = streams.get((connection, True), _Direction())
        received = streams.get((connection, False), _Direction())
        found += _connection(wire, connection, sent, received)
    found.sort(key=lambda one: one.first)
    for place, one in enumerate(found):
        after = found[place + 1] if place + 1 < len(found) else None
        again = after is not None and after.same_as == one.same_as and _may_repeat(one)
        wire.exchanges.append(replace(one, number=place + 1, repeated=again))
    return wire


def _may_repeat(one: HttpExchange) -> bool:
    """Whether its reply is a reason to send a request again: none, a part of one, a server that is busy."""
    reply = one.reply
    return reply is None or not reply.whole or reply.status == 429 or reply.status >= 500


def _connection(
    wire: RecordedWire, connection: int, sent: _Direction, received: _Direction
) -> Iterable[HttpExchange]:
    at = back = 0
    while at < len(sent.data):
        request = _request(bytes(sent.data[at : at + MAX_HEAD]), len(sent.data) - at)
        if request is None:
            wire.strays.append((f"connection {connection}", len(sent.data) - at))
            return
        head, body_length, size = request
        whole = at + size <= len(sent.data)
        size = min(size, len(sent.data) - at)
        reply, came = _reply(received.data, back, head[0])
        hidden = tuple(replace(one, at=one.at - at) for one in sent.hidden if at <= one.at < at + size)
        last = sent.event(at + size - 1)
        if came:
            last = max(last, received.event(back + came - 1))
        yield HttpExchange(
            0, connection, sent.event(at), last, *head,
            bytes(sent.data[at + size - min(body_length, size) : at + size]) if body_length else b"",
            hidden, size, whole, reply,
        )  # fmt: skip
        at, back = at + size, back + came
    if back < len(received.data):
        wire.unread.append(f"connection {connection}: {len(received.data) - back:,} octets after its replies")


def _request(
    data: bytes, left: int
) -> tuple[tuple[str, str, str, tuple[tuple[str, str], ...]], int, int] | None:
    """The head of a request, and the lengths of its body and of all of it; None if it is none."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *rest = data[:end].split(b"\r\n")
    line, fields = _REQUEST.fullmatch(first), [_FIELD.fullmatch(one) for one in rest]
    if line is None or None in fields:
        return None
    pairs = tuple((one[1].decode("latin-1"), one[2].decode("latin-1")) for one in fields if one)
    lengths = [value for name, value in pairs if name.lower() == "content-length"]
    if any(name.lower() == "transfer-encoding" for name, _ in pairs) or len(lengths) > 1:
        return None
    if lengths and not re.fullmatch(r"0|[1-9]\d{0,9}", lengths[0]):
        return None
    body = int(lengths[0]) if lengths else 0
    size = end + 4 + body
    method, target, version = (part.decode("ascii") for part in line.groups())
    return (method, target, version, pairs), min(body, max(0, left - end - 4)), size


def _reply(data: bytearray, at: int, method: str) -> tuple[Reply | None, int]:
    """The reply that begins there, and how many octets it takes with those of status 1xx before it."""
    begun = at
    while True:
        end = data.find(b"\r\n\r\n", at, at + MAX_REPLY_HEAD)
        if end < 0:
            return None, len(data) - begun
        first, *rest = bytes(data[at:end]).split(b"\r\n")
        status = _STATUS.fullmatch(first)
        if status is None:
            return None, len(data) - begun
        at = end + 4
        if status[1][:1] != b"1":
            break
    fields: dict[str, str] = {}
    for line in rest:
        name, colon, value = line.partition(b":")
        if colon:
            fields.setdefault(name.decode("latin-1").strip().lower(), value.decode("latin-1").strip())
    code = int(status[1])
    body, whole, taken = _body(data, at, fields, empty=_is_empty(method, code))
    return Reply(code, fields, body, whole, at + taken - begun), at + taken - begun


def _is_empty(method: str, status: int) -> bool:
    return method == "HEAD" or status in {204, 304} or (method == "CONNECT" and 200 <= status < 300)


def _body(data: bytearray, at: int, fields: Mapping[str, str], *, empty: bool) -> tuple[bytes, bool, int]:
    """The body of a reply, whether it is whole, and how many octets it took."""
    if empty:
        return b"", True, 0
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return _chunked(data, at)
    length = fields.get("content-length", "")
    if not re.fullmatch(r"\d{1,15}", length):
        return bytes(data[at:]), True, len(data) - at  # until the connection is closed
    body = bytes(data[at : at + int(length)])
    return body, len(body) == int(length), len(body)


def _chunked(data: bytearray, at: int) -> tuple[bytes, bool, int]:
    parts: list[bytes] = []
    begun = at
    while True:
        size = _CHUNK.match(data, at)
        if size is None:
            return b"".join(parts), False, len(data) - begun
        count = int(size[1], 16)
        at = size.end()
        if count == 0:
            end = at if data[at : at + 2] == b"\r\n" else data.find(b"\r\n\r\n", at) + 2
            whole = end >= at and data[end : end + 2] == b"\r\n"
            return b"".join(parts), whole, (end + 2 if whole else len(data)) - begun
        parts.append(bytes(data[at : at + count]))
        if data[at + count : at + count + 2] != b"\r\n":
            return b"".join(parts), False, len(data) - begun
        at += count + 2
