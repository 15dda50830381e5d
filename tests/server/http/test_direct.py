"""The short way of small batches: it answers as the usual one does, byte for byte, and keeps nothing."""

import asyncio
import itertools
import re
import time
from contextlib import closing

import pytest
import uvicorn
from server_tools import GERMAN, Operator
from uvicorn.server import ServerState

from contactsync.server.admission import Overloaded
from contactsync.server.evaluation import Evaluator
from contactsync.server.http import direct
from contactsync.server.http.app import App
from contactsync.server.http.direct import DirectProtocol
from contactsync.server.quota import Terms
from contactsync.server.storage.files import PublicFolder
from contactsync.serving.limits import Connections, Limits
from contactsync.voprf.client import blind

BODY = blind([b"%d" % i for i in range(8)]).blinded.tobytes()
USUAL = b"X: 1\r\nX: 2\r\n"
"""A head with a field that comes twice is not plain."""


LENGTH = len(BODY)


def head(length=LENGTH, *, path=b"/v1/evaluate/people/1", extra=b"", credential=b"cs_shop"):
    return (
        b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Length: %d\r\n%s\r\n"
    ) % (path, credential, length, extra)


class Watcher:
    """Counts, as metrics do."""

    def __init__(self):
        self.open, self.statuses, self.slugs = 0, [], []

    def begun(self):
        self.open += 1

    def replied(self, status, slug, seconds):
        assert 0 <= seconds < 60
        self.open -= 1
        self.statuses.append(status)
        self.slugs.append(slug)

    def gone(self):
        self.open -= 1


class Site:
    """A server on the loop that runs, which says which way each request went."""

    def __init__(self, app):
        self.app, self.usual, self.watcher = app, 0, Watcher()
        self.direct = direct.Direct(app.direct.evaluating, self.watcher)
        self.admission = app.direct.evaluating.admission

    async def asgi(self, scope, receive, send):
        self.usual += 1
        await self.app.asgi(scope, receive, send)

    async def __aenter__(self):
        config = uvicorn.Config(self.asgi, interface="asgi3", lifespan="off", log_config=None)
        state = ServerState()
        connections = Connections(Limits())
        connections.start(asyncio.get_running_loop())

        def connection():
            options = {"config": config, "server_state": state, "app_state": {}}
            return DirectProtocol(self.direct, connections=connections, **options)

        self.connection = connection
        self.server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        await self.ask(head(extra=USUAL) + BODY)  # it is known now
        self.usual = 0
        return self

    async def __aexit__(self, *_error):
        self.server.close()
        assert self.watcher.open == 0
        assert self.admission._taken == 0

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, *parts):
        reader, writer = await self.connect()
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02 * (len(parts) > 1))
        answer = await read(reader)
        writer.close()
        return answer


async def read(reader):
    """One answer: status, fields by name, body."""
    async with asyncio.timeout(20):
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        fields = [line.split(b": ", 1) for line in lines[1:-2]]
        named = dict(fields)
        assert len(named) == len(fields), "no field comes twice"
        return int(lines[0].split()[1]), named, await reader.readexactly(int(named[b"content-length"]))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    operator = Operator(tmp_path_factory.mktemp("direct") / "server")
    operator.add(GERMAN)
    operator.publish()
    with closing(operator):
        yield operator


@pytest.fixture
def operator(published):
    published.accounts.add("shop", "people", "cs_shop")
    yield published
    if any(one.name == "shop" for one in published.accounts.list()):
        published.accounts.revoke("shop")


@pytest.fixture
def app(operator):
    with closing(Evaluator(1, 8)) as evaluator:
        public = PublicFolder(operator.folder.public)
        yield App(operator.folder, operator.accounts, public, operator.keyring, evaluator)


def on(app, talk):
    """Run `talk(site)` against a server."""

    async def run():
        async with Site(app) as site:
            return await talk(site)

    return asyncio.run(run())


def told(answer):
    """What does not change from one request to the next."""
    status, fields, body = answer
    body = body if status != 200 else body[: len(BODY)]  # without the proof, which is random
    hints = re.sub(rb'("left"|r=|t=)[: ]*\d+', b"", body if status != 200 else b"")
    kept = {name: value for name, value in fields.items() if name not in (b"date", b"ratelimit")}
    return status, kept, body if status == 200 else hints


