"""What one caller can hold: connections, time, memory. In part by real sockets to a real process."""

import asyncio
import socket
import time
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest
from server_tools import GERMAN, Operator, Process

from contactsync.foundation.errors import BadInput
from contactsync.server.http.problems import overload
from contactsync.serving.limits import Connections, Forwarded, Limits, caller_behind, networks, site_of

HEALTH = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n"
END = b"\r\n"
TIMES = "head_seconds = 1\nidle_seconds = 2\nstall_seconds = 2\n"


class Transport:
    def __init__(self, peer):
        self.peer, self.is_aborted = peer, False

    def get_extra_info(self, name):
        assert name == "peername"
        return self.peer

    def abort(self):
        self.is_aborted = True


class Connection:
    def __init__(self, address="192.0.2.1"):
        self.transport = Transport((address, 1234) if address else "")

    @property
    def is_open(self):
        return not self.transport.is_aborted


class Clock:
    """As much of an event loop as is asked for."""

    def __init__(self):
        self.now, self.due = 0.0, None

    def time(self):
        return self.now

    def call_later(self, _seconds, function):
        self.due = function

    def to(self, now):
        self.now = now
        self.due()


@pytest.fixture
def clock():
    return Clock()


def started(clock, limits, most=100):
    connections = Connections(limits, most)
    connections.start(clock)
    return connections


def test_the_longest_wait_makes_room(clock):
    connections = started(clock, Limits(head=10, idle=30), most=3)
    first, second, busy, fourth, fifth = (Connection() for _ in range(5))
    for at, one in enumerate((first, second, busy)):
        clock.now = at
        assert connections.admit(one)
    connections.is_busy(busy)
    connections.is_busy(first)
    connections.expect_nothing(first)  # it was answered just now, so the second waits longest
    clock.now = 3
    assert connections.admit(fourth)
    assert (first.is_open, second.is_open, busy.is_open) == (True, False, True)
    clock.now = 4
    assert connections.admit(fifth)
    assert not first.is_open
    for one in (fourth, fifth):
        connections.is_busy(one)
    assert not connections.admit(Connection()), "nobody waits: the new one has to"
    connections.release(busy)
    assert connections.admit(Connection())


def test_a_wait_has_an_end(clock):
    connections = started(clock, Limits(head=10, idle=30, stall=20))
    head, idle, stalled, busy, slow = everybody = [Connection() for _ in range(5)]
    for one in everybody:
        connections.admit(one)
    for one in everybody[1:]:
        connections.is_busy(one)
    connections.expect_nothing(idle)
    connections.has_stalled(stalled)
    connections.has_stalled(slow)
    clock.to(9)
    connections.expect_head(head)  # more octets of a head give no more time
    connections.has_stalled(stalled)
    connections.flows(slow)
    connections.has_stalled(slow)
    ends = {}
    for now in range(9, 60):
        clock.to(now)
        ends |= {one: now for one in everybody if not one.is_open and one not in ends}
    assert ends == {head: 10, stalled: 20, slow: 29, idle: 30}
    assert busy.is_open
    assert len(connections) == 1


@pytest.mark.parametrize(
    ("addresses", "admitted"),
    [
        (["192.0.2.1"] * 4, 2),
        (["192.0.2.1", "192.0.2.2"] * 3, 4),
        (["2001:db8::1", "2001:db8::2", "2001:db8::3"], 2),
        (["2001:db8::1", "2001:db8:0:1::1"] * 2, 4),
        (["::ffff:192.0.2.1", "192.0.2.1"] * 2, 2),
        (["127.0.0.1", "127.8.8.8", "::1", ""] * 3, 12),
        (["198.51.100.7"] * 9, 9),
        (["fe80::1%eth0"] * 3, 2),
    ],
    ids=["one", "two", "one site", "two sites", "mapped", "this machine", "a proxy", "a link"],
)
def test_connections_of_an_address(clock, addresses, admitted):
    connections = started(clock, Limits(per_address=2, trusted=networks(["198.51.100.0/24"])))
    found = [one for one in map(Connection, addresses) if connections.admit(one)]
    assert len(found) == admitted == len(connections)
    for one in found:
        connections.release(one)
        connections.release(one)
    assert connections.admit(Connection(addresses[0]))
    assert len(connections) == 1
    assert len(connections._held) <= 1, "nothing is kept of who has gone"


