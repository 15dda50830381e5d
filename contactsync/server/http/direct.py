"""The short way of `POST /v1/evaluate/…`: from the parser to the evaluator and back, without ASGI.

For a batch of eight points, the scope, the task and the messages of ASGI cost as much as its cryptography.
So a small batch with a plain head, of a caller that is known, is taken out here; all else goes the usual way
(evaluating.py), which says what is wrong with it. Refusals by overload are sent here, too, as soon as the
head is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Any, Final, Protocol

from contactsync.server.admission import Overloaded
from contactsync.server.company import SMALL
from contactsync.server.http.data import MEDIA_TYPE
from contactsync.server.http.evaluating import BODY_TIMEOUT, Asked, Evaluating
from contactsync.server.http.problems import Problem, overload, too_slow
from contactsync.server.http.together import Answer
from contactsync.serving.protocol import BoundedProtocol
from contactsync.voprf.suite import NE

_ROUTE: Final = b"/v1/evaluate/"
_READ_ANYWAY: Final = 1 << 18
"""Octets of a body that are read and forgotten after a refusal, so that the connection can go on."""

_DIGITS: Final = 10
_NOT_PLAIN: Final = frozenset({b"expect", b"origin", b"transfer-encoding", b"upgrade"})
"""Fields that only the usual way understands; `origin`: of a page (cross_origin.py)."""

_NOBODY: Final = asyncio.Event()  # uvicorn wakes the reader of a body: here there is none


class Watcher(Protocol):
    """Counts requests on the short way."""

    def begun(self) -> None:
        """The head of a request is there."""

    def replied(self, status: int, slug: str, seconds: float) -> None:
        """It was answered so many seconds later; `slug` is that of the problem, if it was one."""

    def gone(self) -> None:
        """The caller of one that was not answered yet went away."""


@dataclass(frozen=True, slots=True)
class Direct:
    """What all connections share."""

    evaluating: Evaluating
    watcher: Watcher | None = None


class Exchange:
    """One request on the short way. To uvicorn it is a cycle, to the evaluator a future."""

    __slots__ = (
        "_asked",
        "_begun",
        "_body",
        "_connection",
        "_disconnected",
        "_entered",
        "_points",
        "_timer",
        "keep_alive",
        "message_event",
        "response_complete",
    )

    def __init__(self, connection: DirectProtocol, asked: Asked | None, points: int) -> None:
        """`asked` None: the request is refused."""
        self._connection = connection
        self._asked = asked
        self._points = points
        self._begun = connection.loop.time()
        self._body = b""
        self._entered = self._disconnected = False
        self._timer: asyncio.TimerHandle | None = None
        self.keep_alive = connection.parser.should_keep_alive() and not connection.is_retiring
        self.message_event = _NOBODY
        self.response_complete = False
        if connection.direct.watcher is not None:
            connection.direct.watcher.begun()

    # What the connection says

    @property
    def disconnected(self) -> bool:
        """Whether the caller went away."""
        return self._disconnected

    @disconnected.setter
    def disconnected(self, gone: bool) -> None:
        self._disconnected = gone
        self._leave()
        if self._connection.direct.watcher is not None:
            self._connection.direct.watcher.gone()

    def refuse(self) -> None:
        """Say that it cannot wait. The body is forgotten as it comes."""
        line, headers, body = _overload()
        self._reply("overloaded", line, headers, body)

    def wait(self) -> None:
        """If the body is not there yet, it has some time to come."""
        if not (self.response_complete or self._timer or self._entered):
            self._timer = self._connection.loop.call_later(BODY_TIMEOUT, self._tell, too_slow(BODY_TIMEOUT))

    def add(self, part: bytes) -> None:
        """A part of the body came."""
        if not self.response_complete:
            self._body += part

    def begin(self) -> None:
        """The body is complete."""
        if self._asked is None or self.response_complete:
            return
        evaluating = self._connection.direct.evaluating
        try:
            evaluating.admission.enter(self._asked.account.id, self._points)
        except Overloaded:
            self.refuse()
            return
        self._entered = True
        try:
            evaluating.begin(self._asked, self._body, self)
        except Exception as error:  # noqa: BLE001 - the caller is told
            self.set_exception(error)

    # What the evaluator says

    def done(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._disconnected or self.response_complete

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the connection."""
        return self._connection.loop

    def set_result(self, answer: Answer, /) -> None:
        """Send the answer, or find out why there is none."""
        assert self._asked is not None
        reply = self._connection.direct.evaluating.end(self._asked, answer)
        if reply is None:
            self._connection.start(self._find_out(self._asked, answer))
            return
        body, headers = reply
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._reply("", _line(200), raw, body)

    def set_exception(self, error: BaseException, /) -> None:
        """Send what went wrong."""
        self._tell(self._connection.direct.evaluating.problem(error))

    async def _find_out(self, asked: Asked, answer: Answer) -> None:
        self._tell(await self._connection.direct.evaluating.refusal(asked, self._points, answer[0]))

    def _tell(self, problem: Problem) -> None:
        self._reply(problem.slug, *_parts(problem))

    def _reply(self, slug: str, line: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        self._leave()
        if not self.done():
            self.response_complete = True
            self._body = b""
            connection = self._connection
            if connection.direct.watcher is not None:
                seconds = connection.loop.time() - self._begun
                connection.direct.watcher.replied(int(line[9:12]), slug, seconds)
            connection.reply(self, line, headers, body)

    def _leave(self) -> None:
        """Wait no more, neither for the body nor for the evaluator."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._entered and self._asked is not None:
            self._entered = False
            self._connection.direct.evaluating.admission.leave(self._asked.account.id, self._points)


class DirectProtocol(BoundedProtocol):
    """One connection."""

    cycle: Any  # uvicorn's, or an `Exchange`

    def __init__(self, direct: Direct, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.direct = direct

    @property
    def is_retiring(self) -> bool:
        """Whether the next answer is the last one."""
        return self._held.is_retiring

    def data_received(self, data: bytes) -> None:
        """Parse."""
        super().data_received(data)
        if type(self.cycle) is Exchange:
            self.cycle.wait()

    def on_headers_complete(self) -> None:
        """Take the request if it is one for the short way, and no other is before it."""
        if self.url.startswith(_ROUTE) and (self.cycle is None or self.cycle.response_complete):
            exchange = self._take()
            if exchange is not None:
                self._in_head = False
                if not exchange.response_complete:
                    self._held.is_busy(self)
                self.cycle = exchange
                return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body came."""
        if type(self.cycle) is Exchange:
            self.cycle.add(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        if type(self.cycle) is Exchange:
            self.is_complete()
            self.cycle.begin()
        else:
            super().on_message_complete()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what takes a while. The server's end waits for it."""
        task = self.loop.create_task(work)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def reply(
        self, exchange: Exchange, line: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Send an answer. Then go on with the next request, or close."""
        if self.transport.is_closing():
            return
        parts = [line]
        for name, value in (*self.server_state.default_headers, *headers):
            if name == b"connection":  # it can only say "close"
                exchange.keep_alive = False
            else:
                parts += (name, b": ", value, b"\r\n")
        closing = b"" if exchange.keep_alive else b"connection: close\r\n"
        parts += (closing, b"x-content-type-options: nosniff\r\n\r\n", body)
        self.transport.write(b"".join(parts))
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _take(self) -> Exchange | None:
        """The exchange of a request that is plain, and small or refused; None: it goes the usual way."""
        parser, head = self.parser, dict(self.headers)
        size = head.get(b"content-length", b"")
        if (
            parser.get_method() != b"POST"
            or parser.get_http_version() != "1.1"
            or len(head) != len(self.headers)  # a field that comes twice
            or not (size.isdigit() and len(size) < _DIGITS)
            or not _NOT_PLAIN.isdisjoint(head)
            or self.flow.write_paused
        ):
            return None
        evaluating, length = self.direct.evaluating, int(size)
        points, rest = divmod(length, NE)
        if length <= _READ_ANYWAY and evaluating.admission.is_full():
            return self._refused(points)
        if rest or not points or head.get(b"content-type") != MEDIA_TYPE.encode():
            return None
        authorization = head.get(b"authorization", b"").decode("latin-1")
        asked = evaluating.recall(self.url.decode("latin-1"), authorization)
        if asked is None or points > asked.allowance.largest_batch:
            return None
        try:
            evaluating.admission.check(asked.account.id)
        except Overloaded:
            return self._refused(points)
        return Exchange(self, asked, points) if points <= SMALL else None

    def _refused(self, points: int) -> Exchange:
        exchange = Exchange(self, None, points)
        exchange.refuse()
        return exchange


@cache
def _line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()


def _parts(problem: Problem) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """First line, headers and body of a problem's reply."""
    response = problem.response()
    return _line(response.status_code), response.raw_headers, bytes(response.body)


@cache
def _overload() -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    return _parts(overload())