CASES = {
    "good": (head(), BODY),
    "not an element": (head(), bytes(32) + BODY[32:]),
    "no such account": (head(credential=b"cs_nobody"), BODY),
    "another audience": (head(path=b"/v1/evaluate/business/1"), BODY),
    "another epoch": (head(path=b"/v1/evaluate/people/2"), BODY),
    "an epoch with a zero": (head(path=b"/v1/evaluate/people/01"), BODY),
    "no such audience": (head(path=b"/v1/evaluate/nobody/1"), BODY),
    "no batch": (head(33), BODY[:33]),
    "empty": (head(0), b""),
    "of another type": (head().replace(b"octet-stream", b"json"), BODY),
    "without a credential": (head().replace(b"Bearer", b"Basic"), BODY),
    "closing": (head(extra=b"Connection: close\r\n"), BODY),
    "in an old version": (head().replace(b"HTTP/1.1", b"HTTP/1.0"), BODY),
}
SHORT = {"good", "not an element", "closing"}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_both_ways_say_the_same(app, case):
    first, body = CASES[case]

    async def talk(site):
        short, before = await site.ask(first + body), site.usual
        usual = await site.ask(first[:-2] + USUAL + b"\r\n" + body)
        assert (before, site.usual) == (case not in SHORT, (case not in SHORT) + 1)
        return short, usual

    short, usual = on(app, talk)
    assert told(short) == told(usual)


def test_both_ways_refuse_who_has_nothing_left(app, operator):
    operator.accounts.change(["shop"], lambda _: Terms("", 8, 1))
    other = blind([b"other"] * 8).blinded.tobytes()

    async def talk(site):
        return await site.ask(head() + other), await site.ask(head(extra=USUAL) + other), site

    short, usual, site = on(app, talk)
    assert told(short)[0] == 429
    assert b"retry-after" in short[1]
    assert short[1].keys() == usual[1].keys()
    assert (site.watcher.statuses, site.watcher.slugs) == ([429], ["out-of-quota"])


def test_a_stopped_charge_is_refused(app, operator, monkeypatch):
    monkeypatch.setattr(app._charging, "_breakers", type(app._charging._breakers)(all=1))
    other = blind([b"other"] * 8).blinded.tobytes()
    status, fields, body = on(app, lambda site: site.ask(head() + other))
    assert status == 503
    assert b"paused" in body
    assert b"retry-after" in fields


def test_who_was_revoked_is_refused_with_the_next_request(app, operator):
    async def talk(site):
        reader, writer = await site.connect()
        writer.write(head() + BODY)
        first = await read(reader)
        operator.accounts.revoke("shop")
        writer.write(head() + BODY)
        second = await read(reader)
        writer.close()
        return first[0], second[0]

    assert on(app, talk) == (200, 401)


def test_a_credential_that_ends_is_refused(app, operator, monkeypatch):
    operator.accounts.rotate("shop", "cs_new", 10_000)
    later = operator.accounts._clock() + 11_000

    async def talk(site):
        assert (await site.ask(head() + BODY))[0] == 200
        monkeypatch.setattr(app._callers, "_clock", lambda: later)
        return (await site.ask(head() + BODY))[0]

    assert on(app, talk) == 401


@pytest.mark.slow
@pytest.mark.parametrize("cuts", [(1,), (40, 100), (len(head()),), (len(head()) + 1,), (len(head()) + 200,)])
def test_a_request_may_come_in_parts(app, cuts):
    whole = head() + BODY
    edges = [0, *cuts, len(whole)]

    async def talk(site):
        parts = [whole[a:b] for a, b in itertools.pairwise(edges)]
        answer = await site.ask(*parts)
        assert site.usual == 0
        return answer

    assert on(app, talk)[0] == 200


def test_pipelined_requests_are_answered_in_their_order(app):
    health = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n"
    bodies = [blind([b"%d" % i] * (i + 1)).blinded.tobytes() for i in range(5)]

    async def talk(site):
        reader, writer = await site.connect()
        writer.write(b"".join(head(len(body)) + body + health for body in bodies))
        answers = [await read(reader) for _ in range(10)]
        writer.write(head() + BODY)
        answers.append(await read(reader))
        writer.close()
        return answers

    answers = on(app, talk)
    assert [answer[0] for answer in answers] == [200] * 11
    assert [len(answer[2]) for answer in answers[::2]] == [32 * n + 64 for n in (1, 2, 3, 4, 5, 8)]


def test_a_body_that_does_not_come_is_given_up(app, monkeypatch):
    monkeypatch.setattr(direct, "BODY_TIMEOUT", 0.1)

    async def talk(site):
        reader, writer = await site.connect()
        writer.write(head() + BODY[:100])
        answer = await read(reader)
        assert await reader.read() == b""
        writer.close()
        return answer

    status, fields, body = on(app, talk)
    assert (status, fields[b"connection"]) == (408, b"close")
    assert b"too-slow" in body