def test_no_limit(clock):
    connections = started(clock, Limits(per_address=0), most=1000)
    everybody = [Connection() for _ in range(500)]
    assert all(map(connections.admit, everybody))


@pytest.mark.parametrize(
    ("fields", "caller"),
    [
        ([b"192.0.2.9"], "192.0.2.9"),
        ([b"6.6.6.6, 192.0.2.9"], "192.0.2.9"),
        ([b"192.0.2.9, 198.51.100.2"], "192.0.2.9"),
        ([b"6.6.6.6", b"192.0.2.9:99, 198.51.100.2"], "192.0.2.9"),
        ([b"[2001:db8::1]:80"], "2001:db8::/64"),
        ([b"2001:db8::1"], "2001:db8::/64"),
        ([b"6.6.6.6, x"], "unknown"),
        ([b"\xff"], "unknown"),
        ([b"198.51.100.2"], "unknown"),
        ([b""], "unknown"),
        ([], "unknown"),
    ],
)
def test_who_is_behind_a_proxy(fields, caller):
    """Only what a trusted proxy has added counts: a caller can write what they like before it."""
    assert caller_behind(fields, networks(["198.51.100.0/24"])) == caller


def test_requests_behind_a_proxy():
    running, most = 0, 0

    async def app(_scope, _receive, send):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask(forwarded, peer, caller):
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "client": (peer, 1), "headers": [(b"x-forwarded-for", caller)]}
        await forwarded(scope, None, send)
        return sent[0]["status"]

    async def together(peer, *callers):
        limits = Limits(per_address=2, trusted=networks(["127.0.0.1"]))
        forwarded = Forwarded(app, limits, overload().response())
        found = await asyncio.gather(*[ask(forwarded, peer, caller) for caller in callers])
        assert not forwarded._running
        return sorted(found)

    one, two = b"192.0.2.1", b"192.0.2.2"
    assert asyncio.run(together("127.0.0.1", one, one, one, two)) == [200, 200, 200, 503]
    assert most == 3
    assert asyncio.run(together("127.0.0.2", one, one, one)) == [200] * 3, "not trusted, so not believed"


def test_what_is_no_network():
    with pytest.raises(BadInput, match="'nginx' is not an address or a network"):
        networks(["192.0.2.1", "nginx"])
    assert site_of(ip_address("192.0.2.1")) == "192.0.2.1"


class Site:
    def __init__(self, folder):
        self.operator = Operator(folder / "server")
        settings = self.operator.folder.settings_file
        names = [line.split()[0] for line in TIMES.splitlines()]
        kept = [line for line in settings.read_text().splitlines() if line.partition(" ")[0] not in names]
        settings.write_text(TIMES + "\n".join(kept))
        self.operator.add(*range(GERMAN, GERMAN + 300_000))
        self.operator.publish()
        self.operator.accounts.add("a", "people", "cs_a")
        self.process = Process(self.operator.folder.path)

    def connect(self, *, receive=0):
        connection = socket.socket()
        if receive:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", self.process.port))
        return connection

    def memory(self):
        """Kilobytes of this process alone."""
        lines = Path(f"/proc/{self.process.popen.pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))

    def health(self):
        with self.connect() as connection:
            connection.sendall(HEALTH + b"Connection: close\r\n\r\n")
            return connection.makefile("rb").read()[9:12]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("limits"))
    with site.process, closing(site.operator):
        yield site
        log = site.process.log.read_text()
        assert log.count("\n") == 1, f"no line about a request: {log}"


