"""What a caller can do below HTTP: heads without end, targets of every form, what is not HTTP. By sockets."""

import socket
import time
from contextlib import closing

import pytest
from server_tools import GERMAN, Operator, Process

from contactsync.serving.protocol import HEADER_LIMIT
from contactsync.voprf.client import blind

HEALTH = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n"
END = b"\r\n"
CLOSE = b"Connection: close\r\n"


class Site:
    def __init__(self, folder):
        self.operator = Operator(folder / "server")
        self.operator.add(GERMAN)
        self.operator.publish()
        self.operator.accounts.add("a", "people", "cs_a")
        self.process = Process(self.operator.folder.path)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.process.port), timeout=20)

    def raw(self, *parts, pause=0.0):
        """Send the parts one after the other; everything that comes until the server closes."""
        with self.connect() as connection:
            answer = b""
            try:
                for part in parts:
                    connection.sendall(part)
                    time.sleep(pause)
                while data := connection.recv(1 << 16):
                    answer += data
            except ConnectionError:  # it has closed while we were sending
                pass
            return answer

    def log(self):
        return self.process.log.read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("protocol"))
    with site.process, closing(site.operator):
        yield site
        assert site.log().count("\n") == 1, "nothing but what is served: no line about a request"


def statuses(answer):
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


LONG = [
    pytest.param([HEALTH, b"X: " + b"x" * 70_000], id="a field without end"),
    pytest.param([HEALTH, *[b"X: " + b"x" * 1000 + END] * 70], id="fields without end"),
    pytest.param([HEALTH + b"X: y\r\n" * 20_000 + END], id="many fields at once"),
    pytest.param([HEALTH + b"X: " + b"x" * 20_000 + END + END], id="a long field at once"),
    pytest.param([b"GET /" + b"a" * 70_000], id="a target without end"),
    pytest.param([b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n"], id="a long target at once"),
    pytest.param([b"x" * 70_000], id="a method without end"),
    pytest.param([HEALTH + END, HEALTH, b"X: " + b"x" * 300_000], id="in the second request"),
    pytest.param([HEALTH + END + HEALTH + b"X: " + b"x" * 300_000], id="in a pipelined one"),
]


@pytest.mark.slow
@pytest.mark.parametrize("parts", LONG)
def test_a_head_is_bounded(site, parts):
    found = statuses(site.raw(*parts, pause=0.01))
    assert found in ([400], [200, 400], [200], [])  # the refusal may be lost behind a reset
    assert found.count(200) == parts[0].startswith(HEALTH + END)


@pytest.mark.slow
def test_a_head_just_below_the_bound_is_read(site):
    # Each field counts four octets more than its name and value.
    left = HEADER_LIMIT - len("/v1/health") - len("hostx") - len("connectionclose") - len("y") - 4 * 4
    assert statuses(site.raw(HEALTH + CLOSE + b"Y: " + b"y" * left + END + END)) == [200]
    assert statuses(site.raw(HEALTH + CLOSE + b"Y: " + b"y" * (left + 1) + END + END)) == [400]


@pytest.mark.slow
def test_a_connection_serves_many_requests_of_any_size(site):
    body = blind([b"%d" % i for i in range(600)]).blinded.tobytes()
    head = b"POST /v1/evaluate/people/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer cs_a\r\n"
    head += b"Content-Type: application/octet-stream\r\nX: " + b"x" * 9000 + END
    post = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    last = HEALTH + CLOSE + b"X: " + b"x" * 9000 + END + END
    assert statuses(site.raw(post, post, HEALTH + END, post, last, pause=0.05)) == [200] * 5
    assert statuses(site.raw(post + HEALTH + END + post + last)) == [200] * 4, "pipelined"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET http://x/v1/health HTTP/1.1", 200),  # RFC 9112 §3.2.2: a server must accept it
        (b"GET http://x:80/v1/health?a=b HTTP/1.1", 200),
        (b"GET /v1/health?x HTTP/1.1", 200),
        (b"GET /v1/%68ealth HTTP/1.1", 200),
        (b"GET http://x HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 404),
        (b"GET v1/health HTTP/1.1", 400),
        (b"GET /v1/health\xff HTTP/1.1", 400),
        (b"POST http://x/v1/evaluate/people/1 HTTP/1.1", 401),
        (b"POST /v1/evaluate/people/1/ HTTP/1.1", 404),
        (b"POST /v1/evaluate/people/%31 HTTP/1.1", 401),
        (b"PUT /v1/evaluate/people/1 HTTP/1.1", 405),
        (b"HEAD /v1/health HTTP/1.1", 200),
        (b"GET /v1/health HTTP/9.9", 400),
        (b"GET /v1/health", 400),
        (b"\0\1\2", 400),
    ],
)
def test_forms_of_targets(site, line, status):
    assert statuses(site.raw(line + b"\r\nHost: x\r\n" + CLOSE + END))[:1] == [status]


@pytest.mark.parametrize(
    "body",
    [
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 40 + END,
        b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 60_000 + b"\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 32\r\nContent-Length: 33\r\n\r\n" + bytes(32),
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 1e3\r\n\r\n",
        b"Content-Length: 99999999999999999999999\r\n\r\n",
    ],
)
def test_bodies_whose_length_is_not_clear_are_refused_without_a_word(site, body):
    """A malformed chunk once made 63 KB of log, which quoted it."""
    head = b"POST /v1/evaluate/people/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer cs_a\r\n"
    with site.connect() as connection:
        connection.sendall(head + b"Content-Type: application/octet-stream\r\n" + body)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert set(statuses(answer)) <= {400, 413}
    assert len(answer) < 2000
