"""Callers that mean no good, many at a time, against a real process; others do not notice.

CONTACTSYNC_TEST_MALFORMED says how many malformed requests are sent (a million before a release),
CONTACTSYNC_TEST_REQUESTS how many good ones.
"""

import contextlib
import os
import random
import resource
import socket
import statistics
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
import urllib3
from server_tools import GERMAN, Operator, Process

from contactsync.voprf.client import blind

MALFORMED = int(os.environ.get("CONTACTSYNC_TEST_MALFORMED", "10000"))
REQUESTS = int(os.environ.get("CONTACTSYNC_TEST_REQUESTS", "100000"))
SLOW = 2000
BODY = blind([b"a", b"b"]).blinded.tobytes()
POST = (
    b"POST /v1/evaluate/people/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer cs_a\r\n"
    b"Content-Type: application/octet-stream\r\n"
)
GOOD = [
    b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/tuf/metadata/timestamp.json HTTP/1.1\r\nHost: x\r\nRange: bytes=0-5\r\n\r\n",
    b"GET http://x/v1/account HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer cs_a\r\n\r\n",
    POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
    POST + b"Transfer-Encoding: chunked\r\n\r\n40\r\n" + BODY + b"\r\n0\r\n\r\n",
    POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
    b"GET /v1/data/" + b"a" * 64 + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer cs_a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
]
PIECES = [
    *(b"\r\n", b"\r", b"\n", b"\0", b" ", b":", b"%", b"%00", b"\xff", b"HTTP/1.1", b"0\r\n\r\n", b"-1"),
    *(b"Content-Length: 9" * 3, b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"../", b"//"),
    *(b"Range: bytes=9-1,-,\r\n", b"Host: y\r\n", b"Connection: upgrade\r\n", b"f" * 17, b"x" * 9000),
    *(b"CONNECT ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b";" * 300, b"\x16\x03\x01\x02\x00\x01\x00"),
]


def damaged(chance):
    """A request with something wrong in it."""
    data = bytearray(chance.choice(GOOD))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        how = chance.randrange(5)
        if how == 0:
            data[at:at] = chance.choice(PIECES)
        elif how == 1:
            del data[at : at + chance.randint(1, 20)]
        elif how == 2 and at < len(data):
            data[at] = chance.randrange(256)
        elif how == 3:
            data[at:at] = chance.randbytes(chance.randint(1, 8))
        else:
            data = data[: max(at, 1)]
    return bytes(data)


class Site:
    def __init__(self, folder, *options):
        self.operator = Operator(folder / "server")
        self.operator.add(*range(GERMAN, GERMAN + 1000))
        self.operator.publish()
        self.operator.accounts.add("a", "people", "cs_a")
        self.process = Process(self.operator.folder.path, *options)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.process.port), timeout=20)

    def memory(self):
        lines = Path(f"/proc/{self.process.popen.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))

    def log(self):
        return self.process.log.read_text()

    def ask(self, data):
        """Send this and nothing more; what comes back."""
        with self.connect() as connection:
            got = b""
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(1 << 16):
                    got += part
            return got


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    with site.process, closing(site.operator):
        yield site


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_malformed_requests(site):
    """None of them is answered with 5xx, none makes a line in the log, and nothing is kept of them."""
    faults, held = [], []

    def attack(seed, count):
        chance = random.Random(seed)
        for _ in range(count):
            request = damaged(chance)
            try:
                answer = site.ask(request)
            except OSError as error:
                faults.append((error, request))
                continue
            if b"HTTP/1.1 5" in answer:
                faults.append((answer[:300], request))

    for first, count in ((0, max(MALFORMED // 10, 1000)), (10, MALFORMED)):
        threads = [threading.Thread(target=attack, args=(first + i, count // 4)) for i in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        held.append(site.memory())
    assert not faults, faults[:3]
    assert held[1] - held[0] < 5000, held
    assert site.log().count("\n") == 1, site.log()[:2000]
    with urllib3.PoolManager(
        retries=False, timeout=20
    ) as http:  # who closes their side early may get nothing
        assert http.request("GET", f"{site.process.url}/v1/health").status == 200


@pytest.mark.slow
def test_slow_connections_are_in_nobodys_way(site):
    """Thousands of half heads, half bodies and idle connections: a sync takes at most three times as long."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < SLOW + 200:
        pytest.skip(f"this machine allows {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def sync():
        begin = time.monotonic()
        with urllib3.PoolManager(retries=False, timeout=20) as http:
            assert http.request("GET", f"{site.process.url}/v1/tuf/metadata/timestamp.json").status == 200
            for i in range(20):
                body = blind([b"%d %d" % (i, j) for j in range(8)]).blinded.tobytes()
                head = {"Authorization": "Bearer cs_a", "Content-Type": "application/octet-stream"}
                url = f"{site.process.url}/v1/evaluate/people/1"
                assert http.request("POST", url, headers=head, body=body).status == 200
        return time.monotonic() - begin

    usual = statistics.median(sync() for _ in range(5))
    starts = [b"GET /v1/health HTTP/1.1\r\nX: ", POST + b"Content-Length: 64\r\n\r\nx", GOOD[0], b""]
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(site.connect()) for _ in range(SLOW)]
        for i, connection in enumerate(slow):
            connection.sendall(starts[i % len(starts)])
        found = []
        for _ in range(5):
            for connection in slow[:: len(starts)]:
                with contextlib.suppress(OSError):
                    connection.send(b"x")
            found.append(sync())
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(f"a sync: {usual:.3f} s alone, {statistics.median(found):.3f} s beside {SLOW} slow connections")
    assert statistics.median(found) <= 3 * usual + 0.05


@pytest.mark.slow
def test_more_idle_connections_than_files(tmp_path):
    """1,007 half heads once locked everybody out, at the usual limit of 1,024 files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); "
    code += "runpy.run_module('contactsync', run_name='__main__')"
    operator = Operator(tmp_path / "server")
    operator.add(GERMAN)
    operator.publish()
    with closing(operator), Process(operator.folder.path, program=("-c", code)) as process:
        with contextlib.ExitStack() as stack:
            for _ in range(600):
                one = socket.create_connection(("127.0.0.1", process.port), timeout=20)
                stack.enter_context(one)
                with contextlib.suppress(ConnectionError):
                    one.sendall(b"GET /v1/hea")
            with urllib3.PoolManager(retries=False, timeout=5) as http:
                for _ in range(50):
                    answer = http.request("GET", f"{process.url}/v1/health", headers={"Connection": "close"})
                    assert answer.status == 200
        assert process.log.read_text().count("\n") == 1
        assert process.stop() == 0
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_stays_flat(site):
    request = b"".join(GOOD[i % 2] for i in range(10)) + GOOD[3] * 2
    marks = []

    def work(count):
        with site.connect() as connection:
            for _ in range(count // 12):
                connection.sendall(request)
                got = b""
                while got.count(b"HTTP/1.1 ") < 12:
                    part = connection.recv(1 << 16)
                    assert part, got[-300:]
                    got += part

    for count in (REQUESTS // 5, REQUESTS):
        threads = [threading.Thread(target=work, args=(count // 4,)) for _ in range(4)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        marks.append(site.memory())
    assert marks[1] - marks[0] < 5000, marks
    assert site.log().count("\n") == 1