def read_all(connection):
    got = bytearray()
    while part := connection.recv(1 << 16):
        got += part
    return got


def ask_on(connection):
    for _ in range(1000):
        connection.sendall((HEALTH + END) * 10)
        time.sleep(0.02)


def ends_within(connection, seconds):
    """Whether the server ends the connection by then; whatever it sends is read."""
    connection.settimeout(seconds)
    try:
        read_all(connection)
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


POST = b"POST /v1/evaluate/people/1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
WAITS = [
    pytest.param([b""], id="silence"),
    pytest.param([b"G"], id="half a head"),
    pytest.param([HEALTH] + [b"X: y\r\n"] * 30, id="a field now and then"),
    pytest.param([HEALTH + END], id="no second request"),
    pytest.param([HEALTH + END + b"G"], id="half a second head"),
    pytest.param([HEALTH + END + HEALTH + END + b"G"], id="half a third head"),
    pytest.param([POST + b"Content-Length: 64\r\n\r\n"] + [b"x"] * 30, id="refused; its body drips"),
    pytest.param([HEALTH + b"Content-Length: 64\r\n\r\n"] + [b"x"] * 30, id="a body where none belongs"),
]


@pytest.mark.slow
@pytest.mark.parametrize("parts", WAITS)
def test_nobody_keeps_a_connection_without_asking(site, parts):
    begin = time.monotonic()
    with site.connect() as connection:
        for part in parts:
            if part:
                try:
                    connection.sendall(part)
                except ConnectionError:
                    break
            if len(parts) > 1:
                time.sleep(0.2)
        else:
            assert len(parts) == 1, "it was given all the time in the world"
            assert ends_within(connection, 5)
    assert time.monotonic() - begin < 5.5


@pytest.mark.slow
def test_who_does_not_read_is_let_go_and_costs_little(site):
    """A stalled download once held 2 MB, for as long as its caller liked."""
    name = site.operator.manifest().partitions["49"].base.sha256
    head = b"GET /v1/data/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer cs_a\r\n\r\n" % name.encode()
    begin, before = time.monotonic(), site.memory()
    stalled = [site.connect(receive=4096) for _ in range(100)]
    for connection in stalled:
        connection.sendall(head)
    time.sleep(1)
    assert site.health() == b"200"
    assert (site.memory() - before) / len(stalled) < 256
    time.sleep(max(0, begin + 5 - time.monotonic()))
    size = (site.operator.folder.data / name).stat().st_size
    for connection in stalled:
        with connection:
            assert len(read_all(connection)) < size, "aborted: what waited is gone"


@pytest.mark.slow
def test_who_asks_without_end_and_never_reads_is_let_go(site):
    with site.connect(receive=4096) as connection:
        connection.settimeout(12)
        with pytest.raises(ConnectionError):
            ask_on(connection)


@pytest.mark.slow
def test_pipelined_requests_do_not_fill_the_memory(site):
    before = site.memory()
    for _ in range(3):
        with site.connect(receive=4096) as connection, pytest.raises(ConnectionError):
            connection.sendall((HEALTH + END) * 200_000)
    assert site.memory() - before < 10_000


@pytest.mark.slow
def test_a_slow_reader_gets_everything(site):
    name = site.operator.manifest().partitions["49"].base.sha256
    size = (site.operator.folder.data / name).stat().st_size
    head = b"GET /v1/data/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer cs_a\r\n\r\n" % name.encode()
    with site.connect(receive=1 << 16) as connection:
        connection.sendall(head)
        got, begin = b"", time.monotonic()
        while len(got) < size and (part := connection.recv(1 << 16)):
            got += part
            if time.monotonic() < begin + 5:
                time.sleep(0.2)
    assert got.partition(b"\r\n\r\n")[2] == (site.operator.folder.data / name).read_bytes()