@pytest.mark.slow
@pytest.mark.parametrize("sent", [len(BODY) - 1, len(BODY)])
def test_who_goes_away_leaves_nothing(app, monkeypatch, sent):
    """Neither in the room of those who wait (the site looks), nor a charge that was not begun."""

    async def talk(site):
        for _ in range(20):
            _, writer = await site.connect()
            writer.write(head() + BODY[:sent])
            await writer.drain()
            writer.transport.abort()
        await asyncio.sleep(0.2)
        return await site.ask(head() + BODY)

    assert on(app, talk)[0] == 200


class Full:
    """A room in which there is none."""

    _taken = 0

    def is_full(self):
        return True

    def check(self, _account):
        raise Overloaded


@pytest.mark.parametrize("points", [8, 64, 512, 4096])
def test_overload_is_said_before_the_body_and_the_connection_goes_on(app, monkeypatch, points):
    async def talk(site):
        admission = app.direct.evaluating.admission
        reader, writer = await site.connect()
        monkeypatch.setattr(app.direct.evaluating, "admission", Full())
        writer.write(head(32 * points))
        status, fields, body = await read(reader)  # nothing of the body was sent
        assert (status, fields[b"retry-after"]) == (503, b"1")
        assert b"overloaded" in body
        assert b"connection" not in fields
        writer.write(bytes(32 * points))  # a client that has begun goes on sending
        monkeypatch.setattr(app.direct.evaluating, "admission", admission)
        writer.write(head() + BODY)
        after = await read(reader)
        writer.close()
        return after, site

    after, site = on(app, talk)
    assert after[0] == 200
    assert (site.usual, site.watcher.slugs) == (0, ["overloaded", ""])


class Nowhere:
    """The transport of many connections, which takes everything; `all` is set when all have an answer."""

    def __init__(self, connections):
        self.last, self.written, self.connections, self.all = b"", 0, connections, asyncio.Event()

    def write(self, data):
        self.last = data
        self.written += 1
        if self.written % self.connections == 0:
            self.all.set()

    def set_write_buffer_limits(self, *_limits):
        pass

    def abort(self):
        pass

    def close(self):
        pass

    def is_closing(self):
        return False

    def get_extra_info(self, _name):
        return None


def yardstick():
    """Seconds of CPU for a piece of plain Python: machines differ by a factor of two, and moments, too."""
    begin = time.thread_time()
    sum(len(str(number).encode()) for number in range(1000))
    return time.thread_time() - begin


@pytest.mark.parametrize(("room", "status", "most"), [(0, b" 503 ", 0.35), (100, b" 200 ", 0.7)])
def test_a_request_costs_little_on_the_event_loop(app, monkeypatch, room, status, most):
    """CPU in yardsticks, without the socket: of a refusal, and until a batch is handed to the evaluator."""

    async def talk(site):
        monkeypatch.setattr(site.admission, "_room", room)
        connections = [site.connection() for _ in range(16)]
        nowhere = Nowhere(len(connections))
        for one in connections:
            one.connection_made(nowhere)
        times, yardsticks = [], []
        for _ in range(40):
            yardsticks.append(yardstick())
            begin = time.thread_time()
            for one in connections:
                one.data_received(head() + BODY)
            times.append((time.thread_time() - begin) / len(connections))
            await asyncio.wait_for(nowhere.all.wait(), 20)
            nowhere.all.clear()
            assert status in nowhere.last[:20]
        for one in connections:
            one.connection_lost(None)
        assert site.usual == 0
        return min(times) / min(yardsticks)

    assert on(app, talk) < most


def test_a_refusal_tells_those_who_wait_to_be_asked_for_the_body(app, monkeypatch):
    """Expect: 100-continue goes the usual way, which refuses before it asks."""

    async def talk(site):
        reader, writer = await site.connect()
        monkeypatch.setattr(app.direct.evaluating, "admission", Full())
        writer.write(head(extra=b"Expect: 100-continue\r\n"))
        answer = await read(reader)
        writer.close()
        return answer

    assert on(app, talk)[0] == 503


def test_what_is_unforeseen_is_a_fault_and_logged_without_its_text(app, monkeypatch, caplog):
    def broken(*_):
        raise ZeroDivisionError("cs_secret")

    async def talk(site):
        monkeypatch.setattr(app._charging, "bill", broken)
        return await site.ask(head() + BODY)

    status, _, body = on(app, talk)
    assert status == 500
    assert "ZeroDivisionError" in caplog.text
    assert "cs_secret" not in caplog.text
    assert b"cs_secret" not in body
